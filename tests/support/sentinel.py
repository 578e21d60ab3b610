"""A primary, its replicas and three Sentinels of real servers, formed in about two seconds."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from allocator._engine.servers.process import GuardedProcess, ServerReplyError, ask
from tests.support.servers import Engine, Server, binary, engines, free_port
from tests.support.tls import Certificates, SecuredServer
from tests.support.waiting import wait_until

__all__ = ["SERVICE", "Sentinels"]

SERVICE: Final = "ledger"
"""What the Sentinels call the primary."""

SENTINELS: Final = 3
FORM_DEADLINE_S: Final = 60.0
FORM_DOWN_MS: Final = 30_000
"""What is silent for less is not called down before all know each other: a busy machine starts slowly."""

FAILOVER_DEADLINE_S: Final = 60.0


class Sentinels:
    """One primary, `replicas` of it, and three Sentinels; all die with the test process."""

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        replicas: int = 2,
        down_after_ms: int = 500,
        options: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        """Describe it; `with` starts it.

        Args:
            engine: Which program; the newest one present by default.
            replicas: How many follow the primary.
            down_after_ms: How long a server is silent before the Sentinels call it down.
            options: Settings of every server, over ours.
            certificates: Let all of them speak TLS with each other and with clients (Debian's Redis only).
        """
        self.engine = engine or engines()[0]
        self.replicas_count = replicas
        self._down_after_ms = down_after_ms
        self._options = {"repl-diskless-sync-delay": "0", "repl-timeout": "5", **(options or {})}
        self._certificates = certificates
        self.servers: list[Server] = []
        self._sentinels: list[tuple[int, GuardedProcess]] = []
        self._ports: list[int] = []

    # -- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            first = self._server(self._options)
            self.servers.append(first.start())
            for _ in range(self.replicas_count):
                follows = {**self._options, "replicaof": f"127.0.0.1 {first.port}"}
                self.servers.append(self._server(follows).start())
            for _ in range(SENTINELS):
                self._sentinels.append(self._start_sentinel(first))
            wait_until(self._is_formed, timeout_s=FORM_DEADLINE_S, message="replicas and Sentinels know each other")
            for port, _ in self._sentinels:
                self._ask(port, "SENTINEL", "SET", SERVICE, "down-after-milliseconds", str(self._down_after_ms))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything."""
        for _, process in self._sentinels:
            process.kill()
        for server in self.servers:
            if server.running:
                server.cont()
            server.close()

    def _server(self, options: Mapping[str, str]) -> Server:
        if self._certificates is None:
            return Server(self.engine, tcp=True, options=options)
        secured = self._certificates.options() | {"tls-replication": "yes"}
        return SecuredServer(self.engine, tcp=True, options={**secured, **options})

    def _start_sentinel(self, primary: Server) -> tuple[int, GuardedProcess]:
        port = free_port()
        folder = Path(primary.folder) / f"sentinel-{port}"
        folder.mkdir()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nprotected-mode no\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {FORM_DOWN_MS}\n"
            f"sentinel failover-timeout {SERVICE} 2000\n{self._secured_lines(port)}"
        )
        program = binary(self.engine)
        assert program is not None
        return port, GuardedProcess([str(program), str(config), "--sentinel"], output=folder / "sentinel.log")

    def _secured_lines(self, port: int) -> str:
        """What a Sentinel's file says of TLS; the port without it stays, for looking."""
        self._ports.append(port if self._certificates is None else free_port())
        if self._certificates is None:
            return ""
        secured = self._certificates.options() | {"tls-replication": "yes", "tls-port": str(self._ports[-1])}
        return "".join(f"{name} {value}\n" for name, value in secured.items())

    def _is_formed(self) -> bool:
        wanted = {"status": "ok", "slaves": str(self.replicas_count), "sentinels": str(SENTINELS)}
        with contextlib.suppress(OSError, ServerReplyError):
            return all(wanted.items() <= self._told(port).items() for port, _ in self._sentinels)
        return False

    def _told(self, port: int) -> dict[str, str]:
        """What a Sentinel says of the service, by field."""
        lines = (line.partition(":") for line in self._ask(port, "INFO", "sentinel").splitlines())
        text = next(value for name, _, value in lines if name == "master0")
        return {name: value for name, _, value in (pair.partition("=") for pair in text.split(","))}

    @staticmethod
    def _ask(port: int, *words: str) -> str:
        return ask(("127.0.0.1", port), *words, timeout_s=2.0)

    # -- who is who ----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL by which our clients reach the primary."""
        scheme = "redis" if self._certificates is None else "rediss"
        return f"{scheme}+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self._ports) + f"/{SERVICE}"

    @property
    def places(self) -> list[tuple[str, int]]:
        """Where the Sentinels listen."""
        return [("127.0.0.1", port) for port in self._ports]

    @property
    def primary(self) -> Server:
        """The server that the Sentinels name."""
        named = self._told(self._sentinels[0][0])["address"].rpartition(":")[2]
        return next(server for server in self.servers if str(server.port) == named)

    @property
    def replicas(self) -> list[Server]:
        """The others that run."""
        primary = self.primary
        return [server for server in self.servers if server is not primary and server.running]

    # -- what happens to it --------------------------------------------------------------------------------------------

    def fail_over(self) -> Server:
        """An operator asks for it; returns the new primary once it is one."""
        old = self.primary
        wait_until(functools.partial(self._asked, old), timeout_s=FAILOVER_DEADLINE_S, message="a failover has begun")
        return self.wait_for_another(old)

    def _asked(self, old: Server) -> bool:
        if self.primary is not old:
            return True
        try:
            return self._ask(self._sentinels[0][0], "SENTINEL", "FAILOVER", SERVICE) == "OK"
        except ServerReplyError as error:  # one is under way, or no replica is good enough yet
            return "INPROG" in str(error) and "already" in str(error)

    def kill_primary(self) -> Server:
        """SIGKILL; returns it."""
        old = self.primary
        old.kill()
        return old

    def stop_primary(self) -> Server:
        """SIGSTOP: it keeps its connections and answers nobody; returns it, and `cont()` wakes it up."""
        old = self.primary
        old.stop_process()
        return old

    def empty_primary(self) -> Server:
        """Kill it and start it again before the Sentinels notice: it has no data, and its replicas follow it."""
        return self.primary.restart()

    def tell_sentinels(self, *words: str) -> None:
        """Send a command to each Sentinel."""
        for port, _ in self._sentinels:
            self._ask(port, *words)

    def signal_sentinels(self, number: signal.Signals, count: int = SENTINELS) -> None:
        """Send a signal to the first few Sentinels: SIGKILL, or SIGSTOP and SIGCONT."""
        for _, process in self._sentinels[:count]:
            process.signal(number)

    def wait_for_another(self, than: Server) -> Server:
        """Wait until another server is the primary by all accounts, its own too."""

        def new() -> Server | None:
            primary = self.primary
            is_one = primary is not than and primary.running and primary.info("replication")["role"] == "master"
            return primary if is_one else None

        found = wait_until(new, timeout_s=FAILOVER_DEADLINE_S, message="another primary")
        assert found is not None
        return found
