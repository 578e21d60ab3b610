"""The units: known to systemd, closed, and started by what exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.programs.deploy.documents import DEPLOY, SYSTEMD, unit
from tests.support.tools import needs

SERVICES: Final = sorted(SYSTEMD.glob("*.service"))

UNITS: Final = sorted(path for path in SYSTEMD.iterdir())

USERS: Final = {"allocator-cleanup": "cron", "allocator-exporter": "inspector", "allocator-dashboard": "inspector"}

EXPOSURE_MAX: Final = 2.0
"""Of ten; a service that says nothing has 9.6."""


@needs("systemd-analyze")
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """Neither to a section nor to a key; the program itself need not be installed."""
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/usr/local/bin/resource-allocator", "/bin/true")
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    paths = [str(tmp_path / path.name) for path in UNITS]
    ran = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@needs("systemd-analyze")
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_service_is_closed(path: Path) -> None:
    """By systemd's own count."""
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", ran.stdout)
    assert found, ran.stdout + ran.stderr
    assert float(found[1]) <= EXPOSURE_MAX, ran.stdout


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_service_has_a_user_of_its_own_and_its_secrets_as_credentials(path: Path) -> None:
    """No environment has a password, and each file that a command names is one that was loaded."""
    service = dict(unit(path)["Service"])
    assert service["DynamicUser"] == service["NoNewPrivileges"] == service["ProtectHome"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    loaded = dict(line.split(":", 1) for line in service["LoadCredential"].splitlines())
    assert loaded["url"] == f"/etc/allocator/{USERS[path.stem]}.url"
    assert service["Environment"] == "ALLOCATOR_REDIS_URL_FILE=%d/url"
    named = re.findall(r"%d/(\w+)", service["ExecStart"])
    assert {"url", *named} == set(loaded)
    made = (DEPLOY / "make_secrets.py").read_text(encoding="utf-8")
    for file in loaded.values():
        stem = Path(file).name
        assert stem.removesuffix(".url") in made


def test_the_timer_starts_its_service_every_five_minutes() -> None:
    """Also after a start of the machine; not two machines at the same second."""
    timer = unit(SYSTEMD / "allocator-cleanup.timer")
    assert dict(timer["Timer"]) == {
        "OnBootSec": "2min",
        "OnUnitActiveSec": "5min",
        "RandomizedDelaySec": "30s",
        "AccuracySec": "10s",
    }
    assert timer["Install"]["WantedBy"] == "timers.target"
    service = unit(SYSTEMD / "allocator-cleanup.service")
    assert service["Service"]["Type"] == "oneshot"
    assert not service.has_section("Install"), "the timer alone starts it"


@pytest.mark.parametrize("name", ["allocator-exporter", "allocator-dashboard"])
def test_what_serves_comes_back(name: str) -> None:
    """But not after wrong usage, which no repeat mends."""
    service = unit(SYSTEMD / f"{name}.service")
    assert service["Service"]["Restart"] == "always"
    assert service["Service"]["RestartPreventExitStatus"] == "2"
    assert service["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["Install"]["WantedBy"] == "multi-user.target"
