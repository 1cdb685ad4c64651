"""Notebooks are tests, too: nbval runs every code cell of lectures, exercises and solutions with the small budget.

With ``--report FILE`` what the long suites found is written down, with the date and the machine.
"""

import os
import platform
import re
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pytest

os.environ.setdefault("PGCOURSE_BUDGET", "small")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores

VERDICTS = {"exercises": "not attempted", "solutions": "passed"}


def pytest_addoption(parser):
    parser.addoption("--report", type=Path, help="write the outcomes of the long suites (marker full) to this file")


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


def pytest_terminal_summary(terminalreporter, config):
    """The report of ``make test-full``."""
    path = config.getoption("report")
    if path is None or hasattr(config, "workerinput"):
        return
    reports = [
        report
        for outcome in ("passed", "failed", "skipped", "error")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" or outcome != "passed"
    ]
    number = {outcome: sum(r.outcome == outcome for r in reports) for outcome in ("passed", "failed", "skipped")}
    lines = [
        "# The long suites",
        "",
        "Written by `make test-full`: the outcomes of what `make test` leaves out.",
        "",
        f"{time.strftime('%Y-%m-%d')}; pgcourse {version('pgcourse')}, Python {platform.python_version()}, torch "
        f"{version('torch')}; {platform.system()} {platform.machine()}, {os.cpu_count()} cores. Of all tests in this run "
        f"{number['passed']:,} passed, {number['failed']} failed, {number['skipped']} skipped.",
        "",
        "| long test | outcome | seconds |",
        "|---|---|---|",
    ]
    long = sorted((r for r in reports if "full" in r.keywords), key=lambda r: r.nodeid)
    lines += [f"| {r.nodeid.removeprefix('tests/')} | {r.outcome}{_why(r)} | {r.duration:.0f} |" for r in long]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    terminalreporter.write_line(f"The report is {path}.")


def _why(report):
    """The reason of a skipped test."""
    return f": {report.longrepr[2].removeprefix('Skipped: ')}" if report.outcome == "skipped" else ""
