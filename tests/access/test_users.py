"""The users that `acl` prints, on real servers: they can do what they are for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis

from allocator import Allocator, BackendUnavailable, InvalidRequest
from allocator._engine import scripts
from allocator.access import ROLES, user
from tests.support.servers import Engine, Server

PASSWORD: Final = "canary"

VERSIONS: Final = {Engine.REDIS7: (7, 0), Engine.VALKEY8: (7, 2), Engine.VALKEY9: (7, 2)}

Do = Callable[[Allocator], object]

READS: Final[dict[str, Do]] = {
    "usage": lambda one: one.usage(),
    "pool": lambda one: one.pool(),
    "pools": lambda one: one.pools(),
    "get": lambda one: one.get("a"),
    "list": lambda one: list(one.allocations()),
    "events": lambda one: one.events(),
    "check": lambda one: one.check({"cpu": 9}, explain=True),
    "audit": lambda one: one.audit(),
}
CLEANS: Final[dict[str, Do]] = {
    "reclaim": lambda one: one.reclaim(older_than=0),
    "repair": lambda one: one.audit(repair=True),
    "release": lambda one: one.release("nobody"),
    "reconcile": lambda one: one.reconcile(["a"], one.usage().read_ms, owner="me"),
    "configure": lambda one: one.configure({"cpu": 10}),
}
TAKES: Final[dict[str, Do]] = {
    "allocate": lambda one: one.release(one.allocate({"cpu": 1}, ttl=60)),
    "durable": lambda one: one.allocate({"cpu": 1}, ttl=60, id="d", durability="memory"),
    "renew": lambda one: one.renew("a"),
    "resize": lambda one: one.resize("a", {"cpu": 1}),
    "begin_release": lambda one: one.begin_release(one.allocate({"cpu": 1}, ttl=60), grace=1),
    "create": lambda one: one.create_pool("other", {"cpu": 1}),
    "delete": lambda one: one.delete_pool("other", force=True),
}


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
        everything.create_pool("lab", {"cpu": 10})
        everything.allocate({"cpu": 2}, ttl=60, id="a")

    def login(role: str, **options: Any) -> Allocator:
        wanted = user(role, password=PASSWORD, server=VERSIONS[engine], **options)
        assert admin.execute_command(*wanted.command()) in (True, "OK")
        url = server.url.replace("unix://", f"unix://{wanted.name}:{PASSWORD}@")
        made.append(Allocator.from_url(url, pool="lab", owner="me", deadline=2.0))
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


@pytest.mark.parametrize(
    ("role", "name"),
    [("inspector", name) for name in CLEANS | TAKES if name not in ("reconcile", "repair")],
)
def test_an_inspector_can_change_nothing(login: Callable[..., Allocator], admin: Any, role: str, name: str) -> None:
    """Refused before anything is written, by the server itself."""
    client = login(role)
    before = stored(admin)
    with pytest.raises(BackendUnavailable) as refused:
        (CLEANS | TAKES)[name](client)
    assert refused.value.code == "no_permission"
    assert stored(admin) == before


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


def test_a_user_of_one_pool_has_no_other(login: Callable[..., Allocator], server: Server) -> None:
    """The key pattern ends at the hash tag."""
    client = login("controller", pool="lab")
    assert client.usage()
    with pytest.raises(BackendUnavailable):
        client.create_pool("other", {"cpu": 1})


def test_what_the_scripts_use_is_what_is_allowed() -> None:
    """It is read out of them; a lock that nobody opens is no use either."""
    rules = user("controller").rules
    for name in scripts.names():
        for command in ("HGETALL", "ZSCAN", "XREVRANGE", "PTTL"):
            if f"'{command}'" in scripts.load(name).text:
                assert f"+{command.lower()}" in rules
    assert not [rule for rule in user("inspector").rules if rule in ("+hset", "+unlink", "+eval", "+evalsha")]


@pytest.mark.parametrize("options", [{"name": "a b"}, {"prefix": "{x}"}, {"pool": "}"}])
def test_names_that_would_change_the_rules_are_refused(options: Any) -> None:
    """They are pasted into a shell."""
    with pytest.raises(InvalidRequest):
        user("controller", **options)
    with pytest.raises(InvalidRequest):
        user("god")
