"""What the package shows, and that its two clients are one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any, Final

import pytest

import allocator
from allocator import Allocator, AsyncAllocator
from tests.hygiene.sources import ROOT, relative

ASYNC_ONLY: Final = {("hold", "cancel")}
"""(method, parameter) that only a task has a use for: a thread cannot be cancelled."""

PYTHON_BLOCK: Final = re.compile(r"^```(?:python|py)\n(.*?)^```", re.DOTALL | re.MULTILINE)

DUNDERS: Final = {"__enter__": "__aenter__", "__exit__": "__aexit__"}

AWAITED_ONLY: Final = {("hold", "cancel")}
"""Parameters of the awaited client alone."""


def test_the_public_names_are_sorted_and_there() -> None:
    """`__init__` has the public names and nothing else."""
    assert list(allocator.__all__) == sorted(allocator.__all__)
    assert all(getattr(allocator, name) is not None for name in allocator.__all__)


def test_what_the_documents_import_is_public() -> None:
    """Whoever copies an example must be able to run it."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*.md"))]:
        for block in PYTHON_BLOCK.findall(path.read_text(encoding="utf-8") if path.exists() else ""):
            for names in re.findall(r"^\s*from allocator import (\([^)]*\)|[^(\n]+)$", block, re.MULTILINE):
                used = {name.partition(" as ")[0].strip(" ()\n") for name in names.split(",")} - {""}
                assert used <= set(allocator.__all__), f"{relative(path)}: {used - set(allocator.__all__)}"


def _public(kind: type) -> dict[str, Any]:
    shown = set(DUNDERS) | set(DUNDERS.values()) | {"__init__"}
    return {name: one for name, one in vars(kind).items() if not name.startswith("_") or name in shown}


def _both() -> list[str]:
    return sorted(name for name in _public(Allocator) if name not in DUNDERS)


def test_both_clients_have_the_same_names() -> None:
    """What one can do the other can."""
    renamed = {DUNDERS.get(name, name) for name in _public(Allocator)}
    assert renamed == set(_public(AsyncAllocator))


def _function(kind: type, name: str) -> Callable[..., Any]:
    one = vars(kind)[name]
    if isinstance(one, property):
        one = one.fget
    function: Callable[..., Any] = getattr(one, "__func__", one)
    return function


def _plain(annotation: object) -> str:
    """An annotation as the blocking client would write it."""
    text = str(annotation).replace("Async", "")
    return text.replace("redis.asyncio.", "redis.").replace("asyncio.", "")


@pytest.mark.parametrize("name", _both())
def test_a_method_has_the_same_signature_in_both(name: str) -> None:
    """Parameters, kinds, defaults, annotations, result."""
    blocking, awaited = (inspect.signature(_function(kind, name)) for kind in (Allocator, AsyncAllocator))
    shared = [other for other in awaited.parameters.values() if (name, other.name) not in ASYNC_ONLY]
    assert list(blocking.parameters) == [other.name for other in shared]
    for one, other in zip(blocking.parameters.values(), shared, strict=True):
        assert (one.kind, one.default, _plain(one.annotation)) == (other.kind, other.default, _plain(other.annotation))
    assert _plain(blocking.return_annotation) == _plain(awaited.return_annotation)


@pytest.mark.parametrize("name", _both())
def test_a_method_has_the_same_docstring_in_both(name: str) -> None:
    """What is said of one holds of the other."""
    blocking, awaited = (inspect.getdoc(_function(kind, name)) or "" for kind in (Allocator, AsyncAllocator))
    assert blocking == awaited.replace("redis.asyncio.", "redis.")
    if not name.startswith("__"):
        assert blocking, f"{name} has no docstring"


def _private(kind: type) -> set[str]:
    return {name for name in vars(kind) if name.startswith("_") and not name.endswith("__")}


@pytest.mark.parametrize("kind", [Allocator, AsyncAllocator])
def test_a_method_drives_one_operation_and_decides_nothing(kind: type) -> None:
    """What a verb does is told once, in the operations; a method may at most turn a denial into an error."""
    own = {"__init__", "from_url", "close", "__enter__", "__exit__", "__aenter__", "__aexit__", "__repr__"}
    source = inspect.getsource(kind)
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in own | _private(kind):
            body = [one for one in node.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
            assert len(body) <= 3, f"{kind.__name__}.{node.name} has {len(body)} statements"
            assert not [one for one in ast.walk(node) if isinstance(one, ast.While | ast.Try)]


def test_no_type_is_a_value_or_an_awaitable() -> None:
    """Two clients, so that a type checker knows which."""
    for name in _both():
        assert "Awaitable" not in str(inspect.signature(_function(Allocator, name)))
        assert "Awaitable" not in str(inspect.signature(_function(AsyncAllocator, name)))
