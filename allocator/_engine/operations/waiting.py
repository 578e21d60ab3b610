"""allocate with `wait`: take a place in the pool's line, and ask again until it is granted or the time is over.

The place is in the store, and whoever frees the room grants it there.  So the loop below only listens for the word that
it was granted, and asks again at least each `HEARTBEAT_S`, with the same call id, so that the store knows that somebody
still waits.  The last attempt says that it does not wait any more, and leaves the line.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Final

from allocator import settings
from allocator._engine.operations import undo
from allocator._engine.operations.allocate import RECLAIM_FIRST, ValidRequest, allocate_call, answer_of
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
    OutcomeUnknown,
    Recovering,
    RequestWithdrawn,
    WaitTimeout,
)
from allocator.models.allocations import Allocation, Request, Wait
from allocator.validation import wait_s

__all__ = ["allocate", "granted"]

_WAKE_MIN_S: Final = 0.05
"""Seconds that a waiter sleeps at least: a deadline that is about to pass is not asked for in a loop."""

_AGAIN_S: Final = 1.0
"""Seconds until the next attempt while the store grants nothing, or cannot be reached."""

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
    return (yield from _Waiting(defaults, wanted, ends, sending, on_end, is_random=request.id is None).flow())


def granted(outcome: Allocation | Denial) -> Allocation:
    """The allocation.

    Raises:
        WaitTimeout: It did not fit in time; `Insufficient`: it can never fit.
    """
    if isinstance(outcome, Denial):
        raise WaitTimeout.of(outcome)
    return outcome


class _Waiting:
    """One request, for as long as it waits."""

    def __init__(
        self,
        defaults: Defaults,
        wanted: ValidRequest,
        ends: float,
        sending: Callable[[], object] | None,
        on_end: Callable[[int], object] | None,
        *,
        is_random: bool,
    ) -> None:
        self._pool: PoolKeys = defaults.pool
        self._durability: Durability = defaults.durability
        self._wanted = wanted
        self._ends = ends
        self._sending = sending
        self._on_end = on_end
        self._is_random = is_random
        self._renewed = False
        self._refusal: Denial | Recovering | None = None
        """Why it waits, as the last reply has it."""

    def flow(self) -> Flow[Allocation | Denial]:
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
            if isinstance(answer, Allocation | Denial):
                return answer
            if answer is None:
                yield from reclaim_due(self._pool)
            else:
                yield from self._pause(answer)

    def _ask(self, left: float) -> Flow[Allocation | Denial | float | None]:
        """One attempt: the answer, or the seconds after which to ask again, or None: reclaim first."""
        last = left <= 0
        wanted = self._wanted if last else self._wanted._replace(wait_ms=math.ceil(left * 1000))
        if self._sending is not None:
            self._sending()
        reply: Reply = (yield allocate_call(self._pool, (wanted,), self._durability, atomic=False))[0]
        match reply[0]:
            case "waiting":
                return self._waits(reply)
            case "withdrawn":
                return self._withdrawn(last=last)
            case "conflict_waiting" | "conflict" if self._renewed and not last:
                return _AGAIN_S  # perhaps with our own earlier call, whose undo is under way
            case _:
                pass
        answer = answer_of(self._pool, wanted, reply)
        if answer is RECLAIM_FIRST:
            return None
        if isinstance(answer, AllocationLost) and not last:
            # The grant was not asked for in time, as this process slept: it waits anew.
            self._renew()
            return 0.0
        if isinstance(answer, AllocatorError):
            raise answer
        assert isinstance(answer, Allocation | Denial)
        if isinstance(answer, Denial) and last and self._refusal is not None:
            yield from self._complete()
        if self._on_end is not None and isinstance(answer, Allocation) and answer.ends_ms is not None:
            self._on_end(left_until_end(reply))
        return answer

    def _complete(self) -> Flow[None]:
        """Have the store forget the call, so that no late copy of it takes a place again.

        The last attempt does that where it still had its place.
        """
        with contextlib.suppress(AllocatorError):  # a late place lapses by itself
            yield from undo.undo(self._pool, [(self._wanted.call, self._wanted.id)])

    def _waits(self, reply: Reply) -> float:
        """It is in line; returns the seconds after which something may have changed."""
        again_ms: int = reply[2]
        refusal: Reply = reply[3]
        if refusal[0] == "denied":
            self._refusal = decode_denial(self._pool, refusal[1:])
        elif refusal[0] == "recovering":
            self._refusal = recovering(self._pool, refusal)
        return min(max(again_ms / 1000, _WAKE_MIN_S), settings.HEARTBEAT_S)

    def _withdrawn(self, *, last: bool) -> Denial:
        """It is not in line any more: its last attempt has arrived before, or somebody took it out."""
        if last and self._refusal is not None:
            if isinstance(self._refusal, Recovering):
                raise self._refusal
            return self._refusal
        raise RequestWithdrawn(
            f"the request for {self._wanted.id!r} was taken out of the line of pool {self._pool.name!r}",
            id=self._wanted.id,
        )

    def _pause(self, seconds: float) -> Flow[None]:
        """Wait for a word of the store, at most so long, and not beyond the end."""
        left = self._ends - (yield Now())
        if left <= 0:
            return
        # Also where no server is reached: only after this step does the next attempt have a time of its own.
        yield Wake(self._pool, self._wanted.call, min(seconds, left))

    def _renew(self) -> None:
        """Begin a new call, as the outcome of this one is undone."""
        identity = new_allocation_id() if self._is_random else self._wanted.id
        self._wanted, self._renewed = self._wanted._replace(call=new_call(), id=identity), True
