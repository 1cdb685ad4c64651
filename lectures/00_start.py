# %% [markdown]
# # 00 Start here
#
# An agent acts, the world answers, and at the end there is a number that says how it went. Policy gradients answer one
# question about that number: how must the agent change so that it goes better next time? This course derives every
# answer, checks it against the exact truth wherever there is one, and shows it over many seeds while you watch.
#
# Begin with the end; it takes about half a minute. Put the cursor into the next cell and press Shift+Enter; then the one
# after it.

# %%
import torch

from pgcourse import budget, envs, plots, policies, quizzes, widgets
from pgcourse.algorithms import reinforce
from pgcourse.grading import progress
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives

# %%
cartpole = envs.make("CartPole-v1")
untrained = policies.for_env(cartpole, Rng(range(16)))
widgets.watch(untrained, cartpole, replica=[0, 1, 2])

# %% [markdown]
# A pole on a cart. Every fiftieth of a second the agent pushes left or right, and each step pays 1. The episode ends when the
# pole tips over or the cart leaves the track, at the latest after 500 steps. These three are newborn and know nothing. Now
# sixteen of them learn side by side, each from its own seed, from nothing but how long they lasted. Watch the band climb
# toward the dashed line: an average of 475 counts as solved.

# %%
config = reinforce.Config(iterations=budget.choose(30, 6))
live, rng = plots.live("return", threshold=475), Rng(range(16))
policy, history = reinforce.train(cartpole, config, rng, progress=live)

# %%
widgets.watch(policy, cartpole, replica=[0, 1, 2])

# %% [markdown]
# That was REINFORCE (1992). The thick line is the mean over the sixteen, the band says how far to trust it, the thin lines
# are single learners: look how much they differ. (One that runs flat to the right end took fewer environment steps; its
# last value is carried on.) No curve in this course is a single seed. The interrupt button (■) stops a
# run and keeps what it has learned. By the end of lecture 04 you will have written the heart of it yourself.

# %% [markdown]
# ## The route
#
# Twenty lectures, each with one exercise set. Those with a link are ready; the others are planned, in this order. Hours are
# estimates for lecture and exercises together, about fifty in all. (03 and 04 can also be read without the first two.)
#
# | | question | hours |
# |---|---|---|
# | [01](01_policies_and_objectives.ipynb) | What is being optimised, and why by its gradient? | 2 |
# | [02](02_finite_differences.ipynb) | How far does blind perturbation get us? | 2½ |
# | [03](03_log_derivative_trick.ipynb) | How can I differentiate an expectation I can only sample? | 2 |
# | [04](04_reinforce.ipynb) | How do trajectories turn into a gradient for each action? | 2½ |
# | [05](05_baselines.ipynb) | Which action caused the reward, compared with what? | 2½ |
# | [06](06_pong_from_pixels.ipynb) | Does it still work from pixels with one bit of feedback? | 3 |
# | [07](07_actor_critic.ipynb) | What if a critic replaces the sampled return? | 2½ |
# | [08](08_distributed_actor_critic.ipynb) | Many workers: with or without waiting for each other? | 2 |
# | [09](09_trust_regions.ipynb) | How far may the policy move on one batch? | 3 |
# | [10](10_ppo.ipynb) | Can a clipped objective do it without second-order machinery? | 2½ |
# | [11](11_pathwise_gradients.ipynb) | What changes when I can differentiate through the reward? | 2 |
# | [12](12_discrete_reparameterization.ipynb) | And when the variable is discrete? | 2½ |
# | [13](13_stochastic_graphs.ipynb) | Can the estimator be derived by a program? | 2 |
# | 14 | What if a learned Q stands in for the unknown dynamics? | 3 |
# | 15 | What does rewarding entropy buy? | 2½ |
# | 16 | Can a failure under one goal teach another goal? | 2½ |
# | 17 | What if the dynamics are learned and differentiated too? | 2½ |
# | 18 | Can a policy be trained inside its own dream? | 3 |
# | 19 | Can gradients flow back through the dream? | 3 |
# | 20 | Which of these should I use, and how would I know? | 2 |

# %% [markdown]
# ## What you must know
#
# Python with tensors, derivatives, expectations. No reinforcement learning. These four should give you no trouble; where
# one does, read up on it first. (Every lecture ends with five questions like these, on itself.)

# %%
widgets.quiz(quizzes.START)

# %% [markdown]
# ## Notation
#
# The same letters mean the same things in every lecture. Time $t$ counts from 0.
#
# | symbol | meaning | shape for one learner |
# |---|---|---|
# | $\theta$ | parameters of the policy | one row, `[P]` |
# | $s_t$ | state; what the policy sees of it is the observation | `[T, E, O]` |
# | $a_t$ | action: a choice, or a vector | `[T, E]` or `[T, E, A]` |
# | $r_t$ | reward for $a_t$ in $s_t$ | `[T, E]` |
# | $\pi_\theta(a \mid s)$ | policy: the probability (density) of $a$ in $s$ | `[T, E]` |
# | $\tau$ | trajectory $s_0, a_0, r_0, s_1, \dots$ | |
# | $\gamma$ | discount, between 0 and 1 | number |
# | $\lambda$ | trace decay, between 0 and 1 | number |
# | $G_t$ | return from $t$ on, $r_t + \gamma r_{t+1} + \gamma^2 r_{t+2} + \dots$ | `[T, E]` |
# | $J(\theta)$ | objective: the expected return | number |
# | $V(s)$ | value: the expected return from $s$ on | `[T, E]` |
# | $Q(s, a)$ | the same, after $a$ in $s$ | `[T, E]` |
# | $A(s, a)$ | advantage, $Q(s, a) - V(s)$ | `[T, E]` |
#
# $T$ steps in $E$ environments. What you write is for one learner. The library puts an axis of $R$ **replicas**, learners
# with different seeds, in front: `[replica, time, env, feature]`, always in this order. (`A` as a shape is the size of an
# action.)

# %% [markdown]
# ## How a page works
#
# - **Predict, run, explain.** A question comes first; choose before you run the next cell. Nothing is graded, and a wrong
#   guess is what makes you remember. Shift+Enter runs a cell and goes on.
# - **Pictures move.** Where there are sliders, drag them. One colour means one thing everywhere: black the exact
#   value, blue the score-function estimator, orange pathwise gradients, grey finite differences, green with a
#   baseline, red-orange biased.
# - **Change things.** You cannot break anything. *Kernel, Restart Kernel and Run All Cells* brings it all back.
# - **Exercises** are functions you write. `check(f)` says whether it is right, and if not, what is wrong. `hint(f)` gives the
#   next hint. `solution(f)` shows the answer, and asks once before it does. What you have solved is kept in
#   `progress.json`, in the top folder of your copy of the course.

# %% [markdown]
# ## Where you stand

# %%
progress()

# %% [markdown]
# **Next:** [lecture 01](01_policies_and_objectives.ipynb).
