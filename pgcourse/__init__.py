"""pgcourse: a course on policy gradients. Submodules load when first used, so that ``pgcourse --help`` needs no torch."""

import ctypes
import importlib
import os
import sys

# Fresh memory costs page faults, a third of a large batch's time. So torch takes large tensors from huge pages, and memory
# that was freed is kept for the next tensor instead of going back to the system. (Linux with glibc; elsewhere nothing happens.)
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
if sys.platform == "linux" and hasattr(_libc := ctypes.CDLL(None), "mallopt"):
    _TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from <malloc.h>
    _libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    _libc.mallopt(_MMAP_THRESHOLD, 2**30)

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
