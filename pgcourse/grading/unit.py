"""Grading one submission: its files, on a worker, by tasks. What is graded, and everything that the grade rests on, is in the
arguments; so it can run in any process or on any machine, and be done again.
"""

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from .answer import MESSAGE_LIMIT, Complaint, clean
from .judge import ERROR, FAILED, NOT_ATTEMPTED, PASSED, TAMPER, TIMEOUT, Outcome, judge
from .sandbox.worker import TAMPERED, Rejected, SandboxError, Session, Worker
from .task import Task

PUBLIC_SEED = 0
"""Draws the inputs that students may see: ``check(f, seed=0)`` draws the same."""
MISSING = "The files define no function of that name."
_LONGEST = 900.0
"""Seconds, by the clock, after which no further task of a submission is begun: others are waiting."""
_TOO_LONG = "It was not judged: the functions before it took too long, all in all."


@dataclass(frozen=True)
class Report:
    """What grading a submission gave; plain data."""

    outcomes: tuple[Outcome, ...]
    """One for each task asked, in that order."""
    notices: tuple[str, ...]
    """What the student should know about how the files were read: "%pip ... left out", "f is defined more than once"."""
    rejected: str | None
    """Why the files cannot be graded at all; no task counts as attempted then."""
    flags: tuple[str, ...]
    """What a person should look at: tampering."""
    cpu_seconds: float
    """Computing time of the sandbox and of the judge."""
    level: str
    """The isolation level it was graded at."""


def grade(worker: Worker, files: Sequence[tuple[str, bytes]], tasks: Sequence[Task], seed: int) -> Report:
    """Judge the answers in these files, (name, content), on hidden cases that ``seed`` draws.

    Messages show nothing of these. Where an answer fails on the public cases too (``check(f, seed=0)`` draws them), the message
    is about those, in full detail; else it is one general sentence.
    """
    return _Grading(worker, files, seed).report(tasks)


class _Grading:
    """Each judgement of each task gets a session of its own, so that no answer can prepare anything for another."""

    def __init__(self, worker: Worker, files: Sequence[tuple[str, bytes]], seed: int):
        self._worker, self._files, self._seed = worker, files, seed
        self._functions: tuple[str, ...] | None = None
        self._notices: tuple[str, ...] = ()
        self._load_failure: Complaint | None = None
        self._flags: list[str] = []
        self._seconds = 0.0
        self._begin = time.monotonic()

    def report(self, tasks: Sequence[Task]) -> Report:
        begin = time.process_time()
        rejected = None
        try:
            outcomes = tuple([self._outcome(each) for each in tasks])
        except Rejected as problem:
            rejected = str(problem)
            outcomes = tuple(_without_points(each, NOT_ATTEMPTED, "The file could not be read.") for each in tasks)
        seconds = self._seconds + time.process_time() - begin
        return Report(outcomes, self._notices, rejected, tuple(dict.fromkeys(self._flags)), seconds, self._worker.level)

    def _outcome(self, task: Task) -> Outcome:
        if self._functions is not None and task.name not in self._functions:
            return _without_points(task, NOT_ATTEMPTED, MISSING)
        if time.monotonic() > self._begin + _LONGEST:
            return _without_points(task, TIMEOUT, _TOO_LONG)
        outcome = self._judged(task, hidden=True)
        if outcome.status in (FAILED, ERROR) and not outcome.points and self._load_failure is None:
            outcome = self._explained(task, outcome)
        if outcome.status == TAMPER:
            self._flags.append(f"{task.id}: {outcome.message}")
            return replace(outcome, points=0)
        return outcome

    def _explained(self, task: Task, outcome: Outcome) -> Outcome:
        """The outcome with what there is to say about the public cases."""
        public = self._judged(task, hidden=False)
        if public.status == PASSED:
            passes = f"It passes check({task.name}, seed={PUBLIC_SEED}); without a seed, check draws new inputs."
            message = f"{outcome.message}\n{passes}"
            return replace(outcome, message=message, printed=public.printed, warned=public.warned)
        status = TAMPER if public.status == TAMPER else outcome.status
        return replace(public, status=status, points=outcome.points, mistake=public.mistake or outcome.mistake)

    def _judged(self, task: Task, hidden: bool) -> Outcome:
        """One judgement, on the hidden cases or the public ones."""
        if self._load_failure is not None:  # the same would happen again
            return _without_points(task, self._load_failure.status, self._load_failure.message)
        try:
            session = self._worker.session(self._files, task.forbidden)
        except Complaint as complaint:
            failure = Complaint(complaint.status, f"Loading the definitions in the files failed. {complaint.message}")
            if self._functions is None:
                self._load_failure = failure
            return _without_points(task, failure.status, failure.message)
        with session:
            self._functions, self._notices = session.functions, session.notices
            outcome = self._judged_in(session, task, hidden)
        self._seconds += session.cpu_seconds
        return _without_points(task, TAMPER, TAMPERED) if session.tampered else outcome

    def _judged_in(self, session: Session, task: Task, hidden: bool) -> Outcome:
        if task.name not in session.functions:
            return _without_points(task, NOT_ATTEMPTED, MISSING)
        try:
            remote = session.answer(task.name, task.parameters)
        except Complaint as complaint:
            return _without_points(task, complaint.status, complaint.general if hidden else complaint.message)
        try:
            if hidden:
                return judge(task, remote, self._seed, hidden=True)
            return judge(task, remote, PUBLIC_SEED, learning=False)
        except SandboxError:
            raise
        except Exception as problem:
            # Something an answer returned that the check was not written for: its bug, and one student's grade, not all.
            what = clean(f"{type(problem).__name__}: {problem}", MESSAGE_LIMIT)
            self._flags.append(f"{task.id}: the check failed with {what}")
            return _without_points(
                task, ERROR, "The check could not judge what your function returns. A person will look at it."
            )


def _without_points(task: Task, status: str, message: str) -> Outcome:
    return Outcome(task.id, status, 0, task.points, message)


@cache
def task_version(task: Task) -> str:
    """A digest of what decides the verdict: the sources of the task's module and of the judge's modules."""
    modules = (task.reference.__module__, *(f"{__package__}.{name}" for name in ("answer", "compare", "judge", "task", "unit")))
    sources = b"".join(Path(str(sys.modules[name].__file__)).read_bytes() for name in modules)
    return hashlib.sha256(sources).hexdigest()[:16]
