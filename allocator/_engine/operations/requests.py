"""What operations are made of: ids, items, a call of a script; what a caller wrote becomes arguments."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from os import urandom
from typing import NamedTuple

from allocator._engine.protocol.flows import Call, DurabilityRequirement, Item
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, Script
from allocator.models.allocations import Allocation

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def new_call() -> str:
    """A call id: 96 random bits in 16 characters.  Drawn once for an item, shared by its retries."""
    return b2a_base64(urandom(12), newline=False).translate(_URL_SAFE).decode()


def new_allocation_id() -> str:
    """An allocation id where the caller gave none: 16 characters, short enough for a person to read out."""
    return urandom(8).hex()


def make_call(
    script: Script,
    pool: PoolKeys,
    items: Iterable[Item] = (),
    *,
    batch: bool = False,
    durability: DurabilityRequirement | None = None,
    **args: Argument,
) -> Call:
    """A call of a script whose keys are all the pool's own."""
    return Call(script, pool, script.bind_keys(pool), script.bind(**args), tuple(items), batch, durability=durability)


def encode_amounts(resources: Mapping[str, int], suffix: str = "") -> list[Argument]:
    """R, (resource, amount)*R; with the suffix of the fields that they become."""
    words: list[Argument] = [len(resources)]
    for name, amount in resources.items():
        words.append(name + suffix)
        words.append(amount)
    return words


class FencedId(NamedTuple):
    """An allocation's id, the fence that it must have (0 is any), and what its holder knows of it, if anything."""

    id: str
    fence: int
    held: Allocation | None = None


def known(one: FencedId) -> tuple[str, int]:
    """What its holder knows of an allocation: the epoch that granted it, and its deadline."""
    return ("", 0) if one.held is None else (one.held.epoch, one.held.deadline_ms or 0)
