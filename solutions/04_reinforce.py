# %% [markdown]
# # Exercise 04: REINFORCE
#
# Lecture 04 in five functions of your own. Together they are the whole algorithm, and the last one trains learners on
# CartPole.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below
# it: it says at once whether the function is right, and if not, what is wrong. `hint(f)` gives a hint, and another
# one each time; `solution(f)` shows the answer, and asks once before it does. Nothing is lost when you close the
# notebook: `progress()` at the end knows what is done.
#
# Tensors here belong to *one* learner: `[T, E]`, time first, then episodes side by side. Episodes end at different
# times, so they are padded to the longest, and `valid` says which steps are real. What stands in the padding means
# nothing.

# %%
import torch
from IPython.display import display

from pgcourse import budget, envs, plots, widgets
from pgcourse.algorithms import reinforce
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives


def try_it(function, *inputs):
    """Show what your function makes of these inputs; while it is not written, say so."""
    try:
        display(function(*inputs))
    except NotImplementedError:
        print("not written yet")


# %% [markdown]
# ## 1. The log-probability of an episode
#
# By (4.3) only the policy's terms have a gradient. Add them up over the steps of each episode:
#
# $$\ell_e = \sum_{t=0}^{T_e - 1} \log \pi_\theta(a_t^e \mid s_t^e)$$
#
# You get $\log \pi_\theta(a_t \mid s_t)$ as `[T, E]` and `valid` `[T, E]`. Return one number per episode, `[E]`.

# %%
# solution: 04.episode_log_probability

# %%
check(episode_log_probability).points

# %% [markdown]
# Two episodes, of three steps and of one. Every choice was a fair coin, so the first should come out at
# $3 \log \frac12$ and the second at $\log \frac12$, whatever stands in the padding:

# %%
coin = torch.tensor([[0.5, 0.5], [0.5, 0.9], [0.5, 0.9]]).log()
lasts = torch.tensor([[True, True], [True, False], [True, False]])
try_it(episode_log_probability, coin, lasts)

# %% [markdown] tags=["solution-only"]
# A boolean mask multiplies like zeros and ones. Where the padding might hold infinities or NaN,
# `torch.where(valid, x, 0)` is the safer form, because $0 \cdot \infty$ is not a number.

# %% [markdown]
# ## 2. The surrogate
#
# A number whose *gradient* with respect to the policy's parameters is the estimator (4.4), with the return of the
# whole episode as the weight of each of its steps:
#
# $$\frac1E \sum_{e=1}^{E} R_e \sum_{t=0}^{T_e-1} \log \pi_\theta(a_t^e \mid s_t^e),
# \qquad R_e = \sum_{t=0}^{T_e-1} \gamma^t r_t^e$$
#
# `log_probability`, `reward` and `valid` are `[T, E]`, `discount` is $\gamma$, from 0 to 1 (with $0^0 = 1$). Return a
# tensor with a single number, shape `[]`. It is to be ascended, so there is no minus sign. Its value is not judged, its
# gradient is.

# %%
# solution: 04.reinforce_surrogate

# %%
check(reinforce_surrogate).points

# %% [markdown]
# A look at that gradient: the derivative by $\log \pi_\theta(a_t \mid s_t)$ is how hard step $t$ is pushed. Both
# episodes get the reward 1 at every step, without discount. Which of the two do you expect to be pushed harder, and
# by how much?


# %%
def pushes(reward, valid):
    """How hard your surrogate pushes each step, [T, E]."""
    log_probability = torch.full_like(reward, -0.7).requires_grad_()
    surrogate = reinforce_surrogate(log_probability, reward, valid, 1.0)
    return torch.autograd.grad(surrogate, log_probability)[0]


try_it(pushes, torch.ones(3, 2), lasts)

# %% [markdown]
# Each step of the long episode should get $3/2$, the one step of the short episode $1/2$, and the padding 0: the return
# over the number of episodes. Every step of an episode is pushed alike. Lecture 05 begins there.

# %% [markdown]
# ## 3. The update
#
# One step of REINFORCE, without autograd: you are handed the scores.
#
# $$\theta \leftarrow \theta + \alpha\, \frac1E \sum_{e=1}^{E} R_e \sum_{t=0}^{T_e-1} \nabla_\theta \log \pi_\theta(a_t^e \mid s_t^e),
# \qquad R_e = \sum_{t=0}^{T_e-1} r_t^e$$
#
# `theta` is `[P]`, `score` `[T, E, P]`, `reward` and `valid` are `[T, E]`, `step_size` is $\alpha$. Return the new
# parameters `[P]` and leave `theta` as it is. Here the return is not discounted.

# %%
# solution: 04.reinforce_update

# %%
check(reinforce_update).points

# %% [markdown]
# A bandit with two arms is the smallest case: one step, one logit, $\pi(\text{right}) = \frac{1}{1 + e^{-\theta}}$.
# At $\theta = 0$ the score is $+\frac12$ for *right* and $-\frac12$ for *left*. Right was tried once and paid 1, left
# was tried once and paid 0. Work out the new $\theta$ for $\alpha = 1$ before you run this.

# %%
right_and_left = torch.tensor([[[0.5], [-0.5]]])  # scores, [T, E, P] = [1, 2, 1]
paid, both = torch.tensor([[1.0, 0.0]]), torch.tensor([[True, True]])  # [T, E]
try_it(reinforce_update, torch.zeros(1), right_and_left, paid, both, 1.0)

# %% [markdown]
# It should be $0 + 1 \cdot \frac12 \big(1 \cdot \frac12 + 0 \cdot (-\frac12)\big) = \frac14$: only what paid is pushed.

# %% [markdown]
# ## 4. Returns when episodes follow one another
#
# In a rollout of fixed length a new episode begins in the row where the last one ended. The return of a step reaches
# to the end of *its* episode and not beyond:
#
# $$G_t = r_t + \gamma\, G_{t+1} \text{ if the episode goes on after step } t,
# \qquad G_t = r_t \text{ if step } t \text{ is its last.}$$
#
# `reward` is `[T, E]`; `done` `[T, E]` is true at the last step of an episode. After the last row nothing is known,
# and an episode that still runs there counts up to it. Return `[T, E]`.

# %%
# solution: 04.batched_returns

# %%
check(batched_returns).points

# %% [markdown]
# One column, two episodes: the first pays 1, 1, 1 and ends, the second pays 10 and is still running when the rollout
# stops. With $\gamma = \frac12$:

# %%
ends = torch.tensor([[False], [False], [True], [False]])
try_it(batched_returns, torch.tensor([[1.0], [1.0], [1.0], [10.0]]), ends, 0.5)

# %% [markdown]
# From the top: $1 + \frac12 \cdot 1.5 = 1.75$, then $1 + \frac12 \cdot 1 = 1.5$, then $1$, and $10$. The ten does not
# reach the first episode.

# %% [markdown] tags=["solution-only"]
# Going backward in time, a return is one multiplication and one addition. The flag `done[t]` cuts the link between
# step $t$ and step $t + 1$. Off by one here (cutting with `done[t + 1]`) still learns, worse, and no curve will tell
# you why.

# %% [markdown]
# ## 5. An agent that balances the pole
#
# Now a loss of your own. An optimizer descends it, so mind the sign. Any weight that follows from the rewards is
# welcome: whole returns or rewards-to-go, less a baseline or not, scaled or not. `log_probability`, `reward` (1 for
# every step) and `valid` are `[T, E]`; return a single number, shape `[]`.
#
# The check has two parts. First the gradient of your loss, exactly, in a world small enough to list everything that
# can happen. Then it trains eight learners on CartPole-v1 with it, which takes up to a minute: half of them have to
# reach a return of 475. A right gradient earns three points; the fourth needs one with less noise than whole returns give.

# %%
# solution: 04.cartpole_loss

# %%
check(cartpole_loss).points

# %% [markdown]
# Watch your own loss at work, on more seeds and for as long as you like. The stop button ends the run and keeps what
# it has learned.


# %%
def with_my_loss(log_probability, reward, valid, config):
    return cartpole_loss(log_probability, reward, valid)


def train_mine(seeds):
    """Train so many learners with your loss; returns an animation of the best."""
    env = envs.make("CartPole-v1")
    config = reinforce.Config(iterations=budget.choose(40, 5))
    show = plots.live(threshold=475, label="your loss")
    policy, history = reinforce.train(env, config, Rng(range(seeds)), loss=with_my_loss, progress=show)
    best = int(history.latest("return").argmax())
    return widgets.watch(policy, env, replica=best, steps=budget.choose(500, 60))


# %%
try_it(train_mine, budget.choose(16, 2))

# %% [markdown] tags=["solution-only"]
# Subtracting the batch's mean return is what makes the difference: without it every action of every episode is pushed
# up, and what counts is the small difference between large pushes. Lecture 05 shows why that may be done, and what to
# subtract.

# %% [markdown]
# ## How far are you?

# %%
progress()
