"""Call scripts by the names in their headers, and read what they left behind by plain commands.

Nothing of the clients, drivers or operations is used here: only the loader, which finds the scripts and their names.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

import pytest
import redis

from allocator._engine.protocol import schema, scripts
from allocator._engine.protocol.keys import PoolKeys
from tests.scripts.items import Line, amounts, fields, fields_of
from tests.scripts.looking import Looking

__all__ = ["AMOUNT_MAX", "MINUTE", "T0", "Ledger", "Line", "amounts", "broken", "contract", "fields", "fields_of"]

T0: Final = 1_700_000_000_000
"""The instant at which tests begin, in milliseconds.  Every call says what time it is: time passes only when told."""

MINUTE: Final = 60_000

AMOUNT_MAX: Final = 2**53 - 1


@dataclass
class Ledger(Looking):
    """One pool, spoken to by raw script calls."""

    client: Any
    memory: bool = False
    keys: PoolKeys = field(default_factory=lambda: PoolKeys("p"))
    now: int = T0
    epoch: str = ""
    actor: str = ""
    drawn: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def new_call(self) -> str:
        """A call id that no other call of this test has."""
        return f"call-{next(self.drawn)}"

    # -- calling -----------------------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        *lines: Line,
        tail: Sequence[str | int] = (),
        records: Sequence[str] = (),
        keys: Mapping[str, str] | None = None,
        client: Any = None,
        bounds: Mapping[str, int] | None = None,
        mark: tuple[str, int] | None = None,
        accounts: Sequence[str] = (),
        **args: str | int,
    ) -> Any:
        """Call a script; the reply as it comes.

        Args:
            name: Of the script.
            lines: Items; those with an id bring their record's key.
            tail: What stands for a last argument of kind `list` that is no `items`.
            records: Allocation ids whose keys follow the fixed ones, where they are no items.
            keys: Other keys by name.
            client: Another connection.
            bounds: Other values for bounds of the schema.
            mark: The epoch and the largest fence that the caller knows.
            accounts: Keys of accounts beyond the pool, after those of the items.
            args: The fixed arguments by name.
        """
        with mock.patch.dict(schema.LIMITS, bounds or {}):
            script = scripts.load.__wrapped__(name) if bounds else scripts.load(name)
            texts = script.texts
        fixed = [(keys or {}).get(key) or self.key(key) for key in script.keys]
        given = {"epoch": self.epoch, "actor": self.actor, **args}
        words: list[str | int] = [self.now, *(mark or ("", 0)), *script.bind(**given), *tail]
        own = [self.keys.record(identity) for identity in records]
        for line in lines:
            words += (line.call, line.repeated, *line.words)
            if line.id:
                own.append(self.keys.record(line.id))
        text = texts.memory_text if self.memory else texts.text
        return self.send(text, [*fixed, *own, *accounts], words, client=client)

    def send(self, text: str, keys: Sequence[str], words: Sequence[str | int], *, client: Any = None) -> Any:
        """EVAL."""
        return (client or self.client).execute_command("EVAL", text, len(keys), *keys, *words)

    def key(self, name: str) -> str:
        """The key that a header calls by that name."""
        return self.keys[name]

    # -- the scripts, each by what its header says --------------------------------------------------------------------

    def configure(
        self,
        mode: str,
        capacity: Mapping[str, int] | None = None,
        *,
        remove: Sequence[str] = (),
        whole: str = "-",
        generation: int = 0,
        strict: int = 0,
        call: str = "",
        repeated: int = 0,
        new_epoch: str = "",
        promises: str = "",
        floor: int = 0,
        new: int = 1,
        **options: Any,
    ) -> Any:
        settled = (mode, new_epoch, generation, strict, whole, promises, floor, new)
        words = (*settled, *amounts(capacity or {}), len(remove), *remove)
        line = Line("", call or self.new_call(), words, repeated)
        return self.run("configure_pool", line, **options)[0]

    def create(self, capacity: Mapping[str, int], *, whole: str = "-", epoch: str = "epoch-1", **options: Any) -> Any:
        return self.configure("create", capacity, whole=whole, new_epoch=epoch, **options)

    def want(
        self,
        identity: str,
        resources: Mapping[str, int],
        *,
        ttl: int = MINUTE,
        owner: str = "owner",
        meta: Mapping[str, str] | None = None,
        accounts: Sequence[str] = (),
        exclusive: bool = False,
        replaces: tuple[int, str] | None = None,
        scope: str = "",
        lifetime: int | str = 0,
        wait: int = 0,
        priority: int | None = None,
        preempt: int = 0,
        estimate: int = 0,
        call: str = "",
        repeated: int = 0,
    ) -> Line:
        """An item of `allocate`; `ttl` in milliseconds, 0 pins; `accounts`, beyond the pool, innermost first.

        `replaces`: fence and id of the allocation whose charge it takes; `lifetime`: ms until its hard end, 0: none;
        `wait` is in milliseconds.
        """
        entries = [(f"meta.{key}", value) for key, value in (meta or {}).items()]
        flat = itertools.chain.from_iterable(entries)
        pairs = [*(("account", name) for name in accounts), *([("exclusive", 1)] if exclusive else [])]
        if replaces is not None:
            pairs.append(("replaces", f"{replaces[0]}:{replaces[1]}"))
        if scope:
            pairs.append(("scope", scope))
        if wait:
            pairs.append(("wait", wait))
        if priority is not None:
            pairs.append(("priority", priority))
        if preempt:
            pairs.append(("preempt", preempt))
        if lifetime:
            pairs.append(("lifetime_ms", lifetime))
        if estimate:
            pairs.append(("estimate", estimate))
        counts = (len(resources), len(entries), len(pairs))
        words = (owner, ttl, *counts, *fields_of(resources), *flat, *itertools.chain.from_iterable(pairs))
        return Line(identity, call or self.new_call(), words, repeated)

    def allocate(self, *lines: Line, atomic: int = 0, **options: Any) -> Any:
        pairs = [pair for line in lines for pair in itertools.pairwise(line.words)]
        others = {f"{self.keys.base}{word}": None for option, word in pairs if option == "account"}
        others |= {
            self.keys.record(str(word).partition(":")[2]): None for option, word in pairs if option == "replaces"
        }
        return self.run("allocate", *lines, atomic=atomic, accounts=list(others), **options)

    def grant(self, identity: str, resources: Mapping[str, int], **options: Any) -> int:
        """Allocate one that must be granted.  Returns its fence."""
        reply = self.allocate(self.want(identity, resources, **options))[0]
        assert reply[0] == "granted", reply
        fence: int = reply[1]
        return fence

    def release_line(
        self, identity: str, fence: int = 0, *, epoch: str = "", known: int = 0, call: str = "", repeated: int = 0
    ) -> Line:
        """An item of `release`; `epoch` and `known`, a deadline, are what its holder was told."""
        return Line(identity, call or self.new_call(), (fence, epoch, known), repeated)

    def release(self, *lines: Line | str, reason: str = "released", **options: Any) -> Any:
        whole = [self.release_line(line) if isinstance(line, str) else line for line in lines]
        return self.run("release", *whole, reason=reason, **options)

    def renew_line(
        self,
        identity: str,
        *,
        fence: int = 0,
        ttl: int = 0,
        shorten: int = 0,
        epoch: str = "",
        known: int = 0,
        call: str = "",
        repeated: int = 0,
    ) -> Line:
        """An item of `renew`; `epoch` and `known`, a deadline, are what its holder was told."""
        return Line(identity, call or self.new_call(), (fence, ttl, shorten, epoch, known), repeated)

    def renew(self, *lines: Line | str, **options: Any) -> Any:
        whole = [self.renew_line(line) if isinstance(line, str) else line for line in lines]
        return self.run("renew", *whole, **options)

    def adopt_line(
        self,
        identity: str,
        resources: Mapping[str, int],
        *,
        fence: int,
        epoch: str = "epoch-1",
        owner: str = "owner",
        granted: int = T0,
        ttl: int = MINUTE,
        meta: Mapping[str, str] | None = None,
        scope: str = "",
        ends: int = 0,
        priority: int = 0,
        call: str = "",
        repeated: int = 0,
    ) -> Line:
        """An item of `adopt`: what a holder knows of its allocation."""
        entries = itertools.chain.from_iterable((f"meta.{key}", value) for key, value in (meta or {}).items())
        counts = (len(resources), len(meta or {}))
        words = (epoch, owner, fence, granted, ttl, scope, ends, priority, *counts, *fields_of(resources), *entries)
        return Line(identity, call or self.new_call(), words, repeated)

    def adopt(self, *lines: Line, reason: str = "", **options: Any) -> Any:
        return self.run("adopt", *lines, reason=reason, **options)

    def begin_release_line(
        self, identity: str, grace: int, *, fence: int = 0, call: str = "", repeated: int = 0
    ) -> Line:
        return Line(identity, call or self.new_call(), (fence, grace), repeated)

    def begin_release(self, *lines: Line, **options: Any) -> Any:
        return self.run("begin_release", *lines, **options)

    def reconcile(self, *held: tuple[str, int], owner: str, as_of: int, **options: Any) -> Any:
        """(allocation id, fence) each."""
        lines = [Line(identity, self.new_call(), (fence,)) for identity, fence in held]
        return self.run("reconcile", *lines, owner=owner, as_of_ms=as_of, **options)

    def resize_line(
        self, identity: str, resources: Mapping[str, int], *, fence: int = 0, call: str = "", repeated: int = 0
    ) -> Line:
        return Line(identity, call or self.new_call(), (fence, len(resources), *fields_of(resources)), repeated)

    def resize(self, identity: str | Line, resources: Mapping[str, int] | None = None, **options: Any) -> Any:
        if isinstance(identity, Line):
            return self.run("resize", identity, **options)[0]
        return self.run("resize", self.resize_line(identity, resources or {}), **options)[0]

    def undo(self, *calls: tuple[str, str], **options: Any) -> Any:
        """(call, allocation id) each."""
        return self.run("undo", *(Line(identity, call) for call, identity in calls), **options)

    def reclaim(self, *, limit: int = 200, age: int | None = None, **options: Any) -> Any:
        """`age` in milliseconds; None: no pinned ones."""
        return self.run("reclaim", limit=limit, age_ms="-" if age is None else age, **options)

    def check(
        self,
        resources: Mapping[str, int],
        *,
        explain: int = 0,
        ttl_ms: int | str = "",
        lifetime_ms: int | str = 0,
        scope: str = "",
        priority: int = 0,
        preempt: int = 0,
        **options: Any,
    ) -> Any:
        args: dict[str, Any] = {
            "explain": explain, "priority": priority, "preempt": preempt, "ttl_ms": ttl_ms,
            "lifetime_ms": lifetime_ms, "scope": scope, "resources": len(resources),
        }  # fmt: skip
        return self.run("check", tail=fields_of(resources), **args, **options)

    # -- quotas --------------------------------------------------------------------------------------------------------

    def set_quota(
        self,
        scope: str,
        limits: Mapping[str, tuple[int | str, int | str, int | str]],
        *,
        generation: int = 0,
        dry_run: int = 0,
        weight: int | str = "",
        call: str = "",
        repeated: int = 0,
        **options: Any,
    ) -> Any:
        """`limits`: resource -> nominal, borrowing limit, lending limit; "-": none."""
        words = (scope, generation, dry_run, weight, len(limits))
        flat = itertools.chain.from_iterable((name, *limit) for name, limit in limits.items())
        line = Line("", call or self.new_call(), (*words, *flat), repeated)
        return self.run("set_quota", line, **options)[0]

    def delete_quota(self, scope: str, *, call: str = "", repeated: int = 0, **options: Any) -> Any:
        return self.run("delete_quota", Line("", call or self.new_call(), (scope,), repeated), **options)[0]

    def list_quotas(self, scope: str = "", cursor: str = "", count: int = 100, **options: Any) -> Any:
        return self.run("list_quotas", scope=scope, cursor=cursor, count=count, **options)

    def move(self, identity: str, scope: str, *, fence: int = 0, call: str = "", repeated: int = 0) -> Any:
        return self.run("move", Line(identity, call or self.new_call(), (fence, scope), repeated))[0]

    # -- the line ------------------------------------------------------------------------------------------------------

    def withdraw(self, *identities: str, call: str = "", repeated: int = 0, **options: Any) -> Any:
        lines = [Line(identity, call or self.new_call(), (), repeated) for identity in identities]
        return self.run("withdraw", *lines, **options)

    def list_waiters(self, first: int = 1, count: int = 100, *, starts: int = 0, **options: Any) -> Any:
        return self.run("list_waiters", first=first, count=count, starts=starts, **options)

    # -- maintenance ---------------------------------------------------------------------------------------------------

    def audit(self, index: str = "all", cursor: str = "0", count: int = 100, **options: Any) -> Any:
        return self.run("audit", index=index, cursor=cursor, count=count, **options)

    def repair(
        self,
        mode: str = "all",
        *,
        cursor: str = "0",
        revision: int = 0,
        sums: Mapping[str, int] | None = None,
        orphans: Sequence[str] = (),
        call: str = "",
        **options: Any,
    ) -> Any:
        line = Line("", call or self.new_call(), (mode, cursor, revision, *amounts(sums or {})))
        return self.run("repair", line, records=orphans, **options)[0]

    def delete(self, *, force: int = 0, call: str = "", repeated: int = 0, **options: Any) -> Any:
        return self.run("delete_pool", Line("", call or self.new_call(), (force,), repeated), **options)[0]

    def page(self, index: str, cursor: str = "0", count: int = 100, **options: Any) -> Any:
        return self.run("list_allocations", index=index, cursor=cursor, count=count, **options)

    def read_history(
        self, *, interval: int = MINUTE, ago: int = 0, since: int = 0, after: int = 0, count: int = 240, **options: Any
    ) -> Any:
        args = {"interval_ms": interval, "ago_ms": ago, "since_ms": since, "after_ms": after, "count": count}
        return self.run("read_history", **args, **options)

    def read_events(self, since: str = "", count: int = 2, **options: Any) -> Any:
        return self.run("read_events", since=since, count=count, **options)

    def get(self, identity: str, **options: Any) -> Any:
        return self.run("get_allocation", keys={"record": self.keys.record(identity)}, **options)

    def set_state(self, word: str) -> None:
        """`offline` or `deleting`, as the scripts leave it."""
        until = {"offline_until_ms": self.now + MINUTE} if word == "offline" else {}
        self.client.hset(self.keys["pool"], mapping={"state": word, **until})


def broken(match: str) -> Any:
    """The error of broken data in the item that the caller named."""
    return _raises(f"^INVARIANT .*{match}")


def contract(match: str = "") -> Any:
    """The error of a caller that does not keep to the header."""
    return _raises(f"^CONTRACT .*{match}")


def _raises(match: str) -> Any:
    return pytest.raises(redis.ResponseError, match=match)
