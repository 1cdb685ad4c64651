"""The two tasks of Duan et al. (2016) that are written out: what a random policy earns, derivatives, shapes and formats."""

import pytest
import torch

from pgcourse import envs

D = torch.float64
WITHIN = {"cartpole-swing-up": (4.0, 4, 10, 8), "double-inverted-pendulum": (0.5, 6, 6, 3, 8, 8)}
"""States to look at lie between minus and plus these."""
both = pytest.mark.parametrize("name", WITHIN)


def random_states(name, count):
    uniform = torch.rand(count, len(WITHIN[name]), generator=torch.Generator().manual_seed(0), dtype=D)
    return (2 * uniform - 1) * torch.tensor(WITHIN[name], dtype=D)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        # -145 here; -151.3 +- 0.6 recreated in Box2D, -153.4 in the paper's table. Box2D's first state is another: its
        # solver pulls the pole, set down at rest in the origin, onto the cart. With the speeds which that gives, it is
        # -147 here.
        ("cartpole-swing-up", (pytest.approx(-145, abs=3), pytest.approx(-151.3, abs=10))),
        # The paper's table has 149.7; recreated in MuJoCo it is 147.1 +- 2.2.
        ("double-inverted-pendulum", (pytest.approx(147.1, abs=8),)),
    ],
)
def test_a_random_policy_scores_about_as_in_the_paper(name, scores):
    """Clipped standard normal actions. The mean of 4,000 episodes has a standard error of 0.6, and below 1."""
    env, generator = envs.make(name), torch.Generator().manual_seed(0)
    state = env.initial(torch.rand(4000, *env.spec.initial_noise.shape, generator=generator, dtype=D))
    total, alive = torch.zeros(4000, dtype=D), torch.ones(4000, dtype=torch.bool)
    for _ in range(500):
        state, reward, terminated = env.step(state, torch.randn(4000, 1, generator=generator, dtype=D))
        total += reward * alive
        alive &= ~terminated
        if not alive.any():
            break
        state = torch.where(alive[:, None], state, 0.0)
    for score in scores:
        assert total.mean() == score


@both
def test_derivatives_against_finite_differences(name):
    env, state = envs.make(name), random_states(name, 10).requires_grad_()
    action = torch.linspace(-0.9, 0.9, 10, dtype=D)[:, None].requires_grad_()
    assert torch.autograd.gradcheck(lambda s, a: env.step(s, a)[:2], (state, action))


@pytest.mark.parametrize(("name", "rounding"), [("cartpole-swing-up", 1e-4), ("double-inverted-pendulum", 1e-3)])
def test_any_leading_axes_and_float32(name, rounding):
    env, states = envs.make(name), random_states(name, 30).unflatten(0, (2, 3, 5))
    actions = torch.linspace(-2, 2, 30, dtype=D).reshape(2, 3, 5, 1)
    after, reward, terminated = env.step(states, actions)
    assert (after.shape, reward.shape, terminated.shape) == (states.shape, (2, 3, 5), (2, 3, 5))
    assert env.observe(after).shape == (2, 3, 5, env.spec.observation.size)
    torch.testing.assert_close(after[1, 2, 4], env.step(states[1, 2, 4], actions[1, 2, 4])[0])
    after32, reward32, _ = env.step(states.float(), actions.float())
    assert after32.dtype == reward32.dtype == torch.float32
    torch.testing.assert_close(after32.double(), after, rtol=1e-4, atol=rounding)
