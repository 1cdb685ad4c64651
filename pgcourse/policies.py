"""Policies: from an observation to a distribution over actions. Three heads on one network body.

``policy(observation)`` with observation [R, ..., O] returns a distribution with leading axes [R, ...]. ``policy.noise`` says
what one action needs to be sampled. With ``normalise=True`` the network sees observations shifted and scaled by its
``normalizer``, which whoever trains it keeps up to date, and which is saved with it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from . import distributions, nn
from .envs.base import Box, Discrete, Env
from .rng import Noise, Rng

HIDDEN = (32, 32)


class Categorical(torch.nn.Module):
    """pi(a | s) = softmax(logits(s))[a]: a choice among ``actions``. ``hidden=()`` is linear: a table, if s is one-hot."""

    def __init__(
        self, rng: Rng, observation_size: int, actions: int, hidden: tuple[int, ...] = HIDDEN, normalise: bool = False
    ):
        super().__init__()
        self.normalizer = _normalizer(rng, observation_size, normalise)
        self.body = nn.MLP(rng, (observation_size, *hidden, actions), output_scale=0.1)
        self.noise = Noise("uniform")

    def forward(self, observation: Float[Tensor, "R *batch O"]) -> distributions.Categorical:
        return distributions.Categorical(self.body(self.normalizer(observation)))


class Gaussian(torch.nn.Module):
    """pi(a | s) = N(mean(s), diag(exp(log_std))^2): a vector of ``action_size`` numbers; log_std [R, A] does not see s."""

    def __init__(
        self,
        rng: Rng,
        observation_size: int,
        action_size: int,
        hidden: tuple[int, ...] = HIDDEN,
        initial_std: float = 1.0,
        normalise: bool = False,
    ):
        super().__init__()
        if not initial_std > 0:
            raise ValueError(f"initial_std is {initial_std}; it must be > 0 (1.0 is usual for actions of order one).")
        self.normalizer = _normalizer(rng, observation_size, normalise)
        self.body = nn.MLP(rng, (observation_size, *hidden, action_size), output_scale=0.1)
        start = torch.full((len(rng), action_size), initial_std, device=rng.device, dtype=rng.dtype).log()
        self.log_std = torch.nn.Parameter(start)
        self.noise = Noise("normal", (action_size,))

    def forward(self, observation: Float[Tensor, "R *batch O"]) -> distributions.Normal:
        mean = self.body(self.normalizer(observation))
        between = (1,) * (mean.ndim - 2)
        return distributions.Normal(mean, self.log_std.reshape(len(mean), *between, -1).expand_as(mean))


class Deterministic(torch.nn.Module):
    """a = mu(s): a vector of ``action_size`` numbers, the same each time."""

    def __init__(self, rng: Rng, observation_size: int, action_size: int, hidden: tuple[int, ...] = HIDDEN):
        super().__init__()
        self.body = nn.MLP(rng, (observation_size, *hidden, action_size), output_scale=0.1)
        self.noise = None

    def forward(self, observation: Float[Tensor, "R *batch O"]) -> distributions.Deterministic:
        return distributions.Deterministic(self.body(observation))


class Pixels(torch.nn.Module):
    """pi(a | s) for pictures given as lists of lit pixels: one hidden layer of ``hidden`` rectified units. Lecture 06."""

    def __init__(self, rng: Rng, pixels: int, actions: int, hidden: int = 200):
        super().__init__()
        self.first = nn.PixelLayer(rng, pixels, hidden)
        self.last = nn.MLP(rng, (hidden, actions), output_scale=0.1)
        self.noise = Noise("uniform")

    def forward(self, observation: Float[Tensor, "R *batch L"]) -> distributions.Categorical:
        return distributions.Categorical(self.last(self.first(observation).relu()))


class Convolutional(torch.nn.Module):
    """pi(a | s) for square pictures given as lists of lit pixels: ``channels`` filters slide over the picture. Lecture 06.

    pixels: of a whole picture, side times side. The filters are 8 x 8, moved by 4; then one hidden layer of ``hidden``
    rectified units.
    """

    def __init__(self, rng: Rng, pixels: int, actions: int, hidden: int = 32, channels: int = 8):
        super().__init__()
        self.side = math.isqrt(pixels)
        if self.side**2 != pixels:
            raise ValueError(f"pixels is {pixels}; a square picture has 1600 or 6400, say.")
        self.first = nn.Convolution(rng, 1, channels, 8, 4)
        places = (self.side - 8) // 4 + 1
        self.last = nn.MLP(rng, (channels * places**2, hidden, actions), torch.relu, output_scale=0.1)
        self.noise = Noise("uniform")

    def forward(self, observation: Float[Tensor, "R *batch L"]) -> distributions.Categorical:
        seen = self.first(nn.picture(observation, self.side).unsqueeze(-3)).relu()
        return distributions.Categorical(self.last(seen.flatten(-3)))


class Value(torch.nn.Module):
    """V(s), the critic: observations [R, *batch, O] -> one number each, [R, *batch]."""

    def __init__(self, rng: Rng, observation_size: int, hidden: tuple[int, ...] = HIDDEN, normalise: bool = False):
        super().__init__()
        self.normalizer = _normalizer(rng, observation_size, normalise)
        self.body = nn.MLP(rng, (observation_size, *hidden, 1))

    def forward(self, observation: Float[Tensor, "R *batch O"]) -> Float[Tensor, "R *batch"]:
        return self.body(self.normalizer(observation)).squeeze(-1)


def _normalizer(rng: Rng, size: int, normalise: bool) -> torch.nn.Module:
    return nn.Normalizer(rng, size) if normalise else torch.nn.Identity()


Policy = Categorical | Gaussian | Deterministic | Pixels | Convolutional


def for_env(env: Env, rng: Rng, hidden: tuple[int, ...] = HIDDEN, normalise: bool = False) -> Categorical | Gaussian:
    """R stochastic policies that fit an environment: categorical for a choice, Gaussian for a vector.

    Raises TypeError where the environment's action space is neither.
    """
    observation, action = env.spec.observation, env.spec.action
    if isinstance(action, Discrete):
        return Categorical(rng, observation.size, action.n, hidden, normalise)
    if isinstance(action, Box):
        return Gaussian(rng, observation.size, action.size, hidden, normalise=normalise)
    raise TypeError(
        f"{env.spec.name} has actions of kind {type(action).__name__}; "
        "policies exist for Discrete (Categorical) and Box (Gaussian)."
    )
