"""Run tests against a copy of the package and its scripts, in a process that has imported neither before.

Such a process is forked from one that has imported everything else (`PRELOADED`), which is most of what a run costs.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.mutant import Mutant, plant
from tests.support.running_once import PASSED

ROOT: Final = Path(__file__).parents[2]

PRELOADED: Final = (__name__, "fakeredis", "lupa.lua51", "redis.asyncio")

TEST_S: Final = 30
"""Seconds that one test may take: a bug that makes one hang is caught as well."""

_COPIED: Final = ("allocator", "lua")

_OPTIONS: Final = (
    "-x", "-q", "--tb=no", f"--timeout={TEST_S}", "--assert=plain", "-p", "no:hypothesispytest",
)  # fmt: skip
"""What explains a failure takes longer than the tests of one module."""

_BARE: Final = f"--confcutdir={ROOT / 'tests' / 'scripts'}"


@dataclass(frozen=True)
class Verdict:
    """What became of one run."""

    passed: bool
    failed: str
    seconds: float
    output: str

    @property
    def caught(self) -> bool:
        """Whether a test has failed; not where one could not even begin."""
        return bool(self.failed)


@pytest.fixture(scope="session")
def servers() -> Iterator[object]:
    """Those of `tests/conftest.py`, which is left out for the tests of scripts: it imports the clients."""
    with importlib.import_module("tests.support.servers").session_servers() as started:
        yield started


class Narrowing:
    """A pytest plugin: the newest engine only, no in-process store, which vouches for nothing, and only these tests."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._functions = {test.partition("[")[0].rpartition("::")[2] for test in tests}
        self.failed: list[str] = []
        """The tests that have failed, in themselves or by what they left behind."""

    def pytest_pycollect_makeitem(self, name: str, obj: object) -> list[pytest.Item] | None:
        """Make no parameters for functions that are not wanted: they take longer than one test."""
        unwanted = self._functions and inspect.isfunction(obj) and name not in self._functions
        return [] if unwanted else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the in-process store out."""
        items[:] = [item for item in items if "[memory" not in item.name]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what has failed."""
        if report.failed and report.when != "setup":
            self.failed.append(report.nodeid.partition("::")[2])


def run(mutant: Mutant | None, module: str, tests: Sequence[str] = ()) -> Verdict:
    """A module, or these tests of it, against a copy with this bug, or with none; up to the first failure."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="allocator-mutant-") as parent:
        root = Path(parent)
        for name in _COPIED:
            shutil.copytree(ROOT / name, root / name)
        if mutant:
            plant(mutant, root)
        output, plugin = io.StringIO(), Narrowing(tests)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            _use(root)
            options = [*_OPTIONS, *([_BARE] if module.startswith("tests/scripts/") else [])]
            chosen = [f"{ROOT / module}::{test}" for test in tests] or [str(ROOT / module)]
            status = pytest.main([*options, *chosen], plugins=[plugin, sys.modules[__name__]])
    return Verdict(status == 0, "".join(plugin.failed[:1]), time.monotonic() - began, output.getvalue())


def _use(root: Path) -> None:
    """Import the package from there, and have the tests know one engine, and nothing of what has passed."""
    os.environ[PASSED] = ""
    sys.path.insert(0, str(root))
    package = importlib.import_module("allocator")
    assert Path(str(package.__file__)).is_relative_to(root), "the package was imported before"
    servers = importlib.import_module("tests.support.servers")
    first = servers.engines()[:1]
    servers.engines = lambda: first  # type: ignore[attr-defined]
