"""`allocate`, `renew`, `resize`, `release`, `begin-release`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from allocator.apps.cli import arguments, completion, serializers
from allocator.apps.cli.arguments import (
    PINNED,
    PREEMPT,
    PRIORITY,
    assignment,
    assignments,
    metadatum,
    needs_wait,
    quantities,
    time_to_live,
    whole_number,
)
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.errors import ExitCode, Failure, advise
from allocator.apps.cli.output import View, document, listing, printable, rfc3339, show, turn
from allocator.apps.cli.short_ids import identify, not_found
from allocator.denials import Denial
from allocator.durations import exact
from allocator.errors import AllocationLost, AllocatorError, Insufficient, UnknownAllocation
from allocator.models.allocations import Allocation, Release, Renewal

if TYPE_CHECKING:
    from allocator import Allocator

__all__ = ["allocate", "release", "renew", "resize"]

_FENCE = whole_number(1)
_REQUEST = "RESOURCE=QUANTITY..."
_KEPT_FROM_S: Final = 1.0
"""Seconds by which a deadline must be later than the requested one to count as kept."""


@click.command(cls=Command)
@click.argument("resources", nargs=-1, required=True, type=assignment, metavar=_REQUEST)
@click.option(
    "--ttl", type=time_to_live, metavar="DURATION", help="Time to live, such as 90s, 10m, 3h12m, 1d; 'none' pins."
)
@click.option("--pin", is_flag=True, help="No time to live: it stays until it is released.")
@click.option(
    "--max-lifetime", type=arguments.lifetime, metavar="DURATION", help="Its hard end: no renewal goes beyond it."
)
@click.option("--id", "id_", metavar="ID", help="Its id; with one, the command may be repeated.  Random otherwise.")
@click.option("--owner", metavar="NAME", help="Who holds it [anonymous].")
@click.option("--meta", multiple=True, type=metadatum, metavar="KEY=VALUE", help="Text to keep with it; repeatable.")
@click.option(
    "--scope",
    type=arguments.scope,
    metavar="SCOPE",
    shell_complete=completion.scopes,
    help="The scope to charge too [the pool's default scope].",
)
@click.option(
    "--durability",
    metavar="LEVEL",
    help="How safe the grant must be before the command ends: replicated:N, fsynced, or both with +.",
)
@click.option("--wait", type=arguments.waiting, metavar="DURATION", help="Wait in line for room, for so long [0s].")
@PRIORITY
@PREEMPT
@click.option("--estimate", is_flag=True, help="If it does not fit, show its place in line and when it could start.")
@pass_app
def allocate(
    app: App,
    *,
    resources: tuple[tuple[str, str], ...],
    ttl: float | None,
    pin: bool,
    max_lifetime: float | None,
    id_: str | None,
    owner: str | None,
    meta: tuple[tuple[str, str], ...],
    scope: str | None,
    durability: str | None,
    wait: float | None,
    priority: int,
    preempt: bool,
    estimate: bool,
) -> ExitCode:
    r"""Allocate resources, all of them or none.

    \b
    resource-allocator allocate cpu=2 memory=4Gi --ttl 10m
    resource-allocator allocate cpu=500m nvidia.com/gpu=1 --id lab-42 --owner ctl-1 --pin

    With --id the command may be repeated: the same request of the same owner is the same allocation, charged once.
    It is 'existing' then, with the deadline that is later; what it does not take over is on stderr.
    With --wait it takes a place in line if it does not fit now; 'queue list' shows it.  'check --preempt' names from
    whom it would take room with --preempt.
    Exit code 3: it does not fit, and the numbers are on stderr.
    """
    if (ttl is None) == (not pin):
        raise click.UsageError(
            "give either --ttl DURATION (it ends by itself unless it is renewed) "
            "or --pin (it stays until it is released, even if its holder dies)"
        )
    needs_wait(preempt, wait)
    client = app.client().options(durability=durability)
    asked: dict[str, Any] = {
        "request": quantities(resources),
        "ttl": None if pin or ttl == PINNED else ttl,
        "id": id_,
        "owner": owner,
        "metadata": assignments(meta) or None,
        "scope": scope,
        "max_lifetime": max_lifetime,
        "priority": priority,
        "estimate": estimate,
    }
    outcome: Allocation | Denial = client.try_allocate(**asked)
    if isinstance(outcome, Denial) and wait and not outcome.never:
        app.note(f"waiting: {outcome}")
        outcome = _wait(client, asked | {"preempt": preempt}, wait)
    if isinstance(outcome, Denial):
        return _refuse(app, outcome)
    _show_allocation(app, outcome, "granted" if outcome.created else "existing")
    if not outcome.created:
        _tell_ignored(app, outcome, ttl, dict(meta), max_lifetime)
    return ExitCode.OK


def _wait(client: Allocator, asked: dict[str, Any], wait: float) -> Allocation | Denial:
    """Wait in line; the last denial if it was in vain."""
    try:
        return client.allocate(**asked, wait=wait)
    except Insufficient as error:
        return error.denial


def _tell_ignored(
    app: App, item: Allocation, ttl: float | None, meta: Mapping[str, str], max_lifetime: float | None
) -> None:
    """Say what a request asked for that its existing allocation does not have."""
    if ttl is not None and ttl != PINNED:
        if item.ttl_ms is None:
            app.note(f"note: --ttl is ignored: {item.id} is pinned, and stays so until it is released")
        elif item.ttl_ms != round(ttl * 1000):
            app.note(
                f"note: --ttl is ignored: {item.id} has a later deadline; 'renew --ttl --shorten' makes it earlier"
            )
    asked_ms = None if max_lifetime is None else item.granted_ms + round(max_lifetime * 1000)
    if asked_ms is not None and asked_ms != item.ends_ms:
        has = "has no hard end" if item.ends_ms is None else f"ends at {rfc3339(item.ends_ms)} at the latest"
        app.note(f"note: --max-lifetime is ignored: {item.id} {has}, as its grant said")
    if meta and dict(item.metadata) != dict(meta):
        kept = printable(",".join(f"{key}={text}" for key, text in sorted(item.metadata.items()))) or "none"
        app.note(f"note: --meta is ignored: the metadata of {item.id} are those of its grant: {kept}")


@click.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completion.ids)
@click.option(
    "--ttl", type=arguments.new_time_to_live, metavar="DURATION", help="A new time to live; its own otherwise."
)
@click.option("--fence", type=_FENCE, metavar="NUMBER", help="Only if it still is the grant of this fence; for one ID.")
@click.option("--shorten", is_flag=True, help="Also make the deadline earlier, where the time to live is shorter.")
@pass_app
def renew(app: App, ids: tuple[str, ...], ttl: float | None, fence: int | None, shorten: bool) -> ExitCode:
    """Extend the deadline of allocations to now + their time to live.

    A deadline becomes earlier only with --shorten.  Exit code 4: there is no such allocation any more.
    """
    _one_fence(ids, fence)
    client = app.client()
    done: list[Renewal] = []
    code = ExitCode.OK
    for given in ids:
        name = identify(app, given, verb="renew")
        try:
            done.append(client.renew(name, ttl=ttl, fence=fence, shorten=shorten))
        except UnknownAllocation:
            code = _complain(code, not_found(name, app.pool))
            done.append(Renewal(name, "unknown"))
        except AllocationLost as error:
            code = _complain(code, Failure(str(error)))
            done.append(Renewal(name, error.code if error.code in ("over", "preempted") else "fenced"))
    kept = set[str]() if ttl is None or shorten else _kept(app, done, ttl)
    rows: list[tuple[dict[str, Any], str, str]] = []
    for item in done:
        stayed = None if kept is None else item.id in kept
        rows.append(
            ({**serializers.renewal(item), "kept": stayed}, item.id if item else "", _renewed(item, stayed, ttl))
        )
    _show_each(app, "Renewal", rows)
    return code


def _kept(app: App, done: Sequence[Renewal], ttl: float) -> set[str] | None:
    """The renewed ids whose deadline is later than requested, because a renewal does not shorten; None: unknown.

    The server's clock is read after the renewals, so that a moved deadline is never reported as kept.
    """
    deadlines = {item.id: item.deadline_ms for item in done if item.deadline_ms is not None}
    if not deadlines:
        return set()
    try:
        now_ms = app.client().pools.usage().read_ms
    except AllocatorError:
        return None  # the renewals are shown nevertheless
    return {name for name, deadline_ms in deadlines.items() if deadline_ms > now_ms + (ttl + _KEPT_FROM_S) * 1000}


def _renewed(item: Renewal, kept: bool | None, ttl: float | None) -> str:
    if not item:
        return ""
    if kept:
        return f"{item.id} kept until {rfc3339(item.deadline_ms)} (renew never shortens; --shorten does)"
    if item.deadline_ms is not None and item.deadline_ms == item.ends_ms:
        return f"{item.id} renewed until {rfc3339(item.deadline_ms)}, its hard end"
    if item.deadline_ms is None:
        return f"{item.id} stays pinned: it has no deadline{', and --ttl is ignored' if ttl is not None else ''}"
    return f"{item.id} renewed until {rfc3339(item.deadline_ms)}"


@click.command(cls=Command)
@click.argument("id_", metavar="ID", shell_complete=completion.ids)
@click.argument("resources", nargs=-1, required=True, type=assignment, metavar=_REQUEST)
@click.option("--fence", type=_FENCE, metavar="NUMBER", help="Only if it still is the grant of this fence.")
@pass_app
def resize(app: App, id_: str, resources: tuple[tuple[str, str], ...], fence: int | None) -> ExitCode:
    """Change what an allocation holds.

    The named resources get these amounts.  0 gives a resource back.  The others stay as they are.
    It is all or nothing.  Exit code 3: it does not fit, and the allocation is as it was.
    """
    wanted = quantities(resources, zeros=True)
    client = app.client()
    name = identify(app, id_, verb="resize")
    try:
        resized = client.resize(name, wanted, fence=fence)
    except Insufficient as error:
        return _refuse(app, error.denial, name)
    _show_allocation(app, resized, "resized")
    return ExitCode.OK


@click.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completion.ids)
@click.option("--fence", type=_FENCE, metavar="NUMBER", help="Only if it still is the grant of this fence; for one ID.")
@click.option("--ignore-not-found", is_flag=True, help="Exit with 0 if there is no such allocation any more.")
@pass_app
def release(app: App, ids: tuple[str, ...], fence: int | None, ignore_not_found: bool) -> ExitCode:
    """End allocations and give back what they hold.

    Releasing twice changes nothing; the second time is exit code 4, or 0 with --ignore-not-found.
    """
    _one_fence(ids, fence)
    client = app.client()
    done: list[Release] = []
    code = ExitCode.OK
    for given in ids:
        item = client.release(identify(app, given, verb="release"), fence=fence)
        done.append(item)
        if item.outcome == "fenced":
            live = client.get(item.id)
            has = "another fence" if live is None else f"fence {live.fence}"
            code = _complain(code, Failure(f"allocation {item.id!r} has {has}, not {fence}"))
        elif not item and not ignore_not_found:
            code = _complain(code, not_found(item.id, app.pool))
    rows = [
        (serializers.release(item), item.id if item else "", f"{item.id} released" if item else "") for item in done
    ]
    _show_each(app, "Release", rows)
    return code


@click.command("begin-release", cls=Command)
@click.argument("id_", metavar="ID", shell_complete=completion.ids)
@click.option("--grace", type=arguments.grace, required=True, metavar="DURATION", help="How long it stays charged.")
@click.option("--fence", type=_FENCE, metavar="NUMBER", help="Only if it still is the grant of this fence.")
@pass_app
def begin_release(app: App, id_: str, grace: float, fence: int | None) -> None:
    """Begin a release, and keep the charge for a grace period.

    It is for a workload that is shutting down.  The allocation stays charged until 'release', or until the grace has
    passed.  It cannot be renewed meanwhile.
    """
    item = app.client().begin_release(identify(app, id_, verb="release"), grace=grace, fence=fence)
    whole = document("Allocation", **serializers.allocation(item, item.granted_ms), outcome="releasing")
    show(app, View(whole, lambda _: f"{item.id} releasing until {rfc3339(item.deadline_ms)}", [item.id]))


def _one_fence(ids: Sequence[str], fence: int | None) -> None:
    if fence is not None and len(ids) > 1:
        raise click.UsageError("--fence is of one allocation: give one ID")


def _complain(code: ExitCode, failure: Failure) -> ExitCode:
    """Report the failure of one of several items; the exit code is that of the first failure."""
    click.echo(f"error: {failure.message}", err=True)
    return code or failure.code


def _refuse(app: App, denial: Denial, resized: str = "") -> ExitCode:
    """Report a denial: the numbers on stderr, and on stdout in a format for programs.

    Args:
        app: the run.
        denial: the refusal.
        resized: the id of what was to be resized; "" for a new allocation.
    """
    whole = document("Denial", **serializers.denial(denial))
    if resized:
        whole["id"] = resized
    click.echo(f"error: {denial}", err=True)
    if denial.position is not None:
        click.echo(turn(denial), err=True)
    advise(app, denial)
    show(app, View(whole, lambda _: ""))
    return ExitCode.DENIED


def _show_allocation(app: App, item: Allocation, outcome: str) -> None:
    if item.deadline_ms is None or item.ttl_ms is None:
        until = "pinned"
    else:
        until = f"ttl={exact(item.ttl_ms)} deadline={rfc3339(item.deadline_ms)}"
    if item.ends_ms is not None:
        until += f" ends={rfc3339(item.ends_ms)}"
    scope = "" if item.scope is None else f" scope={item.scope}"
    show(
        app,
        View(
            document("Allocation", **serializers.allocation(item, item.granted_ms), outcome=outcome),
            lambda _: f"{item.id} {outcome}: {item.resources} owner={item.owner}{scope} fence={item.fence} {until}",
            [item.id],
        ),
    )


def _show_each(app: App, kind: str, rows: Sequence[tuple[dict[str, Any], str, str]]) -> None:
    """Show the outcome of each id: (document, name or "", line or ""); a single one is not shown as a list."""
    whole = document(kind, **rows[0][0]) if len(rows) == 1 else listing(kind, [row[0] for row in rows])
    text = "\n".join(line for _, _, line in rows if line)
    show(app, View(whole, lambda _: text, [name for _, name, _ in rows if name]))
