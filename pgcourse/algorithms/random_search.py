"""Random search. Lecture 02, algorithm 2.2; Rastrigin (1963) and many before him.

    repeat
        x_i = deviation * z_i,   z_i ~ N(0, I)      i = 1 .. n
        score each x_i by the mean of some evaluations
    answer: the x_i with the best score ever

Nothing is learned from one iteration for the next. So it is the zero of the scale: a method that does not beat it has
learned nothing either. The best score ever is the luckiest of many noisy ones, and promises too much.
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
    """Settings of random search; the budget is Kohl & Stone's."""

    population: int = 15
    """Points tried per iteration, n >= 1."""
    evaluations: int = 3
    """Evaluations of each point, whose mean is its score."""
    iterations: int = 23
    """Batches of points."""
    deviation: float = 1.0
    """Standard deviation of a point in each parameter, in units of the problem's scale, > 0."""

    def __post_init__(self):
        settings.at_least(self, 1, "population", "evaluations", "iterations")
        settings.positive(self, "deviation")


def update(
    best: Float[Tensor, "R P"], record: Float[Tensor, " R"], points: Float[Tensor, "R n P"], score: Float[Tensor, "R n"]
) -> tuple[Float[Tensor, "R P"], Float[Tensor, " R"]]:
    """The best point so far and its score."""
    top, place = score.max(1)
    new = points[torch.arange(len(points)), place]
    return torch.where((top > record).unsqueeze(1), new, best), torch.maximum(top, record)


def train(
    problem: Problem | Env, config: Config, rng: Rng, *, progress: Progress | None = None
) -> tuple[Float[Tensor, "R P"], History]:
    """Search around the problem's start, once for each seed of ``rng``; returns the parameters found and what happened."""
    problem, history = blackbox.of(problem), History(rng.seeds)
    x = torch.zeros(len(rng), problem.size, dtype=rng.dtype, device=rng.device)
    record = torch.full((len(rng),), -torch.inf, dtype=rng.dtype, device=rng.device)
    for _ in history.iterate(config.iterations, progress):
        points = config.deviation * rng.normal(config.population, problem.size)
        score = problem.score(points, rng, config.evaluations)
        x, record = update(x, record, points, score)
        history.append(*problem.record(score, x, config.evaluations))
    return problem.at(x), history
