"""Least-privilege users of the server, for the three kinds of clients: what `resource-allocator acl` prints.

The commands are read out of the scripts themselves, so they cannot fall behind; what the drivers send beside the
scripts is listed here, each with its reason.  (Method: the Redis documentation on ACL; tested on servers.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from allocator._engine.protocol import scripts
from allocator.errors import InvalidRequest
from allocator.settings import PREFIX_DEFAULT
from allocator.validation import key_prefix, owner_name, pool_name

__all__ = ["ROLES", "User", "user"]

_CALL: Final = re.compile(r"redis[._]p?call\(\s*'([A-Z]+)'")

_CONNECTS: Final = ("hello", "ping", "client|setname", "select", "info", "role", "cluster|slots", "asking")
"""What any client sends: to introduce itself, to look at the memory policy, to find the primary or the shard."""

_SETINFO: Final = "client|setinfo"
"""redis-py says which library it is; without the right it goes on.  Redis 7.0 does not know the command."""

_CONFIRMS: Final = ("wait",)
_CONFIRMS_FROM_7_2: Final = ("waitaof",)
"""Where a call or its pool asks for durability."""

_WRITES: Final = frozenset({"hdel", "hset", "persist", "pexpire", "unlink", "xadd", "zadd", "zrem"})

_EXAMINES: Final = ("scan", "config|get", "cluster|info", "acl|whoami")
"""`pools.list()` and audits walk the keys; `doctor` reads settings, and does without where it may not."""


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of client: what it is for, which scripts it sends, and what it may do with keys."""

    purpose: str
    scripts: tuple[str, ...]
    writes: bool


def _reading() -> tuple[str, ...]:
    return tuple(name for name in scripts.names() if not scripts.load(name).writes)


ROLES: Final = {
    "controller": Role("Everything but the server's own settings.", tuple(scripts.names()), writes=True),
    "inspector": Role("Looks, and can change nothing: usage, list, describe, events, check, audit.", _reading(), False),
    "cron": Role(
        "Cleans up: cleanup, reconcile, audit --repair.",
        (*_reading(), "reclaim", "reconcile", "release", "repair", "configure_pool", "undo"),
        writes=True,
    ),
}
"""By name."""


@dataclass(frozen=True, slots=True)
class User:
    """One user: its name and the rules, in the order in which they are applied."""

    name: str
    rules: tuple[str, ...]

    def command(self) -> tuple[str, ...]:
        """The words of an ACL SETUSER."""
        return ("ACL", "SETUSER", self.name, *self.rules)

    def line(self) -> str:
        """A line of a users.acl file, in which `reset` has no place."""
        return " ".join(("user", self.name, *(rule for rule in self.rules if rule != "reset")))


def user(
    role: str,
    *,
    name: str | None = None,
    password: str = "PASSWORD",  # noqa: S107 - a placeholder
    prefix: str = PREFIX_DEFAULT,
    pool: str | None = None,
    server: tuple[int, int] = (7, 0),
) -> User:
    """The user of a role.

    Args:
        role: `controller`, `inspector` or `cron`.
        name: Its name; None: the role's.
        password: For the rule; a placeholder unless told otherwise.
        prefix: Of the keys.
        pool: Only this pool's keys; None: those of all.
        server: The oldest version it is for; some commands and rules are younger than Redis 7.0.
    """
    if role not in ROLES:
        raise InvalidRequest(f"role: {role!r} is none of {', '.join(ROLES)}", field="role")
    known = ROLES[role]
    newer = server >= (7, 2)
    commands = {found.lower() for one in known.scripts for found in _CALL.findall(scripts.load(one).texts.text)}
    if known.writes:
        commands |= {"evalsha", "eval"}
    else:
        commands -= _WRITES  # they stand in what readings share with the others, and are never reached
    commands |= {"evalsha_ro", "eval_ro", *_CONNECTS, *_EXAMINES}
    commands |= {_SETINFO} if newer else set()
    if known.writes:
        commands |= {*_CONFIRMS, *(_CONFIRMS_FROM_7_2 if newer else ())}
    keys = f"{key_prefix(prefix)}:{{{pool_name(pool) if pool is not None else '*'}}}:*"
    rules = ("reset", "on", f">{password}", "resetchannels", "-@all", f"{'~' if known.writes else '%R~'}{keys}")
    return User(owner_name(name or role), (*rules, *(f"+{one}" for one in sorted(commands))))
