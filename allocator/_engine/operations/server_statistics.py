"""What a server counts of scripts: its INFO commandstats, by the command that ran them.

A server keeps no statistics of each script: it knows EVALSHA, and not what was run by it (docs/adr/0037).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from allocator._engine.protocol.flows import Command, CommandError, Flow
from allocator._engine.protocol.keys import PoolKeys

__all__ = ["ScriptStatistics", "script_statistics"]

_STATISTICS: Final = re.compile(
    r"^cmdstat_(?P<command>eval|eval_ro|evalsha|evalsha_ro):calls=(?P<calls>\d+),usec=(?P<usec>\d+)", re.MULTILINE
)


class ScriptStatistics(NamedTuple):
    """Of one command since the server started, of all its users: how many calls, and how long they ran."""

    command: str
    calls: int
    seconds: float


def script_statistics(pool: PoolKeys) -> Flow[tuple[ScriptStatistics, ...] | None]:
    """The statistics of the server that has the pool; None: the user may not read them.  One round trip."""
    reply = yield Command(pool, ("INFO", "commandstats"))
    if isinstance(reply, CommandError):
        return None
    found = _STATISTICS.finditer(str(reply))
    return tuple(ScriptStatistics(one["command"], int(one["calls"]), int(one["usec"]) / 1e6) for one in found)
