"""The lectures' drawing functions: what they compute is right, and they draw at the ends of their controls."""

import numpy as np
import pytest
import torch

from pgcourse import figures, plots, quizzes

# Lecture 03


def rings(x):
    """Three discs, as in lecture 03."""
    distance = x.norm(dim=-1)
    return sum((distance < radius).to(x.dtype) for radius in (0.5, 1.0, 1.5))


@pytest.mark.parametrize("aim", [(-1.0, -0.6), (0.3, 0.0), (1.9, -1.2)])
@pytest.mark.parametrize("spread", [0.3, 0.6, 1.2])
def test_expected_pull_is_the_closed_form_gradient_for_discs(aim, spread):
    """A disc of radius r is hit from distance m with dP/dm = -(r/s^2) exp(-(r-m)^2/(2 s^2)) I1e(r m/s^2)."""
    aim = torch.tensor(aim, dtype=torch.float64)
    radius, m = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64), aim.norm()
    slope = -radius / spread**2 * (-((radius - m) ** 2) / (2 * spread**2)).exp() * torch.special.i1e(radius * m / spread**2)
    torch.testing.assert_close(figures.expected_pull(rings, aim, spread), slope.sum() * aim / m, atol=5e-3, rtol=5e-3)


def test_expected_pull_of_a_linear_landscape_is_its_slope():
    pull = figures.expected_pull(lambda x: 2 * x[..., 0] - x[..., 1] + 5, torch.tensor([0.4, -1.0], dtype=torch.float64), 0.7)
    torch.testing.assert_close(pull, torch.tensor([2.0, -1.0], dtype=torch.float64), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("throws", [1, 12, 200])
@pytest.mark.parametrize("subtract", [0.0, 2.0])
def test_darts_draw(throws, subtract):
    figure, axes = plots.figure(columns=2)
    figures.darts(axes, rings, across=0.0, up=0.0, spread=0.3, throws=throws, subtract=subtract)
    assert f"{throws} pull" in axes[1].get_title()
    assert plots.svg(figure).startswith(b"<?xml")


@pytest.mark.parametrize(("spread", "factor", "reach"), [(0.6, 1.0, 3), (0.3, 2.0, 12), (1.2, 0.5, 3)])
def test_darts_average_stays_within_its_axes(spread, factor, reach):
    _, axes = plots.figure(columns=2)
    figures.darts(axes, rings, spread=spread, factor=factor)
    assert axes[1].get_xlim() == axes[1].get_ylim() == (-reach, reach)
    (cloud,) = [line for line in axes[1].lines if line.get_marker() == "o"]
    inside = abs(cloud.get_xydata()).max(1) < reach
    assert inside.mean() > 0.89


def test_histograms_say_what_is_zero_and_what_lies_outside():
    generator = torch.Generator().manual_seed(0)
    some = torch.cat([torch.zeros(250), torch.full((30,), 9.0), torch.rand(720, generator=generator)])
    narrow = 1 + 0.01 * torch.randn(1000, generator=generator)
    _, axes = plots.figure(rows=2)
    figures.histograms(axes, {"some": some, "narrow": narrow}, 1.0, span=(-3, 7))
    assert [text.get_text().split()[0] for text in axes[0].texts] == ["25%", "3.0%"]
    assert not axes[1].texts
    (bars,) = [patch for patch in axes[1].patches if hasattr(patch, "get_data")]
    assert (bars.get_data().values > 0).sum() >= 3  # not a single bar


def test_nudges_write_every_change_beside_its_bar():
    _, axes = plots.figure(columns=2)
    figures.nudges(axes, [torch.tensor([0.1, 0.2]), torch.tensor([-0.1, 0.003])], torch.tensor([1.0, 6.0]))
    assert [text.get_text() for text in axes[1].texts] == ["-0.100", "+0.003"]


def test_darts_draw_on_a_landscape_of_the_readers_own():
    for landscape in (lambda x: torch.zeros_like(x[..., 0]), lambda x: -x.square().sum(-1)):
        figure, axes = plots.figure(columns=2)
        figures.darts(axes, landscape)
        assert plots.svg(figure).startswith(b"<?xml")


def test_baseline_draws_and_marks_the_variance_at_b():
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(4, 300, generator=generator)
    pull = score + 1 + 0.1 * torch.randn(4, 300, generator=generator)
    _, axes = plots.figure(columns=2)
    figures.baseline(axes, pull, score, exact=1.0, subtract=1.0)
    (marked,) = [line for line in axes[1].lines if line.get_marker() == "o"]
    assert marked.get_ydata()[0] == pytest.approx(0.01, rel=0.2)  # b = 1 takes all of the score out


def test_aims_draw_at_both_ends():
    path = torch.linspace(-1, 0, 6)[:, None, None].expand(6, 3, 2)
    for step in (0, 5):
        figure, axes = plots.figure(columns=2)
        figures.aims(axes, rings, path, torch.rand(3, 6, generator=torch.Generator().manual_seed(0)).numpy(), 0.6, step)
        assert plots.svg(figure).startswith(b"<?xml")


# Lecture 04


def test_side_by_side_shows_every_learner_and_says_what_is_what():
    figure, axes = plots.figure(rows=2, columns=2)
    curves = {"slow": np.ones((3, 5)), "fast": np.arange(10.0).reshape(2, 5)}
    for row, quantity in zip(axes, ("return", "entropy"), strict=True):
        figures.side_by_side(row, curves, quantity)
    assert [ax.get_title() for ax in axes.flat] == ["slow\n3 learners", "fast\n2 learners", "", ""]
    assert [len([line for line in ax.lines if line.get_linewidth() < 1]) for ax in axes[0]] == [3, 2]
    np.testing.assert_allclose(axes[0, 1].lines[-1].get_ydata(), np.arange(2.5, 7.5))
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["mean", "95 % interval of the mean", "one learner"]
    assert plots.svg(figure).startswith(b"<?xml")


def test_loss_and_return_has_a_dot_for_each_learner():
    _, axes = plots.figure(columns=2)
    loss, value = np.arange(6.0).reshape(3, 2), 10 * np.arange(6.0).reshape(3, 2)
    figures.loss_and_return(axes, loss, value, [5, 45])
    assert [ax.get_title() for ax in axes] == ["update 5", "update 45"]
    np.testing.assert_array_equal(axes[1].lines[0].get_xydata(), [[1, 10], [3, 30], [5, 50]])


def test_dots_have_a_bar_at_their_mean():
    _, ax = plots.figure()
    figures.dots(ax, {"a": [1.0, 3.0], "b": [4.0]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1, 3], [2, 2], [4], [4, 4]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a seed", "their mean"]


@pytest.mark.parametrize("name", [name for name in vars(quizzes) if name.isupper() and name.startswith("LECTURE")])
def test_a_lecture_closes_with_five_questions(name):
    assert len(getattr(quizzes, name)) == 5
