"""Validation of arguments: each function returns the canonical value or raises `InvalidRequest`.

These run before anything is sent, on every call.  A value that passes is safe in a key, a field or a message: names
are ASCII and match whole (a newline at the end is refused), and numbers are finite and within their limits.  The
error's `field` names the argument, and its message shows the given value, cut.

Arguments are typed `object` on purpose: the public methods carry the types, and these functions check the values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeVar, cast

from allocator.durations import exact
from allocator.input_errors import InvalidRequest
from allocator.quantity import kind_of, shown
from allocator.settings import (
    AGE_MAX_S,
    AMOUNT_MAX,
    DEADLINE_MAX_S,
    HALF_LIFE_MAX_S,
    HALF_LIFE_MIN_S,
    ID_LENGTH_MAX,
    INSTANT_MIN_MS,
    LIFETIME_MAX_S,
    MANY_ITEMS_MAX,
    METADATA_BYTES_MAX,
    METADATA_ENTRIES_MAX,
    NAME_LENGTH_MAX,
    PREFIX_LENGTH_MAX,
    PRIORITY_MAX,
    QUEUE_POLICIES,
    REASON_LENGTH_MAX,
    SCOPE_DEPTH_MAX,
    SCOPE_LENGTH_MAX,
    TTL_MAX_S,
    TTL_MIN_S,
    WAIT_MAX_S,
    WEIGHT_MAX,
)

__all__ = [
    "age_ms",
    "allocation_id",
    "batch",
    "deadline_s",
    "epoch_text",
    "event_id",
    "fence",
    "generation_number",
    "grace_ms",
    "half_life_ms",
    "instant_ms",
    "key_prefix",
    "lifetime_ms",
    "metadata",
    "owner_name",
    "owner_pattern",
    "pool_name",
    "priority_number",
    "queue_policy_name",
    "reason_text",
    "scope_name",
    "ttl_ms",
    "wait_s",
    "weight_number",
]

T = TypeVar("T")

_AMOUNT_FIELDS: Final = (".allocated", ".capacity")
"""Endings that mark a field of a record as an amount; a metadata field `meta.<key>` must not have one."""


_SCOPE_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)

_EVENT_ID: Final = re.compile(r"[0-9]{1,16}(-[0-9]{1,16})?", re.ASCII)
_EPOCH: Final = re.compile(r"[A-Za-z0-9-]{0,64}", re.ASCII)


def _rule(field: str, punctuation: str, length: int, *, first: str = "") -> Callable[[str], str]:
    """A check for one kind of name: a letter, a digit or one of `first`, then also `punctuation`, `length` in all."""
    pattern = re.compile(rf"[A-Za-z0-9{first}][A-Za-z0-9{punctuation}]{{0,{length - 1}}}", re.ASCII)
    start = f"letters, digits and any of {first}" if first else f"a letter or digit, then also any of {punctuation}"

    def check(text: str) -> str:
        match = pattern.fullmatch(text)
        if match is None:
            raise _wrong(field, text, f"is not allowed: write {start}, 1 to {length} characters")
        return match.group()

    return check


_pool_name = lru_cache(maxsize=4096)(_rule("pool", "._-", NAME_LENGTH_MAX))
_allocation_id = _rule("id", "._/:-", ID_LENGTH_MAX)  # not cached: ids seldom repeat
_owner_name = lru_cache(maxsize=4096)(_rule("owner", "._/:-", ID_LENGTH_MAX))
_key_prefix = lru_cache(maxsize=64)(_rule("prefix", "._:-", PREFIX_LENGTH_MAX, first="._:-"))
_metadata_key = lru_cache(maxsize=4096)(_rule("metadata", "._/-", NAME_LENGTH_MAX))


def pool_name(value: object) -> str:
    """A pool's name: no braces, which would move its keys to another hash slot, no colon, which separates key parts."""
    return _pool_name(_bounded("pool", value, NAME_LENGTH_MAX))


def allocation_id(value: object) -> str:
    """An allocation's id, wide enough for `namespace/name/uid`.  The error's `field` is `id`."""
    return _allocation_id(_bounded("id", value, ID_LENGTH_MAX))


def owner_name(value: object) -> str:
    """An owner: the same characters as an id."""
    return _owner_name(_bounded("owner", value, ID_LENGTH_MAX))


def scope_name(value: object) -> str:
    """A scope: up to 8 names of letters, digits and ._- with slashes between.  The error's `field` is `scope`."""
    text = _bounded("scope", value, SCOPE_LENGTH_MAX)
    parts = text.split("/")
    if len(parts) > SCOPE_DEPTH_MAX or not all(_SCOPE_PART.fullmatch(part) for part in parts):
        raise _wrong("scope", value, f"is not allowed: write 1 to {SCOPE_DEPTH_MAX} names with a slash between them")
    return text


def generation_number(value: object) -> int:
    """A generation in the scripts' format: 0, "any", for None."""
    if value is None:
        return 0
    if type(value) is not int or not 0 < value <= AMOUNT_MAX:
        raise InvalidRequest(f"generation is a positive integer, not {value!r}", field="generation")
    return value


def weight_number(value: object) -> int:
    """The weight of a scope in fair share."""
    return count(value, "weight", WEIGHT_MAX)


def half_life_ms(value: object) -> int:
    """The half-life of what scopes have used, in milliseconds."""
    seconds = _seconds("queue_half_life", value)
    if not HALF_LIFE_MIN_S <= seconds <= HALF_LIFE_MAX_S:
        raise _wrong("queue_half_life", value, _not_within(HALF_LIFE_MIN_S, HALF_LIFE_MAX_S))
    return round(seconds * 1000)


def key_prefix(value: object) -> str:
    """The prefix of all keys.  The error's `field` is `prefix`."""
    return _key_prefix(_bounded("prefix", value, PREFIX_LENGTH_MAX))


def metadata(value: object) -> tuple[tuple[str, str], ...]:
    """Metadata as pairs sorted by key, so that the same entries always encode the same; None is no metadata.

    Args:
        value: a mapping of str to str: at most 16 entries and 4096 bytes in UTF-8, keys and values together.  Values
            are free text.  A key must not be or end in a suffix of an amount (`allocated`, `x.capacity`): its field in
            the record, `meta.<key>`, would be read as one.

    Raises:
        InvalidRequest: `field` is `metadata`.
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise _wrong("metadata", value, "is not a mapping of text to text")
    entries = cast("Mapping[Any, object]", value)
    if len(entries) > METADATA_ENTRIES_MAX:
        raise InvalidRequest(
            f"metadata: {len(entries)} entries, at most {METADATA_ENTRIES_MAX} are taken", field="metadata"
        )
    pairs = sorted((_key(key), _value(key, text)) for key, text in entries.items())
    size = sum(len(key) + len(text.encode()) for key, text in pairs)
    if size > METADATA_BYTES_MAX:
        raise InvalidRequest(f"metadata: {size} bytes, at most {METADATA_BYTES_MAX} are taken", field="metadata")
    return tuple(pairs)


def ttl_ms(ttl: object) -> int:
    """The time to live in milliseconds; 0 for None, which pins the allocation.

    Args:
        ttl: seconds (int or float) or a timedelta, 1 s to 30 days; or None.
    """
    if ttl is None:
        return 0
    seconds = _seconds("ttl", ttl)
    if not TTL_MIN_S <= seconds <= TTL_MAX_S:
        raise _wrong("ttl", ttl, f"{_not_within(TTL_MIN_S, TTL_MAX_S)}; None pins the allocation")
    return round(seconds * 1000)


def lifetime_ms(value: object) -> int:
    """The time until the hard end of an allocation, in milliseconds; 0 for None: it has none.

    Args:
        value: seconds (int or float) or a timedelta, 1 s to ten years; or None.  The error's `field` is `max_lifetime`.
    """
    if value is None:
        return 0
    seconds = _seconds("max_lifetime", value)
    if not TTL_MIN_S <= seconds <= LIFETIME_MAX_S:
        raise _wrong("max_lifetime", value, f"{_not_within(TTL_MIN_S, LIFETIME_MAX_S)}; None is no hard end")
    return round(seconds * 1000)


def wait_s(wait: object) -> float:
    """The seconds that a request may wait in line.

    Args:
        wait: seconds (int or float) or a timedelta, 0 to 7 days.
    """
    seconds = _seconds("wait", wait)
    if not 0 <= seconds <= WAIT_MAX_S:
        raise _wrong("wait", wait, _not_within(0, WAIT_MAX_S))
    return float(seconds)


def priority_number(value: object) -> int:
    """The priority of a request in line, -1000 to 1000."""
    if type(value) is not int or not -PRIORITY_MAX <= value <= PRIORITY_MAX:
        raise _wrong("priority", value, f"is not an integer from {-PRIORITY_MAX} to {PRIORITY_MAX}")
    return value


def queue_policy_name(value: object) -> str:
    """The policy of a pool's line.  The error's `field` is `queue_policy`."""
    if not isinstance(value, str) or value not in QUEUE_POLICIES:
        raise _wrong("queue_policy", value, f"is none of {', '.join(QUEUE_POLICIES)}")
    return value


def age_ms(age: object, field: str) -> int:
    """An age in milliseconds; 0 means any age.

    Args:
        age: seconds (int or float) or a timedelta, 0 to ten years.
        field: the argument's name, for the error.
    """
    seconds = _seconds(field, age)
    if not 0 <= seconds <= AGE_MAX_S:
        raise _wrong(field, age, _not_within(0, AGE_MAX_S))
    return round(seconds * 1000)


def grace_ms(value: object, field: str, most_s: float = TTL_MAX_S) -> int:
    """A bounded time in milliseconds: 1 s to `most_s`; 0 removes it."""
    seconds = _seconds(field, value)
    if seconds != 0 and not TTL_MIN_S <= seconds <= most_s:
        raise _wrong(field, value, _not_within(TTL_MIN_S, most_s))
    return round(seconds * 1000)


def instant_ms(value: object, field: str) -> int:
    """An instant of the server's clock in milliseconds: an integer, or an aware datetime.

    An integer before 2001 is refused, as it is seconds, which would be long ago.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        return round(value.timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= AMOUNT_MAX:
        raise _wrong(field, value, "is no instant: write milliseconds of the server's clock, or an aware datetime")
    if value < INSTANT_MIN_MS:
        meant = f": were seconds meant? Write {value}000" if value * 1000 >= INSTANT_MIN_MS else ""
        raise _wrong(field, value, f"is before 2001, as it counts milliseconds{meant}")
    return int(value)


def event_id(value: object, field: str) -> str:
    """The id of an event: milliseconds, a hyphen, and a number."""
    if not isinstance(value, str) or not _EVENT_ID.fullmatch(value):
        raise _wrong(field, value, "is no event's id, such as '1795451188527-0'")
    return value


def owner_pattern(value: object) -> str:
    """An owner, or a prefix of owners followed by `*`."""
    text = _bounded("owner", value, ID_LENGTH_MAX + 1)
    return owner_name(text[:-1]) + "*" if text.endswith("*") else owner_name(text)


def reason_text(value: object, field: str) -> str:
    """The reason for an exceptional action: one non-empty line of text."""
    text = _bounded(field, value, REASON_LENGTH_MAX)
    if not text.strip() or not text.isprintable():
        raise _wrong(field, value, "is no reason: write a line of text")
    return text


def epoch_text(value: object) -> str:
    """The epoch of a pool, as `Pool.epoch` has it; "" is any."""
    if not isinstance(value, str) or not _EPOCH.fullmatch(value):
        raise _wrong("epoch", value, "is no epoch: give Pool.epoch")
    return value


def deadline_s(value: object, field: str = "deadline") -> float:
    """The total time of a call in seconds (int, float or timedelta), or that of an attempt: above 0 and at most 60.

    With a longer one, a late copy of a call could arrive after the server has trimmed the record of its completion.
    """
    seconds = _seconds(field, value)
    if not 0 < seconds <= DEADLINE_MAX_S:
        raise _wrong(field, value, f"is not above 0s and at most {exact(round(DEADLINE_MAX_S * 1000))}")
    return float(seconds)


def fence(value: object) -> int:
    """A fence in the scripts' format: 0, "any", for None."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= AMOUNT_MAX:
        raise _wrong("fence", value, f"is not a fence: an integer from 1 to {AMOUNT_MAX}, or None")
    return int(value)


def count(value: object, field: str, most: int, least: int = 1) -> int:
    """An integer from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequest(f"{field} is an integer from {least} to {most}, not {value!r}", field=field)
    return value


def batch(items: Iterable[T], field: str, limit: int = MANY_ITEMS_MAX, whose: str = "") -> list[T]:
    """The items as a list; at most `limit` + 1 of them are read.  `whose` says which items have this limit.

    A text or a mapping is refused, though Python could iterate over it, as it is probably one item outside a list.
    """
    given: Any = items
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise _wrong(field, items, "is not a list")
    listed = list(islice(items, limit + 1))
    if len(listed) > limit:
        raise InvalidRequest(f"{field}: more than {limit} items{whose and f' {whose}'}", field=field)
    return listed


def _not_within(least_s: float, most_s: float) -> str:
    """What is wrong with a duration outside of its bounds."""
    return f"is not within {exact(round(least_s * 1000))} and {exact(round(most_s * 1000))}"


def _bounded(field: str, value: object, length: int) -> str:
    """The value, if it is a text of at most `length` characters."""
    if not isinstance(value, str):
        raise _wrong(field, value, f"is not a text but {kind_of(value)}")
    if len(value) > length:
        raise _wrong(field, value, f"has {len(value)} characters, at most {length} are allowed")
    return value


def _key(value: object) -> str:
    key = _metadata_key(_bounded("metadata", value, NAME_LENGTH_MAX))
    if f".{key}".endswith(_AMOUNT_FIELDS):
        raise _wrong("metadata", key, "is not allowed: 'allocated' and 'capacity' mark the amounts of a record")
    return key


def _value(key: object, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong("metadata", value, f"for {shown(key)} is not a text but {kind_of(value)}")
    if len(value) > METADATA_BYTES_MAX:
        raise _wrong("metadata", value, f"for {shown(key)} is longer than {METADATA_BYTES_MAX} bytes")
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong("metadata", value, f"for {shown(key)} cannot be written as UTF-8") from None
    return text


def _seconds(field: str, value: object) -> int | float:
    """Seconds, not yet checked for their range; NaN passes here and fails every later comparison."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(field, value, "is not a time: write seconds or a timedelta")
    return int(value) if isinstance(value, int) else float(value)


def _wrong(field: str, value: object, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {shown(value)} {why}", field=field)
