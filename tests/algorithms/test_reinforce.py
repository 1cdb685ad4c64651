from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pgcourse import envs, gradients, policies, returns
from pgcourse.algorithms import reinforce
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


def test_without_its_deviations_the_loss_has_the_pure_gradient():
    """Minus the pure estimator, on episodes of different lengths."""
    mdp = tabular.random_mdp(4, 2, seed=2, time_limit=6)
    rng = Rng(range(3), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    batch = episodes(mdp, policy, rng, 7)
    assert batch.valid.sum(1).unique().numel() > 1
    config = reinforce.Config(discount=0.8, keep_discount=True, standardise=False, per_step=False)
    law = policy(batch.observation)
    losses = torch.stack(
        [
            reinforce.loss(log_probability, reward, valid, config)
            for log_probability, reward, valid in zip(law.log_prob(batch.action), batch.reward, batch.valid, strict=True)
        ]
    )
    torch.testing.assert_close(gradients.per_replica(losses, policy), -gradients.score_function(policy, batch, 0.8))


def test_weights_are_standardised_over_valid_steps_only():
    rng = Rng([0], dtype=D)
    reward, valid = rng.normal(9, 4)[0], torch.arange(9)[:, None] < torch.tensor([9, 5, 2, 1])
    reward[~valid] = 1e6  # padding must not matter
    config = reinforce.Config(discount=0.9)
    weight = reinforce.weights(reward, valid, config)[valid]
    assert weight.mean().abs() < 1e-12
    assert (weight.var(correction=0) - 1).abs() < 1e-6
    pure = reinforce.weights(reward, valid, replace(config, standardise=False))[valid]
    torch.testing.assert_close(pure, returns.to_go(reward * valid, 0.9)[valid])


def test_per_step_divides_by_the_mean_episode_length():
    valid = torch.arange(9)[:, None] < torch.tensor([9, 5, 1])
    log_probability, reward = Rng([0], dtype=D).normal(2, 9, 3)[0]
    whole, per_step = (reinforce.loss(log_probability, reward, valid, reinforce.Config(per_step=p)) for p in (False, True))
    torch.testing.assert_close(per_step, whole / 5)


def test_equal_returns_give_no_push_rather_than_nan():
    weight = reinforce.weights(torch.zeros(4, 2), torch.ones(4, 2, dtype=torch.bool), reinforce.Config())
    assert torch.equal(weight, torch.zeros(4, 2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.5),
        ("discount", -0.1),
        ("step_size", 0.0),
        ("max_gradient_norm", -1.0),
        ("environments", 0),
        ("iterations", 0),
        ("hidden", (32, 0)),
    ],
)
def test_an_impossible_setting_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        reinforce.Config(**{field: value})


def test_it_finds_the_better_plan():
    """two_step pays at once for the worse choice. Sixteen seeds, and every one must come near the optimum (3.25)."""
    mdp = tabular.two_step()
    config = reinforce.Config(iterations=80, environments=20, discount=1.0, step_size=0.05, hidden=())
    _, history = reinforce.train(mdp, config, Rng(range(16)))
    assert history.window("return", 10)[:, -1].min() > 2.9
    assert history.metrics["return"][:, 0].mean() < 2.5


@dataclass(frozen=True)
class Poisoned(type(envs.make("CartPole-v1"))):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    threshold: float = 0.2

    def observe(self, state):
        return torch.where(state[..., :1] > self.threshold, torch.nan, state)


def test_a_replica_that_sees_nan_stops_is_named_and_the_others_go_on():
    env, config = Poisoned(), reinforce.Config(iterations=6, environments=2, hidden=(4,))
    with pytest.warns(RuntimeWarning, match=r"replica \d \(seed \d\) stopped at iteration \d: an observation or reward"):
        policy, history = reinforce.train(env, config, Rng(range(8)))
    assert 0 < len(history.stopped) < 8
    for replica in history.stopped:
        assert np.isnan(history.metrics["return"][replica, -1])
    going = [r for r in range(8) if r not in history.stopped]
    assert np.isfinite(history.metrics["return"][going]).all()
    assert all(len(parameter) == 8 and parameter.isfinite().all() for parameter in policy.parameters())
    # those that went on did what they do without the others
    alone, _ = reinforce.train(env, config, Rng(going))
    for whole, part in zip(policy.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(whole[going], part)


def test_no_replica_left_is_an_error():
    with (
        pytest.warns(RuntimeWarning, match="stopped at iteration 0"),
        pytest.raises(FloatingPointError, match="no replica is left"),
    ):
        reinforce.train(Poisoned(threshold=-1.0), reinforce.Config(iterations=2, environments=2), Rng(range(3)))


def test_a_loss_that_is_nan_is_named():
    def nan_later(log_probability, reward, valid, config):
        return reinforce.loss(log_probability, reward, valid, config) * torch.nan

    with (
        pytest.warns(RuntimeWarning, match="its loss or gradient is not finite"),
        pytest.raises(FloatingPointError, match="Try a smaller step size"),
    ):
        reinforce.train(envs.make("CartPole-v1"), reinforce.Config(iterations=2), Rng(range(2)), loss=nan_later)


def test_a_run_that_is_ended_early_keeps_its_policy():
    policy, history = reinforce.train(
        envs.make("CartPole-v1"), reinforce.Config(iterations=50), Rng(range(2)), progress=lambda h: h.iteration == 2
    )
    assert history.metrics["return"].shape == (2, 2)
    assert policy(torch.zeros(2, 1, 4)).logits.shape == (2, 1, 2)
