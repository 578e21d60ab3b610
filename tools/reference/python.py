"""The pages about what a Python program uses: the client, values, errors, and what stands beside the clients."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from allocator._base import NAMESPACES
from tools import floors
from tools.reference.prose import cell, code, markdown
from tools.reference.source import (
    Class,
    Function,
    Statement,
    decorators,
    docstring,
    names_of,
    public,
    resolve,
    said_of,
    signature,
)

PACKAGE: Final = "allocator"

STORED: Final = "allocator.serialization"
"""What each value has of its base, `to_dict` and its kin, is said once in docs/values.md."""

PARTS: Final = ("to_fields", "from_fields", "from_several", "texts", "words")
"""What values have for each other."""

_CLIENTS: Final = ("Allocator", "AsyncAllocator")
_HOLDS: Final = ("Hold", "AsyncHold")


def _class(module: str, name: str) -> Class:
    where, node = resolve(module, name)
    assert isinstance(node, ast.ClassDef), name
    return Class(where, node)


def _names(*beginnings: str) -> dict[str, tuple[str, Statement]]:
    """The public names of the package that are defined in modules whose names begin so."""
    return {name: found for name, found in public(PACKAGE).items() if found[0].startswith(beginnings)}


def _prose(node: Function | ast.ClassDef) -> list[str]:
    return markdown(ast.get_docstring(node) or "")


def _method(name: str, node: Function, level: int = 3) -> Iterator[str]:
    """One method or function: its heading, how it is called, what it does."""
    if decorators(node) & {"property", "cached_property"}:
        kind = ast.unparse(node.returns) if node.returns else ""
        yield from [f"{'#' * level} `{name}`", "", f"Property, `{kind}`.", "", *_prose(node)]
        return
    yield from [f"{'#' * level} `{name}`", "", *code(signature(node, name)), *_prose(node)]


# -- the client --------------------------------------------------------------------------------------------------------


def client() -> Iterator[str]:
    """The methods of `Allocator`, its namespaces, and the holds."""
    blocking, awaited = (_class(PACKAGE, name) for name in _CLIENTS)
    yield from [
        "Both clients have these methods. They are shown as those of `Allocator`. What differs in `AsyncAllocator` has",
        "a part of its own.",
        "[The README](../../README.md#methods) has them in one table.",
        "",
        "## Allocator",
        "",
        *_prose(blocking.node),
        *code(signature(_constructor(blocking), "Allocator")),
        *_prose(_constructor(blocking)),
    ]
    for name, node in blocking.methods().items():
        if name not in NAMESPACES:
            yield from _method(name, node)
    yield from ["## AsyncAllocator", "", "The same methods, awaited. It differs in this:", ""]
    yield from [*_differences(blocking, awaited), ""]
    for name in sorted(NAMESPACES):
        yield from _namespace(name)
    for name in _HOLDS:
        yield from [f"## {name}", "", *_prose(_class(PACKAGE, name).node)]
    yield from ["## Properties and methods of both holds", ""]
    for name, node in _class(PACKAGE, "Hold").methods().items():
        yield from _method(f"hold.{name}", node)
    for name, (_, node) in _names("allocator._engine").items():
        if isinstance(node, ast.FunctionDef):
            yield from _method(name, node, level=2)


def _constructor(owner: Class) -> Function:
    for one in owner.lineage():
        for node in one.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return node
    raise LookupError(owner.node.name)


def _differences(blocking: Class, awaited: Class) -> Iterator[str]:
    """Which of its methods are not awaited, and which arguments only it has."""
    ours, theirs = blocking.methods(), awaited.methods()
    plain = [f"`{name}`" for name, node in theirs.items() if name not in NAMESPACES and not _is_awaited(node)]
    yield f"- These are called without `await`: {', '.join(plain)}. What `list` returns is read by `async for`."
    for name in theirs.keys() - ours.keys():
        yield f"- Only here: `{name}`."
    for name in theirs.keys() & ours.keys():
        more = [one.arg for one in theirs[name].args.kwonlyargs if one.arg not in _keywords(ours[name])]
        if more:
            yield f"- `{name}` also takes {', '.join(f'`{one}=`' for one in more)}:"
            yield from ["", *code(signature(theirs[name], name)), *_prose(theirs[name])]


def _is_awaited(node: Function) -> bool:
    return isinstance(node, ast.AsyncFunctionDef)


def _keywords(node: Function) -> set[str]:
    return {one.arg for one in node.args.kwonlyargs}


def _namespace(name: str) -> Iterator[str]:
    """One namespace: what it is, and its methods."""
    namespace = _class("allocator._sync.namespaces", name.capitalize())
    yield from [f"## {name}", "", *_prose(namespace.node)]
    for method, function in namespace.methods().items():
        yield from _method(f"{name}.{method}", function)


# -- values ------------------------------------------------------------------------------------------------------------


def values() -> Iterator[str]:
    """What methods take and return."""
    yield "What methods take and return. [values.md](../values.md) says how they are stored."
    yield ""
    found = _names("allocator.models", "allocator.denials", "allocator.resources", "allocator.quantity")
    for name, (module, node) in found.items():
        yield from _value(name, module, node)


def _value(name: str, module: str, node: Statement) -> Iterator[str]:
    """A class with its fields and methods, or the name of a type."""
    yield from [f"## {name}", ""]
    if isinstance(node, ast.ClassDef):
        yield from _class_of_values(name, Class(module, node))
    elif isinstance(node, ast.AnnAssign) and node.value:
        yield from code(f"{name} = {ast.unparse(node.value)}")
        yield from markdown(said_of(module, name))


def _class_of_values(name: str, owner: Class) -> Iterator[str]:
    yield from markdown(owner.docstring)
    fields = list(owner.fields())
    if fields:
        yield from ["| field | type | default |  |", "|---|---|---|---|"]
        for field, kind, default, text in fields:
            shown = [f"`{one.replace('|', chr(92) + '|')}`" if one else "" for one in (field, kind, default)]
            yield f"| {' | '.join(shown)} | {cell(text)} |"
        yield ""
    for method, node in owner.methods(but=STORED).items():
        if method not in PARTS:
            yield from _method(f"{name}.{method}", node)


# -- errors ------------------------------------------------------------------------------------------------------------


def errors() -> Iterator[str]:
    """The exceptions, with their codes."""
    yield from markdown(docstring("allocator.errors"))
    for name in names_of("allocator.errors"):
        owner = _class("allocator.errors", name)
        retryable = owner.constant("retryable")
        yield from [
            f"## {name}",
            "",
            f"`code` is `{owner.constant('default_code')}`, `retryable` is `{retryable}`.",
            "",
            *markdown(owner.docstring),
        ]


# -- beside ------------------------------------------------------------------------------------------------------------


def _rooms_beside() -> list[str]:
    """The modules that stand above the clients: they are public, and a module's `__all__` says what of it."""
    stack = floors.floors()
    begin = stack.index([PACKAGE]) + 1
    end = next(at for at, floor in enumerate(stack) if f"{PACKAGE}._async" in floor)
    return [room for floor in stack[begin:end] for room in floor if room != f"{PACKAGE}.compat"]


def beside() -> Iterator[str]:
    """The original API, the tools for tests, the metrics, the users."""
    yield "What is public beside the clients and their values."
    yield ""
    for name, (module, node) in _names("allocator.compat").items():
        if isinstance(node, ast.ClassDef):
            yield from [f"## {name}", "", *_whole_class(name, Class(module, node))]
    for module in _rooms_beside():
        yield from [f"## {module}", "", *markdown(docstring(module))]
        for name, (where, node) in public(module).items():
            yield from _beside(name, where, node)
    yield from ["## Observers", "", "What `observe` of a client takes, and what it reports.", ""]
    for name, (where, node) in public(f"{PACKAGE}._engine.execution.instrumentation").items():
        if name in names_of(PACKAGE) and isinstance(node, ast.ClassDef):
            yield from [f"### {name}", "", *_class_of_values(name, Class(where, node))]
    yield from ["## allocator_pytest", "", *markdown(docstring("allocator_pytest"))]


def _beside(name: str, module: str, node: Statement) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield from [f"### {name}", "", *_whole_class(name, Class(module, node), level=4)]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from _method(name, node)
    else:
        yield from [f"### {name}", "", *markdown(said_of(module, name))]


def _whole_class(name: str, owner: Class, level: int = 3) -> Iterator[str]:
    yield from markdown(owner.docstring)
    if not any(owner.fields()):
        try:
            made = _constructor(owner)
        except LookupError:
            pass
        else:
            yield from [*code(signature(made, name)), *_prose(made)]
    for method, node in owner.methods().items():
        yield from _method(f"{name}.{method}", node, level)


PAGES: Final = (
    ("client", "The client", "each method of `Allocator` and `AsyncAllocator`, and the holds", client),
    ("values", "Values", "what methods take and return, field by field", values),
    ("errors", "Errors", "each exception, its code, and whether a new call may succeed", errors),
    ("beside", "Beside the clients", "`ResourceAllocator`, tools for tests, metrics, users", beside),
)
"""Name, title, what it has, and what writes it."""
