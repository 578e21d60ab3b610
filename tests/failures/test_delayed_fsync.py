"""`appendfsync everysec` beside a disk that does not answer: what a killed server had confirmed meanwhile is lost."""

from __future__ import annotations

import sys
import time

import pytest

from allocator import Allocator, Recovering
from tests.soak.stage_crash import Plan, judged, mend
from tests.support.servers import Engine, Server
from tests.support.stuck import NotPermitted, hold_up_fsync
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux stops a single thread"),
]

POOL = "lab"


def test_a_killed_server_has_lost_the_writes_that_it_put_off_and_the_pool_notices(engine: Engine) -> None:
    """The end of the story, and no more of it than two seconds; what is left is whole, and holders come back."""
    with (
        Server(engine, options={"appendonly": "yes", "appendfsync": "everysec"}) as server,
        Allocator.from_url(server.url, pool=POOL, timeout=20.0) as client,
    ):
        client.pools.create(POOL, {"cpu": 10_000}, recovery_grace=60, new=True)
        mend(server)
        try:
            tracer = hold_up_fsync(server)
        except NotPermitted as why:
            pytest.skip(f"no thread may be stopped here: {why}")
        told = {}

        def take() -> bool:
            one = client.allocate({"cpu": 1}, ttl=50)
            told[one.id] = (time.monotonic(), one)
            return server.info("persistence")["aof_pending_bio_fsync"] != "0"

        wait_until(take, message="an fsync is under way")
        for _ in range(10):
            take()
        killed_at = time.monotonic()
        server.kill()
        assert tracer.wait(60) == 0
        assert tracer.stdout is not None
        tracer.stdout.close()
        server.start()
        kept = {one.id for one in client.list()}
        instants = {name: at for name, (at, _) in told.items()}
        assert judged(Plan(engine, "everysec"), instants, kept, frozenset(), killed_at) > 0
        assert client.maintenance.audit()
        with pytest.raises(Recovering):
            client.allocate({"cpu": 1}, ttl=50)
        assert {client.renew(one).outcome for name, (_, one) in told.items() if name not in kept} == {"adopted"}
        assert client.pools.usage().allocations == len(told)
        assert client.maintenance.audit()
