"""Comparing what came back with the truth, and saying in words what differs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .answer import NOTHING_RETURNED, Opaque, describe

SHOWN = 24
"""Tensors with at most this many numbers are printed in messages."""


def difference(found, expected, names: Sequence[str], tolerance: float, clear: bool = True) -> str | None:
    """What is wrong with ``found``, in words; None when it is right.

    names: one per output, to speak of them. clear: whether axes can be told apart by their lengths.
    """
    if found is None:
        return NOTHING_RETURNED
    if not isinstance(expected, tuple):
        if isinstance(found, tuple):
            return f"You returned {describe(found)}; {_asked(expected)} is asked for.{_remedy(found)}"
        return _difference(found, expected, names[0], tolerance, clear)
    listed = ", ".join(name.removeprefix("your ") for name in names)
    if not isinstance(found, tuple):
        return f"You returned {describe(found)}; a tuple of {len(expected)} is asked for: {listed}."
    if len(found) != len(expected):
        return f"You returned {describe(found)}; {len(expected)} are asked for: {listed}."
    for part, truth, name in zip(found, expected, names, strict=True):
        if (problem := _difference(part, truth, name, tolerance, clear)) is not None:
            return problem
    return None


def misshapen(found, expected) -> bool:
    """Whether it is not numbers that differ, but the shape, or what it is at all."""
    if isinstance(expected, tuple):
        return (
            not isinstance(found, tuple)
            or len(found) != len(expected)
            or any(misshapen(part, truth) for part, truth in zip(found, expected, strict=True))
        )
    if not isinstance(expected, Tensor):
        return False
    return not isinstance(found, Tensor) or found.shape != expected.shape


def kind(found: Sequence, expected: Sequence) -> str:
    """In which way, at worst, some of these are wrong: words that hold no number of theirs."""
    if any(misshapen(one, truth) for one, truth in zip(found, expected, strict=True)):
        return "returns something else than is asked for: another shape, or another kind of thing"
    if not all(map(is_finite, found)):
        return "returns numbers that are NaN or infinite"
    return "returns wrong numbers"


def cast(found, expected):
    """``found`` with tensors of numbers in the format of those expected."""
    if isinstance(found, tuple) and isinstance(expected, tuple) and len(found) == len(expected):
        return tuple(cast(part, truth) for part, truth in zip(found, expected, strict=True))
    if isinstance(found, Tensor) and isinstance(expected, Tensor) and not found.is_complex():
        return found.to(expected.dtype)
    return found


def is_finite(found) -> bool:
    """Whether all numbers are finite."""
    if isinstance(found, tuple):
        return all(map(is_finite, found))
    return not isinstance(found, Tensor) or bool(found.isfinite().all())


def _asked(expected) -> str:
    return f"a tensor of shape {list(expected.shape)}" if isinstance(expected, Tensor) else "one thing"


def _difference(found, expected, name: str, tolerance: float, clear: bool) -> str | None:
    """``difference`` for a single output. Never broadcasts: shape and format come before any number is looked at."""
    if isinstance(expected, int | float):
        if isinstance(found, Tensor) and found.ndim == 0:
            found = found.item()
        if type(found) not in (bool, int, float):
            return f"{_upper(name)} is {describe(found)}; a number is asked for."
        found, expected = torch.tensor(float(found)).double(), torch.tensor(float(expected)).double()
    if not isinstance(found, Tensor):
        return f"{_upper(name)} is {describe(found)}; a tensor of shape {list(expected.shape)} is asked for.{_remedy(found)}"
    if found.shape != expected.shape:
        return _shape_difference(found, expected, name, clear)
    if found.dtype != expected.dtype:
        return (
            f"{_upper(name)} has dtype {_dtype(found)}; it should keep the inputs' {_dtype(expected)}. What you create inside "
            "needs it too: torch.zeros_like(x), x.new_zeros(...), torch.arange(..., dtype=x.dtype); and not .float()."
        )
    if not found.isfinite().all():
        bad = (~found.isfinite()).sum().item()
        return f"{_upper(name)} has {bad} of {found.numel()} numbers that are NaN or infinite:\n{show(found)}"
    if close(found, expected, tolerance):
        return None
    return _value_difference(found, expected, name)


def _shape_difference(found: Tensor, expected: Tensor, name: str, clear: bool) -> str:
    said = f"{_upper(name)} has shape {list(found.shape)}; shape {list(expected.shape)} is asked for."
    if found.ndim == expected.ndim == 2 and found.shape == expected.T.shape:
        return said + " The axes are the other way round."
    if found.squeeze().shape == expected.squeeze().shape:
        return said + (
            " There is an axis of length 1 too many or too few: .squeeze(-1) takes one away, .unsqueeze(-1) adds one."
            if clear
            else " The shape is right where no axis has length 1. Does something take every axis of length 1 away? "
            ".squeeze() without the number of an axis does."
        )
    if found.ndim > expected.ndim:
        return said + " Either an axis was not reduced, or two tensors were broadcast against each other."
    if found.ndim < expected.ndim:
        return said + " An axis too many was reduced: .sum() and .mean() take all of them, .sum(0) only the first."
    return said


def _value_difference(found: Tensor, expected: Tensor, name: str) -> str:
    if found.numel() <= SHOWN:
        said = f"{_upper(name)} is\n{show(found)}\nand should be\n{show(expected)}"
    else:
        gap = (found - expected).abs()
        where = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
        said = (
            f"{_upper(name)} is wrong by up to {gap.max():.3g}: "
            f"at {list(where)} it is {found[where]:.5g} and should be {expected[where]:.5g}."
        )
    return said + _factor(found, expected)


def _factor(found: Tensor, expected: Tensor) -> str:
    """A remark where every number is off by one and the same factor."""
    nonzero = expected.abs() > 1e-9
    if not nonzero.any() or not close(found[~nonzero], expected[~nonzero], 1e-9):
        return ""
    ratio = found[nonzero] / expected[nonzero]
    factor = ratio[0].item()
    if factor == 0 or nonzero.sum() < 2 or not close(ratio, torch.full_like(ratio, factor), 1e-6):
        return ""
    return f"\nEvery number is {factor:.4g} times what it should be."


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """|a - b| <= tolerance * max(1, |b|), everywhere; NaN is close to nothing."""
    a, b = a.double(), b.double()
    return bool(((a - b).abs() <= tolerance * b.abs().clamp(min=1)).all())


def same(a, b, tolerance: float) -> bool:
    """Whether two observations are the same: structure, shapes, formats, numbers (here NaN equals NaN)."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        return (
            isinstance(a, tuple)
            and isinstance(b, tuple)
            and len(a) == len(b)
            and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
        )
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        if isinstance(a, Opaque) and isinstance(b, Opaque):
            return a.description == b.description
        return type(a) is type(b) and bool(a == b or (a != a and b != b))
    if a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a.isfinite(), b.isfinite()):
        return False
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    finite = a.isfinite()
    return close(a[finite], b[finite], tolerance)


def show(x: Tensor) -> str:
    """A small tensor as rows of numbers; a large one by its shape."""
    if not is_shown(x):
        return f"    (shape {list(x.shape)})"
    if x.ndim == 0:
        return f"    {_number(x)}"
    if x.ndim > 2:
        return "\n".join(f"    [{place}, ...]\n{show(part)}" for place, part in enumerate(x))
    rows = [[_number(entry) for entry in row] for row in x.reshape(-1, x.shape[-1])]
    width = max((len(entry) for row in rows for entry in row), default=0)
    return "\n".join("    [" + "  ".join(entry.rjust(width) for entry in row) + "]" for row in rows)


def _number(x: Tensor) -> str:
    return str(x.item()) if not x.is_floating_point() else f"{x.item() + 0.0:.4g}"  # + 0.0: no minus before a zero


def is_shown(x) -> bool:
    """Whether messages print ``x`` itself, not only its shape."""
    return not isinstance(x, Tensor) or x.numel() <= SHOWN


def show_inputs(names: Sequence[str], inputs: Sequence) -> str:
    """Arguments as text, one after the other; large ones by their shape only."""
    lines = []
    for name, value in zip(names, inputs, strict=True):
        if not isinstance(value, Tensor):
            lines.append(f"  {name} = {value}")
        elif not is_shown(value):
            lines.append(f"  {name}: shape {list(value.shape)}")
        elif value.ndim <= 1:
            lines.append(f"  {name} = {show(value).strip()}")
        else:
            lines.append(f"  {name} =\n{show(value)}")
    return "\n".join(lines)


def _remedy(found) -> str:
    text = describe(found)
    if "numpy" in text:
        return " Stay in torch, or end with torch.from_numpy(...)."
    if isinstance(found, tuple) and text.startswith("a tuple"):
        return " A comma at the end of the line makes a tuple: leave it out." if len(found) == 1 else ""
    if text.startswith(("a list", "a tuple")):
        return " torch.stack(list_of_tensors) or torch.tensor(list_of_numbers, dtype=x.dtype) makes one of it."
    if text.startswith("the Python number"):
        return " Leave out .item() and float()."
    return ""


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]
