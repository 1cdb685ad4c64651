"""Advantage actor-critic on batches (A2C). Lecture 07, algorithm 7.3; Mnih et al. (2016), without its asynchrony.

    repeat
        go on for T steps in each of E environments with pi_theta
        delta_t = r_t + discount V_phi(s_{t+1}) - V_phi(s_t),    V = 0 after a termination                      (7.5)
        A_t     = sum_k (discount trace_decay)^k delta_{t+k}, up to the episode's or batch's end                (7.8)
        y_t     = V_phi(s_t) + A_t                                                                              (7.9)
        theta <- theta + step_size * mean_{t,e} (A_t grad log pi_theta(a_t | s_t) + entropy_weight grad H(pi_theta(. | s_t)))
        phi   <- phi - value_step_size * mean_{t,e} grad (V_phi(s_t) - y_t)^2 / 2

Advantages and targets are numbers: no gradient passes through them. With ``trace_decay=1`` A_t is Mnih et al.'s advantage:
every reward up to the batch's end, and V of the state that follows. Where this file deviates from the estimate of lecture 07:

- discount^t in front of A_t is dropped, so late steps count as much as early ones (lecture 05);
- both steps are Adam's, with gradients clipped to ``max_gradient_norm``; Mnih et al. use RMSProp.

A time limit cuts the trace, not the bootstrap. The metric "return" is undiscounted, of the episodes that have ended last; NaN
before one has.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import nn, policies, returns, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy, Value
from ..rng import Rng
from ..rollout import Rollout, evaluate, rollout


@dataclass(frozen=True)
class Config:
    """Settings of A2C. The defaults suit CartPole-v1."""

    environments: int = 32
    """Environments per replica, E."""
    steps: int = 16
    """Steps in each environment between two updates, T."""
    iterations: int = 500
    """Updates of policy and critic."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    trace_decay: float = 0.98
    """lambda, in [0, 1]: 0 for one-step TD errors, 1 for all rewards up to the batch's end."""
    step_size: float = 1.5e-3
    """Adam's step size for the policy, > 0."""
    value_step_size: float = 1e-2
    """Adam's step size for the critic, > 0."""
    entropy_weight: float = 0.01
    """How much a nat of entropy is worth in units of advantage, >= 0."""
    max_gradient_norm: float = 0.5
    """A replica's gradient, of policy and of critic, is shortened to this length where it is longer, > 0."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the hidden layers, of policy and of critic."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "steps", "iterations")
        settings.positive(self, "step_size", "value_step_size", "max_gradient_norm")
        settings.in_unit_interval(self, "discount", "trace_decay")
        if not self.entropy_weight >= 0:
            raise ValueError(f"entropy_weight is {self.entropy_weight}; it must be >= 0 (0 switches the bonus off).")
        settings.layers(self, "linear networks")


def loss(
    log_probability: Float[Tensor, "T E"], entropy: Float[Tensor, "T E"], advantage: Float[Tensor, "T E"], config: Config
) -> Float[Tensor, ""]:
    """One learner's loss of the policy; its gradient is minus the actor's step, its value means nothing."""
    return -(log_probability * advantage + config.entropy_weight * entropy).mean()


@torch.no_grad()
def estimate(critic: Value, batch: Rollout, config: Config) -> tuple[Float[Tensor, "R T E"], Float[Tensor, "R T E"]]:
    """Advantages (7.8) and the critic's targets (7.9) of a batch."""
    value, next_value = critic(torch.stack((batch.observation, batch.next_observation), 1)).unbind(1)  # [R, T, E] each
    advantage = returns.gae(
        batch.reward, value, next_value, config.discount, config.trace_decay, batch.terminated, batch.truncated
    )
    return advantage, value + advantage


def losses(
    policy: Policy, critic: Value, batch: Rollout, config: Config, loss: Callable[..., Tensor]
) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"], Float[Tensor, " R"]]:
    """Each replica's loss of the policy and of the critic on a batch, both differentiable, and the policy's mean entropy."""
    advantage, target = estimate(critic, batch, config)
    log_probability, entropy = evaluate(policy, batch)
    of_critic = 0.5 * (critic(batch.observation) - target).square().mean((1, 2))
    return loss(log_probability, entropy, advantage, config), of_critic, entropy.detach().mean((1, 2))


def update(
    policy: Policy,
    critic: Value,
    optimizers: tuple[nn.Optimizer, nn.Optimizer],
    batch: Rollout,
    config: Config,
    loss: Callable[..., Tensor],
) -> tuple[dict[str, Tensor], Bool[Tensor, " R"]]:
    """One step of policy and critic for every replica; returns metrics [R] and which replicas could take both [R]."""
    of_policy, of_critic, entropy = losses(policy, critic, batch, config, loss)
    finite = torch.stack([optimizer.step(each) for optimizer, each in zip(optimizers, (of_policy, of_critic), strict=True)])
    return {"loss": of_policy.detach(), "value_loss": of_critic.detach(), "entropy": entropy}, finite.all(0)


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy, with its critic, per seed of ``rng``; returns the policies and what happened.

    ``loss(log_probability, entropy, advantage, config)`` is one learner's, [time, env] -> a number; it is lifted over replicas.
    """
    policy = policies.for_env(env, rng, config.hidden)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    optimizers = (
        nn.Adam(policy, config.step_size, config.max_gradient_norm),
        nn.Adam(critic, config.value_step_size, config.max_gradient_norm),
    )
    loss = nn.lift(loss)
    history, carry = History(rng.seeds), None
    for _ in history.iterate(config.iterations, progress):
        batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
        metrics, finite = update(policy, critic, optimizers, batch, config, loss)
        history.append({"return": carry.episode_return, **metrics}, batch.steps)
        rng = history.stop(finite, batch, optimizers, rng)
        if not finite.all():
            carry = carry.select(env, finite)
    for optimizer in optimizers:
        optimizer.restore()
    return policy, history
