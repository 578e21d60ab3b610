"""Decode the replies of the scripts into models and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from allocator import settings
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator.denials import Denial, Shortage
from allocator.durability import MEMORY
from allocator.durations import exact
from allocator.errors import (
    AllocationLost,
    ContractError,
    InvalidRequest,
    InvariantError,
    Recovering,
    UnknownAllocation,
    UnknownPool,
    UnknownScope,
)
from allocator.models.allocations import Allocation
from allocator.models.read_only import NO_ENTRIES
from allocator.resources import Resources
from allocator.serialization import rfc3339
from allocator.validation import priority_number


def raise_refused(pool: PoolKeys, word: str) -> NoReturn:
    """Raise the error for a reply that refuses a whole call."""
    name = pool.name
    match word:
        case "unknown_pool":
            raise UnknownPool(f"there is no pool {name!r}", pool=name, code="epoch" if pool.epoch else None)
        case "other_epoch":
            raise UnknownPool(f"pool {name!r} was deleted and made again since (epoch)", pool=name, code="epoch")
        case "deleting":
            raise UnknownPool(f"pool {name!r} is being deleted", pool=name, code="deleting")
        case "offline":
            raise Recovering(f"pool {name!r} grants nothing while it is repaired", code="offline", retry_after=1.0)
        case "pool_lost":
            raise UnknownPool(f"pool {name!r} is gone without a deletion (pool_lost)", pool=name, code="pool_lost")
        case "schema":
            raise ContractError(
                f"pool {name!r} may be written by newer versions of this library only (schema above {schema.VERSION})",
                code="schema",
            )
        case _:
            raise ContractError(f"pool {name!r}: unexpected reply {word!r}")


def raise_lost(pool: PoolKeys, identity: str, fence: int, word: str, reply: Reply) -> NoReturn:
    """Raise the error for an allocation that does not exist or is not the caller's."""
    if word == "unknown":
        raise UnknownAllocation(f"pool {pool.name!r} has no allocation {identity!r}", id=identity)
    if word == "wrong_epoch":
        raise AllocationLost(
            f"allocation {identity!r} is of a pool {pool.name!r} that was made again since (epoch)",
            id=identity,
            code="epoch",
        )
    if word == "releasing":
        raise AllocationLost(f"allocation {identity!r} is being released", id=identity, code="releasing")
    if word == "over":
        raise over(identity, reply[1])
    if word == "fenced":
        raise AllocationLost(f"allocation {identity!r} has fence {reply[1]}, not {fence}", id=identity, code="fenced")
    raise_refused(pool, word)


def recovering(pool: PoolKeys, reply: Reply) -> Recovering:
    """The error for a request that a recovering pool refuses."""
    _, remaining_ms, why = reply
    return Recovering(
        f"pool {pool.name!r} recovers, for {why}; it grants nothing new for {remaining_ms / 1000:.1f} s",
        retry_after=remaining_ms / 1000,
    )


def too_long(pool: PoolKeys, reply: Reply) -> InvalidRequest:
    """The error for a time to live that is longer than the pool's limit, or for none."""
    text = f"ttl: pool {pool.name!r} grants {exact(reply[1])} at the longest, and pins nothing"
    return InvalidRequest(text, field="ttl", code="ttl_too_long")


def over(identity: str, ends_ms: int) -> AllocationLost:
    """The error for an allocation whose hard end has come: it ends as agreed, not by a failure."""
    text = f"allocation {identity!r} is over: its hard end (max_lifetime) is {rfc3339(ends_ms)}"
    return AllocationLost(text, id=identity, code="over")


def preempted(identity: str, deadline_ms: int, by: str) -> AllocationLost:
    """The error for an allocation whose room a request of higher priority takes."""
    text = f"allocation {identity!r} is preempted by {by!r}: its room is taken at {rfc3339(deadline_ms)}"
    return AllocationLost(text, id=identity, code="preempted")


def left_until_end(reply: Reply) -> int:
    """Milliseconds from the server's time of a reply to the hard end of the allocation in it."""
    if reply[0] == "granted":
        return int(reply[7]) - int(reply[2])
    fields = decode_fields(reply[1:])
    return int(fields["ends_ms"]) - int(fields.get("asserted_ms") or fields["granted_ms"])


def decode_fields(flat: Sequence[Any]) -> dict[str, Any]:
    """A flat list field, value, field, value, ... as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def parse_amount(fields: Mapping[str, Any], field: str, where: str) -> int:
    """A field's exact integer.

    Raises:
        InvariantError: The stored text is no exact integer.  A `ValueError` is never raised, as it would mean *full*.
    """
    text = fields.get(field)
    try:
        number = int(text) if text is not None else -1
    except ValueError:
        number = -1
    if not 0 <= number <= settings.AMOUNT_MAX:
        raise InvariantError(f"{where} has no exact number in {field}: {str(text)[:40]!r}; an audit says more")
    return number


def parse_priority(fields: Mapping[str, Any], where: str) -> int:
    """The priority of a record.

    Raises:
        InvariantError: The stored text is no integer in the bounds of priorities.
    """
    try:
        return priority_number(int(fields["priority"]))
    except ValueError:
        text = str(fields["priority"])[:40]
        raise InvariantError(f"{where} has no priority in priority: {text!r}; an audit says more") from None


def decode_amounts(fields: Mapping[str, Any], where: str, suffix: str = schema.ALLOCATED) -> Resources:
    """The fields that end in `suffix`, as `Resources`."""
    cut = -len(suffix)
    return Resources.of({field[:cut]: parse_amount(fields, field, where) for field in fields if field.endswith(suffix)})


def decode_allocation(pool: PoolKeys, allocation_id: str, flat: Sequence[Any], *, created: bool = False) -> Allocation:
    """A record as a model."""
    fields, where = decode_fields(flat), f"allocation {allocation_id!r}"
    meta = {
        field[len(schema.META) :]: value
        for field, value in fields.items()
        if field.startswith(schema.META) and not field.endswith(schema.ALLOCATED)
    }
    fence, durability = parse_amount(fields, "fence", where), fields.get("durability") or MEMORY
    return Allocation(
        id=allocation_id,
        pool=pool.name,
        owner=fields.get("owner", ""),
        resources=decode_amounts(fields, where),
        fence=fence,
        granted_ms=parse_amount(fields, "granted_ms", where),
        ttl_ms=parse_amount(fields, "ttl_ms", where) if "ttl_ms" in fields else None,
        deadline_ms=parse_amount(fields, "deadline_ms", where) if "deadline_ms" in fields else None,
        metadata=meta or NO_ENTRIES,
        created=created,
        epoch=fields.get("epoch", ""),
        releasing_ms=parse_amount(fields, "releasing_ms", where) if "releasing_ms" in fields else None,
        durability=durability,
        scope=_scope(fields),
        ends_ms=parse_amount(fields, "ends_ms", where) if "ends_ms" in fields else None,
        priority=parse_priority(fields, where) if "priority" in fields else 0,
        preempted_by=fields.get("preempted_by"),
    )


def _scope(fields: Mapping[str, str]) -> str | None:
    """The scope of a record: its innermost quota, which it names first."""
    first = fields.get("account.1", "")
    return first.removeprefix("quota:") if first.startswith("quota:") else None


def decode_denial(
    pool: PoolKeys, flat: Sequence[Any], item: int = 0, *, requested: Mapping[str, int] | None = None
) -> Denial:
    """(code, account, (resource, growth, allocated, capacity)*, what it keeps for others, if anything, unit bounds).

    Args:
        pool, flat, item: The pool, the reply after its word, and the index of the request.
        requested: The amounts that a resize asked for; what is beyond the growth is held already.
            None: a new allocation.
    """
    code, account, *numbers = flat
    level, _, name = account.partition(":") if account else ("pool", "", "")
    bounds: Sequence[int] = numbers.pop() if code == "unit_violation" else ()
    kept: Sequence[int] = numbers.pop() if numbers and isinstance(numbers[-1], list) else ()
    shortages: list[Shortage] = []
    for at in range(0, len(numbers), 4):
        resource, growth, allocated, capacity = numbers[at : at + 4]
        asked = growth if requested is None else requested.get(resource, growth)
        for_others = kept[at // 4] if kept else 0
        of_units = bounds[at // 4 * 3 : at // 4 * 3 + 3]
        held = asked - growth
        shortages.append(Shortage(resource, asked, allocated, capacity, level, name, for_others, held, *of_units))
    return Denial(code, pool.name, tuple(shortages), item)


def foreseen(denial: Denial, position: int, start_ms: int) -> Denial:
    """The denial with an estimate of when it may be over; `position` 0: without one, `start_ms` 0: not foreseen."""
    return replace(denial, position=position or None, start_ms=start_ms or None)


def unknown_scope(pool: PoolKeys, scope: str) -> UnknownScope:
    """The error for a scope that the pool does not have."""
    return UnknownScope(f"pool {pool.name!r} has no scope {scope!r}", pool=pool.name, scope=scope)


def scope_required(pool: PoolKeys) -> InvalidRequest:
    """The error for a request without a scope to a pool that requires one."""
    return InvalidRequest(f"scope: pool {pool.name!r} requires one", field="scope")
