"""`top` with what goes wrong: servers away, pools gone, clocks far off, hostile names, very large pools."""

from __future__ import annotations

import asyncio

import pytest

from allocator import Allocator, AsyncAllocator, Request
from allocator.apps.top import feed as feeding
from allocator.testing import Clock, MemoryStore, memory_allocator, memory_async_allocator
from tests.programs.top.driving import Lab, running
from tests.support.servers import Server

MARKUP = "[bold red]x[/bold red]"


@pytest.mark.breaks_data
async def test_names_are_shown_as_they_are(one_server: Server, lab: Lab) -> None:
    """Neither markup nor control characters of an owner, of metadata or of a reason reach the terminal as such.

    The library refuses such an owner; whoever may write to the server can store one.
    """
    lab.client.allocate({"cpu": 1}, ttl=600, id="job-1", owner="o", metadata={"note": f"{MARKUP}\x1b[31m\x07"})
    one_server.ask("HSET", "allocator:{lab}:allocation:job-1", "owner", f"{MARKUP}\x1b]0;t\x07")
    one_server.ask(
        "XADD",
        "allocator:{lab}:events",
        "*",
        "event",
        "granted",
        "id",
        f"[@click=app.end(9)]{MARKUP}",
        "owner",
        "\x1b[2J",
    )
    async with running(lab.connect, "lab", size=(120, 40)) as screen:
        await screen.until("[bold red]x[/bold red]\\x1b]0;t\\x07")
        await screen.press("enter")
        await screen.until(r"[bold red]x[/bold red]\x1b[31m\x07")
        assert "\x1b" not in screen.text
        assert "\x07" not in screen.text
        await screen.press("escape", "d")
        await screen.until("owner: [bold red]x[/bold red]")
        await screen.press("n", "4")
        await screen.until("[@click=app.end(9)]")
        assert "\x1b" not in screen.text
        await screen.press("enter")
        await screen.until("Owner: \\x1b[2J")
        assert screen.app.is_running


async def test_it_says_that_the_server_is_away_and_recovers() -> None:
    """The last figures stay, with their age."""
    with Server(tcp=True) as server, Allocator.from_url(server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 8})
        client.allocate({"cpu": 5}, ttl=600, id="job-1")
        connect = lambda: AsyncAllocator.from_url(server.url, pool="lab", timeout=1.0, attempt_timeout=1.0)  # noqa: E731
        async with running(connect, "lab", size=(120, 40)) as screen:
            await screen.until("job-1")
            await asyncio.to_thread(server.kill)
            await screen.until("AWAY for")
            assert "These figures are" in screen.text
            assert "not live" in screen.text
            assert "5/8" in screen.text
            await screen.press("d")
            await screen.until("Release 1 allocation")
            await screen.press("n")
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(client.pools.create, "lab", {"cpu": 16})
            await screen.until("0/16")
            await screen.until(lambda: "AWAY" not in screen.text and "POOL GONE" not in screen.text)
            await asyncio.to_thread(client.allocate, {"cpu": 1}, ttl=60, id="new")
            await screen.until("new")
            await screen.press("4")
            await screen.until("events are missing here")


async def test_a_deleted_pool_is_said_to_be_gone(lab: Lab) -> None:
    """And comes back by itself if it is created again."""
    async with running(lab.connect, "lab") as screen:
        await screen.until("nothing is allocated")
        await asyncio.to_thread(lab.client.pools.delete, "lab")
        await screen.until("POOL GONE")
        assert "'p' shows other pools" in screen.said
        await asyncio.to_thread(lab.client.pools.create, "lab", {"cpu": 3})
        await screen.until("0/3 ")
        await screen.until(lambda: "POOL GONE" not in screen.text)


async def test_a_clock_far_off_is_said_and_ages_are_the_servers() -> None:
    """The in-process store's clock stands years away from this machine's."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    with memory_allocator({"cpu": 8}, pool="lab", store=store) as client:
        client.allocate({"cpu": 1}, ttl=6000, id="job-1")
        clock.advance(600)
    async with running(
        lambda: memory_async_allocator({"cpu": 8}, pool="lab", store=store), "lab", here_s=lambda: clock() / 1000 + 7200
    ) as screen:
        await screen.until("job-1")
        assert "(here 120m later)" in screen.text or "(here 119m later)" in screen.text
        assert "10m" in screen.text
        assert "89m" in screen.text or "90m" in screen.text


async def test_a_large_pool_is_bounded_and_stays_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond the bound are counted; changed ones are read one by one, not all again."""
    monkeypatch.setattr(feeding, "LIST_SHARE", 1_000_000)
    store = MemoryStore()
    with memory_allocator({"cpu": 100_000}, pool="lab", store=store) as client:
        for begin in range(0, 2_500, 500):
            client.allocate_many(
                [Request({"cpu": 1}, 600, id=f"job-{number:05}") for number in range(begin, begin + 500)]
            )
        async with running(lambda: memory_async_allocator({"cpu": 1}, pool="lab", store=store), "lab") as screen:
            await screen.until("first 1,000 of 2,500 by age")
            await screen.press("end")
            assert screen.grid.item.id == screen.ids()[-1]
            client.allocate({"cpu": 7}, ttl=600, id="newest")
            await screen.press("slash", *"newest", "enter")
            await screen.until("1 of 2,501 match")
            client.release("newest")
            await screen.until("0 of 2,500 match")


async def test_a_change_while_allocations_are_read_again_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that names an allocation which is being read says that what was read may be out of date."""
    store = MemoryStore()
    with memory_allocator({"cpu": 4}, store=store) as client:
        client.allocate({"cpu": 1}, ttl=600, id="job-1")
        pool = client.pools.get().name
        async with memory_async_allocator({"cpu": 4}, store=store) as reader:
            feed = feeding.Feed(reader, pool, lambda: None, clock_s=lambda: 0.0)
            await feed.read()
            monkeypatch.setattr(feed, "_list_from_s", 1e9)  # no list is due
            take = feed._take  # pyright: ignore[reportPrivateUsage]  # as the watch does, at a chosen instant
            take(client.events.list(limit=1)[0])
            get = AsyncAllocator.get

            async def released_meanwhile(self: AsyncAllocator, id: str) -> object:
                found = await get(self, id)
                if client.release(id):
                    take(client.events.list(limit=1)[0])
                return found

            monkeypatch.setattr(AsyncAllocator, "get", released_meanwhile)
            await feed.read()
            assert (await feed.read()).allocations == ()
