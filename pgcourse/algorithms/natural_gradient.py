"""Truncated natural policy gradient (TNPG). Lecture 09, algorithm 9.2; Duan et al. (2016), after Kakade (2002).

    repeat
        act with pi_theta for T steps in E environments
        A_t = sum_k (discount trace_decay)^k delta_{t+k}, from the critic as it is       (generalised advantages, lecture 07)
        g = grad mean_{t,e} [pi_theta(a_t | s_t) / pi_old(a_t | s_t)] A_t                 (9.4)
        x = conjugate gradient's answer to (F + damping) x = g                            algorithm 9.1
        theta <- theta + sqrt(2 delta / x^T (F + damping) x) x                            (9.13)
        fit the critic to V(s_t) + A_t

F is the Fisher matrix of the policy over all steps of the batch. TRPO differs in one thing: it looks before it steps.

Where this file deviates from the natural gradient of J, and from the paper:

- the factor discount^t in front of each step's term is dropped, as in ``reinforce``. (Lecture 05.)
- conjugate gradient stops early, after ``directions`` iterations: that is the "truncated".
- the advantages come from a critic network; the paper fits a linear function of the observation and the time.
- ``normalise_observations``: both networks see observations shifted and scaled by the mean and standard deviation of earlier
  batches, brought up to date after each update. What that changes about the policy is no part of the KL.
- the metric "return" is that of the episodes that ended in the batch (where none did, of those before). Metric "kl": the mean
  KL(old || new) that was taken; "surrogate": by how much (9.4) rose.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import distributions, gradients, nn, policies, returns, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, rollout


@dataclass(frozen=True)
class Config:
    """Settings of TNPG. The defaults suit CartPole-v1."""

    steps: int = 128
    """Steps per update in each environment, T."""
    environments: int = 8
    """Environments per replica, E."""
    iterations: int = 60
    """Updates of the policy."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    trace_decay: float = 0.95
    """lambda of the advantages, in [0, 1]."""
    max_kl: float = 0.01
    """delta: how far the policy is to move in one update, in nats of mean KL, > 0."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix, >= 0; it keeps directions that the batch knows nothing of from exploding."""
    directions: int = 10
    """Iterations of conjugate gradient."""
    value_step_size: float = 1e-2
    """Adam's step size for the critic, > 0."""
    value_steps: int = 20
    """Steps of the critic's regression per update, over the whole batch."""
    normalise_observations: bool = False
    """Whether both networks see observations shifted and scaled by running statistics, saved with them."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the hidden layers of policy and critic."""

    def __post_init__(self):
        settings.at_least(self, 1, "steps", "environments", "iterations", "directions", "value_steps")
        settings.positive(self, "max_kl", "value_step_size")
        settings.in_unit_interval(self, "discount", "trace_decay")
        if not self.damping >= 0:
            raise ValueError(f"damping is {self.damping}; it must be >= 0.")
        settings.layers(self, "a linear policy")


def loss(
    log_probability: Float[Tensor, "T E"], old_log_probability: Float[Tensor, "T E"], advantage: Float[Tensor, "T E"]
) -> Float[Tensor, ""]:
    """One learner's loss: minus the surrogate (9.4), the ratio of probabilities times the advantage."""
    return -((log_probability - old_log_probability).exp() * advantage).mean()


def estimate(critic: policies.Value, batch: Rollout, config: Config) -> tuple[Tensor, Tensor]:
    """A_t and V(s_t) + A_t by the critic as it is, [R, T, E] each."""
    with torch.no_grad():
        value, next_value = critic(batch.observation), critic(batch.next_observation)
    ends = (batch.terminated, batch.truncated)
    advantage = returns.gae(batch.reward, value, next_value, config.discount, config.trace_decay, *ends)
    return advantage, value + advantage


def natural_step(
    policy: Policy, observation: Float[Tensor, "R T E O"], gradient: Float[Tensor, "R P"], config: Config
) -> tuple[Tensor, Tensor]:
    """sqrt(2 delta / x^T (F + damping) x) x with x = (F + damping)^-1 gradient, [R, P], and where the gradient is finite, [R].

    Where it is not, or is 0, the step is 0.
    """
    product = gradients.fisher_vector_product(policy, observation, config.damping)
    x = gradients.conjugate_gradient(product, gradient, config.directions)
    curvature = (x * product(x)).sum(1)
    size = torch.where(curvature > 0, (2 * config.max_kl / curvature).sqrt(), 0)
    return size.unsqueeze(1) * x, torch.isfinite(gradient).all(1)


def fit(critic: policies.Value, optimizer: nn.Adam, observation: Tensor, target: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Regression of the critic on its targets; the mean squared error before, and which replicas could, [R] each."""
    errors, finite = [], []
    for _ in range(steps):
        errors.append((critic(observation) - target).square().mean((1, 2)))
        finite.append(optimizer.step(errors[-1]))
    return errors[0].detach(), torch.stack(finite).all(0)


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
    with torch.no_grad():
        mover.move(step)
        law = policy(batch.observation)
        gained = losses - loss(law.log_prob(batch.action), batch.log_probability, advantage)
        metrics = {"kl": old.kl(law).mean((1, 2)), "surrogate": gained, "entropy": old.entropy().mean((1, 2))}
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
