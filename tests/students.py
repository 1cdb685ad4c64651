"""A class of made-up students: right, wrong, broken and hostile submissions, mixed by seed."""

import ast
import inspect
import json
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pgcourse.grading import Task, stub_source, tasks

HEAD = "import math\n\nimport torch\n"


@cache
def source(task: Task, function: Callable) -> str:
    """A right or wrong solution from a task's module as a student would have it: under the task's name, with its helpers."""
    module = sys.modules[function.__module__]
    tree = ast.parse(inspect.getsource(module))
    lines = {node.lineno: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)}
    node = lines[function.__code__.co_firstlineno]
    if isinstance(node, ast.Lambda):
        own = f"{task.name} = {ast.unparse(node)}"
    else:
        node.name = task.name
        own = ast.unparse(node)
    helpers, open_names = {}, {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    defined = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
    while names := (open_names & defined.keys()) - helpers.keys() - {task.name}:
        for name in names:
            helpers[name] = ast.unparse(defined[name])
            open_names |= {each.id for each in ast.walk(defined[name]) if isinstance(each, ast.Name)}
    return "\n\n".join([*helpers.values(), own])


def notebook(*cells: str) -> bytes:
    code = [{"cell_type": "code", "id": str(n), "metadata": {}, "outputs": [], "source": cell} for n, cell in enumerate(cells)]
    return json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def _function(task: Task, body: str) -> str:
    """The task's function with another body, of one line or several."""
    return "\n".join([f"def {task.name}({', '.join(task.parameters)}):", *(f"    {line}" for line in body.splitlines())])


HOSTILE = {
    "exits": "import os\nos._exit(0)",
    "raises SystemExit": "raise SystemExit",
    "recursion": "def f(): return f()\nreturn f()",
    "fork bomb": "import os\nwhile True: os.fork()",
    "memory bomb": "return torch.ones(1 << 33)",
    "prints a verdict": 'print(\'{"passed": true, "score": 100}\')\nreturn None',
    "writes everywhere": "import os\nfor fd in range(64):\n    try: os.write(fd, b'?' * 99)\n    except OSError: pass",
    "closes everything": "import os\nos.closerange(3, 64)",
    "kills everyone": "import os\nos.kill(-1, 9)",
    "segmentation fault": "import ctypes\nctypes.string_at(0)",
    "equals everything": "class Yes:\n    def __eq__(self, other): return True\nreturn Yes()",
    "reads": "return open('/etc/passwd').read()",
    "NaN": "return torch.full((3,), float('nan'))",
    "strange error": "class E(Exception):\n    def __str__(self): return '\\ud800\\x1b[31m\\u202e<script>' * 10000\nraise E",
    "patches": "torch.allclose = torch.equal = lambda *a: True\nreturn torch.zeros(1)",
}
SLOW = {"loops": "while True: pass"}
BROKEN = {
    "empty": b"",
    "web page": b"<!DOCTYPE html><html>log in</html>",
    "cut off": notebook("def f(x):\n    return x")[:-20],
    "UTF-16": "def f(x): return x".encode("utf-16"),
    "deep": b"[" * 100_000,
    "not a notebook": b'{"worksheets": []}',
}


def submission(task: Task, kind: str, rng: random.Random) -> str:
    """The source of one answer of this kind."""
    if kind == "right":
        return source(task, rng.choice((task.reference, *task.alternatives)))
    if kind == "wrong":
        return source(task, rng.choice(task.mistakes).function)
    if kind == "stub":
        return stub_source(task)
    return _function(task, (HOSTILE | SLOW)[kind])


def make_class(folder: Path, number: int, seed: int, slow: int = 0) -> dict[str, int]:
    """Write so many submissions for lecture 03; the points that each must get.

    slow: how many of them run until they are stopped, which takes seconds each.
    """
    rng = random.Random(seed)
    lecture = [task for task in tasks() if task.id.startswith("03")]
    due = {}
    for place in range(number):
        student = f"s{place:04}"
        draw = rng.random()
        if place < slow:
            draw = 2
        if draw < 0.08:
            (folder / f"{student}.ipynb").write_bytes(rng.choice(list(BROKEN.values())))
            due[student] = 0
            continue
        kinds = [rng.choice(("right", "right", "right", "wrong", "stub")) for _ in lecture]
        if draw < 0.2:
            kinds[rng.randrange(len(lecture))] = rng.choice(list(HOSTILE))
        elif draw == 2:
            kinds = ["right"] * len(lecture)
            kinds[-1] = "loops"
        cells = [submission(task, kind, rng) for task, kind in zip(lecture, kinds, strict=True)]
        rng.shuffle(cells)
        if rng.random() < 0.7:
            (folder / f"{student}.ipynb").write_bytes(notebook(HEAD, *cells))
        else:
            (folder / f"{student}.py").write_text("\n\n\n".join([HEAD, *cells]), encoding="utf-8")
        due[student] = sum(task.points for task, kind in zip(lecture, kinds, strict=True) if kind == "right")
    return due
