"""Nothing may change on error: every key of the wrong type in turn, and a user who lacks each command in turn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import redis

from allocator._engine.protocol import scripts
from tests.scripts.ledger import MINUTE, T0, Ledger
from tests.scripts.waiting import wait

pytestmark = pytest.mark.breaks_data

REFUSED = re.compile("NoPermissionError|ACL failure|can't run this command|NOPERM|need the command")
"""How a server, or the script itself, says that the user may not run a command; Redis 7.0 has no code for it."""

COMMAND = re.compile(r"redis\.p?call\(\s*'([A-Z]+)'")


def _old_calls(pool: Ledger) -> None:
    """Ended calls that are old enough to be forgotten by whoever adds one."""
    pool.client.zadd(pool.keys["ended"], {f"old{n}": T0 - 5 * MINUTE for n in range(4)})


def _crowd(pool: Ledger) -> None:
    """Due and pinned, whole and broken, with nothing free, old marks to forget, scopes, one of them full, a waiter."""
    pool.set_quota("full", {"cpu": (2, 0, "-")})
    pool.set_quota("empty", {"memory": (2, "-", 0)})
    pool.set_quota("team-a", {"memory": (10, "-", 4)})
    pool.grant("due", {"cpu": 2, "memory": 1}, ttl=1000, scope="full")
    pool.grant("broken", {"cpu": 1}, ttl=1001)
    pool.grant("again", {"cpu": 2, "memory": 3}, ttl=1002, meta={"old": "x"})
    pool.grant("leased", {"cpu": 2, "memory": 5}, ttl=10 * MINUTE)
    pool.grant("pinned", {"cpu": 3}, ttl=0)
    wait(pool, "silent", {"cpu": 3}, meta={"old": "x"})
    pool.client.hset(pool.keys.record("broken"), "cpu.allocated", "many")
    pool.now += MINUTE
    _old_calls(pool)


def _grant(pool: Ledger) -> Any:
    return pool.allocate(pool.want("new", {"memory": 1}, meta={"k": "v"}), pool.want("kept", {"memory": 1}, ttl=0))


def _grant_over_the_dead(pool: Ledger) -> Any:
    return pool.allocate(
        pool.want("again", {"cpu": 2}),
        pool.want("leased", {"cpu": 2, "memory": 5}, ttl=0),
        pool.want("new", {"cpu": 2}),
        pool.want("pinned", {"cpu": 1}, repeated=1),
    )


def _extend(pool: Ledger) -> Any:
    return pool.allocate(pool.want("leased", {"cpu": 2, "memory": 5}, ttl=60 * MINUTE))


def _gang(pool: Ledger) -> Any:
    lines = [pool.want("again", {"cpu": 2}, repeated=1), pool.want("new", {"cpu": 9}, repeated=1)]
    return pool.allocate(*lines, atomic=1)


def _shorten(pool: Ledger) -> Any:
    lines = [pool.renew_line("leased", ttl=60 * MINUTE), pool.renew_line("pinned", ttl=1000, shorten=1)]
    return pool.renew(*lines, pool.renew_line("due", ttl=1, shorten=1))


def _batches(pool: Ledger) -> Any:
    return pool.delete(force=1, bounds={"RECLAIM_BATCH_MAX": 2})


def _adopt(pool: Ledger) -> Any:
    newer = pool.adopt_line("leased", {"cpu": 1}, fence=pool.revision + 1, ttl=0)
    return pool.adopt(pool.adopt_line("lost", {"cpu": 1}, fence=5), newer, reason="why")


def _begin(pool: Ledger) -> Any:
    return pool.begin_release(pool.begin_release_line("pinned", MINUTE), pool.begin_release_line("leased", MINUTE))


def _reconcile(pool: Ledger) -> Any:
    fence = int(pool.record("pinned")["fence"])
    pool.now += 1
    return pool.reconcile(("pinned", fence), owner="owner", as_of=pool.now)


def _damage(pool: Ledger) -> Any:
    pool.client.expire(pool.keys.record("leased"), 1000)
    pool.client.zadd(pool.keys["deadlines"], {"pinned": 5, "missing": 5})
    pool.client.hset(pool.keys.record("lost"), mapping={**pool.record("leased"), "fence": 1})
    return pool.repair(orphans=["lost"])


def _limit(pool: Ledger) -> Any:
    return pool.set_quota("team-a/alice", {"cpu": (1, 0, "-"), "memory": (3, 1, 1), "allocations": (2000, 0, "-")})


def _own_call(pool: Ledger) -> Any:
    return pool.undo((pool.record("leased")["call"], "leased"), ("other", "-"))


def _wait(pool: Ledger) -> Any:
    """Arrive, ask again, be granted, learn of it; come back from silence; the last try."""
    silent, line = pool.waiter("silent").get("call", ""), pool.want("full", {"cpu": 9}, wait=MINUTE)
    pool.allocate(line, pool.want("next", {"cpu": 8}, wait=MINUTE, meta={"k": "v"}, ttl=0))
    pool.allocate(line.again(), pool.want("silent", {"cpu": 10, "memory": 1}, wait=MINUTE, call=silent))
    pool.release("pinned")
    pool.allocate(line.again())
    return pool.allocate(pool.want("silent", {"cpu": 10}, call=silent))


def _withdraw(pool: Ledger) -> Any:
    pool.allocate(pool.want("full", {"cpu": 9}, wait=MINUTE), pool.want("next", {"cpu": 1}, wait=MINUTE))
    return pool.withdraw("full", "silent", "nobody", repeated=1)


def _undo_wait(pool: Ledger) -> Any:
    line = pool.want("full", {"cpu": 9}, wait=MINUTE)
    pool.allocate(line, pool.want("next", {"cpu": 1}, wait=MINUTE))
    return pool.undo((line.call, "full"))


ACTS: dict[str, tuple[str, Callable[[Ledger], Any]]] = {
    "grants": ("allocate", _grant),
    "grants over the dead": ("allocate", _grant_over_the_dead),
    "extends": ("allocate", _extend),
    "a gang that stops": ("allocate", _gang),
    "renews": ("renew", lambda pool: pool.renew("leased", "due")),
    "shortens": ("renew", _shorten),
    "grows over the dead": ("resize", lambda pool: pool.resize("leased", {"cpu": 5, "memory": 0})),
    "shrinks": ("resize", lambda pool: pool.resize("leased", {"cpu": 1})),
    "a repeated refusal": ("resize", lambda pool: pool.resize(pool.resize_line("leased", {"disk": 1}, repeated=1))),
    "releases": ("release", lambda pool: pool.release("leased", "pinned")),
    "a repeated release": ("release", lambda pool: pool.release(pool.release_line("none", repeated=1))),
    "undoes": ("undo", _own_call),
    "reclaims": ("reclaim", lambda pool: pool.reclaim(age=1)),
    "changes": ("configure_pool", lambda pool: pool.configure("change", {"gpu": 1, "cpu": 11})),
    "goes offline": ("configure_pool", lambda pool: pool.configure("offline")),
    "refuses a change": ("configure_pool", lambda pool: pool.configure("change", remove=["x"], repeated=1)),
    "deletes": ("delete_pool", lambda pool: pool.delete(force=1)),
    "deletes in batches": ("delete_pool", _batches),
    "refuses to delete": ("delete_pool", lambda pool: pool.delete(repeated=1)),
    "repairs": ("repair", _damage),
    "adopts": ("adopt", _adopt),
    "waits": ("allocate", _wait),
    "withdraws": ("withdraw", _withdraw),
    "undoes a wait": ("undo", _undo_wait),
    "begins a release": ("begin_release", _begin),
    "reconciles": ("reconcile", _reconcile),
    "limits": ("set_quota", _limit),
    "refuses a limit": ("set_quota", lambda pool: pool.set_quota("team-a", {"disk": (1, 0, "-")}, repeated=1)),
    "deletes a scope": ("delete_quota", lambda pool: pool.delete_quota("empty")),
    "refuses to delete a scope": ("delete_quota", lambda pool: pool.delete_quota("full", repeated=1)),
    "moves": ("move", lambda pool: pool.move("leased", "team-a")),
    "moves over the dead": ("move", lambda pool: pool.move("leased", "full")),
    "a repeated move": ("move", lambda pool: pool.move("leased", "nobody", repeated=1)),
}
"""What a crowded pool is asked for, so that every write of every script is met."""


def test_every_writing_script_is_tried() -> None:
    """A new one must not slip through."""
    assert {name for name, _ in ACTS.values()} == {name for name in scripts.names() if scripts.load(name).writes}


def _access(pool: Ledger) -> tuple[str, list[str], list[str | int]]:
    """What checks the caller's rights and the types of the pool's keys."""
    script = scripts.load("check_access")
    words: list[str | int] = [0, "", 0, "", ""]
    return (
        script.texts.memory_text if pool.memory else script.texts.text,
        [pool.keys[name] for name in script.keys],
        words,
    )


def _perform(
    pool: Ledger, act: Callable[[Ledger], Any], spoil: Callable[[], object] | None = None, user: Any = None
) -> str:
    """Spoil the pool once the call is spelled, send it, and return the error, or ""; on error nothing may change."""
    send, error = Ledger.send, ""

    def spoil_and_send(*args: Any, **options: Any) -> Any:
        nonlocal error
        if spoil:
            spoil()
        before = pool.dump()
        try:
            # What a client does before its first call on a connection.
            missing = send(pool, *_access(pool), **{**options, "client": user})
            if missing[0] == "missing":
                error = f"NOPERM {missing[1:]}"
                return [["failed"]]
            return send(pool, *args, **{**options, "client": user})
        except redis.ResponseError as failure:
            error = f"{type(failure).__name__}: {failure}"
            pool.assert_untouched(before)
            return [["failed"]]

    pool.send = spoil_and_send  # type: ignore[method-assign]
    act(pool)
    del pool.send
    return error


@pytest.mark.parametrize("act", ACTS)
def test_the_act_succeeds_where_nothing_is_spoiled(pool: Ledger, act: str) -> None:
    """Or the others would prove nothing."""
    _crowd(pool)
    before = pool.dump()
    assert _perform(pool, ACTS[act][1]) == ""
    assert pool.dump() != before


@pytest.mark.parametrize(
    "what",
    [
        "pool",
        "deadlines",
        "pinned",
        "ended",
        "events",
        "leased",
        "again",
        "due",
        "pinned one",
        "quotas",
        "quota:full",
        "waiting",
        "waiter:silent",
        "waiter:next",
    ],
)
@pytest.mark.one_store
@pytest.mark.parametrize("act", ACTS)
def test_a_key_of_the_wrong_type_changes_nothing_where_it_is_an_error(pool: Ledger, act: str, what: str) -> None:
    """Whether or not the call needs that key: on error everything is as it was."""
    _crowd(pool)
    names = {"leased": "leased", "again": "again", "due": "due", "pinned one": "pinned"}
    key = pool.keys.record(names[what]) if what in names else f"{pool.keys.base}{what}"

    def spoil() -> None:
        pool.client.delete(key)
        pool.client.set(key, "rubbish")

    error = _perform(pool, ACTS[act][1], spoil)
    assert re.match("(ResponseError: (WRONGTYPE|INVARIANT)|$)", error), error


def _words(name: str) -> list[str]:
    """The commands in a script's text."""
    return sorted(set(COMMAND.findall(scripts.load(name).texts.text)))


def _user_without(pool: Ledger, command: str) -> None:
    """A user who may do everything else."""
    pool.client.execute_command(
        "ACL", "SETUSER", "poor", "reset", "on", ">x", "~*", "&*", "+@all", f"-{command.lower()}"
    )


@pytest.mark.one_store
@pytest.mark.parametrize("act", ACTS)
def test_a_user_who_lacks_a_command_changes_nothing(real: Ledger, act: str) -> None:
    """Each command of the script in turn; Redis checks them one by one, in the middle of a script."""
    name = ACTS[act][0]
    socket = real.client.connection_pool.connection_kwargs["path"]
    denied: list[str] = []
    for command in _words(name):
        real.client.flushall()
        real.create({"cpu": 10, "memory": 100})
        real.now = T0
        _crowd(real)
        user = redis.Redis(unix_socket_path=socket, decode_responses=True, username="poor", password="x")
        _user_without(real, command)
        try:
            error = _perform(real, ACTS[act][1], user=user)
        finally:
            user.close()
            real.client.execute_command("ACL", "DELUSER", "poor")
        if error:
            denied.append(command)
            assert REFUSED.search(error), error
    assert "HMGET" in denied


def _undo_as_a_client_does(real: Ledger, user: Any) -> None:
    """Looking first whether it may."""
    if real.send(*_access(real), client=user)[0] in ("missing", b"missing"):
        raise redis.ResponseError("NOPERM")
    real.undo(("c", "a"), client=user)


def test_an_undo_from_a_pool_that_is_gone_changes_nothing_on_error(real: Ledger) -> None:
    """The one case in which it writes without a pool."""
    socket = real.client.connection_pool.connection_kwargs["path"]
    for command in ("zadd", "pexpire", "zrem"):
        _user_without(real, command)
        with redis.Redis(unix_socket_path=socket, username="poor", password="x") as user:
            with pytest.raises(redis.ResponseError, match=REFUSED):
                _undo_as_a_client_does(real, user)
            real.client.execute_command("ACL", "DELUSER", "poor")
        assert real.dump() == {}
