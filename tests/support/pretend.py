"""Stand-ins for servers and programs, for the answers that a real one gives only rarely."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Generator
from pathlib import Path

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
        thread.join(5)
        assert not thread.is_alive(), "not all replies were asked for"
