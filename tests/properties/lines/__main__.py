"""How many small worlds there are in which requests wait; `--play N` plays so many, `--world NUMBER` tells one."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

from tests.properties.lines.run import Worlds, reproduction
from tests.properties.worlds.many import play
from tests.properties.worlds.run import Wire
from tests.support.servers import Server

SEED: Final = 20_261_127


def tell(number: int) -> int:
    """One world, as calls of `Ledger`."""
    with Server() as server:
        wire = Wire(server.socket)
        sys.stdout.write(reproduction(wire, Worlds()[number]) + "\n")
        wire.close()
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.lines", description=__doc__)
    parser.add_argument("--play", type=int, default=0, help="so many, evenly drawn")
    parser.add_argument("--world", type=int, help="the world of this number")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    if given.world is not None:
        return tell(given.world)
    for family, count in Worlds().counts().items():
        sys.stdout.write(f"{count:>12,} {family}\n")
    if not given.play:
        return 0
    began = time.monotonic()
    counts, shown = play(given.play, given.seed, "tests.properties.lines")
    sys.stdout.write("\n\n".join([*shown, ""]))
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    sys.stdout.write(f"{told}, {time.monotonic() - began:.0f} s\n")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
