"""An account broken by hand: an error that says so, never a bare `ValueError`, which would read as full."""

from __future__ import annotations

import pytest
import redis

from allocator import Allocator, InvariantError
from tests.support.servers import Server

POOL = "allocator:{default}:pool"
pytestmark = pytest.mark.breaks_data


@pytest.mark.parametrize(
    ("field", "text", "mended"),
    [("cpu.allocated", "abc", True), ("cpu.allocated", "1.5", True), ("cpu.capacity", "-5", False)],
)
def test_a_counter_that_is_no_amount_is_an_invariant_error_until_it_is_mended(
    one_server: Server, field: str, text: str, mended: bool
) -> None:
    """`audit --repair` mends what the records know; a capacity is only its owner's to set again."""
    with Allocator.from_url(one_server.url) as allocator, redis.Redis.from_url(one_server.url) as by_hand:
        allocator.pools.create("default", {"cpu": 4})
        allocator.allocate({"cpu": 1}, ttl=None, id="a")
        by_hand.hset(POOL, field, text)
        for call in (allocator.pools.usage, allocator.pools.get, lambda: allocator.allocate({"cpu": 1}, ttl=None)):
            with pytest.raises(InvariantError) as broken:
                call()
            assert not isinstance(broken.value, ValueError)
        assert allocator.maintenance.audit(repair=True).status == ("repaired" if mended else "drift")
        allocator.pools.update(None, {"cpu": 4})
        assert allocator.maintenance.audit()
        assert allocator.pools.usage().resources["cpu"].allocated == 1000


@pytest.mark.parametrize("field", ["generation", "created_ms"])
def test_an_audit_names_a_field_of_the_account_that_is_no_number(one_server: Server, field: str) -> None:
    """Nobody can know what it was, so it is named and not mended."""
    with Allocator.from_url(one_server.url) as allocator, redis.Redis.from_url(one_server.url) as by_hand:
        allocator.pools.create("default", {"cpu": 4})
        by_hand.hset(POOL, field, "zz")
        report = allocator.maintenance.audit(repair=True)
        assert (report.status, [(one.kind, one.subject) for one in report.findings]) == (
            "drift",
            [("broken_field", field)],
        )


def test_a_record_that_is_no_record_is_an_invariant_error_to_who_reads_it(one_server: Server) -> None:
    """The rest of the pool goes on."""
    with Allocator.from_url(one_server.url) as allocator, redis.Redis.from_url(one_server.url) as by_hand:
        allocator.pools.create("default", {"cpu": 4})
        allocator.allocate({"cpu": 1}, ttl=60, id="a")
        by_hand.hset("allocator:{default}:allocation:a", "deadline_ms", "soon")
        with pytest.raises(InvariantError, match="deadline_ms"):
            allocator.get("a")
        assert allocator.allocate({"cpu": 1}, ttl=60)
