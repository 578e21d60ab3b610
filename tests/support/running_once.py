"""Two runs that share what there is to test: the second leaves out what has passed in the first.

Where `ALLOCATOR_TESTS_PASSED` names a file, a run leaves out the tests that stand in it, and adds those that passed.
CI does so: first as on a machine without the programs of `tests.support.tools`, then with all of them.  What differs
with the programs that are there, as the oldest engine does, must differ in the ids of its tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

__all__ = ["PASSED", "pytest_collection_modifyitems", "pytest_sessionfinish"]

PASSED: Final = "ALLOCATOR_TESTS_PASSED"


def _file() -> Path | None:
    name = os.environ.get(PASSED)
    return Path(name) if name else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has passed."""
    path = _file()
    passed = set(path.read_text(encoding="utf-8").splitlines()) if path and path.exists() else set[str]()
    if passed:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
        items[:] = [item for item in items if item.nodeid not in passed]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Add what has passed, from all workers."""
    path, reporter = _file(), session.config.pluginmanager.get_plugin("terminalreporter")
    if path is None or reporter is None or hasattr(session.config, "workerinput"):
        return
    reports: Iterable[pytest.TestReport] = reporter.stats.get("passed", ())
    failed = {report.nodeid for report in (*reporter.stats.get("error", ()), *reporter.stats.get("failed", ()))}
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{report.nodeid}\n" for report in reports if report.nodeid not in failed)
