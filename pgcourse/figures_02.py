"""Drawing for lecture 02: what would make its cells long and teaches nothing."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from . import gradients, plots
from .envs import gait
from .plots import COLORS
from .rng import Rng

GREY = COLORS["finite_differences"]
EXPONENTS = torch.arange(-15, 0.01, 0.25, dtype=torch.float64)
"""log10 of the steps at which an error is drawn."""

TOP = 1e5
"""Errors above this are not drawn: luck at the smallest steps."""

LUCK = ("none: J itself", "new throws for each aim", "the same throws for each aim")

ESTIMATORS = {"forward": gradients.forward_differences, "central": gradients.central_differences}


def vee(
    axes: Sequence[Axes],
    throw: Callable[[Tensor, Tensor], Tensor],
    mean: Callable[[Tensor], Tensor],
    difference: str = "forward",
    numbers: str = "float64",
    luck: str = LUCK[0],
    log10_step: float = -1.0,
) -> None:
    """A curve with the secant whose slope stands for its derivative; beside it the typical error of that slope for every step.

    throw: f(theta [..., 1], noise [..., 1]); mean: J(theta [..., 1]) -> [...]. Errors are root mean squares over 100 angles
    near 0.4; luck is that of 20 throws at each aim. The left-hand side draws J, whatever the luck.
    """
    left, right = axes
    step = 10**log10_step
    angle = torch.linspace(0.0, 1.0, 200, dtype=torch.float64)
    left.plot(angle, mean(angle[:, None]), color=COLORS["exact"], label="J")
    ends = torch.tensor([0.4 - step * (difference == "central"), 0.4 + step], dtype=torch.float64)
    height = mean(ends[:, None])
    tilt = float((height[1] - height[0]) / (ends[1] - ends[0])) if step > 1e-6 else float(_slope(mean, ends[:1] * 0 + 0.4))
    left.plot(angle, height[0] + tilt * (angle - ends[0]), color=GREY, linestyle="--", label="line through both")
    left.plot(ends, height, "o", color=GREY, markersize=10)
    left.set(xlim=(0, 1), ylim=(0, 12), xlabel="angle (rad)", ylabel="metres", title="Two aims, one slope")
    plots.legend(left, loc="lower right")

    error = errors(throw, mean, difference, numbers, luck)
    right.plot(10**EXPONENTS, error, color=GREY, linewidth=2.5)
    here = float(np.interp(log10_step, EXPONENTS, error.log10()))
    mark = {"color": COLORS["other"], "markersize": 12, "label": f"step {step:.0e}: error {10**here:.0e}"}
    shape = "o" if 10**here < TOP else "^"  # above the picture
    right.plot(step, min(10**here, TOP), shape, **mark)
    right.set(xscale="log", yscale="log", xlim=(5e-16, 2), ylim=(1e-13, 2 * TOP))
    right.set_xticks([1e-15, 1e-10, 1e-5, 1])
    right.set(xlabel="step (rad)", ylabel="error of the slope (m/rad)", title="Its error, for every step")
    plots.legend(right, loc="lower left")


VEE = {
    "size": (8.5, 4.6),
    "columns": 2,
    "difference": list(ESTIMATORS),
    "numbers": ["float64", "float32"],
    "luck": list(LUCK),
    "log10_step": (-15.0, 0.0, 0.25),
}
"""How ``widgets.movable`` shows ``vee``."""


def errors(
    throw: Callable[[Tensor, Tensor], Tensor], mean: Callable[[Tensor], Tensor], difference: str, numbers: str, luck: str
) -> Float[Tensor, " N"]:
    """Root mean squared error of a difference over 100 angles near 0.4, at each step 10 ** EXPONENTS."""
    theta = torch.linspace(0.35, 0.45, 100, dtype=torch.float64)[:, None]
    truth = _slope(mean, theta[:, 0])
    low = theta.to(getattr(torch, numbers))
    rng = Rng(range(100), stream=2, dtype=low.dtype)
    aims = 2 if luck == LUCK[1] else 1  # of one parameter, both differences look at two
    noise = None if luck == LUCK[0] else rng.normal(aims, 20, 1)
    objective = (lambda theta, noise: mean(theta)) if noise is None else throw
    error = []
    for exponent in EXPONENTS.tolist():
        found = ESTIMATORS[difference](objective, low, noise, 10**exponent)[:, 0].double()
        error.append((found - truth).square().mean().sqrt())
    return torch.stack(error).clamp(min=1e-16)


def _slope(mean: Callable[[Tensor], Tensor], theta: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The exact derivative, by autograd."""
    theta = theta.clone().requires_grad_()
    return torch.autograd.grad(mean(theta[:, None]).sum(), theta)[0]


def error_curves(
    ax: Axes,
    steps: Tensor,
    curves: Mapping[str, tuple[Tensor, str] | tuple[Tensor, str, str]],
    lines: Mapping[str, tuple[Tensor, str]] | None = None,
    unit: str = "m/rad",
) -> None:
    """Errors against the step, on logarithmic axes. curves: bands over replicas [R, N], or one line [N]; each with its colour
    and, for one line, its style. lines: what a formula says [N], and a style."""
    for name, (error, paint, *style) in curves.items():
        if error.ndim == 1:
            line = style[0] if style else "-"
            ax.plot(steps, error, color=COLORS.get(paint, paint), linestyle=line, linewidth=2.5, label=name)
        else:
            plots.band(ax, steps, error, label=name, color=paint, thin=False)
    for name, (line, style) in (lines or {}).items():
        ax.plot(steps, line, color=COLORS["exact"], linestyle=style, linewidth=1.4, label=name)
    ax.set(xscale="log", yscale="log", xlabel="step (rad)", ylabel=f"error of the slope ({unit})")
    plots.legend(ax)


# ------------------------------------------------------------------------------------------------------------- the robot


def robot(
    ax: Axes,
    phase: float = 0.2,
    locus_height: float = gait.START[0],
    locus_length: float = gait.START[6],
    body_height: float = gait.START[8],
    share_on_the_ground: float = gait.START[11],
) -> None:
    """The robot from its left side, at one moment of its trot, with the loci that its feet go round."""
    p = torch.tensor(gait.START, dtype=torch.float64)
    p[[0, 3]], p[6], p[11] = locus_height, locus_length, share_on_the_ground
    p[[8, 9]] = body_height
    rounds = torch.linspace(0, 1, 200, dtype=torch.float64)
    hips = {gait.FRONT: 90.0, gait.REAR: -90.0}
    ax.axhline(0, color="#999999", linewidth=1.5)
    for far in (True, False):
        for end, hip in hips.items():
            ahead = 0.5 * ((end == gait.REAR) != far)  # diagonal legs together
            joint = gait.joints(gait.locus(p, torch.tensor([phase + ahead], dtype=p.dtype), end), end)[0]
            roll, pitch = joint[:2].tolist()
            knee_at = (hip + gait.UPPER * np.sin(pitch), body_height - gait.UPPER * np.cos(pitch) * np.cos(roll))
            foot = gait.foot(joint)
            foot_at = (hip + float(foot[0]), body_height + float(foot[2]))
            look = {"color": COLORS["sample"] if far else COLORS["score_function"], "alpha": 0.6 if far else 1.0}
            side = ("far side" if far else "near side") if end == gait.FRONT else None
            x, z = zip((hip, body_height), knee_at, foot_at, strict=True)
            ax.plot(x, z, "o-", linewidth=7, solid_capstyle="round", label=side, **look)
            if not far:
                path = gait.locus(p, rounds, end)
                label = "where a foot is told to go" if end == gait.FRONT else None
                ax.plot(hip + path[:, 0], body_height + path[:, 2], color=COLORS["other"], linewidth=2, label=label)
    ax.plot([-105, 105], [body_height] * 2, color="#333333", linewidth=22, solid_capstyle="round")
    ax.text(150, body_height, "forward →", va="center", fontsize=13)
    ax.set(xlim=(-200, 230), ylim=(-15, 190), aspect="equal", xlabel="mm", ylabel="mm")
    ax.grid(False)
    plots.legend(ax, loc="upper left")


ROBOT = {
    "size": (8.0, 4.3),
    "phase": (0.0, 1.0, 0.05),
    "locus_height": (5.0, 60.0, 1.0),
    "locus_length": (20.0, 120.0, 2.0),
    "body_height": (80.0, 140.0, 2.0),
    "share_on_the_ground": (0.25, 0.8, 0.05),
}
"""How ``widgets.movable`` shows ``robot``."""


def race(axes: np.ndarray, curves: Mapping[str, Float[np.ndarray, "R N"]], walks: int, start: float, reference: str) -> None:
    """Each method's answers on axes of its own, in front of the ``reference`` method's, against walks; a line at the start."""
    shown = [name for name in curves if name != reference]
    x = walks * np.arange(1, curves[reference].shape[1] + 1)
    top = max(float(y.mean(0).max() + 2 * y.std(0)[-1]) for y in curves.values())
    for ax, name in zip(np.ravel(axes), shown, strict=False):
        ax.axhline(start, color=COLORS["exact"], linestyle="--", linewidth=1.2)
        plots.band(ax, x, curves[reference], color="finite_differences", thin=False)
        plots.band(ax, x, curves[name], color="other")
        ax.get_legend().remove()
        ax.set(title=name, xlim=(0, x[-1]), ylim=(0.9 * start, top))
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("speed (mm/s)")
        if ax.get_subplotspec().is_last_row():
            ax.set_xlabel("walks")
    rest = np.ravel(axes)[len(shown)]  # the legend has the place that is left over
    rest.axis("off")
    count = len(curves[reference])
    for paint, words in (("finite_differences", reference), ("other", "method named")):
        rest.plot([], [], color=COLORS[paint], linewidth=3, label=f"{words}:\n{count} replicas")
    rest.fill_between([], [], color="#bbbbbb", label="95 % interval\nof the mean")
    rest.plot([], [], color=COLORS["other"], linewidth=1.2, label="one replica")
    rest.plot([], [], color=COLORS["exact"], linestyle="--", label="set by hand")
    plots.legend(rest, loc="center", bbox_to_anchor=(0.5, 0.5))
    rest.get_legend().set_in_layout(False)


def promises(ax: Axes, promised: Float[np.ndarray, " R"], kept: Float[np.ndarray, " R"]) -> None:
    """What each learner's best measurement promised, and what its gait then did, with a line from one to the other."""
    for a, b in zip(promised, kept, strict=True):
        ax.plot([0, 1], [a, b], color="#bbbbbb", linewidth=1)
    look = {"markersize": 9, "markeredgecolor": "white"}
    ax.plot(np.zeros(len(promised)), promised, "o", color=COLORS["biased"], label="best measurement", **look)
    ax.plot(np.ones(len(kept)), kept, "o", color=COLORS["exact"], label="true speed of that gait", **look)
    ax.set_xticks([0, 1], ["promised", "kept"])
    ax.set(xlim=(-0.5, 1.5), ylabel="speed (mm/s)")
    plots.legend(ax, loc="upper right")
