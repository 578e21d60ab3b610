"""Field names and shared bounds, once: the loader puts the bounds into the scripts as literals, `schema.NAME` by name.

Fields of an account or record that end in `.capacity` or `.allocated` are amounts, and no others do, so a resource
may have any name.
"""

from __future__ import annotations

from typing import Final

from allocator import settings

VERSION: Final = 1
"""The schema that this version writes.  A pool's `schema` field is the least version that may write to it."""

CAPACITY: Final = ".capacity"
ALLOCATED: Final = ".allocated"
META: Final = "meta."

BOUNDS: Final = {
    "AMOUNT_MAX": settings.AMOUNT_MAX,
    "AUDIT_RECORDS_MAX": settings.AUDIT_RECORDS_MAX,
    "BATCH_ITEMS_MAX": settings.BATCH_ITEMS_MAX,
    "CLOCK_JUMP_MS": settings.CLOCK_JUMP_MS,
    "CLOCK_SEEN_MS": settings.CLOCK_SEEN_MS,
    "CLOCK_STEP_MS": settings.CLOCK_STEP_MS,
    "CHECK_DUE_MAX": settings.CHECK_DUE_MAX,
    "ENDED_KEEP_MS": settings.ENDED_KEEP_MS,
    "ENDED_MAX": settings.ENDED_MAX,
    "ENDED_TRIM": settings.ENDED_TRIM,
    "EVENTS_MAX": settings.EVENTS_MAX,
    "EXPLAIN_DEADLINES_MAX": settings.EXPLAIN_DEADLINES_MAX,
    "FENCE_AHEAD_MAX": settings.FENCE_AHEAD_MAX,
    "FINDINGS_MAX": settings.FINDINGS_MAX,
    "METADATA_ENTRIES_MAX": settings.METADATA_ENTRIES_MAX,
    "OFFLINE_MS": settings.OFFLINE_MS,
    "PAGE_RECORDS_MAX": settings.PAGE_RECORDS_MAX,
    "RECLAIM_BATCH_MAX": settings.RECLAIM_BATCH_MAX,
    "RECLAIM_INLINE_MAX": settings.RECLAIM_INLINE_MAX,
    "RECOVERY_FENCES": settings.RECOVERY_FENCES,
    "RESOURCES_MAX": settings.RESOURCES_MAX,
    "VERSION": VERSION,
}
