"""`--watch`: show the same result repeatedly.

At a terminal each result is drawn over the last one; otherwise, and in the formats for programs, they are appended.
Ctrl-C ends it.  If the server becomes unreachable after the first result, that is reported once and retried.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Final

import click

from allocator.apps.cli.context import App, is_dumb
from allocator.apps.cli.output import View, counted, render
from allocator.errors import BackendError

__all__ = ["NOTHING", "WATCH", "append", "redraws", "watched"]

INTERVAL_S: Final = 2.0
"""The default of the seconds between two results."""

INTERVAL_MIN_S: Final = 0.1
INTERVAL_MAX_S: Final = 86_400.0


def _interval(text: str | float) -> float:
    """Parse the seconds between two results; "nan" would pass the bounds of `click.FloatRange`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not INTERVAL_MIN_S <= seconds <= INTERVAL_MAX_S:
        raise click.BadParameter(
            f"{str(text)[:32]!a} is not a number of seconds from {INTERVAL_MIN_S} to {INTERVAL_MAX_S:.0f}"
        )
    return seconds


_CLEAR: Final = "\x1b[H\x1b[2J"
_HOME: Final = "\x1b[?7l\x1b[H"
"""Disable line wrap while drawing, and move the cursor home."""
_LINE_END: Final = "\x1b[K\n"
_END: Final = "\x1b[J\x1b[?7h"

WATCH: Final = click.option(
    "-w",
    "--watch",
    type=_interval,
    is_flag=False,
    flag_value=INTERVAL_S,
    default=None,
    metavar="[SECONDS]",
    help=f"Show it again every SECONDS [{INTERVAL_S:.0f}] until Ctrl-C.",
)


NOTHING: Final = View({}, lambda _: "")
"""The result that is not printed in any format, as there is nothing new."""


def redraws(app: App) -> bool:
    """Whether a result is drawn over the last one: at a terminal that can, in a format for people."""
    return sys.stdout.isatty() and not is_dumb() and app.format in ("table", "wide")


def watched(app: App, interval_s: float | None, read: Callable[[], View]) -> None:
    """Show the result of `read` once, or repeatedly if an interval is given.

    Args:
        app: the run.
        interval_s: seconds between two results; None for one only.
        read: asks the server; `NOTHING` is not appended.
    """
    if interval_s is None:
        append(app, read(), line=False)
        return
    first, away = True, False
    while True:
        try:
            view = read()
        except BackendError as error:
            if first:
                raise
            if not away:
                click.echo(f"error: {' '.join(str(error).split())}; waiting for it", err=True)
            away = True
        else:
            if redraws(app):
                _draw(app, render(app, view), interval_s, first=first)
            elif view is not NOTHING:
                append(app, view)
            first = away = False
        time.sleep(interval_s)


def append(app: App, view: View, *, line: bool = True) -> None:
    """Print a result below what was printed.

    Args:
        app: the run.
        view: the result; nothing is printed where there is nothing to show.
        line: whether more results follow, so that in JSON each is one line.
    """
    app.end_silence()
    text = render(app, view, line=line)
    if text:
        click.echo(text)
        sys.stdout.flush()


def _draw(app: App, text: str, interval_s: float, *, first: bool) -> None:
    """Draw over the last result without flicker, cut to the height of the terminal."""
    app.end_silence()
    lines = [f"every {interval_s:g}s  {app.shown_address}  pool {app.pool}  (Ctrl-C ends)", "", *text.split("\n")]
    height = max(4, shutil.get_terminal_size().lines - 1)
    if len(lines) > height:
        hidden = len(lines) - height + 1
        lines[height - 1 :] = [f"... {counted(hidden, 'more line')}"]
    click.echo((_CLEAR if first else "") + _HOME + _LINE_END.join(lines) + _LINE_END + _END, nl=False, color=True)
    sys.stdout.flush()
