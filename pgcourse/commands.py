"""The commands of the command line. Their signatures and docstrings are their flags and help (tyro reads them)."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from . import runs
from .cli import COMMANDS

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
File = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
Algorithm = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ALGORITHM")]
Environment = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENVIRONMENT")]


def run(name: str, arguments: Sequence[str]) -> int:
    """Parse the arguments of a command and run it; returns its exit code. SystemExit where they cannot be parsed."""
    command, words = globals()[name], f"pgcourse {name}"
    if name == "gradebook":
        return tyro.extras.subcommand_cli_from_dict(command, args=arguments, prog=words, description=COMMANDS[name])
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
    from .handin import working_in

    print(f"Executing the imports, functions, classes and constants in {file}.")
    file = file.resolve()  # before the folder changes
    with working_in(file.parent):
        return _check(file)


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


def submit(folder: Folder = Path(), student: str | None = None) -> int:
    """Check your exercises and pack those you worked on into one zip, to be handed in.

    This executes the definitions in your notebooks: imports, functions, classes, constants.

    Args:
        folder: Your working copy of the course, or one notebook.
        student: Your name or number, where the pack must bear it; your instructor knows.
    """
    from . import handin

    print("Executing the imports, functions, classes and constants in your exercises.")
    return 0 if handin.submit(folder, student, _check) else 1


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
        environment: Its name, such as CartPole-v1, or one of Gymnasium's, such as Pusher-v5.
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
        environment: Its name, such as CartPole-v1, or one of Gymnasium's, such as Pusher-v5.
    """
    return command


def sweep(
    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    seeds: int = 16,
    replicas: int = 16,
    seed: int = 0,
    iterations: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None,
    engine: Literal["local", "ray"] = "local",
    workers: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/sweep"),
) -> int:
    """Train several algorithms in several environments, here or on a Ray cluster, and compare them.

    pgcourse sweep reinforce rwr CartPole-v1 Acrobot-v1 --seeds 16. A run that is finished is never done again: interrupted or
    killed, the same command goes on where it was.

    Args:
        names: Algorithms and environments, in any order; every algorithm is trained in every environment.
        seeds: How many learners of each.
        replicas: How many of them are trained at once, as one run; fewer make more runs, to be spread over more machines.
        seed: The first learner's; the others have the next ones.
        iterations: Updates of each learner, instead of each algorithm's own number.
        engine: Where: on this machine, or on a Ray cluster (docs/howto_ray.md).
        workers: How many runs are under way at once; by default one for each core.
        out: Where each run gets a folder.
    """
    from . import sweep as module

    planned = module.plan(names, seeds, replicas, seed, iterations)
    try:
        failed = module.sweep(planned, out, engine, workers)
    except KeyboardInterrupt:
        print(f"\nWhat is finished is in {out}; the same command goes on from there.", file=sys.stderr)
        raise
    print(module.table(planned, out))
    if failed:
        print(f"pgcourse: {len(failed)} of {len(planned)} runs failed; the same command tries them again.", file=sys.stderr)
    return 1 if failed else 0


def present(
    lecture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NN")],
    export: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    port: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None,
    browser: bool = True,
) -> int:
    """Present a lecture: live in JupyterLab, or with --export as slides in one file.

    Live it is a copy of the lecture: demonstrating never changes the course.

    Args:
        lecture: Its number, such as 04.
        export: Execute the lecture and write it as slides to this .html file instead; they need nothing but a browser.
        port: For JupyterLab; by default the first free one from 8888 on.
        browser: Open a browser; otherwise the address is printed only.
    """
    from . import present as module
    from .notebooks import course_folder

    path = module.find(lecture, course_folder())
    if export is None:
        module.live(path, port=port, browser=browser)
        return 0
    try:
        module.export(path, export)
    except RuntimeError as problem:
        print(f"pgcourse: {path.stem}, {problem}", file=sys.stderr)
        return 1
    return 0


Book = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GRADEBOOK")]
Submissions = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SUBMISSIONS")]


def grade(
    submissions: Submissions,
    gradebook: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    lectures: Annotated[str | None, tyro.conf.arg(metavar="NN-NN")] = None,
    workers: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None,
    engine: Literal["local", "ray"] = "local",
    late: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    trust_submissions: bool = False,
) -> int:
    """Grade a class: a folder, a zip or a download from Canvas, Moodle or Gradescope.

    What is in the gradebook already is not graded again: interrupted or killed, the same command goes on where it was.

    Args:
        submissions: A file or folder for each student, a zip of these, or the download as it came.
        gradebook: Where results are kept, such as course.db; begun if it is not there.
        lectures: Whose tasks count, such as 03 or 03-05. By default those of which somebody answers a task. A gradebook
            keeps what it was begun with.
        workers: How many submissions are graded at once; by default one for each core.
        engine: Where: on this machine, or on a Ray cluster (docs/howto_ray.md).
        late: A TOML file that says what handing in late costs: due = 2026-03-01T23:59:00+01:00, grace_minutes = 15,
            deduction_per_day = 10 (percent of the points), cutoff_days = 5, and below [extensions] lines such as
            "ada" = 2026-03-05T23:59:00+01:00. Only due must be there.
        trust_submissions: Grade even where students' code cannot be confined. It then runs with your rights.
    """
    from .grading import classroom

    return _attempted(
        lambda: classroom.run(
            *(submissions, gradebook),
            **{"lectures": lectures, "workers": workers, "engine": engine, "late": late, "trust": trust_submissions},
        )
    )


def _attempted(run: Callable[[], None]) -> int:
    """0, or 1 with the message of what could not be done."""
    try:
        run()
    except RuntimeError as problem:
        print(f"pgcourse: {problem}", file=sys.stderr)
        return 1
    return 0


def _show(gradebook: Book) -> int:
    """Show how everyone stands.

    Args:
        gradebook: The file that pgcourse grade wrote.
    """
    from .grading.classroom import table
    from .grading.gradebook import Gradebook

    with Gradebook(gradebook) as book:
        print(table(book.standings()))
    return 0


def _override(
    gradebook: Book,
    student: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDENT")],
    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")],
    points: Annotated[float, tyro.conf.Positional, tyro.conf.arg(metavar="POINTS")],
    reason: Annotated[str, tyro.conf.arg(metavar="TEXT")],
) -> int:
    """Set the points of one task by hand. They count for whatever the student hands in later, too.

    Args:
        gradebook: The file that pgcourse grade wrote.
        student: As pgcourse gradebook show names the student.
        task: Its id, such as 03.gaussian_score.
        points: From 0 to what the task has.
        reason: Why; the student reads it.
    """
    import getpass

    from .grading.gradebook import Gradebook

    try:
        who = getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        who = "?"
    with Gradebook(gradebook) as book:
        book.override(student, task, points, reason, who)
        standing = next(standing for standing in book.standings() if standing.student == student)
    print(f"{student}: {points:g} for {task}, {standing.points:g}/{standing.max_points} in all.")
    return 0


def _regrade(
    gradebook: Book,
    submissions: Submissions,
    everything: bool = False,
    workers: Annotated[int | None, tyro.conf.arg(metavar="NUMBER")] = None,
    engine: Literal["local", "ray"] = "local",
    trust_submissions: bool = False,
) -> int:
    """Grade again what was judged by other versions of the tasks. Earlier results are kept; the new ones count.

    Args:
        gradebook: The file that pgcourse grade wrote.
        submissions: What was graded: the same folder, zip or download. Those not given here stay as they are.
        everything: Grade all of it again, even what was judged by these versions of the tasks.
        workers: How many submissions are graded at once; by default one for each core.
        engine: Where: on this machine, or on a Ray cluster.
        trust_submissions: As for pgcourse grade.
    """
    from .grading import classroom

    again = "all" if everything else "changed"
    settings = {"workers": workers, "engine": engine, "trust": trust_submissions, "again": again}
    return _attempted(lambda: classroom.run(submissions, gradebook, **settings))


def _export(
    gradebook: Book,
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    format: Literal["csv", "canvas", "moodle", "gradescope"] = "csv",
    title: str = "Policy gradients",
) -> int:
    """Write the marks to a CSV file.

    Args:
        gradebook: The file that pgcourse grade wrote.
        out: The file to write, such as marks.csv.
        format: csv has everything. canvas and moodle have what their gradebooks import; moodle is for the assignment's
            offline grading worksheet. gradescope has the columns of Gradescope's own export.
        title: For canvas: the name of the assignment there, or Canvas makes a new one.
    """
    from .grading import exports
    from .grading.gradebook import Gradebook

    with Gradebook(gradebook) as book:
        text = exports.table(book.standings(), book.people(), format, title)
    out.write_text(text, encoding="utf-8", newline="")
    print(f"wrote {out}")
    return 0


gradebook = {"show": _show, "override": _override, "regrade": _regrade, "export": _export}
"""The commands below ``pgcourse gradebook``."""


def feedback(
    gradebook: Book,
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    title: str = "Policy gradients",
) -> int:
    """Write a page for every student in a gradebook, and a report on the class.

    The pages need nothing but a browser. A student's page holds nothing about anybody else; class_report.html is for you.

    Args:
        gradebook: The file that pgcourse grade wrote.
        out: The folder to write them to. Pages from before are overwritten.
        title: What stands at the top of every page, such as the name of the assignment.
    """
    from .grading import feedback as module
    from .grading.gradebook import Gradebook

    with Gradebook(gradebook) as book:
        *pages, report = module.write(book.standings(), out, title)
    print(f"{out}: {len(pages)} pages for students.\n{report}: for you; it names everybody.")
    return 0


def audit(
    which: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = (),
    runs: int = 20,
    learning: bool = False,
) -> int:
    """Test the checks themselves: right solutions must pass, wrong ones be rejected by name; says how sure that is.

    Your own task modules count too, where the environment variable PGCOURSE_TASKS names their folder (see CONTRIBUTING.md).

    Args:
        which: Tasks by id (04.batched_returns) or function name, or lectures by number (04); none: all tasks.
        runs: Checks of every right solution, each with inputs of its own, to measure how often one fails.
        learning: Train where a task asks for it; seconds each.
    """
    from . import grading
    from .grading import audit as module

    if runs < 1:
        raise ValueError(f"--runs is {runs}; it must be at least 1.")
    chosen = [task for task in grading.tasks() if not which or {task.id, task.name, task.id[:2]} & set(which)]
    known = {name for task in chosen for name in (task.id, task.name, task.id[:2])}
    for name in which:
        if name not in known:
            try:
                grading.find(name)
            except grading.UnknownTask as problem:
                raise ValueError(str(problem)) from None
    good = True
    for task in chosen:
        text, right = module.examine(task, runs, learning)
        print(text, flush=True)
        good &= right
    return 0 if good else 1


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
    return _attempted(module.pages)


def release(
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    lectures: str,
    sealed: bool = False,
    gradescope: bool = False,
) -> int:
    """Write what a class gets: a folder with lectures, exercises, the course to install, and no answers.

    Args:
        out: The new folder.
        lectures: Which, as 03 or 03-05. Lecture 00 comes with them.
        sealed: Also leave solutions and mistakes out of the course's wheel.
        gradescope: Also write OUT-gradescope.zip, Gradescope's autograder. It holds the answers and is not for the class.
    """
    from .release import release

    def write() -> None:
        for path in release(out, lectures, sealed, gradescope):
            print(f"wrote {path}")

    return _attempted(write)


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
