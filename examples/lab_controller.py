"""A lab controller on the native API; `python -m examples.test_lab_controller` tests it.

Each pass of `reconcile` may follow any other, in any replica: the id of an allocation follows from the lab's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from allocator import (
    Allocation,
    AllocationLost,
    Allocator,
    BackendUnavailable,
    Denial,
    OutcomeUnknown,
    Recovering,
    UnknownAllocation,
)

TTL_S = 60.0
"""Seconds: several passes, so that one that is late loses nothing."""


@dataclass
class Lab:
    """A lab and its status."""

    name: str
    limits: dict[str, str]
    done: bool = False
    phase: str = "Pending"
    reason: str = ""
    held: Allocation | None = field(default=None, repr=False)


class LabController:
    """Gives labs what they need, for as long as they run."""

    def __init__(self, allocator: Allocator) -> None:
        """Use this client."""
        self._allocator = allocator

    def reconcile(self, lab: Lab) -> None:
        """One pass.  A store that does not reply leaves the lab as it is: a running lab runs on until its deadline."""
        try:
            if lab.done:
                self._complete(lab)
            elif lab.held is None:
                self._start(lab, lab.limits)
            else:
                self._renew(lab, lab.held)
        except (BackendUnavailable, OutcomeUnknown) as error:
            lab.reason = f"the next pass repeats it: {error}"  # safe, as the id is the same

    def _start(self, lab: Lab, limits: dict[str, str]) -> None:
        try:
            outcome = self._allocator.try_allocate(limits, ttl=TTL_S, id=f"labs/{lab.name}")
        except Recovering as error:
            lab.reason = str(error)
            return
        if isinstance(outcome, Denial):
            lab.reason = f"waits for room: {outcome}"
            return
        lab.held, lab.phase, lab.reason = outcome, "Running", ""

    def _renew(self, lab: Lab, held: Allocation) -> None:
        try:
            self._allocator.renew(held, ttl=TTL_S)
            lab.reason = ""
        except (UnknownAllocation, AllocationLost) as error:
            lab.held, lab.phase, lab.reason = None, "Pending", f"starts anew: {error}"

    def _complete(self, lab: Lab) -> None:
        # By id where the status names no grant: a pass may have died before it could write that.
        self._allocator.release(lab.held or f"labs/{lab.name}")
        lab.held, lab.phase, lab.reason = None, "Completed", ""
