"""The limits of metrics, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

POOLS_MAX: Final = 100
"""Pools that one collector reads; a scrape sends at most two calls for each."""

SCOPES: Final = 100
"""Scopes of a pool that have metrics, unless the program sets another number: five to seven series a resource."""

TIMEOUT_S: Final = 4.0
POOL_TIMEOUT_S: Final = 1.0
"""Seconds that a scrape may take, and one call of it.  Prometheus waits for ten, or for its interval if it is less."""

REFRESH_S: Final = 300.0
RETRY_S: Final = 5.0
"""Seconds after which the exporter looks for new pools, by a SCAN of all keys, and after which it does so again where
the server did not answer, or a pool is gone.
"""

CODES: Final = 500
"""Sets of labels of one counter of a client: some forty verbs and as many codes, of which few occur.  Beyond it the
code is `other`.
"""
