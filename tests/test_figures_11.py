"""Lecture 11's drawings: they draw at the ends of their controls, and what is measured for them is right."""

import math

import pytest
import torch

from pgcourse import distributions, figures_11, gradients, plots
from pgcourse.envs.double_pendulum import DoublePendulum
from pgcourse.rng import Rng

D = torch.float64


def board(x, edge):
    """Three discs with soft edges, as in lecture 11."""
    depth = [radius - x.norm(dim=-1) for radius in (0.5, 1.0, 1.5)]
    return sum((d > 0).to(x.dtype) if edge == 0 else (d / edge).sigmoid() for d in depth)


@pytest.mark.parametrize("edge", [0.0, 0.05, 0.6])
@pytest.mark.parametrize("throws", [1, 200])
@pytest.mark.parametrize("spread", [0.2, 1.2])
def test_two_ways_draw_and_hard_edges_leave_no_slope(edge, throws, spread):
    figure, axes = plots.figure(8.4, 5.8, columns=2)
    figures_11.two_ways(axes, board, edge=edge, throws=throws, spread=spread)
    assert plots.svg(figure).startswith(b"<?xml")
    score, path = (line.get_xydata() for line in axes[1].lines[:2])
    assert len(score) == len(path) == 300
    assert (abs(path).max() == 0) == (edge == 0)


def test_with_soft_edges_both_clouds_lie_around_the_exact_gradient():
    _, axes = plots.figure(columns=2)
    figures_11.two_ways(axes, board, edge=0.3, throws=200)
    *_, exact = axes[1].collections
    for line in axes[1].lines[:2]:
        cloud = torch.from_numpy(line.get_xydata())
        error = cloud.std(0) / len(cloud) ** 0.5
        assert ((cloud.mean(0) - torch.tensor([exact.U[0], exact.V[0]])).abs() < 5 * error + 2e-3).all()


@pytest.mark.parametrize("correlation", [-0.95, 0.0, 0.95])
def test_correlated_draws_the_cloud_that_is_asked_for(correlation):
    figure, axes = plots.figure(columns=2)
    figures_11.correlated(axes, correlation)
    places = torch.from_numpy(axes[1].collections[0].get_offsets().data)
    assert abs(torch.corrcoef(places.T)[0, 1].item() - correlation) < 0.15
    assert plots.svg(figure).startswith(b"<?xml")


def test_spread_by_horizon_is_that_of_the_estimators():
    """At one horizon, by episodes: the pathwise one by reverse differentiation, the score's with its baseline by hand."""
    start, steps, episodes, scale = DoublePendulum(start=(1.0, 1.0)), 12, 6, 0.7
    found = figures_11.spread_by_horizon({"high": start, "low": DoublePendulum()}, scale, episodes, 20, seeds=3)["high"]
    assert found["pathwise"].shape == (3, 20)
    rng = Rng(range(3), dtype=D)
    first, noise = rng.draw(start.spec.initial_noise, episodes), rng.normal(20, episodes, 1)[:, :steps].movedim(1, 2)
    torque = gradients.Unrolled(
        start, lambda theta, o: distributions.Normal(theta, torch.full_like(theta, math.log(scale))), steps
    )
    alone = first[:, :, None, None], noise[:, :, None, None], None  # one episode for each estimate
    slopes = gradients.pathwise(torque, torch.zeros(3, episodes, 1, dtype=D), alone)[..., 0]
    torch.testing.assert_close(found["pathwise"][:, steps - 1], slopes.std(1))

    reward, _, _ = torque._run(torch.zeros(1, dtype=D), (first, noise, None), "likelihood_ratio")
    by_hand = torch.zeros(3, episodes, dtype=D)
    for t in range(steps):
        for e in range(episodes):
            others = [other for other in range(episodes) if other != e]
            rest = sum(reward[k][:, e] - reward[k][:, others].mean(1) for k in range(t, steps))
            by_hand[:, e] += rest * noise[:, e, t, 0] / scale
    torch.testing.assert_close(found["score function"][:, steps - 1], by_hand.std(1))


def test_the_other_pictures_draw():
    x = torch.tensor([1.0, 2.0, 4.0])
    measured = {name: torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) + 1 for name in figures_11.WAYS}
    _, ax = plots.figure()
    figures_11.against(ax, x, measured, {"pathwise": x})
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "4"]

    paths = {name: torch.rand(5, 4, 2, dtype=D) + 1 for name in figures_11.WAYS}
    lost = {name: torch.rand(4, 5, dtype=D) + 0.1 for name in figures_11.WAYS}
    best = torch.tensor([2.0, 3.0], dtype=D)
    for step in (0, 4):
        figure, axes = plots.figure(columns=2)
        figures_11.gains(axes, lambda K: -1 - (K - best).square().sum(-1), best, paths, lost, step=step)
        assert plots.svg(figure).startswith(b"<?xml")

    figure, axes = plots.figure(columns=2)
    figures_11.fan(axes, {"a": DoublePendulum(), "b": DoublePendulum(start=(1.0, 1.0))}, steps=5)
    figures_11.derivative_of_a_bell(plots.figure(columns=2)[1])
    figures_11.horizons(plots.figure(columns=2)[1], x, {"a": measured, "b": measured})
    speed = torch.linspace(0, 2, 9)
    figures_11.fence(plots.figure()[1], speed, speed + (speed > 1), speed, 1.0)
    assert len(axes[0].lines) == 8


def test_the_bell_s_slope_is_its_two_parts():
    _, axes = plots.figure(columns=2)
    figures_11.derivative_of_a_bell(axes, spread=0.6)
    x, slope = axes[0].lines[0].get_data()
    plus, minus = (line.get_ydata() for line in axes[1].lines)
    width = x[1] - x[0]
    assert abs(plus.sum() * width - 1) < 1e-3
    assert abs(minus.sum() * width - 1) < 1e-3
    assert abs(slope - (plus - minus) / (0.6 * math.sqrt(2 * math.pi))).max() < 1e-9
