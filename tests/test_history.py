import os
import signal
import warnings

import numpy as np
import pytest
import torch

from pgcourse.history import History


def filled(iterations=4, replicas=3):
    history = History(range(replicas))
    for i in history.iterate(iterations):
        history.append({"return": torch.arange(replicas) + 10.0 * i}, torch.full((replicas,), 5))
    return history


def test_metrics_steps_and_seconds():
    history = filled()
    assert history.metrics["return"].tolist() == [[0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 32]]
    assert history.steps[0].tolist() == [5, 10, 15, 20]
    assert (np.diff(history.seconds) >= 0).all()
    assert history.iteration == history.total == 4
    assert history.latest("return").tolist() == [30, 31, 32]


def test_window():
    assert filled().window("return", 2)[0].tolist() == [0, 5, 15, 25]


def test_what_has_no_value_yet_or_any_more_is_left_out():
    history = History([0, 1])
    for row in ([np.nan, np.nan], [2, np.nan], [4, 1], [np.nan, 3]):
        history.append({"return": torch.tensor(row)}, torch.ones(2))
        history.iteration += 1
        history._seconds.append(0.0)
    np.testing.assert_equal(history.window("return", 2), [[np.nan, 2, 3, np.nan], [np.nan, np.nan, 1, 2]])
    lines = history.table().splitlines()
    assert lines[1].endswith(" -")
    assert "3 +-       0" in lines[4]


def test_save_and_load(tmp_path):
    history = filled()
    history.stopped = {2: "iteration 1: why"}
    loaded = History.load(history.save(tmp_path / "run"))
    assert loaded.seeds == history.seeds
    assert loaded.stopped == history.stopped
    assert loaded.total == 4
    assert np.array_equal(loaded.metrics["return"], history.metrics["return"])
    assert np.array_equal(loaded.steps, history.steps)
    assert np.array_equal(loaded.seconds, history.seconds)
    assert loaded.table() == history.table()


def test_a_name_with_a_dot_keeps_it(tmp_path):
    assert filled().save(tmp_path / "step_0.01").name == "step_0.01.npz"
    assert filled().save(tmp_path / "step_0.03.npz").name == "step_0.03.npz"


def test_a_file_of_another_format_or_none_is_refused(tmp_path, monkeypatch):
    path = filled().save(tmp_path / "old")
    monkeypatch.setattr("pgcourse.history.FORMAT", 2)
    with pytest.raises(ValueError, match=r"has format 1; .* reads format 2\. Run the training again"):
        History.load(path)
    (tmp_path / "none.npz").write_text("hello")
    with pytest.raises(ValueError, match="is not a history file"):
        History.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        History.load(tmp_path / "absent.npz")


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(KeyError, match="has return"):
        filled().window("reward", 2)


def test_table_has_about_ten_rows():
    assert len(filled(100).table().splitlines()) == 11
    assert "return" in filled().table()


def test_progress_sees_every_iteration_and_can_end_the_run():
    seen = []

    def progress(history):
        seen.append(history.iteration)
        return history.iteration == 3

    history = History([0])
    for _ in history.iterate(10, progress):
        history.append({"return": torch.zeros(1)}, torch.ones(1))
    assert seen == [1, 2, 3]
    assert history.iteration == 3


def test_an_interrupt_ends_the_run_after_the_iteration_and_keeps_what_it_has():
    before = signal.getsignal(signal.SIGINT)
    history = History([0])
    for i in history.iterate(10):
        if i == 2:
            os.kill(os.getpid(), signal.SIGINT)
        history.append({"return": torch.zeros(1)}, torch.ones(1))
    assert history.iteration == 3
    assert history.ended
    assert history.metrics["return"].shape == (1, 3)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_is_immediate():
    history = History([0])
    with pytest.raises(KeyboardInterrupt):
        for _ in history.iterate(10):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
    assert history.iteration == 0


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled().table()
