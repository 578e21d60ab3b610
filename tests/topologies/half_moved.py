"""A pool whose slot is on its way from one node to another, with some of its keys here and some there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import redis

from allocator import Allocator, Request
from allocator._engine.operations import (
    allocate,
    check,
    events,
    lookup,
    pool_deletion,
    pool_usage,
    pools,
    reclaim,
    release,
    renew,
    resize,
    undo,
)
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.maintenance import audit
from allocator._engine.protocol.flows import Call, Flow, Scan
from allocator._engine.protocol.keys import pool_keys
from allocator._engine.protocol.resp import encode_call
from allocator._engine.transport.urls import resolve_target
from allocator.testing import Clock
from tests.clients.stores import cluster_url
from tests.support.cluster import Cluster, Node

POOL: Final = "lab"
KEYS: Final = pool_keys(POOL, "allocator")
SLOT: Final = Cluster.slot_of(KEYS["pool"])
ONE: Final = {"cpu": 1}

Dumps = Mapping[str, bytes]


class Halves:
    """The pool, its clients, and what of it lies where.

    Ten CPUs, of which five are taken one by one: by `a` and `b`, which are live, by `p`, which is pinned, by `due-1`
    and `due-2`, which are past their deadlines.  Every kind of key is there.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.clock = Clock()
        self.defaults = Defaults(POOL, "allocator", None)
        self.client = Allocator._on(resolve_target(cluster_url(cluster)), self.defaults, clock=self.clock)
        self._raw: dict[Node, Any] = {node: redis.Redis(port=node.port) for node in cluster.masters}
        self._prepare()
        self.source = cluster.owner_of(SLOT)
        self.target = cluster.other_than(self.source)
        self.whole = self.dumps(self.source)

    def close(self) -> None:
        self.client.close()
        for raw in self._raw.values():
            raw.close()

    def _prepare(self) -> None:
        self.client.pools.create(POOL, {"cpu": 10})
        for name in ("due-1", "due-2"):
            self.client.allocate(ONE, ttl=10, id=name)
        self.clock.advance(20)
        for name in ("a", "b"):
            self.client.allocate(ONE, ttl=60, id=name)
        self.client.allocate(ONE, ttl=None, id="p")
        self.client.release(self.client.allocate(ONE, ttl=60))

    # -- what may be called ------------------------------------------------------------------------------------------

    def calls(self) -> dict[str, Call]:
        """Each script, with what makes it look at other keys than those that its caller names."""
        defaults, large = self.defaults, {"cpu": 7}
        a_call = str(self.client._driver.run(_field("a", "call")))
        flows: dict[str, Any] = {
            "allocate": allocate.allocate(defaults, Request(large, 60, "new")),
            "allocate what is due": allocate.allocate(defaults, Request(large, 60, "due-1")),
            "allocate what is live": allocate.allocate(defaults, Request(ONE, 90, "a")),
            "pin what is live": allocate.allocate(defaults, Request(ONE, None, "a")),
            "allocate many": allocate.allocate_many(defaults, [Request(ONE, 90, "a"), Request(large, 60, "due-1")]),
            "allocate a gang": allocate.allocate_many(
                defaults, [Request(ONE, 90, "a"), Request(large, 60, "due-1")], atomic=True
            ),
            "refuse a gang": allocate.allocate_many(
                defaults, [Request(ONE, 60, "due-2"), Request(large, 60, "due-1")], atomic=True
            ),
            "renew": renew.renew_many(defaults, ["a", "b"], 90),
            "shorten": renew.renew(defaults, "a", 5, None, shorten=True),
            "give a deadline": renew.renew(defaults, "p", 5, None, shorten=True),
            "resize": resize.resize(defaults, "a", large),
            "release": release.release_many(defaults, ["a", "p"]),
            "undo": undo.undo(KEYS, [(a_call, "a")]),
            "reclaim": reclaim.reclaim(defaults),
            "reclaim by age": reclaim.reclaim(defaults, 0.001),
            "configure": pools.update(defaults, None, {"cpu": 3}),
            "delete": pool_deletion.delete(defaults, POOL, force=True),
            "repair": audit._mend(KEYS, "all", "0", ()),
            "audit": audit._read(KEYS, "all", "0"),
            "find orphans": audit._orphans(KEYS),
            "check": check.check(defaults, large, explain=True),
            "usage": pool_usage.usage(defaults),
            "get": lookup.get(defaults, "a"),
            "page": next(iter(lookup.scan(defaults))),
            "events": events.read(defaults, 10),
        }
        return {name: _first_call(flow) for name, flow in flows.items()}

    # -- what lies where ---------------------------------------------------------------------------------------------

    def splits(self) -> Iterator[Sequence[str]]:
        """Which keys have been moved already: each one alone, all but each one, and some halves."""
        keys = sorted(self.whole)
        records = [key for key in keys if ":allocation:" in key]
        yield from ([key] for key in keys)
        yield from ([key for key in keys if key != left] for left in keys)
        yield from (records, [key for key in keys if key not in records], keys[::2], keys[1::2], [], keys)

    def dumps(self, node: Node) -> Dumps:
        """What a node has of the slot, to the byte."""
        keys = sorted(node.keys_in(SLOT))
        with self._raw[node].pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.execute_command("ASKING")
                pipe.execute_command("DUMP", key)
            return dict(zip(keys, pipe.execute()[1::2], strict=True))

    def both(self) -> tuple[Dumps, Dumps]:
        """What both nodes have."""
        return self.dumps(self.source), self.dumps(self.target)

    def begin(self, moved: Sequence[str]) -> None:
        """Set the slot on its way, with these keys moved already."""
        self.cluster.begin_migration(SLOT, self.source, self.target)
        if moved:
            self.cluster.move_keys(SLOT, moved)

    def end(self) -> None:
        """Bring everything back."""
        self.cluster.cancel_migration(SLOT)

    def restore(self) -> None:
        """Make the pool what it was at first."""
        with self._raw[self.source].pipeline(transaction=False) as pipe:
            pipe.execute_command("FLUSHALL")
            for key, dump in self.whole.items():
                pipe.execute_command("RESTORE", key, 0, dump)
            pipe.execute()

    def send(self, call: Call, node: Node) -> Any:
        """The node's reply, or its error; it is asked as somebody who was sent there by the other one."""
        words = encode_call(call, 0, (self.clock(), "", 0))
        with self._raw[node].pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")
            pipe.execute_command("EVAL", call.script.texts.text, *words)
            return pipe.execute(raise_on_error=False)[1]

    def state(self) -> object:
        """What the pool has, and who holds it until when; None where there is none.  Audited, too."""
        if POOL not in self.client.pools.list():
            return None
        assert (report := self.client.maintenance.audit()), report
        pool = self.client.pools.get()
        live = {one.id: (one.resources.text(), one.ttl_ms, one.deadline_ms) for one in self.client.list()}
        return pool.capacity.text(), pool.allocated.text(), live


def _first_call(flow: Any) -> Call:
    steps = iter(flow)
    step = next(steps)
    while not isinstance(step, Call):
        step = steps.send([KEYS.record("a"), KEYS.record("p")] if isinstance(step, Scan) else 10.0)
    assert isinstance(step, Call), step
    return step


def _field(name: str, field: str) -> Flow[str]:
    """A field of a record, as the script `get` replies it."""
    call = _first_call(lookup.get(Defaults(POOL, "allocator", None), name))
    reply = yield call
    fields = dict(zip(reply[1::2], reply[2::2], strict=True))
    return str(fields[field])
