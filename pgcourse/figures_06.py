"""Drawing for lecture 06: what would make its cells long and teaches nothing.

What moves is a function ``draw(axes, ..., **controls)`` for ``widgets.movable``; the controls start at its defaults.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from torch import Tensor

from . import nn, plots, policies, returns
from .algorithms.pong import weights
from .envs.pong import LEFT, PADDLE, RIGHT, SIZE, Pong
from .figures import BELOW
from .plots import COLORS
from .policies import Policy
from .rng import Rng
from .rollout import rollout


@lru_cache(maxsize=8)
def game(seed: int = 0, steps: int = 60) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    """Somebody who plays at random: the ball's column and the rewards of the first steps."""
    env, rng = Pong(), Rng(seed, stream=6)
    state = env.initial(rng.draw(env.spec.initial_noise)[0])
    columns, rewards = [], []
    noise, action = rng.draw(env.spec.step_noise, steps)[0], (rng.uniform(steps)[0] < 0.5).long()
    for t in range(steps):
        columns.append(state[0].clone())
        state, reward, _ = env.step(state, action[t], noise[t])
        rewards.append(reward)
    return torch.stack(columns), torch.stack(rewards)


def rally(ax: Axes, discount: float = 0.8, anew: bool = True, standardise: bool = False, another: int = 0) -> None:
    """Above where the ball is, and the points; below the weight that each step's action gets for them."""
    ax.axis("off")
    above, below = ax.inset_axes((0.07, 0.62, 0.8, 0.3)), ax.inset_axes((0.07, 0.1, 0.8, 0.4))
    columns, reward = game(another + 15)  # the first one has points of both kinds
    ended = reward != 0 if anew else torch.zeros_like(reward, dtype=torch.bool)
    weight = returns.to_go(reward[:, None], discount, ended[:, None])[:, 0]
    if standardise:
        weight = (weight - weight.mean()) / weight.std(correction=0)
    columns, reward, weight = columns.numpy(), reward.numpy(), weight.numpy()
    steps = np.arange(len(reward))
    above.plot(steps, columns, color="#757575", linewidth=1.8)
    above.axhspan(RIGHT, SIZE, color=COLORS["sample"], alpha=0.25, linewidth=0)
    above.axhspan(0, LEFT, color=COLORS["pathwise"], alpha=0.25, linewidth=0)
    for name, sign, marker, paint in (("won", 1, "^", "score_function"), ("lost", -1, "v", "biased")):
        at = steps[reward == sign]
        above.plot(at, columns[at], marker, color=COLORS[paint], markersize=11, label=f"point {name}: {sign:+d}")
    above.set(
        xlim=(-1, len(reward)), ylim=(-1, SIZE + 1), ylabel="ball, column", title="A game (the learner stands on the right)"
    )
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    paint = np.where(weight > 0, COLORS["score_function"], COLORS["biased"])
    below.bar(steps, weight, width=0.85, color=paint)
    for at in steps[reward != 0]:
        below.axvline(at + 0.5, color="#757575", linewidth=1, linestyle=":")
    reach = 2.6 if standardise else 1.6
    below.set(xlim=(-1, len(reward)), ylim=(-reach, reach), xlabel="step of the game", ylabel="weight of its action")
    below.axhline(0, color=COLORS["exact"], linewidth=1)
    below.set_title(f"{(weight > 1e-3).sum()} actions are made more probable, {(weight < -1e-3).sum()} less")


RALLY = {"size": (8.5, 5.4), "discount": (0.0, 1.0, 0.05), "anew": True, "standardise": False, "another": "another game"}
"""How ``widgets.movable`` shows ``rally``."""


def pictures(axes: Sequence[Axes], images: Mapping[str, np.ndarray | Tensor]) -> None:
    """Images in a row: colour ones as they are; of the others white is 0, blue above, vermillion below."""
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        image = np.asarray(image)
        if image.ndim == 3:
            ax.imshow(image)
        else:
            ax.imshow(_painted(image))
        ax.set(title=name, xticks=[], yticks=[])
        ax.grid(False)


def _painted(image: np.ndarray) -> np.ndarray:
    """Numbers as colours [..., 3]: white at 0, the farther from it the more blue (above) or vermillion (below)."""
    share = np.abs(image) / max(1e-12, float(np.abs(image).max()))
    ends = [np.array([int(COLORS[name][i : i + 2], 16) for i in (1, 3, 5)]) / 255 for name in ("score_function", "biased")]
    colour = np.where((image > 0)[..., None], ends[0], ends[1])
    return 1 - share[..., None] * (1 - colour)


@torch.no_grad()
def credit(
    env: Pong, policy: Policy, seeds: int, steps: int = 64, environments: int = 64, discount: float = 0.8, farthest: int = 7
) -> tuple[Float[np.ndarray, "R N"], Float[np.ndarray, "R N"]]:
    """Mean weight of actions that go towards the ball and of those that go away, so many steps before it arrives.

    Counted are steps at which the ball flies towards the learner. policy: R replicas of it, R = seeds. Returns (towards, away),
    each [R, farthest]: entry k - 1 is for a ball that is k steps away. Each is measured from what such a step gets on average.
    """
    rng = Rng(range(seeds), stream=16)
    batch, carry = rollout(env, policy, rng, 20, environments)
    batch, _ = rollout(env, policy, rng, steps, environments, carry)
    weight, decided = weights(batch.reward, batch.done, discount)
    difference = nn.picture(batch.observation, SIZE)  # [R, T, E, rows, columns]
    lit, dark = difference.clamp(min=0), (-difference).clamp(min=0)
    field = slice(LEFT + 1, RIGHT)
    grid = torch.arange(SIZE, dtype=lit.dtype)

    def centre(image: Tensor, axis: int) -> Tensor:
        inside = image[..., field]
        where = grid[field] if axis == -1 else grid[:, None]
        return (inside * where).sum((-2, -1)) / inside.sum((-2, -1)).clamp(min=1)

    flies = (centre(lit, -1) > centre(dark, -1)) & (lit[..., field].sum((-2, -1)) > 0)
    paddle = lit[..., RIGHT]
    moved = paddle.sum(-1) > 0
    down = (dark[..., RIGHT] * grid).sum(-1) < (paddle * grid).sum(-1)
    edge = (paddle * grid).sum(-1) / paddle.sum(-1).clamp(min=1)
    middle = edge + torch.where(down, -(PADDLE - 1) / 2, (PADDLE - 1) / 2)
    wanted = (centre(lit, -2) > middle).long()  # 1: the ball is below
    counted = flies & moved & decided
    distance = ((RIGHT - centre(lit, -1)) / env.ball_speed).ceil()
    found = torch.zeros(2, seeds, farthest)
    for k in range(1, farthest + 1):
        here = counted & (distance == k)
        usual = _mean(weight, here)
        for which, chosen in enumerate((batch.action == wanted, batch.action != wanted)):
            found[which, :, k - 1] = _mean(weight, here & chosen) - usual
    return found[0].numpy(), found[1].numpy()


def _mean(values: Tensor, chosen: Tensor) -> Float[Tensor, " R"]:
    """Of the chosen steps of each replica."""
    return (values * chosen).sum((1, 2)) / chosen.sum((1, 2)).clamp(min=1)


def credits(ax: Axes, towards: Float[np.ndarray, "R N"], away: Float[np.ndarray, "R N"]) -> None:
    """``credit`` drawn: weight over the steps until the ball arrives."""
    at = np.arange(1, towards.shape[1] + 1)
    plots.band(ax, at, towards, label="towards the ball", color="score_function")
    plots.band(ax, at, away, label="away from it", color="biased")
    ax.axhline(0, color=COLORS["exact"], linewidth=1)
    ax.set(xlabel="steps until the ball arrives", ylabel="mean weight of the action,\nfrom the usual one", xlim=(at[-1], at[0]))
    plots.legend(ax, loc="upper left")


def filters(axes: np.ndarray, weight: Float[Tensor, "units rows columns"], push: Float[Tensor, " units"]) -> None:
    """Weights of hidden units as pictures; push: how each moves the logit of "down"."""
    for ax, image, sign in zip(axes.flat, np.asarray(weight), np.asarray(push), strict=False):
        reach = np.quantile(np.abs(image), 0.995)
        ax.imshow(_painted(np.clip(image, -reach, reach)))
        ax.set(title="for down" if sign > 0 else "for up", xticks=[], yticks=[])
        ax.grid(False)


def strongest(policy: policies.Pixels, count: int, replica: int = 0) -> tuple[Tensor, Tensor]:
    """The hidden units with the largest weights in and out, as pictures [count, rows, columns], and how each pushes "down"."""
    first, last = policy.first.weight[replica, 1:].detach(), policy.last.weights[0][replica].detach()
    push = last[:, 1] - last[:, 0]
    order = (push.abs() * first.norm(dim=0)).argsort(descending=True)[:count]
    side = round(first.shape[0] ** 0.5)
    return first[:, order].T.reshape(-1, side, side), push[order]


@torch.no_grad()
def decisions(policy: Policy, column: int, speed: float = 4.0) -> Float[Tensor, "R heights rows"]:
    """Probability of "down" for each height of the paddle and of the ball, at ``column``, flying level towards the learner.

    The paddle has just moved down, and the built-in player stands still.
    """
    env = Pong()
    top, row = torch.arange(2, SIZE - PADDLE + 1), torch.arange(3, SIZE - 2)
    paddle, ball = (each.flatten().float() for each in torch.meshgrid(top, row, indexing="ij"))
    middle, zero = torch.full_like(ball, 18.0), torch.zeros_like(ball)
    now = torch.stack((torch.full_like(ball, column), ball, middle, paddle, zero + speed, zero), -1)
    before = torch.stack((now[:, 0] - speed, ball, middle, paddle - env.speed), -1)
    seen = env.observe(torch.cat((now, before, zero[:, None], zero[:, None]), -1))
    law = policy(seen.expand(len(next(policy.parameters())), -1, -1))
    return law.logits.softmax(-1)[..., 1].unflatten(1, (len(top), len(row)))


def boundary(ax: Axes, chance: Float[Tensor, "heights rows"]) -> None:
    """``decisions`` of one learner: blue where it goes down, vermillion where it goes up."""
    chance = np.asarray(chance)
    low, high = 2 + PADDLE / 2, SIZE - PADDLE / 2
    ax.imshow(_painted(2 * chance.T - 1), extent=(low, high, SIZE - 2, 3), aspect="auto")
    ax.plot([low, high], [low, high], "--", color=COLORS["exact"], linewidth=1.5)
    ax.set(xlabel="middle of the paddle, row", ylabel="ball, row")
    ax.grid(False)


def curves(ax: Axes, runs: Mapping[str, tuple[np.ndarray, np.ndarray]], colors: Mapping[str, str], window: int = 5) -> None:
    """Learning curves (steps [N], return per point [R, N]), each point the mean over ``window`` updates; 0 is a draw."""
    for name, (steps, values) in runs.items():
        kept = values.shape[1] // window * window
        mean = values[:, :kept].reshape(len(values), -1, window).mean(-1)
        plots.band(ax, steps[window - 1 : kept : window], mean, label=name, color=colors[name])
    ax.axhline(0, color=COLORS["exact"], linestyle="--", linewidth=1.2)
    ax.set(xlabel="decisions (environment steps)", ylabel="mean result of a point")
    ax.xaxis.set_major_formatter(EngFormatter())
    plots.legend(ax, **BELOW)


def costs(ax: Axes, values: Mapping[str, Sequence[float]], start: float) -> None:
    """What each method has come to at equal cost: a dot for each learner, a line at the mean; dashed: where all began."""
    for row, (name, each) in enumerate(values.items()):
        paint = COLORS["score_function" if "likelihood" in name else "finite_differences"]
        ax.plot(each, [row] * len(each), "o", color=paint, markersize=9, alpha=0.7)
        ax.plot([np.mean(each)] * 2, [row - 0.3, row + 0.3], color=COLORS["exact"], linewidth=2.5)
    ax.axvline(start, color="#757575", linestyle="--", linewidth=1.5)
    ax.set_yticks(range(len(values)), list(values))
    ax.set(ylim=(len(values) - 0.5, -0.5), xlabel="mean result of a point (dashed: untrained)")
    ax.grid(axis="y", visible=False)
