"""The adapter: every transition is the one a single Gymnasium environment makes, whatever happens in the other worlds."""

import gc
import subprocess
import sys
from ctypes.util import find_library

import gymnasium
import numpy as np
import pytest
import torch

from pgcourse import envs, policies
from pgcourse.envs.gymnasium import Gymnasium, _seeds
from pgcourse.rng import Rng
from pgcourse.rollout import episodes, rollout

TASKS = ("CartPole-v1", "InvertedPendulum-v5")
PENDULUM = "InvertedPendulum-v5"


def noises(*leading, seed=0):
    return torch.rand(*leading, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_actions(env, *leading, seed=0):
    """Actions that let episodes of different lengths happen."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(env.spec.action, envs.Discrete):
        return torch.randint(env.spec.action.n, leading, generator=generator)
    return 2 * torch.randn(*leading, env.spec.action.size, generator=generator, dtype=torch.float64)


def test_every_transition_is_that_of_single_environments_stepped_by_hand():
    """Observation, action, reward, final observation, both ends, in 2 x 3 worlds over many episodes, time limits included."""
    for task in TASKS:
        env, limit, steps = Gymnasium(task, max_episode_steps=12), 12, 80
        first, again = noises(2, 3), noises(2, 3, steps, seed=1)
        actions = some_actions(env, 2, 3, steps)
        state, elapsed = env.initial(first), torch.zeros(2, 3, dtype=torch.int64)
        seen = []
        for t in range(steps):
            before = env.observe(state)
            state, reward, terminated = env.step(state, actions[:, :, t])
            elapsed += 1
            truncated = env.truncated(state) | (elapsed >= limit)
            seen.append((before, reward, env.observe(state), terminated, truncated))
            state = env.reset(terminated | truncated, state, again[:, :, t])
            elapsed[terminated | truncated] = 0
        seen = [torch.stack(column, 2) for column in zip(*seen, strict=True)]
        endings = set()
        for r, e in np.ndindex(2, 3):
            lengths = 0
            with gymnasium.make(task, max_episode_steps=limit) as single:
                before, _ = single.reset(seed=_seeds(first[None, r, e])[0])
                length = 0
                for t in range(steps):
                    action = actions[r, e, t].numpy()
                    if task == PENDULUM:
                        action = action.clip(-3, 3).astype(np.float32)
                    after, reward, terminated, truncated, _ = single.step(action[()])
                    mine = [column[r, e, t].numpy() for column in seen]
                    for ours, theirs in zip(mine, (before, reward, after, terminated, truncated), strict=True):
                        np.testing.assert_array_equal(ours, theirs)
                    before, length = after, length + 1
                    if terminated or truncated:
                        endings.add((terminated, truncated))
                        lengths, length = lengths + length, 0
                        before, _ = single.reset(seed=_seeds(again[None, r, e, t])[0])
                assert lengths + length == steps  # transitions and nothing else
        assert {(True, False), (False, True)} <= endings


@pytest.mark.parametrize("task", TASKS)
def test_rollouts_contain_no_dummy_transition(task):
    env, rng = Gymnasium(task, max_episode_steps=15), Rng(range(2), dtype=torch.float64)
    policy = policies.for_env(env, rng, hidden=())
    batch, carry = rollout(env, policy, rng, steps=60, environments=3)
    following = batch.observation[:, 1:]
    same = (batch.next_observation[:, :-1] == following).all(-1)
    np.testing.assert_array_equal(same, ~batch.done[:, :-1])  # a new beginning after each end, and only there
    assert batch.valid.all()
    assert batch.done.sum() > 6
    if task == "CartPole-v1":
        first = torch.cat([torch.ones_like(batch.done[:, :1]), batch.done[:, :-1]], 1)
        assert (batch.observation[first].abs() <= 0.05).all()
        fallen = (batch.next_observation.abs() > torch.tensor([2.4, torch.inf, 0.2095, torch.inf])).any(-1)
        np.testing.assert_array_equal(fallen, batch.terminated)
    more, _ = rollout(env, policy, rng, steps=2, environments=3, start=carry)
    torch.testing.assert_close(more.observation[:, 0], env_start(batch, more))


def env_start(batch, more):
    """Where the second rollout must begin: at the last observation of the first, or at a new first one."""
    return torch.where(batch.done[:, -1, :, None], more.observation[:, 0], batch.next_observation[:, -1])


def test_whole_episodes_end_once():
    env, rng = Gymnasium("CartPole-v1"), Rng(range(2))
    batch = episodes(env, policies.for_env(env, rng), rng, environments=4)
    ends = (batch.done & batch.valid).sum(1)
    np.testing.assert_array_equal(ends, 1)
    np.testing.assert_array_equal(batch.episode_return, batch.valid.sum(1))  # CartPole pays 1 a step


def test_a_replica_depends_on_its_own_noise_alone():
    env = Gymnasium("CartPole-v1")
    noise, actions = noises(3, 2), some_actions(env, 3, 2)
    together = env.observe(env.step(env.initial(noise), actions)[0])
    alone = env.observe(env.step(env.initial(noise[1:2]), actions[1:2])[0])
    turned = env.observe(env.step(env.initial(noise.flip(0)), actions.flip(0))[0])
    np.testing.assert_array_equal(together[1:2], alone)
    np.testing.assert_array_equal(together.flip(0), turned)
    assert len(set(_seeds(noise.reshape(-1, 2)))) == 6


def test_seeds_use_all_bits_of_float32():
    numbers = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    seeds = _seeds(numbers)
    assert len(set(seeds)) == 1000
    assert 0 <= min(seeds) < max(seeds) < 2**48
    assert _seeds(torch.tensor([[0.5, 0.25]])) == [2**47 + 2**22]


def test_a_diverged_replica_harms_no_other():
    env = Gymnasium(PENDULUM)
    noise, actions = noises(2, 2), some_actions(env, 2, 2) / 10
    broken = actions.clone()
    broken[0] = torch.nan
    state, reward, terminated = env.step(env.initial(noise), broken)
    state, reward, terminated = env.step(state, actions)  # stays lost
    whole, their_reward, _ = env.step(env.step(env.initial(noise), actions)[0], actions)
    assert env.observe(state)[0].isnan().all()
    assert reward[0].isnan().all()
    assert not terminated.any()
    np.testing.assert_array_equal(env.observe(state)[1], env.observe(whole)[1])
    np.testing.assert_array_equal(reward[1], their_reward[1])
    state = env.reset(torch.tensor([[True, True], [False, False]]), state, noise)
    np.testing.assert_array_equal(env.observe(state)[0], env.observe(env.initial(noise))[0])


def test_worlds_that_have_ended_stand_still():
    env = Gymnasium("CartPole-v1")
    state, push = env.initial(noises(1, 1)), torch.ones(1, 1, dtype=torch.int64)
    terminated = torch.zeros(1, 1, dtype=torch.bool)
    while not terminated:
        state, reward, terminated = env.step(state, push)
    assert reward == 1
    final = env.observe(state)
    state = env.rest(terminated, state, noises(1, 1))
    state, reward, terminated = env.step(state, push)  # Gymnasium would warn
    np.testing.assert_array_equal(env.observe(state), final)
    assert (reward.item(), terminated.item()) == (0, True)


def test_a_state_that_is_out_of_date_is_refused():
    env = Gymnasium("CartPole-v1")
    old, actions = env.initial(noises(1, 2)), some_actions(env, 1, 2)
    new, _, _ = env.step(old, actions)
    with pytest.raises(RuntimeError, match=r"out of date.*initial\(\)"):
        env.step(old, actions)
    with pytest.raises(RuntimeError, match="out of date"):
        env.reset(torch.ones(1, 2, dtype=torch.bool), old, noises(1, 2))
    assert env.observe(old).shape == (1, 2, 4)  # looking back is allowed
    other = env.initial(noises(1, 2))  # a second rollout does not disturb the first
    env.step(other, actions)
    env.step(new, actions)


def test_worlds_are_used_again_and_their_number_may_change():
    env = Gymnasium("CartPole-v1")
    made = []
    original = env._make
    env._make = lambda: made.append(original()) or made[-1]
    for leading in ((4, 2), (3, 2), (4, 2), (1, 1)):
        env.step(env.initial(noises(*leading)), some_actions(env, *leading))
        gc.collect()
    assert len(made) == 8


def test_selected_replicas_go_on():
    env = Gymnasium("CartPole-v1")
    noise, actions = noises(4, 2), some_actions(env, 4, 2)
    start = env.initial(noise)
    part = env.select(start, torch.tensor([False, True, False, True]))
    after, _, _ = env.step(part, actions[[1, 3]])
    whole, _, _ = env.step(env.initial(noise), actions)
    np.testing.assert_array_equal(env.observe(after), env.observe(whole)[[1, 3]])
    with pytest.raises(RuntimeError, match="out of date"):
        env.step(start, actions)
    with pytest.raises(ValueError, match="selected twice"):
        env.select(after, [0, 0])


def test_closing_closes_every_world():
    env = Gymnasium("CartPole-v1")
    state, closed = env.initial(noises(2, 2)), []
    worlds = list(state.worlds.environments)
    for world in worlds:
        world.close = lambda world=world: closed.append(world)
    del env, state
    gc.collect()
    assert len(closed) == 4


class Strange(gymnasium.Env):
    """One step long; for spaces and ends that the well-known tasks do not have."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or gymnasium.spaces.Box(-1, 1, (2, 3))
        self.action_space = action_space or gymnasium.spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action):
        self.taken = action
        return np.ones(self.observation_space.shape, np.float32), 0.5, False, True, {}


@pytest.fixture(autouse=True)
def strange():
    gymnasium.register("Strange-v0", entry_point=Strange)
    yield
    del gymnasium.registry["Strange-v0"]


def test_own_truncations_are_told_and_odd_shapes_and_starts_are_ours():
    env = Gymnasium("Strange-v0")
    assert (env.spec.time_limit, env.spec.observation.size, env.spec.action) == (None, 6, envs.Discrete(2))
    state = env.initial(noises(1, 2).float())
    state, reward, terminated = env.step(state, torch.tensor([[0, 1]]))
    assert [world.unwrapped.taken for world in state.worlds.environments] == [5, 6]
    assert env.observe(state).dtype == reward.dtype == torch.float32
    assert (reward == 0.5).all()
    assert not terminated.any()
    assert env.truncated(state).all()
    with pytest.raises(NotImplementedError, match="Strange-v0 has no picture"):
        env.picture(state)


def test_actions_are_clipped_to_their_bounds():
    space = gymnasium.spaces.Box(np.array([-1, -np.inf], np.float32), np.array([2, np.inf], np.float32))
    env = Gymnasium("Strange-v0", action_space=space)
    assert env.spec.action == envs.Box(2, (-1.0, -np.inf), (2.0, np.inf))
    state, _, _ = env.step(env.initial(noises(1, 1)), torch.tensor([[[5.0, torch.inf]]], dtype=torch.float64))
    taken = state.worlds.environments[0].unwrapped.taken
    assert taken.dtype == np.float32
    assert taken.tolist() == [2, np.finfo(np.float32).max]


@pytest.mark.parametrize(
    "spaces",
    [{"observation_space": gymnasium.spaces.Discrete(3)}, {"action_space": gymnasium.spaces.MultiDiscrete([2, 3])}],
)
def test_spaces_that_do_not_fit_are_refused(spaces):
    with pytest.raises(TypeError, match=r"Strange-v0 has .*(Discrete.*Box|MultiDiscrete.*Box)"):
        Gymnasium("Strange-v0", **spaces)


def test_time_limits_can_be_changed_and_must_make_sense():
    assert Gymnasium("CartPole-v1").spec.time_limit == 500
    assert Gymnasium("CartPole-v1", max_episode_steps=-1).spec.time_limit is None
    with pytest.raises(ValueError, match="max_episode_steps is 0; it can be >= 1"):
        Gymnasium("CartPole-v1", max_episode_steps=0)


def test_make_knows_our_names_and_gymnasiums():
    assert isinstance(envs.make("gymnasium:CartPole-v1"), Gymnasium)
    assert not isinstance(envs.make("CartPole-v1"), Gymnasium)
    env = envs.make(PENDULUM)
    assert (env.spec.name, env.spec.time_limit, env.spec.reward_threshold) == (PENDULUM, 1000, 950)
    assert env.spec.action == envs.Box(1, -3.0, 3.0)
    for wrong, right in {"cartpole-v1": "CartPole-v1", "InvertedPendulum": PENDULUM, "gridword": "gridworld"}.items():
        with pytest.raises(ValueError, match=f"no environment is named '{wrong}'. Did you mean .*{right}"):
            envs.make(wrong)


needs_drawing = pytest.mark.skipif(
    sys.platform == "linux" and not (find_library("EGL") or find_library("OSMesa")),
    reason="MuJoCo can draw nothing here: neither EGL (Debian: libegl1) nor OSMesa (libosmesa6) is installed",
)


@needs_drawing
def test_mujoco_draws_pictures():
    env = Gymnasium(PENDULUM)
    state = env.initial(noises(1, 2))
    before = env.picture(state)
    assert before.shape == (240, 240, 3)
    assert before.dtype == np.uint8
    for _ in range(10):
        state, _, _ = env.step(state, torch.full((1, 2, 1), 3.0))
    assert (env.picture(state) != before).any()


@needs_drawing
def test_a_program_that_has_drawn_ends_quietly():
    program = f"""
import torch
from pgcourse import envs
env = envs.make({"gymnasium:" + PENDULUM!r})
env.picture(env.initial(torch.rand(1, 1, 2)))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout + ended.stderr == ""
