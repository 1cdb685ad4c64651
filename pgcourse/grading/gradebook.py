"""The gradebook: one SQLite file. It keeps every attempt for ever, and every table and report is derived from it.

A submission is recorded in one transaction that has reached the disk when ``record`` returns (write-ahead log, synchronous
FULL), so that a grader killed at any moment leaves a gradebook in which each submission is either graded or not there.
"""

import difflib
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from . import late
from .answer import clean
from .standing import Standing, TaskStanding

if TYPE_CHECKING:
    from .submissions import Submission
    from .unit import Report

FORMAT = 1
_APPLICATION = 0x70676762  # "pggb"
_TEXT_LIMIT = 20_000
_NOTES_LIMIT = 100

_SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE task (task TEXT PRIMARY KEY, title TEXT NOT NULL, max_points INTEGER NOT NULL);
CREATE TABLE policy (id INTEGER PRIMARY KEY, text TEXT NOT NULL, time TEXT NOT NULL);
CREATE TABLE student (student TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, number TEXT NOT NULL);
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, student TEXT NOT NULL REFERENCES student, sha256 TEXT NOT NULL, submitted TEXT, rejected TEXT,
    notices TEXT NOT NULL, flags TEXT NOT NULL, seed INTEGER NOT NULL, versions TEXT NOT NULL, grader TEXT NOT NULL,
    level TEXT NOT NULL, cpu_seconds REAL NOT NULL, graded TEXT NOT NULL
);
CREATE INDEX attempts ON attempt (student, id);
CREATE TABLE outcome (
    attempt INTEGER NOT NULL REFERENCES attempt, task TEXT NOT NULL REFERENCES task, status TEXT NOT NULL,
    points INTEGER NOT NULL, max_points INTEGER NOT NULL, mistake TEXT, message TEXT NOT NULL, printed TEXT NOT NULL,
    warned TEXT NOT NULL, PRIMARY KEY (attempt, task)
) WITHOUT ROWID;
CREATE TABLE override (
    id INTEGER PRIMARY KEY, student TEXT NOT NULL REFERENCES student, task TEXT NOT NULL REFERENCES task,
    points REAL NOT NULL, reason TEXT NOT NULL, who TEXT NOT NULL, time TEXT NOT NULL
);
"""
_KEPT = ("attempt", "outcome", "override", "policy", "task")
"""Tables to which rows are only ever added."""


class GradebookError(ValueError):
    """The gradebook cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Person:
    """Who a student is in the system that the submissions come from; "" where that does not say."""

    name: str
    email: str
    number: str


class Gradebook:
    """An open gradebook; a context manager. Raises GradebookError for a file that is none, or none of this format.

    create: begin a new one where there is no file.
    """

    def __init__(self, path: Path, *, create: bool = False):
        self.path = path
        if not create and not path.is_file():
            raise GradebookError(f"there is no gradebook {path}; pgcourse grade SUBMISSIONS --gradebook {path} begins one.")
        with self._explained():
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            with self._explained():
                self._prepare(create)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()

    def _prepare(self, create: bool) -> None:
        application, version = (self._value(f"PRAGMA {name}") for name in ("application_id", "user_version"))
        empty = application == version == 0 and not self._value("SELECT count(*) FROM sqlite_master")
        if not (empty and create) and application != _APPLICATION:
            raise GradebookError(f"{self.path} is not a gradebook of this course; give another file.")
        if not empty and version != FORMAT:
            raise GradebookError(
                f"{self.path} is a gradebook of format {version}, and this version of pgcourse ({__version__}) reads format "
                f"{FORMAT}. Use the version that wrote it, or a newer one."
            )
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        if empty:
            self._begin_new()

    def _begin_new(self) -> None:
        # Above what learners' own checks draw, so that nobody has seen its inputs.
        seed = 1_000_000 + secrets.randbelow(2**31 - 1_000_000)
        with self._transaction():
            if self._value("PRAGMA application_id"):
                return  # another process was faster
            for statement in _SCHEMA.split(";\n"):
                self._connection.execute(statement)
            for table in _KEPT:
                for change in ("UPDATE", "DELETE"):
                    self._connection.execute(
                        f"CREATE TRIGGER {table}_{change} BEFORE {change} ON {table} "
                        f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
                    )
            self._connection.execute("INSERT INTO setting VALUES ('seed', ?)", (str(seed),))
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Everything within it, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as problem:
            if isinstance(problem, sqlite3.DatabaseError) and "not a database" in str(problem):
                raise GradebookError(f"{self.path} is not a gradebook of this course; give another file.") from None
            raise GradebookError(
                f"{self.path} cannot be used ({problem}). What was recorded before is kept. Make sure that the disk has room "
                "and that the file may be written, then run the same command again."
            ) from problem

    def _value(self, query: str, *parameters):
        row = self._connection.execute(query, parameters).fetchone()
        return row and row[0]

    # What a gradebook is about

    @property
    def seed(self) -> int:
        """The hidden cases' seed: drawn when the gradebook was begun, the same for everyone in it."""
        return int(self._value("SELECT value FROM setting WHERE name = 'seed'"))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The ids of the tasks that count, in the order of the exercises; empty before ``fix_tasks``."""
        return tuple(row[0] for row in self._connection.execute("SELECT task FROM task ORDER BY rowid"))

    def fix_tasks(self, tasks: Iterable[tuple[str, str, int]]) -> None:
        """Which tasks count: (id, title, points). Once and for all: every student is graded on the same ones."""
        with self._explained(), self._transaction():
            self._connection.executemany("INSERT INTO task VALUES (?, ?, ?)", tasks)

    def set_policy(self, text: str) -> None:
        """The late policy from now on, as TOML. Raises ValueError where it is not one."""
        late.parse(text)
        with self._explained(), self._transaction():
            if text != self._value("SELECT text FROM policy ORDER BY id DESC LIMIT 1"):
                self._connection.execute("INSERT INTO policy (text, time) VALUES (?, ?)", (text, _now()))

    @property
    def policy(self) -> late.LatePolicy | None:
        text = self._value("SELECT text FROM policy ORDER BY id DESC LIMIT 1")
        return text and late.parse(text)

    # What was graded

    def is_graded(self, student: str, sha256: str, versions: Mapping[str, str] | None = None) -> bool:
        """Whether the student's latest attempt is this one; with ``versions``, also whether by these versions of the tasks."""
        row = self._connection.execute(
            "SELECT sha256, versions FROM attempt WHERE student = ? ORDER BY id DESC LIMIT 1", (student,)
        ).fetchone()
        return row is not None and row[0] == sha256 and (versions is None or json.loads(row[1]) == versions)

    def record(self, submission: "Submission", report: "Report", versions: Mapping[str, str]) -> None:
        """Keep what was found: when this returns it is on the disk, all of it."""
        notices = _notes((*submission.notices, *report.notices))
        flags = _notes((*submission.flags, *report.flags))
        rejected = submission.rejected if submission.rejected is not None else report.rejected
        with self._explained(), self._transaction():
            self._connection.execute(
                "INSERT INTO student VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET name = excluded.name, "
                "email = excluded.email, number = excluded.number",
                (submission.student, submission.name, submission.email, submission.number),
            )
            attempt = self._connection.execute(
                "INSERT INTO attempt VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(submission.student, submission.sha256, submission.submitted, rejected and clean(rejected, _TEXT_LIMIT)),
                    *(notices, flags, self.seed, json.dumps(versions, sort_keys=True), __version__),
                    *(report.level, report.cpu_seconds, _now()),
                ),
            ).lastrowid
            self._connection.executemany(
                "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(attempt, each.task, each.status, each.points, each.max_points, each.mistake),
                        *(clean(text, _TEXT_LIMIT) for text in (each.message, each.printed, each.warned)),
                    )
                    for each in report.outcomes
                ],
            )

    def override(self, student: str, task: str, points: float, reason: str, who: str) -> None:
        """Set the points of one task by hand. Raises ValueError for a student or task that is not there, or too many points."""
        if not self._value("SELECT 1 FROM student WHERE student = ?", student):
            raise ValueError(f"no student is named {student!r}{self._nearest(student)}.")
        most = self._value("SELECT max_points FROM task WHERE task = ?", task)
        if most is None:
            raise ValueError(f"no task of this gradebook is named {task!r}; there are {', '.join(self.tasks)}.")
        if not 0 <= points <= most:
            raise ValueError(f"points is {points:g}; {task} has 0 to {most}.")
        if not reason.strip():
            raise ValueError("the reason is empty; the student reads it beside the points.")
        with self._explained(), self._transaction():
            self._connection.execute(
                "INSERT INTO override VALUES (NULL, ?, ?, ?, ?, ?, ?)", (student, task, points, reason.strip(), who, _now())
            )

    def _nearest(self, student: str) -> str:
        near = difflib.get_close_matches(student, [row[0] for row in self._connection.execute("SELECT student FROM student")])
        return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""

    # How everyone stands

    def standings(self) -> list[Standing]:
        """One for each student, by name: the latest attempt with overrides and the late policy applied."""
        policy = self.policy
        overrides = {
            (student, task): (points, reason)
            for student, task, points, reason in self._connection.execute(
                "SELECT student, task, points, reason FROM override ORDER BY id"
            )
        }
        titles = dict(self._connection.execute("SELECT task, title FROM task"))
        latest = self._connection.execute(
            "SELECT id, student, sha256, submitted, rejected, notices, flags, level, graded FROM attempt "
            "WHERE id IN (SELECT max(id) FROM attempt GROUP BY student) ORDER BY student"
        ).fetchall()
        standings = []
        for attempt, student, sha256, submitted, rejected, notices, flags, level, graded in latest:
            tasks = []
            outcomes = self._connection.execute(
                "SELECT task, status, points, outcome.max_points, mistake, message, printed FROM outcome "
                "JOIN task USING (task) WHERE attempt = ? ORDER BY task.rowid",
                (attempt,),
            )
            for task, status, earned, most, mistake, message, printed in outcomes:
                points, reason = overrides.get((student, task), (earned, ""))
                tasks.append(TaskStanding(task, titles[task], status, points, most, message, mistake, printed, reason))
            kept, said = policy.apply(student, submitted) if policy else (1.0, "")
            standings.append(
                Standing(
                    *(student, submitted, said, rejected, tuple(json.loads(notices)), tuple(json.loads(flags)), level, graded),
                    *(sha256, tuple(tasks), round(kept * sum(task.points for task in tasks), 2)),
                    sum(task.max_points for task in tasks),
                )
            )
        return standings

    def people(self) -> dict[str, Person]:
        """Who the students are, by the name the gradebook has for them."""
        rows = self._connection.execute("SELECT student, name, email, number FROM student")
        return {student: Person(*rest) for student, *rest in rows}

    def mean_seconds(self) -> float:
        """Computing time of an attempt, judge and sandbox together."""
        return self._value("SELECT avg(cpu_seconds) FROM attempt") or 0.0

    def outdated(self, versions: Mapping[str, str]) -> int:
        """How many students' latest attempts were judged by other versions of the tasks than these."""
        latest = self._connection.execute(
            "SELECT versions FROM attempt WHERE id IN (SELECT max(id) FROM attempt GROUP BY student)"
        )
        return sum(json.loads(row[0]) != versions for row in latest)


def _notes(notes: Sequence[str]) -> str:
    kept = [clean(note, _TEXT_LIMIT) for note in dict.fromkeys(notes)]
    if len(kept) > _NOTES_LIMIT:
        kept = [*kept[:_NOTES_LIMIT], f"And {len(kept) - _NOTES_LIMIT} more."]
    return json.dumps(kept)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
