"""Drawing for lecture 05: what would make its cells long and teaches nothing.

What moves is a function ``draw(axes, ..., **controls)`` for ``widgets.movable``; the controls start at its defaults.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from . import distributions, exact, plots, policies, returns
from .envs.tabular import Tabular
from .figures import BELOW
from .plots import COLORS
from .rng import Noise, Rng
from .rollout import Rollout, episodes

PAINT = {"whole return": "score_function", "reward-to-go": "score_function"}
"""Weights without a baseline; all others have the colour of baselines."""


class Table(policies.Categorical):
    """R tables of logits theta [R, S, A], as in lecture 04: pi(a | s) = softmax(theta[s])[a]."""

    def __init__(self, theta: Float[Tensor, "R S A"]):
        torch.nn.Module.__init__(self)  # a policy's, not a network's
        self.theta = torch.nn.Parameter(theta.clone())
        self.noise = Noise("uniform")

    def forward(self, observation: Float[Tensor, "R *batch S"]) -> distributions.Categorical:
        return distributions.Categorical(torch.einsum("r...s,rsa->r...a", observation, self.theta))


def scores(walks: Rollout, theta: Float[Tensor, "S A"]) -> Float[Tensor, "R T E P"]:
    """grad log pi(a_t | s_t) of a table, P = S A: the row of the state has 1[a = a_t] - pi(a | s_t)."""
    chosen = torch.nn.functional.one_hot(walks.action, theta.shape[1])
    surprise = chosen - walks.observation @ theta.softmax(-1)
    return (walks.observation.unsqueeze(-1) * surprise.unsqueeze(-2)).flatten(-2)


def weights(world: Tabular, theta: Float[Tensor, "S A"], walks: Rollout) -> dict[str, Float[Tensor, "R T E"]]:
    """The weights of lecture 05's ladder, with exact baselines, in an MDP that runs to its time limit; no discount."""
    value = exact.state_value(world, theta.softmax(-1))  # [T, S]
    by_time = (exact.visitation(world, theta.softmax(-1)) * value).sum(-1)  # [T]
    G = returns.to_go(walks.reward, 1.0)
    here, time = walks.observation.argmax(-1), torch.arange(len(value))[:, None]
    return {
        "whole return": G[:, :1].expand_as(G),
        "reward-to-go": G,
        "less a constant": G - by_time.mean(),
        "less b(t)": G - by_time[:, None],
        "less V(s, t)": G - value[time, here],
    }


def ladder(
    axes: Sequence[Axes],
    world: Callable[[int, float], Tabular],
    theta: Float[Tensor, "S A"],
    days: int = 8,
    luck: float = 5.0,
    subtract: str = "less V(s, t)",
    again: int = 0,
) -> None:
    """Left the variance of an estimate from 8 episodes, for five weights; right the estimates themselves, for two of them.

    An estimate is seen along the exact gradient: 1 means as long as the gradient, below 0 it points downhill.
    """
    left, right = axes
    mdp, replicas = world(days, luck), 400
    table = Table(theta.expand(replicas, -1, -1))
    walks = episodes(mdp, table, Rng(range(1000 * again, 1000 * again + replicas), stream=5, dtype=torch.float64), 8)
    score = scores(walks, theta)
    truth = exact.policy_gradient(mdp, Table(theta[None]))[0]
    found = {name: (w.unsqueeze(-1) * score).sum(1).mean(1) for name, w in weights(mdp, theta, walks).items()}
    bars(left, {name: (g - truth).square().sum(1) for name, g in found.items()})
    left.set_title("Noise of an estimate")
    shown = {"whole return": found["whole return"], subtract: found[subtract]}
    along = {name: (g @ truth / truth.square().sum()).numpy() for name, g in shown.items()}
    reach = 2.5 * float(np.std(along["whole return"]))
    for (name, values), paint in zip(along.items(), (COLORS["score_function"], COLORS["baseline"]), strict=True):
        label = f"{name}: {(values > 0).mean():.0%} uphill"
        right.hist(values, bins=40, range=(1 - reach, 1 + reach), color=paint, alpha=0.55, label=label)
    right.axvline(1, color=COLORS["exact"], linewidth=2.5, label="exact gradient")
    right.axvline(0, color="#757575", linestyle="--", linewidth=1.5)
    right.set(yticks=[], xlabel="estimate along the gradient", title="Same centre, other width")
    plots.legend(right, **BELOW)


LADDER = {
    "size": (8.5, 5.2),
    "columns": 2,
    "days": (2, 24),
    "luck": (0.0, 10.0, 1.0),
    "subtract": ["reward-to-go", "less a constant", "less b(t)", "less V(s, t)"],
    "again": "play again",
}
"""How ``widgets.movable`` shows ``ladder``: the size of its figure, and its controls."""


def bars(ax: Axes, squares: Mapping[str, Float[Tensor, " R"]], color: Mapping[str, str] = PAINT) -> None:
    """A bar for each estimator: the mean over replicas of its squared error, with a 95 % bootstrap interval."""
    rows = np.arange(len(squares))
    for row, (name, square) in zip(rows, squares.items(), strict=True):
        mean = float(square.mean())
        low, high = (float(end[0]) for end in plots.bootstrap_interval(square[:, None].numpy()))
        ax.barh(row, mean, 0.7, color=COLORS[color.get(name, "baseline")], alpha=0.8)
        ax.errorbar(mean, row, xerr=[[mean - low], [high - mean]], color=COLORS["exact"], capsize=4, linewidth=1.6)
        ax.text(high, row, f"  {mean:,.0f}" if mean >= 10 else f"  {mean:.2g}", va="center", fontsize=13)
    longest = max(float(square.mean()) for square in squares.values())
    ax.set(xlim=(0, 1.35 * longest), ylim=(len(squares) - 0.4, -0.6), xlabel="squared error of an estimate")
    ax.set_yticks(rows, list(squares))
    ax.grid(axis="y", visible=False)


def credit(axes: Sequence[Axes], signal: Float[Tensor, "T T"], noise: Float[Tensor, "T T"]) -> None:
    """What the reward of each day tells the action of each day, and how noisily: rows are actions, columns rewards."""
    for ax, values, title in zip(
        axes, (signal, noise), ("signal: length of the mean", "noise: standard deviation"), strict=True
    ):
        drawn = ax.imshow(values.numpy(), cmap="cividis", vmin=0)
        ax.get_figure().colorbar(drawn, ax=ax, shrink=0.75)
        ax.set(xlabel="reward of day k", title=title, xticks=range(len(values)), yticks=range(len(values)))
        ax.plot([-0.5, len(values) - 0.5], [-0.5, len(values) - 0.5], color="white", linewidth=2)
        ax.grid(False)
    axes[0].set_ylabel("action of day t")


def parabola(ax: Axes, b: Float[Tensor, " B"], variance: Float[Tensor, "R B"], marks: Mapping[str, tuple[float, str]]) -> None:
    """Variance over the constant b that is subtracted, a band over groups of replicas; marks: name -> (b, colour)."""
    plots.band(ax, b, variance, label="variance", color="baseline", thin=False)
    for name, (at, paint) in marks.items():
        ax.axvline(at, color=COLORS[paint], linestyle="--", linewidth=2, label=f"{name}: {at:.1f}")
    ax.set(xlabel="what is subtracted, b", ylabel="variance of an estimate", ylim=(0, None))
    plots.legend(ax, loc="upper center")


def discounts(
    ax: Axes, discount: Float[Tensor, " N"], bias: Float[Tensor, " N"], variance: Float[Tensor, "R N"], nothing: float
) -> None:
    """Squared bias (exact), variance (measured) and their sum, over the discount; nothing: the error of always answering 0."""
    at = range(len(discount))
    plots.band(ax, at, variance, label="variance", color="score_function", thin=False)
    ax.plot(at, bias, color=COLORS["biased"], linewidth=2.5, label="squared bias, exact")
    plots.band(ax, at, variance + bias, label="sum", color="exact", thin=False)
    ax.axhline(nothing, color="#555555", linestyle=":", linewidth=2, label="always 0")
    best = int((variance.mean(0) + bias).argmin())
    ax.plot(best, float((variance.mean(0) + bias)[best]), "o", color=COLORS["exact"], markersize=12)
    ax.set_xticks(at, [f"{each:g}" for each in discount.tolist()])
    low = float(variance.mean(0).min())  # the bias is 0 at the end, and nothing is lost by not seeing how far down that is
    ax.set(xlabel="discount of the weights, γ", ylabel="squared error", yscale="log", ylim=(low / 3, None))
    plots.legend(ax, loc="upper center")


def against_episodes(
    ax: Axes, episodes: Sequence[int], curves: Mapping[str, Sequence[Tensor]], paints: Mapping[str, str]
) -> None:
    """Something measured for each number of episodes: name -> one tensor [replica] for each; means and 95 % intervals."""
    for shift, (name, values) in enumerate(curves.items()):
        ends = [[float(end[0]) for end in plots.bootstrap_interval(each[:, None].numpy())] for each in values]
        middle = np.array([float(each.mean()) for each in values])
        low, high = np.array(ends).T
        look = {"color": COLORS[paints[name]], "marker": "os^D"[shift % 4], "capsize": 4, "markersize": 8, "label": name}
        x = np.array(episodes) * 1.04 ** (shift - len(curves) / 2)  # side by side where they would hide one another
        ax.errorbar(x, middle, yerr=[middle - low, high - middle], **look)
    ax.set_xscale("log")
    ax.set_xticks(episodes, [str(each) for each in episodes])
    ax.minorticks_off()
    ax.set_xlabel("episodes in the batch, E")
    plots.legend(ax, **BELOW)
