"""A2C by several processes, on one machine or on many. Lecture 08, algorithm 8.1; Mnih et al. (2016), made synchronous.

W workers hold the same theta and phi and act in E environments each. All together:

    repeat
        worker w: go on for T steps in each of E environments with pi_theta                  (its own random stream)
        worker w: g_w, h_w <- gradients of A2C's losses on its batch                         (lecture 07, algorithm 7.3)
        g, h      <- the means of g_w and h_w over the workers, by all_reduce                (8.3)
        worker w: the optimizer's step along g and h                                         (the same one everywhere)

So the weights stay equal without ever being sent, and the run is that of ``a2c`` on W E environments, up to rounding. Losses,
settings and deviations are those of ``a2c``; ``environments`` are those of one worker. Metrics are means over the workers.

``torchrun`` starts the workers, each of which runs ``main`` below. On one machine, and on each of two:

    torchrun --nproc-per-node 2 -m pgcourse.algorithms.a2c_distributed CartPole-v1 --out run
    torchrun --nnodes 2 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \\
        -m pgcourse.algorithms.a2c_distributed CartPole-v1 --out run

They talk through gloo, or nccl where every worker of a machine has a GPU. A worker that dies is reported; the others end with
what they have. Without ``torchrun`` there is one worker, and the run is that of ``a2c`` with another stream of random numbers.
"""

import os
import signal
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from .. import nn, policies
from ..envs import make
from ..envs.base import Env
from ..history import History, Progress
from ..policies import Policy, Value
from ..rng import Rng
from ..rollout import Rollout, rollout
from . import a2c
from .a2c import Config

PATIENCE = timedelta(minutes=5)
"""How long a worker waits for the others before it takes them for lost."""


class Lost(RuntimeError):
    """Another worker cannot be reached any more."""


def rank_and_size() -> tuple[int, int]:
    """This worker's number, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def average(x: Tensor) -> Tensor:
    """The mean over the workers (8.3), in place and the same for all; waits until everybody has come this far.

    Raises Lost when a worker is gone.
    """
    if dist.is_initialized():
        try:
            dist.all_reduce(x)
        except RuntimeError as problem:  # gloo and nccl have no narrower one
            raise Lost(str(problem).strip().splitlines()[0]) from problem
        x /= dist.get_world_size()
    return x


def update(
    policy: Policy,
    critic: Value,
    optimizers: tuple[nn.Optimizer, nn.Optimizer],
    batch: Rollout,
    config: Config,
    loss: Callable[..., Tensor],
) -> tuple[dict[str, Tensor], Tensor]:
    """One step of policy and critic along the workers' mean gradients; returns metrics [R] and who could take it [R]."""
    of_policy, of_critic, entropy = a2c.losses(policy, critic, batch, config, loss)
    finite = torch.ones_like(entropy, dtype=torch.bool)
    for optimizer, module, each in zip(optimizers, (policy, critic), (of_policy, of_critic), strict=True):
        # A number that is not finite, anywhere, is one in the mean: all workers stop the same replica.
        finite &= optimizer.descend(average(nn.flat_gradient(each, module.parameters())), finite)
    means = average(torch.stack((of_policy.detach(), of_critic.detach(), entropy)))
    return dict(zip(("loss", "value_loss", "entropy"), means, strict=True)), finite


def train(
    env: Env,
    config: Config,
    rng: Rng,
    *,
    loss: Callable[..., Tensor] = a2c.loss,
    progress: Progress | None = None,
) -> tuple[Policy, History]:
    """Train one policy, with its critic, per seed of ``rng``: called by every worker, with the same arguments.

    ``rng`` draws the weights, which are therefore the same everywhere; the worker of rank w acts with stream w + 1 of the same
    seeds. One that is interrupted, or whose ``progress`` ends the run, ends it for all. If another worker dies, a warning
    says so, and what was learned so far is returned.
    """
    policy = policies.for_env(env, rng, config.hidden)
    critic = policies.Value(rng, env.spec.observation.size, config.hidden)
    optimizers = (
        nn.Adam(policy, config.step_size, config.max_gradient_norm),
        nn.Adam(critic, config.value_step_size, config.max_gradient_norm),
    )
    rank, size = rank_and_size()
    rng = Rng(rng.seeds, stream=rank + 1, device=rng.device, dtype=rng.dtype)
    loss = nn.lift(loss)
    history, carry = History(rng.seeds), None
    try:
        for _ in history.iterate(config.iterations, _agreed(progress, rng)):
            batch, carry = rollout(env, policy, rng, config.steps, config.environments, carry)
            metrics, finite = update(policy, critic, optimizers, batch, config, loss)
            known = ~carry.episode_return.isnan()  # NaN where no episode has ended yet
            total, count = average(torch.stack((carry.episode_return.nan_to_num(), known.to(rng.dtype))))
            history.append({"return": total / count, **metrics}, size * batch.steps)
            rng = history.stop(finite, batch, optimizers, rng)
            if not finite.all():
                carry = carry.select(env, finite)
    except Lost as problem:
        warnings.warn(
            f"worker {rank} of {size} (from 0) has lost another one: {problem}. The run ends here, after {history.iteration} "
            "updates; what was learned is kept.",
            RuntimeWarning,
            stacklevel=2,
        )
    for optimizer in optimizers:
        optimizer.restore()
    return policy, history


def _agreed(progress: Progress | None, rng: Rng) -> Progress:
    """A progress function that ends the run for all workers in the same iteration, whoever is asked to."""

    def ask(history: History) -> bool:
        asked = bool(progress is not None and progress(history)) or history.ended
        return bool(average(torch.tensor(float(asked), device=rng.device)) > 0)

    return ask


def main(
    environment: str,
    config: Config,
    out: Path = Path("run"),
    replicas: int = 16,
    seed: int = 0,
) -> None:
    """One worker, as torchrun starts it.

    Args:
        environment: Its name, such as CartPole-v1.
        config: Settings of A2C; environments are those of each worker.
        out: Folder for history.npz and the policies' weights, policy.pt; written by worker 0, and by every survivor (with its
            number in the name) where a worker was lost.
        replicas: Learners trained at once.
        seed: Of the first learner; the others have the next ones.
    """
    torch.set_num_threads(1)  # the workers share the cores
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # torchrun's way to say stop
    device = "cpu"
    if "RANK" in os.environ:
        place, neighbours = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        if torch.cuda.device_count() >= neighbours:
            device = f"cuda:{place}"
            torch.cuda.set_device(device)
        dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=PATIENCE)
    policy, history = train(make(environment), config, Rng(range(seed, seed + replicas), device=device))
    for stop in (signal.SIGTERM, signal.SIGINT):  # they would only cut short what is to be written
        signal.signal(stop, signal.SIG_IGN)
    rank, size = rank_and_size()
    try:
        average(torch.zeros(1, device=device))
        writes = rank == 0
    except Lost:
        out, writes = out / f"worker-{rank}" if rank else out, True
    if dist.is_initialized():
        dist.destroy_process_group()  # its threads, still there when Python ends, would abort the worker now and then
    if not writes:
        return
    out.mkdir(parents=True, exist_ok=True)
    history.save(out / "history.npz")
    torch.save(policy.state_dict(), out / "policy.pt")
    print(f"{out}: {history.iteration} updates by {size} workers", flush=True)


def command_line() -> None:
    """``main`` with the arguments that follow the module's name."""
    import tyro  # here: lectures import this module, and need no command line

    tyro.cli(main, config=(tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes))


if __name__ == "__main__":
    command_line()
