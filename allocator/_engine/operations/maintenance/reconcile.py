"""reconcile: release allocations of an owner that are not among its live ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.lookup import AllocationScan
from allocator._engine.operations.replies import raise_refused
from allocator._engine.operations.requests import make_call, new_call
from allocator._engine.protocol.flows import Flow, Item, Reply, TimeLeft
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.errors import AllocatorError, InvalidRequest, ReconcileRefused
from allocator.models.allocations import Allocation
from allocator.models.maintenance import Reconciled
from allocator.validation import allocation_id, batch, count, instant_ms, owner_pattern

_RECONCILE: Final = load("reconcile")

ANY_BELOW: Final = "*"
"""At the end of an owner: all owners whose name begins with the part before it."""


def reconcile(
    defaults: Defaults,
    live_ids: Iterable[str],
    as_of: int | datetime,
    owner: str,
    max_released: int | None = None,
    *,
    dry_run: bool = False,
) -> Flow[Reconciled]:
    """Release the owner's allocations that are older than `as_of` and not in `live_ids`, unless they are too many.

    Kept are those granted in that very millisecond, and those that a caller has confirmed since, by a renewal or an
    `allocate` of the id.

    Raises:
        InvalidRequest: `as_of` is in the future.
        ReconcileRefused: It would release more than `max_released`, by default half of the owner's allocations; or any,
            where `live_ids` is empty and `max_released` is not given.  A dry run is not refused.
    """
    pool, owner, as_of_ms = defaults.pool, owner_pattern(owner), instant_ms(as_of, "as_of")
    live = {allocation_id(one) for one in batch(live_ids, "live_ids", settings.RECONCILE_IDS_MAX)}
    limit = None if max_released is None else count(max_released, "max_released", settings.AMOUNT_MAX, least=0)
    listed = yield from _owned(pool, as_of_ms, owner)
    owned = [one for one in listed if one.granted_ms < as_of_ms]
    stale = [one for one in owned if one.id not in live]
    most = _default_bound(owned, live) if limit is None else limit
    if len(stale) > most and not dry_run:
        raise _too_many(pool, owner, len(stale), len(owned), most, empty=not live)
    found = {one.id for one in listed}
    kept = tuple(sorted(found & live))
    missing = tuple(sorted(live - found))
    if dry_run:
        return Reconciled(tuple(sorted(one.id for one in stale)), kept, missing, dry_run=True)
    released: list[str] = []
    for at in range(0, len(stale), settings.BATCH_ITEMS_MAX):
        left: float = yield TimeLeft()
        if left <= 0:
            return Reconciled(tuple(sorted(released)), kept, missing, more=True)
        released += yield from _release(pool, stale[at : at + settings.BATCH_ITEMS_MAX], as_of_ms, owner)
    return Reconciled(tuple(sorted(released)), kept, missing)


def _default_bound(owned: Collection[Allocation], live_ids: Collection[str]) -> int:
    """Half of what the owner has; nothing by an empty listing, which a failed query gives as well."""
    return (len(owned) + 1) // 2 if live_ids else 0


def _too_many(pool: PoolKeys, owner: str, stale: int, owned: int, most: int, *, empty: bool) -> ReconcileRefused:
    why = "the listing is empty: max_released says how many may go" if empty else "is the listing whole?"
    return ReconcileRefused(
        f"pool {pool.name!r}: {stale} of {owned} allocation{'' if owned == 1 else 's'} of {owner!r} would be released, "
        f"at most {most} may be: {why}",
        would_release=stale,
        owned=owned,
        max_released=most,
    )


def _owned(pool: PoolKeys, as_of_ms: int, owner: str) -> Flow[list[Allocation]]:
    listing = AllocationScan(pool)
    owned: list[Allocation] = []
    for call in listing:
        page = yield from call
        if as_of_ms > page.read_ms:
            text = f"as_of: {as_of_ms} is {as_of_ms - page.read_ms} ms later than the pool's time"
            raise InvalidRequest(text, field="as_of")
        owned += [one for one in listing.new_in(page) if _is_owners(one, owner)]
    return owned


def _is_owners(one: Allocation, owner: str) -> bool:
    if owner.endswith(ANY_BELOW):
        return one.owner.startswith(owner.removesuffix(ANY_BELOW))
    return one.owner == owner


def _release(pool: PoolKeys, stale: list[Allocation], as_of_ms: int, owner: str) -> Flow[list[str]]:
    items = [Item(new_call(), (one.fence,), pool.record(one.id), one.id) for one in stale]
    replies: Reply = yield make_call(
        _RECONCILE, pool, items, batch=True, epoch=pool.epoch, owner=owner, as_of_ms=as_of_ms
    )
    released: list[str] = []
    for one, reply in zip(stale, replies, strict=True):
        if isinstance(reply, AllocatorError):
            raise reply
        match reply[0]:
            case "released":
                released.append(one.id)
            case "unknown" | "fenced" | "kept":
                pass
            case "future":
                raise InvalidRequest("as_of: it is later than the pool's time", field="as_of")
            case word:
                raise_refused(pool, word)
    return released
