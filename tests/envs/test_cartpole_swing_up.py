"""Cart-pole swing-up: its equations against a Lagrangian, energy, the paper's rewards and ends, derivatives, pictures."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pgcourse import envs
from pgcourse.envs.cartpole_swing_up import CartPoleSwingUp

D = torch.float64
ODD = CartPoleSwingUp(gravity=3.7, cart_mass=0.6, pole_mass=0.5, length=0.8)


@pytest.fixture
def env():
    return envs.make("cartpole-swing-up")


def random_states(count, seed=0):
    """Places beyond the track too, angles of several turns, spins of some rad/s."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(count, 4, generator=generator, dtype=D) - 1) * torch.tensor([4.0, 4, 10, 8], dtype=D)


def energies(env, place, rate):
    """Kinetic and potential: the cart, and the rod as twenty points along it (their moment of inertia corrected)."""
    along = (torch.arange(20, dtype=D) + 0.5) * env.length / 20

    def points(q):
        return torch.stack((q[0] - along * q[1].sin(), along * q[1].cos()), -1)

    speeds = torch.func.jacrev(points)(place) @ rate
    kinetic = env.cart_mass * rate[0] ** 2 / 2 + env.pole_mass * speeds.square().sum(-1).mean() / 2
    kinetic = kinetic + env.pole_mass * (env.length / 20) ** 2 / 12 * rate[1] ** 2 / 2
    return kinetic, env.pole_mass * env.gravity * points(place)[:, 1].mean()


def by_lagrange(env, state, force):
    """The Euler-Lagrange equations, by autograd, for q = (x, angle)."""
    place, rate = state[::2], state[1::2]

    def lagrangian(q, v):
        kinetic, potential = energies(env, q, v)
        return kinetic - potential

    push = torch.func.grad(lagrangian, 0)(place, rate) + torch.stack([force, 0 * force])
    mass = torch.func.jacrev(torch.func.grad(lagrangian, 1), 1)(place, rate)
    mixed = torch.func.jacrev(torch.func.grad(lagrangian, 1), 0)(place, rate)
    bend = torch.linalg.solve(mass, push - mixed @ rate)
    return torch.stack([rate[0], bend[0], rate[1], bend[1]])


@pytest.mark.parametrize("env", [CartPoleSwingUp(), ODD], ids=["paper", "odd"])
def test_the_equations_of_motion_are_lagranges(env):
    states, forces = random_states(1000), torch.linspace(-10, 10, 1000, dtype=D)
    expected = torch.func.vmap(lambda state, force: by_lagrange(env, state, force))(states, forces)
    torch.testing.assert_close(env.rates(states, forces), expected, rtol=1e-9, atol=1e-9)


def test_steps_are_what_a_fine_integration_gives(env):
    """A thousand steps at random forces, each from where the last one led."""
    generator = torch.Generator().manual_seed(1)
    state, worst = env.initial(torch.rand(4, generator=generator, dtype=D)), 0.0
    for _ in range(1000):
        action = 2 * torch.rand(1, generator=generator, dtype=D) - 1
        after, _, terminated = env.step(state, action)
        fine = solve_ivp(
            lambda t, y, F=10 * action[0]: env.rates(torch.from_numpy(y), F).numpy(),
            (0, 0.05),
            state.numpy(),
            rtol=1e-9,
            atol=1e-9,
        )
        worst = max(worst, np.abs(after.numpy() - fine.y[:, -1]).max())
        state = env.initial(torch.rand(4, generator=generator, dtype=D)) if terminated else after
    assert worst < 1e-3


def test_energy_stays_without_a_force_and_changes_by_its_work(env):
    def energy(state):
        return torch.func.vmap(lambda s: sum(energies(env, s[::2], s[1::2])))(state)

    state = env.initial(torch.rand(32, 4, generator=torch.Generator().manual_seed(0), dtype=D))
    before, free = energy(state), replace(env, position_limit=math.inf)
    for _ in range(200):  # 10 s
        state, _, _ = free.step(state, torch.zeros(32, 1, dtype=D))
    assert (energy(state) - before).abs().max() < 1e-3  # of about a joule that comes and goes
    h, force = 1e-6, torch.full((32,), 3.0, dtype=D)
    power = (energy(state + h * env.rates(state, force)) - energy(state)) / h
    torch.testing.assert_close(power, 3.0 * state[:, 1], rtol=1e-3, atol=1e-3)


def test_first_states_are_the_papers(env):
    first = env.initial(torch.tensor([[0.0] * 4, [0.5] * 4, [1.0] * 4], dtype=D))
    expected = [[-1, -2, math.pi - 1, -3], [0, 0, math.pi, 0], [1, 2, math.pi + 1, 3]]
    torch.testing.assert_close(first, torch.tensor(expected, dtype=D))


def test_a_step_pays_the_cosine_after_it_and_leaving_the_track_costs_100(env):
    state = torch.tensor([[0.0, 0, math.pi, 0], [2.99, 1, 0, 0], [2.9, 1, 0.5, 0], [-2.99, -1, 0, 0]], dtype=D)
    after, reward, terminated = env.step(state, torch.zeros(4, 1, dtype=D))
    assert terminated.tolist() == [False, True, False, True]
    expected = [-1.0, -100.0, after[2, 2].cos().item(), -100.0]
    torch.testing.assert_close(reward, torch.tensor(expected, dtype=D))
    assert env.spec.time_limit == 500


def test_the_action_is_a_share_of_the_force_and_is_clipped(env):
    state = torch.zeros(3, 4, dtype=D)
    after, _, _ = env.step(state, torch.tensor([[0.5], [1.0], [7.0]], dtype=D))
    torch.testing.assert_close(after[1], after[2])
    # pushed right, an upright pole falls to the left, which is counterclockwise; v' = 5 N / (M - 3 m / 4)
    assert (after[:, 1:] > 0).all()
    torch.testing.assert_close(after[0, 1], torch.tensor(0.05 * 5 / (1.1 - 0.075), dtype=D), rtol=2e-2, atol=0)


def test_picture_shows_the_pole(env):
    down, left = (env.picture(torch.tensor([0.0, 0, angle, 0])) for angle in (math.pi, math.pi / 2))
    assert down.shape == (200, 500, 3)
    assert down.dtype == np.uint8
    orange = np.array([230, 159, 0])
    assert np.nonzero((orange == left).all(-1))[1].mean() < 240  # a positive angle turns counterclockwise
    assert np.nonzero((orange == down).all(-1))[0].mean() > 110
    assert (env.picture(torch.full((4,), math.nan)) != down).any()
