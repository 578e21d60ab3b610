"""`Allocator`: the client that blocks, GENERATED, never edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from allocator import settings
from allocator._base import Client
from allocator._engine.execution.driver import Driver
from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.lookup import AllocationScan
from allocator._engine.protocol.flows import Flow, Operation
from allocator._engine.transport.urls import resolve_target
from allocator._sync.events import Events
from allocator._sync.maintenance import Maintenance
from allocator._sync.pools import Pools
from allocator.denials import Denial
from allocator.errors import Insufficient
from allocator.hold import Hold
from allocator.models.allocations import Allocation, Check, Outcome, Release, Renewal, Request, RequestLike, Ttl

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster

__all__ = ["Allocator"]

R = TypeVar("R")


class Allocator(Client[Driver]):
    """Shares pools of capacity with every other process that uses the same store.

    Each call is one script in Redis, decided and recorded as a whole.  It is repeated with the same ids when its reply
    is lost, for at most `timeout` seconds in all, and has one effect however often it arrives.  Threads, tasks and
    event loops may share a client.  Nothing is connected before the first call.

    Calls go to the client's pool; `options(pool=...)` is the same client for another one.  Where a method takes an
    allocation, an `Allocation` brings its pool and its fence along; a text is an id, with any fence unless one is
    given.

    Every method may raise `BackendUnavailable` (not executed), `OutcomeUnknown` (it may have been; its undo is
    queued), `UnknownPool`, `InvalidRequest` (nothing was sent), `ContractError` and `InvariantError`; they are not
    repeated below.

    Attributes:
        pools: Creates, changes, reads and deletes pools.
        events: What changed in the pool.
        maintenance: Reclaims, reconciles, audits, examines.
    """

    pools: Pools
    events: Events
    maintenance: Maintenance

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        pool: str = "default",
        owner: str | None = None,
        prefix: str = settings.PREFIX_DEFAULT,
        timeout: float = settings.DEADLINE_S,
        attempt_timeout: float = settings.ATTEMPT_TIMEOUT_S,
        allow_eviction: bool = False,
    ) -> None:
        """Use the settings of a redis-py client.

        The client itself is neither used nor changed: connections of our own are made with its settings, without its
        retries, and only those are closed.

        Args:
            client: A `redis.Redis` or `redis.cluster.RedisCluster`.
            pool: The pool of calls that name none.
            owner: The owner of allocations that name none; who holds it, for people.  The same on all replicas that
                may repeat each other's calls.
            prefix: Of all keys; 1 to 32 of `[A-Za-z0-9._:-]`.
            timeout: Seconds that one call may take, repeats included; at most 60.
            attempt_timeout: Seconds that one attempt waits for the server.
            allow_eviction: Use a server whose memory policy (`allkeys-*`) may silently evict records.
        """
        target = resolve_target(client, attempt_timeout_s=attempt_timeout, allow_eviction=allow_eviction)
        self._start(target, Defaults(pool, prefix, owner, timeout))

    def _drive(self) -> Driver:
        return Driver(self._target, clock=self._clock)

    def _attach(self) -> None:
        self.pools = Pools(self._driver, self._defaults)
        self.events = Events(self._driver, self._defaults)
        self.maintenance = Maintenance(self._driver, self._defaults)

    def _run(self, work: Operation[R] | Flow[R]) -> R:
        return self._driver.run(work, deadline_s=self._defaults.timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Undo what is still in doubt, for at most two seconds, and close the connections.  May be repeated.

        A client and what `options` made of it share their connections: closing one closes all.
        """
        self._driver.close()

    def allocate(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Allocation:
        """Take all that is requested, or nothing.

        With an id of the caller's (`namespace/name/uid`) the call may be repeated by anyone, also after a crash: the
        live allocation of the same owner and amounts comes back with the same fence, its deadline no earlier than now
        + ttl.

        Args:
            request: Resource -> Kubernetes quantity, rounded up to the resource's unit; only what is named is charged.
            ttl: Seconds until it ends unless renewed, 1 to 30 days; None pins it: it ends by release, or by age.
            id: 1 to 128 of `[A-Za-z0-9._/:-]`; None: a random one.
            owner: Who holds it; None: the client's.
            metadata: Up to 16 texts, 4 KiB in all.

        Returns:
            The allocation; `created` is False where it was there before.  One round trip.

        Raises:
            Insufficient: It does not fit; `denial` says why in numbers.
            AllocationConflict: The id is live with another owner or other amounts.
            AllocationLost: It was granted, and had ended by the time that a repeat of this call arrived.  A new call
                gets what stands, or is granted anew.
            NotDurable: It was granted, and not as safe as asked for in time: it is undone.
            Recovering: The store has lost data, and holders are coming back.
        """
        outcome = self._run(self._defaults.allocate(Request(request, ttl, id, owner, metadata)))
        if isinstance(outcome, Denial):
            raise Insufficient(outcome)
        return outcome

    def try_allocate(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Allocation | Denial:
        """`allocate`, but a refusal is returned rather than raised; it is falsy."""
        return self._run(self._defaults.allocate(Request(request, ttl, id, owner, metadata)))

    def hold(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        on_lost: Callable[[Hold], object] | None = None,
    ) -> Hold:
        """Allocate for the length of a `with` block: renewed by a thread at a third of its ttl, released at the end.

        The hold knows whether it is still good (`lost`, `check()`), by this machine's own clock and before the ledger
        takes it back; a block that ends as if nothing had happened although it was lost raises `AllocationLost`.

        Args:
            request, id, owner, metadata: As for `allocate`.
            ttl: Seconds after which the others may have it back when this process has died, 1 to 30 days.
            on_lost: Called with the hold once it is lost: from a thread, by the awaited client on the block's loop.
        """
        return Hold(
            self._driver,
            self._hold_spec(Request(request, ttl, id, owner, metadata)),
            on_lost,
        )

    def allocate_many(
        self,
        requests: Sequence[Request],
        *,
        atomic: bool = False,
    ) -> list[Outcome]:
        """Decide many requests in order, each seeing those before it.

        Args:
            requests: At most 10,000; with `atomic` at most 100, and 64 KiB of names and metadata in all.
            atomic: Grant all of them or none (a gang); live ones with the same request are replayed.

        Returns:
            What became of each, conflicts and losses too; a fault is raised, and what was granted withdrawn.

        Raises:
            Insufficient: With `atomic`: `denial.item` is the index of the request that stopped it.
            AllocationConflict, AllocationLost: With `atomic`, likewise.
        """
        return self._run(self._defaults.allocate_many(requests, atomic=atomic))

    def check(self, request: RequestLike, *, explain: bool = False) -> Check:
        """Would this be granted now?  Decided by the code that decides `allocate`; truthy if so.  Changes nothing.

        Args:
            request: As for `allocate`.
            explain: Also say when at the latest it fits, from the next 256 deadlines.
        """
        return self._run(self._defaults.check(request, explain=explain))

    def renew(
        self,
        allocation: AllocationOrId,
        *,
        ttl: Ttl = None,
        fence: int | None = None,
        shorten: bool = False,
    ) -> Renewal:
        """Extend a lease; never earlier than it ends already, unless `shorten`.  A pinned one stays pinned.

        One that is past its deadline and not yet reclaimed is renewed: nobody had been given its room.  Given an
        `Allocation`, one that the store has lost is adopted while the pool recovers (`outcome="adopted"`; one more
        round trip).

        Args:
            ttl: Seconds from now; None: the ttl that it was allocated with.
            fence: Only if it has this fence.
            shorten: Let it end earlier than it would; gives a pinned one a deadline.

        Raises:
            UnknownAllocation: It was released or reclaimed, or never was.
            AllocationLost: The id is another grant's now.
            NotDurable, OutcomeUnknown: It has, or may have, the new deadline, which stays: nothing is undone.  One
                round trip.
        """
        return self._run(self._defaults.renew(allocation, ttl, fence, shorten=shorten))

    def renew_many(
        self,
        allocations: Iterable[AllocationOrId],
        *,
        ttl: Ttl = None,
    ) -> list[Renewal]:
        """Extend many leases, at most 10,000; 100 a round trip.  What was lost is said in its `Renewal`, not raised."""
        return self._run(self._defaults.renew_many(allocations, ttl))

    def resize(
        self,
        allocation: AllocationOrId,
        request: RequestLike,
        *,
        fence: int | None = None,
    ) -> Allocation:
        """Change what an allocation has taken, all of it or nothing: named resources change, 0 gives one up.

        Shrinking always passes, also where the pool is overcommitted.

        Raises:
            Insufficient: It does not fit; the denial's `requested` is the growth.
            UnknownAllocation: It was released or reclaimed, or never was.
            AllocationLost: The id is another grant's now.
            NotDurable, OutcomeUnknown: It has, or may have, the new amounts, which stay: nothing is undone.  One round
                trip.
        """
        return self._run(self._defaults.resize(allocation, request, fence))

    def begin_release(
        self, allocation: AllocationOrId, *, grace: float | timedelta, fence: int | None = None
    ) -> Allocation:
        """Begin to give an allocation back whose workload is still shutting down.

        What it took stays charged until `release`, or until the grace has passed.  It cannot be renewed meanwhile, and
        its id is not granted again.  Repeating it moves nothing.

        Args:
            grace: Seconds from now, 1 to 30 days.

        Raises:
            UnknownAllocation: It was released or reclaimed, or never was.
            AllocationLost: The id is another grant's now.
            OutcomeUnknown: It may be on its way out, and stays so: nothing is undone.  One round trip.
        """
        return self._run(self._defaults.begin_release(allocation, grace, fence))

    def adopt(self, allocation: Allocation, *, ttl: Ttl = None, force: str | None = None) -> Allocation:
        """Assert again what a holder has and the store has lost, above the capacity too: it is being used.

        Only while the pool recovers, and for the pool's epoch.  What is there already comes back, its deadline no
        earlier than now + ttl.

        Args:
            allocation: As it was granted: from memory, or read from where it was written down.
            ttl: Seconds from now; None: its own.
            force: Why an operator does it all the same; the reason goes to the events.

        Raises:
            AllocationLost: It has ended (`code="ended"`), the pool is not recovering (`"not_recovering"`) or is another
                one (`"epoch"`), or the id is another grant's now (`"fenced"`).
            AllocationConflict: It is live with other amounts or another owner.  One round trip.
        """
        return self._run(self._defaults.adopt(allocation, ttl, force))

    def release(self, allocation: AllocationOrId, *, fence: int | None = None) -> Release:
        """Give an allocation back.

        Returns:
            Truthy when this call gave it back.  An unknown one, or another grant's (fence), is left alone, and said
            so in `outcome`; neither is an error.  One round trip.
        """
        return self._run(self._defaults.release(allocation, fence))

    def release_many(self, allocations: Iterable[AllocationOrId]) -> list[Release]:
        """Give many allocations back, at most 10,000; 100 a round trip."""
        return self._run(self._defaults.release_many(allocations))

    def get(self, id: str) -> Allocation | None:
        """The live allocation of that id, or None.  One round trip."""
        return self._run(self._defaults.get(id))

    def _walk(self, scan: AllocationScan) -> Iterator[Allocation]:
        for call in scan:
            yield from scan.new_in(self._run(call))

    def list(self, *, owner: str | None = None, older_than: Ttl = None) -> Iterator[Allocation]:
        """All allocations, 500 a round trip, in no order.

        Each page is one reading; the walk is not: what is live throughout is listed exactly once, what comes or goes
        meanwhile may be listed.

        Args:
            owner: Only this owner's.
            older_than: Only those granted at least so many seconds ago.
        """
        return self._walk(self._defaults.allocations(owner, older_than))
