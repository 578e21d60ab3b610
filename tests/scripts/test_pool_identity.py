"""A pool that is not the one meant, or grants nothing: each script answers as its header says, and writes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from allocator._engine.protocol import scripts
from tests.rules.sources import header, read
from tests.scripts.ledger import MINUTE, T0, Ledger
from tests.scripts.waiting import wait

STATES: Final = ("unknown_pool", "other_epoch", "schema", "offline", "deleting")
"""No pool; one of another epoch than the caller's; one of a newer schema; one that is repaired, or is being deleted."""


class Sent(NamedTuple):
    """A call of a script; `act` returns the reply to each item, or the one reply of a script without items."""

    script: str
    act: Callable[[Ledger], list[Any]]
    variant: str = ""


def _allocate(ledger: Ledger) -> Any:
    return ledger.allocate(ledger.want("c", {"cpu": 1}), ledger.want("d", {"cpu": 1}))


def _adopt(ledger: Ledger) -> Any:
    return ledger.adopt(*(ledger.adopt_line(name, {"cpu": 1}, fence=T0) for name in "cd"), reason="by hand")


def _begin_release(ledger: Ledger) -> Any:
    return ledger.begin_release(*(ledger.begin_release_line(name, MINUTE) for name in "ab"))


def _configure(mode: str) -> Sent:
    return Sent("configure_pool", lambda ledger: [ledger.configure(mode, {"cpu": 11})], f"-{mode}")


SENT: Final = (
    Sent("adopt", _adopt),
    Sent("allocate", _allocate),
    Sent("audit", lambda ledger: [ledger.audit()]),
    Sent("begin_release", _begin_release),
    Sent("check", lambda ledger: [ledger.check({"cpu": 1})]),
    Sent("check_access", lambda ledger: [ledger.run("check_access")]),
    *(_configure(mode) for mode in ("change", "upgrade", "offline", "online", "recovered")),
    Sent("delete_pool", lambda ledger: [ledger.delete()]),
    Sent("delete_quota", lambda ledger: [ledger.delete_quota("team-a")]),
    Sent("find_orphans", lambda ledger: [ledger.run("find_orphans", records=["a"])]),
    Sent("get_allocation", lambda ledger: [ledger.get("a")]),
    Sent("list_allocations", lambda ledger: [ledger.page("pinned")]),
    Sent("list_quotas", lambda ledger: [ledger.list_quotas()]),
    Sent("list_waiters", lambda ledger: [ledger.list_waiters()]),
    Sent("move", lambda ledger: [ledger.move("b", "team-b")]),
    Sent("read_events", lambda ledger: [ledger.read_events()]),
    Sent("read_history", lambda ledger: [ledger.read_history()]),
    Sent("read_pool", lambda ledger: [ledger.run("read_pool")]),
    Sent("reclaim", lambda ledger: [ledger.reclaim()]),
    Sent("reconcile", lambda ledger: ledger.reconcile(("a", 1), ("b", 2), owner="owner", as_of=ledger.now)),
    Sent("release", lambda ledger: ledger.release("a", "b")),
    Sent("renew", lambda ledger: ledger.renew("a", ledger.renew_line("a", ttl=1000, shorten=1))),
    Sent("repair", lambda ledger: [ledger.repair()]),
    Sent("resize", lambda ledger: [ledger.resize("a", {"cpu": 2})]),
    Sent("set_quota", lambda ledger: [ledger.set_quota("team-a", {"cpu": (2, 0, "-")})]),
    Sent("undo", lambda ledger: ledger.undo(("call-of-a", "a"), ("call-of-b", "b"))),
    Sent("withdraw", lambda ledger: ledger.withdraw("w", "x")),
)

EPOCH: Final = "epoch-1"

LOST: Final[dict[str, Callable[[Ledger], Any]]] = {
    "release": lambda ledger: ledger.release(ledger.release_line("a", 1, epoch=EPOCH, known=T0 + MINUTE)),
    "renew": lambda ledger: ledger.renew(ledger.renew_line("a", fence=1, epoch=EPOCH, known=T0 + MINUTE)),
}
"""Calls of a holder, who knows the epoch that granted its lease."""


def _words(script: str) -> set[str]:
    """The replies of a header that are one word."""
    block = header(read(scripts.folder() / scripts.files()[script])).partition("\nReply ")[2].partition("\nWrites ")[0]
    return set(re.findall(r'\{"(\w+)"\}', block))


def _enter(ledger: Ledger, state: str) -> None:
    """Bring the pool into a state; an allocation is past its deadline, one is not, one waits."""
    if state == "unknown_pool":
        return
    ledger.create({"cpu": 10}, epoch=EPOCH)
    ledger.set_quota("team-a", {"cpu": (1, 0, "-")})
    ledger.set_quota("team-b", {"cpu": (1, 0, "-")})
    ledger.grant("a", {"cpu": 1}, ttl=1000)
    ledger.grant("b", {"cpu": 1})
    wait(ledger, "w", {"cpu": 10})
    ledger.now += 2000
    if state == "other_epoch":
        ledger.epoch = "another"
    elif state == "schema":
        ledger.client.hset(ledger.keys["pool"], "schema", 2)
    else:
        ledger.set_state(state)


@pytest.mark.one_store
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("sent", SENT, ids=lambda sent: sent.script + sent.variant)
def test_a_script_that_names_a_state_answers_it_and_writes_nothing(ledger: Ledger, sent: Sent, state: str) -> None:
    """Item by item.  One that does not name it has another answer: a newer schema may be read, and a pool that is
    repaired keeps its leases.
    """
    _enter(ledger, state)
    before = ledger.dump()
    words = [reply[0] for reply in sent.act(ledger)]
    if state in _words(sent.script):
        assert words == [state] * len(words)
        ledger.assert_untouched(before)
    else:
        assert set(words).isdisjoint(STATES)
        if "no-writes" in scripts.load(sent.script).flags:
            ledger.assert_untouched(before)


def test_each_script_is_sent() -> None:
    """One that is added later must not be forgotten."""
    assert {sent.script for sent in SENT} == set(scripts.names())


def test_the_headers_name_the_identity() -> None:
    """Who writes says so of a newer schema, and all but these two ask for the pool that the caller means.

    `undo` gives back also what a pool of another epoch was charged, and `check_access` looks at the server.
    """
    named = {name: _words(name) for name in scripts.names()}
    assert {name for name, words in named.items() if "other_epoch" not in words} == {"undo", "check_access"}
    assert {name for name, words in named.items() if "unknown_pool" not in words} == {
        "undo",
        "check_access",
        "delete_pool",
    }
    writing = {name for name in named if "no-writes" not in scripts.load(name).flags}
    assert {name for name, words in named.items() if "schema" in words} == writing


@pytest.mark.parametrize("script", ["undo", "delete_pool"])
def test_a_pool_that_does_not_exist_has_nothing_to_end(ledger: Ledger, script: str) -> None:
    """These two end something: where there is nothing, that is the answer, and no error."""
    (sent,) = (one for one in SENT if one.script == script)
    assert {reply[0] if isinstance(reply, list) else reply for reply in sent.act(ledger)} == {"absent"}


@pytest.mark.parametrize("script", LOST)
def test_a_pool_that_nobody_deleted_was_lost(pool: Ledger, script: str) -> None:
    """Its holders are answered so, and wait for it to come back; a deleted one is unknown."""
    pool.grant("a", {"cpu": 1})
    pool.client.flushall()
    assert LOST[script](pool) == [["pool_lost"]]
    assert pool.dump() == {}
    pool.create({"cpu": 10}, epoch=EPOCH)
    pool.delete()
    assert LOST[script](pool) == [["unknown_pool"]]


def test_each_script_of_a_holder_is_asked_for_a_lost_pool() -> None:
    """By the headers."""
    assert set(LOST) == {name for name in scripts.names() if "pool_lost" in _words(name)}
