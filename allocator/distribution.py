"""The distribution that this package comes from: its name, its version, and how its extras are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

__all__ = ["DISTRIBUTION", "UNKNOWN", "install", "version"]

DISTRIBUTION: Final = "redis-resource-allocator"
"""The name under which it is installed."""

UNKNOWN: Final = "0+unknown"
"""The version of files that are neither installed nor in a checkout."""


def install(extra: Literal["cli", "embedded", "fast", "metrics", "tui"]) -> str:
    """The command that installs an extra, for messages."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def version() -> str:
    """The version of this code: of its checkout, else of the installed distribution, else `UNKNOWN`."""
    import tomllib  # noqa: PLC0415 - few programs ask
    from importlib import metadata  # noqa: PLC0415

    checkout = Path(__file__).parents[1] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == DISTRIBUTION:
            return str(project["version"])
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return UNKNOWN
