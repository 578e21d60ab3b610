"""The wheel carries the scripts, and allocates from a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from allocator._engine.protocol import scripts
from tests.rules.sources import ROOT
from tests.support.servers import Server

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
import allocator
from allocator._engine.protocol import scripts
with allocator.Allocator.from_url(sys.argv[1]) as client:
    client.pools.create("default", {"cpu": 4})
    granted = client.allocate({"cpu": 1}, ttl=60)
    released = bool(client.release(granted))
shas = {name: scripts.load(name).sha for name in scripts.names()}
print(json.dumps({"file": allocator.__file__, "released": released, "shas": shas}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_every_script_and_no_test(wheel: Path) -> None:
    """And says that it is typed."""
    names = zipfile.ZipFile(wheel).namelist()
    sources = {path.relative_to(scripts.folder()).as_posix() for path in scripts.folder().rglob("*.lua")}
    assert {name.removeprefix("allocator/lua/") for name in names if name.endswith(".lua")} == sources
    assert "allocator/lua/ordinary.txt" in names, "without it a text differs from a checkout's"
    assert "allocator/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "bench", "examples", "tools"))]


def test_it_allocates_when_installed_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    """Only redis beside it, another folder, the same scripts to the byte."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    site = next((environment / "lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    _lend(site, ("redis", "async_timeout"))
    with Server() as server:
        ran = subprocess.run(
            [str(environment / "bin" / "python"), "-I", "-c", PROGRAM, server.url],
            cwd=tmp_path, check=False, capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert Path(told["file"]).is_relative_to(environment)
    assert told["released"] is True
    assert told["shas"] == {name: scripts.load(name).sha for name in scripts.names()}


def _lend(site: Path, packages: tuple[str, ...]) -> None:
    """Let the clean environment see these packages of ours and no others."""
    ours = Path(sysconfig.get_path("purelib"))
    for name in packages:
        if (ours / name).is_dir():
            (site / name).symlink_to(ours / name)
