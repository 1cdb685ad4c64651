"""Reward-weighted regression (RWR). Peters & Schaal (2007), Kober & Peters (2009); as Duan et al. (2016) compare it.

    repeat
        play E whole episodes with pi_theta
        G_t = sum_{k >= t} discount^(k - t) r_k
        fit b(s_t) = phi . feature(s_t, t) to G_t by least squares
        A_t = G_t - b(s_t),    w_t = A_t - min A >= 0
        theta <- argmax sum_{t,e} w_t log pi_theta(a_t | s_t)                            (weighted maximum likelihood)

Learning as supervised learning: imitate what was done, as much as it was good. For weights that are not negative
log sum_a pi(a) w(a) / pi_old(a) is at least sum_a w(a) log pi(a) up to a constant, by Jensen's inequality, and equal to it at
pi_old: each argmax is the second half of an EM step, with no step size to choose. Weights below 0 would make good actions less
likely, which is why the worst of the batch is subtracted.

Where this file deviates from the papers:

- the argmax is approached by ``regression_steps`` steps of Adam from where the policy is; a linear Gaussian policy's could be
  solved for.
- the baseline, linear in the observation, its square and powers of time, is Duan et al.'s; Peters & Schaal weigh by the reward
  itself, through an exponential.

The metric "return" is undiscounted; an episode that the time limit cuts off counts as finished. Metric "effective": how many
equally weighted samples would be worth as much, (sum w)^2 / sum w^2, as a share of the batch.
"""

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
from ..rollout import Rollout, episodes, evaluate


@dataclass(frozen=True)
class Config:
    """Settings of RWR. The defaults suit CartPole-v1."""

    environments: int = 16
    """Episodes per update and replica, E."""
    iterations: int = 50
    """Updates of the policy."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    regression_steps: int = 20
    """Steps of Adam per update, over the whole batch."""
    step_size: float = 1e-2
    """Adam's step size, > 0."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the policy's hidden layers."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "iterations", "regression_steps")
        settings.positive(self, "step_size")
        settings.in_unit_interval(self, "discount")
        settings.layers(self, "a linear policy")


def weights(
    observation: Float[Tensor, "*R T E O"], reward: Float[Tensor, "*R T E"], valid: Bool[Tensor, "*R T E"], discount: float
) -> Float[Tensor, "*R T E"]:
    """w_t: the advantage over a linear baseline, minus the least one of the batch; 0 at steps that are not valid."""
    target = returns.to_go(reward, discount, valid=valid)
    feature = returns.linear_features(observation)
    phi = returns.fit_linear(feature, target, valid).to(feature.dtype)
    advantage = target - (feature * phi[..., None, None, :]).sum(-1)
    least = torch.where(valid, advantage, torch.inf).amin((-2, -1), keepdim=True)
    return torch.where(valid, advantage - least, 0)


def loss(log_probability: Float[Tensor, "T E"], weight: Float[Tensor, "T E"]) -> Float[Tensor, ""]:
    """One learner's loss: minus the weighted mean log-likelihood; 0 where all weights are: nothing was better."""
    return -(log_probability * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def regress(
    policy: Policy,
    optimizer: nn.Adam,
    batch: Rollout,
    weight: Float[Tensor, "R T E"],
    steps: int,
    loss: Callable[..., Tensor],
) -> tuple[Float[Tensor, " R"], Bool[Tensor, " R"]]:
    """Toward the policy that makes the weighted actions most likely; the last loss and which replicas could, [R] each."""
    able, losses = torch.ones(len(weight), dtype=torch.bool, device=weight.device), weight.new_zeros(len(weight))
    for _ in range(steps):
        losses = loss(evaluate(policy, batch)[0], weight)
        able = able & optimizer.step(losses, able)
    return losses.detach(), able


def update(
    policy: Policy, optimizer: nn.Adam, batch: Rollout, config: Config, loss: Callable[..., Tensor]
) -> tuple[dict[str, Tensor], Bool[Tensor, " R"]]:
    """One update for every replica; returns metrics [R] and which replicas could take it [R]."""
    weight = weights(batch.observation, batch.reward, batch.valid, config.discount)
    losses, finite = regress(policy, optimizer, batch, weight, config.regression_steps, loss)
    effective = weight.sum((1, 2)).square() / (weight.square().sum((1, 2)) * batch.steps)
    return {"return": batch.episode_return.mean(1), "loss": losses, "effective": effective}, finite


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
