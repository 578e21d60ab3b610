"""What is left out of a run, and that it is said: for want of a tool, or as one half of a product."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support import running_once, thinning
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

    def __init__(self, test: str, *, mark: str = "", **params: str) -> None:
        self.nodeid = f"file.py::{test}[{'-'.join(params.values())}]"
        self.callspec = SimpleNamespace(params=params, id="-".join(params.values()))
        self.marks = {mark}

    @property
    def long(self) -> bool:
        return "long" in self.marks

    def add_marker(self, name: str) -> None:
        self.marks.add(name)

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


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


def test_of_those_that_differ_in_the_store_alone_one_is_run_where_they_say_so() -> None:
    """Each store is met, and each case; what is not marked is run whole."""
    stores, cases = ("new", "old", "memory"), [f"case{number}" for number in range(9)]
    marked = [Item("a", mark="one_store", ledger=one, case=case) for case, one in product(cases, stores)]
    others = [Item("b", ledger=one, case=case) for case, one in product(cases, stores)]
    thinning.pytest_collection_modifyitems(cast("list[Any]", [*marked, *others]))
    run = [item.callspec.params for item in marked if not item.long]
    assert sorted(each["case"] for each in run) == cases
    assert sorted(each["ledger"] for each in run) == sorted(stores * 3)
    assert not [item for item in others if item.long]


class Session:
    """As much of a run as writes down what has passed."""

    def __init__(self, **stats: list[str]) -> None:
        reports = {name: [SimpleNamespace(nodeid=one) for one in ids] for name, ids in stats.items()}
        plugins = SimpleNamespace(get_plugin=lambda _: SimpleNamespace(stats=reports))
        self.left_out: list[Any] = []
        self.pluginmanager, self.config, self.hook = plugins, self, self

    def pytest_deselected(self, items: list[Any]) -> None:
        self.left_out += items


def test_a_second_run_leaves_out_what_has_passed_in_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left out or failed is run again, by whoever has what it needs."""
    monkeypatch.setenv(running_once.PASSED, str(tmp_path / "passed"))
    session = cast("Any", Session(passed=["a", "b", "ends badly"], skipped=["c"], failed=["d"], error=["ends badly"]))
    items = [SimpleNamespace(nodeid=one) for one in ("a", "b", "c", "d", "ends badly", "new")]
    running_once.pytest_collection_modifyitems(session, first := cast("list[Any]", [*items]))
    running_once.pytest_sessionfinish(session)
    running_once.pytest_collection_modifyitems(session, second := cast("list[Any]", [*items]))
    assert first == items
    assert [item.nodeid for item in second] == ["c", "d", "ends badly", "new"]
    assert session.left_out == items[:2]
