"""The exercises' tasks, one module per lecture, ``tNN_slug.py``; each has its tasks in ``TASKS``.

An instructor's own modules lie in a folder that the environment variable PGCOURSE_TASKS names.
"""

import importlib
import os
import pkgutil
from functools import cache
from pathlib import Path

if _own := os.environ.get("PGCOURSE_TASKS"):
    __path__.append(str(Path(_own).resolve()))


@cache
def all_tasks() -> tuple:
    """Every task of the course, in the order of the lectures.

    Raises ValueError where two tasks ask for functions of one name: answers are found by their names.
    """
    if _own and not Path(_own).is_dir():
        raise ValueError(f"PGCOURSE_TASKS is {_own}, which is no folder; it names the one with your own task modules.")
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("t"))
    tasks = tuple(task for name in modules for task in importlib.import_module(f"{__name__}.{name}").TASKS)
    first = {}
    for task in tasks:
        if (other := first.setdefault(task.name, task)) is not task:
            raise ValueError(f"{other.id} and {task.id} both ask for a function named {task.name}; rename one of them.")
    return tasks
