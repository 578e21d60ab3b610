"""rq workers that hold a GPU for a job: `python -m examples.rq_worker`.

rq delivers a job at least once.  A worker whose heartbeat is late counts as dead, and its job is given to another
worker (rq's documentation, pages "Jobs" and "Exceptions": abandoned jobs, `Retry`).  But the job may still run: each
job is a process (page "Workers": the work horse), and it goes on when only its worker is killed.

So the job itself takes the GPU, under an id of the job, with `exclusive=True`.  While one delivery has the GPU, others
are refused and wait; after a crash they get it as soon as the lease has ended.

The program plays this: a worker is killed (SIGKILL) in the middle of a job, which goes on; the job is delivered again,
and the second delivery is refused; the first one's process is killed, too; the second gets the GPU and finishes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any, Final

from rq import Queue, Retry, Worker, get_current_job
from rq.registry import StartedJobRegistry

from allocator import AllocationConflict, Allocator, Insufficient
from allocator.testing import PrivateServer
from examples.support import check_books, connect, kill_group, process, wait_for

POOL: Final = "rq-worker"
URL: Final = "ALLOCATOR_REDIS_URL"
GPU: Final = {"nvidia.com/gpu": 1}

TTL_S: Final = 2.0
"""Seconds; short, for the example.  `hold` renews it, so it need not be as long as the job: 60 is a good choice."""

PATIENCE_S: Final = 25.0
"""Seconds for which a delivery waits for the GPU.  rq has no queue of its own for that, and a job has a timeout."""


def train(name: str) -> str:
    """The job: wait for the GPU, work, and check between steps that the GPU is still held."""
    job = get_current_job()
    assert job is not None
    about = {"pid": str(os.getpid())}
    with (
        connect(os.environ[URL]) as redis,
        Allocator.from_url(pool=POOL, owner="trainers") as allocator,
    ):
        ends = time.monotonic() + PATIENCE_S
        while True:
            try:
                with allocator.hold(GPU, ttl=TTL_S, id=f"jobs/{job.id}", metadata=about, exclusive=True) as hold:
                    redis.rpush(f"{name}:started", hold.fence)
                    redis.blpop([f"{name}:work"], timeout=PATIENCE_S)  # the work
                    hold.check()  # before anything is written that counts
                    redis.rpush(f"{name}:finished", hold.fence)
                    return f"trained under fence {hold.fence}"
            except (AllocationConflict, Insufficient) as error:
                redis.rpush(f"{name}:refused", error.code)
                if time.monotonic() > ends:
                    raise  # the job fails, and rq retries it as often as `Retry` says
                threading.Event().wait(0.2)


def main(url: str) -> None:
    """Deliver a job twice, kill the worker that has the GPU, and check the books."""
    os.environ[URL] = url
    with connect(url) as redis, Allocator.from_url(pool=POOL) as allocator:
        allocator.pools.create(POOL, {"nvidia.com/gpu": 1}, whole_units=["nvidia.com/gpu"])
        queue: Any = Queue(connection=redis)  # parts of rq have no types
        job = queue.enqueue("examples.rq_worker.train", "resnet", retry=Retry(max=3), job_timeout=60)
        with process("examples.rq_worker", "--worker") as first:
            wait_for(lambda: redis.llen("resnet:started") == 1, "the first delivery starts")
            kill_group(first)
            horse = next(allocator.list()).metadata["pid"]
            with process("examples.rq_worker", "--worker"):
                # What the second worker does by itself about a minute after the last heartbeat of the first.
                started: Any = StartedJobRegistry(queue=queue)
                started.cleanup(timestamp=time.time() + 3600)
                wait_for(lambda: redis.llen("resnet:refused") > 0, "the second delivery is refused")
                assert redis.lindex("resnet:refused", 0) == b"allocation_conflict"
                assert redis.llen("resnet:started") == 1
                print("the worker was killed, and its job goes on: the second delivery is refused", flush=True)

                os.kill(int(horse), signal.SIGKILL)
                wait_for(lambda: redis.llen("resnet:started") == 2, "the second delivery gets the GPU")
                print("the job was killed, too: the second delivery got the GPU when the lease had ended", flush=True)
                redis.rpush("resnet:work", "done")
                wait_for(lambda: job.is_finished, "the job is finished")
        before, after = map(int, redis.lrange("resnet:started", 0, -1))
        assert before < after, "the later grant has the greater fence"
        assert [int(fence) for fence in redis.lrange("resnet:finished", 0, -1)] == [after]
        assert check_books(allocator) == {f"jobs/{job.id}": 2}
    print("finished once; the GPU was never held twice; nothing is left")


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        with connect(os.environ[URL]) as connection:
            Worker([Queue(connection=connection)], connection=connection).work(logging_level="ERROR")
    else:
        with PrivateServer() as server:
            main(server.url)
