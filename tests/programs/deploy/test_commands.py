"""Every command line of `deploy/` is one that the program takes."""

from __future__ import annotations

import socket
from typing import Final

import pytest

from tests.programs.deploy.documents import commands, parse

COMMANDS: Final = commands()


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[where for where, _ in COMMANDS])
def test_a_command_line_is_read_by_the_program_itself(where: str, words: list[str]) -> None:
    """Each option exists and takes its value; nothing is run."""
    parse(words)


def test_each_job_is_there_wherever_it_can_run() -> None:
    """Cron job, exporter and dashboard in all three ways; the image serves metrics by itself."""
    found = {(where.partition(" ")[0], parse(words)[0].name) for where, words in COMMANDS}
    jobs = ("cleanup", "metrics", "dashboard")
    assert found == {
        *(("kubernetes", job) for job in jobs),
        *(("systemd", job) for job in jobs),
        *(("compose", job) for job in (*jobs, "create")),
        ("container", "metrics"),
    }


def test_nothing_may_change_a_pool_but_who_has_to() -> None:
    """The dashboards only show, and the cron jobs leave alone what is pinned."""
    for _, words in COMMANDS:
        command, options = parse(words)
        assert not options.get("allow_changes")
        assert options.get("older_than") is None, command.name


def test_in_containers_they_listen_on_every_address_and_elsewhere_on_loopback() -> None:
    """A container's loopback is nobody else's; a machine's address is everybody's."""
    listens = [(where, parse(words)[1]) for where, words in COMMANDS if "--port" in " ".join(words)]
    for where, options in listens:
        wanted = "127.0.0.1" if where.startswith("systemd") else "0.0.0.0"
        assert options["address"] == wanted, where
        socket.inet_aton(options["address"])
