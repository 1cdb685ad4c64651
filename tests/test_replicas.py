"""The three replica invariants, for every algorithm: alone equals its slice of many, perturbing one leaves the others,
permutation commutes. Each entry: an environment and a short configuration.

a3c has none. With one worker it is A2C's serial run to the last bit, in a process (test_a3c), and that is here; with several,
the replicas share the moments at which workers meet, which no two runs have alike.
"""

import pytest
import torch

from pgcourse import envs
from pgcourse.algorithms import (
    a2c,
    a2c_distributed,
    natural_gradient,
    online_actor_critic,
    pong,
    ppo,
    reinforce,
    reps,
    rwr,
    trpo,
    vanilla,
)
from pgcourse.rng import Rng

ALGORITHMS = {
    "reinforce-categorical": (reinforce, envs.make("CartPole-v1"), {"iterations": 4, "environments": 3, "hidden": (8,)}),
    "reinforce-gaussian": (reinforce, envs.make("Pendulum-v1"), {"iterations": 2, "environments": 2, "hidden": (8,)}),
    "vanilla-linear": (vanilla, envs.make("CartPole-v1"), {"iterations": 4, "environments": 3, "hidden": (8,)}),
    "vanilla-network": (
        vanilla,
        envs.make("Pendulum-v1"),
        {"iterations": 2, "environments": 2, "hidden": (8,), "baseline": "network", "target": "td", "value_steps": 3},
    ),
    "vanilla-leave-one-out": (
        vanilla,
        envs.make("CartPole-v1"),
        {"iterations": 3, "environments": 3, "hidden": (8,), "baseline": "leave-one-out"},
    ),
    "a2c-categorical": (a2c, envs.make("CartPole-v1"), {"iterations": 4, "environments": 3, "hidden": (8,)}),
    "a2c-gaussian": (a2c, envs.make("Pendulum-v1"), {"iterations": 3, "environments": 2, "trace_decay": 1.0, "hidden": (8,)}),
    "a2c-distributed-one-worker": (
        a2c_distributed,
        envs.make("CartPole-v1"),
        {"iterations": 3, "environments": 3, "hidden": (8,)},
    ),
    "online-categorical": (online_actor_critic, envs.make("CartPole-v1"), {"iterations": 2, "steps": 30, "hidden": (8,)}),
    "online-gaussian": (
        online_actor_critic,
        envs.make("Pendulum-v1"),
        {"iterations": 2, "environments": 2, "steps": 5, "hidden": (8,)},
    ),
    "tnpg-gaussian": (
        natural_gradient,
        envs.make("Pendulum-v1"),
        {
            "iterations": 2,
            "environments": 2,
            "steps": 20,
            "normalise_observations": True,
            "hidden": (8,),
            "value_steps": 3,
        },
    ),
    "trpo-categorical": (
        trpo,
        envs.make("CartPole-v1"),
        {"iterations": 3, "environments": 3, "steps": 20, "hidden": (8,), "value_steps": 3, "max_kl": 0.5},
    ),
    "ppo-categorical": (ppo, envs.make("CartPole-v1"), {"iterations": 3, "steps": 24, "stop_kl": 0.01, "hidden": (8,)}),
    "ppo-gaussian": (
        ppo,
        envs.make("Pendulum-v1"),
        {
            "iterations": 2,
            "environments": 2,
            "steps": 16,
            "objective": "penalty",
            "normalise_observations": True,
            "normalise_rewards": True,
            "hidden": (8,),
        },
    ),
    "pong-dense": (pong, envs.make("pong"), {"iterations": 3, "environments": 3, "steps": 40, "hidden": 8}),
    "pong-convolutional": (
        pong,
        envs.make("pong"),
        {"iterations": 3, "environments": 3, "steps": 40, "network": "convolutional", "hidden": 8},
    ),
    "rwr-categorical": (rwr, envs.make("CartPole-v1"), {"iterations": 3, "environments": 3, "hidden": (8,)}),
    "reps-categorical": (reps, envs.make("CartPole-v1"), {"iterations": 3, "environments": 3, "hidden": (8,)}),
    "reps-gaussian": (reps, envs.make("Pendulum-v1"), {"iterations": 2, "environments": 2, "hidden": (8,), "trace_decay": 0.0}),
}
every = pytest.mark.parametrize("name", ALGORITHMS)


def run(name, seeds, **changes):
    algorithm, env, config = ALGORITHMS[name]
    return algorithm.train(env, algorithm.Config(**config), Rng(seeds, dtype=torch.float64), **changes)


def assert_same(some, others, index):
    (policy, history), (other_policy, other_history) = some, others
    for a, b in zip(policy.parameters(), other_policy.parameters(), strict=True):
        torch.testing.assert_close(a, b[index], rtol=1e-9, atol=1e-9)
    for metric, values in history.metrics.items():  # the return is NaN until an episode has ended
        theirs = torch.as_tensor(other_history.metrics[metric][index])
        torch.testing.assert_close(torch.as_tensor(values), theirs, equal_nan=True)


@every
def test_alone_equals_its_slice_of_many(name):
    assert_same(run(name, [3]), run(name, range(5)), [3])


@every
def test_perturbing_one_leaves_the_others(name):
    assert_same(run(name, [0, 1, 77]), run(name, [0, 1, 2, 77]), [0, 1, 3])
    one, other = run(name, [0, 77, 2]), run(name, [0, 1, 2])
    for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True):
        torch.testing.assert_close(a[[0, 2]], b[[0, 2]], rtol=1e-9, atol=1e-9)
        if a.ndim > 2 and a[1].numel() > 8:
            assert not torch.equal(a[1], b[1])


@every
def test_permutation_commutes(name):
    order = [2, 0, 3, 1]
    assert_same(run(name, order), run(name, range(4)), order)
