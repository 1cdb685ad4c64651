"""Judging one answer to one task. Nothing here knows where the answer runs."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import compare
from .answer import Answer, Complaint, LocalAnswer
from .shown import Shown, indent, wrap
from .task import Exact, Fault, Mistake, Task

PASSED, FAILED, ERROR, NOT_ATTEMPTED = "passed", "failed", "error", "not attempted"
TIMEOUT, MEMORY, CRASH, TAMPER = "timeout", "memory", "crash", "tamper"
MARKS = {
    PASSED: "\N{CHECK MARK}",
    NOT_ATTEMPTED: "\N{WHITE CIRCLE}",
    **dict.fromkeys((FAILED, ERROR, TIMEOUT, MEMORY, CRASH, TAMPER), "\N{BALLOT X}"),
}
_PRINTED_LINES = 20


@dataclass(frozen=True)
class Outcome(Shown):
    """What a check found."""

    task: str
    """The task's id, "03.gaussian_score"."""
    status: str
    """ "passed" (all points), "failed", "error" (the function raised), "not attempted", "memory" (it wanted too much).

    From a sandbox also "timeout", "crash" (its process ended) and "tamper" (it broke the protocol between it and the judge).
    """
    points: int
    max_points: int
    message: str
    mistake: str | None = None
    """The name of the listed mistake that was recognised."""
    printed: str = ""
    """What the function printed while it was judged."""
    warned: str = ""
    """The warnings it caused, each once."""

    def __str__(self) -> str:
        head = f"{MARKS[self.status]} {self.task}: {self.status}, {self.points} of {count(self.max_points, 'point')}"
        text = f"{head}\n{indent(wrap(self.message))}"
        if self.printed.strip():
            lines = self.printed.rstrip().splitlines()
            more = [f"... and {len(lines) - _PRINTED_LINES} lines more"] if len(lines) > _PRINTED_LINES else []
            text += "\n  Your function printed:\n" + indent("\n".join(lines[:_PRINTED_LINES] + more), "  | ")
        if self.warned:
            text += "\n  Warnings from your function:\n" + indent(self.warned, "  | ")
        return text


def count(number: int, thing: str) -> str:
    """ "1 point", "2 points"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


@torch.inference_mode(False)
@torch.enable_grad()
def judge(
    task: Task,
    answer: Answer | Callable,
    seed: int,
    *,
    learning: bool = True,
    hidden: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Judge an answer, or a function of this process, on the cases that ``seed`` draws.

    Stages are judged in order, up to the first that is not passed. ``learning=False`` leaves out training runs, and their
    points with them. ``hidden``: the message tells nothing about the cases, nor anything in the answer's own words.
    ``report`` takes lines of progress.
    """
    points, said, status, mistake = 0, [], PASSED, None
    try:
        if not isinstance(answer, Answer):
            answer = LocalAnswer(answer, task.parameters)
        for stage in task.stages:
            if isinstance(stage, Exact):
                result = _exact(task, stage, answer, seed, hidden)
            elif learning:
                result = stage.run(answer, seed, report)
            else:
                continue
            if isinstance(result, Fault):
                status, mistake = FAILED, result.mistake
                said.append(result.message)
                break
            points += stage.points
            said.append(result)
    except Complaint as complaint:
        status = complaint.status
        said.append(complaint.general if hidden else complaint.message)
    printed, warned = (answer.printed, answer.warned) if isinstance(answer, Answer) and not hidden else ("", "")
    return Outcome(task.id, status, points, task.points, "\n".join(said), mistake, printed, warned)


def _exact(task: Task, stage: Exact, answer: Answer, seed: int, hidden: bool) -> Fault | str:
    """The fault of an exact stage, or a sentence of praise. Raises Complaint where a call gave nothing to judge."""
    cases = stage.cases(torch.Generator().manual_seed(seed))
    seen = []
    for case in cases:
        seen.append(_observed(task, stage, answer, case.inputs))
        if isinstance(seen[-1], Complaint) and seen[-1].status != FAILED:
            raise seen[-1]
    fault = next((each for each in seen if isinstance(each, Complaint)), None)
    if fault is None:
        again = _observed(task, stage, answer, cases[0].inputs)
        if isinstance(again, Complaint) and again.status not in (FAILED, ERROR):
            raise again
        if isinstance(again, Complaint) or not compare.same(again, seen[0], 1e-9):
            return Fault(
                "Called a second time with the same inputs, your function gave another result. It must depend on its arguments "
                "alone: no random numbers of its own, nothing remembered from the call before."
            )
        fault = stage.verdict(cases, seen) if stage.verdict else _first_difference(task, stage, cases, seen, seed)
    if fault is None:
        drawn = "for grading" if hidden else f"from seed {seed}"
        return stage.praise or f"Right on all {count(len(cases), 'input')} drawn {drawn}."
    mistake = _recognise(task, stage, cases, seen)
    if hidden:
        return _unspecific(stage, cases, seen, fault, mistake)
    if mistake is not None:
        return Fault(f"{mistake.sentence}\n{fault.message}", mistake.name)
    if isinstance(fault, Complaint):
        raise fault
    return fault


def _unspecific(stage: Exact, cases: list, seen: list, fault: Fault | Complaint, mistake: Mistake | None) -> Fault:
    """The fault, told by the mistake's name or by its kind alone."""
    if mistake is not None:
        return Fault(mistake.sentence, mistake.name)
    if isinstance(fault, Complaint):
        return Fault(fault.general)
    wrong = "breaks what the task asks for" if stage.verdict else compare.kind(seen, [case.truth for case in cases])
    return Fault(f"On inputs drawn for grading, your function {wrong}.", fault.mistake)


def _observed(task: Task, stage: Exact, answer: Answer, inputs: tuple):
    """What is to be looked at, or the Complaint that there is nothing; an error's comes with the inputs that caused it."""
    try:
        return stage.observe(task, answer, inputs)
    except Complaint as complaint:
        if complaint.status != ERROR:
            return complaint
        called = f"when it was called with\n{compare.show_inputs(task.parameters, inputs)}"
        return Complaint(ERROR, f"{complaint.message}\n{called}", complaint.kind, complaint.line)


def _first_difference(task: Task, stage: Exact, cases: list, seen: list, seed: int) -> Fault | None:
    """The difference on the first case that has one: they are ordered, smallest first.

    For a wrong shape, on the first whose axes differ in length: an axis of length 1 hides what happened to it.
    """
    names = stage.observe.names(task)
    wrong = [
        (case, found)
        for case, found in zip(cases, seen, strict=True)
        if compare.difference(found, case.truth, names, stage.tolerance) is not None
    ]
    if not wrong:
        return None
    telling = [(case, found) for case, found in wrong if compare.misshapen(found, case.truth) and task.is_clear(case.inputs)]
    case, found = telling[0] if telling and compare.misshapen(wrong[0][1], wrong[0][0].truth) else wrong[0]
    inputs = compare.show_inputs(task.parameters, case.inputs)
    hidden = "" if all(compare.is_shown(x) for x in case.inputs) else f" (seed={seed} draws them again)"
    order = _other_order(cases, seen, names, stage.tolerance)
    problem = order or compare.difference(found, case.truth, names, stage.tolerance, task.is_clear(case.inputs))
    return Fault(f"{problem}\nThe inputs were{hidden}\n{inputs}")


def _other_order(cases: list, seen: list, names: tuple[str, ...], tolerance: float) -> str | None:
    """A sentence where on every case the outputs are right, but come in another order."""
    for order in itertools.permutations(range(len(names))):
        sorted_out = (
            isinstance(found, tuple)
            and len(found) == len(order)
            and compare.difference(tuple(found[place] for place in order), case.truth, names, tolerance) is None
            for case, found in zip(cases, seen, strict=True)
        )
        if len(order) > 1 and all(sorted_out):
            plain = [name.removeprefix("your ") for name in names]
            yours = [name for _, name in sorted(zip(order, plain, strict=True))]
            return f"Your outputs are right, but in another order: {', '.join(yours)}. Asked for: {', '.join(plain)}."
    return None


def _recognise(task: Task, stage: Exact, cases: list, seen: list) -> Mistake | None:
    """The listed mistake that does the same as the answer.

    Where there is none, and the truth is what to return: the one that does the same but for the format of the numbers, then
    the one that does the same wherever the answer is finite.
    """
    if (mistake := _twin(task, stage, cases, seen)) is not None or stage.verdict:
        return mistake
    formatted = [compare.cast(found, case.truth) for case, found in zip(cases, seen, strict=True)]
    finite = [place for place, found in enumerate(seen) if compare.is_finite(found)]
    if (mistake := _twin(task, stage, cases, formatted)) is not None or not 0 < len(finite) < len(seen):
        return mistake
    return _twin(task, stage, [cases[place] for place in finite], [formatted[place] for place in finite])


def _twin(task: Task, stage: Exact, cases: list, seen: list) -> Mistake | None:
    """The one listed mistake that does the same as the answer on every case; None when there is none, or more than one."""

    def does_the_same(mistake: Mistake) -> bool:
        twin = LocalAnswer(mistake.function)
        for case, found in zip(cases, seen, strict=True):
            other = _observed(task, stage, twin, case.inputs)
            if isinstance(found, Complaint) or isinstance(other, Complaint):
                if not (isinstance(found, Complaint) and isinstance(other, Complaint) and found.message == other.message):
                    return False
            elif not compare.same(other, found, stage.tolerance):
                return False
        return True

    alike = [mistake for mistake in task.mistakes if does_the_same(mistake)]
    return alike[0] if len(alike) == 1 else None
