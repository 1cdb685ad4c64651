# %% [markdown]
# # Exercise 06: Pong from pixels
#
# Lecture 06 in five functions of your own: what the network sees, what came of each action, the network forward, one update of it,
# and how much it has to learn.
#
# Each task is a function with its shapes in the docstring. Write its body, run the cell, then run `check(...)` below it.
# `hint(f)` gives a hint, and another one each time; `solution(f)` shows the answer, and asks once before it does.
#
# Tensors belong to *one* learner: `[T, E]`, time first, then games side by side; or `[N, ...]` for N steps in any order.

# %%
import torch
from IPython.display import display

from pgcourse.grading import check, hint, progress, solution

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
# ## 1. Preprocessing
#
# A screen is `[H, W, 3]`: red, green and blue. The field is its rows `first` to `last - 1` (for Atari's Pong 35 and 195). Keep every
# second row and column of it, and of the colours only whether there is something: 1, unless red is 144, 109 or 0, the grounds.

# %%
# solution: 06.lit_pixels

# %%
check(lit_pixels).points

# %% [markdown]
# A screen of six rows, of which rows 1 to 4 are the field. A ball (236) covers rows 3 and 4 in column 2. Where will it be in your
# picture of two rows and two columns?

# %%
screen = torch.full((6, 4, 3), 144.0)
screen[3:5, 2] = 236.0
try_it(lit_pixels, screen, 1, 5)

# %% [markdown]
# The rows kept are 1 and 3, the columns 0 and 2: below, on the right.

# %% [markdown]
# ## 2. Discounted rewards, anew at each point
#
# `reward` is `[T, E]`: +1 or −1 at the step that decides a point, else 0. By (6.4) a step gets $\gamma^{k-t} r_k$, where $k$ is the
# first step from $t$ on that decides a point; 0 where no point follows. Return `[T, E]`.

# %%
# solution: 06.point_returns

# %%
check(point_returns).points

# %% [markdown]
# One game, seven steps, a point lost and one won, $\gamma = \frac12$. Write the seven numbers down before you run this:

# %%
try_it(point_returns, torch.tensor([0.0, 0, -1, 0, 1, 0, 0])[:, None], 0.5)

# %% [markdown]
# $-\frac14, -\frac12, -1$, then $\frac12, 1$, and 0 for the rally that is still open.

# %% [markdown]
# ## 3. The policy forward
#
# (6.2), for N pictures at once: `picture` `[N, D]`, `W1` `[D, H]`, `b1` `[H]`, `w2` `[H]`, and a number `b2`. Return the
# probability of up, `[N]`.

# %%
# solution: 06.probability_of_up

# %%
check(probability_of_up).points

# %% [markdown]
# Two pixels, one hidden unit that is on only when both are lit. How probable is up in the pictures (0, 0), (1, 0) and (1, 1)?

# %%
both = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
try_it(probability_of_up, both, torch.ones(2, 1), torch.tensor([-1.0]), torch.tensor([2.0]), 0.0)

# %% [markdown]
# One half, one half, and $\sigma(2) = 0.88$.

# %% [markdown]
# ## 4. The update
#
# One step up the mean over N steps of $A_n \log \pi_\theta(a_n | x_n)$, for a network without biases, as in the recipe: $h = \max(0, x
# W_1)$, $\sigma(h\, w_2)$ for up. `up` `[N]` is 1 where up was played; `weight` `[N]` holds the $A_n$. Return the new `W1` and `w2`.
#
# By hand it takes five lines: (6.3) pushes each logit, `w2` passes the push on to the hidden units that are on. Autograd is
# allowed.

# %%
# solution: 06.pong_update

# %%
check(pong_update).points

# %% [markdown]
# Twenty of your updates on a game for children: the picture is one of three pixels, a ball on the left, in the middle, on the
# right; up pays on the left, down on the right, and in the middle nothing matters.


# %%
def children_s_game():
    draw = torch.Generator().manual_seed(0)
    W1, w2 = 0.5 * torch.randn(3, 8, generator=draw), 0.1 * torch.randn(8, generator=draw)
    for _ in range(20):
        place = torch.randint(3, (200,), generator=draw)
        picture = torch.eye(3)[place]
        p = ((picture @ W1).clamp(min=0) @ w2).sigmoid()
        up = (torch.rand(200, generator=draw) < p).float()
        weight = (2 * up - 1) * (1 - place)
        W1, w2 = pong_update(picture, up, weight, W1, w2, 4.0)
    print("up, in the three places:", (torch.eye(3) @ W1).clamp(min=0).matmul(w2).sigmoid().numpy().round(2))


try_it(children_s_game)

# %% [markdown]
# Nearly 1 on the left, nearly 0 on the right. In the middle the weight is 0, and what happens there is the doing of the others:
# hidden units serve all three places.

# %% [markdown]
# ## 5. Count the parameters
#
# Two policies for pictures of `side` by `side` pixels, N pairs of them at once; biases count. **Dense:** all pixels to `hidden`
# units, these to one logit. **Convolutional:** `filters` filters of `size` by `size` pixels, moved by `stride` as far as they fit;
# what they give, at all places, to `hidden` units; these to one logit. All five are `[N]`; return `(dense, convolutional)`.

# %%
# solution: 06.parameter_counts

# %%
check(parameter_counts).points

# %% [markdown]
# The lecture's two kinds of policy for our Pong, both with 200 and with 32 hidden units: first the two dense ones, then the two
# convolutional ones.

# %%
two = [torch.tensor(numbers) for numbers in ([40, 40], [200, 32], [8, 8], [8, 8], [4, 4])]
try_it(parameter_counts, *two)

# %% [markdown]
# 320,401 stands first. The lecture's convolutional one, the last, has 21,321: the library's has a second logit, and so 33 more.

# %% [markdown]
# ## How far are you?

# %%
progress()
