"""REPS: the dual's derivatives, its minimum by another route, the KL taken, hostile numbers, bad input, a short run."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import norm

from pgcourse import envs, policies
from pgcourse.algorithms import reps
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


def make(replicas=3, count=40, features=4, seed=0):
    """Samples out of nowhere, the last ones not valid, each column of mean 0 and spread 1."""
    numbers = Rng(range(seed, seed + replicas), dtype=D).normal(count, features + 1)
    valid = torch.arange(count) < torch.arange(count, count - 5 * replicas, -5)[:, None]
    numbers = torch.where(valid[..., None], numbers, 0)
    total = valid.sum(1)[:, None, None]
    numbers = torch.where(valid[..., None], numbers - numbers.sum(1, keepdim=True) / total, 0)
    numbers = numbers / (numbers.square().sum(1, keepdim=True) / total).sqrt()
    numbers[~valid] = 1e3  # must not matter
    return reps.Samples(numbers[..., 0], numbers[..., 1:], valid)


def kl_of(samples, eta, v):
    p = reps.tilted(samples, eta, v)[0]
    return (torch.special.xlogy(p, p).sum(1)) + samples.valid.sum(1).log()


def test_the_duals_derivatives_against_finite_differences():
    samples, rng = make(), Rng(range(3), dtype=D)
    eta, v, h = 0.5 + rng.uniform(), rng.normal(4), 1e-5
    gradient, curvature = reps.slopes(samples, eta, v, 0.3)
    for i in range(5):
        nudge = torch.zeros(3, 5, dtype=D)
        nudge[:, i] = h
        up, down = ((eta + sign * nudge[:, -1], v + sign * nudge[:, :-1]) for sign in (1, -1))
        difference = (reps.dual(samples, *up, 0.3) - reps.dual(samples, *down, 0.3)) / (2 * h)
        torch.testing.assert_close(gradient[:, i], difference, rtol=1e-6, atol=1e-7)
        difference = (reps.slopes(samples, *up, 0.3)[0] - reps.slopes(samples, *down, 0.3)[0]) / (2 * h)
        torch.testing.assert_close(curvature[:, i], difference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0])
def test_the_kl_taken_is_the_one_asked_for_and_features_flow_as_before(epsilon):
    samples = make(replicas=5, count=200)
    eta, v = reps.solve_dual(samples, epsilon)
    assert (eta > 0).all()
    torch.testing.assert_close(kl_of(samples, eta, v), torch.full((5,), epsilon, dtype=D), rtol=1e-5, atol=1e-6)
    flow = (reps.tilted(samples, eta, v)[0].unsqueeze(2) * samples.flow).sum(1)
    assert flow.abs().max() < 1e-4
    assert (reps.slopes(samples, eta, v, epsilon)[1][0].diagonal() > 0).all()


def test_the_minimum_is_the_best_distribution_by_another_route():
    """scipy's SLSQP on the primal problem: max p . u with sum p = 1, p . f = 0, KL(p || uniform) <= epsilon."""
    samples, epsilon, n = make(replicas=1, count=12, features=2), 0.3, 12
    u, f = samples.gain[0].numpy(), samples.flow[0].numpy()
    conditions = [
        {"type": "eq", "fun": lambda p: p.sum() - 1},
        {"type": "eq", "fun": lambda p: p @ f},
        {"type": "ineq", "fun": lambda p: epsilon - p @ np.log(p * n)},
    ]
    best = minimize(
        lambda p: -p @ u, np.full(n, 1 / n), constraints=conditions, bounds=[(1e-12, 1)] * n, options={"ftol": 1e-12}
    )
    p = reps.tilted(samples, *reps.solve_dual(samples, epsilon))[0][0]
    np.testing.assert_allclose(p, best.x, atol=1e-4)
    value = reps.dual(samples, *reps.solve_dual(samples, epsilon), epsilon).item()
    assert value == pytest.approx(-best.fun, abs=1e-4)  # no duality gap


def test_normal_gains_have_a_closed_form():
    """Of u ~ N(0, 1) exp(u / eta) makes N(1 / eta, 1), whose KL is 1 / (2 eta^2)."""
    count, epsilon = 20001, 0.2
    gain = torch.from_numpy(norm.ppf((np.arange(count) + 0.5) / count))[None]
    samples = reps.Samples(gain, torch.zeros(1, count, 1, dtype=D), torch.ones(1, count, dtype=torch.bool))
    eta, _ = reps.solve_dual(samples, epsilon)
    assert eta.item() == pytest.approx(1 / math.sqrt(2 * epsilon), rel=1e-3)


def test_each_replica_is_solved_as_if_alone():
    samples = make(replicas=4, count=60)
    eta, v = reps.solve_dual(samples, 0.5)
    for r in range(4):
        alone = reps.Samples(samples.gain[[r]], samples.flow[[r]], samples.valid[[r]])
        for many, one in zip((eta[[r]], v[[r]]), reps.solve_dual(alone, 0.5), strict=True):
            torch.testing.assert_close(many, one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("trace_decay", [0.0, 0.7, 1.0])
def test_samples_are_sums_of_bellman_errors(trace_decay):
    """By loops over episodes of different lengths, up to shift and scale."""
    mdp, rng = tabular.random_mdp(4, 2, seed=2, time_limit=6), Rng(range(2), dtype=D)
    batch = episodes(mdp, policies.for_env(mdp, rng, hidden=()), rng, 7)
    assert batch.valid.sum(1).unique().numel() > 1
    samples = reps.samples(batch, reps.Config(discount=0.8, trace_decay=trace_decay))

    def feature(o, t):
        return np.array([*o, *o**2, t / 100, (t / 100) ** 2, (t / 100) ** 3, 1.0])

    for r in range(2):
        sums = np.zeros((*batch.valid.shape[1:], 1 + samples.flow.shape[-1]))
        for e in range(7):
            length, ahead = int(batch.valid[r, :, e].sum()), 0.0
            for t in reversed(range(length)):
                change = -feature(batch.observation[r, t, e].numpy(), t)
                if t < length - 1:
                    change += 0.8 * feature(batch.observation[r, t + 1, e].numpy(), t + 1)
                ahead = np.r_[batch.reward[r, t, e], change] + 0.8 * trace_decay * ahead
                sums[t, e] = ahead
        valid = batch.valid[r].numpy()
        plain = sums[valid] - sums[valid].mean(0)
        spread = plain.std(0)
        plain = np.where(spread > 1e-9, plain / np.where(spread > 1e-9, spread, 1), 0)
        found = torch.cat((samples.gain[r][:, None], samples.flow[r]), 1).unflatten(0, valid.shape)[batch.valid[r]]
        np.testing.assert_allclose(found, plain, atol=1e-8)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e9])
def test_rewards_of_any_size_give_the_same_weights(size):
    env, rng = envs.make("Pendulum-v1"), Rng(range(2), dtype=D)
    batch = episodes(env, policies.for_env(env, rng), rng, 4)
    weights = []
    for factor in (1.0, size):
        samples = reps.samples(replace(batch, reward=factor * batch.reward), reps.Config())
        weights.append(reps.tilted(samples, *reps.solve_dual(samples, 0.5))[0])
    torch.testing.assert_close(*weights, rtol=1e-6, atol=1e-9)


def test_equal_rewards_and_a_constraint_that_does_not_bind_stay_finite():
    """One sample in two is best and equally so: no p with a higher mean is as far away as 2 nats, and eta goes to its least."""
    gain = torch.tensor([[1.0, -1.0] * 10, [0.0, 0.0] * 10], dtype=D)
    samples = reps.Samples(gain, torch.zeros(2, 20, 3, dtype=D), torch.ones(2, 20, dtype=torch.bool))
    eta, v = reps.solve_dual(samples, 2.0)
    p = reps.tilted(samples, eta, v)[0]
    assert (eta > 0).all()
    assert (v == 0).all()
    torch.testing.assert_close(p[0], torch.tensor([0.1, 0.0] * 10, dtype=D))
    torch.testing.assert_close(p[1], torch.full((20,), 0.05, dtype=D))


def test_the_policy_moves_by_no_more_than_epsilon_where_it_fits_exactly():
    """A table, fitted to the end: mean_s KL(new || old) is at most KL(p || q) but for the luck of the sample (600 episodes)."""
    config = reps.Config(
        iterations=1, environments=600, epsilon=0.3, regression_steps=300, step_size=0.1, hidden=(), discount=1.0
    )
    _, history = reps.train(tabular.two_step(), config, Rng(range(8), dtype=D))
    np.testing.assert_allclose(history.metrics["sample_kl"], 0.3, atol=1e-4)
    kl = history.metrics["kl"]
    assert (kl < 0.3 * 1.03).all()
    assert (kl > 0.05).all()


@pytest.mark.parametrize(("field", "value"), [("trace_decay", -0.1), ("epsilon", 0.0)])
def test_an_impossible_setting_is_named(field, value):
    """The others, and what happens to a replica that sees NaN: test_rwr."""
    with pytest.raises(ValueError, match=f"{field} is"):
        reps.Config(**{field: value})


@pytest.mark.parametrize("trace_decay", [0.0, 1.0])
def test_it_finds_the_better_plan(trace_decay):
    """two_step pays at once for the worse choice. Sixteen seeds; the optimum is 3.25. Its features tell all states apart, so
    that the paper's Bellman error will do, too."""
    config = reps.Config(
        iterations=30, environments=40, discount=1.0, trace_decay=trace_decay, epsilon=0.2, step_size=0.05, hidden=()
    )
    _, history = reps.train(tabular.two_step(), config, Rng(range(16)))
    assert history.window("return", 10)[:, -1].min() > 2.5
    assert history.metrics["return"][:, 0].mean() < 2.0


def test_it_learns_to_balance():
    _, history = reps.train(envs.make("CartPole-v1"), reps.Config(iterations=6), Rng(range(4)))
    assert history.metrics["return"][:, 0].max() < 50
    assert history.metrics["return"][:, -1].min() > 80
