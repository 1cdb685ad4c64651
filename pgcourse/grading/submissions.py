"""Taking in what students handed in: a file, a folder, a zip, or what a learning management system lets one download.

Bytes only: nothing here parses or executes what a student wrote. Each file is read once, and those bytes are graded. What
cannot be taken in says so in its ``rejected``, and everyone else is graded.

    alice.ipynb, bob.py, carol.zip      files named after the student
    alice/03.ipynb, alice/04.ipynb      a folder for each student
    alice/ps1/problem.ipynb             nbgrader's submitted/ folder, timestamp.txt beside the notebook
    lovelaceada_LATE_12_345_hw.ipynb    Canvas: name, user, file
    Ada Lovelace_12_assignsubmission_file/hw.ipynb      Moodle: name, participant
    submission_12/hw.ipynb, submission_metadata.yml     Gradescope
    03_first.ipynb, 04_second.ipynb     exercises only: one student's, named after the folder or zip

A zip that a student handed in, such as a pack made by ``pgcourse submit``, is opened one level deep.
"""

import hashlib
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import yaml

from .intake import FILE_LIMIT, TOTAL_LIMIT, Entry, Refused, class_archive, read_file, shown, unpack, walk, why
from .tasks import __path__ as _TASKS

FILES_LIMIT = 100
"""Files graded of one student."""
_METADATA = "submission_metadata.yml"


@dataclass(frozen=True)
class Submission:
    """What is graded of one student."""

    student: str
    """From the name of the file or folder; what a pack says of itself proves nothing."""
    files: tuple[tuple[str, bytes], ...]
    rejected: str | None = None
    """Why nothing in it can be graded; ``files`` is empty then."""
    submitted: str | None = None
    """When it was handed in (ISO 8601, UTC), where that is known."""
    notices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """For the instructor."""
    name: str = ""
    email: str = ""
    number: str = ""
    """The student's number in the system the download comes from."""

    @property
    def sha256(self) -> str:
        """Of the file; of several, of the lines that ``sha256sum`` prints for them, sorted by name."""
        if self.rejected is not None:
            return hashlib.sha256(self.rejected.encode()).hexdigest()
        sums = [(hashlib.sha256(content).hexdigest(), name) for name, content in self.files]
        if len(sums) == 1:
            return sums[0][0]
        lines = "".join(f"{digest}  {name}\n" for digest, name in sorted(sums, key=lambda each: each[1]))
        return hashlib.sha256(lines.encode()).hexdigest()


def collect(path: Path) -> list[Submission]:
    """One Submission for each student, in the order of their names. Raises ValueError where there is none to be found."""
    return [handed_in.read() for handed_in in scan(path)]


def scan(path: Path) -> "list[HandedIn]":
    """Who handed in, without reading it all: memory holds one student's files at a time. Raises as ``collect`` does."""
    alone = [Entry((path.name,), partial(read_file, path.parent, (path.name,)))]
    if path.is_dir():
        entries, label = list(walk(path)), path.resolve().name
    elif path.suffix.lower() == ".zip" and path.is_file():
        entries, label = class_archive(path), path.stem
        if any(entry.path == ("manifest.json",) for entry in entries):  # one student's pack
            entries = alone
    elif path.is_file():
        entries, label = alone, path.stem
    else:
        raise ValueError(f"there is no file or folder {path}; give a folder, a zip, a notebook or a Python file.")
    found = _by_student(entries, label)
    if not found:
        raise ValueError(f"{path} holds no submissions: no notebook (.ipynb), Python file (.py) or zip.")
    return sorted(found, key=lambda handed_in: handed_in.person.student)


# ----------------------------------------------------------------------------------------------------------------------
# One student's


@dataclass
class _Attempt:
    """Files that were handed in together."""

    label: str
    files: list[tuple[str, bytes]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    submitted: str | None = None

    def add(self, name: str, content: bytes) -> None:
        """Raises Refused where it would be too much."""
        if len(self.files) >= FILES_LIMIT:
            raise Refused(f"it is one file too many: {FILES_LIMIT} are graded at most")
        if sum(len(other) for _, other in self.files) + len(content) > TOTAL_LIMIT:
            raise Refused(
                f"with it there are more than {TOTAL_LIMIT >> 20} MiB; clear the notebooks' outputs and save them again"
            )
        stem, _, kind = name.rpartition(".")
        name = f"{stem}.{kind.lower()}"
        while any(name == other for other, _ in self.files):
            name = f"another_{name}"
        self.files.append((name, content))


@dataclass
class HandedIn:
    """What there is of one student, not yet read."""

    person: Submission
    """All but the files."""
    entries: list[tuple[str, Entry]] = field(default_factory=list)
    dated: bool = True
    """Whether the files' own times tell when they were handed in; in a system's download they tell when it was made."""

    def read(self) -> Submission:
        """Read it. Of several attempts the latest counts, which a notice tells."""
        loose, others, refused, stamp = _Attempt("loose files"), [], [], None
        attempts = [loose]
        for name, entry in self.entries:
            try:
                kind = name.lower().rpartition(".")[2]
                if not entry.problem and kind not in ("ipynb", "py", "zip") and entry.path[-1] != "timestamp.txt":
                    others.append(name)
                    continue
                content, changed = entry.read(TOTAL_LIMIT if kind == "zip" else FILE_LIMIT)
                time = _iso(changed) if self.dated and changed is not None else None
                if kind == "zip":
                    attempts.append(_unpack(name, content, time))
                elif kind == "txt":
                    stamp = _timestamp(content)
                else:
                    loose.add(name, content)
                    loose.submitted = max(filter(None, (loose.submitted, time)), default=None)
            except Refused as reason:
                refused.append(f"{name}: {reason}.")
        loose.submitted = stamp or loose.submitted
        attempts = [attempt for attempt in attempts if attempt.files]
        if not attempts:
            handed_in = f"Only {', '.join(others)} was handed in" if others else "Nothing was handed in"
            nothing = f"{handed_in}; notebooks (.ipynb) and Python files (.py) are graded."
            return replace(self.person, rejected=" ".join(refused) or nothing)
        latest = max(attempts, key=lambda attempt: attempt.submitted or "")
        latest.files.sort()
        notices = [f"{reason} The rest is graded." for reason in refused]
        notices += [f"{name} is neither a notebook (.ipynb) nor a Python file (.py) and is left out." for name in others]
        if len(attempts) > 1:
            labels = ", ".join(attempt.label for attempt in attempts if attempt is not latest)
            notices.append(f"Handed in {len(attempts)} times; the latest counts: {latest.label}, not {labels}.")
        return replace(
            self.person,
            files=tuple(latest.files),
            submitted=self.person.submitted or latest.submitted,
            notices=(*notices, *latest.notices),
        )


def _unpack(name: str, content: bytes, time: str | None) -> _Attempt:
    """What a student's zip holds. Raises Refused where anything in it is not as it must be: nothing of it is graded then."""
    attempt, manifest, others = _Attempt(name, submitted=time), None, []
    for entry in unpack(content):
        inner = shown("/".join(entry.path))
        kind = inner.lower().rpartition(".")[2]
        if kind == "zip":
            raise Refused(f"{inner} in it is a zip too; hand in the files themselves")
        if kind in ("ipynb", "py"):
            attempt.add(inner, entry.read(FILE_LIMIT)[0])
        elif inner == "manifest.json":
            manifest = entry.read(1 << 20)[0]
        else:
            others.append(inner)
    if not attempt.files:
        raise Refused("it holds no notebook (.ipynb) and no Python file (.py)")
    attempt.notices += [f"{inner} in {name} is neither a notebook nor a Python file and is left out." for inner in others]
    if manifest is not None:
        _read_manifest(attempt, manifest)
    return attempt


def _read_manifest(attempt: _Attempt, content: bytes) -> None:
    """Take the time from the manifest of a pack, and notice where it tells something else than the files do."""
    try:
        manifest = json.loads(content)
        sums = {shown(name): digest for name, digest in manifest["files"].items()}
        attempt.submitted = _iso(datetime.fromisoformat(manifest["submitted"]).timestamp())
        if attempt.submitted:
            attempt.notices.append(f"Handed in {attempt.submitted}, says the pack itself.")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, OSError):
        attempt.notices.append(f"The manifest.json in {attempt.label} is not as `pgcourse submit` writes it.")
        return
    for name, file in attempt.files:
        if sums.get(name) != hashlib.sha256(file).hexdigest():
            attempt.notices.append(f"{name} in {attempt.label} is not the file that was packed: its hash differs.")


def _timestamp(content: bytes) -> str | None:
    """The time in nbgrader's timestamp.txt, such as 2015-02-02 15:58:23.948203 UTC."""
    match = re.match(rb"\s*(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.\d+)?\s*(Z|UTC|[+-]\d\d:?\d\d)?\s*$", content)
    if match is None:
        return None
    zone = (match[2] or b"Z").replace(b"UTC", b"Z").decode()
    try:
        return _iso(datetime.fromisoformat(match[1].decode() + zone).timestamp())
    except (ValueError, OverflowError):
        return None


def _iso(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


# ----------------------------------------------------------------------------------------------------------------------
# Whose is it


_MOODLE = re.compile(r"(?P<name>[^/]+)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_?/|_)(?P<file>.+)", re.DOTALL)
_CANVAS = re.compile(
    r"(?:(?P<name>.+?)_(?P<late>LATE_)?(?P<number>\d+)|(?P<late_too>LATE_)?(?P<anonymous>anon_\w+?))"
    r"_(?:(?P<id>\d+)_(?P<file>.+)|text\.html|link\.html)",
    re.DOTALL,
)
_EXERCISES = tuple(module.name[1:] for module in pkgutil.iter_modules(_TASKS) if module.name.startswith("t"))
"""How the files of the exercises begin: "03_log_derivative_trick"."""


def _by_student(entries: list[Entry], label: str) -> list[HandedIn]:
    entries = _unwrapped(entries)
    metadata = next((entry for entry in entries if entry.path == (_METADATA,)), None)
    people = _gradescope(metadata) if metadata else {}
    loose = [entry.path[0] for entry in entries if len(entry.path) == 1 and entry is not metadata and not entry.problem]
    canvas = bool(loose) and all(_CANVAS.fullmatch(name) for name in loose)
    own = all(len(entry.path) == 1 for entry in entries) and _is_one_students(loose)
    found: dict[str, HandedIn] = {}

    def add(person: Submission, name: str, entry: Entry, dated: bool = False) -> None:
        student = shown(person.student).strip() or "?"
        handed_in = found.setdefault(student, HandedIn(replace(person, student=student), dated=dated))
        handed_in.person = replace(handed_in.person, flags=tuple(dict.fromkeys((*handed_in.person.flags, *person.flags))))
        handed_in.entries.append((shown(name), entry))

    for entry in entries:
        first, name = entry.path[0], "/".join(entry.path[1:])
        if entry is metadata:
            continue
        if match := _MOODLE.fullmatch("/".join(entry.path)):
            person = Submission(f"{match['name']}_{match['number']}", (), name=shown(match["name"]), number=match["number"])
            add(person, match["file"], entry)
        elif not name and canvas and (match := _CANVAS.fullmatch(first)):
            add(_canvas_person(match), match["file"] or first, entry)
        elif first in people:
            for person in people[first]:
                add(person, name or first, entry)
        elif own:
            add(Submission(label, ()), first, entry, dated=True)
        elif name:
            add(Submission(first, ()), name, entry, dated=not people)
        else:
            add(Submission(first.rpartition(".")[0] or first, ()), first, entry, dated=True)
    return list(found.values())


def _canvas_person(match: re.Match) -> Submission:
    late = ("Canvas marks it as late; its download does not say by how much.",) if match["late"] or match["late_too"] else ()
    if match["anonymous"]:
        return Submission(match["anonymous"], (), flags=late)
    return Submission(f"{match['name']}_{match['number']}", (), flags=late, name=shown(match["name"]), number=match["number"])


def _is_one_students(names: list[str]) -> bool:
    """Whether these files are one student's exercises or unpacked pack, rather than one file for each student."""
    graded = [name for name in names if name.lower().endswith((".ipynb", ".py"))]
    return bool(graded) and ("manifest.json" in names or all(name.startswith(_EXERCISES) for name in graded))


def _unwrapped(entries: list[Entry]) -> list[Entry]:
    """The same entries without a folder around them all, where that is not itself a student's."""
    while sound := [entry for entry in entries if not entry.problem]:
        around = sound[0].path[0]
        if any(entry.path[0] != around or len(entry.path) == 1 for entry in sound):
            break
        below = ["/".join(entry.path[1:]) for entry in sound]
        folders = {name.partition("/")[0] for name in below if "/" in name}
        graded = [name for name in below if "/" not in name and name.lower().endswith((".ipynb", ".py", ".zip"))]
        several = len(folders) > 1 or (len(graded) > 1 and not _is_one_students(below))
        known = _METADATA in below or any(_MOODLE.fullmatch(name) for name in below)
        if _MOODLE.fullmatch("/".join(sound[0].path)) or not (several or known):
            break
        entries = [
            replace(entry, path=entry.path[1:]) if len(entry.path) > 1 and entry.path[0] == around else entry
            for entry in entries
        ]
    return entries


def _gradescope(entry: Entry) -> dict[str, list[Submission]]:
    """Who handed in, by folder, from Gradescope's submission_metadata.yml. Raises ValueError where it cannot be read.

    Results and earlier attempts take up most of that file and are skipped unparsed.
    """
    try:
        text = entry.read(1 << 30)[0].decode("utf-8", "replace")
        people = {}
        for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
            head, _, body = block.partition("\n")
            if not (folder := re.fullmatch(r"(submission_\d+):\s*", head)):
                continue
            wanted = "".join(re.findall(r"^  :(?:submitters|created_at):.*\n(?:(?:  -|   ).*\n)*", f"{body}\n", re.MULTILINE))
            people[folder[1]] = list(_submitters(yaml.safe_load(wanted) or {}))
    except (Refused, yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError) as problem:
        raise ValueError(f"Gradescope's {_METADATA} cannot be used: {why(problem)}. Export the submissions again.") from None
    return people


def _submitters(record: dict) -> Iterator[Submission]:
    created = record.get(":created_at")
    submitted = _iso(created.replace(tzinfo=created.tzinfo or UTC).timestamp()) if isinstance(created, datetime) else None
    for submitter in record.get(":submitters") or ():
        name, email, number = (shown(str(submitter.get(f":{key}") or "")) for key in ("name", "email", "sid"))
        yield Submission(email or number or name or "?", (), submitted=submitted, name=name, email=email, number=number)
