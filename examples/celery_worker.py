"""Celery workers that hold a GPU for a job: `python -m examples.celery_worker`.

With `acks_late` Celery delivers a job at least once ("Tasks", option `acks_late`):

- The process of a job is killed: its worker delivers the job again at once (`reject_on_worker_lost`).
- The whole worker is killed, or a job takes longer than the `visibility_timeout` of the broker, one hour by default:
  another worker gets the job, while the first may still run ("Using Redis": visibility timeout).

So the job itself takes the GPU, under an id of the job, with `exclusive=True`.  While one delivery has the GPU, others
are refused, and ask Celery to `retry` them later; after a crash they get it as soon as the lease has ended.

The program plays both: it kills the process of a job (SIGKILL); the next job takes longer than the visibility timeout
and is delivered again; then its worker is killed, too.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from celery import Celery

from allocator import AllocationConflict, AllocationLost, Allocator, BackendError, Insufficient
from allocator.testing import PrivateServer
from examples.support import check_books, connect, kill_group, process, wait_for

if TYPE_CHECKING:
    from celery.app.task import Task

POOL: Final = "celery-worker"
URL: Final = "ALLOCATOR_REDIS_URL"
GPU: Final = {"nvidia.com/gpu": 1}

TTL_S: Final = 2.0
"""Seconds; short, for the example.  `hold` renews it, so it need not be as long as the job: 60 is a good choice."""

VISIBILITY_S: Final = 5
"""Seconds; short, for the example.  Longer than any job and any countdown, or each of them is delivered again."""


def broker(url: str) -> str:
    """The URL as Celery writes it, which differs for sockets."""
    return url.replace("unix:", "redis+socket:")


app = Celery("examples", broker=broker(os.environ.get(URL, "memory://")))
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_S,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


@app.task(bind=True, name="train", acks_late=True, reject_on_worker_lost=True, max_retries=100)
def train(task: Task[..., None], name: str) -> None:
    """The job: take the GPU or come again later, work, and check between steps that the GPU is still held."""
    about = {"pid": str(os.getpid())}
    with (
        connect(os.environ[URL]) as redis,
        Allocator.from_url(pool=POOL, owner="c") as client,
    ):
        try:
            with client.hold(GPU, ttl=TTL_S, id=f"jobs/{task.request.id}", metadata=about, exclusive=True) as hold:
                redis.rpush(f"{name}:started", hold.fence)
                redis.blpop([f"{name}:work"], timeout=25)  # the work
                hold.check()  # before anything is written that counts
                redis.rpush(f"{name}:finished", hold.fence)
        except (AllocationConflict, AllocationLost, Insufficient, BackendError) as error:
            redis.rpush(f"{name}:refused", error.code)
            raise task.retry(countdown=1, exc=error) from error


def worker(name: str) -> tuple[str, ...]:
    """The arguments of a worker with one process for jobs."""
    options = ("--concurrency", "1", "--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("celery", "-q", "-A", "examples.celery_worker", "worker", "-n", name, "--loglevel", "CRITICAL", *options)


def main(url: str) -> None:
    """Kill a job, then a worker, and check the books."""
    store = {URL: url}
    with connect(url) as redis, Allocator.from_url(url, pool=POOL) as allocator:
        allocator.pools.create(POOL, {"nvidia.com/gpu": 1}, whole_units=["nvidia.com/gpu"])
        app.conf.update(broker_url=broker(url))
        with process(*worker("first"), environment=store) as first:
            train.delay("bert")
            wait_for(lambda: redis.llen("bert:started") == 1, "the first delivery starts")
            os.kill(int(next(allocator.list()).metadata["pid"]), signal.SIGKILL)
            wait_for(lambda: redis.llen("bert:started") == 2, "the second delivery gets the GPU")
            print("a job was killed: it was delivered again, and got the GPU when the lease had ended", flush=True)
            redis.rpush("bert:work", "done")
            wait_for(lambda: redis.llen("bert:finished") == 1, "the first job is finished")

            train.delay("t5")
            wait_for(lambda: redis.llen("t5:started") == 1, "the first delivery starts")
            with process(*worker("second"), environment=store):
                wait_for(lambda: redis.llen("t5:refused") > 0, "the second delivery is refused")
                assert redis.lindex("t5:refused", 0) == b"allocation_conflict"
                assert redis.llen("t5:started") == 1
                print("a job took longer than the visibility timeout: the second delivery is refused", flush=True)
                kill_group(first)
                wait_for(lambda: redis.llen("t5:started") == 2, "the second delivery gets the GPU")
                print("the first worker was killed: the second got the GPU when the lease had ended", flush=True)
                redis.rpush("t5:work", "done")
                wait_for(lambda: redis.llen("t5:finished") == 1, "the second job is finished")
                wait_for(lambda: allocator.pools.usage().allocations == 0, "the GPU is given back")
        for name in ("bert", "t5"):
            before, after = map(int, redis.lrange(f"{name}:started", 0, -1))
            assert before < after, "the later grant has the greater fence"
            assert [int(fence) for fence in redis.lrange(f"{name}:finished", 0, -1)] == [after]
        assert sorted(check_books(allocator).values()) == [2, 2]
    app.close()
    print("each job finished once; the GPU was never held twice; nothing is left")


if __name__ == "__main__":
    with PrivateServer() as server:
        main(server.url)
