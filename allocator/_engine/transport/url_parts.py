"""Read a URL strictly: each part is used as it is written, or refused by its name.  No I/O.

Nothing is dropped or guessed.  A reserved character of a user name or a password must be written as its %-escape, since
`redis://:pa/ss@host` would otherwise lead to another server, with a part of the password in its name.  So an `@` stands
once, before the host; elsewhere it is written `%40`.

No message contains a part that may be a secret: `redact_url` shows only what the grammar below accepts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

from allocator._engine.transport.url_options import HIDDEN_OPTIONS, OPTION_NAMES
from allocator.errors import InvalidRequest

__all__ = ["URL_SCHEMES", "HostPort", "UrlParts", "parse_url", "redact_url", "refuse_url"]

HostPort = tuple[str, int | None]
"""A host as sockets take it (an IPv6 address without brackets), and the port, if one is written."""

_TLS_BRANDS: Final = ("rediss", "valkeys")
_KINDS: Final = ("", "+sentinel", "+cluster")
URL_SCHEMES: Final = (
    *(f"{name}{kind}" for kind in _KINDS for name in ("redis", "rediss", "valkey", "valkeys")),
    "unix",
    "embedded",
    "memory",
)
"""The schemes, in lower case; a URL may write them in any case."""

_URL_LENGTH_MAX: Final = 16_384
"""Characters of a URL: room for a certificate in `ssl_ca_data`."""

_HOST_LENGTH_MAX: Final = 253
_HOSTS_MAX: Final = 64
_PORT_MAX: Final = 65_535
_SOCKET_PATH_MAX: Final = 107
"""Bytes of the path of a unix socket."""

_HIDDEN: Final = "***"
_SHOWN_MAX: Final = 64
"""Characters that a message shows of a text that is no URL."""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}", re.ASCII)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.)*[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.?", re.ASCII)
_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\](?:(:)(.*))?", re.DOTALL)
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MEMORY: Final = re.compile(r"[A-Za-z0-9._~:/-]{0,128}", re.ASCII)
_PATH_SHOWN: Final = re.compile(r"(?:/[A-Za-z0-9._-]{0,64}){0,2}", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_END_OF_HOSTS: Final = re.compile(r"[/?#]|\Z")

_RESERVED: Final = (
    "in a user name or a password, write %2F for /, %3F for ?, %23 for #, %40 for @, %5B and %5D for [ and ], "
    "%25 for %; an @ elsewhere is written %40, too"
)


@dataclass(frozen=True, repr=False)
class UrlParts:
    """The parts of a URL, decoded.  `kind` is `server`, `sentinel`, `cluster`, `unix`, `embedded` or `memory`.

    `path` is what stands between the hosts and the options: a socket's path, or `/service/database`, not decoded; the
    name of a `memory://` server.  `options` are in the order of the URL, each name once.
    """

    kind: str
    tls: bool = False
    username: str = ""
    password: str = ""
    hosts: tuple[HostPort, ...] = ()
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()


class _Fault(Exception):
    """A part that cannot be used, and what to write there.  The text contains nothing of the URL but safe names."""


def refuse_url(url: str, why: str) -> NoReturn:
    """Raise the error for a URL that cannot be used."""
    raise InvalidRequest(f"cannot use the URL {redact_url(url)!r}: {why}", field="url")


def parse_url(url: str) -> UrlParts:
    """The parts of a URL.

    Raises:
        InvalidRequest: `field` is "url"; the message names the part and how to write it, and shows no credentials.
    """
    try:
        return _parse(url)
    except _Fault as fault:
        why = str(fault)
    refuse_url(url, why)


def redact_url(url: str) -> str:
    """The URL without its credentials, for messages.  Of a malformed URL only the parts that can be read are shown."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url[:_SHOWN_MAX] if re.fullmatch(r"[A-Za-z0-9._/-]*", url, re.ASCII) else _HIDDEN
    if not _SCHEME.fullmatch(scheme):
        return _HIDDEN
    _, at, location = rest.rpartition("@")
    end = _end_of_hosts(location)
    hosts, (path, query_mark, query) = location[:end], location[end:].partition("?")
    begun = f"{scheme}://{_HIDDEN + '@' if at else ''}"
    named = scheme.lower() in ("unix", "embedded", "memory")
    if not (hosts == "" if scheme.lower() == "unix" else named or _is_readable(_hosts_of, hosts)):
        return begun if begun.endswith("@") and not location else f"{scheme}://{_HIDDEN}"
    if "#" in path or not (path.isprintable() if named else _PATH_SHOWN.fullmatch(path)):
        return f"{begun}{hosts}/{_HIDDEN}"
    shown = "&".join(_shown_option(option) for option in query.split("&")) if query_mark else ""
    return f"{begun}{hosts}{path}{query_mark}{shown}"


# -- the grammar -------------------------------------------------------------------------------------------------------


def _parse(url: str) -> UrlParts:
    _check_characters(url)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in URL_SCHEMES:
        raise _Fault(_of_scheme(url))
    if scheme == "embedded":
        if rest:
            raise _Fault("nothing stands after embedded://")
        return UrlParts("embedded")
    if scheme == "memory":
        if not _MEMORY.fullmatch(rest):
            raise _Fault(
                "after memory:// stands a name: letters, digits and any of . _ ~ : / -, at most 128 characters"
            )
        return UrlParts("memory", path=rest)
    end = _end_of_hosts(rest)
    credentials, at, hosts = rest[:end].rpartition("@")
    if "@" in rest[end:]:
        raise _Fault(f"an @ stands behind the host: {_RESERVED}")
    username, password = _credentials_of(credentials) if at else ("", "")
    path, mark, query = rest[end:].partition("?")
    if "#" in rest[end:]:
        raise _Fault("a # begins a fragment, which no server has: leave it out, or write it as %23")
    options = _options_of(query) if mark and query else ()
    if scheme == "unix":
        return UrlParts("unix", False, username, password, (), _socket_path(hosts, path), options)
    brand, _, kind = scheme.partition("+")
    found = _hosts_of(hosts)
    if not kind and len(found) > 1:
        raise _Fault(f"it names several hosts: write {brand}+cluster:// or {brand}+sentinel://, or one host")
    return UrlParts(kind or "server", brand in _TLS_BRANDS, username, password, found, path, options)


def _check_characters(url: str) -> None:
    if not url:
        raise _Fault("it is empty")
    if len(url) > _URL_LENGTH_MAX:
        raise _Fault(f"it is longer than {_URL_LENGTH_MAX} characters")
    if url != url.strip():
        where = "begins" if url != url.lstrip() else "ends"
        raise _Fault(f"it {where} with white space or a newline, as from a file or a secret: remove that")
    if url[0] in "'\"`":
        raise _Fault("it is in quotes: remove them")
    if " " in url or not url.isprintable():
        raise _Fault("it contains white space or an unprintable character: write it as its %-escape, a space as %20")


def _of_scheme(url: str) -> str:
    """What to write for a text without a scheme that is known."""
    every = ", ".join(URL_SCHEMES)
    scheme, separator, _ = url.partition("://")
    if separator:
        told = f"{scheme!r} is not a scheme that is known" if _SCHEME.fullmatch(scheme) else "its scheme is missing"
        return f"{told}: write one of {every} before ://"
    if url.startswith("/") and re.fullmatch(r"[A-Za-z0-9._/-]+", url, re.ASCII):
        return f"its scheme is missing: write unix://{url}"
    scheme, colon, _ = url.partition(":")
    if colon and scheme.lower() in URL_SCHEMES:
        return f"after the scheme {scheme!r} stands ://"
    if _is_readable(_host_port, url) and (colon or "." in url or url == "localhost"):
        return f"its scheme is missing: write redis://{url}"
    return f"its scheme is missing: write one of {every} and :// before it"


def _end_of_hosts(rest: str) -> int:
    end = _END_OF_HOSTS.search(rest)
    assert end is not None
    return end.start()


def _credentials_of(text: str) -> tuple[str, str]:
    """The user name and the password; "" for one that is not written."""
    if re.search(r"[@\[\]]", text):
        raise _Fault(f"the user name or the password has a reserved character: {_RESERVED}")
    if text in ("", ":"):
        raise _Fault("the user name and the password before the @ are empty: write them, or leave out the @")
    username, colon, password = text.partition(":")
    if colon and not password:
        raise _Fault("the password before the @ is empty: write it, or leave out the colon")
    return _decode(username, "the user name"), _decode(password, "the password")


def _hosts_of(text: str) -> tuple[HostPort, ...]:
    written = text.split(",")
    if len(written) > _HOSTS_MAX:
        raise _Fault(f"it names more than {_HOSTS_MAX} hosts")
    return tuple([_host_port(one) for one in written])


def _host_port(text: str) -> HostPort:
    if text.startswith("["):
        match = _BRACKETS.fullmatch(text)
        if match is None:
            raise _Fault("an IPv6 address stands in brackets, the port after them: [::1]:6379")
        return _address(match[1]), _port(match[3]) if match[2] else None
    if text.count(":") > 1:
        raise _Fault("the host has several colons: write an IPv6 address in brackets, [::1]:6379")
    host, colon, port = text.partition(":")
    if not host:
        raise _Fault("the host is missing: write for instance localhost:6379")
    if not host.isascii():
        raise _Fault("the host has characters beyond ASCII: write its ASCII form, xn--...")
    if len(host) > _HOST_LENGTH_MAX or not _HOST.fullmatch(host):
        raise _Fault(
            "the host is no name and no address: letters, digits, - and _, with dots between at most 63 of them"
        )
    return host, _port(port) if colon else None


def _address(text: str) -> str:
    """An IPv6 address, with its zone, if any, as sockets take it."""
    address, escape, zone = text.partition("%25")
    try:
        ipaddress.IPv6Address(address if "%" not in address else "")
    except ValueError:
        raise _Fault(
            "the host in brackets is no IPv6 address; a zone follows it after %25: [fe80::1%25eth0]:6379"
        ) from None
    if escape and not _ZONE.fullmatch(zone):
        raise _Fault("the zone of the IPv6 address, after %25, is no name of an interface")
    return f"{address}%{zone}" if escape else address


def _port(text: str) -> int:
    if not text:
        raise _Fault("the port is missing after the colon: write it, or leave out the colon")
    if not _PORT.fullmatch(text) or int(text) > _PORT_MAX:
        raise _Fault(f"the port is a number from 1 to {_PORT_MAX}")
    return int(text)


def _socket_path(hosts: str, text: str) -> str:
    if hosts or not text.startswith("/") or text == "/":
        raise _Fault("the path of the socket is absolute and follows three slashes: unix:///run/redis.sock")
    path = _decode(text, "the path")
    if "\0" in path or len(path.encode()) > _SOCKET_PATH_MAX:
        raise _Fault(f"the path of a socket has at most {_SOCKET_PATH_MAX} bytes, none of them zero")
    return path


def _options_of(query: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name, re.ASCII):
            raise _Fault("after the ? stand options, name=value, with & between them")
        if name in found:
            raise _Fault(f"the option {name} is given twice")
        if not value:
            raise _Fault(f"the option {name} has no value: write {name}=..., or leave it out")
        if "+" in value:
            raise _Fault(f"the option {name} has a +: write %2B for a plus sign, %20 for a space")
        found[name] = _decode(value, f"the option {name}")
    return tuple(found.items())


def _decode(text: str, part: str) -> str:
    """A text without its %-escapes."""
    if _BAD_ESCAPE.search(text):
        raise _Fault(f"{part} has a % without two hexadecimal digits: write %25 for a % sign")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _Fault(f"{part} has %-escapes that are no UTF-8") from None


# -- for messages ------------------------------------------------------------------------------------------------------


def _is_readable(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except _Fault:
        return False
    return True


def _shown_option(option: str) -> str:
    name, equals, value = option.partition("=")
    if name not in OPTION_NAMES or not equals:
        return _HIDDEN
    return f"{name}={_HIDDEN}" if name in HIDDEN_OPTIONS or "#" in value or not value.isprintable() else option
