# %% [markdown]
# # 05 Which action caused the reward, compared with what?
#
# In lecture 04 (turn 5) the noise of an estimate was ten times as long as the gradient. Most of it comes from
# blaming the wrong actions and from cheering at the wrong payments: an action is praised for what was earned before
# it, and for what would have come anyway. Both can be mended without moving the mean by a hair. Two other repairs look
# as good, and ruin everything.
#
# **After it you can**
# - say which rewards an action may be praised for, and what may be subtracted from them;
# - choose a baseline, fit it, and measure what it buys;
# - recognise the two baselines that bias the gradient while they lower the noise.
#
# **You need** lecture 04, and (3.5): the score has mean zero. **Time:** 60 minutes at the keyboard, 30 as a talk.

# %%
import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from IPython.display import Code
from torch.nn.functional import one_hot
from torch.testing import assert_close

from pgcourse import budget, distributions, envs, exact, figures, figures_05, gradients, nn, plots, quizzes, returns, widgets
from pgcourse.algorithms import vanilla
from pgcourse.envs.tabular import Tabular
from pgcourse.figures_05 import Table
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
double = torch.float64

# %% [markdown]
# ## The peddler
#
# Each day a peddler is in a village, a town or a city, and waits for customers or cries her wares. The place itself
# pays 0, 5 or 10, whatever she does. Crying earns 1 more in the village, nothing in the town, and costs 1 in the city;
# and crying gets her invited to a larger place more often (probability 0.3 up, 0.1 down; if she waits, the other way round).
# So most of what she earns she owes to where she is. There is no discount until turn 7.


# %%
def peddler(days=8, luck=5.0):
    """States: village, town, city. Actions: 0 waits, 1 cries. ``luck``: what a larger place pays more."""
    moves, here = torch.zeros(3, 2, 3), torch.arange(3)
    for action, up in ((0, 0.1), (1, 0.3)):
        moves[here, action, here] += 0.6
        moves[here, action, (here + 1).clamp(max=2)] += up
        moves[here, action, (here - 1).clamp(min=0)] += 0.4 - up
    pays = luck * here[:, None] + torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, -1.0]])
    return Tabular(moves, pays, torch.full((3,), 1 / 3), here < 0, time_limit=days)


theta = torch.tensor([[0.5, -0.5], [0.0, 0.0], [0.3, -0.3]], dtype=double)  # her policy's logits, [S, A]

# %% [markdown]
# ## The whole lecture in one picture
#
# Five weights for the same eight episodes. Left their noise; right the estimates, seen along the exact gradient.

# %%
caption = "Forget the past, and compare with what was to be expected: the same centre, a fraction of the noise."
widgets.movable(partial(figures_05.ladder, world=peddler, theta=theta), **figures_05.LADDER, caption=caption)

# %% [markdown]
# Three things to try. Slide *luck* to 0: where places pay alike, less is left to subtract. Slide *days* down to
# 2: in so short a time hardly anything she does pays off, and all but the last weight drown. And go through *subtract*
# from top to bottom: green gets narrower around the black line and never moves away from it.

# %% [markdown]
# ## 1. Which reward teaches which action?

# %%
widgets.predict(
    "On day 5 she earns 10. What does this reward tell, on average, about her action on day 2, and about that on day 7?",
    [
        "Something about both: they belong to one episode",
        "Something about day 2, nothing about day 7",
        "Nothing about either: only about the action of day 5",
    ],
)

# %% [markdown]
# First the scores. `Table` is lecture 04's policy; for it the score is the closed form of lecture 03, in the row of
# the state.

# %%
world = peddler()
replicas, each = budget.choose(4000, 1000), 8
walks = episodes(world, Table(theta.expand(replicas, -1, -1)), Rng(range(replicas), dtype=double), environments=each)
seen, pi = walks.observation, theta.softmax(-1)  # one-hot [R, T, E, S]; [S, A]
surprise = one_hot(walks.action, 2) - seen @ pi  # what she did, minus what was expected, [R, T, E, A]
score = (seen[..., None] * surprise[..., None, :]).flatten(-2)  # grad log pi(a_t | s_t), [R, T, E, P]
truth = exact.policy_gradient(world, Table(theta[None]))[0]  # [P], P = 6
print(f"{replicas} x {each} episodes of {seen.shape[1]} days; length of the gradient {truth.norm():.2f}")

# %% [markdown]
# The return is a sum of rewards, so the estimator (4.4) is a sum over pairs: reward of day $k$ times score of day $t$.
# We look at each pair by itself.

# %%
signal = torch.einsum("rke,rtep->tkp", walks.reward, score) / (replicas * each)  # mean of each pair
square = torch.einsum("rke,rtep->tkp", walks.reward**2, score**2) / (replicas * each)
noise = (square - signal**2).sum(-1).sqrt()
picture, axes = plots.figure(8.5, 4.4, columns=2)
figures_05.credit(axes, signal.norm(dim=-1), noise)
plots.show(picture, "Left of the diagonal, where the reward came before the action: no signal, and as much noise as elsewhere.")

# %% [markdown]
# Something about day 2, nothing about day 7. Take $k < t$, and hold fixed all that happened until $s_t$, that is
# $h_t = (s_0, a_0, r_0, \dots, s_t)$. Then $r_k$ is a known number, only $a_t$ is still to be drawn, and by (3.5) its
# score has mean zero:
#
# $$\mathbb E\big[r_k \nabla_\theta \log \pi_\theta(a_t|s_t)\big]
# = \mathbb E\Big[r_k\, \mathbb E\big[\nabla_\theta \log \pi_\theta(a_t|s_t) \,\big|\, h_t\big]\Big]
# = 0 \qquad (k < t) \tag{5.1}$$
#
# No action can change the past, and no score knows of it.

# %%
past = torch.ones(8, 8).tril(-1).bool()  # [t, k] with k < t
error = (noise / (replicas * each) ** 0.5)[past]
ratio = signal.norm(dim=-1)[past] / error
print(f"{past.sum()} pairs with k < t: length of the mean over its standard error, on average {ratio.mean():.2f}")
print(f"signal of the others, on average {signal.norm(dim=-1)[~past].mean():.3f}")

# %% [markdown]
# (Where the truth is zero that ratio is about 1: noise has a length too.)

# %% [markdown]
# ## 2. Reward-to-go
#
# So the past may go. Of the return $\sum_k \gamma^k r_k$ step $t$ keeps the part from $t$ on, which is $\gamma^t G_t$:
#
# $$\nabla_\theta J = \mathbb E\Big[\sum_{t=0}^{T-1} \gamma^t G_t\, \nabla_\theta \log \pi_\theta(a_t|s_t)\Big],
# \qquad G_t = \sum_{k=t}^{T-1} \gamma^{k-t} r_k \tag{5.2}$$
#
# This is what lecture 04 saw in its turn 6 and did not prove.

# %%
widgets.predict(
    "Nearly half of all pairs (reward, action) are gone. What is left of the variance of the estimate?",
    ["About half", "Clearly less than half", "Nearly all: the later rewards make the noise"],
)


# %%
def estimate(weight):
    """(4.4) with these weights [R, T, E]: one estimate per replica, [R, P]."""
    return (weight[..., None] * score).sum(1).mean(1)


def report(name, estimates):
    """Mean squared error with its 95 % interval, and the largest of the six z."""
    square, z = (estimates - truth).square().sum(1), gradients.bias_and_variance(estimates, truth).z.abs().max()
    print(f"{name:25s} squared error {square.mean():7.1f} ± {1.96 * square.std() / replicas**0.5:4.1f}   largest |z| {z:5.2f}")


G = returns.to_go(walks.reward, 1.0)  # [R, T, E]
whole = G[:, :1].expand_as(G)  # R(tau) at every step
report("whole return", estimate(whole))
report("reward-to-go", estimate(G))

# %% [markdown]
# Less than half. Errors of one episode add up before they are squared: the payments before $t$ and those after it
# come from places near one another, so they err together.

# %% [markdown]
# ## 3. What may be subtracted?
#
# Look at (5.1) again. Of $r_k$ the proof used one thing: it was fixed *before $a_t$ was drawn*. So for any number
# $b_t$ that is,
#
# $$\begin{aligned} \mathbb E\big[b_t \nabla_\theta \log \pi_\theta(a_t|s_t)\big]
# &= \mathbb E\Big[b_t \sum_a \pi_\theta(a|s_t) \frac{\nabla_\theta \pi_\theta(a|s_t)}{\pi_\theta(a|s_t)}\Big] \\
# &= \mathbb E\Big[b_t \nabla_\theta \sum_a \pi_\theta(a|s_t)\Big] = 0 \end{aligned} \tag{5.3}$$
#
# and so for any such **baseline**
#
# $$\nabla_\theta J = \mathbb E\Big[\sum_t \gamma^t (G_t - b_t)\, \nabla_\theta \log \pi_\theta(a_t|s_t)\Big]. \tag{5.4}$$

# %%
widgets.predict(
    "Which of these may b be without moving the mean: a constant, a function of the day t, of the state s_t, of the action a_t?",
    [
        "Only a constant",
        "A constant or a function of the day",
        "A constant, or a function of day and state",
        "Any of them",
    ],
)

# %%
value = exact.state_value(world, pi)  # V(s, t), [T, S]
visits = exact.visitation(world, pi)  # P(s_t = s), [T, S]
day, here = torch.arange(8)[:, None], seen.argmax(-1)  # [T, 1], [R, T, E]
by_day = (visits * value).sum(-1)  # E[G_t], [T]
candidates = {
    "a constant": by_day.mean().expand_as(G),
    "of the day": by_day[:, None].expand_as(G),
    "of day and state": value[day, here],
    "of the action too": exact.action_value(world, pi)[day, here, walks.action],
}
for name, b in candidates.items():
    added = gradients.bias_and_variance(estimate(b), torch.zeros(6, dtype=double))
    print(f"{name:18s} length of the mean {added.bias.norm():5.2f}   largest |z| {added.z.abs().max():6.2f}")

# %% [markdown]
# The first three add noise of mean zero. The fourth was not fixed before $a_t$ was drawn: it *is* about $a_t$, and what it
# adds has the length of the gradient itself. Turn 9 comes back to it.

# %% [markdown]
# ## 4. The ladder
#
# If nothing is gained on average, why subtract? Because $G_t - b_t$ can be small where $G_t$ is large. For her a week
# that begins in the city pays well in any case. The state's value $V(s, t) = \mathbb E[G_t \mid s_t = s]$, what is to be
# expected from here on, is the natural thing to compare with: **better or worse than usual, in this place?** All on the
# same batches:

# %%
weights = {"whole return": whole, "reward-to-go": G}
weights |= {f"minus b, {name}": G - b for name, b in candidates.items() if "action" not in name}
found = {name: estimate(weight) for name, weight in weights.items()}
for name, estimates in found.items():
    report(name, estimates)

# %%
from_whole = (found["whole return"] - truth).square().sum(1).mean()
best = (found["minus b, of day and state"] - truth).square().sum(1).mean()
print(f"the whole return needs {from_whole / best:.0f} times the episodes for the same error")

# %% [markdown]
# An average over $N$ times the episodes has $1/N$ of the variance, so this ratio is a ratio of costs. The same
# learning from a fraction of the episodes, for one subtraction.

# %% [markdown]
# ## 5. The best constant
#
# Is the mean the best constant? Write the estimate of an episode as $X - b\,Y$, with $X = \sum_t \gamma^t G_t \nabla_\theta \log
# \pi_\theta(a_t|s_t)$ and $Y$ the same without $G_t$. The mean does not depend on $b$, so the variance is least where
# $\mathbb E\|X - bY\|^2$ is: a parabola in $b$, with derivative $-2\,\mathbb E[X \cdot Y] + 2b\,\mathbb E[Y \cdot Y]$.
#
# $$b^* = \frac{\mathbb E[X \cdot Y]}{\mathbb E[Y \cdot Y]} \tag{5.5}$$
#
# It is a mean of returns too, but one in which episodes with long scores count more: the surprising ones. In the library
# it is `returns.optimal_baseline`. And since $\|X - bY\|^2$ is a least-squares problem, the best $b$ for *each day and state*
# is one too, with a column of $Y$ for each. We estimate both on other episodes than those they are used on.

# %%
others = episodes(world, Table(theta[None]), Rng(10**6, dtype=double), environments=budget.choose(20_000, 8000))
their_G, their_score = returns.to_go(others.reward, 1.0), figures_05.scores(others, theta)
X, Y = (their_G[..., None] * their_score).sum(1), their_score.sum(1)  # [1, E, P]
best_b = float((X * Y).sum() / (Y * Y).sum())  # (5.5)
by_library = returns.optimal_baseline(their_G, their_score)
assert_close(by_library[0, 0, 0].item(), best_b)

# %%
b = torch.linspace(0, 40, 21, dtype=double)
G_part, ones_part = estimate(G), estimate(torch.ones_like(G))
variance = torch.stack([(G_part - each * ones_part).reshape(20, -1, 6).var(1).sum(-1) for each in b], 1)  # in 20 groups

# %%
picture, ax = plots.figure(8, 4.2)
figures_05.parabola(ax, b, variance, {"mean return": (float(by_day.mean()), "baseline"), "best constant": (best_b, "exact")})
plots.show(picture, "A parabola whose bottom is flat: near the mean return is near enough.")

# %% [markdown]
# The two lines are close, and the valley is flat. Now the whole ladder, with the best constant and the best of all
# functions of day and state:


# %%
def cells(state):
    """One-hot rows of day and state, [R, T, E, 8 * 3]."""
    return torch.einsum("td,rtes->rteds", torch.eye(8, dtype=double), state).flatten(-2)


columns = torch.einsum("rtep,rtef->repf", their_score, cells(others.observation))  # Y by day and state
best_table = torch.linalg.lstsq(columns.flatten(0, 2), X.flatten()[:, None]).solution.reshape(8, 3)
ladder = {
    "whole return": whole,
    "reward-to-go": G,
    "b constant, the mean": G - candidates["a constant"],
    "b constant, the best": G - best_b,
    "b(t), the mean": G - candidates["of the day"],
    "b(s, t), the value V": G - candidates["of day and state"],
    "b(s, t), the best": G - best_table[day, here],
}
picture, ax = plots.figure(8.5, 4.8)
figures_05.bars(ax, {name: (estimate(weight) - truth).square().sum(1) for name, weight in ladder.items()})
plots.show(picture, "Each step knows more of what would have come anyway. (Same batches; 95 % intervals.)")

# %% [markdown]
# Here mean return and value are within one percent of the best. They can be far off. Two arms:

# %%
widgets.predict(
    "Arm 1 is pulled nine times in ten and pays 0; arm 2 pays 1. The mean payment is 0.1. What is the best baseline?",
    ["0.1, the mean", "0.5, the middle", "0.9"],
)

# %%
chances, pay = torch.tensor([0.9, 0.1], dtype=double), torch.tensor([0.0, 1.0], dtype=double)
arm_score = torch.eye(2, dtype=double) - chances  # row a: the score of arm a
for b in (0.0, 0.1, 0.5, 0.9):
    pulls = (pay - b)[:, None] * arm_score
    spread = chances @ (pulls - chances @ pulls).square().sum(1)
    print(f"b = {b:.1f}: mean pull {(chances @ pulls).numpy().round(3)}   variance {spread:.4f}")

# %% [markdown]
# At 0.9 there is *no* noise: the pull is the same whichever arm comes up. By (5.5) payments are weighted with the squared
# length of the score, and arm 2, the rare one, has by far the longer one. Nobody computes this in practice: it takes
# scores where a mean takes returns. But it says that $V$ is a good baseline, not the best.

# %% [markdown]
# ## 6. Rare actions are pushed harder
#
# $$\nabla_\theta \log \pi_\theta(a|s) = \frac{\nabla_\theta \pi_\theta(a|s)}{\pi_\theta(a|s)} \tag{5.6}$$
#
# The update is proportional to the return, along the gradient of the probability of what was done, *divided by that
# probability*. Frequent actions come up more often; the division makes up for it. Only on average, though:

# %%
widgets.predict(
    "Two arms that both pay 1, 64 learners that begin undecided, one pull for each update, no baseline. After 200 updates:",
    [
        "All are still undecided: the gradient is zero",
        "They are spread a little around one half",
        "Most are all but certain of one arm",
    ],
)


# %%
def equal_arms(b, learners=64, updates=200):
    """Probability of arm 1 after each update, [learner, update]; both arms pay 1, step size 1/2."""
    logits, path = torch.zeros(learners, 2), []
    for uniform in Rng(range(learners)).uniform(updates).unbind(1):
        law = distributions.Categorical(logits)
        logits = logits + 0.5 * (1 - b) * (one_hot(law.sample(uniform), 2) - law.probabilities)
        path.append(logits.softmax(-1)[:, 0])
    return torch.stack(path, 1)


# %%
for b in (0.0, 1.0):
    last = equal_arms(b)[:, -1]
    print(f"b = {b:.0f}: {((last < 0.1) | (last > 0.9)).double().mean():.0%} of the learners are certain (beyond 0.9)")

# %% [markdown]
# Whatever is tried is pushed up, so it is tried again. The exact gradient is zero everywhere, and noise alone makes up
# their minds: nobody comes back from certainty. With $b = 1$ nothing ever moves. A baseline does more than save
# episodes: it keeps a learner from believing in its own luck.

# %% [markdown]
# ## 7. The discount we forget
#
# Now $\gamma$. In (5.2) it stands twice: inside $G_t$, and as $\gamma^t$ in front. Nearly every program drops the second one.
# The result, $\sum_t G_t \nabla_\theta \log \pi_\theta(a_t|s_t)$, is not the gradient of the discounted $J$: late days count in
# full. Nor is it that of the undiscounted one, since $G_t$ still forgets what comes much later. Read it as an estimate of the
# *undiscounted* gradient, with a bias, and ask what the bias buys. Forty days now:

# %%
widgets.predict(
    "J counts all forty days alike. We weigh with G_t discounted by γ. Which γ has the smallest squared error, for 8 episodes?",
    ["γ = 1, the only one without a bias", "Some γ between 0.4 and 0.9", "γ = 0: an action earns its own day's reward"],
)

# %%
long, runs = peddler(40), budget.choose(500, 120)
months = episodes(long, Table(theta.expand(runs, -1, -1)), Rng(range(runs), dtype=double), environments=8)
long_score, long_truth = figures_05.scores(months, theta), exact.policy_gradient(long, Table(theta[None]))[0]
gammas = torch.tensor([0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0], dtype=double)


def expected(gamma):
    """The mean of sum_t G_t score_t, exactly: sum over t and s of P(s_t = s) pi(a | s) A(s, a, t), with G's discount."""
    return (exact.visitation(long, pi)[..., None] * pi * exact.advantage(long, pi, float(gamma))).sum(0).flatten()


# %%
bias, variances = [], []
for gamma in gammas:
    g = (returns.to_go(months.reward, float(gamma))[..., None] * long_score).sum(1).mean(1)
    assert (gradients.bias_and_variance(g, expected(gamma)).z.abs() < 5).all()
    bias.append((expected(gamma) - long_truth).square().sum())
    variances.append((g - expected(gamma)).square().sum(1))
picture, ax = plots.figure(8, 4.4)
nothing = float(long_truth.square().sum())  # the error of an estimate that is always 0
figures_05.discounts(ax, gammas, torch.stack(bias), torch.stack(variances, 1), nothing)
plots.show(picture, "A discount below 1 buys less variance with some bias. The best one lies in between.")

# %% [markdown]
# The variance falls faster than the bias grows. What an action does here has worn off after some days; rewards beyond that
# are noise, and a smaller $\gamma$ leaves them out. Seen so, $\gamma$ in the weights is one more way to reduce variance, the
# first on our list that costs a bias. With more episodes the best $\gamma$ moves toward 1, because the variance shrinks and the
# bias does not. (Dotted: whoever always answers 0 errs by the whole gradient. Eight episodes without a baseline are hardly
# worth more than that, at any $\gamma$.)

# %% [markdown]
# ## 8. Where do we get V from?
#
# Nobody hands us the table `value`. We estimate it from episodes by **regression**: a function $V_\phi(s)$ with parameters
# $\phi$ that comes near some targets. The first kind of target are returns (**Monte Carlo**):
#
# $$\phi_{i+1} = \arg\min_\phi \sum_{t,e} \big(V_\phi(s_t^e) - G_t^e\big)^2 \tag{5.7}$$
#
# The second kind is the reward plus the old estimate of what follows (**temporal difference**, TD), and a leash on $\phi$:
#
# $$\phi_{i+1} = \arg\min_\phi \sum_{t,e} \big(r_t^e + \gamma V_{\phi_i}(s_{t+1}^e) - V_\phi(s_t^e)\big)^2
# + \lambda \|\phi - \phi_i\|^2 \tag{5.8}$$
#
# The target contains a guess, $V_{\phi_i}$. That is called *bootstrapping*. In (5.8) the guess is held fixed while $\phi$ moves;
# then one goes on with $i + 1$: **fitted TD iteration**. (This $\lambda$ weighs the leash; the trace decay of lecture 07 is
# another.) With a table, one entry for each day and state, the minimum is a small linear system, `returns.fit_linear`.

# %%
widgets.predict(
    "Eight episodes. Which of the two comes nearer to the true V?",
    ["Monte Carlo: its targets are real returns, no guesses", "TD", "They are the same: same data, same table"],
)


# %%
def next_value(batch, phi):
    """V of the day after, [R, T, E]; after the last day nothing comes."""
    ahead = torch.einsum("rtes,rts->rte", batch.next_observation[:, :-1], phi.unflatten(-1, (8, 3))[:, 1:])
    return torch.nn.functional.pad(ahead, (0, 0, 0, 1))


def td(batch, rounds, leash=1e-3):
    """(5.8), so many times; every phi on the way, [rounds, R, F]."""
    path = [torch.zeros(len(batch.reward), 24, dtype=double)]
    for _ in range(rounds):
        target = batch.reward + next_value(batch, path[-1])
        path.append(returns.fit_linear(cells(batch.observation), target, ridge=leash, center=path[-1]))
    return torch.stack(path)


# %%
def off(phi):
    """Root mean squared error of a table, over days and states as often as they are visited, [..., R]."""
    return ((phi - value.flatten()).square() @ visits.flatten() / 8).sqrt()


sizes, curves = (2, 4, 8, 16, 32), {"Monte Carlo, (5.7)": [], "fitted TD, (5.8)": []}
learners = budget.choose(200, 60)
for size in sizes:
    batch = episodes(world, Table(theta.expand(learners, -1, -1)), Rng(range(learners), dtype=double), environments=size)
    phi = returns.fit_linear(cells(batch.observation), returns.to_go(batch.reward, 1.0), ridge=1e-3)
    curves["Monte Carlo, (5.7)"].append(off(phi))
    curves["fitted TD, (5.8)"].append(off(td(batch, 8)[-1]))

# %%
picture, axes = plots.figure(8.5, 4.6, columns=2)
paints = {"Monte Carlo, (5.7)": "score_function", "fitted TD, (5.8)": "other"}
figures_05.against_episodes(axes[0], sizes, curves, paints)
for leash, paint in ((1e-3, "other"), (3.0, "sample"), (30.0, "pathwise")):
    plots.band(axes[1], range(41), off(td(batch, 40, leash)).T, label=f"λ = {leash:g}", color=paint, thin=False)
axes[0].set(ylabel="error of V", title="After 8 rounds", ylim=(0, None))
axes[1].set(xlabel="rounds i", title=f"{sizes[-1]} episodes", ylim=(0, None))
plots.show(picture, "Bootstrapping shares what is known among episodes. A short leash is slow, and goes to the same place.")

# %% [markdown]
# TD, as soon as episodes meet. Two episodes that come to the city on day 3 share what came after it, from both; a Monte Carlo
# return knows its own future only. The price is patience: news travels one day back for each round, and with a leash less than
# that. The leash is for networks and small batches, where one batch should not tear $V$ away from what earlier ones taught.
# (And where $V_\phi$ cannot represent the truth, TD may settle somewhere else than least squares would: lecture 07.)

# %% [markdown]
# ## 9. Two baselines that lie
#
# **a) It sees the action.** In turn 3 we had $b = Q(s, a)$. What becomes of the estimate?

# %%
all_knowing = estimate(G - candidates["of the action too"])
report("minus Q(s, a, t)", all_knowing)
report("minus its own reward", estimate(G - walks.reward))
print(f"length of the mean of the first {all_knowing.mean(0).norm():.2f}, of the gradient {truth.norm():.2f}")

# %% [markdown]
# By its squared error the first would come right behind $V$, and it is *zero on average*: a baseline that knows what
# the action was worth leaves nothing to learn. The second has lost what the action earned on its own day. Little noise alone
# does not make an estimator. **The check:** the mean of many estimates beside the exact gradient.
#
# **b) It was fitted first.** Fit the table of turn 8 to the batch, *then* subtract it from the same returns.

# %%
widgets.predict(
    "Four episodes; the table is fitted to them by least squares and subtracted from the same four. What is left of the gradient?",
    ["All of it: the table sees no actions", "Four fifths", "Less than half"],
)


# %%
def left(batch, b):
    """The part of the gradient that is left, per replica: 1 is all."""
    g = ((returns.to_go(batch.reward, 1.0) - b)[..., None] * figures_05.scores(batch, theta)).sum(1).mean(1)
    return g @ truth / truth.square().sum()


names = ("fitted to this batch", "fitted to the batch before", "mean of this batch, b(t)", "leave-one-out")
share, explains = {name: [] for name in names}, {name: [] for name in names[:2]}
for size in (sizes := (4, 8, 16, 32, 64)):
    runs = budget.choose(24_000, 6000) // size
    batch = episodes(world, Table(theta.expand(runs, -1, -1)), Rng(range(runs), dtype=double), environments=size)
    G_t = returns.to_go(batch.reward, 1.0)
    phi = returns.fit_linear(cells(batch.observation), G_t, ridge=1e-3)
    # replicas share their policy, so a neighbour's batch serves as the batch before
    fitted, former = (torch.einsum("rtef,rf->rte", cells(batch.observation), p) for p in (phi, phi.roll(1, 0)))
    for name, b in zip(names, (fitted, former, returns.time_baseline(G_t), returns.leave_one_out_baseline(G_t)), strict=True):
        share[name].append(left(batch, b))
        if name in explains:
            explains[name].append(vanilla.explained(G_t, b, batch.valid))

# %%
picture, axes = plots.figure(8.5, 5, columns=2)
paints = dict(zip(names, ("biased", "baseline", "pathwise", "sample"), strict=True))
figures_05.against_episodes(axes[0], sizes, share, paints)
figures_05.against_episodes(axes[1], sizes, explains, paints)
axes[0].axhline(1, color=plots.COLORS["exact"], linewidth=1.5)
axes[0].set(ylabel="part of the gradient left", ylim=(0, 1.2))
axes[1].set(ylabel="variance explained", ylim=(0, 1.05))
plots.show(picture, "The red one explains the returns best and leaves the least to learn. (95 % intervals.)")

# %%
print("with 4 episodes:")
print(f"fitted to this batch: {share[names[0]][0].mean():.2f} of the gradient left", end=", ")
print(f"{explains[names[0]][0].mean():.0%} of the variance explained")
print(f"mean of this batch:   {share[names[2]][0].mean():.2f} of the gradient left, 1 - 1/E = {1 - 1 / 4:.2f}")

# %% [markdown]
# A table with 24 entries and $4 \times 8$ returns: many an entry has seen one return only and equals it. What the action
# brought about has gone into the baseline, by way of the return: this is a) in disguise. The mean at each time keeps
# $1 - 1/E$. Two ways out, and both have nothing to do with the returns they are subtracted from: the table from the batch
# *before*, or the mean over the *other* episodes,
#
# $$b_t^e = \frac{1}{E - 1} \sum_{i \ne e} G_t^i. \tag{5.9}$$
#
# (The sum runs over the other episodes that are still going on.) **The check:** fit *after* the weights are computed. And never
# trust the share of variance explained on the data that was fitted.

# %% [markdown]
# ## 10. The algorithm
#
# **Algorithm 5.1, vanilla policy gradient**
#
# 1. Play $E$ whole episodes with $\pi_\theta$.
# 2. $G_t$ by (5.2), and the **advantage estimate** $\hat A_t = G_t - b_\phi(s_t, t)$, with the baseline as it is.
# 3. $\theta \leftarrow \theta + \alpha\, \frac1E \sum_e \sum_t \hat A_t\, \nabla_\theta \log \pi_\theta(a_t|s_t)$.
# 4. Fit $\phi$ to this batch, by (5.7) or (5.8). Begin again with 1.
#
# Here is the body of `train` in `pgcourse/algorithms/vanilla.py`, and the loss:

# %%
loop = inspect.cleandoc(inspect.getsource(vanilla.train).split('"""')[2])  # what follows the docstring
Code(inspect.getsource(vanilla.loss) + "\n\n" + loop, language="python")

# %% [markdown]
# Step 4 stands last, for the reason of turn 9, and step 3 has lost its $\gamma^t$ (turn 7). Like REINFORCE's, the file divides by
# the number of steps, and steps with Adam; the mean-of-the-batch baselines carry their bias of order $1/E$. The default baseline is the **linear
# time-varying** one of Duan et al. (2016): least squares on the observation, its squares, and powers of the time,

# %%
Code(inspect.getsource(returns.linear_features), language="python")

# %% [markdown]
# Why time? An episode that can last 500 steps and is at step 490 has ten rewards to come, however well the pole stands. A
# baseline that is blind to time must average over that. (What the features see of the state is poor, but honest.)

# %% [markdown]
# ## 11. CartPole, with and without

# %%
widgets.predict(
    "Nothing subtracted, a constant, or the linear baseline: where do you expect the largest difference on CartPole?",
    [
        "In the first updates, when all poles fall early",
        "Late, when returns are large",
        "There is none: Adam rescales the step anyway",
    ],
)

# %%
env, seeds = envs.make("CartPole-v1"), budget.choose(16, 4)
config = vanilla.Config(iterations=budget.choose(30, 8))
runs = {}
for baseline in ("none", "constant", "linear"):
    show = plots.live(threshold=475, label=baseline, color="score_function" if baseline == "none" else "baseline")
    _, runs[baseline] = vanilla.train(env, replace(config, baseline=baseline), Rng(range(seeds)), progress=show)

# %%
picture, axes = plots.figure(8.5, 4, columns=3, sharey=True)
figures.side_by_side(axes, {name: run.metrics["return"] for name, run in runs.items()}, "return per episode")
plots.show(picture, "After 30 updates: with the linear baseline they stay up, with a constant or with none some stumble.")

# %%
for name, run in runs.items():
    last = run.window("return", 5)[:, -1]
    low, high = (float(end[0]) for end in plots.bootstrap_interval(last[:, None]))
    print(f"{name:9s} last five: {last.mean():3.0f} (95 % interval {low:3.0f} to {high:3.0f})", end="   ")
    print(f"explained in the end: {np.median(run.latest('explained')):.0%}")

# %% [markdown]
# At the beginning every reward-to-go is small, and nothing much can be subtracted. Late it is large and nearly the same for
# all: without a baseline every action is pushed up, all but alike, and what is left is noise (turn 6). The linear baseline
# then knows nearly all of it, most of it from the clock.

# %% [markdown]
# ## 12. Swing-up
#
# The same algorithm on a harder task, with a number for an action: the pole hangs, the cart must swing it up and not leave the
# track. A step pays $\cos$ of the pole's angle (1 upright, $-1$ hanging); leaving the track costs 100 and ends the
# episode, after 500 steps it is over anyway.

# %%
swing_up, learners = envs.make("cartpole-swing-up"), budget.choose(12, 2)
swing = vanilla.Config(iterations=budget.choose(50, 3), environments=budget.choose(12, 3))
swings = {}
for baseline in ("none", "linear"):
    show = plots.live(label=baseline, color="score_function" if baseline == "none" else "baseline")
    policy, swings[baseline] = vanilla.train(swing_up, replace(swing, baseline=baseline), Rng(range(learners)), progress=show)

# %%
for name, run in swings.items():
    first, last = run.metrics["return"][:, 0], run.window("return", 5)[:, -1]
    print(f"{name:7s} first update {first.mean():5.0f}   last five {last.mean():5.0f} ± {2 * last.std() / learners**0.5:.0f}")

# %% [markdown]
# Whoever hangs still and stays on the track for 500 steps gets $-500$; whoever drives off at once loses little more than 100. So
# driving off is the first thing that pays, and without a baseline most learners are still there after fifty updates. With it most
# have found something better, though no swing-up yet. Vanilla gradients are slow here for everybody: over a training of 25 million steps Duan et al. report an
# average return of 13 (of 500) for REINFORCE with the same baseline. Lectures 09 and 10 do better.

# %%
widgets.watch(policy, swing_up, steps=budget.choose(200, 40))

# %% [markdown]
# ## 13. What goes wrong, once more
#
# Two mistakes were turn 9: a baseline that sees the action, a baseline fitted first. The third is popular: **standardising
# along the wrong axis**, every episode by itself, over its own time.

# %%
own = (G - G.mean(1, keepdim=True)) / (G.std(1, keepdim=True) + 1e-8)
whole_batch = (G - G.mean((1, 2), keepdim=True)) / G.std((1, 2), keepdim=True)
for name, weight in {"over the whole batch": whole_batch, "each episode by itself": own}.items():
    mean = estimate(weight).mean(0)
    print(f"{name:24s} cosine with the gradient {mean @ truth / (mean.norm() * truth.norm()):.3f}")

# %% [markdown]
# Within an episode that went well throughout, half the steps are now "worse than usual". What made it better than
# *another* episode, being invited to larger places, has been subtracted away with its own mean. **The check:** after
# standardising, the mean of the weights is 0 over the whole batch, and *not* in each column.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_05)

# %% [markdown]
# ## In four lines
#
# - An action is weighed by what came after it, (5.2): the past has no signal, and as much noise as the rest.
# - Whatever is fixed before the action is drawn may be subtracted, (5.4): a constant, a function of time, of the state. The
#   value $V$ is the usual choice, (5.5) the best constant.
# - $V$ is fitted to returns or to its own next guess; a discount below 1 in the weights is variance reduction with a bias.
# - A baseline that knows the action, or the very return it is subtracted from, lowers the noise and the gradient with it.
#
# **Now you:** [exercise 05](../exercises/05_baselines.ipynb) asks for reward-to-go, three baselines, the optimal constant,
# leave-one-out, two ways to fit $V$, and the vanilla loss.
#
# **Next:** lecture 06 takes this to pictures, and lecture 07 lets $V$ do more than be subtracted: it replaces the rest of the
# return.

# %% [markdown]
# ## Sources
#
# - R. J. Williams (1992), Simple statistical gradient-following algorithms for connectionist reinforcement learning,
#   *Machine Learning* 8. REINFORCE with a baseline.
# - E. Greensmith, P. L. Bartlett, J. Baxter (2004), Variance reduction techniques for gradient estimates in reinforcement
#   learning, *JMLR* 5. The optimal baseline.
# - P. Thomas (2014), Bias in natural actor-critic algorithms, *ICML*. The $\gamma^t$ that is forgotten.
# - Y. Duan et al. (2016), Benchmarking deep reinforcement learning for continuous control, *ICML*. The linear baseline, the
#   swing-up and its numbers.
# - Source slides and notes: `002_20f9c9cab9178118.txt` (credit assignment, better REINFORCE, baselines, training the value
#   function), `003_0746104038de6fc3.txt` (temporal structure, baseline choices, estimating V by MC and TD, vanilla algorithm),
#   `004_c4625da9e5213f66.txt` (REINFORCE with a baseline).
