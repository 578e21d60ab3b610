"""Arguments of requests: the query of a URL, and JSON bodies; what is wrong is `InvalidRequest` with its field."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, NoReturn

from starlette.requests import Request

from allocator.apps.dashboard.bounds import BODY_BYTES_MAX, BODY_TIMEOUT_S
from allocator.apps.dashboard.problems import Problem
from allocator.errors import InvalidRequest
from allocator.serialization import read_mapping
from allocator.settings import AMOUNT_MAX

__all__ = ["Query", "body", "event_cursor", "integer_of", "quantities", "text_of", "truth_of"]

_DIGITS: Final = re.compile(r"[0-9]{1,16}", re.ASCII)

_EVENT: Final = re.compile(r"[0-9]{1,16}-[0-9]{1,16}|0", re.ASCII)

_SHOWN: Final = 64


class Query:
    """The arguments after the `?` of a request: each at most once, and only those that are known."""

    def __init__(self, request: Request, *known: str) -> None:
        """Read them.

        Raises:
            InvalidRequest: One is not known, or comes twice.
        """
        self._given: dict[str, str] = {}
        for name, text in request.query_params.multi_items():
            if name not in known:
                may = f"it has {', '.join(known)}" if known else "it has none"
                raise InvalidRequest(f"{name[:_SHOWN]!a}: no such argument; {may}", field=name[:_SHOWN])
            if name in self._given:
                raise InvalidRequest(f"{name}: it is given twice", field=name)
            self._given[name] = text

    def text(self, name: str, default: str = "", *, most: int = 512) -> str:
        """A text; "" where it is not given, or empty."""
        found = self._given.get(name, default)
        if len(found) > most:
            raise InvalidRequest(f"{name}: longer than {most} characters", field=name)
        return found

    def one_of(self, name: str, words: Collection[str], default: str) -> str:
        """One of these words."""
        found = self._given.get(name) or default
        if found not in words:
            raise InvalidRequest(f"{name}: {found[:_SHOWN]!a} is none of {', '.join(words)}", field=name)
        return found

    def number(self, name: str, default: int, *, least: int = 1, most: int) -> int:
        """A whole number within these bounds."""
        found = self._given.get(name)
        if not found:
            return default
        if not _DIGITS.fullmatch(found) or not least <= int(found) <= most:
            raise InvalidRequest(f"{name}: {found[:_SHOWN]!a} is no whole number from {least} to {most}", field=name)
        return int(found)

    def instant_ms(self, name: str, default: int) -> int:
        """An instant in milliseconds since 1970: as such, or as RFC 3339."""
        found = self._given.get(name)
        if not found:
            return default
        if _DIGITS.fullmatch(found) and int(found) <= AMOUNT_MAX:
            return int(found)
        try:
            at = datetime.fromisoformat(found)
            if at.tzinfo is not None and at.timestamp() >= 0:
                return int(at.timestamp() * 1000)
        except (ValueError, OverflowError):
            pass
        raise InvalidRequest(
            f"{name}: {found[:_SHOWN]!a} is no instant: milliseconds since 1970, or 2026-11-27T16:00:00Z", field=name
        )


def event_cursor(text: str, field: str = "since") -> str:
    """The cursor of an event; the beginning of the history is `0`.

    Raises:
        InvalidRequest: It is none.
    """
    if not _EVENT.fullmatch(text):
        raise InvalidRequest(
            f"{field}: {text[:_SHOWN]!a} is no cursor of an event, such as 1795451188527-0", field=field
        )
    return text


async def body(request: Request, *known: str) -> dict[str, Any]:
    """The JSON object in a request's body, with no other fields than these.

    Raises:
        Problem: It is too large, too slow, or no JSON.
        InvalidRequest: It is no object, or has another field.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "no_json", "the body must be application/json")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            whole = _decoded(await _bytes(request))
    except TimeoutError:
        raise Problem(
            HTTPStatus.REQUEST_TIMEOUT, "slow_body", f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
        ) from None
    found = read_mapping(whole, "body")
    for name in found:
        if name not in known:
            raise InvalidRequest(f"{name[:_SHOWN]!a}: no such field; it has {', '.join(known)}", field=name[:_SHOWN])
    return dict(found)


async def _bytes(request: Request) -> bytes:
    whole = bytearray()
    async for part in request.stream():
        whole += part
        if len(whole) > BODY_BYTES_MAX:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "large_body", f"the body is larger than {BODY_BYTES_MAX} bytes"
            )
    return bytes(whole)


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        said = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Problem(
            HTTPStatus.BAD_REQUEST, "no_json", f"the body is no JSON: {said[: _SHOWN * 2]}", field="body"
        ) from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def text_of(given: dict[str, Any], name: str) -> str | None:
    """A text of a body, or None."""
    found = given.get(name)
    if found is not None and not isinstance(found, str):
        raise InvalidRequest(f"{name}: it is no text", field=name)
    return found


def integer_of(given: dict[str, Any], name: str) -> int | None:
    """A whole number of a body, or None."""
    found = given.get(name)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool)):
        raise InvalidRequest(f"{name}: it is no whole number", field=name)
    return found


def truth_of(given: dict[str, Any], name: str) -> bool:
    """True or False of a body; False where it is not given."""
    found = given.get(name) or False
    if not isinstance(found, bool):
        raise InvalidRequest(f"{name}: it is neither true nor false", field=name)
    return found


def quantities(given: Any, field: str) -> dict[str, str | int]:
    """Resource -> quantity, as texts or whole numbers: a float is rounded by JSON already.

    Raises:
        InvalidRequest: They are missing, or something else.
    """
    found = read_mapping({} if given is None else given, field)
    if not found:
        raise InvalidRequest(f'{field}: it is missing, or empty: write for instance {{"cpu": "32"}}', field=field)
    for name, quantity in found.items():
        if not isinstance(quantity, str) and type(quantity) is not int:
            raise InvalidRequest(f"{field}.{name}: it is no quantity", field=f"{field}.{name}")
    return dict(found)
