"""REINFORCE. Lecture 04, algorithm 4.1; Williams (1992), "Simple statistical gradient-following algorithms".

    repeat
        play E whole episodes with pi_theta
        G_t = sum_{k >= t} discount^(k - t) r_k                                           (4.5)
        w_t = discount^t G_t
        theta <- theta + step_size * mean_e sum_t w_t grad log pi_theta(a_t | s_t)        (4.4)

Where this file deviates from the pure estimator ``gradients.score_function``, each by a choice below:

- ``keep_discount=False``: the factor discount^t in front of G_t is dropped, so late steps count as much as early ones.
- ``standardise=True``: w_t is shifted to mean 0 and scaled to standard deviation 1 over the batch. Both are computed from the
  very episodes they are applied to: a bias of order 1 / E. (Lecture 05.)
- ``per_step=True``: the loss is divided by the batch's mean episode length, which rests on those same episodes: again of
  order 1 / E. Once all episodes are long and alike, gradients are then small against what Adam remembers, and so are the
  steps: learners that have learned stay where they are.
- the step is Adam's, with the gradient clipped to ``max_gradient_norm``, not plain gradient ascent.

With ``keep_discount=True, standardise=False, per_step=False`` the loss is minus the pure surrogate. Two conventions: the
metric "return" is undiscounted whatever the discount; an episode that the time limit cuts off counts as finished.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from .. import gradients, nn, policies, returns, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, episodes, evaluate


@dataclass(frozen=True)
class Config:
    """Settings of REINFORCE. The defaults suit CartPole-v1."""

    environments: int = 16
    """Episodes per update and replica, E."""
    iterations: int = 200
    """Updates of the policy."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    step_size: float = 1e-2
    """Adam's step size, > 0."""
    max_gradient_norm: float = 1.0
    """A replica's gradient is shortened to this length where it is longer, > 0."""
    keep_discount: bool = False
    """Whether discount^t stays in front of G_t, as the pure estimator has it."""
    standardise: bool = True
    """Whether the weights are shifted to mean 0 and scaled to standard deviation 1 over the batch."""
    per_step: bool = True
    """Whether the loss is divided by the batch's mean episode length."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the policy's hidden layers."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "iterations")
        settings.positive(self, "step_size", "max_gradient_norm")
        settings.in_unit_interval(self, "discount")
        settings.layers(self, "a linear policy")


def weights(reward: Float[Tensor, "T E"], valid: Bool[Tensor, "T E"], config: Config) -> Float[Tensor, "T E"]:
    """How strongly each step's log-probability is pushed: reward-to-go, one learner's."""
    weight = returns.to_go(reward, config.discount, valid=valid)
    if config.keep_discount:
        weight = weight * returns.powers(config.discount, len(weight), weight)
    if config.standardise:
        count = valid.sum()
        mean = (weight * valid).sum() / count
        variance = ((weight - mean).square() * valid).sum() / count
        weight = (weight - mean) / (variance.sqrt() + 1e-8)
    return weight


def loss(
    log_probability: Float[Tensor, "T E"], reward: Float[Tensor, "T E"], valid: Bool[Tensor, "T E"], config: Config
) -> Float[Tensor, ""]:
    """One learner's loss: minus the surrogate of (4.4), with the weights as configured; its value means nothing."""
    surrogate = gradients.score_surrogate(log_probability, weights(reward, valid, config), valid)
    return -surrogate / valid.sum(0).to(surrogate.dtype).mean() if config.per_step else -surrogate


def update(
    policy: Policy, optimizer: nn.Adam, batch: Rollout, config: Config, loss: Callable[..., Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """One step for every replica; returns metrics [R] and which replicas could take it [R]."""
    log_probability, entropy = evaluate(policy, batch)  # [R, T, E]
    losses = loss(log_probability, batch.reward, batch.valid, config)  # [R]
    finite = optimizer.step(losses)
    entropy = (entropy.detach() * batch.valid).sum((1, 2)) / batch.steps
    return {"return": batch.episode_return.mean(1), "loss": losses.detach(), "entropy": entropy}, finite


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy per seed of ``rng``; returns them and what happened.

    ``loss(log_probability, reward, valid, config)`` is one learner's, [time, env] -> a number; it is lifted over replicas.
    """
    policy = policies.for_env(env, rng, config.hidden)
    optimizer = nn.Adam(policy, config.step_size, config.max_gradient_norm)
    loss = nn.lift(loss)
    history = History(rng.seeds)
    for _ in history.iterate(config.iterations, progress):
        batch = episodes(env, policy, rng, config.environments)
        metrics, finite = update(policy, optimizer, batch, config, loss)
        history.append(metrics, batch.steps)
        rng = history.stop(finite, batch, optimizer, rng)
    optimizer.restore()
    return policy, history
