# %% [markdown]
# # 10 Can a clipped objective do it without second-order machinery?
#
# TRPO stays near the old policy with two derivatives, a solver and a search, and then takes *one* step per batch. Could
# we not take many cheap steps on the same batch, and stop pushing an action once its probability has moved enough?
# That is proximal policy optimization, PPO. It fits in a page, and it is what most people run.
#
# **After it you can**
# - say what a clip does to a step in each of four cases, and what it does *not* do;
# - write PPO, and watch it by two numbers that tell when it goes too far;
# - say which of its many details carry the result, and measure that.
#
# **You need** lectures 05, 07 (GAE) and 09. **Time:** 60 minutes at the keyboard, 30 as a talk.

# %%
import copy
import inspect
import math

import numpy as np
import torch
from IPython.display import Code, display
from torch.testing import assert_close

from pgcourse import budget, distributions, envs, figures_10, nn, plots, policies, quizzes, widgets
from pgcourse.algorithms import a2c, ppo, trpo, vanilla
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
F64 = torch.float64

# %% [markdown]
# ## The whole lecture in one picture
#
# Left, one step of a batch: what it adds to the objective as its ratio (new probability of its action over old) moves.
# Arrows say where the ratio is pushed. Right, a bandit with six arms that pay 1 to 0 on average, with noise. It pulls
# the best arm most of the time, and learns from **one** batch of pulls for ever longer. Dotted is what the batch
# promises, solid what the policy is truly paid (mean and middle half of 200 batches).

# %%
caption = (
    "From one small batch, the plain surrogate learns first the truth and then the noise. The clip lets go of each step that "
    "has moved by epsilon."
)
widgets.movable(figures_10.claim, **figures_10.CLAIM, caption=caption)

# %% [markdown]
# Move `ratio` through the blue strip: which of the two arrows disappears, and when? Then set `pulls` to 256. Now the
# clip is too careful: a large batch could have paid for a longer way.

# %% [markdown]
# ## 1. The importance ratio
#
# The surrogate of lecture 09 rests on one number per step, its **importance ratio**
#
# $$\rho_t(\theta) = \frac{\pi_\theta(a_t \mid s_t)}{\pi_{\text{old}}(a_t \mid s_t)}
# = \exp\big(\log \pi_\theta(a_t|s_t) - \log \pi_{\text{old}}(a_t|s_t)\big) \tag{10.1}$$
#
# (The paper writes $r_t$; we keep $r$ for rewards.) It turns means under one policy into means under another:
#
# $$\mathbb{E}_{a \sim \pi_{\text{old}}}[\rho] = 1, \qquad
# \mathbb{E}_{a \sim \pi_{\text{old}}}[\rho\, A] = \mathbb{E}_{a \sim \pi_\theta}[A], \qquad
# \operatorname{Var}[\rho] = \mathbb{E}_{a \sim \pi_\theta}[\rho] - 1 \tag{10.2}$$

# %%
logits = Rng(0, dtype=F64).normal(1, 5)[0, 0]  # one state, five actions
direction, A = Rng(1, dtype=F64).normal(2, 5)[0]
old = logits.softmax(-1)
for far in (0.1, 0.5, 1.0, 2.0, 4.0):
    new = (logits + far * direction).softmax(-1)
    ratio = new / old
    means = (old @ ratio, old @ (ratio * A), new @ A)
    variance = old @ (ratio - 1) ** 2
    assert_close(variance, new @ ratio - 1)
    print(f"distance {far}: E[ratio] = {means[0]:.3f}, E[ratio A] = {means[1]:+.4f} = {means[2]:+.4f}, Var {variance:7.3f}")

# %% [markdown]
# (The last because $\mathbb{E}_{\pi_{\text{old}}}[\rho^2] = \mathbb{E}_{\pi_\theta}[\rho]$.) The means are right however far
# one goes. The variance is not bounded: as the policies part, all weight falls on a few actions with large ratios. At
# $\theta_{\text{old}}$ every ratio is 1, and the gradient of $\rho A$ is $A \nabla \log \pi$. So the *first* step on a batch is the policy gradient, and all later ones are something else.

# %% [markdown]
# ## 2. Many steps on one batch
#
# A batch costs environment steps; gradient steps cost only arithmetic. So use each batch several times: $K$ **epochs**,
# each in a new random order, cut into $M$ **minibatches**. The next cell does that with the plain surrogate,
# $\rho_t A_t$, for 4 epochs of 8 minibatches on CartPole. (`clip=1e6` never clips.)


# %%
env, seeds, updates = envs.make("CartPole-v1"), budget.choose(16, 4), budget.choose(25, 5)
COMMON = {"environments": 8, "steps": 128, "minibatches": 8, "step_size": 1e-2, "hidden": (32, 32)}


def run(label=None, color="score_function", loss=ppo.loss, **changes):
    """Train ``seeds`` learners with PPO and these changes; returns what happened."""
    config = ppo.Config(**{"iterations": updates, **COMMON, **changes})
    show = plots.live(label=label, color=color) if label else None
    return ppo.train(env, config, Rng(range(seeds)), loss=loss, progress=show)[1]


# %%
widgets.predict(
    "The plain surrogate with Adam's step size 0.001, and with 0.01. What happens with the larger one?",
    ["It learns faster", "It learns nothing at all", "It starts well and then stalls or collapses"],
)

# %%
plain = {size: run(f"not clipped, {size}", "biased", clip=1e6, step_size=size) for size in (1e-3, 1e-2)}

# %%
for size, each in plain.items():
    last, kl = each.window("return", 3)[:, -1], each.metrics["kl"]
    print(f"step size {size}: return at the end {last.mean():3.0f}, worst learner {last.min():3.0f};")
    print(f"    KL of an update: mean {kl.mean():.3f}, largest {kl.max():.1f} nats")

# %% [markdown]
# At full budget the long steps start faster than the short ones and then stall near a return of 200, with learners that have forgotten
# everything. The largest KL of an update is many nats: lecture 09 asked for 0.01. Nothing in $\rho_t A_t$ says *stop*. An action with
# $A > 0$ earns more the more its ratio grows, and the batch cannot say that this is nonsense by now.

# %% [markdown]
# ## 3. The clip
#
# So let the gain end where the ratio has moved by $\epsilon$. For $\epsilon = 0.2$:
#
# $$L^{\text{clip}}(\theta) = \mathbb{E}_t\big[\min\big(\rho_t A_t,\; \operatorname{clip}(\rho_t, 1 - \epsilon, 1 + \epsilon)\,
# A_t\big)\big] \tag{10.3}$$
#
# Work out the minimum. For $A > 0$ the smaller product has the smaller ratio, for $A < 0$ the larger:
#
# $$\min(\ldots) = \begin{cases} \min(\rho, 1 + \epsilon)\, A & A \ge 0 \\ \max(\rho, 1 - \epsilon)\, A & A < 0 \end{cases}
# \tag{10.4}$$
#
# Each case has a side where it slopes and a side where it is flat. That makes four quadrants.

# %%
widgets.predict(
    "A bad action, A = -1, whose probability has doubled since the batch was collected: ratio 2. Does the step still have "
    "a gradient, with clip 0.2?",
    ["No: the ratio is outside 0.8 to 1.2, so it is clipped", "Yes, the whole of it", "Yes, a fifth of it"],
)

# %%
for A in (1.0, -1.0):
    for r in (0.5, 0.9, 1.1, 2.0):
        ratio = torch.tensor(r, requires_grad=True)
        value = torch.minimum(ratio * A, ratio.clamp(0.8, 1.2) * A)
        value.backward()
        assert value <= r * A  # (10.5)
        held = "held" if ratio.grad == 0 else "pushed " + ("up" if ratio.grad > 0 else "down")
        print(f"A = {A:+.0f}, ratio {r}: objective {value.item():+.1f}, unclipped {r * A:+.1f}: {held}")

# %% [markdown]
# | | ratio below $1 - \epsilon$ | inside | ratio above $1 + \epsilon$ |
# |---|---|---|---|
# | **good action**, $A > 0$ | pushed up: it went the wrong way | pushed up | **held**: enough |
# | **bad action**, $A < 0$ | **held**: enough | pushed down | pushed down: it went the wrong way |
#
# Held is only who has gone *far enough the right way*. Whoever has been dragged the wrong way, by other steps that
# share the weights, is brought back. That is what the minimum is for. It also makes (10.3) a **lower bound**:
#
# $$L^{\text{clip}}(\theta) \le L(\theta), \qquad \text{and near } \theta_{\text{old}} \text{ they are equal} \tag{10.5}$$

# %% [markdown]
# ## 4. The update, written out
#
# **Algorithm 10.1.** Collect $T$ steps in $E$ environments; advantages by GAE. For each epoch and minibatch: standardise
# the advantages, ascend (10.3), and fit the critic. One optimizer for both. Here it is for all learners at once:


# %%
def improve(policy, critic, optimizer, batch, epsilon, epochs=4):
    """One update by algorithm 10.1; returns the log ratios of all steps after it, [R, N]."""
    columns = (batch.observation, batch.action, batch.log_probability, *trpo.estimate(critic, batch, trpo.Config()))
    s, a, old, A, y = (column.flatten(1, 2) for column in columns)  # [R, N] each, s [R, N, O]
    for epoch in range(epochs):
        order = torch.randperm(old.shape[1], generator=torch.Generator().manual_seed(epoch))
        for part in order.chunk(8):
            ratio = (policy(s[:, part]).log_prob(a[:, part]) - old[:, part]).exp()  # (10.1)
            weight = ppo.standardised(A[:, part])
            objective = torch.minimum(ratio * weight, ratio.clamp(1 - epsilon, 1 + epsilon) * weight).mean(1)  # (10.3)
            error = (critic(s[:, part]) - y[:, part]).square().mean(1)
            optimizer.step(0.5 * error - objective)
    return (policy(s).log_prob(a) - old).detach()


# %% [markdown]
# Six updates on CartPole; then, from the same batch, ten epochs with the clip and ten without.

# %%
rng, carry = Rng(range(seeds)), None
policy, critic = policies.for_env(env, rng, (32, 32)), policies.Value(rng, 4, (32, 32))
optimizer = nn.Adam(torch.nn.ModuleList([policy, critic]), 1e-2, 0.5)
for k in range(7):
    batch, carry = rollout(env, policy, rng, 128, 8, carry)
    if k < 6:
        improve(policy, critic, optimizer, batch, epsilon=0.2)
print(f"{len(rng)} learners; their episodes last {carry.episode_return.mean():.0f} steps by now")

# %%
widgets.predict(
    "After ten epochs with clip 0.2: where are the ratios of the steps?",
    ["All between 0.8 and 1.2", "Most of them, but a good part outside", "Nearly all at exactly 0.8 or 1.2"],
)


# %%
def after(epsilon, epochs):
    """Log ratios [R, N] and mean KL(old || new) [R] after this many epochs on the batch; the networks stay what they are."""
    here, its_critic = copy.deepcopy((policy, critic))
    fresh = nn.Adam(torch.nn.ModuleList([here, its_critic]), 1e-2, 0.5)
    log_ratio = improve(here, its_critic, fresh, batch, epsilon, epochs)
    with torch.no_grad():
        kl = policy(batch.observation).kl(here(batch.observation)).flatten(1)  # [R, N]
    return log_ratio, kl


# %%
found = {name: after(epsilon, 10) for name, epsilon in (("not clipped", 1e6), ("clip 0.2", 0.2))}
for name, (log_ratio, kl) in found.items():
    outside = ppo.clip_fraction(log_ratio, 0.2).mean()
    print(f"{name}: {outside:.0%} of the ratios outside, largest {log_ratio.exp().max():.1f}, mean KL {kl.mean():.3f} nats")

# %%
picture, ax = plots.figure(8, 4.2)
colors = {"not clipped": "biased", "clip 0.2": "score_function"}
figures_10.ratios(ax, {name: (found[name][0], color) for name, color in colors.items()}, 0.2)
plots.show(picture, "The clip takes away the reason to go on, not the possibility: many ratios are outside all the same.")

# %% [markdown]
# A good part is outside, and some far. The gradient of a step ends at the edge, but Adam's momentum does not, and other
# steps move the same weights. The share of ratios outside is called the **clip fraction**. So a clip is no
# trust region. All the same the KL is two orders
# of magnitude smaller with it, for the price of a `minimum`.

# %% [markdown]
# ## 5. How far have we gone?
#
# A number to watch. The batch holds actions of $\pi_{\text{old}}$, so the KL can be estimated from ratios alone. Three
# candidates, with means over the steps:
#
# $$k_1 = -\log \rho, \qquad k_2 = \tfrac12 (\log \rho)^2, \qquad k_3 = (\rho - 1) - \log \rho \tag{10.6}$$
#
# $k_1$ is the definition, $k_2$ its parabola (9.10). $k_3$ adds to $k_1$ a term whose mean is 0 by (10.2).

# %%
widgets.predict(
    "Which of the three comes closest to the true KL, from a minibatch of 128 steps?",
    ["k1: it is the definition", "k2: squares are never negative", "k3"],
)

# %%
cases = {"clip, 4 epochs": after(0.2, 4), "no clip, 1 epoch": after(1e6, 1), "no clip, 10 epochs": found["not clipped"]}
print(f"{'':18s}  true KL" + "".join(f"   {k} is off,  < 0" for k in ("k1", "k2", "k3")))
for name, case in cases.items():
    x, kl = (each[:, :128] for each in case)
    truth = kl.mean(1)
    print(f"{name:18s}   {truth.mean():.4f}", end="")
    for guess in (-x.mean(1), x.square().mean(1) / 2, ppo.approximate_kl(x)):
        error = (guess - truth).square().mean().sqrt()
        print(f"     {error:7.4f}, {(guess < 0).double().mean():4.0%}", end="")
    print()

# %% [markdown]
# $k_3$. For small steps $k_1$ is off by about as much as the KL itself and often negative; far out $k_2$ is several times too
# large. In $k_3$ the noise of $\rho - 1$ and of $\log \rho$ cancels: $x \le e^x - 1$, so it is never
# negative, step by step. `ppo.approximate_kl` is $k_3$.

# %% [markdown]
# ## 6. The large step, clipped
#
# Back to turn 2, where long steps ruined everything. The same two step sizes, now with the clip.

# %%
widgets.predict(
    "With the clip, what becomes of step size 0.01?",
    [
        "It is as good as 0.001 without a clip: the clip makes steps short",
        "It gets far ahead of everything so far",
        "It still collapses, only later: the clip is no trust region",
    ],
)

# %%
clipped = {size: run(f"clip 0.2, {size}", clip=0.2, step_size=size) for size in (1e-3, 1e-2)}

# %%
picture, axes = plots.figure(8.8, 4.6, columns=2, sharey=True)
for ax, size in zip(axes, plain, strict=True):
    for name, runs, color in (("not clipped", plain, "biased"), ("clip 0.2", clipped, "score_function")):
        plots.band(ax, runs[size].steps[0] / 1000, runs[size].metrics["return"], label=name, color=color)
    ax.set(title=f"Adam's step size {size}", xlabel="environment steps (thousands)", ylim=(0, 520))
axes[0].set_ylabel("return per episode")
axes[1].get_legend().remove()  # it is the left one's
plots.show(picture, "With short steps the clip only holds back. It is there to make long steps possible.")

# %%
for size, each in clipped.items():
    last, kl = each.window("return", 3)[:, -1], each.metrics["kl"]
    print(f"step size {size}: return at the end {last.mean():3.0f}, worst learner {last.min():3.0f};")
    print(
        f"    KL of an update: mean {kl.mean():.3f}, largest {kl.max():.2f}; clipped {each.metrics['clip_fraction'].mean():.0%}"
    )

# %% [markdown]
# Look at the left half first: at 0.001 the clip *costs* return, at full budget. Nobody went too far, and it held back
# whoever was right. At 0.01 it decides: with it nearly every learner reaches the most there is, 500, on a
# KL of about 0.01 per update. Nobody asked for 0.01. It is what 0.2 comes to here.

# %% [markdown]
# ## 7. Stop early
#
# Many implementations have a second brake. They watch $k_3$, and once it exceeds a threshold, `stop_kl`, they end the
# update: *all* that is left of it, for this learner. Could that replace the clip? At step size 0.01:

# %%
widgets.predict(
    "No clip, but an early stop at a KL of 0.02. How does it compare with the clip?",
    ["As good: the KL is what counts", "The KL is held too, but the return is not as good", "It collapses like no clip at all"],
)

# %%
stopped = run("not clipped, stop_kl = 0.02", "other", clip=1e6, stop_kl=0.02)
for name, each in {"neither": plain[1e-2], "stop": stopped, "clip": clipped[1e-2]}.items():
    kl, last = each.metrics["kl"], each.window("return", 3)[:, -1]
    print(
        f"{name:7s}: KL of an update: median {np.median(kl):.3f}, largest {kl.max():4.2f}; return at the end {last.mean():.0f}"
    )

# %% [markdown]
# The stop holds the KL of every update below 0.1, and still learns far less than the clip at full budget. A stop is all or nothing. It comes
# after a few minibatches, and the rest of the batch is not learned from. The clip stops each *action* by itself, and
# lets those go on that have not moved. Behind the clip, as a second brake, the stop is cheap insurance where a run is
# long and nobody watches.

# %% [markdown]
# ## 8. A penalty that finds its own coefficient
#
# The paper has a second answer: charge for the KL, as in (9.7), but let the coefficient look after itself.
#
# $$L^{\text{KL}}(\theta) = \mathbb{E}_t\big[\rho_t A_t - \beta\, KL\big(\pi_{\text{old}}(\cdot|s_t) \,\|\, \pi_\theta(\cdot|s_t)\big)
# \big] \tag{10.7}$$
#
# $$\beta \leftarrow \begin{cases} \beta / 2 & \text{if } \overline{KL} < d / 1.5 \\ 2 \beta & \text{if } \overline{KL} > 1.5\, d
# \end{cases} \tag{10.8}$$
#
# after each update, with $d$ the KL we want. Lecture 09 said that $C$ is in units of return per nat and must be chosen
# anew for each task. Here it is looked for, by doubling and halving. It begins at $\beta = 1$.

# %%
widgets.predict(
    "We want d = 0.003 and d = 0.03. Where does beta go?",
    ["Up to about ten times as large for the smaller d", "To the same value for both", "It doubles and halves without end"],
)

# %%
targets = {0.003: "pathwise", 0.03: "baseline"}
penalised = {d: run(f"penalty, d = {d}", color, objective="penalty", kl_target=d) for d, color in targets.items()}

# %%
picture, axes = plots.figure(8.8, 4.4, columns=2)
for d, color in targets.items():
    each = penalised[d]
    for ax, metric in zip(axes, ("kl", "coefficient"), strict=True):
        plots.band(ax, range(1, updates + 1), each.metrics[metric], label=f"d = {d}", color=color)
    axes[0].axhspan(d / 1.5, d * 1.5, color=plots.COLORS[color], alpha=0.2, linewidth=0)
axes[0].set(yscale="log", xlabel="updates", ylabel="mean KL of the update (nats)")
axes[1].set(yscale="log", xlabel="updates", ylabel="coefficient beta")
plots.show(
    picture, "Within a few updates the coefficients have found where the KL comes near d (shaded: the zone without a change)."
)

# %%
for d, each in penalised.items():
    kl, beta = (each.metrics[name][:, updates // 5 : 4 * updates // 5] for name in ("kl", "coefficient"))
    last = each.window("return", 3)[:, -1]
    print(
        f"d = {d}: midway median KL {np.median(kl):.4f}, median beta {np.median(beta):.2f}; return at the end {last.mean():.0f}"
    )

# %% [markdown]
# Eight times as large for the smaller $d$, at full budget. Nobody had to know that: $\beta$ has found it by itself, for
# each learner. (At the end the step size goes to 0, and the KL with it, whatever $\beta$ is.) What is left to choose
# is $d$, in nats, as in lecture 09. With
# 0.003 the penalty learns as well as the clip; with 0.03 the updates go farther than the batches can vouch for.

# %% [markdown]
# ## 9. The file
#
# `pgcourse/algorithms/ppo.py` has both objectives. It does what `improve` does, and some things more, each by a
# setting and listed at its top. The heart of it (its equation numbers are the paper's):

# %%
for part in (ppo.loss, ppo.update):
    display(Code(inspect.getsource(part), language="python"))

# %%
log_ratio, weight = found["clip 0.2"][0], ppo.standardised(Rng(range(seeds)).normal(1024))
mine = torch.minimum(log_ratio.exp() * weight, log_ratio.exp().clamp(0.8, 1.2) * weight).mean(1)
assert_close(-mine, ppo.loss(log_ratio, torch.zeros_like(log_ratio), weight, ppo.Config()))
print("(10.3) and ppo.loss agree")

# %% [markdown]
# ## 10. Against the others
#
# The four on-policy methods so far, 16 learners each, on the same number of environment steps. PPO and TRPO learn from
# batches of 1024 steps. A2C and vanilla policy gradient may step once per batch, so theirs are smaller: 256 steps, and 8
# whole episodes. Step sizes are the best of a few that were tried; TRPO needs none.

# %%
widgets.predict(
    "After 25,600 steps: who is ahead?",
    [
        "PPO and TRPO together, A2C and vanilla far behind",
        "PPO, then TRPO and vanilla together, then A2C",
        "TRPO: its steps are the best ones",
    ],
)

# %%
limit, small = 1024 * updates, {"hidden": (32, 32)}


def race(algorithm, label, color, iterations, **settings):
    """Train ``seeds`` learners for ``limit`` steps each, or so many iterations."""
    show = plots.live(label=label, color=color)

    def progress(history):
        show(history)
        return history.steps[:, -1].min() >= limit

    config = algorithm.Config(iterations=iterations, **small, **settings)
    return algorithm.train(env, config, Rng(range(seeds)), progress=progress)[1]


# %%
runs = {
    "PPO": clipped[1e-2],
    "TRPO": race(trpo, "TRPO", "baseline", updates, environments=8, steps=128),
    "vanilla": race(vanilla, "vanilla", "pathwise", limit // 64, environments=8, step_size=2e-2),
    "A2C": race(a2c, "A2C", "other", 4 * updates, environments=32, steps=8, step_size=5e-3),
}

# %%
picture, ax = plots.figure(8, 4.8)
for (name, each), color in zip(runs.items(), ("score_function", "baseline", "pathwise", "other"), strict=True):
    plots.band(ax, each.steps / 1000, each.metrics["return"], label=name, color=color, thin=False)
ax.set(xlabel="environment steps (thousands)", ylabel="return per episode", xlim=(0, limit / 1000), ylim=(0, 520))
plots.show(picture, "PPO is ahead of TRPO with first derivatives only; and on CartPole a plain gradient is no bad rival.")

# %%
for name, each in runs.items():
    reached = (each.steps <= limit) & np.isfinite(each.metrics["return"])
    last = np.array([row[ok][-1] for row, ok in zip(each.metrics["return"], reached, strict=True)])
    low, high = (end[0] for end in plots.bootstrap_interval(last[:, None]))
    print(
        f"{name:8s} return after {limit:,} steps: {last.mean():3.0f}, 95 % interval {low:.0f} to {high:.0f}; {each.seconds[-1]:.0f} s"
    )

# %% [markdown]
# At full budget PPO is ahead early and TRPO follows, at more seconds per environment step. Vanilla policy gradient keeps up
# with TRPO for most of the way: with eight whole episodes and a fitted baseline, CartPole is easy on it. A2C's batches are
# small and used once. But this is a race of four algorithms *with all their habits*, and does not say which habit did it.

# %% [markdown]
# ## 11. Which details matter?
#
# PPO in practice is (10.3) and a dozen habits that no equation mentions. Take them away one by one, with everything
# else as it was. The measure is the mean return over the whole run, so that speed counts.

# %%
widgets.predict(
    "Five changes: one epoch; one minibatch; advantages not standardised; gradient not shortened; step size not annealed. "
    "Which one hurts least?",
    ["One epoch", "Advantages as they are", "Gradient not shortened"],
)

# %%
changes = {
    "gradient not shortened": {"max_gradient_norm": 1e6},
    "not annealed": {"anneal": False},
    "not standardised": {"standardise": False},
    "one epoch": {"epochs": 1},
    "one minibatch": {"minibatches": 1},
}
ablation = {"PPO": clipped[1e-2]}
for name, change in changes.items():
    ablation[name] = run(**change)
    print(f"{name}: {ablation[name].seconds[-1]:.0f} s")

# %%
picture, ax = plots.figure(8, 4.6)
values = {name: np.nanmean(each.metrics["return"], axis=1) for name, each in ablation.items()}
figures_10.intervals(ax, values, marked="PPO")
ax.set_xlabel("return per episode, mean over the run")
plots.show(
    picture,
    "What pays here is how often a batch is used, and advantages of one scale. Thick: 95 % of the mean; dots: learners.",
)

# %%
for name in changes:
    each = values[name]
    low, high = (end[0] for end in plots.bootstrap_interval((each - values["PPO"])[:, None]))
    print(f"{name:22s} {each.mean():3.0f}   against PPO, same seeds: 95 % interval {low:+.0f} to {high:+.0f}")

# %% [markdown]
# At full budget two things matter most: many epochs and small minibatches, that is, many steps on each batch. Then
# comes the scale of the advantages. Annealing helps a little. Whether the gradient is shortened cannot be told from
# nothing.
#
# That holds for CartPole at this step size; on other tasks other details count. Engstrom et al. (2020) took
# PPO apart on MuJoCo robots, and found that such habits explain more of its lead over TRPO than the clip does. So when
# somebody's PPO beats yours, compare the habits first.

# %% [markdown]
# ## 12. What goes wrong
#
# **a) No minimum.** `ratio.clamp(...) * A`, because "PPO clips the ratio". The flat parts are then on *both* sides of
# each case, and a step that was dragged the wrong way has no gradient to come back.


# %%
def no_minimum(log_probability, old_log_probability, advantage, config):
    ratio = (log_probability - old_log_probability).exp()
    return -(ratio.clamp(1 - config.clip, 1 + config.clip) * advantage).mean()


# %%
broken = run(loss=no_minimum)
for name, each in (("PPO", clipped[1e-2]), ("no minimum", broken)):
    last, kl = each.window("return", 3)[:, -1], each.metrics["kl"]
    print(
        f"{name}: return at the end {last.mean():.0f}, worst learner {last.min():.0f}; largest KL of an update {kl.max():.2f}"
    )

# %% [markdown]
# At full budget it learns, so nobody notices; only worse, and the KL shows it. **The check:** ratio 2 and $A = -1$ must have a
# gradient.
#
# **b) The old policy moves along.** Its log-probability is computed from the current weights, without a gradient, in
# place of the recorded one. Every ratio is 1, and nothing is ever clipped.

# %%
law = policy(batch.observation)
recorded, again = batch.log_probability, law.log_prob(batch.action)
assert_close(again.detach(), recorded)  # before the first step there is no difference ...
moved = copy.deepcopy(policy)
nn.Adam(moved, 1e-2).step(-(moved(batch.observation).log_prob(batch.action)).mean((1, 2)))
now = moved(batch.observation).log_prob(batch.action).detach()
for name, old in (("recorded", recorded), ("recomputed", now)):  # ... after one step there must be
    print(
        f"after one step, old log-probability {name}: ratios from {(now - old).exp().min():.3f} to {(now - old).exp().max():.3f}"
    )

# %% [markdown]
# **The check:** after one step the ratios differ from 1. And its twin, *before* the first step all ratios **are** 1,
# catches another mistake:
#
# **c) Clipped actions are stored.** A Gaussian policy samples 1.4 where the motor takes at most 1. The log-probability
# was that of 1.4; the batch holds 1.

# %%
gaussian = policies.Gaussian(Rng(range(4)), 3, 1)
seen, noise = Rng(range(4), stream=1).normal(500, 3), Rng(range(4), stream=2).normal(500, 1)
with torch.no_grad():
    action = gaussian(seen).sample(noise)
    for name, stored in (("as sampled", action), ("clipped", action.clamp(-1, 1))):
        ratio = (gaussian(seen).log_prob(stored) - gaussian(seen).log_prob(action)).exp()
        print(f"stored {name}: {(ratio - 1).abs().gt(0.2).double().mean():.0%} of the ratios outside before the first step")

# %% [markdown]
# A part of the batch is then held, or pushed, for steps it never took. Let the environment clip.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_10)

# %% [markdown]
# ## In four lines
#
# 1. Many steps on one batch need a reason to stop: the plain surrogate has none, and fits the noise.
# 2. $\min(\rho A, \operatorname{clip}(\rho)\, A)$ lets go of each step that has moved by $\epsilon$ the right way, and of
#    no other. It limits the gain, not the distance.
# 3. Watch $k_3$ and the clip fraction. Before the first step all ratios are 1; after it they are not.
# 4. Most of PPO's lead is that it uses each batch many times, and safely.
#
# **Now you:** [exercise 10](../exercises/10_ppo.ipynb) asks for the ratio, the clipped and the penalised objective, the
# diagnostics and a whole update, and then trains learners with your loss. **Next:** so far the reward could only be
# sampled. Lecture 11 differentiates through it.

# %% [markdown]
# ## Sources
#
# - J. Schulman, F. Wolski, P. Dhariwal, A. Radford and O. Klimov (2017), "Proximal policy optimization algorithms",
#   arXiv:1707.06347: (10.3), (10.7), (10.8).
# - J. Schulman (2020), "Approximating KL divergence", joschu.net/blog/kl-approx.html: (10.6).
# - L. Engstrom, A. Ilyas, S. Santurkar and others (2020), "Implementation matters in deep policy gradients", *ICLR*;
#   S. Huang and others (2022), "The 37 implementation details of proximal policy optimization", *ICLR* blog track: turn 11.
# - Source slides: `002_20f9c9cab9178118.txt` (TRPO and PPO).
