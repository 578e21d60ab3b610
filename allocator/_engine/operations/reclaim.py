"""reclaim: end allocations past their deadline, or older than an age."""

from __future__ import annotations

from typing import Final

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.lookup import page
from allocator._engine.operations.release import release_each
from allocator._engine.operations.replies import raise_refused
from allocator._engine.operations.requests import FencedId, make_call
from allocator._engine.protocol.flows import Flow, Operation, Reply, TimeLeft
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.errors import BackendUnavailable, InvalidRequest, OutcomeUnknown
from allocator.models.allocations import Ttl
from allocator.models.maintenance import Reclaimed
from allocator.validation import age_ms, count

_RECLAIM: Final = load("reclaim")

_NO_AGE: Final = "-"


def reclaim_call(pool: PoolKeys, limit: int, age: int | None) -> Operation[Reclaimed]:
    """One batch of a reclaim; an age of None leaves pinned allocations unchanged."""

    def decode(reply: Reply) -> Reclaimed:
        if reply[0] != "reclaimed":
            raise_refused(pool, reply[0])
        return Reclaimed(len(reply) - 2, tuple(reply[2:]), more=bool(reply[1]))

    call = make_call(_RECLAIM, pool, limit=limit, age_ms=_NO_AGE if age is None else age, epoch=pool.epoch)
    return Operation(call, decode)


def reclaim_due(pool: PoolKeys) -> Flow[None]:
    """Reclaim all expired allocations before a request is sent again, so that no denial is caused by a batch limit.

    Raises:
        BackendUnavailable: `code="reclaim_behind"`: the call's deadline has passed and more have expired.  Or the
            server did not reply; the request is not ambiguous then, as a reclaim ends only expired allocations.
    """
    left: float = yield TimeLeft()
    if left <= 0:
        raise BackendUnavailable(
            f"pool {pool.name!r}: more allocations are past their deadline than could be reclaimed in time",
            code="reclaim_behind",
            retry_after=1.0,
        )
    try:
        yield from reclaim_call(pool, settings.RECLAIM_BATCH_MAX, None)
    except OutcomeUnknown as error:
        text = f"pool {pool.name!r}: what is due could not be reclaimed: {error.__cause__ or error}"
        raise BackendUnavailable(text) from error


def reclaim(
    defaults: Defaults, older_than: Ttl = None, limit: int | None = None, *, include_live: bool = False
) -> Flow[Reclaimed]:
    """Reclaim expired allocations and those older than the age, up to `limit` or until the call's deadline."""
    pool = defaults.pool
    age = None if older_than is None else age_ms(older_than, "older_than")
    if include_live and age is None:
        raise InvalidRequest("include_live needs an age: older_than", field="older_than")
    most = settings.MANY_ITEMS_MAX if limit is None else count(limit, "limit", settings.MANY_ITEMS_MAX)
    ids: list[str] = []
    more = True
    while more and len(ids) < most:
        left: float = yield TimeLeft()
        if left <= 0:
            break
        batch = yield from reclaim_call(pool, min(settings.RECLAIM_BATCH_MAX, most - len(ids)), age)
        ids += batch.ids
        more = batch.more
    if include_live and age is not None and not more:
        more = yield from _reclaim_live(pool, most, age, ids)
    return Reclaimed(len(ids), tuple(ids), more=more)


def _reclaim_live(pool: PoolKeys, most: int, age: int, ids: list[str]) -> Flow[bool]:
    """Reclaim also renewed leases by age; each is released by its fence, so that a newer grant of the id stays."""
    cursor = "0"
    while True:
        found = yield from page(pool, "deadlines", cursor)
        old = [FencedId(one.id, one.fence) for one in found.allocations if one.granted_ms <= found.read_ms - age]
        for at in range(0, len(old), settings.BATCH_ITEMS_MAX):
            room = most - len(ids)
            left: float = yield TimeLeft()
            if room <= 0 or left <= 0:
                return True
            part = old[at : at + min(settings.BATCH_ITEMS_MAX, room)]
            ended = yield from release_each(pool, part, reason="age")
            ids += [one.id for one in ended if one]
        cursor = found.cursor
        if cursor == "0":
            return False
