"""CartPole: Gymnasium's numbers, the physics, derivatives, shapes, pictures."""

import gymnasium
import numpy as np
import pytest
import torch

from pgcourse import envs
from pgcourse.envs.cartpole import CartPole

STEPS = 1000


@pytest.fixture
def env():
    return envs.make("CartPole-v1")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_states(generator, *leading):
    """States all over, about half of them beyond the limits after a step."""
    spread = torch.tensor([3.0, 3.0, 0.3, 3.0], dtype=torch.float64)
    return (2 * torch.rand(*leading, 4, generator=generator, dtype=torch.float64) - 1) * spread


@pytest.mark.filterwarnings("ignore:.*termination:UserWarning")
def test_steps_from_random_states_agree_with_gymnasium(env, generator):
    states, actions = random_states(generator, STEPS), torch.randint(2, (STEPS,), generator=generator)
    after, reward, terminated = env.step(states, actions)
    theirs = gymnasium.make("CartPole-v1").unwrapped
    theirs.reset(seed=0)
    for t in range(STEPS):
        theirs.state, theirs.steps_beyond_terminated = states[t].numpy(), None
        observation, their_reward, their_end, _, _ = theirs.step(int(actions[t]))
        np.testing.assert_allclose(after[t], theirs.state, rtol=0, atol=1e-6)
        np.testing.assert_allclose(env.observe(after)[t], observation, rtol=1e-6, atol=1e-6)  # theirs is float32
        assert (reward[t].item(), terminated[t].item()) == (their_reward, their_end)
    assert 0.2 < terminated.double().mean() < 0.9


def test_episodes_end_where_gymnasiums_do(env, generator):
    """A controller that balances for long, then chance: so that both ends occur, the limit and the fall."""
    theirs = gymnasium.make("CartPole-v1")
    theirs.reset(seed=1)
    elapsed, ends = 0, []
    for t in range(STEPS):
        state = torch.from_numpy(theirs.unwrapped.state)  # of each step anew: a pole doubles a rounding error in 0.2 s
        action = int(state[2] + 0.3 * state[3] > 0) if t < 500 else int(torch.randint(2, (), generator=generator))
        state, reward, terminated = env.step(state, torch.tensor(action))
        elapsed += 1
        truncated = elapsed >= env.spec.time_limit
        _, their_reward, *their_ends, _ = theirs.step(action)
        np.testing.assert_allclose(state, theirs.unwrapped.state, rtol=0, atol=1e-6)
        assert [reward.item(), terminated.item(), truncated] == [their_reward, *their_ends]
        if terminated or truncated:
            ends.append("limit" if truncated else "fall")
            theirs.reset()
            elapsed = 0
    assert ends.count("limit") == 1
    assert ends.count("fall") > 10


def test_limit_threshold_and_first_states_are_gymnasiums(env):
    theirs = gymnasium.make("CartPole-v1")
    assert env.spec.time_limit == theirs.spec.max_episode_steps == 500
    assert env.spec.reward_threshold == theirs.spec.reward_threshold == 475
    first = env.initial(torch.tensor([[0.0] * 4, [0.5] * 4, [1.0] * 4], dtype=torch.float64))
    torch.testing.assert_close(first[:, 0], torch.tensor([-0.05, 0.0, 0.05], dtype=torch.float64))


def test_float32_follows_float64(env, generator):
    states, actions = random_states(generator, 100), torch.randint(2, (100,), generator=generator)
    single, reward, _ = env.step(states.float(), actions)
    assert single.dtype == reward.dtype == torch.float32
    torch.testing.assert_close(single.double(), env.step(states, actions)[0], rtol=1e-5, atol=1e-5)


def test_any_leading_axes(env, generator):
    states, actions = random_states(generator, 2, 3, 5), torch.randint(2, (2, 3, 5), generator=generator)
    after, reward, terminated = env.step(states, actions)
    assert (after.shape, reward.shape, terminated.shape) == ((2, 3, 5, 4), (2, 3, 5), (2, 3, 5))
    alone = env.step(states[1, 2, 4], actions[1, 2, 4])
    torch.testing.assert_close(after[1, 2, 4], alone[0])
    mask = terminated.clone()
    fresh = env.reset(mask, after, torch.full((2, 3, 5, 4), 0.5, dtype=torch.float64))
    torch.testing.assert_close(fresh, torch.where(mask[..., None], 0.0, after))
    torch.testing.assert_close(env.select(after, [1]), after[1:])


def test_gradient_of_a_step(env, generator):
    states, actions = random_states(generator, 6).requires_grad_(), torch.randint(2, (6,), generator=generator)
    assert torch.autograd.gradcheck(lambda s: env.step(s, actions)[0], (states,))


def test_constants_made_inside_inference_or_a_transform_serve_outside(generator):
    env = CartPole(gravity=9.81)  # one whose constants no other test has made
    states, actions = random_states(generator, 4), torch.randint(2, (4,), generator=generator)
    with torch.inference_mode():
        env.step(states, actions)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda s, a: env.step(s, a)[0]))(states, actions)
    whole = torch.autograd.functional.jacobian(lambda s: env.step(s, actions)[0], states)
    torch.testing.assert_close(jacobian, whole[range(4), :, range(4)])
    other = CartPole(gravity=1.62)
    torch.func.vmap(torch.func.grad(lambda s, a: other.step(s, a)[0].sum()))(states, actions)
    assert torch.autograd.gradcheck(lambda s: other.step(s, actions)[0], (states.requires_grad_(),))


def test_energy_grows_by_the_work_of_the_force(env, generator):
    """dE/dt = F v exactly, where the derivative is what Euler's step goes along."""
    states, actions = random_states(generator, 50), torch.randint(2, (50,), generator=generator)
    derivative = (env.step(states, actions)[0] - states) / env.time_step
    (slope,) = torch.autograd.grad(energy(env, states.requires_grad_()).sum(), states)
    power, states = (slope * derivative).sum(-1), states.detach()
    torch.testing.assert_close(power, (2.0 * actions - 1) * env.force * states[:, 1], rtol=1e-9, atol=1e-9)


def energy(env, state):
    """Of a cart and a uniform rod of length 2 l on it, J."""
    _, v, angle, spin = state.unbind(-1)
    mass, middle = env.pole_mass, env.half_length
    kinetic = (env.cart_mass + mass) * v**2 / 2 + mass * middle * v * spin * angle.cos() + 2 / 3 * mass * (middle * spin) ** 2
    return kinetic + mass * env.gravity * middle * angle.cos()


def test_a_state_that_is_not_a_number_stays_so_and_stays_alone(env):
    states = torch.zeros(3, 4)
    states[1] = torch.nan
    after, _, terminated = env.step(states, torch.ones(3, dtype=torch.int64))
    assert after.isnan().any(-1).tolist() == [False, True, False]
    assert not terminated.any()


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (torch.zeros(2, 3), "float32"),
        (torch.zeros(2, 4, dtype=torch.int64), r"\[2, 3\].*\[2, 4\]"),
        (torch.full((2, 3), 2), r"0 \.\. 1; these go from 2 to 2"),
    ],
)
def test_actions_that_do_not_fit_are_refused(env, action, told):
    env.validate_action(torch.ones(2, 3, dtype=torch.int64), (2, 3))
    with pytest.raises(ValueError, match=f"CartPole-v1 takes.*{told}"):
        env.validate_action(action, (2, 3))


def test_picture_shows_cart_and_pole(env):
    upright, leaning = (env.picture(torch.tensor([0.0, 0.0, angle, 0.0])) for angle in (0.0, 0.6))
    assert upright.shape == (200, 500, 3)
    assert upright.dtype == np.uint8
    np.testing.assert_array_equal(upright, env.picture(torch.zeros(2, 3, 4)))  # the first of many
    columns = [np.nonzero((np.array([230, 159, 0]) == image).all(-1))[1] for image in (upright, leaning)]
    assert columns[0].mean() == pytest.approx(249.5, abs=0.5)
    assert columns[1].mean() > 260  # a positive angle leans to the right
    assert (env.picture(torch.full((4,), torch.nan)) != upright).any()
