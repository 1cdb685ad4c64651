# %% [markdown]
# # Exercise 13: stochastic graphs
#
# Lecture 13 in four functions of your own: the surrogate of the smallest graph, a box that gets second derivatives
# right, the rule that says which cost depends on which node, and an episode as a graph.
#
# As before: write the body, run the cell, then `check(...)` below it. `hint(f)` gives a hint, and another one each
# time; `solution(f)` shows the answer, and asks once before it does. `progress()` at the end knows what is done.

# %%
import torch

from pgcourse import exact
from pgcourse.distributions import Bernoulli, Categorical
from pgcourse.envs.tabular import two_step
from pgcourse.grading import check, hint, progress, solution
from pgcourse.relaxations import outcomes
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
F64 = torch.float64


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
# ## 1. The surrogate of a chain
#
# First $x$ is drawn, then $y$ given $x$. There are two costs, $f(x)$ and $h(x, y)$, and all may contain parameters. By
# (13.4), with what is underlined held fixed:
#
# $$L = f + h + \underline{(f + h)}\, \log p(x) + \underline{h}\, \log p(y \mid x)$$
#
# All four inputs are `[N]`. Return the mean over the $N$ samples; its gradient is judged.

# %%
# solution: 13.chain_surrogate

# %%
check(chain_surrogate).points

# %% [markdown]
# Now with coins: $x$ has the logit $\theta_0$, $y$ the logit $\theta_1 x$; $f = 2x$ and $h = (x - y - 0.3)^2$. There are
# four outcomes, so the exact gradient is a sum over them.


# %%
def log_probabilities(theta, x, y):
    """log p(x) and log p(y | x); x, y [..., 1]."""
    return Bernoulli(theta[:1]).log_prob(x), Bernoulli(theta[1:] * x).log_prob(y)


def both_costs(x, y):
    return 2 * x[..., 0], (x - y - 0.3).square()[..., 0]


# %%
def my_chain():
    theta = torch.tensor([0.4, -1.2], dtype=F64, requires_grad=True)
    x, y = outcomes(Bernoulli(torch.zeros(2, dtype=F64))).split(1, -1)  # the four of them
    truth = (sum(log_probabilities(theta, x, y)).exp() * sum(both_costs(x, y))).sum()
    first, second = Rng(0, dtype=F64).uniform(200_000, 2)[0].split(1, -1)
    x = Bernoulli(theta[:1]).sample(first)
    y = Bernoulli(theta[1:] * x).sample(second)
    mine = chain_surrogate(*log_probabilities(theta, x, y), *both_costs(x, y))
    for name, number in (("exact", truth), ("yours", mine)):
        print(name, torch.autograd.grad(number, theta)[0].numpy().round(3))


try_it(my_chain)

# %% [markdown]
# They agree to about the third decimal. Weigh $y$ with $f + h$ instead, and they still do: that mistake costs
# variance only. Weigh $x$ with $f$ alone, and the first number is wrong for good.

# %% [markdown]
# ## 2. Second derivatives through a magic box
#
# $$L = \frac1N \sum_n e^{\log p(b_n) - \operatorname{detach}(\log p(b_n))}\, f(b_n, \theta) \tag{13.6}$$
#
# `theta` `[D]` holds the logits of $D$ coins, `b` `[N, D]` is what was tossed, and a toss costs
# $f(b, \theta) = (\sum_d b_d \theta_d - 1)^2$, so $\theta$ stands in two places. Return the gradient `[D]` and the
# second derivatives `[D, D]` of $L$.

# %%
# solution: 13.magic_box_derivatives

# %%
check(magic_box_derivatives).points

# %% [markdown]
# Two coins again, and the exact second derivatives from the four outcomes:


# %%
def my_curvature():
    theta = torch.tensor([0.4, -0.6], dtype=F64)
    every = outcomes(Bernoulli(theta))

    def expected(theta):
        return (Bernoulli(theta).log_prob(every).exp() * (every @ theta - 1).square()).sum()

    b = Bernoulli(theta).sample(Rng(0, dtype=F64).uniform(400_000, 2)[0])
    print("exact", torch.func.hessian(expected)(theta).flatten().numpy().round(3))
    print("yours", magic_box_derivatives(theta, b)[1].flatten().numpy().round(3))


try_it(my_curvature)

# %% [markdown]
# ## 3. Which costs depend on which node
#
# `edge` `[V, V]` says which node feeds which, `cost` `[V, N]` what each node itself costs. A node answers for its own
# cost and for all that lies downstream of it, each cost once. Return `[V, N]`.

# %%
# solution: 13.causal_costs

# %%
check(causal_costs).points

# %% [markdown]
# Write an episode as a graph: the nodes of step $t$ are $s_t$, $a_t$ and $r_t$, numbers $3t$, $3t + 1$ and $3t + 2$.
# Only the rewards "cost" anything: 1, 2, 4 and 8. What are the weights of the four actions? Do you know them from
# lecture 04?


# %%
def my_weights():
    edge, cost = torch.zeros(12, 12), torch.zeros(12, 1)
    for s in range(0, 12, 3):
        edge[s, s + 1] = edge[s, s + 2] = edge[s + 1, s + 2] = 1  # s to a, s to r, a to r
        if s + 3 < 12:
            edge[s, s + 3] = edge[s + 1, s + 3] = 1  # s and a to the next s
        cost[s + 2] = 2 ** (s // 3)
    return causal_costs(edge, cost)[1::3, 0]


try_it(my_weights)

# %% [markdown]
# ## 4. A graph for an episode
#
# In that graph the reward $r_t$ depends on the actions up to $a_t$, so by (13.6) its box holds
# their log-probabilities:
#
# $$L = \frac1E \sum_e \sum_t \gamma^t r_t\; e^{S_t - \operatorname{detach}(S_t)}, \qquad S_t = \sum_{k \le t} \log \pi(a_k \mid s_k)$$
#
# `log_probability`, `reward` and `valid` are `[T, E]`. Return the number; its value and its gradient are judged.

# %%
# solution: 13.episode_graph_surrogate

# %%
check(episode_graph_surrogate).points

# %% [markdown]
# No reward-to-go was written down, and yet the gradient has it. With boxes the second derivatives are right, too. Here is
# the mountain of lecture 04 once more, with $\theta$ two numbers: how much you would rather climb, at the hut and on the
# ridge. At $\theta = 0$ its eight walks have probabilities 3/16 and 1/16, so sixteen walks in these proportions are a
# batch without sampling error.


# %%
def policy(theta):
    """pi(a | s) as logits [S, A]: resting has 0, climbing theta_0 at the hut, theta_1 on the ridge, 0 elsewhere."""
    nothing = torch.zeros_like(theta[0])
    return torch.stack([torch.stack([nothing] * 4), torch.stack([theta[0], nothing, theta[1], nothing])], -1)


# %%
mdp, level = two_step(), torch.zeros(2, dtype=F64)
walks = exact.trajectories(mdp, policy(level).softmax(-1))
times = (16 * walks.probability).round().long()  # how often each is among the sixteen
parts = (walks.state[:-1], walks.action, walks.reward, walks.valid)
state, action, reward, valid = (part.repeat_interleave(times, dim=1) for part in parts)  # [2, 16]


def J(theta):
    return exact.expected_return(mdp, policy(theta).softmax(-1))


def mine(theta):
    """Your number for the sixteen walks."""
    return episode_graph_surrogate(Categorical(policy(theta)[state]).log_prob(action), reward, valid, 1.0)


# %%
def my_episodes():
    for name, f in (("exact", J), ("yours", mine)):
        slopes, bends = torch.func.grad(f)(level), torch.func.hessian(f)(level)
        print(name, "value", f(level).numpy(), "slopes", slopes.numpy(), "second derivatives", bends.flatten().numpy())


try_it(my_episodes)

# %% [markdown] tags=["solution-only"]
# The surrogate of lecture 04, $\sum_t w_t \log \pi(a_t \mid s_t)$ with $w_t$ held fixed, has the same slopes. Put it in
# `mine`: its mixed second derivative is zero. The choice at the hut decides how often there is a choice on the ridge,
# and weights that are held fixed cannot say so.

# %% [markdown]
# ## How far are you?

# %%
progress()
