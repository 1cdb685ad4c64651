"""The double inverted pendulum: MuJoCo's numbers, its equations against a Lagrangian, energy, rewards, derivatives."""

import math
from dataclasses import replace
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from pgcourse import envs
from pgcourse.envs.double_inverted_pendulum import DoubleInvertedPendulum

STEPS = 1000
D = torch.float64
ODD = DoubleInvertedPendulum(gravity=3.7, cart_mass=2.0, mass=1.3, length=0.8, inertia=0.1, damping=0.3)


@pytest.fixture
def env():
    return envs.make("double-inverted-pendulum")


@pytest.fixture(scope="module")
def theirs():
    """Gymnasium's model, its gravity straight down (in the file it leans by 1e-6)."""
    path = Path(gymnasium.__file__).parent / "envs/mujoco/assets/inverted_double_pendulum.xml"
    model = mujoco.MjModel.from_xml_path(str(path))
    model.opt.gravity[:] = 0, 0, -9.81
    return model


def random_states(count, seed=0):
    """Within Gymnasium's short track; every other one near upright, the rest anywhere; rates up to some per second."""
    states = 2 * torch.rand(count, 6, generator=torch.Generator().manual_seed(seed), dtype=D) - 1
    states[::2, 1:3] /= 10
    return states * torch.tensor([0.5, 6, 6, 3, 8, 8], dtype=D)


def test_the_bodies_are_mujocos(env, theirs):
    assert theirs.body_mass[1:].tolist() == pytest.approx([env.cart_mass, env.mass, env.mass], rel=1e-12)
    assert theirs.body_inertia[2:, :2].ravel().tolist() == pytest.approx([env.inertia] * 4, rel=1e-12)
    assert theirs.body_ipos[2:, 2].tolist() == pytest.approx([env.length / 2] * 2)
    assert theirs.dof_damping.tolist() == [env.damping] * 3
    assert theirs.actuator_gear[0, 0] == env.force


def test_steps_from_random_states_agree_with_mujoco(env, theirs):
    """One Runge-Kutta step of 0.01 s each, in float64, from identical states; then the tip and with it reward and end."""
    env, data = replace(env, time_step=0.01), mujoco.MjData(theirs)
    states, actions = random_states(STEPS), torch.linspace(-1.5, 1.5, STEPS, dtype=D)[:, None]
    after, reward, terminated = env.step(states, actions)
    for t in range(STEPS):
        data.qpos[:], data.qvel[:], data.ctrl[:] = states[t, :3], states[t, 3:], actions[t]
        mujoco.mj_step(theirs, data)
        np.testing.assert_allclose(after[t], np.r_[data.qpos, data.qvel], rtol=1e-9, atol=1e-9)
        mujoco.mj_forward(theirs, data)  # mj_step leaves the tip where the last stage of the integration saw it
        x, _, y = data.site_xpos[0]
        np.testing.assert_allclose(env.places(after)[t, 1], (x, y), rtol=0, atol=1e-9)
        w1, w2 = data.qvel[1:]
        expected = 10 - (0.01 * x**2 + (y - 2) ** 2) - (1e-3 * w1**2 + 5e-3 * w2**2)
        np.testing.assert_allclose(reward[t], expected, rtol=0, atol=1e-9)
        assert terminated[t].item() == (y <= 1)
    assert 0.1 < (~terminated).double().mean() < 0.5


def test_one_long_step_is_as_good_as_the_papers_two(env):
    states, actions = random_states(STEPS), torch.linspace(-1.0, 1.0, STEPS, dtype=D)[:, None]
    half = replace(env, time_step=0.01)
    two = half.step(half.step(states, actions)[0], actions)[0]
    upright = env.places(states)[:, 1, 1] > 1
    assert upright.sum() > 100
    difference = (env.step(states, actions)[0] - two).abs()[upright]
    assert difference.max() < 5e-3  # rad/s, where rates go up to 8
    assert difference.median() < 1e-5


def energies(env, place, rate):
    """Kinetic and potential, from where the rods' centres are and how fast they go and turn."""

    def centres(q):
        directions = torch.stack((q[1], q[1] + q[2]))
        arms = env.length * torch.stack((directions.sin(), directions.cos()), -1)
        cart = torch.stack((q[0], 0 * q[0]))
        return torch.stack((cart + arms[0] / 2, cart + arms[0] + arms[1] / 2))

    speeds, turning = torch.func.jacrev(centres)(place) @ rate, torch.stack((rate[1], rate[1] + rate[2]))
    kinetic = (env.cart_mass * rate[0] ** 2 + env.mass * speeds.square().sum() + env.inertia * turning.square().sum()) / 2
    return kinetic, env.mass * env.gravity * centres(place)[:, 1].sum()


def by_lagrange(env, state, force):
    """The Euler-Lagrange equations, by autograd, with friction -d v in each joint."""
    place, rate = state[:3], state[3:]

    def lagrangian(q, v):
        kinetic, potential = energies(env, q, v)
        return kinetic - potential

    push = torch.stack([force, 0 * force, 0 * force]) - env.damping * rate
    push = push + torch.func.grad(lagrangian, 0)(place, rate)
    mass = torch.func.jacrev(torch.func.grad(lagrangian, 1), 1)(place, rate)
    mixed = torch.func.jacrev(torch.func.grad(lagrangian, 1), 0)(place, rate)
    return torch.cat([rate, torch.linalg.solve(mass, push - mixed @ rate)])


@pytest.mark.parametrize("env", [DoubleInvertedPendulum(), ODD], ids=["paper", "odd"])
def test_the_equations_of_motion_are_lagranges(env):
    states, forces = random_states(STEPS), torch.linspace(-500, 500, STEPS, dtype=D)
    expected = torch.func.vmap(lambda state, force: by_lagrange(env, state, force))(states, forces)
    torch.testing.assert_close(env.rates(states, forces), expected, rtol=1e-8, atol=1e-8)


def test_energy_stays_without_friction(env):
    env = replace(env, damping=0.0, time_step=0.005)
    state = env.initial(torch.rand(32, 1, generator=torch.Generator().manual_seed(0), dtype=D))

    def energy(state):
        return torch.func.vmap(lambda s: sum(energies(env, s[:3], s[3:])))(state)

    before = energy(state)
    for _ in range(600):  # 3 s: it falls, and swings through
        state, _, _ = env.step(state, torch.zeros(32, 1, dtype=D))
    assert env.places(state)[:, 1, 1].min() < 0
    assert (energy(state) - before).abs().max() < 0.02  # of some 50 J that come and go


def test_start_reward_and_end(env):
    first = env.initial(torch.tensor([[0.0], [0.5], [1.0]], dtype=D))
    expected = torch.zeros(3, 6, dtype=D)
    expected[:, 1] = torch.tensor([-20.0, 0, 20], dtype=D).deg2rad()
    torch.testing.assert_close(first, expected)
    _, reward, terminated = env.step(first[1], torch.zeros(1, dtype=D))
    torch.testing.assert_close(reward, torch.tensor(10 - 0.8**2, dtype=D))  # upright, 1.2 m: the best there is
    assert not terminated
    fallen = torch.tensor([0.0, 0.8, 0, 0, 0, 0], dtype=D)
    assert env.step(fallen, torch.zeros(1, dtype=D))[2]
    assert env.spec.time_limit == 500


def test_observed_rates_are_no_larger_than_10(env):
    states = random_states(STEPS) * 3
    assert states[:, 3:].abs().max() > 10
    assert env.observe(states)[:, 5:].abs().max() == 10


def test_picture_shows_both_rods_and_survives_nan(env):
    up, right = (env.picture(torch.tensor([5.0, angle, 0, 0, 0, 0])) for angle in (0.0, math.pi / 2))
    assert up.shape == (240, 480, 3)
    assert up.dtype == np.uint8
    for colour in ((86, 180, 233), (230, 159, 0)):
        assert np.nonzero((np.array(colour) == up).all(-1))[0].mean() < 110
        assert np.nonzero((np.array(colour) == right).all(-1))[1].mean() > 250  # a positive angle turns clockwise
    assert env.picture(torch.full((6,), math.nan)).min() == 255
