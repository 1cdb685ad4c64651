"""Drawing for lecture 08, and what it draws: workers on a bowl, timed by lot, and descent along gradients that are old."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from torch import Tensor

from . import figures, plots
from .history import History
from .plots import COLORS
from .rng import Rng

PAINTS = {"waiting": "score_function", "not waiting": "biased"}

CURVATURE = torch.tensor([1.0, 0.1], dtype=torch.float64)
"""Of the bowl f(theta) = sum_i curvature_i theta_i^2 / 2; theta begins at (3, 3)."""


@dataclass(frozen=True)
class Update:
    """One change of the weights: when, by whom, from when on it was computed, and how many others' came in between."""

    end: float
    worker: int
    begin: float
    staleness: int


def durations(workers: int, spread: float, count: int, seed: int) -> Float[Tensor, "W K"]:
    """How long each worker takes for each of its batches: mean 1, lognormal; ``spread`` is the deviation of the logarithm."""
    drawn = Rng(range(workers), stream=100 + seed, dtype=torch.float64).normal(count)
    return (spread * drawn - spread**2 / 2).exp()


def without_waiting(time: Float[Tensor, "W K"], updates: int) -> list[Update]:
    """Every worker copies, computes, updates, and begins again; the first so many updates in their order."""
    workers = len(time)
    ends = [(time[w, 0].item(), w) for w in range(workers)]
    heapq.heapify(ends)
    begin, seen, done, found = [0.0] * workers, [0] * workers, [0] * workers, []
    while ends and len(found) < updates:
        end, w = heapq.heappop(ends)
        found.append(Update(end, w, begin[w], len(found) - seen[w]))
        begin[w], seen[w] = end, len(found)
        done[w] += 1
        if done[w] < time.shape[1]:
            heapq.heappush(ends, (end + time[w, done[w]].item(), w))
    return found


def with_waiting(time: Float[Tensor, "W K"], updates: int) -> list[list[Update]]:
    """Rounds: all begin together, and the round lasts until the slowest is done. ``end`` is when a worker itself is done."""
    rounds, begin = [], 0.0
    for lasts in time.T[:updates].tolist():
        rounds.append([Update(begin + each, w, begin, 0) for w, each in enumerate(lasts)])
        begin = max(each.end for each in rounds[-1])
    return rounds


def descend(
    staleness: Sequence[int], averaged: int, step_size: float, replicas: int = 100, noise: float = 1.0
) -> Float[Tensor, "R K"]:
    """f of noisy descent on the bowl after 0, 1, ... updates: theta_{k+1} = theta_k - step_size (g(theta_{k - d_k}) + noise).

    averaged: how many gradients a step is the mean of. Stops where it has become hopelessly large.
    """
    rng = Rng(range(replicas), stream=8, dtype=torch.float64)
    drawn = rng.normal(len(staleness), len(CURVATURE)) * noise / averaged**0.5
    path = [torch.full((replicas, len(CURVATURE)), 3.0, dtype=torch.float64)]
    for k, d in enumerate(staleness):
        gradient = CURVATURE * path[k - d] + drawn[:, k]
        path.append((path[-1] - step_size * gradient).clamp(-1e3, 1e3))
    return (CURVATURE * torch.stack(path, 1).square() / 2).sum(-1)


def race(axes: Sequence[Axes], workers: int = 4, spread: float = 0.5, step_size: float = 0.1, seed: int = 0) -> None:
    """Left: who works and who waits, with and without waiting; right: how far down the bowl each way has come by then."""
    left, right = axes
    span, shown = 60, 6.0
    time = durations(workers, spread, 4 * span + 40, seed)
    rounds = [each for each in with_waiting(time, span) if each[0].begin < span]
    free = [each for each in without_waiting(time, 2 * span * workers) if each.end < span]
    for row, (name, jobs) in enumerate({"waiting": list(chain(*rounds)), "not waiting": free}.items()):
        for job in jobs:
            if job.begin < shown:
                y = row * (workers + 1) + job.worker
                look = {"color": COLORS[PAINTS[name]], "edgecolor": "white", "height": 0.85}
                left.barh(y, min(job.end, shown) - job.begin, left=job.begin, **look)
    for each in rounds:
        finish = max(job.end for job in each)
        if finish < shown:
            left.plot([finish] * 2, [-0.6, workers - 0.4], color=COLORS["exact"], linewidth=1.2)
    left.set(xlim=(0, shown), ylim=(2 * workers + 0.7, -0.8), xlabel="time (mean batches)", title="Who works when")
    left.set_yticks([(workers - 1) / 2, workers + 1 + (workers - 1) / 2], ["waiting", "not\nwaiting"])
    left.grid(visible=False)
    curves = {
        "waiting": ([max(job.end for job in each) for each in rounds], descend([0] * len(rounds), workers, step_size)),
        "not waiting": ([each.end for each in free], descend([each.staleness for each in free], 1, step_size)),
    }
    for name, (at, value) in curves.items():
        right.step([0, *at], value.mean(0), where="post", color=COLORS[PAINTS[name]], label=f"{name}: {len(at)} updates")
    right.set(yscale="log", xlim=(0, span), ylim=(1e-2, 1e2), xlabel="time (mean batches)", ylabel="height above the bottom")
    right.set_title("Down the bowl, mean of 100 runs")
    plots.legend(right, **figures.BELOW)


RACE = {
    "size": (8.6, 5.2),
    "columns": 2,
    "workers": (1, 16),
    "spread": (0.0, 1.0, 0.1),
    "step_size": (0.02, 0.4, 0.02),
    "seed": "other luck",
}
"""How ``widgets.movable`` shows ``race``."""


def stable_step(delay: int) -> float:
    """The step size, times the curvature, beyond which descent with gradients so many updates old diverges. (8.8)"""
    return 2 * math.sin(math.pi / (2 * (2 * delay + 1)))


def bars(ax: Axes, counted: Mapping[str, Sequence[int]], paints: Sequence[str], largest: int = 10) -> None:
    """How often each staleness occurred, as a share; what is larger than ``largest`` is counted there."""
    width = 0.8 / len(counted)
    for place, ((name, values), paint) in enumerate(zip(counted.items(), paints, strict=True)):
        values = np.asarray(values, dtype=int)
        share = np.bincount(values.clip(max=largest), minlength=largest + 1) / len(values)
        at = np.arange(largest + 1) + (place - (len(counted) - 1) / 2) * width
        ax.bar(at, share, width, color=COLORS[paint], label=f"{name}: mean {values.mean():.2f}")
    ax.set_xticks(range(largest + 1), [*map(str, range(largest)), f"{largest}+"])
    ax.set(xlabel="staleness (updates by others)", ylabel="share of the updates")
    plots.legend(ax)


def swings(ax: Axes, paths: Mapping[str, Float[Tensor, " K"]], paints: Sequence[str]) -> None:
    """theta over updates, one line for each name."""
    for (name, path), paint in zip(paths.items(), paints, strict=True):
        ax.plot(path, "o-", markersize=4, color=COLORS[paint], label=name)
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.set(xlabel="updates", ylabel="θ")
    plots.legend(ax)


def smooth(y: Float[Tensor, "R N"], over: int) -> Float[Tensor, "R N"]:
    """Mean over the last ``over`` values at each place (fewer at the beginning), of those that are not NaN."""
    seen = torch.nn.functional.pad((~y.isnan()).to(y.dtype), (1, 0)).cumsum(1)
    total = torch.nn.functional.pad(y.nan_to_num(), (1, 0)).cumsum(1)
    last = torch.arange(1, total.shape[1])
    first = (last - over).clamp(min=0)
    return (total[:, last] - total[:, first]) / (seen[:, last] - seen[:, first])


def by_update(ax: Axes, returns: Mapping[str, Float[Tensor, "R N"] | np.ndarray], paints: Sequence[str]) -> None:
    """A band over updates for each name -> return at each update."""
    for (name, y), paint in zip(returns.items(), paints, strict=True):
        plots.band(ax, np.arange(1, y.shape[1] + 1), y, label=name, color=paint, thin=False)
    ax.set(xlabel="updates", ylabel="return per episode")
    plots.legend(ax, **figures.BELOW)


def curves(ax: Axes, runs: Mapping[str, tuple[History, int]], paints: Sequence[str]) -> None:
    """A band over environment steps for each name -> history and the number of updates over which its return is averaged."""
    for (name, (history, over)), paint in zip(runs.items(), paints, strict=True):
        y = smooth(torch.from_numpy(history.metrics["return"]), over)
        known = y.isfinite().all(0)  # from when on every replica has seen an episode end
        x, y = plots.common_grid(history.steps[:, known], y[:, known])
        plots.band(ax, x, y, label=name, color=paint, thin=False)
    ax.set(xlabel="environment steps", ylabel="return per episode")
    ax.xaxis.set_major_formatter(EngFormatter())
    plots.legend(ax, **figures.BELOW)
