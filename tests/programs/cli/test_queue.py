"""The line at the command line: who waits, who is taken out of it, and what is said to those who do not wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from allocator import Allocator, QueuePolicy, Request, RequestWithdrawn, Waiter
from allocator.apps.cli import queue
from allocator.apps.cli.root import root
from allocator.testing import Clock
from tests.programs.cli.conftest import CommandLine
from tests.support.waiters import WAIT_S, begun
from tests.support.waiting import wait_until


@pytest.fixture
def full(pool: CommandLine) -> CommandLine:
    """The pool, whose 32 CPUs are taken for ten minutes."""
    pool("allocate", "cpu=32", "--ttl", "10m", "--id", "full")
    return pool


@contextmanager
def line(client: Allocator, **requests: dict[str, Any]) -> Iterator[list[Any]]:
    """Requests that wait, by their ids."""
    with ExitStack() as stack:
        yield [stack.enter_context(begun(client, **{"id": name, **one})) for name, one in requests.items()]


def test_people_read_who_waits_and_for_what(full: CommandLine, client: Allocator, clock: Clock) -> None:
    """In order, with what is short and the earliest start; the wide format has the rest."""
    small = {"request": {"cpu": 2, "memory": "1Gi"}, "owner": "ctl-1", "metadata": {"k": "v"}}
    with line(client, first={"request": {"cpu": 31}}, small=small, urgent={"request": {"cpu": 1}, "priority": 9}):
        assert full.out("queue", "list") == (
            "ID      POSITION  OWNER      PRIORITY  CPU  MEMORY  WAITING  SHORT OF  STARTS IN\n"
            "urgent  1         anonymous  9         1    -       0s       cpu=1     10m\n"
            "first   2         anonymous  0         31   -       0s       cpu=31    10m\n"
            "small   3         ctl-1      0         2    1Gi     0s       cpu=2     -\n"
        )
        wide = full.out("queue", "list", "-o", "wide").splitlines()
        assert wide[0].split()[-5:] == ["TTL", "SINCE", "UNTIL", "START", "METADATA"]
        assert [row.split()[-1] for row in wide[1:]] == ["-", "-", "k=v"]
        assert len(full.out("queue", "list", "--no-headers").splitlines()) == 3
        assert full.out("queue", "list", "-q") == "urgent\nfirst\nsmall\n"
        shown = full("queue", "list", "default", "--limit", "1")
        assert (len(shown.stdout.splitlines()), shown.stderr) == (
            2,
            "note: 3 requests wait; --limit shows more of them\n",
        )
        assert full.out("usage").endswith("pool default: 1 allocation, 0 pinned, 0 due, 3 waiting\n")
        assert "Waiting:      3\n" in full.out("pool", "show")


def test_requests_that_wait_as_one_are_one_row(full: CommandLine, client: Allocator) -> None:
    """With their number and their sum; the wide format and the document have each of them."""
    pair = [Request({"cpu": 1}, 60, id="a"), Request({"cpu": 2}, 60, id="b")]
    with line(client, single={"request": {"cpu": 3}}), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.allocate_many, pair, atomic=True, wait=WAIT_S)
        wait_until(lambda: waiting.done() or client.pools.usage().waiting == 2, message="a place in line")
        try:
            rows = full.out("queue", "list").splitlines()
            assert [row.split()[:6] for row in rows] == [
                ["ID", "MEMBERS", "POSITION", "OWNER", "PRIORITY", "CPU"],
                ["single", "-", "1", "anonymous", "0", "3"],
                ["a", "2", "2", "anonymous", "0", "3"],
            ]
            assert full.out("queue", "list", "-o", "wide").splitlines()[2].split()[1] == "a,b"
            document = json.loads(full.out("queue", "list", "-o", "json"))
            assert [one["id"] for one in document["items"][1]["members"]] == ["a", "b"]
        finally:
            assert full.out("queue", "withdraw", "b") == "b withdrawn\n"
        with pytest.raises(RequestWithdrawn):
            waiting.result()


def test_a_narrow_terminal_gets_a_row_for_each_waiter(
    full: CommandLine, client: Allocator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the names of the columns; no line is wider than it."""
    monkeypatch.setattr(queue, "room", lambda _: 60)
    with line(client, first={"request": {"cpu": 31}}):
        shown = full.out("queue", "list").splitlines()
    assert shown[0] == "first"
    assert max(map(len, shown)) <= 60
    assert shown[1].split() == ["POSITION", "1", "OWNER", "anonymous", "PRIORITY", "0", "CPU", "31"]


def test_programs_read_the_same(full: CommandLine, client: Allocator) -> None:
    """The whole of each waiter, as the library has it."""
    with line(client, first={"request": {"cpu": 31}, "priority": -3}):
        told = full.json("queue", "list")
        (waiter,) = client.queue.list()
        assert (told["kind"], told["pool"]) == ("WaiterList", "default")
        (item,) = told["items"]
        until_ms = Waiter.from_dict(item).until_ms  # it follows the clock of the waiter's machine
        assert Waiter.from_dict(item) == replace(waiter, until_ms=until_ms)
        assert list(item) == list(waiter.to_fields())
        assert full.json("usage")["waiting"] == 1


def test_a_scope_that_is_short_is_named(pool: CommandLine, client: Allocator) -> None:
    """As the waiter would have to be told by whom it is kept waiting."""
    pool("quota", "set", "team-a", "cpu=1")
    pool("allocate", "cpu=1", "--pin", "--scope", "team-a")
    with line(client, first={"request": {"cpu": 1}, "scope": "team-a"}):
        header, row = pool.out("queue", "list").splitlines()
        assert header.split()[:5] == ["ID", "POSITION", "OWNER", "SCOPE", "PRIORITY"]
        assert "cpu=1@team-a" in row


def test_who_must_not_pass_is_told_so(pool: CommandLine, client: Allocator) -> None:
    """By `allocate`, by `check`, and in the line."""
    pool("allocate", "cpu=16", "--pin")
    with line(client, large={"request": {"cpu": 32}}, small={"request": {"cpu": 1}}):
        error = pool.error("allocate", "cpu=1", "--pin", code=3)
        assert error.startswith("error: others wait before it: pool default: cpu requested=1 available=16 ")
        assert "hint: 'queue list' shows who waits before it; --wait takes a place behind them" in error
        assert pool("check", "cpu=1", code=3).stdout.startswith("no: others wait before it: ")
        assert pool.json("check", "cpu=1", code=3)["denial"]["code"] == "queued"
        assert "its turn" in pool.out("queue", "list").splitlines()[2]
        conflict = pool.error("allocate", "cpu=1", "--pin", "--id", "large", code=1)
        assert "hint: 'queue list' shows the request; 'queue withdraw' takes it out of the line" in conflict


def test_an_empty_line_is_a_note(pool: CommandLine) -> None:
    """No data, and a note."""
    shown = pool("queue", "list")
    assert (shown.stdout, shown.stderr) == ("", "nobody waits in pool default\n")
    assert pool.json("queue", "list")["items"] == []


def test_requests_are_taken_out_of_the_line(full: CommandLine, client: Allocator) -> None:
    """Several at once; who waits for none is exit code 4."""
    requests = {name: {"request": {"cpu": 1}} for name in ("a", "b", "c")}
    with line(client, **requests) as waiting:
        assert full.out("queue", "withdraw", "a") == "a withdrawn\n"
        done = full("queue", "withdraw", "b", "full", "-o", "json", code=4)
        assert [(one["id"], one["outcome"]) for one in json.loads(done.stdout)["items"]] == [
            ("b", "withdrawn"),
            ("full", "absent"),
        ]
        assert done.stderr == "error: nobody waits for full in pool default\n"
        assert full.out("queue", "withdraw", "a", "--ignore-not-found") == ""
        assert full.out("queue", "withdraw", "c", "-q") == "c\n"
        for one in waiting:
            with pytest.raises(RequestWithdrawn):
                one.result(60)
    assert full.json("queue", "list")["items"] == []
    full.out("describe", "full")


def test_allocate_waits_in_line(full: CommandLine, client: Allocator, clock: Clock) -> None:
    """It says why on stderr, and is granted once there is room; in vain it is exit code 3."""
    error = full.error("allocate", "cpu=1", "--pin", "--wait", "0.05s", code=3).splitlines()
    assert error[0].startswith("waiting: capacity exceeded: pool default: cpu requested=1 ")
    assert error[1].startswith("error: capacity exceeded: ")
    assert full.json("queue", "list")["items"] == []
    clock.advance(600)
    granted = full.out("allocate", "cpu=1", "--pin", "--wait", "1h", "--priority", "-5", "--id", "next")
    assert granted.startswith("next granted: cpu=1 ")


def test_a_pool_has_a_policy(cli: CommandLine) -> None:
    """Shown where it is not the usual one, compared by a repeated create, and set by parts."""
    words = ("pool", "create", "lab", "cpu=4", "--queue-policy", "strict")
    cli.out(*words, "--queue-length-max", "7", "--queue-backfill", "on")
    shown = cli.out("pool", "show", "lab")
    assert "Queue policy:" in shown
    assert "strict\n" in shown
    assert "Queue length:" in shown
    assert "Passes" not in shown
    told = cli.json("pool", "show", "lab")["queue"]
    assert told == {
        "policy": "strict", "passesMax": 100, "waitMaxMs": 600_000, "lengthMax": 7, "backfill": True,
        "halfLifeMs": 86_400_000,
    }  # fmt: skip
    assert "unchanged" in cli.out(*words)
    assert (
        "--queue-policy strict" in cli("pool", "create", "lab", "cpu=4", "--queue-policy", "contended", code=1).stderr
    )
    cli.out("pool", "set", "lab", "--queue-wait-max", "5m", "--queue-passes-max", "0", "--queue-half-life", "1h")
    shown = " ".join(cli.out("pool", "show", "lab").split())
    assert "Passed for: 5m" in shown
    assert "Half-life: 1h" in shown
    with Allocator.from_url(cli.url, pool="lab") as client:
        assert client.pools.get().queue == QueuePolicy("strict", 0, 300.0, 7, True, 3600.0)
    wrong = (("policy", "fair"), ("length-max", "100001"), ("wait-max", "5"), ("half-life", "59s"))
    for option, text in ((f"--queue-{name}", text) for name, text in wrong):
        assert option in cli.error("pool", "set", "lab", option, text, code=2)


@pytest.mark.parametrize("words", [("--wait", "8d"), ("--wait", "5"), ("--priority", "1001"), ("--priority", "high")])
def test_what_is_no_wait_is_wrong_usage(pool: CommandLine, words: tuple[str, ...]) -> None:
    """Before anything is asked for."""
    assert words[0] in pool.error("allocate", "cpu=1", "--pin", *words, code=2)


def test_ids_that_wait_are_completed(full: CommandLine, client: Allocator, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `queue withdraw`."""
    monkeypatch.setenv("_RESOURCE_ALLOCATOR_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "resource-allocator queue withdraw ne")
    monkeypatch.setenv("COMP_CWORD", "3")
    with line(client, next={"request": {"cpu": 1}}, other={"request": {"cpu": 1}}):
        done = CliRunner().invoke(root, [], prog_name="resource-allocator")
    assert done.stdout == "plain,next\n"
