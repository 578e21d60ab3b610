"""The policy of repeating, shared by both drivers; no I/O.

A call is attempted until it is answered, until its total deadline passes, or until an error says that repeating is no
use. Once an attempt may have been executed, only a reply of the script itself ends the doubt: a refusal of a later
attempt says nothing about the earlier one.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Final

from allocator import settings
from allocator._engine.protocol.flows import Item
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import AllocatorError, BackendUnavailable, NotDurable, OutcomeUnknown

__all__ = ["RetryState", "backoff", "deadline_exceeded", "final_error"]

_SHOWN_IDS: Final = 3
"""Ids that a message about several items names."""


def backoff(count: int) -> float:
    """Seconds before the next attempt after `count` failed ones.

    Doubled up to a cap, and spread, so that callers who failed together do not come back together.
    """
    longest = min(settings.BACKOFF_BASE_S * 2.0 ** min(count - 1, 16), settings.BACKOFF_CAP_S)
    return longest * random.uniform(0.5, 1.0)


class RetryState:
    """What is known of the attempts at one call: how many failed, and whether one may have been executed."""

    __slots__ = ("_redirects", "_writes", "ambiguous", "count", "until")

    def __init__(self, until: float, *, writes: bool, ambiguous: bool = False) -> None:
        """Begin.

        Args:
            until: No attempt begins after this instant of `time.monotonic`.
            writes: Whether the call may change anything; if not, there is never a doubt.
            doubt: Whether an attempt made elsewhere (with other items) may have been executed.
        """
        self.until = until
        self.count = 0
        self.ambiguous = ambiguous
        self._writes = writes
        self._redirects = 0

    def next_delay(self, failure: AttemptFailure, now: float) -> float | None:
        """Take note of a failed attempt.

        Returns:
            Seconds to wait before the next, or None: there is to be no next one.
        """
        self.count += 1
        self.ambiguous = self.ambiguous or (failure.ambiguous and self._writes)
        if not failure.transient:
            return None
        pause = backoff(self.count)
        if failure.redirect is not None and self._redirects < settings.REDIRECTS_MAX:
            self._redirects += 1
            pause = 0.0
        return pause if now + pause < self.until else None


def final_error(items: Sequence[Item], failure: AttemptFailure, *, ambiguous: bool) -> AllocatorError:
    """What the caller of these items is told when `failure` was the last."""
    # A copy, for several callers may be told the same, and each raises it for itself.
    known = failure.from_script or isinstance(failure.error, NotDurable)
    told = _unknown(items, failure.error) if ambiguous and not known else copy.copy(failure.error)
    told.__cause__ = failure.__cause__
    return told


def deadline_exceeded() -> AttemptFailure:
    """The fault of an attempt that was never begun."""
    return AttemptFailure(BackendUnavailable("no time was left to ask the store", code="timeout"))


def _unknown(items: Sequence[Item], error: AllocatorError) -> OutcomeUnknown:
    ids = [item.id for item in items if item.id]
    named = ", ".join(ids[:_SHOWN_IDS]) + (f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else "")
    about = f"of {named} " if named else ""
    code = error.code if error.code != BackendUnavailable.default_code else None
    return OutcomeUnknown(f"the outcome {about}is unknown: {error}", id=ids[0] if ids else "", code=code)
