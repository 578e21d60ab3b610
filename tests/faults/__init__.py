"""Replies that are lost, attempts that are held up, callers that go away: one call has one effect all the same."""
