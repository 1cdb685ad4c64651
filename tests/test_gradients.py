import math

import pytest
import torch

from pgcourse import distributions, exact, gradients, policies
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

D = torch.float64


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("discount", [1.0, 0.9, 0.5])
def test_reinforce_is_unbiased(discount, causal):
    """z-test of every coordinate against the exact gradient over 4,000 batches of 8 episodes.

    The replica axis carries the batches: one policy, copied. False-alarm rate 1e-6 over all coordinates of the six cases:
    P(|z| > 6) = 2e-9 each, at most 6 * 18 of them, with room for the t-distribution and the skewness of the estimates.
    """
    mdp = tabular.random_mdp(4, 2, seed=1, time_limit=5)
    draws = 4000
    rng = Rng(range(draws), stream=int(discount * 10), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    with torch.no_grad():
        for parameter in policy.parameters():
            one = 0.7 * torch.randn(parameter.shape[1:], generator=torch.Generator().manual_seed(3), dtype=D)
            parameter.copy_(one.expand_as(parameter))
    estimates = gradients.score_function(policy, episodes(mdp, policy, rng, 8), discount, causal)
    truth = exact.policy_gradient(mdp, policy, discount)[0]
    accuracy = gradients.bias_and_variance(estimates, truth)
    assert accuracy.z.abs().max() < 6
    # the test can fail: dropping the discount's power is a bias it sees
    if discount < 1 and causal:
        assert truth.abs().max() > 20 * accuracy.standard_error.max()


def test_dropping_the_power_of_the_discount_is_biased_and_seen():
    mdp = tabular.random_mdp(4, 2, seed=1, time_limit=5)
    rng = Rng(range(4000), dtype=D)
    policy = policies.for_env(mdp, rng, hidden=())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    batch = episodes(mdp, policy, rng, 8)
    from pgcourse import returns

    log_probability = policy(batch.observation).log_prob(batch.action)
    weight = returns.to_go(batch.reward, 0.5, valid=batch.valid)
    estimates = gradients.per_replica(gradients.score_surrogate(log_probability, weight, batch.valid), policy)
    assert gradients.bias_and_variance(estimates, exact.policy_gradient(mdp, policy, 0.5)[0]).z.abs().max() > 8


def test_surrogate_by_hand():
    log_probability = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    weight = torch.tensor([[10.0, 20.0], [30.0, 40.0]], requires_grad=True)
    valid = torch.tensor([[True, True], [True, False]])
    surrogate = gradients.score_surrogate(log_probability, weight, valid)
    assert surrogate.item() == (1 * 10 + 3 * 30 + 2 * 20) / 2  # sum over time, mean over the two episodes
    surrogate.backward()
    assert log_probability.grad.tolist() == [[5.0, 10.0], [15.0, 0.0]]
    assert weight.grad is None


def test_padding_that_is_not_finite_does_not_reach_the_gradient():
    log_probability = torch.tensor([[1.0], [torch.inf]], requires_grad=True)
    valid = torch.tensor([[True], [False]])
    gradients.score_surrogate(log_probability, torch.ones(2, 1), valid).backward()
    assert log_probability.grad.tolist() == [[1.0], [0.0]]


def test_bias_and_variance_by_hand():
    accuracy = gradients.bias_and_variance(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([1.0, 0.0]))
    assert accuracy.bias.tolist() == [1.0, 0.0]
    assert accuracy.variance.tolist() == [2.0, 0.0]
    assert accuracy.standard_error.tolist() == [1.0, 0.0]
    assert accuracy.z.tolist() == [1.0, 0.0]


def test_one_estimate_has_no_variance():
    with pytest.raises(ValueError, match="at least 2"):
        gradients.bias_and_variance(torch.zeros(1, 3), torch.zeros(3))


# ----------------------------------------------------------------------------------------------------------------------
# One calling convention: finite differences, the AIBO scheme, the likelihood ratio of an Expectation


def smooth(theta, noise=None):
    """sin of each parameter, and one product."""
    return theta.sin().sum(-1) + theta[..., 0] * theta[..., 1]


def smooth_gradient(theta):
    return theta.cos() + torch.stack([theta[..., 1], theta[..., 0], torch.zeros_like(theta[..., 0])], -1)


THETA = torch.tensor([[0.3, -0.8, 1.1], [1.2, 0.4, -0.5]], dtype=D)


def test_differences_of_polynomials_in_closed_form():
    """Of x^2 forward differences are off by the step, central ones by nothing; of x^3 central ones by the step squared."""
    theta, step = torch.tensor([0.5, -1.0], dtype=D), 0.1
    square, cube = (lambda x, noise, k=k: (x**k).sum(-1) for k in (2, 3))
    torch.testing.assert_close(gradients.forward_differences(square, theta, None, step), 2 * theta + step)
    torch.testing.assert_close(gradients.central_differences(square, theta, None, step), 2 * theta)
    torch.testing.assert_close(gradients.central_differences(cube, theta, None, step), 3 * theta**2 + step**2)


def test_every_parameter_can_have_a_step_of_its_own():
    theta, step = torch.tensor([0.5, -1.0], dtype=D), torch.tensor([0.1, 0.2], dtype=D)
    found = gradients.forward_differences(lambda x, noise: (x**2).sum(-1), theta, None, step)
    torch.testing.assert_close(found, 2 * theta + step)


@pytest.mark.parametrize(("estimator", "order"), [(gradients.forward_differences, 1), (gradients.central_differences, 2)])
def test_the_order_of_the_error(estimator, order):
    """A step ten times smaller makes the error 10 or 100 times smaller."""
    error = [(estimator(smooth, THETA, None, step) - smooth_gradient(THETA)).abs().max() for step in (1e-2, 1e-3)]
    assert error[0] / error[1] == pytest.approx(10**order, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("estimator", "power"), [(gradients.forward_differences, 1 / 2), (gradients.central_differences, 1 / 3)]
)
def test_the_error_has_the_shape_of_a_v(estimator, power, dtype):
    """Least near a step of u^(1/2) or u^(1/3), u the unit round-off, and a hundred times larger far to either side."""
    theta = torch.linspace(0.2, 1.4, 200).double()[:, None].to(dtype)
    best = (torch.finfo(dtype).eps / 2) ** power

    def error(step):
        found = estimator(lambda x, noise: x.sin().sum(-1), theta, None, step)
        return (found.double() - theta.double().cos()).square().mean().sqrt()

    least = min(error(factor * best) for factor in (0.3, 1.0, 3.0, 10.0))
    assert least < 20 * (torch.finfo(dtype).eps / 2) ** (1 - power)
    assert error(best * 1e3) > 100 * least
    assert error(best * 1e-3) > 100 * least


def noisy(theta, noise):
    """A quadratic; the noise tilts it, and adds to it."""
    return -(theta - 0.3 * noise[..., :2]).square().sum(-1) + noise[..., 2]


def test_common_random_numbers_take_the_noise_away():
    """Closed forms of the variance of a central difference, with step h: 4 * 0.09 / N with common noise, and with noise of its
    own at every point (variance v of one evaluation) v / (2 h^2 N), v = 1 + 0.36 |theta|^2 + 0.0324 + O(h^2).

    The ratio of a sample variance of 4,000 nearly normal draws to its expectation has a standard deviation of 0.022; 0.15 is
    6.7 of them, P(fails) < 1e-9 for each of the four, below 1e-8 in all; with room for the excess kurtosis.
    """
    draws, N, h = 4000, 3, 0.1
    theta = torch.tensor([0.5, -0.2], dtype=D).expand(draws, 2)
    rng = Rng(range(draws), dtype=D)
    common = gradients.central_differences(noisy, theta, rng.normal(1, N, 3), h)
    own = gradients.central_differences(noisy, theta, rng.normal(4, N, 3), h)
    v = 1 + 0.36 * 0.29 + 2 * 2 * 0.3**4 + 0.36 * h**2
    torch.testing.assert_close(common.var(0), torch.full((2,), 4 * 0.09 / N, dtype=D), rtol=0.15, atol=0)
    torch.testing.assert_close(own.var(0), torch.full((2,), v / (2 * h**2 * N), dtype=D), rtol=0.15, atol=0)
    assert (own.var(0) > 100 * common.var(0)).all()


def test_group_difference_by_hand():
    signs = torch.tensor([[1.0, 1.0, -1.0], [1.0, 0.0, -1.0], [0.0, -1.0, -1.0], [-1.0, 0.0, -1.0]], dtype=D)
    value = torch.tensor([5.0, 3.0, 2.0, 4.0], dtype=D)
    # first: plus 4, zero 2, minus 4: 0. second: plus 5, zero 3.5, minus 2: 3. third: plus empty: 0.
    assert gradients.group_difference(value, signs).tolist() == [0.0, 3.0, 0.0]
    # the middle group is the best: rest
    assert gradients.group_difference(torch.tensor([1.0, 9.0, 2.0, 9.0], dtype=D), signs)[1] == 0


def test_groups_without_a_middle_are_compared_all_the_same():
    signs = torch.tensor([[1.0], [-1.0]], dtype=D)
    assert gradients.group_difference(torch.tensor([3.0, 1.0], dtype=D), signs).tolist() == [2.0]


def test_random_signs_are_fair():
    """30,000 draws of a third each: the count's standard deviation is 82, and 500 is 6 of them: fails once in 2e-8."""
    signs = gradients.random_signs(Rng(0, dtype=D).uniform(30_000, 1))
    for sign in (-1, 0, 1):
        assert (signs == sign).sum() == pytest.approx(10_000, abs=500)


def test_plus_zero_minus_points_uphill():
    """On a slope the parameters' groups differ by 2 step slope on average: unbiased where no middle group wins."""
    slope = torch.tensor([3.0, -2.0], dtype=D)
    signs = gradients.random_signs(Rng(range(500), dtype=D).uniform(60, 2))
    found = gradients.plus_zero_minus(lambda x, noise: x @ slope, torch.zeros(500, 2, dtype=D), None, signs, 0.5)
    accuracy = gradients.bias_and_variance(found, slope)
    assert accuracy.z.abs().max() < 6


def a_game():
    """E[value(x)] of a Gaussian with mean theta: its gradient is known."""
    law = lambda theta: distributions.Normal(theta, torch.full_like(theta, math.log(0.5)))  # noqa: E731
    return gradients.Expectation(law, lambda x: -(x - 1).square().sum(-1))


ESTIMATORS = {
    "forward": (lambda f, theta, noise: gradients.forward_differences(f, theta, noise, 1e-4), 1e-4),
    "central": (lambda f, theta, noise: gradients.central_differences(f, theta, noise, 0.1), 0.0),
    "likelihood ratio": (gradients.likelihood_ratio, 0.0),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("leading", [(600,), (20, 30)])
def test_any_estimator_can_stand_in_for_any_other(name, leading):
    """Same objective, same arguments, same shapes, same gradient 2 (1 - theta): z-test, |z| < 6 in four coordinates each."""
    estimator, bias = ESTIMATORS[name]
    theta = torch.tensor([0.2, 1.5], dtype=D).expand(*leading, 2)
    noise = Rng(range(600), dtype=D).normal(1, 16, 2).reshape(*leading, 1, 16, 2)
    found = estimator(a_game(), theta, noise)
    assert found.shape == theta.shape
    accuracy = gradients.bias_and_variance(found.reshape(-1, 2) + bias, 2 * (1 - theta.reshape(-1, 2)[0]))
    assert accuracy.z.abs().max() < 6


def test_replicas_do_not_touch_each_other():
    noise = Rng(range(4), dtype=D).normal(1, 5, 2)
    theta = Rng(range(4), stream=1, dtype=D).normal(2)
    for estimator, _ in ESTIMATORS.values():
        alone = torch.stack([estimator(a_game(), theta[r], noise[r]) for r in range(4)])
        torch.testing.assert_close(estimator(a_game(), theta, noise), alone)


def test_errors_of_the_calling_convention():
    with pytest.raises(TypeError, match="central_differences need nothing but a function"):
        gradients.likelihood_ratio(smooth, THETA, None)
    with pytest.raises(ValueError, match=r"returned shape \[\]"):
        gradients.forward_differences(lambda x, noise: x.sum(), THETA, None)
    with pytest.raises(ValueError, match="every step must be > 0"):
        gradients.central_differences(smooth, THETA, None, 0.0)
