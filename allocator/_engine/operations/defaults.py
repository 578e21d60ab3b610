"""The defaults of a client: its pool, prefix, owner, durability and timeout.  Every verb takes them first."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from allocator import settings
from allocator._engine.operations.requests import FencedId
from allocator._engine.protocol.keys import PoolKeys, pool_keys
from allocator.durability import durability
from allocator.input_errors import InvalidRequest
from allocator.models.allocations import Allocation
from allocator.validation import allocation_id, batch, deadline_s, epoch_text, key_prefix, owner_name, pool_name
from allocator.validation import fence as valid_fence

AllocationOrId = Allocation | str
"""An allocation, which includes its pool and fence, or an id in the client's pool."""


class Defaults:
    """What a call uses that says nothing else: pool, prefix, owner, durability and timeout."""

    __slots__ = ("durability", "owner", "pool", "prefix", "timeout_s")

    def __init__(
        self, pool: str, prefix: str, owner: str | None, timeout: float = settings.DEADLINE_S, level: str | None = None
    ) -> None:
        self.prefix = key_prefix(prefix)
        actor = "" if owner is None else owner_name(owner)
        self.pool = pool_keys(pool_name(pool), self.prefix, actor=actor)
        self.owner = actor or settings.OWNER_DEFAULT
        self.timeout_s = deadline_s(timeout, "timeout")
        self.durability = durability(level)

    def replaced(
        self, pool: str | None, owner: str | None, level: str | None, timeout: float | None, epoch: str | None
    ) -> Defaults:
        """A copy with the given values replaced."""
        other = copy.copy(self)
        if pool is not None and pool != self.pool.name:
            other.pool = self.keys(pool)
        if epoch is not None:
            other.pool = pool_keys(other.pool.name, self.prefix, epoch_text(epoch), other.pool.actor)
        if owner is not None:
            other.owner = owner_name(owner)
            other.pool = pool_keys(other.pool.name, self.prefix, other.pool.epoch, other.owner)
        if level is not None:
            other.durability = durability(level)
        if timeout is not None:
            other.timeout_s = deadline_s(timeout, "timeout")
        return other

    def keys(self, name: str | None) -> PoolKeys:
        """The keys of the pool of that name; None: the default pool."""
        if name is None or name == self.pool.name:
            return self.pool
        return pool_keys(pool_name(name), self.prefix, actor=self.pool.actor)

    def identify(self, allocation: AllocationOrId, fence: int | None = None) -> tuple[PoolKeys, FencedId]:
        """The pool of an allocation, its id and the fence that it must have; `fence` replaces the allocation's."""
        if isinstance(allocation, Allocation):
            required = allocation.fence if fence is None else valid_fence(fence)
            return self.keys(allocation.pool), FencedId(allocation.id, required, allocation)
        if isinstance(allocation, Mapping):
            text = "allocation: it is a dict: Allocation.from_dict makes an allocation of that of to_dict"
            raise InvalidRequest(text, field="allocation")
        return self.pool, FencedId(allocation_id(allocation), valid_fence(fence))

    def group(self, allocations: Iterable[AllocationOrId]) -> tuple[int, dict[PoolKeys, list[tuple[int, FencedId]]]]:
        """The number of allocations; and the allocations by pool, each with its index in the reply."""
        groups: dict[PoolKeys, list[tuple[int, FencedId]]] = {}
        items = batch(allocations, "allocations")
        for at, one in enumerate(items):
            keys, identity = self.identify(one)
            groups.setdefault(keys, []).append((at, identity))
        return len(items), groups
