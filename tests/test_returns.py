import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcourse import returns
from pgcourse.rng import Rng

D = torch.float64
SEEDS = st.integers(0, 99)


def double_loop(reward, discount, done):
    """The definition, one term at a time."""
    total = torch.zeros_like(reward)
    for e in range(reward.shape[1]):
        for t in range(len(reward)):
            for k in range(t, len(reward)):
                total[t, e] += discount ** (k - t) * reward[k, e]
                if done[k, e]:
                    break
    return total


@settings(deadline=None, max_examples=40)
@given(steps=st.integers(1, 20), envs=st.integers(1, 3), discount=st.floats(0, 1), seed=st.integers(0, 1000))
def test_to_go_is_its_definition(steps, envs, discount, seed):
    rng = Rng([seed], dtype=D)
    reward, done = rng.normal(steps, envs)[0], rng.uniform(steps, envs)[0] < 0.2
    torch.testing.assert_close(returns.to_go(reward, discount, done), double_loop(reward, discount, done))


def test_by_hand():
    reward = torch.tensor([[1.0], [2.0], [4.0]])
    assert returns.to_go(reward, 0.5).flatten().tolist() == [3.0, 4.0, 4.0]
    assert returns.discounted(reward, 0.5).tolist() == [3.0]
    done = torch.tensor([[False], [True], [False]])
    assert returns.to_go(reward, 0.5, done).flatten().tolist() == [2.0, 2.0, 4.0]
    valid = torch.tensor([[True], [True], [False]])
    assert returns.to_go(reward, 0.5, valid=valid).flatten().tolist() == [2.0, 2.0, 0.0]


def test_replicas_are_apart():
    reward = Rng(range(3), dtype=D).normal(7, 2)
    for r in range(3):
        torch.testing.assert_close(returns.to_go(reward, 0.9)[r], returns.to_go(reward[r], 0.9))


def test_long_returns_stay_exact_in_float32():
    """At discount 0.5 a division by 0.5^500 would overflow; the closed form is (1 - 0.5^k) / 0.5."""
    got = returns.to_go(torch.ones(500, 1), 0.5).flatten()
    expected = 2 * (1 - 0.5 ** torch.arange(500, 0, -1, dtype=D))
    torch.testing.assert_close(got.to(D), expected, rtol=1e-6, atol=0)


def test_powers():
    assert returns.powers(0.5, 3, torch.zeros(1)).flatten().tolist() == [1.0, 0.5, 0.25]
    assert returns.powers(0.0, 3, torch.zeros(1)).flatten().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("discount", [-0.1, 1.01])
def test_a_discount_outside_its_range_is_refused(discount):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        returns.to_go(torch.ones(2, 1), discount)


def slow_n_step(reward, next_value, discount, steps, terminated, truncated):
    """The definition, one reward at a time."""
    total = torch.zeros_like(reward)
    for e in range(reward.shape[1]):
        for t in range(len(reward)):
            for k in range(t, min(t + steps, len(reward))):
                total[t, e] += discount ** (k - t) * reward[k, e]
                if terminated[k, e] or truncated[k, e]:
                    break
            if not terminated[k, e]:
                total[t, e] += discount ** (k + 1 - t) * next_value[k, e]
    return total


def batch(seed, steps, envs):
    """Within an episode the next value is the next step's value; where one ends, it is that of the state it ended in."""
    rng = Rng([seed], dtype=D)
    reward, value, next_value = rng.normal(3, steps, envs)[0]
    terminated, truncated = rng.uniform(2, steps, envs)[0] < 0.15
    next_value[:-1] = torch.where((terminated | truncated)[:-1], next_value[:-1], value[1:])
    return reward, value, next_value, terminated, truncated


@settings(deadline=None, max_examples=40)
@given(steps=st.integers(1, 12), envs=st.integers(1, 3), n=st.integers(1, 14), discount=st.floats(0, 1), seed=SEEDS)
def test_n_step_is_its_definition(steps, envs, n, discount, seed):
    reward, _, next_value, terminated, truncated = batch(seed, steps, envs)
    torch.testing.assert_close(
        returns.n_step(reward, next_value, discount, n, terminated, truncated),
        slow_n_step(reward, next_value, discount, n, terminated, truncated),
    )


@settings(deadline=None, max_examples=40)
@given(steps=st.integers(1, 12), envs=st.integers(1, 3), decay=st.floats(0, 1), discount=st.floats(0, 1), seed=SEEDS)
def test_gae_is_the_mixture_of_n_step_returns(steps, envs, decay, discount, seed):
    """(1 - lambda) sum_n lambda^(n-1) G^(n), the returns being all alike from the end of the episode or batch on."""
    reward, value, next_value, terminated, truncated = batch(seed, steps, envs)
    mixture, weight = torch.zeros_like(reward), 1.0
    for n in range(1, steps + 1):
        share = weight if n == steps else (1 - decay) * weight
        mixture += share * slow_n_step(reward, next_value, discount, n, terminated, truncated)
        weight *= decay
    arguments = (reward, value, next_value, discount, decay, terminated, truncated)
    torch.testing.assert_close(returns.lambda_return(*arguments), mixture)
    torch.testing.assert_close(returns.gae(*arguments), mixture - value)


def test_the_two_ends_of_gae():
    reward, value, next_value, terminated, truncated = batch(3, 9, 4)
    error = returns.td_error(reward, value, next_value, 0.9, terminated)
    torch.testing.assert_close(error, reward + 0.9 * torch.where(terminated, 0, next_value) - value)
    torch.testing.assert_close(returns.gae(reward, value, next_value, 0.9, 0.0, terminated, truncated), error)
    last = returns.n_step(reward, next_value, 0.9, len(reward), terminated, truncated)
    torch.testing.assert_close(returns.gae(reward, value, next_value, 0.9, 1.0, terminated, truncated), last - value)


def test_a_termination_cuts_the_bootstrap_and_a_truncation_does_not():
    one, no = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool)
    assert returns.td_error(one, one, 10 * one, 0.5, no).item() == 5.0
    assert returns.td_error(one, one, 10 * one, 0.5, ~no).item() == 0.0
    assert returns.n_step(one, 10 * one, 0.5, 3, no, ~no).item() == 6.0
    assert returns.n_step(one, 10 * one, 0.5, 3, ~no, no).item() == 1.0


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_trace_decay_outside_its_range_is_refused(decay):
    reward, value, next_value, terminated, truncated = batch(0, 3, 1)
    with pytest.raises(ValueError, match="trace_decay is"):
        returns.gae(reward, value, next_value, 0.9, decay, terminated, truncated)


def test_an_n_step_return_of_no_steps_is_refused():
    reward, _, next_value, terminated, truncated = batch(0, 3, 1)
    with pytest.raises(ValueError, match="steps is 0"):
        returns.n_step(reward, next_value, 0.9, 0, terminated, truncated)


def test_so_far_is_the_running_sum_over_rollouts():
    """Two rollouts after one another, against the recursion, episodes ending at the seam and elsewhere."""
    reward, done = Rng(range(3), dtype=torch.float64).normal(9, 2), Rng([5, 6, 7]).uniform(9, 2) < 0.3
    done[0, 3] = True
    expected, y = [], torch.zeros(3, 2, dtype=torch.float64)
    for t in range(9):
        y = reward[:, t] + 0.9 * y
        expected.append(y)
        y = y * ~done[:, t]
    first = returns.so_far(reward[:, :4], 0.9, done[:, :4], torch.zeros(3, 2, dtype=torch.float64))
    second = returns.so_far(reward[:, 4:], 0.9, done[:, 4:], first[:, -1] * ~done[:, 3])
    torch.testing.assert_close(torch.cat((first, second), 1), torch.stack(expected, 1))
