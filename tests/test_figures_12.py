"""Lecture 12's drawing functions: what they compute is right, and they draw at the ends of their controls."""

import numpy as np
import pytest
import torch

from pgcourse import figures_12, plots

F64 = torch.float64


@pytest.mark.parametrize("log10_temperature", [-1.0, 1.0])
@pytest.mark.parametrize("favourite", [0.0, 2.0])
def test_simplex_draws_and_says_the_shares(log10_temperature, favourite):
    figure, axes = plots.figure(columns=2)
    figures_12.simplex(axes, log10_temperature, favourite)
    p = torch.tensor([favourite, 0.0, -0.5], dtype=F64).softmax(0)
    for text, chance in zip(axes[0].texts, p.tolist(), strict=True):
        share, _, true = text.get_text().split("\n")[1].partition(" ")
        assert true == f"({chance:.0%})"
        assert abs(float(share[:-1]) / 100 - chance) < 6 * (chance * (1 - chance) / 600) ** 0.5 + 0.005
    assert plots.svg(figure).startswith(b"<?xml")


def test_relaxed_gradient_trades_bias_for_noise():
    bias, noise = figures_12.relaxed_gradient(1.0)
    assert len(bias) == len(noise) == len(figures_12.TEMPERATURES)
    assert (np.diff(noise) < 0).all()
    assert bias[0] < 0.1 * bias[-1]


def test_shares_do_not_depend_on_the_temperature():
    words = []
    for log10_temperature in (-1.0, 1.0):
        _, axes = plots.figure(columns=2)
        figures_12.simplex(axes, log10_temperature)
        words.append([text.get_text() for text in axes[0].texts])
    assert words[0] == words[1]


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.98])
def test_chord_agrees_at_one_half_for_a_quadratic(probability):
    figure, axes = plots.figure(columns=2)
    figures_12.chord(axes, lambda b: (1.6 * b.sum(-1) - 0.5).square(), probability)
    truth, through = (line.get_ydata()[0] for line in axes[1].lines if len(line.get_xdata()) == 1)
    assert (truth == pytest.approx(through)) == (probability == 0.5)
    assert plots.svg(figure).startswith(b"<?xml")


def test_the_other_pictures_draw():
    figure, axes = plots.figure(columns=2, rows=2)
    figures_12.comparison(axes[0], {"a": (0.1, 0.2), "b": (0, 0)}, {"a": 1.0, "b": 0.0}, {"a": "biased", "b": "baseline"})
    assert [text.get_text() for text in axes[0][1].texts] == ["none"]
    figures_12.panels(axes[1][:1], range(3), {"a": torch.rand(4, 3)}, {"a": "biased"})
    figures_12.pictures(axes[1][1], {"drawn": torch.rand(2, 5, 3), "redrawn": torch.rand(2, 5, 3)})
    assert axes[1][1].images[0].get_array().shape == (14, 10)
    assert plots.svg(figure).startswith(b"<?xml")
