# %% [markdown]
# # 13 Can the estimator be derived by a program?
#
# For an expectation you can sample you have some twenty gradient estimators by now, each derived by hand, for one random
# variable at a time. Real models have many: an action at every step, a code for every picture, a continuous choice
# that feeds a discrete one. You could derive the estimator of each such model anew. Or you write down how the model
# is computed, and let a program find it.
#
# **After it you can**
# - say for each random choice which costs it answers for, and why the others may be left out;
# - build a surrogate whose second derivatives are right, and see where the usual one is wrong;
# - give each node of a model the estimator that suits it, and check the result against the exact gradient.
#
# **You need** lectures 03 and 04, 11 (pathwise gradients) and 12 (discrete variables). **Time:** 60 minutes at the
# keyboard, 30 as a talk.

# %%
import inspect
import math
import textwrap

import torch
from IPython.display import Code

from pgcourse import budget, estimator_table, exact, figures_12, figures_13, gradients, plots, quizzes, relaxations, widgets
from pgcourse.distributions import Bernoulli, Categorical, Normal
from pgcourse.envs.tabular import two_step
from pgcourse.returns import to_go
from pgcourse.rng import Rng
from pgcourse.stochastic import ESTIMATORS, Graph

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
torch.set_default_dtype(torch.float64)  # nearly every number below is compared with another

# %% [markdown]
# ## The whole lecture in one picture
#
# Three coins (circles) and three costs (diamonds). An arrow says what is computed from what: B is likelier to show 1
# when A did. The logit of one coin is to be moved. On the right: its slope, estimated by the score function with
# three weights. Choose another *coin*, and cut the *wire* between B and C.

# %%
caption = "A choice answers for the costs it can reach. More than those is noise, less is bias; the arrows say which they are."
widgets.movable(figures_13.credit, **figures_13.CREDIT, caption=caption)

# %% [markdown]
# Red is the quietest everywhere, and wrong for A and B. For C it is right: C's own cost is all that C reaches.
# With the wire cut, B is in the same position. To tell these cases apart nobody had to look at a formula, only at
# arrows.

# %% [markdown]
# ## 1. A garden
#
# You water a bed ($x = 1$) or not ($x = 0$); it blooms ($y = 1$) or not. Both are coins:
# $P(x = 1) = \sigma(\theta_0)$ and $P(y = 1 \mid x) = \sigma(\theta_1 + 2x)$, where $\theta_1$ is what you spend on
# soil. Water and soil cost $f(x) = x + \frac12 e^{\theta_1}$, a bare bed costs $h(y) = 4\,(1 - y)$.
#
# That is a **stochastic computation graph**: *stochastic nodes* ($x$, $y$) are drawn from a law that the arrows into
# them decide, *deterministic nodes* (here only the parameters) are computed or known, *costs* add up. What is to be small is
#
# $$J(\theta) = \mathbb E[f + h] = \sum_x p_\theta(x) \sum_y p_\theta(y \mid x)\,\big(f(x, \theta) + h(y)\big) \tag{13.1}$$

# %%
picture, ax = plots.figure(6.5, 3.2)
figures_13.graph(
    ax,
    {"x": (1.5, 1.3), "y": (3, 1.3)},
    {"f": (1.5, 0), "h": (3, 0)},
    ["θ₀ x", "x y", "θ₁ y", "x f", "θ₁ f", "y h"],
    others={"θ₀": (0, 1.3), "θ₁": (2.25, 0.5)},
)
plots.show(picture, "Circles are drawn, diamonds are paid, squares are known. h depends on x only by way of y.")


# %%
def water(theta):
    """The law of x; theta [..., 2]."""
    return Bernoulli(theta[..., :1])


def bloom(theta, x):
    """The law of y given x [..., 1]."""
    return Bernoulli(theta[..., 1:] + 2 * x)


def costs(theta, x, y):
    """f and h, [...] each."""
    return x[..., 0] + 0.5 * theta[..., 1].exp(), 4 * (1 - y[..., 0])


# %%
theta = torch.tensor([0.4, -0.5])
X, Y = relaxations.outcomes(Bernoulli(torch.zeros(2))).split(1, -1)  # all four pairs, [4, 1] each


def J(theta):
    """(13.1), a sum of four."""
    log_p = water(theta).log_prob(X) + bloom(theta, X).log_prob(Y)
    return (log_p.exp() * sum(costs(theta, X, Y))).sum()


truth, curvature = torch.func.grad(J)(theta), torch.func.hessian(J)(theta)
print(f"J = {J(theta):.4f}, gradient {truth.numpy().round(4)}")

# %% [markdown]
# ## 2. A score for each node
#
# Differentiate (13.1) by the product rule. The logarithm of the joint probability is a sum, one term for each
# stochastic node, as it was for the steps of an episode:
#
# $$\nabla J = \mathbb E\big[(f + h)\,\nabla\log p(x) + (f + h)\,\nabla\log p(y \mid x) + \nabla f + \nabla h\big] \tag{13.2}$$
#
# The last two terms are new: a cost that contains a parameter has a slope of its own.

# %%
probability = (water(theta).log_prob(X) + bloom(theta, X).log_prob(Y)).exp()
f, h = costs(theta, X, Y)
score_x = torch.func.jacrev(lambda theta: water(theta).log_prob(X))(theta)  # [4, 2]
score_y = torch.func.jacrev(lambda theta: bloom(theta, X).log_prob(Y))(theta)
slope = torch.func.jacrev(lambda theta: sum(costs(theta, X, Y)))(theta)

# %%
terms = {"(f + h) score of x": (f + h)[:, None] * score_x, "(f + h) score of y": (f + h)[:, None] * score_y, "slopes": slope}
for name, term in terms.items():
    print(f"{name:20s}", (probability @ term).numpy().round(4))
print(f"{'their sum':20s}", (probability @ sum(terms.values())).numpy().round(4), "  exact", truth.numpy().round(4))

# %%
widgets.predict(
    "y is tossed after the water has been paid for. What does the part f ∇log p(y | x) add to the gradient?",
    [
        "Something: f and y both depend on x",
        "Nothing on average, and noise to every estimate",
        "Nothing at all: it is zero for every toss",
    ],
)

# %%
for name, weight in (("f", f), ("h", h)):
    part = weight[:, None] * score_y
    print(f"{name} times the score of y: mean {(probability @ part)[1]:8.5f}, mean square {(probability @ part**2)[1]:.4f}")

# %% [markdown]
# Given $x$, the number $f$ is fixed and comes out of the inner sum; what is left is the mean of a score, and that is
# zero:
#
# $$\mathbb E\big[f(x)\,\nabla\log p(y \mid x)\big] = \sum_x p(x)\, f(x) \underbrace{\sum_y \nabla p(y \mid x)}_{\nabla 1 \,=\, 0} = 0 \tag{13.3}$$
#
# The same holds in any graph, for a node $v$ and a cost $c$ that no path of arrows leads to from $v$: fix everything but
# $v$ and what lies downstream of it, and $c$ is fixed. So each node keeps the costs it reaches, $c \succ v$, and one
# number has the whole gradient ($\underline{\;\cdot\;}$ means held fixed):
#
# $$L = \sum_c c + \sum_v \log p(v)\; \underline{\textstyle\sum_{c \succ v} c} \tag{13.4}$$


# %%
def streams(stream=0):
    """Noise for sixteen replicas."""
    return Rng(range(16), stream=stream, dtype=torch.float64)


N = budget.choose(20_000, 4_000)
u = streams().uniform(N, 2)  # [replica, toss, coin]
x = water(theta).sample(u[..., :1])
y = bloom(theta, x).sample(u[..., 1:])


def surrogate(theta, x, y, causal=True):
    """(13.4) for the garden, [replica, toss]; with all costs for all nodes where not causal."""
    log_x, log_y = water(theta).log_prob(x), bloom(theta, x).log_prob(y)
    f, h = costs(theta, x, y)
    return f + h + log_x * (f + h).detach() + log_y * (h if causal else f + h).detach()


# %%
def compare(truth, rows):
    """Means over replicas [16, P] by name, with their 95 % intervals (Student's t), above the truth [P]."""
    for name, estimates in rows.items():
        half = 2.13 * estimates.std(0) / len(estimates) ** 0.5
        print(f"{name:22s}", "  ".join(f"{m:7.3f} ± {w:.3f}" for m, w in zip(estimates.mean(0), half, strict=True)))
    print(f"{'exact':22s}", "  ".join(f"{number:7.3f}        " for number in truth))


def one_each(rows):
    """The variance of a single estimate, for rows of them [16, toss, 2]."""
    for name, each in rows.items():
        print(f"variance of one, {name:16s} {each[..., 0].var():.3f}  {each[..., 1].var():.3f}")


# %%
rows = {}
for causal, name in ((False, "all costs"), (True, "what it reaches")):
    at = theta.expand(16, N, 2).clone().requires_grad_()
    rows[name] = torch.autograd.grad(surrogate(at, x, y, causal).sum(), at)[0]  # one estimate a toss
compare(truth, {name: each.mean(1) for name, each in rows.items()})
one_each(rows)

# %% [markdown]
# Both are right. $\theta_0$ stands in $p(x)$ alone, and $x$ reaches everything: nothing changes. For $\theta_1$ part
# of the noise is gone, for free.

# %% [markdown]
# ## 3. Let a program draw the arrows
#
# To use (13.4) one must know for each cost which nodes reach it. A program can find out while it runs: every sample
# remembers that it is a node, and whatever is computed from it remembers the nodes of its inputs. The library's
# `Graph` does little more. Its first argument is the noise, then come names for the axes behind the replica's; `sample`
# makes a node, `cost` notes a cost, `surrogate` returns $L$ for each replica.


# %%
def garden(theta, graph):
    """The garden as a program; theta [R, toss, 2]."""
    x = graph.sample(water(theta), "score_function")  # [R, toss, 1]
    y = graph.sample(bloom(theta, x), "score_function")
    for cost in costs(theta, x, y):
        graph.cost(cost)
    return graph.surrogate()  # [R]


# %%
at = theta.expand(16, N, 2).clone().requires_grad_()  # [R, toss, parameter]
L = garden(at, Graph(streams(), "toss"))  # [R]
each = N * torch.autograd.grad(L.sum(), at)[0]  # the graph averages over the tosses
compare(truth, {"by the program": each.mean(1)})
one_each({"by the program": each})

# %% [markdown]
# Nobody said that $y$ does not answer for the water, and yet these are the variances of *what it reaches*, not of *all costs*.
#
# **Algorithm 13.1, surrogate of a graph**
#
# 1. Run the program. `sample` draws from the law it is given. It notes the probability and the nodes that the law was
#    computed from.
# 2. Each operation hands its result the nodes of all its inputs.
# 3. `cost` notes a number and its nodes.
# 4. `surrogate` adds up the costs, each multiplied with a *weight* of every node it depends on, worth 1 (turn 5 opens it).
#
# In `pgcourse/stochastic.py` step 4 reads:

# %%
Code(textwrap.dedent(inspect.getsource(Graph.surrogate)), language="python")

# %% [markdown]
# ## 4. The mountain draws its own arrows
#
# In lecture 04 we argued that a choice cannot change rewards that came before it, and took the reward-to-go. Here is
# the mountain's MDP, played by a loop that any simulator could be. Nothing in it mentions weights.

# %%
mdp, E = two_step(), budget.choose(4000, 1000)
level = torch.zeros(16, 4, 2)  # logits [replica, place, action]: no preferences


def walk(theta, rng):
    """The surrogate of -J, [R]."""
    graph, state = Graph(rng, "episode"), mdp.initial(rng.uniform(E))
    for noise in rng.uniform(2, E).unbind(1):
        action = graph.sample(Categorical(mdp.observe(state) @ theta), "score_function")
        state, reward, _ = mdp.step(state, action, noise)
        graph.cost(-reward)
    return graph.surrogate()


# %%
widgets.predict(
    "Which weight does the program give to the second choice of a walk?",
    ["The whole return of the walk", "What that choice was paid", "What the first choice was paid"],
)


# %%
def walk_by_hand(theta, rng):
    """The same walks, weighed as in lecture 04 with the reward-to-go."""
    state, log_p, paid = mdp.initial(rng.uniform(E)), [], []
    for noise in rng.uniform(2, E).unbind(1):
        law = Categorical(mdp.observe(state) @ theta)
        action = law.sample(rng.uniform(E))
        state, reward, _ = mdp.step(state, action, noise)
        log_p, paid = [*log_p, law.log_prob(action)], [*paid, reward]
    weight = to_go(torch.stack(paid, 1), 1.0)  # [R, T, E]
    return -(torch.stack(log_p, 1) * weight).sum(1).mean(1)


# %%
found = {}
for play in (walk, walk_by_hand):
    at = level.clone().requires_grad_()
    found[play] = torch.autograd.grad(play(at, streams()).sum(), at)[0]
print(f"largest difference between the two: {(found[walk] - found[walk_by_hand]).abs().max():.1e}")
exact_slope = torch.func.grad(lambda theta: -exact.expected_return(mdp, theta.softmax(-1)))(level[0])
compare(exact_slope[[0, 2], 1], {"climb at hut, on ridge": found[walk][:, [0, 2], 1]})

# %% [markdown]
# The same numbers, draw for draw. The program never heard of time. The first reward was computed before the second action
# was drawn, so no arrow leads there, and what is left is REINFORCE with reward-to-go. (A reward that is later but out of
# reach would be left out as well; the reward-to-go counts it.)

# %% [markdown]
# ## 5. Differentiate once more
#
# Second derivatives are wanted by Newton's method, and by whoever differentiates through a step of learning. Let $p$ be the
# probability of the nodes that reach $c$, and $s = \nabla\log p$ the sum of their scores. One derivative makes
# $p\,(c\,s + \nabla c)$ of $p\,c$. Another one, by the same rule:
#
# $$\nabla^2 J = \mathbb E\sum_c \big[\nabla^2 c + c\,\nabla s + c\, s s^\top + s\,\nabla c^\top + \nabla c\, s^\top\big] \tag{13.5}$$

# %%
widgets.predict(
    "We differentiate the surrogate (13.4) twice and average over very many samples. What comes out?",
    [
        "(13.5): its gradient is right at every theta",
        "The first two terms: the others are lost",
        "Zero: its weights are constants",
    ],
)


# %%
def box(log_p):
    """The magic box: worth 1; its derivatives are those of p, divided by p."""
    return (log_p - log_p.detach()).exp()


def boxed(theta, x, y):
    """The garden's surrogate with boxes, [replica, toss]."""
    log_x, log_y = water(theta).log_prob(x), bloom(theta, x).log_prob(y)
    f, h = costs(theta, x, y)
    return f * box(log_x) + h * box(log_x + log_y)


# %%
def three(matrix):
    """By theta_0 twice, mixed, by theta_1 twice; [..., 2, 2] -> [..., 3]."""
    return matrix.flatten(-2)[..., [0, 1, 3]]


def second(L, at):
    """These three of L [16] by at [16, 1, 2]."""
    slopes = torch.autograd.grad(L.sum(), at, create_graph=True)[0].sum((0, 1))
    return three(torch.stack([torch.autograd.grad(slope, at, retain_graph=True)[0][:, 0] for slope in slopes], 1))


# %%
at = theta.expand(16, 1, 2).clone().requires_grad_()
both = {"plain, (13.4)": surrogate, "with boxes": boxed}
compare(three(curvature), {name: second(each(at, x, y).mean(1), at) for name, each in both.items()})

# %% [markdown]
# (In a row: by $\theta_0$ twice, mixed, by $\theta_1$ twice.) The gradient of the plain surrogate is right at
# every $\theta$, *for samples drawn at that* $\theta$. Autograd moves $\theta$ and leaves the samples where they are; how
# they would come out otherwise is in the weights, and these are held fixed. So the last three terms of (13.5) are lost:


# %%
def log_p(theta):
    """Of the nodes that reach f, and of those that reach h, [2, 4]."""
    log_x = water(theta).log_prob(X)
    return torch.stack([log_x, log_x + bloom(theta, X).log_prob(Y)])


def c(theta):
    return torch.stack(costs(theta, X, Y))


# %%
s, c1 = torch.func.jacrev(log_p)(theta), torch.func.jacrev(c)(theta)  # [cost, outcome, parameter]
s1, c2 = torch.func.hessian(log_p)(theta), torch.func.hessian(c)(theta)
value = c(theta)[..., None, None]
kept = c2 + value * s1
lost = value * s[..., None] * s[..., None, :] + s[..., None] * c1[..., None, :] + c1[..., None] * s[..., None, :]
for name, terms in (("the first two", kept), ("the last three", lost), ("all five", kept + lost)):
    print(f"{name:22s}", three(torch.einsum("n,cnij->ij", probability, terms)).numpy().round(3))

# %% [markdown]
# The first row is what the plain surrogate gave, and the last is the truth. In the mixed derivative all is lost: watering
# does not know that it decides how much soil matters.
#
# The repair is a single function. Instead of adding $c \log p$, multiply $c$ with a **magic box**:
#
# $$L = \sum_c c\;\square\Big(\sum_{v \prec c} \log p(v)\Big), \qquad \square(z) = e^{z - \operatorname{detach}(z)} \tag{13.6}$$
#
# Here $v \prec c$ says that $v$ reaches $c$. The box is worth 1 and its slope is $\square(z)\nabla z$, a box again: so
# differentiate as often as you like. In words, it is $p_\theta / p_{\text{where it was drawn}}$, the factor by which a
# sample becomes likelier as $\theta$ moves on. (The name and the box are from DiCE.)

# %%
grid = torch.stack([torch.linspace(-3, 3, 25), theta[1].expand(25)], -1)  # theta_0 varies
u = streams(stream=1).uniform(budget.choose(2000, 500), 25, 2)
x = water(grid).sample(u[..., :1])
y = bloom(grid, x).sample(u[..., 1:])  # [replica, toss, point, 1]
measured = {}
for name, each in (("plain surrogate", surrogate), ("magic boxes", boxed)):
    at = grid.expand(16, 1, 25, 2).clone().requires_grad_()
    slopes = torch.autograd.grad(each(at, x, y).mean(1).sum(), at, create_graph=True)[0]
    measured[name] = torch.autograd.grad(slopes[..., 0].sum(), at)[0][:, 0]  # by theta_0 and: theta_0, theta_1

# %%
exactly = torch.stack([torch.func.hessian(J)(point)[0] for point in grid])
paints = {"plain surrogate": "biased", "magic boxes": "baseline"}
picture, axes = plots.figure(8.5, 4.2, columns=2)
figures_13.bends(axes, grid[:, 0], exactly, measured, paints)
plots.show(
    picture,
    "Boxes follow the truth. The plain surrogate has another curve, and narrow bands around it: noise is not its trouble.",
)

# %% [markdown]
# The graph of turn 3 has boxes inside: they are the weights of algorithm 13.1. So nothing need be written again, and the
# mountain comes for free.

# %%
at = theta.expand(16, 1, 2).clone().requires_grad_()
compare(three(curvature), {"the garden, by Graph": second(garden(at.expand(-1, N, -1), Graph(streams(), "toss")), at)})

# %%
at = level.clone().requires_grad_()
slopes = torch.autograd.grad(walk(at, streams()).sum(), at, create_graph=True)[0]
mixed = torch.autograd.grad(slopes[:, 0, 1].sum(), at)[0][:, 2, 1:]  # climb at the hut, then climb on the ridge
bend = torch.func.hessian(lambda theta: -exact.expected_return(mdp, theta.softmax(-1)))(level[0])
compare(bend[0, 1, 2, 1:], {"the mountain, mixed": mixed})

# %% [markdown]
# ## 6. One graph, every estimator
#
# So far each node was a score function. What is an estimator, seen from the rest of the graph? A few **points** at which
# to go on computing, and a **weight** for each, whose value and derivatives say how its cost counts:
#
# $$\mathbb E[c(x)] = \mathbb E\Big[\frac1K \sum_k w_k\, c(x_k)\Big] \quad\text{with all derivatives} \tag{13.7}$$
#
# | | points $x_k$ | weights $w_k$ |
# |---|---|---|
# | score function | one sample | $\square(\log p(x))$ |
# | pathwise | $g(\theta, z)$, which moves with $\theta$ | 1 |
# | enumeration | each of $K$ outcomes | $K\,p(x_k)$ |
# | REBAR | $b$, relaxed $z$, relaxed $\tilde z$ | $3\,\square$, $3$, $-3\,\square$ |
#
# Weights of nodes that reach a cost multiply; for score functions that is (13.6). (A baseline subtracts, besides,
# something of mean zero.) So estimators mix, and are swapped by name. Four beds on one pump, whose price rises with the
# square of the taps that are open:

# %%
thirst = torch.tensor([0.8, -0.3, 0.2, -0.9])  # some beds look drier


def beds(theta, graph, name, **settings):
    """Four taps, four blooms; L, and how many points the estimator made of two tosses."""
    x = graph.sample(Bernoulli(theta[..., :1] + thirst), name, along="toss", samples=2, **settings)
    y = graph.sample(bloom(theta, x), "score_function")
    graph.cost(x.sum(-1).square() / 2)
    graph.cost(2 * (1 - y).sum(-1))
    return graph.surrogate(), graph.length("toss")


# %%
taps = relaxations.outcomes(Bernoulli(thirst))  # all sixteen


def expected(theta, x):
    """The cost of these taps; of y the mean is known."""
    return x.sum(-1).square() / 2 + 2 * (1 - bloom(theta, x).probabilities).sum(-1)


def J_beds(theta):
    return (Bernoulli(theta[:1] + thirst).log_prob(taps).exp() * expected(theta, taps)).sum()


# %%
K, truth_beds = budget.choose(1500, 300), torch.func.grad(J_beds)(theta)
control = {"control": lambda z: expected(theta, z.sigmoid())}  # for RELAX and LAX
extra = {"relax": control, "lax": control, "mapo": {"memory": taps[[0, 5, 15]]}}
extra |= {"importance_sampled": {"proposal": Bernoulli(torch.zeros(1, 1, 1, 4))}}


def measure(name):
    """Bias and variance of one estimate, from 16 K of them; and its number of points."""
    at = theta.expand(16, K, 1, 2).clone().requires_grad_()
    L, points = beds(at, Graph(streams(stream=2), "again", "toss"), name, **extra.get(name, {}))
    each = K * torch.autograd.grad(L.sum(), at)[0].flatten(0, 2)
    return gradients.bias_and_variance(each, truth_beds), points


# %%
names = [name for name in ESTIMATORS if name != "pathwise"]  # a coin has no path
by_design = [name for name in names if name in relaxations.METHODS and not relaxations.METHODS[name].unbiased]
bias, noise, z = {}, {}, {}
for name in names:
    quality, points = measure(name)
    bias[name] = (float(quality.bias[0] / truth_beds[0]), float(quality.standard_error[0] / truth_beds[0]))
    noise[name], z[name] = float(quality.variance[0]) * points, float(quality.z.abs().max())

# %%
paints = {name: "biased" if name in by_design else "baseline" for name in names}
paints |= {"score_function": "score_function", "enumerate_all": "exact"}
picture, axes = plots.figure(8.5, 7.4, columns=2)
figures_12.comparison(axes, bias, noise, paints)
plots.show(
    picture,
    "The slope by θ₀, relative to its true size, ± two standard errors. Green and blue are centred; red is biased by design, "
    "here by anything from next to nothing to a quarter. What noise enumeration has is that of y.",
)

# %%
unbiased = [name for name in names if name not in by_design]
worst = max(unbiased, key=z.get)
print(f"{len(unbiased)} unbiased, two slopes each: at most {z[worst]:.1f} standard errors off ({worst})")
print(f"{len(by_design)} biased: up to {max(z[name] for name in by_design):.0f}")

# %% [markdown]
# Not every weight has all derivatives. Where one has only the first, a second one would be silently wrong, so:

# %%
at = theta.expand(16, 1, 1, 2).clone().requires_grad_()
L, _ = beds(at, Graph(streams(), "again", "toss"), "disarm")
slopes = torch.autograd.grad(L.sum(), at, create_graph=True)[0]
try:
    torch.autograd.grad(slopes.sum(), at)
except RuntimeError as problem:
    print(textwrap.fill(str(problem), 80))

# %% [markdown]
# `docs/estimators.md` has this comparison for every method on the three problems of lecture 12; a test keeps it current.
# Here is a part of it, two choices among four outcomes each (of eight slopes the one that is farthest off):

# %%
for name in ("score_function", "leave_one_out", "unordered_set", "gumbel_softmax"):
    problem = estimator_table.TWO_CHOICES
    found = estimator_table.measure(problem, name, budget.choose(20_000, 5_000))
    i, price = estimator_table.worst(found), estimator_table.evaluations(problem, name)
    print(f"{name:16s} bias {found.bias[i]:7.4f} ± {found.standard_error[i]:.4f}", end="   ")
    print(f"variance x evaluations {float(found.variance.sum()) * price:.2f}")

# %% [markdown]
# ## 7. An estimator for each node
#
# Nobody obliges you to use one estimator throughout. Let the water be a dose, $a \sim N(\theta_0, 0.5^2)$ litres for
# $a^2/2$, and $y$ the coin it was, with $P(y = 1 \mid a) = \sigma(\theta_1 + 2a)$.

# %%
widgets.predict(
    "The dose reaches the bloom's cost only through y, which jumps from 0 to 1. If a is drawn pathwise, the gradient is",
    [
        "biased: no slope comes back through a coin",
        "right, whatever unbiased estimator y has",
        "right only if y is enumerated",
    ],
)


# %%
def dose(theta, graph, first, second):
    """L with these estimators for the dose and the bloom."""
    law = Normal(theta[..., :1], torch.full_like(theta[..., :1], math.log(0.5)))
    a = graph.sample(law, first, along="toss")
    y = graph.sample(Bernoulli(theta[..., 1:] + 2 * a), second, along="bloom")
    graph.cost(a.square()[..., 0] / 2)
    graph.cost(4 * (1 - y[..., 0]))
    return graph.surrogate()


# %%
def J_dose(theta):
    """By quadrature over the dose; y's mean is its probability."""
    law = Normal(theta[:1], torch.tensor([math.log(0.5)]))
    return exact.expectation(law, lambda a: a[..., 0].square() / 2 + 4 * (1 - (theta[1] + 2 * a[..., 0]).sigmoid()))


truth_dose = torch.func.grad(J_dose)(theta)
print(f"{'dose':16s} {'bloom':16s} bias in standard errors, variance (by θ₀)")
for of_dose in ("score_function", "measure_valued", "pathwise"):
    for of_bloom in ("score_function", "enumerate_all", "gumbel_softmax"):
        at = theta.expand(16, K, 1, 1, 2).clone().requires_grad_()
        L = dose(at, Graph(streams(stream=3), "again", "toss", "bloom"), of_dose, of_bloom)
        quality = gradients.bias_and_variance(K * torch.autograd.grad(L.sum(), at)[0].flatten(0, 3), truth_dose)
        print(f"{of_dose:16s} {of_bloom:16s} {quality.z[0]:20.1f} {quality.variance[0]:12.2f}")

# %% [markdown]
# A coin's outcome has no slope, but its *probability* has one: in $\square(\log p(y \mid a))$, or in the weight of an
# enumerated outcome, stands $a$, and so $\theta_0$. Pathwise where there is a path and enumeration where outcomes are few
# is here sixty times quieter than scores throughout. (Measure-valued is quieter still, and pays with more points.) Relaxing
# the coin is biased, whatever the dose does.

# %% [markdown]
# ## 8. Plates
#
# Ten digits, a hundred gardens, a batch of episodes: what is repeated without touching each other stands on a **plate**.
# A plate is an axis of the graph. Garden $i$'s cost depends on garden $i$'s nodes and no others, and the surrogate
# averages. Suppose you average too early, and hand in the mean cost of all gardens as *one* cost.

# %%
picture, ax = plots.figure(5.5, 3.8)
figures_13.graph(
    ax,
    {"x": (0, 1.2), "y": (1.6, 1.2)},
    {"f": (0, 0), "h": (1.6, 0)},
    ["θ x", "θ y", "x y", "x f", "y h"],
    others={"θ": (0.8, 2.4)},
    plates={"garden": (-0.7, -0.75, 3.1, 2.5)},
)
plots.show(picture, "One θ for all gardens; what is inside the frame is there once for each.")

# %%
widgets.predict(
    "Thirty-two gardens, one mean cost handed in instead of thirty-two. What becomes of the gradient?",
    ["The same: means and sums commute", "Right on average, but much noisier", "Wrong: gardens are charged for each other"],
)


# %%
def gardens(theta, count, apart):
    """The variance of a replica's slope by theta_0 [R], from 200 estimates each."""
    at = theta.expand(16, 200, 1, 2).clone().requires_grad_()
    graph = Graph(streams(stream=4), "again", "garden")
    x = graph.sample(water(at.expand(-1, -1, count, -1)), "score_function")
    y = graph.sample(bloom(at, x), "score_function")
    total = sum(costs(at, x, y))  # [R, again, garden]
    graph.cost(total if apart else total.mean(2, keepdim=True))
    return (200 * torch.autograd.grad(graph.surrogate().sum(), at)[0][..., 0]).var((1, 2))


# %%
counts = [1, 2, 4, 8, 16, 32]
picture, ax = plots.figure(7.5, 4.2)
for apart, name, paint in ((False, "one mean cost", "score_function"), (True, "a cost for each garden", "baseline")):
    variances = torch.stack([gardens(theta, count, apart) for count in counts], 1)
    plots.band(ax, counts, variances, label=name, color=paint, thin=False)
    print(f"{name:24s}", "  ".join(f"{v:.2f}" for v in variances.mean(0)))
ax.set(xscale="log", yscale="log", xlabel="gardens", ylabel="variance of the slope", xticks=counts, xticklabels=counts)
ax.minorticks_off()
plots.show(
    picture, "Kept apart, more gardens mean less noise; thrown together, every coin answers for all of them, and there is more."
)

# %% [markdown]
# Both are unbiased, by (13.3). Apart, the variance falls as 1 over the number of gardens; thrown together, it *rises* with
# it. The program cannot know that $\text{mean}(c_1, c_2, \dots)$ falls into parts: hand in costs before you mix them.

# %% [markdown]
# ## 9. The autoencoder in ten lines
#
# Lecture 12's ten digits again, on 15 pixels each, with a code of six coins. The model is written down as one would
# explain it; which gradient that needs is for the graph to say. `digit` is a plate, `code` the axis of the samples.

# %%
digits = figures_13.digits()  # [10, 15], 0 or 1


def bound(name, weights, rng, **settings):
    """The negative bound on log p(digits), in nats, [R]."""
    encode, bias, decode, offset = weights
    graph = Graph(rng, "digit", "code")
    law = Bernoulli(((2 * digits - 1) @ encode + bias).unsqueeze(2))  # [R, digit, 1, 6]
    code = graph.sample(law, name, along="code", **settings)
    pixels = Bernoulli(code @ decode.unsqueeze(1) + offset.unsqueeze(1))  # [R, digit, code, 15]
    graph.cost(-pixels.log_prob(digits.unsqueeze(1)))  # redrawing
    graph.cost(6 * math.log(2) - law.entropy())  # how far the coins are from fair
    return graph.surrogate()


# %%
def train(name, steps, **settings):
    """Sixteen learners; the exact bound every 20 steps [R, ...]."""
    rng = Rng(range(16))
    shapes = ((15, 6), (1, 6), (6, 15), (1, 15))
    weights = [(0.5 * rng.normal(*shape) * (shape[0] > 1)).requires_grad_() for shape in shapes]
    optimizer, curve = torch.optim.Adam(weights, lr=0.03), []
    for step in range(steps):
        optimizer.zero_grad()
        bound(name, weights, rng, **settings).sum().backward()
        optimizer.step()
        if step % 20 == 19:
            curve.append(bound("enumerate_all", weights, rng).detach())
    return torch.stack(curve, 1)


# %%
widgets.predict(
    "Each gets six decodings of a digit in every step. Who comes nearest to training with the exact gradient?",
    ["The score function", "Straight-through", "DisARM or leave-one-out"],
)

# %%
steps = budget.choose(400, 60)
contestants = {name: {"samples": 6} for name in ("score_function", "leave_one_out", "straight_through", "gumbel_softmax")}
contestants |= {"disarm": {"samples": 3}, "rebar": {"samples": 2}}  # two and three decodings a sample
runs = {name: train(name, steps, **settings) for name, settings in contestants.items()}
reference = train("enumerate_all", steps)

# %%
picture, axes = plots.figure(8.5, 5.2, columns=3, rows=2, sharex=True, sharey=True)
x = range(20, steps + 1, 20)
figures_12.panels(axes, x, runs, paints)
for ax in axes.flat:
    ax.plot(x, reference.mean(0), "--", color=plots.COLORS["exact"], linewidth=1.5)
    ax.set(ylim=(2, 8), xlabel="steps" if ax in axes[1] else "", ylabel="nats per digit" if ax in axes[:, 0] else "")
plots.show(
    picture, "Sixteen replicas each; dashed: the exact gradient. Comparing samples with each other comes closest without bias."
)

# %%
for name, curve in (runs | {"enumerate_all": reference}).items():
    low, high = plots.bootstrap_interval(curve[:, -1:])
    print(f"{name:17s} {curve[:, -1].mean():.3f} nats, 95 % interval {low[0]:.3f} to {high[0]:.3f}")

# %% [markdown]
# One word chooses the estimator; none of the ten lines of `bound` knows which. At full budget DisARM and leave-one-out come
# nearest, Gumbel-softmax close behind, and straight-through bends away, as in lecture 12. None of the six was derived for
# this model.

# %% [markdown]
# ## 10. What goes wrong
#
# **a) A cut arrow.** What leaves torch leaves no trace. Somebody logs $x$, keeps the copy, and computes $y$ from it.

# %%
at = theta.expand(16, N, 2).clone().requires_grad_()
graph = Graph(streams(), "toss")
x = graph.sample(water(at), "score_function")
y = graph.sample(bloom(at, x.plain()), "score_function")  # plain(): the numbers, without memory
for cost in costs(at, x, y):
    graph.cost(cost)
compare(truth, {"arrow x to y cut": N * torch.autograd.grad(graph.surrogate().sum(), at)[0].mean(1)})

# %% [markdown]
# Each number forward is right, and watering has lost its reason: $\theta_0$ is charged for the water only, so learning
# lets the garden die. **The check:** a case small enough to enumerate. The library makes the common slips loud: a node that
# no cost depends on is an error, and so is a Python branch on a sample.

# %%
try:
    price = 2.0 if x[0, 0, 0] > 0.5 else 0.0
except RuntimeError as problem:
    print(textwrap.fill(str(problem), 80))

# %% [markdown]
# **b) Everything in one box,** "to be safe". Unbiased at every order, so no comparison with the truth complains; turns 2
# and 8 have shown the price. **The check:** the variance, with and without a cost that the node cannot reach.
#
# **c) The plain surrogate, differentiated twice.** That was turn 5. First derivatives are right, so every test of the
# gradient passes. **The check:** second derivatives against enumeration; a single coin will do.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_13)

# %% [markdown]
# ## In four lines
#
# 1. A node answers for the costs it reaches; the others are noise to it, and leaving out one it reaches is bias.
# 2. A program can follow the arrows while it runs, and reward-to-go falls out.
# 3. A weight held fixed has no second derivatives; a magic box is worth 1 and has all of them.
# 4. An estimator is points and weights, so each node can have the one that suits it, and a plate keeps apart what does
#    not touch.
#
# **Now you:** [exercise 13](../exercises/13_stochastic_graphs.ipynb) asks for the surrogate of a chain, second
# derivatives through a magic box, causal costs, and the graph of an episode. **Next:** lecture 14 learns the cost
# itself, $Q(s, a)$, and sends a pathwise gradient through it.

# %% [markdown]
# ## Sources
#
# - J. Schulman, N. Heess, T. Weber and P. Abbeel (2015), "Gradient estimation using stochastic computation graphs",
#   *NeurIPS*: nodes, costs downstream, the surrogate (13.4).
# - J. Foerster et al. (2018), "DiCE: the infinitely differentiable Monte Carlo estimator", *ICML*: the magic box, and what
#   a plain surrogate loses. J. Mao et al. (2019), "A baseline for any order gradient estimation in stochastic computation
#   graphs", *ICML*: baselines that keep higher orders right.
# - E. van Krieken, J. Tomczak and A. ten Teije (2021), "Storchastic: a framework for general stochastic automatic
#   differentiation", *NeurIPS*: estimators as proposal, weights and control variate, swapped by name, and plates; the
#   notes `002_20f9c9cab9178118.txt` introduce it.
# - Notation for graphs and the gradient estimators they hold: the slides `000_829bb9ef0c40a70c.txt` and
#   `001_025d544a009700fa.txt`.
