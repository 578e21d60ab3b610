"""Clusters, Sentinels, TLS: where servers change their roles, clients ride through and nothing is half applied."""
