"""The trotting quadruped of ``gait`` with MuJoCo's physics: the same twelve parameters, the same feet, many worlds on threads.

A walk is open-loop: what the joints are told follows from the parameters and the time alone, so that whole walks go to
``mujoco.rollout`` at once.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco fills its module when it is imported)

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import mujoco
import mujoco.rollout
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..rng import Noise
from . import gait
from .base import Box, Env, Spec
from .gait import FRONT, LOWER, REAR, UPPER
from .mujoco import lean, processors, stop_the_clock

LEGS = (
    ("front left", FRONT, 1, 0.0),
    ("front right", FRONT, -1, 0.5),
    ("rear left", REAR, 1, 0.5),
    ("rear right", REAR, -1, 0.0),
)
"""Name, end, side (left is +y), and how far ahead in its round: a trot."""

TIME_STEP = 0.005
"""s."""
CHUNK = 128
"""Walks at a time: all positions of all time steps are kept until they are done."""
SAMPLES = 4
"""Time steps for which the joints are told the same."""


@dataclass(frozen=True)
class MujocoGait(Env):
    """One walk is one step: the action is that of ``gait.Gait``, the reward the speed in mm/s.

    The robot weighs 1.6 kg; its hips are 180 mm apart lengthwise and 100 mm sideways; each of its twelve joints is a servo of
    limited torque. It is set down in the pose the gait begins with, ``lead`` seconds later the clock starts, and ``seconds``
    later it stops: the speed is how far the body has come *along the direction it was set down in*, over that time. Who turns
    away or falls has not come far.

    No two walks are alike: the noise (four uniform numbers) chooses where in its round the gait begins, the heading within 0.1
    rad, and the speed at which the robot is set down, forward and sideways within 0.1 m/s.

    ``threads``: how many walks are computed at once; 0 means one for each processor. Results do not depend on it.
    """

    seconds: float = 2.0
    lead: float = 0.4
    threads: int = 1

    @cached_property
    def spec(self) -> Spec:
        return Spec(
            name="gait-mujoco",
            observation=Box(1, 1.0, 1.0),
            action=gait.Gait().spec.action,
            time_limit=1,
            state_shape=(),
            step_noise=Noise("uniform", (4,)),
        )

    def initial(self, noise: Tensor) -> Tensor:
        """The only state there is, 0."""
        return noise.new_zeros(noise.shape[:-1])

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Walk once; the episode is over."""
        reward = self.speed(gait.parameters(action), noise)
        return state, reward, torch.ones_like(reward, dtype=torch.bool)

    def observe(self, state: Tensor) -> Tensor:
        """The number 1."""
        return torch.ones_like(state).unsqueeze(-1)

    def speed(self, parameters: Float[Tensor, "*batch 12"], noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
        """Speed forward in one walk, mm/s."""
        leading = torch.broadcast_shapes(parameters.shape[:-1], noise.shape[:-1])
        flat = parameters.expand(*leading, -1).reshape(-1, 12).double().cpu()
        chance = noise.expand(*leading, -1).reshape(-1, 4).double().cpu()
        speed = []
        for some, its in zip(flat.split(CHUNK), chance.split(CHUNK), strict=True):
            x = self.walk(some, its)[:, :, 0]
            speed.append(1000 * (x[:, -1] - x[:, round(self.lead / TIME_STEP) - 1]) / self.seconds)
        # MuJoCo resets a world whose physics has blown up; that walk is over, and worth nothing
        whole = np.nan_to_num(np.concatenate(speed), nan=0.0, posinf=0.0, neginf=0.0)
        return torch.from_numpy(whole).to(parameters).reshape(leading)

    def walk(self, parameters: Float[Tensor, "B 12"], noise: Float[Tensor, "B 4"]) -> np.ndarray:
        """What happened in B walks: MuJoCo's positions at every time step, [B, T, 19] (the body's x, y, z in m first)."""
        model = _model()
        steps = round((self.lead + self.seconds) / TIME_STEP)
        told = commands(parameters, noise[:, 0], steps)  # [B, T, 12]
        first = np.zeros((len(told), model.nq + model.nv))
        yaw = 0.2 * noise[:, 1].numpy() - 0.1
        height = (parameters[:, 8:10].amax(1).numpy() + 12) / 1000  # the sole is 12 mm below the foot's centre
        first[:, 2], first[:, 3], first[:, 6] = height, np.cos(yaw / 2), np.sin(yaw / 2)
        first[:, 7:19] = told[:, 0]
        first[:, 19:21] = 0.2 * noise[:, 2:].numpy() - 0.1
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        state = np.zeros((len(first), size))
        state[:, 1 : 1 + first.shape[1]] = first  # after the time
        data = _data(processors(self.threads))
        stop_the_clock()
        seen, _ = mujoco.rollout.rollout(model, data, state, told)
        return np.asarray(seen)[:, :, 1 : 1 + model.nq]


def commands(parameters: Float[Tensor, "B 12"], begin: Float[Tensor, " B"], steps: int) -> np.ndarray:
    """What the twelve joints are told at each time step, rad [B, T, 12]; begin: where in its round the gait begins."""
    time = torch.arange(-(-steps // SAMPLES), dtype=parameters.dtype) * SAMPLES * TIME_STEP
    phase = begin[:, None] + time / parameters[:, 10:11]
    told = []
    for _, end, side, ahead in LEGS:
        angle = gait.joints(gait.locus(parameters, phase + ahead, end), end)
        told.append(angle * angle.new_tensor([side, 1.0, 1.0]))  # outward is +roll on the left, -roll on the right
    whole = torch.cat(told, -1).repeat_interleave(SAMPLES, 1)[:, :steps]
    return whole.numpy()


@cache
def _model() -> mujoco.MjModel:
    """The robot on a floor, from its description in MuJoCo's language."""
    legs, servos = [], []
    for name, end, side, _ in LEGS:
        x, y = (0.09 if end == FRONT else -0.09), 0.05 * side
        thigh, shank = UPPER / 1000, LOWER / 1000
        legs.append(f"""
        <body name="{name}" pos="{x} {y} 0">
          <joint name="{name} roll" axis="1 0 0"/>
          <geom type="sphere" size=".016" mass=".03"/>
          <body>
            <joint name="{name} pitch" axis="0 -1 0"/>
            <geom type="capsule" size=".011" fromto="0 0 0 0 0 {-thigh}" mass=".06"/>
            <body pos="0 0 {-thigh}">
              <joint name="{name} knee" axis="0 -1 0"/>
              <geom type="capsule" size=".008" fromto="0 0 0 0 0 {-shank}" mass=".04"/>
              <geom type="sphere" size=".012" pos="0 0 {-shank}" mass=".02" conaffinity="1"/>
            </body>
          </body>
        </body>""")
        servos += [f'<position joint="{name} {joint}"/>' for joint in ("roll", "pitch", "knee")]
    model = mujoco.MjModel.from_xml_string(f"""
    <mujoco model="gait">
      <option timestep="{TIME_STEP}" integrator="implicitfast" iterations="6" jacobian="dense"/>
      <visual><quality offsamples="0" shadowsize="0"/></visual>
      <default>
        <geom contype="0" conaffinity="0" friction=".7 .005 .0001" solref=".01 1" rgba=".9 .6 .1 1"/>
        <joint damping=".15" armature=".002"/>
        <position kp="12" kv=".1" forcerange="-1 1"/>
      </default>
      <worldbody>
        <light pos="0 0 3" dir="0 0 -1"/>
        <geom type="plane" size="20 20 .1" contype="1" rgba=".85 .85 .85 1"/>
        <body name="body">
          <freejoint/>
          <geom type="box" size=".105 .04 .025" mass="1.0" conaffinity="1" rgba="0 .45 .7 1"/>
          {"".join(legs)}
        </body>
      </worldbody>
      <actuator>{"".join(servos)}</actuator>
    </mujoco>""")
    return lean(model)


@cache
def _data(threads: int) -> list[mujoco.MjData]:
    return [mujoco.MjData(_model()) for _ in range(threads)]


RECORDED = Path(__file__).parent.parent / "recorded" / "gait.npz"


def recorded() -> dict[str, np.ndarray]:
    """What every black-box method has made of this robot: recorded runs, which ``benchmarks/gait.py --record`` redoes.

    "METHOD answer", "METHOD return" [16 seeds, 23 iterations]: speed of the answer on four walks that the method has not seen,
    and of all policies tried, mm/s. "METHOD parameters" [16, 23, 12]. "about": when and how, as JSON.
    """
    with np.load(RECORDED, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
