"""The wire protocol of Redis, as far as the proxy must understand it: where a message ends, and which command it is."""

from __future__ import annotations

import asyncio
from typing import Final

HANDSHAKE: Final = frozenset({b"HELLO", b"AUTH", b"SELECT", b"CLIENT", b"INFO", b"COMMAND", b"CLUSTER", b"READONLY"})
"""Commands that always pass."""

REPLAYED: Final = frozenset({b"HELLO", b"AUTH", b"SELECT", b"READONLY"})
"""Those of them that a late copy's connection repeats, because they change what the copy means."""

LINE_MAX: Final = 2**20
"""Bytes of one line of the protocol; bulk strings are not lines."""


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one whole value of RESP2 or RESP3 (or an inline command), as its bytes.

    Raises:
        EOFError: The connection ended first.
    """
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    kind = line[:1]
    if kind in b"$=!":
        length = int(line[1:])
        return line if length < 0 else line + await reader.readexactly(length + 2)
    if kind in b"*~>%|":
        count = max(0, int(line[1:])) * (2 if kind in b"%|" else 1) + (kind == b"|")  # an attribute precedes a value
        return line + b"".join([await read_frame(reader) for _ in range(count)])
    return line


def command_of(request: bytes) -> bytes:
    """The request's first word, in capitals."""
    return (request.split(b"\r\n", 3)[2] if request[:1] == b"*" else request.split(None, 1)[0]).upper()
