"""Nine of Gymnasium's MuJoCo tasks (v5) as pure functions on tensors, any number of worlds on any number of threads.

A state holds all that the next step depends on, MuJoCo's warm start included. To step, a world is put into a spare ``MjData``
and read out again, so each trajectory is, to the last bit, that of Gymnasium's single environment. (``mujoco.rollout`` is not
faster, and gives back neither the warm start nor what some observations and rewards are made of: contact forces, inertias,
places of bodies as the integrator's last stage left them.)
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco fills its module when it is imported)

import ctypes.util
import itertools
import math
import os
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import mujoco
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..rng import Noise
from .base import Box, Env, Spec

Flag = mujoco.mjtState
KEPT = int(Flag.mjSTATE_QPOS) | int(Flag.mjSTATE_QVEL) | int(Flag.mjSTATE_WARMSTART) | int(Flag.mjSTATE_CTRL)
"""What of MuJoCo's state a step depends on, or changes, in these tasks; in this order."""

S = TypeVar("S", Tensor, np.ndarray)


@dataclass(frozen=True)
class Mujoco(Env):
    """A robot of Gymnasium's, with its observations, rewards, terminations and time limit.

    A state is [qpos, qvel, warm start, controls, seen], always float64, as MuJoCo computes; ``seen`` is what observations and
    rewards need besides. Actions are shares of the motors' full torque, clipped to their bounds; rewards come in their format.
    A world whose action is NaN (a replica that has diverged) is lost: its state and reward are NaN until it is reset.

    ``threads``: how many worlds are computed at once; 0 means one for each processor. Results do not depend on it.
    """

    threads: int = 1

    name: ClassVar[str]
    file: ClassVar[str]
    """The robot's description, among Gymnasium's."""
    skip: ClassVar[int]
    """MuJoCo's time steps in one of ours."""
    time_limit: ClassVar[int] = 1000
    reward_threshold: ClassVar[float | None] = None
    scale: ClassVar[float]
    """First positions are those of the description, give or take ``scale``."""
    normal_rates: ClassVar[bool] = False
    """Whether first rates are normal with standard deviation ``scale``; else uniform within it."""
    forces: ClassVar[bool] = False
    """Whether contact forces are seen."""
    camera: ClassVar[dict | None] = None
    """From where it is looked at; None: from the camera in its description."""

    @cached_property
    def spec(self) -> Spec:
        return Spec(
            name=self.name,
            observation=Box(self.observe(self.initial(torch.full((self._rates.stop,), 0.5))).shape[-1]),
            action=Box(self.model.nu, *self._bounds),
            time_limit=self.time_limit,
            state_shape=(self._size,),
            initial_noise=Noise("uniform", (self._rates.stop,)),
            reward_threshold=self.reward_threshold,
        )

    @property
    def model(self) -> mujoco.MjModel:
        """The robot; shared, not to be changed."""
        return _model(self.file)

    @property
    def time_step(self) -> float:
        """s."""
        return self.model.opt.timestep * self.skip

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        low, high = self.model.actuator_ctrlrange[0].tolist()  # of all motors of a robot
        return low, high

    @cached_property
    def _rates(self) -> slice:
        return slice(self.model.nq, self.model.nq + self.model.nv)

    @cached_property
    def _kept(self) -> int:
        return mujoco.mj_stateSize(self.model, KEPT)

    @cached_property
    def _controls(self) -> slice:
        return slice(self._kept - self.model.nu, self._kept)

    @cached_property
    def _parts(self) -> list[slice]:
        ends = np.cumsum([self._kept, *(view.size for view in self._scratch()[1])]).tolist()
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    @property
    def _size(self) -> int:
        return self._parts[-1].stop if self._parts else self._kept

    def position(self, state: S) -> S:
        """MuJoCo's qpos of states [..., S], a tensor or an array."""
        return state[..., : self._rates.start]

    def velocity(self, state: S) -> S:
        """MuJoCo's qvel."""
        return state[..., self._rates]

    def seen(self, state: S) -> list[S]:
        """The parts of states that ``see`` names."""
        return [state[..., part] for part in self._parts]

    def initial(self, noise: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch S"]:
        """First states: in the pose of the description and at rest, give or take ``scale``."""
        chance = 2**-25 + (1 - 2**-24) * noise.detach().double().cpu()  # 0 and 1 have no normal quantile
        first = self.first(*chance.tensor_split([self._rates.start], -1))
        state = torch.cat((first, first.new_zeros(*first.shape[:-1], self._size - first.shape[-1])), -1)
        self._each(state.view(-1, self._size).numpy(), _begin)
        return state.to(noise.device)

    def first(self, places: Float[Tensor, "*batch q"], rates: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch qv"]:
        """First positions and rates from uniform numbers on (0, 1)."""
        deviation = torch.special.ndtri(rates) if self.normal_rates else 2 * rates - 1
        middle = torch.from_numpy(self.model.qpos0)
        return torch.cat((middle + self.scale * (2 * places - 1), self.scale * deviation), -1)

    def step(
        self, state: Float[Tensor, "*batch S"], action: Float[Tensor, "*batch A"], noise: Tensor | None = None
    ) -> tuple[Float[Tensor, "*batch S"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Next states, rewards, terminations."""
        before = state.detach().cpu().contiguous()
        after = before.clone()
        worlds = after.view(-1, after.shape[-1]).numpy()
        control = action.detach().cpu().double().clamp(*self._bounds).reshape(len(worlds), -1).numpy()
        worlds[:, self._controls] = control
        if known := math.isfinite(worlds.sum()):
            self._each(worlds, self._advance)
        else:
            known = np.isfinite(worlds).all(1)
            moved = worlds[known]
            self._each(moved, self._advance)
            worlds[known], worlds[~known] = moved, np.nan
        reward, terminated = self.judge(before.view(worlds.shape).numpy(), worlds, control)
        reward, terminated = np.where(known, reward, np.nan), terminated & known
        leading = state.shape[:-1]
        return (
            after.to(state.device),
            torch.from_numpy(reward).reshape(leading).to(action),
            torch.from_numpy(terminated).reshape(leading).to(action.device),
        )

    def reset(self, mask: Bool[Tensor, "*batch"], state: Float[Tensor, "*batch S"], noise: Tensor) -> Tensor:
        """``state`` with fresh first states where ``mask`` is true; only those are computed."""
        state = state.clone()
        state[mask] = self.initial(noise[mask])
        return state

    @abstractmethod
    def observe(self, state: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch O"]:
        """Gymnasium's observation."""

    @abstractmethod
    def judge(
        self, before: Float[np.ndarray, "W S"], after: Float[np.ndarray, "W S"], action: Float[np.ndarray, "W A"]
    ) -> tuple[Float[np.ndarray, " W"], Bool[np.ndarray, " W"]]:
        """Gymnasium's rewards and terminations."""

    def picture(self, state: Float[Tensor, "*batch S"]) -> np.ndarray:
        """What MuJoCo renders of one state, or of the first of many, uint8 [240, 240, 3]; white where the world is lost.

        Raises RuntimeError where MuJoCo finds nothing to draw with.
        """
        world = state.detach().cpu().reshape(-1, self._size)[0].numpy()
        if not np.isfinite(world).all():
            return np.full((240, 240, 3), 255, dtype=np.uint8)
        data, _ = self._scratch()
        mujoco.mj_setState(self.model, data, world[: self._kept], KEPT)
        mujoco.mj_forward(self.model, data)
        return drawn(self.model, lambda: self._renderer(data).render("rgb_array"))

    def _renderer(self, data: mujoco.MjData):
        """Gymnasium's, which is where its camera is; this thread's, as what draws belongs to a thread."""
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer  # as slow to import as all the rest

        places = _threads.__dict__
        if self.file not in places:
            places[self.file] = MujocoRenderer(self.model, data, self.camera, 240, 240)
        return places[self.file]

    def see(self, data: mujoco.MjData) -> tuple[np.ndarray, ...]:
        """Views of what observation and reward need besides positions and rates, each of one axis."""
        return ()

    def _scratch(self) -> tuple[mujoco.MjData, tuple[np.ndarray, ...]]:
        """This thread's place to compute in, and its views."""
        places = _threads.__dict__
        if self.name not in places:
            data = mujoco.MjData(self.model)
            places[self.name] = data, self.see(data)
        return places[self.name]

    def _each(self, worlds: np.ndarray, move: Callable) -> None:
        """``move`` each world [n, S], in place."""
        stop_the_clock()
        threads = min(processors(self.threads), len(worlds))
        if threads <= 1:
            self._some(worlds, move)
        else:
            parts = np.array_split(worlds, threads)
            list(_pool(threads).map(self._some, parts, [move] * threads))

    def _some(self, worlds: np.ndarray, move: Callable) -> None:
        """``_each`` on one thread. MuJoCo lets go of Python's lock in each move."""
        model, kept, (data, views) = self.model, self._kept, self._scratch()
        for world in worlds:
            state = world[:kept]
            move(model, data, state)
            mujoco.mj_getState(model, data, state, KEPT)
            if views:
                np.concatenate(views, out=world[kept:])

    def _advance(self, model: mujoco.MjModel, data: mujoco.MjData, state: np.ndarray) -> None:
        mujoco.mj_setState(model, data, state, KEPT)
        mujoco.mj_step(model, data, self.skip)
        if self.forces:
            mujoco.mj_rnePostConstraint(model, data)


def _begin(model: mujoco.MjModel, data: mujoco.MjData, state: np.ndarray) -> None:
    mujoco.mj_resetData(model, data)  # forces of the world before this one must not be seen
    mujoco.mj_setState(model, data, state, KEPT)
    mujoco.mj_forward(model, data)


_threads = threading.local()
"""By a task's name, where the thread computes; by its file's, what it draws with."""


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


@cache
def _model(file: str) -> mujoco.MjModel:
    gymnasium = find_spec("gymnasium")  # its descriptions are needed, its code is not
    if gymnasium is None or gymnasium.origin is None:
        raise ModuleNotFoundError("the robots come with Gymnasium, which is not installed: pip install 'gymnasium[mujoco]'.")
    path = Path(gymnasium.origin).parent / "envs" / "mujoco" / "assets" / file
    return lean(mujoco.MjModel.from_xml_path(str(path)))


def lean(model: mujoco.MjModel) -> mujoco.MjModel:
    """The model of one robot without MuJoCo's search for parts to be solved apart: it takes time and changes no number."""
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    return model


def stop_the_clock() -> None:
    """Before stepping: MuJoCo's Python package has every part of a step timed, which takes a fifth of it.

    ``MjData.timer`` then stays as it is, in the whole process, until somebody makes a new MjData, which starts the clock again.
    A clock that somebody has set with ``mujoco.set_mjcb_time`` goes on.
    """
    if mujoco.get_mjcb_time() is None:  # it tells of none but those
        mujoco.set_mjcb_time(None)


def drawn(model: mujoco.MjModel, render: Callable[[], Any]) -> np.ndarray:
    """What ``render`` gives, without a screen where there is none, and without what makes software rendering slow.

    Multisampling, shadows and reflections would cost thirty times the rest. Raises RuntimeError where MuJoCo cannot draw.
    """
    model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
    model.mat_reflectance[:] = 0
    screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not screen and "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") else "osmesa"
    try:
        return np.asarray(render())
    except Exception as reason:  # of any kind: PyOpenGL falls over in many ways
        raise RuntimeError(
            f"MuJoCo cannot draw with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} ({reason}). Without a screen it needs "
            "EGL (Debian: apt install libegl1) or OSMesa (libosmesa6); then restart Python. Training needs neither."
        ) from reason


def processors(threads: int) -> int:
    """How many threads: 0 stands for one for each processor."""
    return threads or os.cpu_count() or 1


def recorded(task: str) -> dict[str, np.ndarray]:
    """What PPO has made of "Hopper-v5", "HalfCheetah-v5" or "InvertedDoublePendulum-v5" in a million steps: recorded runs.

    ``benchmarks/locomotion.py --record`` redoes them. "return", "steps" [seeds, iteration]: mean return of the episodes that
    ended last, and environment steps so far. "test" [seeds, 10]: returns of the mean action at the end. "about": when and how,
    as JSON.
    """
    with np.load(Path(__file__).parent.parent / "recorded" / f"locomotion_{task}.npz", allow_pickle=False) as file:
        return dict(file)


class InvertedPendulum(Mujoco):
    """A pole on a cart. Observed: qpos, qvel. Pays 1 a step while the pole leans at most 0.2 rad, and ends when it does not."""

    name, file, skip, scale, reward_threshold = "InvertedPendulum-v5", "inverted_pendulum.xml", 2, 0.01, 950.0
    camera: ClassVar = {"trackbodyid": 0, "distance": 2.04}

    def observe(self, state):
        return state[..., : self._rates.stop]

    def judge(self, before, after, action):
        terminated = np.abs(after[:, 1]) > 0.2
        return (~terminated).astype(float), terminated


class InvertedDoublePendulum(Mujoco):
    """Two poles, one on the other, on a cart. Observed: where the cart is, sines and cosines of the angles, rates and the force
    that keeps the cart on its rail, both clipped to +-10. With the tip at (x, y) and the poles' rates v1, v2 a step pays

        10 [if y > 1] - 0.01 x^2 - (y - 2)^2 - 0.001 v1^2 - 0.005 v2^2

    and the episode ends when y <= 1.
    """

    name, file, skip = "InvertedDoublePendulum-v5", "inverted_double_pendulum.xml", 5
    scale, normal_rates, reward_threshold = 0.1, True, 9100.0
    camera: ClassVar = {"trackbodyid": 0, "distance": 4.1225, "lookat": np.array((0.0, 0.0, 0.1225))}

    def see(self, data):
        return data.site_xpos[0], data.qfrc_constraint[:1]

    def observe(self, state):
        position, velocity, force = self.position(state), self.velocity(state), self.seen(state)[1]
        angles = position[..., 1:]
        return torch.cat((position[..., :1], angles.sin(), angles.cos(), velocity.clamp(-10, 10), force.clamp(-10, 10)), -1)

    def judge(self, before, after, action):
        x, _, y = self.seen(after)[0].T
        _, v1, v2 = self.velocity(after).T
        terminated = y <= 1
        return 10.0 * ~terminated - (0.01 * x**2 + (y - 2) ** 2) - (1e-3 * v1**2 + 5e-3 * v2**2), terminated


class Reacher(Mujoco):
    """An arm in the plane and a target within its reach. Observed: cosines and sines of its angles, the target, the rates, and
    the way from target to fingertip. Pays minus the length of that way and the sum of squares of the action; never ends.
    """

    name, file, skip, time_limit, scale, reward_threshold = "Reacher-v5", "reacher.xml", 2, 50, 0.1, -3.75

    def first(self, places, rates):
        """Angles within 0.1 rad of stretched out, rates within 0.005; the target evenly on a disc of radius 0.2."""
        angles, polar = places.tensor_split([2], -1)
        radius, angle = 0.2 * polar[..., 0].sqrt(), 2 * torch.pi * polar[..., 1]
        target = torch.stack((radius * angle.cos(), radius * angle.sin()), -1)
        return torch.cat((0.1 * (2 * angles - 1), target, 0.005 * (2 * rates[..., :2] - 1), torch.zeros_like(target)), -1)

    def see(self, data):
        return data.body("fingertip").xpos, data.body("target").xpos

    def observe(self, state):
        position, (fingertip, target) = self.position(state), self.seen(state)
        angles, way = position[..., :2], fingertip - target
        return torch.cat((angles.cos(), angles.sin(), position[..., 2:], self.velocity(state)[..., :2], way[..., :2]), -1)

    def judge(self, before, after, action):
        fingertip, target = self.seen(after)
        reward = -np.linalg.norm(fingertip - target, axis=1) - np.square(action).sum(1)
        return reward, np.zeros(len(reward), dtype=bool)


class _Runner(Mujoco):
    """Rewarded for speed forward: weight x speed + bonus [if healthy] - cost |a|^2 - contact; ends when unhealthy."""

    weight: ClassVar[float] = 1.0
    bonus: ClassVar[float] = 0.0
    cost: ClassVar[float]

    def judge(self, before, after, action):
        healthy = self.healthy(after)
        speed = (self.place(after) - self.place(before)) / self.time_step
        costs = self.cost * np.square(action).sum(1) + self.contact(after)
        return self.weight * speed + self.bonus * healthy - costs, ~healthy

    def place(self, state: Float[np.ndarray, "W S"]) -> Float[np.ndarray, " W"]:
        """What is to move forward, m."""
        return state[:, 0]

    def healthy(self, state: Float[np.ndarray, "W S"]) -> Bool[np.ndarray, " W"]:
        """Whether the episode goes on."""
        return np.ones(len(state), dtype=bool)

    def contact(self, state: Float[np.ndarray, "W S"]) -> Float[np.ndarray, " W"] | float:
        """What touching things costs."""
        return 0.0


class Swimmer(_Runner):
    """Three rods in a viscous plane. Observed: qpos without x and y, qvel. Pays speed forward - 0.0001 |a|^2; never ends."""

    name, file, skip, scale, reward_threshold, cost = "Swimmer-v5", "swimmer.xml", 4, 0.1, 360.0, 1e-4

    def observe(self, state):
        return state[..., 2 : self._rates.stop]


class Hopper(_Runner):
    """One leg. Observed: qpos without x, and qvel clipped to +-10. Pays speed forward + 1 [if healthy] - 0.001 |a|^2; healthy
    is a height above 0.7 m, a lean below 0.2 rad, and no angle or rate beyond 100.
    """

    name, file, skip, scale, reward_threshold, bonus, cost = "Hopper-v5", "hopper.xml", 4, 5e-3, 3800.0, 1.0, 1e-3

    def observe(self, state):
        return torch.cat((self.position(state)[..., 1:], self.velocity(state).clamp(-10, 10)), -1)

    def healthy(self, state):
        height, lean = state[:, 1], state[:, 2]
        within = (np.abs(state[:, 2 : self._rates.stop]) < 100).all(1)
        return within & (height > 0.7) & (np.abs(lean) < 0.2)


class Walker2d(_Runner):
    """Two legs. As Hopper; healthy is a height between 0.8 and 2 m and a lean below 1 rad."""

    name, file, skip, scale, bonus, cost = "Walker2d-v5", "walker2d_v5.xml", 4, 5e-3, 1.0, 1e-3

    def observe(self, state):
        return torch.cat((self.position(state)[..., 1:], self.velocity(state).clamp(-10, 10)), -1)

    def healthy(self, state):
        height, lean = state[:, 1], state[:, 2]
        return (height > 0.8) & (height < 2) & (np.abs(lean) < 1)


class HalfCheetah(_Runner):
    """The front and hind leg of a cat. Observed: qpos without x, qvel. Pays speed forward - 0.1 |a|^2; never ends."""

    name, file, skip, reward_threshold, cost = "HalfCheetah-v5", "half_cheetah.xml", 5, 4800.0, 0.1
    scale, normal_rates = 0.1, True

    def observe(self, state):
        return state[..., 1 : self._rates.stop]


class Ant(_Runner):
    """Four legs. Observed: qpos without x and y, qvel, and the contact force and torque on each body, clipped to +-1. Pays
    speed forward + 1 [if healthy] - 0.5 |a|^2 - 0.0005 |clipped forces|^2; healthy is a height between 0.2 and 1 m.
    """

    name, file, skip, reward_threshold, forces = "Ant-v5", "ant.xml", 5, 6000.0, True
    scale, normal_rates, bonus, cost = 0.1, True, 1.0, 0.5

    def see(self, data):
        return data.xpos[1, :1], data.cfrc_ext.reshape(-1)

    def observe(self, state):
        forces = self.seen(state)[1][..., 6:]  # the world's come first
        return torch.cat((state[..., 2 : self._rates.stop], forces.clamp(-1, 1)), -1)

    def place(self, state):
        """x of the torso as the integrator's last stage left it, which is not qpos."""
        return self.seen(state)[0][:, 0]

    def healthy(self, state):
        return (state[:, 2] >= 0.2) & (state[:, 2] <= 1)

    def contact(self, state):
        return 5e-4 * np.square(self.seen(state)[1].clip(-1, 1)).sum(1)


class Humanoid(_Runner):
    """Two legs, two arms. Observed: qpos without x and y, qvel, each body's inertia and velocity, the joints' torques, and the
    contact force and torque on each body. Pays 1.25 speed forward of the centre of mass + 5 [if healthy] - 0.1 |a|^2 - at most
    10 of 5e-7 |forces|^2; healthy is a height between 1 and 2 m.
    """

    name, file, skip, forces = "Humanoid-v5", "humanoid.xml", 5, True
    scale, weight, bonus, cost = 1e-2, 1.25, 5.0, 0.1

    def see(self, data):
        bodies = (data.cinert[1:].reshape(-1), data.cvel[1:].reshape(-1), data.qfrc_actuator[6:])
        return data.xipos[:, 0], *bodies, data.cfrc_ext.reshape(-1)

    def observe(self, state):
        _, *bodies, forces = self.seen(state)
        return torch.cat((state[..., 2 : self._rates.stop], *bodies, forces[..., 6:]), -1)

    def place(self, state):
        """x of the centre of mass."""
        mass = self.model.body_mass
        return self.seen(state)[0] @ mass / mass.sum()

    def healthy(self, state):
        return (state[:, 2] > 1) & (state[:, 2] < 2)

    def contact(self, state):
        return np.minimum(5e-7 * np.square(self.seen(state)[-1]).sum(1), 10)
