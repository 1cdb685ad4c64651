"""CMA-ES: the covariance matrix adaptation evolution strategy. Lecture 02, algorithm 2.6; Hansen (2016), arXiv 1604.00772.

    mean m = 0, covariance C = I, step size sigma = deviation, paths p_c = p_sigma = 0
    repeat
        x_i = m + sigma y_i,   y_i ~ N(0, C)      i = 1 .. n
        score each x_i by the mean of some evaluations; y_{1:n} is the y of the best, y_{2:n} of the second ...
        y_w = sum_{i <= mu} w_i y_{i:n},   m <- m + sigma y_w                                          (41, 42)
        p_sigma <- (1 - c_sigma) p_sigma + sqrt(c_sigma (2 - c_sigma) mu_eff) C^(-1/2) y_w             (43)
        sigma <- sigma exp(c_sigma / d_sigma (|p_sigma| / E|N(0, I)| - 1))                             (44)
        p_c <- (1 - c_c) p_c + h sqrt(c_c (2 - c_c) mu_eff) y_w                                        (45)
        C <- (1 - c_1 - c_mu sum_i w_i + (1 - h) c_1 c_c (2 - c_c)) C
             + c_1 p_c p_c^T + c_mu sum_i w_i y_{i:n} y_{i:n}^T                                        (47)
    answer: m

Equation numbers are Hansen's. Weights w_i > 0 for the better half and 0 for the others (his "active" negative weights are left
out); they sum to one. h is 0 while |p_sigma| is very long, else 1. The other constants follow from P and n, below.
"""

import math
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
    """Settings of CMA-ES; the budget is Kohl & Stone's."""

    population: int = 15
    """Points tried per iteration, n >= 4. (Hansen's default is 4 + 3 log P, rounded down: 11 for 12 parameters.)"""
    evaluations: int = 3
    """Evaluations of each point, whose mean is its score."""
    iterations: int = 23
    """Updates."""
    deviation: float = 1.0
    """First step size sigma, in units of the problem's scale, > 0."""

    def __post_init__(self):
        settings.at_least(self, 4, "population")
        settings.at_least(self, 1, "evaluations", "iterations")
        settings.positive(self, "deviation")


@dataclass(frozen=True)
class Constants:
    """What follows from the number of parameters P and the population n: Hansen's table 1."""

    size: int
    population: int

    @property
    def weights(self) -> list[float]:
        """w_i of the better half, falling, with sum 1."""
        raw = [math.log((self.population + 1) / 2) - math.log(i) for i in range(1, self.population // 2 + 1)]
        return [w / sum(raw) for w in raw]

    @property
    def mu_eff(self) -> float:
        """How many equally weighted points would be as noisy: 1 / sum w_i^2."""
        return 1 / sum(w * w for w in self.weights)

    @property
    def c_sigma(self) -> float:
        return (self.mu_eff + 2) / (self.size + self.mu_eff + 5)

    @property
    def d_sigma(self) -> float:
        return 1 + 2 * max(0.0, math.sqrt((self.mu_eff - 1) / (self.size + 1)) - 1) + self.c_sigma

    @property
    def c_c(self) -> float:
        return (4 + self.mu_eff / self.size) / (self.size + 4 + 2 * self.mu_eff / self.size)

    @property
    def c_1(self) -> float:
        return 2 / ((self.size + 1.3) ** 2 + self.mu_eff)

    @property
    def c_mu(self) -> float:
        return min(1 - self.c_1, 2 * (self.mu_eff - 2 + 1 / self.mu_eff) / ((self.size + 2) ** 2 + self.mu_eff))

    @property
    def normal_length(self) -> float:
        """E|N(0, I)|, to Hansen's approximation."""
        return math.sqrt(self.size) * (1 - 1 / (4 * self.size) + 1 / (21 * self.size**2))


@dataclass(frozen=True)
class State:
    """Where the search stands, for each replica."""

    mean: Float[Tensor, "R P"]
    sigma: Float[Tensor, " R"]
    covariance: Float[Tensor, "R P P"]
    path: Float[Tensor, "R P"]
    """p_c: where the mean has been going."""
    sigma_path: Float[Tensor, "R P"]
    """p_sigma: the same, as if C were I."""
    iteration: int = 0


def begin(replicas: int, size: int, config: Config, like: Tensor) -> State:
    """The state before the first iteration; number format and device are those of ``like``."""
    zero = like.new_zeros(replicas, size)
    eye = torch.eye(size, dtype=like.dtype, device=like.device).expand(replicas, -1, -1)
    return State(zero, like.new_full((replicas,), config.deviation), eye, zero, zero)


def axes(covariance: Float[Tensor, "R P P"]) -> tuple[Float[Tensor, "R P"], Float[Tensor, "R P P"]]:
    """Standard deviations d and directions B (columns) of C = B diag(d^2) B^T."""
    square, directions = torch.linalg.eigh(covariance)
    return square.clamp(min=1e-20).sqrt(), directions


def update(state: State, points: Float[Tensor, "R n P"], score: Float[Tensor, "R n"], constants: Constants) -> State:
    """One iteration of (41) to (47), given the points and how they scored."""
    k = constants
    weights = torch.tensor(k.weights, dtype=points.dtype, device=points.device)
    best = score.argsort(1, descending=True)[:, : len(weights), None]
    chosen = points.gather(1, best.expand(-1, -1, k.size))
    y = (chosen - state.mean[:, None]) / state.sigma[:, None, None]  # [R, mu, P], best first
    y_w = weights @ y

    deviation, directions = axes(state.covariance)
    whitened = torch.einsum("rij,rj,rkj,rk->ri", directions, 1 / deviation, directions, y_w)  # C^(-1/2) y_w
    sigma_path = (1 - k.c_sigma) * state.sigma_path + math.sqrt(k.c_sigma * (2 - k.c_sigma) * k.mu_eff) * whitened
    length = sigma_path.norm(dim=1)
    sigma = state.sigma * (k.c_sigma / k.d_sigma * (length / k.normal_length - 1)).exp()

    usual = length / math.sqrt(1 - (1 - k.c_sigma) ** (2 * (state.iteration + 1)))
    h = (usual < (1.4 + 2 / (k.size + 1)) * k.normal_length).to(points.dtype)[:, None]
    path = (1 - k.c_c) * state.path + h * math.sqrt(k.c_c * (2 - k.c_c) * k.mu_eff) * y_w
    rank_one = path[:, :, None] * path[:, None, :]
    rank_mu = torch.einsum("i,rij,rik->rjk", weights, y, y)
    keep = (1 - k.c_1 - k.c_mu + (1 - h) * k.c_1 * k.c_c * (2 - k.c_c))[:, :, None]
    covariance = keep * state.covariance + k.c_1 * rank_one + k.c_mu * rank_mu
    mean = state.mean + state.sigma[:, None] * y_w
    return State(mean, sigma, covariance, path, sigma_path, state.iteration + 1)


def train(
    problem: Problem | Env, config: Config, rng: Rng, *, progress: Progress | None = None
) -> tuple[Float[Tensor, "R P"], History]:
    """Search around the problem's start, once for each seed of ``rng``; returns the parameters found and what happened."""
    problem, history = blackbox.of(problem), History(rng.seeds)
    constants = Constants(problem.size, config.population)
    state = begin(len(rng), problem.size, config, rng.normal(0))
    for _ in history.iterate(config.iterations, progress):
        deviation, directions = axes(state.covariance)
        y = torch.einsum("rij,rj,rnj->rni", directions, deviation, rng.normal(config.population, problem.size))
        points = state.mean[:, None] + state.sigma[:, None, None] * y
        score = problem.score(points, rng, config.evaluations)
        state = update(state, points, score, constants)
        history.append(*problem.record(score, state.mean, config.evaluations))
    return problem.at(state.mean), history
