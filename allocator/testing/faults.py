"""`faults`: the outages that a user's controller has to survive, turned on for a `with` block.

Nothing here waits for a real timeout, and each fault passes through the code that handles a real one: attempts,
retries, undo.  Only stores that `allocator.testing` has made accept it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Final, Literal, TypeAlias

from allocator import settings
from allocator._async.client import AsyncAllocator
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.fault_switch import CHANGING, REQUESTING, FaultKind, FaultSwitch, InjectedFault
from allocator._sync.client import Allocator
from allocator.compat.resource_allocator import ResourceAllocator
from allocator.errors import InvalidRequest, UnknownPool
from allocator.models.allocations import Allocation
from allocator.models.pools import Usage
from allocator.resources import Resources
from allocator.testing.store import MemoryStore

__all__ = ["AnyClient", "Faults", "Verb", "faults", "wait_undone", "wait_undone_async"]

AnyClient: TypeAlias = Allocator | AsyncAllocator | ResourceAllocator
"""A client of any kind."""

Verb: TypeAlias = Literal["adopt", "allocate", "begin_release", "release", "renew", "resize"]
"""A call that changes an allocation."""

_LEASE_MS: Final = 60_000
"""How long the lease would live whose loss begins a recovery."""


class Faults:
    """The fault switch of a store, shared by all of its clients.  `faults` makes it.

    Each method is a context manager that restores the store at its end.  They may be nested, and used from any thread.
    What each yields counts in `fired` how often it has happened.
    """

    def __init__(self, store: MemoryStore, defaults: Defaults) -> None:
        """Find the switch.

        Args:
            store: The store.
            defaults: The pool of `recovering`.

        Raises:
            InvalidRequest: `field="store"`: it was not made by `allocator.testing`.
        """
        self._switch: FaultSwitch = store.switch
        self._store = store
        self._defaults = defaults

    def down(
        self, *, attempts: int | None = None, wait: bool = False
    ) -> contextlib.AbstractContextManager[InjectedFault]:
        """The server is down: connections are refused, and every call raises `BackendUnavailable`.

        Args:
            attempts: Only so many attempts are refused, retries included; so a call that is retried succeeds.
            wait: Calls are retried until their timeout, as in production, for a server that comes back while another
                thread or task waits.  Without it they fail at once, as if their timeout had passed.
        """
        retried = wait or attempts is not None
        return self._armed(InjectedFault(FaultKind.REFUSED, left=_count(attempts, "attempts"), retried=retried))

    def lost_reply(
        self, verb: Verb | None = None, *, times: int = 1
    ) -> contextlib.AbstractContextManager[InjectedFault]:
        """The next call is executed, and its reply is lost; the retry finds what the first attempt did.

        Args:
            verb: Only calls of this verb; None: of any.
            times: How many replies are lost, those of retries included.
        """
        return self._armed(InjectedFault(FaultKind.LOST, left=_count(times, "times"), scripts=_scripts(verb)))

    def unknown(
        self, verb: Verb | None = None, *, times: int = 1, executed: bool = True
    ) -> contextlib.AbstractContextManager[InjectedFault]:
        """The next call raises `OutcomeUnknown`: the connection ends before the reply, and no time is left for a retry.

        Its undo is queued, and sent in the background: `wait_undone` waits for that.

        Args:
            verb: Only calls of this verb; None: of any.
            times: How many calls.
            executed: Whether the server executes them.  A caller cannot know.
        """
        fault = InjectedFault(
            FaultKind.LOST, left=_count(times, "times"), scripts=_scripts(verb), retried=False, executed=executed
        )
        return self._armed(fault)

    def full(self, *resources: str) -> contextlib.AbstractContextManager[InjectedFault]:
        """The pools have no room: a request that needs any is denied, with the numbers of a full pool.

        The allocations and counters stay as they are.  Live allocations are found again, renewed and released.  What
        has expired makes room, as in any full pool.

        Args:
            resources: Those that are full; none: all.
        """
        return self._armed(InjectedFault(FaultKind.FULL, scripts=REQUESTING, resources=frozenset(resources)))

    @contextlib.contextmanager
    def recovering(self, pool: str | None = None) -> Generator[None]:
        """The pool recovers, as if its server had lost data: new requests raise `Recovering`.  At the end it is over.

        Args:
            pool: Its name; None: the client's.  It has a `recovery_grace`, after which the recovery ends, too.

        Raises:
            InvalidRequest: `field="recovery_grace"`: the pool has none.
        """
        with self._store.faultless(self._defaults) as allocator:
            usage = allocator.pools.usage(pool)
            found = usage.pool
            if not found.recovery_grace_ms:
                text = f"recovery_grace: pool {found.name} has none, so it never recovers"
                raise InvalidRequest(text, field="recovery_grace")
            if found.state == "recovering":  # an outer block, or a real loss: it goes on
                yield
                return
            # A holder returns: its fence is ahead of all that the server knows.
            allocator.release(_lost(usage))
            try:
                yield
            finally:
                with contextlib.suppress(UnknownPool):
                    allocator.pools.end_recovery(pool)

    @contextlib.contextmanager
    def _armed(self, fault: InjectedFault) -> Generator[InjectedFault]:
        self._switch.arm(fault)
        try:
            yield fault
        finally:
            self._switch.disarm(fault)


def faults(client: AnyClient) -> Faults:
    """The fault switch of a client's store; it acts on all clients of that store.

    Raises:
        InvalidRequest: `field="store"`: the client's store was not made by `allocator.testing`.
    """
    one = _plain(client)
    target = one._target  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if target.connector.faults is None:
        raise InvalidRequest(
            f"store: {target.address} was not made by allocator.testing, and only such a store has faults",
            field="store",
        )
    return Faults(MemoryStore(target.address.removeprefix("memory://")), one._defaults)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def wait_undone(client: Allocator, seconds: float = settings.CLOSE_FLUSH_S) -> bool:
    """Wait until the client has undone each call whose outcome was unknown; returns whether it has.

    Args:
        client: The client that raised `OutcomeUnknown`.
        seconds: The longest wait.  While the server is down nothing is undone.
    """
    return client._driver.wait_undone(seconds)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def wait_undone_async(
    client: AsyncAllocator | ResourceAllocator, seconds: float = settings.CLOSE_FLUSH_S
) -> bool:
    """The same for the awaited clients, for calls of the running event loop."""
    one = client._shared.awaited if isinstance(client, ResourceAllocator) else client  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return await one._driver.wait_undone(seconds)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _lost(usage: Usage) -> Allocation:
    """An allocation of the pool that its server does not know."""
    return Allocation(
        id="lost-in-a-test",
        pool=usage.pool.name,
        owner=settings.OWNER_DEFAULT,
        resources=Resources.of({}),
        fence=usage.pool.revision + 1,
        granted_ms=usage.read_ms,
        ttl_ms=_LEASE_MS,
        deadline_ms=usage.read_ms + _LEASE_MS,
        epoch=usage.pool.epoch,
    )


def _plain(client: AnyClient) -> Allocator | AsyncAllocator:
    return client._shared.awaited if isinstance(client, ResourceAllocator) else client  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _scripts(verb: Verb | None) -> frozenset[str]:
    if verb is None:
        return CHANGING
    if verb not in CHANGING:
        raise InvalidRequest(f"verb: {verb!r} is none of {', '.join(sorted(CHANGING))}", field="verb")
    return frozenset({verb})


def _count(number: int | None, name: str) -> int | None:
    if number is not None and number < 1:
        raise InvalidRequest(f"{name}: {number} is less than 1", field=name)
    return number
