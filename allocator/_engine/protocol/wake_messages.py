"""The commands and messages of a connection that listens for waiting calls, in RESP2; no I/O.

A sharded channel (Redis 7) is used: it belongs to the slot of the pool, so only the server of the pool has it.
"""

from __future__ import annotations

import enum
from typing import Any, Final, cast

from allocator._engine.protocol.resp import pack_command

__all__ = ["News", "read_news", "subscribe", "unsubscribe"]


class News(enum.Enum):
    """What a listening connection has received."""

    CONFIRMED = "ssubscribe"
    """The subscription is there."""

    WOKEN = "smessage"
    """A message on the channel."""

    ENDED = "sunsubscribe"
    """There is no subscription any more; the server says so unasked where the slot has moved."""

    OTHER = ""


_KINDS: Final = {news.value: news for news in News}


def subscribe(channel: str) -> bytes:
    """The command that subscribes; the reply is `CONFIRMED` or an error."""
    return pack_command(("SSUBSCRIBE", channel))


def unsubscribe(channel: str) -> bytes:
    """The command that ends a subscription; the reply is `ENDED` or an error."""
    return pack_command(("SUNSUBSCRIBE", channel))


def read_news(received: Any) -> tuple[News, str]:
    """What was received, and the channel."""
    words = [str(word) for word in cast("list[object]", received)] if isinstance(received, list) else []
    return (_KINDS.get(words[0], News.OTHER), words[1]) if len(words) > 1 else (News.OTHER, "")
