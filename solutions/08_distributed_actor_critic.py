# %% [markdown]
# # Exercise 08: Many workers
#
# Lecture 08 in three functions of your own: what a worker that does not wait accumulates, what workers that do wait average, and
# what becomes of a descent whose gradients come late.
#
# No processes are needed here: each function is what *one* of them computes, or what is made of what all have computed. Tensors
# belong to one learner.

# %%
import torch
from IPython.display import display

from pgcourse.grading import check, hint, progress, solution

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives


def try_it(function, *inputs):
    """Show what your function makes of these inputs; while it is not written, say so."""
    try:
        display(function(*inputs))
    except NotImplementedError:
        print("not written yet")


# %% [markdown]
# ## 1. What an A3C worker accumulates
#
# The loop of algorithm 8.2. A worker has taken $T$ steps with its copy of the weights. From the last step to the first,
#
# $$R \leftarrow r_t + \gamma R, \qquad d\theta \leftarrow d\theta + (R - V(s_t))\, \nabla \log \pi(a_t|s_t), \qquad
# d\phi \leftarrow d\phi + \nabla \tfrac12 \big(R - V(s_t)\big)^2 \tag{8.5}$$
#
# where $R$ begins as $V$ of the state after the last step, or as 0 if the world ended there. The gradients of the networks are handed to you.

# %%
# solution: 08.worker_gradients

# %%
check(worker_gradients).points

# %% [markdown]
# Three steps that pay 1, a critic that says 0 of every state the worker was in and 8 of the one that follows, $\gamma = 0.5$. With the identity
# for scores, $d\theta$ shows the three advantages. Which of them changes most when the world ends?

# %%
ones, zeros, eye = torch.ones(3), torch.zeros(3), torch.eye(3)
for ended in (False, True):
    try_it(worker_gradients, ones, zeros, 8.0, ended, 0.5, eye, eye)

# %% [markdown] tags=["solution-only"]
# The last one: from 5 to 1. The first loses only an eighth of the 8. With a long batch the critic's word counts for little at its beginning,
# and for nearly everything at its end: the same batch holds estimates with $n = 1, 2, \dots, T$ steps.

# %% [markdown]
# ## 2. The gradient of synchronous workers
#
# Worker $w$ reports $g_w$, a mean over its $n_w$ samples. All together step along the mean over all samples, (8.3), shortened to `max_norm` if it
# is longer.

# %%
# solution: 08.synchronous_gradient

# %%
check(synchronous_gradient).points

# %% [markdown]
# Two workers, the second with three times as many samples, and they disagree. Where between the two does the mean lie? And if it may be no
# longer than 1, does it turn?

# %%
disagree, counts = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([10.0, 30.0])
for max_norm in (100.0, 1.0):
    try_it(synchronous_gradient, disagree, counts, max_norm)

# %% [markdown] tags=["solution-only"]
# It does not: one factor for all coordinates. Had each worker shortened its own first, the two would have come out as for gradients of
# length 1, whatever their lengths were. A worker that has seen something important would be cut down to one that has seen noise.

# %% [markdown]
# ## 3. Old gradients, plain and corrected
#
# Descent on a bowl. The $k$-th update uses the gradient of `staleness[k]` updates ago, (8.7), with the step size as it is and, in a
# second run of its own, with $\alpha / (1 + d_k)$, (8.9). Return the heights along both ways.

# %%
# solution: 08.compare_staleness

# %%
check(compare_staleness).points

# %% [markdown]
# Eight workers that take turns: every gradient is seven updates old, as soon as there have been seven. A step of 0.3 is safe with fresh
# gradients, because the bowl's curvature is 1 and the limit is 2. With old ones the limit is 0.21, by (8.8). And corrected?

# %%
turns = torch.arange(60).clamp(max=7)


def last_heights(compare_staleness):
    """The last height without staleness, with it, and with the correction."""
    start, bowl = torch.tensor([3.0]), torch.eye(1)
    fresh, _ = compare_staleness(start, bowl, 0 * turns, 0.3)
    return [float(height[-1]) for height in (fresh, *compare_staleness(start, bowl, turns, 0.3))]


try_it(lambda: last_heights(compare_staleness))

# %% [markdown]
# The second number is larger than the height of the start, 4.5: it swings higher and higher. The third comes down, but with an eighth of the
# step; it pays only where eight workers make eight times as many updates.

# %% [markdown]
# ## How far are you?

# %%
progress()
