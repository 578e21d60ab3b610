"""The environment variables that this library reads, and what they say."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from allocator.input_errors import InvalidRequest

_log = logging.getLogger("allocator")

URL_VARIABLES: Final = ("ALLOCATOR_REDIS_URL", "REDIS_URL")
"""The variables that give the URL if the program gives none, in this order."""

URL_FILE_VARIABLE: Final = "ALLOCATOR_REDIS_URL_FILE"
"""A file with the URL, as secrets are given to containers and services: then no environment contains a password."""

URL_FILE_BYTES_MAX: Final = 8192
"""The longest such file."""

REQUIRE_URL_VARIABLE: Final = "ALLOCATOR_REQUIRE_URL"
"""`1` makes a missing URL an error, where clients would otherwise use a server that other machines cannot reach."""


def url_from_environment() -> str | None:
    """The URL that the environment names, as written, or None.

    An empty variable counts as unset.  Where the next one names a server, a warning says so.

    Raises:
        InvalidRequest: The file that the environment names cannot be read, or is empty.
    """
    url = url_in_file()
    if url is not None:
        return url
    for variable in URL_VARIABLES:
        url = os.environ.get(variable, "")
        if url.strip():
            if empty := _empty_variables():
                _log.warning("%s is empty and not used: the server is that of %s", " and ".join(empty), variable)
            return url
    return None


def url_in_file() -> str | None:
    """The URL in the file of `ALLOCATOR_REDIS_URL_FILE`; None: no file is named, or `ALLOCATOR_REDIS_URL` comes before.

    Raises:
        InvalidRequest: The file cannot be read, is too long, or is empty.
    """
    path = os.environ.get(URL_FILE_VARIABLE, "").strip()
    if not path or os.environ.get(URL_VARIABLES[0], "").strip():
        return None
    try:
        with Path(path).open("rb") as file:
            url = file.read(URL_FILE_BYTES_MAX + 1).decode().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidRequest(f"url: {URL_FILE_VARIABLE} names {path}: {why}", field="url") from None
    if not url or len(url) > URL_FILE_BYTES_MAX:
        why = "it is too long for a URL" if url else "it is empty"
        raise InvalidRequest(f"url: {URL_FILE_VARIABLE} names {path}: {why}", field="url")
    return url


def unset_urls() -> str:
    """The variables that name no server, for a message; an empty one is named as such."""
    empty = _empty_variables()
    told = f"no URL was given and neither {' nor '.join(URL_VARIABLES)} is set"
    return f"{told} ({' and '.join(empty)} is there, but empty)" if empty else told


def _empty_variables() -> list[str]:
    return [name for name in URL_VARIABLES if name in os.environ and not os.environ[name].strip()]


def url_is_required() -> bool:
    """Whether the environment forbids a server that is not named."""
    return os.environ.get(REQUIRE_URL_VARIABLE, "") not in ("", "0")
