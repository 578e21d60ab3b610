"""A real reply and a real pool against the model's.

Three things are left open.  `asserted_ms` is the business of `tests.properties.worlds`.  A waiter that is silent may
have left or not.  After a begun release an undo may say once more what was told at its beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.properties.lines.book import Held, InLine, Reply
from tests.properties.lines.model import Model
from tests.properties.lines.states import IDS
from tests.properties.worlds.state import Fence

__all__ = ["pool", "replies", "silent"]

RECORDS: Final = {"existing", "replayed", "conflict", "releasing", "resized", "moved"}
"""Words before the fields of a record."""

KINDS: Final = {
    "granted", "resized", "released", "reclaimed", "undone", "call_undone", "releasing", "moved", "waiting",
    "withdrawn", "preempted",
}  # fmt: skip
"""Of events that are compared."""


def silent(model: Model, stored: Sequence[str]) -> None:
    """Those who are not heard of any more may have left, as far as the store says."""
    for one in [one for one in model.line if model.silent(one) and one.asked.id not in stored]:
        model.give_up(one)
        if not model.line:
            model.looked = None


# -- replies ---------------------------------------------------------------------------------------------------------


def replies(model: Model, expected: Sequence[Reply], actual: Any) -> Iterator[str]:
    """Where a call was answered otherwise than by the model."""
    if isinstance(actual, Exception):
        yield f"answered {actual!r}, expected {expected}"
        return
    whole = actual if actual and isinstance(actual[0], list) else [actual]
    if len(whole) != len(expected):
        yield f"answered {actual}, expected {expected}"
        return
    for number, (one, other) in enumerate(zip(expected, whole, strict=True), start=1):
        wrong = list(_reply(model, one, other)) if one[0] == other[0] else ["another word"]
        if wrong:
            yield f"item {number}: answered {other}, expected {_shown(one)}: {', '.join(wrong)}"


def _reply(model: Model, expected: Reply, actual: Sequence[Any]) -> Iterator[str]:
    match expected[0]:
        case "waiting":
            least, most = expected[1]
            if not least <= actual[1] <= most:
                yield "position"
            if actual[2] not in expected[2]:
                yield "the next change"
            if tuple(actual[3]) != expected[3]:
                yield "the refusal"
        case word if word in RECORDS and len(expected) > 1:
            told = dict(zip(actual[1::2], actual[2::2], strict=True))
            yield from _same(model, expected[1], told, {"epoch", "durability"})
        case "quota" | "configured" | "reclaim_first":
            return
        case "reclaimed":
            if sorted(map(str, actual)) != sorted(map(str, expected)):
                yield "ids"
        case _:
            for one, other in zip(expected[1:], actual[1:], strict=False):
                if isinstance(one, Fence):
                    yield from _learn(model, one, int(other), 0)
                elif one != other:
                    yield f"{other!r} and not {one!r}"
            if len(expected) != len(actual):
                yield "length"


def _learn(model: Model, fence: Fence, number: int, above: int) -> Iterator[str]:
    """A new fence is greater than those before it; a known one is what it was."""
    if fence.value is None:
        fence.value = number
        model.greatest = max(model.greatest, number)
        if number <= above:
            yield f"fence {number} is not greater than {above}"
    elif fence.value != number:
        yield f"fence {number} is not {fence.value}"


def _same(model: Model, wanted: Mapping[str, Any], actual: Mapping[str, Any], but: set[str]) -> Iterator[str]:
    """The fields of a record."""
    if not wanted.get("ttls") and wanted.get("releasing_ms"):
        but = but | {"ttls", "told"}
    for name in sorted((wanted.keys() | actual.keys()) - but - {"asserted_ms"}):
        one, other = wanted.get(name), actual.get(name)
        if name == "fence":
            yield from _learn(model, one, int(other or 0), 0)
        elif (None if one is None else str(one)) != (None if other is None else str(other)):
            yield f"{name} is {other!r}, not {one!r}"


def _shown(reply: Any) -> Any:
    if isinstance(reply, Fence):
        return reply.value
    if isinstance(reply, dict):
        return {name: _shown(value) for name, value in reply.items()}
    return tuple(_shown(each) for each in reply) if isinstance(reply, tuple) else reply


# -- what is stored --------------------------------------------------------------------------------------------------


def pool(model: Model, dump: Mapping[str, Any]) -> Iterator[str]:
    """Where the stored pool is not the model's."""
    for identity in IDS:
        held, record = model.held(identity), dump[f"record:{identity}"]
        for problem in _record(model, held, record):
            yield f"record {identity}: {problem}"
        waiter, entry = model.of(identity), dump[f"waiter:{identity}"]
        for problem in _waiter(model, waiter, entry):
            yield f"waiter {identity}: {problem}"
    yield from _account(model, "", dump["pool"])
    for scope in model.tree.limits:
        yield from _account(model, scope, dump[f"quota:{scope}"])
    yield from _line(model, dump)
    leased = {name: one.deadline for name, one in model.live.items() if one.deadline is not None}
    pinned = {name: one.granted for name, one in model.live.items() if isinstance(one, Held) and one.deadline is None}
    for name, wanted in (("deadlines", leased), ("pinned", pinned)):
        if dump[name] != wanted:
            yield f"{name} are {dump[name]}, not {wanted}"
    yield from _ended(model, dump["ended"])
    flat = [dict(zip(words[::2], words[1::2], strict=True)) for _, words in dump["events"]]
    told = Counter((event["kind"], event.get("id", "")) for event in flat if event["kind"] in KINDS)
    if told != (wanted_events := Counter(model.events)):
        yield f"events: {told - wanted_events} too many, {wanted_events - told} missing"


def _record(model: Model, held: Held | None, record: Mapping[str, str]) -> Iterator[str]:
    if not held or not record:
        if held or record:
            yield f"is {record or 'not there'}, not {held}"
        return
    known = held.grant.value is not None
    yield from _same(model, held.fields(), record, set())
    if not known and held.grant.value is not None and held.grant.value <= held.above:
        yield f"its fence {held.grant.value} is not greater than {held.above}"


def _waiter(model: Model, waiter: InLine | None, entry: Mapping[str, str]) -> Iterator[str]:
    if not waiter or not entry:
        if waiter or entry:
            yield f"is {entry or 'not there'}, not {waiter}"
        return
    yield from _same(model, waiter.fields(), entry, {"victims"})
    victims = {f"{one.grant.value}:{one.asked.id}" for one in waiter.victims}
    if set(entry.get("victims", "").split()) != victims:
        yield f"victims are {entry.get('victims')!r}, not {victims}"


def _account(model: Model, name: str, account: Mapping[str, str]) -> Iterator[str]:
    """The counters are the sums over the tree."""
    for resource in [*model.tree.capacity, *(["allocations"] if name else [])]:
        for what, amount in (("allocated", model.tree.allocated), ("kept", model.tree.kept)):
            found, wanted = int(account.get(f"{resource}.{what}", 0)), amount(name, resource)
            if found != wanted:
                yield f"{name or 'pool'} {resource}.{what} is {found}, not {wanted}"
    if not name and account["cpu.capacity"] != str(model.tree.capacity["cpu"]):
        yield f"capacity is {account['cpu.capacity']}"


def _line(model: Model, dump: Mapping[str, Any]) -> Iterator[str]:
    stored, wanted = list(dump["waiting"]), [one.asked.id for one in model.line]
    if stored != wanted:
        yield f"in line are {stored}, not {wanted}"
    account = dump["pool"]
    passed = (account.get("waiting_first", ""), int(account.get("waiting_passes", 0)))
    counted = model.passed if model.passed[0] in wanted else ("", 0)
    if passed != counted and (passed[1] or counted[1]):
        yield f"passed was {passed}, not {counted}"


def _ended(model: Model, ended: Mapping[str, int]) -> Iterator[str]:
    found = {call: at for call, at in ended.items() if ":" not in call and not call.startswith("call-")}
    if found != model.over:
        wrong = {call for call in found.keys() | model.over.keys() if found.get(call) != model.over.get(call)}
        yield f"ended: { ({call: (found.get(call), model.over.get(call)) for call in sorted(wrong)}) }"
    withdrawn = {call.partition(":")[0] for call in ended if call.endswith(":withdrawn")}
    if withdrawn != model.withdrawn:
        yield f"withdrawn: {withdrawn}, not {model.withdrawn}"
