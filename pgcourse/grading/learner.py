"""What a learner calls: check, hint, solution, progress, tasks."""

import difflib
import inspect
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import store
from .judge import MARKS, PASSED, Outcome, count, judge
from .shown import Shown, indent, say
from .task import Task, is_sealed, reference_source
from .tasks import all_tasks


class UnknownTask(LookupError):
    """There is no task of that name; the message suggests the nearest ones."""


def find(what: Callable | str | Task) -> Task:
    """The task of a function, a function name or a task id.

    Raises UnknownTask when there is none of that name, TypeError for something that has no name of its own.
    """
    if isinstance(what, Task):
        return what
    if not isinstance(what, str):
        what = _name_of(what)
    for task in all_tasks():
        if what in (task.id, task.name):
            return task
    names = [task.name for task in all_tasks()]
    near = difflib.get_close_matches(what.partition(".")[2] or what, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UnknownTask(f"No task asks for a function named {what!r}. {hint}tasks() lists all {len(names)}.")


def _name_of(function) -> str:
    if inspect.isclass(function):
        kind = f"the class {function.__name__}"
    elif not callable(function):
        kind = f"an object of type {type(function).__name__}"
    elif getattr(function, "__name__", "<lambda>") == "<lambda>":
        kind = "a function without a name"
    else:
        return function.__name__
    example = all_tasks()[0].name
    raise TypeError(
        f"Give the function you wrote, under the name the task gives it: check({example}). This is {kind}. tasks() lists "
        "the names."
    )


def check(function: Callable, *, seed: int | None = None) -> Outcome:
    """Judge the function you wrote; prints what was found and returns it.

    The inputs are drawn afresh each time, or as ``seed`` says. Raises TypeError or LookupError for something that is no task's.
    """
    if isinstance(function, str):
        raise TypeError(f"Give the function itself, check({function.rpartition('.')[2]}), not its name in quotes.")
    task = find(function)
    where = store.folder()
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    line = _Line()
    try:
        outcome = judge(task, function, seed, report=line.show)
    finally:
        line.end()
    store.update(where, task.id, lambda record: record.note(outcome.status, outcome.points))
    return outcome.say()


def hint(what: Callable | str) -> None:
    """Print the next hint for a task, given by its function or its name; after the last one, all of them again."""
    task, where = find(what), store.folder()
    given = 0

    def count_one(record):
        nonlocal given
        given = record.hints + record.hints_after
        if given < len(task.hints):
            which = "hints_after" if record.status == PASSED else "hints"
            setattr(record, which, getattr(record, which) + 1)

    store.update(where, task.id, count_one)
    total = len(task.hints)
    if given < total:
        say(f"Hint {given + 1} of {total} for {task.name}: {task.hints[given]}")
        return
    said = "\n".join(f"{number}. {text}" for number, text in enumerate(task.hints, 1))
    then = "" if is_sealed(task) else f"\nsolution({task.name}) shows the solution."
    say(f"You have had all {count(total, 'hint')} for {task.name}:\n{indent(said)}{then}")


def solution(what: Callable | str, confirm: bool | None = None) -> None:
    """Print the solution of a task, after asking once; ``confirm=True`` shows it without asking."""
    task = find(what)
    if is_sealed(task):
        say(f"This copy of the course is sealed: it holds no solutions. hint({task.name}) may help, or your instructor.")
        return
    if confirm is None:
        confirm = _asked(task)
    if not confirm:
        say(f"Not shown. hint({task.name}) may help first.")
        return

    def seen(record):
        record.solution_seen = record.solution_seen or record.status != PASSED  # afterwards it is no help

    store.update(store.folder(), task.id, seen)
    say(reference_source(task))


def _asked(task: Task) -> bool:
    question = f"Show the solution of {task.id}? A hint may be enough: hint({task.name}). [y/N] "
    try:
        return input(question).strip().lower() in ("y", "yes")
    except (EOFError, OSError, NotImplementedError):  # no keyboard here: a notebook being executed, a pipe
        say(f"Nobody can be asked here; solution({task.name}, confirm=True) shows it without asking.")
        return False


@dataclass(frozen=True)
class Row:
    """How one task stands."""

    task: Task
    points: int
    status: str
    hints: int
    solution_seen: bool


@dataclass(frozen=True)
class Overview(Shown):
    """How all tasks of the course stand."""

    rows: tuple[Row, ...]

    @property
    def points(self) -> int:
        return sum(row.points for row in self.rows)

    @property
    def max_points(self) -> int:
        return sum(row.task.points for row in self.rows)

    def __str__(self) -> str:
        width = max(len(row.task.id) for row in self.rows)
        lines, lecture = [], ""
        for row in self.rows:
            if lecture and row.task.id[:2] != lecture:
                lines.append("")
            lecture = row.task.id[:2]
            help_taken = [count(row.hints, "hint")] * bool(row.hints) + ["solution seen"] * row.solution_seen
            lines.append(
                f"{MARKS[row.status]} {row.task.id:{width}}  {row.points:>2}/{row.task.points:<2}  {row.status:13}  "
                f"{row.task.title}" + (f" ({', '.join(help_taken)})" if help_taken else "")
            )
        done = sum(row.status == "passed" for row in self.rows)
        lines += ["", f"{self.points} of {self.max_points} points; {done} of {count(len(self.rows), 'task')} passed"]
        return "\n".join(lines)


def progress(folder: Path | str | None = None) -> Overview:
    """Print how all tasks of the course stand, and return it. ``folder``: a working copy; by default the one you are in."""
    records = store.read(store.folder() if folder is None else Path(folder).resolve())
    empty = store.Record()
    rows = []
    for task in all_tasks():
        record = records.get(task.id, empty)
        points = min(record.points, task.points)
        status = record.status if record.status in MARKS else empty.status
        rows.append(Row(task, points, status, record.hints, record.solution_seen))
    return Overview(tuple(rows)).say()


class Tasks(tuple, Shown):
    """All tasks, which show themselves as a table: id, points, title, signature with shapes."""

    __slots__ = ()

    def __repr__(self) -> str:
        width = max(len(task.id) for task in self)
        return "\n".join(
            f"{task.id:{width}}  {count(task.points, 'point'):>8}  {task.title}\n{'':{width}}            {task.signature}"
            for task in self
        )


def tasks() -> Tasks:
    """Every task of the course."""
    return Tasks(all_tasks())


class _Line:
    """One line of progress that is overwritten, where there is somebody to see it; at most five times a second."""

    def __init__(self):
        self._live = "ipykernel" in sys.modules or sys.stdout.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, text: str) -> None:
        if self._live and time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.2
            say("\r" + text.ljust(self._width), end="")
            self._width = len(text)

    def end(self) -> None:
        if self._width:
            say("\r" + " " * self._width + "\r", end="")
