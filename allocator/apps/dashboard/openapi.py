"""The description of the JSON API, OpenAPI 3.1: a document that the server itself gives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.schemas import SCHEMAS, ref
from allocator.distribution import version
from allocator.settings import PAGE_RECORDS_MAX

__all__ = ["openapi"]

_TEXT: Final = {"type": "string"}
_INTEGER: Final = {"type": "integer"}
_QUANTITY: Final = {"type": ["string", "integer"]}
_QUANTITIES: Final = {"type": "object", "additionalProperties": _QUANTITY, "minProperties": 1}
_LIMIT_PARTS: Final = ("nominal", "borrowingLimit", "lendingLimit")
_LIMIT: Final = {
    "anyOf": [
        _QUANTITY,
        {"type": "object", "properties": {one: {"type": ["string", "integer", "null"]} for one in _LIMIT_PARTS}},
    ]
}

_DESCRIPTION: Final = """\
The documents are those of `resource-allocator ... -o json`.  Each request needs `Authorization: Bearer TOKEN`, and a
Host that names this server; an Origin must be this server.  Errors are `application/problem+json` (RFC 9457) with the
library's stable codes.  Changes need `--allow-changes`, the header `X-Requested-With: allocator` and an Origin.
"""


def _number(name: str, default: int, most: int, least: int = 1) -> dict[str, Any]:
    return _query(name, {**_INTEGER, "minimum": least, "maximum": most, "default": default})


def _query(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    said = {"description": description} if description else {}
    return {"name": name, "in": "query", "schema": schema, **said}


def _in_path(path: str) -> list[dict[str, Any]]:
    names = [one.partition("}")[0] for one in path.split("{")[1:]]
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]


def _operation(
    path: str, summary: str, answer: str, query: Sequence[dict[str, Any]] = (), body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One operation.

    Args:
        path: Its path.
        summary: What it does.
        answer: The name of the schema of its answer, or its media type.
        query: Its arguments.
        body: The schema of its body.
    """
    kind, schema = (answer, _TEXT) if "/" in answer else ("application/json", ref(answer))
    problem = {"application/problem+json": {"schema": ref("Problem")}}
    found: dict[str, Any] = {
        "summary": summary,
        "parameters": [*_in_path(path), *query],
        "responses": {
            "200": {"description": "done", "content": {kind: {"schema": schema}}},
            "default": {"description": "a problem", "content": problem},
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def _body(*required: str, **properties: Any) -> dict[str, Any]:
    more = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


_LIST: Final = (
    _query("owner", _TEXT, "of this owner; `team-a/*`: of each below it"),
    _query("scope", _TEXT, "charged to this scope or one below it"),
    _query("q", _TEXT, "a text in the id, the owner, the scope or the metadata"),
    _query("sort", {"enum": ["age", "deadline", "id", "owner"], "default": "age"}),
    _number("limit", bounds.ROWS, bounds.ROWS_MAX),
    _query("cursor", _TEXT, "of the page before"),
)
_TIMELINE: Final = (
    _query("from", _TEXT, "an instant: RFC 3339, or milliseconds since 1970 [now]"),
    _query("to", _TEXT, "an instant [the last deadline, within a day]"),
    _number("rows", bounds.ROWS, bounds.ROWS_MAX, 0),
)
_HISTORY: Final = (
    {**_number("since", bounds.HISTORY_S, bounds.HISTORY_MAX_S, bounds.HISTORY_MIN_S), "description": "seconds ago"},
    _query("resolution", {"enum": [60, 3600]}, "seconds of an interval [60 for a day, else 3600]"),
)
_GROUPS: Final = (
    _query("by", {"enum": ["owner", "scope"], "default": "owner"}),
    _number("limit", bounds.ROWS, bounds.ROWS_MAX),
)
_CURSOR: Final = _query("since", _TEXT, "the cursor of an event; `0`: from the first one that is stored")
_EVENTS: Final = (_CURSOR, _number("limit", bounds.ROWS, PAGE_RECORDS_MAX))
_STREAM: Final = ({**_query("pool", _TEXT), "required": True}, _CURSOR)
_CHECK: Final = _body(
    "resources",
    resources=_QUANTITIES,
    scope={"type": ["string", "null"]},
    priority={"type": ["integer", "null"]},
    preempt={"type": "boolean"},
    maxLifetime={"type": ["number", "null"], "description": "seconds until its hard end"},
    ttl={"type": ["number", "null"], "description": "seconds; whether a request fits does not depend on it"},
)
_FENCE: Final = _body(fence={"type": ["integer", "null"], "description": "only if it is the grant of this fence"})
_QUOTA: Final = _body(
    limits={"type": ["object", "null"], "additionalProperties": _LIMIT},
    weight={"type": ["integer", "null"]},
    generation={"type": ["integer", "null"], "description": "only if the quota is of this generation"},
)


@functools.cache
def openapi() -> dict[str, Any]:
    """The description as a document."""
    api = "/api/v1"
    pool = f"{api}/pools/{{pool}}"
    table: list[tuple[str, str, str, str, Sequence[dict[str, Any]], dict[str, Any] | None]] = [
        ("get", api, "What this dashboard is and serves.", "About", (), None),
        ("get", f"{api}/openapi.json", "This description.", "application/json", (), None),
        ("get", f"{api}/stream", "What happens in a pool, as it happens.", "text/event-stream", _STREAM, None),
        ("get", f"{api}/pools", "The usage of each pool.", "UsageList", (), None),
        ("get", pool, "The usage of a pool.", "UsageDocument", (), None),
        ("get", f"{pool}/allocations", "The allocations, a page at a time.", "AllocationList", _LIST, None),
        ("get", f"{pool}/allocations/{{id}}", "An allocation, with its events.", "AllocationStory", (), None),
        ("get", f"{pool}/timeline", "What frees up when.", "Timeline", _TIMELINE, None),
        ("get", f"{pool}/history", "What it had over time.", "UsageHistoryDocument", _HISTORY, None),
        ("get", f"{pool}/queue", "Who waits in line.", "WaiterList", (), None),
        ("get", f"{pool}/quotas", "The tree of scopes, flat.", "QuotaList", (), None),
        ("get", f"{pool}/groups", "What each owner or scope has.", "GroupList", _GROUPS, None),
        ("get", f"{pool}/events", "Events after a cursor, or the latest.", "EventList", _EVENTS, None),
        ("post", f"{pool}/check", "Whether a request would be granted now.", "CheckDocument", (), _CHECK),
        ("post", f"{pool}/allocations/{{id}}/release", "Release it.", "ReleaseDocument", (), _FENCE),
        ("patch", pool, "Change the capacity.", "PoolDocument", (),
         _body("capacity", "generation", capacity=_QUANTITIES, generation=_INTEGER)),
        ("put", f"{pool}/quotas/{{scope}}", "Set the limits of a scope.", "QuotaDocument", (), _QUOTA),
        ("post", f"{pool}/queue/{{id}}/withdraw", "Take it out of the line.", "Withdrawal", (), _body()),
        ("get", "/healthz", "Whether the server of the pools does its work; without a token.", "Health", (), None),
        ("get", "/metrics", "The metrics, for Prometheus.", "text/plain", (), None),
    ]  # fmt: skip
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, answer, query, body in table:
        paths.setdefault(path, {})[method] = _operation(path, summary, answer, query, body)
    paths["/healthz"]["get"]["security"] = []
    return {
        "openapi": "3.1.0",
        "info": {"title": "redis-resource-allocator dashboard", "version": version(), "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
