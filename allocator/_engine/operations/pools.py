"""create, recover, update, upgrade, list: the verbs of pools; `pool_usage` reads one."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.replies import decode_amounts, decode_fields, parse_amount, raise_refused
from allocator._engine.operations.requests import encode_amounts, make_call, new_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Flow, Item, Operation, Reply, Scan
from allocator._engine.protocol.keys import PoolKeys, parse, pools_pattern
from allocator._engine.protocol.pool_units import decode_units, encode_units, units_refused
from allocator._engine.protocol.scripts import load
from allocator.durability import MEMORY, durability
from allocator.durations import exact
from allocator.errors import InvalidRequest, PoolConflict, UnknownPool
from allocator.models.pools import Pool
from allocator.models.preemption import NO_PREEMPTION, PreemptionPolicy
from allocator.models.queue import DEFAULT_POLICY, QueuePolicy
from allocator.models.resource_units import ResourceUnits
from allocator.quantity import Quantity, shown
from allocator.resources import Resources, resource_name
from allocator.units import format_amount
from allocator.validation import generation_number, grace_ms, scope_name

_CONFIGURE: Final = load("configure_pool")

_UNCHANGED: Final = "-"


def names_of(names: Iterable[str], field: str) -> list[str]:
    """Resource names, each once, sorted.  A single text is refused, as it is probably a mistake."""
    if isinstance(names, str):
        raise InvalidRequest(f"{field} is a list of resource names, not one text: {names!r}", field=field)
    found = sorted({resource_name(name) for name in names})
    if len(found) > settings.RESOURCES_MAX:
        raise InvalidRequest(f"{field} names more than {settings.RESOURCES_MAX} resources", field=field)
    return found


class PoolOptions(NamedTuple):
    """The options of a pool beyond its resources; None leaves one unchanged; 0, `memory`, "" or False removes it.

    A recovery grace limits the time to live, unless a limit is given.  Within the grace every holder has renewed or is
    past its deadline, also one that still used a replaced primary for a while (`RECOVERY_MARGIN_S`).
    """

    recovery_grace: float | timedelta | None = None
    max_ttl: float | timedelta | None = None
    durability: str | None = None
    default_scope: str | None = None
    require_scope: bool | None = None
    max_lifetime: float | timedelta | None = None
    units: Mapping[str, ResourceUnits] | None = None
    queue: QueuePolicy | None = None
    preemption: PreemptionPolicy | None = None

    def words(self) -> str:
        """The names and values that change, in the script's format."""
        options: dict[str, str] = {}
        if self.durability is not None:
            level = durability(self.durability)
            options["durability"] = str(level) if level else ""
        longest = None if self.max_ttl is None else grace_ms(self.max_ttl, "max_ttl", settings.TTL_MAX_S)
        if self.recovery_grace is not None:
            grace = grace_ms(self.recovery_grace, "recovery_grace", settings.RECOVERY_GRACE_MAX_S)
            options["recovery_grace_ms"] = str(grace or "")
            longest = _longest_ttl(grace) if longest is None else longest
        if longest is not None:
            options["max_ttl_ms"] = str(longest or "")
        if self.max_lifetime is not None:
            lifetime = grace_ms(self.max_lifetime, "max_lifetime", settings.LIFETIME_MAX_S)
            options["max_lifetime_ms"] = str(lifetime or "")
        if self.default_scope is not None:
            options["default_scope"] = self.default_scope and scope_name(self.default_scope)
        if self.require_scope is not None:
            options["requires_scope"] = "1" if self.require_scope else ""
        if self.units is not None and (units := encode_units(self.units)):
            options["units"] = units
        if self.queue is not None:
            options |= queue_words(self.queue)
        if self.preemption is not None:
            options |= preemption_words(self.preemption)
        return " ".join(f"{name}={value}" for name, value in options.items())


def _longest_ttl(grace: int) -> int:
    """The default longest ttl of a pool with this grace, in milliseconds; 0 (any) without a grace."""
    least, margin = round(settings.TTL_MIN_S * 1000), round(settings.RECOVERY_MARGIN_S * 1000)
    if 0 < grace < least + margin:
        raise InvalidRequest(
            f"recovery_grace: {exact(grace)} must be at least {exact(least + margin)}: "
            f"{exact(margin)} to notice a failover and {exact(least)} of ttl; "
            "max_ttl sets the longest ttl yourself",
            field="recovery_grace",
        )
    return grace - margin if grace else 0


def queue_words(queue: object) -> dict[str, str]:
    """The options of a policy of the line."""
    if not isinstance(queue, QueuePolicy):
        raise InvalidRequest(f"queue: {shown(queue)} is no QueuePolicy", field="queue")
    return queue.words()


def preemption_words(preemption: object) -> dict[str, str]:
    """The options of a policy of preemption."""
    if not isinstance(preemption, PreemptionPolicy):
        raise InvalidRequest(f"preemption: {shown(preemption)} is no PreemptionPolicy", field="preemption")
    return preemption.words()


NO_OPTIONS: Final = PoolOptions()


def create(
    defaults: Defaults,
    name: str,
    capacity: Mapping[str, Quantity],
    whole_units: Iterable[str] = (),
    options: PoolOptions = NO_OPTIONS,
    *,
    is_new: bool = False,
) -> Operation[Pool]:
    """Create the pool if there is none; an existing one is returned unchanged.  One round trip.

    With a recovery grace it begins recovering, unless `is_new`: the caller asserts that no pool was lost.
    """
    pool = defaults.keys(name)
    counted = Resources.capacity(capacity)
    if not counted:
        raise InvalidRequest("a pool counts at least one resource", field="capacity")
    whole = names_of(whole_units, "whole_units")
    for one in whole:
        if one not in counted:
            raise InvalidRequest(f"whole_units names {one!r}, which the pool does not count", field="whole_units")
    return _configure(
        pool,
        "create",
        new_epoch=secrets.token_hex(8),
        capacity=counted,
        whole_units=" ".join(whole),
        options=options.words(),
        is_new=is_new,
    )


def recover(defaults: Defaults, lost: Pool) -> Operation[Pool]:
    """Create a pool again that the server has lost; it begins recovering.

    Raises:
        UnknownPool: Another pool of that name exists, or this one was deleted on purpose.
    """
    if not isinstance(lost, Pool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest("pool: what is recovered is a Pool; Pool.from_dict reads a stored one", field="pool")
    pool = defaults.keys(lost.name)
    if not lost.recovery_grace_ms:
        raise InvalidRequest(f"pool {lost.name!r} has no recovery_grace: create it anew", field="pool")
    options = {"recovery_grace_ms": lost.recovery_grace_ms, "max_ttl_ms": lost.max_ttl_ms or "", "durability": ""}
    if lost.durability != MEMORY:
        options["durability"] = lost.durability
    options |= {"default_scope": lost.default_scope or "", "requires_scope": "1" if lost.require_scope else ""}
    options |= {"max_lifetime_ms": lost.max_lifetime_ms or "", **queue_words(lost.queue)}
    options |= {"units": encode_units(lost.units), **preemption_words(lost.preemption)}
    return _configure(
        pool,
        "recover",
        new_epoch=lost.epoch,
        capacity=lost.capacity,
        whole_units=" ".join(lost.whole_units),
        generation=lost.generation,
        options=" ".join(f"{name}={value}" for name, value in options.items() if value),
        floor=lost.revision,
    )


def end_recovery(defaults: Defaults, name: str | None = None) -> Operation[Pool]:
    """End the pool's recovery before its time."""
    return set_state(defaults.keys(name), "recovered")


def upgrade(defaults: Defaults, name: str | None = None) -> Operation[Pool]:
    """Let only versions with this schema, or a newer one, write to the pool."""
    return set_state(defaults.keys(name), "upgrade")


def update(
    defaults: Defaults,
    name: str | None = None,
    capacity: Mapping[str, Quantity] | None = None,
    *,
    remove: Iterable[str] = (),
    whole_units: Iterable[str] | None = None,
    strict: bool = False,
    generation: int | None = None,
    options: PoolOptions = NO_OPTIONS,
) -> Operation[Pool]:
    """Merge the given resources and options into the pool.  One round trip."""
    pool = defaults.keys(name)
    counted = Resources.capacity(capacity) if capacity else Resources()
    removed = names_of(remove, "remove")
    for one in removed:
        if one in counted:
            raise InvalidRequest(f"{one!r} is both set and removed", field="remove")
    whole = _UNCHANGED if whole_units is None else " ".join(names_of(whole_units, "whole_units"))
    changed = options.words()
    if not counted and not removed and whole_units is None and not changed:
        raise InvalidRequest("nothing to change: give capacity, remove, whole_units or a promise", field="capacity")
    return _configure(
        pool,
        "change",
        capacity=counted,
        remove=removed,
        whole_units=whole,
        generation=generation_number(generation),
        strict=strict,
        options=changed,
    )


def set_state(pool: PoolKeys, mode: str) -> Operation[Pool]:
    """Set the pool's state by a mode of `configure_pool`: `upgrade`, `offline`, `online` or `recovered`."""
    return _configure(pool, mode)


def _configure(
    pool: PoolKeys,
    mode: str,
    *,
    new_epoch: str = "",
    capacity: Resources | None = None,
    remove: Iterable[str] = (),
    whole_units: str = _UNCHANGED,
    generation: int = 0,
    strict: bool = False,
    options: str = "",
    floor: int = 0,
    is_new: bool = False,
) -> Operation[Pool]:
    removed = tuple(remove)
    settled = (mode, new_epoch, generation, int(strict), whole_units, options, floor, int(is_new))
    args = (*settled, *encode_amounts(capacity or {}), len(removed), *removed)
    item = Item(new_call(), args)

    def decode(replies: Reply) -> Pool:
        reply = replies[0]
        match reply[0]:
            case "created" | "exists" | "configured" as word:
                fields = decode_fields(reply[1:])
                # The reply has the pool as of this change.
                read_ms = int(fields.get("clock_ms") or fields.get("created_ms") or 0)
                return decode_pool(pool.name, fields, created=word == "created", read_ms=read_ms)
            case "generation":
                raise PoolConflict(
                    f"pool {pool.name!r} has generation {reply[1]}, not {generation}", pool=pool.name, code="generation"
                )
            case "in_use":
                shown = format_amount(reply[1], reply[2])
                raise PoolConflict(f"pool {pool.name!r}: {reply[1]} is in use: allocated={shown}", pool=pool.name)
            case "guaranteed":
                shown = format_amount(reply[1], reply[2])
                text = f"pool {pool.name!r}: {shown} of {reply[1]} are guaranteed to scopes: change these first"
                raise PoolConflict(text, pool=pool.name)
            case "units":
                raise units_refused(pool.name, reply[1], reply[2])
            case "not_counted":
                raise InvalidRequest(f"pool {pool.name!r} does not count {reply[1]!r}", field="capacity")
            case "too_many":
                raise InvalidRequest(
                    f"pool {pool.name!r} would count more than {settings.RESOURCES_MAX} resources", field="capacity"
                )
            case "no_resources":
                raise InvalidRequest(f"pool {pool.name!r} would count no resource", field="capacity")
            case "pinned":
                text = f"pool {pool.name!r} has {reply[1]} pinned allocations, and a longest ttl allows for none"
                raise PoolConflict(text, pool=pool.name, code="pinned")
            case "deleted":
                raise UnknownPool(f"pool {pool.name!r} was deleted on purpose", pool=pool.name, code="deleted")
            case word:
                raise_refused(pool, word)

    epoch = pool.epoch if mode not in ("create", "recover") else ""
    return Operation(make_call(_CONFIGURE, pool, (item,), epoch=epoch), decode)


def names(defaults: Defaults) -> Flow[list[str]]:
    """The names of all pools under the prefix, sorted.  SCAN on every primary."""
    keys: list[str] = yield Scan(pools_pattern(defaults.prefix), settings.POOLS_MAX)
    found = (parse(key, defaults.prefix) for key in keys)
    return sorted({place[0] for place in found if place is not None and place[1] == "pool"})


def decode_pool(name: str, fields: dict[str, str], *, created: bool = False, read_ms: int = 0) -> Pool:
    """A pool's account as a model.  An offline state whose time is over, as of a killed repair, counts as online."""
    where = f"pool {name!r}"
    state = fields.get("state", "active")
    if (
        state == "offline"
        and "offline_until_ms" in fields
        and read_ms >= parse_amount(fields, "offline_until_ms", where)
    ):
        state = "active"
    options = dict(word.split("=", 1) for word in fields.get("options", "").split())
    until_ms = parse_amount(fields, "recovering_until_ms", where) if "recovering_until_ms" in fields else 0
    if state == "active" and until_ms > read_ms > 0:
        state = "recovering"
    return Pool(
        name=name,
        epoch=fields.get("epoch", ""),
        generation=parse_amount(fields, "generation", where),
        revision=parse_amount(fields, "revision", where),
        schema=parse_amount(fields, "schema", where),
        created_ms=parse_amount(fields, "created_ms", where),
        state=state,
        capacity=_capacity(fields, where),
        allocated=decode_amounts(fields, where),
        kept=decode_amounts(fields, where, schema.KEPT),
        whole_units=tuple(fields.get("whole_units", "").split()),
        created=created,
        recovery_grace_ms=parse_amount(options, "recovery_grace_ms", where) if "recovery_grace_ms" in options else 0,
        max_ttl_ms=parse_amount(options, "max_ttl_ms", where) if "max_ttl_ms" in options else 0,
        max_lifetime_ms=parse_amount(options, "max_lifetime_ms", where) if "max_lifetime_ms" in options else 0,
        queue=_decode_queue(options, where),
        preemption=_decode_preemption(options, where),
        durability=options.get("durability", MEMORY),
        default_scope=options.get("default_scope"),
        require_scope="requires_scope" in options,
        units=decode_units(options.get("units", ""), where),
        recovering_until_ms=until_ms,
        recovering_why=fields.get("recovering_why", ""),
        clock_offset_ms=parse_amount(fields, "clock_offset_ms", where) if "clock_offset_ms" in fields else 0,
    )


def _capacity(fields: Mapping[str, str], where: str) -> Resources:
    """What the pool has of each resource: where its units set a limit, that is stored as the capacity."""
    given_out, totals = decode_amounts(fields, where, schema.CAPACITY), decode_amounts(fields, where, schema.TOTAL)
    return Resources.of({name: totals.get(name, amount) for name, amount in given_out.items()}) if totals else given_out


def _decode_queue(options: dict[str, str], where: str) -> QueuePolicy:
    """The policy of a pool's line; one of a newer version is named as it stands."""

    def number(name: str, default: int | None) -> int:
        return parse_amount(options, name, where) if name in options else default or 0

    if not any(name.startswith("queue_") for name in options):
        return DEFAULT_POLICY
    return QueuePolicy(
        options.get("queue_policy", DEFAULT_POLICY.policy),
        number("queue_passes_max", DEFAULT_POLICY.passes_max),
        number("queue_wait_max_ms", settings.WAIT_PASSED_MAX_MS) / 1000,
        number("queue_length_max", DEFAULT_POLICY.length_max),
        options.get("queue_backfill") == "1",
        number("queue_half_life_ms", settings.HALF_LIFE_MS) / 1000,
    )


def _decode_preemption(options: dict[str, str], where: str) -> PreemptionPolicy:
    """The policy of preemption of a pool."""
    if not any(name.startswith("preempt") for name in options):
        return NO_PREEMPTION

    def seconds(name: str, default: int) -> float:
        return (parse_amount(options, name, where) if name in options else default) / 1000

    grace = seconds("preempt_grace_ms", settings.PREEMPT_GRACE_MS)
    return PreemptionPolicy("preemption" in options, grace, seconds("preempt_protect_ms", 0))
