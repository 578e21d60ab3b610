"""What observers are told of a call: its verb is the name of the method, with its namespace."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rules.sources import python_files, read, relative

FILES = [path for part in ("_async", "_sync") for path in python_files(f"allocator/{part}") if path.stem != "__init__"]


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Each call of `self._run`, and the method in which it stands."""
    for kind in [one for one in tree.body if isinstance(one, ast.ClassDef)]:
        for method in [one for one in kind.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]:
            for node in ast.walk(method):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_run":
                    yield method.name, node


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_each_call_is_reported_by_the_name_of_its_method(path: Path) -> None:
    """It is written beside the call, as nothing else of a call knows it."""
    prefix = "" if path.stem == "client" else f"{path.stem}."
    for method, call in _calls(ast.parse(read(path))):
        wanted = "list" if method == "_walk" else method
        assert [ast.literal_eval(one) for one in call.args[1:]] == [prefix + wanted], f"{path}: {method}"
