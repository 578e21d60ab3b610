"""Models and random stories: the ledger against what the documents say, step by step."""
