"""The exporter, `resource-allocator metrics`: a server that Prometheus scrapes.

`command` parses, and says what a person should know.  `exporter` serves, and keeps the pools and the audits up to date
in a thread.
"""
