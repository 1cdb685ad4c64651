"""Notebooks are tests, too: nbval runs every code cell of lectures, exercises and solutions with the small budget."""

import os
import re
import shutil
import tempfile

import pytest

os.environ.setdefault("PGCOURSE_BUDGET", "small")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores

VERDICTS = {"exercises": "not attempted", "solutions": "passed"}


def pytest_configure(config):
    """Checks in notebooks keep their progress apart from the checkout, each worker in a folder of its own."""
    worker = getattr(config, "workerinput", None)
    folder = os.environ["PGCOURSE_PROGRESS"] if worker else None  # the one of the process that started the worker
    prefix = worker["workerid"] if worker else "pgcourse-progress-"
    os.environ["PGCOURSE_PROGRESS"] = config.pgcourse_progress = tempfile.mkdtemp(prefix=prefix, dir=folder)


def pytest_unconfigure(config):
    shutil.rmtree(getattr(config, "pgcourse_progress", ""), ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """What nbval leaves open: a mistake that is to be shown failing does fail, a check says what it must say."""
    yield
    if not hasattr(item, "test_outputs"):
        return  # no cell of a notebook
    if item.options["check_exception"] and not any(output.output_type == "error" for output in item.test_outputs):
        pytest.fail("the cell is tagged raises-exception and ran through")
    verdict = VERDICTS.get(item.path.parent.name)
    if verdict and re.search(r"^check\(", item.cell.source, re.MULTILINE):
        said = "".join(output.get("text", "") for output in item.test_outputs)
        if f": {verdict}, " not in said:
            pytest.fail(f"in {item.path.parent.name} every task must be {verdict}; the check says\n{said}")
