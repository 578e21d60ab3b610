"""An append-only file that was cut in the middle of a script: the server comes back with an older ledger, in order.

A power failure may do that; a SIGKILL does not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from allocator import Allocator
from tests.soak.stage_crash import mend
from tests.support.servers import Engine, Server

pytestmark = pytest.mark.slow

POOL = "lab"
CUTS = 12
"""Places at which the file is cut, from the first byte of the last script to its last."""


def newest_file(folder: Path) -> Path:
    """What the server appends to."""
    return max(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))


def test_a_file_that_is_cut_anywhere_in_a_script_holds_all_scripts_before_it(engine: Engine, tmp_path: Path) -> None:
    """Its counters equal its records, and stay so over the next restart, once the file was written anew."""
    saved = tmp_path / "saved"
    with (
        Server(engine, options={"appendonly": "yes", "appendfsync": "always"}) as server,
        Allocator.from_url(server.url, pool=POOL, timeout=20.0) as client,
    ):
        files = server.folder / "appendonlydir"
        client.pools.create(POOL, {"cpu": 10, "memory": "10Gi"})
        client.allocate({"cpu": 1, "memory": "1Gi"}, ttl=None, id="first")
        whole = newest_file(files).stat().st_size
        client.allocate({"cpu": 2, "memory": "2Gi"}, ttl=None, id="last")
        length = newest_file(files).stat().st_size - whole
        server.kill()
        shutil.copytree(files, saved)
        for number in range(CUTS):
            shutil.rmtree(files)
            shutil.copytree(saved, files)
            with newest_file(files).open("r+b") as file:
                file.truncate(whole + length * number // CUTS)
            server.start()
            assert {one.id for one in client.list()} == {"first"}
            assert (report := client.maintenance.audit()), report
            mend(server)
            client.allocate({"cpu": 3}, ttl=None, id="later")
            server.restart()
            assert {one.id for one in client.list()} == {"first", "later"}
            assert (report := client.maintenance.audit()), report
            server.kill()
        server.start()
