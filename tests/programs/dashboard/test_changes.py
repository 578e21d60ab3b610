"""Changes: one call each, with the fence or the generation that the page shows; a conflict has both sides."""

from __future__ import annotations

import threading

import pytest

from allocator import Allocator, RequestWithdrawn
from tests.programs.dashboard.serving import opened
from tests.support.servers import Server
from tests.support.waiting import wait_until

POOL = "/api/v1/pools/lab"


async def test_release_ends_the_grant_that_the_page_shows(one_server: Server) -> None:
    """Another grant of the id is a conflict that shows it; one that is gone is not found."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        old = client.allocate({"cpu": 1}, ttl=60, id="a/b")
        client.release(old)
        new = client.allocate({"cpu": 1}, ttl=60, id="a/b")
        async with opened(one_server.url, allow_changes=True) as page:
            assert (await page.get("/api/v1"))["allowChanges"]
            conflict = await page.send("POST", f"{POOL}/allocations/a%2Fb/release", {"fence": old.fence}, status=409)
            assert (conflict["code"], conflict["sent"]["fence"]) == ("fenced", old.fence)
            assert (conflict["current"]["id"], conflict["current"]["fence"]) == ("a/b", new.fence)
            assert client.get("a/b") is not None
            wrong = await page.send("POST", f"{POOL}/allocations/a%2Fb/release", {"fence": "x"}, status=400)
            assert wrong["field"] == "fence"
            done = await page.send("POST", f"{POOL}/allocations/a%2Fb/release", {"fence": new.fence})
            assert (done["kind"], done["outcome"]) == ("Release", "released")
            assert client.get("a/b") is None
            assert (await page.get(POOL))["allocations"] == 0  # what was read before counts no more
            gone = await page.send("POST", f"{POOL}/allocations/a%2Fb/release", status=404)
            assert gone["code"] == "unknown_allocation"


async def test_capacity_changes_only_what_the_page_has_seen(one_server: Server) -> None:
    """With the generation of the pool; another one is a conflict with the pool as it is."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 4})
        async with opened(one_server.url, allow_changes=True) as page:
            missing = await page.send("PATCH", POOL, {"capacity": {"cpu": "8"}}, status=400)
            assert missing["field"] == "generation"
            changed = await page.send("PATCH", POOL, {"capacity": {"cpu": "8"}, "generation": 1})
            assert (changed["kind"], changed["generation"]) == ("Pool", 2)
            assert client.pools.get().capacity["cpu"] == 8000
            conflict = await page.send("PATCH", POOL, {"capacity": {"cpu": "9"}, "generation": 1}, status=409)
            assert (conflict["code"], conflict["sent"]["generation"]) == ("generation", 1)
            assert (conflict["current"]["generation"], conflict["current"]["capacity"]["cpu"]["amount"]) == (2, 8000)
            wrong = {"capacity": {"cpu": "many"}, "generation": 2}
            assert (await page.send("PATCH", POOL, wrong, status=400))["code"] == "invalid_quantity"
            assert client.pools.get().generation == 2


async def test_quotas_are_set_as_a_whole(one_server: Server) -> None:
    """A quantity, or the parts of a limit; a scope has slashes; another generation is a conflict."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 16})
        async with opened(one_server.url, allow_changes=True) as page:
            path = f"{POOL}/quotas/team-a/alice"
            parts = {"nominal": "4", "borrowingLimit": "2", "lendingLimit": None}
            made = await page.send("PUT", path, {"limits": {"cpu": parts}})
            row = made["resources"]["cpu"]
            assert (made["kind"], row["nominal"]["amount"], row["borrowingLimit"]["amount"]) == ("Quota", 4000, 2000)
            again = await page.send("PUT", path, {"limits": {"cpu": "6"}, "generation": made["generation"]})
            assert again["resources"]["cpu"]["nominal"]["amount"] == 6000
            stale = {"limits": {"cpu": "7"}, "generation": made["generation"]}
            conflict = await page.send("PUT", path, stale, status=409)
            assert (conflict["sent"], conflict["current"]["generation"]) == (stale, again["generation"])
            assert (await page.send("PUT", path, {"weight": 3}))["share"]["weight"] == 3
            for body, field in (
                ({}, "limits"),
                ({"limits": {}}, "limits"),
                ({"limits": {"cpu": {"most": 1}}}, "limits.cpu"),
                ({"limits": {"cpu": 1.5}}, "limits.cpu"),
            ):
                assert (await page.send("PUT", path, body, status=400))["field"] == field, body
            unknown = await page.send("PUT", path, {"limits": {"gold": "1"}}, status=400)
            assert unknown["code"] == "invalid_request"


async def test_withdraw_takes_a_request_out_of_the_line(one_server: Server) -> None:
    """Its caller is told; a second time nobody waits."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 1})
        client.allocate({"cpu": 1}, ttl=60, id="a")
        errors: list[Exception] = []

        def wait() -> None:
            try:
                client.allocate({"cpu": 1}, ttl=60, id="ns/b", wait=60)
            except RequestWithdrawn as error:
                errors.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(client.queue.list, message="the waiter")
        async with opened(one_server.url, allow_changes=True) as page:
            line = await page.get(f"{POOL}/queue")
            assert [(one["id"], one["position"]) for one in line["items"]] == [("ns/b", 1)]
            done = await page.send("POST", f"{POOL}/queue/ns%2Fb/withdraw")
            assert done["outcome"] == "withdrawn"
            assert (await page.send("POST", f"{POOL}/queue/ns%2Fb/withdraw", status=404))["code"] == "not_waiting"
        thread.join(60)
        assert len(errors) == 1


async def test_a_user_without_the_right_is_told_so(one_server: Server) -> None:
    """An inspector's user reads everything; a change is refused by the server, and the answer says so."""
    from allocator.access import user

    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 1})
        client.quotas.set("team", {"cpu": 1})
        client.allocate({"cpu": 1}, ttl=60, id="a")
    found = user("inspector", password="secret-word", server=(7, 2))
    one_server.ask(*found.command())
    try:
        url = one_server.url.replace("unix://", f"unix://{found.name}:secret-word@")
        async with opened(url, allow_changes=True) as page:
            for path in ("", "/allocations", "/allocations/a", "/queue", "/quotas", "/events", "/groups", "/timeline"):
                await page.get(POOL + path)
            assert (await page.get("/api/v1/pools"))["items"][0]["pool"] == "lab"
            async with page.stream() as stream:
                await stream.take("usage")
            assert not (await page.send("POST", f"{POOL}/check", {"resources": {"cpu": 1}}))["fits"]
            refused = await page.send("POST", f"{POOL}/allocations/a/release", status=502)
            assert refused["code"] == "no_permission"
            assert "secret-word" not in str(refused)
    finally:
        one_server.ask("ACL", "DELUSER", found.name)


@pytest.mark.parametrize("path", [f"{POOL}/allocations/nope/release", "/api/v1/pools/nope/allocations/a/release"])
async def test_what_is_not_there_cannot_be_changed(one_server: Server, path: str) -> None:
    """Neither an allocation nor a pool."""
    with Allocator.from_url(one_server.url) as client:
        client.pools.create("lab", {"cpu": 1})
    async with opened(one_server.url, allow_changes=True) as page:
        assert (await page.send("POST", path, status=404))["code"] in ("unknown_allocation", "unknown_pool")
