"""Load a script: expand its includes, read its header, bind names, map error lines back to files.

A script's header is its contract (`lua/README.md`)::

    #!lua flags=no-writes          <- optional
    --[[
    verb -- One sentence.

    KEYS    pool       hash        <- one a line; a last one of kind `keys` takes the rest: one for each item
    ARGV    now_ms     int         <- one a line; a last one of kind `list` takes the rest
    Reply   ...
    ]]
    --@include name                <- lua/include/name.lua, depth first, each once, cycles refused
    schema.NAME                    <- the bound of that name in allocator._engine.schema, as a literal: a table of them
                                      would be built anew on every call

Python binds by the names in the header; nothing else knows an order.  Two texts come of one script: the one for
servers, and one for the in-process store, which knows no `#!lua` line and loses the text of an error that is not
returned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from allocator._engine import schema
from allocator.errors import ContractError

Argument = str | int

LEADING: Final = ("now_ms", "mark_epoch", "mark_fence")
"""The arguments that drivers fill in."""

_PACKAGED: Final = Path(__file__).parents[1] / "lua"
_CHECKOUT: Final = Path(__file__).parents[2] / "lua"
_INCLUDE: Final = re.compile(r"^ *--@include (\w+)$")
_BOUND: Final = re.compile(r"\bschema\.([A-Z_]+)\b")
_NAMED: Final = re.compile(r"^(KEYS|ARGV|       ) {1,4}(\w+) +(\w+)\b")
_ERROR_LINE: Final = re.compile(r"user_script:(\d+)")


class SupportsName(Protocol):
    """Whatever gives a key for the name that a header uses."""

    def __getitem__(self, name: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Script:
    """One script, ready to be called by name.

    `leading` are the arguments that come first and that the driver knows: the instant, and for some scripts the mark.
    """

    name: str
    text: str
    memory_text: str
    sha: str
    memory_sha: str
    flags: frozenset[str]
    keys: tuple[str, ...]
    leading: tuple[str, ...]
    args: tuple[str, ...]
    origins: tuple[tuple[str, int], ...]

    @property
    def writes(self) -> bool:
        """Whether a call may change anything, so that a lost reply leaves a doubt."""
        return "no-writes" not in self.flags

    def by_sha(self, *, in_process: bool) -> tuple[str, str]:
        """The command that calls it, and what stands for its text.

        What changes nothing is sent so that a user who may only read the keys may send it; the in-process store knows
        neither users nor those commands.
        """
        if in_process:
            return "EVALSHA", self.memory_sha
        return ("EVALSHA" if self.writes else "EVALSHA_RO"), self.sha

    def by_text(self, *, in_process: bool) -> tuple[str, str]:
        """The same for a server that does not have the text."""
        if in_process:
            return "EVAL", self.memory_text
        return ("EVAL" if self.writes else "EVAL_RO"), self.text

    def bind_keys(self, keys: SupportsName) -> tuple[str, ...]:
        """The fixed keys in the header's order.  A missing name is a `TypeError` before anything is sent."""
        try:
            return tuple([keys[name] for name in self.keys])
        except KeyError as missing:
            raise TypeError(f"{self.name}: key {missing} is not given") from None

    def bind(self, **args: Argument) -> tuple[Argument, ...]:
        """The fixed arguments in the header's order.  A missing or unknown name is a `TypeError`."""
        if len(args) != len(self.args) or any(name not in args for name in self.args):
            raise TypeError(f"{self.name} takes {', '.join(self.args)}; given {', '.join(args)}")
        return tuple([args[name] for name in self.args])

    def locate(self, message: str) -> str:
        """Replace the line numbers of a server's error text by the files and lines that a person edits."""

        def place(match: re.Match[str]) -> str:
            line = int(match[1])
            return "{}:{}".format(*self.origins[line - 1]) if 0 < line <= len(self.origins) else match[0]

        return _ERROR_LINE.sub(place, message)


def folder() -> Path:
    """Where the scripts are: in the wheel beside this package, in a checkout beside it."""
    for candidate in (_PACKAGED, _CHECKOUT):
        if (candidate / "include").is_dir():
            return candidate
    raise ContractError("the Lua scripts are missing from this installation")


def names() -> list[str]:
    """The names of all scripts, sorted."""
    return sorted(path.stem for path in folder().glob("*.lua"))


@cache
def load(name: str) -> Script:
    """The script of that name; read, expanded and hashed once a process."""
    root = folder()
    lines, origins = _expand(root, root / f"{name}.lua", stack=(), seen=set())
    flags = _flags(lines[0])
    keys, args = _header(name, lines)
    variadic_keys, variadic_args = keys[-1:] == [("records", "keys")], bool(args) and args[-1][1] == "list"
    named = [arg for arg, _ in (args[:-1] if variadic_args else args)]
    text = "\n".join(lines) + "\n"
    memory_text = _for_memory(lines)
    return Script(
        name=name,
        text=text,
        memory_text=memory_text,
        sha=_sha1(text),
        memory_sha=_sha1(memory_text),
        flags=flags,
        keys=tuple(key for key, _ in (keys[:-1] if variadic_keys else keys)),
        leading=tuple(arg for arg in named if arg in LEADING),
        args=tuple(arg for arg in named if arg not in LEADING),
        origins=tuple(origins),
    )


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _expand(
    root: Path, path: Path, stack: tuple[Path, ...], seen: set[Path]
) -> tuple[list[str], list[tuple[str, int]]]:
    """The lines of a file with its includes in place, and for each line where it came from."""
    if path in stack:
        raise ContractError("include cycle: " + " -> ".join(step.name for step in (*stack, path)))
    lines: list[str] = []
    origins: list[tuple[str, int]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if include := _INCLUDE.match(line):
            target = root / "include" / f"{include[1]}.lua"
            if target not in seen:
                more, places = _expand(root, target, (*stack, path), seen)
                seen.add(target)
                lines += more
                origins += places
        else:
            lines.append(_BOUND.sub(_literal, line))
            origins.append((path.relative_to(root).as_posix(), number))
    return lines, origins


def _literal(match: re.Match[str]) -> str:
    try:
        return str(schema.BOUNDS[match[1]])
    except KeyError:
        raise ContractError(f"{match[0]} is not declared in allocator._engine.schema") from None


def _flags(first: str) -> frozenset[str]:
    return frozenset(first.partition("flags=")[2].split(",")) - {""} if first.startswith("#!lua") else frozenset()


def _header(name: str, lines: Iterable[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The (name, kind) pairs of the KEYS and ARGV blocks."""
    blocks: dict[str, list[tuple[str, str]]] = {"KEYS": [], "ARGV": []}
    block: str | None = None
    for line in lines:
        if line == "]]":
            break
        if match := _NAMED.match(line):
            block = match[1] if match[1].strip() else block
            if block:
                blocks[block].append((match[2], match[3]))
        else:
            block = None
    if not blocks["KEYS"]:
        raise ContractError(f"{name}.lua has no KEYS in its header")
    return blocks["KEYS"], blocks["ARGV"]


def _for_memory(lines: list[str]) -> str:
    """The text for the in-process store: one `pcall` that hands an error's text back, and no `#!lua` line."""
    body = lines[1:] if lines[0].startswith("#!lua") else lines
    return "\n".join(
        [
            "local ok, reply = pcall(function()",
            *body,
            "end)",
            "if ok then return reply end",
            "return redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))",
            "",
        ]
    )
