"""`resource-allocator demo`: the options, the signals and the exit code."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final, Literal, NoReturn

import click
from rich.console import Console

from allocator import AllocatorError, BackendError, InvalidRequest, Resources
from allocator.apps.demo.lab_requests import (
    BadRequestsError,
    LabRequest,
    default_capacity,
    default_file,
    natural_speed,
    read_requests,
)
from allocator.apps.demo.report import Summary
from allocator.apps.demo.run import Settings, run
from allocator.apps.demo.students import run as run_class
from allocator.apps.demo.students_plan import Plan as ClassPlan
from allocator.apps.demo.students_report import Report
from allocator.apps.demo.students_view import open_class_view
from allocator.apps.demo.view import open_view

__all__ = ["demo"]

EXIT_BROKEN: Final = 1
EXIT_UNREACHABLE: Final = 5
EXIT_INTERRUPTED: Final = 130

REPLICAS_MAX: Final = 32
STUDENTS_MIN: Final = 6
STUDENTS_MAX: Final = 240
CLASS_SECONDS: Final = 30.0
SPEED_MAX: Final = 1e9


_OF_REPLICAS: Final = frozenset({"path", "capacity", "replicas", "speed", "ttl", "failing", "kill"})
_OF_CLASS: Final = frozenset({"class_size", "seconds", "priority_lab"})
"""Options that only one of the two demos has."""


class _Range(click.FloatRange):
    """A number within bounds; "nan" would pass those of `click.FloatRange`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


@click.command(short_help="Watch replicas, or a class of students, share a pool.")
@click.option("--students", is_flag=True, help="A class instead: teams with quotas, a line, and a priority lab.")
@click.option(
    "--class-size",
    type=click.IntRange(STUDENTS_MIN, STUDENTS_MAX),
    default=60,
    show_default=True,
    help="With --students: how many, in six teams.",
)
@click.option(
    "--seconds",
    type=_Range(2, 600),
    default=CLASS_SECONDS,
    show_default=True,
    help="With --students: how long they ask for labs.",
)
@click.option(
    "--requests",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CSV: name, cpu, memory, seconds; optional: arrives, further resources.  [default: a course day]",
)
@click.option(
    "--capacity",
    metavar="NAME=QUANTITY,...",
    help="The pool.  [default: cpu=32,memory=128Gi, and a tenth of all that is asked for of anything else]",
)
@click.option("--url", metavar="URL", help="Run on this Redis, in a pool of its own.  [default: a server of its own]")
@click.option(
    "--replicas", type=click.IntRange(1, REPLICAS_MAX), default=4, show_default=True, help="Controller processes."
)
@click.option(
    "--speed",
    type=_Range(0, SPEED_MAX, min_open=True),
    metavar="FACTOR",
    help="How much faster time passes than in the file.  [default: so that it takes about half a minute]",
)
@click.option(
    "--ttl",
    type=_Range(1, 60),
    default=1.5,
    show_default=True,
    metavar="SECONDS",
    help="Time to live of a lab's lease, which its replica keeps renewing.",
)
@click.option(
    "--failing",
    type=_Range(0, 1),
    default=0.03,
    show_default=True,
    metavar="SHARE",
    help="Share of the labs whose provisioning fails.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Which labs fail; with --students, who asks for what."
)
@click.option(
    "--priority-lab/--no-priority-lab",
    default=True,
    show_default=True,
    help="With --students: the instructor asks for half of the pool, with priority.",
)
@click.option("--kill/--no-kill", default=True, show_default=True, help="Kill one replica on the way (SIGKILL).")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How the summary is printed; with json, the progress goes to stderr.",
)
@click.pass_context
def demo(
    context: click.Context,
    *,
    students: bool,
    class_size: int,
    seconds: float,
    priority_lab: bool,
    path: Path | None,
    capacity: str | None,
    url: str | None,
    replicas: int,
    speed: float | None,
    ttl: float,
    failing: float,
    seed: int,
    kill: bool,
    output: Literal["table", "json"],
) -> None:
    """Watch controller replicas share a pool that is too small for all of their labs.

    Each replica is a process of its own.  One of them is killed on the way; its leases lapse, and the others take its
    labs over.  All along, a watcher reads the ledger and looks for over-allocations; an audit at the end looks for
    leaks.

    With --students it is a class of six teams.  Each has a share of the pool, borrows from teams that are away, and
    lends what it does not use.  Students wait in line for their labs; the instructor's lab goes first.

    Exits with 0 if every promise was kept and every lab reached its end, with 1 if not.
    """
    _refuse_others(context, students=students)
    if url is not None and url.startswith("memory:"):
        raise click.BadParameter(
            "other processes cannot reach memory://; leave it out for a server of its own", param_hint="--url"
        )
    if students:
        plan = ClassPlan(class_size, seconds, seed, has_priority=priority_lab)
        _present(lambda stream: _run_class(plan, url, stream), output)
    labs = _labs(path or default_file())
    pool = _capacity(capacity, labs)
    settings = Settings(
        labs=labs,
        capacity=pool,
        speed=speed or natural_speed(labs, pool),
        url=url,
        replicas=replicas,
        ttl_s=ttl,
        seed=seed,
        failing=failing,
        kill=kill and replicas > 1,
    )
    _present(lambda stream: _run_replicas(settings, stream), output)


def _refuse_others(context: click.Context, *, students: bool) -> None:
    """Refuse the options of the other demo, which would have no effect.

    Raises:
        click.UsageError: One of them is given.
    """
    for option in context.command.params:
        assert option.name is not None
        given = context.get_parameter_source(option.name) is click.core.ParameterSource.COMMANDLINE
        if given and option.name in (_OF_REPLICAS if students else _OF_CLASS):
            raise click.UsageError(f"{option.opts[0]} has no effect {'with' if students else 'without'} --students")


def _run_replicas(settings: Settings, stream: IO[str]) -> Summary:
    title = f"{len(settings.labs)} labs, {settings.replicas} replicas, one pool: {settings.capacity}"
    with open_view(stream, title) as view:
        return run(settings, view)


def _run_class(plan: ClassPlan, url: str | None, stream: IO[str]) -> Report:
    with open_class_view(stream, f"{plan.size} students, {len(plan.teams)} teams, one pool") as view:
        return run_class(plan, url, view)


def _present(work: Callable[[IO[str]], Summary | Report], output: Literal["table", "json"]) -> NoReturn:
    """Run a demo, print its result, and end the program with its exit code."""
    try:
        with _ends_by_signal():
            found = work(sys.stderr if output == "json" else sys.stdout)
    except KeyboardInterrupt:
        click.echo("Interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    except AllocatorError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_UNREACHABLE if isinstance(error, BackendError) else EXIT_BROKEN)
    lines = found.lines() if isinstance(found, Summary) else found.lines(Console(file=sys.stdout).width)
    click.echo(json.dumps(found.to_json(), indent=2) if output == "json" else "\n".join(["", *lines]))
    sys.exit(0 if found.ok else EXIT_BROKEN)


def _labs(path: Path) -> Sequence[LabRequest]:
    try:
        return read_requests(path)
    except BadRequestsError as error:
        raise click.UsageError(str(error)) from error


def _capacity(text: str | None, labs: Sequence[LabRequest]) -> Resources:
    """Parse the pool's capacity, `name=quantity,...`."""
    if text is None:
        return default_capacity(labs)
    quantities: dict[str, str] = {}
    for part in text.split(","):
        name, equals, quantity = part.strip().partition("=")
        if not equals or name in quantities:
            raise click.BadParameter(f"{part!r} is not NAME=QUANTITY, or stands there twice", param_hint="--capacity")
        quantities[name] = quantity
    try:
        return Resources.capacity(quantities)
    except InvalidRequest as error:
        raise click.BadParameter(str(error), param_hint="--capacity") from error


@contextlib.contextmanager
def _ends_by_signal() -> Generator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: in order, with all processes that it started."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
