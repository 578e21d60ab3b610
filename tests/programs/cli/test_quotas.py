"""quota set, list, tree, delete; move; --scope of the other commands."""

from __future__ import annotations

import pytest

from allocator.apps.cli import quotas
from tests.programs.cli.conftest import CommandLine, masked


@pytest.fixture
def teams(cli: CommandLine) -> CommandLine:
    """A pool of 32 CPUs; team-a has 16 and lends 4 of them, alice at most 4 CPUs and two allocations."""
    cli("pool", "create", "cpu=32", "memory=128Gi")
    cli("quota", "set", "team-a", "cpu=16", "--borrow", "cpu=any", "--lend", "cpu=4")
    cli("quota", "set", "team-a/alice", "cpu=4", "allocations=2")
    cli("quota", "set", "team-b", "memory=64Gi", "--borrow", "memory=16Gi")
    return cli


def test_the_tree_is_read_by_people(teams: CommandLine) -> None:
    """Indented below the pool; the wide format names the scope in each row, and has the limits."""
    teams("allocate", "cpu=3", "memory=4Gi", "--pin", "--id", "x", "--scope", "team-a/alice")
    assert teams.out("quota", "tree") == (
        "SCOPE         RESOURCE     NOMINAL  USED  BORROWED  LENT  KEPT  AVAILABLE\n"
        "pool default  cpu          32       12    -         -     9     20\n"
        "              memory       128Gi    4Gi   -         -     0     124Gi\n"
        "  team-a      cpu          16       3     0         0     0     29\n"
        "              memory       -        4Gi   0         0     0     124Gi\n"
        "              allocations  -        1     0         0     0     -\n"
        "    alice     cpu          4        3     0         0     0     1\n"
        "              memory       -        4Gi   0         0     0     124Gi\n"
        "              allocations  2        1     0         0     0     1\n"
        "  team-b      memory       64Gi     0     0         0     0     80Gi\n"
        "              allocations  -        0     0         0     0     -\n"
    )
    wide = teams.out("quota", "tree", "team-a/alice", "-o", "wide").splitlines()
    assert wide[0].split()[-3:] == ["ALLOCATED", "BORROWING", "LENDING"]
    assert [line.split()[0] for line in wide[3:]] == ["alice"] * 3
    assert len({len(line.split()) - line.startswith("pool") for line in wide}) == 1


def test_the_tree_is_nested_for_programs(teams: CommandLine) -> None:
    """Each scope with those below it; `-o name` has one a line."""
    tree = teams.json("quota", "tree")
    assert (tree["kind"], tree["pool"]["pool"]) == ("QuotaTree", "default")
    assert [one["scope"] for one in tree["scopes"]] == ["team-a", "team-b"]
    (alice,) = tree["scopes"][0]["scopes"]
    assert alice["resources"]["cpu"]["nominal"] == {"quantity": "4", "amount": 4000}
    assert tree["pool"]["resources"]["cpu"]["kept"] == {"quantity": "12", "amount": 12000}
    assert teams.out("quota", "tree", "-q") == "team-a\nteam-a/alice\nteam-b\n"
    listed = teams.json("quota", "list", "team-a")
    assert (listed["kind"], [one["scope"] for one in listed["items"]]) == ("QuotaList", ["team-a", "team-a/alice"])
    assert "scope: team-b\n" in teams.out("quota", "list", "team-b", "-o", "yaml")


def test_a_narrow_terminal_gets_a_row_for_each_resource(teams: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the scope in each, as there are no columns."""
    monkeypatch.setattr(quotas, "room", lambda _: 40)
    lines = teams.out("quota", "tree").splitlines()
    assert max(map(len, lines)) <= 40
    assert "  team-a cpu" in lines
    assert "    alice allocations" in lines


def test_a_pool_without_scopes_says_how_to_make_one(cli: CommandLine) -> None:
    """On stderr; the list is empty."""
    cli("pool", "create", "cpu=1")
    result = cli("quota", "list")
    assert result.stdout == ""
    assert result.stderr == "no scopes in pool default; 'quota set SCOPE cpu=4' makes one\n"
    assert cli.json("quota", "list")["items"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("memory=1",), "memory: '1' is 1 byte"),
        (("cpu",), "not of the form RESOURCE=QUANTITY"),
        (("CPU=1",), "differs from 'cpu' by its case only"),
        (("cpu=1", "cpu=2"), "'cpu' is given twice"),
        (("cpu=1", "--borrow", "memory=1Gi"), "--borrow memory: it has no quantity here"),
        (("cpu=none", "--lend", "cpu=1"), "--lend cpu: it has no quantity here"),
        (("cpu=-1",), "cpu"),
        (("cpu=33",), "the share is above the 32 of the pool"),
        (("cpu=32", "--lend", "cpu=0"), "44 would be guaranteed below the pool"),
        (("gpu=1",), "does not count 'gpu'"),
        (("cpu=1", "--generation", "0"), "'0' is not a whole number"),
    ],
)
def test_wrong_limits_are_wrong_usage(teams: CommandLine, words: tuple[str, ...], message: str) -> None:
    """Exit code 2, and nothing is made."""
    assert message in teams.error("quota", "set", "team-c", *words, code=2)
    assert teams.out("quota", "list", "-q") == "team-a\nteam-a/alice\nteam-b\n"


def test_a_resource_is_set_as_a_whole(teams: CommandLine) -> None:
    """A quantity alone is a maximum again; `none` removes it."""
    assert teams.json("quota", "set", "team-b", "memory=64Gi")["resources"]["memory"]["borrowingLimit"]["amount"] == 0
    made = teams.json("quota", "set", "team-b", "memory=none", "cpu=8", "--borrow", "cpu=any")
    assert made["resources"]["memory"]["nominal"] is None
    assert (made["resources"]["cpu"]["borrowingLimit"], made["outcome"], made["generation"]) == (None, "set", 3)


def test_a_dry_run_says_who_would_be_over(teams: CommandLine) -> None:
    """And changes nothing; the real one warns the same."""
    teams("allocate", "cpu=3", "--pin", "--scope", "team-a/alice")
    dry = teams("quota", "set", "team-a/alice", "cpu=1", "--dry-run")
    assert dry.stdout.startswith("scope team-a/alice unchanged, as --dry-run only shows (generation 2)\n")
    assert dry.stderr.startswith("warning: scope team-a/alice would be above its limit by cpu=2")
    assert teams.json("quota", "list", "team-a/alice")["items"][0]["generation"] == 1
    done = teams("quota", "set", "team-a/alice", "cpu=1", "--generation", "1")
    assert "warning: scope team-a/alice is above its limit by cpu=2" in done.stderr
    failed = teams.error("quota", "set", "team-a/alice", "cpu=1", "--generation", "1", code=1)
    assert failed == (
        "error: quota 'team-a/alice' has generation 2, not 1\nhint: 'quota list -o wide' has the present generation\n"
    )


def test_a_scope_is_deleted_once_it_is_empty(teams: CommandLine) -> None:
    """The hint says how to see what is in it."""
    assert "has scopes below it" in teams.error("quota", "delete", "team-a", code=1)
    assert teams.out("quota", "delete", "team-a/alice") == "scope team-a/alice deleted\n"
    assert teams.error("quota", "delete", "team-z", code=4) == (
        "error: pool default has no scope team-z\nhint: 'quota tree' shows the scopes there are\n"
    )
    assert teams.out("quota", "delete", "team-z", "--ignore-not-found") == "scope team-z absent\n"


def test_what_a_quota_denies_has_a_hint_of_its_own(teams: CommandLine) -> None:
    """By what can be done: wait, or change the limits."""
    assert teams.error("allocate", "cpu=5", "--pin", "--scope", "team-a/alice", code=3) == (
        "error: never fits: pool default, quota team-a/alice: cpu requested=5 available=4 short=1 "
        "(allocated=0 capacity=4)\n"
        "hint: waiting will not help: 'quota tree team-a/alice' has its limits, 'quota set' changes them\n"
    )
    granted = teams.out("allocate", "cpu=3", "--pin", "--id", "x", "--scope", "team-a/alice")
    assert "owner=anonymous scope=team-a/alice fence=" in masked(granted)
    assert teams.error("allocate", "cpu=2", "--pin", "--scope", "team-a/alice", code=3).endswith(
        "hint: 'list --scope team-a/alice' shows what is allocated there; "
        "'check --explain' with the same request says when it will fit\n"
    )


def test_an_unknown_scope_is_not_found(teams: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4; at a terminal the scope that was probably meant is named."""
    for words in (("allocate", "cpu=1", "--pin"), ("check", "cpu=1")):
        assert teams.error(*words, "--scope", "team-a/alcie", code=4) == (
            "error: pool 'default' has no scope 'team-a/alcie'\n"
            "hint: 'quota tree' shows the scopes there are; 'quota set SCOPE cpu=4' makes one\n"
        )
    monkeypatch.setattr("allocator.apps.cli.root.at_terminal", lambda: True)
    said = teams.error("allocate", "cpu=1", "--pin", "--scope", "team-a/alcie", code=4)
    assert "hint: was team-a/alice meant? " in said
    assert teams.error("allocate", "cpu=1", "--pin", "--scope", "a//b", code=2).startswith("error: Invalid value")


def test_check_explains_which_level_is_short(teams: CommandLine) -> None:
    """Level, resource, requested, allocated, kept, limit, short."""
    teams("allocate", "cpu=3", "--ttl", "10m", "--scope", "team-a/alice")
    lines = teams.out("check", "cpu=2", "--scope", "team-a/alice", "--explain", code=3).splitlines()
    assert lines[1:3] == [
        "LEVEL               RESOURCE  REQUESTED  ALLOCATED  KEPT  LIMIT  SHORT",
        "quota team-a/alice  cpu       2          3          0     4      1",
    ]
    assert lines[3].startswith("fits at ")
    lines = teams.out("check", "cpu=21", "--explain", code=3).splitlines()
    assert lines[2] == "pool default  cpu       21         3          9     32     1"
    (short,) = teams.json("check", "cpu=21", code=3)["denial"]["shortages"]
    assert (short["level"], short["kept"]["amount"]) == ("pool", 9000)


def test_lists_and_usage_by_scope(teams: CommandLine) -> None:
    """A scope and those below it; a column only where there is a scope."""
    teams("allocate", "cpu=1", "--pin", "--id", "free")
    assert "SCOPE" not in teams.out("list")
    teams("allocate", "cpu=1", "--pin", "--id", "x", "--scope", "team-a/alice")
    teams("allocate", "memory=1Gi", "--pin", "--id", "y", "--scope", "team-b")
    assert [line.split()[2] for line in teams.out("list", "--sort-by", "id").splitlines()] == [
        "SCOPE", "-", "team-a/alice", "team-b",
    ]  # fmt: skip
    assert teams.out("list", "--scope", "team-a", "-q") == "x\n"
    assert teams.out("list", "--scope", "team-b", "-q") == "y\n"
    assert teams.error("list", "--scope", "team-*", code=2).startswith("error: Invalid value")
    assert "Scope:      team-a/alice\n" in teams.out("describe", "x")
    shown = teams.out("usage", "--by", "scope")
    assert shown.startswith("RESOURCE  ALLOCATED")
    assert "\nteam-a/alice  cpu" in shown
    assert [one["scope"] for one in teams.json("usage", "--by", "scope")["scopes"]] == [
        "team-a", "team-a/alice", "team-b",
    ]  # fmt: skip


def test_an_allocation_is_moved(teams: CommandLine) -> None:
    """To a scope, or to the pool alone; a denial leaves it where it is."""
    teams("allocate", "cpu=5", "--pin", "--id", "x", "--scope", "team-a")
    assert "quota team-a/alice" in teams.error("move", "x", "team-a/alice", code=3)
    assert teams.out("move", "x", "team-b") == "x moved to scope team-b\n"
    assert teams.json("move", "x", "--no-scope")["scope"] is None
    assert "give either SCOPE, or --no-scope" in teams.error("move", "x", code=2)
    assert "give either SCOPE, or --no-scope" in teams.error("move", "x", "team-b", "--no-scope", code=2)
    teams.error("move", "nothing", "team-b", code=4)
    teams.error("move", "x", "nobody", code=4)


def test_a_pool_has_a_default_scope_and_may_require_one(teams: CommandLine) -> None:
    """`pool show` says so, and `pool create` compares it."""
    teams("pool", "set", "--default-scope", "team-b", "--require-scope")
    shown = teams.out("pool", "show")
    assert "Default scope:  team-b\n" in shown
    assert "Scope:          required\n" in shown
    assert "  cpu     0 of 32, 12 kept for scopes\n" in shown
    assert "scope=team-b" in teams.out("allocate", "memory=1Gi", "--pin")
    teams("pool", "set", "--default-scope", "")
    assert "requires one" in teams.error("allocate", "cpu=1", "--pin", code=2)
    other = teams.error("pool", "create", "cpu=32", "memory=128Gi", "--no-require-scope", code=1)
    assert "--require-scope" in other
    assert "unchanged" in teams.out("pool", "create", "cpu=32", "memory=128Gi", "--require-scope")


def test_weights_and_shares_are_columns_where_there_are_any(teams: CommandLine) -> None:
    """Of a scope with and one without; `none` removes the weight."""
    teams("quota", "set", "team-b", "--weight", "3")
    assert "WEIGHT" not in teams.out("quota", "list", "team-a")
    lines = teams.out("quota", "list").splitlines()
    assert lines[0].split()[-2:] == ["WEIGHT", "SHARE"]
    assert lines[-1].split()[-2:] == ["3", "0.0%"]
    assert teams.out("quota", "tree").splitlines()[0] == lines[0].replace("  RESOURCE", "  RESOURCE")
    assert teams.json("quota", "list", "team-b")["items"][0]["share"] == {"weight": 3, "livePpm": 0, "usedPpm": 0}
    teams("quota", "set", "team-b", "--weight", "none")
    assert teams.json("quota", "list", "team-b")["items"][0]["share"] is None
    assert "--weight" in teams.error("quota", "set", "team-b", code=2)
    for weight in ("0", "-1", "1001", "nan"):
        assert "--weight" in teams.error("quota", "set", "team-b", f"--weight={weight}", code=2)
