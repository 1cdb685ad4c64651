"""Pendulum: Gymnasium's numbers, the physics, derivatives, shapes, pictures."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from pgcourse import envs
from pgcourse.envs.pendulum import Pendulum

STEPS = 1000


@pytest.fixture
def env():
    return envs.make("Pendulum-v1")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_step(generator, *leading):
    """States of several turns, spins up to the limit, torques up to twice theirs."""
    numbers = 2 * torch.rand(*leading, 3, generator=generator, dtype=torch.float64) - 1
    return numbers[..., :2] * torch.tensor([20.0, 8.0], dtype=torch.float64), 4 * numbers[..., 2:]


def test_steps_from_random_states_agree_with_gymnasium(env, generator):
    states, actions = random_step(generator, STEPS)
    after, reward, terminated = env.step(states, actions)
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    theirs.reset(seed=0)
    for t in range(STEPS):
        theirs.state = states[t].numpy()
        observation, their_reward, *_ = theirs.step(actions[t].numpy())
        np.testing.assert_allclose(after[t], theirs.state, rtol=0, atol=1e-6)
        np.testing.assert_allclose(reward[t], their_reward, rtol=0, atol=1e-6)
        np.testing.assert_allclose(env.observe(after)[t], observation, rtol=0, atol=1e-6)  # theirs is float32
    assert not terminated.any()


def test_episodes_end_where_gymnasiums_do(env, generator):
    theirs = gymnasium.make("Pendulum-v1")
    theirs.reset(seed=1)
    elapsed, ends = 0, 0
    for _ in range(STEPS):
        state = torch.from_numpy(theirs.unwrapped.state)
        action = 4 * torch.rand(1, generator=generator) - 2
        state, reward, terminated = env.step(state, action.double())
        elapsed += 1
        _, their_reward, their_end, their_limit, _ = theirs.step(action.numpy())
        np.testing.assert_allclose(state, theirs.unwrapped.state, rtol=0, atol=1e-6)
        np.testing.assert_allclose(reward, their_reward, rtol=0, atol=1e-6)
        assert (terminated.item(), elapsed >= env.spec.time_limit) == (their_end, their_limit)
        if their_limit:
            theirs.reset()
            elapsed, ends = 0, ends + 1
    assert ends == STEPS // 200


def test_limits_and_first_states_are_gymnasiums(env):
    theirs = gymnasium.make("Pendulum-v1")
    assert env.spec.time_limit == theirs.spec.max_episode_steps == 200
    assert env.spec.reward_threshold is theirs.spec.reward_threshold is None
    assert (env.spec.action.low, env.spec.action.high) == (theirs.action_space.low, theirs.action_space.high)
    first = env.initial(torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(first, torch.tensor([[-math.pi, -1], [0, 0], [math.pi, 1]], dtype=torch.float64))


def test_float32_follows_float64(env, generator):
    states, actions = random_step(generator, 100)
    after, reward, _ = env.step(states.float(), actions.float())
    assert after.dtype == reward.dtype == torch.float32
    torch.testing.assert_close(after.double(), env.step(states, actions)[0], rtol=1e-5, atol=1e-5)


def test_any_leading_axes(env, generator):
    states, actions = random_step(generator, 2, 3, 5)
    after, reward, terminated = env.step(states, actions)
    assert (after.shape, reward.shape, terminated.shape) == ((2, 3, 5, 2), (2, 3, 5), (2, 3, 5))
    assert env.observe(after).shape == (2, 3, 5, 3)
    alone = env.step(states[1, 2, 4], actions[1, 2, 4])
    torch.testing.assert_close(after[1, 2, 4], alone[0])
    torch.testing.assert_close(reward[1, 2, 4], alone[1])


def test_gradient_of_a_step_in_state_and_action(env, generator):
    states, actions = random_step(generator, 20)
    states[:, 1] /= 2  # away from the limits, where there is no derivative
    states, actions = states.requires_grad_(), (actions / 2.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, a: env.step(s, a)[:2], (states, actions))
    assert torch.autograd.gradcheck(lambda s: env.observe(s), (states,))


def test_energy_grows_by_the_work_of_the_torque(env, generator):
    """dE/dt = u spin exactly: E = m l^2 spin^2 / 6 + m g l cos(angle) / 2, along (spin, the acceleration of a step)."""
    states, actions = random_step(generator, 50)
    states[:, 1] /= 2
    acceleration = (env.step(states, actions)[0][:, 1] - states[:, 1]) / env.time_step

    def energy(state):
        angle, spin = state.unbind(-1)
        return env.mass * env.length**2 * spin**2 / 6 + env.mass * env.gravity * env.length * angle.cos() / 2

    (slope,) = torch.autograd.grad(energy(states.requires_grad_()).sum(), states)
    power, states = slope[:, 0] * states[:, 1] + slope[:, 1] * acceleration, states.detach()
    torch.testing.assert_close(power, actions[:, 0].clamp(-2, 2) * states[:, 1], rtol=1e-9, atol=1e-9)


def test_without_torque_a_swing_keeps_its_energy():
    env = Pendulum(time_step=1e-3)
    state = torch.tensor([2.0, 0.0], dtype=torch.float64)
    heights = []
    for _ in range(2500):  # several swings
        state, _, _ = env.step(state, torch.zeros(1, dtype=torch.float64))
        heights.append(state[0].cos().item())
    assert max(heights) == pytest.approx(math.cos(2.0), abs=0.01)  # rises as high as it began, no higher
    assert min(heights) == pytest.approx(-1, abs=1e-3)  # through the bottom


def test_actions_that_do_not_fit_are_refused(env):
    env.validate_action(torch.zeros(2, 3, 1), (2, 3))
    with pytest.raises(ValueError, match=r"Pendulum-v1 takes actions of shape \[2, 3, 1\].*\[2, 3\]"):
        env.validate_action(torch.zeros(2, 3), (2, 3))
    with pytest.raises(ValueError, match=r"floating-point numbers.*int64"):
        env.validate_action(torch.zeros(2, 3, 1, dtype=torch.int64), (2, 3))


def test_picture_shows_the_rod(env):
    up, left = (env.picture(torch.tensor([angle, 0.0])) for angle in (0.0, math.pi / 2))
    assert up.shape == (240, 240, 3)
    assert up.dtype == np.uint8
    rows, columns = np.nonzero((np.array([230, 159, 0]) == left).all(-1))
    assert columns.mean() < 100  # a positive angle turns counterclockwise
    assert abs(rows.mean() - 119.5) < 2
    assert np.nonzero((np.array([230, 159, 0]) == up).all(-1))[0].mean() < 100
    assert (env.picture(torch.full((2,), torch.nan)) != up).any()
