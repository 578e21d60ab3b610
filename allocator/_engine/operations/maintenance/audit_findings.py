"""The findings of an audit: counters compared with sums over records.  Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from allocator._engine.protocol.pool_units import decode_units
from allocator.errors import InvariantError
from allocator.models.maintenance import Finding
from allocator.models.resource_units import ResourceUnits, limit_of
from allocator.settings import AMOUNT_MAX
from allocator.units import format_amount

_AMOUNT: Final = re.compile(r"\b[0-9]+\b", re.ASCII)


def drift(counters: Mapping[str, str], capacities: Mapping[str, str], sums: Mapping[str, int]) -> list[Finding]:
    """Findings for counters that are not the sum over the records, or not an amount.

    Args:
        counters: Resource -> the account's `allocated`, as stored.
        capacities: Resource -> the account's `capacity`, as stored.
        sums: Resource -> the sum over the records.
    """
    findings: list[Finding] = []
    for name in sorted({*counters, *capacities, *sums}):
        if amount(capacities.get(name)) is None:
            findings.append(Finding("no_capacity", name, f"capacity {capacities.get(name)!r} is no amount"))
        allocated, total = amount(counters.get(name)), sums.get(name, 0)
        if allocated != total:
            was = f"{counters.get(name)!r}" if allocated is None else format_amount(name, allocated)
            findings.append(Finding("drift", name, f"allocated {was}, records {format_amount(name, total)}"))
    return findings


def limits(account: Mapping[str, str], capacities: Mapping[str, str], totals: Mapping[str, str]) -> list[Finding]:
    """Findings for limits that do not follow from the total of a resource and from its units.

    Args:
        account: The stored fields of the pool.
        capacities: Resource -> the account's `capacity`, as stored: what it gives out.
        totals: Resource -> the account's `total`, as stored: what it has, where units set a limit.
    """
    options = dict(word.split("=", 1) for word in account.get("options", "").split() if "=" in word)
    try:
        units = decode_units(options.get("units", ""), "the pool")
    except InvariantError as error:
        return [Finding("broken_field", "options", str(error))]
    findings: list[Finding] = []
    for name in sorted(
        totals.keys() | {name for name, one in units.items() if one.reserved or one.overcommit_permille}
    ):
        one = units.get(name, ResourceUnits())
        total, stored = amount(totals.get(name)), amount(capacities.get(name))
        if total is None:
            findings.append(Finding("no_total", name, f"total {totals.get(name)!r} is no amount"))
            continue
        limit = limit_of(total, one.amounts(name)["reserved"], one.overcommit_permille or 0)
        if stored is not None and stored != limit:
            detail = f"gives out {format_amount(name, stored)}, its units say {format_amount(name, limit)}"
            findings.append(Finding("limit_drift", name, detail))
    return findings


def broken_fields(account: Mapping[str, str]) -> list[Finding]:
    """Findings for numeric fields of the account that hold no number."""
    return [
        Finding("broken_field", field, f"{account.get(field)!r} is no number")
        for field in ("created_ms", "generation", "revision", "schema")
        if amount(account.get(field)) is None
    ]


def overcommitted(counters: Mapping[str, str], capacities: Mapping[str, str]) -> tuple[str, ...]:
    """The resources whose capacity was lowered below what is allocated: reported, but not a violation."""
    return tuple(
        name
        for name in sorted(capacities)
        if (allocated := amount(counters.get(name))) is not None
        and (capacity := amount(capacities[name])) is not None
        and allocated > capacity
    )


def readable(kind: str, subject: str, detail: str) -> Finding:
    """A finding of the scripts with its amounts formatted as quantities."""
    if kind in ("drift", "limit_drift"):
        detail = _AMOUNT.sub(lambda match: format_amount(subject, int(match[0])), detail)
    return Finding(kind, subject, detail)


def amount(text: str | None) -> int | None:
    """A stored amount, or None if the text is not an amount."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return number if (number := int(text)) <= AMOUNT_MAX else None
