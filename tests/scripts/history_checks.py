"""The invariants of what a pool keeps of its past, checked over raw keys; shares no code with `history.lua`.

Each counter is the number of events of its kind.  Each point is at the end of a whole interval, and no later than where
the unfinished minute begins.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from allocator import settings
from allocator._engine.protocol.keys import PoolKeys

COUNTER: Final = re.compile(r"(?:denied\.)?[a-z_]+_count")
WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
STREAMS: Final = {
    "usage_minutes": (60_000, settings.HISTORY_MINUTES_MAX), "usage_hours": (3_600_000, settings.HISTORY_HOURS_MAX),
}  # fmt: skip
POINT_FIELDS: Final = {"allocations", "waiting", "granted", "denied"}

_EVENTS_SURELY_KEPT: Final = 9_000


def is_counter(field: str) -> bool:
    """Whether a field of the pool is one of its counters."""
    return COUNTER.fullmatch(field) is not None


def counts_of(account: dict[str, str]) -> dict[str, int]:
    """The counters of a pool, without their ending."""
    return {field.removesuffix("_count"): int(text) for field, text in account.items() if is_counter(field)}


def check_history(client: Any, keys: PoolKeys, account: dict[str, str]) -> None:
    """Assert every invariant of a pool's counters and points."""
    for field in filter(is_counter, account):
        assert WHOLE.fullmatch(account[field]), f"{field} is {account[field]!r}"
    _check_counters(client.xrange(keys["events"]), account)
    from_ms = int(account.get("history_ms", "0"))
    assert from_ms % 60_000 == 0, f"history_ms is {from_ms}, inside of a minute"
    for name, (interval_ms, most) in STREAMS.items():
        points = client.xrange(f"{keys.base}{name}")
        assert len(points) <= most, f"{name} has {len(points)} points"
        for identity, point in points:
            ms, _, number = identity.partition("-")
            assert number == "0", f"{name} has two points at {ms}"
            assert int(ms) % interval_ms == 0, f"{name}: {identity} is no end of an interval"
            assert int(ms) <= from_ms, f"{name}: {identity} is of an interval that is not over"
            rest = {field for field in point if not field.endswith((".allocated", ".capacity"))}
            assert rest == POINT_FIELDS, f"{name}: {point}"
            assert all(WHOLE.fullmatch(text) for text in point.values()), f"{name}: {point}"


def _check_counters(events: list[tuple[str, dict[str, str]]], account: dict[str, str]) -> None:
    if len(events) > _EVENTS_SURELY_KEPT or not events or events[0][1]["kind"] != "created":
        return
    kinds = Counter(entry["kind"] for _, entry in events)
    counts = {kind: number for kind, number in counts_of(account).items() if not kind.startswith("denied.")}
    assert counts == kinds, f"counters {counts}, events {dict(kinds)}"
