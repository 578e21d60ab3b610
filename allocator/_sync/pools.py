"""`Pools`: pools as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from allocator._engine.operations.pools import PoolOptions
from allocator._sync.namespace import Namespace
from allocator.models.pools import Pool, Usage
from allocator.quantity import Quantity

__all__ = ["Pools"]


class Pools(Namespace):
    """Creates, changes, reads and deletes pools; in Python `allocator.pools`."""

    def create(
        self,
        name: str,
        capacity: Mapping[str, Quantity],
        *,
        whole_units: Iterable[str] = (),
        recovery_grace: float | timedelta | None = None,
        max_ttl: float | timedelta | None = None,
        durability: str | None = None,
        new: bool = False,
    ) -> Pool:
        """Create a pool if there is none of that name; an existing one comes back unchanged (`created=False`).

        Args:
            name: 1 to 64 of `[A-Za-z0-9._-]`.
            capacity: Resource -> Kubernetes quantity, rounded down to the resource's unit; 1 to 32 of them.
            whole_units: Resources of which only whole ones are granted, such as `nvidia.com/gpu`.
            recovery_grace: Seconds, up to an hour, for which the pool grants nothing new once its store may have lost
                data (another server, fences or leases that it does not know); None: it goes on at once.  Safe where
                it is 5 s longer than the longest ttl; docs/reliability.md has what it costs.
            max_ttl: The longest ttl granted, in seconds; pinned allocations are not, then.  None: 5 s less than
                `recovery_grace`, which is at least 6 s then, where there is one.
            durability: How safe each grant is made: `memory`, `replicated:N`, `fsynced`, `fsynced+replicated:N`.
            new: There has never been a pool of this name whose holders may still go on.  Without it a pool that is
                created with a recovery grace begins recovering, for the store may just have lost it.

        Returns:
            The pool as it is.  One round trip.
        """
        options = PoolOptions(recovery_grace, max_ttl, durability)
        return self._run(self._defaults.create_pool(name, capacity, whole_units, options, is_new=new))

    def get(self, name: str | None = None) -> Pool:
        """The pool as configured, and its counters; None: the client's.  One round trip."""
        return self._run(self._defaults.get_pool(name))

    def update(
        self,
        name: str | None = None,
        capacity: Mapping[str, Quantity] | None = None,
        *,
        remove: Iterable[str] = (),
        whole_units: Iterable[str] | None = None,
        strict: bool = False,
        generation: int | None = None,
        recovery_grace: float | timedelta | None = None,
        max_ttl: float | timedelta | None = None,
        durability: str | None = None,
    ) -> Pool:
        """Change a pool: the resources named are merged into it.

        Lowering a capacity below what is allocated marks the pool overcommitted in that resource: nothing is taken
        away, and requests for it are refused until enough was given back.

        Args:
            name: Its name; None: the client's pool.
            capacity: Resource -> quantity, rounded down.
            remove: Resources to count no more; refused while in use.
            whole_units: All that are granted in whole units only; None: as they are.
            strict: Refuse to lower below what is allocated.
            generation: Change only if this is the pool's generation.
            recovery_grace, max_ttl, durability: As for `create`; 0, or `memory`, takes one away.

        Raises:
            PoolConflict: In use, or of another generation.  Nothing was changed.  One round trip.
        """
        options = PoolOptions(recovery_grace, max_ttl, durability)
        work = self._defaults.update_pool(name, capacity, remove, whole_units, strict, generation, options)
        return self._run(work)

    def delete(self, name: str, *, force: bool = False) -> bool:
        """End a pool.

        Args:
            name: Its name.
            force: End its live allocations first, 200 a round trip; it grants nothing from then on.

        Returns:
            False where there was none.

        Raises:
            PoolConflict: It has live allocations, and `force` was not given.
        """
        return self._run(self._defaults.delete_pool(name, force=force))

    def usage(self, name: str | None = None) -> Usage:
        """One atomic reading of a pool's counters.  One round trip, whatever is allocated."""
        return self._run(self._defaults.usage(name))

    def upgrade(self, name: str | None = None) -> Pool:
        """Let only versions with this one's schema, or newer ones, write to the pool: after a rolling upgrade."""
        return self._run(self._defaults.upgrade_pool(name))

    def recover(self, lost: Pool) -> Pool:
        """Make a pool again that an emptied store has lost, with its epoch and settings; it begins recovering.

        Any number of replicas may do so at once.  Holders then adopt what they have: every `hold` by itself.

        Args:
            lost: The pool as `create` or `get` returned it before; it has a `recovery_grace`.

        Raises:
            UnknownPool: Another pool of that name is there (`code="epoch"`), or somebody deleted this one in the last
                two minutes (`"deleted"`).  One round trip.
        """
        return self._run(self._defaults.recover_pool(lost))

    def end_recovery(self, name: str | None = None) -> Pool:
        """Grant again at once: somebody has made sure that all holders are back.  One round trip."""
        return self._run(self._defaults.end_recovery(name))

    def list(self) -> list[str]:
        """The names of all pools under the client's prefix, sorted; a SCAN of the server."""
        return self._run(self._defaults.list_pools())
