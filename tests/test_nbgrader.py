"""nbgrader takes the exercises as they are, and gives the points that the checks give: no more and no fewer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.utils import determine_grade
from traitlets.config import Config

from pgcourse import grading, nbgrading, notebooks

EXERCISES = sorted((notebooks.course_folder() / "exercises").glob("*.ipynb"))
CONFIG = """from pgcourse import nbgrading
c = get_config()
c.CourseDirectory.course_id = "pg"
nbgrading.configure(c)
"""
READ = """import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db", "pg") as book:
    graded = book.assignment_submissions("ps1")
    print(json.dumps({each.student.id: {g.name: g.auto_score for n in each.notebooks for g in n.grades} for each in graded}))
"""


def task_of(cell):
    """The task whose answer belongs into the cell, or None."""
    about = cell.metadata.get("nbgrader", {})
    return grading.find(about["grade_id"]) if about.get("solution") else None


# Metadata


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_the_metadata_is_valid_and_complete(path):
    notebook = nbformat.read(path, as_version=4)
    MetadataValidator().validate_nb(notebook)
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    tasks = [task for task in grading.tasks() if task.id[:2] == path.name[:2]]
    assert [task_of(cell) for cell in marked if cell.metadata.nbgrader.solution] == tasks
    checks = [cell for cell in marked if cell.metadata.nbgrader.grade]
    assert [cell.source for cell in checks] == [f"check({task.name}).points" for task in tasks]
    assert [cell.metadata.nbgrader.points for cell in checks] == [task.points for task in tasks]
    assert all(cell.metadata.nbgrader.locked and not cell.metadata.nbgrader.solution for cell in checks)
    assert len(marked) == 2 * len(tasks)


@pytest.mark.parametrize("name", ["lectures", "solutions"])
def test_only_exercises_carry_it(name):
    for path in (notebooks.course_folder() / name).glob("*.ipynb"):
        assert "nbgrader" not in path.read_text()


# The points of one cell


def points(*outputs, source: str = "check(f).points", most: int = 2) -> float:
    """What nbgrader makes of a graded cell with these outputs, after ``Points`` has seen it."""
    about = {"grade": True, "solution": False, "locked": True, "grade_id": "check_f", "points": most, "schema_version": 3}
    cell = new_code_cell(source, outputs=list(outputs), metadata={"nbgrader": about})
    nbgrading.Points().preprocess_cell(cell, {}, 0)
    return determine_grade(cell)[0]


def shown(text: str):
    return new_output("execute_result", {"text/plain": text})


PRINTED = new_output("stream", name="stdout", text="1\n")
ERROR = new_output("error", ename="E", evalue="e", traceback=[])


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([shown("2")], 2),
        ([PRINTED, shown("1")], 1),
        ([shown("0")], 0),
        ([], 0),  # nbgrader: full marks
        ([PRINTED], 0),
        ([shown("None")], 0),
        ([shown("'2'")], 0),
        ([shown("nan")], 0),
        ([shown("inf")], 0),
        ([shown("-1")], 0),
        ([shown("3")], 0),  # nbgrader: an exception that ends the grading
        ([shown("2"), shown("2")], 0),
        ([shown("2"), ERROR], 0),  # nbgrader: 2
        ([ERROR], 0),
    ],
)
def test_a_number_counts_and_nothing_else(outputs, expected):
    assert points(*outputs) == expected


def test_what_goes_to_stderr_costs_nothing():
    assert points(new_output("stream", name="stderr", text="careful"), shown("2")) == 2


def test_an_instructors_own_tests_are_left_alone():
    assert points(source="assert f(1) == 2") == 2


def test_the_configuration_changes_what_it_must_and_no_more(monkeypatch):
    monkeypatch.setattr(os, "environ", {"PGCOURSE_BUDGET": "full"})
    config = Config()
    nbgrading.configure(config)
    names = [each.__name__ for each in config.Autograde.autograde_preprocessors]
    assert names.index("Execute") + 1 == names.index("Points") < names.index("SaveAutoGrades")
    assert names.count("Points") == 1
    assert config.ClearSolutions.enabled is False
    assert config.Execute.timeout == 300
    assert os.environ["PGCOURSE_BUDGET"] == "full"


# nbgrader itself


def right(cell, task):
    cell.source = grading.reference_source(task)


def wrong(cell, task):
    cell.source = grading.stub_source(task).replace("raise NotImplementedError", f"return {task.parameters[0]}")


def noisy(cell, task):
    """Right, but writes to stderr behind Python's back, and prints."""
    right(cell, task)
    cell.source = f"{NOISY}\n{cell.source}"


NOISY = """import functools, os

def noisy(f):
    @functools.wraps(f)
    def g(*inputs):
        os.write(2, b"careful")
        print("hello")
        return f(*inputs)
    return g

@noisy"""


def silent(cell, task):
    """Wrong, and results are not shown any more."""
    wrong(cell, task)
    cell.source = f'get_ipython().ast_node_interactivity = "none"\n{cell.source}'


STUDENTS = {"blank": None, "right": right, "wrong": wrong, "noisy": noisy, "silent": silent, "deleted": right}


def nbgrader(folder: Path, *arguments: str, command: tuple[str, ...] = ("-m", "nbgrader")) -> str:
    """Run it in the course's folder, and give what it printed."""
    # nbgrader calls alembic by its name
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, *command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def hand_in(folder: Path, name: str, student: str, answer) -> None:
    notebook = nbformat.read(folder / "release/ps1" / name, as_version=4)
    for cell in notebook.cells:
        if answer and (task := task_of(cell)):
            answer(cell, task)
    if student == "deleted":
        notebook.cells = [cell for cell in notebook.cells if not cell.metadata.get("nbgrader", {}).get("grade")]
    (folder / "submitted" / student / "ps1").mkdir(parents=True)
    nbformat.write(notebook, folder / "submitted" / student / "ps1" / name)


@pytest.fixture(scope="module", params=[pytest.param(path, marks=pytest.mark.full, id=path.stem) for path in EXERCISES])
def course(request, tmp_path_factory) -> tuple[Path, Path]:
    """The folder of a course that has released and graded an exercise, and the exercise."""
    folder, path = tmp_path_factory.mktemp("nbgrader"), request.param
    (folder / "nbgrader_config.py").write_text(CONFIG)
    (folder / "source/ps1").mkdir(parents=True)
    shutil.copy(path, folder / "source/ps1")
    nbgrader(folder, "generate_assignment", "ps1", "--create")
    for student, answer in STUDENTS.items():
        hand_in(folder, path.name, student, answer)
    nbgrader(folder, "autograde", "ps1")
    return folder, path


@pytest.mark.timeout(600)
def test_generate_assignment_keeps_the_stubs(course):
    folder, path = course
    released = nbformat.read(folder / "release/ps1" / path.name, as_version=4)
    assert [cell.source for cell in released.cells] == [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert any(cell.metadata.get("nbgrader", {}).get("checksum") for cell in released.cells)


@pytest.mark.timeout(600)
def test_autograde_gives_the_points_of_the_checks(course):
    folder, path = course
    grades = json.loads(nbgrader(folder, READ, command=("-c",)))
    full = {f"check_{task.name}": task.points for task in grading.tasks() if task.id[:2] == path.name[:2]}
    none = dict.fromkeys(full, 0)
    expected = {"blank": none, "right": full, "wrong": none, "noisy": full, "silent": none, "deleted": full}
    assert grades == expected


@pytest.mark.timeout(600)
def test_validate_tells_a_student_the_same(course):
    folder, path = course
    asked = sum(task.id[:2] == path.name[:2] for task in grading.tasks())
    for student, verdict in {"right": "Success!", "blank": f"VALIDATION FAILED ON {asked} CELL(S)!"}.items():
        assert verdict in nbgrader(folder, "validate", f"submitted/{student}/ps1/{path.name}")
