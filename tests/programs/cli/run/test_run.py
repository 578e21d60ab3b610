"""`run` as processes, on a real server: the command's codes, signals and environment, and what is left of either."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from allocator import Allocator
from allocator._engine.servers import embedded
from tests.programs.cli.run.conftest import RUN, TIMEOUT_S, WAITS, Start, ended, line, probe, told
from tests.support.waiting import is_gone, process_state, wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ends a command whose run is killed")


_TIMER_TOLD = """
import os
from allocator.apps.cli import context, main
class Timer:
    def __init__(self, *what): pass
    def start(self): os.write(2, b"started\\n")
    def cancel(self): os.write(2, b"stopped\\n")
context.threading.Timer = Timer
main.main()
"""
"""The program, with a timer of the silence that says what is done to it."""


# -- exit codes and environment ----------------------------------------------------------------------------------------


def test_the_command_finds_its_allocation_in_its_environment_and_run_exits_with_its_code(
    start: Start, pool: Allocator, name: str
) -> None:
    """While it runs the allocation is live; afterwards it is released."""
    told = 'echo "$ALLOCATOR_ID $ALLOCATOR_FENCE $ALLOCATOR_POOL $ALLOCATOR_RESOURCES"'
    process = start(
        *("cpu=1500m", "memory=1Gi", "--id", "job-1", "--owner", "cron", "--meta", "k=v", "--ttl", "9s"),
        *("--", "sh", "-c", f"{told}; read x; exit 7"),
    )
    words = line(process).split()
    held = pool.get("job-1")
    assert held is not None
    assert words == ["job-1", str(held.fence), name, "cpu=1500m,memory=1Gi"]
    assert (held.owner, held.metadata, held.ttl_ms) == ("cron", {"k": "v"}, 9000)
    assert ended(process) == (7, "", "")
    assert pool.get("job-1") is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("cpu=1 -- true", 0, ""),
        ("cpu=1 -- sh -c 'exit 125'", 125, ""),
        ("cpu=1 -- sh -c 'kill -TERM $$'", 143, ""),
        ("cpu=1 -- sh -c 'kill -KILL $$'", 137, ""),
        ("cpu=1 -- no-such-command", 127, "error: no-such-command: command not found\n"),
        ("cpu=1 -- /etc/passwd", 126, "error: /etc/passwd: permission denied\n"),
        ("cpu=1 -- /", 126, "error: /: permission denied\n"),
        ("cpu=5 -- true", 124, "error: never fits: "),
        ("cpu=1", 125, "error: there is no command: write it after --"),
        ("cpu=1 --", 125, "error: there is no command: write it after --"),
        ("-- true", 125, "error: Missing argument"),
        ("cpu=1 --ttl none -- true", 125, "error: Invalid value for '--ttl'"),
        ("cpu=1 --pin -- true", 125, "error: No such option"),
        ("cpu=one -- true", 125, "error: "),
        ("cpu=1 cpu=2 -- true", 125, "error: 'cpu' is given twice"),
        ("cpu=1 --pool none -- true", 125, "error: there is no pool 'none'"),
        ("cpu=1 --timeout 0.3 --url unix:///nowhere/redis.sock -- true", 123, "error: "),
    ],
)
def test_the_exit_code_says_whose_failure_it_is(start: Start, words: str, code: int, said: str) -> None:
    """The command's own, or one that few commands have; the reason is on stderr."""
    done, out, err = ended(start(*shlex.split(words)))
    assert (done, out) == (code, ""), err
    assert err.startswith(said)
    assert bool(err) == bool(said), err
    assert "Traceback" not in err


def test_run_says_that_it_waits_for_the_server_only_until_the_grant(start: Start) -> None:
    """The timer of the silence is stopped before the command runs, and not set again."""
    program = (sys.executable, "-c", _TIMER_TOLD, "run")
    code, out, err = ended(start("cpu=1", "--", "sh", "-c", "echo ran >&2", program=program))
    assert (code, out, err.split()) == (0, "", ["started", "stopped", "ran"])


def test_run_that_says_why_it_waits_does_not_say_that_it_waits_for_the_server(start: Start, pool: Allocator) -> None:
    """The note about a denial ends the silence as the grant does."""
    full = pool.allocate({"cpu": 4}, ttl=60)
    program = (sys.executable, "-c", _TIMER_TOLD, "run")
    process = start("cpu=1", "--wait", "1m", "--", "true", program=program)
    assert [told(process) for _ in range(2)] == ["started\n", "stopped\n"]
    assert told(process).startswith("waiting: capacity exceeded: ")
    pool.release(full)
    assert ended(process) == (0, "", "")


def test_scripts_are_executed_as_by_a_shell(start: Start, tmp_path: Path) -> None:
    """One without a first line `#!` by /bin/sh; one whose interpreter is missing is not found, as nothing runs."""
    for name, text in (("plain", 'echo "ran $1"; exit 3\n'), ("orphan", "#!/nowhere/interpreter\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    assert ended(start("cpu=1", "--", str(tmp_path / "plain"), "a b")) == (3, "ran a b\n", "")
    code, out, err = ended(start("cpu=1", "--", str(tmp_path / "orphan")))
    assert (code, out, err) == (127, "", f"error: {tmp_path}/orphan: No such file or directory\n")


def test_the_options_of_the_command_are_its_own(start: Start) -> None:
    """Also `--` and those that `run` has."""
    words = ["--ttl", "1d", "--", "--help", "-q", "a b"]
    assert ended(start("cpu=1", "--", "printf", "%s|", *words))[:2] == (0, "".join(f"{one}|" for one in words))


def test_a_nested_run_takes_the_pool_of_the_outer_one(start: Start, environment: dict[str, str], name: str) -> None:
    """And the server, where the command line named it."""
    outside = {key: text for key, text in environment.items() if not key.startswith("ALLOCATOR_")}
    url, inner = environment["ALLOCATOR_REDIS_URL"], shlex.join([*RUN, "cpu=2", "--", "sh", "-c"])
    told = f"{inner} 'echo $ALLOCATOR_POOL $ALLOCATOR_RESOURCES'"
    done = ended(start("cpu=1", "--url", url, "--pool", name, "--", "sh", "-c", told, env=outside))
    assert done == (0, f"{name} cpu=2\n", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_closed_for_the_command_too(start: Start, closed: str, tmp_path: Path) -> None:
    """Nothing of `run` takes their place in it."""
    seen = tmp_path / "seen"
    look = f"for n in 0 1 2; do [ -e /dev/fd/$n ] || echo $n; done >{seen}.part; mv {seen}.part {seen}"
    script = f"exec {shlex.join([*RUN, 'cpu=1', '--', 'sh', '-c', look])} {closed}"
    assert ended(start("-c", script, program=("sh",)))[0] == 0
    expected = {"<&-": "0", ">&-": "", "2>&-": "2", "<&- >&- 2>&-": "0 2"}[closed]  # 1 is what `look` writes to
    assert seen.read_text().split() == expected.split()


# -- waiting, and one id -----------------------------------------------------------------------------------------------


def test_a_second_run_of_an_id_is_refused_unless_shared(start: Start, pool: Allocator) -> None:
    """The first one's lease stays as it is, but for its own renewals."""
    first = start("cpu=1", "--id", "nightly", "--", "sh", "-c", f"echo $ALLOCATOR_FENCE; {WAITS}")
    fence = line(first)
    before = pool.get("nightly")
    code, out, err = ended(start("cpu=1", "--id", "nightly", "--", "echo", "ran"))
    assert (code, out) == (122, "")
    assert "allocation 'nightly' is live" in err
    assert "hint: --wait waits for its end, --shared shares it" in err
    assert "; owner 'anonymous' asked for cpu=1, and run does not share it\n" in err
    assert replace(pool.get("nightly"), deadline_ms=before.deadline_ms) == before
    shared = start("cpu=1", "--id", "nightly", "--shared", "--", "sh", "-c", "echo $ALLOCATOR_FENCE")
    assert line(shared) == fence
    assert ended(shared)[0] == 0
    assert ended(first)[0] in (41, 121), "what is shared is released by the first that ends"


def test_wait_ends_with_a_grant_or_with_the_time(start: Start, pool: Allocator) -> None:
    """A full pool, for which it is in line, and an id that is in use."""
    held = pool.allocate({"cpu": 4}, ttl=60, id="nightly")
    code, out, err = ended(start("cpu=1", "--wait", "1s", "--", "echo", "ran"))
    assert (code, out) == (124, "")
    assert "error: capacity exceeded" in err
    waiting = [start("cpu=1", "--wait", "1h", *more, "--", "echo", "ran") for more in ((), ("--id", "nightly"))]
    for process in waiting:
        assert told(process).startswith("waiting: ")
    (first,) = wait_until(pool.queue.list, timeout_s=TIMEOUT_S)
    assert first.resources == {"cpu": 1000}
    pool.release(held)
    assert [ended(process)[:2] for process in waiting] == [(0, "ran\n")] * 2


def test_run_takes_its_place_by_priority_and_can_be_taken_out(start: Start, pool: Allocator) -> None:
    """Taken out, it ends as one that was not granted."""
    held = pool.allocate({"cpu": 4}, ttl=60)
    orders = {"low": "-5", "high": "5"}
    runs = {
        name: start("cpu=4", "--wait", "1h", "--id", name, "--priority", priority, "--", "echo", name)
        for name, priority in orders.items()
    }
    wait_until(lambda: [one.id for one in pool.queue.list()] == ["high", "low"], timeout_s=TIMEOUT_S)
    assert pool.queue.withdraw("low")
    code, out, err = ended(runs["low"])
    assert (code, out) == (124, "")
    assert "error: the request for 'low' was taken out of the line" in err
    pool.release(held)
    assert ended(runs["high"])[:2] == (0, "high\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_a_run_that_waits(start: Start, pool: Allocator, number: signal.Signals) -> None:
    """With the code of a process that the signal ended; the command never runs."""
    held = pool.allocate({"cpu": 4}, ttl=60)
    waiting = start("cpu=1", "--wait", "1h", "--", "echo", "ran")
    wait_until(pool.queue.list, timeout_s=TIMEOUT_S, message="a place in line")
    waiting.send_signal(number)
    code, out, err = ended(waiting)
    assert pool.queue.list() == [], "nothing is left in line"
    assert (code, out) == (128 + number, "")
    assert re.fullmatch("waiting: capacity exceeded: .*\n", err)
    pool.release(held)


# -- signals -----------------------------------------------------------------------------------------------------------


def test_signals_are_passed_on_once(start: Start) -> None:
    """The command decides what they do; `run` goes on until it ends."""
    names = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"]
    process = start("cpu=1", "--", *probe(*names))
    assert line(process).startswith("ready")
    for one in names:
        process.send_signal(signal.Signals[f"SIG{one}"])
        assert line(process) == f"caught {one}"
    assert ended(process) == (41, "", "")


def test_signals_that_are_ignored_stay_so(start: Start) -> None:
    """As under `nohup`: SIGHUP ends neither."""
    command = shlex.join([*RUN, "cpu=1", "--", "sh", "-c", f"kill -HUP $$; echo ready; {WAITS}"])
    process = start("-c", f"trap '' HUP; exec {command}", program=("sh",))
    assert line(process) == "ready"
    process.send_signal(signal.SIGHUP)
    assert ended(process) == (41, "", "")


def test_a_command_without_a_terminal_is_stopped_and_continued_and_keeps_its_lease(
    start: Start, pool: Allocator
) -> None:
    """`run` itself is not stopped: it renews."""
    process = start("cpu=1", "--ttl", "3s", "--id", "job", "--", "sh", "-c", f"echo $$; {WAITS}")
    pid = int(line(process))
    process.send_signal(signal.SIGTSTP)
    wait_until(lambda: process_state(pid) == "T", message="stopped")
    stopped = pool.get("job")
    assert stopped is not None
    renewed = lambda: (held := pool.get("job")) is not None and held.deadline_ms != stopped.deadline_ms  # noqa: E731
    wait_until(renewed, message="a renewal")
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: process_state(pid) != "T", message="continued")
    assert ended(process) == (41, "", "")


# -- losses and deaths -------------------------------------------------------------------------------------------------


def test_a_command_whose_lease_is_lost_gets_term(start: Start, pool: Allocator) -> None:
    """Its own exit code does not count, as it did not have its resources to the end."""
    process = start(
        *("cpu=1", "--ttl", "3s", "--id", "job", "--kill-after", "1h"),
        *("--", *probe("TERM", "exit")),
    )
    assert line(process).startswith("ready")
    pool.release("job")
    assert line(process) == "caught TERM"
    code, out, err = ended(process)
    assert (code, out) == (121, "")
    assert err.endswith("error: the lease of 'job' is lost (gone): the command gets TERM\n")


def test_a_command_gets_term_before_the_hard_end_of_its_allocation(start: Start, pool: Allocator) -> None:
    """The message says that nothing has failed; the exit code is that of a loss."""
    command = ("sh", "-c", f"trap 'echo caught; exit 3' TERM; echo ready; {WAITS}")
    process = start("cpu=1", "--ttl", "1h", "--max-lifetime", "2s", "--id", "job", "--", *command)
    assert line(process) == "ready"
    live = pool.get("job")
    assert live is not None
    assert live.ends_ms == live.deadline_ms == live.granted_ms + 2000
    assert line(process) == "caught"
    code, _, err = ended(process)
    assert code == 121
    assert "error: allocation 'job' is over: its hard end (max_lifetime) is " in err
    assert err.endswith("Z: the command gets TERM\n")


@pytest.mark.parametrize("what", ["ignores", "stopped", "descendant"])
def test_what_does_not_end_by_term_is_killed(start: Start, pool: Allocator, what: str) -> None:
    """After --kill-after: what ignores TERM or is stopped, and its descendants in the same way."""
    stubborn = "trap '' TERM; echo $$; read x"
    script = {
        "ignores": f"{stubborn}; exit 1",
        "stopped": f"trap 'kill -STOP $$' TERM; echo $$; {WAITS}",
        "descendant": f"sh -c {shlex.quote(stubborn)} <&0 & exec sleep 1000",
    }[what]
    process = start("cpu=1", "--ttl", "3s", "--id", "job", "--kill-after", "0.2s", "--", "sh", "-c", script)
    pid = int(line(process))
    pool.release("job")
    assert process.wait(TIMEOUT_S) == 121
    wait_until(lambda: is_gone(pid), message="killed")


def test_a_release_by_the_command_itself_is_a_loss_too(start: Start) -> None:
    """It ended after its lease."""
    give_back = shlex.join([sys.executable, "-m", "allocator", "release", "-q"])
    code, _, err = ended(start("cpu=1", "--", "sh", "-c", f"{give_back} $ALLOCATOR_ID"))
    assert (code, "was lost before its release" in err) == (121, True)


def test_a_killed_command_is_the_end_and_its_allocation_is_released(start: Start, pool: Allocator) -> None:
    """128 + 9, at once."""
    process = start("cpu=1", "--ttl", "1h", "--", "sh", "-c", f"echo $$; {WAITS}")
    os.kill(int(line(process)), signal.SIGKILL)
    assert process.wait(TIMEOUT_S) == 137
    assert pool.pools.usage().allocations == 0


@linux
def test_a_killed_run_takes_its_command_along_and_its_lease_lapses(start: Start, pool: Allocator) -> None:
    """The command ignores TERM, and is stopped."""
    process = start("cpu=4", "--ttl", "3s", "--", "sh", "-c", f"trap '' TERM; echo $$; kill -STOP $$; {WAITS}")
    pid = int(line(process))
    wait_until(lambda: process_state(pid) == "T")
    process.kill()
    wait_until(lambda: is_gone(pid), message="the command is gone")
    pool.release(wait_until(lambda: pool.try_allocate({"cpu": 4}, ttl=60)))


def test_a_run_that_is_killed_while_it_waits_leaves_no_process(start: Start, pool: Allocator) -> None:
    """The forked process that would become the command ends: it was the last to have stderr open."""
    held = pool.allocate({"cpu": 4}, ttl=60)
    process = start("cpu=1", "--wait", "1h", "--id", "next", "--", "echo", "ran")
    wait_until(pool.queue.list, timeout_s=TIMEOUT_S, message="a place in line")
    process.kill()
    code, out, err = ended(process)
    assert (code, out) == (-signal.SIGKILL, "")
    assert err.startswith("waiting: capacity exceeded: ")
    assert pool.queue.withdraw("next"), "it would leave the line after 15 seconds"
    pool.release(held)


def test_run_on_the_embedded_server(start: Start, environment: dict[str, str], tmp_path: Path) -> None:
    """It is started by `run`, outlives it, and no signal is blocked in it."""
    own = {
        **{name: text for name, text in environment.items() if name != "ALLOCATOR_POOL"},
        "ALLOCATOR_REDIS_URL": "embedded://",
        embedded.FOLDER_VARIABLE: str(tmp_path / "state"),
    }
    program = (sys.executable, "-m", "allocator")
    try:
        assert ended(start("cpu=1", "--", "true", env=own))[0] == 125, "there is no pool yet"
        assert ended(start("pool", "create", "cpu=2", program=program, env=own))[0] == 0
        blocked = "grep -h SigBlk /proc/self/status; :"
        code, out, _ = ended(start("cpu=2", "--", "sh", "-c", f"echo ran; {blocked}", env=own))
        assert (code, out.split("\n")[0]) == (0, "ran")
        assert not out.split("\n")[1] or int(out.split()[-1], 16) == 0, "none is blocked in the command"
        masks = [_blocked(pid) for pid in _running(str(tmp_path / "state"))] if sys.platform == "linux" else [0]
        assert masks, "the server runs"
        assert not any(mask & 1 << (signal.SIGTERM - 1) for mask in masks), "TERM ends the server"
    finally:
        ended(start("embedded", "stop", program=program, env=own))


def _running(part: str) -> list[int]:
    """The processes whose command line has this part; not every Linux has `pgrep`."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if part.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def _blocked(pid: int) -> int:
    """The mask of the signals that a process blocks."""
    mask = re.search(r"SigBlk:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert mask is not None
    return int(mask[1], 16)
