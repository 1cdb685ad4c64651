"""Any Gymnasium environment as one of ours: R x E worlds, stepped one after another.

The worlds are plain Gymnasium environments, not one of its vector environments: nothing resets by itself, so the observation
after a step is the final one, a termination or truncation is that step's own, and no dummy transition exists. On two cores
neither Gymnasium's SyncVectorEnv nor two threads step InvertedPendulum-v5 noticeably faster (45-55 us a step and world).
"""

import atexit
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ..rng import Noise
from .base import Box, Discrete, Env, Spec


def ids() -> tuple[str, ...]:
    """All that Gymnasium knows, except those it only knows to be gone (v2 and v3 of the MuJoCo tasks)."""
    gone = "_raise_mujoco_py_error"
    return tuple(id for id, known in gymnasium.registry.items() if getattr(known.entry_point, "__name__", "") != gone)


@dataclass(frozen=True, eq=False)
class Token:
    """The state of some worlds as the outside sees it: how they are at one moment. To be handed back as it is, once.

    observation: [*leading, O]; truncated: [*leading].
    """

    observation: Tensor
    truncated: Tensor
    worlds: "_Worlds" = field(repr=False)
    moment: int


class Gymnasium(Env):
    """Gymnasium's environment ``id`` (made with ``arguments``) in any number of worlds at once.

    Observations are a Box, flattened; actions a Discrete, or a Box, flattened, which is *clipped to its bounds* before the
    step. The time limit is the registered one, or ``max_episode_steps`` (-1: none); like ours it is kept by the rollout. Other
    truncations are told by ``truncated``. Numbers come out in the format and on the device of the noise given to ``initial``.

    A world's first state, and all that is random in it until its next reset, comes from the two uniform numbers it is given
    as noise: so replica r's worlds depend on replica r's stream alone. A world whose episode has ended stands still until it
    is reset (reward 0); so does one whose action is NaN (a replica that has diverged), with NaN for observation and reward.

    This environment is not pure: its state is a token that can be stepped or reset once, the latest one. Several
    rollouts of one environment do not disturb each other: each ``initial`` has worlds of its own, and worlds that nobody
    holds a token of are used again.

    Raises TypeError for other spaces, ValueError for a time limit below 1, and what Gymnasium raises for an unknown id or a
    missing package.
    """

    def __init__(self, id: str, *, max_episode_steps: int | None = None, **arguments: Any):
        registered = gymnasium.spec(id)
        limit = registered.max_episode_steps if max_episode_steps is None else max_episode_steps
        if limit == -1:
            limit = None
        if limit is not None and limit < 1:
            raise ValueError(f"max_episode_steps is {limit}; it can be >= 1, -1 for no limit, or None for the registered one.")
        self.id, self._arguments = id, arguments
        self._spare: list[gymnasium.Env] = []  # worlds that nobody uses now
        self._drawn: weakref.WeakSet[gymnasium.Env] = weakref.WeakSet()
        weakref.finalize(self, _close, self._spare)
        first = self._make()
        self._actions = first.action_space
        self.spec = Spec(
            name=registered.id,
            observation=_observation_space(registered.id, first.observation_space),
            action=_action_space(registered.id, first.action_space),
            time_limit=limit,
            state_shape=(),
            initial_noise=Noise("uniform", (2,)),
            reward_threshold=registered.reward_threshold,
        )
        self._can_draw = "rgb_array" in (first.metadata.get("render_modes") or ())
        if self._can_draw and "render_mode" not in arguments:
            arguments["render_mode"] = "rgb_array"
            if hasattr(first.unwrapped, "mujoco_renderer"):
                self._arguments = {"width": 240, "height": 240} | arguments
            first.close()
        else:
            self._spare.append(first)

    def __repr__(self) -> str:
        return f"Gymnasium({self.id!r})"

    def _make(self) -> gymnasium.Env:
        # No TimeLimit wrapper: the rollout keeps the limit. No checker: it costs a tenth of a step.
        return gymnasium.make(self.id, max_episode_steps=-1, disable_env_checker=True, **self._arguments)

    def _take(self, count: int) -> list[gymnasium.Env]:
        """``count`` worlds, spare ones first."""
        return [self._spare.pop() if self._spare else self._make() for _ in range(count)]

    def initial(self, noise: Tensor) -> Token:
        """Worlds at the beginning of an episode, one for each two numbers of ``noise`` [*leading, 2]."""
        worlds = _Worlds(self, self._take(noise[..., 0].numel()), noise)
        worlds.reset(np.ones(len(worlds.environments), dtype=bool), noise)
        return worlds.token()[0]

    def step(self, state: Token, action: Tensor, noise: Tensor | None = None) -> tuple[Token, Tensor, Tensor]:
        """Next token, rewards, terminations. Raises RuntimeError for a token that is not the latest."""
        worlds = _latest(state)
        worlds.step(*_to_gymnasium(action, self._actions, len(worlds.environments)))
        return worlds.token()

    def observe(self, state: Token) -> Tensor:
        """The observations, flattened."""
        return state.observation

    def truncated(self, state: Token) -> Tensor:
        """Where Gymnasium has said ``truncated``; the time limit is not among these."""
        return state.truncated

    def reset(self, mask: Tensor, state: Token, noise: Tensor) -> Token:
        """New episodes where ``mask`` [*leading] is true. Raises RuntimeError for a token that is not the latest."""
        worlds = _latest(state)
        chosen = mask.cpu().numpy().reshape(-1)
        if not chosen.any():
            return state
        worlds.reset(chosen, noise)
        return worlds.token()[0]

    def rest(self, mask: Tensor, state: Token, noise: Tensor) -> Token:
        """The same token: worlds whose episode is over stand still anyway."""
        return state

    def select(self, state: Token, index: Any) -> Token:
        """The worlds of some replicas, each at most once, in a token of their own; the token given is used up."""
        return _latest(state).select(index).token()[0]

    def picture(self, state: Token) -> np.ndarray:
        """What Gymnasium renders of the first world, uint8 [height, width, 3].

        Raises NotImplementedError where Gymnasium has no picture, RuntimeError where MuJoCo finds nothing to draw with.
        """
        if not self._can_draw:
            raise NotImplementedError(f"{self.spec.name} has no picture: Gymnasium renders it in no 'rgb_array' mode.")
        world: Any = _latest(state).environments[0]
        if not hasattr(world.unwrapped, "mujoco_renderer"):
            return np.asarray(world.render())
        from .mujoco import drawn

        image = drawn(world.unwrapped.model, world.render)
        if world not in self._drawn:
            # MuJoCo has now registered its own end at exit; the world's, registered later, comes before it.
            self._drawn.add(world)
            atexit.register(_close_one, weakref.ref(world))
        return image


class _Worlds:
    """Single environments, lent by ``owner`` and given back when nobody needs these any more, and what each said last."""

    def __init__(self, owner: Gymnasium, environments: list[gymnasium.Env], like: Tensor):
        count = len(environments)
        self.owner, self.environments, self.moment = owner, environments, 0
        self.leading, self.format = like.shape[:-1], {"dtype": like.dtype, "device": like.device}
        self.observation = np.zeros((count, owner.spec.observation.size))
        self.reward = np.zeros(count)
        self.terminated, self.truncated, self.still = (np.zeros(count, dtype=bool) for _ in range(3))
        self._return = weakref.finalize(self, owner._spare.extend, environments)

    def token(self) -> tuple[Token, Tensor, Tensor]:
        """The present moment, and the rewards and terminations that led to it; in one transfer."""
        packed = np.column_stack((self.observation, self.reward, self.terminated, self.truncated))
        packed = torch.from_numpy(packed).to(**self.format).reshape(*self.leading, -1)
        terminated, truncated = (packed[..., -2:] > 0).unbind(-1)
        return Token(packed[..., :-3], truncated, self, self.moment), packed[..., -3], terminated

    def reset(self, mask: np.ndarray, noise: Tensor) -> None:
        """A new episode in each world of ``mask`` [worlds], from its two numbers of ``noise`` [..., 2]."""
        self.moment += 1
        self.terminated[mask] = self.truncated[mask] = self.still[mask] = False
        for i, seed in zip(np.flatnonzero(mask), _seeds(noise.reshape(-1, 2)[mask]), strict=True):
            self.observation[i] = np.ravel(self.environments[i].reset(seed=seed)[0])

    def step(self, actions: Sequence | np.ndarray, known: np.ndarray) -> None:
        """One step of each world that does not stand still; those whose action is not ``known`` are lost."""
        self.moment += 1
        self.reward[self.terminated | self.truncated] = 0
        lost = ~known & ~self.still
        self.observation[lost] = self.reward[lost] = math.nan
        self.still |= lost
        moving = np.flatnonzero(~self.still).tolist()
        if len(moving):
            said = zip(*(self.environments[i].step(actions[i]) for i in moving), strict=True)
            observation, self.reward[moving], self.terminated[moving], self.truncated[moving], _ = said
            self.observation[moving] = np.reshape(observation, (len(moving), -1))
        self.still |= self.terminated | self.truncated

    def select(self, index: Any) -> "_Worlds":
        """Some of these worlds, moved to a new object; the others go back to the owner."""
        places = torch.arange(len(self.environments), device=self.format["device"]).reshape(self.leading)[index]
        order = places.flatten().tolist()
        if len(set(order)) < len(order):
            raise ValueError("the same replica is selected twice, but a world cannot be copied; select each at most once.")
        self.moment += 1
        self._return.detach()
        self.owner._spare.extend(world for i, world in enumerate(self.environments) if i not in set(order))
        part = _Worlds(self.owner, [self.environments[i] for i in order], torch.empty(*places.shape, 0, **self.format))
        for name in ("observation", "reward", "terminated", "truncated", "still"):
            setattr(part, name, getattr(self, name)[order])
        return part


def _latest(state: Token) -> _Worlds:
    """The worlds of a token, if they are still where it left them."""
    if state.moment != state.worlds.moment:
        raise RuntimeError(
            f"this state of {state.worlds.owner.spec.name} is out of date: its worlds have been stepped, reset or selected "
            "since, and outside environments cannot go back. Go on from the state that came of it, or begin with initial()."
        )
    return state.worlds


def _seeds(noise: Tensor) -> list[int]:
    """48-bit seeds from pairs of uniform numbers [n, 2]; 24 bits is what a float32 holds."""
    high, low = (noise.double() * 2**24).long().unbind(-1)
    return (high * 2**24 + low).tolist()


def _to_gymnasium(action: Tensor, space: Any, count: int) -> tuple[Sequence | np.ndarray, np.ndarray]:
    """One action for each world, as ``space`` wants it, and which of them are numbers at all [worlds]."""
    values = action.detach().cpu().numpy()
    if isinstance(space, gymnasium.spaces.Discrete):
        return (values.reshape(count) + space.start).tolist(), np.ones(count, dtype=bool)
    values, format = values.reshape(count, *space.shape), np.finfo(space.dtype)
    clipped = values.clip(np.maximum(space.low, format.min), np.minimum(space.high, format.max)).astype(space.dtype)
    return clipped, ~np.isnan(values).reshape(count, -1).any(-1)


def _observation_space(name: str, space: gymnasium.Space) -> Box:
    if not isinstance(space, gymnasium.spaces.Box):
        raise TypeError(
            f"{name} has observations of the kind {space}; the adapter takes a Box. Gymnasium's wrapper FlattenObservation "
            "makes one of it: register the wrapped environment under a name of its own."
        )
    return Box(math.prod(space.shape))


def _action_space(name: str, space: gymnasium.Space) -> Discrete | Box:
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return Box(math.prod(space.shape), _bound(space.low), _bound(space.high))
    raise TypeError(
        f"{name} has actions of the kind {space}; the adapter takes a Discrete or a Box of floating-point numbers. A Gymnasium "
        "wrapper (TransformAction) can make one of it."
    )


def _bound(values: np.ndarray) -> float | tuple[float, ...]:
    """One number if all are the same."""
    bounds = tuple(float(value) for value in values.ravel())
    return bounds[0] if len(set(bounds)) == 1 else bounds


def _close_one(world: weakref.ref) -> None:
    if (alive := world()) is not None:
        alive.close()


def _close(environments: list[gymnasium.Env]) -> None:
    while environments:
        environments.pop().close()
