"""Stand-ins for servers and programs, for the answers that a real one gives only rarely."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, Self

import pytest


def hide_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no package be found."""

    def find_spec(_name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def program(path: Path, body: str, interpreter: str = "/bin/sh") -> Path:
    """Write a small program."""
    path.write_text(f"#!{interpreter}\n{body}\n")
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def talker(path: Path, replies: list[bytes]) -> Generator[list[bytes]]:
    """A server that gives one prepared reply per connection; yields what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for reply in replies:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(4096))
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(60)
        assert not thread.is_alive(), "not all replies were asked for"


class PretendSentinel:
    """A Sentinel that names whom a test wants, and answers when the test lets it."""

    def __init__(self, names: tuple[str, int] | None) -> None:
        """Describe it; `with` starts it.

        Args:
            names: Whom it calls the primary, at the moment when it answers; None: it knows no such service.
        """
        self.names = names
        self.asked = 0
        self.answered = 0
        self._counting = threading.Lock()
        self._may = threading.Event()
        self._may.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def hold_back(self) -> None:
        """Take questions, and answer none until `resume`."""
        self._may.clear()

    def resume(self) -> None:
        """Answer what was asked meanwhile, and from now on at once."""
        self._may.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="pretend-sentinel", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.resume()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), name="pretend-sentinel", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as requests:
            while words := _request(requests):
                answer = self._answer(words)
                try:
                    connection.sendall(answer)
                finally:
                    with self._counting:
                        self.answered += words[0].upper() == b"SENTINEL"

    def _answer(self, words: list[bytes]) -> bytes:
        if words[0].upper() != b"SENTINEL":
            return b"%1\r\n+proto\r\n:3\r\n" if words[0].upper() == b"HELLO" else b"+OK\r\n"
        with self._counting:
            self.asked += 1
        self._may.wait()
        if self.names is None:
            return b"*-1\r\n"
        host, port = self.names[0], str(self.names[1])
        return f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n".encode()


def _request(requests: BinaryIO) -> list[bytes]:
    """The words of the next command; [] at the end."""
    head = requests.readline()
    return [requests.read(int(requests.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:] or 0))]
