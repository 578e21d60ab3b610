"""Waiting for the wake-ups of one flow, asyncio: the counterpart of `wake_waits`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from allocator import settings
from allocator._engine.execution.listener_async import AsyncListeners, AsyncSubscription
from allocator._engine.protocol.flows import Wake
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.router_async import AsyncRouter
from allocator.errors import BackendUnavailable

__all__ = ["AsyncWakeWaits"]


class AsyncWakeWaits:
    """The subscriptions of one flow, until `close`."""

    def __init__(
        self, router: AsyncRouter, listeners: AsyncListeners, attempt_timeout_s: float, is_closed: Callable[[], bool]
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            router: Finds the server of a pool.
            listeners: Those of the event loop.
            attempt_timeout_s: Seconds that finding the server may take.
            is_closed: Whether the client was closed meanwhile, which ends a wait.
        """
        self._router = router
        self._listeners = listeners
        self._attempt_timeout_s = attempt_timeout_s
        self._is_closed = is_closed
        self._subscriptions: dict[str, AsyncSubscription] = {}
        self._begun: set[str] = set()
        self._refused = False
        """Whether a server has refused a subscription for a reason that does not pass: then this flow polls."""

    async def wake(self, step: Wake) -> bool:
        """Perform a step; returns whether a message has arrived.

        Raises:
            BackendUnavailable: The client was closed.
        """
        until = time.monotonic() + step.seconds
        channel = step.pool.wake_channel(step.call)
        if self._router.in_process:
            if channel in self._begun:
                await self._sleep(settings.WAKE_IN_PROCESS_S, until)
            self._begun.add(channel)
            return False
        if not self._refused:
            try:
                subscription = await self._subscription(step, channel)
                return subscription is not None and await subscription.wait(until - time.monotonic())
            except AttemptFailure as failure:
                self._drop(channel)
                self._check_closed()
                await self._router.on_failure(step.pool, failure)
                self._refused = not failure.transient
        await self._sleep(settings.WAKE_POLL_S, until)
        return False

    def close(self) -> None:
        """End all subscriptions.  It waits for nothing."""
        for channel in list(self._subscriptions):
            self._drop(channel)

    async def _subscription(self, step: Wake, channel: str) -> AsyncSubscription | None:
        """The subscription, on the server that has the pool now; None if it was made in this step."""
        self._check_closed()
        connections = await self._router.route(step.pool, time.monotonic() + self._attempt_timeout_s)
        found = self._subscriptions.get(channel)
        if found is not None and found.connections is connections:
            return found
        self._drop(channel)
        made = self._subscriptions[channel] = self._listeners.subscribe(connections, channel)
        await made.confirm()
        return None

    def _drop(self, channel: str) -> None:
        subscription = self._subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.close()

    async def _sleep(self, seconds: float, until: float) -> None:
        await asyncio.sleep(max(0.0, min(seconds, until - time.monotonic())))
        self._check_closed()

    def _check_closed(self) -> None:
        if self._is_closed():
            raise BackendUnavailable("this client is closed", code="closed")
