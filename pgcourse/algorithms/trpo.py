"""Trust region policy optimization (TRPO). Lecture 09, algorithm 9.3; Schulman et al. (2015).

    repeat
        act with pi_theta for T steps in E environments
        A_t = sum_k (discount trace_decay)^k delta_{t+k}, from the critic as it is       (generalised advantages, lecture 07)
        L(theta') = mean_{t,e} [pi_theta'(a_t | s_t) / pi_theta(a_t | s_t)] A_t           (9.4)
        g = grad L(theta)
        x = conjugate gradient's answer to (F + damping) x = g                            algorithm 9.1
        step = sqrt(2 delta / x^T (F + damping) x) x                                      (9.13)
        for k = 0, 1, 2 ...: the first theta' = theta + shrink^k step with
            L(theta') > L(theta)  and  mean KL(pi_theta || pi_theta') <= delta            (9.14)
        becomes theta; where there is none, theta stays
        fit the critic to V(s_t) + A_t

F is the Fisher matrix of the policy over all steps of the batch. The search is each replica's own: whoever has found a step
waits for the others.

Where this file deviates from the paper:

- the factor discount^t in front of each step's term is dropped, as in ``reinforce``. (Lecture 05.)
- the advantages are generalised ones from a critic network (Schulman et al., 2016) instead of sums of rewards.
- F is taken over the whole batch, not over a tenth of it.
- ``normalise_observations``: as in ``natural_gradient``, whose advantages, step and regression of the critic these are.
- the metric "return" is that of the episodes that ended in the batch (where none did, of those before). Metric "kl": the mean
  KL(old || new) that was taken; "surrogate": by how much L rose; "fraction": of the step that was taken, shrink^k or 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import distributions, gradients, nn, policies, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, rollout
from . import natural_gradient
from .natural_gradient import estimate, fit, loss, natural_step


@dataclass(frozen=True)
class Config(natural_gradient.Config):
    """Settings of TRPO. The defaults suit CartPole-v1."""

    max_kl: float = 0.01
    """delta: how far the policy may move in one update, in nats of mean KL, > 0."""
    trials: int = 10
    """Steps that the line search tries at most."""
    shrink: float = 0.8
    """Each is so much shorter than the one before, between 0 and 1."""

    def __post_init__(self):
        super().__post_init__()
        settings.at_least(self, 1, "trials")
        if not 0 < self.shrink < 1:
            raise ValueError(f"shrink is {self.shrink}; it must lie between 0 and 1 (0.8 in the paper's code).")


@torch.no_grad()
def line_search(
    mover: nn.SGD, step: Float[Tensor, "R P"], acceptable: Callable[[], Bool[Tensor, " R"]], trials: int, shrink: float
) -> Float[Tensor, " R"]:
    """Moves each replica's weights by the first of step, shrink step, shrink^2 step ... that is ``acceptable`` for it.

    Returns the fraction taken; where it is 0 none was, and the weights are those from before, to the bit.
    """
    before = [parameter.clone() for parameter in mover.parameters]

    def place(fraction):
        for parameter, old in zip(mover.parameters, before, strict=True):
            parameter.copy_(old)
        mover.move(step * fraction.unsqueeze(1))

    fraction = torch.ones_like(step[:, 0])
    found = torch.zeros_like(fraction, dtype=torch.bool)
    for _ in range(trials):
        place(fraction)
        found = found | acceptable()
        if found.all():
            return fraction
        fraction = torch.where(found, fraction, shrink * fraction)
    fraction = torch.where(found, fraction, 0)
    place(fraction)
    return fraction


def update(
    policy: Policy,
    mover: nn.SGD,
    critic: policies.Value,
    optimizer: nn.Adam,
    batch: Rollout,
    config: Config,
    loss: Callable[..., Tensor],
) -> tuple[dict[str, Tensor], Tensor]:
    """One step for every replica; returns metrics [R] and which replicas could take it [R]."""
    advantage, target = estimate(critic, batch, config)  # before the critic learns from this very batch
    law = policy(batch.observation)
    losses = loss(law.log_prob(batch.action), batch.log_probability, advantage)  # [R]
    step, finite = natural_step(policy, batch.observation, -gradients.per_replica(losses, policy), config)
    old = distributions.frozen(law)

    def measure():
        law = policy(batch.observation)
        gained = losses.detach() - loss(law.log_prob(batch.action), batch.log_probability, advantage)
        return gained, old.kl(law).mean((1, 2))

    def acceptable():
        gained, divergence = measure()
        return (gained > 0) & (divergence <= config.max_kl)  # (9.14); a comparison with NaN is false

    fraction = line_search(mover, step, acceptable, config.trials, config.shrink)
    with torch.no_grad():
        gained, divergence = measure()
    metrics = {"kl": divergence, "surrogate": gained, "fraction": fraction, "entropy": old.entropy().mean((1, 2))}
    error, fitted = fit(critic, optimizer, batch.observation, target, config.value_steps)
    return metrics | {"value_loss": error}, finite & fitted


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy per seed of ``rng``; returns them and what happened.

    ``loss(log_probability, old_log_probability, advantage)`` is one learner's, [time, env] -> a number; it is lifted over
    replicas.
    """
    policy = policies.for_env(env, rng, config.hidden, config.normalise_observations)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden, config.normalise_observations)
    mover, optimizer = nn.SGD(policy, 1.0), nn.Adam(critic, config.value_step_size)
    loss, carry, history = nn.lift(loss), None, History(rng.seeds)
    for _ in history.iterate(config.iterations, progress):
        batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
        metrics, finite = update(policy, mover, critic, optimizer, batch, config, loss)
        if config.normalise_observations:
            for network in (policy, critic):
                network.normalizer.update(batch.observation)
        history.append({"return": carry.episode_return} | metrics, batch.steps)
        rng = history.stop(finite, batch, (mover, optimizer), rng)
        if not finite.all():
            carry = carry.select(env, finite)
    mover.restore()
    optimizer.restore()
    return policy, history
