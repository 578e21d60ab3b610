"""list and describe."""

from __future__ import annotations

import re

import pytest
import yaml

from allocator.testing import Clock
from tests.programs.cli.conftest import FENCE, CommandLine, masked


@pytest.fixture
def busy(pool: CommandLine, clock: Clock) -> CommandLine:
    """Three allocations: one live, one pinned with a GPU, one past its deadline; two minutes after the first."""
    pool("allocate", "cpu=2", "memory=4Gi", "--ttl", "10m", "--id", "job-1", "--owner", "ctl-1", "--meta", "lab=intro")
    clock.advance(60)
    pool("allocate", "cpu=500m", "nvidia.com/gpu=1", "--pin", "--id", "job-2", "--owner", "ctl-2")
    pool("allocate", "cpu=4", "--ttl", "30s", "--id", "job-3", "--owner", "ctl-1")
    clock.advance(60)
    return pool


def test_the_table_is_kubectls(busy: CommandLine) -> None:
    """Upper-case headers, two spaces, no borders, a dash for nothing, the oldest first."""
    assert busy.out("list") == (
        "ID     OWNER  STATUS  CPU   MEMORY  NVIDIA.COM/GPU  AGE  LEFT\n"
        "job-1  ctl-1  Live    2     4Gi     -               2m   8m\n"
        "job-2  ctl-2  Pinned  500m  -       1               60s  -\n"
        "job-3  ctl-1  Due     4     -       -               60s  0s\n"
    )


def test_the_wide_table_adds_what_programs_compare(busy: CommandLine) -> None:
    """Exact instants and the fence; free text comes last."""
    assert masked(busy.out("list", "-o", "wide", "--owner", "ctl-1")) == (
        "ID     OWNER  STATUS  CPU  MEMORY  AGE  LEFT  TTL  FENCE             GRANTED                   "
        "DEADLINE                  METADATA\n"
        f"job-1  ctl-1  Live    2    4Gi     2m   8m    10m  {FENCE}  2026-01-01T00:00:00.000Z  "
        "2026-01-01T00:10:00.000Z  lab=intro\n"
        f"job-3  ctl-1  Due     4    -       60s  0s    30s  {FENCE}  2026-01-01T00:01:00.000Z  "
        "2026-01-01T00:01:30.000Z  -\n"
    )


def test_headers_can_be_left_out_and_names_alone_be_had(busy: CommandLine) -> None:
    """For `while read` and for `xargs`."""
    assert len(busy.out("list", "--no-headers").splitlines()) == 3
    assert busy.out("list", "-o", "name") == busy.out("-q", "list") == "job-1\njob-2\njob-3\n"


def test_json_and_yaml_say_the_same(busy: CommandLine) -> None:
    """One document, two spellings."""
    document = busy.json("list")
    assert document == yaml.safe_load(busy.out("list", "-o", "yaml"))
    assert document["kind"] == "AllocationList"
    assert [(item["id"], item["status"]) for item in document["items"]] == [
        ("job-1", "Live"),
        ("job-2", "Pinned"),
        ("job-3", "Due"),
    ]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--owner", "ctl-1"), ["job-1", "job-3"]),
        (("--older-than", "90s"), ["job-1"]),
        (("--older-than", "1d"), []),
        (("--sort-by", "deadline"), ["job-3", "job-1", "job-2"]),
        (("--sort-by", "deadline", "--reverse"), ["job-2", "job-1", "job-3"]),
        (("--sort-by", "owner"), ["job-1", "job-3", "job-2"]),
        (("--sort-by", "cpu"), ["job-3", "job-1", "job-2"]),
        (("--sort-by", "memory"), ["job-1", "job-2", "job-3"]),
        (("--sort-by", "nvidia.com/gpu"), ["job-2", "job-1", "job-3"]),
        (("--sort-by", "id", "--reverse"), ["job-3", "job-2", "job-1"]),
    ],
)
def test_filters_and_orders(busy: CommandLine, options: tuple[str, ...], ids: list[str]) -> None:
    """Age: the oldest first; deadline: the next to end first; a resource: the largest first; equals by id."""
    assert [item["id"] for item in busy.json("list", *options)["items"]] == ids


def test_an_order_that_does_not_exist_is_refused_with_those_that_do(pool: CommandLine) -> None:
    """The pool's own resources are among them."""
    assert pool.error("list", "--sort-by", "gpu", code=2).startswith(
        "error: --sort-by: 'gpu' is none of age, deadline, id, owner, cpu, memory, nvidia.com/gpu\n"
    )


def test_an_empty_list_says_so_on_stderr(pool: CommandLine) -> None:
    """Stdout stays empty for whoever counts lines; --quiet says nothing at all."""
    assert pool.error("list", code=0) == "no allocations found in pool default\n"
    assert pool.out("list", "--quiet") == ""


def test_describe_tells_all_there_is(busy: CommandLine) -> None:
    """Compared whole, but for the ages of the events, which a server stamps by its own clock."""
    shown = masked(busy.out("describe", "job-1"))
    assert re.sub(r"  \w+ ago +(?=granted)", "  AGO  ", shown) == (
        "ID:         job-1\n"
        "Pool:       default\n"
        "Owner:      ctl-1\n"
        "Status:     Live\n"
        "Resources:\n"
        "  cpu     2\n"
        "  memory  4Gi\n"
        f"Fence:      {FENCE}\n"
        "Granted:    2026-01-01T00:00:00.000Z (2m ago)\n"
        "TTL:        10m\n"
        "Deadline:   2026-01-01T00:10:00.000Z (in 8m)\n"
        "Metadata:\n"
        "  lab  intro\n"
        "Events:\n"
        "  AGO  granted\n"
    )


def test_describe_of_what_is_due_or_pinned(busy: CommandLine) -> None:
    """A deadline that has passed reads so; what has none shows none."""
    assert "Deadline:   2026-01-01T00:01:30.000Z (30s ago)\n" in busy.out("describe", "job-3")
    assert "Deadline" not in busy.out("describe", "job-2")


def test_describe_in_json_has_the_events(busy: CommandLine) -> None:
    """Those of this allocation only."""
    document = busy.json("describe", "job-1")
    assert (document["kind"], document["id"]) == ("Allocation", "job-1")
    [event] = document["events"]
    assert (event["type"], event["id"], event["fence"]) == ("granted", "job-1", document["fence"])
    assert event["resources"]["cpu"] == {"quantity": "2", "amount": 2000}


def test_what_others_stored_cannot_drive_the_terminal(pool: CommandLine) -> None:
    """Metadata is free text: an escape sequence in it is shown, not obeyed."""
    pool("allocate", "cpu=1", "--pin", "--id", "job-1", "--meta", "note=\x1b[2J\nforged line")
    for shown in (pool.out("list", "-o", "wide"), pool.out("describe", "job-1")):
        assert "\x1b" not in shown
        assert "\\x1b[2J\\nforged line" in shown


def test_describe_of_nothing_is_not_found(pool: CommandLine) -> None:
    """Exit code 4, in a known and in an unknown pool."""
    assert pool.error("describe", "gone", code=4) == "error: no live allocation gone in pool default\n"
    assert pool.error("describe", "gone", "--pool", "none", code=4).startswith("error: ")
