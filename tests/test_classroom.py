"""Grading a class: whatever dies, everyone is graded once; what is recorded is never graded again."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from students import make_class

from pgcourse.grading import classroom, cluster, find, tasks
from pgcourse.grading.classroom import Died, Job, Pool
from pgcourse.grading.gradebook import Gradebook
from pgcourse.grading.judge import Outcome
from pgcourse.grading.sandbox import worker as sandbox
from pgcourse.grading.standing import Standing
from pgcourse.grading.submissions import scan
from pgcourse.grading.unit import Report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="grading a class needs Linux or macOS")
needs_isolation = pytest.mark.usefixtures("isolation")


@pytest.fixture(scope="session")
def isolation() -> str:
    level, reasons = sandbox.best_level()
    if level == "S0":
        pytest.skip(f"nothing can be confined here: {reasons}")
    return level


TASK = find("03.gaussian_score")


# A stub in place of judge and sandbox: what a submission says is what happens. It runs in the pool's real processes.


@contextmanager
def stub(level: str):
    yield work


def work(job: Job):
    order, _, rest = job.files[0][1].decode().partition(" ")
    if order == "die":
        tried = Path(rest)
        tried.write_text(str(int(tried.read_text()) + 1 if tried.exists() else 1))
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "hang":
        time.sleep(600)
    if job.tasks is None:
        return tuple(rest.split())
    outcomes = tuple(Outcome(task, "passed", len(rest), 10, order) for task in job.tasks)
    return Report(outcomes, notices=(), rejected=None, flags=(), cpu_seconds=0.0, level="S2")


@contextmanager
def broken(level: str):
    raise OSError("no sandbox today")
    yield


def job(content: str, tasks=(TASK.id,)) -> Job:
    return Job((("hw.py", content.encode()),), tasks)


def lay(folder: Path, **contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for student, content in contents.items():
        (folder / f"{student}.py").write_text(content)
    return folder


# The pool. Starting a process takes seconds (torch), so there are few.


def test_the_pool_does_every_job_once_and_outlives_its_processes(tmp_path):
    asked = []

    def jobs():
        for number in range(20):
            asked.append(number)
            yield number, job(f"fine {'x' * number}")

    with Pool("S2", 1, stub) as pool:
        done = {}
        for number, report in pool.run(jobs()):
            done[number] = report.outcomes[0].points
            assert len(asked) <= len(done) + 2, "jobs are asked for as they can be worked on"
        assert done == {number: number for number in range(20)}
        assert list(pool.run(iter(()))) == []
        (process,) = pool._processes
        os.kill(process._process.pid, signal.SIGKILL)  # while it is idle
        assert len(list(pool.run([(1, job("fine"))]))) == 1
        done = dict(pool.run([("die", job(f"die {tmp_path / 'tried'}")), ("fine", job("fine x"))]))
        assert isinstance(done["die"], Died)
        assert done["fine"].outcomes[0].points == 1
        assert (tmp_path / "tried").read_text() == "2", "a job whose process dies is tried again, once"
        (pid,) = [process._process.pid for process in pool._processes]
        folder = Path(pool._folder.name)
        assert folder.name.startswith(f"pgcourse-{os.getpid()}-"), "as the next sandbox looks for what killed ones have left"
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_does_not_come_back_is_given_up(monkeypatch):
    monkeypatch.setattr(classroom, "PATIENCE", 0.5)
    monkeypatch.setattr(classroom, "_TICK", 0.2)
    monkeypatch.setattr(classroom, "_TRIES", 1)
    with Pool("S2", 1, stub) as pool:
        assert isinstance(dict(pool.run([("hang", job("hang"))]))["hang"], Died)


def test_processes_that_cannot_start_end_it(monkeypatch, capfd):
    monkeypatch.setattr(classroom, "_STARTS", 2)
    with Pool("S2", 1, broken) as pool, pytest.raises(RuntimeError, match="2 grading processes in a row ended"):
        list(pool.run([(1, job("fine"))]))
    assert "no sandbox today" in capfd.readouterr().err


# A class


class Here:
    """An engine that does jobs at once, in this process, and counts them."""

    def __init__(self):
        self.done = Counter()

    def run(self, jobs):
        for key, each in jobs:
            self.done[each.tasks is None] += 1
            yield key, Died() if each.files[0][1].startswith(b"die") else work(each)


@pytest.fixture
def book(tmp_path):
    with Gradebook(tmp_path / "course.db", create=True) as book:
        book.fix_tasks([(TASK.id, TASK.title, TASK.points)])
        yield book


def points(book):
    return {standing.student: standing.points for standing in book.standings()}


def test_only_what_is_missing_is_graded(tmp_path, book):
    folder, engine = lay(tmp_path / "class", ada="fine x", bob="fine xx"), Here()
    (folder / "cyd.pdf").touch()
    for _ in range(2):
        classroom.grade(book, scan(folder), engine, [TASK])
        assert points(book) == {"ada": 1, "bob": 2, "cyd": 0}
        assert engine.done.total() == 2, "what cannot be graded needs no worker"
    assert "cyd.pdf" in book.standings()[2].rejected
    lay(folder, ada="fine xxx", dan="fine")
    classroom.grade(book, scan(folder), engine, [TASK])
    assert points(book) == {"ada": 3, "bob": 2, "cyd": 0, "dan": 0}
    assert engine.done.total() == 4
    assert book._value("SELECT count(*) FROM attempt") == 5


def test_grading_again(tmp_path, book, monkeypatch):
    folder, engine = lay(tmp_path / "class", ada="fine x", bob="fine xx"), Here()
    classroom.grade(book, scan(folder), engine, [TASK])
    classroom.grade(book, scan(folder), engine, [TASK], "changed")
    assert engine.done.total() == 2
    classroom.grade(book, scan(folder), engine, [TASK], "all")
    assert engine.done.total() == 4
    monkeypatch.setattr(classroom.unit, "task_version", lambda task: "new")
    classroom.grade(book, scan(folder), engine, [TASK])
    assert engine.done.total() == 4, "a new version alone is no reason; the instructor is told"
    assert book.outdated({TASK.id: "new"}) == 2
    classroom.grade(book, scan(folder), engine, [TASK], "changed")
    assert engine.done.total() == 6
    assert book.outdated({TASK.id: "new"}) == 0


def test_what_kills_its_judge_twice_is_a_crash_with_a_flag(tmp_path, book):
    classroom.grade(book, scan(lay(tmp_path / "class", ada="die", bob="fine x")), Here(), [TASK])
    ada, bob = book.standings()
    assert (ada.tasks[0].status, ada.points, bob.points) == ("crash", 0, 1)
    assert ada.flags == ("The grading process died twice on this submission.",)


def test_the_lectures_that_count_are_those_that_somebody_answers(tmp_path, capsys):
    folder = lay(tmp_path / "class", ada=f"fine {TASK.name} helper", bob="fine helper", cyd="die")
    (folder / "dan.pdf").touch()
    answered = classroom._answered(scan(folder), Here())
    assert [task.id for task in answered] == [task.id for task in tasks() if task.id.startswith("03")]
    assert "Lecture 03 counts: 1 submission of 4 answer something of it." in capsys.readouterr().out
    (folder / "ada.py").unlink()
    with pytest.raises(ValueError, match=r"no submission defines a function .*--lectures 03"):
        classroom._answered(scan(folder), Here())


def test_a_gradebook_keeps_the_lectures_it_was_begun_with(tmp_path, book):
    assert classroom._tasks_of(book, None) == [TASK]
    with pytest.raises(ValueError, match=r"was begun with lectures 03, which stay the same in it; begin another for 04"):
        classroom._tasks_of(book, "04")
    with Gradebook(tmp_path / "new.db", create=True) as new:
        assert classroom._tasks_of(new, None) is None
        assert {task.id[:2] for task in classroom._tasks_of(new, "03-04")} == {"03", "04"}
        with pytest.raises(ValueError, match=r"--lectures 98-99: there are no tasks in that; lectures .*03, 04"):
            classroom._tasks_of(new, "98-99")
        new.fix_tasks([("77.gone", "Gone", 1)])
        with pytest.raises(ValueError, match=r"tasks that this version does not have: 77.gone"):
            classroom._tasks_of(new, None)


def test_without_isolation_nothing_runs_unless_submissions_are_trusted(monkeypatch, capsys):
    monkeypatch.setattr(classroom.sandbox, "best_level", lambda: ("S0", {"S3": "no bwrap", "S1": "old kernel"}))
    with pytest.raises(ValueError, match=r"cannot confine .* S3: no bwrap. S1: old kernel. Grade on Linux"):
        classroom.isolation(trust=False)
    assert classroom.isolation(trust=True) == "S0"
    assert "Isolation: S0 (none: submissions run with your rights)." in capsys.readouterr().out


def test_a_cluster_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--engine ray needs Ray: pip install 'pgcourse\[ray\]'"):
        cluster.Cluster(None, False)
    with pytest.raises(ValueError, match=r"has another version of the course; install the same one on every machine"):
        cluster._perform(job("fine"), {TASK.id: "another"}, False)


def test_two_graders_do_not_write_into_one_gradebook(tmp_path):
    with (
        classroom._alone(tmp_path / "course.db"),
        pytest.raises(ValueError, match=r"another process is grading into .*course.db"),
        classroom._alone(tmp_path / "course.db"),
    ):
        pass
    with classroom._alone(tmp_path / "course.db"):
        pass


def test_the_table(tmp_path, book):
    folder = lay(tmp_path / "class", ada="fine x", bob="die", **{"with spaces " * 10: "fine xx"})
    (folder / "cyd.pdf").touch()
    classroom.grade(book, scan(folder), Here(), [TASK])
    book.override("ada", TASK.id, 2, "why", "me")
    book.set_policy("due = 2020-01-01T00:00:00Z\ncutoff_days = 1")
    head, ada, bob, cyd, spaces, total = classroom.table(book.standings()).splitlines()
    assert head.split() == ["student", "points"]
    assert ada.startswith("ada ")
    assert "0/10" in ada
    assert ada.endswith("after the cutoff: -100 %; overridden")
    assert bob.endswith("flag: The grading process died twice on this submission.")
    assert "refused: Only cyd.pdf was handed in" in cyd
    assert len(spaces.split("...")[0]) == 37
    assert total == "4 students; 2 at isolation S2."


# The real thing: the command line, the judge, the sandbox, SIGKILL


class Direct:
    """An engine that grades in this process, uninterrupted."""

    def __init__(self, level: str):
        self.level = level

    def run(self, jobs):
        with classroom.bench(self.level) as do:
            for key, each in jobs:
                yield key, do(each)


def begun(path: Path, other: Path) -> None:
    """Two gradebooks with the same hidden cases."""
    with Gradebook(path, create=True):
        pass
    shutil.copy(path, other)


def outcome(path: Path) -> dict[str, Standing]:
    """The final table, without what may differ from run to run: the time, and the words for how a process came to its end.

    Which of two clocks stops an endless loop first depends on the machine's load, and so does whether a process that has
    closed everything ends by itself or is ended.
    """
    with Gradebook(path) as book:
        standings = book.standings()
    return {
        standing.student: replace(
            standing,
            graded="",
            tasks=tuple(replace(task, message="") if task.status in ("timeout", "crash") else task for task in standing.tasks),
        )
        for standing in standings
    }


def assert_same_table(path: Path, other: Path, due: dict[str, int]) -> None:
    table, expected = outcome(path), outcome(other)
    assert table.keys() == expected.keys()
    assert [(table[student], expected[student]) for student in table if table[student] != expected[student]] == []
    assert {student: standing.points for student, standing in table.items()} == due


def recorded(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM attempt").fetchone()[0]


@contextmanager
def grading(folder: Path, gradebook: Path, log: Path, *flags: str):
    """The command, running in a process group of its own, as in a terminal."""
    grade = ["-m", "pgcourse", "grade", str(folder), "--gradebook", str(gradebook), *flags]
    # Tests that were started in the background have Ctrl-C ignored, and hand that on.
    heard = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", heard, sys.executable, *grade]
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as process:
        yield process


def wait_for(path: Path, number: int, process) -> None:
    """Until so many attempts are recorded, or the command has ended."""
    while process.poll() is None and recorded(path) < number:
        time.sleep(0.05)


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.full
def test_killed_and_robbed_of_a_worker_it_ends_in_the_same_table(tmp_path, isolation):
    folder, path, log = tmp_path / "class", tmp_path / "course.db", tmp_path / "log"
    folder.mkdir()
    due = make_class(folder, 12, seed=4)
    begun(path, tmp_path / "other.db")
    with grading(folder, path, log, "--workers", "1") as process:
        wait_for(path, 4, process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert_all_end(children)
    with grading(folder, path, log, "--workers", "1") as process:
        wait_for(path, 6, process)
        for child in psutil.Process(process.pid).children():
            child.kill()
    assert process.returncode == 0, log.read_text()
    assert "Lecture 03 counts: " in log.read_text()
    assert "12 students; 12 at isolation S" in log.read_text()

    with Gradebook(tmp_path / "other.db") as book:
        lecture = [task for task in tasks() if task.id.startswith("03")]
        book.fix_tasks((task.id, task.title, task.points) for task in lecture)
        classroom.grade(book, scan(folder), Direct(isolation), lecture)
    assert_same_table(path, tmp_path / "other.db", due)


@pytest.mark.full
@needs_isolation
def test_ctrl_c_leaves_a_good_gradebook_and_says_how_to_go_on(tmp_path):
    folder, path, log = tmp_path / "class", tmp_path / "course.db", tmp_path / "log"
    folder.mkdir()
    due = make_class(folder, 60, seed=8)  # so many that it comes in the middle
    begun(path, tmp_path / "other.db")
    with grading(folder, path, log) as process:
        wait_for(path, 3, process)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        assert process.wait(30) == 130, log.read_text()
    assert_all_end(children)
    assert f"What is graded is in {path}; the same command goes on from there." in log.read_text()
    assert "Traceback" not in log.read_text()
    assert 3 <= recorded(path) < 60
    with grading(folder, path, log) as process:
        assert process.wait() == 0
    assert {student: standing.points for student, standing in outcome(path).items()} == due


@pytest.mark.full
@needs_isolation
def test_a_thousand_with_the_grader_killed_five_times(tmp_path):
    folder, path, log = tmp_path / "class", tmp_path / "course.db", tmp_path / "log"
    folder.mkdir()
    due = make_class(folder, 1000, seed=5, slow=5)
    flags = ("--workers", "2", "--lectures", "03")
    begun(path, tmp_path / "other.db")
    for number in sorted(random.Random(6).sample(range(10, 990), 5)):
        with grading(folder, path, log, *flags) as process:
            wait_for(path, number, process)
            children = psutil.Process(process.pid).children(recursive=True)
            assert process.poll() is None, log.read_text()
            process.kill()
        assert_all_end(children)
    for gradebook in (path, tmp_path / "other.db"):
        with grading(folder, gradebook, log, *flags) as process:
            assert process.wait() == 0, log.read_text()
    assert recorded(path) == 1000
    assert_same_table(path, tmp_path / "other.db", due)


@pytest.mark.full
@needs_isolation
def test_two_ray_nodes_of_which_one_is_killed(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    folder = tmp_path / "class"
    folder.mkdir()
    due = make_class(folder, 60, seed=7)
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="error")

    class Killing(cluster.Cluster):
        def run(self, jobs):
            for number, each in enumerate(super().run(jobs)):
                if number == 20:
                    nodes.remove_node(second, allow_graceful=False)
                yield each

    try:
        lecture = [task for task in tasks() if task.id.startswith("03")]
        with Gradebook(tmp_path / "course.db", create=True) as book, Killing(None, False) as engine:
            assert engine._room() == 2
            book.fix_tasks((task.id, task.title, task.points) for task in lecture)
            classroom.grade(book, scan(folder), engine, lecture)
            assert points(book) == due
            assert not any("died" in flag for standing in book.standings() for flag in standing.flags)
    finally:
        ray.shutdown()
        nodes.shutdown()
