# %% [markdown]
# # Exercise 11: pathwise gradients
#
# Lecture 11 in six functions of your own: two kinds of samples that know their parameters, the pathwise estimator, the score
# function beside it, a gradient through an episode, and the warnings that tell you when not to use it.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below it.
# `hint(f)` gives a hint, and another one each time; `solution(f)` shows the answer, and asks once before it does.

# %%
import torch

from pgcourse import budget, distributions, exact, gradients, plots
from pgcourse.envs import lqr
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
# ## 1. A sample that knows its parameters
#
# The noise comes from outside; what is done to it depends on the parameters: $x = \mu + \sigma z$. The parameters are
# $\mu$ and $\log\sigma$, `mean` and `log_scale`, both `[D]`; `noise` is `[N, D]`. Return the samples `[N, D]`, and how far
# each moves when its `log_scale` grows: $\partial x / \partial \log\sigma$, also `[N, D]`.

# %%
# solution: 11.reparameterized_sample

# %%
check(reparameterized_sample).points

# %% [markdown]
# Three darts of one Gaussian with mean 1 and scale 2: their noise is 0, 1 and -1. The scale grows a little. Which of the
# three stays, and which way do the others go? Decide, then run.

# %%
one = torch.ones(1)
try_it(reparameterized_sample, one, torch.tensor([2.0]).log(), torch.tensor([[0.0], [1.0], [-1.0]]))

# %% [markdown]
# The dart at the mean stays; the other two move outward, each to its own side. That is all that "reparameterized" means:
# the same noise, and a sample that can be asked where it would go.

# %% [markdown]
# ## 2. Samples that go together
#
# A Gaussian with a full covariance matrix $\Sigma$: $x = \mu + L z$ with $L L^\top = \Sigma$, and $L$ lower triangular.
# `mean` is `[D]`, `covariance` is `[D, D]`, `noise` is `[N, D]` with one $z$ in each row. Return `[N, D]`.

# %%
# solution: 11.correlated_sample

# %%
check(correlated_sample).points

# %% [markdown]
# Your samples' own covariance, from a hundred thousand of them, beside the one that was asked for:

# %%
covariance = torch.tensor([[1.0, -0.8], [-0.8, 2.0]], dtype=torch.float64)


def measured_covariance():
    x = correlated_sample(torch.zeros(2).double(), covariance, Rng(0, dtype=torch.float64).normal(100_000, 2)[0])
    print("asked for", covariance.tolist())
    print("measured ", (x.T @ x / len(x)).numpy().round(3).tolist())


try_it(measured_covariance)

# %% [markdown] tags=["solution-only"]
# With $z$ in rows, $(Lz)^\top = z^\top L^\top$, hence `noise @ L.T`. `noise @ L` is the classic slip: its covariance is
# $L^\top L$, which has the same trace and looks plausible in every scatter plot.

# %% [markdown]
# ## 3. The pathwise estimator
#
# By the chain rule (11.4): the slope of $f$ at the sample, times how the sample moves. `slope` is `[N, D]`, the gradient
# of $f$ by $x$ at each of $N$ samples; `noise` is `[N, D]`; `scale` is `[D]`. Return two estimates `[D]`: of the gradient
# by $\mu$, and by $\log\sigma$.

# %%
# solution: 11.pathwise_estimate

# %%
check(pathwise_estimate).points

# %% [markdown]
# Is it right on average? Here $f(x) = \sin x_0 + x_0 x_1$, whose slopes you can write down. Sixteen replicas average a
# hundred samples each; beside their mean stands the exact gradient, by quadrature.

# %%
mean, scale = torch.tensor([0.4, -0.6], dtype=torch.float64), torch.tensor([0.8, 0.5], dtype=torch.float64)
noise = Rng(range(16), dtype=torch.float64).normal(100, 2)  # [replica, sample, 2]


def f(x):
    return x[..., 0].sin() + x[..., 0] * x[..., 1]


wave = gradients.Expectation(lambda theta: distributions.Normal(theta[..., :2], theta[..., 2:]), f)
truth = exact.expectation_gradient(wave, torch.cat([mean, scale.log()]))


# %%
def on_average():
    x = scale * noise + mean
    slope = torch.stack([x[..., 0].cos() + x[..., 1], x[..., 0]], -1)  # of f, by x
    pairs = zip(slope, noise, strict=True)
    estimates = torch.stack([torch.cat(pathwise_estimate(s, z, scale)) for s, z in pairs])
    print("mean of yours", estimates.mean(0).numpy().round(3))
    print("its error    ", (estimates.std(0) / 4).numpy().round(3))
    print("exact        ", truth.numpy().round(3))


try_it(on_average)

# %% [markdown]
# ## 4. Two estimates of one gradient
#
# Now both ways on the same samples. You throw at a target in $D$ dimensions and are paid $f(x) = -|x - \text{target}|^2$;
# the gradient by `mean` is asked for. `mean`, `scale` and `target` are `[D]`, `noise` is `[N, D]`. Return the
# score-function estimate and the pathwise estimate, each `[D]`.

# %%
# solution: 11.score_and_pathwise

# %%
check(score_and_pathwise).points

# %% [markdown]
# What is it worth to know the slope? Predict the two curves, then run: the squared error of an estimate from ten samples,
# in 2 to 64 dimensions. (Thick lines are means over sixteen replicas, bands their 95 % intervals, thin lines replicas.)

# %%
dimensions = (2, 4, 8, 16, 32, 64)


def squared_errors(d):
    """Mean squared error of both, [replica, 2]."""
    at, wide, goal = torch.zeros(d), torch.full((d,), 0.5), torch.full((d,), 0.3)
    z = Rng(range(16)).normal(budget.choose(40, 10), 10, d)
    pairs = [[torch.stack(score_and_pathwise(at, wide, goal, each)) for each in row] for row in z]
    estimates = torch.stack([torch.stack(row) for row in pairs])  # [replica, try, 2, d]
    return (estimates - 2 * (goal - at)).square().sum(-1).mean(1)


# %%
def my_curves():
    errors = torch.stack([squared_errors(d) for d in dimensions], 1)  # [replica, d, 2]
    picture, ax = plots.figure(8, 4)
    plots.band(ax, dimensions, errors[..., 0], label="score function")
    plots.band(ax, dimensions, errors[..., 1], label="pathwise", color="pathwise")
    ax.set(xscale="log", yscale="log", xlabel="dimensions", ylabel="squared error of an estimate")
    ax.set_xticks(dimensions, dimensions)
    ax.minorticks_off()
    plots.show(picture, "Both grow with the dimensions; the score function's error grows with their third power.")


# %%
try_it(my_curves)

# %% [markdown]
# ## 5. A gradient through known dynamics
#
# Now an episode. In state $s$ the policy acts $a = -K s + \sigma z$, is paid $-(|s|^2 + |a|^2)$, and the world moves to
# $A s + B a$. Everything is known, so the mean return of a batch of episodes is one differentiable program: write it.
#
# `gain` ($K$) is `[A, S]`, `scale` ($\sigma$) `[A]`, `dynamics` ($A$) `[S, S]`, `control` ($B$) `[S, A]`, `start` `[E, S]`,
# `noise` `[T, E, A]`. Return one number: the mean over the $E$ episodes of the sum of their $T$ rewards. Its gradient by
# gain and scale is judged; for that nothing on the way may be cut off.

# %%
# solution: 11.return_through_dynamics

# %%
check(return_through_dynamics).points

# %% [markdown]
# Your function trains a controller: a mass of 1 kg is to be brought to rest at the origin. Forty steps of length 0.1 along
# your gradient, sixteen replicas with eight episodes a step; the dashed line is the best that any controller can do (Riccati).

# %%
mass = lqr.LQR([[1.0, 0.2], [0.0, 1.0]], [[0.02], [0.2]], torch.eye(2), torch.eye(1), time_limit=20)
best = exact.riccati(mass)
limit = -float(best.cost[0].trace())  # starts are standard normal


def my_update(gain, start, noise):
    """One step along your gradient, and the exact return of where it began."""
    at = gain.clone().requires_grad_()
    value = return_through_dynamics(at, torch.full((1,), 0.1).double(), mass.dynamics, mass.control, start, noise)
    (slope,) = torch.autograd.grad(value, at)
    return gain + 0.1 * slope / slope.norm(), exact.linear_return(mass, gain[None])[0]


# %%
def my_training(updates=budget.choose(40, 15)):
    rng, curves = Rng(range(16), dtype=torch.float64), []
    starts, noises = rng.normal(updates, 8, 2), rng.normal(updates, 20, 8, 1)
    for start, noise in zip(starts, noises, strict=True):
        gain, curve = torch.zeros(1, 2, dtype=torch.float64), []
        for k in range(updates):
            gain, value = my_update(gain, start[k], noise[k])
            curve.append(value)
        curves.append(torch.stack(curve))
    picture, ax = plots.figure(8, 4)
    plots.band(ax, range(updates), torch.stack(curves), label="your gradient", color="pathwise")
    ax.axhline(limit, color="black", linestyle="--", label="Riccati")
    ax.set(xlabel="updates", ylabel="return per episode", ylim=(4 * limit, 0))
    plots.legend(ax, loc="lower right")
    plots.show(picture, "A few steps along a gradient that runs through the world bring the gain next to the best there is.")


# %%
try_it(my_training)

# %% [markdown]
# ## 6. When not to trust it
#
# Nothing in a pathwise gradient says that it is wrong. The score function is unbiased always, so let it be the judge, on
# the same noise. `by_score` and `by_pathwise` are `[N, P]`: row $n$ of both comes from the same samples. Return two
# warnings, each `[P]`:
#
# - the **disagreement**: the mean of the differences `by_pathwise - by_score`, divided by its standard error;
# - the **variance ratio**: the variance of `by_pathwise` over that of `by_score`.

# %%
# solution: 11.pathwise_warnings

# %%
check(pathwise_warnings).points

# %% [markdown]
# Four payments, all functions of one number $x \sim N(\theta, 1)$. For which of them would you use the pathwise gradient?
# Decide, then let your function say.

# %%
payments = {
    "a hill": lambda x: (-x.square() / 2).exp(),
    "a roof, bent at 0": lambda x: -x.abs(),
    "a hill and a step at 1": lambda x: (-x.square() / 2).exp() + 0.5 * (x > 1).double(),
    "a fine ripple": lambda x: (20 * x).sin() / 4,
}


def verdict(pay):
    """Your two warnings at theta = 0.3, from single samples."""
    tries = budget.choose(40_000, 20_000)
    lone = gradients.Expectation(lambda theta: distributions.Normal(theta, 0 * theta), lambda x: pay(x[..., 0]))
    theta, z = torch.full((tries, 1), 0.3, dtype=torch.float64), Rng(0, dtype=torch.float64).normal(tries, 1, 1, 1)[0]
    pair = gradients.likelihood_ratio(lone, theta, z), gradients.pathwise(lone, theta, z)
    disagreement, ratio = pathwise_warnings(*pair)
    return f"disagreement {disagreement[0]:6.1f} errors, variance ratio {ratio[0]:6.2f}"


# %%
for name, pay in payments.items():
    print(f"{name:24s}", end=" ")
    try_it(verdict, pay)

# %% [markdown]
# The hill and the roof are fine: a bend is no jump, and $f$ stays continuous. The step is a bias of dozens of errors that
# no amount of data will mend. The ripple is unbiased and useless: its slopes are twenty times as steep as $f$ is
# high, and cancel. Two warnings, two different reasons to fall back on the score.

# %% [markdown]
# ## How far are you?

# %%
progress()
