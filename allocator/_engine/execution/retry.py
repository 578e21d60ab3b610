"""The retry policy of both drivers; no I/O.

A call is attempted until there is a reply, until its total deadline passes, or until a failure is not transient or has
used up its retries.  Once an attempt is ambiguous, only a reply of the script ends the ambiguity: a later attempt that
the server refused does not show whether the earlier one was executed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Final

from allocator import settings
from allocator._engine.execution.instrumentation import CURRENT
from allocator._engine.protocol.flows import Item
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import AllocatorError, BackendUnavailable, NotDurable, OutcomeUnknown

__all__ = ["RetryState", "backoff", "cause_of", "deadline_exceeded", "final_error"]

_SHOWN_IDS: Final = 3
"""The maximum number of ids in a message about several items."""


def backoff(count: int) -> float:
    """Seconds before the next attempt after `count` failed ones.

    It doubles up to a cap and is randomised, so that callers that failed together do not retry together.
    """
    longest = min(settings.BACKOFF_BASE_S * 2.0 ** min(count - 1, 16), settings.BACKOFF_CAP_S)
    return longest * random.uniform(0.5, 1.0)


class RetryState:
    """The attempts at one call: how many failed, and whether one is ambiguous."""

    __slots__ = ("_limited", "_observed", "_redirects", "_writes", "ambiguous", "count", "unsent", "until")

    def __init__(self, until: float, *, writes: bool, ambiguous: bool = False) -> None:
        """Start without attempts.

        Args:
            until: No attempt begins after this instant of `time.monotonic`.
            writes: Whether the call may change anything; if not, no attempt is ambiguous.
            ambiguous: Whether an earlier attempt, perhaps in another batch, may have been executed.
        """
        self.until = until
        self.count = 0
        self.ambiguous = ambiguous
        self.unsent = False
        """Whether no attempt so far can have been executed; only valid during the pause before the next one."""
        self._writes = writes
        self._redirects = 0
        self._limited = 0
        self._observed = CURRENT.get()

    def next_delay(self, failure: AttemptFailure, now: float) -> float | None:
        """Record a failed attempt.

        Returns:
            Seconds to wait before the next attempt; None: no further attempt.
        """
        self.count += 1
        self.ambiguous = self.ambiguous or (failure.ambiguous and self._writes)
        self._limited += failure.retries is not None
        if not failure.may_pass(self._limited):
            return None
        pause = backoff(self.count)
        if failure.redirect is not None and self._redirects < settings.REDIRECTS_MAX:
            self._redirects += 1
            pause = 0.0
        if now + pause >= self.until:
            return None
        if self._observed is not None:
            self._observed.retry(cause_of(failure), pause)
        return pause


def cause_of(failure: AttemptFailure) -> str:
    """Why a call is attempted again, in one word: the error's code."""
    return failure.error.code if failure.redirect is None else "redirect"


def final_error(items: Sequence[Item], failure: AttemptFailure, *, ambiguous: bool) -> AllocatorError:
    """The error to raise for these items after their last attempt failed."""
    # A copy, as several callers may raise the same error.
    known = failure.from_script or isinstance(failure.error, NotDurable)
    told = _unknown(items, failure.error) if ambiguous and not known else copy.copy(failure.error)
    told.__cause__ = failure.__cause__
    return told


def deadline_exceeded() -> AttemptFailure:
    """The failure of an attempt that did not begin because the deadline had passed."""
    return AttemptFailure(BackendUnavailable("no time was left to send the call", code="timeout"))


def _unknown(items: Sequence[Item], error: AllocatorError) -> OutcomeUnknown:
    ids = [item.id for item in items if item.id]
    named = ", ".join(ids[:_SHOWN_IDS]) + (f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else "")
    about = f"of {named} " if named else ""
    code = error.code if error.code != BackendUnavailable.default_code else None
    return OutcomeUnknown(f"the outcome {about}is unknown: {error}", id=ids[0] if ids else "", code=code)
