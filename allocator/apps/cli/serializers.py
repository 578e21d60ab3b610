"""The library's models for programs: camelCase fields, amounts twice (text and integer), instants in RFC 3339."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allocator.apps.cli.output import amounts, rfc3339
from allocator.denials import Denial
from allocator.models.allocations import Allocation, Check, Release, Renewal
from allocator.models.events import Event
from allocator.models.maintenance import Audit
from allocator.models.pools import Pool, Usage
from allocator.resources import Resources
from allocator.units import format_amount

__all__ = [
    "allocation",
    "audit",
    "check",
    "denial",
    "event",
    "event_amounts",
    "pool",
    "pool_from",
    "release",
    "renewal",
    "status",
    "usage",
]

_AMOUNT = ".allocated"


def status(item: Allocation, now_ms: int) -> str:
    """`Pinned`, `Live`, `Releasing` (its release has begun), or `Due`: past its deadline and not yet reclaimed."""
    if item.deadline_ms is None:
        return "Pinned"
    if item.deadline_ms <= now_ms:
        return "Due"
    return "Live" if item.releasing_ms is None else "Releasing"


def allocation(item: Allocation, now_ms: int) -> dict[str, Any]:
    """An allocation, with its status at `now_ms`."""
    return {
        "id": item.id,
        "pool": item.pool,
        "owner": item.owner,
        "status": status(item, now_ms),
        "resources": amounts(item.resources),
        "fence": item.fence,
        "grantedAt": rfc3339(item.granted_ms),
        "ttlSeconds": None if item.ttl_ms is None else item.ttl_ms / 1000,
        "deadline": rfc3339(item.deadline_ms),
        "metadata": dict(item.metadata),
        "epoch": item.epoch,
        "releasingAt": rfc3339(item.releasing_ms),
        "durability": item.durability,
    }


def denial(item: Denial) -> dict[str, Any]:
    """A denial with its numbers."""
    return {
        "code": item.code,
        "never": item.never,
        "pool": item.pool,
        "shortages": [
            {
                "level": short.level,
                "name": short.name,
                "resource": short.resource,
                **{
                    what: {"quantity": format_amount(short.resource, amount), "amount": amount}
                    for what, amount in (
                        ("requested", short.requested),
                        ("allocated", short.allocated),
                        ("capacity", short.capacity),
                        ("available", short.available),
                        ("short", short.short),
                    )
                },
            }
            for short in item.shortages
        ],
    }


def check(item: Check) -> dict[str, Any]:
    """The result of a check."""
    return {
        "fits": item.fits,
        "denial": None if item.denial is None else denial(item.denial),
        "fitsAt": rfc3339(item.fits_ms),
    }


def renewal(item: Renewal) -> dict[str, Any]:
    """The outcome of one renewal."""
    return {"id": item.id, "outcome": item.outcome, "fence": item.fence, "deadline": rfc3339(item.deadline_ms)}


def release(item: Release) -> dict[str, Any]:
    """The outcome of one release."""
    return {"id": item.id, "outcome": item.outcome, "endedAt": rfc3339(item.ended_ms)}


def pool(item: Pool) -> dict[str, Any]:
    """A pool as configured."""
    return {
        "name": item.name,
        "state": item.state,
        "capacity": amounts(item.capacity),
        "allocated": amounts(item.allocated),
        "overcommitted": list(item.overcommitted),
        "wholeUnits": list(item.whole_units),
        "generation": item.generation,
        "revision": item.revision,
        "schema": item.schema,
        "epoch": item.epoch,
        "createdAt": rfc3339(item.created_ms),
        "recoveryGraceSeconds": item.recovery_grace_ms / 1000,
        "maxTtlSeconds": item.max_ttl_ms / 1000,
        "durability": item.durability,
        "recoveringUntil": rfc3339(item.recovering_until_ms or None),
    }


def pool_from(told: Mapping[str, Any]) -> Pool:
    """The inverse of `pool`, with the fields that `pools.recover` needs."""
    return Pool(
        name=str(told["name"]),
        epoch=str(told["epoch"]),
        generation=int(told["generation"]),
        revision=int(told["revision"]),
        schema=int(told["schema"]),
        created_ms=0,
        state="",
        capacity=Resources.of({name: int(row["amount"]) for name, row in told["capacity"].items()}),
        allocated=Resources(),
        whole_units=tuple(told["wholeUnits"]),
        recovery_grace_ms=round(1000 * told["recoveryGraceSeconds"]),
        max_ttl_ms=round(1000 * told["maxTtlSeconds"]),
        durability=str(told["durability"]),
    )


def usage(item: Usage) -> dict[str, Any]:
    """The usage of a pool."""
    return {
        "pool": item.pool.name,
        "readAt": rfc3339(item.read_ms),
        "readMs": item.read_ms,
        "resources": {
            name: {
                **{
                    what: {"quantity": format_amount(name, amount), "amount": amount}
                    for what, amount in (
                        ("allocated", row.allocated),
                        ("capacity", row.capacity),
                        ("available", row.available),
                    )
                },
                "utilization": round(row.utilization, 2),
                "overcommitted": row.overcommitted,
            }
            for name, row in item.resources.items()
        },
        "allocations": item.allocations,
        "pinned": item.pinned,
        "due": item.due,
    }


def event_amounts(fields: Mapping[str, str]) -> dict[str, int]:
    """The amounts of an event."""
    found = {name.removesuffix(_AMOUNT): text for name, text in fields.items() if name.endswith(_AMOUNT)}
    return {name: int(text) for name, text in found.items() if text.isdecimal()}


def event(item: Event) -> dict[str, Any]:
    """One entry of the event stream; fields other than the owner and the amounts are in `details`."""
    known = {"id", "owner", "fence", "reason"}
    return {
        "event": item.id,
        "at": rfc3339(int(item.id.partition("-")[0])),
        "type": item.kind,
        "id": item.fields.get("id"),
        "owner": item.fields.get("owner"),
        "fence": int(fence) if (fence := item.fields.get("fence", "")).isdecimal() else None,
        "reason": item.fields.get("reason"),
        "resources": amounts(event_amounts(item.fields)),
        "details": {
            name: text for name, text in item.fields.items() if name not in known and not name.endswith(_AMOUNT)
        },
    }


def audit(item: Audit) -> dict[str, Any]:
    """The result of an audit."""
    return {
        "pool": item.pool,
        "status": item.status,
        "records": item.records,
        "total": item.total,
        "findings": [
            {"kind": finding.kind, "subject": finding.subject, "detail": finding.detail} for finding in item.findings
        ],
        "overcommitted": list(item.overcommitted),
        "revision": item.revision,
    }
