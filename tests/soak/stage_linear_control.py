"""The linearizability stage where something is wrong on purpose: what it finds shows that it can find anything.

`python -m tests.soak.stage_linear_control capacity`: a script that grants more than there is.
`python -m tests.soak.stage_linear_control ids`: clients whose every attempt is a call of its own.
`python -m tests.soak.stage_linear_control retries`: repeats that do not say so, as those of a library in between
would not.  A release or a resize that was refused, and not marked so, is executed by the copy of its first attempt.
The last line printed is the counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from unittest import mock

from allocator._engine.protocol import scripts
from tests.mutants.mutant import Mutant, plant

OVERGRANTING: Final = Mutant(
    "a core more", "modules/accounts.lua",
    "(not before or before + growth > account.capacity[field]",
    "(not before or before + growth > account.capacity[field] + 1000",
    "one core more than there is", "",
)  # fmt: skip


@contextlib.contextmanager
def bad_script() -> Iterator[None]:
    """Before anything is loaded: a copy of the scripts with a bug in it."""
    with tempfile.TemporaryDirectory(prefix="allocator-control-") as parent:
        folder = Path(parent) / "lua"
        shutil.copytree(scripts.folder(), folder)
        plant(OVERGRANTING, Path(parent))
        assert scripts.load.cache_info().currsize == 0, "the scripts are loaded already"
        with mock.patch.object(scripts, "folder", return_value=folder):
            yield


Rewrite: TypeAlias = Callable[[Sequence[Any], set[str]], list[Any]]
"""What is sent in place of these words, given the ids of the calls among them."""


def fresh(words: Sequence[Any], calls: set[str]) -> list[Any]:
    """Each attempt has a call id of its own."""
    from allocator._engine.operations.requests import new_call

    return [new_call() if word in calls else word for word in unmarked(words, calls)]


def unmarked(words: Sequence[Any], calls: set[str]) -> list[Any]:
    """No attempt says that it is a repeat: a library between ours and the server sent it again by itself."""
    return [0 if at and words[at - 1] in calls else word for at, word in enumerate(words)]


@contextlib.contextmanager
def sending(rewrite: Rewrite) -> Iterator[None]:
    """Every script call is sent rewritten."""
    from allocator._engine.execution import batch_queues, batching, invocation, loop_state
    from allocator._engine.protocol import resp

    def alone(plain: Any) -> Any:
        return lambda call, repeated, leading: rewrite(
            plain(call, repeated, leading), {item.call for item in call.items}
        )

    def gathered(plain: Any) -> Any:
        return lambda call, batch, leading: rewrite(plain(call, batch, leading), {entry.item.call for entry in batch})

    with (
        mock.patch.object(invocation, "encode_call", alone(resp.encode_call)),
        mock.patch.object(loop_state, "encode_call", alone(resp.encode_call)),
        mock.patch.object(batching, "words_of", gathered(batch_queues.words_of)),
    ):
        yield


CONTROLS: Final[dict[str, Callable[[], contextlib.AbstractContextManager[None]]]] = {
    "capacity": bad_script, "ids": lambda: sending(fresh), "retries": lambda: sending(unmarked),
}  # fmt: skip


def main() -> int:
    """Play one seed, until something is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.stage_linear_control", description=__doc__)
    parser.add_argument("control", choices=list(CONTROLS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ops", type=int, default=3600)
    given = parser.parse_args()
    with CONTROLS[given.control]():
        from tests.soak.counting import sends
        from tests.soak.report import StageReport
        from tests.soak.stage_linear import run_seed
        from tests.support.servers import engines

        report = StageReport("control", [given.seed])
        with sends():
            run_seed(given.seed, given.ops, engines()[0], report, first=True)
    for problem in report.problems:
        sys.stderr.write(f"{problem}\n")
    sys.stdout.write(json.dumps({"violations": 0, **report.counts}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
