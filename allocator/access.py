"""Least-privilege users of the server, for three kinds of clients, as `resource-allocator acl` prints them.

The commands are read from the scripts, so they are always complete.  The commands that the drivers send beside the
scripts are listed here, each with its reason.  (Method: the Redis documentation on ACL; tested on servers.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from allocator._engine.protocol import scripts
from allocator._engine.protocol.keys import WAKE
from allocator.errors import InvalidRequest
from allocator.settings import PREFIX_DEFAULT
from allocator.validation import key_prefix, owner_name, pool_name

__all__ = ["ROLES", "User", "user"]

_CALL: Final = re.compile(r"redis[._]p?call\(\s*'([A-Z]+)'")

_CONNECTS: Final = ("hello", "ping", "client|setname", "select", "info", "role", "cluster|slots", "asking")
"""Commands of every client: for the handshake, the eviction check, and to find the primary or the shard."""

_SETINFO: Final = "client|setinfo"
"""redis-py sends the library's name by it, and ignores a refusal.  Redis 7.0 does not have the command."""

_CONFIRMS: Final = ("wait",)
_CONFIRMS_FROM_7_2: Final = ("waitaof",)
"""Needed if a call or its pool requires durability."""

_LISTENS: Final = ("ssubscribe", "sunsubscribe")
"""A waiting call listens for the script that grants it.  Who may not do so asks every second instead."""

_FOLLOWS: Final = ("xread",)
"""A watch of the events blocks on the stream.  Who may not do so asks every second instead."""

_WRITES: Final = frozenset({"hdel", "hincrby", "hset", "persist", "pexpire", "unlink", "xadd", "zadd", "zrem"})

_EXAMINES: Final = ("scan", "config|get", "cluster|info", "acl|whoami")
"""`pools.list()` and audits scan the keys.  `doctor` reads settings, and skips those that it may not read."""


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of client: its purpose, its scripts, and its rights on keys and channels."""

    purpose: str
    scripts: tuple[str, ...]
    writes: bool


def _reading() -> tuple[str, ...]:
    return tuple(name for name in scripts.names() if not scripts.load(name).writes)


ROLES: Final = {
    "controller": Role("Everything but the server's own settings.", tuple(scripts.names()), writes=True),
    "inspector": Role(
        "Looks, and can change nothing: usage, lists, describe, events, check, audit.", _reading(), False
    ),
    "cron": Role(
        "Cleans up: cleanup, reconcile, audit --repair.",
        (*_reading(), "reclaim", "reconcile", "release", "repair", "configure_pool", "undo"),
        writes=True,
    ),
}
"""The roles, by name."""


@dataclass(frozen=True, slots=True)
class User:
    """One user: its name, and its rules in the order in which they apply."""

    name: str
    rules: tuple[str, ...]

    def command(self) -> tuple[str, ...]:
        """The words of an ACL SETUSER command."""
        return ("ACL", "SETUSER", self.name, *self.rules)

    def line(self) -> str:
        """A line of a users.acl file, which does not allow `reset`."""
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
        password: The password in the rule; the default is a placeholder.
        prefix: The prefix of the keys.
        pool: Only this pool's keys; None: those of all pools.
        server: The oldest server version it is for; some commands and rules are newer than Redis 7.0.
    """
    if role not in ROLES:
        raise InvalidRequest(f"role: {role!r} is none of {', '.join(ROLES)}", field="role")
    known = ROLES[role]
    newer = server >= (7, 2)
    commands = {found.lower() for one in known.scripts for found in _CALL.findall(scripts.load(one).texts.text)}
    if known.writes:
        commands |= {"evalsha", "eval"}
    else:
        commands -= _WRITES  # they are in shared modules and are never reached by a read-only script
    commands |= {"evalsha_ro", "eval_ro", *_CONNECTS, *_EXAMINES, *_FOLLOWS}
    commands |= {_SETINFO} if newer else set()
    if known.writes:
        commands |= {*_CONFIRMS, *(_CONFIRMS_FROM_7_2 if newer else ())}
    commands |= {*_LISTENS} if "allocate" in known.scripts else set()
    base = f"{key_prefix(prefix)}:{{{pool_name(pool) if pool is not None else '*'}}}:"
    rules = ["reset", "on", f">{password}", "resetchannels", "-@all", f"{'~' if known.writes else '%R~'}{base}*"]
    if known.writes:  # a script that gives back may grant a waiting call, and publishes that
        rules.append(f"&{base}{WAKE}:*")
    return User(owner_name(name or role), (*rules, *(f"+{one}" for one in sorted(commands))))
