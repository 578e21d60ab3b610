"""Random stories of allocations with and without hard ends, judged by what their callers were told.

The judge shares no code with the scripts and reads no record to decide: it knows when each grant was made and for how
long it may live, hears every reply, and finds two kinds of lies.  *Too long*: a deadline beyond the end, a reply that
returns or extends an allocation at or after its end, another end than the grant's.  *Too short*: an allocation that is
gone although a reply has promised it until later.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from allocator import settings
from tests.scripts.invariants import check_pool
from tests.scripts.ledger import MINUTE, Ledger, Line, fields

SECOND: Final = 1000
STEPS: Final = 100
NAMES: Final = ("a", "b", "c")
LIVES: Final = (0, 0, 20 * SECOND, 2 * MINUTE, 5 * MINUTE)
TTLS: Final = (0, 5 * SECOND, MINUTE, MINUTE, 10 * MINUTE)
GRACE: Final = 90 * SECOND


@dataclass
class Grant:
    """What the judge knows of one grant."""

    fence: int
    end: int | None
    promised: int = 0
    """Until when a reply has promised it; what an undo or a shortening may take back is not counted."""

    callers: list[Line] = field(default_factory=list)
    leaving: bool = False

    def over(self, now: int) -> bool:
        """Whether its hard end has been reached."""
        return self.end is not None and now >= self.end


class Judge:
    """The grants by id, and the rules."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.live: dict[str, Grant] = {}
        self.cuts = 0
        self.ends = 0

    def granted(self, name: str, line: Line, reply: list[Any], now: int, ttl: int, life: int) -> None:
        """A new grant: nothing that is still promised may have been in its place."""
        before = self.live.get(name)
        assert before is None or before.promised <= now, f"{name} was promised until {before.promised}"
        most = min([one for one in (life, self.limit) if one] or [0])
        grant = self.live[name] = Grant(reply[1], now + most if most else None, callers=[line])
        assert (reply[7] if len(reply) > 7 else None) == grant.end
        asked = now + ttl if ttl else grant.end or 0
        assert reply[3] == (asked if grant.end is None else min(asked, grant.end))
        self.hear(name, grant, reply[3], now)

    def returned(self, name: str, reply: list[Any], now: int) -> None:
        """A reply with the record of a live allocation."""
        named, grant = fields(reply[1:]), self.live[name]
        assert named["fence"] in (grant.fence, str(grant.fence))
        assert not grant.over(now), f"{name} is returned at {now}, after its end {grant.end}"
        assert named.get("ends_ms") == grant.end
        self.hear(name, grant, named.get("deadline_ms") or 0, now)

    def hear(self, name: str, grant: Grant, deadline: int, now: int) -> None:
        """A deadline in a reply; 0: pinned."""
        if grant.end is not None:
            assert 0 < deadline <= grant.end, f"{name} may live until {deadline}, and its end is {grant.end}"
            self.cuts += deadline == grant.end
        assert not deadline or deadline > now
        if not grant.leaving:
            grant.promised = max(grant.promised, deadline or 2**53)

    def gone(self, name: str, now: int) -> None:
        """It is not there: that must be no surprise."""
        grant = self.live.pop(name, None)
        if grant is not None:
            self.ends += grant.over(now)
            assert grant.promised <= now, f"{name} is gone at {now}, and was promised until {grant.promised}"


class Story:
    """One random story on one pool."""

    def __init__(self, pool: Ledger, seed: int) -> None:
        self.pool, self.chance = pool, random.Random(seed)
        self.judge = Judge(self.chance.choice((0, 0, 3 * MINUTE)))
        limit = f" max_lifetime_ms={self.judge.limit}" if self.judge.limit else ""
        guarded = self.chance.random() < 0.5
        pool.create({"cpu": 6}, promises=f"recovery_grace_ms={GRACE}{limit}" if guarded else limit.strip())

    def tell(self) -> None:
        """All of it; after each step what is live is looked at."""
        verbs = (
            (self.allocate, 8), (self.repeat, 2), (self.renew, 6), (self.shorten, 1), (self.undo, 2), (self.leave, 1),
            (self.adopt, 1), (self.resize, 1), (self.reclaim, 2), (self.gap, 1), (self.lose, 1),
        )  # fmt: skip
        choices = [verb for verb, weight in verbs for _ in range(weight)]
        for _ in range(STEPS):
            self.chance.choice(choices)()
            self.look()
            self.pool.now += self.chance.choice((0, 1, SECOND, 10 * SECOND, 40 * SECOND))
        check_pool(self.pool.client, self.pool.keys, overcommitted=True)

    def look(self) -> None:
        """What is promised is there, and is what was granted."""
        for name in NAMES:
            record = self.pool.record(name)
            if not record:
                self.judge.gone(name, self.pool.now)
            else:
                assert int(record["fence"]) == self.judge.live[name].fence

    def allocate(self) -> None:
        """One or several ids, sometimes all or none."""
        names = self.chance.choices(NAMES, k=self.chance.choice((1, 1, 2, 3)))
        asked = [(name, self.chance.choice(TTLS), self.chance.choice(LIVES)) for name in names]
        lines = [self.pool.want(name, {"cpu": 1}, ttl=ttl, lifetime=life) for name, ttl, life in asked]
        atomic = int(self.chance.random() < 0.3)
        replies = self.pool.allocate(*lines, atomic=atomic)
        for (name, ttl, life), line, reply in zip(asked, lines, replies, strict=True):
            if reply[0] == "granted":
                self.judge.granted(name, line, reply, self.pool.now, ttl, life)
            elif reply[0] == "existing":
                self.judge.returned(name, reply, self.pool.now)
                callers = self.judge.live[name].callers
                callers.append(line)
                del callers[: -settings.CALLS_MAX]  # older ones are forgotten after a while
            else:
                assert reply[0] in ("denied", "conflict", "recovering", "aborted", "ended"), reply

    def repeat(self) -> None:
        """A call that was answered before, also long after."""
        name = self.chance.choice(NAMES)
        grant = self.judge.live.get(name)
        if grant is None or not grant.callers:
            return
        reply = self.pool.allocate(self.chance.choice(grant.callers).again())[0]
        if reply[0] in ("replayed", "existing"):
            named = fields(reply[1:])
            if not grant.leaving:
                self.judge.returned(name, reply, self.pool.now)
            else:
                assert named.get("ends_ms") == grant.end
        else:
            assert reply[0] in ("ended", "conflict", "recovering"), reply

    def renew(self) -> None:
        """All of them in one call."""
        ttl = self.chance.choice(TTLS)
        lines = [self.pool.renew_line(name, ttl=ttl) for name in NAMES]
        for name, reply in zip(NAMES, self.pool.renew(*lines), strict=True):
            self.renewed(name, reply)

    def renewed(self, name: str, reply: list[Any]) -> None:
        grant, now = self.judge.live.get(name), self.pool.now
        if reply[0] == "over":
            assert grant is not None
            assert grant.over(now)
            assert reply[1] == grant.end
        elif reply[0] == "renewed":
            assert grant is not None
            assert not grant.over(now), f"{name} is renewed after its end"
            assert reply[4:] == ([] if grant.end is None else [grant.end, grant.end - now])
            self.judge.hear(name, grant, reply[2], now)
        else:
            assert reply[0] in ("unknown", "releasing"), reply

    def shorten(self) -> None:
        """What was promised is taken back by its holder."""
        name = self.chance.choice(NAMES)
        grant = self.judge.live.get(name)
        if grant is not None:
            grant.promised = 0
        self.renewed(name, self.pool.renew(self.pool.renew_line(name, ttl=10 * SECOND, shorten=1))[0])

    def undo(self) -> None:
        """A caller that gives up takes back what it was promised; the others' part is not judged from then on."""
        name = self.chance.choice(NAMES)
        grant = self.judge.live.get(name)
        if grant is not None and grant.callers:
            line = grant.callers.pop(self.chance.randrange(len(grant.callers)))
            grant.promised = 0
            self.pool.undo((line.call, name))

    def leave(self) -> None:
        """A release begins."""
        name = self.chance.choice(NAMES)
        grant = self.judge.live.get(name)
        reply = self.pool.begin_release(self.pool.begin_release_line(name, self.chance.choice((SECOND, 5 * MINUTE))))[0]
        if reply[0] == "releasing":
            assert grant is not None
            named = fields(reply[1:])
            assert named.get("ends_ms") == grant.end
            assert grant.end is None or named["deadline_ms"] <= grant.end
            grant.leaving, grant.promised = True, 0

    def adopt(self) -> None:
        """A holder asserts what it has, and what it has lost."""
        name = self.chance.choice(NAMES)
        grant = self.judge.live.get(name)
        if grant is None:
            return
        ttl = self.chance.choice(TTLS if grant.end else TTLS[1:])
        line = self.pool.adopt_line(name, {"cpu": 1}, fence=grant.fence, ttl=ttl, ends=grant.end or 0)
        reply = self.pool.adopt(line, reason="a story")[0]
        if reply[0] == "over":
            assert grant.over(self.pool.now)
        elif reply[0] in ("adopted", "existing") and not grant.leaving:
            self.judge.returned(name, reply, self.pool.now)

    def lose(self) -> None:
        """The store forgets one, and its holder adopts it: with its end, and not after it."""
        name = self.chance.choice(NAMES)
        grant, record = self.judge.live.get(name), self.pool.record(name)
        if grant is None or not record or grant.leaving:
            return
        self.pool.client.hincrby(self.pool.keys["pool"], "cpu.allocated", -1)
        self.pool.client.delete(self.pool.keys.record(name))
        for index in ("deadlines", "pinned"):
            self.pool.client.zrem(self.pool.keys[index], name)
        line = self.pool.adopt_line(
            name, {"cpu": 1}, fence=grant.fence, ttl=self.chance.choice(TTLS), ends=grant.end or 0
        )
        reply = self.pool.adopt(line, reason="a story")[0]
        grant.promised, grant.callers = 0, []
        if reply[0] == "adopted":
            self.judge.returned(name, reply, self.pool.now)
        else:
            assert reply[0] == "over", reply
            assert grant.over(self.pool.now)

    def resize(self) -> None:
        """It moves nothing."""
        name = self.chance.choice(NAMES)
        reply = self.pool.resize(name, {"cpu": 1})
        if reply[0] == "resized":
            assert fields(reply[1:]).get("ends_ms") == self.judge.live[name].end

    def reclaim(self) -> None:
        """What is over does not survive it, unless the pool recovers."""
        recovering = int(self.pool.account.get("recovering_until_ms", 0)) > self.pool.now
        self.pool.reclaim()
        for name, grant in self.judge.live.items():
            if grant.over(self.pool.now) and not recovering:
                assert not self.pool.record(name), f"{name} outlives its end {grant.end}"

    def gap(self) -> None:
        """Nobody came for a while, or the clock was set forward: deadlines move, and no end."""
        was = self.pool.now
        self.pool.now += self.chance.choice((MINUTE, 4 * MINUTE))
        gap = {"gap_from_ms": was, "gap_to_ms": self.pool.now}
        self.pool.client.hset(self.pool.keys["pool"], mapping=gap)


@pytest.mark.parametrize("seed", range(12))
def test_no_caller_is_told_anything_that_the_end_belies(real: Ledger, seed: int) -> None:
    """On each engine; the stories reach ends, and cuts at them."""
    story = Story(real, seed)
    story.tell()
    assert story.judge.cuts >= 3, "the story says nothing"
