"""Accounts beyond the pool: made, and read, by plain commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.scripts.ledger import Ledger
from tests.scripts.ordinary import TEAM

ALICE, TEAM_A, NODE = TEAM

POOL: Final = {"cpu": 10, "memory": 100}

CAPACITY: Final[dict[str, dict[str, int]]] = {
    ALICE: {"cpu": 4, "memory": 100},
    TEAM_A: {"cpu": 6},
    NODE: {"cpu": 8, "memory": 60},
}
"""`reservation:team-a` has no limit for memory."""


def make(ledger: Ledger, capacity: Mapping[str, Mapping[str, int]] = CAPACITY) -> None:
    """The pool and accounts that have nothing allocated."""
    assert ledger.create(POOL)[0] == "created"
    for name, resources in capacity.items():
        fields = {f"{resource}.capacity": amount for resource, amount in resources.items()}
        ledger.client.hset(key(ledger, name), mapping={"generation": 1, **fields})


def key(ledger: Ledger, name: str) -> str:
    """Of an account."""
    return f"{ledger.keys.base}{name}"


def allocated(ledger: Ledger, name: str) -> dict[str, int]:
    """What an account, or the pool (''), has allocated."""
    fields: dict[str, str] = ledger.client.hgetall(key(ledger, name or "pool"))
    amounts = {field[:-10]: int(text) for field, text in fields.items() if field.endswith(".allocated")}
    return {resource: amount for resource, amount in amounts.items() if amount}


def assert_charged(ledger: Ledger, amounts: Mapping[str, int], names: Iterable[str] = ("", *TEAM)) -> None:
    """That these accounts have this allocated, and all others of `TEAM` and the pool nothing."""
    charged = {name: dict(amounts) if name in names else {} for name in ("", *TEAM)}
    assert {name: allocated(ledger, name) for name in charged} == charged


def named(record: Mapping[str, Any]) -> list[str]:
    """The accounts that a record names, in order."""
    return [record[field] for field in sorted(record) if field.startswith("account.")]
