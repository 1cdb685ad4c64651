"""The double pendulum: its equations against a Lagrangian, energy, chaos, derivatives, shapes, pictures."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pgcourse import envs
from pgcourse.envs.double_pendulum import DoublePendulum

D = torch.float64
UNEQUAL = DoublePendulum(gravity=9.81, masses=(1.3, 0.7), lengths=(0.8, 1.1))


def states(count, seed=0):
    """Angles of several turns, rates of some rad/s."""
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=D) * torch.tensor([3.0, 3, 4, 4], dtype=D)


def lagrangian(env, angles, rates):
    """Kinetic minus potential energy, from where the masses are and how fast they go."""

    def places(a):
        return env.places(torch.cat([a, torch.zeros_like(a)]))

    speeds = torch.func.jacrev(places)(angles) @ rates
    masses = torch.tensor(env.masses, dtype=D)
    return (masses * (speeds.square().sum(-1) / 2 - env.gravity * places(angles)[:, 1])).sum()


def by_lagrange(env, state, torque):
    """The Euler-Lagrange equations, by autograd: (d^2 L / dw^2) w' = dL/da - (d^2 L / dw da) w + torque."""
    angles, rates = state[:2], state[2:]
    force = torch.func.grad(lagrangian, 1)(env, angles, rates) + torch.stack([torque, 0 * torque])
    mass = torch.func.jacrev(torch.func.grad(lagrangian, 2), 2)(env, angles, rates)
    mixed = torch.func.jacrev(torch.func.grad(lagrangian, 2), 1)(env, angles, rates)
    return torch.cat([rates, torch.linalg.solve(mass, force - mixed @ rates)])


@pytest.mark.parametrize("env", [DoublePendulum(), UNEQUAL], ids=["equal", "unequal"])
def test_the_equations_of_motion_are_lagranges(env):
    torques = torch.linspace(-5, 5, 1000, dtype=D)
    expected = torch.func.vmap(lambda state, torque: by_lagrange(env, state, torque))(states(1000), torques)
    torch.testing.assert_close(env.rates(states(1000), torques), expected, rtol=1e-9, atol=1e-9)


def test_a_step_is_what_a_fine_integration_gives():
    state, torque = states(20), torch.linspace(-5, 5, 20, dtype=D)
    after, _, _ = UNEQUAL.step(state, torque[:, None])
    for one, u, found in zip(state, torque, after, strict=True):
        fine = solve_ivp(
            lambda t, y, u=u: UNEQUAL.rates(torch.from_numpy(y), u).numpy(), (0, 0.05), one.numpy(), rtol=1e-10, atol=1e-10
        )
        np.testing.assert_allclose(found, fine.y[:, -1], atol=2e-2)
    finer = DoublePendulum(gravity=9.81, masses=(1.3, 0.7), lengths=(0.8, 1.1), substeps=32)
    np.testing.assert_allclose(finer.step(state[-1:], torque[-1:, None])[0][0], fine.y[:, -1], atol=1e-7)


def test_energy_stays_without_a_motor_and_changes_by_its_work():
    env = DoublePendulum()
    state = env.initial(torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=D))
    before, still = env.energy(state), torch.zeros(32, 1, dtype=D)
    for _ in range(200):
        state, _, _ = env.step(state, still)
    assert (env.energy(state) - before).abs().max() < 0.1  # of some 20 J that come and go
    h, torque = 1e-6, torch.full((32,), 3.0, dtype=D)
    power = (env.energy(state + h * env.rates(state, torque)) - env.energy(state)) / h
    torch.testing.assert_close(power, 3.0 * state[:, 2], rtol=1e-3, atol=1e-3)


def test_neighbours_part_where_it_swings_high_and_stay_together_where_it_hangs():
    """From 16 places each; after 10 s the distance of two that began 1e-8 rad apart has grown by a factor of so much."""
    noise = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=D)
    growth = {}
    for name, angle in (("high", math.pi / 2), ("low", math.pi - 0.1)):
        env = DoublePendulum(start=(angle, angle))
        state = env.initial(noise).expand(2, 16, 4).clone()
        state[1, :, 1] += 1e-8
        for _ in range(200):
            state, _, _ = env.step(state, torch.zeros(2, 16, 1, dtype=D))
        growth[name] = (state[1] - state[0]).norm(dim=-1).median() / 1e-8
    assert growth["high"] > 300
    assert growth["low"] < 30


def test_the_reward_is_the_height_of_the_lower_mass_less_the_torque():
    env = DoublePendulum()
    state = torch.tensor([[0.0, 0.0, 1.0, 2.0], [math.pi, math.pi, 0, 0], [math.pi / 2, 0.0, 0, 0]], dtype=D)
    _, reward, terminated = env.step(state, torch.tensor([[0.0], [0.0], [10.0]], dtype=D))
    torch.testing.assert_close(reward, torch.tensor([2.0, -2.0, 1.0 - 0.1], dtype=D))
    assert not terminated.any()


def test_derivatives_against_finite_differences():
    env = DoublePendulum()
    state = states(3)[None].expand(2, 3, 4).clone().requires_grad_()
    action = torch.randn(2, 3, 1, dtype=D, generator=torch.Generator().manual_seed(1)).requires_grad_()
    torch.autograd.gradcheck(lambda s, a: env.step(s, a)[:2], (state, action))


def test_shapes_formats_and_name():
    env = envs.make("double-pendulum")
    assert isinstance(env, DoublePendulum)
    state = env.initial(torch.zeros(2, 3, 4))
    state, reward, terminated = env.step(state, torch.zeros(2, 3, 1))
    assert (state.shape, reward.shape, terminated.dtype) == ((2, 3, 4), (2, 3), torch.bool)
    assert state.dtype == reward.dtype == torch.float32
    observation = env.observe(state)
    assert observation.shape == (2, 3, env.spec.observation.size)
    torch.testing.assert_close(observation[..., :2] ** 2 + observation[..., 2:4] ** 2, torch.ones(2, 3, 2))


@pytest.mark.parametrize("wrong", [{"lengths": (1.0, 0.0)}, {"masses": (-1.0, 1.0)}, {"time_step": 0.0}, {"substeps": 0}])
def test_impossible_machines_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .* it must be positive"):
        DoublePendulum(**wrong)


def test_picture_shows_both_rods_and_survives_nan():
    env = DoublePendulum()
    picture = env.picture(torch.tensor([math.pi, math.pi, 0, 0]))
    assert picture.shape == (240, 240, 3)
    assert (picture[100:140] != 255).any()
    assert not np.array_equal(picture, env.picture(torch.tensor([0.0, math.pi, 0, 0])))
    assert (env.picture(torch.full((4,), math.nan)) != 255).any()
