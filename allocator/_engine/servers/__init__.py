"""Server processes that this library starts: the embedded and the private server."""
