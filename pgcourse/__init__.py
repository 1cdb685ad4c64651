"""pgcourse: a course on policy gradients. Submodules load when first used, so that ``pgcourse --help`` needs no torch."""

import importlib
import os

# torch then takes large tensors from huge pages; without, a third of a large batch's time is page faults (Linux only).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"
__all__ = [
    "algorithms",
    "budget",
    "distributions",
    "envs",
    "exact",
    "figures",
    "gradients",
    "grading",
    "history",
    "nn",
    "notebooks",
    "plots",
    "policies",
    "quizzes",
    "returns",
    "rng",
    "rollout",
    "widgets",
]


def __getattr__(name: str):
    if name in __all__:
        return importlib.import_module(f"pgcourse.{name}")
    raise AttributeError(f"module 'pgcourse' has no attribute {name!r}; it has {', '.join(__all__)}")
