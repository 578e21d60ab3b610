"""What each error reply means.  The table is the contract: the two clients decide by nothing else."""

from __future__ import annotations

import pytest
import redis.exceptions as raised
from redis.connection import DefaultParser

from allocator._engine.execution.retry import final_error
from allocator._engine.transport import failures
from allocator._engine.transport.failures import RedirectKind
from allocator.errors import AllocatorError, BackendUnavailable, ContractError, InvariantError, OutcomeUnknown
from tests.support.drivers import COUNT, new_item


def reply_error(text: str) -> Exception:
    """What redis-py makes of an error reply."""
    error: Exception = DefaultParser.parse_error(text)
    return error


PASSES = [
    ("LOADING Redis is loading the dataset in memory", "loading"),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "busy"),
    ("READONLY You can't write against a read only replica.", "readonly"),
    ("READONLY Can not run script with write flag on readonly replica.", "readonly"),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "master_down"),
    ("CLUSTERDOWN Hash slot not served", "cluster_down"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "try_again"),
    ("NOREPLICAS Not enough good replicas to write.", "no_replicas"),
    ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", "unavailable"),
    ("MOVED 3999 127.0.0.1:6381", "moved"),
    ("ASK 3999 127.0.0.1:6381", "moved"),
    ("ERR max number of clients reached", "too_many_clients"),
    ("ERR Script attempted to access a non local key in a cluster node script: 0123, on @user_script:1.", "try_again"),
    ("ERR Attempted to access a non local key in a cluster node script: 0123, on @user_script:1.", "try_again"),
]

LASTS = [
    ("OOM command not allowed when used memory > 'maxmemory'.", "oom"),
    ("OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'", "oom"),
    ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", "misconf"),
    ("NOPERM User app has no permissions to run the 'evalsha' command", "no_permission"),
    ("NOPERM ACL failure in script: User app has no permissions to run the 'hset' command", "no_permission"),
    ("ERR ACL failure in script: User app has no permissions to run the 'hset' command", "no_permission"),
    ("ERR The user executing the script can't run this command or subcommand script: 0", "no_permission"),
    ("NOAUTH Authentication required.", "auth"),
    ("WRONGPASS invalid username-password pair or user is disabled.", "auth"),
    ("CROSSSLOT Keys in request don't hash to the same slot", "cross_slot"),
]


@pytest.mark.parametrize(("text", "code"), PASSES)
def test_a_state_that_passes_is_waited_for_and_leaves_no_doubt(text: str, code: str) -> None:
    """The server refused before it executed anything, and will think otherwise soon."""
    fault = failures.reply_failure("here", reply_error(text), COUNT)
    assert fault.transient
    assert not fault.ambiguous
    assert not fault.from_script
    assert type(fault.error) is BackendUnavailable
    assert fault.error.code == code
    assert "here" in str(fault.error)


@pytest.mark.parametrize("word", ["READONLY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "UNBLOCKED"])
def test_a_server_that_may_have_been_demoted_is_left(word: str) -> None:
    """With its other connections: who looks for the primary looks again before the next attempt.

    A primary that is cut off, or about to be demoted, says NOREPLICAS where it has been told to want some.
    """
    assert failures.reply_failure("here", reply_error(f"{word} not so"), COUNT).reconnect
    assert not failures.reply_failure("here", reply_error("LOADING not so"), COUNT).reconnect


@pytest.mark.parametrize(("text", "code"), LASTS)
def test_a_state_that_lasts_is_told_at_once(text: str, code: str) -> None:
    """No repeating within ten seconds gives a user permissions or a server memory."""
    fault = failures.reply_failure("here", reply_error(text), COUNT)
    assert not fault.transient
    assert not fault.ambiguous
    assert not fault.from_script
    assert type(fault.error) is BackendUnavailable
    assert fault.error.code == code


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("CONTRACT too many items", ContractError, "too many items"),
        (f"CONTRACT too many items script: {'0' * 40}, on @user_script:12.", ContractError, "too many items"),
        ("INVARIANT cpu is not a number", InvariantError, "cpu is not a number"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", InvariantError, "probe: WRONGTYPE"),
        ("ERR hash value is not an integer", InvariantError, "hash value is not an integer"),
        ("ERR user_script:3: attempt to index a nil value", ContractError, "probe.lua:3"),
        ("ERR unknown command 'EVALSHA'", ContractError, "unknown command"),
    ],
)
def test_what_the_script_itself_says_ends_the_doubt(text: str, kind: type[AllocatorError], message: str) -> None:
    """A script reads before it writes, so its refusal says what became of the earlier attempts, too."""
    fault = failures.reply_failure("here", reply_error(text), COUNT)
    assert fault.from_script
    assert not fault.transient
    assert fault.ambiguous is not text.startswith(("CONTRACT", "INVARIANT"))  # what was stopped midway is undone
    assert type(final_error([new_item()], fault, ambiguous=True)) is kind
    assert message in str(fault.error)


@pytest.mark.parametrize(
    "error",
    [
        raised.ConnectionError("Connection closed by server."),
        raised.TimeoutError("Timeout reading from socket"),
        raised.InvalidResponse("Protocol Error: b'x'"),
        TimeoutError(),
        OSError(9, "Bad file descriptor"),
    ],
)
def test_no_reply_leaves_a_doubt(error: Exception) -> None:
    """Whether the server executed it cannot be known; a repeat must say that it is one."""
    fault = failures.reply_failure("here", error, COUNT)
    assert fault.ambiguous
    assert fault.transient
    assert fault.reconnect


@pytest.mark.parametrize(
    ("error", "passes", "code"),
    [
        (raised.ConnectionError("Error 111 connecting to here"), True, "unavailable"),
        (raised.TimeoutError("Timeout connecting to server"), True, "unavailable"),
        (raised.BusyLoadingError("Redis is loading the dataset in memory"), True, "loading"),
        (raised.AuthenticationError("invalid username-password pair"), False, "auth"),
        (raised.ResponseError("DB index is out of range"), False, "unavailable"),
        (BackendUnavailable("no", code="eviction"), False, "eviction"),
    ],
)
def test_a_failure_before_sending_leaves_no_doubt(error: Exception, passes: bool, code: str) -> None:
    """Nothing was sent, so nothing was executed, whatever the error's class."""
    fault = failures.connection_failure("here", error)
    assert not fault.ambiguous
    assert fault.transient is passes
    assert fault.error.code == code


def test_a_refusal_after_a_lost_reply_leaves_the_doubt() -> None:
    """That the second attempt was refused says nothing about the first one."""
    item = new_item()
    fault = failures.reply_failure("here", reply_error("READONLY You can't write against a read only replica."), COUNT)
    error = final_error([item], fault, ambiguous=True)
    assert isinstance(error, OutcomeUnknown)
    assert error.id == item.id
    assert error.code == "readonly"
    assert item.id in str(error)


def test_each_caller_is_told_by_an_error_of_its_own() -> None:
    """An exception that two tasks raise would carry both their tracebacks."""
    fault = failures.reply_failure("here", reply_error("OOM command not allowed"), COUNT)
    first, second = [final_error([new_item()], fault, ambiguous=False) for _ in range(2)]
    assert first is not second
    assert str(first) == str(second)
    assert first.code == second.code == "oom"


@pytest.mark.parametrize(("word", "way"), [("MOVED", RedirectKind.MOVED), ("ASK", RedirectKind.ASK)])
def test_a_redirection_names_the_node(word: str, way: RedirectKind) -> None:
    """The next attempt goes there at once."""
    redirect = failures.reply_failure("here", reply_error(f"{word} 3999 10.0.0.7:6381"), COUNT).redirect
    assert redirect is not None
    assert (redirect.kind, redirect.slot, redirect.host, redirect.port) == (way, 3999, "10.0.0.7", 6381)


def test_the_demoted_primary_of_a_sentinel_is_a_refusal() -> None:
    """A Sentinel-managed connection turns READONLY into a lost connection, which would be ambiguous without need."""
    try:
        try:
            raise raised.ReadOnlyError("You can't write against a read only replica.")  # noqa: TRY301
        except raised.ReadOnlyError:
            raise raised.ConnectionError("The previous master is now a slave")  # noqa: B904 - as redis-py does it
    except raised.ConnectionError as error:
        fault = failures.reply_failure("here", error, COUNT)
    assert not fault.ambiguous
    assert fault.error.code == "readonly"


def test_an_unknown_script_is_no_fault() -> None:
    """It is answered with EVAL within the same attempt."""
    assert failures.is_unknown_script(reply_error("NOSCRIPT No matching script. Please use EVAL."))
