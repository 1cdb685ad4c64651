"""Reading files and archives that strangers made. Bytes only: nothing is parsed, nothing is written, no link is followed.

What is no regular file is not opened for long, sizes are capped before anything is read, and each file is read once.
Archives are zips, and their members are read into memory.
"""

import errno
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path

from .answer import clean

FILE_LIMIT = 20 << 20
"""Bytes of one notebook or Python file."""
TOTAL_LIMIT = 40 << 20
"""Bytes of everything that is graded of one student, and of a zip that a student hands in."""
MEMBERS_LIMIT = 1000
"""Members of a zip that a student hands in."""
_DIRECTORY_LIMIT = 1 << 20
"""Bytes of such a zip's table of contents."""
_DEPTH = 8
_IGNORED = re.compile(r"\..*|__MACOSX|__pycache__|Thumbs\.db|desktop\.ini", re.IGNORECASE)


class Refused(Exception):
    """Why a file or an archive is not taken in, as a sentence about "it", without the full stop."""


@dataclass(frozen=True)
class Entry:
    """A file in a folder or an archive."""

    path: tuple[str, ...]
    """Below that folder, or in the archive."""
    content: Callable[[int], tuple[bytes, float | None]] | None
    """Its content, if it is not longer than so many bytes, and when it was changed. Raises Refused."""
    problem: str = ""
    """Why it is refused unread."""

    def read(self, limit: int) -> tuple[bytes, float | None]:
        """``content``, or Refused."""
        if self.problem or self.content is None:
            raise Refused(self.problem)
        return self.content(limit)


def why(problem: Exception) -> str:
    """What an exception says, in short."""
    return clean(str(problem) or type(problem).__name__, 200).rstrip(".")


def shown(name: str) -> str:
    """A name as it may be printed: one line without control characters, letters with their accents joined."""
    return re.sub(r"[\n\t]", "\N{REPLACEMENT CHARACTER}", clean(unicodedata.normalize("NFC", name), 200))


# ----------------------------------------------------------------------------------------------------------------------
# Files


def walk(root: Path, above: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The files in a folder and in those below it, by name. Raises OSError where the folder itself cannot be listed."""
    try:
        with os.scandir(root.joinpath(*above)) as found:
            listed = sorted(found, key=lambda entry: entry.name)
    except OSError as problem:
        if not above:
            raise
        yield Entry(above, None, f"it cannot be read ({problem.strerror})")
        return
    for entry in listed:
        path = (*above, entry.name)
        if _IGNORED.fullmatch(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False) and len(path) < _DEPTH:
            yield from walk(root, path)
        elif entry.is_file(follow_symlinks=False):
            yield Entry(path, partial(read_file, root, path))
        else:
            yield Entry(path, None, _LINK if entry.is_symlink() else "it is not a regular file")


_LINK = "it is a symbolic link; hand in the file itself"


def read_file(root: Path, path: tuple[str, ...], limit: int) -> tuple[bytes, float]:
    """Content and time of change. Raises Refused for what is no regular file, is too large or changes meanwhile."""
    try:
        descriptor = _open(root, path)
    except OSError as problem:
        is_link = problem.errno in (errno.ELOOP, errno.ENOTDIR)
        raise Refused(_LINK if is_link else f"it cannot be read ({problem.strerror})") from None
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Refused("it is not a regular file")
        if before.st_size > limit:
            raise Refused(_too_large(before.st_size, limit))
        content = file.read(limit + 1)
        after = os.fstat(descriptor)
    if len(content) != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Refused("it changed while it was read")
    return content, before.st_mtime


def _open(root: Path, path: tuple[str, ...]) -> int:
    """A descriptor for reading that no link on the way has led elsewhere and no pipe has held up."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.open not in os.supports_dir_fd:  # Windows
        return os.open(root.joinpath(*path), flags)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in path[:-1]:
            above, folder = folder, os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(above)
        return os.open(path[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)


def _too_large(size: int, limit: int) -> str:
    return (
        f"it has {size / 2**20:.0f} MiB and {limit >> 20} MiB are taken at most. In JupyterLab, Edit > Clear Outputs of All "
        "Cells, then save it again"
    )


# ----------------------------------------------------------------------------------------------------------------------
# Archives


BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError)
"""What zipfile raises for damaged and for strange archives."""


def class_archive(path: Path) -> list[Entry]:
    """The entries of a class's zip. What is wrong with a member concerns its student; ValueError: with the whole."""
    try:
        archive = zipfile.ZipFile(path)  # stays open as long as an entry is there: members are read when it is their turn
        members = _members(archive)
    except (Refused, *BROKEN) as problem:
        what_to_do = "Download it again, or unpack it and give the folder."
        raise ValueError(f"{path} cannot be used: {why(problem)}. {what_to_do}") from None
    entries = []
    for info, problem in members:
        parts = tuple(part for part in re.split(r"[/\\]", info.orig_filename) if part not in ("", "."))
        if ".." in parts or info.orig_filename.startswith("/"):
            parts = (info.orig_filename,)  # it belongs to nobody
        if problem or not any(_IGNORED.fullmatch(part) for part in parts):
            entries.append(Entry(parts or ("?",), partial(_read_member, archive, info), problem))
    return entries


def unpack(content: bytes) -> list[Entry]:
    """The files in a zip that a student hands in. Raises Refused where anything in it is not as it must be."""
    try:
        _check_directory(content)
        archive = zipfile.ZipFile(BytesIO(content))
        members = _members(archive)
    except BROKEN as problem:
        raise Refused(f"it is not a zip that can be read: {why(problem)}") from None
    if len(members) > MEMBERS_LIMIT:
        raise Refused(f"it holds {len(members)} files and {MEMBERS_LIMIT} are taken at most")
    for info, problem in members:
        if problem:
            raise Refused(f"{shown(info.orig_filename)} in it is refused: {problem}")
    if (total := sum(info.file_size for info, _ in members)) > TOTAL_LIMIT:
        raise Refused(_too_large(total, TOTAL_LIMIT))
    entries = [Entry(tuple(info.filename.split("/")), partial(_read_member, archive, info)) for info, _ in members]
    return [entry for entry in entries if not any(_IGNORED.fullmatch(part) for part in entry.path)]


def _check_directory(content: bytes) -> None:
    """Look at the size of the table of contents before it is parsed: it could list a million files."""
    at = content.rfind(b"PK\5\6", max(0, len(content) - 65557))
    if at < 0 or len(content) < at + 22:
        raise Refused("it is not a zip, or only the beginning of one")
    (size,) = struct.unpack_from("<L", content, at + 12)
    if content[max(0, at - 20) :].startswith(b"PK\6\7") or size > _DIRECTORY_LIMIT:
        raise Refused(f"it lists too many files; {MEMBERS_LIMIT} are taken at most")


def _members(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """The files in an archive, each with what is wrong with it, or "". Raises Refused where the archive itself is wrong."""
    _check_overlap(archive)
    infos = archive.infolist()
    seen: dict[str, int] = {}
    for info in infos:
        folded = _folded(info)
        seen[folded] = seen.get(folded, 0) + 1
    return [(info, _problem(info, seen[_folded(info)] > 1)) for info in infos if not _is_plain_folder(info)]


def _is_plain_folder(info: zipfile.ZipInfo) -> bool:
    return info.is_dir() and not info.file_size and not _problem(info, False)


def _folded(info: zipfile.ZipInfo) -> str:
    """The name as a file system would compare it that does not tell upper from lower case."""
    return unicodedata.normalize("NFC", info.orig_filename).casefold().rstrip("/")


def _problem(info: zipfile.ZipInfo, twice: bool) -> str:
    name, mode = info.orig_filename, info.external_attr >> 16
    if "\\" in name:
        return "its name has a backslash in it"
    if "\0" in name or not name.strip("/") or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return "its name is not a file's name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "its path is absolute"
    if ".." in name.split("/"):
        return "its path leads out of the archive (..)"
    if stat.S_ISLNK(mode):
        return _LINK
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is not a regular file"
    if info.flag_bits & 0x2041:
        return "it is encrypted; make the zip without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed in an unusual way; make an ordinary zip"
    if twice:
        return "its name occurs twice (upper and lower case are not told apart)"
    return ""


def _check_overlap(archive: zipfile.ZipFile) -> None:
    """Raises Refused where two members share bytes, as in a bomb that unpacks one piece many times."""
    end, file = 0, archive.fp
    assert file is not None
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise Refused("it is damaged")
        if info.header_offset < end:
            raise Refused("files in it overlap")
        end = info.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26)) + info.compress_size
    if end > archive.start_dir:
        raise Refused("files in it overlap")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> tuple[bytes, float | None]:
    if info.file_size > limit:
        raise Refused(_too_large(info.file_size, limit))
    try:
        with archive.open(info) as member:
            return member.read(limit + 1), _changed(info)  # no more comes than the archive says, which is checked above
    except BROKEN as problem:
        raise Refused(f"it cannot be unpacked: {why(problem)}") from None


def _changed(info: zipfile.ZipInfo) -> float | None:
    try:
        return datetime(*info.date_time).timestamp() if info.date_time[0] > 1980 else None
    except (ValueError, OverflowError, OSError):
        return None
