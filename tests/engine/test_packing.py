"""The bytes of a command, with hiredis and without it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from allocator._engine.protocol import resp

WORDS = ("EVALSHA", "f00", 2, "schlüssel", -7, "", 1 << 60)


def test_both_packers_write_the_same() -> None:
    """By bytes, not by characters."""
    assert resp._pack(WORDS) == resp.pack_command(WORDS)


def test_hiredis_is_given_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes texts of them itself, and a signal that arrives in the midst of that ends the process (3.5 too)."""
    given: list[tuple[object, ...]] = []

    def record(words: tuple[object, ...]) -> bytes:
        given.append(words)
        return b""

    monkeypatch.setitem(sys.modules, "hiredis", SimpleNamespace(pack_command=record))
    resp._packer()(WORDS)
    assert given == [tuple(map(str, WORDS))]
    assert all(type(word) is str for word in given[0])
