# %% [markdown]
# # 03 How can I differentiate an expectation I can only sample?
#
# You throw darts and count points. Would you do better on average if you aimed a little further right? No dart can
# tell you: it is where it is, and it paid what it paid. All of them together can, and this lecture reads the answer off
# the throws.
#
# **After it you can**
# - derive that gradient in three lines and check every one of them;
# - write down the score of a Gaussian, of a softmax and of a coin;
# - build a loss that autograd turns into the estimator, and say what its value means.
#
# **You need** expectations, the chain rule and tensors. **Time:** 50 minutes at the keyboard, 25 as a talk.

# %%
import inspect
import math
from functools import partial

import torch
from IPython.display import Code
from torch.autograd.functional import jacobian

from pgcourse import budget, distributions, figures, gradients, nn, plots, policies, quizzes, widgets
from pgcourse.history import History
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives

# %% [markdown]
# ## The game
#
# You choose where to aim. Call that $\theta$: two numbers, metres across and metres up from the middle of the board
# (shape `[2]`). Your hand shakes, so the dart lands at $x$ (shape `[2]`), drawn from a Gaussian around $\theta$ with
# spread $\sigma$ in both directions (its standard deviation, also called scale; the library asks for $\log\sigma$). We write
# $p_\theta(x)$ for its density. The board then pays $f(x)$ points.

# %%
SPREAD = 0.6  # sigma, metres
theta = torch.tensor([-1.0, -0.6], dtype=torch.float64)  # where we aim


def law(theta):
    """p_theta: where a dart lands that is aimed at theta [..., 2]."""
    return distributions.Normal(theta, torch.full_like(theta, math.log(SPREAD)))


# %%
def points(x):
    """f, [..., 2] -> [...]: one point for each of three discs x lies in."""
    distance = x.norm(dim=-1)
    return sum((distance < radius).to(x.dtype) for radius in (0.5, 1.0, 1.5))


# %% [markdown]
# What you care about is the **objective**, the average over all the darts you might throw,
#
# $$J(\theta) = \mathbb{E}_{x \sim p_\theta}[f(x)] = \int p_\theta(x)\, f(x)\, dx ,$$
#
# one number, in points. What you want is its gradient $\nabla_\theta J$ (shape `[2]`, points per metre): which way to
# move your aim, and what that is worth. But $f$ is a black box: you may throw and read off the points, not look inside.
# (Some sources write $U$ for $J$, or $r$ for $f$.)

# %% [markdown]
# ## The whole lecture in one picture
#
# First the answer, then the reasons. Every dart that paid gets an arrow; it starts at the dart and points away from your
# aim (on the left drawn at one fifth of its length). The average of the arrows is the gradient. Move the controls and
# watch the right-hand side.

# %%
caption = "Each dart pulls the aim toward itself, as hard as it paid. The average pull is the gradient."
widgets.movable(partial(figures.darts, points=points), **figures.DARTS, caption=caption)

# %% [markdown]
# Three things to try. Slide *throws* up: the cloud of averages closes in on the tip of the black arrow and never drifts
# away from it. Slide *subtract* up: poor darts begin to push, and the cloud shrinks until about 1, then grows again.
# Slide *spread* down: the steadier the hand, the longer the arrows. By the end you will know why.

# %% [markdown]
# ## 1. A richer board

# %%
widgets.predict(
    "The board pays double: f becomes 2 f. What happens to the arrows?",
    [
        "They all get twice as long and keep their directions",
        "Some turn, because good darts now outweigh poor ones",
        "Nothing: only the order of the payments matters",
    ],
)

# %%
x = law(theta).sample(Rng(1).normal(12, 2))[0]  # Rng puts an axis for seeds in front
for f in (points(x), 2 * points(x)):
    arrows = f[:, None] * (x - theta) / SPREAD**2  # one per dart, [12, 2]
    longest, average = arrows.norm(dim=1).max(), arrows.mean(0)
    print(f"longest arrow {longest:6.3f}   average", average.numpy().round(3))

# %% [markdown]
# Every arrow doubles, and so does the average. An arrow is $f(x)\,(x - \theta)/\sigma^2$: its direction comes from where the
# dart landed, and the points are a plain factor (the slider *factor* in the picture). One number per dart is all we shall
# ever ask of the black box.

# %% [markdown]
# ## 2. The number to beat
#
# In two dimensions we can afford the truth: cut the wall into square centimetres, and add up density times points over
# all of them (right to three digits). Beside it we throw darts at three aims, as sixteen **replicas**: the same experiment
# with sixteen seeds. What differs between replicas is chance, and tells us how far to trust their mean.

# %%
side = torch.arange(-4, 4, 0.01, dtype=torch.float64) + 0.005
wall = torch.cartesian_prod(side, side)  # square centimetres, [640000, 2]


def exact(theta):
    """J, by a sum over the wall."""
    return (law(theta).log_prob(wall).exp() * points(wall)).sum() * 0.01**2


# %%
def compare(name, estimates, truth):
    """Mean over replicas [16, ...], its 95 % interval (Student's t), and the truth."""
    t = 2.13  # Student's t for 95 % and sixteen replicas
    half_width = t * estimates.std(0) / len(estimates) ** 0.5
    numbers = torch.stack([estimates.mean(0), half_width, truth.expand_as(half_width)], -1)
    for mean, half, true in numbers.reshape(-1, 3):
        print(f"{name:28s} {mean:8.4f} ± {half:.4f}   exact {true:8.4f}")


# %%
throws = budget.choose(64_000, 12_000)  # by each replica (the fewer in quick tests)
noise = Rng(range(16)).normal(throws, 2)  # [replica, throw, 2]
print(f"{16 * throws:,} throws at each aim")
for aim in ([-1.0, -0.6], [-0.5, -0.3], [0.0, 0.0]):
    aim = torch.tensor(aim, dtype=torch.float64)
    average = points(law(aim).sample(noise)).mean(1)  # [replica]
    compare(f"J at {aim.tolist()}", average, exact(aim))

# %% [markdown]
# The two columns agree (one interval in twenty misses, by chance; these three share their noise and err together). $J$
# climbs toward the middle, so its slope at our aim must point there. **Finite differences**, the subject of lecture 02,
# throw at two aims a step apart, subtract and divide. We give them the same shaking of the hand at both aims, a step that
# suits this board (thirty centimetres, found by trying), and a thousand throws in all, 250 at each of four aims.

# %%
gradient = jacobian(exact, theta)  # the truth, [2]
shaking = noise.reshape(-1, 250, 2)  # many sets of 250 throws
steps = 0.3 * torch.eye(2, dtype=torch.float64)  # 30 cm across, 30 cm up
ahead = [points(law(theta + step).sample(shaking)).mean(1) for step in steps]
behind = [points(law(theta - step).sample(shaking)).mean(1) for step in steps]
slopes = (torch.stack(ahead, 1) - torch.stack(behind, 1)) / 0.6  # [set, 2]
to_beat = (slopes - gradient).square().mean(0).sqrt()  # root mean squared error, bias included
print("exact gradient                      ", gradient.numpy().round(3))
print("finite differences, mean            ", slopes.mean(0).numpy().round(3))
print("typical error of one, 1000 throws   ", to_beat.numpy().round(3))

# %% [markdown]
# The last line is the number to beat. Many parameters are hard for this method: with a thousand instead of two, the same
# thousand throws would have to be shared out among two thousand aims. (Turn 9 asks what they cost ours.)

# %% [markdown]
# ## 3. Try the obvious
#
# We have a framework that differentiates programs. So write the program, a sample average, and differentiate it.

# %%
widgets.predict(
    "Throw darts at theta, average their points, and ask autograd for the "
    "derivative of that average by theta. What comes back?",
    [
        "The gradient of J, with some sampling noise",
        "The gradient of J, but biased",
        "No gradient at all",
    ],
)

# %%
aim = theta.clone().requires_grad_()
average = points(law(aim).sample(noise[0])).mean()
print(f"average {average:.3f}, depends on the aim: {average.requires_grad}")
try:
    average.backward()
except RuntimeError as problem:
    print("backward:", problem)
print("gradient:", aim.grad)

# %% [markdown]
# There is nothing to differentiate. Once a dart is in the wall it is two numbers. *Which* numbers came up depended on
# $\theta$, through the probabilities; the numbers do not remember. Could we keep the memory, and write
# $x = \theta + \sigma z$ with the noise $z$ held fixed?

# %%
x = law(aim).rsample(noise[0])  # theta + sigma noise, recorded by autograd
print("x depends on the aim:        ", x.requires_grad)
print("points(x) depend on the aim: ", points(x).requires_grad)

# %% [markdown]
# Now the darts remember, but the points do not: nudge a dart, and its points stay as they are until they jump. The slope
# of $f$ is zero wherever there is one. (Where $f$ is smooth and known this road is open, and excellent: lecture 11.) We
# need a way that never touches the slope of $f$.

# %% [markdown]
# ## 4. Push the gradient inside
#
# Take a machine small enough to list all it can do: four outcomes $x$ with prizes $f(x)$, and probabilities that are a
# softmax of four parameters, $p_\theta(x) = e^{\theta_x} / \sum_k e^{\theta_k}$. The expectation is a sum of four terms.
# The derivative of a sum is the sum of the derivatives, and the prizes do not depend on $\theta$:
#
# $$\nabla_\theta J = \nabla_\theta \sum_x p_\theta(x)\, f(x) = \sum_x \nabla_\theta p_\theta(x)\, f(x) \tag{3.1}$$

# %%
logits = torch.tensor([1.0, 0.5, 0.0, -1.0], dtype=torch.float64)  # its theta
prize = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)  # its f
steps = 1e-5 * torch.eye(4, dtype=torch.float64)
rise = [(logits + s).softmax(0) - (logits - s).softmax(0) for s in steps]
slope = torch.stack(rise) @ prize / 2e-5  # of J, by differences, [parameter]
grad_p = jacobian(lambda theta: theta.softmax(0), logits)  # [x, parameter]
print("slope of J, by differences", slope.numpy().round(8))
print("right-hand side of (3.1)  ", (prize @ grad_p).numpy().round(8))

# %% [markdown]
# Are we done? For four outcomes, yes. But when $x$ is a whole game of Pong, nobody can list the outcomes; we must
# *sample* the sum, and for that each term needs a probability in front. Is $\nabla_\theta p$ one?

# %%
print("d p(x) / d theta_0, four x:", grad_p[:, 0].numpy().round(4))
print(f"their sum: {grad_p[:, 0].sum().abs():.1e}")

# %% [markdown]
# It is not: most entries are negative, and they add up to zero where probabilities add up to one. What we *can* draw from
# is $p$ itself, by playing. So let us make a $p$ appear.

# %% [markdown]
# ## 5. Multiply and divide
#
# Multiply each term by $p_\theta(x)/p_\theta(x) = 1$. (For softmax and Gaussian $p$ is never zero.)
#
# $$\nabla_\theta J = \sum_x p_\theta(x)\, \frac{\nabla_\theta p_\theta(x)}{p_\theta(x)}\, f(x) \tag{3.2}$$
#
# The ratio has a name. By the chain rule the derivative of $\log u$ is $u'/u$: the ratio is the gradient of $\log p$.
#
# $$\nabla_\theta J = \sum_x p_\theta(x)\, \nabla_\theta \log p_\theta(x)\, f(x)
# = \mathbb{E}_{x \sim p_\theta}\big[ f(x)\, \nabla_\theta \log p_\theta(x) \big] \tag{3.3}$$

# %%
p = logits.softmax(0)
ratio = grad_p / p[:, None]  # as in (3.2), [x, parameter]
score = jacobian(lambda theta: theta.log_softmax(0), logits)  # as in (3.3)
print("slope of J, by differences", slope.numpy().round(8))
print("right-hand side of (3.2)  ", ((p * prize) @ ratio).numpy().round(8))
print("right-hand side of (3.3)  ", ((p * prize) @ score).numpy().round(8))
print(f"ratio and grad log p differ by {(ratio - score).abs().max():.0e}")

# %% [markdown]
# The vector $\nabla_\theta \log p_\theta(x)$ has the shape of $\theta$ and is called the **score** of $x$. Read it as:
# *which way must I move the parameters to make this outcome more likely?* And (3.3) is an expectation under $p$ itself,
# so playing the machine and averaging must give the same four numbers. Does it?

# %%
machine = distributions.Categorical(logits)
outcome = machine.sample(Rng(range(16)).uniform(throws))  # [replica, play]
pull = prize[outcome][..., None] * score[outcome]  # [replica, play, 4]
compare("average of f grad log p", pull.mean(1), slope)

# %% [markdown]
# For a density the same three lines hold with an integral in place of the sum, if the derivative may go under the
# integral. It may where one integrable function bounds $|f\, \nabla_\theta p_\theta|$ for all $\theta$ nearby, and where the
# places $p_\theta$ can reach do not depend on $\theta$. A Gaussian and a bounded $f$ are fine; $f$ may jump as it likes.
# Here are the darts, over the square centimetres of the wall:

# %%
density = law(theta).log_prob(wall).exp() * 0.01**2  # of each square centimetre
pull = points(wall)[:, None] * (wall - theta) / SPREAD**2  # f grad log p
steps = 1e-4 * torch.eye(2, dtype=torch.float64)
rise = torch.stack([exact(theta + s) - exact(theta - s) for s in steps])
print("slope of J, by differences", (rise / 2e-4).numpy().round(6))
print("integral of p f grad log p", (density @ pull).numpy().round(6))

# %% [markdown]
# So that is what the arrows were: points times score. And $f$ was never differentiated; the gradient went into the one
# thing that we know completely, our own probabilities. This exchange, $\nabla p = p\, \nabla \log p$, is the
# **log-derivative trick**.

# %% [markdown]
# ## 6. The estimator
#
# What is an expectation can be estimated by an average. Throw $N$ times:
#
# $$\hat g = \frac{1}{N} \sum_{i=1}^{N} f(x_i)\, \nabla_\theta \log p_\theta(x_i), \qquad x_i \sim p_\theta \tag{3.4}$$
#
# This is the **score-function estimator**; also *likelihood-ratio estimator* and, when $x$ is an episode, *REINFORCE*.


# %%
def score_function(x):
    """(3.4) at our aim: throws [..., N, 2] -> estimate [..., 2]."""
    return (points(x)[..., None] * (x - theta) / SPREAD**2).mean(-2)


# %% [markdown]
# Take the noise of turn 2 again and cut the darts into groups: of one, of ten, of a thousand. Each makes one estimate.

# %%
widgets.predict(
    "How do the three histograms of these estimates compare?",
    [
        "Same centre; groups of 1000 are some 1000 times narrower than single darts",
        "Same centre; groups of 1000 are some 30 times narrower than single darts",
        "With single darts the centre is off; it gets right as groups grow",
    ],
)

# %%
x = law(theta).sample(noise)  # [replica, throw, 2]
groups = {N: x.reshape(16, -1, N, 2) for N in (1, 10, 1000)}
estimates = {N: score_function(group)[..., 0] for N, group in groups.items()}
for N, g in estimates.items():
    compare(f"N = {N}, first coordinate", g.mean(1), gradient[0])
for N, g in estimates.items():
    error = g.std()
    print(f"N = {N:4d}: typical error {error:.3f}, times sqrt(N) {error * N**0.5:.2f}")
print(f"finite differences, 1000 throws: {to_beat[0]:.3f}")

# %%
picture, axes = plots.figure(8, 6, rows=3, sharex=True)
named = {f"groups of {N}": g.flatten() for N, g in estimates.items()}
figures.histograms(axes, named, gradient[0], span=(-3, 7))
axes[-1].set_xlabel("estimate of the gradient's first coordinate (points per metre)")
plots.show(
    picture,
    "The means lie on the truth, that of single darts too. A hundred times the throws buy a tenth of the width.",
)

# %% [markdown]
# (The line at 0 in the top row are the darts that missed the board: they pull nothing.) By (3.3) each dart is right on
# average, and grouping cannot move the mean. So the estimator is **unbiased** for every $N$, a single throw included. Its
# typical error falls as $1/\sqrt N$ (if $f$ times the score has a finite variance, as with a bounded $f$), which is why
# the last column stays put; and with a thousand throws it does a little better than finite differences with a thousand
# and the best of steps.

# %% [markdown]
# ## 7. Scores in closed form
#
# A score is a line of calculus on $\log p$. For a Gaussian,
# $\log p = -\frac{(x-\mu)^2}{2\sigma^2} - \log\sigma - \frac12\log 2\pi$, and so
#
# $$\frac{\partial \log p}{\partial \mu} = \frac{x - \mu}{\sigma^2}, \qquad
# \frac{\partial \log p}{\partial \sigma} = \frac{1}{\sigma}\left(\frac{(x-\mu)^2}{\sigma^2} - 1\right).$$
#
# Often $\log\sigma$ is the parameter, so that $\sigma$ stays positive; then the second score is multiplied by $\sigma$.
# Independent coordinates each keep their own lines, because their log-densities add.


# %%
def log_p(x, mean, sigma):
    """log N(x; mean, sigma^2) for each x."""
    return distributions.Normal(mean, sigma.log()).log_prob(x[:, None])


def scores(x, mean, sigma):
    return (x - mean) / sigma**2, ((x - mean) ** 2 / sigma**2 - 1) / sigma


# %%
x = torch.linspace(-2, 2, 5, dtype=torch.float64)
mean, sigma = torch.tensor([[0.5], [0.8]], dtype=torch.float64)
by_hand = scores(x, mean, sigma)
by_autograd = jacobian(partial(log_p, x), (mean, sigma))
for name, hand, auto in zip(("mean", "spread"), by_hand, by_autograd, strict=True):
    print(f"{name:6s} by hand    ", hand.numpy().round(6))
    print(f"{name:6s} by autograd", auto[:, 0].numpy().round(6))

# %%
x = torch.linspace(-2, 3, 200, dtype=torch.float64)
picture, ax = plots.figure(8, 3.8)
figures.scores(ax, x, log_p(x, mean, sigma).exp(), *scores(x, mean, sigma))
plots.show(picture, "A sample right of the mean asks for a larger mean, one farther away than the spread for a larger spread.")

# %% [markdown]
# For a softmax, $\log p(x) = \theta_x - \log\sum_k e^{\theta_k}$: the first term gives a one at $x$, the second minus the
# probabilities. A coin that shows 1 with probability $p = 1/(1+e^{-\theta})$, a **Bernoulli** variable, is a softmax with
# two sides:
#
# $$\frac{\partial \log p(x)}{\partial \theta_k} = \mathbf 1[k = x] - p_k, \qquad
# \frac{\partial \log p(x)}{\partial \theta} = x - p \quad (x = 0 \text{ or } 1).$$

# %%
by_hand = torch.eye(4, dtype=torch.float64) - p  # row x: the score of outcome x
print(f"softmax, by hand - by autograd: {(by_hand - score).abs().max():.0e}")
logit, face = torch.tensor(0.4, dtype=torch.float64), torch.tensor([0.0, 1.0])
coin = jacobian(lambda logit: (logit * (2 * face - 1)).sigmoid().log(), logit)
print("coin, by hand    ", (face - logit.sigmoid()).numpy().round(6))
print("coin, by autograd", coin.numpy().round(6))

# %% [markdown]
# Up to a factor all of them have one form: *what happened, minus what was expected*. A surprise pulls hard, a foregone
# conclusion hardly at all. And that form says something about averages.

# %% [markdown]
# ## 8. When everything pays the same

# %%
widgets.predict(
    "Set f = 1: every outcome pays the same. What is the mean of the score?",
    [
        "Positive: each sample pulls, and nothing pushes",
        "It depends on theta",
        "Zero, in every coordinate and at every theta",
    ],
)

# %%
x, zero = law(theta).sample(noise), torch.zeros(())
compare("score of the aim", ((x - theta) / SPREAD**2).mean(1), zero)
compare("score of the spread", (((x - theta) / SPREAD) ** 2 - 1).mean(1) / SPREAD, zero)
compare("score of the machine", score[outcome].mean(1), zero)

# %% [markdown]
# Zero it is, and the log-derivative trick read backwards says why. Probabilities add up to one, whatever $\theta$ is, and
# a constant has no slope:
#
# $$\mathbb{E}_{x\sim p_\theta}\big[\nabla_\theta \log p_\theta(x)\big]
# = \sum_x p_\theta(x)\, \frac{\nabla_\theta p_\theta(x)}{p_\theta(x)}
# = \nabla_\theta \sum_x p_\theta(x) = \nabla_\theta 1 = 0 \tag{3.5}$$
#
# So any constant $b$ may be subtracted from $f$: the extra term is $b$ times zero, no bias. What does it buy? Let the
# machine of turn 4 play once and take one step along $f\, \nabla\log p$, or along $(f - b)\, \nabla\log p$ with its average
# prize as $b$.

# %%
widgets.predict(
    "It has drawn its worst prize, 1 point, and takes one step with weight f. What does that do to the outcome it drew?",
    [
        "More likely: it was drawn, and it paid something",
        "Less likely: it paid less than the average",
        "Nothing yet: one play says nothing about the average",
    ],
)

# %%
changes = []
for b in (0, p @ prize):
    step = 0.3 * (prize - b)[:, None] * score  # row x: when x was drawn
    changes.append((logits + step).softmax(1).diagonal() - p)
picture, axes = plots.figure(8, 3.8, columns=2, sharey=True)
figures.nudges(axes, changes, prize)
plots.show(picture, "With f whatever is drawn is pushed up, the worst prize too; with f - b only what paid more than average.")

# %% [markdown]
# With $f > 0$ it still comes out right on average, because the good outcomes are pushed harder and all must add up to one;
# but each single step is mostly noise. With $f - b$ each pushes the right way by itself. Now the darts, in groups of ten:
# slide $b$ and watch centre and width.

# %%
groups = x[:, : budget.choose(5000, 1500)].reshape(16, -1, 10, 2)
pull = score_function(groups)[..., 0]  # with f, [replica, group]
push = ((groups - theta) / SPREAD**2).mean(2)[..., 0]  # with 1 in place of f
widgets.movable(
    partial(figures.baseline, pull=pull, score=push, exact=float(gradient[0])),
    size=(8.4, 4.2),
    columns=2,
    subtract=(0.0, 2.5, 0.1),
    caption="Subtracting b leaves the centre of the estimates where it is, and changes their width. There is a best b.",
)

# %% [markdown]
# A bad $b$ is worse than none: to the right the curve climbs above where it began. Which $b$ is best, and what else may be
# subtracted, is lecture 05. Until then: a number near the average of $f$ is cheap, and usually helps.

# %% [markdown]
# ## 9. Many parameters
#
# Two parameters are few. Give each throw $d - 2$ further ones that change nothing on the board: the curl of a finger, the
# colour of the socks. Each is a Gaussian's mean like the others, each has a score like the others, and the true
# derivative by each is zero.

# %%
widgets.predict(
    "The useless parameters have gradient zero. What do they add to the error of the whole estimate?",
    [
        "Nothing: f does not depend on them",
        "About as much as the useful ones, each of them",
        "Something, but less and less as d grows",
    ],
)

# %%
pull = points(wall)[:, None] * (wall - theta) / SPREAD**2
useful = density @ pull.square() - gradient**2  # one throw, each of the two
useless = density @ points(wall).square() / SPREAD**2  # one throw, each of the others
print("variance, two useful parameters", useful.numpy().round(2))
print("variance, a useless one        ", useless.numpy().round(2))

# %% [markdown]
# A useless parameter is as noisy as a useful one. Its noise $z$ has nothing to do with $f$, its score is $z/\sigma$ (that is
# $(x-\theta)/\sigma^2$ where $x = \theta + \sigma z$), and $\mathbb E[z^2] = 1$: the mean of $f z / \sigma$ is zero and its
# variance $\mathbb E[f^2]/\sigma^2$. That is also why a small *spread* made long arrows and a wide cloud: the score goes
# as $1/\sigma$. Does the error of the whole estimate grow with $d$ as these numbers say?


# %%
def squared_error(d, N, groups):
    """Mean squared distance from estimate to gradient, [replica]."""
    z = Rng(range(16)).normal(groups, N, d)
    f = points(theta + SPREAD * z[..., :2])
    estimate = (f[..., None] * z / SPREAD).mean(2)  # [replica, group, d]
    estimate[..., :2] -= gradient
    return estimate.square().sum(-1).mean(1)


# %%
d = torch.tensor([2, 8, 32, 128])
measured = {}
for N in (1, 10, 100):
    errors = [squared_error(each, N, groups=budget.choose(40, 10)) for each in d]
    measured[N] = torch.stack(errors, 1)  # [replica, d]

# %%
signal = gradient.square().sum()
computed = {N: (useful.sum() + (d - 2) * useless) / N for N in measured}
picture, ax = plots.figure(8, 4.6)
figures.dimensions(ax, d, measured, computed, signal)
plots.show(
    picture,
    "The error grows as d / N (16 replicas; rings: computed exactly). "
    "Above the dashed line an estimate is more noise than signal.",
)

# %% [markdown]
# Every parameter's score is multiplied by the whole of $f$, whether it had a share in it or not. That is the price of
# never looking inside $f$, and why later lectures think so much about variance.

# %% [markdown]
# ## 10. A loss for autograd
#
# Nobody codes scores by hand for a network. Look for a function whose gradient *is* (3.4), and let autograd do it:
#
# $$L(\theta) = \frac1N \sum_i f(x_i)\, \log p_\theta(x_i), \qquad x_i \text{ and } f(x_i) \text{ held fixed.}$$
#
# It is called the **surrogate**. Optimizers descend, so the *loss* is $-L$. In pseudocode, with the library's
# version below it, which has an axis for time as well (a dart is an episode of one step). What happens when something is
# not held fixed, you will see in 12 b).
#
# ```text
# sample x_1 ... x_N from p_theta        no gradient through this
# f_i = f(x_i)                           nor through this
# L = mean_i f_i log p_theta(x_i)        gradient through log p only
# theta <- theta + step_size * grad L
# ```

# %%
Code(inspect.getsource(gradients.score_surrogate), language="python")

# %%
aim = theta.clone().requires_grad_()
x = law(aim).sample(noise[0, :20])  # twenty darts
surrogate = (points(x) * law(aim).log_prob(x)).mean()
print("by autograd", torch.autograd.grad(surrogate, aim)[0].numpy().round(8))
print("by (3.4)   ", score_function(x).numpy().round(8))
library = gradients.score_surrogate(law(aim).log_prob(x)[None], points(x)[None])
assert torch.allclose(torch.autograd.grad(library, aim)[0], score_function(x))

# %%
widgets.predict(
    "In one training run the value of the loss -L falls, in another it rises. Which of the two is learning?",
    [
        "The one that falls: that is what a loss is for",
        "The one that rises: here the sign is the other way round",
        "One cannot tell from the value",
    ],
)

# %% [markdown]
# First, the same twenty darts and two rulers. In centimetres instead of metres every density is smaller by a factor of
# $100^2$, so each $\log p$ drops by $2 \log 100$. Darts, points and aim are what they were.

# %%
for unit, shift in (("metres", 0.0), ("centimetres", -2 * math.log(100))):
    loss = -(points(x) * (law(aim).log_prob(x) + shift)).mean()
    slope = torch.autograd.grad(loss, aim)[0].numpy().round(4)
    print(f"{unit:12s} loss {loss:6.3f}   its gradient {slope}")

# %% [markdown]
# The value depends on the ruler; the gradient does not. Now a whole training run. Sixteen learners throw twenty darts,
# step along the gradient, throw again. Watch the points grow while it runs (an environment step is a throw here; the
# band is a 95 % interval of the mean, a thin line one learner), then look at the loss beside them.


# %%
def update(loss, parameters, noise):
    """Throw once, take one step down loss(parameters, x) [replica]."""
    parameters = parameters.detach().requires_grad_()
    x = law(parameters[..., :2]).sample(noise)  # [replica, 20, 2]
    losses = loss(parameters, x)
    slope = torch.autograd.grad(losses.sum(), parameters)[0]
    metrics = {"points": points(x).mean(1), "loss": losses.detach()}
    return parameters.detach() - 0.02 * slope, metrics


# %%
def train(loss, start, iterations, progress=None):
    """Where sixteen learners go from start; parameters 0 and 1 are the aim."""
    rng = Rng(range(16))
    parameters, path = start.repeat(16, 1, 1), []  # [replica, 1, parameter]
    history = History(rng.seeds)
    for _ in history.iterate(iterations, progress):
        path.append(parameters[:, 0])
        parameters, metrics = update(loss, parameters, rng.normal(20, 2))
        history.append(metrics, steps=torch.full((16,), 20))
    return torch.stack(path), history


# %%
def surrogate_loss(parameters, x):
    return -(points(x) * law(parameters[..., :2]).log_prob(x)).mean(1)


start = torch.tensor([-1.2, -1.0], dtype=torch.float64)
path, history = train(surrogate_loss, start, 120, progress=plots.live("points"))

# %%
picture, axes = plots.figure(8.4, 4, columns=2)
plots.learning_curve(history, "points", axes[0], thin=False)
plots.learning_curve(history, "loss", axes[1], color="other", thin=False)
for ax, name in zip(axes, ("points per throw", "loss"), strict=True):
    ax.set(xlabel="throws", ylabel=name)
plots.show(
    picture,
    "The learners improve, and their loss goes up. Its gradient is worth everything, its value nothing.",
)

# %% [markdown]
# Here the loss rises *because* they improve: on average $-\log p$ is positive, and richer darts give it more weight. So do
# not plot this loss to see progress, and do not compare two runs by it. Plot the average of $f$. And see the aims go:

# %%
draw = partial(figures.aims, points=points, spread=SPREAD, step=30)
widgets.movable(
    partial(draw, path=path, average=history.metrics["points"]),
    size=(8.4, 5.2),
    columns=2,
    step=(0, len(path) - 1),
    caption="Sixteen aims walk to the middle by their own throws alone. "
    "No dart is ever moved: what moves is where the next ones land.",
)

# %% [markdown]
# ## 11. You knew this all along
#
# Classification maximises $\frac1N\sum_i \log p_\theta(y_i \mid s_i)$, where a teacher gave the right label $y_i$ for each
# input $s_i$. Set it beside the surrogate: the same line, with weight one. Without a teacher you sample a label
# yourself, and weight it by how it went. Four classes of points in the plane, a linear softmax, and two lines of
# difference:


# %%
def lessons(rng, updates):
    """Inputs [replica, update, 32, 2] near four corners, and which corner it was."""
    answer = (4 * rng.uniform(updates, 32)).long()
    angle = answer * math.pi / 2
    corner = torch.stack([angle.cos(), angle.sin()], -1)
    return corner + 0.15 * rng.normal(updates, 32, 2), answer


# %%
def given(pi, answer, luck):
    """The loss of classification, [replica]."""
    return -pi.log_prob(answer).mean(1)


def guessed(pi, answer, luck):
    """Sample a label; weight 1 if it is right, else 0."""
    label = pi.sample(luck)
    weight = (label == answer).float()
    return -(weight * pi.log_prob(label)).mean(1)


# %%
def classify(loss, updates):
    """Share of inputs that 16 learners classify rightly, [replica, update]."""
    rng, share = Rng(range(16)), []
    policy = policies.Categorical(rng, observation_size=2, actions=4, hidden=())
    optimizer = nn.SGD(policy, step_size=0.05)
    inputs, answers = lessons(rng, updates)
    for k, luck in enumerate(rng.uniform(updates, 32).unbind(1)):
        pi, answer = policy(inputs[:, k]), answers[:, k]
        optimizer.step(loss(pi, answer, luck))
        share.append((pi.mode == answer).float().mean(1))  # mode: the likeliest label
    return torch.stack(share, 1)


# %%
widgets.predict(
    "Both learners see the same inputs. How do they start?",
    [
        "Equally fast: in expectation their gradients are the same",
        "The guesser about four times slower: one guess in four is right",
        "The guesser does not learn: it has no labels",
    ],
)

# %%
updates = budget.choose(160, 60)
shares = [classify(loss, updates) for loss in (given, guessed)]
quick, slow = [int((share.mean(0) > 0.8).nonzero()[0, 0]) for share in shares]
print(f"80 % right: labels given after {quick} updates, guessed after {slow}")
print(f"{slow} / {quick} = {slow / quick:.1f}")

# %%
picture, ax = plots.figure(8, 4.2)
plots.band(ax, range(updates), shares[0], label="given", color="other", thin=False)
plots.band(ax, range(updates), shares[1], label="guessed, judged", thin=False)
ax.set(xlabel="updates", ylabel="share classified rightly", ylim=(0, 1.02))
plots.show(picture, "The same line learns both ways. Guessing takes its time.")

# %% [markdown]
# By (3.3) the guesser's expected gradient for one input is
#
# $$\sum_{y'} p(y')\, \mathbf 1[y' = y]\, \nabla\log p(y') = p(y)\, \nabla \log p(y) :$$
#
# the teacher's gradient, times the chance of guessing right: about $1/4$ for a beginner with four labels, hence about four
# times as many updates. So reinforcement learning is *supervised learning on labels I sampled, weighted by how it went.* (A
# weight below zero says: anything but this.) Our machine can check the line. Let its last outcome be the right label:

# %%
guess_right = (outcome == 3).double()  # [replica, play]
guesser = (guess_right[..., None] * score[outcome]).mean(1)
compare("guesser's gradient", guesser, p[3] * score[3])

# %% [markdown]
# ## 12. What goes wrong
#
# Three mistakes that raise no error. Each runs, each returns numbers of the right shape, and each has a cheap check.
#
# **a) Darts from another aim.** The throws were made yesterday, aiming somewhere else, and are used again today.

# %%
yesterday = torch.tensor([-0.6, -0.2], dtype=torch.float64)
x = law(yesterday).sample(noise)
compare("gradient, yesterday's darts", score_function(x), gradient)
compare("their mean score", ((x - theta) / SPREAD**2).mean(1), zero)

# %% [markdown]
# The estimate is far off, with a tiny interval around the wrong number: more data will not help. The expectation in (3.3)
# is under $p_\theta$ and nothing else. **The check** is in the last two rows: under its own samples the score has mean
# zero, and here it has not. The cure is to throw again, or to weight each dart by
# $p_\theta(x) / p_\text{yesterday}(x)$, with which lecture 10 begins.
#
# **b) A gradient that leaks through the weight.** Somebody wants a good $b$, makes it a third parameter, and hands it to
# the same optimizer. Now the weight $f - b$ depends on a parameter, and `.detach()` is missing.


# %%
def leaking_loss(parameters, x):
    weight = points(x) - parameters[..., 2]  # .detach() is missing
    return -(weight * law(parameters[..., :2]).log_prob(x)).mean(1)


steps = budget.choose(600, 200)
_, honest = train(surrogate_loss, start, steps)
leak, leaking = train(leaking_loss, torch.cat([start, torch.zeros(1)]), steps)
print(f"b has gone from 0 to {leak[-1, :, 2].mean():.1f}")

# %%
picture, axes = plots.figure(8.4, 4, columns=2)
for ax, metric in zip(axes, ("loss", "points"), strict=True):
    for run, name, paint in (
        (honest, "honest", "score_function"),
        (leaking, "leaking", "biased"),
    ):
        plots.learning_curve(run, metric, ax, label=name, color=paint, thin=False)
    ax.set_xlabel("throws")
plots.show(picture, "The leaking loss falls like a triumph. The points get worse.")

# %% [markdown]
# Raising $b$ lowers the loss whatever the darts do: what drives $b$ is the mean of $-\log p$, not the points. The aim's own
# gradient stays unbiased, so for a while all goes well; but $b$ runs away from every payment the board makes, and the
# estimate drowns in noise (turn 8, far right). **The check:** `weight.requires_grad` is `False`.
#
# **c) The wrong axis.** A network returns log-probabilities as `[N, 1]`; the points are `[N]`. The product is no error.

# %%
x = law(theta).sample(noise[0, :20])
log_probability = law(theta).log_prob(x)[:, None]
print(tuple(points(x).shape), "times", tuple(log_probability.shape), end=" is ")
print(tuple((points(x) * log_probability).shape))

# %%
x = law(theta).sample(noise).reshape(16, -1, 20, 2)  # groups of twenty darts
mean_score = ((x - theta) / SPREAD**2).mean(2)  # [replica, group, 2]
wrong = points(x).mean(2)[..., None] * mean_score  # gradient of a mean over [N, N]
compare("gradient, [N, N]", wrong.mean(1), gradient)
compare("20 times that", 20 * wrong.mean(1), gradient)

# %% [markdown]
# The mean over `[N, N]` weights every dart by everybody's points: average points times average score. Of the $N^2$ products
# only the $N$ on the diagonal belong together; the others have mean zero, by (3.5). What is left is the right gradient,
# $N$ times too small, under noise that did not shrink with it. **The check:** `assert weight.shape == log_probability.shape`.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_03)

# %% [markdown]
# ## In four lines
#
# 1. $\nabla_\theta\, \mathbb{E}[f(x)] = \mathbb{E}[f(x)\, \nabla_\theta \log p_\theta(x)]$: the gradient moves from $f$, which
#    we do not know, to $p_\theta$, which we do.
# 2. The average over samples is unbiased for any $N$. Its error falls as $1/\sqrt N$ and grows with the number of
#    parameters.
# 3. The score has mean zero, so $f - b$ has the same gradient and can have far less noise.
# 4. The surrogate $\frac1N\sum_i f(x_i) \log p_\theta(x_i)$ has the right gradient and a value that means nothing.
#
# **Now you:** [exercise 03](../exercises/03_log_derivative_trick.ipynb) asks for two scores, the estimator, the surrogate,
# and a measurement of how good it is. **Next:** in [lecture 04](04_reinforce.ipynb) $x$ becomes a whole episode, and the
# probabilities of the world, which nobody knows, drop out by themselves.

# %% [markdown]
# ## Sources
#
# - The derivation, and the reading of reinforcement learning as supervised learning on sampled labels: the slides
#   `003_0746104038de6fc3.txt` ($U$ for our $J$). The picture of samples that push a density, and $f - b$: the notes
#   `004_c4625da9e5213f66.txt` ($r$ for our $f$).
# - P. W. Glynn (1990), "Likelihood ratio gradient estimation for stochastic systems", *Communications of the ACM* 33(10),
#   75-84.
# - R. J. Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
#   *Machine Learning* 8, 229-256. The name REINFORCE, and (3.4) with a baseline.
# - S. Mohamed, M. Rosca, M. Figurnov and A. Mnih (2020), "Monte Carlo gradient estimation in machine learning", *Journal
#   of Machine Learning Research* 21(132), 1-62. This estimator among its relatives, and when (3.1) is allowed.
