"""A pytest plugin: scripts from another folder, one engine, the likeliest test module first.

`python -m pytest -p tests.mutants.plugin`, with `MUTANT_LUA` and `MUTANT_HINT` in the environment.  The package itself
has no such hook: the loader's own function is replaced before anything is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from allocator._engine import scripts
from tests.support import servers

LAST = ("test_atomicity", "test_contract")
"""What takes longest."""

_folder = Path(os.environ["MUTANT_LUA"])
_first = servers.engines()[:1]
scripts.folder = lambda: _folder
servers.engines = lambda: _first  # type: ignore[assignment]


def _rank(item: pytest.Item) -> tuple[bool, bool]:
    module = item.path.stem
    return module != os.environ.get("MUTANT_HINT"), module in LAST


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that are likeliest to fail first; leave out the in-process store, which vouches for nothing."""
    items[:] = sorted((item for item in items if "[memory" not in item.name), key=_rank)
