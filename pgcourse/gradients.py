"""Estimators of the gradient of an expectation, and how to measure one."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import returns
from .nn import flat_gradient
from .policies import Policy
from .rollout import Rollout


def score_surrogate(
    log_probability: Float[Tensor, "*R T E"],
    weight: Float[Tensor, "*R T E"],
    valid: Bool[Tensor, "*R T E"] | None = None,
) -> Float[Tensor, "*R"]:
    """A number whose *gradient* is the score-function estimator: mean_e sum_t weight_t grad log p_t.

    Its value means nothing. The weight is cut off from the gradient. Source: lecture 03, (3.4); lecture 04, (4.4).
    """
    terms = log_probability * weight.detach()
    if valid is not None:
        terms = torch.where(valid, terms, 0)
    return terms.sum(-2).mean(-1)


def score_function(policy: Policy, episodes: Rollout, discount: float = 1.0, causal: bool = True) -> Float[Tensor, "R P"]:
    """The REINFORCE gradient of each replica from whole episodes: unbiased for the gradient of J.

        mean_e sum_t discount^t G_t grad log pi(a_t | s_t),    G_t = sum_{k >= t} discount^(k - t) r_k

    ``causal=False`` weights every step with the return of the whole episode instead: the same expectation, usually with more
    variance.
    Parameters are flat, in the order of ``policy.parameters()``. Source: Williams (1992); lecture 04, (4.4) and (4.5).
    """
    log_probability = policy(episodes.observation).log_prob(episodes.action)
    weight = returns.to_go(episodes.reward, discount, valid=episodes.valid)
    if causal:
        weight = weight * returns.powers(discount, weight.shape[-2], weight)
    else:
        weight = weight[..., :1, :].expand_as(weight)
    return per_replica(score_surrogate(log_probability, weight, episodes.valid), policy)


def per_replica(objective: Float[Tensor, " R"], module: torch.nn.Module) -> Float[Tensor, "R P"]:
    """Each replica's gradient of its own objective, flat, in the order of ``module.parameters()``."""
    return flat_gradient(objective, module.parameters())


@dataclass(frozen=True)
class Accuracy:
    """How an estimator of a known vector did over N independent draws, coordinate by coordinate [P]."""

    bias: Float[Tensor, " P"]
    """Mean of the estimates minus the truth."""
    standard_error: Float[Tensor, " P"]
    """Of that bias: sqrt(variance / N)."""
    variance: Float[Tensor, " P"]
    """Of a single estimate (with N - 1)."""

    @property
    def z(self) -> Float[Tensor, " P"]:
        """Bias in standard errors: standard normal for an unbiased estimator and many draws; 0 where both are 0."""
        return torch.where(self.bias == 0, 0, self.bias / self.standard_error)


def bias_and_variance(estimates: Float[Tensor, "N P"], exact: Float[Tensor, " P"]) -> Accuracy:
    """Bias (with its standard error) and variance of an estimator from N >= 2 draws, against the exact vector."""
    if len(estimates) < 2:
        raise ValueError(f"there are {len(estimates)} estimates; a variance needs at least 2.")
    variance = estimates.var(0)
    return Accuracy(estimates.mean(0) - exact, (variance / len(estimates)).sqrt(), variance)
