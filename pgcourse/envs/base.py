"""What an environment is: a handful of pure functions on tensors with any leading axes, and a description of itself."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..rng import Noise

State = Any
"""A Tensor [..., *spec.state_shape] in our own environments; in adapters an opaque token, to be handed back as it is."""


@dataclass(frozen=True)
class Discrete:
    """Whole numbers 0 .. n-1. Actions are int64 tensors with no feature axis."""

    n: int
    meaning: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """Vectors of ``size`` real numbers between ``low`` and ``high``, in ``units`` (one word per number).

    A bound is one number for all, or a tuple with one for each. Environments clip an action that is out of bounds.
    """

    size: int
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """How an environment describes itself.

    time_limit: steps after which an episode is cut off (truncated), None for never; it belongs to the rollout, not to the
    dynamics. initial_noise, step_noise: what ``initial`` and ``step`` need to be random (initial_noise has the shape (0,), and
    step_noise is None, when they are not).
    state_shape: the trailing axes of one state, () for a single number. reward_threshold: the mean return at which the task
    counts as solved, where its authors named one.
    """

    name: str
    observation: Box
    action: Discrete | Box
    time_limit: int | None
    state_shape: tuple[int, ...]
    initial_noise: Noise = Noise("uniform", (0,))
    step_noise: Noise | None = None
    reward_threshold: float | None = None


class Env(ABC):
    """An environment: ``initial``, ``step``, ``observe`` and a ``spec``; all pure, with any leading axes (``[R, E]``, say).

    Actions of a ``Box`` are [..., size]; of a ``Discrete``, whole numbers [...]. Observations are [..., observation.size].
    Rewards are floating-point, terminations boolean, both [...].
    """

    spec: Spec

    @abstractmethod
    def initial(self, noise: Tensor) -> State:
        """First states, from noise [..., *spec.initial_noise.shape]."""

    @abstractmethod
    def step(self, state: State, action: Tensor, noise: Any) -> tuple[State, Tensor, Tensor]:
        """Next states, rewards, terminations."""

    @abstractmethod
    def observe(self, state: State) -> Tensor:
        """What the policy sees of a state."""

    def reset(self, mask: Tensor, state: State, noise: Tensor) -> State:
        """``state`` with fresh first states where ``mask`` is true."""
        mask = mask.reshape(mask.shape + (1,) * len(self.spec.state_shape))
        return torch.where(mask, self.initial(noise), state)

    def rest(self, mask: Tensor, state: State, noise: Tensor) -> State:
        """What to go on with where ``mask`` says that an episode is over and nobody looks at what follows.

        Here a new beginning, so that physics beyond the end never runs away; adapters let those worlds stand still.
        """
        return self.reset(mask, state, noise)

    def truncated(self, state: State) -> Tensor | None:
        """Where an outside environment has cut the episode short by itself; None: never (all pure environments)."""
        return None

    def select(self, state: State, index: Any) -> State:
        """The states of some replicas; ``index``: whole numbers or a mask along the first axis."""
        return state[index]

    def picture(self, state: State) -> np.ndarray:
        """An image uint8 [height, width, 3] of one state, or of the first of many.

        Raises NotImplementedError where nobody has drawn one.
        """
        raise NotImplementedError(f"{self.spec.name} has no picture; a method picture(state) of its class could draw one.")

    def validate_action(self, action: Tensor, leading: tuple[int, ...]) -> None:
        """Checks that ``action`` is what this environment takes in ``leading`` places, ``(R, E)`` say.

        Raises ValueError for a wrong shape, number format or, of a Discrete, choice; says what was given and what fits.
        """
        space = self.spec.action
        if isinstance(space, Discrete):
            kind, shape, fits = "whole numbers (torch.int64)", tuple(leading), action.dtype == torch.int64
        else:
            kind, shape, fits = "floating-point numbers", (*leading, space.size), action.is_floating_point()
        if not fits or tuple(action.shape) != shape:
            raise ValueError(
                f"{self.spec.name} takes actions of shape {list(shape)}, {kind}; these have shape {list(action.shape)} "
                f"and format {action.dtype}. policies.for_env makes a policy that fits."
            )
        if isinstance(space, Discrete) and action.numel() and not 0 <= action.min() <= action.max() < space.n:
            raise ValueError(
                f"{self.spec.name} takes actions 0 .. {space.n - 1}; these go from {action.min()} to {action.max()}. "
                f"Give the policy {space.n} actions."
            )
