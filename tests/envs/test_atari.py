"""Atari's Pong through the adapter: preprocessing by hand, lists against differences, and the same games as Gymnasium's."""

import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("ale_py")

from pgcourse import envs, nn
from pgcourse.algorithms import pong
from pgcourse.envs import atari
from pgcourse.rng import Rng
from pgcourse.rollout import rollout


def screen():
    """The game's two grounds by rows, one paddle of 16 rows and 4 columns, a ball of 4 x 2, and a score above the field."""
    frame = np.zeros((210, 160, 3), dtype=np.uint8)
    frame[35:195] = (144, 72, 17)
    frame[100:120] = (109, 118, 43)
    frame[0:30, 20:40] = (213, 130, 74)
    frame[135:151, 140:144] = (92, 186, 92)
    frame[75:79, 80:82] = (236, 236, 236)
    return frame


def test_preprocessing_keeps_the_field_and_every_second_pixel():
    seen = atari.preprocess(screen())
    assert seen.shape == (80, 80)
    assert seen.dtype == np.int8
    expected = np.zeros((80, 80), dtype=np.int8)
    expected[50:58, 70:72] = 1  # rows (135 - 35) / 2 on, columns 140 / 2 on
    expected[20:22, 40] = 1
    np.testing.assert_array_equal(seen, expected)


def test_changes_are_the_difference():
    random = np.random.default_rng(0)
    for _ in range(20):
        now, before = ((random.random((80, 80)) < 0.005).astype(np.int8) for _ in range(2))
        listed = torch.as_tensor(atari.changes(now, before))
        assert listed.shape == (atari.LISTED,)
        np.testing.assert_array_equal(nn.picture(listed, 80).numpy(), now - before)


def test_the_worlds_play_the_games_that_gymnasium_plays():
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    ours = atari.PixelLists()
    with gymnasium.make("ALE/Pong-v5") as theirs:
        observation, _ = ours.reset(seed=3)
        frame, _ = theirs.reset(seed=3)
        assert not observation.any()
        before, points = atari.preprocess(frame), 0
        for t in range(150):
            action = int(t // 7 % 2)
            observation, reward, over, _, _ = ours.step(action)
            frame, their_reward, their_over, _, _ = theirs.step(3 if action else 2)
            assert (reward, over) == (their_reward, their_over)
            now = atari.preprocess(frame)
            np.testing.assert_array_equal(nn.picture(torch.as_tensor(observation), 80).numpy(), now - before)
            before, points = now, points + abs(reward)
    assert points > 0
    ours.close()


def test_up_is_up():
    """Held long enough, action 0 takes the learner's paddle, on the right, to the top, and action 1 to the bottom."""
    world = atari.PixelLists()
    world.reset(seed=0)
    heights = []
    for action in (0, 1):
        for _ in range(40):
            world.step(action)
        rows = np.flatnonzero(atari.preprocess(world.unwrapped.ale.getScreenRGB())[:, 70])
        heights.append(rows.mean())
    world.close()
    assert heights[0] < 20
    assert heights[1] > 60


def test_the_recipe_runs_on_it_and_replicas_stay_apart():
    env = envs.make("atari-pong")
    config = pong.Config(environments=2, steps=40, iterations=2, hidden=5)
    many, history = pong.train(env, config, Rng([0, 1], dtype=torch.float64))
    alone, _ = pong.train(env, config, Rng([1], dtype=torch.float64))
    assert history.steps[:, -1].tolist() == [160, 160]
    for a, b in zip(many.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a[1:], b)


def test_no_change_is_left_out():
    env = envs.make("atari-pong")
    policy = pong.NETWORKS["dense"](Rng([0]), env.pixels, 2, 5)
    batch, _ = rollout(env, policy, Rng([0]), 120, 4)
    listed = (batch.observation != 0).sum(-1)
    assert listed.max() < atari.LISTED  # the list was never full
    assert listed.max() > 20


def test_without_the_package_it_says_what_to_install():
    code = "import sys; sys.modules['ale_py'] = None\nfrom pgcourse import envs\nenvs.make('atari-pong')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'pgcourse[atari]'" in run.stderr
