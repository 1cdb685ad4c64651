"""The exercises' tasks, one module per lecture; each has its tasks in ``TASKS``."""

import importlib
import pkgutil
from functools import cache


@cache
def all_tasks() -> tuple:
    """Every task of the course, in the order of the lectures."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("t"))
    return tuple(task for name in modules for task in importlib.import_module(f"{__name__}.{name}").TASKS)
