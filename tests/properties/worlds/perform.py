"""Steps: what the model says of one, how it is sent as a call of `Ledger`, and how that call is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.properties.worlds.granting import Allocate, Resize
from tests.properties.worlds.items import Item, Step
from tests.properties.worlds.model import Reply
from tests.properties.worlds.state import Broken, BrokenDataError, Options, Record, State
from tests.properties.worlds.states import BOUNDED, CAPACITY, GAP, GRACE, LOW, RECOVERING_LEFT, World
from tests.properties.worlds.verbs import Holder, Upkeep
from tests.scripts.ledger import T0, Ledger

AHEAD: Final = 1000
"""How far beyond all fences one lies that the store does not know."""

NEVER: Final = 7
"""The fence of a grant that nobody has ever seen."""

FIRST_REVISION: Final = 1000
"""Set once the pool is made, so that fences are the same each time."""

HOLDERS: Final = ("renew", "release", "begin_release", "undo")

Word = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A method of `Ledger`, and its arguments; one that is itself a `Word` is called first."""


def first_state(pool: World) -> State:
    """A pool that was just made."""
    options = Options(grace=GRACE, max_ttl=60_000) if pool.promises == BOUNDED else Options()
    return State(capacity={"cpu": CAPACITY}, options=options, allocated={"cpu": 0}, greatest=FIRST_REVISION)


def create(pool: World) -> list[Word]:
    """How it is made."""
    promises = {"promises": pool.promises} if pool.promises else {}
    return [("create", ({"cpu": CAPACITY},), promises), raw("HSET", "pool", "revision", FIRST_REVISION)]


def raw(command: str, key: str, *words: object) -> Word:
    """A plain writing; `record:x` is the record of x."""
    return ("raw", (command, key, *words), {})


def fence_of(state: State, item: Item) -> int:
    """The number that an item's word stands for."""
    known = state.known.get(item.id)
    number = known.value if known and known.value else NEVER
    match item.fence:
        case "right":
            return number
        case "stale":
            return number - 1
        case "ahead":
            return ahead_of(state)
        case int(given):
            return given
        case _:
            return 0


def ahead_of(state: State) -> int:
    """A fence that the store does not know."""
    return max(state.greatest, state.jumped) + AHEAD


# -- the model's side ------------------------------------------------------------------------------------------------


def expect(state: State, step: Step, fences: Sequence[int]) -> Any:
    """What the model replies; the state is changed.  A broken record that is named changes nothing."""
    now = T0 + step.at
    if not any(isinstance(record, Broken) for record in state.records.values()):
        return _expect(state, step, fences, now)
    before = state.clone()
    try:
        return _expect(state, step, fences, now)
    except BrokenDataError:
        vars(state).update(vars(before))
        return "error"


def _expect(state: State, step: Step, fences: Sequence[int], now: int) -> Any:  # noqa: PLR0911 - verb by verb
    match step.verb:
        case "allocate":
            mark = ahead_of(state) if step.option("mark") else 0
            return Allocate(state, now).run(step.items, atomic=step.atomic, epoch=state.named, mark=mark)
        case "resize":
            return [Resize(state, now).run(step.items[0], fences[0], epoch=state.named)]
        case "adopt":
            return Upkeep(state, now).adopt(step.items, fences, forced=bool(step.option("reason")))
        case "reclaim":
            return Upkeep(state, now).reclaim(step.option("age"))
        case "reconcile":
            owner, as_of = step.option("owner", "owner"), now + step.option("as_of")
            return Upkeep(state, now).reconcile(step.items, fences, owner=owner, as_of=as_of)
        case verb if verb in HOLDERS:
            return Holder(state, now).run(verb, step.items, fences, state.named)
        case _:
            _write(state, step)
            return None


def _write(state: State, step: Step) -> None:
    match step.verb:
        case "gap":
            state.gap = (T0 + GAP[0], T0 + GAP[1])
        case "recovering":
            state.recovering_until = T0 + RECOVERING_LEFT
        case "other server":
            state.other_server = True
        case "lowered":
            state.capacity = {"cpu": LOW}
            state.judged = False
        case "offline" | "deleting" | "schema":
            state.word = step.verb
        case "other_epoch":
            state.named = "another"
        case "lost" | "deleted":
            state.there, state.deleted = False, step.verb == "deleted"
            state.beliefs = {}
        case "lose":
            record = state.records.pop(step.items[0].id)
            assert isinstance(record, Record)
            state.allocated["cpu"] -= record.amounts["cpu"]
            state.beliefs = {who: belief for who, belief in state.beliefs.items() if belief.fence is not record.fence}
            state.judged = False
        case _:
            record = state.records[step.items[0].id]
            assert isinstance(record, Record)
            state.records[step.items[0].id] = Broken(record, step.verb)


# -- the ledger's side -----------------------------------------------------------------------------------------------


def words(state: State, step: Step, fences: Sequence[int]) -> list[Word]:
    """The calls that a step makes; to be asked for before the model has changed its state."""
    pairs = list(zip(step.items, fences, strict=True))
    again = [{"call": item.call, **({"repeated": 1} if item.repeated else {})} for item in step.items]
    match step.verb:
        case "allocate":
            lines = [
                ("want", (item.id, item.amounts), {"ttl": item.ttl, **_owner(item), **more})
                for item, more in zip(step.items, again, strict=True)
            ]
            says: dict[str, Any] = {"atomic": 1} if step.atomic else {}
            if step.option("mark"):
                says["mark"] = (state.epoch, ahead_of(state))
            return [("allocate", tuple(lines), says)]
        case "renew":
            lines = [
                ("renew_line", (item.id,), {"fence": fence, **_renewal(item, step.at), **more})
                for (item, fence), more in zip(pairs, again, strict=True)
            ]
            return [("renew", tuple(lines), {})]
        case "release":
            lines = [
                ("release_line", (item.id, fence), {**_knows(item, step.at), **more})
                for (item, fence), more in zip(pairs, again, strict=True)
            ]
            return [("release", tuple(lines), {})]
        case "begin_release":
            lines = [
                ("begin_release_line", (item.id, item.ttl), {"fence": fence, **more})
                for (item, fence), more in zip(pairs, again, strict=True)
            ]
            return [("begin_release", tuple(lines), {})]
        case "undo":
            return [("undo", tuple((item.call, item.id) for item in step.items), {})]
        case _:
            return _more_words(state, step, pairs, again)


def _more_words(
    state: State, step: Step, pairs: Sequence[tuple[Item, int]], again: Sequence[Mapping[str, Any]]
) -> list[Word]:
    match step.verb:
        case "resize":
            item, fence = pairs[0]
            line = ("resize_line", (item.id, item.amounts), {"fence": fence, **again[0]})
            return [("resize", (line,), {})]
        case "adopt":
            lines = [_adopt_line(step, item, fence, more) for (item, fence), more in zip(pairs, again, strict=True)]
            return [("adopt", tuple(lines), {"reason": step.option("reason", "")})]
        case "reclaim":
            age = step.option("age")
            return [("reclaim", (), {} if age is None else {"age": age})]
        case "reconcile":
            held = tuple((item.id, fence) for item, fence in pairs)
            says = {"owner": step.option("owner", "owner"), "as_of": T0 + step.at + step.option("as_of")}
            return [("reconcile", held, says)]
        case _:
            return _writings(state, step)


def _writings(state: State, step: Step) -> list[Word]:  # noqa: PLR0911 - one by one
    identity = step.items[0].id if step.items else ""
    match step.verb:
        case "gap":
            return [raw("HSET", "pool", "gap_from_ms", T0 + GAP[0], "gap_to_ms", T0 + GAP[1])]
        case "recovering":
            return [raw("HSET", "pool", "recovering_until_ms", T0 + RECOVERING_LEFT, "recovering_why", "fence")]
        case "other server":
            return [raw("HSET", "pool", "run_id", "0" * 40)]
        case "lowered":
            return [raw("HSET", "pool", "cpu.capacity", LOW)]
        case "offline" | "deleting":
            return [raw("HSET", "pool", "state", step.verb, "offline_until_ms", T0 + 600_000)]
        case "schema":
            return [raw("HSET", "pool", "schema", 99)]
        case "other_epoch":
            return []
        case "lost":
            keys = ("pool", "deadlines", "pinned", "ended", "events", "record:x", "record:f")
            return [raw("DEL", key) for key in keys]
        case "deleted":
            return [("delete", (), {"force": 1})]
        case "lose":
            record = state.records[identity]
            assert isinstance(record, Record)
            left = state.allocated["cpu"] - record.amounts["cpu"]
            return [
                raw("HSET", "pool", "cpu.allocated", left), raw("DEL", f"record:{identity}"),
                raw("ZREM", "deadlines", identity),
            ]  # fmt: skip
        case "break string":
            return [raw("SET", f"record:{identity}", "rubbish")]
        case "break fence":
            return [raw("HSET", f"record:{identity}", "fence", "first")]
        case _:
            raise AssertionError(step.verb)


def _owner(item: Item) -> dict[str, str]:
    return {} if item.owner == "owner" else {"owner": item.owner}


def _knows(item: Item, at: int) -> dict[str, object]:
    return {"epoch": item.epoch, "known": T0 + at + item.known if item.known else 0} if item.epoch else {}


def _renewal(item: Item, at: int) -> dict[str, object]:
    return {"ttl": item.ttl, **({"shorten": 1} if item.shorten else {}), **_knows(item, at)}


def _adopt_line(step: Step, item: Item, fence: int, more: Mapping[str, Any]) -> Word:
    granted = T0 + step.at - item.known
    says = {"fence": fence, "epoch": item.epoch, "granted": granted, "ttl": item.ttl, **_owner(item), **more}
    return ("adopt_line", (item.id, item.amounts), says)


def call(ledger: Ledger, word: Word) -> Any:
    """Perform one."""
    name, arguments, says = word
    given = [call(ledger, each) if _is_word(each) else each for each in arguments]
    return getattr(ledger, name)(*given, **says)


def written(word: Word, receiver: str = "pool") -> str:
    """The same as a line of Python."""
    name, arguments, says = word
    if name == "raw":
        command, key, *rest = arguments
        at = f"{receiver}.keys.record({key[7:]!r})" if key.startswith("record:") else f"{receiver}.keys[{key!r}]"
        return f"{receiver}.client.execute_command({', '.join([repr(command), at, *map(repr, rest)])})"
    given = [written(each, receiver) if _is_word(each) else repr(each) for each in arguments]
    return f"{receiver}.{name}({', '.join([*given, *(f'{key}={value!r}' for key, value in says.items())])})"


def _is_word(each: Any) -> bool:
    return isinstance(each, tuple) and len(each) == 3 and isinstance(each[2], dict)


__all__ = ["Reply", "Word", "call", "create", "expect", "fence_of", "first_state", "words", "written"]
