"""The engine's drivers against real servers, with small scripts of the tests' own."""
