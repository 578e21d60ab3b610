"""How often the library sends each call: what it sends is looked at on its way, call by call."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

from allocator._engine.execution import batching, invocation, loop_state
from allocator._engine.execution.undo_queue import UndoQueue
from allocator._engine.operations import allocate, release, renew, resize

__all__ = ["Sent", "begin", "sends"]


class Sent:
    """How often one operation was sent, at the most: some attempts fail before the first byte."""

    __slots__ = ("given_up", "times")

    def __init__(self) -> None:
        self.times = 0
        self.given_up = False
        """Whether the library has given up undoing it: its client was closed while the store was out of reach."""


_current: Final[contextvars.ContextVar[Sent | None]] = contextvars.ContextVar("sent", default=None)
_by_call: Final[dict[str, Sent]] = {}


def begin() -> Sent:
    """What this thread or task asks for from now on is one operation."""
    sent = Sent()
    _current.set(sent)
    return sent


def _draws(plain: Callable[[], str]) -> Callable[[], str]:
    """A call id that knows whose it is."""

    def draw() -> str:
        call = plain()
        if (sent := _current.get()) is not None:
            _by_call[call] = sent
        return call

    return draw


def _saw(calls: Iterator[str]) -> None:
    for call in calls:
        if (sent := _by_call.get(call)) is not None:
            sent.times += 1


def _alone(plain: Any) -> Any:
    def payload(call: Any, *rest: Any) -> Any:
        _saw(item.call for item in call.items)
        return plain(call, *rest)

    return payload


def _gathered(plain: Any) -> Any:
    def words_of(call: Any, batch: Any, *rest: Any) -> Any:
        _saw(entry.item.call for entry in batch)
        return plain(call, batch, *rest)

    return words_of


def _giving_up(plain: Any) -> Any:
    def give_up(queue: Any, group: Any, reason: str) -> None:
        for one in group:
            if (sent := _by_call.get(one.call)) is not None:
                sent.given_up = True
        plain(queue, group, reason)

    return give_up


def _wrapped(module: Any, name: str, wrap: Callable[[Any], Any]) -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(module, name, wrap(getattr(module, name)))


@contextlib.contextmanager
def sends() -> Iterator[None]:
    """Count, for the length of a block."""
    with (
        _wrapped(allocate, "new_call", _draws),
        _wrapped(resize, "new_call", _draws),
        _wrapped(renew, "new_call", _draws),
        _wrapped(release, "new_call", _draws),
        _wrapped(invocation, "encode_call", _alone),
        _wrapped(loop_state, "encode_call", _alone),
        _wrapped(batching, "words_of", _gathered),
        _wrapped(UndoQueue, "_give_up", _giving_up),
    ):
        try:
            yield
        finally:
            _by_call.clear()
