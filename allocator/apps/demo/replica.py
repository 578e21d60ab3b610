"""The process of one replica: `python -m allocator.apps.demo.replica`, started by the parent.

It reads and writes the labs' statuses through its stdin and stdout, one line of JSON each way.  When the parent ends,
for any reason, the pipe is closed, and the replica releases its allocations and ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any, Final, cast

from allocator import Allocator, AllocatorError, Resources
from allocator.apps.demo.cluster import Change, Phase, Transition
from allocator.apps.demo.controller import Controller, Counters, News, Plan
from allocator.apps.demo.lab_requests import LabRequest

__all__ = ["main", "read_message"]

ROUND_S: Final = 0.04
"""Seconds between two rounds: far less than a lab takes, and far more than a round."""

DEADLINE_MAX_S: Final = 3.0
"""The maximum of seconds for one call: a longer one would outlast leases."""


class _Pipe:
    """The statuses of the labs, through the pipe to the parent."""

    def __init__(self, incoming: IO[str], outgoing: IO[str]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._version = 0

    def sync(self, transitions: Sequence[Transition], counters: Counters) -> News:
        """Write transitions and read the changes.

        Raises:
            EOFError: The parent has ended.
        """
        wanted = [(move.index, move.phase, move.fence, move.reason) for move in transitions]
        message = {"since": self._version, "write": wanted, "counters": asdict(counters)}
        try:
            self._outgoing.write(json.dumps(message) + "\n")
            self._outgoing.flush()
        except OSError as error:
            raise EOFError from error
        reply = read_message(self._incoming)
        self._version = reply["version"]
        return News(
            elapsed_s=reply["elapsed_s"],
            stop=reply["stop"],
            accepted=reply["accepted"],
            changes=[Change(index, Phase(phase), replica, fence) for index, phase, replica, fence in reply["changes"]],
        )


def read_message(stream: IO[str]) -> dict[str, Any]:
    """Read one line of JSON.

    Raises:
        EOFError: There is no more.
    """
    line = stream.readline()
    if not line.endswith("\n"):
        raise EOFError
    return cast("dict[str, Any]", json.loads(line))


def main() -> int:
    """Read the assignment, then reconcile until the run is over or the parent has ended."""
    try:
        assignment = read_message(sys.stdin)
        labs = [
            LabRequest(name, Resources.of(resources), seconds, arrives)
            for name, resources, seconds, arrives in assignment["labs"]
        ]
        plan = Plan(labs, **assignment["plan"])
        replica = assignment["replica"]
        deadline_s = min(plan.ttl_s, DEADLINE_MAX_S)
        with Allocator.from_url(
            assignment["url"], pool=assignment["pool"], owner=replica, timeout=deadline_s
        ) as allocator:
            controller = Controller(
                plan,
                allocator,
                _Pipe(sys.stdin, sys.stdout),
                replica=replica,
                share=assignment["share"],
                shares=assignment["shares"],
                clock=time.monotonic,
            )
            try:
                while controller.reconcile():
                    time.sleep(ROUND_S)
            finally:
                controller.give_up()
    except EOFError:
        return 0
    except AllocatorError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
