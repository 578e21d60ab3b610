"""The dashboard, `resource-allocator dashboard`: one page and a JSON API, served by a process beside the pools.

`command` parses, and says what a person should know.  `server` runs it, `app` has its routes, `security` decides who
is answered.  `feed` follows a pool once for all pages, `readings` reads a pool once for all of them, `documents` has
what is sent.  It needs the extra `web`; the page is in `static`.
"""
