"""The verdict on what a server says of itself: facts in, findings out.  Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from allocator.readings import Checkup, Pool

__all__ = ["Facts", "judge"]

BYTES_AN_ALLOCATION: Final = 450
"""About what a live allocation takes, with its index entry (docs/performance.md)."""

HEADROOM: Final = 0.2
"""Of maxmemory, that should be free."""

CLOCK_OFF_MS: Final = 5_000
"""Milliseconds by which the server's clock may differ from the client's before it is worth a word."""

SLOW_MS: Final = 50.0
"""Milliseconds of a round trip above which every call is slow."""

OLDEST: Final = {"redis": (7, 0), "valkey": (7, 2)}


@dataclass
class Facts:
    """What was found out; what is empty could not be."""

    pool: str = ""
    info: dict[str, str] = field(default_factory=dict[str, str])
    settings: dict[str, str] = field(default_factory=dict[str, str])
    refused: list[str] = field(default_factory=list[str])
    tried: dict[str, str] = field(default_factory=dict[str, str])
    account: Pool | None = None
    round_trip_ms: float = 0.0
    clock_behind_ms: int | None = None

    def number(self, name: str) -> int | None:
        """A number that INFO tells."""
        text = self.info.get(name, "")
        return int(text) if text.isdecimal() else None


def judge(facts: Facts) -> Iterator[Checkup]:
    """Each check's finding, in an order from the ground up."""
    for check in _CHECKS:
        yield from check(facts)


def _version(facts: Facts) -> Iterator[Checkup]:
    name = "valkey" if "valkey_version" in facts.info else "redis"
    text = facts.info.get("valkey_version") or facts.info.get("redis_version", "")
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found:
        yield Checkup("version", "unknown", "the server does not tell", "allow INFO: +info")
        return
    old = (int(found[1]), int(found[2])) < OLDEST[name]
    least = ".".join(map(str, OLDEST[name]))
    yield Checkup("version", "bad" if old else "ok", f"{name} {text}", f"use {name} {least} or newer" if old else "")


def _eviction(facts: Facts) -> Iterator[Checkup]:
    policy = facts.info.get("maxmemory_policy") or facts.settings.get("maxmemory-policy", "")
    if not policy:
        yield Checkup("eviction", "unknown", "the server does not tell", "make sure that it is noeviction")
    elif policy.startswith("allkeys-"):
        advice = "CONFIG SET maxmemory-policy noeviction"
        yield Checkup("eviction", "bad", f"{policy}: records may vanish without a word", advice)
    else:
        yield Checkup("eviction", "ok", policy)


def _memory(facts: Facts) -> Iterator[Checkup]:
    used, most = facts.number("used_memory"), facts.number("maxmemory")
    if used is None or most is None:
        return
    if most == 0:
        yield Checkup("memory", "warn", f"{_mib(used)} used, and no bound", "set maxmemory below what the machine has")
        return
    left = max(0, most - used)
    detail = f"{_mib(used)} of {_mib(most)} used: room for about {left // BYTES_AN_ALLOCATION:,} more allocations"
    tight = left < HEADROOM * most
    yield Checkup(
        "memory", "warn" if tight else "ok", detail, "raise maxmemory: a full server grants nothing" if tight else ""
    )


def _persistence(facts: Facts) -> Iterator[Checkup]:
    if "aof_enabled" not in facts.info:
        return
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if facts.info.get(name) == "err"]
    if failed:
        yield Checkup(
            "persistence", "bad", f"{', '.join(failed)}: err", "look into the server's log: the disk may be full"
        )
    elif facts.info["aof_enabled"] != "1":
        advice = "CONFIG SET appendonly yes, and in the configuration file"
        yield Checkup("persistence", "warn", "no append-only file: a restart loses what is allocated", advice)
    else:
        fsync = facts.settings.get("appendfsync", "appendfsync not told")
        lost = {
            "always": "nothing that was answered",
            "everysec": "up to two seconds",
            "no": "what the system had not written",
        }
        detail = f"append-only file, {fsync}: a power failure loses {lost.get(fsync, 'what that says')}"
        yield Checkup("persistence", "ok", detail)


def _replication(facts: Facts) -> Iterator[Checkup]:
    role = facts.info.get("role", "")
    if role == "slave":
        yield Checkup(
            "replication", "bad", "this is a replica: it takes no writes", "use the primary, or redis+sentinel://"
        )
        return
    replicas = facts.number("connected_slaves")
    if role != "master" or replicas is None:
        return
    wanted = facts.settings.get("min-replicas-to-write", "")
    if replicas == 0:
        yield Checkup("replication", "ok", "a primary without replicas: there is no failover")
        return
    guarded = facts.account is not None and facts.account.recovery_grace_ms > 0
    detail = f"a primary with {replicas} replicas, min-replicas-to-write {wanted or 'not told'}"
    advice: list[str] = []
    if not guarded:
        advice.append(f"a failover may lose grants: 'pool set --recovery-grace 60s' for pool {facts.pool}")
    if wanted == "0":
        advice.append(
            "CONFIG SET min-replicas-to-write 1, min-replicas-max-lag 1: a primary that is cut off stops granting"
        )
    yield Checkup("replication", "warn" if advice else "ok", detail, "; ".join(advice))


def _clock(facts: Facts) -> Iterator[Checkup]:
    if facts.clock_behind_ms is None:
        return
    off = abs(facts.clock_behind_ms) > CLOCK_OFF_MS
    side = "behind" if facts.clock_behind_ms > 0 else "ahead of"
    detail = f"{abs(facts.clock_behind_ms) / 1000:.1f} s {side} this machine's"
    yield Checkup(
        "clock", "warn" if off else "ok", detail, "let both be kept by NTP, slewed and not stepped" if off else ""
    )


def _latency(facts: Facts) -> Iterator[Checkup]:
    slow = facts.round_trip_ms > SLOW_MS
    yield Checkup("latency", "warn" if slow else "ok", f"{facts.round_trip_ms:.1f} ms for a round trip")


def _identity(facts: Facts) -> Iterator[Checkup]:
    told = bool(facts.info.get("run_id"))
    needs = facts.account is not None and facts.account.recovery_grace_ms > 0
    if told or not facts.info:
        return
    yield Checkup("run id", "bad" if needs else "warn", "the server does not tell it", "a restart is not noticed by it")


def _scripts(facts: Facts) -> Iterator[Checkup]:
    failed = {name: said for name, said in facts.tried.items() if said}
    if not failed:
        yield Checkup("scripts", "ok", f"all {len(facts.tried)} were tried on a scratch pool, which is gone again")
        return
    for name, said in failed.items():
        command = re.search(
            r"need the command ([A-Z]+)|run the '(\w+)' command|permissions to run the '([\w|]+)'", said
        )
        word = next((one for one in command.groups() if one), "") if command else ""
        advice = f"ACL SETUSER <user> +{word.lower()}" if word else "'acl' prints users with the rights that are needed"
        yield Checkup(f"script {name}", "bad", said, advice)


def _refusals(facts: Facts) -> Iterator[Checkup]:
    for said in dict.fromkeys(facts.refused):
        yield Checkup("rights", "warn", said, "'acl' prints users with the rights that are needed")


def _pool(facts: Facts) -> Iterator[Checkup]:
    account = facts.account
    if account is None:
        return
    guard = (
        f"recovery grace {account.recovery_grace_ms / 1000:g} s, longest ttl {account.max_ttl_ms / 1000:g} s"
        if account.recovery_grace_ms
        else "no recovery grace: lost data is not waited for"
    )
    yield Checkup(f"pool {account.name}", "ok" if account.state == "active" else "warn", f"{account.state}; {guard}")
    if account.overcommitted:
        detail = f"overcommitted in {', '.join(account.overcommitted)}"
        yield Checkup(f"pool {account.name}", "warn", detail, "raise the capacity, or wait until enough is given back")
    if account.clock_offset_ms:
        detail = f"its time is {account.clock_offset_ms / 1000:.1f} s ahead of the server's, whose clock was set back"
        yield Checkup(
            f"pool {account.name}", "warn", detail, "deadlines are right; instants that people read are later"
        )


_CHECKS: Final[tuple[Callable[[Facts], Iterator[Checkup]], ...]] = (
    _version, _eviction, _memory, _persistence, _replication, _clock, _latency, _identity, _scripts, _refusals, _pool,
)  # fmt: skip


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
