"""Hosts of a network of their own, whose cables can be pulled: network namespaces around a bridge.

A `Network` is a hub with a bridge, and hosts 10.77.0.1, 10.77.0.2, ... on it, each in a namespace of its own.  Nothing
of it is seen by, or reaches, the machine's own network.  Servers *and clients* must run inside the hosts
(`Host.command`); a server's unix socket reaches it from outside, whatever was cut, which is how a test looks at it.

Namespaces outlive the process that made them.  Their names carry its pid, so the next `Network` removes what a dead
process has left.  Making them needs root; `missing()` says what stands in the way.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, Self

from tests.support.servers import Engine, Server, binary
from tests.support.waiting import is_gone

__all__ = ["SENTINEL_PORT", "Host", "HostedSentinel", "HostedServer", "Network", "missing"]

_NAME: Final = re.compile(r"allocnet-(\d+)-\d+-\w+")
"""The names of our namespaces: the pid of their maker, which of its networks, which host."""

_PORT: Final = 6379
"""Of every hosted server: hosts do not share ports."""

SENTINEL_PORT: Final = 26379

_numbers = itertools.count(1)


def _ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def missing() -> str:
    """Why there can be no network here; "" where there can."""
    for program in ("ip", "iptables"):
        if not shutil.which(program):
            return f"the program {program} is not installed"
    try:
        with Network(1) as network:
            network.hosts[0].run("iptables", "-L", "-n")
    except AssertionError as error:
        return str(error)
    return ""


def _remove_stale() -> None:
    """Remove the namespaces whose maker is gone."""
    for line in _ip("netns", "list", check=False).splitlines():
        name = line.split(" ")[0]
        match = _NAME.fullmatch(name)
        if match and is_gone(int(match[1])):
            _ip("netns", "delete", name, check=False)


class Host:
    """One host of a network: a namespace and its address."""

    def __init__(self, namespace: str, number: int) -> None:
        self.namespace = namespace
        self.number = number
        self.address = f"10.77.0.{number}"

    def __repr__(self) -> str:
        return f"Host({self.address})"

    def command(self, *words: str) -> list[str]:
        """The command line that runs a program on this host; it replaces itself by the program."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def run(self, *words: str) -> str:
        """Run a program on this host and return what it prints."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(words)} on {self!r}: {done.stderr.strip()}")
        return done.stdout


class Network:
    """So many hosts, which all reach each other until something is cut.  `heal` undoes every cut."""

    def __init__(self, size: int = 3) -> None:
        """Describe it; `start` or `with` makes it."""
        name = f"allocnet-{os.getpid()}-{next(_numbers)}"
        self._hub = f"{name}-hub"
        self.hosts = tuple(Host(f"{name}-h{number}", number) for number in range(1, size + 1))

    def start(self) -> Self:
        """Make the namespaces, the bridge and the cables."""
        _remove_stale()
        try:
            self._make_namespace(self._hub)
            _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
            _ip("-n", self._hub, "link", "set", "bridge", "up")
            for host in self.hosts:
                self._make_namespace(host.namespace)
                self._connect(host)
        except BaseException:
            self.close()
            raise
        return self

    def _make_namespace(self, name: str) -> None:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def _connect(self, host: Host) -> None:
        cable = self._cable(host)
        _ip(
            *("-n", self._hub, "link", "add", cable, "type", "veth"),
            *("peer", "name", "eth0", "netns", host.namespace),
        )
        _ip("-n", self._hub, "link", "set", cable, "master", "bridge", "up")
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.namespace, "link", "set", "eth0", "up")

    @staticmethod
    def _cable(host: Host) -> str:
        return f"v{host.number}"

    # -- cuts --------------------------------------------------------------------------------------------------------

    def cut(self, host: Host) -> None:
        """Pull the host's cable: it reaches itself only.  Nobody is told; what is sent vanishes."""
        _ip("-n", self._hub, "link", "set", self._cable(host), "down")

    def mute(self, host: Host) -> None:
        """Nobody hears what this host says, while it hears the others."""
        for other in self.hosts:
            if other is not host:
                other.run("iptables", "-A", "INPUT", "-s", host.address, "-j", "DROP")

    def deafen(self, host: Host) -> None:
        """This host hears nobody, while the others hear it."""
        for other in self.hosts:
            if other is not host:
                host.run("iptables", "-A", "INPUT", "-s", other.address, "-j", "DROP")

    def heal(self) -> None:
        """Undo every cut."""
        for host in self.hosts:
            _ip("-n", self._hub, "link", "set", self._cable(host), "up")
            host.run("iptables", "-F", "INPUT")

    # -- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Remove it all.  What still runs inside goes on, unconnected.  Repeating is harmless."""
        for host in self.hosts:
            _ip("-n", self._hub, "link", "delete", self._cable(host), check=False)
            _ip("netns", "delete", host.namespace, check=False)
        _ip("netns", "delete", self._hub, check=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


class HostedServer(Server):
    """A server on a host, at its port 6379; from outside it is reached by its unix socket."""

    def __init__(
        self, host: Host, engine: Engine | None = None, *, port: int = _PORT, options: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(engine, options={"bind": host.address, **(options or {})})
        self.host = host
        self.port = port

    @property
    def tcp_url(self) -> str:
        """The URL by which the hosts reach it."""
        return f"redis://{self.host.address}:{self.port}/0"

    def _command_line(self) -> list[str]:
        return self.host.command(*super()._command_line())


class HostedSentinel(HostedServer):
    """A Sentinel on a host, at its port 26379."""

    def __init__(
        self, host: Host, engine: Engine, primary: HostedServer, *, name: str, settings: Sequence[str]
    ) -> None:
        """Describe it.

        Args:
            host: Where it runs.
            engine: Which program; a server's becomes a Sentinel when it is told so.
            primary: The server that it begins with.
            name: What it calls the primary.
            settings: Further lines of its configuration, each without `sentinel` and with `{name}` for the name.
        """
        super().__init__(host, engine, port=SENTINEL_PORT)
        self._lines = [
            f"bind {host.address}",
            f"port {SENTINEL_PORT}",
            f"unixsocket {self.socket}",
            f"dir {self.folder}",
            "protected-mode no",
            f"sentinel monitor {name} {primary.host.address} {primary.port} 2",
            *(f"sentinel {line.format(name=name)}" for line in settings),
        ]

    def _command_line(self) -> list[str]:
        program = binary(self.engine)
        assert program is not None, f"{self.engine} is not installed"
        written = self.folder / "sentinel.conf"  # it notes there what it learns
        if not written.exists():
            written.write_text("\n".join(self._lines) + "\n")
        return self.host.command(str(program), str(written), "--sentinel")
