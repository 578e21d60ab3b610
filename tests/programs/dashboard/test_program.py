"""`resource-allocator dashboard`: a process that serves, says what is wrong, and ends in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from allocator import Allocator
from tests.programs.cli.conftest import CommandLine, cli, clock
from tests.support.servers import Server
from tests.support.waiting import wait_until

__all__ = ["cli", "clock"]

PROGRAM: Final = (sys.executable, "-m", "allocator", "dashboard")


class Program:
    """A running dashboard: its process, port and token."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/(?:#token=(\S+))?", address)
        assert found, address
        self.port = int(found[1])
        self.token = found[2] or ""

    def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """Ask as a page does: status and document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(
                "GET", path, headers={"Authorization": f"Bearer {self.token if token is None else token}"}
            )
            answer = connection.getresponse()
            assert answer.getheader("server") is None
            return answer.status, json.loads(answer.read() or b"null")

    def stream(self) -> socket.socket:
        """A stream whose first state has come."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        words = f"GET /api/v1/stream?pool=lab HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n\r\n"
        connection.sendall(words.encode())
        seen = b""
        while b"event: usage" not in seen:
            part = connection.recv(65_536)
            assert part, seen
            seen += part
        return connection

    def end(self, by: signal.Signals) -> tuple[int, str]:
        """Send a signal; its exit code, and what it has said on stderr."""
        self.process.send_signal(by)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@contextlib.contextmanager
def serving(*words: str) -> Iterator[Program]:
    """The program, once it has printed its address."""
    words = (*PROGRAM, "--port", "0", *words)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, process.stderr and process.stderr.read()
            yield Program(process, address)
        finally:
            process.kill()


@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_and_a_signal_ends_its_streams_at_once(by: signal.Signals, code: int) -> None:
    """With the exit code of the exporter, without a traceback, and without the token anywhere but in its address."""
    with Server(tcp=True) as server, Allocator.from_url(server.tcp_url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        with serving("--url", server.tcp_url) as program:
            assert len(program.token) >= 43
            assert program.get("/api/v1")[1]["pools"] == ["lab"]
            assert program.get("/api/v1", "wrong")[0] == 401
            assert program.get("/healthz", "wrong") == (200, {"status": "ok"})
            streams = [program.stream() for _ in range(3)]
            ended, told = program.end(by)
            assert ended == code
            assert "Traceback" not in told
            assert program.token not in told
            for stream in streams:
                with stream:
                    while stream.recv(65_536):
                        pass


def test_it_outlives_its_server() -> None:
    """Started while it is away it says so, and shows the pools once it is there; again after a restart."""
    with Server(tcp=True) as server:
        server.kill()
        with serving("--url", server.tcp_url, "--timeout", "1") as program:
            assert program.get("/healthz")[0] == 503
            server.start()
            with Allocator.from_url(server.tcp_url) as client:
                client.pools.create("lab", {"cpu": 4})

                def is_shown() -> bool:
                    return program.get("/api/v1/pools/lab")[0] == 200

                wait_until(is_shown, message="the pool")
            wait_until(lambda: program.get("/api/v1")[1]["pools"] == ["lab"], message="its name")
            code, told = program.end(signal.SIGTERM)
            assert (code, "the page says so until it answers" in told) == (0, True)


def test_oversize_requests_and_other_protocols_are_refused(tmp_path: Path) -> None:
    """Headers beyond their bound, no HTTP, a WebSocket; and the program goes on."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    token.chmod(0o600)
    with Server(tcp=True) as server, serving("--url", server.tcp_url, "--token-file", str(token)) as program:
        assert program.address.endswith("/"), "a token of a file is not printed"
        program.token = token.read_text(encoding="ascii").strip()
        for words in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
            b"\x16\x03\x01\x02\x00 no http\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
        ):
            connection = socket.create_connection(("127.0.0.1", program.port), timeout=30)
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(words)
                assert connection.recv(65_536)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 421")
        with socket.create_connection(("127.0.0.1", program.port), timeout=30) as connection:
            connection.sendall(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert connection.recv(65_536)[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 200")
        assert program.get("/api/v1")[0] == 200
        code, told = program.end(signal.SIGTERM)
        assert code == 0
        assert program.token not in told


def test_a_port_in_use_is_told_in_one_line(cli: CommandLine) -> None:
    """With what names another; so is an address of another machine."""
    cli("pool", "create", "cpu=4")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = cli.error("dashboard", "--port", port, code=1)
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in told
    assert "--port names another" in told


def test_an_unknown_pool_is_an_error_at_once(cli: CommandLine) -> None:
    """As of every command; nothing is served."""
    assert "no pool" in cli.error("dashboard", "nope", "--port", "0", code=4)


def test_an_address_that_others_reach_needs_a_word(cli: CommandLine) -> None:
    """As the token can be read on the way."""
    told = cli.error("dashboard", "--address", "0.0.0.0", code=2)
    assert "--expose allows for it" in told
    assert "0.0.0.0" in cli.error("dashboard", "--address", "", code=2)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("a" * 64, 0o644, "others may read"),
        ("a" * 64, 0o640, "others may read"),
        ("short", 0o600, "has no token"),
        ("", 0o600, "has no token"),
        ("a b" * 20, 0o600, "has no token"),
        ("ä" * 40, 0o600, "has no token"),
        ("a" * 600, 0o600, "has no token"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_file_that_is_no_secret_is_refused(
    cli: CommandLine, tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    """Others may read it, or it has no token; its text is not shown."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)
    told = cli.error("dashboard", "--token-file", str(path), code=2)
    assert said in told
    assert "aaaa" not in told


@pytest.mark.parametrize("host", ["http://dash.example", "dash.example/", "a b", ""])
def test_a_name_is_no_url(cli: CommandLine, host: str) -> None:
    """Browsers send the name alone."""
    assert "is no name or address" in cli.error("dashboard", "--host", host, code=2)


def test_a_missing_extra_is_named() -> None:
    """With what installs it."""
    code = (
        "import sys; sys.modules['starlette'] = None; sys.argv[1:] = ['dashboard']\n"
        "from allocator.apps.cli.main import main; main()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "needs the package starlette: pip install 'redis-resource-allocator[web]'" in found.stderr
