"""Operations that look after a pool: audits, reconciliation, and the examination of a server."""
