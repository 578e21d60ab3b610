"""`AsyncMaintenance`: reclaim, reconcile, audit and doctor."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from allocator._async.namespace import AsyncNamespace
from allocator._base import local_ms
from allocator._engine.operations import reclaim
from allocator._engine.operations.maintenance import audit, doctor, reconcile
from allocator.models.allocations import Ttl
from allocator.models.maintenance import Audit, DoctorReport, Reclaimed, Reconciled

__all__ = ["AsyncMaintenance"]


class AsyncMaintenance(AsyncNamespace):
    """Reclaims, reconciles, audits and examines the client's pool; in Python `allocator.maintenance`."""

    async def reclaim(
        self,
        *,
        older_than: Ttl = None,
        include_live: bool = False,
        limit: int | None = None,
    ) -> Reclaimed:
        """End allocations past their deadline; 200 a round trip, until done, `limit` or the client's timeout.

        Args:
            older_than: Also pinned allocations granted at least so many seconds ago.
            include_live: Also leases of that age, although their holders renew them.
            limit: At most so many; None: 10,000.
        """
        return await self._run(
            reclaim.reclaim(self._defaults, older_than, limit, include_live=include_live), "maintenance.reclaim"
        )

    async def reconcile(
        self,
        live_ids: Iterable[str],
        as_of: int | datetime,
        *,
        owner: str,
        dry_run: bool = False,
        max_released: int | None = None,
    ) -> Reconciled:
        """Release an owner's allocations that the owner no longer uses.

        Those that belong to exactly this owner, are older than `as_of` and not among `live_ids` are released, 100 a
        round trip; owner, fence and age are checked again in the script that releases.

        Args:
            live_ids: The allocation ids that the owner uses, at most 100,000.
            as_of: `pools.usage().read_ms`, read before they were listed; or that instant as an aware datetime.
            owner: The owner, or a prefix of owners followed by `*`: `team-a/*`.
            dry_run: Only return what would be released, however many.
            max_released: Refuse to release more; None: half of the owner's allocations, and none by an empty listing.

        Raises:
            ReconcileRefused: It would release more.  Nothing was released.
            InvalidRequest: `as_of` is later than the server's time; or a number that is before 2001, as seconds are.
        """
        work = reconcile.reconcile(self._defaults, live_ids, as_of, owner, max_released, dry_run=dry_run)
        return await self._run(work, "maintenance.reconcile")

    async def audit(self, *, repair: bool = False, offline: bool = False) -> Audit:
        """Check every invariant of a pool; truthy when clean.

        One script call up to 1,600 allocations of two resources (16,000 fields); above, pages guarded by the pool's
        revision, and `inconclusive` if it changes all the time.

        Args:
            repair: Repair what is found: the records are authoritative, counters are corrected.
            offline: Grant nothing meanwhile; needed to repair more than one script may read.
        """
        return await self._run(audit.audit(self._defaults, repair=repair, offline=offline), "maintenance.audit")

    async def doctor(self) -> DoctorReport:
        """Examine the server, and try every script with this client's rights on a scratch pool, which is deleted again.

        About thirty round trips.

        Returns:
            Findings with advice; truthy if none is bad.
        """
        return await self._run(doctor.diagnose(self._defaults, local_ms), "maintenance.doctor")
