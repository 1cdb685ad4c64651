"""Lecture 08's drawings, and what they draw: workers in time, descent with old gradients, its limit."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from pgcourse import figures_08, plots
from pgcourse.history import History

D = torch.float64


def test_events_without_waiting_are_in_order_and_count_their_staleness():
    time = figures_08.durations(3, 0.8, 200, seed=1)
    events = figures_08.without_waiting(time, 300)
    assert [each.end for each in events] == sorted(each.end for each in events)
    for k, event in enumerate(events):
        between = [e for e in events[:k] if e.end > event.begin or (e.end == event.begin and e.worker != event.worker)]
        assert event.staleness == len([e for e in between if e.worker != event.worker])
    for w in range(3):
        mine = [each for each in events if each.worker == w]
        assert all(b.begin == a.end for a, b in pairwise(mine))
        np.testing.assert_allclose([each.end - each.begin for each in mine], time[w, : len(mine)], atol=1e-9)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_mean_staleness_is_one_less_than_the_workers(workers, spread):
    """(8.6), up to the two ends of the run: at most W (W - 1) / 2 there, and what the slowest still has open."""
    events = figures_08.without_waiting(figures_08.durations(workers, spread, 2000, seed=0), 1500)
    late = np.array([each.staleness for each in events])
    assert workers - 1 - 0.1 < late.mean() <= workers - 1
    if spread == 0:
        assert late.max() == workers - 1


def test_a_round_lasts_as_long_as_its_slowest():
    time = torch.tensor([[1.0, 2.0, 1.0], [3.0, 1.0, 1.0]])
    rounds = figures_08.with_waiting(time, 3)
    assert [[each.begin for each in one] for one in rounds] == [[0, 0], [3, 3], [5, 5]]
    assert [max(each.end for each in one) for one in rounds] == [3, 5, 6]


def test_durations_have_mean_one_and_workers_have_their_own():
    """Mean of 4 x 20,000 lognormals: |z| < 5, a false alarm once in 1.7 million seeds."""
    time = figures_08.durations(4, 0.7, 20_000, seed=3)
    z = (time.mean() - 1) / (time.std() / time.numel() ** 0.5)
    assert abs(z) < 5
    assert not torch.equal(time[0], time[1])
    assert (figures_08.durations(2, 0.0, 5, seed=0) == 1).all()


def test_descent_on_the_bowl_is_the_recursion():
    height = figures_08.descend([0, 1, 0, 2], 1, 0.3, replicas=3, noise=0.0)
    h, path = figures_08.CURVATURE, [torch.full((2,), 3.0, dtype=D)]
    for k, d in enumerate([0, 1, 0, 2]):
        path.append(path[-1] - 0.3 * h * path[k - d])
    expected = torch.stack([(h * x * x).sum() / 2 for x in path])
    torch.testing.assert_close(height, expected.expand(3, 5))


def test_averaging_divides_the_noise():
    """Once the start is forgotten, what is left of the height is noise: a quarter of it with 4 gradients averaged."""
    spread = []
    for averaged in (1, 4):
        height = figures_08.descend([0] * 400, averaged, 0.1, replicas=200)[:, 200:].mean()
        spread.append(float(height))
    assert 3.5 < spread[0] / spread[1] < 4.5
    alone = figures_08.descend([0] * 3000, 1, 0.1, replicas=400)[:, 2000:].mean()
    exact = sum(0.1 / (2 * (2 - 0.1 * float(h))) for h in figures_08.CURVATURE)  # stationary E[h x^2] / 2, step 0.1
    assert abs(float(alone) / exact - 1) < 0.1


@pytest.mark.parametrize("delay", [0, 1, 2, 5, 15])
def test_the_stable_step_puts_a_root_on_the_unit_circle(delay):
    limit = figures_08.stable_step(delay)

    def largest(step):
        coefficients = np.zeros(delay + 2)
        coefficients[0], coefficients[1] = 1, -1
        coefficients[-1] += step
        return abs(np.roots(coefficients)).max()

    assert math.isclose(largest(limit), 1, abs_tol=1e-7)
    assert largest(0.99 * limit) < 1 < largest(1.01 * limit)


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_race_draws_at_the_ends_of_its_controls(workers, spread):
    figure, axes = plots.figure(8.6, 5.2, columns=2)
    figures_08.race(axes, workers, spread, 0.4)
    assert plots.svg(figure).startswith(b"<?xml")
    waiting, free = axes[1].lines
    if spread == 0:
        assert len(free.get_xdata()) - 1 == pytest.approx(workers * (len(waiting.get_xdata()) - 1), rel=0.1)
    if workers == 1:
        np.testing.assert_allclose(waiting.get_xdata()[:50], free.get_xdata()[:50], rtol=1e-6)
    if workers == 16 and spread == 0:
        assert free.get_ydata()[-1] > 1e3  # beyond the limit 0.1
        assert waiting.get_ydata()[-1] < 1


def test_smooth_leaves_out_what_is_not_known():
    y = torch.tensor([[math.nan, 2.0, 4.0, 6.0]])
    assert figures_08.smooth(y, 2)[0, 1:].tolist() == [2.0, 3.0, 5.0]
    assert figures_08.smooth(y, 2)[0, 0].isnan()


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=4)
    figures_08.bars(axes[0], {"two": [0, 1, 1, 30], "four": [3, 3]}, ("biased", "other"))
    assert [patch.get_height() for patch in axes[0].patches[:2]] == [0.25, 0.5]
    assert axes[0].patches[10].get_height() == 0.25
    figures_08.swings(axes[1], {"a": torch.rand(4)}, ("baseline",))
    figures_08.by_update(axes[2], {"a": torch.rand(3, 4)}, ("biased",))
    history = History([0, 1])
    for k in range(4):
        history.append({"return": torch.tensor([1.0, float("nan") if k == 0 else 2.0])}, torch.tensor([5, 5]))
    figures_08.curves(axes[3], {"a": (history, 2)}, ("exact",))
    assert min(line.get_xdata().min() for line in axes[3].lines if len(line.get_xdata())) == 10  # at 5 one has no return yet
    assert plots.svg(figure).startswith(b"<?xml")
