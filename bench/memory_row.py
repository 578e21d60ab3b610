"""What the server keeps for an allocation, in bytes."""

from __future__ import annotations

from typing import Any

from bench.rows import Result, row
from bench.stage import Sizes, Stage
from bench.verbs import ALLOCATE, KEYS, fill


@row(
    "memory",
    "bytes per live allocation at 100,000",
    at_least=440,
    aim=400,
    smaller_is_better=True,
    unit=" B",
    engines=frozenset({"redis7"}),
)
def memory(stage: Stage, sizes: Sizes) -> Result:
    """`used_memory` before and after, less the buffers of connections, with `events` and `ended` deleted either time.

    It counts what MEMORY USAGE of the single keys leaves out: the tables of the keyspace and of the index.
    """
    ALLOCATE.commands(stage, 1)  # so that the script is in memory before
    stage.fresh()
    before = _used_memory(stage)
    fill(stage, Stage.EMPTY, sizes.stored)
    each = (_used_memory(stage) - before) / sizes.stored
    client: Any = stage.client()
    record = next(client.scan_iter(KEYS.records_pattern))
    usage: Any = client.memory_usage(record)
    stage.fresh()
    return Result(each, each, each, {"each": each, "record by MEMORY USAGE": float(usage)})


def _used_memory(stage: Stage) -> float:
    client: Any = stage.client()
    client.delete(KEYS["events"], KEYS["ended"])
    info = client.info("memory")
    return float(info["used_memory"] - info["mem_clients_normal"])
