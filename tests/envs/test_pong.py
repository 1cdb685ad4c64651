"""Our Pong: its physics by hand, what is seen of it against the frames themselves, and its invariance to batching."""

import pytest
import torch

from pgcourse import envs, nn
from pgcourse.envs.pong import BALL, LEFT, PADDLE, RIGHT, SIZE, Pong
from pgcourse.rng import Rng

D = torch.float64
UP, DOWN = torch.tensor(0), torch.tensor(1)
HALF = torch.tensor([0.5, 0.5], dtype=D)


def state(x, y, opponent=18.0, learner=18.0, speed=4.0, slope=0.0, lost=0.0, won=0.0):
    return torch.tensor([x, y, opponent, learner, speed, slope, x - speed, y - slope, opponent, learner, lost, won], dtype=D)


def after(before, action=UP, env=None, noise=HALF):
    following, reward, over = (env or Pong()).step(before, action, noise)
    return following.tolist(), float(reward), bool(over)


def random_states(steps=200, games=30, **settings):
    """States, actions and rewards of games played at random, [T, E, ...]."""
    env, rng = Pong(**settings), Rng(0, dtype=D)
    now = env.initial(rng.draw(env.spec.initial_noise, games)[0])
    noise, action = rng.draw(env.spec.step_noise, steps, games)[0], (rng.uniform(steps, games)[0] < 0.5).long()
    seen = []
    for t in range(steps):
        following, reward, _ = env.step(now, action[t], noise[t])
        seen.append((now, action[t], reward, following))
        now = following
    return env, [torch.stack(column) for column in zip(*seen, strict=True)]


def test_a_free_ball_goes_straight():
    now, reward, over = after(state(10, 20, slope=0.5))
    assert now[:2] == [14, 20.5]
    assert now[4:6] == [4, 0.5]
    assert now[6:8] == [10, 20]
    assert (reward, over) == (0, False)


def test_walls_mirror_a_ball():
    """Its middle stays half a ball, two rows, from a wall: from row 3 by 1.5 up it comes to 2.5 and goes down."""
    now, *_ = after(state(10, 3, slope=-1.5))
    assert (now[1], now[5]) == (2.5, 1.5)
    now, *_ = after(state(10, SIZE - 3, slope=1.5))
    assert (now[1], now[5]) == (SIZE - 2.5, -1.5)


def test_paddles_move_and_stop_at_the_walls():
    env = Pong()
    assert after(state(10, 20), UP)[0][3] == 18 - env.speed
    assert after(state(10, 20), DOWN)[0][3] == 18 + env.speed
    assert after(state(10, 20, learner=1.0), UP)[0][3] == 0
    assert after(state(10, 20, learner=SIZE - PADDLE - 0.5), DOWN)[0][3] == SIZE - PADDLE


def test_the_built_in_player_follows_the_ball_as_fast_as_it_can():
    assert after(state(10, 30))[0][2] == 18 + Pong().opponent_speed
    assert after(state(10, 5))[0][2] == 18 - Pong().opponent_speed
    assert after(state(10, 20.2))[0][2] == pytest.approx(18.2)  # its middle is two rows below its top


@pytest.mark.parametrize(("where", "slope"), [(0.0, 0.0), (2.0, 1.0), (-4.0, -2.0)])
def test_a_paddle_sends_the_ball_back_by_where_it_is_hit(where, slope):
    """The slope is steepest * offset, and the offset is 1 four rows from the middle: half a paddle and half a ball."""
    middle = 20.0
    now, reward, _ = after(state(RIGHT - 1, middle + where, learner=middle - PADDLE / 2 - 2), DOWN)
    assert (now[0], now[4], reward) == (RIGHT, -4, 0)
    assert now[5] == pytest.approx(slope)
    now, *_ = after(state(LEFT + 1, middle + where, opponent=middle - PADDLE / 2, speed=-4.0), env=Pong(opponent_speed=1e-9))
    assert (now[0], now[4]) == (LEFT, 4)
    assert now[5] == pytest.approx(slope)


def test_who_misses_loses_the_point_and_gets_the_serve():
    missed, reward, _ = after(state(RIGHT - 1, 20, learner=30.0), DOWN)
    assert (missed[0], missed[4], reward) == (RIGHT + 3, 4, 0)
    served, reward, _ = after(missed_state := torch.tensor(missed, dtype=D), DOWN, noise=torch.tensor([0.0, 1.0], dtype=D))
    assert missed_state[0] + 4 >= SIZE
    assert reward == -1
    assert served[:2] == [SIZE / 2, 5]  # the highest serve
    assert served[4:6] == [4, 1]  # towards the learner, half as steep as a ball can be
    assert served[10:] == [1, 0]
    served, reward, _ = after(state(1.0, 20, opponent=30.0, speed=-4.0))
    assert reward == 1
    assert served[4] == -4
    assert served[10:] == [0, 1]


def test_the_game_ends_with_the_last_point():
    before = {"opponent": 30.0, "speed": -4.0, "lost": 20.0}
    assert after(state(1.0, 20, won=19.0, **before))[2] is False
    assert after(state(1.0, 20, won=20.0, **before))[2] is True
    assert after(state(1.0, 20, won=2.0, **before), env=Pong(points=3))[2] is True


def test_rewards_are_the_points():
    _, (before, _, reward, following) = random_states(points=10**6)
    scored = following[..., 10:] - before[..., 10:]
    torch.testing.assert_close(reward, scored[..., 1] - scored[..., 0])
    assert (reward > 0).any()
    assert (reward < 0).any()


@pytest.mark.parametrize("settings", [{}, {"speed": 1.3, "opponent_speed": 2.0, "ball_speed": 2.7}, {"steepest": 5.0}])
def test_what_is_seen_is_the_difference_of_two_frames(settings):
    """In every pixel, at every step of random games, serves and bounces included."""
    env, (before, _, _, following) = random_states(points=10**6, **settings)
    difference = env.frame(following) - env.frame(before)
    torch.testing.assert_close(nn.picture(env.observe(following), SIZE), difference)
    assert (difference != 0).any((0, 1)).float().mean() > 0.3  # the ball has been in many places


def test_frames_show_two_paddles_and_a_ball():
    drawn = Pong().frame(state(20, 10))
    assert drawn.sum() == BALL + 2 * 2 * PADDLE
    assert drawn[8:12, 20].tolist() == [1, 1, 1, 1]
    assert drawn[18 : 18 + PADDLE, [LEFT - 1, LEFT, RIGHT, RIGHT + 1]].all()


def test_nothing_has_changed_before_the_first_step():
    env = Pong()
    first = env.initial(torch.rand(5, 3, generator=torch.Generator().manual_seed(0)))
    assert not nn.picture(env.observe(first), SIZE).any()
    assert env.frame(first).any()


def test_leading_axes_are_free():
    env, (before, action, reward, following) = random_states(steps=6, games=4)
    noise = torch.full((6, 4, 2), 0.25, dtype=D)
    whole, paid, _ = env.step(before, action, noise)
    for t in range(6):
        for e in range(4):
            one, r, _ = env.step(before[t, e], action[t, e], noise[t, e])
            torch.testing.assert_close(whole[t, e], one)
            assert paid[t, e] == r
    assert env.observe(before).shape == (6, 4, env.spec.observation.size)
    assert reward.shape == following.shape[:2]


def test_who_follows_the_ball_wins_and_who_does_not_loses():
    env, rng = Pong(points=10**6), Rng(0, dtype=D)
    for follows, low, high in ((True, 0.6, 1.0), (False, -1.0, -0.2)):
        now, total, count = env.initial(rng.draw(env.spec.initial_noise, 64)[0]), 0.0, 0
        noise, chance = rng.draw(env.spec.step_noise, 200, 64)[0], rng.uniform(200, 64)[0]
        for t in range(200):
            action = (now[:, 1] > now[:, 3] + PADDLE / 2) if follows else chance[t] < 0.5
            now, reward, _ = env.step(now, action.long(), noise[t])
            total, count = total + float(reward.sum()), count + int((reward != 0).sum())
        assert low < total / count < high


def test_the_picture_has_the_score():
    env = Pong()
    drawn = env.picture(state(20, 10, lost=3.0, won=12.0))
    assert drawn.shape == (240, 240, 3)
    assert not (drawn == env.picture(state(20, 10))).all()
    assert (drawn[6 * 10, 6 * 20] == 236).all()  # the ball, six times enlarged


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="a paddle moves at most 2"):
        Pong(speed=3.0)
    with pytest.raises(ValueError, match="at least 1"):
        Pong(points=0)
    assert isinstance(envs.make("pong"), Pong)
