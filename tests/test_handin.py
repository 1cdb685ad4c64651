"""Handing in: what is packed is what was checked, nothing is lost, and what cannot be graded is said."""

import hashlib
import io
import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from pgcourse import __version__, cli, grading, handin
from pgcourse.grading import submissions

RIGHT = grading.reference_source(grading.find("gaussian_score"))
WRONG = "def categorical_score(logits, action):\n    return logits\n"
BLANK = grading.stub_source(grading.find("cartpole_loss"))


def notebook(*sources: str) -> str:
    cells = [nbformat.v4.new_code_cell(source, id=f"cell{number}") for number, source in enumerate(sources)]
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells))


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A working copy with two answers in one notebook and none in another."""
    monkeypatch.delenv("PGCOURSE_PROGRESS")
    folder = tmp_path / "mine"
    (folder / "exercises").mkdir(parents=True)
    (folder / ".pgcourse").write_text("{}")
    (folder / "exercises/03_a.ipynb").write_text(notebook("import torch", RIGHT, WRONG, "check(gaussian_score).points"))
    (folder / "exercises/04_b.ipynb").write_text(notebook("import torch", BLANK))
    return folder


def submit(*arguments) -> int:
    return cli.main(["submit", *map(str, arguments)])


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_what_was_worked_on_is_checked_packed_and_told(copy, capsys):
    content = (copy / "exercises/03_a.ipynb").read_bytes()
    assert submit(copy) == 0
    packed = members(copy / "handin.zip")
    assert packed.keys() == {"03_a.ipynb", "manifest.json"}
    assert packed["03_a.ipynb"] == content
    said = capsys.readouterr().out
    assert "03.gaussian_score      2/2    passed" in said
    assert "03.categorical_score   0/2    failed" in said
    assert "attempted 2 of 2 tasks: gaussian_score, categorical_score" in said
    assert "Left out, because no task is attempted in it: 04_b.ipynb" in said
    assert hashlib.sha256((copy / "handin.zip").read_bytes()).hexdigest() in said
    assert json.loads((copy / "progress.json").read_text())["tasks"]["03.gaussian_score"]["status"] == "passed"


def test_the_manifest_says_what_when_and_whose(copy):
    before = datetime.now(UTC).replace(microsecond=0)
    assert submit(copy, "--student", "ada") == 0
    manifest = json.loads(members(copy / "ada.zip")["manifest.json"])
    submitted = datetime.fromisoformat(manifest.pop("submitted"))
    assert before <= submitted <= datetime.now(UTC)
    digest = hashlib.sha256((copy / "exercises/03_a.ipynb").read_bytes()).hexdigest()
    assert manifest == {"format": 1, "course": __version__, "student": "ada", "files": {"03_a.ipynb": digest}}


def test_the_grader_takes_in_what_was_packed(copy):
    submit(copy, "--student", "ada")
    (copy / "class").mkdir()
    (copy / "ada.zip").rename(copy / "class/ada.zip")
    (taken,) = submissions.collect(copy / "class")
    assert (taken.student, taken.rejected) == ("ada", None)
    assert taken.files == (("03_a.ipynb", (copy / "exercises/03_a.ipynb").read_bytes()),)
    assert taken.submitted is not None
    assert not any("hash" in notice for notice in taken.notices)


def test_a_pack_depends_on_files_student_and_time_alone():
    files, time = [("b.ipynb", b"2"), ("a.ipynb", b"1")], datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert handin.pack(files, "ada", time) == handin.pack(files[::-1], "ada", time)
    with zipfile.ZipFile(io.BytesIO(handin.pack(files, None, time))) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("manifest.json"))["submitted"] == "2030-01-02T03:04:05+00:00"


def test_an_earlier_pack_is_renamed(copy, capsys):
    submit(copy)
    first = (copy / "handin.zip").read_bytes()
    (copy / "exercises/03_a.ipynb").write_text(notebook("import torch", RIGHT))
    submit(copy)
    submit(copy)
    names = sorted(path.name for path in copy.glob("*.zip"))
    assert len(names) == 3
    assert "handin.zip" in names
    assert first in [(copy / name).read_bytes() for name in names if name != "handin.zip"]
    assert "The pack that was there is now called handin.20" in capsys.readouterr().out


def test_one_notebook_or_python_file_can_be_handed_in(copy, capsys):
    (copy / "answer.py").write_text("import torch\n" + RIGHT)
    assert submit(copy / "answer.py") == 0
    assert members(copy / "handin.zip").keys() == {"answer.py", "manifest.json"}
    assert submit(copy / "exercises/03_a.ipynb") == 0
    assert members(copy / "exercises/handin.zip").keys() == {"03_a.ipynb", "manifest.json"}


def test_a_broken_notebook_is_packed_and_said_to_be_worth_nothing(copy, capsys):
    (copy / "exercises/04_b.ipynb").write_text('{"cells": [')
    assert submit(copy) == 1
    assert members(copy / "handin.zip")["04_b.ipynb"] == b'{"cells": ['
    said = capsys.readouterr().out
    assert "IT CANNOT BE GRADED as it is." in said
    assert "04_b.ipynb is not a notebook: it is not JSON" in said


def test_a_module_beside_the_notebook_is_missed(copy, capsys):
    (copy / "exercises/helper_beside.py").write_text("score = 1\n")
    (copy / "exercises/03_a.ipynb").write_text(notebook("import torch, helper_beside", RIGHT))
    submit(copy)
    assert "It imports helper_beside.py, which is not handed in" in capsys.readouterr().out


def test_a_task_in_two_notebooks_is_pointed_out(copy, capsys):
    (copy / "exercises/03_a.new.ipynb").write_text(notebook("import torch", RIGHT))
    submit(copy)
    said = capsys.readouterr().out
    assert "gaussian_score is in 03_a.ipynb, 03_a.new.ipynb: the last one counts." in said
    assert "categorical_score is in" not in said


def test_a_notebook_that_changes_meanwhile_is_not_packed(copy, monkeypatch, capsys):
    path = copy / "exercises/03_a.ipynb"
    monkeypatch.setattr("pgcourse.commands._check", lambda file: path.write_text(path.read_text() + " "))
    assert submit(copy) == 2
    assert "was changed while it was checked" in capsys.readouterr().err
    assert not list(copy.glob("*.zip"))


def test_a_notebook_too_large_to_be_graded_is_refused(copy, monkeypatch, capsys):
    monkeypatch.setattr(handin, "FILE_LIMIT", 100)
    assert submit(copy) == 2
    assert "Clear Outputs of All Cells" in capsys.readouterr().err
    assert not list(copy.glob("*.zip"))


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda copy: (copy / "exercises/03_a.ipynb").unlink(), [], "nothing to hand in: no task is attempted in 04_b.ipynb"),
        (lambda copy: (copy / "exercises/03_a.ipynb").write_text("{"), [], "nothing to hand in.*03_a.ipynb is not a notebook"),
        (lambda copy: None, ["--student", "../ada"], "letters, digits, spaces"),
        (lambda copy: None, ["--student", ""], "letters, digits, spaces"),
    ],
)
def test_nothing_to_hand_in_is_said_and_nothing_written(copy, capsys, prepare, arguments, message):
    prepare(copy)
    assert submit(copy, *arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(copy.glob("*.zip"))


def test_a_wrong_folder_says_which_is_right(copy, tmp_path, capsys):
    assert submit(tmp_path / "nowhere") == 2
    assert "nowhere; give your working copy" in capsys.readouterr().err
    (copy / "lectures").mkdir()
    assert submit(copy / "lectures") == 2
    assert f"Your working copy is {copy}." in capsys.readouterr().err
    (tmp_path / "essay.txt").write_text("")
    assert submit(tmp_path / "essay.txt") == 2
    assert "neither a notebook" in capsys.readouterr().err
