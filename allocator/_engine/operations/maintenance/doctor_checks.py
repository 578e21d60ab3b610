"""The checks of doctor: facts about a server in, findings out.  Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from allocator.durability import Durability
from allocator.durations import exact
from allocator.models.maintenance import DoctorCheck
from allocator.models.pools import Pool
from allocator.settings import RECOVERY_MARGIN_S, TTL_MIN_S

__all__ = ["ServerFacts", "judge"]

BYTES_AN_ALLOCATION: Final = 450
"""The approximate bytes of a live allocation with its index entry (docs/performance.md)."""

HEADROOM: Final = 0.2
"""The share of maxmemory that should be free."""

CLOCK_OFF_MS: Final = 5_000
"""Milliseconds by which the server's clock may differ from the client's without a warning."""

SLOW_MS: Final = 50.0
"""Milliseconds of a round trip above which every call is slow."""

LAG_S: Final = 10
"""Seconds that a replica may be behind without a warning."""

OLDEST: Final = {"redis": (7, 0), "valkey": (7, 2)}

_SLOTS: Final = 16_384
_USERS: Final = "'resource-allocator acl' prints users with the rights that are needed"

_COMMAND: Final = re.compile(
    r"need the commands? ([A-Z, ]*[A-Z])|can't run ([A-Z]+)|(?:run|execute) the '([\w|]+)' (?:sub)?command"
)
_KEYS: Final = re.compile(r"(?i)permissions? to access|can't access at least one of the keys")


@dataclass
class ServerFacts:
    """What doctor has read; an empty field could not be read.

    `tried` has the error with which each script was refused, "" if it works.  `skipped` are the scripts for which there
    was no scratch pool.  `left` is a scratch pool that could not be deleted.  `no_info`: the server has no INFO.
    """

    pool: str = ""
    prefix: str = ""
    user: str = ""
    info: dict[str, str] = field(default_factory=dict[str, str])
    settings: dict[str, str] = field(default_factory=dict[str, str])
    cluster: dict[str, str] = field(default_factory=dict[str, str])
    no_info: bool = False
    refused: list[str] = field(default_factory=list[str])
    tried: dict[str, str] = field(default_factory=dict[str, str])
    skipped: list[str] = field(default_factory=list[str])
    left: str = ""
    account: Pool | None = None
    round_trip_ms: float = 0.0
    clock_behind_ms: int | None = None

    def number(self, name: str) -> int | None:
        """A numeric field of INFO; None if absent."""
        text = self.info.get(name, "")
        return int(text) if text.isdecimal() else None

    def grants(self, rule: str) -> str:
        """The command that grants the user a right."""
        return f"ACL SETUSER {self.user or '<user>'} {rule}"


def judge(facts: ServerFacts) -> Iterator[DoctorCheck]:
    """The findings of all checks, from the server up to the pool."""
    for check in _CHECKS:
        yield from check(facts)


def _store(facts: ServerFacts) -> Iterator[DoctorCheck]:
    if facts.no_info:
        what = "version, eviction, memory, persistence, replication do not apply, or are not told"
        yield DoctorCheck("server", "unknown", f"it has no INFO, as the store in this process: {what}")


def _version(facts: ServerFacts) -> Iterator[DoctorCheck]:
    if facts.no_info:
        return
    name = "valkey" if "valkey_version" in facts.info else "redis"
    text = facts.info.get("valkey_version") or facts.info.get("redis_version", "")
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found:
        yield DoctorCheck("version", "unknown", "the server does not tell", facts.grants("+info"))
        return
    old = (int(found[1]), int(found[2])) < OLDEST[name]
    least = ".".join(map(str, OLDEST[name]))
    yield DoctorCheck(
        "version", "bad" if old else "ok", f"{name} {text}", f"use {name} {least} or newer" if old else ""
    )


def _eviction(facts: ServerFacts) -> Iterator[DoctorCheck]:
    if facts.no_info:
        return
    policy = facts.info.get("maxmemory_policy") or facts.settings.get("maxmemory-policy", "")
    if not policy:
        yield DoctorCheck("eviction", "unknown", "the server does not tell", "make sure that it is noeviction")
    elif policy.startswith("allkeys-"):
        advice = "CONFIG SET maxmemory-policy noeviction"
        yield DoctorCheck("eviction", "bad", f"{policy}: records may vanish without a word", advice)
    else:
        yield DoctorCheck("eviction", "ok", policy)


def _memory(facts: ServerFacts) -> Iterator[DoctorCheck]:
    used, most = facts.number("used_memory"), facts.number("maxmemory")
    if used is None or most is None:
        return
    if most == 0:
        yield DoctorCheck(
            "memory", "warn", f"{_mib(used)} used, and no bound", "set maxmemory below what the machine has"
        )
        return
    left = max(0, most - used)
    detail = f"{_mib(used)} of {_mib(most)} used: room for about {left // BYTES_AN_ALLOCATION:,} more allocations"
    verdict = "bad" if left == 0 else "warn" if left < HEADROOM * most else "ok"
    yield DoctorCheck(
        "memory", verdict, detail, "" if verdict == "ok" else "raise maxmemory: a full server grants nothing"
    )


def _persistence(facts: ServerFacts) -> Iterator[DoctorCheck]:
    if "aof_enabled" not in facts.info:
        return
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if facts.info.get(name) == "err"]
    if failed:
        yield DoctorCheck(
            "persistence", "bad", f"{', '.join(failed)}: err", "look into the server's log: the disk may be full"
        )
    elif facts.info["aof_enabled"] != "1":
        advice = "CONFIG SET appendonly yes, and in the configuration file"
        saves = facts.settings.get("save", "")
        loses = f"what came after the last snapshot (save {saves})" if saves else "what is allocated"
        yield DoctorCheck("persistence", "warn", f"no append-only file: a restart loses {loses}", advice)
    else:
        fsync = facts.settings.get("appendfsync", "appendfsync not told")
        lost = {
            "always": "nothing that was answered",
            "everysec": "up to two seconds, a kill as well while the disk is slow",
            "no": "what the system had not written",
        }
        detail = f"append-only file, {fsync}: a power failure loses {lost.get(fsync, 'what that says')}"
        advice = "CONFIG SET appendfsync everysec" if fsync == "no" else ""
        yield DoctorCheck("persistence", "warn" if advice else "ok", detail, advice)


def _replication(facts: ServerFacts) -> Iterator[DoctorCheck]:
    role = facts.info.get("role", "")
    if role == "slave":
        yield DoctorCheck(
            "replication", "bad", "this is a replica: it takes no writes", "use the primary, or redis+sentinel://"
        )
        return
    replicas = facts.number("connected_slaves")
    if role != "master" or replicas is None:
        return
    wanted = facts.settings.get("min-replicas-to-write", "")
    if replicas == 0:
        yield DoctorCheck("replication", "ok", "a primary without replicas: there is no failover")
        return
    guarded = facts.account is not None and facts.account.recovery_grace_ms > 0
    lag, behind = _replicas(facts)
    most = facts.settings.get("min-replicas-max-lag", "")
    detail = (
        f"a primary with {replicas} replica{'s' if replicas != 1 else ''}, {lag}; "
        f"min-replicas-to-write {wanted or 'not told'}{f', max-lag {most}' if most else ''}"
    )
    advice = [f"look into replica {name}: it is not online, or far behind" for name in behind]
    if not guarded:
        advice.append(f"a failover may lose grants: 'pool set --recovery-grace 60s' for pool {facts.pool}")
    if wanted == "0":
        advice.append(
            "CONFIG SET min-replicas-to-write 1 min-replicas-max-lag 1: a primary that is cut off stops granting"
        )
    yield DoctorCheck("replication", "warn" if advice else "ok", detail, "; ".join(advice))


def _replicas(facts: ServerFacts) -> tuple[str, list[str]]:
    """How far the slowest replica is behind, and the replicas with a problem."""
    told = [
        dict(part.split("=", 1) for part in line.split(",") if "=" in part)
        for name, line in facts.info.items()
        if re.fullmatch(r"slave\d+", name)
    ]
    lags = [int(one["lag"]) for one in told if one.get("lag", "").isdecimal()]
    wrong = [
        f"{one.get('ip', '?')}:{one.get('port', '?')}"
        for one in told
        if one.get("state") != "online" or not one.get("lag", "0").isdecimal() or int(one.get("lag", "0")) > LAG_S
    ]
    return (f"at most {max(lags)} s behind" if lags else "whose lag is not told"), wrong


def _cluster(facts: ServerFacts) -> Iterator[DoctorCheck]:
    if facts.info.get("cluster_enabled") != "1":
        return
    state = facts.cluster.get("cluster_state")
    if state is None:
        yield DoctorCheck("cluster", "unknown", "the server does not tell its state", facts.grants("+cluster|info"))
        return
    served = facts.cluster.get("cluster_slots_ok", "?")
    detail = f"state {state}, {served} of {_SLOTS} slots are served, {facts.cluster.get('cluster_size', '?')} shards"
    fit = state == "ok" and served == str(_SLOTS)
    yield DoctorCheck(
        "cluster", "ok" if fit else "bad", detail, "" if fit else "CLUSTER SHARDS says which slots are not"
    )


def _clock(facts: ServerFacts) -> Iterator[DoctorCheck]:
    if facts.clock_behind_ms is None:
        return
    off = abs(facts.clock_behind_ms) > CLOCK_OFF_MS
    side = "behind" if facts.clock_behind_ms > 0 else "ahead of"
    detail = f"{abs(facts.clock_behind_ms) / 1000:.1f} s {side} this machine's"
    yield DoctorCheck(
        "clock", "warn" if off else "ok", detail, "let both be kept by NTP, slewed and not stepped" if off else ""
    )


def _latency(facts: ServerFacts) -> Iterator[DoctorCheck]:
    slow = facts.round_trip_ms > SLOW_MS
    yield DoctorCheck("latency", "warn" if slow else "ok", f"{facts.round_trip_ms:.1f} ms for a round trip")


def _identity(facts: ServerFacts) -> Iterator[DoctorCheck]:
    told = bool(facts.info.get("run_id"))
    needs = facts.account is not None and facts.account.recovery_grace_ms > 0
    if told or not facts.info:
        return
    yield DoctorCheck(
        "run id", "bad" if needs else "warn", "the server does not tell it", "a restart is not noticed by it"
    )


def _scripts(facts: ServerFacts) -> Iterator[DoctorCheck]:
    failed = {name: said for name, said in facts.tried.items() if said}
    if not failed and not facts.skipped:
        gone = "" if facts.left else ", which is gone again"
        yield DoctorCheck("scripts", "ok", f"all {len(facts.tried)} were tried on a scratch pool{gone}")
    denied: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for name, said in failed.items():
        if (found := _COMMAND.search(said)) is not None:
            denied.setdefault(next(one for one in found.groups() if one).lower(), []).append(name)
        elif _KEYS.search(said):
            denied.setdefault("", []).append(name)
        else:
            others.setdefault(said, []).append(name)
    for command, of in denied.items():
        yield _denied(facts, command, of)
    for said, of in others.items():
        yield DoctorCheck("scripts", "bad", f"{', '.join(of)}: {said}")
    if facts.skipped:
        yield DoctorCheck("scripts", "unknown", f"not tried, for want of a scratch pool: {', '.join(facts.skipped)}")
    if facts.left:
        advice = f"resource-allocator pool delete {facts.left} --force --yes"
        yield DoctorCheck("scratch pool", "warn", f"{facts.left} could not be deleted", advice)


def _denied(facts: ServerFacts, command: str, of: list[str]) -> DoctorCheck:
    if command:
        who = f"user {facts.user}" if facts.user else "this user"
        rules = " ".join(f"+{one}" for one in command.split(", "))
        return DoctorCheck(
            "scripts", "bad", f"{who} may not {command.upper()}, for {', '.join(of)}", facts.grants(rules)
        )
    if facts.account is not None:  # the user has rights for one pool, and can read it
        detail = "could not be tried: this user may use no scratch pool"
        return DoctorCheck(
            "scripts", "unknown", detail, "ask as a user of all pools: 'resource-allocator acl controller'"
        )
    detail = f"this user may not use keys under {facts.prefix}:, for {', '.join(of)}"
    return DoctorCheck("scripts", "bad", detail, facts.grants(f"'~{facts.prefix}:{{*}}:*'"))


def _refusals(facts: ServerFacts) -> Iterator[DoctorCheck]:
    for said in dict.fromkeys(facts.refused):
        yield DoctorCheck("rights", "warn", said, _USERS)


def _pool(facts: ServerFacts) -> Iterator[DoctorCheck]:
    account = facts.account
    if account is None:
        return
    guard = (
        f"recovery grace {exact(account.recovery_grace_ms)}, longest ttl {exact(account.max_ttl_ms)}"
        if account.recovery_grace_ms
        else "no recovery grace: lost data is not waited for"
    )
    yield DoctorCheck(
        f"pool {account.name}", "ok" if account.state == "active" else "warn", f"{account.state}; {guard}"
    )
    if account.overcommitted:
        detail = f"overcommitted in {', '.join(account.overcommitted)}"
        yield DoctorCheck(
            f"pool {account.name}", "warn", detail, "raise the capacity, or wait until enough is given back"
        )
    if account.clock_offset_ms:
        detail = f"its time is {account.clock_offset_ms / 1000:.1f} s ahead of the server's, whose clock was set back"
        yield DoctorCheck(
            f"pool {account.name}", "warn", detail, "deadlines are right; instants that people read are later"
        )
    yield from _grace(facts, account)
    yield from _promise(facts, account)


def _grace(facts: ServerFacts, account: Pool) -> Iterator[DoctorCheck]:
    """Whether every holder is past its deadline, or has renewed, when the recovery grace is over.

    A server without replicas is not replaced, so its grants are over after one ttl.  Where another server may replace
    it, a holder relies on its deadline for up to two seconds longer, and Sentinels take time to agree.
    """
    if not account.recovery_grace_ms:
        return
    alone = facts.number("connected_slaves") == 0 and facts.info.get("cluster_enabled") != "1"
    margin_ms = 0 if alone else int(RECOVERY_MARGIN_S * 1000)
    needs_ms = account.max_ttl_ms + margin_ms
    if account.max_ttl_ms and account.recovery_grace_ms >= needs_ms:
        return
    grace, longest = exact(account.recovery_grace_ms), exact(account.max_ttl_ms)
    where = "" if alone else f" and {exact(margin_ms)} for noticing that the primary is another one"
    detail = (
        f"recovery grace {grace}, and less than the longest ttl ({longest}){where}"
        if account.max_ttl_ms
        else f"recovery grace {grace}, and any ttl is granted"
    )
    fits = account.recovery_grace_ms - margin_ms
    shorter = f"'pool set {account.name} --max-ttl {exact(fits)}', or " if fits >= TTL_MIN_S * 1000 else ""
    longer = f"--recovery-grace {exact(needs_ms)} --max-ttl {longest}"
    advice = f"{shorter}'pool set {account.name} {longer}'" if account.max_ttl_ms else shorter.removesuffix(", or ")
    yield DoctorCheck(f"pool {account.name}", "warn", f"{detail}: after a loss of data two may hold the same", advice)


def _promise(facts: ServerFacts, account: Pool) -> Iterator[DoctorCheck]:
    """Whether the pool's durability can be reached on this server."""
    wanted = Durability.read(account.durability)
    replicas = facts.number("connected_slaves")
    if not wanted or replicas is None:
        return
    name = f"pool {account.name}"
    if wanted.replicas > replicas:
        detail = f"durability {account.durability}, and {replicas} replicas: nothing can be granted"
        yield DoctorCheck(name, "bad", detail, "add replicas, or 'resource-allocator pool set --durability memory'")
    elif wanted.fsynced and facts.info.get("aof_enabled") != "1":
        detail = f"durability {account.durability}, and no append-only file: nothing can be granted"
        yield DoctorCheck(name, "bad", detail, "CONFIG SET appendonly yes, and in the configuration file")
    else:
        yield DoctorCheck(name, "ok", f"durability {account.durability} can be reached")


_CHECKS: Final[tuple[Callable[[ServerFacts], Iterator[DoctorCheck]], ...]] = (
    _store, _version, _eviction, _memory, _persistence, _replication, _cluster, _clock, _latency, _identity, _scripts,
    _refusals, _pool,
)  # fmt: skip


def _mib(count: int) -> str:
    return f"{count / 2**20:,.{0 if count >= 10 * 2**20 else 1}f} MiB"
