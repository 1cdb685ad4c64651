"""Cart-pole swing-up: the pole hangs, and the cart must swing it up without leaving the track. Duan et al. (2016)."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..rng import Noise
from .base import Box, Env, Spec
from .integrate import runge_kutta


@dataclass(frozen=True)
class CartPoleSwingUp(Env):
    """The task that Duan et al. (2016) call Cart-Pole Swing Up (and, in their table, Inverted Pendulum), on tensors.

    The state is (x, v, angle, spin): position and velocity of the cart, angle of the pole from upright (counterclockwise is
    positive, never wrapped) and its rate; it is what is observed. The action is a share of the force, F = force clip(a, +-1).
    For a uniform rod of length l and mass m on a cart of mass m_c, M = m_c + m,

        M v' - (1/2) m l cos(angle) spin'                = F - (1/2) m l sin(angle) spin^2
        -(1/2) m l cos(angle) v' + (1/3) m l^2 spin'     = (1/2) m g l sin(angle)

    integrated by one step of the classical Runge-Kutta rule, with F held (the paper has Box2D's solver instead; the numbers are
    the paper's). A step pays cos(angle) of the state after it, or -100 when that is off the track, |x| > position_limit, which
    terminates the episode; after 500 steps it is cut off. Differentiable in state and action.
    """

    gravity: float = 10.0
    """g, m/s^2."""
    cart_mass: float = 1.0
    """m_c, kg."""
    pole_mass: float = 0.1
    """m, kg."""
    length: float = 1.0
    """l, m."""
    force: float = 10.0
    """The largest |F|, N."""
    time_step: float = 0.05
    """s."""
    position_limit: float = 3.0
    """m."""

    spec = Spec(
        name="cartpole-swing-up",
        observation=Box(4, units=("m", "m/s", "rad", "rad/s")),
        action=Box(1, -1.0, 1.0, units=("1",)),
        time_limit=500,
        state_shape=(4,),
        initial_noise=Noise("uniform", (4,)),
    )

    def initial(self, noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Hanging more or less: x, v, angle - pi, spin uniform between -+1 m, -+2 m/s, -+1 rad, -+3 rad/s."""
        return (2 * noise - 1) * noise.new_tensor((1.0, 2.0, 1.0, 3.0)) + noise.new_tensor((0.0, 0.0, math.pi, 0.0))

    def step(
        self, state: Float[Tensor, "*batch 4"], action: Float[Tensor, "*batch 1"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations."""
        force = self.force * action.squeeze(-1).clamp(-1.0, 1.0)
        state = runge_kutta(self.rates, state, force, self.time_step)
        terminated = state[..., 0].abs() > self.position_limit
        return state, state[..., 2].cos().masked_fill(terminated, -100.0), terminated

    def rates(self, state: Float[Tensor, "*batch 4"], force: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4"]:
        """d state / dt: the equations of motion, solved for v' and spin'."""
        # Few and fused operations, as in CartPole.
        (inertia,) = _constants(self, state.dtype, state.device)
        _, velocity, angle, spin = state.unbind(-1)
        total = self.cart_mass + self.pole_mass
        lever = self.pole_mass * self.length / 2 / total
        sine, cosine = angle.sin(), angle.cos()
        # (F - m l spin^2 sin / 2) / M, the cart's acceleration were there no reaction of the pole's
        free = torch.addcmul(force / total, spin * spin, sine, value=-lever)
        # spin', its numerator and denominator divided by g
        turn = torch.addcmul(sine, cosine, free, value=1 / self.gravity)
        turn = turn / torch.addcmul(inertia, cosine, cosine, value=-lever / self.gravity)
        acceleration = torch.addcmul(free, turn, cosine, value=lever)
        return torch.stack((velocity, acceleration, spin, turn), -1)

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """The state itself."""
        return state

    def picture(self, state: Float[Tensor, "*batch 4"]) -> np.ndarray:
        """The track, the cart and the pole, uint8 [200, 500, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        x, _, angle, _ = state.detach().reshape(-1, 4)[0].tolist()
        width, length = 2.3 * self.position_limit, self.length
        canvas = drawing.Canvas(500, 200, 500 / width, (0.0, 0.0))
        canvas.rod((-width, 0.0), (width, 0.0), 0.02, drawing.GREY)
        for limit in (-self.position_limit, self.position_limit):
            canvas.rod((limit, -0.15), (limit, 0.15), 0.04, drawing.GREY)
        if not math.isfinite(x + angle):
            return canvas.pixels()  # a state that has diverged is nowhere
        canvas.box((x, 0.0), (0.6, 0.3), drawing.BLUE, corner=0.05)
        canvas.rod((x, 0.0), (x - length * math.sin(angle), length * math.cos(angle)), 0.09, drawing.ORANGE)
        canvas.disc((x, 0.0), 0.03, drawing.BLACK)
        return canvas.pixels()


@lru_cache(maxsize=64)
def _constants(env: CartPoleSwingUp, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """2/3 l / g, s^2."""
    with torch.inference_mode(False):  # a tensor of inference mode could not take part in a derivative later
        return (torch.tensor(2 / 3 * env.length / env.gravity, dtype=dtype, device=device),)
