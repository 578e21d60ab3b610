"""Pools on a Redis Cluster whose slots move: nothing is half applied, and clients ride through."""
