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
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

_MODULE = "answers"
"""Name of the module the definitions live in; those of a second file live in answers_1, and so on."""
_importable: set[str] = set()
"""Learners' files in sys.modules: the next of the same name takes the place; torch's or math's none takes."""

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
_SAID_LIMIT = 500
"""Characters shown of an exception."""
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python raises for source that it cannot parse: besides wrong syntax, null bytes, lone surrogates, too deep nesting."""


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
    _check_kind(str(path))
    return _execute_all([(path.name, _cells(str(path), path.read_bytes()))])


def read_files(files: Sequence[tuple[str, bytes]]) -> Answers:
    """``read`` of several files at once, given as (name, content); of two functions with one name the later file's is returned.

    A file that cannot be read is left out with a notice. Raises ValueError, with the reasons, when that holds for all of them.
    """
    cells, problems = [], []
    for name, content in files:
        try:
            _check_kind(name)
            cells.append((name, _cells(name, content)))
        except ValueError as problem:
            problems.append(str(problem))
    if not cells:
        raise ValueError("\n".join(problems) or "There is no file in it.")
    answers = _execute_all(cells)
    answers.notices[:0] = problems
    return answers


def _execute_all(files: Sequence[tuple[str, list[tuple[str, str]]]]) -> Answers:
    """The answers in these files, each a name and its (place, source) cells.

    Every file has a module of its own: what 04.ipynb calls ``helper`` is nothing to 03.ipynb. Python files come first, and the
    others may import them by name.
    """
    answers = Answers()
    defined: dict[str, str] = {}
    for number, (name, cells) in enumerate(sorted(files, key=lambda file: not file[0].endswith(".py"))):
        module = types.ModuleType(f"{_MODULE}_{number}" if number else _MODULE)
        sys.modules[module.__name__] = module  # dataclasses and annotations look their module up
        functions = _functions(module, cells, answers.notices, strict=name.endswith(".py") and len(files) == 1)
        answers.notices += [
            f"{function} is defined in {defined[function]} and in {name}; where a task is named so, the one in {name} counts."
            for function in functions
            if function in defined
        ]
        defined |= dict.fromkeys(functions, name)
        answers.functions |= functions
        if name.endswith(".py") and (stem := Path(name).stem) not in sys.modules.keys() - _importable:
            _importable.add(stem)
            sys.modules[stem] = module
    return answers


def _functions(module: types.ModuleType, cells, notices: list[str], strict: bool) -> dict[str, Callable]:
    """The functions that one file's (place, source) cells define in ``module``."""
    skipped: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    compiler = codeop.Compile()  # remembers `from __future__ import annotations`
    for place, source in cells:
        for statement in _parse(place, source, notices, strict):
            names = _assigned(statement)
            if not _is_definition(statement):
                skipped |= dict.fromkeys(names, f"{place}, line {statement.lineno}")
                continue
            _execute(statement, place, module, compiler, notices)
            if isinstance(statement, ast.FunctionDef) and statement.name in used:
                notices.append(f"{statement.name} is defined more than once; the last definition counts ({place}).")
            for name in names:
                skipped.pop(name, None)
                used[name] = _looked_up(statement)
    functions = {
        name: value for name in used if isinstance(value := vars(module).get(name), Callable) and not isinstance(value, type)
    }
    for name, function in functions.items():
        if getattr(function, "__name__", None) != name:  # f = lambda ..., f = another_function
            with suppress(AttributeError, TypeError):
                function.__name__ = name
    notices += [
        f"{function} uses {name}, which is computed in {skipped[name]}. Only definitions are executed here: compute it in "
        f"{function}."
        for function in functions
        for name in sorted(used[function] & skipped.keys())
    ]
    return functions


# Reading


def _check_kind(name: str) -> None:
    if not name.endswith((".ipynb", ".py")):
        raise ValueError(f"{name} is neither a notebook (.ipynb) nor a Python file (.py).")


def _cells(name: str, content: bytes) -> list[tuple[str, str]]:
    """(place, source) of each code cell; a Python file is one. Raises ValueError where there is nothing to read."""
    base = Path(name).name
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ValueError(f"{name} is not text in UTF-8 ({problem}). Save it again from JupyterLab or an editor.") from None
    if name.endswith(".py"):
        return [(base, text)]
    if not text.strip():
        raise ValueError(f"{name} is not a notebook: it is not JSON, but empty. Save it again in JupyterLab.")
    if text.lstrip().startswith("<"):
        raise ValueError(
            f"{name} is not a notebook: it is not JSON, but a web page, perhaps one that asked for a login. Download it again, "
            "and open it in JupyterLab before you hand it in."
        )
    try:
        notebook = json.loads(text, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError) as problem:
        why = "nested too deeply" if isinstance(problem, RecursionError) else problem
        raise ValueError(
            f"{name} is not a notebook: it is not JSON ({why}). If it was damaged, JupyterLab keeps an earlier state: "
            "File > Revert Notebook to Checkpoint; a fresh copy comes with `pgcourse start` when you move this one away."
        ) from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError(
            f"{name} is JSON but not a notebook of format 4: it has no list of cells. Open it in JupyterLab and save it again."
        )
    sources = [_source(name, number, cell) for number, cell in enumerate(cells, 1)]
    return [(f"{base}, cell {number}", source) for number, source in enumerate(sources, 1) if source is not None]


def _unambiguous(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object none of whose keys occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object in it has the same key twice")
    return found


def _source(name: str, number: int, cell) -> str | None:
    """The source of a cell that holds code; None for any other."""
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        raise ValueError(f"{name} is not a notebook of format 4: its cell {number} has no type. Save it again from JupyterLab.")
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise ValueError(
            f"{name} is not a notebook of format 4: its cell {number} has no text as its source. Save it again from JupyterLab."
        )
    return source if cell["cell_type"] == "code" else None


def _parse(place: str, source: str, notices: list[str], strict: bool) -> list[ast.stmt]:
    """The statements of a cell. One that is not Python is left out with a notice; strict: raises ValueError."""
    source = _without_magics(place, source, notices)
    try:
        statements = ast.parse(source).body
    except _UNPARSABLE as error:
        problem = f"{place}, line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else f"{place}: {_said(error)}"
        if strict:
            raise ValueError(problem) from None
        notices.append(f"{problem}; nothing in this {'file' if place.endswith('.py') else 'cell'} counts.")
        return []
    lines = source.splitlines(keepends=True)
    linecache.cache[place] = (len(source), None, lines, place)  # so that tracebacks can show the learner's lines
    return statements


def _without_magics(place: str, source: str, notices: list[str]) -> str:
    """The source without what only IPython understands; line numbers stay."""
    try:
        ast.parse(source)
        return source
    except _UNPARSABLE:
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
            with suppress(RecursionError):  # nested so deeply, it is nothing to evaluate
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


def _looked_up(statement: ast.stmt) -> set[str]:
    """The names that a definition takes from its surroundings: neither parameters nor assigned in it."""
    nodes = list(ast.walk(statement))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - own


def _execute(statement: ast.stmt, place: str, module: types.ModuleType, compiler: codeop.Compile, notices: list[str]) -> None:
    """Run one definition; a failure becomes a notice, and the rest goes on."""
    try:
        tree = ast.Module([statement], type_ignores=[])
        code = compiler(tree, place, "exec")  # pyright: ignore[reportArgumentType] (it passes on what compile takes)
        with redirect_stdout(_Nowhere()):  # an imported module's greeting is nobody's result
            exec(code, vars(module))
    except (Exception, SystemExit) as error:
        notices.append(f"{place}, line {statement.lineno}: {_said(error)}")


class _Nowhere(io.TextIOBase):
    """Takes any text and keeps none."""

    def write(self, text):
        return len(text)


def _said(error: BaseException) -> str:
    """Type and message of an exception, also of one whose ``__str__`` fails or has no end of things to say."""
    said = "".join(traceback.TracebackException.from_exception(error, limit=0).format_exception_only()).strip()
    return said if len(said) <= _SAID_LIMIT else said[:_SAID_LIMIT] + " ..."
