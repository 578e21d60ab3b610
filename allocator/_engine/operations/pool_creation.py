"""create: make a pool unless it is there, and say, or change, what differs from an existing one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from allocator import settings
from allocator._engine.operations import pools
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.pools import PoolOptions
from allocator._engine.protocol.flows import Flow
from allocator.durability import MEMORY
from allocator.durations import exact
from allocator.errors import PoolConflict, UnknownPool
from allocator.models.pools import Pool
from allocator.models.preemption import PreemptionPolicy
from allocator.models.queue import QueuePolicy
from allocator.models.resource_units import ResourceUnits
from allocator.quantity import Quantity
from allocator.resources import Resources
from allocator.units import format_amount

__all__ = ["PoolSpec", "Warn", "create", "unheard"]

Warn = Callable[[tuple[str, str, int, str], str], None]
"""Is called with what tells a difference from others (pool, epoch, generation, what was given), and a message."""


def unheard(_key: tuple[str, str, int, str], _message: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a caller wants a pool to be."""

    capacity: Mapping[str, Quantity]
    whole_units: Iterable[str] = ()
    options: PoolOptions = pools.NO_OPTIONS
    is_new: bool = False


def create(defaults: Defaults, name: str, spec: PoolSpec, *, update: bool = False, warn: Warn = unheard) -> Flow[Pool]:
    """Create the pool if there is none.  An existing one that differs stays, with a warning, unless `update`.

    An update names the generation that was read, so that it replaces no change that it has not seen.  One that meets
    another change starts again, at most `POOL_UPDATES_MAX` times.  One round trip; for each update, two.
    """
    whole = spec.whole_units if isinstance(spec.whole_units, str) else tuple(spec.whole_units)
    for left in reversed(range(settings.POOL_UPDATES_MAX)):
        pool = yield from pools.create(defaults, name, spec.capacity, whole, spec.options, is_new=spec.is_new)
        differing = [] if pool.created else _differences(pool, spec, whole)
        if not differing:
            return pool
        if not update:
            warn(*_warning(pool, differing))
            return pool
        same = defaults.replaced(pool.name, None, None, None, pool.epoch)
        try:
            return (
                yield from pools.update(
                    same,
                    capacity=spec.capacity,
                    whole_units=whole or None,
                    generation=pool.generation,
                    options=spec.options,
                )
            )
        except (PoolConflict, UnknownPool) as error:
            if error.code not in ("generation", "epoch", UnknownPool.default_code) or not left:
                raise
    raise AssertionError("unreachable")  # pragma: no cover


class _Difference(NamedTuple):
    """A setting of a stored pool that is not as given: its name, both values, the words that change it."""

    name: str
    stored: str
    given: str
    words: str


def _differences(pool: Pool, spec: PoolSpec, whole: Iterable[str]) -> list[_Difference]:
    """What an update would change.  Resources that the caller does not name are no difference."""
    found: list[_Difference] = []
    for resource, amount in Resources.capacity(spec.capacity).items():
        stored = pool.capacity.get(resource)
        if stored != amount:
            shown = "none" if stored is None else format_amount(resource, stored)
            wanted = format_amount(resource, amount)
            found.append(_Difference(resource, shown, wanted, f"{resource}={wanted}"))
    names = pools.names_of(whole, "whole_units")
    if names and set(names) != set(pool.whole_units):
        words = " ".join(f"--whole-units {name}" for name in names)
        found.append(_Difference("whole_units", "+".join(pool.whole_units) or "none", "+".join(names), words))
    given = dict(word.split("=", 1) for word in spec.options.words().split())
    durations = {"recovery_grace": pool.recovery_grace_ms, "max_ttl": pool.max_ttl_ms}
    for name, stored_ms in (durations | {"max_lifetime": pool.max_lifetime_ms}).items():
        given_ms = int(given.get(f"{name}_ms", stored_ms) or 0)
        if given_ms != stored_ms:
            text = exact(given_ms)
            words = f"--{name.replace('_', '-')} {text}"
            found.append(_Difference(name, exact(stored_ms), text, words))
    level = given.get("durability", pool.durability) or MEMORY
    if level != pool.durability:
        found.append(_Difference("durability", pool.durability, level, f"--durability {level}"))
    units = spec.options.units or {}
    found += [*_scope_differences(pool, given), *_unit_differences(pool, units)]
    found += _policy_differences(pool.queue, spec.options.queue)
    return found + _policy_differences(pool.preemption, spec.options.preemption)


def _scope_differences(pool: Pool, given: Mapping[str, str]) -> list[_Difference]:
    """The same of what concerns scopes; `given` has the options in the script's format."""
    found: list[_Difference] = []
    stored = pool.default_scope or ""
    scope = given.get("default_scope", stored)
    if scope != stored:
        found.append(_Difference("default_scope", stored or "none", scope or "none", f"--default-scope '{scope}'"))
    required = given.get("requires_scope", "1" if pool.require_scope else "") == "1"
    if required != pool.require_scope:
        words = "--require-scope" if required else "--no-require-scope"
        found.append(_Difference("require_scope", str(pool.require_scope), str(required), words))
    return found


_UNIT_OPTIONS: Final = {"reserved": "reserved", "min_unit": "min", "max_unit": "max", "step": "step"}
"""The quantities of units, and the options of `pool set` that change them."""


def _unit_differences(pool: Pool, given: Mapping[str, ResourceUnits]) -> Iterator[_Difference]:
    """The same of the units of resources; a part that is None is no difference."""
    for resource, one in given.items():
        has = pool.units.get(resource, ResourceUnits())
        stored, wanted = has.amounts(resource), one.amounts(resource)
        for part, option in _UNIT_OPTIONS.items():
            if getattr(one, part) is not None and stored[part] != wanted[part]:
                was, text = format_amount(resource, stored[part]), format_amount(resource, wanted[part])
                yield _Difference(f"{part} of {resource}", was, text, f"--{option} {resource}={text}")
        permille, known = one.overcommit_permille, has.overcommit_permille or 0
        if permille is not None and permille != known:
            words = f"--overcommit {resource}={permille}"
            yield _Difference(f"overcommit_permille of {resource}", str(known), str(permille), words)


def _policy_differences(
    has: QueuePolicy | PreemptionPolicy, asked: QueuePolicy | PreemptionPolicy | None
) -> list[_Difference]:
    """The same of the policy of its line, or of its preemption."""
    found: list[_Difference] = []
    stored, given = has.texts(), {} if asked is None else asked.texts()
    for name, text in given.items():
        if stored.get(name) != text:
            found.append(_Difference(name, stored.get(name, ""), text, f"--{name.replace('_', '-')} {text}"))
    return found


def _warning(pool: Pool, differing: Sequence[_Difference]) -> tuple[tuple[str, str, int, str], str]:
    given = ",".join(f"{one.name}={one.given}" for one in differing)
    stored = ",".join(f"{one.name}={one.stored}" for one in differing)
    words = " ".join(one.words for one in differing)
    return (pool.name, pool.epoch, pool.generation, given), (
        f"pool {pool.name} is there with {stored}; that counts, and not the given {given}. To change it: "
        f"pools.create(..., update=True), or resource-allocator pool set {pool.name} {words}"
    )
