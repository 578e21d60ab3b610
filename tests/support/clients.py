"""One suite for both clients: the blocking one in the clothes of the awaited one, and stores by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeAlias, cast

from allocator import Allocator, AsyncAllocator, Hold, settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import Target, resolve_target

Clock: TypeAlias = Callable[[], int]

KINDS: Final = ("sync", "async")
"""The two clients."""

_NAMESPACES: Final = frozenset({"pools", "quotas", "queue", "events", "maintenance"})


class AwaitedHold:
    """A `Hold` that is entered and left with `async with`; the block gets the hold itself."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold

    async def __aenter__(self) -> Hold:
        return self.hold.__enter__()

    async def __aexit__(self, *exc: Any) -> None:
        self.hold.__exit__(*exc)


class Awaited:
    """An `Allocator`, or a namespace of it, whose methods are awaited: a test of `AsyncAllocator` is one of it, too."""

    def __init__(self, surface: Any) -> None:
        self.surface = surface

    def __repr__(self) -> str:
        return repr(self.surface)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.surface, name)
        if name in _NAMESPACES:
            return Awaited(method)
        if not callable(method):
            return method
        if name == "options":
            return lambda **options: Awaited(method(**options))
        if name == "hold":
            return lambda *args, **options: AwaitedHold(method(*args, **options))

        async def call(*args: object, **options: object) -> Any:
            return method(*args, **options)

        async def walk(*args: object, **options: object) -> AsyncIterator[Any]:
            for one in method(*args, **options):
                yield one

        walks = name == "watch" or (name == "list" and isinstance(self.surface, Allocator))
        return walk if walks else call


def awaited(allocator: Allocator) -> AsyncAllocator:
    """The blocking client, as the tests see it."""
    return cast("AsyncAllocator", Awaited(allocator))


def connect(
    kind: str,
    target: object,
    *,
    pool: str = "lab",
    owner: str | None = None,
    prefix: str = settings.PREFIX_DEFAULT,
    timeout: float = settings.DEADLINE_S,
    attempt_timeout: float = settings.ATTEMPT_TIMEOUT_S,
    allow_eviction: bool = False,
    clock: Clock | None = None,
) -> AsyncAllocator:
    """A client of either kind, of a URL, a ready client or a `Target`; `clock` turns time."""
    store = (
        target
        if isinstance(target, Target)
        else resolve_target(target, attempt_timeout_s=attempt_timeout, allow_eviction=allow_eviction)
    )
    defaults = Defaults(pool, prefix, owner, timeout)
    if kind == "sync":
        return awaited(Allocator._on(store, defaults, clock))
    return AsyncAllocator._on(store, defaults, clock)
