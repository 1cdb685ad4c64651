from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pgcourse import envs, exact, gradients, nn, policies, returns
from pgcourse.algorithms import vanilla
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64
BASELINES = (*vanilla.OF_THE_BATCH, *vanilla.FITTED)


def walks(environments=5, replicas=3, mdp=None):
    mdp = mdp or tabular.random_mdp(4, 2, seed=2, time_limit=6)
    rng = Rng(range(replicas), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    return mdp, policy, rng, episodes(mdp, policy, rng, environments)


def test_the_loss_is_minus_the_surrogate_for_each_step():
    _, policy, _, batch = walks()
    advantage = returns.to_go(batch.reward, 0.9, valid=batch.valid) - 0.3
    log_probability = policy(batch.observation).log_prob(batch.action)
    pure = gradients.per_replica(gradients.score_surrogate(log_probability, advantage, batch.valid), policy)
    per_step = batch.valid.sum(1).double().mean(1, keepdim=True)
    log_probability = policy(batch.observation).log_prob(batch.action)
    losses = nn.lift(vanilla.loss)(log_probability, advantage, batch.valid, vanilla.Config())
    torch.testing.assert_close(gradients.per_replica(losses, policy), -pure / per_step)


@pytest.mark.parametrize("kind", list(vanilla.FITTED))
def test_a_fitted_baseline_tells_times_apart(kind):
    """A step later is another input: first=1 is the shift of the time axis."""
    baseline = vanilla.FITTED[kind](Rng(range(2), dtype=D), 3, vanilla.Config())
    for parameter in baseline.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    still = Rng(range(2), dtype=D).normal(1, 1, 3).expand(-1, 5, 4, -1)
    value = baseline(still)
    assert value.shape == (2, 5, 4)
    assert (value[:, 1:] - value[:, :-1]).abs().min() > 1e-6
    torch.testing.assert_close(baseline(still[:, 1:], first=1), value[:, 1:])


def test_the_linear_fit_is_the_least_squares_of_its_target():
    _, _, rng, batch = walks()
    config = vanilla.Config(proximal=0.5, discount=0.9)
    baseline = vanilla.Linear(rng, 4, config)
    baseline.phi.data.normal_(generator=torch.Generator().manual_seed(0))
    before = baseline.phi.detach().clone()
    assert vanilla.fit(baseline, nn.Adam(baseline, 0.1), batch, config).all()
    features = returns.linear_features(batch.observation)
    G = returns.to_go(batch.reward, 0.9, valid=batch.valid)
    torch.testing.assert_close(baseline.phi.detach(), returns.fit_linear(features, G, batch.valid, 0.5, before))


def test_td_targets_bootstrap_until_the_episode_is_over():
    _, _, rng, batch = walks()
    config = vanilla.Config(target="td", discount=0.9)
    baseline = vanilla.Linear(rng, 4, config)
    baseline.phi.data.normal_(generator=torch.Generator().manual_seed(0))
    following = baseline(batch.next_observation, first=1).detach()
    last = batch.valid & ~torch.nn.functional.pad(batch.valid, (0, 0, 0, 1))[:, 1:]
    expected = batch.reward + 0.9 * torch.where(last, 0, following)
    found = vanilla.value_target(baseline, batch, config)
    torch.testing.assert_close(found[batch.valid], expected[batch.valid])


@pytest.mark.parametrize("target", ["monte-carlo", "td"])
@pytest.mark.parametrize("kind", list(vanilla.FITTED))
def test_fitting_again_and_again_finds_the_value(kind, target):
    """On many walks of a fixed policy; what is left is their noise and what the features cannot say."""
    mdp, policy, rng, batch = walks(300, 1, tabular.gridworld(time_limit=20))
    config = vanilla.Config(target=target, discount=0.9, value_steps=20, hidden=(16,), proximal=1e-3)
    baseline = vanilla.FITTED[kind](rng, 11, config)
    optimizer = nn.Adam(baseline, 0.02)
    for _ in range(16):
        assert vanilla.fit(baseline, optimizer, batch, config).all()
    value = exact.state_value(mdp, policy, 0.9).detach()[0]  # [T, S]
    state, time = batch.observation.argmax(-1), torch.arange(batch.valid.shape[1])[None, :, None]
    truth = value[time, state]
    left = (baseline(batch.observation).detach() - truth)[batch.valid]
    assert left.square().mean() < 0.15 * truth[batch.valid].var()


def test_proximal_holds_a_network_where_it_was():
    *_, batch = walks(50)
    moved = []
    for proximal in (1e-6, 1e6):
        config = vanilla.Config(baseline="network", proximal=proximal, hidden=(8,))
        network = vanilla.Network(Rng(range(3), dtype=D), 4, config)
        before = [parameter.detach().clone() for parameter in network.parameters()]
        vanilla.fit(network, nn.SGD(network, 1e-7), batch, config)
        moved.append(sum(float((p.detach() - q).square().sum()) for p, q in zip(network.parameters(), before, strict=True)))
    assert moved[1] < 0.5 * moved[0]


def test_explained_is_the_share_of_the_variance():
    target = Rng(range(2), dtype=D).normal(6, 4)
    valid = torch.ones_like(target, dtype=torch.bool)
    torch.testing.assert_close(vanilla.explained(target, target + 3, valid), torch.ones(2, dtype=D))
    torch.testing.assert_close(vanilla.explained(target, torch.zeros_like(target), valid), torch.zeros(2, dtype=D))
    torch.testing.assert_close(vanilla.explained(target, -target, valid), torch.full((2,), -3.0, dtype=D))


def test_the_first_batch_is_not_judged_by_a_baseline_that_has_seen_it():
    """A fitted baseline begins at what it knew: the linear one with nothing."""
    env = envs.make("CartPole-v1")
    _, history = vanilla.train(env, vanilla.Config(iterations=2, environments=2, hidden=(4,)), Rng(range(4)))
    explained = history.metrics["explained"]
    assert (explained[:, 0] == 0).all()
    assert (explained[:, 1] != 0).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.5),
        ("step_size", 0.0),
        ("max_gradient_norm", -1.0),
        ("environments", 0),
        ("iterations", 0),
        ("value_steps", 0),
        ("value_step_size", 0.0),
        ("proximal", 0.0),
        ("baseline", "mean"),
        ("target", "mc"),
        ("hidden", (32, 0)),
    ],
)
def test_an_impossible_setting_is_named(field, value):
    config = vanilla.Config()
    object.__setattr__(config, field, value)  # past the types, which are checked in tests only
    with pytest.raises(ValueError, match=f"{field} is"):
        config.__post_init__()


@pytest.mark.parametrize("baseline", BASELINES)
def test_it_finds_the_better_plan(baseline):
    """two_step pays at once for the worse choice. Sixteen seeds, and every one must come near the optimum (3.25)."""
    config = vanilla.Config(iterations=80, environments=20, discount=1.0, step_size=0.05, hidden=(), baseline=baseline)
    _, history = vanilla.train(tabular.two_step(), config, Rng(range(16)))
    assert history.window("return", 10)[:, -1].min() > 2.8
    assert history.metrics["return"][:, 0].mean() < 2.5


@dataclass(frozen=True)
class Poisoned(type(envs.make("CartPole-v1"))):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    threshold: float = 0.2

    def observe(self, state):
        return torch.where(state[..., :1] > self.threshold, torch.nan, state)


@pytest.mark.parametrize("baseline", ["linear", "network"])
def test_a_replica_that_sees_nan_stops_and_the_others_go_on(baseline):
    env, config = Poisoned(), vanilla.Config(iterations=5, environments=2, hidden=(4,), baseline=baseline)
    with pytest.warns(RuntimeWarning, match=r"replica \d \(seed \d\) stopped at iteration \d: an observation or reward"):
        policy, history = vanilla.train(env, config, Rng(range(8)))
    assert 0 < len(history.stopped) < 8
    going = [r for r in range(8) if r not in history.stopped]
    assert np.isfinite(history.metrics["return"][going]).all()
    assert all(len(parameter) == 8 and parameter.isfinite().all() for parameter in policy.parameters())
    alone, _ = vanilla.train(env, config, Rng(going))
    for whole, part in zip(policy.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(whole[going], part)
