# %% [markdown]
# # 11 What changes when I can differentiate through the reward?
#
# In lecture 03 the board was a black box: you threw, it paid. Now somebody hands you its blueprint. You can see not
# only what a dart was paid, but what it would have been paid a millimetre further left. What is that worth? Mostly a
# great deal. Now and then nothing. And in one case it lies to you, politely and to many digits.
#
# **After it you can**
# - move a parameter out of the distribution and into the payment, and say what that takes;
# - send a gradient through a whole episode whose physics you know;
# - tell by a cheap check when such a gradient is wrong, and when it is right and worthless.
#
# **You need** lecture 03 (the score function) and, for episodes, lecture 04. **Time:** 65 minutes at the keyboard, 30 as a
# talk.

# %%
import inspect
import math
from functools import partial

import torch
from IPython.display import Code

from pgcourse import budget, distributions, exact, figures_11, gradients, plots, quizzes, widgets
from pgcourse.envs import lqr
from pgcourse.envs.double_pendulum import DoublePendulum
from pgcourse.gradients import Expectation
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
torch.set_default_dtype(torch.float64)  # every number below is compared with another

# %% [markdown]
# ## The game, with its blueprint
#
# As in lecture 03 you aim at $\theta$ (two numbers, metres across and up), your hand shakes with spread $\sigma$, and
# the dart lands at $x$. But the discs have soft edges now: each pays half a point on its rim, 0.73 twenty centimetres
# inside and 0.27 twenty centimetres outside. So $f(x)$, the points, is a smooth function, and you have its formula. (Some
# sources write $\rho$ or $r$ for $f$, and call $x$ an action $a$.)

# %%
SPREAD = 0.6  # sigma, metres
theta = torch.tensor([-1.0, -0.6])  # where we aim


def points(x, edge=0.2):
    """f, [..., 2] -> [...]: three discs, each fading out around its rim; edge: how gently (metres)."""
    inside = [radius - x.norm(dim=-1) for radius in (0.5, 1.0, 1.5)]  # metres to the rim
    if edge == 0:
        return sum((depth > 0).to(x.dtype) for depth in inside)
    return sum((depth / edge).sigmoid() for depth in inside)


# %% [markdown]
# ## The whole lecture in one picture
#
# Two arrows for each dart. Blue is lecture 03's, $f(x)\,(x - \theta)/\sigma^2$: away from your aim, the longer the more
# the dart was paid. Orange is new: the slope of the board where the dart stuck. The average of either colour estimates the
# same gradient (black).

# %%
caption = "Where the board is smooth, slopes tell the gradient with far less noise. Where it jumps they tell nothing at all."
widgets.movable(partial(figures_11.two_ways, points=points), **figures_11.TWO_WAYS, caption=caption)

# %% [markdown]
# Three things to try. Slide *spread* down: which cloud calms down? Slide *edge* down step by step: the orange cloud
# widens, because slopes get rare and steep. And set *edge* to 0, lecture 03's board: every orange arrow is gone, all 300
# averages agree on zero, and the truth is elsewhere. By the end you will know why.

# %% [markdown]
# ## 1. Without any noise
#
# Begin with a hand that does not shake. There is wind of strength $s$, and you choose your aim by a rule: $a =
# \pi_\theta(s) = u + s\,v$, with $\theta = (u, v)$, four numbers (shape `[2, 2]`). The dart lands at $a$ pushed by the
# wind, one metre to the right for each unit of $s$, and is paid $\rho(s, a) = f(a + s\,e)$ with $e = (1, 0)$. Nothing
# is random. So the gradient is the chain rule, that is, backpropagation:
#
# $$\nabla_\theta\, \rho(s, \pi_\theta(s)) = \frac{\partial \rho}{\partial a}\,\frac{\partial \pi_\theta(s)}{\partial \theta} \tag{11.1}$$

# %%
wind, push = 0.7, torch.tensor([1.0, 0.0])


def paid(rule):
    """rho(s, pi_theta(s)); rule: theta = (u, v), [..., 2, 2]."""
    return points(rule[..., 0, :] + wind * rule[..., 1, :] + wind * push)


rule = torch.tensor([[-1.0, -0.6], [-0.3, 0.2]])
by_backpropagation = torch.func.grad(paid)(rule)
steps = 1e-5 * torch.eye(4).reshape(4, 2, 2)
print("backpropagation   ", by_backpropagation.flatten().numpy().round(8))
print("finite differences", ((paid(rule + steps) - paid(rule - steps)) / 2e-5).numpy().round(8))

# %% [markdown]
# One throw, no sampling, every digit right. And see what went in: $\partial\rho/\partial a$, **the slope of the reward
# by the action**. The score function never had it. Now let the hand shake again.

# %% [markdown]
# ## 2. Two places for a parameter
#
# In lecture 03 $\theta$ stood in the *distribution*: $J = \mathbb E_{x \sim p_\theta}[f(x)]$, darts are drawn from a
# density that moves. But a Gaussian dart can be made in two steps: draw noise $z$ that knows nothing of any aim, then
# move and stretch it. That puts $\theta$ *inside* the expectation:
#
# $$\mathbb E_{x \sim p_\theta}[f(x)] = \mathbb E_{z \sim p}[f(g(\theta, z))] \tag{11.2}$$
# $$x = g(\theta, z) = \mu + \sigma z, \qquad z \sim N(0, I) \tag{11.3}$$
#
# This is **reparameterization**. The right-hand side of (11.3) has mean $\mu$ and variance $\sigma^2\,\mathbb E[z^2] =
# \sigma^2$, and a stretched Gaussian is Gaussian: so it is the same dart. (The library's distributions have sampled
# like this all along: `rsample(noise)`.)

# %%
widgets.predict(
    "We compute J exactly, once with theta in the density and once inside f, and differentiate both. What do we get?",
    [
        "The same value of J, but different gradients",
        "The same value and the same gradient",
        "Different values: these are two different games",
    ],
)


# %%
def law(theta):
    """p_theta: theta is the aim, and the logarithm of the spread in both directions; [..., 4]."""
    return distributions.Normal(theta[..., :2], theta[..., 2:])


full = torch.cat([theta, torch.full((2,), math.log(SPREAD))])
side = torch.arange(-6, 6, 0.02) + 0.01
cells = torch.cartesian_prod(side, side)  # a fine grid of noise z, [360000, 2]
wall = theta + SPREAD * cells  # and of places on the wall, which stay where they are
bell = distributions.Normal(torch.zeros(2), torch.zeros(2)).log_prob(cells).exp()  # of z
places = {
    "in the density": lambda full: (law(full).log_prob(wall).exp() * points(wall)).sum() * (0.02 * SPREAD) ** 2,
    "inside f": lambda full: (bell * points(law(full).rsample(cells))).sum() * 0.02**2,
}

# %%
for name, J in places.items():
    print(f"{name:15s} J = {J(full):.6f}   gradient", torch.func.grad(J)(full).numpy().round(6))

# %% [markdown]
# One function, two ways to write it, one gradient. (Both are sums over a fine grid. In the first row the places on the wall
# stay and their weights move with $\theta$; in the second the weights stay and the places move.) But the two forms ask
# different things of us: the first differentiates $p_\theta$ and never $f$; the second differentiates $f$ and never $p$.

# %% [markdown]
# ## 3. The pathwise estimator
#
# In the second form the density of $z$ does not contain $\theta$, so the gradient goes inside at once, and the chain rule
# does the rest:
#
# $$\nabla_\theta J = \mathbb E_{z}\Big[\nabla f(x)^\top\, \frac{\partial x}{\partial \theta}\Big], \qquad x = g(\theta, z) \tag{11.4}$$
#
# A dart moves exactly as far as its aim does, and by $\sigma z$ for each unit that $\log\sigma$ grows:
#
# $$\nabla_\mu J = \mathbb E[\nabla f(x)], \qquad \frac{\partial J}{\partial \log\sigma_i} = \mathbb E\Big[\frac{\partial f}{\partial x_i}\,\sigma_i z_i\Big] \tag{11.5}$$
#
# An average over samples estimates it: the **pathwise estimator**, because each sample is followed along its path.
# Sixteen replicas, a thousand throws each:


# %%
def compare(name, estimates, truth):
    """Mean over replicas [16, ...], its 95 % interval (Student's t), and the truth."""
    half_width = 2.13 * estimates.std(0) / len(estimates) ** 0.5
    numbers = torch.stack([estimates.mean(0), half_width, truth.expand_as(half_width)], -1).reshape(-1, 3)
    for i, (mean, half, true) in enumerate(numbers):
        row = f"{name} [{i}]" if len(numbers) > 1 else name
        print(f"{row:32s} {mean:8.4f} ± {half:.4f}   exact {true:8.4f}")


gradient = torch.func.grad(places["in the density"])(full)

# %%
z = Rng(range(16), dtype=torch.float64).normal(1000, 2)  # [replica, throw, 2]
x = (theta + SPREAD * z).requires_grad_()
(slope,) = torch.autograd.grad(points(x).sum(), x)  # of f at each dart, [replica, throw, 2]
x = x.detach()
compare("slope: by the aim", slope.mean(1), gradient[:2])
compare("slope sigma z: by log sigma", (slope * SPREAD * z).mean(1), gradient[2:])
compare("score function: by the aim", (points(x)[..., None] * z / SPREAD).mean(1), gradient[:2])

# %% [markdown]
# (`[0]` is across, `[1]` up.) Both are right on average; the interval of the pathwise estimate is the narrower one, on
# the same darts.
#
# *When may the gradient go inside?* When two things hold for almost every $z$: $f(g(\theta, z))$ has a slope at our
# $\theta$; and between any two places near it changes by at most $M(z)$ times their distance, where $M(z)$ has a finite
# mean. A bend in $f$ is allowed, since hardly any $z$ hits it. A jump breaks the second condition, however rarely it is
# hit: turn 10.

# %% [markdown]
# ## 4. What each of them looks at

# %%
widgets.predict(
    "The board pays 100 points more for every dart, wherever it lands. What does that do to the two estimates?",
    [
        "Both become noisier; subtracting the 100 again would help both",
        "The score function becomes much noisier, the pathwise estimate does not change",
        "Nothing: in both cases the 100 has no gradient",
    ],
)

# %%
for bonus in (0, 100):
    score = ((points(x) + bonus)[..., None] * z / SPREAD)[..., 0]
    at = x.clone().requires_grad_()
    (path,) = torch.autograd.grad((points(at) + bonus).sum(), at)
    print(f"bonus {bonus:3d}: deviation of one dart's estimate, score {score.std():7.2f}   pathwise {path[..., 0].std():.2f}")

# %% [markdown]
# A constant has no slope, so the pathwise estimate never hears of it. The score function knows one number per dart,
# *how much was paid*, and must find out by comparing darts where it would be more. The slope says so for each dart by
# itself. That is the extra information; the price is that you must have it.

# %% [markdown]
# ## 5. Coordinates that go together
#
# Real hands shake along a line. A Gaussian with a full covariance matrix $\Sigma$ needs a matrix to do the stretching:
#
# $$x = \mu + L z, \qquad \Sigma = L L^\top \tag{11.6}$$
#
# since $\mathbb E[(Lz)(Lz)^\top] = L\,\mathbb E[z z^\top] L^\top = L L^\top$. Every positive definite $\Sigma$ has
# exactly one such $L$ that is lower triangular with a positive diagonal, its *Cholesky factor*. Slide the correlation:

# %%
widgets.movable(
    figures_11.correlated,
    size=(8.4, 4.4),
    columns=2,
    correlation=(-0.95, 0.95, 0.05),
    caption="One matrix turns round noise into any Gaussian. Dots keep the colour of their first coordinate of noise.",
)

# %% [markdown]
# By (11.4) the derivative by an entry $L_{ij}$ is $\mathbb E[\partial f/\partial x_i\; z_j]$. Check covariance and
# gradient, the latter against quadrature (a weighted sum of $f$ over a grid chosen for the Gaussian, here of 80 by 80
# places):

# %%
L = torch.tensor([[0.6, 0.0], [0.5, 0.3]])
x = (theta + z @ L.T).requires_grad_()  # a z in each row: L z for all of them
(slope,) = torch.autograd.grad(points(x).sum(), x)
of_factor = torch.einsum("rni,rnj->rnij", slope, z).mean(1)  # [replica, 2, 2]
exactly = torch.func.grad(lambda L: exact.expectation(distributions.MultivariateNormal(theta, L), points, order=80))(L)
spread = torch.einsum("rni,rnj->rnij", x.detach() - theta, x.detach() - theta).mean(1)
for i, j in ((0, 0), (1, 0), (1, 1)):
    compare(f"covariance[{i}, {j}]", spread[:, i, j], (L @ L.T)[i, j])
    compare(f"slope by L[{i}, {j}]", of_factor[:, i, j], exactly[i, j])

# %% [markdown]
# ## 6. How noisy, exactly
#
# For one number $x \sim N(\mu, \sigma^2)$ and $f(x) = x^2$ everything can be computed: $J = \mu^2 + \sigma^2$, and its
# slope by $\mu$ is $2\mu$. One sample's estimates of that slope are $2x$ (pathwise) and $x^2 z/\sigma$ (score function).

# %%
widgets.predict(
    "A policy that learns becomes sure of itself: sigma shrinks. What happens to the variance of the two estimates?",
    [
        "Both shrink: there is less and less chance in the game",
        "Pathwise shrinks, the score function's grows without bound",
        "Pathwise grows, the score function's shrinks",
    ],
)

# %% [markdown]
# The variances are
#
# $$\text{pathwise: } 4\sigma^2, \qquad \text{score function: } \frac{\mu^4 + 14\mu^2\sigma^2 + 15\sigma^4}{\sigma^2}. \tag{11.7}$$
#
# The second is $\mathbb E[x^4 z^2]/\sigma^2 - 4\mu^2$ with $x = \mu + \sigma z$, and $\mathbb E[z^2], \mathbb E[z^4],
# \mathbb E[z^6] = 1, 3, 15$. Let us measure them. In code, `Expectation(law, value)` is the objective $\mathbb E_{x \sim
# \text{law}(\theta)}[\text{value}(x)]$, and every estimator is called `estimator(objective, theta, noise)`.

# %%
mu, sigma = 0.8, 2.0 ** torch.arange(-5, 3)
both = {"score function": gradients.likelihood_ratio, "pathwise": gradients.pathwise}


def variance(estimator, sigma, f):
    """Of one sample's estimate of the slope of E[f(x)] by mu, [replica]."""
    tries = budget.choose(4000, 1000)
    game = Expectation(lambda mu: distributions.Normal(mu, torch.full_like(mu, sigma).log()), lambda x: f(x[..., 0]))
    z = Rng(range(16), dtype=torch.float64).normal(tries, 1, 1, 1)
    return estimator(game, torch.full((16, tries, 1), mu), z)[..., 0].var(1)


# %%
measured = {name: torch.stack([variance(e, s, torch.square) for s in sigma], 1) for name, e in both.items()}
computed = {"pathwise": 4 * sigma**2, "score function": (mu**4 + 14 * mu**2 * sigma**2 + 15 * sigma**4) / sigma**2}

# %%
picture, ax = plots.figure(8, 4.4)
figures_11.against(ax, sigma, measured, computed)
ax.set(xlabel="spread, sigma", ylabel="variance of one estimate")
plots.show(picture, "The surer the policy, the noisier its score and the quieter its path.")

# %% [markdown]
# (Rings are (11.7), lines the means over sixteen replicas; their 95 % bands are hardly wider than the lines.) The score is
# $z/\sigma$: with a tiny shake it compares payments that hardly differ, and divides by that tiny shake. The
# pathwise estimate needs no comparison. At $\sigma = 0$ it is (11.1), backpropagation, and exact.

# %% [markdown]
# ## 7. Many dimensions, and a ripple
#
# Now $f(x) = \sum_i x_i^2$ in $d$ dimensions, with $\sigma = 1$ and every $\mu_i = 0.8$. The gradient has $d$ numbers; the
# squared error of an estimate adds up over them.

# %%
widgets.predict(
    "From 1 to 64 dimensions: by how much does the squared error of the whole gradient estimate grow?",
    [
        "Both about 64 times: 64 numbers instead of one",
        "Pathwise 64 times; the score function thousands of times",
        "Pathwise not at all; the score function 64 times",
    ],
)

# %% [markdown]
# Each pathwise coordinate sees its own slope and has variance 4, as before. Each score $z_i$ is multiplied by the *whole*
# of $f = S + x_i^2$, where $S$, the others' part, grows with $d$ and has nothing to do with $z_i$. So its variance is
# $\mathbb E[S^2] + 2\,\mathbb E[S]\,\mathbb E[x_i^2 z_i^2] + \mathbb E[x_i^4 z_i^2] - 4\mu^2$; the first term grows as
# $d^2$, and there are $d$ coordinates.

# %%
d = 2 ** torch.arange(7)
many = Expectation(lambda at: distributions.Normal(at, 0 * at), lambda x: x.square().sum(-1))  # sigma = 1
tries = budget.choose(400, 100)


def squared_error(estimator, size):
    z = Rng(range(16), dtype=torch.float64).normal(tries, 1, 1, size)
    estimate = estimator(many, torch.full((16, tries, size), mu), z)
    return (estimate - 2 * mu).square().sum(-1).mean(1)  # [replica]


# %%
measured = {name: torch.stack([squared_error(e, size) for size in d.tolist()], 1) for name, e in both.items()}
S, variance_of_S = (d - 1) * (mu**2 + 1), (d - 1) * (4 * mu**2 + 2)
own = mu**4 + 18 * mu**2 + 15  # E[x_i^4 z_i^2]
each = variance_of_S + S**2 + 2 * S * (mu**2 + 3) + own - 4 * mu**2
picture, ax = plots.figure(8, 4.4)
figures_11.against(ax, d, measured, {"pathwise": 4 * d, "score function": d * each})
ax.set(xlabel="dimensions, d", ylabel="squared error of one estimate")
plots.show(picture, "Pathwise noise grows as d, the score function's as d cubed: f drowns out each coordinate's own share.")

# %% [markdown]
# Is the pathwise estimate always the quieter one, then? Try a payment that is small and steep: a ripple, $f(x) =
# \sin(kx)$.

# %%
waves = torch.tensor([0.5, 1, 2, 4, 8])  # k, radians per unit of x
measured = {name: torch.stack([variance(e, 1.0, lambda x, k=k: (k * x).sin()) for k in waves], 1) for name, e in both.items()}
picture, ax = plots.figure(8, 4)
figures_11.against(ax, waves, measured)
ax.set(xlabel="how fine the ripple is, k", ylabel="variance of one estimate")
plots.show(picture, "On a fine ripple slopes are steep and cancel: here the score function is the quieter one.")

# %% [markdown]
# The score function suffers when $f$ is *large*, the pathwise estimate when $f$ is *steep*. A payment that is rough on the scale of $\sigma$ makes slopes useless; turn 11 meets one that gets
# rougher by itself.

# %% [markdown]
# ## 8. In the library
#
# ```text
# draw z_1 ... z_N                          from a density without parameters
# x_i = g(theta, z_i)                       differentiable in theta
# J = mean_i f(x_i)                         gradient through f, nothing held fixed
# theta <- theta + step_size * grad J
# ```
#
# Compare with lecture 03's pseudocode: there $f(x_i)$ was held fixed and $\log p$ carried the gradient. Here $J$ is what it
# seems, an estimate of the objective, and its *value* can be watched.

# %%
Code(inspect.getsource(gradients.pathwise), language="python")

# %% [markdown]
# It takes any objective `f(theta, noise)`, and so does every other estimator in that file. What it cannot do is move a
# sample that does not move:

# %%
machine = Expectation(distributions.Categorical, lambda outcome: outcome.double())
try:
    gradients.pathwise(machine, torch.zeros(4), torch.rand(1, 10))
except TypeError as problem:
    print(problem)

# %% [markdown]
# A choice among four stays what it is when its probability changes a little, until it jumps. (Lecture 12 is about that.)

# %% [markdown]
# ## 9. Through a whole episode
#
# If you know the reward, and the dynamics too, the chain need not end after one action. Write every random thing as a
# function of noise:
#
# $$a_t = g(\theta, s_t, z_t), \qquad s_{t+1} = F(s_t, a_t, w_t), \qquad r_t = \rho(s_t, a_t). \tag{11.8}$$
#
# With the noise fixed, the whole episode is one long program from $\theta$ to $\sum_t r_t$. A state moves with $\theta$
# through the state before it and through the action before it:
#
# $$\frac{d s_{t+1}}{d\theta} = \frac{\partial F}{\partial s}\frac{d s_t}{d\theta} + \frac{\partial F}{\partial a}\frac{d a_t}{d\theta},
# \qquad \frac{d a_t}{d\theta} = \frac{\partial g}{\partial \theta} + \frac{\partial g}{\partial s}\frac{d s_t}{d\theta} \tag{11.9}$$
#
# Our world: a mass of 1 kg on a line, $s$ = (position, velocity), pushed by $a = -Ks + 0.3\,z$, paid
# $-(\text{position}^2 + 0.1\,\text{velocity}^2 + 0.1\,a^2)$. The parameters are the two gains $K$. First by hand, for
# one episode:

# %%
STEPS, STD = 30, 0.3
env = lqr.double_integrator(STEPS)  # s' = A s + B a + noise
A, B, Q, R = env.dynamics, env.control, env.state_cost, env.action_cost


def by_hand(K, start, z, w):
    """Return of one episode and its gradient by K, carrying ds/dK [2, 2] along by (11.9)."""
    s, ds, total, slope = start, torch.zeros(2, 2), 0.0, torch.zeros(2)
    for z_t, w_t in zip(z, w, strict=True):
        a, da = -K @ s + STD * z_t, -s - K @ ds
        total = total - s @ Q @ s - R[0, 0] * a[0] ** 2
        slope = slope - 2 * s @ Q @ ds - 2 * R[0, 0] * a[0] * da
        s, ds = A @ s + B @ a + env.noise @ w_t, A @ ds + B @ da[None]
    return total, slope


# %% [markdown]
# The library unrolls any differentiable environment; autograd then does (11.9), backward instead of forward.


# %%
def controller(K, observation):
    """The Gaussian policy N(-K s, 0.3^2)."""
    mean = -(K * observation).sum(-1, keepdim=True)
    return distributions.Normal(mean, torch.full_like(mean, math.log(STD)))


episode = gradients.Unrolled(env, controller, STEPS)
K = torch.tensor([1.0, 1.0])
noise = episode.draw(Rng(range(1), dtype=torch.float64), 1, 1)  # of the start, the actions, the world
start, z, w = (each[0, 0, 0] for each in noise)
print("by hand, (11.9)   ", by_hand(K, env.initial(start), z, w)[1].numpy().round(6))
print("autograd          ", gradients.pathwise(episode, K[None], noise)[0].numpy().round(6))
print("finite differences", gradients.central_differences(episode, K[None], noise, step=1e-4)[0].numpy().round(6))

# %% [markdown]
# Now on average, and beside the score function of lecture 04 (each action weighted with the rewards after it). For this
# kind of world, linear with quadratic costs, $J$ and its gradient are known exactly. A hundred episodes for each of
# sixteen replicas:

# %%
widgets.predict(
    "Same hundred episodes, thirty steps each. How much wider is the score function's interval?",
    ["About as wide", "About twice as wide", "Ten times or more"],
)

# %%
noise = episode.draw(Rng(range(16), dtype=torch.float64), 1, budget.choose(100, 50))
gain = K[None, None].requires_grad_()
J = exact.linear_return(env, gain, std=torch.tensor([[STD]]))
(truth,) = torch.autograd.grad(J, gain)
for name, estimator in both.items():
    compare(name, estimator(episode, K.expand(16, 2), noise), truth[0, 0])

# %% [markdown]
# ### The experiment
#
# The best controller of such a world is known too: Riccati's equation gives its gains and its return. Two sets of sixteen
# learners start from $K = (0.2, 0.2)$ and take steps of the same length, 0.05. The ones step along their pathwise gradient,
# from 8 episodes a step; the others along their score function, and get sixteen times as many, 128. (We judge a gain by the
# exact return of its controller without noise in the action.)

# %%
widgets.predict(
    "Which learners are ahead after eighty steps?",
    [
        "Those with the score function: sixteen times the experience",
        "Those with the pathwise gradient, clearly",
        "They are about equal: the factors cancel",
    ],
)


# %%
def train(estimator, episodes, updates=budget.choose(81, 41)):
    """Gains before every update, [update, replica, 2]."""
    rng, K, path = Rng(range(16), dtype=torch.float64), torch.full((16, 2), 0.2), []
    for _ in range(updates):
        path.append(K)
        g = estimator(episode, K, episode.draw(rng, 1, episodes))
        K = K + 0.05 * g / g.norm(dim=-1, keepdim=True)
    return torch.stack(path)


def value(K):
    """Exact return of the controller a = -K s, [..., 2] -> [...]."""
    return exact.linear_return(env, K.unsqueeze(-2))


# %%
paths = {"score function": train(gradients.likelihood_ratio, 128), "pathwise": train(gradients.pathwise, 8)}
best = exact.riccati(env)
optimum = -(torch.trace(best.cost[0]) + best.constant[0])  # starts are standard normal
extra = {name: (value(path) / optimum - 1).T for name, path in paths.items()}  # all returns are costs, below zero
for name, share in extra.items():
    print(f"{name:15s} costs {share[:, -1].mean():.1%} more than Riccati at the end")
print(
    "Riccati's first gain",
    best.gain[0, 0].numpy().round(2),
    "  pathwise learners",
    paths["pathwise"][-1].mean(0).numpy().round(2),
)

# %%
last = len(paths["pathwise"]) - 1
draw = partial(figures_11.gains, value=value, best=best.gain[0, 0], paths=paths, extra=extra, step=last)
widgets.movable(
    draw,
    size=(8.4, 5.2),
    columns=2,
    step=(0, last),
    caption="Eight episodes with their physics teach more than 128 without: the pathwise learners come close to Riccati.",
)

# %% [markdown]
# Nothing here is approximate: the pathwise learners use the same kind of episodes, only they look through them. (The
# score function would do better with a baseline, lecture 05, but would still not see the slope.) What is left to
# Riccati are gains that change with time; ours are constant. And where nobody knows the dynamics? Then a learned $Q$ can
# stand for all that comes after an action, and is differentiated by it (lecture 14), or the dynamics are learned
# (lecture 17).

# %% [markdown]
# ## 10. A fence
#
# Throw a ball at 45 degrees, at speed $v \sim N(\theta, 0.5^2)$, toward a fence 3 m away and 1 m high. It comes down
# after $v^2/10$ metres (gravity is 10 m/s²), if nothing is in the way; if it hits the fence it drops at its foot. At 3 m it is $3 - 90/v^2$
# metres high, so clearing the fence takes $v^2 > 45$: there the payment, the distance, **jumps** from 3 to 4.5 m.


# %%
def landing(v):
    """How far a ball of speed v [..., 1] goes, metres."""
    free = v[..., 0] ** 2 / 10
    stopped = (free > 3) & (free < 4.5)  # it reaches the fence and does not clear it
    return torch.where(stopped, 3.0, free)


clears = math.sqrt(45)
speed = Expectation(lambda theta: distributions.Normal(theta, torch.full_like(theta, math.log(0.5))), landing)
aim = torch.tensor([6.3])

# %%
grid = torch.linspace(4.5, 8, 701)
density = speed.law(aim).log_prob(grid[:, None]).exp()
picture, ax = plots.figure(8, 3.8)
figures_11.fence(ax, grid, landing(grid[:, None]), density, clears)
plots.show(picture, "A ball a little faster may land a metre and a half farther. No slope anywhere says so.")

# %%
widgets.predict(
    "What does the pathwise estimate of the slope of the mean distance converge to, with more and more throws?",
    [
        "The right value: a single point has probability zero",
        "Too small a value",
        "Nothing: its variance is infinite",
    ],
)

# %%
truth = exact.expectation_gradient(speed, aim, breaks=[math.sqrt(30), clears])
for name, estimator in both.items():
    z = Rng(range(16), dtype=torch.float64).normal(1, budget.choose(40_000, 10_000), 1)
    estimates = estimator(speed, aim.expand(16, 1), z)
    compare(name, estimates, truth)
missing = 1.5 * speed.law(aim).log_prob(torch.tensor([clears])).exp()
print(f"height of the jump times density there {missing:.4f}; pathwise plus that {estimates.mean() + missing:.4f}")

# %% [markdown]
# It converges, nicely and quickly, to a wrong number. What is missing? The density of $x$, here the speed, depends on
# $x - \theta$ only, so $\partial p_\theta/\partial\theta = -\partial p_\theta/\partial x$. Put that into $\int f\,
# \nabla_\theta\, p_\theta\, dx$ and integrate by parts on each piece between the jumps $x_j$: every piece leaves its
# two ends behind. ($f(x_j^-)$ and $f(x_j^+)$ are the values on the left and on the right of a jump.)
#
# $$\nabla_\theta\, \mathbb E[f] = \underbrace{\mathbb E[f'(x)]}_{\text{pathwise}} + \sum_j \big(f(x_j^+) - f(x_j^-)\big)\, p_\theta(x_j) \tag{11.10}$$
#
# When the density slides to the right, mass flows over the jump. A single throw hits the jump with probability zero, so
# no sample ever has the second term; the last line of the cell adds it, and all is well. Contacts are like that: a foot
# that touches the ground or does not, a ball caught or missed. The score function, which never looked at slopes, is
# right. (On lecture 03's board there is *nothing but* jumps, hence the zero in the picture at the top.)
#
# Nobody warns you here. If a payment is nothing but steps, autograd at least finds no path, and the library says so:

# %%
step = Expectation(speed.law, lambda v: (v[..., 0] > clears).double())
try:
    gradients.pathwise(step, aim, z[0])
except ValueError as problem:
    print(problem)

# %% [markdown]
# ## 11. Two pendulums
#
# A double pendulum: two rods, a motor in the axle. Its physics is perfectly smooth. We let it go low, and we let it go
# high; each time eight of them start within a thousandth of a radian. The motor is off.

# %%
starts = {
    "let go low": DoublePendulum(start=(math.pi - 0.3, math.pi - 0.3)),
    "let go high": DoublePendulum(start=(1.0, 1.0)),
}
picture, axes = plots.figure(8.4, 3.8, columns=2, sharey=True)
figures_11.fan(axes, starts)
plots.show(
    picture, "Let go low, they stay together. Let go high, a thousandth of a radian decides everything after some seconds."
)

# %% [markdown]
# Neighbours part exponentially: that is **chaos**. The factors $\partial F/\partial s$ in (11.9) are what drives them
# apart, and $ds_t/d\theta$ contains products of up to $t$ of them. Now the motor gives torque $\theta + z_t$, with $z_t
# \sim N(0, 1)$ and $\theta = 0$, and every step pays the height of the lower mass (less a thousandth of the squared
# torque). How far do estimates of $\partial J/\partial\theta$ scatter, each from one episode? The score function gets
# some help: from every reward we subtract its mean over other episodes, a *baseline* (lecture 05).

# %%
widgets.predict(
    "From 2 to 10 seconds, for the pendulum let go high: how much wider do the pathwise estimates scatter?",
    [
        "About 5 times: five times as many terms",
        "About 1000 times",
        "More than a million times",
    ],
)

# %%
steps = budget.choose(200, 100)
spread = figures_11.spread_by_horizon(starts, scale=1.0, episodes=32, steps=steps)
seconds = 0.05 * torch.arange(1, steps + 1)
for start, measured in spread.items():
    for name, deviation in measured.items():
        early, late = deviation.mean(0)[[39, -1]]
        print(f"{start:12s} {name:15s} {early:9.2f} at 2 s {late:12.2f} at {seconds[-1]:.0f} s")

# %%
picture, axes = plots.figure(8.4, 4.8, columns=2, sharey=True)
figures_11.horizons(axes, seconds, spread)
plots.show(
    picture,
    "Without chaos the path is the quieter way by far. With it, its noise grows exponentially and overtakes the score's.",
)

# %% [markdown]
# A straight line on a logarithmic axis is exponential growth. The pathwise estimate is still *unbiased*: $J$ is smooth.
# It is the fine ripple of turn 7: as a function of $\theta$, one episode's return wiggles faster and faster the longer
# it runs, with enormous slopes that cancel on average and in no sample you can afford. The score function sees heights,
# which stay within two metres of the axle, and grows slowly. Remedies: shorter horizons (truncate, and let a value
# function stand for the rest, lecture 14), clipping, or the score function.

# %% [markdown]
# ## 12. A third way: the derivative is a difference
#
# Two roads so far: differentiate $\log p$, or $f$. There is a third. The derivative of a density is no density: it has area
# zero. But its positive part and its negative part are, up to a common factor $c$:
#
# $$\nabla_\theta\, p_\theta = c\,\big(p^+ - p^-\big), \qquad \nabla_\theta\, \mathbb E[f] = c\,\big(\mathbb E_{x \sim p^+}[f(x)] - \mathbb E_{x \sim p^-}[f(x)]\big) \tag{11.11}$$

# %%
picture, axes = plots.figure(8.4, 4.6, columns=2)
figures_11.derivative_of_a_bell(axes)
plots.show(picture, "To move a bell to the right: take payments drawn on the right, subtract payments drawn on the left.")

# %% [markdown]
# For the mean of a Gaussian the slope of the density is $\frac{x - \mu}{\sigma^2}\,p_\mu(x)$. At $x = \mu \pm \sigma w$
# that is $\pm\, c\; w e^{-w^2/2}/\sigma$ with $c = 1/(\sigma\sqrt{2\pi})$, and $w e^{-w^2/2}$ is a density on $w > 0$:
# that of a Weibull (or Rayleigh) variable $W$, the length of a vector of two standard normal numbers. So
#
# $$\frac{\partial}{\partial\mu} \mathbb E[f] = \frac{1}{\sigma\sqrt{2\pi}}\; \mathbb E\big[f(\mu + \sigma W) - f(\mu - \sigma W)\big] \tag{11.12}$$
#
# This is the **measure-valued** estimator. It needs values of $f$ only, like the score function; it compares right with
# left, like finite differences, but without a step and without bias. It asks for about two evaluations for *every*
# parameter. First the square, at $\mu = 0.8$, $\sigma = 1.3$, where all variances have closed forms. With $\mathbb
# E[W^2] = 2$, $\mathbb E[W^4] = 8$ and $\text{var}(W) = 2 - \pi/2$ they are $\frac{4}{\pi}(\mu^2\,\text{var}(W) +
# \sigma^2)$ where the two sides draw their own $W$, and $\frac{8}{\pi}\mu^2\,\text{var}(W)$ where they share it: then
# $f(\mu + \sigma W) - f(\mu - \sigma W) = 4\mu\sigma W$, and the squares cancel.

# %%
mu, sigma, tries = 0.8, 1.3, budget.choose(20_000, 5000)
bell = Expectation(lambda mu: distributions.Normal(mu, torch.full_like(mu, math.log(sigma))), lambda x: x[..., 0] ** 2)
rng, at = Rng(range(16), dtype=torch.float64), torch.full((16, tries, 1), mu)
one = rng.normal(tries, 1, 1, 1)
three = rng.normal(tries, 2, 1, 1, 3)  # on either side: one for x itself (where others are moved), two for W
scatter = {
    "score function": gradients.likelihood_ratio(bell, at, one),
    "pathwise": gradients.pathwise(bell, at, one),
    "measure-valued": gradients.measure_valued(bell, at, three),
    "measure-valued, same W": gradients.measure_valued(bell, at, three[:, :, :1]),
}

# %%
of_W = 2 - math.pi / 2  # the variance of W
closed = {
    "score function": (mu**4 + 14 * mu**2 * sigma**2 + 15 * sigma**4) / sigma**2,
    "pathwise": 4 * sigma**2,
    "measure-valued": 4 * (mu**2 * of_W + sigma**2) / math.pi,
    "measure-valued, same W": 8 * mu**2 * of_W / math.pi,
}
for name, estimates in scatter.items():
    compare("mean, " + name, estimates[..., 0].mean(1), torch.tensor(2 * mu))
    compare("variance, " + name, estimates[..., 0].var(1), torch.tensor(closed[name]))

# %% [markdown]
# Each estimate costs two evaluations of $f$ and is quieter than the score function by far, on this $f$ even than
# pathwise; with the *same* $W$ on both sides quieter still (common random numbers, lecture 02). And the fence?

# %%
z = Rng(range(16), dtype=torch.float64).normal(1, budget.choose(40_000, 10_000), 1, 3)
compare("measure-valued, at the fence", gradients.measure_valued(speed, aim.expand(16, 1), z), truth)

# %% [markdown]
# Right, without a slope, and more sharply than the score function in turn 10. So why does not everybody use it? Count:
# a network has a million parameters, and each would ask for its own two evaluations. It shines where few parameters
# matter and $f$ is cheap. For a coin, a Bernoulli variable with probability $p$, the two parts are its two faces, with
# $c = p(1-p)$ by the logit. Nothing is left to chance:

# %%
coin = Expectation(distributions.Bernoulli, lambda side: 5 * side[..., 0] + 1)
logit, u = torch.full((16, 1), 0.7), Rng(range(16), dtype=torch.float64).uniform(1, 1, 1)
compare("one throw of a coin", gradients.measure_valued(coin, logit, u), exact.expectation_gradient(coin, logit)[0])

# %% [markdown]
# ## 13. What goes wrong
#
# **a) The state is cut.** Somebody keeps states in a buffer, or writes `.detach()` against exploding gradients, and the
# path from one step to the next is gone.


# %%
def cut(K, noise):
    """The episode of turn 9 with a detached state."""
    state, total = env.initial(noise[0]), 0.0
    for t in range(STEPS):
        action = controller(K, state).rsample(noise[1][..., t, :])
        state, reward, _ = env.step(state.detach(), action, noise[2][..., t, :])
        total, state = total + reward, state.detach()
    return total


noise = episode.draw(Rng(range(16), dtype=torch.float64), 1, 50)
gain = K[None, None].requires_grad_()
(truth,) = torch.autograd.grad(exact.linear_return(env, gain, std=torch.tensor([[STD]])), gain)
compare("state cut", gradients.pathwise(cut, K.expand(16, 2), noise), truth[0, 0])

# %% [markdown]
# The sign is wrong. What is left of the gradient knows that pushing costs, and nothing of what it is good for: it says
# *push less*. **The check:** finite differences with the same noise, for a single episode, as in turn 9. They agree to
# six digits or there is a cut.
#
# **b) The sample is cut, the rest is not.** Throwing far costs effort, $|\theta|^2/10$, so $\theta$ also stands in the
# payment itself. Somebody writes `sample` for `rsample`.

# %%
z = Rng(range(16), dtype=torch.float64).normal(1, 1000, 2)
log_spread = torch.full((2,), math.log(SPREAD))


def effort(draw):
    """Points less effort, of darts drawn one way or the other."""
    return lambda at, z: points(draw(distributions.Normal(at, log_spread), z)) - at.square().sum(-1) / 10


right = effort(lambda dart, z: dart.rsample(z))
wrong = effort(lambda dart, z: dart.sample(z))
for name, objective in (("rsample", right), ("sample", wrong)):
    compare(name, gradients.pathwise(objective, theta.expand(16, 2), z), gradient[:2] - theta / 5)

# %% [markdown]
# No error, since autograd did find a path: the short one. The interval is zero, because that part has no noise. **The
# check:** `x.requires_grad` is `True`. (The score function wants the opposite: there $x$ must be cut, and
# log-probabilities of an `rsample` are the classic way to get both wrong at once.)
#
# **c) The factor on the wrong side.** With a $z$ in each row, $Lz$ for all rows is `z @ L.T`.

# %%
z = Rng(range(16), dtype=torch.float64).normal(1000, 2)
for name, x in (("z @ L.T", z @ L.T), ("z @ L", z @ L)):
    found = torch.einsum("rni,rnj->rnij", x, x).mean(1)
    print(f"{name:8s} sum of variances {found.diagonal(dim1=1, dim2=2).sum(1).mean():.3f}", end="   ")
    compare("covariance[1, 1]", found[:, 1, 1], (L @ L.T)[1, 1])

# %% [markdown]
# $L^\top L$ has the same sum of variances as $L L^\top$ and a similar cloud; nothing looks wrong. **The check:**
# compare the sample covariance with the one you asked for, entry by entry.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_11)

# %% [markdown]
# ## In four lines
#
# 1. Write the sample as a function of noise, $x = g(\theta, z)$, and the gradient goes inside: $\nabla_\theta J =
#    \mathbb E[\nabla f(x)\,\partial x/\partial\theta]$.
# 2. It uses the slope of the reward by the action, and with known dynamics the slope of everything: far less noise
#    where $f$ is smooth.
# 3. Where $f$ jumps it is wrong and does not say so; where the dynamics is chaotic it is right and useless. The score
#    function on the same noise tells both.
# 4. Measure-valued: a derivative is a difference of two densities. No slopes, little noise, two evaluations for each
#    parameter.
#
# **Now you:** [exercise 11](../exercises/11_pathwise_gradients.ipynb) asks for samples that know their parameters, the
# estimator, a gradient through an episode, and the two warnings against it. **Next:** in lecture 12 the sample is a
# choice, which cannot be moved a little. It will be softened until it can.

# %% [markdown]
# ## Sources
#
# - The two places of a parameter, the Gaussian with its general factor, and the unrolled episode: the slides
#   `000_829bb9ef0c40a70c.txt` and `001_025d544a009700fa.txt` ($\rho$ for our $f$). Pathwise derivatives as
#   backpropagation through a sample: `002_20f9c9cab9178118.txt`.
# - D. P. Kingma and M. Welling (2014), "Auto-encoding variational Bayes", *ICLR*. The name reparameterization trick;
#   (11.3) and (11.6).
# - N. Heess, G. Wayne, D. Silver, T. Lillicrap, Y. Tassa and T. Erez (2015), "Learning continuous control policies by
#   stochastic value gradients", *NIPS*. (11.8) and (11.9).
# - S. Mohamed, M. Rosca, M. Figurnov and A. Mnih (2020), "Monte Carlo gradient estimation in machine learning",
#   *Journal of Machine Learning Research* 21(132), 1-62. All three estimators, their conditions, and (11.11).
# - H. J. T. Suh, M. Simchowitz, K. Zhang and R. Tedrake (2022), "Do differentiable simulators give better policy
#   gradients?", *ICML*. Jumps, and stiff contacts: turn 10.
# - P. Parmas, C. E. Rasmussen, J. Peters and K. Doya (2018), "PIPPS: Flexible model-based policy search robust to the
#   curse of chaos", *ICML*. Turn 11.
