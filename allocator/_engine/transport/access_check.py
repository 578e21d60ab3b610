"""Access check: whether the scripts may write to a pool, before the first writing call on a connection; no I/O.

Redis keeps what a script wrote before it failed.  The script `check_access` finds what would fail between the writes of
every call: a command that the user may not run, or a key of the pool with another type.  It costs one round trip for
each new connection and pool, and changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import ENVELOPE_KEYS, Argument, Script, load
from allocator._engine.transport import failures
from allocator._engine.transport.exchange import Exchange

__all__ = ["Checked", "access_check"]

_CHECK: Final = load("check_access")
_ENVELOPE: Final = (0, "", 0, "", "")

_POOLS_MAX: Final = 1_000
"""Pools remembered for one connection; beyond that all are checked again."""


class Checked:
    """The connections of one server that have passed the check, and the pools each passed it for."""

    __slots__ = ("_pools",)

    def __init__(self) -> None:
        self._pools: dict[int, set[str]] = {}

    def wants(self, connection: object, script: Script, pool: PoolKeys) -> bool:
        """Whether the check must precede a call of this script: it is the connection's first write to the pool."""
        return (
            script.writes
            and script.keys[:1] == ENVELOPE_KEYS[:1]
            and pool.base not in self._pools.get(id(connection), ())
        )

    def add(self, connection: object, pool: PoolKeys) -> None:
        """Record that the check has passed for the pool on this connection."""
        pools = self._pools.setdefault(id(connection), set())
        if len(pools) >= _POOLS_MAX:
            pools.clear()
        pools.add(pool.base)

    def forget(self, connection: object) -> None:
        """Drop a connection that is closed."""
        self._pools.pop(id(connection), None)


def access_check(where: str, pool: PoolKeys) -> Exchange[None]:
    """Run the script `check_access`.

    Raises:
        AttemptFailure: The call must not be sent; nothing was sent.
    """
    words: tuple[Argument, ...] = (len(_CHECK.keys), *_CHECK.bind_keys(pool), *_ENVELOPE)
    reply: Any = yield (*_CHECK.by_sha(in_process=False), *words)
    if isinstance(reply, ResponseError) and failures.is_unknown_script(reply):
        reply = yield (*_CHECK.by_text(in_process=False), *words)
    if isinstance(reply, Exception):
        failure = failures.reply_failure(where, reply, _CHECK)
        failure.ambiguous = False
        raise failure from reply
    if reply[0] == "missing":
        needed = ", ".join(reply[1:])
        raise failures.reply_failure(where, NoPermissionError(f"the scripts need the commands {needed}"), _CHECK)
