"""Benchmarks: ratios within one run on one server, alternated, medians.  `python -m bench` prints a table and JSON."""
