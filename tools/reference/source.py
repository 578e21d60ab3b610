"""What the source says of its public names, read without importing it: no extra needs to be installed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

__all__ = [
    "ROOT",
    "Class",
    "Function",
    "Statement",
    "decorators",
    "docstring",
    "followed",
    "names_of",
    "public",
    "resolve",
    "said_of",
    "signature",
]

ROOT: Final = Path(__file__).parents[2]
WIDTH: Final = 110
"""Characters of a signature's line."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Statement: TypeAlias = Function | ast.ClassDef | ast.AnnAssign


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def docstring(module: str) -> str:
    """What a module says that it is."""
    return ast.get_docstring(_tree(module)) or ""


def names_of(module: str) -> list[str]:
    """The names of its `__all__`."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            found: list[str] = ast.literal_eval(node.value)
            return found
    raise LookupError(f"{module} has no __all__")


@cache
def resolve(module: str, name: str) -> tuple[str, Statement]:
    """The module that defines a name, and the statement; imports are followed."""
    for node in ast.walk(_tree(module)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                return module, node
            case ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                return module, node
            case ast.ImportFrom(module=str(source)) if any((one.asname or one.name) == name for one in node.names):
                return resolve(source, name)
            case _:
                pass
    raise LookupError(f"{module} has no {name}")


def public(module: str) -> dict[str, tuple[str, Statement]]:
    """Each public name of a module, and where it is defined."""
    return {name: resolve(module, name) for name in names_of(module)}


def said_of(module: str, name: str) -> str:
    """The docstring that stands after the definition of a name."""
    body = _tree(module).body
    for at, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return followed(body, at)
    return ""


def is_public(name: str) -> bool:
    """Whether users call it; what a `with` block calls is said by the class."""
    return not name.startswith("_")


def followed(body: list[ast.stmt], at: int) -> str:
    """The docstring that stands after a statement, or nothing."""
    after = body[at + 1] if at + 1 < len(body) else None
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return inspect.cleandoc(after.value.value)
    return ""


def decorators(node: Function | ast.ClassDef) -> set[str]:
    """The names of its decorators."""
    return {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in node.decorator_list}


def signature(node: Function, name: str) -> str:
    """As it is called: without `self`, on one line or one argument a line."""
    arguments = _without_self(node)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    word = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{word}{name}({', '.join(arguments)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{word}{name}(", *(f"    {one}," for one in arguments), f"){returns}"])


def _without_self(node: Function) -> list[str]:
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    found = [_argument(one, default) for one, default in zip(plain, defaults, strict=True)]
    if args.vararg:
        found.append(f"*{_argument(args.vararg, None)}")
    elif args.kwonlyargs:
        found.append("*")
    found += [_argument(one, default) for one, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        found.append(f"**{_argument(args.kwarg, None)}")
    if found and found[0] in ("self", "cls"):
        found.pop(0)
    return found


def _argument(node: ast.arg, default: ast.expr | None) -> str:
    text = node.arg + (f": {ast.unparse(node.annotation)}" if node.annotation else "")
    if default is None:
        return text
    return f"{text}{' = ' if node.annotation else '='}{ast.unparse(default)}"


@dataclass(frozen=True)
class Class:
    """A class of ours with what it has of its bases."""

    module: str
    node: ast.ClassDef

    @property
    def docstring(self) -> str:
        """What it says that it is."""
        return ast.get_docstring(self.node) or ""

    @property
    def bases(self) -> list[str]:
        """The names of its bases, as written, without their arguments."""
        return [ast.unparse(one).partition("[")[0] for one in self.node.bases]

    def lineage(self) -> Iterator[Class]:
        """It, and the bases that are ours, nearest first."""
        yield self
        for base in self.bases:
            try:
                module, node = resolve(self.module, base)
            except (LookupError, FileNotFoundError):
                continue
            if isinstance(node, ast.ClassDef):
                yield from Class(module, node).lineage()

    def methods(self, but: str = "") -> dict[str, Function]:
        """Its public methods and properties, with those of its bases, in the order of the files.

        Those of bases in the module `but` are left out.
        """
        found: dict[str, Function] = {}
        for one in self.lineage():
            if one.module == but:
                continue
            for node in one.node.body:
                is_method = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                if is_method and is_public(node.name) and not decorators(node) & {"overload", "setter"}:
                    found.setdefault(node.name, node)
        return found

    def fields(self) -> Iterator[tuple[str, str, str, str]]:
        """Name, type, default and docstring of each annotated field; class variables are left out."""
        for at, node in enumerate(self.node.body):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            kind = ast.unparse(node.annotation)
            if is_public(node.target.id) and not kind.startswith("ClassVar"):
                default = ast.unparse(node.value) if node.value else ""
                yield node.target.id, kind, default, followed(self.node.body, at)

    def constant(self, name: str) -> object:
        """The value that it, or a base of it, gives a name, or None."""
        for one in self.lineage():
            for node in one.node.body:
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                if name in [getattr(target, "id", None) for target in targets]:
                    value = getattr(node, "value", None)
                    return ast.literal_eval(value) if value is not None else None
        return None
