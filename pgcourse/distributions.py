"""Distributions that sample from noise they are given.

Handing the noise in *is* reparameterization: the same noise gives the same sample, so common random numbers and whole rollouts
drawn at once come for free. Shapes follow torch: leading axes are free (``[R, T, E]``); the last axis of a Normal is the event.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

D = TypeVar("D", "Normal", "MultivariateNormal", "Categorical", "Bernoulli", "Deterministic")


@dataclass(frozen=True)
class Normal:
    """Independent Gaussians, N(mean, exp(log_std)^2) in each coordinate of the last axis. mean, log_std: [..., A]."""

    mean: Tensor
    log_std: Tensor
    noise_kind: ClassVar[str] = "normal"

    @property
    def std(self) -> Tensor:
        return self.log_std.exp()

    @property
    def mode(self) -> Tensor:
        return self.mean

    def rsample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, differentiable in both; noise: [..., A], standard normal."""
        return self.mean + self.std * noise

    def sample(self, noise: Tensor) -> Tensor:
        """The same sample, cut off from the gradient."""
        return self.rsample(noise).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value) = -sum_i [((value_i - mean_i) / std_i)^2 / 2 + log std_i + log(2 pi) / 2]; [..., A] -> [...]."""
        z = (value - self.mean) * (-self.log_std).exp()
        return -(0.5 * z.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """sum_i [log std_i + log(2 pi e) / 2], in nats; [...]."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: "Normal") -> Tensor:
        """KL(self || other) = sum_i [log(s'/s) + (s^2 + (m - m')^2) / (2 s'^2) - 1/2], in nats; [...]."""
        ratio = (2 * (self.log_std - other.log_std)).exp()
        shift = ((self.mean - other.mean) * (-other.log_std).exp()).square()
        return 0.5 * (ratio + shift - 1 - 2 * (self.log_std - other.log_std)).sum(-1)


@dataclass(frozen=True)
class MultivariateNormal:
    """A Gaussian whose coordinates may go together: N(mean, L L^T).

    mean: [..., A]; factor: L [..., A, A], lower triangular with a positive diagonal, the Cholesky factor of the covariance.
    What is above the diagonal is not looked at.
    """

    mean: Tensor
    factor: Tensor
    noise_kind: ClassVar[str] = "normal"

    @property
    def covariance(self) -> Tensor:
        """L L^T, [..., A, A]."""
        return self.factor.tril() @ self.factor.tril().mT

    @property
    def mode(self) -> Tensor:
        return self.mean

    def rsample(self, noise: Tensor) -> Tensor:
        """mean + L noise, differentiable in both; noise: [..., A], standard normal. Source: lecture 11, (11.6)."""
        return self.mean + (self.factor.tril() @ noise.unsqueeze(-1)).squeeze(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """The same sample, cut off from the gradient."""
        return self.rsample(noise).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value) = -|L^-1 (value - mean)|^2 / 2 - sum_i [log L_ii + log(2 pi) / 2]; [..., A] -> [...]."""
        z = torch.linalg.solve_triangular(self.factor.tril(), (value - self.mean).unsqueeze(-1), upper=False).squeeze(-1)
        return -(0.5 * z.square() + self._log_diagonal + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """sum_i [log L_ii + log(2 pi e) / 2], in nats; [...]."""
        return (self._log_diagonal + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    @property
    def _log_diagonal(self) -> Tensor:
        return self.factor.diagonal(dim1=-2, dim2=-1).log()


@dataclass(frozen=True)
class Categorical:
    """One of n outcomes with probabilities softmax(logits). logits: [..., n]; samples are int64 [...]."""

    logits: Tensor
    noise_kind: ClassVar[str] = "uniform"

    @property
    def probabilities(self) -> Tensor:
        return self.logits.softmax(-1)

    @cached_property
    def log_probabilities(self) -> Tensor:
        # Over the first axis instead of the last: over a last axis of a few numbers it takes three to seven times as long.
        return self.logits.movedim(-1, 0).contiguous().log_softmax(0).movedim(0, -1)

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """The outcome whose interval of the cumulative distribution holds ``noise`` (uniform on [0, 1), [...])."""
        if self.logits.shape[-1] == 2:  # one edge, sigmoid(logit_0 - logit_1), in half the operations
            first, second = self.logits.unbind(-1)
            return (noise >= (first - second).sigmoid()).to(torch.int64)
        # Not normalised: a softmax over a few numbers costs ten times their exponentials. The last edge is left out, so
        # that rounding cannot lead beyond the last outcome.
        edges = (self.logits - self.logits.amax(-1, keepdim=True)).exp().cumsum(-1)
        return (noise.unsqueeze(-1) * edges[..., -1:] >= edges[..., :-1]).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log softmax(logits)[value]; int64 [...] -> [...]."""
        log_p = self.log_probabilities
        shape = torch.broadcast_shapes(log_p.shape[:-1], value.shape)
        return log_p.expand(*shape, -1).gather(-1, value.expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """-sum_a p(a) log p(a), in nats; [...]."""
        log_p = self.log_probabilities
        return -(log_p.exp() * log_p).sum(-1)

    def kl(self, other: "Categorical") -> Tensor:
        """KL(self || other) = sum_a p(a) [log p(a) - log q(a)], in nats; [...]."""
        log_p = self.log_probabilities
        return (log_p.exp() * (log_p - other.log_probabilities)).sum(-1)


@dataclass(frozen=True)
class Bernoulli:
    """Independent coins along the last axis: 1 with probability sigmoid(logits), else 0. logits, samples: [..., A]."""

    logits: Tensor
    noise_kind: ClassVar[str] = "uniform"

    @property
    def probabilities(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        return (self.logits > 0).to(self.logits.dtype)

    def sample(self, noise: Tensor) -> Tensor:
        """1 where ``noise`` (uniform on [0, 1), [..., A]) is below the probability."""
        return (noise < self.probabilities).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """sum_i log p(value_i), value_i 0 or 1; [..., A] -> [...]."""
        return torch.nn.functional.logsigmoid(torch.where(value > 0.5, self.logits, -self.logits)).sum(-1)

    def entropy(self) -> Tensor:
        """-sum_i [p_i log p_i + (1 - p_i) log(1 - p_i)], in nats; [...]."""
        sides = torch.stack((self.logits, -self.logits))
        return -(sides.sigmoid() * torch.nn.functional.logsigmoid(sides)).sum(0).sum(-1)


@dataclass(frozen=True)
class Deterministic:
    """All probability on one value [..., A]; it needs no noise, and ignores what it is given."""

    value: Tensor
    noise_kind: ClassVar[None] = None

    @property
    def mode(self) -> Tensor:
        return self.value

    def rsample(self, noise: Tensor | None = None) -> Tensor:
        """The value, differentiable."""
        return self.value

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """The value, cut off from the gradient."""
        return self.value.detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """0 where ``value`` is the one possible value, minus infinity elsewhere; [..., A] -> [...]."""
        same = (value == self.value).all(-1)
        return torch.where(same, 0.0, -math.inf).to(self.value.dtype)


Distribution = Normal | MultivariateNormal | Categorical | Bernoulli | Deterministic


def stack(distributions: Sequence[D], axis: int) -> D:
    """Many distributions of one kind as one, with a new axis: the time axis of a rollout."""
    first = distributions[0]
    return type(first)(*(torch.stack([getattr(d, f.name) for d in distributions], axis) for f in fields(first)))


def frozen(law: D) -> D:
    """The same distribution, cut off from the gradient and from what is done to its parameters later."""
    return type(law)(*(getattr(law, f.name).detach().clone() for f in fields(law)))
