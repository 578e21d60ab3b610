"""The schemas of the documents, for OpenAPI 3.1.  The fields of the library's values are those of their `FORMAT`."""

from __future__ import annotations

from typing import Any, Final

from allocator import (
    Allocation,
    Check,
    Denial,
    Event,
    Pool,
    Quota,
    Release,
    ResourceUsage,
    Shortage,
    Usage,
    UsageHistory,
    Waiter,
)
from allocator.models.pools import WaitingPriority
from allocator.models.queue import GangMember
from allocator.models.quotas import FairShare, QuotaUsage
from allocator.models.usage_history import UsageAmounts, UsagePoint
from allocator.serialization import API_VERSION, Value

__all__ = ["SCHEMAS", "listing", "obj", "ref"]

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
INTEGER: Final[Schema] = {"type": "integer"}
TRUTH: Final[Schema] = {"type": "boolean"}
OBJECT: Final[Schema] = {"type": "object"}
INSTANT: Final[Schema] = {"type": "string", "description": "RFC 3339, in UTC, to the millisecond"}


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def items(schema: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": schema}


def by_name(schema: Schema) -> Schema:
    """A mapping from names to these."""
    return {"type": "object", "additionalProperties": schema}


def obj(**properties: Schema) -> Schema:
    """An object that has all of these fields."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _head(kind: str) -> dict[str, Schema]:
    return {"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}}


def listing(kind: str, item: Schema, **fields: Schema) -> Schema:
    """A document with items."""
    return obj(**_head(kind), **fields, items=items(item))


def _of(model: type[Value], **known: Schema) -> Schema:
    """The fields of a value; the schema of each that is named here."""
    names = [one.name for one in model.FORMAT]
    unknown = known.keys() - set(names)
    assert not unknown, f"{model.__name__} has no {unknown}"
    return obj(**{name: known.get(name, {}) for name in names})


def _whole(model: type[Value]) -> Schema:
    """The document of a value: its fields, with the version and the kind."""
    fields = SCHEMAS[model.KIND]
    return obj(**_head(model.KIND), **fields["properties"])


AMOUNT: Final = obj(quantity=STRING, amount={"type": "integer", "description": "in the resource's unit"})
AMOUNTS: Final = by_name(ref("Amount"))
FAULT: Final = obj(code=STRING, message=STRING)

_AMOUNT_OR_NONE: Final = maybe(ref("Amount"))

SCHEMAS: Final[dict[str, Schema]] = {
    "Amount": AMOUNT,
    "Problem": {
        "type": "object",
        "properties": {
            "type": STRING, "title": STRING, "status": INTEGER, "code": STRING, "detail": STRING, "field": STRING,
            "sent": {"description": "what was sent, of a conflict"},
            "current": {"description": "what is there now, of a conflict; null: nothing"},
            "denial": ref("Denial"),
        },
        "required": ["type", "title", "status", "code", "detail"],
    },
    "ResourceUsage": _of(
        ResourceUsage,
        **dict.fromkeys(("allocated", "capacity", "kept", "reserved", "limit", "available"), ref("Amount")),
        overcommitPermille=INTEGER, utilizationPercent=INTEGER, overcommitted=TRUTH,
    ),
    "Pool": _of(
        Pool,
        name=STRING, state=STRING, capacity=AMOUNTS, allocated=AMOUNTS, overcommitted=items(STRING),
        wholeUnits=items(STRING), generation=INTEGER, revision=INTEGER, schema=INTEGER, epoch=STRING,
        createdAt=INSTANT, created=TRUTH, recoveryGraceMs=INTEGER, maxTtlMs=INTEGER, durability=STRING,
        recoveringUntil=maybe(INSTANT), recoveringWhy=STRING, clockOffsetMs=INTEGER, kept=AMOUNTS,
        defaultScope=maybe(STRING), requireScope=TRUTH, maxLifetimeMs=INTEGER, units=OBJECT, limit=AMOUNTS,
        queue=OBJECT, preemption=OBJECT,
    ),
    "WaitingPriority": _of(WaitingPriority, priority=INTEGER, waiting=INTEGER, since=maybe(INSTANT)),
    "Usage": _of(
        Usage,
        pool=STRING, readAt=INSTANT, readMs=INTEGER, resources=by_name(ref("ResourceUsage")), allocations=INTEGER,
        pinned=INTEGER, due=INTEGER, waiting=INTEGER, earliestDeadline=maybe(INSTANT), oldestPinned=maybe(INSTANT),
        scopeCount=INTEGER, line=items(ref("WaitingPriority")), configuration=ref("Pool"), counters=by_name(INTEGER),
    ),
    "UsageAmounts": _of(UsageAmounts, allocated=ref("Amount"), capacity=ref("Amount")),
    "UsagePoint": _of(
        UsagePoint,
        at=INSTANT, seconds=INTEGER, resources=by_name(ref("UsageAmounts")), allocations=INTEGER, waiting=INTEGER,
        grants=INTEGER, denials=INTEGER,
    ),
    "UsageHistory": _of(UsageHistory, pool=STRING, since=INSTANT, points=items(ref("UsagePoint"))),
    "Allocation": _of(
        Allocation,
        id=STRING, pool=STRING, owner=STRING, resources=AMOUNTS, fence=INTEGER, grantedAt=INSTANT,
        ttlMs=maybe(INTEGER), deadline=maybe(INSTANT), metadata=by_name(STRING), created=TRUTH, epoch=STRING,
        releasingAt=maybe(INSTANT), durability=STRING, scope=maybe(STRING), endsAt=maybe(INSTANT), priority=INTEGER,
        preemptedBy=maybe(STRING),
    ),
    "Shortage": _of(
        Shortage,
        level=STRING, name=STRING, resource=STRING,
        **dict.fromkeys(
            ("requested", "allocated", "capacity", "kept", "held", "minUnit", "maxUnit", "step", "growth", "available",
             "short"),
            ref("Amount"),
        ),
    ),
    "Denial": _of(
        Denial,
        code=STRING, never=TRUTH, pool=STRING, shortages=items(ref("Shortage")), item=INTEGER,
        position=maybe(INTEGER), startAt=maybe(INSTANT),
    ),
    "Check": _of(Check, fits=TRUTH, denial=maybe(ref("Denial")), fitsAt=maybe(INSTANT), victims=items(STRING)),
    "GangMember": _of(
        GangMember,
        id=STRING, owner=STRING, resources=AMOUNTS, ttlMs=maybe(INTEGER), scope=maybe(STRING),
        metadata=by_name(STRING), live=TRUTH,
    ),
    "Waiter": _of(
        Waiter,
        id=STRING, pool=STRING, position=INTEGER, owner=STRING, priority=INTEGER, resources=AMOUNTS, since=INSTANT,
        until=maybe(INSTANT), ttlMs=maybe(INTEGER), scope=maybe(STRING), denial=maybe(ref("Denial")),
        startAt=maybe(INSTANT), metadata=by_name(STRING), shareOf=maybe(STRING), members=items(ref("GangMember")),
    ),
    "QuotaUsage": _of(
        QuotaUsage,
        **dict.fromkeys(("allocated", "kept", "available", "used", "borrowed", "lent"), ref("Amount")),
        **dict.fromkeys(("nominal", "borrowingLimit", "lendingLimit"), _AMOUNT_OR_NONE),
    ),
    "FairShare": _of(FairShare, weight=maybe(INTEGER), livePpm=INTEGER, usedPpm=INTEGER),
    "Quota": _of(
        Quota,
        scope=STRING, pool=STRING, generation=INTEGER, resources=by_name(ref("QuotaUsage")), over=by_name(AMOUNTS),
        share=maybe(ref("FairShare")),
    ),
    "Event": _of(
        Event,
        event=STRING, at=maybe(INSTANT), type=STRING, id=maybe(STRING), owner=maybe(STRING), fence=maybe(INTEGER),
        actor=maybe(STRING), reason=maybe(STRING), resources=AMOUNTS, details=by_name(STRING),
    ),
    "Release": _of(Release, id=STRING, outcome=STRING, endedAt=maybe(INSTANT)),
    "Sum": obj(ends=INTEGER, frees=AMOUNTS),
    "Bar": obj(
        id=STRING, owner=STRING, scope=maybe(STRING), start=INSTANT, deadline=maybe(INSTANT), hardEnd=maybe(INSTANT),
        resources=AMOUNTS,
    ),
}  # fmt: skip
"""The schemas by name; of the library's values without version and kind, as items of lists have them."""

_LISTED: Final = obj(**SCHEMAS["Allocation"]["properties"], status=STRING)
_FAILED: Final = obj(pool=STRING, error=FAULT)

SCHEMAS.update(
    {f"{model.KIND}Document": _whole(model) for model in (Usage, UsageHistory, Check, Pool, Quota, Release, Event)}
)
SCHEMAS.update({
    "ListedAllocation": _LISTED,
    "About": obj(
        **_head("Dashboard"), version=STRING, allowChanges=TRUTH, prefix=STRING, pools=items(STRING),
        poolsLeftOut=INTEGER, error=maybe(FAULT),
    ),
    "UsageList": listing("UsageList", {"anyOf": [ref("Usage"), _FAILED]}, leftOut=INTEGER),
    "AllocationList": listing(
        "AllocationList", ref("ListedAllocation"), pool=STRING, cursor=maybe(STRING), matching=INTEGER, total=INTEGER,
        leftOut=INTEGER, readAt=INSTANT,
    ),
    "AllocationStory": obj(**_head("Allocation"), **_LISTED["properties"], events=items(ref("Event"))),
    "Timeline": listing(
        "Timeline", ref("Bar"), pool=STRING, **{"from": INSTANT, "to": INSTANT}, total=INTEGER,
        buckets=items(obj(at=INSTANT, ends=INTEGER, frees=AMOUNTS)), overdue=ref("Sum"), later=ref("Sum"),
        pinned=INTEGER, leftOut=INTEGER, readAt=INSTANT,
    ),
    "WaiterList": listing("WaiterList", ref("Waiter"), pool=STRING, total=INTEGER, leftOut=INTEGER),
    "QuotaList": listing("QuotaList", ref("Quota"), pool=STRING, total=INTEGER, leftOut=INTEGER),
    "GroupList": listing(
        "GroupList", obj(key=STRING, allocations=INTEGER, resources=AMOUNTS), pool=STRING, by=STRING, total=INTEGER,
        groupsLeftOut=INTEGER, leftOut=INTEGER, readAt=INSTANT,
    ),
    "EventList": listing("EventList", ref("Event"), pool=STRING, cursor=STRING),
    "Withdrawal": obj(**_head("Withdrawal"), pool=STRING, id=STRING, outcome=STRING),
    "Health": obj(status={"const": "ok"}),
})  # fmt: skip
