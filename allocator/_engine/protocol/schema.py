"""Field names, and the limits that scripts share: the linker inserts them as literals for `limits.NAME`.

Fields of an account or record that end in `.capacity` or `.allocated` are amounts, and no others do, so a resource
may have any name.
"""

from __future__ import annotations

from typing import Final

from allocator import settings

VERSION: Final = 1
"""The schema version that this library writes.  A pool's `schema` field is the lowest that may write to it."""

CAPACITY: Final = ".capacity"
ALLOCATED: Final = ".allocated"
KEPT: Final = ".kept"
TOTAL: Final = ".total"
COUNT: Final = "_count"
"""The ending of counters of events and denials."""

META: Final = "meta."

LIMITS: Final[dict[str, int | str]] = {
    "SCHEMA": VERSION,
    "SCHEMA_TEXT": f"'{VERSION}'",
    "MINUTE_MS": 60_000,
    "HOUR_MS": 3_600_000,
    "EVENTS_MAX_TEXT": f"'{settings.EVENTS_MAX}'",
    "HISTORY_MINUTES_TEXT": f"'{settings.HISTORY_MINUTES_MAX}'",
    "HISTORY_HOURS_TEXT": f"'{settings.HISTORY_HOURS_MAX}'",
    **{
        name: getattr(settings, name)
        for name in (
            "AMOUNT_MAX", "AUDIT_FIELDS_MAX", "AUDIT_RECORDS_MAX", "BATCH_ITEMS_MAX", "CALLS_MAX", "CHECK_EXPIRED_MAX",
            "CLOCK_JUMP_MS", "CLOCK_SEEN_MS", "CLOCK_STEP_MS", "ENDED_KEEP_MS", "ENDED_MAX", "ENDED_TRIM",
            "ENDED_TRIM_MAX", "EXPLAIN_DEADLINES_MAX", "FENCE_AHEAD_MAX", "FIELDS_MAX", "FINDINGS_MAX", "MENDS_MAX",
            "METADATA_ENTRIES_MAX", "OFFLINE_MS", "OPTIONS_MAX", "OVERCOMMIT_PERMILLE_MAX",
            "PAGE_RECORDS_MAX", "RECLAIM_BATCH_MAX", "QUOTAS_MAX", "RECLAIM_INLINE_MAX", "RECORD_FIELDS",
            "RECOVERY_FENCES", "RESOURCES_MAX",
            "SCOPE_DEPTH_MAX", "TRIM_EVERY", "PRIORITY_MAX", "WAIT_MAX_MS", "WAITER_TTL_MS", "GRANT_CLAIM_MS",
            "WAITERS_LOOKED_MAX", "GANG_MAX", "LINE_MARKS_MAX", "QUEUE_MAX", "PASSES_MAX", "WAIT_PASSED_MAX_MS",
            "PAGE_WAITERS_MAX", "EXPLAIN_WAITERS_MAX", "EXPLAIN_COUNTERS_MAX", "BACKFILL_STARTS_MAX",
            "AUDIT_WAITERS_MAX", "LOOK_AGAIN_MS", "PREEMPT_GRACE_MS",
            "PREEMPT_VICTIMS_MAX", "PREEMPT_CANDIDATES_MAX", "PREEMPT_LOOKED_MAX", "PREEMPT_COUNTERS_MAX",
            "HALF_LIFE_MS", "PENALTY_PARTS", "SHARER_LOOKED_MAX", "WEIGHT_MAX", "LINE_PRIORITIES_MAX",
            "HISTORY_MINUTES_MAX", "HISTORY_HOURS_MAX", "HISTORY_PAGE_MAX", "ID_LENGTH_MAX",
        )
    },
}  # fmt: skip
"""The limits of the scripts, `limits.NAME` there: `lua/modules/limits.lua` is generated from this."""
