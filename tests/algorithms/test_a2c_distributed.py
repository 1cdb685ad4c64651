"""A2C by several processes: equal to one process on the union of their batches; all end together; a lost worker is reported."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from pgcourse import envs, nn, policies
from pgcourse.algorithms import a2c, a2c_distributed
from pgcourse.history import History
from pgcourse.rng import Rng
from pgcourse.rollout import Rollout, rollout

CARTPOLE = envs.make("CartPole-v1")


def torchrun(*arguments, check=True):
    """Two workers of this machine, as one would start them by hand."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


def union(batches):
    """The batches side by side, along env."""
    return Rollout(*(torch.cat(parts, 2) for parts in zip(*(vars(batch).values() for batch in batches), strict=True)))


def serial(config, seeds, streams):
    """One process: each stream's environments act, one update on all of them. Returns policy and last mean entropy."""
    rng, acting = Rng(seeds), [Rng(seeds, stream=stream) for stream in streams]
    policy, critic = policies.for_env(CARTPOLE, rng, config.hidden), policies.Value(rng, 4, config.hidden)
    optimizers = (nn.Adam(policy, config.step_size, 0.5), nn.Adam(critic, config.value_step_size, 0.5))
    carries, loss = [None] * len(streams), nn.lift(a2c.loss)
    for _ in range(config.iterations):
        results = [
            rollout(CARTPOLE, policy, one, config.steps, config.environments, carry)
            for one, carry in zip(acting, carries, strict=True)
        ]
        batches, carries = zip(*results, strict=True)
        metrics, _ = a2c.update(policy, critic, optimizers, union(batches), config, loss)
    return policy, metrics


def test_two_workers_are_one_process_on_the_union_of_their_batches(tmp_path):
    settings = {"iterations": 12, "environments": 3, "steps": 9}
    flags = [text for name, value in settings.items() for text in (f"--{name}", value)]
    shown = torchrun("-m", "pgcourse.algorithms.a2c_distributed", "CartPole-v1", "--out", tmp_path, "--replicas", 2, *flags)
    assert "12 updates by 2 workers" in shown.stdout
    policy, metrics = serial(a2c.Config(**settings), range(2), (1, 2))
    history, weights = History.load(tmp_path / "history.npz"), torch.load(tmp_path / "policy.pt")
    for name, parameter in policy.state_dict().items():
        torch.testing.assert_close(weights[name], parameter, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history.latest("entropy"), metrics["entropy"], rtol=1e-5)
    assert (history.steps[:, -1] == 12 * 3 * 9 * 2).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.npz", "policy.pt"]
    start = policies.for_env(CARTPOLE, Rng(range(2)))
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(start.parameters(), policy.parameters(), strict=True))


def test_without_others_it_is_a2c():
    config = a2c.Config(iterations=8, environments=3, steps=7, hidden=(8,))
    policy, history = a2c_distributed.train(CARTPOLE, config, Rng(range(3)))
    expected, metrics = serial(config, range(3), (1,))
    for a, b in zip(policy.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)
    np.testing.assert_array_equal(history.latest("loss"), metrics["loss"])


SCRIPT = """
import os, signal, sys
from functools import partial
import torch
import torch.distributed as dist
from pgcourse.algorithms import a2c_distributed as module

class Poisoned(type(module.make("CartPole-v1"))):
    def observe(self, state):
        return torch.where(state[..., :1] > 0.1, torch.nan, state)

def progress(history):
    {progress}

def train(env, *arguments):
    env = Poisoned() if {poisoned} and dist.get_rank() == 1 else env
    return module_train(env, *arguments, progress=progress)

def save(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)  # torchrun says stop, and at the worst moment
    torch_save(*arguments)

module_train, module.train = module.train, train
torch_save, torch.save = torch.save, save
module.command_line()
"""


def run_script(folder, progress, poisoned=False, check=True):
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(progress=progress, poisoned=poisoned))
    flags = ("--replicas", "4", "--iterations", "10000", "--environments", "2", "--steps", "8", "--hidden", "8")
    return torchrun(script, "CartPole-v1", "--out", folder / "out", *flags, check=check), folder / "out"


def test_all_end_together_and_drop_the_same_replicas(tmp_path):
    """One worker of two sees NaN in some replicas; later its progress function, not the other's, ends the run."""
    shown, out = run_script(tmp_path, "return dist.get_rank() == 1 and history.iteration == 7", poisoned=True)
    history = History.load(out / "history.npz")  # of worker 0, which saw no NaN itself
    assert history.iteration == 7
    assert 0 < len(history.stopped) < 4
    assert shown.stderr.count("stopped at iteration") == 2 * len(history.stopped)


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.full)])
def test_a_killed_worker_is_reported_and_the_other_keeps_what_it_has(tmp_path, victim):
    kill = f"dist.get_rank() == {victim} and history.iteration == 5 and os.kill(os.getpid(), signal.SIGKILL)"
    shown, out = run_script(tmp_path, kill, check=False)
    assert shown.returncode != 0
    assert f"worker {1 - victim} of 2 (from 0) has lost another one" in shown.stderr
    out = out if victim else out / "worker-1"
    history = History.load(out / "history.npz")
    assert history.iteration == 5
    assert history.metrics["return"].shape == (4, 5)
    assert all(weight.isfinite().all() for weight in torch.load(out / "policy.pt").values())
