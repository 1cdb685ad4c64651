"""Drawing for lecture 09, and the two small worlds that it draws: a walker with one parameter, and one with two."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from . import exact, figures, plots
from .envs.tabular import Tabular, aliased_gridworld
from .plots import COLORS

DISCOUNT = 0.9
EDGE = 0.002
"""How near to 0 and 1 the walker's probability may come."""

PAINTS = {"surrogate": "biased", "penalty": "other", "constraint": "score_function"}


def walker(mdp: Tabular, q: Float[Tensor, "*R"]) -> Float[Tensor, "*R S A"]:
    """The aliased gridworld's walker: away from the ends, down in the middle, and right with probability q where cells look
    alike (else left)."""
    table = torch.zeros(*q.shape, 5, 4, dtype=q.dtype)
    table[..., 0, 1] = table[..., 2, 2] = table[..., 3, 3] = table[..., 4, 0] = 1
    table[..., 1, 1], table[..., 1, 3] = q, 1 - q
    return exact.on_observations(mdp, table)


@lru_cache(maxsize=1)
def walked() -> dict[str, np.ndarray]:
    """For a thousand q: J, its slope, how often a grey cell occurs, and C of the bound (9.6)."""
    mdp = aliased_gridworld(time_limit=None)
    q = torch.linspace(EDGE, 1 - EDGE, 999, dtype=torch.float64).requires_grad_()
    policy = walker(mdp, q)
    value = exact.expected_return(mdp, policy, DISCOUNT)
    (slope,) = torch.autograd.grad(value.sum(), q, retain_graph=True)
    with torch.no_grad():
        share = exact.state_weight(mdp, policy, DISCOUNT)[:, mdp.observation.argmax(-1) == 1].sum(-1)
        largest = exact.advantage(mdp, policy, DISCOUNT).abs().amax((-1, -2))
    coefficient = 4 * DISCOUNT * largest / (1 - DISCOUNT) ** 2
    parts = {"q": q, "value": value, "slope": slope, "share": share, "coefficient": coefficient}
    return {name: part.detach().numpy() for name, part in parts.items()}


def kl_of_coins(p: np.ndarray | float, q: np.ndarray | float) -> np.ndarray:
    """KL(p || q) of two coins."""
    p, q = np.asarray(p), np.asarray(q)
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def goal(rule: str, q: float, penalty: float, delta: float) -> float:
    """Where a rule leads the walker from q: as far as the surrogate rises, to the best of surrogate - penalty C KL, or as far
    as the mean KL allows."""
    table = walked()
    at = {name: float(np.interp(q, table["q"], table[name])) for name in ("slope", "share", "coefficient")}
    way = math.copysign(1, at["slope"])
    if rule == "surrogate":
        return 1 - EDGE if way > 0 else EDGE
    candidates = np.clip(q + way * np.concatenate([[0], np.geomspace(1e-7, 1, 400)]), EDGE, 1 - EDGE)
    divergence = kl_of_coins(q, candidates)
    if rule == "penalty":
        return float(candidates[(at["slope"] * (candidates - q) - penalty * at["coefficient"] * divergence).argmax()])
    return float(candidates[at["share"] * divergence <= delta][-1])


def promise(axes: Sequence[Axes], stand: float = 0.12, log10_penalty: float = -2.5, log10_delta: float = -1.5) -> None:
    """J of the walker, what the surrogate says of it from where one stands, and the bound; right, J after many updates by each
    rule."""
    left, right = axes
    table, penalty, delta = walked(), 10**log10_penalty, 10**log10_delta
    q, value = table["q"], table["value"]

    def at(name):
        return float(np.interp(stand, q, table[name]))

    surrogate = at("value") + at("slope") * (q - stand)
    near = at("share") * kl_of_coins(stand, q) <= delta
    left.axvspan(q[near][0], q[near][-1], color=COLORS["sample"], alpha=0.3, label="mean KL within delta")
    left.plot(q, value, color=COLORS["exact"], label="J")
    left.plot(q, surrogate, color=COLORS["biased"], label="surrogate")
    left.plot(
        q, surrogate - penalty * at("coefficient") * kl_of_coins(stand, q), color=COLORS["other"], label="less the penalty"
    )
    left.plot(stand, at("value"), "o", color=COLORS["exact"], markersize=10)
    for rule, paint in PAINTS.items():
        there = goal(rule, stand, penalty, delta)
        left.plot(there, np.interp(there, q, value), "s", color=COLORS[paint], markersize=8, markeredgecolor="white", zorder=4)
    low, high = value.min(), value.max()
    left.set(xlim=(0, 1), ylim=(low - 0.4 * (high - low), high + 0.8 * (high - low)))
    left.set(xlabel="q, the probability of going right", ylabel="return", title="One update: squares show where it leads")
    plots.legend(left, **figures.BELOW)
    for rule, paint in PAINTS.items():
        path = [stand]
        for _ in range(30):
            path.append(goal(rule, path[-1], penalty, delta))
        right.plot(range(31), np.interp(path, q, value), color=COLORS[paint], label=f"by the {rule}", linewidth=2.2)
    right.axhline(high, color=COLORS["exact"], linestyle="--", linewidth=1.2, label="the largest J")
    right.set(xlabel="updates", ylabel="J", xlim=(0, 30), ylim=(low - 0.05, high + 0.05), title="Thirty updates")
    plots.legend(right, **figures.BELOW)


PROMISE = {
    "size": (8.6, 5.4),
    "columns": 2,
    "stand": (0.02, 0.98, 0.02),
    "log10_penalty": (-4.0, 0.0, 0.25),
    "log10_delta": (-4.0, 0.0, 0.25),
}
"""How ``widgets.movable`` shows ``promise``."""


def two_loops() -> Tabular:
    """Two states; staying in the first pays 1, staying in the second 2, and going to the other one nothing. Nine times in ten
    one begins in the first. After Kakade (2002), section 4."""
    stay = torch.eye(2)
    return Tabular(
        transition=torch.stack([stay, 1 - stay], 1),
        reward=torch.tensor([[1.0, 0.0], [2.0, 0.0]]),
        initial_probability=torch.tensor([0.9, 0.1]),
        terminal=torch.tensor([False, False]),
        actions=("stay", "go"),
        name="two-loops",
    )


def loops_policy(theta: Float[Tensor, "*R 2"]) -> Float[Tensor, "*R 2 2"]:
    """In state i one stays with probability sigmoid(theta_i)."""
    return torch.stack([theta.sigmoid(), (-theta).sigmoid()], -1)


def slopes(theta: Float[Tensor, "*R 2"]) -> tuple[Tensor, Tensor, Tensor]:
    """J of ``two_loops`` [*R], its gradient, and the diagonal of the Fisher matrix (the rest of which is 0), [*R, 2] each."""
    mdp, theta = two_loops(), theta.detach().requires_grad_()
    policy = loops_policy(theta)
    value = exact.expected_return(mdp, policy, DISCOUNT)
    (slope,) = torch.autograd.grad(value.sum(), theta)
    return value.detach(), slope, (exact.state_weight(mdp, policy, DISCOUNT) * policy.prod(-1)).detach()


LARGEST = 6.0
"""No parameter goes further: beyond, a policy is all but certain, and its Fisher matrix all but zero."""

WAYS = {"gradient": "score_function", "natural gradient": "pathwise"}


def paths(start: Sequence[float], stretch: float, delta: float, steps: int) -> tuple[Tensor, Tensor]:
    """theta [steps + 1, way, 2] and J [steps + 1, way] along the gradient and the natural gradient, in steps of mean KL delta,
    to second order. The policy's own first parameter is theta_1 / stretch: where that is not 1, its gradient is another."""
    theta = torch.tensor([start, start], dtype=torch.float64)
    units = torch.tensor([stretch**2, 1.0], dtype=torch.float64)
    places, values = [theta], []
    for _ in range(steps + 1):
        value, slope, fisher = slopes(theta)
        values.append(value)
        step = torch.stack([slope[0] * units, slope[1] / fisher[1]])
        size = (2 * delta / (fisher * step.square()).sum(-1, keepdim=True)).sqrt()
        theta = (theta + size * step).clamp(-LARGEST, LARGEST)
        places.append(theta)
    return torch.stack(places[:-1]), torch.stack(values)


@lru_cache(maxsize=1)
def landscape() -> tuple[np.ndarray, np.ndarray]:
    """A line from -4.5 to 4.5, and J of ``two_loops`` on its square."""
    line = torch.linspace(-4.5, 4.5, 61, dtype=torch.float64)
    first, second = torch.meshgrid(line, line, indexing="xy")
    return line.numpy(), exact.expected_return(two_loops(), loops_policy(torch.stack([first, second], -1)), DISCOUNT).numpy()


def arrows(
    axes: Sequence[Axes], first: float = 0.5, second: float = -2.0, stretch: float = 2.0, delta: float = 0.01, steps: int = 25
) -> None:
    """Left: J over the two parameters, the ring of policies at KL delta, a step of each kind to it, and where they lead; right:
    J along the way."""
    left, right = axes
    line, value = landscape()
    left.contourf(line, line, value, levels=16, cmap="Greys_r", alpha=0.6)
    here = torch.tensor([first, second], dtype=torch.float64)
    fisher = slopes(here)[2].numpy()
    turn = np.linspace(0, 2 * np.pi, 100)
    ring = np.stack([np.cos(turn), np.sin(turn)]) * np.sqrt(2 * delta / fisher)[:, None]
    left.plot(first + ring[0], second + ring[1], color=COLORS["exact"], linewidth=1.8, label="mean KL = delta")
    path, gained = paths((first, second), stretch, delta, steps)
    for k, (name, paint) in enumerate(WAYS.items()):
        left.plot(*path[:, k].T.clamp(-4.45, 4.45), "o-", color=COLORS[paint], markersize=3.5, linewidth=1.2)
        look = {"angles": "xy", "scale_units": "xy", "scale": 1 / 3, "edgecolor": "white", "linewidth": 0.8, "zorder": 4}
        step = (path[1, k] - path[0, k]).tolist()
        left.quiver(first, second, *step, color=COLORS[paint], width=0.018, label=f"{name}, three steps long", **look)
        right.plot(range(steps + 1), gained[:, k], "o-", color=COLORS[paint], markersize=3.5, label=name)
    best = slopes(torch.tensor([-LARGEST, LARGEST], dtype=torch.float64))[0].item()
    right.axhline(best, color=COLORS["exact"], linestyle="--", linewidth=1.2, label="the best policy")
    left.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), xlabel="first parameter (stay in 1)", ylabel="second parameter (stay in 2)")
    left.set_title("The brighter, the better")
    plots.legend(left, **figures.BELOW)
    right.set(xlabel="steps of equal KL", ylabel="J", title="Along the two ways", ylim=(4, 20))
    plots.legend(right, **figures.BELOW)


ARROWS = {
    "size": (8.6, 5.6),
    "columns": 2,
    "first": (-3.0, 3.0, 0.25),
    "second": (-3.0, 3.0, 0.25),
    "stretch": (0.2, 5.0, 0.2),
    "delta": (0.005, 0.05, 0.005),
}
"""How ``widgets.movable`` shows ``arrows``."""


def gaps(ax: Axes, divergence: Tensor, gap: Tensor, coefficient: float) -> None:
    """How wrong the surrogate was for pairs of policies, against their KL, and how wrong it may be at most."""
    ax.plot(divergence, gap, "o", color=COLORS["biased"], alpha=0.6, markersize=5, label="|true change - surrogate|")
    ends = np.array([float(divergence.min()), float(divergence.max())])
    ax.plot(ends, coefficient * ends, color=COLORS["exact"], label="C max KL")
    ax.set(xscale="log", yscale="log", xlabel="max KL between the two policies (nats)", ylabel="return")
    plots.legend(ax, loc="lower right")


def taken(axes: Sequence[Axes], deltas: Sequence[float], ratio: Mapping[str, Mapping[str, Tensor]]) -> None:
    """KL taken over delta, [R, delta], for two ways of stepping in a panel for each damping."""
    for ax, (title, ways) in zip(axes, ratio.items(), strict=True):
        ax.axhspan(1, 1e3, color="#f3d9c9", zorder=0)
        for (name, values), paint in zip(ways.items(), ("biased", "score_function"), strict=True):
            plots.band(ax, deltas, values, label=name, color=paint)
        ax.axhline(1, color=COLORS["exact"], linewidth=1.2)
        ax.set(xscale="log", yscale="log", xlabel="delta (nats)", title=title, ylim=(0.1, 40))
        plots.legend(ax, **figures.BELOW)
    axes[0].set_ylabel("KL taken / delta")
