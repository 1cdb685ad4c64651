"""Pathwise and measure-valued estimators: unbiased against exact gradients, as noisy as their closed forms say."""

import math
from dataclasses import dataclass

import pytest
import torch

from pgcourse import distributions, exact, gradients
from pgcourse.envs import cartpole, lqr
from pgcourse.envs.double_pendulum import DoublePendulum
from pgcourse.gradients import Expectation, Unrolled
from pgcourse.rng import Rng

D = torch.float64
Z = 6.0
"""Bound on |bias / standard error|. P(|z| > 6) = 2e-9 for each of at most 200 coordinates in this file: false-alarm rate below
1e-6, with room for estimates that are not quite normal."""

MU, SIGMA = 0.8, 1.3


def matrix(theta):
    """A lower-triangular 2 x 2 factor from three numbers, its diagonal positive."""
    a, b, c = theta.unbind(-1)
    return torch.stack([torch.stack([a.exp(), 0 * a], -1), torch.stack([b, c.exp()], -1)], -2)


def smooth(x):
    return (x[..., 0] - 0.5 * x[..., 1]).square() + (x[..., 0] + x[..., 1]).sin()


def diagonal(theta):
    """mean and log sigma, two coordinates each."""
    return distributions.Normal(theta[..., :2], theta[..., 2:])


def correlated(theta):
    return distributions.MultivariateNormal(theta[..., :2], matrix(theta[..., 2:]))


def shared(theta):
    """One number for both coordinates, and in the scale as well."""
    return distributions.Normal(torch.cat([theta, theta.sin()], -1), torch.cat([theta / 2, 0 * theta], -1))


def coins(theta):
    return distributions.Bernoulli(theta)


def choice(theta):
    return distributions.Categorical(theta)


def pays(x):
    return (x @ torch.tensor([1.0, -2.0, 0.5], dtype=x.dtype)).square() + x[..., 0] * x[..., 2]


def prize(outcome):
    return torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=D)[outcome]


GAUSSIANS = {
    "diagonal": (Expectation(diagonal, smooth), [0.3, -0.4, -0.2, 0.3], 2),
    "correlated": (Expectation(correlated, smooth), [0.3, -0.4, -0.2, 0.7, 0.3], 2),
    "shared": (Expectation(shared, smooth), [0.6], 2),
}
DISCRETE = {
    "coins": (Expectation(coins, pays), [0.4, -1.0, 0.2], 3),
    "choice": (Expectation(choice, prize), [1.0, 0.5, 0.0, -1.0], None),
}


def noise_for(law, estimator, draws, evaluations=1, seed=0):
    """What an estimator needs for ``draws`` estimates from one sample each."""
    rng = Rng(seed, dtype=D)
    if isinstance(law, distributions.Categorical):
        return rng.uniform(draws, evaluations, 1)[0]
    if isinstance(law, distributions.Bernoulli):
        return rng.uniform(draws, evaluations, 1, law.logits.shape[-1])[0]
    last = (3,) if estimator is gradients.measure_valued else ()
    return rng.normal(draws, evaluations, 1, law.mean.shape[-1], *last)[0]


def measured(estimator, objective, theta, draws, evaluations=1):
    theta = torch.tensor(theta, dtype=D)
    noise = noise_for(objective.law(theta), estimator, draws, evaluations)
    estimates = estimator(objective, theta.expand(draws, -1), noise)
    return gradients.bias_and_variance(estimates, exact.expectation_gradient(objective, theta, order=40))


@pytest.mark.parametrize("estimator", [gradients.pathwise, gradients.likelihood_ratio])
@pytest.mark.parametrize("name", GAUSSIANS)
def test_unbiased_under_gaussians(name, estimator):
    objective, theta, _ = GAUSSIANS[name]
    accuracy = measured(estimator, objective, theta, 40_000)
    assert accuracy.z.abs().max() < Z
    assert (accuracy.standard_error > 0).all()


@pytest.mark.parametrize("evaluations", [1, 2], ids=["same noise", "own noise"])
@pytest.mark.parametrize("name", ["diagonal", "shared", "coins", "choice"])
def test_measure_valued_is_unbiased(name, evaluations):
    objective, theta, _ = (GAUSSIANS | DISCRETE)[name]
    accuracy = measured(gradients.measure_valued, objective, theta, 40_000, evaluations)
    assert accuracy.z.abs().max() < Z


def test_measure_valued_is_unbiased_where_the_value_jumps_and_pathwise_is_not():
    """value = x^2 + 3 [x > 1]: the jump contributes 3 p(1), which the pathwise estimate lacks and does not miss."""
    objective = Expectation(
        lambda theta: distributions.Normal(theta, 0 * theta), lambda x: x[..., 0] ** 2 + 3 * (x[..., 0] > 1)
    )
    theta = torch.tensor([0.5], dtype=D)
    truth = exact.expectation_gradient(objective, theta, breaks=[1.0])
    jump = 3 * distributions.Normal(theta, 0 * theta).log_prob(torch.ones(1, dtype=D)).exp()
    torch.testing.assert_close(truth, 2 * theta + jump, rtol=1e-10, atol=0)
    draws = 40_000
    for estimator, bias in ((gradients.measure_valued, 0.0), (gradients.likelihood_ratio, 0.0), (gradients.pathwise, -jump)):
        noise = noise_for(objective.law(theta), estimator, draws)
        accuracy = gradients.bias_and_variance(estimator(objective, theta.expand(draws, 1), noise), truth + bias)
        assert accuracy.z.abs().max() < Z, estimator.__name__
    assert jump > 30 * accuracy.standard_error  # the test can fail


SQUARE = Expectation(lambda theta: distributions.Normal(theta[..., :1], theta[..., 1:].log()), lambda x: x[..., 0] ** 2)
WEIBULL = 2 - math.pi / 2
"""The variance of W."""
VARIANCES = {
    # of one sample's estimate of (d/d mu, d/d sigma) of E[x^2], x ~ N(mu, sigma^2); derived by the moments of z and W
    "pathwise": (gradients.pathwise, 1, 4 * SIGMA**2, 4 * MU**2 + 8 * SIGMA**2),
    "score": (
        gradients.likelihood_ratio,
        1,
        (MU**4 + 14 * MU**2 * SIGMA**2 + 15 * SIGMA**4) / SIGMA**2,
        (2 * MU**4 + 60 * MU**2 * SIGMA**2 + 74 * SIGMA**4) / SIGMA**2,
    ),
    "own noise": (
        gradients.measure_valued,
        2,
        4 * (MU**2 * WEIBULL + SIGMA**2) / math.pi,
        (16 * MU**2 * SIGMA**2 + 8 * SIGMA**4) / SIGMA**2,
    ),
    "same noise": (
        gradients.measure_valued,
        1,
        8 * MU**2 * WEIBULL / math.pi,
        4 * MU**2 + 4 * SIGMA**2,
    ),
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variances_are_the_closed_forms(name):
    """z-test of the measured variance over 400,000 draws, its standard error measured with it (tails are heavy)."""
    estimator, evaluations, *closed = VARIANCES[name]
    theta, draws = torch.tensor([MU, SIGMA], dtype=D), 400_000
    noise = noise_for(SQUARE.law(theta), estimator, draws, evaluations)
    estimates = estimator(SQUARE, theta.expand(draws, -1), noise)
    squares = (estimates - 2 * theta).square()
    for square, variance in zip(squares.T, closed, strict=True):
        error = square.std() / draws**0.5
        assert abs(square.mean() - variance) < Z * error
        assert error < 0.05 * variance  # the test can fail: the forms differ by far more


def test_the_gradient_of_the_square_is_exact_by_quadrature():
    found = exact.expectation_gradient(SQUARE, torch.tensor([MU, SIGMA], dtype=D), order=3)
    torch.testing.assert_close(found, torch.tensor([2 * MU, 2 * SIGMA], dtype=D))


def test_one_coin_needs_no_noise():
    """With one coin both parts are certain: the estimate is exact, its variance zero."""
    theta = torch.tensor([0.7], dtype=D)
    toy = Expectation(coins, lambda b: (b[..., 0] - 0.499) ** 2 + 3 * b[..., 0] + 1)
    accuracy = measured(gradients.measure_valued, toy, [0.7], 100)
    p = theta.sigmoid().item()
    assert accuracy.variance.item() < 1e-24
    torch.testing.assert_close(exact.expectation_gradient(toy, theta).item(), p * (1 - p) * (0.501**2 - 0.499**2 + 3))
    assert abs(accuracy.bias.item()) < 1e-12


def test_every_estimator_stands_in_for_every_other():
    """One call, one noise, leading axes: [*R, P] comes back, replica by replica as alone."""
    objective, theta, size = GAUSSIANS["diagonal"]
    theta = torch.tensor(theta, dtype=D) + 0.1 * Rng(1, dtype=D).normal(3, 2, 4)[0]
    noise = Rng(0, dtype=D).normal(3, 2, 1, 50, size)[0]
    for estimator in (gradients.pathwise, gradients.likelihood_ratio, gradients.central_differences):
        whole = estimator(objective, theta, noise)
        assert whole.shape == theta.shape
        assert not whole.requires_grad
        torch.testing.assert_close(whole[2, 1], estimator(objective, theta[2, 1], noise[2, 1]))
    noise = Rng(0, dtype=D).normal(3, 2, 2, 50, size, 3)[0]
    whole = gradients.measure_valued(objective, theta, noise)
    torch.testing.assert_close(whole[2, 1], gradients.measure_valued(objective, theta[2, 1], noise[2, 1]))


def test_pathwise_is_what_central_differences_with_common_noise_tend_to():
    objective, theta, size = GAUSSIANS["correlated"]
    theta, noise = torch.tensor(theta, dtype=D), Rng(0, dtype=D).normal(1, 7, size)[0]
    by_differences = gradients.central_differences(objective, theta, noise, step=1e-5)
    torch.testing.assert_close(
        by_differences, gradients.central_differences(objective, theta, noise, step=1e-4), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(gradients.pathwise(objective, theta, noise), by_differences, rtol=1e-8, atol=1e-9)


# What cannot be served


@pytest.mark.parametrize("name", DISCRETE)
def test_pathwise_through_something_discrete_names_what_can(name):
    objective, theta, _ = DISCRETE[name]
    with pytest.raises(
        TypeError, match=r"pathwise cannot serve a \w+: its samples jump.*likelihood_ratio and measure_valued can"
    ):
        measured(gradients.pathwise, objective, theta, 3)


def test_measure_valued_of_a_correlated_gaussian_names_what_can():
    objective, theta, _ = GAUSSIANS["correlated"]
    with pytest.raises(TypeError, match=r"measure_valued cannot serve a MultivariateNormal.*likelihood_ratio and pathwise can"):
        measured(gradients.measure_valued, objective, theta, 3)


def test_the_score_of_something_certain_names_what_can():
    objective = Expectation(distributions.Deterministic, lambda x: x.sum(-1))
    with pytest.raises(TypeError, match=r"likelihood_ratio cannot serve a Deterministic.*pathwise can"):
        gradients.likelihood_ratio(objective, torch.zeros(2), torch.zeros(1, 1))
    assert gradients.pathwise(objective, torch.zeros(2), torch.zeros(1, 1)).tolist() == [1.0, 1.0]


def test_measure_valued_of_a_plain_function_is_refused():
    with pytest.raises(TypeError, match="needs the law of what is drawn"):
        gradients.measure_valued(lambda theta, noise: theta.sum(-1), torch.zeros(2), torch.zeros(1, 1, 2, 3))


@pytest.mark.parametrize(
    "objective",
    [
        Expectation(diagonal, lambda x: (x[..., 0] > 0).double()),
        lambda theta, noise: (theta[..., :2].detach() + noise).sum(-1),
    ],
    ids=["a step", "detached"],
)
def test_a_gradient_that_reaches_nothing_is_an_error(objective):
    with pytest.raises(ValueError, match="no gradient reaches theta"):
        gradients.pathwise(objective, torch.zeros(4, dtype=D), torch.zeros(1, 5, 2, dtype=D))


def test_an_objective_of_the_wrong_shape_is_an_error():
    with pytest.raises(ValueError, match="a number for each evaluation"):
        gradients.pathwise(lambda theta, noise: theta.sum(), torch.zeros(2), torch.zeros(1, 5))


def test_noise_of_the_wrong_kind_and_no_samples_are_errors():
    objective, theta, size = GAUSSIANS["diagonal"]
    theta = torch.tensor(theta, dtype=D)
    with pytest.raises(ValueError, match=r"for a Normal of 2 coordinates it must be \[\*R, K, N, 2, 3\]"):
        gradients.measure_valued(objective, theta, torch.zeros(1, 5, size, dtype=D))
    for estimator, last in ((gradients.pathwise, ()), (gradients.likelihood_ratio, ()), (gradients.measure_valued, (3,))):
        with pytest.raises(ValueError, match="there are no samples"):
            estimator(objective, theta, torch.zeros(1, 0, size, *last, dtype=D))


# Known dynamics

GAIN, STD = [1.0, 1.2], 0.3


def linear(theta, observation):
    return distributions.Normal(
        -(theta * observation).sum(-1, keepdim=True), torch.full_like(observation[..., :1], math.log(STD))
    )


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("estimator", [gradients.pathwise, gradients.likelihood_ratio])
def test_unrolled_gradients_are_unbiased_on_an_lqr(estimator, discount):
    env, draws = lqr.double_integrator(12), 6000
    objective = Unrolled(env, linear, 12, discount)
    gain = torch.tensor([GAIN], dtype=D, requires_grad=True)
    (truth,) = torch.autograd.grad(exact.linear_return(env, gain, std=torch.tensor([STD], dtype=D), discount=discount), gain)
    noise = objective.draw(Rng(range(draws), dtype=D), 1, 1)
    estimates = estimator(objective, torch.tensor(GAIN, dtype=D).expand(draws, 2), noise)
    assert gradients.bias_and_variance(estimates, truth[0]).z.abs().max() < Z


def test_unrolled_agrees_with_differences_and_with_a_loop():
    env, rng = DoublePendulum(), Rng(3, dtype=D)
    objective = Unrolled(env, lambda theta, o: distributions.Deterministic((theta * o[..., 4:]).sum(-1, keepdim=True)), 10, 0.9)
    noise, theta = objective.draw(rng, 1, 4), torch.tensor([[0.3, -0.5]], dtype=D)
    by_differences = gradients.central_differences(objective, theta, noise, step=1e-5)
    torch.testing.assert_close(gradients.pathwise(objective, theta, noise), by_differences, rtol=1e-7, atol=1e-8)
    state, total = env.initial(noise[0][0, 0]), 0.0
    for t in range(10):
        state, reward, _ = env.step(state, (theta * env.observe(state)[:, 4:]).sum(-1, keepdim=True))
        total = total + 0.9**t * reward
    torch.testing.assert_close(objective(theta[:, None], noise)[0, 0], total)


def test_the_gradient_vanishes_at_riccati_s_gains():
    """One gain for each step, [T n]: the optimum is Riccati's, so the expected pathwise gradient is zero in all 2 T numbers."""
    steps, draws = 8, 4000
    env = lqr.double_integrator(steps)
    best = exact.riccati(env).gain[:, 0]  # [T, n]
    clock = iter(())

    def timed(theta, observation):
        gain = theta.unflatten(-1, (steps, 2))[..., next(clock), :]
        return distributions.Deterministic(-(gain * observation).sum(-1, keepdim=True))

    objective = Unrolled(env, timed, steps)
    noise = objective.draw(Rng(range(draws), dtype=D), 1, 1)
    for shift in (0.0, 0.2):
        clock = iter(range(steps))
        estimates = gradients.pathwise(objective, (best + shift).flatten().expand(draws, -1), noise)
        accuracy = gradients.bias_and_variance(estimates, torch.zeros(2 * steps, dtype=D))
        # the last gain has no effect on anything but its own cost: at zero it costs nothing, in any draw
        assert (accuracy.z.abs().max() < Z) == (shift == 0.0)


@dataclass(frozen=True)
class Cliff(DoublePendulum):
    """Ends at once."""

    def step(self, state, action, noise=None):
        state, reward, terminated = super().step(state, action)
        return state, reward, ~terminated


def test_unrolled_refuses_choices_and_episodes_that_end():
    with pytest.raises(TypeError, match=r"CartPole-v1 takes choices.*score_function serves both"):
        Unrolled(cartpole.CartPole(), lambda theta, o: distributions.Categorical(o[..., :2]), 5)
    cliff = Unrolled(Cliff(), lambda theta, o: distributions.Normal(theta, 0 * theta), 5)
    with pytest.raises(ValueError, match="terminated at step 0"):
        cliff(torch.zeros(1, dtype=D), cliff.draw(Rng(0, dtype=D), 1))


def test_pathwise_explodes_with_the_horizon_where_the_pendulum_is_chaotic():
    """Released high, 1 s to 6 s: over a thousandfold; swinging low: about as the sum it is, below a hundredfold."""
    growth = {}
    for name, angle in (("high", math.pi / 2), ("low", math.pi - 0.3)):
        env, spread = DoublePendulum(start=(angle, angle)), []
        for steps in (20, 120):
            torque = Unrolled(env, lambda theta, o: distributions.Normal(theta, 0 * theta), steps)
            noise = torque.draw(Rng(range(32), dtype=D), 1, 1)
            spread.append(gradients.pathwise(torque, torch.zeros(32, 1, dtype=D), noise).std())
        growth[name] = (spread[1] / spread[0]).item()
    assert growth["high"] > 1000
    assert growth["low"] < 100
