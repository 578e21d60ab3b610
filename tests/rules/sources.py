"""The texts that the hygiene tests read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from allocator._engine.protocol import scripts

ROOT: Final = Path(__file__).parents[2]

PYTHON_FOLDERS: Final = ("allocator", "tests", "bench", "examples", "docs", "tools")

READ: Final = (".py", ".lua", ".md", ".toml", ".csv", ".sh", ".yaml", "")
"""The suffixes of what people read."""

COMMENT: Final = re.compile(r"--\[\[.*?\]\]|--[^\n]*", re.DOTALL)


def python_files(*folders: str) -> list[Path]:
    """Our Python files, sorted."""
    return sorted(path for folder in folders or PYTHON_FOLDERS for path in (ROOT / folder).rglob("*.py"))


def lua_files() -> list[Path]:
    """Scripts and modules, sorted."""
    return sorted(scripts.folder().rglob("*.lua"))


def lua_modules() -> list[Path]:
    """Modules, sorted."""
    return sorted((scripts.folder() / "modules").rglob("*.lua"))


def read(path: Path) -> str:
    """A file's text."""
    return path.read_text(encoding="utf-8")


def text_files() -> Iterator[Path]:
    """Every text of ours that people read or programs run."""
    for folder in (*PYTHON_FOLDERS, "lua", ".ci", "deploy"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in READ and "__pycache__" not in path.parts:
                yield path
    yield from sorted(path for path in ROOT.iterdir() if path.suffix in (".md", ".toml") or path.name == "Makefile")


def code(lua: str) -> str:
    """A Lua text without its comments."""
    return COMMENT.sub("", lua)


def header(lua: str) -> str:
    """The block comment at a script's top."""
    return lua.partition("--[[")[2].partition("]]")[0]


def relative(path: Path) -> str:
    """As a person names it."""
    return path.relative_to(ROOT).as_posix()
