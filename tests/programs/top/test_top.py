"""`top` headless with keys and the mouse, on real servers and in memory."""

from __future__ import annotations

import asyncio

import pytest

from allocator import Allocator, AsyncAllocator
from allocator.access import user
from allocator.apps.top import feed as feeding
from allocator.apps.top.app import TopApp
from allocator.testing import memory_async_allocator
from tests.programs.top.driving import Lab, Screen, fill, running
from tests.support.servers import Server

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])


def header_of(screen: Screen) -> str:
    """The row with the names of the columns."""
    return next(row for row in screen.text.split("\n") if row.startswith(" ID"))


@SIZES
async def test_it_shows_the_pool_and_follows_its_events(lab: Lab, size: tuple[int, int]) -> None:
    """A change is on the screen without waiting for the slow refresh."""
    fill(lab.client)
    async with running(lab.connect, "lab", size=size) as screen:
        await screen.until("job-3")
        assert "pool lab" in screen.text
        assert "6/32" in screen.text
        assert "3 allocations, 0 pinned, 0 due, 0 waiting" in screen.text
        await asyncio.to_thread(lab.client.allocate, {"cpu": 26}, ttl=None, id="late")
        await screen.until("late", timeout_s=feeding.IDLE_S - 1)
        await screen.until("100% full")
        assert "Pinned" in screen.text
        await asyncio.to_thread(lab.client.release, "job-1")
        await screen.until(lambda: "job-1" not in screen.ids())


async def test_release_names_what_it_ends_and_ends_nothing_else(lab: Lab) -> None:
    """Marked by keys; `n` and Esc change nothing, and a grant that came meanwhile keeps its room."""
    fill(lab.client)
    async with running(lab.connect, "lab") as screen:
        await screen.until("job-3")
        await screen.press("space", "space", "d")
        await screen.until("Release 2 allocations of pool lab?")
        assert "owners: ctl-1 (1), ctl-2 (1)" in screen.text
        assert "gives back: cpu 3, memory 2Gi" in screen.text
        assert "job-1" in screen.text
        assert "job-2" in screen.text
        await screen.press("n")
        await screen.until(lambda: "Release 2" not in screen.text)
        await screen.press("d")
        await screen.until("Release 2 allocations")
        await asyncio.to_thread(lab.client.release, "job-1")
        await asyncio.to_thread(lab.client.allocate, {"cpu": 1}, ttl=600, id="job-1", owner="other")
        await screen.press("y")
        await screen.until("1 another grant by now, and not touched, 1 released")
        assert sorted(one.id for one in lab.client.list()) == ["job-1", "job-3"]
        assert lab.client.get("job-1").owner == "other"


async def test_the_cursor_is_what_is_released_where_nothing_is_marked(lab: Lab) -> None:
    """And a key that is pressed twice does not confirm: the harmless button has the focus."""
    fill(lab.client)
    async with running(lab.connect, "lab") as screen:
        await screen.until("job-3")
        await screen.press("down", "d")
        await screen.until("Release 1 allocation of pool lab?")
        await screen.press("enter")
        await screen.until(lambda: "Release 1" not in screen.text)
        assert len(list(lab.client.list())) == 3
        await screen.press("d")
        await screen.until("Release 1 allocation of pool lab?")
        await screen.press("y")
        await screen.until("job-2 is released")
        assert sorted(one.id for one in lab.client.list()) == ["job-1", "job-3"]


async def test_read_only_refuses_a_release(lab: Lab) -> None:
    """With a word why."""
    fill(lab.client)
    async with running(lab.connect, "lab", read_only=True) as screen:
        await screen.until("job-3")
        await screen.press("d")
        await screen.until("refused: top was started with --read-only")
        assert "read-only" in screen.text.split("\n")[0]


async def test_a_user_without_rights_is_refused_with_the_servers_reason(one_server: Server) -> None:
    """An inspector sees all, and changes nothing."""
    looker = user("inspector", name="looker", password="secret")
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 32})
        fill_one = client.allocate({"cpu": 1}, ttl=600, id="job-1")
        one_server.ask("ACL", "SETUSER", "looker", *looker.rules)
        url = one_server.url.replace("unix://", "unix://looker:secret@")
        try:
            async with running(lambda: AsyncAllocator.from_url(url, pool="lab", timeout=2.0), "lab") as screen:
                await screen.until("job-1")
                await screen.press("d")
                await screen.until("Release 1 allocation")
                await screen.press("y")
                await screen.until("prints the rights")
        finally:
            one_server.ask("ACL", "DELUSER", "looker")
        assert client.get(fill_one.id) is not None


@SIZES
async def test_describe_shows_the_whole_story(lab: Lab, size: tuple[int, int]) -> None:
    """As `describe` does; also of what has ended meanwhile."""
    fill(lab.client, 1)
    lab.client.resize("job-1", {"cpu": 2})
    async with running(lab.connect, "lab", size=size) as screen:
        await screen.until("job-1")
        await screen.press("enter")
        await screen.until("granted")
        await screen.until("resized")
        assert "Owner:" in screen.text
        await screen.press("escape")
        await screen.until(lambda: "Owner:" not in screen.text)


async def test_the_line_shows_reasons(lab: Lab) -> None:
    """What each waiter is short of; Enter says it in numbers."""
    fill(lab.client)
    async with lab.connect() as client:
        wait = asyncio.create_task(client.allocate({"cpu": 30}, ttl=60, id="big", owner="ctl-9", wait=60))
        async with running(lab.connect, "lab") as screen:
            await screen.until("1 waiting")
            await screen.press("2")
            await screen.until("cpu=4")
            assert "SHORT OF" in screen.text
            await screen.press("enter")
            await screen.until("capacity_exceeded")
            await screen.press("escape")
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)


async def test_scopes_are_a_tree_and_lead_to_their_allocations(lab: Lab) -> None:
    """Enter on a scope filters the allocations."""
    lab.client.quotas.set("team-a", {"cpu": 8})
    lab.client.quotas.set("team-a/alice", {"cpu": 4})
    lab.client.allocate({"cpu": 3}, ttl=600, id="hers", scope="team-a/alice")
    lab.client.allocate({"cpu": 3}, ttl=600, id="other")
    async with running(lab.connect, "lab") as screen:
        await screen.until("hers")
        await screen.press("3")
        await screen.until("└ alice")
        assert "pool lab" in screen.text
        await screen.press("end", "enter")
        await screen.until("1 of 2 match, filter 'team-a/alice'")
        assert screen.ids() == ["hers"]
        await screen.press("escape")
        await screen.until(lambda: len(screen.ids()) == 2)


async def test_filter_sort_and_marks_by_keys(lab: Lab) -> None:
    """`/`, `s`, `S`, Space, `A`, Esc; nonsense finds nothing, and breaks nothing."""
    fill(lab.client)
    async with running(lab.connect, "lab") as screen:
        await screen.until("job-3")
        await screen.press("slash", *"ctl-2", "enter")
        await screen.until("1 of 3 match, filter 'ctl-2'")
        assert screen.ids() == ["job-2"]
        await screen.press("slash", *("backspace",) * 5)
        for char in "[x]({%\\'\"é":
            await screen.press(char)
        await screen.press("enter")
        await screen.until(lambda: screen.ids() == [])
        await screen.press("d", "enter", "space", "escape")
        await screen.until(lambda: len(screen.ids()) == 3)
        orders = set()
        for _ in range(8):
            await screen.press("s")
            orders.add(tuple(screen.ids()))
        assert ("job-3", "job-2", "job-1") in orders
        assert ("job-1", "job-2", "job-3") in orders
        before = screen.ids()
        await screen.press("S")
        assert screen.ids() != before
        await screen.press("A")
        await screen.until("3 marked")
        await screen.press("escape")
        await screen.until(lambda: "3 marked" not in screen.text)


async def test_the_mouse_selects_sorts_and_chooses_tables(lab: Lab) -> None:
    """A click on a header sorts by it, the second the other way round."""
    fill(lab.client)
    async with running(lab.connect, "lab") as screen:
        await screen.until("job-3")
        column = header_of(screen).index("CPU")
        await screen.pilot.click("#grid", offset=(column, 0))
        await screen.until(lambda: screen.ids() == ["job-3", "job-2", "job-1"])
        await screen.pilot.click("#grid", offset=(column, 0))
        await screen.until(lambda: screen.ids() == ["job-1", "job-2", "job-3"])
        await screen.pilot.click("#grid", offset=(3, 2))
        assert screen.grid.item.id == "job-2"
        await screen.pilot.click(
            "#tabs", offset=(next(row for row in screen.text.split("\n") if "4 Events" in row).index("Events"), 0)
        )
        await screen.until("granted")


async def test_pools_are_switched(lab: Lab) -> None:
    """The list says how full each is."""
    lab.client.pools.create("gpu", {"nvidia.com/gpu": 4})
    lab.client.options(pool="gpu").allocate({"nvidia.com/gpu": 1}, ttl=60, id="g-1")
    async with running(lab.connect, "lab") as screen:
        await screen.press("p")
        await screen.until("nvidia.com/gpu 25%, 1 allocation")
        await screen.press("home", "enter")
        await screen.until("pool gpu")
        await screen.until("g-1")


async def test_help_lists_the_keys(lab: Lab) -> None:
    """`?` shows them, and any of its keys closes it."""
    async with running(lab.connect, "lab") as screen:
        await screen.press("question_mark")
        await screen.until("release the marked allocations")
        await screen.press("pagedown", "pagedown", "pagedown", "pagedown")
        await screen.until("by the server's clock")
        await screen.press("q")
        await screen.until("nothing is allocated")
        assert screen.app.is_running


async def test_a_resize_of_the_terminal_is_followed(lab: Lab) -> None:
    """Smaller and larger; at 34 rows the latest events are there, too."""
    fill(lab.client)
    async with running(lab.connect, "lab") as screen:
        await screen.until("job-3")
        for size in ((40, 10), (200, 60), (20, 5), (120, 34)):
            await screen.pilot.resize_terminal(*size)
            await screen.pilot.pause()
            assert len(screen.text.split("\n")) == size[1]
        await screen.until("latest events")
        await screen.until("granted")


async def test_every_key_may_be_pressed_on_every_table(lab: Lab) -> None:
    """In any order: nothing crashes, and nothing is released without an answer."""
    fill(lab.client)
    keys = ("s", "S", "b", "t", "r", "space", "A", "left", "right", "pagedown", "pageup", "home", "end", "G", "g", "x")
    async with running(lab.connect, "lab") as screen:
        await screen.until("job-3")
        for table in ("1", "2", "3", "4", "tab", "shift+tab"):
            await screen.press(table, *keys, "d", "escape", "question_mark", "escape", "escape", "escape")
        assert screen.app.is_running
        assert len(list(lab.client.list())) == 3


async def test_no_colour_is_needed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the words and numbers are all there."""
    monkeypatch.setenv("NO_COLOR", "1")
    lab.client.allocate({"cpu": 30}, ttl=None, id="job-1")
    async with running(lab.connect, "lab") as screen:
        await screen.until("93% near full")
        assert screen.app.no_color


def test_the_exit_code_is_that_of_the_key() -> None:
    """`q` is 0, Ctrl-C is 130, as for other commands."""

    async def code_of(key: str) -> int | None:
        app = TopApp(lambda: memory_async_allocator({"cpu": 1}, pool="lab"), "lab", "memory://", timeout_s=1)
        async with app.run_test() as pilot:
            await pilot.press(key)
        return app.return_code

    assert asyncio.run(code_of("q")) == 0
    assert asyncio.run(code_of("ctrl+c")) == 130
