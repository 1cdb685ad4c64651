"""Tasks of lecture 03: the log-derivative trick."""

import math
import statistics

import torch

from ..task import EXACT_BUDGET, Exact, Gradient, Mistake, Task, cases, normal, readable, uniform

# ----------------------------------------------------------------------------------------------------------------------
# 03.gaussian_score


def gaussian_score(x, mean, scale):
    """Scores of a diagonal Gaussian N(mean, scale^2): the gradients of log p(x) with respect to mean and to scale.

    x: [N, D], N samples of dimension D. mean, scale: [D], scale > 0 (the standard deviation).
    Returns two tensors: the score of the mean [N, D] and the score of the scale [N, D].
    """
    z = (x - mean) / scale
    return z / scale, (z**2 - 1) / scale


def _gaussian_score_by_autograd(x, mean, scale):
    mean = mean.expand_as(x).clone().requires_grad_()
    scale = scale.expand_as(x).clone().requires_grad_()
    log_probability = -((x - mean) ** 2) / (2 * scale**2) - scale.log() - 0.5 * math.log(2 * math.pi)
    return torch.autograd.grad(log_probability.sum(), (mean, scale))


def _gaussian_score_in_loops(x, mean, scale):
    scores_of_mean, scores_of_scale = [], []
    for sample in x:
        scores_of_mean.append((sample - mean) / scale**2)
        scores_of_scale.append((sample - mean) ** 2 / scale**3 - 1 / scale)
    return torch.stack(scores_of_mean), torch.stack(scores_of_scale)


def _gaussian_score_oracle(x, mean, scale):
    """Autograd of torch's own log-density, one sample at a time."""
    rows = []
    for sample in x:
        at = mean.clone().requires_grad_(), scale.clone().requires_grad_()
        rows.append(torch.autograd.grad(torch.distributions.Normal(*at).log_prob(sample).sum(), at))
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])


def _gaussian_score_cases(generator):
    inputs = [
        (readable(normal(generator, n, d)), readable(normal(generator, d)), readable(uniform(generator, 0.3, 0.8, d)))
        for n, d in ((1, 1), (3, 2))
    ]
    inputs += [(2 * normal(generator, n, d), normal(generator, d), uniform(generator, 0.3, 3, d)) for n, d in ((7, 3), (2, 5))]
    return cases(_gaussian_score_oracle, inputs)


GAUSSIAN_SCORE = Task(
    id="03.gaussian_score",
    title="The score of a Gaussian",
    signature="gaussian_score(x [N, D], mean [D], scale [D]) -> score_of_mean [N, D], score_of_scale [N, D]",
    reference=gaussian_score,
    stages=(Exact(2, _gaussian_score_cases),),
    alternatives=(_gaussian_score_by_autograd, _gaussian_score_in_loops),
    mistakes=(
        Mistake(
            "divides by the scale once",
            lambda x, mean, scale: ((x - mean) / scale, ((x - mean) ** 2 / scale**2 - 1) / scale),
            "Your score of the mean is (x - mean) / scale: the exponent of the Gaussian is (x - mean)^2 / (2 scale^2), "
            "so it is scale squared that divides.",
        ),
        Mistake(
            "sign of the mean's score",
            lambda x, mean, scale: ((mean - x) / scale**2, ((x - mean) ** 2 / scale**2 - 1) / scale),
            "Your score of the mean has the wrong sign: it is the gradient with respect to x. A sample above the mean "
            "pulls the mean up.",
            "SF01",
        ),
        Mistake(
            "normaliser forgotten",
            lambda x, mean, scale: ((x - mean) / scale**2, (x - mean) ** 2 / scale**3),
            "Your score of the scale misses -1 / scale, which comes from the normaliser 1 / (scale sqrt(2 pi)) of the "
            "density. Without it the score is never negative, so its mean cannot be zero.",
        ),
        Mistake(
            "sign of the scale's score",
            lambda x, mean, scale: ((x - mean) / scale**2, (1 - (x - mean) ** 2 / scale**2) / scale),
            "Your score of the scale has the wrong sign. A sample further than one scale from the mean asks for "
            "a larger scale.",
            "SF01",
        ),
        Mistake(
            "sign of both",
            lambda x, mean, scale: ((mean - x) / scale**2, (1 - (x - mean) ** 2 / scale**2) / scale),
            "Both scores have the wrong sign: they are gradients of -log p(x).",
            "SF01",
        ),
        Mistake(
            "normaliser's scale squared",
            lambda x, mean, scale: ((x - mean) / scale**2, (x - mean) ** 2 / scale**3 - 1 / scale**2),
            "Your score of the scale subtracts 1 / scale^2: it is -log scale that is differentiated, and that gives "
            "-1 / scale.",
        ),
        Mistake(
            "divides the scale's score twice",
            lambda x, mean, scale: ((x - mean) / scale**2, ((x - mean) ** 2 / scale**2 - 1) / scale**2),
            "Your score of the scale is divided by the scale once too often: with z = (x - mean) / scale it is "
            "(z^2 - 1) / scale.",
        ),
        Mistake(
            "score of log scale",
            lambda x, mean, scale: ((x - mean) / scale**2, (x - mean) ** 2 / scale**2 - 1),
            "Your second output is the gradient with respect to log scale; with respect to scale it is that divided by scale.",
        ),
        Mistake(
            "score of the variance",
            lambda x, mean, scale: ((x - mean) / scale**2, ((x - mean) ** 2 / scale**4 - 1 / scale**2) / 2),
            "Your second output is the gradient with respect to the variance scale^2; asked is the one with respect to scale.",
        ),
        Mistake(
            "takes scale for the variance",
            lambda x, mean, scale: ((x - mean) / scale, ((x - mean) ** 2 / scale**2 - 1 / scale) / 2),
            "You treat scale as the variance; it is the standard deviation, and the variance is scale^2.",
        ),
        Mistake(
            "sums over the samples",
            lambda x, mean, scale: (((x - mean) / scale**2).sum(0), (((x - mean) ** 2 / scale**2 - 1) / scale).sum(0)),
            "You sum the scores over the samples. Each sample keeps its own score, because each will be weighted by its "
            "own f(x).",
            "SF09",
        ),
        Mistake(
            "outputs in the other order",
            lambda x, mean, scale: (((x - mean) ** 2 / scale**2 - 1) / scale, (x - mean) / scale**2),
            "Your two outputs are in the wrong order: first the score of the mean, then the score of the scale.",
        ),
    ),
    hints=(
        "Write log p(x) = -(x - mean)^2 / (2 scale^2) - log scale - log sqrt(2 pi) for one dimension and differentiate "
        "each term.",
        "With z = (x - mean) / scale, the first output is z / scale. For the second, differentiate -z^2 / 2 and -log "
        "scale by scale.",
        "mean and scale are [D] and x is [N, D]: broadcasting lines up the last axis, so x - mean needs no loop.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 03.categorical_score


def categorical_score(logits, action):
    """Score of a categorical distribution pi = softmax(logits): the gradient of log pi(a) with respect to the logits.

    logits: [N, K], a row for each of N samples; they may be as large as 1000. action: [N], whole numbers 0 .. K-1.
    Returns [N, K].
    """
    pi = torch.softmax(logits, dim=-1)
    return torch.nn.functional.one_hot(action, logits.shape[-1]) - pi


def _categorical_score_by_autograd(logits, action):
    logits = logits.clone().requires_grad_()
    log_pi = torch.log_softmax(logits, -1).gather(1, action[:, None])
    return torch.autograd.grad(log_pi.sum(), logits)[0]


def _categorical_score_by_hand(logits, action):
    weight = (logits - logits.max(1, keepdim=True).values).exp()
    score = -weight / weight.sum(1, keepdim=True)
    score[torch.arange(len(action)), action] += 1
    return score


def _categorical_score_oracle(logits, action):
    """Row by row: d log pi(a) / d logit_k = 1[k = a] - 1 / sum_j exp(logit_j - logit_k), in Python numbers."""
    rows = []
    for row, a in zip(logits.tolist(), action.tolist(), strict=True):
        rows.append([(k == a) - 1 / math.fsum(math.exp(other - logit) for other in row) for k, logit in enumerate(row)])
    return torch.tensor(rows, dtype=logits.dtype)


def _categorical_score_cases(generator):
    inputs = [
        (readable(normal(generator, n, k)), torch.randint(k, (n,), generator=generator)) for n, k in ((1, 2), (2, 3), (4, 3))
    ]
    inputs += [(2 * normal(generator, n, k), torch.randint(k, (n,), generator=generator)) for n, k in ((9, 5), (3, 8))]
    # logits whose exp() overflows, and some where it is zero
    large = torch.tensor([[1000.0], [-1000.0]], dtype=torch.float64) + readable(normal(generator, 2, 3))
    inputs.append((large, torch.randint(3, (2,), generator=generator)))
    return cases(_categorical_score_oracle, inputs)


def _one_hot(action, logits):
    return torch.nn.functional.one_hot(action, logits.shape[-1]).to(logits.dtype)


CATEGORICAL_SCORE = Task(
    id="03.categorical_score",
    title="The score of a softmax",
    signature="categorical_score(logits [N, K], action [N]) -> score [N, K]",
    reference=categorical_score,
    stages=(Exact(2, _categorical_score_cases),),
    alternatives=(_categorical_score_by_autograd, _categorical_score_by_hand),
    mistakes=(
        Mistake(
            "sign",
            lambda logits, action: torch.softmax(logits, -1) - _one_hot(action, logits),
            "Your score has the wrong sign: it is the gradient of -log pi(a), the cross-entropy. The logit of the "
            "action taken must be pushed up.",
            "SF01",
        ),
        Mistake(
            "softmax over the wrong axis",
            lambda logits, action: _one_hot(action, logits) - torch.softmax(logits, 0),
            "Your softmax runs over the samples; each sample's K probabilities must sum to one, so it runs over the last axis.",
            "SF09",
        ),
        Mistake(
            "softmax applied twice",
            lambda logits, action: _one_hot(action, logits) - torch.softmax(torch.softmax(logits, -1), -1),
            "You apply softmax twice: the probabilities are taken for logits once more.",
            "SF11",
        ),
        Mistake(
            "no softmax",
            lambda logits, action: _one_hot(action, logits) - logits,
            "You subtract the logits; the probabilities softmax(logits) are to be subtracted.",
        ),
        Mistake(
            "minus the log-probabilities",
            lambda logits, action: _one_hot(action, logits) - torch.log_softmax(logits, -1),
            "You subtract log pi; the gradient of log sum exp(logits) is pi itself, softmax and not log_softmax.",
        ),
        Mistake(
            "one minus pi for every action",
            lambda logits, action: 1 - torch.softmax(logits, -1),
            "You subtract pi from one for every action; the one is there only for the action taken, the others get -pi.",
        ),
        Mistake(
            "overflows",
            lambda logits, action: _one_hot(action, logits) - logits.exp() / logits.exp().sum(-1, keepdim=True),
            "Right for small logits, but exp(1000) is infinite and exp(-1000) is zero to a computer, and infinite / "
            "infinite and 0 / 0 are NaN. torch.softmax subtracts each row's largest logit first, which changes nothing "
            "but that.",
        ),
        Mistake(
            "only the action taken",
            lambda logits, action: _one_hot(action, logits) * (1 - torch.softmax(logits, -1)),
            "Your score is zero for the actions not taken. Their logits count too: raising one lowers pi(a), by pi of "
            "that action.",
        ),
        Mistake(
            "normaliser forgotten",
            lambda logits, action: _one_hot(action, logits),
            "Your score is one-hot: the gradient of the logit of a alone. log pi(a) also has -log sum exp(logits), and "
            "its gradient is -pi.",
        ),
        Mistake(
            "gradient of pi, not of log pi",
            lambda logits, action: (
                (_one_hot(action, logits) - torch.softmax(logits, -1)) * torch.softmax(logits, -1).gather(1, action[:, None])
            ),
            "You return the gradient of pi(a); the score is the gradient of log pi(a), which is that divided by pi(a).",
        ),
        Mistake(
            "gradient by the probabilities",
            lambda logits, action: _one_hot(action, logits) / torch.softmax(logits, -1),
            "You return the gradient with respect to the probabilities, 1 / pi(a); asked is the one with respect to the "
            "logits.",
        ),
    ),
    hints=(
        "log pi(a) = logits[a] - log sum_k exp(logits[k]). Differentiate both terms with respect to logits[k].",
        "The first term gives 1 where k = a and 0 elsewhere; the second gives -pi(k).",
        "torch.nn.functional.one_hot(action, K) makes the [N, K] of zeros and ones.",
    ),
    error_budget=EXACT_BUDGET,
)

# ----------------------------------------------------------------------------------------------------------------------
# 03.score_function_estimate


def score_function_estimate(score, value):
    """Score-function estimate of the gradient of E[f(x)], from N samples.

    score: [N, P], grad log p(x_n) with respect to P parameters. value: [N], f(x_n).
    Returns the estimate [P].
    """
    return (value[:, None] * score).mean(0)


def _score_function_estimate_as_product(score, value):
    return value @ score / len(value)


def _score_function_estimate_in_a_loop(score, value):
    total = torch.zeros_like(score[0])
    for one_score, one_value in zip(score, value, strict=True):
        total = total + one_value * one_score
    return total / len(score)


def _score_function_estimate_oracle(score, value):
    """Each coordinate's sum, correctly rounded."""
    columns = zip(*score.tolist(), strict=True)
    sums = [math.fsum(f * g for f, g in zip(value.tolist(), column, strict=True)) for column in columns]
    return torch.tensor(sums, dtype=score.dtype) / len(value)


def _score_function_estimate_cases(generator):
    inputs = [(readable(normal(generator, n, p)), readable(normal(generator, n) + 1)) for n, p in ((2, 1), (3, 2))]
    # a square one, where value broadcast along the wrong axis raises nothing
    inputs += [(normal(generator, n, p), normal(generator, n) + 2) for n, p in ((3, 3), (8, 5), (1, 4))]
    return cases(_score_function_estimate_oracle, inputs)


SCORE_FUNCTION_ESTIMATE = Task(
    id="03.score_function_estimate",
    title="The score-function estimator",
    signature="score_function_estimate(score [N, P], value [N]) -> estimate [P]",
    reference=score_function_estimate,
    stages=(Exact(1, _score_function_estimate_cases),),
    alternatives=(_score_function_estimate_as_product, _score_function_estimate_in_a_loop),
    mistakes=(
        Mistake(
            "sum instead of mean",
            lambda score, value: (value[:, None] * score).sum(0),
            "You sum over the samples; an expectation is estimated by their mean, or the estimate would grow with N.",
            "SF09",
        ),
        Mistake(
            "divides by N - 1",
            lambda score, value: value @ score / (len(value) - 1),
            "You divide by N - 1. That belongs to a variance, whose mean was fitted to the same samples; a mean divides by N.",
        ),
        Mistake(
            "averages over the parameters",
            lambda score, value: (value[:, None] * score).mean(1),
            "You average over the parameters and keep the samples: axis 0 is the samples, and it is the one to reduce.",
            "SF09",
        ),
        Mistake(
            "averages over everything",
            lambda score, value: (value[:, None] * score).mean(),
            "You average over samples and parameters; the gradient has one number per parameter, so only axis 0 is reduced.",
        ),
        Mistake(
            "product of the means",
            lambda score, value: value.mean() * score.mean(0),
            "You multiply the mean of f with the mean of the score. The score's mean is zero in expectation: it is "
            "which sample had which f that carries the gradient, so multiply first, then average.",
        ),
        Mistake(
            "weights that sum to one",
            lambda score, value: value @ score / value.sum(),
            "You divide by the sum of the values. f is not a probability and needs no normalising; divide by N.",
        ),
        Mistake(
            "subtracts the sample mean",
            lambda score, value: (value - value.mean()) @ score / len(value),
            "You subtract the mean of the same samples from f. That lowers the variance, and shrinks the estimate by (N "
            "- 1) / N: no longer unbiased. Here f is used as it is.",
            "GE18",
        ),
        Mistake(
            "forgets f",
            lambda score, value: score.mean(0),
            "You average the score without f: that is an estimate of zero.",
        ),
        Mistake(
            "sign",
            lambda score, value: -(value[:, None] * score).mean(0),
            "Your estimate has the wrong sign: the gradient of E[f] itself is asked for, not of -E[f].",
            "SF01",
        ),
    ),
    hints=(
        "The gradient is the expectation of f(x) times the score; an expectation is estimated by a mean over samples.",
        "score is [N, P] and value is [N]: value[:, None] is [N, 1], and then the product is [N, P].",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.score_function", "pgcourse.gradients.score_surrogate"),
)

# ----------------------------------------------------------------------------------------------------------------------
# 03.score_function_surrogate


def score_function_surrogate(log_probability, value):
    """A number whose gradient, by autograd, is the score-function estimate of the gradient of E[f(x)].

    log_probability: [N], log p(x_n); depends on the parameters. value: [N], f(x_n); may depend on them too, but no gradient may
    flow through it.
    Returns a tensor with one number, shape []. Only its gradient is judged; the number itself means nothing.
    """
    return (value.detach() * log_probability).mean()


def _score_function_surrogate_as_product(log_probability, value):
    return log_probability @ value.detach() / len(value)


def _score_function_surrogate_by_ratio(log_probability, value):
    ratio = torch.exp(log_probability - log_probability.detach())  # 1, but its gradient is the score
    with torch.no_grad():
        weight = value / len(value)
    return (ratio * weight).sum()


def _score_function_surrogate_oracle(log_probability, value):
    """By (3.4) each log-probability is pushed by f / N, and nothing is pushed through f."""
    return torch.tensor([f / len(value) for f in value.tolist()], dtype=value.dtype), torch.zeros_like(value)


def _score_function_surrogate_cases(generator):
    inputs = [(readable(-uniform(generator, 0.2, 2, n)), readable(normal(generator, n) + 1)) for n in (2, 3)]
    inputs += [(-uniform(generator, 0.2, 4, n), normal(generator, n) + 1) for n in (1, 6, 11)]
    return cases(_score_function_surrogate_oracle, inputs)


SCORE_FUNCTION_SURROGATE = Task(
    id="03.score_function_surrogate",
    title="A surrogate for autograd",
    signature="score_function_surrogate(log_probability [N], value [N]) -> surrogate []",
    reference=score_function_surrogate,
    stages=(Exact(2, _score_function_surrogate_cases, Gradient(("log_probability", "value"))),),
    alternatives=(_score_function_surrogate_as_product, _score_function_surrogate_by_ratio),
    mistakes=(
        Mistake(
            "gradient flows through f",
            lambda log_probability, value: (value * log_probability).mean(),
            "Gradient flows through value: f would be changed instead of the probabilities. Cut it off with value.detach().",
            "SF12",
        ),
        Mistake(
            "detaches the log-probability",
            lambda log_probability, value: (value * log_probability.detach()).mean(),
            "You detach log_probability, which is the one that must be differentiated; it is value that is to be a constant.",
            "SF12",
        ),
        Mistake(
            "sign",
            lambda log_probability, value: -(value.detach() * log_probability).mean(),
            "The gradient of your surrogate has the wrong sign. Here its gradient is the estimate itself; the minus "
            "sign belongs where an optimizer minimises.",
            "SF01",
        ),
        Mistake(
            "sum instead of mean",
            lambda log_probability, value: (value.detach() * log_probability).sum(),
            "You sum over the samples; the estimate is their mean.",
            "SF09",
        ),
        Mistake(
            "probability instead of its logarithm",
            lambda log_probability, value: (value.detach() * log_probability.exp()).mean(),
            "You weight the probabilities: the gradient of p is p times the score, so likely samples count twice. Use "
            "the log-probability itself.",
        ),
        Mistake(
            "every sample pushed alike",
            lambda log_probability, value: value.detach().mean() * log_probability.mean(),
            "Every sample is pushed by the mean of f: you multiply two means, or broadcast [N, 1] with [N] to [N, N]. "
            "Multiply each log-probability with its own f, then average.",
            "SF09",
        ),
        Mistake(
            "subtracts the sample mean",
            lambda log_probability, value: ((value - value.mean()).detach() * log_probability).mean(),
            "You subtract the mean of the same samples from f: lower variance, but shrunk by (N - 1) / N. Here f is "
            "used as it is.",
            "GE18",
        ),
        Mistake(
            "forgets f",
            lambda log_probability, value: log_probability.mean(),
            "f does not weigh your samples: this is maximum likelihood, which makes every sample more likely, good or bad.",
        ),
    ),
    hints=(
        "Which expression in log p(x_n) has the gradient f(x_n) grad log p(x_n), if f is a constant?",
        "To autograd a tensor is a constant after .detach().",
        "The mean over samples of value.detach() times log_probability.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.score_surrogate",),
)

# ----------------------------------------------------------------------------------------------------------------------
# 03.measured_bias_and_variance


def measured_bias_and_variance(estimates, exact):
    """How good is an estimator of a known gradient? Measured from N independent estimates, for each parameter.

    estimates: [N, P], N >= 2. exact: [P].
    Returns three tensors [P]: the bias (mean of the estimates minus exact), the variance of one estimate (unbiased, with
    N - 1), and the standard error of that bias.
    """
    bias = estimates.mean(0) - exact
    variance = estimates.var(0)
    return bias, variance, torch.sqrt(variance / len(estimates))


def _measured_bias_and_variance_by_hand(estimates, exact):
    n = estimates.shape[0]
    mean = estimates.sum(0) / n
    variance = ((estimates - mean) ** 2).sum(0) / (n - 1)
    return mean - exact, variance, variance**0.5 / n**0.5


def _measured_bias_and_variance_in_a_loop(estimates, exact):
    rows = []
    for column, truth in zip(estimates.T, exact, strict=True):
        rows.append((column.mean() - truth, column.var(), column.std() / len(column) ** 0.5))
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _measured_bias_and_variance_oracle(estimates, exact):
    """Coordinate by coordinate with Python's ``statistics``, which computes in exact fractions."""
    columns = estimates.T.tolist()
    bias = [statistics.mean(column) - truth for column, truth in zip(columns, exact.tolist(), strict=True)]
    variance = [statistics.variance(column) for column in columns]
    error = [math.sqrt(v / len(estimates)) for v in variance]
    return tuple(torch.tensor(numbers, dtype=exact.dtype) for numbers in (bias, variance, error))


def _measured_bias_and_variance_cases(generator):
    inputs = [(readable(normal(generator, n, p) + 1), readable(normal(generator, p))) for n, p in ((2, 1), (3, 2))]
    inputs += [(3 * normal(generator, n, p), normal(generator, p)) for n, p in ((4, 4), (30, 3), (5, 7))]
    return cases(_measured_bias_and_variance_oracle, inputs)


MEASURED_BIAS_AND_VARIANCE = Task(
    id="03.measured_bias_and_variance",
    title="Bias and variance of an estimator, measured",
    signature="measured_bias_and_variance(estimates [N, P], exact [P]) -> bias [P], variance [P], standard_error [P]",
    reference=measured_bias_and_variance,
    stages=(Exact(2, _measured_bias_and_variance_cases),),
    alternatives=(_measured_bias_and_variance_by_hand, _measured_bias_and_variance_in_a_loop),
    mistakes=(
        Mistake(
            "sign of the bias",
            lambda estimates, exact: (exact - estimates.mean(0), estimates.var(0), estimates.std(0) / len(estimates) ** 0.5),
            "Your bias has the wrong sign: it is what the estimates have too much, their mean minus exact.",
        ),
        Mistake(
            "size of the bias only",
            lambda estimates, exact: (
                (estimates.mean(0) - exact).abs(),
                estimates.var(0),
                estimates.std(0) / len(estimates) ** 0.5,
            ),
            "You take the absolute value of the bias; its sign tells whether the estimates are too large or too small.",
        ),
        Mistake(
            "divides by N",
            lambda estimates, exact: (
                estimates.mean(0) - exact,
                estimates.var(0, correction=0),
                (estimates.var(0, correction=0) / len(estimates)).sqrt(),
            ),
            "Your variance divides by N. The mean was fitted to the same estimates, so the unbiased variance divides by N - 1.",
        ),
        Mistake(
            "variance divides by N",
            lambda estimates, exact: (
                estimates.mean(0) - exact,
                estimates.var(0, correction=0),
                estimates.std(0) / len(estimates) ** 0.5,
            ),
            "Your variance divides by N (your standard error does not). The mean was fitted to the same estimates, so the "
            "unbiased variance divides by N - 1.",
        ),
        Mistake(
            "standard error divides by N - 1",
            lambda estimates, exact: (
                estimates.mean(0) - exact,
                estimates.var(0),
                estimates.std(0) / (len(estimates) - 1) ** 0.5,
            ),
            "Your standard error divides by sqrt(N - 1). The variance has its N - 1 already; a mean of N has variance / N.",
        ),
        Mistake(
            "variance of the mean",
            lambda estimates, exact: (
                estimates.mean(0) - exact,
                estimates.var(0) / len(estimates),
                estimates.std(0) / len(estimates) ** 0.5,
            ),
            "Your second output is the variance of the mean, variance / N; asked is the variance of one estimate.",
        ),
        Mistake(
            "mean for bias",
            lambda estimates, exact: (estimates.mean(0), estimates.var(0), estimates.std(0) / len(estimates) ** 0.5),
            "Your first output is the mean of the estimates; the bias is that minus exact.",
        ),
        Mistake(
            "standard deviation for standard error",
            lambda estimates, exact: (estimates.mean(0) - exact, estimates.var(0), estimates.std(0)),
            "Your standard error is the standard deviation of one estimate; that of a mean of N is sqrt(N) times smaller.",
        ),
        Mistake(
            "standard error without its root",
            lambda estimates, exact: (estimates.mean(0) - exact, estimates.var(0), estimates.var(0) / len(estimates)),
            "Your standard error is variance / N, the variance of the mean: take its square root.",
        ),
        Mistake(
            "divides the deviation by N",
            lambda estimates, exact: (estimates.mean(0) - exact, estimates.var(0), estimates.std(0) / len(estimates)),
            "Your standard error divides the standard deviation by N; variances add up, so it is sqrt(N) that divides.",
        ),
        Mistake(
            "deviation for variance",
            lambda estimates, exact: (estimates.mean(0) - exact, estimates.std(0), estimates.std(0) / len(estimates) ** 0.5),
            "Your second output is the standard deviation; the variance is its square.",
        ),
        Mistake(
            "spread around the exact value",
            lambda estimates, exact: (
                estimates.mean(0) - exact,
                (estimates - exact).square().mean(0),
                ((estimates - exact).square().mean(0) / len(estimates)).sqrt(),
            ),
            "You measure the spread around exact: the mean squared error, which is variance plus squared bias. The "
            "variance is the spread around the estimates' own mean.",
        ),
        Mistake(
            "spread around the exact value, by N - 1",
            lambda estimates, exact: (
                estimates.mean(0) - exact,
                (estimates - exact).square().sum(0) / (len(estimates) - 1),
                ((estimates - exact).square().sum(0) / (len(estimates) - 1) / len(estimates)).sqrt(),
            ),
            "You measure the spread around exact, which has the squared bias in it too. The variance is the spread "
            "around the estimates' own mean.",
        ),
    ),
    hints=(
        "Axis 0 is the N repetitions: reduce that one, and every output is [P].",
        "tensor.var(0) divides by N - 1, as it should here.",
        "The mean of N independent numbers of variance v has variance v / N; a standard error is the root of a variance.",
    ),
    error_budget=EXACT_BUDGET,
    forbidden=("pgcourse.gradients.bias_and_variance",),
)

TASKS = (
    GAUSSIAN_SCORE,
    CATEGORICAL_SCORE,
    SCORE_FUNCTION_ESTIMATE,
    SCORE_FUNCTION_SURROGATE,
    MEASURED_BIAS_AND_VARIANCE,
)
