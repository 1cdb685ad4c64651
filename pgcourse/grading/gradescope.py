"""Gradescope's autograder: grades the submission lying there and writes ``results.json``. ``run_autograder`` starts it.

    /autograder/submission             what the student handed in
    /autograder/results/results.json   what Gradescope reads: gradescope-autograders.readthedocs.io, Autograder Specifications

    $ python -m pgcourse.grading.gradescope 03 04
"""

import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from .intake import walk
from .judge import PASSED, Outcome
from .submissions import HandedIn, Submission
from .task import Task
from .tasks import all_tasks

if TYPE_CHECKING:
    from .unit import Report


def main(lectures: Sequence[str], home: Path = Path("/autograder")) -> None:
    """Grade the tasks of these lectures, such as "03". Raises RuntimeError where the student's code cannot be isolated."""
    from .sandbox.worker import Worker, best_level
    from .unit import grade

    tasks = [task for task in all_tasks() if task.id[:2] in lectures]
    level, reasons = best_level()
    if level == "S0":
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise RuntimeError(f"nothing was graded: this container offers no isolation for the student's code. {why}")
    submission = taken_in(home / "submission")
    seed = secrets.randbelow(1_000_000)
    print(f"isolation {level}, hidden cases from seed {seed}")  # in the log that only instructors see
    with Worker(level) as worker:
        report = grade(worker, submission.files, tasks, seed)
    (home / "results").mkdir(exist_ok=True)
    text = json.dumps(results(submission, report, tasks), indent=1)
    (home / "results/results.json").write_text(text + "\n", encoding="utf-8")


def taken_in(folder: Path) -> Submission:
    """The notebooks, Python files or the pack in a folder, as one student's."""
    return HandedIn(Submission("student", ()), [("/".join(entry.path), entry) for entry in walk(folder)]).read()


def results(submission: Submission, report: "Report", tasks: Sequence[Task]) -> dict:
    """What results.json says. The score is the sum of the tests'."""
    titles = {task.id: task.title for task in tasks}
    rejected = submission.rejected or report.rejected
    said = [f"This cannot be graded: {rejected}"] if rejected else []
    tests = [
        {
            "number": outcome.task,
            "name": titles[outcome.task],
            "score": outcome.points,
            "max_score": outcome.max_points,
            "status": "passed" if outcome.status == PASSED else "failed",
            "output": _output(outcome),
        }
        for outcome in report.outcomes
    ]
    if flags := [*submission.flags, *report.flags]:
        text = "\n".join(flags)
        tests.append({"name": "For the instructor", "score": 0, "max_score": 0, "output": text, "visibility": "hidden"})
    return {
        "output": "\n".join([*said, *submission.notices, *report.notices]),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "execution_time": round(report.cpu_seconds, 2),
        "stdout_visibility": "hidden",
        "extra_data": {"course": __version__, "isolation": report.level, "sha256": submission.sha256},
        "tests": tests,
    }


def _output(outcome: Outcome) -> str:
    printed = f"\nYour function printed:\n{outcome.printed}" if outcome.printed.strip() else ""
    return f"{outcome.status}\n{outcome.message}{printed}"


if __name__ == "__main__":
    main(sys.argv[1:])
