"""The two commands: what they install, when they do nothing, and what they say. Nothing here touches the network."""

import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SETUP = ROOT / "tools" / "setup.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#"))

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """tools/setup.py, for a project in a folder of its own."""
    specification = importlib.util.spec_from_file_location("setup_under_test", SETUP)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    places = {"ROOT": tmp_path, "VENV": venv, "PYTHON": venv / "bin" / "python", "STAMP": venv / "stamp.json"}
    for name, path in {**places, "CONSTRAINTS": tmp_path / "constraints.txt"}.items():
        monkeypatch.setattr(module, name, str(path))
    return module


# Versions


def test_every_dependency_has_one_exact_version_inside_its_range():
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    for line in [*PROJECT["dependencies"], *extras]:
        requirement = Requirement(line)
        pins = {name.lower().replace("_", "-"): version for name, version in PINS.items()}
        assert pins[requirement.name.lower()] in requirement.specifier, line


def test_the_versions_that_were_measured_to_work_are_pinned():
    assert (PINS["torch"], PINS["mujoco"], PINS["gymnasium"]) == ("2.13.0", "3.11.0", "1.4.0")


def test_every_pin_is_a_plain_release():
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in PINS.values())  # no +cpu, no file, no address


def test_the_oldest_torch_is_the_one_of_the_project(setup):
    (line,) = (line for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert line == f"torch>={'.'.join(map(str, setup.OLDEST_TORCH))}"


def test_no_package_index_is_named():
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "tools/setup.py", ".ci/run"):
        assert not re.search(r"https?://|index-url \S+\.", (ROOT / name).read_text()), name


# When there is nothing to do


def test_a_finished_setup_is_not_repeated(setup):
    assert not setup.is_ready(dev=False)
    setup.write_stamp(dev=False)
    assert setup.is_ready(dev=False)
    assert not setup.is_ready(dev=True)
    setup.write_stamp(dev=True)
    assert setup.is_ready(dev=True)
    assert setup.is_ready(dev=False)


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_needed_is_noticed(setup, tmp_path, name):
    setup.write_stamp(dev=True)
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    assert not setup.is_ready(dev=False)


def test_an_environment_that_was_copied_is_not_used(setup, tmp_path, monkeypatch):
    setup.write_stamp(dev=True)
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(tmp_path / name, copied / name)
    monkeypatch.setattr(setup, "ROOT", str(copied))
    assert not setup.is_ready(dev=False)


def test_an_environment_that_lost_its_python_is_not_used(setup):
    setup.write_stamp(dev=True)
    Path(setup.PYTHON).unlink()
    assert not setup.is_ready(dev=False)


def test_a_damaged_stamp_means_not_ready(setup):
    Path(setup.STAMP).write_text("{")
    assert not setup.is_ready(dev=False)


# What is installed


@pytest.fixture
def pip(setup, monkeypatch):
    """What pip was asked for: (torch pinned, arguments). ``pip.found`` is the torch that is there, ``pip.works`` its luck."""

    class Pip(list):
        found = ""
        works = True

        def __call__(self, torch, *arguments):
            self.append((torch, arguments))
            return self.works

    calls = Pip()
    monkeypatch.setattr(setup, "pip_install", calls)
    monkeypatch.setattr(setup, "torch_in_environment", lambda: calls.found)
    monkeypatch.setattr(setup.platform, "system", lambda: "Linux")
    return calls


def test_torch_is_the_pinned_one_and_its_size_and_the_way_round_are_said_first(setup, pip, capsys):
    setup.install_torch("", "")
    assert pip == [("2.13.0", ("torch",))]
    said = capsys.readouterr().out
    assert "2.7 GB" in said
    assert "make lab TORCH=cpu" in said


def test_a_torch_that_is_there_is_used(setup, pip, capsys):
    pip.found = "2.9.1+cu128"
    setup.install_torch("", "")
    setup.install_course(dev=True)
    assert pip == [("2.9.1+cu128", ("-e", ".[dev]"))]
    assert "2.9.1+cu128 is already there" in capsys.readouterr().out


def test_torch_without_cuda_comes_from_the_index_given(setup, pip):
    setup.install_torch("cpu", "somewhere")
    assert pip == [("2.13.0+cpu", ("torch", "--extra-index-url", "somewhere"))]


def test_where_pip_has_no_torch_without_cuda_it_is_said_where_to_find_it(setup, pip):
    pip.works = False
    with pytest.raises(SystemExit, match="TORCH_INDEX=<that address>"):
        setup.install_torch("cpu", "")


def test_a_torch_of_the_system_must_be_there(setup, pip):
    with pytest.raises(SystemExit, match="TORCH=system, but"):
        setup.install_torch("system", "")


def test_a_failed_download_says_what_to_do(setup, pip):
    pip.works = False
    for install in (lambda: setup.install_torch("", ""), lambda: setup.install_course(dev=False)):
        with pytest.raises(SystemExit, match="run this again to go on"):
            install()


def test_the_stamp_is_written_last(setup, monkeypatch):
    monkeypatch.setattr(setup, "make_environment", lambda **_: None)
    monkeypatch.setattr(setup, "install_torch", lambda *_: None)
    monkeypatch.setattr(setup, "install_course", lambda dev: setup.fail("interrupted"))
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    with pytest.raises(SystemExit, match="interrupted"):
        setup.main()
    assert not setup.is_ready(dev=False)


def test_without_any_pip_the_ways_to_get_one_are_said(setup, monkeypatch, capsys):
    monkeypatch.setattr(setup, "has_pip", lambda: False)
    monkeypatch.setattr(setup, "run", lambda *command, **_: "--without-pip" in command)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="sudo apt-get install python3-venv"):
        setup.make_environment(system_site_packages=False)
    assert "going another way" in capsys.readouterr().out


def test_an_older_python_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        runpy.run_path(str(SETUP), run_name="__main__")


# Programs of the system


@pytest.mark.parametrize(("root", "debian"), [(False, True), (True, False)])
def test_nothing_is_installed_on_the_system_where_that_is_not_ours_to_do(setup, monkeypatch, capsys, root, debian):
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(setup, "is_debian", lambda: debian)
    monkeypatch.setattr(setup, "run", lambda *_, **__: pytest.fail("something was run"))
    setup.install_system_packages()
    assert "sudo apt-get install chromium bubblewrap" in capsys.readouterr().out


def test_on_debian_and_as_root_what_is_missing_is_installed(setup, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(setup.shutil, "which", lambda name: None if name == "chromium" else f"/usr/bin/{name}")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup, "is_debian", lambda: True)
    monkeypatch.setattr(setup, "run", lambda *command, **_: commands.append(command) or True)
    setup.install_system_packages()
    assert [command[-1] for command in commands] == ["chromium"]


# make


@needs_make
def test_make_lists_its_targets():
    said = subprocess.run(["make", "-C", ROOT, "--no-print-directory"], capture_output=True, text=True, check=True).stdout
    for target in ("lab", "test", "check", "pages", "bench", "clean"):
        assert re.search(rf"^make {target} +[A-Z]", said, re.MULTILINE)


@needs_make
def test_arguments_reach_jupyterlab_and_clean_keeps_the_learners_work():
    dry = ["make", "-C", ROOT, "-n"]
    lab = subprocess.run([*dry, "lab", "ARGS=--no-browser"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"jupyterlab .*\\\n.*00_start\.ipynb --no-browser", lab)
    clean = subprocess.run([*dry, "clean"], capture_output=True, text=True, check=True).stdout
    assert "my-course" not in clean
    assert "runs" not in clean


def test_continuous_integration_runs_make_test():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make --no-print-directory test"
