"""What a planted bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One bug.  `old` stands exactly once in the file; `hint` is the test module that is run first."""

    name: str
    file: str
    old: str
    new: str
    why: str
    hint: str
