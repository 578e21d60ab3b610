"""What a pool has, read by plain commands."""

from __future__ import annotations

from typing import Any

from allocator._engine.protocol.keys import PoolKeys

__all__ = ["Looking"]


def _without_denials(dump: dict[str, Any]) -> dict[str, Any]:
    """What a server holds, without what a denial writes: its counter, and the point of a minute that is over."""
    found = {key: held for key, held in dump.items() if not key.endswith((":usage_minutes", ":usage_hours"))}
    for key, (content, expires) in found.items():
        if key.endswith(":pool") and isinstance(content, dict):
            kept = {name: text for name, text in content.items() if not name.startswith(("denied.", "history_ms"))}
            found[key] = (kept, expires)
    return found


class Looking:
    """One pool on one store, as whoever looks at its keys sees it."""

    client: Any
    keys: PoolKeys

    @property
    def account(self) -> dict[str, str]:
        found: dict[str, str] = self.client.hgetall(self.keys["pool"])
        return found

    def allocated(self, resource: str = "cpu") -> int:
        return int(self.account[f"{resource}.allocated"])

    @property
    def revision(self) -> int:
        return int(self.account["revision"])

    def record(self, identity: str) -> dict[str, str]:
        found: dict[str, str] = self.client.hgetall(self.keys.record(identity))
        return found

    def index(self, name: str) -> dict[str, int]:
        """A sorted set as member -> score."""
        return {member: int(score) for member, score in self.client.zrange(self.keys[name], 0, -1, withscores=True)}

    @property
    def events(self) -> list[dict[str, str]]:
        """The fields of every event, oldest first."""
        return [entry for _, entry in self.client.xrange(self.keys["events"])]

    @property
    def kinds(self) -> list[str]:
        """What the events say happened, oldest first."""
        return [event["kind"] for event in self.events]

    def dump(self) -> dict[str, Any]:
        """Everything that the server holds, with how each key ends."""
        found: dict[str, Any] = {}
        for key in sorted(self.client.scan_iter(count=1000)):
            found[key] = (self._content(key), self.client.ttl(key) >= 0)
        return found

    def assert_untouched(self, before: dict[str, Any], *, but: str = "") -> None:
        """That the server holds what it held, except for one key, and what counts denials: `test_history` has that."""
        before, after = _without_denials(before), _without_denials(self.dump())
        kept = sorted((before | after).keys() - {self.keys[but] if but else ""})
        changed = [key for key in kept if before.get(key) != after.get(key)]
        assert not changed, {key: (before.get(key), after.get(key)) for key in changed}

    def _content(self, key: str) -> Any:
        match self.client.type(key):
            case "hash":
                return self.client.hgetall(key)
            case "zset":
                return self.client.zrange(key, 0, -1, withscores=True)
            case "stream":
                return self.client.xrange(key)
            case "string":
                return self.client.get(key)
            case kind:
                raise AssertionError(f"{key} is a {kind}")

    @property
    def live(self) -> list[str]:
        """The ids of live allocations."""
        return sorted(self.index("deadlines") | self.index("pinned"))

    @property
    def waiting(self) -> list[str]:
        """The ids in line, in order."""
        found: list[str] = self.client.zrange(f"{self.keys.base}waiting", 0, -1)
        return found

    def waiter(self, identity: str) -> dict[str, str]:
        found: dict[str, str] = self.client.hgetall(f"{self.keys.base}waiter:{identity}")
        return found
