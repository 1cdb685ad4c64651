"""Drawing for single lectures: what would make their cells long and teaches nothing. One section per lecture.

What moves is a function ``draw(axes, ..., **controls)`` for ``widgets.movable``; the controls start at its defaults.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from . import exact, gradients, nn, plots, policies, returns, rollout
from .envs.tabular import Tabular
from .plots import COLORS
from .rng import Rng

# ------------------------------------------------------------------------------------------------------------ Lecture 03

Landscape = Callable[[Tensor], Tensor]
"""f: landing places [..., 2] in metres -> points [...]."""

REACH = 2.2
"""Half the width of the part of the wall that is drawn, metres."""

PULL = 0.2
"""Metres of arrow for a pull of one point per metre; the legend says "drawn at one fifth"."""

BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.19)}
"""A legend under the axes, where it covers nothing."""


def darts(
    axes: Sequence[Axes],
    points: Landscape,
    across: float = -1.0,
    up: float = -0.6,
    spread: float = 0.6,
    throws: int = 12,
    factor: float = 1.0,
    subtract: float = 0.0,
    again: int = 0,
) -> None:
    """Darts around an aim, the arrow with which each pulls it; beside them the average arrow and the exact gradient.

    Left: ``throws`` darts around the aim (across, up), each with its pull (factor f(x) - subtract) (x - aim) / spread^2.
    Right: the mean of these pulls, the exact gradient, and the means of 300 other sets of as many throws. Its axes reach to 3,
    6 or 12 points per metre: as far as both arrows and nine tenths of the cloud do.
    """
    left, right = axes
    aim = torch.tensor([across, up], dtype=torch.float64)
    landed = aim + spread * Rng(again + 1, stream=3).normal(301, throws, 2)[0]
    weight = factor * points(landed) - subtract
    pulls = weight[..., None] * (landed - aim) / spread**2  # (3.3), dart by dart
    paint = COLORS["baseline" if subtract else "score_function"]

    landscape(left, points)
    _pulls(left, landed[0], pulls[0], paint)
    gaussian(left, aim, spread)
    left.set_title("Rich darts pull the aim,\npoor ones push it" if subtract else "Each dart pulls the aim\nas hard as it paid")
    plots.legend(left, **BELOW)

    average, gradient = pulls.mean(1), factor * expected_pull(points, aim, spread)
    faint = {"color": paint, "alpha": 0.25, "markersize": 6, "markeredgewidth": 0}
    right.plot(*average[1:].T, "o", label="300 other averages", **faint)
    _arrow(right, average[0], paint, 0.03, "this average")
    _arrow(right, gradient, COLORS["exact"], 0.01, "exact gradient")  # narrower and on top: where they agree both are seen
    size = torch.cat([average, gradient[None]]).abs().amax(1)
    needed = max(size[0], size[-1], size.quantile(0.9)) * 1.05
    reach = next((each for each in (3, 6, 12) if each >= needed), float(needed))
    right.axhline(0, color="#999999", linewidth=0.8)
    right.axvline(0, color="#999999", linewidth=0.8)
    right.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    right.set(xlabel="pull across (points per metre)", ylabel="pull up (points per metre)")
    right.set_title(f"The average of {throws} pull{'s' * (throws > 1)}\nestimates the gradient")
    plots.legend(right, **BELOW)


DARTS = {
    "size": (8.4, 5.6),
    "columns": 2,
    "across": (-2.0, 2.0, 0.1),
    "up": (-2.0, 2.0, 0.1),
    "spread": (0.3, 1.2, 0.1),
    "throws": (1, 200),
    "factor": (0.5, 2.0, 0.5),
    "subtract": (0.0, 2.0, 0.1),
    "again": "throw again",
}
"""How ``widgets.movable`` shows ``darts``: the size of its figure, and its controls."""


def expected_pull(points: Landscape, aim: Float[Tensor, "2"], spread: float, step: float = 0.04) -> Float[Tensor, "2"]:
    """The exact gradient of the average points by the aim, from a sum over a fine grid of landing places."""
    axis = torch.arange(-5, 5, step, dtype=aim.dtype) + step / 2
    offset = torch.cartesian_prod(axis, axis)  # in spreads
    density = (-offset.square().sum(-1) / 2).exp() * step**2 / (2 * math.pi)
    return ((density * points(aim + spread * offset))[:, None] * offset / spread).sum(0)


def landscape(ax: Axes, points: Landscape) -> None:
    """f in greys, with its levels written on it where they are few."""
    axis = torch.linspace(-REACH, REACH, 300, dtype=torch.float64)
    value = points(torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1))
    low, high = float(value.min()), float(value.max())
    pale = {"cmap": "Greys", "vmin": low, "vmax": low + 1.9 * max(high - low, 1e-9)}
    ax.imshow(value.numpy(), origin="lower", extent=(-REACH, REACH) * 2, **pale)
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xlabel="metres across", ylabel="metres up")
    ax.set(xticks=range(-2, 3), yticks=range(-2, 3))
    ax.grid(False)
    diagonal = value.flipud().diagonal()[150:]  # from the middle to the lower right
    for level in diagonal.unique() if len(value.unique()) <= 8 else ():
        away = float(axis[150:][diagonal == level].mean())
        ax.text(away, -away, f"{level:g}", ha="center", va="center", fontsize=15, color="#222222")


def gaussian(ax: Axes, mean: Tensor, spread: float, label: str = "the aim; 1 and 2 spreads") -> None:
    """A cross at the mean and circles at one and two standard deviations."""
    for radius in (1, 2):
        ax.add_patch(Circle(tuple(mean.tolist()), radius * spread, fill=False, linestyle="--", linewidth=1.4))
    ax.plot(*mean.tolist(), "+", color=COLORS["exact"], markersize=15, markeredgewidth=2.5, label=label)


def _pulls(ax: Axes, landed: Tensor, pull: Tensor, paint: str) -> None:
    many = len(landed) > 40
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "color": paint, "alpha": 0.35 if many else 0.85, "width": 0.008}
    ax.quiver(*landed.T, *(PULL * pull).T, label="its pull, drawn at one fifth", **look)
    ax.plot(*landed.T, "o", color=COLORS["sample"], markeredgecolor="white", markersize=5 if many else 8, label="a dart")


def _arrow(ax: Axes, arrow: Tensor, paint: str, width: float, label: str) -> None:
    """An arrow from the origin, in the units of the axes."""
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "edgecolor": "white", "linewidth": 0.8, "zorder": 4}
    head = {"headwidth": 3.2, "headlength": 3, "headaxislength": 2.8}
    ax.quiver(0, 0, *arrow.tolist(), color=paint, width=width, label=label, **look, **head)


def histograms(axes: Sequence[Axes], estimates: Mapping[str, Tensor], exact: float, span: tuple[float, float]) -> None:
    """One histogram of estimates [M] on each axes, all over the same span; their means, and the exact value.

    Bins are as wide as the estimates ask for. Where many estimates are exactly 0 they are a line of their own, which says how
    many; what lies beyond the span is said too.
    """
    blue = COLORS["score_function"]
    for ax, (name, values) in zip(axes, estimates.items(), strict=True):
        none, beyond = (values == 0).double().mean(), ((values < span[0]) | (values > span[1])).double().mean()
        rest = values[values != 0]
        bins = min(500, max(100, round(5 * (span[1] - span[0]) / float(values.std()))))
        counts, edges = np.histogram(rest, bins=bins, range=span)
        ax.stairs(counts, edges, fill=True, color=blue, alpha=0.6)
        if none > 0.005:
            ax.axvline(0, color=blue, linewidth=4)
            ax.text(-0.12, 1.4 * counts.max(), f"{none:.0%} are\nexactly 0", ha="right", va="top", fontsize=13)
        if beyond > 0.005:
            ax.text(span[1], 0.2 * counts.max(), f"{beyond:.1%} lie\nfarther out →", ha="right", fontsize=13)
        ax.axvline(exact, color=COLORS["exact"], linewidth=2, label="exact")
        mean = {"color": blue, "markeredgecolor": "white", "markersize": 15}
        ax.plot(values.mean(), 0.1 * counts.max(), "^", label="mean of the estimates", **mean)
        ax.set(xlim=span, ylim=(0, (1.5 if none > 0.005 else 1.1) * counts.max()), yticks=[], title=name)
    plots.legend(axes[0], loc="upper right")


def scores(
    ax: Axes, x: Float[Tensor, " N"], density: Float[Tensor, " N"], of_mean: Float[Tensor, " N"], of_spread: Float[Tensor, " N"]
) -> None:
    """The two scores of a Gaussian over x, and its density, enlarged."""
    ax.fill_between(x, 4 * density, color="#dddddd", label="density, enlarged")
    ax.plot(x, of_mean, label="score of the mean")
    ax.plot(x, of_spread, "--", color=COLORS["other"], label="score of the spread")
    ax.set(xlabel="x", ylabel="score", xlim=(float(x[0]), float(x[-1])), ylim=(-4.5, 8))
    plots.legend(ax, loc="lower right")


def nudges(axes: Sequence[Axes], changes: Sequence[Tensor], prize: Tensor) -> None:
    """What a step does to the outcome that was drawn: changes [outcome] of its probability with weight f, and with f - mean."""
    paints = (("weight f", "score_function"), ("weight f - average prize", "baseline"))
    for ax, change, (title, paint) in zip(axes, changes, paints, strict=True):
        bars = ax.bar(range(len(prize)), change.numpy(), color=COLORS[paint])
        ax.bar_label(bars, fmt="%+.3f", fontsize=12, padding=2)
        ax.axhline(0, color="#999999", linewidth=0.8)
        ax.margins(y=0.15)
        ax.set_xticks(range(len(prize)), [f"pays {each:g}" for each in prize.tolist()])
        ax.set_title(title)
    axes[0].set_ylabel("change of the drawn\noutcome's probability")


def baseline(axes: Sequence[Axes], pull: Tensor, score: Tensor, exact: float, subtract: float = 0.8) -> None:
    """Estimates with f and with f - b: their histograms, and the variance for every b.

    pull, score: one coordinate of the averages of f(x) grad log p(x) and of grad log p(x), [replica, set of throws]. The
    estimate with f - b is pull - b score.
    """
    left, right = axes
    grid = torch.linspace(0, 2.5, 60, dtype=pull.dtype)
    variance = (pull - grid[:, None, None] * score).var(-1)  # [b, replica]
    shown = {"with f": (pull, "score_function"), f"with f - {subtract:.1f}": (pull - subtract * score, "baseline")}
    for name, (values, paint) in shown.items():
        counts, edges = np.histogram(values, bins=70, range=(-2, 5))
        left.stairs(counts, edges, fill=True, color=COLORS[paint], alpha=0.5, label=name)
    left.axvline(exact, color=COLORS["exact"], linewidth=2, label="exact")
    left.set(xlim=(-2, 5), yticks=[], xlabel="estimate (points per metre)", title="The centre stays")
    left.set_ylim(0, 0.055 * pull.numel() / float(variance.mean(1).min().sqrt()))
    plots.legend(left, loc="upper right")

    plots.band(right, grid, variance.T, label="variance", thin=False)
    right.plot(subtract, (pull - subtract * score).var(-1).mean(), "o", color=COLORS["baseline"], markersize=14)
    right.set(xlim=(0, 2.5), ylim=(0, 1.25 * float(variance.mean(1).max())), xlabel="what is subtracted, b (points)")
    right.set(title="The width does not", ylabel="variance of one estimate")


def dimensions(ax: Axes, d: Tensor, measured: Mapping[int, Tensor], computed: Mapping[int, Tensor], signal: float) -> None:
    """Squared error of an estimate against the number of parameters d [D], for each number of throws N.

    measured: N -> [replica, D]; computed: N -> [D]; signal: the squared length of the gradient.
    """
    for throws, error in measured.items():
        plots.band(ax, d, error)
        ax.plot(d, computed[throws], "o", color=COLORS["exact"], fillstyle="none", markersize=11, zorder=4)
        ax.text(1.1 * d[-1], error[:, -1].mean(), f"N = {throws}", va="center", fontsize=14)
    ax.axhline(signal, color=COLORS["exact"], linestyle="--")
    ax.text(1.9 * d[-1], 0.85 * signal, "squared length of the gradient", ha="right", va="top", fontsize=13)
    ax.set(xscale="log", yscale="log", xlim=(0.9 * d[0], 2 * d[-1]))
    ax.set(xlabel="parameters, d", ylabel="squared error of an estimate")
    ax.set_xticks(d, [str(int(each)) for each in d])
    ax.minorticks_off()
    ax.get_legend().remove()


def aims(axes: Sequence[Axes], points: Landscape, path: Tensor, average: np.ndarray, spread: float, step: int = 0) -> None:
    """Learners' aims on their way over the landscape up to ``step``, and their average points.

    path: [step, replica, 2]; average: [replica, step]. The circles belong to replica 0.
    """
    left, right = axes
    landscape(left, points)
    left.plot(*path[: step + 1].movedim(-1, 0), color=COLORS["score_function"], linewidth=1, alpha=0.5)
    dots = {"color": COLORS["score_function"], "markeredgecolor": "white", "markersize": 7}
    left.plot(*path[step].T, "o", label=f"{path.shape[1]} aims", **dots)
    gaussian(left, path[step, 0], spread, label="one of them; 1 and 2 spreads")
    left.set_title(f"After {step} steps")
    plots.legend(left, **BELOW)
    plots.band(right, range(step + 1), average[:, : step + 1])
    right.set(xlim=(0, average.shape[1]), ylim=(0, 1.05 * average.max()), xlabel="steps", ylabel="points per throw")


# ------------------------------------------------------------------------------------------------------------ Lecture 04

PLACES = ("hut", "valley", "ridge", "home")
CHOICES = ("rest", "climb")
"""The two-step MDP as a mountain: what its states and its actions are called."""


def ascent(
    axes: Sequence[Axes],
    mdp: Tabular,
    *,
    updates: int = 10,
    episodes: int = 8,
    step_size: float = 0.5,
    seed: int = 0,
) -> None:
    """The eight paths up the mountain, before and after some steps of REINFORCE: their probabilities move, the paths do not."""
    rng = Rng(seed, stream=4, dtype=torch.float64)
    policy = policies.Categorical(rng, len(mdp.transition), len(CHOICES), hidden=())
    for parameter in policy.parameters():
        parameter.data.zero_()
    before = exact.action_probabilities(mdp, policy)[0].detach()
    optimizer = nn.SGD(policy, step_size)
    for _ in range(updates):
        batch = rollout.episodes(mdp, policy, rng, episodes)
        weight = returns.discounted(batch.reward, 1.0, valid=batch.valid)[:, None].expand_as(batch.reward)
        optimizer.step(-gradients.score_surrogate(policy(batch.observation).log_prob(batch.action), weight, batch.valid))
    mountain(axes, mdp, exact.action_probabilities(mdp, policy)[0].detach(), before)


def mountain(
    axes: Sequence[Axes],
    mdp: Tabular,
    now: Float[Tensor, "S A"],
    before: Float[Tensor, "S A"],
    walked: Sequence[str] = (),
) -> None:
    """Left the paths, as wide as they are likely under ``now``; right p(tau) under both. ``walked``: names of those tried."""
    tree, bars = axes
    walks = by_name(exact.trajectories(mdp, now))
    pay, names = returns.discounted(walks.reward, 1.0), path_names(walks)
    new, old = walks.probability, by_name(exact.trajectories(mdp, before)).probability
    _tree(tree, mdp, walks, pay)

    rows = np.arange(len(names))
    bars.barh(rows, old, 0.8, color="#dddddd", edgecolor="#999999", label="before")
    bars.barh(rows, new, 0.45, color=COLORS["score_function"], label="now")
    for row in [row for row, name in enumerate(names) if name in walked]:
        bars.text(float(max(new[row], old[row])) + 0.02, row, "walked", va="center", fontsize=13, fontweight="bold")
    bars.set(xlim=(0, 0.8), ylim=(7.6, -0.6), yticks=[], xlabel="probability of the path, p(τ; θ)")
    bars.set_title(f"J = {float((old * pay).sum()):.2f} before, {float((new * pay).sum()):.2f} now")
    plots.legend(bars, loc="center right")  # no path in the middle can be likelier than 1/4


def by_name(paths: exact.Trajectories) -> exact.Trajectories:
    """The mountain's trajectories in the order rest, climb; valley, ridge; rest, climb."""
    order = (8 * paths.action[0] + 2 * paths.state[1] + paths.action[1]).argsort()
    return exact.Trajectories(
        paths.probability[..., order], *(part[:, order] for part in (paths.state, paths.action, paths.reward, paths.valid))
    )


def path_names(paths: exact.Trajectories) -> list[str]:
    """Each path as a text, "rest, ridge, climb": first choice, where it led, second choice."""
    steps = zip(paths.action[0].tolist(), paths.state[1].tolist(), paths.action[1].tolist(), strict=True)
    return [f"{CHOICES[first]}, {PLACES[place]}, {CHOICES[second]}" for first, place, second in steps]


def _tree(ax: Axes, mdp: Tabular, walks: exact.Trajectories, pay: Tensor) -> None:
    """From the hut by way of four first halves to eight ends; a line is as wide as the paths through it are likely."""
    look = {"color": COLORS["score_function"], "alpha": 0.75, "solid_capstyle": "butt"}
    for half in range(4):
        ends, middle = (2 * half, 2 * half + 1), 2 * half + 0.5
        first, place = int(walks.action[0, ends[0]]), int(walks.state[1, ends[0]])
        ax.plot([0, 1], [3.5, middle], linewidth=0.4 + 26 * float(walks.probability[list(ends)].sum()), **look)
        for end in ends:
            ax.plot([1, 2], [middle, end], linewidth=0.4 + 26 * float(walks.probability[end]), **look)
            _tag(ax, 1.6, middle + 0.6 * (end - middle), CHOICES[int(walks.action[1, end])])
            ax.text(2.08, end, f"pays {float(pay[end]):.0f}", va="center", fontsize=13)
        chance = float(mdp.transition[0, first, place])
        _tag(ax, 0.55, 3.5 + 0.55 * (middle - 3.5), f"{CHOICES[first]} ({chance:.0%})")
        _tag(ax, 1, middle, PLACES[place], "#fff6df")
    _tag(ax, 0, 3.5, PLACES[0], "#fff6df")
    ax.set(xlim=(-0.2, 2.5), ylim=(7.6, -0.6), xticks=[], yticks=[])
    ax.set_title("Paths and pay stay the same.\nWidth: how likely a path is")
    ax.spines[:].set_visible(False)
    ax.grid(False)


def _tag(ax: Axes, x: float, y: float, words: str, paper: str = "#ffffff") -> None:
    box = {"boxstyle": "round,pad=0.2", "facecolor": paper, "edgecolor": "#bbbbbb", "alpha": 0.92}
    ax.text(x, y, words, ha="center", va="center", fontsize=12, bbox=box)


def hills(
    ax: Axes, q: Float[Tensor, " N"], value: Float[Tensor, " N"], first: Float[Tensor, " R"], last: Float[Tensor, " R"]
) -> None:
    """J over the one parameter q of a policy, and learners on it: where each began (``first``) and to which side it went.

    The valley between the two hills is where ``value`` is lowest; ``last`` says on which side of it a learner ended.
    """
    ax.plot(q, value, color=COLORS["exact"], label="J(q)")
    valley = float(q[value.argmin()])
    ax.axvline(valley, color="#757575", linestyle="--", linewidth=1.5, label="slope 0")
    sides = ((last < valley, "other", "went to the door", 0.0), (last >= valley, "sample", "went to the far end", 1.0))
    for side, paint, label, top in sides:
        height = np.interp(first[side], q, value)
        look = {"color": COLORS[paint], "markersize": 9, "markeredgecolor": "white", "zorder": 3}
        ax.plot(first[side], height, "o", label=f"{label}: {int(side.sum())}", **look)
        inner, lift = 0.6 * top + 0.4 * valley, 0.35
        ends = [(x, float(np.interp(x, q, value)) + lift) for x in (inner, 0.9 * top + 0.1 * valley)]
        ax.annotate("", xy=ends[1], xytext=ends[0], arrowprops={"arrowstyle": "->", "color": COLORS[paint], "linewidth": 3})
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 3.1), xlabel="q, probability of going on", ylabel="J, expected return")
    plots.legend(ax, loc="upper left")


def loss_and_return(
    axes: Sequence[Axes], loss: Float[np.ndarray, "R U"], value: Float[np.ndarray, "R U"], updates: Sequence[int]
) -> None:
    """Learners as dots, their return over their loss, on one axes for each of some updates."""
    for ax, x, y, update in zip(axes, loss.T, value.T, updates, strict=True):
        ax.plot(x, y, "o", color=COLORS["score_function"], alpha=0.7, markersize=9, markeredgecolor="white")
        ax.margins(x=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.set(xlabel="loss", title=f"update {update}")
    axes[0].set_ylabel("return per episode")


def side_by_side(axes: Sequence[Axes], curves: Mapping[str, Float[np.ndarray, "R N"]], quantity: str) -> None:
    """A row of curves [learner, update], each on its own axes: mean, interval, every learner.

    The first row of a figure also gets the titles, and the legend that says which is which.
    """
    paint = COLORS["score_function"]
    for ax, (name, values) in zip(axes, curves.items(), strict=True):
        plots.band(ax, range(1, values.shape[1] + 1), values)
        ax.get_legend().remove()
        if ax.get_subplotspec().is_first_row():
            ax.set_title(f"{name}\n{len(values)} learners")
        if ax.get_subplotspec().is_last_row():
            ax.set_xlabel("updates")
        for line in ax.lines[:-1]:
            line.set_alpha(0.5)
    axes[0].set_ylabel(quantity)
    if axes[0].get_subplotspec().is_first_row():
        mean, one = (Line2D([], [], color=paint, linewidth=width) for width in (2.5, 0.8))
        key = {mean: "mean", Patch(color=paint, alpha=0.25): "95 % interval of the mean", one: "one learner"}
        picture = axes[0].get_figure()
        picture.legend(list(key), list(key.values()), loc="outside lower center", ncols=3, edgecolor="none")


def dots(ax: Axes, values: Mapping[str, Sequence[float]]) -> None:
    """One column of dots for each setting, a dot for each seed; a bar at the mean."""
    look = {"color": COLORS["score_function"], "alpha": 0.7, "markersize": 9, "markeredgecolor": "white"}
    for column, seeds in enumerate(values.values()):
        ax.plot(column + np.linspace(-0.16, 0.16, len(seeds)), seeds, "o", label="a seed" if not column else None, **look)
        bar = {"color": COLORS["score_function"], "linewidth": 3, "label": "their mean" if not column else None}
        ax.plot([column - 0.28, column + 0.28], [np.mean(seeds)] * 2, **bar)
    plots.legend(ax, loc="lower left")
    ax.set_xticks(range(len(values)), [f"{name}\n{len(v)} seeds" for name, v in values.items()])
    ax.set_xlim(-0.6, len(values) - 0.4)
    ax.grid(axis="x", visible=False)
