"""What of the tests is run by `make test`, and in which order; `make torture` runs the rest.

A test that says the same of each engine, store or operation and of both clients is a product.  Of each pair of such
tests that differ in the client alone, `make test` runs one, in turn: each engine, each client and each neighbour of
the two is met, and the time is half.  The others are marked `long`, as is by hand what takes long by its nature.

What is marked `one_store` is a product of scripts and of what may happen to them, and says the same of each store.  Of
such tests that differ in the store alone, `make test` runs one, in turn.  `pytest -m ''` runs all.

What is marked `slow` comes first, or one worker would have it all at the end while the other is done.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from typing import Any, Final

import pytest

from tests.support.clients import KINDS

__all__ = ["pytest_collection_modifyitems"]

CLIENT: Final = "kind"
AXES: Final = frozenset({"engine", "store", "sentinels", "operation"})
"""The parameters whose product with the client is thinned."""

STORES: Final = ("ledger", "real")
"""The parameters that are a store's name, in tests that are marked `one_store`."""


def _rest(item: pytest.Item, parameter: str) -> str:
    """The parameters of the test but for this one."""
    value, parameters = re.escape(str(_callspec(item).params[parameter])), _callspec(item).id
    return re.sub(rf"(^|-){value}(?=-|$)", r"\1*", parameters, count=1)


def _callspec(item: pytest.Item) -> Any:
    return item.callspec  # type: ignore[attr-defined]


def _is_product(item: pytest.Item) -> bool:
    parameters = _callspec(item).params if hasattr(item, "callspec") else {}
    return parameters.get(CLIENT) in KINDS and bool(AXES & set(parameters))


def _thinned_by(item: pytest.Item) -> str | None:
    """The parameter in which the tests of a group differ, of which one is run."""
    if _is_product(item):
        return CLIENT
    if hasattr(item, "callspec") and item.get_closest_marker("one_store"):
        return next((name for name in STORES if name in _callspec(item).params), None)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but one of each group, then sort."""
    groups = defaultdict[str, defaultdict[str, list[pytest.Item]]](lambda: defaultdict(list))
    for item in items:
        if item.get_closest_marker("long") is None and (parameter := _thinned_by(item)):
            groups[item.nodeid.partition("[")[0]][_rest(item, parameter)].append(item)
    for test, of_this in groups.items():
        in_turn = list(of_this.values())
        random.Random(test).shuffle(in_turn)  # or it would be the same client for each second fault
        for turn, group in enumerate(in_turn):
            for at, one in enumerate(group):
                if at != turn % len(group):
                    one.add_marker("long")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
