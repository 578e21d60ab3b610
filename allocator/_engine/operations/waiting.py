"""allocate with `wait`: take a place in the pool's line, and ask again until it is granted or the time is over.

An atomic batch takes one place, and is granted as a whole.

The place is in the store, and whoever frees the room grants it there.  So the loop below only listens for the word that
it was granted, and asks again at least each `HEARTBEAT_S`, with the same call id, so that the store knows that somebody
still waits.  The last attempt says that it does not wait any more, and leaves the line.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Final

from allocator import settings
from allocator._engine.operations import undo
from allocator._engine.operations.allocate import (
    RECLAIM_FIRST,
    ValidRequest,
    allocate_call,
    answer_of,
    check_weight,
)
from allocator._engine.operations.allocate import allocate_many as allocate_now
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.reclaim import reclaim_due
from allocator._engine.operations.replies import decode_denial, left_until_end, recovering
from allocator._engine.operations.requests import new_allocation_id, new_call
from allocator._engine.protocol.flows import Flow, Now, Reply, Wake
from allocator._engine.protocol.keys import PoolKeys
from allocator.denials import Denial
from allocator.durability import Durability
from allocator.errors import (
    AllocationLost,
    AllocatorError,
    BackendUnavailable,
    InvalidRequest,
    OutcomeUnknown,
    Recovering,
    RequestWithdrawn,
    WaitTimeout,
)
from allocator.models.allocations import Allocation, Outcome, Request, Wait
from allocator.validation import batch, wait_s

__all__ = ["allocate", "allocate_many", "granted"]

_WAKE_MIN_S: Final = 0.05
"""Seconds that a waiter sleeps at least: a deadline that is about to pass is not asked for in a loop."""

_AGAIN_S: Final = 1.0
"""Seconds until the next attempt while the store grants nothing, or cannot be reached."""

_GRANTED: Final = frozenset({"granted", "replayed", "existing"})
"""Words of an item that its call has, of a batch that is granted."""

_OF_SETTINGS: Final = frozenset({"auth", "eviction", "no_permission", "tls"})
"""Codes of a `BackendUnavailable` that does not end by itself: somebody has to change a setting."""


def allocate(
    defaults: Defaults,
    request: Request,
    wait: Wait,
    *,
    sending: Callable[[], object] | None = None,
    on_end: Callable[[int], object] | None = None,
) -> Flow[Allocation | Denial]:
    """Grant one request, now or within `wait`; the last denial is returned, not raised.

    Args:
        defaults, request: As the client has them.
        wait: Seconds, or a timedelta.
        sending: Called before each attempt is sent: a lease is counted from there.
        on_end: Called with the milliseconds until the hard end of what was granted, if it has one.

    Raises:
        AllocationConflict, AllocationLost, UnknownPool, Recovering, BackendUnavailable: As `allocate` does; of the last
            two only the one that the last attempt met.
        RequestWithdrawn: An operator took it out of the line.
    """
    seconds = wait_s(wait)
    wanted = ValidRequest.validate(request, defaults.owner, waits=True)
    ends = (yield Now()) + seconds
    waiting = _Waiting(defaults, (wanted,), ends, sending, on_end, randoms=(request.id is None,), is_gang=False)
    outcome = yield from waiting.flow()
    return outcome if isinstance(outcome, Denial) else outcome[0]


def allocate_many(
    defaults: Defaults, requests: Sequence[Request], wait: Wait | None, *, atomic: bool
) -> Flow[list[Outcome]]:
    """Grant all requests or none, now or within `wait`; without `wait` as `allocate.allocate_many` does.

    Raises:
        InvalidRequest: `field` is `wait`: without `atomic` each request would wait for itself; `requests`: more than
            `GANG_MAX`, or one id for two requests; `priority`: they differ; `preempt`, `estimate`: they are of single
            requests.
        WaitTimeout: They did not fit in time; `denial.item` is the index of the first that did not.
        Insufficient, AllocationConflict, AllocationLost, RequestWithdrawn: As for one request.
    """
    if wait is None:
        return (yield from allocate_now(defaults, requests, atomic=atomic))
    seconds = wait_s(wait)
    if not atomic:
        raise InvalidRequest(
            "wait: requests wait together, all or none: give atomic=True too, or allocate each one with wait=",
            field="wait",
        )
    asked = batch(requests, "requests", settings.GANG_MAX, "that wait as one")
    wanted = tuple(ValidRequest.validate(request, defaults.owner, waits=True) for request in asked)
    if not wanted:
        return []
    _check_gang(wanted)
    check_weight(defaults, wanted)
    ends = (yield Now()) + seconds
    randoms = [request.id is None for request in asked]
    outcome = yield from _Waiting(defaults, wanted, ends, None, None, randoms=randoms, is_gang=True).flow()
    if isinstance(outcome, Denial):
        raise WaitTimeout.of(outcome)
    return [*outcome]


def _check_gang(wanted: Sequence[ValidRequest]) -> None:
    """Raise what a batch may not be that waits as one."""
    first, by_id = wanted[0], {one.id: one for one in reversed(wanted)}
    for at, one in enumerate(wanted):
        other = by_id[one.id]
        if one.priority != first.priority:
            raise InvalidRequest(
                f"requests[{at}]: priority {one.priority}, and {first.priority} of the first: a batch that waits has "
                "one place in line, so one priority",
                field="priority",
            )
        if one.preempt:
            raise InvalidRequest(
                f"requests[{at}]: preempt is not for a batch that waits: only a single request takes room from others",
                field="preempt",
            )
        if one.estimate:
            raise InvalidRequest(
                f"requests[{at}]: estimate is not foreseen of requests that are granted together", field="estimate"
            )
        if other is not one and (one.exclusive or _asked(one) != _asked(other)):
            raise InvalidRequest(
                f"requests[{at}]: id {one.id!r} is that of another request, which asks for something else",
                field="requests",
            )


def _asked(one: ValidRequest) -> tuple[object, ...]:
    """What two requests of one id must have in common."""
    return one.owner, one.resources, one.scope


def granted(outcome: Allocation | Denial) -> Allocation:
    """The allocation.

    Raises:
        WaitTimeout: It did not fit in time; `Insufficient`: it can never fit.
    """
    if isinstance(outcome, Denial):
        raise WaitTimeout.of(outcome)
    return outcome


class _Waiting:
    """One request, or one atomic batch, for as long as it waits."""

    def __init__(
        self,
        defaults: Defaults,
        wanted: Sequence[ValidRequest],
        ends: float,
        sending: Callable[[], object] | None,
        on_end: Callable[[int], object] | None,
        *,
        randoms: Sequence[bool],
        is_gang: bool,
    ) -> None:
        """As `allocate` does; `randoms`: whose ids are drawn here."""
        self._pool: PoolKeys = defaults.pool
        self._durability: Durability = defaults.durability
        self._wanted = tuple(wanted)
        self._ends = ends
        self._sending = sending
        self._on_end = on_end
        self._randoms = randoms
        self._is_gang = is_gang
        self._renewed = False
        self._refusal: Denial | Recovering | None = None
        """Why it waits, as the last reply has it."""

    def flow(self) -> Flow[list[Allocation] | Denial]:
        """Ask until there is an answer."""
        while True:
            left = self._ends - (yield Now())
            try:
                answer = yield from self._ask(left)
            except OutcomeUnknown:
                if left <= 0:
                    raise
                self._renew()
                answer = _AGAIN_S
            except (BackendUnavailable, Recovering) as error:
                if left <= 0 or not error.retryable or error.code in _OF_SETTINGS:
                    raise
                answer = min(error.retry_after or _AGAIN_S, _AGAIN_S)
            if isinstance(answer, list | Denial):
                return answer
            if answer is None:
                yield from reclaim_due(self._pool)
            else:
                yield from self._pause(answer)

    def _ask(self, left: float) -> Flow[list[Allocation] | Denial | float | None]:
        """One attempt: the answer, or the seconds after which to ask again, or None: reclaim first."""
        last = left <= 0
        wanted = self._wanted
        if not last:
            wanted = tuple(one._replace(wait_ms=math.ceil(left * 1000)) for one in wanted)
        if self._sending is not None:
            self._sending()
        replies: Reply = yield allocate_call(self._pool, wanted, self._durability, atomic=self._is_gang)
        at = next((at for at, reply in enumerate(replies) if reply[0] not in _GRANTED and reply[0] != "aborted"), None)
        if at is None:
            return self._granted(replies)
        return (yield from self._refused(wanted, at, replies[at], last=last))

    def _refused(
        self, wanted: Sequence[ValidRequest], at: int, reply: Reply, *, last: bool
    ) -> Flow[Denial | float | None]:
        """What follows of the reply to the item that was not granted."""
        match reply[0]:
            case "waiting":
                return self._waits(reply)
            case "withdrawn":
                return self._withdrawn(wanted[at], last=last)
            case "conflict_waiting" | "conflict" if self._renewed and not last:
                return _AGAIN_S  # perhaps with our own earlier call, whose undo is under way
            case _:
                pass
        answer = answer_of(self._pool, wanted[at], reply, item=at)
        if answer is RECLAIM_FIRST:
            return None
        if isinstance(answer, AllocationLost) and not last:
            # The grant was not asked for in time, as this process slept: it waits anew.
            if self._is_gang:
                yield from undo.undo(self._pool, self._calls())
            self._renew()
            return 0.0
        if self._is_over(answer, last=last):
            yield from self._complete()
        if isinstance(answer, AllocatorError):
            raise answer
        assert isinstance(answer, Denial)
        return answer

    def _is_over(self, answer: object, *, last: bool) -> bool:
        """Whether the store may still know something of a call that is answered so."""
        if self._is_gang:
            return self._refusal is not None or isinstance(answer, AllocationLost)
        return isinstance(answer, Denial) and last and self._refusal is not None

    def _granted(self, replies: Reply) -> list[Allocation]:
        """The allocations."""
        found: list[Allocation] = []
        for one, reply in zip(self._wanted, replies, strict=True):
            answer = answer_of(self._pool, one, reply)
            assert isinstance(answer, Allocation)
            if self._on_end is not None and answer.ends_ms is not None:
                self._on_end(left_until_end(reply))
            found.append(answer)
        return found

    def _calls(self) -> list[tuple[str, str]]:
        """Each call, and the id that it asks for."""
        return [(one.call, one.id) for one in self._wanted]

    def _complete(self) -> Flow[None]:
        """Have the store forget the call, so that no late copy of it takes a place again.

        The last attempt does that where it still had its place.  What is left of a batch is undone.
        """
        with contextlib.suppress(AllocatorError):  # a late place lapses by itself, and so does a grant
            yield from undo.undo(self._pool, self._calls())

    def _waits(self, reply: Reply) -> float:
        """It is in line; returns the seconds after which something may have changed."""
        again_ms: int = reply[2]
        refusal: Reply = reply[3]
        item: int = reply[4] - 1 if self._is_gang else 0
        if refusal[0] == "denied":
            self._refusal = decode_denial(self._pool, refusal[1:], item)
        elif refusal[0] == "recovering":
            self._refusal = recovering(self._pool, refusal)
        return min(max(again_ms / 1000, _WAKE_MIN_S), settings.HEARTBEAT_S)

    def _withdrawn(self, wanted: ValidRequest, *, last: bool) -> Denial:
        """It is not in line any more: its last attempt has arrived before, or somebody took it out."""
        if last and self._refusal is not None:
            if isinstance(self._refusal, Recovering):
                raise self._refusal
            return self._refusal
        raise RequestWithdrawn(
            f"the request for {wanted.id!r} was taken out of the line of pool {self._pool.name!r}", id=wanted.id
        )

    def _pause(self, seconds: float) -> Flow[None]:
        """Wait for a word of the store, at most so long, and not beyond the end."""
        left = self._ends - (yield Now())
        if left <= 0:
            return
        # Also where no server is reached: only after this step does the next attempt have a time of its own.
        yield Wake(self._pool, self._wanted[0].call, min(seconds, left))

    def _renew(self) -> None:
        """Begin new calls, as the outcome of these is undone."""
        self._wanted = tuple(
            one._replace(call=new_call(), id=new_allocation_id() if is_random else one.id)
            for one, is_random in zip(self._wanted, self._randoms, strict=True)
        )
        self._renewed = True
