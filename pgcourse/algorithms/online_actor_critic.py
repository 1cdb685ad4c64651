"""Online actor-critic. Lecture 07, algorithm 7.2; Sutton & Barto (2018), section 13.5; Barto, Sutton & Anderson (1983).

    repeat
        a ~ pi_theta(. | s);    the world answers with r, s'
        delta = r + discount V_phi(s') - V_phi(s),    V = 0 after a termination         (7.5)
        phi   <- phi + value_step_size * delta grad V_phi(s)                            (7.9)
        theta <- theta + step_size * delta grad log pi_theta(a | s)
        s     <- s', or a first state where the episode is over

One step of the world, one step of both networks; nothing is kept. Where this file deviates from the book's algorithm:

- discount^t in front of delta is dropped, so late steps count as much as early ones (lecture 05);
- both steps are Adam's: one delta is all the gradient there is, and its size differs from task to task;
- with ``environments`` > 1 the gradients of several worlds are averaged.

A time limit ends the episode but does not cut the bootstrap. One iteration of the history is ``steps`` steps; its metric
"return" is undiscounted, of the episodes that have ended last; NaN before one has.
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
    """Settings of the online actor-critic. The defaults suit CartPole-v1."""

    environments: int = 1
    """Environments per replica, E."""
    steps: int = 100
    """Steps, and so updates, in one iteration of the history."""
    iterations: int = 200
    """How often that is done."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    step_size: float = 1e-3
    """Adam's step size for the policy, > 0."""
    value_step_size: float = 5e-3
    """Adam's step size for the critic, > 0."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the hidden layers, of policy and of critic."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "steps", "iterations")
        settings.positive(self, "step_size", "value_step_size")
        settings.in_unit_interval(self, "discount")
        settings.layers(self, "linear networks")


def loss(log_probability: Float[Tensor, "1 E"], error: Float[Tensor, "1 E"]) -> Float[Tensor, ""]:
    """One learner's loss of the policy; its gradient is minus the actor's step, its value means nothing."""
    return -(log_probability * error).mean()


def update(
    policy: Policy,
    critic: Value,
    optimizers: tuple[nn.Optimizer, nn.Optimizer],
    step: Rollout,
    config: Config,
    loss: Callable[..., Tensor],
) -> tuple[dict[str, Tensor], Bool[Tensor, " R"]]:
    """One step of policy and critic after one step of the world; returns metrics [R] and which replicas could take both [R]."""
    value = critic(step.observation)
    with torch.no_grad():  # the target r + discount V(s') is a number
        following = critic(step.next_observation)
        error = returns.td_error(step.reward, value, following, config.discount, step.terminated)
    log_probability, entropy = evaluate(policy, step)
    of_policy, of_critic = loss(log_probability, error), -(error * value).mean((1, 2))
    finite = optimizers[0].step(of_policy) & optimizers[1].step(of_critic)
    return {"squared_error": error.square().mean((1, 2)), "entropy": entropy.detach().mean((1, 2))}, finite


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy, with its critic, per seed of ``rng``; returns the policies and what happened.

    ``loss(log_probability, error)`` is one learner's, [time = 1, env] -> a number; it is lifted over replicas.
    """
    policy = policies.for_env(env, rng, config.hidden)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    optimizers = nn.Adam(policy, config.step_size), nn.Adam(critic, config.value_step_size)
    loss = nn.lift(loss)
    history, carry = History(rng.seeds), None
    steps = config.steps * config.environments
    for _ in history.iterate(config.iterations, progress):
        sums: dict[str, Tensor] = {}
        for _ in range(config.steps):
            step, carry = rollout(env, policy, rng, 1, config.environments, carry)
            metrics, finite = update(policy, critic, optimizers, step, config, loss)
            sums = {name: sums.get(name, 0) + values for name, values in metrics.items()}
            if not finite.all():  # at once: an iteration is long, and the others go on in it
                rng = history.stop(finite, step, optimizers, rng)
                carry, sums = carry.select(env, finite), {name: values[finite] for name, values in sums.items()}
        means = {name: total / config.steps for name, total in sums.items()}
        history.append({"return": carry.episode_return, **means}, carry.elapsed.new_full((len(rng),), steps))
    for optimizer in optimizers:
        optimizer.restore()
    return policy, history
