"""`serve`: runs the application on sockets until a signal ends it, which ends all streams at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from allocator import Allocator, AsyncAllocator
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.app import Api, make_app
from allocator.apps.dashboard.changes import Changes
from allocator.apps.dashboard.connections import Connection
from allocator.apps.dashboard.feed import Feeds
from allocator.apps.dashboard.pools import Pools
from allocator.apps.dashboard.readings import Readings
from allocator.apps.dashboard.scrape import Scrape
from allocator.apps.dashboard.security import Guard, Rules
from allocator.apps.dashboard.static_files import StaticFiles

__all__ = ["Dashboard", "listen", "serve"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Dashboard:
    """The parts of a dashboard, over one client; made on the event loop that runs it.

    Attributes:
        client: The client of all pools.
        scraped: A blocking client, for the metrics.
        rules: Who is answered.
        named: The pools; none: all under the prefix.
        prefix: The prefix of the keys.
        change_timeout_s: Seconds that one change may take.
    """

    client: AsyncAllocator
    scraped: Allocator
    rules: Rules
    named: Sequence[str] = ()
    prefix: str = ""
    change_timeout_s: float = bounds.READ_TIMEOUT_S

    def __post_init__(self) -> None:
        self.pools = Pools(self.client, self.named)
        self.readings = Readings(self.pools)
        self.feeds = Feeds(self.readings)
        self._discovery: asyncio.Task[None] | None = None

    def app(self) -> Guard:
        """The application."""
        api = Api(self.readings, self.feeds, Scrape(self.scraped, self.pools), self.rules, self.prefix)
        return make_app(api, Changes(self.readings, self.change_timeout_s), StaticFiles(), self.rules)

    def start(self) -> None:
        """Look for pools from now on."""
        self._discovery = asyncio.create_task(self.pools.keep())

    async def close(self) -> None:
        """End the streams and what is being read, then the client."""
        if self._discovery is not None:
            self._discovery.cancel()
            await asyncio.wait([self._discovery])
        await self.feeds.close()
        await self.readings.close()
        await self.client.close()


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: The port is in use, or the address is none of this machine.
        UnicodeError: It is a name that DNS cannot have.
    """
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = found[0]
    return socket.create_server(where[:2] if family == socket.AF_INET else where, family=family, backlog=256)


class _Uvicorn(uvicorn.Server):
    """uvicorn, without its signal handlers: it would raise the signal again when it has stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to `serve`."""
        yield


async def serve(dashboard: Dashboard, listening: socket.socket) -> signal.Signals:
    """Serve until SIGTERM or Ctrl-C; returns which.

    Streams end at once; other requests may take a second more.
    """
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    config = uvicorn.Config(
        dashboard.app(),
        access_log=False,
        date_header=True,
        h11_max_incomplete_event_size=bounds.HEADER_BYTES_MAX,
        http=Connection,
        lifespan="off",
        limit_concurrency=bounds.CONNECTIONS_MAX,
        log_config=None,
        loop="asyncio",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=bounds.STOP_S,
        ws="none",
    )
    server = _Uvicorn(config)
    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def stop(by: signal.Signals) -> None:
        if stopped.done():
            server.force_exit = True  # the second one
        else:
            stopped.set_result(by)

    loop = asyncio.get_running_loop()
    for one in _SIGNALS:
        loop.add_signal_handler(one, stop, one)
    dashboard.start()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        either: set[asyncio.Future[Any]] = {serving, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await dashboard.feeds.close()
        await serving
    finally:
        await dashboard.close()
        for one in _SIGNALS:
            loop.remove_signal_handler(one)
    return stopped.result() if stopped.done() else signal.SIGTERM
