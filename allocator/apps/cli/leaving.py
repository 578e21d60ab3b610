"""`begin-release` and `reconcile`: releases with a grace period, and releases by a listing of live ids."""

from __future__ import annotations

import json
from typing import TextIO

import click

from allocator.apps.cli import completion, documents
from allocator.apps.cli.arguments import duration, whole_number
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.failures import ExitCode, Failure
from allocator.apps.cli.identify import identify
from allocator.apps.cli.output import View, document, rfc3339, show

__all__ = ["begin_release", "reconcile"]

IDS_SHOWN = 100
"""Ids in the output of a reconcile; the counts are of all."""


@click.command("begin-release", cls=Command)
@click.argument("id_", metavar="ID", shell_complete=completion.ids)
@click.option("--grace", type=duration, required=True, metavar="DURATION", help="How long it stays charged.")
@click.option("--fence", type=whole_number(1), metavar="NUMBER", help="Only if it still is the grant of this fence.")
@pass_app
def begin_release(app: App, id_: str, grace: float, fence: int | None) -> None:
    """Begin a release, and keep the charge for a grace period.

    It is for a workload that is shutting down.  The allocation stays charged until 'release', or until the grace has
    passed.  It cannot be renewed meanwhile.
    """
    item = app.client().begin_release(identify(app, id_, verb="release"), grace=grace, fence=fence)
    whole = document("Allocation", **documents.allocation(item, item.granted_ms), outcome="releasing")
    show(app, View(whole, lambda _: f"{item.id} releasing until {rfc3339(item.deadline_ms)}", [item.id]))


@click.command(cls=Command)
@click.argument("file", type=click.File())
@click.option(
    "--owner",
    required=True,
    metavar="NAME",
    help="The owner; 'team-a/*' is every owner whose name begins with team-a/.",
)
@click.option(
    "--as-of",
    type=whole_number(0),
    required=True,
    metavar="MS",
    help="The pool's time, read before the ids were listed.",
)
@click.option(
    "--max-released",
    type=whole_number(0),
    metavar="NUMBER",
    help="Refuse to release more [half of what the owner has].",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be released.")
@pass_app
def reconcile(app: App, file: TextIO, owner: str, as_of: int, max_released: int | None, dry_run: bool) -> ExitCode:
    r"""Release the allocations of an owner that are not in FILE.

    FILE lists the ids of all that the owner has, one a line; - is stdin.  What was granted or renewed at --as-of or
    later is kept.

    \b
    as_of=$(resource-allocator usage -o json | jq .readMs)
    kubectl get labs -o name | resource-allocator reconcile - --owner lab-controller --as-of "$as_of"

    Prints one line of JSON.  Exit code 3: it would release more than --max-released; nothing was
    released.
    """
    ids = [line.strip() for line in file if line.strip()]
    done = app.client().maintenance.reconcile(ids, as_of, owner=owner, dry_run=dry_run, max_released=max_released)
    if done.more:
        raise Failure("the time was over before it was done: run it again", ExitCode.ERROR)
    line = document(
        "Reconciled",
        pool=app.pool,
        dryRun=dry_run,
        count=len(done.released),
        kept=len(done.kept),
        released=list(done.released[:IDS_SHOWN]),
        missing=list(done.missing[:IDS_SHOWN]),
    )
    click.echo(json.dumps(line))
    return ExitCode.OK
