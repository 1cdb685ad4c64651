"""Lecture 05's drawings: they draw at the ends of their controls, and what is computed for them is right."""

import pytest
import torch

from pgcourse import exact, figures_05, gradients, plots, returns
from pgcourse.envs.tabular import random_mdp, two_step
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


def world(days, luck):
    """Four states, none of which ends; what the last of three pays more is ``luck``."""
    mdp = random_mdp(4, 2, seed=0, time_limit=days)
    move = mdp.transition[:3, :, :3] / mdp.transition[:3, :, :3].sum(-1, keepdim=True)
    reward = mdp.reward[:3, :, :3] + luck * torch.arange(3, dtype=D)[:, None, None]
    return type(mdp)(move, reward, torch.full((3,), 1 / 3, dtype=D), torch.zeros(3, dtype=torch.bool), time_limit=days)


THETA = torch.tensor([[0.5, -0.5], [0.0, 0.0], [0.3, -0.3]], dtype=D)


def test_scores_are_autograd_s():
    table = figures_05.Table(THETA[None])
    walks = episodes(world(3, 1.0), table, Rng(0, dtype=D), environments=2)
    score = figures_05.scores(walks, THETA)
    for t in range(3):
        for e in range(2):
            (expected,) = torch.autograd.grad(
                table(walks.observation).log_prob(walks.action)[0, t, e], list(table.parameters())
            )
            torch.testing.assert_close(score[0, t, e], expected.flatten())


def test_the_weights_are_what_they_are_called_and_unbiased():
    """|z| > 5 in one of 30 numbers: at most 1.8e-5 by chance."""
    mdp, replicas = world(4, 2.0), 2000
    walks = episodes(mdp, figures_05.Table(THETA.expand(replicas, -1, -1)), Rng(range(replicas), dtype=D), environments=3)
    truth = exact.policy_gradient(mdp, figures_05.Table(THETA[None]))[0]
    score = figures_05.scores(walks, THETA)
    found = figures_05.weights(mdp, THETA, walks)
    G = returns.to_go(walks.reward, 1.0)
    value = exact.state_value(mdp, THETA.softmax(-1))
    torch.testing.assert_close((G - found["less V(s, t)"])[0, 2, 1], value[2, walks.observation[0, 2, 1].argmax()])
    torch.testing.assert_close((G - found["less b(t)"]).mean(0).mean(-1), G.mean((0, 2)), rtol=0.02, atol=0)
    for weight in found.values():
        quality = gradients.bias_and_variance((weight.unsqueeze(-1) * score).sum(1).mean(1), truth)
        assert quality.z.abs().max() < 5


@pytest.mark.parametrize("days", [2, 24])
@pytest.mark.parametrize("luck", [0.0, 10.0])
@pytest.mark.parametrize("subtract", figures_05.LADDER["subtract"])
def test_the_ladder_draws(days, luck, subtract):
    figure, axes = plots.figure(8.5, 5.2, columns=2)
    figures_05.ladder(axes, world, THETA, days=days, luck=luck, subtract=subtract, again=1)
    assert plots.svg(figure).startswith(b"<?xml")
    assert len(axes[0].patches) == 5
    first, last = axes[1].patches[0], axes[1].patches[-1]
    assert first.get_facecolor() != last.get_facecolor()  # "reward-to-go" too can be told from "whole return"


def test_bars_stand_at_the_means():
    _, ax = plots.figure()
    squares = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0, 4.0])}
    figures_05.bars(ax, squares)
    assert [bar.get_width() for bar in ax.patches] == [2.0, 4.0]


def test_the_other_pictures_draw():
    draw = torch.Generator().manual_seed(0)
    numbers = torch.rand(6, 5, generator=draw)
    figure, axes = plots.figure(columns=2)
    figures_05.credit(axes, numbers[:5], numbers[:5])
    assert plots.svg(figure).startswith(b"<?xml")
    _, ax = plots.figure()
    figures_05.parabola(ax, torch.arange(5.0), numbers, {"mean": (2.0, "exact")})
    _, ax = plots.figure()
    figures_05.discounts(ax, torch.linspace(0, 1, 5), torch.arange(5.0), numbers, nothing=2.0)
    assert ax.lines[-1].get_xdata()[0] == 0  # least where the bias is
    figure, ax = plots.figure()
    values = {"one": [numbers[:, 0], numbers[:, 1]], "other": [numbers[:, 2], numbers[:, 3]]}
    figures_05.against_episodes(ax, [2, 8], values, {"one": "baseline", "other": "biased"})
    assert plots.svg(figure).startswith(b"<?xml")


def test_it_is_for_worlds_that_run_to_their_time_limit():
    """In the mountain, which ends by itself, the last state's value is 0: the weights are still right."""
    mdp, theta = two_step(), torch.zeros(4, 2, dtype=D)
    walks = episodes(mdp, figures_05.Table(theta[None]), Rng(0, dtype=D), environments=4)
    assert all(weight.isfinite().all() for weight in figures_05.weights(mdp, theta, walks).values())
