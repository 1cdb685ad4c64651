"""A genetic algorithm. Lecture 02, algorithm 2.4; Holland (1975), with real numbers for genes.

    n individuals x_i = deviation * z_i,   z_i ~ N(0, I)
    repeat
        score each x_i by the mean of some evaluations
        parents: the best ones, a share of the n
        child: each gene from one of two parents, by a coin, plus mutation * z,   z ~ N(0, 1)
        next generation: the best parent unchanged, and n - 1 children
    answer: the best of the last generation

Selection looks at the order of the scores and at nothing else.
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
    """Settings of the genetic algorithm; the budget is Kohl & Stone's."""

    population: int = 15
    """Individuals per generation, n >= 2."""
    evaluations: int = 3
    """Evaluations of each individual, whose mean is its score."""
    iterations: int = 23
    """Generations."""
    parents: int = 5
    """How many of the best have children, 1 .. n."""
    deviation: float = 1.0
    """Standard deviation of the first generation, in units of the problem's scale, > 0."""
    mutation: float = 0.5
    """Standard deviation of what is added to every gene of a child, in the same units, >= 0."""

    def __post_init__(self):
        settings.at_least(self, 2, "population")
        settings.at_least(self, 1, "evaluations", "iterations")
        if not 1 <= self.parents <= self.population:
            raise ValueError(f"parents is {self.parents}; it can be 1 .. {self.population}, the population.")
        if not (self.deviation > 0 and self.mutation >= 0):
            raise ValueError(f"deviation is {self.deviation} and mutation {self.mutation}; they must be > 0 and >= 0.")


def generation(
    points: Float[Tensor, "R n P"],
    score: Float[Tensor, "R n"],
    config: Config,
    chosen: Float[Tensor, "R n 2"],
    coins: Float[Tensor, "R n P"],
    noise: Float[Tensor, "R n P"],
) -> Float[Tensor, "R n P"]:
    """The next generation, the best of this one first. chosen (which parents) and coins are uniform, noise is normal."""
    replica = torch.arange(len(points), device=points.device)[:, None]
    parents = points[replica, score.argsort(1, descending=True)[:, : config.parents]]  # [R, parents, P]
    one, other = (parents[replica, place] for place in (chosen * config.parents).long().unbind(-1))
    children = torch.where(coins < 0.5, one, other) + config.mutation * noise
    return torch.cat([parents[:, :1], children[:, 1:]], 1)


def train(
    problem: Problem | Env, config: Config, rng: Rng, *, progress: Progress | None = None
) -> tuple[Float[Tensor, "R P"], History]:
    """Search around the problem's start, once for each seed of ``rng``; returns the parameters found and what happened."""
    problem, history = blackbox.of(problem), History(rng.seeds)
    n, size = config.population, problem.size
    points = config.deviation * rng.normal(n, size)
    best = points[:, 0]
    for _ in history.iterate(config.iterations, progress):
        score = problem.score(points, rng, config.evaluations)
        best = points[torch.arange(len(rng)), score.argmax(1)]
        history.append(*problem.record(score, best, config.evaluations))
        points = generation(points, score, config, rng.uniform(n, 2), rng.uniform(n, size), rng.normal(n, size))
    return problem.at(best), history
