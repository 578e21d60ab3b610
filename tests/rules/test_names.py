"""What the package shows, and that its two clients are one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import pytest

import allocator
from allocator import Allocator, AsyncAllocator
from allocator._async.events import AsyncEvents
from allocator._async.maintenance import AsyncMaintenance
from allocator._async.pools import AsyncPools
from allocator._async.quotas import AsyncQuotas
from allocator._base import MOVED, Client
from allocator._sync.events import Events
from allocator._sync.maintenance import Maintenance
from allocator._sync.pools import Pools
from allocator._sync.quotas import Quotas
from tests.rules.sources import ROOT, relative

ASYNC_ONLY: Final = {("hold", "cancel")}
"""(method, parameter) that only a task has a use for: a thread cannot be cancelled."""

PYTHON_BLOCK: Final = re.compile(r"^```(?:python|py)\n(.*?)^```", re.DOTALL | re.MULTILINE)

DUNDERS: Final = {"__enter__": "__aenter__", "__exit__": "__aexit__"}


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


PAIRS: Final = {
    Allocator: AsyncAllocator, Pools: AsyncPools, Quotas: AsyncQuotas, Events: AsyncEvents,
    Maintenance: AsyncMaintenance,
}  # fmt: skip
"""Each class of the blocking surface, and the awaited one's."""


def _public(kind: type) -> dict[str, Any]:
    shown = set(DUNDERS) | set(DUNDERS.values()) | {"__init__"}
    return {name: one for name, one in vars(kind).items() if not name.startswith("_") or name in shown}


def _both() -> list[tuple[type, str]]:
    return [(kind, name) for kind in PAIRS for name in sorted(_public(kind)) if name not in DUNDERS]


@pytest.mark.parametrize(("kind", "twin"), PAIRS.items())
def test_both_clients_have_the_same_names(kind: type, twin: type) -> None:
    """What one can do the other can."""
    assert {DUNDERS.get(name, name) for name in _public(kind)} == set(_public(twin))


def _function(kind: type, name: str) -> Callable[..., Any]:
    one = vars(kind)[name]
    if isinstance(one, cached_property):
        one = one.func
    function: Callable[..., Any] = getattr(one, "__func__", one)
    return function


def _plain(annotation: object) -> str:
    """An annotation as the blocking client would write it."""
    text = str(annotation).replace("Async", "")
    return text.replace("redis.asyncio.", "redis.").replace("asyncio.", "")


@pytest.mark.parametrize(("kind", "name"), _both())
def test_a_method_has_the_same_signature_in_both(kind: type, name: str) -> None:
    """Parameters, kinds, defaults, annotations, result."""
    blocking, awaited = (inspect.signature(_function(one, name)) for one in (kind, PAIRS[kind]))
    shared = [other for other in awaited.parameters.values() if (name, other.name) not in ASYNC_ONLY]
    assert list(blocking.parameters) == [other.name for other in shared]
    for one, other in zip(blocking.parameters.values(), shared, strict=True):
        assert (one.kind, one.default, _plain(one.annotation)) == (other.kind, other.default, _plain(other.annotation))
    assert _plain(blocking.return_annotation) == _plain(awaited.return_annotation)


@pytest.mark.parametrize(("kind", "name"), _both())
def test_a_method_has_a_docstring(kind: type, name: str) -> None:
    """Written once: the blocking one's is generated."""
    if not name.startswith("__"):
        assert inspect.getdoc(_function(kind, name)), f"{kind.__name__}.{name} has no docstring"


@pytest.mark.parametrize("kind", [*PAIRS, *PAIRS.values(), Client])
def test_a_method_names_each_argument(kind: type) -> None:
    """`help()` and editors must show every name."""
    for name, one in _public(kind).items():
        function = getattr(one, "__func__", one)
        if callable(function):
            kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
            assert kinds.isdisjoint({inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}), name


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_method_of_an_earlier_version_is_refused_with_its_name_of_today(old: str, new: str) -> None:
    """On the client that had it; a namespace has a method of that name, if there is one."""
    client = Allocator.from_url("memory://")
    with pytest.raises(AttributeError, match=re.escape(f"it is {new} now")):
        getattr(client, old)


async def test_an_argument_of_an_earlier_version_is_refused_with_what_takes_its_place() -> None:
    """By both clients, before anything is sent."""
    with Allocator.from_url("memory://") as client:
        old: Any = client
        with pytest.raises(TypeError, match=r"use options\(pool=\.\.\.\)"):
            old.allocate({"cpu": 1}, ttl=5, pool="x")
        with pytest.raises(TypeError, match=r"use options\(durability=\.\.\.\)"):
            old.renew("a", durability="fsynced")
        with pytest.raises(TypeError, match="unexpected keyword"):
            old.renew("a", nonsense=1)
    with pytest.raises(TypeError, match="use timeout"):
        AsyncAllocator.from_url("memory://", deadline=5)  # type: ignore[call-arg]
    async with AsyncAllocator.from_url("memory://") as awaited:
        old = awaited
        with pytest.raises(TypeError, match=r"use options\(pool=\.\.\.\)"):
            await old.get("a", pool="x")


def _private(kind: type) -> set[str]:
    return {name for name in vars(kind) if name.startswith("_") and not name.endswith("__")}


@pytest.mark.parametrize("kind", [*PAIRS, *PAIRS.values()])
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
    for kind, name in _both():
        assert "Awaitable" not in str(inspect.signature(_function(kind, name)))
        assert "Awaitable" not in str(inspect.signature(_function(PAIRS[kind], name)))
