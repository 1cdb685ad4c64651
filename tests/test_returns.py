import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcourse import returns
from pgcourse.rng import Rng

D = torch.float64


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
