"""Drawing for lecture 13, and the three coins of its first figure."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

from . import plots
from .distributions import Bernoulli
from .plots import COLORS
from .relaxations import outcomes
from .rng import Rng

Place = tuple[float, float]

# ------------------------------------------------------------------------------------------------------------- graphs


def graph(
    ax: Axes,
    stochastic: Mapping[str, Place],
    costs: Mapping[str, Place],
    edges: Iterable[str],
    *,
    others: Mapping[str, Place] | None = None,
    paints: Mapping[str, str] | None = None,
    plates: Mapping[str, tuple[float, float, float, float]] | None = None,
) -> None:
    """A graph: circles are drawn at random, diamonds are paid, boxes (``others``) are computed; plates frame what is repeated.

    Places are in inches or so. edges: "x y" for an arrow from x to y. paints: colours of nodes, from plots.COLORS. plates:
    name -> left, bottom, width, height.
    """
    paints, others = paints or {}, others or {}
    places = {**others, **stochastic, **costs}
    for name, (left, bottom, width, height) in (plates or {}).items():
        ax.add_patch(
            FancyBboxPatch((left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.12", fc="none", ec="#757575")
        )
        ax.text(left + width - 0.08, bottom + 0.08, name, ha="right", va="bottom", color="#555555")
    for edge in edges:
        start, end = (torch.tensor(places[name], dtype=torch.float64) for name in edge.split())
        gap = 0.3 * (end - start) / (end - start).norm()
        ends = ((start + gap).tolist(), (end - gap).tolist())
        ax.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=16, shrinkA=0, shrinkB=0, color="#555555"))
    for name, (x, y) in places.items():
        look = {"facecolor": "white", "edgecolor": "#555555", "linewidth": 1.5, "zorder": 3}
        if name in paints:
            look |= {"facecolor": COLORS[paints[name]], "edgecolor": COLORS["exact"]}
        if name in stochastic:
            patch = Circle((x, y), 0.27, **look)
        elif name in costs:
            patch = Rectangle((x - 0.2, y - 0.2), 0.4, 0.4, angle=45, rotation_point="center", **look)
        else:
            patch = Rectangle((x - 0.24, y - 0.24), 0.48, 0.48, **look)
        ax.add_patch(patch)
        ax.text(x, y, name, ha="center", va="center", zorder=4, color="white" if name in paints else "black")
    corners = [(x + dx, y + dy) for x, y in places.values() for dx, dy in ((-0.45, -0.4), (0.45, 0.4))]
    corners += [
        (left + dx * w, bottom + dy * h) for left, bottom, w, h in (plates or {}).values() for dx in (0, 1) for dy in (0, 1)
    ]
    (low_x, high_x), (low_y, high_y) = ((min(side), max(side)) for side in zip(*corners, strict=True))
    ax.set(xlim=(low_x - 0.05, high_x + 0.05), ylim=(low_y - 0.05, high_y + 0.05), aspect="equal")
    ax.axis("off")


# ---------------------------------------------------------------------------------------------------- who answers for what

COINS, PRICES = "ABC", ("f", "g", "h")
SETS = 400
ROWS = {"every cost": "score_function", "what it reaches": "baseline", "its own cost": "biased"}
"""Ways to weigh a coin, and their colours."""


def three_coins(
    theta: Float[Tensor, "*#N 3"], b: Float[Tensor, "*N 3"], wire: bool
) -> tuple[Float[Tensor, "*N 3"], Float[Tensor, "*N 3"]]:
    """log p of each of three coins, and the cost that stands below each.

    B leans on A, and C on B where there is a wire between them; theta is added to their logits. f = 3 + 3 a, g = 2 + 2 b,
    h = 1 + 3 c.
    """
    lean = torch.stack([torch.zeros_like(b[..., 0]), 3 * b[..., 0] - 1.5, float(wire) * (3 * b[..., 1] - 1.5)], -1)
    log_probability = Bernoulli((theta + lean).unsqueeze(-1)).log_prob(b.unsqueeze(-1))
    price = torch.tensor([3.0, 2.0, 3.0], dtype=b.dtype) * b + torch.tensor([3.0, 2.0, 1.0], dtype=b.dtype)
    return log_probability, price


def reached(wire: bool) -> Float[Tensor, "3 3"]:
    """Which of the costs [cost] depend on each of the coins [coin, cost]."""
    return torch.tensor([[1, 1, wire], [0, 1, wire], [0, 0, 1]], dtype=torch.float64)


def estimates(wire: bool, tosses: int, seed: int) -> tuple[dict[str, Float[Tensor, "sets 3"]], Float[Tensor, "3"]]:
    """Score-function estimates of dJ/dtheta at theta = 0, from so many tosses each, for every way to weigh; and the truth."""
    zero = torch.zeros(3, dtype=torch.float64)
    noise = Rng(seed, stream=13, dtype=torch.float64).uniform(SETS, tosses, 3)[0]
    b = torch.zeros_like(noise)
    for i in range(3):  # a coin's logit depends on the coins before it
        p_if_one, _ = three_coins(zero, b.index_fill(-1, torch.tensor([i]), 1.0), wire)
        b[..., i] = (noise[..., i] < p_if_one[..., i].exp()).double()
    log_probability, price = three_coins(zero, b, wire)
    score = b - torch.where(b > 0.5, log_probability.exp(), 1 - log_probability.exp())
    ways = (torch.ones(3, 3).double(), reached(wire), torch.eye(3).double())
    found = {name: (score * (price @ way.T)).mean(1) for name, way in zip(ROWS, ways, strict=True)}
    every = outcomes(Bernoulli(zero))

    def J(theta: Tensor) -> Tensor:
        log_probability, price = three_coins(theta, every, wire)
        return (log_probability.sum(-1).exp() * price.sum(-1)).sum()

    return found, torch.func.grad(J)(zero)


def credit(axes: Sequence[Axes], coin: str = "B", wire: bool = True, tosses: int = 10, again: int = 0) -> None:
    """Three coins and three costs; which costs one coin reaches, and its slope estimated with three ways of weighing it."""
    left, right = axes
    i = COINS.index(coin)
    answers = [price for price, reaches in zip(PRICES, reached(wire)[i], strict=True) if reaches]
    graph(
        left,
        {name: (1.3 * k, 1.3) for k, name in enumerate(COINS)},
        {name: (1.3 * k, 0.0) for k, name in enumerate(PRICES)},
        ["A B", "A f", "B g", "C h"] + ["B C"] * wire,
        paints=dict.fromkeys(answers, "baseline") | {coin: "score_function"},
    )
    left.set_title(f"{coin} answers for {', '.join(answers)}")

    found, truth = estimates(wire, tosses, again + 1)
    edges = np.linspace(-4, 4, 41)
    for row, (name, paint) in enumerate(list(ROWS.items())[::-1]):
        values = found[name][:, i].numpy()
        height, _ = np.histogram(values.clip(-3.9, 3.9), edges)
        right.bar(edges[:-1], 0.8 * height / height.max(), width=0.2, bottom=row, align="edge", color=COLORS[paint])
        right.plot(values.mean(), row - 0.09, "^", color=COLORS[paint], markersize=9)
        right.text(3.95, row + 0.68, f"deviation {values.std():.2f}", ha="right", fontsize=12)
    right.axvline(float(truth[i]), color=COLORS["exact"], label="exact")
    right.set_yticks([0.3, 1.3, 2.3], [name.replace(" ", "\n", 1) for name in list(ROWS)[::-1]])
    right.set(xlim=(-4, 4), ylim=(-0.25, 3), xlabel=f"slope by {coin}'s logit; triangles: means")
    right.set_title(f"{SETS} estimates from {tosses} toss{'es' * (tosses > 1)} each")
    plots.legend(right, loc="upper left")


CREDIT = {
    "size": (8.5, 4.3),
    "columns": 2,
    "coin": list(COINS),
    "wire": True,
    "tosses": (1, 100),
    "again": "toss again",
}
"""How ``widgets.movable`` shows ``credit``."""


# --------------------------------------------------------------------------------------------------------------- the rest

DIGITS = (
    "### .#. ### ### #.# ### ### ### ### ###",
    "#.# ##. ..# ..# #.# #.. #.. ..# #.# #.#",
    "#.# .#. ### .## ### ### ### .#. ### ###",
    "#.# .#. #.. ..# ..# ..# #.# .#. #.# ..#",
    "### ### ### ### ..# ### ### .#. ### ###",
)
"""0 to 9 on 3 by 5 pixels, side by side: those of lecture 12."""


def digits() -> Float[Tensor, "10 15"]:
    """The ten digits, 1 where there is ink."""
    rows = [[[pixel == "#" for pixel in digit] for digit in row.split()] for row in DIGITS]
    return torch.tensor(rows).movedim(1, 0).flatten(1).float()


def bends(
    axes: Iterable[Axes],
    x: Sequence[float],
    exact: Float[Tensor, "N 2"],
    measured: Mapping[str, Float[Tensor, "R N 2"]],
    paints: Mapping[str, str],
) -> None:
    """Two second derivatives against a parameter, exact and estimated in several ways over replicas."""
    for i, (ax, title) in enumerate(zip(axes, ("by θ₀ twice", "by θ₀ and θ₁"), strict=True)):
        ax.plot(x, exact[:, i], color=COLORS["exact"], linewidth=5, alpha=0.35, label="exact")
        for name, y in measured.items():
            plots.band(ax, x, y[..., i], label=name, color=paints[name], thin=False)
        low, high = ax.get_ylim()
        ax.set(ylim=(low, high + 0.45 * (high - low)), xlabel="θ₀", ylabel="second derivative of J", title=title)
        plots.legend(ax, loc="upper left")
