"""Beginnings of ids: a help at a terminal, a trap in a script."""

from __future__ import annotations

import pytest

from tests.programs.cli.conftest import CommandLine


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there."""
    monkeypatch.setattr("allocator.apps.cli.short_ids.at_terminal", lambda: True)


@pytest.fixture
def jobs(pool: CommandLine) -> CommandLine:
    """job-1 and job-10, of which the first is a beginning of the second, and lab-7."""
    for name in ("job-1", "job-10", "lab-7"):
        pool("allocate", "cpu=1", "--ttl", "10m", "--id", name)
    return pool


@pytest.mark.parametrize(
    "command", [("release", "lab"), ("renew", "lab"), ("resize", "lab", "cpu=2"), ("describe", "lab")]
)
def test_a_script_must_give_whole_ids(jobs: CommandLine, command: tuple[str, ...]) -> None:
    """`release job-1`, repeated after it ended, would otherwise take job-10, and `renew` would hide the loss."""
    jobs.error(*command, code=4)
    assert jobs.json("usage")["allocations"] == 3


@pytest.mark.usefixtures("terminal")
def test_an_exact_id_is_meant_exactly(jobs: CommandLine) -> None:
    """Even where it is the beginning of another; nobody is asked."""
    assert jobs.out("release", "job-1") == "job-1 released\n"


@pytest.mark.usefixtures("terminal")
def test_a_unique_beginning_will_do_for_reading(jobs: CommandLine) -> None:
    """And it says which it took."""
    result = jobs("describe", "lab")
    assert result.stdout.startswith("ID:         lab-7\n")
    assert result.stderr == "no allocation lab; this is lab-7\n"


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("words", "done"),
    [
        (("release", "lab"), "lab-7 released"),
        (("renew", "lab"), "lab-7 renewed until"),
        (("resize", "lab", "cpu=2"), "lab-7 resized: cpu=2"),
    ],
)
def test_a_change_by_a_beginning_asks_first(jobs: CommandLine, words: tuple[str, ...], done: str) -> None:
    """Yes goes on with the whole id, no changes nothing."""
    refused = jobs(*words, input="n\n", code=1)
    assert refused.stderr.startswith(
        f"No allocation lab.  {words[0].capitalize()} lab-7 (owner anonymous, cpu=1)? [y/N]"
    )
    assert refused.stderr.endswith("error: nothing was changed\n")
    assert jobs(*words, input="y\n").stdout.startswith(done)


@pytest.mark.usefixtures("terminal")
def test_an_ambiguous_beginning_is_refused_with_the_candidates(jobs: CommandLine) -> None:
    """Exit code 2: the person has to type more."""
    assert jobs.error("release", "job", code=2).startswith("error: 2 allocations begin with job: job-1, job-10\n")


@pytest.mark.usefixtures("terminal")
def test_a_long_list_of_candidates_is_cut(pool: CommandLine) -> None:
    """Ten ids are enough to see what is going on."""
    for number in range(12):
        pool("allocate", "cpu=1", "--pin", "--id", f"job-{number:02d}")
    assert pool.error("describe", "job", code=2).startswith("error: 12 allocations begin with job: job-00, ")
    assert "job-09 and 2 more\n" in pool.error("describe", "job", code=2)


@pytest.mark.usefixtures("terminal")
def test_nothing_that_begins_so_is_not_found(jobs: CommandLine) -> None:
    """As in a script."""
    assert jobs.error("release", "zzz", code=4) == "error: no live allocation zzz in pool default\n"


@pytest.mark.usefixtures("terminal")
def test_a_huge_pool_is_not_searched(jobs: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all of a million records for one abbreviation would burden everybody else."""
    monkeypatch.setattr("allocator.apps.cli.short_ids.SEARCH_MAX", 2)
    jobs.error("describe", "lab", code=4)
