"""Baselines: by definition, by their optimality, and by the exact gradient of small MDPs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcourse import exact, gradients, policies, returns
from pgcourse.envs.tabular import gridworld, random_mdp, two_step
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


def batch(seed, steps, envs):
    """Targets [T, E], and episodes that end at different times; what stands after the end is NaN and must not count."""
    rng = Rng([seed], dtype=D)
    length = 1 + (rng.uniform(envs)[0] * steps).long()
    valid = torch.arange(steps)[:, None] < length
    return torch.where(valid, rng.normal(steps, envs)[0] + 3, torch.nan), valid


@settings(deadline=None, max_examples=30)
@given(steps=st.integers(1, 7), envs=st.integers(1, 6), seed=st.integers(0, 999))
def test_means_are_their_definitions(steps, envs, seed):
    target, valid = batch(seed, steps, envs)
    constant, time, others = (
        f(target, valid) for f in (returns.constant_baseline, returns.time_baseline, returns.leave_one_out_baseline)
    )
    assert constant.shape == time.shape == others.shape == target.shape
    expected = target[valid].mean()
    for t in range(steps):
        running = [e for e in range(envs) if valid[t, e]]
        for e in range(envs):
            torch.testing.assert_close(constant[t, e], expected)
            mean = sum(target[t, i] for i in running) / len(running) if running else target.new_zeros(())
            torch.testing.assert_close(time[t, e], mean)
            rest = [target[t, i] for i in running if i != e]
            torch.testing.assert_close(others[t, e], sum(rest) / len(rest) if rest else target.new_zeros(()))


def test_without_valid_every_step_counts():
    target = Rng(range(3), dtype=D).normal(5, 4)
    torch.testing.assert_close(returns.constant_baseline(target)[1, 2, 3], target[1].mean())
    torch.testing.assert_close(returns.time_baseline(target)[..., 0], target.mean(-1))
    left_out = returns.leave_one_out_baseline(target)
    torch.testing.assert_close(left_out[..., 1], target[..., [0, 2, 3]].mean(-1))


def test_replicas_are_apart():
    rng = Rng(range(3), dtype=D)
    target, score, observation = rng.normal(6, 4), rng.normal(6, 4, 2), rng.normal(6, 4, 3)
    valid = rng.uniform(6, 4) < 0.7
    feature = returns.linear_features(observation)
    for r in range(3):
        for f in (returns.constant_baseline, returns.time_baseline, returns.leave_one_out_baseline):
            torch.testing.assert_close(f(target, valid)[r], f(target[r], valid[r]))
        alone = returns.optimal_baseline(target[r], score[r], valid[r])
        torch.testing.assert_close(returns.optimal_baseline(target, score, valid)[r], alone)
        torch.testing.assert_close(
            returns.fit_linear(feature, target, valid)[r], returns.fit_linear(feature[r], target[r], valid[r])
        )


def enumerated(mdp, policy, discount):
    """Every path: its probability [N], G_t [T, N], discount^t times the scores [T, N, P], which steps are valid [T, N]."""
    paths = exact.trajectories(mdp, policy)
    law = policy(mdp.observation[paths.state[:-1]].unsqueeze(0))
    chosen = (law.log_prob(paths.action.unsqueeze(0))[0] * paths.valid).flatten()
    each = torch.autograd.grad(chosen, list(policy.parameters()), torch.eye(len(chosen), dtype=D), is_grads_batched=True)
    score = torch.cat([g.flatten(1) for g in each], 1).unflatten(0, paths.action.shape)
    factor = returns.powers(discount, len(score), score)
    target = returns.to_go(paths.reward, discount, valid=paths.valid)
    return paths.probability.detach()[0], target, factor.unsqueeze(-1) * score, paths.valid


def variance(probability, estimates):
    """Of one episode's estimate [N, P], summed over coordinates."""
    mean = probability @ estimates
    return probability @ (estimates - mean).square().sum(1), mean


@pytest.fixture(scope="module")
def small():
    """Three-step walks in a random MDP, listed, and their policy."""
    mdp = random_mdp(3, 2, seed=5, time_limit=3)
    policy = policies.Categorical(Rng(1, dtype=D), 3, 2, hidden=())
    return mdp, policy, enumerated(mdp, policy, 0.9)


def by_baseline(mdp, policy, target, valid):
    """Baselines that see past and state only, as numbers for each step of each path [T, N]."""
    paths = exact.trajectories(mdp, policy)
    value = exact.state_value(mdp, policy, 0.9).detach()[0]  # [T, S]
    at = torch.arange(len(target))[:, None]
    visits = exact.visitation(mdp, policy).detach()[0]
    by_time = (visits * value).sum(1) / visits.sum(1)
    return {
        "none": torch.zeros_like(target),
        "constant": torch.full_like(target, 0.7),
        "time": by_time[:, None].expand_as(target),
        "state": value[at, paths.state[:-1]],
    }


def test_no_baseline_of_time_and_state_has_a_bias_and_the_value_has_the_least_variance_of_them(small):
    mdp, policy, (probability, target, score, valid) = small
    truth = exact.policy_gradient(mdp, policy, 0.9)[0]
    spread = {}
    for name, b in by_baseline(mdp, policy, target, valid).items():
        weight = torch.where(valid, target - b, 0)
        spread[name], mean = variance(probability, (weight.unsqueeze(-1) * score).sum(0))
        torch.testing.assert_close(mean, truth, rtol=1e-9, atol=1e-9)
    assert spread["state"] < spread["time"] < spread["none"]


def test_a_baseline_that_sees_the_action_has_a_bias(small):
    mdp, policy, (probability, target, score, valid) = small
    paths = exact.trajectories(mdp, policy)
    quality = exact.action_value(mdp, policy, 0.9).detach()[0]  # [T, S, A]
    b = quality[torch.arange(len(target))[:, None], paths.state[:-1], paths.action]
    weight = torch.where(valid, target - b, 0)
    _, mean = variance(probability, (weight.unsqueeze(-1) * score).sum(0))
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-9)  # nothing is left of the gradient
    assert exact.policy_gradient(mdp, policy, 0.9).norm() > 0.1


def test_the_optimal_baseline_is_where_the_variance_is_least():
    """The sum over episodes of the squares of sum_t (G_t - b) score_t is a parabola in b, with its minimum there."""
    rng = Rng(range(4), dtype=D)
    target, score, valid = rng.normal(5, 8), rng.normal(5, 8, 3), rng.uniform(5, 8) < 0.8

    def squares(b):
        weight = torch.where(valid, target - b, 0)
        return (weight.unsqueeze(-1) * score).sum(1).square().sum((1, 2))

    best = returns.optimal_baseline(torch.where(valid, target, torch.nan), score, valid)
    assert (best == best[:, :1, :1]).all()
    low, middle, high = squares(best - 1), squares(best), squares(best + 1)
    torch.testing.assert_close(low, high)
    assert (middle < low).all()


def test_the_optimal_baseline_of_all_paths_is_that_of_the_parabola(small):
    """Each path repeated in proportion to its probability would be a batch; weights of square roots do the same."""
    _, _, (probability, target, score, valid) = small
    root = probability.sqrt()[None, :, None]
    best = returns.optimal_baseline(target, root * score, valid)[0, 0]
    spread = [
        variance(probability, (torch.where(valid, target - b, 0).unsqueeze(-1) * score).sum(0))[0]
        for b in (best - 0.1, best, best + 0.1)
    ]
    assert spread[1] < min(spread[0], spread[2])
    torch.testing.assert_close(spread[0], spread[2])


def test_without_scores_the_optimal_baseline_is_zero():
    assert returns.optimal_baseline(torch.ones(2, 3), torch.zeros(2, 3, 4)).abs().max() == 0


def test_leave_one_out_is_unbiased_and_the_batch_s_own_mean_is_not():
    """Three walks on the mountain: 4,000 batches. |z| > 5 in one of 4 coordinates: at most 2.3e-6 by chance."""
    mdp, rng = two_step(), Rng(range(4000), dtype=D)
    policy = policies.Categorical(Rng(0, dtype=D), 4, 2, hidden=())
    many = policies.Categorical(rng, 4, 2, hidden=())
    for one, several in zip(policy.parameters(), many.parameters(), strict=True):
        several.data.copy_(one.data.expand_as(several))
    walks = episodes(mdp, many, rng, environments=3)
    truth = exact.policy_gradient(mdp, policy)[0]
    G = returns.to_go(walks.reward, 1.0, valid=walks.valid)
    found = {}
    for f in (returns.leave_one_out_baseline, returns.time_baseline):
        surrogate = gradients.score_surrogate(
            many(walks.observation).log_prob(walks.action), G - f(G, walks.valid), walks.valid
        )
        found[f.__name__] = gradients.bias_and_variance(gradients.per_replica(surrogate, many), truth)
    moving = found["time_baseline"].variance > 0
    assert found["leave_one_out_baseline"].z[moving].abs().max() < 5
    shrunk = found["time_baseline"].bias / truth  # (E - 1) / E of the gradient is left
    strong = truth.abs() > 0.2
    assert found["time_baseline"].z[strong].abs().min() > 5
    torch.testing.assert_close(shrunk[strong], torch.full_like(shrunk[strong], -1 / 3), rtol=0, atol=0.08)


def test_linear_features_are_those_of_duan():
    observation = torch.tensor([[[0.5, -20.0]], [[1.0, 2.0]]])  # [T, E, O] = [2, 1, 2]
    feature = returns.linear_features(observation)
    expected = torch.tensor([[0.5, -10, 0.25, 100, 0, 0, 0, 1], [1, 2, 1, 4, 0.01, 1e-4, 1e-6, 1]])
    torch.testing.assert_close(feature[:, 0], expected)
    torch.testing.assert_close(returns.linear_features(observation[1:], first=1), feature[1:])


def test_fit_linear_is_ridge_regression():
    """Against numpy's least squares on the rows with sqrt(ridge) below them."""
    rng = Rng([3], dtype=D)
    feature, target, valid = rng.normal(6, 5, 4)[0], rng.normal(6, 5)[0], rng.uniform(6, 5)[0] < 0.8
    center = rng.normal(4)[0]
    for ridge in (1e-5, 2.0):
        rows = np.concatenate([feature[valid], ridge**0.5 * np.eye(4)])
        goal = np.concatenate([target[valid], ridge**0.5 * center])
        expected = torch.from_numpy(np.linalg.lstsq(rows, goal, rcond=None)[0])
        torch.testing.assert_close(
            returns.fit_linear(feature, torch.where(valid, target, torch.nan), valid, ridge, center), expected
        )
    gentle = returns.fit_linear(feature, target, valid, 1e9, center)
    torch.testing.assert_close(gentle, center, rtol=0, atol=1e-6)


def test_a_long_episode_is_fitted_in_float32():
    """Time, its square and its cube are nearly alike; a return that falls with time is still found."""
    observation = Rng([0]).normal(500, 4, 3)[0]
    target = 50 * (1 - 0.99 ** torch.arange(500, 0, -1.0))[:, None] + observation[..., 0]
    feature = returns.linear_features(observation)
    left = target - feature @ returns.fit_linear(feature, target)
    assert left.var() < 0.05 * target.var()


def test_a_replica_that_is_not_finite_leaves_the_others():
    rng = Rng(range(2), dtype=D)
    feature, target = rng.normal(5, 4, 3), rng.normal(5, 4)
    feature[0, 0, 0, 0] = torch.nan
    found = returns.fit_linear(feature, target)
    assert found[0].isnan().any()
    torch.testing.assert_close(found[1], returns.fit_linear(feature[1], target[1]))


def test_without_ridge_it_is_refused():
    with pytest.raises(ValueError, match="ridge is 0"):
        returns.fit_linear(torch.ones(2, 2, 1), torch.ones(2, 2), ridge=0.0)


def test_fitted_td_iteration_goes_to_the_value():
    """A table, many walks on the grid: bootstrapped targets, a step at a time, end at the exact values of the states."""
    grid, rng = gridworld(time_limit=None), Rng([0], dtype=D)
    policy = policies.Categorical(rng, 11, 4, hidden=())
    value = exact.state_value(grid, policy, 0.9)[0].detach()
    walks = episodes(gridworld(time_limit=200), policy, rng, environments=600)
    table, steps = torch.zeros(1, 11, dtype=D), []
    for _ in range(60):
        following = torch.einsum("rteo,ro->rte", walks.next_observation, table)
        target = returns.n_step(walks.reward, following, 0.9, 1, walks.terminated, walks.truncated)
        new = returns.fit_linear(walks.observation, target, walks.valid, ridge=30.0, center=table)
        steps.append(float((new - table).norm()))
        table = new
    assert steps[-1] < 1e-3 * steps[0]
    assert (table[0] - value)[~grid.terminal].abs().max() < 0.08
