"""`run` as processes: with pipes and at a terminal, on a real server."""
