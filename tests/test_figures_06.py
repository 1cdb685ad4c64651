"""Lecture 06's drawings: they draw at the ends of their controls, and what is computed for them is right."""

import numpy as np
import pytest
import torch

from pgcourse import distributions, figures_06, nn, plots, policies
from pgcourse.envs.pong import PADDLE, SIZE, Pong
from pgcourse.plots import COLORS
from pgcourse.rng import Noise, Rng


def drawn(figure):
    return plots.svg(figure).startswith(b"<?xml")


@pytest.mark.parametrize("discount", [0.0, 1.0])
@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.parametrize("standardise", [True, False])
def test_the_rally_draws_at_the_ends_of_its_controls(discount, anew, standardise):
    for over, another in ((1, 3), (figures_06.GAMES, 0)):
        figure, ax = plots.figure(*figures_06.RALLY["size"])
        figures_06.rally(ax, discount=discount, anew=anew, standardise=standardise, over=over, another=another)
        middle = ax.child_axes[1]
        assert max(abs(bar.get_height()) for bar in middle.patches) <= middle.get_ylim()[1]
        assert drawn(figure)


def test_the_rally_s_bars_are_the_weights():
    """At discount 0 only the steps of the points have one; the first game has points of both kinds; an open rally has none."""
    reward = figures_06.games(figures_06.SEED)[1][:, 0]
    assert {-1.0, 1.0} <= set(reward.tolist())
    _, ax = plots.figure()
    figures_06.rally(ax, discount=0.0)
    heights = [bar.get_height() for bar in ax.child_axes[1].patches]
    np.testing.assert_allclose(heights, reward)
    figures_06.rally(ax, standardise=True)
    last = int(reward.nonzero()[-1])
    heights = [bar.get_height() for bar in ax.child_axes[4].patches]
    assert len(heights) > last + 1
    assert not any(heights[last + 1 :])
    assert all(heights[: last + 1])


def test_the_rally_s_ways_are_what_the_paddle_does():
    """An action towards the ball brings the paddle nearer to its height, unless it is there already or at the wall."""
    env, rng = Pong(), Rng(1, stream=6)
    state = env.initial(rng.draw(env.spec.initial_noise, figures_06.GAMES)[0])
    _, _, way = figures_06.games(1)
    noise = rng.draw(env.spec.step_noise, 60, figures_06.GAMES)[0]
    action = (rng.uniform(60, figures_06.GAMES)[0] < 0.5).long()
    seen = 0
    for t in range(60):
        before, y = state[:, 3] + PADDLE / 2, state[:, 1]
        state, _, _ = env.step(state, action[t], noise[t])
        nearer = (before - y).abs() - (state[:, 3] + PADDLE / 2 - y).abs()
        clear = (way[t] != 0) & ((before - y).abs() >= 2) & (nearer != 0)
        assert (nearer[clear].sign() == way[t][clear]).all()
        seen += int(clear.sum())
    assert seen > 1000


def test_the_rally_s_means_tell_towards_from_away():
    """Over all games, by more than two intervals; their standard error is that of a ratio, checked by drawing games anew."""
    _, ax = plots.figure()
    figures_06.rally(ax)
    towards, away = (container.lines[0].get_xdata()[0] for container in ax.child_axes[2].containers)
    assert towards > 0.02
    assert away < -0.02
    draw = torch.Generator().manual_seed(0)
    values, chosen = torch.randn(3, 40, generator=draw), torch.rand(3, 40, generator=draw) < 0.6
    mean, error = figures_06._ratio(values, chosen)
    assert mean == pytest.approx(float(values[chosen].mean()))
    again = torch.randint(40, (4000, 40), generator=draw)
    means = (values * chosen)[:, again].sum((0, 2)) / chosen[:, again].sum((0, 2))
    assert error == pytest.approx(float(means.std()), rel=0.1)
    assert figures_06._ratio(values[:, :1], chosen[:, :1])[1] == 0.0


def follower(down_below, replicas=3):
    """A policy that goes towards the ball surely, or away from it: by the rows of what is lit in a list of pixels."""

    class Follows(policies.Pixels):
        def __init__(self):
            torch.nn.Module.__init__(self)  # a policy's, not a network's
            self.one, self.noise = torch.nn.Parameter(torch.zeros(replicas)), Noise("uniform")

        def forward(self, observation):
            image = nn.picture(observation, SIZE)
            rows = torch.arange(SIZE, dtype=image.dtype)
            ball, paddle = image[..., 5:35].clamp(min=0).sum(-1), image[..., 35].clamp(min=0)
            ball = (ball * rows).sum(-1) / ball.sum(-1).clamp(min=1)
            paddle = (paddle * rows).sum(-1) / paddle.sum(-1).clamp(min=1)
            below = (ball > paddle).to(image.dtype) * 2 - 1
            logit = (4 if down_below else 0) * below
            return distributions.Categorical(torch.stack([torch.zeros_like(logit), logit], -1))

    return Follows()


def test_credit_is_a_balance():
    """Weighted by how often each happens, towards and away cancel; for a learner who plays at random, towards is better just
    before the ball arrives: by more than four standard errors over 8 seeds, 3e-5 by chance."""
    towards, away = figures_06.credit(Pong(), follower(False, 8), 8)
    assert towards.shape == away.shape == (8, 7)
    last = torch.as_tensor(towards[:, 0] - away[:, 0])
    assert last.mean() > 4 * last.std() / 8**0.5
    assert (towards * away <= 1e-6).mean() > 0.9  # on either side of what is usual
    figure, ax = plots.figure()
    figures_06.credits(ax, towards, away)
    assert drawn(figure)


def test_decisions_of_one_who_follows():
    chance = figures_06.decisions(follower(True), 20)
    tops, rows = np.arange(2, SIZE - PADDLE + 1), np.arange(3, SIZE - 2)
    assert chance.shape == (3, len(tops), len(rows))
    far = np.abs(rows[None] - (tops[:, None] + PADDLE / 2)) > 4
    below = rows[None] > tops[:, None] + PADDLE / 2
    np.testing.assert_array_equal((chance[0].numpy() > 0.5)[far], below[far])
    assert figures_06.right_way(chance[0], apart=4) == 1
    assert figures_06.right_way(1 - chance[0], apart=4) == 0
    by_row = torch.as_tensor(rows > 20).expand(len(tops), -1).double()
    assert figures_06.right_way(by_row) == pytest.approx(0.80, abs=0.005)  # the lecture says so
    figure, ax = plots.figure()
    figures_06.boundary(ax, chance[0])
    assert drawn(figure)


def test_filters_are_the_strongest_units():
    policy = policies.Pixels(Rng(range(2)), 16, 2, hidden=5)
    with torch.no_grad():
        policy.first.weight[1, 1:, 3] = torch.arange(16.0)
        policy.last.weights[0][1, 3] = torch.tensor([1.0, 4.0])
    weight, push = figures_06.strongest(policy, 2, replica=1)
    torch.testing.assert_close(weight[0], torch.arange(16.0).reshape(4, 4))
    assert push[0] == 3
    figure, axes = plots.figure(columns=2, rows=1)
    figures_06.filters(np.array(axes), weight, push)
    assert axes[0].get_title() == "for down"
    assert drawn(figure)


def test_paint_is_white_blue_and_vermillion():
    painted = figures_06._painted(np.array([[0.0, 2.0], [-2.0, 1.0]]))
    blue = [int(COLORS["score_function"][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert painted[0, 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(painted[0, 1], blue)
    np.testing.assert_allclose(painted[1, 1], (1 + np.array(blue)) / 2)
    assert figures_06._painted(np.zeros((2, 2))).min() == 1


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=2)
    figures_06.pictures(axes, {"a": torch.zeros(4, 4), "b": np.zeros((4, 4, 3), dtype=np.uint8)})
    assert drawn(figure)
    figure, ax = plots.figure()
    steps = np.arange(1, 13) * 100.0
    figures_06.curves(ax, {"one": (steps, np.random.default_rng(0).random((3, 12)))}, {"one": "other"}, window=5)
    assert ax.lines[-2].get_xdata().tolist() == [500.0, 1000.0]
    assert drawn(figure)
    figure, ax = plots.figure()
    figures_06.costs(ax, {"random search": [-0.4, -0.3], "likelihood ratio": [0.1, 0.2]}, -0.45)
    assert drawn(figure)
