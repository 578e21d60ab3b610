"""The ledger against an independent model: random stories, compared and audited after every step."""
