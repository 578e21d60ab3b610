"""Denials: which resource of which account was short, and by how much, in exact numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from allocator.serialization import (
    INTEGER,
    OPTIONAL_INSTANT,
    OPTIONAL_INTEGER,
    TEXT,
    Field,
    Value,
    amount,
    checked,
    derived,
    field,
    many,
    read_amount,
    value,
)
from allocator.units import format_amount
from allocator.validation import pool_name


def _amount_of(attribute: str) -> Callable[[Shortage], dict[str, str | int]]:
    return lambda short: amount(short.resource, getattr(short, attribute))


def _amount(attribute: str, name: str = "") -> Field:
    return Field(name or attribute, _amount_of(attribute), attribute, read_amount)


@dataclass(frozen=True, slots=True)
class Shortage(Value):
    """One resource that was short at one level, in exact amounts.

    `level` is `pool`, or the kind of another account (`quota`) whose `name` is given.  `kept` is what the account keeps
    for other scopes, to which it is guaranteed.
    `requested` is what was asked for.  `held` is what a resized allocation has of it already; 0 for a new one.
    `min_unit`, `max_unit` and `step` are the bounds of what one allocation may have of it, where these refuse it; 0 is
    none, also where something else refuses it.
    """

    FORMAT: ClassVar = (
        field("level", "level", TEXT),
        field("name", "name", TEXT),
        field("resource", "resource", TEXT),
        _amount("requested"),
        _amount("allocated"),
        _amount("capacity"),
        _amount("kept"),
        _amount("held"),
        _amount("min_unit", "minUnit"),
        _amount("max_unit", "maxUnit"),
        _amount("step"),
        derived("growth", _amount_of("growth")),
        derived("available", _amount_of("available")),
        derived("short", _amount_of("short")),
    )

    resource: str
    requested: int
    allocated: int
    capacity: int
    level: str = "pool"
    name: str = ""
    kept: int = 0
    held: int = 0
    min_unit: int = 0
    max_unit: int = 0
    step: int = 0

    @property
    def growth(self) -> int:
        """What had to be free: what was requested beyond what is held."""
        return self.requested - self.held

    @property
    def available(self) -> int:
        """What is left; 0 where the account is overcommitted."""
        return max(0, self.capacity - self.allocated - self.kept)

    @property
    def short(self) -> int:
        """How much more would have to be free."""
        return max(0, self.allocated + self.kept + self.growth - self.capacity)

    def __str__(self) -> str:
        def show(amount: int) -> str:
            return format_amount(self.resource, amount)

        bounds = {name: getattr(self, name) for name in ("min_unit", "max_unit", "step")}
        if any(bounds.values()):
            text = " ".join(f"{name}={show(amount)}" for name, amount in bounds.items() if amount)
            return f"{self.resource} requested={show(self.requested)} ({text})"
        more = f" held={show(self.held)} growth={show(self.growth)}" if self.held else ""
        return (
            f"{self.resource} requested={show(self.requested)}{more} available={show(self.available)} "
            f"short={show(self.short)} (allocated={show(self.allocated)} capacity={show(self.capacity)}"
            + (f" kept={show(self.kept)})" if self.kept else ")")
        )


_PASSING = frozenset({"capacity_exceeded", "queued", "queue_full"})
"""The codes of denials that may be over later."""


@dataclass(frozen=True, slots=True)
class Denial(Value):
    """A refused request, with the reason in numbers.  Nothing was changed.  It is falsy, for `if outcome:`.

    `code` is the first that applies, in this order: `unknown_resource` (the pool does not count it),
    `constraint_violation` (whole units only), `unit_violation` (not of the amounts that the pool gives out),
    `never_fits` (more than the whole capacity), `capacity_exceeded`; `queued`: it may fit, but must not pass a request
    that waits in line; `queue_full`: no more may wait.

    On request (`allocate(estimate=True)`, `check(explain=True)`) one that may be over later has an estimate.
    `position`: the request's place in line if it waited now, from 1 on; None: no estimate.  `start_ms`: the earliest
    start there that known deadlines allow, after those before it, without renewals and new requests; None: not
    foreseen, or behind more than 31.
    """

    KIND: ClassVar = "Denial"
    FORMAT: ClassVar = (
        field("code", "code", TEXT),
        derived("never", lambda denial: denial.never),
        field("pool", "pool", checked(pool_name)),
        field("shortages", "shortages", many(value(Shortage))),
        field("item", "item", INTEGER),
        field("position", "position", OPTIONAL_INTEGER),
        field("start_ms", "startAt", OPTIONAL_INSTANT),
    )

    code: str
    pool: str
    shortages: tuple[Shortage, ...]
    item: int = 0
    position: int | None = None
    start_ms: int | None = None

    @property
    def never(self) -> bool:
        """True where waiting cannot help, as only a different configuration of the pool would."""
        return self.code not in _PASSING

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        what = {
            "unknown_resource": "unknown resource",
            "constraint_violation": "whole units only",
            "unit_violation": "outside the unit bounds",
            "never_fits": "never fits",
            "capacity_exceeded": "capacity exceeded",
            "queued": "others wait before it",
            "queue_full": "the line is full",
        }.get(self.code, self.code)
        where = f"pool {self.pool}"
        if self.shortages and self.shortages[0].level != "pool":
            where += f", {self.shortages[0].level} {self.shortages[0].name}"
        numbers = "; ".join(str(shortage) for shortage in self.shortages)
        return f"{what}: {where}: {numbers}" if numbers else f"{what}: {where}"
