"""Programs that show the library at work; `python -m examples.run_all` runs them all."""
