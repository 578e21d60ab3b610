"""Which test caught each planted bug the last time it was looked for.

A run tries that test first, alone.  Nothing depends on the table: if the test passes or is no longer there, the whole
module is run.  `python -m tests.mutants --keep` writes what it found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

__all__ = ["TABLE", "keep", "known"]

TABLE: Final = Path(__file__).with_name("caught.json")


def known() -> dict[str, str]:
    """The test, with its parameters, by the name of the bug."""
    tests: dict[str, str] = json.loads(TABLE.read_text(encoding="utf-8"))
    return tests


def keep(found: Mapping[str, str], names: Iterable[str]) -> None:
    """Add what was found; only bugs of these names stay, in this order."""
    tests = {**known(), **found}
    ordered = {name: tests[name] for name in names if name in tests}
    TABLE.write_text(json.dumps(ordered, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
