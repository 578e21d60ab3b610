"""What the server spends of its CPU on an allocation, in microseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.commands import Commands, batches, fill
from bench.rows import Result, alternate, row
from bench.stage import Sizes, Stage

_BATCH: Final = 100


def _on_a_fresh_pool(stage: Stage, calls: int, make: Callable[[int], list[bytes]]) -> Callable[[], float]:
    """Microseconds for one call, each measurement with new ids in a new pool."""

    def measure() -> float:
        commands = make(calls)
        stage.fresh()
        return stage.cpu_us(Stage.EMPTY, commands) / calls

    return measure


@row("own-floor", "allocate, 2 resources, v. own floor", at_least=0.55, aim=0.70)
def own_floor(stage: Stage, sizes: Sizes) -> Result:
    """The checks, the replies and the clock, against the writes alone."""
    commands = Commands(stage)
    commands.compare(stage)
    return alternate(
        sizes.rounds,
        ("floor", "allocate"),
        floor=_on_a_fresh_pool(stage, sizes.calls, commands.own),
        allocate=_on_a_fresh_pool(stage, sizes.calls, commands.allocate),
    )


@row("bare-floor", "allocate, 2 resources, v. bare floor", at_least=0.30, aim=0.40)
def bare_floor(stage: Stage, sizes: Sizes) -> Result:
    """The whole ledger entry, with its event, against the least that could be written."""
    commands = Commands(stage)
    return alternate(
        sizes.rounds,
        ("floor", "allocate"),
        floor=_on_a_fresh_pool(stage, sizes.calls, commands.bare),
        allocate=_on_a_fresh_pool(stage, sizes.calls, commands.allocate),
    )


@row("million", "1,000,000 live v. 0", at_least=1.3, aim=1.2, smaller_is_better=True)
def million(stage: Stage, sizes: Sizes) -> Result:
    """One database has the million, the other none: the two are compared in turns on the same server."""
    commands = Commands(stage)
    stage.fresh(Stage.FULL)
    fill(stage, Stage.FULL, sizes.live)

    def full() -> float:
        return stage.cpu_us(Stage.FULL, commands.allocate(sizes.calls)) / sizes.calls

    try:
        return alternate(
            sizes.rounds,
            ("full", "empty"),
            empty=_on_a_fresh_pool(stage, sizes.calls, commands.allocate),
            full=full,
        )
    finally:
        stage.client(Stage.FULL).flushdb(asynchronous=False)


@row("batch", "batch of 100 v. single calls, each", at_least=1.5, aim=2.0)
def batch(stage: Stage, sizes: Sizes) -> Result:
    """One allocation of a hundred in a script call, against one in a call of its own."""
    commands = Commands(stage)
    return alternate(
        sizes.rounds,
        ("single", "batch"),
        single=_on_a_fresh_pool(stage, sizes.calls, commands.allocate),
        batch=_on_a_fresh_pool(stage, sizes.calls, lambda calls: list(batches(calls, _BATCH))),
    )
