# %% [markdown]
# # Exercise 07: Actor-critic
#
# Lecture 07 in five functions of your own: what a critic says of an action, at every distance, and what to do with the two
# kinds of ends. The last one is a whole learner: with it you let an actor and a critic find the way over the mountain.
#
# Tensors belong to *one* learner: `[T, E]`, time first, then environments side by side. Here episodes follow one another in a
# column. `terminated` is true where the world ended with a step, `truncated` where the episode was only cut off. `next_value` is $V$
# of the state that followed, *before* any new episode began; in the next row stands $V$ of the state the next step begins in, and at
# an end that is another one.

# %%
import torch
from IPython.display import display

from pgcourse.envs.tabular import two_step
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
# ## 1. The TD error
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t), \tag{7.5}$$
#
# where an end has no future: $V(s_{t+1}) = 0$ if `terminated`. Return `[T, E]`.

# %%
# solution: 07.td_errors

# %%
check(td_errors).points

# %% [markdown]
# Three episodes of one step, each pays 1 and was expected to bring 5 in all; the state that follows is worth 10, and $\gamma = 0.5$. The
# first goes on, the second ended, the third was cut off. Which of the three was worse than expected?

# %%
one, no, yes = torch.ones(1, 3), [[False, False, False]], [[False, True, False]]
cut = torch.tensor([[False, False, True]])
try_it(td_errors, one, 5 * one, 10 * one, torch.tensor(yes), cut, 0.5)

# %% [markdown]
# Only the one that ended, by 4. The others got $1 + 0.5 \cdot 10 - 5 = 1$: somebody who stops watching takes nothing away from the world.

# %% [markdown]
# ## 2. n-step returns
#
# $$G^{(n)}_t = r_t + \gamma r_{t+1} + \dots + \gamma^{n-1} r_{t+n-1} + \gamma^n V(s_{t+n})$$
#
# The sum stops early at an end (and nothing follows), at a cut, and at the last row (and $V$ of the state that followed comes after the
# last reward counted). `steps` is $n$.

# %%
# solution: 07.n_step_returns

# %%
check(n_step_returns).points

# %% [markdown]
# Five steps that pay 1, $V = 100$ everywhere, $\gamma = 0.5$, two steps ahead; nothing ends in the first column, and in the second the world
# ends with step 2. Do you see how far the end reaches back?

# %%
ones, never = torch.ones(5, 2), torch.zeros(5, 2, dtype=torch.bool)
ends = torch.tensor([[False, False]] * 2 + [[False, True]] + [[False, False]] * 2)
try_it(n_step_returns, ones, 100 * ones, ends, never, 0.5, 2)

# %% [markdown] tags=["solution-only"]
# The loop goes over all pairs of $t$ and $k$. Going once through all times for each *number of steps* does the same in $n$ operations on
# whole tensors: `returns.n_step` does it like that.

# %% [markdown]
# ## 3. Generalised advantage estimation
#
# $$\hat A_t = \delta_t + \gamma\lambda\, \delta_{t+1} + (\gamma\lambda)^2 \delta_{t+2} + \dots \tag{7.8}$$
#
# up to the end of the episode, whichever kind, or to the last row. $\lambda$ is `trace_decay`.

# %%
# solution: 07.generalised_advantages

# %%
check(generalised_advantages).points

# %% [markdown]
# Nothing pays but the last of four steps, which pays 1 and ends; the critic knows nothing, $V = 0$. How far does the news travel back, with
# $\gamma = 1$ and $\lambda = 0$, 0.5, 1?

# %%
late = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
zero, off, over = torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.bool), late > 0
for trace_decay in (0.0, 0.5, 1.0):
    try_it(generalised_advantages, late, zero, zero, over, off, 1.0, trace_decay)

# %% [markdown] tags=["solution-only"]
# Note what the two flags do. `terminated` takes $V(s_{t+1})$ out of $\delta_t$. Either flag keeps $\hat A_{t+1}$ out of $\hat A_t$, because
# row $t + 1$ belongs to another episode. A program that has one flag `done` for both must get one of the two wrong.

# %% [markdown]
# ## 4. The target of a Q critic
#
# $$y = r + \gamma \sum_{a'} \pi_\theta(a'|s')\, Q(s', a')$$
#
# The average over what the policy does, not the maximum, (7.10). One row for each of $N$ steps; `next_q` and `next_probability` are `[N, A]`.

# %%
# solution: 07.critic_target

# %%
check(critic_target).points

# %% [markdown]
# ## 5. One step of an online actor-critic
#
# Algorithm 7.2, with a linear critic $V(s) = \phi \cdot x(s)$, whose gradient is the feature vector $x(s)$. You are handed the score of
# the action, and what the world answered. Return the new $\theta$ and the new $\phi$.

# %%
# solution: 07.online_step

# %%
check(online_step).points

# %% [markdown]
# The mountain of lecture 04 (hut, valley, ridge), 3,000 walks, each step used once. The best walker climbs first, and climbs on the ridge: $J = 3.25$.


# %%
def walk(online_step, seed=0):
    """The probabilities that an actor with your step has found, [S, A]; the critic's features are the four places."""
    world, rng = two_step(), Rng(seed)
    theta, phi, eye = torch.zeros(8), torch.zeros(4), torch.eye(4)
    for first, *noise in rng.uniform(3000, 5)[0]:
        place = world.initial(first)
        for t in range(2):
            pi = theta.reshape(4, 2)[int(place)].softmax(0)
            action = (noise[2 * t] > pi[0]).long()
            score = torch.zeros(4, 2)
            score[int(place)] = torch.eye(2)[action] - pi
            after, reward, _ = world.step(place, action, noise[2 * t + 1])
            step = score.flatten(), eye[int(place)], eye[int(after)], float(reward), t == 1
            theta, phi = online_step(theta, phi, *step, 1.0, 0.1, 0.1)
            place = after
    return theta.reshape(4, 2).softmax(1)


try_it(lambda: walk(online_step))

# %% [markdown]
# Rows are hut, valley, ridge, home; columns rest and climb. Climbing at the hut and on the ridge should be likely, resting in the valley.

# %% [markdown]
# ## How far are you?

# %%
progress()
