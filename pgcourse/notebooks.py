"""Notebooks from their sources, and pages from the notebooks.

    lectures/NN_slug.py   -> lectures/NN_slug.ipynb
    solutions/NN_slug.py  -> solutions/NN_slug.ipynb   solution regions hold the reference
                          -> exercises/NN_slug.ipynb   solution regions hold the stub

Sources are Python files in percent format. A solution region is a code cell that consists of the one line
``# solution: 03.gaussian_score``; what goes there is written once, in ``pgcourse.grading.tasks``. Its check is a cell of the
one line ``check(gaussian_score).points``. Two tags may follow a cell's marker (``# %% tags=["solution-only"]``):
``solution-only``, not in the exercise, and ``raises-exception``, the cell is there to fail.

Every notebook begins with a cell for Google Colab. In exercises answers and checks carry nbgrader's metadata.
"""

import ast
import functools
import hashlib
import html
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from . import __version__

if TYPE_CHECKING:
    from .grading import Task

TAGS = ("raises-exception", "solution-only")
LONGEST_CELL = 20
"""Lines a code cell may have (a quiz, which is prose, may have more). Cells of 1 to 10 lines are the aim."""

_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_NAME = re.compile(r"\d\d_[a-z0-9_]+")
_REGION = re.compile(r"# solution: (\S+)")
_CHECK = re.compile(r"check\((\w+)\)(\.points)?")

COLAB = f"""# @title On Google Colab this cell installs the course; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    from glob import glob
    from importlib.util import find_spec
    from subprocess import run

    if not find_spec("pgcourse"):
        course = (glob("pgcourse-*.whl") or ["pgcourse=={__version__}"])[0]  # your instructor's, if you have uploaded it
        install = [sys.executable, "-m", "pip", "install", "--quiet"]
        run([*install, "gymnasium[mujoco]>=1.2,<2", "mujoco>=3.2,<3.12", "jaxtyping>=0.2.34"], check=True)
        run([*install, "--no-deps", course], check=True)  # without JupyterLab and ipywidgets: Colab has its own
"""
_COLAB_METADATA = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["colab"]}
_EMPTY_WORDS = re.compile(r"\b(obviously|simply|just|note that)\b", re.IGNORECASE)


_say = functools.partial(print, flush=True)


class SourceError(ValueError):
    """A source file that no notebook can be made of; the message names the file, the cell and what to do."""


def course_folder() -> Path:
    """Where ``lectures``, ``exercises`` and ``solutions`` are: in the installed package, or in the checkout."""
    package = Path(__file__).parent
    for folder in (package / "course", package.parent):
        if (folder / "lectures").is_dir():
            return folder
    raise FileNotFoundError(f"no lectures in {package / 'course'} or {package.parent}: install pgcourse again")


def build(folder: Path | str | None = None) -> list[Path]:
    """Make every notebook of the course from its source, without outputs; returns the files that changed.

    Either all sources are good or nothing is written. Raises SourceError for a malformed source and for a folder that
    is a learner's working copy.
    """
    folder = course_folder() if folder is None else Path(folder)
    if (folder / ".pgcourse").exists():
        raise SourceError(f"{folder} is a learner's working copy; a build would overwrite answers.")
    written = []
    for path, text in _built(folder).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            written.append(path)
    return written


def check(folder: Path | str | None = None) -> list[str]:
    """What is wrong with the course's notebooks and sources, one sentence each; empty when all is well.

    A notebook that is missing, differs from what its source makes, carries outputs or has no source; a source that
    breaks a house rule (long cells, words that hide a gap) or cannot be read.
    """
    folder = course_folder() if folder is None else Path(folder)
    try:
        built = _built(folder)
    except SourceError as error:
        return [str(error)]
    problems = [problem for source in _sources(folder) for problem in _house_rules(source)]
    for path, text in built.items():
        problems += _compare(path, text)
    for kind in ("lectures", "exercises", "solutions"):
        for path in sorted((folder / kind).glob("*.ipynb")):
            if path not in built:
                problems.append(f"{_short(path)} has no source: delete it, or write the source it should come from.")
    return problems


def pages(folder: Path | str | None = None, out: Path | str = "pages", *, say: Callable[[str], None] = _say) -> list[Path]:
    """Execute every lecture and write it to ``out`` as a self-contained page, with an index; returns the files.

    Computes as much as the lectures do (``PGCOURSE_BUDGET=small`` makes them shorter). ``say`` gets the progress lines.
    A lecture that fails gets no page; when the others are written, RuntimeError says which failed, where and why.
    """
    from pgcourse import render

    folder, out = course_folder() if folder is None else Path(folder), Path(out)
    paths = sorted((folder / "lectures").glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(f"no notebooks in {folder / 'lectures'}: run `pgcourse notebooks build` first")
    lectures = {path.stem: nbformat.read(path, as_version=4) for path in paths}
    out.mkdir(parents=True, exist_ok=True)
    written, failed = [], []
    for number, path in enumerate(paths, 1):
        say(f"[{number}/{len(paths)}] {path.stem}: running")
        start = time.perf_counter()
        try:
            page = _write_page(path, lectures, out)
        except (RuntimeError, ValueError) as error:
            failed.append(f"{_short(path)}: {error}")
            say(f"    failed: {error}")
        else:
            written.append(page)
            say(f"    {page} ({page.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - start:.0f} s)")
    index = out / "index.html"
    body = render.fragment(_index(lectures), folder, (page.stem for page in written))
    index.write_text(render.document("Policy gradients", body), encoding="utf-8")
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(paths)} lectures have no page:\n" + "\n".join(failed))
    return [index, *written]


# Sources


def _sources(folder: Path) -> list[Path]:
    return [path for kind in ("lectures", "solutions") for path in sorted((folder / kind).glob("*.py"))]


def _built(folder: Path) -> dict[Path, str]:
    """The text of every notebook that the sources in ``folder`` make, by path."""
    sources = _sources(folder)
    if not sources:
        raise SourceError(f"no *.py in {folder / 'lectures'} or {folder / 'solutions'}: is this the course's folder?")
    used: dict[str, str] = {}
    built = {}
    for source in sources:
        cells = _read(source)
        if source.parent.name == "lectures":
            built[source.with_suffix(".ipynb")] = _text(_lecture(source, cells))
        else:
            solution, exercise = _solution_and_exercise(source, cells, used)
            built[source.with_suffix(".ipynb")] = _text(solution)
            built[folder / "exercises" / f"{source.stem}.ipynb"] = _text(exercise)
    return built


def _read(source: Path) -> list[NotebookNode]:
    """The cells of a source, checked, with ids that depend on their text alone (an insertion changes no other id)."""
    import jupytext

    if not _NAME.fullmatch(source.stem):
        raise SourceError(f"{_short(source)}: a source is named by number and slug, as 03_log_derivative_trick.py")
    try:
        cells = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent").cells
    except nbformat.ValidationError as error:
        raise SourceError(f"{_short(source)}: malformed cell marker: {error.message}") from error
    if not cells:
        raise SourceError(f"{_short(source)}: no cells; a cell begins with `# %%` or `# %% [markdown]`.")
    seen = Counter()
    for number, cell in enumerate(cells, 1):
        for key in ("lines_to_next_cell", "lines_to_end_of_cell_marker"):  # how the source was laid out
            cell.metadata.pop(key, None)
        _validate(cell, _place(source, number, cell))
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return cells


def _validate(cell: NotebookNode, place: str) -> None:
    if cell.cell_type not in ("code", "markdown"):
        raise SourceError(f"{place}: a {cell.cell_type} cell; write `# %%` (code) or `# %% [markdown]`.")
    if other := {key: value for key, value in cell.metadata.items() if key != "tags"}:
        raise SourceError(f"{place}: the marker says {other}; after `# %%` only [markdown] and tags may stand.")
    tags = cell.metadata.get("tags", [])
    if not set(tags) <= set(TAGS):
        raise SourceError(f"{place}: tags are {tags!r}; they can be {', '.join(TAGS)}.")
    if not cell.source.strip():
        raise SourceError(f"{place}: the cell is empty; delete it.")
    if cell.cell_type == "code":
        _validate_code(cell.source, place)


def _validate_code(source: str, place: str) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    if "# solution:" in source and not _REGION.fullmatch(source.strip()):
        raise SourceError(f"{place}: a solution region is a cell of one line, `# solution: 03.gaussian_score`.")
    try:
        ast.parse(TransformerManager().transform_cell(source))  # magics are allowed
    except SyntaxError as error:
        raise SourceError(f"{place}: line {error.lineno}: {error.msg}") from error


def _lecture(source: Path, cells: list[NotebookNode]) -> list[NotebookNode]:
    for number, cell, _ in _regions(cells):
        raise SourceError(f"{_place(source, number, cell)}: solution regions belong in solutions/, not in a lecture.")
    return cells


def _solution_and_exercise(
    source: Path, cells: list[NotebookNode], used: dict[str, str]
) -> tuple[list[NotebookNode], list[NotebookNode]]:
    """The cells of both notebooks; ``used`` collects where each task has its region, over the whole course."""
    from pgcourse import grading

    solution, exercise = list(cells), list(cells)
    for number, cell, identifier in _regions(cells):
        place = _place(source, number, cell)
        if identifier in used:
            raise SourceError(f"{place}: task {identifier} is already asked in {used[identifier]}; ask each task once.")
        used[identifier] = place
        try:
            task = grading.find(identifier)
        except LookupError as error:
            raise SourceError(f"{place}: {error.args[0]}") from error
        solution[number - 1] = _with_source(cell, grading.reference_source(task))
        exercise[number - 1] = _with_nbgrader(_with_source(cell, grading.stub_source(task)), task.name, solution=True)
        check = _check_of(source, cells, task, place)
        exercise[check] = _with_nbgrader(cells[check], f"check_{task.name}", grade=True, locked=True, points=task.points)
    return solution, [cell for cell in exercise if "solution-only" not in cell.metadata.get("tags", [])]


def _regions(cells: list[NotebookNode]) -> Iterator[tuple[int, NotebookNode, str]]:
    """Number (from 1), cell and task id of each solution region."""
    for number, cell in enumerate(cells, 1):
        if cell.cell_type == "code" and (match := _REGION.fullmatch(cell.source.strip())):
            yield number, cell, match[1]


def _check_of(source: Path, cells: list[NotebookNode], task: "Task", place: str) -> int:
    """Index of the cell ``check(f).points`` of a task: the one that a department's grading tool takes the points from."""
    found = []
    for number, cell in enumerate(cells, 1):
        match = _CHECK.fullmatch(cell.source.strip())
        if cell.cell_type == "code" and match and match[1] == task.name:
            if not match[2]:
                raise SourceError(f"{_place(source, number, cell)}: write check({task.name}).points, to show the points.")
            found.append(number - 1)
    if len(found) != 1:
        raise SourceError(f"{place}: {len(found)} cells are check({task.name}).points; there must be one.")
    return found[0]


def _with_nbgrader(cell: NotebookNode, name: str, **settings) -> NotebookNode:
    """The cell with nbgrader's metadata, schema 3. Locked: nbgrader puts the cell's text back before it grades."""
    kind = {"grade": False, "locked": False, "solution": False, "task": False} | settings
    return NotebookNode(cell, metadata={**cell.metadata, "nbgrader": {"schema_version": 3, "grade_id": name, **kind}})


def _with_source(cell: NotebookNode, source: str) -> NotebookNode:
    return NotebookNode(cell, source=source.strip("\n"))


def _text(cells: list[NotebookNode]) -> str:
    colab = nbformat.v4.new_code_cell(COLAB.strip(), id="colab", metadata=_COLAB_METADATA)
    cells = [colab, *cells]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=_METADATA)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _place(source: Path, number: int, cell: NotebookNode) -> str:
    return f"{_short(source)}, cell {number} ({(cell.source.strip().splitlines() or ['empty'])[0][:60]!r})"


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


# Checks


def _house_rules(source: Path) -> Iterator[str]:
    for number, cell in enumerate(_read(source), 1):
        lines = len(cell.source.splitlines())
        if cell.cell_type == "code" and lines > LONGEST_CELL and not cell.source.startswith("widgets.quiz("):
            yield f"{_place(source, number, cell)}: {lines} lines of code; split it, {LONGEST_CELL} are the most."
        if cell.cell_type == "markdown" and (word := _EMPTY_WORDS.search(cell.source)):
            yield f"{_place(source, number, cell)}: says {word[0]!r}; leave it out, or say why it is so."


def _compare(path: Path, text: str) -> list[str]:
    """How the notebook at ``path`` differs from ``text``, what its source makes."""
    remedy = "Run `pgcourse notebooks build`."
    if not path.exists():
        return [f"{_short(path)} is missing. {remedy}"]
    found = path.read_text(encoding="utf-8")
    if found == text:
        return []
    try:
        cells, wanted = json.loads(found)["cells"], json.loads(text)["cells"]
        outputs = [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
        sources = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{_short(path)} is not a notebook. {remedy}"]
    problems = [f"{_short(path)} carries outputs; notebooks are kept without. {remedy}"] if outputs else []
    expected = [("".join(cell["source"]), cell["cell_type"]) for cell in wanted]
    if sources != expected:
        number = next((i for i, pair in enumerate(zip(sources, expected, strict=False), 1) if pair[0] != pair[1]), None)
        where = f"cell {number}" if number else "the number of cells"
        problems.append(f"{_short(path)} differs from its source in {where}. Edit the source instead. {remedy}")
    return problems or [f"{_short(path)} differs from its source in metadata or cell ids. {remedy}"]


# Pages


def _write_page(path: Path, lectures: dict[str, NotebookNode], out: Path) -> Path:
    from pgcourse import render

    notebook = lectures[path.stem]
    notebook.cells = [cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])]
    execute(notebook, path)
    body = render.fragment(notebook, path.parent, lectures)
    page = out / f"{path.stem}.html"
    title = heading(notebook, path.stem)[0].replace("$", "")
    page.write_text(render.document(title, body, _navigation(lectures, path.stem)), encoding="utf-8")
    return page


def execute(notebook: NotebookNode, path: Path) -> None:
    """Run all cells in place. RuntimeError names the cell that failed."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

    begun = []
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=lambda cell, cell_index: begun.append(cell_index + 1),
    )
    try:
        client.execute()
    except (CellControlSignal, DeadKernelError) as error:
        reason = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
        raise RuntimeError(f"cell {begun[-1]}: {reason}") from error


def heading(notebook: NotebookNode, otherwise: str) -> tuple[str, str]:
    """Title (without markup) and first paragraph of a lecture."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    match = re.search(r"^# +(.+?) *$\s*([^#]*?)(?:\n\s*\n|\Z)", text, re.MULTILINE)
    return (re.sub("[`*]", "", match[1]), match[2]) if match else (otherwise, "")


def _navigation(lectures: dict[str, NotebookNode], name: str) -> str:
    names = list(lectures)
    here = names.index(name)
    before = _link(lectures, names[here - 1], "&larr; ") if here else "<span></span>"
    after = _link(lectures, names[here + 1], "", " &rarr;") if here + 1 < len(names) else "<span></span>"
    return f'<nav>{before}<a href="index.html">All lectures</a>{after}</nav>'


def _link(lectures: dict[str, NotebookNode], name: str, before: str = "", after: str = "") -> str:
    return f'<a href="{name}.html">{before}{html.escape(heading(lectures[name], name)[0])}{after}</a>'


def _index(lectures: dict[str, NotebookNode]) -> NotebookNode:
    """A notebook whose one cell lists the lectures."""
    lines = ["# Policy gradients", "The lectures, executed. To change them and do the exercises, install the course."]
    for name, notebook in lectures.items():
        title, question = heading(notebook, name)
        lines.append(f"**[{title}]({name}.ipynb)**  \n{question}")
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("\n\n".join(lines))])
