"""The model's `allocate` and `resize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.properties.worlds.items import Item
from tests.properties.worlds.model import Base, Reply, sum_of
from tests.properties.worlds.state import Amounts, Broken, Fence, Record, State, Told

STOPS: Final = {"denied", "denied|reclaim_first", "conflict", "ended", "reclaim_first", "recovering", "ttl_too_long"}
"""What stops a gang."""


class Allocate(Base):
    """One call of `allocate`."""

    def run(self, items: Sequence[Item], *, atomic: bool, epoch: str = "", mark: int = 0) -> list[Reply]:
        """The replies, item by item."""
        word = self.every_call(epoch) or self.s.word
        if word:
            return [(word,)] * len(items)
        self.notice_server()
        if mark:
            self.notice_fence(mark)
        before = self.s.clone() if atomic else self.s
        replies: list[Reply] = []
        for number, item in enumerate(items):
            reply = self.item(item, items[: number + 1] if atomic else ())
            self.answered.add(item.id)
            replies.append(reply)
            if atomic and reply[0] in STOPS:
                self.stop(before)
                others: Reply = ("reclaim_first",) if reply[0] == "reclaim_first" else ("aborted", number + 1)
                if reply[0] == "denied|reclaim_first":
                    others = ("aborted|behind",)
                told = [reply if at == number else others for at in range(len(items))]
                return self.told(items, told)
        return self.told(items, replies)

    def told(self, items: Sequence[Item], replies: list[Reply]) -> list[Reply]:
        """Who believes what after these replies."""
        for item, reply in zip(items, replies, strict=True):
            if reply[0].startswith(("granted", "existing", "replayed")):
                self.believe(item.call, item.id, reply[1], reply[1].deadline)
            elif reply[0] == "ended":
                self.s.beliefs.pop(item.call, None)
            elif item.repeated and reply[0] not in ("offline", "deleting"):
                self.s.perhaps_ended.add(item.call)
        return replies

    def item(self, item: Item, gang: Sequence[Item]) -> Reply:  # noqa: PLR0911 - rule by rule
        """The first rule that applies."""
        record = self.record(item.id)
        if record and record.told(item.call):
            return self.replay(item, record)
        if item.call in self.s.ended:
            return ("ended", self.s.ended[item.call])
        longest = self.s.options.max_ttl
        if longest and (item.ttl == 0 or item.ttl > longest):
            return ("ttl_too_long", longest)
        if record and self.is_over(item.id, record):
            self.take_back(item.id, record)
            record = None
        if record and (record.releasing or record.owner != item.owner or record.amounts != item.amounts):
            return ("conflict", record.clone())
        if record:
            return self.share(item, record)
        if self.recovering:
            return ("recovering", self.left_ms())
        return self.grant(item, gang)

    def replay(self, item: Item, record: Record) -> Reply:
        """Rule 1."""
        if record.lapsed(self.now) and not record.releasing:
            if len(record.calls) > 1:
                self.spare(item.id, record)
            record.deadline = max(record.deadline, self.now + item.ttl) if item.ttl else 0
            record.ttl = record.ttl if item.ttl else 0
            record.loosen("ttl", "gap")
            self.s.perhaps_moved = True
        self.tell(record, item.call, item.ttl)
        entry = record.told(item.call)
        word = "replayed" if entry and entry.granted else "existing"
        if (word == "existing") is (record.calls[0] is entry):
            # The call that granted it has left; or `*` stands before it, for a holder who came in a recovery.
            word = "existing|replayed"
        return (word, record.clone())

    def share(self, item: Item, record: Record) -> Reply:
        """Rule 6."""
        if item.ttl == 0 and not record.pinned:
            record.deadline, record.ttl, record.gap = 0, 0, False
            self.s.moved = True
        elif not record.pinned and self.now + item.ttl > record.deadline:
            record.deadline, record.ttl, record.gap = self.now + item.ttl, item.ttl, False
        self.s.perhaps_moved = True
        self.tell(record, item.call, item.ttl)
        return ("existing", record.clone())

    def grant(self, item: Item, gang: Sequence[Item]) -> Reply:
        """Rules 8 to 10."""
        together = sum_of({each.id: each.amounts for each in reversed(gang)}.values()) if gang else item.amounts
        refused = self.refusal(item.amounts, together) or self.make_room(item.amounts)
        if refused:
            return refused
        for name, amount in item.amounts.items():
            self.s.allocated[name] = self.s.allocated.get(name, 0) + amount
        deadline = self.now + item.ttl if item.ttl else 0
        record = Record(
            owner=item.owner, amounts=dict(item.amounts), fence=Fence(), granted=self.now, ttl=item.ttl,
            deadline=deadline, asserted=self.now, calls=[Told(item.call, item.ttl, deadline, granted=True)],
        )  # fmt: skip
        self.s.records[item.id] = record
        self.s.known[item.id] = record.fence
        self.s.moved = True
        self.say("granted", item.id)
        return ("granted", record.clone())

    def stop(self, before: State) -> None:
        """A gang that stopped leaves what it has taken back, and nothing else."""
        now = self.s
        for name in ("allocated", "records", "known", "beliefs", "ended", "ended_fences", "perhaps_moved", "events"):
            setattr(now, name, getattr(before, name))
        now.moved = before.moved or now.recovering_until != before.recovering_until
        for identity in self.left_index:
            record = now.records[identity]
            if isinstance(record, Broken):
                record.indexed, now.perhaps_moved = False, True
        for identity in self.spared:
            record = now.records.get(identity)
            if isinstance(record, Record):
                self.spare(identity, record)
        for identity in self.taken:
            record = now.records.get(identity)
            if isinstance(record, Record):
                self.end(identity, record, "reclaimed")


class Resize(Base):
    """One call of `resize`."""

    def run(self, item: Item, fence: int, *, epoch: str = "") -> Reply:
        """The reply."""
        reply = self.decide(item, fence, epoch)
        if item.repeated and reply[0] != "resized":
            self.s.perhaps_ended.add(item.call)
        return reply

    def decide(self, item: Item, fence: int, epoch: str) -> Reply:  # noqa: PLR0911 - rule by rule
        """The first rule that applies."""
        word = self.every_call(epoch) or self.s.word
        if word:
            return (word,)
        record = self.record(item.id)
        if record is None:
            if fence:
                self.disbelieve_number(item.id, fence)
            return ("unknown",)
        if fence and record.fence.value != fence:
            self.disbelieve_number(item.id, fence)
            return ("fenced", record.fence)
        if item.call in self.s.ended:
            return ("resized", record.clone())
        after = {name: n for name, n in {**record.amounts, **item.amounts}.items() if n}
        if not after:
            return ("empty",)
        growth = {name: n - record.amounts.get(name, 0) for name, n in after.items()}
        growth = {name: n for name, n in growth.items() if n > 0}
        if growth:
            self.notice_server()
            if self.recovering:
                return ("recovering", self.left_ms())
        return self.change(item, record, after, growth)

    def change(self, item: Item, record: Record, after: Amounts, growth: Amounts) -> Reply:
        """Rules 8 to 10 for what grows, and then all of it."""
        self.answered.add(item.id)
        refused = self.refusal(growth, after) or self.make_room(growth)
        if refused:
            either = record.lapsed(self.now) and refused[0] == "reclaim_first"
            return ("denied|reclaim_first", refused) if either else refused
        for name in {*after, *record.amounts}:
            change = after.get(name, 0) - record.amounts.get(name, 0)
            self.s.allocated[name] = self.s.allocated.get(name, 0) + change
        record.amounts = after
        self.end_call(item.call)
        self.s.moved = True
        self.say("resized", item.id)
        return ("resized", record.clone())
