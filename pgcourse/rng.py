"""Random streams, one per replica.

Replica r's numbers depend on its seed and on the draws it has made, call by call: never on how many replicas there are or on
its place among them. So replica 7 of 64 can be run again alone and does the same thing. Nothing here touches a global seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """What a policy or an environment needs to be random for one step: a law and the shape of one draw.

    kind: "normal" (mean 0, variance 1) or "uniform" (on [0, 1)); shape: of one draw, () for a single number.
    """

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...] = ()

    def __post_init__(self):
        if self.kind not in ("normal", "uniform"):
            raise ValueError(f"Noise kind is {self.kind!r}; it can be 'normal' or 'uniform'.")


def choose_device(device: str | torch.device) -> torch.device:
    """The device named; ``"auto"`` is CUDA when there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


class Rng:
    """R independent random streams; also where a computation's device and number format are chosen.

    Parameters: ``seeds``, one whole number per replica (``range(16)``; a single number means one replica); ``stream``, a
    further key for the same seeds, so that workers or purposes get streams of their own; ``device``, ``"auto"`` for CUDA when
    there is one; ``dtype``, the floating-point format of everything that is drawn, and so of all that is computed from it.

    Raises ValueError for no seeds, one outside 0 .. 2^32 - 1, or the same seed twice (two replicas would then be one).
    torch keeps 32 bits of what a stream begins with, so one pair of seeds in four billion shares a stream; of the first 14,000
    seeds none do.
    """

    def __init__(
        self,
        seeds: int | Iterable[int],
        *,
        stream: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.seeds = (seeds,) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
        if not self.seeds or not 0 <= min(self.seeds) <= max(self.seeds) < 2**32 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"seeds are {self.seeds}; give one whole number per replica in 0 .. 2^32 - 1, all different: range(16), say."
            )
        self.device = choose_device(device)
        self.dtype = dtype
        self._generators = [self._generator(seed, stream) for seed in self.seeds]

    def _generator(self, seed: int, stream: int) -> torch.Generator:
        # SeedSequence mixes the two keys, so that (seed 1, stream 0) and (seed 0, stream 1) have nothing in common.
        key = int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0])
        return torch.Generator(self.device).manual_seed(key)

    def __len__(self) -> int:
        return len(self.seeds)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers [R, *shape]."""
        return self._fill(Noise("normal"), *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers on [0, 1), [R, *shape]."""
        return self._fill(Noise("uniform"), *shape)

    def draw(self, noise: Noise | None, *leading: int) -> Tensor | None:
        """Noise for many steps at once, [R, *leading, *noise.shape]; None when there is no noise to draw.

        Draw a whole rollout in one call: sixteen generators asked once per step cost forty times as much.
        """
        return None if noise is None else self._fill(noise, *leading)

    def _fill(self, noise: Noise, *leading: int) -> Tensor:
        numbers = torch.empty(len(self), *leading, *noise.shape, device=self.device, dtype=self.dtype)
        for replica, generator in zip(numbers, self._generators, strict=True):
            if noise.kind == "normal":
                replica.normal_(generator=generator)
            else:
                replica.uniform_(generator=generator)
        return numbers

    def select(self, index: Sequence[int]) -> "Rng":
        """The streams of some replicas; they go on from where they are (they are shared, not copied)."""
        part = object.__new__(Rng)
        part.device, part.dtype = self.device, self.dtype
        part.seeds = tuple(self.seeds[i] for i in index)
        part._generators = [self._generators[i] for i in index]
        return part
