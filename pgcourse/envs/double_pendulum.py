"""Two rods, one hung from the other's end: the smallest machine whose future cannot be foretold for long."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..rng import Noise
from .base import Box, Env, Spec


@dataclass(frozen=True)
class DoublePendulum(Env):
    """A double pendulum with a motor in its axle, differentiable in state and action, and chaotic where it swings high.

    Point masses m1, m2 sit at the ends of massless rods of lengths l1, l2. The state is (a1, a2, w1, w2): each rod's angle from
    upright (counterclockwise is positive, never wrapped) and its rate. Observed are cosines and sines of the angles, and the
    rates. The action is a torque u on the first rod. With d = a1 - a2

        (m1 + m2) l1^2 w1'  + m2 l1 l2 cos(d) w2' = (m1 + m2) g l1 sin(a1) - m2 l1 l2 sin(d) w2^2 + u
        m2 l1 l2 cos(d) w1' + m2 l2^2 w2'         = m2 g l2 sin(a2) + m2 l1 l2 sin(d) w1^2

    integrated by the classical Runge-Kutta rule, ``substeps`` times a step, with u held. A step pays the height of the lower
    mass above the axle (m) minus u^2 / 1000, of the state before it. Episodes never terminate; they are cut off after 200
    steps.

    Raises ValueError for a length, mass, time step or number of substeps that is not positive.
    """

    gravity: float = 10.0
    """g, m/s^2."""
    masses: tuple[float, float] = (1.0, 1.0)
    """m1, m2, kg."""
    lengths: tuple[float, float] = (1.0, 1.0)
    """l1, l2, m."""
    time_step: float = 0.05
    """s."""
    substeps: int = 2
    start: tuple[float, float] = (math.pi / 2, math.pi / 2)
    """Angles from which it is let go, at rest: (pi, pi) hangs straight down."""
    spread: float = 0.05
    """Standard deviation of the first angles (rad) and rates (rad/s)."""

    def __post_init__(self):
        for field in ("masses", "lengths", "time_step", "substeps"):
            if not np.all(np.asarray(getattr(self, field)) > 0):
                raise ValueError(f"{field} is {getattr(self, field)}; it must be positive.")

    @property
    def spec(self) -> Spec:
        return Spec(
            name="double-pendulum",
            observation=Box(6, units=("1", "1", "1", "1", "rad/s", "rad/s")),
            action=Box(1, units=("N m",)),
            time_limit=200,
            state_shape=(4,),
            initial_noise=Noise("normal", (4,)),
        )

    def initial(self, noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Let go at ``start``, give or take ``spread``."""
        return noise.new_tensor((*self.start, 0.0, 0.0)) + self.spread * noise

    def step(
        self, state: Float[Tensor, "*batch 4"], action: Float[Tensor, "*batch 1"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations (none)."""
        torque = action.squeeze(-1)
        reward = self.places(state)[..., 1, 1] - torque.square() / 1000
        h = self.time_step / self.substeps
        for _ in range(self.substeps):
            k1 = self.rates(state, torque)
            k2 = self.rates(state + h / 2 * k1, torque)
            k3 = self.rates(state + h / 2 * k2, torque)
            k4 = self.rates(state + h * k3, torque)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 6"]:
        """(cos a1, cos a2, sin a1, sin a2, w1, w2)."""
        angles, rates = state[..., :2], state[..., 2:]
        return torch.cat((angles.cos(), angles.sin(), rates), -1)

    def rates(self, state: Float[Tensor, "*batch 4"], torque: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4"]:
        """d state / dt: the equations of motion, solved for w1' and w2'."""
        a1, a2, w1, w2 = state.unbind(-1)
        (m1, m2), (l1, l2), g = self.masses, self.lengths, self.gravity
        cos, sin = (a1 - a2).cos(), (a1 - a2).sin()
        mass1, mass2, shared = (m1 + m2) * l1**2, m2 * l2**2, m2 * l1 * l2 * cos
        force1 = (m1 + m2) * g * l1 * a1.sin() - m2 * l1 * l2 * sin * w2.square() + torque
        force2 = m2 * g * l2 * a2.sin() + m2 * l1 * l2 * sin * w1.square()
        determinant = mass1 * mass2 - shared.square()
        bend1 = (mass2 * force1 - shared * force2) / determinant
        bend2 = (mass1 * force2 - shared * force1) / determinant
        return torch.stack((w1, w2, bend1, bend2), -1)

    def places(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 2 2"]:
        """Where the two masses are: [..., mass, (x, y)], metres from the axle."""
        arms = torch.stack((-state[..., :2].sin(), state[..., :2].cos()), -1) * state.new_tensor(self.lengths)[:, None]
        return arms.cumsum(-2)

    def energy(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
        """Kinetic and potential energy (J), 0 at the height of the axle: what a torque of zero leaves as it is."""
        a1, a2, w1, w2 = state.unbind(-1)
        (m1, m2), (l1, l2) = self.masses, self.lengths
        kinetic = ((m1 + m2) * (l1 * w1).square() + m2 * (l2 * w2).square()) / 2
        kinetic = kinetic + m2 * l1 * l2 * w1 * w2 * (a1 - a2).cos()
        return kinetic + self.gravity * (self.places(state)[..., 1] * state.new_tensor(self.masses)).sum(-1)

    def picture(self, state: Float[Tensor, "*batch 4"]) -> np.ndarray:
        """Both rods on their axle, uint8 [240, 240, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        (first, second) = self.places(state.detach().reshape(-1, 4)[0]).tolist()
        reach = sum(self.lengths)
        canvas = drawing.Canvas(240, 240, 240 / (2.3 * reach))
        if math.isfinite(sum(first) + sum(second)):
            canvas.rod((0.0, 0.0), tuple(first), 0.04 * reach, drawing.GREY)
            canvas.rod(tuple(first), tuple(second), 0.04 * reach, drawing.GREY)
            canvas.disc(tuple(first), 0.05 * reach, drawing.BLUE)
            canvas.disc(tuple(second), 0.05 * reach, drawing.ORANGE)
        canvas.disc((0.0, 0.0), 0.02 * reach, drawing.BLACK)
        return canvas.pixels()
