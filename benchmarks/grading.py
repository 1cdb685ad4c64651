"""What grading a submission costs on a warm worker: the solved exercises 03 and 04, again and again, in the sandbox.

Computing time is that of the judge and of the sandbox together, median over rounds. Exact tasks and training runs are reported
apart. Goals: the five tasks of exercise 03 in under 0.35 CPU seconds, on a worker of under 400 MiB resident.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from pgcourse.grading import unit
from pgcourse.grading.sandbox.worker import LEVELS, Worker, best_level
from pgcourse.grading.task import Exact
from pgcourse.grading.tasks import all_tasks
from pgcourse.notebooks import course_folder

GOAL_SECONDS, GOAL_MEBIBYTES = 0.35, 400


def resident(worker: Worker) -> float:
    """MiB of the sandbox's processes, pages that they share with others included."""
    kilobytes, left = 0, [worker._process.pid]
    while left:
        process = Path(f"/proc/{left.pop()}")
        lines = (process / "smaps_rollup").read_text().splitlines()
        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
        left += [int(pid) for path in process.glob("task/*/children") for pid in path.read_text().split()]
    return kilobytes / 1024


def exact_only(task):
    return replace(task, stages=tuple(stage for stage in task.stages if isinstance(stage, Exact)))


def median_cost(worker: Worker, name: str, tasks: list, rounds: int) -> tuple[float, float]:
    """CPU seconds and seconds by the clock of grading a solved notebook."""
    files = [(name, (course_folder() / "solutions" / name).read_bytes())]
    cpu, clock = [], []
    for seed in range(rounds):
        begin = time.perf_counter()
        report = unit.grade(worker, files, tasks, seed)
        clock.append(time.perf_counter() - begin)
        cpu.append(report.cpu_seconds)
        if any(outcome.status != "passed" for outcome in report.outcomes):
            raise AssertionError(f"a right solution failed: {report}")
    return statistics.median(cpu), statistics.median(clock)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=LEVELS, help="by default the highest that works here")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {number: [task for task in all_tasks() if task.id.startswith(number)] for number in ("03", "04")}
    begin = time.perf_counter()
    with Worker(options.level or best_level()[0]) as worker:
        start = time.perf_counter() - begin
        print(f"{worker.level}; with the probe it started in {start:.1f} s\n\n| | CPU s | by the clock s |\n|---|---|---|")
        exact = {number: list(map(exact_only, tasks[number])) for number in tasks}
        rows = {
            "03, five exact tasks": ("03_log_derivative_trick.ipynb", exact["03"], options.rounds),
            "04, its five tasks without the training run": ("04_reinforce.ipynb", exact["04"], options.rounds),
            "04, with the training run": ("04_reinforce.ipynb", tasks["04"], max(1, options.rounds // 3)),
        }
        figures = {}
        for what, row in rows.items():
            figures[what] = median_cost(worker, *row)
            print(f"| {what} | {figures[what][0]:.2f} | {figures[what][1]:.2f} |", flush=True)
        size = resident(worker)
    seconds = figures["03, five exact tasks"][0]
    verdict = "reached" if seconds < GOAL_SECONDS and size < GOAL_MEBIBYTES else "missed"
    print(f"\n{seconds:.2f} CPU s and {size:.0f} MiB; goals: {GOAL_SECONDS} and {GOAL_MEBIBYTES}: {verdict}")


if __name__ == "__main__":
    main()
