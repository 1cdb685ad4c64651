"""A2C and the online actor-critic: their steps by hand, their gradients against the exact one, ends of episodes, learning."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pgcourse import envs, exact, gradients, nn, policies
from pgcourse.algorithms import a2c, online_actor_critic
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

D = torch.float64
BOTH = pytest.mark.parametrize("algorithm", [a2c, online_actor_critic])


def networks(env, rng, step_size=0.1):
    """Linear policies and critics (tables, on an enumerable MDP), and plain gradient steps."""
    policy = policies.for_env(env, rng, hidden=())
    critic = policies.Value(rng, env.spec.observation.size, hidden=())
    return policy, critic, (nn.SGD(policy, step_size), nn.SGD(critic, step_size))


def set_values(critic, value):
    """The linear critic as a table of values [S]."""
    critic.body.weights[0].data[:] = value[:, None].to(critic.body.weights[0])
    critic.body.biases[0].data.zero_()


def test_the_steps_of_a2c_are_those_of_the_algorithm():
    """Both gradients from their definitions, one step of one environment at a time; the batch holds terminations."""
    mdp = tabular.random_mdp(4, 2, seed=2, time_limit=6)
    rng = Rng(range(3), dtype=D)
    policy, critic, _ = networks(mdp, rng)
    batch, _ = rollout(mdp, policy, rng, 9, 5)
    assert batch.terminated.any()
    assert batch.truncated.any()
    config = a2c.Config(discount=0.8, trace_decay=0.7, entropy_weight=0.3)
    of_policy, of_critic, _ = a2c.losses(policy, critic, batch, config, nn.lift(a2c.loss))

    value, following = critic(batch.observation).detach(), critic(batch.next_observation).detach()
    law, expected, fitted = policy(batch.observation), 0.0, 0.0
    log_probability, entropy = law.log_prob(batch.action), law.entropy()
    for t in range(9):
        advantage = torch.zeros(3, 5, dtype=D)
        going, weight = torch.ones(3, 5, dtype=D), 1.0
        for k in range(t, 9):
            delta = batch.reward[:, k] + 0.8 * following[:, k] * ~batch.terminated[:, k] - value[:, k]
            advantage += going * weight * delta
            going, weight = going * ~batch.done[:, k], weight * 0.8 * 0.7
        expected = expected + (advantage * log_probability[:, t] + 0.3 * entropy[:, t]).sum(1) / 45
        fitted = fitted + ((value + 0)[:, t] + advantage - critic(batch.observation)[:, t]).square().sum(1) / 90
    close = torch.testing.assert_close
    close(gradients.per_replica(of_policy, policy), -gradients.per_replica(expected, policy))
    close(gradients.per_replica(of_critic, critic), gradients.per_replica(fitted, critic))


def test_no_gradient_of_the_policys_loss_reaches_the_critic():
    env, rng = envs.make("CartPole-v1"), Rng(range(2), dtype=D)
    policy, critic = policies.for_env(env, rng), policies.Value(rng, 4)
    batch, _ = rollout(env, policy, rng, 5, 3)
    of_policy, of_critic, _ = a2c.losses(policy, critic, batch, a2c.Config(), nn.lift(a2c.loss))
    assert not gradients.per_replica(of_policy, critic).any()
    assert not gradients.per_replica(of_critic, policy).any()
    assert gradients.per_replica(of_critic, critic).any()


def test_the_online_step_is_that_of_the_algorithm():
    mdp = tabular.random_mdp(4, 2, seed=2, time_limit=6)
    rng = Rng(range(3), dtype=D)
    policy, critic, optimizers = networks(mdp, rng, step_size=0.2)
    carry, ends = None, 0
    for _ in range(12):
        step, carry = rollout(mdp, policy, rng, 1, 1, carry)
        x, following = step.observation[:, 0, 0], step.next_observation[:, 0, 0]
        action, ended = step.action[:, 0, 0], step.terminated[:, 0, 0]
        logits, value = policy.body.weights[0].detach().clone(), critic.body.weights[0].detach().clone()[..., 0]
        bias, offset = policy.body.biases[0].detach().clone()[:, 0], critic.body.biases[0].detach().clone()[:, 0, 0]
        V = (value * x).sum(1) + offset
        delta = step.reward[:, 0, 0] + 0.8 * ((value * following).sum(1) + offset) * ~ended - V
        pi = (torch.einsum("rs,rsa->ra", x, logits) + bias).softmax(-1)
        score = torch.nn.functional.one_hot(action, 2) - pi
        online_actor_critic.update(
            policy, critic, optimizers, step, online_actor_critic.Config(discount=0.8), nn.lift(online_actor_critic.loss)
        )
        moved = logits + 0.2 * delta[:, None, None] * x[:, :, None] * score[:, None]
        torch.testing.assert_close(policy.body.weights[0].detach(), moved)
        torch.testing.assert_close(critic.body.weights[0].detach()[..., 0], value + 0.2 * delta[:, None] * x)
        ends += ended.sum()
    assert ends > 0


ERROR = torch.tensor([0.7, -1.0, 1.5, 0.0], dtype=D)
"""What is added to the true values of the mountain (hut, valley, ridge, home) for a critic that is wrong."""


@pytest.mark.parametrize("trace_decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("wrong", [False, True])
def test_its_gradient_is_the_exact_one_with_true_values_or_with_all_rewards(trace_decay, wrong):
    """Whole walks over the mountain. With true values every lambda is unbiased; with wrong ones lambda = 1 alone is.

    Largest of 8 coordinates, |z| < 5.5: a false alarm once in 3 million seeds.
    """
    mdp, replicas = tabular.two_step(), 4000
    rng = Rng(range(replicas), dtype=D)
    policy, critic, _ = networks(mdp, rng)
    for parameter in policy.parameters():
        parameter.data[:] = parameter.data[:1]
    truth = exact.policy_gradient(mdp, policy)[0]
    value = exact.state_value(mdp, policy)[0, [0, 1], :]  # [T, S]: the hut is at time 0, the rest at time 1
    table = torch.cat((value[0, :1], value[1, 1:])).detach()
    set_values(critic, table + ERROR * wrong)
    batch, _ = rollout(mdp, policy, rng, 2, 8)
    config = a2c.Config(discount=1.0, trace_decay=trace_decay, entropy_weight=0.0)
    of_policy, _, _ = a2c.losses(policy, critic, batch, config, nn.lift(a2c.loss))
    estimates = -2 * gradients.per_replica(of_policy, policy)  # a mean over two steps; their sum is asked for
    z = gradients.bias_and_variance(estimates, truth).z.abs().max()
    assert (z > 10) if wrong and trace_decay < 1 else (z < 5.5)


def endless(limit):
    """One place that pays 1 a step for ever, cut off after ``limit`` steps."""
    return tabular.Tabular([[[1.0]]], [[1.0]], [1.0], [False], time_limit=limit)


@BOTH
def test_a_time_limit_does_not_cut_the_bootstrap(algorithm):
    """AC01: V -> 1 / (1 - 0.9) = 10, however early the episodes are cut off."""
    env, rng = endless(5), Rng(range(2), dtype=D)
    policy, critic, optimizers = networks(env, rng, step_size=0.5)
    config, carry = algorithm.Config(discount=0.9), None
    for _ in range(300):
        batch, carry = rollout(env, policy, rng, 1 if algorithm is online_actor_critic else 7, 2, carry)
        algorithm.update(policy, critic, optimizers, batch, config, nn.lift(algorithm.loss))
    torch.testing.assert_close(critic(batch.observation).detach(), torch.full_like(batch.reward, 10.0), rtol=1e-3, atol=0)


@BOTH
def test_a_termination_cuts_it(algorithm):
    """AC02: one step, which pays 1 and ends: V -> 1."""
    env = tabular.Tabular([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]], [1.0, 0.0], [False, True])
    rng = Rng(range(2), dtype=D)
    policy, critic, optimizers = networks(env, rng, step_size=0.5)
    set_values(critic, torch.tensor([0.0, 50.0]))  # what a critic may make of a state that is never left
    config, carry = algorithm.Config(discount=0.9), None
    for _ in range(100):
        batch, carry = rollout(env, policy, rng, 1, 2, carry)
        algorithm.update(policy, critic, optimizers, batch, config, nn.lift(algorithm.loss))
    torch.testing.assert_close(critic(batch.observation).detach(), torch.ones_like(batch.reward), rtol=1e-6, atol=0)


def test_the_entropy_bonus_makes_policies_less_certain():
    rng = Rng([0], dtype=D)
    policy, critic, _ = networks(tabular.two_step(), rng)
    policy.body.biases[0].data[:] = torch.tensor([2.0, -2.0])
    batch, _ = rollout(tabular.two_step(), policy, rng, 2, 50)
    entropies = []
    for weight in (0.0, 1e6):
        config = a2c.Config(entropy_weight=weight)
        of_policy, _, _ = a2c.losses(policy, critic, batch, config, nn.lift(a2c.loss))
        step = -gradients.per_replica(of_policy, policy)
        bonus = gradients.per_replica(policy(batch.observation).entropy().mean((1, 2)), policy)
        entropies.append(torch.nn.functional.cosine_similarity(step, bonus).item())
    assert entropies[0] < 0.9
    assert entropies[1] > 0.999999


CONFIG = {
    a2c: {"iterations": 80, "environments": 10, "steps": 4, "step_size": 0.05, "value_step_size": 0.1, "entropy_weight": 0.0},
    online_actor_critic: {"iterations": 10, "environments": 10, "steps": 20, "step_size": 0.05, "value_step_size": 0.1},
}


@BOTH
def test_it_finds_the_better_plan(algorithm):
    """two_step pays at once for the worse choice. Sixteen seeds, and every one must come near the optimum (3.25)."""
    mdp = tabular.two_step()
    config = algorithm.Config(discount=1.0, hidden=(), **CONFIG[algorithm])
    policy, history = algorithm.train(mdp, config, Rng(range(16)))
    final = exact.expected_return(mdp, policy).detach()
    assert final.min() > 2.9
    assert (history.steps[:, -1] == config.iterations * config.environments * config.steps).all()
    assert abs(history.metrics["return"][:, -3:].mean() - final.mean().item()) < 0.4


@dataclass(frozen=True)
class Poisoned(type(envs.make("CartPole-v1"))):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    threshold: float = 0.1

    def observe(self, state):
        return torch.where(state[..., :1] > self.threshold, torch.nan, state)


@BOTH
def test_a_replica_that_sees_nan_stops_is_named_and_the_others_go_on(algorithm):
    env = Poisoned(threshold=0.1 if algorithm is a2c else 0.2)
    config = algorithm.Config(iterations=8, environments=2, steps=10, hidden=(4,))
    with pytest.warns(RuntimeWarning, match=r"replica \d \(seed \d\) stopped at iteration \d: an observation or reward"):
        policy, history = algorithm.train(env, config, Rng(range(8)))
    assert 0 < len(history.stopped) < 8
    going = [r for r in range(8) if r not in history.stopped]
    assert np.isnan(history.metrics["loss" if algorithm is a2c else "squared_error"][list(history.stopped), -1]).all()
    assert all(len(parameter) == 8 and parameter.isfinite().all() for parameter in policy.parameters())
    # those that went on did what they do without the others, in the middle of their episodes too
    alone, apart = algorithm.train(env, config, Rng(going))
    for whole, part in zip(policy.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(whole[going], part)
    np.testing.assert_allclose(history.metrics["return"][going], apart.metrics["return"], rtol=1e-5)


@BOTH
def test_a_run_that_is_ended_early_keeps_its_policy(algorithm):
    policy, history = algorithm.train(
        envs.make("CartPole-v1"), algorithm.Config(iterations=50, steps=3), Rng(range(2)), progress=lambda h: h.iteration == 2
    )
    assert history.metrics["return"].shape == (2, 2)
    assert policy(torch.zeros(2, 1, 4)).logits.shape == (2, 1, 2)


@BOTH
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.5),
        ("step_size", 0.0),
        ("value_step_size", -1.0),
        ("environments", 0),
        ("steps", 0),
        ("iterations", 0),
        ("hidden", (32, 0)),
    ],
)
def test_an_impossible_setting_is_named(algorithm, field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        algorithm.Config(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("trace_decay", 1.1), ("entropy_weight", -0.1), ("max_gradient_norm", 0.0)])
def test_an_impossible_setting_of_a2c_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        a2c.Config(**{field: value})


@pytest.mark.full
def test_a2c_solves_cartpole():
    """Sixteen seeds; 475 on average over the last thirty iterations."""
    _, history = a2c.train(envs.make("CartPole-v1"), a2c.Config(iterations=500), Rng(range(16)))
    assert history.window("return", 30)[:, -1].mean() > 475
