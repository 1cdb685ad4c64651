# %% [markdown]
# # Exercise 05: baselines
#
# Lecture 05 in seven functions of your own: what came of an action, four things to compare it with, two ways to learn what
# is usual, and the loss of the vanilla policy gradient.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below it.
# `hint(f)` gives a hint, and another one each time; `solution(f)` shows the answer, and asks once before it does.
#
# Tensors belong to *one* learner: `[T, E]`, time first, then episodes side by side, padded to the longest. `valid` says which
# steps are real. What stands in the padding means nothing.

# %%
import torch
from IPython.display import display

from pgcourse import budget, envs, plots, widgets
from pgcourse.algorithms import vanilla
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives


def try_it(function, *inputs):
    """Show what your function makes of these inputs; while it is not written, say so."""
    try:
        result = function(*inputs)
    except NotImplementedError:
        result = "not written yet"
    if result is not None:
        display(result)


# %% [markdown]
# ## 1. Reward-to-go
#
# By (5.2) step $t$ is weighed by what came from it on: $G_t = \sum_{k \ge t} \gamma^{k-t} r_k$, up to the end of its episode.
# `reward` and `valid` are `[T, E]`. Return `[T, E]`, with 0 in the padding.

# %%
# solution: 05.reward_to_go

# %%
check(reward_to_go).points

# %% [markdown]
# Two episodes, of three steps and of one, with $\gamma = \frac12$. Work out the first column before you run this; the 9s are
# padding.

# %%
paid = torch.tensor([[1.0, 1.0], [1.0, 9.0], [4.0, 9.0]])
lasts = torch.tensor([[True, True], [True, False], [True, False]])
try_it(reward_to_go, paid, lasts, 0.5)

# %% [markdown]
# From the bottom: 4, then $1 + \frac12 \cdot 4 = 3$, then $1 + \frac12 \cdot 3 = 2.5$; and 1 in the other column.

# %% [markdown]
# ## 2. Three baselines
#
# What is usual? On average over all steps; at each time; in each state. `G` is `[T, E]`; `seen` `[T, E, S]` is the state of each
# step, one-hot, as `observation` is in the lecture. Return three tensors: one number, `[T]`, and `[S]`. Where there is no valid
# step to average over, return 0.

# %%
# solution: 05.three_baselines

# %%
check(three_baselines).points

# %% [markdown]
# The same two episodes, with returns-to-go 2.5, 3, 4 and 1, in the states 0, 1, 1 and 0. State 2 was never visited. Which six
# further numbers should come out, beside the mean 2.625?

# %%
places = torch.eye(3)[torch.tensor([[0, 0], [1, 2], [1, 2]])]  # [T, E, S]
try_it(three_baselines, torch.tensor([[2.5, 1.0], [3.0, 9.0], [4.0, 9.0]]), places, lasts)

# %% [markdown]
# By time $\frac{2.5 + 1}{2} = 1.75$, then 3 and 4 from the one episode that is left. By state 1.75, 3.5 and 0.

# %% [markdown]
# ## 3. The best constant
#
# Weigh whole episodes with their return, $(R_e - b)\, S_e$, where $S_e$ is the sum of the scores of episode $e$. Which $b$ makes
# the squared length of that least, on average? `score` is `[E, P]`, `R` is `[E]`; return one number, shape `[]`.

# %%
# solution: 05.optimal_constant

# %%
check(optimal_constant).points

# %% [markdown]
# The two arms of the lecture: nine pulls of arm 1, which pays 0 and has the score $(0.1, -0.1)$, and one of arm 2, which pays 1
# and has $(-0.9, 0.9)$. The mean payment is 0.1.

# %%
nine_and_one = torch.tensor([[0.1, -0.1]] * 9 + [[-0.9, 0.9]])
try_it(optimal_constant, nine_and_one, torch.tensor([0.0] * 9 + [1.0]))

# %% [markdown]
# Squared lengths are 0.02 for each of nine and 1.62 for the one: $1.62 / (9 \cdot 0.02 + 1.62) = 0.9$.

# %% [markdown]
# ## 4. Leave one out
#
# The mean of the *other* episodes' returns at the same time, over those still going on, (5.9). An episode that nobody
# accompanies any more gets 0. `G` and `valid` are `[T, E]`; return `[T, E]`, with 0 in the padding.

# %%
# solution: 05.leave_one_out_means

# %%
check(leave_one_out_means).points

# %% [markdown]
# Three episodes. In the second row the last one is over, in the third all but the first are:

# %%
three = torch.tensor([[6.0, 3.0, 0.0], [4.0, 2.0, 9.0], [1.0, 9.0, 9.0]])
going_on = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
try_it(leave_one_out_means, three, going_on)

# %% [markdown]
# First row 1.5, 3, 4.5. Second row 2 and 4: each gets the other's. Third row: 0, nobody is left to compare with.

# %% [markdown] tags=["solution-only"]
# The mean with one's own return included differs by a factor only, $1 - 1/n$ with $n$ episodes running. In a batch of equal
# lengths that is a shorter step and nothing more. With different lengths $n$ changes over time, and so does the factor.

# %% [markdown]
# ## 5. Value regression on a leash
#
# (5.7) and (5.8) are one problem with different targets: find the $\phi'$ with the least
#
# $$\sum_n (y_n - \phi' \cdot x_n)^2 + \lambda \|\phi' - \phi\|^2 .$$
#
# `feature` holds the $x_n$, `[N, F]`; `target` the $y_n$, `[N]`; `phi` is `[F]`; `proximal` is $\lambda > 0$. Set the derivative
# to zero, and solve the linear system.

# %%
# solution: 05.fitted_value

# %%
check(fitted_value).points

# %% [markdown]
# Fitted TD iteration with your function: a walk over three cells, in which the last step pays 1. Each round gets its targets
# from the table of the round before. How far back has the news of the reward come after each round?


# %%
def four_rounds():
    phi, places = torch.zeros(3), torch.eye(3)
    for _ in range(4):
        following = torch.cat([phi[1:], torch.zeros(1)])  # V of the next cell; after the last nothing comes
        phi = fitted_value(places, torch.tensor([0.0, 0.0, 1.0]) + following, phi, 0.01)
        print(phi.numpy().round(2))


try_it(four_rounds)

# %% [markdown]
# One cell a round. After three rounds all three are nearly 1; what is missing is the leash's.

# %% [markdown]
# ## 6. The TD loss
#
# A network has no closed form; it descends a loss. Write the squared TD error, summed over valid steps:
#
# $$\sum_{t,e} \big(V(s_t) - [\,r_t + \gamma V(s_{t+1})\,]\big)^2 ,$$
#
# where the bracket is a *target*: computed, and held fixed. Nothing follows a step that terminated. All tensors are `[T, E]`;
# return one number. Judged are its gradients with respect to `value` and to `next_value`.

# %%
# solution: 05.td_value_loss

# %%
check(td_value_loss).points

# %% [markdown]
# Should $V(s_t) = 0$ and $V(s_{t+1}) = 1$ attract each other, with $r = 0$ and $\gamma = 1$? The gradients tell (value first):


# %%
def attraction():
    value, following = torch.zeros(1, 1, requires_grad=True), torch.ones(1, 1, requires_grad=True)
    goes_on, real = torch.tensor([[False]]), torch.tensor([[True]])
    loss = td_value_loss(value, following, torch.zeros(1, 1), goes_on, real, 1.0)
    pulls = torch.autograd.grad(loss, (value, following), allow_unused=True, materialize_grads=True)
    print([pull.item() for pull in pulls])


try_it(attraction)

# %% [markdown]
# $-2$ and 0: the earlier value is drawn up to the later one, and the later one does not come down to meet it. It knows better.

# %% [markdown]
# ## 7. The vanilla policy gradient
#
# All together: the loss whose descent climbs $\frac1E \sum_e \sum_t (G_t - V(s_t)) \log \pi_\theta(a_t|s_t)$. The value comes
# from another network, which this loss must leave alone. All tensors are `[T, E]`; return one number. Judged are its gradients
# with respect to `log_probability` and to `value`.

# %%
# solution: 05.vanilla_loss

# %%
check(vanilla_loss).points

# %% [markdown]
# Watch it at work. The library subtracts the linear baseline of the lecture before it calls a loss, so here `reward` is chosen
# such that your $G_t$ at $\gamma = 0$ is its advantage, and the value is 0:


# %%
def with_my_loss(log_probability, advantage, valid, config):
    return vanilla_loss(log_probability, torch.zeros_like(advantage), advantage, valid, 0.0) / valid.sum(0).float().mean()


def train_mine(seeds):
    """Train so many learners with your loss; returns an animation of the best."""
    env = envs.make("CartPole-v1")
    config = vanilla.Config(iterations=budget.choose(30, 3))
    show = plots.live(threshold=475, label="your loss", color="baseline")
    policy, history = vanilla.train(env, config, Rng(range(seeds)), loss=with_my_loss, progress=show)
    best = int(history.latest("return").argmax())
    return widgets.watch(policy, env, replica=best, steps=budget.choose(500, 60))


# %%
try_it(train_mine, budget.choose(16, 2))

# %% [markdown]
# ## How far are you?

# %%
progress()
