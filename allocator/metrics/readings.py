"""What was read of a pool, as samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allocator.metrics.families import Samples
from allocator.models.maintenance import Audit
from allocator.models.pools import Usage
from allocator.models.quotas import Quota
from allocator.settings import AMOUNT_MAX
from allocator.units import Unit, scale_of, unit_of

__all__ = ["add_audit", "add_quotas", "add_usage"]

STATES: Final = ("active", "offline", "recovering", "deleting")
STATUSES: Final = ("clean", "drift", "repaired", "inconclusive")

EVENTS: Final[tuple[str, ...]] = (
    "granted", "released", "reclaimed", "preempted", "undone", "adopted", "resized", "waiting", "withdrawn", "broken",
    "rolled_back", "recovering",
)  # fmt: skip
"""The kinds of events that are shown as 0 where there was none, so that their first one is a rate, too."""

DENIALS: Final[tuple[str, ...]] = (
    "unknown_resource", "constraint_violation", "unit_violation", "never_fits", "capacity_exceeded", "quota_exceeded",
    "queued", "queue_full",
)  # fmt: skip
"""The codes of denials."""

_DENIED: Final = "denied."

_UNITS: Final = {Unit.MILLICORES: "core", Unit.BYTES: "byte", Unit.THOUSANDTHS: "unit"}


def _labels(resource: str) -> tuple[str, str]:
    return resource, _UNITS[unit_of(resource)]


def _seconds(ms: int) -> float:
    return ms / 1000


def add_usage(samples: Samples, usage: Usage) -> None:
    """Add the counters of a pool, its allocations, its line and its state."""
    pool = usage.pool
    name = pool.name
    samples.add("allocator_pool_info", 1, name, pool.epoch, pool.durability, pool.queue.policy or "")
    samples.add_state("allocator_pool_state", STATES, pool.state, name)
    samples.add("allocator_pool_generation", pool.generation, name)
    samples.add("allocator_pool_revision", pool.revision, name)
    recovers_ms = max(0, pool.recovering_until_ms - usage.read_ms)
    samples.add("allocator_pool_recovery_remaining_seconds", _seconds(recovers_ms), name)
    samples.add("allocator_pool_clock_offset_seconds", _seconds(pool.clock_offset_ms), name)
    for resource, row in usage.resources.items():
        labels, scale = (name, *_labels(resource)), scale_of(resource)
        samples.add("allocator_resource_capacity", row.capacity / scale, *labels)
        samples.add("allocator_resource_limit", row.limit / scale, *labels)
        samples.add("allocator_resource_allocated", row.allocated / scale, *labels)
        samples.add("allocator_resource_kept", row.kept / scale, *labels)
        samples.add("allocator_resource_available", row.available / scale, *labels)
        samples.add("allocator_resource_overcommitted", max(0, row.allocated - row.limit) / scale, *labels)
    _add_allocations(samples, usage)
    _add_counters(samples, usage)
    _add_line(samples, usage)
    samples.add("allocator_quota_scopes", usage.scopes, name)


def _add_allocations(samples: Samples, usage: Usage) -> None:
    name = usage.pool.name
    samples.add("allocator_allocations", usage.allocations - usage.pinned, name, "leased")
    samples.add("allocator_allocations", usage.pinned, name, "pinned")
    samples.add("allocator_allocations_due", usage.due, name)
    overdue_ms = 0 if usage.deadline_ms is None else max(0, usage.read_ms - usage.deadline_ms)
    samples.add("allocator_deadline_overdue_seconds", _seconds(overdue_ms), name)
    if usage.deadline_ms is not None:
        samples.add("allocator_earliest_deadline_timestamp_seconds", _seconds(usage.deadline_ms), name)
    if usage.pinned_ms is not None:
        age_ms = max(0, usage.read_ms - usage.pinned_ms)
        samples.add("allocator_oldest_pinned_age_seconds", _seconds(age_ms), name)


def _add_counters(samples: Samples, usage: Usage) -> None:
    name = usage.pool.name
    denials: dict[str, int] = dict.fromkeys(DENIALS, 0)
    events: dict[str, int] = dict.fromkeys(EVENTS, 0)
    for counter, number in usage.counters.items():
        if counter.startswith(_DENIED):
            denials[counter.removeprefix(_DENIED)] = number
        else:
            events[counter] = number
    for kind, number in events.items():
        samples.add("allocator_events_total", number, name, kind)
    for reason, number in denials.items():
        samples.add("allocator_denials_total", number, name, reason)


def _add_line(samples: Samples, usage: Usage) -> None:
    name = usage.pool.name
    samples.add("allocator_waiting", usage.waiting, name)
    samples.add("allocator_waiting_left_out", usage.waiting - sum(one.waiting for one in usage.line), name)
    for one in usage.line:
        samples.add("allocator_waiting_by_priority", one.waiting, name, str(one.priority))
        if one.since_ms is not None:
            waited_ms = max(0, usage.read_ms - one.since_ms)
            samples.add("allocator_oldest_wait_seconds", _seconds(waited_ms), name, str(one.priority))


def add_quotas(samples: Samples, pool: str, quotas: Sequence[Quota], scopes: int) -> None:
    """Add the scopes that were read, of so many that there are."""
    samples.add("allocator_quota_scopes_left_out", max(0, scopes - len(quotas)), pool)
    for quota in quotas:
        for resource, row in quota.resources.items():
            labels, scale = (pool, quota.scope, *_labels(resource)), scale_of(resource)
            samples.add("allocator_quota_allocated", row.allocated / scale, *labels)
            samples.add("allocator_quota_kept", row.kept / scale, *labels)
            if row.available < AMOUNT_MAX:
                samples.add("allocator_quota_available", max(0, row.available) / scale, *labels)
            if row.nominal is not None:
                samples.add("allocator_quota_borrowed", row.borrowed / scale, *labels)
                samples.add("allocator_quota_lent", row.lent / scale, *labels)
                samples.add("allocator_quota_nominal", row.nominal / scale, *labels)
            if row.maximum is not None:
                samples.add("allocator_quota_maximum", row.maximum / scale, *labels)


def add_audit(samples: Samples, audit: Audit, made_s: float) -> None:
    """Add the last audit of a pool."""
    samples.add_state("allocator_audit_status", STATUSES, audit.status, audit.pool)
    samples.add("allocator_audit_findings", audit.total, audit.pool)
    samples.add("allocator_audit_timestamp_seconds", made_s, audit.pool)
