"""The parent's side of the replicas: processes, each served by a thread.

A replica has a separate session, so that Ctrl-C reaches only the parent, which then ends the replicas in order.  It
ends by itself when its pipe is closed, so that none remains even if the parent is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, Self

from allocator.apps.demo.cluster import Cluster, Phase, Transition
from allocator.apps.demo.controller import Counters, Plan
from allocator.apps.demo.replica import read_message

__all__ = ["Fleet", "Replica"]

END_S: Final = 6.0
"""Seconds that a replica may take to end before it is killed; each of its calls takes at most 3."""

CUT_S: Final = 2.0
"""The same if the run is aborted."""


class Replica:
    """One replica's process."""

    def __init__(
        self, name: str, assignment: Mapping[str, Any], answer: Callable[[Replica, dict[str, Any]], str]
    ) -> None:
        self.name = name
        self.counters = Counters()
        self.killed = False
        self.complaint = ""
        """The last line that it wrote to stderr; set by `close`."""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "allocator.apps.demo.replica"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        self._thread = threading.Thread(target=self._serve, args=(assignment, answer), name=name, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def failed(self) -> bool:
        """Whether it has ended by itself with an error."""
        return not self.killed and bool(self.code)

    def kill(self) -> None:
        """Kill it by SIGKILL, without a release.  On return its earlier messages have been handled."""
        self.killed = True
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def close(self, patience_s: float) -> None:
        """Wait until it has ended; kill it if that takes too long.  It may be called again."""
        if self._errors.closed:
            return
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()  # it ends with the pipe
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        self.complaint = next((line for line in reversed(lines) if line.strip()), "")
        self._errors.close()

    def _serve(self, assignment: Mapping[str, Any], answer: Callable[[Replica, dict[str, Any]], str]) -> None:
        """Serve the replica until it ends.  An error of the pipe counts as its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with self._process.stdin as outgoing, self._process.stdout as incoming:
                outgoing.write(json.dumps(assignment) + "\n")
                outgoing.flush()
                while True:
                    outgoing.write(answer(self, read_message(incoming)) + "\n")
                    outgoing.flush()
        except (EOFError, OSError):
            return


class Fleet:
    """All replicas of a run, and their clock.  A context manager: at its exit all replicas have ended."""

    def __init__(self, cluster: Cluster, plan: Plan, *, url: str, pool: str, replicas: int) -> None:
        """Start the replicas.

        Args:
            cluster: The labs' statuses, which the replicas write.
            plan: The labs and their outcomes.
            url: The server.
            pool: The pool to allocate from.
            replicas: The number of processes.
        """
        self._cluster = cluster
        self._cut = False
        self._labs = len(plan.labs)
        self.begun_s = time.monotonic()
        terms = {"ttl_s": plan.ttl_s, "speed": plan.speed, "seed": plan.seed, "failing": plan.failing}
        labs = [(lab.name, dict(lab.resources), lab.seconds, lab.arrives) for lab in plan.labs]
        self.replicas: list[Replica] = []
        try:
            for share in range(replicas):
                name = f"replica-{share + 1}"
                assignment = {
                    "labs": labs,
                    "plan": terms,
                    "url": url,
                    "pool": pool,
                    "replica": name,
                    "share": share,
                    "shares": replicas,
                }
                self.replicas.append(Replica(name, assignment, self._answer))
        except BaseException:
            self.cut()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start: the time of all replicas."""
        return time.monotonic() - self.begun_s

    @property
    def over(self) -> bool:
        """Whether every lab has reached its end."""
        phases = self._cluster.phases()
        return phases[Phase.COMPLETED] + phases[Phase.FAILED] == self._labs

    @property
    def alive(self) -> list[Replica]:
        """The replicas that are running."""
        return [replica for replica in self.replicas if replica.code is None]

    def join(self) -> None:
        """Wait for the replicas, which end by themselves once every lab has."""
        for replica in self.replicas:
            replica.close(END_S)

    def cut(self) -> None:
        """Close the pipes of all replicas, so that they release their allocations and end."""
        self._cut = True
        ends = time.monotonic() + CUT_S
        for replica in self.replicas:
            replica.close(max(0.0, ends - time.monotonic()))

    def _answer(self, replica: Replica, message: Mapping[str, Any]) -> str:
        if self._cut:
            raise EOFError
        replica.counters = Counters(**message["counters"])
        wanted = [Transition(index, Phase(phase), fence, reason) for index, phase, fence, reason in message["write"]]
        accepted = self._cluster.write(replica.name, wanted)
        version, changes = self._cluster.since(message["since"])
        return json.dumps(
            {
                "version": version,
                "elapsed_s": self.elapsed_s,
                "stop": self.over,
                "accepted": accepted,
                "changes": [(change.index, change.phase, change.replica, change.fence) for change in changes],
            }
        )
