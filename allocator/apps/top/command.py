"""`resource-allocator top`: the options, what is refused, and the exit code."""

from __future__ import annotations

import sys

import click

from allocator.apps.cli.context import POOL, App, Command, is_dumb, pass_app
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.top.app import TopApp
from allocator.apps.top.messages import NO_TERMINAL

__all__ = ["top"]

READ_TIMEOUT_S = 2.0
"""Seconds after which a reading without a reply is reported, unless `--timeout` is less."""


@click.command(cls=Command)
@POOL
@click.option("--read-only", is_flag=True, help="Refuse to release anything.")
@pass_app
def top(app: App, read_only: bool) -> int:
    """Show a pool on the whole terminal, live: how full it is, who holds what, who waits and why.

    It follows the events of the pool.  '?' shows the keys, 'q' quits.  An inspector's rights are enough, except for a
    release.  While the server is away it says so, and shows the last figures with their age.
    """
    if app.output not in ("table", "wide"):
        raise click.UsageError(f"top draws on a terminal and has no -o {app.output}: see 'usage -o {app.output}'")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or is_dumb():
        raise Failure(NO_TERMINAL, ExitCode.USAGE, hint="'usage --watch' prints, and 'usage -o json' is for programs")
    app.client(allow_eviction=True).pools.usage()  # a wrong name, a missing right or no server is an error now
    app.end_silence()
    program = TopApp(
        lambda: app.connect_async(timeout=min(app.timeout, READ_TIMEOUT_S), allow_eviction=True),
        app.pool,
        app.shown_address,
        timeout_s=app.timeout,
        read_only=read_only,
    )
    program.run()
    return program.return_code or 0
