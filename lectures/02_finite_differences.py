# %% [markdown]
# # 02 How far does blind perturbation get us?
#
# In 2004 a robot dog learned to walk faster than anybody had been able to program it. It knew nothing of calculus. It
# changed its gait a little, walked, looked at the clock, and kept what seemed to help. This lecture asks how much of a
# gradient one can get out of a number that comes back from the world: how small a change should be, what luck does to
# the answer, what it all costs, and when it is the best thing to do.
#
# **After it you can**
# - estimate a gradient by differences, and choose the step when arithmetic or luck spoils small ones;
# - say what common random numbers save, and when they cannot be had;
# - run the algorithm of the robot dog, and five other black-box searches, on one budget.
#
# **You need** lecture 01: $\theta$, $J(\theta)$, a Monte Carlo mean and its standard error. **Time:** 60 minutes at the
# keyboard, 30 as a talk.

# %%
import inspect
import json
from dataclasses import replace
from functools import partial

import torch
from IPython.display import Code
from torch.testing import assert_close

from pgcourse import blackbox, budget, envs, figures_02, gradients, plots, quizzes, widgets
from pgcourse.algorithms import cem, cma_es, genetic, hill_climbing, kohl_stone, random_search
from pgcourse.envs import gait, gait_mujoco
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
double = torch.float64

# %% [markdown]
# ## The throw
#
# You throw a ball and want it to fly far. $\theta$ is the angle above the horizon, in rad (shape `[1]`; a parameter vector
# with one entry). Your arm is a little stronger one time, a little weaker the next: the speed is $10\,(1 + 0.05\,z)$ metres
# per second, with $z$ drawn from a standard Gaussian, and we call $z$ the **noise**. The ball lands
# $f(\theta, z) = v^2 \sin(2\theta) / 9.81$ metres away.


# %%
def throw(theta, noise):
    """f: how far the ball flies, metres. theta [..., 1], noise [..., 1] -> [...]."""
    speed = 10 * (1 + 0.05 * noise[..., 0])
    return speed**2 * torch.sin(2 * theta[..., 0]) / 9.81


def J(theta, noise=None):
    """The average throw, exactly: E[speed^2] is 100 (1 + 0.05^2)."""
    return 100 * (1 + 0.05**2) * torch.sin(2 * theta[..., 0]) / 9.81


# %% [markdown]
# As in lecture 01 the **objective** is the average, $J(\theta) = \mathbb{E}_z[f(\theta, z)]$, and what you want is its
# slope: by how many metres does the average throw get longer for each radian that you aim higher? You may throw as often
# as you like, at any angle. You may not look inside $f$: to you it is a **black box**. Here we know the answer,
# $J'(\theta) = 2 \cdot 100 \cdot 1.0025 \cos(2\theta) / 9.81$, and can see how well you do.

# %%
theta = torch.tensor([0.4], dtype=double)
slope = 200 * (1 + 0.05**2) * torch.cos(2 * theta) / 9.81  # [1], metres per radian
many = throw(theta, Rng(range(16), dtype=double).normal(50_000, 1)).mean(1)  # [seed]
error = 2.13 * many.std() / 4  # Student's t for 95 % and sixteen
print(f"J(0.4): {J(theta):.4f} m exactly; {many.mean():.4f} ± {error:.4f} by throwing")
print(f"its slope: {slope.item():.4f} m/rad")

# %% [markdown]
# (± is a 95 % interval from sixteen **replicas**, the same experiment with sixteen seeds.)
#
# ## The whole lecture in one picture
#
# The slope of $J$ is the slope of a line through two of its points, if these are close together. On the left the two
# aims. On the right, for every distance between them, the **step**, how wrong that slope is.

# %%
caption = "A step can be too large, because J is curved, and too small, because what is measured is never exact."
widgets.movable(partial(figures_02.vee, throw=throw, mean=J), **figures_02.VEE, caption=caption)

# %% [markdown]
# Two things to try. Drag the step from right to left: the line turns into the tangent, and the error falls, then rises
# again. Change *float64* to *float32* and do it once more. Leave *luck* alone until turn 4. Turns 1 to 5 take this picture
# apart.

# %% [markdown]
# ## 1. Two aims, one slope
#
# Write $\varepsilon$ for the step. A function with enough derivatives is a polynomial when you look closely (Taylor):
#
# $$J(\theta + \varepsilon) = J + \varepsilon J' + \tfrac{1}{2}\varepsilon^2 J'' + \tfrac{1}{6}\varepsilon^3 J''' + \dots
# \tag{2.1}$$
#
# where $J$ and its derivatives on the right are taken at $\theta$. Subtract $J(\theta)$ and divide by $\varepsilon$:
#
# $$\frac{J(\theta + \varepsilon) - J(\theta)}{\varepsilon} = J' + \tfrac{1}{2}\varepsilon\, J'' + \dots \tag{2.2}$$
#
# This is the **forward difference**. Its error, called the *truncation error*, begins with $\tfrac12\varepsilon J''$.

# %%
second, third = -4 * J(theta), -4 * slope  # J'' and J''' of a sine
for step in (0.1, 0.01, 0.001):
    forward = (J(theta + step) - J(theta)) / step
    error, by_22 = (forward - slope).item(), (step / 2 * second).item()
    print(f"step {step:5.3f}: error {error:+.6f}   (2.2): {by_22:+.6f}")
assert_close(gradients.forward_differences(J, theta, None, step)[0], forward)

# %% [markdown]
# The last line compares with the library, whose estimators all take the objective, $\theta$, the noise and the step. $J$ has no
# noise: `None`.

# %%
widgets.predict(
    "Instead of theta and theta + step, take the two aims theta - step and theta + step, and divide by 2 step. The step "
    "shrinks from 0.1 to 0.01. What does the error do?",
    [
        "It gets ten times smaller, as before",
        "It gets a hundred times smaller",
        "It stays: the two aims are as far apart as they were, relative to the step",
    ],
)

# %%
for step in (0.1, 0.01, 0.001):
    central = (J(theta + step) - J(theta - step)) / (2 * step)
    error, by_23 = (central - slope).item(), (step**2 / 6 * third).item()
    print(f"step {step:5.3f}: error {error:+.8f}   (2.3): {by_23:+.8f}")
assert_close(gradients.central_differences(J, theta, None, step)[0], central)

# %% [markdown]
# A hundred times. Put $-\varepsilon$ into (2.1) as well and subtract: the even terms go away.
#
# $$\frac{J(\theta + \varepsilon) - J(\theta - \varepsilon)}{2\varepsilon} = J' + \tfrac{1}{6}\varepsilon^2 J''' + \dots
# \tag{2.3}$$
#
# This is the **central difference**. Curvature pulls both ends the same way, and a difference does not see it. (Change
# *forward* to *central* in the picture: the right-hand flank gets twice as steep.)

# %% [markdown]
# ## 2. Then make the step tiny?

# %%
widgets.predict(
    "Numbers in float64 have about 16 digits. What is the error of the forward difference with a step of 1e-17?",
    [
        "About 1e-16: half the step times J''",
        "As large as the slope itself",
        "None: Python raises an error, because the step is too small",
    ],
)

# %%
for step in (1e-5, 1e-8, 1e-11, 1e-14, 1e-17):
    forward = gradients.forward_differences(J, theta, None, step)
    error = (forward - slope).abs().item()
    print(f"step {step:.0e}: slope {forward.item():9.5f}, error {error:.1e}")

# %% [markdown]
# Below some point it gets worse; in the end $\theta + \varepsilon$ *is* $\theta$, and the slope is 0. A computer stores $J$
# with a relative error of up to $u$, the *unit round-off*: $1.1 \cdot 10^{-16}$ in float64, $6 \cdot 10^{-8}$ in float32. The
# two values agree in almost all digits, the difference keeps only the last ones, and dividing by $\varepsilon$ blows their
# error up:
#
# $$|\text{round-off}| \lesssim \frac{2 u |J|}{\varepsilon}\ \text{(forward)}, \qquad
# |\text{round-off}| \lesssim \frac{u |J|}{\varepsilon}\ \text{(central)} \tag{2.4}$$
#
# ($\theta \pm \varepsilon$ is rounded as well, which here adds less than that again.) As $\varepsilon$ shrinks,
# truncation falls and round-off rises. Their sum is least where its derivative is zero:
#
# $$\varepsilon_\text{forward} = 2\sqrt{u\,|J / J''|}, \qquad \varepsilon_\text{central} = (3u\,|J / J'''|)^{1/3}
# \tag{2.5}$$

# %%
steps = 10**figures_02.EXPONENTS
for numbers in ("float32", "float64"):
    u = torch.finfo(getattr(torch, numbers)).eps / 2
    computed = {
        "forward": 2 * (u * (J(theta) / second).abs()) ** 0.5,
        "central": (3 * u * (J(theta) / third).abs()) ** (1 / 3),
    }
    for name, best in computed.items():
        error = figures_02.errors(throw, J, name, numbers, figures_02.LUCK[0])
        found = steps[error.argmin()]
        print(f"{numbers} {name}: best step {found:.0e}, by (2.5) {best.item():.0e},", end=" ")
        print(f"error there {error.min():.0e} m/rad")

# %%
picture, ax = plots.figure(8, 4.6)
curves = {
    f"{name}, {numbers}": (figures_02.errors(throw, J, name, numbers, figures_02.LUCK[0]), paint, line)
    for numbers, paint in (("float32", "#b0b0b0"), ("float64", "#404040"))
    for name, line in (("forward", "--"), ("central", "-"))
}
figures_02.error_curves(ax, steps, curves)
plots.show(
    picture,
    "Half the digits at best with forward differences, two thirds with central ones; at the wrong step none.",
)

# %% [markdown]
# The best step is nowhere near the smallest. With $d$ digits in a number, forward differences keep about $d/2$ of them,
# central ones $2d/3$. And it takes a $J$ without noise.

# %% [markdown]
# ## 3. What it costs
#
# With $n$ parameters the gradient has $n$ entries, each the slope along one coordinate axis $e_j$:
# $\partial J / \partial \theta_j \approx (J(\theta + \varepsilon e_j) - J(\theta)) / \varepsilon$. A black box gives one number
# each time it is asked. How often is it asked?


# %%
class Counter:
    """An objective that counts how many parameter vectors it was asked about."""

    asked = 0

    def __call__(self, theta, noise):
        self.asked += theta[..., 0].numel()
        return theta.sin().sum(-1)


# %%
for n in (1, 12, 1000):
    for estimator in (gradients.forward_differences, gradients.central_differences):
        counter, at = Counter(), torch.linspace(0, 1, n, dtype=double)
        error = (estimator(counter, at, None, 1e-5) - at.cos()).abs().max()
        print(f"n = {n:4d}: {estimator.__name__:20s} asks {counter.asked:4d} times,", end=" ")
        print(f"largest error {error:.0e}")

# %% [markdown]
# $n + 1$ times forward (the value at $\theta$ serves all $n$), $2n$ times central. (A sum of a thousand sines is a large $J$,
# and its round-off grows with it, (2.4).) For twelve parameters that is nothing. The network that plays Pong in lecture 06
# has more than a million, and a question there is a game of Pong. So what comes in this lecture is for few parameters.

# %% [markdown]
# ## 4. Luck
#
# Now throw for real: $N$ throws at each of the two aims, two means, one slope. Write $\sigma^2$ for the variance of one
# throw. Two independent means differ by their luck, with variance $2\sigma^2/N$; divide by $2\varepsilon$, so square:
#
# $$\operatorname{Var} = \frac{\sigma^2}{2 N \varepsilon^2} \quad\text{(central difference, new throws for each aim)} \tag{2.6}$$

# %%
widgets.predict(
    "Twenty throws at each of two aims. Which step makes the best estimate of the slope?",
    [
        "About 1e-5 rad, as calculus and arithmetic say",
        "About 0.01 rad: a bit more, to be safe",
        "About 0.2 rad, eleven degrees",
    ],
)


# %%
def root_mean_squared_error(objective, step, noise, truth):
    """Of central differences at 0.4, one for each replica: noise [replica, repeat, aims, throws, 1] -> [replica]."""
    at = theta.expand(*noise.shape[:2], 1)
    found = gradients.central_differences(objective, at, noise, step)
    return (found - truth).square().mean((1, 2)).sqrt()


# %%
N, repeats = 20, budget.choose(200, 60)
rng = Rng(range(16), dtype=double)
new = rng.normal(repeats, 2, N, 1)  # noise of its own for each of the two aims
grid = torch.logspace(-3, 0, 13, dtype=double)
# [replica, step]
luck = torch.stack([root_mean_squared_error(throw, step, new, slope) for step in grid], 1)

# %%
sigma = throw(theta, rng.normal(10_000, 1)).std()
by_26 = sigma / (2 * N) ** 0.5 / grid
bias = grid**2 / 6 * third.abs()
best = (3 * sigma / (third.abs() * N**0.5)) ** (1 / 3)
found = grid[luck.mean(0).argmin()]
print(f"least error at a step of {found:.2f} rad; by the formula below {best.item():.2f}")
print(f"there it is {luck.mean(0).min():.2f} m/rad, of a slope of {slope.item():.1f}")

# %%
picture, ax = plots.figure(8, 4.6)
lines = {"root of (2.6)": (by_26, ":"), "truncation, (2.3)": (bias, "--")}
figures_02.error_curves(ax, grid, {"new throws for each aim": (luck, "finite_differences")}, lines)
ax.set_ylim(0.05, 300)
plots.show(
    picture,
    "With luck in play the valley moves to large steps: a step that calculus likes drowns in noise.",
)

# %% [markdown]
# The same V with another left flank, and its bottom lies tens of thousands of times further right. What is divided by
# $2\varepsilon$ is a signal, which shrinks with $\varepsilon$, and luck, which does not. Least is the sum of variance and
# squared bias, $\sigma^2/(2N\varepsilon^2) + (\varepsilon^2 J'''/6)^2$, where its derivative is zero: $\varepsilon =
# \big(3\sigma / (\sqrt N |J'''|)\big)^{1/3}$. Good steps under noise are *large*. (The band of the sixteen replicas is
# narrower than their line.) And throwing a hundred times as often lets the step shrink by no more than $100^{1/6} \approx
# 2.2$.

# %% [markdown]
# ## 5. The same luck on both sides
#
# In a simulation you own the dice. Use the *same* $N$ numbers $z$ at both aims: **common random numbers**. The means are
# still as noisy as they were. But write out the variance of their difference:
#
# $$\operatorname{Var} = \frac{\sigma_+^2 + \sigma_-^2 - 2\operatorname{Cov}(f_+, f_-)}{4 N \varepsilon^2} \tag{2.7}$$
#
# with $f_\pm = f(\theta \pm \varepsilon, z)$ and $\sigma_\pm^2$ their variances. Independent throws have covariance zero, and
# with $\sigma_\pm \approx \sigma$ (2.7) is (2.6).

# %%
widgets.predict(
    "With the same throws on both sides, what does the error do as the step goes to zero?",
    [
        "It grows as before: each mean is as noisy as it was",
        "It grows, but more slowly",
        "It levels off at a small value and stays there",
    ],
)

# %%
same = new[:, :, :1]  # the first aim's noise, for both
common = torch.stack([root_mean_squared_error(throw, step, same, slope) for step in grid], 1)

# %%
for step in (0.1, 0.01):
    z = rng.normal(10_000, 1)
    pair = torch.stack([throw(theta + step, z), throw(theta - step, z)], 1)  # [replica, 2, throw]
    cov = torch.stack([p.cov() for p in pair]).mean(0)
    formula = (cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) / (4 * N * step**2)
    found = gradients.central_differences(throw, theta.expand(16, repeats, 1), same, step)
    independent = sigma**2 / (2 * N * step**2)
    print(f"step {step}: variance {found.var():.4f}, by (2.7) {formula:.4f},", end=" ")
    print(f"with luck of their own {independent:.1f}")

# %% [markdown]
# It levels off (to watch it, go back to the picture at the top and change *luck*). A strong throw is strong at both aims; in
# the difference that cancels, and what is left is how the *slope* depends on $z$. As $\varepsilon \to 0$ you get the mean of
# $\partial f / \partial\theta$, which has a variance of its own and no $1/\varepsilon$. Is it always so good? Let the throw
# count only if it lands in a basket between 7 and 8 metres: $f$ is then 1 or 0, and it jumps.


# %%
def basket(theta, noise):
    """1 if the ball lands between 7 and 8 metres, else 0."""
    return ((throw(theta, noise) - 7.5).abs() < 0.5).to(theta.dtype)


# %%
def hits(theta):
    """The chance to hit, exactly: the two speeds between which the ball lands in the basket."""
    low, high = ((9.81 * d / torch.sin(2 * theta[..., 0])).sqrt() / 10 for d in (7.0, 8.0))
    return torch.special.ndtr((high - 1) / 0.05) - torch.special.ndtr((low - 1) / 0.05)


truth = torch.autograd.functional.jacobian(hits, theta)
runs = {"new throws": (new, "finite_differences"), "same throws": (same, "other")}
jumps = {
    name: (
        torch.stack([root_mean_squared_error(basket, step, noise, truth) for step in grid], 1),
        paint,
    )
    for name, (noise, paint) in runs.items()
}

# %%
picture, axes = plots.figure(8.5, 4.4, columns=2)
metres = {"new throws": (luck, "finite_differences"), "same throws": (common, "other")}
for ax, curves, title, unit in (
    (axes[0], metres, "distance: smooth", "m/rad"),
    (axes[1], jumps, "basket: jumps", "hits/rad"),
):
    figures_02.error_curves(ax, grid, curves, unit=unit)
    ax.set(title=title, ylim=(0.2, 2000))
plots.show(
    picture,
    "The same throws take the noise out of a smooth payment, and slow its growth where the payment jumps.",
)

# %% [markdown]
# With jumps the two sides agree *almost always*, and once in a while differ by a whole hit; that happens in a share of the
# throws that falls like $\varepsilon$. So the variance grows as $1/\varepsilon$ instead of $1/\varepsilon^2$. (From 0.03 to
# 0.06 the same throws are even a little worse than new ones: a speed that hits from one aim misses from the other, and the
# covariance in (2.7) is negative.) And a robot on a field has no seed to set: there (2.6) is all there is.

# %% [markdown]
# ## 6. A dog that wants to run
#
# Nate Kohl and Peter Stone had robot dogs, Sony's AIBO, that had to run to a ball and were slow. A trot is easily told
# to a robot. Each foot goes round a half-ellipse, its **locus**: straight back on the ground, forward through the air;
# diagonal legs go together. Twelve numbers fix it. We take the same twelve roles for a robot of our own.

# %%
widgets.movable(
    figures_02.robot,
    **figures_02.ROBOT,
    caption="Four of the twelve parameters, and where in its round the trot is: a policy is a shape that feet repeat.",
)

# %%
print("parameter                     by hand   epsilon")
for name, unit, start, step in zip(gait.PARAMETERS, gait.UNITS, gait.START, gait.STEP, strict=True):
    print(f"{name:28s} {start:8.2f} {step:9.3f} {unit}")

# %% [markdown]
# $\varepsilon_j$ is a change of parameter $j$ that might be worth a try; a step that suits millimetres is absurd for seconds.
# From here on $\theta_j$ counts in units of $\varepsilon_j$ from the gait set by hand, so that gait is $\theta = 0$, and $J$ is
# the speed in mm/s.
#
# `envs.gait.Gait` is a fast *model* of this robot on tensors: how far feet carry a body whose joints are slow and whose
# ground is rough. It is no physics and was fitted to nothing; one walk costs microseconds, and its true speed is known.
# One *measured* walk adds Gaussian noise with a standard deviation of 10 mm/s. (A MuJoCo robot comes in turn 10.)

# %%
robot = gait.Gait()
by_hand = torch.zeros(12, dtype=double)


def speed(theta, noise=None):
    """J: true speed of the model robot, mm/s; theta [..., 12]."""
    return robot.speed(gait.parameters(theta))


def walk(theta, noise):
    """f: one measured speed; noise [...]."""
    return speed(theta) + robot.deviation * noise


start = speed(by_hand).item()
uphill = gradients.central_differences(speed, by_hand, None, 1e-4)  # exact to eight digits
print(f"set by hand it walks {start:.0f} mm/s; the gradient, mm/s per epsilon_j:")
print(uphill.numpy().round(1))

# %% [markdown]
# ## 7. All parameters at once
#
# Central differences would walk each of 24 gaits, a few times each because of noise, and every walk tells about one
# parameter only. Kohl and Stone let every walk tell about all twelve. Draw $K$ random gaits near the present one: to each
# parameter of each gait add $+\varepsilon_j$, $0$ or $-\varepsilon_j$, by a fair die. Measure all $K$. Then, for each
# parameter $j$, sort the same $K$ speeds into three groups by what happened to $j$, and take means:
#
# $$A_j = \begin{cases} 0 & \text{if } \bar f_{0,j} > \bar f_{+,j} \text{ and } \bar f_{0,j} > \bar f_{-,j} \\
# \bar f_{+,j} - \bar f_{-,j} & \text{otherwise} \end{cases} \tag{2.8}$$
#
# ($\bar f_{+,j}$: mean speed of the gaits with $+\varepsilon_j$; some sources write $Avg_{+\varepsilon,j}$.) The first line
# says: if leaving the parameter alone was best, leave it alone. What the other eleven did at the same time averages out.
# Does it? With *all* $3^n$ combinations of signs each group sees the others do the same. Where $J$ is a sum of curves, one per
# parameter, nothing is left of them:

# %%
three = torch.tensor([-1.0, 0.0, 1.0], dtype=double)
signs = torch.cartesian_prod(three, three, three)  # all 27 for n = 3, [27, 3]
tilt = torch.tensor([3.0, -2.0, 0.5], dtype=double)
A = gradients.group_difference(signs @ tilt, signs)
print("a plane: A / 2", (A / 2).numpy(), "  its slopes", tilt.numpy())
top = -(signs - torch.tensor([2.0, 0.0, -2.0])).square().sum(-1)
A = gradients.group_difference(top, signs)
print("a hill with its top at (2, 0, -2): A", A.numpy().round(2))

# %% [markdown]
# The hill's second coordinate is at its best: 0. With $K = 15$ gaits instead of all $3^{12}$, the others average out
# roughly. They act as noise: a sign has variance $\tfrac23$, so a parameter $k$ with slope $g_k$, in mm/s per
# $\varepsilon_k$, adds $\tfrac23 g_k^2$ to the variance of a speed, on top of $\sigma^2$ for a measured walk. Two means of
# about $K/3$ speeds each differ with variance $6/K$ of that:

# %%
R, K = budget.choose(4000, 1000), 45
rng = Rng(range(R), dtype=double)
signs = gradients.random_signs(rng.uniform(K, 12))  # [replica, K, 12]
# a plane with the robot's slopes, one walk each
value = signs @ uphill + robot.deviation * rng.normal(K)
plus, minus = (((value[:, :, None] * (signs == s)).sum(1) / (signs == s).sum(1)) for s in (1, -1))
others = 2 / 3 * (uphill.square().sum() - uphill.square())  # of all parameters but j, [12]
formula = 6 / K * (robot.deviation**2 + others)
for j in (0, 7, 11):
    measured = (plus - minus).var(0)[j]
    name = gait.PARAMETERS[j]
    print(f"{name:26s} variance {measured:5.1f}, by the formula {formula[j]:5.1f}")

# %% [markdown]
# (The formula is good for large groups; theirs vary in size, which adds a few per cent.) One question to settle before we
# run it. Their budget for one step was 45 walks: 15 gaits, three walks each.

# %%
widgets.predict(
    "You have 45 walks to find out which way is up, on a plane with the robot's slopes. Whose estimate points closest to "
    "the true gradient?",
    [
        "15 random gaits, three walks each, (2.8)",
        "45 random gaits, one walk each, (2.8)",
        "The gait itself and 12 with one parameter changed, three walks each: forward differences",
    ],
)


# %%
def towards(estimate):
    """Cosine of the angle between estimates [replica, 12] and the true gradient."""
    return torch.nn.functional.cosine_similarity(estimate, uphill.expand_as(estimate), dim=-1)


def plane(theta, noise):
    """What the robot would be without curvature: a measured speed, less that of the gait set by hand."""
    return theta @ uphill + robot.deviation * noise


def groups(f, K, walks):
    """The scheme of (2.8) with K gaits and so many walks each."""
    signs = gradients.random_signs(rng.uniform(K, 12))
    return gradients.plus_zero_minus(f, at, rng.normal(K, walks), signs, 1.0)


def one_by_one(f, side):
    """Differences to one side, 1 or -1: the gait set by hand and twelve others, three walks each."""
    return side * gradients.forward_differences(lambda x, z: f(side * x, z), at, rng.normal(13, 3), 1.0)


# %%
rng = Rng(range(16 * budget.choose(60, 20)), stream=1, dtype=double)
at = by_hand.expand(len(rng), 12)
ways = {
    "15 gaits x 3 walks, (2.8)": lambda f: groups(f, 15, 3),
    "45 gaits x 1 walk, (2.8)": lambda f: groups(f, 45, 1),
    "13 gaits x 3 walks, forward": lambda f: one_by_one(f, 1),
}


def compare(f):
    for name, estimate in ways.items():
        cosines = towards(estimate(f)).reshape(16, -1).mean(1)  # 16 groups of estimates
        print(f"{name:28s} cosine {cosines.mean():.3f} ± {2.13 * cosines.std() / 4:.3f}")


compare(plane)

# %% [markdown]
# Walking a gait three times averages one source of noise, the measurement, and leaves the other, the eleven neighbours, as
# it was. Forty-five different gaits average both. Forward differences have no neighbours' noise, but each of their slopes
# rests on six walks, not on some thirty. Now the robot, which is no plane; and differences to the other side as well, backward.

# %%
ways["13 gaits x 3 walks, backward"] = lambda f: one_by_one(f, -1)
compare(walk)
ahead, behind = (speed(by_hand + side * torch.eye(12, dtype=double)[7]) - start for side in (1, -1))
print(f"{gait.PARAMETERS[7]}: one epsilon ahead {ahead:+.0f} mm/s, one back {behind:+.0f}")

# %% [markdown]
# Forward differences now come first and backward ones last, with the same walks. The ground bends where it is steepest: one
# $\varepsilon$ of skew ahead costs much more than one back wins. Truncation, $\tfrac12\varepsilon J''$ in (2.2), happens to
# enlarge the most important entry on one side and to shrink it on the other. Nobody knows beforehand which side is the lucky
# one. (2.8) looks to both. It has other merits: any $K$ will do, and robots can be added or drop out.

# %% [markdown]
# ## 8. A step of fixed length
#
# They did not follow $A$ as long as it was. They followed it for a fixed distance $\eta$:
#
# $$\theta \leftarrow \theta + \eta \frac{A}{|A|} \tag{2.9}$$
#
# A flat place does not stop the robot, a cliff does not throw it, and whether speed is in mm/s or m/s changes nothing. The
# price: the step never gets shorter, so near the top the robot walks about. Below, the pseudocode and the two functions
# of the library that are it.
#
# **Algorithm 2.1, Kohl and Stone** (theta in units of epsilon)
#
# ```text
# theta = 0
# repeat
#     draw K gaits theta + s_i, each s_ij from {-1, 0, 1}
#     score each by the mean of 3 walks
#     A_j from the three groups of parameter j                         (2.8)
#     theta <- theta + eta A / |A|                                     (2.9)
# ```

# %%
Code(
    inspect.getsource(gradients.group_difference) + "\n\n" + inspect.getsource(kohl_stone.update),
    language="python",
)

# %%
signs = gradients.random_signs(Rng(0, dtype=double).uniform(15, 12))
score = walk(signs, Rng(1, dtype=double).normal(15))
config = kohl_stone.Config()
step = kohl_stone.update(torch.zeros(1, 12, dtype=double), score, signs, config)
in_metres = kohl_stone.update(torch.zeros(1, 12, dtype=double), score / 1000, signs, config)
assert_close(in_metres, step)  # m/s instead of mm/s
print(f"length of the step: {step.norm():.6f}, eta: {config.step_size}")

# %% [markdown]
# ## 9. Three hours on a field
#
# Their budget: 15 gaits, 3 walks each, $\eta = 2$, 23 iterations; that was three hours with three robots, about a thousand
# walks. It took the AIBO from 245 to 291 mm/s, the fastest walk of its kind then. Here is the same budget for sixteen model
# robots.

# %%
problem = replace(blackbox.of(robot), exact=speed)  # the true speed, for the record only
config = kohl_stone.Config(iterations=budget.choose(23, 8))
theta_found, history = kohl_stone.train(
    problem, config, Rng(range(16)), progress=plots.live("answer", threshold=start)
)

# %%
final = history.latest("answer")
error = 2.13 * final.std(ddof=1) / 4
print(f"from {start:.0f} to {final.mean():.0f} ± {error:.0f} mm/s, slowest {final.min():.0f}")
print(f"gain {final.mean() / start - 1:+.0%}; theirs: {291 / 245 - 1:+.0%}")
print(f"walks per robot: {history.steps[0, -1]:.0f}")
change = (theta_found - by_hand).mean(0)
for j in change.abs().argsort(descending=True)[:3].tolist():
    print(f"{gait.PARAMETERS[j]:28s} moved by {change[j]:+.1f} epsilon on average")

# %% [markdown]
# All sixteen have got faster. The relative gain is of the size of theirs; do not read more into it than
# that. A gain depends on how good the start was, and theirs was already one of the best gaits made by hand, while ours was
# set by eye. What carries over is the *method*: 45 noisy numbers per step, twelve parameters, no model, no
# derivative.

# %% [markdown]
# ## 10. Is that the best one can do?
#
# Once we only ask "how fast was it?", other searches can ask, too. Five of them, algorithms 2.2 to 2.6, in the library each
# one file; all begin at the same gait with changes of about one $\varepsilon$, and none was tuned.
#
# - **Random search**: gaits around the start, never moving; keep the best measurement.
# - **Hill climbing**: gaits around the best so far; move to the best of them. (It measures the best so far again.)
# - **Genetic algorithm**: the five best are parents; a child takes each parameter from one of two, and mutates.
# - **Cross-entropy method** (CEM): sample from a Gaussian, take the elite, the few best; make *their* mean and standard
#   deviation, $m_e$ and $s_e$, the new Gaussian, or go there part of the way:
#
# $$m \leftarrow (1 - \alpha)\, m + \alpha\, m_e, \qquad s \leftarrow (1 - \alpha)\, s + \alpha\, s_e \tag{2.10}$$
#
# - **CMA-ES**: the same with correlations between parameters, a weight for each rank, and a step size that grows while
#   successive moves agree and shrinks while they cancel.

# %%
Code(inspect.getsource(cem.update), language="python")

# %%
widgets.predict(
    "The same 1,035 walks for each. Which of them beat the method of the robot dog?",
    [
        "None: it is the only one that uses a gradient",
        "The genetic algorithm and CMA-ES, at least",
        "All five: it is from 2004",
    ],
)

# %%
methods = {
    "random search": random_search,
    "hill climbing": hill_climbing,
    "genetic": genetic,
    "CEM": cem,
    "CMA-ES": cma_es,
    "Kohl-Stone": kohl_stone,
}
curves = {}
for name, method in methods.items():
    _, run = method.train(problem, method.Config(iterations=config.iterations), Rng(range(16)))
    curves[name] = run.metrics["answer"]


# %%
def ranking(curves, start):
    """Last answers, the best method first: mean over the seeds, 95 % interval, gain."""
    for name, curve in sorted(curves.items(), key=lambda item: -item[1][:, -1].mean()):
        mean, interval = curve[:, -1].mean(), 2.13 * curve[:, -1].std(ddof=1) / 4
        print(f"{name:14s} {mean:5.0f} ± {interval:2.0f} mm/s, {mean / start - 1:+.0%}")


ranking(curves, start)

# %%
picture, axes = plots.figure(8.5, 5.6, rows=2, columns=3, sharex=True, sharey=True)
figures_02.race(axes, curves, 45, start, "Kohl-Stone")
plots.show(
    picture,
    "To move pays, against random search, which stays. Methods that look at ranks alone do as well as the gradient.",
)

# %% [markdown]
# Random search shows what luck alone gives. CEM is ahead of Kohl and Stone at first; but with so few samples its Gaussian
# shrinks early, and after 23 iterations it is behind. The genetic algorithm, hill climbing and CMA-ES do as well as the
# gradient or better. "Gradient" here is a rough word: what (2.8) makes of 45 walks is a direction that is better than none,
# and a direction from ranks is one, too.
#
# Does a model that nobody fitted favour anybody? Here is a robot with physics: MuJoCo, 1.6 kg, twelve servos of limited torque,
# the same twelve parameters. A hundred thousand walks of it do not fit into this lecture, so these are
# **recorded runs**; `python benchmarks/gait.py --record` makes them again.

# %%
record = gait_mujoco.recorded()
about = json.loads(str(record["about"]))
print(f"recorded on {about['date']} with MuJoCo {about['mujoco']}, in", end=" ")
print(f"{about['cpu seconds'] / 60:.0f} CPU minutes")
files = {name: method.__name__.rpartition(".")[2] for name, method in methods.items()}
physical = {name: record[f"{file} answer"] for name, file in files.items()}
ranking(physical, about["start"])

# %%
luck = Rng(range(16), stream=5).uniform(4)  # for a walk that was not recorded
learned = torch.tensor(record["kohl_stone parameters"][:, -1])  # [replica, 12]
for name, gaits in (
    ("set by hand", torch.tensor(gait.START).expand(16, 12)),
    ("Kohl-Stone", learned),
):
    live = gait_mujoco.MujocoGait().speed(gaits, luck)
    print(f"walking now: {name:12s} {live.mean():.0f} ± {2.13 * live.std() / 4:.0f} mm/s")

# %%
picture, axes = plots.figure(8.5, 5.6, rows=2, columns=3, sharex=True, sharey=True)
figures_02.race(axes, physical, 45, about["start"], "Kohl-Stone")
plots.show(
    picture,
    "Recorded: the MuJoCo robot, 16 seeds each, every answer judged by walks that no method has seen.",
)

# %% [markdown]
# With physics the order is much the same: random search and CEM behind, the other four close together, and Kohl and Stone's
# method the one whose seeds differ most: its steps never get shorter, and one robot stumbles with the last of them. All gains are larger than on the model, and that of the robot dog's method is
# about three times what it was on the dog. So much for comparing gains: they tell how far the first gait was from what the
# servos can do, and that nobody had tried to find out here. What may be compared is methods on one robot, and there the seeds
# count: with one seed each you could have had almost any order of those four.

# %% [markdown]
# ## 11. A policy that only knows left and right
#
# The crudest policy for the pole of lecture 00: push right if $\theta \cdot o > 0$, else left, where $o$ (shape `[4]`) is what it
# sees and $\theta$ four numbers. An action is right or left and nothing between: its derivative by $\theta$ is zero wherever
# there is one. A difference of *returns* over a step that is large enough does not care.

# %%
cartpole = envs.make("CartPole-v1")
limit = budget.choose(500, 200)


def balance(theta, noise):
    """Steps that the pole stays up: theta [..., 4], noise [..., 4] -> [...]."""
    first = noise.expand(*torch.broadcast_shapes(theta.shape, noise.shape))
    state, alive, steps = cartpole.initial(first), True, 0
    for _ in range(limit):
        push = (theta * state).sum(-1) > 0
        state, reward, fallen = cartpole.step(state, push.long())
        alive = alive & ~fallen
        steps = steps + reward * alive
    return steps


# %%
widgets.predict(
    "CEM gets this objective, from theta = 0, with 15 policies and 3 episodes each per iteration. How many of 16 seeds "
    "find a policy that balances to the end?",
    ["None: there is no gradient to follow", "About half", "Nearly all"],
)

# %%
pole = blackbox.Problem(
    balance,
    torch.zeros(4),
    torch.ones(4),
    draw=lambda rng, *leading: rng.uniform(*leading, 4),
    steps=limit,
)
settings = cem.Config(iterations=budget.choose(12, 6))
found, history = cem.train(
    pole, settings, Rng(range(16)), progress=plots.live("return", threshold=limit)
)
luck = Rng(range(16), stream=9).uniform(20, 4)  # of twenty new episodes each
lasted = balance(found[:, None], luck).mean(1)
print(f"{int((lasted > 0.95 * limit).sum())} of 16 balance for more than 95 %", end=" ")
print(f"of {limit} steps; the mean is {lasted.mean():.0f}")

# %% [markdown]
# Nearly all, with a few hundred episodes. The policy gradients from lecture 03 on need a derivative of $\log \pi$; what you
# have seen needs a number. Where the parameters are few, a try is cheap or the policy cannot be differentiated, this is
# not the poor man's method. It is the right one.

# %% [markdown]
# ## 12. What goes wrong
#
# Three mistakes that raise no error.
#
# **a) A step from the textbook.** Somebody knows (2.5), takes $\varepsilon = 10^{-5}$ for central differences in float64, and
# measures with noise.

# %%
rng = Rng(range(16), stream=2, dtype=double)
at = by_hand.expand(16, 12)
for name, step in (("1e-5 epsilon", 1e-5), ("1 epsilon", 1.0)):
    estimate = gradients.central_differences(walk, at, rng.normal(24, 2), step)
    print(f"step {name:12s} length of the estimate {estimate.norm(dim=1).mean():12,.0f}", end="")
    print(f"   true {uphill.norm():.0f}   cosine {towards(estimate).mean():+.2f}")

# %% [markdown]
# An enormous vector in a random direction. **The check:** estimate twice with fresh noise. If the two disagree by more than
# their own length, the step is too small for the noise.
#
# **b) The winner's curse.** After random search, somebody reports the best speed that was ever measured.

# %%
promise_config = random_search.Config(iterations=config.iterations, evaluations=1)
answer, run = random_search.train(problem, promise_config, Rng(range(16)))
promised, kept = run.metrics["best tried"].max(1), run.latest("answer")
print(f"promised {promised.mean():.0f} mm/s, kept {kept.mean():.0f}:", end=" ")
print(f"{(promised > kept).sum()} of 16 promised too much")

# %%
picture, ax = plots.figure(7, 4)
figures_02.promises(ax, promised, kept)
plots.show(
    picture,
    "The best of many noisy measurements is a good gait with good luck. The luck does not come again.",
)

# %% [markdown]
# The maximum picks a high speed *and* a high noise. **The check:** measure the winner again. For the same reason our hill
# climber measures its best gait anew in every iteration: else one lucky walk would sit on the throne for good.
#
# **c) One $\varepsilon$ for all.** Parameters in millimetres, in seconds and as a share, and a step of 1 for each of them.


# %%
def walk_in_units(p, noise):
    """One measured speed, for parameters in their own units, clipped to their bounds."""
    least, most = p.new_tensor(gait.LEAST), p.new_tensor(gait.MOST)
    return robot.speed(p.clamp(least, most)) + robot.deviation * noise


# %%
p, own = (torch.tensor(numbers, dtype=double) for numbers in (gait.START, gait.STEP))
for name, step in (("1 for all", 1.0), ("its own epsilon", own)):
    noise = rng.normal(24, 8)  # eight walks of each of 24 gaits
    estimate = own * gradients.central_differences(walk_in_units, p.expand(16, 12), noise, step)
    for j in (1, 11):
        mean, spread = estimate[:, j].mean(), estimate[:, j].std()
        print(f"step {name:16s} {gait.PARAMETERS[j]:26s} {mean:6.1f} ± {spread:4.1f}", end="")
        print(f"   exact {uphill[j]:.1f}")

# %% [markdown]
# (Mean and standard deviation of the estimates, in mm/s per $\varepsilon_j$.) One millimetre is little for a foot: that slope
# is lost in noise. A whole unit of a share is everything: both ends hit the bounds, and what comes out says nothing about
# the gait we have. **The check:** $|J(\theta + \varepsilon_j e_j) - J(\theta)|$ should be of similar size for all $j$, and not
# small beside the noise.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_02)

# %% [markdown]
# ## In four lines
#
# - A difference errs by truncation for large steps and by round-off or luck for small ones; noise asks for *large* steps.
# - Common random numbers make the two sides' luck cancel. They need a simulation, and help less where $f$ jumps.
# - Gradients by differences cost in proportion to the number of parameters. Randomised groups let every try tell about all,
#   and pay with the others' noise.
# - Black-box searches need a number and nothing else. For twelve parameters they are hard to beat; for a million they are
#   hopeless.
#
# **Now you:** [exercise 02](../exercises/02_finite_differences.ipynb) asks for the central difference, the robot dog's
# update, a step of the cross-entropy method, the variance with common random numbers, and the right $\varepsilon$.
#
# **Next:** in [lecture 03](03_log_derivative_trick.ipynb) we stop perturbing the parameters. The *actions* are random
# already; that is perturbation enough, and their probabilities are known.

# %% [markdown]
# ## Sources
#
# - N. Kohl and P. Stone (2004), "Policy gradient reinforcement learning for fast quadrupedal locomotion", *ICRA*: the
#   scheme (2.8), (2.9), its budget, and 245 to 291 mm/s. Their pseudocode also stands in the slides
#   `003_0746104038de6fc3.txt` ($U$ for our $J$, $u_k$ for $e_j$), with finite differences, hill climbing and genetic algorithms.
# - W. H. Press et al., *Numerical Recipes*, section on numerical derivatives: (2.5).
# - P. Glasserman and D. D. Yao (1992), "Some guidelines and guarantees for common random numbers", *Management Science* 38.
# - P.-T. de Boer, D. P. Kroese, S. Mannor, R. Y. Rubinstein (2005), "A tutorial on the cross-entropy method", *Annals of
#   Operations Research* 134. I. Szita and A. Lőrincz (2006), "Learning Tetris using the noisy cross-entropy method".
# - N. Hansen (2016), "The CMA evolution strategy: a tutorial", arXiv 1604.00772.
# - J. H. Holland (1975), *Adaptation in Natural and Artificial Systems*.
