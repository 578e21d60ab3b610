"""Parsers of arguments: durations, RESOURCE=QUANTITY, KEY=VALUE, files; and what was meant by a word that is none."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from allocator.durations import exact
from allocator.errors import InvalidRequest
from allocator.quantity import parse_capacity, parse_request
from allocator.settings import (
    AGE_MAX_S,
    AMOUNT_MAX,
    DEADLINE_MAX_S,
    HALF_LIFE_MAX_S,
    HALF_LIFE_MIN_S,
    LIFETIME_MAX_S,
    MEMORY_MIN,
    PRIORITY_MAX,
    TTL_MAX_S,
    TTL_MIN_S,
    WAIT_MAX_S,
)
from allocator.units import Unit, unit_of
from allocator.validation import deadline_s, scope_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "KNOWN",
    "PINNED",
    "PREEMPT",
    "PRIORITY",
    "GivenText",
    "TextFile",
    "age",
    "assignment",
    "assignments",
    "bounded",
    "closest",
    "duration",
    "grace",
    "lifetime",
    "metadatum",
    "named_capacity",
    "needs_wait",
    "new_time_to_live",
    "quantities",
    "resource",
    "same_but_case",
    "scope",
    "time_to_live",
    "timeout",
    "waiting",
    "whole_number",
]

KNOWN: Final = ("cpu", "memory", "storage", "ephemeral-storage")
"""Resources that have a unit by their name; another spelling would be another resource, counted in thousandths."""

PINNED: Final = math.inf
"""The value of `--ttl none`."""

_DURATION: Final = re.compile(r"(?=.)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?", re.ASCII)
_SECONDS: Final = (86_400, 3_600, 60, 1)
_LENGTH_MAX: Final = 32
"""Characters of a duration; a longer text is refused."""

_PAGES: Final = "hugepages-"

FILE_BYTES_MAX: Final = 32 * 2**20
"""Bytes of a file that is read: a hundred thousand ids of the greatest length, twice."""

_BARE: Final = re.compile(r"[+]?([0-9.]+)([num]?)", re.ASCII)
"""A quantity without a unit of bytes, or with one of fractions of a byte."""

_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9_.-]+(?::[0-9]+)?(?:/[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?(?:/[0-9]+)?", re.ASCII
)
"""What somebody writes who leaves out the scheme of a URL: host, host:port, host:port/database."""


def _priority(text: str | int) -> int:
    """Parse a priority."""
    return whole_number(-PRIORITY_MAX, PRIORITY_MAX)(text)


PRIORITY: Final = click.option(
    "--priority",
    type=_priority,
    default=0,
    metavar="NUMBER",
    help=f"Its place in line, the higher first: -{PRIORITY_MAX} to {PRIORITY_MAX} [0].",
)
"""The option of those who may wait."""


PREEMPT: Final = click.option(
    "--preempt", is_flag=True, help="With --wait: take room from lower priorities, where the pool permits it."
)
"""The option of those who may take room from others."""


def needs_wait(preempt: bool, wait: float | None) -> None:
    """Refuse `--preempt` for a request that does not wait."""
    if preempt and not wait:
        raise click.UsageError("--preempt is for a request that waits: give --wait DURATION too")


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


def lifetime(text: str) -> float:
    """Parse the time until a hard end."""
    return _within(text, TTL_MIN_S, LIFETIME_MAX_S)


def grace(text: str) -> float:
    """Parse the grace of a release."""
    return _within(text, TTL_MIN_S, TTL_MAX_S, "; without one it is 'release'")


def half_life(text: str) -> float:
    """Parse the half-life of what scopes have used."""
    return _within(text, HALF_LIFE_MIN_S, HALF_LIFE_MAX_S)


def waiting(text: str) -> float:
    """Parse how long a request waits in line."""
    return _within(text, 0, WAIT_MAX_S)


def bounded(most: float) -> Callable[[str], float]:
    """A parser of the duration of an option that 0s removes."""

    def read(text: str) -> float:
        seconds = duration(text)
        return seconds if seconds == 0 else _within(text, TTL_MIN_S, most, "; 0s removes it")

    return read


def _within(text: str, least: float, most: float, advice: str = "") -> float:
    """Parse a duration within bounds; the library's message would show a number that the user did not type."""
    seconds = duration(text)
    if not least <= seconds <= most:
        bounds = f"{exact(round(least * 1000))} and {exact(round(most * 1000))}"
        raise click.BadParameter(f"{text!a} is not within {bounds}{advice}")
    return seconds


def whole_number(least: int, most: int = AMOUNT_MAX) -> Callable[[str | int], int]:
    """A parser of integers within bounds; click's message would be "is not a valid integer range"."""
    bounds = f"of {least} or more" if most == AMOUNT_MAX else f"from {least} to {most}"

    def read(text: str | int) -> int:
        given = str(text)  # the default is a number already
        try:
            number = int(given) if len(given) <= _LENGTH_MAX else least - 1
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise click.BadParameter(f"{given[:_LENGTH_MAX]!a} is not a whole number {bounds}")
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
    name, quantity = _split(text, "RESOURCE=QUANTITY, such as cpu=2 or memory=4Gi")
    return _ask_for_unit(resource(name), quantity), quantity


def resource(name: str) -> str:
    """Parse the name of a resource; one that differs from a known one by its case only is refused."""
    meant = same_but_case(name, KNOWN)
    if name.lower().startswith(_PAGES) and not name.startswith(_PAGES):
        meant = _PAGES + name[len(_PAGES) :]
    if meant:
        raise click.UsageError(f"{name[:64]!a} differs from {meant!a} by its case only: write {meant}")
    return name


def _ask_for_unit(name: str, quantity: str) -> str:
    """Refuse bytes that are nearly always a forgotten suffix: less than 1 MiB, and no unit but fractions of a byte."""
    bare = _BARE.fullmatch(quantity) if unit_of(name) is Unit.BYTES else None
    if bare is None:
        return name
    try:
        amount = parse_capacity(name, quantity)
    except InvalidRequest:
        return name  # refused later, with the reason
    if amount < MEMORY_MIN and bare[1].strip("0."):
        size = "less than a byte" if not amount else f"{amount} byte{'' if amount == 1 else 's'}"
        why = "for it has no unit" if not bare[2] else f"as {bare[2]} is a fraction of a byte"
        meant = f"was '{bare[1]}Mi' or '{bare[1]}Gi' meant?"
        raise click.UsageError(f"{name}: {quantity!a} is {size}, {why}: {meant}")
    return name


def scope(text: str) -> str:
    """Parse a scope."""
    try:
        return scope_name(text)
    except InvalidRequest as error:
        raise click.BadParameter(str(error).removeprefix("scope: ")) from None


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


def quantities(pairs: Iterable[tuple[str, str]], *, zeros: bool = False) -> dict[str, str]:
    """The quantities of a request, resource by resource.

    Args:
        pairs: what `assignment` parsed.
        zeros: whether a request of nothing but zeros means something, as that of a resize.

    Raises:
        click.UsageError: a resource is given twice, also where the case differs; or nothing is asked for.
    """
    wanted = assignments(pairs)
    for at, name in enumerate(wanted):
        twin = same_but_case(name, list(wanted)[:at])
        if twin:
            raise click.UsageError(f"{twin[:64]!a} and {name[:64]!a} differ by their case only: give one")
    amounts = () if zeros else [parse_request(name, text) for name, text in wanted.items()]
    if not zeros and not any(amounts):
        raise click.UsageError("nothing is asked for, as every quantity is 0: write for instance cpu=1 memory=2Gi")
    return wanted


def same_but_case(name: str, known: Iterable[str]) -> str:
    """The known name that differs from this one by its case only; "" if there is none."""
    return next((one for one in known if one != name and one.lower() == name.lower()), "")


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that this one is probably a misspelling of; "" if none is near."""
    by_lower = {one.lower(): one for one in known}
    return next(
        (by_lower[near] for near in difflib.get_close_matches(word[:64].lower(), by_lower, n=1, cutoff=0.7)), ""
    )


@dataclass(frozen=True)
class GivenText:
    """The text of a file, and how the command line names it."""

    name: str
    text: str


class TextFile(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """A parameter that is the path of a file of text, or `-` for stdin; its value is a `GivenText`."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The shell completes paths."""
        return click.File().shell_complete(ctx, param, incomplete)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> GivenText:
        """Read the file, at most `FILE_BYTES_MAX` bytes of UTF-8; what cannot be read is wrong usage."""
        if isinstance(value, GivenText):
            return value
        path = str(value)
        name = "stdin" if path == "-" else f"{path[:256]!a}"
        try:
            if path == "-":
                given = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
            else:
                with Path(path).open("rb") as file:
                    given = file.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:
            self.fail(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}", param, ctx)
        if len(given) > FILE_BYTES_MAX:
            self.fail(f"{name} has more than {FILE_BYTES_MAX} bytes", param, ctx)
        try:
            return GivenText(name, given.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = given.count(b"\n", 0, error.start) + 1
            self.fail(f"{name} line {line} is not UTF-8: byte 0x{given[error.start]:02x}", param, ctx)


def named_capacity(words: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """Parse `[POOL] RESOURCE=QUANTITY...`: a first word without `=` is the pool's name."""
    name = None
    if words and "=" not in words[0]:
        name, words = words[0], words[1:]
    return name, quantities((assignment(word) for word in words), zeros=True)


def check_url(text: str) -> None:
    """Refuse what is no URL: an unset variable of a shell, or an address without its scheme.

    Raises:
        click.BadParameter: It is empty, or does not say how to connect.
    """
    if not text:
        raise click.BadParameter("it is empty; leave it out, or name the server")
    if "://" not in text:
        meant = f"redis://{text}" if _ADDRESS.fullmatch(text) else "redis://HOST:PORT"
        raise click.BadParameter(f"it does not say how to connect: write {meant}")
