"""The in-process store: fakeredis with Lua, for tests and for programs that want no server.

It knows no `#!lua` line (so the drivers send it a text of its own), no failover and no memory limit, and it vouches for
nothing: the same contract tests run on real servers.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar, cast

from allocator._engine.async_lines import AsyncLine, InlineLine
from allocator._engine.lines import Line
from allocator.errors import BackendUnavailable

__all__ = ["InProcess"]


class InProcess:
    """One in-process server; any number of connections, from any thread."""

    _by_name: ClassVar[dict[str, InProcess]] = {}
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        try:
            import fakeredis  # noqa: PLC0415 - an extra
            import lupa  # noqa: F401, PLC0415 - what runs its scripts
        except ImportError:
            raise BackendUnavailable(
                'memory:// needs an extra: pip install "redis-resource-allocator[embedded]"', code="no_extra"
            ) from None
        self._server: Any = fakeredis.FakeServer(version=(7,))
        client: Any = fakeredis.FakeRedis(server=self._server)
        self._kind: Any = client.connection_pool.connection_class

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

    def connect(self, timeout_s: float = 0.0) -> Line:
        """A connection to it."""
        return cast(
            "Line", self._kind(server=self._server, decode_responses=True, encoding_errors="replace", client_name=None)
        )

    async def connect_async(self) -> AsyncLine:
        """The same for an event loop."""
        return InlineLine(self.connect())
