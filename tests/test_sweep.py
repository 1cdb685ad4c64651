"""A sweep: whatever dies, every run is done once; what is finished is never done again; what does not fit is refused."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from pgcourse import cli, sweep
from pgcourse.history import History
from pgcourse.sweep import Failed, Run, plan, store

NAMES = ("reinforce", "rwr", "CartPole-v1")


# A stub in place of the training, for the sweep's real processes: what the environment's name says is what happens.


def work(run: Run):
    if run.algorithm == "rwr" and 2 in run.seeds:
        os.kill(os.getpid(), signal.SIGKILL)
    return history(run)


def history(run: Run, value: float = 1.0) -> bytes:
    made = History(run.seeds)
    for _ in made.iterate(10):
        row = value + torch.tensor(run.seeds, dtype=torch.float64)
        made.append({"return": row + made.iteration}, torch.full((len(run.seeds),), 7))
    with tempfile.TemporaryDirectory() as folder:
        return made.save(Path(folder) / "history").read_bytes()


def folders(out: Path) -> dict[str, int]:
    """Finished runs, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("[!.]*")}


# Planning


def test_every_algorithm_in_every_environment_with_its_seeds_in_blocks():
    planned = plan(("Acrobot-v1", "rwr", "CartPole-v1", "reinforce"), seeds=5, replicas=2, seed=10, iterations=3)
    assert len(planned) == len({run.name for run in planned}) == 2 * 2 * 3
    assert {run.seeds for run in planned} == {(10, 11), (12, 13), (14,)}
    assert planned[0].name == "rwr-Acrobot-v1-10-11"
    assert planned[0].config.iterations == 3
    assert json.loads(json.dumps(planned[0].record)) == planned[0].record


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("reinforce",), {}, "name an environment, too.*"),
        (("CartPole-v1",), {}, "name an algorithm, too.*reinforce"),
        (("reinforc", "rwr", "CartPole-v1"), {}, "no environment is named 'reinforc'.*Algorithms there are: .*reinforce"),
        (NAMES, {"seeds": 0}, "seeds is 0; it must be at least 1"),
        (NAMES, {"replicas": 0}, "replicas is 0; it must be at least 1"),
        (NAMES, {"seed": -1}, "seed is -1; it must be >= 0"),
        (NAMES, {"iterations": 0}, "iterations is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(names, settings, message):
    with pytest.raises(ValueError, match=message):
        plan(names, **{"seeds": 2} | settings)


# What is on disk


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_folder_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch, dies_at):
    """Whichever of the writes to disk is the last one."""
    (run,) = plan(("reinforce", "CartPole-v1"), 2)
    calls, real = 0, os.fsync

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls == dies_at:
            raise OSError(5, "no more")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        if dies_at <= 4:
            with pytest.raises(OSError, match="no more"):
                store(tmp_path, run, history(run))
            assert (sweep.load(tmp_path, run) is not None) == (dies_at == 4)  # the last one comes after the renaming
        else:
            store(tmp_path, run, history(run))
    if sweep.load(tmp_path, run) is None:
        store(tmp_path, run, history(run))
    assert sweep.load(tmp_path, run).seeds == (0, 1)
    assert list(folders(tmp_path)) == [run.name]
    assert {path.name for path in (tmp_path / run.name).iterdir()} == {"config.json", "history.npz"}


def change(path: Path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numpy leaves a zip that is cut short open
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: change(f / "config.json", format=0, digest="old"), r"another sweep \(format 0 there, 1 here\)"),
        (lambda f: change(f / "config.json", pgcourse="0.0.1", digest="old"), r"\(pgcourse 0.0.1 there, "),
        (
            lambda f: change(f / "config.json", config={}, digest="other"),
            r"\(discount nothing there, 0.99 here\)",
        ),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").unlink(), "cannot be read"),
        (lambda f: (f / "history.npz").write_bytes((f / "history.npz").read_bytes()[:100]), "is not a history file"),
        (lambda f: (f / "history.npz").unlink(), "cannot be read"),
    ],
)
def test_results_that_do_not_fit_are_refused_with_what_to_do(tmp_path, spoil, message):
    planned = plan(("reinforce", "CartPole-v1"), 2)
    store(tmp_path, planned[0], history(planned[0]))
    spoil(tmp_path / planned[0].name)
    with pytest.raises(ValueError, match=f"{message}.*Take another folder with --out, or delete .*{planned[0].name}"):
        sweep.sweep(planned, tmp_path, work=work)


def test_a_history_of_an_older_format_is_refused(tmp_path, monkeypatch):
    (run,) = plan(("reinforce", "CartPole-v1"), 2)
    with monkeypatch.context() as patch:
        patch.setattr("pgcourse.history.FORMAT", 0)
        content = history(run)
    store(tmp_path, run, content)
    with pytest.raises(ValueError, match=r"has format 0; .* delete .* to have it done again"):
        sweep.load(tmp_path, run)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_sweeps_into_one_folder_are_one_too_many(tmp_path):
    with sweep._alone(tmp_path), pytest.raises(ValueError, match="another process sweeps into"):
        sweep.sweep(plan(NAMES, 2), tmp_path, work=work)


def test_the_table_counts_what_is_there(tmp_path):
    planned = plan(NAMES, seeds=4, replicas=2)
    for run in planned[:3]:
        store(tmp_path, run, history(run))
    rows = [line.split() for line in sweep.table(planned, tmp_path).splitlines()]
    # the last of ten iterations: 1 + seed + 9, in float64
    assert rows[1][:3] == ["CartPole-v1", "reinforce", "11.5"]
    assert rows[1][-2:] == ["4", "70"]
    assert rows[2][:3] == ["CartPole-v1", "rwr", "10.5"]
    assert rows[2][-4:] == ["2", "of", "4", "70"]
    low, high = float(rows[1][3]), float(rows[1][5])
    assert 10 <= low < 11.5 < high <= 13
    empty = sweep.table(planned[2:], tmp_path / "nothing").splitlines()[1].split()
    assert empty == ["CartPole-v1", "rwr", "-", "-", "0", "of", "4", "-"]


# Real processes


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_worker_that_dies_is_reported_and_the_others_go_on(tmp_path, capfd):
    planned = plan(("rwr", "CartPole-v1"), seeds=6, replicas=2)  # the third begins when one of the others has ended
    failed = sweep.sweep(planned, tmp_path, workers=2, work=work)
    assert {run.name: why for run, why in failed.items()} == {
        "rwr-CartPole-v1-2-3": "its process died (SIGKILL: out of memory, perhaps)."
    }
    assert "rwr-CartPole-v1-2-3: its process died" in capfd.readouterr().err
    assert sorted(folders(tmp_path)) == sorted(run.name for run in planned if run not in failed)
    before = folders(tmp_path)
    assert sweep.sweep(planned, tmp_path, workers=2, work=history) == {}  # the same again, repaired: only it is done
    after = folders(tmp_path)
    assert len(after) == 3
    assert before.items() <= after.items()


def test_learners_that_all_diverge_are_a_result_and_a_task_that_does_not_fit_is_a_failure(tmp_path, monkeypatch):
    """Trained again they would diverge again. The table says that their seeds do not count."""

    class Algorithm:
        Config = plan(("reinforce", "CartPole-v1"), 2)[0].config.__class__

        @staticmethod
        def train(env, config, rng, *, progress):
            made = History(rng.seeds)
            for iteration in made.iterate(config.iterations, progress):
                if iteration == 2:
                    raise FloatingPointError("no replica is left")
                made.append({"return": torch.ones(len(rng))}, torch.ones(len(rng)))

    monkeypatch.setattr("pgcourse.runs.algorithm", lambda name: Algorithm)
    run = Run("reinforce", "CartPole-v1", (0, 1), 4)
    store(tmp_path, run, sweep.train(run))
    assert sweep.load(tmp_path, run).iteration == 2
    assert "0 of 2" in sweep.table([run], tmp_path)
    monkeypatch.undo()
    failed = sweep.train(Run("hill_climbing", "no-such-environment", (0,), 1))
    assert isinstance(failed, Failed)
    assert "no environment is named" in failed.why


THREE = ("sweep", "reinforce", "CartPole-v1", "--seeds", "6", "--replicas", "2")
"""Three runs: two under way at once, and one that waits."""


def run_of(out: Path, log: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "pgcourse", *THREE, "--iterations", "2", "--workers", "2", "--out", str(out)]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_in_the_middle_and_resumed_it_gives_the_table_of_one_that_was_not(tmp_path, capsys):
    out, log = tmp_path / "killed", tmp_path / "log"
    with run_of(out, log) as process:
        until = time.monotonic() + 300
        while not folders(out):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive  # they end with the one that started them
    before = folders(out)
    assert 1 <= len(before) < 3
    with run_of(out, log) as process:
        assert process.wait() == 0, log.read_text()
    after = folders(out)
    assert len(after) == 3
    assert before.items() <= after.items()  # nothing was done twice
    assert not list(out.glob(".*.part"))
    planned = plan(("reinforce", "CartPole-v1"), seeds=6, replicas=2, iterations=2)
    whole = tmp_path / "whole"
    whole.mkdir()
    for run in planned:  # uninterrupted, in this very process
        store(whole, run, sweep.train(run))
    assert sweep.table(planned, out) == sweep.table(planned, whole)
    assert sweep.table(planned, out) in log.read_text()
    assert cli.main([*THREE, "--iterations", "2", "--out", str(out)]) == 0
    assert sweep.table(planned, out) in capsys.readouterr().out
    assert folders(out) == after
    assert cli.main([*THREE, "--iterations", "3", "--out", str(out)]) == 2
    assert "iterations 2 there, 3 here" in capsys.readouterr().err


def test_blocks_of_seeds_change_nothing():
    (together,) = plan(("reinforce", "CartPole-v1"), seeds=4, iterations=2)
    parts = plan(("reinforce", "CartPole-v1"), seeds=4, replicas=2, iterations=2)

    def returns(run, folder):
        store(folder, run, sweep.train(run))
        return sweep.load(folder, run).metrics["return"]

    with tempfile.TemporaryDirectory() as folder:
        whole, *pieces = (returns(run, Path(folder)) for run in (together, *parts))
    np.testing.assert_allclose(np.concatenate(pieces)[:, 0], whole[:, 0])


# Ray


def test_ray_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--engine ray needs Ray: pip install 'pgcourse\[ray\]'"):
        sweep.sweep(plan(NAMES, 2), tmp_path, engine="ray")


def test_a_node_with_another_version_is_named():
    (run,) = plan(("reinforce", "CartPole-v1"), 2)
    with pytest.raises(ValueError, match="has another version of the course"):
        sweep._perform(run, "another", work)
    assert isinstance(sweep._perform(run, run.record["digest"], work), bytes)


@pytest.mark.full
def test_two_ray_nodes_of_which_one_is_killed(tmp_path, monkeypatch):
    """Everything is done, once; the node dies when a third is, with a run under way on it."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    planned = plan(NAMES, seeds=6, replicas=1, iterations=3)
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
    stored, real = [], sweep.store

    def killing(out, run, content):
        real(out, run, content)
        stored.append(run)
        if len(stored) == 4:
            nodes.remove_node(second, allow_graceful=False)

    monkeypatch.setattr(sweep, "store", killing)
    try:
        assert sweep.sweep(planned, tmp_path, engine="ray") == {}
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert len(stored) == len(planned) == 12  # nothing lost
    assert set(stored) == set(planned)  # nothing twice
    whole = tmp_path / "whole"
    whole.mkdir()
    for run in planned:
        real(whole, run, sweep.train(run))
    assert sweep.table(planned, tmp_path) == sweep.table(planned, whole)
