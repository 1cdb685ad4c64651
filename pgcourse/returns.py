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
    return reward + discount * next_value * ~terminated - value


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


def powers(discount: float, steps: int, like: Tensor) -> Float[Tensor, "T 1"]:
    """discount^t for t = 0 .. steps-1, as a column [T, 1] that multiplies [..., time, env]."""
    return discount ** torch.arange(steps, device=like.device, dtype=like.dtype)[:, None]


def _check_discount(discount: float) -> None:
    if not 0 <= discount <= 1:
        raise ValueError(f"discount is {discount}; it must lie in [0, 1].")
