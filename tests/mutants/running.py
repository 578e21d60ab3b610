"""Run tests against a copy of the package and its scripts, in a process that has imported neither before.

Such a process is forked from one that has imported everything else (`PRELOADED`), which is most of what a run costs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.mutant import Mutant, plant

ROOT: Final = Path(__file__).parents[2]

PRELOADED: Final = (__name__, "fakeredis", "lupa.lua51", "redis.asyncio")

TEST_S: Final = 30
"""Seconds that one test may take: a bug that makes one hang is caught as well."""

FAILED: Final = 1
"""pytest's exit status where tests failed; others mean that it did not get so far."""

_COPIED: Final = ("allocator", "lua")

_OPTIONS: Final = (
    "-x", "-q", "--tb=no", f"--timeout={TEST_S}", "--assert=plain", "-p", "no:hypothesispytest",
)  # fmt: skip
"""What explains a failure takes longer than the tests of one module."""


@dataclass(frozen=True)
class Verdict:
    """What became of one run."""

    status: int
    seconds: float
    first_failure: str
    output: str

    @property
    def caught(self) -> bool:
        """Whether a test has failed."""
        return self.status == FAILED


class Narrowing:
    """A pytest plugin: the newest engine only, and no in-process store, which vouches for nothing."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the in-process store out."""
        items[:] = [item for item in items if "[memory" not in item.name]


def run(mutant: Mutant | None, modules: Sequence[str]) -> Verdict:
    """These test modules against a copy with this bug, or with none; up to the first failure."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="allocator-mutant-") as parent:
        root = Path(parent)
        for name in _COPIED:
            shutil.copytree(ROOT / name, root / name)
        if mutant:
            plant(mutant, root)
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            _use(root)
            status = pytest.main([*_OPTIONS, *[str(ROOT / module) for module in modules]], plugins=[Narrowing()])
    failures = [line for line in output.getvalue().splitlines() if line.startswith(("FAILED", "ERROR"))]
    first = failures[0].partition("::")[2].partition(" - ")[0] if failures else ""
    return Verdict(int(status), time.monotonic() - began, first, output.getvalue())


def _use(root: Path) -> None:
    """Import the package from there, and have the tests know one engine."""
    sys.path.insert(0, str(root))
    package = importlib.import_module("allocator")
    assert Path(str(package.__file__)).is_relative_to(root), "the package was imported before"
    servers = importlib.import_module("tests.support.servers")
    first = servers.engines()[:1]
    servers.engines = lambda: first  # type: ignore[attr-defined]
