"""The sandbox itself: what its parts refuse, that answers from it are judged like local ones, that nothing of it is left."""

import ast
import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from pgcourse import answers
from pgcourse.grading import unit
from pgcourse.grading.answer import Complaint, LocalAnswer, Opaque, Several
from pgcourse.grading.judge import judge
from pgcourse.grading.learner import find
from pgcourse.grading.sandbox import cgroup, confine, wire
from pgcourse.grading.sandbox import worker as sandbox
from pgcourse.grading.task import EXACT_BUDGET, Case, Exact, Mistake, Task
from pgcourse.grading.tasks import all_tasks

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="isolation is Linux's")
ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture(scope="module")
def worker():
    """A worker at the highest of S2 and S1 that starts here."""
    reasons = []
    for level in ("S2", "S1"):
        try:
            with sandbox.Worker(level, sandbox.Limits(load_seconds=5, call_seconds=3)) as started:
                yield started
                return
        except sandbox.SandboxError as problem:
            reasons.append(f"{level}: {problem}")
    pytest.skip("; ".join(reasons))


def loaded(worker, source, refused=(), name="mine.py"):
    return worker.session([(name, textwrap.dedent(source).encode())], refused)


# ----------------------------------------------------------------------------------------------------------------------
# System calls


def run_filter(program, machine, name, *arguments, architecture=None):
    """What the kernel would do with this call: errno, "allow" or "kill"."""
    number = machine.numbers[name] if isinstance(name, str) else name
    words = [argument & (2**64 - 1) for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    memory = struct.pack("<IIQ6Q", number, architecture or machine.architecture, 0, *words)
    place, accumulator = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("<I", memory, operand)
        elif code == 0x06:  # return
            return {0x7FFF0000: "allow", 0x80000000: "kill"}.get(operand, operand & 0xFFFF)
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[code]
            place += if_true if holds else if_false


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_it_lists_and_nothing_else(name, monkeypatch):
    monkeypatch.setattr(confine.platform, "machine", lambda: name)
    machine, own = confine._MACHINES[name], 4321
    program = confine._program(own)
    assert len(program) < 4096
    assert all(place + 1 + max(each[1:3]) < len(program) for place, each in enumerate(program) if each[0] in (0x15, 0x35, 0x45))

    def verdict(call, *arguments):
        return run_filter(program, machine, call, *arguments)

    for error, names in confine._REFUSED.items():
        for call in names.split():
            if call in machine.numbers:
                assert verdict(call, own) == error, call
    assert run_filter(program, machine, 0, architecture=0x40000003) == "kill"  # 32-bit x86
    assert verdict(0x40000000 + 1) == errno.ENOSYS  # x86-64's second set
    assert verdict(450) == errno.ENOSYS
    assert verdict("kill", own, 9) == verdict("tgkill", own, own, 6) == "allow"
    for other in (0, 1, -1, -own, own + 1):
        assert verdict("kill", other, 9) == verdict("tgkill", other, 1, 9) == errno.EPERM
    assert verdict("prlimit64", 0) == verdict("prlimit64", own) == verdict("sched_setaffinity", 0) == "allow"
    assert verdict("prlimit64", 1) == verdict("sched_setaffinity", 1) == errno.EPERM
    thread = 0x3D0F00
    assert verdict("clone", thread) == "allow"
    for flags in (signal.SIGCHLD, thread | 0x10000000, thread | 0x20000, thread | 0x80, 0x40000000):
        assert verdict("clone", flags) == errno.EPERM
    assert verdict("ioctl", 0, 0x5401) == verdict("fcntl", 0, 1) == verdict("prctl", 15) == "allow"
    for request in (0x5412, 0x541C, 0xFFFFFFFF00005412, 0x5421, 0x40086602):  # the last: FS_IOC_SETFLAGS
        assert verdict("ioctl", 0, request) == errno.EPERM
    for command in (4, 6, 8, 1024, 1036):  # F_SETFL, F_SETLK, F_SETOWN, F_SETLEASE, F_SET_RW_HINT
        assert verdict("fcntl", 0, command) == errno.EPERM
    assert verdict("prctl", 1) == verdict("prctl", 4) == errno.EPERM
    ordinary = {"x86_64": (0, 1, 3, 9, 11, 12, 202, 257, 228), "aarch64": (63, 64, 57, 222, 215, 214, 98, 56, 113)}[name]
    assert {verdict(number) for number in ordinary} == {"allow"}  # read, write, close, mmap, munmap, brk, futex, openat, time


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("name", list(HEADERS))
def test_the_numbers_are_the_kernels(name):
    if not HEADERS[name].exists():
        pytest.skip(f"{HEADERS[name]} is not installed")
    listed: dict[str, int] = {}
    for call, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[name].read_text()):
        listed.setdefault(call, int(number))
    numbers = confine._MACHINES[name].numbers
    assert numbers == {call: listed[call] for call in numbers}
    asked = {call for names in confine._REFUSED.values() for call in names.split()}
    asked |= {call for call, _, _ in (*confine._WITH_OWN_PID, *confine._ONLY_WITH, *confine._NOT_WITH)} | {"clone"}
    assert asked & set(listed) == set(numbers)


# ----------------------------------------------------------------------------------------------------------------------
# The wire


def through(value):
    packer = wire.Packer()
    packed = json.loads(json.dumps(packer.pack(value)))
    return wire.Unpacker(b"".join(packer.parts)).all(packed)


@pytest.mark.parametrize("dtype", wire._DTYPES.values())
def test_tensors_arrive_as_they_were(dtype):
    for x in (torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype), torch.ones((), dtype=dtype), torch.ones(2, 0, dtype=dtype)):
        for view in (
            x,
            x.mT if x.ndim > 1 else x,
            x.expand(2, *x.shape),
            x.expand(1, *x.shape),
            x[..., None].expand(*x.shape, 1),
        ):
            found = through(view)
            assert found.dtype == dtype
            assert found.shape == view.shape
            assert torch.equal(found, view)
    if dtype.is_floating_point:
        odd = torch.tensor([float("nan"), float("inf"), -0.0]).to(dtype)
        assert through(odd).view(torch.uint8).tolist() == odd.view(torch.uint8).tolist()


def test_other_values_arrive_as_they_were():
    for value in (None, True, 0, -(2**70), 1.5, float("inf"), -0.0, 5e-324):
        assert repr(through(value)) == repr(value)
    found = through(Several.of("list", [torch.ones(2), 3, Opaque("a list of 2 things")]))
    assert (found.kind, found[1], found[2].description) == ("list", 3, "a list of 2 things")
    assert isinstance(through("text"), Opaque)
    assert isinstance(through(torch.ones(2).to(torch.float8_e4m3fn)), Opaque)


@pytest.mark.parametrize(
    ("packed", "body"),
    [
        (5, b""),
        ("text", b""),
        ([], b""),
        ({}, b""),
        ({"float": "1", "integer": "1"}, b""),
        ({"integer": "9" * 5000}, b""),
        ({"integer": "9" * 400}, b""),  # more than a float holds
        ({"integer": "1_0 x"}, b""),
        ({"float": "0x1p99999999999"}, b""),
        ({"tuple": [{"tuple": [{"tuple": [{"tuple": []}]}]}]}, b""),
        ({"tuple": [None] * 10_000}, b""),
        ({"pickle": "cos\nsystem"}, b""),
        ({"tensor": "float64", "shape": [1]}, b"1234567"),
        ({"tensor": "float64", "shape": [1]}, b"123456789"),
        ({"tensor": "float64", "shape": [-1]}, b""),
        ({"tensor": "float64", "shape": [1 << 40]}, b""),
        ({"tensor": "float64", "shape": [0, *[1 << 26] * 9]}, b""),
        ({"tensor": "float64", "shape": [1] * 50}, b"12345678"),
        ({"tensor": "float64", "shape": "1"}, b"12345678"),
        ({"tensor": "float64", "shape": [True]}, b"12345678"),
        ({"tensor": "object", "shape": [1]}, b"12345678"),
        ({"tensor": ["float64"], "shape": [1]}, b"12345678"),
    ],
)
def test_values_that_no_program_of_ours_sends_are_forged(packed, body):
    with pytest.raises(wire.Forged):
        wire.Unpacker(body).all(packed)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 8,
        struct.pack("<II", 1 << 21, 0),
        struct.pack("<II", 2, (64 << 20) + 1),
        wire.frame({})[:8] + b"[]",
        struct.pack("<II", 4, 0) + b"null",
        struct.pack("<II", 3, 0) + b"{{{",
        struct.pack("<II", 10, 0) + b'{"a": NaN}',
        struct.pack("<II", 1 << 20, 0) + b"[" * (1 << 20),
        struct.pack("<II", 5007, 0) + b'{"a": ' + b"9" * 5000 + b"}",
        struct.pack("<II", 2, 0) + b"\xff\xfe",
    ],
)
def test_frames_that_no_program_of_ours_sends_are_forged(content):
    left = bytearray(content)

    def read(size):
        assert size <= wire.BODY_LIMIT
        part = bytes(left[:size])
        del left[:size]
        return part

    with pytest.raises(wire.Forged):
        wire.read_frame(read)


def test_a_truth_value_that_is_neither_becomes_one():
    assert wire.Unpacker(b"\x07\x00").all({"tensor": "bool", "shape": [2]}).view(torch.uint8).tolist() == [1, 0]


# ----------------------------------------------------------------------------------------------------------------------
# Sessions


def test_a_session_calls_functions_and_keeps_what_they_print_and_warn_of(worker):
    source = """
        import warnings
        def f(x, scale):
            print("seen", tuple(x.shape))
            warnings.warn("odd")
            return x * scale, None, [1.5, "text"]
        def g(x):
            return x.square().sum()
        """
    with loaded(worker, source) as session:
        assert session.functions == ("f", "g")
        f, g = session.answer("f", ("x", "scale")), session.answer("g", ("x",))
        tensor, nothing, listed = f(torch.ones(2, 3), 2)
        assert torch.equal(tensor, torch.full((2, 3), 2.0))
        assert nothing is None
        assert listed.description == "a list of 2 things"
        assert (f.printed, f.warned, g.printed) == ("seen (2, 3)\n", "odd", "")
        value, (gradient,) = g.gradient((torch.tensor([1.0, 3.0]),), (0,))
        assert value == 10
        assert gradient.tolist() == [2, 6]


def test_sessions_know_nothing_of_each_other(worker):
    with loaded(worker, "import torch, pgcourse\ndef f(x):\n    torch.leak = pgcourse.leak = 1\n    return x") as session:
        session.answer("f", ("x",))(1)
    with loaded(
        worker, "import torch, pgcourse\ndef f(x):\n    return hasattr(torch, 'leak') or hasattr(pgcourse, 'leak')"
    ) as session:
        assert session.answer("f", ("x",))(1) is False


def test_complaints_are_those_of_a_local_answer(worker):
    source = """
        def wrong_arguments(a): return a
        def raises(x): return 1 / 0
        def raises_in_torch(x): return __import__("torch").einsum("ij,jk->ik", x)
        def in_place(x):
            x += 1
            return x
        def a_list(x): return [1.0]
        def number(x): return 2.5
        def detached(x): return x.detach().sum()
        def not_written(x): raise NotImplementedError
        def exits(x): raise SystemExit
        """
    local = answers.read_files([("mine.py", textwrap.dedent(source).encode())]).functions
    with loaded(worker, source) as session:
        for name, function in local.items():
            parameters = ("x", "y")[: 2 if name == "wrong_arguments" else 1]
            for use in ("call", "gradient"):
                here = complaint_of(lambda function=function: LocalAnswer(function, parameters), use)  # noqa: B023
                there = complaint_of(lambda name=name: session.answer(name, parameters), use)  # noqa: B023
                assert here == there, (name, use)


def complaint_of(make, use):
    try:
        answer = make()
        output = answer(torch.ones(2)) if use == "call" else answer.gradient((torch.ones(2),), (0,))
        return repr(output)
    except Complaint as complaint:
        return complaint.status, complaint.message, complaint.kind, complaint.line


def test_course_modules_work_there_but_the_grader_is_not_to_be_had(worker):
    source = """
        import ipywidgets
        import matplotlib.pyplot as plt
        import torch
        from IPython.display import display
        from pgcourse import budget, envs, figures, nn, plots, returns, widgets
        from pgcourse.algorithms import reinforce
        from pgcourse.grading import check, hint, progress, solution, tasks
        from pgcourse.rng import Rng
        def works(x):
            plt.plot([1, 2])
            return returns.backward_sum(x, torch.full_like(x, 0.5))
        def nothing(x):
            return check(nothing), hint(nothing), solution(nothing), progress(), tasks() == ()
        def names(x):
            import pgcourse, sys, os
            import pgcourse.grading.answer
            found = []
            for path in [*sys.path, *pgcourse.__path__]:
                for place, folders, files in os.walk(path):
                    if "pgcourse" in place:
                        found += [f"{place}/{name}" for name in files]
            raise ValueError(" ".join(sorted(name for name in found if "grading" in name or "solution" in name)))
        """
    with loaded(worker, source) as session:
        assert session.notices == ()
        assert session.answer("works", ("x",))(torch.ones(2, 1)).tolist() == [[1.5], [1.0]]
        assert session.answer("nothing", ("x",))(1) == (None, None, None, None, True)
        with pytest.raises(Complaint) as caught:
            session.answer("names", ("x",))(1)
    there = {Path(word).name for word in caught.value.message.split() if word.endswith(".py")}
    assert there == {"__init__.py", "answer.py", "confine.py", "inside.py", "wire.py"}
    for module in ("tasks", "judge", "compare", "learner", "audit", "task", "unit", "sandbox.worker"):
        with loaded(worker, f"def f(x):\n    import pgcourse.grading.{module}") as session, pytest.raises(Complaint) as caught:
            session.answer("f", ("x",))(1)
        assert "ModuleNotFoundError" in caught.value.message


def test_refused_functions_and_modules_complain(worker):
    source = """
        from pgcourse.algorithms import reinforce
        from pgcourse.returns import to_go
        def f(x): return to_go(x, 1.0)
        def g(x): return reinforce.loss(x)
        """
    with loaded(worker, source, ("pgcourse.returns.to_go", "pgcourse.algorithms.reinforce")) as session:
        for name, refused in (("f", "pgcourse.returns.to_go"), ("g", "pgcourse.algorithms.reinforce")):
            with pytest.raises(Complaint, match=re.escape(f"{refused} answers this task: write this one yourself.")):
                session.answer(name, ("x",))(torch.ones(2, 1))


def test_every_forbidden_name_of_every_task_exists(worker):
    for task in all_tasks():
        with loaded(worker, "def f(x): return x", task.forbidden) as session:
            assert session.functions == ("f",)


@LINUX
def test_a_dead_sandbox_is_started_again(worker):
    with loaded(worker, "def f(x): return x") as session:
        before = worker._process.pid
        os.kill(before, signal.SIGKILL)
        while Path(f"/proc/{session._pid}").exists():
            time.sleep(0.01)
        with pytest.raises(Complaint) as caught:
            session.answer("f", ("x",))(1)
        assert caught.value.status == "crash"
    os.kill(worker._process.pid, signal.SIGKILL) if worker._process else None  # it may die just before a session too
    with loaded(worker, "def f(x): return x") as session:
        assert session.answer("f", ("x",))(1) == 1
    assert worker._process.pid != before


@LINUX
def test_many_short_sleeps_are_a_long_one(worker, monkeypatch):
    monkeypatch.setattr(worker, "limits", replace(worker.limits, session_seconds=0.5))
    source = "import time\ndef f(x): time.sleep(0.4)"
    with loaded(worker, source) as session, pytest.raises(Complaint, match=r"within 1\.5 seconds"):
        for _ in range(10):
            session.answer("f", ("x",))(1)


def test_all_replicas_in_one_request_are_what_they_are_one_by_one(worker):
    source = """
        import torch
        def loss(log_probability, reward, valid):
            return -(log_probability * valid * reward.sum(0)).sum(0).mean()
        def by_item(log_probability, reward, valid):
            return loss(log_probability, reward, valid) * (2.0 if log_probability[0, 0].item() > -9 else 1.0)
        def random(log_probability, reward, valid):
            return loss(log_probability, reward, valid) * torch.rand(())
        """
    inputs = torch.rand(5, 4, 3), torch.rand(5, 4, 3), torch.rand(5, 4, 3) > 0.3
    weights = torch.arange(5.0)
    local = answers.read_files([("mine.py", textwrap.dedent(source).encode())]).functions
    with loaded(worker, source) as session:
        for name in ("loss", "by_item"):
            found = []
            for answer in (LocalAnswer(local[name]), session.answer(name, ("log_probability", "reward", "valid"))):
                leaf = inputs[0].clone().requires_grad_()
                values = answer.lifted()(leaf, *inputs[1:])
                (gradient,) = torch.autograd.grad((values * weights).sum(), leaf)
                found.append((values.detach(), gradient))
            torch.testing.assert_close(found[0], found[1])
        with pytest.raises(Complaint, match="other numbers than for one"):
            session.answer("random", ("log_probability", "reward", "valid")).lifted()(*inputs)


# ----------------------------------------------------------------------------------------------------------------------
# Judging


def solutions_of(task):
    """The module of a task as a file of definitions, and the names under which its right and wrong solutions are in it."""
    source = Path(sys.modules[task.reference.__module__].__file__).read_text()
    tree = ast.parse(source)
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Task"
        and any(each.arg == "id" and getattr(each.value, "value", "") == task.id for each in node.keywords)
    ]
    (mistakes,) = [each.value for each in call.keywords if each.arg == "mistakes"]
    assert len(mistakes.elts) == len(task.mistakes)
    lines = [source]
    for number, mistake in enumerate(mistakes.elts):
        arguments = ", ".join(task.parameters)
        lines.append(f"def mistake_{number}({arguments}):\n    return ({ast.unparse(mistake.args[1])})({arguments})\n")
    names = [task.name, *(f.__name__ for f in task.alternatives), *(f"mistake_{n}" for n in range(len(task.mistakes)))]
    return "\n".join(lines).encode(), names


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.id)
def test_right_and_wrong_solutions_are_judged_as_local_ones_are(task, worker):
    content, names = solutions_of(task)
    local = answers.read_files([("mine.py", content)]).functions
    with worker.session([("mine.py", content)]) as session:
        for name in names:
            here = judge(task, local[name], 20, learning=False)
            there = judge(task, session.answer(name, task.parameters), 20, learning=False)
            assert there == here
            assert (here.status == "passed") == (not name.startswith("mistake"))


def test_a_training_run_goes_as_it_goes_locally(worker, monkeypatch):
    monkeypatch.setenv("PGCOURSE_BUDGET", "small")
    task = find("cartpole_loss")
    content, _ = solutions_of(task)
    with worker.session([("mine.py", content)]) as session:
        there = judge(task, session.answer(task.name, task.parameters), 4)
    assert there == judge(task, task.reference, 4)
    assert there.points == task.points


MARKER = 7654321.25


def _secret_cases(generator):
    hidden = generator.initial_seed() != unit.PUBLIC_SEED
    x = torch.tensor([MARKER if hidden else 2.0, 3.0, 4.0], dtype=torch.float64)
    return [Case((x,), 2 * x), Case((x + 1,), 2 * (x + 1))]


def twice(x):
    """Twice x."""
    return 2 * x


TWICE = Task(
    id="00.twice",
    title="Twice",
    signature="twice(x [N]) -> y [N]",
    reference=twice,
    stages=(Exact(3, _secret_cases),),
    alternatives=(),
    mistakes=(Mistake("once", lambda x: x, "You return x itself."),),
    hints=(),
    error_budget=EXACT_BUDGET,
    forbidden=(),
)


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError(str(x.tolist()))",
        "raise type('V' + str(int(x[0])), (Exception,), {})('text')",
        "raise type('int', (Exception,), {'__str__': lambda self: str(x.tolist())})",
        "print(x.tolist()); return 3 * x",
        "import warnings; warnings.warn(str(x.tolist())); return 3 * x",
        "return str(x.tolist())",
        "return type('V' + str(int(x[0])), (), {})()",
        "return float(x[0])",
        "return [x.tolist()]",
        "return torch.zeros(0, int(x[0]))",
        "return x.float()",
        "return x * float('nan')",
        "return 3 * x",
        "x += 1; return x",
        "exec(compile('def f' + str(int(x[0])) + '(): raise ValueError\\nf' + str(int(x[0])) + '()', str(x.tolist()), 'exec'))",
        "return x if x[0] > 100 else 2 * x",
        "return 1 / 0 if x[0] > 100 else 2 * x",
        "raise NotImplementedError(str(x.tolist()))",
        "return 2 * x",
    ],
)
def test_nothing_of_hidden_cases_is_in_a_report(body, worker):
    content = f"import torch\ndef twice(x):\n    {body}\n".encode()
    report = unit.grade(worker, [("mine.py", content)], [TWICE], seed=424242)
    text = json.dumps(asdict(report))
    for told in ("7654321", "7654322", "765432", "15308642", "22962963", "7.654", "7.65e", "424242"):
        assert told not in text, text
    (outcome,) = report.outcomes
    assert outcome.points == (3 if body == "return 2 * x" else 0)
    if "x[0] > 100" in body:  # wrong on hidden cases only
        assert "seed=0" in outcome.message
        assert outcome.mistake == ("once" if "return x if" in body else None)
    elif outcome.status in ("failed", "error"):
        assert re.search(r"[234]\.0|\b[234]\b|in place|float32", outcome.message), outcome.message  # the public case, in detail


def test_messages_about_hidden_cases_say_what_kind_of_thing_is_wrong(worker):
    said = {
        "return 3 * x if x[0] > 100 else 2 * x": "wrong numbers",
        "return x * float('nan') if x[0] > 100 else 2 * x": "NaN",
        "return x[None] if x[0] > 100 else 2 * x": "another shape",
        "return 1 / 0 if x[0] > 100 else 2 * x": "raised ZeroDivisionError, in line 2",
        "return x if x[0] > 100 else 2 * x": "You return x itself.",
        "if x[0] > 100: raise type('Own', (Exception,), {})\n    return 2 * x": "raised an exception",
    }
    for body, words in said.items():
        report = unit.grade(worker, [("mine.py", f"def twice(x):\n    {body}\n".encode())], [TWICE], seed=424242)
        assert words in report.outcomes[0].message
    content = b"def twice(x):\n    print('seen', x[0].item())\n    return 3 * x\n"
    (outcome,) = unit.grade(worker, [("mine.py", content)], [TWICE], seed=424242).outcomes
    assert outcome.printed == "seen 2.0\nseen 3.0\n" or outcome.printed.startswith("seen 2.0\n")


def test_a_report_over_several_files(worker):
    files = [("helpers.py", b"def double(x):\n    return 2 * x\n"), ("broken.ipynb", b"{"),
             ("mine.py", b"from helpers import double\ndef twice(x):\n    return double(x)\n")]  # fmt: skip
    report = unit.grade(worker, files, [TWICE, find("batched_returns")], seed=1)
    assert [outcome.status for outcome in report.outcomes] == ["passed", "not attempted"]
    assert report.outcomes[1].message == unit.MISSING
    assert report.notices[0].startswith("broken.ipynb is not a notebook")
    assert len(report.notices) == 1
    assert (report.rejected, report.flags, report.level) == (None, (), worker.level)
    assert 0 < report.cpu_seconds < 10
    assert unit.grade(worker, [], [TWICE], seed=1).rejected == "There is no file in it."


def test_what_is_right_in_each_file_is_right_in_both_together(worker):
    """Both call something of their own ``helper``."""
    files = [
        ("one.py", b"def helper(x):\n    return 2 * x\ndef twice(x):\n    return helper(x)\n"),
        ("two.py", b"def helper(x):\n    return 0 * x\ndef other(x):\n    return helper(x)\n"),
    ]
    report = unit.grade(worker, files, [TWICE], seed=1)
    assert [outcome.status for outcome in report.outcomes] == ["passed"]


def test_a_check_that_fails_costs_one_task_and_calls_a_person(worker):
    broken = Task(**{**vars(TWICE), "stages": (Exact(3, _secret_cases, verdict=lambda cases, seen: 1 / 0),)})
    report = unit.grade(worker, [("mine.py", b"def twice(x):\n    return 2 * x\n")], [broken, TWICE], seed=1)
    assert [outcome.status for outcome in report.outcomes] == ["error", "passed"]
    assert report.flags == ("00.twice: the check failed with ZeroDivisionError: division by zero",)


def test_no_points_for_public_cases_alone(worker):
    two = Task(**{**vars(TWICE), "stages": (Exact(2, _secret_cases), Exact(1, _thrice_cases))})
    content = b"def twice(x):\n    return 2 * x if x[0] < 100 else 5 * x\n"
    (outcome,) = unit.grade(worker, [("mine.py", content)], [two], seed=424242).outcomes
    assert (outcome.status, outcome.points) == ("failed", 0)


def _thrice_cases(generator):
    return [Case(case.inputs, 1.5 * case.truth) for case in _secret_cases(generator)]


def test_tampering_with_the_public_judgement_calls_a_person_too(worker):
    content = (
        b"import os\ndef twice(x):\n    if x[0] < 100:\n        for each in range(64):\n"
        b"            try: os.write(each, b'?' * 99)\n            except OSError: pass\n    return 5 * x\n"
    )
    report = unit.grade(worker, [("mine.py", content)], [TWICE], seed=424242)
    assert (report.outcomes[0].status, report.outcomes[0].points) == ("tamper", 0)
    assert len(report.flags) == 1


def test_a_submission_that_takes_too_long_is_left(worker, monkeypatch):
    monkeypatch.setattr(unit, "_LONGEST", 0.0)
    report = unit.grade(worker, [("mine.py", b"def twice(x):\n    return 2 * x\n")], [TWICE], seed=1)
    assert (report.outcomes[0].status, report.outcomes[0].points) == ("timeout", 0)


FORGER = """
import json, struct, sys, torch
def reply(body, **told):
    frame = sys._getframe()
    while not ("header" in frame.f_locals and "self" in frame.f_locals):
        frame = frame.f_back
    runner, header = frame.f_locals["self"], frame.f_locals["header"]
    if frame.f_code.co_name != "serve":
        runner, header = frame.f_back.f_locals["self"], frame.f_back.f_locals["header"]
    text = json.dumps({"id": header["id"], **told}).encode()
    runner._channel.sendall(struct.pack("<II", len(text), len(body)) + text + body)
    while True: runner._channel.recv(1)
def twice(x):
    return 2 * x
def tensor(dtype, shape=()):
    return {"tensor": dtype, "shape": list(shape)}
"""


@pytest.mark.parametrize(
    "forged",
    [
        "class Law: reply(b'', result={'functions': ['twice'], 'notices': [''] * 10**5})",
        "class Law: reply(b'', result={'functions': ['twice'] * 10**5, 'notices': []})",
        "def slope(x): reply(bytes(32), result={'tuple': [tensor('complex64'), tensor('float64', [3])]})",
        "def slope(x): reply(bytes(32), result={'tuple': [tensor('float64'), tensor('complex64', [3])]})",
        "def slope(x): reply(bytes(11), result={'tuple': [tensor('float64'), tensor('bool', [3])]})",
    ],
)
def test_forged_replies_that_the_program_inside_never_sends(forged, worker):
    honest = "def slope(x): reply(bytes(32), result={'tuple': [tensor('float64'), tensor('float64', [3])]})"
    with loaded(worker, f"{FORGER}\n{honest}\n") as session:  # it can only be an answer
        value, _ = session.answer("slope", ("x",)).gradient((torch.ones(3, dtype=torch.float64),), (0,))
        assert value == 0
    with pytest.raises(Complaint) as found, loaded(worker, f"{FORGER}\n{forged}\n") as session:
        session.answer("slope", ("x",)).gradient((torch.ones(3, dtype=torch.float64),), (0,))
    assert found.value.status == "tamper"


def test_long_names_and_defaults_are_no_tampering(worker):
    source = "TABLE = list(range(10**6))\ndef f(x, y=TABLE, *, z): pass\ndef g(x): raise type('E' * 10**7, (Exception,), {})\n"
    with loaded(worker, source) as session:
        with pytest.raises(Complaint, match="cannot be called") as found:
            session.answer("f", ("x",))
        assert found.value.status == "failed"
        with pytest.raises(Complaint) as found:
            session.answer("g", ("x",))(1)
        assert found.value.status == "error"


def test_the_course_is_hidden_wherever_an_interpreter_has_it(tmp_path, monkeypatch):
    elsewhere = tmp_path / "lib" / "python3.99" / "site-packages" / "pgcourse"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    view = sandbox._view.__wrapped__(())
    assert view[tmp_path]
    assert not view[elsewhere]


def test_a_tasks_version_is_of_what_decides():
    versions = {task.id: unit.task_version(task) for task in all_tasks()}
    assert all(re.fullmatch(r"[0-9a-f]{16}", version) for version in versions.values())
    assert len({versions[task.id] for task in all_tasks() if task.id.startswith("03")}) == 1
    assert len(set(versions.values())) == len({task.id[:2] for task in all_tasks()})


# ----------------------------------------------------------------------------------------------------------------------
# The whole of it


def test_there_is_no_other_level():
    with pytest.raises(ValueError, match="no isolation level 'S4'; there are S3, S2, S1, S0"):
        sandbox.Worker("S4")


@LINUX
@pytest.mark.parametrize(
    "level", ["S2", pytest.param("S1", marks=pytest.mark.full), pytest.param("S3", marks=pytest.mark.full)]
)
def test_nothing_survives_a_killed_grader(level):
    program = f"""
import sys
sys.path.insert(0, {str(Path(unit.__file__).parents[2])!r})
from pgcourse.grading.sandbox.worker import Worker
with Worker({level!r}) as worker:
    with worker.session([("a.py", b"import time\\ndef f(x): time.sleep(999)")]) as session:
        print(worker._process.pid, session._pid, worker._folder.name, flush=True)
        session.answer("f", ("x",))(1)
"""
    grader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    words = grader.stdout.readline().split()
    if not words:
        grader.wait()
        pytest.skip(f"{level} cannot be had here: {grader.stderr.read()[-300:]}")
    time.sleep(0.2)
    grader.kill()
    grader.communicate()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(Path(f"/proc/{pid}").exists() for pid in words[:2]):
        time.sleep(0.05)
    assert not [pid for pid in words[:2] if Path(f"/proc/{pid}").exists()]
    left = Path(words[2])
    groups = list(cgroup._candidates())
    assert left in cgroup.abandoned(left.parent)
    with sandbox.Worker(level):  # tidies up
        assert not left.exists()
        assert level != "S3" or not any(cgroup.abandoned(parent) for parent in groups_in_use(groups))


@LINUX
@pytest.mark.full
@pytest.mark.parametrize("level", ["S3", "S2", "S1"])
def test_what_was_not_imported_beforehand_is_found_at_every_level(level):
    """From the standard library, from site-packages, and from the course; but the course's own folder is not to be had."""
    source = """
        import os, sys
        import xmlrpc.client
        import tyro
        from pgcourse import history, quizzes
        def f(x):
            return all(name in sys.modules for name in ("xmlrpc.client", "tyro", "pgcourse.quizzes"))
        def g(x):
            import matplotlib.pyplot as plt
            plt.plot([1, 2])
            plt.gcf().canvas.draw()
            return True
        def h(x):
            for folder in SECRETS:
                for place, _, files in os.walk(folder):
                    for name in files:
                        try:
                            open(os.path.join(place, name)).read()
                        except OSError:
                            continue
                        raise ValueError(place + "/" + name)
            return True
        """
    package, site = Path(unit.__file__).parents[1], sandbox._site_folders()
    hidden = [
        str(package),
        *(f"{place}/pgcourse" for place in site),
        *(f"{package.parent}/{name}" for name in ("solutions", "tests")),
    ]
    try:
        with sandbox.Worker(level) as here, loaded(here, f"SECRETS = {hidden}\n" + textwrap.dedent(source)) as session:
            assert session.notices == ()
            for name in "fgh":
                assert session.answer(name, ("x",))(1) is True
    except sandbox.SandboxError as problem:
        pytest.skip(str(problem))


def groups_in_use(candidates):
    return [parent for place in candidates for parent in place if any(parent.glob(f"pgcourse-{os.getpid()}-*"))]


def test_controllers_that_share_a_folder_are_both_set(tmp_path, monkeypatch):
    """Version 1 may have them at one place; and a folder's name says nothing about which controller is there."""

    class Lines:
        def __init__(self, text):
            self.read_text = lambda: text

    both, own = tmp_path / "memory,pids", tmp_path / "memory,pids" / "user"
    own.mkdir(parents=True)
    files = {
        "/proc/self/cgroup": Lines("3:memory,pids:/user\n"),
        "/proc/self/mounts": Lines(f"cgroup {both} cgroup rw,memory,pids 0 0\n"),
    }
    monkeypatch.setattr(cgroup, "Path", lambda first, *rest: files.get(first) or Path(first, *rest))
    group = cgroup.Group(memory=1234, processes=5)
    (folder,) = group._folders
    assert folder.parent == own
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"memory.limit_in_bytes": "1234", "pids.max": "5"}


@LINUX
def test_a_control_group_bounds_memory_and_processes():
    try:
        group = cgroup.Group(memory=64 << 20, processes=8)
    except OSError as problem:
        pytest.skip(str(problem))
    try:
        code = "import sys; x = bytearray(256 << 20)"
        killed = subprocess.run([*group.command(), sys.executable, "-c", code], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert group.kills() == 1
        code = "import os\nfor _ in range(20):\n    if os.fork() == 0: os._exit(0) if os.read(0, 1) else 0"
        bounded = subprocess.run([*group.command(), sys.executable, "-c", code], input=b"", capture_output=True, check=False)
        assert b"BlockingIOError" in bounded.stderr
        sleeper = subprocess.Popen([*group.command(), "sleep", "99"])
        while sleeper.pid not in [
            int(pid) for folder in group._folders for pid in (folder / "cgroup.procs").read_text().split()
        ]:
            time.sleep(0.01)
    finally:
        folders = list(group._folders)
        group.close()
    assert sleeper.wait(5) == -signal.SIGKILL
    assert not any(folder.exists() for folder in folders)


UNPRIVILEGED = """
import sys
sys.path.insert(0, sys.argv[1])
from pgcourse.grading.sandbox.worker import probe
print("probe:", [probe(level) for level in sys.argv[2:]])
"""


@LINUX
@ROOT
@pytest.mark.full
def test_it_works_for_somebody_who_is_not_root(tmp_path):
    if not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("needs setpriv and unshare")
    home = Path(sys.base_prefix).parts[1]  # may be /root, which nobody else may enter: then seen through a window of its own
    script = textwrap.dedent(f"""
        set -e
        if ! setpriv --reuid 65534 --clear-groups test -r {sys.base_prefix}; then
            mkdir {tmp_path}/window && mount --bind {sys.base_prefix} {tmp_path}/window
            mount -t tmpfs -o mode=755 none /{home} && mkdir -p {sys.base_prefix}
            mount --bind {tmp_path}/window {sys.base_prefix} && umount {tmp_path}/window
        fi
        exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/ "$@"
        """)
    package = str(Path(unit.__file__).parents[2])
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", UNPRIVILEGED, package, "S2", "S1", "S3"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd="/")
    if "probe:" not in ran.stdout:
        pytest.skip(f"the environment cannot be read by others: {ran.stderr[-300:]}")
    assert re.search(r"probe: \[None, None, (None|'no control group can be made here.*')\]", ran.stdout), ran.stdout
