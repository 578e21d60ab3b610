"""The in-process store: fakeredis with Lua, for tests and for programs that want no server.

It knows no `#!lua` line (so the drivers send it a text of its own), no failover and no memory limit, and it vouches for
nothing: the same contract tests run on real servers.  Calls are executed by the thread that makes them, one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from allocator._engine.transport.connections import Line
from allocator._engine.transport.connections_async import AsyncLine, InlineLine
from allocator._engine.transport.target import Door
from allocator.errors import BackendUnavailable

__all__ = ["InProcess"]

_OPTIONS = ("server", "host", "port", "path", "db", "version", "server_type", "lua_modules", "username", "password")
"""What says which in-process server, and which of its databases, a fakeredis client means."""


class InProcess:
    """One in-process server; any number of connections, from any thread and any event loop."""

    _by_name: ClassVar[dict[str, InProcess]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Make a new server, or find the one that a fakeredis client's options mean."""
        try:
            import fakeredis  # noqa: PLC0415 - an extra
            import lupa  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport] - runs the scripts
        except ImportError:
            raise BackendUnavailable(
                'memory:// needs an extra: pip install "redis-resource-allocator[embedded]"', code="no_extra"
            ) from None
        self._options = dict(options) if options is not None else {"server": fakeredis.FakeServer(version=(7,))}
        client: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)))
        self._kind: Any = client.connection_pool.connection_class
        self.door = Door(self._connect, self._connect_async)

    @classmethod
    def private(cls) -> InProcess:
        """A store that only its holder sees."""
        return cls()

    @classmethod
    def named(cls, name: str) -> InProcess:
        """The store of that name in this process, made when first wanted and kept for as long as the process."""
        with cls._naming:
            if name not in cls._by_name:
                cls._by_name[name] = cls()
            return cls._by_name[name]

    @classmethod
    def of_client(cls, options: Mapping[str, Any]) -> InProcess:
        """The store that a fakeredis client, of either side, speaks to."""
        return cls({name: value for name, value in options.items() if name in _OPTIONS})

    def _connect(self, timeout_s: float = 0.0, **place: Any) -> Line:
        options = {**self._options, **place, "decode_responses": True, "encoding_errors": "replace"}
        return cast("Line", self._kind(**options))

    async def _connect_async(self, **place: Any) -> AsyncLine:
        return InlineLine(self._connect(**place))
