"""The first call on a connection, for each pool: whether the scripts may write here; no I/O.

Redis keeps what a script wrote before it failed.  What could fail in the midst of its writes, and would on each call,
is looked at once, by the script `check_access`: a command that the user may not run, a key of the pool that holds
another type.  One more round trip on each new connection; nothing is changed.
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
_ENVELOPE: Final = (0, "", 0, "")

_POOLS_MAX: Final = 1_000
"""Pools that are remembered of one connection; then all are looked at again."""


class Checked:
    """The connections of one server that were looked at, and for which pools."""

    __slots__ = ("_pools",)

    def __init__(self) -> None:
        self._pools: dict[int, set[str]] = {}

    def wants(self, connection: object, script: Script, pool: PoolKeys) -> bool:
        """Whether a call of this script is the first on the connection that may write to the pool."""
        return (
            script.writes
            and script.keys[:1] == ENVELOPE_KEYS[:1]
            and pool.base not in self._pools.get(id(connection), ())
        )

    def add(self, connection: object, pool: PoolKeys) -> None:
        """The pool was looked at on this connection."""
        pools = self._pools.setdefault(id(connection), set())
        if len(pools) >= _POOLS_MAX:
            pools.clear()
        pools.add(pool.base)

    def forget(self, connection: object) -> None:
        """The connection is gone."""
        self._pools.pop(id(connection), None)


def access_check(where: str, pool: PoolKeys) -> Exchange[None]:
    """Ask the script `check_access`.

    Raises:
        Fault: The call must not be sent.  Nothing of it was.
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
