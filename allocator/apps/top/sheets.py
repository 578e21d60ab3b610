"""The tables of `top` as plain values: columns of functions over items, which are sorted, filtered and bounded here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from allocator.apps.cli.output import printable

__all__ = ["SHOWN_MAX", "Column", "Order", "Sheet", "Shown", "arranged", "terms_of"]

T = TypeVar("T")

SHOWN_MAX: Final = 1_000
"""Rows of a table: who needs the others filters, or sorts by what they are about."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column.

    Attributes:
        name: Its header.
        text: The cell of an item at an instant of the server's clock, in milliseconds.
        rank: What it is sorted by; None: it cannot be sorted by this column.
        right: Whether cells stand at the right.
        is_age: Whether the text depends on the instant, so that its width is not measured each time.
        give: Down to how many columns it becomes narrower where the terminal has no room; 0: it does not.
        cut_end: Whether a cell that is too long is cut at its end, not in its middle.
    """

    name: str
    text: Callable[[T, int], str]
    rank: Callable[[T], Any] | None = None
    right: bool = False
    is_age: bool = False
    give: int = 0
    cut_end: bool = False


@dataclass(frozen=True, slots=True)
class Sheet(Generic[T]):
    """One table.

    Attributes:
        title: What its rows are, in the plural.
        columns: Its columns; the first that has a rank sorts it unless another is chosen.
        items: All items that were read.
        total: How many there are; more than `items` where not all were read.
        key: What identifies an item between two readings.
        searched: The text in which a filter looks.
        color: The colour of a row; "" for the usual one.
        empty: What is said where there are no items.
    """

    title: str
    columns: Sequence[Column[T]]
    items: Sequence[T]
    total: int
    key: Callable[[T], str]
    searched: Callable[[T], str]
    color: Callable[[T, int], str]
    empty: str

    def sortable(self) -> list[str]:
        """The names of the columns that it can be sorted by."""
        return [column.name for column in self.columns if column.rank is not None]


@dataclass(frozen=True, slots=True)
class Order:
    """By which column a table is sorted, and whether the other way round; "" is the first that it can be sorted by."""

    by: str = ""
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Shown(Generic[T]):
    """The rows of a table, and what is said about those that are left out."""

    items: Sequence[T]
    note: str
    order: Order


def terms_of(text: str) -> list[str]:
    """The words of a filter: an item matches if it contains each of them, in any case."""
    return text.casefold().split()


def arranged(sheet: Sheet[T], order: Order, pattern: str) -> Shown[T]:
    """The rows that match, sorted, at most `SHOWN_MAX`."""
    terms = terms_of(pattern)
    items: Iterable[T] = sheet.items
    if terms:
        items = [one for one in items if _matches(sheet.searched(one).casefold(), terms)]
    names = sheet.sortable()
    by = order.by if order.by in names else (names[0] if names else "")
    rank = next((column.rank for column in sheet.columns if column.name == by), None)
    found = list(items)
    if rank is not None:
        found.sort(key=sheet.key)
        found.sort(key=rank, reverse=order.reverse)
    shown = found[:SHOWN_MAX]
    return Shown(shown, _note(sheet, len(shown), len(found), by, pattern), Order(by, order.reverse))


def _matches(text: str, terms: Sequence[str]) -> bool:
    return all(term in text for term in terms)


def _note(sheet: Sheet[T], shown: int, found: int, by: str, pattern: str) -> str:
    """How many of how many rows are shown, and why not all."""
    read = len(sheet.items)
    total = max(sheet.total, read)
    key = f" by {by.lower()}" if by and shown < min(found, read) else ""
    if pattern.strip():
        whole = f"{found:,} of {read:,} match" if shown == found else f"first {shown:,} of {found:,} that match{key}"
        searched = [f"searched {read:,} of {total:,}"] if read < total else []
        return ", ".join([whole, *searched, f"filter {printable(pattern.strip())!r}"])
    if shown == total:
        return ""
    return f"first {shown:,} of {total:,}{key}" + (f", {read:,} read" if shown < read < total else "")
