"""What no text of ours contains, and that every setting says why it is."""

from __future__ import annotations

import ast
import re
from typing import Final

from tests.rules.sources import ROOT, python_files, read, relative, text_files

ABSOLUTE: Final = re.compile(r"(?<![\w.])/(?:home|Users|root|work|mnt|srv)/[\w.]+")
"""Places of one machine."""

REGISTRY: Final = re.compile(r"https?://(?:files\.pythonhosted|pypi|test\.pypi|registry\.npmjs|proxy\.golang)\.")

PICTURES: Final = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")

UNFINISHED: Final = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")

ASLEEP: Final = re.compile(
    r"\b(?:time|asyncio)\.sl" r"eep\(|^from (?:time|asyncio) import .*\bsl" r"eep\b", re.MULTILINE
)


def test_a_text_has_nothing_of_this_machine_and_nothing_unfinished() -> None:
    """No absolute path, no registry host, no picture, no note to oneself."""
    patterns = (ABSOLUTE, REGISTRY, PICTURES, UNFINISHED)
    found = {
        relative(path): hits
        for path in text_files()
        if (hits := [hit for pattern in patterns for hit in pattern.findall(read(path))])
    }
    assert not found


def test_no_test_sleeps() -> None:
    """Turn the clock, or wait for a condition with a deadline (`tests.support.waiting`)."""
    assert not [relative(path) for path in python_files("tests") if ASLEEP.search(read(path))]


def test_the_names_of_tests_are_sentences_and_docstrings_say_why() -> None:
    """At least three words, and a reason."""
    for path in (path for path in python_files("tests") if path.name.startswith("test_")):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert node.name.count("_") >= 3, (relative(path), node.name)
                assert ast.get_docstring(node), f"{relative(path)}: {node.name} has no docstring"


def _settings() -> dict[str, bool]:
    """Each setting, and whether a docstring follows it or the ones that directly follow it."""
    body = ast.parse((ROOT / "allocator" / "settings.py").read_text(encoding="utf-8")).body
    found: dict[str, bool] = {}
    for at, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rest = body[at + 1 :]
            while rest and isinstance(rest[0], ast.AnnAssign) and rest[0].lineno == (body[at].end_lineno or 0) + 1:
                at += 1  # noqa: PLW2901 - a group of settings shares one docstring
                rest = rest[1:]
            documented = bool(rest) and isinstance(rest[0], ast.Expr) and isinstance(rest[0].value, ast.Constant)
            found[node.target.id] = documented
    return found


def test_every_setting_has_its_reason() -> None:
    """A name, a unit and a reason."""
    exempt = {"PREFIX_DEFAULT"}
    assert {name for name, documented in _settings().items() if not documented} <= exempt


def test_every_setting_is_used() -> None:
    """A bound that nothing reads bounds nothing."""
    code = "".join(path.read_text(encoding="utf-8") for path in python_files("allocator") if path.name != "settings.py")
    own = (ROOT / "allocator" / "settings.py").read_text(encoding="utf-8")
    unused = {name for name in _settings() if not re.search(rf"\b{name}\b", code) and own.count(name) < 2}
    assert not unused
