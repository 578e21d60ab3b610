"""Several commands on one connection, for both drivers: an *exchange* yields what is to be sent.

It is a generator of commands, is answered with each reply, or the error reply in its place, and ends with a result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias, TypeVar

from redis.exceptions import ResponseError

from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument

__all__ = ["Exchange", "run_exchange", "run_exchange_async"]

R = TypeVar("R")
Exchange: TypeAlias = Generator[tuple[Argument, ...], Any, R]


def run_exchange(exchange: Exchange[R], send: Callable[[bytes], Any]) -> R:
    """Send what it yields by `send`, and return its result."""
    try:
        words = next(exchange)
        while True:
            answer: Any
            try:
                answer = send(pack_command(words))
            except ResponseError as error:
                answer = error
            words = exchange.send(answer)
    except StopIteration as done:
        result: R = done.value
        return result


async def run_exchange_async(exchange: Exchange[R], send: Callable[[bytes], Awaitable[Any]]) -> R:
    """The same, awaited."""
    try:
        words = next(exchange)
        while True:
            answer: Any
            try:
                answer = await send(pack_command(words))
            except ResponseError as error:
                answer = error
            words = exchange.send(answer)
    except StopIteration as done:
        result: R = done.value
        return result
