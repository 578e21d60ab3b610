"""A mapping that cannot be changed, and can be hashed, pickled and copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar, cast, final

V = TypeVar("V")


@final
class ReadOnlyMapping(Mapping[str, V]):
    """A read-only copy of a mapping: of metadata, for instance.  It equals any mapping with the same entries."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, V]) -> None:
        self._entries: dict[str, V] = dict(entries)

    def __getitem__(self, key: str) -> V:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._entries == dict(cast("Mapping[str, object]", other))

    def __hash__(self) -> int:
        return hash(frozenset(self._entries.items()))

    def __repr__(self) -> str:
        return repr(self._entries)

    def __reduce__(self) -> tuple[Callable[[Mapping[str, V]], ReadOnlyMapping[V]], tuple[dict[str, V]]]:
        return ReadOnlyMapping, (dict(self._entries),)


NO_ENTRIES: Final[ReadOnlyMapping[str]] = ReadOnlyMapping({})


def read_only(entries: Mapping[str, V]) -> ReadOnlyMapping[V]:
    """The mapping itself if it is read-only, or else a read-only copy."""
    return entries if isinstance(entries, ReadOnlyMapping) else ReadOnlyMapping(entries)
