"""Whatever breaks the contract of a header is an error before anything is written, in every script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from allocator._engine.protocol import scripts
from tests.scripts.ledger import MINUTE, T0, Ledger, Line, contract
from tests.scripts.waiting import wait

MALFORMED = ("nan", "-nan", "inf", "-inf", "-1", "1.5", "1e400", "9007199254740992", "", "x", "1 2", "1x")


@dataclass(frozen=True)
class Case:
    """A call that would succeed, and where its numbers stand in ARGV, counted from 0."""

    call: Callable[[Ledger], Any]
    numbers: tuple[int, ...] = (0,)
    items: bool = True


CASES: dict[str, Case] = {
    "allocate": Case(
        lambda pool: pool.allocate(pool.want("n", {"cpu": 1}, meta={"k": "v"})), (0, 2, 9, 10, 11, 12, 14)
    ),
    "adopt": Case(
        lambda pool: pool.adopt(pool.adopt_line("a", {"cpu": 1}, fence=pool.revision)), (0, 10, 11, 12, 14, 16, 17, 19)
    ),
    "begin_release": Case(lambda pool: pool.begin_release(pool.begin_release_line("a", MINUTE)), (0, 7, 8)),
    "audit": Case(lambda pool: pool.audit(), (7,), items=False),
    "check": Case(lambda pool: pool.check({"cpu": 1}), (0, 9, 11, 13), items=False),
    "check_access": Case(lambda pool: pool.run("check_access"), (), items=False),
    "configure_pool": Case(
        lambda pool: pool.configure("change", {"gpu": 1}, remove=["memory"]), (0, 9, 13, 15, 17, 18)
    ),
    "delete_pool": Case(lambda pool: pool.delete(force=1)),
    "delete_quota": Case(lambda pool: pool.delete_quota("team-a")),
    "read_events": Case(lambda pool: pool.read_events(), (6,), items=False),
    "get_allocation": Case(lambda pool: pool.get("a"), (), items=False),
    "find_orphans": Case(lambda pool: pool.run("find_orphans", records=["a"]), (), items=False),
    "list_allocations": Case(lambda pool: pool.page("pinned"), (0, 7), items=False),
    "list_quotas": Case(lambda pool: pool.list_quotas(), (0, 7), items=False),
    "list_waiters": Case(lambda pool: pool.list_waiters(starts=1), (0, 5, 6), items=False),
    "move": Case(lambda pool: pool.move("a", "team-a"), (0, 7)),
    "reclaim": Case(lambda pool: pool.reclaim(age=1), (0, 5, 6), items=False),
    "reconcile": Case(lambda pool: pool.reconcile(("a", pool.revision), owner="owner", as_of=T0), (0, 6, 9)),
    "release": Case(lambda pool: pool.release("a"), (0, 8, 10)),
    "renew": Case(lambda pool: pool.renew(pool.renew_line("a", ttl=5 * MINUTE)), (0, 7, 8, 11)),
    "repair": Case(lambda pool: pool.repair("totals", revision=pool.revision, sums={"cpu": 3}), (0, 9, 10, 12)),
    "resize": Case(lambda pool: pool.resize("a", {"cpu": 2}), (0, 7, 8, 10)),
    "set_quota": Case(lambda pool: pool.set_quota("team-a", {"cpu": (3, 2, 1)}, weight=2), (0, 8, 11, 13, 14, 15)),
    "read_history": Case(lambda pool: pool.read_history(), (0, 5, 6, 7, 8, 9), items=False),
    "read_pool": Case(lambda pool: pool.run("read_pool"), (0,), items=False),
    "undo": Case(lambda pool: pool.undo(("c", "a"))),
    "withdraw": Case(lambda pool: pool.withdraw("w")),
}

WRITING = [name for name in CASES if scripts.load(name).writes]


def test_every_script_has_a_case() -> None:
    """A new script must not slip through."""
    assert sorted(CASES) == scripts.names()


@dataclass
class Spoken:
    """A call as it goes over the wire."""

    pool: Ledger
    text: str
    keys: list[str]
    words: list[str | int]

    def send(self, *, keys: Sequence[str] | None = None, words: Sequence[str | int] | None = None) -> Any:
        return self.pool.send(self.text, self.keys if keys is None else keys, self.words if words is None else words)

    def with_word(self, at: int, word: str | int) -> list[str | int]:
        return [*self.words[:at], word, *self.words[at + 1 :]]


@pytest.fixture
def speak(pool: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Spoken]:
    """Hand a script's call out instead of sending it; in the pool are an allocation, a scope, a waiter."""
    pool.grant("a", {"cpu": 1})
    pool.set_quota("team-a", {"cpu": (2, 0, "-")})
    wait(pool, "w", {"cpu": 10})

    def spell(name: str) -> Spoken:
        said: list[Spoken] = []

        def keep(text: str, keys: Sequence[str], words: Sequence[str | int], *, client: Any = None) -> list[list[str]]:
            said.append(Spoken(pool, text, list(keys), list(words)))
            return [["kept"]]

        with monkeypatch.context() as patch:
            patch.setattr(pool, "send", keep)
            CASES[name].call(pool)
        return said[0]

    return spell


@pytest.mark.breaks_data
@pytest.mark.one_store
@pytest.mark.parametrize("name", CASES)
def test_the_case_itself_keeps_the_contract(speak: Callable[[str], Spoken], name: str) -> None:
    """Or the others would prove nothing."""
    assert speak(name).send()


@pytest.mark.one_store
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].numbers])
def test_a_malformed_number_is_refused_and_nothing_is_written(speak: Callable[[str], Spoken], name: str) -> None:
    """Every number of every script: NaN, infinities, fractions, negatives, overflow, nothing, text."""
    spoken = speak(name)
    before = spoken.pool.dump()
    for at in CASES[name].numbers:
        for malformed in MALFORMED:
            with contract():
                spoken.send(words=spoken.with_word(at, malformed))
    spoken.pool.assert_untouched(before)


@pytest.mark.one_store
@pytest.mark.parametrize("name", WRITING)
def test_a_missing_argument_is_refused_and_nothing_is_written(speak: Callable[[str], Spoken], name: str) -> None:
    """Wherever the list is cut off."""
    spoken = speak(name)
    before = spoken.pool.dump()
    for length in range(len(spoken.words)):
        with contract():
            spoken.send(words=spoken.words[:length])
    spoken.pool.assert_untouched(before)


@pytest.mark.one_store
@pytest.mark.parametrize(
    "name",
    [*WRITING, "check", "list_allocations", "list_quotas", "list_waiters", "audit", "read_events", "check_access"],
)
def test_an_argument_left_over_is_refused_and_nothing_is_written(speak: Callable[[str], Spoken], name: str) -> None:
    """It means that the two sides do not speak of the same items."""
    spoken = speak(name)
    before = spoken.pool.dump()
    for more in ("", "x", "0"):
        with contract():
            spoken.send(words=[*spoken.words, more])
    spoken.pool.assert_untouched(before)


@pytest.mark.one_store
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("check", "find_orphans")])
def test_a_missing_key_is_an_error_and_nothing_is_written(speak: Callable[[str], Spoken], name: str) -> None:
    """However many are missing.  (What fits needs no deadlines, and no records have no index.)"""
    spoken = speak(name)
    before = spoken.pool.dump()
    fixed = len(scripts.load(name).keys)
    for count in range(min(len(spoken.keys), fixed + 1 if CASES[name].items else fixed)):
        with pytest.raises(redis.ResponseError):
            spoken.send(keys=spoken.keys[:count])
    spoken.pool.assert_untouched(before)


@pytest.mark.one_store
@pytest.mark.parametrize("name", [name for name in WRITING if name != "repair"])
def test_a_key_left_over_is_refused_and_nothing_is_written(speak: Callable[[str], Spoken], name: str) -> None:
    """A record without its item.  (repair takes records that belong to no item.)"""
    spoken = speak(name)
    before = spoken.pool.dump()
    with contract():
        spoken.send(keys=[*spoken.keys, spoken.pool.keys.record("more")])
    spoken.pool.assert_untouched(before)


@pytest.mark.parametrize("amount", ["0", "00", "01"])
def test_an_amount_of_nothing_is_neither_granted_nor_adopted(pool: Ledger, amount: str) -> None:
    """Only a resize gives a resource up by it; and a record has full digits."""
    before = pool.dump()
    with contract("amount"):
        pool.allocate(Line("a", "c", ("owner", 0, 2, 0, 0, "cpu.allocated", 1, "memory.allocated", amount)))
    if amount != "01":
        words = ("epoch-1", "owner", pool.revision, T0, 0, "", 0, 0, 1, 0, "cpu.allocated", amount)
        with contract("amount"):
            pool.adopt(Line("a", "c", words), reason="by hand")
    pool.assert_untouched(before)


@pytest.mark.parametrize("notation", ["0x10", "1.6e1", " 16 ", "16.0", "+16", "1e1"])
def test_another_notation_of_a_number_is_not_stored(pool: Ledger, notation: str) -> None:
    """Lua would read it; but what is stored is what was sent, and a person reads digits."""
    before = pool.dump()
    for line in (
        Line("a", "c", ("owner", 0, 1, 0, 0, "memory.allocated", notation)),
        Line("a", "c", ("owner", notation, 1, 0, 0, "memory.allocated", 1)),
    ):
        with contract():
            pool.allocate(line)
    pool.assert_untouched(before)


@pytest.mark.parametrize("notation", ["0x10", "1.6e1", " 16 ", "16.0", "016"])
def test_a_capacity_in_another_notation_than_digits_is_refused_or_stored_in_digits(pool: Ledger, notation: str) -> None:
    """It is read as a number, and written as one."""
    line = Line("", "c", ("change", "", 0, 0, "-", "", 0, 1, 1, "memory", notation, 0))
    if notation == "016":
        pool.run("configure_pool", line)
        assert pool.account["memory.capacity"] == "16"
    else:
        before = pool.dump()
        with contract("amount"):
            pool.run("configure_pool", line)
        pool.assert_untouched(before)


@pytest.mark.parametrize("name", ["allocate", "release", "renew", "undo"])
def test_a_hundred_and_one_items_are_refused_and_nothing_is_written(pool: Ledger, name: str) -> None:
    """The bound of a batch."""
    pool.grant("a0", {"cpu": 1})
    before = pool.dump()
    ids = [f"a{n}" for n in range(101)]
    with contract("items|keys"):
        match name:
            case "allocate":
                pool.allocate(*(pool.want(identity, {"memory": 1}) for identity in ids))
            case "release":
                pool.release(*ids)
            case "renew":
                pool.renew(*ids)
            case _:
                pool.undo(*((pool.new_call(), identity) for identity in ids))
    pool.assert_untouched(before)


def test_more_than_32_resources_or_16_entries_of_metadata_are_refused(pool: Ledger) -> None:
    """And what is refused is not half read."""
    before = pool.dump()
    for resources, entries in ((33, 0), (0, 0), (1, 17)):
        names, meta = {f"r{n}": 1 for n in range(resources)}, {f"k{n}": "v" for n in range(entries)}
        with contract("metadata" if entries else "resources"):
            pool.allocate(pool.want("a", names, meta=meta))
    for resources in (0, 33):
        with contract("resources"):
            pool.check({f"r{n}": 1 for n in range(resources)})
    pool.assert_untouched(before)
    pool.grant("a", {"cpu": 1}, meta={f"k{n}": "v" for n in range(16)})


def test_a_resource_named_twice_is_refused(pool: Ledger) -> None:
    """Which of the two amounts was meant?"""
    before = pool.dump()
    with contract("twice"):
        pool.allocate(Line("a", "c", ("owner", 0, 2, 0, 0, "cpu.allocated", 1, "cpu.allocated", 2)))
    pool.assert_untouched(before)


@pytest.mark.parametrize(("limit", "refused"), [(0, True), (1, False), (200, False), (201, True)])
def test_reclaim_takes_a_limit_from_1_to_200(pool: Ledger, limit: int, refused: bool) -> None:
    """The bounds of its batch."""
    if refused:
        with contract("limit"):
            pool.reclaim(limit=limit)
    else:
        assert pool.reclaim(limit=limit) == ["reclaimed", 0]


@pytest.mark.parametrize("name", ["page", "audit", "events"])
def test_a_page_is_bounded(pool: Ledger, name: str) -> None:
    """500 records or events."""
    calls: dict[str, Callable[[int], Any]] = {
        "page": lambda count: pool.page("pinned", count=count),
        "audit": lambda count: pool.audit("pinned", count=count),
        "events": lambda count: pool.read_events(count=count),
    }
    assert calls[name](500)
    with contract("count"):
        calls[name](501)


@pytest.mark.parametrize(("name", "bound"), [("orphans", 500), ("repair", 100)])
def test_the_records_of_a_look_are_bounded(pool: Ledger, name: str, bound: int) -> None:
    """Keys beyond the bound are refused."""
    ids = [f"a{n}" for n in range(bound + 1)]
    with contract("too many"):
        if name == "orphans":
            pool.run("find_orphans", records=ids)
        else:
            pool.repair(orphans=ids)


@pytest.mark.parametrize("name", CASES)
def test_the_server_compiles_the_script_and_keeps_its_flags(real: Ledger, name: str) -> None:
    """`#!lua` with flags of ours; a reading may run on a replica, which is what `no-writes` is for."""
    script = scripts.load(name)
    assert real.client.script_load(script.texts.text) == script.sha
    assert script.flags <= {"no-writes", "allow-oom"}
