"""Which allocations a request may take: an independent model over the tree of quotas, for the tests of preemption.

It takes all candidates in their order, and spares, from the most worth keeping on, each without whom it fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.scripts.ledger import Ledger
from tests.scripts.quota_tree import Tree

__all__ = ["GRACE", "Held", "brute", "live", "permit", "preempted", "victims"]

GRACE = 5000


@dataclass(frozen=True)
class Held:
    """A live allocation of the model."""

    id: str
    priority: int
    granted_ms: int
    scope: str
    amounts: dict[str, int]
    takeable: bool = True


def permit(pool: Ledger, *, grace: int | None = GRACE, protect: int = 0, more: str = "") -> Ledger:
    """Permit preemption in a pool, from its beginning on."""
    words = ["preemption=1", *([] if grace is None else [f"preempt_grace_ms={grace}"])]
    words += [f"preempt_protect_ms={protect}"] if protect else []
    reply = pool.configure("change", promises=" ".join([*words, more]).strip())
    assert reply[0] == "configured", reply
    return pool


def live(pool: Ledger) -> set[str]:
    """The ids of the live allocations."""
    return {*pool.index("deadlines"), *pool.index("pinned")}


def preempted(pool: Ledger) -> set[str]:
    """The ids whose room is taken."""
    return {name for name in live(pool) if "preempted_by" in pool.record(name)}


def _chain(scope: str) -> Iterator[str]:
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]


def _tight(tree: Tree, scope: str, amounts: dict[str, int]) -> set[tuple[str, str]]:
    """The counters, account and resource, at which the request is short."""
    found: set[tuple[str, str]] = set()
    for resource, growth in ({**amounts, "allocations": 1000} if scope else amounts).items():
        left = growth
        for level in _chain(scope):
            limit, used = tree.limit(level, resource), tree.used(level, resource)
            left -= max(0, limit.guaranteed - used)
            if limit.borrowing is not None:
                room = (limit.nominal or 0) - limit.guaranteed + limit.borrowing - max(0, used - limit.guaranteed)
                if left > room:
                    found.add((level, resource))
        if resource in tree.capacity and left > tree.capacity[resource] - tree.used("", resource):
            found.add(("", resource))
    return found


def _borrows(tree: Tree, one: Held, tight: set[tuple[str, str]]) -> bool:
    for level, resource in itertools.product(_chain(one.scope), one.amounts):
        nominal = tree.limit(level, resource).nominal
        is_short = any((account, resource) in tight for account in ("", *_chain(one.scope)))
        if is_short and nominal is not None and tree.used(level, resource) > nominal:
            return True
    return False


def _useful(one: Held, tight: set[tuple[str, str]]) -> bool:
    counted = {*one.amounts, "allocations"} if one.scope else set(one.amounts)
    return any((account, name) in tight for account in ("", *_chain(one.scope)) for name in counted)


def _without(tree: Tree, ids: Sequence[str]) -> Tree:
    return Tree(tree.capacity, tree.limits, {name: one for name, one in tree.live.items() if name not in ids})


def candidates(tree: Tree, held: Sequence[Held], scope: str, amounts: dict[str, int], priority: int) -> list[Held]:
    """Those that may be taken at all, in order: the lowest priority first, then the newest, then by id."""
    tight = _tight(tree, scope, amounts)
    found = [one for one in held if one.takeable and one.priority < priority and _useful(one, tight)]
    return sorted(found, key=lambda one: (one.priority, -one.granted_ms, one.id))


def victims(tree: Tree, held: Sequence[Held], scope: str, amounts: dict[str, int], priority: int) -> set[str]:
    """The ids that the request takes."""
    if tree.fits(scope, amounts):
        return set()
    left, tight = candidates(tree, held, scope, amounts, priority), _tight(tree, scope, amounts)
    order: list[str] = []
    while left:
        now = _without(tree, order)
        if now.fits(scope, amounts):
            break
        one = next((one for one in left if _borrows(now, one, tight)), left[0])
        left.remove(one)
        order.append(one.id)
    if not _without(tree, order).fits(scope, amounts):
        return set()
    for name in reversed(tuple(order)):
        rest = [other for other in order if other != name]
        if _without(tree, rest).fits(scope, amounts):
            order = rest
    return set(order)


def brute(tree: Tree, held: Sequence[Held], scope: str, amounts: dict[str, int], priority: int) -> list[set[str]]:
    """All sets of candidates that are enough, and of which none could be left out: over all subsets."""
    ids = [one.id for one in candidates(tree, held, scope, amounts, priority)]
    enough: list[set[str]] = []
    for size in range(len(ids) + 1):
        for chosen in itertools.combinations(ids, size):
            found = set(chosen)
            if not any(smaller < found for smaller in enough) and _without(tree, chosen).fits(scope, amounts):
                enough.append(found)
    return enough


def names(reply: Any) -> set[str]:
    """The victims that `check` names; none where it fits."""
    return set(reply[3]) if reply[0] == "denied" else set()
