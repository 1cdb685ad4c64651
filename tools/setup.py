"""Make ``.venv``, the environment that every target of the Makefile uses; says what it does, and does nothing twice.

Standard library only, because it runs before anything is installed. Needs Python 3.11 or newer, and no root.
"""

import argparse
import glob
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile

if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before pip could tell)
    names = [f"python3.{minor}" for minor in range(11, 15)]
    newer = [name for name in names if shutil.which(name) and subprocess.call([name, "-c", ""], stderr=subprocess.DEVNULL) == 0]
    here = f"This machine has {newer[0]}: say PYTHON={newer[0]}." if newer else "Install one, then say PYTHON=<its path>."
    sys.exit(f"pgcourse needs Python 3.11 or newer; {sys.executable} is {platform.python_version()}. {here}")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "pgcourse-setup.json")
CONSTRAINTS = os.path.join(ROOT, "constraints.txt")
OLDEST_TORCH = (2, 6)  # as in pyproject.toml


def main():
    """Bring ``.venv`` up to date with pyproject.toml and constraints.txt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests need")
    parser.add_argument("--torch", choices=("", "cpu", "system"), default="", help="which torch: see the Makefile")
    parser.add_argument("--torch-index", default="", help="address of a package index that has the CPU-only torch")
    parser.add_argument("--system-packages", action="store_true", help="browser and bubblewrap for the tests, where possible")
    options = parser.parse_args()
    if not is_ready(options.dev):
        make_environment(system_site_packages=options.torch == "system")
        install_torch(options.torch, options.torch_index)
        install_course(options.dev)
        write_stamp(options.dev)
        say("The environment is ready.")
    if options.system_packages:
        install_system_packages()


def say(text):
    """One line on what is going on, at once even where the output is a pipe."""
    print(f"pgcourse: {text}", flush=True)


def fail(text):
    """End with a message."""
    sys.exit(f"pgcourse: {text}")


def run(*command, quiet=False, **options):
    """Whether the command succeeded; what it prints is shown, unless quiet."""
    if quiet:
        options.update(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.run(command, check=False, **options).returncode == 0


# Is there anything to do?


def inputs():
    """What the environment depends on. The folder is part of it: an environment that was moved or copied does not work."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return {"folder": ROOT, "sha256": digest.hexdigest()}


def read_stamp():
    """What the last complete setup wrote, or an empty dictionary."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def write_stamp(dev):
    """Note that the setup came to its end."""
    with open(STAMP, "w", encoding="utf-8") as file:
        json.dump({**inputs(), "dev": dev or read_stamp().get("dev", False)}, file)


def is_ready(dev):
    """Whether the environment is complete and up to date."""
    stamp = read_stamp()
    return os.path.exists(PYTHON) and stamp.get("dev", False) >= dev and stamp == {**inputs(), "dev": stamp.get("dev")}


# The environment itself


def make_environment(system_site_packages):
    """An environment with pip in it: the one that is there, where it works, or a new one."""
    elsewhere = read_stamp().get("folder", ROOT) != ROOT
    if os.path.isdir(VENV) and not elsewhere and has_pip():
        say("Something the environment depends on has changed: bringing .venv up to date.")
        return
    say(f"Making the environment .venv with Python {platform.python_version()} ({sys.executable}).")
    command = [sys.executable, "-m", "venv", "--clear", *["--system-site-packages"] * system_site_packages, VENV]
    # Debian and Ubuntu ship Python without the part of venv that installs pip.
    if importlib.util.find_spec("ensurepip") and run(*command) and has_pip():
        return
    say("This Python cannot install pip by itself (Debian keeps that part in python3-venv): going another way.")
    if not run(*command, "--without-pip"):
        fail(f"{sys.executable} could not make an environment in {VENV} (see above).")
    if not (pip_from_pip() or pip_from_debian()):
        fail(
            "found no way to get pip. Install it (on Debian and Ubuntu: `sudo apt-get install python3-venv`), or use another "
            "Python: PYTHON=<its path>. Then run this again."
        )


def has_pip():
    """Whether the environment runs and has pip."""
    return os.path.exists(PYTHON) and run(PYTHON, "-m", "pip", "--version", quiet=True)


def pip_from_pip():
    """Let a pip that is installed outside put pip into the environment."""
    return run(sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip", quiet=True) and has_pip()


def pip_from_debian():
    """Take pip, and the certificates with which to download, from Debian's packages, unpacked and not installed: no root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return False
    with tempfile.TemporaryDirectory() as folder:
        say("Downloading pip from the Debian (or Ubuntu) archive; nothing is installed on the system.")
        if not download_packages(folder, "python3-pip-whl", "ca-certificates"):
            return False
        wheels = glob.glob(f"{folder}/usr/share/python-wheels/pip-*.whl")
        if not wheels:
            return False
        environment = {**os.environ}
        if not os.path.exists("/etc/ssl/certs/ca-certificates.crt"):
            environment.setdefault("PIP_CERT", join_certificates(folder))
        return run(PYTHON, f"{wheels[0]}/pip", "install", "--quiet", "pip", env=environment) and has_pip()


def download_packages(folder, *names):
    """Download Debian packages and unpack them into the folder; whether that worked."""
    # First with the system's package lists, then, where these are missing or outdated, with lists of our own.
    own = ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache", "-o", "APT::Sandbox::User="]
    for lists in ([], own):
        for part in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, part), exist_ok=True)
        if lists and not run("apt-get", *lists, "update", quiet=True):
            continue
        if run("apt-get", *lists, "download", *names, cwd=folder, quiet=True):
            return all(run("dpkg-deb", "-x", package, folder) for package in glob.glob(f"{folder}/*.deb"))
    return False


def join_certificates(folder):
    """One file of all certificates in the unpacked package."""
    path = os.path.join(folder, "certificates.pem")
    with open(path, "wb") as joined:
        for name in sorted(glob.glob(f"{folder}/usr/share/ca-certificates/**/*.crt", recursive=True)):
            with open(name, "rb") as file:
                joined.write(file.read() + b"\n")
    return path


# What goes into it


def pip_install(torch, *arguments):
    """Whether pip could install this, in the versions of constraints.txt but with the torch given."""
    with open(CONSTRAINTS, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("torch==")]
    with tempfile.TemporaryDirectory() as folder:
        pins = os.path.join(folder, "constraints.txt")
        with open(pins, "w", encoding="utf-8") as file:
            file.writelines([*lines, f"torch=={torch}\n"])
        return run(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-c", pins, *arguments, cwd=ROOT)


def install_torch(choice, index):
    """torch as pinned, unless the environment has a usable one already."""
    pinned = torch_pin()
    found = torch_in_environment()
    if found:
        say(f"torch {found} is already there and is used.")
        return
    if choice == "system":
        fail(f"TORCH=system, but {sys.executable} has no torch {'.'.join(map(str, OLDEST_TORCH))} or newer.")
    linux = platform.system() == "Linux"
    if choice == "cpu" and linux:
        install_cpu_torch(pinned, index)
        return
    say(f"Downloading torch {pinned}: {'up to 2.7 GB, 5 GB on disk, because it contains CUDA.' if linux else '0.1 to 0.2 GB.'}")
    if linux:
        say("Everything in the course runs without a GPU too, and then torch is 0.2 GB: to have it so, press Ctrl-C and say")
        say("    make lab TORCH=cpu      (or make test TORCH=cpu)")
    need_space(8 if linux else 3)
    if not pip_install(pinned, "torch"):
        fail("pip could not install torch (see above). What has been downloaded is kept: run this again to go on.")


def install_cpu_torch(pinned, index):
    """torch without CUDA, which on Linux is a version of its own that not every package index has."""
    say(f"Downloading torch {pinned} without CUDA: 0.2 GB.")
    need_space(3)
    if pip_install(f"{pinned}+cpu", "torch", *(["--extra-index-url", index] if index else [])):
        return
    fail(
        f"pip found no CPU-only torch {pinned} {'at ' + index if index else 'where it looks by default'} (see above).\n"
        "torch keeps it in an index of its own: on pytorch.org, Get Started, choose Linux, Pip, Python, CPU, and copy the\n"
        "address after --index-url (or --extra-index-url); then\n"
        "    make lab TORCH=cpu TORCH_INDEX=<that address>"
    )


def install_course(dev):
    """This course, with the exact versions of constraints.txt for all that it needs."""
    size = "0.3 GB" if dev else "0.1 GB"
    say(f"Installing the course and what it needs (JupyterLab, matplotlib, MuJoCo ...): {size} to download.")
    if not pip_install(torch_in_environment(), "-e", ".[dev]" if dev else "."):
        fail("pip could not install everything (see above). What has been downloaded is kept: run this again to go on.")
    quiet_jupyterlab()


def quiet_jupyterlab():
    """JupyterLab in this environment does not begin with a question about news, nor ask the network for any."""
    folder = os.path.join(VENV, "share", "jupyter", "lab", "settings")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "overrides.json"), "w", encoding="utf-8") as file:
        json.dump({"@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"}}, file)


def torch_pin():
    """The version of torch in constraints.txt."""
    with open(CONSTRAINTS, encoding="utf-8") as file:
        return next(line.strip().removeprefix("torch==") for line in file if line.startswith("torch=="))


def torch_in_environment():
    """Version of the torch that the environment has, or "" when it has none that is new enough."""
    command = [PYTHON, "-c", "from importlib.metadata import version; print(version('torch'))"]
    version = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return version if numbers >= OLDEST_TORCH else ""


def need_space(gigabytes):
    """Say so when the disk may be too small."""
    free = shutil.disk_usage(VENV).free / 1e9
    if free < gigabytes:
        say(f"Warning: {free:.1f} GB are free on this disk; the environment may need {gigabytes} GB.")


# What the tests use besides: a browser, and isolation for graded code


def install_system_packages():
    """Chromium and bubblewrap, on Debian and as root; elsewhere say what is missing. The tests skip what they lack."""
    missing = [name for name, command in (("chromium", "chromium"), ("bubblewrap", "bwrap")) if not shutil.which(command)]
    if not missing:
        return
    names = " ".join(missing)
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and is_debian()):
        say(f"Not installed here: {names}. Tests that need them are skipped; to have them: sudo apt-get install {names}")
        return
    say(f"Installing for the tests, with apt-get: {names}.")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing)
    if not run(*install, env=quiet, quiet=True):  # perhaps the package lists are missing or old
        run("apt-get", "update", quiet=True)
        if not run(*install, env=quiet, quiet=True):
            say(f"That did not work; `apt-get install {names}` says why. Tests that need them are skipped.")


def is_debian():
    """Whether this is Debian itself: Ubuntu's chromium package is a snap, which containers and CI machines cannot run."""
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


if __name__ == "__main__":
    main()
