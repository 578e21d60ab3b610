"""The pytest plugin, in test runs of their own: as a user has it, without the settings of this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow  # each test is a process

Run: TypeAlias = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a suite and returns what pytest prints."""

    def run(suite: str, *options: str) -> str:
        (tmp_path / "test_suite.py").write_text(suite)
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        done = subprocess.run(
            [*(sys.executable, "-m", "pytest", "-rs", "-p", "allocator_pytest", "-p", "no:cacheprovider"), *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return done.stdout

    return run


def test_each_fixture_serves_a_test(run: Run) -> None:
    """Without pytest-asyncio; tests do not meet in one store."""
    printed = run(
        """
import asyncio
import pytest
from allocator import Allocator, BackendUnavailable

@pytest.mark.parametrize("once", range(2))
def test_the_client(allocator, once):
    assert allocator.pools.usage().allocations == 0
    assert allocator.allocate({"cpu": 8, "memory": "32Gi"}, ttl=30, id="x").created

def test_the_clock(allocator, allocator_clock):
    allocator.allocate({"cpu": 8}, ttl=30)
    allocator_clock.advance(31)
    assert allocator.try_allocate({"cpu": 8}, ttl=30)

def test_the_faults(allocator, allocator_faults):
    with allocator_faults.down(), pytest.raises(BackendUnavailable):
        allocator.pools.get()

def test_the_awaited_client(allocator, async_allocator, allocator_faults):
    async def main():
        async with async_allocator:
            await async_allocator.allocate({"cpu": 1}, ttl=30, id="x")
            with allocator_faults.down(), pytest.raises(BackendUnavailable):
                await async_allocator.get("x")
    asyncio.run(main())
    assert allocator.get("x")

def test_the_original_api(allocator, resource_allocator, allocator_clock):
    assert (resource_allocator.total_cpu, resource_allocator.total_memory_mb) == (8, 32 * 1024)
    granted = asyncio.run(resource_allocator.allocate_resources({"cpu": "2"}))
    assert allocator.get(granted["allocation_id"]).granted_ms == allocator_clock()

def test_a_client_by_url(allocator, allocator_store):
    with Allocator.from_url(allocator_store.url, pool="test") as other:
        other.allocate({"cpu": 1}, ttl=30, id="x")
    assert allocator.get("x")

@pytest.mark.parametrize("once", range(2))
def test_a_real_server(redis_server, once):
    with Allocator.from_url(redis_server.url) as real:
        assert real.pools.list() == []
        real.pools.create("default", {"cpu": 1})
        assert real.allocate({"cpu": 1}, ttl=30)

def test_a_server_that_a_test_ended(redis_server):
    redis_server.close()

def test_is_started_again(redis_server):
    with Allocator.from_url(redis_server.url) as real:
        assert real.pools.list() == []
""",
    )
    assert re.search(r"\n=+ 11 passed in ", printed), printed


def test_the_pool_is_what_the_overridden_fixtures_say(run: Run) -> None:
    """As fixtures of a conftest are overridden."""
    printed = run(
        """
import pytest

@pytest.fixture
def allocator_capacity():
    return {"cpu": 1, "memory": "1Gi", "nvidia.com/gpu": 2}

@pytest.fixture
def allocator_options():
    return {"whole_units": ["nvidia.com/gpu"], "recovery_grace": 60, "owner": "me", "prefix": "mine"}

def test_it(allocator, async_allocator, allocator_faults):
    pool = allocator.pools.get()
    assert (pool.capacity["nvidia.com/gpu"], pool.whole_units) == (2000, ("nvidia.com/gpu",))
    assert allocator.allocate({"cpu": 1}, ttl=5).owner == "me"
    with allocator_faults.recovering():
        assert allocator.pools.get().state == "recovering"
""",
    )
    assert "1 passed" in printed, printed


def test_it_is_there_with_pytest_asyncio_as_well(run: Run) -> None:
    """In tests that are coroutines."""
    printed = run(
        """
async def test_it(async_allocator):
    assert await async_allocator.allocate({"cpu": 1}, ttl=5)
""",
        *(
            "-p",
            "pytest_asyncio.plugin",
            "-o",
            "asyncio_mode=auto",
            "-o",
            "asyncio_default_fixture_loop_scope=function",
        ),
    )
    assert "1 passed" in printed, printed


LEAK = """
def test_leak(allocator):
    allocator.allocate({"cpu": 2}, ttl=30, id="labs/a", owner="me")

def test_fails_and_leaks(allocator):
    allocator.allocate({"cpu": 2}, ttl=30, id="labs/b", owner="me")
    assert False
"""


def test_a_leak_is_named_where_a_test_fails(run: Run) -> None:
    """A test that passes may leave what it likes."""
    printed = run(LEAK)
    assert "1 failed, 1 passed" in printed, printed
    assert "1 allocations are left: labs/b (cpu=2) in pool test, of me" in printed
    assert "labs/a" not in printed


def test_a_leak_is_an_error_where_the_ini_file_says_so(run: Run) -> None:
    """Also of a test that passes."""
    printed = run(LEAK, "-o", "allocator_fail_on_leak=true")
    assert "1 failed, 1 passed, 2 errors" in printed, printed
    assert "1 allocations are left: labs/a (cpu=2) in pool test, of me" in printed


def test_wrong_books_are_an_error(run: Run) -> None:
    """A counter that no allocation explains."""
    printed = run(
        """
from allocator._engine.protocol.resp import pack_command

def test_it(allocator, allocator_store):
    connection = allocator_store._server._connect()
    connection.connect()
    connection.send_packed_command([pack_command(("HINCRBY", "allocator:{test}:pool", "cpu.allocated", 1000))])
    connection.read_response()
""",
    )
    assert "1 passed, 1 error" in printed, printed
    assert "the books of pool test are wrong" in printed


def test_the_server_is_left_out_where_there_is_no_program(run: Run) -> None:
    """The reason says what is missing."""
    printed = run(
        """
import pytest
from allocator import BackendUnavailable

@pytest.fixture(scope="session", autouse=True)
def no_program():
    def find_server():
        raise BackendUnavailable("no server program", code="no_server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("allocator._engine.servers.private.find_server", find_server)
        yield

def test_it(redis_server):
    pass
""",
    )
    assert "1 skipped" in printed, printed
    assert "redis_server: no server program" in printed


def test_a_run_without_fixtures_imports_nothing_of_the_package(run: Run) -> None:
    """Neither the package nor redis: a suite that uses none of it pays nothing."""
    printed = run(
        """
import sys

def test_it():
    assert "allocator_pytest" in sys.modules
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"allocator", "redis", "fakeredis", "lupa"}
""",
    )
    assert "1 passed" in printed, printed


def test_pytest_finds_it_by_its_entry_point() -> None:
    """Its name is the module's, so that `-p allocator_pytest` and `-p no:allocator_pytest` mean the same plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"allocator_pytest": "allocator_pytest"}
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["allocator_pytest.py"] == "allocator_pytest.py"
