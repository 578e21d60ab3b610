"""Every operation that changes something, with what stands before it and what is called afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from allocator import Allocation, Allocator, AsyncAllocator, InvalidRequest, Limit, Request, UnknownPool
from allocator._engine.operations import undo
from allocator._engine.protocol.keys import pool_keys
from allocator.settings import OWNER_DEFAULT
from allocator.testing import Clock
from tests.support.beliefs import EVER
from tests.support.clients import Awaited

CAPACITY: Final = {"cpu": 10, "gpu": 4}
REQUEST: Final = {"cpu": 1}


@dataclass
class Scene:
    """Where an operation happens: a pool, who looks at it undisturbed, and what was prepared in it."""

    pool: str
    direct: Allocator
    clock: Clock
    held: tuple[Allocation, ...] = ()


Act = Callable[[AsyncAllocator, Scene], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """One operation, and the script that performs it."""

    name: str
    script: str
    act: Act
    prepare: Callable[[Scene], None] = lambda _: None
    charges: int = 0
    """How many calls are undone when nobody hears of the outcome."""
    remembered: bool = True
    """Whether a repeat is told what the first attempt did."""
    noted: bool = True
    """Whether a first attempt leaves a note that it is over.  One that finds nothing to do leaves none, for that would
    be a write; a repeat always does.  So a copy that not we but the network had made of it would be decided anew."""

    def __str__(self) -> str:
        return self.name


def _create(scene: Scene) -> None:
    scene.direct.pools.create(scene.pool, CAPACITY, whole_units=["gpu"])


def _hold(*ids: str, ttl: float | None = 60) -> Callable[[Scene], None]:
    def prepare(scene: Scene) -> None:
        _create(scene)
        scene.held = tuple(scene.direct.allocate(REQUEST, ttl=ttl, id=one) for one in ids)

    return prepare


def _due(scene: Scene) -> None:
    _hold("a", "b")(scene)
    scene.clock.advance(60)


def _in_scope(scene: Scene) -> None:
    """Two scopes with limits, and an allocation in the first."""
    _create(scene)
    scene.direct.quotas.set("a", {"cpu": Limit(4, 2, 1)})
    scene.direct.quotas.set("b/c", {"cpu": 3})
    scene.held = (scene.direct.allocate(REQUEST, ttl=60, id="a", scope="a"),)


def _a_while_ago(scene: Scene) -> None:
    """Granted before the controller looked at what it has."""
    _hold("a", "b")(scene)
    scene.clock.advance(1)


def _given_back(scene: Scene) -> None:
    """Released, which an operator will not have been."""
    _hold("a")(scene)
    scene.direct.release("a")


def _broken(scene: Scene) -> None:
    """Counters that say more than the records."""
    _hold("a", "b")(scene)
    keys = pool_keys(scene.pool, "allocator")
    _raw(scene, "HINCRBY", keys["pool"], "cpu.allocated", 500)


def _raw(scene: Scene, *words: str | int) -> Any:
    """Send one command past the library."""
    with redis.Redis.from_url(scene.direct._target.address, decode_responses=True) as client:
        return cast("Any", client).execute_command(*words)


async def _undo(client: AsyncAllocator, scene: Scene) -> object:
    keys = pool_keys(scene.pool, "allocator")
    flow = iter(undo.undo(keys, [(_raw(scene, "HGET", keys.record("a"), "call"), "a")]))
    if isinstance(client, Awaited):
        client.surface._driver.run(flow)
    else:
        await client._driver.run(flow)
    return None


def _scopes(scene: Scene) -> None:
    _create(scene)
    scene.direct.quotas.set("a", {"cpu": Limit(6, None, 2)})


async def _try_to_set(client: AsyncAllocator, _: Scene) -> object:
    try:
        return await client.quotas.set("a", {"cpu": 11})
    except InvalidRequest as error:
        return str(error)


def _gang(*ids: str) -> list[Request]:
    return [Request(REQUEST, 60, id=one) for one in ids]


OPERATIONS: Final = (
    Operation("create_pool", "configure_pool", lambda c, s: c.pools.create(s.pool, CAPACITY, whole_units=["gpu"])),
    Operation("create_pool_that_exists", "configure_pool", lambda c, s: c.pools.create(s.pool, {"cpu": 1}), _create),
    Operation("configure", "configure_pool", lambda c, _: c.pools.update(None, {"cpu": 5}, whole_units=[]), _hold("a")),
    Operation("allocate", "allocate", lambda c, _: c.allocate(REQUEST, ttl=60, id="a"), _create, charges=1),
    Operation("allocate_pinned", "allocate", lambda c, _: c.allocate(REQUEST, ttl=None, id="a"), _create, charges=1),
    Operation("allocate_what_is_due", "allocate", lambda c, _: c.allocate(REQUEST, ttl=60, id="a"), _due, charges=1),
    Operation(
        "allocate_existing", "allocate", lambda c, _: c.allocate(REQUEST, ttl=90, id="a"), _hold("a"), noted=False
    ),
    Operation(
        "allocate_and_pin", "allocate", lambda c, _: c.allocate(REQUEST, ttl=None, id="a"), _hold("a"), noted=False
    ),
    Operation("allocate_many", "allocate", lambda c, _: c.allocate_many(_gang("a", "b", "c")), _create, charges=3),
    Operation(
        "allocate_gang", "allocate", lambda c, _: c.allocate_many(_gang("a", "b"), atomic=True), _create, charges=2
    ),
    Operation(
        "gang_of_some_existing",
        "allocate",
        lambda c, _: c.allocate_many(_gang("a", "b"), atomic=True),
        _hold("a"),
        charges=2,
    ),
    Operation("be_denied", "allocate", lambda c, _: c.try_allocate({"cpu": 10}, ttl=60, id="b"), _hold("a")),
    Operation("renew", "renew", lambda c, s: c.renew(s.held[0], ttl=90), _hold("a")),
    Operation("renew_shorten", "renew", lambda c, _: c.renew("a", ttl=30, shorten=True), _hold("a")),
    Operation("renew_give_a_deadline", "renew", lambda c, _: c.renew("a", ttl=30, shorten=True), _hold("a", ttl=None)),
    Operation("renew_many", "renew", lambda c, s: c.renew_many(s.held, ttl=90), _hold("a", "b")),
    Operation("resize", "resize", lambda c, _: c.resize("a", {"cpu": 3, "gpu": 1}), _hold("a")),
    Operation("resize_to_less", "resize", lambda c, s: c.resize(s.held[0], {"cpu": "500m"}), _hold("a")),
    Operation("release", "release", lambda c, _: c.release("a"), _hold("a")),
    Operation("release_nothing", "release", lambda c, _: c.release("a"), _create, noted=False),
    Operation("release_many", "release", lambda c, _: c.release_many(["a", "b", "x"]), _hold("a", "b")),
    Operation("reclaim", "reclaim", lambda c, _: c.maintenance.reclaim(), _due, remembered=False),
    Operation("delete_pool", "delete_pool", lambda c, s: c.pools.delete(s.pool), _create),
    Operation("delete_pool_by_force", "delete_pool", lambda c, s: c.pools.delete(s.pool, force=True), _hold("a", "b")),
    Operation("delete_no_pool", "delete_pool", lambda c, s: c.pools.delete(s.pool, force=True), noted=False),
    Operation("set_quota", "set_quota", lambda c, _: c.quotas.set("a/b", {"cpu": Limit(4, 1, 2)}), _scopes),
    Operation("change_quota", "set_quota", lambda c, _: c.quotas.set("a", {"cpu": 1}), _in_scope),
    Operation("refused_quota", "set_quota", _try_to_set, _create, noted=False),
    Operation("delete_quota", "delete_quota", lambda c, _: c.quotas.delete("b/c"), _in_scope),
    Operation("delete_no_quota", "delete_quota", lambda c, _: c.quotas.delete("nobody"), _create, noted=False),
    Operation("move", "move", lambda c, s: c.move(s.held[0], "b/c"), _in_scope),
    Operation("move_out", "move", lambda c, _: c.move("a", None), _in_scope),
    Operation(
        "allocate_in_scope",
        "allocate",
        lambda c, _: c.allocate(REQUEST, ttl=60, id="a", scope="a"),
        _scopes,
        charges=1,
    ),
    Operation("release_in_scope", "release", lambda c, _: c.release("a"), _in_scope),
    Operation("resize_in_scope", "resize", lambda c, _: c.resize("a", {"cpu": 3}), _in_scope),
    Operation("repair", "repair", lambda c, _: c.maintenance.audit(repair=True), _broken),
    Operation("undo", "undo", _undo, _hold("a", "b")),
    Operation("begin_release", "begin_release", lambda c, s: c.begin_release(s.held[0], grace=30), _hold("a")),
    Operation(
        "reconcile",
        "reconcile",
        lambda c, s: c.maintenance.reconcile(["b"], s.clock(), owner=OWNER_DEFAULT, max_released=9),
        _a_while_ago,
    ),
    Operation("adopt", "adopt", lambda c, s: c.adopt(s.held[0], force="a ticket"), _given_back),
)


def mend(scene: Scene, operation: Operation) -> None:
    """Repair the pool, if it was broken for the operation to repair."""
    if operation.script == "repair":
        scene.direct.maintenance.audit(repair=True)


def afterwards(scene: Scene) -> None:
    """What goes on while a late copy travels: the pool is there, changed, and the ids are others' grants."""
    _create(scene)
    scene.direct.pools.update(None, {"cpu": 9}, whole_units=["cpu"])
    scene.direct.release_many(list(scene.direct.list()))
    scene.direct.allocate(REQUEST, ttl=45, id="a")
    scene.direct.allocate({"cpu": 2, "gpu": 1}, ttl=None, id="b")


def state(scene: Scene) -> object:
    """What a pool has, and who holds it until when; without what differs from one pool to the next by nature."""
    try:
        pool = scene.direct.pools.get()
    except UnknownPool:
        return None
    live = {
        one.id: (
            one.owner, one.resources.text(), one.ttl_ms, one.deadline_ms and one.deadline_ms - scene.clock(), one.scope
        )
        for one in scene.direct.list()
    }  # fmt: skip
    scopes = {one.scope: (one.generation, one.resources) for one in scene.direct.quotas.list()}
    return (
        pool.capacity.text(),
        pool.allocated.text(),
        pool.kept.text(),
        pool.generation,
        pool.whole_units,
        live,
        scopes,
    )


def live(scene: Scene) -> list[tuple[str, int]]:
    """Who is charged and not past the deadline: ids, and the fences of their grants."""
    try:
        return [(one.id, one.fence) for one in scene.direct.list() if (one.deadline_ms or EVER) > scene.clock()]
    except UnknownPool:
        return []


def picture(scene: Scene) -> object:
    """The same, and how it came about: each change has left exactly one event."""
    if (now := state(scene)) is None:
        return None
    events = [
        (event.kind, {name: value for name, value in event.fields.items() if name != "fence"})
        for event in scene.direct.events.list(limit=100)
    ]
    return now, events


def told(answer: object) -> object:
    """An answer, without what differs from one pool to the next by nature."""
    if isinstance(answer, (list, tuple)):
        return [told(one) for one in answer]
    names = {
        "Allocation": ("id", "owner", "resources", "ttl_ms", "created", "scope"),
        "Audit": ("status", "records", "findings", "total"),
        "Finding": ("kind", "subject"),
        "Denial": ("code", "shortages", "item"),
        "Quota": ("scope", "generation", "resources", "over"),
        "Pool": ("generation", "capacity", "allocated", "whole_units", "created"),
        "Reconciled": ("released", "kept", "missing"),
        "Release": ("id", "outcome"),
        "Renewal": ("id", "outcome"),
    }.get(type(answer).__name__)
    return answer if names is None else (type(answer), *(told(getattr(answer, name)) for name in names))
