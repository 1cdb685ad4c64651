"""The training runs of ``Learning`` stages."""

import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np

from .. import envs
from ..rng import Rng
from .task import Fault


def half_must_reach(
    goal: float,
    window: int,
    learners: int,
    algorithm: ModuleType,
    config,
    loss: Callable,
    seed: int,
    report: Callable[[str], None],
    *,
    right: str,
    advice: str,
) -> Fault | str:
    """Train learners on CartPole-v1 with an answer's loss, until half of them reach the goal or ``config.iterations`` are over.

    window: updates over which a learner's return is averaged. loss: as ``algorithm.train`` takes it. right, advice: what
    the Fault begins and ends with.
    """
    best = 0.0

    def progress(history):
        nonlocal best
        returns = np.nan_to_num(history.window("return", window)[:, -1])  # a learner that stopped has reached nothing
        best = max(best, float(np.median(returns)) if history.iteration >= window else 0.0)
        report(
            f"{learners} learners on CartPole-v1 with your loss: update {history.iteration} of at most {config.iterations}, "
            f"median return {np.median(returns):.0f}"
        )
        return best >= goal

    rng = Rng(range(seed, seed + learners))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the history knows which learners stopped
            _, history = algorithm.train(envs.make("CartPole-v1"), config, rng, loss=loss, progress=progress)
    except FloatingPointError:
        return Fault("Trained with your loss, every learner stopped: the loss or its gradient was not finite.")
    if best >= goal:
        return f"Trained with your loss, half of {learners} learners reach a return of {goal} in {history.iteration} updates."
    stopped = f" ({len(history.stopped)} of them stopped: not finite)" if history.stopped else ""
    ended = "" if history.iteration == config.iterations else ", when the run was interrupted"
    return Fault(
        f"{right} Trained with your loss, the median of {learners} learners{stopped} reached a return of {best:.0f} within "
        f"{history.iteration} updates{ended}; {goal} is asked. {advice}"
    )
