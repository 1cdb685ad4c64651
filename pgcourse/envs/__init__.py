"""Environments on tensors, and adapters for others. ``make("CartPole-v1")`` makes one by name."""

import difflib
from importlib import import_module

from .base import Box, Discrete, Env, Spec

__all__ = ["Box", "Discrete", "Env", "Spec", "make", "names"]

# name -> (module, class or function, arguments); modules load when asked for
_ENVIRONMENTS = {
    "CartPole-v1": ("cartpole", "CartPole", {}),
    "Pendulum-v1": ("pendulum", "Pendulum", {}),
    "Acrobot-v1": ("acrobot", "Acrobot", {}),
    "MountainCar-v0": ("mountain_car", "MountainCar", {}),
    "MountainCarContinuous-v0": ("mountain_car", "MountainCarContinuous", {}),
    "bandit": ("bandit", "Bandit", {"mean": (0.0, 0.5, 1.0), "standard_deviation": 1.0}),
    "gridworld": ("tabular", "gridworld", {}),
    "aliased-gridworld": ("tabular", "aliased_gridworld", {}),
    "rock-paper-scissors": ("games", "rock_paper_scissors", {}),
    "two-step": ("tabular", "two_step", {}),
    "lqr": ("lqr", "double_integrator", {}),
    "gait": ("gait", "Gait", {}),
    "gait-mujoco": ("gait_mujoco", "MujocoGait", {}),
    "double-pendulum": ("double_pendulum", "DoublePendulum", {}),
    "cartpole-swing-up": ("cartpole_swing_up", "CartPoleSwingUp", {}),
    "double-inverted-pendulum": ("double_inverted_pendulum", "DoubleInvertedPendulum", {}),
    "pong": ("pong", "Pong", {}),
    "atari-pong": ("atari", "AtariPong", {}),
    "InvertedPendulum-v5": ("mujoco", "InvertedPendulum", {}),
    "InvertedDoublePendulum-v5": ("mujoco", "InvertedDoublePendulum", {}),
    "Reacher-v5": ("mujoco", "Reacher", {}),
    "Swimmer-v5": ("mujoco", "Swimmer", {}),
    "Hopper-v5": ("mujoco", "Hopper", {}),
    "Walker2d-v5": ("mujoco", "Walker2d", {}),
    "HalfCheetah-v5": ("mujoco", "HalfCheetah", {}),
    "Ant-v5": ("mujoco", "Ant", {}),
    "Humanoid-v5": ("mujoco", "Humanoid", {}),
}


def names() -> tuple[str, ...]:
    """The environments of our own, by name."""
    return tuple(_ENVIRONMENTS)


def make(name: str) -> Env:
    """An environment by name: one of ours (``names()``), else one of Gymnasium's through the adapter.

    ``"gymnasium:CartPole-v1"`` is Gymnasium's where there are two. Raises ValueError for an unknown name and suggests the
    nearest ones.
    """
    if name in _ENVIRONMENTS:
        module, maker, arguments = _ENVIRONMENTS[name]
        return getattr(import_module(f".{module}", __name__), maker)(**arguments)
    adapter = import_module(".gymnasium", __name__)  # Gymnasium loads when asked for
    id = name.removeprefix("gymnasium:")
    if ":" not in id and id not in adapter.ids():  # "module:id" has Gymnasium import the module first
        spelled = {known.lower(): known for known in (*adapter.ids(), *names())}
        near = [spelled[known] for known in difflib.get_close_matches(id.lower(), spelled, n=3)]
        raise ValueError(
            f"no environment is named {name!r}. "
            + (f"Did you mean {' or '.join(near)}? " if near else "")
            + f"There are ours ({', '.join(names())}) and those that Gymnasium knows, such as Pusher-v5."
        )
    return adapter.Gymnasium(id)
