"""`resource-allocator demo`: the options, the signals and the exit code."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import click

from allocator import AllocatorError, BackendError, InvalidRequest, Resources
from allocator.apps.demo.lab_requests import (
    BadRequestsError,
    LabRequest,
    default_capacity,
    default_file,
    natural_speed,
    read_requests,
)
from allocator.apps.demo.run import Settings, run
from allocator.apps.demo.view import open_view

__all__ = ["demo"]

EXIT_BROKEN: Final = 1
EXIT_UNREACHABLE: Final = 5
EXIT_INTERRUPTED: Final = 130

REPLICAS_MAX: Final = 32
SPEED_MAX: Final = 1e9


class _Range(click.FloatRange):
    """A number within bounds; "nan" would pass those of `click.FloatRange`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


@click.command(short_help="Watch controller replicas share a pool, and lose one of them.")
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
@click.option("--seed", type=int, default=1, show_default=True, help="Which labs fail.")
@click.option("--kill/--no-kill", default=True, show_default=True, help="Kill one replica on the way (SIGKILL).")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How the summary is printed; with json, the progress goes to stderr.",
)
def demo(
    *,
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

    Exits with 0 if every promise was kept and every lab reached its end, with 1 if not.
    """
    labs = _labs(path or default_file())
    pool = _capacity(capacity, labs)
    if url is not None and url.startswith("memory:"):
        raise click.BadParameter(
            "other processes cannot reach memory://; leave it out for a server of its own", param_hint="--url"
        )
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
    title = f"{len(labs)} labs, {replicas} replicas, one pool: {pool}"
    try:
        with _ends_by_signal(), open_view(sys.stderr if output == "json" else sys.stdout, title) as view:
            summary = run(settings, view)
    except KeyboardInterrupt:
        click.echo("Interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    except AllocatorError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_UNREACHABLE if isinstance(error, BackendError) else EXIT_BROKEN)
    click.echo(json.dumps(summary.to_json(), indent=2) if output == "json" else "\n".join(["", *summary.lines()]))
    sys.exit(0 if summary.ok else EXIT_BROKEN)


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
