"""Linear dynamics, quadratic cost: the one continuous control problem whose solution is known (``exact.riccati``)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..rng import Noise
from .base import Box, Env, Spec

_ZERO, _ONE = torch.zeros(()), torch.ones(())


@dataclass(frozen=True, eq=False)
class LQR(Env):
    """x' = A x + B u + L z, with reward -(x^T Q x + u^T R u) and z standard normal; differentiable in everything.

    Fields: ``dynamics`` A [n, n]; ``control`` B [n, m]; ``state_cost`` Q [n, n], symmetric, >= 0; ``action_cost`` R
    [m, m], symmetric, > 0; ``noise`` L [n, n]; ``initial_mean`` [n] and ``initial_spread`` [n, n], x_0 = mean +
    spread z; of these three a single number stands for that multiple of the identity (of ones, for the mean);
    ``time_limit``, steps, None for never. Lists and arrays will do as well; matrices are kept in float64. Episodes never
    terminate. The state is what is observed.

    Raises ValueError for shapes that do not fit, numbers that are not finite, costs that are not symmetric or not
    positive, a time limit below 1.
    """

    dynamics: Tensor
    control: Tensor
    state_cost: Tensor
    action_cost: Tensor
    noise: Tensor = _ZERO
    initial_mean: Tensor = _ZERO
    initial_spread: Tensor = _ONE
    time_limit: int | None = 50
    units: tuple[str, ...] = ()
    name: str = "lqr"

    def __post_init__(self):
        dynamics, control, state_cost, action_cost = map(
            _matrix, (self.dynamics, self.control, self.state_cost, self.action_cost)
        )
        if dynamics.dim() != 2 or control.dim() != 2:
            raise ValueError(
                f"dynamics has shape {tuple(dynamics.shape)} and control {tuple(control.shape)}; they must be [n, n] and "
                "[n, m]."
            )
        n, m = control.shape
        identity = torch.eye(n, dtype=torch.float64)
        shapes = {
            "dynamics": (dynamics, (n, n)),
            "state_cost": (state_cost, (n, n)),
            "action_cost": (action_cost, (m, m)),
            "noise": (_multiple(self.noise, identity), (n, n)),
            "initial_mean": (_multiple(self.initial_mean, torch.ones(n, dtype=torch.float64)), (n,)),
            "initial_spread": (_multiple(self.initial_spread, identity), (n, n)),
            "control": (control, (n, m)),
        }
        for field, (value, shape) in shapes.items():
            if value.shape != shape:
                raise ValueError(
                    f"{field} has shape {tuple(value.shape)}; with {n} state and {m} action numbers (the shape of "
                    f"control) it must be {list(shape)}."
                )
            if not torch.isfinite(value).all():
                raise ValueError(f"{field} is {value.tolist()}; all its entries must be finite numbers.")
            object.__setattr__(self, field, value)
        _check_cost("state_cost", state_cost, ">= 0", lambda smallest: smallest > -1e-9)
        _check_cost("action_cost", action_cost, "> 0", lambda smallest: smallest > 0)
        if self.time_limit is not None and self.time_limit < 1:
            raise ValueError(f"time_limit is {self.time_limit}; it can be a whole number of steps >= 1, or None for no limit.")

    @cached_property
    def spec(self) -> Spec:
        n, m = self.control.shape
        return Spec(
            name=self.name,
            observation=Box(n, units=self.units),
            action=Box(m),
            time_limit=self.time_limit,
            state_shape=(n,),
            initial_noise=Noise("normal", (n,)),
            step_noise=Noise("normal", (n,)),
        )

    def initial(self, noise: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """x_0 = mean + spread z."""
        return self.initial_mean.to(noise) + noise @ self.initial_spread.to(noise).mT

    def step(
        self, state: Float[Tensor, "*batch n"], action: Float[Tensor, "*batch m"], noise: Float[Tensor, "*batch n"]
    ) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """x' = A x + B u + L z; the reward is that of x and u, not of x'."""
        self.validate_action(action, state.shape[:-1])  # else it would broadcast to something, silently
        cost = _quadratic(self.state_cost.to(state), state) + _quadratic(self.action_cost.to(state), action)
        following = state @ self.dynamics.to(state).mT + action @ self.control.to(state).mT
        following = following + noise @ self.noise.to(state).mT
        return following, -cost, torch.zeros_like(cost, dtype=torch.bool)

    def observe(self, state: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """The state."""
        return state


def double_integrator(time_limit: int | None = 50, *, interval: float = 0.1, noise: float = 0.05) -> LQR:
    """A mass of 1 kg on a line, pushed: position (m), velocity (m/s), force (N); ``interval`` seconds to a step."""
    return LQR(
        dynamics=_matrix([[1.0, interval], [0.0, 1.0]]),
        control=_matrix([[interval**2 / 2], [interval]]),
        state_cost=_matrix([[1.0, 0.0], [0.0, 0.1]]),
        action_cost=_matrix([[0.1]]),
        noise=_matrix(noise),
        time_limit=time_limit,
        units=("m", "m/s"),
        name="double-integrator",
    )


def _quadratic(matrix: Tensor, vector: Tensor) -> Tensor:
    return (vector * (vector @ matrix.mT)).sum(-1)


def _matrix(values) -> Tensor:
    # as_tensor alone would read a Python number in float32 and lose its digits
    return values.to(torch.float64) if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64)


def _multiple(value, form: Tensor) -> Tensor:
    """A single number as that multiple of ``form``; anything else as it is."""
    value = _matrix(value)
    return value * form.to(value.device) if value.dim() == 0 else value


def _check_cost(field: str, cost: Tensor, sign: str, positive):
    smallest = torch.linalg.eigvalsh(cost.detach()).min().item()
    if not torch.allclose(cost, cost.mT) or not positive(smallest):
        raise ValueError(
            f"{field} is {cost.tolist()} (symmetric: {torch.allclose(cost, cost.mT)}, smallest eigenvalue "
            f"{smallest:.3g}); it must be symmetric with eigenvalues {sign}."
        )
