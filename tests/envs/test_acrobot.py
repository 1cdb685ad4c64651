"""Acrobot: Gymnasium's numbers, the equations by another route, energy, derivatives, shapes, pictures."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pgcourse import envs
from pgcourse.envs.acrobot import Acrobot

STEPS = 1000
D = torch.float64


@pytest.fixture
def env():
    return envs.make("Acrobot-v1")


def random_states(count, seed=0):
    """All angles, rates up to the limits: after a step of 0.2 s many are wrapped or held."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([1, 1, 4, 9], dtype=D) * math.pi
    return (2 * torch.rand(count, 4, generator=generator, dtype=D) - 1) * spread


def random_actions(count, seed=0):
    return torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed))


def test_steps_from_random_states_agree_with_gymnasium(env):
    states, actions = random_states(STEPS), random_actions(STEPS)
    after, reward, terminated = env.step(states, actions)
    theirs = gymnasium.make("Acrobot-v1").unwrapped
    theirs.reset(seed=0)
    held = wrapped = 0
    for t in range(STEPS):
        theirs.state = states[t].numpy()
        observation, their_reward, their_end, _, _ = theirs.step(int(actions[t]))
        np.testing.assert_allclose(after[t], theirs.state, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(env.observe(after)[t], observation, rtol=0, atol=2e-6)  # theirs is float32
        assert (reward[t].item(), terminated[t].item()) == (their_reward, their_end)
        held += (after[t, 2:].abs() >= torch.tensor([4, 9], dtype=D) * math.pi).any().item()
        wrapped += (after[t, 0] * states[t, 0] < -4).item()
    assert 0.1 < terminated.double().mean() < 0.9
    assert min(held, wrapped) > 20


def test_episodes_end_where_gymnasiums_do(env):
    """A motor that pushes the way the second link swings raises it; chance, for another episode, hits the time limit."""
    theirs = gymnasium.make("Acrobot-v1")
    theirs.reset(seed=1)
    elapsed, ends, chance = 0, [], random_actions(STEPS)
    for t in range(STEPS):
        state = torch.from_numpy(np.asarray(theirs.unwrapped.state, dtype=np.float64))
        action = int(chance[t]) if ends == ["goal"] else int(2 * (state[3] > 0))
        state, reward, terminated = env.step(state, torch.tensor(action))
        elapsed += 1
        truncated = elapsed >= env.spec.time_limit
        _, their_reward, *their_ends, _ = theirs.step(action)
        np.testing.assert_allclose(state, theirs.unwrapped.state, rtol=0, atol=1e-9)
        assert [reward.item(), terminated.item(), truncated] == [their_reward, *their_ends]
        if terminated or truncated:
            ends.append("limit" if truncated else "goal")
            theirs.reset()
            elapsed = 0
    assert ends[:2] == ["goal", "limit"]


def test_limits_and_first_states_are_gymnasiums(env):
    theirs = gymnasium.make("Acrobot-v1")
    assert env.spec.time_limit == theirs.spec.max_episode_steps
    assert env.spec.reward_threshold == theirs.spec.reward_threshold
    assert env.spec.action.n == theirs.action_space.n
    first = env.initial(torch.tensor([[0.0, 0.5, 1.0, 0.25]], dtype=D))
    torch.testing.assert_close(first, torch.tensor([[-0.1, 0, 0.1, -0.05]], dtype=D))


ODD = Acrobot(gravity=3.7, mass=1.3, length=0.8, inertia=0.4)


def lagrangian(env, angles, rates):
    """Kinetic minus potential energy, from where the links' centres are and how fast they go and turn."""

    def centres(a):
        directions = torch.stack((a[0], a[0] + a[1]))
        arms = env.length * torch.stack((directions.sin(), -directions.cos()), -1)
        return torch.stack((arms[0] / 2, arms[0] + arms[1] / 2))

    speeds = torch.func.jacrev(centres)(angles) @ rates
    turning = torch.stack((rates[0], rates[0] + rates[1]))
    kinetic = env.mass * speeds.square().sum() / 2 + env.inertia * turning.square().sum() / 2
    return kinetic - env.mass * env.gravity * centres(angles)[:, 1].sum()


def by_lagrange(env, state, torque):
    """The Euler-Lagrange equations, by autograd: (d^2 L / dw^2) w' = dL/da - (d^2 L / dw da) w + torque."""
    angles, rates = state[:2], state[2:]
    force = torch.func.grad(lagrangian, 1)(env, angles, rates) + torch.stack([0 * torque, torque])
    mass = torch.func.jacrev(torch.func.grad(lagrangian, 2), 2)(env, angles, rates)
    mixed = torch.func.jacrev(torch.func.grad(lagrangian, 2), 1)(env, angles, rates)
    return torch.cat([rates, torch.linalg.solve(mass, force - mixed @ rates)])


@pytest.mark.parametrize("env", [Acrobot(), ODD], ids=["gymnasium", "odd"])
def test_the_equations_of_motion_are_lagranges(env):
    states, torques = random_states(STEPS), torch.linspace(-5, 5, STEPS, dtype=D)
    expected = torch.func.vmap(lambda state, torque: by_lagrange(env, state, torque))(states, torques)
    torch.testing.assert_close(env.rates(states, torques), expected, rtol=1e-9, atol=1e-9)


def test_energy_stays_without_a_torque():
    env = Acrobot(time_step=0.01)
    state = torch.tensor([[2.0, 0.5, 0.0, 0.0], [1.0, -1.0, 1.0, -1.0]], dtype=D)

    def energy(state):
        return torch.stack([lagrangian(env, s[:2], s[2:]) + 2 * potential(s) for s in state])

    def potential(s):
        return -env.mass * env.gravity * env.length * (1.5 * s[0].cos() + 0.5 * (s[0] + s[1]).cos())

    before = energy(state)
    for _ in range(500):  # 5 s
        state, _, _ = env.step(state, torch.ones(2, dtype=torch.int64))
    assert (state[:, 2:].abs() > 0.1).any()
    torch.testing.assert_close(energy(state), before, rtol=0, atol=1e-5)


def test_a_step_is_what_a_fine_integration_gives():
    env, state = Acrobot(time_step=0.05), torch.tensor([1.0, -0.5, 2.0, -1.0], dtype=D)
    fine = solve_ivp(
        lambda t, y: env.rates(torch.from_numpy(y), torch.tensor(1.0, dtype=D)).numpy(), (0, 0.05), state.numpy(), rtol=1e-11
    )
    np.testing.assert_allclose(env.step(state, torch.tensor(2))[0], fine.y[:, -1], atol=1e-5)


def test_gradient_of_a_step_in_the_state(env):
    states = (random_states(20) / 6).requires_grad_()  # away from the limits, where there is no derivative
    actions = random_actions(20)
    assert torch.autograd.gradcheck(lambda s: env.step(s, actions)[0], (states,))
    assert torch.autograd.gradcheck(env.observe, (states,))


def test_any_leading_axes_and_float32(env):
    states, actions = random_states(30).reshape(2, 3, 5, 4), random_actions(30).reshape(2, 3, 5)
    after, reward, terminated = env.step(states, actions)
    assert (after.shape, reward.shape, terminated.shape) == ((2, 3, 5, 4), (2, 3, 5), (2, 3, 5))
    assert env.observe(after).shape == (2, 3, 5, 6)
    torch.testing.assert_close(after[1, 2, 4], env.step(states[1, 2, 4], actions[1, 2, 4])[0])
    small = states / 4
    after32, reward32, _ = env.step(small.float(), actions)
    assert after32.dtype == reward32.dtype == torch.float32
    torch.testing.assert_close(after32.double(), env.step(small, actions)[0], rtol=1e-4, atol=1e-4)


def test_picture_shows_both_links_and_survives_nan(env):
    hanging, up = (env.picture(torch.tensor([angle, 0.0, 0, 0])) for angle in (0.0, math.pi))
    assert hanging.shape == (240, 240, 3)
    assert hanging.dtype == np.uint8
    for colour in ((0, 114, 178), (230, 159, 0)):
        rows = [np.nonzero((np.array(colour) == picture).all(-1))[0].mean() for picture in (hanging, up)]
        assert rows[0] > 130
        assert rows[1] < 110
    assert (env.picture(torch.full((4,), math.nan)) != 255).any()
