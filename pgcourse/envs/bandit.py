"""Bandits: one decision, one reward, and the episode is over."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..rng import Noise
from .base import Box, Discrete, Env, Spec

_ZERO = torch.zeros(())


@dataclass(frozen=True, eq=False)
class Bandit(Env):
    """K arms; arm a pays r = mean_a + standard_deviation_a z, z standard normal.

    Fields: ``mean`` [K]; ``standard_deviation`` [K] or one number for all, 0 (the default) for fixed rewards. There is
    nothing to see: the observation is the number 1, so that a policy has something to multiply its weights with.

    Raises ValueError where the means are not a list of numbers or the deviations are negative or do not fit them.
    """

    mean: Tensor
    standard_deviation: Tensor = _ZERO

    def __post_init__(self):
        mean = torch.as_tensor(self.mean).to(torch.float64)
        deviation = torch.as_tensor(self.standard_deviation).to(mean)
        if mean.dim() != 1 or len(mean) == 0 or not torch.isfinite(mean).all():
            raise ValueError(f"mean is {mean.tolist()}; it must be a list of finite numbers, one per arm.")
        if deviation.shape not in ((), mean.shape) or not torch.isfinite(deviation).all() or (deviation < 0).any():
            raise ValueError(
                f"standard_deviation is {deviation.tolist()}; it can be one number >= 0, or one for each of the "
                f"{len(mean)} arms."
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "standard_deviation", deviation.expand_as(mean))

    @cached_property
    def spec(self) -> Spec:
        return Spec(
            name="bandit",
            observation=Box(1, 1.0, 1.0),
            action=Discrete(len(self.mean)),
            time_limit=1,
            state_shape=(),
            step_noise=Noise("normal"),
        )

    def initial(self, noise: Float[Tensor, "*batch 0"]) -> Float[Tensor, "*batch"]:
        """The only state there is, 0."""
        return noise.new_zeros(noise.shape[:-1])

    def step(
        self, state: Float[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """The arm's reward; the episode is over."""
        reward = self.mean.to(state)[action] + self.standard_deviation.to(state)[action] * noise
        return state, reward, torch.ones_like(state, dtype=torch.bool)

    def observe(self, state: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 1"]:
        """The number 1."""
        return torch.ones_like(state).unsqueeze(-1)
