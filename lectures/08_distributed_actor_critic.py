# %% [markdown]
# # 08 Many workers: with or without waiting for each other?
#
# The learners of lecture 07 had one computer core to themselves. A machine has several, a cluster has hundreds. Put a worker on
# each, let all act, and let all improve the same weights. Then a question comes up that no single process ever asked: when one
# worker is done and the others are not, does it wait?
#
# **After it you can**
# - say what a batch of consecutive steps is worth, and what parallel workers make of it;
# - run an actor-critic in several processes, on one machine or many, in step or out of step;
# - predict how old an asynchronous gradient is, and how old it may be.
#
# **You need** lecture 07. **Time:** 60 minutes at the keyboard, 25 as a talk.

# %%
import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from IPython.display import Code
from torch.testing import assert_close

from pgcourse import budget, envs, figures_08, nn, plots, policies, quizzes, returns, widgets
from pgcourse.algorithms import a2c, a2c_distributed, a3c
from pgcourse.history import History
from pgcourse.rng import Rng
from pgcourse.rollout import Rollout, rollout

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
double = torch.float64

# %% [markdown]
# ## The whole lecture in one picture
#
# Left, who works when: a bar is one batch, a black line the moment at which all that waited go on together. Right, a stand-in for
# learning: everybody helps to descend the same bowl, by noisy gradients. Who waits averages, and makes one step where the
# others make many. Who does not wait steps at once, along a gradient that belongs to weights of a while ago.

# %%
caption = "Waiting wastes time, and more of it with every worker. Not waiting wastes none, but too long a step then blows up."
widgets.movable(figures_08.race, **figures_08.RACE, caption=caption)

# %% [markdown]
# Try this. *Spread* to 0: what does waiting still cost? Then 16 workers, and slowly a larger *step size*: which of the two breaks
# first? Then a larger *spread*: who suffers? By the end of the lecture you can say at which step size it breaks, before you move the
# slider.

# %% [markdown]
# ## 1. A batch of consecutive steps
#
# Why several streams of experience at all? Consecutive steps are alike: a pendulum that hangs to the left does so in the next step.
# Take $N$ numbers $x_t$ (a coordinate of each step's gradient, say) with variance $\sigma^2$, and let $\rho_k$ be the correlation of two
# that are $k$ steps apart. The variance of a mean is the mean of all covariances, and $N - k$ pairs lie $k$ apart, counted twice:
#
# $$\operatorname{Var}\Big[\frac1N \sum_t x_t\Big] = \frac{1}{N^2} \sum_{t, t'} \sigma^2 \rho_{|t - t'|}
# = \frac{\sigma^2}{N} \Big[1 + 2 \sum_{k=1}^{N-1} \Big(1 - \frac kN\Big) \rho_k\Big] \tag{8.1}$$
#
# If steps were independent, the bracket would be 1.

# %%
widgets.predict(
    "16 consecutive steps of one pendulum: how many independent steps are they worth, to a critic's gradient?",
    ["Nearly 16", "About 8", "About 2"],
)

# %% [markdown]
# Measure it. 4,096 pendulums, pushed at random, and a critic that is linear in the three numbers one sees of a pendulum. Its gradient
# at one step is $-\delta_t$ times these numbers, by (7.9):

# %%
pendulum, streams = envs.make("Pendulum-v1"), budget.choose(4096, 1024)
policy, rng = policies.for_env(pendulum, Rng(0, dtype=double)), Rng(0, stream=1, dtype=double)
batch, _ = rollout(pendulum, policy, rng, 164, streams)
phi = torch.tensor([1.0, 0.5, 0.1], dtype=double)  # some critic
value, following = batch.observation @ phi, batch.next_observation @ phi
delta = returns.td_error(batch.reward, value, following, 0.9, batch.terminated)
g = (-delta[..., None] * batch.observation)[0, 100:]  # [64, streams, 3]: the first 100 steps only mix
g = g - g.mean((0, 1))

# %%
size = g.square().sum(-1).mean()
rho = torch.stack([(g[: 64 - k] * g[k:]).sum(-1).mean() / size for k in range(16)])  # [k]
print("correlation after 1, 4, 8 steps:", [round(float(rho[k]), 2) for k in (1, 4, 8)])


def inflation(n):
    """The bracket of (8.1), for n consecutive steps."""
    k = torch.arange(1, n)
    return float(1 + 2 * ((1 - k / n) * rho[1:n]).sum())


print(f"16 consecutive steps are worth {16 / inflation(16):.1f} independent ones")

# %% [markdown]
# Two. The rest says again what has been said. Worse than the noise: for a while *every* batch says the same, and pulls the networks
# there.

# %% [markdown]
# ## 2. Many streams
#
# Let $W$ workers take $n = N / W$ steps each, in worlds that know nothing of each other. The streams are independent, so the variance of
# the mean over all is that of one stream's mean, over $W$; in (8.1) the sum ends at $n$:
#
# $$\operatorname{Var} = \frac{\sigma^2}{N} \Big[1 + 2 \sum_{k=1}^{n-1} \Big(1 - \frac kn\Big) \rho_k\Big], \qquad n = N / W \tag{8.2}$$
#
# The number of samples is the same. What is gone is the correlation of steps that are far apart in a stream.

# %%
for W in (1, 2, 4, 16):
    n = 16 // W
    means = g.reshape(64 // n, n, -1, W, 3).mean((1, 3))  # batches of W streams, n steps each: [.., .., 3]
    measured = means.square().sum(-1).mean() / (size / 16)
    print(f"{W:2d} streams of {n:2d} steps: {measured:.2f} times the variance of independent ones, (8.2): {inflation(n):.2f}")

# %% [markdown]
# The same number of samples, less noise. But the price of cutting a stream into pieces is that the critic is asked after every piece.

# %%
widgets.predict(
    "A2C on Pendulum, 250 updates of 64 samples: one stream of 64 steps, or 16 streams of 4. Which learns more?",
    ["16 x 4: its samples are less alike", "1 x 64: it looks farther ahead", "Neither gets anywhere"],
)

# %%
settings = {"discount": 0.9, "trace_decay": 0.9, "step_size": 5e-3, "value_step_size": 3e-2, "entropy_weight": 0.0}
cuts = {"1 stream x 64": (1, 64), "16 streams x 4": (16, 4), "16 streams x 64": (16, 64)}
swings = {}
for name, (E, T) in cuts.items():
    config = a2c.Config(environments=E, steps=T, iterations=budget.choose(250, 20), **settings)
    _, history = a2c.train(pendulum, config, Rng(range(budget.choose(10, 4))))
    swings[name] = figures_08.smooth(torch.from_numpy(history.metrics["return"]), budget.choose(20, 5))

# %%
picture, ax = plots.figure(8, 4.6)
figures_08.by_update(ax, swings, ("biased", "finite_differences", "baseline"))
plots.show(
    picture,
    "At full budget: sixteen workers help when each brings a batch of its own, not when they cut one batch into crumbs.",
)

# %% [markdown]
# (At full budget.) Neither. The crumbs are the least alike, but four steps ahead there is only the critic, and the critic knows nothing yet
# (lecture 07, turn 5). One stream looks farther, and repeats itself. What many workers are good for is the third curve: each brings *all* its
# 64 steps, at the same time. If each has a core, the batch of 1,024 takes no longer than that of 64. (Grey begins late: at four steps an update,
# the first episode, 200 steps, ends after 50.)

# %% [markdown]
# ## 3. Waiting: the average is the union
#
# The streams of turn 2 were rows of one tensor in one process. Now give each worker a process of its own, on its own core or machine, with
# $n_w$ samples and the gradient $g_w$ of its mean loss. What is the gradient of the mean loss over *all* samples?
#
# $$g = \frac{\sum_w n_w\, g_w}{\sum_w n_w}, \qquad \text{with equal batches} \quad g = \frac1W \sum_w g_w \tag{8.3}$$
#
# because a mean times its number is a sum, and gradients add. Nothing is approximated: it is the same learner with a larger batch. This is
# the **synchronous** way, A2C on several processes.

# %%
cartpole = envs.make("CartPole-v1")
policy, critic = policies.for_env(cartpole, Rng(0, dtype=double)), policies.Value(Rng(0, dtype=double), 4)
parts = [rollout(cartpole, policy, Rng(0, stream=w, dtype=double), 16, 4)[0] for w in (1, 2, 3)]
union = Rollout(*(torch.cat(each, 2) for each in zip(*(vars(part).values() for part in parts), strict=True)))


def gradient(batch):
    of_policy, _, _ = a2c.losses(policy, critic, batch, a2c.Config(), nn.lift(a2c.loss))
    return nn.flat_gradient(of_policy, policy.parameters())


average = torch.stack([gradient(part) for part in parts]).mean(0)
assert_close(average, gradient(union))
print("largest difference:", (average - gradient(union)).abs().max().item())

# %% [markdown]
# **Algorithm 8.1, A2C by $W$ workers.** All hold the same weights. Each repeats:
#
# 1. Go on for $T$ steps in each of $E$ environments, with a random stream of its own.
# 2. $g_w$: the gradient of A2C's losses on this batch (algorithm 7.3).
# 3. **all-reduce**: everybody hands in $g_w$, waits, and gets the mean (8.3).
# 4. The optimizer's step along the mean.
#
# Weights are never sent: equal weights, equal gradients, equal steps. In `pgcourse/algorithms/a2c_distributed.py`:

# %%
Code(inspect.getsource(a2c_distributed.average) + "\n\n" + inspect.getsource(a2c_distributed.update), language="python")

# %% [markdown]
# `torch.distributed` does the talking, and its launcher `torchrun` starts the workers. In a terminal it is one line; on several machines the
# same line on each, with the address of one of them (it stands in the file's docstring):
#
# ```text
# torchrun --nproc-per-node 2 -m pgcourse.algorithms.a2c_distributed CartPole-v1 --out runs/a2c
# ```


# %%
def torchrun(workers, **settings):
    """A2C by so many real processes of this machine; returns its history."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
    with tempfile.TemporaryDirectory() as out:
        program = ["-m", "pgcourse.algorithms.a2c_distributed", "CartPole-v1", f"--out={out}", *flags]
        ended = subprocess.run([*launch, *program], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return History.load(Path(out) / "history.npz")


# %%
batches, seeds = budget.choose(1000, 60), budget.choose(16, 4)
common = {"environments": 4, "steps": 16, "step_size": 1e-3, "value_step_size": 5e-3, "trace_decay": 1.0}
synchronous = torchrun(2, replicas=seeds, iterations=batches // 2, **common)
print(f"{synchronous.iteration} updates of 2 x 64 steps, {synchronous.steps[0, -1]:,.0f} steps per learner")

# %% [markdown]
# ## 4. What waiting costs
#
# A round lasts as long as its slowest worker. Let the times be independent and exponential with mean 1, an unkind but not absurd case.
# While $j$ are still busy, the next to finish comes after $1/j$ on average (the rates add up). So
#
# $$\mathbb E\big[\max_w t_w\big] = \frac1W + \frac1{W-1} + \dots + \frac12 + 1 \approx \ln W + 0.58 \tag{8.4}$$

# %%
time = -(1 - Rng(range(16), dtype=double).uniform(20_000)).log()  # exponential, [worker, round]
for W in (1, 2, 4, 16):
    harmonic = sum(1 / j for j in range(1, W + 1))
    print(
        f"{W:2d} workers: a round takes {time[:W].amax(0).mean():.3f}, by (8.4) {harmonic:.3f}; at work {1 / harmonic:.0%} of the time"
    )

# %% [markdown]
# With equal times waiting would be free. Environments differ, though (an episode that ends has to be reset, a simulator has contacts),
# and so do machines. Sixteen such workers do the work of five.

# %% [markdown]
# ## 5. Not waiting: A3C
#
# **Asynchronous advantage actor-critic.** The weights lie in memory that all processes share. Every worker reads and changes them when
# *it* is ready, without asking, without a lock.
#
# **Algorithm 8.2, A3C.** Each worker, with a random stream of its own, repeats:
#
# 1. $\theta', \phi' \leftarrow \theta, \phi$: a copy of the shared weights.
# 2. Go on for $t_{\max}$ steps with $\pi_{\theta'}$.
# 3. $R \leftarrow V_{\phi'}(s)$ of the state reached, or 0 after an end. From the last step to the first, with $R$ a number:
#
# $$\begin{aligned} R &\leftarrow r_t + \gamma R, \\
# d\theta &\leftarrow d\theta + \big(R - V_{\phi'}(s_t)\big)\, \nabla \log \pi_{\theta'}(a_t|s_t), \\
# d\phi &\leftarrow d\phi + \nabla \tfrac12 \big(R - V_{\phi'}(s_t)\big)^2 \end{aligned} \tag{8.5}$$
#
# 4. Climb along $d\theta$, descend along $d\phi$, from wherever the others have taken $\theta$ and $\phi$ meanwhile.
#
# Step 3 is not new. It is the longest $n$-step advantage that the batch allows, GAE with $\lambda = 1$:

# %%
reward, value = Rng([0, 1], dtype=double).normal(6).unbind(0)
R, loop = torch.tensor(2.5, dtype=double), torch.empty(6, dtype=double)  # V of the state reached
for t in reversed(range(6)):
    R = reward[t] + 0.9 * R
    loop[t] = R - value[t]
following, never = torch.cat([value[1:], torch.tensor([2.5])])[:, None], torch.zeros(6, 1, dtype=torch.bool)
assert_close(loop, returns.gae(reward[:, None], value[:, None], following, 0.9, 1.0, never, never)[:, 0])
print("(8.5) and returns.gae agree:", loop.numpy().round(3))

# %%
Code(inspect.getsource(a3c.work), language="python")

# %% [markdown]
# (Mnih et al. ran threads. Python runs one thread at a time, so ours are processes, started by `a3c.train`. Each acts for all replicas, so
# that we get our band.) *No lock?* Two workers may write at once, and a number may get lost. With many weights and small steps that is
# one more small noise; the idea is called Hogwild.

# %%
widgets.predict(
    "Two workers of equal speed, neither waits. How many updates of the other come between a worker's copy and its own update?",
    ["None: it copies afresh each time", "One, on average", "Two, on average", "It grows as the run goes on"],
)

# %%
asynchronous = {}
for W in budget.choose((2, 4), (2,)):
    config = a3c.Config(workers=W, iterations=batches, **common)
    show = plots.live(threshold=475, label=f"A3C, {W} workers", color="biased") if W == 2 else None
    _, asynchronous[W] = a3c.train(cartpole, config, Rng(range(seeds)), progress=show)

# %% [markdown]
# ## 6. Staleness
#
# While a worker computes, others move the weights. The number of updates by others between its copy and its update is its gradient's
# **staleness**. Count it twice. Worker $w$ copies, updates, copies, updates: these intervals fill its whole time. So each update by
# another falls into exactly one of them, and is counted once by each of the $W - 1$ others. With $K$ updates in all,
#
# $$\sum_{k=1}^{K} d_k = (W - 1)\, K, \qquad \text{a mean of } W - 1 \tag{8.6}$$
#
# whatever the speeds are. (At the ends of the run a few go uncounted, and in real life a worker also does things between its update and its next
# copy. So: at most.)

# %%
for spread in (0.0, 0.5, 1.0):
    updates = figures_08.without_waiting(figures_08.durations(4, spread, 3000, seed=0), 4000)
    late = np.array([each.staleness for each in updates])
    print(f"drawn by lot, 4 workers, spread {spread}: mean {late.mean():.3f}, largest {late.max()}")
for W, history in asynchronous.items():
    late = history.metrics["staleness"][0]
    print(f"real, {W} workers on {os.cpu_count()} cores: mean {late.mean():.3f}, largest {late.max():.0f}; bound {W - 1}")

# %%
picture, ax = plots.figure(8, 4.2)
counted = {f"{W} workers": history.metrics["staleness"][0] for W, history in asynchronous.items()}
figures_08.bars(ax, counted, budget.choose(("biased", "other"), ("biased",)))
plots.show(picture, "Uneven speeds change how staleness is spread, not its mean: that is at most the number of the others.")

# %% [markdown]
# ## 7. How old may a gradient be?
#
# On a bowl with curvature $h$, with every gradient $d$ updates old,
#
# $$\theta_{k+1} = \theta_k - \alpha h\, \theta_{k-d} \tag{8.7}$$

# %%
widgets.predict(
    "With fresh gradients, descent on a bowl with curvature 1 is stable up to a step size of 2. With gradients one update old?",
    ["Up to 2 as well: they are still gradients", "Up to about 1.4", "Up to 1", "Never stable"],
)


# %%
def descend(step, delay, updates=40):
    path = [1.0] * (delay + 1)  # at rest, until the first old gradient arrives
    for _ in range(updates):
        path.append(path[-1] - step * path[-1 - delay])
    return path[delay:]


picture, axes = plots.figure(8.5, 4.2, columns=2, sharey=True)
for ax, delay, steps in zip(axes, (1, 7), ((0.9, 1.05), (0.19, 0.22)), strict=True):
    figures_08.swings(ax, {f"step {step}": descend(step, delay, 80) for step in steps}, ("baseline", "biased"))
    ax.set(title=f"staleness {delay}", ylim=(-4, 4))
plots.show(picture, "An old gradient still points downhill from where it was computed. By now that may be the other side.")

# %% [markdown]
# Where exactly? Try $\theta_k = z^k$ in (8.7): $z^{d+1} - z^d + \alpha h = 0$. It is stable while all $z$ are inside the unit circle, and at the
# limit one is on it, $z = e^{i\omega}$. Then $\alpha h = z^d (1 - z)$. The length of the right side is $2 \sin\frac\omega2$; its angle,
# $d\omega + \frac{\omega - \pi}{2}$, must be 0, so $\omega = \pi / (2d + 1)$, and
#
# $$\alpha_{\max} = \frac2h \sin \frac{\pi}{2\,(2d + 1)} \approx \frac{\pi}{h\,(2d + 1)} \tag{8.8}$$

# %%
for delay in (0, 1, 3, 7, 15):
    limit = figures_08.stable_step(delay)
    roots = [abs(np.roots([1, -1, *[0] * (delay - 1), limit])).max() if delay else abs(1 - limit)]
    below, above = (abs(descend(factor * limit, delay, 4000)[-1]) < 0.1 for factor in (0.95, 1.05))
    print(f"staleness {delay:2d}: limit {limit:.3f}, largest |z| {roots[0]:.3f}; 5 % below stable: {below}, above: {above}")

# %% [markdown]
# One update late halves it, and $W$ workers, $d = W - 1$, divide it by about $1.3\, W$. That is why the orange curve
# at the top breaks when steps are long. A remedy suggests itself, a step of
#
# $$\alpha_k = \frac{\alpha}{1 + d_k} \tag{8.9}$$
#
# which is safe again on the bowl, as long as $\alpha h < \pi / 2$: $W$ workers with $1/W$ of the step, $W$ times as often. You will write this
# comparison in the exercise.

# %% [markdown]
# ## 8. Does it hurt a policy?
#
# A policy is no bowl. Let us make staleness ourselves, exactly $d$ for every update, in one process, so that speeds and luck play no part:
# act and differentiate with the weights of $d$ updates ago, step from those of now.


# %%
from collections import deque
from copy import deepcopy


def late_gradients(delay, step_size, updates):
    """A2C on CartPole, every gradient ``delay`` updates old. The return at each update, [R, updates]."""
    rng, loss, carry, found = Rng(range(budget.choose(12, 4))), nn.lift(a2c.loss), None, []
    policy, critic = policies.for_env(cartpole, rng), policies.Value(rng, 4)
    optimizers = nn.Adam(policy, step_size, 0.5), nn.Adam(critic, 5 * step_size, 0.5)
    copies = deque(maxlen=delay + 1)
    for _ in range(updates):
        copies.append(deepcopy((policy, critic)))
        old = copies[0]
        batch, carry = rollout(cartpole, old[0], rng, 16, 4, carry)
        for optimizer, copy, of_it in zip(optimizers, old, a2c.losses(*old, batch, a3c.Config(), loss)[:2], strict=True):
            optimizer.descend(nn.flat_gradient(of_it, copy.parameters()))
        found.append(carry.episode_return)
    return torch.stack(found, 1)


# %%
widgets.predict(
    "CartPole, Adam's step size 0.004, every gradient 15 updates old. What becomes of learning?",
    ["It breaks, as on the bowl", "It begins later, but it learns", "Nothing changes"],
)

# %%
updates, delayed = budget.choose(250, 12), {}
for name, (delay, size) in {"0": (0, 4e-3), "15": (15, 4e-3), "50": (50, 4e-3), "15, by (8.9)": (15, 4e-3 / 16)}.items():
    delayed[f"staleness {name}"] = figures_08.smooth(late_gradients(delay, size, updates), budget.choose(20, 4))

# %%
picture, ax = plots.figure(8.5, 4.6)
figures_08.by_update(ax, delayed, ("exact", "biased", "other", "finite_differences"))
plots.show(picture, "At full budget: old gradients slow learning; correcting a step that was safe slows it far more.")

# %% [markdown]
# (At full budget.) It does not break. Adam and the clip keep every step short, so that weights of 15 updates ago are nearly those of now: we are far
# below a limit like (8.8), and a correction (grey) slows down what needed none. But learning begins later with every update of age. With hundreds
# of workers, or a step size tuned to the edge, the bowl is the better guide.

# %% [markdown]
# ## 9. The same budget
#
# Now the real runs of turns 3 and 5 side by side. Every worker's batch is 4 environments times 16 steps, and all have the same number of batches.
# Synchronous workers make one update of $W$ batches, asynchronous ones $W$ updates of one.

# %%
runs = {f"A3C, {W} workers": history for W, history in asynchronous.items()} | {"A2C, 2 workers": synchronous}
runs = {name: (history, max(1, history.iteration // 20)) for name, history in runs.items()}
picture, ax = plots.figure(8.5, 4.8)
figures_08.curves(ax, runs, budget.choose(("biased", "other", "score_function"), ("biased", "score_function")))
plots.show(
    picture,
    "At full budget: on equal steps, several small updates of slightly old gradients go further than one averaged update.",
)

# %%
for name, (history, over) in runs.items():
    final = np.nanmean(history.metrics["return"][:, -over:], 1)
    seconds = history.seconds[-1] - history.seconds[0]
    half = 2 * final.std() / len(final) ** 0.5
    print(
        f"{name:16s} return {final.mean():4.0f} ± {half:3.0f}, {history.steps[0, -1] / seconds:7,.0f} steps a second per learner"
    )
print(f"cores: {os.cpu_count()}")

# %% [markdown]
# (At full budget; ± is two standard errors.) Whether gradients are one or three updates old hardly shows. What shows is that workers in
# step make half as many updates from the same number of steps, each with half the noise, and with the same step size that is slower here;
# they could afford a longer step. So per *environment step* many small updates win as long as they are not noisy, and per *second* it
# depends on what waiting costs. That is why both ways are alive: out of step where workers are slow and uneven, in step where they are
# equal, because there a run can be repeated to the last digit, and out of step no two are alike. (The steps a second are those of the
# machine this was run on. More workers than cores only take turns.)
#
# ## 10. What goes wrong
#
# **a) The same random numbers in every worker.** Each worker seeds itself with the seed of the run. All see the same world, do the same, and
# report the same gradient:


# %%
def variance(streams):
    """Of the mean gradient of workers with these streams, over 200 replicas with the same weights."""
    many = policies.for_env(cartpole, Rng(range(200)))
    for parameter in many.parameters():
        parameter.data[:] = parameter.data[:1]
    found = []
    for w in streams:
        batch, _ = rollout(cartpole, many, Rng(range(200), stream=w), 16, 4)
        weight = returns.to_go(batch.reward, 0.99, batch.done)
        objective = (many(batch.observation).log_prob(batch.action) * weight).mean((1, 2))
        found.append(nn.flat_gradient(objective, many.parameters()))
    return torch.stack(found).mean(0).var(0).sum().item()


alone = variance([1])
for name, streams in (("streams of their own", (1, 2, 3, 4)), ("one stream for all", (1, 1, 1, 1))):
    print(f"4 workers, {name}: variance {variance(streams) / alone:.2f} of a single worker's")

# %% [markdown]
# It learns as a single worker does, at four times the price, and nothing looks wrong. *The check*: two workers' first batches differ. (`Rng` takes
# the worker's number as `stream`.)
#
# **b) Adding instead of averaging.** `all_reduce` adds unless told otherwise. On the bowl with $h = 1$ and a step of 0.2, by 16 workers:

# %%
for name, factor in (("mean", 1), ("sum", 16)):
    print(f"{name}: after 10 updates theta = {descend(0.2 * factor, 0, 10)[-1]:.3g}")

# %% [markdown]
# With two workers it would merely have been a larger step, and somebody would have tuned it away. Adam hides it altogether: it divides by the
# gradient's own size. *The check*: $W$ workers with equal batches make the
# step of one.
#
# **c) A copy that is never renewed.** Line 1 of algorithm 8.2 forgotten: gradients of the first weights for ever, staleness $k$ at update $k$.

# %%
theta, first = 1.0, 1.0
for k in range(1, 31):
    theta -= 0.1 * first  # h = 1, at the copy
    if k in (10, 20, 30):
        print(f"update {k}: theta = {theta:+.1f}")

# %% [markdown]
# Straight through the bottom and out on the other side, at constant speed. *The check*: with one worker the result is that of the serial program, to
# the last bit, which is what this course tests of `a3c`.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_08)

# %% [markdown]
# ## In four lines
#
# - Consecutive steps repeat each other, (8.1). Independent streams do not, (8.2).
# - Waiting: the mean of the gradients is the gradient of the union, (8.3). A round costs the slowest worker's time, (8.4).
# - Not waiting: nobody is idle, gradients are up to $W - 1$ updates old on average, (8.6).
# - Age limits the step, (8.8). Below the limit it costs little.
#
# **Now you:** [exercise 08](../exercises/08_distributed_actor_critic.ipynb) asks for what an A3C worker accumulates, for what synchronous workers
# average, and for a descent along old gradients.
#
# **Next:** all these steps are small because nobody knows how far a step may go. Lecture 09 asks exactly that.

# %% [markdown]
# ## Sources
#
# - V. Mnih et al. (2016), Asynchronous methods for deep reinforcement learning, *ICML*. A3C; its algorithm S3 is our 8.2.
# - F. Niu, B. Recht, C. Re, S. J. Wright (2011), Hogwild!: a lock-free approach to parallelizing stochastic gradient descent, *NIPS*.
# - J. Chen, R. Monga, S. Bengio, R. Jozefowicz (2016), Revisiting distributed synchronous SGD. What the slowest worker costs.
# - W. Zhang, S. Gupta, X. Lian, J. Liu (2016), Staleness-aware async-SGD for distributed deep learning, *IJCAI*. (8.9).
# - Source slides: `002_20f9c9cab9178118.txt` (correlated minibatches, several online agents, A2C, A3C), `003_0746104038de6fc3.txt` (asynchronous
#   methods, algorithm S3, synchronous and asynchronous workers).
