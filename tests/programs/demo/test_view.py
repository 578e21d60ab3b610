"""What a person sees: lines without a terminal, a picture on one."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import cast

import pytest
from rich.console import Console

from allocator.apps.demo.cluster import Cluster, Phase, Transition
from allocator.apps.demo.controller import Counters
from allocator.apps.demo.fleet import Replica
from allocator.apps.demo.run import Frame
from allocator.apps.demo.screen import LiveView, PlainView
from allocator.apps.demo.view import open_view, picture, progress
from allocator.apps.demo.watch import Seen
from allocator.testing import memory_allocator


@dataclass
class Process:
    """A replica without a process."""

    name: str
    pid: int
    killed: bool = False
    code: int | None = None
    counters: Counters = field(default_factory=lambda: Counters(granted=3, refused=7))


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def frame_in_the_middle() -> Frame:
    cluster = Cluster(5)
    cluster.write("replica-1", [Transition(0, Phase.PROVISIONING, 7), Transition(1, Phase.PROVISIONING, 8)])
    cluster.write("replica-1", [Transition(0, Phase.RUNNING, 7)])
    seen = Seen()
    with memory_allocator({"cpu": "2", "memory": "4Gi"}) as allocator:
        allocator.allocate({"cpu": "1500m", "memory": "1Gi"}, ttl=60, id="lab/a", owner="replica-1")
        seen.read(allocator.pools.usage(), 1.0)
        seen.last_events.extend(reversed(allocator.events.list()))
        allocator.release("lab/a")
        assert allocator.maintenance.audit()
    replicas = [Process("replica-1", 11), Process("replica-2", 12, killed=True, code=-9)]
    return Frame(3.25, cluster, cast("list[Replica]", replicas), seen, to_come=2)


def test_a_line_of_progress_has_all_the_numbers() -> None:
    """Labs that are still to come do not wait."""
    assert progress(frame_in_the_middle()) == (
        "to come 2  pending 1  provisioning 1  running 1  completed 0  failed 0  cpu 75%  memory 25%  "
        "refusals 14  reclaimed 0"
    )


def test_lines_are_written_once_a_second() -> None:
    """A log of a run must not grow by ten lines a second."""
    stream = io.StringIO()
    with open_view(stream, "title") as view:
        frame = frame_in_the_middle()
        view.show(frame)
        view.show(frame)
        view.note(3.5, "replica-2 was killed")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("   3.2 s  to come 2")
    assert second == "   3.5 s  replica-2 was killed"


def test_the_picture_has_bars_labs_replicas_and_events() -> None:
    """Drawn on a terminal of 100 columns, all of it fits."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None, record=True)
    console.print(picture("title", frame_in_the_middle(), ["  3.5 s  replica-2 was killed"]))
    drawn = console.export_text()
    for part in (
        "title",
        "1.5 of 2",
        "1Gi of 4Gi",
        "Running 1",
        "to come 2",
        "replica-1",
        "killed",
        "granted",
        "lab/a",
    ):
        assert part in drawn
    assert max(map(len, drawn.splitlines())) <= 100


def test_a_terminal_gets_the_picture_and_keeps_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture goes when it is over; what happened stays, above the summary."""
    monkeypatch.setenv("TERM", "xterm")
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    stream = Terminal()
    with open_view(stream, "title") as view:
        assert isinstance(view, LiveView)
        view.show(frame_in_the_middle())
        view.note(3.5, "replica-2 was killed")
    assert stream.getvalue().endswith("   3.5 s  replica-2 was killed\n")
    assert isinstance(open_view(io.StringIO(), "title"), PlainView)
