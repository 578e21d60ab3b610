"""`StaticFiles`: the page and its parts, with ETags; nothing that is not in the folder is served."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from allocator.apps.dashboard.problems import Problem

__all__ = ["FOLDER", "StaticFiles"]

FOLDER: Final = Path(__file__).parent / "static"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What is served, by the end of its name."""


class StaticFiles:
    """The files of a folder, read when they have changed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Serve the files of this folder."""
        self._folder = folder
        self._read: dict[Path, tuple[tuple[int, int], bytes, str]] = {}

    async def page(self, request: Request) -> Response:
        """`/`: the page."""
        return self._answer(request, "index.html")

    async def part(self, request: Request) -> Response:
        """`/static/...`: one of its parts."""
        return self._answer(request, request.path_params["path"])

    async def icon(self, request: Request) -> Response:
        """`/favicon.ico`: browsers ask for it by themselves."""
        return self._answer(request, "favicon.svg")

    def _answer(self, request: Request, name: str) -> Response:
        path = self._find(name)
        content, tag = self._content(path)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        given = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if tag in given or "*" in given:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers={**headers, "Content-Type": _TYPES[path.suffix]})

    def _find(self, name: str) -> Path:
        """The file of this name.  A name leads nowhere else: each part is a plain one, and no link is followed out."""
        parts = name.split("/")
        path = self._folder.joinpath(*parts)
        plain = all(part and not part.startswith(".") and "\\" not in part and "\0" not in part for part in parts)
        if plain and path.suffix in _TYPES and path.is_file() and self._folder.resolve() in path.resolve().parents:
            return path
        raise Problem(HTTPStatus.NOT_FOUND, "not_found", "there is no such file")

    def _content(self, path: Path) -> tuple[bytes, str]:
        status = path.stat()
        mark = (status.st_mtime_ns, status.st_size)
        found = self._read.get(path)
        if found is None or found[0] != mark:
            content = path.read_bytes()
            found = self._read[path] = (mark, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        return found[1], found[2]
