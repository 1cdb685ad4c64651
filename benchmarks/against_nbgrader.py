"""Grading the same notebooks with ``nbgrader autograde`` and with ``pgcourse grade``, one after the other, one at a time.

The notebooks are exercise 03 with right and wrong answers mixed. A submission's cost, without starting up, is for nbgrader the
difference between grading all and grading two, divided by the number in between; for pgcourse the computing time of judge and
sandbox that its gradebook has (the kernel does not count for a parent what a killed sandbox used), and the same difference
by the clock. Both must give the same marks. Goal: ten times less computing time than nbgrader.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from pgcourse import grading, notebooks
from pgcourse.grading.gradebook import Gradebook

EXERCISE = "03_log_derivative_trick.ipynb"
GOAL = 10
CONFIG = """from pgcourse import nbgrading
c = get_config()
c.CourseDirectory.course_id = "pg"
nbgrading.configure(c)
"""
READ = """import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db", "pg") as book:
    print(json.dumps({each.student.id: each.score for each in book.assignment_submissions("ps1")}))
"""


def run(folder: Path, *arguments: str) -> tuple[str, float, float]:
    """What a Python process printed, and its CPU seconds and seconds by the clock, those of its children included."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls a program by its name
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PGCOURSE_BUDGET": "small"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds


def lay(folder: Path, number: int) -> None:
    """A course of nbgrader's in which so many students have handed in."""
    (folder / "nbgrader_config.py").write_text(CONFIG)
    (folder / "source/ps1").mkdir(parents=True)
    shutil.copy(notebooks.course_folder() / "exercises" / EXERCISE, folder / "source/ps1")
    run(folder, "-m", "nbgrader", "generate_assignment", "ps1", "--create")
    rng = random.Random(0)
    for student in range(number):
        notebook = nbformat.read(folder / "release/ps1" / EXERCISE, as_version=4)
        for cell in notebook.cells:
            about = cell.metadata.get("nbgrader", {})
            if about.get("solution"):
                task = grading.find(about["grade_id"])
                right = rng.random() < 0.6
                cell.source = grading.reference_source(task) if right else _wrong(task)
        (folder / f"submitted/s{student:03}/ps1").mkdir(parents=True)
        nbformat.write(notebook, folder / f"submitted/s{student:03}/ps1" / EXERCISE)


def _wrong(task: grading.Task) -> str:
    return grading.stub_source(task).replace("raise NotImplementedError", f"return {task.parameters[0]}")


def with_nbgrader(folder: Path, students: str) -> tuple[float, float]:
    return run(folder, "-m", "nbgrader", "autograde", "ps1", "--student", students, "--force")[1:]


def with_pgcourse(folder: Path, submitted: Path, gradebook: str) -> tuple[float, float]:
    flags = ["--gradebook", gradebook, "--lectures", "03", "--workers", "1"]
    return run(folder, "-m", "pgcourse", "grade", str(submitted), *flags)[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=22)
    number = parser.parse_args().students
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay(folder, number)
        for student in ("s000", "s001"):
            shutil.copytree(folder / "submitted" / student, folder / "two" / student)
        figures = {
            "nbgrader autograde": (with_nbgrader(folder, "s00[01]"), with_nbgrader(folder, "*")),
            "pgcourse grade": (
                with_pgcourse(folder, folder / "two", "two.db"),
                with_pgcourse(folder, folder / "submitted", "all.db"),
            ),
        }
        theirs = json.loads(run(folder, "-c", READ)[0])
        with Gradebook(folder / "all.db") as book:
            standings, ours = book.standings(), book.mean_seconds()
    if theirs != {standing.student: standing.points for standing in standings}:
        raise AssertionError("nbgrader and pgcourse give different marks")
    print(f"{number} notebooks of five tasks, the same marks from both; isolation {standings[0].level}\n")
    print("| | CPU s each | by the clock s each |\n|---|---|---|")
    each = {}
    for program, (two, all_) in figures.items():
        cpu, clock = ((all_[kind] - two[kind]) / (number - 2) for kind in (0, 1))
        each[program] = ours if program == "pgcourse grade" else cpu
        print(f"| {program} | {each[program]:.2f} | {clock:.2f} |")
    ratio = each["nbgrader autograde"] / each["pgcourse grade"]
    print(f"\nnbgrader takes {ratio:.1f} times the computing time; goal: {GOAL}: {'reached' if ratio >= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
