"""Drawing for lecture 10, and the bandit whose one batch is learned from for too long."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from . import figures, plots
from .plots import COLORS

SIGNS = {"good action, A = +1": (1.0, "score_function"), "bad action, A = -1": (-1.0, "pathwise")}


def surrogate(
    ratio: Float[np.ndarray, "*N"] | float, advantage: float, clip: float
) -> tuple[Float[np.ndarray, "*N"], Float[np.ndarray, "*N"]]:
    """What one step adds to the clipped objective (10.3), and how hard it pushes its ratio, the slope of that."""
    ratio = np.asarray(ratio, dtype=float)
    plain, clipped = ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage
    return np.minimum(plain, clipped), np.where(plain <= clipped, advantage, 0.0)


PAY = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
"""Mean pay of the bandit's arms; each pull adds Gaussian noise of standard deviation 1."""
BATCHES, ASCENT, STEP = 200, 150, 0.5
"""How many batches are looked at, how many gradient steps each is learned from for, and their size, on the logits."""


def one_batch(clip: float | None, pulls: int, best: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bandit's policy after 0, 1, ... gradient steps on the surrogate of one batch of pulls: its exact pay, and the pay that
    the batch promises, [batch, step] each. It begins with the best arm at probability ``best`` and the others alike.

    Advantages are what a pull paid less the mean pay of the policy. clip: epsilon, or None for the plain surrogate.
    """
    old = np.full(len(PAY), (1 - best) / (len(PAY) - 1))
    old[0] = best
    random = np.random.default_rng(seed)
    arm = random.choice(len(PAY), size=(BATCHES, pulls), p=old)
    advantage = PAY[arm] + random.standard_normal(arm.shape) - old @ PAY
    one_hot = arm[..., None] == np.arange(len(PAY))
    up, down = ((np.where(sign * advantage > 0, advantage, 0)[..., None] * one_hot).mean(1) for sign in (1, -1))  # [batch, arm]
    logits = np.log(old) + np.zeros((BATCHES, 1))
    pay, promised = [], []
    for _ in range(ASCENT + 1):
        policy = np.exp(logits - logits.max(1, keepdims=True))
        policy /= policy.sum(1, keepdims=True)
        ratio = policy / old
        pay.append(policy @ PAY)
        promised.append(old @ PAY + (ratio * (up + down)).sum(1))
        free = (np.ones_like(ratio),) * 2 if clip is None else (ratio <= 1 + clip, ratio >= 1 - clip)
        push = ratio * (up * free[0] + down * free[1])
        logits = logits + STEP * (push - policy * push.sum(1, keepdims=True))
    return np.stack(pay, 1), np.stack(promised, 1)


def claim(axes: Sequence[Axes], ratio: float = 1.35, clip: float = 0.2, pulls: int = 24, best: float = 0.7) -> None:
    """Left, what one step adds to the objective as its ratio moves; right, what becomes of a policy that learns from one batch
    for ever longer."""
    left, right = axes
    wide = np.linspace(0, 2, 401)
    left.axvspan(1 - clip, 1 + clip, color=COLORS["sample"], alpha=0.25, zorder=0, label="1 - epsilon to 1 + epsilon")
    for name, (advantage, paint) in SIGNS.items():
        left.plot(wide, wide * advantage, "--", color=COLORS["biased"], linewidth=1.4)
        left.plot(wide, surrogate(wide, advantage, clip)[0], color=COLORS[paint], linewidth=3, label=name)
        height, slope = surrogate(ratio, advantage, clip)
        left.plot(ratio, height, "o", color=COLORS["exact"], markersize=9, zorder=5)
        if slope:
            left.annotate(
                "",
                (ratio + 0.3 * slope, height),
                (ratio, height),
                arrowprops={"arrowstyle": "-|>", "linewidth": 2.5, "color": COLORS["exact"]},
                zorder=6,
            )
        else:
            left.annotate("held", (ratio, height), (0, -20), textcoords="offset points", ha="center", fontsize=13)
    left.plot([], [], "--", color=COLORS["biased"], linewidth=1.4, label="not clipped")
    left.set(xlim=(0, 2), ylim=(-2.1, 2.1), xlabel="ratio", ylabel="what the step adds to the objective")
    left.set_title("One step: arrows push its ratio")
    plots.legend(left, **figures.BELOW)
    for name, epsilon, paint in (("not clipped", None, "biased"), ("clipped", clip, "score_function")):
        pay, promised = one_batch(epsilon, pulls, best)
        right.fill_between(
            range(ASCENT + 1), *np.quantile(pay, [0.25, 0.75], axis=0), color=COLORS[paint], alpha=0.2, linewidth=0
        )
        right.plot(pay.mean(0), color=COLORS[paint], linewidth=2.6, label=f"{name}, truly")
        right.plot(promised.mean(0), ":", color=COLORS[paint], label=f"{name}, as the batch promises")
    right.axhline(float(pay[0, 0]), color=COLORS["exact"], linestyle="--", linewidth=1.2)
    right.set(xlim=(0, ASCENT), ylim=(0.3, 1.6), xlabel="gradient steps on one batch", ylabel="mean pay")
    right.set_title("One batch, learned from for longer")
    plots.legend(right, **figures.BELOW)


CLAIM = {
    "size": (8.8, 5.8),
    "columns": 2,
    "ratio": (0.1, 1.9, 0.05),
    "clip": (0.05, 0.5, 0.05),
    "pulls": (8, 256, 8),
    "best": (0.2, 0.9, 0.1),
}
"""How ``widgets.movable`` shows ``claim``."""


def ratios(ax: Axes, found: Mapping[str, tuple[Tensor, str]], clip: float) -> None:
    """Histograms of log ratios, each (log_ratio [N], colour), and the edges of the clip."""
    bins = np.linspace(-1.5, 1.5, 76)
    for name, (log_ratio, paint) in found.items():
        inside = log_ratio.flatten().clamp(-1.49, 1.49).numpy()
        ax.hist(inside, bins=bins, weights=np.full(len(inside), 100 / len(inside)), color=COLORS[paint], alpha=0.55, label=name)
    for edge in (1 - clip, 1 + clip):
        ax.axvline(np.log(edge), color=COLORS["exact"], linestyle="--", linewidth=1.4)
    shown = (0.25, 0.5, 0.8, 1.0, 1.2, 2.0, 4.0)
    ax.set_xticks(np.log(shown), [f"{each:g}" for each in shown])
    ax.set(xlim=(-1.5, 1.5), xlabel="ratio after the update (the ends: this far and farther)", ylabel="steps (%)", yscale="log")
    plots.legend(ax)


def intervals(ax: Axes, values: Mapping[str, Float[np.ndarray, " R"]], marked: str) -> None:
    """A row for each name: the mean of its replicas with a 95 % bootstrap interval, and each replica; the others are compared
    with ``marked``."""
    for row, (name, each) in enumerate(values.items()):
        low, high = (end[0] for end in plots.bootstrap_interval(each[:, None]))
        paint = COLORS["score_function" if name == marked else "biased"]
        ax.plot(each, np.full(len(each), row), "o", color=paint, alpha=0.3, markersize=5, markeredgewidth=0)
        ax.plot([low, high], [row, row], color=paint, linewidth=5, solid_capstyle="butt")
        ax.plot(each.mean(), row, "o", color=COLORS["exact"], markersize=7, zorder=4)
    ax.axvline(values[marked].mean(), color=COLORS["score_function"], linestyle="--", linewidth=1.2)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
