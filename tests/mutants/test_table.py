"""The table of planted bugs keeps up with the scripts (the bugs themselves are run by `make mutants`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from allocator._engine import scripts
from tests.mutants.__main__ import ROOT, plant
from tests.mutants.table import MUTANTS, Mutant

lua51 = pytest.importorskip("lupa.lua51", reason="the extra `embedded` is not installed")


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_planted_bug_has_its_place_and_compiles(
    mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that no server would load is caught by anything, and proves nothing."""
    folder = tmp_path / "lua"
    shutil.copytree(scripts.folder(), folder)
    plant(mutant, folder)
    monkeypatch.setattr(scripts, "folder", lambda: folder)
    for name in scripts.names():
        lua51.LuaRuntime().compile(scripts.load.__wrapped__(name).memory_text)
    assert (ROOT / "tests" / "lua" / f"{mutant.hint}.py").is_file()


def test_there_are_enough_and_no_name_is_used_twice() -> None:
    """At least thirty, over all writing scripts and most includes."""
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
