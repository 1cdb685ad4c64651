"""``pgcourse doctor``: what works on this machine, and what to do about what does not."""

import ctypes
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from . import __version__

_RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 2'/><geom size='.3'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    assert renderer.render().std() > 0
"""
"""A lit sphere, 32 x 32; fails unless the picture shows something."""

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Finding:
    """What one probe found. remedy: one line on what to do where it does not work; essential: the course needs it."""

    subject: str
    works: bool
    found: str
    remedy: str = ""
    essential: bool = False


def examine() -> Iterator[Finding]:
    """Probe this machine, one finding after another: some take seconds."""
    yield _python()
    yield _torch()
    yield _device()
    yield _jupyter()
    yield _mujoco()
    yield _rendering()
    yield _browser()
    yield _bubblewrap()
    yield _landlock()
    yield _isolation()


def browser() -> str | None:
    """Path of a Chromium (or Chrome), the browser of the tests."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


def rendering() -> str | None:
    """The MUJOCO_GL with which MuJoCo draws here, "" where it needs none, None where nothing works.

    Tried in a process of its own: a failed attempt cannot be taken back, and some drivers crash.
    """
    given = os.environ.get("MUJOCO_GL")
    backends = (given,) if given else ("egl", "osmesa") if platform.system() == "Linux" else ("",)
    with tempfile.TemporaryDirectory() as folder:  # MuJoCo leaves a log where it runs
        for backend in backends:
            environment = {**os.environ, **({"MUJOCO_GL": backend} if backend else {})}
            if _succeeds([sys.executable, "-c", _RENDER], timeout=60, env=environment, cwd=folder):
                return backend
    return None


def _succeeds(command: list[str], timeout: float, **options) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout, **options).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable}), pgcourse {__version__}"
    return Finding("Python", True, found, essential=True)


def _torch() -> Finding:
    try:
        import torch
    except Exception as problem:
        remedy = "Run `make lab`, or `pip install -c constraints.txt -e .` in the environment."
        return Finding("torch", False, f"cannot be imported: {problem}", remedy, essential=True)
    return Finding("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads", essential=True)


def _device() -> Finding:
    try:
        import torch

        if torch.cuda.is_available():
            return Finding("GPU", True, torch.cuda.get_device_name())
    except Exception as problem:
        return Finding("GPU", False, f"cannot be asked for: {problem}", "The course runs on the CPU.")
    return Finding("GPU", False, "none that torch can use", "None is needed: the course runs on the CPU.")


def _jupyter() -> Finding:
    try:
        return Finding("JupyterLab", True, importlib.metadata.version("jupyterlab"), essential=True)
    except importlib.metadata.PackageNotFoundError:
        return Finding("JupyterLab", False, "not installed", "Run `make lab`, or `pip install jupyterlab`.", essential=True)


def _mujoco() -> Finding:
    try:
        import mujoco
    except Exception as problem:
        remedy = "Run `make lab`, or `pip install -c constraints.txt mujoco`. Own environments work without it."
        return Finding("MuJoCo", False, f"cannot be imported: {problem}", remedy)
    return Finding("MuJoCo", True, mujoco.__version__)


def _rendering() -> Finding:
    backend = rendering()
    if backend is not None:
        return Finding("MuJoCo pictures", True, f"MUJOCO_GL={backend}" if backend else "the system's own OpenGL")
    remedy = "Install software rendering (Debian, Ubuntu: sudo apt-get install libosmesa6). Only MuJoCo's pictures need it."
    return Finding("MuJoCo pictures", False, "no OpenGL works (tried in processes of their own)", remedy)


def _browser() -> Finding:
    path = browser()
    if path:
        return Finding("browser for the tests", True, path)
    remedy = "Debian: sudo apt-get install chromium. Only the browser tests need it."
    return Finding("browser for the tests", False, "no Chromium on the PATH", remedy)


def _bubblewrap() -> Finding:
    remedy = "Debian, Ubuntu: sudo apt-get install bubblewrap. Only grading other people's code needs it."
    if not shutil.which("bwrap"):
        return Finding("isolation: bubblewrap", False, "not installed", remedy)
    # Asked for by name: --unshare-all alone leaves the user namespace out silently where it is not to be had.
    user = [] if os.geteuid() == 0 else ["--unshare-user"]
    if _succeeds(["bwrap", "--unshare-all", *user, "--die-with-parent", "--ro-bind", "/", "/", "true"], timeout=10):
        return Finding("isolation: bubblewrap", True, "works")
    remedy = "It needs user namespaces, which this system or container may forbid."
    return Finding("isolation: bubblewrap", False, "installed, but it cannot isolate a process here", remedy)


def _landlock() -> Finding:
    version = _landlock_version()
    if version >= 3:
        return Finding("isolation: Landlock", True, f"ABI {version}")
    remedy = "Linux 6.2 or newer has it, where it is enabled at boot. Only grading other people's code needs it."
    return Finding("isolation: Landlock", False, f"ABI {version}, older than 3" if version else "not available", remedy)


def _isolation() -> Finding:
    """The level that grading will find, judged by its parts; grading itself tries it out."""
    if _bubblewrap().works:
        level = "S3" if _has_control_group() else "S2"
    else:
        level = "S1" if _landlock().works else "S0"
    if level != "S0":
        return Finding("isolation: level", True, f"{level} (docs/isolation.md)")
    remedy = "Grade where there is bubblewrap or Landlock, such as in a virtual machine with Linux (docs/isolation.md)."
    return Finding("isolation: level", False, "S0: none, so other people's code is not graded here", remedy)


def _has_control_group() -> bool:
    try:
        from .grading.sandbox.cgroup import Group

        Group(memory=1 << 20, processes=1).close()
    except (ImportError, OSError):  # the package of the grader needs torch
        return False
    return True


def _landlock_version() -> int:
    """Version of the kernel's Landlock interface; 0 where there is none."""
    if platform.system() != "Linux":
        return 0
    # landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION); the number is the same on every architecture
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
