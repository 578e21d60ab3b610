"""Floors: what a verb's reads or writes cost alone.

A floor is a script that looks at nothing and decides nothing.  In its text `@name` is a key and `$name` a value; which
keys and values a verb has, only `bench.verbs` knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument

__all__ = ["Floor"]

_NAME: Final = re.compile(r"([@$])(\w+)")


@dataclass(frozen=True)
class Floor:
    """A script with names in it."""

    template: str
    reads: bool = False

    @cached_property
    def names(self) -> tuple[list[str], list[str]]:
        """Of the keys and of the values, in the order in which they are sent."""
        found = _NAME.findall(self.template)
        keys, values = ([name for mark, name in found if mark == wanted] for wanted in "@$")
        return list(dict.fromkeys(keys)), list(dict.fromkeys(values))

    @cached_property
    def text(self) -> str:
        """As the server gets it, with the flags that our scripts have."""
        keys, values = self.names

        def place(match: re.Match[str]) -> str:
            array, names = ("KEYS", keys) if match[1] == "@" else ("ARGV", values)
            return f"{array}[{names.index(match[2]) + 1}]"

        return f"#!lua{' flags=no-writes' if self.reads else ''}\n{_NAME.sub(place, self.template)}"

    def command(self, sha: str, keys: Mapping[str, str], values: Mapping[str, Argument]) -> bytes:
        """A call of it."""
        wanted, given = self.names
        verb = "EVALSHA_RO" if self.reads else "EVALSHA"
        return pack_command(
            (verb, sha, len(wanted), *[keys[name] for name in wanted], *[values[name] for name in given])
        )
