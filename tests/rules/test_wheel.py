"""What is built is complete and well described, and allocates from a clean environment and from an archive."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

import allocator
from allocator import distribution
from allocator._engine.protocol import scripts
from tests.rules.sources import ROOT
from tests.support.servers import Server
from tools import readme

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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it; without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    return next(built.glob("*.whl"))


def test_an_index_would_take_what_is_built(built: Path) -> None:
    """Its README is shown, and no link in it leads to a file that an index does not have."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *[str(path) for path in sorted(built.iterdir())]]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("PASSED") == 2


def test_links_of_the_readme_work_elsewhere(wheel: Path) -> None:
    """They lead to the repository, or are plain text while it has no address."""
    name = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(name).decode().partition("\n\n")[2]
    assert "docs/guarantees.md" in text
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", text) == []
    link = "[the demo](docs/demo.md#top), [above](#x), [Redis](https://redis.io)"
    assert readme.published(link, None, "1.0") == "the demo, [above](#x), [Redis](https://redis.io)"
    there = "[the demo](https://example.org/r/blob/v1.0/docs/demo.md#top), [above](#x), [Redis](https://redis.io)"
    assert readme.published(link, "https://example.org/r/", "1.0") == there
    picture = "A picture:\n\n![What it is.](docs/pictures/a.svg)\n\nThe end"
    assert readme.published(picture, None, "1.0") == "A picture:\n\nThe end"
    there = "A picture:\n\n![What it is.](https://example.org/r/raw/v1.0/docs/pictures/a.svg)\n\nThe end"
    assert readme.published(picture, "https://example.org/r", "1.0") == there


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
    environment, site = _environment(tmp_path)
    _install(wheel, environment)
    _lend(site, ("redis", "async_timeout"))
    told = _allocating(environment / "bin" / "python", tmp_path)
    assert Path(told["file"]).is_relative_to(environment)


def test_it_allocates_when_imported_from_an_archive(wheel: Path, tmp_path: Path) -> None:
    """A wheel is one: nothing is unpacked."""
    environment, site = _environment(tmp_path)
    (site / "archive.pth").write_text(f"{wheel}\n", encoding="utf-8")
    _lend(site, ("redis", "async_timeout"))
    told = _allocating(environment / "bin" / "python", tmp_path)
    assert Path(told["file"]).is_relative_to(wheel)


def test_the_command_of_an_installed_wheel_says_the_version(wheel: Path, tmp_path: Path) -> None:
    """Without the extra it says how to get it."""
    environment, site = _environment(tmp_path)
    _install(wheel, environment)
    _lend(site, ("redis", "async_timeout"))
    command = [str(environment / "bin" / "resource-allocator"), "--version"]
    without = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert f"pip install '{distribution.DISTRIBUTION}[cli]'" in without.stderr
    _lend(site, ("click", "rich", "yaml", "markdown_it", "mdurl", "pygments"))
    ran = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (f"resource-allocator {allocator.__version__}\n", "")


def test_the_version_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the checkout, whatever else is installed; of the distribution where there is no checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["name"], project["version"]) == (distribution.DISTRIBUTION, allocator.__version__)
    monkeypatch.setattr(distribution, "__file__", str(tmp_path / "site" / "allocator" / "distribution.py"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "9"\n', encoding="utf-8")
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} 1.2.3")
    assert distribution.version() == f"{distribution.DISTRIBUTION} 1.2.3"

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert distribution.version() == distribution.UNKNOWN


def _environment(folder: Path) -> tuple[Path, Path]:
    """A new environment without any package, and the folder for them."""
    environment = folder / "environment"
    venv.create(environment, with_pip=False)
    return environment, next((environment / "lib").glob("python*")) / "site-packages"


def _install(wheel: Path, environment: Path) -> None:
    options = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(environment), "install", *options, str(wheel)]
    subprocess.run(command, check=True, capture_output=True)


def _allocating(python: Path, folder: Path) -> dict[str, Any]:
    """What `PROGRAM` says of an environment, which has the scripts of this checkout to the byte."""
    with Server() as server:
        ran = subprocess.run(
            [str(python), "-I", "-c", PROGRAM, server.url],
            cwd=folder, check=False, capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["released"] is True
    assert told["shas"] == {name: scripts.load(name).sha for name in scripts.names()}
    return told


def _lend(site: Path, packages: tuple[str, ...]) -> None:
    """Let the clean environment see these packages of ours and no others."""
    ours = Path(sysconfig.get_path("purelib"))
    for name in packages:
        if (ours / name).is_dir():
            (site / name).symlink_to(ours / name)
