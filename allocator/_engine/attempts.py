"""The policy of repeating, shared by both drivers; no I/O.

A call is attempted until it is answered, until its total deadline passes, or until an error says that repeating is no
use. Once an attempt may have been executed, only a reply of the script itself ends the doubt: a refusal of a later
attempt says nothing about the earlier one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from allocator import settings
from allocator._engine.faults import Fault
from allocator._engine.scripts import Argument
from allocator._engine.steps import Call, Item
from allocator.errors import AllocatorError, BackendUnavailable, OutcomeUnknown

__all__ = ["REDIRECTS_MAX", "Attempts", "backoff", "cut", "ending", "payload"]

REDIRECTS_MAX: Final = 5
"""Redirections of a cluster that one call follows at once; further ones wait like any other failure."""

_SHOWN_IDS: Final = 3
"""Ids that a message about several items names."""


def backoff(count: int) -> float:
    """Seconds before the attempt after `count` failed ones: doubled up to a cap, spread so that callers do not march in
    step.
    """
    longest = min(settings.BACKOFF_BASE_S * 2.0 ** min(count - 1, 16), settings.BACKOFF_CAP_S)
    return longest * random.uniform(0.5, 1.0)


class Attempts:
    """What is known of the attempts at one call: how many failed, whether one may have been executed, until when to go
    on.
    """

    __slots__ = ("_redirects", "call", "count", "doubt", "until")

    def __init__(self, call: Call, until: float, *, doubt: bool = False) -> None:
        self.call = call
        self.until = until
        self.count = 0
        self.doubt = doubt
        self._redirects = 0

    def pause(self, fault: Fault, now: float) -> float | None:
        """Take note of a failed attempt.

        Returns:
            Seconds to wait before the next, or None: there is to be no next one.
        """
        self.count += 1
        self.doubt = self.doubt or (fault.doubt and self.call.script.writes)
        if not fault.passes:
            return None
        pause = backoff(self.count)
        if fault.redirect is not None and self._redirects < REDIRECTS_MAX:
            self._redirects += 1
            pause = 0.0
        return pause if now + pause < self.until else None

    def error(self, fault: Fault) -> AllocatorError:
        """What the caller is told when `fault` was the last."""
        return ending(self.call.items, fault, doubt=self.doubt)


def ending(items: Sequence[Item], fault: Fault, *, doubt: bool) -> AllocatorError:
    """What the caller of these items is told when `fault` was the last."""
    error = fault.error
    if not doubt or fault.own:
        return error
    ids = [item.id for item in items if item.id]
    named = ", ".join(ids[:_SHOWN_IDS]) + (f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else "")
    code = error.code if error.code != BackendUnavailable.default_code else None
    about = f"of {named} " if named else ""
    return OutcomeUnknown(f"the outcome {about}is unknown: {error}", id=ids[0] if ids else "", code=code)


def payload(call: Call, repeated: int, now_ms: int) -> list[Argument]:
    """All that follows the script in EVALSHA or EVAL: the number of keys, the keys, the arguments."""
    items = call.items
    if not items:
        keys = call.keys
        return [len(keys), *keys, now_ms, *call.args]
    if len(items) == 1:
        (item,) = items
        if item.key:
            return [
                len(call.keys) + 1, *call.keys, item.key, now_ms, *call.args, item.call, repeated, *item.args,
            ]  # fmt: skip
    keys = [*call.keys, *[item.key for item in items if item.key]]
    words: list[Argument] = [len(keys), *keys, now_ms, *call.args]
    for item in items:
        words.append(item.call)
        words.append(repeated)
        words.extend(item.args)
    return words


def weight(item: Item) -> int:
    """About the bytes that an item adds to a script call."""
    texts = [part for part in item.args if isinstance(part, str)]
    size = sum([len(text) if text.isascii() else len(text.encode()) for text in texts])
    return size + len(item.key) + len(item.call) + 8 * (len(item.args) + 3)


def cut(call: Call) -> Iterator[Call]:
    """The calls of a size that a server takes at once, in order; for a call whose items stand for themselves."""
    part: list[Item] = []
    size = 0
    for item in call.items:
        adds = weight(item)
        if part and (len(part) >= settings.BATCH_ITEMS_MAX or size + adds > settings.BATCH_BYTES_MAX):
            yield replace(call, items=tuple(part))
            part, size = [], 0
        part.append(item)
        size += adds
    if part:
        yield replace(call, items=tuple(part))
