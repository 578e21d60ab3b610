"""Help, lazy loading, the missing extra: what works before any server is asked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from allocator.apps.cli.context import SENTENCE_MAX, SHARED
from allocator.apps.cli.errors import ExitCode
from allocator.apps.cli.root import COMMANDS, root
from tests.programs.cli.conftest import CommandLine

POOL_OPTIONS = (
    "--recovery-grace --max-ttl --durability --require-scope --no-require-scope --default-scope --max-lifetime "
    "--reserved --overcommit --min --max --step "
    "--queue-policy --queue-passes-max --queue-wait-max --queue-length-max --queue-backfill --queue-half-life "
    "--preemption --preempt-grace --preempt-protect"
)

OPTIONS = {
    "pool": "",
    "pool create": f"--whole-units --new {POOL_OPTIONS}",
    "pool show": "",
    "pool set": f"--remove --whole-units --no-whole-units --strict --generation {POOL_OPTIONS}",
    "pool list": "",
    "pool delete": "--force -y --yes",
    "pool upgrade": "",
    "pool end-recovery": "",
    "pool recover": "",
    "allocate": "--ttl --pin --max-lifetime --id --owner --meta --scope --durability --wait --priority --preempt "
    "--estimate",
    "run": "--ttl --max-lifetime --wait --priority --preempt --id --shared --kill-after --owner --scope --meta",
    "renew": "--ttl --fence --shorten",
    "resize": "--fence",
    "release": "--fence --ignore-not-found",
    "move": "--no-scope --fence",
    "begin-release": "--grace --fence",
    "check": "--explain --scope --priority --preempt --max-lifetime",
    "list": "--owner --scope --older-than --sort-by --reverse -w --watch",
    "describe": "",
    "quota": "",
    "quota set": "--borrow --lend --weight --generation --dry-run",
    "quota list": "",
    "quota tree": "",
    "quota delete": "--ignore-not-found",
    "queue": "",
    "queue list": "--limit -w --watch",
    "queue withdraw": "--ignore-not-found",
    "usage": "--by --history --since -w --watch",
    "top": "--read-only",
    "events": "--limit --since -f --follow -w --watch",
    "cleanup": "--all-pools --older-than --limit --dry-run",
    "reconcile": "--owner --as-of --max-released --dry-run",
    "audit": "--repair --offline --dry-run",
    "doctor": "",
    "acl": "--user --only --server --file",
    "redis-cli": "",
    "metrics": "--port --address --scopes --audit-every",
    "dashboard": "--port --address --expose --host --token-file --allow-changes",
    "embedded": "",
    "embedded status": "",
    "embedded stop": "",
    "completion": "",
}
"""Command -> its own options.  Removing one breaks somebody's script, so that is to be done on purpose."""

COMMON = "--url --pool --prefix --timeout -o --output --no-headers -q --quiet -v --verbose -h --help"


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands of ours, with their paths; the demo is another program's."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name) if name != "demo" else None
        if command is not None:
            yield f"{path}{name}", command
            if isinstance(command, click.Group):
                yield from commands(command, f"{path}{name} ")


def test_the_table_of_options_is_complete() -> None:
    """A new command or option must be entered above."""
    found = {
        path: {
            option
            for one in command.params
            if isinstance(one, click.Option)
            for option in (*one.opts, *one.secondary_opts)
        }
        for path, command in commands(root)
    }
    assert found == {path: {*own.split(), *COMMON.split()} - {"-h", "--help"} for path, own in OPTIONS.items()}


@pytest.mark.parametrize("path", OPTIONS)
def test_help_names_every_option_and_needs_no_server(cli: CommandLine, path: str) -> None:
    """Ours and the common ones, with -h as with --help."""
    shown = cli.out(*path.split(), "--help")
    assert shown.startswith(f"Usage: resource-allocator {path} ")
    words = {word.strip(",") for word in shown.split()}
    assert {*OPTIONS[path].split(), *COMMON.split()} <= words
    assert cli.out(*path.split(), "-h") == shown


def test_the_help_of_the_program_lists_all_commands(cli: CommandLine) -> None:
    """And the exit codes, which scripts are written against."""
    shown = cli.out("--help")
    for name, (_, said) in COMMANDS.items():
        assert f"  {name.ljust(max(map(len, COMMANDS)))}  {said}\n" in shown
    assert "Exit codes: 0 done (or yes), 1 error, 2 wrong usage or input, 3 denied" in shown


def test_the_manual_has_every_command_option_and_exit_code() -> None:
    """What is not in docs/cli.md is found by nobody."""
    manual = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    for path, own in OPTIONS.items():
        assert f"`{path} " in manual or f"`{path}`" in manual or path in ("pool", "embedded"), path
        for option in own.split():
            assert option in manual or option in ("-w", "-y"), (path, option)
    for option in COMMON.split():
        assert f"`{option} " in manual or f"`{option}`" in manual or option in ("-o", "--output", "-h", "--help"), (
            option
        )
    for code in ExitCode:
        assert f"| {code.value} |" in manual, code


def test_the_manual_names_every_kind_of_document() -> None:
    """A program that reads `-o json` tells documents apart by their kind."""
    folder = Path(__file__).parents[3]
    manual = (folder / "docs" / "cli.md").read_text()
    sources = "".join(path.read_text() for path in (folder / "allocator" / "apps" / "cli").glob("*.py"))
    kinds = {
        kind.removesuffix("List")
        for kind in re.findall(r'(?:document|listing|_show_each)\((?:app,)?\s*"(\w+)"', sources)
    }
    assert {"Allocation", "QuotaTree", "Renewal", "UsageHistory"} <= kinds
    assert {kind for kind in kinds if f"`{kind}`" not in manual} == set()


def test_the_first_sentence_of_each_command_fits_the_list() -> None:
    """A sentence that is cut says nothing."""
    for path, command in commands(root):
        assert not command.get_short_help_str(SENTENCE_MAX).endswith("..."), path


def test_every_command_takes_the_common_options() -> None:
    """`list --pool gpu -o json` must work as well as the other order."""
    for path, command in commands(root):
        assert set(SHARED) <= {one.name for one in command.params}, path


@pytest.mark.parametrize("words", [(), ("pool",), ("embedded",)])
def test_a_group_alone_shows_its_help_on_stderr(cli: CommandLine, words: tuple[str, ...]) -> None:
    """It is no answer, so it is no data; exit code 2."""
    assert "Usage: resource-allocator" in cli.error(*words, code=2)


def test_the_version_is_the_distributions(cli: CommandLine) -> None:
    """One line."""
    assert cli.out("--version").startswith("resource-allocator ")


def test_what_is_no_command_is_wrong_usage(cli: CommandLine) -> None:
    """With where to look."""
    assert cli.error("xyzzy", code=2) == "error: No such command 'xyzzy'.\nhint: see 'resource-allocator --help'\n"
    assert cli.error("list", "--colour", code=2).endswith("hint: see 'resource-allocator list --help'\n")


@click.command()
@click.option("--url")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def fake_demo(url: str | None, output: str) -> None:
    """Stand in for the demo."""
    click.echo(f"{url} {output}")


def test_the_demo_takes_over_what_is_given_before_it(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """But never the environment's server: it makes load, and pools of its own."""
    monkeypatch.setitem(COMMANDS, "demo", (f"{__name__}:fake_demo", ""))
    assert cli.out("demo") == "None table\n"
    assert cli.out("--url", "redis://h", "-o", "json", "demo") == "redis://h json\n"
    assert cli.out("--url", "redis://h", "demo", "--url", "redis://other") == "redis://other table\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--pool", "x"),
        ("--prefix", "x"),
        ("--timeout", "3"),
        ("--no-headers",),
        ("-q",),
        ("-v",),
        ("--url", "redis://h", "--pool", "x"),
    ],
)
def test_the_demo_refuses_what_it_would_ignore(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """A pool that is named and not used would be a surprise; the environment's is for other commands."""
    monkeypatch.setitem(COMMANDS, "demo", (f"{__name__}:fake_demo", ""))
    assert "demo takes no --" in cli.error(*words, "demo", code=2)
    monkeypatch.setenv("ALLOCATOR_POOL", "x")
    assert cli.out("demo") == "None table\n"


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_help_imports_no_command() -> None:
    """It has to come at once, whatever the demo or a later dashboard imports."""
    done = python(
        "import sys; sys.argv[1:] = ['--help']\n"
        "from allocator.apps.cli.main import main\n"
        "try: main()\n"
        "finally:\n"
        "  print(sorted(name for name in sys.modules if name.startswith('allocator.apps') or name in ('rich', 'yaml')))"
    )
    assert done.stdout.splitlines()[-1] == str(
        [
            "allocator.apps",
            *(
                f"allocator.apps.cli{module}"
                for module in ("", ".arguments", ".context", ".errors", ".main", ".output", ".program", ".root")
            ),
        ]
    )


@pytest.mark.parametrize(("package", "words"), [("click", []), ("yaml", ["pool", "list", "-q", "-o", "yaml"])])
def test_without_the_extra_one_line_says_what_to_install(package: str, words: list[str]) -> None:
    """And no traceback, also where a part of it is missing."""
    done = python(
        f"import sys; sys.modules['{package}'] = None; sys.argv[1:] = {['--url', 'memory://', *words]}\n"
        "from allocator.apps.cli.main import main\n"
        "main()"
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: resource-allocator needs the package {package}: pip install 'redis-resource-allocator[cli]'\n"
    )


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    """It would be a bug of ours, and its traceback is what is needed."""
    done = python(
        "import sys; sys.modules['allocator.settings'] = None\nfrom allocator.apps.cli.main import main\nmain()"
    )
    assert done.returncode == 1
    assert "allocator.settings" in done.stderr
    assert "pip install" not in done.stderr
