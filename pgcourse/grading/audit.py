"""Testing the checks themselves: every right solution must pass, every wrong one must be rejected, and by its name.

$ pgcourse audit 04.batched_returns
$ python -m pgcourse.grading.audit > docs/kill_matrix.md
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .judge import ERROR, FAILED, PASSED, Outcome, count, judge
from .shown import indent
from .task import EXACT_BUDGET, Gradient, Task, shapes
from .tasks import all_tasks

SEED = 20


@dataclass(frozen=True)
class Cell:
    """One solution judged by one task's check."""

    task: Task
    solution: str
    kind: str
    """ "right", "wrong" (a listed mistake, to be named) or "spoilt" (a right solution spoilt in one of the ways below)."""
    source: str
    outcome: Outcome

    @property
    def good(self) -> bool:
        """Whether the check did what it must."""
        if self.kind == "right":
            return self.outcome.status == PASSED
        if self.kind == "wrong":
            return self.outcome.status == FAILED and self.outcome.points == 0 and self.outcome.mistake == self.solution
        return self.outcome.status in (FAILED, ERROR) and self.outcome.points == 0


def kill_matrix(tasks: Iterable[Task] | None = None, seed: int = SEED, learning: bool = False) -> list[Cell]:
    """Judge every right, wrong and spoilt solution of every task; training runs only on request, they take seconds each."""
    cells = []
    for task in tasks or all_tasks():
        solutions = [("reference", "right", "", task.reference)]
        solutions += [(f.__name__.lstrip("_"), "right", "", f) for f in task.alternatives]
        solutions += [(mistake.name, "wrong", mistake.source, mistake.function) for mistake in task.mistakes]
        solutions += [(name, "spoilt", "", spoil(task)) for name, spoil in SPOILT.items()]
        for name, kind, source, function in solutions:
            if function is not None:
                cells.append(Cell(task, name, kind, source, judge(task, function, seed, learning=learning)))
    return cells


def false_alarms(task: Task, runs: int, learning: bool = False) -> dict[str, int]:
    """How often the reference and each alternative fail, in ``runs`` checks with seeds of their own."""
    return {
        function.__name__: sum(judge(task, function, seed, learning=learning).status != PASSED for seed in range(runs))
        for function in (task.reference, *task.alternatives)
    }


def examine(task: Task, runs: int, learning: bool = False) -> tuple[str, bool]:
    """What the check of one task is worth, in words, and whether it is right in all.

    The kill matrix's row and, from ``runs`` checks of every right solution, how often a right answer fails.
    """
    cells = kill_matrix([task], learning=learning)
    alarms = false_alarms(task, runs, learning)
    lines = [f"{task.id}: {task.title}, {count(task.points, 'point')}"]
    for kind, verdict in (("right", "accepted"), ("wrong", "rejected by name"), ("spoilt", "rejected")):
        own = [cell for cell in cells if cell.kind == kind]
        lines.append(f"  {kind:7}{sum(cell.good for cell in own):>3} of {len(own)} {verdict}")
    failed, checks = sum(alarms.values()), runs * len(alarms)
    bound = f": with 95 % confidence fewer than {1 - 0.05 ** (1 / checks):.1%} do" if not failed else ""
    lines.append(f"  budget {failed:>3} of {checks:,} checks of right solutions failed{bound}")
    lines += [f"    {name}: {number} of {runs} failed" for name, number in alarms.items() if number]
    for cell in cells:
        if not cell.good:
            named = f" as {cell.outcome.mistake!r}" if cell.outcome.mistake else ""
            lines.append(f"  WRONGLY JUDGED: {cell.solution} ({cell.kind}) is {cell.outcome.status}{named}")
            lines.append(indent(cell.outcome.message))
    return "\n".join(lines), not failed and all(cell.good for cell in cells)


# ----------------------------------------------------------------------------------------------------------------------
# Ways to spoil any right solution. Each takes a task and gives a function, or None where it would not be wrong.


def _is_gradient(task: Task) -> bool:
    return isinstance(task.exact.observe, Gradient)


def _after(change: Callable[[Tensor], object], where: Callable[[Task], bool] = lambda task: True):
    """The right solution, with ``change`` applied to each of its outputs; only for tasks with where(task)."""

    def spoil(task: Task):
        if not where(task):
            return None

        def spoilt(*inputs):
            output = task.reference(*inputs)
            return tuple(change(part) for part in output) if isinstance(output, tuple) else change(output)

        return spoilt

    return spoil


def _judged_by_value(task: Task) -> bool:
    return not _is_gradient(task)


def _scale_matters(task: Task) -> bool:
    return task.exact.verdict is None


def _has_an_axis(task: Task) -> bool:
    return _judged_by_value(task) and all(shape.strip("[]") for _, shape in shapes(task.signature.partition("->")[2]))


def _has_two_axes(task: Task) -> bool:
    _, shape = shapes(task.signature.partition("->")[2])[0]
    return "," in shape


def _before(change: Callable[[Sequence], Sequence]):
    """The right solution, of changed inputs."""
    return lambda task: lambda *inputs: task.reference(*change(inputs))


def _writes_into_its_input(task: Task):
    def spoilt(*inputs):
        output = task.reference(*inputs)
        first = inputs[0]
        first += 1
        return output

    return spoilt


def _right_the_first_time(task: Task):
    calls = []

    def spoilt(*inputs):
        calls.append(1)
        output = task.reference(*inputs)
        if len(calls) == 1:
            return output
        return tuple(part * -1 for part in output) if isinstance(output, tuple) else -output

    return spoilt


def _remembers_the_first(task: Task):
    """Right while the inputs stay the same."""
    first = []

    def spoilt(*inputs):
        first.append(inputs)
        return task.reference(*first[0])

    return spoilt


def _last_column_for_all(x):
    return x[..., -1:].expand_as(x) if isinstance(x, Tensor) and x.ndim and x.is_floating_point() else x


SPOILT: dict[str, Callable[[Task], Callable | None]] = {
    "returns None": _after(lambda x: None),
    "raises": lambda task: lambda *inputs: 1 // 0,
    "times zero": _after(lambda x: x * 0),
    "NaN": _after(lambda x: x * float("nan")),
    "doubled": _after(lambda x: 2 * x, _scale_matters),
    "minus": _after(lambda x: -x),
    "random": _after(lambda x: x * torch.rand_like(x), _scale_matters),
    "its first input": lambda task: lambda *inputs: inputs[0],
    "float32": _after(lambda x: x.float(), _judged_by_value),
    "whole numbers": _after(lambda x: x.long(), _judged_by_value),
    "numpy": _after(lambda x: x.detach().numpy()),
    "list": _after(lambda x: x.tolist()),
    "axis too many, behind": _after(lambda x: x.unsqueeze(-1)),
    "axis too many, in front": _after(lambda x: x.unsqueeze(0)),
    "axes swapped": _after(lambda x: x.T, _has_two_axes),
    "summed up": _after(lambda x: x.sum(), _has_an_axis),
    "one output too many": lambda task: lambda *inputs: (task.reference(*inputs), torch.zeros(1)),
    "detached": _after(lambda x: x.detach(), _is_gradient),
    "constant": _after(torch.zeros_like),
    "one column for all": _before(lambda inputs: [_last_column_for_all(x) for x in inputs]),
    "writes into its input": _writes_into_its_input,
    "right the first time": _right_the_first_time,
    "remembers its first input": _remembers_the_first,
}


# ----------------------------------------------------------------------------------------------------------------------
# The page


def markdown(cells: list[Cell] | None = None) -> str:
    """The kill matrix as a page; the same every time."""
    cells = kill_matrix() if cells is None else cells
    tasks = list(dict.fromkeys(cell.task.id for cell in cells))
    lines = [
        "# Kill matrix",
        "",
        "What the checks do with solutions that are known to be right or wrong. Written by",
        "`python -m pgcourse.grading.audit > docs/kill_matrix.md`; a test compares it with what the checks do now.",
        "",
        f"{count(len(cells), 'solution')} judged, {sum(not cell.good for cell in cells)} judged wrongly.",
        "",
        f"Error budgets. {EXACT_BUDGET} Other budgets are stated with their tasks.",
        "",
        "## Each task's own right and wrong solutions",
        "",
        'A wrong one must be rejected *and* recognised by its name. "Met as": entry of the course\'s list of mistakes, '
        "or a public issue.",
        "",
    ]
    for task_id in tasks:
        own = [cell for cell in cells if cell.task.id == task_id and cell.kind != "spoilt"]
        task = own[0].task
        lines += [f"### {task.id}: {task.title}", "", f"`{task.signature}`, {count(task.points, 'point')}.", ""]
        if task.error_budget != EXACT_BUDGET:
            lines += [f"Error budget. {task.error_budget}", ""]
        lines += ["| solution | is | met as | verdict | named |", "|---|---|---|---|---|"]
        for cell in own:
            named = cell.outcome.mistake or ("" if cell.kind == "right" else "no")
            lines.append(
                f"| {cell.solution} | {cell.kind} | {cell.source} | {_verdict(cell)} | "
                f"{'yes' if named == cell.solution else named} |"
            )
        lines.append("")
    lines += [
        "## Right solutions spoilt in general ways",
        "",
        "Each row is a right solution of the task, spoilt; an empty cell: there it would not be wrong, or makes no sense.",
        "",
        "| spoilt | " + " | ".join(task_id.partition(".")[2] for task_id in tasks) + " |",
        "|---" * (len(tasks) + 1) + "|",
    ]
    spoilt = {(cell.solution, cell.task.id): _verdict(cell) for cell in cells if cell.kind == "spoilt"}
    lines += [f"| {name} | " + " | ".join(spoilt.get((name, task_id), "") for task_id in tasks) + " |" for name in SPOILT]
    return "\n".join(lines) + "\n"


def _verdict(cell: Cell) -> str:
    word = {PASSED: "accepted", FAILED: "rejected", ERROR: "error"}[cell.outcome.status]
    return word if cell.good else f"**{word}, wrongly**"


if __name__ == "__main__":
    print(markdown(), end="")
