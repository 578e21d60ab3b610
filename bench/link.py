"""A link of a known length: a process that passes on what it hears a while later, as a network does."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["linked"]

_CHUNK: int = 65_536


@contextlib.contextmanager
def linked(url: str, one_way_s: float) -> Iterator[str]:
    """The URL of the same server at the other end of a link that takes so many seconds each way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "link.sock"
        words = [sys.executable, "-m", "bench.link", url, str(one_way_s), str(path)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield f"unix://{path}"
            finally:
                process.kill()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path)
    return await asyncio.open_connection(parts.hostname, parts.port or 6379)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way_s: float) -> None:
    """Each piece after the time of the link, in order; several may be under way."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_CHUNK):
            loop.call_later(one_way_s, writer.write, piece)
    loop.call_later(one_way_s, writer.close)


async def _serve(url: str, one_way_s: float, path: str) -> None:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await _connect(url)
        passing: list[Any] = [_pass_on(reader, far_writer, one_way_s), _pass_on(far_reader, writer, one_way_s)]
        await asyncio.gather(*passing, return_exceptions=True)

    async with await asyncio.start_unix_server(join, path) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
