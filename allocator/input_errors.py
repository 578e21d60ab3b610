"""The base class of all errors, and those for wrong arguments; `allocator.errors` has all of them.

They stand here because values and quantities raise them, and other errors have values as attributes.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["AllocatorError", "InvalidQuantity", "InvalidRequest"]


class AllocatorError(Exception):
    """The base class.  `code` is stable and meant for programs; the message is for people."""

    __module__ = "allocator.errors"  # its public name, in tracebacks and pickles

    default_code: ClassVar[str] = "allocator_error"
    retryable: bool = False
    """Whether a new call with the same arguments may succeed."""

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.retry_after = retry_after


class InvalidRequest(AllocatorError, ValueError):
    """An argument is wrong: nothing was sent and nothing changed.  `field` names it."""

    __module__ = "allocator.errors"  # its public name, in tracebacks and pickles

    default_code = "invalid_request"

    def __init__(self, message: str, *, field: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class InvalidQuantity(InvalidRequest):
    """A value that is not a quantity, or is outside the range that can be counted exactly."""

    __module__ = "allocator.errors"  # its public name, in tracebacks and pickles

    default_code = "invalid_quantity"
