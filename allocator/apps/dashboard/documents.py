"""Documents: what is sent, made of the library's values; the fields of these are those of `-o json`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from allocator import Allocation, AllocatorError, Event, Usage
from allocator.apps.cli import serializers
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.problems import of_error
from allocator.apps.dashboard.readings import Allocations, Scopes, Waiting
from allocator.errors import InvalidRequest
from allocator.serialization import API_VERSION, amounts, read_list, rfc3339

__all__ = [
    "SORTS",
    "Filter",
    "allocations",
    "document",
    "events",
    "failed",
    "groups",
    "line",
    "same",
    "scopes",
    "timeline",
]

SORTS: Final[Mapping[str, Callable[[Allocation], tuple[int | str, ...]]]] = {
    "age": lambda one: (one.granted_ms, one.fence),
    "deadline": lambda one: (int(one.deadline_ms is None), one.deadline_ms or 0, one.fence),
    "id": lambda one: (one.id,),
    "owner": lambda one: (one.owner, one.id),
}
"""Orders of a list of allocations; each is unique, so that a cursor is a place in it."""


def document(kind: str, **fields: Any) -> dict[str, Any]:
    """A document that is no single value."""
    return {"apiVersion": API_VERSION, "kind": kind, **fields}


def failed(pool: str, error: AllocatorError) -> dict[str, Any]:
    """A pool that cannot be read."""
    return {"pool": pool, "error": {"code": error.code, "message": of_error(error).detail}}


@dataclass(frozen=True)
class Filter:
    """Which allocations are asked for.

    Attributes:
        owner: Of this owner; `team-a/*` is every owner below it; "": of any.
        scope: Charged to this scope or one below it; "": any.
        text: In the id, the owner, the scope or the metadata, in any case; "": anything.
    """

    owner: str = ""
    scope: str = ""
    text: str = ""

    def chosen(self, items: Iterable[Allocation]) -> list[Allocation]:
        """Those that match, in their order."""
        found = list(items)
        if self.owner.endswith("*"):
            found = [one for one in found if one.owner.startswith(self.owner[:-1])]
        elif self.owner:
            found = [one for one in found if one.owner == self.owner]
        if self.scope:
            found = [one for one in found if f"{one.scope or ''}/".startswith(f"{self.scope}/")]
        if self.text:
            wanted = self.text.casefold()
            found = [one for one in found if wanted in _searched(one)]
        return found


def _searched(one: Allocation) -> str:
    metadata = "\n".join(f"{key}={text}" for key, text in one.metadata.items())
    return f"{one.id}\n{one.owner}\n{one.scope or ''}\n{metadata}".casefold()


def allocations(pool: str, reading: Allocations, wanted: Filter, sort: str, limit: int, cursor: str) -> dict[str, Any]:
    """A page of the allocations that match.

    Args:
        pool: The pool.
        reading: Its allocations.
        wanted: Which of them.
        sort: Their order, one of `SORTS`.
        limit: Rows of the page.
        cursor: Where the page before it has ended; "": the first page.
    """
    rank = SORTS[sort]
    chosen = wanted.chosen(reading.items)
    if sort != "age":
        chosen.sort(key=rank)
    matching = len(chosen)
    if cursor:
        after = _position(pool, sort, cursor)
        chosen = [one for one in chosen if rank(one) > after]
    page = chosen[:limit]
    more = len(chosen) > len(page)
    return document(
        "AllocationList",
        pool=pool,
        items=[serializers.allocation(one, reading.read_ms) for one in page],
        cursor=_cursor(pool, sort, rank(page[-1])) if more else None,
        matching=matching,
        total=reading.total,
        leftOut=reading.left_out,
        readAt=rfc3339(reading.read_ms),
    )


def _cursor(pool: str, sort: str, at: tuple[int | str, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps([pool, sort, *at]).encode()).decode().rstrip("=")


def _position(pool: str, sort: str, cursor: str) -> tuple[int | str, ...]:
    """Where the page before has ended."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found: list[Any] = read_list(json.loads(base64.b64decode(padded, altchars=b"-_", validate=True)), "cursor")
    except (ValueError, RecursionError, binascii.Error):
        raise InvalidRequest("cursor: it is none of a list of allocations", field="cursor") from None
    if found[:1] != [pool]:
        raise InvalidRequest("cursor: it is another pool's", field="cursor")
    at = tuple(found[2:])
    kinds = {"age": (int, int), "deadline": (int, int, int), "id": (str,), "owner": (str, str)}[sort]
    if found[1:2] != [sort] or tuple(map(type, at)) != kinds:
        raise InvalidRequest(f"cursor: it is of another order than {sort}", field="cursor")
    return at


def groups(pool: str, reading: Allocations, by: str, limit: int) -> dict[str, Any]:
    """What each owner, or each scope, has, the most allocations first; without a scope the key is ""."""
    held: dict[str, dict[str, int]] = {}
    counts: dict[str, int] = {}
    for one in reading.items:
        key = one.owner if by == "owner" else one.scope or ""
        counts[key] = counts.get(key, 0) + 1
        _add(held.setdefault(key, {}), one.resources)
    ranked = sorted(counts, key=lambda key: (-counts[key], key))
    items = [{"key": key, "allocations": counts[key], "resources": amounts(held[key])} for key in ranked[:limit]]
    return document(
        "GroupList",
        pool=pool,
        by=by,
        items=items,
        total=len(ranked),
        groupsLeftOut=len(ranked) - len(items),
        leftOut=reading.left_out,
        readAt=rfc3339(reading.read_ms),
    )


def _add(whole: dict[str, int], part: Mapping[str, int]) -> None:
    for name, number in part.items():
        whole[name] = whole.get(name, 0) + number


def timeline(pool: str, reading: Allocations, since_ms: int, until_ms: int, rows: int) -> dict[str, Any]:
    """What frees up when: the next allocations to end, and sums for each interval.

    Args:
        pool: The pool.
        reading: Its allocations.
        since_ms: The beginning; 0: the time of the reading.
        until_ms: The end; 0: the last deadline, within a day.
        rows: Allocations that are listed.
    """
    begin = since_ms or reading.read_ms
    ending = [one for one in reading.items if one.deadline_ms is not None]
    end = until_ms or _end(begin, ending)
    if end <= begin:
        raise InvalidRequest("to: it is not after from", field="to")
    shown = [one for one in reading.items if one.granted_ms < end and (one.deadline_ms is None or _ends(one) >= begin)]
    shown.sort(key=lambda one: (one.deadline_ms is None, one.deadline_ms or 0, one.fence))
    return document(
        "Timeline",
        pool=pool,
        **{"from": rfc3339(begin), "to": rfc3339(end)},
        items=[_bar(one) for one in shown[:rows]],
        total=len(shown),
        buckets=_buckets(begin, end, ending),
        overdue=_sum(one for one in ending if _ends(one) < begin),
        later=_sum(one for one in ending if _ends(one) > end),
        pinned=sum(one.deadline_ms is None for one in reading.items),
        leftOut=reading.left_out,
        readAt=rfc3339(reading.read_ms),
    )


def _ends(one: Allocation) -> int:
    return one.deadline_ms or 0


def _end(begin: int, ending: Sequence[Allocation]) -> int:
    last = max((_ends(one) for one in ending), default=begin)
    return begin + min(max(last - begin, bounds.TIMELINE_MIN_S * 1000), bounds.TIMELINE_S * 1000)


def _bar(one: Allocation) -> dict[str, Any]:
    return {
        "id": one.id,
        "owner": one.owner,
        "scope": one.scope,
        "start": rfc3339(one.granted_ms),
        "deadline": rfc3339(one.deadline_ms),
        "hardEnd": rfc3339(one.ends_ms),
        "resources": amounts(one.resources),
    }


def _sum(items: Iterable[Allocation]) -> dict[str, Any]:
    ends, frees = 0, dict[str, int]()
    for one in items:
        ends += 1
        _add(frees, one.resources)
    return {"ends": ends, "frees": amounts(frees)}


def _buckets(begin: int, end: int, ending: Iterable[Allocation]) -> list[dict[str, Any]]:
    """Equal intervals, each with its end, and what ends within it."""
    count = min(bounds.BUCKETS, end - begin)
    within: list[list[Allocation]] = [[] for _ in range(count)]
    for one in ending:
        if begin <= _ends(one) <= end:
            within[min(count - 1, (_ends(one) - begin) * count // (end - begin))].append(one)
    return [
        {"at": rfc3339(begin + (end - begin) * (number + 1) // count), **_sum(found)}
        for number, found in enumerate(within)
    ]


def line(pool: str, reading: Waiting) -> dict[str, Any]:
    """Who waits, the first first."""
    items = [serializers.waiter(one) for one in reading.items]
    return document("WaiterList", pool=pool, items=items, total=reading.total, leftOut=reading.total - len(items))


def scopes(pool: str, reading: Scopes) -> dict[str, Any]:
    """The tree of scopes, flat, each after those above it."""
    items = [serializers.quota(one) for one in reading.items]
    return document("QuotaList", pool=pool, items=items, total=reading.total, leftOut=reading.total - len(items))


def events(pool: str, found: Sequence[Event], cursor: str) -> dict[str, Any]:
    """Events, oldest first, and where to go on."""
    items = [serializers.event(one) for one in found]
    return document("EventList", pool=pool, items=items, cursor=found[-1].id if found else cursor)


def same(one: Usage, other: Usage) -> bool:
    """Whether nothing has changed but the time of the reading."""
    return {**one.to_fields(), "readMs": 0, "readAt": ""} == {**other.to_fields(), "readMs": 0, "readAt": ""}
