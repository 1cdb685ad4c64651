"""Markov decision processes small enough to write down: every probability is in a table, so everything can be computed.

``pgcourse.exact`` computes it: values, visitations, the objective and its gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..rng import Noise
from .base import Box, Discrete, Env, Spec

ACTIONS = ("up", "right", "down", "left")
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # row, column
_ONE_HOT = torch.empty(0)  # stands for the identity matrix until the number of states is known


@dataclass(frozen=True, eq=False)
class Tabular(Env):
    """An enumerable MDP with S states and A actions, given by its tables.

    Fields: ``transition`` [S, A, S], p(s' | s, a); ``reward`` [S, A, S], r(s, a, s'), or [S, A] where the next state
    does not matter; ``initial_probability`` [S], p(s_0); ``terminal`` [S], true where an episode ends; ``time_limit``,
    steps after which it is cut off, None for never; ``observation`` [S, O], what the policy sees of each state, one-hot
    if not given; ``actions``, their names. Lists and arrays will do as well; tables are kept in float64.

    Terminal states absorb and pay nothing, whatever the tables given say of them. A step draws s' from one uniform
    number by inverting the cumulative probability. A state is a whole number, kept in the noise's number format: so
    observations and rewards have it too.

    Raises ValueError for shapes that do not fit, probabilities that are negative or do not sum to one, numbers that are
    not finite, episodes that would start in a terminal state, a time limit below 1.
    """

    transition: Tensor
    reward: Tensor
    initial_probability: Tensor
    terminal: Tensor
    time_limit: int | None = None
    observation: Tensor = _ONE_HOT
    actions: tuple[str, ...] = ()
    name: str = "tabular"

    def __post_init__(self):
        transition, reward, initial = map(_table, (self.transition, self.reward, self.initial_probability))
        terminal = torch.as_tensor(self.terminal, device=transition.device)
        observation = _table(torch.eye(len(transition)) if self.observation is _ONE_HOT else self.observation)
        if reward.dim() == 2:
            reward = reward.unsqueeze(-1).expand(*reward.shape, len(reward))
        _check_shapes(transition, reward, initial, terminal, observation, self.actions)
        _check_probabilities("transition[state, action]", transition)
        _check_probabilities("initial_probability", initial)
        if not (torch.isfinite(reward).all() and torch.isfinite(observation).all()):
            raise ValueError("reward or observation has an entry that is not finite; every one must be a number.")
        if (initial * terminal).any():
            raise ValueError(
                f"initial_probability is positive in terminal state {_first(initial * terminal)}; episodes cannot start "
                "where they end: let them start elsewhere."
            )
        if self.time_limit is not None and self.time_limit < 1:
            raise ValueError(f"time_limit is {self.time_limit}; it can be a whole number of steps >= 1, or None for no limit.")
        # Rounded tables, float32's say, become probabilities in float64: what is sampled is then what is computed with.
        transition, initial = transition / transition.sum(-1, keepdim=True), initial / initial.sum()
        absorbed = torch.eye(len(transition), dtype=transition.dtype, device=transition.device)
        transition = torch.where(terminal[:, None, None], absorbed[:, None, :], transition)
        reward = torch.where(terminal[:, None, None], 0.0, reward)
        _set(self, transition=transition, reward=reward, initial_probability=initial)
        _set(self, terminal=terminal, observation=observation)

    @cached_property
    def spec(self) -> Spec:
        return Spec(
            name=self.name,
            observation=Box(self.observation.shape[1]),
            action=Discrete(self.transition.shape[1], self.actions),
            time_limit=self.time_limit,
            state_shape=(),
            initial_noise=Noise("uniform"),
            step_noise=Noise("uniform"),
        )

    def initial(self, noise: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """s_0 with probability ``initial_probability``, from uniform numbers."""
        return _invert(self._initial_cumulative.to(noise.device), noise).to(noise.dtype)

    def step(
        self, state: Float[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """s' with probability p(s' | s, a), from uniform numbers; r(s, a, s'); whether s' is terminal."""
        here = state.long()
        following = _invert(self._cumulative.to(state.device)[here, action], noise)
        reward = self.reward.to(state.device)[here, action, following].to(noise.dtype)
        return following.to(noise.dtype), reward, self.terminal.to(state.device)[following]

    def observe(self, state: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch O"]:
        """The observation's row for each state."""
        return self.observation.to(state)[state.long()]

    def to(self, device: str | torch.device) -> "Tabular":
        """The same MDP with its tables on ``device``. Not needed, but it saves copying them at each step."""
        tables = ("transition", "reward", "initial_probability", "terminal", "observation")
        return replace(self, **{table: getattr(self, table).to(device) for table in tables})

    @cached_property
    def _cumulative(self) -> Tensor:
        return _cumulative(self.transition)

    @cached_property
    def _initial_cumulative(self) -> Tensor:
        return _cumulative(self.initial_probability)


def _cumulative(probability: Tensor) -> Tensor:
    # Dividing makes the last one exactly 1: rounding must not leave a gap that a uniform number could fall into.
    total = probability.detach().cumsum(-1)
    return total / total[..., -1:]


def _invert(cumulative: Tensor, noise: Tensor) -> Tensor:
    """The first index whose cumulative probability exceeds the noise: never one of probability zero."""
    return (cumulative <= noise.unsqueeze(-1)).sum(-1)


def _table(values) -> Tensor:
    # as_tensor alone would read Python numbers in float32 and lose their digits
    return values.to(torch.float64) if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)


def _set(frozen, **values):
    for field, value in values.items():
        object.__setattr__(frozen, field, value)


def _first(condition: Tensor):
    """Where the condition first holds: an index for a message."""
    where = condition.nonzero()[0].tolist()
    return where[0] if len(where) == 1 else where


def _check_shapes(transition, reward, initial, terminal, observation, actions):
    if transition.dim() != 3 or transition.shape[0] != transition.shape[2] or 0 in transition.shape:
        raise ValueError(f"transition has shape {tuple(transition.shape)}; it must be [states, actions, states], p(s' | s, a).")
    states, actions_, _ = transition.shape
    if reward.shape != transition.shape:
        raise ValueError(
            f"reward has shape {tuple(reward.shape)}; with {states} states and {actions_} actions it can be "
            f"[{states}, {actions_}] or [{states}, {actions_}, {states}]."
        )
    if initial.shape != (states,):
        raise ValueError(f"initial_probability has shape {tuple(initial.shape)}; it must be [{states}], one per state.")
    if terminal.shape != (states,) or terminal.dtype != torch.bool:
        raise ValueError(
            f"terminal is {terminal.dtype} of shape {tuple(terminal.shape)}; it must be [{states}], true or false for each "
            "state."
        )
    if observation.dim() != 2 or len(observation) != states:
        raise ValueError(
            f"observation has shape {tuple(observation.shape)}; it must be [{states}, features], one row per state."
        )
    if actions and len(actions) != actions_:
        raise ValueError(f"actions names {len(actions)} of {actions_} actions; name each one, or leave it empty.")


def _check_probabilities(what: str, probability: Tensor):
    total = probability.sum(-1)
    wrong = ~((total - 1).abs() < 1e-6) | ~(probability >= 0).all(-1)  # written so that NaN is wrong too
    if wrong.any():
        where = f" at {_first(wrong)}" if wrong.dim() else ""
        row = probability[wrong][0] if wrong.dim() else probability
        raise ValueError(
            f"{what}{where} is {[round(p, 6) for p in row.tolist()]}, sum {row.sum().item():.6g}; "
            "probabilities must be >= 0 and sum to 1."
        )


def cells(layout: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The gridworld's states as (row, column): every cell that is not a wall, row by row."""
    return tuple((row, column) for row, line in enumerate(layout) for column, cell in enumerate(line) if cell != "#")


def gridworld(
    layout: Sequence[str] = ("...G", ".#.P", "S..."),
    *,
    slip: float = 0.2,
    step_reward: float = -0.04,
    goal_reward: float = 1.0,
    pit_reward: float = -1.0,
    time_limit: int | None = 50,
) -> Tabular:
    """A grid to walk on; with its default map, the 4 x 3 world of Russell & Norvig.

    ``layout``: one string per row; ``S`` start (several: each as likely), ``G`` goal, ``P`` pit, ``#`` wall, ``.``
    floor. The four actions are up, right, down, left; with probability ``slip`` the step goes to one of the two sides
    instead (each with half of it); into a wall or off the map one stays where one is. Each step pays ``step_reward``;
    entering a goal or a pit pays its reward on top and ends the episode. States are the cells that are not walls, row
    by row: ``cells(layout)``.

    Raises ValueError for an unknown letter, rows of different lengths, no start, a slip outside [0, 1].
    Source: Russell & Norvig, Artificial Intelligence, section 17.1 (there the slip is 0.2, the step reward -0.04).
    """
    _check_layout(layout, slip)
    index = {cell: state for state, cell in enumerate(cells(layout))}
    letter = [layout[row][column] for row, column in index]
    transition = np.zeros((len(index), 4, len(index)))
    for (row, column), state in index.items():
        for action in range(4):
            for turn, probability in ((0, 1 - slip), (1, slip / 2), (-1, slip / 2)):
                down, right = _MOVES[(action + turn) % 4]
                transition[state, action, index.get((row + down, column + right), state)] += probability
    entering = np.array([{"G": goal_reward, "P": pit_reward}.get(cell, 0.0) for cell in letter])
    start = np.array([cell == "S" for cell in letter], float)
    return Tabular(
        transition=torch.from_numpy(transition),
        reward=torch.from_numpy(step_reward + entering).expand(transition.shape),
        initial_probability=torch.from_numpy(start / start.sum()),
        terminal=torch.tensor([cell in "GP" for cell in letter]),
        time_limit=time_limit,
        actions=ACTIONS,
        name="gridworld",
    )


def _check_layout(layout: Sequence[str], slip: float):
    unknown = sorted(set("".join(layout)) - set("SGP#."))
    if unknown:
        raise ValueError(f"the layout has {unknown}; its letters can be S (start), G (goal), P (pit), # (wall) and . (floor).")
    if len({len(row) for row in layout}) != 1:
        raise ValueError(
            f"the layout's rows have lengths {[len(row) for row in layout]}; make them all the same, fill with '#'."
        )
    if not any("S" in row for row in layout):
        raise ValueError("the layout has no start; put at least one S into it.")
    if not 0 <= slip <= 1:
        raise ValueError(f"slip is {slip}; it is a probability, in [0, 1].")


def aliased_gridworld(
    layout: Sequence[str] = ("SS.SS", "P#G#P"), *, slip: float = 0.0, step_reward: float = 0.0, time_limit: int | None = 50
) -> Tabular:
    """A gridworld whose walker sees only which of the four ways out of its cell are open: cells that look alike are one to it.

    By default a corridor of five cells with a treasure (1) below the middle and a pit (-1) below either end. From the second
    and from the fourth cell the ways on are right and left, so they look alike, and the treasure lies to the right of the one
    and to the left of the other. Looks are numbered in the order in which they first occur, row by row, and observed one-hot:
    left end 0, second and fourth cell 1, middle 2, right end 3 (and 4 for the cells in which it is over). The other
    arguments, and what is raised, as for ``gridworld``.

    Source: the aliased gridworld of David Silver's lectures on reinforcement learning (2015), lecture 7.
    """
    seen = gridworld(layout, slip=slip, step_reward=step_reward, time_limit=time_limit)
    index = set(cells(layout))
    ways = [tuple((row + down, column + right) in index for down, right in _MOVES) for row, column in cells(layout)]
    looks = {way: look for look, way in enumerate(dict.fromkeys(ways))}
    observation = torch.eye(len(looks), dtype=torch.float64)[[looks[way] for way in ways]]
    return replace(seen, observation=observation, name="aliased-gridworld")


def two_step(time_limit: int | None = 2) -> Tabular:
    """Two decisions, eight trajectories: small enough to do by hand.

    From state 0, action 0 pays 1 and goes to state 1 with probability 3/4, else to state 2; action 1 pays nothing and
    goes to state 2 with probability 3/4, else to state 1. In state 1 the actions pay 1 and 0, in state 2 they pay 0 and
    4; then the episode is over (state 3). For one who ends well, what pays at once is the worse beginning: 2.75 < 3.25.
    """
    transition = torch.zeros(4, 2, 4)
    transition[0] = torch.tensor([[0, 0.75, 0.25, 0], [0, 0.25, 0.75, 0]])
    transition[1:, :, 3] = 1
    return Tabular(
        transition=transition,
        reward=torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 4.0], [0.0, 0.0]]),
        initial_probability=torch.tensor([1.0, 0.0, 0.0, 0.0]),
        terminal=torch.tensor([False, False, False, True]),
        time_limit=time_limit,
        name="two-step",
    )


def random_mdp(states: int, actions: int, seed: int, *, time_limit: int | None = 10) -> Tabular:
    """An MDP at random: what should hold for any MDP can be tried on it.

    p(. | s, a) and p(s_0) are uniform on the simplex, rewards r(s, a, s') standard normal; the last state is terminal.
    """
    if states < 2 or actions < 1:
        raise ValueError(
            f"there are {states} states and {actions} actions; give >= 2 states (the last one ends) and >= 1 action."
        )
    generator = np.random.default_rng(seed)
    return Tabular(
        transition=torch.from_numpy(generator.dirichlet(np.ones(states), (states, actions))),
        reward=torch.from_numpy(generator.standard_normal((states, actions, states))),
        initial_probability=torch.from_numpy(np.append(generator.dirichlet(np.ones(states - 1)), 0.0)),
        terminal=torch.arange(states) == states - 1,
        time_limit=time_limit,
        name=f"random-{states}x{actions}",
    )
