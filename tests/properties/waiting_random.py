"""Random stories of a pool in which requests wait, told to the scripts and to the model.

After each step: the replies, the line, the live allocations and their deadlines are the model's, and the counters the
sums.  `python -m tests.properties.waiting_random --stories 5000 --seed 1` tells more of them than the suite.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import redis

from tests.properties.waiting_gangs import GangModel
from tests.properties.waiting_order import Asked
from tests.scripts.invariants import check_pool
from tests.scripts.ledger import T0, Ledger, Line
from tests.scripts.quota_tree import Limit, Tree
from tests.support.servers import SessionServers, engines

__all__ = ["Story", "tell"]

IDS: Final = [f"id-{number}" for number in range(9)]
RESOURCES: Final = ("cpu", "gpu", "memory")
TTLS: Final = (0, 4_000, 20_000, 60_000)
PAUSES: Final = (0, 0, 0, 1, 700, 3_000, 3_000, 4_999, 9_000, 14_999, 15_000)
COPIES_FOR_MS: Final = 90_000
STEPS: Final = 30

LIFETIMES: Final = (0, 1_000, 2_000, 4_000, 12_000, 30_000)

TREES: Final[tuple[dict[str, dict[str, Limit]], ...]] = (
    {},
    {},
    {"a": {"cpu": Limit(6, 2, None)}, "b": {"cpu": Limit(4, None, 0)}},
    {
        "a": {"cpu": Limit(6, 4, 3), "allocations": Limit(3000, 0, None)},
        "a/x": {"cpu": Limit(3, 2, 1)},
        "a/y": {"cpu": Limit(2, None, 0), "allocations": Limit(1000, 0, None)},
        "b": {"cpu": Limit(3, 0, None)},
    },
)


@dataclass
class Story:
    """One pool and its model."""

    ledger: Ledger
    model: GangModel
    rng: random.Random
    sent: list[tuple[Asked, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    batches: dict[str, tuple[list[Asked], int]] = field(default_factory=dict)
    """Those that waited, by the call of the first item, and when they were sent first."""
    lifetimes: tuple[int, ...] = (0,)

    # -- acts ----------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One random call, some time after the last."""
        pause = self.rng.choice(PAUSES)
        self.ledger.now += pause
        self.model.now += pause
        acts: list[tuple[int, Callable[[], None]]] = [
            (9, self.allocate), (2, self.allocate_all), (4, self.wait_all), (4, self.hear), (3, self.release),
            (2, self.undo), (1, self.withdraw), (2, self.resize), (1, self.reclaim), (1, self.configure),
            (1, self.renew),
        ]  # fmt: skip
        act = self.rng.choices([one for _, one in acts], [weight for weight, _ in acts])[0]
        self.told.append(f"+{pause} ms: ")
        act()
        self.compare()

    def say(self, text: str) -> None:
        self.told[-1] += text

    def new(self) -> Asked:
        rng, tree = self.rng, self.model.tree
        live = [name for name, one in self.model.live.items() if one.fence]
        identity, call = rng.choice(IDS), self.ledger.new_call()
        scope = rng.choice(["", *tree.limits]) if tree.limits else ""
        names = rng.sample(sorted(tree.capacity), rng.randint(1, min(2, len(tree.capacity))))
        amounts = {name: rng.choice([1, 1, 2, 3, 4, 5, tree.capacity[name], tree.capacity[name] + 1]) for name in names}
        asked = Asked(
            identity, call, amounts, rng.choice(["me", "me", "you"]), rng.choice(TTLS), scope,
            wait=rng.random() < 0.7, priority=rng.choice([0, 0, 0, 0, 1, -1]), lifetime=rng.choice(self.lifetimes),
        )  # fmt: skip
        if live and rng.random() < 0.1:
            other = self.model.live[rng.choice(live)]
            if other.asked.id != identity:
                same = {"amounts": dict(other.amounts), "scope": other.asked.scope, "wait": False}
                asked = replace(asked, replaces=other.asked.id, replaces_fence=other.fence, **same)
        elif identity in self.model.live and rng.random() < 0.7:
            one = self.model.live[identity]
            asked = replace(asked, amounts=dict(one.amounts), scope=one.asked.scope, owner=one.asked.owner)
        return asked

    def again(self) -> Asked | None:
        """An item that was sent before: a late copy, or a client that asks again, perhaps for the last time."""
        late = [one for one, at in self.sent if at + COPIES_FOR_MS > self.model.now]
        waiting = [one.asked for one in self.model.line if not one.items]
        if waiting and self.rng.random() < 0.6:
            asked = self.rng.choice(waiting)
            return replace(asked, wait=self.rng.random() < 0.8)
        return self.rng.choice(late) if late else None

    def items(self, most: int) -> list[Asked]:
        found: list[Asked] = []
        for _ in range(self.rng.randint(1, most)):
            asked = (self.again() if self.rng.random() < 0.35 else None) or self.new()
            live = self.model.live.get(asked.id)
            shares = sum(one.id == asked.id for one in found) + (len(live.calls) if live else 0)
            if shares < 3:
                found.append(asked)
        return found

    def allocate(self) -> None:
        self.send(self.items(self.rng.choice([1, 1, 1, 2, 5])))

    def allocate_all(self) -> None:
        items = [replace(one, wait=False, replaces="", replaces_fence=0) for one in self.items(4)]
        self.send(items, atomic=True)

    def wait_all(self) -> None:
        """A batch that waits as one: a new one, or one that asks again, perhaps late, or for the last time."""
        late = [items for items, at in self.batches.values() if at + COPIES_FOR_MS > self.model.now]
        waiting = [self.batches[one.asked.call][0] for one in self.model.line if one.items]
        if waiting and self.rng.random() < 0.5:
            late = waiting
        if late and self.rng.random() < 0.5:
            wait = self.rng.random() < 0.8
            self.send_all([replace(one, wait=wait) for one in self.rng.choice(late)])
            return
        priority, asked = self.rng.choice([0, 0, 0, 1]), dict[str, Asked]()
        items: list[Asked] = []
        for _ in range(self.rng.randint(1, 4)):
            one = replace(self.new(), wait=True, priority=priority, replaces="", replaces_fence=0)
            same = asked.setdefault(one.id, one)
            small = {name: min(amount, 3) for name, amount in same.amounts.items()}
            if one.id not in self.model.live and self.rng.random() < 0.8:
                asked[one.id] = same = replace(same, amounts=small) if same is one else same
            items.append(replace(one, amounts=same.amounts, owner=same.owner, scope=same.scope))
        live = self.model.live
        if all(sum(other.id == one.id for other in items) + len(live[one.id].calls if one.id in live else ()) < 4
               for one in items):  # fmt: skip
            self.send_all(items)

    def send_all(self, items: list[Asked]) -> None:
        """Send a batch that waits as one."""
        self.drop_silent()
        self.say(f"allocate all of {[self.spell(one) for one in items]}")
        expected = self.model.allocate_all(items)
        known = items[0].call in self.batches
        self.batches.setdefault(items[0].call, (items, self.model.now))
        lines = [self.line(one, repeated=known) for one in items]
        self.judge(self.ledger.allocate(*lines, atomic=1), expected)

    def hear(self) -> None:
        """Clients of those who wait, and of those who were granted, ask again."""
        unclaimed = [one for one in self.model.live.values() if one.unclaimed is not None]
        batches = [
            items for call, (items, _) in self.batches.items()
            if any(one.calls[0] in {item.call for item in items} for one in unclaimed)
            or any(one.asked.call == call for one in self.model.line)
        ]  # fmt: skip
        for batch in batches:
            if self.rng.random() < 0.8:
                self.send_all([replace(one, wait=True) for one in batch])
        of_batches = {item.call for items, _ in self.batches.values() for item in items}
        items = [one.asked for one in self.model.line]
        items += [one.asked for one in self.model.live.values() if one.unclaimed is not None]
        items = [one for one in items if one.call not in of_batches and self.rng.random() < 0.8]
        self.rng.shuffle(items)
        if self.rng.random() < 0.5:
            self.send(items)
            return
        for one in items:
            self.send([one])

    def send(self, items: list[Asked], *, atomic: bool = False) -> None:
        if not items:
            return
        self.drop_silent()
        self.say(f"allocate{' all of' if atomic else ''} {[self.spell(one) for one in items]}")
        expected = self.model.allocate(*items, atomic=atomic)
        known = {one.call for one, _ in self.sent}
        lines = [self.line(one, repeated=one.call in known) for one in items]
        self.sent += [(one, self.model.now) for one in items if one.call not in known]
        self.judge(self.ledger.allocate(*lines, atomic=int(atomic)), expected)

    def spell(self, one: Asked) -> str:
        words = [one.id, one.call, *(f"{name}={amount}" for name, amount in one.amounts.items()), f"ttl={one.ttl}"]
        words += [one.owner, f"scope={one.scope}" * bool(one.scope), "wait" * one.wait, f"priority={one.priority}"]
        words.append(f"lifetime={one.lifetime}" * bool(one.lifetime))
        return " ".join([*words, f"replaces={one.replaces}" * bool(one.replaces)])

    def line(self, one: Asked, *, repeated: bool) -> Line:
        return self.ledger.want(
            one.id, one.amounts, ttl=one.ttl, owner=one.owner, scope=one.scope, wait=60_000 if one.wait else 0,
            priority=one.priority or None, call=one.call, lifetime=one.lifetime, repeated=int(repeated),
            replaces=(one.replaces_fence, one.replaces) if one.replaces else None,
        )  # fmt: skip

    def some(self, names: list[str], most: int = 2) -> list[str]:
        pool = names or IDS
        return self.rng.sample(pool, min(len(pool), self.rng.randint(1, most)))

    def release(self) -> None:
        names = self.some(sorted(self.model.live))
        self.say(f"release {names}")
        self.judge(self.ledger.release(*names), self.model.release(*names))

    def undo(self) -> None:
        calls = [(one.call, one.id) for one, at in self.sent if at + COPIES_FOR_MS > self.model.now]
        some = self.rng.sample(calls, min(len(calls), self.rng.randint(1, 2)))
        late = [items for items, at in self.batches.values() if at + COPIES_FOR_MS > self.model.now]
        if late and self.rng.random() < 0.4:
            some = [(one.call, one.id) for one in self.rng.choice(late)]
            some = some[: self.rng.choice([1, 4])]
        if some:
            self.say(f"undo {some}")
            self.judge(self.ledger.undo(*some), self.model.undo(*some))

    def withdraw(self) -> None:
        names = self.some([item.id for one in self.model.line for item in one.items or (one.asked,)])
        self.say(f"withdraw {names}")
        self.judge(self.ledger.withdraw(*names), self.model.withdraw(*names))

    def resize(self) -> None:
        if self.model.live:
            name = self.rng.choice(sorted(self.model.live))
            resource = self.rng.choice(sorted(self.model.live[name].amounts))
            amount = self.rng.choice([1, 2, 3, 5, 9])
            self.say(f"resize {name} to {resource}={amount}")
            self.judge([self.ledger.resize(name, {resource: amount})], [self.model.resize(name, resource, amount)])

    def renew(self) -> None:
        names = self.some(sorted(self.model.live))
        ttl = self.rng.choice([2_000, 30_000])
        self.say(f"renew {names} for {ttl}")
        self.ledger.renew(*(self.ledger.renew_line(name, ttl=ttl) for name in names))
        for name in set(names) & self.model.live.keys():
            one = self.model.live[name]
            if one.deadline is not None and (one.ends is None or one.ends > self.model.now):
                one.deadline, one.known = max(one.deadline, one.cut(self.model.now + ttl)), True

    def reclaim(self) -> None:
        self.say("reclaim")
        self.ledger.reclaim()
        self.model.reclaim()

    def configure(self) -> None:
        resource = self.rng.choice(sorted(self.model.tree.capacity))
        amount = self.rng.choice([4, 6, 8, 10])
        if self.model.tree.limits and resource == "cpu":
            amount = 10
        self.say(f"capacity {resource}={amount}")
        assert self.ledger.configure("change", {resource: amount})[0] == "configured"
        if self.model.tree.capacity[resource] != amount:
            self.model.looked = None
        self.model.tree.capacity[resource] = amount

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(self, replies: Any, expected: list[tuple[object, ...]]) -> None:
        self.say(f" -> {[reply[:2] if reply[0] == 'denied' else reply[0] for reply in replies]}")
        for reply, wanted in zip(replies, expected, strict=True):
            word = wanted[0]
            assert reply[0] == word, f"{reply}, and not {wanted}; {replies}, {expected}"
            if word in {"denied", "aborted"}:
                assert reply[1] == wanted[1], f"{reply}, and not {wanted}"
            elif word == "waiting":
                _, code, least, most, *item = wanted
                assert reply[4:] == item, f"{reply}, and not {wanted}"
                assert least <= reply[1] <= most, f"{reply}, and not {wanted}"
                assert reply[3][:2] == ["denied", code], f"{reply}, and not {wanted}"

    def drop_silent(self) -> list[str]:
        """Any call may take who is silent out of the line.  Returns who is in line."""
        stored, model = self.ledger.waiting, self.model
        for one in [one for one in model.line if model.silent(one) and one.asked.id not in stored]:
            model.leave(one)
        return stored

    def compare(self) -> None:
        """The store holds what the model does."""
        ledger, model = self.ledger, self.model
        stored = self.drop_silent()
        assert stored == [one.asked.id for one in model.line], (
            f"in line {stored}, and not {[one.asked.id for one in model.line]}"
        )
        pipe = ledger.client.pipeline(transaction=False)
        pipe.hgetall(ledger.keys["pool"])
        for name in sorted(model.live):
            pipe.hgetall(ledger.keys.record(name))
        account, *records = pipe.execute()
        live = ledger.client.zcard(ledger.keys["deadlines"]) + ledger.client.zcard(ledger.keys["pinned"])
        for name, record in zip(sorted(model.live), records, strict=True):
            one = model.live[name]
            assert record, f"{name} is not live"
            one.fence = int(record["fence"])
            deadline = int(record["deadline_ms"]) if "deadline_ms" in record else None
            if one.shared:
                one.deadline = deadline
            assert deadline == one.deadline, f"{name}: deadline {deadline}, and not {one.deadline}"
            assert record["call"].split() == one.calls, f"{name}: {record['call']}, and not {one.calls}"
            unclaimed = record.get("unclaimed_ttl_ms")
            assert (None if unclaimed is None else int(unclaimed)) == one.unclaimed, f"{name}: unclaimed {unclaimed}"
        assert live == len(model.live), f"{live} are live, and not {sorted(model.live)}"
        for resource, capacity in model.tree.capacity.items():
            assert int(account[f"{resource}.allocated"]) == model.tree.allocated("", resource), resource
            assert int(account[f"{resource}.capacity"]) == capacity
        if not model.line:
            assert not [name for name in account if name.startswith("waiting_") and name != "waiting_count"], account
            assert "waits=1" not in account.get("options", ""), account

    def end(self) -> None:
        """The invariants, by raw keys and by the audit; then everybody goes, and nothing of the line is left."""
        self.told.append("the end: ")
        ledger = self.ledger
        check_pool(ledger.client, ledger.keys, overcommitted=True)
        assert ledger.audit()[4] == 0, ledger.audit()
        for name in ledger.waiting:
            ledger.withdraw(name)
        left = [key for key in ledger.client.scan_iter(count=1000) if "wait" in key or "gangs" in key]
        assert not left, left
        assert not [name for name in ledger.account if name.startswith("waiting_") and name != "waiting_count"], (
            ledger.account
        )


def begin(ledger: Ledger, seed: int, *, backfill: bool = False) -> Story:
    """A pool of one to three resources, perhaps with scopes, of one of the policies."""
    rng = random.Random(seed)
    capacity = dict.fromkeys(RESOURCES[: rng.randint(1, 3)], 10)
    limits = rng.choice(TREES)
    policy = rng.choice(["contended", "contended", "best_effort", "strict"])
    model = GangModel(
        Tree(dict(capacity), limits), policy, rng.choice([1, 2, 100]), rng.choice([5_000, 600_000]), now=T0
    )
    assert ledger.create(capacity)[0] == "created"
    promises = f"queue_policy={policy} queue_passes_max={model.passes_max} queue_wait_max_ms={model.wait_max}"
    assert (word := ledger.configure("change", promises=promises)[0]) == "configured", word
    for scope, shares in limits.items():
        words = {
            name: tuple("-" if part is None else part for part in (one.nominal, one.borrowing, one.lending))
            for name, one in shares.items()
        }
        assert ledger.set_quota(scope, words)[0] == "quota", scope
    if not backfill:
        return Story(ledger, model, rng)
    model.backfill = True
    assert ledger.configure("change", promises="queue_backfill=1")[0] == "configured"
    return Story(ledger, model, rng, lifetimes=LIFETIMES)


def tell(ledger: Ledger, seed: int, steps: int = STEPS, *, backfill: bool = False) -> None:
    """One story; an error has the steps that led to it."""
    story = begin(ledger, seed, backfill=backfill)
    try:
        for _ in range(steps):
            story.step()
        story.end()
    except (AssertionError, redis.ResponseError, KeyError) as error:
        what = f"{story.model.policy}, passes {story.model.passes_max}, wait {story.model.wait_max}, "
        text = "\n".join([f"seed {seed}: {what}{story.model.tree.limits}", *story.told[-14:], repr(error)])
        raise AssertionError(text) from error


def main() -> None:
    """Tell many."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--backfill", action="store_true")
    options = parser.parse_args()
    servers = SessionServers()
    try:
        server = servers.get(engines()[0])
        client = redis.Redis(unix_socket_path=server.socket, decode_responses=True)
        for seed in range(options.seed, options.seed + options.stories):
            client.flushall()
            tell(Ledger(client), seed, options.steps, backfill=options.backfill)
            if seed % 500 == 499:
                print(seed + 1, flush=True)
    finally:
        servers.close()


if __name__ == "__main__":
    main()
