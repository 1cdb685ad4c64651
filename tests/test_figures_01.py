"""Lecture 01's drawing functions: what they compute is right, and they draw at the ends of their controls."""

import numpy as np
import pytest
import torch

from pgcourse import exact, figures_01, plots, policies
from pgcourse.envs.games import rock_paper_scissors
from pgcourse.envs.tabular import aliased_gridworld
from pgcourse.rng import Rng

F64 = torch.float64


def earned(q):
    world = aliased_gridworld()
    return float(exact.expected_return(world, exact.on_observations(world, figures_01.walker(q)), 0.9))


def test_walker_is_the_familys_table():
    tables = figures_01.walker(torch.tensor([0.0, 0.3]))
    assert tables.shape == (2, 5, 4)
    torch.testing.assert_close(tables.sum(-1), torch.ones(2, 5, dtype=F64))
    torch.testing.assert_close(tables[1, 1], torch.tensor([0, 0.3, 0, 0.7]).to(F64), rtol=0, atol=1e-7)
    assert tables[0, [0, 1, 2, 3]].argmax(-1).tolist() == [1, 3, 2, 3]


@pytest.mark.parametrize("right", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("walks", [1, 1000])
def test_mixture_draws_and_says_what_is_so(right, walks):
    figure, axes = plots.figure(columns=2)
    figures_01.mixture(axes, right, walks)
    assert f"J = {earned(right):.2f}" in axes[1].get_title()
    (dots,) = [line for line in axes[1].lines if "averages" in str(line.get_label())]
    assert len(dots.get_ydata()) == 16
    assert abs(np.mean(dots.get_ydata()) - earned(right)) < 5 * 0.45 / (16 * walks) ** 0.5
    assert plots.svg(figure).startswith(b"<?xml")


@pytest.mark.parametrize(("right", "sign"), [(0.0, "+"), (0.25, "+"), (0.5, "slope 0"), (0.75, "-"), (1.0, "-")])
def test_mixture_points_uphill(right, sign):
    _, axes = plots.figure(columns=2)
    figures_01.mixture(axes, right, 1)
    assert sign in axes[1].get_title()
    arrows = [text for text in axes[1].texts if getattr(text, "arrow_patch", None) is not None]
    if sign == "slope 0":
        assert not arrows
    else:
        assert np.sign(arrows[0].xy[0] - right) == (1 if sign == "+" else -1)


def test_walking_again_gives_other_averages():
    first, again = figures_01.averages(0.25, 10, 0), figures_01.averages(0.25, 10, 1)
    assert first.shape == (16,)
    assert not torch.equal(first, again)
    assert torch.equal(first, figures_01.averages(0.25, 10, 0))


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=3, rows=2)
    (first, second, third), row = axes
    figures_01.errors(first, (1, 10), torch.rand(4, 2) + 0.1, 0.2)
    figures_01.levels(second, {"one": 0.4275, "two": 0.7185})
    assert [text.get_text() for text in second.texts] == ["one: 0.4275", "two: 0.7185"]
    figures_01.directions(third, (16, 64), torch.rand(4, 2) + 0.1)
    rng = Rng(0)
    bodies = (policies.Deterministic(rng, 1, 1), policies.Gaussian(rng, 1, 1), policies.Categorical(rng, 1, 3))
    figures_01.heads(row, bodies, torch.linspace(-1, 1, 11))
    assert plots.svg(figure).startswith(b"<?xml")


def test_triangle_marks_the_best_mixture():
    game = rock_paper_scissors(4)
    points = torch.tensor([(i, j, 6 - i - j) for i in range(7) for j in range(7 - i)], dtype=F64) / 6
    value = exact.expected_return(game, exact.on_observations(game, points[:, None]))
    figure, ax = plots.figure()
    figures_01.triangle(ax, points, value)
    (best,) = [line for line in ax.lines if line.get_marker() == "o"]
    assert best.get_xydata()[0] == pytest.approx([0.5, 3**0.5 / 6])  # the middle
    assert "J = 0" in [text.get_text() for text in ax.texts]
    assert plots.svg(figure).startswith(b"<?xml")
