"""From each kind of exception to its exit code, its line and its hint."""

from __future__ import annotations

import errno
import logging
import os

import click
import pytest

from allocator import errors
from allocator._sync.client import Allocator
from allocator._sync.pools import Pools
from allocator.apps.cli.errors import ExitCode, exit_code, hint
from allocator.denials import Denial, Shortage
from tests.programs.cli.conftest import CommandLine

DENIAL = Denial("capacity_exceeded", "default", (Shortage("cpu", 2000, 31_000, 32_000),))

CASES: list[tuple[errors.AllocatorError, int]] = [
    (errors.AllocatorError("x"), 1),
    (errors.InvalidRequest("x"), 2),
    (errors.InvalidQuantity("x"), 2),
    (errors.Insufficient(DENIAL), 3),
    (errors.QuotaExceeded(DENIAL), 3),
    (errors.WaitTimeout(DENIAL), 3),
    (errors.RequestWithdrawn("x"), 3),
    (errors.UnknownPool("x"), 4),
    (errors.UnknownAllocation("x"), 4),
    (errors.UnknownScope("x"), 4),
    (errors.BackendError("x"), 5),
    (errors.BackendUnavailable("x"), 5),
    (errors.Recovering("x"), 5),
    (errors.OutcomeUnknown("x", id="job-1"), 6),
    (errors.AllocationConflict("x"), 1),
    (errors.AllocationLost("x"), 1),
    (errors.PoolConflict("x"), 1),
    (errors.ContractError("x"), 1),
    (errors.InvariantError("x"), 1),
    (errors.BackendUnavailable("x", code="no_extra"), 1),
    (errors.NotDurable("x"), 1),
    (errors.ReconcileRefused("x"), 3),
]


@pytest.mark.parametrize(("error", "code"), CASES, ids=lambda value: getattr(value, "code", value))
def test_each_error_has_its_exit_code_one_line_and_no_traceback(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch, error: errors.AllocatorError, code: int
) -> None:
    """Through a whole command, as a script sees it."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Pools, "usage", fail)
    lines = pool.error("usage", code=code).splitlines()
    assert lines[0] == f"error: {error}"
    assert [line.partition(":")[0] for line in lines[1:]] in ([], ["hint"])
    assert exit_code(error) == code


def test_every_error_of_the_library_is_in_the_table() -> None:
    """A new one must be given a code on purpose."""
    assert {type(error).__name__ for error, _ in CASES} == set(errors.__all__)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.UnknownPool("x"), "'pool create NAME"),
        (errors.UnknownScope("x"), "'quota set SCOPE"),
        (errors.OutcomeUnknown("x", id="job-1"), "'describe job-1' shows whether it was"),
        (errors.OutcomeUnknown("x"), "may be repeated"),
        (errors.BackendUnavailable("x"), "the server is redis://h:1"),
        (errors.BackendUnavailable("x", code="auth"), "the password in the URL of redis://h:1"),
        (errors.BackendUnavailable("x", code="readonly"), "the URL of the primary"),
        (errors.BackendUnavailable("x", code="no_permission"), "'resource-allocator acl'"),
        (errors.BackendUnavailable("x", code="eviction"), ""),
        (errors.Recovering("x"), "'pool end-recovery'"),
        (errors.Recovering("x", code="offline"), ""),
        (errors.InvariantError("x"), "'audit --repair'"),
        (errors.AllocationConflict("x"), "take another --id"),
        (errors.AllocationConflict("x", code="waiting"), "'queue withdraw'"),
        (errors.RequestWithdrawn("x"), "a new place in line"),
        (errors.WaitTimeout(DENIAL), "'check --explain'"),
        (errors.Insufficient(Denial("queued", "default", ())), "'queue list'"),
        (errors.Insufficient(Denial("queue_full", "default", ())), "--queue-length-max"),
        (errors.PoolConflict("x", code="generation"), "'pool show'"),
        (errors.PoolConflict("x"), ""),
        (errors.ContractError("x"), ""),
        (errors.Insufficient(DENIAL), "'check --explain'"),
    ],
)
def test_hints_name_the_next_step(error: errors.AllocatorError, says: str) -> None:
    """Or nothing, where there is none."""
    shown = hint(error, "redis://h:1")
    assert says in shown
    assert bool(says) == bool(shown)


def test_the_exit_codes_are_a_promise() -> None:
    """Scripts outside of this repository depend on these numbers."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "ERROR": 1,
        "USAGE": 2,
        "DENIED": 3,
        "NOT_FOUND": 4,
        "UNREACHABLE": 5,
        "OUTCOME_UNKNOWN": 6,
        "INTERRUPTED": 130,
        "READER_GONE": 141,
        "LEASE_LOST": 121,
        "ID_IN_USE": 122,
        "NO_SERVER": 123,
        "NOT_GRANTED": 124,
        "RUN_FAILED": 125,
        "NOT_EXECUTABLE": 126,
        "NO_COMMAND": 127,
    }


def test_a_bug_is_one_line_unless_the_traceback_is_asked_for(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person is told what to send; a message of several lines stays one."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(Pools, "usage", fail)
    assert pool.error("usage", code=1) == (
        "error: unexpected ZeroDivisionError: a b\nhint: --verbose shows the traceback; please report it\n"
    )
    told = pool.error("usage", "--verbose", code=1)
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith("error: unexpected ZeroDivisionError: a b\n")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, click.Abort, EOFError])
def test_ctrl_c_ends_with_130_and_without_a_word(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    """Whatever it interrupts."""

    def fail(*_: object, **__: object) -> None:
        raise interrupt

    monkeypatch.setattr(Pools, "usage", fail)
    assert pool.error("usage", code=130).strip() == ""


def test_warnings_of_the_library_are_lines_on_stderr(pool: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are gone with --quiet."""
    real = Pools.usage

    def warn(client: Allocator) -> object:
        logging.getLogger("allocator.client").warning("take\ncare")
        return real(client)

    monkeypatch.setattr(Pools, "usage", warn)
    assert pool("usage").stderr == "warning: take care\n"
    assert pool("usage", "-q").stderr == ""


def test_without_any_url_a_note_says_which_server_is_used(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who forgot the URL must not wonder where the pools are."""
    monkeypatch.delenv("ALLOCATOR_REDIS_URL")
    monkeypatch.setenv("REDIS_URL", cli.url)
    assert cli("pool", "list").stderr == "no pools under the prefix allocator\n"
    monkeypatch.delenv("REDIS_URL")
    urls: list[str | None] = []

    def made(url: str | None, **_: object) -> Allocator:
        urls.append(url)
        return Allocator._on(*_parts(cli.url))

    monkeypatch.setattr(Allocator, "from_url", made)
    assert cli("pool", "list").stderr.startswith(
        "no --url, ALLOCATOR_REDIS_URL or REDIS_URL: using embedded://, this user's own server\n"
    )
    assert urls == ["embedded://"]


def _parts(url: str) -> tuple[object, object]:
    from allocator._engine.operations.defaults import Defaults
    from allocator._engine.transport.urls import resolve_target

    return resolve_target(url), Defaults("default", "allocator", None)


@pytest.mark.parametrize("url", ["http://h", "redis://:SECRET@h:port", "memcached://:SECRET@h/1", "SECRET"])
def test_a_url_that_is_none_is_wrong_input_and_not_shown_with_its_password(cli: CommandLine, url: str) -> None:
    """The message goes into logs."""
    stderr = cli.error("usage", "--url", url, code=2)
    assert stderr.startswith("error: ")
    assert ":SECRET" not in stderr


@pytest.mark.parametrize("timeout", ["0", "61", "nan", "soon"])
def test_a_timeout_out_of_bounds_is_wrong_input(cli: CommandLine, timeout: str) -> None:
    """Longer ones would outlive the memory of ended calls."""
    assert cli.error("usage", "--timeout", timeout, code=2).startswith("error: ")


@pytest.mark.parametrize("words", [("--url", "", "usage"), ("usage", "--url", ""), ("pool", "--url=", "list")])
def test_an_empty_url_is_wrong_usage_and_not_another_server(cli: CommandLine, words: tuple[str, ...]) -> None:
    """`--url "$NOT_SET"` must not lead to a server that nobody named."""
    stderr = cli.error(*words, code=2)
    assert stderr.startswith("error: Invalid value for '--url': it is empty")


def test_an_empty_variable_counts_as_unset(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere: the next variable is looked at."""
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", "")
    monkeypatch.setenv("REDIS_URL", cli.url)
    assert cli("pool", "list").stderr == "no pools under the prefix allocator\n"


def test_the_demo_says_errors_like_the_rest(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One form for whoever searches logs."""
    monkeypatch.setattr("allocator.apps.demo.run.CALL_S", 0.2)
    result = cli("demo", "--url", "unix:///nonexistent/server.sock", code=5)
    assert result.stderr.startswith("error: cannot connect to unix:///nonexistent/server.sock")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_answer_that_cannot_be_written_is_one_line(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nobody is asked to report a full disk."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Pools, "usage", fail)
    assert pool.error("usage", code=1) == f"error: cannot write: {os.strerror(number)}\n"


def test_output_that_nobody_reads_any_more_is_no_error(pool: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `| head -1`: no word, and the exit code that a shell shows for SIGPIPE."""

    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(Pools, "usage", fail)
    assert pool.error("usage", code=141) == ""
