"""The in-process server: fakeredis with Lua, for tests and for programs without a Redis server.

It does not accept the `#!lua` line, so the drivers send it a separate text of each script.  It has no failover and no
memory limit.  It is no evidence for real servers: the same contract tests run on those.  The calling thread executes
each call, one at a time.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, cast

from allocator._engine.transport.connection import AsyncConnection, Connection, InProcessConnection
from allocator._engine.transport.fault_switch import FaultSwitch, SwitchedConnection
from allocator._engine.transport.target import Connector
from allocator.distribution import install
from allocator.errors import BackendUnavailable

__all__ = ["InProcessServer"]

_OPTIONS = ("server", "host", "port", "path", "db", "version", "server_type", "lua_modules", "username", "password")
"""The options of a fakeredis client that identify the in-process server and its database."""

_numbers: Final = itertools.count(1)


class InProcessServer:
    """One in-process server.  It takes any number of connections, from any thread and any event loop."""

    _by_name: ClassVar[dict[str, InProcessServer]] = {}
    _of_tests: ClassVar[weakref.WeakValueDictionary[str, InProcessServer]] = weakref.WeakValueDictionary()
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], int] | None = None,
        faults: FaultSwitch | None = None,
    ) -> None:
        """Make a new server, or use the one that a fakeredis client's options identify.

        Args:
            options: Those of a fakeredis client.
            clock: The clock of all clients, in milliseconds; None: this machine's.
            faults: The fault switch of all connections, for tests.
        """
        try:
            import fakeredis  # noqa: PLC0415 - an extra
            import lupa  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport] - runs the scripts
        except ImportError:
            raise BackendUnavailable(f"memory:// needs an extra: {install('embedded')}", code="no_extra") from None
        self._options = dict(options) if options is not None else {"server": fakeredis.FakeServer(version=(7,))}
        client: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)))
        self._kind: Any = client.connection_pool.connection_class
        self._faults = faults
        self.connector = Connector(self._connect, self._connect_async, clock=clock, faults=faults)
        self.faultless = Connector(self._connect_immune, None, clock=clock)
        """Connections that the fault switch does not act on."""

    @classmethod
    def private(cls) -> InProcessServer:
        """A new server that nothing else can reach."""
        return cls()

    @classmethod
    def named(cls, name: str) -> InProcessServer:
        """The server of that name in this process, made at the first use and kept until the process ends."""
        with cls._naming:
            found = cls._by_name.get(name) or cls._of_tests.get(name)
            if found is None:
                found = cls._by_name[name] = cls()
            return found

    @classmethod
    def for_tests(cls, name: str | None, clock: Callable[[], int] | None) -> tuple[str, InProcessServer]:
        """A server with a fault switch, and its name.

        Args:
            name: A name, under which it is kept until the process ends.  A server that exists already is returned as
                it is.  None: a new name, under which it is kept as long as anything uses it.
            clock: The clock of its clients.
        """
        with cls._naming:
            if name is None:
                name = f"allocator-test-{next(_numbers)}"
                made = cls._of_tests[name] = cls(clock=clock, faults=FaultSwitch())
                return name, made
            found = cls._by_name.get(name) or cls._of_tests.get(name)
            if found is None:
                found = cls._by_name[name] = cls(clock=clock, faults=FaultSwitch())
            return name, found

    @classmethod
    def from_client(cls, options: Mapping[str, Any]) -> InProcessServer:
        """The server that a fakeredis client, blocking or asyncio, is connected to."""
        return cls({name: value for name, value in options.items() if name in _OPTIONS})

    def _connect(self, timeout_s: float = 0.0, *, immune: bool = False, **location: Any) -> Connection:
        options = {**self._options, **location, "decode_responses": True, "encoding_errors": "replace"}
        connection = cast("Connection", self._kind(**options))
        return connection if self._faults is None else SwitchedConnection(connection, self._faults, immune=immune)

    def _connect_immune(self, timeout_s: float = 0.0, **location: Any) -> Connection:
        return self._connect(immune=True, **location)

    async def _connect_async(self, **location: Any) -> AsyncConnection:
        return InProcessConnection(self._connect(**location))
