"""`ALLOCATOR_REDIS_URL_FILE`: the URL in a file, as secrets are given to containers and services."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from allocator import ResourceAllocator, environment
from allocator._engine.transport.urls import resolve_target
from allocator.environment import URL_FILE_BYTES_MAX, url_from_environment
from allocator.errors import InvalidRequest
from tests.programs.cli.conftest import CommandLine, cli, clock

__all__ = ["cli", "clock"]

CANARY: Final = "c4n4ry"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the environment names, and no other variable does."""
    for name in environment.URL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "url"
    path.write_text("memory://filed\n", encoding="utf-8")
    monkeypatch.setenv("ALLOCATOR_REDIS_URL_FILE", str(path))
    return path


def test_a_client_takes_the_url_of_the_file(file: Path) -> None:
    """Without the end of its last line."""
    assert url_from_environment() == "memory://filed"
    assert resolve_target().address == resolve_target("memory://filed").address


def test_it_stands_between_the_two_variables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of this library says more than the file, and the file more than a variable of everybody's."""
    monkeypatch.setenv("REDIS_URL", "redis://theirs")
    assert url_from_environment() == "memory://filed"
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", "redis://ours")
    assert url_from_environment() == "redis://ours"


def test_the_original_api_reads_it_too(file: Path) -> None:
    """It looks for a URL in the same places."""
    ResourceAllocator(4, 8)
    file.unlink()
    with pytest.raises(InvalidRequest):
        ResourceAllocator(4, 8)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b" \n", "it is empty"),
        (b"\xff\xfe", "it is no text"),
        (f"redis://u:{CANARY}@host".encode() + b"/" * URL_FILE_BYTES_MAX, "it is too long for a URL"),
    ],
)
def test_a_file_that_says_nothing_is_an_error(file: Path, content: bytes | None, why: str) -> None:
    """Never another server; and the message has nothing of what the file contains."""
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidRequest) as refused:
        url_from_environment()
    assert refused.value.field == "url"
    assert str(refused.value) == f"url: ALLOCATOR_REDIS_URL_FILE names {file}: {why}"


def test_the_command_line_reads_it(cli: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cleanup`, which wants a URL to be named, is content with it; `--url` overrides it."""
    file.write_text(cli.url, encoding="utf-8")
    cli("pool", "create", "cpu=4")
    assert '"count": 0' in cli("cleanup").stdout
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert '"count": 0' in cli("cleanup").stdout
    file.unlink()
    assert '"count": 0' in cli("cleanup", "--url", cli.url).stdout
    assert f"ALLOCATOR_REDIS_URL_FILE names {file}: No such file or directory" in cli.error("cleanup", code=2)
