"""Make lab requests of a production trace: `python -m bench.trace_requests PODS.csv NODES.csv -o requests.csv`.

The two files are those of the open GPU trace of a Kubernetes cluster: pods with `cpu_milli`, `memory_mib`, `num_gpu`,
`gpu_milli`, `creation_time` and `deletion_time`, nodes with `cpu_milli`, `memory_mib` and `gpu`.  The pool is the sum
of every tenth node; it is printed as the option that the demo takes, together with the command to run.

Lengths of life in the trace go from seconds to five months.  They are cut at `--longest` seconds, or a handful of pods
would decide how long the run takes.  All pods are asked for at once, in the order in which they were created.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

GPU: Final = "nvidia.com/gpu"


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def labs(pods: list[dict[str, str]], longest_s: float) -> Iterator[tuple[str, str, str, str, str]]:
    """A lab for each pod; a share of one GPU stays a share."""
    for pod in sorted(pods, key=lambda pod: int(pod["creation_time"])):
        devices = int(pod["num_gpu"])
        gpu = pod["gpu_milli"] + "m" if devices == 1 else str(devices) if devices else ""
        seconds = min(longest_s, max(1, int(pod["deletion_time"] or 0) - int(pod["creation_time"])))
        memory = f"{pod['memory_mib']}Mi" if int(pod["memory_mib"]) else ""
        yield pod["name"], f"{pod['cpu_milli']}m", memory, f"{seconds:.0f}", gpu


def capacity(nodes: list[dict[str, str]], every: int) -> str:
    """The sum of every n-th node, as the demo's option takes it."""
    chosen = nodes[::every]
    cpu, memory, gpu = (sum(int(node[column]) for node in chosen) for column in ("cpu_milli", "memory_mib", "gpu"))
    return f"cpu={cpu}m,memory={memory}Mi,{GPU}={gpu}"


def main() -> None:
    """Convert, and print the pool."""
    parser = argparse.ArgumentParser(description="Make lab requests of a production trace.")
    parser.add_argument("pods", type=Path)
    parser.add_argument("nodes", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("trace_requests.csv"))
    parser.add_argument("--every", type=int, default=10, help="the pool is the sum of every n-th node (10)")
    parser.add_argument("--longest", type=float, default=3600.0, help="seconds at which lengths of life are cut (3600)")
    options = parser.parse_args()
    pods = rows(options.pods)
    with options.output.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("name", "cpu", "memory", "seconds", GPU))
        writer.writerows(labs(pods, options.longest))
    pool = capacity(rows(options.nodes), options.every)
    print(f"{len(pods)} requests in {options.output}; the pool is the sum of every {options.every}th node")
    print(f"resource-allocator demo --requests {options.output} --capacity {pool}")


if __name__ == "__main__":
    main()
