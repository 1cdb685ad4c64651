# %% [markdown]
# # 12 And when the variable is discrete?
#
# A valve is open or shut, a word is one of ten thousand, a digit is a three or an eight. In [lecture
# 11](11_pathwise_gradients.ipynb) the sample moved a little when its parameters did, and the slope of the cost did
# the rest. A switch does not move a little. This lecture is about all the ways round that: pretending that it does,
# and paying with bias; or not pretending, and buying less noise with cleverness.
#
# **After it you can**
# - draw an exact discrete sample with an `argmax`, and relax it with a temperature;
# - say in which direction a straight-through gradient errs, before you run it;
# - choose among leave-one-out, ARM, DisARM, REBAR and RELAX, and measure that you chose well.
#
# **You need** the score function (lecture 03) and the pathwise gradient (lecture 11). **Time:** 60 minutes at the
# keyboard, 30 as a talk.

# %%
import inspect
import math
from functools import partial

import torch
from IPython.display import Code

from pgcourse import budget, estimator_table, figures_12, gradients, plots, quizzes, relaxations, widgets
from pgcourse.distributions import Bernoulli
from pgcourse.relaxations import OneHot
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
F64 = torch.float64

# %% [markdown]
# ## The whole lecture in one picture
#
# Three outcomes A, B, C are the corners of a triangle. A *relaxed* sample may lie anywhere inside. Each dot takes the
# colour of the corner it is nearest to; below the corner stand the share of such dots and, in brackets, the
# probability of that outcome (*favourite* makes A likelier). On the right: how wrong the gradient through these dots
# is, for a cost that curves between the corners. Lower the temperature.

# %%
caption = (
    "Hot: the dots move smoothly with the parameters, but they are no samples. Cold: they are samples, and "
    "their gradient is noise. The shares at the corners never change."
)
widgets.movable(figures_12.simplex, **figures_12.SIMPLEX, caption=caption)

# %% [markdown]
# So there is a bargain between **bias** (red) and **noise** (orange), and a temperature to strike it with. The second
# half of the lecture shows that one can do better than bargain.

# %% [markdown]
# ## 1. The coin
#
# Start with the smallest discrete variable. A coin $b$ shows 1 with probability
# $p = \sigma(\theta) = 1 / (1 + e^{-\theta})$, else 0; $\theta$ is its **logit**. Showing $b$ costs $f(b)$. There are
# two outcomes, so expectation and gradient can be written out, with $p' = p\,(1 - p)$:
#
# $$J(\theta) = p\, f(1) + (1 - p)\, f(0), \qquad \nabla_\theta J = p\,(1 - p)\,\big(f(1) - f(0)\big).$$

# %%
theta = torch.tensor([0.7], dtype=F64)
p = theta.sigmoid()


def cost(b):
    """f(b) = (b - 0.499)^2 + 3 b + 1, for b [..., 1] -> [...]."""
    return ((b - 0.499).square() + 3 * b + 1).sum(-1)


f0, f1 = cost(torch.zeros(1, dtype=F64)), cost(torch.ones(1, dtype=F64))
exact = p * (1 - p) * (f1 - f0)
print(f"p = {p.item():.4f}, f(0) = {f0:.4f}, f(1) = {f1:.4f}, exact gradient {exact.item():.4f}")

# %%
widgets.predict(
    "We draw u uniformly and set b = 1 where u < p, a comparison. What does autograd say about the mean cost's slope?",
    ["The exact gradient, with sampling noise", "Zero, or no gradient at all", "The slope of f, because p enters once"],
)

# %%
u = Rng(range(16), dtype=F64).uniform(20_000, 1)  # [replica, draw, coin]
at = theta.clone().requires_grad_()
b = (u < at.sigmoid()).to(F64)
print("the sample depends on theta, says autograd:", b.requires_grad)
objective = gradients.Expectation(Bernoulli, cost)
try:
    gradients.pathwise(objective, theta, u[:1])
except TypeError as problem:
    print(problem)

# %% [markdown]
# A comparison is flat wherever it has a slope: move $p$ by a hair, and of a million coins a few flip and the rest do
# not move. What the flips contribute is the whole gradient, and autograd cannot see it. The score function of lecture
# 03 can. Here is what it pays for that, with sixteen replicas:


# %%
def compare(name, estimates, truth=exact):
    """Mean over replicas [16, ...] with its 95 % interval (Student's t), and the truth."""
    half = 2.13 * estimates.std(0) / len(estimates) ** 0.5
    for mean, width, true in zip(estimates.mean(0).flatten(), half.flatten(), truth.flatten(), strict=True):
        print(f"{name:34s} {mean:8.4f} ± {width:.4f}   exact {true:8.4f}")


# %%
score = b - p  # d/dtheta log p(b): 1 - p if it shows 1, -p if 0
each = cost(b)[..., None] * score  # [replica, draw, 1]
compare("score function", each.mean(1))
print(f"variance of a single estimate {each.var():.3f}")

# %% [markdown]
# Right, and noisy: one estimate is typically off by more than the gradient's own size. That variance is the number to
# beat.

# %% [markdown]
# ## 2. Sampling by a race
#
# Before anything can be relaxed, we need a sample that is made from noise and parameters by a formula. For a choice
# among $K$ outcomes with logits $l_k$ (probabilities $e^{l_k} / \sum_j e^{l_j}$) there is a beautiful one. Give each
# outcome a number $g_k$ and let the largest sum win:
#
# $$ \text{winner} = \arg\max_k\,(l_k + g_k), \qquad\text{then}\quad P(\text{winner} = k) = \frac{e^{l_k}}{\sum_j e^{l_j}} \tag{12.1}$$
#
# $$ g_k = -\log(-\log u_k), \qquad u_k \text{ uniform on } (0, 1) \tag{12.2}$$
#
# These $g_k$ are **Gumbel** numbers, and (12.1) is the **Gumbel-max** trick. Why is it exact? Write the sum as one
# logarithm: $l_k + g_k = -\log\big(-\log u_k / e^{l_k}\big)$. Now $-\log u_k$ is the ringing time of a clock with
# rate 1, so $-\log u_k / e^{l_k}$ is that of a clock with rate $\lambda_k = e^{l_k}$. The largest sum is the clock
# that rings *first*, and clock $k$ is first with probability
#
# $$\int_0^\infty \lambda_k e^{-\lambda_k t} \prod_{j \ne k} e^{-\lambda_j t}\, dt = \frac{\lambda_k}{\sum_j \lambda_j} .$$

# %%
logits = torch.tensor([1.0, 0.0, -0.5], dtype=F64)
v = Rng(range(16), dtype=F64).uniform(5000, 3)
sums = logits + -(-v.log()).log()
clocks = -v.log() / logits.exp()
print("the same winner in every draw:", bool((sums.argmax(-1) == clocks.argmin(-1)).all()))
shares = torch.nn.functional.one_hot(sums.argmax(-1), 3).double().mean(1)  # [replica, 3]
compare("share of wins", shares, logits.softmax(0))

# %%
t = torch.linspace(0, 40, 400_001, dtype=F64)[:, None]
rate = logits.exp()
first = torch.trapezoid(rate * (-rate.sum() * t).exp(), t, dim=0)
print("the integral        ", first.numpy().round(5))
print("softmax of the logits", logits.softmax(0).numpy().round(5))

# %% [markdown]
# A coin is a choice between two. Only the difference of the two sums matters, and the difference of two Gumbel
# numbers is **logistic**, $\log\frac{1 - u}{u}$. So $b = 1$ where $z = \theta + \log\frac{1-u}{u} > 0$, and a line of
# algebra turns that back into $u < \sigma(\theta)$.

# %%
z = theta + (1 - u).log() - u.log()
print("coins that come out differently:", int(((z > 0) != (u < p)).sum()), "of", u.numel())

# %% [markdown]
# ## 3. Relax
#
# All the randomness is now in numbers that do not know the parameters, and the parameters enter smoothly, up to the
# last step. The last step is the `argmax`. So replace it by something smooth that is close to it:
#
# $$ y = \operatorname{softmax}\Big(\frac{l + g}{\tau}\Big), \qquad\text{for a coin}\quad y = \sigma(z / \tau) \tag{12.3}$$
#
# with the **temperature** $\tau > 0$: the *Gumbel-softmax*, or *concrete*, relaxation. $y$ is no sample (a third of a
# cat is no animal), but it has a slope, and as $\tau \to 0$ it becomes one-hot. That was the picture at the top. (The
# slides call the whole trick categorical reparameterization.)

# %%
for temperature in (5.0, 1.0, 0.2, 0.04):
    y = (sums / temperature).softmax(-1)
    print(f"temperature {temperature:4.2f}: largest entry {y.amax(-1).mean():.3f}, E[y]", y.mean((0, 1)).numpy().round(3))

# %%
widgets.predict(
    "We differentiate f(y) through (12.3) for our coin, at temperatures 2, 0.5 and 0.05. What happens?",
    [
        "Unbiased at each; noise grows as it gets colder",
        "Bias shrinks as it gets colder; noise grows",
        "Bias and noise both shrink as it gets colder",
    ],
)


# %%
def estimates(name, samples=1, count=4000, problem=objective, at=theta, **settings):
    """Independent estimates by a method of the library, [replica, count, parameter]."""
    shape = relaxations.noise_shape(name, problem.law(at), samples)
    noise = Rng(range(16), dtype=F64).uniform(count, 1, *shape)
    return relaxations.estimator(name, **settings)(problem, at.expand(16, count, -1), noise)


# %%
for temperature in (2.0, 0.5, 0.05):
    found = estimates("gumbel_softmax", temperature=temperature)
    compare(f"relaxed, temperature {temperature}", found.mean(1))
    print(f"{'':34s} variance of one {found.var():.3f}")

# %% [markdown]
# Hot is quiet and wrong; cold is right and noisy: as $\tau$ falls the slope is nearly zero nearly everywhere and
# $1/(4\tau)$ where $z$ is near 0. The library has sparse cousins, which reach the corners at finite temperature
# (`project=sparsemax` or `entmax15`). The bargain is the same.

# %% [markdown]
# ## 4. Straight through
#
# Many costs make no sense at a third of a cat. So: forward the hard sample, backward something soft.
#
# $$ \tilde b = b + p - \operatorname{detach}(p) \tag{12.4}$$
#
# Its value is $b$, its gradient is that of $p$. (With the relaxed sample in place of $p$ it is *straight-through
# Gumbel*; the slides' straight-through sigmoid is our coin.) The gradient that comes out is $f'(b)\, p\,(1 - p)$: the
# slope of $f$ *at the corner that was drawn*, where the truth asks for $f(1) - f(0)$.

# %%
caption = "The truth wants the chord. Straight-through sees the two tangents, each as often as its corner is drawn."


def bent(b):
    """A cost with more of a bend, [..., 1] -> [...]."""
    return (1.6 * b.sum(-1) - 0.5).square()


widgets.movable(partial(figures_12.chord, cost=bent), **figures_12.CHORD, caption=caption)

# %%
widgets.predict(
    "f(b) = (b - 0.499)^2 + 3 b + 1 curves upward, and our p is 0.67. Straight-through's mean gradient is",
    ["exact: f is nearly linear, and samples are exact", "too large", "too small"],
)

# %%
slope0, slope1 = 3 - 2 * 0.499, 3 + 2 * 0.501  # f' at 0 and at 1
predicted = p * (1 - p) * (p * slope1 + (1 - p) * slope0)
found = estimates("straight_through")
compare("straight-through", found.mean(1))
compare("its mean, from the two tangents", found.mean(1), predicted)
print(f"variance of one {found.var():.4f}; that of the score function is {each.var() / found.var():.0f} times as large")

# %% [markdown]
# Too large: the steep tangent at 1 is drawn two times in three. No number of samples mends that, and no temperature
# is there to turn. But look at the variance. For a *linear* $f$ the tangents are the chord and straight-through is
# exact. People use it where $f$ is nearly linear in each bit, and often where they do not know.
#
# One repair costs no evaluation of $f$: straight-through Gumbel uses one draw of noise for the slope, though many draws
# lead to the same hard sample. Average over those (`gumbel_rao`), and the mean stays, the noise falls. It is a
# **Rao-Blackwellisation**: replace a random quantity by its mean given what you need to know.

# %%
for name in ("straight_through_gumbel", "gumbel_rao"):
    found = estimates(name)
    compare(name, found.mean(1))
    print(f"{'':34s} variance of one {found.var():.3f}")

# %% [markdown]
# ## 5. Unbiased, less noisy: what to subtract
#
# Back to the score function. Lecture 03 subtracted a constant $c$ from $f$; the score has mean zero, so nothing is
# biased:
#
# $$\big(f(b) - c\big)\, \nabla_\theta \log p(b) \tag{12.5}$$

# %%
widgets.predict(
    "With the best constant c, how noisy is the score function of a single coin?",
    ["About half as noisy as before", "The variance of f is what remains", "There is no noise at all"],
)

# %%
best = (1 - p) * f1 + p * f0
for c in (0.0, p * f1 + (1 - p) * f0, best):
    each = (cost(b)[..., None] - c) * score
    print(f"c = {float(c):.3f}: mean {each.mean():.4f}, variance {each.var():.2e}")

# %% [markdown]
# None. With two outcomes the estimate takes two values, $(1-p)(f(1) - c)$ and $-p\,(f(0) - c)$, and
# $c = (1-p) f(1) + p f(0)$ makes them equal. Mark the twist: it is *not* the mean of $f$, but the mean with the
# probabilities exchanged. With many coins it is not exact any more, and nobody knows $f(0)$ and $f(1)$ beforehand.
#
# What one always has is the *other samples*. Each of $N$ samples takes the mean of the other $N - 1$ for its $c$:
#
# $$ \frac1N \sum_{n} \Big(f(b_n) - \frac{1}{N - 1} \sum_{m \ne n} f(b_m)\Big)\, \nabla_\theta \log p(b_n) \tag{12.6}$$
#
# **leave-one-out**. The others are independent of $b_n$, so this $c$ is as good as a constant. The mean over *all*
# would not be.

# %%
drawn, marks = b.reshape(16, -1, 4, 1), score.reshape(16, -1, 4, 1)  # in fours
f = cost(drawn)[..., None]
others = (f.sum(2, keepdim=True) - f) / 3
compare("(12.6), N = 4", ((f - others) * marks).mean((1, 2)))
compare("own value in the mean", ((f - f.mean(2, keepdim=True)) * marks).mean((1, 2)))
compare("the latter times 4 / 3", 4 / 3 * ((f - f.mean(2, keepdim=True)) * marks).mean((1, 2)))

# %% [markdown]
# The second row is too small by a quarter; exercise 03 met the same with ten darts. The third says that the two
# differ by nothing else.
#
# The idea carries over to an objective that is no mean of single costs, such as the bound
# $\mathbb E\big[\log \frac1N \sum_n e^{f(b_n)}\big]$ that variational inference climbs. What is one sample worth to
# it? The bound, less what the bound would be if that sample's $f$ were the mean of the others'. That is **VIMCO**.
# Here it is with $N = 3$, against the exact gradient of the bound, a sum over the eight ways in which three coins can
# fall:

# %%
found = estimator_table.vimco(draws=budget.choose(64_000, 16_000))
print(f"VIMCO: bias {found.bias.item():.4f} ± {2 * found.standard_error.item():.4f}, variance {found.variance.item():.3f}")

# %% [markdown]
# ## 6. Two coins from one number
#
# Take *one* uniform $u$ and make *two* samples: $b = 1[u < p]$ and $b' = 1[1 - u < p]$. Each is a fair sample of the
# coin; together they disagree as often as they can. ARM (augment, reinforce, merge) weighs their difference:
#
# $$ \big(f(b') - f(b)\big)\,\big(u - \tfrac12\big) \tag{12.7}$$
#
# Where $b = b'$ this is zero. They differ for $u$ near 0 ($b = 1$, $b' = 0$) and near 1. With $m = \max(p, 1 - p)$
# each end contributes $(f(1) - f(0)) \int_m^1 (u - \frac12)\,du = (f(1) - f(0))\, m\,(1 - m)/2$, and the two together
# the truth.
#
# But given the pair, $u$ tells nothing more about $f$: it is noise. Replace $u - \frac12$ by its mean there,
# $\pm m / 2$, and get DisARM, with $m = \sigma(|\theta|)$:
#
# $$ \frac{f(b) - f(b')}{2}\, (-1)^{b'}\, 1[b \ne b']\; \sigma(|\theta|) \tag{12.8}$$

# %%
grid = (torch.arange(200_000, dtype=F64) + 0.5)[:, None] / 200_000  # u, on a grid: no sampling error
one, other = (grid < p).to(F64), (1 - grid < p).to(F64)
arm = (cost(other) - cost(one))[:, None] * (grid - 0.5)
sign = torch.where(other > 0.5, -1.0, 1.0)
disarm = (cost(one) - cost(other))[:, None] / 2 * sign * (one != other) * theta.abs().sigmoid()
for name, g in (("ARM (12.7)", arm), ("DisARM (12.8)", disarm)):
    print(f"{name:14s} mean {g.mean():.5f}, exact {exact.item():.5f}; variance {g.var(correction=0):.4f}")

# %% [markdown]
# A quarter, and a fifth, of the score function's variance, for two evaluations instead of one. For several coins each
# has its own $u$, the two samples are two vectors, and every coin shares the difference $f(b) - f(b')$. Only coins
# have antithetic partners of this kind; asked of a choice the library says what else there is:

# %%
choice = OneHot(torch.zeros(1, 3, dtype=F64))
try:
    relaxations.arm(cost, choice, torch.full((1, 1, 3), 0.5, dtype=F64))
except TypeError as problem:
    print(problem)

# %% [markdown]
# ## 7. A relaxation as a control variate
#
# Can the relaxation's good sense be had without its bias? Let $c(z)$ be any smooth function of the $z$ that decides
# $b$: the relaxed cost $f(\sigma(z/\tau))$ (REBAR), or a network (RELAX). Draw $z$, hence $b$; then draw a second
# $\tilde z$ *anew among those that decide for the same* $b$. The two have the same law, so
# $\mathbb E[c(z)] = \mathbb E[c(\tilde z)]$. Differentiate both sides, the left one pathwise, the right one by the
# product rule, because $\tilde z$ depends on $\theta$ in two ways (which $b$ was drawn, and where $\tilde z$ lies
# given $b$):
#
# $$ \mathbb E[\nabla c(z)] = \mathbb E[c(\tilde z)\, \nabla \log p(b)] + \mathbb E[\nabla c(\tilde z)] .$$
#
# So three terms add up to zero in the mean, and may be added to the score function:
#
# $$ \big(f(b) - c(\tilde z)\big)\, \nabla \log p(b) + \nabla c(z) - \nabla c(\tilde z) \tag{12.9}$$
#
# For the coin, $\tilde z = \theta + \log\frac{1-w}{w}$ with $v$ uniform and
#
# $$ w = v\, p \;\text{ if } b = 1, \qquad w = p + v\,(1 - p) \;\text{ if } b = 0. \tag{12.10}$$


# %%
def c(z):
    return cost((z / 0.5).sigmoid())


def second(at, b, v):
    """z~ of (12.10)."""
    p = at.sigmoid()
    w = torch.where(b > 0.5, v * p, p + v * (1 - p))
    return at + (1 - w).log() - w.log()


# %%
at = theta.expand_as(u).clone().requires_grad_()
again = Rng(range(16), stream=1, dtype=F64).uniform(20_000, 1)
near = second(at, b, again)
slope = torch.autograd.grad(c(at + (1 - u).log() - u.log()).sum(), at)[0]
slope_near = torch.autograd.grad(c(near).sum(), at)[0]
print("same side of zero, always:", bool(((near > 0) == (b > 0.5)).all()))
zero = slope - slope_near - c(near)[..., None].detach() * score
compare("the three terms", zero.mean(1), torch.zeros(1))
rebar = cost(b)[..., None] * score + zero
compare("(12.9), by hand", rebar.mean(1))
print(f"variance of one {rebar.var():.3f}")

# %%
both = torch.stack([u, again], -1)[:, :, None, None]  # the library's noise, [..., 2]
library = relaxations.estimator("rebar")(objective, theta.expand(16, 20_000, 1), both)
print(f"largest difference from the library: {(library - rebar.detach()).abs().max():.1e}")

# %%
Code(inspect.getsource(relaxations.rebar), language="python")

# %% [markdown]
# In words, and in the library's order:
#
# ```text
# u, v ~ uniform            z from u, b = 1[z > 0], z~ from v given b
# value = f(b)              the cost that is reported
# weight = value - s c(z~)  held fixed
# gradient of:  weight log p(b) + s c(z) - s c(z~)
# ```
#
# The scale $s$ is 1 in (12.9); the three terms have mean zero, so any fixed $s$ will do.
#
# RELAX is that with a $c$ that *learns*. Since (12.9) is unbiased whatever $c$ is, making the square of the estimate
# small makes its variance small: `relaxations.squared_estimate` is that square. You will see it at work in turn 9.

# %% [markdown]
# ## 8. All of them, against the truth
#
# Now four coins and sixteen outcomes, and a cost that ties them together,
# $f(b) = (w \cdot b - 1)^2 + \sin(3\, w \cdot b)$. The exact gradient is a sum over sixteen. Each estimator gets two
# samples; costs differ (ARM evaluates $f$ twice a sample, REBAR three times), so on the right variance is multiplied
# by the number of evaluations.

# %%
widgets.predict(
    "Which of these has the least noise at equal cost, of the unbiased ones that do not list all outcomes?",
    ["REBAR: it uses the slope of f as well", "Leave-one-out: it needs no tricks", "DisARM: it needs pairs only"],
)

# %%
problem = estimator_table.FOUR_COINS
length = problem.exact.norm()
left_out = {"enumerate_all", "importance_sampled", "mapo", "beam_search"}  # these, and variants, are in docs/estimators.md
left_out |= {"without_replacement_normalised", "unordered_set_gumbel_softmax"}
names = [name for name in estimator_table.names(problem) if name not in left_out]
draws = budget.choose(40_000, 8_000)
bias, noise = {}, {}
for name in names:
    found = estimator_table.measure(problem, name, draws)
    i = estimator_table.worst(found)
    bias[name] = (float(found.bias[i] / length), float(found.standard_error[i] / length))
    noise[name] = float(found.variance.sum()) * estimator_table.evaluations(problem, name)

# %%
biased = [name for name in names if name in relaxations.METHODS and not relaxations.METHODS[name].unbiased]
paints = {name: "biased" if name in biased else "baseline" for name in names} | {"score_function": "score_function"}
picture, axes = plots.figure(8.5, 6.4, columns=2, gridspec_kw={"width_ratios": (1, 1)})
figures_12.comparison(axes, bias, noise, paints)
plots.show(
    picture,
    "The red ones are biased, by far more than their error bars. All others centre on zero; among them DisARM is quiet for its price.",
)

# %%
unbiased = [name for name in names if name not in biased]
worst = max(unbiased, key=lambda name: abs(bias[name][0] / bias[name][1]))
print(f"{len(unbiased)} unbiased ones: at most {abs(bias[worst][0] / bias[worst][1]):.1f} standard errors from zero ({worst})")
for name in biased:
    print(f"{name:24s} {bias[name][0] / bias[name][1]:7.1f} standard errors from zero")

# %% [markdown]
# Ratios below three are what chance gives among so many; seven and more are not. `measure_valued` of lecture 11 stands among
# them: it plugs into the same call. Three methods *list* all outcomes and so never waste an evaluation on one twice:
# `sum_and_sample` sums the likeliest and samples the rest, `without_replacement` and `unordered_set` draw different
# ones. They shine where few outcomes have most of the probability, and cannot be had where outcomes are too many to
# list. `docs/estimators.md` has the whole table, for choices too.
#
# REBAR disappoints here, per evaluation: this $f$ bends too much for its relaxed self to foretell it. Which method is
# best is a question about *your* $f$. So measure.

# %% [markdown]
# ## 9. The toy that separates them
#
# One coin, cost $(b - t)^2$ with $t = 0.499$, to be made *small*. Showing 0 is cheaper, by very little. How large is
# the gradient at $p = 1/2$, and how large the noise of one score-function estimate?

# %%
toy = gradients.Expectation(Bernoulli, lambda b: (b - 0.499).square().sum(-1))
even = torch.zeros(1, dtype=F64)
found = estimates("score_function", problem=toy, at=even)
truth = relaxations.estimator("enumerate_all")(toy, even, None)
print(
    f"exact gradient {truth.item():.4f}, noise of one estimate {found.std():.4f}: {found.std() / truth.item():.0f} times as large"
)

# %% [markdown]
# Sixteen learners for each method, eight evaluations of the cost a step. Predict:

# %%
widgets.predict(
    "Straight-through follows the slope of the cost at what was drawn. Where do its sixteen learners end?",
    ["All at 0, sooner than the others", "Near one half, and stay there", "Some at 0, some at 1"],
)

# %%
STEPS = budget.choose(1000, 400)


def descend(name, step_size=5.0, **settings):
    """Probability of showing 1 of sixteen learners from 1/2, [replica, step]."""
    each = max(1, relaxations.METHODS[name].evaluations)
    rng, logit, path = Rng(range(16)), torch.zeros(16, 1), []
    shape = relaxations.noise_shape(name, Bernoulli(logit), 8 // each)
    for noise in rng.uniform(STEPS, 1, *shape).unbind(1):
        path.append(logit[:, 0].sigmoid())
        slope = relaxations.estimator(name, **settings)(toy, logit, noise if shape else None)
        logit = (logit - step_size * slope).clamp(-15, 15)
    return torch.stack(path, 1)


# %% [markdown]
# RELAX gets a control with two parameters a replica, $c(z) = a + w\,\sigma(z)$, which learn from the squared estimate
# while the coin learns from the estimate:


# %%
def foretold(control, z):
    """c(z), [replica, sample]."""
    return control[0] + control[1] * z.sigmoid().squeeze(-1)


def descend_relax(step_size=5.0):
    rng, logit, path = Rng(range(16)), torch.zeros(16, 1), []
    control = torch.zeros(2, 16, 1, requires_grad=True)
    optimizer = torch.optim.Adam([control], lr=0.02)
    for noise in rng.uniform(STEPS, 8, 1, 2).unbind(1):
        path.append(logit[:, 0].sigmoid())
        at = logit.requires_grad_()
        surrogate = relaxations.relax(toy.value, Bernoulli(at), noise, partial(foretold, control))
        slope = torch.autograd.grad(surrogate.sum(), at, retain_graph=True)[0]
        square = relaxations.squared_estimate(surrogate, at)
        (control.grad,) = torch.autograd.grad(square, control)
        optimizer.step()
        logit = (logit.detach() - step_size * slope).clamp(-15, 15)
    return torch.stack(path, 1)


# %%
shown = ("score_function", "leave_one_out", "disarm", "straight_through", "gumbel_softmax")
curves = {name: descend(name) for name in shown} | {"relax, learning": descend_relax()}
colors = {name: "biased" if name in biased else "baseline" for name in curves} | {"score_function": "score_function"}
picture, axes = plots.figure(8.5, 5.2, columns=3, rows=2, sharex=True, sharey=True)
figures_12.panels(axes, range(0, STEPS, 20), {name: curve[:, ::20] for name, curve in curves.items()}, colors)
truth = descend("enumerate_all")[0]
for ax in axes.flat:
    ax.plot(truth, "--", color=plots.COLORS["exact"], linewidth=1.3)
    ax.set(ylim=(-0.03, 1.03), xlabel="steps" if ax in axes[1] else "", ylabel="P(b = 1)" if ax in axes[:, 0] else "")
plots.show(
    picture,
    "Sixteen replicas each; dashed: the exact gradient. Whoever compares costs with each other sees how little they differ.",
)

# %%
for name, curve in curves.items():
    print(f"{name:20s} on the right side of 1/2: {int((curve[:, -1] < 0.5).sum()):2d} of 16")

# %% [markdown]
# The score function drowns: each sample is weighted with about 0.25, though only a difference of 0.002 matters.
# Leave-one-out and DisARM compare two costs, so the 0.25 drops out, and they follow the dashed line. RELAX starts as
# the score function and gets there once its $a$ has learned the 0.25. The biased two fail for another reason.
# Straight-through's slope at $b$ is $2(b - t)$, so its mean gradient is $2\,(p - t)\,p\,(1 - p)$: that of
# $(p - t)^2$, the cost *of the average coin*, and its minimum is $p = t$. What was asked for is the average cost of
# the coins.

# %% [markdown]
# ## 10. A small discrete autoencoder
#
# Now something with weights. Ten digits, drawn on 3 by 5 pixels, are to be described by six coins and redrawn from
# them. The encoder gives the six logits for a digit $x$; the coins are tossed; the decoder gives the logit of each
# pixel. What is made small is the negative **evidence lower bound** in nats: the cost of redrawing, plus how far the
# coins are from fair ones,
#
# $$ \mathbb E_{b \sim q(\cdot \mid x)}\big[-\log p(x \mid b)\big] + \sum_d \Big(\log 2 - H\big(q(b_d \mid x)\big)\Big) . $$
#
# (Lecture 18 derives it.) No description of ten equally likely digits can do better than $\log 10 = 2.30$ nats.

# %%
ROWS = (
    "### .#. ### ### #.# ### ### ### ### ###|#.# ##. ..# ..# #.# #.. #.. ..# #.# #.#|"
    "#.# .#. ### .## ### ### ### .#. ### ###|#.# .#. #.. ..# ..# ..# #.# .#. #.# ..#|### ### ### ### ..# ### ### .#. ### ###"
)
digits = torch.tensor([[[pixel == "#" for pixel in digit] for digit in row.split()] for row in ROWS.split("|")])
digits = digits.movedim(1, 0).flatten(1).float()  # [10 digits, 15 pixels]


# %%
def bound(name, weights, noise):
    """The negative bound for each digit [replica, digit], with a surrogate's gradient."""
    encode, bias, decode, offset = weights
    law = Bernoulli((2 * digits - 1) @ encode + bias)  # logits [replica, digit, 6]

    def redraw(b):  # [replica, digit, sample, 6] -> [replica, digit, sample]
        pixels = b @ decode[:, None] + offset[:, None]
        return -Bernoulli(torch.where(digits[:, None] > 0.5, pixels, -pixels)).log_prob(torch.ones_like(pixels))

    fair = math.log(2) * encode.shape[-1] - law.entropy()
    return relaxations.METHODS[name].surrogate(redraw, law, noise) + fair


# %% [markdown]
# Both halves of the gradient come out of the surrogate: the encoder's through the logits, the decoder's through $f$
# itself. Each method gets six evaluations of the decoder per digit and step. What is plotted is no estimate: all 64
# codes are listed.


# %%
def train(name, steps):
    rng = Rng(range(16))
    shapes = ((15, 6), (1, 6), (6, 15), (1, 15))
    weights = [0.5 * rng.normal(*shape) * (shape[0] > 1) for shape in shapes]
    weights = [weight.requires_grad_() for weight in weights]
    optimizer, curve = torch.optim.Adam(weights, lr=0.03), []
    shape = relaxations.noise_shape(name, Bernoulli(torch.zeros(6)), 6 // max(1, relaxations.METHODS[name].evaluations))
    for step in range(steps):
        noise = rng.uniform(10, *shape) if shape else None
        losses = bound(name, weights, noise).mean(1)  # [replica]
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        if step % 20 == 19:
            with torch.no_grad():
                curve.append(bound("enumerate_all", weights, None).mean(1))
    return torch.stack(curve, 1), weights


# %%
widgets.predict(
    "Straight-through, the score function, leave-one-out: who is lowest after 400 steps?",
    [
        "Straight-through: bias does not matter where noise does",
        "The score function: it is unbiased, and it gets six samples",
        "Leave-one-out",
    ],
)

# %%
steps = budget.choose(400, 60)
contestants = ("score_function", "leave_one_out", "disarm", "rebar", "straight_through", "gumbel_softmax")
runs = {name: train(name, steps) for name in contestants}
reference, weights = train("enumerate_all", steps)

# %%
x = range(20, steps + 1, 20)
picture, axes = plots.figure(8.5, 5.4, columns=3, rows=2, sharex=True, sharey=True)
figures_12.panels(axes, x, {name: curve for name, (curve, _) in runs.items()}, paints)
for ax in axes.flat:
    ax.plot(x, reference.mean(0), "--", color=plots.COLORS["exact"], linewidth=1.5)
    ax.axhline(math.log(10), color=plots.COLORS["exact"], linewidth=1, linestyle=":")
    ax.set(ylim=(2, 8), xlabel="steps" if ax in axes[1] else "", ylabel="nats per digit" if ax in axes[:, 0] else "")
plots.show(
    picture,
    "Sixteen replicas; dashed: training with the exact gradient; dotted: log 10. Straight-through stops learning first.",
)

# %%
for name, (curve, _) in runs.items():
    low, high = plots.bootstrap_interval(curve[:, -1:])
    print(f"{name:17s} {curve[:, -1].mean():.3f} nats, 95 % interval {low[0]:.3f} to {high[0]:.3f}")
print(f"{'exact gradient':17s} {reference[:, -1].mean():.3f}")

# %%
with torch.no_grad():
    encode, bias_, decode, offset = (weight[0] for weight in weights)
    code = (((2 * digits - 1) @ encode + bias_) > 0).float()
    redrawn = (code @ decode + offset).sigmoid()
picture, ax = plots.figure(8.4, 2.6)
figures_12.pictures(ax, {"drawn": digits.reshape(10, 5, 3), "redrawn": redrawn.reshape(10, 5, 3)})
plots.show(
    picture, "Replica 0, trained with the exact gradient: from six bits (each digit's likeliest code) to fifteen pixels."
)

# %% [markdown]
# Early on noise is what matters, and the quiet relaxations keep up with everybody. Then the bits become sharp, the
# straight-through tangents no longer resemble the chord, and its curve bends away: that is bias, and more steps do
# not help. The score function pays for its noise all along. Leave-one-out costs nothing extra and is hard to beat
# here.

# %% [markdown]
# ## 11. What goes wrong
#
# **a) The same noise twice.** REBAR needs a *second* draw for $\tilde z$. Someone saves a line and uses $z$ itself.

# %%
at = theta.expand_as(u).clone().requires_grad_()
lazy = cost(b)[..., None] * score - c(at + (1 - u).log() - u.log())[..., None].detach() * score
compare("z for z~", lazy.mean(1))
print(f"variance of one {lazy.var():.3f}")

# %% [markdown]
# With $\tilde z = z$ the two slopes cancel and $-c(z)\nabla\log p(b)$ is left, whose mean is not zero. The symptom is
# a variance that looks *too good*. **The check:** the three added terms alone must average to zero, as in turn 7.
#
# **b) The detach on the wrong one.** $b - p + \operatorname{detach}(p)$ has the same value.

# %%
at = theta.expand_as(u).clone().requires_grad_()
wrong = b - at.sigmoid() + at.sigmoid().detach()
compare("signs swapped", torch.autograd.grad(cost(wrong).sum(), at)[0].mean(1))
print("forward it is the coin:", bool(torch.allclose(wrong, b)))

# %% [markdown]
# Learning runs uphill, and every forward number is right. **The check:** one coin, $f(b) = b$, where straight-through
# is exact: the slope must be $+p(1-p)$.
#
# **c) The temperature on the logits only.** `softmax(logits / tau + gumbel)` looks like (12.3).

# %%
noise = -(-v.log()).log()
for temperature in (1.0, 0.1, 0.01):
    right = ((logits + noise) / temperature).softmax(-1)
    slip = (logits / temperature + noise).softmax(-1)
    share = torch.nn.functional.one_hot(slip.argmax(-1), 3).double().mean((0, 1))
    print(f"temperature {temperature}: winners", share.numpy().round(3), "largest entry", slip.amax(-1).mean().numpy().round(3))
print("they should be         ", logits.softmax(0).numpy().round(3), "whatever the temperature")

# %% [markdown]
# As it cools, the winner becomes certain: the logits grow and the noise does not, so this is another distribution.
# **The check:** the shares of the winners do not depend on the temperature.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_12)

# %% [markdown]
# ## In four lines
#
# 1. $\arg\max_k (l_k + g_k)$ with Gumbel noise is an exact sample; a softmax with a temperature in its place has a
#    slope, and a bias.
# 2. Straight-through averages tangents where the truth is a chord: exact for linear costs, quiet, and wrong for the
#    others.
# 3. Leave-one-out, ARM and DisARM compare samples with each other, REBAR and RELAX with a relaxation: no bias, and
#    less noise.
# 4. Which is best depends on $f$. The exact gradient of a small case tells, and the library makes them interchangeable.
#
# **Now you:** [exercise 12](../exercises/12_discrete_reparameterization.ipynb) asks for Gumbel-max, Gumbel-softmax,
# straight-through, leave-one-out, DisARM, and a bias without sampling error. **Next:** in lecture 13 discrete and
# continuous variables stand in one graph, and a program writes the surrogate.

# %% [markdown]
# ## Sources
#
# - Categorical reparameterization, its simplex pictures and the straight-through sigmoid: the slides
#   `000_829bb9ef0c40a70c.txt` and `001_025d544a009700fa.txt` (they write the temperature at $\log p$; here it divides
#   after the noise is added); Gumbel-softmax among gradient estimators: the notes `002_20f9c9cab9178118.txt`.
# - C. J. Maddison, D. Tarlow and T. Minka (2014), "A* sampling", *NeurIPS*: Gumbel-max and conditional Gumbels.
# - E. Jang, S. Gu and B. Poole (2017), "Categorical reparameterization with Gumbel-softmax", and C. J. Maddison, A.
#   Mnih and Y. W. Teh (2017), "The concrete distribution", both *ICLR*. Y. Bengio, N. Léonard and A. Courville
#   (2013), arXiv:1308.3432: straight-through.
# - G. Tucker et al. (2017), "REBAR", *NeurIPS*; W. Grathwohl et al. (2018), "Backpropagation through the void",
#   *ICLR* (LAX, RELAX, and the toy of turn 9). A. Mnih and D. Rezende (2016), "Variational inference for Monte Carlo
#   objectives", *ICML* (VIMCO).
# - M. Yin and M. Zhou (2019), "ARM", *ICLR*; Z. Dong, A. Mnih and G. Tucker (2020), "DisARM", *NeurIPS*. W. Kool, H.
#   van Hoof and M. Welling (2019, 2020): leave-one-out, sampling without replacement, unordered sets. M. Paulus, C.
#   Maddison and A. Krause (2021), *ICLR*: Rao-Blackwellised straight-through Gumbel.
# - E. van Krieken, J. Tomczak and A. ten Teije (2021), "Storchastic", *NeurIPS*: the list that the library follows.
