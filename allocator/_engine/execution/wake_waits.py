"""Waiting for the wake-ups of one flow, blocking.  It never fails for want of a subscription: then it polls."""

from __future__ import annotations

import time
from collections.abc import Callable

from allocator import settings
from allocator._engine.execution.listener import Subscription
from allocator._engine.protocol.flows import Wake
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.router import Router
from allocator.errors import BackendUnavailable

__all__ = ["WakeWaits"]


class WakeWaits:
    """The subscriptions of one flow.  Each has a connection, until `close`."""

    def __init__(self, router: Router, attempt_timeout_s: float, is_closed: Callable[[], bool]) -> None:
        """Prepare; nothing is connected.

        Args:
            router: Finds the server of a pool.
            attempt_timeout_s: Seconds that finding it may take, and that it may take to reply.
            is_closed: Whether the client was closed meanwhile, which ends a wait.
        """
        self._router = router
        self._attempt_timeout_s = attempt_timeout_s
        self._is_closed = is_closed
        self._subscriptions: dict[str, Subscription] = {}
        self._begun: set[str] = set()
        self._refused = False
        """Whether a server has refused a subscription for a reason that does not pass: then this flow polls."""

    def wake(self, step: Wake) -> bool:
        """Perform a step; returns whether a message has arrived.

        Raises:
            BackendUnavailable: The client was closed.
        """
        until = time.monotonic() + step.seconds
        channel = step.pool.wake_channel(step.call)
        if self._router.in_process:
            if channel in self._begun:
                self._sleep(settings.WAKE_IN_PROCESS_S, until)
            self._begun.add(channel)
            return False
        if not self._refused:
            try:
                subscription = self._subscription(step, channel)
                return subscription is not None and self._listen(subscription, until)
            except AttemptFailure as failure:
                self._drop(channel)
                self._router.on_failure(step.pool, failure)
                self._refused = not failure.transient
        self._sleep(settings.WAKE_POLL_S, until)
        return False

    def close(self) -> None:
        """End all subscriptions."""
        for channel in list(self._subscriptions):
            self._drop(channel)

    def _subscription(self, step: Wake, channel: str) -> Subscription | None:
        """The subscription, on the server that has the pool now; None if it was made in this step."""
        self._check_closed()
        connections = self._router.route(step.pool, time.monotonic() + self._attempt_timeout_s)
        found = self._subscriptions.get(channel)
        if found is not None and found.connections is connections:
            return found
        self._drop(channel)
        self._subscriptions[channel] = Subscription(connections, channel, self._attempt_timeout_s)
        return None

    def _listen(self, subscription: Subscription, until: float) -> bool:
        subscription.probe()
        while True:
            left = until - time.monotonic()
            if subscription.wait(min(left, settings.WAKE_POLL_S)):
                return True
            if left <= settings.WAKE_POLL_S:
                return False
            self._check_closed()

    def _drop(self, channel: str) -> None:
        subscription = self._subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.close()

    def _sleep(self, seconds: float, until: float) -> None:
        time.sleep(max(0.0, min(seconds, until - time.monotonic())))
        self._check_closed()

    def _check_closed(self) -> None:
        if self._is_closed():
            raise BackendUnavailable("this client is closed", code="closed")
