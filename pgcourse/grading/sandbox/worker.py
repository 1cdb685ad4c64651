"""Where students' code runs: a worker owns one sandbox, a session is one load of a student's files in it.

Levels, from the strongest: S3 (bubblewrap, seccomp, limits, cgroup), S2 (bubblewrap, seccomp, limits), S1 (Landlock, seccomp,
limits), S0 (none of them). docs/isolation.md says what each stops. The judge's side watches computing time, memory and the
clock, and believes nothing that it is told.
"""

import array
import contextlib
import json
import math
import os
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..answer import PRINT_LIMIT, TOO_MUCH_MEMORY, Answer, Complaint, Lifted, clean
from . import cgroup, wire

LEVELS = ("S3", "S2", "S1", "S0")
_NOBODY = 61184
"""The user that root's sandboxes run as: the first of those that no system gives to a person."""
_START_SECONDS = 120
"""By the clock, for a worker to import everything on a loaded machine."""
_END_SECONDS = 10
_TICK = 0.02
"""Seconds between two looks at what a session uses."""
_STATUSES = ("not attempted", "failed", "error", "memory")
"""What a complaint from inside may say."""


@dataclass(frozen=True)
class Limits:
    """What a session may use."""

    load_seconds: float = 20
    """Computing time to load the files. By the clock it may be three times as much, here and in the next two."""
    call_seconds: float = 10
    """Computing time for one request: a call, a gradient, one update of all learners."""
    session_seconds: float = 120
    """Computing time in all."""
    memory: int = 1 << 30
    """Bytes, on top of what the empty sandbox has."""
    processes: int = 32
    """Threads: processes there are none besides the session's own."""
    file_size: int = 32 << 20
    open_files: int = 64
    box_size: int = 64 << 20
    """Bytes in the only folder that can be written to, at S3 and S2. At S1 there is none."""
    box_files: int = 4096


class SandboxError(RuntimeError):
    """The sandbox cannot be had; the message says why. Nothing has been run without it."""


class _Lost(SandboxError):
    """There was a sandbox, but it is no more."""


# ----------------------------------------------------------------------------------------------------------------------
# Levels


def best_level() -> tuple[str, dict[str, str]]:
    """The highest level that works here, and why those above it do not. "S0": none does."""
    reasons = {}
    for level in LEVELS[:-1]:
        reason = probe(level)
        if reason is None:
            return level, reasons
        reasons[level] = reason
    return LEVELS[-1], reasons


def probe(level: str) -> str | None:
    """None when code could be confined at this level just now, and could not do what it must not; else the reason."""
    try:
        with tempfile.TemporaryDirectory() as folder, Worker(level) as worker:
            return _attack(worker, Path(folder))
    except (SandboxError, Complaint, OSError) as problem:
        return str(problem)


_ATTACKS = """
import ctypes, os, socket, sys

def sum_of_squares(x):
    return (x * x).sum()

def attempts(path):
    def read():
        open(PATH).read()
    def list_():
        os.listdir(os.path.dirname(PATH))
    def write():
        open(torch.__file__, "ab").close()
    def connect():
        socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    def fork():
        if os.fork() == 0:
            os._exit(0)
    def kill():
        os.kill(os.getppid(), 0)
    def unshare():
        if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) < 0:
            raise OSError(ctypes.get_errno(), "unshare")
    def reference():
        import pgcourse.grading.tasks
    done = []
    for attempt in (read, list_, write, connect, fork, kill, unshare, reference):
        try:
            attempt()
            done.append(True)
        except (OSError, ImportError):
            done.append(False)
    return torch.tensor(done)
"""
_ATTEMPTS = (
    *("read a file of yours", "list a folder of yours", "write into torch", "open a network socket", "start a process"),
    *("signal another process", "make a user namespace", "import the reference solutions"),
)


def _attack(worker: "Worker", folder: Path) -> str | None:
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    folder.chmod(0o755)
    source = f"import torch\nPATH = {str(secret)!r}\n{_ATTACKS}"
    with worker.session([("probe.py", source.encode())]) as session:
        if session.answer("sum_of_squares", ("x",))(torch.tensor([3.0, 4.0])) != 25:
            return "what came out of the sandbox was wrong"
        done = session.answer("attempts", ("path",))(0)
    if not isinstance(done, Tensor) or done.shape != (len(_ATTEMPTS),):
        return "the attacks of the probe could not be tried"
    succeeded = [name for name, success in zip(_ATTEMPTS, done.tolist(), strict=True) if success]
    return f"code inside could still {', '.join(succeeded)}" if succeeded else None


# ----------------------------------------------------------------------------------------------------------------------
# What is inside

_LEFT_OUT = ("course", "static", "__pycache__")
_GRADING_FILES = ("answer.py",)
_SANDBOX_FILES = ("__init__.py", "confine.py", "inside.py", "wire.py")


def _stage(folder: Path) -> None:
    """A copy of this package as students' code may see it: without tasks, judge, solutions."""
    package = Path(__file__).parents[2]

    def left_out(directory: str, names: list[str]) -> list[str]:
        inside = Path(directory).relative_to(package)
        allowed = {Path("grading"): (*_GRADING_FILES, "sandbox"), Path("grading/sandbox"): _SANDBOX_FILES}.get(inside)
        if allowed is not None:
            return [name for name in names if name not in allowed]
        return [name for name in names if name in _LEFT_OUT or not (name.endswith(".py") or (Path(directory) / name).is_dir())]

    shutil.copytree(package, folder / "pgcourse", ignore=left_out)
    shutil.copyfile(Path(__file__).with_name("stand_ins.py"), folder / "pgcourse" / "grading" / "__init__.py")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@cache
def _site_folders() -> tuple[str, ...]:
    """The folders with the packages that inside may be imported, this course's not."""
    package = Path(__file__).parents[2]
    found = [Path(place) for place in sys.path if place and Path(place).is_dir()]
    return tuple(
        str(place)
        for place in dict.fromkeys(each.resolve() for each in found)
        if place != package.parent and any((place / name).is_dir() for name in ("torch", "numpy", "matplotlib", "IPython"))
    )


_PLACES = ("/usr",)
"""What the system has to run programs with, for the mounts of S3 and S2."""
_FILES = (
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)
"""The same for S1."""


@cache
def _view(system: tuple[str, ...]) -> dict[Path, bool]:
    """Folders, outer ones first, and whether what is in them may be read: system, interpreter, packages; but no solutions."""
    from ...notebooks import course_folder

    package = Path(__file__).parents[2]
    program = Path(sys.executable).resolve().parent
    python = (program, sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), *_site_folders())
    shown = [Path(path).resolve() for path in (*system, *python) if os.path.exists(path)]
    courses = [package, course_folder(), *(Path(place) / "pgcourse" for place in _site_folders())]
    for prefix in {"/usr", "/usr/local", sys.prefix, sys.base_prefix}:  # and where another interpreter has the course
        courses += Path(prefix).glob("lib*/python*/*-packages/pgcourse")
    hidden = [path.resolve() for path in courses]
    places = {**dict.fromkeys(shown, True), **dict.fromkeys(filter(Path.is_dir, hidden), False)}
    ordered = sorted(places, key=lambda path: len(path.parts))
    return {path: places[path] for path in ordered if places[path] != _around(path, places)}


def _around(path: Path, places: dict[Path, bool]) -> bool:
    """Whether a folder would be shown if nothing was said about it: as the nearest one listed around it is."""
    return next((places[parent] for parent in path.parents if parent in places), False)


def _granted() -> tuple[list[str], list[str]]:
    """The view of S1, for Landlock, which can only grant: files, and folders with all in them; folders to be listed only."""
    places = _view(_FILES)
    whole, listed = [], []

    def grant(path: Path, shown: bool) -> None:
        shown = places.get(path, shown)
        if not any(path in other.parents for other in places):
            whole.extend([str(path)] * shown)
            return
        listed.extend([str(path)] * shown)
        for child in path.iterdir():
            if not child.is_symlink():  # a grant would be for what it points to
                grant(child, shown)

    for path, shown in places.items():
        if shown and not _around(path, places):
            grant(path, shown)
    return whole, listed


def _open_to_all(path: Path) -> bool:
    """Whether any user may read this file or folder."""
    path = path.resolve()
    needed = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & needed == needed and all(parent.stat().st_mode & 0o001 for parent in path.parents)


# ----------------------------------------------------------------------------------------------------------------------
# The worker


class Worker:
    """One sandbox at a level, with everything imported; sessions are forks of it. A context manager.

    If it dies, the next session starts it again. Raises SandboxError where the level cannot be had.
    """

    def __init__(self, level: str, limits: Limits | None = None):
        if level not in LEVELS:
            raise ValueError(f"There is no isolation level {level!r}; there are {', '.join(LEVELS)}.")
        self.level = level
        self.limits = limits or Limits()
        self._process: subprocess.Popen | None = None
        self._control: _Control | None = None
        self._group: cgroup.Group | None = None
        self._folder: tempfile.TemporaryDirectory | None = None
        self._sessions = 0

    def __enter__(self) -> "Worker":
        self._start()
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def session(self, files: Sequence[tuple[str, bytes]], refused: Sequence[str] = ()) -> "Session":
        """A fresh fork with the definitions of these files, (name, content), loaded. A context manager.

        refused: functions and modules of the library that raise there. Raises Rejected where nothing can be read, Complaint
        where loading ran out of time or memory, crashed or broke the protocol.
        """
        try:
            session = self._fork(refused)
        except _Lost:  # it died while nobody looked
            self._stop()
            session = self._fork(refused)
        try:
            session.load(files)
        except BaseException:
            session.close()
            raise
        return session

    def _fork(self, refused: Sequence[str]) -> "Session":
        """A session that has begun and has nothing loaded. Raises _Lost where the sandbox is no more."""
        if self._process is None or self._process.poll() is not None or self._control is None:
            self._stop()
            self._start()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        if hasattr(socket, "SO_PASSCRED"):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # the first message then tells its sender's pid
        self._sessions += 1
        request = {"session": self._sessions, "refused": list(refused), "processes": self._processes()}
        try:
            with theirs:
                self._control.send({"do": "start", **request}, [theirs.fileno()])
        except OSError as problem:
            ours.close()
            raise _Lost(f"the sandbox has ended: {problem}") from None
        session = Session(self, self._sessions, ours)
        try:
            session.meet()
        except (OSError, wire.Closed):
            session.close()
            raise _Lost("the sandbox has ended") from None
        except SandboxError:
            session.close()
            raise
        return session

    def end(self, session: int) -> tuple[int | None, float]:
        """Kill a session and wait until it is gone: its exit code (a signal's is negative) and its computing time."""
        if self._control is None or self._process is None:
            return None, 0.0
        try:
            self._control.send({"do": "end", "session": session})
            told = self._control.receive(_END_SECONDS, self._process)
            return told["code"], told["seconds"]
        except OSError:
            self._stop()  # the whole sandbox, and with it every process in it
            return None, 0.0

    def memory_kills(self) -> int:
        """How often the kernel has killed for memory in this sandbox's cgroup."""
        return self._group.kills() if self._group else 0

    def _processes(self) -> int:
        """The kernel counts a user's threads; in a user namespace of its own a session starts at one, elsewhere not."""
        if self.level in ("S3", "S2", "S0"):
            return self.limits.processes
        return self.limits.processes + _threads_of(_NOBODY if os.geteuid() == 0 else os.geteuid())

    def _start(self) -> None:
        if (self.level != "S0" and sys.platform != "linux") or not hasattr(os, "fork"):
            raise SandboxError(f"{self.level} needs Linux: grade in a virtual machine with it (docs/isolation.md)")
        if sys.platform == "linux":
            for old in cgroup.abandoned(Path(tempfile.gettempdir())):
                if old.lstat().st_uid == os.geteuid():
                    shutil.rmtree(old, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(prefix=f"pgcourse-{os.getpid()}-")
        library = Path(self._folder.name)
        try:
            _stage(library)
            box = library / "box"
            box.mkdir()
            if self.level == "S3":
                self._group = cgroup.Group(memory=self.limits.memory + _SHARED_MEMORY, processes=2 * self.limits.processes)
            self._launch(library, box)
        except (OSError, SandboxError) as problem:
            self._stop()
            raise problem if isinstance(problem, SandboxError) else SandboxError(str(problem)) from None
        except BaseException:
            self._stop()
            raise

    def _launch(self, library: Path, box: Path) -> None:
        """Run the program inside and wait until it is ready."""
        settings, command = self._plan(library, box)
        if self.level == "S1" and settings["user"] is not None:
            os.chown(box, settings["user"], settings["user"])
        ours, theirs = socket.socketpair()
        paths = (_LIBRARY if self.level in ("S3", "S2") else str(library), *_site_folders())
        python = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, str(theirs.fileno()), *paths]
        if self._group:
            python, command = [*command, *python], self._group.command()
        with theirs, tempfile.TemporaryFile() as errors:
            try:
                self._process = subprocess.Popen(
                    [*command, *python],
                    env={**_ENVIRONMENT, **dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR"), settings["box"])},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=(theirs.fileno(),),
                    cwd="/",
                )
                theirs.close()
                self._control = _Control(ours)
                self._control.send(settings)
                told = self._control.receive(_START_SECONDS, self._process)
            except OSError as problem:
                if self._process:
                    self._process.kill()
                    self._process.wait()
                errors.seek(0)
                said = errors.read(1 << 16).decode(errors="replace").strip().splitlines()
                raise SandboxError(clean(said[-1] if said else f"it did not start: {problem}", 500)) from None
        if "problem" in told:
            raise SandboxError(clean(str(told["problem"]), 500))

    def _plan(self, library: Path, box: Path) -> tuple[dict, list[str]]:
        """What the program inside is to know, and the command that its own is put behind."""
        limits = self.limits
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        needed = [library, *(path for path, shown in _view(_FILES).items() if shown)]
        settings = {
            "level": self.level,
            "user": _NOBODY if root and self.level != "S0" else None,
            "may_read_all": self.level == "S1" and not all(map(_open_to_all, needed)),
            "box": str(box),
            "box_size": limits.box_size,
            "box_files": limits.box_files,
            "limits": {
                **dict(memory=limits.memory, seconds=math.ceil(limits.session_seconds)),
                **dict(file_size=limits.file_size, open_files=limits.open_files),
            },
        }
        if self.level == "S1":
            settings["files"], settings["folders"] = _granted()
            settings["files"].append(str(library))
        if self.level in ("S1", "S0"):
            return settings, []
        settings["box"] = _BOX
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None:
            raise SandboxError("bubblewrap is not installed (Debian, Ubuntu: sudo apt-get install bubblewrap)")
        return settings, [bubblewrap, *_bubblewrap(library, root), "--"]

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
            self._process.wait()
        if self._group is not None:
            self._group.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._process = self._control = self._group = self._folder = None


_LIBRARY, _BOX = "/pgcourse", "/box"
"""Where, in the mounts of S3 and S2, the staged library and the folder to write in are."""
_SHARED_MEMORY = 768 << 20
"""Bytes for what is imported, and for the files in the box."""
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[2]); sys.path += sys.argv[3:]; "
    "from pgcourse.grading.sandbox.inside import main; main(int(sys.argv[1]))"
)
_ENVIRONMENT = {
    **{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""},
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}


def _bubblewrap(library: Path, root: bool) -> list[str]:
    """The arguments for bubblewrap: new namespaces, and a file system of the interpreter, its packages and the library."""
    if root:  # mounts are made as root; the program inside then becomes nobody for good
        flags = [
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL")
        ]
        flags += [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    else:  # --unshare-all alone would go without a user namespace where there is none to be had
        flags = ["--unshare-all", "--unshare-user", "--cap-drop", "ALL"]
    flags += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
    for name in ("/lib", "/lib64", "/bin"):
        if os.path.islink(name):
            flags += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            flags += ["--ro-bind", name, name]
    flags += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev"]
    flags += ["--perms", "0755", "--tmpfs", "/dev/shm"]
    places = _view(_PLACES)
    parents = dict.fromkeys(parent for path in places for parent in reversed(path.parents) if not _around(path, places))
    for parent in list(parents)[1:]:  # but for /: bubblewrap would make them for root alone
        flags += ["--perms", "0755", "--dir", str(parent)]
    for path, shown in places.items():
        name = str(path)
        flags += ["--ro-bind", name, name] if shown else ["--perms", "0755", "--tmpfs", name, "--remount-ro", name]
    flags += ["--ro-bind", str(library), _LIBRARY, "--perms", "1777", "--tmpfs", _BOX]
    return [*flags, "--remount-ro", "/dev/shm", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _threads_of(user: int) -> int:
    """How many threads a user has."""
    count = 0
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if folder.name.isdigit() and folder.stat().st_uid == user:
                count += int((folder / "stat").read_text().rpartition(")")[2].split()[17])
    return count


class _Control:
    """Messages to the zygote, one line of JSON each, and from it."""

    def __init__(self, ours: socket.socket):
        self._socket = ours
        self._read = b""

    def send(self, message: dict, descriptors: Sequence[int] = ()) -> None:
        line = json.dumps(message).encode() + b"\n"
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = self._socket.sendmsg([line], ancillary)
        if sent < len(line):
            self._socket.sendall(line[sent:])

    def receive(self, seconds: float, process: subprocess.Popen) -> dict:
        """The next message. Raises OSError when none comes in this time, or the process that is to send it has ended."""
        end = time.monotonic() + seconds
        while b"\n" not in self._read:
            if not select.select([self._socket], [], [], 0.1)[0]:
                if process.poll() is not None:
                    raise ConnectionResetError("the program inside ended")
                if time.monotonic() > end:
                    raise TimeoutError(f"nothing was heard for {seconds:g} seconds")
            elif part := self._socket.recv(1 << 16):
                self._read += part
            else:
                raise ConnectionResetError("the program inside ended")
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        self._socket.close()


# ----------------------------------------------------------------------------------------------------------------------
# A session


class Rejected(ValueError):
    """Nothing in a submission can be read as a notebook or a Python file; the message says why, and what to do."""


class Session:
    """A student's files, loaded in a process of their own. A context manager; closing it ends the process."""

    functions: tuple[str, ...] = ()
    """The names of the functions the files define."""
    notices: tuple[str, ...] = ()
    """What was left out or went wrong, one sentence each, in words from inside."""

    def __init__(self, worker: Worker, number: int, channel: socket.socket):
        self._worker, self._number, self._channel = worker, number, channel
        self._limits = worker.limits
        self._over: Complaint | None = None
        self._ended: tuple[int | None, float] | None = None
        self._kills = worker.memory_kills()
        channel.setblocking(False)
        self._buffer = bytearray()
        self._pid: int | None = None
        self._spent, self._resident, self._first_resident = 0.0, 0, 0
        self._last = time.monotonic() + 3 * self._limits.session_seconds
        self._allow(self._limits.load_seconds)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def tampered(self) -> bool:
        """Whether the protocol was broken, up to now."""
        return self._over is not None and self._over.status == "tamper"

    @property
    def cpu_seconds(self) -> float:
        """Computing time, known once it is closed."""
        return self._ended[1] if self._ended else 0.0

    def answer(self, name: str, parameters: Sequence[str]) -> "RemoteAnswer":
        """A function of the files. Raises Complaint where it cannot be called with these parameters."""
        return RemoteAnswer(self, name, parameters)

    def close(self) -> None:
        """End the process; nothing of it is left afterwards."""
        if self._over is None and self._ended is None:
            with suppress(Complaint), self._judged():
                self._check_silence()
        self._end()
        self._channel.close()

    def tampering(self) -> Complaint:
        """End the session for a broken protocol: the Complaint to raise."""
        with suppress(Complaint), self._judged():
            raise wire.Forged("not what was asked for")
        assert self._over is not None
        return self._over

    def meet(self) -> None:
        """The first message comes before any student's code is loaded, and the kernel says who sent it."""
        try:
            self._wait(select.POLLIN)
        except _Exceeded:
            raise SandboxError("the sandbox does not answer") from None
        space = socket.CMSG_SPACE(struct.calcsize("3i")) if hasattr(socket, "SO_PASSCRED") else 0
        content, ancillary, _, _ = self._channel.recvmsg(4096, space)
        self._buffer += content
        hello, _ = wire.read_frame(self._read)
        if "here" not in hello:
            raise SandboxError(clean(str(hello.get("refused", "the sandbox did not answer")), 500))
        if ancillary:
            self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
            self._pid, _, _ = struct.unpack("3i", ancillary[0][2])
            self._look()
            self._first_resident = self._resident

    def load(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Load the files: once, and before anything else."""
        size = sum(len(content) for _, content in files)
        if size > wire.BODY_LIMIT:
            raise Rejected(
                f"Together the files have {size >> 20} MiB; at most {wire.BODY_LIMIT >> 20} are read. Clear the outputs of the "
                "notebook (Edit > Clear Outputs of All Cells), save it and hand it in again."
            )
        header = {"do": "load", "files": [[name, len(content)] for name, content in files]}
        result, _ = self.request(header, [content for _, content in files], self._limits.load_seconds)
        with self._judged():
            if type(result) is not dict:
                raise wire.Forged("no list of functions")
            if "rejected" in result:
                raise Rejected(wire.text(result["rejected"]))
            self.functions = wire.texts(result.get("functions"), wire.FUNCTIONS_LIMIT, wire.NAME_LIMIT)
            self.notices = wire.texts(result.get("notices"), wire.NOTICES_LIMIT, wire.NOTICE_LIMIT)

    def request(
        self, header: dict, parts: Sequence[bytes], seconds: float, answer: "RemoteAnswer | None" = None
    ) -> tuple[Any, bytes]:
        """Ask for something: the result, yet packed, and its body. Raises Complaint where there is none."""
        if self._over is not None:
            raise self._over
        with self._judged():
            self._check_silence()
            number = secrets.token_hex(8)
            self._allow(seconds)
            self._write(wire.frame({"id": number, **header}, parts))
            reply, body = wire.read_frame(self._read)
            if reply.get("id") != number:
                raise wire.Forged("a reply to nothing that was asked")
            if answer is not None and "said" in reply:
                answer.hear(reply["said"])
            if "complaint" in reply:
                complaint = _complaint(reply["complaint"])
            elif "result" in reply:
                return reply["result"], body
            else:
                raise wire.Forged("neither a result nor a complaint")
        raise complaint

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        """Within it, a broken protocol or a dead process ends the session, with a Complaint that is raised from then on."""
        try:
            yield
        except wire.Forged:
            self._over = Complaint("tamper", TAMPERED)
        except wire.Closed:
            self._over = self._cause_of_death()
        except _Exceeded as problem:
            self._over = Complaint(problem.status, str(problem))
        if self._over is not None:
            self._end()
            raise self._over

    def _allow(self, seconds: float) -> None:
        """From now on so much computing time, and three times as much by the clock."""
        self._seconds = seconds
        self._look()
        self._begin = self._spent
        self._clock_end = min(time.monotonic() + 3 * seconds, self._last)
        self._next_look = time.monotonic() + _TICK

    def _look(self) -> None:
        """Read what the session's process has used."""
        if self._pid is None or sys.platform != "linux":
            return
        with suppress(OSError, IndexError):
            numbers = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
            self._spent = (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
            self._resident = int(numbers[21]) * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        """Raise _Exceeded where the session has used more than it may; looks are rare enough to cost nothing."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _TICK
        self._look()
        limits = self._limits
        if self._resident - self._first_resident > limits.memory + _SLACK:
            raise _Exceeded("memory", TOO_MUCH_MEMORY)
        if self._spent - self._begin > self._seconds:
            raise _Exceeded("timeout", f"It did not finish within {self._seconds:g} seconds of computing time.")
        if self._spent > limits.session_seconds:
            raise _Exceeded(
                "timeout", f"All calls together took more than {limits.session_seconds:g} seconds of computing time."
            )
        if now > self._clock_end:
            allowed = 3 * (self._seconds if now < self._last else limits.session_seconds)
            raise _Exceeded("timeout", f"It did not finish within {allowed:g} seconds. Does it wait for something?")

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._channel, event)
        while not poll.poll(1000 * _TICK):
            self._watch()
        self._watch()

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            self._wait(select.POLLOUT)
            try:
                left = left[self._channel.send(left) :]
            except BlockingIOError:
                pass
            except OSError:
                raise wire.Closed from None

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._wait(select.POLLIN)
            try:
                part = self._channel.recv(1 << 20)
            except BlockingIOError:
                continue
            except OSError:
                raise wire.Closed from None
            if not part:
                raise wire.Closed
            self._buffer += part
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content

    def _check_silence(self) -> None:
        """Nothing may come that has not been asked for."""
        try:
            if self._buffer or self._channel.recv(1, socket.MSG_PEEK):
                raise wire.Forged("bytes that nobody asked for")
        except BlockingIOError:
            return
        except OSError:
            pass
        raise wire.Closed

    def _cause_of_death(self) -> Complaint:
        code, seconds = self._end()
        if seconds >= self._limits.session_seconds:
            return Complaint("timeout", f"It took more than {self._limits.session_seconds:g} seconds of computing time.")
        if self._worker.memory_kills() > self._kills:
            return Complaint("memory", TOO_MUCH_MEMORY)
        if code is None:
            return Complaint("crash", "Your code ended the process it ran in.")
        if code >= 0:
            return Complaint("crash", f"Your code ended the process it ran in, with exit code {code}.")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
        return Complaint("crash", f"Your code crashed the process it ran in: signal {-code} ({name}).")

    def _end(self) -> tuple[int | None, float]:
        if self._ended is None:
            self._ended = self._worker.end(self._number)
        return self._ended


class _Exceeded(Exception):
    """More was used than is allowed."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


_ANSWER_LIMIT = 128 << 20
"""Bytes in all that an answer's outputs may have."""
TAMPERED = (
    "Your code interfered with the grading itself: what came back is nothing that the grader's program sends. A person will "
    "look at it."
)
_SLACK = 256 << 20
"""Bytes of resident memory beyond the limit before a session is killed: shared with the zygote, or not yet given back."""


def _complaint(told: Any) -> Complaint:
    """A complaint from inside, as far as it can be one."""
    if type(told) is not list or len(told) != 4 or told[0] not in _STATUSES or type(told[3]) is not int:
        raise wire.Forged("no complaint")
    status, message, kind, line = told
    return Complaint(status, wire.text(message), wire.text(kind, wire.NAME_LIMIT), line if 0 <= line < 100_000 else 0)


# ----------------------------------------------------------------------------------------------------------------------
# An answer


class RemoteAnswer(Answer):
    """A function in a session. What it returns, prints and raises are claims; the judge compares them with the truth."""

    def __init__(self, session: Session, name: str, parameters: Sequence[str]):
        self._session, self._name, self._received = session, name, 0
        self._request({"do": "answer", "parameters": list(parameters)}, (), session._limits.call_seconds)

    def hear(self, said: Any) -> None:
        """Take what it has printed and warned of."""
        if type(said) is not list or len(said) != 2:
            raise wire.Forged("nothing that is said")
        self.printed, self.warned = wire.text(said[0], PRINT_LIMIT + 100), wire.text(said[1])

    def __call__(self, *inputs):
        output = self._ask({"do": "call"}, inputs)
        if self._received > _ANSWER_LIMIT:  # a check keeps what it has seen
            raise Complaint("memory", "What your function returns is too large to be judged.")
        return output

    def gradient(self, inputs, wrt):
        value, *gradients = self._expect({"do": "gradient", "wrt": list(wrt)}, inputs, 1 + len(wrt))
        if value.ndim or not value.is_floating_point() or not all(map(_belongs, gradients, [inputs[place] for place in wrt])):
            raise self._session.tampering()
        return value, tuple(gradients)

    def lifted(self) -> Lifted:
        """One request for all replicas. On the first, two of them are compared with requests of their own."""
        checked = False

        def function(*inputs):
            nonlocal checked
            if not checked:
                self._check_replicas(inputs)
                checked = True
            return _ThroughAll.apply(self, *inputs)

        return Lifted(function)

    def all_gradients(self, inputs: Sequence) -> tuple[Tensor, Tensor]:
        """Values [R] and gradients with respect to the first input [R, ...], for all replicas."""
        values, gradients = self._expect({"do": "lifted"}, inputs, 2)
        if not values.is_floating_point() or not _belongs(gradients, inputs[0]):
            raise self._session.tampering()
        if values.shape != inputs[0].shape[:1]:
            raise Complaint("failed", "Called for several learners at once, your function returns something of another shape.")
        return values, gradients

    def _check_replicas(self, inputs: Sequence) -> None:
        values, gradients = self.all_gradients(inputs)
        tolerance = 1e-4 if gradients.dtype == torch.float32 else 1e-9
        for replica in {0, len(values) - 1}:
            own = [x[replica] if isinstance(x, Tensor) else x for x in inputs]
            value, (gradient,) = self.gradient(own, (0,))
            pairs = (value, values[replica]), (gradient, gradients[replica])
            if not all(torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True) for a, b in pairs):
                raise Complaint(
                    "failed", "Called for several learners at once, your function gives other numbers than for one."
                )

    def _expect(self, header: dict, inputs: Sequence, count: int) -> list[Tensor]:
        """So many tensors; anything else the program inside would not have sent."""
        found = self._ask(header, inputs)
        if not isinstance(found, tuple) or len(found) != count or not all(isinstance(part, Tensor) for part in found):
            raise self._session.tampering()
        return list(found)

    def _ask(self, header: dict, inputs: Sequence) -> Any:
        packer = wire.Packer()
        header["inputs"] = packer.pack(tuple(inputs))
        packed, body = self._request(header, packer.parts, self._session._limits.call_seconds)
        self._received += len(body)
        with self._session._judged():
            return wire.Unpacker(body).all(packed)

    def _request(self, header: dict, parts: Sequence[bytes], seconds: float) -> tuple[Any, bytes]:
        return self._session.request({**header, "name": self._name}, parts, seconds, self)


def _belongs(gradient: Tensor, x: Tensor) -> bool:
    """Whether it can be a gradient with respect to x."""
    return gradient.shape == x.shape and gradient.dtype == x.dtype


class _ThroughAll(torch.autograd.Function):
    """Backpropagation through an answer for all replicas at once, into its first input."""

    @staticmethod
    def forward(ctx, answer, *inputs):
        values, gradients = answer.all_gradients(inputs)
        ctx.save_for_backward(gradients)
        return values

    @staticmethod
    def backward(ctx, *weights):
        (gradients,) = ctx.saved_tensors
        weight = weights[0].reshape(-1, *[1] * (gradients.ndim - 1))
        return None, weight * gradients, *[None] * (len(ctx.needs_input_grad) - 2)
