"""Count the error replies that attempts meet: the library deals with them, and its caller hears nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final
from unittest import mock

from allocator._engine.transport import failures
from tests.soak.report import Coverage

__all__ = ["counting"]

NAMES: Final = {
    "READONLY": "readonly", "NOREPLICAS": "noreplicas", "MOVED": "moved", "ASK": "ask", "NOSCRIPT": "noscript",
    "BUSY": "busy", "OOM": "oom",
}  # fmt: skip
"""What each first word of a reply is counted as."""


@contextlib.contextmanager
def counting(coverage: Coverage) -> Iterator[None]:
    """For the length of a block, in this process."""
    word = failures.error_code

    def counted(error: BaseException) -> str:
        found = word(error)
        if found in NAMES:
            coverage.saw(NAMES[found])
        return found

    with mock.patch.object(failures, "error_code", counted):
        yield
