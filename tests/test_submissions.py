"""Taking in submissions: every layout is read, every odd file is refused by name, everyone else is graded."""

import hashlib
import json
import os
import stat
import struct
import sys
import tracemalloc
import warnings
import zipfile
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest

from pgcourse.grading import intake, submissions
from pgcourse.grading.submissions import collect, scan

CODE = b"def f(x):\n    return x\n"
ONE, TWO = "03_log_derivative_trick.ipynb", "04_reinforce.ipynb"


def lay(root: Path, *names: str, content: bytes = CODE) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def packed(members: dict[str, bytes], **flags) -> bytes:
    """A zip of these members."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", **flags) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 1, 12, 0, 0)), content)
    return file.getvalue()


def by_student(path: Path) -> dict[str, submissions.Submission]:
    found = collect(path)
    assert [each.student for each in found] == sorted({each.student for each in found})
    return {each.student: each for each in found}


def names(submission) -> list[str]:
    return [name for name, _ in submission.files]


# Layouts, each as a folder and as a zip


def both(tmp_path: Path, files: dict[str, bytes]):
    """The same files as a folder, as a zip, and as a zip with one folder around them."""
    for name, content in files.items():
        lay(tmp_path / "course", name, content=content)
    yield tmp_path / "course"
    for around in ("", "download/"):
        path = tmp_path / f"course{len(around)}.zip"
        path.write_bytes(packed({around + name: content for name, content in files.items()}))
        yield path


def test_a_file_for_each_student(tmp_path):
    for path in both(tmp_path, {"ada.ipynb": b"{}", "bob.py": CODE, "ada.py": CODE, ".DS_Store": b"", "__MACOSX/._x": b""}):
        found = by_student(path)
        assert {student: names(each) for student, each in found.items()} == {"ada": ["ada.ipynb", "ada.py"], "bob": ["bob.py"]}
        assert not any(each.rejected or each.notices for each in found.values())
        assert found["bob"].files == (("bob.py", CODE),)


def test_a_folder_for_each_student(tmp_path):
    files = {f"{who}/{name}": CODE for who in ("ada", "bob") for name in (ONE, TWO)} | {"ada/notes.pdf": b"%PDF"}
    for path in both(tmp_path, files):
        found = by_student(path)
        assert {student: names(each) for student, each in found.items()} == {"ada": [ONE, TWO], "bob": [ONE, TWO]}
        assert found["ada"].notices == ("notes.pdf is neither a notebook (.ipynb) nor a Python file (.py) and is left out.",)


def test_one_students_exercises_are_one_students(tmp_path):
    for path in both(tmp_path, {ONE: CODE, TWO: CODE}):
        (found,) = collect(path)
        assert names(found) == [ONE, TWO]
        assert found.student == path.stem if path.name != "course9.zip" else "download"
    lay(tmp_path / "numbered", "01_smith.ipynb", "02_jones.ipynb")
    assert list(by_student(tmp_path / "numbered")) == ["01_smith", "02_jones"]


def test_a_single_file(tmp_path):
    (found,) = collect(lay(tmp_path, "ada.py") / "ada.py")
    assert (found.student, found.files) == ("ada", (("ada.py", CODE),))
    assert found.sha256 == hashlib.sha256(CODE).hexdigest()


def test_the_hash_of_several_files_is_that_of_their_sha256sum(tmp_path):
    (found,) = collect(lay(tmp_path, ONE, TWO))
    digest = hashlib.sha256(CODE).hexdigest()
    assert found.sha256 == hashlib.sha256(f"{digest}  {ONE}\n{digest}  {TWO}\n".encode()).hexdigest()


def test_canvas(tmp_path):
    files = {
        "lovelaceada_LATE_12345_67890_hw.ipynb": CODE,
        "lovelaceada_LATE_12345_67891_more_1_2.py": CODE,
        "hopper_grace_777_67892_hw.ipynb": CODE,
        "anon_x7Yz1_67893_hw.ipynb": CODE,
        "turingalan_55_text.html": b"<p>",
    }
    for path in both(tmp_path, files):
        found = by_student(path)
        ada, grace = found["lovelaceada_12345"], found["hopper_grace_777"]
        assert (ada.name, ada.number, names(ada), ada.submitted) == ("lovelaceada", "12345", ["hw.ipynb", "more_1_2.py"], None)
        assert ada.flags == ("Canvas marks it as late; its download does not say by how much.",)
        assert (grace.name, grace.number, grace.flags) == ("hopper_grace", "777", ())
        assert names(found["anon_x7Yz1"]) == ["hw.ipynb"]
        assert "Only turingalan_55_text.html was handed in" in found["turingalan_55"].rejected
        assert len(found) == 4


def test_moodle_with_and_without_folders(tmp_path):
    files = {
        "Ada Lovelace_12_assignsubmission_file/sub/hw.ipynb": CODE,
        "Grace Hopper_13_assignsubmission_file_/hw.py": CODE,
        "Alan Turing_14_assignsubmission_file_hw.ipynb": CODE,
        "Ann O_15_assignsubmission_onlinetext/onlinetext.html": b"<p>",
    }
    for path in both(tmp_path, files):
        found = by_student(path)
        assert [(each.student, each.name, each.number, names(each)) for each in found.values()] == [
            ("Ada Lovelace_12", "Ada Lovelace", "12", ["sub/hw.ipynb"]),
            ("Alan Turing_14", "Alan Turing", "14", ["hw.ipynb"]),
            ("Ann O_15", "Ann O", "15", []),
            ("Grace Hopper_13", "Grace Hopper", "13", ["hw.py"]),
        ]
        assert found["Ann O_15"].rejected


def test_gradescope(tmp_path):
    metadata = """---
submission_1:
  :submitters:
  - :name: Ada Lovelace
    :sid: '100'
    :email: ada@example.org
  - :name: Grace Hopper
    :email: grace@example.org
  :created_at: 2026-03-01 18:30:05.123456000 Z
  :score: 3.0
  :results: !ruby/hash:ActiveSupport::HashWithIndifferentAccess
    output: "submission_2:\\n  :created_at: 1999-01-01 00:00:00 Z"
  :history:
  - :created_at: 2026-02-01 18:30:05 Z
submission_2:
  :submitters:
  - :name: Alan Turing
    :sid: 101
"""
    files = {
        "submission_metadata.yml": metadata.encode(),
        "submission_1/hw.ipynb": CODE,
        "submission_2/hw.py": CODE,
        "submission_3/hw.py": CODE,
    }
    for path in both(tmp_path, files):
        found = by_student(path)
        assert list(found) == ["101", "ada@example.org", "grace@example.org", "submission_3"]
        ada = found["ada@example.org"]
        assert (ada.name, ada.number, ada.submitted) == ("Ada Lovelace", "100", "2026-03-01T18:30:05+00:00")
        assert ada.files == found["grace@example.org"].files == (("hw.ipynb", CODE),)
        assert found["101"].submitted is None
    (tmp_path / "course" / "submission_metadata.yml").write_text("submission_1:\n  :submitters: [" + "[" * 5000)
    with pytest.raises(ValueError, match=r"submission_metadata.yml cannot be used"):
        collect(tmp_path / "course")


def test_nbgrader(tmp_path):
    files = {f"{who}/ps1/{name}.ipynb": CODE for who in ("ada", "bob", "cyd") for name in ("problem", "zero")}
    files["ada/ps1/timestamp.txt"] = b"2026-03-01 15:58:23.948203 UTC\n"
    files["bob/ps1/timestamp.txt"] = b"yesterday"
    for path in both(tmp_path, files):
        found = by_student(path)
        assert found["ada"].submitted == "2026-03-01T15:58:23+00:00"
        assert found["ada"].notices == ()
        assert names(found["bob"]) == ["ps1/problem.ipynb", "ps1/zero.ipynb"]


def test_the_time_of_a_plain_file_is_when_it_was_changed(tmp_path):
    os.utime(lay(tmp_path, "ada.py") / "ada.py", (1_772_366_400, 1_772_366_400))
    (found,) = collect(tmp_path)
    assert found.submitted == "2026-03-01T12:00:00+00:00"


# Packs and attempts


def pack(time: str, content: bytes = CODE, **changes) -> bytes:
    manifest = {
        "format": 1,
        "course": "0.1.0",
        "student": "somebody else",
        "submitted": time,
        "files": {ONE: hashlib.sha256(CODE).hexdigest()},
    } | changes
    return packed({ONE: content, "manifest.json": json.dumps(manifest).encode()})


def test_a_pack(tmp_path):
    lay(tmp_path / "class", "ada.zip", content=pack("2026-03-01T12:00:00+01:00"))
    for path in (tmp_path / "class", tmp_path / "class" / "ada.zip"):
        (found,) = collect(path)
        assert found.student == "ada", "what the manifest claims proves nothing"
        assert found.files == ((ONE, CODE),)
        assert found.submitted == "2026-03-01T11:00:00+00:00"
        assert found.notices == ("Handed in 2026-03-01T11:00:00+00:00, says the pack itself.",)


def test_a_pack_that_was_changed_says_so(tmp_path):
    lay(tmp_path, "ada.zip", content=pack("2026-03-01T12:00:00+01:00", content=b"other"))
    lay(tmp_path, "bob.zip", content=pack("tomorrow"))
    lay(tmp_path, "cyd.zip", content=packed({ONE: CODE, "manifest.json": b"[" * 100_000}))
    found = by_student(tmp_path)
    assert "its hash differs" in found["ada"].notices[-1]
    for student in ("bob", "cyd"):
        assert found[student].notices == (f"The manifest.json in {student}.zip is not as `pgcourse submit` writes it.",)
        assert found[student].files == ((ONE, CODE),)


def test_of_several_attempts_the_latest_counts(tmp_path):
    lay(tmp_path, "ada/first.zip", content=pack("2026-03-03T12:00:00Z"))
    lay(tmp_path, "ada/second.zip", content=pack("2026-03-02T12:00:00Z", content=b"older"))
    lay(tmp_path, "ada/third.zip", content=b"PK no zip")
    lay(tmp_path, "bob/hw.py")
    found = by_student(tmp_path)["ada"]
    assert found.files == ((ONE, CODE),)
    assert "third.zip: it is not a zip, or only the beginning of one. The rest is graded." in found.notices
    assert "Handed in 2 times; the latest counts: first.zip, not second.zip." in found.notices


def test_two_files_of_one_name_are_both_kept(tmp_path):
    lay(tmp_path, "a_1_2_hw.py", "a_1_3_hw.py")
    (found,) = collect(tmp_path)
    assert names(found) == ["another_hw.py", "hw.py"]


# Files that are refused


def refused(tmp_path: Path, student: str) -> str:
    """Why a student is refused, who is not the only one."""
    found = by_student(lay(tmp_path, "good.py"))
    assert found["good"].files == (("good.py", CODE),)
    assert found[student].files == ()
    return found[student].rejected


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
def test_links_pipes_sockets_and_devices_are_refused(tmp_path):
    (tmp_path / "ada.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "bob").symlink_to("/etc")
    os.mkfifo(tmp_path / "cyd.py")
    (tmp_path / "eve" / "inside").mkdir(parents=True)
    (tmp_path / "eve" / "inside" / "hw.py").symlink_to("/etc/passwd")
    (tmp_path / "flo.py").mkdir()
    (tmp_path / "flo.py" / "hw.py").symlink_to(tmp_path / "good.py")
    assert refused(tmp_path, "ada") == "ada.ipynb: it is a symbolic link; hand in the file itself."
    assert refused(tmp_path, "bob") == "bob: it is a symbolic link; hand in the file itself."
    assert refused(tmp_path, "cyd") == "cyd.py: it is not a regular file."
    assert refused(tmp_path, "eve") == "inside/hw.py: it is a symbolic link; hand in the file itself."
    assert "symbolic link" in refused(tmp_path, "flo.py")
    if os.geteuid() == 0:
        os.mknod(tmp_path / "dan.py", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
        assert refused(tmp_path, "dan") == "dan.py: it is not a regular file."
    else:
        lay(tmp_path, "hal.py").joinpath("hal.py").chmod(0)
        assert refused(tmp_path, "hal") == "hal.py: it cannot be read (Permission denied)."


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_what_becomes_a_link_or_a_pipe_after_the_listing_is_refused(tmp_path):
    lay(tmp_path, "ada.py", "bob/hw.py", "cyd.py")
    ada, bob, cyd = scan(tmp_path)
    (tmp_path / "ada.py").unlink()
    (tmp_path / "ada.py").symlink_to("/etc/passwd")
    (tmp_path / "bob").rename(tmp_path / "elsewhere")
    (tmp_path / "bob").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cyd.py").unlink()
    os.mkfifo(tmp_path / "cyd.py")
    assert ada.read().rejected == "ada.py: it is a symbolic link; hand in the file itself."
    assert bob.read().rejected == "hw.py: it is a symbolic link; hand in the file itself."
    assert cyd.read().rejected == "cyd.py: it is not a regular file."
    cyd_path = tmp_path / "cyd.py"
    cyd_path.unlink()
    assert "it cannot be read (No such file" in cyd.read().rejected


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = lay(tmp_path, "ada.py") / "ada.py"
    real = os.fstat

    def fstat(descriptor):
        status = real(descriptor)
        with path.open("ab") as file:
            file.write(b"#")
        return status

    monkeypatch.setattr(intake.os, "fstat", fstat)
    assert collect(tmp_path)[0].rejected == "ada.py: it changed while it was read."


def test_what_is_too_large_is_refused_with_a_hint(tmp_path):
    with (tmp_path / "ada.ipynb").open("wb") as file:
        file.truncate(300 << 20)
    assert "ada.ipynb: it has 300 MiB and 20 MiB are taken at most. In JupyterLab" in refused(tmp_path, "ada")
    for number in range(3):
        lay(tmp_path, f"bob/{number}.py", content=bytes(19 << 20))
    assert "with it there are more than 40 MiB" in by_student(tmp_path)["bob"].notices[0]


def test_what_is_neither_notebook_nor_python_is_named(tmp_path):
    lay(tmp_path, "ada.pdf", "bob/hw.rar", "bob/hw.tar.gz")
    assert refused(tmp_path, "ada").startswith("Only ada.pdf was handed in; notebooks")
    assert refused(tmp_path, "bob").startswith("Only hw.rar, hw.tar.gz was handed in")


def test_names_are_shown_without_control_characters(tmp_path):
    lay(tmp_path, "a\x1b[31m\u202eb\n.py")
    if sys.platform == "linux":
        lay(tmp_path, b"\xff.py".decode("utf-8", "surrogateescape"))
    for each in collect(tmp_path):
        assert each.student.isprintable()
        assert each.student.encode()
        assert all(name.isprintable() for name in names(each))


@pytest.mark.parametrize("name", ["nothing", "empty", "hw.tar", "no.zip"])
def test_what_holds_no_submissions_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=name):
        collect(tmp_path / name)


# Zips


def with_member(name: str, content: bytes = CODE, **attributes) -> bytes:
    """A good member and one of this kind."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("good.py", CODE)
        info = zipfile.ZipInfo(name)
        info.filename = info.orig_filename = name
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        archive.writestr(info, content)
    return file.getvalue()


def encrypted() -> bytes:
    content = bytearray(with_member("secret.py"))
    at = content.index(b"secret.py")
    content[at - 30 + 6] |= 1
    content[content.rindex(b"secret.py") - 46 + 8] |= 1
    return bytes(content)


def overlapping() -> bytes:
    """Both entries of the table of contents point to the first member."""
    content = bytearray(packed({"aaaa.py": bytes(1000), "bbbb.py": bytes(1000)}))
    second = content.rindex(b"bbbb.py") - 46
    content[second + 42 : second + 46] = struct.pack("<L", 0)
    return bytes(content)


@cache
def lying() -> bytes:
    """Says that its member is short; it unpacks to much."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hw.py", bytes(100 << 20))
    content = bytearray(file.getvalue())
    for at in (22, content.rindex(b"hw.py") - 46 + 24):
        content[at : at + 4] = struct.pack("<L", 1000)
    return bytes(content)


@cache
def bomb() -> bytes:
    return packed({"good.py": CODE, "zeros.bin": bytes(200 << 20)}, compression=zipfile.ZIP_DEFLATED)


HOSTILE = {
    "leads out": (lambda: with_member("../../x.py"), "../../x.py in it is refused: its path leads out"),
    "leads out later": (lambda: with_member("a/../../x.py"), "leads out"),
    "absolute": (lambda: with_member("/etc/x.py"), "/etc/x.py in it is refused: its path is absolute"),
    "drive": (lambda: with_member("C:x.py"), "absolute"),
    "backslash": (lambda: with_member("a\\x.py"), "its name has a backslash in it"),
    "NUL": (lambda: with_member("x.py\0.txt"), "is not a file's name"),
    "link": (lambda: with_member("x.py", b"/etc/passwd", external_attr=0o120777 << 16), "symbolic link"),
    "device": (lambda: with_member("x.py", b"", external_attr=0o020666 << 16), "not a regular file"),
    "twice": (lambda: with_member("good.py"), "its name occurs twice"),
    "twice but for case": (lambda: with_member("GOOD.py"), "its name occurs twice"),
    "encrypted": (encrypted, "it is encrypted"),
    "lzma": (lambda: with_member("x.py", compress_type=zipfile.ZIP_LZMA), "compressed in an unusual way"),
    "5000 files": (lambda: packed({f"{n}.py": b"" for n in range(5000)}), "it holds 5000 files"),
    "100000 files": (lambda: packed({f"{n}.py": b"" for n in range(100_000)}), "lists too many files"),
    "zeros": (bomb, "it has 200 MiB"),
    "says it is short": (lying, "it cannot be unpacked"),
    "zip in zip": (lambda: packed({"a.py": CODE, "b.zip": packed({"c.py": CODE})}), "b.zip in it is a zip too"),
    "overlapping": (overlapping, "files in it overlap"),
    "empty": (lambda: packed({}), "it holds no notebook"),
    "half": (lambda: packed({"a.py": bytes(10_000)})[:5000], "it is not a zip, or only the beginning of one"),
    "torn": (lambda: packed({"a.py": bytes(10_000)})[5000:], "it is not a zip that can be read"),
    "nothing": (lambda: b"", "it is not a zip"),
    "something else": (lambda: b"\x1f\x8b" + bytes(1000), "it is not a zip"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_zip_of_a_student_is_refused_and_nothing_is_written(tmp_path, monkeypatch, kind):
    make, reason = HOSTILE[kind]
    content = make()
    monkeypatch.chdir(lay(tmp_path, "class/good.py") / "class")
    (tmp_path / "class" / "bad.zip").write_bytes(content)
    (tmp_path / "class.zip").write_bytes(packed({"good.py": CODE, "bad/bad.zip": content}))
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / "class", tmp_path / "class.zip"):
        tracemalloc.start()
        found = by_student(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found["good"].files == (("good.py", CODE),)
        assert found["bad"].files == ()
        assert found["bad"].rejected.startswith("bad.zip: ")
        assert reason in found["bad"].rejected
        assert peak < 64 << 20
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "kind", ["leads out", "absolute", "backslash", "link", "encrypted", "twice", "zeros", "says it is short"]
)
def test_a_bad_member_of_a_class_archive_costs_only_itself(tmp_path, kind):
    (tmp_path / "class.zip").write_bytes(HOSTILE[kind][0]())
    found = by_student(tmp_path / "class.zip")
    bad = [each for each in found.values() if each.rejected]
    assert len(bad) == 1
    if kind not in ("twice", "says it is short"):
        assert found["good"].files == (("good.py", CODE),)


def test_a_class_archive_that_is_wrong_as_a_whole_says_what_to_do(tmp_path):
    for kind in ("overlapping", "torn"):
        (tmp_path / "class.zip").write_bytes(HOSTILE[kind][0]())
        with pytest.raises(ValueError, match=r"class.zip cannot be used: .*Download it again"):
            collect(tmp_path / "class.zip")


def test_a_thousand_submissions_are_listed_without_being_read(tmp_path):
    (tmp_path / "class.zip").write_bytes(packed({f"s{n:04}/hw.py": CODE for n in range(1000)}))
    listed = scan(tmp_path / "class.zip")
    assert len(listed) == 1000
    assert listed[999].read().files == (("hw.py", CODE),)


def test_times_are_in_utc():
    assert submissions._iso(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) == "2026-03-01T12:00:00+00:00"
    assert submissions._iso(1e300) is None
