"""Targets, connections to servers, routing of calls to connections, and the classification of failed attempts."""
