"""Policies as black boxes: numbers go in, a noisy score comes out. What the search methods of lecture 02 have in common.

A ``Problem`` says what is searched and from where. Methods work in coordinates x [R, ..., P] in which the start is 0 and one
unit of every parameter is a change worth trying: theta = start + scale * x. What is learned is a parameter vector; whether a
gradient of the policy exists nobody asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .envs.base import Discrete, Env
from .gradients import Objective, mean_value
from .rng import Rng


@dataclass(frozen=True)
class Problem:
    """What to maximise, and where to begin.

    objective: f(theta [..., P], noise) -> [...], as in ``gradients``. start, scale: [P]; scale > 0 is a change worth trying.
    draw: (rng, *leading) -> noise [R, *leading, ...] for as many evaluations; None for an objective without noise. steps:
    environment steps that one evaluation takes (at most). exact: J(theta) [..., P] -> [...], where it is known; it goes into
    the record of a run and is never shown to the method.

    Raises ValueError where start and scale are not lists of as many numbers, or a scale is not positive.
    """

    objective: Objective
    start: Float[Tensor, " P"]
    scale: Float[Tensor, " P"]
    draw: Callable[..., Any] | None = None
    steps: int = 1
    exact: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        if self.start.ndim != 1 or self.start.shape != self.scale.shape or not (self.scale > 0).all():
            raise ValueError(
                f"start has shape {list(self.start.shape)} and scale {list(self.scale.shape)}; give one number each for every "
                "parameter, and every scale > 0."
            )

    @property
    def size(self) -> int:
        """Number of parameters, P."""
        return len(self.start)

    def at(self, x: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch P"]:
        """The parameters at coordinates x."""
        return self.start.to(x) + self.scale.to(x) * x

    def score(self, x: Float[Tensor, "R n P"], rng: Rng, evaluations: int) -> Float[Tensor, "R n"]:
        """The mean of so many noisy evaluations at each of n points of each replica, every one with noise of its own.

        Raises FloatingPointError where a score is not a finite number.
        """
        noise = None if self.draw is None else self.draw(rng, x.shape[1], evaluations)
        score = mean_value(self.objective, self.at(x), noise)
        if not score.isfinite().all():
            raise FloatingPointError(
                f"{int((~score.isfinite()).sum())} of {score.numel()} scores are not finite; a black box must give every "
                "parameter vector a number, however bad."
            )
        return score

    def record(
        self, score: Float[Tensor, "R n"], x: Float[Tensor, "R P"], evaluations: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Metrics of an iteration, each [R], and the environment steps it took [R].

        "return": mean score of the points tried; "best tried": the highest; "answer": J at x, what the method would answer
        now, where J is known. score: of all points tried in it; x: the method's answer.
        """
        metrics = {"return": score.mean(1), "best tried": score.amax(1)}
        if self.exact is not None:
            metrics["answer"] = self.exact(self.at(x))
        return metrics, torch.full((len(x),), score.shape[1] * evaluations * self.steps)


def of(problem: Problem | Env) -> Problem:
    """A Problem as it is; of an environment, the search for a linear policy.

    That policy has one number for each pair of observation and action: theta [O, A], flat. Its action is observation @ theta
    in a Box (clipped by the environment), and the place of the largest in a Discrete: there it is not differentiable, which
    does no harm. The score is the return of one episode. All begins at theta = 0, with scale 1.

    Raises ValueError for an environment without a time limit.
    """
    if isinstance(problem, Problem):
        return problem
    env, spec = problem, problem.spec
    if spec.time_limit is None:
        raise ValueError(f"{spec.name} has no time limit: an evaluation might never end. Set one.")
    limit, choice = spec.time_limit, isinstance(spec.action, Discrete)
    actions = spec.action.n if isinstance(spec.action, Discrete) else spec.action.size
    size = spec.observation.size * actions

    def draw(rng: Rng, *leading: int) -> tuple[Tensor | None, Tensor | None]:
        return rng.draw(spec.initial_noise, *leading), rng.draw(spec.step_noise, limit, *leading)

    @torch.no_grad()
    def episode_return(theta: Tensor, noise: tuple[Tensor, Tensor | None]) -> Tensor:
        first, later = noise  # [R, n, N, ...] and [R, T, n, N, ...]
        leading = first.shape[: first.ndim - len(spec.initial_noise.shape)]
        weight = theta.unflatten(-1, (spec.observation.size, actions)).expand(*leading, -1, -1)
        state, total = env.initial(first), first.new_zeros(leading)
        alive = torch.ones_like(total, dtype=torch.bool)
        for t in range(limit):
            action = (env.observe(state).unsqueeze(-2) @ weight).squeeze(-2)
            step_noise = None if later is None else later[:, t]
            state, reward, terminated = env.step(state, action.argmax(-1) if choice else action, step_noise)
            total = total + reward * alive
            cut = env.truncated(state)
            alive = ~(terminated if cut is None else terminated | cut) & alive
            if not alive.any():
                break
            state = env.rest(~alive, state, first)
        return total

    return Problem(episode_return, torch.zeros(size), torch.ones(size), draw, limit)
