"""delete: end a pool."""

from __future__ import annotations

from typing import Final

from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.maintenance import audit
from allocator._engine.operations.replies import raise_refused
from allocator._engine.operations.requests import make_call, new_call
from allocator._engine.protocol.flows import Flow, Item, Reply, TimeLeft
from allocator._engine.protocol.scripts import load
from allocator.errors import BackendUnavailable, PoolConflict, UnknownPool
from allocator.validation import pool_name

_DELETE: Final = load("delete_pool")


def delete(defaults: Defaults, name: str, *, force: bool = False) -> Flow[bool]:
    """End the pool; with `force`, end its allocations first, batch by batch.

    Records without an index entry are indexed before that, so that a pool created again under this name finds none.
    """
    pool = defaults.keys(pool_name(name))
    try:
        yield from audit.adopt_orphans(pool)
    except UnknownPool as error:
        if error.code == "epoch":
            raise
        return False
    while True:
        item = Item(new_call(), (int(force),))
        replies: Reply = yield make_call(_DELETE, pool, (item,), epoch=pool.epoch)
        reply = replies[0]
        match reply[0]:
            case "deleted":
                return True
            case "absent":
                return False
            case "in_use":
                live = f"{reply[1]} live allocation{'' if reply[1] == 1 else 's'}"
                raise PoolConflict(f"pool {pool.name!r} has {live}", pool=pool.name)
            case "deleting":
                left: float = yield TimeLeft()
                if left <= 0:
                    raise BackendUnavailable(
                        f"pool {pool.name!r} grants nothing more and has {reply[1]} allocations left to end: "
                        "delete it again to go on",
                        code="deleting",
                        retry_after=0.0,
                    )
            case word:
                raise_refused(pool, word)
