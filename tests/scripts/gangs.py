"""Atomic batches that wait in line, for the tests of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.scripts.ledger import MINUTE, Ledger, Line

__all__ = ["PAIR", "Gang", "enter", "gang", "words"]

Wanted: TypeAlias = Mapping[str, Mapping[str, int]]
"""What each member asks for, by its id."""


PAIR: Final[Wanted] = {"a": {"cpu": 4}, "b": {"cpu": 4}}


@dataclass(frozen=True)
class Gang:
    """A batch that is sent with `wait`, and again until it is granted."""

    pool: Ledger
    lines: tuple[Line, ...]
    last: tuple[Line, ...]

    def ask(self, *, by: int = 0) -> Any:
        """The replies to its client, which asks (again), some time later."""
        self.pool.now += by
        return self.pool.allocate(*self.lines, atomic=1)

    def hear(self, *, by: int = 0) -> list[str]:
        """The first words of these."""
        return words(self.ask(by=by))

    def give_up(self) -> list[str]:
        """The first words of the replies to its last try."""
        return words(self.pool.allocate(*self.last, atomic=1))

    def undo(self) -> list[str]:
        """Its caller will not hear of it."""
        return words(self.pool.undo(*((line.call, line.id) for line in self.lines)))


def words(replies: Any) -> list[str]:
    """The first word of each."""
    return [reply[0] for reply in replies]


def gang(pool: Ledger, wanted: Wanted, *, ms: int = MINUTE, **options: Any) -> Gang:
    """A batch that is not sent yet."""
    lines = tuple(pool.want(name, asked, wait=ms, **options) for name, asked in wanted.items())
    last = tuple(
        pool.want(line.id, asked, **{**options, "call": line.call})
        for line, asked in zip(lines, wanted.values(), strict=True)
    )
    return Gang(pool, lines, last)


def enter(pool: Ledger, wanted: Wanted, **options: Any) -> Gang:
    """A batch that waits by now."""
    waiting = gang(pool, wanted, **options)
    replies = waiting.ask()
    assert words(replies) == ["waiting"] * len(waiting.lines), replies
    return waiting
