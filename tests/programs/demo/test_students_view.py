"""What a person sees of the class, at 80 columns and at 60."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from allocator import Allocator, Denial, Resources, Shortage
from allocator.apps.demo.screen import LiveView, PlainView
from allocator.apps.demo.students import Frame
from allocator.apps.demo.students_class import Told
from allocator.apps.demo.students_plan import GPU, Plan
from allocator.apps.demo.students_sight import Reading, Sight
from allocator.apps.demo.students_view import BORROWED, FREE, USED, Picture, bar, open_class_view, progress
from allocator.apps.demo.watch import Seen
from allocator.models.queue import Waiter
from allocator.testing import memory_allocator
from tests.programs.demo.test_view import Terminal

NOTES = ["  15.0 s  instructor: half of the pool, please; priority 100"]


def line_of(allocator: Allocator) -> list[Waiter]:
    """A priority lab that is short of cores, a student with enough labs, one who waits behind, and 20 more."""
    now_ms = allocator.pools.usage().read_ms
    denials = [
        Denial("capacity_exceeded", "test", (Shortage("cpu", 1000, 12_000, 12_000),)),
        Denial(
            "capacity_exceeded",
            "test",
            (Shortage("allocations", 1000, 2000, 2000, "quota", "class/team-1/student-01"),),
        ),
        Denial("queued", "test", ()),
        *[Denial("capacity_exceeded", "test", (Shortage(GPU, 1000, 2000, 2000, "quota", "class/team-2"),))] * 20,
    ]
    scopes = ["class/staff", "class/team-1/student-01", *["class/team-2/student-03"] * 21]
    return [
        Waiter(
            id=f"lab-{number}",
            pool="test",
            position=number,
            owner="somebody",
            priority=100 if number == 1 else 0,
            resources=Resources.request({"cpu": 2, "memory": "8Gi", GPU: 1}),
            since_ms=now_ms - 1500,
            scope=scope,
            denial=denial,
            start_ms=now_ms + 2500 if number < 3 else None,
        )
        for number, (scope, denial) in enumerate(zip(scopes, denials, strict=True), 1)
    ]


@pytest.fixture
def frame() -> Frame:
    """Team 1 has borrowed a core; somebody waits."""
    plan, seen, sight = Plan(12, 30.0, 1), Seen(), Sight()
    told = Told({}, asked=4, granted=2, gave_up=1, running=2)
    told.waits_s = {"a": 0.25, "b": 1.5}
    with memory_allocator(plan.capacity) as allocator:
        for scope, limits in plan.limits().items():
            allocator.quotas.set(scope, limits)
        allocator.allocate({"cpu": 3, "memory": "4Gi"}, ttl=60, id="a", scope="class/team-1/student-01")
        allocator.allocate({"cpu": 1, "memory": "1Gi", GPU: 1}, ttl=60, id="b", scope="class/team-2/student-03")
        seen.last_events.extend(reversed(allocator.events.list(limit=2)))
        seen.from_line.add("b")
        reading = Reading(allocator.pools.usage(), allocator.quotas.tree(), line_of(allocator))
        sight.add(reading, plan.capacity, 15.0)
        for one in ("a", "b"):
            allocator.release(one)
        assert allocator.maintenance.audit()
    return Frame(15.25, plan, told, seen, sight)


def drawn(frame: Frame, width: int, height: int) -> list[str]:
    """The lines of the picture."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None, record=True
    )
    console.print(Picture("12 students", frame, NOTES))
    return console.export_text().rstrip("\n").split("\n")


def test_a_line_of_progress_has_the_numbers(frame: Frame) -> None:
    """It fits 80 columns with its time."""
    assert progress(frame) == "running 2  waiting 23  cpu 33%  borrowed 1  granted 2  gave up 1"


@pytest.mark.parametrize(("width", "height"), [(60, 24), (60, 40), (80, 24), (80, 40), (120, 50)])
def test_the_picture_fits_its_terminal(frame: Frame, width: int, height: int) -> None:
    """All of it is there: nothing is wider or higher than the terminal, which would cut it."""
    lines = drawn(frame, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    text = "\n".join(lines)
    for part in (
        "12 students", "15.2 of 30 s", "pool", "team-1", "team-6", "staff", "█ used", "│ share", "23 wait",
        "more behind", "100  staff", "team-1/student-01", "own labs", "pool cpu", "others first", "1.5 s", "< 3 s",
        "granted 2", "waited 1", "p50 1.5 s",
        "gave up 1", "over a limit 0", "instructor: half of the pool, please; priority 100",
    ):  # fmt: skip
        assert part in text, (part, text)
    assert ("2 cpu 8Gi 1 gpu" in text) == (width >= 80)
    assert ("granted    b" in text) == (height >= 40)


def test_a_team_shows_what_it_uses_borrows_lends_and_keeps(frame: Frame) -> None:
    """By signs and by numbers, so that it can be read without colours."""
    lines = drawn(frame, 80, 40)
    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert rows["pool"].split()[2:] == ["4", "-", "-", "4", "4", "1/6", "2", "23"]
    assert rows["team-1"].split()[-8:] == ["3", "1", "0", "0", "0", "0", "1", "1"]
    assert rows["team-2"].split()[-8:] == ["1", "0", "0", "0", "2", "1", "1", "21"]
    assert rows["team-3"].split()[-8:] == ["0", "0", "0", "1", "3", "0", "0", "0"]
    assert "█│▓" in rows["team-1"]
    assert "░" in rows["team-3"]


def test_a_bar_has_its_length_and_its_shares() -> None:
    """Whatever is rounded."""
    assert bar(10, ((USED, 5), (BORROWED, 3), (FREE, 2))).plain == "█████▓▓▓··"
    assert bar(7, ((USED, 1), (BORROWED, 1), (FREE, 1))).plain == "██▓▓▓··"
    assert bar(5, ((USED, 0), (FREE, 0))).plain == ""


def test_a_picture_before_the_first_reading_is_a_title() -> None:
    """The server may not have answered yet."""
    frame = Frame(0.1, Plan(12, 30.0, 1), Told({}), Seen(), Sight())
    assert len(drawn(frame, 80, 24)) == 1
    assert progress(frame) == "running 0  granted 0  gave up 0"


def test_a_terminal_gets_the_picture_and_others_lines(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the other demo."""
    monkeypatch.setenv("TERM", "xterm")
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    stream = Terminal()
    with open_class_view(stream, "title") as view:
        assert isinstance(view, LiveView)
        view.show(frame)
        view.note(15.0, "the instructor asks")
    assert stream.getvalue().endswith("  15.0 s  the instructor asks\n")
    lines = io.StringIO()
    with open_class_view(lines, "title") as plain:
        assert isinstance(plain, PlainView)
        plain.show(frame)
    assert lines.getvalue() == "  15.2 s  running 2  waiting 23  cpu 33%  borrowed 1  granted 2  gave up 1\n"
