"""MountainCar-v0 and MountainCarContinuous-v0: a car too weak for the hill must first back away from it. Moore (1990)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..rng import Noise
from .base import Box, Discrete, Env, Spec

_UNITS = ("1", "1/step")


@dataclass(frozen=True)
class _Valley(Env):
    """What both have in common. Position x and velocity v are the state and what is observed; the ground is at sin(3 x).

        v' = clip(v + push - gravity cos(3 x), +-speed_limit),   x' = clip(x + v', lowest, highest)

    and the wall at the lowest place stops the car. An episode terminates at the goal.
    """

    gravity: float = 0.0025
    """Per step and step."""
    speed_limit: float = 0.07
    """Per step."""
    lowest: float = -1.2
    highest: float = 0.6
    goal: ClassVar[float]

    def initial(self, noise: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2"]:
        """Standing still somewhere at the bottom, x uniform on [-0.6, -0.4)."""
        return torch.cat((0.2 * noise - 0.6, torch.zeros_like(noise)), -1)

    def _roll(self, state: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
        """Next states, and which of them are at the goal."""
        position, velocity = state.unbind(-1)
        velocity = torch.add(velocity + push, (3 * position).cos(), alpha=-self.gravity)
        velocity = velocity.clamp(-self.speed_limit, self.speed_limit)
        position = (position + velocity).clamp(self.lowest, self.highest)
        velocity = velocity.masked_fill((position <= self.lowest) & (velocity < 0), 0.0)
        terminated = (position >= self.goal) & (velocity >= 0)
        return torch.stack((position, velocity), -1), terminated

    def observe(self, state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The state itself."""
        return state

    def picture(self, state: Float[Tensor, "*batch 2"]) -> np.ndarray:
        """The valley, the goal and the car, uint8 [240, 360, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        def ground(x: float) -> tuple[float, float]:
            return x, 0.45 * math.sin(3 * x)

        x, _ = state.detach().reshape(-1, 2)[0].tolist()
        left, right = self.lowest - 0.1, self.highest + 0.1
        canvas = drawing.Canvas(360, 240, 360 / (right - left), ((left + right) / 2, 0.12))
        hill = [ground(left + (right - left) * i / 90) for i in range(91)]
        canvas.polygon([(left, -1.0), *hill, (right, -1.0)], "#dddddd")
        foot = ground(self.goal)
        canvas.rod(foot, (foot[0], foot[1] + 0.2), 0.012, drawing.BLACK)
        canvas.polygon([(foot[0], foot[1] + y) for y in (0.2, 0.12)] + [(foot[0] + 0.1, foot[1] + 0.16)], drawing.GREEN)
        if math.isfinite(x):
            slope = math.atan(1.35 * math.cos(3 * x))
            along, up = (math.cos(slope), math.sin(slope)), (-math.sin(slope), math.cos(slope))

            def of_car(a: float, b: float) -> tuple[float, float]:
                return ground(x)[0] + a * along[0] + b * up[0], ground(x)[1] + a * along[1] + b * up[1]

            body = ((-0.08, 0.03), (0.08, 0.03), (0.08, 0.09), (-0.08, 0.09))
            canvas.polygon([of_car(*corner) for corner in body], drawing.BLUE)
            for wheel in (-0.05, 0.05):
                canvas.disc(of_car(wheel, 0.025), 0.025, drawing.BLACK)
        return canvas.pixels()


@dataclass(frozen=True)
class MountainCar(_Valley):
    """Gymnasium's MountainCar-v0 on tensors, differentiable in the state.

    Actions 0, 1, 2 push by -force, 0, +force. Each step pays -1, so that the fastest way pays most; an episode terminates at
    x >= 0.5 and is cut off after 200 steps. Positions have no unit, times are counted in steps. See ``_Valley`` for the rest.
    """

    force: float = 0.001
    """Per step and step."""
    goal = 0.5

    spec = Spec(
        name="MountainCar-v0",
        observation=Box(2, (-1.2, -0.07), (0.6, 0.07), _UNITS),
        action=Discrete(3, ("push left", "no push", "push right")),
        time_limit=200,
        state_shape=(2,),
        initial_noise=Noise("uniform", (1,)),
        reward_threshold=-110.0,
    )

    def step(
        self, state: Float[Tensor, "*batch 2"], action: Int[Tensor, "*batch"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards (-1), terminations."""
        state, terminated = self._roll(state, self.force * (action - 1).to(state.dtype))
        return state, torch.full_like(state[..., 0], -1.0), terminated


@dataclass(frozen=True)
class MountainCarContinuous(_Valley):
    """Gymnasium's MountainCarContinuous-v0 on tensors, differentiable in state and action.

    The action a pushes by power * clip(a, +-1). Reaching the goal, x >= 0.45, pays 100 and terminates; every step costs
    0.1 a^2, with a as it was given. An episode is cut off after 999 steps. See ``_Valley`` for the rest.
    """

    power: float = 0.0015
    """Per step and step."""
    goal = 0.45

    spec = Spec(
        name="MountainCarContinuous-v0",
        observation=Box(2, (-1.2, -0.07), (0.6, 0.07), _UNITS),
        action=Box(1, -1.0, 1.0, units=("1",)),
        time_limit=999,
        state_shape=(2,),
        initial_noise=Noise("uniform", (1,)),
        reward_threshold=90.0,
    )

    def step(
        self, state: Float[Tensor, "*batch 2"], action: Float[Tensor, "*batch 1"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations."""
        push = action.squeeze(-1)
        state, terminated = self._roll(state, self.power * push.clamp(-1.0, 1.0))
        return state, torch.add(100.0 * terminated, push * push, alpha=-0.1), terminated
