"""Why a command is ended: its lease is lost, or its room is taken after a grace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from allocator.apps.cli.output import rfc3339

if TYPE_CHECKING:
    from allocator import Hold

__all__ = ["KILL_AFTER", "LeaseEvent", "why_lost", "why_preempted"]

KILL_AFTER: Final = 0.1
"""Part of the time to live, or of the grace of a preemption, after which a command without a lease is killed: a hold is
lost that long before the server may give its resources to another."""


class LeaseEvent:
    """The event that the lease is lost, or preempted."""


def why_lost(hold: Hold) -> str:
    """What is said of a lease that is lost."""
    loss = hold.loss
    if loss is not None and loss.code == "over":
        return str(loss)
    return f"the lease of {hold.id!r} is lost{'' if loss is None else f' ({loss.code})'}"


def why_preempted(hold: Hold) -> str:
    """What is said of a lease whose room is taken; "" if it is not."""
    if hold.preempted is None:
        return ""
    return f"{hold.id!r} is preempted by {hold.preempted.by!r}, and ends at {rfc3339(hold.preempted.deadline_ms)}"
