"""The gradebook: all or nothing, nothing is ever changed, everything is derived; the late policy; the exports."""

import csv
import io
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgcourse import cli
from pgcourse.grading import exports, late
from pgcourse.grading.gradebook import FORMAT, Gradebook, GradebookError
from pgcourse.grading.judge import Outcome
from pgcourse.grading.submissions import Submission
from pgcourse.grading.unit import Report

TASKS = [("03.first", "The first", 2), ("03.second", "The second", 3)]
VERSIONS = {"03.first": "a", "03.second": "b"}


def submission(student: str, content: bytes = b"x", **fields) -> Submission:
    return Submission(student, (("hw.py", content),), **fields)


def report(first: int, second: int, **fields) -> Report:
    """Full points are a pass."""
    outcomes = tuple(
        Outcome(task, "passed" if points == most else "failed", points, most, f"{points} of {most}.", None)
        for (task, _, most), points in zip(TASKS, (first, second), strict=True)
    )
    return Report(outcomes, **({"notices": (), "rejected": None, "flags": (), "cpu_seconds": 0.5, "level": "S2"} | fields))


@pytest.fixture
def book(tmp_path):
    with Gradebook(tmp_path / "course.db", create=True) as book:
        book.fix_tasks(TASKS)
        yield book


def marks(book: Gradebook) -> dict[str, float]:
    return {standing.student: standing.points for standing in book.standings()}


# Attempts


def test_what_is_recorded_stands(book):
    book.record(
        submission("ada", submitted="2026-03-01T12:00:00+00:00", notices=("one",), flags=("look",)),
        report(2, 1, notices=("two", "one"), flags=("tampering",)),
        VERSIONS,
    )
    (standing,) = book.standings()
    assert (standing.student, standing.points, standing.max_points, standing.level) == ("ada", 3, 5, "S2")
    assert (standing.notices, standing.flags) == (("one", "two"), ("look", "tampering"))
    assert (standing.submitted, standing.late, standing.rejected) == ("2026-03-01T12:00:00+00:00", "", None)
    assert standing.sha256 == submission("ada").sha256
    first, second = standing.tasks
    assert (first.task, first.title, first.status, first.points, first.message) == (
        "03.first",
        "The first",
        "passed",
        2,
        "2 of 2.",
    )
    assert (second.status, second.points, second.max_points, second.override) == ("failed", 1, 3, "")


def test_the_latest_attempt_counts_and_every_one_is_kept(book):
    for content, points in ((b"a", 0), (b"b", 2), (b"a", 1)):
        book.record(submission("ada", content), report(points, 0), VERSIONS)
    assert marks(book) == {"ada": 1}
    assert book._value("SELECT count(*) FROM attempt") == 3
    assert book.is_graded("ada", submission("ada", b"a").sha256)
    assert not book.is_graded("ada", submission("ada", b"b").sha256), "an earlier attempt is to be graded again"
    assert not book.is_graded("bob", submission("ada", b"a").sha256)


def test_other_versions_of_the_tasks_are_noticed(book):
    book.record(submission("ada"), report(2, 3), VERSIONS)
    sha256 = submission("ada").sha256
    assert book.is_graded("ada", sha256, VERSIONS)
    assert not book.is_graded("ada", sha256, VERSIONS | {"03.first": "new"})
    assert book.outdated(VERSIONS) == 0
    assert book.outdated(VERSIONS | {"03.first": "new"}) == 1


def test_a_refused_submission_is_recorded_with_the_reason(book):
    book.record(Submission("ada", (), rejected="a link"), report(0, 0), VERSIONS)
    book.record(submission("bob"), report(0, 0, rejected="not a notebook"), VERSIONS)
    assert [standing.rejected for standing in book.standings()] == ["a link", "not a notebook"]


@pytest.mark.parametrize("table", ["attempt", "outcome", "override", "policy", "task"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET rowid = rowid", "UPDATE {} SET points = 0"])
def test_nothing_is_ever_changed(book, table, change):
    book.record(submission("ada"), report(2, 3), VERSIONS)
    book.override("ada", "03.first", 1, "why", "me")
    book.set_policy("due = 2026-03-01T12:00:00Z")
    with pytest.raises(sqlite3.Error, match=r"never changed|no such column"):
        book._connection.execute(change.format(table))
    assert book._value(f"SELECT count(*) FROM {table}") >= 1


def test_hostile_text_is_recorded_as_plain_text(book):
    text = "\ud800 \x00 \x1b[31m \u202e <script> \N{PILE OF POO}"
    outcomes = (Outcome("03.first", "error", 0, 2, text, None, text * 10_000, text), report(0, 0).outcomes[1])
    hostile = Report(
        outcomes, notices=tuple(f"{text}{n}" for n in range(1000)), rejected=text, flags=(text,), cpu_seconds=0, level="S2"
    )
    book.record(submission("ada"), hostile, VERSIONS)
    (standing,) = book.standings()
    shown = [standing.tasks[0].message, standing.tasks[0].printed, standing.rejected, *standing.notices, *standing.flags]
    assert all(line.isprintable() for each in shown for line in each.splitlines())
    assert len(standing.notices) == 101
    assert len(standing.tasks[0].printed) < 21_000


def test_the_seed_is_drawn_once_and_is_no_learners(tmp_path):
    seeds = []
    for name in ("a.db", "a.db", "b.db"):
        with Gradebook(tmp_path / name, create=True) as book:
            seeds.append(book.seed)
    assert seeds[0] == seeds[1] != seeds[2]
    assert min(seeds) >= 1_000_000


# Durability


def test_it_reaches_the_disk(book):
    assert book._value("PRAGMA journal_mode") == "wal"
    assert book._value("PRAGMA synchronous") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_at_any_moment_it_has_whole_submissions_only(tmp_path):
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_gradebook import *
        with Gradebook(Path(sys.argv[1]), create=True) as book:
            if not book.tasks:
                book.fix_tasks(TASKS)
            start = len(book.standings())
            print("go", flush=True)
            for number in range(start, start + 100_000):
                book.record(submission(f"s{{number:06}}"), report(2, 3), VERSIONS)
    """
    path, seen = tmp_path / "course.db", 0
    for pause in (0.0, 0.05, 0.21):
        command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(pause)
            process.send_signal(signal.SIGKILL)
        with Gradebook(path) as book:
            standings = book.standings()
        assert len(standings) >= seen
        assert all(standing.points == 5 and len(standing.tasks) == 2 for standing in standings)
        seen = len(standings)
    assert seen > 10


def test_a_full_disk_is_a_clear_stop_and_leaves_nothing_half_written(book):
    book.record(submission("ada"), report(2, 3), VERSIONS)
    book._connection.execute(f"PRAGMA max_page_count = {book._value('PRAGMA page_count')}")
    before = 0
    with pytest.raises(GradebookError, match=r"full.* What was recorded before is kept"):
        for number in range(1000):
            before = len(book.standings())
            book.record(submission(f"s{number:04}", bytes(number)), report(0, 0, notices=("n" * 5000,)), VERSIONS)
    assert len(book.standings()) == before
    assert book._value("SELECT count(*) FROM outcome") == 2 * before


# Files that are no gradebook of this format


def test_what_is_no_gradebook_is_refused_and_left_alone(tmp_path):
    (tmp_path / "text.db").write_text("my grades\n" * 1000)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    for name in ("text.db", "other.db"):
        before = (tmp_path / name).read_bytes()
        for create in (True, False):
            with pytest.raises(GradebookError, match=rf"{name} is not a gradebook of this course; give another file"):
                Gradebook(tmp_path / name, create=create)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(GradebookError, match=r"there is no gradebook .*none.db; pgcourse grade SUBMISSIONS"):
        Gradebook(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("version", [0, FORMAT + 1])
def test_another_format_is_refused_with_what_to_do(tmp_path, version):
    path = tmp_path / "course.db"
    with Gradebook(path, create=True) as book:
        book._connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(GradebookError, match=rf"is a gradebook of format {version}, .* reads format {FORMAT}. Use the version"):
        Gradebook(path, create=True)


def test_a_gradebook_that_was_only_begun_is_begun_again(tmp_path):
    (tmp_path / "course.db").touch()
    with Gradebook(tmp_path / "course.db", create=True) as book:
        assert book.tasks == ()


# Overrides


def test_an_override_counts_with_its_reason_and_the_last_one_wins(book):
    book.record(submission("ada"), report(0, 3), VERSIONS)
    book.override("ada", "03.first", 1, "right idea", "me")
    book.override("ada", "03.first", 1.5, " read it again ", "me")
    (standing,) = book.standings()
    assert standing.points == 4.5
    assert (standing.tasks[0].points, standing.tasks[0].status, standing.tasks[0].override) == (1.5, "failed", "read it again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adda", "03.first", 1, "why"), "no student is named 'adda'; did you mean 'ada'?"),
        (("ada", "03.third", 1, "why"), "there are 03.first, 03.second"),
        (("ada", "03.first", 7, "why"), "points is 7; 03.first has 0 to 2."),
        (("ada", "03.first", -1, "why"), "points is -1"),
        (("ada", "03.first", float("nan"), "why"), "points is nan"),
        (("ada", "03.first", 1, " "), "the reason is empty"),
    ],
)
def test_overrides_that_cannot_be(book, arguments, message):
    book.record(submission("ada"), report(0, 3), VERSIONS)
    with pytest.raises(ValueError, match=re.escape(message)):
        book.override(*arguments, "me")
    assert marks(book) == {"ada": 3}


# The late policy

POLICY = """
due = 2026-03-01T12:00:00+01:00
grace_minutes = 15
deduction_per_day = 10
cutoff_days = 5
[extensions]
"bob" = 2026-03-03T12:00:00+01:00
"""
DUE = datetime(2026, 3, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("student", "after", "share", "said"),
    [
        ("ada", timedelta(0), 1.0, ""),
        ("ada", timedelta(minutes=15), 1.0, ""),
        ("ada", timedelta(minutes=15, seconds=1), 0.9, "1 day late: -10 %"),
        ("ada", timedelta(days=1), 0.9, "1 day late: -10 %"),
        ("ada", timedelta(days=1, seconds=1), 0.8, "2 days late: -20 %"),
        ("ada", timedelta(days=5), 0.5, "5 days late: -50 %"),
        ("ada", timedelta(days=5, seconds=1), 0.0, "6 days late, after the cutoff: -100 %"),
        ("bob", timedelta(days=2), 1.0, ""),
        ("bob", timedelta(days=3), 0.9, "1 day late: -10 %"),
        ("bob", None, 1.0, ""),
    ],
)
def test_what_being_late_costs(student, after, share, said):
    submitted = None if after is None else (DUE + after).isoformat()
    kept, phrase = late.parse(POLICY).apply(student, submitted)
    assert kept == pytest.approx(share)
    assert phrase == said


def test_a_deduction_ends_at_nothing_and_none_costs_nothing():
    policy = late.parse("due = 2026-03-01T11:00:00Z\ndeduction_per_day = 40")
    assert policy.apply("ada", (DUE + timedelta(days=9)).isoformat()) == (0.0, "9 days late: -100 %")
    assert late.parse("due = 2026-03-01T11:00:00Z").apply("ada", "2027-01-01T00:00:00+00:00") == (1.0, "")


def test_a_time_without_offset_is_local(monkeypatch):
    assert late.parse("due = 2026-03-01T12:00:00").due == datetime(2026, 3, 1, 12).astimezone()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("due = ", "not TOML"),
        ("grace_minutes = 5", "due is missing; write for example: due = 2026-"),
        ("due = '2026-03-01'", "due is 2026-03-01; write a date and a time, without quotes"),
        ("due = 2026-03-01", "write a date and a time"),
        ("due = 2026-03-01T12:00:00\ngrace_minuts = 5", "grace_minuts is not a setting. Did you mean grace_minutes?"),
        ("due = 2026-03-01T12:00:00\ngrace_minutes = -5", "grace_minutes is -5; write a number from 0"),
        ("due = 2026-03-01T12:00:00\ndeduction_per_day = 110", "deduction_per_day is 110; write a number from 0 to 100."),
        ("due = 2026-03-01T12:00:00\ndeduction_per_day = '10 %'", "deduction_per_day is '10 %'"),
        ("due = 2026-03-01T12:00:00\ncutoff_days = nan", "cutoff_days is nan"),
        ("due = 2026-03-01T12:00:00\nextensions = 3", "extensions is not a table"),
        ("due = 2026-03-01T12:00:00\n[extensions]\nbob = 3", 'the extension of "bob" is 3; write a date and a time'),
    ],
)
def test_a_policy_that_cannot_be_says_what_to_write(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        late.parse(text)


def test_the_policy_applies_to_all_points_and_the_last_one_counts(book):
    book.record(submission("ada", submitted=(DUE + timedelta(hours=30)).isoformat()), report(0, 3), VERSIONS)
    book.record(submission("bob"), report(2, 3), VERSIONS)
    book.override("ada", "03.first", 1, "right idea", "me")
    book.set_policy("due = 2026-01-01T12:00:00Z\ncutoff_days = 1")
    book.set_policy(POLICY)
    book.set_policy(POLICY)
    assert book._value("SELECT count(*) FROM policy") == 2
    assert marks(book) == {"ada": 3.2, "bob": 5}
    assert [standing.late for standing in book.standings()] == ["2 days late: -20 %", ""]
    assert book.standings()[0].tasks[1].points == 3, "each task keeps its own points"


# Exports


@pytest.fixture
def exported(book):
    book.record(submission("=HYPERLINK(1)", name="@ada", email="+a@b", number="-1"), report(2, 1, flags=("=1+1",)), VERSIONS)
    book.record(submission("Lovelace, Ada_12", name="Ada M. Lovelace", number="12"), report(2, 3), VERSIONS)
    book.override("=HYPERLINK(1)", "03.first", 0.5, "=cmd|x", "me")

    def export(format):
        text = exports.table(book.standings(), book.people(), format, "Exercises 03")
        assert text.endswith("\r\n")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    return export


@pytest.mark.parametrize("format", exports.FORMATS)
def test_no_cell_of_an_export_is_a_formula(exported, format):
    cells = [cell for row in exported(format) for cell in row.values()]
    assert any("HYPERLINK" in cell or "@ada" in cell for cell in cells)
    assert not any(cell.strip(" ").startswith(tuple("=+-@\t\r\n")) for cell in cells)


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1", "\n=1"])
def test_formulas_are_neutralised_and_the_rest_is_not(cell):
    assert exports.neutral(cell) == f"'{cell}"
    assert exports.neutral("a=1") == "a=1"
    assert exports.neutral(-0.5) == "-0.5"
    assert exports.neutral("") == ""


def test_the_generic_export_has_it_all(exported):
    first, second = exported("csv")
    assert (first["03.first"], first["points"], first["overrides"]) == ("0.5", "1.5", "03.first: =cmd|x")
    assert (second["student"], second["03.second"], second["points"], second["max_points"]) == (
        "Lovelace, Ada_12",
        "3",
        "5",
        "5",
    )
    assert second["isolation"] == "S2"
    assert re.fullmatch(r"[0-9a-f]{64}", second["sha256"])


def test_canvas_finds_students_by_id(exported):
    possible, _, ada = exported("canvas")
    assert list(ada) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Exercises 03"]
    assert (possible["Student"], possible["Exercises 03"]) == ("    Points Possible", "5")
    assert (ada["Student"], ada["ID"], ada["Exercises 03"]) == ("Ada M. Lovelace", "12", "5")


def test_moodle_finds_participants_by_their_identifier(exported):
    ada = exported("moodle")[1]
    assert (ada["Identifier"], ada["Full name"], ada["Grade"], ada["Maximum Grade"]) == (
        "Participant 12",
        "Ada M. Lovelace",
        "5",
        "5",
    )
    assert "Last modified (grade)" in ada


def test_gradescope_has_a_column_for_each_task(exported):
    ada = exported("gradescope")[1]
    assert (ada["First Name"], ada["Last Name"], ada["SID"]) == ("Ada M.", "Lovelace", "12")
    assert (ada["Total Score"], ada["Max Points"], ada["2: The second (3.0 pts)"]) == ("5", "5", "3")


def test_an_empty_gradebook_cannot_be_exported(book):
    with pytest.raises(ValueError, match="nobody is graded yet"):
        exports.table(book.standings(), book.people(), "csv", "")


# The commands


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_show_override_and_export(capsys, tmp_path, book):
    book.record(submission("ada", name="Ada", number="12"), report(1, 3), VERSIONS)
    code, out, _ = run(capsys, "gradebook", "show", book.path)
    assert code == 0
    assert out.splitlines()[1].split() == ["ada", "4/5"]
    code, out, _ = run(capsys, "gradebook", "override", book.path, "ada", "03.first", "2", "--reason", "right idea")
    assert (code, out) == (0, "ada: 2 for 03.first, 5/5 in all.\n")
    code, out, _ = run(
        capsys, "gradebook", "export", book.path, tmp_path / "marks.csv", "--format", "canvas", "--title", "Week 3"
    )
    assert (code, out) == (0, f"wrote {tmp_path / 'marks.csv'}\n")
    assert (tmp_path / "marks.csv").read_bytes().splitlines()[2] == b"Ada,12,,,,5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["gradebook", "show", "none.db"],
            "there is no gradebook none.db; pgcourse grade SUBMISSIONS --gradebook none.db begins one.",
        ),
        (["gradebook", "regrade", "none.db", "class"], "there is no gradebook none.db"),
        (["gradebook", "regrade", "course.db", "none"], "there is no file or folder none"),
        (["gradebook", "override", "course.db", "bob", "03.first", "1", "--reason", "x"], "no student is named 'bob'."),
        (["gradebook", "export", "course.db", "none/x.csv"], "none/x.csv: No such file or directory."),
        (["grade", "none", "--gradebook", "new.db"], "there is no file or folder none; give a folder"),
        (["grade", "empty", "--gradebook", "new.db"], "empty holds no submissions"),
        (["grade", "class", "--gradebook", "new.db", "--workers", "0"], "workers is 0; it must be at least 1."),
        (["grade", "class", "--gradebook", "new.db", "--late", "none.toml"], "none.toml: No such file or directory."),
        (["grade", "class", "--gradebook", "new.db", "--late", "bad.toml"], "bad.toml: due is missing; write for example"),
        (["grade", "class", "--gradebook", "no/new.db"], "no/new.db cannot be used (unable to open database file)"),
        (["grade", "class", "--gradebook", "bad.toml"], "bad.toml is not a gradebook of this course; give another file."),
    ],
)
def test_what_cannot_be_is_said_in_one_line(capsys, tmp_path, monkeypatch, book, arguments, message):
    monkeypatch.chdir(tmp_path)
    book.record(submission("ada"), report(1, 3), VERSIONS)
    for folder in ("class", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "class" / "ada.py").touch()
    (tmp_path / "bad.toml").write_text("grace_minutes = 5\n")
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "new.db").exists()
