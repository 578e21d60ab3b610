"""Planted bugs in the scripts: each must be caught by `tests/scripts`, or those tests prove less than they seem to."""
