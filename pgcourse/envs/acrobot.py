"""Acrobot-v1: two links hung from a bar, a motor only in the joint between them. Sutton (1996); Sutton & Barto (2018)."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..rng import Noise
from .base import Box, Discrete, Env, Spec
from .integrate import runge_kutta


@dataclass(frozen=True)
class Acrobot(Env):
    """Gymnasium's Acrobot-v1 on tensors, differentiable in the state.

    The state is (a1, a2, w1, w2): the angle of the first link from straight down, that of the second from the first's
    direction (both counterclockwise, wrapped into [-pi, pi)), and their rates, held within +-4 pi and +-9 pi. Observed are
    (cos a1, sin a1, cos a2, sin a2, w1, w2). Actions 0, 1, 2 are torques u = -1, 0, +1 N m between the links. Both links have
    length l, mass m, their centre at l / 2, and a moment of inertia I about it. With B = m l^2 / 2, K = m l^2 / 4 + I,
    D = m l^2 + 2 B cos(a2) + 2 K and d = K + B cos(a2), the book's equations are

        D w1' + d w2' = B sin(a2) (w2^2 + 2 w1 w2) - (3/2) m g l sin(a1) - (1/2) m g l sin(a1 + a2)
        d w1' + K w2' = u - B sin(a2) w1^2                               - (1/2) m g l sin(a1 + a2)

    and a step is one of Runge-Kutta's. An episode terminates once the free end is a length above the bar,
    -cos(a1) - cos(a1 + a2) > 1. That step pays 0, every other one -1; after 500 steps the episode is cut off.
    """

    gravity: float = 9.8
    """g, m/s^2."""
    mass: float = 1.0
    """m, of each link, kg."""
    length: float = 1.0
    """l, of each link, m."""
    inertia: float = 1.0
    """I, of each link about its centre, kg m^2 (a uniform rod's would be 1/12)."""
    torque: float = 1.0
    """|u|, N m."""
    time_step: float = 0.2
    """s."""

    spec = Spec(
        name="Acrobot-v1",
        observation=Box(6, units=("1", "1", "1", "1", "rad/s", "rad/s")),
        action=Discrete(3, ("torque -1", "no torque", "torque +1")),
        time_limit=500,
        state_shape=(4,),
        initial_noise=Noise("uniform", (4,)),
        reward_threshold=-100.0,
    )

    def initial(self, noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Hanging, each of the four numbers uniform on [-0.1, 0.1)."""
        return 0.2 * noise - 0.1

    def step(
        self, state: Float[Tensor, "*batch 4"], action: Int[Tensor, "*batch"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations."""
        torque = self.torque * (action.to(state.dtype) - 1)
        angles, spins = runge_kutta(self.rates, state, torque, self.time_step).split(2, -1)
        limits = _constants(self, state.dtype, state.device)[-1]
        spins = torch.minimum(torch.maximum(spins, -limits), limits)
        angles = torch.remainder(angles + math.pi, 2 * math.pi) - math.pi
        terminated = -angles[..., 0].cos() - angles.sum(-1).cos() > 1.0
        return torch.cat((angles, spins), -1), terminated.to(state.dtype) - 1, terminated

    def rates(self, state: Float[Tensor, "*batch 4"], torque: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4"]:
        """d state / dt: the equations of motion, solved for w1' and w2'."""
        # As in CartPole, few and fused operations: each costs much the same on small tensors, and this runs four times a step.
        directions, weights, long, short, determinant, _ = _constants(self, state.dtype, state.device)
        w1, w2 = state[..., 2], state[..., 3]
        sines, cosine = (state @ directions).sin(), state[..., 1].cos()  # sines of a1, a2, a1 + a2
        pull, bend = sines @ weights, self._lever * sines[..., 1]
        force1 = torch.addcmul(pull[..., 0], bend, w2 * torch.add(w2, w1, alpha=2))
        force2 = torch.addcmul(pull[..., 1] + torque, bend, w1 * w1, value=-1)
        whole = torch.add(long, cosine, alpha=2 * self._lever)  # D
        shared = torch.add(short, cosine, alpha=self._lever)  # d
        determinant = torch.addcmul(determinant, cosine, cosine, value=-(self._lever**2))  # D K - d^2
        turn1 = torch.addcmul(short * force1, shared, force2, value=-1) / determinant
        turn2 = torch.addcmul(whole * force2, shared, force1, value=-1) / determinant
        return torch.stack((w1, w2, turn1, turn2), -1)

    @property
    def _lever(self) -> float:
        """B, kg m^2."""
        return self.mass * self.length**2 / 2

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 6"]:
        """(cos a1, sin a1, cos a2, sin a2, w1, w2)."""
        a1, a2, w1, w2 = state.unbind(-1)
        return torch.stack((a1.cos(), a1.sin(), a2.cos(), a2.sin(), w1, w2), -1)

    def picture(self, state: Float[Tensor, "*batch 4"]) -> np.ndarray:
        """The bar, both links and the height to reach, uint8 [240, 240, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        a1, a2, _, _ = state.detach().reshape(-1, 4)[0].tolist()
        length = self.length
        canvas = drawing.Canvas(240, 240, 240 / (4.6 * length))
        canvas.rod((-2.3 * length, length), (2.3 * length, length), 0.02 * length, drawing.GREY)
        if math.isfinite(a1 + a2):
            elbow = (length * math.sin(a1), -length * math.cos(a1))
            tip = (elbow[0] + length * math.sin(a1 + a2), elbow[1] - length * math.cos(a1 + a2))
            canvas.rod((0.0, 0.0), elbow, 0.16 * length, drawing.BLUE)
            canvas.rod(elbow, tip, 0.16 * length, drawing.ORANGE)
            canvas.disc(elbow, 0.05 * length, drawing.BLACK)
        canvas.disc((0.0, 0.0), 0.05 * length, drawing.BLACK)
        return canvas.pixels()


@lru_cache(maxsize=64)
def _constants(env: Acrobot, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """State -> (a1, a2, a1 + a2) [4, 3]; their sines -> gravity's share of each equation, N m [3, 2]; D and K without cosines
    and D K - d^2 without cosines, kg m^2; what |w1|, |w2| must not exceed [2]."""
    ml2, mgl = env.mass * env.length**2, env.mass * env.gravity * env.length
    short = ml2 / 4 + env.inertia
    directions = ((1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    weights = ((-1.5 * mgl, 0.0), (0.0, 0.0), (-0.5 * mgl, -0.5 * mgl))
    limits = (4 * math.pi, 9 * math.pi)
    with torch.inference_mode(False):  # a tensor of inference mode could not take part in a derivative later
        return tuple(
            torch.tensor(numbers, dtype=dtype, device=device)
            for numbers in (directions, weights, ml2 + 2 * short, short, (ml2 + short) * short, limits)
        )
