"""The pictures of the documents, each drawn by a script."""
