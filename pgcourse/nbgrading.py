"""nbgrader, set up for this course. In nbgrader_config.py:

    from pgcourse import nbgrading
    nbgrading.configure(get_config())

The extra ``pgcourse[nbgrader]`` has nbgrader; docs/howto_nbgrader.md says how to use it.
"""

import os
import re

from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.converters.autograde import Autograde
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets.config import Config

SECONDS = 300
"""What a cell may take: the longest check trains learners."""
_CHECK = re.compile(r"check\(\w+\)\.points")


def configure(config: Config) -> None:
    """Let nbgrader leave the exercises' stubs alone, give cells time, and take points from a check's number alone."""
    config.ClearSolutions.enabled = False  # it would put "YOUR CODE HERE" in place of signature and docstring
    config.OverwriteCells.add_missing_cells = True  # a check that was deleted comes back
    config.Execute.timeout = SECONDS
    preprocessors = Autograde(parent=None).autograde_preprocessors
    after = preprocessors.index(Execute) + 1
    config.Autograde.autograde_preprocessors = [*preprocessors[:after], Points, *preprocessors[after:]]
    os.environ.setdefault("PGCOURSE_BUDGET", "small")  # the kernels inherit it: training runs in checks are short
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class Points(NbGraderPreprocessor):
    """In the cell ``check(f).points`` the number that it shows is what counts.

    nbgrader by itself gives full marks where the number is missing or is none, and no marks where anything was written to
    stderr. Here the first is an error, which earns nothing, and the second goes to stdout.
    """

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        if cell.cell_type == "code" and _CHECK.fullmatch(cell.source.strip()):
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.name = "stdout"
            cell.outputs.sort(key=lambda output: output.output_type != "error")  # nbgrader takes the first that tells something
            failed = bool(cell.outputs) and cell.outputs[0].output_type == "error"
            if not failed and not _is_number(cell.outputs, cell.metadata.nbgrader.get("points", 0)):
                text = "the check showed no number of points"
                cell.outputs.insert(0, new_output("error", ename="NoPoints", evalue=text, traceback=[f"NoPoints: {text}"]))
        return cell, resources


def _is_number(outputs: list[NotebookNode], most: float) -> bool:
    """Whether there is one result, and it is a number from 0 to ``most``."""
    results = [output.data.get("text/plain", "") for output in outputs if output.output_type == "execute_result"]
    return len(results) == 1 and bool(re.fullmatch(r"\d+(\.\d+)?", results[0])) and float(results[0]) <= most
