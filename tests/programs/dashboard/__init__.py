"""The dashboard: its documents, who is answered, streams, changes, its description, the program."""
