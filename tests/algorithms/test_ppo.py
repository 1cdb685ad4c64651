from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pgcourse import distributions, envs, nn, policies, returns
from pgcourse.algorithms import ppo
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

D = torch.float64


@pytest.mark.parametrize("advantage", [2.0, -3.0])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.1, 1.6])
def test_the_clips_gradient_in_every_quadrant(ratio, advantage):
    """By hand: -ratio A / B, except where the ratio has gone too far in the direction that A pushes it: there 0."""
    log_probability = torch.tensor([ratio, 1.0], dtype=D).log().requires_grad_()
    value = ppo.loss(log_probability, torch.zeros(2, dtype=D), torch.tensor([advantage, 0.0], dtype=D), ppo.Config(clip=0.2))
    (gradient,) = torch.autograd.grad(value, log_probability)
    too_far = ratio > 1.2 if advantage > 0 else ratio < 0.8
    assert gradient[0].item() == pytest.approx(0.0 if too_far else -ratio * advantage / 2)
    bounded = (1.2 if advantage > 0 else 0.8) if too_far else ratio
    assert value.item() == pytest.approx(-bounded * advantage / 2)


def test_the_penalised_surrogate_is_not_clipped():
    log_probability, advantage = torch.tensor([0.5, 1.6], dtype=D).log(), torch.tensor([-3.0, 2.0], dtype=D)
    value = ppo.loss(log_probability, torch.zeros(2, dtype=D), advantage, ppo.Config(objective="penalty"))
    assert value.item() == pytest.approx(-(0.5 * -3 + 1.6 * 2) / 2)


def test_the_coefficient_adapts():
    kl = torch.tensor([0.0066, 0.0067, 0.015, 0.0151, torch.inf], dtype=D)
    assert ppo.adapt(torch.full_like(kl, 3.0), kl, 0.01).tolist() == [1.5, 3, 3, 6, 6]


def test_the_estimated_kl_is_exact_where_actions_come_in_their_proportions():
    """pi_old = (1/4, 3/4), and four steps: one with action 0, three with action 1."""
    old, new = (distributions.Categorical(torch.tensor(p, dtype=D).log()) for p in ([0.25, 0.75], [0.6, 0.4]))
    action = torch.tensor([0, 1, 1, 1])
    log_ratio = new.log_prob(action) - old.log_prob(action)
    assert ppo.approximate_kl(log_ratio).item() == pytest.approx(old.kl(new).item())
    assert ppo.clip_fraction(log_ratio, 0.5).item() == 0.25  # ratios 2.4 and 0.53
    assert ppo.clip_fraction(log_ratio, 0.4).item() == 1.0


def test_minibatches_cover_the_batch_once_per_epoch_in_an_order_of_each_replicas_own():
    config = ppo.Config(environments=3, steps=8, minibatches=4, epochs=5)
    orders = ppo.orders(Rng(range(4)), config)
    assert orders.shape == (5, 4, 4, 6)
    each = orders.permute(0, 2, 1, 3).flatten(2)  # [K, R, N]
    assert (each.sort(-1).values == torch.arange(24)).all()
    assert len(each.flatten(0, 1).unique(dim=0)) == 20
    assert torch.equal(ppo.orders(Rng([2]), config)[:, :, 0], orders[:, :, 2])


PURE = ppo.Config(
    environments=3, steps=10, epochs=1, minibatches=1, standardise=False, value_weight=0.0, entropy_weight=0.0, hidden=()
)


def collected(config, replicas=3, time_limit=6):
    mdp = tabular.random_mdp(4, 2, seed=2, time_limit=time_limit)
    rng = Rng(range(replicas), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=config.hidden)
    critic = policies.Value(rng, mdp.spec.observation.size, config.hidden)
    batch, _ = rollout(mdp, policy, rng, config.steps, config.environments)
    return rng, policy, critic, batch, ppo.estimate(policy, critic, batch, batch.reward, config)


def learn(policy, critic, optimizer, steps, rng, config):
    coefficient = torch.ones(len(rng), dtype=D)
    return ppo.update(policy, critic, optimizer, steps, ppo.orders(rng, config), coefficient, config, nn.lift(ppo.loss))


@pytest.mark.parametrize("objective", ["clip", "penalty"])
def test_the_first_step_is_the_policy_gradient_with_gae(objective):
    """At pi_old the ratio is 1 and the KL flat: mean_{t,e} A_t grad log pi(a_t | s_t), replica by replica."""
    config = replace(PURE, objective=objective)
    rng, policy, critic, batch, steps = collected(config)
    assert batch.truncated.any()
    value, next_value = critic(batch.observation).detach(), critic(batch.next_observation).detach()
    advantage = returns.gae(batch.reward, value, next_value, 0.99, 0.95, batch.terminated, batch.truncated)
    law = policy(batch.observation)
    expected = nn.flat_gradient((advantage * law.log_prob(batch.action)).mean((1, 2)), policy.parameters())
    before = torch.cat([p.detach().flatten(1).clone() for p in policy.parameters()], 1)
    _, finite = learn(policy, critic, nn.SGD(torch.nn.ModuleList([policy, critic]), 0.1), steps, rng, config)
    after = torch.cat([p.detach().flatten(1) for p in policy.parameters()], 1)
    assert finite.all()
    torch.testing.assert_close((after - before) / 0.1, expected)
    assert expected.abs().max() > 1e-2


def test_value_and_entropy_enter_with_their_weights():
    config = replace(PURE, value_weight=0.5, entropy_weight=0.3)
    rng, policy, critic, batch, steps = collected(config)
    error = (critic(batch.observation) - steps.value_target.unflatten(1, (10, 3))).square().mean((1, 2))
    expected = nn.flat_gradient(0.5 * error, critic.parameters())
    entropy = nn.flat_gradient(policy(batch.observation).entropy().mean((1, 2)), policy.parameters())
    *_, other, same_critic, _, same_steps = collected(PURE)
    both = []
    for networks, data, settings in ((policy, steps, config), (other, same_steps, PURE)):
        this_critic = critic if networks is policy else same_critic
        before = nn_flat(torch.nn.ModuleList([networks, this_critic]))
        learn(networks, this_critic, nn.SGD(torch.nn.ModuleList([networks, this_critic]), 1.0), data, rng, settings)
        both.append(nn_flat(torch.nn.ModuleList([networks, this_critic])) - before)
    size = entropy.shape[1]
    torch.testing.assert_close(both[0][:, size:], -expected)
    torch.testing.assert_close((both[0] - both[1])[:, :size], 0.3 * entropy)


def nn_flat(module):
    return torch.cat([parameter.detach().flatten(1).clone() for parameter in module.parameters()], 1)


def test_a_loss_written_for_one_learner_trains_the_same():
    def own(log_probability, old_log_probability, advantage, config):
        ratio = torch.exp(log_probability - old_log_probability)
        return -torch.min(ratio * advantage, ratio.clip(1 - config.clip, 1 + config.clip) * advantage).mean()

    config, env = ppo.Config(iterations=3, steps=16, hidden=(8,)), envs.make("CartPole-v1")
    (ours, _), (theirs, _) = (ppo.train(env, config, Rng(range(3), dtype=D), **other) for other in ({}, {"loss": own}))
    torch.testing.assert_close(nn_flat(ours), nn_flat(theirs))


def test_advantages_are_standardised_in_each_minibatch():
    config = replace(PURE, standardise=True, epochs=2, minibatches=3)
    rng, policy, critic, _, steps = collected(config)
    seen = []

    def watch(log_probability, old_log_probability, advantage, config):
        seen.append(advantage)
        return nn.lift(ppo.loss)(log_probability, old_log_probability, advantage, config)

    watch.lifted = True
    optimizer = nn.SGD(torch.nn.ModuleList([policy, critic]), 0.1)
    ppo.update(policy, critic, optimizer, steps, ppo.orders(rng, config), torch.ones(3, dtype=D), config, watch)
    assert [advantage.shape for advantage in seen] == [(3, 10)] * 6
    for advantage in seen:
        torch.testing.assert_close(advantage.mean(1), torch.zeros(3, dtype=D))
        torch.testing.assert_close(advantage.std(1), torch.ones(3, dtype=D))


def test_a_replica_that_has_gone_too_far_waits_and_the_others_go_on():
    """Replica 0 has advantages a thousand times the others': its first step is its last, in all epochs."""
    config = replace(PURE, epochs=3, minibatches=2, stop_kl=0.05)

    def after(config, first_only=False):
        rng, policy, critic, _, steps = collected(config)
        steps = replace(steps, advantage=steps.advantage * torch.tensor([1000.0, 1, 1], dtype=D)[:, None])
        orders = ppo.orders(rng, config)
        orders = orders[:1, :1] if first_only else orders
        optimizer = nn.SGD(torch.nn.ModuleList([policy, critic]), 0.1)
        metrics, finite = ppo.update(
            policy, critic, optimizer, steps, orders, torch.ones(3, dtype=D), config, nn.lift(ppo.loss)
        )
        assert finite.all()
        return nn_flat(policy), metrics["kl"]

    stopped, kl = after(config)
    free, _ = after(replace(config, stop_kl=None))
    first, _ = after(config, first_only=True)
    assert torch.equal(stopped[0], first[0])
    assert torch.equal(stopped[1:], free[1:])
    assert not torch.equal(stopped[0], free[0])
    assert not torch.equal(stopped[1:], first[1:])
    assert kl[0] > 0.05 > kl[1:].max()


def test_the_penalty_moves_the_policy_by_about_its_target():
    config = ppo.Config(
        objective="penalty", iterations=15, steps=32, epochs=8, step_size=1e-2, kl_target=0.03, anneal=False, hidden=(16,)
    )
    _, history = ppo.train(envs.make("Pendulum-v1"), config, Rng(range(8)))
    coefficient, kl = history.metrics["coefficient"], history.metrics["kl"]
    assert (coefficient[:, 0] == 1).all()
    factor = np.where(kl < 0.03 / 1.5, 0.5, np.where(kl > 0.03 * 1.5, 2.0, 1.0))
    np.testing.assert_allclose(coefficient[:, 1:], (coefficient * factor)[:, :-1])
    assert 0.01 < np.median(kl[:, 7:]) < 0.09


def watched(seen):
    """The loss of the file, noting how far each call's policy is from pi_old."""
    lifted = nn.lift(ppo.loss)

    def loss(log_probability, old_log_probability, advantage, config):
        seen.append((log_probability - old_log_probability).abs().max().item())
        return lifted(log_probability, old_log_probability, advantage, config)

    loss.lifted = True
    return loss


def test_normalised_observations_are_saved_with_the_policy_and_the_ratio_begins_at_one():
    env, seen = envs.make("Pendulum-v1"), []
    config = ppo.Config(iterations=3, steps=16, normalise_observations=True, normalise_rewards=True)
    policy, _ = ppo.train(env, config, Rng(range(2), dtype=D), loss=watched(seen))
    assert len(seen) == 3 * 16
    assert max(seen[::16]) < 1e-12
    assert min(seen[1::16]) > 1e-6
    assert policy.normalizer.count.tolist() == [3 * 16 * 4] * 2
    assert policy.normalizer.mean.abs().max() > 0.1
    other = policies.for_env(env, Rng([7, 8], dtype=D), config.hidden, normalise=True)
    observation = 5 * Rng(range(2), dtype=D).normal(6, 3)
    assert not torch.equal(other(observation).mean, policy(observation).mean)
    other.load_state_dict(policy.state_dict())
    assert torch.equal(other(observation).mean, policy(observation).mean)


def test_rewards_are_scaled_as_gymnasium_scales_them():
    """Step by step: the running variance of y <- discount y (1 - done) + r over all steps and environments so far."""
    rng = Rng(range(3), dtype=D)
    scale, y, seen = ppo.Scale(rng, 2, 0.9), np.zeros((3, 2)), []
    for _ in range(3):
        reward, done = 5 * rng.normal(7, 2), rng.uniform(7, 2) < 0.3
        for t in range(7):
            y = 0.9 * y + reward[:, t].numpy()
            seen.append(y)
            y = y * ~done[:, t].numpy()
        scaled = scale(reward, done)
    deviation = np.stack(seen).transpose(1, 0, 2).reshape(3, -1).std(1)
    torch.testing.assert_close(scaled, (reward / torch.as_tensor(deviation)[:, None, None]).clamp(-10, 10))
    assert scale(torch.full((3, 1, 2), 1e9, dtype=D), torch.zeros(3, 1, 2, dtype=torch.bool)).max() <= 10


def test_the_step_size_falls_linearly_from_iteration_to_iteration(monkeypatch):
    sizes, step = [], nn.Adam.step
    monkeypatch.setattr(nn.Adam, "step", lambda self, *rest: sizes.append(self.step_size) or step(self, *rest))
    config = ppo.Config(iterations=4, steps=4, epochs=2, minibatches=2, step_size=0.4, hidden=())
    ppo.train(envs.make("CartPole-v1"), config, Rng([0]))
    assert sizes == pytest.approx([0.4] * 4 + [0.3] * 4 + [0.2] * 4 + [0.1] * 4)


@dataclass(frozen=True)
class Poisoned(type(envs.make("CartPole-v1"))):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    threshold: float = 0.2

    def observe(self, state):
        return torch.where(state[..., :1] > self.threshold, torch.nan, state)


@pytest.mark.parametrize("objective", ["clip", "penalty"])
def test_a_replica_that_sees_nan_stops_is_named_and_the_others_go_on(objective):
    """With all that has rows to lose: states, steps since the episode began, statistics, coefficients."""
    config = ppo.Config(
        objective=objective,
        iterations=8,
        environments=2,
        steps=8,
        normalise_observations=True,
        normalise_rewards=True,
        stop_kl=0.01,
        hidden=(4,),
    )
    with pytest.warns(RuntimeWarning, match=r"replica \d \(seed \d\) stopped at iteration \d: an observation or reward"):
        policy, history = ppo.train(Poisoned(), config, Rng(range(8), dtype=D))
    assert 0 < len(history.stopped) < 8
    for replica in history.stopped:
        assert np.isnan(history.metrics["kl"][replica, -1])
    going = [r for r in range(8) if r not in history.stopped]
    assert all(len(parameter) == 8 and parameter.isfinite().all() for parameter in policy.parameters())
    alone, other = ppo.train(Poisoned(), config, Rng(going, dtype=D))
    for name, whole in policy.state_dict().items():
        torch.testing.assert_close(whole[going], alone.state_dict()[name], rtol=1e-9, atol=1e-9)
    for metric, values in history.metrics.items():
        np.testing.assert_allclose(values[going], other.metrics[metric], rtol=1e-9, atol=1e-9)


def test_no_replica_left_is_an_error():
    def nan(log_probability, old_log_probability, advantage, config):
        return ppo.loss(log_probability, old_log_probability, advantage, config) * torch.nan

    with (
        pytest.warns(RuntimeWarning, match="its loss or gradient is not finite"),
        pytest.raises(FloatingPointError, match="no replica is left"),
    ):
        ppo.train(envs.make("CartPole-v1"), ppo.Config(iterations=2, steps=4), Rng(range(2)), loss=nan)


def test_a_run_that_is_ended_early_keeps_its_policy():
    policy, history = ppo.train(
        envs.make("CartPole-v1"), ppo.Config(steps=8), Rng(range(2)), progress=lambda history: history.iteration == 2
    )
    assert history.metrics["kl"].shape == (2, 2)
    assert history.steps[:, -1].tolist() == [64, 64]
    assert policy(torch.zeros(2, 1, 4)).logits.shape == (2, 1, 2)


@pytest.mark.parametrize("objective", ["clip", "penalty"])
def test_it_learns_cartpole(objective):
    """Sixteen seeds, 6,400 steps each; every one must keep the pole up far longer than at the beginning (22 steps)."""
    config = ppo.Config(objective=objective, iterations=25, steps=64, step_size=3e-3, kl_target=0.02, hidden=(32,))
    _, history = ppo.train(envs.make("CartPole-v1"), config, Rng(range(16)))
    curve = history.window("return", 5)
    assert curve[:, 0].mean() < 40
    assert curve[:, -1].min() > 60
    assert curve[:, -1].mean() > 120


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environments", 0),
        ("steps", 0),
        ("iterations", 0),
        ("epochs", 0),
        ("minibatches", 0),
        ("minibatches", 7),
        ("discount", 1.5),
        ("trace_decay", -0.1),
        ("step_size", 0.0),
        ("clip", 0.0),
        ("kl_target", 0.0),
        ("stop_kl", 0.0),
        ("value_weight", -1.0),
        ("entropy_weight", -0.01),
        ("max_gradient_norm", 0.0),
        ("objective", "trpo"),
        ("hidden", (32, 0)),
    ],
)
def test_an_impossible_setting_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is"):
        ppo.Config(**{field: value})
