"""Server processes that are started here."""
