"""Both mountain cars: Gymnasium's numbers, the physics, derivatives, shapes, pictures."""

import math

import gymnasium
import numpy as np
import pytest
import torch

from pgcourse import envs

STEPS = 1000
D = torch.float64
NAMES = ("MountainCar-v0", "MountainCarContinuous-v0")
both = pytest.mark.parametrize("name", NAMES)


def random_steps(name, *leading, seed=0):
    """States all over, some of which hit the wall, the top or the goal; pushes up to twice what is allowed."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(*leading, 3, generator=generator, dtype=D)
    states = numbers[..., :2] * torch.tensor([1.8, 0.14], dtype=D) - torch.tensor([1.2, 0.07], dtype=D)
    if name == "MountainCar-v0":
        return states, (3 * numbers[..., 2]).long()
    return states, 4 * numbers[..., 2:] - 2


def for_theirs(action):
    return action.numpy() if action.ndim else int(action)


@both
def test_steps_from_random_states_agree_with_gymnasium(name):
    env, theirs = envs.make(name), gymnasium.make(name).unwrapped
    states, actions = random_steps(name, STEPS)
    after, reward, terminated = env.step(states, actions)
    theirs.reset(seed=0)
    atol = 1e-12 if name == "MountainCar-v0" else 1e-7  # the continuous one keeps its state in float32
    for t in range(STEPS):
        theirs.state = states[t].numpy()
        observation, their_reward, their_end, _, _ = theirs.step(for_theirs(actions[t]))
        np.testing.assert_allclose(after[t], theirs.state, rtol=0, atol=atol)
        np.testing.assert_allclose(env.observe(after)[t], observation, rtol=0, atol=1e-7)
        np.testing.assert_allclose(reward[t], their_reward, rtol=0, atol=1e-12)
        assert terminated[t].item() == their_end
    at_wall = after[:, 0] == env.lowest
    assert (after[at_wall, 1] == 0).all()
    assert at_wall.sum() > 5
    assert (after[:, 0] == env.highest).sum() > 5
    assert (after[:, 1].abs() == env.speed_limit).sum() > 5
    assert 0.02 < terminated.double().mean() < 0.5


@both
def test_episodes_end_where_gymnasiums_do(name):
    """Pushing the way it rolls reaches the goal; chance, for one episode, runs into the time limit."""
    env, theirs = envs.make(name), gymnasium.make(name)
    theirs.reset(seed=1)
    _, chance = random_steps(name, 2 * STEPS)
    elapsed, ends = 0, []
    for t in range(2 * STEPS):
        state = torch.from_numpy(np.asarray(theirs.unwrapped.state, dtype=np.float64))
        if ends == ["goal"]:
            action = chance[t] / 4 if name.endswith("Continuous-v0") else chance[t]
        else:
            action = torch.tensor(2 * int(state[1] > 0)) if name == "MountainCar-v0" else torch.sign(state[1:] + 1e-9)
        state, reward, terminated = env.step(state, action)
        elapsed += 1
        truncated = elapsed >= env.spec.time_limit
        _, their_reward, *their_ends, _ = theirs.step(for_theirs(action))
        np.testing.assert_allclose(state, theirs.unwrapped.state, rtol=0, atol=1e-7)
        np.testing.assert_allclose(reward, their_reward, rtol=0, atol=1e-12)
        assert [terminated.item(), truncated] == list(their_ends)
        if terminated or truncated:
            ends.append("limit" if truncated else "goal")
            theirs.reset()
            elapsed = 0
    assert ends[:2] == ["goal", "limit"]


@both
def test_limits_and_first_states_are_gymnasiums(name):
    env, theirs = envs.make(name), gymnasium.make(name)
    assert env.spec.name == name
    assert env.spec.time_limit == theirs.spec.max_episode_steps
    assert env.spec.reward_threshold == theirs.spec.reward_threshold
    np.testing.assert_allclose([env.spec.observation.low, env.spec.observation.high], _bounds(theirs.observation_space))
    if name == "MountainCar-v0":
        assert env.spec.action.n == theirs.action_space.n
    else:
        assert (env.spec.action.low, env.spec.action.high) == (theirs.action_space.low, theirs.action_space.high)
    first = env.initial(torch.tensor([[0.0], [0.5], [1.0]], dtype=D))
    torch.testing.assert_close(first, torch.tensor([[-0.6, 0], [-0.5, 0], [-0.4, 0]], dtype=D))


def _bounds(space):
    return space.low, space.high


@both
def test_without_a_push_a_swing_keeps_its_energy(name):
    """v^2 / 2 + gravity sin(3 x) / 3 wavers by the rule's error (x moves with the new v: symplectic), and never drifts."""
    env = envs.make(name)
    state = torch.tensor([-0.9, 0.0], dtype=D)
    still = torch.tensor(1) if name == "MountainCar-v0" else torch.zeros(1, dtype=D)
    energies, places = [], []
    for _ in range(2000):
        state, _, _ = env.step(state, still)
        energies.append((state[1] ** 2 / 2 + env.gravity * (3 * state[0]).sin() / 3).item())
        places.append(state[0].item())
    depth = env.gravity / 3 * (math.sin(-2.7) + 1)  # between its first place and the bottom
    assert max(energies) - min(energies) < 0.1 * depth
    assert abs(np.mean(energies[:500]) - np.mean(energies[-500:])) < 0.01 * depth
    bottom = -math.pi / 6
    assert min(places) == pytest.approx(-0.9, abs=0.03)
    assert max(places) == pytest.approx(2 * bottom + 0.9, abs=0.03)


def test_gradients_of_a_step():
    discrete, continuous = map(envs.make, NAMES)
    states, pushes = random_steps(NAMES[1], 20)
    states = torch.stack((0.4 * states[:, 0] - 0.3, states[:, 1] / 2), 1).requires_grad_()  # away from the limits
    pushes = (pushes / 2.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, a: continuous.step(s, a)[:2], (states, pushes))
    actions = random_steps(NAMES[0], 20)[1]
    assert torch.autograd.gradcheck(lambda s: discrete.step(s, actions)[0], (states,))


@both
def test_any_leading_axes_and_float32(name):
    env = envs.make(name)
    states, actions = random_steps(name, 2, 3, 5)
    after, reward, terminated = env.step(states, actions)
    assert (after.shape, reward.shape, terminated.shape) == ((2, 3, 5, 2), (2, 3, 5), (2, 3, 5))
    torch.testing.assert_close(after[1, 2, 4], env.step(states[1, 2, 4], actions[1, 2, 4])[0])
    after32, reward32, _ = env.step(states.float(), actions if name == NAMES[0] else actions.float())
    assert after32.dtype == reward32.dtype == torch.float32
    torch.testing.assert_close(after32.double(), after, rtol=1e-5, atol=1e-6)


@both
def test_picture_shows_the_car_where_it_is(name):
    env = envs.make(name)
    pictures = [env.picture(torch.tensor([x, 0.0])) for x in (-1.0, -0.5, 0.4)]
    assert pictures[0].shape == (240, 360, 3)
    columns = [np.nonzero((np.array([0, 114, 178]) == picture).all(-1))[1].mean() for picture in pictures]
    assert columns[0] < columns[1] < columns[2]
    assert (env.picture(torch.full((2,), math.nan)) != pictures[0]).any()
