"""The Containerfile: what it copies is there and is enough, and what it starts exists."""

from __future__ import annotations

import fnmatch
import json
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.programs.deploy.documents import CONTAINERFILE, PROGRAM, ROOT, instructions, parse
from tools.manifests import version

KNOWN: Final = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER",
    "WORKDIR",
}  # fmt: skip


def having(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def copied() -> list[tuple[list[str], str]]:
    """What is copied out of the checkout, and where to."""
    words = [shlex.split(rest) for rest in having("COPY") if not rest.startswith("--from")]
    return [(sources, target) for *sources, target in words]


def test_each_instruction_is_one_and_the_last_stage_brings_only_what_is_installed() -> None:
    """No compiler, no source, no root."""
    assert {word for word, _ in instructions()} <= KNOWN
    assert [rest.partition(" AS ")[0] for rest in having("FROM")] == ["python:${PYTHON}-slim-bookworm"] * 2
    last = instructions()[[word for word, _ in instructions()].index("FROM", 2) :]
    assert [rest for word, rest in last if word == "COPY"] == ["--from=build /opt/allocator /opt/allocator"]
    assert not [rest for word, rest in last if word == "RUN"]
    assert [rest for word, rest in last if word == "USER"] == ["65532:65532"]


def test_the_image_has_the_version_and_no_address() -> None:
    """A label that names a registry or a host would be wrong for everybody else."""
    (labels,) = having("LABEL")
    told = dict(word.split("=", 1) for word in shlex.split(labels))
    assert told["org.opencontainers.image.version"] == version()
    assert told["org.opencontainers.image.licenses"] == "MIT"
    assert not [value for value in told.values() if "://" in value or "@" in value]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    """The file of what is ignored names each source."""
    ignore = (CONTAINERFILE.parent / f"{CONTAINERFILE.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    kept = [line[1:] for line in ignore if line.startswith("!")]
    for sources, _ in copied():
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source.split("/")[0], one) for one in kept), source
    assert not any(fnmatch.fnmatch("deploy", one) for one in kept), "passwords are below it"


@pytest.mark.slow
def test_what_is_copied_is_enough_for_the_wheel(tmp_path: Path) -> None:
    """Built as the image builds it, of nothing else; it has the command and the scripts."""
    source = tmp_path / "source"
    source.mkdir()
    for sources, target in copied():
        for one in sources:
            here, there = ROOT / one, source / target
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
                continue
            into = there if target.endswith("/") else there.parent
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, into)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheels")]
    ran = subprocess.run(build, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    (points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert f"{PROGRAM} = " in zipfile.ZipFile(wheel).read(points).decode()
    assert [name for name in names if name.startswith("allocator/lua/scripts/")]
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "allocator").rglob("*") if path.is_file()}
    assert {name for name in here if "__pycache__" not in name} <= set(names)


def test_it_installs_what_its_commands_need() -> None:
    """Each extra is one of the package."""
    runs = " ".join(having("RUN"))
    assert "redis-resource-allocator[cli,fast,metrics,web]" in runs
    assert "pip uninstall --yes pip" in runs


def test_it_starts_the_command_and_looks_at_the_port_that_it_serves() -> None:
    """Its default is the exporter."""
    assert [json.loads(rest) for rest in having("ENTRYPOINT")] == [[PROGRAM]]
    (words,) = (json.loads(rest) for rest in having("CMD"))
    port = parse(words)[1]["port"]
    (check,) = having("HEALTHCHECK")
    program = json.loads(check.partition(" CMD ")[2])
    compile(program[2], "healthcheck", "exec")
    assert f"127.0.0.1:{port}/metrics" in program[2]
    assert str(port) in having("EXPOSE")[0].split()
    assert "ALLOCATOR_REQUIRE_URL=1" in having("ENV")[0], "or a missing URL would start a server within"


@pytest.mark.parametrize("word", ["curl", "wget", "apt-get", "sudo"])
def test_it_needs_no_other_program(word: str) -> None:
    """The base image has Python, and that is enough."""
    assert word not in CONTAINERFILE.read_text(encoding="utf-8")
