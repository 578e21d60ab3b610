"""Events: the recorded changes of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from allocator.models.instants import instant


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a pool's event stream; `kind` is a past participle, such as `granted` or `reclaimed`."""

    id: str
    kind: str
    fields: Mapping[str, str]

    @property
    def at(self) -> datetime:
        """When it was written, by the server's clock."""
        return instant(int(self.id.partition("-")[0]))
