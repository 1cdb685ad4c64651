"""Training from the command line: a progress bar while it runs, and a folder with what happened."""

import dataclasses
import difflib
import importlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro

from . import __version__


@dataclass(frozen=True)
class Run:
    """What to decide about a run besides the algorithm's settings."""

    replicas: int = 16
    """How many learners are trained at once."""
    seed: int = 0
    """Seed of the first learner; the others have the next ones."""
    device: str = "auto"
    """Where it is computed: auto (a GPU where there is one), cpu or cuda."""
    threads: int = 1
    """Torch threads; more than one pays for large networks only."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where the run gets a new numbered folder; runs/ALGORITHM-ENVIRONMENT by default."""

    def __post_init__(self):
        if self.replicas < 1:
            raise ValueError(f"replicas is {self.replicas}; it must be at least 1 (one seed is never evidence: try 16).")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}; it must be at least 1.")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be >= 0.")


def algorithms() -> tuple[str, ...]:
    """The algorithms there are: one file each."""
    files = (Path(__file__).parent / "algorithms").glob("[a-z]*.py")
    return tuple(sorted(file.stem for file in files))


def algorithm(name: str) -> ModuleType:
    """An algorithm's module by name. Raises ValueError for an unknown one and suggests the nearest."""
    if name not in algorithms():
        near = difflib.get_close_matches(name.lower(), algorithms(), n=2, cutoff=0.6)
        guess = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"no algorithm is named {name!r}. {guess}There are: {', '.join(algorithms())}.")
    return importlib.import_module(f".algorithms.{name}", __package__)


def train(name: str, environment: str, config, run: Run) -> Path:
    """Train the algorithm named; returns the folder with config, history and picture.

    A run that is interrupted, or in which every replica diverged, keeps what it has. Raises ValueError for an unknown
    algorithm, environment or device, for an environment the algorithm cannot learn, and for a folder that cannot be written.
    """
    import torch

    from .envs import make
    from .rng import Rng

    torch.set_num_threads(run.threads)

    module, env = algorithm(name), make(environment)
    rng = Rng(range(run.seed, run.seed + run.replicas), device=_device(run.device))
    folder = _new_folder(run.out or Path("runs") / f"{name}-{re.sub(r'[^A-Za-z0-9._-]+', '-', environment)}")
    _write_config(folder, name, environment, config, rng)
    progress = _Progress(config)
    try:
        with progress.bar:
            module.train(env, config, rng, progress=progress)
    finally:
        if progress.history is not None:
            _write_results(folder, progress.history, f"{name} on {environment}")
    return folder


def _device(name: str):
    """The device by name, tried. Raises ValueError where it is not to be had."""
    import torch

    from .rng import choose_device

    try:
        device = choose_device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        has = "auto, cpu and cuda" if torch.cuda.is_available() else "auto and cpu"
        reason = str(problem).splitlines()[0]
        raise ValueError(f"device is {name!r}; torch {torch.__version__} has {has} on this machine ({reason}).") from None
    return device


def _new_folder(parent: Path) -> Path:
    """The next numbered folder in ``parent``: 001, 002, ... An earlier run is never written over."""
    numbers = [int(path.name) for path in parent.glob("[0-9]*") if path.name.isdecimal()]
    while True:
        folder = parent / f"{max(numbers, default=0) + 1:03d}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:  # another run took it meanwhile
            numbers.append(int(folder.name))
        except OSError as problem:
            raise ValueError(f"cannot write to {parent} ({problem.strerror}). Choose another folder with --out.") from None


def _write_config(folder: Path, name: str, environment: str, config, rng) -> None:
    import torch

    record = {
        "algorithm": name,
        "environment": environment,
        "config": dataclasses.asdict(config),
        "seeds": rng.seeds,
        "device": str(rng.device),
        "pgcourse": __version__,
        "torch": torch.__version__,
    }
    (folder / "config.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _write_results(folder: Path, history, title: str) -> None:
    """history.npz, and return.png: the band of all replicas' returns over environment steps."""
    from . import plots

    history.save(folder / "history.npz")
    if "return" in history.metrics:
        figure, axes = plots.figure()
        plots.band(axes, history.steps, history.metrics["return"])
        axes.set(xlabel="environment steps per replica", ylabel="return per episode", title=title)
        figure.savefig(folder / "return.png", dpi=120)


class _Progress:
    """The text bar as a progress function; it keeps hold of the history, so that a run that breaks off can be saved."""

    def __init__(self, config):
        from tqdm import tqdm

        self.bar = tqdm(total=getattr(config, "iterations", None), unit=" iterations", dynamic_ncols=True)
        self.history = None

    def __call__(self, history) -> None:
        self.history = history
        self.bar.update(history.iteration - self.bar.n)
        if "return" in history.metrics:
            mean = history.latest("return")[history.active].mean()
            self.bar.set_postfix_str(f"mean return {mean:.1f} of {len(history.active)} replicas", refresh=False)
