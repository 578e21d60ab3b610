"""Scans and commands of a server that is away: whatever the topology, callers get an error of the library."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from allocator._engine.execution import retry
from allocator._engine.operations import pools
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol.flows import Command, Flow
from allocator.errors import BackendUnavailable
from tests.support.drivers import POOL, Open, error_of
from tests.support.pretend import PretendSentinel

DEFAULTS = Defaults("lab", "allocator", None)

AWAY = (
    "redis://127.0.0.1:1",
    "unix:///nonexistent/server.sock",
    "redis+cluster://127.0.0.1:1,127.0.0.1:2",
    "redis+sentinel://127.0.0.1:1,127.0.0.1:2/ledger",
)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The failures after which a driver asked how long to wait; it waits no time."""
    counts: list[int] = []

    def backoff(count: int) -> float:
        counts.append(count)
        return 0.0

    monkeypatch.setattr(retry, "backoff", backoff)
    return counts


def time_of_the_server() -> Flow[Any]:
    """The reply to TIME."""
    return (yield Command(POOL, ("TIME",)))


@pytest.mark.parametrize("url", AWAY)
def test_a_scan_of_a_server_that_is_away_is_retried_and_then_an_error(url: str, drive: Open, pauses: list[int]) -> None:
    """`pools.list` included the routing in no attempt: an internal exception left it, at once."""
    error = error_of(lambda: drive(url, deadline_s=0.1).run(pools.names(DEFAULTS)))
    assert type(error) is BackendUnavailable
    assert pauses[:3] == [1, 2, 3]


@pytest.mark.parametrize("url", AWAY)
def test_a_command_to_a_server_that_is_away_is_retried_and_then_an_error(
    url: str, drive: Open, pauses: list[int]
) -> None:
    """Finding the server is part of the attempt."""
    error = error_of(lambda: drive(url, deadline_s=0.1).run(time_of_the_server()))
    assert type(error) is BackendUnavailable
    assert pauses[:3] == [1, 2, 3]


@pytest.fixture
def babbler() -> Iterator[int]:
    """The port of a server that answers every command with a number in a list."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65_536):
                    replies = data.count(b"*") * b"*1\r\n:7\r\n"
                    connection.sendall(b"%1\r\n+proto\r\n:3\r\n" if b"HELLO" in data else replies)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_slot_map_that_no_cluster_sends_is_an_error(babbler: int, drive: Open) -> None:
    """Not the TypeError of its reader."""
    error = error_of(lambda: drive(f"redis+cluster://127.0.0.1:{babbler}", deadline_s=0.1).run(pools.names(DEFAULTS)))
    assert type(error) is BackendUnavailable


def test_a_reply_that_no_sentinel_gives_is_an_error(drive: Open) -> None:
    """Not an exception in the thread, or task, that asks, and no reply for ever."""
    with PretendSentinel(("host", "no port")) as sentinel:  # type: ignore[arg-type]
        side = drive(f"redis+sentinel://{sentinel.place}/ledger", deadline_s=0.1)
        error = error_of(lambda: side.run(pools.names(DEFAULTS)))
    assert type(error) is BackendUnavailable
