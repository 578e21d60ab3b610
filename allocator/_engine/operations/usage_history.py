"""The usage of a pool over time: its points, filled in where nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.replies import decode_fields, raise_refused
from allocator._engine.operations.requests import make_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Flow, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.errors import BackendUnavailable, InvalidRequest
from allocator.models.instants import instant
from allocator.models.usage_history import UsageAmounts, UsageHistory, UsagePoint
from allocator.quantity import shown
from allocator.validation import age_ms, instant_ms

__all__ = ["decode_counters", "usage_history"]

_HISTORY: Final = load("read_history")

_ATTEMPTS: Final = 5
"""How often a pool may be deleted and made again while it is read."""

_DENIED: Final = "denied."


def decode_counters(fields: Mapping[str, str]) -> dict[str, int]:
    """The counters among a pool's fields, sorted by name.  One that is no exact integer counts nothing."""
    cut = -len(schema.COUNT)
    found = {name[:cut]: _whole(text) for name, text in fields.items() if name.endswith(schema.COUNT)}
    return dict(sorted(found.items()))


def _whole(text: Any) -> int:
    plain = str(text)
    number = int(plain) if plain.isascii() and plain.isdecimal() and len(plain) <= 16 else 0
    return number if number <= settings.AMOUNT_MAX else 0


class _State(NamedTuple):
    """What a pool had from one change on to the next one, and its counters since it was created."""

    resources: Mapping[str, UsageAmounts]
    allocations: int
    waiting: int
    granted: int
    denied: int


_NOTHING: Final = _State({}, 0, 0, 0, 0)


def _resources(fields: Mapping[str, Any]) -> dict[str, UsageAmounts]:
    """The resources whose amounts are exact integers; the audit says more of others."""
    cut = -len(schema.CAPACITY)
    found: dict[str, UsageAmounts] = {}
    for name in sorted(field[:cut] for field in fields if field.endswith(schema.CAPACITY)):
        allocated = fields.get(name + schema.ALLOCATED)
        found[name] = UsageAmounts(_whole(allocated), _whole(fields[name + schema.CAPACITY]))
    return found


def _point_state(flat: Sequence[Any]) -> _State:
    fields = decode_fields(flat)
    numbers = [_whole(fields.get(name, "0")) for name in ("allocations", "waiting", "granted", "denied")]
    return _State(_resources(fields), *numbers)


def _pool_state(flat: Sequence[Any], allocations: int, waiting: int) -> _State:
    fields = decode_fields(flat)
    counters = decode_counters(fields)
    denied = sum(number for name, number in counters.items() if name.startswith(_DENIED))
    return _State(_resources(fields), allocations, waiting, counters.get("granted", 0), denied)


class _Page(NamedTuple):
    """One reply: what the pool has, and points by their instant."""

    read_ms: int
    epoch: str
    interval_ms: int
    begin_ms: int
    history_ms: int
    first_ms: int
    more: bool
    state: _State
    points: list[tuple[int, _State]]

    @property
    def until_ms(self) -> int:
        """The instant of the reading."""
        return max(self.read_ms, self.history_ms)

    def floor(self, ms: int) -> int:
        """The beginning of the interval that has an instant."""
        return ms - ms % self.interval_ms


class _Span(NamedTuple):
    """What is read: `ago_ms` before now, or from `since_ms` on; by intervals of `interval_ms`, 0: by its length."""

    ago_ms: int
    since_ms: int
    interval_ms: int
    after_ms: int = 0


def _page(pool: PoolKeys, span: _Span) -> Operation[_Page]:
    def decode(reply: Reply) -> _Page:
        if reply[0] != "history":
            raise_refused(pool, reply[0])
        _, read_ms, epoch, interval_ms, begin_ms, history_ms, first_ms, more, live, waiting, flat, *entries = reply
        points = [(ms, _point_state(fields)) for ms, fields in zip(entries[::2], entries[1::2], strict=True)]
        state = _pool_state(flat, live, waiting)
        return _Page(read_ms, epoch, interval_ms, begin_ms, history_ms, first_ms, bool(more), state, points)

    call = make_call(
        _HISTORY,
        pool,
        epoch=pool.epoch,
        interval_ms=span.interval_ms,
        ago_ms=span.ago_ms,
        since_ms=span.since_ms,
        after_ms=span.after_ms,
        count=settings.HISTORY_PAGE_MAX,
    )
    return Operation(call, decode)


def _span(since: object, resolution: object) -> _Span:
    if resolution is not None and (isinstance(resolution, bool) or resolution not in (60, 3600)):
        raise InvalidRequest(f"resolution: {shown(resolution)} is neither 60 nor 3600 seconds", field="resolution")
    interval_ms = 1000 * int(resolution) if isinstance(resolution, int) else 0
    if not isinstance(since, datetime):
        return _Span(age_ms(since, "since"), 0, interval_ms)
    if since.tzinfo is None:
        raise InvalidRequest(f"since: {since} has no time zone: write an aware datetime", field="since")
    return _Span(0, max(instant_ms(since, "since"), 1), interval_ms)


def usage_history(
    defaults: Defaults,
    name: str | None,
    since: datetime | float | timedelta,
    resolution: int | None,
) -> Flow[UsageHistory]:
    """The points of a pool.  One round trip, and one more for each further `HISTORY_PAGE_MAX` points.

    `since` is an instant, or how long before now.
    """
    span = _span(since, resolution)
    pool = defaults.keys(name)
    for _ in range(_ATTEMPTS):
        found = yield from _read(pool, span)
        if found is not None:
            return found
    raise BackendUnavailable(f"pool {pool.name!r} is deleted and made again, again and again", retry_after=1.0)


def _read(pool: PoolKeys, span: _Span) -> Flow[UsageHistory | None]:
    """The points; None if the pool was deleted and made again meanwhile."""
    first = page = yield from _page(pool, span)
    points = page.points
    while page.more:
        page = yield from _page(pool, _Span(0, 0, first.interval_ms, points[-1][0]))
        if page.epoch != first.epoch:
            return None
        points += page.points
    # A change since the first reading may have written more: what the pool has is as of that one.
    points = [one for one in points if one[0] <= first.history_ms]
    begin_ms = max(first.begin_ms, _known_from(first))
    filled = tuple(_filled(first, points, begin_ms))
    return UsageHistory(pool.name, filled, instant(begin_ms))


def _known_from(page: _Page) -> int:
    """Where the first interval begins of which a point or the present is known."""
    if page.first_ms < 0:
        return -page.first_ms
    if page.first_ms > 0:
        return page.first_ms - page.interval_ms
    return page.floor(page.history_ms or page.until_ms)


def _filled(page: _Page, points: list[tuple[int, _State]], begin_ms: int) -> Iterator[UsagePoint]:
    """One point for each interval from `begin_ms` to that of the reading.

    From the end of the interval of the last change on, the pool had what it has now.
    """
    interval_ms, until_ms = page.interval_ms, page.until_ms
    if page.history_ms:
        points = [*points, (page.floor(page.history_ms) + interval_ms, page.state)]
        before = _NOTHING
    else:
        before = page.state
    state, at = before, 0
    for end_ms in range(begin_ms, page.floor(until_ms) + 2 * interval_ms, interval_ms):
        before = state
        while at < len(points) and points[at][0] <= end_ms:
            state, at = points[at][1], at + 1
        if end_ms > begin_ms:
            yield UsagePoint(
                instant(min(end_ms, until_ms)),
                interval_ms // 1000,
                state.resources,
                state.allocations,
                state.waiting,
                max(0, state.granted - before.granted),
                max(0, state.denied - before.denied),
            )
