"""Renew the leases that this process holds: lease, schedule, renewer and their registry."""
