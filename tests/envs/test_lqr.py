import math

import pytest
import torch

from pgcourse import envs
from pgcourse.envs.lqr import LQR, double_integrator

F64 = torch.float64


def test_one_step_by_hand():
    lqr = LQR([[2.0]], [[3.0]], [[5.0]], [[7.0]], noise=0.5)
    state, action, noise = (torch.tensor([x], dtype=F64) for x in (1.0, -1.0, 4.0))
    following, reward, terminated = lqr.step(state, action, noise)
    assert following.item() == 2 * 1 - 3 + 0.5 * 4
    assert reward.item() == -(5 + 7)
    assert not terminated


def test_one_step_of_matrices_by_hand():
    lqr = LQR([[1.0, 2], [0, 1]], [[0.0], [1]], [[1.0, 0.5], [0.5, 2]], [[3.0]], noise=[[1.0, 0], [2, 0]])
    state, action, noise = torch.tensor([1.0, -1]), torch.tensor([2.0]), torch.tensor([10.0, 99])
    following, reward, _ = lqr.step(state, action, noise)
    assert following.tolist() == [1 - 2 + 10, -1 + 2 + 20]
    assert reward.item() == -(1 - 0.5 - 0.5 + 2 + 3 * 4)


def test_first_states_have_the_mean_and_spread_given():
    lqr = LQR(
        torch.eye(2), torch.eye(2), torch.eye(2), torch.eye(2), initial_mean=[1.0, 2.0], initial_spread=[[1.0, 0], [3, 0]]
    )
    assert lqr.initial(torch.tensor([2.0, 5.0])).tolist() == [3.0, 8.0]
    assert LQR([[1.0]], [[1.0]], [[1.0]], [[1.0]], initial_mean=4.0, initial_spread=0.0).initial(torch.ones(1)).item() == 4.0


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_any_leading_axes_and_the_number_format_of_the_noise(dtype, leading):
    lqr = envs.make("lqr")
    state = lqr.initial(torch.ones(*leading, 2, dtype=dtype))
    following, reward, terminated = lqr.step(state, torch.ones(*leading, 1, dtype=dtype), torch.ones(*leading, 2, dtype=dtype))
    assert following.shape == lqr.observe(following).shape == (*leading, 2)
    assert reward.shape == terminated.shape == leading
    assert state.dtype == following.dtype == reward.dtype == dtype


def test_a_step_is_differentiable_in_state_action_noise_and_dynamics():
    dynamics = double_integrator().dynamics

    def step(dynamics, state, action, noise):
        lqr = LQR(dynamics, [[0.0], [0.1]], torch.eye(2), torch.eye(1), noise=0.1)
        return lqr.step(state, action, noise)[:2]

    inputs = (dynamics, torch.randn(3, 2, dtype=F64), torch.randn(3, 1, dtype=F64), torch.randn(3, 2, dtype=F64))
    assert torch.autograd.gradcheck(step, [x.clone().requires_grad_() for x in inputs])


def test_numbers_keep_their_digits():
    assert double_integrator(interval=0.1).dynamics[0, 1].item() == 0.1  # not 0.10000000149, float32's


GOOD = {"dynamics": torch.eye(2), "control": torch.ones(2, 1), "state_cost": torch.eye(2), "action_cost": torch.eye(1)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dynamics": torch.ones(2)}, r"dynamics has shape \(2,\)"),
        ({"dynamics": torch.eye(3)}, r"dynamics has shape \(3, 3\).*\[2, 2\]"),
        ({"dynamics": torch.full((2, 2), math.nan)}, "dynamics is .*finite"),
        ({"state_cost": torch.tensor([[1.0, 1], [0, 1]])}, "state_cost is .*symmetric: False"),
        ({"state_cost": -torch.eye(2)}, "eigenvalues >= 0"),
        ({"action_cost": torch.zeros(1, 1)}, "eigenvalues > 0"),
        ({"action_cost": torch.eye(2)}, r"action_cost has shape \(2, 2\).*\[1, 1\]"),
        ({"noise": torch.ones(3)}, r"noise has shape \(3,\)"),
        ({"time_limit": 0}, "time_limit is 0"),
    ],
)
def test_problems_that_do_not_fit_are_refused(wrong, message):
    LQR(**GOOD)
    with pytest.raises(ValueError, match=message):
        LQR(**{**GOOD, **wrong})


def test_an_action_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"actions of shape \[3, 1\]"):
        double_integrator().step(torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 2))
