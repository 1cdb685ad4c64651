"""Lecture 13's drawing functions: what they compute is right, and they draw at the ends of their controls."""

import pytest
import torch

from pgcourse import figures_13, plots

F64 = torch.float64


@pytest.mark.parametrize("wire", [True, False])
def test_three_coins_are_a_distribution_and_their_arrows_are_those_drawn(wire):
    zero = torch.zeros(3, dtype=F64)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=F64)] * 3)
    log_probability, price = figures_13.three_coins(zero, every, wire)
    torch.testing.assert_close(log_probability.sum(-1).exp().sum(), torch.tensor(1.0, dtype=F64))
    expected = log_probability.sum(-1).exp() @ price
    for i in range(3):  # a cost's mean answers to a coin's logit where and only where there is a way
        moved, _ = figures_13.three_coins(zero + torch.eye(3, dtype=F64)[i], every, wire)
        changed = (moved.sum(-1).exp() @ price - expected).abs() > 1e-9
        assert torch.equal(changed, figures_13.reached(wire)[i].bool())


@pytest.mark.parametrize("wire", [True, False])
def test_estimates_center_where_they_should(wire):
    found, truth = figures_13.estimates(wire, 100, seed=1)
    spread = {name: values.std(0) for name, values in found.items()}
    error = {name: (values.mean(0) - truth) / (spread[name] / figures_13.SETS**0.5) for name, values in found.items()}
    # six numbers, each beyond 5 by chance with probability 6e-7
    assert error["every cost"].abs().max() < 5
    assert error["what it reaches"].abs().max() < 5
    assert (spread["what it reaches"][1:] < spread["every cost"][1:]).all()
    biased = error["its own cost"].abs() > 10
    assert biased.tolist() == [True, wire, False]


@pytest.mark.parametrize(("coin", "wire", "tosses"), [("A", True, 1), ("C", False, 100), ("B", True, 10)])
def test_credit_draws(coin, wire, tosses):
    figure, axes = plots.figure(columns=2)
    figures_13.credit(axes, coin, wire, tosses)
    answers = {"A": "f, g, h", "B": "g, h", "C": "h"}[coin]
    assert axes[0].get_title() == f"{coin} answers for {answers}"
    assert plots.svg(figure).startswith(b"<?xml")


def test_graph_draws_what_it_is_given():
    figure, ax = plots.figure()
    figures_13.graph(
        ax,
        {"x": (0, 1)},
        {"f": (0, 0)},
        ["θ x", "x f"],
        others={"θ": (-1.5, 1)},
        paints={"x": "score_function"},
        plates={"day": (-0.5, -0.5, 1, 2)},
    )
    assert [text.get_text() for text in ax.texts] == ["day", "θ", "x", "f"]
    assert len(ax.patches) == 1 + 2 + 3
    assert plots.svg(figure).startswith(b"<?xml")


def test_bends_draw():
    figure, axes = plots.figure(columns=2)
    figures_13.bends(axes, range(3), torch.rand(3, 2), {"a": torch.rand(4, 3, 2)}, {"a": "biased"})
    for ax in axes:
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["exact", "a: 4 replicas"]
    assert plots.svg(figure).startswith(b"<?xml")


def test_digits_are_ten_different_ones():
    digits = figures_13.digits()
    assert digits.shape == (10, 15)
    assert len(digits.unique(dim=0)) == 10
    assert digits.sum(1).tolist() == [12, 8, 11, 10, 9, 11, 12, 7, 13, 12]  # the ink of 0 to 9, counted by eye
