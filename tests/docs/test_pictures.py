"""The pictures: each is named by a page with a text for those who do not see it, and is as its source says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import ROOT, documents
from tools.pictures import FOLDER
from tools.pictures.__main__ import main, names
from tools.pictures.drawn import pictures

_PICTURE: Final = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_OUTSIDE: Final = re.compile(r"https?://(?!www\.w3\.org/)")
ALT_LEAST: Final = 20
"""Characters of a text that says what a picture shows."""


def named() -> dict[Path, str]:
    """Each picture that a page names, and its text."""
    found = {}
    for page in documents():
        for text, link in _PICTURE.findall(page.read_text(encoding="utf-8")):
            found[(page.parent / link).resolve()] = text
    return found


def test_each_picture_is_named_by_a_page_and_each_that_is_named_exists() -> None:
    """A picture that no page shows is not seen, and goes stale."""
    there = {path for path in FOLDER.iterdir() if path.suffix in (".svg", ".png")}
    assert set(named()) == there


def test_each_picture_has_a_text_for_those_who_do_not_see_it() -> None:
    """A reader of the screen hears it, and so does who reads the file."""
    assert {path.name for path, text in named().items() if len(text) < ALT_LEAST} == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_is_whole_and_asks_nobody_for_anything(path: Path) -> None:
    """It parses, has a title, and names no font, script or picture of another host."""
    text = path.read_text(encoding="utf-8")
    assert not _OUTSIDE.search(text)
    assert "<script" not in text
    root = ET.fromstring(text)
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles, path.name


def test_what_is_drawn_is_the_same_each_time() -> None:
    """So a change of a picture is a change of its source; `python -m tools.generate` writes it anew."""
    assert pictures() == pictures()
    for path, text in pictures().items():
        assert path.read_text(encoding="utf-8") == text, path.name


def test_each_module_of_pictures_can_be_named_and_another_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`make pictures ARGS=life` makes one; a misspelt name says what there is."""
    assert {path.stem for path in pictures()} <= set(names())
    assert main(["lives"]) == 2
    assert "life" in capsys.readouterr().err
    assert ROOT in FOLDER.parents
