"""Drawing for lecture 07, and how good an advantage estimate is, computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from . import exact, figures, plots, policies, returns
from .envs import tabular
from .history import History
from .plots import COLORS
from .rng import Rng
from .rollout import Rollout, episodes

CURVES = {"bias²": "biased", "variance": "sample", "both": "exact"}
DECAYS = torch.linspace(0, 1, 21, dtype=torch.float64)


def quality(
    mdp: tabular.Tabular,
    policy: Tensor,
    value: Float[Tensor, " S"],
    discount: float,
    trace_decay: float = 1.0,
    steps: int | None = None,
) -> tuple[float, float]:
    """Mean squared bias and variance of an advantage estimate, over states and actions as often as they occur.

    Of the bias only what differs between the actions of a state: the rest is a baseline. policy: probabilities [S, A]. See
    ``exact.advantage_estimate``.
    """
    mean, variance = exact.advantage_estimate(mdp, policy, value, discount, trace_decay, steps)
    bias = mean - exact.advantage(mdp, policy, discount)
    bias = bias - (policy * bias).sum(-1, keepdim=True)
    visits = exact.visitation(mdp, policy, discount)
    weight = (visits / visits.sum()).unsqueeze(-1) * policy
    return (weight * bias.square()).sum().item(), (weight * variance).sum().item()


def critic_off_by(mdp: tabular.Tabular, value: Float[Tensor, " S"], error: float, seed: int = 0) -> Float[Tensor, " S"]:
    """``value`` with a normal error of this size in each state that is not terminal."""
    noise = Rng(seed, stream=7, dtype=torch.float64).normal(len(value))[0]
    return value + error * noise * ~mdp.terminal


@lru_cache(maxsize=64)
def _over_decays(mdp: tabular.Tabular, policy: Tensor, discount: float, error: float, seed: int) -> Float[Tensor, "N 2"]:
    value = critic_off_by(mdp, exact.state_value(mdp, policy, discount), error, seed)
    return torch.tensor([quality(mdp, policy, value, discount, decay) for decay in DECAYS.tolist()], dtype=torch.float64)


def tradeoff(
    axes: Sequence[Axes],
    mdp: tabular.Tabular,
    policy: Tensor,
    discount: float,
    state: int,
    trace_decay: float = 0.9,
    critic_error: float = 0.3,
    seed: int = 0,
) -> None:
    """Left: what the estimate makes of the actions in one state, mean and spread; right: bias and variance over lambda."""
    left, right = axes
    truth = exact.state_value(mdp, policy, discount)
    value = critic_off_by(mdp, truth, critic_error, seed)
    mean, variance = exact.advantage_estimate(mdp, policy, value, discount, trace_decay)
    mean = mean - (policy * mean).sum(-1, keepdim=True)
    places = torch.arange(len(mean[state]))
    paint = COLORS["biased" if critic_error and trace_decay < 1 else "score_function"]
    look = {"fmt": "s", "color": paint, "markersize": 8, "capsize": 6, "linewidth": 2}
    left.errorbar(places + 0.12, mean[state], variance[state].sqrt(), **look, label="estimate: mean ± deviation")
    advantage = exact.advantage(mdp, policy, discount)[state]
    left.plot(places - 0.12, advantage, "o", color=COLORS["exact"], markersize=9, label="exact advantage")
    left.set_xticks(places, mdp.actions)
    left.set(ylim=(-2.1, 1.1), ylabel="advantage", title="At the marked cell")
    plots.legend(left, **figures.BELOW)
    bias, spread = _over_decays(mdp, policy, discount, critic_error, seed).T
    for (name, color), y in zip(CURVES.items(), (bias, spread, bias + spread), strict=True):
        right.plot(DECAYS, y, color=COLORS[color], label=name)
    at = int((DECAYS - trace_decay).abs().argmin())
    right.plot(trace_decay, (bias + spread)[at], "o", color=COLORS["exact"], markersize=10)
    right.set(xlim=(-0.03, 1.03), ylim=(0, 0.25), xlabel="trace decay λ", ylabel="squared error", title="Over all cells")
    plots.legend(right, **figures.BELOW)


TRADEOFF = {
    "trace_decay": (0.0, 1.0, 0.05),
    "critic_error": (0.0, 0.6, 0.1),
    "seed": "another critic",
    "size": (8.4, 5.2),
    "columns": 2,
}


LAYOUT = ("...G", ".#.P", "S...")


def grid(ax: Axes, value: Float[Tensor, " S"], marked: int | None = None) -> None:
    """A number in every cell of ``gridworld()``, darker where it is larger."""
    span = float(value.abs().max())
    for number, (row, column) in enumerate(tabular.cells(LAYOUT)):
        letter, worth = LAYOUT[row][column], float(value[number])
        shade = 0.97 - 0.5 * max(0.0, worth / span)
        where = (column - 0.5, -row - 0.5)
        edge = {"edgecolor": COLORS["biased"], "linewidth": 4, "zorder": 3} if number == marked else {"edgecolor": "#222222"}
        ax.add_patch(Rectangle(where, 1, 1, facecolor=(shade,) * 3, **edge))
        words = {"G": "goal\n+1", "P": "pit\n-1"}.get(letter, f"{worth:.2f}" + ("\nstart" if letter == "S" else ""))
        ax.text(column, -row, words, ha="center", va="center", zorder=4)
    rows, columns = len(LAYOUT), len(LAYOUT[0])
    ax.set(xlim=(-0.55, columns - 0.45), ylim=(0.45 - rows, 0.55), aspect="equal")
    ax.axis("off")


def errors(ax: Axes, x: Sequence[float], found: Float[Tensor, "N 2"]) -> None:
    """Squared bias, variance and their sum against x."""
    for (name, color), y in zip(CURVES.items(), (*found.T, found.sum(1)), strict=True):
        ax.plot(x, y, "o-", color=COLORS[color], label=name)
    ax.set(ylabel="squared error", ylim=(0, None))
    plots.legend(ax)


def curves(ax: Axes, x: Sequence[float], runs: Mapping[str, Tensor], paints: Sequence[str]) -> None:
    """A band for each name -> [R, N]."""
    for (name, y), paint in zip(runs.items(), paints, strict=True):
        plots.band(ax, x, y, label=name, color=paint, thin=False)


def looked_up(batch: Rollout, table: Float[Tensor, "R S"]) -> tuple[Float[Tensor, "R T E"], Float[Tensor, "R T E"]]:
    """What a table of values says of the state of each step, and of the one that followed."""
    now, ahead = (torch.einsum("rtes,rs->rte", seen, table) for seen in (batch.observation, batch.next_observation))
    return now, ahead


def mean_by_cell(batch: Rollout, x: Float[Tensor, "R T E"]) -> Float[Tensor, "R S"]:
    """Mean of x over the visits to each state; 0 where there was none."""
    visit = batch.observation * batch.valid.unsqueeze(-1)
    return torch.einsum("rtes,rte->rs", visit, x) / visit.sum((1, 2)).clamp(min=1)


def by_column(mdp: tabular.Tabular, policy: Tensor, discount: float) -> dict[str, tuple[Float[Tensor, "4"], Float[Tensor, ""]]]:
    """Where a critic settles that sees a cell's column only: V by column, and its root mean squared error over visits.

    Monte Carlo: least squares, X^T D (V - X phi) = 0. One-step TD: the mean of its steps is 0, X^T D (r + discount P X phi - X
    phi) = 0, where D are the visits, P the moves of the policy and r the mean rewards, and where the value of an end is 0.
    """
    value, visits = exact.state_value(mdp, policy, discount), torch.diag(exact.visitation(mdp, policy, discount))
    column = torch.tensor([column for _, column in tabular.cells(LAYOUT)])
    feature = torch.nn.functional.one_hot(column).to(value.dtype) * ~mdp.terminal[:, None]
    moves = torch.einsum("sa,sak->sk", policy, mdp.transition)
    paid = (policy * (mdp.transition * mdp.reward).sum(-1)).sum(-1)
    found = {
        "Monte Carlo": torch.linalg.solve(feature.T @ visits @ feature, feature.T @ visits @ value),
        "TD": torch.linalg.solve(feature.T @ visits @ (feature - discount * moves @ feature), feature.T @ visits @ paid),
    }
    share = visits.diagonal() / visits.trace()
    return {name: (phi, ((feature @ phi - value).square() @ share).sqrt()) for name, phi in found.items()}


def sampled_advantage(
    mdp: tabular.Tabular, policy: policies.Policy, rng: Rng, value: Float[Tensor, "R S"], discount: float
) -> Float[Tensor, "R S A"]:
    """Mean of GAE(0.9) over the visits of eight walks to each state and action; 0 where there was none."""
    batch = episodes(replace(mdp, time_limit=60), policy, rng, environments=8)
    found = returns.gae(batch.reward, *looked_up(batch, value), discount, 0.9, batch.terminated, batch.truncated)
    chosen = torch.nn.functional.one_hot(batch.action, mdp.transition.shape[1])
    pair = torch.einsum("rtes,rtea->rtesa", batch.observation, (chosen * batch.valid.unsqueeze(-1)).to(found.dtype))
    return torch.einsum("rtesa,rte->rsa", pair, found) / pair.sum((1, 2)).clamp(min=1)


def improve(
    mdp: tabular.Tabular,
    discount: float,
    rounds: int,
    policy: policies.Categorical,
    rng: Rng,
    step: Callable[[Tensor, Tensor], Tensor],
    exactly: bool = False,
) -> Float[Tensor, "R rounds"]:
    """J before each round of: advantages, then step(logits, advantages) -> logits, all [R, S, A].

    policy: a table of logits, changed in place. Advantages are exact, or ``sampled_advantage`` with a critic off by up to 0.3.
    """
    logits, found = policy.body.weights[0].data, []
    off = 0.3 * torch.sin(torch.arange(len(mdp.terminal), dtype=logits.dtype) * 5) * ~mdp.terminal
    for _ in range(rounds):
        found.append(exact.expected_return(mdp, policy, discount).detach())
        probability = exact.action_probabilities(mdp, policy).detach()
        if exactly:
            advantage = exact.advantage(mdp, probability, discount)
        else:
            value = exact.state_value(mdp, probability, discount) + off
            advantage = sampled_advantage(mdp, policy, rng, value, discount)
        logits[:] = step(logits, advantage)
    return torch.stack(found, 1)


def last_tenth(run: History, steps: float) -> str:
    """Mean return over the last tenth of so many environment steps, with the half width of its 95 % interval, in words."""
    places = np.linspace(0.9, 1, 20) * steps
    values = [np.interp(places, *rows).mean() for rows in zip(run.steps, run.metrics["return"], strict=True)]
    return f"{np.mean(values):.0f} ± {1.96 * np.std(values, ddof=1) / len(values) ** 0.5:.0f}"
