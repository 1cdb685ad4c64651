"""Handing in: one zip of the exercises that were worked on. What is in it is, byte for byte, what is graded.

    handin.zip, or ada.zip with ``--student ada``
        03_log_derivative_trick.ipynb
        manifest.json       {"format": 1, "course": version, "student": ..., "submitted": time, "files": {name: sha256}}

A notebook without an answer is left out. One that cannot be read is packed nevertheless, and said to be worth nothing as it is:
the instructor then sees that there was work, and when. A pack that was made before is renamed, never overwritten.
"""

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import __version__, answers, grading, workspace
from .grading.judge import NOT_ATTEMPTED, count
from .grading.submissions import FILE_LIMIT, TOTAL_LIMIT

MANIFEST = "manifest.json"
_STUDENT = re.compile(r"[\w@+][\w@+ .-]{0,99}")


@dataclass(frozen=True)
class Exercise:
    """One file and what it answers."""

    path: Path
    content: bytes
    asked: tuple[str, ...] = ()
    """Functions in it that a task asks for."""
    attempted: tuple[str, ...] = ()
    """Those of them that do more than raise NotImplementedError."""
    broken: str = ""
    """Why it cannot be read."""
    modules: tuple[str, ...] = ()
    """Python files beside it that it imports."""


def submit(folder: Path, student: str | None, check: Callable[[Path], object]) -> bool:
    """Check and pack the exercises in a working copy, or one file; prints what is in the pack. Whether all of it can be graded.

    ``check(path)`` judges a file and prints the table. Raises ValueError where there is nothing to hand in.
    """
    if student is not None and not _STUDENT.fullmatch(student):
        raise ValueError(f"--student {student!r}: give letters, digits, spaces and @ + . - _ only, 100 at most.")
    paths = exercises(folder)
    found = [examine(path) for path in paths]
    chosen = [each for each in found if each.attempted or each.broken]
    if not any(each.attempted for each in chosen):
        broken = "".join(f" {each.broken}" for each in chosen)
        raise ValueError(f"there is nothing to hand in: no task is attempted in {_listed(paths)}.{broken}")
    _refuse_too_large(chosen)
    for each in chosen:
        if not each.broken:
            print(f"\n{each.path.name}")
            with working_in(each.path.parent):
                check(each.path)
        if each.path.read_bytes() != each.content:
            raise ValueError(f"{each.path} was changed while it was checked. Save it and run this again.")
    home = folder if folder.is_dir() else folder.parent
    path = home / f"{student or 'handin'}.zip"
    before = _put_aside(path)
    content = pack([(each.path.name, each.content) for each in chosen], student, datetime.now().astimezone())
    path.write_bytes(content)
    _tell(path, content, before, found)
    return not any(each.broken for each in chosen)


def exercises(folder: Path) -> list[Path]:
    """The exercise notebooks of a working copy (its ``exercises`` folder), of a folder without one, or the one file given."""
    folder = folder.resolve()
    if folder.is_file():
        if folder.suffix not in (".ipynb", ".py"):
            raise ValueError(f"{folder} is neither a notebook (.ipynb) nor a Python file (.py).")
        return [folder]
    if not folder.is_dir():
        raise ValueError(f"there is no {folder}; give your working copy of the course, or one notebook.")
    inside = folder / "exercises" if (folder / "exercises").is_dir() else folder
    paths = sorted(path for path in inside.glob("*.ipynb") if path.is_file() and not path.name.startswith("."))
    if not paths:
        home = workspace.root(folder)
        hint = f" Your working copy is {home}." if home and home != folder else ""
        raise ValueError(f"there is no notebook in {inside}; give your working copy of the course, or one notebook.{hint}")
    return paths


def examine(path: Path) -> Exercise:
    """Read a file and find out which tasks are attempted in it; executes its definitions and calls its functions."""
    content = path.read_bytes()
    with working_in(path.parent):
        try:
            functions = answers.read_files([(path.name, content)]).functions
        except ValueError as problem:
            return Exercise(path, content, broken=str(problem))
        asked = [task for task in grading.tasks() if task.name in functions]
        status = {task.name: grading.judge(task, functions[task.name], 0, learning=False).status for task in asked}
    attempted = tuple(name for name in status if status[name] != NOT_ATTEMPTED)
    files = {Path(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    modules = tuple(sorted(file.name for file in files if file.parent == path.parent))
    return Exercise(path, content, tuple(status), attempted, modules=modules)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """As a notebook does in its folder: progress is noted there, its own modules are found."""
    sys.path.insert(0, str(folder))
    try:
        with chdir(folder):
            yield
    finally:
        sys.path.remove(str(folder))


def pack(files: Sequence[tuple[str, bytes]], student: str | None, submitted: datetime) -> bytes:
    """The zip; the same bytes for the same files, student and time."""
    manifest = {
        "format": 1,
        "course": __version__,
        "student": student,
        "submitted": submitted.isoformat(timespec="seconds"),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files)},
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in [*sorted(files), (MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")]:
            member = zipfile.ZipInfo(name)  # dated 1980, whenever it is made
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED, 9)
    return written.getvalue()


def _refuse_too_large(chosen: Sequence[Exercise]) -> None:
    remedy = "In JupyterLab: Edit > Clear Outputs of All Cells, save, and run this again."
    for each in chosen:
        if len(each.content) > FILE_LIMIT:
            raise ValueError(f"{each.path} is larger than the {FILE_LIMIT >> 20} MiB that are graded. {remedy}")
    if sum(len(each.content) for each in chosen) > TOTAL_LIMIT:
        raise ValueError(f"together the notebooks are larger than the {TOTAL_LIMIT >> 20} MiB that are graded. {remedy}")


def _put_aside(path: Path) -> Path | None:
    """Rename what is there to NAME.TIME.zip; returns its new name."""
    if not path.exists():
        return None
    time = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d-%H%M%S")
    number = 1
    while (aside := path.with_name(f"{path.stem}.{time}{f'-{number}' if number > 1 else ''}.zip")).exists():
        number += 1
    return path.rename(aside)


def _tell(path: Path, content: bytes, before: Path | None, found: Sequence[Exercise]) -> None:
    print()
    if before:
        print(f"The pack that was there is now called {before.name}.")
    print(f"{path} is ready to be handed in. It holds")
    for each in found:
        if each.attempted or each.broken:
            print(f"  {each.path.name}  (sha256 {hashlib.sha256(each.content).hexdigest()[:16]}...)")
        if each.attempted:
            print(f"    attempted {len(each.attempted)} of {count(len(each.asked), 'task')}: {', '.join(each.attempted)}")
        if each.broken:
            print(f"    IT CANNOT BE GRADED as it is. {each.broken}")
        if each.modules and each.attempted:
            print(f"    It imports {_listed(each.modules)}, which is not handed in: move what you need into the notebook.")
    packed = [each for each in found if each.attempted]
    for name in sorted({name for each in packed for name in each.asked}):
        places = [each.path for each in packed if name in each.asked]
        if len(places) > 1:
            print(f"{name} is in {_listed(places)}: the last one counts. Delete those that should not.")
    left = [each.path for each in found if not (each.attempted or each.broken)]
    if left:
        print(f"Left out, because no task is attempted in it: {_listed(left)}")
    print(f"sha256 of the pack: {hashlib.sha256(content).hexdigest()}")


def _listed(paths: Sequence[Path | str]) -> str:
    return ", ".join(Path(path).name for path in paths)
