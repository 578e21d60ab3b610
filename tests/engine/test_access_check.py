"""Both clients look whether the scripts may write before their first call on a connection, and once."""

from __future__ import annotations

import pytest

from allocator.errors import BackendError, InvariantError
from tests.support import clients
from tests.support.servers import Server

BASE = "allocator:{lab}:"


@pytest.fixture(params=clients.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The blocking client and the awaited one."""
    kind: str = request.param
    return kind


async def test_a_key_of_another_type_is_found_before_anything_is_written(kind: str, one_server: Server) -> None:
    """The script itself would fail once its event is written."""
    maker = clients.connect(kind, one_server.url)
    await maker.pools.create("lab", {"cpu": 4})
    await maker.close()
    events = one_server.ask("XLEN", f"{BASE}events")
    one_server.ask("SET", f"{BASE}pinned", "mine")
    client = clients.connect(kind, one_server.url, timeout=2.0)
    with pytest.raises(InvariantError):
        await client.allocate({"cpu": 1}, ttl=None)
    assert one_server.ask("XLEN", f"{BASE}events") == events
    assert one_server.ask("HGET", f"{BASE}pool", "cpu.allocated") == "0"
    one_server.ask("DEL", f"{BASE}pinned")
    await client.allocate({"cpu": 1}, ttl=None)
    await client.close()


async def test_a_command_that_may_not_be_run_is_found_before_anything_is_written(kind: str, one_server: Server) -> None:
    """A release would have ended half: UNLINK is its last but one."""
    maker = clients.connect(kind, one_server.url)
    await maker.pools.create("lab", {"cpu": 4})
    held = await maker.allocate({"cpu": 1}, ttl=None)
    await maker.close()
    one_server.ask("ACL", "SETUSER", "poor", "reset", "on", ">x", "~*", "&*", "+@all", "-unlink")
    client = clients.connect(kind, one_server.url.replace("unix://", "unix://poor:x@"), timeout=2.0)
    with pytest.raises(BackendError, match=r"(?i)unlink"):
        await client.release(held)
    assert one_server.ask("HGET", f"{BASE}pool", "cpu.allocated") == "1000"
    await client.close()
    one_server.ask("ACL", "DELUSER", "poor")


async def test_a_connection_is_looked_at_once(kind: str, one_server: Server) -> None:
    """It costs a round trip, which not each call is to pay."""
    client = clients.connect(kind, one_server.url)
    await client.pools.create("lab", {"cpu": 4})
    one_server.ask("CONFIG", "RESETSTAT")
    for _ in range(5):
        await client.release(await client.allocate({"cpu": 1}, ttl=None))
    stats = one_server.ask("INFO", "commandstats")
    assert "cmdstat_evalsha_ro" not in stats
    await client.close()
