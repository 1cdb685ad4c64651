"""Drawing for lecture 01: what would make its cells long and teaches nothing."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from . import exact, plots, policies, returns
from .envs.tabular import ACTIONS, Tabular, aliased_gridworld
from .plots import COLORS
from .rng import Rng
from .rollout import episodes

DISCOUNT = 0.9
LOOKS = ("left end", "grey cell", "middle", "right end", "end of the walk")
"""What the walker of the aliased gridworld can see."""

_ARROWS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # up, right, down, left on paper


def walker(q: float | Tensor) -> Float[Tensor, "*batch O A"]:
    """Right with probability q in the grey cells, else left; in the others what leads to the treasure: probabilities."""
    q = torch.as_tensor(q, dtype=torch.float64)
    table = q.new_zeros(*q.shape, len(LOOKS), len(ACTIONS))
    table[..., [0, 2, 3, 4], [1, 2, 3, 0]] = 1
    table[..., 1, 1], table[..., 1, 3] = q, 1 - q
    return table


def corridor(ax: Axes, table: Float[Tensor, "O A"], world: Tabular | None = None) -> None:
    """The aliased gridworld from above; an arrow is as long as the step is likely."""
    seen = (world or aliased_gridworld()).observation.argmax(-1)
    for cell in range(5):
        look = int(seen[cell])
        paper = "#c8c8c8" if look == 1 else "#ffffff"
        ax.add_patch(Rectangle((cell, 0), 1, 1, facecolor=paper, edgecolor="#222222", linewidth=1.5))
        ax.text(cell + 0.07, 0.93, str(cell), ha="left", va="top", fontsize=12, color="#444444")
        for (across, up), probability in zip(_ARROWS, table[look].tolist(), strict=True):
            if probability > 0.005:
                size = 5 + 8 * probability**0.5
                tip = {"headwidth": size, "headlength": 0.8 * size, "width": 0.4 * size, "shrink": 0}
                begin, end = 0.03, 0.13 + 0.3 * probability
                middle = (cell + 0.5, 0.5)
                tail, head = ((middle[0] + far * across, middle[1] + far * up) for far in (begin, end))
                ax.annotate("", head, tail, arrowprops=tip | {"color": COLORS["score_function"]}, zorder=3)
        if look == 1:
            words = f"← {table[look, 3]:.0%}\n→ {table[look, 1]:.0%}"
            ax.text(cell + 0.5, -0.1, words, ha="center", va="top", fontsize=12)
    for cell, words, paper in ((0, "pit\n−1", "#f4c7a8"), (2, "treasure\n+1", "#fff0b3"), (4, "pit\n−1", "#f4c7a8")):
        ax.add_patch(Rectangle((cell, -1), 1, 1, facecolor=paper, edgecolor="#222222", linewidth=1.5))
        ax.text(cell + 0.5, -0.55, words, ha="center", va="center", fontsize=12)
    ax.set(xlim=(-0.05, 5.05), ylim=(-1.05, 1.05), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    ax.grid(False)


@cache
def _curve() -> tuple[Tensor, Tensor]:
    """J(q), exactly, at 201 values of q."""
    world, q = aliased_gridworld(), torch.linspace(0, 1, 201, dtype=torch.float64)
    return q, exact.expected_return(world, exact.on_observations(world, walker(q)), DISCOUNT)


def mixture(axes: Sequence[Axes], right: float = 0.25, walks: int = 10, again: int = 0) -> None:
    """The corridor with a policy, and J over all such policies, with sixteen Monte Carlo estimates and the slope.

    ``right``: the probability of going right in the two grey cells.
    """
    picture, ax = axes
    corridor(picture, walker(right))
    picture.set_title("The two grey cells look alike,\nso they share one policy")
    q, J = _curve()
    ax.plot(q, J, color=COLORS["exact"], label="J, exactly")
    here = round(right * (len(q) - 1))
    inside = min(max(here, 1), len(q) - 2)
    slope = float(J[inside + 1] - J[inside - 1]) / float(q[inside + 1] - q[inside - 1])
    if abs(slope) > 1e-9:
        run = 0.22 * np.sign(slope) / (1 + slope**2) ** 0.5
        line = {"arrowstyle": "-|>,head_width=0.4,head_length=0.8", "color": COLORS["exact"], "linewidth": 3}
        ax.annotate("", (right + run, J[here] + slope * run), (right, float(J[here])), arrowprops=line, zorder=4)
    ax.plot([], [], color=COLORS["exact"], linewidth=4, label="uphill: the gradient, exactly")
    ax.plot(right, J[here], "o", color=COLORS["exact"], markersize=17, fillstyle="none", markeredgewidth=2, zorder=5)
    many = f"{walks} walks" if walks > 1 else "1 walk"
    dots = {"color": COLORS["sample"], "alpha": 0.7, "markersize": 9, "markeredgecolor": "white", "zorder": 6}
    ax.plot(np.full(16, right), averages(right, walks, again), "o", label=f"16 averages of {many} each", **dots)
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.15), xlabel="probability of going right, q", ylabel="J, expected return")
    ax.set_title(
        f"J = {float(J[here]):.2f}, slope {slope:+.2f}" if abs(slope) > 0.005 else f"J = {float(J[here]):.2f}, slope 0"
    )
    plots.legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.22))


MIXTURE = {
    "size": (8.5, 4.7),
    "columns": 2,
    "right": (0.0, 1.0, 0.05),
    "walks": [1, 10, 100, 1000],
    "again": "walk again",
}
"""How ``widgets.movable`` shows ``mixture``."""


def averages(right: float, walks: int, again: int = 0) -> Float[Tensor, "R"]:
    """Mean returns of so many walks each, for sixteen replicas."""
    rng = Rng(range(16), stream=again + 1)
    policy = policies.Categorical(rng, len(LOOKS), len(ACTIONS), hidden=())
    policy.body.weights[0].data[:] = walker(right).clamp(min=1e-12).log()
    batch = episodes(aliased_gridworld(), policy, rng, walks)
    return returns.discounted(batch.reward, DISCOUNT, batch.valid).mean(1)


def levels(ax: Axes, lines: Mapping[str, float]) -> None:
    """J over the probability of going right, and what other policies earn as horizontal lines, each with its name."""
    q, J = _curve()
    ax.plot(q, J, color=COLORS["exact"])
    ax.plot(float(q[J.argmax()]), float(J.max()), "o", color=COLORS["exact"], markersize=10)
    for name, value in lines.items():
        ax.axhline(value, color=COLORS["exact"], linestyle="--", linewidth=1.2)
        ax.text(0.5, value + 0.02, f"{name}: {value:.4f}", ha="center", fontsize=13)
    ax.set(xlim=(0, 1), ylim=(0.3, 1), xlabel="probability of going right in the grey cells, q", ylabel="J, expected return")


def errors(ax: Axes, walks: Sequence[int], squared: Float[Tensor, "R N"], deviation: float) -> None:
    """Root mean squared error of averages against the number of walks in each, and deviation / sqrt(walks).

    squared: the mean squared error of each replica. Its mean over replicas has no bias, and its root is drawn; the mean of
    the roots would be too small where a replica has few averages.
    """
    paint = COLORS["sample"]
    ax.plot(walks, squared.sqrt().T, color=paint, alpha=0.35, linewidth=0.8)
    low, high = plots.bootstrap_interval(squared)
    ax.fill_between(walks, low**0.5, high**0.5, color=paint, alpha=0.3, linewidth=0)
    ax.plot(walks, squared.mean(0).sqrt(), color=paint, linewidth=2.5, label=f"measured: {len(squared)} replicas")
    exactly = deviation / np.sqrt(np.asarray(walks))
    ax.plot(walks, exactly, "--", color=COLORS["exact"], label="σ / √N, computed")
    ax.set(xscale="log", yscale="log", xlabel="walks in an average, N", ylabel="typical error of the average")
    _key(ax, paint, single=True)


def searches(axes: Sequence[Axes], climb: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[Tensor]]]) -> None:
    """J of the best policy so far, [R, try], the first of what each search returns; one panel for each kind of score."""
    for ax, (title, runs) in zip(axes, panels.items(), strict=True):
        ax.plot(range(len(climb)), climb, color=COLORS["exact"], label="along the gradient")
        for (name, run), paint in zip(runs.items(), ("other", "sample"), strict=True):
            plots.band(ax, range(len(climb)), run[0], label=name, color=paint, thin=False)
        ax.set(xlabel="policies tried", title=title)
        _key(ax, COLORS["finite_differences"], loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0].set_ylabel("J of the best, exactly")


def _key(ax: Axes, paint: str, single: bool = False, **place: Any) -> None:
    """A legend that says what band and thin lines are."""
    ax.fill_between([], [], color=paint, alpha=0.3, linewidth=0, label="95 % interval of the mean")
    if single:
        ax.plot([], [], color=paint, alpha=0.6, linewidth=0.8, label="single replicas")
    plots.legend(ax, **place)


def directions(ax: Axes, parameters: Sequence[int], share: Float[Tensor, "R N"]) -> None:
    """What the best of ten random directions climbs, as a share of what the gradient does, against the number of parameters."""
    plots.band(ax, parameters, share, label="best of ten directions", color="sample")
    ax.plot(parameters, [1.54 / n**0.5 for n in parameters], "--", color=COLORS["exact"], label="1.54 / √n")
    ax.set(xscale="log", yscale="log", xlabel="parameters, n", ylabel="share of the\ngradient's climb", ylim=(0.03, 0.6))
    ax.set_xticks(parameters, [str(n) for n in parameters])
    ax.set_yticks([0.05, 0.1, 0.2, 0.5], ["5 %", "10 %", "20 %", "50 %"])
    ax.minorticks_off()
    _key(ax, COLORS["sample"], single=True)


def triangle(ax: Axes, points: Float[Tensor, "N 3"], value: Float[Tensor, " N"]) -> None:
    """Winnings over all mixtures of three moves: corners always play one, the middle plays each as often."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
    across, up = (points.numpy() @ corners).T
    levels = np.linspace(float(value.min()) - 1e-6, 0, 10)
    filled = ax.tricontourf(across, up, value.numpy(), levels=levels, cmap="Greys_r")
    cast(Figure, ax.get_figure(root=True)).colorbar(filled, ax=ax, label="J, points in ten rounds", format="%.0f")
    best, blue = points[value.argmax()].numpy() @ corners, COLORS["score_function"]
    ax.plot(*best, "o", color=blue, markersize=13, markeredgecolor="white")
    ax.text(
        best[0] + 0.04, best[1] + 0.04, f"J = {max(float(value.max()), 0.0):.0f}", fontsize=14, color=COLORS["score_function"]
    )
    for corner, words, side in zip(corners, ("rock", "paper", "scissors"), ("right", "left", "center"), strict=True):
        ax.text(corner[0], corner[1] + (0.03 if side == "center" else -0.07), f"always {words}", ha=side, fontsize=13)
    ax.set(xlim=(-0.45, 1.45), ylim=(-0.12, 1.0), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    ax.grid(False)


@torch.no_grad()
def heads(axes: Sequence[Axes], bodies: Sequence[torch.nn.Module], observation: Float[Tensor, " N"]) -> None:
    """What three policies say about observations of one number: an action, a density, three probabilities."""
    alone, dense, split = axes
    blue = COLORS["score_function"]
    one, normal, choice = (body(observation.reshape(1, -1, 1)) for body in bodies)
    alone.plot(observation, one.value[0, :, 0], color=blue)
    alone.set_title("deterministic:\none action")
    mean, deviation = normal.mean[0, :, 0], normal.std[0, :, 0]
    for width, alpha in ((2, 0.2), (1, 0.35)):
        dense.fill_between(
            observation, mean - width * deviation, mean + width * deviation, color=blue, alpha=alpha, linewidth=0
        )
    dense.plot(observation, mean, color=blue)
    dense.set_title("Gaussian:\nmean, 1 and 2 spreads")
    for ax in (alone, dense):
        ax.set(ylim=(-2.6, 2.6))
    alone.set_ylabel("action, a number")
    share = choice.probabilities[0]  # [N, 3]
    split.stackplot(observation, share.T, colors=[COLORS["sample"], "#dddddd", COLORS["other"]], alpha=0.85)
    inside = slice(len(observation) // 5, -(len(observation) // 5))  # where a name does not leave the axes
    for i, name in enumerate(("left", "right", "brake")):
        widest = int(share[inside, i].argmax()) + inside.start  # a name stands where its choice is likeliest
        middle = float(share[widest, :i].sum() + share[widest, i] / 2)
        split.text(float(observation[widest]), middle, name, ha="center", va="center", fontsize=13)
    split.set(ylim=(0, 1), ylabel="probability", title="categorical:\none of three")
    split.grid(False)
    for ax in axes:
        ax.set(xlabel="observation", xlim=(float(observation[0]), float(observation[-1])))
