"""Problems: errors as `application/problem+json` (RFC 9457), with the library's stable codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from allocator.errors import (
    AllocationConflict,
    AllocationLost,
    AllocatorError,
    BackendError,
    Insufficient,
    InvalidRequest,
    OutcomeUnknown,
    PoolConflict,
    Recovering,
    RequestWithdrawn,
    UnknownAllocation,
    UnknownPool,
    UnknownScope,
)

__all__ = ["Problem", "encoded", "of_error", "reply"]

_STATUS: Final[tuple[tuple[type[AllocatorError], HTTPStatus], ...]] = (
    (InvalidRequest, HTTPStatus.BAD_REQUEST),
    (UnknownPool, HTTPStatus.NOT_FOUND),
    (UnknownScope, HTTPStatus.NOT_FOUND),
    (UnknownAllocation, HTTPStatus.NOT_FOUND),
    (PoolConflict, HTTPStatus.CONFLICT),
    (AllocationConflict, HTTPStatus.CONFLICT),
    (AllocationLost, HTTPStatus.CONFLICT),
    (RequestWithdrawn, HTTPStatus.CONFLICT),
    (Insufficient, HTTPStatus.CONFLICT),
    (OutcomeUnknown, HTTPStatus.GATEWAY_TIMEOUT),
    (Recovering, HTTPStatus.SERVICE_UNAVAILABLE),
    (BackendError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""The status of the first matching class; another error of the library is one of this server."""

_REFUSED: Final = frozenset({"no_permission", "auth", "eviction"})
"""Codes of a store that answers, and refuses this program."""

_RETRY_S: Final = 1


class Problem(Exception):
    """An answer that is an error.  `code` is stable and meant for programs, `detail` for people."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        field: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.headers = dict(headers or {})
        self.more = more

    def document(self) -> dict[str, Any]:
        """The problem as a document."""
        found: dict[str, Any] = {
            "type": f"urn:allocator:problem:{self.code}",
            "title": self.status.phrase,
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
        }
        return {**found, **({"field": self.field} if self.field else {}), **self.more}

    def response(self) -> Response:
        """The problem as an answer."""
        return Response(
            encoded(self.document()), self.status, media_type="application/problem+json", headers=self.headers
        )


def of_error(error: AllocatorError, **more: Any) -> Problem:
    """The problem that an error of the library is.

    Args:
        error: The error.
        more: Further members, such as both sides of a conflict.
    """
    status = next((one for kind, one in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status is HTTPStatus.SERVICE_UNAVAILABLE and error.code in _REFUSED:
        status = HTTPStatus.BAD_GATEWAY
    headers: dict[str, str] = {}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(max(_RETRY_S, round(error.retry_after or _RETRY_S)))
    if isinstance(error, Insufficient):
        more["denial"] = error.denial.to_dict()
    field = error.field if isinstance(error, InvalidRequest) else ""
    return Problem(status, error.code, str(error), field=field, headers=headers, **more)


def encoded(document: Any) -> bytes:
    """A document as JSON in ASCII: stored text stays data, whatever reads it, also half a pair of surrogates."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")


def reply(document: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A document as an answer."""
    return Response(encoded(document), status, media_type="application/json")
