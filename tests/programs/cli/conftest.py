"""The command line run in this process on an in-process store of the test's own, with a clock that the test turns."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from allocator import UnknownPool
from allocator._engine.execution.driver import Driver
from allocator._engine.transport.in_process import InProcessServer
from allocator._sync.client import Allocator
from allocator.apps.cli.root import root
from allocator.testing import Clock

FENCE = "#" * 16
"""What `masked` shows for a fence or revision: they start at the store's own time, which no test turns."""


def masked(text: str) -> str:
    """The text with fences and revisions made alike; the widths stay."""
    return re.sub(r"\b[0-9]{16}\b", FENCE, text)


class CommandLine:
    """Runs commands; each is a program of its own, as far as it knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *words: str, input: str | None = None, code: int = 0) -> Result:
        """Run one command and check its exit code."""
        result = CliRunner().invoke(root, words, prog_name="resource-allocator", input=input)
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}"
        return result

    def out(self, *words: str, code: int = 0) -> str:
        """Run one command that is expected to say nothing on stderr, and return its stdout."""
        result = self(*words, code=code)
        assert not result.stderr, result.stderr
        return result.stdout

    def error(self, *words: str, code: int) -> str:
        """Run one command that fails without data, and return its stderr."""
        result = self(*words, code=code)
        assert not result.stdout, result.stdout
        return result.stderr

    def json(self, *words: str, code: int = 0) -> Any:
        """Run one command with `-o json`, and return what its stdout says."""
        document = json.loads(self(*words, "-o", "json", code=code).stdout)
        assert document["apiVersion"] == "allocator/v1"
        return document


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell sets must not reach a test."""
    for name in ("ALLOCATOR_REDIS_URL", "REDIS_URL", "ALLOCATOR_POOL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("allocator.apps.cli.context.SILENCE_S", 3_600.0)  # a slow machine is no subject of these tests


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of every client that a command makes."""
    turned = Clock()

    def on_clock(target: Any, *, clock: Callable[[], int] | None = None, **options: Any) -> Driver:
        assert clock is None
        return Driver(target, clock=turned, **options)

    monkeypatch.setattr("allocator._sync.client.Driver", on_clock)
    return turned


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[CommandLine]:
    """A command line on an empty store; the pools that the test leaves behind are audited."""
    name = secrets.token_hex(8)
    url = f"memory://{name}"
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", url)
    yield CommandLine(url)
    for pool in ("default", "gpu"):
        with Allocator.from_url(url, pool=pool) as client:
            try:
                verdict = client.maintenance.audit()
            except UnknownPool:
                continue
        assert verdict, verdict
    InProcessServer._by_name.pop(name, None)


@pytest.fixture
def pool(cli: CommandLine) -> CommandLine:
    """A command line whose default pool has 32 cores, 128Gi and 8 whole GPUs."""
    cli("pool", "create", "cpu=32", "memory=128Gi", "nvidia.com/gpu=8", "--whole-units", "nvidia.com/gpu")
    return cli


@pytest.fixture
def client(cli: CommandLine, clock: Clock) -> Iterator[Allocator]:
    """A library client of the same store and clock."""
    with Allocator.from_url(cli.url) as made:
        yield made
