"""The in-process server: fakeredis with Lua, for tests and for programs without a Redis server.

It does not accept the `#!lua` line, so the drivers send it a separate text of each script.  It has no failover and no
memory limit.  It is no evidence for real servers: the same contract tests run on those.  The calling thread executes
each call, one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from allocator._engine.transport.connection import AsyncConnection, Connection, InProcessConnection
from allocator._engine.transport.target import Connector
from allocator.distribution import install
from allocator.errors import BackendUnavailable

__all__ = ["InProcessServer"]

_OPTIONS = ("server", "host", "port", "path", "db", "version", "server_type", "lua_modules", "username", "password")
"""The options of a fakeredis client that identify the in-process server and its database."""


class InProcessServer:
    """One in-process server.  It takes any number of connections, from any thread and any event loop."""

    _by_name: ClassVar[dict[str, InProcessServer]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Make a new server, or use the one that a fakeredis client's options identify."""
        try:
            import fakeredis  # noqa: PLC0415 - an extra
            import lupa  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport] - runs the scripts
        except ImportError:
            raise BackendUnavailable(f"memory:// needs an extra: {install('embedded')}", code="no_extra") from None
        self._options = dict(options) if options is not None else {"server": fakeredis.FakeServer(version=(7,))}
        client: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)))
        self._kind: Any = client.connection_pool.connection_class
        self.connector = Connector(self._connect, self._connect_async)

    @classmethod
    def private(cls) -> InProcessServer:
        """A new server that nothing else can reach."""
        return cls()

    @classmethod
    def named(cls, name: str) -> InProcessServer:
        """The server of that name in this process, made at the first use and kept until the process ends."""
        with cls._naming:
            if name not in cls._by_name:
                cls._by_name[name] = cls()
            return cls._by_name[name]

    @classmethod
    def from_client(cls, options: Mapping[str, Any]) -> InProcessServer:
        """The server that a fakeredis client, blocking or asyncio, is connected to."""
        return cls({name: value for name, value in options.items() if name in _OPTIONS})

    def _connect(self, timeout_s: float = 0.0, **location: Any) -> Connection:
        options = {**self._options, **location, "decode_responses": True, "encoding_errors": "replace"}
        return cast("Connection", self._kind(**options))

    async def _connect_async(self, **location: Any) -> AsyncConnection:
        return InProcessConnection(self._connect(**location))
