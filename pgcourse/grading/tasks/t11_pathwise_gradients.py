"""Tasks of lecture 11: pathwise gradients."""

import math
import statistics

import torch

from ..task import EXACT_BUDGET, Exact, Gradient, Mistake, Task, cases, normal, readable, uniform

# ----------------------------------------------------------------------------------------------------------------------
# 11.reparameterized_sample


def reparameterized_sample(mean, log_scale, noise):
    """N samples of independent Gaussians from noise, and how they move when log_scale does, by (11.3).

    mean, log_scale: [D], log_scale the logarithm of the standard deviation. noise: [N, D], standard normal.
    Returns two tensors [N, D]: the samples x, and the derivative of each by its log_scale.
    """
    spread = log_scale.exp() * noise
    return mean + spread, spread


def _reparameterized_sample_by_autograd(mean, log_scale, noise):
    log_scale = log_scale.expand_as(noise).clone().requires_grad_()
    x = mean + torch.exp(log_scale) * noise
    (slope,) = torch.autograd.grad(x.sum(), log_scale)
    return x.detach(), slope


def _reparameterized_sample_in_a_loop(mean, log_scale, noise):
    x, slope = torch.zeros_like(noise), torch.zeros_like(noise)
    for n in range(len(noise)):
        for d in range(len(mean)):
            slope[n, d] = math.exp(log_scale[d]) * noise[n, d]
            x[n, d] = mean[d] + slope[n, d]
    return x, slope


def _reparameterized_sample_oracle(mean, log_scale, noise):
    """Each number alone; the derivative from x - mean, which it equals."""
    rows = [
        [m + math.exp(s) * z for m, s, z in zip(mean.tolist(), log_scale.tolist(), row, strict=True)] for row in noise.tolist()
    ]
    x = torch.tensor(rows, dtype=noise.dtype)
    return x, torch.stack([row - mean for row in x])


def _reparameterized_sample_cases(generator):
    inputs = [
        (readable(normal(generator, d)), readable(uniform(generator, -1, 1, d)), readable(normal(generator, n, d)))
        for n, d in ((2, 1), (3, 2))
    ]
    inputs += [(normal(generator, d), uniform(generator, -1.5, 1, d), normal(generator, n, d)) for n, d in ((5, 3), (2, 6))]
    return cases(_reparameterized_sample_oracle, inputs)


REPARAMETERIZED_SAMPLE = Task(
    id="11.reparameterized_sample",
    title="A sample that knows its parameters",
    signature="reparameterized_sample(mean [D], log_scale [D], noise [N, D]) -> x [N, D], slope [N, D]",
    reference=reparameterized_sample,
    stages=(Exact(1, _reparameterized_sample_cases),),
    alternatives=(_reparameterized_sample_by_autograd, _reparameterized_sample_in_a_loop),
    mistakes=(
        Mistake(
            "log scale for scale",
            lambda mean, log_scale, noise: (mean + log_scale * noise, noise.clone()),
            "You multiply the noise by log_scale itself; the standard deviation is exp(log_scale).",
        ),
        Mistake(
            "log scale for scale in the sample",
            lambda mean, log_scale, noise: (mean + log_scale * noise, log_scale.exp() * noise),
            "Your samples are spread by log_scale itself; the standard deviation is exp(log_scale). (Your slope is right.)",
        ),
        Mistake(
            "variance for scale",
            lambda mean, log_scale, noise: (mean + (2 * log_scale).exp() * noise, 2 * (2 * log_scale).exp() * noise),
            "You multiply the noise by the variance; it is the standard deviation that stretches it.",
        ),
        Mistake(
            "scale taken for the variance",
            lambda mean, log_scale, noise: (mean + (log_scale / 2).exp() * noise, (log_scale / 2).exp() * noise / 2),
            "You take exp(log_scale) for the variance; it is the standard deviation already.",
        ),
        Mistake(
            "mean forgotten",
            lambda mean, log_scale, noise: (log_scale.exp() * noise, log_scale.exp() * noise),
            "Your samples lie around zero: the mean is missing.",
        ),
        Mistake(
            "mean scaled, too",
            lambda mean, log_scale, noise: ((mean + noise) * log_scale.exp(), (mean + noise) * log_scale.exp()),
            "You stretch the mean as well; only the noise is multiplied by the scale.",
        ),
        Mistake(
            "slope by scale",
            lambda mean, log_scale, noise: (mean + log_scale.exp() * noise, noise.clone()),
            "Your slope is the derivative by the scale; by its logarithm it is that times the scale.",
        ),
        Mistake(
            "slope without the noise",
            lambda mean, log_scale, noise: (mean + log_scale.exp() * noise, log_scale.exp().expand_as(noise)),
            "Your slope misses the noise: a sample two scales out moves twice as far as one that is one scale out.",
        ),
        Mistake(
            "slope is the sample",
            lambda mean, log_scale, noise: (mean + log_scale.exp() * noise, mean + log_scale.exp() * noise),
            "Your slope contains the mean, which does not move when log_scale does.",
        ),
        Mistake(
            "one noise for all samples",
            lambda mean, log_scale, noise: reparameterized_sample(mean, log_scale, noise[:1].expand_as(noise)),
            "All your samples are the same: each of the N has a row of noise of its own.",
        ),
        Mistake(
            "minus the noise",
            lambda mean, log_scale, noise: (mean - log_scale.exp() * noise, -log_scale.exp() * noise),
            "You subtract the noise. The distribution is the same, but the samples asked for are mean + scale * noise.",
        ),
    ),
    hints=(
        "(11.3): x = mean + scale * noise, and the scale is exp(log_scale).",
        "Hold the noise fixed and differentiate by log_scale. The derivative of exp(u) is exp(u).",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 11.correlated_sample


def correlated_sample(mean, covariance, noise):
    """N samples of a Gaussian with a full covariance matrix, from noise, by (11.6): x = mean + L z with covariance = L L^T.

    mean: [D]. covariance: [D, D], symmetric and positive definite. noise: [N, D], standard normal, one row z for each sample.
    Returns [N, D]. L is the lower-triangular Cholesky factor with a positive diagonal.
    """
    L = torch.linalg.cholesky(covariance)
    return mean + noise @ L.T


def _correlated_sample_row_by_row(mean, covariance, noise):
    factor = torch.linalg.cholesky(covariance)
    return torch.stack([mean + factor @ z for z in noise])


def _correlated_sample_by_einsum(mean, covariance, noise):
    return mean + torch.einsum("ij,nj->ni", torch.linalg.cholesky(covariance), noise)


def _correlated_sample_oracle(mean, covariance, noise):
    """Cholesky's algorithm with Python's numbers, then each sample's sum."""
    a, size = covariance.tolist(), len(mean)
    L = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = a[i][j] - math.fsum(L[i][k] * L[j][k] for k in range(j))
            L[i][j] = math.sqrt(rest) if i == j else rest / L[j][j]
    rows = [[m + math.fsum(L[i][j] * z[j] for j in range(size)) for i, m in enumerate(mean.tolist())] for z in noise.tolist()]
    return torch.tensor(rows, dtype=mean.dtype)


def _correlated_sample_cases(generator):
    inputs = []
    for n, d in ((1, 2), (3, 2), (4, 3), (2, 5)):
        root = readable(normal(generator, d, d)).tril(-1) + readable(uniform(generator, 0.5, 1.5, d)).diag()
        inputs.append((readable(normal(generator, d)), root @ root.T, readable(normal(generator, n, d))))
    return cases(_correlated_sample_oracle, inputs)


def _symmetric_root(covariance):
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.sqrt() @ vectors.T


CORRELATED_SAMPLE = Task(
    id="11.correlated_sample",
    title="Samples that go together",
    signature="correlated_sample(mean [D], covariance [D, D], noise [N, D]) -> x [N, D]",
    reference=correlated_sample,
    stages=(Exact(2, _correlated_sample_cases),),
    alternatives=(_correlated_sample_row_by_row, _correlated_sample_by_einsum),
    mistakes=(
        Mistake(
            "factor not transposed",
            lambda mean, covariance, noise: mean + noise @ torch.linalg.cholesky(covariance),
            "Your samples have the covariance L^T L, not L L^T: noise holds one z in each row, so L z for all rows is "
            "noise @ L.T.",
        ),
        Mistake(
            "covariance for its factor",
            lambda mean, covariance, noise: mean + noise @ covariance,
            "You multiply by the covariance itself, so that the samples' covariance is its square; a factor L with L L^T = "
            "covariance is needed.",
        ),
        Mistake(
            "variances only",
            lambda mean, covariance, noise: mean + noise * covariance.diagonal().sqrt(),
            "You use the diagonal alone: each coordinate has the right scale, but they do not go together.",
        ),
        Mistake(
            "root of each entry",
            lambda mean, covariance, noise: mean + noise @ (covariance.abs().sqrt() * covariance.sign()).T,
            "You take the square root of each entry; what is needed is a matrix L with L L^T = covariance.",
        ),
        Mistake(
            "another root",
            lambda mean, covariance, noise: mean + noise @ _symmetric_root(covariance),
            "You use the symmetric square root of the covariance. Its samples have the right distribution, but asked for are "
            "those of the Cholesky factor, which is triangular.",
        ),
        Mistake(
            "mean forgotten",
            lambda mean, covariance, noise: noise @ torch.linalg.cholesky(covariance).T,
            "Your samples lie around zero: the mean is missing.",
        ),
        Mistake(
            "factor inverted",
            lambda mean, covariance, noise: mean + torch.linalg.solve(torch.linalg.cholesky(covariance), noise.T).T,
            "You divide by L, which turns samples into noise; here noise is turned into samples.",
        ),
        Mistake(
            "diagonal of the factor",
            lambda mean, covariance, noise: mean + noise @ torch.linalg.cholesky(covariance).diagonal().diag(),
            "You use the diagonal of L alone: the entries below it are what makes the coordinates go together.",
        ),
    ),
    hints=(
        "torch.linalg.cholesky(covariance) is L.",
        "For one sample: mean + L @ z. What does noise, with a z in each row, have to be multiplied with, and from which side?",
        "(L z)^T = z^T L^T.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.distributions.MultivariateNormal",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 11.pathwise_estimate


def pathwise_estimate(slope, noise, scale):
    """Pathwise estimate of the gradient of E[f(x)], x = mean + scale * noise, from N samples, by (11.4) and (11.5).

    slope: [N, D], the gradient of f by x at each sample. noise: [N, D], what the samples were made of. scale: [D], > 0.
    Returns two tensors [D]: the estimated gradient with respect to mean, and with respect to log scale.
    """
    return slope.mean(0), (slope * noise).mean(0) * scale


def _pathwise_estimate_as_products(slope, noise, scale):
    ones = torch.ones(len(slope), dtype=slope.dtype) / len(slope)
    return ones @ slope, ones @ (slope * (scale * noise))


def _pathwise_estimate_by_autograd(slope, noise, scale):
    mean, log_scale = torch.zeros_like(scale).requires_grad_(), scale.log().requires_grad_()
    x = mean + log_scale.exp() * noise
    tangent = (slope * x).sum(1).mean()  # has the slopes that are given, wherever x lies
    return torch.autograd.grad(tangent, (mean, log_scale))


def _pathwise_estimate_oracle(slope, noise, scale):
    """Column by column with Python's numbers."""
    count, of_mean, of_scale = len(slope), [], []
    for slopes, z, s in zip(slope.T.tolist(), noise.T.tolist(), scale.tolist(), strict=True):
        of_mean.append(math.fsum(slopes) / count)
        of_scale.append(math.fsum(a * s * b for a, b in zip(slopes, z, strict=True)) / count)
    return torch.tensor(of_mean, dtype=slope.dtype), torch.tensor(of_scale, dtype=slope.dtype)


def _pathwise_estimate_cases(generator):
    inputs = [
        (readable(normal(generator, n, d) + 1), readable(normal(generator, n, d)), readable(uniform(generator, 0.3, 2, d)))
        for n, d in ((2, 1), (3, 2))
    ]
    inputs += [
        (normal(generator, n, d), normal(generator, n, d), uniform(generator, 0.3, 2, d)) for n, d in ((4, 4), (9, 3), (2, 5))
    ]
    return cases(_pathwise_estimate_oracle, inputs)


PATHWISE_ESTIMATE = Task(
    id="11.pathwise_estimate",
    title="The pathwise estimator",
    signature="pathwise_estimate(slope [N, D], noise [N, D], scale [D]) -> of_mean [D], of_log_scale [D]",
    reference=pathwise_estimate,
    stages=(Exact(2, _pathwise_estimate_cases),),
    alternatives=(_pathwise_estimate_as_products, _pathwise_estimate_by_autograd),
    mistakes=(
        Mistake(
            "gradient by scale",
            lambda slope, noise, scale: (slope.mean(0), (slope * noise).mean(0)),
            "Your second output is the gradient with respect to scale; with respect to log scale it is that times scale.",
        ),
        Mistake(
            "scale taken for its logarithm",
            lambda slope, noise, scale: (slope.mean(0), (slope * noise).mean(0) * scale.exp()),
            "You take exp(scale). Here scale is the standard deviation itself, not its logarithm.",
        ),
        Mistake(
            "noise forgotten",
            lambda slope, noise, scale: (slope.mean(0), slope.mean(0) * scale),
            "Your second output misses the noise: when the scale grows, each sample moves outward by its own noise.",
        ),
        Mistake(
            "divides by the scale",
            lambda slope, noise, scale: (slope.mean(0), (slope * noise).mean(0) / scale),
            "You divide by scale: that belongs to a score. Here x moves by scale * noise when log scale does.",
        ),
        Mistake(
            "weights the scores with slopes",
            lambda slope, noise, scale: ((slope * noise).mean(0) / scale, (slope * (noise**2 - 1)).mean(0)),
            "You multiply the slope of f with the score. The score goes with f itself; with the slope goes dx / d parameter: "
            "1 for the mean, scale * noise for log scale.",
        ),
        Mistake(
            "scales the first, too",
            lambda slope, noise, scale: (slope.mean(0) * scale, (slope * noise).mean(0) * scale),
            "You multiply the gradient of the mean by scale; x moves exactly as far as its mean does.",
        ),
        Mistake(
            "product of the means",
            lambda slope, noise, scale: (slope.mean(0), slope.mean(0) * noise.mean(0) * scale),
            "You multiply the mean slope with the mean noise, which is about zero. Multiply sample by sample, then average.",
        ),
        Mistake(
            "sum instead of mean",
            lambda slope, noise, scale: (slope.sum(0), (slope * noise).sum(0) * scale),
            "You sum over the samples; an expectation is estimated by their mean.",
            "SF09",
        ),
        Mistake(
            "averages over the coordinates",
            lambda slope, noise, scale: (slope.mean(1), (slope * noise * scale).mean(1)),
            "You average over the coordinates and keep the samples: axis 0 is the samples, and it is the one to reduce.",
            "SF09",
        ),
        Mistake(
            "adds up the coordinates",
            lambda slope, noise, scale: (slope.sum(1).mean().expand(len(scale)), (slope * noise).sum(1).mean() * scale),
            "You add up the slopes of all coordinates. Coordinate d of x depends on mean d and scale d only, so its slope "
            "alone counts.",
        ),
        Mistake(
            "sign",
            lambda slope, noise, scale: (-slope.mean(0), -(slope * noise).mean(0) * scale),
            "Your estimates have the wrong sign: the gradient of E[f] itself is asked for, not of -E[f].",
            "SF01",
        ),
    ),
    hints=(
        "Chain rule: the derivative of f(mean + scale * noise) by a parameter is slope times the derivative of x by it.",
        "x moves by 1 when its mean does, and by scale * noise when log scale does.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 11.score_and_pathwise


def score_and_pathwise(mean, scale, target, noise):
    """Two estimates of one gradient: of J = E[f(x)] by mean, with f(x) = -|x - target|^2 and x ~ N(mean, scale^2).

    mean, scale, target: [D], scale > 0. noise: [N, D], standard normal; both estimates use the same N samples, by (11.3).
    Returns two tensors [D]: the score-function estimate (3.4), and the pathwise estimate (11.4).
    """
    x = mean + noise * scale
    f = -((x - target) ** 2).sum(1)
    return (f[:, None] * noise / scale).mean(0), (-2 * (x - target)).mean(0)


def _score_and_pathwise_by_autograd(mean, scale, target, noise):
    at = mean.clone().requires_grad_()
    x = at + scale * noise
    value = -(x - target).square().sum(1)
    (by_pathwise,) = torch.autograd.grad(value.mean(), at, retain_graph=True)
    log_probability = -(((x.detach() - at) / scale) ** 2).sum(1) / 2
    (by_score,) = torch.autograd.grad((value.detach() * log_probability).mean(), at)
    return by_score, by_pathwise


def _score_and_pathwise_in_a_loop(mean, scale, target, noise):
    by_score, by_pathwise = torch.zeros_like(mean), torch.zeros_like(mean)
    for z in noise:
        miss = mean + scale * z - target
        by_score = by_score - miss @ miss * z / scale / len(noise)
        by_pathwise = by_pathwise - 2 * miss / len(noise)
    return by_score, by_pathwise


def _score_and_pathwise_oracle(mean, scale, target, noise):
    """Score: torch's own log-density, one sample at a time. Pathwise: by central differences of f, exact for a parabola."""
    scores, slopes = [], []
    for z in noise:
        x = mean + scale * z
        value = -math.fsum((a - b) ** 2 for a, b in zip(x.tolist(), target.tolist(), strict=True))
        at = mean.clone().requires_grad_()
        scores.append(value * torch.autograd.grad(torch.distributions.Normal(at, scale).log_prob(x).sum(), at)[0])
        step = torch.eye(len(mean), dtype=mean.dtype)
        slopes.append(((x - step - target).square().sum(1) - (x + step - target).square().sum(1)) / 2)
    return torch.stack(scores).mean(0), torch.stack(slopes).mean(0)


def _score_and_pathwise_cases(generator):
    inputs = []
    for n, d, form in ((1, 1, readable), (3, 2, readable), (4, 4, lambda x: x), (7, 3, lambda x: x), (2, 5, lambda x: x)):
        point, goal = form(normal(generator, d)), form(normal(generator, d) + 1)
        inputs.append((point, form(uniform(generator, 0.3, 2, d)), goal, form(normal(generator, n, d))))
    return cases(_score_and_pathwise_oracle, inputs)


def _both(by_score, by_pathwise):
    """A wrong solution from its two halves, functions of (x, f, noise, scale, target)."""

    def solution(mean, scale, target, noise):
        x = mean + scale * noise
        parts = x, -((x - target) ** 2).sum(1, keepdim=True), noise, scale, target
        return by_score(*parts), by_pathwise(*parts)

    return solution


def _right_score(x, f, noise, scale, target):
    return (f * noise / scale).mean(0)


def _right_pathwise(x, f, noise, scale, target):
    return (-2 * (x - target)).mean(0)


SCORE_AND_PATHWISE = Task(
    id="11.score_and_pathwise",
    title="Two estimates of one gradient",
    signature="score_and_pathwise(mean [D], scale [D], target [D], noise [N, D]) -> by_score [D], by_pathwise [D]",
    reference=score_and_pathwise,
    stages=(Exact(2, _score_and_pathwise_cases),),
    alternatives=(_score_and_pathwise_by_autograd, _score_and_pathwise_in_a_loop),
    mistakes=(
        Mistake(
            "score not divided by the scale",
            _both(lambda x, f, noise, scale, target: (f * noise).mean(0), _right_pathwise),
            "Your score is the noise; the score of the mean is (x - mean) / scale^2, which is noise / scale.",
        ),
        Mistake(
            "score divided by the scale twice",
            _both(lambda x, f, noise, scale, target: (f * noise / scale**2).mean(0), _right_pathwise),
            "You divide the noise by scale^2. The score is (x - mean) / scale^2, and x - mean is scale * noise: noise / scale.",
        ),
        Mistake(
            "score multiplied by the scale",
            _both(lambda x, f, noise, scale, target: (f * noise * scale).mean(0), _right_pathwise),
            "You weight x - mean with f; the score of the mean is (x - mean) / scale^2.",
        ),
        Mistake(
            "score around the target",
            _both(lambda x, f, noise, scale, target: (f * (x - target) / scale**2).mean(0), _right_pathwise),
            "Your score is measured from the target; the distribution lies around the mean, and its score is "
            "(x - mean) / scale^2.",
        ),
        Mistake(
            "each coordinate its own f",
            _both(lambda x, f, noise, scale, target: (-((x - target) ** 2) * noise / scale).mean(0), _right_pathwise),
            "You weight each coordinate's score with that coordinate's part of f. Here that is unbiased as well, because f is "
            "a sum; asked for is the plain estimate, which knows only the number f(x) for the whole sample.",
        ),
        Mistake(
            "mean of f subtracted",
            _both(lambda x, f, noise, scale, target: ((f - f.mean()) * noise / scale).mean(0), _right_pathwise),
            "You subtract the mean of f in the score-function estimate. That is a baseline, and quieter, but made of the same "
            "samples: it shrinks the estimate by (N - 1) / N. Asked for is the plain (3.4), with f itself.",
        ),
        Mistake(
            "slope of half the square",
            _both(_right_score, lambda x, f, noise, scale, target: (target - x).mean(0)),
            "Your pathwise estimate is half of what it should be: the slope of -(x - target)^2 is -2 (x - target).",
        ),
        Mistake(
            "pathwise uphill of the distance",
            _both(_right_score, lambda x, f, noise, scale, target: (2 * (x - target)).mean(0)),
            "Your pathwise estimate has the wrong sign: f falls with the distance from the target.",
            "SF01",
        ),
        Mistake(
            "slope at the mean",
            lambda mean, scale, target, noise: (score_and_pathwise(mean, scale, target, noise)[0], -2 * (mean - target)),
            "You take the slope of f at the mean; the pathwise estimate is the mean of the slopes at the samples. (For a "
            "parabola the expectation is the same, so you have found the exact gradient; of another f it would be biased.)",
        ),
        Mistake(
            "pathwise with the noise",
            _both(_right_score, lambda x, f, noise, scale, target: (-2 * (x - target) * noise).mean(0)),
            "You multiply the slope by the noise: that is the gradient with respect to scale. By mean, x moves by 1.",
        ),
        Mistake(
            "slope times score",
            _both(_right_score, lambda x, f, noise, scale, target: (-2 * (x - target) * noise / scale).mean(0)),
            "Your pathwise estimate multiplies the slope with the score. Each estimator has one derivative: of log p, or of f.",
        ),
        Mistake(
            "loss for reward",
            _both(
                lambda x, f, noise, scale, target: -_right_score(x, f, noise, scale, target),
                lambda x, f, noise, scale, target: -_right_pathwise(x, f, noise, scale, target),
            ),
            "Both estimates have the wrong sign: f is minus the squared distance.",
            "SF01",
        ),
        Mistake(
            "sums over the samples",
            _both(
                lambda x, f, noise, scale, target: (f * noise / scale).sum(0),
                lambda x, f, noise, scale, target: (-2 * (x - target)).sum(0),
            ),
            "You sum over the samples; an expectation is estimated by their mean.",
            "SF09",
        ),
    ),
    hints=(
        "Make the samples once: x = mean + scale * noise, [N, D]. f is [N]: one number for each sample.",
        "Score: f times (x - mean) / scale^2. f[:, None] is [N, 1], and then the product is [N, D].",
        "Pathwise: the gradient of f by x at each sample, averaged. Neither log p nor f itself appears in it.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 11.return_through_dynamics


def return_through_dynamics(gain, scale, dynamics, control, start, noise):
    """The mean return of E episodes with known dynamics, differentiable in the policy's gain and scale: (11.8).

    At each of T steps the action is a = -gain s + scale * z, the reward -(|s|^2 + |a|^2) of this state and action, and the
    next state is dynamics s + control a. No discount.
    gain: [A, S]. scale: [A]. dynamics: [S, S]. control: [S, A]. start: [E, S], first states. noise: [T, E, A], z of each step.
    Returns a tensor with one number, shape []: the mean over episodes of the sum of T rewards. Only its gradient is judged.
    """
    state, total = start, torch.zeros(len(start), dtype=start.dtype)
    for z in noise:
        action = -state @ gain.T + scale * z
        total = total - (state**2).sum(1) - (action**2).sum(1)
        state = state @ dynamics.T + action @ control.T
    return total.mean()


def _return_through_dynamics_one_by_one(gain, scale, dynamics, control, start, noise):
    returns = []
    for e in range(len(start)):
        s, rewards = start[e], []
        for t in range(len(noise)):
            a = scale * noise[t, e] - gain @ s
            rewards.append(-(s @ s) - a @ a)
            s = dynamics @ s + control @ a
        returns.append(torch.stack(rewards).sum())
    return torch.stack(returns).mean()


def _return_through_dynamics_closed_loop(gain, scale, dynamics, control, start, noise):
    closed = dynamics - control @ gain
    states, actions = [start], []
    for z in noise * scale:
        actions.append(z - states[-1] @ gain.T)
        states.append(states[-1] @ closed.T + z @ control.T)
    return -(torch.stack(states[:-1]).square().sum() + torch.stack(actions).square().sum()) / len(start)


def _return_through_dynamics_oracle(gain, scale, dynamics, control, start, noise):
    """The gradient without autograd: what each state is still worth is carried backward in time, by hand."""
    states, actions = [start], []
    for z in noise:
        actions.append(-states[-1] @ gain.T + scale * z)
        states.append(states[-1] @ dynamics.T + actions[-1] @ control.T)
    of_gain, of_scale, of_state = torch.zeros_like(gain), torch.zeros_like(scale), torch.zeros_like(start)
    for state, action, z in reversed(list(zip(states[:-1], actions, noise, strict=True))):
        of_action = -2 * action + of_state @ control  # dR/da_t: its own cost, and what it does to the next state
        of_gain -= of_action.T @ state
        of_scale += (of_action * z).sum(0)
        of_state = -2 * state + of_state @ dynamics - of_action @ gain
    return of_gain / len(start), of_scale / len(start)


def _return_through_dynamics_cases(generator):
    inputs = []
    for a, s, e, t, form in (
        (1, 1, 1, 2, readable),
        (1, 2, 1, 3, readable),
        (2, 3, 4, 5, lambda x: x),
        (3, 2, 5, 4, lambda x: x),
    ):
        world = form(0.5 * normal(generator, s, s)), form(normal(generator, s, a))
        policy = form(0.5 * normal(generator, a, s)), form(uniform(generator, 0.3, 1, a))
        inputs.append((*policy, *world, form(normal(generator, e, s)), form(normal(generator, t, e, a))))
    return cases(_return_through_dynamics_oracle, inputs)


def _acted(seen=lambda s: s, moved=lambda s: s, paid=lambda a: a, drawn=lambda scale, z: scale * z, reward=None, total=None):
    """A wrong solution: the rollout with one of its parts changed.

    seen: the state as the policy sees it; moved: the state as the next step gets it; paid: the action as the reward sees it.
    """
    reward = reward or (lambda state, action, after: -(state**2).sum(1) - (action**2).sum(1))
    total = total or (lambda rewards: rewards.sum(0).mean())

    def solution(gain, scale, dynamics, control, start, noise):
        state, rewards = start, []
        for z in noise:
            action = -seen(state) @ gain.T + drawn(scale, z)
            after = state @ dynamics.T + action @ control.T
            rewards.append(reward(state, paid(action), after))
            state = moved(after)
        return total(torch.stack(rewards))

    return solution


def _cut(x):
    return x.detach()


RETURN_THROUGH_DYNAMICS = Task(
    id="11.return_through_dynamics",
    title="A gradient through known dynamics",
    signature="return_through_dynamics(gain [A, S], scale [A], dynamics [S, S], control [S, A], start [E, S], noise [T, E, A]) "
    "-> mean_return []",
    reference=return_through_dynamics,
    stages=(Exact(3, _return_through_dynamics_cases, Gradient(("gain", "scale"))),),
    alternatives=(_return_through_dynamics_one_by_one, _return_through_dynamics_closed_loop),
    mistakes=(
        Mistake(
            "state detached",
            _acted(moved=_cut),
            "The path from one step to the next is cut (by .detach(), of the state or of the action on its way into it): every "
            "action is held to account for its own reward alone, not for where it leads.",
            "SV02",
        ),
        Mistake(
            "policy does not see the state move",
            _acted(seen=_cut),
            "The policy sees a detached state: later actions do not answer when an earlier one has moved the state. The path "
            "through -gain s is missing.",
        ),
        Mistake(
            "actions look free",
            _acted(paid=_cut),
            "No gradient goes through the action's own cost: |a|^2 is missing from the reward, or a is detached in it.",
            "SV03",
        ),
        Mistake(
            "noise not scaled",
            _acted(drawn=lambda scale, z: z),
            "You add the noise as it is; it is to be multiplied by scale, or no gradient reaches scale.",
        ),
        Mistake(
            "noise left out",
            _acted(drawn=lambda scale, z: 0 * scale),
            "Your actions have no noise: the policy is a = -gain s + scale * z.",
        ),
        Mistake(
            "scale detached",
            _acted(drawn=lambda scale, z: scale.detach() * z),
            "No gradient reaches scale: the sample is cut off from it. Noise is an argument here, so that scale * z can be "
            "differentiated.",
        ),
        Mistake(
            "reward of the next state",
            _acted(reward=lambda state, action, after: -(after**2).sum(1) - (action**2).sum(1)),
            "You pay for the state after the action; the reward is of the state in which the action was taken.",
        ),
        Mistake(
            "positive feedback",
            lambda gain, scale, dynamics, control, start, noise: return_through_dynamics(
                -gain, scale, dynamics, control, start, noise
            ),
            "Your action is +gain s; it is -gain s + scale * z.",
        ),
        Mistake(
            "cost for reward",
            _acted(total=lambda rewards: -rewards.sum(0).mean()),
            "Your gradient has the wrong sign: the return is minus the sum of the costs.",
            "SF01",
        ),
        Mistake(
            "mean over the steps",
            _acted(total=lambda rewards: rewards.mean()),
            "You average over the steps; a return is the sum of its rewards. Only the episodes are averaged.",
            "SF09",
        ),
        Mistake(
            "sum over the episodes",
            _acted(total=lambda rewards: rewards.sum()),
            "You sum over the episodes; their mean is asked for.",
            "SF09",
        ),
        Mistake(
            "last reward only",
            _acted(total=lambda rewards: rewards[-1].mean()),
            "You return the last reward alone; the return is the sum over all T steps.",
        ),
        Mistake(
            "last reward missing",
            _acted(total=lambda rewards: rewards[:-1].sum(0).mean()),
            "Your return misses the last step: T actions are taken, and each pays.",
        ),
    ),
    hints=(
        "A loop over noise gives one z [E, A] for each step. Keep the state [E, S], and add up the rewards.",
        "States stand in rows, so dynamics s for all episodes is state @ dynamics.T.",
        "Use no .detach() and no torch.no_grad(): the gradient is to flow through actions, states and rewards alike.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.Unrolled",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 11.pathwise_warnings


def pathwise_warnings(by_score, by_pathwise):
    """Two warnings against a pathwise gradient, from N pairs of estimates made with the same noise, for each parameter.

    by_score, by_pathwise: [N, P], N >= 2; row n of both comes from the same samples. The score function is unbiased.
    Returns two tensors [P]: the disagreement, the mean of by_pathwise - by_score in standard errors of that mean (beyond 5 or
    so, pathwise is biased); and the variance ratio, variance of by_pathwise over variance of by_score (above 1 it is the
    noisier one). Variances with N - 1.
    """
    difference = by_pathwise - by_score
    error = difference.std(0) / len(difference) ** 0.5
    return difference.mean(0) / error, by_pathwise.var(0) / by_score.var(0)


def _pathwise_warnings_by_sums(by_score, by_pathwise):
    n = by_score.shape[0]
    gap = by_pathwise.sum(0) / n - by_score.sum(0) / n
    spread = torch.stack([by_score, by_pathwise, by_pathwise - by_score])
    variance = (spread - spread.sum(1, keepdim=True) / n).square().sum(1) / (n - 1)
    return gap * (n / variance[2]).sqrt(), variance[1] / variance[0]


def _pathwise_warnings_in_a_loop(by_score, by_pathwise):
    rows = []
    for score, path in zip(by_score.T, by_pathwise.T, strict=True):
        d = path - score
        rows.append((len(d) ** 0.5 * d.mean() / d.std(), (path.std() / score.std()) ** 2))
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _pathwise_warnings_oracle(by_score, by_pathwise):
    """Parameter by parameter with Python's ``statistics``, which computes in exact fractions."""
    z, ratio = [], []
    for score, path in zip(by_score.T.tolist(), by_pathwise.T.tolist(), strict=True):
        d = [b - a for a, b in zip(score, path, strict=True)]
        z.append(statistics.mean(d) / math.sqrt(statistics.variance(d) / len(d)))
        ratio.append(statistics.variance(path) / statistics.variance(score))
    return torch.tensor(z, dtype=by_score.dtype), torch.tensor(ratio, dtype=by_score.dtype)


def _pathwise_warnings_cases(generator):
    inputs = [
        (readable(2 * normal(generator, n, p) + 1) + torch.arange(n)[:, None] / 20, readable(normal(generator, n, p) + 2))
        for n, p in ((3, 1), (4, 2))
    ]
    inputs += [(3 * normal(generator, n, p), normal(generator, n, p) + 0.5) for n, p in ((5, 5), (40, 3), (6, 8))]
    return cases(_pathwise_warnings_oracle, inputs)


def _warned(disagreement=None, ratio=None):
    """A wrong solution from its halves, functions of (by_score, by_pathwise)."""

    def solution(by_score, by_pathwise):
        right = pathwise_warnings(by_score, by_pathwise)
        first = right[0] if disagreement is None else disagreement(by_score, by_pathwise)
        return first, right[1] if ratio is None else ratio(by_score, by_pathwise)

    return solution


PATHWISE_WARNINGS = Task(
    id="11.pathwise_warnings",
    title="When not to trust it",
    signature="pathwise_warnings(by_score [N, P], by_pathwise [N, P]) -> disagreement [P], variance_ratio [P]",
    reference=pathwise_warnings,
    stages=(Exact(2, _pathwise_warnings_cases),),
    alternatives=(_pathwise_warnings_by_sums, _pathwise_warnings_in_a_loop),
    mistakes=(
        Mistake(
            "pairs torn apart",
            _warned(lambda a, b: (b.mean(0) - a.mean(0)) / ((a.var(0) + b.var(0)) / len(a)).sqrt()),
            "You add the two variances, as for independent estimates. They come from the same noise: take the standard error "
            "of the N differences.",
        ),
        Mistake(
            "standard error of the score alone",
            _warned(lambda a, b: (b.mean(0) - a.mean(0)) / (a.std(0) / len(a) ** 0.5)),
            "Your standard error is that of by_score; it is the differences by_pathwise - by_score whose mean is judged.",
        ),
        Mistake(
            "deviation for standard error",
            _warned(lambda a, b: (b - a).mean(0) / (b - a).std(0)),
            "You divide by the standard deviation of one difference; that of their mean is sqrt(N) times smaller.",
        ),
        Mistake(
            "divides by N instead of its root",
            _warned(lambda a, b: (b - a).mean(0) / ((b - a).std(0) / len(a))),
            "Your standard error divides by N; variances add up, so it is sqrt(N) that divides the deviation.",
        ),
        Mistake(
            "difference not in errors",
            _warned(lambda a, b: (b - a).mean(0)),
            "Your first output is the difference itself; whether it is large can only be said in standard errors.",
        ),
        Mistake(
            "size of the disagreement only",
            _warned(lambda a, b: ((b - a).mean(0) / ((b - a).std(0) / len(a) ** 0.5)).abs()),
            "You take the absolute value; the sign tells on which side of the truth pathwise lies.",
        ),
        Mistake(
            "score minus pathwise",
            _warned(lambda a, b: (a - b).mean(0) / ((b - a).std(0) / len(a) ** 0.5)),
            "Your disagreement has the wrong sign: it is by_pathwise - by_score.",
        ),
        Mistake(
            "variance by N",
            _warned(lambda a, b: (b - a).mean(0) / ((b - a).std(0, correction=0) / len(a) ** 0.5)),
            "Your variance divides by N. The mean was fitted to the same differences, so the unbiased one divides by N - 1.",
        ),
        Mistake(
            "ratio upside down",
            _warned(ratio=lambda a, b: a.var(0) / b.var(0)),
            "Your variance ratio is upside down: pathwise stands above, so that above 1 means that it is the noisier one.",
        ),
        Mistake(
            "ratio of deviations",
            _warned(ratio=lambda a, b: b.std(0) / a.std(0)),
            "Your second output is the ratio of the standard deviations; that of the variances is its square.",
        ),
        Mistake(
            "ratio of second moments",
            _warned(ratio=lambda a, b: b.square().mean(0) / a.square().mean(0)),
            "Your second output is a ratio of mean squares, which contain the gradient itself; a variance is measured around "
            "the mean.",
        ),
    ),
    hints=(
        "Form the N differences first; they are [N, P], and each output reduces axis 0.",
        "The standard error of a mean of N numbers is their standard deviation, with N - 1, over sqrt(N).",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.bias_and_variance",),
)

TASKS = (
    REPARAMETERIZED_SAMPLE,
    CORRELATED_SAMPLE,
    PATHWISE_ESTIMATE,
    SCORE_AND_PATHWISE,
    RETURN_THROUGH_DYNAMICS,
    PATHWISE_WARNINGS,
)
