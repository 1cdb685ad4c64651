# %% [markdown]
# # 04 How do trajectories turn into a gradient for each action?
#
# A dart of lecture 03 was one throw and one score. Now a throw is a whole episode: many choices of yours, as many
# surprises from the world, and at the end a sum of rewards. Which of all that does the gradient reach, and how hard
# does it push each choice? When you know, you can train sixteen learners to balance a pole, from nothing but how long
# it stood.
#
# **After it you can**
# - write down the log-probability of an episode and say which of its terms have a gradient;
# - turn a batch of episodes into an estimate of the gradient of $J$, and prove it right where the truth is known;
# - train a policy over many seeds, and tell apart a collapse, a local optimum and a lucky seed.
#
# **You need** lecture 03: the score, (3.3), (3.4) and the surrogate. **Time:** 60 minutes at the keyboard, 30 as a
# talk.

# %%
import inspect
import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from IPython.display import Code
from torch.testing import assert_close

from pgcourse import budget, distributions, envs, exact, figures, gradients, nn, plots, quizzes, returns, widgets
from pgcourse.algorithms import reinforce
from pgcourse.envs.tabular import Tabular, gridworld, two_step
from pgcourse.rng import Noise, Rng
from pgcourse.rollout import episodes

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives

# %% [markdown]
# ## The mountain
#
# You stand at a hut and make two choices, each *rest* or *climb*. The first one decides where you are likely to end
# up (valley or ridge; the path is badly marked), the second one is made there. Resting pays 1 at the hut and in the
# valley; climbing pays 4 on the ridge; everything else pays nothing.
#
# A **state** $s_t$ is a place, an **action** $a_t$ a choice, $r_t$ the reward it earns, $t = 0, 1, \dots, T-1$; here
# $T = 2$. The whole walk is a **trajectory** $\tau = (s_0, a_0, r_0, s_1, \dots, s_T)$, and $R(\tau)$, what it pays, is
# its **return**. There are eight trajectories. (Some sources write $r_{t+1}$ for our $r_t$, $u$ for $a$, $U$ for $J$.)
# All of it (places, choices, where they lead, what they pay) is a **Markov decision process**, an MDP.

# %%
mdp = two_step()  # the mountain
for action, name in enumerate(figures.CHOICES):
    for place, chance in zip(figures.PLACES, mdp.transition[0, action], strict=True):
        if chance:
            print(f"{name} at the hut leads to the {place} with probability {chance}")

# %% [markdown]
# ## The whole lecture in one picture
#
# Eight walks, and a policy without preferences. A step of REINFORCE walks a few times and then moves probability
# toward what was walked, in proportion to what it paid. Take more *updates*, with more or fewer *episodes* in each.

# %%
widgets.movable(
    partial(figures.ascent, mdp=mdp),
    updates=(0, 40),
    episodes=[1, 2, 4, 8, 16, 64, 256],
    step_size=(0.1, 2.0, 0.1),
    seed="walk again",
    size=(8.5, 5.6),
    columns=2,
    caption="Learning moves probability from path to path. No path and no payment ever changes.",
)

# %% [markdown]
# Three things to try. With 256 episodes, slide *updates* from 0 to 40: every seed tells the same story. With one
# episode and a step size of 2, press *walk again* a few times: some learners never find the summit. And look for a
# path that pays 5. How likely can you make it? Turn 1 comes back to it.

# %% [markdown]
# ## 1. How likely is a path?

# %%
widgets.predict(
    "Rest at the hut, find yourself on the ridge, climb: that pays 5, more than any other "
    "walk. How often can a perfectly trained walker make it happen?",
    [
        "Always: training can make any path certain",
        "Three times in four",
        "One time in four",
    ],
)

# %% [markdown]
# A trajectory happens by turns: the world says where it begins, you choose, the world moves, you choose. The
# probabilities of these events multiply. $\pi_\theta(a \mid s)$ is your **policy**, with parameters $\theta$:
#
# $$p(\tau; \theta) = p(s_0) \prod_{t=0}^{T-1} \pi_\theta(a_t \mid s_t)\; p(s_{t+1} \mid s_t, a_t) \tag{4.1}$$
#
# (Here the reward follows from $s_t$, $a_t$ and $s_{t+1}$. Where it is random, $p(r_t \mid s_t, a_t, s_{t+1})$ is one
# more factor of the world's.)
#
# Here $\theta$ is a table of **logits**, one row per state and one column per action (shape `[S, A]` = `[4, 2]`), and
# $\pi_\theta(\cdot \mid s)$ is the softmax of row $s$. The rows are hut, valley, ridge and *home*, where every walk ends
# and nothing is decided. We list all $N = 8$ paths.

# %%
double = torch.float64
theta = torch.tensor([[0.5, -0.5], [0.2, -0.2], [-0.8, 0.8], [0.0, 0.0]], dtype=double)
paths = figures.by_name(exact.trajectories(mdp, theta.softmax(-1)))
state, action = paths.state, paths.action  # [T + 1, N], [T, N]

start = mdp.initial_probability[state[0]]  # [N], the world's
chosen = theta.softmax(-1)[state[:-1], action]  # [T, N], yours
moved = mdp.transition[state[:-1], action, state[1:]]  # [T, N], the world's
probability = start * (chosen * moved).prod(0)  # (4.1)

# %% [markdown]
# Is (4.1) how often the paths really come up? A policy, for this library, maps observations to distributions over
# actions. It does so for several **replicas** at once, learners side by side with parameters and seeds of their own:
# they are the first axis of every tensor, and an `R` in a shape counts them. (A return is always $R(\tau)$, with its
# bracket.) A table of logits needs ten lines, and `episodes` lets it walk.


# %%
class Table(torch.nn.Module):
    """R tables of logits theta [S, A]: pi(a | s) = softmax(theta[s])[a]."""

    def __init__(self, theta):  # [R, S, A]
        super().__init__()
        self.theta = torch.nn.Parameter(theta.clone())
        self.noise = Noise("uniform")  # one number from [0, 1) draws one action

    def forward(self, observation):  # [R, ..., S], one-hot
        logits = torch.einsum("r...s,rsa->r...a", observation, self.theta)
        return distributions.Categorical(logits)


# %%
def which(walks):
    """Which of the eight paths was walked, [R, E]."""
    first, second = walks.action.unbind(1)  # [R, E] each
    place = walks.observation[:, 1].argmax(-1)  # 1 valley, 2 ridge
    return 4 * first + 2 * (place - 1) + second


walks = episodes(mdp, Table(theta[None]), Rng(0, dtype=double), environments=20_000)
share = which(walks)[0].bincount(minlength=8) / 20_000
interval = 1.96 * (probability * (1 - probability) / 20_000).sqrt()

# %%
names = figures.path_names(paths)
pay = returns.discounted(paths.reward, 1.0)  # R(tau), [N]
for n in range(8):
    print(f"{names[n]:21s} pays {pay[n]:.0f}   (4.1): {probability[n]:.4f}", end="   ")
    print(f"walked: {share[n]:.4f} ± {interval[n]:.4f}")
print(f"sum of (4.1): {probability.sum():.12f}")

# %% [markdown]
# They agree (± is a 95 % interval: one line in twenty may lie outside its own). Now train the walker in your head:
# certain to rest at the hut, certain to climb on the ridge.

# %%
rests, climbs = [1.0, 0.0], [0.0, 1.0]
stubborn = torch.tensor([rests, rests, climbs, rests], dtype=double)  # pi itself, [S, A]
climber = torch.tensor([climbs, rests, climbs, rests], dtype=double)
best = figures.by_name(exact.trajectories(mdp, stubborn)).probability
print({name: p for name, p in zip(names, best.tolist(), strict=True) if p})
print(f"J if she rests first: {exact.expected_return(mdp, stubborn):.2f}")
print(f"J if she climbs first: {exact.expected_return(mdp, climber):.2f}")

# %% [markdown]
# One time in four. Of the factors in (4.1) only $\pi_\theta$ is yours; the mountain keeps its quarter. So the best
# *policy* is not the one that walks the best *path*: it climbs, because that is better on average. What we maximise
# is $J(\theta) = \mathbb{E}_{\tau \sim p(\cdot;\theta)}[R(\tau)]$, the average over everything the mountain may do.

# %% [markdown]
# ## 2. Take the logarithm
#
# In (3.3) we need the score, $\nabla_\theta \log p(\tau;\theta)$. The logarithm of a product is a sum of logarithms:
#
# $$\log p(\tau; \theta) = \log p(s_0) + \sum_{t=0}^{T-1} \log \pi_\theta(a_t \mid s_t)
# + \sum_{t=0}^{T-1} \log p(s_{t+1} \mid s_t, a_t) \tag{4.2}$$

# %%
widgets.predict(
    "You have walked one path and want its score, $\\nabla_\\theta \\log p(\\tau;\\theta)$. "
    "What must you know of the mountain?",
    [
        "All its transition probabilities",
        "The transition probabilities along that path",
        "Nothing",
    ],
)


# %%
def log_p(theta, mdp):
    """The three parts of (4.2) for every path, each [N]."""
    policy = theta.log_softmax(-1)[state[:-1], action]  # [T, N]
    world = mdp.transition[state[:-1], action, state[1:]].log()
    return mdp.initial_probability[state[0]].log(), policy.sum(0), world.sum(0)


# %%
assert_close(sum(log_p(theta, mdp)).exp(), probability)
whole = torch.func.jacrev(lambda theta: sum(log_p(theta, mdp)))(theta)  # [N, S, A]
yours = torch.func.jacrev(lambda theta: log_p(theta, mdp)[1])(theta)
print("largest difference between the gradients:", (whole - yours).abs().max().item())

# %% [markdown]
# Nothing. The world's terms are numbers that do not contain $\theta$, and the gradient of a constant is zero:
#
# $$\nabla_\theta \log p(\tau; \theta) = \sum_{t=0}^{T-1} \nabla_\theta \log \pi_\theta(a_t \mid s_t) \tag{4.3}$$
#
# This line is what makes policy gradients **model-free**. You must have walked the path. You need not know how likely
# it was. Here is one score, as a table like $\theta$:

# %%
print(names[3])
for place, row in zip(figures.PLACES, yours[3].tolist(), strict=True):
    print(f"{place:8s} rest {row[0]:+.3f}   climb {row[1]:+.3f}")

# %% [markdown]
# Rows of places that were visited say: more of what you chose, less of what you did not, and the less likely the
# choice was the harder the push ($1 - \pi$, as in lecture 03). The valley was not visited, so its row is zero. But
# have the dynamics left the problem altogether? Exchange the signposts, so that resting leads to the ridge.
# (`exact.policy_gradient` computes $\nabla J$ from the world's tables; turn 3 puts it to the test.)

# %%
turned = replace(mdp, transition=mdp.transition[:, [1, 0]])
scores_there = torch.func.jacrev(lambda theta: sum(log_p(theta, turned)))(theta)
print("largest difference of the scores:", (scores_there - whole).abs().max().item())
for name, world in (("our mountain", mdp), ("signposts turned", turned)):
    rest, climb = exact.policy_gradient(world, Table(theta[None]))[0, :2]  # of the row "hut"
    print(f"{name:17s} dJ/dtheta at the hut: rest {rest:+.3f}, climb {climb:+.3f}")

# %% [markdown]
# Every path has the score it had, and the gradient of $J$ points the other way. The dynamics do not act through the
# score. They act through *which paths come up*, and nature does that sampling for you.

# %% [markdown]
# ## 3. A gradient that can be sampled
#
# Put (4.3) into (3.3), with a trajectory for $x$ and its return for $f$. Then estimate the expectation from $E$
# episodes, as in (3.4):
#
# $$\nabla_\theta J = \mathbb{E}_\tau\Big[\sum_{t=0}^{T-1} w_t\, \nabla_\theta \log \pi_\theta(a_t \mid s_t)\Big]
# \approx \frac1E \sum_{e=1}^{E} \sum_{t=0}^{T_e-1} w_t^e\, \nabla_\theta \log \pi_\theta(a_t^e \mid s_t^e)
# \tag{4.4}$$
#
# with the **weight** $w_t = R(\tau)$ for every step. With eight paths we can afford the middle exactly:

# %%
score = yours.flatten(1)  # [N, P], P = 8 parameters
by_paths = (probability * pay) @ score  # the middle of (4.4): sum over tau of p R score

# with the dynamics, backward in time; it lists no path
by_values = exact.policy_gradient(mdp, Table(theta[None]))[0]

step = 1e-5 * torch.eye(8, dtype=double).reshape(8, 4, 2)
up, down = (exact.expected_return(mdp, (theta + s * step).softmax(-1)) for s in (1, -1))
by_differences = (up - down) / 2e-5  # [P]

# %%
print(f"{'':18s}" + "".join(f"{place:>18s}" for place in figures.PLACES[:3]))
ways = {"(4.4), eight paths": by_paths, "backward in time": by_values}
for name, gradient in (ways | {"differences of J": by_differences}).items():
    print(f"{name:18s}" + "".join(f"{g:+9.5f}" for g in gradient[:6]))

# %% [markdown]
# Three ways, one gradient. (The row *home* is left out; its two numbers are zero.) In each row the two are opposite,
# because a softmax feels only differences of logits.

# %% [markdown]
# ## 4. One walk, one step
#
# Now forget the list and learn from experience, as little as possible: one walk. The surrogate of lecture 03 turns
# (4.4) into a number that autograd can differentiate.

# %%
policy = Table(torch.zeros(1, 4, 2, dtype=double))
before = exact.action_probabilities(mdp, policy)[0].detach()
walk = episodes(mdp, policy, Rng(5, dtype=double), environments=1)  # R = 1, T = 2, E = 1
log_probability = policy(walk.observation).log_prob(walk.action)  # [R, T, E]
weight = walk.reward.sum(1, keepdim=True)  # R(tau) for every step, [R, 1, E]
surrogate = (log_probability * weight).sum(1).mean(1)  # [R]; its gradient is (4.4)
walked = names[which(walk).item()]
print(f"walked: {walked}; paid: {weight.item():.0f}")

# %%
widgets.predict(
    "We take one step of gradient ascent from this walk. Which paths become more likely?",
    [
        "Only the path that was walked: the others were never tried",
        "Also some that were not walked, by their choices at the places it visited",
        "Those that pay at least as much as it did",
    ],
)

# %%
optimizer = nn.SGD(policy, step_size=0.5)
optimizer.step(-surrogate)  # optimizers descend; we want to climb
after = exact.action_probabilities(mdp, policy)[0].detach()
picture, axes = plots.figure(8.5, 5.6, columns=2)
figures.mountain(axes, mdp, after, before, walked=[walked])
plots.show(picture, "One walk moves all eight probabilities, because paths pass the same places.")

# %%
old, new = (exact.trajectories(mdp, pi) for pi in (before, after))
ratio = figures.by_name(new).probability / figures.by_name(old).probability
for name, r in zip(names, ratio, strict=True):
    print(f"{name:21s} p now / p before = {r:.2f}", "  <- walked" if name == walked else "")

# %% [markdown]
# A step does not grip a path, it grips choices: the two rows of $\theta$ that were visited. A path's **likelihood
# ratio**, $p(\tau;\theta') / p(\tau;\theta) = \prod_t \pi_{\theta'}(a_t|s_t) / \pi_\theta(a_t|s_t)$, is made of its
# choices at these two places: the same choice as the walk's raises it, the other lowers it. So paths nobody has tried
# gain or lose. What they *pay* did not move, and neither did a single step in them. This estimator changes the
# probabilities of paths and leaves the paths as they are; gradients that bend the path itself come in lecture 11.

# %% [markdown]
# ## 5. Is it right? Ask where the truth is known
#
# One walk is noise. Is it noise *around the gradient*? We take a world with too many trajectories to list, the
# $4 \times 3$ grid of Russell & Norvig. The walker slips one time in five, the goal pays 1, the pit costs 1, every
# step costs 0.04, and after 50 steps it is over. Its exact gradient still comes out of a recursion backward in time.
#
# Two things are new. Rewards count with a **discount** $\gamma \in [0, 1]$: $R(\tau) = \sum_t \gamma^t r_t$. (Nothing in
# the derivation asked what $R$ is made of.) And episodes end at different times, so a batch is padded to the longest;
# `valid`, `[R, T, E]`, says which steps are real.

# %%
grid = gridworld()
replicas, each, discount = budget.choose(2000, 500), 8, 0.9
logits = 0.5 * Rng(4, dtype=double).normal(*grid.transition.shape[:2])  # any; [1, S, A]
policy = Table(logits.expand(replicas, -1, -1))  # the same everywhere; the noise differs
batch = episodes(grid, policy, Rng(range(replicas), dtype=double), environments=each)
truth = exact.policy_gradient(grid, Table(logits), discount)[0]  # [P]
length = batch.valid.sum(1).double()  # steps, [R, E]
print(f"{replicas} estimates from {each} episodes each, of {length.mean():.1f} steps on average")

# %% [markdown]
# Here is (4.4) written out, one estimate per replica:


# %%
def estimate(weight):
    """(4.4) with these weights w_t [R, T, E]: one estimate per replica, [R, P]."""
    log_probability = policy(batch.observation).log_prob(batch.action)  # [R, T, E]
    terms = log_probability * weight * batch.valid  # zero after the end
    surrogate = terms.sum(1).mean(1)  # sum over time, mean over episodes; [R]
    return gradients.per_replica(surrogate, policy)


# %%
paid = returns.discounted(batch.reward, discount, valid=batch.valid)  # R(tau), [R, E]
estimates = estimate(paid[:, None])
by_library = gradients.score_function(policy, batch, discount, causal=False)  # R(tau) for every step
assert_close(estimates, by_library)
quality = gradients.bias_and_variance(estimates, truth)
decided = quality.variance > 0  # at the goal and in the pit nothing is
chance = decided.sum() * math.erfc(4 / 2**0.5)
print(f"{decided.sum()} coordinates: largest |z| = {quality.z.abs().max():.2f}")
print(f"by chance it would go beyond 4 with probability at most about {chance:.2%}")

# %% [markdown]
# $z$ is the bias in standard errors: for an unbiased estimator and many draws, a standard normal number in each
# coordinate. For the largest of 36 this one is ordinary, so no bias is to be seen, and we have looked in every
# coordinate at once. That is how every estimator of this course is tested. How noisy is it?

# %%
error = quality.variance.sum().sqrt()  # typical length of the error of one estimate
uphill = (estimates @ truth > 0).double().mean()
print(f"length of the gradient {truth.norm():.3f}, typical error of an estimate {error:.3f}")
print(f"{uphill:.0%} of the estimates point uphill")

# %% [markdown]
# The noise is ten times as long as the signal, and yet most estimates point uphill. That is all gradient ascent
# needs, if its steps are small: over many steps the errors go in all directions, and the gradient adds up.

# %% [markdown]
# ## 6. Which weight?
#
# Every choice was weighted with the return of the whole episode. A choice cannot change rewards that came before it.
# So try the **reward-to-go**, what came from step $t$ on:
#
# $$G_t = \sum_{k=t}^{T-1} \gamma^{k-t} r_k, \qquad w_t = \gamma^t G_t = \sum_{k=t}^{T-1} \gamma^k r_k \tag{4.5}$$
#
# This $w_t$ is $R(\tau)$ without the first $t$ rewards. Many programs go further and drop $\gamma^t$ as well. Why? With
# $\gamma = 0.99$ it is $0.05$ at step 300: what happens late would hardly be learned, though we often judge a policy by a
# return in which every step counts the same.

# %%
widgets.predict(
    "Three weights on the same episodes: $R(\\tau)$, $\\gamma^t G_t$ and $G_t$. Which are centred on the gradient of $J$?",
    [
        "Only the whole return",
        "The whole return and γ^t G_t",
        "All three: they differ in variance only",
    ],
)

# %%
G = returns.to_go(batch.reward, discount, valid=batch.valid)  # G_t, [R, T, E]
powers = returns.powers(discount, G.shape[1], G)  # gamma^t, [T, 1]
for name, weight in {"R(τ)": paid[:, None], "γ^t G_t": powers * G, "G_t": G}.items():
    quality = gradients.bias_and_variance(estimate(weight), truth)
    by_chance = quality.standard_error.norm()  # how long the bias seems when there is none
    print(f"{name:7s}  bias {quality.bias.norm():.3f} (by chance alone {by_chance:.3f})", end="   ")
    print(f"largest |z| {quality.z.abs().max():5.2f}   variance {quality.variance.sum():.3f}")

# %% [markdown]
# (*bias* is the length of the measured bias. It is never quite zero: so many estimates leave about as much by chance
# alone as stands in the bracket.) The first two are centred, and the second has less variance: here the past was only
# noise. Why it may be left out is the first line of lecture 05. The third is *not* centred on the gradient of $J$:
# without $\gamma^t$ late steps count more than they add to $R(\tau)$. It is popular all the same, and lecture 05 says what
# that means. We keep $\gamma^t$ wherever we claim to have the gradient, and say so where we drop it.

# %% [markdown]
# ## 7. The algorithm
#
# **Algorithm 4.1, REINFORCE**
#
# 1. Play $E$ whole episodes with $\pi_\theta$.
# 2. Compute $G_t$ for every step of every episode, by (4.5), and its weight $w_t = \gamma^t G_t$.
# 3. $\theta \leftarrow \theta + \alpha\, \frac1E \sum_e \sum_t w_t\, \nabla_\theta \log \pi_\theta(a_t \mid s_t)$, by
#    (4.4).
# 4. Begin again with 1.
#
# $\alpha > 0$ is the step size. Here is the library's file, `pgcourse/algorithms/reinforce.py`. First step 2 and the
# surrogate of step 3, for one learner:

# %%
Code("\n\n".join(map(inspect.getsource, (reinforce.weights, reinforce.loss))), language="python")

# %% [markdown]
# Then the loop (the body of `train`) and what it does with each batch:

# %%
loop = inspect.cleandoc(inspect.getsource(reinforce.train).split('"""')[2])  # what follows the docstring
Code(inspect.getsource(reinforce.update) + "\n\n" + loop, language="python")

# %% [markdown]
# Three lines are the algorithm: `episodes` is step 1, `loss` step 2, `optimizer.step` step 3. The rest keeps house.
# `evaluate` computes $\log \pi_\theta(a_t \mid s_t)$ for the whole batch at once, `lift` lets a function for one learner
# serve all replicas, `history` writes down what happened, and `history.stop` takes a replica out whose numbers are no longer
# finite. The settings, and their defaults:

# %%
for name, value in vars(reinforce.Config()).items():
    print(f"{name:18s} {value}")

# %% [markdown]
# Read it against 4.1. It deviates in four places, and each has a name in `Config`:
# - `keep_discount=False` drops $\gamma^t$ (turn 6);
# - `standardise=True` shifts the weights to mean 0 and scales them to spread 1 over the batch (lecture 05: a
#   baseline). Mean and spread come from the same episodes: a bias of order $1/E$;
# - `per_step=True` divides by the mean length of the batch's episodes, so that the gradient does not grow with it: again
#   a bias of order $1/E$;
# - the step is Adam's, on a gradient shortened to `max_gradient_norm`, not a plain step.
#
# And two conventions: we shall judge by the undiscounted return, though the training discounts with $\gamma = 0.99$;
# an episode that a time limit cuts off counts as finished. With the first three switched off it must be our estimator,
# up to sign. It is:

# %%
off = {"keep_discount": True, "standardise": False, "per_step": False}
pure = reinforce.Config(discount=discount, **off)
log_probability = policy(batch.observation).log_prob(batch.action)
loss = nn.lift(reinforce.loss)  # from one learner's [T, E] to [R, T, E]
losses = loss(log_probability, batch.reward, batch.valid, pure)  # [R]
by_library = -gradients.per_replica(losses, policy)
assert_close(by_library, estimate(powers * G))
print("largest difference:", (by_library - estimate(powers * G)).abs().max().item())

# %% [markdown]
# ## 8. Balance a pole
#
# CartPole: a pole stands on a cart, and each fiftieth of a second you push the cart left or right. You see four
# numbers (position and velocity of the cart, angle and turning rate of the pole) and get 1 for every step until the
# pole leans more than 12° or the cart leaves the track. After 500 steps it is enough; 475 on average counts as
# solved.
#
# $\pi_\theta$ is a small network now, $4 \to 32 \to 32 \to 2$. Nothing else changes: (4.4) never asked what
# $\pi_\theta$ is made of.

# %%
widgets.predict(
    "Sixteen learners, the same settings, different seeds. At the update at which their mean "
    "return first passes 250: how far apart are the best and the worst of them?",
    ["Less than 50", "50 to 200", "More than 200"],
)

# %%
env = envs.make("CartPole-v1")
seeds = budget.choose(16, 4)
config = reinforce.Config(iterations=budget.choose(45, 12))
show = plots.live(threshold=env.spec.reward_threshold)
policy, history = reinforce.train(env, config, Rng(range(seeds)), progress=show)

# %%
curve = history.metrics["return"]  # [R, iteration]
passed = int((curve.mean(0) > 250).argmax())
mean, worst, best = (f(curve[:, passed]) for f in (np.mean, np.min, np.max))
print(f"update {passed + 1}: mean {mean:.0f}, worst {worst:.0f}, best {best:.0f}")
solved = history.window("return", 10) >= env.spec.reward_threshold  # [R, iteration]
print(f"{solved.any(1).sum()} of {seeds} learners have averaged 475 over ten updates", end=", ")
print(f"{solved[:, -1].sum()} of them over the last ten")
parameters = sum(parameter[0].numel() for parameter in policy.parameters())
print(f"{parameters} parameters each; {history.steps[:, -1].sum():,.0f} steps, all together")

# %% [markdown]
# No model of the cart, no labels, a single number per step: that was all. And look at the spread. It is one program
# with one set of settings on one task; only the seeds differ. The thick line is the mean, the band its 95 % interval; a
# single learner can be anywhere among the thin lines. (The axis counts environment steps. Whoever has short episodes takes
# fewer of them in as many updates: such a line is carried on flat to the right edge.)
#
# To reach 475 is one thing, to stay there another. Every update rests on sixteen episodes; an unlucky sixteen may push a
# good policy off its balance, and it has to find it again. So the mean over all learners can lie below the dashed line
# although many of them have been above it. Watch the best:

# %%
best = int(curve[:, -1].argmax())
widgets.watch(policy, env, replica=best, steps=budget.choose(500, 100))

# %% [markdown]
# ## 9. Reading the loss

# %%
widgets.predict(
    "Of two learners at the same update, one has the lower loss. Which of them balances longer?",
    [
        "Nearly always the one with the lower loss, as in supervised learning",
        "Nearly always the one with the higher loss",
        "Neither: it depends on when one looks",
    ],
)


# %%
loss = history.metrics["loss"]
lower = loss[:, None] < loss  # every learner against every other, [R, R, iteration]
better = curve[:, None] > curve
print(f"lower loss, better learner: {lower[better].mean():.0%} of all pairs that differ in return")
for part in np.array_split(np.arange(config.iterations), 3):
    share = lower[..., part][better[..., part]].mean()
    print(f"    updates {part[0] + 1:2d} to {part[-1] + 1:2d}: {share:.0%}")

# %%
picture, axes = plots.figure(8.5, 3.9, columns=3, sharey=True)
at = np.linspace(0, config.iterations, 4).astype(int)[1:] - 1  # the end of each part
figures.loss_and_return(axes, loss[:, at], curve[:, at], at + 1)
plots.show(picture, "All learners at three moments of one run. What goes with a low loss is another thing each time.")

# %% [markdown]
# A measure of progress would say the same thing throughout. This one begins near the toss of a coin and ends, if
# anything, the wrong way round: whose poles all stand for 500 steps has nothing to prefer in one episode over another, and
# a loss near zero; those still torn between good and bad episodes have a lower one. In lecture 03, too, the loss rose
# while every learner got better.
#
# In supervised learning the data stay, and the loss falls over them. Here each update makes a *new* loss, from new
# episodes with new weights, for one step only. Its slope at the present $\theta$ is minus the estimate. Its height is
# $-\sum w_t \log \pi_\theta(a_t \mid s_t)$ over the batch, up to a factor. Add a fixed number to all weights of (4.4) and
# the surrogate's height moves, while by (3.5) its mean slope stays. So plot the return.

# %% [markdown]
# ## 10. The step size

# %%
widgets.predict(
    "The step size is 0.01. What will a step size of 0.1 do?",
    [
        "Learn about ten times as fast",
        "Rise faster at first; then some replicas collapse and stay down",
        "Nothing: Adam normalises the gradient anyway",
    ],
)

# %%
iterations = budget.choose(30, 8)
runs = {0.01: history}
for step_size in (0.03, 0.1):
    settings = replace(config, step_size=step_size, iterations=iterations)
    show = plots.live(label=f"step size {step_size}", color="other")
    last, runs[step_size] = reinforce.train(env, settings, Rng(range(seeds)), progress=show)

# %% [markdown]
# Below the returns stands the policy's **entropy**, $-\sum_a \pi_\theta(a \mid s) \log \pi_\theta(a \mid s)$, on average
# over the states visited. It says how undecided a policy is. Two actions equally likely have $\log 2 = 0.69$ (the unit of
# natural logarithms is the *nat*); whoever is certain has 0.

# %%
picture, axes = plots.figure(8.5, 6.5, rows=2, columns=3, sharex=True, sharey="row")
for row, metric in zip(axes, ("return", "entropy"), strict=True):
    named = {f"step size {size}": run.metrics[metric][:, :iterations] for size, run in runs.items()}
    figures.side_by_side(row, named, plots.LABELS[metric])
plots.show(picture, "Too long a step makes policies certain before they are good, and few of them recover.")

# %%
for step_size, run in runs.items():
    certain = run.metrics["entropy"][:, iterations - 1] < 0.05
    print(f"step size {step_size}: {certain.sum()} of {seeds} have an entropy below 0.05 nats")
    if certain.any():
        print(f"    the mean return of these: {run.latest('return')[certain].mean():.0f}")

# %%
order = runs[0.1].latest("entropy").argsort()
widgets.watch(last, env, replica=order[:3].tolist(), steps=budget.choose(250, 50))

# %% [markdown]
# Above are the three with the lowest entropy: whatever they see, they are all but certain of their action. The score of a
# certain choice is $1 - \pi \approx 0$: no gradient, whatever the weight. In supervised learning a bad step can be mended,
# because the data set does not care. Here the policy *makes* the data: one that tries nothing else gets no data that
# could mend it. That is a **collapse**. A step three times as long learns faster at first; ten times as long, most learners
# collapse. (Lectures 09 and 10 limit how far one batch may move a policy.)

# %% [markdown]
# ## 11. A comparison

# %%
final = {size: run.window("return", 5)[:, iterations - 1] for size, run in runs.items()}
for step_size, values in final.items():
    print(f"step size {step_size}: mean over {seeds} seeds {values.mean():.0f}")

# %%
widgets.predict(
    "Two people compare step sizes 0.01 and 0.03, with one seed each. How often does the one that is worse on average win?",
    ["Less than one time in twenty", "About one time in ten", "More than one time in five"],
)

# %%
poor, good = sorted((final[0.01], final[0.03]), key=np.mean)
random = np.random.default_rng(0)
for count in (1, 2, 4, 8, 16):
    a, b = (random.choice(values, (20_000, count)).mean(1) for values in (good, poor))
    print(f"seeds each: {count:2d}   comparisons with the wrong winner: {(a < b).mean():.1%}")

# %%
picture, ax = plots.figure(8, 4.5)
figures.dots(ax, {f"step size {size}": y for size, y in final.items()})
ax.set_ylabel("return per episode\n(mean of 5 updates)")
plots.show(picture, "One dot from each column: that is a comparison with one seed.")

# %% [markdown]
# With one seed each, more than one comparison in five names the wrong winner: both columns reach from the ceiling far down.
# More seeds help, and the closer two settings are, the more it takes. (The "right" order is that of the means over all our
# seeds, from which the comparisons draw; whether it would hold for a thousand other seeds, even sixteen cannot promise.)
# That is why every curve of this course is a band, and why the library trains all seeds in one call: sixteen at once cost
# far less than sixteen in a row.

# %% [markdown]
# ## 12. A corridor
#
# A corridor: stop at the door and get 1, or walk five steps and get 3. Who stops on the way gets nothing. It is dark,
# and every cell looks the same. So a walker has one probability $q$ of going on, and $J(q) = (1 - q) + 3 q^5$.


# %%
def corridor(length=5, prize=3.0):
    """In state s < length: action 0 stops, action 1 goes on. State ``length`` is home."""
    moves, pays = torch.zeros(length + 1, 2, length + 1), torch.zeros(length + 1, 2)
    here = torch.arange(length + 1)
    moves[here, 0, length] = 1
    moves[here, 1, (here + 1).clamp(max=length)] = 1
    pays[0, 0], pays[length - 1, 1] = 1.0, prize
    start, home = (here == 0).double(), here == length
    return Tabular(moves, pays, start, home, time_limit=length)


# %%
class Dark(Table):
    """Every cell looks the same: theta is a single row of logits, [R, 1, A]."""

    def forward(self, observation):
        return super().forward(torch.ones_like(observation[..., :1]))


# %%
world, learners = corridor(), budget.choose(64, 16)
q = torch.linspace(0, 1, 101, dtype=double)
J = exact.expected_return(world, torch.stack([1 - q, q], -1)[:, None].expand(-1, 6, -1))
assert_close(J, 1 - q + 3 * q**5)
begin = 0.5 * Rng(range(learners), dtype=double).normal(1, 2)  # first policies, [R, 1, A]


# %%
def at_the_door(policy):
    """Share of the learners that have come to stop at the door."""
    return (exact.expected_return(world, policy) < 1.1).double().mean()


# %%
def sampled(policy, each):
    """200 updates with so many episodes each."""
    rng, optimizer = Rng(range(learners), stream=1, dtype=double), nn.SGD(policy, step_size=1.0)
    for _ in range(200):
        batch = episodes(world, policy, rng, each)
        log_probability = policy(batch.observation).log_prob(batch.action)
        weight = returns.to_go(batch.reward, 1.0, valid=batch.valid)
        optimizer.step(-gradients.score_surrogate(log_probability, weight, batch.valid))
    return at_the_door(policy)


# %%
print(f"8 episodes per update: {sampled(Dark(begin), 8):.0%} of {learners} learners stop at the door")

# %%
widgets.predict(
    "Is that bad luck with few episodes? What share ends there with 64 episodes per update, and with the exact gradient?",
    [
        "None with either: it was noise",
        "A few with 64 episodes, none with the exact gradient",
        "A large share with both",
    ],
)


# %%
def exactly(policy, updates):
    """Updates with the exact gradient."""
    optimizer = nn.SGD(policy, step_size=1.0)
    for _ in range(updates):
        optimizer.step(-exact.expected_return(world, policy))
    return at_the_door(policy)


# %%
policy = Dark(begin)
print(f"64 episodes per update: {sampled(Dark(begin), 64):.0%}")
print(f"exact gradient: {exactly(policy, 200):.0%}")
first, last = (logits.softmax(-1)[:, 0, 1] for logits in (begin, policy.theta.detach()))
print(f"began where the slope of J is negative: {(first < 15**-0.25).double().mean():.0%}")

# %%
picture, ax = plots.figure(8, 4.8)
figures.hills(ax, q, J, first, last)
plots.show(picture, "J has two hills. The exact gradient leads up the one at whose foot it began.")

# %% [markdown]
# The slope, $-1 + 15 q^4$, is negative left of the dashed line. There going on a little more often costs more at the
# door than it brings at the far end, and the gradient leads back to the door: a **local optimum**, better than all
# that is near it. A gradient feels the slope underfoot. More episodes make it more exact, not more far-sighted. Does
# patience help? Once more, and beside it the same corridor with the light on: a row of logits for each cell.

# %%
patience = budget.choose(1000, 400)
for name, policy in (("dark", Dark(begin)), ("light", Table(begin.expand(-1, 6, -1)))):
    early, late = exactly(policy, 200), exactly(policy, patience - 200)
    print(f"{name:5s}   at the door after 200 updates {early:.0%}, after {patience} {late:.0%}")

# %% [markdown]
# In the dark the door is a hill, and no time leads down from it. With the light on it is a **plateau**: nearly flat
# ground, which the exact gradient does leave, late. What helps on a hill is another start, or a reason to explore
# (lecture 15).

# %% [markdown]
# ## 13. What goes wrong
#
# Three mistakes, made on purpose. All of them run without an error. Two are losses with the library's signature, so
# `train` takes them as they are:


# %%
def sign_error(log_probability, reward, valid, config):
    """Minimises what should be maximised."""
    return -reinforce.loss(log_probability, reward, valid, config)


def off_by_one(log_probability, reward, valid, config):
    """G_{t+1} in the place of G_t: the sum of rewards begins one step late."""
    late = torch.cat([(reward * valid)[1:], torch.zeros_like(reward[:1])])
    return reinforce.loss(log_probability, late, valid, config)


# %% [markdown]
# The third draws an action afresh when the log-probability is computed, and so scores a choice that nobody made. The
# cheap check for all of them is turn 5 on the smallest world: the mean of many estimates, beside the exact gradient.

# %%
pure = reinforce.Config(discount=1.0, **off)
replicas = budget.choose(4000, 1000)
policy, rng = Table(theta.expand(replicas, -1, -1)), Rng(range(replicas), dtype=double)
walks = episodes(mdp, policy, rng, environments=8)
taken = walks.action  # [R, T, E]
noise = rng.draw(policy.noise, *taken.shape[1:])
drawn_again = policy(walks.observation).sample(noise)
truth = exact.policy_gradient(mdp, Table(theta[None]))[0]


# %%
def estimates_by(loss, action):
    """What comes out of this loss and these actions, one estimate per replica, [R, P]."""
    log_probability = policy(walks.observation).log_prob(action)
    losses = nn.lift(loss)(log_probability, walks.reward, walks.valid, pure)
    return -gradients.per_replica(losses, policy)


# %%
found = {
    "right": estimates_by(reinforce.loss, taken),
    "sign error": estimates_by(sign_error, taken),
    "off by one": estimates_by(off_by_one, taken),
    "actions drawn again": estimates_by(reinforce.loss, drawn_again),
}

# %%
print("mean of the estimates  hut: rest  ridge: climb  largest |z|")
print(f"{'exact':22s} {truth[0]:+10.3f} {truth[5]:+13.3f}")
for name, estimates in found.items():
    hut, ridge = estimates.mean(0)[[0, 5]]
    z = gradients.bias_and_variance(estimates, truth).z.abs().max()
    print(f"{name:22s} {hut:+10.3f} {ridge:+13.3f} {z:12.1f}")

# %% [markdown]
# - **Sign error.** Minus the gradient: it learns, downhill.
# - **Off by one.** The last choice never sees its own reward: on the ridge exactly nothing is learned, with no noise
#   at all, so $z$ is infinite.
# - **Actions drawn again.** The return knows nothing of the new action. The mean is zero: noise, and no learning.
#
# The check takes a second, and its $z$ leaves no doubt. Most people check something else: they train, and look at the
# curve.

# %%
widgets.predict(
    "Which of these will the learning curve on CartPole give away: the sign error, or the sum that begins one step late?",
    ["Both", "Only the sign error", "Only the late sum", "Neither"],
)

# %%
short = replace(config, iterations=budget.choose(20, 6))
curves = {"right": history}
for loss in (sign_error, off_by_one):
    rng = Rng(range(budget.choose(8, 4)))
    _, curves[loss.__name__.replace("_", " ")] = reinforce.train(env, short, rng, loss=loss)

# %%
picture, axes = plots.figure(8.5, 4, columns=3, sharey=True)
named = {name: run.metrics["return"][:, : short.iterations] for name, run in curves.items()}
figures.side_by_side(axes, named, "return per episode")
plots.show(picture, "The curve gives the sign error away. The late sum learns as well as the right one.")

# %% [markdown]
# Only the sign error. On CartPole every reward is 1, so $G_{t+1} = (G_t - 1)/\gamma$: after standardising, the same
# weights. On the mountain the same program would never learn what to do on the ridge. A learning curve is not a test.
# An exact gradient is.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_04)

# %% [markdown]
# ## In four lines
#
# - The log-probability of an episode is a sum, and only the policy's terms in it have a gradient: (4.3). No model is
#   needed.
# - Weight each score with what came after it and average over episodes: an unbiased estimate of $\nabla J$, (4.4) and
#   (4.5).
# - A step changes the probabilities of choices, and so of paths. The paths stay, and the next batch comes from the
#   new policy.
# - Watch the return of many seeds. The loss says nothing, one seed says little, and a learning curve proves no
#   gradient right.
#
# **Now you:** [exercise 04](../exercises/04_reinforce.ipynb) asks for the log-probability of an episode, the
# surrogate, the update, returns that stop at the end of their episode, and a loss of your own that balances the pole.
#
# **Next:** in turn 5 the noise was longer than the gradient. Lecture 05 asks which action caused the reward, and
# compared with what: why the past may be dropped, what dropping $\gamma^t$ means, and how subtracting the right
# number makes noise go away.

# %% [markdown]
# ## Sources
#
# - R. J. Williams (1992), Simple statistical gradient-following algorithms for connectionist reinforcement learning,
#   *Machine Learning* 8. The name, and the proof.
# - R. S. Sutton, D. McAllester, S. Singh, Y. Mansour (2000), Policy gradient methods for reinforcement learning with
#   function approximation, *NIPS* 12. The gradient over states and actions.
# - A. G. Barto, R. S. Sutton, C. W. Anderson (1983), Neuronlike adaptive elements that can solve difficult learning
#   control problems. The pole and the cart.
# - S. Russell and P. Norvig, *Artificial Intelligence: A Modern Approach*, section on sequential decision problems.
#   The grid.
# - P. Henderson et al. (2018), Deep reinforcement learning that matters, *AAAI*. What one seed is worth.
# - Source slides and notes: `002_20f9c9cab9178118.txt` (trajectories, the score function, basic REINFORCE),
#   `003_0746104038de6fc3.txt` (likelihood-ratio estimator, paths and their probabilities), `004_c4625da9e5213f66.txt`
#   (policy gradient over trajectories, the algorithm).
