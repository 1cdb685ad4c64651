# %% [markdown]
# # 01 What is being optimised, and why by its gradient?
#
# A walker in a corridor looks for a treasure. Two places in the corridor look the same to it, and from one of them the
# treasure lies to the right, from the other to the left. What should it do there? Before anything can be learned, somebody
# has to say what "better" means. This lecture turns that word into a number, computes the number in three ways, and
# finds out how one climbs it.
#
# **After it you can**
# - write down how likely a trajectory is, what it pays, and the objective $J$ that this course maximises;
# - compute $J$ by listing, by sampling and by a recursion, and say how far to trust each;
# - tell when a good policy has to be random, and what a search pays for not knowing the gradient.
#
# **You need** lecture 00. **Time:** 60 minutes at the keyboard, 30 as a talk.

# %%
import inspect
import math
import textwrap
from dataclasses import replace

import torch
from IPython.display import Code
from torch.testing import assert_close

from pgcourse import budget, distributions, exact, figures_01, plots, policies, quizzes, returns, widgets
from pgcourse.envs.games import rock_paper_scissors
from pgcourse.envs.tabular import aliased_gridworld, random_mdp
from pgcourse.rng import Noise, Rng
from pgcourse.rollout import episodes

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
double = torch.float64

# %% [markdown]
# ## The corridor
#
# Five cells in a row. Below the middle one lies a treasure, which pays 1; below either end gapes a pit, which costs 1; both
# end the walk. A walk begins in cell 0, 1, 3 or 4, each as likely, and ends after 50 steps at the latest. Walking into a wall
# leaves the walker where it is.
#
# The **state** $s_t$ is the cell at time $t = 0, 1, 2, \dots$, the **action** $a_t$ is *up*, *right*, *down* or *left*, and
# $r_t$ is the **reward** for it, a number. States, actions, rewards, where walks begin, $p(s_0)$, and where actions lead,
# $p(s_{t+1} \mid s_t, a_t)$: these make a **Markov decision process**, an MDP. What the walker sees of the state is its
# **observation**, the look of it: here which of the four ways are open. (Some sources write $u$ for $a$, $r_{t+1}$ for our
# $r_t$.)

# %%
UP, RIGHT, DOWN, LEFT = range(4)
world = aliased_gridworld()
look = world.observation.argmax(-1)  # what each state looks like, [S]
for cell in range(5):
    leads = world.transition[cell].argmax(-1).tolist()
    print(f"cell {cell}: {figures_01.LOOKS[look[cell]]:10s}", end=" ")
    print("up, right, down, left lead to", leads)

# %% [markdown]
# (The states 5, 6 and 7 are pit, treasure, pit.) Cells 1 and 3 show the same two ways, so they are one and the same grey
# cell to the walker: they are **aliased**. What it does there it does in both.
#
# A **policy** $\pi_\theta(a \mid s)$ is the probability of each action, given what is seen of $s$; it may be 0 or 1. The
# **parameters** $\theta$ are the numbers that fix it. Here is a sensible family with one parameter, $q$: in the white cells
# go for the treasure, in the grey ones go right with probability $q$ and left otherwise, drawn afresh each time.


# %%
def walker(q):
    """A table of probabilities, one row per look: [5 looks, 4 actions]."""
    table = torch.zeros(5, 4, dtype=double)
    # looks: 0 left end, 1 grey cell, 2 middle, 3 right end, 4 end of the walk
    table[[0, 2, 3, 4], [RIGHT, DOWN, LEFT, UP]] = 1.0
    table[1, RIGHT], table[1, LEFT] = q, 1 - q
    return table


# %% [markdown]
# ## The whole lecture in one picture
#
# Every policy has a height, $J$: what it earns on average, where a treasure found later counts less (turn 2 says how much
# less). One can compute it (the curve) or walk and take the mean (the dots, which scatter). To improve is to climb.

# %%
caption = "A policy is a point on this curve, and walks tell its height up to noise. Both ends, without any chance, are low."
widgets.movable(figures_01.mixture, **figures_01.MIXTURE, caption=caption)

# %% [markdown]
# Three things to try. Slide *right* to 0 and to 1: the walker knows exactly what to do, and earns least. Set *walks* to 1 and
# press *walk again*, then go to 1000: the dots close in on the curve. Go where the arrow points, from either side, until
# there is none. The rest of the lecture takes this picture apart.

# %% [markdown]
# ## 1. How likely is a walk?
#
# A **trajectory** is all that happened: $\tau = (s_0, a_0, r_0, s_1, a_1, r_1, \dots, s_T)$.

# %%
widgets.predict(
    "In the grey cells the walker tosses a coin, q = 1/2. Which is likelier: to begin in cell 1 and walk "
    "1, 2, treasure, or to begin in cell 0 and walk 0, 1, 2, treasure?",
    [
        "The short one: every further step makes a walk less likely",
        "The long one",
        "Both are equally likely",
    ],
)

# %% [markdown]
# A walk happens by turns. The world draws a beginning, the policy draws an action, the world draws where it leads, and so
# on. Probabilities of what happens one after the other multiply (what that takes for granted, turn 8 will ask):
#
# $$p(\tau; \theta) = p(s_0) \prod_{t=0}^{T-1} \pi_\theta(a_t \mid s_t)\; p(s_{t+1} \mid s_t, a_t) \tag{1.1}$$

# %%
# pi(a | s), [S, A]: states that look alike share a row of the table
coin = exact.on_observations(world, walker(0.5))


def probability(states, actions):
    """(1.1) for one trajectory."""
    p = world.initial_probability[states[0]]
    for s, a, following in zip(states, actions, states[1:], strict=False):
        p = p * coin[s, a] * world.transition[s, a, following]
    return p.item()


short, long = ([1, 2, 6], [RIGHT, DOWN]), ([0, 1, 2, 6], [RIGHT, RIGHT, DOWN])
print("by (1.1):", probability(*short), "and", probability(*long))

# %% [markdown]
# Equally likely. The long walk has two factors more, and both are 1: at the left end the policy does not toss anything, and
# where a step leads is never a matter of chance here. What makes a walk unlikely is chance, not length.
#
# Do the walks come up that often? The library lets a policy act; for that it wants a *module* that maps observations to
# distributions. Ten lines make one of a table of **logits**: any real numbers, from which the softmax makes
# probabilities, $\pi_\theta(a \mid s) = e^{\theta_{sa}} / \sum_b e^{\theta_{sb}}$. Everything comes with a leading axis $R$
# for **replicas**: the same experiment with several seeds, side by side. (An $R$ in a shape counts replicas; a return, which
# comes next, is always $R(\tau)$ with its bracket.)


# %%
class Table(torch.nn.Module):
    """R tables of logits theta [R, O, A].

    An observation [R, ..., O] is one-hot: all zero but a 1 for what is seen.
    """

    def __init__(self, theta):
        super().__init__()
        self.theta = torch.nn.Parameter(theta.clone())
        self.noise = Noise("uniform")  # one number from [0, 1) draws one action

    def forward(self, observation):
        logits = torch.einsum("r...o,roa->r...a", observation, self.theta)
        return distributions.Categorical(logits)


def module(table):
    """A table of probabilities [R, O, A] as such a module: their logarithms do as logits."""
    return Table(table.clamp(min=1e-12).log())  # log 0 would be minus infinity


# %%
count = budget.choose(20_000, 5_000)
walks = episodes(world, module(walker(0.5)[None]), Rng(0, dtype=double), count)
print("actions, [replica, time, environment]:", list(walks.action.shape))
for states, actions in (short, long):  # no other walk begins with these actions
    first = walks.action[0, : len(actions)]  # [time, environment]
    same = (first == torch.tensor(actions)[:, None]).all(0).double()
    half = 1.96 * (same.var() / count).sqrt()
    print(f"{states}: by (1.1) {probability(states, actions):.4f}", end="   ")
    print(f"walked {same.mean():.4f} ± {half:.4f}")

# %% [markdown]
# They agree (± is a 95 % interval; one in twenty misses). If (1.1) is a probability, then over *all* trajectories it sums to
# one. To list them we need a short *day*, six steps at most; a listed walk that is over stays where it is.

# %%
day = replace(world, time_limit=6)
paths = exact.trajectories(day, coin)  # state [T + 1, N], action, reward [T, N]
p = paths.probability  # [N]
print(f"{len(p)} trajectories; their probabilities sum to {p.sum():.12f}")
print(f"{(p > 0).sum()} of them can happen under this policy")

# %% [markdown]
# ## 2. What is a walk worth?
#
# Its **return**: the sum of its rewards, each multiplied by a power of the **discount** $\gamma$, a number from 0 to 1.
#
# $$R(\tau) = \sum_{t=0}^{T-1} \gamma^t\, r_t \tag{1.2}$$

# %%
widgets.predict(
    "With $\\gamma = 0.9$, what is a walk worth that reaches the treasure with its third action?",
    ["0.9 · 0.9 · 0.9 = 0.729", "0.9 · 0.9 = 0.81", "1 - 2 · 0.1 = 0.8"],
)

# %%
discount = 0.9
reward = torch.tensor([0.0, 0.0, 1.0], dtype=double)  # r_0, r_1, r_2
G = 0.0
for r in reward.flip(0):  # from the last reward to the first: G <- r + discount G
    G = r + discount * G
print("from the back:", G.item())
powers = discount ** torch.arange(3, dtype=double)
print("by (1.2):     ", (powers * reward).sum().item())
print("library:      ", returns.discounted(reward[:, None], discount).item())

# %% [markdown]
# Time counts from 0, so the third reward is $r_2$. The discount says that sooner is better: a reward ten steps away counts
# $0.9^{10} \approx 0.35$. It also keeps the sum finite when nothing ever ends: rewards of 1 for ever are worth
# $1 + \gamma + \gamma^2 + \dots = 1/(1 - \gamma)$, here 10. With $\gamma = 1$ the return is the plain sum.

# %% [markdown]
# ## 3. The objective
#
# The same policy walks well one day and badly the next. What we optimise is the average over everything that may happen, the
# **expected return**:
#
# $$J(\theta) = \mathbb{E}_{\tau \sim p(\cdot\,;\theta)}[R(\tau)] = \sum_\tau p(\tau; \theta)\, R(\tau) \tag{1.3}$$
#
# ($\tau \sim p$: drawn with these probabilities. Some sources write $U$ for $J$.) For the short day this is a sum we can do.

# %%
value = returns.discounted(paths.reward, discount)  # R(tau) of each, [N]
J = exact.expected_return(day, coin, discount)
print("J of the short day, sum over trajectories:", (p * value).sum().item())
print("J of the short day, by the library:       ", J.item())

# %% [markdown]
# Look at what depends on $\theta$: the probabilities of the trajectories, not what they pay. A policy moves probability
# from walk to walk; the payments are the world's. Remember this line, lecture 04 lives on it.

# %%
widgets.predict(
    "Six steps have some eight thousand trajectories. How many have fifty steps?",
    [
        "About 70,000: eight times as many steps",
        "Some hundred million",
        "More than there are grains of sand on Earth",
    ],
)

# %%
for steps in (4, 5, 6, 7):
    count = len(exact.trajectories(replace(world, time_limit=steps), coin).probability)
    print(f"{steps} steps: {count} trajectories")
try:
    exact.trajectories(world, coin)
except ValueError as problem:
    print(textwrap.fill(str(problem), 80))

# %% [markdown]
# Every further step multiplies their number by about $3.5$. And this is a corridor of five cells; nobody lists the games of
# Pong. So (1.3) says what we want, and not how to get it. Two ways lead around the list.

# %% [markdown]
# ## 4. Walk and take the mean
#
# An expectation is what averages tend to. Walk $N$ times and average the returns $G_i = R(\tau_i)$: a **Monte Carlo** estimate.
#
# $$\hat J = \frac1N \sum_{i=1}^N G_i, \qquad \tau_i \sim p(\cdot\,; \theta) \tag{1.4}$$

# %%
widgets.predict(
    "Ten walks give J to within about 0.05. What will a thousand give?",
    [
        "0.0005: a hundredth",
        "0.005: a tenth",
        "Still 0.05: single walks differ as much as before",
    ],
)

# %% [markdown]
# The $N$ walks are independent, so variances add up: if one return has the standard deviation $\sigma$, the mean of $N$ has
# $\sigma / \sqrt N$. As we do not know $\sigma$, we put the deviation of the sample in its place, and call the result the
# **standard error**:
#
# $$\text{error} = \frac{1}{\sqrt N} \sqrt{\frac{1}{N-1} \sum_{i=1}^N (G_i - \hat J)^2} \tag{1.5}$$
#
# A mean of many is nearly normal, and a normal number is within 1.96 deviations of its mean 95 times in 100. So
# $\hat J \pm 1.96$ errors should hold $J$ that often.

# %%
most = budget.choose(4000, 1000)  # walks of each of sixteen replicas
rng = Rng(range(16), dtype=double)  # sixteen seeds, one for each replica
walks = episodes(world, module(walker(0.5).expand(16, -1, -1)), rng, most)
# valid is false after a walk's end
G = returns.discounted(walks.reward, discount, walks.valid)  # [R, E]
J = exact.expected_return(world, coin, discount)
error = G[0].std() / most**0.5  # (1.5)
print(f"J = {J:.4f}; replica 0 finds {G[0].mean():.4f} ± {1.96 * error:.4f}")

# %%
sizes = (1, 3, 10, 30, 100, 300, 1000)
groups = [G[:, : most // N * N].reshape(16, -1, N) for N in sizes]  # [R, group, N]
averages = [group.mean(-1) for group in groups]
squared = torch.stack([(each - J).square().mean(1) for each in averages], 1)  # [R, N]
error = squared.mean(0).sqrt()  # root mean square: the typical error
# A walk has one reward at most, and it is 1. So G^2 is the return with discount^2,
# and its mean is a J as well.
deviation = (exact.expected_return(world, coin, discount**2) - J**2).sqrt()
print(f"one return: standard deviation {deviation:.4f}, measured {G.std():.4f}")
for N, found in zip(sizes, error, strict=True):
    print(f"N = {N:4d}   typical error {found:.4f}   σ / √N {deviation / N**0.5:.4f}")

# %%
picture, ax = plots.figure(8, 4.3)
figures_01.errors(ax, sizes, squared, deviation.item())
plots.show(picture, "A hundred times the walks, a tenth of the error: Monte Carlo converges, and slowly.")

# %% [markdown]
# A tenth. The error of the mean falls as $1/\sqrt N$, whatever the world: no dimension, no number of states stands in it. That
# is the strength of sampling. Its price: each further digit of $J$ costs a hundred times the walks. Is (1.5), taken from one
# sample alone, honest about it?

# %%
for N in (5, 30, 100):
    sample = G[:, : most // N * N].reshape(-1, N)  # many experiments of N walks each
    half = 1.96 * sample.std(1) / N**0.5
    holds = ((sample.mean(1) - J).abs() <= half).double().mean()
    print(f"N = {N:3d}: ± 1.96 errors hold J in {holds:.1%} of {len(sample)} experiments")

# %% [markdown]
# With thirty walks and more it nearly keeps its promise of 95 %. With five it promises too much: the deviation of five
# returns is itself a poor guess, and too small more often than not. (Student's $t$ allows for that; turn 13 uses it.)
# From here on, what was sampled comes with an interval or a band.

# %% [markdown]
# ## 5. Or use the tables
#
# The other way needs no luck, but the world's tables. Think from the end. Let $V_t(s)$, the **value**, be the expected return
# from $s$ on when $t$ steps are gone, and $Q_t(s, a)$ the same after taking $a$. After the last step nothing comes, so
# $V_T = 0$, and going back one step at a time,
#
# $$\begin{aligned}
# Q_t(s, a) &= r(s, a) + \gamma \sum_{s'} p(s' \mid s, a)\, V_{t+1}(s') \\
# V_t(s) &= \sum_a \pi(a \mid s)\, Q_t(s, a), \qquad J = \sum_s p(s_0 = s)\, V_0(s)
# \end{aligned} \tag{1.6}$$
#
# where $r(s, a)$ is the reward that $a$ brings in $s$ on average. In pseudocode:
#
# ```text
# V = 0 for every state
# repeat T times
#     Q(s, a) = r(s, a) + discount * sum over s' of p(s'|s,a) V(s')
#     V(s)    = sum over a of pi(a|s) Q(s, a)
# J = sum over s of p(s_0 = s) V(s)
# ```

# %%
pays = (world.transition * world.reward).sum(-1)  # r(s, a), [S, A]
V = torch.zeros(8, dtype=double)
for _ in range(50):
    Q = pays + discount * world.transition @ V
    V = (coin * Q).sum(-1)
print("by these lines:", (world.initial_probability @ V).item())
print("by the library:", exact.expected_return(world, coin, discount).item())

# %% [markdown]
# Fifty small steps in the place of $10^{28}$ trajectories: walks that meet in a state share their future. In the
# library it is this function. Its last six lines are our loop, and `backup` is the first line of (1.6). Where there is no time
# limit the values do not depend on the time, and solve a system of linear equations.

# %%
head, _, body = inspect.getsource(exact.action_value).split('"""')  # without its docstring
Code(head.rstrip() + body, language="python")

# %% [markdown]
# This corridor can even be done on paper. From the middle the treasure is one action away, $V(2) = 1$. From cell 1 the way
# is right ($q$) or left to the end and back ($1 - q$, two steps), so without a time limit
# $V(1) = \gamma\,(q + (1-q)\,\gamma V(1))$. Solved for $V(1)$:

# %%
q = 0.5
beside = discount * q / (1 - discount**2 * (1 - q))
print(f"V(1) by hand {beside:.10f}, by (1.6) {V[1]:.10f}")
# half the walks begin at an end, one step further away
print(f"J by hand {(beside + discount * beside) / 2:.10f}")

# %% [markdown]
# Three roads to one number: list (small worlds only), sample (always possible, noisy), recurse (exact, if you have the
# tables). Nature hands out no tables. So real learning samples, and this course checks it by recursion.

# %% [markdown]
# ## 6. Rock, paper, scissors
#
# Ten rounds. A round won pays 1, a round lost costs 1. Your opponent counts: it expects the move that you have
# made most often, and plays what beats it (between equals it draws lots). You see nothing, so your policy is three
# probabilities. No discount here.

# %%
widgets.predict(
    "You decide to play rock, always. What is J?",
    ["0: in the long run wins and losses even out", "-5", "-9"],
)


# %%
def earned(env, table, discount=1.0):
    """J of a table of probabilities [..., O, A], exactly."""
    return exact.expected_return(env, exact.on_observations(env, table), discount)


game = rock_paper_scissors(rounds=10)
mixtures = {"rock": [1, 0, 0], "half rock": [0.5, 0.25, 0.25], "each alike": [1 / 3] * 3}
for name, p in mixtures.items():
    table = torch.tensor([p], dtype=double)  # one look, three moves: [1, 3]
    print(f"{name:10s}  J = {earned(game, table):+.3f}")

# %%
n = 24
counts = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
p = torch.tensor(counts, dtype=double) / n  # [mixture, 3]
J_of_p = earned(game, p[:, None])
picture, ax = plots.figure(7, 4.4)
figures_01.triangle(ax, p, J_of_p)
plots.show(
    picture,
    "Whoever can be predicted is beaten. Only the policy without a pattern loses nothing.",
)

# %% [markdown]
# The first round is a draw on average, the other nine are lost. Any fixed habit is found out; the uniform policy has none.
# Why is nothing better than 0? When move $i$ is expected, the opponent plays what beats $i$. You win with the move that
# beats *that*, which has probability $p_{i-1}$ (rock, paper, scissors in a circle), and lose with $p_i$: a round pays
# $p_{i-1} - p_i$ on average. In a game of two rounds the first move is the one expected in the second, so
# $J = \sum_i p_i\,(p_{i-1} - p_i)$:

# %%
p = torch.tensor([0.5, 0.3, 0.2], dtype=double)
print("two rounds, by hand:       ", (p * (p.roll(1) - p)).sum().item())
two = rock_paper_scissors(rounds=2)
print("two rounds, by the library:", earned(two, p[None]).item())
print(f"ten rounds, the best of {len(J_of_p)} mixtures: {J_of_p.max():.3f}")

# %% [markdown]
# This sum is never above zero, because $p_i\, p_{i-1} \le (p_i^2 + p_{i-1}^2) / 2$, with equality only where all three are
# alike. In longer games it is the same: the more often you play a move, the more often it is expected, so what you lose
# weighs more than what you win.

# %% [markdown]
# ## 7. One rule for two cells
#
# A policy is **deterministic** if it always does the same on the same observation, and **stochastic** if it draws. The
# corridor has four looks at which something is decided and four actions: $4^4 = 256$ deterministic policies.

# %%
widgets.predict(
    "We try all 256 and take the best. From which of the four starts does it reach the treasure?",
    ["From all four, on detours", "From three", "From two"],
)

# %%
table, best = exact.best_deterministic(world, discount)
V = exact.state_value(world, exact.on_observations(world, table), discount)  # [T, S]
for cell in (0, 1, 3, 4):
    print(f"from cell {cell}: {V[0, cell]:.3f}")
print(f"J of the best deterministic policy: {best:.4f}")

# %% [markdown]
# From two. Whatever it does in the grey cell it does in both, and in one of them that is wrong: there it walks to and fro
# between the cell and the end until time is up. Now let it draw. Between *always left* and *always right*, what is the best
# $q$? $J(q)$ bends downward everywhere (it is a sum of terms like $V(1)$ above, which do), so it has one peak, and bisecting
# its slope finds it:

# %%
q, mixed = exact.best_between(world, walker(0.0), walker(1.0), discount)
whole = replace(world, observation=torch.eye(8))  # somebody who sees the cell itself
_, seeing = exact.best_deterministic(whole, discount)
print(f"best q = {q:.6f}, J = {mixed:.4f}")
print(f"deterministic {best:.4f}; seeing the cell {seeing:.4f}")

# %%
picture, ax = plots.figure(8, 4.3)
lines = {
    "sees the cell": seeing.item(),
    "best stochastic policy": mixed.item(),
    "best of 256 deterministic policies": best.item(),
}
figures_01.levels(ax, lines)
plots.show(picture, "Who cannot tell two places apart does better by a coin than by any rule.")

# %% [markdown]
# Is it the best of *all* policies on these looks, not of this family only? In the white cells there is nothing to gain
# from other actions, and standing still in a grey one only loses time. Let us attack the claim with what we have: forty
# random policies, all 20 logits free, each improved for a while along its exact gradient (turn 12 explains it).

# %%
theta = 2 * Rng(range(40), dtype=double).normal(5, 4)  # [R, O, A]


def objective(theta):
    """J of tables of logits, exactly, [R]."""
    return earned(world, theta.softmax(-1), discount)


for _ in range(budget.choose(150, 40)):
    theta.requires_grad_()
    gradient = torch.autograd.grad(objective(theta).sum(), theta)[0]
    theta = (theta + 10 * gradient).detach()
print(f"the best of them has come to {objective(theta).max():.4f}; the claim is {mixed:.4f}")

# %% [markdown]
# None passes it. And the one who sees the cell needs no coin: where the state is seen, some deterministic policy is always among
# the best (take the action with the largest $Q$ everywhere; where time is short, the time left is part of the state). It is
# what you *cannot see* that makes chance worth something: your opponent's next move, or which of two cells you are in.
# Exploration will be another reason, but not today.

# %% [markdown]
# ## 8. What one must see
#
# Formula (1.1) has $p(s_{t+1} \mid s_t, a_t)$: where an action leads depends on the present state and on nothing before it.
# This is the **Markov assumption**. It is what made the recursion (1.6) possible.

# %%
widgets.predict(
    "Replace states by looks: the walker is in a grey cell and goes right. Does it help, for predicting "
    "what it will see next, to know what it saw one step earlier?",
    ["No: the past does not matter", "A little", "Completely"],
)

# %%
seen = look[paths.state]  # the looks along every trajectory of the short day, [T + 1, N]
now = (seen[1] == 1) & (paths.action[1] == RIGHT)  # grey cell, went right


def chance(event, given):
    """P(event | given), exactly."""
    both = (paths.probability * event * given).sum()
    return (both / (paths.probability * given).sum()).item()


# %%
middle = seen[2] == 2
print("next it sees the middle:           ", chance(middle, now))
print("... having come from the left end: ", chance(middle, now & (seen[0] == 0)))
print("... having come from the right end:", chance(middle, now & (seen[0] == 3)))
in_1 = now & (paths.state[1] == 1)
print("from the state, cell 1:            ", chance(middle, in_1))
print("... having come from the left end: ", chance(middle, in_1 & (seen[0] == 0)))

# %% [markdown]
# Completely. States are Markov, looks are not: the past holds what the look hides. Where the state is seen one speaks of **full
# observability**, else of a *partially observable* MDP, a **POMDP**. A walker with a memory would know which grey cell it
# is in; learning to remember is a subject of its own, and out of scope here, but for the recurrent models of lectures 18
# and 19. From now on we write $\pi_\theta(a \mid s)$ and mean: given what the policy sees. That the methods still
# work when this is less than the state is one of their strengths, as turn 7 has shown.

# %% [markdown]
# ## 9. Three families
#
# | | what is learned | how it acts | in this course |
# |---|---|---|---|
# | **value-based** | $Q(s, a)$ | takes the largest $Q$, now and then at random ($\varepsilon$-greedy) | lecture 16, as a tool |
# | **policy-based** | $\pi_\theta(a \mid s)$ | draws from $\pi_\theta$ | lectures 02 to 06 |
# | **actor-critic** | both: $V$ or $Q$ judges what $\pi_\theta$ does | draws from $\pi_\theta$ | from lecture 07 on |
#
# What does a value-based learner make of the corridor? It has one $Q$ per look, at best the average over the states that
# look so, weighted by how often it is there. (`visitation` is that: $\gamma^t P(s_t = s)$, summed over $t$.)

# %%
often = exact.visitation(world, coin, discount)  # [T, S]
Q = exact.action_value(world, coin, discount)  # [T, S, A]
total = (often[..., None] * Q).sum(0)  # [S, A]
grey = (total[1] + total[3]) / often[:, [1, 3]].sum()
for name, each in zip(world.actions, grey.tolist(), strict=True):
    print(f"Q(grey cell, {name:5s}) = {each:.3f}")

# %%
widgets.predict(
    "Its Q says that left and right are equally good, so it takes one of them, say right. Let it be epsilon-greedy: with "
    "probability $\\varepsilon$ it takes any of the four actions instead, each alike. Which $\\varepsilon$ is best here?",
    [
        "A small one, 0.05 or so: enough to get unstuck",
        "A large one: then it is like the coin",
        "None at all: zero",
    ],
)

# %%
epsilon = torch.linspace(0, 1, 101, dtype=double)[:, None, None]
J = earned(world, (1 - epsilon) * walker(1.0) + epsilon / 4, discount)  # [101]
for i in (0, 5, 10, 20, 50):
    print(f"ε = {epsilon[i].item():.2f}   J = {J[i]:+.4f}")
print(f"the best: ε = {epsilon[J.argmax()].item():.2f}; the coin has J = {mixed:.4f}")

# %% [markdown]
# None at all. Its dice are thrown everywhere, beside the pits too, while the one place that needs chance gets hardly any of it. A
# policy with parameters of its own can be certain in one place and torn in another. That is the first advantage of learning
# the policy itself. The second one comes now: the action need not be one of four.

# %% [markdown]
# ## 10. One body, three heads
#
# When observations are vectors of numbers, a network maps them to whatever fixes the policy. The network, its *body*,
# is always the same; the *head* makes actions of its output $\mu_\theta(s)$:
#
# - **deterministic**: the output is the action, $a = \mu_\theta(s)$, a steering angle, say;
# - **diagonal Gaussian**: the output is the mean, $a \sim \mathcal N(\mu_\theta(s), \operatorname{diag}(\sigma^2))$, with a spread
#   $\sigma$ of its own for each number of the action, also among the parameters;
# - **categorical**: the outputs are logits, $\pi_\theta(a \mid s) = \operatorname{softmax}(\mu_\theta(s))_a$, a choice among a few.

# %%
kinds = (policies.Deterministic, policies.Gaussian, policies.Categorical)
Code("\n".join(inspect.getsource(kind.forward) for kind in kinds), language="python")

# %%
rng = Rng(range(1))
bodies = [
    policies.Deterministic(rng, 1, 1),
    policies.Gaussian(rng, 1, 1, initial_std=0.5),
    policies.Categorical(rng, 1, 3),
]
for policy in bodies:  # they begin nearly indifferent; these shall show something
    policy.body.weights[-1].data *= 15
    policy.body.biases[0].data += rng.normal(1, 32)
picture, axes = plots.figure(8.5, 3.8, columns=3)
figures_01.heads(axes, bodies, torch.linspace(-3, 3, 101))
plots.show(
    picture,
    "A number, a density over numbers, a probability for each choice: all from the same kind of network.",
)

# %%
widgets.predict(
    "A Gaussian policy with spread 0.1 reports log-probabilities above zero. What is wrong?",
    [
        "The logarithm of a probability cannot be positive: a bug",
        "Nothing: it is a density",
        "The spread is too small to be allowed",
    ],
)

# %%
sharp = policies.Gaussian(rng, 1, 2, initial_std=0.1)
law = sharp(torch.zeros(1, 5, 1))  # five observations of one number
action = law.sample(rng.normal(5, 2))  # vectors of two numbers
print("actions", list(action.shape))
print("log-probabilities", law.log_prob(action)[0].detach().numpy().round(2))
z = (action - law.mean) / 0.1
by_hand = -(z.square() / 2 + math.log(0.1) + math.log(2 * math.pi) / 2).sum(-1)
assert_close(by_hand, law.log_prob(action))

# %% [markdown]
# A density may exceed one; probabilities are what it integrates to. In (1.1) the densities of actions stand
# beside probabilities without harm, and the sum in (1.3) becomes an integral. One log-probability belongs to the whole vector: its
# numbers are independent, so their log-densities are added. Of the three heads the deterministic one has no $\log \pi$, and will
# need other methods (lectures 11 and 14).

# %% [markdown]
# ## 11. Search without a gradient
#
# Now improve. The least one can do: try a $\theta$, walk to see how good it is, and keep it if it is the best so far. *Random
# search* tries anything; *hill climbing* tries neighbours of the best.
#
# ```text
# best = theta_0, record = minus infinity
# repeat
#     theta  = sigma * noise             random search
#     theta  = best + sigma * noise      hill climbing
#     score  = mean return of 20 walks with theta
#     if score > record:  best, record = theta, score
# ```


# %%
def walk_score(theta, rng):
    """J by 20 walks, for each learner's logits theta [R, O, A]."""
    batch = episodes(world, Table(theta), rng, 20)
    return returns.discounted(batch.reward, discount, batch.valid).mean(1)


def search(propose, score, tries):
    """Sixteen searchers. Returns J of their best and their records, [R, try], and the best."""
    rng, trace = Rng(range(16), dtype=double), []
    best = torch.zeros(16, 5, 4, dtype=double)
    record = torch.full((16,), -torch.inf, dtype=double)
    for _ in range(tries):
        theta = propose(best, rng.normal(5, 4))
        found = score(theta, rng)
        better = found > record
        best = torch.where(better[:, None, None], theta, best)
        record = torch.where(better, found, record)
        trace.append(torch.stack([objective(best), record]))
    return *torch.stack(trace, -1), best


# %%
tries = budget.choose(150, 30)
methods = {
    "random search": lambda best, noise: 3 * noise,
    "hill climbing": lambda best, noise: best + noise,
}
walked = {name: search(way, walk_score, tries) for name, way in methods.items()}


def true_score(theta, rng):
    return objective(theta)


told = {name: search(way, true_score, tries) for name, way in methods.items()}

# %%
widgets.predict(
    "Each searcher has tried many policies, with twenty walks for each. Beside them runs a climber who steps along the "
    "exact gradient, one step per try. After how many steps is it above where the best searchers end?",
    ["A tenth as many, or fewer", "About half as many", "About as many: the landscape is the difficulty"],
)

# %%
theta, climb = torch.zeros(5, 4, dtype=double), []
for _ in range(tries):
    theta.requires_grad_()
    J = objective(theta)
    climb.append(J.item())
    theta = (theta + 10 * torch.autograd.grad(J, theta)[0]).detach()
ends = max(run[0][:, -1].mean().item() for run in (*walked.values(), *told.values()))
passed = next(step for step, J in enumerate(climb) if ends < J)
print(f"after {tries} tries the best searchers have {ends:.3f} on average")
print(f"the gradient is above that after {passed} steps")

# %%
picture, axes = plots.figure(8.5, 4.6, columns=2, sharey=True)
figures_01.searches(axes, climb, {"score: 20 walks": walked, "score: J itself": told})
plots.show(
    picture,
    "Searches pay twice: for noise (left against right) and for not knowing the way (right against black).",
)

# %% [markdown]
# Read it with care. The gradient was computed from the tables, which no learner has, and its steps (ten times the gradient)
# were chosen by trying. The searchers on the left ask for nothing but walks: no tables, no derivative, a policy may be any
# program. That is why they are the first thing to try, and lecture 02 takes them seriously. But they pay twice. Left, a lucky
# score of twenty walks is kept for good, and blocks better policies. Right, with scores that are never wrong, they still
# grope.

# %% [markdown]
# ## 12. Why the gradient
#
# The **gradient** $\nabla_\theta J$ has one number per parameter, the slope of $J$ in its direction. Of all steps of a
# small length $\ell$ the one along the gradient climbs most, by about $\ell\, \lVert\nabla_\theta J\rVert$; a step in
# another direction climbs that times the cosine of the angle between them. So, with a step size $\alpha$,
#
# $$\theta \leftarrow \theta + \alpha\, \nabla_\theta J(\theta) \tag{1.7}$$

# %%
theta = Rng(0, dtype=double).normal(5, 4)[0].requires_grad_()  # any policy on looks
gradient = torch.autograd.grad(objective(theta), theta)[0]
theta = theta.detach()
anywhere = Rng(1, dtype=double).normal(5, 4)[0]
for name, way in (("along the gradient", gradient), ("anywhere", anywhere)):
    unit = way / way.norm()
    climbed = (objective(theta + 1e-4 * unit) - objective(theta)) / 1e-4
    print(f"{name:18s}  climbs {climbed:+.5f}", end="   ")
    print(f"‖∇J‖ cos {(gradient * unit).sum():+.5f}")

# %% [markdown]
# How good is a random direction? In $n$ dimensions the squared cosines with $n$ perpendicular axes sum to 1, so each is $1/n$
# on average, and a typical cosine is $1/\sqrt n$.

# %%
widgets.predict(
    "A policy has about 1000 parameters. Of ten random directions you take the best. "
    "What share of the gradient's climb does it get?",
    ["About half", "About a fifth", "About a twentieth"],
)

# %%
numbers = [16, 64, 256, 1024]  # of parameters: one logit per state and action
share = torch.zeros(16, len(numbers), dtype=double)  # [replica, n]
for column, n in enumerate(numbers):
    for replica in range(16):  # each has worlds of its own
        mdp = random_mdp(n // 4, 4, seed=replica)
        theta = torch.zeros(n // 4, 4, dtype=double, requires_grad=True)
        J = exact.expected_return(mdp, theta.softmax(-1))
        gradient = torch.autograd.grad(J, theta)[0].flatten()  # [n]
        ways = Rng(replica, dtype=double).normal(20, 10, n)[0]  # twenty times ten
        cosine = ways @ gradient / (ways.norm(dim=-1) * gradient.norm())
        share[replica, column] = cosine.amax(1).mean()  # the best of ten, on average

# %%
picture, ax = plots.figure(8, 4.2)
figures_01.directions(ax, numbers, share)
plots.show(picture, "The more parameters, the less a random step gets: groping does not scale.")

# %%
for n, mean in zip(numbers, share.mean(0).tolist(), strict=True):
    print(f"n = {n:4d}: the best of ten gets {mean:.1%} of the gradient's climb")

# %% [markdown]
# (The largest of ten standard normal numbers is 1.54 on average.) A policy for Pong has about a million parameters: less
# than two thousandths, from ten tries. So everybody wants $\nabla_\theta J$, and nobody can compute it by (1.6), for want
# of tables. Where can it come from? One may nudge each parameter and see what happens: lecture 02, $n$ evaluations a step. Or
# one may read it off the *same* walks that estimate $J$, all $n$ numbers at once: lectures 03 and 04, and most of this course.
#
# And two warnings. The gradient sees the slope under its feet, not the next hill. And it needs a $J$ that is smooth in
# $\theta$. With a policy that draws it is, even where the world jumps: $\theta$ moves probabilities, and they move
# smoothly. One more reason to draw.

# %% [markdown]
# ## 13. What goes wrong
#
# Three mistakes without an error message.
#
# **a) Taking the likeliest action in the end.** While it learned it drew its actions; now, for the report, somebody takes the
# most probable one instead. "The same policy, without the noise."

# %%
trained = walker(0.49)
greedy = torch.nn.functional.one_hot(trained.argmax(-1), 4).to(double)
for name, table in (("drawn", trained), ("likeliest", greedy)):
    print(f"corridor, actions {name:10s} J = {earned(world, table, discount):+.3f}")
nearly = torch.tensor([[0.34, 0.33, 0.33]], dtype=double)
rock = torch.tensor([[1.0, 0.0, 0.0]], dtype=double)
for name, table in (("drawn", nearly), ("likeliest", rock)):
    print(f"game, moves {name:10s}       J = {earned(game, table):+.3f}")

# %% [markdown]
# It is another policy, with a $J$ of its own. Often it is the better one. Here it is the stuck one. **The check:** evaluate what
# you trained, the way you trained it; if you report the greedy policy, say so.
#
# **b) Believing the score that made you choose.** The searchers of turn 11 each have a record. Is it their $J$?

# %%
for name, (truth, record, best) in walked.items():
    rng = Rng(range(16), stream=1, dtype=double)  # luck of its own
    fresh = torch.stack([walk_score(best, rng) for _ in range(5)]).mean(0)
    record, truth = record[:, -1], truth[:, -1]  # in the end, [R]
    print(f"{name}: record {record.mean():.3f}", end="   ")
    print(f"a hundred new walks {fresh.mean():.3f}   J {truth.mean():.3f}")
    half = 2.13 * (record - truth).std() / 4  # Student's t, sixteen replicas
    print(f"    record less J: {(record - truth).mean():.3f} ± {half:.3f}")

# %% [markdown]
# The record is the largest of many noisy scores, so it is mostly one of those with luck: the *winner's curse*. New walks
# know nothing of the choice and tell the truth. **The check:** never report the number by which you selected: neither the
# best seed, nor the best iteration. Evaluate the winner again.
#
# **c) The softmax, twice.** The network ends in a softmax, "because we need probabilities", and the distribution takes its output
# for logits. Nothing complains. The climber of turn 11, with and without:

# %%
theta = torch.zeros(2, 5, 4, dtype=double)  # once and twice, side by side
for _ in range(budget.choose(200, 100)):
    theta.requires_grad_()
    tables = torch.stack([theta[0].softmax(-1), theta[1].softmax(-1).softmax(-1)])
    J = earned(world, tables, discount)  # [2]
    theta = (theta + 10 * torch.autograd.grad(J.sum(), theta)[0]).detach()
for name, each, table in zip(("once", "twice"), J, tables, strict=True):
    print(f"softmax {name:5s}  J = {each:+.3f}   largest probability {table.max():.3f}")

# %% [markdown]
# Between 0 and 1 the "logits" differ by 1 at most, so no choice among four can be likelier than $e/(e + 3) = 0.475$. The
# walker staggers along the pits, however long it trains. **The check:** look at the largest probability of a trained policy.
# It should be able to come near 1.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_01)

# %% [markdown]
# ## In four lines
#
# 1. $J(\theta) = \sum_\tau p(\tau; \theta) R(\tau)$, the expected return. The policy moves the probabilities of trajectories; what
#    they pay is the world's.
# 2. $J$ can be listed (rarely), computed backward in time (with tables), or sampled: then with an error of $\sigma/\sqrt N$, which
#    one states.
# 3. Where the state is not seen, a policy without chance may be exploited or get stuck, however well it is chosen; the best one
#    draws.
# 4. Searches need only scores, and grope: a random direction gets $1/\sqrt n$ of what the gradient gets.
#
# **Now you:** [exercise 01](../exercises/01_policies_and_objectives.ipynb) asks for the log-probability of a trajectory, its
# return, $J$ by sampling and by recursion, and the best policy of a corridor whose two sides are not alike. **Next:**
# [lecture 02](02_finite_differences.ipynb) nudges parameters and measures slopes.

# %% [markdown]
# ## Sources
#
# - The setting (trajectories and their probability, Markov assumption, observability, expected return and its maximisation): the
#   slides `002_20f9c9cab9178118.txt`. Value-based, policy-based and actor-critic methods, the three kinds of policy, hill
#   climbing as a start ($U$ for our $J$, $u$ for our $a$): the slides `003_0746104038de6fc3.txt`. Why policy gradients, and
#   rock-paper-scissors: the notes `004_c4625da9e5213f66.txt`.
# - D. Silver (2015), lectures on reinforcement learning, lecture 7: the aliased gridworld.
# - S. P. Singh, T. Jaakkola and M. I. Jordan (1994), "Learning without state-estimation in partially observable Markovian
#   decision processes", *ICML*. Why stochastic policies when states look alike.
# - M. L. Puterman (1994), *Markov Decision Processes*. Where the state is seen, a deterministic policy is among the best.
