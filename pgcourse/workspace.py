"""Working copies: a learner's own folder with the course's notebooks, which a later version updates without harm.

The file ``.pgcourse`` at its root says which version of each notebook was last offered there (its SHA-256). So a notebook
that nobody has touched is replaced by a newer one, and one that somebody has worked in is left: the newer one goes beside it.
"""

import hashlib
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

MARKER = ".pgcourse"
FOLDERS = ("lectures", "exercises")
_NOT_FOR_LEARNERS = ("__pycache__", ".ipynb_checkpoints", "MUJOCO_LOG.TXT", "progress.json")


@dataclass
class Changes:
    """What ``start`` did: names of notebooks, relative to the working copy."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    beside: list[tuple[str, str]] = field(default_factory=list)
    """A notebook with the learner's work in it, and the name under which the newer version lies beside it."""


def start(folder: Path | str, source: Path | str) -> Changes:
    """Make ``folder`` a working copy of the course in ``source``, or bring it up to date. Never overwrites a learner's work.

    Raises ValueError when ``folder`` is the course itself or a file, OSError when it cannot be written.
    """
    folder, source = Path(folder), Path(source)
    if folder.resolve() == source.resolve():
        raise ValueError(f"{folder} is the course itself; give another folder, for example {folder / 'my-course'}.")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder, new or old.")
    offered = _read_marker(folder)
    changes = Changes()
    for name, path in shipped(source).items():
        content = path.read_bytes()
        _offer(folder, name, content, offered.get(name), changes)
        offered[name] = _digest(content)
    _write(folder / MARKER, json.dumps({"format": 1, "offered": offered}, indent=1).encode())
    return changes


def shipped(source: Path) -> dict[str, Path]:
    """What a working copy gets, by name: lectures and exercises with what they show, not their sources, no solutions."""
    files = [path for part in FOLDERS for path in sorted((source / part).rglob("*")) if path.is_file()]
    return {
        path.relative_to(source).as_posix(): path
        for path in files
        if path.suffix != ".py" and not set(path.parts) & set(_NOT_FOR_LEARNERS)
    }


def root(path: Path | str) -> Path | None:
    """The working copy that a file or folder belongs to, or None."""
    path = Path(path).resolve()
    return next((folder for folder in (path, *path.parents) if (folder / MARKER).is_file()), None)


def _offer(folder: Path, name: str, content: bytes, before: str | None, changes: Changes) -> None:
    """Bring one file to the learner; ``before`` is the digest of the version that was offered last."""
    path = folder / name
    if not path.exists():
        _write(path, content)
        changes.added.append(name)
        return
    mine, new = _digest(path.read_bytes()), _digest(content)
    if mine == new or before == new:  # up to date, or: the learner has this version, or has worked in it
        return
    if mine == before:
        _write(path, content)
        changes.updated.append(name)
        return
    beside = _free_name(path, content)
    _write(beside, content)
    changes.beside.append((name, beside.relative_to(folder).as_posix()))


def _free_name(path: Path, content: bytes) -> Path:
    """NAME.new.ipynb, or NAME.new2.ipynb and so on where somebody keeps something else under that name."""
    number = 1
    while True:
        beside = path.with_name(f"{path.stem}.new{number if number > 1 else ''}{path.suffix}")
        if not beside.exists() or beside.read_bytes() == content:
            return beside
        number += 1


def _read_marker(folder: Path) -> dict[str, str]:
    """Digests by name; empty for a new folder, and (so that nothing is taken for untouched) for a damaged marker."""
    try:
        offered = json.loads((folder / MARKER).read_text(encoding="utf-8"))["offered"]
        return {str(name): str(digest) for name, digest in offered.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        warnings.warn(
            f"{folder / MARKER} is damaged: every notebook there counts as your own work, and newer ones go beside it.",
            stacklevel=3,
        )
        return {}


def _write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.part")
    half.write_bytes(content)
    os.replace(half, path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
