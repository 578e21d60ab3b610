"""`MemoryStore`: an in-process server for tests, with a URL, a clock and a fault switch."""

from __future__ import annotations

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.fault_switch import FaultSwitch
from allocator._engine.transport.in_process import InProcessServer
from allocator._engine.transport.target import EvictionCheck, ServerTarget
from allocator._sync.client import Allocator
from allocator.errors import InvalidRequest
from allocator.testing.clock import Clock

__all__ = ["MemoryStore", "store_of"]


class MemoryStore:
    """An in-process server for tests.  Any client of its URL shares it, with its clock and its faults.

    Attributes:
        name: Its name.
        url: `memory://` and its name, for programs that make their client by themselves.
        clock: The clock of its clients; None: this machine's.
    """

    def __init__(self, name: str | None = None, *, clock: Clock | None = None) -> None:
        """Make it, or use the one of that name.

        Args:
            name: 1 to 64 of `[A-Za-z0-9._-]`: a store that is kept until the process ends.  None: a new store, which
                ends with the last of its clients.
            clock: Replaces this machine's clock for all clients of a new store.

        Raises:
            InvalidRequest: `field="clock"`: the store exists with another clock.
            BackendUnavailable: `code="no_extra"`: the extra `embedded` is not installed.
        """
        self.name, self._server = InProcessServer.for_tests(name, clock)
        self.url = f"memory://{self.name}"
        stored = self._server.connector.clock
        if clock is not None and stored is not None and clock is not stored:
            raise InvalidRequest(f"clock: the store {self.url} has another clock", field="clock")
        self.clock = stored if isinstance(stored, Clock) else clock

    @property
    def switch(self) -> FaultSwitch:
        """The fault switch; `faults` is its interface.

        Raises:
            InvalidRequest: `field="store"`: a client made this store before `allocator.testing` did.
        """
        switch = self._server.connector.faults
        if switch is None:
            raise InvalidRequest(
                f"store: {self.url} was not made by allocator.testing: make it before the first client connects",
                field="store",
            )
        return switch

    def client(self, *, pool: str = "test", prefix: str | None = None) -> Allocator:
        """A client that the faults do not act on, for tests to look at the store.

        Args:
            pool: The client's pool.
            prefix: The prefix of all keys; None: the default.
        """
        return self.faultless(Defaults(pool, settings.PREFIX_DEFAULT if prefix is None else prefix, None))

    def faultless(self, defaults: Defaults) -> Allocator:
        """`client` with these defaults."""
        target = ServerTarget(
            self.url,
            settings.ATTEMPT_TIMEOUT_S,
            self._server.faultless,
            EvictionCheck(allow_eviction=True),
            in_process=True,
        )
        return Allocator._on(target, defaults, self.clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def __repr__(self) -> str:
        return f"<MemoryStore {self.url}>"


def store_of(store: str | MemoryStore | None, clock: Clock | None) -> MemoryStore:
    """The store that an argument `store` stands for."""
    if not isinstance(store, MemoryStore):
        return MemoryStore(store, clock=clock)
    if clock is not None and clock is not store.clock:
        raise InvalidRequest(f"clock: the store {store.url} has another clock", field="clock")
    return store
