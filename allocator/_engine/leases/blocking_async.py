"""A blocking driver over the asyncio one, for the renewer of a target that makes no blocking connection."""

from __future__ import annotations

import asyncio

from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.execution.undo_log import UndoLog
from allocator._engine.leases.renewer import Clock, R
from allocator._engine.protocol.flows import Flow, Operation
from allocator._engine.transport.target import Target

__all__ = ["BlockingAsyncDriver"]


class BlockingAsyncDriver:
    """The interface of a blocking driver, provided by an `AsyncDriver` on an event loop of the calling thread.

    It is for a target that was resolved from an asyncio client, from which no blocking connection can be made.
    """

    def __init__(self, target: Target, clock: Clock | None) -> None:
        self._driver = AsyncDriver(target, clock=clock)
        self._runner = asyncio.Runner()

    def run(
        self, work: Operation[R] | Flow[R], *, deadline_s: float | None = None, undo_log: UndoLog | None = None
    ) -> R:
        """As `Driver.run`."""
        return self._runner.run(self._driver.run(work, deadline_s=deadline_s, undo_log=undo_log))

    def close(self) -> None:
        """Close the driver and the loop."""
        with self._runner:
            self._runner.run(self._driver.close())
