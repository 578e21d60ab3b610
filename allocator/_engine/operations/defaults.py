"""Every verb of the clients: from the caller's arguments to an operation or flow, which both clients run.

All input is validated here, before anything is sent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from allocator import settings
from allocator._engine.operations import (
    adopt,
    allocate,
    audit,
    check,
    doctor,
    events,
    lookup,
    pool_deletion,
    pools,
    reclaim,
    reconcile,
    release,
    renew,
    resize,
)
from allocator._engine.operations.pools import NO_OPTIONS, PoolOptions
from allocator._engine.operations.replies import raise_lost
from allocator._engine.operations.requests import FencedId
from allocator._engine.protocol.flows import Flow
from allocator._engine.protocol.keys import PoolKeys, pool_keys
from allocator.denials import Denial
from allocator.durability import durability
from allocator.errors import InvalidRequest
from allocator.models.allocations import Allocation, Check, Outcome, Release, Renewal, Request, RequestLike, Ttl
from allocator.models.events import Event
from allocator.models.maintenance import Audit, DoctorReport, Reclaimed, Reconciled
from allocator.models.pools import Pool, Usage
from allocator.quantity import Quantity
from allocator.resources import Resources
from allocator.validation import (
    age_ms,
    allocation_id,
    batch,
    deadline_s,
    epoch_text,
    grace_ms,
    instant_ms,
    key_prefix,
    metadata,
    owner_name,
    owner_pattern,
    pool_name,
    reason_text,
    ttl_ms,
)
from allocator.validation import fence as valid_fence

AllocationOrId = Allocation | str
"""An allocation, which includes its pool and fence, or an id in the client's pool."""


class Defaults:
    """The defaults of a client (pool, prefix, owner, durability, timeout), and the verbs that use them."""

    __slots__ = ("durability", "owner", "pool", "prefix", "timeout_s")

    def __init__(
        self, pool: str, prefix: str, owner: str | None, timeout: float = settings.DEADLINE_S, level: str | None = None
    ) -> None:
        self.prefix = key_prefix(prefix)
        self.pool = pool_keys(pool_name(pool), self.prefix)
        self.owner = settings.OWNER_DEFAULT if owner is None else owner_name(owner)
        self.timeout_s = deadline_s(timeout, "timeout")
        self.durability = durability(level)

    def replaced(
        self, pool: str | None, owner: str | None, level: str | None, timeout: float | None, epoch: str | None
    ) -> Defaults:
        """A copy with the given values replaced."""
        other = copy.copy(self)
        if pool is not None and pool != self.pool.name:
            other.pool = pool_keys(pool_name(pool), self.prefix)
        if epoch is not None:
            other.pool = pool_keys(other.pool.name, self.prefix, epoch_text(epoch))
        if owner is not None:
            other.owner = owner_name(owner)
        if level is not None:
            other.durability = durability(level)
        if timeout is not None:
            other.timeout_s = deadline_s(timeout, "timeout")
        return other

    def keys(self, name: str | None) -> PoolKeys:
        """The keys of the pool of that name; None: the default pool."""
        if name is None or name == self.pool.name:
            return self.pool
        return pool_keys(pool_name(name), self.prefix)

    def _identify(self, held: AllocationOrId, fence: int | None) -> tuple[PoolKeys, FencedId]:
        if isinstance(held, Allocation):
            return self.keys(held.pool), FencedId(held.id, held.fence if fence is None else valid_fence(fence), held)
        return self.pool, FencedId(allocation_id(held), valid_fence(fence))

    def _groups(self, held: Iterable[AllocationOrId]) -> tuple[int, dict[PoolKeys, list[tuple[int, FencedId]]]]:
        """The allocations by pool, each with its index in the reply."""
        groups: dict[PoolKeys, list[tuple[int, FencedId]]] = {}
        items = batch(held, "allocations")
        for at, one in enumerate(items):
            keys, identity = self._identify(one, None)
            groups.setdefault(keys, []).append((at, identity))
        return len(items), groups

    # -- pools ---------------------------------------------------------------------------------------------------------

    def create_pool(
        self,
        name: str,
        capacity: Mapping[str, Quantity],
        whole_units: Iterable[str],
        options: PoolOptions = NO_OPTIONS,
        *,
        is_new: bool = False,
    ) -> Flow[Pool]:
        keys = pool_keys(pool_name(name), self.prefix)
        return iter(pools.create(keys, capacity, whole_units, options, is_new=is_new))

    def recover_pool(self, lost: Pool) -> Flow[Pool]:
        return iter(pools.recover(lost, pool_keys(pool_name(lost.name), self.prefix)))

    def end_recovery(self, name: str | None) -> Flow[Pool]:
        return iter(pools.set_state(self.keys(name), "recovered"))

    def get_pool(self, name: str | None) -> Flow[Pool]:
        found = yield from pools.usage(self.keys(name))
        return found.pool

    def list_pools(self) -> Flow[list[str]]:
        return pools.names(self.prefix)

    def update_pool(
        self,
        name: str | None,
        capacity: Mapping[str, Quantity] | None,
        remove: Iterable[str],
        whole_units: Iterable[str] | None,
        strict: bool,
        generation: int | None,
        options: PoolOptions = NO_OPTIONS,
    ) -> Flow[Pool]:
        return iter(pools.change(self.keys(name), capacity, remove, whole_units, generation, options, strict=strict))

    def upgrade_pool(self, name: str | None) -> Flow[Pool]:
        return iter(pools.set_state(self.keys(name), "upgrade"))

    def delete_pool(self, name: str, *, force: bool) -> Flow[bool]:
        return pool_deletion.delete(self.keys(pool_name(name)), force=force)

    # -- allocations ---------------------------------------------------------------------------------------------------

    def allocate(self, request: Request) -> Flow[Allocation | Denial]:
        return allocate.allocate(self.pool, request, self.owner, self.durability)

    def allocate_many(self, requests: Sequence[Request], *, atomic: bool) -> Flow[list[Outcome]]:
        perform = allocate.allocate_all if atomic else allocate.allocate_many
        return perform(self.pool, requests, self.owner, self.durability)

    def check(self, request: RequestLike, *, explain: bool) -> Flow[Check]:
        return check.check(self.pool, request, explain=explain)

    def renew(
        self,
        held: AllocationOrId,
        ttl: Ttl,
        fence: int | None,
        *,
        shorten: bool,
    ) -> Flow[Renewal]:
        keys, identity = self._identify(held, fence)
        renewed = (yield from renew.renew(keys, (identity,), ttl_ms(ttl), self.durability, shorten=shorten))[0]
        if not renewed:
            raise_lost(keys, identity.id, identity.fence, renewed.outcome, [renewed.outcome, renewed.fence])
        return renewed

    def renew_many(self, held: Iterable[AllocationOrId], ttl: Ttl) -> Flow[list[Renewal]]:
        count, groups = self._groups(held)
        answers: dict[int, Renewal] = {}
        for keys, group in groups.items():
            renewed = yield from renew.renew(keys, [one for _, one in group], ttl_ms(ttl), self.durability)
            answers.update(zip((at for at, _ in group), renewed, strict=True))
        return [answers[at] for at in range(count)]

    def resize(self, held: AllocationOrId, request: RequestLike, fence: int | None) -> Flow[Allocation]:
        keys, identity = self._identify(held, fence)
        return resize.resize(keys, identity.id, identity.fence, request, self.durability)

    def release(self, held: AllocationOrId, fence: int | None) -> Flow[Release]:
        keys, identity = self._identify(held, fence)
        return (yield from release.release(keys, (identity,)))[0]

    def release_many(self, held: Iterable[AllocationOrId]) -> Flow[list[Release]]:
        count, groups = self._groups(held)
        answers: dict[int, Release] = {}
        for keys, group in groups.items():
            released = yield from release.release(keys, [identity for _, identity in group])
            answers.update(zip((at for at, _ in group), released, strict=True))
        return [answers[at] for at in range(count)]

    def begin_release(self, held: AllocationOrId, grace: float | timedelta, fence: int | None) -> Flow[Allocation]:
        keys, identity = self._identify(held, fence)
        if grace == 0:
            raise InvalidRequest("grace: without one it is a release", field="grace")
        return iter(release.begin_release(keys, identity, grace_ms(grace, "grace")))

    def adopt(self, held: Allocation, ttl: Ttl, force: str | None) -> Flow[Allocation]:
        if not isinstance(held, Allocation):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest("allocation: what is adopted is an Allocation, not an id", field="allocation")
        identity = Allocation(
            allocation_id(held.id),
            pool_name(held.pool),
            owner_name(held.owner),
            Resources.request(held.resources),
            valid_fence(held.fence),
            held.granted_ms,
            held.ttl_ms,
            held.deadline_ms,
            dict(metadata(held.metadata)),
            epoch=held.epoch,
        )
        reason = "" if force is None else reason_text(force, "force")
        return adopt.adopt(self.keys(held.pool), identity, ttl_ms(ttl), reason, self.durability)

    def reconcile(
        self,
        live_ids: Iterable[str],
        as_of: int | datetime,
        owner: str,
        max_released: int | None,
        *,
        dry_run: bool,
    ) -> Flow[Reconciled]:
        ids = {allocation_id(one) for one in batch(live_ids, "live_ids", settings.RECONCILE_IDS_MAX)}
        most = None
        if max_released is not None:
            most = 0 if max_released == 0 else _count(max_released, "max_released", settings.AMOUNT_MAX)
        return reconcile.reconcile(
            self.pool, ids, instant_ms(as_of, "as_of"), owner_pattern(owner), most, dry_run=dry_run
        )

    # -- reading and maintenance ---------------------------------------------------------------------------------------

    def get(self, identity: str) -> Flow[Allocation | None]:
        return iter(lookup.get(self.pool, allocation_id(identity)))

    def allocations(self, owner: str | None, older_than: Ttl) -> lookup.AllocationScan:
        age = None if older_than is None else age_ms(older_than, "older_than")
        return lookup.AllocationScan(self.pool, None if owner is None else owner_name(owner), age)

    def usage(self, name: str | None) -> Flow[Usage]:
        return iter(pools.usage(self.keys(name)))

    def events(self, limit: int) -> Flow[list[Event]]:
        return iter(events.events(self.pool, _count(limit, "limit", settings.PAGE_RECORDS_MAX)))

    def reclaim(self, older_than: Ttl, limit: int | None, *, include_live: bool) -> Flow[Reclaimed]:
        age = None if older_than is None else age_ms(older_than, "older_than")
        if include_live and age is None:
            raise InvalidRequest("include_live needs an age: older_than", field="older_than")
        most = None if limit is None else _count(limit, "limit", settings.MANY_ITEMS_MAX)
        return reclaim.reclaim(self.pool, most, age, include_live=include_live)

    def doctor(self, client_ms: Callable[[], int]) -> Flow[DoctorReport]:
        return doctor.diagnose(self.pool, client_ms)

    def audit(self, *, repair: bool, offline: bool) -> Flow[Audit]:
        if offline and not repair:
            raise InvalidRequest("offline is a way to repair: give repair=True too", field="offline")
        return audit.repair(self.pool, offline=offline) if repair else audit.audit(self.pool)


def _count(value: int, field: str, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidRequest(f"{field} is an integer from 1 to {most}, not {value!r}", field=field)
    return value
