"""Hill climbing. Lecture 02, algorithm 2.3.

    x = 0
    repeat
        x_1 = x,   x_i = x + deviation * z_i,   z_i ~ N(0, I)      i = 2 .. n
        score each x_i by the mean of some evaluations
        x <- the x_i with the best score

The point that is kept is measured again each time, as one of the n. Otherwise one lucky measurement would be remembered for
ever, and nothing honest could beat it (lecture 02, "What goes wrong").
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
    """Settings of hill climbing; the budget is Kohl & Stone's."""

    population: int = 15
    """Points tried per iteration, n >= 2, the one that is kept included."""
    evaluations: int = 3
    """Evaluations of each point, whose mean is its score."""
    iterations: int = 23
    """Steps."""
    deviation: float = 1.0
    """Standard deviation of a step in each parameter, in units of the problem's scale, > 0."""

    def __post_init__(self):
        settings.at_least(self, 2, "population")
        settings.at_least(self, 1, "evaluations", "iterations")
        settings.positive(self, "deviation")


def propose(x: Float[Tensor, "R P"], config: Config, noise: Float[Tensor, "R m P"]) -> Float[Tensor, "R n P"]:
    """The point itself, and m = n - 1 steps away from it."""
    here = x.unsqueeze(1)
    return torch.cat([here, here + config.deviation * noise], 1)


def update(points: Float[Tensor, "R n P"], score: Float[Tensor, "R n"]) -> Float[Tensor, "R P"]:
    """The best of the points."""
    return points[torch.arange(len(points)), score.argmax(1)]


def train(
    problem: Problem | Env, config: Config, rng: Rng, *, progress: Progress | None = None
) -> tuple[Float[Tensor, "R P"], History]:
    """Search from the problem's start, once for each seed of ``rng``; returns the parameters found and what happened."""
    problem, history = blackbox.of(problem), History(rng.seeds)
    x = torch.zeros(len(rng), problem.size, dtype=rng.dtype, device=rng.device)
    for _ in history.iterate(config.iterations, progress):
        points = propose(x, config, rng.normal(config.population - 1, problem.size))
        score = problem.score(points, rng, config.evaluations)
        x = update(points, score)
        history.append(*problem.record(score, x, config.evaluations))
    return problem.at(x), history
