"""One run of the class, from the empty pool to the report; all that it started has ended when it returns or raises.

The parts::

    students.py        the pool, the run, the end            students_plan.py    who asks for what, and when
    students_class.py  the students, what they were told     students_sight.py   what is read, and its checks
    students_view.py   the progress, for people              students_report.py  the result
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import Final

from allocator import Allocator, AllocatorError, redact_url
from allocator.apps.demo.run import SILENT_S, STALL_S, STEP_S, leaks, own_pool
from allocator.apps.demo.screen import View
from allocator.apps.demo.students_class import Classroom, Told
from allocator.apps.demo.students_plan import Plan
from allocator.apps.demo.students_report import Report
from allocator.apps.demo.students_sight import Reading, Sight
from allocator.apps.demo.watch import Seen, Watcher
from allocator.testing import PrivateServer

__all__ = ["Frame", "run"]

SETTLE_S: Final = 1.0
"""Seconds within which nothing is left after the last release."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The state of a run at one instant."""

    elapsed_s: float
    plan: Plan
    told: Told
    seen: Seen
    sight: Sight

    @property
    def reading(self) -> Reading | None:
        """The last reading of the pool."""
        return self.sight.last


def run(plan: Plan, url: str | None, view: View[Frame]) -> Report:
    """Run the class and return the report.

    Raises:
        AllocatorError: The server could not be reached at the start, or at the end.
    """
    with contextlib.ExitStack() as stack:
        server = url or stack.enter_context(PrivateServer()).url
        name = f"demo-{secrets.token_hex(4)}"
        allocator = stack.enter_context(own_pool(server, name, plan.capacity))
        for scope, limits in plan.limits().items():
            allocator.quotas.set(scope, limits)
        watcher = Watcher(allocator)
        stack.callback(watcher.stop)
        sight = Sight()
        classroom = stack.enter_context(Classroom(plan, url=server, pool=name))
        watcher.start()
        where = redact_url(server) if url else f"a server of its own, {server}"
        view.note(0.0, f"pool {name} on {where}")
        problems = _watch(allocator, plan, classroom, sight, watcher.seen, view)
        seconds = classroom.elapsed_s
        classroom.cut()
        left = leaks(allocator, SETTLE_S)
        waiting = len(allocator.queue.list())
        watcher.stop()
        audit = allocator.maintenance.audit()
    return Report.of(
        plan,
        classroom.told,
        sight,
        watcher.seen,
        server=where,
        pool=name,
        seconds=seconds,
        leaks=left,
        waiting=waiting,
        audit=audit.status,
        problems=problems,
    )


def _watch(
    allocator: Allocator, plan: Plan, classroom: Classroom, sight: Sight, seen: Seen, view: View[Frame]
) -> list[str]:
    """Read and show the pool until all students have ended.

    Returns:
        Why the run was aborted; empty if it was not.
    """
    while not classroom.over:
        time.sleep(STEP_S)
        elapsed_s = classroom.elapsed_s
        with contextlib.suppress(AllocatorError):  # the watcher says for how long the server has been silent
            sight.read(allocator, plan.capacity, elapsed_s)
        _pass_notes(classroom, view)
        view.show(Frame(elapsed_s, plan, classroom.told, seen, sight))
        if time.monotonic() - seen.answered_s > SILENT_S:
            return [f"the server has not answered for {SILENT_S:.0f} s: {seen.last_error}"]
        if elapsed_s > 2 * plan.seconds + STALL_S:
            return [f"students are still there after {elapsed_s:.0f} s"]
    _pass_notes(classroom, view)
    return []


def _pass_notes(classroom: Classroom, view: View[Frame]) -> None:
    while classroom.notes:
        view.note(*classroom.notes.popleft())
