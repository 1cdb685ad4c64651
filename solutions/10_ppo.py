# %% [markdown]
# # Exercise 10: PPO
#
# Lecture 10 in six functions of your own: the ratio, both objectives, what to watch, a whole update, and the loss with
# which learners are then trained.
#
# As before: write the body, run the cell, then `check(...)` below it. `hint(f)` gives a hint, and another one each
# time; `solution(f)` shows the answer, and asks once before it does. `progress()` at the end knows what is done.
#
# Tensors belong to one learner. `[B]` is a minibatch: steps in a row, whatever episode they come from.

# %%
import torch
from IPython.display import display

from pgcourse import budget, envs, figures_10, plots, widgets
from pgcourse.algorithms import ppo
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives


# %%
def try_it(function, *inputs):
    """Show what your function makes of these inputs; while it is not written, say so."""
    try:
        result = function(*inputs)
    except NotImplementedError as problem:
        if str(problem):  # torch's, from inside your function
            raise
        result = "not written yet"
    if result is not None:
        display(result)


# %% [markdown]
# ## 1. The importance ratio
#
# $$\rho = \frac{\pi_\theta(a \mid s)}{\pi_{\text{old}}(a \mid s)} \tag{10.1}$$
#
# Here an action is $A$ independent numbers, and you get the log-probability of each, `[B, A]`, under both policies.
# Return one ratio per action, `[B]`. It must work for a thousand numbers, too.

# %%
# solution: 10.importance_ratio

# %%
check(importance_ratio).points

# %% [markdown]
# Three numbers, each of which has become twice as likely. What is the ratio of the action?

# %%
try_it(importance_ratio, torch.tensor([[0.8, 0.4, 0.2]]).log(), torch.tensor([[0.4, 0.2, 0.1]]).log())

# %% [markdown]
# 8: ratios multiply. An action of many numbers leaves the clip sooner than each of its numbers does.

# %% [markdown]
# ## 2. The clipped objective
#
# $$L^{\text{clip}} = \text{mean of } \min\big(\rho A,\; \operatorname{clip}(\rho, 1 - \epsilon, 1 + \epsilon)\, A\big) \tag{10.3}$$
#
# `ratio` and `advantage` are `[B]`, `clip` is $\epsilon$. Return a tensor with one number, to be ascended.

# %%
# solution: 10.clipped_objective

# %%
check(clipped_objective).points


# %%
def my_quadrants():
    """What one step adds to your objective, for a good and for a bad action."""
    ratio = torch.linspace(0, 2, 101)
    picture, ax = plots.figure(7, 4)
    for advantage, color in ((1.0, "score_function"), (-1.0, "pathwise")):
        value = [clipped_objective(r[None], torch.tensor([advantage]), 0.2).item() for r in ratio]
        ax.plot(ratio, value, color=plots.COLORS[color], label=f"A = {advantage:+.0f}")
    ax.set(xlabel="ratio", ylabel="your objective")
    plots.legend(ax)
    plots.show(picture, "Each line must be flat on one side only.")


try_it(my_quadrants)

# %% [markdown]
# ## 3. The penalty
#
# $$L^{\text{KL}} = \text{mean of } \rho A - \beta\, KL, \qquad \beta \leftarrow \begin{cases} \beta / 2 & \text{if mean } KL < d / 1.5 \\
# 2 \beta & \text{if mean } KL > 1.5\, d \end{cases} \tag{10.7, 10.8}$$
#
# `ratio`, `advantage` and `kl` are `[B]`; `coefficient` is $\beta$ and `kl_target` $d$, both numbers. Return the objective
# with the $\beta$ you were given, and the $\beta$ for the next batch.

# %%
# solution: 10.penalised_objective

# %%
check(penalised_objective).points


# %%
def my_coefficient():
    """A world in which the KL of an update is 0.1 / beta: where does your coefficient go, for a target of 0.01?"""
    beta, path, ones = 0.3, [], torch.ones(4)
    for _ in range(8):
        path.append(round(beta, 3))
        beta = float(penalised_objective(ones, ones, ones * 0.1 / beta, beta, 0.01)[1])
    return path


try_it(my_coefficient)

# %% [markdown]
# It should double until the KL is within a factor of 1.5 of its target, and stay there: 9.6, where 10 would be exact.

# %% [markdown]
# ## 4. Two numbers to watch
#
# The approximate KL, the mean of $k_3 = (\rho - 1) - \log \rho$ (10.6), and the clip fraction: the share of steps
# with a ratio outside $[1 - \epsilon, 1 + \epsilon]$. Both log-probabilities are `[B]`.

# %%
# solution: 10.update_diagnostics

# %%
check(update_diagnostics).points

# %% [markdown]
# ## 5. The whole update
#
# Algorithm 10.1 for a policy small enough to hand over as a matrix: $\pi(\cdot \mid s) = \operatorname{softmax}(s\,\theta)$
# with `theta` `[O, A]`. You get the batch (`observation` `[N, O]`, `action` `[N]`, `advantage` `[N]`), and `order`
# `[K, M, B]`: which steps stand in which minibatch of which epoch. Each minibatch makes one plain gradient step,
#
# $$\theta \leftarrow \theta + \alpha\, \nabla L^{\text{clip}}(\theta),$$
#
# with its own mean; the advantages are taken as they are. Return $\theta$ after all of them. Which log-probabilities stay, and which change from step to step?

# %%
# solution: 10.ppo_update

# %%
check(ppo_update).points


# %%
def my_bandit(epochs=40):
    """One batch of 24 pulls of the lecture's bandit, learned from for 40 epochs: the mean pay, with a clip and without."""
    pay, generator = torch.from_numpy(figures_10.PAY).float(), torch.Generator().manual_seed(0)
    theta, paid = torch.tensor([[0.7, 0.06, 0.06, 0.06, 0.06, 0.06]]).log(), {0.2: [], 1e6: []}
    old = theta.softmax(-1)[0]
    for _ in range(budget.choose(40, 10)):
        arm = torch.multinomial(old, 24, replacement=True, generator=generator)
        advantage = pay[arm] + torch.randn(24, generator=generator) - old @ pay
        order = torch.stack([torch.randperm(24, generator=generator) for _ in range(epochs)]).unflatten(1, (2, 12))
        for clip, results in paid.items():
            new = ppo_update(theta, torch.ones(24, 1), arm, advantage, order, clip, 1.0)
            results.append((new.softmax(-1)[0] @ pay).item())
    for clip, results in paid.items():
        mean, worst = sum(results) / len(results), min(results)
        print(f"clip {clip:g}: mean pay {mean:.2f}, after the worst batch {worst:.2f} (before: {old @ pay:.2f})")


try_it(my_bandit)

# %% [markdown]
# The worst batch shows what the clip is for: a few lucky pulls of a bad arm.

# %% [markdown]
# ## 6. The loss, put to use
#
# What an optimizer minimises: *minus* the clipped objective, with advantages that you first shift to mean 0 and divide
# by their standard deviation (`.std()`, plus $10^{-8}$). All three tensors are `[B]`. Judged is its gradient by
# `log_probability`. Then the check hands your loss to `algorithms/ppo.py` and trains 8 learners with it, which takes
# some seconds: half of them must reach a return of 400 on CartPole.

# %%
# solution: 10.ppo_loss

# %%
check(ppo_loss).points

# %% [markdown]
# ## Your PPO
#
# Sixteen learners with your loss, and the best of them to watch.


# %%
def with_my_loss(log_probability, old_log_probability, advantage, config):
    return ppo_loss(log_probability, old_log_probability, advantage, config.clip)


def train_mine(seeds):
    """Train so many learners with your loss; returns an animation of the best."""
    env = envs.make("CartPole-v1")
    config = ppo.Config(
        environments=8, iterations=budget.choose(25, 3), minibatches=8, step_size=1e-2, hidden=(32, 32), standardise=False
    )
    show = plots.live(threshold=475, label="your loss", color="score_function")
    policy, history = ppo.train(env, config, Rng(range(seeds)), loss=with_my_loss, progress=show)
    best = int(history.latest("return").argmax())
    return widgets.watch(policy, env, replica=best, steps=budget.choose(500, 60))


# %%
try_it(train_mine, budget.choose(16, 2))

# %% [markdown]
# ## How far are you?

# %%
progress()
