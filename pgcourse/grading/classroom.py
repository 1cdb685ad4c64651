"""Grading a class: submissions are handed out to processes that judge them, and recorded one by one as they come back.

Each process is a judge of its own with a sandbox of its own (``unit.grade``). A grader that is killed, at any moment, goes on
where it was when the same command is run again: what is recorded is kept, what is not is graded, with the same hidden cases.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ..release import between
from . import late, unit
from .answer import Complaint
from .gradebook import Gradebook
from .judge import CRASH, NOT_ATTEMPTED, Outcome, count
from .sandbox import confine
from .sandbox import worker as sandbox
from .shown import say
from .standing import Standing
from .submissions import HandedIn, Submission, scan
from .task import Task
from .tasks import all_tasks

PATIENCE = 1800.0
"""Seconds after which a process that has not come back with a submission is given up."""
_TICK = 30.0
"""Seconds between two looks for one."""
_TRIES = 2
"""How often a submission is tried: the process that works on it may die once."""
_STARTS = 3
"""How many processes in a row may end before they are ready."""


@dataclass(frozen=True)
class Job:
    """What is to be done with the files of one submission."""

    files: tuple[tuple[str, bytes], ...]
    tasks: tuple[str, ...] | None
    """Ids of the tasks to judge; None: only tell which functions the files define."""
    seed: int = 0


@dataclass(frozen=True)
class Died:
    """Whoever worked on a job died, as often as it was tried."""


Result = unit.Report | tuple[str, ...] | Died
"""A report; for a job without tasks the names of the functions."""
Bench = Callable[[str], AbstractContextManager[Callable[[Job], Result]]]


class Engine(Protocol):
    """Something that does jobs."""

    def run(self, jobs: Iterable[tuple[Any, Job]]) -> Iterator[tuple[Any, Result]]:
        """The results as they come, each with the key of its job. ``jobs`` is asked for no more than can be worked on."""
        ...


def perform(worker: sandbox.Worker, job: Job) -> Result:
    """Do a job."""
    if job.tasks is None:
        try:
            with worker.session(job.files) as session:
                return session.functions
        except (sandbox.Rejected, Complaint):
            return ()
    by_id = {task.id: task for task in all_tasks()}
    return unit.grade(worker, job.files, [by_id[task] for task in job.tasks], job.seed)


@contextmanager
def bench(level: str) -> Iterator[Callable[[Job], Result]]:
    """Somewhere to do jobs: a sandbox of this isolation level."""
    torch.set_num_threads(1)  # the processes share the cores
    with sandbox.Worker(level) as worker:
        yield partial(perform, worker)


# ----------------------------------------------------------------------------------------------------------------------
# Workers on this machine


@dataclass
class _Task:
    key: Any
    job: Job
    tries: int = 1


class Pool:
    """Processes on this machine that do jobs. A context manager, within which ``run`` may be called several times."""

    def __init__(self, level: str, size: int, bench: Bench = bench):
        self._level, self._bench, self._size, self._failed_starts = level, bench, size, 0
        # For what sandboxes leave when a process is killed; if this one is, the next grader tidies up, by the pid in the name.
        self._folder = tempfile.TemporaryDirectory(prefix=f"pgcourse-{os.getpid()}-", ignore_cleanup_errors=True)
        self._processes: list[_Process] = []

    def __enter__(self):
        os.chmod(self._folder.name, 0o755)  # sandboxes run as another user
        self._processes = [self._start() for _ in range(self._size)]
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.end()
        self._folder.cleanup()

    def _start(self) -> "_Process":
        return _Process(self._level, self._bench, self._folder.name)

    def run(self, jobs: Iterable[tuple[Any, Job]]) -> Iterator[tuple[Any, Result]]:
        """As ``Engine.run``. Raises RuntimeError where no process gets ready."""
        jobs, waiting = iter(jobs), deque()
        while True:
            if not waiting and (job := next(jobs, None)) is not None:
                waiting.append(_Task(*job))
            idle = [process for process in self._processes if process.ready and process.task is None]
            if waiting and idle:
                idle[0].give(waiting.popleft())
            elif not waiting and not any(process.task for process in self._processes):
                return
            else:
                for process in self._come():
                    task = process.task
                    alive, result = process.take()
                    if not alive:
                        self._replace(process)
                        if task and task.tries < _TRIES:
                            waiting.append(_Task(task.key, task.job, task.tries + 1))
                        elif task:
                            yield task.key, Died()
                    elif task:
                        yield task.key, result

    def _come(self) -> list["_Process"]:
        """The processes from which something has come, or that have ended, or that are given up; waits for one."""
        now = time.monotonic()
        if overdue := [process for process in self._processes if process.task and now > process.since + PATIENCE]:
            for process in overdue:
                process.kill()
        come = wait([process.connection for process in self._processes], timeout=_TICK)
        return [process for process in self._processes if process.connection in come]

    def _replace(self, process: "_Process") -> None:
        process.end()
        self._failed_starts = 0 if process.ready else self._failed_starts + 1
        if self._failed_starts >= _STARTS:
            raise RuntimeError(f"{_STARTS} grading processes in a row ended before they were ready; they say why above.")
        self._processes[self._processes.index(process)] = self._start()


class _Process:
    """A process that does one job at a time."""

    def __init__(self, level: str, bench: Bench, folder: str):
        context = multiprocessing.get_context("spawn")  # a fork would share this process's threads and open gradebook
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), level, bench, folder), daemon=True)
        self._process.start()
        theirs.close()  # now its end is the end of the connection
        self.ready = False
        self.task: _Task | None = None
        self.since = 0.0

    def give(self, task: _Task) -> None:
        self.task, self.since = task, time.monotonic()
        with suppress(OSError):  # it has died; take() will tell
            self.connection.send(task.job)

    def take(self) -> tuple[bool, Any]:
        """Whether it is alive, and the result that has come. The first thing that comes is that it is ready."""
        try:
            result = self.connection.recv()
        except (EOFError, OSError):
            return False, None
        self.ready, self.task = True, None
        return True, result

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Kill it; its sandbox dies with it."""
        self.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, parent: int, level: str, bench: Bench, folder: str) -> None:
    """What a process of the pool does, until the other end of the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of the terminal; the first one decides
    if sys.platform == "linux":
        confine.die_with_parent(parent)
    tempfile.tempdir = folder
    with bench(level) as work, suppress(EOFError, BrokenPipeError):
        connection.send("ready")
        while True:
            connection.send(work(connection.recv()))


# ----------------------------------------------------------------------------------------------------------------------
# A class


def run(
    submissions: Path,
    gradebook: Path,
    *,
    lectures: str | None = None,
    workers: int | None = None,
    engine: str = "local",
    late: Path | None = None,
    trust: bool = False,
    again: str = "",
) -> None:
    """Grade what is not graded yet, keep it in the gradebook, print how everyone stands.

    again: also grade again what was judged by other versions of the tasks ("changed"), or everything ("all"). Raises
    ValueError for whatever is wrong with what is given, and where submissions would run unconfined without ``trust``.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1.")
    policy = _read_policy(late)
    found = scan(submissions)
    with Gradebook(gradebook, create=not again) as book, _alone(gradebook):
        if again and not book.tasks:
            raise ValueError(f"nothing was graded yet in {gradebook}; pgcourse grade does that.")
        tasks = _tasks_of(book, lectures)
        if policy:
            book.set_policy(policy)
        with _engine(engine, workers, trust) as pool:
            if tasks is None:
                tasks = _answered(found, pool)
            if not book.tasks:
                book.fix_tasks((task.id, task.title, task.points) for task in tasks)
            try:
                grade(book, found, pool, tasks, again)
            except KeyboardInterrupt:
                print(f"\nWhat is graded is in {gradebook}; the same command goes on from there.", file=sys.stderr)
                raise
        say(table(book.standings()))
        _say_what_to_look_at(book, tasks)


def grade(book: Gradebook, found: Sequence[HandedIn], engine: Engine, tasks: Sequence[Task], again: str = "") -> None:
    """Grade what is not in the gradebook yet, and record each submission as soon as it is done."""
    versions = {task.id: unit.task_version(task) for task in tasks}
    ids, seed = tuple(versions), book.seed
    with tqdm(total=len(found), unit="submission", desc="Grading", file=sys.stderr) as bar:

        def jobs() -> Iterator[tuple[Submission, Job]]:
            for handed_in in found:
                submission = handed_in.read()
                judged_by = versions if again == "changed" else None
                if again != "all" and book.is_graded(submission.student, submission.sha256, judged_by):
                    bar.update()
                elif submission.rejected is not None:
                    book.record(submission, _unseen(tasks, NOT_ATTEMPTED, ""), versions)
                    bar.update()
                else:
                    yield submission, Job(submission.files, ids, seed)

        for submission, result in engine.run(jobs()):
            report = result if isinstance(result, unit.Report) else _unseen(tasks, CRASH, _CRASHED, (_CRASHED_FLAG,))
            book.record(submission, report, versions)
            bar.update()


_CRASHED = "What judges the answers ended abruptly, twice, when it came to this submission. A person looks at it."
_CRASHED_FLAG = "The grading process died twice on this submission."


def _unseen(tasks: Sequence[Task], status: str, message: str, flags: tuple[str, ...] = ()) -> unit.Report:
    """The report on a submission in which nothing was judged."""
    outcomes = tuple(Outcome(task.id, status, 0, task.points, message) for task in tasks)
    return unit.Report(outcomes, notices=(), rejected=None, flags=flags, cpu_seconds=0.0, level="")


def _read_policy(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
        late.parse(text)
    except ValueError as problem:  # UnicodeDecodeError is one too
        raise ValueError(f"{path}: {problem}") from None
    return text


@contextmanager
def _alone(gradebook: Path) -> Iterator[None]:
    """Raises ValueError where another process grades into the same gradebook. Ends by itself when this one is killed."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    # Not on the gradebook itself: SQLite has locks of its own on that.
    with gradebook.with_name(f"{gradebook.name}.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is grading into {gradebook}; wait until it is done.") from None
        yield


# Which tasks count


def _tasks_of(book: Gradebook, lectures: str | None) -> list[Task] | None:
    """The tasks that the gradebook was begun with, or else those of the lectures asked for; None where neither says."""
    asked = None if lectures is None else _of_lectures(lectures)
    if not book.tasks:
        return asked
    begun = sorted({task[:2] for task in book.tasks})
    if asked is not None and sorted({task.id[:2] for task in asked}) != begun:
        raise ValueError(
            f"{book.path} was begun with lectures {', '.join(begun)}, which stay the same in it; begin another for {lectures}."
        )
    by_id = {task.id: task for task in all_tasks()}
    if unknown := [task for task in book.tasks if task not in by_id]:
        raise ValueError(f"{book.path} was begun with tasks that this version does not have: {', '.join(unknown)}.")
    return [by_id[task] for task in book.tasks]


def _of_lectures(asked: str) -> list[Task]:
    """The tasks of "03" or "03-05"."""
    numbers = between(asked)
    tasks = [task for task in all_tasks() if task.id[:2] in numbers]
    if not tasks:
        have = ", ".join(sorted({task.id[:2] for task in all_tasks()}))
        raise ValueError(f"--lectures {asked}: there are no tasks in that; lectures {have} have some.")
    return tasks


def _answered(found: Sequence[HandedIn], engine: Engine) -> list[Task]:
    """The tasks of every lecture of which a submission answers at least one."""
    lecture_of = {task.name: task.id[:2] for task in all_tasks()}
    answering: Counter[str] = Counter()
    with tqdm(total=len(found), unit="submission", desc="Looking for answers", file=sys.stderr) as bar:

        def jobs() -> Iterator[tuple[None, Job]]:
            for handed_in in found:
                submission = handed_in.read()
                if submission.rejected is None:
                    yield None, Job(submission.files, None)
                else:
                    bar.update()

        for _, names in engine.run(jobs()):
            bar.update()
            if isinstance(names, tuple):
                answering.update({lecture_of[name] for name in names if name in lecture_of})
    if not answering:
        raise ValueError("no submission defines a function that a task asks for; --lectures 03 grades them all the same.")
    for lecture, number in sorted(answering.items()):
        say(f"Lecture {lecture} counts: {count(number, 'submission')} of {len(found)} answer something of it.")
    return [task for task in all_tasks() if task.id[:2] in answering]


# Where it runs


@contextmanager
def _engine(name: str, workers: int | None, trust: bool) -> Iterator[Engine]:
    if name == "ray":
        from .cluster import Cluster

        with Cluster(workers, trust) as cluster:
            yield cluster
        return
    level = isolation(trust)
    with Pool(level, workers or _cores()) as pool:
        yield pool


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def isolation(trust: bool) -> str:
    """The best isolation level of this machine, which is said. Raises ValueError where there is none, without ``trust``."""
    level, reasons = sandbox.best_level()
    if level == "S0" and not trust:
        why = " ".join(f"{name}: {reason}." for name, reason in reasons.items())
        raise ValueError(
            "this machine cannot confine what students wrote: it would run with your rights, and could read the hidden tests. "
            f"{why} Grade on Linux (a virtual machine will do: docs/isolation.md), or, if you trust every "
            "submission, add --trust-submissions."
        )
    say(f"Isolation: {level} ({_LEVELS[level]}).")
    for name, reason in reasons.items():
        say(f"  {name} is not to be had: {reason}")
    return level


_LEVELS = {
    "S3": "bubblewrap, seccomp, cgroup",
    "S2": "bubblewrap, seccomp, limits",
    "S1": "Landlock, seccomp, limits",
    "S0": "none: submissions run with your rights",
}


# What is printed


def table(standings: Sequence[Standing]) -> str:
    """A line for each student."""
    rows = [(_short(each.student, 40), f"{each.points:g}/{each.max_points}", _remarks(each)) for each in standings]
    widths = [max(map(len, column)) for column in zip(("student", "points", ""), *rows, strict=True)]
    lines = [f"{'student':{widths[0]}}  {'points':>{widths[1]}}"]
    lines += [f"{student:{widths[0]}}  {points:>{widths[1]}}  {remarks}".rstrip() for student, points, remarks in rows]
    levels = Counter(each.level for each in standings if each.level)
    graded = ", ".join(f"{number} at isolation {level}" for level, number in sorted(levels.items()))
    return "\n".join([*lines, f"{count(len(standings), 'student')}; {graded or 'none graded'}."])


def _remarks(standing: Standing) -> str:
    said = [standing.late] if standing.late else []
    if standing.rejected is not None:
        said.append(f"refused: {_short(standing.rejected, 80)}")
    if any(task.override for task in standing.tasks):
        said.append("overridden")
    said += [f"flag: {_short(flag, 80)}" for flag in standing.flags]
    return "; ".join(said)


def _short(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _say_what_to_look_at(book: Gradebook, tasks: Sequence[Task]) -> None:
    if outdated := book.outdated({task.id: unit.task_version(task) for task in tasks}):
        say(
            f"{count(outdated, 'student')} of these were judged by other versions of the tasks; pgcourse gradebook regrade "
            "judges them again."
        )
    policy = book.policy
    if policy and (unknown := sorted(set(policy.extensions) - set(book.people()))):
        say(f"The late policy has extensions for students who are not in the gradebook: {', '.join(unknown)}.")
