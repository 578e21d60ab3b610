"""The limits of the original API, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

CHECK_KEEP_MAX_S: Final = 3600.0
"""Seconds for which a check of the original API may keep what it found: the room is of use to nobody meanwhile."""

CHECK_LEASES_MAX: Final = 10_000
"""Leases of checks that one object keeps at a time; a check beyond them keeps nothing, which is logged."""

CHECK_LEASES_OF_ONE_MAX: Final = 16
"""Leases of checks that one task or thread keeps at a time; the oldest is given back for a new one."""

RELEASES_KEPT_MAX: Final = 10_000
"""Releases of one object of the original API that wait for the server; more are not kept, which is logged."""

RELEASE_KEPT_S: Final = 86_400.0
"""Seconds for which such a release is sent again.  After a day a person has seen the log, or a cleanup is due."""
