"""The model's other verbs: `renew`, `release`, `begin_release`, `undo`, `adopt`, `reclaim`, `reconcile`."""

from __future__ import annotations

from collections.abc import Sequence

from tests.properties.worlds.items import Item
from tests.properties.worlds.model import Base, Reply
from tests.properties.worlds.state import OTHERS, Broken, Fence, Record, Told


class Holder(Base):
    """One call of a holder's verb; `fences` are the numbers that the items name."""

    def run(self, verb: str, items: Sequence[Item], fences: Sequence[int], epoch: str = "") -> list[Reply]:
        """The replies, item by item."""
        word = self.every_call(epoch)
        if word == "other_epoch" and verb == "undo":
            # A call id is nobody else's: it is undone whichever pool is meant.
            word = ""
        if word == "unknown_pool" and verb == "undo":
            self.s.perhaps_ended |= {item.call for item in items}
            return [(f"absent|{word}",)] * len(items)
        if word:
            return [self.gone(verb, word, item) for item in items]
        each = {
            "renew": self.renew, "release": self.release, "begin_release": self.begin_release, "undo": self.undo,
        }[verb]  # fmt: skip
        replies = []
        for item, fence in zip(items, fences, strict=True):
            reply = each(item, fence)
            if reply[0] in ("fenced", "unknown") and fence:
                self.disbelieve_number(item.id, fence)
            if item.repeated and reply[0] not in ("released", "renewed"):
                self.s.perhaps_ended.add(item.call)
            replies.append(reply)
        return replies

    def gone(self, verb: str, word: str, item: Item) -> Reply:
        """A pool that is not there may have been lost."""
        named = verb in ("renew", "release") and item.epoch
        return ("pool_lost",) if word == "unknown_pool" and named and not self.s.deleted else (word,)

    # -- renew -------------------------------------------------------------------------------------------------------

    def renew(self, item: Item, fence: int) -> Reply:  # noqa: PLR0911 - rule by rule
        """One item."""
        if item.epoch and item.epoch != self.s.epoch:
            return ("wrong_epoch",)
        record = self.record(item.id)
        if record is None:
            return self.absent(fence, item.epoch, self.now + item.known if item.known else 0)
        if fence and record.fence.value != fence:
            lost = (record.fence.value or 0) < fence
            reply = self.absent(fence, item.epoch, self.now + item.known if item.known else 0) if lost else ("fenced",)
            return reply if reply[0] == "missing" else ("fenced", record.fence)
        if item.shorten and item.call in self.s.ended:
            return ("renewed", record.fence, record.deadline)
        if record.releasing:
            return ("releasing",)
        longest = self.s.options.max_ttl
        if longest and item.ttl > longest and item.ttl > record.ttl:
            return ("ttl_too_long", longest)
        if self.recovering:
            self.add_holder(record)
        if item.shorten and (item.ttl or not record.pinned):
            return self.shorten(item, record)
        return self.extend(item, record)

    def extend(self, item: Item, record: Record) -> Reply:
        """A plain renewal: a lease, or the leases of those who hold what somebody else pinned."""
        if item.shorten:
            self.s.perhaps_ended.add(item.call)
        leases = [entry for entry in record.calls if entry.until]
        latest = 0
        if record.pinned:
            ttl = item.ttl or max((entry.ttl for entry in leases), default=0)
            for entry in leases:
                entry.until = max(entry.until, self.now + ttl)
                latest = max(latest, entry.until)
        else:
            latest = max(record.deadline, self.now + (item.ttl or record.ttl))
            record.deadline, record.gap = latest, False
            for entry in leases:
                entry.until = latest
        record.asserted = self.now
        if latest != self.now + record.ttl:
            record.loosen("asserted")
        else:
            record.loose -= {"asserted"}
        self.believe(("holder", item.id, record.fence), item.id, record, latest)
        return ("renewed", record.fence, latest)

    def shorten(self, item: Item, record: Record) -> Reply:
        """On demand: whoever shares it is cut short as well."""
        earlier = record.pinned or self.now + (item.ttl or record.ttl) < record.deadline
        record.deadline = self.now + (item.ttl or record.ttl)
        record.ttl = record.ttl or item.ttl
        record.gap, record.asserted = False, self.now
        for entry in record.calls:
            entry.until = record.deadline
        if len(record.calls) > 1:
            record.loosen("told")
        record.loosen("ttls", "asserted")
        if earlier:
            self.end_call(item.call)
            self.s.moved = True
        else:
            self.s.perhaps_ended.add(item.call)
            self.s.perhaps_moved = True
        self.disbelieve(record.fence, until=record.deadline)
        self.believe(("holder", item.id, record.fence), item.id, record, record.deadline)
        return ("renewed", record.fence, record.deadline)

    # -- endings -----------------------------------------------------------------------------------------------------

    def release(self, item: Item, fence: int) -> Reply:
        """One item."""
        record = self.record(item.id)
        if item.call in self.s.ended and (record is None or fence == 0 or record.fence.value != fence):
            return ("released", self.s.ended[item.call])
        if record is None:
            if item.epoch and item.epoch != self.s.epoch:
                return ("wrong_epoch|unknown",)
            reply = self.absent(fence, item.epoch, self.now + item.known if item.known else 0)
            if reply[0] == "missing":
                self.s.perhaps_ended.add(item.call)
            return reply
        if fence and record.fence.value != fence:
            return ("fenced", record.fence)
        if item.epoch and item.epoch != self.s.epoch:
            return ("wrong_epoch",)
        self.end(item.id, record, "released")
        if item.call in self.s.ended:
            self.s.perhaps_ended.add(item.call)
        self.end_call(item.call)
        self.disbelieve(record.fence)
        return ("released", self.now)

    def begin_release(self, item: Item, fence: int) -> Reply:
        """One item."""
        record = self.record(item.id)
        if record is None:
            return ("unknown",)
        if fence and record.fence.value != fence:
            return ("fenced", record.fence)
        longest = self.s.options.max_ttl
        if longest and item.ttl > longest and not record.releasing:
            return ("ttl_too_long", longest)
        if record.releasing or item.call in self.s.ended:
            return ("releasing", record.clone())
        record.releasing = record.asserted = self.now
        record.ttl, record.deadline, record.gap = item.ttl, self.now + item.ttl, False
        record.told_gone = True
        record.loosen("asserted")
        self.end_call(item.call)
        self.s.moved = True
        self.disbelieve(record.fence, until=record.deadline)
        self.say("releasing", item.id)
        return ("releasing", record.clone())

    def undo(self, item: Item, fence: int) -> Reply:
        """One item; without a pool the call has ended all the same."""
        found = self.s.records.get(item.id)
        record = None if isinstance(found, Broken) else found
        self.end_call(item.call)
        self.s.perhaps_moved = True
        self.s.beliefs.pop(item.call, None)
        entry = record.told(item.call) if record else None
        if record is None or entry is None:
            return ("absent",)
        self.s.ended[item.call] = self.now
        record.calls.remove(entry)
        if not record.calls:
            self.end(item.id, record, "undone")
            self.disbelieve(record.fence)
            return ("undone",)
        if not record.releasing:
            was_pinned = record.pinned
            pinned = any(each.until == 0 for each in record.calls)
            record.deadline = 0 if pinned else max(each.until for each in record.calls)
            record.ttl = 0 if pinned else max(each.ttl for each in record.calls)
            # Whoever pages through an index must see that it went to the other one.
            self.s.moved = self.s.moved or pinned != was_pinned
        if len(record.calls) == 1:
            # What it asked for is written nowhere else any more.
            record.calls[0].ttl = record.ttl
        if record.releasing or "told" in record.loose:
            record.loosen("ttl")
        if "told" in record.loose and not record.releasing:
            record.loosen("deadline")
        record.loosen("asserted")
        self.say("call_undone", item.id)
        return ("left",)


class Upkeep(Base):
    """One call of a verb that is not a holder's."""

    def reclaim(self, age: int | None) -> list[object]:
        """The ids that were taken back."""
        self.notice_server()
        gone: list[str] = []
        if not self.recovering:
            gone = [identity for identity in self.due() if self.look_at(identity)]
        if age is not None:
            for identity, record in sorted(self.s.records.items()):
                pinned = isinstance(record, Record) and record.pinned and record.granted <= self.now - age
                if pinned and isinstance(record, Record):
                    self.end(identity, record, "reclaimed")
                    self.disbelieve(record.fence)
                    gone.append(identity)
        return ["reclaimed", 0, *gone]

    def reconcile(self, items: Sequence[Item], fences: Sequence[int], *, owner: str, as_of: int) -> list[Reply]:
        """What the controller does not have."""
        return [self.reconcile_one(item, fence, owner, as_of) for item, fence in zip(items, fences, strict=True)]

    def reconcile_one(self, item: Item, fence: int, owner: str, as_of: int) -> Reply:  # noqa: PLR0911 - rule by rule
        """One item."""
        if as_of > self.now:
            return ("future",)
        record = self.record(item.id)
        if record is None:
            return ("unknown",)
        if record.fence.value != fence:
            return ("fenced", record.fence)
        if record.owner != owner or record.granted >= as_of:
            return ("kept",)
        if "asserted" in record.loose:
            return ("kept|released", record, as_of)
        if record.asserted >= as_of:
            return ("kept",)
        self.reconciled(item.id, record, as_of)
        return ("released",)

    # -- adopt -------------------------------------------------------------------------------------------------------

    def adopt(self, items: Sequence[Item], fences: Sequence[int], *, forced: bool) -> list[Reply]:
        """What holders have and the store may not."""
        return [self.adopt_one(item, fence, forced) for item, fence in zip(items, fences, strict=True)]

    def adopt_one(self, item: Item, fence: int, forced: bool) -> Reply:  # noqa: PLR0911 - rule by rule
        """One item."""
        self.s.judged = False
        self.s.perhaps_ended.add(item.call)
        foreign = bool(item.epoch and item.epoch != self.s.epoch)
        if foreign and not forced:
            return ("wrong_epoch",)
        if not forced:
            self.notice_server()
        record = self.record(item.id)
        if record and record.fence.value == fence:
            return self.adopt_again(item, record)
        if record and (record.fence.value or 0) > fence:
            return ("fenced", record.fence)
        if self.s.options.grace and not foreign and fence > max(self.s.greatest, self.s.jumped):
            self.notice_fence(fence)
        known_to_have_ended = any(ended.value == fence for ended in self.s.ended_fences)
        if item.call in self.s.ended or (known_to_have_ended and not forced):
            return ("ended",)
        if not self.recovering and not forced:
            return ("not_recovering",)
        unknown = [name for name in item.amounts if name not in self.s.capacity]
        if unknown:
            return ("not_counted", *unknown)
        if record:
            self.end(item.id, record, "reclaimed")
            self.disbelieve(record.fence)
        for name, amount in item.amounts.items():
            self.s.allocated[name] = self.s.allocated.get(name, 0) + amount
        deadline = self.now + item.ttl if item.ttl else 0
        known = Fence() if foreign else self.s.known.get(item.id, Fence())
        known = known if known.value == fence else Fence(None if foreign else fence)
        new = Record(
            owner=item.owner, amounts=dict(item.amounts), fence=known, granted=self.now - item.known, ttl=item.ttl,
            deadline=deadline, asserted=self.now, calls=[Told(OTHERS, item.ttl, deadline)],
        )  # fmt: skip
        self.s.records[item.id] = new
        self.s.known[item.id] = new.fence
        self.s.greatest = max(self.s.greatest, 0 if foreign else fence)
        self.s.moved = True
        self.believe(("holder", item.id, new.fence), item.id, new, deadline)
        self.say("adopted", item.id)
        return ("adopted", new.clone())

    def adopt_again(self, item: Item, record: Record) -> Reply:
        """It is there: its holder is told of it as another caller would be."""
        if record.owner != item.owner or record.amounts != item.amounts:
            return ("conflict", record.clone())
        self.add_holder(record)
        if record.releasing:
            return ("existing", record.clone())
        if not record.pinned:
            record.deadline = 0 if item.ttl == 0 else max(record.deadline, self.now + item.ttl)
            record.gap = record.gap and record.deadline != self.now + item.ttl
        record.asserted = self.now
        for entry in record.calls:
            entry.until = record.deadline if entry.until or record.pinned else 0
        record.loosen("asserted", "ttl", "gap")
        self.s.perhaps_moved = True
        self.believe(("holder", item.id, record.fence), item.id, record, record.deadline)
        return ("existing", record.clone())
