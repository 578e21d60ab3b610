"""Durations as people write them: `90s`, `10m`, `1h30m`; one form for arguments, tables and messages."""

from __future__ import annotations

__all__ = ["exact"]


def exact(ms: int) -> str:
    """A duration in all its units, in the form of an argument: 90s is 1m30s, 3,600,000 ms are 1h."""
    left, rest = divmod(ms, 1000)
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        number, left = divmod(left, size)
        parts += [f"{number}{unit}"] if number else []
    if left or rest or not parts:
        parts.append(f"{left}{f'.{rest:03d}'.rstrip('0') if rest else ''}s")
    return "".join(parts)
