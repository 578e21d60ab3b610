"""What the holders of a scene may believe after an operation, by what they were told, and that the pool keeps it."""

from __future__ import annotations

from typing import Any, Final

from allocator import Allocation, Release, Renewal
from tests.failures.operations import Operation, Scene
from tests.support.beliefs import EVER, Beliefs

__all__ = ["believe"]

BY_OTHERS: Final = ("delete_pool", "reconcile", "undo")
"""Scripts that end what its holders still believe in, for whoever calls them says that they know better."""


def believe(operation: Operation, scene: Scene, answer: Any) -> None:
    """No more than there is, and no longer than the pool keeps it."""
    if operation.script in BY_OTHERS or not scene.direct.pools.list():
        return
    beliefs = Beliefs(lambda: scene.direct.pools.get().capacity, scene.clock)
    for one in scene.held:
        beliefs.told("holder", one)
    for told in answer if isinstance(answer, (list, tuple)) else (answer,):
        _hear(beliefs, told)
    for name, (fence, until) in beliefs.alive().items():
        live = scene.direct.get(name)
        kept = live is not None and live.fence == fence and until <= (live.deadline_ms or EVER)
        assert kept, f"{name} is believed in until {until}, and there is {live}"


def _hear(beliefs: Beliefs, told: Any) -> None:
    match told:
        case Allocation(releasing_ms=None):
            beliefs.told("caller", told)
        case Allocation():
            beliefs.renewed(told.fence, told.deadline_ms, shortened=True)
        case Renewal(outcome="renewed"):
            beliefs.renewed(told.fence or 0, told.deadline_ms, shortened=True)
            beliefs.renewed(told.fence or 0, told.deadline_ms)
        case Release(outcome="released"):
            beliefs.released(told.id)
        case _:
            pass
