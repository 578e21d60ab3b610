"""Field names, reply words and shared bounds, once; `lua/include/schema.lua` is rendered from this.

`python -m allocator._engine.schema` prints the include; a test compares it with the file, so the two cannot drift apart.
Fields of an account or record that end in `.capacity` or `.allocated` are amounts, and no others do, so a resource may have
any name.
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
    "CHECK_DUE_MAX": settings.CHECK_DUE_MAX,
    "ENDED_KEEP_MS": settings.ENDED_KEEP_MS,
    "ENDED_MAX": settings.ENDED_MAX,
    "ENDED_TRIM": settings.ENDED_TRIM,
    "EVENTS_MAX": settings.EVENTS_MAX,
    "EXPLAIN_DEADLINES_MAX": settings.EXPLAIN_DEADLINES_MAX,
    "FINDINGS_MAX": settings.FINDINGS_MAX,
    "PAGE_RECORDS_MAX": settings.PAGE_RECORDS_MAX,
    "RECLAIM_BATCH_MAX": settings.RECLAIM_BATCH_MAX,
    "RECLAIM_INLINE_MAX": settings.RECLAIM_INLINE_MAX,
    "RESOURCES_MAX": settings.RESOURCES_MAX,
    "VERSION": VERSION,
}


def render() -> str:
    """The text of `lua/include/schema.lua`."""
    lines = [
        "-- Bounds shared with Python, rendered from allocator/_engine/schema.py: edit there, then",
        "-- python -m allocator._engine.schema > lua/include/schema.lua",
        "local schema = {",
        *(f"  {name} = {value}," for name, value in sorted(BOUNDS.items())),
        "}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(render())
