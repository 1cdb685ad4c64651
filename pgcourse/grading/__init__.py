"""Exercises: ``check(f)`` judges what you wrote, ``hint(f)`` helps, ``solution(f)`` shows, ``progress()`` counts."""

from .judge import Outcome, judge
from .learner import UnknownTask, check, find, hint, progress, solution, tasks  # the function hides the package of that name
from .task import Task, reference_source, stub_source

__all__ = [
    "Outcome",
    "Task",
    "UnknownTask",
    "check",
    "find",
    "hint",
    "judge",
    "progress",
    "reference_source",
    "solution",
    "stub_source",
    "tasks",
]
