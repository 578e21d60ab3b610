"""redis-cli, embedded, completion."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from allocator._engine.protocol.keys import PoolKeys
from allocator.apps.cli import servers
from tests.programs.cli.conftest import CommandLine


@pytest.fixture(autouse=True)
def _nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """These URLs lead nowhere; the example is looked for in a moment."""
    monkeypatch.setattr(servers, "LOOK_TIMEOUT_S", 0.05)


@pytest.mark.parametrize(
    ("url", "program"),
    [
        ("redis://h:1/2", "redis-cli -u redis://h:1/2"),
        ("redis://h", "redis-cli -u redis://h"),
        ("redis://h?db=3", "redis-cli -u redis://h/3"),
        ("redis://:pw@h:1", "redis-cli -u redis://h:1"),
        ("redis://me:pw@h:1", "redis-cli -u redis://h:1 --user me"),
        ("redis://:pw@[::1]:7000/2", "redis-cli -h ::1 -p 7000 -n 2"),
        ("rediss://[fe80::1]", "redis-cli -h fe80::1 -p 6379 --tls"),
        ("redis+cluster://[::1]:1,h:2", "redis-cli -c -h ::1 -p 1"),
        ("rediss://h:1?ssl_ca_certs=/ca.pem", "redis-cli -u rediss://h:1 --cacert /ca.pem"),
        ("unix:///run/r.sock", "redis-cli -s /run/r.sock"),
        ("unix://:pw@/run/r.sock?db=1", "redis-cli -s /run/r.sock -n 1"),
        ("redis+cluster://:pw@h:1,h:2", "redis-cli -c -u redis://h:1"),
    ],
)
def test_each_url_becomes_the_options_of_redis_cli(cli: CommandLine, url: str, program: str) -> None:
    """So that the lines can be pasted; the password goes into the environment."""
    lines = cli("redis-cli", "job-1", "--url", url).stdout.splitlines()
    if "pw" in url:
        assert lines.pop(0) == "export REDISCLI_AUTH=PASSWORD"
    assert lines[:4] == [
        "# the pool: capacity, allocated, generation",
        f"{program} HGETALL 'allocator:{{default}}:pool'",
        "# one allocation",
        f"{program} HGETALL 'allocator:{{default}}:allocation:job-1'",
    ]
    assert "pw" not in "".join(lines)


def test_the_keys_are_those_of_the_pool(cli: CommandLine) -> None:
    """Under its prefix."""
    words = ("redis-cli", "a/b:c", "--url", "redis://h", "--pool", "gpu", "--prefix", "lab", "-q")
    commands = [shlex.split(line) for line in cli.out(*words).splitlines()]
    keys = PoolKeys("gpu", "lab")
    assert {command[4] for command in commands if len(command) > 4} == {
        keys["pool"],
        keys["deadlines"],
        keys["pinned"],
        keys["events"],
        keys.record("a/b:c"),
        f"{keys.base}usage_minutes",
    }


def test_an_id_that_cannot_be_is_refused(cli: CommandLine) -> None:
    """The commands would show a record that no allocation has."""
    assert "error: id: 'x y' is not allowed" in cli.error("redis-cli", "x y", code=2)


def test_without_an_id_a_live_allocation_is_the_example(pool: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that shows something is worth more than a placeholder."""
    pool("allocate", "cpu=1", "--pin", "--id", "job-1")
    monkeypatch.setattr(servers, "_program", lambda _url: (False, ["redis-cli"]))
    assert "HGETALL 'allocator:{default}:allocation:job-1'" in pool.out("redis-cli")


def test_a_server_that_does_not_answer_does_not_matter(cli: CommandLine, tmp_path: Path) -> None:
    """These commands are wanted most when something is wrong."""
    result = cli("redis-cli", "--url", f"unix://{tmp_path}/none.sock")
    assert "HGETALL 'allocator:{default}:allocation:ID'" in result.stdout
    assert result.stderr.startswith("note: no example was found: ")


def test_an_in_process_store_cannot_be_seen(cli: CommandLine) -> None:
    """Nor can it be pretended."""
    assert cli.error("redis-cli", code=2).startswith("error: memory:// lives inside one process")


@pytest.fixture
def own_server(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """An embedded server in a folder of the test's."""
    monkeypatch.setenv("ALLOCATOR_EMBEDDED_DIR", str(tmp_path / "embedded"))
    return cli


def test_the_embedded_server_is_started_shown_and_stopped(own_server: CommandLine) -> None:
    """Its status is an answer: 3 is "no"; stopping what is not there is fine."""
    status: Any = own_server.json("embedded", "status", code=3)
    assert (status["kind"], status["running"], status["pid"]) == ("EmbeddedServer", False, None)
    assert own_server.out("embedded", "stop") == "embedded server was not running\n"
    try:
        own_server("pool", "create", "cpu=1", "--url", "embedded://")
        shown = own_server.out("embedded", "status")
        assert shown.startswith("Status:  running\nEngine:  ")
        status = own_server.json("embedded", "status")
        assert status["running"]
        assert isinstance(status["pid"], int)
        printed = own_server.out("redis-cli", "job-1", "--url", "embedded://")
        assert f"redis-cli -s {status['socket']} HGETALL" in printed
    finally:
        assert own_server.out("embedded", "stop") == "embedded server stopped\n"
    assert own_server.json("embedded", "status", code=3)["running"] is False


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_program(cli: CommandLine, shell: str) -> None:
    """Each shell's way to ask it."""
    script = cli.out("completion", shell)
    assert f"_RESOURCE_ALLOCATOR_COMPLETE={shell}_complete" in script
    assert cli.error("completion", "tcsh", code=2).startswith("error: ")


def completed(words: str, cli: CommandLine) -> list[str]:
    """What completion offers for the last of the words."""
    from click.shell_completion import ShellComplete

    from allocator.apps.cli.context import App
    from allocator.apps.cli.root import root

    *before, begun = words.split(" ")
    return [item.value for item in ShellComplete(root, {"obj": App()}, "p", "V").get_completions(before, begun)]


def test_completion_offers_commands_pools_and_ids(pool: CommandLine) -> None:
    """From the server that the line names."""
    pool("pool", "create", "gpu", "cpu=1")
    pool("allocate", "cpu=1", "--pin", "--id", "lab-7", "--pool", "gpu")
    assert completed("al", pool) == ["allocate"]
    assert completed("usage --pool ", pool) == ["default", "gpu"]
    assert completed("--pool gpu describe l", pool) == ["lab-7"]
    assert completed("--pool gpu release l", pool) == ["lab-7"]
    assert completed("--pool none describe l", pool) == []


def test_completion_starts_no_server(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A press of TAB has no consequences."""
    monkeypatch.delenv("ALLOCATOR_REDIS_URL")
    assert completed("usage --pool ", cli) == []
