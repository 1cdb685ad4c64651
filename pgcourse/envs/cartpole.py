"""CartPole-v1: push a cart left or right so that the pole on it stays up. Barto, Sutton & Anderson (1983)."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..rng import Noise
from .base import Box, Discrete, Env, Spec

_UNITS = ("m", "m/s", "rad", "rad/s")


@dataclass(frozen=True)
class CartPole(Env):
    """Gymnasium's CartPole-v1 on tensors, differentiable in the state.

    The state is (x, v, angle, spin): position and velocity of the cart, angle of the pole from upright (clockwise is
    positive) and its rate; it is what is observed. Action 0 pushes with F = -force, action 1 with F = +force. With
    M = m + m_c and half the pole's length l,

        v'    = (F + m l spin^2 sin(angle) - m l spin' cos(angle)) / M
        spin' = (g sin(angle) - cos(angle) (F + m l spin^2 sin(angle)) / M) / (l (4/3 - m cos(angle)^2 / M))

    and one step is one of Euler's: state + time_step * derivative. Each step pays 1, the last one too. An episode terminates
    when |x| > position_limit or |angle| > angle_limit, and is cut off after 500 steps.
    """

    gravity: float = 9.8
    """g, m/s^2."""
    cart_mass: float = 1.0
    """m_c, kg."""
    pole_mass: float = 0.1
    """m, kg."""
    half_length: float = 0.5
    """l, half the pole's length, m."""
    force: float = 10.0
    """|F|, N."""
    time_step: float = 0.02
    """s."""
    position_limit: float = 2.4
    """m."""
    angle_limit: float = math.radians(12)
    """rad."""

    spec = Spec(
        name="CartPole-v1",
        observation=Box(4, units=_UNITS),
        action=Discrete(2, ("push left", "push right")),
        time_limit=500,
        state_shape=(4,),
        initial_noise=Noise("uniform", (4,)),
        reward_threshold=475.0,
    )

    def initial(self, noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Each of the four numbers uniform on [-0.05, 0.05)."""
        return 0.1 * noise - 0.05

    def step(
        self, state: Float[Tensor, "*batch 4"], action: Int[Tensor, "*batch"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards (1), terminations."""
        # Rollouts spend their time here, on small tensors, where an operation costs much the same whatever it does; hence
        # fused operations and constants made once, in half the time of plain arithmetic.
        left, inertia, limits = _constants(self, state.dtype, state.device)
        total = self.cart_mass + self.pole_mass
        lever = self.pole_mass * self.half_length / total
        _, velocity, angle, spin = state.unbind(-1)
        sine, cosine = angle.sin(), angle.cos()
        # (F + m l spin^2 sin) / M, the cart's acceleration were there no reaction of the pole's
        free = torch.addcmul(left, spin * spin, sine, value=lever)
        free = torch.add(free, action, alpha=2 * self.force / total)
        # spin', its numerator and denominator divided by g
        turn = torch.addcmul(sine, cosine, free, value=-1 / self.gravity)
        turn = turn / torch.addcmul(inertia, cosine, cosine, value=-lever / self.gravity)
        acceleration = torch.addcmul(free, turn, cosine, value=-lever)
        derivative = torch.stack((velocity, acceleration, spin, turn), -1)
        state = torch.add(state, derivative, alpha=self.time_step)
        return state, torch.ones_like(angle), (state.abs() > limits).any(-1)

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """The state itself."""
        return state

    def picture(self, state: Float[Tensor, "*batch 4"]) -> np.ndarray:
        """The track, the cart and the pole, uint8 [200, 500, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        x, _, angle, _ = state.detach().reshape(-1, 4)[0].tolist()
        width, length = 2.4 * self.position_limit, 2 * self.half_length
        canvas = drawing.Canvas(500, 200, 500 / width, (0.0, 0.45 * length))
        canvas.rod((-width, 0.0), (width, 0.0), 0.02, drawing.GREY)
        for limit in (-self.position_limit, self.position_limit):
            canvas.rod((limit, -0.1), (limit, 0.1), 0.03, drawing.GREY)
        if not math.isfinite(x + angle):
            return canvas.pixels()  # a state that has diverged is nowhere
        hinge, tip = (x, 0.15), (x + length * math.sin(angle), 0.15 + length * math.cos(angle))
        canvas.box((x, 0.03), (0.6, 0.3), drawing.BLUE, corner=0.05)
        canvas.rod(hinge, tip, 0.09, drawing.ORANGE)
        canvas.disc(hinge, 0.03, drawing.BLACK)
        return canvas.pixels()


@lru_cache(maxsize=64)
def _constants(env: CartPole, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """-F / M, m/s^2; 4/3 l / g, s^2; what |state| must not exceed [4]."""
    left = -env.force / (env.cart_mass + env.pole_mass)
    limits = (env.position_limit, math.inf, env.angle_limit, math.inf)
    with torch.inference_mode(False):  # a tensor of inference mode could not take part in a derivative later
        return tuple(
            torch.tensor(numbers, dtype=dtype, device=device)
            for numbers in (left, 4 / 3 * env.half_length / env.gravity, limits)
        )
