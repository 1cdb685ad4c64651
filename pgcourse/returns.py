"""Returns: what came of an action. Pure functions on [..., time, env], for one learner or with a replica axis in front."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def backward_sum(x: Float[Tensor, "*R T E"], decay: Float[Tensor, "*R T E"]) -> Float[Tensor, "*R T E"]:
    """y_t = x_t + decay_t y_{t+1}, with y_T = 0: the recursion under every return, n-step mixture and trace.

    Computed by doubling: after k rounds y_t covers 2^k steps, so T steps take log2 T rounds of whole-tensor operations instead
    of T rounds of small ones; unlike a division by powers of the decay it loses no precision over long times.
    """
    steps = x.shape[-2]
    reach = 1
    while reach < steps:
        ahead = torch.nn.functional.pad(x[..., reach:, :], (0, 0, 0, reach))
        x = x + decay * ahead
        decay = decay * torch.nn.functional.pad(decay[..., reach:, :], (0, 0, 0, reach))
        reach *= 2
    return x


def to_go(
    reward: Float[Tensor, "*R T E"],
    discount: float,
    done: Bool[Tensor, "*R T E"] | None = None,
    valid: Bool[Tensor, "*R T E"] | None = None,
) -> Float[Tensor, "*R T E"]:
    """Reward-to-go, G_t = sum_{k >= t} discount^(k - t) r_k, up to the end of the episode that step t belongs to.

    done: true at the last step of an episode, where the sum stops; without it all T steps are one episode. valid: false steps
    count no reward. Raises ValueError for a discount outside [0, 1].
    """
    _check_discount(discount)
    if valid is not None:
        reward = reward * valid
    decay = torch.full_like(reward, discount)
    if done is not None:
        decay = decay * ~done
    return backward_sum(reward, decay)


def discounted(
    reward: Float[Tensor, "*R T E"], discount: float, valid: Bool[Tensor, "*R T E"] | None = None
) -> Float[Tensor, "*R E"]:
    """The return of a whole episode, G = sum_t discount^t r_t, where all T steps are one episode."""
    return to_go(reward, discount, valid=valid)[..., 0, :]


def so_far(
    reward: Float[Tensor, "*R T E"], discount: float, done: Bool[Tensor, "*R T E"], before: Float[Tensor, "*R E"]
) -> Float[Tensor, "*R T E"]:
    """Discounted sum of the rewards since the episode began, y_t = r_t + discount y_{t-1}: a to-go sum that looks backward.

    before: y of the step before the first, 0 where that step ended an episode. Raises ValueError for a discount outside [0, 1].
    """
    _check_discount(discount)
    reward = torch.cat((reward[..., :1, :] + discount * before.unsqueeze(-2), reward[..., 1:, :]), -2)
    goes_on = torch.nn.functional.pad(~done[..., :-1, :], (0, 0, 1, 0)).to(reward.dtype)
    return backward_sum(reward.flip(-2), discount * goes_on.flip(-2)).flip(-2)


def td_error(
    reward: Float[Tensor, "*R T E"],
    value: Float[Tensor, "*R T E"],
    next_value: Float[Tensor, "*R T E"],
    discount: float,
    terminated: Bool[Tensor, "*R T E"],
) -> Float[Tensor, "*R T E"]:
    """Temporal-difference error, delta_t = r_t + discount V(s_{t+1}) - V(s_t), with V = 0 after a termination.

    next_value: V of the observation that followed, before any reset, so that a truncated step still bootstraps. Raises
    ValueError for a discount outside [0, 1]. Source: lecture 07; Sutton (1988).
    """
    _check_discount(discount)
    return reward - value + discount * next_value * ~terminated


def n_step(
    reward: Float[Tensor, "*R T E"],
    next_value: Float[Tensor, "*R T E"],
    discount: float,
    steps: int,
    terminated: Bool[Tensor, "*R T E"],
    truncated: Bool[Tensor, "*R T E"],
) -> Float[Tensor, "*R T E"]:
    """n-step return, r_t + ... + discount^(n-1) r_{t+n-1} + discount^n V(s_{t+n}), for n = ``steps``.

    The sum stops early where the episode ends, with V = 0 after a termination and V(s') after a truncation, and where the batch
    ends, with V(s'). Raises ValueError for fewer than one step or a discount outside [0, 1]. Source: lecture 07.
    """
    _check_discount(discount)
    if steps < 1:
        raise ValueError(f"steps is {steps}; an n-step return takes at least 1 reward.")
    bootstrap = next_value * ~terminated
    last = terminated | truncated
    ahead = bootstrap  # what follows r_t: the value of s_{t+1} in the first round, one reward more in each further one
    for _ in range(min(steps, reward.shape[-2]) - 1):
        longer = (reward + discount * ahead)[..., 1:, :]
        ahead = torch.where(last, bootstrap, torch.cat((longer, bootstrap[..., -1:, :]), -2))
    return reward + discount * ahead


def gae(
    reward: Float[Tensor, "*R T E"],
    value: Float[Tensor, "*R T E"],
    next_value: Float[Tensor, "*R T E"],
    discount: float,
    trace_decay: float,
    terminated: Bool[Tensor, "*R T E"],
    truncated: Bool[Tensor, "*R T E"],
) -> Float[Tensor, "*R T E"]:
    """Generalised advantage estimate, A_t = sum_k (discount trace_decay)^k delta_{t+k}, up to the episode's or the batch's end.

    trace_decay: lambda; 0 leaves delta_t, 1 the return minus V(s_t). A termination cuts the bootstrap, termination and
    truncation both cut the trace; so in whole episodes padded at the end nothing comes back from the padding.

    Raises ValueError for a discount or trace_decay outside [0, 1]. Source: lecture 07; Schulman et al. (2016), (16).
    """
    if not 0 <= trace_decay <= 1:
        raise ValueError(f"trace_decay is {trace_decay}; lambda must lie in [0, 1].")
    error = td_error(reward, value, next_value, discount, terminated)
    return backward_sum(error, discount * trace_decay * (~(terminated | truncated)).to(error.dtype))


def lambda_return(
    reward: Float[Tensor, "*R T E"],
    value: Float[Tensor, "*R T E"],
    next_value: Float[Tensor, "*R T E"],
    discount: float,
    trace_decay: float,
    terminated: Bool[Tensor, "*R T E"],
    truncated: Bool[Tensor, "*R T E"],
) -> Float[Tensor, "*R T E"]:
    """TD(lambda) target of a critic, V(s_t) + A_t with the advantage of ``gae``: the n-step returns, weighted by
    (1 - lambda) lambda^(n-1), the longest one by the rest. Source: lecture 07."""
    return value + gae(reward, value, next_value, discount, trace_decay, terminated, truncated)


def constant_baseline(target: Float[Tensor, "*R T E"], valid: Bool[Tensor, "*R T E"] | None = None) -> Float[Tensor, "*R T E"]:
    """The mean of the targets (returns, say) over all valid steps of the batch, b = mean_{t,e} G_t, at every step.

    It has seen the returns it is subtracted from, which shrinks the gradient by a share of order 1 / E: with a baseline from
    another batch, or ``leave_one_out_baseline``, there is no bias. Source: lecture 05.
    """
    valid = _all_valid(target) if valid is None else valid
    total, count = (torch.where(valid, x, 0).sum((-2, -1), keepdim=True) for x in (target, torch.ones_like(target)))
    return (total / count.clamp(min=1)).expand_as(target)


def time_baseline(target: Float[Tensor, "*R T E"], valid: Bool[Tensor, "*R T E"] | None = None) -> Float[Tensor, "*R T E"]:
    """The mean of the targets at each time, b_t = mean_e G_t, over the episodes that are still running; 0 where none is.

    Its own return is among them: the bias of ``constant_baseline``, larger where few episodes are left. Source: lecture 05.
    """
    total, count = _over_episodes(target, valid)
    return (total / count.clamp(min=1)).expand_as(target)


def leave_one_out_baseline(
    target: Float[Tensor, "*R T E"], valid: Bool[Tensor, "*R T E"] | None = None
) -> Float[Tensor, "*R T E"]:
    """The mean of the *other* running episodes' targets at each time, b_t^e = mean_{i != e} G_t^i; 0 where e is alone.

    No episode sees itself, so there is no bias, however few there are. Source: lecture 05, (5.9).
    """
    valid = _all_valid(target) if valid is None else valid
    total, count = _over_episodes(target, valid)
    others = count - valid.to(target.dtype)
    return (total - torch.where(valid, target, 0)) / others.clamp(min=1) * (others > 0)


def optimal_baseline(
    target: Float[Tensor, "*R T E"], score: Float[Tensor, "*R T E P"], valid: Bool[Tensor, "*R T E"] | None = None
) -> Float[Tensor, "*R T E"]:
    """The constant b with the least variance of sum_t (G_t - b) score_t, summed over its P coordinates, at every step:

        b = E[X Y] / E[Y Y],    X = sum_t G_t score_t,    Y = sum_t score_t,    both [P], one of each for an episode,

    with means over the E episodes for expectations. score: of each action; times discount^t where the estimator keeps that
    factor. Estimated on the batch it is subtracted from it has a bias of order 1 / E. 0 where every score is 0. Source: lecture
    05, (5.5).
    """
    mask = (_all_valid(target) if valid is None else valid).unsqueeze(-1)
    score = torch.where(mask, score, 0)
    pull, push = (torch.where(mask, target.unsqueeze(-1), 0) * score).sum(-3), score.sum(-3)  # [*R, E, P]
    shared, size = ((x * push).sum((-2, -1)) for x in (pull, push))
    best = torch.where(size > 0, shared / torch.where(size > 0, size, 1), 0)
    return best[..., None, None].expand_as(target)


def linear_features(observation: Float[Tensor, "*R T E O"], first: int = 0) -> Float[Tensor, "*R T E F"]:
    """What the linear time-varying baseline sees of step t: o, o^2, t/100, (t/100)^2, (t/100)^3 and 1, with o clipped to +-10.

    F = 2 O + 4. Row 0 of the time axis is step ``first`` of its episode: 0 for the observations of ``rollout.episodes``, 1 for
    those that followed. Source: Duan et al. (2016).
    """
    observation = observation.clamp(-10, 10)
    steps, environments = observation.shape[-3:-1]
    time = (first + torch.arange(steps, device=observation.device, dtype=observation.dtype)) / 100
    clock = torch.stack([time, time**2, time**3, torch.ones_like(time)], -1)[:, None]  # [T, 1, 4]
    clock = clock.expand(*observation.shape[:-3], steps, environments, 4)
    return torch.cat([observation, observation.square(), clock], -1)


def fit_linear(
    feature: Float[Tensor, "*R T E F"],
    target: Float[Tensor, "*R T E"],
    valid: Bool[Tensor, "*R T E"] | None = None,
    ridge: float = 1e-5,
    center: Float[Tensor, "*R F"] | None = None,
) -> Float[Tensor, "*R F"]:
    """Least squares for V(s) = phi . feature(s), one solution for each replica:

        phi = argmin sum_{t,e} (target - phi . feature)^2 + ridge ||phi - center||^2,    center 0 unless given

    With returns for targets it is Monte Carlo regression. With r + discount V_{phi_i}(s') and center = phi_i it is a step of
    fitted TD iteration. Solved in float64, since powers of time are nearly alike. Raises ValueError for a ridge that is not
    positive: features may depend on one another. Source: Duan et al. (2016); lecture 05, (5.7) and (5.8).
    """
    if not ridge > 0:
        raise ValueError(f"ridge is {ridge}; it must be > 0 (1e-5 hardly changes the fit), or the solution may not be unique.")
    mask = (_all_valid(target) if valid is None else valid).unsqueeze(-1)
    rows = torch.where(mask, feature, 0).flatten(-3, -2).to(torch.float64)  # [*R, T E, F]
    goal = torch.where(mask, target.unsqueeze(-1), 0).flatten(-3, -2).to(torch.float64)
    start = torch.zeros_like(rows[..., 0, :]) if center is None else center.to(torch.float64)
    matrix = rows.mT @ rows + ridge * torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    vector = rows.mT @ goal + ridge * start.unsqueeze(-1)
    solution, _ = torch.linalg.solve_ex(matrix, vector)  # does not raise for a replica whose numbers are not finite
    return solution.squeeze(-1).to(target.dtype)


def _over_episodes(target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum of the targets of the running episodes at each time, and their number, [..., T, 1]."""
    valid = _all_valid(target) if valid is None else valid
    return torch.where(valid, target, 0).sum(-1, keepdim=True), valid.to(target.dtype).sum(-1, keepdim=True)


def _all_valid(target: Tensor) -> Tensor:
    return torch.ones_like(target, dtype=torch.bool)


def powers(discount: float, steps: int, like: Tensor) -> Float[Tensor, "T 1"]:
    """discount^t for t = 0 .. steps-1, as a column [T, 1] that multiplies [..., time, env]."""
    return discount ** torch.arange(steps, device=like.device, dtype=like.dtype)[:, None]


def _check_discount(discount: float) -> None:
    if not 0 <= discount <= 1:
        raise ValueError(f"discount is {discount}; it must lie in [0, 1].")
