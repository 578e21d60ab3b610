"""The environment variables that this library reads, and what they say."""

from __future__ import annotations

import logging
import os
from typing import Final

_log = logging.getLogger("allocator")

URL_VARIABLES: Final = ("ALLOCATOR_REDIS_URL", "REDIS_URL")
"""The variables that give the URL if the program gives none, in this order."""

REQUIRE_URL_VARIABLE: Final = "ALLOCATOR_REQUIRE_URL"
"""`1` makes a missing URL an error, where clients would otherwise use a server that other machines cannot reach."""


def url_from_environment() -> str | None:
    """The URL that the environment names, as written, or None.

    An empty variable counts as unset.  Where the next one names a server, a warning says so.
    """
    for variable in URL_VARIABLES:
        url = os.environ.get(variable, "")
        if url.strip():
            if empty := _empty_variables():
                _log.warning("%s is empty and not used: the server is that of %s", " and ".join(empty), variable)
            return url
    return None


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
