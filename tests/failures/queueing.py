"""A full pool and those who wait for its room: who stands in its line, and what a line leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final

import redis

from allocator import Allocation, AsyncAllocator
from tests.failures.operations import Scene
from tests.support.clients import Awaited
from tests.support.servers import Server
from tests.support.waiting import TIMEOUT_S, wait_until_async
from tests.support.wakes import is_quiet

__all__ = [
    "FULL", "LONG_S", "ONE", "Asked", "asks", "fill", "in_line", "is_clean", "is_whole", "raw", "settled", "traces",
    "undone", "waits_for",
]  # fmt: skip

FULL: Final = 4
"""Units of the pool."""

ONE: Final = {"cpu": 1}

LONG_S: Final = 60.0
"""Seconds that a test never waits."""


def fill(scene: Scene, *, units: int = FULL, **options: Any) -> Allocation:
    """Make the pool, and let one allocation have all of it."""
    scene.direct.pools.create(scene.pool, {"cpu": units}, **options)
    return scene.direct.allocate({"cpu": units}, ttl=None, id="full")


def raw(scene: Scene, *words: str) -> Any:
    """Send one command past the library."""
    with redis.Redis.from_url(scene.direct._target.address, decode_responses=True) as client:
        return client.execute_command(*words)


def in_line(scene: Scene) -> list[str]:
    """The ids that wait, the first first, as the index has them."""
    return list(raw(scene, "ZRANGE", f"allocator:{{{scene.pool}}}:waiting", "0", "-1"))


def traces(scene: Scene) -> list[str]:
    """All that is stored of a line: entries, members of the index, fields and the option of the pool."""
    base = f"allocator:{{{scene.pool}}}:"
    fields = raw(scene, "HGETALL", f"{base}pool")
    found = [*raw(scene, "KEYS", f"{base}waiter:*"), *in_line(scene), *raw(scene, "ZRANGE", f"{base}gangs", "0", "-1")]
    found += [field for field in fields if field.startswith("waiting") and field != "waiting_count"]
    return found + [word for word in fields.get("options", "").split() if word.startswith("waits")]


def is_clean(scene: Scene, server: Server) -> bool:
    """Whether nobody waits, listens, or has anything but what was there before."""
    return not traces(scene) and is_quiet(server) and {one.id for one in scene.direct.list()} <= {"full"}


def is_whole(scene: Scene) -> None:
    """All of the capacity can be had, by one call, and the books are right."""
    assert scene.direct.maintenance.audit()
    scene.direct.release("full")
    everything = scene.direct.pools.get().capacity
    again = scene.direct.allocate(everything, ttl=60, id="everything")
    assert scene.direct.release(again)
    assert scene.direct.pools.usage().allocations == 0
    assert not traces(scene)
    assert scene.direct.maintenance.audit()


async def undone(client: AsyncAllocator) -> None:
    """Wait until what nobody hears of has been undone."""
    if isinstance(client, Awaited):
        assert client.surface._driver.wait_undone(TIMEOUT_S)
    else:
        assert await client._driver.wait_undone(TIMEOUT_S)


class Asked:
    """A call that runs by itself: a thread of the blocking client, a task of the awaited one."""

    def __init__(self, client: AsyncAllocator, work: Coroutine[Any, Any, Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        if isinstance(client, Awaited):
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._task = asyncio.ensure_future(self._wait())

    def _run(self) -> None:
        asyncio.run(self._wait())

    async def _wait(self) -> None:
        try:
            self.result = await self._work
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def ended(self) -> bool:
        """Whether the caller was told."""
        return self._task.done() if self._task is not None else self._thread is not None and not self._thread.is_alive()

    async def answer(self, timeout_s: float = TIMEOUT_S) -> Any:
        """What the caller was told; raises what it raised."""
        await wait_until_async(lambda: self.ended, timeout_s=timeout_s, message="the caller was told")
        if self.error is not None:
            raise self.error
        return self.result


def asks(client: AsyncAllocator, name: str, *, wait: float = LONG_S, ttl: float = 60, **options: Any) -> Asked:
    """Somebody waits for one unit."""
    return Asked(client, client.allocate(options.pop("request", ONE), ttl=ttl, id=name, wait=wait, **options))


async def waits_for(scene: Scene, *names: str) -> None:
    """Wait until these are in line."""
    await wait_until_async(lambda: set(names) <= set(in_line(scene)), message=f"{names} are in line")


async def settled(scene: Scene, server: Server) -> None:
    """Wait until nothing of any line is left, and check that the pool is whole."""
    await wait_until_async(lambda: is_clean(scene, server), message=f"nothing is left: {traces(scene)}")
    is_whole(scene)
