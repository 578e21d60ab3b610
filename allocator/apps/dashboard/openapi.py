"""The description of the JSON API, OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

__all__ = ["openapi"]


def openapi() -> dict[str, Any]:
    """The description as a document."""
    return {"openapi": "3.1.0"}
