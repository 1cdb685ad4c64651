"""Vanilla policy gradient: REINFORCE with a baseline. Lecture 05, algorithm 5.1; Williams (1992), Duan et al. (2016).

    repeat
        play E whole episodes with pi_theta
        G_t = sum_{k >= t} discount^(k - t) r_k
        A_t = G_t - b_phi(s_t, t)                                 b as it was before these episodes
        theta <- theta + step_size * mean_e sum_t A_t grad log pi_theta(a_t | s_t)
        phi <- argmin sum_{t,e} (y_t - b_phi(s_t, t))^2 + proximal ||phi - phi_old||^2
            y_t = G_t (Monte Carlo), or r_t + discount b_{phi_old}(s_{t+1}, t + 1) (fitted TD iteration)

The baseline is fitted *after* it has been used: fitted first, it would know the returns it is subtracted from. It sees the
time, because what is left of an episode depends on it. Where this file deviates from the unbiased estimator:

- the factor discount^t is dropped, so late steps count as much as early ones (lecture 05, "the discount we forget");
- the loss is divided by the number of steps in the batch, a bias of order 1 / E that keeps gradients alike;
- "constant" and "time" are means over the very batch they are subtracted from: again of order 1 / E ("leave-one-out" is not);
- the step is Adam's, with the gradient clipped to ``max_gradient_norm``; a network's phi is found by Adam too, and not quite.

Two conventions: the metric "return" is undiscounted whatever the discount; an episode that the time limit cuts off counts as
finished, for returns and for bootstrapping alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
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
    """Settings of the vanilla policy gradient. The defaults suit CartPole-v1."""

    environments: int = 16
    """Episodes per update and replica, E."""
    iterations: int = 200
    """Updates of the policy."""
    discount: float = 0.99
    """gamma, in [0, 1]."""
    step_size: float = 1e-2
    """Adam's step size for the policy, > 0."""
    max_gradient_norm: float = 1.0
    """A replica's gradient is shortened to this length where it is longer, > 0."""
    baseline: Literal["none", "constant", "time", "leave-one-out", "linear", "network"] = "linear"
    """What is subtracted from the returns: nothing; their mean over the batch; at each time; at each time over the other
    episodes; a linear function of observation and time (Duan et al.'s features); a network of them."""
    target: Literal["monte-carlo", "td"] = "monte-carlo"
    """What a linear baseline or a network is fitted to: returns, or the reward plus its own value of what followed."""
    proximal: float = 1e-5
    """lambda, what holds phi where it was, > 0."""
    value_steps: int = 10
    """Steps of each fit: Adam's for a network; for a linear baseline rounds of fitted TD iteration (Monte Carlo needs one)."""
    value_step_size: float = 1e-2
    """Adam's step size for a network, > 0."""
    hidden: tuple[int, ...] = policies.HIDDEN
    """Units of the hidden layers, of the policy's network and of the baseline's."""

    def __post_init__(self):
        settings.at_least(self, 1, "environments", "iterations", "value_steps")
        settings.positive(self, "step_size", "max_gradient_norm", "proximal", "value_step_size")
        settings.in_unit_interval(self, "discount")
        for name, known in (("baseline", (*OF_THE_BATCH, *FITTED)), ("target", ("monte-carlo", "td"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it can be {', '.join(known)}.")
        settings.layers(self, "a linear policy")


class Linear(torch.nn.Module):
    """b(s, t) = phi . features(s, t), with the features of ``returns.linear_features``; phi [R, F] begins at 0."""

    def __init__(self, rng: Rng, observation_size: int, config: Config):
        super().__init__()
        self.phi = torch.nn.Parameter(torch.zeros(len(rng), 2 * observation_size + 4, device=rng.device, dtype=rng.dtype))

    def forward(self, observation: Float[Tensor, "R T E O"], first: int = 0) -> Float[Tensor, "R T E"]:
        return torch.einsum("rtef,rf->rte", returns.linear_features(observation, first), self.phi)


class Network(torch.nn.Module):
    """b(s, t): a network that sees the observation and t / 100."""

    def __init__(self, rng: Rng, observation_size: int, config: Config):
        super().__init__()
        self.value = policies.Value(rng, observation_size + 1, config.hidden)

    def forward(self, observation: Float[Tensor, "R T E O"], first: int = 0) -> Float[Tensor, "R T E"]:
        time = torch.arange(first, first + observation.shape[1], device=observation.device, dtype=observation.dtype) / 100
        clock = time[:, None, None].expand(*observation.shape[:-1], 1)
        return self.value(torch.cat([observation, clock], -1))


OF_THE_BATCH = {
    "none": lambda target, valid: torch.zeros_like(target),
    "constant": returns.constant_baseline,
    "time": returns.time_baseline,
    "leave-one-out": returns.leave_one_out_baseline,
}
FITTED = {"linear": Linear, "network": Network}


def loss(
    log_probability: Float[Tensor, "T E"], advantage: Float[Tensor, "T E"], valid: Bool[Tensor, "T E"], config: Config
) -> Float[Tensor, ""]:
    """One learner's loss: minus the surrogate, for each step of the batch; its value means nothing."""
    return -gradients.score_surrogate(log_probability, advantage, valid) / valid.sum(0).to(advantage.dtype).mean()


@torch.no_grad()
def value_target(baseline: Linear | Network, batch: Rollout, config: Config) -> Float[Tensor, "R T E"]:
    """y_t, what the baseline is fitted to; held fixed while it is."""
    if config.target == "monte-carlo":
        return returns.to_go(batch.reward, config.discount, valid=batch.valid)
    following = baseline(batch.next_observation, first=1)
    return returns.n_step(batch.reward, following, config.discount, 1, batch.done, batch.truncated)


def fit(baseline: Linear | Network, optimizer: nn.Optimizer, batch: Rollout, config: Config) -> Bool[Tensor, " R"]:
    """phi <- argmin sum (y - b_phi)^2 + proximal ||phi - phi_old||^2, exactly or by some steps; returns where it is finite."""
    if isinstance(baseline, Linear):
        return _fit_linear(baseline, optimizer, batch, config)
    target, valid = value_target(baseline, batch, config), batch.valid
    before = [parameter.detach().clone() for parameter in baseline.parameters()]
    finite = torch.ones_like(batch.steps, dtype=torch.bool)
    for _ in range(config.value_steps):
        error = torch.where(valid, baseline(batch.observation) - target, 0).square().sum((1, 2))
        moved = sum((p - q).square().flatten(1).sum(1) for p, q in zip(baseline.parameters(), before, strict=True))
        finite = finite & optimizer.step(error + config.proximal * moved)
    return finite


@torch.no_grad()
def _fit_linear(baseline: Linear, optimizer: nn.Optimizer, batch: Rollout, config: Config) -> Bool[Tensor, " R"]:
    """The minimum itself; of fitted TD iteration, whose targets move with phi, several rounds."""
    features = returns.linear_features(batch.observation)
    finite = torch.ones_like(batch.steps, dtype=torch.bool)
    for _ in range(config.value_steps if config.target == "td" else 1):
        target = value_target(baseline, batch, config)
        phi = returns.fit_linear(features, target, batch.valid, config.proximal, baseline.phi)
        finite = finite & phi.isfinite().all(1)
        optimizer.move(torch.where(finite[:, None], phi - baseline.phi, 0))
    return finite


def update(
    policy: Policy, optimizer: nn.Optimizer, batch: Rollout, baseline: Float[Tensor, "R T E"], config: Config, loss: Callable
) -> tuple[dict[str, Tensor], Tensor]:
    """One step of the policy for every replica; returns metrics [R] and which replicas could take it [R]."""
    target = returns.to_go(batch.reward, config.discount, valid=batch.valid)
    log_probability, entropy = evaluate(policy, batch)  # [R, T, E]
    losses = loss(log_probability, target - baseline, batch.valid, config)  # [R]
    finite = optimizer.step(losses)
    entropy = (entropy.detach() * batch.valid).sum((1, 2)) / batch.steps
    metrics = {"return": batch.episode_return.mean(1), "loss": losses.detach(), "entropy": entropy}
    return metrics | {"explained": explained(target, baseline, batch.valid)}, finite


def explained(
    target: Float[Tensor, "*R T E"], baseline: Float[Tensor, "*R T E"], valid: Bool[Tensor, "*R T E"]
) -> Float[Tensor, "*R"]:
    """Share of the returns' variance that a baseline explains, 1 - Var(G - b) / Var(G): at best 1, below 0 if it adds some."""
    left, whole = ((x - returns.constant_baseline(x, valid)) * valid for x in (target - baseline, target))
    return 1 - left.square().sum((-2, -1)) / whole.square().sum((-2, -1)).clamp(min=1e-12)


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy per seed of ``rng``; returns them and what happened.

    ``loss(log_probability, advantage, valid, config)`` is one learner's, [time, env] -> a number; it is lifted over replicas.
    """
    policy = policies.for_env(env, rng, config.hidden)
    optimizer = nn.Adam(policy, config.step_size, config.max_gradient_norm)
    fitted = FITTED[config.baseline](rng, env.spec.observation.size, config) if config.baseline in FITTED else None
    optimizers = (optimizer,) if fitted is None else (optimizer, nn.Adam(fitted, config.value_step_size))
    loss = nn.lift(loss)
    history = History(rng.seeds)
    for _ in history.iterate(config.iterations, progress):
        batch = episodes(env, policy, rng, config.environments)
        if fitted is None:
            target = returns.to_go(batch.reward, config.discount, valid=batch.valid)
            baseline = OF_THE_BATCH[config.baseline](target, batch.valid)
        else:
            baseline = fitted(batch.observation).detach()
        metrics, finite = update(policy, optimizer, batch, baseline, config, loss)
        if fitted is not None:
            finite = finite & fit(fitted, optimizers[1], batch, config)
        history.append(metrics, batch.steps)
        rng = history.stop(finite, batch, optimizers, rng)
    for each in optimizers:
        each.restore()
    return policy, history
