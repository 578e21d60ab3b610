"""What looks at a pool from outside in the stage `eyes`: pages of the dashboard, a scraper, a terminal with `top`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import threading
import traceback
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx

from tests.programs.metrics.scraping import Scrape
from tests.programs.top.test_terminal import Terminal
from tests.soak.eyes_work import POOL, line_of

__all__ = ["MARK", "Pages", "Scraper", "Screen"]

MARK: Final = re.compile(r"mark-(\d+)")
"""The ids of allocations by which a new event is known."""

STREAMS: Final = 20

ENDPOINTS: Final = (
    "/", "/healthz", "/metrics", "/api/v1", "/api/v1/openapi.json", "/api/v1/pools",
    *(
        f"/api/v1/pools/{POOL}{rest}"
        for rest in (
            "", "/allocations", "/timeline", "/history", "/queue", "/quotas", "/groups", "/groups?by=scope", "/events",
        )
    ),
)  # fmt: skip

PAUSE_S: Final = 0.1
"""Between two requests."""

AWAY: Final = (502, 503)
"""What is answered while the server of the pools is away."""

SCRAPE_S: Final = 1.0

SIZES: Final = ((40, 120), (24, 80), (50, 160), (30, 100))


async def _pause(seconds: float) -> None:
    """Ask no more often than a person would."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


class Pages:
    """Streams and requests of one dashboard, in a thread of their own."""

    def __init__(self, address: str, folder: Path) -> None:
        """Describe them; `with` opens them.  `address` is what the dashboard has printed."""
        self._base, _, self._token = address.partition("/#token=")
        self.journals = [folder / f"page.{number}" for number in range(STREAMS)]
        self.marks = [0] * STREAMS
        self.answers: Counter[int] = Counter()
        self.seen: Counter[str] = Counter()
        self.problems: list[str] = []
        self.whole_rounds = 0
        """How many times each endpoint has answered with 200, one after the other."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="pages")

    def __enter__(self) -> Pages:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End what it does."""
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self._base, headers=headers, limits=limits, timeout=30.0) as client:
            tasks = [asyncio.create_task(self._stream(client, number)) for number in range(STREAMS)]
            tasks.append(asyncio.create_task(self._ask(client)))
            await asyncio.to_thread(self._over.wait)
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(error, asyncio.CancelledError):
                    self.problems.append("".join(traceback.format_exception(error)) if error else "a page has ended")

    async def _ask(self, client: httpx.AsyncClient) -> None:
        while True:
            whole = True
            for path in ENDPOINTS:
                status = (await client.get(path)).status_code
                self.answers[status] += 1
                whole = whole and status == 200
                if status not in (200, *AWAY):
                    self.problems.append(f"{path} was answered with {status}")
                await _pause(PAUSE_S)
            self.whole_rounds += whole

    async def _stream(self, client: httpx.AsyncClient, number: int) -> None:
        """As a page: when it is ended it goes on with its cursor."""
        cursor = ""
        while True:
            path = f"/api/v1/stream?pool={POOL}" + (f"&since={cursor}" if cursor else "")
            async with client.stream("GET", path) as answer:
                if answer.status_code != 200:
                    self.problems.append(f"a stream was answered with {answer.status_code}")
                    await _pause(1.0)
                    continue
                self.seen["opened"] += 1
                fields: dict[str, str] = {}
                async for line in answer.aiter_lines():
                    name, _, text = line.partition(": ")
                    if line:
                        fields[name] = text
                        continue
                    cursor = fields.get("id", cursor)
                    self._take(number, fields)
                    fields = {}

    def _take(self, number: int, fields: dict[str, str]) -> None:
        kind = fields.get("event", "")
        self.seen[kind] += 1
        if kind not in ("change", "missed"):
            return
        data: dict[str, Any] = json.loads(fields["data"])
        name = data.get("id") or ""
        with self.journals[number].open("a", encoding="utf-8") as journal:
            journal.write(line_of(fields.get("id") or "0-0", "missed" if kind == "missed" else data["type"], name))
        if found := MARK.match(name):
            self.marks[number] = max(self.marks[number], int(found[1]))


class Scraper:
    """Reads the exporter each second, as Prometheus does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.granted = 0.0
        """Grants of the pool by the last scrape, or -1 while `allocator_up` is 0."""
        self.seen: Counter[str] = Counter()
        self.problems: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scraper")

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End what it does."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(SCRAPE_S):
            try:
                with urllib.request.urlopen(self._url, timeout=30) as reply:
                    text = reply.read().decode()
            except OSError as error:
                self.problems.append(f"a scrape failed: {error!r}")
                continue
            scrape = Scrape(text)
            is_up = scrape.get("up") == 1
            self.seen["up" if is_up else "down"] += 1
            self.granted = (scrape.get("events_total", pool=POOL, kind="granted") or 0.0) if is_up else -1.0


class Screen(Terminal):
    """`top` on a terminal that is read all the time, and gets another size now and then."""

    def __init__(self, *words: str) -> None:
        super().__init__(*words, rows=SIZES[0][0], columns=SIZES[0][1])
        self.mark = 0
        self.drawn = 0
        self.said_away = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen")

    def other_size(self, chance: random.Random) -> None:
        """Drag a corner of the window."""
        self.resize(*chance.choice(SIZES))

    def begin(self, timeout_s: float) -> None:
        """Show the events, and read on."""
        self.until("latest events", timeout_s)
        self.type("4")
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed when the program has ended
            while not self._over.is_set():
                if self._read():
                    self.mark = max([self.mark, *(int(found) for found in MARK.findall(self.seen))])
                    self.said_away += "AWAY" in self.seen
                    self.drawn += len(self.seen)
                    self.seen = self.seen[-16:]

    def quit(self) -> int:
        """Press q; the exit code."""
        self._stop_reading()
        self.type("q")
        return self.ended()

    def close(self) -> None:
        """End it; nothing reads from a terminal that is closed."""
        self._stop_reading()
        super().close()

    def _stop_reading(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
