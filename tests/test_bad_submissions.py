"""Hostile, broken and nearly right submissions, at every isolation level there is here.

After every case the same holds: the next good submission passes, in the same sandbox unless the case killed it; no process is
left; no file outside has changed; the grader has not grown. The numbers are those of the course's list of bad submissions;
what is missing here concerns archives, the gradebook and its exports, and is tested with them.
"""

import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import torch

from pgcourse.grading import unit
from pgcourse.grading.learner import find
from pgcourse.grading.sandbox import worker as sandbox

EPISODE, RETURNS, SURROGATE = map(find, ("episode_log_probability", "batched_returns", "reinforce_surrogate"))
LIMITS = sandbox.Limits(
    load_seconds=2, call_seconds=0.8, session_seconds=6, memory=160 << 20, box_size=16 << 20, box_files=256, file_size=8 << 20
)
os.environ["A_SECRET_OF_THE_GRADER"] = "yes"
CANARY = Path(tempfile.gettempdir()) / f"pgcourse-canary-{os.getpid()}" / "file"
"""Outside, and everybody's to read and write."""
GRADER_MAY_GROW = 300_000
"""Kilobytes, over all cases: one frame of the largest size, and its copies."""

RIGHT = "(log_probability * valid).sum(0)"
GOOD = f"""
import torch
def episode_log_probability(log_probability, valid):
    return {RIGHT}
def batched_returns(reward, done, discount):
    G = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = reward[t] + discount * following * ~done[t]
        G[t] = following
    return G
"""
IMPORTS = (
    "import atexit, builtins, ctypes, gc, inspect, json, os, pickle, signal, socket, struct, sys, threading, time, torch\n"
)


def function(*body: str, before: str = "", returns: str = RIGHT) -> bytes:
    """A file whose first function does this and then returns that; the second function is right."""
    lines = "".join(f"    {line}\n" for part in body for line in part.strip("\n").split("\n"))
    episode = f"def episode_log_probability(log_probability, valid):\n{lines}    return {returns}\n"
    return (IMPORTS + GOOD + before + "\n" + episode).encode()


def notebook(*cells, **other) -> bytes:
    code = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    return json.dumps({"cells": code, "nbformat": 4, "nbformat_minor": 5, "metadata": {}, **other}).encode()


@dataclass(frozen=True)
class Case:
    """A submission and what must become of it: the status of its first function (one of these) and of its second."""

    number: str
    what: str
    content: bytes | Callable[[], bytes]
    status: str
    second: str = "passed"
    name: str = "mine.py"
    says: str = ""
    """Part of the message for the first function."""
    notice: str = ""
    """Part of one of the notices."""
    quick: bool = False
    """Whether it is tried in every run of the tests; the others take minutes."""


def denied(*attempts: str) -> tuple[str, ...]:
    """Lines that try each of these and complain of those that work."""
    tried = [
        f"try:\n    {attempt}\nexcept Exception:\n    pass\nelse:\n    open_doors.append({attempt!r})" for attempt in attempts
    ]
    return ("open_doors = []", *tried, "if open_doors: raise AssertionError('OPEN: ' + ', '.join(open_doors))")


def system_call(number: int, *arguments: str) -> str:
    return f"if ctypes.CDLL(None).syscall({', '.join(map(str, (number, *arguments)))}) < 0: raise OSError"


WRONG = "torch.zeros_like(log_probability[0])"
GROWING = "everything = []\nwhile True:\n    everything.append("
CASES = [
    # A. Running away
    Case("1", "endless at import", f"{GOOD}\nclass Law:\n    while True: pass\n".encode(), "timeout", "timeout", quick=True),
    Case("1", "endless at top level", f"{GOOD}\nwhile True: pass\n".encode(), "passed"),
    Case("2", "endless in one function", function("while True: pass"), "timeout", quick=True),
    Case(
        "3",
        "ignores every signal and exception",
        function(
            "for each in range(1, 65):\n    try: signal.signal(each, signal.SIG_IGN)\n    except BaseException: pass",
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        ),
        "timeout",
    ),
    Case("4", "fork", function("os.fork()"), "error", says="PermissionError", quick=True),
    Case("4", "fork bomb", function("while True:\n    try: os.fork()\n    except OSError: pass"), "timeout"),
    Case("4", "vfork and exec", function("import subprocess; subprocess.run(['/bin/true'])"), "error"),
    Case(
        "6",
        "threads",
        function("while True: threading.Thread(target=time.sleep, args=(99,)).start()"),
        "error/memory",
        quick=True,
    ),
    Case("7", "memory in pieces", function(f"{GROWING}bytearray(1 << 22))"), "memory", quick=True),
    Case("7", "memory as numbers", function(f"{GROWING}object())"), "memory/timeout"),
    Case(
        "7",
        "shared memory",
        function("import mmap", f"{GROWING}mmap.mmap(-1, 1 << 22)); everything[-1][::4096] = b'1' * 1024"),
        "memory/error/timeout",
    ),
    Case("8", "a tensor of 32 GiB", function("torch.ones(1 << 33)"), "memory", says="more memory", quick=True),
    Case(
        "10", "fills the disk", function("for n in range(1000): open(f'{n}', 'wb').write(bytes(8 << 20))"), "error", quick=True
    ),
    Case(
        "10", "fills shared memory", function("for n in range(99): open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20))"), "error"
    ),
    Case("11", "a million files", function("for n in range(10**6): open(f'{n}', 'w').close()"), "error"),
    Case("12", "prints for ever", function("while True: print('A' * 100000)"), "timeout/error", quick=True),
    Case("12", "writes for ever", function("while True: os.write(1, b'A' * 100000)"), "timeout/error"),
    Case("13", "prints 50 MB", function("for _ in range(500): print('\\r' + 'A' * 10000, end='')"), "passed"),
    Case(
        "14",
        "recursion without end",
        function("sys.setrecursionlimit(10**8)", "(f := lambda: f())()"),
        "crash/error/timeout/memory",
    ),
    Case("15", "sleeps", function("time.sleep(10**9)"), "timeout", says="wait", quick=True),
    # B. Killing the harness
    Case("17", "os._exit(0)", function("os._exit(0)"), "crash", says="exit code 0", quick=True),
    Case("17", "sys.exit(0)", function("sys.exit(0)"), "error", says="SystemExit", quick=True),
    Case(
        "17",
        "exits while loading",
        f"import sys\n{GOOD}\nclass Law:\n    sys.exit(0)\n".encode(),
        "passed",
        notice="SystemExit",
    ),
    Case("17", "os._exit while loading", f"import os\n{GOOD}\nclass Law:\n    os._exit(0)\n".encode(), "crash", "crash"),
    Case("18", "segmentation fault", function("ctypes.string_at(0)"), "crash", says="signal 11 (SIGSEGV)", quick=True),
    Case("18", "abort", function("os.abort()"), "crash", says="signal 6 (SIGABRT)"),
    Case("19", "a list 10^6 deep", function("x = []", "for _ in range(10**6): x = [x]", "repr(x)"), "crash/error"),
    Case(
        "20",
        "kills everyone",
        function(*denied("os.kill(-1, 9)", "os.kill(1, 9)", "os.kill(os.getppid(), 9)", "os.kill(0, 9)", "os.killpg(0, 9)")),
        "passed",
        quick=True,
    ),
    Case(
        "20",
        "kills by detours",
        function(
            *denied(
                "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
                "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
                "os.sched_setaffinity(os.getppid(), {0})",
                "os.pidfd_open(os.getppid())",
                "import fcntl; fcntl.fcntl(9, 8, os.getppid())",
                "if ctypes.CDLL(None).prctl(1, 0) < 0: raise OSError",
            )
        ),
        "passed",
    ),
    Case(
        "21",
        "takes the harness's functions away",
        function(before="os._exit = lambda code: None\nos.fork = None\nsys.exit = lambda code: None\ngc.collect = None"),
        "passed",
    ),
    Case(
        "22",
        "hooks",
        function(
            before="class Hooks:\n    atexit.register(print)\n    sys.settrace(lambda *a: None)\n"
            "    sys.excepthook = lambda *a: None\n    def __del__(self): raise SystemExit\n",
            returns=WRONG,
        ),
        "failed",
    ),
    Case("23", "closes every descriptor", function("os.closerange(0, 256)"), "crash", quick=True),
    # C. Forging the verdict
    Case(
        "24",
        "prints a verdict",
        function('print(\'{"score": 100, "passed": true}\')', "print('PASSED')", returns=WRONG),
        "failed",
    ),
    Case(
        "25",
        "writes to every descriptor",
        function("for each in range(64):\n    try: os.write(each, b'{\"result\": true}' * 9)\n    except OSError: pass"),
        "tamper",
        quick=True,
    ),
    Case(
        "25",
        "replies before it is asked, while loading",
        function(
            before="class Law:\n"
            "    reply = json.dumps({'id': '0' * 16, 'result': {'functions': [], 'notices': []}}).encode()\n"
            "    for each in range(64):\n"
            "        try: os.write(each, struct.pack('<II', len(reply), 0) + reply)\n"
            "        except OSError: pass\n"
        ),
        "tamper",
        "tamper",
    ),
    Case(
        "27",
        "a frame of 4 GiB",
        function("for each in range(64):\n    try: os.write(each, b'\\xff' * 8)\n    except OSError: pass"),
        "tamper",
        quick=True,
    ),
    Case("28", "replaces json.dumps", function("json.dumps = lambda *a, **k: '{}'", returns=WRONG), "tamper"),
    Case(
        "28",
        "replaces Tensor.numpy",
        function("torch.Tensor.numpy = lambda self: None", returns=WRONG),
        "failed/error/crash/tamper",
    ),
    Case(
        "29",
        "replaces what compares",
        function(
            "torch.allclose = torch.equal = torch.Tensor.__eq__ = torch.testing.assert_close = lambda *a, **k: True",
            "builtins.abs = builtins.all = builtins.isinstance = lambda *a, **k: True",
            returns=WRONG,
        ),
        "failed/error/crash/tamper",
        quick=True,
    ),
    Case(
        "30",
        "equal to everything",
        function(
            before="class Anything:\n    __eq__ = lambda *a: True\n    def __getattr__(self, name): return self",
            returns="Anything()",
        ),
        "failed/error",
        quick=True,
    ),
    Case(
        "30",
        "a tensor that answers as it likes",
        function(
            before="class Liar(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *a, **k): return True",
            returns="torch.zeros(3).as_subclass(Liar)",
        ),
        "failed/error",
    ),
    Case(
        "33",
        "a pickle",
        function(before="class Bomb:\n    def __reduce__(self): return os.system, ('id',)", returns="pickle.dumps(Bomb())"),
        "failed",
    ),
    Case(
        "33",
        "an object to be unpickled",
        function(before="class Bomb:\n    def __reduce__(self): return os.system, ('id',)", returns="Bomb()"),
        "failed",
    ),
    Case(
        "34",
        "looks for what is expected",
        function(
            "found = [x for x in gc.get_objects() if isinstance(x, torch.Tensor)]",
            "found += [x for frame in inspect.stack() for x in frame.frame.f_locals.values() if isinstance(x, torch.Tensor)]",
            "fitting = [x for x in found if x.shape == log_probability[0].shape and x.dtype == log_probability.dtype]",
            returns="fitting[-1] if fitting else torch.zeros_like(log_probability[0])",
        ),
        "failed",
        quick=True,
    ),
    Case(
        "35",
        "reads what is not its business",
        lambda: function(
            *denied(
                "open('/etc/passwd').read()",
                "open('/etc/shadow').read()",
                "assert os.listdir(os.path.expanduser('~root'))",
                "assert os.listdir('/home') + os.listdir('/mnt')",
                f"open({__file__!r}).read()",
                f"open({unit.__file__!r}).read()",
                f"open({str(Path(unit.__file__).parent / 'tasks' / 't04_reinforce.py')!r}).read()",
                f"os.listdir({str(Path(unit.__file__).parent / 'tasks')!r})",
                "open('/proc/1/environ').read()",
                "open('/proc/self/mem', 'rb').read(1)",
                "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
                "open(f'/proc/{os.getppid()}/environ').read()",
                "os.environ['A_SECRET_OF_THE_GRADER']",
                *(f"open({str(path)!r}).read()" for path in solutions()[:3]),
            ),
        ),
        "passed",
        quick=True,
    ),
    Case(
        "36",
        "edits the libraries",
        function(
            *denied(
                "open(torch.__file__, 'a')",
                "open(json.__file__, 'w')",
                "os.remove(torch.__file__)",
                "os.rename(torch.__file__, torch.__file__ + 'x')",
                "os.chmod(torch.__file__, 0o777)",
                "os.utime(torch.__file__)",
                "os.truncate(torch.__file__, 0)",
                "open(os.path.join(os.path.dirname(os.path.dirname(torch.__file__)), 'sitecustomize.py'), 'w')",
                "import pgcourse; open(pgcourse.__file__, 'a')",
                "os.symlink('/etc/passwd', os.path.dirname(torch.__file__) + '/link')",
            )
        ),
        "passed",
        quick=True,
    ),
    Case(
        "36",
        "changes a file of yours",
        function(
            *denied(
                f"open({str(CANARY)!r}).read()",
                f"open({str(CANARY)!r}, 'a')",
                f"os.open({str(CANARY)!r}, os.O_RDONLY | os.O_TRUNC)",
                f"os.chmod({str(CANARY)!r}, 0)",
                f"os.utime({str(CANARY)!r})",
                f"os.truncate({str(CANARY)!r}, 0)",
                f"os.rename({str(CANARY)!r}, {str(CANARY) + 'x'!r})",
                f"os.remove({str(CANARY)!r})",
                f"os.link({str(CANARY)!r}, {str(CANARY) + 'x'!r})",
                f"os.symlink('x', {str(CANARY) + 'x'!r})",
                f"os.mkdir({str(CANARY) + 'x'!r})",
                f"os.mkfifo({str(CANARY) + 'x'!r})",
                f"os.setxattr({str(CANARY)!r}, 'user.x', b'x')",
                f"os.chown({str(CANARY)!r}, -1, os.getgid())",
                f"os.listdir({str(CANARY.parent)!r})",
            )
        ),
        "passed",
        quick=True,
    ),
    Case(
        "36",
        "leaves word for another judgement",
        lambda: function(
            "import fcntl, mmap",
            "file = os.open(torch.__file__, os.O_RDONLY)",
            *denied(
                "fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)",
                "os.set_blocking(1, False)",
                "fcntl.fcntl(file, 1036, bytes(8))",
                "fcntl.flock(file, fcntl.LOCK_SH)",
                "fcntl.lockf(file, fcntl.LOCK_SH)",
                "fcntl.ioctl(file, 0x40086602, bytes(8))",
                "os.preadv(file, [bytearray(1)], 0, os.RWF_NOWAIT)",
                "os.openpty()",
                system_call(numbers()["mincore"], "0", "0", "0"),
            ),
        ),
        "passed",
        quick=True,
    ),
    Case(
        "36",
        "leaves modules behind",
        function(
            "for name in ('torch', 'conftest', 'pgcourse', 'json'):\n"
            "    try: open(f'{name}.py', 'w').write('raise SystemExit')\n"
            "    except OSError: pass"
        ),
        "passed",
    ),
    Case(
        "39",
        "the network",
        function(
            *denied(
                "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
                "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
                "socket.getaddrinfo('example.org', 80)",
                "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
                "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
                "socket.socketpair()",
                "socket.create_connection(('127.0.0.1', 22), 1)",
            )
        ),
        "passed",
        quick=True,
    ),
    Case(
        "40",
        "the kernel's back doors",
        lambda: function(
            *denied(
                *(
                    f"if ctypes.CDLL(None).syscall({numbers()[name]}, {arguments}) < 0: raise OSError"
                    for name, arguments in (
                        ("unshare", "0x10000000"),
                        ("unshare", "0x20000"),
                        ("mount", "b'none', b'/', None, 0x1000, None"),
                        ("ptrace", "0, 0, 0, 0"),
                        ("setns", "0, 0"),
                        ("bpf", "0, None, 0"),
                        ("io_uring_setup", "1, None"),
                        ("keyctl", "0, 0"),
                        ("memfd_create", "b'x', 0"),
                        ("userfaultfd", "0"),
                        ("perf_event_open", "None, 0, -1, -1, 0"),
                        ("open_by_handle_at", "-1, None, 0"),
                        ("shmget", "0, 4096, 0o1600"),
                        ("clone", "0x10000000 | 17, 0, 0, 0, 0"),
                        ("clone3", "None, 0"),
                        ("ioctl", "0, 0x5412, b'x'"),
                        ("ioctl", "0, ctypes.c_ulong(0xFFFFFFFF00005412), b'x'"),
                        ("execve", "b'/bin/true', None, None"),
                    )
                )
            )
        ),
        "passed",
        quick=True,
    ),
    Case(
        "43",
        "imports the solutions",
        b"import torch\nfrom pgcourse.grading.tasks.t04_reinforce import episode_log_probability\n"
        + GOOD.split("def batched")[0].encode()[:0]
        + b"def batched_returns"
        + GOOD.split("def batched_returns")[1].encode(),
        "not attempted",
        notice="ModuleNotFoundError",
        quick=True,
    ),
    Case(
        "43",
        "shows the solution",
        function("from pgcourse.grading import solution", returns="solution('episode_log_probability')"),
        "failed",
    ),
    Case("43", "asks the grader's source", function("import pgcourse.grading as g", "inspect.getsource(g.judge)"), "error"),
    # D. Nearly right
    Case("44", "NaN", function(returns=f"{RIGHT} * float('nan')"), "failed", says="NaN", quick=True),
    Case("44", "infinite", function(returns=f"{RIGHT} + float('inf')"), "failed", says="infinite"),
    Case("45", "an axis too many", function(returns=f"{RIGHT}[None]"), "failed", says="shape"),
    Case("45", "a column", function(returns=f"{RIGHT}[:, None]"), "failed", says="shape"),
    Case("46", "float32", function(returns=f"{RIGHT}.float()"), "failed", says="dtype"),
    Case("46", "numpy", function(returns=f"{RIGHT}.numpy()"), "failed", says="numpy"),
    Case("46", "a list", function(returns=f"{RIGHT}.tolist()"), "failed", says="list"),
    Case("47", "changes its input", function("log_probability *= valid"), "failed", says="in place", quick=True),
    Case(
        "47",
        "changes later what it returned",
        function("if kept: kept[-1].zero_()", f"kept.append({RIGHT})", before="kept = []", returns="kept[-1]"),
        "passed",
    ),
    Case(
        "48",
        "sets everything globally",
        function(
            "torch.set_default_dtype(torch.float16); torch.set_num_threads(3); torch.manual_seed(0)",
            "torch.use_deterministic_algorithms(True); torch.autograd.set_grad_enabled(False)",
        ),
        "passed",
        quick=True,
    ),
    Case("50", "right for square inputs only", function(returns="(log_probability * valid).sum(1)"), "failed", says="axis 0"),
    # E. Output and feedback
    Case(
        "52", "__str__ raises", function("raise Odd", before="class Odd(Exception):\n    def __str__(self): raise Odd"), "error"
    ),
    Case(
        "52",
        "__str__ has no end",
        function("raise Odd", before="class Odd(Exception):\n    def __str__(self):\n        while True: pass"),
        "timeout/error/crash",
    ),
    Case(
        "52",
        "__str__ of 100 MB",
        function("raise Odd", before="class Odd(Exception):\n    def __str__(self): return 'A' * 100_000_000"),
        "error/memory",
        quick=True,
    ),
    Case(
        "52",
        "control characters",
        function(r"raise ValueError('<script>\x1b[31m\a\u202e\x00\ud800')"),
        "error",
        says="<script>",
        quick=True,
    ),
    Case(
        "53",
        "odd characters printed",
        function(r"print('\ud800\x00\x1b'); sys.stdout.write('\udfff')", "raise ValueError"),
        "error",
    ),
    Case("53", "invalid UTF-8 written", function(r"os.write(1, b'\xff\xfe\x00')"), "passed"),
    Case("53", "odd characters returned", function(returns=r"'\ud800\x00'"), "failed"),
    # F. Files. "rejected": none of the tasks counts as attempted, and the report says why.
    Case("55", "not JSON", b"{not json", "rejected", name="a.ipynb", says="not JSON", quick=True),
    Case("55", "truncated", notebook(GOOD)[:200], "rejected", name="a.ipynb", says="not JSON"),
    Case("55", "empty", b"", "rejected", name="a.ipynb", says="empty", quick=True),
    Case("55", "blank", b" \n", "rejected", name="a.ipynb", says="empty"),
    Case("55", "UTF-16", notebook(GOOD).decode().encode("utf-16"), "rejected", name="a.ipynb", says="UTF-8"),
    Case("55", "byte order mark", b"\xef\xbb\xbf" + notebook(GOOD), "passed", name="a.ipynb", quick=True),
    Case("55", "a login page", b"<!DOCTYPE html><html>Log in</html>", "rejected", name="a.ipynb", says="web page", quick=True),
    Case("55", "another kind of file", b"%PDF-1.7", "rejected", name="a.pdf", says="neither a notebook"),
    Case("56", "nested 10^5 deep", b"[" * 10**5 + b"]" * 10**5, "rejected", name="a.ipynb", says="nested", quick=True),
    Case("56", "nested 10^6 deep in objects", b'{"a":' * 10**6, "rejected", name="a.ipynb"),
    Case("56", "a number of 10^6 digits", lambda: b'{"cells": ' + b"9" * 10**6 + b"}", "rejected", name="a.ipynb"),
    Case("56", "NaN in its metadata", notebook(GOOD, metadata={"x": float("nan")}), "passed", name="a.ipynb"),
    Case("56", "a key twice", b'{"cells": [], "cells": []}', "rejected", name="a.ipynb", says="same key twice"),
    Case("57", "version 3", b'{"worksheets": [{"cells": []}], "nbformat": 3}', "rejected", name="a.ipynb", says="format 4"),
    Case("57", "version 99", notebook(GOOD, nbformat=99), "passed", name="a.ipynb"),
    Case("57", "no cells", b'{"nbformat": 4}', "rejected", name="a.ipynb", says="no list of cells"),
    Case("57", "cells of no kind", b'{"cells": [1, null]}', "rejected", name="a.ipynb", says="cell 1"),
    Case("57", "a source that is a number", notebook(5), "rejected", name="a.ipynb", says="cell 1"),
    Case(
        "57",
        "a cell of an unknown type, ids twice",
        lambda: json.dumps(
            {
                "cells": [
                    {"cell_type": "foo", "source": "(", "id": "a"},
                    {"cell_type": "code", "source": [GOOD], "id": "a"},
                ]
            }
        ).encode(),
        "passed",
        name="a.ipynb",
    ),
    Case("57", "no code", notebook(), "not attempted", "not attempted", name="a.ipynb"),
    Case(
        "59",
        "outputs of 70 MB",
        lambda: notebook(GOOD, metadata={"x": "A" * (70 << 20)}),
        "rejected",
        name="a.ipynb",
        says="Clear the outputs",
        quick=True,
    ),
    Case("59", "outputs of 40 MB", lambda: notebook(GOOD, metadata={"x": "A" * (40 << 20)}), "passed", name="a.ipynb"),
    Case(
        "60",
        "what only a notebook understands",
        notebook(
            "%matplotlib inline\n%pip install evil\n!rm -rf ~\nfiles = !ls\nget_ipython().system('id')\nawait something()",
            "%%bash\nrm -rf ~",
            GOOD,
        ),
        "passed",
        name="a.ipynb",
        notice="only a notebook understands",
        quick=True,
    ),
    Case("60", "asks a question", function("input('Your name? ')"), "error", says="EOF"),
    Case("61", "10^6 parentheses", notebook("(" * 10**6, GOOD), "passed", name="a.ipynb", notice="cell 1", quick=True),
    Case("61", "10^6 minus signs", notebook("x = " + "-" * 10**6 + "1", GOOD), "passed", name="a.ipynb"),
    Case("61", "10^5 attributes", notebook("x = a" + ".a" * 10**5, GOOD), "passed/crash", "passed/crash", name="a.ipynb"),
    Case("61", "10^5 sums", notebook("x = " + "+".join("1" * 10**5), GOOD), "passed/crash", "passed/crash", name="a.ipynb"),
    Case("61", "a null byte", notebook("x = '\x00'", GOOD), "passed", name="a.ipynb", notice="cell 1"),
    Case("61", "half a character", notebook("x = '\ud800'", GOOD), "passed", name="a.ipynb", notice="cell 1"),
    Case("61", "9**9**9**9", notebook("x = 9**9**9**9", GOOD), "timeout", "timeout", name="a.ipynb", says="Loading"),
    Case("61", "wrong syntax, in a file", b"def f(:\n", "rejected", says="line 1"),
    Case(
        "62",
        "a training run at top level",
        notebook("import time\nfor _ in range(45 * 60): time.sleep(1)", GOOD),
        "passed",
        name="a.ipynb",
    ),
]


def numbers() -> dict[str, int]:
    import platform

    from pgcourse.grading.sandbox import confine

    return confine._MACHINES[platform.machine()].numbers


def solutions() -> list[Path]:
    """Files with solutions that are somewhere on this machine."""
    from pgcourse.notebooks import course_folder

    places = [course_folder(), *(Path(place) / "pgcourse" / "course" for place in sandbox._site_folders())]
    return [path for place in places for path in sorted((place / "solutions").glob("*.ipynb"))]


@dataclass
class Running:
    """A worker that serves all cases of a level."""

    worker: sandbox.Worker
    grown: int = field(default_factory=lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Workers by level, started and probed when first asked for."""
    started: dict[str, Running | str] = {}

    def get(level: str) -> Running:
        if level not in started:
            worker = sandbox.Worker(level, LIMITS)
            try:
                worker.__enter__()
                reason = sandbox._attack(worker, tmp_path_factory.mktemp("probe"))
            except sandbox.SandboxError as problem:
                reason = str(problem)
            started[level] = Running(worker) if reason is None else reason
        here = started[level]
        if isinstance(here, str):
            pytest.skip(f"{level} cannot be had here: {here}")
        return here

    yield get
    for each in started.values():
        if isinstance(each, Running):
            each.worker.__exit__()


def processes_of(worker: sandbox.Worker) -> dict[int, str]:
    """Every process of the sandbox: in its process namespace, or with its folder in the environment."""
    box = worker._folder.name.encode()
    theirs = {os.stat(f"/proc/{each}/ns/pid").st_ino for each in descendants(worker._process.pid)} - {
        os.stat("/proc/self/ns/pid").st_ino
    }
    found = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                inside = (each / "ns/pid").stat().st_ino in theirs or box in (each / "environ").read_bytes()
                if inside and (each / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(each.name)] = (each / "comm").read_text().strip()
            except OSError:
                pass
    return found


def descendants(pid: int) -> list[int]:
    children = [int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]
    return [pid, *(each for child in children for each in descendants(child))]


@pytest.fixture(scope="module", autouse=True)
def canary():
    CANARY.parent.mkdir()
    CANARY.write_text("unchanged")
    CANARY.parent.chmod(0o777)
    CANARY.chmod(0o666)
    yield
    shutil.rmtree(CANARY.parent)


def outside(worker: sandbox.Worker) -> dict:
    """What a submission might have changed."""
    site = Path(torch.__file__).parent.parent
    watched = [Path(torch.__file__), Path(json.__file__), Path(unit.__file__), CANARY.parent, *CANARY.parent.iterdir()]
    staged = sorted(path for path in Path(worker._folder.name).rglob("*") if "box" not in path.parts)
    return {
        "files": [
            (str(path), path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_mode) for path in (*watched, *staged)
        ],
        "site": sorted(os.listdir(site)),
        "torch": sorted(os.listdir(site / "torch")),
        "shared memory": sorted(os.listdir("/dev/shm")),
        "box": sorted(map(str, (Path(worker._folder.name) / "box").rglob("*"))),
    }


def params():
    for level in ("S3", "S2", "S1"):
        for case in CASES:
            quick = case.quick and level in ("S2", "S1")
            yield pytest.param(level, case, id=f"{level}-{case.number}-{case.what}", marks=[] if quick else pytest.mark.full)


@pytest.mark.parametrize(("level", "case"), list(params()))
def test_submission(level, case, running):
    here = running(level)
    worker = here.worker
    before, processes = outside(worker), processes_of(worker)
    assert processes
    content = case.content() if callable(case.content) else case.content

    report = unit.grade(worker, [(case.name, content)], [EPISODE, RETURNS], seed=11)

    first, second = report.outcomes
    said = f"{first.status}: {first.message}\n{second.status}: {second.message}\n{report}"
    if case.status == "rejected":
        assert report.rejected, said
        assert case.says in report.rejected
        assert {first.status, second.status} == {"not attempted"}
    else:
        assert report.rejected is None, said
        assert first.status in case.status.split("/"), said
        assert second.status in case.second.split("/"), said
        assert case.says in first.message, said
    assert any(case.notice in notice for notice in report.notices) or not case.notice, report.notices
    for outcome in report.outcomes:
        assert outcome.points == (outcome.max_points if outcome.status == "passed" else 0)
    assert bool(report.flags) == (first.status == "tamper"), report.flags
    text = json.dumps(asdict(report), ensure_ascii=False)
    text.encode("utf-8")
    assert len(text) < 100_000
    assert all(c.isprintable() or c in "\n\t" for each in (first, second) for c in each.message + each.printed + each.warned)

    good = unit.grade(worker, [("good.py", GOOD.encode())], [EPISODE, RETURNS], seed=12)
    assert [outcome.status for outcome in good.outcomes] == ["passed", "passed"], good
    assert processes_of(worker) == processes, "a process is left, or the sandbox had to be started again"
    assert outside(worker) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - here.grown < GRADER_MAY_GROW


@pytest.mark.parametrize(
    "level", ["S2", pytest.param("S1", marks=pytest.mark.full), pytest.param("S3", marks=pytest.mark.full)]
)
def test_43_library_functions_that_answer_the_task_are_refused(level, running):
    source = "from pgcourse import gradients\nfrom pgcourse.algorithms import reinforce\nimport torch\n"
    for call in ("gradients.score_surrogate(log_probability, reward)", "reinforce.loss(log_probability, reward, valid, None)"):
        body = f"def reinforce_surrogate(log_probability, reward, valid, discount):\n    return {call}.sum()\n"
        (outcome,) = unit.grade(running(level).worker, [("a.py", (source + body).encode())], [SURROGATE], seed=3).outcomes
        assert outcome.status == "error"
        assert "write this one yourself" in outcome.message


def test_68_without_bubblewrap_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "bubblewrap is not installed" in sandbox.probe("S2")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions to create new namespace"),
        ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', ""),  # there, and isolates nothing
        ("sleep 5 & exit 0", "did not start"),
    ],
)
def test_68_a_bubblewrap_that_does_not_isolate_is_no_level(script, reason, monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text(f"#!{shutil.which('sh')}\n{script}\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = sandbox.probe("S2")
    assert found
    assert reason in found


@pytest.mark.full
def test_68_no_isolation_is_no_level():
    assert "could still read a file of yours" in sandbox.probe("S0")
