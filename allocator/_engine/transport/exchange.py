"""Several commands on one connection, told once for both drivers: a *conversation* yields what is to be sent.

It is a generator of commands, is answered with each reply, or the error reply in its place, and ends with a result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias, TypeVar

from redis.exceptions import ResponseError

from allocator._engine.protocol.resp import pack
from allocator._engine.protocol.scripts import Argument

__all__ = ["Conversation", "converse", "converse_async"]

R = TypeVar("R")
Conversation: TypeAlias = Generator[tuple[Argument, ...], Any, R]


def converse(conversation: Conversation[R], exchange: Callable[[bytes], Any]) -> R:
    """Send what it yields by `exchange`, and return its result."""
    try:
        words = next(conversation)
        while True:
            answer: Any
            try:
                answer = exchange(pack(words))
            except ResponseError as error:
                answer = error
            words = conversation.send(answer)
    except StopIteration as done:
        result: R = done.value
        return result


async def converse_async(conversation: Conversation[R], exchange: Callable[[bytes], Awaitable[Any]]) -> R:
    """The same, awaited."""
    try:
        words = next(conversation)
        while True:
            answer: Any
            try:
                answer = await exchange(pack(words))
            except ResponseError as error:
                answer = error
            words = conversation.send(answer)
    except StopIteration as done:
        result: R = done.value
        return result
