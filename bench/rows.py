"""What is measured, what is wanted of it, and how a figure comes of repeated, alternated measurements."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.stage import Sizes, Stage

__all__ = ["LeftOut", "Result", "Row", "alternate", "by_name", "row"]


class LeftOut(Exception):
    """A row that cannot be measured here, and why."""


@dataclass(frozen=True)
class Result:
    """A figure, its spread over the rounds, and what it was made of."""

    figure: float
    low: float
    high: float
    medians: dict[str, float]
    note: str = ""
    """What stands beside the figure in the table."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    what: str
    at_least: float
    aim: float
    run: Callable[[Stage, Sizes], Result]
    smaller_is_better: bool = False
    unit: str = ""
    engines: frozenset[str] = field(default_factory=frozenset[str])
    """The engines that the aim is for; on others the figure is only told.  Empty: all."""

    def verdict(self, figure: float) -> str:
        """What a figure amounts to: `aim`, `passed` or `MISSED`."""
        sign = -1 if self.smaller_is_better else 1
        if sign * figure >= sign * self.aim:
            return "aim"
        return "passed" if sign * figure >= sign * self.at_least else "MISSED"


_ROWS: Final[list[Row]] = []

_MODULES: Final = (
    "server_rows",
    "policy_rows",
    "pair_rows",
    "client_rows",
    "memory_row",
    "longest_row",
    "watching_rows",
)
"""Where they are defined, in the order of the table."""


def row(name: str, what: str, *, at_least: float, aim: float, **more: Any) -> Callable[[Any], Any]:
    """Add a measurement to the table, in the order of definition."""

    def add(run: Callable[[Stage, Sizes], Result]) -> Callable[[Stage, Sizes], Result]:
        _ROWS.append(Row(name, what, at_least, aim, run, **more))
        return run

    return add


def by_name() -> dict[str, Row]:
    """The rows of the table, in its order."""
    modules = [f"bench.{module}" for module in _MODULES]
    for module in modules:
        importlib.import_module(module)  # adds its rows
    return {one.name: one for one in sorted(_ROWS, key=lambda one: modules.index(one.run.__module__))}


def alternate(rounds: int, ratio: tuple[str, str], **variants: Callable[[], float]) -> Result:
    """Measure variants in turns, and divide one by another.

    The two are divided within each round, so that what a busy machine does to a whole round falls out; the figure is
    the median of these ratios, its spread their quartiles.  The order is turned round from one round to the next.  The
    first round warms everything up and is not counted.
    """
    measured: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        order: Sequence[str] = list(variants) if turn % 2 else list(reversed(variants))
        for name in order:
            measured[name].append(variants[name]())
    counted = {name: values[1:] for name, values in measured.items()}
    ratios = [over / under for over, under in zip(counted[ratio[0]], counted[ratio[1]], strict=True)]
    low, high = (min(ratios), max(ratios)) if len(ratios) < 4 else statistics.quantiles(ratios, n=4)[::2]
    medians = {name: statistics.median(values) for name, values in counted.items()}
    return Result(statistics.median(ratios), low, high, medians)
