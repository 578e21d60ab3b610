"""A real reply and a real pool against the model's.

Where the specification leaves something open, the comparison is tolerant; a record's `loose` names what:

- `ttls`, `told`: after a lease that several callers share was moved for a gap, or shortened;
- `ttl`: `ttl_ms` after a repeat brought a lapsed lease back, after an adoption, or an undo beside a gap;
- `gap`: whether `gap_ms` stays when a repeat or an adoption moves the deadline;
- `asserted`: `asserted_ms` after a renewal by another time to live, a gap, an undo, an adoption, `begin_release`;
- `deadline`: of what is left to others after a shortening.

`perhaps_ended` are calls that may be remembered or not: refused when they came again, shortenings that did not shorten,
adoptions.

A word with a bar in it stands for two answers: `denied|reclaim_first` to a resize of what has lapsed itself, and where
an item before this one had passed over what is not due any more, `wrong_epoch|unknown` to a release of another epoch
whose record is not there, `absent|unknown_pool` to an undo, `kept|released` to a reconcile where `asserted` is open,
`existing|replayed` to a repeat of a caller that outlived the one that was granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.properties.worlds.model import Base, Reply
from tests.properties.worlds.state import Broken, Fence, Record, State

RECORD_WORDS: Final = ("existing", "replayed", "conflict", "releasing", "resized", "adopted")

KINDS: Final = (
    "granted", "resized", "released", "reclaimed", "undone", "call_undone", "releasing", "adopted", "deferred",
)  # fmt: skip
"""Of events that every world's are compared with."""

IDS: Final = ("x", "y", "z", "f")
"""Of the records that a world may have."""


# -- replies ---------------------------------------------------------------------------------------------------------


def replies(state: State, expected: Any, actual: Any, now: int) -> list[str]:
    """Where a call was answered otherwise than by the model; fences that are new are learned from it."""
    if isinstance(actual, Exception) or expected == "error":
        fine = isinstance(actual, Exception) and expected == "error" and _names_broken(actual)
        return [] if fine else [f"answered {actual!r}, expected {expected!r}"]
    greatest = state.greatest
    if expected and expected[0] == "reclaimed":
        return [] if _same_reclaim(expected, actual) else [f"answered {actual}, expected {expected}"]
    if len(expected) != len(actual):
        return [f"answered {actual}, expected {shown(expected)}"]
    found = []
    for number, (one, other) in enumerate(zip(expected, actual, strict=True), start=1):
        found += [f"item {number}: {problem}" for problem in reply(state, one, other, now)]
    if any(one[0] in ("aborted", "reclaim_first", "aborted|behind") for one in expected):
        # A gang that stopped may tell of a grant that was not made.
        state.greatest = greatest
    return found


def _names_broken(error: Exception) -> bool:
    return str(error).startswith(("INVARIANT", "WRONGTYPE"))


def _same_reclaim(expected: Sequence[Any], actual: Sequence[Any]) -> bool:
    return list(actual[:2]) == list(expected[:2]) and sorted(actual[2:]) == sorted(expected[2:])


def reply(state: State, expected: Reply, actual: Sequence[Any], now: int) -> list[str]:
    """One item."""
    words = str(expected[0]).split("|")
    if actual[0] not in words:
        return [f"answered {actual}, expected {shown(expected)}"]
    if len(words) > 1 and words[0] not in RECORD_WORDS:
        _follow(state, expected, str(actual[0]), now)
        return []
    wrong = list(_reply(state, expected, actual))
    return [f"answered {actual}, expected {shown(expected)}: {', '.join(wrong)}"] if wrong else []


def _follow(state: State, expected: Reply, word: str, now: int) -> None:
    """Of two answers that are both right, the state after the one that was given."""
    if expected[0] == "kept|released" and word == "released":
        record: Record = expected[1]
        identity = next(identity for identity, found in state.records.items() if found is record)
        Base(state, now).reconciled(identity, record, expected[2])


def _reply(state: State, expected: Reply, actual: Sequence[Any]) -> Iterator[str]:
    match expected[0]:
        case "granted":
            record = expected[1]
            yield from learn(state, record.fence, int(actual[1]))
            if list(actual[2:5]) != [record.granted, record.deadline, state.epoch]:
                yield "instants or epoch"
        case word if word.split("|")[0] in RECORD_WORDS and len(expected) > 1:
            told = dict(zip(actual[1::2], actual[2::2], strict=True))
            yield from learn(state, expected[1].fence, int(told["fence"]))
            yield from plain_fields(expected[1], told)
        case "renewed":
            yield from same_fence(expected[1], actual[1])
            if actual[2] != expected[2]:
                yield "deadline"
        case "fenced":
            yield from same_fence(expected[1], actual[1])
        case "denied":
            if list(actual[1:]) != [expected[1], "", *(word for row in expected[2] for word in row)]:
                yield "reason, account or numbers"
        case "ended" | "not_counted" | "ttl_too_long" | "aborted" | "recovering" | "missing" | "released":
            if list(actual[1 : len(expected)]) != list(expected[1:]):
                yield "details"


def same_fence(fence: Fence, number: Any) -> Iterator[str]:
    """That a fence is the one that is known."""
    if fence.value != int(number):
        yield f"fence {number} is not {fence.value}"


def learn(state: State, fence: Fence, number: int) -> Iterator[str]:
    """A new fence is greater than all before it; a known one is what it was."""
    if fence.value is not None:
        yield from same_fence(fence, number)
        return
    if number <= max(state.greatest, state.jumped):
        yield f"fence {number} is not greater than {max(state.greatest, state.jumped)}"
    fence.value = number
    state.greatest = max(state.greatest, number)


def plain_fields(record: Record, told: Mapping[str, Any]) -> Iterator[str]:
    """What a reply and a record's hash have in common."""
    wanted: dict[str, Any] = {"owner": record.owner, "granted_ms": record.granted}
    wanted |= {f"{name}.allocated": amount for name, amount in record.amounts.items()}
    if "deadline" not in record.loose:
        wanted["deadline_ms"] = None if record.pinned else record.deadline
        if "ttl" not in record.loose:
            wanted["ttl_ms"] = None if record.pinned else record.ttl
    wanted["releasing_ms"] = record.releasing or None
    for name, value in wanted.items():
        seen = told.get(name)
        if (None if seen is None else str(seen)) != (None if value is None else str(value)):
            yield f"{name} is {seen!r}, not {value!r}"
    amounts = {name for name in told if name.endswith(".allocated")}
    if amounts != {f"{name}.allocated" for name in record.amounts}:
        yield f"amounts of {sorted(amounts)}"


# -- what is stored --------------------------------------------------------------------------------------------------


def pool(state: State, dump: Mapping[str, Any], before: Mapping[str, str], now: int) -> list[str]:
    """Where the stored pool is not the model's; `before` is its account before the calls."""
    if not state.there:
        there = sorted(name for name, value in dump.items() if value and name != "ended")
        return [f"the pool is gone, and there are {there}"] if there else []
    found = list(_account(state, dump["pool"], before, now))
    for identity in IDS:
        record = state.records.get(identity)
        found += [f"record {identity}: {problem}" for problem in stored(record, dump[f"record:{identity}"], now)]
    leased, pinned = _indexes(state)
    if dump["deadlines"] != leased:
        found.append(f"deadlines are {dump['deadlines']}, not {leased}")
    if dump["pinned"] != pinned:
        found.append(f"pinned are {dump['pinned']}, not {pinned}")
    return found + list(_ended(state, dump["ended"])) + list(_events(state, dump["events"]))


def _account(state: State, account: Mapping[str, str], before: Mapping[str, str], now: int) -> Iterator[str]:
    if account["cpu.allocated"] != str(state.allocated["cpu"]):
        yield f"cpu.allocated is {account['cpu.allocated']}, not {state.allocated['cpu']}"
    step = int(account["revision"]) - int(before["revision"])
    if step < 0 or (state.moved and not step) or (step and not state.moved and not state.perhaps_moved):
        yield f"the revision moved by {step}"
    if state.greatest > int(account["revision"]):
        yield f"the revision {account['revision']} is not above the fence {state.greatest}"
    if state.jumped and int(account["revision"]) < state.jumped + 1_000_000:
        yield f"the revision {account['revision']} has not jumped past {state.jumped}"
    until = int(account.get("recovering_until_ms", 0))
    if (until if until > now else 0) != (state.recovering_until if state.recovering_until > now else 0):
        yield f"it recovers until {until}, not {state.recovering_until}"
    changed = {name for name in account.keys() | before.keys() if account.get(name) != before.get(name)}
    allowed = {"cpu.allocated", "revision", "recovering_until_ms", "recovering_why", "run_id", "clock_ms"}
    # Its counters are the number of its events, which are compared; `tests.properties.history` has its points.
    others = {name for name in changed - allowed if not name.endswith("_count") and name != "history_ms"}
    if others:
        yield f"{sorted(others)} of the pool changed"


def _indexes(state: State) -> tuple[dict[str, int], dict[str, int]]:
    leased: dict[str, int] = {}
    pinned: dict[str, int] = {}
    for identity, found in state.records.items():
        record = found.was if isinstance(found, Broken) else found
        if isinstance(found, Broken) and not found.indexed:
            continue
        (pinned if record.pinned else leased)[identity] = record.deadline or record.granted
    return leased, pinned


def _ended(state: State, actual: Mapping[str, int]) -> Iterator[str]:
    calls = {call: at for call, at in actual.items() if ":" not in call and not call.startswith("call-")}
    for call in sorted(calls.keys() - state.ended.keys() - state.perhaps_ended):
        yield f"call {call} has ended"
    for call, at in state.ended.items():
        if call not in calls:
            if call not in state.perhaps_ended:
                yield f"call {call} has not ended"
        elif calls[call] != at and call not in state.perhaps_ended:
            yield f"call {call} has ended at {calls[call]}, not {at}"
    if state.options.grace:
        fences = {int(name[6:]) for name in actual if name.startswith("fence:")}
        known = {fence.value for fence in state.ended_fences}
        live = {record.fence.value for record in state.records.values() if isinstance(record, Record)}
        if known - fences or (fences & live and state.judged):
            yield f"ended fences are {sorted(fences)}, not {sorted(str(value) for value in known)}"


def _events(state: State, entries: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """Those that are an allocation's; `renewed` only where it was shortened, which the replies tell."""
    events = [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]
    told = sorted((event["kind"], event.get("id", "")) for event in events if event["kind"] in KINDS)
    if told != sorted(state.events):
        yield f"events are {told}, not {sorted(state.events)}"


def stored(record: Record | Broken | None, actual: Any, now: int) -> Iterator[str]:
    """One record's hash."""
    if record is None:
        if actual != {}:
            yield f"is there: {actual}"
        return
    if isinstance(record, Broken):
        if (isinstance(actual, Exception)) != (record.how == "break string"):
            yield f"is {actual}"
        return
    if not isinstance(actual, dict) or not actual:
        yield f"is {actual}"
        return
    yield from same_fence(record.fence, actual["fence"])
    yield from plain_fields(record, actual)
    yield from callers(record, actual)
    if "gap" not in record.loose and ("gap_ms" in actual) != record.gap:
        yield f"gap_ms is {actual.get('gap_ms')}, spared is {record.gap}"
    if "asserted" not in record.loose and min(asserted(actual), now) != record.asserted:
        yield f"asserted at {asserted(actual)} ({actual.get('asserted_ms')}), not {record.asserted}"


def callers(record: Record, actual: Mapping[str, str]) -> Iterator[str]:
    """`call`, `ttls` and `told`."""
    calls = [entry.call for entry in record.calls]
    if actual["call"].split() != calls:
        yield f"call is {actual['call']!r}, not {' '.join(calls)!r}"
    if record.told_gone:
        # Gone; or, after an undo, once more there with what the beginning of the release said.
        if actual.get("told") and set(actual["told"].split()) != {str(record.deadline)}:
            yield f"told is {actual['told']!r} of what is on its way out"
        return
    many = len(record.calls) > 1
    wanted = " ".join(str(entry.ttl) for entry in record.calls) if many else None
    if "ttls" not in record.loose and actual.get("ttls") != wanted:
        yield f"ttls is {actual.get('ttls')!r}, not {wanted!r}"
    wanted = " ".join(str(entry.until) for entry in record.calls) if many else None
    if "told" not in record.loose and actual.get("told") != wanted:
        yield f"told is {actual.get('told')!r}, not {wanted!r}"


def asserted(actual: Mapping[str, str]) -> int:
    """When somebody was last told, as it is written."""
    if "asserted_ms" in actual:
        return int(actual["asserted_ms"])
    if "deadline_ms" in actual:
        return int(actual["deadline_ms"]) - int(actual["ttl_ms"])
    return int(actual["granted_ms"])


# -- what is believed ------------------------------------------------------------------------------------------------


def beliefs(state: State, dump: Mapping[str, Any], now: int) -> list[str]:
    """Who was told of an allocation that the stored pool does not keep for so long."""
    found = []
    for who, belief in state.beliefs.items():
        if 0 < belief.until <= now or isinstance(state.records.get(belief.id), Broken):
            continue
        actual = dump[f"record:{belief.id}"]
        if not isinstance(actual, dict) or int(actual.get("fence", 0)) != belief.fence.value:
            found.append(f"{who} believes in {belief.id} until {belief.until or 'ever'}, and it is not there")
        elif "deadline_ms" in actual and not 0 < belief.until <= int(actual["deadline_ms"]):
            found.append(f"{who} believes in {belief.id} until {belief.until or 'ever'}, not {actual['deadline_ms']}")
    return found


def shown(expected: Any) -> str:
    """A reply of the model, for people."""
    match expected:
        case Record():
            return f"<{expected.owner} {expected.amounts} fence {expected.fence.value} until {expected.deadline}>"
        case Fence():
            return str(expected.value)
        case tuple():
            return "(" + ", ".join(shown(each) for each in expected) + ")"
        case list():
            return "[" + ", ".join(shown(each) for each in expected) + "]"
        case _:
            return repr(expected)
