"""Following the events of a pool: one blocked read for all, nothing lost, nothing twice, and nothing left behind."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest

from allocator import Allocator, settings
from allocator._engine.execution import event_tail
from allocator._engine.execution.event_tail import Entries, EventTail
from tests.support.servers import Server
from tests.support.waiting import wait_until
from tests.support.watchers import Watchers

Grants = Callable[..., list[str]]


@pytest.fixture
def pool(server: Server, audit_all: Callable[[str], None]) -> Iterator[Allocator]:
    """A pool and its client, which changes things."""
    server.flush()
    client = Allocator.from_url(server.url, pool="lab", allow_eviction=True)
    client.pools.create("lab", {"cpu": 1000})
    yield client
    client.close()
    audit_all(server.url)


@pytest.fixture
def grants(pool: Allocator) -> Grants:
    """Grants some allocations, and returns their ids."""
    number = iter(range(10_000))

    def grant(count: int) -> list[str]:
        return [pool.allocate({"cpu": 1}, ttl=600, id=f"a{next(number)}").id for _ in range(count)]

    return grant


@pytest.fixture
def last(pool: Allocator) -> str:
    """The event after which a watch begins."""
    return pool.events.list(limit=1)[0].id


def _blocked(server: Server) -> int:
    return int(server.info("clients")["blocked_clients"])


def _calls(server: Server, command: str) -> int:
    told = server.info("commandstats").get(f"cmdstat_{command}", "calls=0")
    return int(told.partition(",")[0].partition("=")[2])


def _readers(server: Server) -> set[str]:
    """The connections whose last command was the blocked read."""
    return {line.partition(" ")[0] for line in server.ask("CLIENT", "LIST").splitlines() if " cmd=xread " in line}


def _clients(server: Server) -> list[str]:
    return server.ask("CLIENT", "LIST").splitlines()


@pytest.fixture
def _asks_again_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for the seconds that a program waits."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.02)
    monkeypatch.setattr("allocator._engine.operations.events._AGAIN_S", 0.02)


def test_however_many_watch_there_is_one_blocked_read(kind: str, server: Server, grants: Grants, last: str) -> None:
    """And what it brings is for all of them."""
    with Watchers(kind, server.url, 10, since=last) as watchers:
        ids = grants(1)
        watchers.wait_for(ids)
        wait_until(lambda: _blocked(server) == 1)
        read, blocked = _calls(server, "evalsha_ro"), _calls(server, "xread")
        ids += grants(5)
        watchers.wait_for(ids)
        wait_until(lambda: _blocked(server) == 1)
        assert _calls(server, "evalsha_ro") - read <= 1, "the watches read from one another"
        assert _calls(server, "xread") - blocked <= 6
    assert {error.code for error in watchers.errors} == {"closed"}
    wait_until(lambda: _blocked(server) == 0)


@pytest.mark.usefixtures("_asks_again_quickly")
def test_a_lost_connection_loses_no_event(kind: str, server: Server, grants: Grants, last: str) -> None:
    """What happened meanwhile is read from the store, once."""
    ids: list[str] = []
    with Watchers(kind, server.url, 3, since=last) as watchers:
        for _ in range(3):
            ids += grants(2)
            wait_until(lambda: _blocked(server) == 1)
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            ids += grants(2)
            watchers.wait_for(ids)


@pytest.mark.usefixtures("_asks_again_quickly")
def test_a_restart_is_outlived_and_said_once(
    kind: str, server: Server, grants: Grants, last: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The watch goes on where it was."""
    caplog.set_level(logging.WARNING, "allocator")
    with Watchers(kind, server.url, since=last, timeout=0.2, attempt_timeout=0.1) as watchers:
        ids = grants(2)
        watchers.wait_for(ids)
        server.ask("SAVE")
        server.kill()
        wait_until(lambda: "the watch of pool 'lab' waits" in caplog.text)
        server.start()
        ids += grants(2)
        watchers.wait_for(ids)
    assert caplog.text.count("the watch of pool 'lab' waits") == 1


@pytest.mark.usefixtures("_asks_again_quickly")
def test_a_server_that_does_not_reply_is_noticed(
    kind: str,
    server: Server,
    grants: Grants,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A connection may be dead without a word: it is replaced."""
    monkeypatch.setattr(settings, "HEARTBEAT_S", 0.1)
    with Watchers(kind, server.url, since=last, timeout=0.3, attempt_timeout=0.1) as watchers:
        ids = grants(1)
        watchers.wait_for(ids)
        wait_until(lambda: _readers(server))
        before = _readers(server)
        server.stop_process()
        try:
            wait_until(lambda: caplog.text)
        finally:
            server.cont()
        wait_until(lambda: _readers(server) and not _readers(server) & before)
        ids += grants(1)
        watchers.wait_for(ids)


@pytest.mark.usefixtures("_asks_again_quickly")
def test_who_may_not_block_asks_again(kind: str, server: Server, grants: Grants, last: str) -> None:
    """It is tried once, and events come all the same."""
    server.ask("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-xread")
    try:
        with Watchers(kind, server.url.replace("unix://", "unix://reader:secret@"), 2, since=last) as watchers:
            ids = grants(2)
            watchers.wait_for(ids)
            ids += grants(2)
            watchers.wait_for(ids)
        assert _calls(server, "xread") == 0 or server.info("errorstats").get("errorstat_NOPERM") == "count=1"
    finally:
        server.ask("ACL", "DELUSER", "reader")


def test_a_watch_that_ends_leaves_the_others(server: Server, pool: Allocator, grants: Grants, last: str) -> None:
    """Also where it was the one that read for all; the last one closes the connection."""
    before = len(_clients(server))
    with Watchers("sync", server.url, 1, since=last) as watchers:
        watch = pool.events.watch(since=last)
        ids = grants(1)
        assert next(watch).fields["id"] == ids[0]
        watchers.wait_for(ids)
        watch.close()
        ids += grants(1)
        watchers.wait_for(ids)
    wait_until(lambda: len(_clients(server)) == before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_watches_by_a_connection_of_its_own(
    server: Server, pool: Allocator, grants: Grants, last: str
) -> None:
    """The parent's thread goes on by its own."""
    with Watchers("sync", server.url, 1, since=last) as watchers:
        ids = grants(1)
        watchers.wait_for(ids)
        wait_until(lambda: _blocked(server) == 1)
        client = watchers._client
        assert client is not None
        child = os.fork()
        if not child:
            found = next(client.events.watch(since=last))
            os._exit(0 if found.fields["id"] == ids[0] else 1)
        assert os.waitpid(child, 0)[1] == 0
        ids += grants(2)
        watchers.wait_for(ids)


# -- what is kept ------------------------------------------------------------------------------------------------------


def _entries(first: int, last: int) -> Entries:
    return [(f"{number}-0", ["kind", "granted"]) for number in range(first, last + 1)]


def test_what_is_kept_is_all_there_is_after_a_position() -> None:
    """Who is further behind has to read the store; ids are compared as numbers."""
    tail = EventTail()
    assert tail.after("0") is None
    tail.start("7-0")
    assert tail.after("6-9") is None
    assert tail.after("7-0") == []
    tail.add(_entries(8, 12))
    assert (tail.last, tail.after("9-0"), tail.after("12-0")) == ("12-0", _entries(10, 12), [])
    assert tail.after("9-5") == _entries(10, 12)
    tail.forget()
    assert tail.after("12-0") is None


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are dropped."""
    monkeypatch.setattr(event_tail, "ENTRIES_MAX", 3)
    tail = EventTail()
    tail.start("0")
    tail.add(_entries(1, 2))
    tail.add(_entries(3, 5))
    assert tail.after("1-0") is None
    assert tail.after("2-0") == _entries(3, 5)
