"""Asynchronous advantage actor-critic (A3C). Lecture 08, algorithm 8.2; Mnih et al. (2016), algorithm S3.

Worker processes share theta and phi, with the optimizers' state, and change them without locks and without waiting. Each:

    repeat until all workers together have made enough updates
        theta', phi' <- theta, phi                     its own copy; the others go on changing the shared ones
        go on for t_max steps with pi_theta'
        R   <- V_phi'(s_{t+1}), 0 after a termination, from the last step to the first: R <- r_t + discount R
        A_t  = R - V_phi'(s_t)                                                                                  (8.5)
        theta <- theta + step_size * mean_t (A_t grad log pi_theta'(a_t | s_t) + entropy_weight grad H(pi_theta'(. | s_t)))
        phi   <- phi - value_step_size * mean_t grad (V_phi'(s_t) - R)^2 / 2

Losses are A2C's, with ``trace_decay=1``. Where this file deviates from Mnih et al.:

- workers are processes, not threads: Python runs one thread at a time;
- gradients are averaged over the steps, not summed, and clipped; the steps are Adam's, with shared moments, not RMSProp's;
- an episode that ends in the middle of a batch is followed by the next one, where theirs ends the batch;
- every worker acts for all R replicas, each with parameters of its own, so that a curve is a band. Their timing is shared.

With one worker nothing is asynchronous, and the run is the serial one, to the last bit. With several it depends on who comes
first, and no two runs are alike. An iteration is one update, by whichever worker; its metrics are that worker's, "staleness"
among them: how many updates of others came between its copy and its update. "return" is the mean over workers.
"""

import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

import numpy as np
import torch
from torch import Tensor

from .. import nn, policies
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy, Value
from ..rng import Rng
from ..rollout import Rollout, rollout
from . import a2c

DONE = "done"


@dataclass(frozen=True)
class Config(a2c.Config):
    """Settings of A3C. The defaults suit CartPole-v1."""

    workers: int = 2
    """Worker processes, W; more than there are cores only take turns."""
    environments: int = 1
    """Environments per replica in each worker, E."""
    steps: int = 20
    """Steps in each environment between two updates of a worker, t_max."""
    iterations: int = 4000
    """Updates, of all workers together; at most W - 1 more are made."""
    trace_decay: float = 1.0
    """lambda, in [0, 1]: 1 for all rewards up to the batch's end, as in the paper."""
    step_size: float = 5e-4
    """Adam's step size for the policy, > 0."""
    value_step_size: float = 2e-3
    """Adam's step size for the critic, > 0."""

    def __post_init__(self):
        super().__post_init__()
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; it must be at least 1 (as many as there are cores is a good choice).")


@dataclass(frozen=True)
class Shared:
    """What all processes see. Each number of ``updates`` and ``ready`` has one writer, so that no lock is needed to count."""

    policy: Policy
    critic: Value
    optimizers: tuple[nn.Optimizer, nn.Optimizer]
    going: Tensor
    """Replicas that have not diverged [R]."""
    updates: Tensor
    """Updates made by each worker [W]."""
    ready: Tensor
    """Workers that can begin [W]."""
    ending: Tensor
    """Whether all are to stop [1]."""


def share(env: Env, config: Config, rng: Rng) -> Shared:
    """Networks and their optimizers, in memory that processes share."""
    policy = policies.for_env(env, rng, config.hidden)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    optimizers = (
        nn.Adam(policy, config.step_size, config.max_gradient_norm),
        nn.Adam(critic, config.value_step_size, config.max_gradient_norm),
    )
    for optimizer in optimizers:
        optimizer.share_memory()
    going, updates = torch.ones(len(rng), dtype=torch.bool), torch.zeros(config.workers, dtype=torch.int64)
    ready, ending = torch.zeros(config.workers, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    return Shared(policy, critic, optimizers, *(tensor.share_memory_() for tensor in (going, updates, ready, ending)))


def work(worker: int, env: Env, config: Config, rng: Rng, shared: Shared, loss: Callable[..., Tensor]) -> Iterator[dict]:
    """Worker number ``worker`` (from 0): algorithm 8.2. Yields a report after each update."""
    policy, critic = deepcopy(shared.policy), deepcopy(shared.critic)  # theta', phi'
    loss, carry = nn.lift(loss), None
    shared.ready[worker] = True
    while not (shared.ready.all() or shared.ending):  # a process takes seconds to start; nobody is to get ahead meanwhile
        time.sleep(0.002)

    def copy() -> Tensor:
        """theta', phi' <- theta, phi; returns how many updates there have been."""
        seen = shared.updates.sum()
        policy.load_state_dict(shared.policy.state_dict())
        critic.load_state_dict(shared.critic.state_dict())
        return seen

    seen = copy()
    while shared.updates.sum() < config.iterations and not shared.ending:
        batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
        of_policy, of_critic, entropy = a2c.losses(policy, critic, batch, config, loss)
        finite = torch.isfinite(of_policy.detach()) & torch.isfinite(of_critic.detach())
        gradients = [nn.flat_gradient(of_policy, policy.parameters()), nn.flat_gradient(of_critic, critic.parameters())]
        staleness = shared.updates.sum() - seen  # not earlier: the others go on during the backward passes too
        for optimizer, gradient in zip(shared.optimizers, gradients, strict=True):
            # The gradient at theta', the step from theta: wherever the others have taken it meanwhile.
            finite &= optimizer.descend(gradient, shared.going & finite)
        shared.updates[worker] += 1
        shared.going.logical_and_(finite)
        metrics = {"return": carry.episode_return, "loss": of_policy, "value_loss": of_critic, "entropy": entropy}
        metrics["staleness"] = staleness.expand_as(entropy)
        report = {name: values.detach().numpy() for name, values in metrics.items()}
        seen = copy()  # at once: what the others do while this one reports makes the next gradient older
        bad = None if finite.all() else [getattr(batch, field.name).numpy() for field in fields(batch)]
        yield {"metrics": report, "steps": batch.steps.numpy(), "finite": finite.numpy(), "batch": bad}


def process(worker: int, env: Env, config: Config, seeds: tuple, dtype, shared: Shared, loss, pipe: Connection) -> None:
    """What a worker process runs: ``work``, whose reports it sends to the process that started it."""
    torch.set_num_threads(1)  # the workers share the cores
    try:
        # Stream 0 drew the weights; worker w acts with stream w + 1.
        for report in work(worker, env, config, Rng(seeds, stream=worker + 1, dtype=dtype), shared, loss):
            pipe.send(report)
        pipe.send(DONE)
    except (BrokenPipeError, ConnectionResetError):  # nobody listens any more: the run is over
        pass
    except Exception:  # whatever it is: the process that started this one says so, with the traceback
        pipe.send(traceback.format_exc())


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = a2c.loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy, with its critic, per seed of ``rng``, in ``config.workers`` processes.

    ``loss`` is as in ``a2c``; the processes import it, so it must stand in a file, not in a notebook. A worker that dies ends
    the run, which warns and keeps what it has learned. Raises RuntimeError if one dies before anything was learned, and
    ValueError for a device other than the CPU.
    """
    if rng.device.type != "cpu":
        raise ValueError(f"rng draws on {rng.device}; A3C's processes share memory of the CPU: Rng(..., device='cpu').")
    shared = share(env, config, rng)
    history, latest = History(rng.seeds), np.full((config.workers, len(rng)), np.nan)
    with _workers(config.workers, (env, config, rng.seeds, rng.dtype, shared, loss)) as reports:
        for _ in history.iterate(config.iterations, progress):
            worker, report = next(reports)
            if isinstance(report, str):
                _tell_of_death(worker, report, shared, history)
                break
            latest[worker] = report["metrics"]["return"]
            metrics = report["metrics"] | {"return": _mean(latest)}
            rows = history.active
            metrics, (steps, finite) = _tensors(metrics, rows), _tensors((report["steps"], report["finite"]), rows)
            history.append(metrics, steps)
            if not finite.all():
                history.stop(finite, Rollout(*_tensors(report["batch"], rows)), (), rng)
    return shared.policy, history


@contextmanager
def _workers(count: int, arguments: tuple) -> Iterator[Iterator[tuple[int, dict | str]]]:
    """Processes at work; gives what comes from them, as (worker, report): of one that died, a text. Afterwards all are gone."""
    context, shared = torch.multiprocessing.get_context("spawn"), arguments[4]
    ends = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=process, args=(worker, *arguments, send), name=f"A3C worker {worker}", daemon=True)
        for worker, (_, send) in enumerate(ends)
    ]
    try:
        with _deaf():
            for each in processes:
                each.start()
        for _, send in ends:
            send.close()  # the workers have theirs; a pipe then ends with its worker
        yield _reports([receive for receive, _ in ends], processes)
    finally:
        shared.ending.fill_(True)
        for receive, _ in ends:
            receive.close()  # whoever is still sending hears of it
        for each in processes:
            for end in (lambda: None, each.terminate, each.kill):
                if each.pid is not None and each.is_alive():
                    end()
                    each.join(10)


def _reports(pipes: list[Connection], processes: list) -> Iterator[tuple[int, dict | str]]:
    listening = dict(zip(pipes, range(len(pipes)), strict=True))
    while listening:
        for pipe in wait(list(listening)):
            worker = listening[pipe]
            try:
                report = pipe.recv()
            except (EOFError, ConnectionResetError):
                processes[worker].join(10)
                code = processes[worker].exitcode
                report = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            if isinstance(report, str):
                del listening[pipe]
            if report != DONE:
                yield worker, report


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started within it do not hear Ctrl-C or the notebook's stop button: who started them will end them."""
    resource_tracker.ensure_running()  # starting it would undo the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tell_of_death(worker: int, why: str, shared: Shared, history: History) -> None:
    """Warn; RuntimeError where nothing has been learned that could be kept."""
    told = f"worker {worker} of {len(shared.updates)} (from 0) died after {int(shared.updates[worker])} updates: {why}."
    if not history.iteration:
        raise RuntimeError(f"{told} Nothing has been learned. The environment and the loss must be importable from a file.")
    warnings.warn(
        f"{told} The run ends here, after {history.iteration} updates by all workers; what they learned is kept.",
        RuntimeWarning,
        stacklevel=3,
    )


def _tensors(values, rows: np.ndarray):
    """Of each array in a dict or sequence the given rows, as a tensor."""
    if isinstance(values, dict):
        return {name: torch.from_numpy(each[rows]) for name, each in values.items()}
    return [torch.from_numpy(each[rows]) for each in values]


def _mean(latest: np.ndarray) -> np.ndarray:
    """Mean over the workers that have seen an episode end; NaN where none has."""
    seen = ~np.isnan(latest)
    with np.errstate(invalid="ignore"):
        return np.where(seen, latest, 0).sum(0) / seen.sum(0)
