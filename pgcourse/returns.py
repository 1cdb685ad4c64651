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


def powers(discount: float, steps: int, like: Tensor) -> Float[Tensor, "T 1"]:
    """discount^t for t = 0 .. steps-1, as a column [T, 1] that multiplies [..., time, env]."""
    return discount ** torch.arange(steps, device=like.device, dtype=like.dtype)[:, None]


def _check_discount(discount: float) -> None:
    if not 0 <= discount <= 1:
        raise ValueError(f"discount is {discount}; it must lie in [0, 1].")
