"""Scripts: link the modules, parse the header, bind keys and arguments by name, map error lines to files.

A script's header is its contract (`lua/README.md`)::

    #!lua flags=no-writes          <- optional
    --[[
    verb -- One sentence.

    KEYS    record     hash        <- one a line; a last one of kind `keys` takes the rest: one for each item
    ARGV    reason     text        <- one a line; a last one of kind `list` takes the rest
    Reply   ...
    ]]

The *envelope* comes first: `ENVELOPE_KEYS` and `ENVELOPE_ARGUMENTS`, which every script takes.  Python binds by these
names and relies on no order elsewhere.  Each script has two texts: one for servers, and one for the in-process server,
which does not accept the `#!lua` line and drops the text of an error that is raised.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from allocator._engine.protocol import schema
from allocator.errors import ContractError

Argument = str | int

ENVELOPE_KEYS: Final = ("pool", "deadlines", "pinned", "ended", "events")
"""The keys that every script takes first (`lua/modules/context.lua`)."""

ENVELOPE: Final = ("now_ms", "seen_epoch", "seen_fence")
"""The arguments of the envelope that drivers supply; those of the pool follow."""

_OF_POOL: Final = ("epoch", "actor")

ENVELOPE_ARGUMENTS: Final = (*ENVELOPE, *_OF_POOL)

_PACKAGED: Final = Path(__file__).parents[2] / "lua"
_CHECKOUT: Final = Path(__file__).parents[3] / "lua"
_NAMED: Final = re.compile(r"^(KEYS|ARGV|       ) {1,4}(\w+) +(\w+)\b")
_ERROR_LINE: Final = re.compile(r"user_script:(\d+)")


class SupportsName(Protocol):
    """A mapping from a key's name in the headers to the key."""

    def __getitem__(self, name: str, /) -> str: ...


class Texts(NamedTuple):
    """The texts for servers and for the in-process server, and the source file and line of each line."""

    text: str
    memory_text: str
    sha: str
    memory_sha: str
    origins: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Script:
    """One script, called by the names of its keys and arguments: `keys` and `args`, the envelope's first.

    It is linked when it is first sent, as a program uses few scripts.
    """

    name: str
    flags: frozenset[str]
    keys: tuple[str, ...]
    args: tuple[str, ...]
    link: Callable[[], Texts]

    @cached_property
    def texts(self) -> Texts:
        """The linked texts."""
        return self.link()

    @cached_property
    def sha(self) -> str:
        """The SHA-1 of the text for servers."""
        return self.texts.sha

    @cached_property
    def memory_sha(self) -> str:
        """The SHA-1 of the text for the in-process server."""
        return self.texts.memory_sha

    @property
    def is_linked(self) -> bool:
        """Whether this process has linked it, as it does before it first sends it."""
        return "texts" in vars(self)

    @property
    def writes(self) -> bool:
        """Whether a call may change anything, so that a lost reply makes it ambiguous."""
        return "no-writes" not in self.flags

    def by_sha(self, *, in_process: bool) -> tuple[str, str]:
        """The command that calls it by SHA-1, and the SHA-1.

        A read-only script is sent by the `_RO` command, which a user with read permission may run.  The in-process
        server has neither users nor those commands.
        """
        if in_process:
            return "EVALSHA", self.memory_sha
        return ("EVALSHA" if self.writes else "EVALSHA_RO"), self.sha

    def by_text(self, *, in_process: bool) -> tuple[str, str]:
        """The command that calls it by its text, and the text, for a server that does not have it."""
        if in_process:
            return "EVAL", self.texts.memory_text
        return ("EVAL" if self.writes else "EVAL_RO"), self.texts.text

    def bind_keys(self, keys: SupportsName, *but: str) -> tuple[str, ...]:
        """The named keys in the header's order, except those in `but`, which the caller adds.

        A missing name is a `TypeError` before anything is sent.
        """
        try:
            return tuple([keys[name] for name in self.keys if name not in but])
        except KeyError as missing:
            raise TypeError(f"{self.name}: key {missing} is not given") from None

    def bind(self, **args: Argument) -> tuple[Argument, ...]:
        """The fixed arguments in the header's order.  A missing or unknown name is a `TypeError`."""
        if len(args) != len(self.args) or any(name not in args for name in self.args):
            raise TypeError(f"{self.name} takes {', '.join(self.args)}; given {', '.join(args)}")
        return tuple([args[name] for name in self.args])

    def locate(self, message: str) -> str:
        """Replace line numbers of the linked text in a server's error by source files and lines."""
        origins = self.texts.origins

        def place(match: re.Match[str]) -> str:
            line = int(match[1])
            return "{}:{}".format(*origins[line - 1]) if 0 < line <= len(origins) else match[0]

        return _ERROR_LINE.sub(place, message)


NO_SCRIPT: Final = Script("scan", frozenset({"no-writes"}), (), (), lambda: Texts("", "", "", "", ()))
"""In place of the script whose lines an error text refers to, for a plain command."""


def folder() -> Traversable:
    """The folder of the scripts: in this package where it is installed or in an archive, beside it in a checkout."""
    for candidate in (_PACKAGED, _CHECKOUT):
        if (candidate / "modules").is_dir():
            return candidate
    archived = resources.files("allocator") / "lua"
    if (archived / "modules").is_dir():
        return archived
    raise ContractError("the Lua scripts are missing from this installation")


@cache
def files() -> dict[str, str]:
    """The file of each script below the folder, by its name, sorted: `release` is `scripts/allocations/release.lua`."""
    nouns = [noun for noun in (folder() / "scripts").iterdir() if noun.is_dir()]
    found = [(file.name, noun.name) for noun in nouns for file in noun.iterdir() if file.name.endswith(".lua")]
    return {file.removesuffix(".lua"): f"scripts/{noun}/{file}" for file, noun in sorted(found)}


def names() -> list[str]:
    """The names of all scripts, sorted."""
    return list(files())


@cache
def ordinary() -> dict[str, frozenset[str]]:
    """For each script the functions on its ordinary path (`lua/ordinary.txt`); `NAME+`: on other usual paths."""
    lines = (folder() / "ordinary.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.partition(":") for line in lines if not line.startswith("#")]
    return {name: frozenset(functions.split()) for name, _, functions in entries}


@cache
def load(name: str) -> Script:
    """The script of that name; its header is read once per process."""
    source = (folder() / files()[name]).read_text(encoding="utf-8").splitlines()
    first = source[0] if source[0].startswith("#!lua") else "#!lua"
    keys, args = _header(source)
    variadic_keys, variadic_args = keys[-1:] == [("records", "keys")], bool(args) and args[-1][1] == "list"
    return Script(
        name=name,
        flags=_flags(first),
        keys=(*ENVELOPE_KEYS, *[key for key, _ in (keys[:-1] if variadic_keys else keys)]),
        args=(*_OF_POOL, *[arg for arg, _ in (args[:-1] if variadic_args else args)]),
        link=partial(_linked, name, first),
    )


def _linked(name: str, first: str) -> Texts:
    """The linked text of a script; linked once per process, as that takes tens of milliseconds."""
    from allocator._engine.protocol.linker import link  # noqa: PLC0415 - nothing is linked before the first call

    usual = ordinary().get(name, ()), ordinary().get(f"{name}+", ())
    linked = [(first, f"{name}.lua", 1), *link(folder(), files()[name], schema.LIMITS, *usual)]
    lines = [line for line, _, _ in linked]
    text, memory_text = "\n".join(lines) + "\n", _for_memory(lines)
    origins = tuple((file, number) for _, file, number in linked)
    return Texts(text, memory_text, _sha1(text), _sha1(memory_text), origins)


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _flags(first: str) -> frozenset[str]:
    return frozenset(first.partition("flags=")[2].split(",")) - {""} if first.startswith("#!lua") else frozenset()


def _header(lines: Iterable[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
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
    return blocks["KEYS"], blocks["ARGV"]


def _for_memory(lines: list[str]) -> str:
    """The text for the in-process server: one `pcall` that returns an error's text, and no `#!lua` line."""
    return "\n".join(
        [
            "local ok, reply = pcall(function()",
            *lines[1:],
            "end)",
            "if ok then return reply end",
            "return redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))",
            "",
        ]
    )
