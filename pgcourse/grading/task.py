"""What a task is: a function to write, how an answer is judged, the wrong answers that must be recognised, hints."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .answer import Answer


@dataclass(frozen=True)
class Mistake:
    """A wrong solution. Its check must reject it, and recognise it when a student makes it.

    sentence: what to tell the student, in one sentence. source: where it was met: an entry of the course's list of mistakes
    (SF03), a public issue.
    """

    name: str
    function: Callable
    sentence: str
    source: str = ""


@dataclass(frozen=True)
class Case:
    """Inputs to call a function with, and the truth about them (in the simplest case: what it must return)."""

    inputs: tuple
    truth: Any


def cases(oracle: Callable, inputs: Sequence[tuple]) -> list[Case]:
    """One Case for each tuple of inputs, its truth told by ``oracle(*inputs)``."""
    return [Case(each, oracle(*each)) for each in inputs]


@dataclass(frozen=True)
class Fault:
    """Why an answer is not right; ``mistake`` names a listed one where the judge recognises it by what it does."""

    message: str
    mistake: str | None = None


class Values:
    """Looks at what the function returns."""

    def __call__(self, task: "Task", answer: Answer, inputs: tuple):
        return answer(*inputs)

    def names(self, task: "Task") -> tuple[str, ...]:
        return tuple(f"your {name}" if name else "what you return" for name in task.outputs)


@dataclass(frozen=True)
class Gradient:
    """Looks at the gradient of the number the function returns with respect to the arguments named; never at the number."""

    wrt: tuple[str, ...]

    def __call__(self, task: "Task", answer: Answer, inputs: tuple):
        _, gradients = answer.gradient(inputs, [task.parameters.index(name) for name in self.wrt])
        return gradients if len(self.wrt) > 1 else gradients[0]

    def names(self, task: "Task") -> tuple[str, ...]:
        return tuple(f"the gradient of what you return with respect to {name}" for name in self.wrt)


@dataclass(frozen=True)
class Exact:
    """A stage that compares with the truth, computed in another way than the reference does.

    cases: draws them from a seeded generator, smallest first, all in float64. observe: what is looked at (``Values``,
    ``Gradient``). verdict(cases, observations): what is wrong, or None; by default each observation must equal its
    case's truth to ``tolerance`` (relative, and absolute below 1). praise: what to say when all is right.
    """

    points: int
    cases: Callable[[torch.Generator], list[Case]]
    observe: Values | Gradient = field(default_factory=Values)
    verdict: Callable[[list[Case], list], Fault | None] | None = None
    tolerance: float = 1e-5
    praise: str = ""


EXACT_BUDGET = (
    "Exact: compared in float64, to 1e-5, with a value computed in another way. A right answer differs from it by "
    "rounding: less than 1e-12, or 1e-6 where a factor was computed in float32 (discount ** t, with whole numbers t, "
    "is). So none fails. Each listed wrong one differs by far more on inputs drawn at random."
)


@dataclass(frozen=True)
class Learning:
    """A stage in which the answer is put to use in a training run; what it earns is minor.

    run(answer, seed, report): a Fault when it did not learn, a sentence when it did; ``report`` takes lines of progress.
    """

    points: int
    run: Callable[[Answer, int, Callable[[str], None]], Fault | str]


@dataclass(frozen=True)
class Task:
    """One function for the student to write.

    id: lecture, dot, function name. signature: with the shapes, ``f(x [N, D], scale) -> y [N]``; the names of the function and
    its arguments are the reference's. reference: the solution shown in the end; its docstring is what the student starts from.
    alternatives: right solutions written differently. error_budget: how often a right answer may fail, and why. forbidden:
    functions of the library that would answer the task.
    """

    id: str
    title: str
    signature: str
    reference: Callable
    stages: tuple[Exact | Learning, ...]
    alternatives: tuple[Callable, ...]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    error_budget: str
    forbidden: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    @property
    def points(self) -> int:
        return sum(stage.points for stage in self.stages)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.reference).parameters)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the function returns, from the signature; "" where it has no name."""
        return tuple(name for name, _ in shapes(self.signature.partition("->")[2]))

    def is_clear(self, inputs: Sequence) -> bool:
        """Whether all axes of these inputs have different lengths above 1, so that a shape tells which axis is which."""
        listed = shapes(self.signature.partition("(")[2].partition(")")[0])
        lengths = {}
        for (_, shape), value in zip(listed, inputs, strict=True):
            if isinstance(value, Tensor):
                lengths.update(zip(shape.strip("[]").split(", "), value.shape, strict=True))
        return 1 not in lengths.values() and len(set(lengths.values())) == len(lengths)

    @property
    def exact(self) -> Exact:
        """Its first stage; every task has an exact one, and begins with it."""
        (stage, *_) = self.stages
        assert isinstance(stage, Exact)
        return stage


def shapes(text: str) -> list[tuple[str, str]]:
    """Names and shapes in a list like ``x [N, D], scale``: [("x", "[N, D]"), ("scale", "")]."""
    items = re.findall(r"[^,\[]+(?:\[[^\]]*\])?|\[[^\]]*\]", text)
    return [(item.partition("[")[0].strip(), "".join(item.partition("[")[1:])) for item in items if item.strip()]


def reference_source(task: Task) -> str:
    """The source of the reference solution, as it is shown."""
    return textwrap.dedent(inspect.getsource(task.reference)).rstrip() + "\n"


def stub_source(task: Task) -> str:
    """What the student starts from: the reference's signature and docstring, then ``raise NotImplementedError``."""
    source = reference_source(task)
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    head = source.splitlines()[: function.body[0].end_lineno]  # up to the docstring's end
    return "\n".join([*head, "    raise NotImplementedError"]) + "\n"


def is_sealed(task: Task) -> bool:
    """Whether this copy of the course came without solutions (``pgcourse release --sealed``)."""
    return reference_source(task) == stub_source(task)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Numbers between ``low`` and ``high`` in float64."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def readable(x: Tensor) -> Tensor:
    """The same numbers with one decimal, for cases that are printed."""
    return (x * 10).round() / 10 + 0.0  # turns -0 into 0
