"""Many runs: algorithms, environments and seeds, on this machine or on a Ray cluster; killed at any moment, it goes on.

A run is one algorithm in one environment with some seeds. It is trained in a process of its own, or as a task of Ray, and comes
back as the bytes of its history; only the process that runs the command writes them, into a folder that appears as a whole, by
one rename. So a run whose folder is there is finished, and is never done again; one whose folder is not there left nothing.
"""

import dataclasses
import hashlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import __version__, runs
from .history import History

FORMAT = 1
"""Version of what is in a run's folder; another version is refused."""
LAST = 0.1
"""The share of the iterations, the last ones, whose mean return is a learner's score."""
_LOSSES = 10
"""How often a run may be lost because a machine of the cluster is."""


@dataclass(frozen=True)
class Run:
    """An algorithm in an environment, and the seeds of the learners that are trained at once."""

    algorithm: str
    environment: str
    seeds: tuple[int, ...]
    iterations: int | None = None
    """Instead of the algorithm's own number."""

    @property
    def name(self) -> str:
        """Of its folder."""
        environment = re.sub(r"[^A-Za-z0-9._-]+", "-", self.environment)
        return f"{self.algorithm}-{environment}-{self.seeds[0]}-{self.seeds[-1]}"

    @cached_property
    def config(self) -> Any:
        """The algorithm's settings. Raises ValueError where it has no iterations to set, or not so many."""
        config_class = runs.algorithm(self.algorithm).Config
        if self.iterations is None:
            return config_class()
        if "iterations" not in {field.name for field in dataclasses.fields(config_class)}:
            raise ValueError(f"{self.algorithm} has no iterations to set; leave --iterations out.")
        return config_class(iterations=self.iterations)

    @cached_property
    def record(self) -> dict[str, Any]:
        """All that the result depends on, as JSON has it, and a digest of it."""
        record = {
            "format": FORMAT,
            "pgcourse": __version__,
            "algorithm": self.algorithm,
            "environment": self.environment,
            "seeds": self.seeds,
            "config": dataclasses.asdict(self.config),
        }
        text = json.dumps(record, sort_keys=True)
        return json.loads(text) | {"digest": hashlib.sha256(text.encode()).hexdigest()}


@dataclass(frozen=True)
class Failed:
    """A run that gave no history, and why."""

    why: str


Result = bytes | Failed
Work = Callable[[Run], Result]


def plan(names: Sequence[str], seeds: int, replicas: int = 16, seed: int = 0, iterations: int | None = None) -> list[Run]:
    """Every algorithm among ``names`` in every environment among them, with seeds from ``seed`` on, ``replicas`` to a run.

    Raises ValueError for a name that is neither, where one kind is missing, and for settings that are impossible.
    """
    from .envs import make

    for name, value in (("seeds", seeds), ("replicas", replicas)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be >= 0.")
    names = list(dict.fromkeys(names))
    algorithms = [name for name in names if name in runs.algorithms()]
    environments = [name for name in names if name not in algorithms]
    if not algorithms or not environments:
        what = "algorithm" if not algorithms else "environment"
        raise ValueError(
            f"name an {what}, too: pgcourse sweep reinforce rwr CartPole-v1. Algorithms: {', '.join(runs.algorithms())}."
        )
    for environment in environments:
        try:
            make(environment)
        except ValueError as problem:
            raise ValueError(f"{problem} Algorithms there are: {', '.join(runs.algorithms())}.") from None
    every = range(seed, seed + seeds)
    blocks = [tuple(every[first : first + replicas]) for first in range(0, seeds, replicas)]
    planned = [Run(a, e, block, iterations) for e in environments for a in algorithms for block in blocks]
    for run in planned:
        _ = run.record  # settings that are impossible are told before anything runs
    if len({run.name for run in planned}) < len(planned):
        raise ValueError(f"two of the environments {', '.join(environments)} would share a folder; sweep them one by one.")
    return planned


# ----------------------------------------------------------------------------------------------------------------------
# Doing a run


def train(run: Run) -> Result:
    """Train; the bytes of the history file. Of a run in which every learner diverged it is the history up to there."""
    import torch

    from .envs import make
    from .rng import Rng

    torch.set_num_threads(1)  # the processes share the cores
    kept: list[History] = []
    try:
        _, history = runs.algorithm(run.algorithm).train(
            make(run.environment),
            run.config,
            Rng(run.seeds),
            progress=lambda history: kept.append(history) if not kept else None,
        )
    except FloatingPointError as problem:  # whatever is tried again will end the same way
        if not kept:
            return Failed(str(problem))
        history = kept[0]
    except (ValueError, TypeError) as problem:
        return Failed(f"{type(problem).__name__}: {problem}")
    with tempfile.TemporaryDirectory() as folder:
        return history.save(Path(folder) / "history.npz").read_bytes()


def local(planned: Iterable[Run], workers: int, work: Work = train) -> Generator[tuple[Run, Result]]:
    """Do runs in processes of this machine, so many at a time. A process that dies takes its run with it and no other."""
    context = multiprocessing.get_context("spawn")
    waiting = deque(planned)
    under_way: dict[Any, tuple[Run, Any]] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < workers:
                run = waiting.popleft()
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, work, run))
                process.start()
                theirs.close()  # now its end is the end of the connection
                under_way[ours] = run, process
            come: list[Any] = wait(list(under_way))
            for connection in come:
                run, process = under_way.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    result = Failed(f"its process died ({_how(process.exitcode)}).")
                process.join()
                connection.close()
                yield run, result
    finally:
        for _, process in under_way.values():
            process.kill()
            process.join()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"{signal.Signals(-code).name}{': out of memory, perhaps' if -code == 9 else ''}"
    return f"exit code {code}"


def _serve(connection: Connection, work: Work, run: Run) -> None:
    """What a process does: one run. It ends when whoever started it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of the terminal; the first one decides

    def watch() -> None:
        try:
            connection.recv()  # nothing ever comes; the end does
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    connection.send(work(run))


def on_ray(planned: Iterable[Run], workers: int | None, work: Work = train) -> Generator[tuple[Run, Result]]:
    """Do runs as tasks of the Ray cluster this machine belongs to, or of one of this machine alone.

    What a lost machine was working on is done elsewhere. Raises ValueError where Ray is missing, or a machine has another
    version of the course.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError("--engine ray needs Ray: pip install 'pgcourse[ray]'; or leave it out to use this machine.") from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, logging_level="error")
    # No retries by Ray itself: it would not tell what has killed a process, the machine or the run.
    remote = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(_perform)
    waiting, under_way = deque((run, 0) for run in planned), {}
    try:
        while waiting or under_way:
            room = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))  # nodes come and go
            while waiting and len(under_way) < room:
                run, losses = waiting.popleft()
                under_way[remote.remote(run, run.record["digest"], work)] = run, losses
            for reference in ray.wait(list(under_way), timeout=5.0)[0]:
                run, losses = under_way.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as problem:
                    if isinstance(problem.cause, ValueError):  # the node cannot be used
                        raise problem.cause from None
                    result = Failed(str(problem.cause))
                except ray.exceptions.OutOfMemoryError as problem:
                    result = Failed(str(problem).splitlines()[0])
                except ray.exceptions.RayError as problem:  # the process or its node is gone, or the result with it
                    if losses < (1 if isinstance(problem, ray.exceptions.WorkerCrashedError) else _LOSSES):
                        waiting.append((run, losses + 1))
                        continue
                    result = Failed(f"its process died {losses + 1} times.")
                yield run, result
    finally:
        for reference in under_way:
            ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def _perform(run: Run, digest: str, work: Work) -> Result:
    """What runs on a node."""
    if Run(run.algorithm, run.environment, run.seeds, run.iterations).record["digest"] != digest:
        raise ValueError(f"{socket.gethostname()} has another version of the course; install the same one on every machine.")
    return work(run)


# ----------------------------------------------------------------------------------------------------------------------
# What is on disk


def store(out: Path, run: Run, history: bytes) -> None:
    """Write a run's folder: all of it or nothing, whatever happens meanwhile."""
    half = out / f".{run.name}.part"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for name, content in (("history.npz", history), ("config.json", json.dumps(run.record, indent=2).encode() + b"\n")):
        with (half / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync(half)
    half.rename(out / run.name)
    _sync(out)


def _sync(folder: Path) -> None:
    """Names, too, are on disk only when the folder is."""
    if sys.platform != "win32":  # where a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(out: Path, run: Run) -> History | None:
    """A finished run's history; None where it is not finished.

    Raises ValueError, with what to do, for a folder of that name which holds anything else: results of other settings, of
    another version, or damaged ones.
    """
    folder = out / run.name
    if not folder.exists():
        return None
    remedy = f"Take another folder with --out, or delete {folder} to have it done again."
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("config.json is no record of a run")
        if record.get("digest") == run.record["digest"]:
            history = History.load(folder / "history.npz")
            if history.seeds != run.seeds:
                raise ValueError(f"history.npz has the seeds {history.seeds}")
            return history
    except (OSError, ValueError) as problem:
        raise ValueError(f"{folder} cannot be read: {problem}. {remedy}") from None
    raise ValueError(f"{folder} has results of another sweep ({_difference(record, run.record)}). {remedy}")


def _difference(there: dict, here: dict) -> str:
    """The first thing in which two records differ."""
    for key in ("format", "pgcourse", "algorithm", "environment", "seeds", *here.get("config", {})):
        theirs, ours = ((each.get(key, each.get("config", {}).get(key, "nothing"))) for each in (there, here))
        if theirs != ours:
            return f"{key} {theirs} there, {ours} here"
    return "its record has been changed"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Raises ValueError where another process sweeps into the same folder. Ends by itself when this one is killed."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (out / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process sweeps into {out}; wait until it is done, or take another --out.") from None
        yield


# ----------------------------------------------------------------------------------------------------------------------
# A sweep


def sweep(
    planned: Sequence[Run], out: Path, engine: str = "local", workers: int | None = None, work: Work = train
) -> dict[Run, str]:
    """Do what is not finished yet; why each run that failed did. What an earlier sweep left in ``out`` is kept.

    Raises ValueError where ``out`` cannot be written or holds something else, before anything is trained.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(f"cannot write to {out} ({problem.strerror}). Choose another folder with --out.") from None
    failed: dict[Run, str] = {}
    with _alone(out):
        missing = [run for run in planned if load(out, run) is None]
        done = len(planned) - len(missing)
        results = on_ray(missing, workers, work) if engine == "ray" else local(missing, workers or _cores(), work)
        bar = tqdm(total=len(planned), initial=done, unit="run", desc="Sweep", file=sys.stderr)
        with closing(results), bar:  # the processes end at once where this is interrupted
            for run, result in results:
                if isinstance(result, Failed):
                    failed[run] = result.why
                    tqdm.write(f"{run.name}: {result.why}", file=sys.stderr)
                else:
                    store(out, run, result)
                bar.update()
    return failed


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score(history: History) -> np.ndarray:
    """Each learner's mean return over the last tenth of the iterations planned, [R]; NaN where it stopped before the end."""
    returns = history.metrics["return"]
    if returns.shape[1] < history.total:
        return np.full(len(returns), np.nan)
    return returns[:, -max(1, round(LAST * history.total)) :].mean(1)


def table(planned: Sequence[Run], out: Path) -> str:
    """A row for each algorithm in each environment: mean score and its interval, how many seeds it rests on, and the steps."""
    from . import plots  # matplotlib, which the processes that train can do without

    groups: dict[tuple[str, str], list[Run]] = {}
    for run in planned:
        groups.setdefault((run.environment, run.algorithm), []).append(run)
    rows = [("environment", "algorithm", "return", "95 % interval", "seeds", "steps")]
    for names, some in groups.items():
        histories = [history for run in some if (history := load(out, run)) is not None]
        scores = np.concatenate([score(history) for history in histories]) if histories else np.array([])
        scores, planned_seeds = scores[np.isfinite(scores)], sum(len(run.seeds) for run in some)
        seeds = f"{len(scores)} of {planned_seeds}" if len(scores) < planned_seeds else str(planned_seeds)
        if not len(scores):
            rows.append((*names, "-", "-", seeds, "-"))
            continue
        low, high = (bound.item() for bound in plots.bootstrap_interval(scores[:, None]))
        interval = f"{low:.1f} to {high:.1f}" if len(scores) > 1 else "-"
        steps = np.mean(np.concatenate([history.steps[:, -1] for history in histories]))
        rows.append((*names, f"{scores.mean():.1f}", interval, seeds, f"{steps:,.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{'<' if i < 2 else '>'}{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return "\n".join(
        [
            *lines,
            f"return: undiscounted, the mean of the last {LAST:.0%} of the iterations; steps: of the environment, per seed.",
        ]
    )
