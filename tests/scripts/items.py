"""Items of script calls, and the flat lists of their arguments and replies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """One item of a call: its record, its call id, whether it is repeated, and what the header lists after these."""

    id: str
    call: str
    words: tuple[str | int, ...] = ()
    repeated: int = 0

    def again(self, **changes: Any) -> Line:
        """The same item as a retry sends it."""
        return Line(**{"id": self.id, "call": self.call, "words": self.words, "repeated": 1, **changes})


def amounts(resources: Mapping[str, int]) -> tuple[str | int, ...]:
    """R, (resource, amount)*R."""
    return (len(resources), *itertools.chain.from_iterable(resources.items()))


def fields_of(resources: Mapping[str, int]) -> tuple[str | int, ...]:
    """(field, amount)*R, a field being `<resource>.allocated`."""
    return tuple(itertools.chain.from_iterable((f"{name}.allocated", amount) for name, amount in resources.items()))


def fields(flat: Sequence[Any]) -> dict[str, Any]:
    """field, value, ... as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
