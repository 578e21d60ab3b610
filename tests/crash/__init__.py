"""Processes and servers that die at random while others work: never more than there is, and nothing leaks."""
