"""Many worlds in several processes, each with a server of its own, and a line now and then that says how far it is."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.properties.worlds.run import Wire
from tests.support.servers import Server

AT_ONCE: Final = 2
"""Processes side by side."""

SHOWN: Final = 10
"""Worlds that are told in full, of each process; of those that went wrong alike, one."""

WRONG_MAX: Final = 1000
"""After so many that went wrong a process stops."""

TELL_S: Final = 15.0
"""Seconds between two lines."""


def share(number: int, count: int, seed: int, package: str) -> tuple[Counter[str], list[str]]:
    """What one of the processes does: counts, and reproductions of what went wrong."""
    kind = importlib.import_module(f"{package}.run")
    worlds = kind.Worlds()
    drawn = worlds.drawn(count, seed)
    begin, end = (len(drawn) * at // AT_ONCE for at in (number, number + 1))
    counts: Counter[str] = Counter()
    kinds: dict[str, int] = {}
    with Server() as server:
        wire = Wire(server.socket)
        runner = kind.Runner(wire)
        for case, play in runner.run(worlds[each] for each in _told(drawn[begin:end], number)):
            counts["wrong"] += 1
            alike = "".join(letter for letter in play.problems[0] if not letter.isdigit())[:60]
            if len(kinds) < SHOWN:
                kinds.setdefault(alike, case.number)
            if counts["wrong"] >= WRONG_MAX:
                break
        shown = [kind.reproduction(wire, worlds[each]) for each in kinds.values()]
        wire.close()
    counts.update({"worlds": runner.played, "set-ups": runner.setups})
    return counts, shown


def _told(numbers: Sequence[int], process: int) -> Iterator[int]:
    began = told = time.monotonic()
    for at, number in enumerate(numbers):
        now = time.monotonic()
        if now - told > TELL_S:
            told = now
            speed = at / (now - began)
            sys.stderr.write(f"worlds, process {process}: {at:,} of {len(numbers):,}, {speed:,.0f} a second\n")
            sys.stderr.flush()
        yield number


def play(count: int, seed: int, package: str = "tests.properties.worlds") -> tuple[Counter[str], list[str]]:
    """So many of all, evenly drawn, half of them in each process; or all where there are no more.

    `package` has the worlds: `tests.properties.worlds`, or `tests.properties.lines`.
    """
    counts: Counter[str] = Counter()
    shown: list[str] = []
    with ProcessPoolExecutor(AT_ONCE, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(share, number, count, seed, package) for number in range(AT_ONCE)]:
            found, told = done.result()
            counts += found
            shown += told
    return counts, shown
