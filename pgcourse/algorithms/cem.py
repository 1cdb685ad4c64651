"""The cross-entropy method. Lecture 02, algorithm 2.5; Rubinstein (1999), de Boer et al. (2005).

    mean = 0, std = deviation
    repeat
        x_i = mean + std * z_i,   z_i ~ N(0, I)      i = 1 .. n
        score each x_i by the mean of some evaluations
        elite: the k best
        mean <- (1 - rate) mean + rate * mean of the elite                               (2.10)
        std  <- (1 - rate) std + rate * standard deviation of the elite (divided by k)
    answer: mean

The mean of the elite is the mean that makes the elite most likely, and so is the deviation: maximum likelihood on a selection.
``least_deviation`` is added to the elite's variance, as a square, so that the search does not go to sleep where it stands:
Szita & Lorincz (2006).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import blackbox, settings
from ..blackbox import Problem
from ..envs.base import Env
from ..history import History, Progress
from ..rng import Rng


@dataclass(frozen=True)
class Config:
    """Settings of the cross-entropy method; the budget is Kohl & Stone's."""

    population: int = 15
    """Points tried per iteration, n >= 2."""
    evaluations: int = 3
    """Evaluations of each point, whose mean is its score."""
    iterations: int = 23
    """Updates of mean and deviation."""
    elite: int = 4
    """How many of the best count, k in 1 .. n."""
    deviation: float = 1.0
    """First standard deviation, in units of the problem's scale, > 0."""
    rate: float = 0.7
    """How far mean and deviation move toward the elite's, in (0, 1]."""
    least_deviation: float = 0.0
    """Its square is added to the elite's variance, >= 0."""

    def __post_init__(self):
        settings.at_least(self, 2, "population")
        settings.at_least(self, 1, "evaluations", "iterations")
        if not 1 <= self.elite <= self.population:
            raise ValueError(f"elite is {self.elite}; it can be 1 .. {self.population}, the population.")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate is {self.rate}; it must lie in (0, 1].")
        if not (self.deviation > 0 and self.least_deviation >= 0):
            raise ValueError(
                f"deviation is {self.deviation} and least_deviation {self.least_deviation}; they must be > 0 and >= 0."
            )


def update(
    mean: Float[Tensor, "R P"],
    std: Float[Tensor, "R P"],
    points: Float[Tensor, "R n P"],
    score: Float[Tensor, "R n"],
    config: Config,
) -> tuple[Float[Tensor, "R P"], Float[Tensor, "R P"]]:
    """Mean and standard deviation, moved toward those of the k best points."""
    best = score.argsort(1, descending=True)[:, : config.elite, None]
    elite = points.gather(1, best.expand(-1, -1, points.shape[-1]))  # [R, k, P]
    spread = (elite.var(1, correction=0) + config.least_deviation**2).sqrt()
    return torch.lerp(mean, elite.mean(1), config.rate), torch.lerp(std, spread, config.rate)


def train(
    problem: Problem | Env, config: Config, rng: Rng, *, progress: Progress | None = None
) -> tuple[Float[Tensor, "R P"], History]:
    """Search around the problem's start, once for each seed of ``rng``; returns the parameters found and what happened."""
    problem, history = blackbox.of(problem), History(rng.seeds)
    mean = torch.zeros(len(rng), problem.size, dtype=rng.dtype, device=rng.device)
    std = torch.full_like(mean, config.deviation)
    for _ in history.iterate(config.iterations, progress):
        points = mean.unsqueeze(1) + std.unsqueeze(1) * rng.normal(config.population, problem.size)
        score = problem.score(points, rng, config.evaluations)
        mean, std = update(mean, std, points, score, config)
        history.append(*problem.record(score, mean, config.evaluations))
    return problem.at(mean), history
