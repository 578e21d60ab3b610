"""The table of planted bugs keeps up with what it is planted in (the bugs themselves are run by `make mutants`)."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import pytest

from allocator._engine.protocol import schema, scripts
from allocator._engine.protocol.linker import link
from tests.mutants.caught import known
from tests.mutants.mutant import Mutant, plant
from tests.mutants.running import ROOT
from tests.mutants.table import MUTANTS

lua51 = pytest.importorskip("lupa.lua51", reason="the extra `embedded` is not installed")

_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)

IDS = [mutant.name for mutant in MUTANTS]


def _linked(root: Path, name: str) -> str:
    """A script's text as it is sent, but for its first line."""
    usual = scripts.ordinary().get(name, ()), scripts.ordinary().get(f"{name}+", ())
    return "\n".join(text for text, _, _ in link(root / "lua", scripts.files()[name], schema.LIMITS, *usual))


@cache
def _files(name: str) -> frozenset[str]:
    """The files that a script's text is of."""
    return frozenset(file for file, _ in scripts.load(name).texts.origins)


@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_a_planted_bug_has_its_place_and_its_tests(mutant: Mutant) -> None:
    """The text that it replaces stands there exactly once."""
    assert mutant.changed(ROOT)
    assert (ROOT / mutant.tests).is_file()


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(one, marks=[pytest.mark.long] if at % 3 else []) for at, one in enumerate(MUTANTS)],
    ids=IDS,
)
def test_a_planted_bug_compiles_and_changes_a_script(mutant: Mutant, tmp_path: Path) -> None:
    """A bug that no server would load is caught by anything, and proves nothing."""
    if mutant.path.endswith(".py"):
        assert ast.dump(ast.parse(mutant.changed(ROOT))) != ast.dump(ast.parse((ROOT / mutant.path).read_text("utf-8")))
        return
    shutil.copytree(ROOT / "lua", tmp_path / "lua")
    plant(mutant, tmp_path)
    for name in scripts.names():
        if _files(name) & {mutant.file, f"scripts/{mutant.file}"}:
            text = _linked(tmp_path, name)
            if text != scripts.load(name).texts.text.partition("\n")[2].rstrip("\n"):
                lua51.LuaRuntime().compile(text)
                return
    pytest.fail("no script has changed")


def test_there_are_enough_and_no_name_is_used_twice() -> None:
    """At least a hundred, over all modules that decide, and the client."""
    assert len(MUTANTS) >= 100
    assert len(set(IDS)) == len(IDS)


def test_the_tests_that_caught_bugs_are_there() -> None:
    """A bug need not be in that table; what is there has a name that a bug has, and a test of its module."""
    modules = {mutant.name: ROOT / mutant.tests for mutant in MUTANTS}
    assert not (strange := known().keys() - modules.keys()), f"no such bugs: {sorted(strange)}"
    names = {path: set(_TEST.findall(path.read_text("utf-8"))) for path in modules.values()}
    functions = {name: test.partition("[")[0].rpartition("::")[2] for name, test in known().items()}
    gone = [name for name, function in functions.items() if function not in names[modules[name]]]
    assert not gone, f"their tests are gone: python -m tests.mutants --keep {shlex.join(gone)}"
