"""The MuJoCo tasks: Gymnasium's trajectories, its first states in distribution, purity, threads, what happens to the lost."""

import json
import subprocess
import sys
from ctypes.util import find_library

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from pgcourse import envs, policies
from pgcourse.algorithms import ppo
from pgcourse.envs.mujoco import KEPT, recorded
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

TASKS = (
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "HalfCheetah-v5",
    "Ant-v5",
    "Humanoid-v5",
)
ENDLESS = {"Reacher-v5", "Swimmer-v5", "HalfCheetah-v5"}
STEPS, WORLDS = 100, 10
every = pytest.mark.parametrize("task", TASKS)


def noises(env, *leading, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*leading, *env.spec.initial_noise.shape, generator=generator, dtype=torch.float64)


def some_actions(env, *leading, seed=0):
    """A third of them out of bounds."""
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(*leading, env.spec.action.size, generator=generator, dtype=torch.float64)
    return 1.5 * env.spec.action.high * (2 * chance - 1)


def theirs_at(theirs, env, state):
    """Gymnasium's environment at one of our first states, as its own reset would leave it; what it observes there."""
    mujoco.mj_resetData(theirs.model, theirs.data)
    theirs.set_state(env.position(state).numpy(), env.velocity(state).numpy())
    return theirs._get_obs()


def kept(theirs):
    """Positions, rates, warm start and controls of Gymnasium's."""
    state = np.empty(mujoco.mj_stateSize(theirs.model, KEPT))
    mujoco.mj_getState(theirs.model, theirs.data, state, KEPT)
    return state


@every
def test_a_thousand_random_steps_are_gymnasiums(task):
    """Ten worlds, a hundred steps each, begun anew where an episode ends; from a common first state on nothing is set again.

    MuJoCo's numbers (positions, rates, warm starts) are the same to the last bit; observations and rewards, which torch
    computes where numpy did, within 1e-12 of their size.
    """
    env = envs.make(task)
    states = env.initial(noises(env, WORLDS))
    actions, again = some_actions(env, STEPS, WORLDS), noises(env, STEPS, WORLDS, seed=1)
    singles = [gymnasium.make(task).unwrapped for _ in range(WORLDS)]
    for single, state in zip(singles, states, strict=True):
        np.testing.assert_allclose(env.observe(state), theirs_at(single, env, state), rtol=1e-12, atol=1e-12)
    ends = 0
    for t in range(STEPS):
        states, rewards, terminations = env.step(states, actions[t])
        for single, state, action, reward, end in zip(singles, states, actions[t], rewards, terminations, strict=True):
            clipped = action.clamp(env.spec.action.low, env.spec.action.high).numpy()
            observation, their_reward, their_end, _, _ = single.step(clipped)
            np.testing.assert_array_equal(state[: env._kept], kept(single))
            np.testing.assert_allclose(env.observe(state), observation, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(reward, their_reward, rtol=1e-12, atol=1e-12)
            assert end == their_end
        ends += int(terminations.sum())
        states = env.reset(terminations, states, again[t])
        for i in terminations.nonzero()[:, 0].tolist():
            observation = theirs_at(singles[i], env, states[i])
            np.testing.assert_allclose(env.observe(states[i]), observation, rtol=1e-12, atol=1e-12)
    assert (ends == 0) == (task in ENDLESS)


@every
def test_the_spec_is_gymnasiums(task):
    ours, theirs = envs.make(task).spec, envs.make(f"gymnasium:{task}").spec
    for name in ("name", "observation", "time_limit", "reward_threshold"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.action.size == theirs.action.size
    assert (ours.action.low, ours.action.high) == pytest.approx((theirs.action.low, theirs.action.high), rel=1e-7)


@every
def test_first_states_are_distributed_as_gymnasiums(task):
    """Kolmogorov and Smirnov's test of each coordinate of qpos and qvel, 4,000 states each; false alarms: 1 in 1,000."""
    env, single = envs.make(task), gymnasium.make(task).unwrapped
    single.reset(seed=0)
    ours = env.initial(noises(env, 4000).float())[:, : env._rates.stop].numpy()
    theirs = []
    for _ in range(4000):
        single.reset_model()
        theirs.append(single.state_vector())
    for mine, their in zip(ours.T, np.array(theirs).T, strict=True):
        assert ks_2samp(mine, their).pvalue > 0.001 / len(ours.T)


@every
def test_a_step_is_a_function_of_state_and_action(task):
    """Whoever was computed in its place before; alone, among others, in another order, on more threads, a second time."""
    env, actions = envs.make(task), some_actions(envs.make(task), 3, 2, 4)
    start = env.initial(noises(env, 2, 4))
    state = start
    for action in actions:
        state, reward, terminated = env.step(state, action)
    again = start.flip(0)
    threaded = type(env)(threads=3)
    for action in actions:
        again, their_reward, their_end = threaded.step(again, action.flip(0))
    alone = start[1, 2]
    for action in actions:
        alone, _, _ = env.step(alone, action[1, 2])
    np.testing.assert_array_equal(again.flip(0), state)
    np.testing.assert_array_equal(their_reward.flip(0), reward)
    np.testing.assert_array_equal(their_end.flip(0), terminated)
    np.testing.assert_array_equal(alone, state[1, 2])
    np.testing.assert_array_equal(env.initial(noises(env, 2, 4)[1, 2]), start[1, 2])
    np.testing.assert_array_equal(env.initial(noises(env, 2, 4)), start)


@pytest.mark.parametrize("task", ["Ant-v5", "Humanoid-v5"])
@pytest.mark.parametrize("size", [0.5, 1e4])
def test_large_contact_forces_cost_what_gymnasium_says(task, size):
    """Both costs have limits, which random steps never reach."""
    env, single = envs.make(task), gymnasium.make(task).unwrapped
    forces = size * torch.randn(*single.data.cfrc_ext.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = env.initial(noises(env, 1)).numpy()
    env.seen(state)[-1][:] = forces.reshape(-1)
    single.data.cfrc_ext[:] = forces
    np.testing.assert_allclose(env.contact(state), single.contact_cost, rtol=1e-12)


def test_reset_begins_again_where_it_is_told_to():
    env = envs.make("Ant-v5")
    state, _, _ = env.step(env.initial(noises(env, 2, 3)), some_actions(env, 2, 3))
    mask = torch.tensor([[True, False, False], [False, True, True]])
    after = env.reset(mask, state, noises(env, 2, 3, seed=5))
    np.testing.assert_array_equal(after[mask], env.initial(noises(env, 2, 3, seed=5))[mask])
    np.testing.assert_array_equal(after[~mask], state[~mask])


def test_a_diverged_replica_harms_no_other():
    env = envs.make("Hopper-v5")
    state, action = env.initial(noises(env, 2, 3)), some_actions(env, 2, 3)
    broken = action.clone()
    broken[0, :, 1] = torch.nan
    lost, reward, terminated = env.step(state, broken)
    lost, reward, terminated = env.step(lost, action)  # stays lost
    whole, their_reward, _ = env.step(env.step(state, action)[0], action)
    assert env.observe(lost)[0].isnan().all()
    assert reward[0].isnan().all()
    assert not terminated[0].any()
    np.testing.assert_array_equal(lost[1], whole[1])
    np.testing.assert_array_equal(reward[1], their_reward[1])
    back = env.reset(torch.tensor([[True] * 3, [False] * 3]), lost, noises(env, 2, 3))
    np.testing.assert_array_equal(back[0], state[0])


def test_rollouts_are_in_the_policys_format():
    env, rng = envs.make("Hopper-v5"), Rng(range(2))
    batch, carry = rollout(env, policies.for_env(env, rng), rng, steps=60, environments=3)
    for column in (batch.observation, batch.next_observation, batch.reward, batch.log_probability):
        assert column.dtype == torch.float32
    assert carry.state.dtype == torch.float64
    assert batch.terminated.any()
    same = (batch.next_observation[:, :-1] == batch.observation[:, 1:]).all(-1)
    np.testing.assert_array_equal(same, ~batch.done[:, :-1])


def test_a_clock_that_somebody_has_set_goes_on_and_mujocos_stops():
    env, ticks = envs.make("Swimmer-v5"), []
    state, action = env.initial(noises(env, 1)), some_actions(env, 1)
    try:
        mujoco.set_mjcb_time(lambda: ticks.append(1) or float(len(ticks)))
        env.step(state, action)
        assert ticks
    finally:
        mujoco.set_mjcb_time(None)
    single = gymnasium.make("Swimmer-v5").unwrapped  # its MjData starts MuJoCo's own again
    single.reset(seed=0)
    assert single.data.timer[int(mujoco.mjtTimer.mjTIMER_FORWARD)].duration > 0
    env.step(state, action)
    before = single.data.timer[int(mujoco.mjtTimer.mjTIMER_FORWARD)].duration
    single.step(np.zeros(2))
    assert single.data.timer[int(mujoco.mjtTimer.mjTIMER_FORWARD)].duration == before


needs_drawing = pytest.mark.skipif(
    sys.platform == "linux" and not (find_library("EGL") or find_library("OSMesa")),
    reason="MuJoCo can draw nothing here: neither EGL (Debian: libegl1) nor OSMesa (libosmesa6) is installed",
)


@needs_drawing
def test_pictures_show_the_first_world():
    program = """
import torch
from pgcourse import envs
env = envs.make("InvertedPendulum-v5")
state = env.initial(torch.rand(1, 2, 4))
picture = env.picture(state)
assert picture.shape == (240, 240, 3)
assert picture.std() > 0
for _ in range(10):
    state, _, _ = env.step(state, torch.full((1, 2, 1), 3.0))
assert (env.picture(state) != picture).any()
assert (env.picture(torch.full_like(state, torch.nan)) == 255).all()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


@pytest.mark.parametrize("task", ["Hopper-v5", "HalfCheetah-v5", "InvertedDoublePendulum-v5"])
def test_recorded_runs_are_what_ppo_does(task):
    """The first rollouts of two of the seeds, again: the recorded returns, to what rounding makes of them."""
    runs = recorded(task)
    about = json.loads(str(runs["about"]))
    assert about["command"] == "python benchmarks/locomotion.py --record"
    assert runs["return"].shape == runs["steps"].shape == (len(runs["test"]), 488)
    assert len(runs["test"]) >= 5
    assert (runs["steps"][:, -1] == 488 * 2048).all()
    first = 4 if task == "HalfCheetah-v5" else 1  # rollouts until an episode has ended there; they all last 1,000 steps
    settings = about["settings"]
    config = ppo.Config(**settings | {"hidden": tuple(settings["hidden"])})
    _, history = ppo.train(envs.make(task), config, Rng([3, 1]), progress=lambda history: history.iteration == first)
    beginning, end = runs["return"][:, first - 1], runs["return"][:, -49:].mean(1)
    # Three updates and a thousand steps make another seed's worth of rounding: then five standard deviations of a difference.
    tolerance = {"rtol": 0.02} if first == 1 else {"rtol": 0, "atol": 5 * 2**0.5 * beginning.std(ddof=1)}
    np.testing.assert_allclose(history.metrics["return"][:, -1], beginning[[3, 1]], **tolerance)
    assert (end > beginning + np.abs(beginning)).all()  # all have learned
