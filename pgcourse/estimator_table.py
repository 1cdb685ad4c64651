"""Bias and variance of every estimator for discrete variables, on problems small enough to know the truth.

python -m pgcourse.estimator_table > docs/estimators.md
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from . import gradients, relaxations
from .distributions import Bernoulli
from .gradients import Accuracy, Expectation
from .relaxations import METHODS, Law, OneHot
from .rng import Rng

SAMPLES = 2
"""N, of each estimate: the fewest that all can do with."""

LIMIT = 6.0
"""Standard errors of bias allowed to an unbiased estimator. The table has fewer than 300 such coordinates: a right one fails
somewhere in it with probability below 300 * 2e-9 = 6e-7, were it drawn anew."""


@dataclass(frozen=True)
class Problem:
    """E[cost(b)], b ~ law(theta), at one theta. control: for RELAX and LAX, of z; size: for the methods that list outcomes."""

    name: str
    formula: str
    law: Callable[[Tensor], Law]
    cost: Callable[[Tensor], Tensor]
    theta: Tensor
    control: Callable[[Tensor], Tensor]
    size: int = 3

    @property
    def objective(self) -> Expectation:
        return Expectation(self.law, self.cost)

    @property
    def exact(self) -> Float[Tensor, " P"]:
        """The gradient, by enumeration."""
        return relaxations.estimator("enumerate_all")(self.objective, self.theta, None)


def _problem(name: str, formula: str, law: Any, cost: Any, theta: list, **options: Any) -> Problem:
    """The control is the cost at a relaxed point."""
    press = torch.sigmoid if law is Bernoulli else (lambda z: z.softmax(-1))
    return Problem(name, formula, law, cost, torch.tensor(theta, dtype=torch.float64), lambda z: cost(press(z)), **options)


def _weighted(b: Tensor) -> Tensor:
    """w.b, all variables together: [..., 4] -> [...], or [..., 8]."""
    weights = [1.0, -0.7, 0.5, 0.8, -1.0, 0.3, -0.4, 0.6]
    return b @ torch.tensor(weights[: b.shape[-1]], dtype=b.dtype)


def _pairs(theta: Tensor) -> OneHot:
    return OneHot(theta.unflatten(-1, (2, 4)))


ONE_COIN = _problem(
    "One coin",
    "f(b) = (b - 0.499)^2 + 3 b + 1, logit 0.7",
    Bernoulli,
    lambda b: ((b - 0.499).square() + 3 * b + 1).sum(-1),
    [0.7],
    size=1,
)
FOUR_COINS = _problem(
    "Four coins",
    "f(b) = (w.b - 1)^2 + sin(3 w.b), logits 0.7, -0.4, 0.2, -1",
    Bernoulli,
    lambda b: (_weighted(b) - 1).square() + (3 * _weighted(b)).sin(),
    [0.7, -0.4, 0.2, -1.0],
)
TWO_CHOICES = _problem(
    "Two choices of four",
    "f(b) = (w.b - 0.6)^2 + sin(2 w.b), logits 0.5, 0, -0.5, 1 and -1, 0.3, 0.6, 0",
    _pairs,
    lambda b: (_weighted(b.flatten(-2)) - 0.6).square() + (2 * _weighted(b.flatten(-2))).sin(),
    [0.5, 0.0, -0.5, 1.0, -1.0, 0.3, 0.6, 0.0],
)
PROBLEMS = (ONE_COIN, FOUR_COINS, TWO_CHOICES)


def names(problem: Problem) -> list[str]:
    """The methods that estimate this problem's gradient."""
    law = problem.law(problem.theta)
    serving = [name for name, method in METHODS.items() if isinstance(law, method.serves) and name != "vimco"]
    if len(relaxations.outcomes(law)) == 2:  # they leave one outcome out, and one weight that is normalised has no slope
        serving = [name for name in serving if name not in ("without_replacement_normalised", "beam_search")]
    return serving + ["measure_valued"] * isinstance(law, Bernoulli)


def settings(problem: Problem, name: str) -> dict[str, Any]:
    """What a method needs besides noise."""
    if name == "importance_sampled":
        return {"proposal": problem.law(problem.theta[None] / 2)}  # half-way to fair
    if name in ("relax", "lax"):
        return {"control": problem.control}
    if name == "sum_and_sample":
        return {"keep": problem.size}
    if name == "mapo":  # those in which f is largest
        every = relaxations.outcomes(problem.law(problem.theta))
        return {"memory": every[problem.cost(every).topk(problem.size).indices]}
    if name.startswith("without_replacement"):
        return {"size": problem.size}
    return {"size": max(problem.size, 2)} if name.startswith("unordered_set") else {}


def evaluations(problem: Problem, name: str) -> int:
    """How often one estimate calls f."""
    if name == "enumerate_all":
        return len(relaxations.outcomes(problem.law(problem.theta)))
    if name == "measure_valued":
        return 2 * len(problem.theta) * SAMPLES
    if "size" in settings(problem, name):
        return settings(problem, name)["size"]
    summed = problem.size if name in ("sum_and_sample", "mapo") else 0
    return summed + METHODS[name].evaluations * SAMPLES


def estimates(problem: Problem, name: str, draws: int, seed: int = 0) -> Float[Tensor, "draws P"]:
    """So many independent estimates, each from N = 2 samples; float64."""
    theta = problem.theta.expand(draws, -1)
    rng = Rng(seed, stream=12, dtype=torch.float64)
    if name == "measure_valued":
        return gradients.measure_valued(problem.objective, theta, rng.uniform(draws, 1, SAMPLES, len(problem.theta))[0])
    noise = rng.uniform(draws, 1, *relaxations.noise_shape(name, problem.law(problem.theta), SAMPLES))[0]
    return relaxations.estimator(name, **settings(problem, name))(problem.objective, theta, noise)


def measure(problem: Problem, name: str, draws: int, seed: int = 0) -> Accuracy:
    """Bias and variance against the exact gradient."""
    return gradients.bias_and_variance(estimates(problem, name, draws, seed), problem.exact)


def worst(accuracy: Accuracy) -> int:
    """The coordinate with the most significant bias."""
    return int(accuracy.z.abs().argmax())


def vimco(draws: int, samples: int = 3) -> Accuracy:
    """VIMCO against the exact gradient of its own objective, the bound of so many samples of one coin."""

    def bound(b: Tensor) -> Tensor:  # the samples as so many coins with one logit
        return ONE_COIN.cost(b.unsqueeze(-1)).logsumexp(-1) - torch.tensor(float(samples)).log()

    repeated = Expectation(lambda theta: Bernoulli(theta.expand(*theta.shape[:-1], samples)), bound)
    exact = relaxations.estimator("enumerate_all")(repeated, ONE_COIN.theta, None)
    noise = Rng(0, stream=12, dtype=torch.float64).uniform(draws, 1, samples, 1)[0]
    found = relaxations.estimator("vimco")(ONE_COIN.objective, ONE_COIN.theta.expand(draws, -1), noise)
    return gradients.bias_and_variance(found, exact)


def page(draws: int = 100_000) -> str:
    """The table, in Markdown."""
    lines = [
        "# Estimators for discrete variables",
        "",
        "Bias and variance of every method of `pgcourse.relaxations`, against the exact gradient by enumeration. Written by",
        "`python -m pgcourse.estimator_table > docs/estimators.md`; a test compares it with what the code does now.",
        "",
        f"{draws:,} independent estimates each, N = {SAMPLES} samples, temperature 0.5. Bias: of the coordinate where it is",
        "most significant, with its standard error and their ratio z. Variance: summed over the coordinates. Cost: evaluations",
        "of f by one estimate (RELAX and LAX evaluate their control besides, Gumbel-Rao draws 4 conditional samples). The last",
        "column makes the variances comparable: it is about that of an estimator that may evaluate f once. Orders: whether in",
        "a `stochastic.Graph` all derivatives are as right as the first, or there is a first only; second ones are compared",
        "with enumeration in `tests/test_stochastic.py`, for each method alone and in chains.",
        "",
        f"An estimator that is unbiased by proof must show |z| < {LIMIT:g}; by chance one here would exceed it less than once",
        "in a million tables. One that is biased by design shows its bias, or has one too small to be seen here: tests compare",
        "it with its exact value, by quadrature, on the one coin.",
    ]
    for problem in PROBLEMS:
        exact = ", ".join(f"{g:.4f}" for g in problem.exact.tolist())
        lines += ["", f"## {problem.name}", "", f"{problem.formula}. Exact gradient: {exact}.", ""]
        lines += [
            "| method | by proof | orders | bias | ± | z | variance | cost | variance x cost |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name in names(problem):
            lines.append(_row(problem, name, draws))
    found = vimco(draws)
    lines += [
        "",
        "## VIMCO",
        "",
        "Its objective is another: the bound E[log mean_n exp f(b_n)] of three samples, here of the one coin. Bias "
        f"{float(found.bias):.4f} ± {float(found.standard_error):.4f} (z = {float(found.z):.1f}), variance "
        f"{float(found.variance):.4f}.",
    ]
    return "\n".join(lines) + "\n"


def _row(problem: Problem, name: str, draws: int) -> str:
    cost = evaluations(problem, name)
    if name == "enumerate_all":
        return f"| {name} | exact | all | 0 | 0 | | 0 | {cost} | 0 |"
    found = measure(problem, name, draws)
    i, total = worst(found), float(found.variance.sum())
    orders = "all" if name in METHODS and METHODS[name].any_order else "1"
    if total < 1e-20:
        return f"| {name} | unbiased | {orders} | 0 | 0 | | 0 | {cost} | 0 |"
    by_proof = "unbiased" if name == "measure_valued" or METHODS[name].unbiased else "biased"
    numbers = f"{found.bias[i]:.4f} | {found.standard_error[i]:.4f} | {found.z[i]:.1f}"
    return f"| {name} | {by_proof} | {orders} | {numbers} | {total:.4f} | {cost} | {total * cost:.3f} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(page(), end="")
