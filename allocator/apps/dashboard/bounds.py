"""The limits of the dashboard, each with its unit and its reason."""

from __future__ import annotations

from typing import Final

PORT: Final = 9894
"""The port that nobody has to name."""

# -- requests ----------------------------------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 65_536
"""Bytes of a request's body: the largest is a request for 32 resources."""

BODY_TIMEOUT_S: Final = 10.0
"""Seconds that a body may take to arrive."""

HEADER_BYTES_MAX: Final = 16_384
"""Bytes of a request's line and headers."""

CONNECTIONS_MAX: Final = 1_000
"""Connections at a time; beyond, a request is refused at once."""

HEADERS_TIMEOUT_S: Final = 10.0
"""Seconds that a request's headers may take to arrive."""

STALLED_S: Final = 60.0
"""Seconds for which a connection may read nothing of what was sent; then a page's stream goes on by its cursor."""

TOKEN_BYTES: Final = 32
"""Random bytes of a token that is drawn."""

TOKEN_LENGTH_MIN: Final = 32
TOKEN_LENGTH_MAX: Final = 512
"""Characters of a token that a file gives: 32 random hexadecimal digits are 128 bits."""

# -- readings ----------------------------------------------------------------------------------------------------------
POOLS_MAX: Final = 100
"""Pools that are served where none is named; of more, the first by name."""

POOLS_AT_ONCE: Final = 8
"""Pools that are read at the same time."""

READ_TIMEOUT_S: Final = 4.0
"""Seconds that a reading may take: a person waits for it."""

REFRESH_S: Final = 300.0
RETRY_S: Final = 5.0
"""Seconds after which new pools are looked for, by a SCAN of all keys; and after which at the earliest, where somebody
asks for the pools, one is gone, or the server did not answer.
"""

SCAN_SHARE: Final = 20
"""A SCAN is followed by a pause of at least so many times its length."""

USAGE_S: Final = 0.25
"""Seconds between two readings of a pool's usage, however many pages are open."""

READING_S: Final = 1.0
"""Seconds that a larger reading counts, unless an event says that it is out of date."""

READING_SHARE: Final = 2
"""Two large readings begin at least so many times the length of the first apart: they take half of the time at most."""

READINGS_KEPT: Final = 1_000
"""Readings that are kept at a time: a few kinds of each pool."""

DERIVED_KEPT: Final = 64
"""Documents that are kept of one reading of the allocations."""

RECORDS_MAX: Final = 10_000
"""Allocations of a pool that are read; a document says how many are left out."""

ROWS: Final = 200
ROWS_MAX: Final = 1_000
"""Rows of a page of a list, unless the request says another number, and the most that it may say."""

QUOTAS_MAX: Final = 2_000
WAITERS_MAX: Final = 1_000
"""Scopes and waiters that are sent."""

BUCKETS: Final = 60
"""Intervals of a timeline."""

TIMELINE_S: Final = 86_400
TIMELINE_MIN_S: Final = 60
"""Seconds that a timeline looks ahead at most, and at least, where the request does not say until when."""

HISTORY_S: Final = 86_400
HISTORY_MIN_S: Final = 60
HISTORY_MAX_S: Final = 31 * 86_400
"""Seconds of the usage over time, unless the request says another number, and its bounds: as long as pools keep it."""

STORY_BEFORE_MS: Final = 3_600_000
"""Milliseconds before the grant in which events of an allocation are looked for: it may have waited in line."""

STORY_EVENTS: Final = 100
"""Events of an allocation that are sent: the latest."""

# -- streams -----------------------------------------------------------------------------------------------------------
STREAMS_MAX: Final = 200
"""Streams that are open at a time."""

STREAMS_RETRY_S: Final = 10
"""Seconds after which one who is refused may ask again."""

STREAM_FRAMES_MAX: Final = 2_000
"""Events that one stream may be behind; then it is ended, and its page goes on by its cursor."""

ALIVE_S: Final = 10.0
"""Seconds between two signs of life of a stream."""

IDLE_S: Final = 2.0
"""Seconds after which a pool's usage is read again though nothing has happened: deadlines pass, and servers go away."""

AWAY_S: Final = 1.0
"""Seconds after which a pool that could not be read or followed is tried again."""

BACKLOG_MAX: Final = 10_000
"""Stored events that a stream sends before what happens now."""

STOP_S: Final = 1
"""Seconds for which open requests may go on after the server is told to stop."""
