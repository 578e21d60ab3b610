"""docs/adopting.md: the loop has the lines that it says, each example is listed, and its audit finds what is wrong."""

from __future__ import annotations

import re
from typing import Final

import pytest

from allocator.testing import memory_allocator
from examples import run_all, support
from tests.docs.blocks import ROOT, blocks

PAGE: Final = ROOT / "docs" / "adopting.md"

LINES_MAX: Final = 10

_OURS: Final = re.compile(r"\ballocator\.|\bAsyncAllocator\b|\bBackendError\b|\bDenial\b|^\s*try:|outcome\.fence:")
_NUMBER: Final = re.compile(r"  # (\d+)$")


def test_the_crash_safe_loop_has_at_most_ten_lines_that_are_ours() -> None:
    """The import, and each line that names something of this library: those have numbers, so the heading is true."""
    loop = next(block for block in blocks(PAGE) if block.language == "python").text.splitlines()
    numbers = [int(found[1]) for line in loop if (found := _NUMBER.search(line))]
    first, *others = [line for line in loop if _OURS.search(line)]
    assert first.startswith("from allocator import ")
    assert numbers == list(range(2, len(others) + 2))
    assert len(numbers) + 1 <= LINES_MAX
    assert others == [line for line in loop if _NUMBER.search(line)]


@pytest.mark.parametrize("page", ["docs/adopting.md", "examples/README.md"])
def test_each_example_is_on_the_pages_that_list_them(page: str) -> None:
    """A program that no page names is not found."""
    text = (ROOT / page).read_text(encoding="utf-8")
    programs = set(run_all.programs()) - ({"run_original_tests"} if page == "docs/adopting.md" else set())
    assert {name for name in programs if not re.search(rf"\b{name}\b", text)} == set()


def test_the_audit_of_the_examples_finds_what_is_left() -> None:
    """It is what their last line rests on."""
    with memory_allocator({"cpu": 2}) as allocator:
        first = allocator.allocate({"cpu": 2}, ttl=60, id="a")
        with pytest.raises(AssertionError, match="'a'"):
            support.check_books(allocator)
        allocator.release(first)
        allocator.release(allocator.allocate({"cpu": 1}, ttl=60, id="a"))
        assert support.check_books(allocator) == {"a": 2}


def test_the_audit_of_the_examples_finds_too_many_grants() -> None:
    """A capacity that was lowered below what its events show stands for a grant too many."""
    with memory_allocator({"cpu": 2}) as allocator:
        allocator.release(allocator.allocate({"cpu": 2}, ttl=60))
        allocator.pools.update(capacity={"cpu": 1})
        with pytest.raises(AssertionError, match="2000 of 1000 cpu"):
            support.check_books(allocator)
