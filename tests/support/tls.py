"""Certificates of our own: an authority, a server's for localhost, a client's; openssl makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.support.servers import Server

__all__ = ["Certificates", "SecuredServer"]

_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class SecuredServer(Server):
    """A server whose port speaks TLS only; its unix socket stays as it is."""

    @property
    def secured_url(self) -> str:
        """The URL of the port, without the options that `Certificates.query` gives."""
        return f"rediss://localhost:{self.port}"

    def _command_line(self) -> list[str]:
        words = super()._command_line()
        at = words.index("--port")
        return [*words[:at], "--port", "0", "--tls-port", *words[at + 1 :]]


class Certificates:
    """What a folder holds: `ca`, `server` and `client`, each a `.crt` and a `.key`."""

    def __init__(self, folder: Path) -> None:
        """Make them."""
        self.folder = folder
        self._run("req", "-x509", *_CURVE, "-subj", "/CN=test authority", *self._out("ca"))
        for name in ("server", "client"):
            request = str(folder / f"{name}.csr")
            key = str(self.key(name))
            self._run("req", *_CURVE[:-2], "-subj", f"/CN={name}", "-keyout", key, "-out", request)
            extensions = folder / f"{name}.ext"
            extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            authority = ("-CA", str(self.crt("ca")), "-CAkey", str(self.key("ca")), "-CAcreateserial")
            words = ("-req", "-in", request, "-days", "2", "-extfile", str(extensions), "-out", str(self.crt(name)))
            self._run("x509", *words, *authority)

    def options(self, *, clients: str = "optional") -> dict[str, str]:
        """A server's settings; `clients`: whether they need a certificate, `yes`, `no` or `optional`."""
        return {
            "tls-cert-file": str(self.crt("server")),
            "tls-key-file": str(self.key("server")),
            "tls-ca-cert-file": str(self.crt("ca")),
            "tls-auth-clients": clients,
        }

    def query(self, *names: str) -> str:
        """The part of a URL that says which authority to trust (`ca`) and which certificate to show (`client`)."""
        known = {
            "ca": f"ssl_ca_certs={self.crt('ca')}",
            "client": f"ssl_certfile={self.crt('client')}&ssl_keyfile={self.key('client')}",
        }
        return "&".join(known[name] for name in names)

    def crt(self, name: str) -> Path:
        """A certificate."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Its key."""
        return self.folder / f"{name}.key"

    def _out(self, name: str) -> tuple[str, ...]:
        return ("-keyout", str(self.key(name)), "-out", str(self.crt(name)))

    @staticmethod
    def _run(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
