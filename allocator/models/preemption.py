"""Preemption: the policy of a pool, and what a holder learns whose room is taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from allocator import settings
from allocator.durations import exact
from allocator.errors import InvalidRequest
from allocator.models.instants import instant
from allocator.serialization import INSTANT, TRUTH, Codec, Value, checked, field, optional, read_integer
from allocator.validation import allocation_id, grace_ms

__all__ = ["NO_PREEMPTION", "Preemption", "PreemptionPolicy"]


def _grace_ms(value: object) -> int:
    return grace_ms(value, "preempt_grace")


def _protect_ms(value: object) -> int:
    return grace_ms(value, "preempt_protect", settings.AGE_MAX_S)


_GRACE: Final = Codec(_grace_ms, lambda found, path: read_integer(found, path) / 1000)
_PROTECT: Final = Codec(_protect_ms, lambda found, path: read_integer(found, path) / 1000)


@dataclass(frozen=True, slots=True)
class PreemptionPolicy(Value):
    """Whether requests may take room from lower priorities, and how; `docs/policies.md` has examples.

    As an argument, None leaves a value as it is; a pool has all three.

    Attributes:
        permitted: Whether requests with `preempt=True` take room from lower priorities.
        grace: Seconds, or a timedelta, that a preempted allocation keeps its room, 1 s to 30 days; 0: it ends at once.
        protect: Seconds, or a timedelta, from its grant on, in which no allocation is preempted; at most ten years.
    """

    FORMAT: ClassVar = (
        field("permitted", "permitted", optional(TRUTH)),
        field("grace", "graceMs", optional(_GRACE)),
        field("protect", "protectMs", optional(_PROTECT)),
    )

    permitted: bool | None = None
    grace: float | timedelta | None = None
    protect: float | timedelta | None = None

    def texts(self) -> dict[str, str]:
        """What is given, by the names that the command line has for it."""
        given: dict[str, str] = {}
        if self.permitted is not None:
            given["preemption"] = "on" if self.permitted else "off"
        if self.grace is not None:
            given["preempt_grace"] = exact(_grace_ms(self.grace))
        if self.protect is not None:
            given["preempt_protect"] = exact(_protect_ms(self.protect))
        return given

    def words(self) -> dict[str, str]:
        """What is given, as a pool's options: name -> value; "" for what is the default.

        Raises:
            InvalidRequest: `field` is `preemption`, `preempt_grace` or `preempt_protect`.
        """
        options: dict[str, str] = {}
        if self.permitted is not None:
            if type(self.permitted) is not bool:
                raise InvalidRequest(f"preemption: {self.permitted!r} is neither True nor False", field="preemption")
            options["preemption"] = "1" if self.permitted else ""
        if self.grace is not None:
            milliseconds = _grace_ms(self.grace)
            options["preempt_grace_ms"] = "" if milliseconds == settings.PREEMPT_GRACE_MS else str(milliseconds)
        if self.protect is not None:
            options["preempt_protect_ms"] = str(_protect_ms(self.protect) or "")
        return options


NO_PREEMPTION: Final = PreemptionPolicy(False, settings.PREEMPT_GRACE_S, 0.0)
"""What counts in a pool that says nothing else."""


@dataclass(frozen=True, slots=True)
class Preemption(Value):
    """That a request of higher priority takes the room of an allocation.

    `by` is the id of that request; `deadline_ms` is when the room is taken, by the server's clock, unless the
    allocation is released before.
    """

    FORMAT: ClassVar = (
        field("by", "by", checked(allocation_id)),
        field("deadline_ms", "deadline", INSTANT),
    )

    by: str
    deadline_ms: int

    @property
    def deadline(self) -> datetime:
        """`deadline_ms` as a datetime."""
        return instant(self.deadline_ms)
