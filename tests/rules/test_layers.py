"""The layers of the house, and who may know redis."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from tests.rules.sources import ROOT, python_files

REDIS: Final = (
    "allocator._engine.execution.",
    "allocator._engine.transport.",
    "allocator._async.client",
    "allocator._sync.client",
)
"""The modules that name redis; the two clients for their signatures only."""


def _module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _contracts() -> list[dict[str, Any]]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contracts: list[dict[str, Any]] = table["contracts"]
    return contracts


def test_the_layers_are_kept() -> None:
    """As `make layers` checks them."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_every_module_has_its_layer() -> None:
    """A module that no layer names could import anything."""
    layers = next(contract for contract in _contracts() if contract["type"] == "layers")["layers"]
    named = {word for layer in layers for word in layer.replace("|", " ").replace(":", " ").split()}
    packages = {"allocator", "allocator._engine"}
    modules = {_module(path) for path in python_files("allocator")} - packages
    homeless = {one for one in modules if not any(one == name or one.startswith(f"{name}.") for name in named)}
    assert not homeless
    assert {name for name in named if not any(one == name or one.startswith(f"{name}.") for one in modules)} == set()


def test_only_these_modules_name_redis() -> None:
    """So that another library, or none, could take its place."""
    found: set[str] = set()
    for path in python_files("allocator"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "redis" for name in names):
                found.add(_module(path))
    assert {one for one in found if not one.startswith(REDIS)} == set()
