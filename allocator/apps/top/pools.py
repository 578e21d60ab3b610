"""The pools to choose from, each with how full it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from allocator.apps.cli.output import columns, counted
from allocator.apps.top.screens import PoolRow
from allocator.errors import AllocatorError
from allocator.models.pools import Usage

if TYPE_CHECKING:
    from allocator import AsyncAllocator

__all__ = ["rows"]

READ_MAX: Final = 50
"""Pools whose usage is read; of the others the name is listed."""

RESOURCES_SAID: Final = 3
"""Resources of a pool of which the percentage is said."""


async def rows(client: AsyncAllocator) -> list[PoolRow]:
    """All pools under the client's prefix.  One SCAN of the server, and one round trip for each of the first 50."""
    names = await client.pools.list()
    said = await asyncio.gather(*(_said(client, name) for name in names[:READ_MAX]))
    return [PoolRow(name, said[at] if at < len(said) else "") for at, name in enumerate(names)]


async def _said(client: AsyncAllocator, name: str) -> str:
    try:
        return _use(await client.pools.usage(name))
    except AllocatorError as error:
        return str(error)


def _use(usage: Usage) -> str:
    names = columns([usage.resources])
    parts = [f"{name} {int(usage.resources[name].utilization)}%" for name in names[:RESOURCES_SAID]]
    parts.append(counted(usage.allocations, "allocation"))
    parts += [f"{usage.waiting} waiting"] if usage.waiting else []
    return ", ".join(parts)
