"""The planted bugs: where, what stands there, what takes its place, and what would go wrong."""

from __future__ import annotations

from typing import Final

from tests.mutants.backfill import BACKFILL
from tests.mutants.client import CLIENT
from tests.mutants.ending import ENDING
from tests.mutants.fair_share import FAIR_SHARE
from tests.mutants.findings import FINDINGS
from tests.mutants.gangs import GANGS
from tests.mutants.granting import GRANTING
from tests.mutants.hard_ends import HARD_ENDS
from tests.mutants.losses import LOSSES
from tests.mutants.metrics import METRICS
from tests.mutants.preempting import PREEMPTING
from tests.mutants.quotas import QUOTAS
from tests.mutants.sharing import SHARING
from tests.mutants.units import UNITS
from tests.mutants.waiting import WAITING

MUTANTS: Final = (
    *GRANTING, *ENDING, *LOSSES, *FINDINGS, *SHARING, *QUOTAS, *UNITS, *HARD_ENDS, *WAITING, *GANGS, *BACKFILL,
    *FAIR_SHARE, *PREEMPTING, *METRICS, *CLIENT,
)  # fmt: skip
