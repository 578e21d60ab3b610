"""A FastAPI service that two uvicorn workers serve: `python -m examples.fastapi_service`.

Each worker has a client, made when it starts and closed when it ends (FastAPI's documentation, "Lifespan Events").  The
caller names the lab, so it may repeat a request that got no reply: another worker finds the grant of the first.

    PUT /labs/NAME      201  granted, found or renewed: the same call; another fence than before means another grant
                        409  full, with the numbers, or the name is taken with other limits
                        503  down, or the outcome is unknown: the same request again, after `Retry-After` seconds
    DELETE /labs/NAME   204  released, also if it was before

A caller that dies frees what it held after `TTL_S` seconds.

The program plays this: a worker is killed (SIGKILL) after the grant and before its reply; the caller repeats the
request, and the other worker replies.  uvicorn starts another worker in its place ("Deployment": workers).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from allocator import AllocationConflict, Allocator, AsyncAllocator, BackendError, Insufficient
from allocator.testing import PrivateServer
from examples.support import check_books, process, wait_for

POOL: Final = "fastapi-service"
URL: Final = "ALLOCATOR_REDIS_URL"
TTL_S: Final = 60.0


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncGenerator[None]:
    """One client for each worker; the URL is in the environment."""
    async with AsyncAllocator.from_url(pool=POOL, owner="lab-service") as allocator:
        service.state.allocator = allocator
        yield


async def refused(_request: Request, error: Exception) -> JSONResponse:
    """Full, or another lab has the name."""
    return JSONResponse({"detail": str(error)}, status_code=409)


async def away(_request: Request, error: Exception) -> JSONResponse:
    """The store has not replied, or grants nothing now: never told as full."""
    seconds = (error.retry_after if isinstance(error, BackendError) else None) or 1
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": f"{seconds:.0f}"})


app = FastAPI(
    lifespan=lifespan, exception_handlers={Insufficient: refused, AllocationConflict: refused, BackendError: away}
)


@app.put("/labs/{name}", status_code=201)
async def start(name: str, limits: dict[str, str], request: Request, *, dies: bool = False) -> dict[str, Any]:
    """Allocate; repeated, renew."""
    allocator: AsyncAllocator = request.app.state.allocator
    allocation = await allocator.allocate(limits, ttl=TTL_S, id=f"labs/{name}")
    if dies:  # for this example only
        os.kill(os.getpid(), signal.SIGKILL)
    return {"allocation": allocation.to_dict(), "worker": os.getpid()}


@app.delete("/labs/{name}", status_code=204)
async def stop(name: str, request: Request) -> None:
    """Release."""
    await request.app.state.allocator.release(f"labs/{name}")


class UnixConnection(HTTPConnection):
    """HTTP over the socket of the service."""

    def connect(self) -> None:
        """Connect to the path that stands in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def send(address: str, method: str, path: str, limits: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """One request; status 0 means that there was no reply."""
    connection = UnixConnection(address, timeout=10)
    try:
        connection.request(method, path, json.dumps(limits), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read() or b"{}")
    except (OSError, EOFError):
        return 0, {}
    finally:
        connection.close()


def main(url: str) -> None:
    """Kill a worker in the middle of a request, and check the books."""
    limits = {"cpu": "2", "memory": "4Gi"}
    with tempfile.TemporaryDirectory() as folder, Allocator.from_url(url, pool=POOL) as allocator:
        allocator.pools.create(POOL, {"cpu": 4, "memory": "8Gi"})
        address = str(Path(folder) / "http")
        service = ("uvicorn", "examples.fastapi_service:app", "--workers", "2", "--uds", address)
        with process(*service, "--log-level", "critical", environment={URL: url}):
            wait_for(lambda: send(address, "DELETE", "/labs/none")[0] == 204, "the service replies")
            assert send(address, "PUT", "/labs/a?dies=true", limits) == (0, {})
            granted = allocator.get("labs/a")
            assert granted is not None
            status, found = send(address, "PUT", "/labs/a", limits)
            assert (status, found["allocation"]["fence"]) == (201, granted.fence)
            print("a worker was killed before its reply: another one found its grant", flush=True)

            assert send(address, "PUT", "/labs/b", limits)[0] == 201
            status, full = send(address, "PUT", "/labs/c", limits)
            assert status == 409
            assert "cpu requested=2 available=0" in full["detail"]
            assert send(address, "PUT", "/labs/a", {"cpu": "1"})[0] == 409
            print("full is 409 with the numbers:", full["detail"], flush=True)

            for name in "aab":
                assert send(address, "DELETE", f"/labs/{name}")[0] == 204
        check_books(allocator)
    print("nothing is left")


if __name__ == "__main__":
    with PrivateServer() as server:
        main(server.url)
