"""`AsyncAllocator`: the awaited client.  `allocator.client` has its twin, with the same names, blocking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from allocator import settings
from allocator._client import Client
from allocator._engine.async_drive import AsyncDriver
from allocator._engine.connect import open_store
from allocator._engine.operations.reading import Listing
from allocator._engine.operations.verbs import Held, Verbs
from allocator.async_hold import AsyncHold
from allocator.errors import Insufficient
from allocator.models import (
    Allocation,
    Audit,
    Check,
    Denial,
    Event,
    Outcome,
    Pool,
    Reclaimed,
    Release,
    Renewal,
    Request,
    RequestLike,
    Ttl,
    Usage,
)
from allocator.quantity import Quantity

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

__all__ = ["AsyncAllocator"]


class AsyncAllocator(Client[AsyncDriver]):
    """Shares pools of capacity with every other process that uses the same store; awaited.

    Each call is one script in Redis, decided and recorded as a whole.  It is repeated with the same ids when its
    reply is lost, for at most `deadline` seconds in all, and has one effect however often it arrives.  Calls of one
    turn of the loop share a round trip.  Several loops may use one client.  Nothing is connected before the first call.

    Every method may raise `BackendUnavailable` (not executed), `OutcomeUnknown` (it may have been; its withdrawal is
    queued), `UnknownPool`, `InvalidRequest` (nothing was sent), `ContractError` and `InvariantError`; they are not
    repeated below.  `pool` names another pool than the client's.  Where a method takes an allocation, an `Allocation`
    brings its pool and its fence along; a text is an id, with any fence unless one is given.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        pool: str = "default",
        owner: str | None = None,
        prefix: str = settings.PREFIX_DEFAULT,
        deadline: float = settings.DEADLINE_S,
        attempt_timeout: float = settings.ATTEMPT_TIMEOUT_S,
        allow_eviction: bool = False,
    ) -> None:
        """Use the settings of a redis-py client.

        The client itself is neither used nor changed: connections of our own are made with its settings, without its
        retries, and only those are closed.

        Args:
            client: A `redis.asyncio.Redis` or `redis.asyncio.cluster.RedisCluster`.
            pool: The pool of calls that name none.
            owner: The owner of allocations that name none; who holds it, for people.  The same on all replicas that
                may repeat each other's calls.
            prefix: Of all keys; 1 to 32 of `[A-Za-z0-9._:-]`.
            deadline: Seconds that one call may take, repeats included; at most 60.
            attempt_timeout: Seconds that one attempt waits for the server.
            allow_eviction: Use a server whose memory policy (`allkeys-*`) may silently evict records.
        """
        store = open_store(client, attempt_timeout_s=attempt_timeout, allow_eviction=allow_eviction)
        self._start(store, Verbs(pool, prefix, owner), deadline)

    def _drive(self) -> AsyncDriver:
        return AsyncDriver(self._store, deadline_s=self._deadline_s, clock=self._clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Withdraw what is still in doubt, for at most two seconds, and close the connections.  May be repeated."""
        await self._driver.close()

    async def create_pool(
        self, name: str, capacity: Mapping[str, Quantity], *, whole_units: Iterable[str] = ()
    ) -> Pool:
        """Create a pool if there is none of that name; an existing one comes back unchanged (`created=False`).

        Args:
            name: 1 to 64 of `[A-Za-z0-9._-]`.
            capacity: Resource -> Kubernetes quantity, rounded down to the resource's unit; 1 to 32 of them.
            whole_units: Resources of which only whole ones are granted, such as `nvidia.com/gpu`.

        Returns:
            The pool as it is.  One round trip.
        """
        return await self._driver.run(self._verbs.create_pool(name, capacity, whole_units))

    async def pool(self, name: str | None = None) -> Pool:
        """The pool as configured, and its counters.  One round trip."""
        return await self._driver.run(self._verbs.pool(name))

    async def pools(self) -> list[str]:
        """The names of all pools under the client's prefix, sorted; a SCAN of the server."""
        return await self._driver.run(self._verbs.pools())

    async def configure(
        self,
        capacity: Mapping[str, Quantity] | None = None,
        *,
        remove: Iterable[str] = (),
        whole_units: Iterable[str] | None = None,
        strict: bool = False,
        generation: int | None = None,
        pool: str | None = None,
    ) -> Pool:
        """Change a pool: the resources named are merged into it.

        Lowering a capacity below what is allocated marks the pool overcommitted in that resource: nothing is taken
        away, and requests for it are refused until enough was given back.

        Args:
            capacity: Resource -> quantity, rounded down.
            remove: Resources to count no more; refused while in use.
            whole_units: All that are granted in whole units only; None: as they are.
            strict: Refuse to lower below what is allocated.
            generation: Change only if this is the pool's generation.

        Raises:
            PoolConflict: In use, or of another generation.  Nothing was changed.  One round trip.
        """
        return await self._driver.run(self._verbs.configure(capacity, remove, whole_units, strict, generation, pool))

    async def upgrade_pool(self, name: str | None = None) -> Pool:
        """Let only versions with this one's schema, or newer ones, write to the pool: after a rolling upgrade."""
        return await self._driver.run(self._verbs.upgrade_pool(name))

    async def delete_pool(self, name: str, *, force: bool = False) -> bool:
        """End a pool.

        Args:
            name: Its name.
            force: End its live allocations first, 200 a round trip; it grants nothing from then on.

        Returns:
            False where there was none.

        Raises:
            PoolConflict: It has live allocations, and `force` was not given.
        """
        return await self._driver.run(self._verbs.delete_pool(name, force=force))

    async def allocate(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        pool: str | None = None,
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
            AllocationLost: It was granted, and had ended by the time that a repeat of this call arrived.
        """
        outcome = await self._driver.run(self._verbs.allocate(Request(request, ttl, id, owner, metadata), pool))
        if isinstance(outcome, Denial):
            raise Insufficient(outcome)
        return outcome

    async def try_allocate(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        pool: str | None = None,
    ) -> Allocation | Denial:
        """`allocate`, but a refusal is returned rather than raised; it is falsy."""
        return await self._driver.run(self._verbs.allocate(Request(request, ttl, id, owner, metadata), pool))

    def hold(
        self,
        request: RequestLike,
        *,
        ttl: Ttl,
        id: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, str] | None = None,
        pool: str | None = None,
        on_lost: Callable[[AsyncHold], object] | None = None,
        cancel: bool = False,
    ) -> AsyncHold:
        """Allocate for the length of a `with` block: renewed by a thread at a third of its ttl, released at the end.

        The hold knows whether it is still good (`lost`, `check()`), by this machine's own clock and before the ledger
        takes it back; a block that ends as if nothing had happened although it was lost raises `AllocationLost`.

        Args:
            request, id, owner, metadata: As for `allocate`.
            ttl: Seconds after which the others may have it back when this process has died, 1 to 30 days.
            on_lost: Called with the hold once it is lost: from a thread, by the awaited client on the block's loop.
            cancel: (The awaited client's.)  Cancel the block once it is lost; it ends with `AllocationLost`.
        """
        terms = self._terms(Request(request, ttl, id, owner, metadata), pool)
        return AsyncHold(self._driver, terms, on_lost, cancel=cancel)

    async def allocate_many(
        self, requests: Sequence[Request], *, atomic: bool = False, pool: str | None = None
    ) -> list[Outcome]:
        """Decide many requests in order, each seeing those before it.

        Args:
            requests: At most 10,000; with `atomic` at most 100.
            atomic: Grant all of them or none (a gang); live ones with the same request are replayed.

        Returns:
            What became of each, conflicts and losses too; a fault is raised, and what was granted withdrawn.

        Raises:
            Insufficient: With `atomic`: `denial.item` is the index of the request that stopped it.
            AllocationConflict, AllocationLost: With `atomic`, likewise.
        """
        return await self._driver.run(self._verbs.allocate_many(requests, pool, atomic=atomic))

    async def check(self, request: RequestLike, *, explain: bool = False, pool: str | None = None) -> Check:
        """Would this be granted now?  Decided by the code that decides `allocate`; truthy if so.  Changes nothing.

        Args:
            request: As for `allocate`.
            explain: Also say when at the latest it fits, from the next 256 deadlines.
        """
        return await self._driver.run(self._verbs.check(request, pool, explain=explain))

    async def renew(
        self,
        allocation: Held,
        *,
        ttl: Ttl = None,
        fence: int | None = None,
        shorten: bool = False,
        pool: str | None = None,
    ) -> Renewal:
        """Extend a lease; never earlier than it ends already, unless `shorten`.  A pinned one stays pinned.

        One that is past its deadline and not yet reclaimed is renewed: nobody had been given its room.

        Args:
            ttl: Seconds from now; None: the ttl that it was allocated with.
            fence: Only if it has this fence.
            shorten: Let it end earlier than it would; gives a pinned one a deadline.

        Raises:
            UnknownAllocation: It was released or reclaimed, or never was.
            AllocationLost: The id is another grant's now.  One round trip.
        """
        return await self._driver.run(self._verbs.renew(allocation, ttl, fence, pool, shorten=shorten))

    async def renew_many(
        self, allocations: Iterable[Held], *, ttl: Ttl = None, pool: str | None = None
    ) -> list[Renewal]:
        """Extend many leases, at most 10,000; 100 a round trip.  What was lost is said in its `Renewal`, not raised."""
        return await self._driver.run(self._verbs.renew_many(allocations, ttl, pool))

    async def resize(
        self, allocation: Held, request: RequestLike, *, fence: int | None = None, pool: str | None = None
    ) -> Allocation:
        """Change what an allocation has taken, all of it or nothing: named resources change, 0 gives one up.

        Shrinking always passes, also where the pool is overcommitted.

        Raises:
            Insufficient: It does not fit; the denial's `requested` is the growth.
            UnknownAllocation: It was released or reclaimed, or never was.
            AllocationLost: The id is another grant's now.  One round trip.
        """
        return await self._driver.run(self._verbs.resize(allocation, request, fence, pool))

    async def release(self, allocation: Held, *, fence: int | None = None, pool: str | None = None) -> Release:
        """Give an allocation back.

        Returns:
            Truthy when this call gave it back.  An unknown one, or another grant's (fence), is left alone, and said
            so in `outcome`; neither is an error.  One round trip.
        """
        return await self._driver.run(self._verbs.release(allocation, fence, pool))

    async def release_many(self, allocations: Iterable[Held], *, pool: str | None = None) -> list[Release]:
        """Give many allocations back, at most 10,000; 100 a round trip."""
        return await self._driver.run(self._verbs.release_many(allocations, pool))

    async def get(self, id: str, *, pool: str | None = None) -> Allocation | None:
        """The live allocation of that id, or None.  One round trip."""
        return await self._driver.run(self._verbs.get(id, pool))

    def allocations(
        self, *, owner: str | None = None, older_than: Ttl = None, pool: str | None = None
    ) -> AsyncIterator[Allocation]:
        """All allocations, 500 a round trip, in no order.

        Each page is one reading; the walk is not: what is live throughout is listed exactly once, what comes or goes
        meanwhile may be listed.

        Args:
            owner: Only this owner's.
            older_than: Only those granted at least so many seconds ago.
        """
        return self._walk(self._verbs.allocations(owner, older_than, pool))

    async def _walk(self, listing: Listing) -> AsyncIterator[Allocation]:
        for call in listing:
            for one in listing.take(await self._driver.run(call)):
                yield one

    async def usage(self, *, pool: str | None = None) -> Usage:
        """One atomic reading of a pool's counters.  One round trip, whatever is allocated."""
        return await self._driver.run(self._verbs.usage(pool))

    async def events(self, *, limit: int = 50, pool: str | None = None) -> list[Event]:
        """The latest changes, newest first; at most 500 of about 10,000 that are kept.  One round trip."""
        return await self._driver.run(self._verbs.events(limit, pool))

    async def reclaim(
        self,
        *,
        older_than: Ttl = None,
        include_live: bool = False,
        limit: int | None = None,
        pool: str | None = None,
    ) -> Reclaimed:
        """Take back what is past its deadline; 200 a round trip, until done, `limit` or the client's deadline.

        Args:
            older_than: Also pinned allocations granted at least so many seconds ago.
            include_live: Also leases of that age, although their holders keep renewing them.
            limit: At most so many; None: 10,000.
        """
        return await self._driver.run(self._verbs.reclaim(older_than, limit, pool, include_live=include_live))

    async def audit(self, *, repair: bool = False, offline: bool = False, pool: str | None = None) -> Audit:
        """Check every invariant of a pool; truthy when clean.

        One script up to 10,000 allocations; above, pages guarded by the pool's revision, and `inconclusive` where it
        would not stand still.

        Args:
            repair: Mend what is found; records count, counters follow.
            offline: Grant nothing meanwhile; needed to repair more than 10,000 allocations.
        """
        return await self._driver.run(self._verbs.audit(pool, repair=repair, offline=offline))
