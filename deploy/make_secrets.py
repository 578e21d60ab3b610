#!/usr/bin/env python3
"""Make the passwords of a deployment, and the files that have them: docs/deploy.md.

    python3 deploy/make_secrets.py deploy/compose/secrets                              # for Compose
    python3 deploy/make_secrets.py --host redis.example:6379 /etc/allocator            # for systemd
    python3 deploy/make_secrets.py --host allocator-server:6379 --kubernetes FOLDER | kubectl apply -f -

The folder is readable by its owner only.  Run again it keeps the passwords and writes the rights of this version, as
after an upgrade; `--renew NAME` changes one password.  It needs Python 3.8 and nothing else.
"""

import argparse
import hashlib
import re
import secrets
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
KEPT = "passwords"
USERS = ("admin", "controller", "inspector", "cron")
NAMES = (*USERS, "dashboard", "grafana")
HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def parsed():
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Make the passwords of a deployment, and the files that have them.", epilog="docs/deploy.md"
    )
    parser.add_argument("folder", type=Path, help="where the passwords and the files are kept")
    parser.add_argument("--host", default="server:6379", metavar="HOST:PORT", help="the server [server:6379]")
    parser.add_argument("--tls", action="store_true", help="the URLs are rediss://")
    parser.add_argument("--renew", action="append", default=[], choices=NAMES, help="make this password anew")
    parser.add_argument("--kubernetes", action="store_true", help="print Secrets instead of writing files")
    options = parser.parse_args()
    if not HOST.fullmatch(options.host):
        parser.error(f"--host: {options.host!r} is not HOST:PORT")
    folder = options.folder
    if folder.exists() and not (folder.is_dir() and ((folder / KEPT).exists() or not any(folder.iterdir()))):
        parser.error(
            f"folder: {folder} has other things in it, and would be closed to everybody else: name an empty one"
        )
    return options


def passwords(folder, renew):
    """The passwords by name: those that are kept, and new ones for those that are missing."""
    path = folder / KEPT
    kept = {}
    if path.exists():
        kept = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
    known = {name: kept.get(name) for name in NAMES if name not in renew}
    known = {name: known.get(name) or secrets.token_urlsafe(24) for name in NAMES}
    write(path, "".join(f"{name}={word}\n" for name, word in known.items()), 0o600)
    return known


def filled(template, known, server):
    """A template with its words in capitals replaced."""
    for name, word in known.items():
        template = template.replace(f"SHA256-OF-{name.upper()}", hashlib.sha256(word.encode()).hexdigest())
        template = template.replace(f"PASSWORD-OF-{name.upper()}", word)
    return template.replace("@SERVER/", f"@{server}/")


def write(path, text, mode=0o644):
    """Replace a file.  Others are kept out by the folder's mode: a container's user must be able to read the file."""
    made = path.with_name(f".{path.name}.new")
    made.unlink(missing_ok=True)
    made.touch(mode=mode)
    made.chmod(mode)
    made.write_text(text, encoding="utf-8")
    made.replace(path)


def main():
    """Make what is wanted."""
    options = parsed()
    folder = options.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    known = passwords(folder, options.renew)
    scheme = "rediss" if options.tls else "redis"
    if options.kubernetes:
        text = (DEPLOY / "kubernetes" / "users.yaml").read_text(encoding="utf-8")
        sys.stdout.write(filled(text, known, options.host).replace("redis://", f"{scheme}://"))
        return
    write(folder / "users.acl", filled((DEPLOY / "users.acl").read_text(encoding="utf-8"), known, options.host))
    for user in USERS:
        write(folder / f"{user}.url", f"{scheme}://{user}:{known[user]}@{options.host}/0\n")
    write(folder / "dashboard-token", f"{known['dashboard']}\n")
    write(folder / "grafana-password", known["grafana"])


if __name__ == "__main__":
    main()
