# %% [markdown]
# # 07 What if a critic replaces the sampled return?
#
# In lecture 05 a value function said what to *expect*, and the sampled return what came. Nothing stops us from asking the
# value a second time: what is the place worth that I have come to? Then an action is judged one step later, and the rest of
# the episode, with all its luck, need not be waited for. The price: a guess stands where a fact stood.
#
# **After it you can**
# - estimate an advantage from one step, from $n$ steps, or from all mixed, and say what each costs in bias and noise;
# - tell an episode that has *ended* from one that was only *cut off*, in code;
# - train an actor and a critic together, after every single step or in batches.
#
# **You need** lectures 04 and 05. **Time:** 70 minutes at the keyboard, 30 as a talk.

# %%
import inspect
from dataclasses import replace
from functools import partial

import torch
from IPython.display import Code
from torch.testing import assert_close

from pgcourse import budget, envs, exact, figures_07, gradients, nn, plots, policies, quizzes, returns, widgets
from pgcourse.algorithms import a2c, online_actor_critic, reinforce
from pgcourse.envs.tabular import gridworld
from pgcourse.rng import Rng
from pgcourse.rollout import episodes, rollout

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives

# %% [markdown]
# ## The grid, once more
#
# The world of lecture 04, turn 5: one step in five slips aside, the goal pays 1, the pit costs 1, every step 0.04. Our
# walker has some idea where the goal is, no more. Without a time limit, and with $\gamma = 0.9$, what a cell is worth does not
# depend on the clock.

# %%
double, discount = torch.float64, 0.9
world = replace(gridworld(), time_limit=None)
S, A = world.transition.shape[:2]
guess = exact.action_value(world, torch.full((S, A), 0.25, dtype=double), discount)
pi = (4 * guess).softmax(-1)  # a walker with some idea, [S, A]
V = exact.state_value(world, pi, discount)  # [S]
advantage = exact.advantage(world, pi, discount)  # [S, A]
pit_side = 5  # the cell left of the pit

# %%
picture, ax = plots.figure(7, 4.4)
figures_07.grid(ax, V, marked=pit_side)
plots.show(picture, "What each cell is worth to this walker: expected discounted reward from there on.")

# %% [markdown]
# ## The whole lecture in one picture
#
# Left, the four actions in the marked cell: how much better than the walker's average is each (black), and what does an
# estimate say that asks a critic, a guess of the values above (mean and spread)? Right, its error over all cells. At
# $\lambda = 0$ the estimate is one reward and the critic, at 1 all rewards.

# %%
draw = partial(figures_07.tradeoff, mdp=world, policy=pi, discount=discount, state=pit_side)
caption = (
    "A perfect critic makes the sampled future pure noise. The worse the critic, the more of the future it pays to sample."
)
widgets.movable(draw, **figures_07.TRADEOFF, caption=caption)

# %% [markdown]
# Three things to try. Set *critic error* to 0: where is the best $\lambda$ now? Then 0.6: where has it gone? And at $\lambda = 1$
# press *another critic* again and again: nothing at all moves on the left. Why can even a bad critic do no harm there?

# %% [markdown]
# ## 1. The return, averaged
#
# Two values of a policy: what comes after a state, and what comes after an action in it,
#
# $$Q(s, a) = \mathbb E[G_t \mid s_t = s, a_t = a], \qquad V(s) = \mathbb E[G_t \mid s_t = s] = \sum_a \pi_\theta(a|s)\, Q(s, a) \tag{7.1}$$
#
# In $\nabla J = \mathbb E[\sum_t \gamma^t\, G_t\, \nabla \log \pi_\theta(a_t|s_t)]$, (5.2), take the mean of each term
# over all that happens *after* $a_t$, with $s_t$ and $a_t$ given. The score stays; $G_t$ becomes its mean:
#
# $$\nabla_\theta J = \mathbb E\Big[\sum_t \gamma^t\, Q(s_t, a_t)\, \nabla_\theta \log \pi_\theta(a_t|s_t)\Big]
# = \mathbb E\Big[\sum_t \gamma^t\, A(s_t, a_t)\, \nabla_\theta \log \pi_\theta(a_t|s_t)\Big] \tag{7.2}$$
#
# The second form subtracts the baseline $V(s_t)$, by (5.4); $A = Q - V$ is the **advantage**. "I won" becomes "I think I win
# with probability 0.63", and that becomes "this made winning 3 % more likely".

# %%
widgets.predict(
    "The same episodes, the weights G, G - V, Q and A. Which has the least variance?",
    ["Q: the averaging is what counts", "G - V: the baseline is what counts", "A, far below the others"],
)


# %%
def walkers(count):
    """The walker of the grid, for this many replicas, and their random streams."""
    rng = Rng(range(count), dtype=double)
    policy = policies.Categorical(rng, S, A, hidden=())  # a table of logits
    policy.body.weights[0].data[:] = pi.log()
    return policy, rng


policy, rng = walkers(budget.choose(2000, 400))
batch = episodes(replace(world, time_limit=100), policy, rng, environments=8)
state, action = batch.observation.argmax(-1), batch.action  # [R, T, E]
G = returns.to_go(batch.reward, discount, valid=batch.valid)
Q = V[:, None] + advantage

# %%
weights = {"G": G, "G - V": G - V[state], "Q": Q[state, action], "A": advantage[state, action]}
truth = exact.policy_gradient(world, policy, discount)[0]
for name, weight in weights.items():
    kept = returns.powers(discount, G.shape[1], G) * weight
    log_probability = policy(batch.observation).log_prob(action)
    estimates = gradients.per_replica(gradients.score_surrogate(log_probability, kept, batch.valid), policy)
    found = gradients.bias_and_variance(estimates, truth)
    print(f"{name:6s} largest |z| {found.z.abs().max():4.1f}   variance {found.variance.sum():.4f}")

# %% [markdown]
# All four are centred. By itself the baseline helps little here: a return still holds the luck of the whole episode. Averaging
# helps more, but a $Q$ still holds what the cell is worth anyway. $A$ leaves only which action was taken where. But nobody knows $Q$
# and $A$. The rest of this lecture is about coming near.

# %% [markdown]
# ## 2. One step ahead
#
# A return is a reward and a return: $G_t = r_t + \gamma G_{t+1}$. Averaged over what follows, once or $k$ times,
#
# $$Q(s, a) = \mathbb E\big[r_t + \gamma V(s_{t+1}) \mid s, a\big] \tag{7.3}$$
# $$\phantom{Q(s, a)} = \mathbb E\big[r_t + \gamma r_{t+1} + \dots + \gamma^{k-1} r_{t+k-1} + \gamma^k V(s_{t+k}) \mid s, a\big] \tag{7.4}$$
#
# (the $\mathbb E$ also chooses $a_{t+1}, \dots$ by the policy). An end has no future: $V = 0$ in the goal and in the pit. With the
# tables of the world, every $k$ must give the same:

# %%
moves = torch.einsum("sa,sak->sk", pi, world.transition)  # P(s' | s) under the walker
paid = (world.transition * world.reward).sum(-1)  # E[r | s, a]
for k in (1, 2, 5, 20):
    ahead = V
    for _ in range(k - 1):  # one reward, then what is ahead
        ahead = (pi * paid).sum(-1) + discount * moves @ ahead
    expanded = paid + discount * world.transition @ ahead  # (7.4)
    assert_close(expanded, Q)
    print(f"k = {k:2d}: Q in the marked cell", expanded[pit_side].numpy().round(6))

# %% [markdown]
# ## 3. The TD error
#
# Subtract $V(s_t)$ from what stands in (7.3):
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t), \qquad \mathbb E[\delta_t \mid s_t, a_t] = Q(s_t, a_t) - V(s_t) = A(s_t, a_t) \tag{7.5}$$
#
# This is the **temporal-difference error**: did this step go better or worse than $V$ had said? From one reward it is an unbiased
# estimate of the advantage, if $V$ is the true one. Let 20,000 walkers begin in the marked cell:

# %%
here = torch.nn.functional.one_hot(torch.tensor(pit_side), S).to(double)
policy, rng = walkers(1)
walks, _ = rollout(replace(world, initial_probability=here), policy, rng, steps=60, environments=20_000)
now, following = walks.observation.argmax(-1), walks.next_observation.argmax(-1)  # [1, T, E]
ends = (walks.terminated, walks.truncated)
delta = returns.td_error(walks.reward, V[now], V[following], discount, walks.terminated)[0, 0]  # of the first step, [E]
whole = returns.to_go(walks.reward, discount, walks.done)[0, 0] - V[pit_side]  # G - V

# %%
print(f"{'':6s}   exact   {'δ: mean, deviation':20s}   G - V: mean, deviation")
for a, name in enumerate(world.actions):
    chosen = walks.action[0, 0] == a
    print(f"{name:6s}  {advantage[pit_side, a]:+.3f}", end="")
    for x in (delta[chosen], whole[chosen]):
        print(f"   {x.mean():+.3f} ± {1.96 * x.std() / len(x) ** 0.5:.3f}, {x.std():.2f}", end="")
    print()

# %% [markdown]
# Both agree with the exact advantage, and $\delta$ is the quieter: what comes later, $V$ has averaged already.

# %% [markdown]
# ## 4. A critic that is wrong
#
# We never have $V$. We have a network $V_\phi$, the **critic**, which is off by $e(s) = V_\phi(s) - V(s)$ (by 0 at an end, where 0 is
# put in). With it, (7.5) becomes
#
# $$\mathbb E[\delta_t \mid s_t, a_t] = A(s_t, a_t) + \gamma\, \mathbb E[e(s_{t+1}) \mid s_t, a_t] - e(s_t) \tag{7.6}$$

# %%
widgets.predict(
    "Which of the two errors in (7.6) can make the policy learn the wrong thing?",
    ["Both", "Only e at the next state", "Only e at the present state"],
)

# %%
critic = figures_07.critic_off_by(world, V, 0.5, seed=3)  # V_phi: off by about 0.5 in every cell
e = critic - V
mean, _ = exact.advantage_estimate(world, pi, critic, discount, steps=1)  # E[delta | s, a] with this critic
assert_close(mean, advantage + discount * world.transition @ e - e[:, None])  # (7.6)
print("           ", world.actions)
print("exact A    ", advantage[pit_side].numpy().round(2))
print("E[δ]       ", mean[pit_side].numpy().round(2))
print("  + e(s)   ", (mean + e[:, None])[pit_side].numpy().round(2))

# %% [markdown]
# $e(s_t)$ is the same for all actions: it is a baseline, and by (5.3) a baseline is never wrong, only more or less useful. The error
# at the *next* state differs from action to action, and pulls the policy where the critic is too hopeful. So from here on we
# count of a bias only what differs between the actions of a state. (In lecture 05 the critic was only a baseline, so it could be
# anything.)

# %% [markdown]
# ## 5. Look n steps ahead
#
# Why stop after one reward? Expand by (7.4), and the critic enters later:
#
# $$A^{(n)}_t = \underbrace{r_t + \dots + \gamma^{n-1} r_{t+n-1} + \gamma^n V_\phi(s_{t+n})}_{n\text{-step return}} - V_\phi(s_t)
# = \sum_{k=0}^{n-1} \gamma^k \delta_{t+k} \tag{7.7}$$
#
# The last form is the same: every $V_\phi$ between the first and the last stands in it twice, with opposite signs. The bias
# that counts is $\gamma^n\, \mathbb E[e(s_{t+n}) \mid s_t, a_t]$, and shrinks with $n$. But every reward brings its luck.

# %%
n_step = returns.n_step(walks.reward, critic[following], discount, 4, *ends) - critic[now]  # A^(4)
error = returns.td_error(walks.reward, critic[now], critic[following], discount, walks.terminated)
goes_on = torch.nn.functional.pad(~walks.done[0, :3], (0, 0, 1, 0), value=True).cumprod(0)  # after the end nothing is added
total = (returns.powers(discount, 4, error) * goes_on * error[0, :4]).sum(0)
assert_close(n_step[0, 0], total)
print("largest difference of the two forms of (7.7):", (n_step[0, 0] - total).abs().max().item())

# %%
widgets.predict(
    "The critic is off by about 0.5. At which n is squared bias plus variance smallest?",
    ["n = 1: the variance is what hurts", "Somewhere in between", "As large as possible: the bias is what hurts"],
)

# %%
lengths = (1, 2, 3, 4, 6, 8, 12, 20)
by_n = torch.tensor([figures_07.quality(world, pi, critic, discount, steps=n) for n in lengths])
decays = torch.linspace(0, 1, 11).tolist()
by_decay = torch.tensor([figures_07.quality(world, pi, critic, discount, decay) for decay in decays])
picture, axes = plots.figure(8.5, 4.2, columns=2, sharey=True)
figures_07.errors(axes[0], lengths, by_n)
figures_07.errors(axes[1], decays, by_decay)
axes[0].set(xlabel="rewards, n")
axes[1].set(xlabel="trace decay λ (turn 6)", ylabel="")
plots.show(picture, "The bias falls, the variance rises. Mixing all n (right) is better than any single n.")

# %%
for name, places, found in (("n", lengths, by_n), ("λ", decays, by_decay)):
    best = int(found.sum(1).argmin())
    print(f"best {name} = {places[best]:.2g}: bias² {found[best, 0]:.4f} + variance {found[best, 1]:.4f}")

# %% [markdown]
# In between, but much of what $n$ steps gain in bias they lose in variance. Already at $n = 2$ the critic's errors are hardly a bias any
# more: it is chance which cell they are taken from, so they have become noise. A single $n$ leans on the critic at *one* cell. A mixture
# leans on many, and their errors partly cancel. (The curves are computed, not sampled. Which $n$ or $\lambda$ is best depends on the critic,
# and the critic gets better while you learn.)

# %% [markdown]
# ## 6. All n at once
#
# Why choose one $n$? Take all, the $n$-th with weight $(1 - \lambda)\lambda^{n-1}$; these weights sum to 1. In this mixture, $\delta_{t+k}$
# is part of every $A^{(n)}$ with $n > k$, and $(1-\lambda)(\lambda^k + \lambda^{k+1} + \dots) = \lambda^k$. So
#
# $$\hat A_t = (1 - \lambda) \sum_{n \ge 1} \lambda^{n-1} A^{(n)}_t = \sum_{k \ge 0} (\gamma\lambda)^k\, \delta_{t+k} \tag{7.8}$$
#
# **Generalised advantage estimation**, GAE($\lambda$). At $\lambda = 0$ it is $\delta_t$, at $\lambda = 1$ it is $G_t - V_\phi(s_t)$, lecture 05's
# estimate. Computed backward it is one line: $\hat A_t = \delta_t + \gamma\lambda\, \hat A_{t+1}$, as long as the episode lasts.


# %%
def my_gae(reward, value, next_value, terminated, truncated, trace_decay):
    """(7.8), from the last step to the first; [R, T, E] in and out."""
    delta = reward + discount * next_value * ~terminated - value
    advantage, following = torch.zeros_like(delta), torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        goes_on = ~(terminated | truncated)[:, t]
        advantage[:, t] = following = delta[:, t] + discount * trace_decay * (goes_on * following)
    return advantage


for decay in (0.0, 0.7, 1.0):
    mine = my_gae(walks.reward, critic[now], critic[following], *ends, decay)
    assert_close(mine, returns.gae(walks.reward, critic[now], critic[following], discount, decay, *ends))
print("my_gae and returns.gae agree")

# %% [markdown]
# With the *true* $V$ the errors of different steps are uncorrelated, so their variances add up, and $\lambda = 0$ is best. (A
# test of the library holds what `exact` computes here against sampled episodes, for every state and action.)

# %% [markdown]
# ## 7. Ended, or cut off?
#
# A place that pays 1 a step, for ever: $V = 1/(1 - 0.9) = 10$. Nothing ends there, but we watch it for 20 steps at a time.
# `terminated` says that the world has ended (no future: $V = 0$). `truncated` says that somebody stopped looking (a time limit):
# the future goes on, unseen.

# %%
widgets.predict(
    "The critic is trained to agree with its own targets, from 20-step episodes, and counts V = 0 after the cut. What does it learn?",
    ["10, as it should", "About 8.8: the last steps of 20 are a bit too low", "About 5 to 7, at every step"],
)


# %%
def learned(ended, cut, trace_decay):
    """The value of the one place that equals the mean of its own targets."""
    value = torch.zeros(1, 20, 1)
    for _ in range(500):
        target = returns.lambda_return(torch.ones(1, 20, 1), value, value, discount, trace_decay, ended, cut)
        value = target.mean().expand_as(value)
    return value[0, 0, 0].item()


last, never = torch.arange(20).reshape(1, 20, 1) == 19, torch.zeros(1, 20, 1, dtype=torch.bool)
for trace_decay in (0.0, 0.9, 1.0):
    right, wrong = learned(never, last, trace_decay), learned(last, never, trace_decay)
    print(f"λ = {trace_decay:.1f}   cut off: V = {right:5.2f}   taken for an end: V = {wrong:.2f}")

# %% [markdown]
# Every step pays for it, not only the last: the critic cannot see the clock, and learns one number for all. Published programs have
# made this mistake. The other one, to look past a real end, is worse (turn 13). In the formulas: $\delta_t$ drops $V(s_{t+1})$ where
# `terminated`; the sum in (7.8) stops at either.

# %% [markdown]
# ## 8. Teaching the critic
#
# The target is the critic plus what it missed, a number that is held fixed (lecture 05: *bootstrapping*):
#
# $$y_t = V_\phi(s_t) + \hat A_t, \qquad \phi \leftarrow \phi - \beta\, \nabla_\phi\, \tfrac12 \big(V_\phi(s_t) - y_t\big)^2 = \phi + \beta\, \hat A_t\, \nabla_\phi V_\phi(s_t) \tag{7.9}$$
#
# With $\lambda = 1$ that is Monte Carlo, $y_t = G_t$; with $\lambda = 0$, $y_t = r_t + \gamma V_\phi(s_{t+1})$, one-step TD; in between TD($\lambda$).
# $\beta$ is a step size. On the grid, eight walks for each update, from a table of zeros:

# %%
widgets.predict(
    "Which target has brought the critic nearest to the true V in the end?",
    ["λ = 1: it has no bias", "λ = 0: it has the least noise", "It depends on the step size"],
)


# %%
def critic_errors(trace_decay, step_size, updates, replicas):
    """Root mean squared error of the critic, as cells are visited, after each update, [R, updates]."""
    policy, rng = walkers(replicas)
    visits = exact.visitation(world, pi, discount)
    table, off = torch.zeros(replicas, S, dtype=double), []
    for _ in range(updates):
        batch = episodes(replace(world, time_limit=100), policy, rng, environments=8)
        value, ahead = figures_07.looked_up(batch, table)
        missed = returns.gae(batch.reward, value, ahead, discount, trace_decay, batch.terminated, batch.truncated)
        table = table + step_size * figures_07.mean_by_cell(batch, missed)  # (7.9)
        off.append(((table - V).square() @ (visits / visits.sum())).sqrt())
    return torch.stack(off, 1)


# %%
updates, replicas = budget.choose(60, 20), budget.choose(16, 8)
picture, axes = plots.figure(8.5, 4.4, columns=2, sharey=True)
paints = ("score_function", "other", "biased")
for ax, step_size in zip(axes, (0.5, 0.05), strict=True):
    runs = {f"λ = {decay}": critic_errors(decay, step_size, updates, replicas) for decay in (1.0, 0.9, 0.0)}
    figures_07.curves(ax, range(1, updates + 1), runs, paints)
    ax.set(xlabel="updates of the critic", title=f"step size {step_size}")
axes[0].set(ylabel="error of V", ylim=(0, None))
plots.show(picture, "Monte Carlo learns fast and stays noisy; TD is calm, and slow when steps are small.")

# %% [markdown]
# It depends. Monte Carlo hears of the goal in one walk, and then follows the luck of every batch. One-step TD passes news on cell by
# cell, quietly. With long steps it ends nearer, with short ones it has not arrived yet. A $\lambda$ in between has something of both.
#
# One more difference, promised in lecture 05. Let the critic see only the *column* of a cell. Where do the two settle?

# %%
for name, (found, error) in figures_07.by_column(world, pi, discount).items():
    print(f"{name:12s} V by column {found.numpy().round(3)}   error {error:.3f}")

# %% [markdown]
# Monte Carlo settles at the best that four numbers can do (least squares), TD elsewhere: its targets, too, are what four numbers
# can say.

# %% [markdown]
# ## 9. A critic of actions, and the max
#
# The plainest **actor-critic** takes (7.2) at its word and learns $Q_\phi(s, a)$:
#
# **Algorithm 7.1, actor-critic with $Q$.** At each step: (1) act, see $r, s'$. (2) $\theta \leftarrow \theta + \alpha\, Q_\phi(s, a) \nabla \log \pi_\theta(a|s)$. (3) Move
# $Q_\phi(s, a)$ toward the target
#
# $$y = r + \gamma \sum_{a'} \pi_\theta(a'|s')\, Q_\phi(s', a') \qquad\text{and not}\qquad y = r + \gamma \max_{a'} Q_\phi(s', a') \tag{7.10}$$
#
# The slides this lecture follows write the maximum. Does it matter? We iterate both until nothing changes.

# %%
widgets.predict(
    "With the max in the target, whose value does the critic learn?",
    ["Our walker's, a little too high", "That of the best policy there is", "Nobody's: it diverges"],
)

# %%
settled = {}
for name, worth in (("mean over the policy", lambda Q: (pi * Q).sum(-1)), ("max", lambda Q: Q.amax(-1))):
    table = torch.zeros(S, A, dtype=double)
    for _ in range(500):
        table = paid + discount * world.transition @ worth(table)
    settled[name] = table
    print(f"{name:21s} off from our Q by {(table - Q).abs().max():.3f};  worth of the start {worth(table)[7]:+.3f}")
_, best = settled["max"].max(-1)
greedy = torch.nn.functional.one_hot(best, A).to(double)
print(f"{'best policy':21s} worth of the start {exact.state_value(world, greedy, discount)[7]:+.3f}")

# %% [markdown]
# The max answers another question: what is an action worth *if one acts best from then on*? That is Q-learning, fine for *choosing*
# actions. As a critic it judges a policy nobody follows: our walker falls into pits which that policy avoids, and is told that all is
# well. (And of a noisy $Q_\phi$ the max picks what noise has raised.)
#
# By turn 1 even the right $Q_\phi$ leaves the variance of $V$ in the weights. With (7.5) a critic of *states* is enough for an
# advantage. That is what is used.

# %% [markdown]
# ## 10. Policy iteration, in gentle steps
#
# Given $A$, why climb a gradient at all? **Policy iteration** takes in each state the action with the largest $A$, evaluates the
# new policy, and repeats. With the exact $A$ it is done after a few rounds. An actor-critic evaluates a little and improves a little.
# Both with an $\hat A$ from eight walks and a critic that is off:

# %%
widgets.predict(
    "Advantages estimated from eight walks. Which is better in the end?",
    ["Jumping to the best action: it is policy iteration, after all", "Gentle steps", "No difference"],
)


# %%
def jump(logits, A_hat):
    """Nearly always the action that looks best."""
    return 5.0 * torch.nn.functional.one_hot(A_hat.argmax(-1), A).to(double)


def gentle(logits, A_hat):
    """A little more of what looks good."""
    return logits + 1.0 * A_hat


# %%
rounds, replicas = budget.choose(40, 12), budget.choose(16, 8)
improve = partial(figures_07.improve, world, discount, rounds)  # J after each round
runs = {"exact A, jump": improve(*walkers(1), jump, exactly=True)}
for name, step in (("jump", jump), ("gentle", gentle)):
    runs[f"estimated, {name}"] = improve(*walkers(replicas), step)

# %%
picture, ax = plots.figure(8, 4.4)
figures_07.curves(ax, range(rounds), runs, ("exact", "biased", "score_function"))
ax.set(xlabel="rounds", ylabel="J, exactly", ylim=(-0.6, 0.4))
plots.show(picture, "A jump trusts one noisy evaluation with everything. Gentle steps average many of them.")

# %% [markdown]
# A jump makes each round's noise the policy of the next. And it stops trying: of actions hardly taken nothing is known. A gentle
# step goes a little way, keeps trying, and the next evaluation may correct it. (Those are evaluations of *different* policies. It works
# because policies change slowly; how slowly they must is the question of lecture 09.)

# %% [markdown]
# ## 11. Online actor-critic
#
# **Algorithm 7.2, online actor-critic.** Repeat:
#
# 1. $a \sim \pi_\theta(\cdot|s)$; the world answers with $r$ and $s'$.
# 2. $\delta = r + \gamma V_\phi(s') - V_\phi(s)$, with $V_\phi(s') = 0$ if $s'$ is an end, by (7.5).
# 3. $\phi \leftarrow \phi + \beta\, \delta\, \nabla V_\phi(s)$, by (7.9).
# 4. $\theta \leftarrow \theta + \alpha\, \delta\, \nabla \log \pi_\theta(a|s)$, by (7.2) without $\gamma^t$ (lecture 05).
#
# No episode is waited for, nothing is stored. `pgcourse/algorithms/online_actor_critic.py`:

# %%
Code(inspect.getsource(online_actor_critic.loss) + "\n\n" + inspect.getsource(online_actor_critic.update), language="python")

# %% [markdown]
# Each learner has one pole. (In lecture 04 it saw sixteen poles fall before it moved at all.)

# %%
cartpole, seeds = envs.make("CartPole-v1"), budget.choose(16, 4)
config = online_actor_critic.Config(iterations=budget.choose(70, 10))
show = plots.live(threshold=475, label="online actor-critic", color="biased")
policy, online = online_actor_critic.train(cartpole, config, Rng(range(seeds)), progress=show)

# %% [markdown]
# That is one stream of experience, two minutes of balancing at full budget, each step used once. The lines are ragged: a point is the
# *one* episode that ended last, and consecutive steps are alike, so they pull the networks one way for a while.

# %% [markdown]
# ## 12. Batches: A2C
#
# **Algorithm 7.3, advantage actor-critic.** Repeat:
#
# 1. Go on for $T$ steps in each of $E$ environments.
# 2. $\hat A_t$ by (7.8), $y_t = V_\phi(s_t) + \hat A_t$.
# 3. $\theta \leftarrow \theta + \alpha\, \mathrm{mean}_{t,e}\, \nabla\big[\hat A_t \log \pi_\theta(a_t|s_t) + c\, H(\pi_\theta(\cdot|s_t))\big]$
# 4. $\phi \leftarrow \phi - \beta\, \mathrm{mean}_{t,e}\, \nabla \tfrac12 (V_\phi(s_t) - y_t)^2$
#
# Several environments make the batch less alike. $H$ is the entropy: a small bonus ($c = 0.01$) for being undecided, against the
# collapse of lecture 04. From `pgcourse/algorithms/a2c.py`:

# %%
Code("\n\n".join(map(inspect.getsource, (a2c.estimate, a2c.loss, a2c.losses))), language="python")

# %%
config = a2c.Config(iterations=budget.choose(400, 30))
show = plots.live(threshold=475, label="A2C", color="biased")
_, batched = a2c.train(cartpole, config, Rng(range(seeds)), progress=show)

# %% [markdown]
# At full budget it stays up. But so did REINFORCE, in lecture 04. To be fair, the same number of environment steps for each, on CartPole,
# and on Pendulum, whose episodes never end and are cut off after 200 steps. ($\gamma = 0.9$ there keeps the critic's numbers small.)

# %%
widgets.predict(
    "The same number of environment steps for A2C and for REINFORCE. Where is A2C ahead in the end?",
    ["On both tasks", "On CartPole only", "On Pendulum only", "On neither"],
)


# %%
def with_as_many(history, env, **settings):
    """REINFORCE until every replica has taken as many steps as those of ``history``."""
    enough = history.steps[:, -1].max()
    _, plain = reinforce.train(
        env, reinforce.Config(**settings), Rng(history.seeds), progress=lambda plain: plain.steps[:, -1].min() >= enough
    )
    return plain


# %%
pendulum = envs.make("Pendulum-v1")
settings = {"discount": 0.9, "trace_decay": 0.95, "step_size": 5e-3, "value_step_size": 3e-2, "entropy_weight": 0.0}
config = a2c.Config(iterations=budget.choose(1000, 60), environments=16, **settings)
show = plots.live(label="A2C on Pendulum", color="biased")
swinger, swung = a2c.train(pendulum, config, Rng(range(seeds)), progress=show)

# %%
plain = {"CartPole": with_as_many(batched, cartpole), "Pendulum": with_as_many(swung, pendulum, discount=0.9)}
picture, axes = plots.figure(8.5, 4.6, columns=2)
for ax, (task, history), critic_run in zip(axes, plain.items(), (batched, swung), strict=True):
    for name, run, paint in (("REINFORCE", history, "sample"), ("A2C", critic_run, "biased")):
        plots.learning_curve(run, ax=ax, label=name, color=paint, thin=False)
    ax.set(xlim=(0, critic_run.steps[0, -1]), title=task)
axes[0].plot(online.steps.mean(0), online.metrics["return"].mean(0), color=plots.COLORS["other"], label="online, mean")
plots.legend(axes[0], loc="lower right")
plots.show(
    picture,
    "At full budget: on CartPole they end alike, and online learning starts steepest; on Pendulum returns alone get hardly anywhere.",
)


# %%
late = figures_07.last_tenth  # mean return over the last tenth of so many steps, with its 95 % interval
for task, run, steps in (("CartPole", batched, 0), ("Pendulum", swung, 0), ("CartPole", batched, online.steps[0, -1])):
    steps = steps or run.steps[0, -1]
    print(f"{task}, first {steps:7,.0f} steps: A2C {late(run, steps)}, REINFORCE {late(plain[task], steps)}")
print(f"CartPole, first {steps:7,.0f} steps: online actor-critic {late(online, steps)}")

# %% [markdown]
# At full budget: on CartPole every return says what matters, how long the pole stood, and a critic that must first be learned is
# no help. It pays where returns are noisy: on Pendulum a reward-to-go is mostly about where the rod happened to be. And it pays in
# *updates*: the online learner, which has moved thousands of times, is first far ahead of both. (On CartPole with each file's own
# settings; others may change the order.)

# %%
last = swung.window("return", 100)[:, -1]
widgets.watch(swinger, pendulum, replica=int(last.argmax()), steps=budget.choose(200, 40))

# %% [markdown]
# This is the one that has done best lately, in one more episode, which may go worse. A batch moves the networks once and is
# thrown away, because after that it is no longer from this policy. How far one batch may carry is the question of lectures 09
# and 10.

# %% [markdown]
# ## 13. What goes wrong
#
# **a) Looking past the end.** Take every fall on CartPole for a cut: `terminated` is never true. What will the critic say of a pole that
# has fallen?


# %%
class Endless(type(cartpole)):
    """CartPole whose falls are reported as time running out."""

    def step(self, state, action, noise=None):
        state, reward, fallen = super().step(state, action, noise)
        return state, reward, torch.zeros_like(fallen)

    def truncated(self, state):
        return (state[..., 0].abs() > 2.4) | (state[..., 2].abs() > 12 / 180 * torch.pi)


_, blind = a2c.train(Endless(), a2c.Config(iterations=budget.choose(400, 30)), Rng(range(budget.choose(8, 4))))
for name, run in (("right", batched), ("past the end", blind)):
    middle, last = (run.metrics["return"].mean(0)[at] for at in (len(run.seconds) // 2, -1))
    print(
        f"{name:13s} return halfway {middle:3.0f}, in the end {last:3.0f}; critic's loss {run.latest('value_loss').mean():.2f}"
    )

# %% [markdown]
# At full budget: first it learns, because the critic has not yet understood this world. Then it has: every state, fallen or not, is
# worth $1/(1 - \gamma) = 100$, its loss is near zero, no action is better than another, and learning is over. *The check*: a step that
# pays 1 and ends has $\delta = 1 - V(s)$, whatever the critic says of the state after it.
#
# **b) A column minus a row.** The critic's output is `[N, 1]`, the targets are `[N]`. No error, but every value is compared with every
# target:

# %%
target = torch.tensor([0.0, 1.0, 2.0, 3.0])
print("loss of a perfect critic, as a column:", (target[:, None] - target).square().mean().item())

# %% [markdown]
# *The check*: the loss of a perfect critic is 0.
#
# **c) A gradient through the advantage.** One loss, and nobody said that $\hat A$ is a number:

# %%
policy, rng = policies.for_env(cartpole, Rng([0])), Rng([0])
value_net = policies.Value(rng, 4)
seen, _ = rollout(cartpole, policy, rng, 16, 8)
delta = returns.td_error(seen.reward, value_net(seen.observation), value_net(seen.next_observation), 0.99, seen.terminated)
log_probability = policy(seen.observation).log_prob(seen.action)
for name, weight in (("δ as it comes", delta), ("δ as a number", delta.detach())):
    reached = nn.flat_gradient(-(log_probability * weight).mean((1, 2)), value_net.parameters())
    print(f"{name}: length of the gradient that reaches the critic {reached.norm():.3f}")

# %% [markdown]
# In the first case the critic is moved to make the loss small, not to say the truth. *The check*: the policy's loss has no gradient in
# the critic.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_07)

# %% [markdown]
# ## In four lines
#
# - The gradient wants $A(s, a)$, (7.2). With the true $V$ one TD error has this mean, (7.5).
# - A wrong critic does harm where it is *ahead*, (7.6). More rewards before it: less bias, more noise; $\lambda$ mixes all lengths, (7.8).
# - An end has no future. A cut has one.
# - Actor and critic learn from the same errors, step by step (algorithm 7.2) or in batches (algorithm 7.3).
#
# **Now you:** [exercise 07](../exercises/07_actor_critic.ipynb) asks for the TD error, $n$-step returns, GAE, the target of a $Q$ critic,
# and the step of an online actor-critic.
#
# **Next:** lecture 08 sends out many workers, and asks whether they should wait for each other.

# %% [markdown]
# ## Sources
#
# - A. G. Barto, R. S. Sutton, C. W. Anderson (1983), Neuronlike adaptive elements that can solve difficult learning control problems.
# - R. S. Sutton (1988), Learning to predict by the methods of temporal differences, *Machine Learning* 3.
# - R. S. Sutton, A. G. Barto (2018), *Reinforcement Learning: An Introduction*, chapters 6, 7, 12 and 13.
# - J. Schulman, P. Moritz, S. Levine, M. Jordan, P. Abbeel (2016), High-dimensional continuous control using generalized advantage
#   estimation, *ICLR*.
# - V. Mnih et al. (2016), Asynchronous methods for deep reinforcement learning, *ICML*. A2C is its synchronous form.
# - F. Pardo, A. Tavakoli, V. Levdik, P. Kormushev (2018), Time limits in reinforcement learning, *ICML*.
# - Source slides and notes: `002_20f9c9cab9178118.txt` (Q-function, error with the max, online actor-critic),
#   `003_0746104038de6fc3.txt` (expansions of Q, Monte Carlo and TD), `004_c4625da9e5213f66.txt` (TD error as an advantage).
