"""`AsyncAllocator`: the client for event loops, written by hand; `tools/generate.py` makes `allocator._sync` of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from allocator import settings
from allocator._async.namespaces import AsyncNamespaces
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.operations import adopt, allocate, check, lookup, release, renew, resize, waiting
from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.lookup import AllocationScan
from allocator._engine.protocol.flows import Flow, Operation
from allocator._engine.transport.urls import resolve_target
from allocator.denials import Denial
from allocator.models.allocations import Allocation, Check, Outcome, Release, Renewal, Request, RequestLike, Ttl, Wait

if TYPE_CHECKING:  # holds are imported when they are first used
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

    from allocator.hold import AsyncHold

__all__ = ["AsyncAllocator"]

R = TypeVar("R")


class AsyncAllocator(AsyncNamespaces):
    """Shares pools of capacity with every other process that uses the same server.

    Each call is one script in Redis, executed atomically.  It is retried with the same ids if its reply is lost, for at
    most `timeout` seconds in all, and takes effect once however often it arrives.  Threads, tasks and event loops may
    share a client.  Nothing is connected before the first call.

    Calls use the client's pool; `options(pool=...)` is the same client for another one.  Where a method takes an
    allocation, an `Allocation` includes its pool and its fence; a text is an id, with any fence unless `fence` is
    given.

    Every method may raise `BackendUnavailable` (not executed), `OutcomeUnknown` (it may have been; its undo is
    queued), `UnknownPool`, `InvalidRequest` (nothing was sent), `ContractError` and `InvariantError`; they are not
    repeated below.
    """

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
        """Use the settings of a client of redis-py or valkey-py.

        The client is neither used nor changed: other connections are made with its settings, without its retries, and
        only those are closed.

        Args:
            client: A `redis.asyncio.Redis` or `redis.asyncio.cluster.RedisCluster`, or valkey-py's counterpart.
            pool: The pool of calls that name none.
            owner: The owner of allocations whose call names none.  It must be the same on all replicas that may repeat
                each other's calls.
            prefix: The prefix of all keys; 1 to 32 of `[A-Za-z0-9._:-]`.
            timeout: Seconds that one call may take, retries included; at most 60.
            attempt_timeout: Seconds that one attempt waits for the server.
            allow_eviction: Use a server whose memory policy (`allkeys-*`) may silently evict records.
        """
        target = resolve_target(client, attempt_timeout_s=attempt_timeout, allow_eviction=allow_eviction)
        self._start(target, Defaults(pool, prefix, owner, timeout))

    def _drive(self) -> AsyncDriver:
        return AsyncDriver(self._target, clock=self._clock, instruments=self._instruments)

    async def _run(self, work: Operation[R] | Flow[R], verb: str = "other") -> R:
        return await self._driver.run(work, deadline_s=self._defaults.timeout_s, verb=verb)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send the queued undos, for at most two seconds, and close the connections.  It may be called again.

        A client and its `options` copies share their connections: closing one closes all.
        """
        await self._driver.close()

    async def allocate(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        exclusive: bool = False,
        scope: str | None = None,
        max_lifetime: Ttl = None,
        wait: Wait | None = None,
        priority: int = 0,
        preempt: bool = False,
        estimate: bool = False,
    ) -> Allocation:
        """Allocate all requested resources, or nothing.

        With an `id` of the caller (`namespace/name/uid`) the call may be repeated by any process, also after a crash:
        the live allocation of the same owner and amounts is returned with the same fence, and its deadline is at least
        now + ttl.

        Args:
            request: Resource -> Kubernetes quantity, rounded up to the resource's unit; only named resources are
                charged.
            ttl: Seconds until it ends unless renewed, 1 to 30 days; None pins it: it ends by release, or by age.
            id: 1 to 512 of `[A-Za-z0-9._/:-]`; None: a random one.
            owner: The holder's name; None: the client's.
            metadata: Up to 16 texts, 4 KiB in all.
            exclusive: Share no live allocation of this id: only this call, with its retries, may have made it.
            scope: The scope to charge, too (`quotas.set`); None: the pool's default scope, if it has one.
            max_lifetime: Seconds until its hard end, 1 to ten years: no renewal passes it.  With `ttl=None` it is a
                lease until then.  A live allocation that is returned keeps the end of its grant.
            wait: Seconds, up to 7 days, to wait in line for room; None: not at all.  `timeout` counts for each attempt.
            priority: -1000 to 1000: its place in line, the higher first.
            preempt: With `wait`: it may take room from allocations of lower priority, which are told and have the
                pool's grace to end.  A pool that does not permit preemption takes no notice: the request just waits.
            estimate: Of a denial also return the place in line that it would take, and the earliest start there that
                known deadlines allow: `denial.position`, `denial.start_ms`.

        Returns:
            The allocation; `created` is False if it existed.  One round trip; two more where it waits, one each 5 s.

        Raises:
            Insufficient: It does not fit; `denial` has the numbers.  `QuotaExceeded`: a scope is at its limit.
            WaitTimeout: It did not fit within `wait`.  `RequestWithdrawn`: somebody took it out of the line.
            UnknownScope: The pool has no such scope.
            AllocationConflict: The id is live with another owner, other amounts or another scope, or at all with
                `exclusive`; the live allocation stays as it is.
            AllocationLost: It was granted, and had ended by the time a retry of this call arrived.  A new call returns
                the live allocation, or is granted anew.
            NotDurable: It was granted, and did not reach the requested durability in time: it is undone.
            Recovering: The server has lost data, and holders adopt their allocations.
        """
        wanted = Request(request, ttl, id, owner, metadata, exclusive, scope, max_lifetime, priority, preempt, estimate)
        if wait is not None:
            return waiting.granted(await self._run(waiting.allocate(self._defaults, wanted, wait), "allocate"))
        return allocate.granted(await self._run(allocate.allocate(self._defaults, wanted), "allocate"))

    async def try_allocate(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        exclusive: bool = False,
        scope: str | None = None,
        max_lifetime: Ttl = None,
        priority: int = 0,
        estimate: bool = False,
    ) -> Allocation | Denial:
        """`allocate`, but a denial is returned rather than raised, at once; it is falsy."""
        wanted = Request(request, ttl, id, owner, metadata, exclusive, scope, max_lifetime, priority, estimate=estimate)
        return await self._run(allocate.allocate(self._defaults, wanted), "try_allocate")

    def hold(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        exclusive: bool = False,
        scope: str | None = None,
        max_lifetime: Ttl = None,
        wait: Wait | None = None,
        priority: int = 0,
        preempt: bool = False,
        estimate: bool = False,
        on_lost: Callable[[AsyncHold], object] | None = None,
        on_preempt: Callable[[AsyncHold], object] | None = None,
        cancel: bool = False,  # only awaited
    ) -> AsyncHold:
        """Allocate for the length of a `with` block: renewed by a thread at a third of its ttl, released at the end.

        `lost` and `check()` of the hold use this machine's clock, and report a loss before the server reclaims the
        allocation.  A block that ends without an exception although the allocation was lost raises `AllocationLost`.

        Args:
            request, id, owner, metadata, exclusive, scope, max_lifetime, wait, priority, preempt, estimate: As for
                `allocate`.  Without `exclusive`, holds of one id share an allocation, and the first that ends
                releases it.  A hold is lost (`code="over"`) shortly before its hard end.
            ttl: Seconds after which the server may reclaim it if this process dies, 1 to 30 days.
            on_lost: Called with the hold once it is lost: from a thread, by the awaited client on the block's loop.
            on_preempt: Called likewise, once, when a request of higher priority takes its room: it stays held until
                `hold.preempted.deadline`, less a margin, and is lost then (`code="preempted"`).
            cancel: Only awaited: cancel the block once it is lost; it ends with `AllocationLost`.
        """
        from allocator.hold import AsyncHold  # noqa: PLC0415

        wanted = Request(request, ttl, id, owner, metadata, exclusive, scope, max_lifetime, priority, preempt, estimate)
        return AsyncHold(
            self._driver,
            self._hold_spec(wanted, wait),
            on_lost,
            on_preempt,
            cancel=cancel,  # only awaited
        )

    async def allocate_many(
        self, requests: Sequence[Request], *, atomic: bool = False, wait: Wait | None = None
    ) -> list[Outcome]:
        """Decide many requests in order, each after those before it.

        Args:
            requests: At most 10,000; with `atomic` 100, and 64 KiB of names and metadata in all; with `wait` 32.
            atomic: Grant all of them or none; live allocations with the same request are replayed.
            wait: Only with `atomic`: they take one place in line, of one priority, and are granted together.

        Returns:
            The outcome of each, conflicts and losses too.  After a failure what was granted is undone.

        Raises:
            Insufficient, WaitTimeout: With `atomic`: `denial.item` is the index of the request that stopped it.
            AllocationConflict, AllocationLost, RequestWithdrawn, UnknownScope: As `allocate`; all is undone.
        """
        return await self._run(waiting.allocate_many(self._defaults, requests, wait, atomic=atomic), "allocate_many")

    async def check(
        self,
        request: RequestLike,
        *,
        explain: bool = False,
        scope: str | None = None,
        priority: int = 0,
        preempt: bool = False,
        max_lifetime: Ttl = None,
    ) -> Check:
        """Whether the request would be granted now, by the same code as `allocate`; truthy if so.  It changes nothing.

        Args:
            request: As for `allocate`.
            explain: Also return when at the latest it fits (`fits_ms`), and of its denial the place in line and the
                earliest start there (`position`, `start_ms`), all by the next 256 deadlines.
            scope, priority: As for `allocate`.
            preempt: Also name what a request that waits would preempt now: `Check.victims`.
            max_lifetime: As for `allocate`; a request with a hard end may be backfilled.
        """
        work = check.check(self._defaults, request, scope, priority, max_lifetime, explain=explain, preempt=preempt)
        return await self._run(work, "check")

    async def renew(
        self,
        allocation: AllocationOrId,
        *,
        ttl: Ttl = None,
        fence: int | None = None,
        shorten: bool = False,
    ) -> Renewal:
        """Extend a lease; its deadline never becomes earlier, unless `shorten`.  A pinned one stays pinned.

        No deadline is later than its hard end, if it has one (`Renewal.ends_ms`): there it is cut.

        A lease past its deadline that is not yet reclaimed is renewed, as nothing was granted in its place.  Given an
        `Allocation`, one that the server has lost is adopted while the pool recovers (`outcome="adopted"`; one more
        round trip).

        Args:
            ttl: Seconds from now; None: the ttl that it was allocated with.
            fence: Only if it has this fence.
            shorten: Allow an earlier deadline; gives a pinned one a deadline.

        Raises:
            UnknownAllocation: It was released or reclaimed, or never existed.
            AllocationLost: The id belongs to another grant now, its hard end has been reached (`code="over"`), or a
                request of higher priority takes its room (`code="preempted"`).
            NotDurable, OutcomeUnknown: It has, or may have, the new deadline, which stays: nothing is undone.  One
                round trip.
        """
        return await self._run(renew.renew(self._defaults, allocation, ttl, fence, shorten=shorten), "renew")

    async def renew_many(self, allocations: Iterable[AllocationOrId], *, ttl: Ttl = None) -> list[Renewal]:
        """Extend many leases, at most 10,000; 100 a round trip.  A loss is in its `Renewal`, not raised."""
        return await self._run(renew.renew_many(self._defaults, allocations, ttl), "renew_many")

    async def resize(
        self,
        allocation: AllocationOrId,
        request: RequestLike,
        *,
        fence: int | None = None,
    ) -> Allocation:
        """Change the amounts of an allocation, all or nothing: named resources change, 0 gives one up.

        Shrinking succeeds also if the pool is overcommitted; only the `units` of a pool may refuse an amount.

        Raises:
            Insufficient: It does not fit; a shortage has what was `requested`, what is `held`, and the `growth`.
            UnknownAllocation: It was released or reclaimed, or never existed.
            AllocationLost: The id belongs to another grant now.
            NotDurable, OutcomeUnknown: It has, or may have, the new amounts, which stay: nothing is undone.  One round
                trip.
        """
        return await self._run(resize.resize(self._defaults, allocation, request, fence), "resize")

    async def begin_release(
        self, allocation: AllocationOrId, *, grace: float | timedelta, fence: int | None = None
    ) -> Allocation:
        """Begin the release of an allocation whose workload is still shutting down.

        Its amounts stay charged until `release`, or until the grace has passed.  It cannot be renewed meanwhile, and
        its id is not granted again.  A repeated call does not move the deadline.

        Args:
            grace: Seconds from now, 1 to 30 days.

        Raises:
            UnknownAllocation: It was released or reclaimed, or never existed.
            AllocationLost: The id belongs to another grant now.
            OutcomeUnknown: Its release may have begun, and stays so: nothing is undone.  One round trip.
        """
        return await self._run(release.begin_release(self._defaults, allocation, grace, fence), "begin_release")

    async def move(self, allocation: AllocationOrId, scope: str | None, *, fence: int | None = None) -> Allocation:
        """Charge an allocation to another scope; None: to the pool alone.  All of it or nothing; its amounts stay.

        Raises:
            Insufficient: It does not fit there.
            UnknownScope: The pool has no such scope.
            UnknownAllocation: It was released or reclaimed, or never existed.
            AllocationLost: The id belongs to another grant now.
            OutcomeUnknown: It may have been moved, and stays so: nothing is undone.  One round trip.
        """
        return await self._run(resize.move(self._defaults, allocation, scope, fence), "move")

    async def adopt(self, allocation: Allocation, *, ttl: Ttl = None, force: str | None = None) -> Allocation:
        """Assert an allocation again that the server has lost, also above the capacity, as it is in use.

        Only while the pool recovers, and for the pool's epoch.  A live allocation is returned, and its deadline is at
        least now + ttl.

        Args:
            allocation: As it was granted: from memory, or read from where it was stored.
            ttl: Seconds from now; None: its present ttl.
            force: The reason why an operator adopts it although the pool is not recovering; written to the events.

        Raises:
            AllocationLost: It has ended (`code="ended"`), the pool is not recovering (`"not_recovering"`) or has
                another epoch (`"epoch"`), its hard end has been reached (`"over"`), or the id belongs to another grant
                now (`"fenced"`).
            AllocationConflict: It is live with other amounts or another owner.  One round trip.
        """
        return await self._run(adopt.adopt(self._defaults, allocation, ttl, force), "adopt")

    async def release(self, allocation: AllocationOrId, *, fence: int | None = None) -> Release:
        """Release an allocation.

        Returns:
            Truthy if this call released it.  An unknown one, or another grant's (fence), is left unchanged, as
            `outcome` says; neither is an error.  One round trip.
        """
        return await self._run(release.release(self._defaults, allocation, fence), "release")

    async def release_many(self, allocations: Iterable[AllocationOrId]) -> list[Release]:
        """Release many allocations, at most 10,000; 100 a round trip."""
        return await self._run(release.release_many(self._defaults, allocations), "release_many")

    async def get(self, id: str) -> Allocation | None:
        """The live allocation of that id, or None.  One round trip."""
        return await self._run(lookup.get(self._defaults, id), "get")

    async def _walk(self, scan: AllocationScan) -> AsyncIterator[Allocation]:
        for call in scan:
            for one in scan.new_in(await self._run(call, "list")):
                yield one

    def list(self, *, owner: str | None = None, older_than: Ttl = None) -> AsyncIterator[Allocation]:
        """All allocations, 500 a round trip, in no order.

        Each page is read atomically, the whole list is not: an allocation that is live throughout is listed exactly
        once, one that begins or ends meanwhile may be listed.

        Args:
            owner: Only this owner's.
            older_than: Only those granted at least so many seconds ago.
        """
        return self._walk(lookup.scan(self._defaults, owner, older_than))
