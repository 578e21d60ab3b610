"""The demos as a terminal shows them: the real programs run, and one instant of each is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from allocator.apps.demo import run, students, students_view, view
from allocator.apps.demo.lab_requests import default_capacity, default_file, natural_speed, read_requests
from allocator.apps.demo.screen import NOTES, line
from allocator.apps.demo.students_plan import Plan
from tools.pictures.drawn import write
from tools.pictures.terminal import terminal

COLUMNS: Final = 100
ROWS: Final = 34
CLASS: Final = 60
SECONDS: Final = 30.0
SEED: Final = 1
TAKEN_AFTER_S: Final = 0.7
"""Seconds after the kill: the capacity of the killed replica is still charged."""


class Camera:
    """A view that keeps the first frame for which `due` is true, drawn."""

    def __init__(self, draw: Callable[[Any, Sequence[str]], str], due: Callable[[Any, str], bool]) -> None:
        self._draw = draw
        self._due = due
        self._notes: list[str] = []
        self.taken = ""

    def show(self, frame: Any) -> None:
        """Keep it, if it is the one."""
        if not self.taken and self._due(frame, "\n".join(self._notes)):
            self.taken = self._draw(frame, self._notes[-NOTES:])

    def note(self, elapsed_s: float, text: str) -> None:
        """Keep a line, without what differs from machine to machine."""
        self._notes.append(line(elapsed_s, text.partition(" on a server of its own")[0]))


def _replicas() -> None:
    labs = read_requests(default_file())
    settings = run.Settings(
        labs=labs, capacity=default_capacity(labs), speed=natural_speed(labs, default_capacity(labs))
    )
    title = f"{len(settings.labs)} labs, {settings.replicas} replicas, one pool: {settings.capacity}"
    killed: list[float] = []

    def due(frame: run.Frame, notes: str) -> bool:
        if "SIGKILL" in notes and not killed:
            killed.append(frame.elapsed_s)
        return bool(killed) and frame.elapsed_s >= killed[0] + TAKEN_AFTER_S

    def draw(frame: run.Frame, notes: Sequence[str]) -> str:
        return terminal(
            "demo",
            "resource-allocator demo",
            view.picture(title, frame, notes),
            description="Bars of the pool, the phases of the labs, four replicas of which one was killed, the events.",
            columns=COLUMNS,
            rows=ROWS,
        )

    camera = Camera(draw, due)
    summary = run.run(settings, camera)
    assert summary.ok, summary.lines()
    write("demo", camera.taken)


def _students() -> None:
    plan = Plan(CLASS, SECONDS, SEED)
    title = f"{plan.size} students, {len(plan.teams)} teams, one pool"

    def draw(frame: students.Frame, notes: Sequence[str]) -> str:
        return terminal(
            "students",
            "resource-allocator demo --students",
            students_view.Picture(title, frame, notes),
            description="The tree of scopes with what is used, borrowed and lent, and the line of those who wait.",
            columns=COLUMNS,
            rows=ROWS,
        )

    def due(frame: students.Frame, _notes: str) -> bool:
        return frame.reading is not None and frame.elapsed_s > plan.seconds / 2 + 1

    camera = Camera(draw, due)
    report = students.run(plan, None, camera)
    assert report.ok, report.lines(COLUMNS)
    write("students", camera.taken)


def main() -> None:
    """Run both demos."""
    _replicas()
    _students()
