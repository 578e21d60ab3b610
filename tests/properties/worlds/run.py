"""Play worlds on a real server, many at a time: set up once, copied for each, called, read, and compared."""

from __future__ import annotations

import hashlib
import itertools
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import hiredis

from allocator._engine.protocol.keys import PoolKeys
from tests.properties.worlds import compare
from tests.properties.worlds.enumeration import Case, Setup, Worlds
from tests.properties.worlds.items import Item, Step
from tests.properties.worlds.perform import call, create, expect, fence_of, first_state, words, written
from tests.properties.worlds.state import Broken, State
from tests.scripts.invariants import check_pool
from tests.scripts.ledger import T0, Ledger

__all__ = ["Gathering", "Runner", "Snapshot", "Wire", "Worlds", "reproduction"]

AT_ONCE: Final = 250
"""Worlds that are played side by side."""

DRAWN_FROM: Final = 1000
"""Of call ids that a ledger draws for a copy: those before it have been used."""

CREATED: Final = 200_000
"""How long before the instant of a world its pool was made."""

FIXED: Final = ("pool", "deadlines", "pinned", "ended")


class Wire:
    """One connection, on which commands are gathered and sent together."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.settimeout(60)
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._gathered: list[bytes] = []
        self._loaded: dict[str, str] = {}

    def add(self, *command: str | int) -> None:
        """One more command."""
        self._gathered.append(hiredis.pack_command(command))

    def sha(self, text: str) -> str:
        """Of a script, which the server is given first."""
        if text not in self._loaded:
            self._loaded[text] = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            waiting, self._gathered = self._gathered, []
            self.add("SCRIPT", "LOAD", text)
            self.send()
            self._gathered = waiting
        return self._loaded[text]

    def send(self) -> list[Any]:
        """Send what was gathered; a reply for each, an error as an object."""
        count, data, self._gathered = len(self._gathered), b"".join(self._gathered), []
        self._socket.sendall(data)
        found: list[Any] = []
        while len(found) < count:
            reply = self._reader.gets()
            if reply is False:
                received = self._socket.recv(1 << 18)
                if not received:
                    raise ConnectionError("the server has gone")
                self._reader.feed(received)
            else:
                found.append(reply)
        return found

    def close(self) -> None:
        """End it."""
        self._socket.close()


class _Later:
    """The reply of a call that was only gathered."""

    def __getitem__(self, _: object) -> Self:
        return self


class Gathering(Ledger):
    """A ledger whose calls are gathered on a wire."""

    def send(self, text: str, keys: Sequence[str], words: Sequence[str | int], *, client: Any = None) -> Any:
        """EVALSHA, later."""
        wire: Wire = client or self.client
        wire.add("EVALSHA", wire.sha(text), len(keys), *keys, *words)
        return _Later()

    def raw(self, command: str, key: str, *words: str | int) -> None:
        """A plain writing, later."""
        self.client.add(command, self.at(key), *words)

    def at(self, key: str) -> str:
        """The whole key."""
        return self.keys.record(key[7:]) if key.startswith("record:") else self.keys[key]


@dataclass
class Play:
    """One pool that is being played, beside the model's."""

    ledger: Gathering
    state: State
    steps: list[Step]
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    expected: Any = None
    before: dict[str, str] = field(default_factory=dict)
    written_down: bool = False

    def gather(self, number: int) -> int:
        """Say the step of that number to the wire; how many replies it will have."""
        if number >= len(self.steps) or self.problems:
            return 0
        step = self.steps[number]
        fences = [fence_of(self.state, item) for item in step.items]
        self.ledger.now = T0 + step.at
        calls = words(self.state, step, fences)
        for word in calls:
            call(self.ledger, word)
        if self.written_down:
            self.lines += [f"pool.now = T0 + {step.at}".replace("+ -", "- "), *(written(word) for word in calls)]
        self.expected = expect(self.state, step, fences)
        return len(calls)

    def hear(self, answers: Sequence[Any]) -> None:
        """The replies to what was gathered."""
        if self.expected is None:
            self.problems += [str(answer) for answer in answers if isinstance(answer, Exception)]
            return
        actual = answers[0]
        if self.written_down:
            self.lines.append(f"# {actual}")
        self.problems += compare.replies(self.state, self.expected, actual, self.ledger.now)
        self.expected = None


def setup_steps(setup: Setup) -> list[Step]:
    """What leads to it, but for what takes the room that is too much."""
    steps = [*setup.state("x").build("x"), *setup.state("y").build("y")]
    if setup.pool.gap:
        steps.append(Step("gap", -21_900))
    return sorted(steps, key=lambda step: step.at)


def last_steps(setup: Setup, state: State) -> list[Step]:
    """What takes the room that is too much, and what befalls the pool at last."""
    much = state.capacity["cpu"] - state.allocated["cpu"] - setup.room
    steps = [Step("allocate", -1000, (Item("f", "f-1", amounts={"cpu": much}),))] if much > 0 else []
    if setup.pool.recovering:
        steps.append(Step("recovering", -900))
    if setup.pool.other_server:
        steps.append(Step("other server", -900))
    if setup.pool.lowered:
        steps.append(Step("lowered", -900))
    if setup.pool.word:
        steps.append(Step(setup.pool.word, -900))
    return steps


class Runner:
    """Plays worlds over one wire."""

    def __init__(self, wire: Wire, *, written_down: bool = False) -> None:
        self.wire = wire
        self.written_down = written_down
        self.played = 0
        self.setups = 0

    def run(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Play]]:
        """Those that went wrong."""
        batch: list[Case] = []
        for case in cases:
            batch.append(case)
            if len(batch) == AT_ONCE:
                yield from self._batch(batch)
                batch = []
        yield from self._batch(batch)

    def told(self, case: Case) -> list[str]:
        """One world as lines: calls of `Ledger`, their replies, and what is wrong."""
        [(_, play)] = self._together([case])
        head = [f"world {case.number}: {case.setup}", "pool = Ledger(client)", f"pool.now = T0 - {CREATED}"]
        return [*head, *play.lines, *(f"!! {problem}" for problem in play.problems)]

    def _batch(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Play]]:
        for case, play in self._together(cases) if cases else ():
            if play.problems:
                yield case, play

    def _together(self, cases: Sequence[Case]) -> list[tuple[Case, Play]]:
        self.wire.add("FLUSHALL")
        self.wire.send()
        made = self._templates({case.setup: case for case in cases})
        plays = [(case, self._copy(number, case, made[case.setup])) for number, case in enumerate(cases)]
        self.wire.send()
        self._play([play for _, play in plays])
        self._read(plays)
        self.played += len(cases)
        return plays

    def _templates(self, wanted: dict[Setup, Case]) -> dict[Setup, Play]:
        """A pool for each set-up."""
        made = {}
        for number, setup in enumerate(wanted):
            ledger = Gathering(self.wire, keys=PoolKeys(f"t{number}"))
            ledger.now = T0 - CREATED
            lines: list[str] = []
            for word in create(setup.pool):
                call(ledger, word)
                if self.written_down:
                    lines.append(written(word))
            made[setup] = Play(ledger, first_state(setup.pool), setup_steps(setup), lines=lines)
            made[setup].written_down = self.written_down
        self.wire.send()
        self._play(list(made.values()))
        for setup, play in made.items():
            play.steps = last_steps(setup, play.state)
        self._play(list(made.values()))
        self.setups += len(made)
        dumps = self._dumps([play.ledger for play in made.values()])
        for play, dump in zip(made.values(), dumps, strict=True):
            play.problems = [f"set-up: {problem}" for problem in play.problems]
            play.before = dump["pool"]
            if not play.problems:
                problems = compare.pool(play.state, dump, {**dump["pool"], "revision": "0"}, T0 - 900)
                play.problems = [f"set-up: {problem}" for problem in problems]
        return made

    def _copy(self, number: int, case: Case, template: Play) -> Play:
        ledger = Gathering(self.wire, keys=PoolKeys(f"p{number}"), drawn=itertools.count(DRAWN_FROM))
        for name in (*FIXED, *(f"record:{identity}" for identity in template.state.records)):
            self.wire.add("COPY", template.ledger.at(name), ledger.at(name))
        state = template.state.clone()
        state.moved = state.perhaps_moved = False
        state.events = []
        ledger.epoch = state.named
        play = Play(ledger, state, list(case.steps), list(template.problems), list(template.lines))
        play.before, play.written_down = template.before, self.written_down
        if self.written_down and state.named:
            play.lines.append(f"pool.epoch = {state.named!r}")
        return play

    def _play(self, plays: Sequence[Play]) -> None:
        """Their steps, side by side."""
        for number in range(max((len(play.steps) for play in plays), default=0)):
            waiting = [(play, play.gather(number)) for play in plays]
            answers = iter(self.wire.send())
            for play, count in waiting:
                if count:
                    play.hear([next(answers) for _ in range(count)])

    # -- reading -----------------------------------------------------------------------------------------------------

    def _dumps(self, ledgers: Sequence[Gathering]) -> list[dict[str, Any]]:
        names = (*FIXED[1:], "events", "pool", *(f"record:{identity}" for identity in compare.IDS))
        for ledger in ledgers:
            for name in names[:3]:
                self.wire.add("ZRANGE", ledger.at(name), 0, -1, "WITHSCORES")
            self.wire.add("XRANGE", ledger.at("events"), "-", "+")
            for name in names[4:]:
                self.wire.add("HGETALL", ledger.at(name))
        answers = iter(self.wire.send())
        return [{name: _plain(name, next(answers)) for name in names} for _ in ledgers]

    def _read(self, plays: Sequence[tuple[Case, Play]]) -> None:
        dumps = self._dumps([play.ledger for _, play in plays])
        for (_, play), dump in zip(plays, dumps, strict=True):
            if not play.problems:
                now = play.ledger.now
                play.problems += compare.pool(play.state, dump, play.before, now)
                play.problems += [f"belief: {each}" for each in compare.beliefs(play.state, dump, now)]
                play.problems += audited(play, dump)


def reproduction(wire: Wire, case: Case) -> str:
    """A world that went wrong, in calls of `Ledger` that lead to it, and what is wrong."""
    return "\n".join(Runner(wire, written_down=True).told(case))


def _plain(name: str, answer: Any) -> Any:
    if isinstance(answer, Exception) or name == "events":
        return answer
    pairs = zip(answer[::2], answer[1::2], strict=True)
    return dict(pairs) if name.startswith(("record:", "pool")) else {member: int(score) for member, score in pairs}


class Snapshot:
    """What was read of a pool, to be asked as a client is."""

    def __init__(self, ledger: Gathering, dump: dict[str, Any]) -> None:
        self._found = {ledger.at(name): value for name, value in dump.items() if value}

    def hgetall(self, key: str) -> Any:
        """A hash."""
        return self._found.get(key, {})

    def zrange(self, key: str, _: int, __: int, *, withscores: bool) -> list[tuple[str, int]]:
        """A sorted set."""
        return list(self._found.get(key, {}).items())

    def xrange(self, key: str) -> list[tuple[str, dict[str, str]]]:
        """A stream."""
        found = self._found.get(key, [])
        return [(entry, dict(zip(flat[::2], flat[1::2], strict=True))) for entry, flat in found]

    def scan_iter(self, *, match: str, count: int) -> list[str]:
        """All keys."""
        return list(self._found)

    def pttl(self, _: str) -> int:
        """Only what is left of a pool that is gone has one; it is not read here."""
        return -1 if any(key.endswith(":pool") for key in self._found) else 1


def audited(play: Play, dump: dict[str, Any]) -> list[str]:
    """The invariants, as the tests of the scripts have them."""
    if any(isinstance(record, Broken) for record in play.state.records.values()):
        return []
    try:
        check_pool(Snapshot(play.ledger, dump), play.ledger.keys, overcommitted=not play.state.judged)
    except AssertionError as error:
        return [f"audit: {error}".splitlines()[0] if str(error) else "audit: a field is not what it should be"]
    return []
