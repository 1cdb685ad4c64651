# %% [markdown]
# # Exercise 01: policies and objectives
#
# Lecture 01 in five functions of your own: how likely a trajectory is, what it is worth, $J$ by walking and $J$ by
# recursion; and a corridor whose two sides are not alike.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below
# it: it says at once whether the function is right, and if not, what is wrong. `hint(f)` gives a hint, and another
# one each time; `solution(f)` shows the answer, and asks once before it does. Nothing is lost when you close the
# notebook: `progress()` at the end knows what is done.

# %%
import torch

from pgcourse import budget, exact, figures_01, plots, policies
from pgcourse.envs.tabular import aliased_gridworld
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives


def try_it(function, *inputs):
    """Show what your function makes of these inputs; while it is not written, say so."""
    try:
        result = function(*inputs)
    except NotImplementedError as problem:
        if str(problem):  # torch's, from inside your function
            raise
        result = "not written yet"
    print(result)


# %% [markdown]
# ## 1. The log-probability of a trajectory
#
# By (1.1) a trajectory has the probability
#
# $$p(\tau; \theta) = p(s_0) \prod_{t=0}^{T-1} \pi_\theta(a_t \mid s_t)\; p(s_{t+1} \mid s_t, a_t).$$
#
# You get the three tables and $E$ trajectories side by side, as whole numbers: `state` is `[T+1, E]` (one more than the
# actions: the last one led somewhere), `action` is `[T, E]`. Return $\log p(\tau)$ of each, `[E]`.

# %%
# solution: 01.trajectory_log_probability

# %%
check(trajectory_log_probability).points

# %% [markdown]
# Two walks in the corridor of lecture 01, with a coin ($q = \frac12$) in the grey cells: 1, 2, treasure; and 1, 0, 1. How
# likely is each? Work out both numbers before you run it.

# %%
world = aliased_gridworld()
coin = exact.on_observations(world, figures_01.walker(0.5))  # pi(a | s), [S, A]
states = torch.tensor([[1, 1], [2, 0], [6, 1]])  # [T + 1, E]: a column for each walk
actions = torch.tensor([[1, 3], [2, 1]])  # right, then down; left, then right


def how_likely():
    tables = world.initial_probability, world.transition, coin
    return trajectory_log_probability(*tables, states, actions).exp()


try_it(how_likely)

# %% [markdown]
# A quarter for the start, a half for the coin; the second walk has tossed it once as well (at the left end there is nothing to
# toss). Both come out at $\frac18$.

# %% [markdown] tags=["solution-only"]
# A tensor of whole numbers picks rows out of a table: `policy[state[:-1], action]` has one entry for each step of each
# trajectory. A product of many probabilities underflows to zero; the sum of their logarithms does not.

# %% [markdown]
# ## 2. The return
#
# By (1.2), with $0^0 = 1$:
#
# $$R(\tau) = \sum_{t=0}^{T-1} \gamma^t\, r_t$$
#
# `reward` is `[T, E]`, all episodes are $T$ steps long, `discount` is $\gamma$, a number from 0 to 1. Return `[E]`.

# %%
# solution: 01.discounted_return

# %%
check(discounted_return).points

# %% [markdown]
# Three episodes of four steps: one pays 1 at every step, one pays 4 at the first, one pays 4 at the last. With
# $\gamma = \frac12$, which is worth most, and which least?

# %%
plans = torch.tensor([[1.0, 4.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 4.0]])
try_it(discounted_return, plans, 0.5)

# %% [markdown]
# They are worth $1 + \frac12 + \frac14 + \frac18 = 1.875$, $4$, and $\frac48 = 0.5$. Without a discount all three are worth 4.

# %% [markdown]
# ## 3. J by walking
#
# By (1.4) and (1.5): play $E$ episodes, take the mean of their returns, and say how far to trust it.
#
# $$\hat J = \frac1E \sum_{e=1}^E G_e, \qquad
# \text{error} = \frac{1}{\sqrt E} \sqrt{\frac{1}{E-1} \sum_{e=1}^E (G_e - \hat J)^2}$$
#
# Now episodes end at different times. They are padded to the longest, and `valid` `[T, E]` is true while an episode lasts;
# what stands in `reward` after its end means nothing. Return the estimate and its standard error, two tensors of shape `[]`.

# %%
# solution: 01.monte_carlo_objective

# %%
check(monte_carlo_objective).points

# %% [markdown]
# Your function on real walks: a coin in the grey cells, and more and more walks. The true $J$ is 0.7185. How many walks do
# you need for an error of 0.01? Guess from the first line before you read the others.


# %%
def walk(count):
    """So many walks with the coin: reward and valid, [T, E]."""
    rng = Rng(1)
    policy = policies.Categorical(rng, 5, 4, hidden=())
    policy.body.weights[0].data[:] = figures_01.walker(0.5).clamp(min=1e-12).log()
    batch = episodes(world, policy, rng, count)
    return batch.reward[0], batch.valid[0]


def estimate(count):
    J, error = monte_carlo_objective(*walk(count), 0.9)
    return f"{count:6d} walks: J = {J:.4f}, standard error {error:.4f}"


for count in (10, 100, 1000, budget.choose(10_000, 2000)):
    try_it(estimate, count)

# %% [markdown]
# A return has a standard deviation of about 0.17. For a standard error of 0.01 that asks for $17^2 \approx 300$ walks, and
# ten thousand bring it to 0.0017.

# %% [markdown]
# ## 4. J by recursion
#
# With the tables no walk is needed. By (1.6), beginning after the last step with $V = 0$ and going back one step at a time:
#
# $$Q(s, a) = r(s, a) + \gamma \sum_{s'} p(s' \mid s, a)\, V(s'), \qquad V(s) = \sum_a \pi(a \mid s)\, Q(s, a),$$
#
# as many times as there are `steps`; in the end $J = \sum_s p(s_0 = s)\, V(s)$. (You may also go forward in time, or
# find a third way. What counts is the number.) No state ends an episode early here. Return a tensor with one number, shape
# `[]`.

# %%
# solution: 01.exact_objective

# %%
check(exact_objective).points

# %% [markdown]
# All policies of the corridor's family at once: your $J(q)$. Where is it highest, and what do its ends earn?


# %%
def my_curve():
    pays = (world.transition * world.reward).sum(-1)  # r(s, a)
    q = torch.linspace(0, 1, 41, dtype=torch.float64)
    policy = [exact.on_observations(world, figures_01.walker(each)) for each in q]
    start, moves = world.initial_probability, world.transition
    J = [exact_objective(start, moves, pays, each, 0.9, 50) for each in policy]
    picture, ax = plots.figure(8, 4)
    ax.plot(q, J, color="black")
    ax.set(xlabel="probability of going right in the grey cells, q", ylabel="J, expected return")
    plots.show(picture, "Neither left nor right: the best policy draws.")
    return f"highest at q = {q[torch.stack(J).argmax()]:.3f}"


try_it(my_curve)

# %% [markdown] tags=["solution-only"]
# The recursion costs `steps` matrix products; the sum over trajectories has a number of terms that grows exponentially with
# `steps`. It is the Markov assumption that makes the difference: what comes after $s'$ does not depend on how one got there.

# %% [markdown]
# ## 5. A corridor with two unequal sides
#
# In lecture 01 walks began left and right equally often, and the best $q$ was $\frac12$. Now they begin where they like: `start`
# `[C]` holds the probabilities of the $C = 5$ cells. The rest is as it was, without a time limit: from the ends the walker
# comes in, from the middle it steps down to the treasure (which pays 1, at the step itself), and in the cells 1 and 3 it goes
# right with probability $q$. For which $q$ is $J$ largest? Three digits are enough.
#
# One way: write down the values. From the middle the treasure is one action away, $V(2) = 1$. An end comes one step before
# its neighbour, $V(0) = \gamma V(1)$. And what is $V(1)$?

# %%
# solution: 01.best_aliased_policy

# %%
check(best_aliased_policy).points

# %% [markdown]
# Walks begin in cell 1 with probability $w$, else in cell 3; $\gamma = 0.9$. How often would you go right when $w$ is
# 0.2, or 0.9? As often as it is the right way? Predict, then look.


# %%
def my_choice():
    picture, ax = plots.figure(8, 4)
    share = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    start = [torch.tensor([0, w, 0, 1 - w, 0], dtype=torch.float64) for w in share.tolist()]
    best = [best_aliased_policy(each, 0.9) for each in start]
    ax.plot(share, best, label="your best q")
    ax.plot(share, share, "--", color="black", label="as often as it is right")
    ax.set(xlabel="how often walks begin in cell 1, w", ylim=(-0.03, 1.03))
    ax.set_ylabel("probability of going right, q")
    plots.legend(ax)
    plots.show(picture, "The best policy is no copy of how likely each side is.")
    return f"q = {best[19]:.2f} for w = 0.2, q = {best[89]:.2f} for w = 0.9"


try_it(my_choice)

# %% [markdown]
# Around the middle the best $q$ keeps nearer to one half than $w$ does: who is on the wrong side must get away too. Where one side
# is rare enough, it is given up altogether, and the best policy is deterministic again.

# %% [markdown] tags=["solution-only"]
# $V(1) = \gamma\,(q + (1-q)\,\gamma\,V(1))$ gives $V(1) = \frac{1}{\gamma} \cdot \frac{q}{c + q}$ with $c = 1/\gamma^2 - 1$, and $V(3)$ the
# same with $1 - q$. With $L$ = `start[1] + discount * start[0]` and $R$ from the other side, $J' = 0$ where
# $L/(c+q)^2 = R/(c+1-q)^2$. Take roots and solve for $q$; outside $[0, 1]$ the nearer end is best, because $J$ is concave.

# %% [markdown]
# ## How far are you?

# %%
progress()
