"""`doctor`: check whether a server is fit for use, and print advice."""

from __future__ import annotations

import click

from allocator.apps.cli import serializers
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.errors import ExitCode
from allocator.apps.cli.output import View, document, show, table
from allocator.models.maintenance import DoctorReport

__all__ = ["doctor"]


@click.command(cls=Command)
@pass_app
def doctor(app: App) -> ExitCode:
    r"""Check a server for use, and say what to change.

    Version, eviction, memory, persistence, replication, clock, latency; and every script, tried with these credentials
    on a scratch pool that is deleted again.

    \b
    Exit codes: 0 fit for use (also with warnings), 3 something is bad, 5 the server cannot be reached.
    """
    found = app.client(allow_eviction=True).maintenance.doctor()  # to examine a server that evicts, too
    whole = document("DoctorReport", **serializers.doctor(found))
    show(app, View(whole, lambda _: _text(app, found), [one.name for one in found.checks if one.verdict == "bad"]))
    return ExitCode.OK if found else ExitCode.DENIED


def _text(app: App, found: DoctorReport) -> str:
    rows = [(one.verdict.upper(), one.name, one.detail) for one in found.checks]
    lines = [table(("VERDICT", "CHECK", "FOUND"), rows, headed=not app.no_headers)]
    advice = [f"{one.name}: {one.advice}" for one in found.checks if one.advice and one.verdict != "ok"]
    return "\n".join([*lines, *(["", "To change:", *(f"  {line}" for line in advice)] if advice else [])])
