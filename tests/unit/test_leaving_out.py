"""What is left out of a run, and that it is said: for want of a tool, or as one half of a product."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support import thinning
from tests.support.tools import REQUIRE, TOOLS, Tool, pytest_terminal_summary, require


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that nobody has."""
    monkeypatch.delenv(REQUIRE, raising=False)
    monkeypatch.setitem(TOOLS, "no-such-program", Tool("no-such-program", "nothing", "apt-get install nothing"))


def test_a_tool_that_is_missing_leaves_its_tests_out_or_fails_where_all_is_required(
    missing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI installs all of them: there none may be left out unnoticed."""
    with pytest.raises(pytest.skip.Exception, match=r"needs no-such-program, .*: apt-get install nothing"):
        require("no-such-program")
    monkeypatch.setenv(REQUIRE, "all")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nothing"):
        require("no-such-program")


def test_the_end_of_a_run_says_what_was_left_out_and_how_to_get_it(missing: None) -> None:
    """One line for each tool, and one for whatever else was skipped."""
    why = "Skipped: needs no-such-program, which is not here: apt-get install nothing"
    reports = [SimpleNamespace(longrepr=("file", 1, text)) for text in (why, why, "Skipped: no rights")]
    lines: list[str] = []
    reporter = SimpleNamespace(
        stats={"skipped": reports}, write_line=lines.append, write_sep=lambda _, title: lines.append(title)
    )
    pytest_terminal_summary(cast("pytest.TerminalReporter", reporter))
    assert lines == [
        "left out: 3 tests",
        "    2 for want of no-such-program (nothing): apt-get install nothing",
        "    1 no rights",
    ]


class Item:
    """As much of a test as the rule looks at."""

    def __init__(self, test: str, **params: str) -> None:
        self.nodeid = f"file.py::{test}[{'-'.join(params.values())}]"
        self.callspec = SimpleNamespace(params=params, id="-".join(params.values()))
        self.long = False

    def add_marker(self, name: str) -> None:
        self.long |= name == "long"

    def get_closest_marker(self, _: str) -> None:
        return None


def test_of_each_pair_that_differs_in_the_client_one_is_run() -> None:
    """Each engine is met, both clients are, and what is no such product is run whole."""
    engines, faults = ("new", "older", "old"), ("before", "after")
    whole = [Item("product", kind=k, engine=e, fault=f) for k, e, f in product(("sync", "async"), engines, faults)]
    others = [Item("both", kind=kind, fault="after") for kind in ("sync", "async")] + [Item("one", engine="new")]
    lone = [Item("one kind", kind="async", engine=engine) for engine in engines]
    thinning.pytest_collection_modifyitems(cast("list[Any]", items := [*whole, *others, *lone]))
    run = defaultdict[tuple[str, str], list[str]](list)
    for item in whole:
        if not item.long:
            run[item.callspec.params["engine"], item.callspec.params["fault"]].append(item.callspec.params["kind"])
    assert sorted(run) == sorted(product(engines, faults))
    assert sorted(kind for (kind,) in run.values()) == ["async"] * 3 + ["sync"] * 3
    assert not [item for item in items if item not in whole and item.long]
