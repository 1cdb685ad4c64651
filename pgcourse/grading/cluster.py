"""Grading on several machines: the same jobs as Ray tasks. Every process of every node has a sandbox of its own.

    ray start --head            on one machine; it prints what to run on the others
    pgcourse grade SUBMISSIONS --gradebook course.db --engine ray

All machines need the same version of the course, and each its own isolation. The gradebook stays with whoever runs the command.
"""

import atexit
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

from .classroom import Died, Job, Result, bench, isolation
from .tasks import all_tasks
from .unit import task_version

_TRIES = 2
"""How often a submission is tried: the process that works on it may die once."""
_LOSSES = 10
"""How often it may be lost because a machine is."""


class Cluster:
    """The Ray cluster that this machine belongs to, or one of this machine alone. A context manager.

    size: how many jobs are under way at once; by default as many as the cluster has cores.
    """

    def __init__(self, size: int | None, trust: bool):
        try:
            import ray
        except ImportError:
            raise ValueError(
                "--engine ray needs Ray: pip install 'pgcourse[ray]'; or leave it out to use this machine."
            ) from None
        self._ray, self._size, self._trust = ray, size, trust
        self._ours = not ray.is_initialized()

    def __enter__(self):
        if self._ours:
            self._ray.init(log_to_driver=False, logging_level="error")
        # No retries by Ray itself: it would not tell what has killed a process, the machine or the submission.
        self._remote = self._ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(_perform)
        return self

    def __exit__(self, *_):
        if self._ours:
            self._ray.shutdown()

    def run(self, jobs: Iterable[tuple[Any, Job]]) -> Iterator[tuple[Any, Result]]:
        """As ``Engine.run``. Raises ValueError where a node cannot confine submissions or has other tasks."""
        jobs, again, under_way = iter(jobs), deque(), {}
        lost = self._ray.exceptions
        while True:
            while len(under_way) < self._room():
                entry = again.popleft() if again else next(((*job, 1, 0) for job in jobs), None)
                if entry is None:
                    break
                under_way[self._remote.remote(entry[1], _versions(), self._trust)] = entry
            if not under_way:
                return
            done, _ = self._ray.wait(list(under_way), timeout=5.0)
            for reference in done:
                key, job, tries, losses = under_way.pop(reference)
                try:
                    result = self._ray.get(reference)
                except lost.RayTaskError as problem:
                    if isinstance(problem.cause, ValueError):  # the node cannot be used
                        raise problem.cause from None
                    tries += 1
                except (lost.WorkerCrashedError, lost.OutOfMemoryError):
                    tries += 1
                except lost.RayError:  # the node is gone, or the result with it
                    losses += 1
                else:
                    yield key, result
                    continue
                if tries > _TRIES or losses > _LOSSES:
                    yield key, Died()
                else:
                    again.append((key, job, tries, losses))

    def _room(self) -> int:
        """How many jobs may be under way: nodes come and go."""
        return self._size or max(1, int(self._ray.cluster_resources().get("CPU", 1)))


@cache
def _versions() -> dict[str, str]:
    return {task.id: task_version(task) for task in all_tasks()}


def _perform(job: Job, versions: dict[str, str], trust: bool) -> Result:
    """What runs on a node."""
    if versions != _versions():
        raise ValueError(f"{socket.gethostname()} has another version of the course; install the same one on every machine.")
    return _place(trust)(job)


@cache
def _place(trust: bool):
    """This process's sandbox, which stays for the next job."""
    try:
        level = isolation(trust)
    except ValueError as problem:
        raise ValueError(f"{socket.gethostname()}: {problem}") from None
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(bench(level))
