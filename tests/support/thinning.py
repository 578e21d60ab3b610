"""What of the tests is run by `make test`, and in which order; `make torture` runs the rest.

A test that says the same of each engine, store or operation and of both clients is a product.  Of each pair of such
tests that differ in the client alone, `make test` runs one, in turn: each engine, each client and each neighbour of
the two is met, and the time is half.  The others are marked `long`, as is by hand what takes long by its nature.
`pytest -m ''` runs all.

What is marked `slow` comes first, or one worker would have it all at the end while the other is done.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from typing import Any, Final

import pytest

__all__ = ["pytest_collection_modifyitems"]

CLIENT: Final = "kind"
AXES: Final = frozenset({"engine", "store", "sentinels", "operation"})
"""The parameters whose product with the client is thinned."""


def _rest(item: pytest.Item) -> str:
    """The parameters of the test but for the client."""
    kind, parameters = _callspec(item).params[CLIENT], _callspec(item).id
    return re.sub(rf"(^|-){kind}(?=-|$)", r"\1*", parameters, count=1)


def _callspec(item: pytest.Item) -> Any:
    return item.callspec  # type: ignore[attr-defined]


def _is_product(item: pytest.Item) -> bool:
    return hasattr(item, "callspec") and CLIENT in _callspec(item).params and bool(AXES & set(_callspec(item).params))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark one of each pair, then sort."""
    pairs = defaultdict[str, defaultdict[str, list[pytest.Item]]](lambda: defaultdict(list))
    for item in items:
        if _is_product(item):
            pairs[item.nodeid.partition("[")[0]][_rest(item)].append(item)
    for test, of_this in pairs.items():
        in_turn = list(of_this.values())
        random.Random(test).shuffle(in_turn)  # or it would be the same client for each second fault
        for turn, pair in enumerate(in_turn):
            if len(pair) == 2:
                pair[turn % 2].add_marker("long")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
