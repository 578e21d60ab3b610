"""Certificates of our own: an authority, a server's for localhost, a client's; openssl makes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["Certificates", "has_openssl"]

_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def has_openssl() -> bool:
    """Whether certificates can be made here."""
    return shutil.which("openssl") is not None


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
