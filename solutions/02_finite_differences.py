# %% [markdown]
# # Exercise 02: finite differences
#
# Lecture 02 in five functions of your own: a gradient from values alone, the robot dog's update, a step of the
# cross-entropy method, what common random numbers save, and the step to take when luck is in play. At the end your own
# functions make a robot faster.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below
# it: it says at once whether the function is right, and if not, what is wrong. `hint(f)` gives a hint, and another
# one each time; `solution(f)` shows the answer, and asks once before it does. Nothing is lost when you close the
# notebook: `progress()` at the end knows what is done.

# %%
import torch

from pgcourse import budget, plots
from pgcourse.envs import gait
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
double = torch.float64


# %%
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
# ## 1. Central differences
#
# $J(\theta) = \sum_q \sin\big(\sum_p W_{qp}\,\theta_p\big)$ stands for any function of $P$ parameters. Move one parameter at a
# time, a whole step ahead and a whole step back, and leave the others where they are, (2.3):
#
# $$\frac{\partial J}{\partial \theta_j} \approx \frac{J(\theta + \varepsilon e_j) - J(\theta - \varepsilon e_j)}{2\varepsilon}$$
#
# `theta` is `[P]`, `weight` is $W$, `[Q, P]`, `step` is $\varepsilon$, a number. Return `[P]`. You know the derivative of a
# sine, but treat $J$ as a black box: the check compares with the *difference*, not with the derivative.

# %%
# solution: 02.central_difference

# %%
check(central_difference).points

# %% [markdown]
# A step ten times smaller makes the error a hundred times smaller, down to a limit. Predict the step at which it is least
# in float64. Then run.


# %%
def my_errors():
    theta, weight = (torch.tensor([0.3, -0.8], dtype=double), torch.tensor([[1.0, 0.5], [-0.7, 1.2]], dtype=double))
    exact = (weight @ theta).cos() @ weight
    for exponent in range(-1, -16, -2):
        error = (central_difference(theta, weight, 10.0**exponent) - exact).abs().max()
        print(f"step 1e{exponent:03d}: error {error:.0e}")


try_it(my_errors)

# %% [markdown]
# It is least near $10^{-5}$, where truncation and round-off are alike, (2.5).

# %% [markdown] tags=["solution-only"]
# In a loop it is as right. What must not happen is to move `theta` itself and to forget to put it back.

# %% [markdown]
# ## 2. The robot dog's update
#
# $K$ gaits were walked. `signs` `[K, P]` says what was done to each parameter of each: 1, 0 or -1 times its $\varepsilon_j$.
# `score` `[K]` are the speeds. For each parameter compare the mean scores of its three groups, (2.8), then go a step of fixed
# length, (2.9):
#
# $$A_j = \begin{cases} 0 & \text{if } \bar f_{0,j} > \bar f_{+,j} \text{ and } \bar f_{0,j} > \bar f_{-,j} \\
# \bar f_{+,j} - \bar f_{-,j} & \text{otherwise} \end{cases}
# \qquad \theta \leftarrow \theta + \eta \frac{A}{|A|}$$
#
# `theta` is `[P]`, in units of $\varepsilon_j$; `step_size` is $\eta$. In every column of `signs` all three signs occur. Where
# all of $A$ is zero, nothing is to move.

# %%
# solution: 02.aibo_update

# %%
check(aibo_update).points

# %% [markdown]
# Four gaits, two parameters. Work out the groups of the first column in your head: which of the two entries of `theta` will
# move, and which way?

# %%
signs = torch.tensor([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0]], dtype=double)
speeds = torch.tensor([250.0, 240.0, 245.0, 270.0], dtype=double)
try_it(aibo_update, torch.zeros(2, dtype=double), signs, speeds, 2.0)

# %% [markdown]
# The first parameter: 260 with plus, 245 with zero, 240 with minus. It takes the whole step. The second: 250, 255, 245; the
# middle is the best, and it rests.

# %% [markdown]
# ## 3. A step of the cross-entropy method
#
# Keep the elite, the points with the highest scores. The new Gaussian is the one that makes *them* most likely: their mean,
# and their standard deviation divided by their number (not by one less). `points` is `[N, P]`, `score` is `[N]`, `elite` a
# whole number. Return two tensors `[P]`.

# %%
# solution: 02.cross_entropy_step

# %%
check(cross_entropy_step).points

# %% [markdown]
# Ten steps on a hill whose top is at 3, from a Gaussian with mean 0 and deviation 1. Will it get there?


# %%
def my_search(elite):
    mean, std = torch.zeros(1, dtype=double), torch.ones(1, dtype=double)
    for noise in Rng(5, dtype=double).normal(10, 20, 1)[0]:
        points = mean + std * noise
        mean, std = cross_entropy_step(points, -((points[:, 0] - 3) ** 2), elite)
    print(f"elite {elite:2d} of 20: mean {mean.item():.2f}, deviation {std.item():.1e}")


for elite in (2, 5, 10):
    try_it(my_search, elite)

# %% [markdown]
# It does not, with any of the three. The deviation says how far the search can still look; the elite lies on one side of the
# cloud and is much narrower than it, so the Gaussian shrinks faster than it moves, and stays where it happens to be. That is
# why (2.10) goes part of the way only, why one begins wide, and why some add a least deviation.

# %% [markdown]
# ## 4. What common random numbers save
#
# You have $N$ pairs, $f(\theta + \varepsilon, z_n)$ and $f(\theta - \varepsilon, z_n)$, each pair with the same noise. How noisy
# is the central difference made of all of them? And how noisy would it be if each side had noise of its own? By (2.7):
#
# $$\frac{\sigma_+^2 + \sigma_-^2 - 2\operatorname{Cov}(f_+, f_-)}{4 N \varepsilon^2} \qquad\text{and}\qquad
# \frac{\sigma_+^2 + \sigma_-^2}{4 N \varepsilon^2}$$
#
# Estimate the variances of one evaluation with $N - 1$. `plus` and `minus` are `[N]`, `step` is a number. Return two tensors
# with one number each, shape `[]`.

# %%
# solution: 02.common_noise_variance

# %%
check(common_noise_variance).points

# %% [markdown]
# The throw of the lecture, and three steps. Which of the two numbers changes with the step?


# %%
def throw(theta, noise):
    """How far the ball flies, metres."""
    return (10 * (1 + 0.05 * noise)) ** 2 * torch.sin(torch.as_tensor(2 * theta)) / 9.81


def my_saving(step):
    z = Rng(0, dtype=double).normal(2000)[0]
    common, independent = common_noise_variance(throw(0.4 + step, z), throw(0.4 - step, z), step)
    print(f"step {step}: {common:.2e} with common noise, {independent:.2e} without")


for step in (0.1, 0.01, 0.001):
    try_it(my_saving, step)

# %% [markdown]
# Common noise makes the variance independent of the step; without it each factor of ten costs a hundred.

# %% [markdown]
# ## 5. The right step under noise
#
# Without common noise a small step drowns. The mean squared error to be expected of parameter $j$'s central difference is
#
# $$\frac{\sigma^2}{2 N \varepsilon^2} + \Big(\frac{\varepsilon^2 J'''_j}{6}\Big)^2 .$$
#
# Find the $\varepsilon$ that makes it least: differentiate, set to zero, solve. `third` is `[P]`, the third derivatives, of
# either sign; `deviation` is $\sigma$ and `evaluations` is $N$, two numbers. Return `[P]`, all above zero.

# %%
# solution: 02.choose_epsilon

# %%
check(choose_epsilon).points

# %% [markdown]
# Twenty throws at each aim. Sixteen replicas find out whether your step is the best. $J''' = -4 J'$ for a sine; a throw deviates
# by 0.73 m.


# %%
def my_valley():
    slope = 200 * (1 + 0.05**2) * torch.cos(torch.tensor(0.8, dtype=double)) / 9.81
    mine = choose_epsilon(-4 * slope[None], 0.73, 20).item()
    z = Rng(range(16), dtype=double).normal(budget.choose(400, 100), 2, 20)  # [replica, repeat, aim, throw]
    steps = torch.logspace(-2, 0, 25, dtype=double)
    found = [(throw(0.4 + h, z[:, :, 0]).mean(-1) - throw(0.4 - h, z[:, :, 1]).mean(-1)) / (2 * h) for h in steps]
    error = torch.stack([(each - slope).square().mean(1) for each in found], 1)
    picture, ax = plots.figure(8, 4)
    plots.band(ax, steps, error, label="measured", color="finite_differences", thin=False)
    ax.axvline(mine, color="black", linestyle="--", label="your step")
    ax.set(xscale="log", yscale="log", xlabel="step (rad)", ylabel="mean squared error\nof the slope (m/rad)²")
    plots.legend(ax)
    plots.show(picture, "The best step under noise is large, and can be computed.")


# %%
try_it(my_valley)

# %% [markdown]
# ## A faster robot
#
# Now your task 2 teaches the model robot of the lecture to trot: Kohl and Stone's budget, 23 iterations of 15 gaits and three
# walks each, for eight robots. The signs are dealt like cards, five of each kind to every parameter, so that no group is empty.


# %%
def my_robots():
    robot, rng = gait.Gait(), Rng(range(8), dtype=double)
    theta, speed = torch.zeros(8, 12, dtype=double), []
    for _ in range(budget.choose(23, 8)):
        signs = rng.uniform(15, 12).argsort(1) % 3 - 1.0  # [robot, gait, parameter]
        walked = robot.speed(gait.parameters(theta[:, None] + signs)) + robot.deviation * rng.normal(15, 3).mean(-1)
        theta = torch.stack([aibo_update(*each, 2.0) for each in zip(theta, signs, walked, strict=True)])
        speed.append(robot.speed(gait.parameters(theta)))
    picture, ax = plots.figure(8, 4)
    speed = torch.stack(speed, 1)
    plots.band(ax, 45 * torch.arange(1, speed.shape[1] + 1), speed, label="your update", color="finite_differences")
    ax.axhline(float(robot.speed(gait.parameters(theta[0] * 0))), color="black", linestyle="--", label="gait set by hand")
    ax.set(xlabel="walks", ylabel="speed (mm/s)")
    plots.legend(ax)
    plots.show(picture, "Forty-five noisy numbers at a time, and the robots get faster.")


# %%
try_it(my_robots)

# %% [markdown]
# ## How far are you?

# %%
progress()
