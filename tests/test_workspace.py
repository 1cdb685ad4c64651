"""Working copies: what is new arrives, and what the learner wrote is never overwritten."""

import json
from pathlib import Path

import pytest

from pgcourse import workspace


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A small course."""
    folder = tmp_path / "course"
    for name in ("lectures/00_start.ipynb", "lectures/00_start.py", "exercises/03_a.ipynb", "solutions/03_a.ipynb"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"first {name}")
    return folder


@pytest.fixture
def copy(tmp_path: Path, course: Path) -> Path:
    """A working copy of it."""
    folder = tmp_path / "mine"
    workspace.start(folder, course)
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != workspace.MARKER
    }


FIRST = {"lectures/00_start.ipynb": "first lectures/00_start.ipynb", "exercises/03_a.ipynb": "first exercises/03_a.ipynb"}


def test_a_new_copy_has_lectures_and_exercises_and_neither_sources_nor_solutions(tmp_path, course):
    changes = workspace.start(tmp_path / "new" / "deep", course)
    assert texts(tmp_path / "new" / "deep") == FIRST
    assert sorted(changes.added) == sorted(FIRST)


def test_leavings_of_the_course_folder_are_not_shipped(course):
    (course / "lectures/.ipynb_checkpoints").mkdir()
    (course / "lectures/.ipynb_checkpoints/00_start-checkpoint.ipynb").write_text("old")
    (course / "exercises/progress.json").write_text("{}")
    (course / "lectures/band.png").write_bytes(b"picture")
    assert set(workspace.shipped(course)) == {*FIRST, "lectures/band.png"}


def test_starting_again_changes_nothing(copy, course):
    before = texts(copy)
    changes = workspace.start(copy, course)
    assert (changes.added, changes.updated, changes.beside) == ([], [], [])
    assert texts(copy) == before


def test_an_untouched_notebook_is_updated(copy, course):
    (course / "exercises/03_a.ipynb").write_text("second")
    assert workspace.start(copy, course).updated == ["exercises/03_a.ipynb"]
    assert texts(copy)["exercises/03_a.ipynb"] == "second"
    (course / "exercises/03_a.ipynb").write_text("third")
    assert workspace.start(copy, course).updated == ["exercises/03_a.ipynb"]


def test_the_learners_work_is_left_and_the_new_version_goes_beside_it_once(copy, course):
    (copy / "exercises/03_a.ipynb").write_text("my answer")
    assert workspace.start(copy, course).beside == []  # nothing newer to offer
    (course / "exercises/03_a.ipynb").write_text("second")
    assert workspace.start(copy, course).beside == [("exercises/03_a.ipynb", "exercises/03_a.new.ipynb")]
    expected = {**FIRST, "exercises/03_a.ipynb": "my answer", "exercises/03_a.new.ipynb": "second"}
    assert texts(copy) == expected
    (copy / "exercises/03_a.new.ipynb").unlink()  # seen and thrown away: it does not come again
    assert workspace.start(copy, course).beside == []


def test_work_in_the_file_beside_is_kept_too(copy, course):
    (copy / "exercises/03_a.ipynb").write_text("my answer")
    (course / "exercises/03_a.ipynb").write_text("second")
    workspace.start(copy, course)
    (copy / "exercises/03_a.new.ipynb").write_text("my second answer")
    (course / "exercises/03_a.ipynb").write_text("third")
    assert workspace.start(copy, course).beside == [("exercises/03_a.ipynb", "exercises/03_a.new2.ipynb")]
    found = texts(copy)
    assert found["exercises/03_a.new.ipynb"] == "my second answer"
    assert found["exercises/03_a.new2.ipynb"] == "third"


def test_an_answer_written_before_the_folder_was_a_copy_is_left(tmp_path, course):
    (tmp_path / "old/exercises").mkdir(parents=True)
    (tmp_path / "old/exercises/03_a.ipynb").write_text("mine")
    changes = workspace.start(tmp_path / "old", course)
    assert texts(tmp_path / "old")["exercises/03_a.ipynb"] == "mine"
    assert changes.beside == [("exercises/03_a.ipynb", "exercises/03_a.new.ipynb")]


def test_a_deleted_notebook_comes_back(copy, course):
    (copy / "exercises/03_a.ipynb").unlink()
    assert workspace.start(copy, course).added == ["exercises/03_a.ipynb"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"offered": 3}', '{"offered": {"exercises/03_a.ipynb": null}}', "\udcff"])
def test_a_damaged_marker_costs_no_work(copy, course, damage):
    (copy / "exercises/03_a.ipynb").write_text("my answer")
    (course / "exercises/03_a.ipynb").write_text("second")
    (copy / workspace.MARKER).write_bytes(damage.encode("utf-8", "surrogateescape"))
    if "null" in damage:
        workspace.start(copy, course)
    else:
        with pytest.warns(UserWarning, match="damaged"):
            workspace.start(copy, course)
    assert texts(copy)["exercises/03_a.ipynb"] == "my answer"
    assert json.loads((copy / workspace.MARKER).read_text())["format"] == 1


def test_the_course_itself_and_a_file_are_refused(tmp_path, course):
    with pytest.raises(ValueError, match="is the course itself"):
        workspace.start(course / ".." / "course", course)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        workspace.start(tmp_path / "file", course)


def test_a_folder_that_cannot_be_written_raises_and_leaves_no_half_files(tmp_path, course, monkeypatch):
    with pytest.raises(OSError, match="Not a directory"):
        workspace.start(course / "lectures/00_start.ipynb/below", course)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        workspace.start(tmp_path / "mine", course)
    assert not any(path.suffix == ".ipynb" for path in (tmp_path / "mine").rglob("*"))


def test_the_root_is_found_from_below(copy, tmp_path):
    assert workspace.root(copy / "exercises" / "03_a.ipynb") == copy.resolve()
    assert workspace.root(copy) == copy.resolve()
    assert workspace.root(tmp_path) is None
