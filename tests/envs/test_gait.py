"""The twelve-parameter gait: its loci and legs in closed form, the fast model, the MuJoCo robot, and its recorded runs."""

import json

import numpy as np
import pytest
import torch

from pgcourse import envs
from pgcourse.algorithms import kohl_stone
from pgcourse.envs import gait, gait_mujoco
from pgcourse.rng import Rng

D = torch.float64
BY_HAND = gait.parameters(torch.zeros(12, dtype=D))
ENDS = pytest.mark.parametrize("end", [gait.FRONT, gait.REAR])


def test_twelve_of_everything():
    lists = (gait.PARAMETERS, gait.UNITS, gait.START, gait.STEP, gait.LEAST, gait.MOST)
    assert {len(each) for each in lists} == {12}
    assert (torch.tensor(gait.START, dtype=D) == BY_HAND).all()
    assert all(low < start < high for low, start, high in zip(gait.LEAST, gait.START, gait.MOST, strict=True))
    assert (gait.parameters(torch.full((12,), 1e6)) == torch.tensor(gait.MOST)).all()


@ENDS
def test_the_locus_is_a_half_ellipse(end):
    """On the ground at body height and constant speed; in the air on an ellipse of the length's and the height's axes."""
    height, x, y, length, skew, body, ground = (
        float(BY_HAND[i]) for i in (3 * end, 3 * end + 1, 3 * end + 2, 6, 7, 8 + end, 11)
    )
    phase = torch.arange(1000, dtype=D) / 1000
    foot = gait.locus(BY_HAND, phase, end)
    down = phase < ground
    assert (foot[down, 2] == -body).all()
    torch.testing.assert_close(foot[down, 0].diff(), torch.full((int(down.sum()) - 1,), -length / ground / 1000, dtype=D))
    ellipse = ((foot[~down, 0] - x) / (length / 2)) ** 2 + ((foot[~down, 2] + body) / height) ** 2
    torch.testing.assert_close(ellipse, torch.ones_like(ellipse))
    assert foot[~down, 0].diff().min() > 0
    assert (foot[:, 1] - y).abs().max() == pytest.approx(skew * length / 2)
    torch.testing.assert_close(gait.locus(BY_HAND, phase + 3, end), foot)


@ENDS
def test_the_joints_bring_the_foot_there(end):
    place = torch.tensor([30.0, 20.0, -110.0], dtype=D) * (1 + 0.2 * Rng(0, dtype=D).normal(50, 3)[0].clamp(-1, 1))
    joint = gait.joints(place, end)
    torch.testing.assert_close(gait.foot(joint), place)
    assert (joint[:, 2] * gait.KNEES[end] > 0).all()


@ENDS
def test_out_of_reach_is_as_near_as_the_leg_comes(end):
    place = torch.tensor([300.0, 0.0, -400.0], dtype=D)
    foot = gait.foot(gait.joints(place, end))
    assert foot.norm() == pytest.approx(gait.UPPER + gait.LOWER - 1)
    torch.testing.assert_close(foot / foot.norm(), place / place.norm())


def test_the_fast_model_walks_at_the_speed_of_its_feet_where_nothing_is_lost():
    """A slow, flat, high-stepping gait with perfect joints: locus length over time on the ground."""
    env = gait.Gait(lag=0.0, fastest=1e9, roughness=0.1, phases=256)
    p = torch.tensor([40, 0, 30, 40, 0, 30, 40, 0, 110, 110, 1.0, 0.5], dtype=D)
    assert env.speed(p) == pytest.approx(40 / 0.5, rel=0.02)


def test_every_parameter_matters_and_axes_are_free():
    env = gait.Gait()
    action = 2 * torch.cat([torch.eye(12), -torch.eye(12)]).double()
    speed = env.speed(gait.parameters(action))
    assert ((speed[:12] - env.speed(BY_HAND)).abs() + (speed[12:] - env.speed(BY_HAND)).abs()).min() > 1.0
    torch.testing.assert_close(env.speed(gait.parameters(action.reshape(2, 3, 4, 12))), speed.reshape(2, 3, 4))


def test_worse_is_slower():
    """What anybody would say of a gait: turning, scuffing, nose in the air."""
    env, base = gait.Gait(), gait.Gait().speed(BY_HAND)
    for index, value in ((7, 0.4), (0, 5.0), (8, 140.0)):
        worse = BY_HAND.clone()
        worse[index] = value
        assert env.speed(worse) < 0.95 * base


def test_a_measured_walk_is_noisy():
    env = gait.Gait(deviation=7.0)
    state, noise = env.initial(torch.zeros(3, 0, dtype=D)), torch.tensor([0.0, 1.0, -2.0], dtype=D)
    _, reward, over = env.step(state, torch.zeros(3, 12, dtype=D), noise)
    torch.testing.assert_close(reward, env.speed(BY_HAND) + 7 * noise)
    assert over.all()


@pytest.mark.parametrize("name", ["gait", "gait-mujoco"])
def test_by_name(name):
    assert envs.make(name).spec.name == name


# --- MuJoCo ---------------------------------------------------------------------------------------------------------------

QUICK = gait_mujoco.MujocoGait(seconds=1.0)


def test_the_robot_trots():
    """Forward, upright, at the height of its legs; no two walks alike, and the same noise the same walk."""
    noise = Rng(0, dtype=D).uniform(6, 4)[0]
    speed = QUICK.speed(BY_HAND, noise)
    assert 200 < speed.min() < speed.max() < 600
    assert speed.std() > 1
    torch.testing.assert_close(QUICK.speed(BY_HAND, noise), speed, rtol=0, atol=0)
    path = QUICK.walk(BY_HAND.expand(6, -1), noise)
    assert (path[:, :, 2] > 0.09).all()
    assert (path[:, :, 2] < 0.15).all()


def test_worlds_are_independent_of_their_number_and_of_threads():
    noise = Rng(1, dtype=D).uniform(5, 4)[0]
    actions = torch.eye(12, dtype=D)[:5]
    whole = QUICK.speed(gait.parameters(actions), noise)
    torch.testing.assert_close(QUICK.speed(gait.parameters(actions[3]), noise[3]), whole[3], rtol=0, atol=0)
    threaded = gait_mujoco.MujocoGait(seconds=1.0, threads=2)
    torch.testing.assert_close(threaded.speed(gait.parameters(actions), noise), whole, rtol=0, atol=0)


def test_a_gait_that_stumbles_is_slow():
    worse = BY_HAND.clone()
    worse[8], worse[9], worse[2], worse[5] = 140.0, 75.0, -10.0, -10.0
    noise = Rng(0, dtype=D).uniform(6, 4)[0]
    assert QUICK.speed(worse, noise).mean() < 0.7 * QUICK.speed(BY_HAND, noise).mean()


def test_diagonal_legs_are_told_the_same():
    """And the two sides of an end the same, half a round apart, with mirrored roll."""
    told = gait_mujoco.commands(BY_HAND[None], torch.zeros(1, dtype=D), 84 * 4)[0].reshape(-1, 4, 3)  # one period is 84 steps
    half = 42
    left, right = told[:-half, 0], told[half:, 1]
    assert np.abs(left[:, 1:] - right[:, 1:]).max() < 0.05 * np.abs(left[:, 1:]).max() + 0.06
    assert np.sign(left[0, 0]) == -np.sign(right[0, 0])


# --- recorded runs --------------------------------------------------------------------------------------------------------


def test_recorded_runs_are_what_the_robot_does():
    """A few recorded answers, walked again: the recorded speed, to the rounding of the parameters."""
    record = gait_mujoco.recorded()
    about = json.loads(str(record["about"]))
    assert about["command"] == "python benchmarks/gait.py --record"
    unseen = Rng(0, stream=99).uniform(4, 4)[0]
    env = gait_mujoco.MujocoGait()
    assert float(env.speed(gait.parameters(torch.zeros(12)), unseen).mean()) == pytest.approx(about["start"], rel=0.02)
    for name in ("kohl_stone", "cma_es"):
        parameters, answer = record[f"{name} parameters"], record[f"{name} answer"]
        assert parameters.shape == (16, 23, 12)
        assert answer.shape == (16, 23)
        again = env.speed(torch.tensor(parameters[:3, -1])[:, None], unseen).mean(-1)
        assert abs(float(again.mean()) / answer[:3, -1].mean() - 1) < 0.1


def test_the_method_that_made_it_famous_makes_the_fast_model_faster():
    env = gait.Gait()
    theta, history = kohl_stone.train(env, kohl_stone.Config(), Rng(range(16)))
    assert history.steps[0, -1] == 1035
    gain = env.speed(gait.parameters(theta)) / env.speed(BY_HAND).float()
    assert gain.mean() > 1.15
