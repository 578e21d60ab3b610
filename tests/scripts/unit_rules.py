"""Units of a pool: the option as it is sent, and a model of what a pool with units grants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.scripts.ledger import Ledger
from tests.scripts.quota_tree import Tree

NONE: Final = "-"
PARTS: Final = ("reserved", "overcommit", "least", "most", "step")


def units(**rules: tuple[int | str, int | str, int | str, int | str, int | str]) -> str:
    """The option; a rule is reserved, overcommit, least, most, step; 0: none, "-": as it is."""
    entries = (":".join((name, *("" if part == 0 else str(part) for part in rule))) for name, rule in rules.items())
    return f"units={','.join(entries)}"


def setting(ledger: Ledger, **rules: Any) -> Any:
    """Change the units of a pool."""
    return ledger.configure("change", promises=units(**rules))


def want(ledger: Ledger, identity: str, cpu: int, **options: Any) -> Any:
    """One request for cpu, its reply."""
    return ledger.allocate(ledger.want(identity, {"cpu": cpu}, **options))[0]


@dataclass
class Model:
    """What a pool with units and two scopes grants: the tree of quotas over what is given out."""

    totals: dict[str, int]
    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    tree: Tree = field(default_factory=lambda: Tree({}))

    def configure(self, resource: str, rule: dict[str, int]) -> str:
        """Change a rule; the reply word."""
        total, factor = self.totals[resource], 1000 + rule["overcommit"]
        allowed = range(0, 2000, rule["step"] or 1)
        if rule["reserved"] > total:
            return "units"
        if not any(max(1, rule["least"]) <= one <= (rule["most"] or 2000) for one in allowed):
            return "units"
        self.rules[resource] = rule
        self.tree.capacity[resource] = (total - rule["reserved"]) * factor // 1000
        return "configured"

    def breaks(self, resource: str, amount: int, held: int = 0) -> bool:
        """Whether the amount is one that is not given out."""
        rule = self.rules.get(resource)
        if rule is None or amount in (0, held):
            return False
        too_much = amount > (rule["most"] or amount) and amount > held
        return amount < rule["least"] or too_much or bool(rule["step"] and amount % rule["step"])

    def request(self, scope: str, wanted: dict[str, int]) -> str:
        """The verdict on a request."""
        if any(self.breaks(name, amount) for name, amount in wanted.items()):
            return "unit_violation"
        return "granted" if self.tree.fits(scope, wanted) else "refused"
