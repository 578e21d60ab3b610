"""The invariants of a pool, checked in Python over raw keys; shares no code with `audit.lua`.

(DESIGN, *Invariants*: indexes disjoint and complete, counters equal to the sums of their records, nothing negative,
nothing above its capacity unless that was lowered; and, for people: every number in full digits, no key that expires,
no field and no key that nobody declared.)
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Final

from allocator._engine.protocol.keys import PoolKeys
from tests.scripts.history_checks import STREAMS, check_history, is_counter

WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
ACCOUNT_FIELDS: Final = {
    "epoch",
    "generation",
    "revision",
    "schema",
    "created_ms",
    "whole_units",
    "state",
    "ended_cut_ms",
    "offline_until_ms",
    "options",
    "run_id",
    "recovering_until_ms",
    "recovering_why",
    "clock_ms",
    "clock_offset_ms",
    "gap_before_from_ms",
    "gap_before_to_ms",
    "gap_from_ms",
    "gap_to_ms",
    "live_share",
    "used_share",
    "used_ms",
    "history_ms",
}
LINE_FIELDS: Final = {
    "waiting_number", "waiting_shape", "waiting_passes", "waiting_first", "waiting_cursor", "waiting_marks",
    "waiting_looked_ms",
}  # fmt: skip
"""Of a pool where somebody waits."""

RECORD_FIELDS: Final = {
    "owner", "fence", "call", "granted_ms", "ttl_ms", "deadline_ms", "asserted_ms", "releasing_ms", "gap_ms", "ttls",
    "told", "ends_ms", "unclaimed_ttl_ms", "priority", "preempted_by", "share", "share_of",
}  # fmt: skip
WAITER_FIELDS: Final = {
    "owner", "call", "priority", "since_ms", "heard_ms", "until_ms", "lifetime_ms", "ttl_ms", "scope", "preempt",
    "victims", "number", "share_of", "gang", "live",
}  # fmt: skip
KINDS: Final = {
    "created", "configured", "granted", "resized", "renewed", "released", "undone", "call_undone", "reclaimed",
    "repaired", "broken", "deleted", "idempotency_trimmed", "releasing", "recovering", "rolled_back", "adopted",
    "deferred", "quota_set", "quota_deleted", "moved", "waiting",
    "withdrawn", "preempted",
}  # fmt: skip
KEYS: Final = {
    "pool", "deadlines", "pinned", "ended", "events", "quotas", "waiting", "priorities", "waiting_by_scope", "gangs",
    *STREAMS,
}  # fmt: skip
ACCOUNTS: Final = ("quota:", "node:", "reservation:")


def number(text: Any, what: str) -> int:
    """An exact integer in full digits: no sign, no exponent, no fraction, no leading zero."""
    assert WHOLE.fullmatch(str(text)), f"{what} is {text!r}"
    assert int(text) < 2**53, f"{what} is {text!r}"
    return int(text)


def check_pool(client: Any, keys: PoolKeys, *, overcommitted: bool = False) -> None:
    """Assert every invariant of one pool."""
    account: dict[str, str] = client.hgetall(keys["pool"])
    found = set(client.scan_iter(match=f"{keys.base}*", count=1000))
    record_keys = {key for key in found if key.startswith(keys.record(""))}
    fixed = {key.removeprefix(keys.base) for key in found - record_keys}
    names = {name for name in fixed if name.startswith(ACCOUNTS)}
    entries = {name for name in fixed if name.startswith("waiter:")}
    fixed -= names | entries
    assert fixed <= KEYS, f"keys that nobody declared: {fixed - KEYS}"
    if not account:
        assert not record_keys, f"records without a pool: {record_keys}"
        assert not entries, f"waiters without a pool: {entries}"
        assert fixed <= {"ended"}, f"left of a pool that is gone: {fixed}"
        assert not fixed or client.pttl(keys["ended"]) > 0, "what is left of a pool that is gone stays for ever"
        return
    capacity, allocated = _account(account)
    sums = dict.fromkeys(capacity, 0)
    charged: dict[str, dict[str, int]] = {name: {} for name in names}
    fences: set[int] = set()
    leased, pinned = _index(client, keys["deadlines"]), _index(client, keys["pinned"])
    ended = _index(client, keys["ended"])
    assert not leased.keys() & pinned.keys(), "an id is in both indexes"
    assert {keys.record(identity) for identity in leased | pinned} == record_keys, "indexes and records differ"
    for identity in leased | pinned:
        record: dict[str, str] = client.hgetall(keys.record(identity))
        _record(identity, record, leased.get(identity), pinned.get(identity))
        for name, amount in _amounts(record, f"{identity} ").items():
            assert name in sums, f"{identity} took {name}, which is not counted"
            sums[name] += amount
            for charge in _accounts(record):
                charged[charge][name] = charged[charge].get(name, 0) + amount
        for charge in _accounts(record):
            if charge.startswith("quota:"):
                charged[charge]["allocations"] = charged[charge].get("allocations", 0) + 1000
        fence = number(record["fence"], f"{identity} fence")
        assert 0 < fence <= int(account["revision"]), f"{identity} has fence {fence}, revision {account['revision']}"
        assert fence not in fences, f"fence {fence} twice"
        fences.add(fence)
        assert not set(record["call"].split()) & ended.keys(), f"{identity} is live, and one of its calls has ended"
    assert sums == allocated, f"records {sums}, counters {allocated}"
    for name, taken in charged.items():
        _check_account(client.hgetall(keys.base + name), name, taken, overcommitted=overcommitted)
    if not overcommitted:
        assert all(allocated[name] <= capacity[name] for name in capacity), f"{allocated} of {capacity}"
    _check_ranks(client, keys, account, leased.keys() | pinned.keys())
    check_shares(client, keys, account, leased.keys() | pinned.keys())
    _check_line(
        client, keys, account, {name.removeprefix("waiter:") for name in entries}, leased.keys() | pinned.keys()
    )
    for key in found:
        assert client.pttl(key) == -1, f"{key} would vanish by itself"
    _events(client, keys)
    check_history(client, keys, account)


def _check_line(client: Any, keys: PoolKeys, account: dict[str, str], entries: set[str], live: set[str]) -> None:
    """The line and its entries agree, nobody both waits and is live, and the pool knows whether anybody waits."""
    places = _index(client, f"{keys.base}waiting")
    assert places.keys() == entries, f"in line {set(places)}, entries {entries}"
    assert ("waits=1" in account.get("options", "").split()) == bool(places), f"{account.get('options')}, {places}"
    fields = LINE_FIELDS & account.keys()
    assert places or not fields, f"left of a line that is empty: {fields}"
    calls: set[str] = set()
    members: set[str] = set()
    order = []
    for identity in places:
        waiter: dict[str, str] = client.hgetall(f"{keys.base}waiter:{identity}")
        rest = {name for name in waiter if not name.startswith(("requested.", "meta.", "account."))}
        _check_gang(identity, waiter, entries, live)
        members |= {f"{name} {identity}" for name in _members(waiter)[1:]}
        rest = {name for name in rest if not name.startswith("member.")}
        assert rest <= WAITER_FIELDS, f"{identity} has fields that nobody declared: {rest - WAITER_FIELDS}"
        assert {"owner", "call", "priority", "since_ms", "heard_ms", "until_ms"} <= rest, waiter
        assert ("ttl_ms" in rest) != ("gang" in rest), waiter
        assert number(waiter["since_ms"], "since_ms") <= number(waiter["heard_ms"], "heard_ms")
        calls.add(waiter["call"])
        order.append((-int(waiter["priority"]), places[identity]))
    assert _index(client, f"{keys.base}gangs").keys() == members, "the index of members is not that of the gangs"
    assert len(calls) == len(places), "one call waits twice"
    assert order == sorted(order), f"a lower priority stands before a higher one: {order}"
    _check_by_scope(client, keys, places)


def _check_by_scope(client: Any, keys: PoolKeys, places: dict[str, int]) -> None:
    """Who waits where scopes have weights is in the index by scope, and nothing else is."""
    right: set[str] = set()
    for identity in places:
        waiter: dict[str, str] = client.hgetall(f"{keys.base}waiter:{identity}")
        if "number" in waiter:
            rank = 1000 - int(waiter["priority"])
            right.add(f"{waiter.get('share_of', '')} {rank:04} {int(waiter['number']):013} {identity}")
    assert set(_index(client, f"{keys.base}waiting_by_scope")) == right


def check_shares(client: Any, keys: PoolKeys, account: dict[str, str], live: Set[str]) -> None:
    """What each scope, or the pool, has is the sum over its records; the pool knows how many have weights."""
    sums: dict[str, int] = {}
    for identity in live:
        record: dict[str, str] = client.hgetall(keys.record(identity))
        assert ("share_of" not in record) or "share" in record, record
        if "share" in record:
            share = number(record["share"], f"{identity} share")
            assert 0 < share <= 1_000_000, record
            if "share_of" in record:
                assert f"quota:{record['share_of']}" in _accounts(record), f"{identity} counts elsewhere: {record}"
            sums[record.get("share_of", "")] = sums.get(record.get("share_of", ""), 0) + share
    weights = 0
    for scope in ["", *_index(client, f"{keys.base}quotas")]:
        fields = client.hgetall(f"{keys.base}quota:{scope}") if scope else account
        weights += "weight" in fields
        has = number(fields.get("live_share", "0"), f"{scope} live_share")
        assert has == sums.pop(scope, 0), f"{scope!r} has {has}: {fields}"
        assert re.fullmatch(r"\d+\.\d{9}", fields.get("used_share", "0.000000000")), fields
    assert not sums, f"counted by nobody: {sums}"
    options = dict(word.split("=", 1) for word in account.get("options", "").split())
    assert int(options.get("weights", "0")) == weights, f"{options}, {weights} weights"


def _members(waiter: dict[str, str]) -> list[str]:
    """The ids of a gang, in order; none: it is a single request."""
    return [waiter[f"member.{at}.id"] for at in range(1, int(waiter.get("gang", "0")) + 1)]


def _check_gang(identity: str, waiter: dict[str, str], entries: set[str], live: Set[str]) -> None:
    """An id that waits is live only where its gang knows that, and waits once."""
    members, known = _members(waiter), set(waiter.get("live", "").split())
    waiting = set(members or [identity]) - known
    assert not waiting & live, f"both wait and are live: {waiting & live}"
    assert known <= set(members), f"live, and no members: {known}"
    assert not members or members[0] == identity, f"{identity} is not the first of {members}"
    assert not set(members[1:]) & entries, f"wait twice: {members}, {entries}"
    for field in waiter:
        assert not field.startswith("member.") or 1 <= int(field.split(".")[1]) <= len(members), field


def _check_ranks(client: Any, keys: PoolKeys, account: dict[str, str], live: Set[str]) -> None:
    """Where preemption is permitted each live allocation has its rank, and nothing else has one."""
    ranks = _index(client, f"{keys.base}priorities")
    if "preemption=1" not in account.get("options", "").split():
        assert not ranks, f"ranks where nobody preempts: {ranks}"
        return
    right: dict[str, int] = {}
    for identity in live:
        record: dict[str, str] = client.hgetall(keys.record(identity))
        # By priority, then the newest first.
        right[identity] = (int(record.get("priority", "0")) + 1001) * 2**42 - 1 - int(record["granted_ms"])
    assert ranks == right, f"ranks {ranks}, records {right}"


def _accounts(record: dict[str, str]) -> list[str]:
    """The accounts beyond the pool that a record names, in order."""
    names = {field: value for field, value in record.items() if field.startswith("account.")}
    assert set(names) == {f"account.{at}" for at in range(1, len(names) + 1)}, f"gaps in {names}"
    return list(names.values())


def _check_account(account: dict[str, str], name: str, taken: dict[str, int], *, overcommitted: bool) -> None:
    """An account beyond the pool counts what is charged to it, and keeps to the capacities that it has."""
    allocated = _amounts(account, f"{name} ")
    for resource in allocated | taken:
        assert allocated.get(resource, 0) == taken.get(resource, 0), f"{name}: {resource}: {allocated}, records {taken}"
        limit = account.get(f"{resource}.capacity")
        assert overcommitted or limit is None or taken.get(resource, 0) <= int(limit), f"{name} is above its {resource}"
    if name.startswith("quota:"):
        _check_quota(account, name)


def _check_quota(quota: dict[str, str], name: str) -> None:
    """Its capacity is the most that its limits allow, and a plain one has no other limits."""
    most = {}
    for field, text in quota.items():
        resource, _, part = field.rpartition(".")
        if part == "borrowing_limit":
            most[f"{resource}.capacity"] = min(int(text) + int(quota.get(f"{resource}.nominal", 0)), 2**53 - 1)
        is_other = part == "lending_limit" or (part in ("kept", "guaranteed") and int(text) > 0)
        is_other = is_other or field in ("allocations.nominal", "allocations.borrowing_limit")
        assert not (is_other and quota.get("plain") == "1"), f"{name} is plain and has {field} {text}"
    stored = {field: int(text) for field, text in quota.items() if field.endswith(".capacity")}
    assert stored == most, f"{name}: {stored}, limits allow {most}"


def _account(account: dict[str, str]) -> tuple[dict[str, int], dict[str, int]]:
    capacity = {name[:-9]: number(text, name) for name, text in account.items() if name.endswith(".capacity")}
    allocated = _amounts(account, "")
    rest = {
        name for name in account if not name.endswith((".capacity", ".allocated", ".kept", ".guaranteed", ".total"))
    }
    rest = {name for name in rest - LINE_FIELDS if not is_counter(name)}
    _limits(account, capacity)
    assert rest <= ACCOUNT_FIELDS, f"fields that nobody declared: {rest - ACCOUNT_FIELDS}"
    assert {"epoch", "generation", "revision", "schema", "created_ms"} <= rest
    for name in ("generation", "revision", "schema", "created_ms"):
        number(account[name], name)
    assert capacity.keys() == allocated.keys(), f"capacity of {set(capacity)}, allocated of {set(allocated)}"
    assert set(account.get("whole_units", "").split()) <= capacity.keys()
    return capacity, allocated


def _limits(account: dict[str, str], capacity: dict[str, int]) -> None:
    """What is given out follows from the total, what is reserved and the overcommit; else there is no total."""
    options = dict(word.split("=", 1) for word in account.get("options", "").split())
    rules = {entry.split(":")[0]: entry.split(":")[1:] for entry in options.get("units", "").split(",") if entry}
    totals = {name[:-6]: number(text, name) for name, text in account.items() if name.endswith(".total")}
    assert rules.keys() <= capacity.keys(), f"units of {set(rules)}, which are not all counted"
    assert totals.keys() == {name for name, rule in rules.items() if rule[0] or rule[1]}
    for name, total in totals.items():
        reserved, more = (int(text or 0) for text in rules[name][:2])
        assert capacity[name] == (total - reserved) * (1000 + more) // 1000, f"{name}: {account}"


def _amounts(hash_: dict[str, str], what: str) -> dict[str, int]:
    return {name[:-10]: number(text, what + name) for name, text in hash_.items() if name.endswith(".allocated")}


def _index(client: Any, key: str) -> dict[str, int]:
    entries = client.zrange(key, 0, -1, withscores=True)
    assert all(score == int(score) for _, score in entries), f"{key} has fractions"
    return {member: int(score) for member, score in entries}


def _record(identity: str, record: dict[str, str], deadline_ms: int | None, granted_ms: int | None) -> None:
    rest = {name for name in record if not name.endswith(".allocated") and not name.startswith(("meta.", "account."))}
    assert rest <= RECORD_FIELDS, f"{identity} has fields that nobody declared: {rest - RECORD_FIELDS}"
    assert {"owner", "fence", "call", "granted_ms"} <= rest, f"{identity} lacks fields: {record}"
    number(record["granted_ms"], f"{identity} granted_ms")
    if deadline_ms is None:
        assert not rest & {"ttl_ms", "deadline_ms"}, f"{identity} is pinned and has a deadline: {record}"
        assert number(record["granted_ms"], "granted_ms") == granted_ms, f"{identity}: the index says {granted_ms}"
    else:
        assert number(record["deadline_ms"], "deadline_ms") == deadline_ms, f"{identity}: the index says {deadline_ms}"
        assert number(record["ttl_ms"], "ttl_ms") > 0
    ends_ms = record.get("ends_ms")
    if ends_ms is not None:
        told = [int(text) for text in record.get("told", "").split()]
        assert 0 not in told, f"{identity} is told to be pinned, and has a hard end"
        latest = max([deadline_ms or 2**53, *told])
        assert latest <= number(ends_ms, "ends_ms"), f"{identity} passes its hard end: {record}"


def _events(client: Any, keys: PoolKeys) -> None:
    for _, entry in client.xrange(keys["events"]):
        assert entry["kind"] in KINDS, entry
        for name, text in entry.items():
            if name == "fence" or name.endswith(".allocated"):
                number(text, f"event {name}")
