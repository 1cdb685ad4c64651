"""Drawing for lecture 12: what would make its cells long and teaches nothing."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from torch import Tensor

from . import gradients, plots, relaxations
from .plots import COLORS
from .relaxations import OneHot
from .rng import Rng

CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64)
"""The three outcomes, as corners of a triangle."""

SHADES = ("#0072B2", "#009E73", "#CC79A7")
PAYS = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
TEMPERATURES = 10 ** torch.arange(-1, 1.01, 0.125, dtype=torch.float64)


def pays(b: Tensor) -> Tensor:
    """The cost of the top figure, curved between the corners; [..., 1, 3] -> [...]."""
    return (1.5 * (b @ PAYS)[..., 0]).square() + (b @ PAYS)[..., 0]


@lru_cache(maxsize=64)
def relaxed_gradient(favourite: float, points: int = 2**14) -> tuple[np.ndarray, np.ndarray]:
    """Length of the bias, and root of the summed variance, of the Gumbel-softmax gradient of ``pays`` at each temperature.

    From Sobol points, which fill the cube evenly: the bias is small beside the noise that random ones would have.
    """
    logits = torch.tensor([favourite, 0.0, -0.5], dtype=torch.float64)
    objective = gradients.Expectation(cast(Any, lambda theta: OneHot(theta.unsqueeze(-2))), pays)
    exact = relaxations.estimator("enumerate_all")(objective, logits, None)
    noise = (
        torch.quasirandom.SobolEngine(3, scramble=True, seed=0).draw(points, dtype=torch.float64).reshape(points, 1, 1, 1, 3)
    )
    bias, spread = [], []
    for temperature in TEMPERATURES.tolist():
        estimate = relaxations.estimator("gumbel_softmax", temperature=temperature)
        found = gradients.bias_and_variance(estimate(objective, logits.expand(points, 3), noise), exact)
        bias.append(float(found.bias.norm()))
        spread.append(float(found.variance.sum().sqrt()))
    return np.array(bias), np.array(spread)


def simplex(axes: Sequence[Axes], log10_temperature: float = -0.25, favourite: float = 1.0, again: int = 0) -> None:
    """Relaxed samples in the triangle of three outcomes; beside them bias and noise of the gradient for every temperature."""
    left, right = axes
    temperature = 10**log10_temperature
    logits = torch.tensor([favourite, 0.0, -0.5], dtype=torch.float64)
    z = logits + relaxations.gumbel(Rng(again + 1, stream=12, dtype=torch.float64).uniform(600, 3)[0])
    point, winner = (z / temperature).softmax(-1), z.argmax(-1)
    outline = CORNERS[[0, 1, 2, 0]]
    left.plot(*outline.T, color="#555555", linewidth=1.5)
    for k, name in enumerate("ABC"):
        share, p = (winner == k).double().mean(), logits.softmax(0)[k]
        left.plot(*(point[winner == k] @ CORNERS).T, "o", color=SHADES[k], markersize=5, alpha=0.45, markeredgewidth=0)
        x, y = CORNERS[k].tolist()
        left.text(x, y + (0.05 if k == 2 else -0.19), f"{name}\n{share:.0%} ({p:.0%})", ha="center")
    left.set(xlim=(-0.16, 1.16), ylim=(-0.22, 1.08), aspect="equal", title=f"600 samples, temperature {temperature:.2g}")
    left.axis("off")

    bias, spread = relaxed_gradient(favourite)
    x = TEMPERATURES.numpy()
    for values, paint, label in ((bias, "biased", "its bias"), (spread, "pathwise", "its noise, one sample")):
        right.plot(x, values, color=COLORS[paint], label=label)
        here = float(np.interp(log10_temperature, np.log10(x), values))
        right.plot(temperature, here, "o", color=COLORS[paint], markersize=11)
    right.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(3e-3, 10), xlabel="temperature")
    right.set(ylabel="length of the error", title="The gradient through them")
    plots.legend(right, loc="lower left")


SIMPLEX = {
    "size": (8.5, 4.6),
    "columns": 2,
    "log10_temperature": (-1.0, 1.0, 0.125),
    "favourite": (0.0, 2.0, 0.25),
    "again": "draw again",
}
"""How ``widgets.movable`` shows ``simplex``."""


def chord(axes: Sequence[Axes], cost: Callable[[Tensor], Tensor], probability: float = 0.8) -> None:
    """A cost between 0 and 1: the chord that the truth needs, the two tangents that straight-through averages; and for every p
    what both make of it."""
    left, right = axes
    b = torch.linspace(-0.1, 1.1, 200, dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64).requires_grad_()
    value = cost(ends[:, None])
    slope = torch.autograd.grad(value.sum(), ends)[0]
    f0, f1 = value.tolist()
    left.plot(b, cost(b[:, None]), color=COLORS["finite_differences"], label="f")
    left.plot([0, 1], [f0, f1], "o-", color=COLORS["exact"], label="chord: f(1) - f(0)")
    for end, height, tilt, weight in zip((0, 1), (f0, f1), slope.tolist(), (1 - probability, probability), strict=True):
        near = np.array([end - 0.1, end + 0.25] if end == 0 else [end - 0.25, end + 0.1])
        label = "tangents, as often as drawn" if end == 0 else None
        left.plot(near, height + tilt * (near - end), color=COLORS["biased"], linewidth=1 + 6 * weight, alpha=0.8, label=label)
    low, high = left.get_ylim()
    left.set(
        xlabel="b", ylabel="cost", xlim=(-0.12, 1.12), ylim=(low - 0.45 * (high - low), high), title=f"p = {probability:.2f}"
    )
    plots.legend(left, loc="lower right")
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    truth, through = p * (1 - p) * (f1 - f0), p * (1 - p) * (p * slope[1] + (1 - p) * slope[0])
    right.plot(p, truth, color=COLORS["exact"], label="exact")
    right.plot(p, through, color=COLORS["biased"], label="straight-through, mean")
    for curve, paint in ((truth, "exact"), (through, "biased")):
        right.plot(probability, np.interp(probability, p, curve), "o", color=COLORS[paint], markersize=11)
    right.axhline(0, color="#999999", linewidth=0.8)
    low, high = right.get_ylim()
    right.set(xlabel="p", ylabel="slope by the logit", xlim=(0, 1), ylim=(low - 0.3 * (high - low), high))
    right.set_title("Right only where the tangents\naverage to the chord")
    plots.legend(right, loc="lower right")


CHORD = {"size": (8.5, 4.4), "columns": 2, "probability": (0.02, 0.98, 0.02)}
"""How ``widgets.movable`` shows ``chord``."""


def comparison(
    axes: Sequence[Axes], bias: Mapping[str, tuple[float, float]], noise: Mapping[str, float], paints: Mapping[str, str]
) -> None:
    """Left each estimator's bias with two standard errors, right its variance at equal cost ("none" where it is 0)."""
    left, right = axes
    for row, (name, (mean, error)) in enumerate(list(bias.items())[::-1]):
        paint = COLORS[paints[name]]
        left.errorbar(mean, row, xerr=2 * error, fmt="o", color=paint, markersize=7, capsize=3)
        if noise[name] > 1e-20:
            right.plot(noise[name], row, "o", color=paint, markersize=8)
        else:
            right.text(0.02, row, "none", color=paint, va="center", transform=right.get_yaxis_transform())
    left.axvline(0, color=COLORS["exact"], linewidth=1.5)
    left.set_yticks(range(len(bias)), [name.replace("_", " ") for name in list(bias)[::-1]])
    left.set(xlabel="bias / length of the gradient", title="Bias")
    right.set(xscale="log", xlabel="variance x evaluations", title="Noise at equal cost", yticks=range(len(bias)))
    right.set_yticklabels([])
    right.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    right.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_ylim(left.get_ylim())


def panels(axes: np.ndarray, x: Sequence[int], curves: Mapping[str, Float[Tensor, "R N"]], paints: Mapping[str, str]) -> None:
    """Each estimator's curves over replicas in a panel of its own, on one scale."""
    for ax, (name, y) in zip(np.ravel(axes), curves.items(), strict=True):
        plots.band(ax, x, y, color=paints[name])
        ax.get_legend().remove()
        ax.set_title(f"{name.replace('_', ' ')}", fontsize=12)


def pictures(ax: Axes, rows: Mapping[str, Float[Tensor, "N H W"]]) -> None:
    """Rows of small grey pictures, N side by side."""
    height, _ = next(iter(rows.values())).shape[1:]
    strips = [torch.nn.functional.pad(images, (1, 1, 1, 1)).movedim(0, 1).flatten(1) for images in rows.values()]
    ax.imshow(1 - torch.cat(strips).numpy(), cmap="gray", vmin=0, vmax=1, aspect="equal")
    ax.set_yticks([(height + 2) * (i + 0.5) - 0.5 for i in range(len(rows))], list(rows))
    ax.set_xticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)
