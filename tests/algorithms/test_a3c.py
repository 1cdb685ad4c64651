"""A3C with real processes: one worker is the serial run; staleness is counted; deaths and interrupts end the run cleanly."""

import multiprocessing
import os
import signal
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from pgcourse import envs, gradients, nn, policies
from pgcourse.algorithms import a2c, a3c
from pgcourse.envs import tabular
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

CARTPOLE = type(envs.make("CartPole-v1"))
SMALL = {"hidden": (8,), "steps": 5}


def test_one_worker_is_the_serial_run():
    """To the last bit, against a loop written out: A2C's losses, Adam's steps, stream 1 for acting."""
    env, config = envs.make("CartPole-v1"), a3c.Config(workers=1, iterations=25, **SMALL)
    policy, history = a3c.train(env, config, Rng(range(3)))

    rng, acting = Rng(range(3)), Rng(range(3), stream=1)
    mine, critic, carry = policies.for_env(env, rng, (8,)), policies.Value(rng, 4, (8,)), None
    optimizers = nn.Adam(mine, config.step_size, 0.5), nn.Adam(critic, config.value_step_size, 0.5)
    for k in range(25):
        batch, carry = rollout(env, mine, acting, 5, 1, carry)
        metrics, _ = a2c.update(mine, critic, optimizers, batch, config, nn.lift(a2c.loss))
        for name, values in {"return": carry.episode_return, **metrics}.items():
            np.testing.assert_array_equal(history.metrics[name][:, k], values)
    for a, b in zip(policy.parameters(), mine.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not history.metrics["staleness"].any()
    assert (history.steps[:, -1] == 25 * 5).all()


def test_its_gradients_are_those_accumulated_backward():
    """Algorithm S3 of the paper, in loops, for an episode's middle and for its end."""
    mdp, rng = tabular.random_mdp(4, 2, seed=2, time_limit=50), Rng(range(6), dtype=torch.float64)
    policy, critic = policies.for_env(mdp, rng, ()), policies.Value(rng, 4, ())
    config = a3c.Config(discount=0.8, entropy_weight=0.0, workers=1)
    batch, _ = rollout(mdp, policy, rng, 7, 1)
    ends = batch.terminated[:, :, 0]
    assert ends.any(1).any()
    assert not ends.any(1).all()
    of_policy, of_critic, _ = a2c.losses(policy, critic, batch, config, nn.lift(a2c.loss))
    log_probability, value = policy(batch.observation).log_prob(batch.action)[..., 0], critic(batch.observation)[..., 0]
    following = critic(batch.next_observation)[..., 0].detach()
    R, ascent, descent = following[:, -1] * ~ends[:, -1], 0.0, 0.0
    for i in reversed(range(7)):
        R = torch.where(ends[:, i], 0, R)  # an end in the middle: what follows is another episode
        R = batch.reward[:, i, 0] + 0.8 * R
        ascent = ascent + log_probability[:, i] * (R - value[:, i]).detach() / 7
        descent = descent + (R - value[:, i]).square() / 14
    close = torch.testing.assert_close
    close(gradients.per_replica(of_policy, policy), -gradients.per_replica(ascent, policy))
    close(gradients.per_replica(of_critic, critic), gradients.per_replica(descent, critic))


def test_a_stale_gradient_is_that_of_the_copy_and_moves_the_shared_weights(monkeypatch):
    """Worker 1 makes three updates while worker 0 acts: the order of events is ours here."""
    env, config = envs.make("CartPole-v1"), a3c.Config(workers=2, **SMALL)
    rng = Rng(range(2))
    shared = a3c.share(env, config, rng)
    shared.ready.fill_(True)
    fast = a3c.work(1, env, config, Rng(range(2), stream=2), shared, a2c.loss)
    slow = a3c.work(0, env, config, Rng(range(2), stream=1), shared, a2c.loss)
    copies, seen = (deepcopy(shared.policy), deepcopy(shared.critic)), {}

    def interrupted(*arguments):
        monkeypatch.setattr(a3c, "rollout", rollout)
        seen["batch"] = result = rollout(*arguments)
        reports = [next(fast) for _ in range(3)]
        assert [report["metrics"]["staleness"].tolist() for report in reports] == [[0, 0]] * 3
        seen["before"] = deepcopy((shared.policy, shared.critic, shared.optimizers))
        return result

    monkeypatch.setattr(a3c, "rollout", interrupted)
    report = next(slow)
    assert report["metrics"]["staleness"].tolist() == [3, 3]
    assert shared.updates.tolist() == [1, 3]
    of_policy, of_critic, _ = a2c.losses(*copies, seen["batch"][0], config, nn.lift(a2c.loss))
    *expected, optimizers = seen["before"]
    moved = zip(copies, expected, optimizers, (of_policy, of_critic), (shared.policy, shared.critic), strict=True)
    for copy, module, optimizer, loss, found in moved:
        assert any(not torch.equal(a, b) for a, b in zip(copy.parameters(), module.parameters(), strict=True))
        optimizer.descend(nn.flat_gradient(loss, copy.parameters()))
        for a, b in zip(module.parameters(), found.parameters(), strict=True):
            assert torch.equal(a, b)


def test_two_workers_share_the_work_count_staleness_and_learn():
    """A worker's updates do not overlap, so each update is seen at most once by each other one: a mean of at most W - 1.

    It is near that unless the machine lets one of the two wait.
    """
    config = a3c.Config(workers=2, iterations=240)
    policy, history = a3c.train(envs.make("CartPole-v1"), config, Rng(range(4)))
    staleness = history.metrics["staleness"]
    assert (staleness == staleness[0]).all()
    assert 0.2 < staleness[0].mean() <= 1.0
    assert (history.steps[0] == 20 * np.arange(1, 241)).all()
    assert history.window("return", 20)[:, -1].mean() > 40  # an untrained one: 22
    assert all(parameter.isfinite().all() for parameter in policy.parameters())
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_reported_and_the_run_keeps_what_it_has():
    def kill(history):
        if history.iteration == 10:
            victim = next(each for each in multiprocessing.active_children() if each.name == "A3C worker 1")
            os.kill(victim.pid, signal.SIGKILL)

    config = a3c.Config(workers=2, iterations=100_000, **SMALL)
    with pytest.warns(
        RuntimeWarning, match=r"worker 1 of 2 \(from 0\) died after \d+ updates: killed by signal 9. The run ends"
    ):
        policy, history = a3c.train(envs.make("CartPole-v1"), config, Rng(range(2)), progress=kill)
    assert 10 <= history.iteration < 100_000
    assert history.metrics["return"].shape == (2, history.iteration)
    assert all(parameter.isfinite().all() for parameter in policy.parameters())
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_the_run_and_its_worker_does_not_hear_it():
    """The notebook's stop button reaches every process of the kernel's group."""

    def interrupt(history):
        if history.iteration in (5, 10):
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGINT)
        if history.iteration == 10:
            os.kill(os.getpid(), signal.SIGINT)

    config = a3c.Config(workers=1, iterations=100_000, **SMALL)
    _, history = a3c.train(envs.make("CartPole-v1"), config, Rng(range(2)), progress=interrupt)
    assert history.iteration == 11  # the signal of iteration 10 takes effect at the end of the next
    assert not multiprocessing.active_children()


@dataclass(frozen=True)
class Poisoned(CARTPOLE):
    """CartPole that shows NaN to whoever drives to the right of a threshold."""

    def observe(self, state):
        return torch.where(state[..., :1] > 0.1, torch.nan, state)


@dataclass(frozen=True)
class Broken(CARTPOLE):
    """CartPole whose track is missing."""

    def step(self, state, action, noise=None):
        raise OSError("no track")


def test_a_replica_that_sees_nan_stops_and_the_others_go_on():
    config = a3c.Config(workers=1, iterations=6, hidden=(8,), steps=10)
    with pytest.warns(RuntimeWarning, match=r"replica \d .seed \d+. stopped at iteration \d+: an observation"):
        policy, history = a3c.train(Poisoned(), config, Rng(range(8)))
    assert 0 < len(history.stopped) < 8
    assert history.iteration == 6
    assert all(parameter.isfinite().all() for parameter in policy.parameters())
    for replica in range(8):
        assert np.isnan(history.metrics["entropy"][replica, -1]) == (replica in history.stopped)


def test_a_worker_that_fails_at_once_is_an_error_with_its_reason():
    with pytest.raises(RuntimeError, match=r"(?s)worker 0 of 1 .* died after 0 updates: .*no track.*Nothing has been learned"):
        a3c.train(Broken(), a3c.Config(workers=1), Rng(0))
    assert not multiprocessing.active_children()


def test_impossible_settings():
    with pytest.raises(ValueError, match="workers is 0; it must be at least 1"):
        a3c.Config(workers=0)
    with pytest.raises(ValueError, match="steps is 0"):
        a3c.Config(steps=0)
    rng = Rng(0)
    rng.device = torch.device("cuda")  # as if there were one
    with pytest.raises(ValueError, match="share memory of the CPU"):
        a3c.train(envs.make("CartPole-v1"), a3c.Config(), rng)
