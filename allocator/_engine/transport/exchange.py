"""Exchanges: several commands on one connection, written once for both drivers.

An exchange is a generator.  It yields commands, is sent each reply (or the error reply in its place), and returns a
result.
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
    """Send each yielded command by `send`, and return the exchange's result.  One round trip per command."""
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
    """The same for asyncio."""
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
