"""A double inverted pendulum on a cart: two rods, one on the other, to be balanced by pushing the cart. Duan et al. (2016)."""

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
class DoubleInvertedPendulum(Env):
    """Duan et al.'s (2016) Double Inverted Pendulum on tensors, differentiable in state and action.

    The bodies are those of MuJoCo's inverted_double_pendulum (also Gymnasium's InvertedDoublePendulum). The state is
    (x, a1, a2, v, w1, w2): place of the cart, angle of the first rod from upright and of the second from the first's
    direction (both clockwise, never wrapped), and their rates. Observed are (x, sin a1, sin a2, cos a1, cos a2) and the rates,
    those cut off at +-10. The action is a share of the force, F = force clip(a, +-1). With b = a1 + a2, its rate y = w1 + w2,
    centres of the rods at c = l / 2, p = m (c + l), q = m c, s = m l c, J = I + m c^2, friction d at each joint,

        (m_c + 2 m) v' + p cos(a1) w1'         + q cos(b) y'  = F - d v + p sin(a1) w1^2 + q sin(b) y^2
        p cos(a1) v'   + (J + m l^2) w1'       + s cos(a2) y' = p g sin(a1) + s sin(a2) y^2 - d w1 + d w2
        q cos(b) v'    + s cos(a2) w1'         + J y'         = q g sin(b) - s sin(a2) w1^2 - d w2

    integrated by one step of the classical Runge-Kutta rule, with F held. A step pays, of the state after it and with the tip
    at (tip_x, tip_y), 10 - 0.01 tip_x^2 - (tip_y - 2)^2 - 0.001 w1^2 - 0.005 w2^2; an episode terminates when tip_y <= 1 m and
    is cut off after 500 steps. Where the paper's differs: its track ends at +-10 m, this one does not, and the forces at those
    ends, which were observed, are left out; it takes two Runge-Kutta steps of 0.01 s. Gymnasium's takes five, ends at +-1 m,
    starts otherwise, lasts 1,000 steps, and does not pay the 10 for the step that terminates.
    """

    gravity: float = 9.81
    """g, m/s^2."""
    cart_mass: float = 10.471975511965978
    """m_c, kg."""
    mass: float = 4.198738581522758
    """m, of each rod, kg."""
    length: float = 0.6
    """l, of each rod, m."""
    inertia: float = 0.15497066975016233
    """I, of each rod about its centre, kg m^2."""
    damping: float = 0.05
    """d, N s/m at the cart and N m s/rad in the hinges."""
    force: float = 500.0
    """The largest |F|, N."""
    time_step: float = 0.02
    """s."""

    spec = Spec(
        name="double-inverted-pendulum",
        observation=Box(8, units=("m", "1", "1", "1", "1", "m/s", "rad/s", "rad/s")),
        action=Box(1, -1.0, 1.0, units=("1",)),
        time_limit=500,
        state_shape=(6,),
        initial_noise=Noise("uniform", (1,)),
    )

    def initial(self, noise: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 6"]:
        """At rest, the first rod's angle uniform between -+20 degrees, the second in line with it."""
        return torch.nn.functional.pad(math.radians(20) * (2 * noise - 1), (1, 4))

    def step(
        self, state: Float[Tensor, "*batch 6"], action: Float[Tensor, "*batch 1"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch 6"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations."""
        force = self.force * action.squeeze(-1).clamp(-1.0, 1.0)
        state = runge_kutta(self.rates, state, force, self.time_step)
        x, y = self.places(state)[..., 1, :].unbind(-1)
        off, spins = y - 2, state[..., 4:].square()
        reward = 10 - 0.01 * x.square() - off.square() - 0.001 * spins[..., 0] - 0.005 * spins[..., 1]
        return state, reward, y <= 1

    def rates(self, state: Float[Tensor, "*batch 6"], force: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 6"]:
        """d state / dt: the equations of motion, solved for v', w1' and y' = w1' + w2'."""
        # Few operations, as in CartPole; v' is eliminated first, then two equations are left.
        directions, friction, first, second = _constants(self, state.dtype, state.device)
        angles, rates = state @ directions, state[..., 3:]
        sines, cosines = angles.sin(), angles.cos()  # of a1, a2, b
        (s1, s2, sb), (c1, c2, cb) = sines.unbind(-1), cosines.unbind(-1)
        drag = rates @ friction
        total, centre = self.cart_mass + 2 * self.mass, self.length / 2
        p, q = self.mass * (centre + self.length), self.mass * centre
        s = q * self.length
        w1, y = rates[..., 1], rates[..., 1] + rates[..., 2]
        w1_2, y_2 = w1 * w1, y * y
        # v' without the rods' reaction, and what of it each rod feels
        free = torch.addcmul(torch.addcmul(force + drag[..., 0], s1, w1_2, value=p), sb, y_2, value=q) / total
        force1 = torch.addcmul(torch.addcmul(drag[..., 1], s2, y_2, value=s), c1, free, value=-p)
        force1 = torch.add(force1, s1, alpha=p * self.gravity)
        force2 = torch.addcmul(torch.addcmul(drag[..., 2], s2, w1_2, value=-s), cb, free, value=-q)
        force2 = torch.add(force2, sb, alpha=q * self.gravity)
        mass1 = torch.addcmul(first, c1, c1, value=-p * p / total)
        mass2 = torch.addcmul(second, cb, cb, value=-q * q / total)
        shared = torch.addcmul(s * c2, c1, cb, value=-p * q / total)
        determinant = torch.addcmul(mass1 * mass2, shared, shared, value=-1)
        turn1 = torch.addcmul(mass2 * force1, shared, force2, value=-1) / determinant
        turn2 = torch.addcmul(mass1 * force2, shared, force1, value=-1) / determinant
        acceleration = torch.addcmul(torch.addcmul(free, c1, turn1, value=-p / total), cb, turn2, value=-q / total)
        return torch.cat((rates, torch.stack((acceleration, turn1, turn2 - turn1), -1)), -1)

    def observe(self, state: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 8"]:
        """(x, sin a1, sin a2, cos a1, cos a2, v, w1, w2), the rates cut off at +-10."""
        angles = state[..., 1:3]
        return torch.cat((state[..., :1], angles.sin(), angles.cos(), state[..., 3:].clamp(-10.0, 10.0)), -1)

    def places(self, state: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 2 2"]:
        """Where the upper ends of the two rods are: [..., rod, (x, y)], m, from the middle of the track."""
        angles = state[..., 1:3].cumsum(-1)
        arms = self.length * torch.stack((angles.sin(), angles.cos()), -1).cumsum(-2)
        return torch.stack((arms[..., 0] + state[..., :1], arms[..., 1]), -1)

    def picture(self, state: Float[Tensor, "*batch 6"]) -> np.ndarray:
        """The track, the cart in the middle, both rods, uint8 [240, 480, 3]: one state, or the first of many."""
        from . import drawing  # pictures alone need Pillow

        state = state.detach().reshape(-1, 6)[0]
        x, length = state[0].item(), self.length
        joint, tip = (tuple(place) for place in self.places(state).tolist())
        finite = math.isfinite(sum(joint) + sum(tip))
        canvas = drawing.Canvas(480, 240, 240 / (4.6 * length), (x if finite else 0.0, 0.0))
        if not finite:
            return canvas.pixels()  # a state that has diverged is nowhere
        canvas.rod((x - 9 * length, 0.0), (x + 9 * length, 0.0), 0.02, drawing.GREY)
        for metre in range(math.ceil(x - 5 * length), math.floor(x + 5 * length) + 1):
            canvas.rod((metre, -0.05), (metre, 0.0), 0.02, drawing.GREY)
        canvas.box((x, 0.0), (0.4, 0.2), drawing.BLUE, corner=0.05)
        canvas.rod((x, 0.0), joint, 0.09, drawing.SKY)
        canvas.rod(joint, tip, 0.09, drawing.ORANGE)
        for hinge in ((x, 0.0), joint):
            canvas.disc(hinge, 0.03, drawing.BLACK)
        return canvas.pixels()


@lru_cache(maxsize=64)
def _constants(env: DoubleInvertedPendulum, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """State -> (a1, a2, b) [6, 3]; rates -> friction in each equation, N and N m [3, 3]; J + m l^2 and J, kg m^2."""
    d, second = env.damping, env.inertia + env.mass * env.length**2 / 4
    zero = (0.0, 0.0, 0.0)
    directions = (zero, (1.0, 0.0, 1.0), (0.0, 1.0, 1.0), zero, zero, zero)
    friction = ((-d, 0.0, 0.0), (0.0, -d, 0.0), (0.0, d, -d))
    with torch.inference_mode(False):  # a tensor of inference mode could not take part in a derivative later
        return tuple(
            torch.tensor(numbers, dtype=dtype, device=device)
            for numbers in (directions, friction, second + env.mass * env.length**2, second)
        )
