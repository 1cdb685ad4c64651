"""Answers out of a learner's file: its definitions, found by name, without running the rest.

Only imports, definitions of functions and classes, and assignments of constants are executed; training cells are not.
"""

import ast
import codeop
import io
import json
import linecache
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

_MODULE = "answers"
"""Name of the module the definitions live in."""

# Calls that may stand in the assignment of a constant, such as HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi).
_MODULES = {"collections", "functools", "itertools", "math", "np", "numpy", "operator", "torch", "typing"}
_FUNCTIONS = {
    *("abs", "bool", "complex", "dict", "float", "frozenset", "int", "len", "list", "max", "min", "pow", "range", "round"),
    *("set", "slice", "sorted", "str", "sum", "tuple", "zip", "namedtuple", "partial", "NewType", "TypeVar"),
}
_LINE_MAGIC = re.compile(r"^(\s*)(?:\w+\s*=\s*)?[%!].*$|^(\s*)\??\w[\w.]*\?{1,2}\s*$", re.MULTILINE)
_CELL_MAGIC = re.compile(r"\s*%%(\w+).*")
_PYTHON_CELLS = ("time", "timeit", "capture", "prun")
"""Cell magics whose cell is Python."""


@dataclass
class Answers:
    """What a file defines."""

    functions: dict[str, Callable] = field(default_factory=dict)
    """By name; the last definition where there are several."""
    notices: list[str] = field(default_factory=list)
    """What was left out or went wrong, one sentence each."""


def read(path: Path | str) -> Answers:
    """Execute the definitions in a notebook or Python file and return the functions.

    Raises ValueError when the file is neither, is damaged, or is Python that cannot be parsed; OSError when it cannot be read.
    """
    path = Path(path)
    if path.suffix not in (".ipynb", ".py"):
        raise ValueError(f"{path} is neither a notebook (.ipynb) nor a Python file (.py).")
    answers = Answers()
    module = sys.modules[_MODULE] = types.ModuleType(_MODULE)  # dataclasses and annotations look their module up
    compiler = codeop.Compile()  # remembers `from __future__ import annotations`
    skipped: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    for place, source in _cells(path):
        for statement in _parse(place, source, answers.notices, strict=path.suffix == ".py"):
            names = _assigned(statement)
            if not _is_definition(statement):
                skipped |= dict.fromkeys(names, f"{place}, line {statement.lineno}")
                continue
            _execute(statement, place, module, compiler, answers.notices)
            if isinstance(statement, ast.FunctionDef) and statement.name in used:
                answers.notices.append(f"{statement.name} is defined more than once; the last definition counts ({place}).")
            for name in names:
                skipped.pop(name, None)
                used[name] = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    answers.functions = {
        name: value for name in used if isinstance(value := vars(module).get(name), Callable) and not isinstance(value, type)
    }
    for name, function in answers.functions.items():
        if getattr(function, "__name__", None) != name:  # f = lambda ..., f = another_function
            with suppress(AttributeError, TypeError):
                function.__name__ = name
    answers.notices += [
        f"{function} uses {name}, which is computed in {skipped[name]}. Only definitions are executed here: compute it in "
        f"{function}."
        for function in answers.functions
        for name in sorted(used[function] & skipped.keys())
    ]
    return answers


# Reading


def _cells(path: Path) -> Iterator[tuple[str, str]]:
    """(place, source) of each code cell; a Python file is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path} is not text in UTF-8 ({problem}). Save it again from JupyterLab or an editor.") from None
    if path.suffix == ".py":
        yield path.name, text
        return
    try:
        cells = json.loads(text)["cells"]
        sources = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    except ValueError as problem:
        raise ValueError(
            f"{path} is not a notebook: it is not JSON ({problem}). If it was damaged, JupyterLab keeps an earlier state: "
            "File > Revert Notebook to Checkpoint; a fresh copy comes with `pgcourse start` when you move this one away."
        ) from None
    except (KeyError, TypeError):
        raise ValueError(f"{path} is JSON but not a notebook of format 4: it has no list of cells.") from None
    for number, (source, kind) in enumerate(sources, 1):
        if kind == "code":
            yield f"{path.name}, cell {number}", source


def _parse(place: str, source: str, notices: list[str], strict: bool) -> list[ast.stmt]:
    """The statements of a cell. One that is not Python is left out with a notice; strict: raises ValueError."""
    source = _without_magics(place, source, notices)
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        problem = f"{place}, line {error.lineno}: {error.msg}"
        if strict:
            raise ValueError(problem) from None
        notices.append(f"{problem}; nothing in this cell counts.")
        return []
    lines = source.splitlines(keepends=True)
    linecache.cache[place] = (len(source), None, lines, place)  # so that tracebacks can show the learner's lines
    return statements


def _without_magics(place: str, source: str, notices: list[str]) -> str:
    """The source without what only IPython understands; line numbers stay."""
    try:
        ast.parse(source)
        return source
    except SyntaxError:
        pass
    if (magic := _CELL_MAGIC.match(source)) and magic[1] not in _PYTHON_CELLS:
        notices.append(f"{place}: the cell is not Python (%%{magic[1]}) and is left out.")
        return ""
    plain, count = _LINE_MAGIC.subn(lambda match: (match[1] or match[2] or "") + "pass", source)
    if count:
        notices.append(f"{place}: left out {count} line{'s' * (count > 1)} that only a notebook understands (%, ! or ?).")
    return plain


# Executing


def _is_definition(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            return value is not None and _is_constant(value)
    return False


def _is_constant(value: ast.AST) -> bool:
    """Whether an expression is quick and harmless to evaluate: no calls but those listed above, outside lambdas."""
    if isinstance(value, ast.Lambda):
        return True
    if isinstance(value, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
        return False
    if isinstance(value, ast.Call) and not _is_quick(value.func):
        return False
    return all(_is_constant(part) for part in ast.iter_child_nodes(value))


def _is_quick(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _FUNCTIONS
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in _MODULES


def _assigned(statement: ast.stmt) -> set[str]:
    """The names that a statement gives a value."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import() | ast.ImportFrom():
            return set()
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _execute(statement: ast.stmt, place: str, module: types.ModuleType, compiler: codeop.Compile, notices: list[str]) -> None:
    """Run one definition; a failure becomes a notice, and the rest goes on."""
    try:
        tree = ast.Module([statement], type_ignores=[])
        code = compiler(tree, place, "exec")  # pyright: ignore[reportArgumentType] (it passes on what compile takes)
        with redirect_stdout(io.StringIO()):  # an imported module's greeting is nobody's result
            exec(code, vars(module))
    except Exception as error:
        notices.append(f"{place}, line {statement.lineno}: {type(error).__name__}: {error}")
