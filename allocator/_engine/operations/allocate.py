"""allocate: grant one request, each request that fits, or all requests or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from allocator import settings
from allocator._engine.operations import undo
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.durability_levels import reached, requirement
from allocator._engine.operations.reclaim import reclaim_due
from allocator._engine.operations.replies import (
    decode_allocation,
    decode_denial,
    foreseen,
    left_until_end,
    raise_refused,
    recovering,
    scope_required,
    too_long,
    unknown_scope,
)
from allocator._engine.operations.requests import new_allocation_id, new_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Call, Flow, Item, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import weight
from allocator._engine.protocol.scripts import Argument, load
from allocator.denials import Denial
from allocator.durability import Durability
from allocator.errors import (
    AllocationConflict,
    AllocationLost,
    AllocatorError,
    Insufficient,
    InvalidRequest,
    RequestWithdrawn,
)
from allocator.models.allocations import Allocation, Outcome, Request
from allocator.models.read_only import NO_ENTRIES
from allocator.quantity import shown
from allocator.resources import Resources
from allocator.validation import (
    allocation_id,
    batch,
    lifetime_ms,
    metadata,
    owner_name,
    priority_number,
    scope_name,
    ttl_ms,
)

_ALLOCATE: Final = load("allocate")


class _ReclaimFirst:
    """The reply to an undecided request: reclaim expired allocations, then send it again."""


RECLAIM_FIRST: Final = _ReclaimFirst()


_Answer: TypeAlias = Allocation | Denial | AllocatorError | _ReclaimFirst


class ValidRequest(NamedTuple):
    """A validated request with its ids, which are the same in all retries."""

    resources: Resources
    ttl_ms: int
    id: str
    owner: str
    metadata: tuple[tuple[str, str], ...]
    exclusive: bool
    call: str
    scope: str | None = None
    replaces: Allocation | None = None
    lifetime_ms: int = 0
    priority: int = 0
    wait_ms: int = 0
    preempt: bool = False
    estimate: bool = False

    @classmethod
    def validate(
        cls, request: Request, owner: str, replaces: Allocation | None = None, *, waits: bool = False
    ) -> ValidRequest:
        """Validate all input of the caller; `owner` is the client's, for a request that names none."""
        if not isinstance(request, Request):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"requests: {shown(request)} is no Request", field="requests")
        if request.preempt and not waits:
            raise InvalidRequest(
                "preempt: only a request that waits may take room from others: give wait= too", field="preempt"
            )
        return cls(
            resources=Resources.request(request.resources),
            ttl_ms=ttl_ms(request.ttl),
            id=new_allocation_id() if request.id is None else allocation_id(request.id),
            owner=owner if request.owner is None else owner_name(request.owner),
            metadata=metadata(request.metadata) if request.metadata is not None else (),
            exclusive=bool(request.exclusive),
            call=new_call(),
            replaces=replaces if replaces is not None and replaces.id != request.id else None,
            scope=None if request.scope is None else scope_name(request.scope),
            lifetime_ms=lifetime_ms(request.max_lifetime),
            priority=priority_number(request.priority) if request.priority else 0,
            preempt=bool(request.preempt),
            estimate=bool(request.estimate),
        )

    def item(self, pool: PoolKeys) -> Item:
        args: list[Argument] = [self.owner, self.ttl_ms, len(self.resources), len(self.metadata), 0]
        for name, amount in self.resources.items():
            args += (name + schema.ALLOCATED, amount)
        for key, value in self.metadata:
            args += (schema.META + key, value)
        options: list[Argument] = []
        if self.scope is not None:
            options += ("scope", self.scope)
        if self.exclusive:
            options += ("exclusive", 1)
        if self.replaces is not None:
            options += ("replaces", f"{self.replaces.fence}:{self.replaces.id}")
        if self.wait_ms:
            options += ("wait", self.wait_ms)
            if self.preempt:
                options += ("preempt", 1)
        if self.priority:
            options += ("priority", self.priority)
        if self.lifetime_ms:
            options += ("lifetime_ms", self.lifetime_ms)
        if self.estimate:
            options += ("estimate", 1)
        if not options:
            return Item(self.call, tuple(args), pool.record(self.id), self.id)
        args[4] = len(options) // 2
        other = "" if self.replaces is None else pool.record(self.replaces.id)
        return Item(self.call, (*args, *options), pool.record(self.id), self.id, other)


def allocate(
    defaults: Defaults,
    request: Request,
    *,
    replaces: Allocation | None = None,
    on_end: Callable[[int], object] | None = None,
) -> Flow[Allocation | Denial]:
    """Grant one request; a denial is returned, not raised.  One round trip.

    Args:
        defaults, request: As the client has them.
        replaces: A live allocation that ends in the same decision.  If it has the request's amounts, its charge is
            taken over, without a check of the capacity; if it is gone, the request is decided as without it.
        on_end: Called with the milliseconds until the hard end of what is returned, if it has one.

    Raises:
        AllocationConflict, AllocationLost, UnknownPool, Recovering
    """
    pool = defaults.pool
    wanted = ValidRequest.validate(request, defaults.owner, replaces)
    call = allocate_call(pool, (wanted,), defaults.durability, atomic=False)
    while True:
        reply: Reply = yield call
        answer = answer_of(pool, wanted, reply[0])
        if isinstance(answer, Allocation | Denial):
            if on_end is not None and isinstance(answer, Allocation) and answer.ends_ms is not None:
                on_end(left_until_end(reply[0]))
            return answer
        if isinstance(answer, AllocatorError):
            raise answer
        yield from reclaim_due(pool)


def granted(outcome: Allocation | Denial) -> Allocation:
    """The allocation.

    Raises:
        Insufficient: It was denied.
    """
    if isinstance(outcome, Denial):
        raise Insufficient.of(outcome)
    return outcome


def allocate_many(defaults: Defaults, requests: Sequence[Request], *, atomic: bool = False) -> Flow[list[Outcome]]:
    """Grant each request that fits, or with `atomic` all requests or none."""
    return _allocate_all(defaults, requests) if atomic else _allocate_each(defaults, requests)


def _allocate_each(defaults: Defaults, requests: Sequence[Request]) -> Flow[list[Outcome]]:
    """Grant each request that fits, in order, each after those before it.

    A failure is raised after all items were sent.  The driver then undoes what was granted, as the caller does not
    receive it.
    """
    pool = defaults.pool
    wanted = [ValidRequest.validate(request, defaults.owner) for request in batch(requests, "requests")]
    answers: dict[int, _Answer] = {}
    open_items = list(range(len(wanted)))
    while open_items:
        asked = [wanted[at] for at in open_items]
        replies: Reply = yield allocate_call(pool, asked, defaults.durability, atomic=False)
        for at, reply in zip(open_items, replies, strict=True):
            answers[at] = reply if isinstance(reply, AllocatorError) else answer_of(pool, wanted[at], reply, item=at)
        open_items = [at for at in open_items if answers[at] is RECLAIM_FIRST]
        if open_items:
            yield from reclaim_due(pool)
    return [_outcome(answers[at]) for at in range(len(wanted))]


def _allocate_all(defaults: Defaults, requests: Sequence[Request]) -> Flow[list[Outcome]]:
    """Grant all requests or none: an atomic batch.  Live allocations with the same request are replayed.

    Raises:
        InvalidRequest: `field="requests"`: more than a hundred, or than 64 KiB in all; nothing was sent.
        Insufficient: `denial.item` is the index of the request that stopped it.
        AllocationConflict, AllocationLost: The error of the item that stopped it.
    """
    pool = defaults.pool
    asked = batch(requests, "requests", settings.BATCH_ITEMS_MAX)
    wanted = [ValidRequest.validate(request, defaults.owner) for request in asked]
    if not wanted:
        return []
    if any(one.estimate for one in wanted):
        raise InvalidRequest("estimate: not foreseen of requests that are granted together", field="estimate")
    call = check_weight(defaults, wanted)
    while True:
        replies: Reply = yield call
        answers = [
            answer_of(pool, one, reply, item=at) for at, (one, reply) in enumerate(zip(wanted, replies, strict=True))
        ]
        if all(isinstance(answer, Allocation) for answer in answers):
            return [_outcome(answer) for answer in answers]
        stopped = next((answer for answer in answers if isinstance(answer, Denial)), None)
        if stopped is not None:
            raise Insufficient.of(stopped)
        errors = [answer for answer in answers if isinstance(answer, AllocatorError)]
        for error in errors:
            if isinstance(error, AllocationLost):
                # An earlier attempt was granted, and one of its allocations has ended since: undo the others.
                yield from undo.undo(pool, [(one.call, one.id) for one in wanted])
            if not isinstance(error, _Aborted):
                raise error
        yield from reclaim_due(pool)


def check_weight(defaults: Defaults, wanted: Sequence[ValidRequest]) -> Call:
    """The call of an atomic batch; one that is too long raises `InvalidRequest(field="requests")`."""
    call = allocate_call(defaults.pool, wanted, defaults.durability, atomic=True)
    if (size := weight(call)) > settings.BATCH_BYTES_MAX:
        text = f"requests: {len(wanted)} of together {size} bytes, and a batch that is granted whole or not at all has"
        text += f" at most {settings.BATCH_BYTES_MAX}: give it fewer requests, or less metadata"
        raise InvalidRequest(text, field="requests")
    return call


class _Aborted(AllocatorError):
    """The item was not decided, as another one stopped the atomic batch."""


def allocate_call(pool: PoolKeys, wanted: Sequence[ValidRequest], level: Durability, *, atomic: bool) -> Call:
    """The call that asks for these."""
    keys, args = _fixed(pool, atomic)
    items = tuple([one.item(pool) for one in wanted])
    return Call(_ALLOCATE, pool, keys, args, items, not atomic, undo=True, durability=requirement(level))


@lru_cache(maxsize=1024)
def _fixed(pool: PoolKeys, atomic: bool) -> tuple[tuple[str, ...], tuple[Argument, ...]]:
    """The keys and arguments that all calls to a pool share; cached, as binding them is slow."""
    return _ALLOCATE.bind_keys(pool), _ALLOCATE.bind(epoch=pool.epoch, actor=pool.actor, atomic=int(atomic))


def _outcome(answer: _Answer) -> Outcome:
    if isinstance(answer, Allocation | Denial | AllocationConflict | AllocationLost):
        return answer
    raise answer if isinstance(answer, AllocatorError) else AssertionError(answer)


def _default_scope(reply: Reply) -> str | None:
    """The pool's default scope, which a grant without one was charged to."""
    return reply[6] or None if len(reply) > 6 else None


def answer_of(pool: PoolKeys, wanted: ValidRequest, reply: Reply, *, item: int = 0) -> _Answer:
    """Decode the reply of one item."""
    word = reply[0]
    if word == "granted":
        _, fence, granted_ms, deadline_ms, epoch, *_ = reply
        ends_ms = reply[7] if len(reply) > 7 else None
        return Allocation(
            wanted.id,
            pool.name,
            wanted.owner,
            wanted.resources,
            fence,
            granted_ms,
            wanted.ttl_ms or (None if ends_ms is None else ends_ms - granted_ms),
            deadline_ms or None,
            dict(wanted.metadata) if wanted.metadata else NO_ENTRIES,
            True,
            epoch,
            None,
            reached(reply),
            wanted.scope or _default_scope(reply),
            ends_ms,
            wanted.priority,
        )
    decode = _OTHER_ANSWERS.get(word)
    if decode is None:
        raise_refused(pool, word)
    return decode(pool, wanted, reply, item)


def _replayed(pool: PoolKeys, wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    return decode_allocation(pool, wanted.id, reply[1:], created=reply[0] == "replayed")


def _denied(pool: PoolKeys, _wanted: ValidRequest, reply: Reply, item: int) -> _Answer:
    return decode_denial(pool, reply[1:], item)


def _estimated(pool: PoolKeys, _wanted: ValidRequest, reply: Reply, item: int) -> _Answer:
    _, position, start_ms, denial = reply
    return foreseen(decode_denial(pool, denial[1:], item), position, start_ms)


def _conflict(pool: PoolKeys, wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    live = decode_allocation(pool, wanted.id, reply[1:])
    if live.releasing_ms is not None:
        return AllocationConflict(f"allocation {wanted.id!r} is being released by owner {live.owner!r}", id=wanted.id)
    asked = f"owner {wanted.owner!r} asked for {wanted.resources}"
    if wanted.exclusive:
        asked += ", and exclusive=True does not share it"
    return AllocationConflict(
        f"allocation {wanted.id!r} is live: owner {live.owner!r} has {live.resources}; {asked}", id=wanted.id
    )


def _ended(_pool: PoolKeys, wanted: ValidRequest, _reply: Reply, _item: int) -> _Answer:
    lost = AllocationLost(
        f"allocation {wanted.id!r} was granted to this call and has ended since, before its reply arrived", id=wanted.id
    )
    lost.retryable = True  # a new call is decided afresh
    return lost


def _recovering(pool: PoolKeys, _wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    return recovering(pool, reply)


def _too_long(pool: PoolKeys, _wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    return too_long(pool, reply)


def _unknown_scope(pool: PoolKeys, _wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    return unknown_scope(pool, reply[1])


def _queue_full(pool: PoolKeys, _wanted: ValidRequest, _reply: Reply, item: int) -> _Answer:
    return Denial("queue_full", pool.name, (), item)


def _conflict_waiting(_pool: PoolKeys, wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    return AllocationConflict(
        f"a request for allocation {wanted.id!r} waits in line: of another call, owner {reply[1]!r}",
        id=wanted.id,
        code="waiting",
    )


def _withdrawn(pool: PoolKeys, wanted: ValidRequest, _reply: Reply, _item: int) -> _Answer:
    return RequestWithdrawn(f"this request left the line of pool {pool.name!r} before", id=wanted.id)


def _aborted(_pool: PoolKeys, wanted: ValidRequest, reply: Reply, _item: int) -> _Answer:
    return _Aborted(f"allocation {wanted.id!r} was not granted: item {reply[1] - 1} stopped the batch")


_OTHER_ANSWERS: Final[Mapping[str, Callable[[PoolKeys, ValidRequest, Reply, int], _Answer]]] = {
    "replayed": _replayed,
    "existing": _replayed,
    "denied": _denied,
    "estimated": _estimated,
    "conflict": _conflict,
    "ended": _ended,
    "reclaim_first": lambda _pool, _wanted, _reply, _item: RECLAIM_FIRST,
    "aborted": _aborted,
    "recovering": _recovering,
    "ttl_too_long": _too_long,
    "unknown_scope": _unknown_scope,
    "scope_required": lambda pool, _wanted, _reply, _item: scope_required(pool),
    "queue_full": _queue_full,
    "conflict_waiting": _conflict_waiting,
    "withdrawn": _withdrawn,
}
