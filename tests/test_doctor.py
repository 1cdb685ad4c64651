"""Probes report what is there, and for what is missing one line on what to do."""

import sys

import pytest

from pgcourse import doctor


@pytest.fixture
def bare(monkeypatch):
    """A machine without browser and isolation."""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "_landlock_version", lambda: 0)


def test_what_is_missing_comes_with_a_remedy(bare):
    for finding in (doctor._browser(), doctor._bubblewrap(), doctor._landlock(), doctor._isolation()):
        assert not finding.works
        assert not finding.essential
        assert len(finding.remedy.splitlines()) == 1


def test_bubblewrap_that_cannot_isolate_is_not_called_working(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "_succeeds", lambda command, timeout, **options: False)
    finding = doctor._bubblewrap()
    assert not finding.works
    assert "cannot isolate" in finding.found


@pytest.mark.parametrize(
    ("bubblewrap", "group", "landlock", "level"),
    [(True, True, 7, "S3"), (True, False, 0, "S2"), (False, True, 3, "S1"), (False, True, 2, "S0"), (False, False, 0, "S0")],
)
def test_the_isolation_level_is_named(bubblewrap, group, landlock, level, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "_succeeds", lambda command, timeout, **options: bubblewrap)
    monkeypatch.setattr(doctor, "_has_control_group", lambda: group)
    monkeypatch.setattr(doctor, "_landlock_version", lambda: landlock)
    assert doctor._isolation().found.startswith(level)


def test_a_package_that_cannot_be_imported_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert "cannot be imported" in doctor._mujoco().found
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor._torch().essential
    assert not doctor._torch().works


def test_what_works_here():
    assert doctor._python().works
    assert doctor._torch().works
    assert doctor._jupyter().works


def test_rendering_is_tried_in_order_and_a_given_backend_alone(monkeypatch):
    tried = []

    def fails(command, timeout, env, cwd):
        tried.append(env.get("MUJOCO_GL"))
        return False

    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor, "_succeeds", fails)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert doctor.rendering() is None
    assert tried == ["egl", "osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert doctor.rendering() is None
    assert tried[2:] == ["glfw"]
    assert not doctor._rendering().works


def test_a_probe_that_hangs_or_is_not_there_has_failed():
    assert not doctor._succeeds([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)
    assert not doctor._succeeds(["/no/such/program"], timeout=1)
    assert doctor._succeeds([sys.executable, "-c", ""], timeout=60)
