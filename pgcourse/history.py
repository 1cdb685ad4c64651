"""What happened in a run: metrics of every replica at every iteration, with environment steps and seconds."""

import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .nn import Optimizer
from .rng import Rng
from .rollout import Rollout

FORMAT = 1
"""Version of the file format; a file of another version is refused."""

Progress = Callable[["History"], bool | None]
"""Called once an iteration; returning True ends the run, which keeps what it has learned."""


class History:
    """Metrics [R, iteration] of a run, the environment steps at which they were taken, and the seconds since it began.

    seeds: of the replicas, in order. A replica that stopped has NaN from the next iteration on.
    """

    def __init__(self, seeds: Sequence[int]):
        self.seeds = tuple(seeds)
        self.active = np.arange(len(self.seeds))
        """Which replicas are still running."""
        self.stopped: dict[int, str] = {}
        """Replica -> when and why it stopped."""
        self.total = 0
        """Iterations planned."""
        self.iteration = 0
        """Iterations done."""
        self.ended = False
        """Whether the iteration just done is the last: all are done, or an interrupt has come."""
        self._rows: dict[str, list[np.ndarray]] = {}
        self._steps: list[np.ndarray] = []
        self._seconds: list[float] = []

    def iterate(self, iterations: int, progress: Progress | None = None) -> Iterator[int]:
        """Count iterations, calling ``progress(history)`` after each.

        Ends early when progress returns True, or on an interrupt (Ctrl-C, or the notebook's stop button), which takes effect
        at the end of the iteration under way; a second interrupt is immediate.
        """
        self.total = iterations
        self.ended = False
        begin = time.perf_counter()
        with _interrupt_asks() as asked:
            for iteration in range(iterations):
                yield iteration
                self.iteration = iteration + 1
                self._seconds.append(time.perf_counter() - begin)
                self.ended = asked() or self.iteration == iterations
                stop = progress is not None and progress(self)
                if self.ended or stop:
                    return

    def append(self, metrics: Mapping[str, Tensor], steps: Tensor) -> None:
        """One iteration: metrics by name, and the environment steps taken in it, each [replicas still running]."""
        for name, values in metrics.items():
            self._rows.setdefault(name, []).append(self._whole(values, np.nan))
        before = self._steps[-1] if self._steps else np.zeros(len(self.seeds))
        self._steps.append(before + self._whole(steps, 0.0))

    def _whole(self, values: Tensor, rest: float) -> np.ndarray:
        row = np.full(len(self.seeds), rest)
        row[self.active] = values.detach().cpu().numpy()
        return row

    def stop(self, finite: Tensor, episodes: Rollout, optimizer: Optimizer | Sequence[Optimizer], rng: Rng) -> Rng:
        """Take replicas that diverged out of the run and its optimizers; returns the streams of those that go on.

        finite: [replicas still running], as the optimizer's step returned it. Warns which replica stopped, when and why.
        Raises FloatingPointError when none is left.
        """
        if finite.all():
            return rng
        why = ""
        for row in (~finite).nonzero()[:, 0].tolist():
            replica = int(self.active[row])
            shown = (episodes.observation, episodes.next_observation, episodes.reward)
            seen = all(each[row].isfinite().all() for each in shown)
            why = "its loss or gradient is not finite" if seen else "an observation or reward is not finite"
            self.stopped[replica] = f"iteration {self.iteration}: {why}"
            warnings.warn(
                f"replica {replica} (seed {self.seeds[replica]}) stopped at iteration {self.iteration}: {why}. "
                "Its weights stay as they were before; the other replicas go on.",
                RuntimeWarning,
                stacklevel=3,
            )
        keep = finite.cpu()
        self.active = self.active[keep.numpy()]
        if len(self.active) == 0:
            raise FloatingPointError(
                f"no replica is left: the last one stopped at iteration {self.iteration}, because {why}. "
                "Try a smaller step size, and look at the observations and rewards of the environment."
            )
        for one in optimizer if isinstance(optimizer, Sequence) else (optimizer,):
            one.select(finite)
        return rng.select(keep.nonzero()[:, 0].tolist())

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Name -> [R, iteration]."""
        return {name: np.stack(rows, 1) for name, rows in self._rows.items()}

    @property
    def steps(self) -> np.ndarray:
        """Environment steps taken so far, [R, iteration]."""
        return np.stack(self._steps, 1) if self._steps else np.zeros((len(self.seeds), 0))

    @property
    def seconds(self) -> np.ndarray:
        """Wall-clock seconds since the run began, [iteration]."""
        return np.array(self._seconds)

    def latest(self, name: str) -> np.ndarray:
        """The last iteration's values [R]; KeyError with the names there are."""
        self._known(name)
        return self._rows[name][-1]

    def window(self, name: str, iterations: int) -> np.ndarray:
        """Mean over the last ``iterations`` iterations at each iteration (fewer at the beginning), [R, iteration].

        Iterations without a value (no episode had ended yet) are left out; where the latest has none, the mean has none.
        """
        self._known(name)
        values = self.metrics[name]
        present = np.isfinite(values)
        sums, counts = (
            np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=1) for x in (np.where(present, values, 0.0), present.astype(float))
        )
        last = np.arange(1, sums.shape[1])
        first = np.maximum(last - iterations, 0)
        mean = (sums[:, last] - sums[:, first]) / np.maximum(counts[:, last] - counts[:, first], 1)
        return np.where(present, mean, np.nan)

    def _known(self, name: str) -> None:
        if name not in self._rows:
            raise KeyError(f"no metric is named {name!r}; this history has {', '.join(self._rows) or 'none yet'}.")

    def table(self, every: int | None = None) -> str:
        """The run as text: mean and standard deviation over the running replicas, about ten rows unless ``every`` is given."""
        metrics, steps = self.metrics, self.steps
        every = every or max(1, self.iteration // 10)
        lines = ["  ".join(["iteration", f"{'steps':>10}", f"{'seconds':>8}", *(f"{name:>20}" for name in metrics)])]
        for i in [*range(every - 1, self.iteration, every)]:
            known = [m[:, i][~np.isnan(m[:, i])] for m in metrics.values()]
            cells = [f"{x.mean():9.4g} +- {x.std():7.3g}" if len(x) else f"{'-':>20}" for x in known]
            lines.append("  ".join([f"{i + 1:9d}", f"{steps[:, i].mean():10.0f}", f"{self._seconds[i]:8.1f}", *cells]))
        return "\n".join(lines)

    def save(self, path: str | Path) -> Path:
        """Write a ``.npz`` file (the ending is added where it is missing); returns its path."""
        path = Path(path)
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        header = {"format": FORMAT, "seeds": self.seeds, "total": self.total, "stopped": self.stopped}
        arrays: dict[str, Any] = {f"metric:{name}": values for name, values in self.metrics.items()}
        np.savez_compressed(path, header=json.dumps(header), steps=self.steps, seconds=self.seconds, **arrays)
        return path

    @staticmethod
    def load(path: str | Path) -> "History":
        """Read what ``save`` wrote. Raises ValueError for a file of another format or that is no history at all."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(str(arrays.pop("header")))
        except FileNotFoundError:
            raise
        except Exception as problem:
            raise ValueError(f"{path} is not a history file ({problem}); one is written by History.save.") from problem
        if header["format"] != FORMAT:
            raise ValueError(
                f"{path} has format {header['format']}; this version of pgcourse reads format {FORMAT}. "
                "Run the training again to write a new one."
            )
        history = History(header["seeds"])
        history.total = header["total"]
        history.stopped = {int(replica): why for replica, why in header["stopped"].items()}
        history._steps = list(arrays.pop("steps").T)
        history._seconds = arrays.pop("seconds").tolist()
        history._rows = {name.removeprefix("metric:"): list(values.T) for name, values in arrays.items()}
        history.iteration = len(history._seconds)
        history.active = np.array([r for r in range(len(history.seeds)) if r not in history.stopped])
        return history


@contextmanager
def _interrupt_asks():
    """Within it the first interrupt only sets a flag, which the function given tells; the second raises as usual."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number, frame):
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield flag.is_set
    finally:
        signal.signal(signal.SIGINT, before)
