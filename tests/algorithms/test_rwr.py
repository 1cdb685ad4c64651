"""RWR: weights that cannot be negative, maximum likelihood in closed form, a short run; bad input and NaN, for REPS as well."""

import numpy as np
import pytest
import torch

from pgcourse import envs, nn, policies
from pgcourse.algorithms import reps, rwr
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


def test_weights_are_advantages_over_the_least_of_the_batch():
    """By numpy's least squares; padding does not matter, and no weight is negative, though all rewards are."""
    rng = Rng([0], dtype=D)
    observation, reward = rng.normal(6, 4, 2)[0], -rng.uniform(6, 4)[0]
    valid = torch.arange(6)[:, None] < torch.tensor([6, 6, 4, 1])
    observation[~valid], reward[~valid] = 1e3, 1e6
    weight = rwr.weights(observation, reward, valid, 0.9)
    rows, targets = [], []
    for e in range(4):
        for t in range(int(valid[:, e].sum())):
            o = observation[t, e].numpy()
            rows.append([*o, *o**2, t / 100, (t / 100) ** 2, (t / 100) ** 3, 1.0])
            targets.append(sum(0.9 ** (k - t) * reward[k, e].item() for k in range(t, int(valid[:, e].sum()))))
    rows, targets = np.array(rows), np.array(targets)
    ridge = np.sqrt(1e-5) * np.eye(rows.shape[1])
    phi = np.linalg.lstsq(np.r_[rows, ridge], np.r_[targets, np.zeros(len(ridge))])[0]
    advantage = targets - rows @ phi
    np.testing.assert_allclose(weight.T[valid.T], advantage - advantage.min(), atol=1e-6)
    assert weight.min() == 0
    assert (weight[~valid] == 0).all()


def test_a_linear_gaussian_policy_ends_at_the_exact_weighted_fit():
    """Weighted least squares for the mean, the weighted mean square of what is left for the variance; three replicas."""
    env, rng = envs.make("Pendulum-v1"), Rng(range(3), dtype=D)
    policy = policies.for_env(env, rng, hidden=())
    batch = episodes(env, policy, rng, 2)
    weight = rng.uniform(200, 2) ** 2
    for step_size in (5e-2, 1e-3):
        optimizer = nn.Adam(policy, step_size)
        _, finite = rwr.regress(policy, optimizer, batch, weight, 700, nn.lift(rwr.loss))
    assert finite.all()
    for r in range(3):
        rows = np.c_[batch.observation[r].reshape(-1, 3), np.ones(400)]
        w, action = weight[r].flatten().numpy(), batch.action[r].flatten().numpy()
        exact = np.linalg.solve(rows.T @ (w[:, None] * rows), rows.T @ (w * action))
        variance = w @ (action - rows @ exact) ** 2 / w.sum()
        found = torch.cat([policy.body.weights[0][r, :, 0], policy.body.biases[0][r, 0]]).detach()
        np.testing.assert_allclose(found, exact, atol=1e-3)
        np.testing.assert_allclose(policy.log_std[r, 0].detach().exp() ** 2, variance, rtol=1e-3)


def test_a_table_ends_at_the_weighted_frequencies():
    mdp, rng = tabular.two_step(), Rng(range(2), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    batch = episodes(mdp, policy, rng, 40)
    weight = rwr.weights(batch.observation, batch.reward, batch.valid, 1.0)
    rwr.regress(policy, nn.Adam(policy, 0.2), batch, weight, 1000, nn.lift(rwr.loss))
    chances = policy(batch.observation).probabilities
    for r in range(2):
        for state in range(batch.observation.shape[-1]):
            here = (batch.observation[r, ..., state] == 1) & batch.valid[r]
            if (weight[r] * here).sum() == 0:
                continue
            for action in range(mdp.spec.action.n):
                share = (weight[r] * (here & (batch.action[r] == action))).sum() / (weight[r] * here).sum()
                assert (chances[r][here][:, action] - share).abs().max() < 5e-3


def test_equal_returns_give_no_push_rather_than_nan():
    log_probability = torch.zeros(4, 2, requires_grad=True)
    value = rwr.loss(log_probability, torch.zeros(4, 2))
    assert value == 0
    assert (torch.autograd.grad(value, log_probability)[0] == 0).all()


both = pytest.mark.parametrize("algorithm", [rwr, reps])


@both
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.5),
        ("step_size", 0.0),
        ("environments", 0),
        ("iterations", 0),
        ("regression_steps", 0),
        ("hidden", (32, 0)),
    ],
)
def test_an_impossible_setting_is_named(algorithm, field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        algorithm.Config(**{field: value})


class Poisoned(type(envs.make("CartPole-v1"))):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    def observe(self, state):
        return torch.where(state[..., :1] > 0.2, torch.nan, state)


@both
def test_a_replica_that_sees_nan_stops_is_named_and_the_others_go_on(algorithm):
    config = algorithm.Config(iterations=4, environments=2, hidden=(4,), regression_steps=3)
    with pytest.warns(RuntimeWarning, match=r"replica \d \(seed \d\) stopped at iteration \d: an observation or reward"):
        policy, history = algorithm.train(Poisoned(), config, Rng(range(8)))
    assert 0 < len(history.stopped) < 8
    going = [r for r in range(8) if r not in history.stopped]
    alone, _ = algorithm.train(Poisoned(), config, Rng(going))
    for whole, part in zip(policy.parameters(), alone.parameters(), strict=True):
        assert whole.isfinite().all()
        torch.testing.assert_close(whole[going], part)


def test_it_finds_the_better_plan():
    """two_step pays at once for the worse choice. Sixteen seeds; the optimum is 3.25."""
    config = rwr.Config(iterations=40, environments=40, discount=1.0, step_size=0.05, hidden=())
    _, history = rwr.train(tabular.two_step(), config, Rng(range(16)))
    assert history.window("return", 10)[:, -1].min() > 2.9
    assert history.metrics["return"][:, 0].mean() < 2.5
    assert ((history.metrics["effective"] > 0) & (history.metrics["effective"] <= 1)).all()


def test_it_learns_to_balance():
    _, history = rwr.train(envs.make("CartPole-v1"), rwr.Config(iterations=9), Rng(range(4)))
    assert history.metrics["return"][:, 0].max() < 50
    assert history.metrics["return"][:, -1].min() > 80
