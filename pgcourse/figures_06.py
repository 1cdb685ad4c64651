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

GAMES = 300
"""So many games are played for ``rally``; it shows the first."""


@lru_cache(maxsize=8)
def games(seed: int = 0, steps: int = 60) -> tuple[Float[Tensor, "T E"], Float[Tensor, "T E"], Float[Tensor, "T E"]]:
    """Somebody who plays at random: the ball's column, the rewards, and where each action goes.

    The last is 1 towards the ball's height, -1 away from it, and 0 where the ball does not fly towards the learner.
    """
    env, rng = Pong(), Rng(seed, stream=6)
    state = env.initial(rng.draw(env.spec.initial_noise, GAMES)[0])
    noise, action = rng.draw(env.spec.step_noise, steps, GAMES)[0], (rng.uniform(steps, GAMES)[0] < 0.5).long()
    columns, rewards, ways = [], [], []
    for t in range(steps):
        x, y, _, top, speed = state.unbind(-1)[:5]
        wanted = (y > top + PADDLE / 2).long()  # 1: the ball is below
        ways.append(torch.where((speed > 0) & (x < RIGHT), 2.0 * (action[t] == wanted) - 1, 0.0))
        columns.append(x)
        state, reward, _ = env.step(state, action[t], noise[t])
        rewards.append(reward)
    return torch.stack(columns), torch.stack(rewards), torch.stack(ways)


def rally(
    ax: Axes, discount: float = 0.8, anew: bool = True, standardise: bool = False, over: int = GAMES, another: int = 0
) -> None:
    """Where the ball is, and the points; the weight of each step's action; its mean for actions towards the ball and away."""
    ax.axis("off")
    above, middle, below = (
        ax.inset_axes((0.17, bottom, 0.7, high)) for bottom, high in ((0.74, 0.2), (0.34, 0.26), (0.07, 0.11))
    )
    columns, reward, way = (each[:, :over] for each in games(another + SEED))
    point = reward != 0
    weight = returns.to_go(reward, discount, point if anew else torch.zeros_like(point))
    decided = point.flip(0).cumsum(0).flip(0) > 0  # a point follows
    if standardise:
        weight = (weight - weight[decided].mean()) / (weight[decided].std(correction=0) + 1e-8)
    weight = weight * decided

    steps, ball, result, one = np.arange(len(reward)), columns[:, 0].numpy(), reward[:, 0].numpy(), weight[:, 0].numpy()
    above.plot(steps, ball, color="#757575", linewidth=1.8)
    above.axhspan(RIGHT, SIZE, color=COLORS["sample"], alpha=0.25, linewidth=0)
    above.axhspan(0, LEFT, color=COLORS["pathwise"], alpha=0.25, linewidth=0)
    for name, sign, marker, paint in (("won", 1, "^", "score_function"), ("lost", -1, "v", "biased")):
        at = steps[result == sign]
        above.plot(at, ball[at], marker, color=COLORS[paint], markersize=11, label=f"{name}: {sign:+d}")
    above.set(
        xlim=(-1, len(result)), ylim=(-1, SIZE + 1), ylabel="ball,\ncolumn", title="A game (the learner stands on the right)"
    )
    above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)

    middle.bar(steps, one, width=0.85, color=np.where(one > 0, COLORS["score_function"], COLORS["biased"]))
    for at in steps[result != 0]:
        middle.axvline(at + 0.5, color="#757575", linewidth=1, linestyle=":")
    reach = max(2.6 if standardise else 1.6, 1.1 * np.abs(one).max())
    middle.set(xlim=(-1, len(result)), ylim=(-reach, reach), xlabel="step of the game", ylabel="weight of\nits action")
    middle.axhline(0, color=COLORS["exact"], linewidth=1)
    middle.set_title(f"{(one > 1e-3).sum()} actions are made more probable, {(one < -1e-3).sum()} less")

    counted = decided & (way != 0)
    usual = weight[counted].mean()
    for row, (sign, paint) in enumerate(((1, "score_function"), (-1, "biased"))):
        mean, error = _ratio(weight - usual, counted & (way == sign))
        below.errorbar(mean, row, xerr=1.96 * error, fmt="o", color=COLORS[paint], markersize=9, capsize=5, linewidth=2.5)
    below.axvline(0, color=COLORS["exact"], linewidth=1)
    below.set_yticks([0, 1], ["towards the ball", "away from it"])
    reach, what = 0.4 if standardise else 0.2, f"{over} games, 95 % intervals" if over > 1 else "this game"
    below.set(xlim=(-reach, reach), ylim=(1.6, -0.6), title=f"Mean weight, {what} (0: the usual)")
    below.grid(axis="y", visible=False)


def _ratio(values: Float[Tensor, "T E"], chosen: Tensor) -> tuple[float, float]:
    """Mean of the chosen values, and its standard error over games (0 for one game, where it is unknown)."""
    count, total = chosen.sum(0), (values * chosen).sum(0)
    mean = total.sum() / count.sum().clamp(min=1)
    if len(count) == 1:
        return float(mean), 0.0
    spread = (total - mean * count).square().sum() * len(count) / (len(count) - 1)
    return float(mean), float(spread.sqrt() / count.sum().clamp(min=1))


SEED = 18
"""Of the games that ``rally`` begins with: the first has points of both kinds."""

RALLY = {
    "size": (8.5, 6.4),
    "discount": (0.0, 1.0, 0.05),
    "anew": True,
    "standardise": False,
    "over": (1, GAMES),
    "another": "other games",
}
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
    ax.set(
        xlabel="steps until the ball arrives",
        ylabel="mean weight of the action,\ncompared with the usual",
        xlim=(at[-1], at[0]),
    )
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


def right_way(chance: Float[Tensor, "heights rows"], apart: float = 3.0) -> float:
    """Of ``decisions`` of one learner: the share that goes towards the ball, where it is more than ``apart`` rows off."""
    top, row = torch.arange(2, SIZE - PADDLE + 1), torch.arange(3, SIZE - 2)
    below = row[None] - (top[:, None] + PADDLE / 2)
    return float(((chance > 0.5) == (below > 0))[below.abs() > apart].double().mean())


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
