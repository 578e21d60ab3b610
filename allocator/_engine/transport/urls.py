"""Resolve a URL, or a client that the caller has made, to a target that the drivers can use.

Nothing is connected before the first call.  The retry options of the URL or the client are ignored: redis-py repeats a
call whose reply was lost up to eleven times, and only the drivers know which ids a retry must carry.  Timeouts in a URL
are replaced by `attempt_timeout_s`.

No message, log record or repr contains a password: they show the URL as `redact_url` returns it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import redis.asyncio.connection as awaited
import redis.connection as blocking

from allocator import settings
from allocator._engine.transport.eviction_check import EvictionCheck
from allocator._engine.transport.in_process import InProcessServer
from allocator._engine.transport.ready_clients import SENTINEL_PORT, target_of_client
from allocator._engine.transport.target import (
    Address,
    ClusterTarget,
    Connector,
    SentinelTarget,
    ServerTarget,
    Target,
    redis_connector,
)
from allocator.errors import InvalidRequest
from allocator.validation import deadline_s

__all__ = ["EMBEDDED_URL", "Target", "redact_url", "resolve_target"]

EMBEDDED_URL: Final = "embedded://"
"""The target where neither the program nor the environment names one."""

PRIVATE_URL: Final = "memory://"
"""A new in-process server at each resolution."""

_SERVER_SCHEMES: Final = ("redis", "rediss", "unix")
_CLUSTER_SCHEMES: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_SENTINEL_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_ALL_SCHEMES: Final = (*_SERVER_SCHEMES, *_CLUSTER_SCHEMES, *_SENTINEL_SCHEMES, "embedded", "memory")

_PORT: Final = 6379
_HIDDEN: Final = "***"

_OF_SENTINELS: Final = "sentinel_"
"""The prefix of the options for connections to the Sentinels."""

_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""The name of a service, as Sentinels accept it."""

_SECRET: Final = re.compile(r"(?<=[?&])([^=&]*(?:pass|user|secret|token|cred|auth)[^=&]*)=[^&]*", re.IGNORECASE)
"""A parameter of a URL that may hold a credential."""


def redact_url(url: str) -> str:
    """The URL without its credentials, for messages.  A malformed URL may lose more than its credentials."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _HIDDEN if "@" in url or ":" in url else url[:64]
    _, at, location = rest.rpartition("@")
    return _SECRET.sub(rf"\1={_HIDDEN}", f"{scheme}://{_HIDDEN + '@' if at else ''}{location}")


def resolve_target(
    target: object = None,
    *,
    attempt_timeout_s: float = settings.ATTEMPT_TIMEOUT_S,
    allow_eviction: bool = False,
) -> Target:
    """The target that a URL or a client stands for.  Nothing is connected.

    Args:
        target: A URL, a ready client of redis-py or fakeredis, or None: the environment's URL, else `embedded://`.
        attempt_timeout_s: Seconds that connecting, and each wait for a reply, may take.
        allow_eviction: Also accept a server whose memory policy may evict any key.

    Raises:
        InvalidRequest: `field` is "url", "client" or "attempt_timeout"; the message shows the URL without credentials.
        BackendUnavailable: `code="no_extra"`: the URL needs an extra that is not installed.
    """
    attempt_timeout_s = deadline_s(attempt_timeout_s, "attempt_timeout")
    if target is None:
        target = settings.url_from_environment() or EMBEDDED_URL
    eviction_check = EvictionCheck(allow_eviction=allow_eviction)
    if not isinstance(target, str):
        return target_of_client(target, attempt_timeout_s, eviction_check)
    alike = None if target == PRIVATE_URL else (target, attempt_timeout_s, allow_eviction)
    return replace(_of_url(target, attempt_timeout_s, eviction_check), share_key=alike)


def _of_url(target: str, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    scheme, separator, rest = target.partition("://")
    if separator and scheme in _SERVER_SCHEMES:
        connector, _ = _connector(target, attempt_timeout_s)
        return ServerTarget(_location(target), attempt_timeout_s, connector, eviction_check)
    if separator and scheme in _CLUSTER_SCHEMES:
        return _cluster(target, attempt_timeout_s, eviction_check)
    if separator and scheme in _SENTINEL_SCHEMES:
        return _sentinel(target, attempt_timeout_s, eviction_check)
    if separator and scheme == "embedded" and not rest:
        return _embedded(attempt_timeout_s, eviction_check)
    if separator and scheme == "memory":
        process = InProcessServer.named(rest) if rest else InProcessServer.private()
        return ServerTarget(
            target, attempt_timeout_s, process.connector, EvictionCheck(allow_eviction=True), in_process=True
        )
    raise _unusable(target, f"write one of {', '.join(_ALL_SCHEMES)} before ://")


def _embedded(attempt_timeout_s: float, eviction_check: EvictionCheck) -> ServerTarget:
    connector = redis_connector(blocking.UnixDomainSocketConnection, awaited.UnixDomainSocketConnection, {}, {})
    return ServerTarget(EMBEDDED_URL, attempt_timeout_s, connector, eviction_check, locate=_embedded_socket)


def _embedded_socket() -> Mapping[str, str]:
    """Where the embedded server listens; it is started if it does not run."""
    from allocator._engine.servers.embedded import ensure_running  # noqa: PLC0415 - few programs start a server

    return {"path": str(ensure_running())}


def _cluster(url: str, attempt_timeout_s: float, eviction_check: EvictionCheck) -> ClusterTarget:
    """`redis+cluster://[user:password@]host[:port][,host[:port]...][?option=value...]`."""
    scheme, credentials, hosts, rest = _pieces(url)
    seeds = tuple([_seed(url, host, _PORT) for host in hosts.split(",")])
    single = f"{_CLUSTER_SCHEMES[scheme]}://{credentials}cluster{rest}"
    connector, options = _connector(single, attempt_timeout_s, url)
    if options.get("db"):
        raise _unusable(url, "a cluster has only database 0")
    return ClusterTarget(_location(url), attempt_timeout_s, connector, eviction_check, seeds=seeds)


def _sentinel(url: str, attempt_timeout_s: float, eviction_check: EvictionCheck) -> SentinelTarget:
    """`redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db][?option=value...]`.

    The credentials are for the data servers; the options `sentinel_username` and `sentinel_password` are for the
    Sentinels.  TLS options apply to both.
    """
    scheme, credentials, hosts, rest = _pieces(url)
    seeds = tuple([_seed(url, host, SENTINEL_PORT) for host in hosts.split(",")])
    path, question, query = rest.partition("?")
    service, _, database = path.strip("/").partition("/")
    if not _SERVICE.fullmatch(service):
        raise _unusable(url, "after the Sentinels stands the name of the service: /name")
    options = parse_qsl(query, keep_blank_values=True)
    ours = urlencode([(name, value) for name, value in options if not name.startswith(_OF_SENTINELS)])
    theirs = {name.removeprefix(_OF_SENTINELS): value for name, value in options if name.startswith(_OF_SENTINELS)}
    if not theirs.keys() <= {"username", "password"}:
        raise _unusable(url, "of the Sentinels only sentinel_username and sentinel_password can be said")
    kind = _SENTINEL_SCHEMES[scheme]
    connector, _ = _connector(
        f"{kind}://{credentials}primary/{database}{question and '?'}{ours}", attempt_timeout_s, url
    )
    shared = urlencode([(name, value) for name, value in options if name.startswith("ssl_")])
    login = f"{quote(theirs.get('username', ''), safe='')}:{quote(theirs.get('password', ''), safe='')}@"
    theirs_url = f"{kind}://{login if theirs else ''}sentinel?{shared}"
    sentinel_connector, _ = _connector(theirs_url, attempt_timeout_s, url)
    return SentinelTarget(
        _location(url),
        attempt_timeout_s,
        connector,
        eviction_check,
        seeds=seeds,
        service=service,
        sentinel_connector=sentinel_connector,
    )


def _pieces(url: str) -> tuple[str, str, str, str]:
    """The parts of a URL with several hosts: the scheme, the credentials with their `@`, the hosts, and the rest."""
    scheme, _, rest = url.partition("://")
    end = re.search(r"[/?#]|$", rest)
    assert end is not None
    credentials, at, hosts = rest[: end.start()].rpartition("@")
    return scheme, credentials + at, hosts, rest[end.start() :]


def _seed(url: str, text: str, default: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise _unusable(url, "after the scheme stand host:port, separated by commas")
    return host, port or default


def _connector(url: str, attempt_timeout_s: float, shown: str = "") -> tuple[Connector, dict[str, Any]]:
    """The connector and options of a URL, checked before anything is connected.

    The text of redis-py's errors may contain the password, so it is never shown.
    """
    shown = shown or url
    try:
        parts = urlsplit(url)
        database = "" if parts.scheme == "unix" else parts.path.strip("/")
        options = cast("dict[str, Any]", _parse(blocking, url))
        async_options = cast("dict[str, Any]", _parse(awaited, url))
        port_is_given_right = parts.port is None or parts.port > 0
    except ValueError:
        raise _unusable(shown, "it cannot be read") from None
    if not port_is_given_right:
        raise _unusable(shown, "the port is out of range")
    if database and not database.isdecimal():
        raise _unusable(shown, "after the host stands the number of a database")
    if parts.scheme == "unix" and not parts.path:
        raise _unusable(shown, "the path of the socket is missing")
    kind = options.pop("connection_class", blocking.Connection)
    async_kind = async_options.pop("connection_class", awaited.Connection)
    most = options.get("max_connections") or settings.CONNECTIONS_MAX
    connector = redis_connector(kind, async_kind, options, async_options, most)
    assert connector.make is not None
    try:
        connector.make(attempt_timeout_s)
    except Exception:  # noqa: BLE001 - redis-py has no one class for options that it does not know or cannot use
        raise _unusable(shown, "an option is unknown or has an unusable value") from None
    return connector, options


def _parse(side: Any, url: str) -> Any:
    return side.parse_url(url)


def _location(url: str) -> str:
    """A URL's scheme and location, for messages."""
    return redact_url(re.sub(r"\?[^@]*$", "", url))


def _unusable(url: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"cannot use {redact_url(url)!r}: {why}", field="url")
