"""The site of the documents: `python -m tools.site` builds it into build/site."""
