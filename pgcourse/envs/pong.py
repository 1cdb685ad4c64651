"""Pong, seen as pixels: a batched game of our own on tensors, with the geometry of Atari's after preprocessing."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import nn
from ..rng import Noise
from .base import Box, Discrete, Env, Spec

SIZE = 40
"""Rows and columns of a frame."""
PADDLE = 4
"""Rows a paddle is high; it is 2 columns wide."""
BALL = 4
"""Rows the ball is high, twice Atari's; it is 1 column wide. Each pixel is lit the more often, and so learned the sooner."""
LEFT, RIGHT = 4, 35
"""Columns of the paddles' front sides: the built-in player's and the learner's."""
_ROWS = 2
"""Rows a paddle moves in a step at most."""


@dataclass(frozen=True)
class Pong(Env):
    """Pong against a built-in player who follows the ball, one decision every step: up or down.

    The learner's paddle, on the right, moves ``speed`` rows a step; the built-in player's moves towards the ball's height, by
    ``opponent_speed`` rows at most. The ball crosses ``ball_speed`` columns a step. A paddle sends it back at a slope that
    depends on where it was hit, up to ``steepest`` rows a step at the edge: that is how one beats a player who is slower than a
    steep ball. A point pays +1 or -1 and is followed by a serve towards whoever lost it. The game ends when one side has
    ``points`` points.

    Observed is the difference of this frame and the one before, as a list of pixels: a number k > 0 says that pixel k - 1 (row
    by row, 40 in a row) has been lit, -k that it has gone dark, 0 says nothing. ``frame`` draws the frames themselves, and
    ``nn.picture`` such a list.

    This is a simulator of our own, not Atari's: the geometry of facts known about that game, simpler physics. Lecture 06.
    """

    points: int = 21
    """Points that win the game."""
    speed: float = 2.0
    """Rows a step."""
    opponent_speed: float = 0.5
    """Rows a step."""
    ball_speed: float = 4.0
    """Columns a step."""
    steepest: float = 2.0
    """Rows a step."""

    def __post_init__(self):
        if not 0 < max(self.speed, self.opponent_speed) <= _ROWS:
            raise ValueError(
                f"speed is {self.speed} and opponent_speed is {self.opponent_speed}; a paddle moves at most {_ROWS} rows."
            )
        if self.points < 1:
            raise ValueError(f"points is {self.points}; a game takes at least 1.")

    pixels: ClassVar[int] = SIZE * SIZE
    """Pixels of a frame."""

    @property
    def spec(self) -> Spec:
        return Spec(
            name="pong",
            observation=Box(_PIXELS, -SIZE * SIZE, SIZE * SIZE, units=("pixel",) * _PIXELS),
            action=Discrete(2, ("up", "down")),
            time_limit=None,
            state_shape=(12,),
            initial_noise=Noise("uniform", (3,)),
            step_noise=Noise("uniform", (2,)),
        )

    def initial(self, noise: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 12"]:
        """A serve towards a side chosen by the first number; both paddles in the middle."""
        side = torch.where(noise[..., 0] < 0.5, -1.0, 1.0).to(noise.dtype)
        ball = self._serve(side, noise[..., 1:])
        middle = torch.full_like(side, (SIZE - PADDLE) / 2)
        zero = torch.zeros_like(side)
        now = torch.stack((ball[0], ball[1], middle, middle), -1)
        return torch.cat((now, torch.stack(ball[2:], -1), now, torch.stack((zero, zero), -1)), -1)

    def _serve(self, side: Tensor, noise: Float[Tensor, "*batch 2"]) -> tuple[Tensor, ...]:
        """Column, row, speeds of a ball that starts in the middle of the field."""
        row = 5 + (SIZE - 10) * noise[..., 0]
        slope = self.steepest / 2 * (2 * noise[..., 1] - 1)
        return torch.full_like(row, SIZE / 2), row, self.ball_speed * side, slope

    def step(
        self, state: Float[Tensor, "*batch 12"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 2"]
    ) -> tuple[Float[Tensor, "*batch 12"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, points scored (+1 the learner's, -1 the built-in player's), whether the game is over."""
        x, y, opponent, learner, speed, slope, _, _, _, _, lost, won = state.unbind(-1)
        top = SIZE - PADDLE
        learner = (learner + self.speed * (2 * action - 1)).clamp(0, top)
        opponent = (opponent + (y - PADDLE / 2 - opponent).clamp(-self.opponent_speed, self.opponent_speed)).clamp(0, top)

        next_x, next_y = x + speed, y + slope
        highest, lowest = BALL / 2, SIZE - BALL / 2
        bounced = (next_y < highest) | (next_y > lowest)
        next_y = torch.where(next_y < highest, 2 * highest - next_y, next_y)
        next_y = torch.where(next_y > lowest, 2 * lowest - next_y, next_y)
        slope = torch.where(bounced, -slope, slope)

        reaches_right, reaches_left = (x < RIGHT) & (next_x >= RIGHT), (x > LEFT) & (next_x <= LEFT)
        # How far from its middle the paddle is hit, -1 to 1 at its edges; the ball's own half height counts.
        offset = (next_y - PADDLE / 2 - torch.where(speed > 0, learner, opponent)) / (PADDLE / 2 + BALL / 2)
        hit = (reaches_right | reaches_left) & (offset.abs() <= 1)
        front = torch.where(speed > 0, float(RIGHT), float(LEFT))
        next_x = torch.where(hit, front, next_x)
        slope = torch.where(hit, self.steepest * offset, slope)
        speed = torch.where(hit, -speed, speed)

        out_right, out_left = next_x >= SIZE, next_x < 0
        out = out_right | out_left
        reward = out_left.to(x.dtype) - out_right.to(x.dtype)
        lost, won = lost + out_right, won + out_left
        served = self._serve(speed.sign(), noise)
        now = (torch.where(out, a, b) for a, b in zip(served, (next_x, next_y, speed, slope), strict=True))
        next_x, next_y, speed, slope = now
        before = state[..., :4]
        head = torch.stack((next_x, next_y, opponent, learner, speed, slope), -1)
        state = torch.cat((head, before, torch.stack((lost, won), -1)), -1)
        return state, reward, torch.maximum(lost, won) >= self.points

    def observe(self, state: Float[Tensor, "*batch 12"]) -> Float[Tensor, "*batch 20"]:
        """What changed since the frame before, as a list of pixels."""
        now, before = state[..., :4].round(), state[..., 6:10].round()
        parts = [_ball(now), -_ball(before)]
        for paddle, column in ((2, LEFT - 1), (3, RIGHT)):
            parts += _moved(before[..., paddle], now[..., paddle], column)
        return torch.cat(parts, -1)

    def frame(self, state: Float[Tensor, "*batch 12"]) -> Float[Tensor, "*batch 40 40"]:
        """The picture at this moment: 1 where it is lit, 2 where the ball covers a paddle, else 0."""
        now = state[..., :4].round()
        rows = torch.arange(PADDLE, device=state.device, dtype=state.dtype)
        lit = [_ball(now)]
        for paddle, column in ((2, LEFT - 1), (3, RIGHT)):
            top = (now[..., paddle, None] + rows) * SIZE + column + 1
            lit += [top, top + 1]
        return nn.picture(torch.cat(lit, -1), SIZE)

    def picture(self, state: Float[Tensor, "*batch 12"]) -> np.ndarray:
        """The frame of one state, or of the first of many, uint8 [240, 240, 3], with the score."""
        from PIL import Image, ImageDraw

        one = state.detach().reshape(-1, 12)[0]
        lit = self.frame(one).cpu().numpy().astype(bool)
        image = np.where(lit[..., None], np.uint8([236, 236, 236]), np.uint8([34, 34, 34]))
        image[:, : LEFT + 1][lit[:, : LEFT + 1]] = (230, 159, 0)
        image[:, RIGHT : RIGHT + 2][lit[:, RIGHT : RIGHT + 2]] = (86, 180, 233)
        picture = Image.fromarray(image).resize((6 * SIZE, 6 * SIZE), Image.Resampling.NEAREST)
        ImageDraw.Draw(picture).text((3 * SIZE, 6), f"{one[10]:.0f} : {one[11]:.0f}", anchor="ma", font_size=24)
        return np.asarray(picture)


_PIXELS = 2 * BALL + 2 * 2 * 2 * _ROWS
"""Length of an observation: the ball here and before; rows of both paddles, 2 columns each, lit and dark."""


def _ball(now: Tensor) -> Float[Tensor, "*batch rows"]:
    """The ball's pixels, as numbers from 1 on."""
    column, row = now[..., :1], now[..., 1:2]
    rows = (row - BALL // 2).clamp(0, SIZE - BALL) + torch.arange(BALL, device=now.device, dtype=now.dtype)
    return rows * SIZE + column.clamp(0, SIZE - 1) + 1


def _moved(before: Tensor, now: Tensor, column: int) -> list[Tensor]:
    """Pixels of the rows that a paddle enters (numbers) and leaves (minus numbers) as it moves, two columns each; 0 beyond."""
    j = torch.arange(_ROWS, device=now.device, dtype=now.dtype)
    distance = (now - before).unsqueeze(-1)
    before, now = before.unsqueeze(-1), now.unsqueeze(-1)
    down = distance > 0
    entered = torch.where(down, now + PADDLE - 1 - j, now + j) * SIZE + column + 1
    left = torch.where(down, before + j, before + PADDLE - 1 - j) * SIZE + column + 1
    moved = (j < distance.abs()).to(now.dtype)
    return [moved * entered, moved * (entered + 1), -moved * left, -moved * (left + 1)]
