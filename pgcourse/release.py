"""What a class gets: a folder with lectures, exercises and the course's wheel, and no answers in it.

    OUT/README.md           install, open, check, hand in
    OUT/requirements.txt    the wheel and, in exact versions, what it needs
    OUT/pgcourse-....whl
    OUT/lectures, exercises the notebooks of the lectures asked for, and lecture 00
    OUT/.pgcourse           it is a working copy: students work in it, later releases leave their work alone
    OUT-gradescope.zip      on request; beside the folder, because it does hold the answers

The plain wheel can show solutions: ``solution(f)`` is part of it. The sealed one has neither references nor alternatives nor
mistakes. Its checks still compute the truth, so whoever takes the package apart finds functions that compute it as well
(docs/howto_release.md says what that is worth).
"""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from . import workspace
from .notebooks import course_folder

START = "00"
"""Lecture that every bundle has."""
_RANGE = re.compile(r"(\d\d)(?:-(\d\d))?")
_ANSWERS = {"reference", "alternatives", "mistakes"}


def release(out: Path, lectures: str, sealed: bool = False, gradescope: bool = False) -> list[Path]:
    """Write the bundle for ``lectures`` ("03" or "03-05") to the new folder ``out``; returns what a class and Gradescope get.

    Raises ValueError for lectures that are not there, for an ``out`` that is, and where the course's sources are missing;
    RuntimeError where the wheel cannot be built or an answer is found in the bundle. Then nothing is left behind.
    """
    source, numbers = _checkout(), between(lectures)
    archive = out.with_name(f"{out.name}-gradescope.zip")
    for path in (out, archive) if gradescope else (out,):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise ValueError(f"{path} is there already, and nothing is overwritten: name another folder, or remove it.")
    with tempfile.TemporaryDirectory() as temporary:
        bundle, stage = Path(temporary) / "bundle", Path(temporary) / "source"
        _stage(source, stage, numbers)
        plain = _build(stage, Path(temporary) / "plain") if gradescope or not sealed else None
        if sealed:
            seal(stage)
        workspace.start(bundle, stage)
        wheel = _build(stage, bundle) if sealed or plain is None else Path(shutil.copy(plain, bundle))
        requirements = _requirements(source, wheel.name)
        (bundle / "requirements.txt").write_text(requirements, encoding="utf-8")
        (bundle / "README.md").write_text(_readme(stage, wheel.name, sealed), encoding="utf-8")
        if found := leaks(bundle if sealed else _without_wheel(bundle), source):
            raise RuntimeError("the bundle would hold answers, so it was not written:\n" + "\n".join(found))
        if gradescope and plain:
            _write_gradescope(archive, plain, requirements, numbers)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(bundle, out, dirs_exist_ok=True)
    return [out, archive] if gradescope else [out]


def between(lectures: str) -> list[str]:
    """ "03-05" -> ["03", "04", "05"]. Raises ValueError for anything that is not like it."""
    match = _RANGE.fullmatch(lectures)
    first, last = (match[1], match[2] or match[1]) if match else ("1", "0")
    if first > last:
        raise ValueError(f"--lectures {lectures}: give a number or two, as 03 or 03-05.")
    return [f"{number:02}" for number in range(int(first), int(last) + 1)]


def _checkout() -> Path:
    source = course_folder()
    if not (source / "constraints.txt").is_file():
        raise ValueError("a release is made from the course's repository: clone it and run this there, after `make lab`.")
    return source


def _stage(source: Path, stage: Path, numbers: list[str]) -> None:
    """What the wheel is built from: the package, and of the notebooks those released. No solutions."""
    chosen = [START, *numbers]
    notebooks = {name: path for name, path in workspace.shipped(source).items() if _number(path) in ("", *chosen)}
    if not any(_number(path) in numbers for path in notebooks.values()):
        there = sorted({_number(path) for path in workspace.shipped(source).values()} - {"", START})
        raise ValueError(f"there is no lecture {' or '.join(numbers)}. There are: {', '.join(there)}.")
    shutil.copytree(source / "pgcourse", stage / "pgcourse", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, stage)
    for name in ("lectures", "exercises", "solutions"):
        (stage / name).mkdir()
    for name, path in notebooks.items():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, stage / name)


def _number(path: Path) -> str:
    """ "03" for 03_log_derivative_trick.ipynb, "" for a picture without a number."""
    match = re.match(r"(\d\d)_", path.name)
    return match[1] if match else ""


def _build(stage: Path, folder: Path) -> Path:
    """Build the wheel into a folder; without a network where hatchling is installed."""
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", *here]
    done = subprocess.run([*command, "--wheel-dir", folder, stage], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip could not build the wheel:\n{done.stderr.strip()}")
    (wheel,) = folder.glob("*.whl")
    return wheel


# ----------------------------------------------------------------------------------------------------------------------
# The environment


def _requirements(source: Path, wheel: str) -> str:
    pins = {}
    for line in (source / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"([\w.-]+)==(\S+)", line.strip()):
            pins[_normal(match[1])] = line.strip()
    with open(source / "pyproject.toml", "rb") as file:
        direct = [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]
    if missing := [each.name for each in direct if _normal(each.name) not in pins]:
        raise RuntimeError(f"constraints.txt has no version of {', '.join(missing)}")
    needed = sorted(_closure(direct) & pins.keys())
    lines = ["# In this folder: pip install -r requirements.txt", f"./{wheel}", *(pins[name] for name in needed)]
    return "\n".join(lines) + "\n"


def _closure(wanted: list[Requirement]) -> set[str]:
    """Names of these packages and of all that they need, as far as they are installed here."""
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        for extra in ("", *requirement.extras):
            if (key := (_normal(requirement.name), extra)) in seen:
                continue
            seen.add(key)
            try:
                further = metadata.requires(requirement.name) or []
            except metadata.PackageNotFoundError:
                continue
            needs = [Requirement(text) for text in further]
            wanted += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ----------------------------------------------------------------------------------------------------------------------
# Sealing


def seal(stage: Path) -> None:
    """Take the answers out of the package in ``stage``."""
    for path in _task_modules(stage):
        path.write_text(sealed_source(path.read_text(encoding="utf-8")), encoding="utf-8")


def sealed_source(source: str) -> str:
    """A module of tasks without references, alternatives and mistakes, without what only they used, and without comments.

    What is left of a reference is what the student starts from. Raises ValueError for a task that is not written out as
    ``Task(reference=f, alternatives=..., mistakes=...)``, with f a function of the module.
    """
    tree = ast.parse(source)
    for reference, given in _tasks(tree):
        reference.body = [reference.body[0], ast.parse("raise NotImplementedError").body[0]]  # the first is the docstring
        for name in ("alternatives", "mistakes"):
            given[name].value = ast.Tuple([], ast.Load())
    while unused := _unused(tree):
        tree.body = [node for node in tree.body if node not in unused]
    return ast.unparse(tree) + "\n"


def _task_modules(folder: Path) -> list[Path]:
    return sorted((folder / "pgcourse/grading/tasks").glob("t*.py"))


def _tasks(tree: ast.Module) -> list[tuple[ast.FunctionDef, dict[str | None, ast.keyword]]]:
    """Of each task in a module its reference and the arguments of ``Task(...)``."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    tasks = []
    for call in _calls(tree, "Task"):
        given = {keyword.arg: keyword for keyword in call.keywords}
        reference = functions.get(ast.unparse(given["reference"].value)) if given.keys() >= _ANSWERS else None
        if reference is None or not ast.get_docstring(reference):
            raise ValueError(
                f"line {call.lineno}: a task can be sealed only if it is Task(reference=f, alternatives=..., mistakes=...) "
                "and f is a function of the same module, with a docstring."
            )
        tasks.append((reference, given))
    return tasks


def _calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def _unused(tree: ast.Module) -> list[ast.stmt]:
    """Private definitions of a module that nothing else in it mentions, with the strings below them that explain them."""
    unused = []
    for place, node in enumerate(tree.body):
        names = _defined(node)
        elsewhere = (each for other in tree.body if other is not node for each in ast.walk(other))
        if names and all(name.startswith("_") for name in names):
            if any(isinstance(each, ast.Name) and each.id in names for each in elsewhere):
                continue
            unused.append(node)
            if tree.body[place + 1 : place + 2] and _is_text(tree.body[place + 1]):
                unused.append(tree.body[place + 1])
    return unused


def _defined(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Assign() | ast.AnnAssign():
            return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    return set()


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# ----------------------------------------------------------------------------------------------------------------------
# Looking for answers


def leaks(folder: Path, source: Path) -> list[str]:
    """Where in the files of a folder, wheels opened, an answer to a task of the course in ``source`` stands; one sentence each.

    An answer is the body of a reference, an alternative or a mistake. It is found where all its statements are.
    """
    known = {name: statements for path in _task_modules(source) for name, statements in _answers(path)}
    found = []
    for name, text in _texts(folder):
        found += [f"{name} holds {answer}." for answer, statements in known.items() if all(each in text for each in statements)]
    return found


def _answers(module: Path) -> Iterator[tuple[str, list[str]]]:
    """What each answer in a module of tasks is called, and its statements without spaces; right answers and wrong ones."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for reference, given in _tasks(tree):
        answers = [given["reference"].value, *ast.iter_child_nodes(given["alternatives"].value)]
        for mistake in _calls(given["mistakes"], "Mistake"):
            answers += mistake.args[1:2] + [keyword.value for keyword in mistake.keywords if keyword.arg == "function"]
        for number, node in enumerate(answers):
            if isinstance(node, ast.Name) and node.id in functions:
                body = functions[node.id].body
                yield node.id, [_compact(statement) for statement in (body[1:] if _is_text(body[0]) else body)]
            elif isinstance(node, ast.expr):  # a lambda, or a call that makes a function
                yield f"answer {number} to {reference.name}", [_compact(node)]


def _compact(code: ast.AST | str) -> str:
    return re.sub(r"\s", "", code if isinstance(code, str) else ast.unparse(code))


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and compacted text of each file; Python as it is unparsed, so that its layout makes no difference."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"{path.name}: {name}", _searchable(name, archive.read(name))
        else:
            yield path.relative_to(folder).as_posix(), _searchable(path.name, path.read_bytes())


def _searchable(name: str, content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    pieces = [text]
    if name.endswith(".ipynb"):
        pieces = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    if name.endswith((".py", ".ipynb")):
        pieces = [_as_unparsed(piece) for piece in pieces]
    return _compact("\n".join(pieces))


def _as_unparsed(code: str) -> str:
    try:
        return ast.unparse(ast.parse(code))
    except SyntaxError:
        return code


def _without_wheel(bundle: Path) -> Path:
    """A copy of the bundle without its wheel, beside it."""
    copy = bundle.with_name("notebooks")
    shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("*.whl"))
    return copy


# ----------------------------------------------------------------------------------------------------------------------
# Texts


def _readme(stage: Path, wheel: str, sealed: bool) -> str:
    names = sorted(path.stem for path in (stage / "lectures").glob("*.ipynb"))
    exercises = sorted(path.stem for path in (stage / "exercises").glob("*.ipynb"))
    solution = "" if sealed else "    solution(f)     # asks once before it shows one\n"
    return README.format(
        wheel=wheel,
        lectures="\n".join(f"- `lectures/{name}.ipynb`" for name in names),
        exercises="\n".join(f"- `exercises/{name}.ipynb`" for name in exercises),
        exercise=exercises[0] if exercises else "NAME",
        solution=solution,
        sealed=SEALED * sealed,
    )


SEALED = """
This copy is sealed: it holds no solutions. A check says how an answer differs from the truth, and names no mistakes.
"""

README = """# Policy gradients

{lectures}
{exercises}

## Install

You need Python 3.11 or newer and a few gigabytes of disk. Once, in this folder:

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt

On Windows `py -m venv .venv`, then `.venv\\Scripts\\pip install -r requirements.txt`; below, too, `.venv\\Scripts\\` stands for
`.venv/bin/`. On Linux pip takes a torch with CUDA, which is large. The course runs without a GPU: for the small one, first
install torch, in the version that requirements.txt names, with the command that pytorch.org gives for CPU.

## Open

    .venv/bin/jupyter lab

Begin with `lectures/00_start.ipynb`. On Colab: upload a notebook and the `.whl` file of this folder, run the first cell.

## Check

In an exercise, write a function, run its cell, then run

    check(f)        # points, or what is wrong
    hint(f)         # the next hint
{solution}    progress()      # all exercises so far
{sealed}
## Hand in

    .venv/bin/pgcourse submit

checks your exercises once more and packs those you worked on into `handin.zip`. Hand in this file. If you were asked for a name
or number: `pgcourse submit --student NAME`. `pgcourse check exercises/{exercise}.ipynb` checks one notebook and packs nothing.

## A later release

Unpack it elsewhere. Then, in this folder, with the path of its wheel:

    .venv/bin/pip install --force-reinstall --no-deps ELSEWHERE/{wheel}
    .venv/bin/pgcourse start .

The second command brings the new notebooks. What you wrote stays.
"""


# ----------------------------------------------------------------------------------------------------------------------
# Gradescope


def _write_gradescope(path: Path, wheel: Path, requirements: str, numbers: list[str]) -> None:
    """The autograder: Gradescope runs setup.sh once, as root, and run_autograder for each submission."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        archive.write(wheel, wheel.name)
        archive.writestr("requirements.txt", requirements)
        for name, text in (("setup.sh", SETUP), ("run_autograder", RUN.format(lectures=' '.join(numbers)))):
            member = zipfile.ZipInfo(name)
            member.create_system, member.external_attr = 3, 0o755 << 16
            archive.writestr(member, text, zipfile.ZIP_DEFLATED)


SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, as root, on Ubuntu. Choose an image of Ubuntu 24.04 or newer: the course needs Python 3.11.
set -euo pipefail
apt-get update
apt-get install -y --no-install-recommends python3 python3-venv bubblewrap
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 is needed: choose a newer image")'
python3 -m venv /autograder/venv
cd /autograder/source
# torch without CUDA, which saves gigabytes; the same version as tested
/autograder/venv/bin/pip install --no-cache-dir "$(grep '^torch==' requirements.txt)" \\
    --extra-index-url https://download.pytorch.org/whl/cpu
/autograder/venv/bin/pip install --no-cache-dir -r requirements.txt
"""

RUN = """#!/usr/bin/env bash
export OMP_NUM_THREADS=1 PGCOURSE_BUDGET=small
exec /autograder/venv/bin/python -P -m pgcourse.grading.gradescope {lectures}
"""

