"""Lecture 09's drawing functions: what they compute is right, and they draw at the ends of their controls."""

import numpy as np
import pytest
import torch

from pgcourse import exact, figures_09, plots
from pgcourse.envs import tabular

F64 = torch.float64


def test_what_is_known_of_the_walker():
    table, mdp = figures_09.walked(), tabular.aliased_gridworld(time_limit=None)
    q = torch.tensor([0.2, 0.2 + 1e-5, 0.2 - 1e-5], dtype=F64)
    value = exact.expected_return(mdp, figures_09.walker(mdp, q), 0.9)
    assert np.interp(0.2, table["q"], table["value"]) == pytest.approx(value[0].item(), abs=1e-5)
    assert np.interp(0.2, table["q"], table["slope"]) == pytest.approx(((value[1] - value[2]) / 2e-5).item(), abs=1e-3)
    assert table["q"][table["value"].argmax()] == pytest.approx(0.5, abs=2e-3)


def test_rules_of_the_walker():
    """The surrogate leads to the far end, the constraint to its edge, the penalised surrogate not as far as the top; and where
    the whole C is charged, J cannot fall."""
    table = figures_09.walked()
    share = np.interp(0.2, table["q"], table["share"])
    assert figures_09.goal("surrogate", 0.2, 1.0, 0.1) == 1 - figures_09.EDGE
    assert figures_09.goal("surrogate", 0.8, 1.0, 0.1) == figures_09.EDGE
    there = figures_09.goal("constraint", 0.2, 1.0, 0.01)
    assert 0.9 * 0.01 < share * figures_09.kl_of_coins(0.2, there) <= 0.01
    for q in (0.05, 0.3, 0.49, 0.7):
        safe = figures_09.goal("penalty", q, 1.0, 0.1)
        assert np.interp(safe, table["q"], table["value"]) >= np.interp(q, table["q"], table["value"])
        assert (safe - q) * (0.5 - q) > 0


@pytest.mark.parametrize("stand", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("exponent", [-4.0, 0.0])
def test_promise_draws(stand, exponent):
    figure, axes = plots.figure(columns=2)
    figures_09.promise(axes, stand, exponent, exponent)
    assert plots.svg(figure).startswith(b"<?xml")


def test_slopes_of_the_two_loops():
    """The gradient by differences, and the Fisher matrix as the explicit sum over states and actions."""
    theta = torch.tensor([0.5, -2.0], dtype=F64)
    value, slope, fisher = figures_09.slopes(theta)
    for i in range(2):
        step = torch.zeros(2, dtype=F64)
        step[i] = 1e-6
        difference = (figures_09.slopes(theta + step)[0] - figures_09.slopes(theta - step)[0]) / 2e-6
        assert slope[i].item() == pytest.approx(difference.item(), rel=1e-5)
        moved = figures_09.loops_policy(theta + 1e3 * step)
        old = figures_09.loops_policy(theta)
        weight = exact.state_weight(figures_09.two_loops(), old, figures_09.DISCOUNT)
        kl = (weight * (old * (old / moved).log()).sum(-1)).sum()
        assert kl.item() * 2e6 == pytest.approx(fisher[i].item(), rel=1e-2)
    assert value > 0


def test_the_natural_way_does_not_depend_on_the_parameters_and_the_plain_one_does():
    (first, _), (second, _) = (figures_09.paths((0.5, -2.0), stretch, 0.01, 10) for stretch in (1.0, 4.0))
    torch.testing.assert_close(first[:, 1], second[:, 1])
    assert (first[:, 0] - second[:, 0]).abs().max() > 0.3


def test_steps_have_the_same_divergence():
    path, _ = figures_09.paths((0.5, -2.0), 2.0, 1e-4, 1)
    old = figures_09.loops_policy(path[0])
    weight = exact.state_weight(figures_09.two_loops(), old, figures_09.DISCOUNT)
    kl = (weight * (old * (old / figures_09.loops_policy(path[1])).log()).sum(-1)).sum(-1)
    torch.testing.assert_close(kl, torch.full((2,), 1e-4, dtype=F64), rtol=0.05, atol=0)


@pytest.mark.parametrize("corner", [(-3.0, 3.0), (3.0, -3.0), (3.0, 3.0)])
def test_arrows_draw(corner):
    figure, axes = plots.figure(columns=2)
    figures_09.arrows(axes, *corner, stretch=5.0, delta=0.05)
    assert plots.svg(figure).startswith(b"<?xml")


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=2)
    figures_09.gaps(axes[0], torch.tensor([0.1, 1.0]), torch.tensor([0.01, 0.2]), 3.0)
    assert axes[0].lines[1].get_ydata().tolist() == pytest.approx([0.3, 3.0])
    ways = {"whole step": torch.rand(4, 3) + 0.5, "after the search": torch.rand(4, 3)}
    figures_09.taken(axes, [0.1, 0.2, 0.3], {"damping 0.1": ways, "damping 0.001": ways})
    assert plots.svg(figure).startswith(b"<?xml")
