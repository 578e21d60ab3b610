"""Eviction check: whether a server's memory policy is safe, checked once for each client object and server."""

from __future__ import annotations

import logging
from typing import Any

from allocator.errors import BackendUnavailable

__all__ = ["EvictionCheck"]

_log = logging.getLogger("allocator")


class EvictionCheck:
    """Refuses a server that may evict any key: evicted records would leave wrong counters without an error.

    `volatile-*` policies are accepted, as no key of the allocator has a time to live in Redis.
    """

    COMMAND = ("INFO", "memory")

    def __init__(self, *, allow_eviction: bool = False) -> None:
        self._allow_eviction = allow_eviction
        self._warned = False

    @property
    def needed(self) -> bool:
        """Whether the policy must be checked."""
        return not self._allow_eviction

    def check(self, where: str, info: Any) -> None:
        """Check the reply to `COMMAND`.

        Args:
            where: The server, for messages.
            info: The text, or the error reply in its place.

        Raises:
            BackendUnavailable: `code="eviction"`.
        """
        fields = (
            dict(connection.split(":", 1) for connection in info.splitlines() if ":" in connection)
            if isinstance(info, str)
            else {}
        )
        policy = fields.get("maxmemory_policy", "")
        if policy.startswith("allkeys-"):
            raise BackendUnavailable(
                f"{where} has maxmemory-policy {policy} and may evict allocations without a word: "
                f"set noeviction, or pass allow_eviction=True",
                code="eviction",
            )
        if not policy and not self._warned:
            self._warned = True
            _log.warning("%s does not tell its maxmemory-policy; make sure that it is noeviction", where)
