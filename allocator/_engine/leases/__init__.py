"""Keep the leases of this process: schedule, renewer."""
