"""How many small worlds there are; `--every N` or `--all` plays them, `--world NUMBER` tells one."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

from tests.properties.worlds.enumeration import Worlds
from tests.properties.worlds.many import play
from tests.properties.worlds.run import Runner, Wire
from tests.support.servers import Server

SEED: Final = 20_261_126


def tell(number: int) -> int:
    """One world, as calls of `Ledger`."""
    with Server() as server:
        wire = Wire(server.socket)
        sys.stdout.write("\n".join(Runner(wire, written_down=True).told(Worlds()[number])) + "\n")
        wire.close()
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.worlds", description=__doc__)
    parser.add_argument("--every", type=int, help="one out of so many")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--world", type=int, help="the world of this number")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    if given.world is not None:
        return tell(given.world)
    there = len(Worlds())
    for family, count in Worlds().counts().items():
        sys.stdout.write(f"{count:>10,} {family}\n")
    sys.stdout.write(f"{there:>10,} worlds\n")
    if not (given.all or given.every):
        return 0
    began = time.monotonic()
    counts, shown = play(there if given.all else there // given.every, given.seed)
    sys.stdout.write("\n\n".join([*shown, ""]))
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    sys.stdout.write(f"{told}, {time.monotonic() - began:.0f} s\n")
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
