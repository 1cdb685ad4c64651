"""The program inside: a process that has imported everything once, and a fork of it for each session.

The first (the zygote) never sees a student's code. A fork gives up all its rights before it loads any, and serves the judge's
requests until it is killed. There are no secrets here: no references, no checks, no inputs but those it is called with.
"""

import array
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from ... import answers
from ..answer import Complaint, LocalAnswer, complaint_about
from . import confine, wire

_REJECTED_LIMIT = 2000
_MEGABYTE = 1 << 20
_PRELOADED = (
    *("IPython.display", "ipywidgets", "matplotlib.pyplot", "pgcourse.algorithms.reinforce", "pgcourse.budget"),
    *(
        "pgcourse.distributions",
        "pgcourse.envs",
        "pgcourse.exact",
        "pgcourse.figures",
        "pgcourse.gradients",
        "pgcourse.history",
    ),
    *("pgcourse.nn", "pgcourse.plots", "pgcourse.policies", "pgcourse.returns", "pgcourse.rng", "pgcourse.widgets"),
)
"""What notebooks import besides torch: each would cost every session of theirs anew."""


def main(descriptor: int) -> None:
    """Be the zygote: get ready, say so, then start and end sessions as told."""
    control = socket.socket(fileno=descriptor)
    settings, _ = _receive(control)
    try:
        _settle(settings)
        _prepare()
        held = confine.address_space() if settings["level"] != "S0" else (0, 0)
        if settings["level"] == "S1":
            confine.read_only(settings["files"], settings["folders"])
    except Exception as problem:
        _send(control, {"problem": f"{type(problem).__name__}: {problem}"})
        return
    _send(control, {"ready": True})
    sessions: dict[int, int] = {}
    while True:
        request, descriptors = _receive(control)
        if request["do"] == "start":
            request["parent"] = os.getpid()
            pid = os.fork()
            if pid == 0:
                control.close()
                _session(descriptors[0], settings, request, held)
            sessions[request["session"]] = pid
            for each in descriptors:
                os.close(each)
        else:
            pid = sessions.pop(request["session"])
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            _send(control, {"code": code, "seconds": used.ru_utime + used.ru_stime})


def _receive(control: socket.socket) -> tuple[dict, list[int]]:
    """The next message, and descriptors sent with it. Ends the process when nobody is there any more."""
    line = b""
    descriptors = array.array("i")
    while not line.endswith(b"\n"):
        part, ancillary, _, _ = control.recvmsg(1 << 16, socket.CMSG_SPACE(4))
        if not part:
            os._exit(0)
        line += part
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % 4])
    return json.loads(line), list(descriptors)


def _send(control: socket.socket, message: dict) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


def _settle(settings: dict) -> None:
    """Be nobody, and end when the judge does."""
    if settings["user"] is not None:
        confine.become(settings["user"], may_read_all=settings["may_read_all"])
    if sys.platform == "linux":
        confine.die_with_parent(os.getppid())
    if settings["level"] != "S0":
        confine.hide_memory()


def _prepare() -> None:
    """Import what students' code is likely to import, and do once what is slow the first time."""
    for name in _PRELOADED:
        importlib.import_module(name)
    torch.set_num_threads(1)
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(layer.parameters())
    torch.nn.functional.softmax(layer(torch.ones(3, 2)), 0).log().sum().backward()
    optimizer.step()
    sys.modules["pgcourse.nn"].lift(lambda x: x.square().sum())(torch.ones(3, 2, requires_grad=True)).sum().backward()
    gc.collect()
    gc.freeze()
    if sys.platform == "linux" and (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise OSError(f"{threads} threads run after the imports, and a fork has one")


# ----------------------------------------------------------------------------------------------------------------------
# A session


def _session(descriptor: int, settings: dict, request: dict, held: tuple[int, int]) -> None:
    """What a fork does: never returns."""
    channel = socket.socket(fileno=descriptor)
    try:
        _confine(channel, settings, request, held)
    except BaseException as problem:
        channel.sendall(wire.frame({"refused": f"{type(problem).__name__}: {problem}"}))
        os._exit(1)
    try:
        channel.sendall(wire.frame({"here": os.getpid()}))
        _Runner(channel, request["refused"]).serve()
    finally:
        os._exit(1)


def _confine(channel: socket.socket, settings: dict, request: dict, held: tuple[int, int]) -> None:
    """Give up every right that computing does not need."""
    os.setsid()
    os.dup2(1, 2)  # all three then lead nowhere
    os.closerange(3, channel.fileno())
    os.closerange(channel.fileno() + 1, 1 << 16)
    level = settings["level"]
    if sys.platform == "linux":
        confine.die_with_parent(request["parent"])
    if level == "S0":
        return
    if level in ("S3", "S2"):
        confine.private_mounts(settings["box"], settings["box_size"], settings["box_files"])
        os.chdir(settings["box"])
        confine.drop_capabilities()
    confine.limit(held, processes=request["processes"], **settings["limits"])
    confine.filter_system_calls()


class _Runner:
    """Serves the judge's requests with what a student's files define."""

    def __init__(self, channel: socket.socket, refused: Sequence[str]):
        self._channel = channel
        self._refused = refused
        self._functions: dict[str, Any] = {}
        self._answers: dict[str, LocalAnswer] = {}
        self._lifted: dict[str, Any] = {}
        self._said: dict[str, tuple[str, str]] = {}

    def serve(self) -> None:
        while True:
            header, body = wire.read_frame(self._read)
            packer = wire.Packer()
            reply: dict[str, Any]
            try:
                reply = {"result": self._do(header, wire.Unpacker(body), body, packer)}
            except Complaint as complaint:
                packer = wire.Packer()
                reply = {"complaint": _told(complaint)}
            except BaseException as error:
                packer = wire.Packer()
                reply = {"complaint": _last_words(error)}
            reply["id"] = header["id"]
            name = header.get("name", "")
            if name in self._answers:
                said = self._answers[name].printed, self._answers[name].warned
                if said != self._said.get(name):
                    self._said[name] = reply["said"] = said
            self._channel.sendall(wire.frame(reply, packer.parts))

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            part = self._channel.recv(min(size - len(content), _MEGABYTE))
            if not part:
                os._exit(0)
            content += part
        return bytes(content)

    def _do(self, header: dict, inputs: wire.Unpacker, body: bytes, packer: wire.Packer) -> Any:
        if header["do"] == "load":
            return self._load(header["files"], body)
        name = header["name"]
        if header["do"] == "answer":
            self._answers[name] = LocalAnswer(self._functions[name], header["parameters"])
            return None
        values = inputs.all(header["inputs"])
        if header["do"] == "call":
            return packer.pack(self._answers[name](*values))
        if header["do"] == "gradient":
            value, gradients = self._answers[name].gradient(values, header["wrt"])
            return packer.pack((value, *gradients))
        return packer.pack(self._lift(name, *values))

    def _load(self, files: list, body: bytes) -> dict:
        """Execute the definitions in the files, which are cut out of the body."""
        for name in self._refused:
            _refuse(name)
        contents, place = [], 0
        for name, size in files:
            contents.append((name, body[place : place + size]))
            place += size
        try:
            found = answers.read_files(contents)
        except ValueError as problem:
            return {"rejected": str(problem)[:_REJECTED_LIMIT]}
        self._functions = found.functions
        names = [name for name in found.functions if len(name) <= wire.NAME_LIMIT][: wire.FUNCTIONS_LIMIT]
        notices = [notice[: wire.NOTICE_LIMIT] for notice in found.notices[: wire.NOTICES_LIMIT]]
        return {"functions": names, "notices": notices}

    def _lift(self, name: str, first: torch.Tensor, *rest) -> tuple:
        """Values and gradients for all replicas at once: of the sum, since no replica's value depends on another's input."""
        if name not in self._lifted:
            self._lifted[name] = self._answers[name].lifted()
        leaf = first.detach().clone().requires_grad_()
        values = self._lifted[name](leaf, *rest)
        (gradient,) = torch.autograd.grad(values.sum(), [leaf], allow_unused=True, materialize_grads=True)
        return values.detach(), gradient


def _told(complaint: Complaint) -> list:
    """A complaint as it is sent: no longer than a frame may be, whatever names and defaults the student's function has."""
    return [complaint.status, complaint.message[: wire.TEXT_LIMIT], complaint.kind[: wire.NAME_LIMIT], complaint.line]


def _last_words(error: BaseException) -> list:
    """A complaint about what was raised outside the student's function: while its definitions ran, or its gradient."""
    try:
        return _told(complaint_about(error))
    except BaseException:  # no memory is left, or the error's own text raises
        return ["error", "Your function raised an exception that cannot be shown.", "", 0]


def _refuse(name: str) -> None:
    """Put something that complains in the place of a function or a module of the library."""

    def refusal(*_, **__):
        raise RuntimeError(f"{name} answers this task: write this one yourself.")

    package, _, last = name.rpartition(".")
    parent = importlib.import_module(package)
    if isinstance(getattr(parent, last, None), ModuleType):
        module = sys.modules[name] = ModuleType(name)
        vars(module)["__getattr__"] = lambda attribute: refusal
        setattr(parent, last, module)
    else:
        setattr(parent, last, refusal)
