"""A learner's progress: one JSON file, ``progress.json``, at the root of the working copy.

Nothing here ever stops a check: what cannot be read or written is said once, and what was reached is kept in memory.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from .. import workspace
from .shown import say

NAME = "progress.json"
FORMAT = 1


@dataclass
class Record:
    """What is known of one task: the best outcome so far, and the help taken."""

    points: int = 0
    status: str = "not attempted"
    hints: int = 0
    solution_seen: bool = False
    hints_after: int = 0
    """Hints taken after it was passed: for curiosity, so they are not shown as help."""
    time: str = ""
    """Of the last change, local."""

    def note(self, status: str, points: int) -> None:
        """Take in an outcome; a worse one than before changes nothing."""
        if points > self.points or self.points == 0:
            self.status, self.points = status, points


_unsaved: dict[Path, dict[str, Record]] = {}
"""Records by folder that could not be written."""
_said: set[str] = set()


def folder() -> Path:
    """Where progress is kept: the working copy that the current folder is in, else the current folder.

    The environment variable PGCOURSE_PROGRESS names another folder; it must exist.
    """
    if chosen := os.environ.get("PGCOURSE_PROGRESS"):
        return Path(chosen)
    here = Path()
    try:
        here = Path.cwd()
        return workspace.root(here) or here
    except OSError:  # the current folder is gone, or one above it is closed to us
        return here


def read(where: Path) -> dict[str, Record]:
    """Records by task id; empty when there is no file or it is damaged (then it is put aside)."""
    return (_load(where / NAME) or {}) | _unsaved.get(where, {})


def update(where: Path, task: str, change: Callable[[Record], None]) -> None:
    """Change the record of one task, on disk if that is possible. The file is read again first: two notebooks may be open."""
    with _locked(where / NAME):
        saved = _load(where / NAME)
        records = (saved or {}) | _unsaved.get(where, {})
        record = records.setdefault(task, Record())
        change(record)
        record.time = datetime.now().isoformat(timespec="seconds")
        try:
            if saved is None:
                raise OSError(0, "what is in it cannot be read")
            _write(where / NAME, records)
            _unsaved.pop(where, None)
        except OSError as problem:
            _unsaved.setdefault(where, {})[task] = record
            _say_once(
                f"{where / NAME} cannot be written ({problem.strerror}): results are shown, but forgotten when this kernel "
                "ends. Work in a folder of your own to keep them."
            )


def _load(path: Path) -> dict[str, Record] | None:
    """What is on disk; None for a file that is there but cannot be read, and so must not be written over."""
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as problem:
        _say_once(f"{path} cannot be read ({problem.strerror}); your progress so far is not shown.")
        return None
    except (ValueError, RecursionError) as problem:
        return {} if _put_aside(path, problem) else None


def _parse(text: str) -> dict[str, Record]:
    """Raises ValueError for anything that ``_write`` has not written, in this version or an earlier one."""
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("tasks"), dict):
        raise ValueError(f"not a progress file of format {FORMAT}")
    known = fields(Record)
    records = {}
    for task, entry in content["tasks"].items():
        if not isinstance(entry, dict):
            raise ValueError(f"its entry for {task} is not as it was written")
        values = {field.name: entry.get(field.name, field.default) for field in known}
        if any(type(values[field.name]) is not field.type for field in known):
            raise ValueError(f"its entry for {task} is not as it was written")
        records[task] = Record(**values)
    return records


def _write(path: Path, records: dict[str, Record]) -> None:
    """The whole file or nothing."""
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    content = {"format": FORMAT, "tasks": {task: asdict(record) for task, record in sorted(records.items())}}
    try:
        half.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(half, path)
    except OSError:
        with contextlib.suppress(OSError):
            half.unlink()
        raise


def _put_aside(path: Path, problem: Exception) -> bool:
    """Rename a damaged file, and say so; False where that cannot be done."""
    number = 1
    while (aside := path.with_name(f"progress.damaged{number if number > 1 else ''}.json")).exists():
        number += 1
    try:
        os.replace(path, aside)
    except OSError:
        _say_once(f"{path} is damaged ({problem}) and cannot be renamed; your progress so far is not shown.")
        return False
    say(f"{path} is damaged ({problem}). It was renamed to {aside.name} and a new one is begun. Your answers are not in it.")
    return True


@contextlib.contextmanager
def _locked(path: Path, patience: float = 2.0, stale: float = 10.0) -> Iterator[None]:
    """Between two notebooks, one after the other. Who waits too long goes on: a mark forgotten by a crash must not block."""
    lock = path.with_name(f".{path.name}.lock")
    until = time.monotonic() + patience
    mine = False
    while not mine:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            mine = True
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > stale:
                    lock.unlink()
                    continue
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        except OSError:  # a folder that cannot be written: the write will tell
            break
    try:
        yield
    finally:
        if mine:
            with contextlib.suppress(OSError):
                lock.unlink()


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        say(text)
