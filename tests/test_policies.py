from dataclasses import replace

import pytest
import torch

from pgcourse import distributions, envs, policies
from pgcourse.rng import Rng

D = torch.float64


def test_three_heads():
    rng = Rng(range(3), dtype=D)
    observation = rng.normal(5, 6, 4)
    assert isinstance(policies.Categorical(rng, 4, 2)(observation), distributions.Categorical)
    gaussian = policies.Gaussian(rng, 4, 2, initial_std=0.5)(observation)
    assert gaussian.mean.shape == gaussian.log_std.shape == (3, 5, 6, 2)
    torch.testing.assert_close(gaussian.std, torch.full((3, 5, 6, 2), 0.5, dtype=D))
    assert policies.Deterministic(rng, 4, 2)(observation).value.shape == (3, 5, 6, 2)


def test_each_replica_has_its_own_standard_deviation():
    policy = policies.Gaussian(Rng(range(2), dtype=D), 3, 1, hidden=())
    law = policy(Rng(range(2), dtype=D).normal(4, 3))
    law.log_prob(torch.zeros(2, 4, 1, dtype=D))[0].sum().backward()
    assert policy.log_std.grad[0].abs() > 0
    assert policy.log_std.grad[1] == 0


def test_a_linear_policy_on_one_hot_states_is_a_table():
    policy = policies.Categorical(Rng([0], dtype=D), 3, 2, hidden=())
    logits = policy(torch.eye(3, dtype=D)[None]).logits[0]
    torch.testing.assert_close(logits, policy.body.weights[0][0] + policy.body.biases[0][0])


def test_a_policy_that_fits_the_environment():
    rng = Rng([0])
    assert isinstance(policies.for_env(envs.make("CartPole-v1"), rng), policies.Categorical)
    assert isinstance(policies.for_env(envs.make("Pendulum-v1"), rng), policies.Gaussian)


def test_an_action_space_that_no_policy_fits():
    class Odd(type(envs.make("CartPole-v1"))):
        spec = replace(envs.make("CartPole-v1").spec, action="a tree of choices")

    with pytest.raises(TypeError, match=r"Discrete \(Categorical\) and Box \(Gaussian\)"):
        policies.for_env(Odd(), Rng([0]))


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(ValueError, match="must be > 0"):
        policies.Gaussian(Rng([0]), 3, 1, initial_std=0.0)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_a_normalised_policy_sees_what_its_normalizer_makes_of_it(name):
    rng, env = Rng(range(2), dtype=D), envs.make(name)
    size = env.spec.observation.size
    policy, plain = policies.for_env(env, rng, normalise=True), policies.for_env(env, Rng(range(2), dtype=D))
    plain.load_state_dict(policy.state_dict(), strict=False)
    x = 5 + 3 * rng.normal(40, size)
    policy.normalizer.update(x)
    torch.testing.assert_close(policy(x).mode, plain(policy.normalizer(x)).mode)
    torch.testing.assert_close(policy(x).entropy(), plain(policy.normalizer(x)).entropy())
    assert "normalizer.mean" in policy.state_dict()


def test_a_value_is_one_number_per_observation():
    rng = Rng(range(3), dtype=D)
    value, x = policies.Value(rng, 4, normalise=True), rng.normal(5, 6, 4)
    assert value(x).shape == (3, 5, 6)
    value(x)[1].sum().backward()
    assert value.body.weights[0].grad[1].abs().sum() > 0
    assert value.body.weights[0].grad[[0, 2]].abs().sum() == 0
