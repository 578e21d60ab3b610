"""Streams: what happens in a pool, to any number of pages, over the absence of its server, from a cursor on."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from allocator import Allocator, Usage
from allocator.apps.dashboard import bounds
from tests.programs.dashboard.serving import Page, Streamed, opened
from tests.support.servers import Server
from tests.support.waiting import wait_until_async

SHARED_STREAMS = 100


def calls(server: Server, name: str) -> int:
    """How often the server has performed this command."""
    found = server.info("commandstats").get(f"cmdstat_{name}", "calls=0,")
    return int(found.partition("calls=")[2].partition(",")[0])


def watches(server: Server) -> int:
    """How many connections block on a stream of events, or have done so last."""
    return server.ask("CLIENT", "LIST").count("cmd=xread")


async def test_a_stream_shows_the_state_and_each_change(one_server: Server) -> None:
    """The usage at once; then an event with its cursor, and the usage after it."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        async with opened(one_server.url) as page, page.stream() as stream:
            state = await stream.take("usage")
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            assert stream.headers["cache-control"] == "no-store"
            assert state.data["kind"] == "Usage"
            client.allocate({"cpu": 1}, ttl=60, id="a", owner="x")
            change = await stream.take("change", type="granted")
            assert (change.data["id"], change.data["kind"], change.data["event"]) == ("a", "Event", change.id)
            assert (await stream.take("usage", allocations=1)).data["resources"]["cpu"]["available"]["amount"] == 3000


async def test_a_page_goes_on_where_it_was(one_server: Server) -> None:
    """With a cursor what was missed comes first, each event once; another pool's says that some are missing."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        client.pools.create("other", {"cpu": 4})
        client.allocate({"cpu": 1}, ttl=60, id="a")
        cursor = client.events.list(limit=1)[0].id
        client.allocate({"cpu": 1}, ttl=60, id="b")
        async with opened(one_server.url) as page, page.stream(f"pool=lab&since={cursor}") as stream:
            assert (await stream.take("change")).data["id"] == "b"
            client.allocate({"cpu": 1}, ttl=60, id="c")
            assert (await stream.take("change")).data["id"] == "c"
            assert [one.data["id"] for one in stream.seen if one.event == "change"] == ["b", "c"]
            async with page.stream(f"pool=other&since={cursor}") as foreign:
                assert (await foreign.take("missed")).data["reason"] == "lost"


async def test_a_hundred_pages_are_one_watch(one_server: Server) -> None:
    """The server sees one blocked read, and no more readings of the usage than for one page."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 400})
        async with opened(one_server.url) as page, AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(page.stream()) for _ in range(SHARED_STREAMS)]
            for stream in streams:
                await stream.take("usage")
            await wait_until_async(lambda: watches(one_server) > 0, message="the watch")
            assert watches(one_server) == 1
            before = calls(one_server, "xread"), calls(one_server, "evalsha_ro") + calls(one_server, "evalsha")
            for number in range(10):
                client.allocate({"cpu": 1}, ttl=60, id=f"a{number}")
            for stream in streams:
                await stream.take("change", id="a9")
                assert len([one for one in stream.seen if one.event == "change"]) == 10
            reads = calls(one_server, "xread") - before[0]
            scripts = calls(one_server, "evalsha_ro") + calls(one_server, "evalsha") - before[1]
            assert reads <= 11
            assert scripts <= 10 + 20  # ten of them are the grants
        async with opened(one_server.url) as page:
            await page.get("/api/v1/pools/lab")
            assert page.dashboard.feeds.streams == 0


async def test_readings_of_many_pages_are_one(one_server: Server) -> None:
    """A hundred pages that ask for the same at once cost what one costs."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 400})
        client.allocate({"cpu": 1}, ttl=60, id="a")
    async with opened(one_server.url) as page:
        await page.get("/api/v1/pools/lab/allocations")
        await page.get("/api/v1/pools/lab/groups")
        before = calls(one_server, "evalsha_ro")
        for _ in range(50):
            await page.get("/api/v1/pools/lab/timeline")
            await page.get("/api/v1/pools/lab/queue")
        assert calls(one_server, "evalsha_ro") - before <= 50


async def test_a_page_that_asks_after_an_event_sees_what_it_has_changed(one_server: Server) -> None:
    """A reading that began before the event counts no more."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 400})
        async with opened(one_server.url) as page, page.stream() as stream:
            await stream.take("usage")
            for number in range(5):
                client.allocate({"cpu": 1}, ttl=60, id=f"a{number}")
                await stream.take("change", id=f"a{number}")
                assert (await page.get("/api/v1/pools/lab/allocations"))["total"] == number + 1


async def test_a_server_that_goes_away_and_comes_back() -> None:
    """Its pages are told once, with a code, and then what the pool is; nothing is left out in silence."""
    kept = {"appendonly": "yes", "appendfsync": "always"}
    with Server(options=kept) as server, Allocator.from_url(server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        async with opened(server.url, timeout_s=1.0) as page, page.stream() as stream:
            await stream.take("usage")
            server.kill()
            error = await stream.take("error")
            assert (error.data["pool"], bool(error.data["code"]), bool(error.data["message"])) == (
                "lab",
                True,
                True,
            )
            async with page.stream() as late:
                assert (await late.take("error")).data["code"] == error.data["code"]
                server.start()
                await stream.take("usage")
                await late.take("usage")
                client.allocate({"cpu": 1}, ttl=60, id="a")
                await stream.take("change", id="a")
                await late.take("change", id="a")


async def test_a_pool_that_is_deleted_and_made_again(one_server: Server) -> None:
    """It says that there is no such pool, and shows the new one; the events of the old one are called missing."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        async with opened(one_server.url) as page, page.stream() as stream:
            await stream.take("usage")
            client.pools.delete("lab")
            await stream.take("error", code="unknown_pool")
            client.pools.create("lab", {"cpu": 8})
            state = await stream.take("usage")
            assert state.data["resources"]["cpu"]["capacity"]["amount"] == 8000
            client.allocate({"cpu": 1}, ttl=60, id="a")
            await stream.take("change", id="a")
            assert [one.event for one in stream.seen].count("missed") == 1


async def test_a_page_that_does_not_read_is_dropped(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has not read is bounded; the others go on."""
    monkeypatch.setattr(bounds, "STREAM_FRAMES_MAX", 5)
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 400})
        async with opened(one_server.url) as page, page.stream() as slow, page.stream() as quick:
            await slow.take("usage")
            await quick.take("usage")
            slow.stop_reading()
            for number in range(20):
                client.allocate({"cpu": 1}, ttl=60, id=f"a{number}")
                await quick.take("change", id=f"a{number}")
            await slow.end()
            assert page.dashboard.feeds.streams == 1


async def test_streams_are_bounded(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is a 503 that says when to ask again."""
    monkeypatch.setattr(bounds, "STREAMS_MAX", 1)
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page, page.stream() as stream:
        await stream.take("usage")
        answer = await page.http.get("/api/v1/stream?pool=lab")
        assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
        assert answer.headers["retry-after"] == "10"


async def test_a_stream_on_which_nothing_happens_is_alive(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page can tell silence from a connection that is gone."""
    monkeypatch.setattr(bounds, "ALIVE_S", 0.05)
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page, page.stream() as stream:
        await stream.take("usage")
        await stream.take("alive")
        await stream.take("alive")


async def test_a_question_for_the_headers_opens_no_stream(one_server: Server) -> None:
    """It would have no end, and nobody who reads it."""
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page:
        answer = await page.http.head("/api/v1/stream?pool=lab")
        assert (answer.status_code, answer.content, page.dashboard.feeds.streams) == (200, b"", 0)


async def test_a_bug_in_a_reading_does_not_end_the_stream(
    one_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next reading is shown."""
    monkeypatch.setattr(bounds, "IDLE_S", bounds.USAGE_S)
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page, page.stream() as stream:
        await stream.take("usage")
        read, broken = page.dashboard.readings.usage, [True]

        async def usage(pool: str) -> Usage:
            if broken.pop() if broken else False:
                raise RuntimeError("a bug")
            return await read(pool)

        monkeypatch.setattr(page.dashboard.readings, "usage", usage)
        await wait_until_async(lambda: "a bug" in caplog.text, message="the log")
        with Allocator.from_url(one_server.url, pool="lab") as client:
            client.allocate({"cpu": 1}, ttl=60)
        await stream.take("usage", allocations=1)


async def test_the_last_page_ends_the_watch(one_server: Server) -> None:
    """Nothing is read for nobody."""
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page:
        async with page.stream() as stream:
            await stream.take("usage")

        await wait_until_async(lambda: not watches(one_server), message="the end of the watch")
        assert page.dashboard.feeds.streams == 0


async def test_closing_ends_all_streams_at_once(one_server: Server) -> None:
    """Each with an end that its page can tell from a break."""
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 4})
    async with opened(one_server.url) as page, page.stream() as one, page.stream() as other:
        await one.take("usage")
        await other.take("usage")
        await page.dashboard.feeds.close()
        for stream in (one, other):
            await stream.end()
            assert stream.ended
        await _refused(page)


async def _refused(page: Page) -> None:
    """Who comes now is not served."""
    async with Streamed(page.app, "pool=lab") as late:
        await late.end()
        assert late.status == 503
