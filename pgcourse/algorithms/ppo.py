"""PPO: proximal policy optimization. Lecture 10, algorithm 10.1; Schulman et al. (2017), "Proximal policy optimization".

    repeat
        act for T steps in E environments with pi_old = pi_theta, going on where the last rollout stopped
        A_t = sum_k (discount trace_decay)^k delta_{t+k},    G_t = A_t + V(s_t)                           (07, GAE)
        for each epoch, for each minibatch of a random order of the T E steps
            ratio = pi_theta(a | s) / pi_old(a | s)
            clip:     L = mean min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon) A)                      (7)
            penalty:  L = mean [ratio A] - beta mean KL(pi_old(. | s), pi_theta(. | s))                   (8)
            ascend L - value_weight mean (V(s) - G)^2 + entropy_weight mean H(pi_theta(. | s))            (9)
        penalty:  d = mean KL;  beta <- beta / 2 if d < kl_target / 1.5,  2 beta if d > 1.5 kl_target

Equation numbers are the paper's. Where this file does more or other than the paper, each by a choice below:

- ``standardise=True``: advantages have mean 0 and standard deviation 1 in each minibatch. Both come from the steps they are
  applied to: a bias of order 1 over the minibatch's size.
- ``max_gradient_norm``: the gradient of all weights together, the critic's too, is shortened to this length.
- ``stop_kl``: a replica whose policy has gone this far takes no further steps before the next rollout.
- ``normalise_observations``: the mean and standard deviation are those of earlier rollouts. They are brought up to date after
  the minibatches, never between acting and learning, so that the ratio begins at 1.
- ``normalise_rewards``: rewards are divided by the standard deviation of their discounted sums so far (all rollouts, this one
  too) and cut off at +-10. The advantages are then those of another scale, which changes as the run goes on.
- gamma^t is dropped, as everywhere after lecture 05. Policy and critic are two networks. Actions are recorded as they were
  sampled; it is the environment that clips them.

Truncated episodes bootstrap from the observation they were cut off at. The metric "return" is undiscounted and unnormalised.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import distributions, nn, policies, returns, settings
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy
from ..rng import Rng
from ..rollout import Rollout, rollout

REWARD_CLIP = 10.0


@dataclass(frozen=True)
class Config:
    """Settings of PPO. The defaults suit CartPole-v1 (200,000 steps per replica)."""

    environments: int = 4
    """Environments per replica, E."""
    steps: int = 128
    """Steps in each environment between updates, T."""
    iterations: int = 400
    """Rollouts, each followed by epochs * minibatches steps of the optimizer."""
    epochs: int = 4
    """How often each step is learned from, K."""
    minibatches: int = 4
    """Parts that the T E steps are divided into in each epoch; must divide T E."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    trace_decay: float = 0.95
    """lambda of GAE, in [0, 1]."""
    step_size: float = 1e-3
    """Adam's step size at the beginning, > 0 (the paper's: 3e-4)."""
    anneal: bool = True
    """Whether the step size falls linearly, to 0 after the last iteration."""
    objective: str = "clip"
    """"clip": (7); "penalty": (8) with an adaptive coefficient."""
    clip: float = 0.2
    """epsilon, > 0: how far from 1 the ratio may profit."""
    kl_target: float = 0.01
    """Of the penalty: the mean KL, in nats, that an iteration should move the policy by, > 0."""
    stop_kl: float | None = None
    """Mean KL (estimated on a minibatch), in nats, > 0, beyond which a replica waits for the next rollout; None: never."""
    value_weight: float = 0.5
    """c_1, >= 0, in front of the critic's mean squared error."""
    entropy_weight: float = 0.01
    """c_2, >= 0, in front of the entropy (the paper's: 0 for continuous actions, 0.01 for Atari)."""
    standardise: bool = True
    """Whether advantages are shifted to mean 0 and scaled to standard deviation 1 in each minibatch."""
    max_gradient_norm: float = 0.5
    """A replica's gradient is shortened to this length where it is longer, > 0."""
    normalise_observations: bool = False
    """Whether both networks see observations shifted and scaled by running statistics, saved with the policy."""
    normalise_rewards: bool = False
    """Whether rewards are divided by the running standard deviation of their discounted sums."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers, of the policy and of the critic."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "steps", "iterations", "epochs", "minibatches")
        if self.batch_size % self.minibatches:
            raise ValueError(
                f"minibatches is {self.minibatches}; it must divide steps * environments = {self.batch_size}, "
                "so that all minibatches are of one size."
            )
        settings.positive(self, "step_size", "clip", "kl_target", "max_gradient_norm")
        if self.stop_kl is not None and not self.stop_kl > 0:
            raise ValueError(f"stop_kl is {self.stop_kl}; it must be > 0, or None for no early stop.")
        for name in ("value_weight", "entropy_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be >= 0.")
        settings.in_unit_interval(self, "discount", "trace_decay")
        if self.objective not in ("clip", "penalty"):
            raise ValueError(f"objective is {self.objective!r}; it can be 'clip' or 'penalty'.")
        settings.layers(self, "linear networks")

    @property
    def batch_size(self) -> int:
        """Steps of a replica between updates, T E."""
        return self.steps * self.environments


def loss(
    log_probability: Float[Tensor, "*R B"],
    old_log_probability: Float[Tensor, "*R B"],
    advantage: Float[Tensor, "*R B"],
    config: Config,
) -> Float[Tensor, "*R"]:
    """A learner's loss on a minibatch: minus the surrogate of (7), or minus the first term of (8)."""
    ratio = (log_probability - old_log_probability).exp()
    surrogate = ratio * advantage
    if config.objective == "clip":
        surrogate = torch.minimum(surrogate, ratio.clamp(1 - config.clip, 1 + config.clip) * advantage)
    return -surrogate.mean(-1)


loss.lifted = True  # pyright: ignore[reportFunctionMemberAccess]  # the mean over the last axis: one learner's and many learners' alike


def approximate_kl(log_ratio: Float[Tensor, "*R B"]) -> Float[Tensor, "*R"]:
    """KL(pi_old, pi) from steps taken with pi_old, mean of (ratio - 1) - log ratio: unbiased, and never negative.

    log_ratio: log pi(a | s) - log pi_old(a | s). Source: Schulman (2020), "Approximating KL divergence".
    """
    return (log_ratio.expm1() - log_ratio).mean(-1)


def clip_fraction(log_ratio: Float[Tensor, "*R B"], clip: float) -> Float[Tensor, "*R"]:
    """Share of steps whose ratio lies outside [1 - clip, 1 + clip]."""
    return (log_ratio.expm1().abs() > clip).to(log_ratio.dtype).mean(-1)


def adapt(coefficient: Float[Tensor, "*R"], kl: Float[Tensor, "*R"], target: float) -> Float[Tensor, "*R"]:
    """The penalty's next coefficient beta: halved where the policy moved too little, doubled where it moved too far."""
    factor = torch.where(kl < target / 1.5, 0.5, torch.where(kl > 1.5 * target, 2.0, 1.0))
    return coefficient * factor.to(coefficient.dtype)


def orders(rng: Rng, config: Config) -> Int[Tensor, "K M R B"]:
    """Which steps each minibatch takes: for each epoch, and each replica by itself, a random order cut into M parts."""
    order = rng.uniform(config.epochs, config.batch_size).argsort(-1)  # [R, K, N]
    return order.unflatten(2, (config.minibatches, -1)).permute(1, 2, 0, 3)


class Scale(torch.nn.Module):
    """What rewards are divided by: the standard deviation, over steps so far, of the discounted sum of rewards so far."""

    earned: Tensor

    def __init__(self, rng: Rng, environments: int, discount: float):
        super().__init__()
        self.seen, self.discount = nn.Normalizer(rng, 1), discount
        self.register_buffer("earned", torch.zeros(len(rng), environments, device=rng.device, dtype=rng.dtype))

    def forward(self, reward: Float[Tensor, "R T E"], done: Bool[Tensor, "R T E"]) -> Float[Tensor, "R T E"]:
        """Take these rewards in, and scale them. Source: Gymnasium's NormalizeReward."""
        earned = returns.so_far(reward, self.discount, done, self.earned)
        self.earned.copy_(earned[:, -1] * ~done[:, -1])
        self.seen.update(earned.unsqueeze(-1))
        return (reward * (self.seen.variance + 1e-8).rsqrt().unsqueeze(-1)).clamp(-REWARD_CLIP, REWARD_CLIP)


@dataclass(frozen=True)
class Steps:
    """What is learned from: the steps of a rollout in one row, [R, N, ...], or minibatches of them, [M, R, B, ...]."""

    observation: Float[Tensor, "*R N O"]
    action: Float[Tensor, "*R N A"] | Int[Tensor, "*R N"]
    log_probability: Float[Tensor, "*R N"]
    advantage: Float[Tensor, "*R N"]
    value_target: Float[Tensor, "*R N"]
    old: distributions.Distribution | None
    """pi_old(. | s), where the objective asks for it."""

    def take(self, order: Int[Tensor, "M R B"]) -> "Steps":
        """All minibatches of an epoch in one pass over the rollout: the m-th has steps ``order[m, r]`` of replica r."""
        replicas, length = self.advantage.shape
        rows = (order + length * torch.arange(replicas, device=order.device)[:, None]).flatten()
        return _each(lambda x: x.flatten(0, 1).index_select(0, rows).unflatten(0, order.shape), self)

    def __getitem__(self, minibatch: int) -> "Steps":
        return _each(lambda x: x[minibatch], self)


def _each(change, record):
    """The same record with each of its tensors changed."""
    if isinstance(record, Tensor):
        return change(record)
    return record and type(record)(*(_each(change, getattr(record, field.name)) for field in fields(record)))


def standardised(advantage: Float[Tensor, "*R B"]) -> Float[Tensor, "*R B"]:
    """Shifted to mean 0 and scaled to standard deviation 1, each minibatch and replica by itself."""
    deviation, mean = torch.std_mean(advantage, -1, keepdim=True)
    return (advantage - mean) / (deviation + 1e-8)


@torch.no_grad()
def mean_kl(policy: Policy, steps: Steps) -> Float[Tensor, " R"]:
    """How far the policy has gone from pi_old: KL(pi_old(. | s), pi(. | s)), in nats, mean over the steps."""
    return steps.old.kl(policy(steps.observation)).mean(1)


@torch.no_grad()
def estimate(policy: Policy, critic: policies.Value, batch: Rollout, reward: Float[Tensor, "R T E"], config: Config) -> Steps:
    """Advantages and the critic's targets of a rollout, from the networks as they are."""
    value, next_value = critic(batch.observation), critic(batch.next_observation)
    advantage = returns.gae(reward, value, next_value, config.discount, config.trace_decay, batch.terminated, batch.truncated)
    columns = (batch.observation, batch.action, batch.log_probability, advantage, value + advantage)
    flat = [column.flatten(1, 2) for column in columns]
    return Steps(*flat, distributions.frozen(policy(flat[0])) if config.objective == "penalty" else None)


def update(
    policy: Policy,
    critic: policies.Value,
    optimizer: nn.Optimizer,
    steps: Steps,
    orders: Int[Tensor, "K M R B"],
    coefficient: Float[Tensor, " R"],
    config: Config,
    loss: Callable[..., Tensor],
) -> tuple[dict[str, Tensor], Bool[Tensor, " R"]]:
    """All epochs of all replicas; returns metrics [R] of the last one, and which replicas could take their steps [R]."""
    finite = going = torch.ones_like(coefficient, dtype=torch.bool)
    for order in orders:
        epoch, seen = steps.take(order), []
        if config.standardise:
            epoch = replace(epoch, advantage=standardised(epoch.advantage))
        for minibatch in range(len(order)):
            part = epoch[minibatch]
            law = policy(part.observation)  # [R, B]
            log_probability, entropy = law.log_prob(part.action), law.entropy().mean(1)
            losses = loss(log_probability, part.log_probability, part.advantage, config)  # [R]
            if part.old is not None:
                losses = losses + coefficient * part.old.kl(law).mean(1)
            error = (critic(part.observation) - part.value_target).square().mean(1)
            losses = losses + config.value_weight * error - config.entropy_weight * entropy

            log_ratio = log_probability.detach() - part.log_probability
            if config.stop_kl is not None:
                going = going & (approximate_kl(log_ratio) <= config.stop_kl)
            finite = finite & optimizer.step(losses, going & finite)
            seen.append((log_ratio, entropy.detach(), error.detach()))
    log_ratio, entropy, error = (torch.stack(column) for column in zip(*seen, strict=True))  # [M, R, B], [M, R], [M, R]
    metrics = {"kl": approximate_kl(log_ratio), "clip_fraction": clip_fraction(log_ratio, config.clip)}
    metrics |= {"entropy": entropy, "value_loss": error}
    return {name: values.mean(0) for name, values in metrics.items()}, finite


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy per seed of ``rng``; returns them and what happened.

    ``loss(log_probability, old_log_probability, advantage, config)`` is one learner's, a minibatch [B] -> a number; it is
    lifted over replicas.
    """
    policy = policies.for_env(env, rng, config.hidden, normalise=config.normalise_observations)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    critic.normalizer = policy.normalizer  # one for both
    scale = Scale(rng, config.environments, config.discount)
    optimizer = nn.Adam(torch.nn.ModuleList([policy, critic, scale]), config.step_size, config.max_gradient_norm)
    coefficient = torch.ones(len(rng), device=rng.device, dtype=rng.dtype)
    loss, history, carry = nn.lift(loss), History(rng.seeds), None
    for iteration in history.iterate(config.iterations, progress):
        if config.anneal:
            optimizer.step_size = config.step_size * (1 - iteration / config.iterations)
        batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
        reward = scale(batch.reward, batch.done) if config.normalise_rewards else batch.reward
        steps = estimate(policy, critic, batch, reward, config)
        metrics, finite = update(policy, critic, optimizer, steps, orders(rng, config), coefficient, config, loss)
        if steps.old is not None:
            metrics["kl"], metrics["coefficient"] = mean_kl(policy, steps), coefficient
            coefficient = adapt(coefficient, metrics["kl"], config.kl_target)
        if config.normalise_observations:
            policy.normalizer.update(batch.observation)
        history.append({"return": carry.episode_return, **metrics}, batch.steps)
        rng = history.stop(finite, batch, optimizer, rng)
        if not finite.all():
            carry, coefficient = carry.select(env, finite), coefficient[finite]
    optimizer.restore()
    return policy, history
