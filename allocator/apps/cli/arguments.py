"""Parsers of arguments: durations, RESOURCE=QUANTITY, KEY=VALUE."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Final

import click

from allocator.errors import InvalidRequest
from allocator.settings import AGE_MAX_S, DEADLINE_MAX_S, TTL_MAX_S, TTL_MIN_S
from allocator.validation import deadline_s

__all__ = [
    "PINNED",
    "age",
    "assignment",
    "assignments",
    "duration",
    "metadatum",
    "named_capacity",
    "new_time_to_live",
    "time_to_live",
    "timeout",
    "whole_number",
]

PINNED: Final = math.inf
"""The value of `--ttl none`."""

_DURATION: Final = re.compile(r"(?=.)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?", re.ASCII)
_SECONDS: Final = (86_400, 3_600, 60, 1)
_LENGTH_MAX: Final = 32
"""Characters of a duration; a longer text is refused."""


def duration(text: str) -> float:
    """Parse `90s`, `10m`, `3h12m`, `1d` to seconds.  A number without a unit is refused as ambiguous."""
    match = _DURATION.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if match is None:
        raise click.BadParameter(f"{text[:_LENGTH_MAX]!a} is not a duration: write for instance 90s, 10m, 3h12m or 1d")
    return sum(float(number) * size for number, size in zip(match.groups(default="0"), _SECONDS, strict=True))


def time_to_live(text: str) -> float:
    """Parse a time to live, or `none`, which is `PINNED`."""
    return PINNED if text == "none" else _within(text, TTL_MIN_S, TTL_MAX_S, "; --pin is for what has no deadline")


def new_time_to_live(text: str) -> float:
    """Parse the time to live of a renewal, which cannot pin."""
    return _within(text, TTL_MIN_S, TTL_MAX_S)


def age(text: str) -> float:
    """Parse an age."""
    return _within(text, 0, AGE_MAX_S)


def _within(text: str, least: float, most: float, advice: str = "") -> float:
    """Parse a duration within bounds; the library's message would show a number that the user did not type."""
    seconds = duration(text)
    if not least <= seconds <= most:
        raise click.BadParameter(f"{text!a} is not within {least:.0f}s and {most / _SECONDS[0]:.0f}d{advice}")
    return seconds


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of integers within bounds; click's message would be "is not a valid integer range"."""
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise click.BadParameter(f"{text[:_LENGTH_MAX]!a} is not a whole number {bounds}")
        return number

    return read


def timeout(text: str) -> float:
    """Parse the seconds for one call in all, within the library's bounds."""
    try:
        return deadline_s(float(text))
    except (InvalidRequest, ValueError):
        most = f"{DEADLINE_MAX_S:.0f}"
        raise click.BadParameter(
            f"{text[:_LENGTH_MAX]!a} is not a number of seconds above 0 and up to {most}"
        ) from None


def assignment(text: str) -> tuple[str, str]:
    """Parse `RESOURCE=QUANTITY`, split at the first `=`."""
    return _split(text, "RESOURCE=QUANTITY, such as cpu=2 or memory=4Gi")


def metadatum(text: str) -> tuple[str, str]:
    """Parse `KEY=VALUE`, split at the first `=`."""
    return _split(text, "KEY=VALUE, such as course=os-101")


def _split(text: str, form: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text[:64]!a} is not of the form {form}")
    return key, value


def assignments(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs as a mapping; a key that is given twice is refused, as one of the two would be lost."""
    mapping: dict[str, str] = {}
    for key, value in pairs:
        if key in mapping:
            raise click.UsageError(f"{key[:64]!a} is given twice")
        mapping[key] = value
    return mapping


def named_capacity(words: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """Parse `[NAME] RESOURCE=QUANTITY...`: a first word without `=` is the pool's name."""
    name = None
    if words and "=" not in words[0]:
        name, words = words[0], words[1:]
    return name, assignments(assignment(word) for word in words)
