"""Find out how a port wants to be spoken to, after a first connection to it failed without saying so.

A server closes a connection without TLS to its TLS port without a word, and waits for more on the reverse.  One that
wants a certificate may reset the connection before its refusal is read.  All look like a network that is down.  So one
or two more connections are made, the other way, on which no credentials are sent.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

from allocator import settings
from allocator._engine.transport.failures import AttemptFailure, speaks_no_tls, speaks_tls, wants_certificate

__all__ = ["is_worth_probing", "probe"]

_PLAIN_REPLIES: Final = (b"+PONG", b"-NOAUTH", b"-DENIED", b"-ERR", b"-LOADING", b"-MASTERDOWN", b"-BUSY")


def is_worth_probing(failure: AttemptFailure, error: BaseException) -> bool:
    """Whether a failed connection may have met the wrong protocol: it was closed, or got no reply or an odd one."""
    if failure.error.code == "not_redis":
        return True
    if not failure.transient or failure.error.code != "unavailable":
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError | FileNotFoundError | socket.gaierror):
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def probe(connection: Any, where: str) -> AttemptFailure | None:
    """The failure that says which protocol a server speaks; None if it speaks the connection's, or neither.  It blocks.

    Args:
        connection: A connection of redis-py, of which only the address and the kind are used.
        where: The server, for messages.
    """
    host, port = getattr(connection, "host", None), int(getattr(connection, "port", None) or 0)
    if not host or not port:
        return None
    secured = hasattr(connection, "check_hostname")  # redis-py's connections by TLS, blocking and asyncio
    try:
        if secured:
            with _connected(host, port) as raw:
                if _speaks_plain(raw):
                    return speaks_no_tls(where)
        return _by_tls(str(host), port, where, secured=secured)
    except (OSError, ValueError):  # it says nothing new
        return None


def _connected(host: str, port: int) -> socket.socket:
    raw = socket.create_connection((host, port), settings.PROBE_TIMEOUT_S)
    raw.settimeout(settings.PROBE_TIMEOUT_S)
    return raw


def _speaks_plain(raw: socket.socket) -> bool:
    try:
        raw.sendall(b"PING\r\n")
        return raw.recv(64).startswith(_PLAIN_REPLIES)
    except OSError:
        return False


def _by_tls(host: str, port: int, where: str, *, secured: bool) -> AttemptFailure | None:
    """What a connection by TLS without a certificate of its own shows."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        # Wrapped before it is connected: wrapping a connection that the peer resets would leave it unclosed.
        with context.wrap_socket(socket.socket(family), server_hostname=host) as tls:
            tls.settimeout(settings.PROBE_TIMEOUT_S)
            tls.connect(address)
            if not secured:
                return speaks_tls(where)
            tls.recv(1)  # nothing was asked, so only a refusal arrives
    except ssl.SSLError as error:
        if "ALERT" in str(error).upper():  # it replied by TLS
            return speaks_tls(where) if not secured else wants_certificate(where, error)
    return None
