"""The embedded server: one per user whatever happens, its data kept, its folder closed to others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allocator._engine.servers import embedded, process
from allocator._engine.servers.private import PrivateServer
from allocator._engine.servers.process import ServerReplyError, ask
from allocator.errors import BackendUnavailable
from tests.support.pretend import hide_the_wheel, talker
from tests.support.tools import needs
from tests.support.waiting import is_gone, wait_until

ROOT = Path(__file__).parents[2]
JOIN = """
from allocator._engine.servers.embedded import ensure_running
from allocator._engine.servers.process import ask
print(next(line for line in ask(ensure_running(), "INFO", "server").splitlines() if line.startswith("run_id:")))
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for the embedded servers of a test (short: pytest's are too long for a socket)."""
    made = Path(tempfile.mkdtemp(prefix="allocator-test-"))
    monkeypatch.setenv(embedded.FOLDER_VARIABLE, str(made / "state of mine"))
    monkeypatch.delenv(embedded.SWITCH_VARIABLE, raising=False)
    yield made / "state of mine"
    monkeypatch.setenv(embedded.FOLDER_VARIABLE, str(made / "state of mine"))
    for path in made.glob("*/*/server.sock"):
        with contextlib.suppress(OSError, ServerReplyError):
            ask(str(path), "SHUTDOWN", "NOSAVE")
    shutil.rmtree(made)


def pid_of_running() -> int:
    pid = embedded.status().pid
    assert pid is not None
    return pid


class TestTheSharedServer:
    def test_eight_processes_at_once_get_one_server(self, folder: Path) -> None:
        """Replicas that start together must not each get a ledger of their own."""
        command = [sys.executable, "-c", JOIN]
        joiners = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(8)]
        answers = {joiner.communicate(timeout=60)[0].strip() for joiner in joiners}
        assert [joiner.returncode for joiner in joiners] == [0] * 8
        (run_id,) = answers
        assert run_id in ask(embedded.ensure_running(), "INFO", "server")

    def test_threads_at_once_get_one_server(self, folder: Path) -> None:
        """A lock of another thread of the same process counts as any other."""
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            paths = set(pool.map(lambda _: embedded.ensure_running(), range(6)))
        assert len(paths) == 1
        assert ask(paths.pop(), "PING") == "PONG"

    def test_the_server_outlives_the_process_that_started_it(self, folder: Path) -> None:
        """It is shared: the first user of it is nothing special."""
        subprocess.run([sys.executable, "-c", JOIN], check=True, capture_output=True, cwd=ROOT)
        before = pid_of_running()
        embedded.ensure_running()
        assert pid_of_running() == before

    def test_a_killed_server_is_started_anew_with_its_data(self, folder: Path) -> None:
        """The socket that it leaves behind means nothing, and every write that had gone to the file is there."""
        path = embedded.ensure_running()
        ask(path, "SET", "key", "value")
        # With `everysec` a write is put off while an fsync is under way; then it is in the server's buffer only.
        wait_until(lambda: "aof_buffer_length:0" in ask(path, "INFO", "persistence"))
        before = pid_of_running()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: is_gone(before))
        assert Path(path).exists()
        assert not embedded.status().running
        assert embedded.ensure_running() == path
        assert ask(path, "GET", "key") == "value"
        assert pid_of_running() != before

    def test_stop_ends_it_and_the_next_start_finds_the_data(self, folder: Path) -> None:
        """Stopping is safe; stopping what is not there says so."""
        path = embedded.ensure_running()
        ask(path, "SET", "key", "value")
        pid = pid_of_running()
        assert embedded.stop() is True
        assert is_gone(pid)
        assert embedded.stop() is False
        embedded.ensure_running()
        assert ask(path, "GET", "key") == "value"

    def test_status_says_what_runs_and_starts_nothing(self, folder: Path) -> None:
        """`embedded status` is for looking."""
        before = embedded.status()
        assert (before.running, before.pid, before.uptime_s) == (False, None, None)
        path = embedded.ensure_running()
        now = embedded.status()
        server = embedded.find_server()
        assert now.running
        assert (now.engine, now.version) == (server.engine, server.version)
        assert now.socket == path
        assert now.folder == folder.resolve() / f"{server.engine}-{server.major}"
        assert now.uptime_s is not None

    def test_only_its_user_can_open_the_socket_and_nothing_listens_on_a_port(self, folder: Path) -> None:
        """It has no password, so nobody else may reach it; and it never evicts, as any ledger."""
        path = embedded.ensure_running()
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
        assert "tcp_port:0" in ask(path, "INFO", "server")
        assert "maxmemory_policy:noeviction" in ask(path, "INFO", "memory")

    def test_a_server_that_hangs_is_not_doubled(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It holds the lock as long as it exists: better an error than two servers on the same file."""
        embedded.ensure_running()
        pid = pid_of_running()
        monkeypatch.setattr(embedded, "START_DEADLINE_S", 0.1)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(BackendUnavailable, match="not answering") as caught:
                embedded.ensure_running()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert caught.value.code == "no_start"
        assert pid_of_running() == pid

    def test_a_server_that_cannot_start_says_why(self, folder: Path) -> None:
        """The last line of its log is what its administrator needs."""
        embedded.ensure_running()
        embedded.stop()
        (manifest,) = embedded.status().folder.glob("appendonlydir/*.manifest")
        manifest.write_text("nonsense\n")
        with pytest.raises(BackendUnavailable, match=r"ended while it started: .*\w") as caught:
            embedded.ensure_running()
        assert caught.value.code == "no_start"
        assert "\n" not in str(caught.value)

    def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_one(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same one for all processes, whatever their temporary folder is."""
        monkeypatch.setenv(embedded.FOLDER_VARIABLE, str(folder / ("deep" * 30)))
        path = embedded.ensure_running()
        try:
            assert len(path) <= process.SOCKET_PATH_MAX
            assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
            assert embedded.status().folder.is_relative_to(folder.resolve())
            monkeypatch.setenv("TMPDIR", str(folder))
            assert embedded.ensure_running() == path
        finally:
            embedded.stop()
            shutil.rmtree(Path(path).parent)

    @needs("redis-server")
    def test_the_program_on_the_path_serves_where_there_is_no_wheel(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On musl there is no wheel.  Another engine has a folder of its own: it may not read the other's data."""
        first = embedded.status().folder
        embedded.ensure_running()
        assert embedded.stop()
        hide_the_wheel(monkeypatch)
        monkeypatch.setattr(shutil, "which", only("redis-server"))
        path = embedded.ensure_running()
        try:
            assert embedded.status().engine == "redis"
            assert embedded.status().folder != first
            assert Path(path).parent.name == f"redis-{embedded.find_server().major}"
        finally:
            assert embedded.stop()

    def test_another_engine_that_runs_already_is_joined(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Two engines would be two ledgers: a process that finds another binary must not get one of its own."""
        other = folder / "redis-5"
        other.mkdir(parents=True, mode=0o700)
        with talker(other / "server.sock", [b"+PONG\r\n"]), caplog.at_level(logging.INFO):
            assert embedded.ensure_running() == str(other / "server.sock")
        assert "using redis-5" in caplog.text


class TestWaitingForOthers:
    def test_a_server_that_is_loading_is_waited_for(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever comes while a large file is read joins, however long that takes."""
        monkeypatch.setattr(embedded, "START_DEADLINE_S", 0.0)
        place = embedded.status()
        with hold_lock(place.folder), talker(Path(place.socket), [b"-LOADING data\r\n"] * 5 + [b"+PONG\r\n"]) as asked:
            assert embedded.ensure_running() == place.socket
        assert len(asked) == 6

    def test_a_lock_that_is_held_without_a_server_is_an_error_in_time(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No call waits for ever, and the message says where to look."""
        monkeypatch.setattr(embedded, "START_DEADLINE_S", 0.05)
        place = embedded.status()
        with hold_lock(place.folder), pytest.raises(BackendUnavailable, match=r"server\.lock.*not listening"):
            embedded.ensure_running()


class TestRefusals:
    def test_without_a_program_one_line_names_the_extra(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The reader has just typed a command: this tells the next one."""
        hide_the_wheel(monkeypatch)
        monkeypatch.setenv("PATH", "")
        for call in (embedded.ensure_running, embedded.status, embedded.stop, PrivateServer):
            with pytest.raises(BackendUnavailable) as caught:
                call()
            assert caught.value.code == "no_server"
            assert "pip install 'redis-resource-allocator[embedded]'" in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_it_can_be_forbidden(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In production a forgotten URL must be an error, not a ledger on the wrong machine."""
        monkeypatch.setenv(embedded.SWITCH_VARIABLE, "0")
        with pytest.raises(BackendUnavailable, match="ALLOCATOR_EMBEDDED=0") as caught:
            embedded.ensure_running()
        assert caught.value.code == "embedded_off"
        assert not folder.exists()


class TestTheFolder:
    def test_it_is_the_users_state_folder_unless_one_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the XDG specification has it: a relative state folder counts as none."""
        monkeypatch.delenv(embedded.FOLDER_VARIABLE, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        assert embedded.home() == tmp_path / "state" / "redis-resource-allocator"
        monkeypatch.setenv("XDG_STATE_HOME", "relative")
        assert embedded.home() == tmp_path / ".local" / "state" / "redis-resource-allocator"
        assert stat.S_IMODE(embedded.home().stat().st_mode) == 0o700
        monkeypatch.setenv(embedded.FOLDER_VARIABLE, "~/mine")
        assert embedded.home() == tmp_path / "mine"

    def test_a_folder_that_others_may_write_to_is_refused(self, folder: Path) -> None:
        """It is not closed behind the owner's back: somebody may have named a shared folder such as /tmp."""
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(BackendUnavailable, match="chmod 700") as caught:
            embedded.ensure_running()
        assert caught.value.code == "unsafe_folder"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777

    def test_a_folder_of_another_user_is_refused(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who owns the folder can answer in the server's place."""
        folder.mkdir()
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        with pytest.raises(BackendUnavailable, match="another user") as caught:
            embedded.ensure_running()
        assert caught.value.code == "unsafe_folder"

    def test_the_folder_of_an_engine_is_closed_to_others(self, folder: Path) -> None:
        """That one is ours by its name, so it is closed if somebody has opened it."""
        inner = embedded.status().folder
        inner.chmod(0o777)
        embedded.status()
        assert stat.S_IMODE(inner.stat().st_mode) == 0o700

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_what_is_no_folder_is_refused(self, folder: Path, kind: str) -> None:
        """A link in the place of our folder leads to somebody else's."""
        inner = embedded.status().folder
        inner.rmdir()
        if kind == "file":
            inner.touch()
        else:
            elsewhere = folder / "elsewhere"
            elsewhere.mkdir()
            inner.symlink_to(elsewhere)
        with pytest.raises(BackendUnavailable) as caught:
            embedded.ensure_running()
        assert caught.value.code in ("no_folder", "unsafe_folder")


# -- helpers -----------------------------------------------------------------------------------------------------------


def only(name: str) -> Callable[[str], str | None]:
    """A `shutil.which` that finds one program."""
    which = shutil.which
    return lambda wanted: which(name) if wanted == name else None


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of an embedded server, as a running one does."""
    with embedded._try_lock(folder / "server.lock") as descriptor:
        assert descriptor is not None
        yield
