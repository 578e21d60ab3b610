"""Convert an exception to an exit code, a message and a hint.  Exit codes are stable, as scripts depend on them."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import click

from allocator.apps.cli.arguments import closest, same_but_case
from allocator.errors import (
    AllocationConflict,
    AllocatorError,
    BackendError,
    Insufficient,
    InvalidRequest,
    InvariantError,
    NotDurable,
    OutcomeUnknown,
    PoolConflict,
    ReconcileRefused,
    Recovering,
    RequestWithdrawn,
    UnknownAllocation,
    UnknownPool,
    UnknownScope,
)

if TYPE_CHECKING:
    from allocator.apps.cli.context import App
    from allocator.denials import Denial

__all__ = ["ExitCode", "Failure", "ReaderGone", "advise", "denied", "exit_code", "hint", "message"]


class ExitCode(enum.IntEnum):
    """The exit codes of the process."""

    OK = 0
    ERROR = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    OUTCOME_UNKNOWN = 6
    READER_GONE = 141
    LEASE_LOST = 121  # from here on: of `run`, which else exits with its command's
    ID_IN_USE = 122
    NO_SERVER = 123
    NOT_GRANTED = 124
    RUN_FAILED = 125
    NOT_EXECUTABLE = 126
    NO_COMMAND = 127
    INTERRUPTED = 130


_CODES: Final[tuple[tuple[type[AllocatorError], ExitCode], ...]] = (
    (InvalidRequest, ExitCode.USAGE),
    (Insufficient, ExitCode.DENIED),
    (RequestWithdrawn, ExitCode.DENIED),
    (UnknownPool, ExitCode.NOT_FOUND),
    (UnknownAllocation, ExitCode.NOT_FOUND),
    (UnknownScope, ExitCode.NOT_FOUND),
    (OutcomeUnknown, ExitCode.OUTCOME_UNKNOWN),
    (NotDurable, ExitCode.ERROR),
    (ReconcileRefused, ExitCode.DENIED),
    (BackendError, ExitCode.UNREACHABLE),
)
"""The exit code of the first matching class; other errors of the library have 1."""

_OF_CLASS: Final[dict[type[AllocatorError], str]] = {
    UnknownPool: "'pool list' shows the pools there are; 'pool create NAME cpu=32 memory=128Gi' makes one",
    UnknownScope: "'quota tree' shows the scopes there are; 'quota set SCOPE cpu=4' makes one",
    RequestWithdrawn: "'events' shows when; the same command takes a new place in line",
}
"""The hint of an error by its class."""

_IN_USE: Final = {
    "allocation_conflict": "take another --id, or release that one first; 'resize' changes the amounts of your own",
    "waiting": "'queue list' shows the request; 'queue withdraw' takes it out of the line",
}
"""The hint of an `AllocationConflict` by its code."""

_DENIED: Final = {
    "constraint_violation": "ask for a whole number; 'pool show' lists the resources of which fractions are refused",
    "unit_violation": "'pool show' lists the amounts that are given out, 'pool set' changes them",
    "queued": "'queue list' shows who waits before it; --wait takes a place behind them",
    "queue_full": "'queue list' shows who waits; 'pool set --queue-length-max' changes how many may",
}
"""The hint of a denial by its code."""

_MISSING_EXTRA: Final = "no_extra"

_WAYS_OUT: Final = {
    "auth": "check the user and the password in the URL of {url}",
    "no_permission": "'resource-allocator acl' prints the rights that each role needs",
    "readonly": "give the URL of the primary, or a redis+sentinel:// URL, which finds it",
}
"""The hint of a `BackendError` by its code."""

_OPTIONS: Final = {
    "as_of": "--as-of",
    "default_scope": "--default-scope",
    "live_ids": "FILE",
    "max_lifetime": "--max-lifetime",
    "max_released": "--max-released",
    "max_ttl": "--max-ttl",
    "metadata": "--meta",
    "older_than": "--older-than",
    "preempt": "--preempt",
    "preempt_grace": "--preempt-grace",
    "preempt_protect": "--preempt-protect",
    "preemption": "--preemption",
    "priority": "--priority",
    "queue_backfill": "--queue-backfill",
    "queue_half_life": "--queue-half-life",
    "queue_length_max": "--queue-length-max",
    "queue_passes_max": "--queue-passes-max",
    "queue_policy": "--queue-policy",
    "queue_wait_max": "--queue-wait-max",
    "recovery_grace": "--recovery-grace",
    "require_scope": "--require-scope",
    "weight": "--weight",
    "whole_units": "--whole-units",
}
"""Arguments of the library, and what they are called here."""

_OF_PYTHON: Final = re.compile(rf"\b(?:{'|'.join(_OPTIONS)})\b")

_EVICTION_ALLOWED: Final = ", or pass allow_eviction=True"
"""The end of a message that is advice for programs: a command that only reads allows for it by itself."""

_ANOTHER: Final = "the server is {url}; --url or ALLOCATOR_REDIS_URL names another"

_SAYS_ITSELF: Final = (_MISSING_EXTRA, "eviction", "no_server", "no_folder", "no_stop", "offline")
"""Codes of a `BackendError` whose message contains the advice, or for which another URL is no remedy."""


class Failure(click.ClickException):
    """A failure that is not an error of the library: a message, an exit code, a hint."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class ReaderGone(Failure):
    """Nobody reads the output any more, as after `| head -1`: no fault, and no message."""

    def __init__(self) -> None:
        super().__init__("", ExitCode.READER_GONE)


def message(error: AllocatorError, pool: str) -> str:
    """The message of a library error in the words of the command line.

    Args:
        error: the error that ended the command.
        pool: the pool of the command.
    """
    if isinstance(error, UnknownAllocation) and error.id:
        return f"no live allocation {error.id} in pool {pool}"
    text = str(error).removesuffix(_EVICTION_ALLOWED)
    if isinstance(error, InvalidRequest | ReconcileRefused):
        return _OF_PYTHON.sub(lambda match: _OPTIONS[match[0]], text)
    return text


def exit_code(error: AllocatorError) -> ExitCode:
    """The exit code of a library error.  A missing package does not count as an unreachable server."""
    if error.code == _MISSING_EXTRA:
        return ExitCode.ERROR
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.ERROR)


def hint(error: AllocatorError, url: str) -> str:  # noqa: PLR0911 - a table that needs isinstance
    """Advice for an error; "" if there is none.

    Args:
        error: the error that ended the command.
        url: the server's, without its password.
    """
    if type(error) in _OF_CLASS:
        return _OF_CLASS[type(error)]
    if isinstance(error, Insufficient):
        return denied(error.denial)
    if isinstance(error, OutcomeUnknown):
        known = f"'describe {error.id}' shows whether it was; " if error.id else ""
        return f"the server may have executed it: {known}the same command with the same id may be repeated"
    if isinstance(error, NotDurable):
        return "what was granted is undone, other changes stay; 'doctor' shows the server's replicas and persistence"
    if isinstance(error, ReconcileRefused):
        return "--dry-run shows what it would release; --max-released allows for it"
    if isinstance(error, Recovering) and error.code == "recovering":
        return "'pool show' says until when; 'pool end-recovery' ends it once all holders have renewed"
    if isinstance(error, BackendError):
        if error.code in _SAYS_ITSELF:
            return ""
        return _WAYS_OUT.get(error.code, _ANOTHER).format(url=url)
    if isinstance(error, InvariantError):
        return "'audit' lists what is broken; 'audit --repair' mends it"
    if isinstance(error, AllocationConflict):
        return _IN_USE.get(error.code, _IN_USE[AllocationConflict.default_code])
    if isinstance(error, PoolConflict) and error.code == "generation":
        shown = "'quota list -o wide'" if str(error).startswith("quota ") else "'pool show'"
        return f"{shown} has the present generation"
    return ""


def denied(denial: Denial, counted: Iterable[str] = ()) -> str:
    """Advice for a denial.

    Args:
        denial: the refusal.
        counted: the resources that the pool counts, to name the one that was probably meant.
    """
    if denial.code == "unknown_resource":
        unknown = denial.shortages[0].resource if denial.shortages else ""
        known = list(counted)
        meant = same_but_case(unknown, known) or closest(unknown, known)
        if meant:
            return f"was {meant} meant? 'pool show' lists the resources that the pool counts"
        return "'pool show' lists the resources that the pool counts, 'pool set' adds one"
    if denial.code in _DENIED:
        return _DENIED[denial.code]
    quota = next((one.name for one in denial.shortages if one.level == "quota"), "")
    if denial.never:
        shown = (
            f"'quota tree {quota}' has its limits, 'quota set'" if quota else "'pool show' has the capacity, 'pool set'"
        )
        return f"waiting will not help: {shown} changes {'them' if quota else 'it'}"
    who = f"'list --scope {quota}' shows what is allocated there; " if quota else ""
    return f"{who}'check --explain' with the same request says when it will fit"


def advise(app: App, denial: Denial) -> None:
    """Say what helps against a denial."""
    counted = _counted(app) if denial.code == "unknown_resource" else ()
    app.note(f"hint: {denied(denial, counted)}")


def _counted(app: App) -> Sequence[str]:
    """The resources that the pool counts, for a hint; none if it cannot be read."""
    try:
        return list(app.client().pools.usage().resources)
    except AllocatorError:
        return ()
