"""The classical Runge-Kutta rule, for environments whose physics is a differential equation."""

from collections.abc import Callable

import torch
from torch import Tensor


def runge_kutta(rates: Callable[[Tensor, Tensor], Tensor], state: Tensor, push: Tensor, step: float) -> Tensor:
    """The state ``step`` later, to an error of order step^5, with ``push`` held; rates(state, push) is d state / dt.

        k1 = f(s),  k2 = f(s + h/2 k1),  k3 = f(s + h/2 k2),  k4 = f(s + h k3),   s' = s + h/6 (k1 + 2 k2 + 2 k3 + k4)

    Source: Kutta (1901).
    """
    k1 = rates(state, push)
    k2 = rates(torch.add(state, k1, alpha=step / 2), push)
    k3 = rates(torch.add(state, k2, alpha=step / 2), push)
    k4 = rates(torch.add(state, k3, alpha=step), push)
    return torch.add(state, torch.add(k1 + k4, k2 + k3, alpha=2), alpha=step / 6)
