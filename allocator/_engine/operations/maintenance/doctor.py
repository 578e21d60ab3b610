"""doctor: read a server's state and settings, and try every script on a scratch pool with the caller's rights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final

from allocator._engine.operations import (
    adopt,
    allocate,
    check,
    events,
    lookup,
    pool_deletion,
    pool_usage,
    pools,
    queue,
    quotas,
    reclaim,
    release,
    renew,
    resize,
    undo,
    usage_history,
)
from allocator._engine.operations.defaults import AllocationOrId, Defaults
from allocator._engine.operations.maintenance import audit, reconcile
from allocator._engine.operations.maintenance.doctor_checks import ServerFacts, judge
from allocator._engine.protocol.flows import Call, Command, CommandError, Flow, TimeLeft
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import load, names
from allocator.errors import AllocatorError, UnknownPool
from allocator.models.allocations import Allocation, Request
from allocator.models.maintenance import DoctorReport
from allocator.models.pools import Pool

__all__ = ["diagnose"]

SECTIONS: Final = ("server", "memory", "persistence", "replication", "cluster")

SETTINGS: Final = ("appendfsync", "save", "min-replicas-to-write", "min-replicas-max-lag", "maxmemory-policy")

_TTL_S: Final = 60
_ID: Final = "one"
_OWNER: Final = "doctor"
_SCOPE: Final = "team-a"
_SCRATCH: Final = "doctor-"

_UNNAMED: Final = "run this command or subcommand"
_PLACE: Final = re.compile(r"script: ([0-9a-f]{40}), on @user_script:(\d+)")
_CALLED: Final = re.compile(r"redis[._]p?call\(\s*'([A-Z]+)'")

Try = Callable[["_Scratch"], Iterable[Any]]


def diagnose(defaults: Defaults, client_ms: Callable[[], int]) -> Flow[DoctorReport]:
    """All findings, those about the server first.

    Args:
        defaults: The client's; the pool need not exist.
        client_ms: This machine's clock, in milliseconds.
    """
    pool = defaults.pool
    facts = ServerFacts(pool=pool.name, prefix=pool.prefix)
    yield from _server(pool, facts)
    before: float = yield TimeLeft()
    time = yield Command(pool, ("TIME",))
    after: float = yield TimeLeft()
    facts.round_trip_ms = 1000 * max(0.0, before - after)
    if not isinstance(time, CommandError):
        facts.clock_behind_ms = client_ms() - (int(time[0]) * 1000 + int(time[1]) // 1000)
    try:
        facts.account = yield from pool_usage.get(defaults)
    except UnknownPool:
        facts.account = None
    except AllocatorError as error:
        facts.refused.append(f"usage: {error}")
    yield from _try_all(pool.prefix, facts)
    return DoctorReport(tuple(judge(facts)))


def _server(pool: PoolKeys, facts: ServerFacts) -> Flow[None]:
    """Read the server's INFO, settings and user, as far as this user may."""
    for section in SECTIONS:
        reply = yield Command(pool, ("INFO", section))
        if not isinstance(reply, CommandError):
            facts.info |= _fields(str(reply))
        elif "unknown command" in reply.text.lower():
            facts.no_info = True
            break
        else:
            facts.refused.append(f"INFO: {reply.text}")
    for name in SETTINGS:
        reply = yield Command(pool, ("CONFIG", "GET", name))
        if not isinstance(reply, CommandError):
            facts.settings |= _pairs(reply)
    if facts.info.get("cluster_enabled") == "1":
        reply = yield Command(pool, ("CLUSTER", "INFO"))
        facts.cluster = {} if isinstance(reply, CommandError) else _fields(str(reply))
    reply = yield Command(pool, ("ACL", "WHOAMI"))
    facts.user = "" if isinstance(reply, CommandError) else str(reply)


def _fields(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition(":") for line in text.splitlines()) if value}


def _pairs(reply: Any) -> dict[str, str]:
    if hasattr(reply, "items"):
        return {str(name): str(value) for name, value in reply.items()}
    return {str(name): str(value) for name, value in zip(reply[::2], reply[1::2], strict=False)}


# -- every script, once ------------------------------------------------------------------------------------------------


class _Scratch:
    """A scratch pool in which each script is called once, without waiting for replicas."""

    def __init__(self, prefix: str) -> None:
        self.defaults = Defaults(_SCRATCH + token_hex(6), prefix, _OWNER)
        self.held: Allocation | None = None
        self.made = False
        self.scope: str | None = None

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.defaults.pool.name

    @property
    def one(self) -> AllocationOrId:
        """The allocation that was made, or an id that does not exist."""
        return _ID if self.held is None else self.held


def _create(at: _Scratch) -> Flow[Pool]:
    made = yield from pools.create(at.defaults, at.name, {"cpu": 1})
    at.made = True
    return made


def _allocate(at: _Scratch) -> Flow[object]:
    outcome = yield from allocate.allocate(at.defaults, Request({"cpu": 1}, _TTL_S, id=_ID))
    at.held = outcome if isinstance(outcome, Allocation) else None
    return outcome


def _adopt(at: _Scratch) -> Flow[object]:
    assert at.held is not None
    return adopt.adopt(at.defaults, replace(at.held, id="two"), _TTL_S, "doctor")


def _reconcile(at: _Scratch) -> Flow[object]:
    usage = yield from pool_usage.usage(at.defaults)
    return (yield from reconcile.reconcile(at.defaults, (_ID,), usage.read_ms, _OWNER, 10))


def _set_quota(at: _Scratch) -> Flow[object]:
    quota = yield from quotas.set_quota(at.defaults, _SCOPE, {"cpu": 1})
    at.scope = quota.scope
    return quota


def _check_access(at: _Scratch) -> Flow[object]:
    script, pool = load("check_access"), at.defaults.pool
    return (yield Call(script, pool, script.bind_keys(pool), script.bind(epoch="", actor=pool.actor)))


def _find_orphans(at: _Scratch) -> Flow[object]:
    return (yield audit.find_orphans(at.defaults.pool, ()))


_TRIES: Final[tuple[tuple[str, Try], ...]] = (
    ("check_access", _check_access),
    ("configure_pool", _create),
    ("allocate", _allocate),
    ("check", lambda at: check.check(at.defaults, {"cpu": 1}, explain=True)),
    ("get_allocation", lambda at: lookup.get(at.defaults, _ID)),
    ("read_pool", lambda at: pool_usage.usage(at.defaults)),
    ("read_history", lambda at: usage_history.usage_history(at.defaults, None, 3600, None)),
    ("list_allocations", lambda at: lookup.page(at.defaults.pool, "deadlines", "0")),
    ("read_events", lambda at: events.read(at.defaults, 10)),
    ("audit", lambda at: audit.audit(at.defaults)),
    ("find_orphans", _find_orphans),
    ("set_quota", _set_quota),
    ("list_quotas", lambda at: quotas.list_quotas(at.defaults)),
    ("list_waiters", lambda at: queue.list_waiters(at.defaults)),
    ("withdraw", lambda at: queue.withdraw(at.defaults, "nobody")),
    ("move", lambda at: resize.move(at.defaults, at.one, at.scope)),
    ("renew", lambda at: renew.renew_many(at.defaults, (at.one,), _TTL_S)),
    ("resize", lambda at: resize.resize(at.defaults, _ID, {"cpu": "500m"})),
    ("adopt", _adopt),
    ("reconcile", _reconcile),
    ("begin_release", lambda at: release.begin_release(at.defaults, at.one, _TTL_S)),
    ("release", lambda at: release.release(at.defaults, at.one)),
    ("delete_quota", lambda at: quotas.delete(at.defaults, _SCOPE)),
    ("undo", lambda at: undo.undo(at.defaults.pool, (("doctor", _ID),))),
    ("reclaim", lambda at: reclaim.reclaim(at.defaults, limit=10)),
    ("repair", lambda at: audit.audit(at.defaults, repair=True)),
    ("delete_pool", lambda at: pool_deletion.delete(at.defaults, at.name, force=True)),
)
"""One attempt for each script, by its name, in an order in which each finds what it needs."""


def _try_all(prefix: str, facts: ServerFacts) -> Flow[None]:
    """Try each script once.  The scratch pool is deleted in any case; without errors the last attempt does it."""
    scratch = _Scratch(prefix)
    try:
        for name, attempt in _TRIES:
            yield from _try(name, attempt, scratch, facts)
    except Exception:
        yield from pool_deletion.delete(scratch.defaults, scratch.name, force=True)
        raise
    if scratch.made and facts.tried.get("delete_pool"):
        facts.left = scratch.name


def _try(name: str, attempt: Try, scratch: _Scratch, facts: ServerFacts) -> Flow[None]:
    if name == "adopt" and scratch.held is None:
        facts.skipped.append(name)
        return
    try:
        yield from attempt(scratch)
    except UnknownPool:
        facts.skipped.append(name)
    except AllocatorError as error:
        facts.tried[name] = _named(str(error))
    else:
        facts.tried[name] = ""


def _named(said: str) -> str:
    """The refusal, with the command that Redis 7.0 does not name, read from the script's line."""
    place = _PLACE.search(said)
    if _UNNAMED not in said or not place:
        return said
    script = next((one for one in map(load, names()) if one.sha == place[1]), None)
    lines = script.texts.text.splitlines()[int(place[2]) - 1 :] if script else []
    found = _CALLED.search("\n".join(lines[:2]))  # the command may be in the next line
    return said.replace(_UNNAMED, f"run {found[1]}") if found else said
