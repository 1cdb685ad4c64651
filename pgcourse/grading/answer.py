"""A student's function, wherever it runs: called with tensors, it gives tensors back, or a complaint that says why not.

A check knows an ``Answer`` and nothing else. ``LocalAnswer`` calls a function of this very process; one that talks to a
function in another process needs ``__call__`` and ``gradient`` too, and no more.
"""

import builtins
import contextlib
import dis
import inspect
import io
import os
import random
import re
import sysconfig
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import nn

PRINT_LIMIT = 10_000
"""Characters kept of what a function prints."""
MESSAGE_LIMIT = 500
"""Characters shown of an exception's own text, or a warning's."""
WARNINGS_LIMIT = 5
"""Different warnings that are kept."""
PARTS_LIMIT = 100
"""Parts of a tuple or a list that are looked at."""


INTEGER_BITS = 1000
"""Whole numbers with more are described only: no float holds them."""


class Complaint(Exception):
    """Why a call gave nothing that could be judged.

    status: "not attempted", "failed" (it ran, but broke a rule that holds for every task), "error" (it raised) or "memory";
    from a sandbox also "timeout", "crash" or "tamper". kind, line: an exception's type, and the student's line or 0.
    """

    def __init__(self, status: str, message: str, kind: str = "", line: int = 0):
        super().__init__(message)
        self.status, self.message, self.kind, self.line = status, message, kind, line

    @property
    def general(self) -> str:
        """The message with nothing in it that could come from the inputs: an exception's text, a type's name, a shape could."""
        if self.status == "not attempted":
            return NOT_WRITTEN
        if self.status == "failed":
            return "On inputs drawn for grading, what your function returns, or does to its arguments, breaks the rules."
        if self.status == "error":
            kind = self.kind if isinstance(getattr(builtins, self.kind, None), type) else "an exception"
            return f"On inputs drawn for grading, your function raised {kind}{f', in line {self.line}' if self.line else ''}."
        return TOO_MUCH_MEMORY if self.status == "memory" else self.message


class Several(tuple):
    """A tuple or a list that was returned, with its parts received; ``kind`` is what it was."""

    kind = "tuple"

    @classmethod
    def of(cls, kind: str, parts: Sequence) -> "Several":
        several = cls(parts)
        several.kind = kind
        return several


class Opaque:
    """Something returned that is neither a tensor nor a number; only its description is kept."""

    def __init__(self, description: str):
        self.description = description


class Answer(ABC):
    """One function to be judged. Inputs are tensors and numbers; they are never changed by a call."""

    printed: str = ""
    """What the function has printed so far."""
    warned: str = ""
    """The warnings it has caused so far, each once."""

    @abstractmethod
    def __call__(self, *inputs) -> Any:
        """What the function returns: tensors (detached copies), numbers, None, tuples of these, or Opaque.

        Raises Complaint where nothing comes back.
        """

    @abstractmethod
    def gradient(self, inputs: Sequence, wrt: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The number the function returns, and its gradients with respect to the inputs at the places ``wrt``.

        Zero where the number does not depend on an input. Raises Complaint where there is no gradient to be had.
        """

    def lifted(self) -> "Lifted":
        """The function over a leading replica axis on every tensor, [R, ...] -> [R], differentiable in the first argument.

        This one asks for one gradient per replica, which works wherever the function runs.
        """

        def function(*inputs):
            rows = [
                _Through.apply(self, *(x[r] if isinstance(x, Tensor) else x for x in inputs)) for r in range(len(inputs[0]))
            ]
            return torch.stack(rows)

        return Lifted(function)


class Lifted:
    """A function that has its leading replica axis already: ``nn.lift`` leaves it alone."""

    lifted = True

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function

    def __call__(self, *inputs):
        return self.function(*inputs)


class _Through(torch.autograd.Function):
    """Backpropagation through an answer: forward asks for value and gradient, backward multiplies."""

    @staticmethod
    def forward(ctx, answer, *inputs):
        value, (gradient,) = answer.gradient(inputs, (0,))
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, *weights):
        (gradient,) = ctx.saved_tensors
        return None, weights[0] * gradient, *[None] * (len(ctx.needs_input_grad) - 2)


class LocalAnswer(Answer):
    """A function of this process. What it does to the process (printing, seeds, default formats) is undone or kept apart."""

    def __init__(self, function: Callable, parameters: Sequence[str] | None = None):
        """``parameters``: the names the task gives the arguments, to be compared with the function's own.

        Raises Complaint where it cannot be called with them.
        """
        self.function = function
        self._calls = 0
        self._printed = _Capped()
        self._warned: dict[str, str] = {}
        if parameters is not None:
            _check_signature(function, parameters)

    @property
    def printed(self) -> str:
        return self._printed.text()

    @property
    def warned(self) -> str:
        return "\n".join(self._warned.values())

    def __call__(self, *inputs):
        copies = [_copy(x) for x in inputs]
        with self._apart():
            output = self.function(*copies)
            # Read at once: what it returned may be its own memory, or ours, and change later.
            output = received(output)
        self._check_unchanged(inputs, copies)
        return output

    def gradient(self, inputs, wrt):
        leaves = {place: inputs[place].detach().clone().requires_grad_() for place in wrt}
        # A copy of the leaf, so that writing into it is noticed below instead of being an obscure error of autograd's.
        with torch.enable_grad():
            copies = [leaves[place].clone() if place in leaves else _copy(x) for place, x in enumerate(inputs)]
        with self._apart():
            output = self.function(*copies)
            self._check_unchanged(inputs, copies)
            self._check_still_connected({place: copies[place] for place in wrt})
            if any(leaf.grad is not None for leaf in leaves.values()):
                raise Complaint("failed", OWN_BACKWARD)
            value = _differentiable(output)
            gradients = _gradients(value, list(leaves.values()))
        return value.detach().clone(), tuple(gradient.detach() for gradient in gradients)

    def lifted(self):
        function = nn.lift(self.function)

        def run(*inputs):
            with self._apart():
                # How fast it runs is no concern of a check's, and a warning reads like a reproach.
                warnings.filterwarnings("ignore", ".* runs learner by learner", UserWarning)
                return function(*inputs)

        return Lifted(run)

    def _check_unchanged(self, inputs, copies):
        """Complain where the call wrote into what it was given."""
        for place, (before, after) in enumerate(zip(inputs, copies, strict=True)):
            if isinstance(before, Tensor) and not _identical(before, after.detach()):
                name = self._name(place)
                raise Complaint(
                    "failed",
                    f"Your function changes its argument {name} in place; whoever calls it would find other numbers there "
                    f"afterwards. Work on a new tensor: {name} = {name}.clone(), or y = x + z instead of x += z.",
                )

    def _check_still_connected(self, copies: dict[int, Tensor]):
        """Complain where the call cut off what it was given, each the result of a computation, from its graph."""
        for place, copy in copies.items():
            if copy.grad_fn is None:
                name = self._name(place)
                raise Complaint(
                    "failed",
                    f"Your function changes its argument {name} in place: detach_() cuts the caller's own tensor off from its "
                    f"graph, and no gradient would reach it afterwards. Use {name}.detach(), without the underscore: that "
                    "is a new tensor.",
                )

    def _name(self, place: int) -> str:
        names = _parameter_names(self.function)
        return names[place] if place < len(names) else f"number {place + 1}"

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        """Around the student's code: output goes to ``printed``, exceptions become complaints, global state comes back."""
        self._calls += 1
        with (
            _state_restored(),
            contextlib.redirect_stdout(self._printed),
            contextlib.redirect_stderr(self._printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            # torch importing its own parts, on the first call that needs them: not the student's affair.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
            # Another seed each time: what depends on hidden randomness then shows, by differing.
            torch.default_generator.manual_seed(self._calls)  # torch.manual_seed also keeps a stack trace for CUDA
            random.seed(self._calls)
            np.random.seed(self._calls)
            try:
                yield
            except (Complaint, KeyboardInterrupt):
                raise
            except BaseException as error:  # SystemExit too: it is not for a student's function to end the program
                raise complaint_about(error) from None
            finally:
                for warning in caught:
                    self._note(str(warning.message))

    def _note(self, warning: str) -> None:
        """Keep a warning, unless there was one that differs in its numbers only: each call may cause it again."""
        warning = _ORIGIN.sub("", warning)
        if len(self._warned) < WARNINGS_LIMIT:
            self._warned.setdefault(re.sub(r"\d+", "0", warning), clean(warning.strip(), MESSAGE_LIMIT))


_ORIGIN = re.compile(r"\s*\(Triggered internally at [^)]*\)")
"""Where in torch's own source a warning comes from."""


_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
]
"""How the process's settings are read, and how they are put back."""


@contextlib.contextmanager
def _state_restored() -> Iterator[None]:
    """Gradients are on within it; afterwards all global settings are what they were."""
    before = [get() for get, _ in _SETTINGS]
    streams = torch.get_rng_state(), random.getstate(), np.random.get_state()
    with torch.inference_mode(False), torch.enable_grad():
        try:
            yield
        finally:
            for (get, put), value in zip(_SETTINGS, before, strict=True):
                if get() != value:
                    put(value)
            torch.set_rng_state(streams[0])
            random.setstate(streams[1])
            np.random.set_state(streams[2])


class _Capped(io.TextIOBase):
    """Text that is kept up to PRINT_LIMIT characters and counted beyond."""

    def __init__(self):
        self._parts: list[str] = []
        self._kept = self._lost = 0

    def writable(self):
        return True

    def write(self, text):
        part = text[: PRINT_LIMIT - self._kept]
        self._parts.append(part)
        self._kept += len(part)
        self._lost += len(text) - len(part)
        return len(text)

    def text(self) -> str:
        return clean("".join(self._parts), PRINT_LIMIT) + (f"\n... and {self._lost:,} characters more" if self._lost else "")


def received(output):
    """What a function returned, as far as it can be judged: copies that share nothing with it."""
    if _is_plain(output):
        return output.detach().cpu().clone()
    if output is None or type(output) in (bool, float) or (type(output) is int and output.bit_length() <= INTEGER_BITS):
        return output
    if isinstance(output, tuple | list) and 0 < len(output) <= PARTS_LIMIT:
        parts = [Opaque(describe(part)) if isinstance(part, tuple | list) else received(part) for part in output]
        return Several.of("list" if isinstance(output, list) else "tuple", parts)
    return Opaque(describe(output))


def _is_plain(output) -> bool:
    """Whether it is an ordinary tensor: a subclass could answer any question as it likes."""
    return type(output) in (Tensor, torch.nn.Parameter) and output.layout == torch.strided and not output.is_meta


def describe(output) -> str:
    """One phrase for what a function returned: "a tensor of shape [3, 2]", "a list of 3 numbers"."""
    if _is_plain(output):
        return f"a tensor of shape {list(output.shape)}"
    if type(output) is Tensor:
        return f"a tensor of layout {output.layout} on {output.device}"
    if isinstance(output, Opaque):
        return output.description
    if output is None:
        return "None"
    if type(output) is int and output.bit_length() > INTEGER_BITS:
        return f"a whole number of more than {INTEGER_BITS} bits"
    if type(output) in (bool, int, float):
        return f"the Python number {output!r}"
    if isinstance(output, np.ndarray):
        return f"a numpy array of shape {list(output.shape)}"
    if isinstance(output, np.generic):
        return "a numpy number"
    if isinstance(output, tuple | list):
        kind = output.kind if isinstance(output, Several) else "list" if isinstance(output, list) else "tuple"
        return f"a {kind} of {len(output)} {_parts(output)}{'' if len(output) == 1 else 's'}" if output else f"an empty {kind}"
    return f"an object of type {type(output).__name__}"


def _parts(output: Sequence) -> str:
    """What a tuple or a list holds, in the singular: "tensor", "number", "numpy array", "list", "thing"."""
    for kind, name in ((Tensor, "tensor"), (int | float, "number"), (np.ndarray, "numpy array"), (list, "list")):
        if all(isinstance(part, kind) for part in output):
            return name
    starts = [part.description if isinstance(part, Opaque) else "" for part in output]
    return next((n for n in ("numpy array", "list") if all(start.startswith(f"a {n}") for start in starts)), "thing")


def _gradients(value: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    try:
        return torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
    except RuntimeError as problem:
        if "through the graph a second time" in str(problem):
            raise Complaint("failed", OWN_BACKWARD) from None
        raise


def _differentiable(output) -> Tensor:
    """``output`` if it is one number that gradients flow back from; else a Complaint that says what it is."""
    if output is None:
        raise Complaint("failed", NOTHING_RETURNED)
    if not _is_plain(output):
        also = " .item() and float() turn a tensor into a number that knows nothing of gradients."
        raise Complaint(
            "failed",
            f"Your function returned {describe(output)}; a tensor with one number in it is asked for."
            + (also if isinstance(output, float) else ""),
        )
    if output.ndim:
        raise Complaint(
            "failed",
            f"Your function returned {describe(output)}; one number is asked for, a tensor of shape []. "
            "Reduce every axis with a sum or a mean, whichever belongs there.",
        )
    if not output.requires_grad:
        raise Complaint(
            "failed",
            "No gradient flows back from what your function returned: the chain was cut. What cuts it: .detach(), .item(), "
            ".data, torch.tensor(...), torch.no_grad(). The log-probabilities must stay connected.",
        )
    return output


NOT_WRITTEN = "Your function still raises NotImplementedError: write it, then check again."
TOO_MUCH_MEMORY = "Your function asks for more memory than it may have."
OWN_BACKWARD = (
    "Your function calls backward() or torch.autograd.grad itself. Do not: return the number; whoever called your function "
    "asks it for its gradient."
)
NOTHING_RETURNED = "Your function returned None. Is there a return at its end?"


def _check_signature(function: Callable, parameters: Sequence[str]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # something built in, without a signature: the call will tell
        return
    asked = f"{function.__name__}({', '.join(parameters)})"
    given = f"{function.__name__}{signature}"
    try:
        signature.bind(*parameters)
    except TypeError as problem:
        raise Complaint("failed", f"Your function cannot be called as {asked}: {problem}. Yours is {given}.") from None
    names = _parameter_names(function)[: len(parameters)]
    if set(names) == set(parameters) and list(names) != list(parameters):
        raise Complaint("failed", f"The arguments come in this order: {asked}. Yours is {given}: same names, another order.")


def _parameter_names(function: Callable) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _copy(x):
    return x.detach().clone() if isinstance(x, Tensor) else x


def _identical(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def complaint_about(error: BaseException) -> Complaint:
    """An exception as a Complaint: what it says, and the student's own lines it came through."""
    if isinstance(error, NotImplementedError) and _raised_by_a_statement(error):
        return Complaint("not attempted", NOT_WRITTEN)
    said = traceback.TracebackException.from_exception(error).format_exception_only()
    text = clean("".join(said).strip(), MESSAGE_LIMIT)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    if len(own) > 5:
        own = own[:2] + own[-3:]
    lines = [f"    line {frame.lineno}, in {frame.name}:  {clean(frame.line or '', 200)}" for frame in own]
    out_of_memory = isinstance(error, MemoryError) or "DefaultCPUAllocator" in text
    status, said = ("memory", f"{TOO_MUCH_MEMORY}\nIt raised ") if out_of_memory else ("error", "Your function raised ")
    return Complaint(status, "\n".join([said + text, *lines]), type(error).__name__, (own[-1].lineno or 0) if own else 0)


def _raised_by_a_statement(error: BaseException) -> bool:
    """Whether a ``raise`` statement raised it; torch raises NotImplementedError from within, for what it cannot do."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code.co_code[frame.f_lasti] == dis.opmap["RAISE_VARARGS"]


_LIBRARIES = tuple(
    f"{path}{os.sep}"
    for path in {
        str(Path(__file__).parents[1]),
        str(Path(torch.__file__).parents[1]),  # site-packages; in a sandbox, sysconfig does not know where they are
        *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),
    }
)


def _is_library(filename: str) -> bool:
    return filename.startswith((*_LIBRARIES, "<frozen"))


def clean(text: str, limit: int) -> str:
    """``text`` without control or bidirectional characters and unpaired surrogates, cut off at ``limit`` characters."""
    text = text[: limit + 1].encode("utf-8", "backslashreplace").decode("utf-8")
    kept = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return kept if len(kept) <= limit else kept[:limit] + " ..."
