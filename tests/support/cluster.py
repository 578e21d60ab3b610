"""A Redis Cluster of real servers, formed in about two seconds, whose slots can be moved step by step.

(Two seconds are what a master waits by design before it accepts writes after a start.)

A migration is taken apart into its stages, because what matters happens between them: while a slot is *importing* on
one node and *migrating* on the other, a command whose keys are partly moved is answered TRYAGAIN, and one whose keys
are absent is answered ASK.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, cast

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from tests.support.servers import Engine, Server
from tests.support.waiting import wait_until

SLOTS: Final = 16_384

FORM_DEADLINE_S: Final = 60.0
"""Seconds for the nodes to agree; they take about two on an idle machine."""

OPTIONS: Final = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "2000",
    "cluster-require-full-coverage": "no",
    "cluster-announce-ip": "127.0.0.1",
    "repl-diskless-sync-delay": "0",
}


class Node:
    """One server of a cluster, with its id and a client that speaks to it alone."""

    def __init__(self, server: Server) -> None:
        self.server = server
        assert server.port is not None
        self.port = server.port
        self.client = redis.Redis(port=server.port, decode_responses=True, retry=Retry(NoBackoff(), 0))
        self.id = str(self.call("CLUSTER", "MYID"))

    def call(self, *words: str | int) -> Any:
        """Send one command to this node and return its reply as it comes."""
        return cast("Any", self.client).execute_command(*words)

    @property
    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO, by field."""
        lines = (line.partition(":") for line in str(self.call("CLUSTER", "INFO")).splitlines())
        return {name: value for name, _, value in lines}

    def is_synchronized(self) -> bool:
        """Whether this replica has its master's data and follows it."""
        return self.server.info("replication").get("master_link_status") == "up"

    def keys_in(self, slot: int, count: int = 1000) -> list[str]:
        """The keys of a slot that lie on this node."""
        return list(self.call("CLUSTER", "GETKEYSINSLOT", slot, count))

    def __repr__(self) -> str:
        return f"Node({self.port})"


class Cluster:
    """Masters that share the slots evenly, each with as many replicas as wanted.

    Every server dies with the test process.  Nothing is kept on disk.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        masters: int = 3,
        replicas: int = 0,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it; `start` or `with` starts it.

        Args:
            engine: Which program; the newest one present by default.
            masters: How many nodes have slots.
            replicas: How many replicas each of them has.
            options: Settings of every server, over ours.
        """
        self._engine = engine
        self._replicas_each = replicas
        self._size = masters * (1 + replicas)
        self._options = {**OPTIONS, **(options or {})}
        self._servers: list[Server] = []
        self._migrations: dict[int, tuple[Node, Node]] = {}
        self._master_count = masters
        self.nodes: list[Node] = []

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start all servers, let them meet, give out the slots, and return once every node says that all is well."""
        try:
            for _ in range(self._size):
                server = Server(self._engine, tcp=True, options=self._options)
                self._servers.append(server)
                self.nodes.append(Node(server.start()))
            self._form()
        except BaseException:
            self.close()
            raise
        return self

    def _form(self) -> None:
        share, rest = divmod(SLOTS, self._master_count)
        first = 0
        for number, node in enumerate(self.masters):
            last = first + share + (1 if number < rest else 0) - 1
            node.call("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first = last + 1
        for node in self.nodes[1:]:
            self.nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_until(self._all_have_met, timeout_s=FORM_DEADLINE_S, message="all nodes know each other by their ids")
        for number, node in enumerate(self.replicas):
            node.call("CLUSTER", "REPLICATE", self.masters[number % self._master_count].id)
        for node in self.replicas:
            wait_until(node.is_synchronized, timeout_s=FORM_DEADLINE_S, message="the replica follows its master")
        self._wait({"cluster_state": "ok", "cluster_slots_ok": str(SLOTS)})

    def _all_have_met(self) -> bool:
        """Whether every node lists every id (during the handshake a node goes by a random one)."""
        lists = [node.server.ask("CLUSTER", "NODES") for node in self.nodes]
        return all(node.id in known for node in self.nodes for known in lists)

    def _wait(self, fields: Mapping[str, str]) -> None:
        """Wait until CLUSTER INFO says so on every node."""
        wait_until(
            lambda: all(fields.items() <= node.cluster_info.items() for node in self.nodes),
            timeout_s=FORM_DEADLINE_S,
            message=f"every node reports {fields}",
        )

    def flush(self) -> None:
        """Empty every master for the next test, and take back a migration that was left half done."""
        for slot in list(self._migrations):
            self.cancel_migration(slot)
        for node in self.masters:
            node.call("FLUSHALL")
            node.call("SCRIPT", "FLUSH")

    def close(self) -> None:
        """Kill every server and remove its folder."""
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                node.client.close()
        for server in self._servers:
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- who has what ------------------------------------------------------------------------------------------------

    @property
    def masters(self) -> list[Node]:
        """The nodes that were given slots at the start."""
        return self.nodes[: self._master_count]

    @property
    def replicas(self) -> list[Node]:
        """The nodes that were made replicas at the start, the first one of each master first."""
        return self.nodes[self._master_count :]

    @property
    def url(self) -> str:
        """The URL of the first node, from which a cluster client finds the others."""
        return self.nodes[0].server.tcp_url

    @staticmethod
    def slot_of(key: str) -> int:
        """The slot of a key."""
        return key_slot(key.encode())

    def owner_of(self, slot: int) -> Node:
        """The master that serves the slot, as the first node sees it."""
        for first, last, (_, port, *_), *_ in self.nodes[0].call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"slot {slot} has no owner")

    def node_of(self, key: str) -> Node:
        """The master that serves the key."""
        return self.owner_of(self.slot_of(key))

    def other_than(self, node: Node) -> Node:
        """A master that is not this one: where to move a slot to."""
        return next(other for other in self.masters if other is not node)

    # -- moving a slot -----------------------------------------------------------------------------------------------

    def begin_migration(self, slot: int, source: Node | None = None, target: Node | None = None) -> tuple[Node, Node]:
        """Mark the slot as importing on the target and migrating on the source; no key moves yet.  Returns both."""
        source = source or self.owner_of(slot)
        target = target or self.other_than(source)
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        self._migrations[slot] = (source, target)
        return source, target

    def move_keys(self, slot: int, keys: Sequence[str] | None = None) -> list[str]:
        """Move the keys named, or all that are left, and return those that were moved."""
        source, target = self._migrations[slot]
        moved: list[str] = []
        while batch := list(keys) if keys is not None else source.keys_in(slot, 100):
            source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *batch)
            moved += batch
            if keys is not None:
                break
        return moved

    def finish_migration(self, slot: int) -> None:
        """Make the target the owner, and return once every node has heard of it.  All keys must have been moved."""
        source, target = self._migrations.pop(slot)
        for node in (target, source, *(node for node in self.masters if node not in (source, target))):
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        wait_until(lambda: self.owner_of(slot) is target, timeout_s=FORM_DEADLINE_S, message="the slot has moved")

    def cancel_migration(self, slot: int) -> None:
        """Bring back what was moved, and leave the slot where it was."""
        source, target = self._migrations.pop(slot)
        source.call("CLUSTER", "SETSLOT", slot, "STABLE")  # first: while it is migrating it answers ASK
        while batch := target.keys_in(slot, 100):
            target.call("MIGRATE", "127.0.0.1", source.port, "", 0, 5000, "REPLACE", "KEYS", *batch)
        target.call("CLUSTER", "SETSLOT", slot, "STABLE")  # last: it may MIGRATE only while it is importing

    def migrate(self, slot: int, to: Node) -> None:
        """Move the slot and all its keys, from begin to finish."""
        source = self.owner_of(slot)
        if source is not to:
            self.begin_migration(slot, source, to)
            self.move_keys(slot)
            self.finish_migration(slot)
