"""A trotting quadruped with twelve gait parameters, after Kohl & Stone (2004): what the legs are told, and a fast model of how
far it carries the robot. ``gait_mujoco`` has the same legs with physics.

Each foot goes round a half-ellipse, seen from its hip: straight back on the ground, forward again through the air. Diagonal
pairs of legs move together, half a period apart: a trot. The parameters' roles are theirs; robot and numbers are our own.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..rng import Noise
from .base import Box, Env, Spec

PARAMETERS = (
    "front locus height",
    "front locus x",
    "front locus y",
    "rear locus height",
    "rear locus x",
    "rear locus y",
    "locus length",
    "locus skew",
    "front body height",
    "rear body height",
    "time per locus",
    "share of it on the ground",
)
UNITS = ("mm", "mm", "mm", "mm", "mm", "mm", "mm", "1", "mm", "mm", "s", "1")
START = (25.0, 6.0, 20.0, 25.0, -12.0, 20.0, 84.0, 0.02, 108.0, 114.0, 0.42, 0.46)
"""A gait set by hand."""
STEP = (3.0, 4.0, 4.0, 3.0, 4.0, 4.0, 4.0, 0.03, 3.0, 3.0, 0.016, 0.02)
"""epsilon: what a change of each parameter is that might be worth a try."""
LEAST = (5.0, -50.0, -10.0, 5.0, -50.0, -10.0, 20.0, -0.5, 70.0, 70.0, 0.25, 0.25)
MOST = (60.0, 50.0, 60.0, 60.0, 50.0, 60.0, 120.0, 0.5, 145.0, 145.0, 1.0, 0.8)
"""Parameters are clipped to these bounds before anything moves."""

UPPER, LOWER = 75.0, 80.0
"""Lengths of a leg's two links, mm. Its hip turns sideways (roll) and forward (pitch), its knee bends."""
FRONT, REAR = 0, 1
KNEES = (1.0, -1.0)
"""Which way the knee of a front and of a rear leg points: backward, forward."""


def locus(parameters: Float[Tensor, "*batch 12"], phase: Float[Tensor, "*batch M"], end: int) -> Float[Tensor, "*batch M 3"]:
    """Where a foot of the front or rear ``end`` should be at each phase (0 .. 1 is once round): x, y, z from its hip, mm.

    x is forward, y outward, z up. On the ground the foot goes back at constant speed, by the locus length; through the air it
    returns on a half-ellipse. The skew moves it sideways as it goes back, front and rear in opposite ways: the robot turns.
    """
    p = parameters.unsqueeze(-2).unbind(-1)  # twelve [*batch, 1]
    height, x, y = p[3 * end], p[3 * end + 1], p[3 * end + 2]
    length, skew, body, ground = p[6], p[7], p[8 + end], p[11]
    phase = phase.remainder(1.0)
    air = (phase - ground) / (1 - ground)
    on_ground = phase < ground
    along = torch.where(on_ground, 0.5 - phase / ground, -0.5 * (math.pi * air).cos()) * length
    lift = torch.where(on_ground, 0.0, height * (math.pi * air).sin())
    aside = y + (1 if end == FRONT else -1) * skew * along
    return torch.stack(torch.broadcast_tensors(x + along, aside, lift - body), -1)


def joints(foot: Float[Tensor, "*batch 3"], end: int) -> Float[Tensor, "*batch 3"]:
    """Roll, pitch and knee angle (rad) that bring a foot there; as near as the leg reaches."""
    x, y, z = foot.unbind(-1)
    down = (y.square() + z.square()).sqrt()
    roll = torch.atan2(y, -z)
    reach = (x.square() + down.square()).sqrt().clamp(UPPER - LOWER + 20, UPPER + LOWER - 1)
    bend = math.pi - ((UPPER**2 + LOWER**2 - reach.square()) / (2 * UPPER * LOWER)).clamp(-1, 1).acos()
    inner = ((UPPER**2 + reach.square() - LOWER**2) / (2 * UPPER * reach)).clamp(-1, 1).acos()
    return torch.stack([roll, torch.atan2(x, down) - KNEES[end] * inner, KNEES[end] * bend], -1)


def foot(joint: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Where a foot is, given its leg's roll, pitch and knee angle: the inverse of ``joints``, within reach."""
    roll, pitch, knee = joint.unbind(-1)
    x = UPPER * pitch.sin() + LOWER * (pitch + knee).sin()
    down = UPPER * pitch.cos() + LOWER * (pitch + knee).cos()
    return torch.stack([x, down * roll.sin(), -down * roll.cos()], -1)


@dataclass(frozen=True)
class Gait(Env):
    """One walk is one step: the action says how the gait differs from the one set by hand, the reward is its speed in mm/s.

    Action: twelve numbers in units of ``STEP``; parameters = START + STEP * action, clipped to their bounds. There is nothing
    to see: the observation is the number 1. The reward is ``speed``, and noise of ``deviation`` added: no two walks are alike.

    ``speed`` is a model, not physics. Once round, at ``phases`` instants: each foot is told its locus, and its leg obeys as a
    servo does, late (a first-order lag of ``lag`` seconds on every joint) and no faster than ``fastest``. The feet of one end
    share its load by how far down they are, softly, over ``roughness`` mm of ground; a foot in the air that comes that close
    brakes. The body moves backward as its loaded feet move forward, averaged over both ends and the round. Lost are the shares
    that go into slipping (the two ends' feet disagree), bouncing, walking with the nose up or down, swaying (feet too close
    together), and turning. The constants were chosen so that all twelve parameters matter, and fitted to nothing.

    Nobody's derivative is needed, and at the limits of reach and speed there is none. Raises nothing: a gait that falls over
    is a slow gait.
    """

    deviation: float = 10.0
    """Standard deviation of one measured speed, mm/s."""
    phases: int = 32
    """Instants per round."""
    lag: float = 0.03
    """Time constant of a joint, s."""
    fastest: float = 6.0
    """Largest speed of a joint, rad/s."""
    roughness: float = 4.0
    """Height over which load passes from one foot to the other, mm."""

    @cached_property
    def spec(self) -> Spec:
        return Spec(
            name="gait",
            observation=Box(1, 1.0, 1.0),
            action=Box(12, units=tuple(f"{step:g} {unit}" for step, unit in zip(STEP, UNITS, strict=True))),
            time_limit=1,
            state_shape=(),
            step_noise=Noise("normal"),
        )

    def initial(self, noise: Float[Tensor, "*batch 0"]) -> Float[Tensor, "*batch"]:
        """The only state there is, 0."""
        return noise.new_zeros(noise.shape[:-1])

    def step(
        self, state: Float[Tensor, "*batch"], action: Float[Tensor, "*batch 12"], noise: Float[Tensor, "*batch"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Walk once; the episode is over."""
        reward = self.speed(parameters(action)) + self.deviation * noise
        return state, reward, torch.ones_like(reward, dtype=torch.bool)

    def observe(self, state: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 1"]:
        """The number 1."""
        return torch.ones_like(state).unsqueeze(-1)

    def speed(self, parameters: Float[Tensor, "*batch 12"]) -> Float[Tensor, "*batch"]:
        """Speed forward without noise, mm/s."""
        period = parameters[..., 10]
        ends = [self._end(parameters, end, period) for end in (FRONT, REAR)]
        forward, sideways, height = (torch.stack(part, -2) for part in zip(*ends, strict=True))  # [..., 2, M]
        speed = forward.mean((-2, -1))
        slip = (forward[..., 0, :] - forward[..., 1, :]).square().mean(-1) / 300.0**2
        bounce = height.var(-1, correction=0).mean(-1) / 9.0**2
        nose = ((height[..., 0, :] - height[..., 1, :]).mean(-1) / 60.0).square()
        stance = (parameters[..., 2] + parameters[..., 5]) / 2
        sway = (1 - stance / 30.0).square() * 0.25
        turn = (sideways[..., 0, :] - sideways[..., 1, :]).mean(-1).square() / 60.0**2
        return speed * (-(slip + bounce + nose + sway + turn)).exp()

    def _end(self, parameters: Tensor, end: int, period: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One end's two legs over a round: speed forward, speed sideways of one of them, height of the hip; each [..., M]."""
        phase = torch.arange(self.phases, dtype=parameters.dtype, device=parameters.device) / self.phases
        told = joints(locus(parameters, phase.expand(*parameters.shape[:-1], -1), end), end)
        turns = torch.fft.rfftfreq(self.phases, 1 / self.phases, device=parameters.device).to(parameters.dtype)
        omega = 2 * math.pi * turns[:, None] / period[..., None, None]  # rad/s of each harmonic, [..., M/2 + 1, 1]
        done = torch.fft.rfft(told, dim=-2) / (1 + 1j * omega * self.lag)
        swing = torch.fft.irfft(1j * omega * done, self.phases, dim=-2)  # rad/s, [..., M, 3]
        limit = (self.fastest / swing.abs().amax((-2, -1)).clamp(min=1e-6)).clamp(max=1.0)[..., None, None]
        middle = told.mean(-2, keepdim=True)
        joint = middle + limit * (torch.fft.irfft(done, self.phases, dim=-2) - middle)  # what is too fast comes out smaller
        place = foot(joint)
        velocity = torch.fft.irfft(1j * omega * torch.fft.rfft(place, dim=-2), self.phases, dim=-2)  # mm/s
        other = self.phases // 2  # the leg on the other side is half a round ahead
        depth = -place[..., 2]
        load = ((depth - depth.roll(other, -1)) / self.roughness).sigmoid()
        forward = -(load * velocity[..., 0] + (1 - load) * velocity[..., 0].roll(other, -1))
        sideways = 2 * load * velocity[..., 1]
        height = load * depth + (1 - load) * depth.roll(other, -1)
        return forward, sideways, height


def parameters(action: Float[Tensor, "*batch 12"]) -> Float[Tensor, "*batch 12"]:
    """The twelve numbers of a gait, from how it differs from the one set by hand, in steps; clipped to their bounds."""
    start, step, least, most = (action.new_tensor(numbers) for numbers in (START, STEP, LEAST, MOST))
    return (start + step * action).clamp(least, most)
