"""Who is answered: the token, and the headers Host and Origin; and what a browser may do with an answer.

A page of another site can send requests to this machine, but it can neither set `Authorization` nor read an answer, as
no answer allows for it.  The name in Host is checked because such a site can let its own name mean this machine (DNS
rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allocator.apps.dashboard.problems import Problem

__all__ = ["CHANGES_HEADER", "Guard", "Rules", "is_loopback"]

_log: Final = logging.getLogger("allocator.dashboard")

CHANGES_HEADER: Final = ("X-Requested-With", "allocator")
"""A header that a form of another site cannot send: a script of one would have to ask first, and is refused."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_NO_TOKEN: Final = frozenset({"/", "/healthz", "/favicon.ico"})
"""Paths that hold no data of a pool, beside `/static/`."""

_READS: Final = frozenset({"GET", "HEAD"})

_CHECK: Final = re.compile(r"/api/v1/pools/[^/]+/check")
"""The one path whose POST changes nothing: a request to check is a body."""

_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The headers of every answer."""


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


@dataclass(frozen=True)
class Rules:
    """What a request must have.

    Attributes:
        token: The secret that it names; it is shown nowhere.
        hosts: Names of this server, beside those of this machine's loopback, in any case.
        allow_changes: Whether anything may be changed at all.
    """

    token: str = field(repr=False)
    hosts: Iterable[str] = ()
    allow_changes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", frozenset(name.lower().strip("[]") for name in self.hosts))

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Refuse a request that must not be answered, or raise nothing.

        Raises:
            Problem: 421, 403 or 401.
        """
        host = self._host(headers)
        self._check_origin(host, headers)
        if path in _NO_TOKEN or path.startswith("/static/"):
            return
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Problem(HTTPStatus.FORBIDDEN, "foreign_site", "the request comes from a page of another site")
        self._check_token(headers)
        if method not in _READS and not (method == "POST" and _CHECK.fullmatch(path)):
            self._check_change(headers)

    def _host(self, headers: Headers) -> str:
        """The header Host in lower case, if it names this server."""
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        name = found["name"].lower().strip("[]").rstrip(".") if found else ""
        if name not in _LOOPBACK and name not in self.hosts:
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST, "unknown_host", "this server has another name: --host adds one"
            )
        return given[0].lower()

    def _check_origin(self, host: str, headers: Headers) -> None:
        """A page's origin is this server itself: another port of this machine is another program's page."""
        given = headers.getlist("origin")
        if not given:
            return
        try:
            parts = urlsplit(given[0].lower()) if len(given) == 1 else None
            own = parts is not None and parts.scheme in ("http", "https") and not (parts.path or parts.query)
            if own and parts is not None and (parts.netloc == host or (parts.hostname or "") in self.hosts):
                return
        except ValueError:
            pass
        raise Problem(HTTPStatus.FORBIDDEN, "foreign_origin", "the request comes from a page of another server")

    def _check_token(self, headers: Headers) -> None:
        given = headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        right = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self.token.encode())
        if scheme.lower() != "bearer" or not right:
            said = "the token is another one" if given else "it needs the token: Authorization: Bearer TOKEN"
            bearer = {"WWW-Authenticate": 'Bearer realm="allocator"'}
            raise Problem(HTTPStatus.UNAUTHORIZED, "token", said, headers=bearer)

    def _check_change(self, headers: Headers) -> None:
        if not self.allow_changes:
            raise Problem(
                HTTPStatus.FORBIDDEN, "read_only", "this dashboard only shows: it was started without --allow-changes"
            )
        name, word = CHANGES_HEADER
        if headers.get(name) != word:
            raise Problem(HTTPStatus.FORBIDDEN, "no_page", f"a change needs the header {name}: {word}", field=name)
        if not headers.get("origin"):
            raise Problem(HTTPStatus.FORBIDDEN, "no_origin", "a change needs the header Origin", field="Origin")


class Guard:
    """Checks each request before anything else sees it, and gives each answer its headers.

    An error that nobody expected is logged, and its answer says no more than that there was one.
    """

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        """Guard this application by these rules."""
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # a WebSocket is refused by the end of its call

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._rules.check(scope["method"], scope["path"], Headers(scope=scope))
        except Problem as problem:
            await problem.response()(scope, receive, with_headers)
            return
        try:
            await self._app(scope, receive, with_headers)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - the application has answered, without a word of the error
            _log.error("a request failed: %s: %s", type(error).__name__, error, exc_info=error)
