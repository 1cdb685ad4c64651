"""The command line ``pgcourse``: finds the command and answers ``--help`` at once, without loading anything for it.

Whatever is wrong with the input ends with exit code 2 and one message; ``python -X dev -m pgcourse`` shows the traceback.
"""

import difflib
import os
import sys
from collections.abc import Sequence

from . import __version__

DESCRIPTION = f"A course on policy gradients: lectures that run, exercises that are checked at once. Version {__version__}."

COMMANDS = {
    "start": "Make your working copy of the course, or bring it up to date; your own work is never overwritten.",
    "check": "Check the answers in an exercise of yours.",
    "submit": "Check your exercises and pack those you worked on into one zip, to be handed in.",
    "progress": "Show what is done over the whole course.",
    "train": "Train many learners at once: pgcourse train ALGORITHM ENVIRONMENT --replicas 16.",
    "sweep": "Train several algorithms in several environments, here or on a Ray cluster, and compare them.",
    "present": "Present a lecture: live in JupyterLab, or with --export as slides in one file.",
    "grade": "Grade a class: a folder, a zip or a download from Canvas, Moodle or Gradescope.",
    "gradebook": "Look into a gradebook, set points by hand, grade again, export.",
    "feedback": "Write a page for every student in a gradebook, and a report on the class.",
    "audit": "Test the checks themselves: right solutions must pass, wrong ones be rejected by name.",
    "release": "Write what a class gets: lectures, exercises and the course to install, without answers.",
    "notebooks": "Build the course's notebooks from their sources, check that they are up to date, or render pages.",
    "doctor": "See what works on this machine, and what to do about what does not.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 success, 1 "no" or failure, 2 input that cannot be used, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in (["-h"], ["--help"]):
        print(usage())
        return 0
    if arguments == ["--version"]:
        print(__version__)
        return 0
    try:
        name, rest = split(arguments)
        from . import commands

        return commands.run(name, rest)
    except KeyboardInterrupt:  # a training run stops by itself at the first one, and keeps what it has
        print("pgcourse: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever was reading, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as problem:
        if sys.flags.dev_mode:
            raise
        print(f"pgcourse: {message(problem)}", file=sys.stderr)
        return 2


def usage() -> str:
    """What ``pgcourse --help`` says."""
    lines = [f"  {name:10} {does}" for name, does in COMMANDS.items()]
    return "\n".join([DESCRIPTION, "", *lines, "", "More on one of them: pgcourse COMMAND --help"])


def split(arguments: list[str]) -> tuple[str, list[str]]:
    """A command and its arguments. Raises ValueError for an unknown command, or none."""
    if not arguments:
        raise ValueError(f"name a command: {', '.join(COMMANDS)}. `pgcourse --help` says what they do.")
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        guess = f"Did you mean {near[0]}? " if near else ""
        raise ValueError(f"there is no command {name!r}. {guess}There are: {', '.join(COMMANDS)}.")
    return name, rest


def message(problem: Exception) -> str:
    """What to print about a problem."""
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.filename}: {problem.strerror}." if problem.filename else f"{problem.strerror}."
    return str(problem)


if __name__ == "__main__":
    sys.exit(main())
