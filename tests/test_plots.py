"""Pictures: the numbers in them, what is drawn, and what drawing while a run goes on costs."""

import base64
import itertools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from pgcourse import plots
from pgcourse.history import History


def run(replicas=4, iterations=30, total=None, seed=0):
    """A history with a noisy, rising return; replica r takes 10 (r + 1) steps an iteration."""
    history, random = History(range(replicas)), np.random.default_rng(seed)
    for iteration in range(iterations):
        extend(history, random.normal(iteration, 1.0, replicas))
    history.total = iterations if total is None else total
    return history


def extend(history, values):
    """One more iteration."""
    metrics = {"return": torch.as_tensor(values), "policy_size": torch.zeros(len(values))}
    history.append(metrics, 10 * (torch.as_tensor(history.active) + 1))
    history.iteration += 1
    history._seconds.append(0.1 * history.iteration)


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- the interval ---


def test_interval_of_three_replicas_is_the_one_of_all_27_resamples():
    values = np.array([[0.0, 1.0], [3.0, -1.0], [12.0, 5.0]])
    means = np.array([values[list(chosen)].mean(0) for chosen in itertools.product(range(3), repeat=3)])
    low, high = plots.bootstrap_interval(values, level=0.8, draws=200_000)
    # 10 % and 90 % of 27 equally likely means fall inside steps of the distribution (1/27, 3/27, 3/27, ...): no tie to break.
    np.testing.assert_allclose(low, np.quantile(means, 0.1, axis=0, method="inverted_cdf"))
    np.testing.assert_allclose(high, np.quantile(means, 0.9, axis=0, method="inverted_cdf"))


def test_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(1).normal(size=(40, 50))
    low, high = plots.bootstrap_interval(values)
    expected = 2 * 1.96 * values.std(0) / np.sqrt(40)
    # 1,000 draws know a 2.5 % quantile of a Gaussian to 8 % of a standard error; the distribution is Gaussian to a few %.
    np.testing.assert_allclose(high - low, expected, rtol=0.2)
    assert ((low < values.mean(0)) & (values.mean(0) < high)).all()


def test_interval_is_deterministic_and_leaves_numpy_alone():
    values = np.random.default_rng(2).normal(size=(8, 5))
    before = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(plots.bootstrap_interval(values), plots.bootstrap_interval(values))
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_interval_where_replicas_stopped_is_that_of_the_others():
    values = np.random.default_rng(3).normal(size=(6, 9))
    values[1, 4:] = np.nan
    values[5, 7:] = np.nan
    low, high = plots.bootstrap_interval(values)
    for points, running in ((slice(0, 4), range(6)), (slice(4, 7), [0, 2, 3, 4, 5]), (slice(7, 9), [0, 2, 3, 4])):
        expected = plots.bootstrap_interval(values[list(running), points])
        np.testing.assert_allclose((low[points], high[points]), expected)


def test_interval_needs_two_replicas():
    values = np.array([[1.0, 2.0, np.nan], [np.nan, 3.0, np.nan]])
    low, high = plots.bootstrap_interval(values)
    assert np.isnan([low[0], high[0], low[2], high[2]]).all()
    assert (low[1], high[1]) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("values", "level", "says"), [([1.0, 2.0], 0.95, "one row per replica"), ([[1.0]], 95, "0.95 for 95 %")]
)
def test_interval_refuses(values, level, says):
    with pytest.raises(ValueError, match=says):
        plots.bootstrap_interval(values, level)


# --- the band ---


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist])
def test_band_draws_mean_interval_and_every_replica(kind):
    x, y = np.arange(20.0), np.random.default_rng(4).normal(size=(5, 20))
    _, ax = plots.figure()
    line = plots.band(ax, kind(x), kind(y), label="score function", color="biased")
    np.testing.assert_allclose(line.get_ydata(), y.mean(0))
    (area,) = [part for part in ax.collections if isinstance(part, PolyCollection)]
    corners = area.get_paths()[0].vertices
    low, high = plots.bootstrap_interval(y)
    for edge in (low, high):
        assert {(a, b) for a, b in zip(x, edge, strict=True)} <= {tuple(corner) for corner in corners}
    thin = [other for other in ax.lines if other is not line and other.get_linestyle() == "-"]
    np.testing.assert_allclose([other.get_ydata() for other in thin], y)
    assert legend_texts(ax) == ["score function: 5 replicas"]
    assert {part.get_color() for part in ax.lines} == {plots.COLORS["biased"]}


def test_band_of_one_replica_has_no_interval_and_says_so():
    _, ax = plots.figure()
    plots.band(ax, [1, 2, 3], [4, 5, 6])
    assert not ax.collections
    assert legend_texts(ax) == ["1 replica"]


def test_band_without_thin_lines():
    _, ax = plots.figure()
    plots.band(ax, [1, 2, 3], np.ones((4, 3)), thin=False)
    assert len([line for line in ax.lines if len(line.get_xdata())]) == 1


def test_band_marks_where_a_replica_stopped_and_goes_on_without_it():
    x, y = np.arange(6.0), np.arange(18.0).reshape(3, 6)
    y[1, 4:] = np.nan
    _, ax = plots.figure()
    line = plots.band(ax, x, y)
    np.testing.assert_allclose(line.get_ydata(), [6, 7, 8, 9, (4 + 16) / 2, (5 + 17) / 2])
    (cross,) = [part for part in ax.lines if part.get_marker() == "x"]
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([3.0], [9.0])
    assert legend_texts(ax) == ["3 replicas, 1 stopped (×)"]


def test_a_gap_that_all_share_is_no_stop():
    y = np.ones((2, 5))
    y[:, 2] = np.nan
    _, ax = plots.figure()
    line = plots.band(ax, np.arange(5), y)
    assert np.isnan(line.get_ydata()[2])
    assert legend_texts(ax) == ["2 replicas"]


@pytest.mark.parametrize(("x", "y"), [(np.ones(3), np.ones((2, 4))), (np.ones((2, 1, 3)), np.ones((2, 1, 3))), ([], [])])
def test_band_refuses_shapes_that_do_not_fit(x, y):
    _, ax = plots.figure()
    with pytest.raises(ValueError, match=r"x has shape .* and y"):
        plots.band(ax, x, y)


def test_legend_stands_beside_the_axes_when_it_is_long():
    _, ax = plots.figure()
    for name in ("a", "b", "c", "d", "e"):
        plots.band(ax, [0, 1], np.ones((2, 2)), label=name)
    assert ax.get_legend().get_bbox_to_anchor().x0 >= ax.bbox.x1 - 1


# --- a common grid ---


def test_common_grid_interpolates_holds_what_finished_and_drops_what_stopped():
    x = np.array([[10.0, 20.0, 30.0], [20.0, 40.0, 60.0], [20.0, 40.0, 40.0]])
    y = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 8.0], [5.0, 7.0, np.nan]])
    grid, on_it = plots.common_grid(x, y, points=3)
    np.testing.assert_allclose(grid, [10, 35, 60])
    np.testing.assert_allclose(on_it, [[1, 3, 3], [0, 3, 8], [5, 6.5, np.nan]])


def test_common_grid_of_nothing_is_empty():
    grid, on_it = plots.common_grid(np.zeros((2, 3)), np.full((2, 3), np.nan))
    assert grid.shape == (0,)
    assert on_it.shape == (2, 0)


# --- learning curves and figures ---


def test_learning_curve_has_units_and_the_mean_over_replicas():
    history = run()
    ax = plots.learning_curve(history, threshold=25.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("environment steps", "return per episode")
    assert legend_texts(ax) == ["4 replicas"]
    mean = next(line for line in ax.lines if line.get_label() == "4 replicas")
    np.testing.assert_allclose(mean.get_ydata()[-1], history.metrics["return"][:, -1].mean())
    assert mean.get_xdata()[[0, -1]].tolist() == [10, 1200]
    assert any(list(line.get_ydata()) == [25.0, 25.0] for line in ax.lines)


def test_learning_curve_of_a_run_in_which_a_replica_stopped():
    history = run()
    history.active = np.array([0, 2, 3])
    extend(history, [40.0, 40.0, 40.0])
    assert legend_texts(plots.learning_curve(history)) == ["4 replicas, 1 stopped (×)"]


def test_learning_curve_on_given_axes_over_a_window():
    history = run()
    _, ax = plots.figure()
    assert plots.learning_curve(history, "policy_size", ax, window=5) is ax
    assert ax.get_ylabel() == "policy size\n(mean of 5 iterations)"


def test_unknown_metric_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="'reward'; this history has return, policy_size"):
        plots.learning_curve(run(), "reward")


def test_figure_is_in_the_course_style_and_settings_stay_as_they_were():
    before = dict(matplotlib.rcParams)
    made, axes = plots.figure(columns=2, sharey=True)
    assert isinstance(made, Figure)
    assert len(axes) == 2
    assert not axes[0].spines["top"].get_visible()
    assert axes[0].xaxis.label.get_fontsize() >= plots.SMALLEST_TYPE
    assert dict(matplotlib.rcParams) == before


def displayed(monkeypatch):
    """What is displayed from now on, newest last; updates included."""
    import IPython.display

    seen = []

    class Handle:
        def update(self, bundle, raw):
            seen.append(bundle)

    def display(bundle, raw, display_id=None):
        seen.append(bundle)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    return seen


def test_show_displays_svg_with_description_and_caption(monkeypatch):
    seen = displayed(monkeypatch)
    _, ax = plots.figure(width=6)
    ax.plot([0, 1], [1, 2])
    ax.set_xlabel("x < y")
    ax.text(0, 1, "small", fontsize=5)
    plots.show(ax, "It <i>rises</i> & $x$.")
    (bundle,) = seen
    assert 'alt="Figure: x &lt; y."' in bundle["text/html"]
    assert "<figcaption>It &lt;i&gt;rises&lt;/i&gt; &amp; $x$.</figcaption>" in bundle["text/html"]
    assert 'width="576"' in bundle["text/html"]
    assert bundle["text/plain"] == "Figure: x < y.\nIt <i>rises</i> & $x$."
    data = base64.b64decode(re.search(r"data:image/svg\+xml;base64,([^\"]+)", bundle["text/html"])[1])
    assert ElementTree.fromstring(data).tag.endswith("svg")
    assert ax.texts[0].get_fontsize() == plots.SMALLEST_TYPE


def test_show_takes_a_description(monkeypatch):
    seen = displayed(monkeypatch)
    plots.show(plots.figure()[0], alt='A "quoted" line')
    assert 'alt="A &quot;quoted&quot; line"' in seen[0]["text/html"]


def test_description_reads_labels_titles_and_legends():
    made, axes = plots.figure(columns=2)
    axes[0].set(xlabel="samples", ylabel="variance", title="N\n= 1")
    axes[1].plot([0], [0], label="exact")
    plots.legend(axes[1])
    assert plots.describe(made) == "Figure: N = 1: variance against samples; exact."


def test_importing_plots_chooses_no_backend_and_starts_no_pyplot():
    code = """if True:
        import sys, matplotlib
        before = dict(matplotlib.rcParams)
        import pgcourse.plots
        assert "matplotlib.pyplot" not in sys.modules
        assert dict(matplotlib.rcParams) == before
    """
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "MPLBACKEND": "svg"}  # else reading the settings starts pyplot
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | variables)


# --- live ---


class Clock:
    """A clock that is set by hand; drawing takes ``cost`` seconds on it."""

    now, cost = 0.0, 0.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(monkeypatch, clock):
    """A live plot at 4 Hz on that clock; ``live.seen`` holds the iterations drawn, ``live.places`` counts outputs."""
    made = plots._Live("return", 4.0, None, None, "#000000", None, clock=lambda: clock.now)
    made.seen, made.places = [], 0

    def publish(text, drawn, last):
        clock.now += clock.cost
        made.seen.append(int(re.search(r"iteration (\d+)", text)[1]))

    def publisher():
        made.places += 1
        return publish

    monkeypatch.setattr(plots, "_publisher", publisher)
    return made


def drive(live, clock, iterations, seconds, total=None):
    """A run whose iterations take so many seconds."""
    history = run(iterations=0, total=iterations if total is None else total)
    for iteration in range(iterations):
        extend(history, np.full(4, float(iteration)))
        clock.now += seconds
        live(history)
    return history


def test_live_draws_four_times_a_second_and_always_the_last(live, clock):
    drive(live, clock, iterations=23, seconds=0.0625)
    assert live.seen == [1, 5, 9, 13, 17, 21, 23]


def test_live_never_takes_more_than_a_tenth_of_the_time(live, clock):
    clock.cost = 0.3
    drive(live, clock, iterations=500, seconds=0.1)
    drawn = len(live.seen) - 2  # the first and the last are drawn in any case
    assert 0.09 < clock.cost * drawn / clock.now <= plots.LARGEST_SHARE


def test_live_draws_the_last_state_of_a_run_that_ended_early(live, clock):
    history = drive(live, clock, iterations=6, seconds=0.01, total=100)
    assert live.seen == [1]
    history.ended = True
    live(history)
    assert live.seen == [1, 6]


def test_live_gives_each_run_a_place_of_its_own(live, clock):
    drive(live, clock, iterations=3, seconds=0.01)
    drive(live, clock, iterations=3, seconds=0.01)
    assert (live.seen, live.places) == ([1, 3, 1, 3], 2)


def test_live_does_not_ask_a_run_to_end(live):
    assert live(run()) is None


def test_live_says_nothing_where_there_is_neither_notebook_nor_terminal(capfd):
    plots.live()(run())
    assert capfd.readouterr() == ("", "")


def test_live_writes_one_line_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = plots.live(hertz=1e9)
    for history in (run(iterations=15, total=30), run()):
        progress(history)
    line = capsys.readouterr().err
    assert "50%, iteration 15 of 30, 1.5 s, mean return" in line
    assert "(4 replicas), 1,000 steps/s" in line
    assert line.endswith("\n")
    assert line.count("\n") == 1


def test_live_updates_one_output_in_a_notebook(monkeypatch):
    seen = displayed(monkeypatch)
    monkeypatch.setattr(plots, "_publisher", plots._notebook)
    progress = plots.live(hertz=1e9, threshold=20.0, label="a < b")
    history = run(iterations=15, total=16)
    progress(history)
    extend(history, np.ones(4))
    progress(history)
    assert len(seen) == 2
    assert "iteration 16 of 16" in seen[1]["text/plain"]
    during, after = (ElementTree.fromstring(bundle["text/html"]) for bundle in seen)
    assert during.find(".//{*}svg").attrib["aria-label"].startswith("return per episode against environment steps")
    image = after.find(".//img").attrib
    assert "iteration 16 of 16" in image["alt"]
    drawn = ElementTree.fromstring(base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")))
    assert any("a < b: 4 replicas" in (text.text or "") for text in drawn.iter("{http://www.w3.org/2000/svg}text"))


def test_live_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="hertz is 0"):
        plots.live(hertz=0)
    with pytest.raises(ValueError, match="no metric is named 'rewards'"):
        progress = plots._Live("rewards", 4.0, None, None, "#000000", None)
        progress.history, progress.publish = (history := run()), lambda *_: None
        progress(history)


@pytest.mark.parametrize(("replicas", "iterations"), [(1, 1), (1, 40), (2, 3), (64, 500), (256, 30)])
def test_live_picture_is_small_and_inside_its_frame(replicas, iterations):
    random = np.random.default_rng(5)
    points = min(iterations, plots.LIVE_POINTS)
    x, y = np.linspace(10, 1e6, points), random.normal(size=(replicas, points))
    if replicas > 2:
        y[0, 1:] = np.nan
    drawn = plots.curve_svg(x, y, "return", threshold=3.0)
    assert len(drawn) < 40_000
    root = ElementTree.fromstring(drawn)
    corners = [point.split(",") for part in root.iter() for point in part.attrib.get("points", "").split()]
    across, up = np.array(corners, dtype=float).T
    assert across.min() >= plots.LEFT
    assert across.max() <= plots.WIDTH - plots.RIGHT
    assert up.min() >= plots.TOP
    assert up.max() <= plots.HEIGHT - plots.BOTTOM
    assert len(root.findall("{*}g/{*}polyline")) == (1 if replicas == 1 else replicas + 1)
    assert len(root.findall("{*}polygon")) == (replicas > 1)


def test_live_picture_of_nothing_yet():
    root = ElementTree.fromstring(plots.curve_svg(np.zeros(0), np.zeros((3, 0)), "return"))
    assert root.attrib["width"] == "768"
