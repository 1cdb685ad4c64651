import dataclasses
import math

import pytest
import torch

from pgcourse import envs, policies
from pgcourse.envs.tabular import Tabular, aliased_gridworld, cells, gridworld, random_mdp, two_step
from pgcourse.rng import Rng
from pgcourse.rollout import episodes


def fan(count):
    """``count`` numbers spread evenly over [0, 1): every law drawn from them is met to within 1 / count per state."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def frequencies(state, states):
    return torch.bincount(state.long(), minlength=states) / len(state)


@pytest.mark.parametrize("seed", range(3))
def test_steps_follow_the_transition_table(seed):
    mdp = random_mdp(6, 3, seed)
    noise = fan(100_000)
    for state in range(6):
        for action in range(3):
            here = torch.full_like(noise, state)
            following, reward, terminated = mdp.step(here, torch.full_like(noise, action, dtype=torch.int64), noise)
            torch.testing.assert_close(frequencies(following, 6), mdp.transition[state, action].float(), atol=2e-5, rtol=0)
            assert torch.equal(reward, mdp.reward[state, action][following.long()])
            assert torch.equal(terminated, following == 5)


def test_first_states_follow_the_initial_probability():
    mdp = random_mdp(6, 3, 0)
    found = frequencies(mdp.initial(fan(100_000)), 6)
    torch.testing.assert_close(found, mdp.initial_probability.float(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_noise_never_reach_what_has_probability_zero(dtype):
    # Ten probabilities of 0.1 sum to 1 - 1e-16 when added up; the largest number below 1 must not fall behind them.
    row = torch.tensor([0.0] + [0.1] * 10 + [0.0], dtype=torch.float64)
    terminal = torch.zeros(12, dtype=torch.bool)
    mdp = Tabular(row.expand(12, 1, 12), torch.zeros(12, 1), row, terminal)
    ends = torch.stack([torch.zeros((), dtype=dtype), 1 - torch.tensor(torch.finfo(dtype).eps / 2, dtype=dtype)])
    assert mdp.initial(ends).tolist() == [1, 10]
    following, _, _ = mdp.step(ends.new_zeros(2), torch.zeros(2, dtype=torch.int64), ends)
    assert following.tolist() == [1, 10]


def test_terminal_states_absorb_and_pay_nothing_whatever_the_tables_say():
    mdp = Tabular(
        transition=[[[0.0, 1.0]], [[1.0, 0.0]]],
        reward=[[3.0], [7.0]],
        initial_probability=[1.0, 0.0],
        terminal=[False, True],
    )
    state, action, noise = torch.tensor([0.0, 1.0]), torch.zeros(2, dtype=torch.int64), torch.rand(2)
    following, reward, terminated = mdp.step(state, action, noise)
    assert following.tolist() == [1, 1]
    assert reward.tolist() == [3, 0]
    assert terminated.tolist() == [True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 3, 4)])
def test_any_leading_axes_and_the_number_format_of_the_noise(dtype, leading):
    mdp = gridworld()
    noise = torch.full(leading, 0.3, dtype=dtype)
    state = mdp.initial(noise)
    following, reward, terminated = mdp.step(state, torch.ones(leading, dtype=torch.int64), noise)
    seen = mdp.observe(following)
    assert state.shape == following.shape == reward.shape == terminated.shape == leading
    assert seen.shape == (*leading, 11)
    assert state.dtype == following.dtype == reward.dtype == seen.dtype == dtype
    assert terminated.dtype == torch.bool
    assert torch.equal(seen.argmax(-1), following.long())  # one-hot
    assert torch.equal(seen.sum(-1), torch.ones(leading, dtype=dtype))


def test_observations_can_hide_the_state():
    aliased = dataclasses.replace(two_step(), observation=torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 0]]))
    assert aliased.spec.observation.size == 2
    seen = aliased.observe(torch.tensor([1.0, 2.0]))
    assert torch.equal(seen[0], seen[1])


def test_two_step_by_hand():
    mdp = two_step()
    state, action = torch.tensor([0.0, 0, 0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 0, 1, 0, 1])
    noise = torch.tensor([0.74, 0.76, 0.24, 0.26, 0.5, 0.5, 0.5, 0.5])
    following, reward, terminated = mdp.step(state, action, noise)
    assert following.tolist() == [1, 2, 1, 2, 3, 3, 3, 3]
    assert reward.tolist() == [1, 1, 0, 0, 1, 0, 0, 4]
    assert terminated.tolist() == [False] * 4 + [True] * 4


# --------------------------------------------------------------------------------------------------------- gridworld

#  0  1  2  3=G        the cells that are not walls, in the default map
#  4  #  5  6=P
#  7  8  9  10         7 = S
UP, RIGHT, DOWN, LEFT = range(4)


@pytest.mark.parametrize(
    ("state", "action", "following"),
    [
        (7, UP, 4),
        (7, RIGHT, 8),
        (7, DOWN, 7),
        (7, LEFT, 7),
        (4, RIGHT, 4),
        (8, UP, 8),
        (5, LEFT, 5),
        (2, RIGHT, 3),
        (5, RIGHT, 6),
    ],
)
def test_gridworld_moves_without_slipping(state, action, following):
    row = gridworld(slip=0.0).transition[state, action]
    assert row[following] == 1
    assert row.sum() == 1


def test_gridworld_slips_to_either_side():
    mdp = gridworld(slip=0.2)
    row = mdp.transition[9, UP]  # 5 above, 8 and 10 beside
    torch.testing.assert_close(row[[5, 8, 10]], torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64))
    corner = mdp.transition[7, LEFT]  # into the wall; up to 4; down is off the map
    torch.testing.assert_close(corner[[7, 4]], torch.tensor([0.9, 0.1], dtype=torch.float64))


def test_gridworld_pays_for_what_is_entered():
    mdp = gridworld(step_reward=-0.5, goal_reward=2.0, pit_reward=-3.0)
    assert mdp.reward[2, RIGHT, 3] == 1.5
    assert mdp.reward[5, RIGHT, 6] == -3.5
    assert mdp.reward[7, UP, 4] == -0.5
    assert mdp.terminal.nonzero().flatten().tolist() == [3, 6]
    assert mdp.initial_probability.argmax() == 7


def test_gridworld_maps_of_ones_own():
    layout = ("S#G", "S..")
    assert cells(layout) == ((0, 0), (0, 2), (1, 0), (1, 1), (1, 2))
    mdp = gridworld(layout)
    assert mdp.initial_probability.tolist() == [0.5, 0, 0.5, 0, 0]


# ------------------------------------------------------------------------------------------------------- random, names


def test_random_mdps_are_repeatable_and_differ():
    a, b, c = random_mdp(4, 2, 7), random_mdp(4, 2, 7), random_mdp(4, 2, 8)
    assert torch.equal(a.transition, b.transition)
    assert torch.equal(a.reward, b.reward)
    assert not torch.equal(a.transition, c.transition)


@pytest.mark.parametrize("name", ["gridworld", "two-step"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_made_by_name_and_rolled_out(name, dtype):
    env, rng = envs.make(name), Rng(range(3), dtype=dtype)
    record = episodes(env, policies.for_env(env, rng), rng, 4)
    assert record.reward.dtype == dtype
    last = record.valid.sum(1) - 1
    ended = (record.terminated | record.truncated).gather(1, last.unsqueeze(1))
    assert ended.all()
    assert last.max() < env.spec.time_limit


# -------------------------------------------------------------------------------------------------------- bad inputs

GOOD = {
    "transition": torch.full((2, 2, 2), 0.5),
    "reward": torch.zeros(2, 2),
    "initial_probability": torch.tensor([1.0, 0.0]),
    "terminal": torch.tensor([False, True]),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"transition": torch.full((2, 2), 0.5)}, r"transition has shape \(2, 2\).*\[states, actions, states\]"),
        ({"transition": torch.full((2, 2, 2), 0.6)}, r"transition\[state, action\] at \[0, 0\] is \[0.6, 0.6\], sum 1.2"),
        ({"transition": torch.tensor([1.5, -0.5]).expand(2, 2, 2)}, "1.5, -0.5.*>= 0 and sum to 1"),
        ({"transition": torch.full((2, 2, 2), math.nan)}, "sum nan"),
        ({"reward": torch.zeros(2, 3)}, r"reward has shape.*\[2, 2\] or \[2, 2, 2\]"),
        ({"reward": torch.full((2, 2), math.inf)}, "not finite"),
        ({"initial_probability": torch.tensor([0.5, 0.4])}, "initial_probability is .* sum 0.9"),
        ({"initial_probability": torch.tensor([1.0])}, r"initial_probability has shape \(1,\).*\[2\]"),
        ({"initial_probability": torch.tensor([0.5, 0.5])}, "terminal state 1; episodes cannot start"),
        ({"terminal": torch.tensor([0.0, 1.0])}, "terminal is torch.float32"),
        ({"observation": torch.eye(3)}, r"observation has shape \(3, 3\).*\[2, features\]"),
        ({"observation": torch.full((2, 1), math.nan)}, "not finite"),
        ({"actions": ("left",)}, "actions names 1 of 2"),
        ({"time_limit": 0}, "time_limit is 0"),
    ],
)
def test_tables_that_do_not_fit_are_refused(wrong, message):
    Tabular(**GOOD)
    with pytest.raises(ValueError, match=message):
        Tabular(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": ("S.X",)}, r"the layout has \['X'\]"),
        ({"layout": ("S..", "G")}, r"lengths \[3, 1\]"),
        ({"layout": ("..G",)}, "no start"),
        ({"slip": 1.5}, "slip is 1.5"),
    ],
)
def test_gridworlds_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gridworld(**arguments)


def test_random_mdps_need_two_states():
    with pytest.raises(ValueError, match="1 states and 2 actions"):
        random_mdp(1, 2, 0)


def test_rounded_tables_become_probabilities():
    row = torch.tensor([0.7, 0.2, 0.1])  # in float32 their sum is not 1
    mdp = Tabular(row.expand(3, 1, 3), torch.zeros(3, 1), row, torch.zeros(3, dtype=torch.bool))
    assert (row.double().sum() - 1).abs() > 1e-9
    assert (mdp.transition.sum(-1) - 1).abs().max() < 1e-15
    assert (mdp.initial_probability.sum() - 1).abs() < 1e-15


def test_the_aliased_gridworld_shows_the_ways_out_and_nothing_else():
    world = aliased_gridworld()
    assert world.observation.argmax(-1).tolist() == [0, 1, 2, 1, 3, 4, 4, 4]  # five cells, then pit, treasure, pit
    assert torch.equal(world.observation.sum(-1), torch.ones(8, dtype=torch.float64))
    assert world.initial_probability.tolist() == [0.25, 0.25, 0, 0.25, 0.25, 0, 0, 0]
    assert world.reward[2, 2, 6] == 1
    assert world.reward[0, 2, 5] == world.reward[4, 2, 7] == -1
    assert torch.equal(world.transition, gridworld(("SS.SS", "P#G#P"), slip=0).transition)
    grid = aliased_gridworld(("...G", ".#.P", "S..."), slip=0.2)
    assert grid.observation.argmax(-1).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 1, 8, 9]  # above and below the wall: right and left
    torch.testing.assert_close(grid.transition, gridworld().transition)
