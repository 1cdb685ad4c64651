"""Games against an opponent whose every move follows from a rule: as enumerable as any other MDP."""

import torch

from .tabular import Tabular

MOVES = ("rock", "paper", "scissors")
"""Each beats the one before it, and rock beats scissors."""


def rock_paper_scissors(rounds: int = 10) -> Tabular:
    """``rounds`` rounds of rock, paper, scissors against an opponent who counts. A round pays 1 if won, -1 if lost, else 0.

    The opponent expects the move you have made most often (of several, each with the same probability) and makes up its mind
    to beat it. Your counts, each less the smallest, and its next move are the state; the policy sees nothing of it: the
    observation is the number 1. So a policy is three probabilities p, and J(p) <= 0: when move i is the one expected, a round
    pays p_{i-1} - p_i on average, and the likelier a move is, the likelier it is expected. Only the uniform policy has J = 0.
    One who sees the state wins every round.

    Raises ValueError for less than one round. There are states for ``rounds`` rounds: do not raise the time limit.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; a game has at least one.")
    index = {(0, 0, 0, reply): reply for reply in range(3)}  # three counts, and the move the opponent will make
    frontier = list(index)
    moves = {}  # (state, action) -> the states that follow, each as likely
    for _ in range(rounds):
        reached = {}
        for state in frontier:
            for action in range(3):
                moves[state, action] = following = _following(state[:3], action)
                reached |= dict.fromkeys(following)
        frontier = [state for state in reached if state not in index]
        index |= {state: len(index) + n for n, state in enumerate(frontier)}
    transition = torch.eye(len(index), dtype=torch.float64)[:, None].repeat(1, 3, 1)  # after the last round nothing moves
    for (state, action), following in moves.items():
        transition[index[state], action] = 0
        transition[index[state], action, [index[each] for each in following]] = 1 / len(following)
    reply = torch.tensor([state[3] for state in index])
    won = (torch.arange(3) - reply[:, None]) % 3  # 0 a draw, 1 won, 2 lost
    return Tabular(
        transition=transition,
        reward=torch.tensor([0.0, 1.0, -1.0])[won],
        initial_probability=(torch.arange(len(index)) < 3) / 3,
        terminal=torch.zeros(len(index), dtype=torch.bool),
        time_limit=rounds,
        observation=torch.ones(len(index), 1),
        actions=MOVES,
        name="rock-paper-scissors",
    )


def _following(counts: tuple[int, ...], action: int) -> list[tuple[int, ...]]:
    """The states after a move: the counts it leads to, with every move that the opponent may then make."""
    more = [count + (move == action) for move, count in enumerate(counts)]
    least, most = min(more), max(more)
    return [(*(count - least for count in more), (move + 1) % 3) for move in range(3) if more[move] == most]
