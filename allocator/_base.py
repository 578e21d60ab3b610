"""The base of both clients: a target, the defaults of their calls, and the driver that performs them."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from allocator import settings
from allocator._engine.execution.instrumentation import Instrumentation, Observer
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import Target, resolve_target
from allocator.errors import InvalidRequest
from allocator.models.allocations import Request, Wait

if TYPE_CHECKING:
    from allocator._engine.leases.hold_base import HoldSpec
    from allocator._engine.leases.renewer import Clock

__all__ = ["Client", "Surface", "local_ms", "warn_of_pool"]

D = TypeVar("D")

MOVED: Final = {
    "allocations": "list",
    "audit": "maintenance.audit",
    "configure": "pools.update",
    "create_pool": "pools.create",
    "delete_pool": "pools.delete",
    "doctor": "maintenance.doctor",
    "end_recovery": "pools.end_recovery",
    "expect_epoch": "options(epoch=...)",
    "pool": "pools.get",
    "reclaim": "maintenance.reclaim",
    "reconcile": "maintenance.reconcile",
    "recover_pool": "pools.recover",
    "upgrade_pool": "pools.upgrade",
    "usage": "pools.usage",
}
"""Methods of earlier versions, and their present names."""

MOVED_ARGUMENTS: Final = {"deadline": "timeout", "durability": "options(durability=...)", "pool": "options(pool=...)"}
"""Arguments of earlier versions, and their replacements."""


NAMESPACES: Final = frozenset({"events", "maintenance", "pools", "queue", "quotas"})
"""The namespaces of a client; each is imported and made when it is first used."""

_pools_log = logging.getLogger("allocator.pools")

_warned: Final[dict[tuple[str, str, int, str], object]] = {}
"""The differences of pools that were logged."""


def warn_of_pool(key: tuple[str, str, int, str], message: str) -> None:
    """Log a difference once for each state of a pool, as a loop may create its pool in each turn."""
    if len(_warned) >= settings.POOL_WARNINGS_MAX:
        _warned.clear()
    mark = object()
    if _warned.setdefault(key, mark) is mark:  # atomic, so that one of several threads logs it
        _pools_log.warning("%s", message)


def local_ms() -> int:
    """This machine's clock, in milliseconds; used only for a comparison with the server's."""
    return time.time_ns() // 1_000_000


def _naming_moved(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function: an argument of an earlier version raises an error that names its replacement."""
    moved = MOVED_ARGUMENTS.keys() - inspect.signature(function).parameters.keys()

    def refuse(given: dict[str, Any]) -> None:
        for name in moved & given.keys():
            raise TypeError(f"{function.__qualname__}() has no argument {name!r}: use {MOVED_ARGUMENTS[name]}")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **given: Any) -> Any:
            if not moved.isdisjoint(given):
                refuse(given)
            return await function(*args, **given)

        return awaited

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        if not moved.isdisjoint(given):
            refuse(given)
        return function(*args, **given)

    return call


class Surface:
    """A class of public methods: a name of an earlier version is refused with a message that gives the present name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, one in list(vars(cls).items()):
            if inspect.isfunction(one) and (not name.startswith("_") or name == "__init__"):
                setattr(cls, name, _naming_moved(one))
            elif isinstance(one, classmethod) and not name.startswith("_"):
                made = cast("classmethod[Any, ..., Any]", one).__func__
                setattr(cls, name, classmethod(_naming_moved(made)))

    if not TYPE_CHECKING:  # so that a type checker reports an unknown name

        def __getattr__(self, name: str) -> Any:
            instead = MOVED.get(name)
            more = f": it is {instead} now" if instead else ""
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}{more}", name=name, obj=self)


class Client(Surface, ABC, Generic[D]):
    """A target, defaults and a driver `D`; `Allocator` and `AsyncAllocator` add the methods."""

    _target: Target
    _defaults: Defaults
    _driver: D
    _clock: Clock | None
    _instruments: Instrumentation

    @classmethod
    def from_url(
        cls,
        url: str | None = None,
        *,
        pool: str = "default",
        owner: str | None = None,
        prefix: str = settings.PREFIX_DEFAULT,
        timeout: float = settings.DEADLINE_S,
        attempt_timeout: float = settings.ATTEMPT_TIMEOUT_S,
        allow_eviction: bool = False,
    ) -> Self:
        """Use the server of a URL; the other arguments are the constructor's.  Nothing is connected.

        Args:
            url: `redis://`, `rediss://` (by TLS), `unix://`, `redis+sentinel://host:port,.../service`,
                `redis+cluster://host:port,...`, also with `rediss`, `valkey` and `valkeys`; `embedded://` (one server
                per user and machine, started on demand), `memory://` (in this process, private to this client),
                `memory://NAME` (shared in this process).  None: `ALLOCATOR_REDIS_URL`, `REDIS_URL`, else
                `embedded://` with a warning, or an error with `ALLOCATOR_REQUIRE_URL=1`.

        Raises:
            InvalidRequest: `field="url"`: a part of it cannot be used; the message names it and how to write it.
        """
        target = resolve_target(url, attempt_timeout_s=attempt_timeout, allow_eviction=allow_eviction)
        return cls._on(target, Defaults(pool, prefix, owner, timeout))

    def options(
        self,
        *,
        pool: str | None = None,
        owner: str | None = None,
        durability: str | None = None,
        timeout: float | None = None,
        epoch: str | None = None,
    ) -> Self:
        """The same client with other defaults, over the same connections; no round trip.

        Args:
            pool: The pool of its calls.
            owner: The owner of allocations whose call names none.
            durability: The durability to wait for after a grant, a renewal or a resize: `memory`, `replicated:N`,
                `fsynced` or `fsynced+replicated:N`; the pool's durability is the minimum.  One more round trip; the
                level that was reached is the result's `durability`.
            timeout: Seconds that one call may take, retries included; at most 60.
            epoch: The pool must have this epoch (`Pool.epoch`), else the call raises `UnknownPool`.  "": any.
        """
        clone = copy.copy(self)
        clone._defaults = self._defaults.replaced(pool, owner, durability, timeout, epoch)  # noqa: SLF001
        for name in NAMESPACES & vars(clone).keys():
            delattr(clone, name)  # it has this client's defaults
        return clone

    def observe(self, observer: Observer) -> None:
        """Report to an observer what this client and its `options` copies do, until the client is closed.

        What a hold's thread does is reported as well.  An observer that was added already is not added again.

        Args:
            observer: `allocator.metrics.ClientCollector`, `allocator.telemetry.TelemetryObserver`, or another
                `Observer`.  It is called in the thread or the task that does the work; its errors are logged once.
        """
        if not isinstance(observer, Observer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"observer: {type(observer).__name__} is no Observer", field="observer")
        self._instruments.add(observer)

    def unobserve(self, observer: Observer) -> None:
        """Report nothing more to an observer."""
        self._instruments.remove(observer)

    @classmethod
    def _on(cls, target: Target, defaults: Defaults, clock: Clock | None = None) -> Self:
        """A client of a target that other clients may share; `clock` replaces the server's clock, for tests."""
        self = cls.__new__(cls)
        self._start(target, defaults, clock)
        return self

    def _start(self, target: Target, defaults: Defaults, clock: Clock | None = None) -> None:
        self._target = target
        self._defaults = defaults
        self._clock = clock or target.connector.clock
        self._instruments = Instrumentation(target.address)
        self._driver = self._drive()

    @abstractmethod
    def _drive(self) -> D:
        """The driver for this client's target and clock."""

    def _hold_spec(self, request: Request, wait: Wait | None = None) -> HoldSpec:
        """The specification of a hold by this client."""
        from allocator._engine.leases.hold_base import HoldSpec  # noqa: PLC0415 - as `hold` itself
        from allocator._engine.leases.registry import LeaseLocation  # noqa: PLC0415

        location = LeaseLocation(self._target, self._defaults.pool, self._clock)
        return HoldSpec(location, request, self._defaults, wait, self._instruments)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._target.address} pool={self._defaults.pool.name}>"
