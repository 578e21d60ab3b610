"""A process that takes, keeps, changes and gives back for as long as it lives; it is killed, never told to stop."""

from __future__ import annotations

import contextlib
import random

from allocator import (
    Allocation,
    AllocationConflict,
    AllocationLost,
    Allocator,
    BackendError,
    Insufficient,
    Recovering,
    UnknownAllocation,
)
from allocator.quantity import Quantity

TTL_S = 1.0
"""The shortest there is: what a killed worker had comes back while the test still runs."""

EXPECTED = (AllocationConflict, AllocationLost, BackendError, Insufficient, Recovering, UnknownAllocation)
"""What happens to anybody who shares a pool; everything else ends the worker, and the test with it."""


def work(url: str, pool: str, seed: int) -> None:
    """Do one thing after another; what was lost meanwhile, or refused, is nothing to worry about."""
    chance = random.Random(seed)
    held: list[Allocation] = []
    with Allocator.from_url(url, pool=pool, timeout=5.0, attempt_timeout=1.0) as client:
        while True:
            with contextlib.suppress(*EXPECTED):
                step(client, chance, held)


def step(client: Allocator, chance: random.Random, held: list[Allocation]) -> None:
    """Take one more, or do something with one of those that are held; what is lost is forgotten."""
    if not held or (len(held) < 3 and chance.random() < 0.5):
        request: dict[str, Quantity] = {"cpu": chance.randint(1, 3), "memory": f"{chance.randint(1, 4)}Gi"}
        name = f"shared-{chance.randint(0, 9)}" if chance.random() < 0.2 else None
        held.append(client.allocate(request, ttl=TTL_S, id=name))
        return
    one = held.pop(chance.randrange(len(held)))
    match chance.randint(0, 3):
        case 0:
            client.renew(one)
            held.append(one)
        case 1:
            with contextlib.suppress(Insufficient):
                one = client.resize(one, {"cpu": chance.randint(1, 4)})
            held.append(one)
        case _:
            client.release(one)
