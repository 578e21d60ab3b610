"""`Hold` and `AsyncHold`: an allocation for the length of a block, renewed by a background thread.

Their base is `allocator._engine.leases.hold_base`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import inspect
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from allocator import settings
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.leases.hold_base import BaseHold, HoldSpec
from allocator.errors import AllocationLost, AllocatorError, InvalidRequest

if TYPE_CHECKING:  # each client imports its driver, and not the other one's
    from allocator._engine.execution.driver import Driver
    from allocator._engine.execution.driver_async import AsyncDriver

__all__ = ["AsyncHold", "Hold"]

F = TypeVar("F")


def _callable(call: F, name: str) -> F:
    if call is not None and not callable(call):
        raise InvalidRequest(f"{name}: it is called with the hold, and cannot be called", field=name)
    return call


def _not_awaited(call: F, name: str) -> F:
    if inspect.iscoroutinefunction(call):
        raise InvalidRequest(f"{name}: it is called, not awaited; let it start a task", field=name)
    return _callable(call, name)


class Hold(BaseHold):
    """An allocation held for a `with` block, made by `Allocator.hold`.  `BaseHold` says when it is lost.

    A thread cannot be stopped from outside: the block must read `lost` or call `check`, or `on_lost` must signal it.
    """

    _STATEMENT: ClassVar[str] = "a with"

    def __init__(
        self,
        driver: Driver,
        spec: HoldSpec,
        on_lost: Callable[[Hold], object] | None,
        on_preempt: Callable[[Hold], object] | None,
    ) -> None:
        super().__init__(spec)
        self._driver = driver
        self._on_lost = _callable(on_lost, "on_lost")
        self._on_preempt = _callable(on_preempt, "on_preempt")

    def __enter__(self) -> Self:
        """Allocate; with `wait`, wait in line.

        Raises:
            Insufficient, AllocationConflict, AllocationLost, AllocatorError: As `allocate` does; nothing is held.  Each
                attempt has half of the ttl, and at most the client's `timeout`.
        """
        self._prepare()
        undo_log = UndoLog()
        with self._spec.limit() as seconds:
            work = self._spec.allocate(self._sending, self._set_left)
            outcome = self._driver.run(work, deadline_s=seconds, undo_log=undo_log, verb="hold")
        try:
            self._begin(outcome, self._tell, self._tell_preempted, undo_log.overdue_s)
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release, also when the block raised.

        A failed release is retried in the background and raises no error, as the block ran while the lease was held.

        Raises:
            AllocationLost: The block ended without an exception, and the allocation was lost meanwhile.
        """
        self._leave_block()
        loss = self.loss
        if loss is None or loss.code == "over":  # at its hard end nothing has failed: a call can release it
            released = self._release()
            loss = loss or released
        else:
            self._give_back()
        if loss is not None and exc_type is None:
            raise copy.copy(loss)

    def _give_back(self) -> None:
        """Release an allocation that was never or is no longer held, but may still be charged."""
        if self._lease is None or not self._is_ours or self._release_later():
            return
        try:
            work = self._spec.release(self._held.allocation)
            self._driver.run(work, deadline_s=settings.HOLD_RENEW_S, verb="release")
        except AllocatorError as error:
            self._log_unreleased(error)

    def _tell(self) -> None:
        if self._inside and self._on_lost is not None:
            self._on_lost(self)

    def _tell_preempted(self) -> None:
        if self._inside and self._on_preempt is not None:
            self._on_preempt(self)

    def _release(self) -> AllocationLost | None:
        assert self._renewer is not None
        lease = self._held
        landed = threading.Event()
        try:
            if self._renewer.remove(lease, landed.set):
                landed.wait(settings.HOLD_RENEW_S)
            outcome = self._driver.run(self._spec.release(self.allocation), verb="release")
        except BaseException as error:  # noqa: BLE001 - raised again unless it is an AllocatorError
            return self._ended(error)
        return self._ended(outcome)


class AsyncHold(BaseHold):
    """An allocation held for an `async with` block, made by `AsyncAllocator.hold`.  `BaseHold` says when it is lost.

    A thread renews it, so a blocked event loop does not lose it.  With `cancel` the block's task is cancelled when it
    is lost, as `asyncio.timeout` does, and the block ends with `AllocationLost`.
    """

    _STATEMENT: ClassVar[str] = "an async with"

    def __init__(
        self,
        driver: AsyncDriver,
        spec: HoldSpec,
        on_lost: Callable[[AsyncHold], object] | None,
        on_preempt: Callable[[AsyncHold], object] | None,
        *,
        cancel: bool,
    ) -> None:
        super().__init__(spec)
        self._driver = driver
        self._on_lost = _not_awaited(on_lost, "on_lost")
        self._on_preempt = _not_awaited(on_preempt, "on_preempt")
        self._cancel = cancel
        self._context = contextvars.copy_context()
        self._cancelled = False
        self._cancelling = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        """Allocate; with `wait`, wait in line.

        Raises:
            Insufficient, AllocationConflict, AllocationLost, AllocatorError: As `allocate` does; nothing is held.  Each
                attempt has half of the ttl, and at most the client's `timeout`.
        """
        self._prepare()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        undo_log = UndoLog()
        with self._spec.limit() as seconds:
            work = self._spec.allocate(self._sending, self._set_left)
            outcome = await self._driver.run(work, deadline_s=seconds, undo_log=undo_log, verb="hold")
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        try:
            self._begin(outcome, self._tell, self._tell_preempted, undo_log.overdue_s)
        except BaseException:
            await self._give_back()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release, also when the block raised.

        A failed release is retried in the background and raises no error, as the block ran while the lease was held.

        Raises:
            AllocationLost: The block was cancelled because the allocation was lost, or it ended without an exception
                although it was lost.
        """
        self._leave_block()
        ours = self._uncancel() and exc_type is asyncio.CancelledError
        loss = self.loss
        if loss is None or loss.code == "over":  # at its hard end nothing has failed: a call can release it
            released = await self._release()
            loss = loss or released
        else:
            await self._give_back()
        if loss is not None and (exc_type is None or ours):
            raise copy.copy(loss) from exc

    async def _give_back(self) -> None:
        """Release an allocation that was never or is no longer held, but may still be charged."""
        if self._lease is None or not self._is_ours or self._release_later():
            return
        try:
            work = self._spec.release(self._held.allocation)
            await self._driver.run(work, deadline_s=settings.HOLD_RENEW_S, verb="release")
        except AllocatorError as error:
            self._log_unreleased(error)

    def _uncancel(self) -> bool:
        """Revoke this hold's cancellation of the task; returns whether it was the only one, like `asyncio.timeout`."""
        if not self._cancelled or self._task is None:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._cancelling

    def _tell(self) -> None:
        """Report the loss to the loop; called from the renewer's thread, also while the loop is blocked."""
        self._call_soon(self._hear)

    def _tell_preempted(self) -> None:
        self._call_soon(self._hear_preempted)

    def _call_soon(self, call: Callable[[], object]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, context=self._context)

    def _hear_preempted(self) -> None:
        if self._inside and self._on_preempt is not None:
            self._on_preempt(self)

    def _hear(self) -> None:
        if not self._inside:
            return
        if self._cancel and self._task is not None:
            self._cancelled = True
            self._task.cancel()
        if self._on_lost is not None:
            self._on_lost(self)

    async def _release(self) -> AllocationLost | None:
        assert self._renewer is not None
        try:
            await self._leave()
            outcome = await self._driver.run(self._spec.release(self.allocation), verb="release")
        except BaseException as error:  # noqa: BLE001 - raised again unless it is an AllocatorError
            return self._ended(error)
        return self._ended(outcome)

    async def _leave(self) -> None:
        """Stop the renewals, and wait for one in flight."""
        assert self._renewer is not None
        loop = asyncio.get_running_loop()
        landed = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(landed.set)

        if self._renewer.remove(self._held, wake):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.HOLD_RENEW_S):
                    await landed.wait()
