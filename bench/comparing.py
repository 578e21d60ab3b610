"""The proof that a floor leaves behind what its verb does."""

from __future__ import annotations

from typing import Any, Final

from bench.rows import LeftOut
from bench.stage import Stage
from bench.verbs import Verb, command

__all__ = ["FloorDiffers", "compare"]

_ATTEMPTS: Final = 3
"""Comparisons before a difference counts: where the machine stops for a second, a verb may note the clock as well."""


class FloorDiffers(LeftOut):
    """The floor does not leave behind what its verb does: the ratio would mean nothing."""


def compare(stage: Stage, verb: Verb) -> None:
    """Make sure that a verb's floor leaves behind, field by field, what the verb does.

    The two are made with the same ids on the same data; what the clock said to the verb is told to the floor.

    Raises:
        FloorDiffers: It does not.
    """
    for attempt in range(_ATTEMPTS):
        differences = _differences(stage, verb)
        if not differences:
            return
        if attempt == _ATTEMPTS - 1:
            raise FloorDiffers(f"{verb.name} and its floor leave different things behind:\n" + "\n".join(differences))


def _differences(stage: Stage, verb: Verb) -> list[str]:
    subject = verb.prepared(stage, 1)[0]
    call = verb.call(subject)
    stage.keep()
    before = _contents(stage)
    stage.send(Stage.EMPTY, [command(stage, call)])
    ours = _contents(stage)
    stage.put_back()
    stage.send(Stage.EMPTY, [verb.floor_after(stage, subject, call, ours)])
    floors = _contents(stage)
    if ours == before:
        return [f"{verb.name} has changed nothing"]
    return [
        f"  {key}: the verb left {_shown(ours.get(key), floors.get(key))}, "
        f"the floor {_shown(floors.get(key), ours.get(key))}"
        for key in sorted({*ours, *floors})
        if ours.get(key) != floors.get(key)
    ]


def _shown(mine: Any, other: Any) -> Any:
    """Of a hash only the fields in which it differs."""
    if isinstance(mine, dict) and isinstance(other, dict):
        return {field: value for field, value in sorted(mine.items()) if other.get(field) != value}
    return "nothing" if mine is None else mine


def _contents(stage: Stage) -> dict[str, Any]:
    """All keys of the database as they can be compared: without the order of fields and the ids of a stream.

    What a pool keeps of its past is left out: no floor writes it, so that its cost is part of the ratio.
    """
    client: Any = stage.client()
    readers = {
        "hash": lambda key: {name: text for name, text in client.hgetall(key).items() if not _is_past(name)},
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda key: [fields for _, fields in client.xrange(key)],
    }
    keys = [key for key in sorted(client.keys()) if not key.endswith((":usage_minutes", ":usage_hours"))]
    return {key: readers[client.type(key)](key) for key in keys}


def _is_past(field: str) -> bool:
    return field == "history_ms" or field.endswith("_count")
