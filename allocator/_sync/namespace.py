"""The base of a client's namespaces: its driver and its defaults."""

from __future__ import annotations

from typing import TypeVar

from allocator._base import Surface
from allocator._engine.execution.driver import Driver
from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol.flows import Flow, Operation

__all__ = ["Namespace"]

R = TypeVar("R")


class Namespace(Surface):
    """The verbs of one noun, over a client's connections."""

    def __init__(self, driver: Driver, defaults: Defaults) -> None:
        self._driver = driver
        self._defaults = defaults

    def _run(self, work: Operation[R] | Flow[R], verb: str = "other") -> R:
        return self._driver.run(work, deadline_s=self._defaults.timeout_s, verb=verb)
