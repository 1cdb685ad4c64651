# %% [markdown]
# # Exercise 03: the log-derivative trick
#
# Lecture 03 in five functions of your own: two scores, the estimator, the loss that makes autograd compute it, and the
# measurement that tells whether an estimator deserves its name. At the end you use them to catch a wrong one.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below
# it: it says at once whether the function is right, and if not, what is wrong. `hint(f)` gives a hint, and another
# one each time; `solution(f)` shows the answer, and asks once before it does. Nothing is lost when you close the
# notebook: `progress()` at the end knows what is done.

# %%
import torch

from pgcourse import budget, figures, plots
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives


def try_it(function, *inputs):
    """Show what your function makes of these inputs; while it is not written, say so."""
    try:
        result = function(*inputs)
    except NotImplementedError as problem:
        if str(problem):  # torch's, from inside your function
            raise
        result = "not written yet"
    if result is not None:
        print(result)


# %% [markdown]
# ## 1. The score of a Gaussian
#
# The coordinates of $x$ are independent, each with its own mean $\mu$ and its own scale $\sigma$ (the standard
# deviation):
#
# $$\log p(x) = -\frac{(x - \mu)^2}{2\sigma^2} - \log \sigma - \tfrac12 \log 2\pi \quad\text{in each coordinate.}$$
#
# `x` is `[N, D]`, `mean` and `scale` are `[D]`. Return two tensors `[N, D]`: $\partial \log p / \partial \mu$ and
# $\partial \log p / \partial \sigma$. Mind the second one: by $\sigma$ itself, not by $\log\sigma$.

# %%
# solution: 03.gaussian_score

# %%
check(gaussian_score).points

# %% [markdown]
# Three samples of one Gaussian with mean 0 and scale 2: at the mean, one scale to the right of it, two scales to the
# right. Which way does each pull the mean, and which way the scale? Decide, then run.

# %%
samples = torch.tensor([[0.0], [2.0], [4.0]])
try_it(gaussian_score, samples, torch.zeros(1), torch.tensor([2.0]))

# %% [markdown]
# The sample at the mean leaves the mean alone and asks for a smaller scale; the others pull the mean to the right. At one
# scale the second score changes its sign: that sample is as far out as expected. The last asks for a larger scale.

# %% [markdown] tags=["solution-only"]
# With $z = (x - \mu)/\sigma$ the two scores are $z/\sigma$ and $(z^2-1)/\sigma$.

# %% [markdown]
# ## 2. The score of a softmax
#
# $\pi(a) = e^{l_a} / \sum_k e^{l_k}$, with logits $l$. The score is the gradient of $\log\pi(a)$ with respect to all
# the logits, so it has $K$ numbers for each sample, not one.
#
# `logits` is `[N, K]`, a row for each sample; `action` is `[N]`, whole numbers from 0 to $K - 1$. Return `[N, K]`.

# %%
# solution: 03.categorical_score

# %%
check(categorical_score).points

# %% [markdown]
# Probabilities 0.7, 0.2 and 0.1, and each outcome drawn once. Before you run it: which of the three rows is the
# longest, and what does every row sum to?

# %%
likely = torch.tensor([0.7, 0.2, 0.1]).log().expand(3, 3)
try_it(categorical_score, likely, torch.tensor([0, 1, 2]))

# %% [markdown]
# The rarest outcome has the longest score: a surprise pulls hardest. Every row sums to zero, because adding the same
# number to all logits changes no probability.

# %% [markdown]
# ## 3. The score-function estimator
#
# Equation (3.4), once the scores are there:
#
# $$\hat g = \frac1N \sum_{i=1}^{N} f(x_i)\, \nabla_\theta \log p_\theta(x_i)$$
#
# `score` is `[N, P]`, a row for each sample and a column for each parameter; `value` is `[N]`, the $f(x_i)$. Return
# `[P]`.

# %%
# solution: 03.score_function_estimate

# %%
check(score_function_estimate).points

# %% [markdown] tags=["solution-only"]
# `value @ score / len(value)` says the same in one product. What must not happen is to average $f$ and the score apart
# and to multiply then: the score alone averages to zero.

# %% [markdown]
# Now your functions play the darts of lecture 03. Sixteen replicas estimate the gradient of the average points from more
# and more darts; the dashed line is the truth.

# %%
AIM = torch.tensor([-1.0, -0.6], dtype=torch.float64)
SPREAD = torch.tensor([0.6, 0.6], dtype=torch.float64)


def points(x):
    """f, [..., 2] -> [...]: one point for each of three discs x lies in."""
    distance = x.norm(dim=-1)
    return sum((distance < radius).to(x.dtype) for radius in (0.5, 1.0, 1.5))


truth = figures.expected_pull(points, AIM, 0.6)  # by a sum over the wall, [2]


# %%
def my_gradient(x):
    """Your estimate of the gradient from darts x [N, 2]."""
    score_of_mean, _ = gaussian_score(x, AIM, SPREAD)
    return score_function_estimate(score_of_mean, points(x))


def my_curve():
    x = AIM + SPREAD * Rng(range(16)).normal(3000, 2)  # [replica, dart, 2]
    sizes = (3, 10, 30, 100, 300, 1000, 3000)
    mine = [[my_gradient(each[:n])[0].item() for n in sizes] for each in x]
    picture, ax = plots.figure(8, 4)
    plots.band(ax, sizes, mine, label="your estimates")
    ax.axhline(truth[0], color="black", linestyle="--", label="exact")
    ax.set(xscale="log", xlabel="darts", ylabel="points per metre")
    plots.legend(ax)
    plots.show(picture, "The estimates close in on the truth.")


# %%
try_it(my_curve)

# %% [markdown]
# ## 4. A surrogate for autograd
#
# A number whose *gradient* is the estimate of task 3, so that nobody has to write scores by hand. It is to be
# ascended: no minus sign.
#
# `log_probability` is `[N]`, the $\log p_\theta(x_i)$, and depends on the parameters; `value` is `[N]`, the $f(x_i)$. In a
# program `value` may depend on parameters too, but no gradient may flow through it. Return a tensor with a single number,
# shape `[]`. Its value is not judged, its gradient is.

# %%
# solution: 03.score_function_surrogate

# %%
check(score_function_surrogate).points

# %% [markdown]
# A hundred darts, two ways: autograd on your surrogate, and your tasks 1 and 3. They must agree in every digit.


# %%
def by_autograd(x):
    aim = AIM.clone().requires_grad_()
    log_probability = torch.distributions.Normal(aim, SPREAD).log_prob(x).sum(-1)
    surrogate = score_function_surrogate(log_probability, points(x))
    return torch.autograd.grad(surrogate, aim)[0]


x = AIM + SPREAD * Rng(0).normal(100, 2)[0]
try_it(by_autograd, x)
try_it(my_gradient, x)

# %% [markdown]
# ## 5. Bias and variance, measured
#
# An estimator is a claim: on average I am right, and I am this noisy. Both can be measured, if the truth is known. From
# $N$ independent estimates $g_i$ of a gradient $g$, for each parameter:
#
# $$\text{bias} = \bar g - g, \qquad \text{variance} = \frac{1}{N-1} \sum_i (g_i - \bar g)^2, \qquad
# \text{error} = \sqrt{\text{variance} / N}.$$
#
# The variance is that of *one* estimate; the error is the standard error of the bias. `estimates` is `[N, P]`, `exact` is
# `[P]`. Return the three in this order, each `[P]`.

# %%
# solution: 03.measured_bias_and_variance

# %%
check(measured_bias_and_variance).points

# %% [markdown]
# Now catch one. Three estimators, each from ten darts, tried many times. The first uses $f$; the second $f - 1$; the
# third subtracts the average points of the same ten darts, which seems even better. One of the three is biased. Predict
# which, and by how much; then let your function decide.

# %%
tries = budget.choose(20_000, 5_000)
x = AIM + SPREAD * Rng(0).normal(tries, 10, 2)[0]  # [try, dart, 2]
score, f = (x - AIM) / SPREAD**2, points(x)[..., None]
suspects = {
    "f": (f * score).mean(1),
    "f - 1": ((f - 1) * score).mean(1),
    "f - mean of the ten": ((f - f.mean(1, keepdim=True)) * score).mean(1),
}


# %%
def verdict(estimates):
    """Bias in standard errors, and variance, of the first coordinate."""
    bias, variance, error = measured_bias_and_variance(estimates, truth)
    many = bias[0] / error[0]
    return f"bias {bias[0]:7.4f} = {many:5.1f} errors, variance {variance[0]:.3f}"


for name, estimates in suspects.items():
    print(f"{name:20s}", end=" ")
    try_it(verdict, estimates)

# %% [markdown]
# One or two standard errors are chance; thirty are not. The third estimator comes out too small by a tenth of the gradient:
# each dart's own points are a tenth of the mean that is subtracted from them, so a tenth of its pull goes with it. (From
# $N$ darts the factor is $(N-1)/N$; with the mean of the *other nine* there would be no bias: lecture 05.) Of the honest
# two, the second has the smaller variance, for the price of one guess.

# %% [markdown]
# ## How far are you?

# %%
progress()
