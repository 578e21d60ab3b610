"""Public values as plain data: the dict that `-o json` prints, read back exactly; and their pickles.

A dict has camelCase fields, and of Python's types dict, list, str, int, bool and None only, so JSON and YAML carry it
without loss.  An amount is `{"quantity": canonical text, "amount": exact integer}`, and the integer is read.  An
instant is RFC 3339 in UTC to the millisecond (a year above 9999 has a `+` before it, as in ISO 8601), a duration an
integer of milliseconds (`ttlMs`).  `apiVersion` and `kind` say what a dict is; a value inside another has neither.

Fields that are not known are ignored, as a newer version may have written them.  A field that is missing has its
default, if it has one.  Whatever else is wrong is `InvalidRequest`, with the field's path, such as
`resources.cpu.amount`; then there is no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, ClassVar, Final, Self, TypeVar, cast

from allocator.input_errors import InvalidRequest
from allocator.quantity import Quantity, shown
from allocator.settings import AMOUNT_MAX
from allocator.units import format_amount

__all__ = [
    "API_VERSION",
    "INSTANT",
    "INTEGER",
    "OPTIONAL_INSTANT",
    "OPTIONAL_INTEGER",
    "QUANTITY",
    "TEXT",
    "TEXTS",
    "TRUTH",
    "Codec",
    "Field",
    "Value",
    "amount",
    "amounts",
    "checked",
    "derived",
    "field",
    "many",
    "numbered",
    "optional",
    "read_amount",
    "read_integer",
    "read_list",
    "read_mapping",
    "read_text",
    "restore",
    "rfc3339",
    "value",
    "wrong",
]

API_VERSION: Final = "allocator/v1"
"""The version of the format.  It changes when a field is removed or changes its meaning, not for new fields."""

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_CYCLE_YEARS: Final = 400
_CYCLE_MS: Final = 146_097 * 86_400_000
"""The calendar repeats after 400 years, so that instants beyond `datetime`'s last year can be written, too."""

_RFC3339: Final = re.compile(
    r"(?P<year>[0-9]{4}|\+[0-9]{5,9})-(?P<rest>[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Codec:
    """How a kind of field is written and read.  `read` takes the plain data and its path, for errors."""

    write: Callable[[Any], Any]
    read: Callable[[object, str], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a format: its name there, what it is of the value, the attribute that it is read into."""

    name: str
    write: Callable[[Any], Any]
    attribute: str = ""
    read: Callable[[object, str], Any] | None = None


def field(attribute: str, name: str, codec: Codec) -> Field:
    """The field that carries an attribute."""
    get, write = attrgetter(attribute), codec.write
    return Field(name, lambda whole: write(get(whole)), attribute, codec.read)


def derived(name: str, write: Callable[[Any], Any]) -> Field:
    """A field that follows from others: it is written for readers of the dict, and not read."""
    return Field(name, write)


class Value:
    """The base of the public values, which are frozen dataclasses: plain dicts, pickles and copies of them.

    `FORMAT` lists the fields of the dict in their order.  `KIND` is the `kind` of a document; a part of other values
    has none, and no `apiVersion`.
    """

    __slots__ = ()

    KIND: ClassVar[str] = ""
    FORMAT: ClassVar[tuple[Field, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The value as plain data: dict, list, str, int, bool and None; `from_dict` is the inverse."""
        head = {"apiVersion": API_VERSION, "kind": self.KIND} if self.KIND else {}
        return {**head, **self.to_fields()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The value of such a dict: of `to_dict`, of `-o json`, or one of the `items` of a list there.

        Raises:
            InvalidRequest: `field` is the path of what is wrong or missing.  Unknown fields are ignored.
        """
        if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"data: {shown(data)} is not a mapping, as to_dict returns", field="data")
        if cls.KIND:
            for name, expected in (("apiVersion", API_VERSION), ("kind", cls.KIND)):
                if (found := data.get(name, expected)) != expected:
                    raise wrong(name, found, f"is not {expected!r}")
        return cls.from_fields(data, "")

    def to_fields(self) -> dict[str, Any]:
        """`to_dict` without `apiVersion` and `kind`: as a part of another dict."""
        return {one.name: one.write(self) for one in self.FORMAT}

    @classmethod
    def from_fields(cls, data: object, path: str) -> Self:
        """The value of a part at `path` of a dict."""
        found = read_mapping(data, path)
        values: dict[str, Any] = {}
        for one in cls.FORMAT:
            if one.read is None:
                continue
            where = f"{path}.{one.name}" if path else one.name
            if one.name in found:
                values[one.attribute] = one.read(found[one.name], where)
            elif one.attribute in _required(cls):
                raise InvalidRequest(f"{where}: is missing", field=where)
        return cls(**values, **cls.from_several(found, path))

    @classmethod
    def from_several(cls, found: Mapping[str, Any], path: str) -> dict[str, Any]:  # noqa: ARG003 - for subclasses
        """The attributes that are read from several fields of the dict."""
        return {}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type[Self], dict[str, Any]]]:
        return restore, (type(self), {one: getattr(self, one) for one in _names(type(self))})


def restore(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    """The value of a pickle: attributes by name, so that versions of this library read each other's pickles.

    An attribute that this version does not know is dropped, and one that an older version did not know has its default.
    """
    known = _names(kind)
    return kind(**{name: one for name, one in values.items() if name in known})


def _names(kind: Any) -> tuple[str, ...]:
    return tuple([one.name for one in fields(kind)])


def _required(kind: Any) -> set[str]:
    return {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}


# -- writing -----------------------------------------------------------------------------------------------------------


def amount(resource: str, units: int) -> dict[str, str | int]:
    """An amount, as the canonical quantity and as the exact integer."""
    return {"quantity": format_amount(resource, units), "amount": units}


def amounts(resources: Mapping[str, int]) -> dict[str, dict[str, str | int]]:
    """Each amount as `amount` writes it."""
    return {name: amount(name, units) for name, units in resources.items()}


def rfc3339(ms: int | None) -> str | None:
    """An instant in UTC, to the millisecond; None for None."""
    if ms is None:
        return None
    cycles, rest = divmod(ms, _CYCLE_MS)
    at = datetime.fromtimestamp(rest // 1000, UTC)
    year = at.year + _CYCLE_YEARS * cycles
    return f"{'+' if year > 9999 else ''}{year:04d}-{at:%m-%dT%H:%M:%S}.{rest % 1000:03d}Z"


# -- reading -----------------------------------------------------------------------------------------------------------


def wrong(path: str, found: object, why: str) -> InvalidRequest:
    """The error for a field whose value is wrong."""
    return InvalidRequest(f"{path}: {shown(found)} {why}", field=path)


def read_mapping(found: object, path: str) -> Mapping[str, Any]:
    """A mapping with texts as keys."""
    path = path or "data"
    if not isinstance(found, Mapping):
        raise wrong(path, found, "is not a mapping")
    for key in cast("Mapping[object, object]", found):
        if not isinstance(key, str):
            raise wrong(path, key, "is not a text, as the keys of a mapping are")
    return cast("Mapping[str, Any]", found)


def read_list(found: object, path: str) -> list[Any]:
    """A list."""
    if not isinstance(found, list | tuple):
        raise wrong(path, found, "is not a list")
    return list(cast("list[Any]", found))


def read_text(found: object, path: str) -> str:
    """A text."""
    if not isinstance(found, str):
        raise wrong(path, found, "is not a text")
    return str(found)


def read_integer(found: object, path: str) -> int:
    """An integer from 0 to 2^53-1; a whole float in this range is one, too, as some JSON libraries know no integers."""
    if isinstance(found, float) and found.is_integer() and abs(found) <= AMOUNT_MAX:
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= AMOUNT_MAX:
        raise wrong(path, found, f"is not an integer from 0 to {AMOUNT_MAX}")
    return int(found)


def read_amount(found: object, path: str) -> int:
    """The exact integer of an amount; its text is not read."""
    row = read_mapping(found, path)
    if "amount" not in row:
        raise InvalidRequest(f"{path}.amount: is missing", field=f"{path}.amount")
    return read_integer(row["amount"], f"{path}.amount")


def _read_truth(found: object, path: str) -> bool:
    if not isinstance(found, bool):
        raise wrong(path, found, "is neither true nor false")
    return found


def _read_instant(found: object, path: str) -> int:
    """The milliseconds of an instant; digits below the millisecond are dropped."""
    match = _RFC3339.fullmatch(found) if isinstance(found, str) else None
    if match is None:
        raise wrong(path, found, "is not an instant: write for instance 2026-11-23T16:38:44.622Z")
    cycles, year = divmod(int(match["year"]), _CYCLE_YEARS)
    cycles, year = cycles - 5, year + 5 * _CYCLE_YEARS  # the years 2000 to 2399, which datetime has with any offset
    try:
        at = datetime.fromisoformat(f"{year}-{match['rest'].upper()}{match['zone'].upper()}")
    except ValueError:
        raise wrong(path, found, "is not an instant of the calendar") from None
    ms = (at - _EPOCH) // _MILLISECOND + cycles * _CYCLE_MS + int(f"{match['fraction'] or ''}000"[:3])
    if not 0 <= ms <= AMOUNT_MAX:
        raise wrong(path, found, "is not an instant from 1970 on that can be counted")
    return ms


TEXT: Final = Codec(str, read_text)
INTEGER: Final = Codec(int, read_integer)
TRUTH: Final = Codec(bool, _read_truth)
INSTANT: Final = Codec(rfc3339, _read_instant)


def numbered(check: Callable[[object], int]) -> Codec:
    """An integer that a function of `allocator.validation` checks, below 0 too.  The error names the path."""

    def read(found: object, path: str) -> int:
        if isinstance(found, float) and found.is_integer() and abs(found) <= AMOUNT_MAX:
            found = int(found)
        try:
            return check(found)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: {str(error).partition(': ')[2]}", field=path) from None

    return Codec(check, read)


def optional(codec: Codec) -> Codec:
    """A field that may be null."""
    write, read = codec.write, codec.read
    return Codec(
        lambda found: None if found is None else write(found),
        lambda found, path: None if found is None else read(found, path),
    )


def many(codec: Codec) -> Codec:
    """A field that is a list; read as a tuple."""
    write, read = codec.write, codec.read
    return Codec(
        lambda found: [write(one) for one in found],
        lambda found, path: tuple([read(one, f"{path}[{at}]") for at, one in enumerate(read_list(found, path))]),
    )


def value(kind: type[Value]) -> Codec:
    """A field that is another value."""
    return Codec(lambda found: found.to_fields(), kind.from_fields)


def checked(check: Callable[[object], object]) -> Codec:
    """A text that a function of `allocator.validation` checks.  The error names the path, not that function's field."""

    def read(found: object, path: str) -> str:
        text = read_text(found, path)
        try:
            check(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: {str(error).partition(': ')[2]}", field=path) from None
        return text

    return Codec(str, read)


def _write_quantity(quantity: Quantity | None) -> str | int | None:
    """An integer or a text; other numbers become a text."""
    return quantity if quantity is None or type(quantity) is int else str(quantity)


def _read_quantity(found: object, path: str) -> str | int | None:
    """A quantity as it was written; whether it is one is known once it has a resource."""
    if found is None or (isinstance(found, str | int) and not isinstance(found, bool)):
        return found
    raise wrong(path, found, "is no quantity: a text, an integer or null")


QUANTITY: Final = Codec(_write_quantity, _read_quantity)
"""A quantity of a resource that stands elsewhere, or null."""

TEXTS: Final = many(TEXT)
OPTIONAL_INTEGER: Final = optional(INTEGER)
OPTIONAL_INSTANT: Final = optional(INSTANT)
