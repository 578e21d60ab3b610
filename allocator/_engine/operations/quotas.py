"""set, get, list, delete: quotas of scopes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import EllipsisType
from typing import Any, Final, NoReturn

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.replies import (
    decode_fields,
    parse_amount,
    raise_refused,
)
from allocator._engine.operations.requests import make_call, new_call
from allocator._engine.protocol.flows import Flow, Item, Operation, Reply
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, load
from allocator.errors import InvalidRequest, InvariantError, PoolConflict
from allocator.models.quotas import FairShare, Limit, Quota, QuotaUsage
from allocator.quantity import Quantity, parse_capacity
from allocator.resources import Resources, resource_name
from allocator.units import format_amount
from allocator.validation import count, generation_number, scope_name, weight_number

_SET: Final = load("set_quota")
_DELETE: Final = load("delete_quota")
_LIST: Final = load("list_quotas")

_NONE: Final = "-"
_PARTS: Final = ("allocated", "kept", "nominal", "borrowing_limit", "lending_limit")


def set_quota(
    defaults: Defaults,
    scope: str,
    limits: Mapping[str, Limit | Quantity] | None = None,
    *,
    weight: int | EllipsisType | None = ...,
    generation: int | None = None,
    dry_run: bool = False,
) -> Operation[Quota]:
    """Create a scope or change its limits of the named resources.  One round trip.

    Raises:
        InvalidRequest: A limit or the weight is out of its bounds, or the pool does not count a resource, or there is
            neither.
        PoolConflict: `generation`.
    """
    pool, name = defaults.pool, scope_name(scope)
    share = "" if isinstance(weight, EllipsisType) else _NONE if weight is None else weight_number(weight)
    encoded = list(_encoded({} if limits is None and share else limits, 0 if share else 1))
    wanted = generation_number(generation)
    words = (name, wanted, int(dry_run), share, len(encoded), *(word for limit in encoded for word in limit))
    item = Item(new_call(), words)

    def decode(replies: Reply) -> Quota:
        reply = replies[0]
        if reply[0] != "quota":
            _raise_unset(pool, name, reply, wanted)
        _, _revision, above, counters, *chain = reply
        return _Tree(pool, decode_fields(counters), _scopes(chain)).quota(name, _over(above))

    return Operation(make_call(_SET, pool, (item,), epoch=pool.epoch), decode)


def _over(flat: Sequence[Any]) -> Mapping[str, Resources]:
    """(account, resource, amount)* by scope; "" is the pool."""
    found: dict[str, dict[str, int]] = {}
    for at in range(0, len(flat), 3):
        found.setdefault(flat[at].removeprefix("quota:"), {})[flat[at + 1]] = flat[at + 2]
    return {scope: Resources.of(amounts) for scope, amounts in found.items()}


def _scopes(flat: Sequence[Any]) -> dict[str, dict[str, str]]:
    """(scope, fields)* as they are listed."""
    return {flat[at]: decode_fields(flat[at + 1]) for at in range(0, len(flat), 2)}


def _encoded(limits: Mapping[str, Limit | Quantity] | None, least: int) -> Iterator[tuple[Argument, ...]]:
    if not isinstance(limits, Mapping) or not least <= len(limits) <= settings.RESOURCES_MAX:
        raise InvalidRequest(f"limits: a quota names 1 to {settings.RESOURCES_MAX} resources", field="limits")
    for resource, limit in limits.items():
        name = resource_name(resource)
        parts = limit if isinstance(limit, Limit) else Limit(limit, 0)
        for part in ("borrowing_limit", "lending_limit"):
            if parts.nominal is None and getattr(parts, part) is not None:
                raise InvalidRequest(f"limits: {name}: a {part} without a nominal: give both", field="limits")
        yield (
            name,
            _amount(name, parts.nominal),
            _amount(name, parts.borrowing_limit),
            _amount(name, parts.lending_limit),
        )


def _amount(resource: str, quantity: Quantity | None) -> Argument:
    return _NONE if quantity is None else parse_capacity(resource, quantity)


def _raise_unset(pool: PoolKeys, scope: str, reply: Reply, generation: int) -> NoReturn:
    match reply[0]:
        case "generation":
            wanted = f", not {generation}" if generation else "; the change was refused before"
            text = f"quota {scope!r} has generation {reply[1]}{wanted}"
            raise PoolConflict(text, pool=pool.name, code="generation")
        case "not_counted":
            raise InvalidRequest(f"limits: pool {pool.name!r} does not count {reply[1]!r}", field="limits")
        case "too_many":
            text = f"scope: pool {pool.name!r} would have more than {settings.QUOTAS_MAX} scopes"
            raise InvalidRequest(text, field="scope")
        case "above_parent":
            _, resource, account, most = reply
            text = f"limits: {resource}: the share is above the {format_amount(resource, most)} of {_level(account)}"
            raise InvalidRequest(text, field="limits")
        case "over_guaranteed":
            _, resource, account, total, most = reply
            text = (
                f"limits: {resource}: {format_amount(resource, total)} would be guaranteed below {_level(account)}, "
                f"which has {format_amount(resource, most)}"
            )
            raise InvalidRequest(text, field="limits")
        case word:
            raise_refused(pool, word)


def _level(account: str) -> str:
    return f"scope {account.removeprefix('quota:')!r}" if account else "the pool"


def list_quotas(defaults: Defaults, scope: str | None = None, limit: int = settings.QUOTAS_MAX) -> Flow[list[Quota]]:
    """The scopes of the pool, each after those above it; with `scope` it and those below it.  500 a round trip."""
    pool, name = defaults.pool, "" if scope is None else scope_name(scope)
    left = count(limit, "limit", settings.QUOTAS_MAX)
    cursor, pages = "", list[Reply]()
    while True:
        size = min(left, settings.PAGE_RECORDS_MAX)
        reply: Reply = yield make_call(_LIST, pool, epoch=pool.epoch, scope=name, cursor=cursor, count=size)
        if reply[0] != "quotas":
            raise_refused(pool, reply[0])
        pages.append(reply)
        cursor, left = reply[3], left - size
        if not cursor or not left:
            break
    counters = decode_fields(pages[0][4])
    stored = {scope: fields for page in pages for scope, fields in _scopes(page[5:]).items()}
    tree = _Tree(pool, counters, stored, read_ms=pages[0][1])
    names = [one for one in stored if not name or one == name or one.startswith(f"{name}/")]
    return [tree.quota(one) for one in names[:limit]]


def get(defaults: Defaults, scope: str) -> Flow[Quota | None]:
    """One scope, or None.  One round trip."""
    name = scope_name(scope)
    pool = defaults.pool
    reply: Reply = yield make_call(_LIST, pool, epoch=pool.epoch, scope=name, cursor="", count=1)
    if reply[0] != "quotas":
        raise_refused(pool, reply[0])
    stored = _scopes(reply[5:])
    if not stored.get(name):
        return None
    return _Tree(pool, decode_fields(reply[4]), stored, read_ms=reply[1]).quota(name)


def _mean(text: str, where: str) -> float:
    """A number that is stored with a fraction."""
    if not re.fullmatch(r"[0-9]{1,16}(\.[0-9]{1,9})?", text):
        raise InvariantError(f"{where} has no number in used_share")
    return float(text)


class _Tree:
    """What is available at each level, from the stored fields of the pool and its scopes."""

    def __init__(
        self,
        pool: PoolKeys,
        counters: Mapping[str, str],
        stored: Mapping[str, Mapping[str, str]],
        *,
        read_ms: int | None = None,
    ) -> None:
        self._pool, self._counters, self._stored = pool, counters, stored
        self._read_ms = read_ms
        self._known: dict[tuple[str, str], int] = {}

    def quota(self, scope: str, over: Mapping[str, Resources] | None = None) -> Quota:
        fields = self._stored[scope]
        names = sorted({field.rpartition(".")[0] for field in fields if field.rpartition(".")[2] in _PARTS})
        resources = {name: self._usage(scope, name) for name in names}
        generation = parse_amount(fields, "generation", f"quota {scope!r}")
        return Quota(scope, self._pool.name, generation, resources, over or {}, self._share(scope))

    def _share(self, scope: str) -> FairShare | None:
        """What the scope has and had of the pool, as of the reading; of a change as it was told."""
        fields, where = self._stored[scope], f"quota {scope!r}"
        if "weight" not in fields and fields.get("live_share", "0") == "0":
            return None

        def part(name: str) -> int:
            return parse_amount(fields, name, where) if name in fields else 0

        live, used = part("live_share"), _mean(fields.get("used_share", "0"), where)
        if self._read_ms is not None and "used_ms" in fields:
            left = 2.0 ** (-max(0, self._read_ms - part("used_ms")) / self._half_life_ms())
            used = used * left + live * (1 - left)
        return FairShare(part("weight") or None, live, round(used))

    def _half_life_ms(self) -> int:
        options = dict(word.split("=", 1) for word in self._counters.get("options", "").split())
        name = "queue_half_life_ms"
        found = parse_amount(options, name, f"pool {self._pool.name!r}") if name in options else 0
        return found or settings.HALF_LIFE_MS

    def _usage(self, scope: str, resource: str) -> QuotaUsage:
        fields, where = self._stored[scope], f"quota {scope!r}"

        def part(name: str) -> int | None:
            field = f"{resource}.{name}"
            return parse_amount(fields, field, where) if field in fields else None

        return QuotaUsage(
            allocated=part("allocated") or 0,
            kept=part("kept") or 0,
            available=min(self._available(scope, resource), settings.AMOUNT_MAX),
            nominal=part("nominal"),
            borrowing_limit=part("borrowing_limit"),
            lending_limit=part("lending_limit"),
        )

    def _available(self, scope: str, resource: str) -> int:
        key = (scope, resource)
        if key not in self._known:
            self._known[key] = self._of_scope(scope, resource) if scope else self._of_pool(resource)
        return self._known[key]

    def _of_pool(self, resource: str) -> int:
        capacity = self._counters.get(f"{resource}.capacity")
        if capacity is None:
            return settings.AMOUNT_MAX
        taken = (int(self._counters.get(f"{resource}.{part}", 0)) for part in ("allocated", "kept"))
        return int(capacity) - sum(taken)

    def _of_scope(self, scope: str, resource: str) -> int:
        fields = self._stored.get(scope, {})

        def part(name: str) -> int:
            return int(fields.get(f"{resource}.{name}", 0))

        used, nominal = part("allocated") + part("kept"), part("nominal")
        lends = f"{resource}.lending_limit" in fields
        guaranteed = max(0, nominal - part("lending_limit")) if lends else 0
        above = self._available(scope.rpartition("/")[0], resource)
        if f"{resource}.borrowing_limit" in fields:
            bound = nominal - guaranteed + part("borrowing_limit")
            above = min(above, bound - max(0, used - guaranteed))
        return max(0, guaranteed - used) + above


def delete(defaults: Defaults, scope: str) -> Operation[bool]:
    """Delete a scope that has nothing charged and no scopes below it; False if there is none.  One round trip."""
    pool, name = defaults.pool, scope_name(scope)

    def decode(replies: Reply) -> bool:
        reply = replies[0]
        match reply[0]:
            case "deleted":
                return True
            case "absent":
                return False
            case "in_use":
                text = f"scope {name!r} is in use: {reply[1]} allocated={format_amount(reply[1], reply[2])}"
                raise PoolConflict(text, pool=pool.name)
            case "has_children":
                raise PoolConflict(f"scope {name!r} has scopes below it, such as {reply[1]!r}", pool=pool.name)
            case word:
                raise_refused(pool, word)

    return Operation(make_call(_DELETE, pool, (Item(new_call(), (name,)),), epoch=pool.epoch), decode)
