"""--reserved, --overcommit, --min, --max and --step of `pool create` and `pool set`, and what shows them."""

from __future__ import annotations

import pytest

from tests.programs.cli.conftest import CommandLine

UNITS = ("--reserved", "cpu=2", "--overcommit", "cpu=500", "--min", "cpu=1", "--max", "cpu=8", "--step", "cpu=500m")


@pytest.fixture
def bounded(cli: CommandLine) -> CommandLine:
    """A pool of 32 CPUs, of which 2 are reserved and 45 given out, from 1 to 8, in steps of half a CPU."""
    cli("pool", "create", "cpu=32", "memory=128Gi", *UNITS)
    return cli


def test_a_pool_is_shown_with_its_units(bounded: CommandLine) -> None:
    """For people what is given out, and the capacity where it is another."""
    text = bounded.out("pool", "show")
    assert "  cpu     0 of 45 (capacity 32)\n  memory  0 of 128Gi\n" in text
    units = "Units:\n  cpu  2 reserved, 500 permille overcommit, at least 1, at most 8, in steps of 500m\n"
    assert units in text
    document = bounded.json("pool", "show")
    assert document["units"]["cpu"] == {
        "reserved": "2", "overcommitPermille": 500, "minUnit": "1", "maxUnit": "8", "step": "500m",
    }  # fmt: skip
    assert document["limit"]["cpu"] == {"quantity": "45", "amount": 45_000}
    assert document["capacity"]["cpu"] == {"quantity": "32", "amount": 32_000}


def test_usage_has_what_is_reserved_and_given_out(bounded: CommandLine) -> None:
    """Columns that a pool without units does not have."""
    bounded("allocate", "cpu=4500m", "--pin", "--id", "x")
    assert bounded.out("usage").splitlines()[:3] == [
        "RESOURCE  ALLOCATED  CAPACITY  RESERVED  LIMIT  AVAILABLE  USE",
        "cpu       4500m      32        2         45     40500m     [||                  ]  10%",
        "memory    0          128Gi     0         128Gi  128Gi      [                    ]   0%",
    ]
    assert bounded.out("pool", "list").splitlines()[1].split()[2] == "4500m/45"
    assert bounded("quota", "tree").stdout.splitlines()[1].split()[3] == "45"
    row = bounded.json("usage")["resources"]["cpu"]
    assert (row["limit"]["amount"], row["reserved"]["amount"], row["available"]["amount"]) == (45_000, 2000, 40_500)
    bounded("pool", "set", "--reserved", "cpu=0", "--overcommit", "cpu=0")
    assert bounded.out("usage").split("\n", 1)[0].split() == ["RESOURCE", "ALLOCATED", "CAPACITY", "AVAILABLE", "USE"]


def test_one_part_is_changed_and_0_removes_it(bounded: CommandLine) -> None:
    """The others stay."""
    bounded("pool", "set", "--overcommit", "cpu=0", "--max", "cpu=4", "--reserved", "memory=28Gi")
    assert "Units:\n  cpu     2 reserved, at least 1, at most 4, in steps of 500m\n  memory  28Gi reserved\n" in (
        bounded.out("pool", "show")
    )
    bounded("pool", "set", "cpu=64", "--reserved", "cpu=0", "--min", "cpu=0", "--max", "cpu=0", "--step", "cpu=0")
    document = bounded.json("pool", "show")
    assert (list(document["units"]), document["limit"]["cpu"]["quantity"]) == (["memory"], "64")


def test_an_amount_outside_of_its_bounds_is_denied_with_advice(bounded: CommandLine) -> None:
    """Exit code 3, the bounds, and no wait is suggested."""
    found = bounded("allocate", "cpu=9", "--ttl", "10m", code=3)
    assert found.stderr == (
        "error: outside the unit bounds: pool default: cpu requested=9 (min_unit=1 max_unit=8 step=500m)\n"
        "hint: 'pool show' lists the amounts that are given out, 'pool set' changes them\n"
    )
    assert "outside the unit bounds" in bounded("check", "cpu=1250m", "--explain", code=3).stdout


def test_a_repeated_creation_compares_the_units(bounded: CommandLine) -> None:
    """What is not named is no difference."""
    assert "unchanged" in bounded.out("pool", "create", "cpu=32", "memory=128Gi", *UNITS)
    assert "unchanged" in bounded.out("pool", "create", "cpu=32", "memory=128Gi", "--reserved", "cpu=2000m")
    refused = bounded(
        "pool", "create", "cpu=32", "memory=128Gi", "--reserved", "cpu=3", "--overcommit", "cpu=1", code=1
    )
    assert "exists as cpu=32,memory=128Gi, --reserved cpu=2, --overcommit cpu=500" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--overcommit", "cpu=15001"), "'cpu=15001': at most 15000 permille"),
        (("--overcommit", "cpu=half"), "'cpu=half' is not of the form RESOURCE=PERMILLE, such as cpu=500"),
        (("--overcommit", "500"), "'500' is not of the form RESOURCE=PERMILLE"),
        (("--reserved", "CPU=1"), "'CPU' differs from 'cpu' by its case only"),
        (("--reserved", "memory=4"), "was '4Mi' or '4Gi' meant?"),
        (("--min", "cpu=1", "--min", "cpu=2"), "'cpu' is given twice"),
        (("--max", "cpu=two"), "'two'"),
        (("--reserved", "cpu=33"), "more is reserved than the capacity has"),
        (("--min", "cpu=9"), "no amount is at least min_unit, at most max_unit and a multiple of step"),
        (("--step", "disk=1"), "does not count 'disk'"),
    ],
)
def test_units_that_make_no_sense_are_refused(bounded: CommandLine, words: tuple[str, ...], message: str) -> None:
    """As wrong usage, and the pool stays as it is."""
    before = bounded.json("pool", "show")
    assert message in bounded("pool", "set", *words, code=2).stderr
    assert bounded.json("pool", "show") == before


def test_less_than_is_allocated_is_noted(bounded: CommandLine) -> None:
    """Nobody is evicted."""
    bounded("allocate", "cpu=8", "--pin", "--id", "x")
    found = bounded("pool", "set", "--reserved", "cpu=28")
    assert found.stderr == "warning: pool default is overcommitted in cpu: 8 are allocated\n"
    assert "8 of 6 (capacity 32), overcommitted" in bounded.out("pool", "show")
