# %% [markdown]
# # 09 How far may the policy move on one batch?
#
# A batch of experience says which actions were better than expected. Lean on it a little, and the policy improves. Lean
# on it too hard, and you act in places the batch has never seen, as in the collapses of lecture 04. So there is a right
# distance. This lecture finds out in which units to measure it, and builds the two algorithms that keep to it.
#
# **After it you can**
# - say what a batch still knows of a policy that has moved on, and bound how wrong it is;
# - compute a natural gradient for a network without ever forming a matrix;
# - run TNPG and TRPO, and measure whether they went as far as they were told to.
#
# **You need** lectures 04, 05 (advantages) and 07 (critics, GAE). **Time:** 65 minutes at the keyboard, 30 as a talk.

# %%
import inspect
from dataclasses import replace

import torch
from IPython.display import Code, display
from torch.testing import assert_close

from pgcourse import budget, distributions, envs, exact, figures_09, gradients, nn, plots, policies, quizzes, widgets
from pgcourse.algorithms import natural_gradient, trpo
from pgcourse.distributions import Categorical
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

torch.set_num_threads(1)  # on tensors this small, a second thread costs more than it gives
F64 = torch.float64

# %% [markdown]
# ## The whole lecture in one picture
#
# The corridor of lecture 01: a treasure below the middle, and two cells that look alike, to its left and to its right.
# There the walker goes right with probability $q$; everywhere else it does what is best. Black is $J(q)$. Red is
# what a batch collected at the dot *predicts* for other $q$. Three rules pick the next $q$: the best prediction, the
# best after a penalty for moving (pink), the best within a distance $\delta$ (blue).

# %%
caption = (
    "The prediction is right at the dot and wrong far away. Limit the distance, and thirty updates climb; with the whole "
    "penalty (right end of its slider) no update can fall, and none gets anywhere."
)
widgets.movable(figures_09.promise, **figures_09.PROMISE, caption=caption)

# %% [markdown]
# Try $\delta = 0.3$ (`log10_delta` = -0.5): blue leaps far over the top, back and forth. So the distance matters. What
# exactly is the red line, and in which units is $\delta$?

# %% [markdown]
# ## 1. The difference between two policies
#
# Write $\pi$ for the policy that collected the batch and $\pi'$ for a candidate. $A_\pi(s, a) = Q_\pi(s, a) - V_\pi(s)$
# is $\pi$'s advantage, and $d_{\pi}(s) = \sum_t \gamma^t P(s_t = s)$ says how much each state counts. (Some sources write
# $\eta$ for $J$.)
#
# Along any episode of $\pi'$ the values of $\pi$ cancel, each with the one before it, except the first:
#
# $$\sum_t \gamma^t \big(r_t + \gamma V_\pi(s_{t+1}) - V_\pi(s_t)\big) = \sum_t \gamma^t r_t - V_\pi(s_0) \tag{9.1}$$
#
# Take the mean under $\pi'$. On the left the bracket becomes $A_\pi(s_t, a_t)$, by (7.5); on the right stands
# $J(\pi') - J(\pi)$, because both begin in the same states:
#
# $$J(\pi') - J(\pi) = \sum_s d_{\pi'}(s) \sum_a \pi'(a \mid s)\, A_\pi(s, a) \tag{9.2}$$
#
# This **performance difference lemma** is exact, however far apart the two are. (Without a time limit, as here and in the
# figure, all its parts are linear systems.)

# %%
mdp, gamma = tabular.gridworld(time_limit=None), 0.9  # the 4 x 3 grid of lecture 04
logits = 2 * Rng(0, dtype=F64).normal(200, 11, 4)[0]  # 200 policies pi ...
distance = torch.logspace(-2, 0.5, 200, dtype=F64)[:, None, None]
moved = logits + distance * Rng(1, dtype=F64).normal(200, 11, 4)[0]  # ... and 200 candidates, ever farther away
pi, new = logits.softmax(-1), moved.softmax(-1)

# %%
gain = exact.expected_return(mdp, new, gamma) - exact.expected_return(mdp, pi, gamma)
per_state = (new * exact.advantage(mdp, pi, gamma)).sum(-1)  # sum_a pi'(a | s) A_pi(s, a)
lemma = (exact.visitation(mdp, new, gamma) * per_state).sum(-1)  # (9.2)
for k in (0, 100, 199):
    print(f"pair {k:3d}: J(pi') - J(pi) = {gain[k]:+.6f}   (9.2): {lemma[k]:+.6f}")

# %%
widgets.predict(
    "You have a batch from pi only. What in (9.2) can you not estimate from it?",
    [
        "The advantages: they belong to pi, not to pi'",
        "pi'(a | s): it has not acted yet",
        "d of pi': which states it would come to",
    ],
)

# %% [markdown]
# The advantages are the old policy's, and $\pi'(a \mid s)$ can be computed for any candidate. What a batch of $\pi$
# lacks are the *states of $\pi'$*. So we use the old ones. That is the whole approximation.

# %% [markdown]
# ## 2. The surrogate
#
# $$L(\pi') = \sum_s d_{\pi}(s) \sum_a \pi'(a \mid s)\, A_\pi(s, a) \tag{9.3}$$
#
# From a batch, importance weights (the ratio of the two probabilities) turn the sum over $a$ into a mean over the actions
# that were taken. With $\gamma^t$ dropped (lecture 05) and up to a constant factor, one maximises
#
# $$L(\theta') = \frac{1}{T E} \sum_{t, e} \frac{\pi_{\theta'}(a_t \mid s_t)}{\pi_{\theta}(a_t \mid s_t)}\, A_t
# \tag{9.4}$$
#
# At $\pi' = \pi$ (9.3) is 0, like the true difference, and its gradient there is the policy gradient:
#
# $$L(\pi) = 0, \qquad \nabla L \,\big|_{\pi' = \pi} = \nabla J \tag{9.5}$$

# %%
at = logits.clone().requires_grad_()
old_visits, old_advantage = exact.visitation(mdp, pi, gamma), exact.advantage(mdp, pi, gamma)
L = (old_visits * (at.softmax(-1) * old_advantage).sum(-1)).sum(-1)
slope_L = torch.autograd.grad(L.sum(), at)[0]
slope_J = torch.autograd.grad(exact.expected_return(mdp, at.softmax(-1), gamma).sum(), at)[0]
print(f"largest |L(pi)|: {L.abs().max():.1e};  largest difference of the gradients: {(slope_L - slope_J).abs().max():.1e}")

# %% [markdown]
# One gradient step used up what lectures 04 to 08 knew of a batch. But (9.3) is a prediction for *every* $\pi'$. So
# why not go to its maximum?

# %%
widgets.predict(
    "A table has a row of its own for each state. We maximise (9.3) completely, again and again. What happens to J?",
    ["It rises every time", "It leaps up and down, as in the corridor", "It falls at once"],
)

# %%
policy = pi[:1]
for update in range(6):
    print(f"table, after {update} updates: J = {exact.expected_return(mdp, policy, gamma).item():.4f}")
    policy = torch.nn.functional.one_hot(exact.advantage(mdp, policy, gamma).argmax(-1), 4).to(F64)

# %%
q, corridor = 0.3, tabular.aliased_gridworld(time_limit=None)
for update in range(4):
    J = exact.expected_return(corridor, figures_09.walker(corridor, torch.tensor(q, dtype=F64)), gamma)
    print(f"corridor, after {update} updates: q = {q:.3f}, J = {J:.4f}")
    q = figures_09.goal("surrogate", q, penalty=0.0, delta=1.0)

# %% [markdown]
# With a row for each state the best action everywhere is **policy iteration**, and that cannot fall: where no
# $\sum_a \pi'(a|s) A_\pi(s,a)$ is negative, neither is (9.2), whatever $d_{\pi'}$ is. In the corridor two states *share*
# a parameter. Then some terms are negative, and which of them count depends on where $\pi'$ goes. Networks share
# everything. They need a limit.

# %% [markdown]
# ## 3. How wrong can it be?
#
# $L$ errs because the states differ, and these differ only as far as the actions did. Schulman et al. (2015) turn that
# into a theorem. With the **KL divergence**, $KL(p \,\|\, q) = \sum_a p(a) \log \frac{p(a)}{q(a)}$, in nats,
#
# $$\big| J(\pi') - J(\pi) - L(\pi') \big| \le C \max_s KL\big(\pi(\cdot|s) \,\|\, \pi'(\cdot|s)\big), \qquad
# C = \frac{4 \gamma \max_{s,a} |A_\pi|}{(1 - \gamma)^2} \tag{9.6}$$
#
# The idea of the proof: let both walk with the same dice. With $\alpha$ the largest probability that they choose
# differently in a state, they have parted by time $t$ with probability at most $1 - (1 - \alpha)^t$. Only then do their
# states differ, and then a wrong expectation of at most $2\alpha \cdot 2\max|A|$ a step can be charged. Sum over
# $\gamma^t$, and use that $\alpha^2 \le \max_s KL$.

# %%
kl = Categorical(logits).kl(Categorical(moved)).amax(-1)  # [200]
surrogate = (old_visits * per_state).sum(-1)
error, C = (gain - surrogate).abs(), 4 * gamma * old_advantage.abs().amax((-1, -2)) / (1 - gamma) ** 2
picture, ax = plots.figure(8, 4.4)
figures_09.gaps(ax, kl, error, C.mean().item())
plots.show(picture, "Two hundred pairs of policies: the bound holds, for most with a factor of ten thousand and more to spare.")
print(
    f"the bound holds for {(error <= C * kl).double().mean():.0%}; in the median it is {(C * kl / error).median():.0f} times too large"
)

# %% [markdown]
# It follows that
#
# $$J(\pi') \ge J(\pi) + L(\pi') - C \max_s KL \tag{9.7}$$
#
# and the right side is $J(\pi)$ at $\pi' = \pi$. Whoever *maximises the right side* can only go up: **monotone
# improvement**, guaranteed. That is the pink curve at the top, with its slider at the right end. But a bound that is ten
# thousand times too careful allows steps that are about as many times too short.
#
# Two changes make it practical. The maximum over states becomes a **mean** over the states of the batch, which can be
# sampled; and the penalty becomes a **constraint**:
#
# $$\max_{\theta'} L(\theta') \quad\text{subject to}\quad \overline{KL}(\theta, \theta') =
# \frac{1}{TE}\sum_{t,e} KL\big(\pi_\theta(\cdot|s_t) \,\|\, \pi_{\theta'}(\cdot|s_t)\big) \le \delta \tag{9.8}$$

# %%
widgets.predict(
    "All rewards are paid in cents instead of euros: a hundred times larger. What becomes of the step?",
    ["Penalty C fixed: another step; constraint: the same", "Both the same", "Both a hundred times larger"],
)

# %%
for name, pays in (("euros", 1.0), ("cents", 100.0)):
    slope = pays * 0.6  # of some L at q = 0.2, with one state
    x = torch.linspace(0.2, 0.99, 8000, dtype=F64)
    apart = torch.as_tensor(figures_09.kl_of_coins(0.2, x))
    penalised = x[(slope * (x - 0.2) - 3.0 * apart).argmax()]
    constrained = x[apart <= 0.03][-1]
    print(f"{name}: penalty 3.0 leads to q = {penalised:.3f}, constraint 0.03 to q = {constrained:.3f}")

# %% [markdown]
# $C$ is in units of return per nat: it must be chosen anew for each task, and as learning goes on. $\delta$ is in nats,
# and a nat means the same everywhere. That is why $\delta = 0.01$ serves on many tasks. What is lost is the guarantee.

# %% [markdown]
# ## 4. KL and the Fisher matrix
#
# How does (9.8) look close by? Move the parameters by $x$. The mean KL is 0 at $x = 0$ and never negative, so its slope
# is 0 there as well, and what is left is a quadratic form. Its matrix is the **Fisher matrix**:
#
# $$F = \mathbb{E}_{s}\,\mathbb{E}_{a \sim \pi}\big[\nabla \log \pi_\theta(a|s)\, \nabla \log \pi_\theta(a|s)^\top\big]
# = \nabla^2_{\theta'} \overline{KL}(\theta, \theta')\,\big|_{\theta' = \theta} \tag{9.9}$$
#
# $$\overline{KL}(\theta, \theta + x) = \tfrac12\, x^\top F x + O(|x|^3) \tag{9.10}$$
#
# The second equality: $\nabla^2 KL = -\mathbb{E}[\nabla^2 \log \pi]$, and differentiating $\sum_a \nabla \pi = 0$ once
# more gives $\mathbb{E}[\nabla^2 \log \pi] = -\mathbb{E}[\nabla \log \pi\, \nabla \log \pi^\top]$. To check it, a small
# network on the grid, and `exact.fisher`, which adds up all states and actions:

# %%
net = policies.Categorical(Rng(0, dtype=F64), 11, 4, hidden=(8,))
F = exact.fisher(mdp, net, gamma)[0].detach()
weight = exact.state_weight(mdp, net, gamma).detach()  # [1, S]
x = Rng(1, dtype=F64).normal(len(F))
old = distributions.frozen(net(mdp.observation[None]))
mover = nn.SGD(net, 1.0)
for h in (0.1, 0.01, 0.001, 0.0001):
    mover.move(x, h)
    there, back = old.kl(net(mdp.observation[None])), net(mdp.observation[None]).kl(old)
    mover.move(x, -h)
    print(f"h = {h:6.4f}: KL / h^2 = {(weight * there).sum() / h**2:.5f}, the other way {(weight * back).sum() / h**2:.5f}")
print(f"x F x / 2            {0.5 * (x[0] @ F @ x[0]):.5f}   ({len(F)} parameters)")

# %% [markdown]
# All meet. For small steps KL is the same in both directions: a squared distance with its own ruler, $F$.

# %% [markdown]
# ## 5. The natural gradient
#
# Close by, (9.8) is: $\max_x\, g^\top x$ subject to $\frac12 x^\top F x \le \delta$, with $g = \nabla L$. Set the gradient
# of $g^\top x - \lambda\,(\frac12 x^\top F x - \delta)$ to zero: $F x = g / \lambda$, and the length follows from the
# constraint.
#
# $$ x \propto F^{-1} g \tag{9.11}$$
#
# The plain gradient answers the same question with the ruler $|x|^2$: it moves *parameters* as little as possible. The
# natural gradient moves the *policy* as little as possible. Does it matter? Two states, and in each a parameter that
# says how likely one stays. Staying in 1 pays 1, staying in 2 pays 2, and one begins in 1 nine times in ten.

# %%
widgets.predict(
    "We measure the first parameter in other units (stretch). Whose way across the picture changes?",
    ["Only the gradient's", "Only the natural gradient's", "Both", "Neither: the policy is the same"],
)

# %%
caption = "Steps of equal KL. The gradient runs onto a plateau, and where it goes depends on the units of the parameters."
widgets.movable(figures_09.arrows, **figures_09.ARROWS, caption=caption)

# %%
for stretch in (0.5, 1.0, 2.0, 4.0):
    _, J = figures_09.paths((0.5, -2.0), stretch, 0.01, 200)
    late = [int((J[:, way] < 17).sum()) for way in (0, 1)]  # steps until J is 17
    print(f"stretch {stretch}: J = 17 after {late[0]:3d} steps of the gradient, {late[1]:3d} of the natural gradient")

# %% [markdown]
# Only the gradient's. With $\theta = B\phi$ the chain rule turns $g$ into $B^\top g$ and $F$ into $B^\top F B$, so
# $F^{-1}g$ becomes $B^{-1} F^{-1} g$: the same step in the policy. The plain gradient becomes $B^\top g$, which is
# another one. And the plateau: once one stays in state 1, state 2 is hardly seen, and its component of $g$ is tiny. $F$
# is as tiny there, and dividing restores it.

# %% [markdown]
# ## 6. Products without the matrix
#
# A network with a hundred thousand parameters has an $F$ with $10^{10}$ entries. But a solver that only *multiplies* with
# $F$ does not need it. The trick is to differentiate twice, in this order:
#
# $$F v = \nabla_{\theta'} \Big( \big(\nabla_{\theta'} \overline{KL}(\theta, \theta')\big)^{\!\top} v \Big) \tag{9.12}$$
#
# The inner gradient is a vector, its product with $v$ a number, and the gradient of a number costs as little as
# backpropagation does.


# %%
def product(v):
    """F v by (9.12), v [1, P]."""
    law = net(mdp.observation[None])
    divergence = (weight * distributions.frozen(law).kl(law)).sum()
    slope = torch.autograd.grad(divergence, list(net.parameters()), create_graph=True)
    along = (torch.cat([each.flatten() for each in slope]) * v).sum()
    return torch.cat([each.flatten() for each in torch.autograd.grad(along, list(net.parameters()))])[None]


# %%
assert_close(product(x), (F @ x[0])[None])
assert_close(gradients.fisher_vector_product(net, mdp.observation[None], weight=weight)(x), product(x))
print("largest difference from the explicit matrix:", (product(x)[0] - F @ x[0]).abs().max().item())
for hidden in ((8,), (32, 32), (256, 256)):
    P = sum(p[0].numel() for p in policies.Categorical(Rng(0), 11, 4, hidden).parameters())
    print(f"hidden {hidden!s:10s}: P = {P:6d} numbers in a product, {P**2:13,d} in the matrix")

# %% [markdown]
# ## 7. Conjugate gradient
#
# We want $x$ with $F x = g$ from products alone. That is the minimum of $\frac12 x^\top F x - g^\top x$, whose downhill
# direction is the **residual** $r = g - F x$. Downhill again and again zigzags. **Conjugate gradient** makes each new
# direction $p$ conjugate to all before, $p_i^\top F p_j = 0$, so that no later step spoils an earlier one. Keeping a share
# of the last direction is enough for that.
#
# **Algorithm 9.1.** $x = 0$, $r = p = g$. Repeat: $\;\alpha = \dfrac{r^\top r}{p^\top F p}$, $\;x \leftarrow x + \alpha p$,
# $\;r' = r - \alpha F p$, $\;p \leftarrow r' + \dfrac{r'^\top r'}{r^\top r}\,p$, $\;r \leftarrow r'$.
#
# For R learners at once, one more line: a replica whose residual has vanished must stop, or 0/0 follows.


# %%
def conjugate_gradient(product, g, iterations):
    """Algorithm 9.1 for every replica, g [R, P]; product: [R, P] -> [R, P]."""
    x, r, p = torch.zeros_like(g), g, g
    for _ in range(iterations):
        square, ahead = (r * r).sum(1, keepdim=True), product(p)
        moving = square > 1e-10 * (g * g).sum(1, keepdim=True)
        alpha = torch.where(moving, square / (p * ahead).sum(1, keepdim=True), 0)
        x, r = x + alpha * p, r - alpha * ahead
        p = r + torch.where(moving, (r * r).sum(1, keepdim=True) / square, 0) * p
    return x


# %% [markdown]
# Now a case as it occurs: learners on CartPole after eight updates, each with a batch of 1024 steps.

# %%
env, config = envs.make("CartPole-v1"), trpo.Config(hidden=(8, 8))
rng, carry = Rng(range(budget.choose(16, 4)), dtype=F64), None
policy, critic = policies.for_env(env, rng, config.hidden), policies.Value(rng, 4, config.hidden)
optimizers, loss = (nn.SGD(policy, 1.0), nn.Adam(critic, config.value_step_size)), nn.lift(trpo.loss)
for k in range(9):
    batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
    if k < 8:
        trpo.update(policy, optimizers[0], critic, optimizers[1], batch, config, loss)

# %%
advantage, _ = trpo.estimate(critic, batch, config)  # GAE
log_probability = policy(batch.observation).log_prob(batch.action)
g = -gradients.per_replica(loss(log_probability, batch.log_probability, advantage), policy)  # the gradient of (9.4)
times_F = gradients.fisher_vector_product(policy, batch.observation)
F = torch.stack([times_F(e.expand_as(g)) for e in torch.eye(g.shape[1], dtype=F64)], -1)  # only to look at it
values = torch.linalg.eigvalsh(F)
print(f"{g.shape[1]} parameters; eigenvalues above 0.001: {(values > 1e-3).sum(1).double().mean():.0f} on average")

# %%
widgets.predict(
    "130 equations with 130 unknowns. How many iterations until x points within 1 degree of the solution? "
    "(0.1 has been added to the diagonal of F; the next turn says why.)",
    ["About 130", "About 40", "About 5"],
)

# %%
counts, angle = range(1, 13), {}
for damping in (0.1, 0.001):
    H = F + damping * torch.eye(g.shape[1], dtype=F64)
    truth = torch.linalg.solve(H, g)
    found = [conjugate_gradient(lambda v, H=H: torch.einsum("rij,rj->ri", H, v), g, k) for k in counts]
    cosine = torch.stack([torch.cosine_similarity(each, truth, dim=1) for each in found], 1)
    angle[damping] = cosine.clamp(-1, 1).acos().rad2deg()
assert_close(found[-1], gradients.conjugate_gradient(lambda v: torch.einsum("rij,rj->ri", H, v), g, 12))

# %%
picture, ax = plots.figure(8, 4.2)
for damping, color in ((0.1, "score_function"), (0.001, "biased")):
    plots.band(ax, counts, angle[damping].clamp(min=1e-4), label=f"damping {damping}", color=color, thin=False)
ax.axhline(1, color=plots.COLORS["exact"], linestyle="--", linewidth=1.2)
ax.set(yscale="log", xlabel="iterations", ylabel="angle to the solution (degrees)")
plots.show(picture, "130 unknowns, and with the larger damping five iterations: few eigenvalues stand out from the rest.")

# %% [markdown]
# About five. At most, each different eigenvalue costs one iteration, and most of $F$'s are nearly the same: nearly zero.
# Those are changes of the parameters that hardly change what the policy does *in this batch*, and to divide by them is to
# bet everything on directions nobody has looked at. So a **damping** is added to the diagonal, $F + 0.1\, I$, and the
# iteration is stopped early: the *truncated* in truncated natural policy gradient.

# %% [markdown]
# ## 8. How long a step?
#
# $x$ solves $(F + \text{damping})\, x = g$. By (9.10) a multiple $\beta x$ has the KL $\frac12 \beta^2 x^\top F x$. Set
# it to $\delta$:
#
# $$\text{step} = \sqrt{\frac{2 \delta}{x^\top (F + \text{damping})\, x}}\; x \tag{9.13}$$
#
# The damping only makes it shorter. Roll out, (9.4), algorithm 9.1, (9.13), fit the critic: that is **TNPG** (algorithm
# 9.2). The file, from the step to the update:

# %%
for part in (natural_gradient.natural_step, natural_gradient.update):
    display(Code(inspect.getsource(part), language="python"))

# %%
widgets.predict(
    "We ask for delta = 0.01, 0.1, 1 with damping 0.1, and again with damping 0.001. Is the KL that was taken what we asked for?",
    [
        "Always within a few per cent",
        "Not above delta with the larger damping; several times delta for some with the smaller",
        "Above delta in both, because KL is not symmetric",
    ],
)


# %%
deltas = torch.logspace(-4, 0, 9)
mover, old, ratio = optimizers[0], distributions.frozen(policy(batch.observation)), {}


@torch.no_grad()
def measure():
    """The mean KL to the old policy, and by how much (9.4) has risen, [R] each."""
    law = policy(batch.observation)
    rise = loss(log_probability, batch.log_probability, advantage)
    return old.kl(law).mean((1, 2)), rise - loss(law.log_prob(batch.action), batch.log_probability, advantage)


# %%
for damping in (0.1, 0.001):
    step, _ = natural_gradient.natural_step(policy, batch.observation, g, replace(config, max_kl=1.0, damping=damping))
    whole, searched = [], []
    for delta in deltas.tolist():
        mover.move(step, delta**0.5)
        whole.append(measure()[0] / delta)
        mover.move(step, -(delta**0.5))

        def acceptable(delta=delta):  # (9.14)
            kl, rise = measure()
            return (rise > 0) & (kl <= delta)

        fraction = trpo.line_search(mover, delta**0.5 * step, acceptable, trials=20, shrink=0.8)
        searched.append(measure()[0] / delta)
        mover.move(-(delta**0.5) * fraction[:, None] * step)  # back
    ratio[f"damping {damping}"] = {"whole step": torch.stack(whole, 1), "after a line search": torch.stack(searched, 1)}

# %%
picture, axes = plots.figure(8.6, 5, columns=2, sharey=True)
figures_09.taken(axes, deltas.tolist(), ratio)
plots.show(picture, "The quadratic form promises delta; far out KL is no parabola. Red ground: farther than asked.")

# %% [markdown]
# With the larger damping hardly anybody goes farther than asked, and most go less far. With the smaller one the step
# reaches into directions where the ellipse is long and thin and the parabola soon ends: several times $\delta$. One can
# damp more, or *look before one steps*.

# %% [markdown]
# ## 9. Look before you step
#
# Try the whole step, then 0.8 of it, 0.64 ..., and take the first $\theta'$ with
#
# $$L(\theta') > L(\theta) \quad\text{and}\quad \overline{KL}(\theta, \theta') \le \delta \tag{9.14}$$
#
# If none is found, $\theta$ stays what it was. With this **line search** TNPG becomes **TRPO** (algorithm 9.3), trust
# region policy optimization. A trial needs no environment steps, only the batch. Each replica searches for itself;
# whoever has found a step waits.

# %%
for part in (trpo.line_search, trpo.update):
    display(Code(inspect.getsource(part), language="python"))

# %% [markdown]
# The blue curves above are this search, with 20 trials at each $\delta$: never above the line.

# %% [markdown]
# ## 10. On the pole
#
# CartPole, 1024 steps per update, in three settings: as usual ($\delta = 0.01$, damping 0.1); with little damping
# ($\delta = 0.05$, damping 0.001); far too bold ($\delta = 0.5$, damping 0.1).

# %%
widgets.predict(
    "In which of the three settings will the line search pay, so that TRPO learns more than TNPG?",
    [
        "In all three: the search can only help",
        "With little damping, where whole steps overshoot; not in the others",
        "In the bold one: the search makes long steps safe",
    ],
)

# %%
updates, seeds, runs = budget.choose(20, 4), budget.choose(16, 4), {}
cases = {"usual": (0.01, 0.1), "little damping": (0.05, 0.001), "bold": (0.5, 0.1)}
methods = {"TNPG": (natural_gradient, "biased"), "TRPO": (trpo, "score_function")}
for case, (delta, damping) in cases.items():
    for name, (algorithm, color) in methods.items():
        settings = algorithm.Config(iterations=updates, max_kl=delta, damping=damping)
        show = plots.live(label=f"{name}, {case}", color=color)
        _, runs[case, name] = algorithm.train(env, settings, Rng(range(seeds)), progress=show)

# %%
picture, axes = plots.figure(9, 4.6, columns=3, sharey=True)
for ax, case in zip(axes, cases, strict=True):
    for name, (_, color) in methods.items():
        run = runs[case, name]
        plots.band(ax, run.steps[0] / 1000, run.metrics["return"], label=name, color=color, thin=False)
    ax.set(title=case, xlabel="environment steps\n(thousands)", ylim=(0, 520))
axes[0].set_ylabel("return per episode")
plots.show(picture, "The search mends a step that is too long for its parabola, not one that is too long for its batch.")

# %%
for (case, name), run in runs.items():
    kl, last = run.metrics["kl"], run.window("return", 5)[:, -1]
    far, (low, high) = (kl > cases[case][0]).mean(), plots.bootstrap_interval(last[:, None])
    print(f"{case:14s} {name}: KL above delta in {far:3.0%} of updates; ", end="")
    print(f"return {last.mean():3.0f} ({low[0]:.0f} to {high[0]:.0f})")

# %% [markdown]
# (The return is that of the last five updates, with its 95 % interval.) At full budget: as usual, the damped step is
# accepted as it is, and the two are one algorithm. With little damping TNPG overshoots in most updates, TRPO in none, and
# that shows in the return. Bold: the search keeps the KL below 0.5, and both are far behind. A search holds the step
# against the *batch's* $L$, and 1024 steps do not say enough to go that far: out there $L$ is noise.

# %% [markdown]
# ## 11. Does it improve every time?
#
# Three things have been given up since (9.7): the maximum over states, the constant, and exact sums. On the grid we can
# see what that costs, because $J$ is known after each update.


# %%
def learn(environments, updates=20):
    """Exact J after each update of TRPO on the grid, [R, updates + 1]."""
    mdp, rng, carry = tabular.gridworld(time_limit=20), Rng(range(16)), None
    config = trpo.Config(steps=20, environments=environments, discount=1.0, hidden=(), value_step_size=0.05)
    policy, critic = policies.for_env(mdp, rng, ()), policies.Value(rng, 11, ())
    optimizers, values = (nn.SGD(policy, 1.0), nn.Adam(critic, 0.05)), [exact.expected_return(mdp, policy).detach()]
    for _ in range(updates):
        batch, carry = rollout(mdp, policy, rng, 20, environments, carry)
        trpo.update(policy, optimizers[0], critic, optimizers[1], batch, config, loss)
        values.append(exact.expected_return(mdp, policy).detach())
    return torch.stack(values, 1)


# %%
widgets.predict(
    "How often does the true J fall in an update, with batches of 20 steps, and with batches of 1600?",
    [
        "Never in either: that is the guarantee",
        "In about a third, and in less than one of a hundred",
        "In about half, and in about a third",
    ],
)

# %%
picture, ax = plots.figure(8, 4.2)
for environments, color in ((1, "biased"), (8, "pathwise"), (80, "score_function")):
    J = learn(environments)
    change = J.diff(dim=1)
    print(
        f"batches of {20 * environments:4d} steps: J fell in {(change < 0).double().mean():5.1%} of the updates, by at most {-change.min():.3f}"
    )
    plots.band(ax, range(J.shape[1]), J, label=f"batches of {20 * environments} steps", color=color, thin=False)
ax.set(xlabel="updates", ylabel="exact J", xticks=range(0, J.shape[1], 5))
plots.show(picture, "With large batches improvement is monotone in practice; what makes J fall is sampling error.")

# %% [markdown]
# So monotone improvement is real, where the batch is large enough for its $\delta$. And in the top figure it fails with no
# noise at all: near the best $q$ a whole step still fits the constraint, and blue leaps over the top. A constraint says
# how far one *may* go, and the linear $g$ always says: all the way.

# %% [markdown]
# ## 12. What goes wrong
#
# **a) The old policy moves along.** To compare with, someone keeps `old = policy(observation)` without a gradient. For
# a Gaussian policy its `log_std` is the parameter itself, seen through another shape.

# %%
gaussian = policies.Gaussian(Rng(range(4), dtype=F64), 3, 2)
seen = Rng(range(4), stream=1, dtype=F64).normal(50, 3)
with torch.no_grad():
    alive, kept = gaussian(seen), distributions.frozen(gaussian(seen))
    gaussian.log_std += 0.5
    print("KL to the law that was kept: ", kept.kl(gaussian(seen)).mean(1).numpy().round(3))
    print("KL to the one that moved along:", alive.kl(gaussian(seen)).mean(1).numpy().round(3))

# %% [markdown]
# The KL of every step is then too small, and the search accepts what it should not. **The check:** move the weights by
# hand, and see that the KL is not 0. (`distributions.frozen` copies.)
#
# **b) Other states in every product.** To save time, $F$ is estimated from a fresh handful of states at each iteration
# of conjugate gradient.

# %%
places = torch.arange(0, 1024).reshape(16, 64)  # 16 handfuls of 64 steps
steps = batch.observation.flatten(1, 2)
parts = [gradients.fisher_vector_product(policy, steps[:, each], 0.1) for each in places]
turns = iter(range(100))
for name, times in (("the same 64 steps", parts[0]), ("others every time", lambda v: parts[next(turns) % 16](v))):
    x = conjugate_gradient(times, g, 12)
    residual = (g - parts[0](x)).norm(dim=1) / g.norm(dim=1)
    print(f"{name}: residual {residual.mean():.1e} of g, largest {residual.max():.1e}")

# %% [markdown]
# Directions that are conjugate for one matrix are not for another, and it does not converge. **The check:** the residual
# at the end. A subsample is fine, if it is *one* for the whole solve.
#
# **c) A factor.** $\sqrt{\delta / x^\top F x}$, from memory. Nothing breaks; learning is a little slower.

# %%
step, _ = natural_gradient.natural_step(policy, batch.observation, g, replace(config, max_kl=1e-5, damping=0.0, directions=4))
for name, size in (("sqrt(2 delta / x F x)", 1.0), ("sqrt(delta / x F x)", 0.5**0.5)):
    mover.move(step, size)
    taken = measure()[0] / 1e-5
    print(f"{name:22s} KL taken / delta: {taken.min():.2f} to {taken.max():.2f}")
    mover.move(step, -size)

# %% [markdown]
# **The check:** undamped and for a small $\delta$, the KL taken *is* $\delta$.

# %% [markdown]
# ## Quiz
#
# Five questions. Choose, and read the reason; change your mind as often as you like.

# %%
widgets.quiz(quizzes.LECTURE_09)

# %% [markdown]
# ## In four lines
#
# 1. The surrogate weighs the old advantages with new probabilities; it errs because the new policy visits other states,
#    and KL bounds by how much.
# 2. The natural gradient $F^{-1} g$ is the steepest way per nat of KL: the same step whatever the parameters are.
# 3. Products with $F$ by differentiating twice, conjugate gradient, $\sqrt{2\delta / x^\top F x}$: that is TNPG; with a
#    search along the step it is TRPO.
# 4. $\delta$ holds the policy near the batch. It does not make a noisy batch tell the truth.
#
# **Now you:** [exercise 09](../exercises/09_trust_regions.ipynb) asks for both KL divergences, the Fisher-vector
# product, conjugate gradient, the TNPG step and the line search, and puts them together. **Next:** two derivatives, a
# solver and a search, to stay close. Lecture 10 clips a ratio instead.

# %% [markdown]
# ## Sources
#
# - S. Kakade and J. Langford (2002), "Approximately optimal approximate reinforcement learning", *ICML*: (9.2).
# - J. Schulman, S. Levine, P. Moritz, M. Jordan and P. Abbeel (2015), "Trust region policy optimization", *ICML*: (9.6),
#   TRPO. S. Kakade (2002), "A natural policy gradient", *NIPS* 14, with the two states of turn 5; S. Amari (1998).
# - Y. Duan, X. Chen, R. Houthooft, J. Schulman and P. Abbeel (2016), "Benchmarking deep reinforcement learning for
#   continuous control", *ICML*: TNPG.
# - M. Hestenes and E. Stiefel (1952): conjugate gradient. B. Pearlmutter (1994), "Fast exact multiplication by the
#   Hessian".
# - Source slides and notes: `002_20f9c9cab9178118.txt` (trust regions, TRPO), `004_c4625da9e5213f66.txt` (from first to
#   second order, the truncated natural policy gradient, penalty against constraint).
