"""The commands of the command line. Their signatures and docstrings are their flags and help (tyro reads them)."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro

from . import runs

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Algorithm = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ALGORITHM")]
Environment = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENVIRONMENT")]


def run(name: str, arguments: Sequence[str]) -> int:
    """Parse the arguments of a command and run it; returns its exit code. SystemExit where they cannot be parsed."""
    command, words = globals()[name], f"pgcourse {name}"
    if name == "train" and arguments and not arguments[0].startswith("-"):
        # Which flags there are depends on the algorithm, so its name is read before the others.
        command, words, arguments = training(arguments[0]), f"{words} {arguments[0]}", arguments[1:]
    return tyro.cli(command, args=arguments, prog=words)


def start(folder: Folder = Path("my-course")) -> int:
    """Make your working copy of the course, or bring it up to date; your own work is never overwritten.

    Args:
        folder: Where to. It is made if it is not there.
    """
    from . import workspace
    from .notebooks import course_folder

    course = course_folder()
    try:
        changes = workspace.start(folder, course)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise ValueError(f"cannot write to {folder} ({reason}). Choose another folder: pgcourse start FOLDER.") from problem
    new = len(changes.added), len(changes.updated)
    print(f"{folder}: " + (f"{new[0]} new, {new[1]} updated." if any(new) else "up to date."))
    for name, beside in changes.beside:
        print(f"  {name} has your work in it and was left; the new version lies beside it as {Path(beside).name}")
    return 0


def check(file: File) -> int:
    """Check the answers in an exercise of yours.

    This executes the definitions in the file: imports, functions, classes, constants.

    Args:
        file: A notebook (.ipynb) or a Python file (.py).
    """
    if not file.is_file():
        raise ValueError(f"there is no file {file}; give a notebook (.ipynb) or a Python file (.py).")
    print(f"Executing the imports, functions, classes and constants in {file}.")
    with _working_in(file.resolve().parent):  # as its notebook does: progress is noted there, its own modules are found
        return _check(file.resolve())


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        with chdir(folder):
            yield
    finally:
        sys.path.remove(str(folder))


def _check(file: Path) -> int:
    from . import answers, grading

    found = answers.read(file)
    for notice in found.notices:
        print(f"  note: {notice}")
    tasks = [task for task in grading.tasks() if task.name in found.functions]
    if not tasks:
        names = ", ".join(task.name for task in grading.tasks())
        raise ValueError(f"{file} defines none of the functions that are asked for. They are: {names}.")
    outcomes = []
    for task in tasks:
        print()
        outcomes.append(grading.check(found.functions[task.name]))
    return _report(tasks, outcomes)


def _report(tasks, outcomes) -> int:
    """Print the table; 0 when all points were earned, else 1."""
    width = max(len(task.id) for task in tasks)
    print(f"\n{'task':{width}}  points  status")
    for task, outcome in zip(tasks, outcomes, strict=True):
        print(f"{task.id:{width}}  {outcome.points:>2}/{task.points:<3}  {outcome.status}")
    total, possible = sum(outcome.points for outcome in outcomes), sum(task.points for task in tasks)
    print(f"{'total':{width}}  {total:>2}/{possible}")
    return 0 if total == possible else 1


def progress(folder: Folder = Path()) -> int:
    """Show what is done over the whole course.

    Args:
        folder: Your working copy of the course.
    """
    from . import grading

    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give your working copy of the course (pgcourse start makes one).")
    grading.progress(folder)
    return 0


def train(algorithm: Algorithm, environment: Environment, run: Annotated[runs.Run, tyro.conf.arg(name="")]) -> int:
    """Train many learners at once: pgcourse train ALGORITHM ENVIRONMENT --replicas 16.

    The algorithm's settings are flags too; pgcourse train ALGORITHM --help lists them.

    Args:
        algorithm: Its name, such as reinforce. It comes before any flag.
        environment: Its name, such as CartPole-v1, or one of Gymnasium's, such as InvertedPendulum-v5.
        run: What holds for every algorithm.
    """
    raise ValueError(f"name the algorithm before any flag: pgcourse train {algorithm} {environment} --replicas {run.replicas}")


def training(algorithm: str) -> Callable[..., int]:
    """The command ``train ALGORITHM``, with a flag for each field of the algorithm's Config."""
    config_class = runs.algorithm(algorithm).Config

    def command(
        environment: Environment,
        run: Annotated[runs.Run, tyro.conf.arg(name="")],
        config: Annotated[config_class, tyro.conf.arg(name="")],  # pyright: ignore[reportInvalidTypeForm]
    ) -> int:
        try:
            folder = runs.train(algorithm, environment, config, run)
        except FloatingPointError as problem:
            print(f"pgcourse: {problem}", file=sys.stderr)
            return 1
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
        return 0

    command.__doc__ = f"""Train {algorithm} in an environment.

    Args:
        environment: Its name, such as CartPole-v1, or one of Gymnasium's, such as InvertedPendulum-v5.
    """
    return command


def notebooks(action: Annotated[Literal["build", "check", "pages"], tyro.conf.Positional]) -> int:
    """Build the course's notebooks from their sources, check that they are up to date, or render pages.

    Args:
        action: build, check, or pages (execute the lectures and write them to pages/).
    """
    from . import notebooks as module

    if action == "check":
        problems = module.check()
        print("\n".join(problems) or "The notebooks are what their sources make.")
        return 1 if problems else 0
    if action == "build":
        for path in module.build():
            print(f"wrote {path}")
        return 0
    try:
        module.pages()
    except RuntimeError as problem:
        print(f"pgcourse: {problem}", file=sys.stderr)
        return 1
    return 0


def doctor() -> int:
    """See what works on this machine, and what to do about what does not."""
    from .doctor import examine

    healthy = True
    for finding in examine():
        healthy &= finding.works or not finding.essential
        mark = "ok" if finding.works else "MISSING" if finding.essential else "--"
        print(f"{mark:8}{finding.subject:24}{finding.found}", flush=True)
        if not finding.works:
            print(f"{'':32}{finding.remedy}")
    print("The course runs here." if healthy else "The course does not run here yet: see MISSING.")
    return 0 if healthy else 1
