"""The options of a URL: which there are, their values, and why some of redis-py's are refused.  No I/O."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

__all__ = ["HIDDEN_OPTIONS", "OPTION_NAMES", "SENTINEL_OPTIONS", "UnusableOption", "parse_options"]

DATABASE_MAX: Final = 2**31 - 1
CONNECTIONS_MAX: Final = 10_000
READ_SIZE_MAX: Final = 2**24
"""Bytes that one read from a socket asks for at most."""


class UnusableOption(Exception):
    """An option that is unknown or has an unusable value.  The text names it and shows no value."""


def _text(value: str) -> str:
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[!-~]{1,128}", value, re.ASCII):
        raise ValueError("is 1 to 128 visible ASCII characters, without spaces")
    return value


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,9}", value, re.ASCII) or not least <= int(value) <= most:
            raise ValueError(f"is a number from {least} to {most}")
        return int(value)

    return parse


_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _flag(value: str) -> bool:
    flag = _FLAGS.get(value.lower())
    if flag is None:
        raise ValueError("is true or false")
    return flag


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return value

    return parse


def _tls_version(value: str) -> ssl.TLSVersion:
    versions = {str(int(one)): one for one in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}
    if value not in versions:
        raise ValueError(" or ".join(f"is {number} for {one.name}" for number, one in versions.items()))
    return versions[value]


def _verify_flags(value: str) -> list[ssl.VerifyFlags]:
    names = value.removeprefix("[").removesuffix("]").split(",")
    try:
        return [ssl.VerifyFlags[name.strip()] for name in names]
    except KeyError:
        raise ValueError("is a list of the names of ssl.VerifyFlags") from None


_LOGIN: Final[Mapping[str, Callable[[str], Any]]] = {"username": _text, "password": _text}

_ANY: Final[Mapping[str, Callable[[str], Any]]] = {
    **_LOGIN,
    "db": _number(0, DATABASE_MAX),
    "client_name": _name,
    "protocol": _number(2, 3),
    "socket_read_size": _number(1, READ_SIZE_MAX),
    "max_connections": _number(1, CONNECTIONS_MAX),
}
_NETWORK: Final[Mapping[str, Callable[[str], Any]]] = {"socket_keepalive": _flag}
_TLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_cert_reqs": _one_of("none", "optional", "required"),
    "ssl_check_hostname": _flag,
    "ssl_min_version": _tls_version,
    "ssl_ciphers": _text,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_exclude_verify_flags": _verify_flags,
}

SENTINEL_OPTIONS: Final[Mapping[str, str]] = {"sentinel_username": "username", "sentinel_password": "password"}
"""The options for connections to the Sentinels, and the names that a connection has for them."""

_OURS: Final = {
    "socket_timeout": "attempt_timeout= of the client limits each attempt",
    "socket_connect_timeout": "attempt_timeout= of the client limits each attempt",
    "timeout": "timeout= of the client limits each call",
    "retry_on_timeout": "the allocator retries by itself, within the timeout of the call",
    "retry_on_error": "the allocator retries by itself, within the timeout of the call",
    "health_check_interval": "the allocator checks each connection before it uses it",
    "encoding": "the allocator reads UTF-8",
    "encoding_errors": "the allocator reads UTF-8",
    "decode_responses": "the allocator reads UTF-8",
}
"""Options of redis-py that the allocator decides, and what to use in their place."""

OPTION_NAMES: Final = frozenset({*_ANY, *_NETWORK, *_TLS, *SENTINEL_OPTIONS, *_OURS})
HIDDEN_OPTIONS: Final = frozenset({"username", "password", "ssl_password", "ssl_ca_data", *SENTINEL_OPTIONS})
"""Options whose value no message shows."""


def parse_options(written: Iterable[tuple[str, str]], kind: str, *, tls: bool) -> dict[str, Any]:
    """The options as redis-py's connections take them, and those for Sentinels under their own names.

    Args:
        written: The names and decoded values.
        kind: `server`, `unix`, `cluster` or `sentinel`.
        tls: Whether the URL is for TLS.

    Raises:
        UnusableOption: One cannot be used.
    """
    known = {**_ANY, **(_NETWORK if kind != "unix" else {}), **(_TLS if tls else {})}
    if kind == "sentinel":
        known |= dict.fromkeys(SENTINEL_OPTIONS, _text)
    options: dict[str, Any] = {}
    for name, value in written:
        parse = known.get(name)
        if parse is None:
            raise UnusableOption(f"the option {name} {_why_unknown(name, known)}")
        try:
            options[name] = parse(value)
        except ValueError as error:
            raise UnusableOption(f"the option {name} {error}") from None
    return options


def _why_unknown(name: str, known: Mapping[str, object]) -> str:
    if name in _OURS:
        return f"has no effect here: leave it out; {_OURS[name]}"
    if name in _TLS:
        return "is for TLS: write rediss:// (or rediss+sentinel://, rediss+cluster://)"
    if name in SENTINEL_OPTIONS:
        return "is for redis+sentinel://"
    if name.startswith("sentinel_"):
        return "is unknown: of the Sentinels there are sentinel_username and sentinel_password"
    return f"is unknown here; there are {', '.join(sorted(known))}"
