"""`doctor`: what a person reads, what a program reads, and the exit code."""

from __future__ import annotations

from typing import Final

import pytest
import redis

from tests.programs.cli.conftest import CommandLine
from tests.support.servers import Server

PASSWORD: Final = "canary"


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """A command line without a server."""
    monkeypatch.delenv("ALLOCATOR_REDIS_URL", raising=False)
    return CommandLine("")


def test_a_server_that_is_fit_has_exit_code_0(sound: CommandLine) -> None:
    """With nothing to change, nothing stands under the table."""
    with Server(options={"maxmemory": "100mb", "maxmemory-policy": "noeviction", "appendonly": "yes"}) as server:
        shown = sound.out("--url", server.url, "doctor")
        lines = shown.splitlines()
        assert lines[0].split() == ["VERDICT", "CHECK", "FOUND"]
        assert {line.split()[0] for line in lines[1:]} == {"OK"}
        assert sound.out("--url", server.url, "doctor", "-q") == ""
        assert "VERDICT" not in sound.out("--url", server.url, "doctor", "--no-headers")


def test_warnings_say_what_to_change_and_are_no_failure(sound: CommandLine) -> None:
    """Many run without a bound on memory, and know it."""
    with Server() as server:
        shown = sound.out("--url", server.url, "doctor")
        assert "To change:\n  memory: set maxmemory below what the machine has\n" in shown
        assert "persistence: CONFIG SET appendonly yes" in shown


def test_what_is_bad_has_exit_code_3(sound: CommandLine) -> None:
    """A server that may evict our records is examined, though no command allocates there."""
    with Server(options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        assert "CONFIG SET maxmemory-policy noeviction" in sound.out("--url", server.url, "doctor", code=3)
        assert sound.out("--url", server.url, "doctor", "-q", code=3) == "eviction\n"
        told = sound.json("--url", server.url, "doctor", code=3)
        assert (told["kind"], told["fit"]) == ("DoctorReport", False)
        assert [item["check"] for item in told["items"] if item["verdict"] == "bad"] == ["eviction"]
        assert "may evict" in sound.error("--url", server.url, "usage", code=5)


def test_what_cannot_be_reached_has_exit_code_5(sound: CommandLine) -> None:
    """Nothing can be said of it; and a password is not said either."""
    said = sound.error("--url", f"redis://user:{PASSWORD}@127.0.0.1:1", "--timeout", "1", "doctor", code=5)
    assert "cannot connect" in said
    assert PASSWORD not in said


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_a_password_is_never_printed(sound: CommandLine, form: str) -> None:
    """Not with a refusal either, in which the server is named."""
    with Server() as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "poor", "on", f">{PASSWORD}", "~*", "+@all", "-hdel", "-config")
        url = server.url.replace("unix://", f"unix://poor:{PASSWORD}@")
        result = sound("--url", url, "doctor", "-o", form, code=3)
        assert PASSWORD not in result.output
        assert "poor" in result.stdout or form == "name"


def test_the_store_in_this_process_says_what_does_not_apply(cli: CommandLine) -> None:
    """Instead of advice that nobody can follow."""
    shown = cli.out("doctor")
    assert "do not apply" in shown
    assert "To change" not in shown
    assert cli.json("pool", "list")["items"] == []
