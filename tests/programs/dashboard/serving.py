"""A dashboard in the test's own process, asked over ASGI, with streams that a test reads frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

from allocator import Allocator, AsyncAllocator
from allocator.apps.dashboard.security import Guard, Rules
from allocator.apps.dashboard.server import Dashboard

TOKEN: Final = "t" * 43
HOST: Final = "127.0.0.1:9894"
ORIGIN: Final = f"http://{HOST}"
CHANGES: Final = {"X-Requested-With": "allocator", "Origin": ORIGIN}


@dataclass
class Frame:
    """One event of a stream."""

    event: str
    data: Any
    id: str = ""


class Streamed:
    """One open stream; `take` reads the next event of a kind."""

    def __init__(self, app: Guard, query: str) -> None:
        self._app = app
        self._query = query
        self._gone = asyncio.Event()
        self._text = ""
        self._more = asyncio.Event()
        self._blocked = asyncio.Event()
        self._blocked.set()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.seen: list[Frame] = []

    def stop_reading(self) -> None:
        """Read nothing more, as a page in a machine that sleeps."""
        self._blocked.clear()

    async def __aenter__(self) -> Self:
        scope = {
            "type": "http", "method": "GET", "path": "/api/v1/stream", "raw_path": b"/api/v1/stream",
            "query_string": self._query.encode(), "scheme": "http", "http_version": "1.1", "root_path": "",
            "headers": [(b"host", HOST.encode()), (b"authorization", f"Bearer {TOKEN}".encode())],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 9894),
        }  # fmt: skip
        self.task = asyncio.create_task(self._app(scope, self._receive, self._send))
        return self

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self._blocked.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): text.decode() for name, text in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)
        self._more.set()

    def frames(self) -> Iterator[Frame]:
        """The whole frames that have come, without comments."""
        for part in self.body.decode("ascii").split("\n\n")[:-1]:
            if part.startswith(":"):
                continue
            fields = dict(line.split(": ", 1) for line in part.split("\n"))
            yield Frame(fields["event"], json.loads(fields["data"]), fields.get("id", ""))

    async def take(self, event: str, **wanted: Any) -> Frame:
        """The next frame of this kind whose data has these members."""
        async with asyncio.timeout(30):
            while True:
                self._more.clear()
                for frame in list(self.frames())[len(self.seen) :]:
                    self.seen.append(frame)
                    if frame.event == event and wanted.items() <= frame.data.items():
                        return frame
                assert not self.ended, (self.status, self.body[-500:])
                await self._more.wait()

    async def end(self) -> None:
        """Wait until the server has ended it."""
        async with asyncio.timeout(30):
            await self.task

    async def __aexit__(self, *exc: object) -> None:
        self._gone.set()
        self._blocked.set()
        await asyncio.wait([self.task], timeout=30)
        assert self.task.done()


@dataclass
class Page:
    """What a browser does."""

    dashboard: Dashboard
    app: Guard
    http: httpx.AsyncClient

    async def get(self, path: str, *, status: int = 200, **headers: str) -> Any:
        """The document of a path."""
        found = await self.http.get(path, headers=headers)
        assert found.status_code == status, found.text
        return found.json()

    async def send(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        """Send a change as the page does, and return the document."""
        content = json.dumps({} if body is None else body)
        sent = {"Content-Type": "application/json", **CHANGES, **headers}
        found = await self.http.request(method, path, content=content, headers=sent)
        assert found.status_code == status, found.text
        return found.json()

    def stream(self, query: str = "pool=lab") -> Streamed:
        """A stream, not open yet."""
        return Streamed(self.app, query)


@contextlib.asynccontextmanager
async def opened(url: str, *named: str, allow_changes: bool = False, timeout_s: float = 4.0) -> AsyncIterator[Page]:
    """A dashboard of the pools on this server."""
    with Allocator.from_url(url, timeout=timeout_s) as scraped:
        client = AsyncAllocator.from_url(url, timeout=timeout_s)
        rules = Rules(TOKEN, allow_changes=allow_changes)
        dashboard = Dashboard(client, scraped, rules, named, "allocator")
        app = dashboard.app()
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as http:
            dashboard.start()
            try:
                yield Page(dashboard, app, http)
            finally:
                await dashboard.close()
