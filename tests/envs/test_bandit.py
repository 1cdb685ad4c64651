import math

import pytest
import torch

from pgcourse import envs, policies
from pgcourse.envs.bandit import Bandit
from pgcourse.rng import Rng
from pgcourse.rollout import episodes


def test_fixed_rewards_by_hand():
    bandit = Bandit([1.0, -2.0, 0.5])
    state = bandit.initial(torch.zeros(3, 0))
    _, reward, terminated = bandit.step(state, torch.tensor([2, 0, 1]), torch.randn(3))
    assert reward.tolist() == [0.5, 1.0, -2.0]
    assert terminated.all()


def test_noisy_rewards_are_mean_plus_deviation_times_noise():
    bandit = Bandit([1.0, 5.0], [2.0, 0.0])
    state = bandit.initial(torch.zeros(4, 0, dtype=torch.float64))
    noise = torch.tensor([0.0, 1.0, -1.5, 3.0], dtype=torch.float64)
    _, reward, _ = bandit.step(state, torch.tensor([0, 0, 0, 1]), noise)
    assert reward.tolist() == [1, 3, -2, 5]
    assert reward.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_any_leading_axes_and_the_number_format_of_the_noise(dtype, leading):
    bandit = Bandit([0.0, 1.0], 0.5)
    state = bandit.initial(torch.zeros(*leading, 0, dtype=dtype))
    state, reward, terminated = bandit.step(state, torch.ones(leading, dtype=torch.int64), torch.ones(leading, dtype=dtype))
    assert state.shape == reward.shape == terminated.shape == leading
    assert bandit.observe(state).shape == (*leading, 1)
    assert state.dtype == reward.dtype == bandit.observe(state).dtype == dtype


def test_an_episode_is_one_step_and_pays_the_mean_on_average():
    bandit, rng = envs.make("bandit"), Rng(range(4), dtype=torch.float64)
    policy = policies.for_env(bandit, rng)
    record = episodes(bandit, policy, rng, 5000)
    assert record.reward.shape == (4, 1, 5000)
    assert record.terminated.all()
    law = policy(torch.ones(4, 1, dtype=torch.float64)).logits.softmax(-1)
    expected = law @ bandit.mean
    reward = record.reward[:, 0]
    z = (reward.mean(1) - expected) / (reward.std(1) / 5000**0.5)
    assert z.abs().max() < 5  # four z-scores: a false alarm in 4e5 seeds; this seed is fixed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"mean is \[\]"),
        (([[1.0]],), "one per arm"),
        (([math.nan, 1.0],), "finite"),
        (([0.0, 1.0], -1.0), "standard_deviation is -1.0"),
        (([0.0, 1.0], [1.0, 1.0, 1.0]), "each of the 2 arms"),
    ],
)
def test_bandits_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bandit(*arguments)
