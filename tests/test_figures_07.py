"""Lecture 07's drawings: they draw at the ends of their controls, and what they show is what is computed."""

from dataclasses import replace

import pytest
import torch

from pgcourse import exact, figures_07, plots, policies
from pgcourse.envs.tabular import gridworld
from pgcourse.history import History
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

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


def walkers(count):
    rng = Rng(range(count), dtype=D)
    policy = policies.Categorical(rng, 11, 4, hidden=())
    policy.body.weights[0].data[:] = PI.log()
    return policy, rng


def test_means_by_cell_are_those_of_a_loop():
    policy, rng = walkers(2)
    batch = episodes(replace(WORLD, time_limit=12), policy, rng, environments=3)
    table = torch.randn(2, 11, dtype=D, generator=torch.Generator().manual_seed(0))
    now, ahead = figures_07.looked_up(batch, table)
    mean = figures_07.mean_by_cell(batch, now + 2 * batch.reward)
    for r in range(2):
        sums, counts = [0.0] * 11, [0] * 11
        for t in range(batch.reward.shape[1]):
            for e in range(3):
                s, after = (int(x[r, t, e].argmax()) for x in (batch.observation, batch.next_observation))
                assert now[r, t, e] == table[r, s]
                assert ahead[r, t, e] == table[r, after]
                if batch.valid[r, t, e]:
                    sums[s] += table[r, s].item() + 2 * batch.reward[r, t, e].item()
                    counts[s] += 1
        expected = [total / max(count, 1) for total, count in zip(sums, counts, strict=True)]
        torch.testing.assert_close(mean[r], torch.tensor(expected, dtype=D))


def test_by_column_least_squares_is_best_and_td_is_a_fixed_point():
    found = figures_07.by_column(WORLD, PI, 0.9)
    column, visits = [0, 1, 2, 3, 0, 2, 3, 0, 1, 2, 3], exact.visitation(WORLD, PI, 0.9)
    (best, least), (phi, error) = found["Monte Carlo"], found["TD"]
    total = dict.fromkeys(range(4), 0.0)  # of the visits to a column: what TD would still add there
    for s in range(11):
        here = 0.0 if WORLD.terminal[s] else phi[column[s]]
        for a in range(4):
            for k in range(11):
                ahead = 0.0 if WORLD.terminal[k] else phi[column[k]]
                chance = visits[s] * PI[s, a] * WORLD.transition[s, a, k]
                total[column[s]] += float(chance * (WORLD.reward.expand(11, 4, 11)[s, a, k] + 0.9 * ahead - here))
    assert max(map(abs, total.values())) < 1e-12
    assert least < error
    for c in range(4):
        for step in (-0.01, 0.01):
            other = best + step * (torch.arange(4) == c)
            values = torch.tensor([0.0 if WORLD.terminal[s] else float(other[column[s]]) for s in range(11)], dtype=D)
            assert ((values - V).square() @ visits / visits.sum()).sqrt() > least


def test_sampled_advantages_scatter_around_those_of_the_critic():
    """64 estimates with the true V, at the start, where nearly every estimate has several visits to each action: their mean is
    within 4 standard errors of the exact advantage (false alarms of the four: under 1 in 3,000)."""
    policy, rng = walkers(64)
    found = figures_07.sampled_advantage(WORLD, policy, rng, V.expand(64, -1), 0.9)[:, 7]
    off = (found.mean(0) - exact.advantage(WORLD, PI, 0.9)[7]) / (found.std(0) / 8)
    assert off.abs().max() < 4


def test_improving_with_exact_advantages_never_falls_and_jumping_ends_at_the_best():
    def jump(logits, advantage):
        return 50.0 * torch.nn.functional.one_hot(advantage.argmax(-1), 4).to(D)

    jumped = figures_07.improve(WORLD, 0.9, 8, *walkers(1), jump, exactly=True)
    gentle = figures_07.improve(WORLD, 0.9, 8, *walkers(1), lambda logits, advantage: logits + advantage, exactly=True)
    assert jumped.shape == gentle.shape == (1, 8)
    assert jumped[0, 0] == gentle[0, 0]
    assert (gentle.diff() > 0).all()
    assert (jumped.diff() > -1e-9).all()
    best = torch.zeros(11, dtype=D)
    for _ in range(300):
        best = (WORLD.transition * (WORLD.reward + 0.9 * best)).sum(-1).amax(-1) * ~WORLD.terminal
    torch.testing.assert_close(jumped[0, -1], best[7])
    sampled = figures_07.improve(WORLD, 0.9, 3, *walkers(2), jump)
    assert sampled.shape == (2, 3)
    assert sampled[0, 0] == gentle[0, 0]
    assert sampled[0, 1] != sampled[1, 1]


def test_the_last_tenth_is_that_of_the_steps_asked_for():
    run = History((0, 1))
    for value in range(100):
        run.append({"return": torch.tensor([float(value), value + 2.0])}, torch.tensor([10, 10]))
    # steps 10 .. 1000 with returns 0 .. 99 and 2 .. 101: on 450 .. 500 they are 44 .. 49 and 46 .. 51; sd of the two is sqrt(2)
    assert figures_07.last_tenth(run, 500) == "48 ± 2"
