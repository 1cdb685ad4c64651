"""Pendulum-v1: swing a rod up and hold it there with a motor too weak to lift it at once."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..rng import Noise
from .base import Box, Env, Spec


@dataclass(frozen=True)
class Pendulum(Env):
    """Gymnasium's Pendulum-v1 on tensors, differentiable in state and action.

    The state is (angle, spin): the rod's angle from upright (counterclockwise is positive, never wrapped) and its rate.
    Observed are (cos(angle), sin(angle), spin). The action is a torque u, clipped to +-torque_limit. For a rod of mass m and
    length l

        spin'  = clip(spin + time_step (3 g / (2 l) sin(angle) + 3 u / (m l^2)), +-spin_limit)
        angle' = angle + time_step spin'

    and a step pays -(angle^2 + 0.1 spin^2 + 0.001 u^2), of the state before it, with the angle wrapped into [-pi, pi).
    Episodes never terminate; they are cut off after 200 steps.
    """

    gravity: float = 10.0
    """g, m/s^2."""
    mass: float = 1.0
    """m, kg."""
    length: float = 1.0
    """l, m."""
    time_step: float = 0.05
    """s."""
    torque_limit: float = 2.0
    """N m."""
    spin_limit: float = 8.0
    """rad/s."""

    @property
    def spec(self) -> Spec:
        return Spec(
            name="Pendulum-v1",
            observation=Box(3, units=("1", "1", "rad/s")),
            action=Box(1, -self.torque_limit, self.torque_limit, units=("N m",)),
            time_limit=200,
            state_shape=(2,),
            initial_noise=Noise("uniform", (2,)),
        )

    def initial(self, noise: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Any angle, and a spin uniform on [-1, 1) rad/s."""
        return (2 * noise - 1) * noise.new_tensor((math.pi, 1.0))

    def step(
        self, state: Float[Tensor, "*batch 2"], action: Float[Tensor, "*batch 1"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations (none)."""
        angle, spin = state.unbind(-1)
        torque = action.squeeze(-1).clamp(-self.torque_limit, self.torque_limit)
        wrapped = (angle + math.pi) % (2 * math.pi) - math.pi
        reward = -(wrapped**2 + 0.1 * spin**2 + 0.001 * torque**2)
        pull = 3 * self.gravity / (2 * self.length) * angle.sin()
        spin = spin + self.time_step * (pull + 3 / (self.mass * self.length**2) * torque)
        spin = spin.clamp(-self.spin_limit, self.spin_limit)
        state = torch.stack((angle + self.time_step * spin, spin), -1)
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def observe(self, state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """(cos(angle), sin(angle), spin)."""
        angle, spin = state.unbind(-1)
        return torch.stack((angle.cos(), angle.sin(), spin), -1)

    def picture(self, state: Float[Tensor, "*batch 2"]) -> np.ndarray:
        """The rod on its axle, uint8 [240, 240, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        angle, _ = state.detach().reshape(-1, 2)[0].tolist()
        canvas = drawing.Canvas(240, 240, 240 / (2.5 * self.length))
        thickness = 0.16 * self.length
        canvas.rod((0.0, 0.0), (0.0, self.length), thickness, "#eeeeee")  # where it should be
        if math.isfinite(angle):
            tip = (-self.length * math.sin(angle), self.length * math.cos(angle))
            canvas.rod((0.0, 0.0), tip, thickness, drawing.ORANGE)
        canvas.disc((0.0, 0.0), thickness / 4, drawing.BLACK)
        return canvas.pixels()
