"""Pong from pixels. Lecture 06, algorithm 6.1; after Karpathy (2016), "Deep reinforcement learning: Pong from pixels".

    repeat
        play T steps of Pong in E games with pi_theta
        G_t = discount^(k - t) r_k, k the step at which the point of step t was decided
        A_t = (G_t - mean) / standard deviation, over the batch
        theta <- theta + step_size * mean_t A_t grad log pi_theta(a_t | s_t)

Deviations from the pure estimator, all the recipe's own: the discounted sum begins anew at each point, discount^t is dropped,
and the weights are standardised by the batch they are applied to. Ours: Adam in place of RMSProp; many games side by side, cut
after T steps, in place of whole ones (steps whose point is still open are left out); larger steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from .. import nn, policies, returns, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, rollout

NETWORKS = {"dense": policies.Pixels, "convolutional": policies.Convolutional}


@dataclass(frozen=True)
class Config:
    """Settings of the recipe. The defaults suit ``envs.pong.Pong``."""

    environments: int = 128
    """Games side by side in each replica, E."""
    steps: int = 64
    """Steps of each game per update, T."""
    iterations: int = 120
    """Updates of the policy."""
    discount: float = 0.8
    """gamma, in [0, 1]. A ball takes 8 steps from side to side."""
    step_size: float = 5e-3
    """Adam's step size, > 0."""
    max_gradient_norm: float = 1.0
    """A replica's gradient is shortened to this length where it is longer, > 0."""
    network: str = "dense"
    """"dense", one layer that sees every pixel, or "convolutional", filters that slide over the picture."""
    hidden: int = 200
    """Hidden units."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "steps", "iterations", "hidden")
        settings.positive(self, "step_size", "max_gradient_norm")
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; it can be {' or '.join(map(repr, NETWORKS))}.")
        settings.in_unit_interval(self, "discount")


def weights(
    reward: Float[Tensor, "*R T E"], done: Bool[Tensor, "*R T E"], discount: float
) -> tuple[Float[Tensor, "*R T E"], Bool[Tensor, "*R T E"]]:
    """Discounted rewards that begin anew at each point, standardised over time and games; and the steps that count."""
    ended = done | (reward != 0)
    weight = returns.to_go(reward, discount, ended)
    decided = returns.backward_sum(ended.to(reward.dtype), (~ended).to(reward.dtype)) > 0  # a point follows
    count = decided.sum((-2, -1), keepdim=True).clamp(min=1)
    mean = (weight * decided).sum((-2, -1), keepdim=True) / count
    variance = ((weight - mean).square() * decided).sum((-2, -1), keepdim=True) / count
    return (weight - mean) / (variance.sqrt() + 1e-8), decided


def loss(
    log_probability: Float[Tensor, "T E"], weight: Float[Tensor, "T E"], decided: Bool[Tensor, "T E"]
) -> Float[Tensor, ""]:
    """One learner's loss: minus the mean over decided steps of A_t log pi(a_t | s_t)."""
    return -(log_probability * weight * decided).sum() / decided.sum().clamp(min=1)


def update(
    policy: Policy, optimizer: nn.Adam, batch: Rollout, config: Config, loss: Callable[..., Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """One step for every replica; returns metrics [R] and which replicas could take it [R]."""
    weight, decided = weights(batch.reward, batch.done, config.discount)
    losses = loss(policy(batch.observation).log_prob(batch.action), weight, decided)  # [R]
    finite = optimizer.step(losses)
    points = (batch.reward != 0).sum((1, 2))
    mean = batch.reward.sum((1, 2)) / points.clamp(min=1)
    return {"return": mean, "loss": losses.detach(), "steps per point": batch.steps / points.clamp(min=1)}, finite


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy per seed of ``rng``; returns them and what happened.

    The metric "return" is the mean result of a point, from -1 (all lost) to 1. ``loss(log_probability, weight, decided)`` is
    one learner's, [time, env] -> a number; it is lifted over replicas. Raises TypeError for an environment whose observations
    are not lists of pixels.
    """
    pixels = getattr(env, "pixels", None)
    if pixels is None:
        raise TypeError(f"{env.spec.name} is not seen as a list of pixels; this recipe is for pong and atari-pong.")
    policy = NETWORKS[config.network](rng, pixels, env.spec.action.n, config.hidden)
    optimizer = nn.Adam(policy, config.step_size, config.max_gradient_norm)
    loss = nn.lift(loss)
    history, carry = History(rng.seeds), None
    for _ in history.iterate(config.iterations, progress):
        batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
        metrics, finite = update(policy, optimizer, batch, config, loss)
        history.append(metrics, batch.steps)
        rng = history.stop(finite, batch, optimizer, rng)
        carry = carry if finite.all() else carry.select(env, finite)
    optimizer.restore()
    return policy, history


def recorded(name: str) -> dict[str, np.ndarray]:
    """A recorded run, "pong" (our simulator) or "pong_ale" (Atari's). benchmarks/pong.py writes them.

    pong: for each network, "dense" and "convolutional", NETWORK_return and NETWORK_steps_per_point [16 seeds, update] and
    NETWORK_steps [update]. pong_ale, one seed: of each update decisions, points, return, games, score and steps_per_point
    [update]; two screens in a row, uint8 [2, 210, 160, 3]. Both: about, when and how, as JSON.
    """
    with np.load(Path(__file__).parent.parent / "recorded" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)
