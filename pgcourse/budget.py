"""How much computing a lecture may spend: everything, or (in tests) a quarter of it."""

import os
from typing import TypeVar

T = TypeVar("T")


def small() -> bool:
    """True when the environment variable ``PGCOURSE_BUDGET`` is ``small``; ``full`` or unset means False.

    Raises ValueError for any other value.
    """
    value = os.environ.get("PGCOURSE_BUDGET", "full")
    if value not in ("small", "full"):
        raise ValueError(f"PGCOURSE_BUDGET is {value!r}; it can be 'small' or 'full' (the default). Unset it or correct it.")
    return value == "small"


def choose(full: T, small_: T) -> T:
    """``full``, or ``small_`` when the small-budget switch is on."""
    return small_ if small() else full
