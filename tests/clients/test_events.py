"""The changes of a pool: read from any event on, watched as they happen, and what is missing is said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from allocator import AsyncAllocator, Event, InvalidRequest, UnknownPool, settings
from tests.clients.conftest import Connect

STREAM = "allocator:{lab}:events"


def _kinds(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.fields.get("id", event.fields.get("reason", ""))) for event in events]


async def _last(client: AsyncAllocator) -> str:
    (event,) = await client.events.list(limit=1)
    return event.id


async def _grants(client: AsyncAllocator, *ids: str) -> None:
    for identity in ids:
        await client.allocate({"cpu": "100m"}, ttl=60, id=identity)


# -- since -------------------------------------------------------------------------------------------------------------


async def test_events_are_read_on_from_any_of_them(client: AsyncAllocator) -> None:
    """Oldest first, in pages, and nothing twice."""
    start = await _last(client)
    assert await client.events.since(start) == []
    await _grants(client, "a", "b", "c")
    first = await client.events.since(start, limit=2)
    rest = await client.events.since(first[-1].id, limit=2)
    assert _kinds([*first, *rest]) == [("granted", "a"), ("granted", "b"), ("granted", "c")]
    assert [*first, *rest] == (await client.events.list(limit=3))[::-1]
    assert await client.events.since(rest[-1].id) == []


async def test_an_event_says_who_made_the_change(client: AsyncAllocator) -> None:
    """By the owner that the client was given, `me`; written where it is not the owner of the event."""
    await client.allocate({"cpu": 1}, ttl=60, id="a", owner="me")
    await client.options(owner="operator").release("a")
    await client.options(owner="me").allocate({"cpu": 1}, ttl=60, id="b")
    own, released, granted, created = await client.events.list(limit=4)
    assert [event.actor for event in (created, granted, released, own)] == ["me", "me", "operator", "me"]
    assert [event.fields.get("actor") for event in (created, granted, released)] == ["me", None, "operator"]
    assert Event.from_dict(released.to_dict()) == released
    assert (released.to_dict()["actor"], released.to_dict()["details"]) == ("operator", {})


async def test_events_are_read_from_an_instant_on(client: AsyncAllocator) -> None:
    """Milliseconds or a datetime; before the pool there was nothing to miss."""
    await _grants(client, "a")
    everything = [("created", "create"), ("granted", "a")]
    assert _kinds(await client.events.since(datetime(2001, 1, 2, tzinfo=UTC))) == everything
    (event,) = await client.events.list(limit=1)
    assert (await client.events.since(event.at))[-1] == event
    assert await client.events.since(event.at + timedelta(days=1)) == []


async def test_what_was_trimmed_is_said(client: AsyncAllocator, redis_cli: Callable[..., Any]) -> None:
    """Whether an event or an instant is given; whoever has had the first one that is left misses nothing."""
    start = await _last(client)
    await _grants(client, "a", "b", "c")
    redis_cli("XTRIM", STREAM, "MAXLEN", 2)
    for since in (start, datetime(2001, 1, 2, tzinfo=UTC)):
        found = await client.events.since(since)
        assert _kinds(found) == [("missed", "trimmed"), ("granted", "b"), ("granted", "c")]
    assert _kinds(await client.events.since(found[1].id)) == [("granted", "c")]
    assert _kinds(await client.events.since(start, limit=1)) == [("missed", "trimmed"), ("granted", "b")]


async def test_an_event_that_the_pool_does_not_have_is_lost(client: AsyncAllocator) -> None:
    """After its last, between two of them, before its first, or of a pool that was created again."""
    await _grants(client, "a", "b")
    created, first, last = (await client.events.list(limit=3))[::-1]
    ms, _, number = last.id.partition("-")
    beyond = f"{int(ms) + 1000}-0"
    (missed,) = await client.events.since(beyond)
    assert (missed.kind, missed.fields["reason"], missed.id) == ("missed", "lost", last.id)
    assert _kinds(await client.events.since(f"{ms}-{int(number) + 7}")) == [("missed", "lost")]
    before = f"{int(created.id.partition('-')[0]) - 1}-0"
    assert _kinds(await client.events.since(before))[:2] == [("missed", "lost"), ("created", "create")]
    await client.pools.delete("lab", force=True)
    await client.pools.create("lab", {"cpu": 1})
    found = await client.events.since(first.id)
    assert found[0].kind == "missed"
    assert found[0].fields["reason"] == "lost"


@pytest.mark.parametrize(
    "since",
    ["", "x", "1-2-3", "-1", "1-", " 1-0", "1-0\n", 5, -1, True, None, 1.5, datetime(2020, 1, 1)],  # noqa: DTZ001
)
async def test_what_is_no_event_and_no_instant_is_refused(client: AsyncAllocator, since: Any) -> None:
    """By name, before anything is sent."""
    with pytest.raises(InvalidRequest) as wrong:
        await client.events.since(since)
    assert wrong.value.field == "since"
    if since is not None:
        with pytest.raises(InvalidRequest):
            await anext(aiter(client.events.watch(since=since)))


async def test_a_pool_that_is_not_there_is_said(client: AsyncAllocator) -> None:
    """By both."""
    other = client.options(pool="other")
    with pytest.raises(UnknownPool):
        await other.events.since("1795451188527-0")
    with pytest.raises(UnknownPool):
        await anext(aiter(other.events.watch()))


# -- watch -------------------------------------------------------------------------------------------------------------


async def _next(events: AsyncIterator[Event]) -> tuple[str, str]:
    return _kinds([await anext(events)])[0]


async def test_a_watch_goes_on_from_an_event(client: AsyncAllocator) -> None:
    """With what is stored, then with what happens: each once, in order."""
    start = await _last(client)
    await _grants(client, "a", "b")
    events = aiter(client.events.watch(since=start))
    assert [await _next(events), await _next(events)] == [("granted", "a"), ("granted", "b")]
    for identity in ("c", "d", "e"):
        await _grants(client, identity)
        assert await _next(events) == ("granted", identity)
        await client.release(identity)
        assert await _next(events) == ("released", identity)


async def test_a_watch_says_what_it_has_missed_and_goes_on(
    client: AsyncAllocator, connect: Connect, redis_cli: Callable[..., Any]
) -> None:
    """At its start; and when the history is another one."""
    start = await _last(client)
    await _grants(client, "a", "b")
    redis_cli("XTRIM", STREAM, "MAXLEN", 1)
    events = aiter(client.events.watch(since=start))
    assert [await _next(events), await _next(events)] == [("missed", "trimmed"), ("granted", "b")]
    await _grants(client, "c")
    assert await _next(events) == ("granted", "c")


async def test_a_watch_of_a_pool_that_is_deleted_ends(client: AsyncAllocator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for a pool that may never come again."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", 0.05)
    start = await _last(client)
    await _grants(client, "a")
    events = aiter(client.events.watch(since=start))
    assert await _next(events) == ("granted", "a")
    await client.pools.delete("lab", force=True)
    with pytest.raises(UnknownPool):
        while True:
            await anext(events)
