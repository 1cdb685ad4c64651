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
- the metric "return" is that of the episodes that ended in the batch (where none did, of those before). Metric "kl": the mean
  KL(old || new) that was taken; "surrogate": by how much L rose; "fraction": of the step that was taken, shrink^k or 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import distributions, gradients, nn, policies, returns
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, rollout


@dataclass(frozen=True)
class Config:
    """Settings of TRPO. The defaults suit CartPole-v1."""

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
    """delta: how far the policy may move in one update, in nats of mean KL, > 0."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix, >= 0; it keeps directions that the batch knows nothing of from exploding."""
    directions: int = 10
    """Iterations of conjugate gradient."""
    trials: int = 10
    """Steps that the line search tries at most."""
    shrink: float = 0.8
    """Each is so much shorter than the one before, between 0 and 1."""
    value_step_size: float = 1e-2
    """Adam's step size for the critic, > 0."""
    value_steps: int = 20
    """Steps of the critic's regression per update, over the whole batch."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the hidden layers of policy and critic."""

    def __post_init__(self):
        for name in ("steps", "environments", "iterations", "directions", "trials", "value_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("max_kl", "value_step_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be > 0.")
        for name in ("discount", "trace_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1].")
        if not 0 < self.shrink < 1:
            raise ValueError(f"shrink is {self.shrink}; it must lie between 0 and 1 (0.8 in the paper's code).")
        if not self.damping >= 0:
            raise ValueError(f"damping is {self.damping}; it must be >= 0.")
        if min(self.hidden, default=1) < 1:
            raise ValueError(f"hidden is {self.hidden}; every layer needs at least 1 unit (an empty tuple: a linear policy).")


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
    policy = policies.for_env(env, rng, config.hidden)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    mover, optimizer = nn.SGD(policy, 1.0), nn.Adam(critic, config.value_step_size)
    loss, carry, history = nn.lift(loss), None, History(rng.seeds)
    for _ in history.iterate(config.iterations, progress):
        batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
        metrics, finite = update(policy, mover, critic, optimizer, batch, config, loss)
        history.append({"return": carry.episode_return} | metrics, batch.steps)
        rng = history.stop(finite, batch, (mover, optimizer), rng)
        if not finite.all():
            carry = carry.select(env, finite)
    mover.restore()
    optimizer.restore()
    return policy, history
