# %% [markdown]
# # Exercise 12: discrete variables
#
# Lecture 12 in six functions of your own: two ways to sample, a gradient that cheats, two that do not, and the
# measurement that tells them apart, without any sampling error.
#
# As before: write the body, run the cell, then `check(...)` below it. `hint(f)` gives a hint, and another one each
# time; `solution(f)` shows the answer, and asks once before it does. `progress()` at the end knows what is done.

# %%
import torch

from pgcourse import budget, plots, relaxations
from pgcourse.distributions import Bernoulli
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
# ## 1. Samples by Gumbel-max
#
# $$\text{winner} = \arg\max_k\,(l_k + g_k), \qquad g_k = -\log(-\log u_k) \tag{12.1, 12.2}$$
#
# `logits` is `[K]`, `uniform` is `[N, K]`, a row for each draw. Return `[K]`: the share of the $N$ draws that each
# outcome won.

# %%
# solution: 12.gumbel_max_shares

# %%
check(gumbel_max_shares).points

# %% [markdown]
# Outcomes with probabilities 0.7, 0.2 and 0.1, ten thousand draws. What should come out, and how far off may it be?

# %%
logits = torch.tensor([0.7, 0.2, 0.1]).log()
try_it(gumbel_max_shares, logits, Rng(0).uniform(10_000, 3)[0])

# %% [markdown]
# The probabilities, to about half a hundredth: the standard error of a share is $\sqrt{p (1 - p) / N}$.

# %% [markdown]
# ## 2. A relaxed sample by Gumbel-softmax
#
# $$y = \operatorname{softmax}\big((l + g) / \tau\big) \tag{12.3}$$
#
# Now `logits` is `[N, K]`, a row for each draw, and so is `uniform`; `temperature` is a number. Return `[N, K]`.
# Logits may be as large as 1000.

# %%
# solution: 12.gumbel_softmax_point

# %%
check(gumbel_softmax_point).points


# %%
def my_largest():
    """How large the largest entry of your points is, at four temperatures."""
    noise = Rng(0).uniform(2000, 3)[0]
    for temperature in (5.0, 1.0, 0.3, 0.05):
        point = gumbel_softmax_point(logits.expand(2000, 3), noise, temperature)
        print(f"temperature {temperature:4.2f}: largest entry {point.amax(1).mean():.3f} on average")


try_it(my_largest)

# %% [markdown]
# From nearly uniform to nearly one-hot. The *place* of the largest entry never changes: it is the winner of task 1.

# %% [markdown]
# ## 3. Straight through a coin
#
# Forward the coin, backward its probability: $b + p - \operatorname{detach}(p)$. `logits` is `[D]`, `uniform` is
# `[N, D]`, and coin $d$ of draw $n$ shows 1 where its number is below $\sigma(l_d)$. The cost of a draw is
# $\sum_d (b_d - t_d)^2$ with `target` $t$ `[D]`. Return the mean cost of the $N$ draws; its gradient is judged.

# %%
# solution: 12.straight_through_cost

# %%
check(straight_through_cost).points

# %% [markdown] tags=["solution-only"]
# `p + (coin - p).detach()` is the same tensor. What must not be detached is the $p$ that is added.

# %% [markdown]
# ## 4. Each against the others
#
# $$\frac1N \sum_n \Big(f(b_n) - \frac{1}{N-1} \sum_{m \ne n} f(b_m)\Big)\, \nabla \log p(b_n) \tag{12.6}$$
#
# `log_probability` and `value` are `[N]`. Return a number with this gradient; nothing may flow through `value`.

# %%
# solution: 12.leave_one_out_surrogate

# %%
check(leave_one_out_surrogate).points

# %% [markdown]
# ## 5. Two coins from one number
#
# From each $u$ two samples, $b = 1[u < p]$ and $b' = 1[1 - u < p]$, and then, for each coin,
#
# $$\frac{f(b) - f(b')}{2}\,(-1)^{b'}\, 1[b \ne b']\; \sigma(|l|) . \tag{12.8}$$
#
# `logits` is `[D]`, `uniform` is `[N, D]`; `value` and `antithetic` are `[N]`, the $f(b_n)$ and $f(b'_n)$. Return the
# mean over the pairs, `[D]`.

# %%
# solution: 12.disarm_estimate

# %%
check(disarm_estimate).points

# %% [markdown]
# Now your tasks 3, 4 and 5 play the toy of the lecture: one coin, cost $(b - 0.499)^2$, to be made small, from the logit 0.
# Sixteen learners each, eight evaluations a step (four pairs for DisARM). Which side is cheaper, and by how much?
# Predict which of the three estimates finds out.

# %%
TARGET = torch.tensor([0.499])


def cost(b):
    """(b - t)^2, [..., 1] -> [...]."""
    return (b - TARGET).square().sum(-1)


def gradients(logit, u):
    """Your three estimates for one learner's coin, u [8, 1]."""
    at = logit.clone().requires_grad_()
    through = torch.autograd.grad(straight_through_cost(at, u, TARGET), at)[0]
    coin = Bernoulli(at).sample(u)
    surrogate = leave_one_out_surrogate(Bernoulli(at).log_prob(coin), cost(coin))
    others = torch.autograd.grad(surrogate, at)[0]
    first, second = (u[:4] < logit.sigmoid()).float(), (1 - u[:4] < logit.sigmoid()).float()
    return through, others, disarm_estimate(logit, u[:4], cost(first), cost(second))


# %%
def my_race():
    steps, names = budget.choose(100, 30), ("straight through", "leave one out", "DisARM")
    noise, path = Rng(range(16)).uniform(steps, 8, 1), torch.zeros(3, 16, steps + 1)
    for r in range(16):
        for k in range(steps):
            for i in range(3):
                logit = path[i, r, k].reshape(1)
                path[i, r, k + 1] = logit - 100 * gradients(logit, noise[r, k])[i]
    picture, ax = plots.figure(8, 4.2)
    for each, name, color in zip(path.clamp(-20, 20), names, ("biased", "score_function", "baseline"), strict=True):
        plots.band(ax, range(steps + 1), each.sigmoid(), label=name, color=color, thin=False)
    ax.set(xlabel="steps", ylabel="probability of showing 1", ylim=(-0.02, 1.02))
    plots.show(
        picture,
        "Showing 0 costs 0.002 less. The two unbiased ones see it. Straight-through has another aim, and with "
        "steps this large it is thrown to either side.",
    )


try_it(my_race)

# %% [markdown]
# ## 6. Bias without sampling error
#
# What can be listed need not be sampled. There are $M$ outcomes with probabilities $p$; when outcome $m$ is drawn, the
# estimator says `estimate[m]`. Its mean, its bias and its variance are sums:
#
# $$\text{bias} = \sum_m p_m\, \hat g_m - \sum_m p_m f_m \nabla \log p_m , \qquad
# \text{variance} = \sum_m p_m\, \big(\hat g_m - \textstyle\sum_j p_j \hat g_j\big)^2 .$$
#
# `probability` and `value` are `[M]`, `score` and `estimate` are `[M, P]`. Return two tensors `[P]`.

# %%
# solution: 12.enumerated_bias

# %%
check(enumerated_bias).points

# %% [markdown]
# Put two coins with logits 0.5 and -1 to the test, cost $(b_1 + 2 b_2 - 1.2)^2$. Straight-through against the score
# function: which has the larger error (bias squared plus variance) if you may draw once? And if you may draw a
# thousand times, when the variance is a thousandth and the bias stays?


# %%
def my_verdict():
    logit = torch.tensor([0.5, -1.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64)
    b = relaxations.outcomes(Bernoulli(logit))  # the four outcomes
    p, value = Bernoulli(logit).log_prob(b).exp(), (b @ weight - 1.2).square()
    score = b - logit.sigmoid()
    slope = 2 * (b @ weight - 1.2)[:, None] * weight
    through = slope * logit.sigmoid() * (1 - logit.sigmoid())
    for name, estimate in (("straight through", through), ("score function", value[:, None] * score)):
        bias, variance = enumerated_bias(p, value, score, estimate)
        once, often = (float((bias.square() + variance / n).sum()) for n in (1, 1000))
        print(f"{name:17s} bias {bias.numpy().round(3)}  squared error: {once:.3f} with 1 draw, {often:.4f} with 1000")


try_it(my_verdict)

# %% [markdown]
# One draw: the quiet one wins, wrong as it is. A thousand draws: only the unbiased one goes on improving. That is all
# there is to say about the choice, except that in between one must measure.

# %% [markdown]
# ## How far are you?

# %%
progress()
