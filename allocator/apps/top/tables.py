"""The four tables: allocations, the line, scopes, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from allocator.apps.cli import serializers
from allocator.apps.cli.output import age, columns, duration, printable
from allocator.apps.cli.output import human as written
from allocator.apps.cli.queue import short_of
from allocator.apps.top.reading import Reading
from allocator.apps.top.sheets import Column, Sheet
from allocator.models.allocations import Allocation
from allocator.models.events import MISSED, Event
from allocator.models.queue import Waiter
from allocator.models.quotas import Quota, QuotaUsage
from allocator.settings import AMOUNT_MAX

__all__ = ["ScopeRow", "allocations_sheet", "events_sheet", "human", "named_sheet", "scopes_sheet", "waiters_sheet"]

_FAR: Final = float("inf")

_COLORS: Final = {"Due": "red", "Preempted": "red", "Releasing": "yellow"}

_MISSED: Final = {
    "trimmed": "events are missing here: the history was cut",
    "lost": "events are missing here: the pool has another history now",
}

_EVENT_COLORS: Final = {MISSED: "red", "reclaimed": "yellow", "preempted": "yellow"}


@lru_cache(maxsize=4096)
def human(resource: str, amount: int, up: bool) -> str:
    """An amount as people read it; the same ones come again and again."""
    return written(resource, amount, up=up)


def _headers(rows: Iterable[Iterable[str]]) -> list[tuple[str, str]]:
    """The resources that occur, each with its header: what follows its slash, where no other has the same."""
    names = columns(rows)
    short = Counter(name.rpartition("/")[2] for name in names)
    last = {name: name.rpartition("/")[2] for name in names}
    return [(name, (last[name] if short[last[name]] == 1 and last[name] else name).upper()) for name in names]


def allocations_sheet(reading: Reading) -> Sheet[Allocation]:
    """Who holds what; sorted by age the oldest come first, by a resource the largest."""
    items = reading.allocations
    rows: list[Column[Allocation]] = [
        Column("ID", lambda one, _: one.id, lambda one: one.id, give=8),
        Column("OWNER", lambda one, _: one.owner, lambda one: (one.owner, one.id), give=8),
    ]
    if any(one.scope is not None for one in items):
        rows.append(Column("SCOPE", lambda one, _: one.scope or "", lambda one: (one.scope or "", one.id), give=8))
    if any(one.priority for one in items):
        rows.append(Column("PRIO", lambda one, _: str(one.priority), lambda one: -one.priority, right=True))
    rows.append(Column("STATUS", serializers.status, is_age=True))
    rows += [_amount_of_allocation(*pair) for pair in _headers(one.resources for one in items)]
    rows.append(
        Column("AGE", lambda one, now_ms: age(one.granted_ms, now_ms), lambda one: one.granted_ms, True, is_age=True)
    )
    rows.append(Column("LEFT", lambda one, now_ms: _until(one.deadline_ms, now_ms), _deadline, True, is_age=True))
    if any(one.ends_ms is not None for one in items):
        ends: Column[Allocation] = Column(
            "ENDS IN", lambda one, now_ms: _until(one.ends_ms, now_ms), lambda one: one.ends_ms or _FAR, True, True
        )
        rows.append(ends)
    if any(one.preempted_by is not None for one in items):
        rows.append(Column("PREEMPTED BY", lambda one, _: one.preempted_by or "", give=8))
    return Sheet(
        "allocations",
        rows,
        items,
        max(reading.usage.allocations, len(items)) if not reading.is_whole else len(items),
        lambda one: one.id,
        _searched,
        lambda one, now_ms: _COLORS.get(serializers.status(one, now_ms), ""),
        "nothing is allocated",
    )


def named_sheet(reading: Reading) -> Sheet[Allocation]:
    """The allocations that a question names: with their whole ids, and without what does not matter for it."""
    whole = allocations_sheet(reading)
    named = [replace(one, give=0 if one.name == "ID" else one.give) for one in whole.columns]
    return replace(whole, columns=[one for one in named if one.name not in ("SCOPE", "STATUS", "PRIO", "LEFT")])


def _amount_of_allocation(name: str, header: str) -> Column[Allocation]:
    return Column(
        header,
        lambda one, _: human(name, one.resources[name], True) if name in one.resources else "",
        lambda one: -one.resources.get(name, 0),
        right=True,
    )


def _searched(one: Allocation) -> str:
    metadata = " ".join(f"{key}={text}" for key, text in one.metadata.items())
    status = "pinned" if one.deadline_ms is None else "releasing" if one.releasing_ms is not None else "live"
    return f"{one.id} {one.owner} {one.scope or ''} {status} {' '.join(one.resources)} {metadata}"


def _deadline(one: Allocation) -> float:
    return _FAR if one.deadline_ms is None else one.deadline_ms


def _until(at_ms: int | None, now_ms: int) -> str:
    return "" if at_ms is None else duration((at_ms - now_ms) / 1000)


def waiters_sheet(reading: Reading) -> Sheet[Waiter]:
    """Who waits, in the order of the line, with what each is short of."""
    items = reading.waiters
    rows: list[Column[Waiter]] = [
        Column("#", lambda one, _: str(one.position), lambda one: one.position, right=True),
        Column("ID", lambda one, _: one.id, lambda one: one.id, give=8),
        Column("OWNER", lambda one, _: one.owner, lambda one: (one.owner, one.id), give=8),
        Column("PRIO", lambda one, _: str(one.priority), lambda one: -one.priority, right=True),
        Column(
            "WAITING", lambda one, now_ms: age(one.since_ms, now_ms), lambda one: one.since_ms, right=True, is_age=True
        ),
        Column(
            "STARTS IN",
            lambda one, now_ms: _until(one.start_ms, now_ms),
            lambda one: one.start_ms or _FAR,
            right=True,
            is_age=True,
        ),
    ]
    rows.append(Column("SHORT OF", lambda one, _: short_of(one.denial, wide=False), give=22, cut_end=True))
    rows += [_amount_of_waiter(*pair) for pair in _headers(one.resources for one in items)]
    if any(one.scope is not None for one in items):
        rows.append(Column("SCOPE", lambda one, _: one.scope or "", lambda one: (one.scope or "", one.id), give=8))
    if any(one.members for one in items):
        rows.append(Column("MEMBERS", lambda one, _: str(len(one.members) or ""), right=True))
    return Sheet(
        "waiting",
        rows,
        items,
        max(reading.usage.waiting, len(items)),
        lambda one: one.id,
        lambda one: (
            f"{one.id} {one.owner} {one.scope or ''} {short_of(one.denial, wide=False)} {' '.join(one.resources)}"
        ),
        lambda _, __: "",
        "nobody waits",
    )


def _amount_of_waiter(name: str, header: str) -> Column[Waiter]:
    return Column(
        header,
        lambda one, _: human(name, one.resources[name], True) if name in one.resources else "",
        lambda one: -one.resources.get(name, 0),
        right=True,
    )


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """One resource of one scope, or of the pool: `scope` is "" then.  `label` is its place in the tree."""

    scope: str
    label: str
    resource: str
    cells: tuple[str, ...]
    percent: float | None
    color: str = ""


def scopes_sheet(reading: Reading) -> Sheet[ScopeRow]:
    """The pool and its scopes as a tree, a row for each resource."""
    rows = [*_pool_rows(reading)]
    labels = _labels(reading.scopes)
    for one, label in zip(reading.scopes, labels, strict=True):
        names = columns([one.resources])
        rows += [_scope_row(one, label if at == 0 else "", name) for at, name in enumerate(names)]
        if not names:
            rows.append(ScopeRow(one.scope, label, "", ("",) * 6, None))
    headers = ("NOMINAL", "USED", "BORROWED", "LENT", "KEPT", "AVAILABLE")
    return Sheet(
        "scopes",
        [
            Column("SCOPE", lambda one, _: one.label, give=8),
            Column("RESOURCE", lambda one, _: one.resource, give=8),
            *(_cell(name, at) for at, name in enumerate(headers)),
            Column("USE", lambda one, _: "" if one.percent is None else f"{int(one.percent)}%", right=True),
        ],
        rows,
        max(0, reading.usage.scopes - len(reading.scopes)) + len(rows),
        lambda one: f"{one.scope} {one.resource}",
        lambda one: f"{one.scope} {one.resource}",
        lambda one, _: one.color,
        "no figures yet",
    )


def _cell(name: str, at: int) -> Column[ScopeRow]:
    return Column(name, lambda one, _: one.cells[at], right=True)


def _pool_rows(reading: Reading) -> list[ScopeRow]:
    found: list[ScopeRow] = []
    for name in columns([reading.usage.resources]):
        row = reading.usage.resources[name]
        used = row.allocated + row.kept
        cells = (
            human(name, row.limit, False), human(name, used, True), "", "",
            human(name, row.kept, True) if row.kept else "", human(name, row.available, False),
        )  # fmt: skip
        label = "" if found else f"pool {reading.usage.pool.name}"
        found.append(ScopeRow("", label, name, cells, row.utilization, "red" if row.available == 0 else ""))
    return found


def _labels(scopes: Sequence[Quota]) -> list[str]:
    """The last name of each scope behind the branches of a tree; they come in the order of the tree."""
    continued: set[str] = set()  # scopes of which a child comes below the present row
    labels: list[str] = []
    for one in reversed(scopes):
        parts = one.scope.split("/")
        above = ("/".join(parts[:depth]) for depth in range(len(parts) - 1))
        stems = "".join("│ " if scope in continued else "  " for scope in above)
        labels.append(f"{stems}{'├' if one.parent in continued else '└'} {parts[-1]}")
        continued.add(one.parent)
    return labels[::-1]


def _scope_row(one: Quota, label: str, name: str) -> ScopeRow:
    row = one.resources[name]

    def cell(amount: int | None, up: bool = False) -> str:
        return "" if amount is None else human(name, amount, up)

    available = None if row.available >= AMOUNT_MAX else max(0, row.available)
    cells = (
        cell(row.nominal), cell(row.used, True), cell(row.borrowed or None, True), cell(row.lent or None),
        cell(row.kept or None, True), cell(available),
    )  # fmt: skip
    color = "red" if available == 0 or row.above else "yellow" if row.borrowed else ""
    return ScopeRow(one.scope, label, name, cells, _percent(row), color)


def _percent(row: QuotaUsage) -> float | None:
    """What is used of the share; None without one."""
    if row.nominal is None:
        return None
    return 100.0 * row.used / row.nominal if row.nominal else (100.0 if row.used else 0.0)


def events_sheet(events: Sequence[Event], trouble: str) -> Sheet[Event]:
    """What changed, the newest first."""
    items = list(reversed(events))
    rows: list[Column[Event]] = [
        Column("TIME", lambda one, _: f"{one.at:%H:%M:%S}"),
        Column("TYPE", lambda one, _: one.kind),
        Column("ID", lambda one, _: one.fields.get("id", ""), give=8),
        Column("OWNER", lambda one, _: one.fields.get("owner", ""), give=8),
        Column("RESOURCES", lambda one, _: _amounts(one), give=8, cut_end=True),
        Column("REASON", lambda one, _: _reason(one), give=8, cut_end=True),
    ]
    if any(one.actor != one.fields.get("owner") for one in items):
        rows.append(Column("BY", lambda one, _: one.actor or "", give=8))
    return Sheet(
        "events",
        rows,
        items,
        len(items),
        lambda one: one.id,
        lambda one: f"{one.kind} {' '.join(f'{name}={text}' for name, text in one.fields.items())}",
        lambda one, _: _EVENT_COLORS.get(one.kind, ""),
        f"no events come: {printable(trouble)}" if trouble else "no events yet",
    )


def _reason(one: Event) -> str:
    reason = one.fields.get("reason", "")
    return _MISSED.get(reason, reason) if one.kind == MISSED else reason


def _amounts(one: Event) -> str:
    return ",".join(f"{name}={human(name, units, True)}" for name, units in sorted(one.amounts.items()))
