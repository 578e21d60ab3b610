"""The tables of the documents are whole: stored fields, kinds of events, methods, replies, rights."""

from __future__ import annotations

import asyncio
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import pytest
import redis

from allocator import (
    Allocator,
    AsyncAllocator,
    Limit,
    PreemptionPolicy,
    QueuePolicy,
    Recovering,
    ResourceUnits,
    access,
    settings,
)
from allocator._base import NAMESPACES
from allocator._engine.execution.driver import Driver
from allocator._engine.operations import pools, undo
from allocator._engine.protocol.keys import pool_keys
from allocator.apps.cli.root import root
from tests.docs.blocks import ROOT, blocks
from tests.support.servers import Server
from tests.support.waiters import begun
from tests.support.waiting import wait_until_async

DOCS: Final = ROOT / "docs"
POOL: Final = "allocator:{default}:pool"
_TICKED: Final = re.compile(r"`([^`]+)`")


def first_column(path: Path, heading: str, column: str) -> set[str]:
    """What stands in ticks in the first column of the table that begins with `column`, under a heading."""
    part = f"\n{path.read_text(encoding='utf-8')}".partition(f"\n{heading}\n")[2]
    table = part.partition(f"| {column} | ")[2].partition("\n\n")[0]
    rows = [row.split(" | ")[0] for row in table.splitlines()[2:]]
    assert rows, f"{path} has no such table under {heading}"
    return {name for row in rows for name in _TICKED.findall(row)}


def general(names: set[str]) -> set[str]:
    """Field names with the resource and the metadata's key left open, as the tables have them."""
    ends = "capacity|total|allocated|kept|guaranteed|nominal|borrowing_limit|lending_limit"
    open_resource = {re.sub(rf"^.+(?=\.({ends})$)", "<resource>", name) for name in names}
    counted = {re.sub(r"^(denied\.)?.+_count$", _counter, name) for name in open_resource}
    return {re.sub(r"^meta\..+", "meta.<key>", name) for name in counted}


def _counter(match: re.Match[str]) -> str:
    return "denied.<code>_count" if match[1] else "<kind>_count"


@pytest.fixture
def store(one_server: Server) -> Iterator[Any]:
    """The server as redis-cli sees it."""
    with redis.Redis.from_url(one_server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def client(one_server: Server) -> Iterator[Allocator]:
    """A client, and a pool that counts two resources, one of them in whole units."""
    with Allocator.from_url(one_server.url) as made:
        made.pools.create("default", {"cpu": 4, "nvidia.com/gpu": 2}, whole_units=["nvidia.com/gpu"])
        yield made


def run(client: Allocator, operation: Any) -> None:
    """Perform what no method of the client offers by itself."""
    driver: Driver = client._driver
    driver.run(operation)


def fill_ended(store: Any) -> None:
    """So many ended calls that the next one makes the pool forget one before its time."""
    script = "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], redis.call('TIME')[1] * 1000, i) end"
    store.eval(script, 1, "allocator:{default}:ended", settings.ENDED_MAX)


def skip_the_deadline(store: Any, identity: str) -> None:
    """As if the server's clock had been set forward by an hour, over the deadline of a long lease."""
    store.hincrby(POOL, "clock_ms", -3_600_000)
    store.hincrby(f"allocator:{{default}}:allocation:{identity}", "ttl_ms", 36_000_000)
    store.hincrby(f"allocator:{{default}}:allocation:{identity}", "deadline_ms", -120_000)
    store.zincrby("allocator:{default}:deadlines", -120_000, identity)


async def wait_in_a_long_line(store: Any, url: str) -> set[str]:
    """More requests than one call looks at wait, the first of them passed once; returns the pool's fields meanwhile."""
    async with AsyncAllocator.from_url(url) as client:
        await client.pools.update(queue=QueuePolicy("best_effort"))
        full = await client.allocate({"cpu": 3}, ttl=60)
        waiting = [
            asyncio.create_task(client.allocate({"cpu": 2 + n % 2}, ttl=60, wait=60))
            for n in range(settings.WAITERS_LOOKED_MAX + 2)
        ]
        await wait_until_async(lambda: store.zcard("allocator:{default}:waiting") == len(waiting), message="in line")
        await client.release(await client.allocate({"cpu": 1}, ttl=60))
        seen = set(store.hgetall(POOL))
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for one in await client.queue.list():
            await client.queue.withdraw(one.id)
        await client.release(full)
    return seen


def test_the_fields_of_the_pool_are_those_that_the_keyspace_page_names(
    client: Allocator, store: Any, one_server: Server
) -> None:
    """Each field, also those that are there only at times."""
    seen = asyncio.run(wait_in_a_long_line(store, one_server.url))
    assert {name for name in store.hgetall(POOL) if name.startswith("waiting_")} <= {"waiting_count"}
    assert not client.try_allocate({"cpu": 100}, ttl=60)
    client.quotas.set("team-a", weight=1)
    held = [client.allocate({"cpu": 1}, ttl=60) for _ in range(4)]
    client.quotas.set("team-a", {"cpu": Limit(1, 0, 0)})
    fill_ended(store)
    client.release(held[0])
    client.pools.update(recovery_grace=60, max_ttl=60, units={"cpu": ResourceUnits(overcommit_permille=1)})
    store.hset(POOL, "run_id", "another server")
    with pytest.raises(Recovering):
        client.allocate({"cpu": 1}, ttl=60)
    # As if the clock had been set back, then forth twice.
    for turned_ms, one in ((3_600_000, held[1]), (-7_200_000, held[2]), (-3_600_000, held[3])):
        store.hincrby(POOL, "clock_ms", turned_ms)
        client.release(one.id)
    run(client, pools.set_state(pool_keys("default", "allocator"), "offline"))
    assert general({*seen, *store.hgetall(POOL)}) == first_column(DOCS / "keyspace.md", "## pool", "field")


def test_the_fields_of_a_record_are_those_that_the_keyspace_page_names(client: Allocator, store: Any) -> None:
    """Of two leases with metadata, which have all of them; a pinned one lacks some."""
    client.allocate({"cpu": 1}, ttl=60, id="lease", metadata={"course": "os-101"}, max_lifetime=86_400)
    client.allocate({"cpu": 1}, ttl=60, id="shared")
    store.hincrby("allocator:{default}:allocation:shared", "granted_ms", -5)
    client.allocate({"cpu": 1}, ttl=60, id="shared")
    client.allocate({"cpu": 1}, ttl=None, id="pinned")
    client.begin_release("lease", grace=60)
    skip_the_deadline(store, "lease")
    client.maintenance.reclaim()
    lease = general(set(store.hgetall("allocator:{default}:allocation:lease")))
    lease |= general(set(store.hgetall("allocator:{default}:allocation:shared"))) | {"account.<n>", "unclaimed_ttl_ms"}
    lease |= {"priority", "preempted_by", "share", "share_of"}
    assert lease == first_column(DOCS / "keyspace.md", "## allocation:\\<id\\>", "field")
    pinned = general(set(store.hgetall("allocator:{default}:allocation:pinned")))
    assert lease - pinned == {
        "ttl_ms", "deadline_ms", "meta.<key>", "releasing_ms", "gap_ms", "asserted_ms", "ttls", "told", "account.<n>",
        "ends_ms", "unclaimed_ttl_ms", "priority", "preempted_by", "share", "share_of",
    }  # fmt: skip


def test_the_fields_of_a_waiter_are_those_that_the_keyspace_page_names(client: Allocator, store: Any) -> None:
    """Of one that asks for all there is, and preempts, of a scope with a weight."""
    client.quotas.set("team-a", {"cpu": 4}, weight=1)
    client.pools.update(preemption=PreemptionPolicy(True))
    full = client.allocate({"cpu": 4}, ttl=60)
    options: dict[str, Any] = {"metadata": {"course": "os-101"}, "max_lifetime": 600, "scope": "team-a"}
    options |= {"priority": 1, "preempt": True}
    with begun(client, {"cpu": 1}, id="next", **options):
        fields = general(set(store.hgetall("allocator:{default}:waiter:next")))
    assert client.queue.list() == []
    shown = {
        re.sub(r"^requested\..+", "requested.<resource>", re.sub(r"^account\..+", "account.<n>", one)) for one in fields
    }
    assert shown == first_column(DOCS / "keyspace.md", "## waiter:\\<id\\>, waiting, waiting_by_scope, gangs", "field")
    client.release(full)


def test_the_fields_of_a_quota_are_those_that_the_keyspace_page_names(client: Allocator, store: Any) -> None:
    """Of one that has all limits and a weight, guarantees something below it, and has something."""
    client.quotas.set("team-a", {"cpu": Limit(3, 1, 1)}, weight=2)
    client.allocate({"nvidia.com/gpu": 1}, ttl=60, scope="team-a")
    client.quotas.set("team-a/alice", {"cpu": Limit(1, 0, 0)})
    stored = general(set(store.hgetall("allocator:{default}:quota:team-a")))
    assert stored == first_column(DOCS / "keyspace.md", "## quota:\\<scope\\>", "field")


def test_the_keys_of_a_pool_are_those_that_the_keyspace_page_names(client: Allocator, store: Any) -> None:
    """While it lives; and two minutes after its deletion there is none."""
    client.pools.update(preemption=PreemptionPolicy(True))
    store.hincrby(POOL, "history_ms", -3_600_000)
    client.allocate({"cpu": 1}, ttl=60, id="lease")
    client.release(client.allocate({"cpu": 1}, ttl=None))
    client.allocate({"cpu": 1}, ttl=None)
    client.quotas.set("team-a/alice", {"cpu": 1}, weight=1)
    store.zadd("allocator:{default}:gangs", {"b a": 0})
    with begun(client, {"cpu": 4}):
        keys = {key.partition("}:")[2] for key in store.scan_iter()}
    shown = {re.sub(r"^(allocation|waiter):.+", r"\1:<id>", re.sub(r"^quota:.+", "quota:<scope>", key)) for key in keys}
    assert shown == first_column(DOCS / "keyspace.md", "# What is stored", "key")
    assert {key for key in store.scan_iter() if store.ttl(key) != -1} == set()

    client.pools.delete("default", force=True)
    assert {key: store.ttl(key) for key in store.scan_iter()} == {
        "allocator:{default}:ended": pytest.approx(settings.ENDED_KEEP_MS / 1000, abs=2)
    }


@pytest.mark.breaks_data
def test_the_kinds_and_fields_of_events_are_those_that_the_keyspace_page_names(client: Allocator, store: Any) -> None:
    """Each kind has a story that ends in it."""
    held = client.allocate({"cpu": 1}, ttl=60, id="a")
    client.resize(held, {"cpu": 2})
    client.quotas.set("team-a", {"cpu": 4})
    client.move(held, "team-a")
    client.move(held, None)
    client.quotas.delete("team-a")
    client.renew(held, ttl=30, shorten=True)
    call = store.hget("allocator:{default}:allocation:a", "call")
    run(client, undo.undo(pool_keys("default", "allocator"), [(call, "a")]))
    client.allocate({"cpu": 1}, ttl=None, id="shared")
    client.allocate({"cpu": 1}, ttl=None, id="shared")
    call = store.hget("allocator:{default}:allocation:shared", "call").split()[0]
    run(client, undo.undo(pool_keys("default", "allocator"), [(call, "shared")]))
    client.maintenance.reclaim(older_than=0)
    client.pools.update(None, {"cpu": 8}, preemption=PreemptionPolicy(True, grace=0))
    client.options(owner="another").allocate({"cpu": 8}, ttl=60, owner="me")
    client.release(client.allocate({"cpu": 8}, ttl=60, wait=5, priority=1, preempt=True))
    store.hincrby(POOL, "cpu.allocated", 1000)
    client.maintenance.audit(repair=True)
    store.zadd("allocator:{default}:deadlines", {"never-there": 1})
    client.maintenance.reclaim()
    held = client.allocate({"cpu": 1}, ttl=60)
    fill_ended(store)
    client.release(held)
    store.hincrby(POOL, "revision", -1_000)
    lease = client.allocate({"cpu": 1}, ttl=60, id="b")
    skip_the_deadline(store, "b")
    client.maintenance.reclaim()
    client.begin_release(lease, grace=60)
    with begun(client, {"cpu": 8}):
        pass
    client.adopt(replace(lease, id="c"), force="a reason")
    client.release_many(["b", "c"])
    client.maintenance.reclaim(older_than=0)
    client.pools.update(recovery_grace=60, max_ttl=60)
    store.hset(POOL, "run_id", "another server")
    with pytest.raises(Recovering):
        client.allocate({"cpu": 1}, ttl=60)

    entries = [fields for _, fields in store.xrange("allocator:{default}:events")]
    kinds = {fields["kind"] for fields in entries}
    # The stream goes with the pool: `deleted` is seen only while a large one is being deleted.
    assert kinds | {"deleted"} == first_column(DOCS / "keyspace.md", "## events", "kind")
    assert general({name for fields in entries for name in fields}) == first_column(
        DOCS / "keyspace.md", "## events", "field"
    )


@pytest.mark.parametrize("client_class", [Allocator, AsyncAllocator])
def test_the_readme_names_every_method(client_class: type) -> None:
    """And none that is not there."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| method | does | calls |\n")[2]
    rows = [row.split(" | ")[0] for row in table.partition("\n\n")[0].splitlines()[1:]]
    named = {name.partition("(")[0] for row in rows for name in _TICKED.findall(row)}
    assert named == set(_methods(client_class))


@pytest.mark.parametrize("client_class", [Allocator, AsyncAllocator])
def test_the_readme_names_every_argument(client_class: type) -> None:
    """In their order, those that are passed by name with `=`; `...` stands for the arguments of `allocate`."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| method | does | calls |\n")[2]
    rows = [row.split(" | ")[0] for row in table.partition("\n\n")[0].splitlines()[1:]]
    shown = {call.partition("(")[0]: call.partition("(")[2][:-1] for row in rows for call in _TICKED.findall(row)}
    if client_class is Allocator:
        shown["hold"] = shown["hold"].removesuffix(", cancel=")
    shown = {name: arguments.replace("...", shown["allocate"]) for name, arguments in shown.items()}
    assert shown == {name: ", ".join(_arguments(method)) for name, method in _methods(client_class).items()}


def _methods(client_class: type) -> dict[str, Any]:
    """Of the client and of its namespaces."""
    methods = {name: one for name, one in inspect.getmembers(client_class, callable) if not name.startswith("_")}
    client = client_class.from_url("memory://")  # type: ignore[attr-defined]
    for place in NAMESPACES:
        members = vars(type(getattr(client, place)))
        methods |= {f"{place}.{name}": one for name, one in members.items() if not name.startswith("_")}
    return methods


def _arguments(method: Any) -> Iterator[str]:
    """Its arguments as the README writes them."""
    for name, one in inspect.signature(method).parameters.items():
        if name != "self":
            yield f"{name}=" if one.kind is one.KEYWORD_ONLY else name


def test_the_changelog_names_every_reply() -> None:
    """The wire is what versions agree on, so a new word is news."""
    table = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("| script | ")[2].partition("\n\n")[0]
    rows = [_TICKED.findall(row) for row in table.splitlines()[2:]]
    shown = {words[0]: set(words[1:]) for words in rows}
    headers = {
        path.stem: path.read_text(encoding="utf-8").partition("\n]]\n")[0] for path in ROOT.glob("lua/scripts/*/*.lua")
    }
    replies = {name: header.partition("\nReply")[2].partition("\nWrites")[0] for name, header in headers.items()}
    assert shown == {name: set(re.findall(r'\{"(\w+)"', reply)) for name, reply in replies.items()}


def test_the_decisions_are_all_listed() -> None:
    """And numbered without a gap."""
    pages = sorted(path.name for path in DOCS.glob("adr/[0-9]*.md"))
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (DOCS / "adr" / "README.md").read_text(encoding="utf-8"))
    assert listed == pages
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))


def test_the_cron_job_that_is_shown_is_a_command_that_exists() -> None:
    """The line of the crontab; `tests/programs/deploy` has the manifests."""
    (crontab, *_) = [each.text for each in blocks(DOCS / "operations.md") if each.language == "sh"]
    program, verb, *options = crontab.splitlines()[-1].split()[5:]
    assert Path(program).name == "resource-allocator"
    command = root.get_command(click.Context(root), verb)
    assert command is not None
    command.make_context(verb, options, resilient_parsing=True)


# -- rights ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["controller", "inspector", "cron"])
def test_the_rights_that_are_shown_are_those_that_are_printed(role: str) -> None:
    """`tests/programs/cli` tries them on servers."""
    shown = [block.text for block in blocks(DOCS / "operations.md") if block.language == "console"]
    assert any(shlex.join(("redis-cli", *access.user(role).command())) in text for text in shown)
