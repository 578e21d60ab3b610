"""Files stay under 400 lines, functions under 60: what does not fit on a screen is two things."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.rules.sources import lua_files, python_files, read, relative

FILE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 60


def _python_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function and how many lines its body takes, its docstring apart: contracts may be as long as they need."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[0]
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def _lua_functions(path: Path) -> Iterator[tuple[str, int]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for first, line in enumerate(lines):
        match = re.match(r"( *)(?:local )?function ([\w.]+)", line)
        if match and not line.endswith(" end"):
            last = next(at for at in range(first, len(lines)) if re.match(f"{match[1]}end\\b", lines[at]))
            yield match[2], last - first + 1


def test_a_file_is_shorter_than_400_lines() -> None:
    """Longer ones are several files."""
    files = (*python_files(), *lua_files())
    assert not [relative(path) for path in files if len(read(path).splitlines()) >= FILE_LINES_MAX]


def test_a_function_is_shorter_than_60_lines() -> None:
    """Longer ones are several functions."""
    functions = [
        (relative(path), *function)
        for path in (*python_files(), *lua_files())
        for function in (_lua_functions(path) if path.suffix == ".lua" else _python_functions(path))
    ]
    assert not [function for function in functions if function[2] >= FUNCTION_LINES_MAX]
