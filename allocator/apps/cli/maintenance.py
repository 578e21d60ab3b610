"""`cleanup`, `reconcile`, `audit`, `doctor`: reclaim what is expired, release by a listing, check and repair."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from allocator import settings
from allocator.apps.cli import arguments, serializers
from allocator.apps.cli.arguments import GivenText, TextFile
from allocator.apps.cli.context import POOL, App, Command, pass_app
from allocator.apps.cli.errors import ExitCode, Failure, exit_code, message
from allocator.apps.cli.output import View, counted, document, room, show, table
from allocator.errors import AllocatorError, BackendError, InvalidRequest
from allocator.models.maintenance import Audit, DoctorReport
from allocator.validation import allocation_id

if TYPE_CHECKING:
    from allocator import Allocator

__all__ = ["audit", "cleanup", "doctor", "reconcile"]

LIMIT_DEFAULT: Final = settings.MANY_ITEMS_MAX
"""Allocations of a pool that one run reclaims by default and at most: fifty script calls, well under a second."""

IDS_SHOWN: Final = 100
"""Ids in the output of a cleanup or reconcile; the counts are of all."""

_SAYS: Final = {
    "clean": "clean",
    "drift": "drift",
    "repaired": "repaired",
    "inconclusive": "inconclusive: the pool would not stand still; nothing is claimed",
}

_CODES: Final = {"clean": ExitCode.OK, "repaired": ExitCode.OK, "drift": ExitCode.DENIED}


@click.command(cls=Command)
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.option("--all-pools", is_flag=True, help="Every pool under the prefix.")
@click.option(
    "--older-than", type=arguments.age, metavar="DURATION", help="Also what is pinned and was granted longer ago."
)
@click.option(
    "--limit",
    type=arguments.whole_number(1, LIMIT_DEFAULT),
    metavar="NUMBER",
    default=LIMIT_DEFAULT,
    help=f"At most so many of a pool, up to {LIMIT_DEFAULT} [{LIMIT_DEFAULT}].",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be taken back.")
@pass_app
def cleanup(
    app: App, *, pools: tuple[str, ...], all_pools: bool, older_than: float | None, limit: int, dry_run: bool
) -> ExitCode:
    r"""Take back what is past its deadline: the cron job.

    \b
    ALLOCATOR_REDIS_URL=redis://redis.example:6379/0
    */5 * * * *  /usr/local/bin/resource-allocator cleanup -q --older-than 1d

    The server must be named, because cron does not read a shell's environment: embedded:// is no default here.  It
    prints one line of JSON for each pool, whatever --output says, and with -q none where nothing was due.  It may be
    repeated, and run twice at once.  The exit code is 0 also when nothing was due; "more" says that --limit stopped it.
    It is not needed for correctness: a request that is short of room takes back what is due.  A lease that is renewed
    is never taken back.
    """
    if app.url is None:
        raise Failure("cleanup needs the URL of the server: set ALLOCATOR_REDIS_URL, or give --url", ExitCode.USAGE)
    code = ExitCode.OK
    for name in _pools_to_clean(app, pools, all_pools=all_pools):
        try:
            line = _cleaned(app.client().options(pool=name), name, older_than, limit, dry_run=dry_run)
        except (BackendError, InvalidRequest):
            raise
        except AllocatorError as error:
            if len(pools) < 2 and not all_pools:
                raise
            click.echo(f"error: {message(error, name)}", err=True)
            code = code or exit_code(error)
        else:
            _print_line(app, line, due=line["count"] > 0)
    return code


def _pools_to_clean(app: App, pools: Sequence[str], *, all_pools: bool) -> Sequence[str]:
    """The names of the pools, each once."""
    if all_pools and (pools or app.named_pool is not None):
        raise click.UsageError("--all-pools needs no name of a pool: give one or the other")
    if all_pools:
        names = app.client().pools.list()
        if not names:
            app.note(f"no pools under the prefix {app.prefix}")
        return names
    if pools and app.named_pool is not None and set(pools) != {app.named_pool}:
        raise click.UsageError("pools are named by POOL and by --pool: give one or the other")
    return list(dict.fromkeys(pools)) or [app.pool]


def _cleaned(client: Allocator, pool: str, older_than: float | None, limit: int, *, dry_run: bool) -> dict[str, Any]:
    """Reclaim what is due in one pool, or only look; returns the line about it."""
    if dry_run:
        ids = list(islice(_due(client, older_than), limit + 1))
        count, more = min(len(ids), limit), len(ids) > limit
    else:
        done = client.maintenance.reclaim(older_than=older_than, limit=limit)
        count, ids, more = done.count, list(done.ids), done.more
    shown = ids[: min(limit, IDS_SHOWN)]
    return document("Cleanup", pool=pool, dryRun=dry_run, count=count, more=more, ids=shown)


def _print_line(app: App, line: Mapping[str, Any], *, due: bool) -> None:
    """Print a line of JSON; not with `--quiet`, where nothing was due: cron would send it by mail."""
    app.end_silence()
    if due or not app.quiet:
        click.echo(json.dumps(line))


@click.command(cls=Command)
@click.argument("file", type=TextFile())
@click.option(
    "--owner",
    required=True,
    metavar="NAME",
    help="The owner; 'team-a/*' is every owner whose name begins with team-a/.",
)
@click.option(
    "--as-of",
    type=arguments.whole_number(0),
    required=True,
    metavar="MS",
    help="The pool's time, read before the ids were listed.",
)
@click.option(
    "--max-released",
    type=arguments.whole_number(0),
    metavar="NUMBER",
    help="Refuse to release more [half of what the owner has; 0 by an empty FILE].",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be released, however many.")
@pass_app
def reconcile(
    app: App, *, file: GivenText, owner: str, as_of: int, max_released: int | None, dry_run: bool
) -> ExitCode:
    r"""Release the allocations of an owner that are not in FILE.

    FILE lists the ids of all that the owner has, one a line, exactly as they were given to 'allocate --id'; - is stdin.
    What was granted or renewed at --as-of or later is kept.  An empty FILE, as that of a query that failed, needs
    --max-released.

    \b
    as_of=$(resource-allocator usage -o json | jq .readMs)
    kubectl get labs -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}' > labs &&
      resource-allocator reconcile labs --owner lab-controller --as-of "$as_of"

    Prints one line of JSON, and with -q none where nothing was released.  Exit code 3: it would release more than
    --max-released; nothing was released.
    """
    ids = _listed_ids(file)
    done = app.client().maintenance.reconcile(ids, as_of, owner=owner, dry_run=dry_run, max_released=max_released)
    line = document(
        "Reconciled",
        pool=app.pool,
        dryRun=dry_run,
        count=len(done.released),
        kept=len(done.kept),
        released=list(done.released[:IDS_SHOWN]),
        missing=list(done.missing[:IDS_SHOWN]),
        more=done.more,
    )
    _print_line(app, line, due=bool(done.released))
    if done.more:
        raise Failure("the time was over before all were released: run it again")
    return ExitCode.OK


def _listed_ids(file: GivenText) -> list[str]:
    """The ids of the file, one a line; the error for a line that is none names it."""
    ids: list[str] = []
    for number, line in enumerate(file.text.split("\n"), 1):
        if line.strip():
            try:
                ids.append(allocation_id(line.strip()))
            except InvalidRequest as error:
                raise Failure(f"{file.name} line {number}: {error}", ExitCode.USAGE) from error
    if len(set(ids)) > settings.RECONCILE_IDS_MAX:
        raise Failure(f"{file.name} has more than {settings.RECONCILE_IDS_MAX} ids", ExitCode.USAGE)
    return ids


@click.command(cls=Command)
@POOL
@click.option("--repair", is_flag=True, help="Mend what is wrong, from the records of the allocations.")
@click.option("--offline", is_flag=True, help="With --repair: hold back new grants meanwhile, for a very large pool.")
@click.option("--dry-run", is_flag=True, help="With --repair: only show what it would mend.")
@pass_app
def audit(app: App, repair: bool, offline: bool, dry_run: bool) -> ExitCode:
    r"""Check that a pool's counters are the sum of its allocations, and the indexes too.

    \b
    Exit codes: 0 clean, or everything was mended; 3 something is wrong and still is;
    1 inconclusive: a very large pool changed all the time, try again or --repair --offline.
    """
    if dry_run and not repair:
        raise click.UsageError("--dry-run shows what --repair would do: give both")
    if offline and not repair:
        raise click.UsageError("--offline holds back new grants during a --repair: give both")
    verdict = app.client().maintenance.audit(repair=repair and not dry_run, offline=offline and not dry_run)
    text = _audit_text(app, verdict, would=dry_run)
    names = [finding.subject for finding in verdict.findings]
    show(app, View(document("Audit", dryRun=dry_run, **serializers.audit(verdict)), lambda _: text, names))
    code = _CODES.get(verdict.status, ExitCode.ERROR)
    if code is ExitCode.DENIED and not repair:
        app.note("hint: 'audit --repair' mends it; '--repair --dry-run' shows the same as this")
    return code


def _due(client: Allocator, older_than: float | None) -> Iterator[str]:
    """The allocations that a cleanup would reclaim now, by the server's clock."""
    now_ms = client.pools.usage().read_ms
    seen: set[str] = set()
    for item in client.list():
        if item.deadline_ms is not None:
            due = item.deadline_ms <= now_ms
        else:
            due = older_than is not None and item.granted_ms <= now_ms - older_than * 1000
        if due and item.id not in seen:
            seen.add(item.id)
            yield item.id


def _audit_text(app: App, verdict: Audit, *, would: bool) -> str:
    lines = [
        f"pool {verdict.pool}: {_SAYS.get(verdict.status, verdict.status)}, {counted(verdict.records, 'allocation')}"
    ]
    if verdict.total:
        done = "mended" if verdict.status == "repaired" else "would be mended" if would else "wrong"
        lines[0] += f", {verdict.total} {done}"
    if verdict.overcommitted:
        lines.append(f"overcommitted, which is no fault: {', '.join(verdict.overcommitted)}")
    if verdict.findings:
        rows = [(finding.kind, finding.subject, finding.detail) for finding in verdict.findings]
        lines.append(table(("KIND", "SUBJECT", "DETAIL"), rows, headed=not app.no_headers, width=room(app)))
    if verdict.total > len(verdict.findings):
        lines.append(f"... and {verdict.total - len(verdict.findings)} more")
    return "\n".join(lines)


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
    bad = [one.name for one in found.checks if one.verdict == "bad"]
    show(app, View(whole, lambda _: _doctor_text(app, found), bad))
    return ExitCode.OK if found else ExitCode.DENIED


def _doctor_text(app: App, found: DoctorReport) -> str:
    rows = [(one.verdict.upper(), one.name, one.detail) for one in found.checks]
    lines = [table(("VERDICT", "CHECK", "FOUND"), rows, headed=not app.no_headers, width=room(app))]
    advice = [f"{one.name}: {one.advice}" for one in found.checks if one.advice and one.verdict != "ok"]
    return "\n".join([*lines, *(["", "To change:", *(f"  {line}" for line in advice)] if advice else [])])
