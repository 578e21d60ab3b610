"""check: whether a request would be granted now."""

from __future__ import annotations

from typing import Final

from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.reclaim import reclaim_due
from allocator._engine.operations.replies import (
    decode_denial,
    foreseen,
    raise_refused,
    recovering,
    scope_required,
    too_long,
    unknown_scope,
)
from allocator._engine.operations.requests import encode_amounts
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Call, Flow, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load
from allocator.models.allocations import Check, RequestLike, Ttl
from allocator.resources import Resources
from allocator.validation import lifetime_ms, priority_number, scope_name

_CHECK: Final = load("check")


def _denied(pool: PoolKeys, reply: Reply) -> Check:
    _, code, fits_ms, victims, position, start_ms, *numbers = reply
    denial = foreseen(decode_denial(pool, [code, *numbers]), position, start_ms)
    return Check(fits=False, denial=denial, fits_ms=fits_ms or None, victims=tuple(victims))


def check(
    defaults: Defaults,
    request: RequestLike,
    scope: str | None = None,
    priority: int = 0,
    max_lifetime: Ttl = None,
    *,
    explain: bool = False,
    ttl_ms: int | None = None,
    preempt: bool = False,
) -> Flow[Check]:
    """Whether the request would be granted now; changes nothing.  One round trip.

    Raises:
        InvalidRequest: `code="ttl_too_long"`: the pool does not grant this time to live.  0 pins; None is not tested.
        UnknownScope
    """
    pool, resources = defaults.pool, Resources.request(request)
    charged_to = "" if scope is None else scope_name(scope)
    call = Call(
        _CHECK,
        pool,
        _CHECK.bind_keys(pool),
        (
            *_CHECK.bind(
                epoch=pool.epoch,
                actor=pool.actor,
                explain=int(explain),
                priority=priority_number(priority) if priority else 0,
                preempt=int(bool(preempt)),
                ttl_ms="" if ttl_ms is None else ttl_ms,
                lifetime_ms=lifetime_ms(max_lifetime),
                scope=charged_to,
                resources=len(resources),
            ),
            *encode_amounts(resources, schema.ALLOCATED)[1:],
        ),
    )
    while True:
        reply: Reply = yield call
        match reply[0]:
            case "fits":
                return Check(fits=True)
            case "denied":
                return _denied(pool, reply)
            case "reclaim_first":
                yield from reclaim_due(pool)
            case "unknown_scope":
                raise unknown_scope(pool, reply[1])
            case "scope_required":
                raise scope_required(pool)
            case "recovering":
                raise recovering(pool, reply)
            case "ttl_too_long":
                raise too_long(pool, reply)
            case word:
                raise_refused(pool, word)
