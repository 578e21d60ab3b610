"""`run` whose room is taken by a request of higher priority, on a real server."""

from __future__ import annotations

import shlex

import pytest

from allocator import Allocator, PreemptionPolicy
from tests.programs.cli.run.conftest import TIMEOUT_S, WAITS, Start, ended, line, probe
from tests.support.waiters import begun
from tests.support.waiting import is_gone, wait_until

RIVAL = {"priority": 1, "preempt": True, "id": "rival"}


def permit(pool: Allocator, grace: float) -> None:
    """Permit preemption in the pool."""
    pool.pools.update(pool._defaults.pool.name, preemption=PreemptionPolicy(True, grace=grace))


def test_the_command_gets_term_at_once_and_can_finish_within_the_grace(start: Start, pool: Allocator) -> None:
    """It says why; the room is free when the command has ended, long before the grace is over."""
    permit(pool, 3600)
    command = ("sh", "-c", f"trap 'echo caught; exit 3' TERM; echo ready; {WAITS}")
    process = start("cpu=4", "--ttl", "3s", "--id", "job", "--", *command)
    assert line(process) == "ready"
    with begun(pool, {"cpu": 1}, **RIVAL) as waiting:
        assert line(process) == "caught"
        code, _, err = ended(process)
        assert waiting.result(TIMEOUT_S).id == "rival"
    assert code == 121
    assert "error: 'job' is preempted by 'rival', and ends at " in err
    assert err.endswith("Z: the command gets TERM\n")
    pool.release("rival")


def test_a_command_that_goes_on_is_killed_after_the_loss(start: Start, pool: Allocator) -> None:
    """A tenth of the grace after the grace less a tenth."""
    permit(pool, 3)
    process = start("cpu=4", "--ttl", "3s", "--id", "job", "--", "sh", "-c", "trap '' TERM; echo $$; read x; read x")
    pid = int(line(process))
    with begun(pool, {"cpu": 1}, **RIVAL) as waiting:
        assert process.wait(TIMEOUT_S) == 121
        assert waiting.result(TIMEOUT_S).id == "rival"
    wait_until(lambda: is_gone(pid), message="killed")
    assert process.stderr is not None
    said = process.stderr.read()
    assert said.index("is preempted by 'rival'") < said.index("the lease of 'job' is lost (preempted)")
    pool.release("rival")


def test_what_the_command_leaves_running_is_ended_too(start: Start, pool: Allocator) -> None:
    """Its room is somebody else's."""
    permit(pool, 3600)
    child = shlex.join(["sh", "-c", "trap '' TERM; echo $$; read x; read x"])
    process = start(
        "cpu=4", "--ttl", "3s", "--id", "job", "--kill-after", "0.2s",
        "--", "sh", "-c", f"trap 'exit 0' TERM; {child} <&0 & while :; do read x || wait; done",
    )  # fmt: skip
    pid = int(line(process))
    with begun(pool, {"cpu": 1}, **RIVAL) as waiting:
        assert process.wait(TIMEOUT_S) == 121
        assert waiting.result(TIMEOUT_S).id == "rival"
    wait_until(lambda: is_gone(pid), message="killed")
    pool.release("rival")


def test_run_may_preempt_itself(start: Start, pool: Allocator) -> None:
    """With a place in line."""
    permit(pool, 0)
    pool.allocate({"cpu": 4}, ttl=60, id="low")
    process = start("cpu=2", "--id", "job", "--wait", "1h", "--priority", "1", "--preempt", "--", *probe("TERM"))
    assert line(process).startswith("ready")
    assert pool.get("low") is None
    process.communicate("\n", timeout=TIMEOUT_S)
    assert process.returncode == 40


@pytest.mark.parametrize("words", [(), ("--wait", "0s")])
def test_preempt_without_wait_is_wrong_usage(start: Start, pool: Allocator, words: tuple[str, ...]) -> None:
    """Nothing is started."""
    code, _, err = ended(start("cpu=1", "--preempt", *words, "--", "echo", "no"))
    assert (code, "--preempt is for a request that waits" in err) == (125, True)
