"""Drawing for lecture 11, and what it measures of a double pendulum at every horizon at once."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.autograd.forward_ad as forward
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from . import figures, plots
from .envs.double_pendulum import DoublePendulum
from .plots import COLORS
from .rng import Rng

Board = Callable[..., Tensor]
"""points(x [..., 2], edge) -> [...]: what a board pays whose discs have edges so many metres wide."""

WAYS = {"score function": "score_function", "pathwise": "pathwise"}
"""Estimators by name, and their colours."""


def two_ways(
    axes: Sequence[Axes],
    points: Board,
    across: float = -1.0,
    up: float = -0.6,
    spread: float = 0.6,
    throws: int = 12,
    edge: float = 0.2,
    again: int = 0,
) -> None:
    """Darts on a board with soft edges, each with two arrows: its score's pull, and the slope of the board where it landed.

    Left: the darts; blue, f(x) (x - aim) / spread^2; orange, grad f(x). Right: the means of the arrows of these darts and of
    300 other sets, and the exact gradient.
    """
    left, right = axes
    aim = torch.tensor([across, up], dtype=torch.float64)
    landed = (aim + spread * Rng(again + 1, stream=11).normal(301, throws, 2)[0]).requires_grad_()
    value = points(landed, edge)
    slope = torch.autograd.grad(value.sum(), landed)[0] if value.requires_grad else torch.zeros_like(landed)
    landed, value = landed.detach(), value.detach()
    arrows = {"score function": value[..., None] * (landed - aim) / spread**2, "pathwise": slope}
    gradient = figures.expected_pull(lambda x: points(x, edge), aim, spread, step=0.02)

    figures.landscape(left, lambda x: points(x, edge))
    for name, pull in arrows.items():
        _quiver(left, landed[0], figures.PULL * pull[0], COLORS[WAYS[name]], 0.008, f"{name}, drawn at one fifth")
    left.plot(*landed[0].T, "o", color=COLORS["sample"], markeredgecolor="white", markersize=5 if throws > 40 else 8)
    figures.gaussian(left, aim, spread)
    left.set_title("Blue: away from the aim, as it paid.\nOrange: uphill, as steep as it is there")
    plots.legend(left, **figures.BELOW)

    for name, pull in arrows.items():
        mean = pull.mean(1)
        faint = {"color": COLORS[WAYS[name]], "alpha": 0.25, "markersize": 6, "markeredgewidth": 0}
        right.plot(*mean[1:].T, "o", **faint)
        _arrow(right, mean[0], COLORS[WAYS[name]], 0.025, name)
    _arrow(right, gradient, COLORS["exact"], 0.01, "exact gradient")
    right.axhline(0, color="#999999", linewidth=0.8)
    right.axvline(0, color="#999999", linewidth=0.8)
    right.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    right.set(xlabel="pull across (points per metre)", ylabel="pull up (points per metre)")
    right.set_title(f"The averages of {throws} arrow{'s' * (throws > 1)},\nand of 300 other sets (dots)")
    plots.legend(right, **figures.BELOW)


TWO_WAYS = {
    "size": (8.4, 5.8),
    "columns": 2,
    "across": (-2.0, 2.0, 0.1),
    "up": (-2.0, 2.0, 0.1),
    "spread": (0.2, 1.2, 0.1),
    "throws": (1, 200),
    "edge": (0.0, 0.6, 0.05),
    "again": "throw again",
}
"""How ``widgets.movable`` shows ``two_ways``: the size of its figure, and its controls."""


def _quiver(ax: Axes, start: Tensor, arrow: Tensor, paint: str, width: float, label: str) -> None:
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "color": paint, "alpha": 0.35 if len(start) > 40 else 0.85}
    ax.quiver(*start.T, *arrow.T, width=width, label=label, **look)


def _arrow(ax: Axes, arrow: Tensor, paint: str, width: float, label: str) -> None:
    """An arrow from the origin, in the units of the axes; one of length zero is a dot."""
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "edgecolor": "white", "linewidth": 0.8, "zorder": 4}
    ax.quiver(0, 0, *arrow.tolist(), color=paint, width=width, label=label, **look)


def correlated(axes: Sequence[Axes], correlation: float = 0.8) -> None:
    """Noise in a circle, and where x = L z takes it: an ellipse, the noise's own coordinates still painted on the dots."""
    noise = Rng(0, stream=11, dtype=torch.float64).normal(400, 2)[0]
    covariance = torch.tensor([[1.0, 0.6 * correlation], [0.6 * correlation, 0.36]]).to(noise)
    factor = torch.linalg.cholesky(covariance)
    turn = torch.linspace(0, 2 * math.pi, 100, dtype=noise.dtype)
    circle = torch.stack([turn.cos(), turn.sin()], 1)
    for ax, matrix, name in zip(axes, (torch.eye(2).to(noise), factor), ("noise, z", "sample, x = L z"), strict=True):
        places = noise @ matrix.T
        ax.scatter(*places.T, c=noise[:, 0], cmap="cividis", s=14)
        for radius, label in ((1, "1 and 2 spreads"), (2, None)):
            ax.plot(*(radius * circle @ matrix.T).T, color=COLORS["exact"], linewidth=1.6, label=label)
        ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", title=name)
        ax.set(xlabel="first coordinate", ylabel="second coordinate")
        plots.legend(ax, loc="lower right")
    rows = "\n".join(f"{name}[{row[0]:5.2f} {row[1]:5.2f}]" for name, row in zip(("L = ", "    "), factor, strict=True))
    axes[1].text(-3, 3, rows, va="top", family="monospace", bbox={"color": "white", "alpha": 0.85})


def against(ax: Axes, x: Tensor, measured: Mapping[str, Tensor], computed: Mapping[str, Tensor] | None = None) -> None:
    """Something measured of both estimators against x [X], on logarithmic axes: name -> [replica, X]; rings: computed [X]."""
    for name, values in measured.items():
        plots.band(ax, x, values, label=name, color=WAYS[name], thin=False)
    for label, rings in zip(["closed form", *[None] * len(measured)], (computed or {}).values(), strict=False):
        ax.plot(x, rings, "o", color=COLORS["exact"], fillstyle="none", markersize=10, zorder=4, label=label)
    ax.set(xscale="log", yscale="log")
    ticks = x.tolist()
    ax.set_xticks(ticks, [f"{each:.3g}" for each in ticks])
    ax.minorticks_off()
    plots.legend(ax)


def gains(
    axes: Sequence[Axes],
    value: Callable[[Tensor], Tensor],
    best: Float[Tensor, "2"],
    paths: Mapping[str, Float[Tensor, "step replica 2"]],
    extra: Mapping[str, Float[Tensor, "replica step"]],
    step: int = 0,
) -> None:
    """Left the gains of all learners on the exact return, up to ``step``; right their extra cost, as a share of the best cost.

    value: gains [..., 2] -> exact return [...]; best: the gain to be marked.
    """
    left, right = axes
    every = torch.cat([path.flatten(0, 1) for path in paths.values()])
    low, high = every.amin(0) - 0.2, torch.maximum(every.amax(0), best) + 0.3
    across, up = (torch.linspace(low[i], high[i], 50, dtype=torch.float64) for i in range(2))
    cost = -value(torch.stack(torch.meshgrid(across, up, indexing="xy"), -1))
    left.contourf(across, up, (cost / cost.min()).log().clamp(max=2), levels=16, cmap="Greys", alpha=0.7)
    for name, path in paths.items():
        paint = COLORS[WAYS[name]]
        left.plot(*path[: step + 1].movedim(-1, 0), color=paint, linewidth=1, alpha=0.7)
        left.plot(*path[step].T, "o", color=paint, markeredgecolor="white", markersize=7, label=name)
    left.plot(*best, "*", color=COLORS["exact"], markersize=18, label="Riccati's first gain")
    left.set(xlabel="gain of the position", ylabel="gain of the velocity", title=f"After {step} updates")
    plots.legend(left, **figures.BELOW)
    for name, share in extra.items():
        plots.band(right, range(step + 1), share[:, : step + 1], label=name, color=WAYS[name], thin=False)
    final = next(iter(extra.values()))
    most, least = max(float(s.max()) for s in extra.values()), min(float(s.mean(0).min()) for s in extra.values())
    right.set(yscale="log", xlim=(0, final.shape[1] - 1), ylim=(0.5 * least, 2 * most))
    right.set(xlabel="updates", ylabel="extra cost, share of Riccati's")
    plots.legend(right, **figures.BELOW)


def fence(
    ax: Axes, speed: Float[Tensor, " N"], landing: Float[Tensor, " N"], density: Float[Tensor, " N"], jump: float
) -> None:
    """How far a throw goes against its speed, with the jump where it clears the fence; below it how likely the speeds are."""
    after = speed > jump
    for part in (after, ~after):
        ax.plot(speed[part], landing[part], color=COLORS["exact"], linewidth=2.5)
    ax.plot(
        [jump, jump], [landing[~after].max(), landing[after].min()], ":", color=COLORS["biased"], linewidth=3, label="the jump"
    )
    ax.fill_between(speed, 2 * density, color="#dddddd", label="density of the speed, enlarged")
    ax.set(xlabel="speed (m/s)", ylabel="how far it goes (m)", ylim=(0, None))
    plots.legend(ax, loc="upper left")


def fan(axes: Sequence[Axes], starts: Mapping[str, DoublePendulum], steps: int = 200) -> None:
    """The height of the lower mass of eight pendulums that began within a thousandth of a radian, for each kind of start."""
    for ax, (name, env) in zip(axes, starts.items(), strict=True):
        state = env.initial(torch.zeros(8, 4, dtype=torch.float64))
        state = state + 1e-3 * Rng(0, stream=11, dtype=torch.float64).uniform(8, 4)[0]
        heights = []
        for _ in range(steps):
            heights.append(env.places(state)[:, 1, 1])
            state, _, _ = env.step(state, torch.zeros(8, 1, dtype=torch.float64))
        seconds = env.time_step * torch.arange(steps)
        ax.plot(seconds, torch.stack(heights), linewidth=1.2, alpha=0.8, color=COLORS["sample"])
        ax.set(title=name, xlabel="seconds", ylim=(-2.2, 2.2))
    axes[0].set_ylabel("height of the lower mass (m)")


def spread_by_horizon(
    starts: Mapping[str, DoublePendulum], scale: float, episodes: int, steps: int, seeds: int = 16
) -> dict[str, dict[str, Float[Tensor, "replica step"]]]:
    """Standard deviation of both estimates of one episode, of the slope of the return by a constant torque, at every horizon.

    start -> estimator -> [replica, step]. The torque of each step is theta + scale z, at theta = 0. Forward differentiation
    carries d s_t / d theta along by (11.9), so one run gives every horizon. The score function has a baseline for each step:
    the mean reward of the other episodes.
    """
    env = next(iter(starts.values()))
    rng = Rng(range(seeds), dtype=torch.float64)
    first, noise = rng.normal(episodes, 4), rng.normal(steps, episodes, 1)
    with forward.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, when it first differentiates forward
        zero = torch.zeros((), dtype=torch.float64)
        theta, seen = forward.make_dual(zero, zero + 1), []
        state = torch.stack([each.initial(first) for each in starts.values()])  # [start, replica, episode, 4]
        for z in noise.unbind(1):
            torque = (theta + scale * z).expand(len(starts), *z.shape)
            state, reward, _ = env.step(state, torque)
            seen.append(forward.unpack_dual(reward))
    reward, slope = (torch.stack([getattr(each, part) for each in seen], 2) for part in ("primal", "tangent"))
    centred = (reward - reward.mean(-1, keepdim=True)) * episodes / (episodes - 1)
    score, total = noise[..., 0] / scale, centred.cumsum(2)
    # sum_{t < T} score_t (sum_{k = t}^{T - 1} r_k), for every T
    by_score = total * score.cumsum(1) - (score * (total - centred)).cumsum(2)
    both = zip(starts, by_score.std(-1), slope.cumsum(2).std(-1), strict=True)
    return {name: {"score function": a, "pathwise": b} for name, a, b in both}


def horizons(axes: Sequence[Axes], seconds: Tensor, spread: Mapping[str, Mapping[str, Tensor]]) -> None:
    """What ``spread_by_horizon`` has found, on a logarithmic axis."""
    for ax, (start, measured) in zip(axes, spread.items(), strict=True):
        for name, values in measured.items():
            plots.band(ax, seconds, values, label=name, color=WAYS[name], thin=False)
        ax.set(yscale="log", xlabel="horizon (seconds)", title=start)
        plots.legend(ax, **figures.BELOW)
    axes[0].set_ylabel("standard deviation of\none episode's estimate")


def derivative_of_a_bell(axes: Sequence[Axes], spread: float = 0.6) -> None:
    """The derivative of a Gaussian by its mean, and the two densities it is a difference of."""
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)
    bell = (-(x / spread).square() / 2).exp() / (spread * math.sqrt(2 * math.pi))
    slope = x / spread**2 * bell
    weight = 1 / (spread * math.sqrt(2 * math.pi))
    left, right = axes
    left.fill_between(x, bell, color="#dddddd", label="p")
    left.plot(x, slope, color=COLORS["exact"], linewidth=2.5, label="its slope by the mean")
    left.set_title(f"A slope that is negative on the left\nand has area {weight:.2f} on each side")
    right.plot(x, slope.clamp(min=0) / weight, color=COLORS["baseline"], linewidth=2.5, label="p+, sampled on the right")
    right.plot(x, (-slope).clamp(min=0) / weight, color=COLORS["other"], linewidth=2.5, label="p-, sampled on the left")
    right.set_title(f"slope = {weight:.2f} (p+ minus p-):\ntwo densities, each of area 1")
    for ax in axes:
        ax.set(xlabel="x - mean", xlim=(-4, 4))
        plots.legend(ax, **figures.BELOW)
