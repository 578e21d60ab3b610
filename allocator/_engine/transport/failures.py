"""What a failed attempt means: may it have been executed, is it worth repeating, and which error does the caller get.

A driver decides by the `AttemptFailure` that these functions make of an error, and by nothing else: the two tables
below are the only places that know the server's error words.  Three questions are kept apart:

ambiguous
    The attempt may have been executed: bytes were, or may have been, sent, and what came back is no reply.
from_script
    The reply is the script's own, so the outcome of this call is known, whatever happened to earlier attempts: a script
    reads before it writes, and what an earlier attempt had done it would have seen.
transient
    The server's state is of the kind that passes in milliseconds or seconds, so repeating within the deadline is worth
    it.
"""

from __future__ import annotations

import enum
import re
import ssl
from dataclasses import dataclass
from typing import Any, Final

import redis.exceptions as raised

from allocator._engine.protocol.scripts import Script
from allocator.errors import AllocatorError, BackendUnavailable, ContractError, InvariantError

__all__ = [
    "AttemptFailure",
    "Redirect",
    "RedirectKind",
    "connection_failure",
    "error_code",
    "is_unknown_script",
    "reply_failure",
]


class RedirectKind(enum.Enum):
    """Where a cluster's node says that the slot is."""

    MOVED = "moved"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Redirect:
    """The content of a MOVED or ASK reply."""

    kind: RedirectKind
    slot: int
    host: str
    port: int


class AttemptFailure(Exception):
    """One failed attempt.  It never leaves the engine: `error` is what the caller is told if this attempt was the
    last.
    """

    __slots__ = ("ambiguous", "error", "from_script", "reconnect", "redirect", "transient")

    def __init__(
        self,
        error: AllocatorError,
        *,
        ambiguous: bool = False,
        own: bool = False,
        passes: bool = False,
        stale: bool = False,
        redirect: Redirect | None = None,
    ) -> None:
        """Describe it.

        Args:
            error: For the caller; a `BackendUnavailable` becomes an `OutcomeUnknown` if any attempt is in doubt.
            doubt: The attempt may have been executed.
            own: The script itself replied.
            passes: Worth repeating within the deadline.
            stale: The other connections to this server are likely to be of no more use.
            redirect: Another node serves the slot.
        """
        super().__init__(str(error))
        self.error = error
        self.ambiguous = ambiguous
        self.from_script = own
        self.transient = passes
        self.reconnect = stale
        self.redirect = redirect


@dataclass(frozen=True, slots=True)
class _State:
    """A state in which a server refuses a call before it executes anything of it."""

    code: str
    says: str
    transient: bool = False
    reconnect: bool = False


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
    "NOAUTH": _State("auth", "wants other credentials"),
    "WRONGPASS": _State("auth", "does not accept the credentials"),
    "CROSSSLOT": _State("cross_slot", "is a cluster: use a redis+cluster:// URL"),
    "CLIENTS": _State("too_many_clients", "takes no more connections", transient=True),
}
"""By the first word of the reply; the word of a reply whose class redis-py knows, and has taken it from, is in
`_CLASSES`."""

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
    # A slot is on its way to another node, and a record that a script found by itself is there already.  Scripts look
    # at a record before they write anything, so nothing was executed.
    ("ttempted to access a non local key", "TRYAGAIN"),
)
"""Replies that servers send with no code of their own, by a part of their text."""

_BROKEN_DATA: Final = ("WRONGTYPE", "hash value is not", "value is not a", "increment or decrement would overflow")
"""What the server says, in the middle of a script, of stored data that no script of ours would have written."""

_WORD: Final = re.compile(r"[A-Z]{2,}(?= |$)")
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
    """Whether the server does not have the script's text (it restarted, or another took its place)."""
    return error_code(error) == "NOSCRIPT"


def connection_failure(where: str, error: Exception) -> AttemptFailure:
    """The fault of an attempt that got no connection, so that nothing of it was sent.

    Refused connections, names that do not resolve and time-outs pass or do not: they are worth repeating within the
    deadline.  Credentials that the server does not accept, and a certificate that we do not, are not.
    """
    if isinstance(error, AttemptFailure):
        return error
    if isinstance(error, AllocatorError):
        return AttemptFailure(error)
    if isinstance(error, raised.ConnectionError) and isinstance(error.__cause__, raised.RedisError):
        error = error.__cause__  # redis-py's asyncio side wraps what a handshake was answered with
    code = error_code(error)
    state = STATES.get(code)
    if state is not None:
        return _refused(where, state, error)
    if _is_of_certificate(error):
        return AttemptFailure(BackendUnavailable(f"cannot trust {where}: {_brief(error)}", code="tls"))
    lasts = isinstance(error, raised.ResponseError)  # it is there, and does not want us
    return AttemptFailure(
        BackendUnavailable(f"cannot connect to {where}: {_brief(error)}"), passes=not lasts, stale=not lasts
    )


def reply_failure(where: str, error: Exception, script: Script) -> AttemptFailure:
    """The fault of an attempt that was sent, from the error that was raised while its reply was read."""
    if isinstance(error, raised.ConnectionError) and isinstance(error.__context__, raised.ReadOnlyError):
        error = error.__context__  # a Sentinel-managed connection says it in this way
    code = error_code(error)
    if state := STATES.get(code):
        return _refused(where, state, error)
    if not isinstance(error, raised.ResponseError):
        return AttemptFailure(
            BackendUnavailable(f"lost the connection to {where}: {_brief(error)}"),
            ambiguous=True,
            passes=True,
            stale=True,
        )
    text = script.locate(str(error))
    if code == "CONTRACT":
        return AttemptFailure(ContractError(_message(text)), own=True)
    if code == "INVARIANT":
        return AttemptFailure(InvariantError(_message(text)), own=True)
    # What stopped a script in its middle may have left something behind: whatever the caller is told, it is withdrawn.
    if any(part in text for part in _BROKEN_DATA):
        return AttemptFailure(InvariantError(f"{script.name}: {text}"), own=True, ambiguous=True)
    return AttemptFailure(ContractError(f"{script.name}: {text}"), own=True, ambiguous=True)


def _refused(where: str, state: _State, error: Exception) -> AttemptFailure:
    text = _brief(error)
    error_for_caller = BackendUnavailable(f"{where} {state.says}: {text}", code=state.code)
    redirect = _redirect(error) if isinstance(error, raised.AskError) else None
    return AttemptFailure(error_for_caller, passes=state.transient, stale=state.reconnect, redirect=redirect)


def _redirect(error: raised.AskError) -> Redirect:
    told: Any = error  # redis-py does not say what its attributes are
    way = RedirectKind.MOVED if isinstance(error, raised.MovedError) else RedirectKind.ASK
    return Redirect(way, told.slot_id, told.host, told.port)


def _message(text: str) -> str:
    """A reply of ours without its code and without the server's note of the place."""
    return _PLACE.sub("", text.partition(" ")[2])


def _is_of_certificate(error: BaseException | None) -> bool:
    """Whether a certificate was the cause, which no repeating makes valid."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _brief(error: BaseException) -> str:
    """An error's text, or its kind where it has none."""
    return str(error) or ("timed out" if isinstance(error, TimeoutError) else type(error).__name__)
