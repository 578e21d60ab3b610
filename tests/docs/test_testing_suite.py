"""The suites of docs/testing.md pass, in a pytest without the settings of this repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, blocks


def test_the_suites_that_are_shown_pass(tmp_path: Path) -> None:
    """All blocks that have tests, as one file."""
    suites = [one.text for one in blocks(ROOT / "docs" / "testing.md") if "\ndef test_" in one.text]
    tests = sum(text.count("\ndef test_") for text in suites)
    (tmp_path / "test_document.py").write_text("\n\n".join(suites))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "allocator_pytest", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert len(suites) == 2
    assert f"{tests} passed" in done.stdout, done.stdout
