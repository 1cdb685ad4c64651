"""Atari's Pong, seen as the recipe of lecture 06 sees it. Needs the package ale-py: pip install pgcourse[atari]."""

import importlib

import gymnasium
import numpy as np

from .gymnasium import Gymnasium

SIZE = 80
"""Rows and columns of a frame after preprocessing."""
LISTED = 96
"""Length of an observation; no difference of two frames of Pong has more pixels."""
_UP, _DOWN = 2, 3


def preprocess(frame: np.ndarray) -> np.ndarray:
    """A frame of the game, uint8 [210, 160, 3], as int8 [80, 80]: the field, every second pixel, 1 where something is.

    Rows 35 to 194 are the field; 144 and 109 are the two colours (red channel) of its ground. Source: Karpathy (2016).
    """
    field = frame[35:195:2, ::2, 0]
    return ((field != 144) & (field != 109) & (field != 0)).astype(np.int8)


def changes(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The difference of two preprocessed frames as a list of pixels, float32 [LISTED]: +k lit, -k gone dark, 0 none."""
    difference = (now - before).ravel()
    places = difference.nonzero()[0][:LISTED]
    listed = np.zeros(LISTED, dtype=np.float32)
    listed[: len(places)] = difference[places] * (places + 1)
    return listed


class PixelLists(gymnasium.Wrapper):
    """Pong with two actions, up and down, and differences of frames as lists of pixels for observations."""

    def __init__(self, **arguments):
        import ale_py

        gymnasium.register_envs(ale_py)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no greeting for each of many worlds
        super().__init__(gymnasium.make("ALE/Pong-v5", max_episode_steps=-1, disable_env_checker=True, **arguments))
        self.observation_space = gymnasium.spaces.Box(-SIZE * SIZE, SIZE * SIZE, (LISTED,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._before = np.zeros((SIZE, SIZE), dtype=np.int8)

    def reset(self, **arguments):
        frame, more = self.env.reset(**arguments)
        self._before = preprocess(frame)
        return np.zeros(LISTED, dtype=np.float32), more

    def step(self, action):
        frame, reward, terminated, truncated, more = self.env.step(_DOWN if action else _UP)
        now = preprocess(frame)
        observation, self._before = changes(now, self._before), now
        return observation, reward, terminated, truncated, more


class AtariPong(Gymnasium):
    """Gymnasium's ALE/Pong-v5 (4 frames a step, an action in four repeated by chance) as lists of pixels. Not pure.

    Raises ImportError with what to install where ale-py is missing.
    """

    pixels = SIZE * SIZE

    def __init__(self, **arguments):
        try:
            importlib.import_module("ale_py")
        except ImportError:
            raise ImportError("Atari's Pong needs the package ale-py: pip install 'pgcourse[atari]'.") from None
        super().__init__("pgcourse/Pong-pixels", **arguments)


gymnasium.register("pgcourse/Pong-pixels", entry_point=PixelLists, max_episode_steps=27_000)
