"""Pairs of allocate and release a second, by blocking clients, one process or several."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Final

from bench import peer
from bench.peer import python as peer_python
from bench.rows import Result, alternate, row
from bench.stage import Sizes, Stage

__all__ = ["Crew"]

_WORKER: Final = Path(__file__).with_name("pairs.py")
_ROOT: Final = _WORKER.parents[1]

_ANSWER_S: Final = 120.0
"""Seconds that a crew may take for anything; then it is killed."""


class Crew:
    """Processes of one side, which wait until they are told to begin together.

    They are processes of their own and not `multiprocessing`'s, which would hand them this environment's packages: the
    sides are to be alike in all but what they call.
    """

    def __init__(self, python: Path, side: str, url: str, size: int) -> None:
        apart = python != Path(sys.executable)
        environment = {**os.environ, "PYTHONPATH": "" if apart else str(_ROOT)}
        self._members = [
            subprocess.Popen(
                [str(python), "-P", str(_WORKER), side],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(size)
        ]
        for member in self._members:
            _tell(member, url)  # it may have a password in it, and arguments are for all to see

    def await_answers(self, *, only_first: bool = False) -> None:
        """Until each has said that it is done.

        Raises:
            RuntimeError: One has ended, or has taken too long.
        """
        watchdog = threading.Timer(_ANSWER_S, self.kill)
        watchdog.start()
        try:
            for member in self._members[:1] if only_first else self._members:
                if _pipe(member.stdout).readline() != "done\n":
                    raise RuntimeError("a process of the benchmark has ended early, or has taken too long")
        finally:
            watchdog.cancel()
            watchdog.join()

    def per_second(self, stage: Stage, pairs: int) -> float:
        """Pairs a second of all together, in a pool made afresh."""
        stage.fresh()
        _tell(self._members[0], "prepare")
        self.await_answers(only_first=True)
        each = max(1, pairs // len(self._members))
        began = time.perf_counter()
        for member in self._members:
            _tell(member, f"run {each}")
        self.await_answers()
        return each * len(self._members) / (time.perf_counter() - began)

    def kill(self) -> None:
        """End all at once."""
        for member in self._members:
            member.kill()

    def close(self) -> None:
        """Let them end, and see to it."""
        for member in self._members:
            with contextlib.suppress(OSError):  # it has ended already, and does not read any more
                _pipe(member.stdin).close()
        for member in self._members:
            try:
                member.wait(timeout=10)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
            _pipe(member.stdout).close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _tell(member: subprocess.Popen[str], line: str) -> None:
    stream = _pipe(member.stdin)
    stream.write(line + "\n")
    stream.flush()


@contextlib.contextmanager
def _crew(python: Path, side: str, url: str, size: int) -> Generator[Crew]:
    crew = Crew(python, side, url, size)
    try:
        crew.await_answers()
        yield crew
    finally:
        crew.close()


def _pairs(stage: Stage, sizes: Sizes, processes: int, other: str, python: Path) -> Result:
    """All processes of both sides are there throughout; those whose turn it is not wait for a line."""
    with (
        _crew(Path(sys.executable), "ours", stage.url, processes) as ours,
        _crew(python, other, stage.url, processes) as theirs,
    ):
        return alternate(
            sizes.rounds,
            ("ours", "theirs"),
            ours=lambda: ours.per_second(stage, sizes.pairs),
            theirs=lambda: theirs.per_second(stage, sizes.pairs),
        )


@row("pairs-1", "allocate and release, 1 process, v. handwritten", at_least=0.70, aim=0.85)
def pairs_one(stage: Stage, sizes: Sizes) -> Result:
    """What one caller has of it, one call at a time."""
    return _pairs(stage, sizes, 1, "handwritten", Path(sys.executable))


@row("pairs-8", "allocate and release, 8 processes, v. handwritten", at_least=0.80, aim=1.0)
def pairs_several(stage: Stage, sizes: Sizes) -> Result:
    """What callers have of it that compete for the server."""
    return _pairs(stage, sizes, sizes.processes, "handwritten", Path(sys.executable))


@row("peer-1", f"the same, 1 process, v. {peer.NAME} {peer.VERSION}", at_least=1.15, aim=1.5)
def peer_one(stage: Stage, sizes: Sizes) -> Result:
    """It hands out one of a thousand keys, and counts nothing."""
    return _pairs(stage, sizes, 1, peer.NAME, peer_python())


@row("peer-8", f"the same, 8 processes, v. {peer.NAME} {peer.VERSION}", at_least=1.0, aim=1.3)
def peer_several(stage: Stage, sizes: Sizes) -> Result:
    """It hands out one of a thousand keys, and counts nothing."""
    return _pairs(stage, sizes, sizes.processes, peer.NAME, peer_python())
