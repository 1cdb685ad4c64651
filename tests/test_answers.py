"""Answers are found by name in a learner's file, and nothing but definitions is executed."""

import json
import math
from pathlib import Path

import pytest

from pgcourse import answers


def cells(*sources: str) -> bytes:
    code = [{"cell_type": "code", "source": text.splitlines(keepends=True), "outputs": [{"text": "no"}]} for text in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "f = 0 ("}, *code], "nbformat": 4}).encode()


def notebook(folder: Path, *sources: str) -> Path:
    path = folder / "mine.ipynb"
    path.write_bytes(cells(*sources))
    return path


def test_functions_are_found_in_a_notebook_and_in_a_python_file(tmp_path):
    found = answers.read(notebook(tmp_path, "import math", "def f(x):\n    return math.sqrt(x)"))
    assert found.functions["f"](9) == 3
    assert found.notices == []
    (tmp_path / "mine.py").write_text("def f(x):\n    return -x\n")
    assert answers.read(tmp_path / "mine.py").functions["f"](2) == -2


def test_only_definitions_are_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = (
        "import pathlib\nN = 3\nSCALE: float = 0.5 * math.log(2 * math.pi)\n",
        "pathlib.Path('ran').touch()\nfor i in range(3):\n    pathlib.Path('ran').touch()\ntrained = print('ran')\ncheck(f)",
        "class Law:\n    k = 2\ndef f(x):\n    return x + N + SCALE + Law.k\ng = lambda x: 2 * x",
    )
    found = answers.read(notebook(tmp_path, "import math", *cells))
    assert found.functions["f"](1) == pytest.approx(6 + 0.5 * math.log(2 * math.pi))
    assert found.functions["g"](2) == 4
    assert found.functions["g"].__name__ == "g"
    assert not (tmp_path / "ran").exists()
    assert set(found.functions) == {"f", "g"}


def test_a_computed_constant_is_not_executed_and_its_use_is_explained(tmp_path):
    found = answers.read(notebook(tmp_path, "table = compute()\ndef f(x):\n    return table[x]\ndef g(x):\n    return x"))
    assert found.notices == [
        "f uses table, which is computed in mine.ipynb, cell 2, line 1. Only definitions are executed here: compute it in f."
    ]


def test_the_last_definition_wins_with_a_notice(tmp_path):
    found = answers.read(notebook(tmp_path, "def f(x):\n    return 1", "def f(x):\n    return 2"))
    assert found.functions["f"](0) == 2
    assert found.notices == ["f is defined more than once; the last definition counts (mine.ipynb, cell 3)."]


def test_magics_are_dropped_with_a_notice_and_remainders_are_not_magics(tmp_path):
    found = answers.read(
        notebook(
            tmp_path,
            "%matplotlib inline\n!ls\nfiles = !ls\nf?\ndef f(x):\n    %time\n    return 1",
            "%%time\ndef g(x):\n    return 2",
            "%%bash\nrm nothing",
            "def h(x):\n    return (x\n        % 3)",
        )
    )
    assert [found.functions[name](5) for name in "fgh"] == [1, 2, 2]
    assert found.notices == [
        "mine.ipynb, cell 2: left out 5 lines that only a notebook understands (%, ! or ?).",
        "mine.ipynb, cell 3: left out 1 line that only a notebook understands (%, ! or ?).",
        "mine.ipynb, cell 4: the cell is not Python (%%bash) and is left out.",
    ]


def test_a_broken_cell_or_import_costs_only_itself(tmp_path):
    found = answers.read(notebook(tmp_path, "def f(:\n", "import no_such_module", "def g(x):\n    return x"))
    assert found.functions["g"](1) == 1
    assert found.notices[0].startswith("mine.ipynb, cell 2, line 1: invalid syntax")
    assert found.notices[1] == "mine.ipynb, cell 3, line 1: ModuleNotFoundError: No module named 'no_such_module'"


def test_tracebacks_show_the_learners_line(tmp_path):
    import traceback

    found = answers.read(notebook(tmp_path, "def f(x):\n    return 1 / x"))
    with pytest.raises(ZeroDivisionError) as caught:
        found.functions["f"](0)
    frame = traceback.extract_tb(caught.tb)[-1]
    assert (frame.filename, frame.lineno, frame.line) == ("mine.ipynb, cell 2", 2, "return 1 / x")


def test_annotations_and_dataclasses_work(tmp_path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Law:\n    mean: Unknown = 0\ndef f(x: Unknown) -> Law:\n    return Law(x)\n"
    )
    assert answers.read(notebook(tmp_path, source)).functions["f"](3).mean == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ipynb", b"{not json", "is not a notebook: it is not JSON"),
        ("a.ipynb", b"", "is not a notebook: it is not JSON"),
        ("a.ipynb", b"[1, 2]", "JSON but not a notebook of format 4"),
        ("a.ipynb", b'{"worksheets": []}', "JSON but not a notebook of format 4"),
        ("a.ipynb", b"\xff\xfe\x00", "is not text in UTF-8"),
        ("a.py", b"def f(:\n", "a.py, line 1: invalid syntax"),
        ("a.txt", b"", "neither a notebook"),
    ],
)
def test_what_is_no_notebook_is_refused_with_the_reason(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        answers.read(tmp_path / name)


def test_several_files_keep_their_helpers_and_constants_apart():
    """Right in each file alone is right together, whatever else the files call by the same name."""
    files = [
        ("03.ipynb", cells("SCALE = 2\ndef helper(x):\n    return SCALE * x", "def f(x):\n    return helper(x)")),
        ("04.ipynb", cells("SCALE = 5\ndef helper(x):\n    return SCALE + x", "def g(x):\n    return helper(x)")),
    ]
    found = answers.read_files(files)
    assert (found.functions["f"](3), found.functions["g"](3)) == (6, 8)
    assert found.notices == [
        "helper is defined in 03.ipynb and in 04.ipynb; where a task is named so, the one in 04.ipynb counts."
    ]
    assert found.functions["helper"](3) == 8


def test_a_notebook_imports_the_python_files_beside_it():
    for factor in (2, 3):  # the second class member's file of the same name is not the first one's
        found = answers.read_files(
            [
                ("mine.ipynb", cells("from my_tools import times\ndef f(x):\n    return times(x)")),
                ("my_tools.py", f"def times(x):\n    return {factor} * x\n".encode()),
                ("math.py", b"def sqrt(x):\n    return 0\n"),
                ("last.ipynb", cells("import math\ndef root(x):\n    return math.sqrt(x)")),
            ]
        )
        assert found.notices == []
        assert (found.functions["f"](3), found.functions["root"](9)) == (3 * factor, 3)


def test_a_file_that_cannot_be_read_costs_itself():
    found = answers.read_files(
        [
            ("broken.ipynb", b"{"),
            ("mine.py", b"\xef\xbb\xbfdef f(x):\n    return 1\ndef g(:\n"),
            ("last.py", b"def f(x):\n    return x + 1\n"),
        ]
    )
    assert found.functions["f"](3) == 4
    assert found.notices[0].startswith("broken.ipynb is not a notebook")
    assert found.notices[1:] == ["mine.py, line 3: invalid syntax; nothing in this file counts."]
    with pytest.raises(ValueError, match="neither a notebook") as caught:
        answers.read_files([("a.pdf", b""), ("b.ipynb", b"")])
    assert "b.ipynb is not a notebook" in str(caught.value)


def test_parameters_and_variables_of_its_own_are_nothing_computed_elsewhere(tmp_path):
    cells = "x = compute()\ny = compute()", "def f(x):\n    y = x\n    return [z for z in (x, y)]\ndef g():\n    return x"
    assert [notice[:8] for notice in answers.read(notebook(tmp_path, *cells)).notices] == ["g uses x"]


@pytest.mark.parametrize("source", ["x = '\x00'", "x = '\ud800'", "x = " + "-" * 10**5 + "1", "(" * 10**5])
def test_what_python_cannot_parse_costs_its_cell(tmp_path, source):
    found = answers.read(notebook(tmp_path, source, "def f(x):\n    return x"))
    assert found.functions["f"](1) == 1
    assert found.notices[0].startswith("mine.ipynb, cell 2")


def test_a_definition_that_ends_the_program_or_cannot_be_printed_costs_only_itself(tmp_path):
    bad = "class Odd(Exception):\n    def __str__(self): raise Odd\nclass A:\n    raise Odd\nclass B:\n    raise SystemExit"
    loud = "class C:\n    raise ValueError('A' * 10**6)"
    found = answers.read(notebook(tmp_path, bad, loud, "def f(x):\n    return x"))
    assert found.functions["f"](1) == 1
    assert [len(notice) < 600 for notice in found.notices] == [True] * 3
    assert "Odd" in found.notices[0]
    assert "SystemExit" in found.notices[1]
