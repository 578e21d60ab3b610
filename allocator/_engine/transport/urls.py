"""Resolve a URL, or a client that the caller has made, to a target that the drivers can use.

Nothing is connected before the first call.  `url_parts` reads the URL, `url_options` its options.  The retry options of
a client are ignored: redis-py repeats a call whose reply was lost up to eleven times, and only the drivers know which
ids a retry must carry.

No message, log record or repr contains a password: they show the URL as `redact_url` returns it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import redis.asyncio.connection as awaited
import redis.connection as blocking

from allocator import environment, settings
from allocator._engine.transport.in_process import InProcessServer
from allocator._engine.transport.ready_clients import SENTINEL_PORT, target_of_client
from allocator._engine.transport.target import (
    Address,
    ClusterTarget,
    Connector,
    EvictionCheck,
    SentinelTarget,
    ServerTarget,
    Target,
    redis_connector,
)
from allocator._engine.transport.url_options import (
    DATABASE_MAX,
    SENTINEL_OPTIONS,
    UnusableOption,
    parse_options,
)
from allocator._engine.transport.url_parts import HostPort, UrlParts, parse_url, redact_url, refuse_url
from allocator.errors import InvalidRequest
from allocator.validation import deadline_s

__all__ = ["EMBEDDED_URL", "Target", "redact_url", "resolve_target"]

_log = logging.getLogger("allocator")

EMBEDDED_URL: Final = "embedded://"
"""The target where neither the program nor the environment names one, unless the environment requires one."""

_PORT: Final = 6379

_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""The name of a service, as Sentinels accept it."""

_DATABASE: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)


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
        InvalidRequest: `field` is "url", "client" or "attempt_timeout"; the message names the part of the URL that
            cannot be used, and shows no credentials.
        BackendUnavailable: `code="no_extra"`: the URL needs an extra that is not installed.
    """
    attempt_timeout_s = deadline_s(attempt_timeout_s, "attempt_timeout")
    eviction_check = EvictionCheck(allow_eviction=allow_eviction)
    if target is None:
        target = _default_url()
    if not isinstance(target, str):
        return target_of_client(target, attempt_timeout_s, eviction_check)
    parts = parse_url(target)
    private = parts.kind == "memory" and not parts.path
    alike = None if private else (target, attempt_timeout_s, allow_eviction)
    return replace(_of_parts(target, parts, attempt_timeout_s, eviction_check), share_key=alike)


def _default_url() -> str:
    """The URL of the environment, or, with a warning, the embedded server's."""
    url = environment.url_from_environment()
    if url is not None:
        return url
    unset = environment.unset_urls()
    if environment.url_is_required():
        raise InvalidRequest(
            f"url: {unset}, and {environment.REQUIRE_URL_VARIABLE} says that one is required", field="url"
        )
    _log.warning(
        "%s: using %s, this user's own server on this machine, which other machines do not see; "
        "%s=1 makes this an error, and the URL %s says that it is meant",
        unset,
        EMBEDDED_URL,
        environment.REQUIRE_URL_VARIABLE,
        EMBEDDED_URL,
    )
    return EMBEDDED_URL


def _of_parts(url: str, parts: UrlParts, attempt_timeout_s: float, eviction_check: EvictionCheck) -> Target:
    if parts.kind == "embedded":
        return _embedded(attempt_timeout_s, eviction_check)
    if parts.kind == "memory":
        process = InProcessServer.named(parts.path) if parts.path else InProcessServer.private()
        return ServerTarget(
            url, attempt_timeout_s, process.connector, EvictionCheck(allow_eviction=True), in_process=True
        )
    options = _options(url, parts)
    where = redact_url(url.partition("?")[0])
    match parts.kind:
        case "unix":
            connector = _connector(url, parts, {**options, "path": parts.path})
            return ServerTarget(where, attempt_timeout_s, connector, eviction_check)
        case "cluster":
            return _cluster(url, where, parts, options, attempt_timeout_s, eviction_check)
        case "sentinel":
            return _sentinel(url, where, parts, options, attempt_timeout_s, eviction_check)
        case _:
            _set_database(url, options, parts.path.removeprefix("/"))
            host, port = _with_port(parts.hosts[0], _PORT)
            connector = _connector(url, parts, {**options, "host": host, "port": port})
            return ServerTarget(where, attempt_timeout_s, connector, eviction_check)


def _embedded(attempt_timeout_s: float, eviction_check: EvictionCheck) -> ServerTarget:
    connector = redis_connector(blocking.UnixDomainSocketConnection, awaited.UnixDomainSocketConnection, {}, {})
    return ServerTarget(EMBEDDED_URL, attempt_timeout_s, connector, eviction_check, locate=_embedded_socket)


def _embedded_socket() -> Mapping[str, str]:
    """Where the embedded server listens; it is started if it does not run."""
    from allocator._engine.servers.embedded import ensure_running  # noqa: PLC0415 - few programs start a server

    return {"path": str(ensure_running())}


def _cluster(
    url: str,
    where: str,
    parts: UrlParts,
    options: dict[str, Any],
    attempt_timeout_s: float,
    eviction_check: EvictionCheck,
) -> ClusterTarget:
    """`redis+cluster://[user:password@]host[:port][,host[:port]...][?option=value...]`."""
    _set_database(url, options, parts.path.removeprefix("/"))
    if options.get("db"):
        refuse_url(url, "the database is not 0: a cluster has no other")
    connector = _connector(url, parts, options)
    seeds = tuple([_with_port(one, _PORT) for one in parts.hosts])
    return ClusterTarget(where, attempt_timeout_s, connector, eviction_check, seeds=seeds)


def _sentinel(
    url: str,
    where: str,
    parts: UrlParts,
    options: dict[str, Any],
    attempt_timeout_s: float,
    eviction_check: EvictionCheck,
) -> SentinelTarget:
    """`redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db][?option=value...]`.

    The credentials are for the data servers; the options `sentinel_username` and `sentinel_password` are for the
    Sentinels.  TLS options apply to both.
    """
    service, slash, database = parts.path.removeprefix("/").partition("/")
    if not _SERVICE.fullmatch(service):
        refuse_url(
            url,
            "after the Sentinels stands the name of the service, /name: letters, digits and any of . _ -, "
            "at most 64 characters",
        )
    if slash and not database:
        refuse_url(url, "the database after the service is missing: write its number, or leave out the last slash")
    theirs = {name: options.pop(written) for written, name in SENTINEL_OPTIONS.items() if written in options}
    theirs |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    _set_database(url, options, database)
    return SentinelTarget(
        where,
        attempt_timeout_s,
        _connector(url, parts, options),
        eviction_check,
        seeds=tuple([_with_port(one, SENTINEL_PORT) for one in parts.hosts]),
        service=service,
        sentinel_connector=_connector(url, parts, theirs),
    )


def _options(url: str, parts: UrlParts) -> dict[str, Any]:
    """The options of a URL, and its credentials, which may be written in one place only."""
    try:
        options = parse_options(parts.options, parts.kind, tls=parts.tls)
    except UnusableOption as error:
        why = str(error)
    else:
        for name, value in (("username", parts.username), ("password", parts.password)):
            if value and name in options:
                refuse_url(url, f"the {name} is given twice: before the host and as an option")
            if value:
                options[name] = value
        return options
    refuse_url(url, why)


def _set_database(url: str, options: dict[str, Any], written: str) -> None:
    if not written:
        return
    if not _DATABASE.fullmatch(written) or int(written) > DATABASE_MAX:
        refuse_url(url, f"the database, behind the host, is a number from 0 to {DATABASE_MAX}")
    if "db" in options:
        refuse_url(url, "the database is given twice: behind the host and as the option db")
    options["db"] = int(written)


def _with_port(host: HostPort, default: int) -> Address:
    return host[0], host[1] or default


def _connector(url: str, parts: UrlParts, options: Mapping[str, Any]) -> Connector:
    """The connector for these options, which the installed redis-py takes.  Nothing is connected."""
    kept = dict(options)
    most = kept.pop("max_connections", settings.CONNECTIONS_MAX)
    kind: Any
    async_kind: Any
    if parts.kind == "unix":
        kind, async_kind = blocking.UnixDomainSocketConnection, awaited.UnixDomainSocketConnection
    elif parts.tls:
        kind, async_kind = blocking.SSLConnection, awaited.SSLConnection
    else:
        kind, async_kind = blocking.Connection, awaited.Connection
    try:
        for one in (kind, async_kind):
            one(**kept)
    except Exception:  # noqa: BLE001 - redis-py has no one class for options that it does not know or cannot use
        unknown = True
    else:
        unknown = False
    if unknown:
        names = ", ".join(sorted(kept.keys() - {"host", "port", "path"}))
        refuse_url(url, f"the installed redis-py cannot use one of the options {names}")
    return redis_connector(kind, async_kind, kept, kept, most)
