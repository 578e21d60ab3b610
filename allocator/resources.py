"""`Resources`: an immutable vector resource name -> amount, and the rule for names.

Amounts are whole units (`allocator.quantity`).  Texts are converted to amounts only in `Resources.request` and
`Resources.capacity`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn, cast, final

from allocator.input_errors import InvalidRequest
from allocator.quantity import Quantity, parse_capacity, parse_request, shown
from allocator.serialization import Codec, amounts, read_amount, read_mapping, wrong
from allocator.settings import RESOURCE_LENGTH_MAX, RESOURCES_MAX
from allocator.units import format_amount

__all__ = ["ALLOCATIONS", "RESOURCES", "Resources", "resource_name"]

ALLOCATIONS: Final = "allocations"
"""The name by which a quota limits how many allocations of a scope are live; no pool counts such a resource."""

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_RESOURCE: Final = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?", re.ASCII
)


def resource_name(name: object) -> str:
    """Validate a resource name of Kubernetes: `cpu`, `hugepages-2Mi`, `nvidia.com/gpu`.

    An optional lower-case DNS name and a slash, then up to 63 ASCII letters, digits, `-`, `_` and `.` of which the
    first and the last are letters or digits; 317 characters in all.

    Raises:
        InvalidRequest: `field` is `resource`.
    """
    if not isinstance(name, str) or len(name) > RESOURCE_LENGTH_MAX:
        raise _not_a_name(name)
    return _resource_name(name)


@final
class Resources(Mapping[str, int]):
    """An immutable, hashable mapping resource name -> amount, iterated in the order of the names.

    It has the arithmetic of a vector in which a name that is missing counts as zero.  Indexing is that of a mapping: a
    missing name is a KeyError.  Amounts are never negative.
    """

    __slots__ = ("_amounts",)

    _amounts: dict[str, int]

    def __init__(self) -> None:
        object.__setattr__(self, "_amounts", {})

    @classmethod
    def of(cls, amounts: Mapping[str, int]) -> Resources:
        """The vector of these amounts, which are not validated: for replies of the scripts, not for input."""
        self = cls.__new__(cls)
        object.__setattr__(self, "_amounts", dict(sorted(amounts.items())))
        return self

    @classmethod
    def request(cls, quantities: Mapping[str, Quantity]) -> Resources:
        """The amounts of a request: each quantity rounded up to its unit, zeros dropped ("do not charge").

        Args:
            quantities: resource name -> quantity; or a `Resources`, whose amounts are used unchanged.

        Raises:
            InvalidRequest: not a mapping, an invalid name, nothing above zero, or more than 32 resources.
            InvalidQuantity: `field` is the resource's name.
        """
        written = _written(quantities)
        try:
            return _requests[written]
        except (KeyError, TypeError):  # a TypeError: an unhashable value, which is refused below
            pass
        amounts = _amounts(quantities, "request", parse_request)
        charged = {name: amount for name, amount in amounts.items() if amount}
        if not charged:
            raise InvalidRequest(
                f"request: {shown(quantities)} asks for nothing: write for instance {{'cpu': '1', 'memory': '2Gi'}}",
                field="request",
            )
        request = cls.of(charged)
        if written and all(type(part) is str for pair in written for part in pair):
            if len(_requests) >= _REQUESTS_MAX:
                _requests.clear()
            _requests[written] = request
        return request

    @classmethod
    def capacity(cls, quantities: Mapping[str, Quantity]) -> Resources:
        """The amounts of a capacity: each quantity rounded down to its unit, zeros kept ("none of it").

        Args:
            quantities: resource name -> quantity; or a `Resources`, whose amounts are used unchanged.

        Raises:
            InvalidRequest: not a mapping, an invalid name, or more than 32 resources.
            InvalidQuantity: `field` is the resource's name.
        """
        return cls.of(_amounts(quantities, "capacity", parse_capacity))

    def __getitem__(self, name: str) -> int:
        return self._amounts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def items(self) -> ItemsView[str, int]:
        """The names and their amounts, in the order of the names."""
        return self._amounts.items()  # as Mapping's, several times faster

    def __hash__(self) -> int:
        return hash(tuple(self._amounts.items()))

    def __eq__(self, other: object) -> bool:
        """Same names, same amounts: a zero is not the same as a missing name.  A plain dict may be equal, too."""
        if isinstance(other, Resources):
            return self._amounts == other._amounts
        return self._amounts == other if isinstance(other, Mapping) else NotImplemented

    def __add__(self, other: Resources) -> Resources:
        if not isinstance(other, Resources):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return Resources.of({name: self.get(name, 0) + other.get(name, 0) for name in {*self, *other}})

    def __sub__(self, other: Resources) -> Resources:
        """The difference.

        Raises:
            ValueError: an amount would be negative; the message names each such resource.
        """
        if not isinstance(other, Resources):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        short = other.shortfall(self)
        if short:
            raise ValueError(f"cannot take {other} from {self}: {short} too much")
        return Resources.of({name: amount - other.get(name, 0) for name, amount in self.items()})

    def __le__(self, other: Resources) -> bool:
        """Whether each amount is at most the other's: a partial order, so `not a <= b` does not say `b <= a`."""
        if not isinstance(other, Resources):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented
        return all(amount <= other.get(name, 0) for name, amount in self._amounts.items())

    def shortfall(self, available: Mapping[str, int]) -> Resources:
        """The amounts by which this exceeds `available`; empty if it fits.

        Args:
            available: name -> units; may be negative, where an account is overcommitted.
        """
        missing = {name: amount - available.get(name, 0) for name, amount in self._amounts.items()}
        return Resources.of({name: amount for name, amount in missing.items() if amount > 0})

    def to_dict(self) -> dict[str, dict[str, str | int]]:
        """Name -> `{"quantity": canonical text, "amount": exact integer}`, in the order of the names."""
        return amounts(self._amounts)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Resources:
        """The inverse of `to_dict`: the integers are read, the texts are not.

        Raises:
            InvalidRequest: `field` is the path of what is wrong, such as `resources.cpu.amount`.
        """
        return cls.from_fields(data, "resources")

    @classmethod
    def from_fields(cls, data: object, path: str) -> Resources:
        """`from_dict` of the part at `path` of another value's dict."""
        read: dict[str, int] = {}
        for name, row in read_mapping(data, path).items():
            where = f"{path}.{name}"
            try:
                resource_name(name)
            except InvalidRequest:
                raise wrong(path, name, "is not a resource's name") from None
            read[name] = read_amount(row, where)
        return cls.of(read)

    def text(self) -> dict[str, str]:
        """Name -> canonical quantity, in the order of the names."""
        return {name: format_amount(name, amount) for name, amount in self._amounts.items()}

    def __str__(self) -> str:
        return ",".join(f"{name}={quantity}" for name, quantity in self.text().items())

    def __repr__(self) -> str:
        return f"<Resources {str(self) or 'empty'}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Resources are immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Resources are immutable: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Callable[[Mapping[str, int]], Resources], tuple[dict[str, int]]]:
        return Resources.of, (dict(self._amounts),)


RESOURCES: Final = Codec(Resources.to_dict, Resources.from_fields)
"""A field of a value's dict that is a `Resources`."""


def _amounts(given: object, field: str, parse: Callable[[str, object], int]) -> dict[str, int]:
    """Name -> amount from a caller's mapping; every error in it raises InvalidRequest."""
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"{field}: {shown(given)} is not a mapping of resource names to quantities", field=field)
    quantities = cast("Mapping[Any, object]", given)
    if len(quantities) > RESOURCES_MAX:
        raise InvalidRequest(f"{field}: {len(quantities)} resources, at most {RESOURCES_MAX} are taken", field=field)
    if isinstance(given, Resources):
        amounts = dict(given)  # amounts already: read as a quantity, 2000 (millicores) would become 2000 cores
    else:
        names = ((resource_name(name), quantity) for name, quantity in quantities.items())
        amounts = {name: parse(name, quantity) for name, quantity in names}
    if ALLOCATIONS in amounts:
        raise InvalidRequest(
            f"{field}: {ALLOCATIONS!r} is no resource to ask for or to have: it counts the allocations of a scope",
            field=field,
        )
    return amounts


@lru_cache(maxsize=4096)
def _resource_name(name: str) -> str:
    match = _RESOURCE.fullmatch(name)
    if match is None:
        raise _not_a_name(name)
    return match.group()


def _not_a_name(name: object) -> InvalidRequest:
    return InvalidRequest(
        f"resource: {shown(name)} is not a resource's name, such as 'cpu', 'memory' or 'nvidia.com/gpu': letters,"
        " digits, '-', '_' and '.', at most 63, after an optional DNS name and '/', at most"
        f" {RESOURCE_LENGTH_MAX} in all",
        field="resource",
    )


def _written(quantities: object) -> tuple[tuple[object, object], ...]:
    """A cache key of a request as written; empty if it is not a plain dict."""
    return tuple(cast("dict[object, object]", quantities).items()) if type(quantities) is dict else ()


_REQUESTS_MAX: Final = 1024
"""The maximum number of cached requests; a controller repeats a few."""

_requests: Final[dict[tuple[tuple[object, object], ...], Resources]] = {}
"""Cached results for requests of texts only: 1, 1.0 and True are equal keys, but not the same request."""
