"""allocate, renew, resize, release, check: what they print, and the code they end with."""

from __future__ import annotations

import pytest

from allocator._sync.client import Allocator
from allocator._sync.pools import Pools
from allocator.errors import BackendUnavailable
from allocator.testing import Clock
from tests.programs.cli.conftest import FENCE, CommandLine, masked


def test_an_allocation_is_reported_in_one_line_with_all_that_its_holder_needs(pool: CommandLine) -> None:
    """Whoever reads a log of these lines can tell what was granted, to whom, and until when."""
    words = ("cpu=2", "memory=4Gi", "--ttl", "10m", "--id", "job-1", "--owner", "ctl-1")
    assert masked(pool.out("allocate", *words)) == (
        f"job-1 granted: cpu=2,memory=4Gi owner=ctl-1 fence={FENCE} ttl=10m deadline=2026-01-01T00:10:00.000Z\n"
    )


def test_a_pinned_allocation_says_so(pool: CommandLine) -> None:
    """Both spellings of "no deadline" mean the same."""
    assert pool.out("allocate", "cpu=1", "--pin", "--id", "a").endswith(" pinned\n")
    assert pool.out("allocate", "cpu=1", "--ttl", "none", "--id", "b").endswith(" pinned\n")


@pytest.mark.parametrize("options", [(), ("--pin", "--ttl", "10m")])
def test_a_time_to_live_or_a_pin_must_be_chosen(pool: CommandLine, options: tuple[str, ...]) -> None:
    """A default would either leak when the holder dies, or take from a holder who did not know that he must renew."""
    stderr = pool.error("allocate", "cpu=1", *options, code=2)
    assert stderr.startswith("error: give either --ttl DURATION (it ends by itself unless it is renewed) or --pin")
    assert stderr.endswith("hint: see 'resource-allocator allocate --help'\n")


def test_the_same_allocate_again_is_the_same_allocation(pool: CommandLine, clock: Clock) -> None:
    """A cron job or a reconcile loop may repeat the command with its id."""
    command = ("allocate", "cpu=2", "--ttl", "10m", "--id", "job-1")
    pool(*command)
    clock.advance(60)
    assert masked(pool.out(*command)) == (
        f"job-1 existing: cpu=2 owner=anonymous fence={FENCE} ttl=10m deadline=2026-01-01T00:11:00.000Z\n"
    )


def test_another_request_under_a_live_id_is_an_error(pool: CommandLine) -> None:
    """Silently keeping the old amounts would be a lie."""
    pool("allocate", "cpu=2", "--pin", "--id", "job-1")
    stderr = pool.error("allocate", "cpu=3", "--pin", "--id", "job-1", code=1)
    assert stderr.startswith("error: ")
    assert stderr.endswith(
        "hint: take another --id, or release that one first; 'resize' changes the amounts of your own\n"
    )


def test_an_allocation_in_json_has_its_amounts_twice_and_its_instants_in_utc(pool: CommandLine) -> None:
    """Programs compare integers and show texts; neither should have to compute the other."""
    document = pool.json("allocate", "cpu=500m", "--ttl", "90s", "--id", "job-1", "--meta", "lab=intro to = signs")
    fence = document.pop("fence")
    assert isinstance(fence, int)
    assert document == {
        "apiVersion": "allocator/v1",
        "kind": "Allocation",
        "id": "job-1",
        "pool": "default",
        "owner": "anonymous",
        "status": "Live",
        "resources": {"cpu": {"quantity": "500m", "amount": 500}},
        "grantedAt": "2026-01-01T00:00:00.000Z",
        "ttlMs": 90_000,
        "created": True,
        "deadline": "2026-01-01T00:01:30.000Z",
        "metadata": {"lab": "intro to = signs"},
        "epoch": pool.json("pool", "show")["epoch"],
        "releasingAt": None,
        "durability": "memory",
        "scope": None,
        "endsAt": None,
        "priority": 0,
        "preemptedBy": None,
        "outcome": "granted",
    }


def test_a_hard_end_is_shown_wherever_the_deadline_is(pool: CommandLine, clock: Clock) -> None:
    """With the allocation, in the list, in its description, in JSON, and where a renewal is cut."""
    assert pool.out("allocate", "cpu=1", "--ttl", "10m", "--max-lifetime", "15m", "--id", "a").endswith(
        " ttl=10m deadline=2026-01-01T00:10:00.000Z ends=2026-01-01T00:15:00.000Z\n"
    )
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "b")
    clock.advance(360)
    assert pool.out("renew", "a") == "a renewed until 2026-01-01T00:15:00.000Z, its hard end\n"
    header, row, other = pool.out("list", "--sort-by", "id").splitlines()
    assert header.split()[-3:] == ["LEFT", "ENDS", "IN"]
    assert row.split()[-2:] == ["9m", "9m"]
    assert other.split()[-2:] == ["4m", "-"]
    assert "2026-01-01T00:15:00.000Z" in pool.out("list", "-o", "wide")
    assert "Hard end:   2026-01-01T00:15:00.000Z (in 9m)" in pool.out("describe", "a")
    assert "Hard end" not in pool.out("describe", "b")
    assert [one["endsAt"] for one in pool.json("list", "--sort-by", "id")["items"]] == [
        "2026-01-01T00:15:00.000Z",
        None,
    ]
    assert pool.json("renew", "a")["leftMs"] == 540_000
    clock.advance(540)
    assert pool.error("renew", "a", code=1).startswith("error: allocation 'a' is over: its hard end")


def test_a_hard_end_that_a_live_allocation_does_not_get_is_a_note(pool: CommandLine, clock: Clock) -> None:
    """Its grant has decided."""
    words = ("allocate", "cpu=1", "--ttl", "10m", "--id")
    pool(*words, "a", "--max-lifetime", "15m")
    pool(*words, "b")
    clock.advance(60)
    assert pool(*words, "a", "--max-lifetime", "15m").stderr == ""
    assert pool(*words, "a", "--max-lifetime", "1h").stderr == (
        "note: --max-lifetime is ignored: a ends at 2026-01-01T00:15:00.000Z at the latest, as its grant said\n"
    )
    assert pool(*words, "b", "--max-lifetime", "1h").stderr == (
        "note: --max-lifetime is ignored: b has no hard end, as its grant said\n"
    )
    assert "is not within 1s and" in pool.error(*words, "c", "--max-lifetime", "0s", code=2)


def test_quiet_prints_the_id_and_nothing_else(pool: CommandLine) -> None:
    """`id=$(resource-allocator allocate ... -q)` must work."""
    assert pool.out("allocate", "cpu=1", "--pin", "--id", "job-1", "-q") == "job-1\n"
    assert pool.out("-q", "release", "job-1") == "job-1\n"


def test_a_refusal_has_the_numbers_on_stderr_and_its_own_exit_code(pool: CommandLine) -> None:
    """Scripts branch on 3; people read how much was missing, and whether waiting helps."""
    pool("allocate", "cpu=30", "--pin")
    assert pool.error("allocate", "cpu=4", "--ttl", "10m", code=3) == (
        "error: capacity exceeded: pool default: cpu requested=4 available=2 short=2 (allocated=30 capacity=32)\n"
        "hint: 'check --explain' with the same request says when it will fit\n"
    )
    assert pool.error("allocate", "cpu=33", "--ttl", "10m", code=3) == (
        "error: never fits: pool default: cpu requested=33 available=2 short=31 (allocated=30 capacity=32)\n"
        "hint: waiting will not help: 'pool show' has the capacity, 'pool set' changes it\n"
    )


def test_a_refusal_in_json_is_data(pool: CommandLine) -> None:
    """A program that asked for JSON gets the numbers as numbers, besides the message."""
    document = pool.json("allocate", "cpu=33", "--ttl", "10m", code=3)
    assert (document["kind"], document["code"], document["never"]) == ("Denial", "never_fits", True)
    [short] = document["shortages"]
    assert (short["resource"], short["level"]) == ("cpu", "pool")
    assert short["requested"] == {"quantity": "33", "amount": 33_000}
    assert short["short"] == {"quantity": "1", "amount": 1_000}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cpu=2x", "--pin"), "error: cpu: '2x' is not a quantity"),
        (
            ("cpu", "--pin"),
            "error: Invalid value for 'RESOURCE=QUANTITY...': 'cpu' is not of the form RESOURCE=QUANTITY, ",
        ),
        (("cpu=1", "cpu=2", "--pin"), "error: 'cpu' is given twice"),
        (("memory=512", "--pin"), "error: memory: '512' is 512 bytes, for it has no unit: was '512Mi' or '512Gi' mea"),
        (("cpu=1", "--ttl", "10"), "error: Invalid value for '--ttl': '10' is not a duration"),
        (("cpu=1", "--ttl", "100ms"), "error: Invalid value for '--ttl': '100ms' is not a duration"),
        (("cpu=1", "--ttl", "90d"), "error: Invalid value for '--ttl': '90d' is not within 1s and 30d; --pin is for "),
        (("cpu=1", "--ttl", "0s"), "error: Invalid value for '--ttl': '0s' is not within 1s and 30d; --pin is for "),
        (("cpu=1", "--pin", "--id", "a b"), "error: id: 'a b'"),
        (("cpu=1", "--pin", "--meta", "x"), "error: Invalid value for '--meta': 'x' is not of the form KEY=VALUE"),
        (("--pin",), "error: Missing argument 'RESOURCE=QUANTITY...'"),
    ],
)
def test_wrong_input_is_refused_with_what_was_typed(pool: CommandLine, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, one line, and nothing was sent."""
    assert pool.error("allocate", *words, code=2).startswith(said)
    assert pool.json("usage")["allocations"] == 0


def test_check_says_yes_or_no_and_why(pool: CommandLine) -> None:
    """It answers as `allocate` would, and changes nothing."""
    assert pool.out("check", "cpu=32") == "yes\n"
    pool("allocate", "cpu=30", "--ttl", "10m")
    no = pool("check", "cpu=4", code=3)
    assert no.stderr == "hint: 'check --explain' with the same request says when it will fit\n"
    assert (
        pool("check", "cpu=99", code=3).stderr == pool("allocate", "cpu=99", "--pin", code=3).stderr.split("\n", 1)[1]
    )
    assert no.stdout == (
        "no: capacity exceeded: pool default: cpu requested=4 available=2 short=2 (allocated=30 capacity=32)\n"
    )
    assert pool.out("check", "cpu=4", "--explain", code=3).endswith(
        "fits at 2026-01-01T00:10:00.000Z at the latest, unless others come first or renew\n"
    )
    assert pool.out("check", "cpu=4", "-q", code=3) == ""
    document = pool.json("check", "cpu=4", "--explain", code=3)
    assert (document["fits"], document["fitsAt"]) == (False, "2026-01-01T00:10:00.000Z")


def test_check_says_when_no_deadline_helps(pool: CommandLine) -> None:
    """What is pinned has no deadline to wait for."""
    pool("allocate", "cpu=30", "--pin")
    assert pool.out("check", "cpu=4", "--explain", code=3).endswith("no known deadline makes it fit\n")


def test_a_denial_says_where_its_request_would_stand_in_line(pool: CommandLine) -> None:
    """On request, and when it could start there."""
    pool("allocate", "cpu=30", "--ttl", "10m")
    words = ("allocate", "cpu=4", "--pin", "--estimate")
    assert (
        "would wait in position 1, and start at 2026-01-01T00:10:00.000Z at the earliest" in pool(*words, code=3).stderr
    )
    denial = pool.json(*words, code=3)
    assert (denial["position"], denial["startAt"]) == (1, "2026-01-01T00:10:00.000Z")
    assert "would wait" not in pool("allocate", "cpu=4", "--pin", code=3).stderr
    assert pool.json("check", "cpu=4", "--explain", "--max-lifetime", "1m", code=3)["denial"]["position"] == 1


def test_renew_moves_deadlines_and_reports_those_that_are_gone(pool: CommandLine, clock: Clock) -> None:
    """One id that is gone does not keep the others from being renewed, and the exit code tells."""
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "job-1")
    clock.advance(300)
    result = pool("renew", "job-1", "gone", code=4)
    assert result.stdout == "job-1 renewed until 2026-01-01T00:15:00.000Z\n"
    assert result.stderr == "error: no live allocation gone in pool default\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("renew", "x", "--ttl", "0s"), "'--ttl': '0s' is not within 1s and 30d"),
        (("renew", "x", "--ttl", "31d"), "'--ttl': '31d' is not within 1s and 30d"),
        (("list", "--older-than", "3661d"), "'--older-than': '3661d' is not within 0s and 3660d"),
        (("cleanup", "--older-than", "3661d"), "'--older-than': '3661d' is not within 0s and 3660d"),
    ],
)
def test_a_duration_out_of_bounds_is_shown_as_it_was_typed(
    pool: CommandLine, words: tuple[str, ...], said: str
) -> None:
    """Neither in seconds nor with advice for users of the library."""
    assert pool.error(*words, code=2).splitlines()[0] == f"error: Invalid value for {said}"


def test_renew_shortens_only_when_told_to(pool: CommandLine) -> None:
    """A shorter time to live given by mistake must not end what another replica still counts on."""
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "job-1")
    assert pool.json("renew", "job-1", "--ttl", "1m")["deadline"] == "2026-01-01T00:10:00.000Z"
    assert pool.json("renew", "job-1", "--ttl", "1m", "--shorten")["deadline"] == "2026-01-01T00:01:00.000Z"


def test_a_renewal_that_shortens_nothing_says_so(pool: CommandLine, clock: Clock) -> None:
    """Whoever asked for ten seconds must not believe that it ends in ten seconds."""
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "job-1")
    pool("allocate", "cpu=1", "--ttl", "5s", "--id", "job-2")
    pool("allocate", "cpu=1", "--pin", "--id", "job-3")
    clock.advance(2)
    assert pool.out("renew", "job-1", "job-2", "job-3", "--ttl", "10s").splitlines() == [
        "job-1 kept until 2026-01-01T00:10:00.000Z (renew never shortens; --shorten does)",
        "job-2 renewed until 2026-01-01T00:00:12.000Z",
        "job-3 stays pinned: it has no deadline, and --ttl is ignored",
    ]
    told = pool.json("renew", "job-1", "--ttl", "10s")
    assert (told["outcome"], told["kept"]) == ("renewed", True)
    assert pool.json("renew", "job-2")["kept"] is False
    assert pool.out("renew", "job-1", "--ttl", "10s", "--shorten").startswith("job-1 renewed until ")


def test_a_renewal_is_reported_though_the_clock_cannot_be_read(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was done; an error in its place would be a lie."""
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "job-1")

    def fail(*_: object, **__: object) -> None:
        raise BackendUnavailable("gone")

    monkeypatch.setattr(Pools, "usage", fail)
    assert pool.out("renew", "job-1", "--ttl", "10s") == "job-1 renewed until 2026-01-01T00:10:00.000Z\n"
    assert pool.json("renew", "job-1", "--ttl", "10s")["kept"] is None


def test_resize_changes_what_is_named_and_keeps_the_rest(pool: CommandLine) -> None:
    """0 gives one resource back."""
    pool("allocate", "cpu=2", "memory=4Gi", "--pin", "--id", "job-1")
    assert " resized: cpu=4,memory=4Gi " in pool.out("resize", "job-1", "cpu=4")
    assert " resized: cpu=4 " in pool.out("resize", "job-1", "memory=0")
    assert pool.error("resize", "job-1", "cpu=40", code=3).startswith("error: never fits: ")
    assert pool.error("resize", "gone", "cpu=1", code=4).startswith("error: ")


def test_releasing_twice_is_not_found_unless_that_is_fine(pool: CommandLine) -> None:
    """A script decides whether "already gone" is an error; nothing changes either way."""
    pool("allocate", "cpu=1", "--pin", "--id", "job-1")
    assert pool.out("release", "job-1") == "job-1 released\n"
    assert pool.error("release", "job-1", code=4) == "error: no live allocation job-1 in pool default\n"
    assert pool.out("release", "job-1", "--ignore-not-found") == ""
    assert pool.json("release", "job-1", "--ignore-not-found")["outcome"] == "unknown"


def test_several_releases_are_a_list(pool: CommandLine) -> None:
    """The shape follows from the command line alone, not from what happened."""
    pool("allocate", "cpu=1", "--pin", "--id", "a")
    pool("allocate", "cpu=1", "--pin", "--id", "b")
    document = pool.json("release", "a", "gone", "b", code=4)
    assert document["kind"] == "ReleaseList"
    assert [(item["id"], item["outcome"]) for item in document["items"]] == [
        ("a", "released"),
        ("gone", "unknown"),
        ("b", "released"),
    ]


def test_a_stale_fence_changes_nothing(pool: CommandLine, client: Allocator) -> None:
    """A holder that was taken for dead must not end, change or extend its successor's allocation."""
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "job-1")
    stale = str(pool.json("describe", "job-1")["fence"])
    pool("release", "job-1", "--fence", stale)
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "job-1")
    before = client.get("job-1")
    assert before is not None
    said = f"error: allocation 'job-1' has fence {before.fence}, not {stale}\n"
    for words in (("release", "job-1"), ("renew", "job-1"), ("resize", "job-1", "cpu=2")):
        assert pool.error(*words, "--fence", stale, code=1) == said, words
    assert pool.error("begin-release", "job-1", "--grace", "5s", "--fence", stale, code=1) == said
    assert client.get("job-1") == before


def test_a_fence_is_of_one_allocation(pool: CommandLine) -> None:
    """The same fence for two ids can only be a mistake."""
    for verb in ("release", "renew"):
        assert "give one ID" in pool.error(verb, "a", "b", "--fence", "7", code=2)
