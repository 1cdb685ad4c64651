"""The truth, where it can be computed: oracles that lectures compare with, tests rest on and checks judge by.

Everything is computed in float64 (expectations: in the number format of their distribution) and is differentiable. A policy
is a module on the MDP's observations, with its replica axis in front, or the probabilities themselves, [..., S, A].

Throughout, J = E[sum_{t=0}^{T-1} discount^t r_t], where T is the time limit or the time of termination, whichever is first.
With a time limit, what is left to come depends on the time: values and visitations then have a time axis, [..., T, S].
Without one they do not, and come out of a linear system. ``dataclasses.replace(mdp, time_limit=...)`` changes it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from . import distributions
from .envs.lqr import LQR
from .envs.tabular import Tabular
from .gradients import Expectation, per_replica

Policy = torch.nn.Module | Tensor

# ---------------------------------------------------------------------------------------------------- enumerable MDPs


def action_probabilities(mdp: Tabular, policy: Policy) -> Float[Tensor, "*R S A"]:
    """pi(a | s) for every state: the policy's, on the MDP's observations, or the tensor itself, checked.

    Raises TypeError for a policy that is not categorical, ValueError for a tensor that does not fit or is no probability.
    """
    states, actions, _ = mdp.transition.shape
    if isinstance(policy, Tensor):
        probability = policy.to(torch.float64)
    else:
        parameter = next(policy.parameters())
        law = policy(mdp.observation.to(parameter).expand(len(parameter), -1, -1))
        if not isinstance(law, distributions.Categorical):
            raise TypeError(f"the policy gives {type(law).__name__}; an enumerable MDP needs a Categorical one.")
        probability = law.logits.to(torch.float64).softmax(-1)
    if probability.shape[-2:] != (states, actions):
        raise ValueError(
            f"the policy's probabilities have shape {tuple(probability.shape)}; {mdp.name} has {states} states and {actions} "
            f"actions, so it must be [..., {states}, {actions}]."
        )
    if not ((probability.sum(-1) - 1).abs() < 1e-5).all() or not (probability >= 0).all():
        raise ValueError("the policy's probabilities are negative or do not sum to 1 over the last axis; normalise them.")
    return probability


def action_value(mdp: Tabular, policy: Policy, discount: float = 1.0) -> Float[Tensor, "*RT S A"]:
    """Q(s, a) = r(s, a) + discount sum_s' p(s' | s, a) V(s'), with r(s, a) = sum_s' p(s' | s, a) r(s, a, s').

    [..., T, S, A] with a time limit, where V on the right is V_{t+1} and V_T = 0; [..., S, A] without one. Terminal states
    have value zero. Raises ValueError for a discount outside [0, 1], and for discount 1 without a time limit where an episode
    may never end.
    """
    _check_discount(discount)
    probability = action_probabilities(mdp, policy)
    transition = mdp.transition.to(probability.device)
    reward = (transition * mdp.reward.to(probability.device)).sum(-1)

    def backup(value):
        return reward + discount * torch.einsum("ijk,...k->...ij", transition, value)

    if mdp.time_limit is None:
        moves = _running_moves(mdp, probability, discount)
        identity = torch.eye(len(reward), dtype=torch.float64, device=reward.device)
        earned = (probability * reward).sum(-1)
        return backup(torch.linalg.solve(identity - discount * moves, earned))
    value = torch.zeros_like(probability[..., 0])
    backward = []
    for _ in range(mdp.time_limit):
        backward.append(backup(value))
        value = (probability * backward[-1]).sum(-1)
    return torch.stack(backward[::-1], -3)


def state_value(mdp: Tabular, policy: Policy, discount: float = 1.0) -> Float[Tensor, "*RT S"]:
    """V(s) = sum_a pi(a | s) Q(s, a), [..., T, S] with a time limit, [..., S] without. See ``action_value``."""
    probability = action_probabilities(mdp, policy)
    return (_over_time(mdp, probability) * action_value(mdp, probability, discount)).sum(-1)


def advantage(mdp: Tabular, policy: Policy, discount: float = 1.0) -> Float[Tensor, "*RT S A"]:
    """A(s, a) = Q(s, a) - V(s), [..., T, S, A] with a time limit, [..., S, A] without. See ``action_value``."""
    probability = action_probabilities(mdp, policy)
    value = action_value(mdp, probability, discount)
    return value - (_over_time(mdp, probability) * value).sum(-1, keepdim=True)


def advantage_estimate(
    mdp: Tabular,
    policy: Policy,
    value: Float[Tensor, "*R S"],
    discount: float,
    trace_decay: float = 1.0,
    steps: int | None = None,
) -> tuple[Float[Tensor, "*R S A"], Float[Tensor, "*R S A"]]:
    """Mean and variance, after a in s, of the advantage estimated with a critic ``value``, right or wrong:

        sum_{k < steps} (discount trace_decay)^k delta_k,    delta_k = r_k + discount value(s_{k+1}) - value(s_k)

    without ``steps`` to the end of the episode: GAE. ``trace_decay=1`` with ``steps=n`` is the n-step return minus value(s);
    value counts 0 in terminal states. For MDPs without a time limit. From D = delta + c D', with c = discount trace_decay and
    D' of the next step, both moments have a recursion: E[D] = E[delta + c E[D']], E[D^2] = E[delta^2 + 2 c delta E[D'] + c^2
    E[D'^2]]. Raises ValueError for an MDP with a time limit, a discount or trace_decay outside [0, 1] and, where c = 1, an
    episode that may never end. Source: lecture 07.
    """
    if mdp.time_limit is not None:
        raise ValueError(
            f"{mdp.name} has a time limit; a value that does not see the time needs replace(mdp, time_limit=None)."
        )
    _check_discount(discount)
    if not 0 <= trace_decay <= 1:
        raise ValueError(f"trace_decay is {trace_decay}; lambda must lie in [0, 1].")
    probability, decay = action_probabilities(mdp, policy), discount * trace_decay
    running = ~mdp.terminal.to(probability.device)
    transition, value = mdp.transition.to(probability.device), value * running
    delta = mdp.reward.to(probability.device) + discount * value[..., None, None, :] - value[..., :, None, None]  # [S, A, S']

    def backup(now, factor, following):
        """sum_s' p(s' | s, a) (now + factor following(s')), where nothing follows an end."""
        return (transition * (now + factor * (following * running)[..., None, None, :])).sum(-1)

    def fixed(now, factor):
        """What comes of backing up for ever, [..., S, A]."""
        here = (probability * backup(now, 0.0, torch.zeros_like(value))).sum(-1)
        moves = factor * _running_moves(mdp, probability, factor)
        ahead = torch.linalg.solve(torch.eye(len(running), dtype=moves.dtype, device=moves.device) - moves, here)
        return backup(now, factor, ahead)

    def twice(mean):
        """delta^2 + 2 c delta E[D'], the part of D^2 that is not c^2 D'^2."""
        return delta.square() + 2 * decay * delta * ((probability * mean).sum(-1) * running)[..., None, None, :]

    if steps is None:
        mean = fixed(delta, decay)
        square = fixed(twice(mean), decay**2)
    else:
        mean = square = torch.zeros_like(probability)
        for _ in range(steps):
            ahead = (probability * square).sum(-1)
            square = backup(twice(mean), decay**2, ahead)
            mean = backup(delta, decay, (probability * mean).sum(-1))
    return mean, square - mean.square()


def visitation(mdp: Tabular, policy: Policy, discount: float = 1.0) -> Float[Tensor, "*RT S"]:
    """How much each state counts: discount^t P(s_t = s), for t < T; the sum of that over all t without a time limit.

    [..., T, S] or [..., S]; terminal states count zero, because nothing is decided there. Not normalised: with discount 1
    its sum is the expected length of an episode, and the gradient of J is sum_{t,s} visitation sum_a Q grad pi. Raises
    ValueError as ``action_value``.
    """
    _check_discount(discount)
    probability = action_probabilities(mdp, policy)
    moves = discount * _running_moves(mdp, probability, discount)
    start = mdp.initial_probability.to(moves.device).expand(moves.shape[:-1])
    if mdp.time_limit is None:
        identity = torch.eye(moves.shape[-1], dtype=moves.dtype, device=moves.device)
        return torch.linalg.solve(identity - moves.mT, start)
    forward = [start]
    for _ in range(mdp.time_limit - 1):
        forward.append(torch.einsum("...i,...ij->...j", forward[-1], moves))
    return torch.stack(forward, -2)


def expected_return(mdp: Tabular, policy: Policy, discount: float = 1.0) -> Float[Tensor, "*R"]:
    """J = E[sum_{t<T} discount^t r_t] = sum_s p(s_0 = s) V_0(s), [...]. Raises ValueError as ``action_value``."""
    value = state_value(mdp, policy, discount)
    if mdp.time_limit is not None:
        value = value[..., 0, :]
    return (mdp.initial_probability.to(value.device) * value).sum(-1)


def policy_gradient(mdp: Tabular, policy: torch.nn.Module, discount: float = 1.0) -> Float[Tensor, "R P"]:
    """grad J of each replica, flat, in the order of ``policy.parameters()``, as ``gradients.score_function`` estimates it."""
    return per_replica(expected_return(mdp, policy, discount), policy)


def fisher(mdp: Tabular, policy: torch.nn.Module, discount: float = 1.0) -> Float[Tensor, "R P P"]:
    """The Fisher matrix of each replica's policy, every state and action listed, with d(s) the visitation made to sum to 1:

        F = sum_s d(s) sum_a pi(a | s) grad log pi(a | s) grad log pi(a | s)^T

    Parameters are flat, in the order of ``policy.parameters()``. ``gradients.fisher_vector_product`` multiplies with it without
    forming it. Raises as ``visitation``. Source: lecture 09, (9.9).
    """
    probability = action_probabilities(mdp, policy)
    weight = (state_weight(mdp, probability, discount).unsqueeze(-1) * probability).detach().flatten(1)  # [R, S A]
    parameters = list(policy.parameters())
    total = torch.zeros((), dtype=torch.float64)
    for each, log_probability in zip(weight.unbind(1), probability.log().flatten(1).unbind(1), strict=True):
        parts = torch.autograd.grad(log_probability.sum(), parameters, retain_graph=True)
        score = torch.cat([part.flatten(1) for part in parts], 1).to(torch.float64)  # [R, P]
        total = total + torch.einsum("r,rp,rq->rpq", each, score, score)
    return total


def state_weight(mdp: Tabular, policy: Policy, discount: float = 1.0) -> Float[Tensor, "*R S"]:
    """``visitation`` over all times together, made to sum to 1: how often a state occurs among those one decides in."""
    visits = visitation(mdp, policy, discount)
    visits = visits if mdp.time_limit is None else visits.sum(-2)
    return visits / visits.sum(-1, keepdim=True)


def on_observations(mdp: Tabular, table: Float[Tensor, "*R O A"]) -> Float[Tensor, "*R S A"]:
    """What a table with one row of action probabilities for each observation does in each state: states that look alike share
    a row, pi(a | s) = table[o(s), a].

    The result is a policy for every function here, and differentiable in the table. Raises ValueError for an MDP whose
    observations are not one-hot (a policy module takes any), and for a table that does not have their number of rows.
    """
    seen = mdp.observation.to(table)
    if not torch.equal(seen, torch.nn.functional.one_hot(seen.argmax(-1), seen.shape[1]).to(seen)):
        raise ValueError(f"the observations of {mdp.name} are not one-hot, so no row of a table belongs to them; use a module.")
    observations, actions = seen.shape[1], mdp.transition.shape[1]
    if table.shape[-2:] != (observations, actions):
        raise ValueError(
            f"the table has shape {tuple(table.shape)}; {mdp.name} has {observations} observations and {actions} actions, so "
            f"it must be [..., {observations}, {actions}]."
        )
    return seen @ table


def best_deterministic(mdp: Tabular, discount: float = 1.0, *, limit: int = 100_000) -> tuple[Float[Tensor, "O A"], Tensor]:
    """The best of all policies that always do the same on the same observation, [O, A] of zeros and ones, and its J.

    All A^n of them are tried, n being the observations at which something is decided; of equals the first one wins. Raises
    ValueError for more than ``limit`` of them, and as ``on_observations`` and ``expected_return``.
    """
    observations, actions = mdp.observation.shape[1], mdp.transition.shape[1]
    decided = (mdp.observation[~mdp.terminal] > 0).any(0).nonzero().flatten()
    count = actions ** len(decided)
    if count > limit:
        raise ValueError(f"{mdp.name} has {count} deterministic policies, more than limit = {limit}; raise it, or search.")
    best, best_return = torch.zeros(0), torch.tensor(-torch.inf)
    for numbers in torch.arange(count).split(1024):
        choice = torch.zeros(len(numbers), observations, dtype=torch.int64)
        choice[:, decided] = numbers[:, None] // actions ** torch.arange(len(decided)) % actions
        tables = torch.nn.functional.one_hot(choice, actions).to(mdp.transition)
        value = expected_return(mdp, on_observations(mdp, tables), discount)
        if value.max() > best_return:
            best, best_return = tables[value.argmax()], value.max()
    return best, best_return


def best_between(
    mdp: Tabular, first: Float[Tensor, "O A"], second: Float[Tensor, "O A"], discount: float = 1.0
) -> tuple[float, Tensor]:
    """The q in [0, 1] for which the table (1 - q) first + q second, drawn from at every step, has the largest J; and that J.

    By bisection of dJ/dq, so to rounding, but only where J has a single peak between the two: as in the aliased gridworld,
    where J is concave in the probability of going right in the cells that look alike (lecture 01). Raises ValueError as
    ``on_observations`` and ``expected_return``.
    """

    def objective(q: Tensor) -> Tensor:
        return expected_return(mdp, on_observations(mdp, (1 - q) * first + q * second), discount)

    low, high = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for _ in range(60):
        middle = ((low + high) / 2).requires_grad_()
        (slope,) = torch.autograd.grad(objective(middle), middle)
        low, high = (middle.detach(), high) if slope > 0 else (low, middle.detach())
    q = (low + high) / 2
    return float(q), objective(q)


@dataclass(frozen=True)
class Trajectories:
    """All N trajectories an MDP can take, side by side on the env axis.

    A trajectory that ends before T stays where it ended, with action 0, reward 0 and valid false. Probabilities are the
    policy's, all else does not depend on it.
    """

    probability: Float[Tensor, "*R N"]
    """p(tau) = p(s_0) prod_t pi(a_t | s_t) p(s_{t+1} | s_t, a_t)"""
    state: Int[Tensor, "T_plus_1 N"]
    action: Int[Tensor, "T N"]
    reward: Float[Tensor, "T N"]
    valid: Bool[Tensor, "T N"]


def trajectories(mdp: Tabular, policy: Policy, horizon: int | None = None, *, limit: int = 100_000) -> Trajectories:
    """Every trajectory that the dynamics allow, up to the time limit or a shorter ``horizon``, with its probability.

    The expectation of anything is then a sum: J = (probability * returns.discounted(reward, discount)).sum(-1).

    Raises ValueError where there is neither a time limit nor a horizon, and where there are more than ``limit`` trajectories
    (they are counted first).
    """
    probability = action_probabilities(mdp, policy)
    horizons = [steps for steps in (horizon, mdp.time_limit) if steps is not None]
    if not horizons or min(horizons) < 1:
        raise ValueError(
            f"horizon is {horizon} and the time limit of {mdp.name} is {mdp.time_limit}; at least one must be a number of "
            "steps, >= 1: say up to where to enumerate."
        )
    possible = (mdp.transition > 0).to(probability.device)
    possible[mdp.terminal.to(probability.device), 1:] = False  # after the end, one way to go on: action 0, stay
    start = mdp.initial_probability.to(probability.device).nonzero().T
    count = _count(possible, start[0], min(horizons))
    if count > limit:
        amount = str(count) if count < 10**12 else f"about 10^{math.log10(count):.0f}"
        raise ValueError(
            f"{mdp.name} has {amount} trajectories of {min(horizons)} steps, more than limit = {limit}; "
            "shorten the horizon, take a smaller MDP, or raise the limit."
        )
    state, action = start, start[:0]
    for _ in range(min(horizons)):
        parent, choice, following = possible[state[-1]].nonzero(as_tuple=True)
        state = torch.cat([state[:, parent], following[None]])
        action = torch.cat([action[:, parent], choice[None]])
    return _weigh(mdp, probability, state, action)


def _weigh(mdp: Tabular, probability: Tensor, state: Tensor, action: Tensor) -> Trajectories:
    """Probabilities and rewards of given paths; state [T + 1, N], action [T, N]."""
    device = probability.device
    before, after = state[:-1], state[1:]
    valid = ~mdp.terminal.to(device)[before]
    step = probability[..., before, action] * mdp.transition.to(device)[before, action, after]
    path = mdp.initial_probability.to(device)[state[0]] * torch.where(valid, step, 1.0).prod(-2)
    return Trajectories(path, state, action, mdp.reward.to(device)[before, action, after], valid)


def _count(possible: Tensor, start: Tensor, horizon: int) -> int:
    """n_h(s) = sum over possible (a, s') of n_{h-1}(s'), in Python's numbers: there may be more than any float holds."""
    ways = possible.sum(1).cpu().numpy().astype(object)
    paths = np.ones(len(ways), dtype=object)
    for _ in range(horizon):
        paths = ways @ paths
    return sum(paths[start.cpu().numpy()])


def _over_time(mdp: Tabular, probability: Tensor) -> Tensor:
    """pi(a | s), with a time axis of length one where values have a time axis."""
    return probability if mdp.time_limit is None else probability.unsqueeze(-3)


def _running_moves(mdp: Tabular, probability: Tensor, discount: float) -> Tensor:
    """P(s' | s) = sum_a pi(a | s) p(s' | s, a) into states where the episode goes on; [..., S, S]."""
    running = ~mdp.terminal.to(probability.device)
    moves = torch.einsum("...ij,ijk->...ik", probability, mdp.transition.to(probability.device)) * running
    if mdp.time_limit is None and discount == 1:
        _check_ends(moves.detach())
    return moves


def _check_ends(moves: Tensor) -> None:
    # Where an end can be reached at all it can be reached within S steps; if it cannot, the sum of rewards has no bound.
    surviving = torch.linalg.matrix_power(moves, moves.shape[-1]).sum(-1)
    if (surviving > 1 - 1e-12).any():
        states = sorted(set((surviving > 1 - 1e-12).nonzero()[:, -1].tolist()))
        raise ValueError(
            f"under this policy an episode that comes to state {states[0]} (of {len(states)} such states) never ends; with "
            "discount 1 its value is not defined: give a discount below 1 or the MDP a time limit."
        )


def _check_discount(discount: float) -> None:
    if not 0 <= discount <= 1:
        raise ValueError(f"discount is {discount}; it must lie in [0, 1].")


# ------------------------------------------------------------------------------------------------------------------ LQR


@dataclass(frozen=True)
class Regulator:
    """The solution of a linear-quadratic problem: best action u_t = -K_t x, value V_t(x) = -(x^T P_t x + c_t).

    With a time limit there is a time axis T in front; without one there is none.
    """

    gain: Float[Tensor, "*T m n"]
    """K"""
    cost: Float[Tensor, "*T n n"]
    """P"""
    constant: Float[Tensor, "*T"]
    """c, what the noise costs"""

    def value(self, state: Float[Tensor, "*batch n"]) -> Float[Tensor, "..."]:
        """V(x); with a time limit at each time, [*batch, T]."""
        if self.cost.dim() == 3:
            state = state.unsqueeze(-2)
        return -(torch.einsum("...i,...ij,...j->...", state, self.cost, state) + self.constant)


def riccati(lqr: LQR, discount: float = 1.0) -> Regulator:
    """The best controller of a linear-quadratic problem and its value, by the Riccati recursion:

        K_t = discount (R + discount B^T P_{t+1} B)^{-1} B^T P_{t+1} A
        P_t = Q + discount A^T P_{t+1} (A - B K_t)
        c_t = discount (c_{t+1} + trace(P_{t+1} L L^T)),            P_T = 0, c_T = 0

    Without a time limit, its fixed point; the discount must then be below 1. Raises ValueError otherwise, and where there is
    no fixed point (no controller keeps the cost finite).
    """
    _check_lqr_discount(lqr, discount)
    covariance = lqr.noise @ lqr.noise.mT
    cost, constant = torch.zeros_like(lqr.state_cost), covariance.new_zeros(())
    if lqr.time_limit is None:
        gain, cost = _riccati_limit(lqr, discount)
        return Regulator(gain, cost, discount * torch.trace(cost @ covariance) / (1 - discount))
    backward = []
    for _ in range(lqr.time_limit):
        constant = discount * (constant + torch.trace(cost @ covariance))
        gain, cost = _riccati_step(lqr, discount, cost)
        backward.append((gain, cost, constant))
    return Regulator(*(torch.stack(parts) for parts in zip(*reversed(backward), strict=True)))


def _riccati_step(lqr: LQR, discount: float, cost: Tensor) -> tuple[Tensor, Tensor]:
    curvature = lqr.action_cost + discount * lqr.control.mT @ cost @ lqr.control
    gain = discount * torch.linalg.solve(curvature, lqr.control.mT @ cost @ lqr.dynamics)
    cost = lqr.state_cost + discount * lqr.dynamics.mT @ cost @ (lqr.dynamics - lqr.control @ gain)
    return gain, (cost + cost.mT) / 2


def _riccati_limit(lqr: LQR, discount: float, iterations: int = 10_000) -> tuple[Tensor, Tensor]:
    cost = torch.zeros_like(lqr.state_cost)
    for _ in range(iterations):
        gain, following = _riccati_step(lqr, discount, cost)
        if (following - cost).abs().max() <= 1e-13 * (1 + cost.abs().max()):
            return gain, following
        cost = following
        if not torch.isfinite(cost).all():
            break
    raise ValueError(
        f"the Riccati recursion of {lqr.name} does not settle: with discount {discount} no controller keeps the cost finite, "
        "or hardly; use a time limit, a smaller discount, or a control that reaches every unstable direction."
    )


def linear_return(
    lqr: LQR,
    gain: Float[Tensor, "*R m n"],
    bias: Float[Tensor, "*R m"] | None = None,
    std: Float[Tensor, "*R m"] | None = None,
    discount: float = 1.0,
) -> Float[Tensor, "*R"]:
    """J of the policy u = -K x + bias + std z, exactly, from the second moments Z_t of (x_t, 1):

        J = -sum_t discount^t [trace(C Z_t) + trace(R S S^T)],    Z_{t+1} = G Z_t G^T + N

    with F = (-K, bias), G the closed loop, N the noise of dynamics and action, C = Q + F^T R F. Without a time limit, the sum
    solves a linear system. Raises ValueError for a discount that does not fit, and without a time limit for a closed loop
    so unstable that J is not finite.
    """
    _check_lqr_discount(lqr, discount)
    feedback, closed, noise, second = _closed_loop(lqr, gain, bias, std)
    state_cost = torch.nn.functional.pad(lqr.state_cost, (0, 1, 0, 1)).to(closed)
    cost = state_cost + feedback.mT @ lqr.action_cost.to(closed) @ feedback
    each = 0.0 if std is None else (std.square() * lqr.action_cost.to(closed).diagonal()).sum(-1)
    if lqr.time_limit is None:
        _check_stable(closed[..., :-1, :-1].detach(), discount)
        size = closed.shape[-1]
        twice = torch.einsum("...ik,...jl->...ijkl", closed, closed).flatten(-4, -3).flatten(-2, -1)
        start = second + discount / (1 - discount) * noise
        identity = torch.eye(size**2, dtype=closed.dtype, device=closed.device)
        total = torch.linalg.solve(identity - discount * twice, start.flatten(-2)).unflatten(-1, (size, size))
        return -((cost * total).sum((-2, -1)) + each / (1 - discount))
    value = torch.zeros_like(closed[..., 0, 0])
    for t in range(lqr.time_limit):
        value = value - discount**t * ((cost * second).sum((-2, -1)) + each)
        second = closed @ second @ closed.mT + noise
    return value


def linear_parts(policy: torch.nn.Module, size: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gain K [R, m, n], bias [R, m] and std [R, m] of a policy module that is linear: u = -K x + bias + std z.

    Read off at the origin and the unit vectors of the ``size`` state numbers, and checked at one more point. std is None for
    a deterministic policy. Raises ValueError for a policy that is not linear (``hidden=()`` makes one that is).
    """
    parameter = next(policy.parameters())
    identity = torch.eye(size, dtype=parameter.dtype, device=parameter.device)
    points = torch.cat([torch.zeros_like(identity[:1]), identity, -2 * identity.sum(0, keepdim=True)])
    law = policy(points.expand(len(parameter), -1, -1))
    if isinstance(law, distributions.Categorical):
        raise ValueError("the policy is categorical; a linear policy is a Gaussian or Deterministic one with hidden=().")
    bias, slope = law.mode[:, 0], law.mode[:, 1:-1] - law.mode[:, :1]
    std = law.std if isinstance(law, distributions.Normal) else torch.zeros_like(law.mode)
    predicted = bias - 2 * slope.sum(1)
    if not torch.allclose(predicted, law.mode[:, -1], rtol=1e-4, atol=1e-6) or (std - std[:, :1]).abs().max() > 1e-6:
        raise ValueError("the policy is not linear in the state, or its std changes with it; make it with hidden=().")
    return -slope.mT, bias, None if isinstance(law, distributions.Deterministic) else std[:, 0]


def _closed_loop(lqr: LQR, gain: Tensor, bias: Tensor | None, std: Tensor | None) -> tuple[Tensor, ...]:
    """F, G, N and Z_0 of ``linear_return``, with a constant 1 appended to the state; [..., n + 1, n + 1] and so on."""
    n, m = lqr.control.shape
    if gain.shape[-2:] != (m, n):
        raise ValueError(f"gain has shape {tuple(gain.shape)}; {lqr.name} needs [..., {m}, {n}], u = -gain x.")
    feedback = torch.cat([-gain, torch.zeros_like(gain[..., :1]) if bias is None else bias.unsqueeze(-1)], -1)
    pad = torch.nn.functional.pad
    dynamics, control = pad(lqr.dynamics.to(gain), (0, 1, 0, 1)), pad(lqr.control.to(gain), (0, 0, 0, 1))
    dynamics[-1, -1] = 1
    shake = pad(lqr.noise @ lqr.noise.mT, (0, 1, 0, 1)).to(gain)
    if std is not None:
        spread = control * std.unsqueeze(-2)
        shake = shake + spread @ spread.mT
    mean = pad(lqr.initial_mean, (0, 1), value=1.0)
    second = torch.outer(mean, mean) + pad(lqr.initial_spread @ lqr.initial_spread.mT, (0, 1, 0, 1))
    return feedback, dynamics + control @ feedback, shake, second.to(gain)


def _check_lqr_discount(lqr: LQR, discount: float) -> None:
    _check_discount(discount)
    if lqr.time_limit is None and discount == 1:
        raise ValueError(
            f"{lqr.name} has no time limit and the discount is 1; its total cost has no bound: give a discount below 1 or "
            "a time limit."
        )


def _check_stable(closed: Tensor, discount: float) -> None:
    radius = torch.linalg.eigvals(closed).abs().amax(-1)
    if (discount * radius.square() >= 1).any():
        raise ValueError(
            f"under this gain the state grows {radius.max().item():.4g}-fold a step in the long run, too fast for discount "
            f"{discount}: J is minus infinity. It is finite below {discount**-0.5:.4g}-fold; change the gain, the discount, "
            "or give a time limit."
        )


# --------------------------------------------------------------------------------------------------------- expectations


def expectation(
    distribution: distributions.Distribution,
    f: Callable[[Tensor], Tensor],
    order: int = 20,
    *,
    breaks: Sequence[float] = (),
    limit: int = 1_000_000,
) -> Tensor:
    """E[f(x)] for x ~ distribution: a sum over all outcomes, or over the points of a Gauss-Hermite grid.

        Categorical, Bernoulli:   sum_x p(x) f(x)
        (Multivariate)Normal:     sum_i w_i f(mean + L z_i), with ``order`` points in each dimension: exact where f is a
                                  polynomial of degree <= 2 order - 1 in each coordinate of z (its gradient: <= 2 order - 3),
                                  close where f is smooth

    ``breaks``: where f jumps or bends, for a Normal of one dimension. The line is then cut there and at every standard
    deviation up to 10, and each piece gets ``order`` Gauss-Legendre points: right to rounding where f is smooth between them.

    ``f`` gets all points at once with a new axis in front, [points, *batch] or [points, *batch, dimension], and returns
    [points, *batch, ...]; the result is [*batch, ...]. The gradient goes through the probabilities, so f may be a black box:
    d/dtheta E[f] = sum f dp. Where f itself depends on theta, that part is there as well.

    Raises TypeError for a distribution that is none of these, ValueError for more than ``limit`` points, for breaks of
    something else than a Normal of one dimension, and for an f that does not return a value per point.
    """
    line = isinstance(distribution, distributions.Normal) and distribution.mean.shape[-1] == 1
    if len(breaks) and not line:
        raise ValueError("breaks are for a Normal of one dimension, [..., 1]; without them the Gauss-Hermite grid is used.")
    if isinstance(distribution, distributions.Categorical):
        weight = distribution.probabilities.movedim(-1, 0)
        outcomes = torch.arange(len(weight), device=weight.device)
        points = outcomes.reshape(-1, *(1,) * (weight.dim() - 1)).expand(weight.shape)
    elif isinstance(distribution, distributions.Bernoulli):
        points, weight = _faces(distribution, limit)
    elif isinstance(distribution, distributions.Normal) and len(breaks):
        points, weight = _pieces(distribution, order, breaks)
    elif isinstance(distribution, distributions.Normal | distributions.MultivariateNormal):
        points, weight = _grid(distribution, order, limit)
    else:
        raise TypeError(
            f"the distribution is {type(distribution).__name__}; exact expectations exist for Categorical, Bernoulli, Normal "
            "and MultivariateNormal ones."
        )
    value = f(points)
    if value.shape[: weight.dim()] != weight.shape:
        raise ValueError(
            f"f returned shape {tuple(value.shape)} for points {tuple(points.shape)}; it must begin with "
            f"{tuple(weight.shape)}: one value, or one tensor, per point."
        )
    return (weight.reshape(*weight.shape, *(1,) * (value.dim() - weight.dim())) * value).sum(0)


def expectation_gradient(
    objective: Expectation,
    theta: Float[Tensor, "*R P"],
    order: int = 20,
    *,
    breaks: Sequence[float] = (),
    limit: int = 1_000_000,
) -> Float[Tensor, "*R P"]:
    """grad J(theta) of J = E[value(x)], x ~ law(theta): what the estimators of ``gradients`` estimate. See ``expectation``."""
    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        value = expectation(objective.law(theta), objective.value, order, breaks=breaks, limit=limit)
        return torch.autograd.grad(value.sum(), theta)[0]


def _faces(coins: distributions.Bernoulli, limit: int) -> tuple[Tensor, Tensor]:
    """All outcomes of n coins, [2^n, *batch, n], and their probabilities [2^n, *batch]."""
    n = coins.logits.shape[-1]
    if 2**n > limit:
        raise ValueError(f"{n} coins have {2.0**n:.6g} outcomes, more than limit = {limit}; raise it, or take fewer coins.")
    places = torch.arange(n, device=coins.logits.device)
    outcomes = (torch.arange(2**n, device=places.device)[:, None] >> places & 1).to(coins.logits)
    points = outcomes.reshape(-1, *(1,) * (coins.logits.dim() - 1), n).expand(-1, *coins.logits.shape)
    return points, coins.log_prob(points).exp()


def _pieces(normal: distributions.Normal, order: int, breaks: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Points [N, *batch, 1] and weights [N, *batch] of Gauss-Legendre rules between the breaks."""
    mean, std = normal.mean.detach(), normal.std.detach()
    regular = mean + std * torch.arange(-10, 11).to(mean)  # [*batch, 21]
    cuts = torch.as_tensor(breaks).to(mean).expand(*mean.shape[:-1], -1)
    edges = torch.cat([regular, torch.minimum(torch.maximum(cuts, regular[..., :1]), regular[..., -1:])], -1).sort(-1).values
    nodes, weights = (torch.as_tensor(each).to(mean) for each in np.polynomial.legendre.leggauss(order))
    width = edges.diff(dim=-1).unsqueeze(-1) / 2
    points = (edges[..., :-1].unsqueeze(-1) + width * (1 + nodes)).flatten(-2).movedim(-1, 0).unsqueeze(-1)
    return points, (width * weights).flatten(-2).movedim(-1, 0) * normal.log_prob(points).exp()


def _grid(normal: distributions.Normal | distributions.MultivariateNormal, order: int, limit: int) -> tuple[Tensor, Tensor]:
    """Points [N, *batch, D] and weights [N, *batch] of the tensor-product Gauss-Hermite rule."""
    dimension = normal.mean.shape[-1]
    if order < 1 or order**dimension > limit:
        raise ValueError(
            f"order {order} in {dimension} dimensions is a grid of {max(order, 0) ** dimension:.6g} points; it can have 1 to "
            f"limit = {limit}: the order can be at most {math.floor(limit ** (1 / dimension) + 1e-9)}."
        )
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    axes = torch.as_tensor(nodes).to(normal.mean)
    z = torch.cartesian_prod(*[axes] * dimension).reshape(-1, dimension)
    mass = torch.as_tensor(weights / weights.sum()).to(normal.mean)
    mass = torch.cartesian_prod(*[mass] * dimension).reshape(-1, dimension).prod(-1)
    between = (1,) * (normal.mean.dim() - 1)
    points = normal.sample(z.reshape(-1, *between, dimension))
    # The points stand still and their probabilities move: p / p.detach() is 1, and its gradient is that of log p.
    log_probability = normal.log_prob(points)
    ratio = (log_probability - log_probability.detach()).exp()
    return points, mass.reshape(-1, *between) * ratio
