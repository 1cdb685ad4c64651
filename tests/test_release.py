"""What a class gets: complete, installable, and without answers; sealed, its wheel too."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from pgcourse import cli, grading, notebooks, release
from pgcourse.grading import gradescope, learner, submissions
from pgcourse.grading.judge import Outcome
from pgcourse.grading.sandbox.worker import best_level
from pgcourse.grading.tasks import all_tasks

COURSE = notebooks.course_folder()
WHEEL = "pgcourse-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Path:
    """A sealed bundle of lectures 03 and 04, and the autograder beside it."""
    folder = tmp_path_factory.mktemp("release") / "class"
    assert cli.main(["release", str(folder), "--lectures", "03-04", "--sealed", "--gradescope"]) == 0
    return folder


@pytest.fixture(scope="module")
def tasks(sealed, tmp_path_factory) -> list:
    """The tasks as the sealed wheel has them."""
    folder, found = tmp_path_factory.mktemp("modules"), []
    with zipfile.ZipFile(sealed / WHEEL) as archive:
        for name in sorted(name for name in archive.namelist() if re.search(r"grading/tasks/t\d\d", name)):
            path = folder / Path(name).name
            path.write_bytes(archive.read(name))
            spec = importlib.util.spec_from_file_location(f"pgcourse.grading.tasks.sealed_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses look their module up
            spec.loader.exec_module(module)
            found += module.TASKS
    return found


# The bundle


def test_the_bundle_holds_what_a_class_needs(sealed):
    names = {path.relative_to(sealed).as_posix() for path in sealed.rglob("*") if path.is_file()}
    assert names == {
        *("README.md", "requirements.txt", WHEEL, ".pgcourse"),
        *("lectures/00_start.ipynb", "lectures/03_log_derivative_trick.ipynb", "lectures/04_reinforce.ipynb"),
        *("exercises/03_log_derivative_trick.ipynb", "exercises/04_reinforce.ipynb"),
    }


def test_the_wheel_holds_the_same_notebooks_and_no_solutions(sealed):
    with zipfile.ZipFile(sealed / WHEEL) as archive:
        inside = {name.removeprefix("pgcourse/course/") for name in archive.namelist() if "/course/" in name}
        assert inside == {path.relative_to(sealed).as_posix() for path in sealed.rglob("*.ipynb")}


def test_one_lecture_can_be_released(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "_build", lambda stage, folder: stage / "LICENSE")  # any file will do
    release.release(tmp_path / "out", "04")
    names = {path.name for path in (tmp_path / "out").rglob("*.ipynb")}
    assert names == {"00_start.ipynb", "04_reinforce.ipynb"}
    assert "solution(f)" in (tmp_path / "out/README.md").read_text()


def test_the_environment_is_pinned_as_tested(sealed):
    lines = (sealed / "requirements.txt").read_text().splitlines()
    pins = (COURSE / "constraints.txt").read_text().splitlines()
    assert lines[1] == f"./{WHEEL}"
    assert set(lines[2:]) <= set(pins)
    names = {line.partition("==")[0] for line in lines[2:]}
    assert {"torch", "gymnasium", "mujoco", "jupyterlab", "tyro", "imageio"} <= names  # the last by gymnasium[mujoco]
    assert not names & {"pytest", "ruff", "nbgrader", "hatchling"}


def test_the_readme_says_how_to_install_open_check_and_hand_in(sealed):
    text = (sealed / "README.md").read_text()
    assert "{" not in text
    for words in ("pip install -r requirements.txt", "jupyter lab", "check(f)", "pgcourse submit", "sealed", WHEEL):
        assert words in text
    assert "solution(f)" not in text


# No answers


def test_no_file_of_the_bundle_holds_an_answer(sealed):
    """Line by line, apart from what ``release`` itself looks for."""
    texts = {}
    for path in sealed.rglob("*"):
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                texts |= {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}
        elif path.suffix == ".ipynb":
            texts[path.name] = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        elif path.is_file():
            texts[path.name] = path.read_text()
    assert len(texts) > 50
    for task in all_tasks():
        stub = grading.stub_source(task).splitlines()
        told = [line.strip() for line in grading.reference_source(task).splitlines() if line not in stub]
        for name, text in texts.items():
            lines = {line.strip() for line in text.splitlines()}
            assert not set(told) <= lines, (task.id, name)
            assert not any(function.__name__ in text for function in task.alternatives), (task.id, name)
            assert not any(mistake.sentence in text.replace('" "', "") for mistake in task.mistakes), (task.id, name)


def test_the_search_finds_every_answer_in_the_open_sources():
    found = release.leaks(COURSE / "pgcourse/grading/tasks", COURSE)
    for task in all_tasks():
        for function in (task.reference, *task.alternatives):
            assert any(f"holds {function.__name__}." in line for line in found)
    assert len(found) >= sum(1 + len(task.alternatives) + len(task.mistakes) for task in all_tasks())


@pytest.mark.parametrize("kind", ["py", "ipynb", "md", "whl"])
def test_the_search_finds_a_planted_answer(tmp_path, kind):
    reference = grading.find("categorical_score")
    planted = grading.reference_source(reference).replace("categorical_score", "renamed").replace('"', "'")
    path = tmp_path / f"planted.{kind}"
    if kind == "ipynb":
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(planted)]), path)
    elif kind == "whl":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b.py", "x = 1\n" + planted.replace("    ", "        "))
    else:
        path.write_text(f"Text.\n\n{planted}\n")
    (line,) = release.leaks(tmp_path, COURSE)
    assert line.endswith("holds categorical_score.")


def test_a_bundle_with_an_answer_is_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(release, "README", grading.reference_source(grading.find("categorical_score")))
    assert cli.main(["release", str(tmp_path / "out"), "--lectures", "03"]) == 1
    assert "README.md holds categorical_score." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# The sealed course


def test_sealed_tasks_have_no_answers_and_ask_the_same(tasks):
    assert [task.id for task in tasks] == [task.id for task in all_tasks()]
    for task, original in zip(tasks, all_tasks(), strict=True):
        assert (task.alternatives, task.mistakes) == ((), ())
        assert grading.stub_source(task) == grading.stub_source(original)
        assert (task.hints, task.points, task.signature) == (original.hints, original.points, original.signature)
        with pytest.raises(NotImplementedError):
            task.reference(*[None] * len(task.parameters))


def test_sealed_checks_judge_as_the_open_ones_and_name_nothing_listed(tasks):
    for task, original in zip(tasks, all_tasks(), strict=True):
        for function in (original.reference, *original.alternatives):
            assert grading.judge(task, function, 1, learning=False).status == "passed"
        for mistake in original.mistakes[:2]:
            outcome = grading.judge(task, mistake.function, 1, learning=False)
            assert (outcome.status, outcome.points) == ("failed", 0), mistake.name
            assert mistake.sentence not in outcome.message


def test_a_sealed_copy_shows_no_solution_and_says_so(tasks, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PGCOURSE_PROGRESS", str(tmp_path))
    learner.solution(tasks[0], confirm=True)
    assert "sealed: it holds no solutions" in capsys.readouterr().out
    for _ in range(len(tasks[0].hints) + 1):
        learner.hint(tasks[0])
    assert "solution(" not in capsys.readouterr().out
    assert not (tmp_path / "progress.json").read_text().count("true")  # nothing was seen


TASK = '''
def f(x):
    """What f does."""
    return _helper(x) + 1  # the answer

_HIDDEN = 3
"""What it means."""

def _helper(x):
    return x + _HIDDEN

def _oracle(x):
    return x + _KEPT

_KEPT = 4
"""Why four."""
F = Task(reference=f, stages=(_oracle,), alternatives=(lambda x: _helper(x) + 1,), mistakes=(Mistake("a", _helper, "b"),))
'''


def test_sealing_leaves_the_check_and_takes_what_only_answers_use():
    text = release.sealed_source(TASK)
    assert "raise NotImplementedError" in text
    assert "_oracle" in text
    assert "Why four." in text
    assert not [word for word in ("_helper", "_HIDDEN", "What it means", "lambda", "Mistake", "#") if word in text]


@pytest.mark.parametrize("given", ["reference=lambda x: x,", "", "reference=g,"])
def test_a_task_that_cannot_be_sealed_is_refused(given):
    with pytest.raises(ValueError, match=r"line \d+: a task can be sealed only if"):
        release.sealed_source(TASK.replace("reference=f,", given))


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out", "--lectures", "3"], "--lectures 3: give a number or two, as 03 or 03-05"),
        (["out", "--lectures", "05-03"], "give a number or two"),
        (["out", "--lectures", "41-43"], "there is no lecture 41 or 42 or 43. There are: 0"),
        (["full", "--lectures", "03"], "full is there already, and nothing is overwritten"),
        (["other", "--lectures", "03", "--gradescope"], "other-gradescope.zip is there already"),
    ],
)
def test_what_cannot_be_released_is_said_and_nothing_written(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    (tmp_path / "other-gradescope.zip").touch()
    assert cli.main(["release", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "other-gradescope.zip"]


def test_an_installed_course_without_its_repository_cannot_release(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(release, "course_folder", lambda: tmp_path)
    assert cli.main(["release", str(tmp_path / "out"), "--lectures", "03"]) == 2
    assert "from the course's repository" in capsys.readouterr().err


def test_a_wheel_that_cannot_be_built_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"pip could not build the wheel:\n.*not installable"):
        release._build(tmp_path, tmp_path / "wheels")


# Gradescope


def test_the_autograder_is_beside_the_bundle_and_complete(sealed, tmp_path):
    with zipfile.ZipFile(sealed.with_name("class-gradescope.zip")) as archive:
        assert set(archive.namelist()) == {"setup.sh", "run_autograder", "requirements.txt", WHEEL}
        for name in ("setup.sh", "run_autograder"):
            assert archive.getinfo(name).external_attr >> 16 == 0o755
            (tmp_path / name).write_bytes(archive.read(name))
            subprocess.run(["bash", "-n", str(tmp_path / name)], check=True)
        assert b"gradescope 03 04\n" in archive.read("run_autograder")
        archive.extract(WHEEL, tmp_path)
    assert any("holds gaussian_score." in line for line in release.leaks(tmp_path, COURSE))  # the open wheel


def outcomes() -> tuple[Outcome, ...]:
    return (
        Outcome("03.gaussian_score", "passed", 2, 2, "Right.", printed="hello"),
        Outcome("03.categorical_score", "failed", 1, 2, "Your <score> is wrong."),
    )


def report(**fields) -> SimpleNamespace:
    given = {"outcomes": outcomes(), "notices": (), "rejected": None, "flags": (), "cpu_seconds": 0.256, "level": "S2"}
    return SimpleNamespace(**given | fields)


SUBMISSION = submissions.Submission("student", (("a.ipynb", b"{}"),), notices=("b.txt is left out.",))


def test_results_are_in_gradescopes_format():
    made = gradescope.results(SUBMISSION, report(notices=("f is defined twice.",)), all_tasks())
    assert json.loads(json.dumps(made)) == made
    assert made["output"] == "b.txt is left out.\nf is defined twice."
    assert made["stdout_visibility"] == "hidden"
    assert (made["execution_time"], made["extra_data"]["isolation"]) == (0.26, "S2")
    assert made["tests"] == [
        {
            "number": "03.gaussian_score",
            "name": "The score of a Gaussian",
            "score": 2,
            "max_score": 2,
            "status": "passed",
            "output": "passed\nRight.\nYour function printed:\nhello",
        },
        {
            "number": "03.categorical_score",
            "name": "The score of a softmax",
            "score": 1,
            "max_score": 2,
            "status": "failed",
            "output": "failed\nYour <score> is wrong.",
        },
    ]
    assert {made[name] for name in ("output_format", "test_output_format", "test_name_format")} == {"text"}  # never HTML


def test_a_rejected_file_says_why_and_flags_are_for_the_instructor():
    blank = tuple(replace(outcome, status="not attempted", points=0, message="") for outcome in outcomes())
    refused = report(outcomes=blank, rejected="it is not JSON.", flags=("wrote into",))
    made = gradescope.results(SUBMISSION, refused, all_tasks())
    assert made["output"].startswith("This cannot be graded: it is not JSON.")
    assert [test["score"] for test in made["tests"]] == [0, 0, 0]
    assert made["tests"][-1] == {
        "name": "For the instructor",
        "score": 0,
        "max_score": 0,
        "output": "wrote into",
        "visibility": "hidden",
    }


@pytest.mark.full
def test_a_submission_is_graded_where_gradescope_puts_it(tmp_path):
    level, reasons = best_level()
    if level == "S0":
        pytest.skip(f"no isolation here: {reasons}")
    right = grading.reference_source(grading.find("gaussian_score"))
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/answers.py").write_text(f"import torch\n{right}")
    gradescope.main(["03"], tmp_path)
    made = json.loads((tmp_path / "results/results.json").read_text())
    assert {test["number"]: test["score"] for test in made["tests"]} == {
        task.id: 2 if task.name == "gaussian_score" else 0 for task in all_tasks() if task.id.startswith("03")
    }
    assert made["extra_data"]["isolation"] == level


def test_without_isolation_nothing_is_graded(tmp_path, monkeypatch):
    monkeypatch.setattr("pgcourse.grading.sandbox.worker.best_level", lambda: ("S0", {"S1": "no Landlock"}))
    with pytest.raises(RuntimeError, match=r"no isolation for the student's code. S1: no Landlock"):
        gradescope.main(["03"], tmp_path)
    assert not list(tmp_path.iterdir())


# In a fresh environment


@pytest.fixture(scope="module")
def fresh(sealed, tmp_path_factory) -> Path:
    """An environment into which the bundle was installed without a network; all but the course it borrows from this one."""
    folder = tmp_path_factory.mktemp("fresh")
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for path in Path(torch.__file__).parents[1].iterdir():
        if "pgcourse" not in path.name and not path.name.startswith(("pip", "__editable__")):
            (borrowed / path.name).symlink_to(path)
    venv.create(folder / "venv")
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    shutil.copytree(sealed, folder / "class")
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv/bin/python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "-r", "requirements.txt"], check=True, cwd=folder / "class")
    return folder


def run(fresh: Path, *command: str, **options) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PGCOURSE_PROGRESS")}
    return subprocess.run(
        [fresh / "venv/bin" / command[0], *command[1:]],
        capture_output=True,
        text=True,
        cwd=fresh / "class",
        env=environment,
        **options,
    )


@pytest.mark.full
def test_the_sealed_bundle_works_installed(fresh):
    where = run(fresh, "python", "-c", "import pgcourse; print(pgcourse.__file__)", check=True).stdout
    assert where.startswith(str(fresh / "venv"))
    assert "up to date" in run(fresh, "pgcourse", "start", ".", check=True).stdout

    path = fresh / "class/exercises/03_log_derivative_trick.ipynb"
    exercise = nbformat.read(path, as_version=4)
    right = grading.reference_source(grading.find("gaussian_score"))
    wrong = "def categorical_score(logits, action):\n    return -torch.softmax(logits, 0)\n"
    for cell in exercise.cells:
        for source in (right, wrong):
            if cell.source.startswith(source.split("(")[0]):
                cell.source = source
    nbformat.write(exercise, path)
    said = run(fresh, "pgcourse", "submit", check=True).stdout
    assert re.search(r"03\.gaussian_score +2/2 +passed", said)
    assert re.search(r"03\.categorical_score +0/2 +failed", said)
    (taken,) = submissions.collect(fresh / "class/handin.zip")
    assert taken.files[0][1] == path.read_bytes()

    asked = "from pgcourse.grading import *; solution('gaussian_score', confirm=True); print(progress().points)"
    said = run(fresh, "python", "-c", asked, check=True).stdout
    assert "sealed" in said
    assert said.strip().endswith("2")
    assert release.leaks(fresh / "venv", COURSE) == []


@pytest.mark.full
def test_the_first_lecture_and_the_exercises_run_installed(fresh):
    execute = ["-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", str(fresh / "executed")]
    names = ["lectures/00_start.ipynb", "exercises/03_log_derivative_trick.ipynb"]
    done = run(fresh, "python", *execute, *names)
    assert done.returncode == 0, done.stderr
