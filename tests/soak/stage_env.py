"""What a server may say instead of an answer: each error is met, named by its code, and has changed nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from allocator import (
    AllocationLost,
    Allocator,
    BackendUnavailable,
    InvalidRequest,
    OutcomeUnknown,
    Recovering,
    UnknownPool,
)
from tests.soak.observing import counting
from tests.soak.report import Coverage, StageReport
from tests.support.cluster import Cluster
from tests.support.servers import Engine, Server, engines
from tests.support.waiting import wait_until

POOL = "lab"
TTL_S = 60.0


class Scene:
    """A pool on a server of its own, and what stands in it."""

    def __init__(self, engine: Engine, server: Server, coverage: Coverage) -> None:
        self.engine = engine
        self.server = server
        self.coverage = coverage
        self.client = Allocator.from_url(server.url, pool=POOL, timeout=1.0, attempt_timeout=0.9)
        self.raw: Any = redis.Redis.from_url(server.url, decode_responses=True)
        self.client.pools.create(POOL, {"cpu": 10}, recovery_grace=TTL_S, max_ttl=TTL_S, new=True)
        self.held = self.client.allocate({"cpu": 2}, ttl=TTL_S, id="held")

    def picture(self) -> object:
        """Everything that is stored of the pool, but for the instants that pass by themselves."""
        account = self.raw.hgetall(f"allocator:{{{POOL}}}:pool")
        account.pop("clock_ms", None)
        ids = sorted(self.raw.keys("allocator:{lab}:allocation:*"))
        return account, ids

    def refused(self, code: str) -> None:
        """An allocation is unavailable for this reason, and nothing has changed."""
        before = self.picture()
        try:
            self.client.allocate({"cpu": 1}, ttl=TTL_S)
        except BackendUnavailable as error:
            assert error.code == code, f"{code} was called {error.code}: {error}"  # noqa: PT017 - no test: the stage goes on
        else:
            raise AssertionError(f"{code}: it was granted")
        assert self.picture() == before, f"{code} changed something"

    def close(self) -> None:
        """Release, and look at what is left."""
        self.client.release_many(list(self.client.list()))
        assert self.client.pools.usage().allocations == 0
        assert self.client.maintenance.audit()
        self.client.close()
        self.raw.close()


def memory_runs_out(at: Scene) -> None:
    """Taking is refused; giving back and keeping are not."""
    used = int(at.server.info("memory")["used_memory"])
    at.raw.config_set("maxmemory", used - 1000)
    at.refused("oom")
    assert at.client.renew(at.held)
    at.raw.config_set("maxmemory", 0)


def somebody_else_is_busy(at: Scene) -> None:
    """A script that does not end; it is killed, and the call goes through."""
    at.raw.config_set("busy-reply-threshold", 50)
    loops = threading.Thread(target=_loop, args=(at.server.url,))
    loops.start()
    with redis.Redis.from_url(at.server.url, decode_responses=True) as other:
        wait_until(lambda: _is_busy(other), message="the server is busy")
        try:
            at.client.allocate({"cpu": 1}, ttl=TTL_S)
        except BackendUnavailable as error:
            assert error.code == "busy", error  # noqa: PT017 - no test: the stage goes on
        except OutcomeUnknown:
            pass  # not even BUSY came in time, on a machine that is busy itself: nobody can tell
        other.execute_command("SCRIPT", "KILL")
    loops.join()


def _loop(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        try:
            client.eval("while true do end", 0)
        except redis.ResponseError:
            return


def _is_busy(client: Any) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def scripts_are_forgotten(at: Scene) -> None:
    """A restart, or somebody's SCRIPT FLUSH: the text is sent again."""
    at.raw.script_flush()
    assert at.client.renew(at.held)
    assert at.client.get("held")


def it_becomes_a_replica(at: Scene) -> None:
    """Of nobody: it takes no writes."""
    at.raw.replicaof("127.0.0.1", 1)
    at.refused("readonly")
    at.raw.execute_command("REPLICAOF", "NO", "ONE")


def it_wants_replicas(at: Scene) -> None:
    """That it does not have."""
    at.raw.config_set("min-replicas-to-write", 1)
    at.refused("no_replicas")
    at.raw.config_set("min-replicas-to-write", 0)


def a_user_may_not(at: Scene) -> None:
    """A command in the middle of the scripts."""
    at.raw.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+@all", "-hset")
    before = at.picture()
    with Allocator.from_url(at.server.url.replace("unix://", "unix://weak:pw@"), pool=POOL, timeout=0.4) as weak:
        try:
            weak.allocate({"cpu": 1}, ttl=TTL_S)
        except BackendUnavailable as error:
            assert error.code == "no_permission", error  # noqa: PT017 - no test: the stage goes on
        else:
            raise AssertionError("a user without HSET was granted something")
    assert at.picture() == before
    at.coverage.saw("no_permission")


def it_may_evict(at: Scene) -> None:
    """Such a server is not used at all."""
    at.raw.config_set("maxmemory-policy", "allkeys-lru")
    with Allocator.from_url(at.server.url, pool=POOL) as fresh:
        try:
            fresh.pools.usage()
        except BackendUnavailable as error:
            assert error.code == "eviction", error  # noqa: PT017 - no test: the stage goes on
        else:
            raise AssertionError("a server that evicts was used")
    at.raw.config_set("maxmemory-policy", "noeviction")


def a_stale_holder_comes_back(at: Scene) -> None:
    """A stale fence, one of another epoch, a ttl that is too long: typed refusals, nothing changes."""
    before = at.picture()
    for wrong in (replace(at.held, fence=at.held.fence - 1), replace(at.held, epoch="0" * 16)):
        try:
            at.client.renew(wrong)
        except AllocationLost:
            at.coverage.saw("fenced")
        else:
            raise AssertionError(f"{wrong} was renewed")
    try:
        at.client.allocate({"cpu": 1}, ttl=TTL_S + 1)
    except InvalidRequest as error:
        assert error.code == "ttl_too_long", error  # noqa: PT017 - no test: the stage goes on
    else:
        raise AssertionError("longer than the grace, and granted")
    assert at.picture() == before


def it_is_emptied(at: Scene) -> None:
    """The pool comes back with its epoch, recovering; holders adopt, and grants wait."""
    pool = at.client.pools.get()
    at.raw.flushall()
    try:
        at.client.renew(at.held)
    except UnknownPool as error:
        assert error.code == "pool_lost", error  # noqa: PT017 - no test: the stage goes on
    else:
        raise AssertionError("renewed in an emptied store")
    at.client.pools.recover(pool)
    at.client.pools.update(None, {"cpu": 1})
    assert at.client.renew(at.held).outcome == "adopted"
    at.coverage.saw("adopted")
    assert at.client.pools.get().overcommitted == ("cpu",)
    at.coverage.saw("overcommitted")
    try:
        at.client.allocate({"cpu": 1}, ttl=TTL_S)
    except Recovering:
        at.coverage.saw("recovering")
    else:
        raise AssertionError("granted while it recovers")
    at.client.pools.update(None, {"cpu": 10})
    at.client.pools.end_recovery()


ACTS: tuple[Callable[[Scene], None], ...] = (
    memory_runs_out, somebody_else_is_busy, scripts_are_forgotten, it_becomes_a_replica, it_wants_replicas,
    a_user_may_not, it_may_evict, a_stale_holder_comes_back, it_is_emptied,
)  # fmt: skip


def _move_a_slot(report: StageReport) -> None:
    """A cluster's slot moves: first some of its keys (ASK), then all and its owner (MOVED); holders notice nothing."""
    with (
        Cluster(masters=2) as cluster,
        Allocator.from_url(f"redis+cluster://127.0.0.1:{cluster.masters[0].port}", pool=POOL, timeout=5.0) as client,
    ):
        client.pools.create(POOL, {"cpu": 10})
        # A key that does not exist lies on neither node: for a script of many keys that is TRYAGAIN while a slot moves.
        pinned = client.allocate({"cpu": 1}, ttl=None)
        client.release(client.allocate({"cpu": 1}, ttl=TTL_S))
        held = [client.allocate({"cpu": 1}, ttl=TTL_S) for _ in range(4)]
        slot = cluster.slot_of(f"{{{POOL}}}")
        for _ in range(3):
            cluster.begin_migration(slot)
            cluster.move_keys(slot)
            assert all(client.renew_many(held))
            cluster.finish_migration(slot)
            assert all(client.renew_many(held))
        assert sum(map(bool, client.release_many([*held, pinned]))) == 5
        assert client.maintenance.audit()
    report.counts["slots_moved"] += 3


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """Each act on each engine; three times, so that nothing was met by chance."""
    report = StageReport("env", [seed])
    rounds = 3 if scale >= 0.1 else 1
    with counting(coverage):
        for engine in engines() if scale >= 0.1 else engines()[:1]:
            for _ in range(rounds):
                with Server(engine, tcp=True) as server:
                    at = Scene(engine, server, coverage)
                    for act in ACTS:
                        try:
                            act(at)
                        except AssertionError as error:
                            report.problems.append(f"{engine} {act.__name__}: {error}")
                        report.counts["acts"] += 1
                    at.close()
        if scale >= 0.1:
            _move_a_slot(report)
    return report
