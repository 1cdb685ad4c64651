"""What passes between the judge and a student's function: frames of a JSON header and raw bytes. Nothing is ever unpickled.

A frame is two lengths, the header and the body, in which tensors lie one after the other. The judge trusts no frame: whatever
is not exactly as written here is ``Forged``. A frame that is well formed can only be an answer.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..answer import INTEGER_BITS, PARTS_LIMIT, Opaque, Several, clean, describe

HEADER_LIMIT = 1 << 20
BODY_LIMIT = 64 << 20
"""Bytes."""
_LENGTHS = struct.Struct("<II")
_AXES_LIMIT = 16
TEXT_LIMIT = 20_000
NOTICES_LIMIT, NOTICE_LIMIT = 100, 600
FUNCTIONS_LIMIT, NAME_LIMIT = 1000, 100
"""How many of each there may be, and characters of one."""
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    )
}


class Forged(Exception):
    """Bytes came that the program at the other end never sends."""


class Closed(Exception):
    """The other end is gone."""


def frame(header: dict, parts: Sequence[bytes] = ()) -> bytes:
    """The bytes of a frame."""
    text = json.dumps(header).encode()
    return b"".join((_LENGTHS.pack(len(text), sum(map(len, parts))), text, *parts))


def read_frame(read: Callable[[int], bytes]) -> tuple[dict, bytes]:
    """Header and body of the next frame; read(n) gives exactly n bytes. Raises Forged."""
    length, size = _LENGTHS.unpack(read(_LENGTHS.size))
    if length > HEADER_LIMIT or size > BODY_LIMIT:
        raise Forged(f"a frame of {length} and {size} bytes")
    text, body = read(length), read(size)
    try:
        header = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Forged("a header that is not JSON") from None
    if type(header) is not dict:
        raise Forged("a header that is no object")
    return header, body


def _no_constant(name: str):
    raise ValueError(name)  # NaN and Infinity are no JSON


class Packer:
    """Turns values into what a header can hold, and collects the bytes of tensors for the body."""

    def __init__(self):
        self.parts: list[bytes] = []
        self._size = 0

    def pack(self, value) -> Any:
        """A value as JSON: None, a truth value, a number, a tensor, Opaque, or a tuple of these."""
        if value is None or type(value) is bool:
            return value
        if type(value) is int:
            return {"integer": str(value)}
        if type(value) is float:
            return {"float": value.hex()}
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, tuple):
            kind = value.kind if isinstance(value, Several) else "tuple"
            return {kind: [self.pack(part) for part in value]}
        return {"opaque": describe(value)[:TEXT_LIMIT]}

    def _tensor(self, tensor: Tensor) -> dict:
        dtype = str(tensor.dtype).removeprefix("torch.")
        size = tensor.numel() * tensor.element_size()
        if dtype not in _DTYPES or tensor.ndim > _AXES_LIMIT:
            return {"opaque": f"{describe(tensor)} and dtype {dtype}"}
        if self._size + size > BODY_LIMIT:
            return {"opaque": f"{describe(tensor)}, too large to be looked at"}
        # Cloned, since an axis of length 1 may have any stride, and a view as bytes wants none but 1.
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        self.parts.append(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
        self._size += size
        return {"tensor": dtype, "shape": list(tensor.shape)}


class Unpacker:
    """The way back. Each tensor takes its bytes from the body, which must be used up in the end. Raises Forged."""

    def __init__(self, body: bytes):
        self._body, self._place = body, 0

    def all(self, packed: Any) -> Any:
        """The value, when nothing of the body is left after it."""
        value = self.unpack(packed)
        if self._place != len(self._body):
            raise Forged("bytes that belong to no tensor")
        return value

    def unpack(self, packed: Any, depth: int = 0) -> Any:
        if packed is None or type(packed) is bool:
            return packed
        if type(packed) is not dict or depth > 2:
            raise Forged("no value")
        kind, content = next(iter(packed.items()), ("", None))
        if kind == "tensor" and set(packed) == {"tensor", "shape"}:
            return self._tensor(content, packed["shape"])
        if len(packed) != 1:
            raise Forged("no value")
        if kind in ("tuple", "list") and type(content) is list and len(content) <= PARTS_LIMIT:
            return Several.of(kind, [self.unpack(part, depth + 1) for part in content])
        if type(content) is not str or len(content) > TEXT_LIMIT:
            raise Forged("no value")
        if kind == "opaque":
            return Opaque(clean(content, 200))
        try:
            if kind == "integer" and len(content) <= INTEGER_BITS and (number := int(content)).bit_length() <= INTEGER_BITS:
                return number
            if kind == "float":
                return float.fromhex(content)
        except (ValueError, OverflowError):
            pass
        raise Forged("no value")

    def _tensor(self, name: Any, shape: Any) -> Tensor:
        dtype = _DTYPES.get(name) if type(name) is str else None
        if dtype is None or type(shape) is not list or len(shape) > _AXES_LIMIT:
            raise Forged("no tensor")
        if not all(type(length) is int and 0 <= length <= BODY_LIMIT for length in shape):
            raise Forged("no shape")
        size = math.prod(shape) * dtype.itemsize
        content = self._body[self._place : self._place + size]
        if len(content) != size:
            raise Forged("a tensor with fewer bytes than its shape asks for")
        self._place += size
        if not size:
            try:
                return torch.empty(shape, dtype=dtype)
            except RuntimeError:  # axes so long that their product is no number, but for one of length 0
                raise Forged("no shape") from None
        if dtype == torch.bool:  # a byte could be neither 0 nor 1
            return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(shape) != 0
        return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)


def text(value: Any, limit: int = TEXT_LIMIT) -> str:
    """A string out of a header, fit to be shown. Raises Forged for anything else."""
    if type(value) is not str:
        raise Forged("no text")
    return clean(value, limit)


def texts(value: Any, count: int, limit: int) -> tuple[str, ...]:
    """A list of strings out of a header, as ``text``. Raises Forged for anything else, and for more than ``count``."""
    if type(value) is not list or len(value) > count:
        raise Forged("no list")
    return tuple(text(each, limit) for each in value)
