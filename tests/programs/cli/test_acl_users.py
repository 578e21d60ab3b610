"""The users that `acl` prints, on real servers: they can do what they are for, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import redis

from allocator import Allocation, Allocator, BackendUnavailable, InvalidRequest, Request
from allocator._engine.protocol import scripts
from allocator._engine.protocol.keys import pool_keys
from allocator._sync.events import Events
from allocator._sync.maintenance import Maintenance
from allocator._sync.pools import Pools
from allocator._sync.queue import Queue
from allocator._sync.quotas import Quotas
from allocator.access import _WRITES, ROLES, user
from tests.clients.stores import cluster_url
from tests.support.cluster import Cluster
from tests.support.sentinel import Sentinels
from tests.support.servers import Engine, Server, engines
from tests.support.waiters import begun
from tests.support.waiting import wait_until

PASSWORD: Final = "canary"

VERSIONS: Final = {Engine.REDIS7: (7, 0), Engine.VALKEY8: (7, 2), Engine.VALKEY9: (7, 2)}

Do = Callable[[Allocator], object]


def _live(client: Allocator) -> Allocation:
    live = client.get("a")
    assert live is not None
    return live


def _held(client: Allocator) -> None:
    with client.hold({"cpu": 1}, ttl=60):
        pass


READS: Final[dict[str, Do]] = {
    "pools.usage": lambda one: one.pools.usage(),
    "pools.usage_history": lambda one: one.pools.usage_history(),
    "pools.get": lambda one: one.pools.get(),
    "pools.list": lambda one: one.pools.list(),
    "get": lambda one: one.get("a"),
    "list": lambda one: list(one.list()),
    "events.list": lambda one: one.events.list(),
    "events.since": lambda one: one.events.since("1-1"),
    "events.watch": lambda one: next(one.events.watch(since="1-1")),
    "quotas.get": lambda one: one.quotas.get("team-a"),
    "quotas.list": lambda one: one.quotas.list(),
    "quotas.tree": lambda one: one.quotas.tree("team-a"),
    "queue.list": lambda one: one.queue.list(),
    "check": lambda one: one.check({"cpu": 9}, explain=True),
    "maintenance.audit": lambda one: one.maintenance.audit(),
}
CLEANS: Final[dict[str, Do]] = {
    "maintenance.reclaim": lambda one: one.maintenance.reclaim(older_than=0),
    "repair": lambda one: one.maintenance.audit(repair=True),
    "release": lambda one: one.release("nobody"),
    "release_many": lambda one: one.release_many(["nobody"]),
    "maintenance.reconcile": lambda one: one.maintenance.reconcile(
        ["a"], one.pools.usage().read_ms, owner="me", max_released=9
    ),
    "pools.update": lambda one: one.pools.update(None, {"cpu": 10}),
    "pools.upgrade": lambda one: one.pools.upgrade(),
}
TAKES: Final[dict[str, Do]] = {
    "allocate": lambda one: one.release(one.allocate({"cpu": 1}, ttl=60)),
    "try_allocate": lambda one: one.try_allocate({"cpu": 1}, ttl=60, id="t"),
    "allocate_many": lambda one: one.allocate_many([Request({"cpu": 1}, 60, id="m")], atomic=True),
    "durable": lambda one: one.options(durability="memory").allocate({"cpu": 1}, ttl=60, id="d"),
    "waits": lambda one: one.release(one.allocate({"cpu": 1}, ttl=60, wait=5)),
    "queue.withdraw": lambda one: one.queue.withdraw("nobody"),
    "hold": _held,
    "renew": lambda one: one.renew("a"),
    "renew_many": lambda one: one.renew_many(["a"]),
    "resize": lambda one: one.resize("a", {"cpu": 1}),
    "quotas.set": lambda one: one.quotas.set("team-a", {"cpu": 4}),
    "move": lambda one: one.move("a", "team-a"),
    "quotas.delete": lambda one: one.quotas.delete("team-b"),
    "adopt": lambda one: one.adopt(_live(one), force="a test"),
    "begin_release": lambda one: one.begin_release("a", grace=1),
    "pools.create": lambda one: one.pools.create("other", {"cpu": 1}, recovery_grace=5, max_ttl=5, new=True),
    "pools.recover": lambda one: one.pools.recover(replace(one.pools.get("guarded"), name="lost")),
    "pools.end_recovery": lambda one: one.pools.end_recovery("guarded"),
    "pools.delete": lambda one: one.pools.delete("other", force=True),
}
"""In an order in which each finds what it needs."""

NAMESPACES: Final = {
    "pools.": Pools, "quotas.": Quotas, "queue.": Queue, "events.": Events, "maintenance.": Maintenance
}  # fmt: skip
ASKS_NO_SERVER: Final = {"close", *(name.removesuffix(".") for name in NAMESPACES)}


@pytest.fixture
def admin(server: Server) -> Iterator[Any]:
    """Whoever may do everything."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client
        for role in ROLES:
            client.execute_command("ACL", "DELUSER", role)


@pytest.fixture
def login(server: Server, engine: Engine, admin: Any) -> Iterator[Callable[..., Allocator]]:
    """A client with a role's rights, on a pool that has `a`."""
    made: list[Allocator] = []
    with Allocator.from_url(server.url, pool="lab", owner="me") as everything:
        everything.pools.create("lab", {"cpu": 10})
        everything.allocate({"cpu": 2}, ttl=60, id="a")
        everything.allocate({"cpu": 1}, ttl=60, id="gone")
        everything.pools.create("guarded", {"cpu": 1}, recovery_grace=5, max_ttl=5, new=True)

    def login(role: str, **options: Any) -> Allocator:
        wanted = user(role, password=PASSWORD, server=VERSIONS[engine], **options)
        assert admin.execute_command(*wanted.command()) in (True, "OK")
        url = server.url.replace("unix://", f"unix://{wanted.name}:{PASSWORD}@")
        made.append(Allocator.from_url(url, pool="lab", owner="me", timeout=2.0))
        return made[-1]

    yield login
    for client in made:
        client.close()


def stored(admin: Any) -> dict[str, Any]:
    """Everything but what passes by itself."""
    return {key: admin.dump(key) for key in sorted(admin.keys("*"))}


@pytest.mark.parametrize("role", ROLES)
def test_a_user_can_do_what_it_is_for(login: Callable[..., Allocator], role: str) -> None:
    """With no error, and no warning about rights."""
    client = login(role)
    wanted = READS | (CLEANS if role != "inspector" else {}) | (TAKES if role == "controller" else {})
    for name, do in wanted.items():
        try:
            do(client)
        except BackendUnavailable as error:
            raise AssertionError(f"{role} may not {name}: {error}") from error


@pytest.mark.parametrize("name", [name for name in CLEANS | TAKES if name != "repair"])
def test_an_inspector_can_change_nothing(login: Callable[..., Allocator], admin: Any, name: str) -> None:
    """Refused before anything is written, by the server itself."""
    client = login("inspector")
    before = stored(admin)
    with pytest.raises(BackendUnavailable) as refused:
        (CLEANS | TAKES)[name](client)
    assert refused.value.code == "no_permission"
    assert stored(admin) == before


@pytest.mark.parametrize("role", ROLES)
def test_books_are_mended_by_who_may_write(login: Callable[..., Allocator], admin: Any, role: str) -> None:
    """A clean pool is only read, so this one is not."""
    client = login(role)
    admin.hincrby("allocator:{lab}:pool", "cpu.allocated", 1000)
    if role != "inspector":
        assert client.maintenance.audit(repair=True).status == "repaired"
        return
    with pytest.raises(BackendUnavailable) as refused:
        client.maintenance.audit(repair=True)
    assert refused.value.code == "no_permission"
    assert admin.hincrby("allocator:{lab}:pool", "cpu.allocated", -1000) == 3000


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "words",
    [("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("GET", "theirs"), ("DEBUG", "SLEEP", "0")],
)
def test_no_user_has_more_rights_than_that(
    login: Callable[..., Allocator], server: Server, role: str, words: tuple[str, ...]
) -> None:
    """Not over the server, not over keys of others, not from within a script either."""
    login(role)
    url = server.url.replace("unix://", f"unix://{role}:{PASSWORD}@")
    with redis.Redis.from_url(url) as client:
        with pytest.raises(redis.ResponseError, match=r"(?i)permission"):
            client.execute_command(*words)
        command = "EVAL_RO" if role == "inspector" else "EVAL"
        with pytest.raises(redis.ResponseError):
            client.execute_command(command, "return redis.call('HGETALL', KEYS[1])", 1, "theirs")


@pytest.mark.parametrize("pool", [None, "lab"])
def test_who_waits_listens_and_who_releases_wakes_it(
    login: Callable[..., Allocator], admin: Any, pool: str | None
) -> None:
    """The server has refused neither, which it would log; it may listen on no other channel."""
    client, other = login("controller", pool=pool), login("cron", pool=pool)
    admin.execute_command("ACL", "LOG", "RESET")
    with begun(client, {"cpu": 8}, id="next") as waiting:
        wait_until(lambda: admin.execute_command("PUBSUB", "SHARDCHANNELS"), message="a channel")
        other.release("a")
        assert waiting.result(60).created
    assert admin.execute_command("ACL", "LOG") == []
    channel = "theirs" if pool is None else "allocator:{other}:wake:x"
    assert "permission" in str(admin.execute_command("ACL", "DRYRUN", "controller", "SSUBSCRIBE", channel))


def test_a_user_of_one_pool_has_no_other(login: Callable[..., Allocator], server: Server) -> None:
    """The key pattern ends at the hash tag."""
    client = login("controller", pool="lab")
    assert client.pools.usage()
    with pytest.raises(BackendUnavailable):
        client.pools.create("other", {"cpu": 1})


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("pool", [None, "lab"])
def test_who_may_allocate_may_listen_for_it(
    login: Callable[..., Allocator], server: Server, role: str, pool: str | None
) -> None:
    """On the channels of waiting calls, of its pools, and on no other."""
    login(role, pool=pool)
    heard = pool_keys("lab", "allocator").wake_channel("c")
    elsewhere = pool_keys("else", "allocator").wake_channel("c")
    allowed = {heard} | ({elsewhere} if pool is None else set())
    url = server.url.replace("unix://", f"unix://{role}:{PASSWORD}@")
    for channel in (heard, elsewhere, "allocator:{lab}:pool", "theirs"):
        with redis.Redis.from_url(url, protocol=2) as client, client.pubsub() as listening:
            listening.execute_command("SSUBSCRIBE", channel)
            if role == "controller" and channel in allowed:
                assert listening.parse_response()[0] == b"ssubscribe"
            else:
                with pytest.raises(redis.ResponseError, match=r"(?i)permission"):
                    listening.parse_response()


@pytest.mark.parametrize("role", ["controller", "cron"])
def test_who_gives_back_may_have_the_script_publish_it(role: str) -> None:
    """The right to the command comes from the scripts; that to the channel does not."""
    assert "&allocator:{*}:wake:*" in user(role).rules
    assert "&allocator:{lab}:wake:*" in user(role, pool="lab").rules
    assert not [rule for rule in user("inspector").rules if rule.startswith("&")]


def test_every_method_is_tried_with_every_user() -> None:
    """One that is added later must not be forgotten."""
    tried = set(READS | CLEANS | TAKES) - {"durable", "repair", "waits"}
    sends = {name for name in vars(Allocator) if not name.startswith("_")} - ASKS_NO_SERVER
    for place, kind in NAMESPACES.items():
        sends |= {place + name for name in vars(kind) if not name.startswith("_")}
    assert tried | {"maintenance.doctor"} == sends


def test_what_the_scripts_call_is_what_is_allowed() -> None:
    """Read out of the files by other means than those of the program; none is called by a name that is worked out."""
    text = "".join(path.read_text(encoding="utf-8") for path in scripts.folder().rglob("*.lua"))
    calls = re.findall(r"redis\.p?call\(\s*([^,)]+)", re.sub(r"--\[\[.*?\]\]|--[^\n]*", "", text, flags=re.DOTALL))
    assert all(re.fullmatch(r"'[A-Z]+'", call.strip()) for call in calls), sorted(set(calls))
    called = {call.strip().strip("'").lower() for call in calls}
    rules = {rule.removeprefix("+") for rule in user("controller").rules if rule.startswith("+")}
    sent = {"evalsha", "eval", "evalsha_ro", "eval_ro", "hello", "ping", "select", "asking", "role", "wait", "scan"}
    sent |= {"ssubscribe", "sunsubscribe", "xread"}
    assert {rule for rule in rules if "|" not in rule} == called | sent | {"info"}


def test_what_writes_is_what_the_server_calls_so(server: Server, admin: Any) -> None:
    """So that the inspector has none of it."""
    rules = {rule.removeprefix("+") for rule in user("controller").rules if rule.startswith("+") and "|" not in rule}
    told = admin.execute_command("COMMAND", "INFO", *sorted(rules))
    writing = {name for name, one in _commands(told) if "write" in one}
    assert writing == set(_WRITES)
    assert not writing & {rule.removeprefix("+") for rule in user("inspector").rules}


def _commands(told: Any) -> Iterator[tuple[str, Any]]:
    """Name and flags of each, however redis-py puts it."""
    if isinstance(told, dict):
        yield from ((name, one["flags"]) for name, one in told.items())
    else:
        yield from ((one[0], one[2]) for one in told)


@pytest.mark.parametrize("options", [{"name": "a b"}, {"prefix": "{x}"}, {"pool": "}"}])
def test_names_that_would_change_the_rules_are_refused(options: Any) -> None:
    """They are pasted into a shell."""
    with pytest.raises(InvalidRequest):
        user("controller", **options)
    with pytest.raises(InvalidRequest):
        user("god")


def test_the_users_of_a_cluster_and_behind_sentinels_can_find_the_way() -> None:
    """They ask for the slots, or a server for its role."""
    wanted = user("controller", password=PASSWORD, server=VERSIONS[engines()[0]])
    with Cluster() as formed:
        for node in formed.masters:
            node.call(*wanted.command())
        url = cluster_url(formed).replace("://", f"://{wanted.name}:{PASSWORD}@")
        _is_fit(url, "cluster")
    with Sentinels() as watched:
        for server in watched.servers:
            server.ask(*wanted.command())
        _is_fit(watched.url.replace("://", f"://{wanted.name}:{PASSWORD}@"), "replication")


def _is_fit(url: str, check: str) -> None:
    with Allocator.from_url(url, pool="lab", owner="me") as client:
        client.pools.create("lab", {"cpu": 10})
        for name, do in (READS | {"durable": TAKES["durable"]}).items():
            assert do(client) is not None or name in ("get", "quotas.get")
        found = client.maintenance.doctor()
        assert found
        assert not [one for one in found.checks if one.name == "rights" or one.verdict == "unknown"]
        assert check in [one.name for one in found.checks]
