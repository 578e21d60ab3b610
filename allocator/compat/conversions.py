"""Conversions for the original API: parse its limits and totals, format its dicts and messages.  No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

from allocator.compat.limits import CHECK_KEEP_MAX_S
from allocator.denials import Denial
from allocator.errors import InvalidQuantity, InvalidRequest
from allocator.models.accounts import ResourceUsage
from allocator.models.allocations import Allocation, RequestLike
from allocator.models.pools import Pool, Usage
from allocator.quantity import float_text, parse_capacity, shown
from allocator.resources import Resources
from allocator.settings import AGE_MAX_S, AMOUNT_MAX
from allocator.units import format_amount, format_cores, format_mebibytes
from allocator.validation import allocation_id, fence, grace_ms, metadata, owner_name, ttl_ms

__all__ = [
    "AGE_MIN",
    "KEPT_BY_CHECK",
    "KEPT_BY_KEY",
    "ORIGINAL_LIMITS",
    "allocation_dict",
    "check_identity",
    "cores",
    "keep_s",
    "limits_metadata",
    "mebibytes",
    "oldest_first",
    "parse_age",
    "parse_handle",
    "parse_limits",
    "parse_total",
    "refusal",
    "totals_of",
    "usage_dict",
]

AGE_MIN: Final = timedelta(milliseconds=1)
"""The scripts count in milliseconds, and an age of 0 means "no pinned allocation" to them."""

_MEBIBYTE: Final = 2**20

ORIGINAL_LIMITS: Final = "original_limits"
"""The key of the limits as the caller wrote them, in an allocation's metadata and in its dict."""

_KEYS: Final = ("allocation_id", "allocated_at", "fence", ORIGINAL_LIMITS, "pool")
"""Keys of an allocation's dict that are not resources.  A resource of such a name is refused, as it would hide one."""

KEPT_BY_KEY: Final = "kept_by"
KEPT_BY_CHECK: Final = "check_availability"
"""The metadata of a lease that a check keeps."""

_POSITIVE: Final = ("cpu", "memory")
"""Resources of which zero is refused, as in the original."""

_REASONS: Final = {
    "never_fits": " (more than the whole capacity: it will never fit)",
    "unknown_resource": " (the pool does not count it)",
    "constraint_violation": " (only whole units of it are given)",
    "unit_violation": " (it is given in other amounts only)",
}

_NOTHING: Final = ResourceUsage(capacity=0, allocated=0)
"""The usage of a resource that the pool does not count."""


def parse_total(field: str, resource: str, number: object, what: str, *, suffix: str = "") -> int:
    """The amount of one of the constructor's totals, rounded down to the unit.

    Args:
        field: The constructor's argument, for the error.
        resource: The resource's name.
        number: An int or float, at least 0.
        what: The name of its unit, for the error.
        suffix: The quantity suffix of that unit.
    """
    if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= AMOUNT_MAX:  # NaN is not
        plain = float_text(number) if isinstance(number, float) else int(number)  # a subclass may have another text
        try:
            return parse_capacity(resource, f"{plain}{suffix}")
        except InvalidQuantity:
            pass
    raise InvalidRequest(f"{field}: {shown(number)} is not a number of {what} that can be counted", field=field)


def parse_limits(limits: RequestLike) -> Resources:
    """The amounts of a request; only named resources are charged, memory in whole MiB, rounded up.

    Raises:
        InvalidRequest: The limits are invalid, `cpu` or `memory` is zero, or a name is a key of the allocation's dict.
    """
    request = Resources.request(limits)
    for name in _KEYS:
        if name in request:
            raise InvalidRequest(f"resource: {name!r} is taken: it is a key of the allocation's dict", field="resource")
    for name in _POSITIVE:
        if name in limits and name not in request:
            raise InvalidRequest(f"{name}: {shown(limits[name])} is zero: ask for more, or leave it out", field=name)
    memory = request.get("memory", 0)
    whole = _whole_mebibytes(memory)
    return request if whole == memory or whole > AMOUNT_MAX else Resources.of({**request, "memory": whole})


def _whole_mebibytes(amount: int) -> int:
    """Bytes, rounded up to whole MiB."""
    return -(-amount // _MEBIBYTE) * _MEBIBYTE


def limits_metadata(limits: RequestLike) -> dict[str, str]:
    """The limits as the caller wrote them, as the original kept them; empty if that is too long to be stored."""
    kept = {ORIGINAL_LIMITS: str(limits.text() if isinstance(limits, Resources) else dict(limits))}
    try:
        return dict(metadata(kept))
    except InvalidRequest:
        return {}


def keep_s(reserve_on_check: object) -> float | None:
    """The seconds for which a check keeps what it found; None: it keeps nothing."""
    if reserve_on_check is None:
        return None
    kept_ms = grace_ms(reserve_on_check, "reserve_on_check", CHECK_KEEP_MAX_S)
    if not kept_ms:
        raise InvalidRequest("reserve_on_check: 0 s keep nothing; None turns it off", field="reserve_on_check")
    return kept_ms / 1000


def check_identity(id: object, owner: object, ttl: object) -> None:
    """Validate the arguments as the client does, before the first use of an object creates the pool."""
    if id is not None:
        allocation_id(id)
    if owner is not None:
        owner_name(owner)
    ttl_ms(ttl)


def parse_handle(data: object, pool: str) -> tuple[str, int | None]:
    """The id and the fence in an allocation's dict; a dict without a fence matches any.

    Raises:
        InvalidRequest: It is not such a dict, or it is of another pool.
    """
    text = shown(data)
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"allocation_data: {text} is not an allocation's dict", field="allocation_data")
    known = cast("Mapping[Any, object]", data)
    if "allocation_id" not in known:
        raise InvalidRequest(f"allocation_data: {text} has no allocation_id", field="allocation_data")
    if known.get("pool", pool) != pool:
        raise InvalidRequest(f"allocation_data: it is of pool {shown(known['pool'])}, not of {pool}", field="pool")
    return allocation_id(known["allocation_id"]), fence(_integer(known.get("fence"))) or None


def _integer(value: object) -> object:
    """The integer of a text of digits; any other value unchanged, for the check that follows."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(AMOUNT_MAX)):
        return int(value)
    return value


def parse_age(max_age_hours: object) -> timedelta:
    """The age for `cleanup_expired_allocations`, given in hours; at least a millisecond, the scripts' unit."""
    most = AGE_MAX_S / 3600
    if isinstance(max_age_hours, (int, float)) and not isinstance(max_age_hours, bool) and 0 <= max_age_hours <= most:
        return max(AGE_MIN, timedelta(hours=max_age_hours))
    raise InvalidRequest(
        f"max_age_hours: {shown(max_age_hours)} is not a number of hours from 0 to {most:.0f}", field="max_age_hours"
    )


def refusal(request: Resources, denial: Denial) -> str:
    """The original's message: the request, and the available amount of each resource that was short."""
    requested = ", ".join(f"{name}={_text(name, amount)}" for name, amount in request.items())
    available = ", ".join(
        f"{short.resource}={_text(short.resource, short.available)} of {_text(short.resource, short.capacity)}"
        for short in denial.shortages
    )
    reason = _REASONS.get(denial.code, "")
    return f"Insufficient resources available. Requested: {requested}. Available: {available}{reason}"


def allocation_dict(allocation: Allocation) -> dict[str, str]:
    """An allocation as the original's dict, with `fence` and `pool` added.

    `cpu` and `memory` are always present, as the original's callers print them.  The keys that are not resources come
    last, so that no resource of an allocation that was made otherwise can replace one.  `original_limits` is missing
    if the allocation was made otherwise.
    """
    held = {"cpu": 0, "memory": 0, **allocation.resources}
    held["memory"] = _whole_mebibytes(held["memory"])
    written = allocation.metadata.get(ORIGINAL_LIMITS)
    return {
        **{name: _text(name, amount) for name, amount in held.items()},
        "allocation_id": allocation.id,
        "allocated_at": allocation.granted_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **({} if written is None else {ORIGINAL_LIMITS: written}),
        "fence": str(allocation.fence),
        "pool": allocation.pool,
    }


def oldest_first(allocations: Iterable[Allocation]) -> dict[str, dict[str, str]]:
    """The dicts of allocations by their ids, the oldest first, without those that a check keeps."""
    found = [one for one in allocations if one.metadata.get(KEPT_BY_KEY) != KEPT_BY_CHECK]
    found.sort(key=lambda one: (one.granted_ms, one.fence))
    return {one.id: allocation_dict(one) for one in found}


def usage_dict(usage: Usage) -> dict[str, float]:
    """The pool's usage as the original's dict."""
    cpu = usage.resources.get("cpu", _NOTHING)
    memory = usage.resources.get("memory", _NOTHING)
    return {
        "total_cpu": cores(cpu.limit),
        "allocated_cpu": cores(cpu.allocated),
        "available_cpu": cores(cpu.available),
        "cpu_utilization": cpu.utilization,
        "total_memory_mb": mebibytes(memory.limit),
        "allocated_memory_mb": mebibytes(memory.allocated),
        "available_memory_mb": mebibytes(memory.available),
        "memory_utilization": memory.utilization,
        "active_allocations": usage.allocations,
    }


def totals_of(pool: Pool) -> Resources:
    """The pool's capacity of the two resources that the constructor names."""
    return Resources.of({name: pool.capacity.get(name, 0) for name in ("cpu", "memory")})


def cores(millicores: int) -> float:
    """Cores; exact to the millicore."""
    return millicores / 1000


def mebibytes(amount: int) -> float:
    """Bytes in MiB, an int where whole."""
    whole, rest = divmod(amount, _MEBIBYTE)
    return amount / _MEBIBYTE if rest else whole


def _text(resource: str, amount: int) -> str:
    """An amount in the original's format: cores, mebibytes; canonical for other resources."""
    if resource == "cpu":
        return format_cores(amount)
    return format_mebibytes(amount) if resource == "memory" else format_amount(resource, amount)
