"""Validity: how long a holder may rely on a reply of a primary that may have been replaced; no I/O.

Behind Sentinels, a grant of a primary is valid until `min(sent, confirmed + SENTINEL_BELIEF_S) + ttl`, where
`confirmed` is the last instant at which a Sentinel was asked that named this primary.  So a grant that only a replaced
primary has is no longer relied on by the end of a recovery grace that is longer than the ttl by `RECOVERY_MARGIN_S`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from allocator.models.allocations import Allocation, Renewal

__all__ = ["believed"]

R = TypeVar("R")


def believed(result: R, overdue_s: float) -> R:
    """A result with its deadlines earlier by `overdue_s`; one without deadlines is unchanged."""
    found: Any = result
    if isinstance(found, list):
        return cast("R", [believed(one, overdue_s) for one in cast("list[object]", found)])
    if isinstance(found, Allocation | Renewal) and found.deadline_ms is not None:
        return cast("R", replace(found, deadline_ms=found.deadline_ms - round(overdue_s * 1000)))
    return result
