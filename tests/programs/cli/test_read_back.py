"""The library reads what the command prints."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from allocator import (
    Allocation,
    Audit,
    Check,
    Denial,
    Event,
    InvalidRequest,
    Pool,
    Reclaimed,
    Release,
    Renewal,
    Usage,
)
from tests.programs.cli.conftest import CommandLine


def test_what_is_printed_as_json_is_read_back_by_the_library(cli: CommandLine) -> None:
    """One format: a list item by item, a document as it is, with what the command adds to it."""
    cli.out("pool", "create", "cpu=4", "--whole-units", "cpu")
    granted = cli.json("allocate", "cpu=2", "--ttl", "90s", "--id", "a", "--meta", "k=v")
    listed = cli.json("list")
    (item,) = map(Allocation.from_dict, listed["items"])
    assert item == replace(Allocation.from_dict(granted), created=False)
    assert (item.id, item.resources, item.ttl_ms, item.metadata) == ("a", {"cpu": 2000}, 90_000, {"k": "v"})
    with pytest.raises(InvalidRequest, match="kind: 'AllocationList' is not 'Allocation'"):
        Allocation.from_dict(listed)
    assert Allocation.from_dict(cli.json("describe", "a")) == item
    usage = Usage.from_dict(cli.json("usage"))
    assert usage.pool == Pool.from_dict(cli.json("pool", "show"))
    assert usage.resources["cpu"].available == 2000
    assert [Pool.from_dict(one) for one in cli.json("pool", "list")["items"]] == [usage.pool]
    assert [Event.from_dict(one).kind for one in cli.json("events")["items"]] == ["created", "granted"]
    assert Audit.from_dict(cli.json("audit")).status == "clean"
    assert not Check.from_dict(json.loads(cli("check", "cpu=3", "-o", "json", code=3).stdout))
    denial = Denial.from_dict(json.loads(cli("allocate", "cpu=3", "--pin", "-o", "json", code=3).stdout))
    assert denial.shortages[0].short == 1000
    assert Renewal.from_dict(cli.json("renew", "a"))
    assert Release.from_dict(cli.json("release", "a"))
    assert Reclaimed.from_dict(json.loads(cli.out("cleanup"))) == Reclaimed(0)
