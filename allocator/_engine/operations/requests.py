"""The parts of operations: ids, items and script calls; they encode the caller's values as arguments."""

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
    """A call id: 96 random bits in 16 characters, drawn once for an item and shared by its retries."""
    return b2a_base64(urandom(12), newline=False).translate(_URL_SAFE).decode()


def new_allocation_id() -> str:
    """An allocation id where the caller gave none: 16 characters, short enough to be read out."""
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
    """A call of a script whose keys all belong to the pool, by the pool's actor."""
    bound = script.bind(actor=pool.actor, **args)
    return Call(script, pool, script.bind_keys(pool), bound, tuple(items), batch, durability=durability)


def encode_amounts(resources: Mapping[str, int], suffix: str = "") -> list[Argument]:
    """R, (resource, amount)*R; `suffix` is appended to the resources, as in the record's field names."""
    words: list[Argument] = [len(resources)]
    for name, amount in resources.items():
        words.append(name + suffix)
        words.append(amount)
    return words


class FencedId(NamedTuple):
    """An allocation's id, the fence that it must have (0: any), and the allocation, if the caller gave it."""

    id: str
    fence: int
    held: Allocation | None = None


def known(one: FencedId) -> tuple[str, int]:
    """The epoch that granted an allocation and its deadline, as its holder has them; ("", 0) if unknown."""
    return ("", 0) if one.held is None else (one.held.epoch, one.held.deadline_ms or 0)
