"""What a script's text reads of its arguments, in order, and what its header says about that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from allocator._engine.protocol import scripts
from tests.rules.sources import code, header, read

LIST: Final = "list"
"""Stands for `arguments.list`, for words that are read in a loop, and for `(field, amount)*R` in a header."""

COUNTS: Final = {"R": {"resources"}, "M": {"metadata", "removed"}, "O": {"options"}}
"""The letters by which headers count, and the names by which scripts read these counts."""

_FUNCTION: Final = re.compile(r"^(?:local function (\w+)|return function)\(", re.MULTILINE)
_READ: Final = re.compile(
    r"arguments\.list\(call, (?:arguments\.integer\(call, '(?P<counted>\w+)'[^)]*\))?"
    r"|arguments\.(?P<kind>text|integer|flag|signed)\(call, '(?P<name>\w+)'"
    r"|arguments\.items\(call, (?P<items>\w+)\)"
    r"|(?P<requests>requests\.load\(call\))"
    r"|(?P<function>\b[a-z_]+)\(call\b"
)
_ENTRY: Final = re.compile(r"^(?:ARGV|    ) {4}(\w+) +(text|int|list)\b *(.*)$")
_WORD: Final = re.compile(r"\([^()]*\)\*\w|\w+\*\w|\w+")


@dataclass(frozen=True)
class Read:
    """One argument: its name, and how it is read."""

    name: str
    kind: str


def said(name: str) -> list[Read]:
    """What the ARGV block of a header lists, with the words of an item in place of their list."""
    found: list[Read] = []
    lines = header(read(scripts.folder() / scripts.files()[name])).splitlines()
    for at, line in enumerate(lines):
        if match := _ENTRY.match(line):
            if match[2] != "list":
                found.append(Read(match[1], match[2]))
            else:
                found += _words(" ".join([match[3], *(line.strip() for line in lines[at + 1 :])]))
    return found


def _words(text: str) -> Iterator[Read]:
    """Of `list of (call, repeated, R, (field, amount)*R): ...` or of `(field, amount)*R, ...`."""
    if not re.match(r"of ", text):
        yield Read(LIST, LIST)
        return
    start = text.index("(") + 1
    depth, end = 1, start
    while depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    for word in _WORD.findall(text[start : end - 1]):
        yield Read(LIST, LIST) if "*" in word else Read(word, "item")


def done(name: str) -> list[Read]:
    """What a script reads, in the order of its text; the functions that it calls stand where they are called."""
    text = code(read(scripts.folder() / scripts.files()[name]))
    starts = [(match[1] or "", match.end()) for match in _FUNCTION.finditer(text)]
    ends = [start for _, start in starts[1:]] + [len(text)]
    bodies = {function: text[start:end] for (function, start), end in zip(starts, ends, strict=True)}
    found: list[Read] = []
    for one in _expand("", bodies):
        # A word that is read again and again, after its count, is a list.
        if one.kind == "text" and any(before == Read(one.name, "integer") for before in found):
            found.append(Read(LIST, LIST))
        else:
            found.append(one)
    return found


def _expand(function: str, bodies: dict[str, str]) -> Iterator[Read]:
    for match in _READ.finditer(bodies[function]):
        if match["kind"]:
            yield Read(match["name"], match["kind"])
        elif match["items"]:
            yield from (Read("call", "text"), Read("repeated", "flag"))
            yield from _expand(match["items"], bodies)
        elif match["requests"]:
            yield from requests()
        elif match["function"] in bodies and match["function"] != function:
            yield from _expand(match["function"], bodies)
        elif match[0].startswith("arguments.list"):
            if match["counted"]:
                yield Read(match["counted"], "integer")
            yield Read(LIST, LIST)


def requests() -> Iterator[Read]:
    """An item of `allocate`, which stays where it lies: `modules/requests.lua` reads it by place."""
    text = code(read(scripts.folder() / "modules" / "requests.lua"))
    body = text[text.index("local function read_one") :]
    locals_ = re.search(r"local ttl, resources, metadata, options = (.*)", body)
    assert locals_, "read_one takes ttl, resources, metadata and options in one line"
    taken = re.findall(r"argv\[at \+ (\d)\]", locals_[1])
    places = dict(zip(map(int, taken), ("ttl_ms", "resources", "metadata", "options"), strict=True))
    # What is checked is what was read: a count becomes a number under its own name only.
    for name in ("resources", "metadata", "options"):
        assert re.findall(rf"^ +{name} = (.*)", body, re.MULTILINE) == [
            f"{name} == '{usual}' and {usual} or tonumber({name})" for usual in ("2" if name == "resources" else "0")
        ]
    call = re.search(r"local key, id = call\.keys\[context\.KEYS \+ i\], argv\[at\]", body)
    owner = re.search(r"\bcall = id, owner = argv\[at \+ (\d)\]", body)
    assert call, "read_one takes the call first"
    assert owner, "read_one takes call and owner into the request"
    places |= {0: "call", int(owner[1]): "owner", 1: "repeated"}
    assert sorted(places) == list(range(7))
    yield from (Read(places[place], "item") for place in range(7))
    yield from [Read(LIST, LIST)] * 3


def is_same(one: Read, other: Read) -> bool:
    """Whether a header names what a script reads."""
    return other.name in COUNTS.get(one.name, {one.name})
