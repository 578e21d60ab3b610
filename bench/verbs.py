"""Every verb that is measured: its call, its floor, what must be there before.

All that the benchmark knows of operations, keys and fields stands here.  Calls are made by the project's own
operations, so that names, arguments and their order follow by themselves.  The fields that the floors write are kept
right by `floors.compare`, which names each one that differs.
"""

from __future__ import annotations

import itertools
import random
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from allocator import settings
from allocator._engine.operations import adopt, allocate, check, lookup, pool_usage, release, renew, resize
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.durability_levels import PLAIN
from allocator._engine.protocol.flows import Call
from allocator._engine.protocol.resp import encode_call, pack_command, split_batches
from allocator._engine.protocol.scripts import Argument
from allocator.models.allocations import Allocation, Request
from bench.floors import Floor
from bench.stage import CAPACITY, IN_FLIGHT, POOL, Stage, in_chunks

OWNER: Final = "team-a/alice-123"
"""16 characters, as an id of ours has."""

REQUEST: Final = {"cpu": "1500m", "memory": "2Gi"}
LARGER: Final = {"cpu": "2", "memory": "3Gi"}
"""What a `resize` asks for."""

TTL_S: Final = 3600
MANY: Final = settings.BATCH_ITEMS_MAX
RECLAIMED: Final = settings.RECLAIM_BATCH_MAX
FORESEEN: Final = settings.EXPLAIN_DEADLINES_MAX
RESOURCES: Final = settings.RESOURCES_MAX
"""How much one script call takes at most."""

DEFAULTS: Final = Defaults(POOL, settings.PREFIX_DEFAULT, OWNER)
KEYS: Final = DEFAULTS.pool
_OPTION: Final = "account"
_OTHERS: Final = ("reservation:team-a/alice", "reservation:team-a", "node:n1")
"""Accounts beside the pool, innermost first."""
_TOOK: Final = {"cpu": 1500, "memory": 2 << 30}
_TAKES: Final = {"cpu": 2000, "memory": 3 << 30}


class Live(NamedTuple):
    """An allocation that is there, and the call that granted it."""

    one: Allocation
    granting: str


# -- what goes over the wire -------------------------------------------------------------------------------------------


def first(flow: Iterable[Any]) -> Call:
    """The first script call of an operation or flow, which has all the time that it wants."""
    steps: Any = iter(flow)
    step = next(steps)
    while not isinstance(step, Call):
        step = steps.send(settings.DEADLINE_MAX_S)
    return step


def words(call: Call, now_ms: int = 0) -> list[Argument]:
    """A call as a client sends it that has just begun: it has seen no fence, and asks the server what time it is."""
    sent = encode_call(call, 0, (now_ms, "", 0))
    extra = _account_keys(call)
    at = 1 + len(call.keys) + len(call.items)
    return [*call.script.by_sha(in_process=False), int(sent[0]) + len(extra), *sent[1:at], *extra, *sent[at:]]


def _account_keys(call: Call) -> list[str]:
    """The keys of the accounts beside the pool that the items name: they follow the records."""
    args = [item.args for item in call.items]
    names = [name for one in args for option, name in itertools.pairwise(one) if option == _OPTION]
    return [KEYS.base + str(name) for name in dict.fromkeys(names)]


def command(stage: Stage, call: Call, now_ms: int = 0) -> bytes:
    """The bytes of a call; the server knows its script from now on."""
    stage.load(call.script.texts.text)
    return pack_command(tuple(words(call, now_ms)))


def template() -> Callable[[], list[Argument]]:
    """Makes the words of `allocate`: they are put together once, and each call puts its own ids into them."""
    call = _allocate(_request())
    (item,) = call.items
    made, prefix = words(call), item.key.removesuffix(item.id)
    key, own = made.index(item.key), made.index(item.call)

    def fresh() -> list[Argument]:
        copy = made.copy()
        copy[key], copy[own] = prefix + secrets.token_hex(8), secrets.token_urlsafe(12)
        return copy

    return fresh


# -- what is there beforehand ------------------------------------------------------------------------------------------


def _request() -> Request:
    """One with a fresh id, which ends some time within the next day."""
    return Request(REQUEST, ttl=TTL_S + random.randrange(80_000), id=secrets.token_hex(8))


def _nothing(_stage: Stage, count: int) -> list[Request]:
    return [_request() for _ in range(count)]


def fill(stage: Stage, db: int, count: int) -> None:
    """Put live allocations into a database."""
    pending: list[bytes] = []
    for at in range(0, count, MANY):
        pending.append(command(stage, _allocate_many(_nothing(stage, min(MANY, count - at)))))
        if len(pending) == IN_FLIGHT:
            stage.send(db, pending)
            pending.clear()
    stage.send(db, pending)


def grant(stage: Stage, requests: Sequence[Request], now_ms: int = 0) -> list[Live]:
    """Grant requests, at an instant of the past where one is given, in script calls of a size that a client sends."""
    granted: list[Live] = []
    for chunk in in_chunks(requests, MANY):
        flow: Generator[Any, Any, Any] = allocate.allocate_many(DEFAULTS, chunk)
        call = next(flow)
        parts = [command(stage, part, now_ms) for part in split_batches(call)]
        replies = [reply for part in stage.send(Stage.EMPTY, parts) for reply in part]
        try:
            flow.send(replies)
        except StopIteration as done:
            granted += [Live(one, item.call) for one, item in zip(done.value, call.items, strict=True)]
        else:
            raise AssertionError("not granted")
    return granted


def live(stage: Stage, count: int) -> list[Live]:
    """So many allocations."""
    return grant(stage, _nothing(stage, count))


def _full(stage: Stage, count: int) -> list[Request]:
    live(stage, 1)
    return _nothing(stage, count)


# -- calls -------------------------------------------------------------------------------------------------------------


def _allocate(request: Request) -> Call:
    return first(allocate.allocate(DEFAULTS, request))


def _allocate_many(requests: Sequence[Request]) -> Call:
    return first(allocate.allocate_many(DEFAULTS, requests))


def _release_many(lives: Sequence[Live]) -> Call:
    return first(release.release_many(DEFAULTS, [held.one for held in lives]))


def _renew_many(lives: Sequence[Live]) -> Call:
    return first(renew.renew_many(DEFAULTS, [held.one for held in lives], None))


def _resize(held: Live) -> Call:
    return first(resize.resize(DEFAULTS, held.one, LARGER))


def _existing(held: Live) -> Call:
    return _allocate(Request(REQUEST, ttl=(held.one.ttl_ms or 0) / 1000, id=held.one.id))


def adopt_many(lives: Sequence[Live]) -> Call:
    """Record allocations under other ids, as an operator may; no more than a client sends at once."""
    wanted = [(replace(held.one, id=secrets.token_hex(8)), 0) for held in lives]
    return next(split_batches(first(adopt.adopt_each(KEYS, wanted, PLAIN, "bench"))))


def option_words(accounts: int) -> tuple[Argument, ...]:
    """What an item of `allocate` adds to its words to charge so many accounts, the pool's among them."""
    return tuple(word for name in _OTHERS[: accounts - 1] for word in (_OPTION, name))


def charging(accounts: int) -> Verb:
    """`allocate` that charges so many accounts."""

    def call(request: Request) -> Call:
        asked = _allocate(request)
        words = option_words(accounts)
        items = [replace(item, args=(*item.args[:4], len(words) // 2, *item.args[5:], *words)) for item in asked.items]
        return replace(asked, items=tuple(items))

    def prepare(stage: Stage, count: int) -> list[Request]:
        _accounts(stage, accounts)
        return _nothing(stage, count)

    return Verb("allocate", call, "granted", prepare=prepare)


def _accounts(stage: Stage, accounts: int) -> None:
    """Make the accounts beside the pool that `option_words` names."""
    room = {"generation": 1, "cpu.capacity": settings.AMOUNT_MAX, "memory.capacity": settings.AMOUNT_MAX}
    for name in _OTHERS[: accounts - 1]:
        stage.client().hset(KEYS.base + name, mapping={**room, "cpu.allocated": 0, "memory.allocated": 0})


# -- floors ------------------------------------------------------------------------------------------------------------

_ALLOCATE_FLOOR: Final = Floor("""
local fence = redis.call('HINCRBY', @pool, 'revision', 1)
redis.call('HINCRBY', @pool, 'cpu.allocated', $cpu)
redis.call('HINCRBY', @pool, 'memory.allocated', $memory)
redis.call('HSET', @pool, 'clock_ms', $now_ms)
redis.call('HSET', @record, 'cpu.allocated', $cpu, 'memory.allocated', $memory, 'owner', $owner, 'fence', fence,
  'call', $call, 'granted_ms', $now_ms, 'ttl_ms', $ttl_ms, 'deadline_ms', $deadline_ms)
redis.call('ZADD', @deadlines, $deadline_ms, $id)
redis.call('XADD', @events, 'MAXLEN', '~', 10000, '*', 'kind', 'granted', 'id', $id, 'owner', $owner,
  'fence', fence, 'cpu.allocated', $cpu, 'memory.allocated', $memory)
return fence
""")

_RELEASE_FLOOR: Final = Floor("""
redis.call('XADD', @events, 'MAXLEN', '~', 10000, '*', 'kind', 'released', 'id', $id, 'owner', $owner,
  'fence', $fence, 'cpu.allocated', $cpu, 'memory.allocated', $memory, 'reason', 'released')
redis.call('ZADD', @ended, $now_ms, $granting, $now_ms, $call)
redis.call('HSET', @pool, 'revision', $revision, 'clock_ms', $now_ms,
  'cpu.allocated', $cpu_left, 'memory.allocated', $memory_left)
redis.call('UNLINK', @record)
redis.call('ZREM', @deadlines, $id)
return 1
""")

_RENEW_FLOOR: Final = Floor("""
redis.call('HSET', @record, 'deadline_ms', $deadline_ms)
redis.call('ZADD', @deadlines, $deadline_ms, $id)
return 1
""")

_RESIZE_FLOOR: Final = Floor("""
redis.call('XADD', @events, 'MAXLEN', '~', 10000, '*', 'kind', 'resized', 'id', $id, 'owner', $owner,
  'fence', $fence, 'cpu.allocated', $cpu_larger, 'memory.allocated', $memory_larger)
redis.call('ZADD', @ended, $now_ms, $call)
redis.call('HSET', @record, 'cpu.allocated', $cpu_larger, 'memory.allocated', $memory_larger)
redis.call('HSET', @pool, 'revision', $revision, 'clock_ms', $now_ms,
  'cpu.allocated', $cpu_grown, 'memory.allocated', $memory_grown)
return 1
""")

_CHECK_FLOOR: Final = Floor(
    """
redis.call('HMGET', @pool, 'revision', 'schema', 'state', 'whole_units', 'epoch', 'clock_ms', 'clock_offset_ms',
  'options', 'cpu.allocated', 'cpu.capacity', 'memory.allocated', 'memory.capacity')
return {'fits'}
""",
    reads=True,
)

_USAGE_FLOOR: Final = Floor(
    """
return {redis.call('ZCARD', @deadlines), redis.call('ZCARD', @pinned),
  redis.call('ZCOUNT', @deadlines, '-inf', $now_ms), redis.call('HGETALL', @pool),
  redis.call('ZRANGE', @deadlines, 0, 0, 'WITHSCORES'), redis.call('ZRANGE', @pinned, 0, 0, 'WITHSCORES'),
  redis.call('ZCARD', string.sub(@pool, 1, -5) .. 'quotas')}
""",
    reads=True,
)

_GET_FLOOR: Final = Floor(
    """
return {redis.call('HGET', @pool, 'epoch'), redis.call('HGETALL', @record)}
""",
    reads=True,
)


def _values(
    subject: Request | Live, call: Call, now_ms: int, place: int, count: int, last_fence: int
) -> dict[str, Argument]:
    """What the floors' names stand for; `place` of `count`, so that sums can be told in advance."""
    values: dict[str, Argument] = {"owner": OWNER, "now_ms": now_ms, "revision": last_fence + place}
    if call.items:
        values |= {"id": call.items[0].id, "call": call.items[0].call}
    if isinstance(subject, Live):
        values |= {"id": subject.one.id, "fence": subject.one.fence, "granting": subject.granting}
        values["ttl_ms"] = subject.one.ttl_ms or 0
    else:
        values["ttl_ms"] = int(1000 * subject.ttl)  # type: ignore[arg-type,operator]
    values["deadline_ms"] = now_ms + int(values["ttl_ms"])
    for name, took in _TOOK.items():
        values[name], values[f"{name}_larger"] = took, _TAKES[name]
        values[f"{name}_left"] = (count - place) * took
        values[f"{name}_grown"] = count * took + place * (_TAKES[name] - took)
    return values


def _instant(left: Mapping[str, Any], record: str) -> int:
    """What time it was when a verb left this behind."""
    fields = left.get(record, {})
    renewed_ms = int(fields["deadline_ms"]) - int(fields["ttl_ms"]) if "deadline_ms" in fields else 0
    return max(renewed_ms, int(left[KEYS["pool"]]["clock_ms"]))


# -- the verbs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verb:
    """A verb as it is measured.

    `call` makes a call of what `prepare` has made ready, `many` one of several; `answers` is how each good reply
    begins, so that nothing else is measured.
    """

    name: str
    call: Callable[[Any], Call]
    answers: str
    floor: Floor | None = None
    prepare: Callable[[Stage, int], Sequence[Any]] = live
    many: Callable[[Sequence[Any]], Call] | None = None
    capacity: Mapping[str, str] | None = None

    def prepared(self, stage: Stage, count: int) -> Sequence[Any]:
        """A fresh pool with what so many calls want to find in it."""
        stage.fresh(capacity=self.capacity or CAPACITY)
        return self.prepare(stage, count)

    def commands(self, stage: Stage, count: int) -> list[bytes]:
        """So many calls, ready to be sent to the pool that was prepared for them."""
        return [command(stage, self.call(subject)) for subject in self.prepared(stage, count)]

    def batches(self, stage: Stage, count: int) -> list[bytes]:
        """The same by the hundred."""
        assert self.many is not None
        return [command(stage, self.many(part)) for part in in_chunks(self.prepared(stage, count), MANY)]

    def floors(self, stage: Stage, count: int) -> list[bytes]:
        """So many calls of the floor, likewise."""
        subjects, now_ms = self.prepared(stage, count), int(1000 * time.time())
        return list(self._floors(stage, [(one, self.call(one)) for one in subjects], now_ms))

    def floor_after(self, stage: Stage, subject: Any, call: Call, left: Mapping[str, Any]) -> bytes:
        """A call of the floor with the ids of a call, and with the instant that it left behind."""
        identity = call.items[0].id
        return next(self._floors(stage, [(subject, call)], _instant(left, KEYS.record(identity))))

    def _floors(self, stage: Stage, made: Sequence[tuple[Any, Call]], now_ms: int) -> Iterator[bytes]:
        assert self.floor is not None
        sha = stage.load(self.floor.text)
        fence = max([subject.one.fence for subject, _ in made if isinstance(subject, Live)], default=0)
        for place, (subject, call) in enumerate(made, start=1):
            values = _values(subject, call, now_ms, place, len(made), fence)
            keys = {"record": KEYS.record(str(values.get("id", "")))}
            keys |= {name: KEYS[name] for name in self.floor.names[0] if name not in keys}
            yield self.floor.command(sha, keys, values)


ALLOCATE: Final = Verb("allocate", _allocate, "granted", _ALLOCATE_FLOOR, _nothing, _allocate_many)
RELEASE: Final = Verb("release", lambda held: _release_many([held]), "released", _RELEASE_FLOOR, many=_release_many)
RENEW: Final = Verb("renew", lambda held: _renew_many([held]), "renewed", _RENEW_FLOOR, many=_renew_many)
RESIZE: Final = Verb("resize", _resize, "resized", _RESIZE_FLOOR)
DENIAL: Final = Verb("denial", _allocate, "denied", prepare=_full, capacity=REQUEST)
EXISTING: Final = Verb("existing", _existing, "existing")
CHECK: Final = Verb("check", lambda _: first(check.check(DEFAULTS, REQUEST)), "fits", _CHECK_FLOOR)
USAGE: Final = Verb("usage", lambda _: first(pool_usage.usage(DEFAULTS)), "usage", _USAGE_FLOOR)
GET: Final = Verb("get", lambda held: first(lookup.get(DEFAULTS, held.one.id)), "record", _GET_FLOOR)

WRITING: Final = (ALLOCATE, RELEASE, RENEW, RESIZE)
