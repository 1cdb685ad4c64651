"""Rock, paper, scissors: the opponent's rule, played out."""

from collections import Counter

import pytest
import torch

from pgcourse import envs, policies
from pgcourse.envs.games import MOVES, rock_paper_scissors
from pgcourse.rng import Rng
from pgcourse.rollout import episodes


def test_the_opponent_beats_the_move_made_most_often():
    """400 games of 9 rounds by random policies, against the rule written out on the record of moves."""
    game = rock_paper_scissors(9)
    policy = policies.for_env(game, Rng(range(4)))
    record = episodes(game, policy, Rng(range(4), stream=1), 100)
    for moves, paid in zip(record.action.mT.reshape(-1, 9).tolist(), record.reward.mT.reshape(-1, 9).tolist(), strict=True):
        for t in range(9):
            made = Counter(moves[:t])
            expected = [move for move in range(3) if made[move] == max(made.values(), default=0)]
            possible = {{0: 0.0, 1: 1.0, 2: -1.0}[(moves[t] - (move + 1)) % 3] for move in expected}
            assert paid[t] in possible


def test_a_tie_is_broken_with_equal_probabilities():
    """Three replies at the beginning; two after rock and paper; one after rock."""
    game = rock_paper_scissors(3)
    assert game.initial_probability[:3].tolist() == [1 / 3] * 3
    after_rock = game.transition[0, MOVES.index("rock")]
    assert after_rock.max() == 1
    after_both = game.transition[after_rock.argmax(), MOVES.index("paper")]
    assert sorted(after_both[after_both > 0].tolist()) == [0.5, 0.5]


def test_the_policy_sees_the_number_one():
    game = envs.make("rock-paper-scissors")
    assert game.observation.unique().tolist() == [1]
    assert game.spec.action.meaning == MOVES
    assert game.spec.time_limit == 10


@pytest.mark.parametrize("action", range(3))
def test_what_beats_what(action):
    """Against each of the three first moves: a draw, a win, a loss."""
    game = rock_paper_scissors(1)
    first = torch.arange(3, dtype=torch.float64)
    _, paid, _ = game.step(first, torch.full((3,), action), torch.zeros(3, dtype=torch.float64))
    assert paid[action] == 0
    assert paid[(action - 1) % 3] == 1
    assert paid[(action + 1) % 3] == -1


def test_a_game_has_rounds():
    with pytest.raises(ValueError, match="rounds is 0"):
        rock_paper_scissors(0)
