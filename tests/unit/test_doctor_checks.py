"""The doctor's verdicts: from what a server may say, to what a person reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from allocator._engine.operations.maintenance.doctor_checks import BYTES_AN_ALLOCATION, ServerFacts, judge
from allocator.models.maintenance import DoctorCheck, DoctorReport
from allocator.models.pools import Pool
from allocator.resources import Resources

SOUND = {
    "redis_version": "7.2.4",
    "run_id": "1f",
    "maxmemory_policy": "noeviction",
    "used_memory": "1000000",
    "maxmemory": "100000000",
    "aof_enabled": "1",
    "rdb_last_bgsave_status": "ok",
    "aof_last_write_status": "ok",
    "role": "master",
    "connected_slaves": "0",
}
"""What INFO says of a server with which nothing is wrong."""

POOL = Pool("lab", "e", 1, 1, 1, 0, "active", Resources.of({"cpu": 4}), Resources.of({"cpu": 1}))


def facts(info: dict[str, str] | None = None, **more: Any) -> ServerFacts:
    """Of a sound server, but for this."""
    made = ServerFacts(pool="lab", prefix="allocator", info=SOUND | (info or {}))
    made.settings = {"appendfsync": "everysec", "min-replicas-to-write": "0"}
    made.tried = {"allocate": "", "renew": ""}
    for name, value in more.items():
        setattr(made, name, value)
    return made


def of(name: str, found: ServerFacts) -> DoctorCheck:
    """The one finding of that name."""
    (one,) = [each for each in judge(found) if each.name == name]
    return one


def test_a_sound_server_has_nothing_to_change() -> None:
    """No warning is given for nothing: a warning that is always there is not read."""
    findings = tuple(judge(facts(account=POOL, clock_behind_ms=20)))
    assert {one.verdict for one in findings} == {"ok"}
    assert not [one.advice for one in findings if one.advice]
    assert DoctorReport(findings)


@pytest.mark.parametrize(
    ("info", "verdict"),
    [
        ({"redis_version": "6.2.14"}, "bad"),
        ({"redis_version": "7.0.0"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.4"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "10.0.1"}, "ok"),
        ({"redis_version": "next"}, "unknown"),
    ],
)
def test_a_server_is_new_enough_or_not(info: dict[str, str], verdict: str) -> None:
    """Valkey says a version of Redis too, which is not its own."""
    assert of("version", facts(info)).verdict == verdict


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [("noeviction", "ok"), ("allkeys-lru", "bad"), ("allkeys-random", "bad"), ("volatile-lru", "ok")],
)
def test_a_server_that_evicts_our_keys_is_bad(policy: str, verdict: str) -> None:
    """A record that vanishes is promised twice."""
    found = of("eviction", facts({"maxmemory_policy": policy}))
    assert found.verdict == verdict
    assert ("noeviction" in found.advice) == (verdict == "bad")


@pytest.mark.parametrize(
    ("used", "most", "verdict"), [("10", "0", "warn"), ("10", "1000", "ok"), ("900", "1000", "warn"), ("9", "8", "bad")]
)
def test_memory_is_ample_or_tight_or_gone(used: str, most: str, verdict: str) -> None:
    """Full is bad: nothing is granted."""
    assert of("memory", facts({"used_memory": used, "maxmemory": most})).verdict == verdict


def test_memory_is_told_in_allocations() -> None:
    """A person knows how many replicas there are, not how many bytes."""
    most = str(1_000_000 + 2_500 * BYTES_AN_ALLOCATION)
    assert "about 2,500 more" in of("memory", facts({"maxmemory": most})).detail


def test_what_a_restart_loses_is_told() -> None:
    """By the append-only file and its fsync; by snapshots; by nothing."""
    every_second = "everysec: a power failure loses up to two seconds, a kill as well while the disk is slow"
    assert every_second in of("persistence", facts()).detail
    assert of("persistence", facts(settings={"appendfsync": "always"})).detail.endswith(
        "loses nothing that was answered"
    )
    lazy = of("persistence", facts(settings={"appendfsync": "no"}))
    assert (lazy.verdict, lazy.advice) == ("warn", "CONFIG SET appendfsync everysec")
    assert "not told" in of("persistence", facts(settings={})).detail
    assert "loses what is allocated" in of("persistence", facts({"aof_enabled": "0"})).detail
    saved = facts({"aof_enabled": "0"}, settings={"save": "3600 1"})
    assert "after the last snapshot (save 3600 1)" in of("persistence", saved).detail


@pytest.mark.parametrize("name", ["rdb_last_bgsave_status", "aof_last_write_status"])
def test_a_save_that_failed_is_bad(name: str) -> None:
    """The server will refuse writes, or a restart has nothing to start from."""
    found = of("persistence", facts({name: "err"}))
    assert found.verdict == "bad"
    assert name in found.detail


def test_a_replica_is_bad() -> None:
    """It takes no writes."""
    assert of("replication", facts({"role": "slave"})).verdict == "bad"


@pytest.mark.parametrize(
    ("slave", "detail", "advised"),
    [
        ("ip=h,port=1,state=online,offset=9,lag=1", "at most 1 s behind", False),
        ("ip=h,port=1,state=online,offset=9,lag=60", "at most 60 s behind", True),
        ("ip=h,port=1,state=wait_bgsave,offset=0,lag=0", "at most 0 s behind", True),
        ("nonsense", "not told", True),
    ],
)
def test_a_replica_that_is_behind_is_named(slave: str, detail: str, advised: bool) -> None:
    """The next primary might be that one."""
    guarded = dataclasses.replace(POOL, recovery_grace_ms=60_000, max_ttl_ms=55_000)
    settings = {"min-replicas-to-write": "1", "min-replicas-max-lag": "1"}
    found = of("replication", facts({"connected_slaves": "1", "slave0": slave}, account=guarded, settings=settings))
    assert detail in found.detail
    assert found.verdict == ("warn" if advised else "ok")
    assert ("far behind" in found.advice) == advised


def test_replicas_want_a_grace_and_a_bound() -> None:
    """Or a failover may grant the same capacity twice."""
    found = of("replication", facts({"connected_slaves": "2"}))
    assert found.verdict == "warn"
    assert "--recovery-grace" in found.advice
    assert "min-replicas-to-write 1" in found.advice


@pytest.mark.parametrize(
    ("cluster", "verdict"),
    [
        ({"cluster_state": "ok", "cluster_slots_ok": "16384", "cluster_size": "3"}, "ok"),
        ({"cluster_state": "ok", "cluster_slots_ok": "16000", "cluster_size": "3"}, "bad"),
        ({"cluster_state": "fail", "cluster_slots_ok": "16384"}, "bad"),
        ({}, "unknown"),
    ],
)
def test_a_cluster_serves_all_slots_or_not(cluster: dict[str, str], verdict: str) -> None:
    """A pool is in one slot; another pool may be in the one that is missing."""
    found = of("cluster", facts({"cluster_enabled": "1"}, cluster=cluster))
    assert found.verdict == verdict
    assert not [one for one in judge(facts({"cluster_enabled": "0"})) if one.name == "cluster"]


@pytest.mark.parametrize(("behind", "verdict", "words"), [(9000, "warn", "9.0 s behind"), (-4000, "ok", "ahead of")])
def test_a_clock_that_is_off_is_named(behind: int, verdict: str, words: str) -> None:
    """With its offset, and on which side."""
    found = of("clock", facts(clock_behind_ms=behind))
    assert found.verdict == verdict
    assert words in found.detail


def test_a_run_id_is_needed_only_by_a_pool_with_a_grace() -> None:
    """It is how a restart is noticed."""
    untold = facts({"run_id": ""})
    assert of("run id", untold).verdict == "warn"
    untold.account = dataclasses.replace(POOL, recovery_grace_ms=1)
    assert of("run id", untold).verdict == "bad"


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("this user has no permissions to run the 'evalsha' command", "+evalsha"),
        ("User u has no permissions to run the 'config|get' command", "+config|get"),
        ("the scripts need the command HDEL script: on @user_script:83.", "+hdel"),
        ("the scripts need the commands ZADD, HSET script: on @user_script:83.", "+zadd +hset"),
        ("The user executing the script can't run ZSCAN script: 1f, on @user_script:2.", "+zscan"),
        ("ACL failure in script: User u has no permissions to run the 'zscan' command", "+zscan"),
    ],
)
def test_a_denied_command_comes_with_the_line_that_grants_it(said: str, command: str) -> None:
    """Each server says it in its own way; one line for however many scripts."""
    found = of("scripts", facts(tried={"allocate": said, "renew": said, "get": ""}, user="ctl"))
    assert found.verdict == "bad"
    assert found.advice == f"ACL SETUSER ctl {command}"
    assert found.detail.endswith("for allocate, renew")
    assert "<user>" in of("scripts", facts(tried={"allocate": said})).advice


@pytest.mark.parametrize(
    "said",
    ["No permissions to access a key", "this user has no permissions to access one of the keys used as arguments"],
)
def test_keys_that_are_denied_are_named_or_are_of_another_pool(said: str) -> None:
    """A user of one pool may well be as it should be: it is not known."""
    found = of("scripts", facts(tried={"allocate": said}))
    assert (found.verdict, found.advice) == ("bad", "ACL SETUSER <user> '~allocator:{*}:*'")
    assert of("scripts", facts(tried={"allocate": said}, account=POOL)).verdict == "unknown"


def test_what_failed_otherwise_is_told_once() -> None:
    """In the server's own words, with the scripts that it was said to."""
    full = "is out of memory"
    found = of("scripts", facts(tried={"allocate": full, "resize": full, "renew": ""}))
    assert (found.verdict, found.detail) == ("bad", "allocate, resize: is out of memory")


def test_a_scratch_pool_that_is_left_behind_is_named() -> None:
    """With the command that removes it."""
    found = of("scratch pool", facts(left="doctor-1f", skipped=["audit"]))
    assert "pool delete doctor-1f --force" in found.advice
    assert of("scripts", facts(skipped=["audit"])).verdict == "unknown"


@pytest.mark.parametrize(
    ("durability", "info", "verdict"),
    [
        ("replicated:1", {}, "bad"),
        ("replicated:1", {"connected_slaves": "1"}, "ok"),
        ("fsynced", {}, "ok"),
        ("fsynced", {"aof_enabled": "0"}, "bad"),
        ("fsynced+replicated:2", {"connected_slaves": "1"}, "bad"),
    ],
)
def test_a_durability_that_cannot_be_reached_is_bad(durability: str, info: dict[str, str], verdict: str) -> None:
    """Each grant would be undone."""
    account = dataclasses.replace(POOL, durability=durability)
    (found,) = [one for one in judge(facts(info, account=account)) if "durability" in one.detail]
    assert found.verdict == verdict


def test_a_pool_says_what_it_does_after_a_loss_and_what_is_out_of_the_ordinary() -> None:
    """Overcommitted, recovering, on a clock of its own."""
    assert "no recovery grace" in of("pool lab", facts(account=POOL)).detail
    odd = dataclasses.replace(
        POOL,
        state="recovering",
        allocated=Resources.of({"cpu": 9}),
        clock_offset_ms=3_600_000,
        recovery_grace_ms=60_000,
        max_ttl_ms=60_000,
    )
    found = [one for one in judge(facts(account=odd)) if one.name == "pool lab"]
    assert [one.verdict for one in found] == ["warn"] * 3
    assert "recovery grace 1m" in found[0].detail
    assert "overcommitted in cpu" in found[1].detail
    assert "3600.0 s ahead" in found[2].detail


def test_a_store_without_info_is_not_blamed_for_it() -> None:
    """The one in this process has no version, no memory policy, no replicas."""
    findings = tuple(judge(ServerFacts(no_info=True, tried={"allocate": ""})))
    assert {one.name for one in findings} == {"server", "latency", "scripts"}
    assert DoctorReport(findings)


@pytest.mark.parametrize(
    ("grace", "ttl", "info", "advice"),
    [
        (60, 60, {"connected_slaves": "0"}, None),
        (60, 61, {"connected_slaves": "0"}, "--max-ttl 1m', or 'pool set lab --recovery-grace 1m1s --max-ttl 1m1s'"),
        (60, 55, {"connected_slaves": "1"}, None),
        (60, 56, {"connected_slaves": "1"}, "--max-ttl 55s', or 'pool set lab --recovery-grace 1m1s --max-ttl 56s'"),
        (60, 56, {"cluster_enabled": "1", "connected_slaves": "0"}, "--max-ttl 55s"),
        (4, 2, {"connected_slaves": "1"}, "'pool set lab --recovery-grace 7s --max-ttl 2s'"),
        (60, 0, {"connected_slaves": "0"}, "'pool set lab --max-ttl 1m'"),
        (0, 60, {"connected_slaves": "1"}, None),
    ],
)
def test_a_grace_outlasts_every_lease_and_the_noticing_of_another_primary(
    grace: int, ttl: int, info: dict[str, str], advice: str | None
) -> None:
    """Or who renewed at the old primary still believes when the new one begins to grant."""
    account = dataclasses.replace(POOL, recovery_grace_ms=grace * 1000, max_ttl_ms=ttl * 1000)
    found = [one for one in judge(facts(info, account=account)) if "may hold the same" in one.detail]
    assert [one.verdict for one in found] == ([] if advice is None else ["warn"])
    assert advice is None or advice in found[0].advice
