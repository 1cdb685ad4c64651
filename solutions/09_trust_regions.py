# %% [markdown]
# # Exercise 09: trust regions
#
# Lecture 09 in six functions of your own: how far apart two policies are, the product with the Fisher matrix, a solver
# that needs nothing but such products, the step, and the search along it. At the end they are put together, and it is
# your TRPO that walks.
#
# As before: write the body, run the cell, then `check(...)` below it. `hint(f)` gives a hint, and another one each
# time; `solution(f)` shows the answer, and asks once before it does. `progress()` at the end knows what is done.

# %%
import torch

from pgcourse import budget, exact, plots
from pgcourse.envs import tabular
from pgcourse.grading import check, hint, progress, solution
from pgcourse.rng import Rng

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
F64 = torch.float64


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
        print(result)


# %% [markdown]
# ## 1. KL between Gaussians, both ways
#
# For one coordinate, with $p = N(m, s^2)$ and $q = N(m', s'^2)$,
#
# $$KL(p \,\|\, q) = \log\frac{s'}{s} + \frac{s^2 + (m - m')^2}{2 s'^2} - \frac12 .$$
#
# A policy over $A$ numbers has $A$ independent coordinates, whose divergences add up. All four tensors are `[N, A]`.
# Return $KL(p \,\|\, q)$ and $KL(q \,\|\, p)$, `[N]` each.

# %%
# solution: 09.gaussian_divergences

# %%
check(gaussian_divergences).points

# %% [markdown]
# A narrow and a wide Gaussian with the same mean. Which of the two numbers is larger: the surprise of the wide one at
# what the narrow one does, or the other way round?

# %%
narrow, wide, zero = torch.tensor([[0.1]]).log(), torch.tensor([[1.0]]).log(), torch.zeros(1, 1)
try_it(gaussian_divergences, zero, narrow, zero, wide)

# %% [markdown]
# What the wide one does would be astonishing to the narrow one: 47 nats against 1.8. Far from each other the two
# directions have little in common; that they agree for small steps is what task 3 rests on.

# %% [markdown]
# ## 2. KL between choices, both ways
#
# $$KL(p \,\|\, q) = \sum_k p_k\, (\log p_k - \log q_k)$$
#
# with $p$ = softmax(`logits`) and $q$ = softmax(`other_logits`), both `[N, K]`. Logits may be as large as 1000. Return
# two tensors `[N]`.

# %%
# solution: 09.categorical_divergences

# %%
check(categorical_divergences).points


# %%
def my_parabola():
    """Both of your divergences over h^2, for a step of length h."""
    generator = torch.Generator().manual_seed(0)
    logits, direction = (torch.randn(1, 4, generator=generator, dtype=F64) for _ in range(2))
    for h in (1.0, 0.1, 0.01):
        there, back = categorical_divergences(logits, logits + h * direction)
        print(f"h = {h:4.2f}: {there.item() / h**2:.5f} and {back.item() / h**2:.5f}")


try_it(my_parabola)

# %% [markdown]
# Both settle on one number: half of the quadratic form of the Fisher matrix, $v^\top F v / 2$.

# %% [markdown]
# ## 3. Fisher-vector product
#
# The policy is $\pi(\cdot \mid s) = \operatorname{softmax}(s W)$ with `weight` $W$ `[O, A]`, and `observation` holds
# $N$ states `[N, O]`. With $F$ as in (9.9), return $(F + \text{damping})\,v$ for `vector` $v$ `[O, A]`, without making
# $F$. There are two good ways: differentiate a KL twice (9.12), or work it out on paper.

# %%
# solution: 09.fisher_times

# %%
check(fisher_times).points

# %% [markdown] tags=["solution-only"]
# On paper: let $u = s V$ be how a step $V$ changes the logits. The score of choice $a$ along $V$ is $u_a - p\cdot u$, so
# each state adds $s^\top \big(p * (u - p \cdot u)\big)$. No differentiation is left.

# %% [markdown]
# ## 4. Conjugate gradient
#
# Algorithm 9.1 of the lecture, for `matrix` $A$ `[P, P]` and `target` $b$ `[P]`:
#
#     x = 0,  r = p = b
#     repeat:  size = r.r / p.Ap;  x <- x + size p;  r' = r - size Ap;  p <- r' + (r'.r' / r.r) p;  r <- r'
#
# Return $x$ after `iterations` of them. Where the residual is zero before they are used up, $x$ stays.

# %%
# solution: 09.solve_by_directions

# %%
check(solve_by_directions).points


# %%
def my_residuals():
    """How far your x is from solving a system with 200 unknowns, but only three different eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(200, 200, generator=generator, dtype=F64)).Q
    values = torch.tensor([1.0, 10.0, 100.0], dtype=F64)[torch.arange(200) % 3]
    matrix, target = q * values @ q.T, torch.randn(200, generator=generator, dtype=F64)
    for k in (1, 2, 3, 4):
        residual = target - matrix @ solve_by_directions(matrix, target, k)
        print(f"{k} iterations: residual {residual.norm() / target.norm():.1e} of the target")


try_it(my_residuals)

# %% [markdown]
# Three eigenvalues, three iterations, whatever the number of unknowns. (On the way the residual may rise; what falls every
# time is the distance to the solution, measured with the matrix.) That is why ten iterations go a long way with a Fisher
# matrix, most of whose eigenvalues are nearly zero and, damped, nearly the same.

# %% [markdown]
# ## 5. The step
#
# $$ H = F + \text{damping}\cdot I, \qquad x = H^{-1} g, \qquad \text{step} = \sqrt{\frac{2\delta}{x^\top H x}}\; x
# \tag{9.13}$$
#
# `fisher` is `[P, P]`, `gradient` `[P]`. A gradient of zero gives a step of zero, not NaN.

# %%
# solution: 09.tnpg_step

# %%
check(tnpg_step).points

# %% [markdown]
# ## 6. Line search with restore
#
# $K$ trials have been measured at $\theta + \text{shrink}^k\,\text{step}$, $k = 0, \dots, K - 1$: `gain[k]` says by how
# much the surrogate rose, `divergence[k]` is the mean KL. Return the weights after the search: those of the first
# trial with a gain above 0 and a KL of at most `delta`, or `theta` itself.

# %%
# solution: 09.searched_weights

# %%
check(searched_weights).points

# %% [markdown]
# ## Your TRPO
#
# All six together, on the $4 \times 3$ grid of lecture 04. One learner is a table of logits; the advantages are exact,
# the states of the Fisher matrix are sampled. How many updates does it need to come near the best policy? And what
# happens when $\delta$ is ten times as large?


# %%
def my_update(mdp, theta, states, delta):
    """One update of the logits [S, A] with your functions; ``states`` [N, S] are one-hot."""
    old, visits = theta.softmax(-1), exact.state_weight(mdp, theta.softmax(-1))
    advantage = exact.advantage(mdp, old).mean(0)  # over the time that is left
    surrogate = lambda logits: (visits[:, None] * logits.softmax(-1) * advantage).sum()  # noqa: E731
    gradient = torch.func.grad(surrogate)(theta).flatten()
    columns = [fisher_times(theta, states, e.reshape(theta.shape), 0.0) for e in torch.eye(theta.numel(), dtype=F64)]
    step = tnpg_step(torch.stack([c.flatten() for c in columns], 1), gradient, delta, 1e-3).reshape(theta.shape)
    trials = [theta + 0.7**k * step for k in range(10)]
    gain = torch.stack([surrogate(trial) - surrogate(theta) for trial in trials])
    divergence = torch.stack([categorical_divergences(states @ theta, states @ trial)[0].mean() for trial in trials])
    return searched_weights(theta.flatten(), step.flatten(), gain, divergence, delta, 0.7).reshape(theta.shape)


# %%
def my_trpo():
    mdp, updates, seeds = tabular.gridworld(), budget.choose(20, 6), budget.choose(8, 2)
    picture, ax = plots.figure(8, 4.2)
    for delta, color in ((0.01, "baseline"), (0.1, "other")):
        curves = torch.zeros(seeds, updates + 1, dtype=F64)
        for seed in range(seeds):
            theta, rng = torch.zeros(11, 4, dtype=F64), Rng(seed)
            for k in range(updates + 1):
                curves[seed, k] = exact.expected_return(mdp, theta.softmax(-1))
                cuts = exact.state_weight(mdp, theta.softmax(-1)).cumsum(0)
                states = torch.eye(11, dtype=F64)[(rng.uniform(200)[0][:, None] >= cuts[:-1]).sum(1)]
                theta = my_update(mdp, theta, states, delta)
        plots.band(ax, range(updates + 1), curves, label=f"delta = {delta}", color=color, thin=False)
    ax.set(xlabel="updates", ylabel="exact return J")
    plots.show(picture, "Ten times the divergence is about three times the step, and about a third of the updates.")


try_it(my_trpo)

# %% [markdown]
# $\sqrt{10} \approx 3$: the divergence grows with the square of the step. With exact advantages the longer steps are
# safe here. With estimated ones they would not be, and that is what $\delta$ is for.

# %% [markdown]
# ## How far are you?

# %%
progress()
