"""Lecture 02's drawing functions: what they compute is right, and they draw at the ends of their controls."""

import itertools

import numpy as np
import pytest
import torch

from pgcourse import figures_02, plots


def throw(theta, noise):
    return (10 * (1 + 0.05 * noise[..., 0])) ** 2 * torch.sin(2 * theta[..., 0]) / 9.81


def mean(theta):
    return 100 * (1 + 0.05**2) * torch.sin(2 * theta[..., 0]) / 9.81


def test_errors_of_a_noiseless_difference_follow_taylor_on_the_right():
    """(2.2) and (2.3), at a step of 0.01: root mean squares over angles from 0.35 to 0.45."""
    at = int((figures_02.EXPONENTS + 2).abs().argmin())
    theta = torch.linspace(0.35, 0.45, 100, dtype=torch.float64)[:, None]
    forward, central = (
        figures_02.errors(throw, mean, name, "float64", figures_02.LUCK[0])[at] for name in ("forward", "central")
    )
    slope = 2 * 100 * (1 + 0.05**2) / 9.81 * torch.cos(2 * theta)
    assert float(forward) == pytest.approx(0.01 / 2 * 4 * float(mean(theta).square().mean().sqrt()), rel=0.02)
    assert float(central) == pytest.approx(0.01**2 / 6 * 4 * float(slope.square().mean().sqrt()), rel=0.02)


def test_luck_makes_small_steps_useless_unless_it_is_shared():
    none, new, same = (figures_02.errors(throw, mean, "central", "float64", luck) for luck in figures_02.LUCK)
    assert new[20] > 1e6 * none[20]  # a step of 1e-10
    assert same[40] < 1.0 < 100.0 < new[40]  # of 1e-5


@pytest.mark.parametrize(
    ("difference", "numbers", "luck"),
    list(itertools.product(figures_02.ESTIMATORS, ("float64", "float32"), figures_02.LUCK)),
)
@pytest.mark.parametrize("log10_step", [-15.0, 0.0])
def test_vee_draws(difference, numbers, luck, log10_step):
    _, axes = plots.figure(columns=2)
    figures_02.vee(axes, throw, mean, difference, numbers, luck, log10_step)
    curve, here = axes[1].lines
    assert np.isfinite(curve.get_ydata()).all()
    low, high = axes[1].get_ylim()
    assert low < here.get_ydata()[0] < high, "the mark is in the picture"


@pytest.mark.parametrize("end", [0, 1])
def test_robot_draws_and_feet_touch_the_ground(end):
    controls = {name: value[end] for name, value in figures_02.ROBOT.items() if name != "size"}
    figure, ax = plots.figure()
    figures_02.robot(ax, **controls)
    assert plots.svg(figure).startswith(b"<?xml")
    feet = [line.get_ydata()[2] for line in ax.lines if len(line.get_ydata()) == 3]
    assert len(feet) == 4
    assert min(feet) < 1e-6 or controls["body_height"] >= 140


def test_race_puts_the_reference_behind_every_method():
    curves = {name: 300 + np.random.default_rng(0).normal(size=(5, 7)).cumsum(1) for name in "abcdef"}
    figure, axes = plots.figure(rows=2, columns=3)
    figures_02.race(axes, curves, 45, 290.0, "f")
    assert [ax.get_title() for ax in axes.ravel()[:5]] == list("abcde")
    assert "5 replicas" in axes.ravel()[5].get_legend().get_texts()[0].get_text()
    assert plots.svg(figure).startswith(b"<?xml")


def test_promises_draws():
    figure, ax = plots.figure()
    figures_02.promises(ax, np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    assert plots.svg(figure).startswith(b"<?xml")
