"""What the server spends of its CPU on a call, in microseconds."""

from __future__ import annotations

from collections.abc import Callable

from bench import verbs
from bench.comparing import compare
from bench.rows import Result, alternate, row
from bench.stage import Sizes, Stage
from bench.verbs import MANY, Verb, command, fill

Made = Callable[[Stage, int], list[bytes]]
"""Makes a pool ready for so many calls, and the calls."""


def _each(stage: Stage, calls: int, made: Made, answers: str | None = None) -> Callable[[], float]:
    """Microseconds of the server for one call, or for one item, each measurement in a new pool."""

    def measure() -> float:
        commands = made(stage, calls)
        return stage.cpu_us(Stage.EMPTY, commands, answers) / calls

    return measure


def _against(stage: Stage, sizes: Sizes, verb: Verb, floor: Verb) -> Result:
    """How much of a verb its floor is, or that of another verb."""
    return alternate(
        sizes.rounds,
        ("floor", "verb"),
        floor=_each(stage, sizes.calls, floor.floors),
        verb=_each(stage, sizes.calls, verb.commands, verb.answers),
    )


def _written(stage: Stage, sizes: Sizes, verb: Verb) -> Result:
    """The checks, the reading, the reply and the clock, against the writes alone, which are compared first."""
    compare(stage, verb)
    return _against(stage, sizes, verb, verb)


def _by_the_hundred(stage: Stage, sizes: Sizes, verb: Verb) -> Result:
    """One item in a script call of a hundred, against one in a call of its own."""
    return alternate(
        sizes.rounds,
        ("single", "batch"),
        single=_each(stage, sizes.calls, verb.commands, verb.answers),
        batch=_each(stage, sizes.calls, verb.batches, verb.answers),
    )


@row("allocate", "allocate, 2 resources, v. its own floor", at_least=0.52, aim=0.62)
def allocate(stage: Stage, sizes: Sizes) -> Result:
    """A grant."""
    return _written(stage, sizes, verbs.ALLOCATE)


@row("release", "release v. its own floor", at_least=0.45, aim=0.55)
def release(stage: Stage, sizes: Sizes) -> Result:
    """Of an allocation, as its holder knows it."""
    return _written(stage, sizes, verbs.RELEASE)


@row("renew", "renew v. its own floor", at_least=0.45, aim=0.55)
def renew(stage: Stage, sizes: Sizes) -> Result:
    """By the time to live that the record has."""
    return _written(stage, sizes, verbs.RENEW)


@row("resize", "resize, growing in 2 resources, v. its own floor", at_least=0.45, aim=0.55)
def resize(stage: Stage, sizes: Sizes) -> Result:
    """Of an allocation, as its holder knows it."""
    return _written(stage, sizes, verbs.RESIZE)


@row("denial", "a denial v. the floor of a grant", at_least=0.75, aim=1.0)
def denial(stage: Stage, sizes: Sizes) -> Result:
    """In a pool that one allocation has filled."""
    return _against(stage, sizes, verbs.DENIAL, verbs.ALLOCATE)


@row("existing", "the same id again by another call v. the floor of a grant", at_least=0.55, aim=0.7)
def existing(stage: Stage, sizes: Sizes) -> Result:
    """What a controller does on each of its rounds."""
    return _against(stage, sizes, verbs.EXISTING, verbs.ALLOCATE)


@row("check", "check v. the bare reading", at_least=0.4, aim=0.6)
def check(stage: Stage, sizes: Sizes) -> Result:
    """A request that fits."""
    return _against(stage, sizes, verbs.CHECK, verbs.CHECK)


@row("usage", "usage v. the bare readings", at_least=0.4, aim=0.6)
def usage(stage: Stage, sizes: Sizes) -> Result:
    """The account, and how many allocations there are."""
    return _against(stage, sizes, verbs.USAGE, verbs.USAGE)


@row("get", "get v. the bare readings", at_least=0.4, aim=0.6)
def get(stage: Stage, sizes: Sizes) -> Result:
    """One record."""
    return _against(stage, sizes, verbs.GET, verbs.GET)


@row("batch", f"allocate: batch of {MANY} v. single calls, each", at_least=1.5, aim=2.0)
def batch(stage: Stage, sizes: Sizes) -> Result:
    """What `allocate_many` and the asyncio client send."""
    return _by_the_hundred(stage, sizes, verbs.ALLOCATE)


@row("release-many", f"release: batch of {MANY} v. single calls, each", at_least=2.5, aim=4.0)
def release_many(stage: Stage, sizes: Sizes) -> Result:
    """What `release_many` sends."""
    return _by_the_hundred(stage, sizes, verbs.RELEASE)


@row("renew-many", f"renew: batch of {MANY} v. single calls, each", at_least=4.0, aim=5.0)
def renew_many(stage: Stage, sizes: Sizes) -> Result:
    """What keeps the leases of a process."""
    return _by_the_hundred(stage, sizes, verbs.RENEW)


@row("accounts", "a charge of 4 accounts v. 1", at_least=1.9, aim=1.6, smaller_is_better=True)
def accounts(stage: Stage, sizes: Sizes) -> Result:
    """A charge of four accounts against one of the pool's alone."""
    one, four = verbs.charging(1), verbs.charging(4)
    return alternate(
        sizes.rounds,
        ("four", "one"),
        one=_each(stage, sizes.calls, one.commands, one.answers),
        four=_each(stage, sizes.calls, four.commands, four.answers),
    )


@row("million", "1,000,000 live v. 0", at_least=1.2, aim=1.15, smaller_is_better=True)
def million(stage: Stage, sizes: Sizes) -> Result:
    """One database has the million, the other none: the two are compared in turns on the same server."""
    verb = verbs.ALLOCATE
    stage.fresh(Stage.FULL)
    fill(stage, Stage.FULL, sizes.live)

    def full() -> float:
        commands = [command(stage, verb.call(one)) for one in verb.prepare(stage, sizes.calls)]
        return stage.cpu_us(Stage.FULL, commands, verb.answers) / sizes.calls

    try:
        return alternate(
            sizes.rounds,
            ("full", "empty"),
            empty=_each(stage, sizes.calls, verb.commands, verb.answers),
            full=full,
        )
    finally:
        stage.client(Stage.FULL).flushdb(asynchronous=False)
