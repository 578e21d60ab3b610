"""The ordinary way of each script: what is called in the course of a day, with two resources, nothing in its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from allocator import settings
from tests.scripts.ledger import MINUTE, T0, Ledger

REQUEST: Final = {"cpu": 1500, "memory": 2**31}
TEAM: Final = ("reservation:team-a/alice", "reservation:team-a", "node:n1")
"""Accounts beyond the pool, for charges to four."""


@dataclass(frozen=True)
class Way:
    """A call, after what must have been before it, and the first word of its answer."""

    act: Callable[[Ledger], Any]
    word: str
    before: Callable[[Ledger], Any] = lambda _: None


def _grant(ledger: Ledger, accounts: Sequence[str] = ()) -> None:
    ledger.allocate(ledger.want("a", REQUEST, accounts=accounts))


def make_accounts(ledger: Ledger) -> None:
    """The accounts that `TEAM` names, with room."""
    for name in TEAM:
        fields: dict[str, Any] = {"generation": 1, "cpu.capacity": 10**6, "cpu.allocated": 0}
        fields |= {"memory.capacity": 2**40, "memory.allocated": 0}
        ledger.client.hset(f"{ledger.keys.base}{name}", mapping=fields)


def _fence(ledger: Ledger) -> int:
    return int(ledger.record("a")["fence"])


def _full(ledger: Ledger) -> None:
    ledger.grant("full", {"cpu": 10**6}, ttl=0)


def _resize(ledger: Ledger, accounts: Sequence[str] = ()) -> Any:
    return ledger.resize(ledger.resize_line("a", {"cpu": 1400, "memory": 2**30}, fence=_fence(ledger)))


def _renew(ledger: Ledger) -> Any:
    ledger.now += 20
    return ledger.renew(ledger.renew_line("a", fence=_fence(ledger), epoch="epoch-1", known=ledger.now + MINUTE))[0]


def _release(ledger: Ledger) -> Any:
    return ledger.release(ledger.release_line("a", _fence(ledger), epoch="epoch-1", known=ledger.now + MINUTE))[0]


SCOPE: Final = "team-a/alice"


def _limit(ledger: Ledger) -> Any:
    return ledger.set_quota(SCOPE, {"cpu": (10**5, 0, "-"), "memory": (2**38, 0, "-")})


def _grant_in_scope(ledger: Ledger) -> None:
    _limit(ledger)
    ledger.allocate(ledger.want("a", REQUEST, scope=SCOPE))


def _exist(ledger: Ledger) -> Any:
    ledger.now += 20
    return ledger.allocate(ledger.want("a", REQUEST))[0]


def _undo(ledger: Ledger) -> Any:
    return ledger.undo((ledger.record("a")["call"], "a"))[0]


def _lapse(ledger: Ledger) -> None:
    _grant(ledger)
    ledger.now += 2 * MINUTE


WAYS: Final = {
    "allocate": Way(lambda ledger: ledger.allocate(ledger.want("a", REQUEST))[0], "granted"),
    "release": Way(_release, "released", _grant),
    "renew": Way(_renew, "renewed", _grant),
    "resize": Way(_resize, "resized", _grant),
    "check": Way(lambda ledger: ledger.check(REQUEST), "fits"),
    "read_pool": Way(lambda ledger: ledger.run("read_pool"), "usage", _grant),
    "get_allocation": Way(lambda ledger: ledger.get("a"), "record", _grant),
    "list_allocations": Way(lambda ledger: ledger.page("deadlines"), "page", _grant),
    "read_events": Way(lambda ledger: ledger.read_events(count=10), "events", _grant),
    "read_history": Way(lambda ledger: ledger.read_history(ago=MINUTE), "history", _grant),
    "set_quota": Way(_limit, "quota"),
    "list_quotas": Way(lambda ledger: ledger.list_quotas(), "quotas", _limit),
    "delete_quota": Way(lambda ledger: ledger.delete_quota(SCOPE), "deleted", _limit),
    "undo": Way(_undo, "undone", _grant),
    "begin_release": Way(
        lambda ledger: ledger.begin_release(ledger.begin_release_line("a", MINUTE))[0], "releasing", _grant
    ),
    "reclaim": Way(lambda ledger: ledger.reclaim(), "reclaimed", _lapse),
    "reconcile": Way(
        lambda ledger: ledger.reconcile(("a", _fence(ledger)), owner="owner", as_of=ledger.now)[0], "released", _lapse
    ),
    "adopt": Way(
        lambda ledger: ledger.adopt(ledger.adopt_line("a", REQUEST, fence=T0), reason="by hand")[0], "adopted"
    ),
}
"""By script."""

OTHER_WAYS: Final = {
    "allocate": (
        Way(lambda ledger: ledger.allocate(ledger.want("a", REQUEST))[0], "denied", _full),
        Way(_exist, "existing", _grant),
    ),
}
"""Further usual answers."""

OF_FOUR: Final = {
    "allocate": Way(lambda ledger: ledger.allocate(ledger.want("a", REQUEST, accounts=TEAM))[0], "granted"),
    "release": Way(_release, "released", lambda ledger: _grant(ledger, TEAM)),
    "renew": Way(_renew, "renewed", lambda ledger: _grant(ledger, TEAM)),
    "resize": Way(_resize, "resized", lambda ledger: _grant(ledger, TEAM)),
}
"""The same with three accounts beyond the pool."""

OF_SCOPE: Final = {
    "allocate": Way(lambda ledger: ledger.allocate(ledger.want("a", REQUEST, scope=SCOPE))[0], "granted", _limit),
    "release": Way(_release, "released", _grant_in_scope),
    "renew": Way(_renew, "renewed", _grant_in_scope),
    "resize": Way(_resize, "resized", _grant_in_scope),
}
"""The same in a scope that is two deep."""


def prepare(ledger: Ledger) -> None:
    """A pool with room, that the clock has seen, and accounts."""
    ledger.create({"cpu": 10**6, "memory": 2**40})
    set_revision(ledger, 1)
    make_accounts(ledger)


def set_revision(ledger: Ledger, place: int) -> None:
    """So many revisions after one at which old marks are looked for: that is no part of an ordinary way."""
    revision = (ledger.revision // settings.TRIM_EVERY + 1) * settings.TRIM_EVERY + place
    ledger.client.hset(ledger.keys["pool"], "revision", revision)
