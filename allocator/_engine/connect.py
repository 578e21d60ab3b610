"""From a URL, or from a client that the caller has made, to a store that the drivers can use.

A `Store` is a description: it holds no connection, and none is made before the first call.  Whatever the caller's
client or URL says about retries, ours are made without: redis-py repeats a call whose reply was lost under the caller's
back, up to eleven times, and only the drivers know which ids a repeat must carry.  A given client is never used,
changed or closed: its settings make connections of our own.

No message, log record or repr of ours contains a password: `redact_url` is what they show.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import redis
import redis.asyncio.connection
import redis.asyncio.retry
import redis.backoff
import redis.connection
import redis.retry

from allocator import settings
from allocator._engine.admission import Admission
from allocator._engine.async_lines import AsyncLine, RedisLine
from allocator._engine.lines import CONNECTIONS_MAX, Line
from allocator._engine.memory import InProcess
from allocator.errors import InvalidRequest

__all__ = ["EMBEDDED_URL", "ServerStore", "Store", "open_store", "redact_url"]

EMBEDDED_URL: Final = "embedded://"
"""The store of a program that was told of none."""

CLIENT_NAME: Final = "allocator"
"""How our connections are named in CLIENT LIST, unless the URL names them."""

_SERVER_SCHEMES: Final = ("redis", "rediss", "unix")
_SCHEMES: Final = "redis, rediss, unix, redis+cluster, rediss+cluster, embedded, memory"

_SECRET_PARAMETER: Final = re.compile(
    r"(?<=[?&])([^=&]*(?:pass|user|secret|token|cred|auth)[^=&]*)=[^&]*", re.IGNORECASE
)

_OURS: Final = (
    "retry", "retry_on_error", "retry_on_timeout", "health_check_interval", "timeout", "max_connections",
    "socket_timeout", "socket_connect_timeout",
)  # fmt: skip
"""Options that a URL or a client may carry and that are decided here."""

_THEIRS: Final = (
    "cache", "cache_config", "event_dispatcher", "himport_registry", "maint_notifications_config",
    "maint_notifications_pool_handler", "maintenance_state", "maintenance_notification_hash",
    "oss_cluster_maint_notifications_handler", "orig_host_address", "orig_socket_timeout",
    "orig_socket_connect_timeout",
)  # fmt: skip
"""Options by which a client's pool ties its connections to itself."""


@dataclass(frozen=True, repr=False)
class Store:
    """Where the data are, and how to get there."""

    where: str
    attempt_timeout_s: float

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where!r})"


@dataclass(frozen=True, repr=False)
class ServerStore(Store):
    """One server."""

    make: Callable[[float], Line] | None
    make_async: Callable[[], Awaitable[AsyncLine]] | None
    admission: Admission
    most: int = CONNECTIONS_MAX
    in_process: bool = False


def redact_url(url: str) -> str:
    """The URL without its credentials, for messages; of a malformed one rather too much is left out than too little."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if "@" in url or ":" in url else url[:64]
    _, at, place = rest.rpartition("@")
    return _SECRET_PARAMETER.sub(r"\1=***", f"{scheme}://{'***@' if at else ''}{place}")


def open_store(
    target: object = None,
    *,
    attempt_timeout_s: float = settings.ATTEMPT_TIMEOUT_S,
    allow_eviction: bool = False,
) -> Store:
    """Describe a store.  Nothing is connected.

    Args:
        target: A URL, a ready client of redis-py (or fakeredis), or None: the environment's URL, else `embedded://`.
        attempt_timeout_s: Seconds that connecting, and each wait for a reply, may take.
        allow_eviction: Also use a server whose memory policy may evict any key.

    Raises:
        InvalidRequest: `field` is "url" or "client"; the message shows the URL without its credentials.
        BackendUnavailable: `code="no_extra"`: the URL wants an extra that is not installed.
    """
    if target is None:
        target = settings.url_from_environment() or EMBEDDED_URL
    if isinstance(target, str):
        return _of_url(target, attempt_timeout_s, Admission(allow_eviction=allow_eviction))
    raise InvalidRequest(f"not a Redis client: {type(target).__name__}", field="client")


def _of_url(url: str, attempt_timeout_s: float, admission: Admission) -> Store:
    shown = redact_url(url)
    scheme, separator, rest = url.partition("://")
    if separator and scheme in _SERVER_SCHEMES:
        return _of_server_url(url, shown, attempt_timeout_s, admission)
    if separator and scheme == "memory":
        process = InProcess.named(rest) if rest else InProcess.private()
        return ServerStore(
            shown,
            attempt_timeout_s,
            make=process.connect,
            make_async=process.connect_async,
            admission=Admission(allow_eviction=True),
            in_process=True,
        )
    raise InvalidRequest(f"cannot use {shown}: its scheme must be one of {_SCHEMES}", field="url")


def _of_server_url(url: str, shown: str, attempt_timeout_s: float, admission: Admission) -> ServerStore:
    try:
        parts = urlsplit(url)
        _ = parts.port
        options = redis.connection.parse_url(url)
        async_options = redis.asyncio.connection.parse_url(url)
    except ValueError:
        raise InvalidRequest(f"cannot read {shown}", field="url") from None  # the cause may show the password
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise InvalidRequest(f"cannot read {shown}: after the host stands the number of a database", field="url")
    if parts.scheme == "unix" and not parts.path:
        raise InvalidRequest(f"cannot read {shown}: the path of the socket is missing", field="url")
    most = cast("int | None", options.get("max_connections")) or CONNECTIONS_MAX
    kind = options.pop("connection_class", redis.connection.Connection)
    async_kind = async_options.pop("connection_class", redis.asyncio.connection.Connection)
    make = _maker(kind, _normal(options))
    make_async = _async_maker(async_kind, _normal(async_options))
    try:
        make(attempt_timeout_s)
    except Exception:  # redis-py has no one class for options that it does not know or cannot use
        raise InvalidRequest(
            f"cannot use {shown}: an option is unknown or has an unusable value", field="url"
        ) from None
    return ServerStore(
        redact_url(url.partition("?")[0]),
        attempt_timeout_s,
        make=make,
        make_async=make_async,
        admission=admission,
        most=most,
    )


def _maker(kind: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[float], Line]:
    """Makes connections that are not connected yet, each attempting everything once, with the given time-out."""
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)

    def make(timeout_s: float) -> Line:
        line: Line = kind(**options, retry=retry, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        return line

    return make


def _async_maker(kind: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[], Awaitable[AsyncLine]]:
    """The same for asyncio; without time-outs, which are set for whole exchanges."""
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

    async def make() -> AsyncLine:
        return RedisLine(kind(**options, retry=retry, socket_timeout=None, socket_connect_timeout=None))

    return make


def _normal(options: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's options with our own in place of those that are not the caller's to decide."""
    kept = {name: value for name, value in options.items() if name not in _OURS and name not in _THEIRS}
    kept.setdefault("client_name", CLIENT_NAME)
    return kept | {"encoding": "utf-8", "encoding_errors": "replace", "decode_responses": True}
