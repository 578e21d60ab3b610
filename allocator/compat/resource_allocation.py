"""`ResourceAllocation`: the original's value for one allocation, from and to its dict.  No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

from allocator.errors import InvalidRequest
from allocator.quantity import parse_request, shown
from allocator.units import format_cores

__all__ = ["ResourceAllocation"]

_MEBIBYTE: Final = 2**20

_FIELDS: Final = ("allocation_id", "cpu", "memory", "allocated_at")
"""The keys of the dict that are fields; the others are metadata."""


@dataclass
class ResourceAllocation:
    """One allocation with the original's fields.

    Attributes:
        allocation_id: The id.
        cpu: Cores.
        memory_mb: MiB.
        allocated_at: When it was granted, by the server's clock.
        metadata: Every other key of the dict: `original_limits`, `fence`, `pool`, and other resources.
    """

    allocation_id: str
    cpu: float
    memory_mb: int
    allocated_at: datetime
    metadata: dict[str, str] = field(default_factory=dict[str, str])

    def to_dict(self) -> dict[str, str]:
        """The dict that `allocate_resources` returns and `release_resources` takes."""
        instant = self.allocated_at
        if instant.tzinfo is not None:
            instant = instant.astimezone(UTC)
        precision = "microseconds" if instant.microsecond % 1000 else "milliseconds"
        return {
            **self.metadata,
            "allocation_id": self.allocation_id,
            "cpu": format_cores(math.ceil(round(self.cpu * 1000, 6))),
            "memory": f"{self.memory_mb}Mi",
            "allocated_at": instant.isoformat(timespec=precision).replace("+00:00", "Z"),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, str]) -> Self:
        """The allocation of such a dict, also one of the in-memory original.

        Memory is read as a Kubernetes quantity and rounded up to whole MiB.

        Raises:
            InvalidRequest: A ValueError: a key is missing or its value is not of its kind; `field` names it.
        """
        if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"allocation_data: {shown(data)} is not an allocation's dict", field="allocation_data")
        texts = {name: _text(data, name) for name in _FIELDS}
        return cls(
            allocation_id=texts["allocation_id"],
            cpu=_cores(texts["cpu"]),
            memory_mb=-(-parse_request("memory", texts["memory"]) // _MEBIBYTE),
            allocated_at=_instant(texts["allocated_at"]),
            metadata={name: value for name, value in data.items() if name not in _FIELDS},
        )


def _text(data: Mapping[str, str], name: str) -> str:
    value = cast("Mapping[str, Any]", data).get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: {shown(value)} is not a text in an allocation's dict", field=name)
    return value


def _cores(text: str) -> float:
    """The original wrote `2.0`; a Kubernetes quantity, such as `500m`, is read too."""
    return parse_request("cpu", text) / 1000


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"allocated_at: {shown(text)} is not an instant", field="allocated_at") from None
