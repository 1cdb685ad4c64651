"""A lecture in front of an audience: ``live`` in JupyterLab, or as ``slides`` in one file (``export``).

Live, JupyterLab works on a temporary copy of the course and with settings of its own, given to it where it starts: neither
the course nor the user's JupyterLab is changed, and nothing comes from the network. What JupyterLab has no setting for
(presentation mode from the start, large type, the current cell in view) is done by ``static/lab``, a small extension of it.
"""

import errno
import itertools
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

from . import budget, notebooks, render, workspace

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},  # what is in the copy was saved on purpose
    "@jupyterlab/notebook-extension:tracker": {
        "codeCellConfig": {"lineNumbers": False, "lineWrap": True},
        "windowingMode": "none",  # every cell is as high as it looks: scrolling does not jump
    },
    "@jupyterlab/statusbar-extension:plugin": {"visible": False},
}
"""JupyterLab's settings during a presentation, by plugin."""

FIRST_PORT = 8888


def find(number: str, course: Path) -> Path:
    """The lecture with this number. Raises ValueError, which says which lectures there are."""
    lectures = sorted((course / "lectures").glob("[0-9][0-9]_*.ipynb"))
    for path in lectures:
        if number and path.name[:2] == number.zfill(2):
            return path
    raise ValueError(f"there is no lecture {number!r}. There are: {', '.join(path.stem for path in lectures)}.")


def read(lecture: Path) -> NotebookNode:
    """The notebook without the cell for Google Colab, which does nothing here."""
    notebook = nbformat.read(lecture, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])]
    return notebook


# Live


def live(lecture: Path, *, port: int | None = None, browser: bool = True) -> None:
    """Serve a copy of a lecture to be presented, until Ctrl-C; says where the copy is and, at the end, whether it is kept.

    ``lecture`` is a file in the ``lectures`` of a course. ``port``: by default the first free one from 8888 on. Raises
    ValueError for a port that is in use.
    """
    port = free_port(port)
    folder = Path(tempfile.mkdtemp(prefix="pgcourse-present-"))
    course, home = folder / "course", folder / "jupyter"
    workspace.start(course, lecture.parent.parent)
    nbformat.write(read(lecture), course / "lectures" / lecture.name)
    before = contents(course)
    page, token = f"/doc/tree/lectures/{lecture.name}", secrets.token_hex(16)
    os.environ |= {"JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": str(home)}
    from jupyterlab.labapp import LabApp  # which looks there when it is imported

    print(f"Presenting a copy, {course / 'lectures' / lecture.name}: nothing you do there changes the course.")
    print(f"    http://127.0.0.1:{port}{page}?token={token}")
    print("Shift-Enter shows and runs one cell after the other; I I stops a run. Ctrl-C here ends it.", flush=True)
    try:
        LabApp.launch_instance(options(course, home, port, page, browser))
    finally:
        shutil.rmtree(home, ignore_errors=True)
        saved = [name for name, content in contents(course).items() if before.get(name) != content]
        if saved:
            print(f"You saved {', '.join(saved)}: kept in {course}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def options(course: Path, home: Path, port: int, page: str, browser: bool) -> list[str]:
    """JupyterLab's command line; writes the settings it names into ``home``."""
    settings = home / "settings"
    settings.mkdir(parents=True)
    (settings / "overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    return [
        "--Application.log_level=CRITICAL",
        "--allow-root",
        f"--ServerApp.root_dir={course}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.answer_yes=True",  # Ctrl-C ends it without a question
        f"--ServerApp.open_browser={browser}",
        f"--LabApp.default_url={page}",
        f"--LabApp.app_settings_dir={settings}",
        f"--LabApp.user_settings_dir={home / 'user-settings'}",
        f"--LabApp.workspaces_dir={home / 'workspaces'}",
        f"--LabApp.extra_labextensions_path={render.STATIC / 'lab'}",
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def free_port(port: int | None) -> int:
    """``port`` if it can be had, or the first free one from 8888 on. Raises ValueError where there is none."""
    last = FIRST_PORT + 99
    for candidate in range(FIRST_PORT, last + 1) if port is None else [port]:
        try:
            with socket.socket() as test:
                test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
                test.bind(("127.0.0.1", candidate))
                return candidate
        except (OSError, OverflowError) as problem:
            if port is not None:
                reason = "it is in use" if getattr(problem, "errno", None) == errno.EADDRINUSE else str(problem)
                raise ValueError(f"cannot use port {port} ({reason}). Choose another, or leave --port out.") from problem
    raise ValueError(f"no port from {FIRST_PORT} to {last} is free. Name another: --port 9000.")


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder by name, without JupyterLab's checkpoints."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".ipynb_checkpoints" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# Slides


def export(lecture: Path, out: Path) -> None:
    """Execute a lecture and write it to ``out`` as slides: one file that needs nothing but a browser.

    Computes as much as the lecture does (``PGCOURSE_BUDGET=small`` makes it shorter). Raises ValueError for a file that
    is not .html, OSError where it cannot be written, both before anything is computed; RuntimeError for a cell that fails.
    """
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"{out} does not end in .html, which the slides are.")
    if out.is_dir() or not out.parent.is_dir():
        number = errno.EISDIR if out.is_dir() else errno.ENOENT
        raise OSError(number, os.strerror(number), str(out if out.is_dir() else out.parent))
    budget.small()  # says now, not in some cell, that the switch is set to nonsense
    print(f"Executing {lecture.stem}; this can take minutes.", flush=True)
    notebook = read(lecture)
    notebooks.execute(notebook, lecture)
    out.write_text(slides(notebook, lecture.parent), encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def slides(notebook: NotebookNode, folder: Path) -> str:
    """An executed lecture as a self-contained slide file. ``folder`` is where pictures named in the text are found.

    The blocks in it (a paragraph, a formula, code, an output) are laid on slides by ``slides.js``, in the browser: how high
    a block is depends on the reader's fonts. Without scripts they are one long page.
    """
    style, script = ((render.STATIC / name).read_text(encoding="utf-8") for name in ("slides.css", "slides.js"))
    title = notebooks.heading(notebook, "Slides")[0].replace("$", "")
    body = "\n".join(str(block) for block in blocks(notebook, folder))
    return render.document(title, body, head=f"<style>\n{style}</style>\n<script>\n{script}</script>")


def blocks(notebook: NotebookNode, folder: Path) -> Iterator[Tag]:
    """What slides are made of, in order: ``<div class="block KIND">`` with KIND text, heading, code, output or answer.

    Two more classes: ``begins``, the first on its slide, because it is a heading, or because what stands before it is a
    question that is to be thought about; ``stays``, on the same slide as the next one, if both fit on one.
    """
    soup = BeautifulSoup(render.fragment(notebook, folder), "html.parser")
    asked = False  # whether the last cell was a question
    for cell, source in zip(soup.find_all("div", class_="cell", recursive=False), notebook.cells, strict=True):
        question = source.source.startswith(render.QUESTIONS)
        for number, (kind, content, stays) in enumerate(_quiz(cell) if question and cell.details else _parts(cell)):
            begins = (asked and number == 0) or kind in ("heading", "question", "answer")
            kinds = " ".join(["block", kind, *["begins"] * begins, *["stays"] * stays])
            block = soup.new_tag("div", attrs={"class": kinds})
            block.append(content)
            yield block
        asked = question


def _parts(cell: Tag) -> Iterator[tuple[str, Tag, bool]]:
    """Kind and content of a cell's blocks, and whether each stays with the next."""
    for text in cell.find_all("div", class_="text_cell_render"):
        parts = text.find_all(True, recursive=False)
        for part, after in itertools.zip_longest(parts, parts[1:]):
            heading = part.name in ("h1", "h2", "h3")
            leads_in = part.get_text().rstrip().endswith(":") or (after is not None and after.name in ("ul", "ol", "table"))
            yield "heading" if heading else "text", part.extract(), heading or leads_in
    for code in cell.select(".input .highlight"):
        yield "code", code.extract(), True
    for output in cell.find_all("div", class_="output_area"):
        yield "output", output.extract(), False


def _quiz(cell: Tag) -> Iterator[tuple[str, Tag, bool]]:
    """Each question, and after it its answer: on paper, too, nobody reads an answer with the question."""
    for number, item in enumerate(cell.select("ol > li"), 1):
        (answer,), (question, *_) = item.select("details"), item.select("p")
        answer.extract()
        item.name = answer.name = "div"
        question.insert(0, f"{number}. ")
        answer.select("summary")[0].replace_with(copy(question))
        yield "question", item, False
        yield "answer", answer, False
