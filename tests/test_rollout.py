import math
from dataclasses import dataclass

import pytest
import torch

from pgcourse import envs, nn, policies
from pgcourse.envs.base import Box, Discrete, Env, Spec
from pgcourse.rng import Noise, Rng
from pgcourse.rollout import episodes, evaluate, rollout


@dataclass(frozen=True)
class Counter(Env):
    """State: (start, count). Terminates when count reaches ``length``; pays the count. Nothing in it is hidden."""

    length: int = 3
    limit: int | None = None

    @property
    def spec(self):
        return Spec("Counter", Box(2), Discrete(2), self.limit, (2,), initial_noise=Noise("uniform", (1,)))

    def initial(self, noise):
        return torch.cat([noise, torch.zeros_like(noise)], -1)

    def step(self, state, action, noise):
        state = state + torch.tensor([0.0, 1.0])
        return state, state[..., 1].clone(), state[..., 1] >= self.length

    def observe(self, state):
        return state


def policy_for(env, rng):
    return policies.for_env(env, rng, hidden=(8,))


def test_axes():
    env, rng = envs.make("CartPole-v1"), Rng(range(3))
    batch, carry = rollout(env, policy_for(env, rng), rng, steps=5, environments=4)
    assert batch.observation.shape == batch.next_observation.shape == (3, 5, 4, 4)
    for field in ("action", "log_probability", "reward", "terminated", "truncated", "valid"):
        assert getattr(batch, field).shape == (3, 5, 4), field
    assert carry.state.shape == (3, 4, 4)
    assert batch.steps.tolist() == [20, 20, 20]


def test_episodes_follow_one_another_without_a_dummy_step():
    env, rng = Counter(length=3), Rng([0])
    batch, carry = rollout(env, policy_for(env, rng), rng, steps=7, environments=2)
    assert batch.observation[0, :, 0, 1].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert batch.next_observation[0, :, 0, 1].tolist() == [1, 2, 3, 1, 2, 3, 1]  # 3 is seen: before the reset
    assert batch.reward[0, :, 0].tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert batch.terminated[0, :, 0].tolist() == [False, False, True, False, False, True, False]
    assert not batch.truncated.any()
    starts = batch.observation[0, :, 0, 0]
    assert len(starts.unique()) == 3  # each episode begins anew, from its own noise
    again, _ = rollout(env, policy_for(env, rng), rng, steps=2, environments=2, start=carry)
    assert again.observation[0, :, 0, 1].tolist() == [1, 2]
    assert torch.equal(again.observation[0, 0, :, 0], batch.next_observation[0, -1, :, 0])


def test_a_time_limit_truncates_and_counts_over_rollouts():
    env, rng = Counter(length=100, limit=4), Rng([0])
    policy = policy_for(env, rng)
    batch, carry = rollout(env, policy, rng, steps=6, environments=1)
    assert batch.truncated[0, :, 0].tolist() == [False, False, False, True, False, False]
    assert not batch.terminated.any()
    batch, _ = rollout(env, policy, rng, steps=3, environments=1, start=carry)
    assert batch.truncated[0, :, 0].tolist() == [False, True, False]


def test_the_return_of_an_episode_counts_over_rollouts():
    """Counter pays 1, 2, 3 and ends; rollouts of 2 steps cut its episodes anywhere."""
    env, rng = Counter(length=3), Rng(range(2))
    policy, carry, seen, earned = policy_for(env, rng), None, [], []
    for _ in range(4):
        _, carry = rollout(env, policy, rng, steps=2, environments=1, start=carry)
        seen.append(carry.episode_return.tolist())
        earned.append(carry.earned[:, 0].tolist())
    assert math.isnan(seen[0][0])
    assert seen[1:] == [[6, 6]] * 3  # the last rollout, steps 7 and 8, ends none: the last one known stays
    assert earned == [[3, 3], [1, 1], [0, 0], [3, 3]]
    part = carry.select(env, torch.tensor([False, True]))
    assert torch.equal(part.state, carry.state[1:])
    assert len(part.elapsed) == len(part.earned) == len(part.episode_return) == 1


def test_both_ends_at_once_are_both_said():
    env, rng = Counter(length=3, limit=3), Rng([0])
    batch, _ = rollout(env, policy_for(env, rng), rng, steps=3, environments=1)
    assert batch.terminated[0, 2, 0]
    assert batch.truncated[0, 2, 0]


def test_whole_episodes():
    env, rng = envs.make("CartPole-v1"), Rng(range(4))
    batch = episodes(env, policy_for(env, rng), rng, environments=5)
    length = batch.valid.sum(1)
    ends = (batch.done & batch.valid).sum(1)
    assert (ends == 1).all()
    assert torch.equal(batch.episode_return, length.to(torch.float32))  # CartPole pays 1 a step
    assert batch.valid.shape[1] == length.max()  # padded to the longest, no further
    last = torch.zeros_like(batch.valid).scatter_(1, (length - 1)[:, None], True)
    assert torch.equal(last, batch.done & batch.valid)
    assert not (batch.valid.int().diff(dim=1) > 0).any()  # never valid again


def test_recorded_log_probabilities_are_the_policys():
    for name in ("CartPole-v1", "Pendulum-v1"):
        env, rng = envs.make(name), Rng(range(2), dtype=torch.float64)
        policy = policy_for(env, rng)
        batch, _ = rollout(env, policy, rng, steps=6, environments=3)
        torch.testing.assert_close(batch.log_probability, policy(batch.observation).log_prob(batch.action).detach())
        assert batch.observation.dtype == torch.float64
        assert not batch.observation.requires_grad


def test_a_replica_does_the_same_alone_however_long_the_others_live():
    env = envs.make("CartPole-v1")
    many, alone = Rng(range(6)), Rng([4])
    for _ in range(2):
        whole = episodes(env, policies.for_env(env, many), many, 3)
        single = episodes(env, policies.for_env(env, alone), alone, 3)
        steps = single.valid.shape[1]
        assert torch.equal(whole.valid[4].sum(0), single.valid[0].sum(0))
        mask = single.valid[0]
        torch.testing.assert_close(whole.observation[4, :steps][mask], single.observation[0][mask])
        assert torch.equal(whole.action[4, :steps][mask], single.action[0][mask])


def test_a_policy_of_the_wrong_kind_is_told_what_fits():
    env, rng = envs.make("CartPole-v1"), Rng([0])
    with pytest.raises(ValueError, match="CartPole-v1 takes actions"):
        rollout(env, policies.Gaussian(rng, 4, 1), rng, steps=1)
    with pytest.raises(ValueError, match="input of shape"):
        rollout(env, policies.Categorical(rng, 3, 2), rng, steps=1)


def test_impossible_sizes_are_refused():
    env, rng = envs.make("CartPole-v1"), Rng([0])
    with pytest.raises(ValueError, match="both must be >= 1"):
        rollout(env, policy_for(env, rng), rng, steps=0)
    with pytest.raises(ValueError, match="no time limit"):
        episodes(Counter(), policy_for(Counter(), rng), rng)


def test_packing_the_valid_steps_changes_neither_values_nor_gradients():
    """Against the policy on every step, padding included; episodes of very different lengths, replicas too."""
    env, rng = envs.make("CartPole-v1"), Rng(range(5), dtype=torch.float64)
    policy = policy_for(env, rng)
    batch = episodes(env, policy, rng, environments=4)
    assert batch.steps.unique().numel() > 1
    weight = Rng(range(5), dtype=torch.float64).normal(*batch.valid.shape[1:]) * batch.valid
    for which in (0, 1):
        law = policy(batch.observation)
        packed, plain = evaluate(policy, batch)[which], (law.log_prob(batch.action), law.entropy())[which]
        torch.testing.assert_close(packed, plain * batch.valid)
        torch.testing.assert_close(
            nn.flat_gradient((packed * weight).sum((1, 2)), policy.parameters()),
            nn.flat_gradient((plain * weight).sum((1, 2)), policy.parameters()),
        )
