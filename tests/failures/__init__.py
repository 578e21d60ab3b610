"""Lost replies, killed processes and servers, callers that go away: one call has one effect all the same."""
