"""Lecture 07's drawings: they draw at the ends of their controls, and what they show is what is computed."""

from dataclasses import replace

import pytest
import torch

from pgcourse import exact, figures_07, plots
from pgcourse.envs.tabular import gridworld

D = torch.float64
WORLD = replace(gridworld(), time_limit=None)
PI = torch.full((11, 4), 0.25, dtype=D)
V = exact.state_value(WORLD, PI, 0.9)


@pytest.mark.parametrize("trace_decay", [0.0, 1.0])
@pytest.mark.parametrize("critic_error", [0.0, 0.6])
def test_tradeoff_draws_the_exact_advantages_and_its_curves(trace_decay, critic_error):
    figure, axes = plots.figure(8.4, 4.6, columns=2)
    figures_07.tradeoff(axes, WORLD, PI, 0.9, 5, trace_decay, critic_error)
    assert plots.svg(figure).startswith(b"<?xml")
    exactly = torch.tensor(axes[0].lines[-1].get_ydata())
    torch.testing.assert_close(exactly, exact.advantage(WORLD, PI, 0.9)[5])
    bias, variance, both = (torch.tensor(line.get_ydata()) for line in axes[1].lines[:3])
    torch.testing.assert_close(bias + variance, both)
    assert (bias.max() > 1e-3) == (critic_error > 0)
    assert bias[-1] < 1e-20  # lambda = 1: the critic is a baseline
    at = 0 if trace_decay == 0 else -1
    assert axes[1].lines[3].get_ydata()[0] == both[at]


def test_quality_weighs_the_exact_moments_as_states_and_actions_occur():
    """By hand, for n = 2, with loops over states and actions."""
    value = figures_07.critic_off_by(WORLD, V, 0.4, seed=1)
    mean, variance = exact.advantage_estimate(WORLD, PI, value, 0.9, steps=2)
    off = mean - exact.advantage(WORLD, PI, 0.9)
    visits = exact.visitation(WORLD, PI, 0.9)
    bias = spread = 0.0
    for s in range(11):
        shared = sum(PI[s, a] * off[s, a] for a in range(4))
        for a in range(4):
            weight = visits[s] / visits.sum() * PI[s, a]
            bias += weight * (off[s, a] - shared) ** 2
            spread += weight * variance[s, a]
    found = figures_07.quality(WORLD, PI, value, 0.9, steps=2)
    torch.testing.assert_close(torch.tensor(found, dtype=D), torch.stack((bias, spread)))


def test_a_critic_is_off_where_something_is_decided_only():
    off = figures_07.critic_off_by(WORLD, V, 0.5, seed=3) - V
    assert not off[WORLD.terminal].any()
    assert (off[~WORLD.terminal].abs() > 0).all()
    assert not torch.equal(off, figures_07.critic_off_by(WORLD, V, 0.5, seed=4) - V)


def test_the_grid_shows_every_cell():
    figure, ax = plots.figure()
    figures_07.grid(ax, V, marked=5)
    assert plots.svg(figure).startswith(b"<?xml")
    words = [text.get_text() for text in ax.texts]
    assert len(words) == 11
    assert sum("goal" in word for word in words) == sum("pit" in word for word in words) == 1
    assert words[0] == f"{float(V[0]):.2f}"


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=2)
    figures_07.errors(axes[0], [1, 2, 3], torch.tensor([[0.3, 0.1], [0.2, 0.2], [0.1, 0.4]]))
    assert [round(y, 6) for y in axes[0].lines[2].get_ydata()] == [0.4, 0.4, 0.5]
    figures_07.curves(axes[1], range(4), {"a": torch.rand(3, 4), "b": torch.rand(3, 4)}, ("exact", "biased"))
    assert plots.svg(figure).startswith(b"<?xml")
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["a: 3 replicas", "b: 3 replicas"]
