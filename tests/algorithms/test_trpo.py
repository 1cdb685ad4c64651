"""TRPO and TNPG: the step they take, the search, and what happens when there is nothing to be found."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pgcourse import envs, exact, gradients, nn, policies, returns
from pgcourse.algorithms import natural_gradient, trpo
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

D = torch.float64
both = pytest.mark.parametrize("algorithm", [natural_gradient, trpo])


def setting(algorithm, env=None, seeds=4, **changes):
    """Policy, critic, their optimizers, a batch and a configuration, in float64."""
    env = env or envs.make("CartPole-v1")
    config = algorithm.Config(**({"hidden": (8,), "value_steps": 3} | changes))
    rng = Rng(range(seeds), dtype=D)
    policy = policies.for_env(env, rng, config.hidden)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(3)  # away from the indifferent policy, where everything is nearly linear
    batch, _ = rollout(env, policy, rng, 64, 8)
    return policy, nn.SGD(policy, 1.0), critic, nn.Adam(critic, config.value_step_size), batch, config


def weights(module):
    return torch.cat([parameter.detach().flatten(1) for parameter in module.parameters()], 1)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
@both
def test_the_kl_taken_is_delta(algorithm, name):
    """Without damping it is delta as delta -> 0, because 1/2 x^T F x is the KL of a small step x."""
    parts = setting(algorithm, envs.make(name), max_kl=1e-6, damping=0.0, directions=4)
    metrics, finite = algorithm.update(*parts, nn.lift(algorithm.loss))
    assert finite.all()
    fraction = metrics.get("fraction", torch.ones(4))  # the search may find the whole step too long by a hair
    torch.testing.assert_close(metrics["kl"] / fraction**2, torch.full((4,), 1e-6, dtype=D), rtol=0.05, atol=0)


@both
def test_damping_makes_the_step_shorter_never_longer(algorithm):
    metrics, _ = algorithm.update(*setting(algorithm, max_kl=1e-4, damping=0.1), nn.lift(algorithm.loss))
    assert ((metrics["kl"] > 1e-6) & (metrics["kl"] < 1.01e-4)).all()


def test_the_step_solves_the_damped_system():
    """Against the explicit matrix: proportional to (F + damping)^-1 g, with x^T (F + damping) x = 2 delta."""
    policy, _, _, _, batch, config = setting(natural_gradient, directions=120)
    gradient = Rng(range(4), stream=5, dtype=D).normal(weights(policy).shape[1])
    step, finite = natural_gradient.natural_step(policy, batch.observation, gradient, config)
    product = gradients.fisher_vector_product(policy, batch.observation, config.damping)
    matrix = torch.stack([product(e.expand(4, -1)) for e in torch.eye(step.shape[1], dtype=D)], -1)
    x = torch.linalg.solve(matrix, gradient)
    torch.testing.assert_close(step / step.norm(dim=1, keepdim=True), x / x.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.einsum("ri,rij,rj->r", step, matrix, step), torch.full((4,), 0.02, dtype=D))
    assert finite.all()


@both
def test_no_gradient_no_step_and_no_nan(algorithm):
    policy, _, _, _, batch, config = setting(algorithm)
    gradient = torch.ones_like(weights(policy))
    gradient[1], gradient[2] = 0, torch.nan
    step, finite = algorithm.natural_step(policy, batch.observation, gradient, config)
    assert torch.equal(step[1:3], torch.zeros_like(step[1:3]))
    assert finite.tolist() == [True, True, False, True]
    assert (step[0] != 0).any()


@both
def test_advantages_come_from_the_critic_before_it_learns(algorithm):
    policy, mover, critic, optimizer, batch, config = setting(algorithm, value_steps=5)
    before, seen = copy.deepcopy(critic), []

    def spy(log_probability, old_log_probability, advantage):
        seen.append(advantage)
        return nn.lift(algorithm.loss)(log_probability, old_log_probability, advantage)

    spy.lifted = True
    algorithm.update(policy, mover, critic, optimizer, batch, config, spy)
    with torch.no_grad():
        value, following = before(batch.observation), before(batch.next_observation)
    expected = returns.gae(batch.reward, value, following, 0.99, 0.95, batch.terminated, batch.truncated)
    assert len(seen) > 1
    for advantage in seen:
        torch.testing.assert_close(advantage, expected)
    assert not torch.allclose(weights(critic), weights(before))


@both
def test_the_critic_comes_nearer_to_its_targets(algorithm):
    _, _, critic, optimizer, batch, config = setting(algorithm)
    _, target = algorithm.estimate(critic, batch, config)
    first, finite = algorithm.fit(critic, optimizer, batch.observation, target, 100)
    last, _ = algorithm.fit(critic, optimizer, batch.observation, target, 1)
    assert (last < 0.5 * first).all()
    assert finite.all()


# ------------------------------------------------------------------------------------------------------------- the search


def test_each_replica_takes_the_first_step_that_is_acceptable_to_it():
    policy = policies.Categorical(Rng(range(4), dtype=D), 3, 2, (4,))
    before, step = weights(policy), Rng(range(4), stream=1, dtype=D).normal(26)
    longest = torch.tensor([1.0, 0.65, 0.3, -1.0], dtype=D)  # nothing is short enough for the last one

    def acceptable():
        return (weights(policy) - before).norm(dim=1) <= longest * step.norm(dim=1) + 1e-12

    fraction = trpo.line_search(nn.SGD(policy, 1.0), step, acceptable, 4, 0.8)
    assert fraction.tolist() == pytest.approx([1.0, 0.8**2, 0.0, 0.0])  # 0.8^3 = 0.51 is the last that was tried
    torch.testing.assert_close(weights(policy), before + fraction[:, None] * step)
    assert torch.equal(weights(policy)[2:], before[2:])


def stubborn(log_probability, old_log_probability, advantage):
    """A slope at the old policy, and a wall around it: every step of a size that is tried makes it worse."""
    apart = log_probability - old_log_probability
    return -(apart * advantage).mean() + 1e9 * apart.square().mean()


def test_where_nothing_is_acceptable_the_weights_are_restored_exactly():
    parts = setting(trpo)
    before = [parameter.detach().clone() for parameter in parts[0].parameters()]
    metrics, finite = trpo.update(*parts, nn.lift(stubborn))
    for parameter, old in zip(parts[0].parameters(), before, strict=True):
        assert torch.equal(parameter, old)
    assert metrics["fraction"].tolist() == metrics["kl"].tolist() == [0.0] * 4
    assert finite.all()  # it goes on: the next batch is another one


def test_one_that_finds_nothing_does_not_hold_up_the_others():
    parts = setting(trpo)
    usual, wall = nn.lift(trpo.loss), nn.lift(stubborn)

    def mixed(*arguments):
        return torch.where(torch.arange(4) == 2, wall(*arguments), usual(*arguments))

    mixed.lifted = True
    before = weights(parts[0])
    metrics, _ = trpo.update(*parts, mixed)
    assert metrics["fraction"][2] == 0
    assert torch.equal(weights(parts[0])[2], before[2])
    assert (metrics["fraction"][[0, 1, 3]] > 0).all()
    assert (metrics["surrogate"][[0, 1, 3]] > 0).all()


def test_a_region_too_large_for_its_quadratic_form():
    """With delta = 1 the full step breaks the constraint, or the surrogate, for many: TNPG takes it, TRPO does not."""
    free, _ = natural_gradient.update(
        *setting(natural_gradient, seeds=16, max_kl=1.0, damping=1e-3), nn.lift(natural_gradient.loss)
    )
    held, _ = trpo.update(*setting(trpo, seeds=16, max_kl=1.0, damping=1e-3), nn.lift(trpo.loss))
    assert (free["kl"] > 1.0).any()
    assert (held["kl"] <= 1.0).all()
    assert ((held["surrogate"] > 0) | (held["fraction"] == 0)).all()
    same = held["fraction"] == 1
    torch.testing.assert_close(held["kl"][same], free["kl"][same])
    assert (held["fraction"][free["kl"] > 1.0] < 1).all()


# ---------------------------------------------------------------------------------------------------------------- training


@both
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("environments", 0),
        ("iterations", 0),
        ("directions", 0),
        ("value_steps", 0),
        ("max_kl", 0.0),
        ("value_step_size", -1.0),
        ("discount", 1.1),
        ("trace_decay", -0.1),
        ("damping", -1e-3),
        ("hidden", (0,)),
    ],
)
def test_an_impossible_setting_is_named(algorithm, field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        algorithm.Config(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("trials", 0), ("shrink", 1.0), ("shrink", 0.0)])
def test_an_impossible_search_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        trpo.Config(**{field: value})


@dataclass(frozen=True)
class Poisoned(type(envs.make("CartPole-v1"))):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    threshold: float = 0.2

    def observe(self, state):
        return torch.where(state[..., :1] > self.threshold, torch.nan, state)


@both
@pytest.mark.parametrize("normalise", [False, True])
def test_a_replica_that_diverges_stops_is_named_and_the_others_go_on(algorithm, normalise):
    short = {"iterations": 5, "steps": 16, "environments": 2, "hidden": (4,), "value_steps": 3}
    env, config = Poisoned(), algorithm.Config(**short, normalise_observations=normalise)
    with pytest.warns(RuntimeWarning, match=r"replica \d \(seed \d\) stopped at iteration \d: an observation or reward"):
        policy, history = algorithm.train(env, config, Rng(range(8), dtype=D))
    assert 0 < len(history.stopped) < 8
    for replica in history.stopped:
        assert np.isnan(history.metrics["kl"][replica, -1])
    going = [r for r in range(8) if r not in history.stopped]
    assert np.isfinite(history.metrics["kl"][going]).all()
    assert all(len(parameter) == 8 and parameter.isfinite().all() for parameter in policy.parameters())
    alone, _ = algorithm.train(env, config, Rng(going, dtype=D))
    for name, part in alone.state_dict().items():
        torch.testing.assert_close(policy.state_dict()[name][going], part)


@both
def test_observations_are_normalised_by_earlier_batches(algorithm, monkeypatch):
    """By those only, so that the policy which learns is the one that acted; policy and critic alike."""
    update, seen = algorithm.update, []

    def spy(policy, mover, critic, optimizer, batch, config, loss):
        for normalizer in (policy.normalizer, critic.normalizer):
            assert (normalizer.count == 40 * len(seen)).all()
            if seen:
                earlier = torch.cat(seen, 1).flatten(1, 2)
                torch.testing.assert_close(normalizer.mean, earlier.mean(1))
                torch.testing.assert_close(normalizer.variance, earlier.var(1, correction=0))
        torch.testing.assert_close(policy(batch.observation).log_prob(batch.action), batch.log_probability)
        seen.append(batch.observation)
        return update(policy, mover, critic, optimizer, batch, config, loss)

    monkeypatch.setattr(algorithm, "update", spy)
    config = algorithm.Config(iterations=3, steps=20, environments=2, hidden=(4,), value_steps=3, normalise_observations=True)
    policy, _ = algorithm.train(envs.make("Pendulum-v1"), config, Rng(range(3), dtype=D))
    assert len(seen) == 3
    torch.testing.assert_close(policy.normalizer.mean, torch.cat(seen, 1).mean((1, 2)))


@both
def test_a_run_that_is_ended_early_keeps_its_policy(algorithm):
    config = algorithm.Config(iterations=50, steps=16, environments=2, hidden=(4,))
    policy, history = algorithm.train(envs.make("CartPole-v1"), config, Rng(range(2)), progress=lambda h: h.iteration == 2)
    assert history.metrics["kl"].shape == (2, 2)
    assert history.steps[:, -1].tolist() == [64, 64]
    assert policy(torch.zeros(2, 1, 4)).logits.shape == (2, 1, 2)


def test_the_true_objective_hardly_ever_falls_on_an_enumerable_world():
    """J by enumeration after each of 10 updates of 16 learners on the 4 x 3 grid: what makes it fall is sampling error."""
    mdp = tabular.gridworld(time_limit=20)
    config = trpo.Config(steps=20, environments=100, discount=1.0, hidden=(), value_step_size=0.05)
    rng = Rng(range(16), dtype=D)
    policy, critic = policies.for_env(mdp, rng, ()), policies.Value(rng, mdp.spec.observation.size, ())
    mover, optimizer, loss = nn.SGD(policy, 1.0), nn.Adam(critic, 0.05), nn.lift(trpo.loss)
    values = [exact.expected_return(mdp, policy).detach()]
    carry = None
    for _ in range(10):
        batch, carry = rollout(mdp, policy, rng, config.steps, config.environments, carry)
        trpo.update(policy, mover, critic, optimizer, batch, config, loss)
        values.append(exact.expected_return(mdp, policy).detach())
    change = torch.stack(values).diff(dim=0)
    assert (change > 0).double().mean() > 0.95
    assert (change.sum(0) > 0.3).all()


@both
def test_it_learns_to_balance_the_pole(algorithm):
    config = replace(algorithm.Config(), iterations=12)
    _, history = algorithm.train(envs.make("CartPole-v1"), config, Rng(range(8)))
    assert history.metrics["return"][:, 0].mean() < 50
    assert history.latest("return").mean() > 200
    assert (history.metrics["kl"] < 0.02).all()
