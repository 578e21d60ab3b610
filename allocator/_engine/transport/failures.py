"""Failures of attempts: whether one is ambiguous, whether a retry may help, and which error the caller gets.

A driver decides only by the `AttemptFailure` that these functions make of an error.  The tables below are the only
places that interpret the server's error codes.  Three properties are kept apart:

ambiguous
    The attempt may have been executed: bytes were, or may have been, sent, and no reply arrived.
from_script
    The script produced the reply.  So the outcome of the call is known, including its earlier attempts: a script reads
    before it writes, and sees what an earlier attempt did.
transient
    The server's state usually passes within milliseconds or seconds, so a retry within the deadline may succeed.
"""

from __future__ import annotations

import enum
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import redis.exceptions as raised

from allocator._engine.protocol.scripts import Script
from allocator.errors import AllocatorError, BackendUnavailable, ContractError, InvariantError

__all__ = [
    "AttemptFailure",
    "NotRetriedError",
    "Redirect",
    "RedirectKind",
    "connection_failure",
    "error_code",
    "is_unknown_script",
    "least_lasting",
    "reply_failure",
    "speaks_no_tls",
    "speaks_tls",
    "superseded",
    "wants_certificate",
]


class RedirectKind(enum.Enum):
    """The kind of a cluster redirect: the slot has moved, or is being moved."""

    MOVED = "moved"
    ASK = "ask"


class Redirect(NamedTuple):
    """The content of a MOVED or ASK reply."""

    kind: RedirectKind
    slot: int
    host: str
    port: int


class AttemptFailure(Exception):
    """One failed attempt.  It never leaves the engine: the caller gets `error` if this attempt was the last."""

    __slots__ = ("ambiguous", "error", "from_script", "reconnect", "redirect", "retries", "transient")

    def __init__(
        self,
        error: AllocatorError,
        *,
        ambiguous: bool = False,
        from_script: bool = False,
        transient: bool = False,
        reconnect: bool = False,
        redirect: Redirect | None = None,
        retries: int | None = None,
    ) -> None:
        """Set its properties.

        Args:
            error: For the caller; a `BackendUnavailable` becomes an `OutcomeUnknown` if any attempt is ambiguous.
            ambiguous: The attempt may have been executed.
            from_script: The script produced the reply.
            transient: A retry within the deadline may succeed.
            reconnect: The other connections to this server are probably unusable.
            redirect: Another node serves the slot.
            retries: How many retries may help, if it is transient; None: any number within the deadline.
        """
        super().__init__(str(error))
        self.error = error
        self.ambiguous = ambiguous
        self.from_script = from_script
        self.transient = transient
        self.reconnect = reconnect
        self.redirect = redirect
        self.retries = retries

    def may_pass(self, limited: int) -> bool:
        """Whether a retry may succeed, after so many failures with a limited number of retries, this one included."""
        return self.transient and (self.retries is None or limited <= self.retries)

    @property
    def lasting(self) -> int:
        """0 where any number of retries may help, 1 where few may, 2 where none may."""
        return 2 if not self.transient else 0 if self.retries is None else 1


class NotRetriedError(raised.ConnectionError):
    """A connection that is refused or lost in a test, as if the call's deadline had passed: no attempt follows."""


class _State(NamedTuple):
    """A state in which a server refuses a call before it executes any part of it."""

    code: str
    says: str
    transient: bool = False
    reconnect: bool = False


_CREDENTIALS: Final = "check the user name and the password in the URL, user:password@ before the host"

STATES: Final[dict[str, _State]] = {
    "LOADING": _State("loading", "is loading its data", transient=True),
    "BUSY": _State("busy", "is busy with a slow script", transient=True),
    "READONLY": _State("readonly", "is a replica and takes no writes", transient=True, reconnect=True),
    "MASTERDOWN": _State("master_down", "has lost its primary", transient=True, reconnect=True),
    "CLUSTERDOWN": _State("cluster_down", "says that the cluster is down", transient=True, reconnect=True),
    "TRYAGAIN": _State("try_again", "is moving the pool's slot", transient=True),
    "NOREPLICAS": _State("no_replicas", "has too few replicas to take writes", transient=True, reconnect=True),
    "MOVED": _State("moved", "serves the pool no more", transient=True),
    "ASK": _State("moved", "is handing the pool over", transient=True),
    "UNBLOCKED": _State("unavailable", "changed its role", transient=True, reconnect=True),
    "OOM": _State("oom", "is out of memory"),
    "MISCONF": _State("misconf", "takes no writes while it cannot save its data"),
    "NOPERM": _State("no_permission", "does not permit this user to run the scripts"),
    "NOAUTH": _State("auth", f"needs other credentials; {_CREDENTIALS}"),
    "WRONGPASS": _State("auth", f"does not accept the credentials; {_CREDENTIALS}"),
    "CROSSSLOT": _State("cross_slot", "is a cluster: use a redis+cluster:// URL"),
    "CLIENTS": _State("too_many_clients", "takes no more connections", transient=True),
}
"""States by the error code of the reply.  Where redis-py raises a class and drops the code, `_CLASSES` has it."""

_CLASSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (raised.NoScriptError, "NOSCRIPT"),
    (raised.BusyLoadingError, "LOADING"),
    (raised.ReadOnlyError, "READONLY"),
    (raised.MasterDownError, "MASTERDOWN"),
    (raised.ClusterDownError, "CLUSTERDOWN"),
    (raised.TryAgainError, "TRYAGAIN"),
    (raised.MovedError, "MOVED"),
    (raised.AskError, "ASK"),
    (raised.OutOfMemoryError, "OOM"),
    (raised.NoPermissionError, "NOPERM"),
    (raised.AuthenticationWrongNumberOfArgsError, "WRONGPASS"),
    (raised.AuthenticationError, "NOAUTH"),
    (raised.AuthorizationError, "NOPERM"),
    (raised.ClusterCrossSlotError, "CROSSSLOT"),
)
"""Subclasses stand before their bases."""

_WORDLESS: Final[tuple[tuple[str, str], ...]] = (
    ("ACL failure in script", "NOPERM"),
    ("The user executing the script can't", "NOPERM"),
    ("max number of clients reached", "CLIENTS"),
    # A slot is migrating, and a record whose key the script computed is already on the other node.  Scripts read the
    # records before they write anything, so nothing was executed.
    ("ttempted to access a non local key", "TRYAGAIN"),
)
"""Error replies without a code, by a part of their text."""

_BROKEN_DATA: Final = ("WRONGTYPE", "hash value is not", "value is not a", "increment or decrement would overflow")
"""Parts of errors that a server raises inside a script for stored data that no script of the allocator writes."""

_TRUST: Final = "name its authority by the option ssl_ca_certs=, and the host as the certificate does"

_FILES: Final = "check the files that ssl_ca_certs=, ssl_certfile= and ssl_keyfile= name"
_CERTIFICATE: Final = "it may want a certificate: name one by ssl_certfile= and its key by ssl_keyfile="
_NO_TLS: Final = "it does not speak TLS there: write redis:// in the URL, or the port for TLS"

_TLS_ADVICE: Final = (
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    ("RECORD_LAYER_FAILURE", _NO_TLS),
    ("HTTP_REQUEST", _NO_TLS),
    ("CERTIFICATE_REQUIRED", _CERTIFICATE),
    ("HANDSHAKE_FAILURE", _CERTIFICATE),
    ("BAD_CERTIFICATE", _CERTIFICATE),
    ("UNKNOWN_CA", "it does not trust the certificate of ssl_certfile="),
    ("KEY_VALUES_MISMATCH", "the key of ssl_keyfile= is not that of the certificate of ssl_certfile="),
    ("[X509", _FILES),
    ("[PEM", _FILES),
    ("[SSL] PEM", _FILES),
    ("PROTOCOL_VERSION", "it speaks other versions of TLS: see ssl_min_version="),
    ("NO_SHARED_CIPHER", "it has other ciphers: see ssl_ciphers="),
)
"""What to do about an error of OpenSSL, by a part of its text; other errors of it may pass."""

_ADVICE: Final = (
    ("DB index is out of range", "the server has fewer databases: write another number in the URL"),
    ("cluster support disabled", "it is no cluster: write redis:// in the URL"),
    ("'SENTINEL'", "it is no Sentinel: write redis:// in the URL"),
    ("'EVALSHA", "it cannot run scripts; the URL of a Sentinel begins with redis+sentinel://"),
)
"""What to do about an error reply to a new connection, by a part of its text."""

_UNKNOWN_HOST: Final = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}

_WORD: Final = re.compile(r"[A-Z]{2,}(?= |$)")
_REDIRECT: Final = re.compile(r"(\d+) (\S*):(\d+)$")
_PLACE: Final = re.compile(r"(?:,? script: [0-9a-f]{40}, on @[^ ]*?:\d+\.?)$")


def error_code(error: BaseException) -> str:
    """The code of an error reply (`NOSCRIPT`, `OOM`, `CONTRACT`, ...), or "" where the error has none."""
    for kind, code in _CLASSES:
        if isinstance(error, kind):
            return code
    text = str(error).removeprefix("ERR ")
    for part, code in _WORDLESS:
        if part in text:
            return code
    match = _WORD.match(text)
    return match[0] if match else ""


def is_unknown_script(error: BaseException) -> bool:
    """Whether the server lacks the script's text, as after a restart or a failover."""
    return error_code(error) == "NOSCRIPT"


def connection_failure(where: str, error: Exception) -> AttemptFailure:
    """The failure of an attempt that got no connection, so that nothing was sent.

    Refused connections and timeouts are transient.  What only a change of the URL, of a file or of the server can
    remove is not: credentials and certificates that are rejected, another protocol, a database that is not there.  A
    name that does not resolve gets one retry.
    """
    if isinstance(error, AttemptFailure):
        return error
    if isinstance(error, AllocatorError):
        return AttemptFailure(error)
    if isinstance(error, raised.ConnectionError) and isinstance(error.__cause__, raised.RedisError):
        error = error.__cause__  # redis-py's asyncio connection wraps the error reply to a handshake
    code = error_code(error)
    state = STATES.get(code)
    if state is not None:
        return _refused(where, state, error)
    lasting = _lasting_failure(where, error)
    if lasting is not None:
        return lasting
    # The server is up and rejects the connection, or a test ends the attempts.
    refused = isinstance(error, raised.ResponseError | NotRetriedError)
    advice = next((f"; {advice}" for part, advice in _ADVICE if refused and part in str(error)), "")
    return AttemptFailure(
        BackendUnavailable(f"cannot connect to {where}: {_brief(error)}{advice}"),
        transient=not refused,
        reconnect=not refused,
    )


def least_lasting(failures: Iterable[AttemptFailure]) -> AttemptFailure | None:
    """The failure that decides about a retry where several servers could each have replied; None of none."""
    return min(failures, key=lambda failure: failure.lasting, default=None)


def speaks_tls(where: str) -> AttemptFailure:
    """The failure of a connection without TLS to a port that speaks TLS."""
    return _permanent(
        f"{where} speaks TLS: write rediss:// (or rediss+sentinel://, rediss+cluster://) in the URL", "tls"
    )


def speaks_no_tls(where: str) -> AttemptFailure:
    """The failure of a connection by TLS to a port that does not speak it."""
    return _permanent(f"{where} does not speak TLS: write redis:// in the URL, or the port for TLS", "tls")


def wants_certificate(where: str, error: Exception) -> AttemptFailure | None:
    """The failure for an alert of a server by TLS to a client without a certificate; None if it is about another."""
    if not any(part in str(error).upper() for part, advice in _TLS_ADVICE if advice is _CERTIFICATE):
        return None
    return _permanent(f"cannot connect to {where}: {_brief(error)}; {_CERTIFICATE}", "tls")


def _lasting_failure(where: str, error: Exception) -> AttemptFailure | None:
    """The failure for an error that no retry, or one at most, removes; None for any other."""
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN_HOST:
            text = f"cannot find the host of {where}: {_brief(cause)}; check its name in the URL"
            return AttemptFailure(
                BackendUnavailable(text, code="unknown_host"), transient=True, reconnect=True, retries=1
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _permanent(f"cannot trust {where}: {_brief(cause)}; {_TRUST}", "tls")
        if isinstance(cause, ssl.SSLError):
            for part, advice in _TLS_ADVICE:
                if part in str(cause).upper():
                    return _permanent(f"cannot connect to {where}: {_brief(cause)}; {advice}", "tls")
        if isinstance(cause, raised.InvalidResponse):
            text = (
                f"{where} does not speak the protocol of Redis: {_brief(cause)}; check the host and the port in the URL"
            )
            return _permanent(text, "not_redis")
    return None


def _permanent(text: str, code: str) -> AttemptFailure:
    return AttemptFailure(BackendUnavailable(text, code=code))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, the innermost last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def reply_failure(where: str, error: Exception, script: Script) -> AttemptFailure:
    """The failure of an attempt that was sent, from the error that was raised while its reply was read."""
    if isinstance(error, raised.ConnectionError) and isinstance(error.__context__, raised.ReadOnlyError):
        error = error.__context__  # a Sentinel-managed connection raises READONLY in this form
    code = error_code(error)
    if state := STATES.get(code):
        return _refused(where, state, error)
    if not isinstance(error, raised.ResponseError):
        return AttemptFailure(
            BackendUnavailable(f"lost the connection to {where}: {_brief(error)}"),
            ambiguous=True,
            transient=not isinstance(error, NotRetriedError),
            reconnect=True,
        )
    text = script.locate(str(error))
    if code == "CONTRACT":
        return AttemptFailure(ContractError(_message(text)), from_script=True)
    if code == "INVARIANT":
        return AttemptFailure(InvariantError(_message(text)), from_script=True)
    # An error inside a script may leave some of its writes: the call is undone, whichever error the caller gets.
    if any(part in text for part in _BROKEN_DATA):
        return AttemptFailure(InvariantError(f"{script.name}: {text}"), from_script=True, ambiguous=True)
    return AttemptFailure(ContractError(f"{script.name}: {text}"), from_script=True, ambiguous=True)


def superseded(where: str) -> AttemptFailure:
    """The failure of an attempt at a server that is no longer the primary; nothing was sent."""
    return AttemptFailure(BackendUnavailable(f"{where} is not the primary any more", code="demoted"), transient=True)


def _refused(where: str, state: _State, error: Exception) -> AttemptFailure:
    text = _brief(error)
    error_for_caller = BackendUnavailable(f"{where} {state.says}: {text}", code=state.code)
    return AttemptFailure(
        error_for_caller, transient=state.transient, reconnect=state.reconnect, redirect=_redirect(error)
    )


def _redirect(error: Exception) -> Redirect | None:
    """The redirect that an error reply is.  redis-py has classes for them since 6.0, which drop the code."""
    match = _REDIRECT.search(str(error))
    code = error_code(error)
    if match is None or code not in RedirectKind.__members__:
        return None
    return Redirect(RedirectKind[code], int(match[1]), match[2], int(match[3]))


def _message(text: str) -> str:
    """The text of a script's error reply, without its code and the position that the server appends."""
    return _PLACE.sub("", text.partition(" ")[2])


def _brief(error: BaseException) -> str:
    """An error's text, or its class name where it has none."""
    return str(error) or ("timed out" if isinstance(error, TimeoutError) else type(error).__name__)
