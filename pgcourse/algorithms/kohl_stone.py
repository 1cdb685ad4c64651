"""The policy gradient that taught the AIBO to trot. Lecture 02, algorithm 2.1; Kohl & Stone (2004).

    x = 0
    repeat
        x_i = x + epsilon * s_i,   each s_ij drawn from {-1, 0, 1}      i = 1 .. n
        score each x_i by the mean of some evaluations
        for each parameter j
            mean score of the x_i with s_ij = +1, of those with 0, of those with -1
            A_j = 0 if the middle mean is the best, else the first minus the last            (2.8)
        x <- x + step_size * A / |A|                                                         (2.9)

The step has the same length every time, however flat or steep the ground is. Their paper does not say in the pseudocode in
which units |A| is measured when parameters are millimetres and seconds; here every parameter counts in units of its own
perturbation (the problem's scale), which their step size of 2 then multiplies.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import blackbox, gradients, settings
from ..blackbox import Problem
from ..envs.base import Env
from ..history import History, Progress
from ..rng import Rng


@dataclass(frozen=True)
class Config:
    """Settings of Kohl & Stone; the defaults are theirs."""

    population: int = 15
    """Policies tried per iteration (their t), n >= 2."""
    evaluations: int = 3
    """Evaluations of each policy, whose mean is its score."""
    iterations: int = 23
    """Steps."""
    epsilon: float = 1.0
    """Size of a perturbation, in units of the problem's scale, > 0."""
    step_size: float = 2.0
    """Length of a step (their eta), in the same units, > 0."""

    def __post_init__(self):
        settings.at_least(self, 2, "population")
        settings.at_least(self, 1, "evaluations", "iterations")
        settings.positive(self, "epsilon", "step_size")


def update(
    x: Float[Tensor, "R P"], score: Float[Tensor, "R n"], signs: Float[Tensor, "R n P"], config: Config
) -> Float[Tensor, "R P"]:
    """One step of fixed length along the groups' differences; none where they are all zero."""
    direction = gradients.group_difference(score, signs)
    length = direction.norm(dim=1, keepdim=True)
    return x + config.step_size * torch.where(length > 0, direction / length, 0)


def train(
    problem: Problem | Env, config: Config, rng: Rng, *, progress: Progress | None = None
) -> tuple[Float[Tensor, "R P"], History]:
    """Climb from the problem's start, once for each seed of ``rng``; returns the parameters found and what happened."""
    problem, history = blackbox.of(problem), History(rng.seeds)
    x = torch.zeros(len(rng), problem.size, dtype=rng.dtype, device=rng.device)
    for _ in history.iterate(config.iterations, progress):
        signs = gradients.random_signs(rng.uniform(config.population, problem.size))
        score = problem.score(x.unsqueeze(1) + config.epsilon * signs, rng, config.evaluations)
        x = update(x, score, signs, config)
        history.append(*problem.record(score, x, config.evaluations))
    return problem.at(x), history
