"""Relative entropy policy search (REPS). Peters, Mülling & Altun (2010); on episodes, as Duan et al. (2016) compare it.

    repeat
        play E whole episodes with pi_theta: samples i = 1 .. N from the distribution q(s, a)
        delta_i(v) = r_i + discount v . feature(s'_i) - v . feature(s_i),   feature = 0 once an episode is over
        A_i(v) = sum_{k >= 0} (discount trace_decay)^k delta_{i+k}(v) = u_i + v . f_i,   up to the episode's end
        eta, v <- argmin_{eta > 0} g(eta, v) = eta epsilon + eta log mean_i exp(A_i(v) / eta) - v . mean_i f_i
        p_i = exp(A_i(v) / eta) / sum_j exp(A_j(v) / eta)
        theta <- argmax sum_i p_i log pi_theta(a_i | s_i)                                (weighted maximum likelihood)

Why: among the distributions p(s, a) for which features flow as they do under q, E_p[f] = E_q[f], REPS looks for the one with
the highest E_p[u] that is no further from q than KL(p || q) <= epsilon. Setting the derivative of the Lagrange function to zero
gives p, and g is what is left of it: the dual, convex, with eta the price of the KL constraint and v . feature a value
function. At its minimum dg/deta = epsilon - KL(p || q) = 0: the step is as long as was asked for, and there is no step size to
choose.

``trace_decay=0`` is the paper's: delta is the Bellman error, and E_p[f] = E_q[f] says that as much of each feature arrives as
leaves. With few features many p satisfy that which come from no policy at all, those that simply prefer states with high
rewards: what is learned is then short-sighted. The default, 1, sums the errors to the episode's end: A_i is the return-to-go
minus v . feature(s_i), and the constraint keeps the features of the states as they are. The value function is then nothing but
a baseline, which cannot mislead, whatever its features.

Where this file deviates from the paper besides:

- the expectation over s' inside delta is the one sample there is: luck passes for skill.
- the features are Duan et al.'s: the observation, its square, powers of time and 1 (``returns.linear_features``).
- the argmax is approached by ``regression_steps`` steps of Adam from where the policy is.

The metric "return" is undiscounted; an episode that the time limit cuts off counts as finished. Metrics "eta", in standard
deviations of u; "sample_kl": KL(p || q), in nats; "kl": the mean KL(new || old) of the policies in the states seen, weighted
by p.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import nn, policies, returns, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, episodes
from .rwr import regress


@dataclass(frozen=True)
class Config:
    """Settings of REPS. The defaults suit CartPole-v1."""

    environments: int = 16
    """Episodes per update and replica, E."""
    iterations: int = 50
    """Updates of the policy."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    trace_decay: float = 1.0
    """lambda, in [0, 1]: how much of the later errors counts; 0 is the paper's Bellman error."""
    epsilon: float = 0.5
    """How far p may go from q, in nats, > 0."""
    regression_steps: int = 20
    """Steps of Adam per update, over the whole batch."""
    step_size: float = 1e-2
    """Adam's step size, > 0."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the policy's hidden layers."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "iterations", "regression_steps")
        settings.positive(self, "epsilon", "step_size")
        settings.in_unit_interval(self, "discount", "trace_decay")
        settings.layers(self, "a linear policy")


@dataclass(frozen=True)
class Samples:
    """What the dual is made of, in float64; steps that are not valid have no part in it. N = T E, F features.

    Both are shifted to mean 0, with which v . mean f is gone from g, and scaled to standard deviation 1, with which the same p
    is found at other eta and v; a sum that never varies is 0.
    """

    gain: Float[Tensor, "R N"]
    """u: sums of rewards."""
    flow: Float[Tensor, "R N F"]
    """f: sums of changes of the features."""
    valid: Bool[Tensor, "R N"]


def samples(batch: Rollout, config: Config) -> Samples:
    """Rewards and changes of the features in whole episodes, each summed up to the episode's end."""
    ahead = torch.cat((batch.observation[:, :1], batch.next_observation), 1)  # s_0 .. s_T: the rows are the times
    feature = returns.linear_features(ahead.double())
    change = config.discount * feature[:, 1:] * ~batch.done.unsqueeze(-1) - feature[:, :-1]
    terms = torch.cat((batch.reward.double().unsqueeze(-1), change), -1)
    terms = torch.where(batch.valid.unsqueeze(-1), terms, 0).movedim(-1, 1)  # [R, 1 + F, T, E]
    sums = returns.to_go(terms, config.discount * config.trace_decay)
    sums, valid = sums.flatten(2).mT, batch.valid.flatten(1)  # [R, N, 1 + F], [R, N]
    count = valid.sum(1)[:, None, None]
    centred = torch.where(valid.unsqueeze(2), sums - sums.sum(1, keepdim=True) / count, 0)
    size, spread = (x.square().sum(1, keepdim=True).div(count).sqrt() for x in (sums, centred))
    scaled = torch.where(spread > 1e-9 * size, centred / spread, 0)
    return Samples(scaled[..., 0], scaled[..., 1:], valid)


def tilted(
    samples: Samples, eta: Float[Tensor, "*K R"], v: Float[Tensor, "*K R F"]
) -> tuple[Float[Tensor, "*K R N"], Float[Tensor, "*K R"], Float[Tensor, "*K R N"]]:
    """p, log mean exp(A / eta) and A; the largest exponent is subtracted before exponentials are taken."""
    advantage = samples.gain + (samples.flow @ v.unsqueeze(-1)).squeeze(-1)
    exponent = torch.where(samples.valid, advantage / eta.unsqueeze(-1), -torch.inf)
    log_sum = exponent.logsumexp(-1)
    return (exponent - log_sum.unsqueeze(-1)).exp(), log_sum - samples.valid.sum(-1).log(), advantage


_RIDGE = 1e-6
"""Times |v|^2 / 2, in g: some features depend on others, and without it v would be any."""
_NEWTON_STEPS = 100
"""At most; about ten are usual."""
_LEAST_ETA = 1e-6
"""Instead of the 0 that eta goes to where the KL constraint does not bind."""


def dual(samples: Samples, eta: Float[Tensor, "*K R"], v: Float[Tensor, "*K R F"], epsilon: float) -> Float[Tensor, "*K R"]:
    """g(eta, v), and a ridge that keeps v in place."""
    return eta * (epsilon + tilted(samples, eta, v)[1]) + _RIDGE / 2 * v.square().sum(-1)


def slopes(
    samples: Samples, eta: Float[Tensor, " R"], v: Float[Tensor, "R F"], epsilon: float
) -> tuple[Float[Tensor, "R G"], Float[Tensor, "R G G"]]:
    """The dual's gradient and second derivatives in (v, eta), G = F + 1; without the ridge

    dg/dv = E_p[f],    dg/deta = epsilon - KL(p || q),    d2g = Cov_p(z) / eta    with z = (f, -A / eta).
    """
    p, log_mean, advantage = tilted(samples, eta, v)
    z = torch.cat((samples.flow, -(advantage / eta.unsqueeze(1)).unsqueeze(2)), 2)
    mean = (p.unsqueeze(1) @ z).squeeze(1)  # its last entry is -E_p[A] / eta = -KL(p || q) - log mean
    gradient = mean + torch.cat((_RIDGE * v, (epsilon + log_mean).unsqueeze(1)), 1)
    z = z - mean.unsqueeze(1)
    ridge = torch.full_like(gradient, _RIDGE)
    ridge[:, -1] = 0
    return gradient, (z * p.unsqueeze(2)).mT @ z / eta[:, None, None] + torch.diag_embed(ridge)


def solve_dual(samples: Samples, epsilon: float) -> tuple[Float[Tensor, " R"], Float[Tensor, "R F"]]:
    """eta and v at the minimum of the dual, by Newton's method, each replica until its own slope is nothing."""
    v = torch.zeros_like(samples.flow[:, 0])
    eta = torch.full_like(v[:, 0], 1 / math.sqrt(2 * epsilon))  # for small exponents KL = variance / (2 eta^2)
    sizes = 0.5 ** torch.arange(12, dtype=eta.dtype, device=eta.device).unsqueeze(1)  # [K, 1]
    row, going = torch.arange(len(eta), device=eta.device), torch.ones_like(eta, dtype=torch.bool)
    for _ in range(_NEWTON_STEPS):
        gradient, curvature = slopes(samples, eta, v, epsilon)
        step = -torch.linalg.solve_ex(curvature + 1e-12 * torch.eye(curvature.shape[1]).to(curvature), gradient)[0]
        slope = (gradient * step).sum(1)
        going = going & (slope < -1e-14)
        if not going.any():
            break
        # the longest of some steps that lowers g as it should; none changes eta by more than half
        size = sizes * (0.5 * eta / step[:, -1].abs().clamp(min=1e-300)).clamp(max=1.0)  # [K, R]
        etas, vs = (eta + size * step[:, -1]).clamp(min=_LEAST_ETA), v + size.unsqueeze(2) * step[:, :-1]
        lower = dual(samples, etas, vs, epsilon) <= dual(samples, eta, v, epsilon) + 1e-4 * size * slope
        going = going & lower.any(0)
        chosen = lower.to(torch.uint8).argmax(0)
        eta, v = torch.where(going, etas[chosen, row], eta), torch.where(going.unsqueeze(1), vs[chosen, row], v)
    return eta, v


def loss(log_probability: Float[Tensor, "T E"], weight: Float[Tensor, "T E"]) -> Float[Tensor, ""]:
    """One learner's loss: minus the log-likelihood of the actions, weighted by p."""
    return -(log_probability * weight).sum()


def update(
    policy: Policy, optimizer: nn.Adam, batch: Rollout, config: Config, loss: Callable[..., Tensor]
) -> tuple[dict[str, Tensor], Bool[Tensor, " R"]]:
    """One update for every replica; returns metrics [R] and which replicas could take it [R]."""
    data = samples(batch, config)
    eta, v = solve_dual(data, config.epsilon)
    p, log_mean, advantage = tilted(data, eta, v)
    sample_kl = (p * advantage).sum(1) / eta - log_mean
    weight = p.unflatten(1, batch.valid.shape[1:]).to(batch.reward)
    with torch.no_grad():
        old = policy(batch.observation)
    losses, able = regress(policy, optimizer, batch, weight, config.regression_steps, loss)
    with torch.no_grad():
        kl = (policy(batch.observation).kl(old) * weight).sum((1, 2))
    metrics = {"loss": losses, "eta": eta, "sample_kl": sample_kl, "kl": kl}
    return {"return": batch.episode_return.mean(1)} | metrics, able


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy per seed of ``rng``; returns them and what happened.

    ``loss(log_probability, weight)`` is one learner's, [time, env] -> a number; it is lifted over replicas.
    """
    policy = policies.for_env(env, rng, config.hidden)
    optimizer = nn.Adam(policy, config.step_size)
    loss = nn.lift(loss)
    history = History(rng.seeds)
    for _ in history.iterate(config.iterations, progress):
        batch = episodes(env, policy, rng, config.environments)
        metrics, finite = update(policy, optimizer, batch, config, loss)
        history.append(metrics, batch.steps)
        rng = history.stop(finite, batch, optimizer, rng)
    optimizer.restore()
    return policy, history
