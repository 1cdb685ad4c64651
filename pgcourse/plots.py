"""Pictures in the course's style: one quantity has one colour, and every curve is a band over replicas.

``figure`` makes axes, ``band`` and ``learning_curve`` draw on them, ``show`` puts the figure into the notebook with its
conclusion; ``live`` draws while a run is going on. Nothing here touches pyplot or matplotlib's global settings.
"""

import base64
import html
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, cast

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor

from .history import History

COLORS = {
    "exact": "#000000",
    "score_function": "#0072B2",
    "pathwise": "#E69F00",
    "finite_differences": "#757575",
    "baseline": "#009E73",
    "biased": "#D55E00",
    "sample": "#56B4E9",
    "other": "#CC79A7",
}
"""One quantity, one colour, in every lecture: those that Okabe and Ito (2008) chose to be told apart by everybody.

``sample`` and ``other`` are for what has no colour of its own. Every ``color=`` below takes one of these names or any
colour."""

LABELS = {
    "return": "return per episode",
    "length": "steps per episode",
    "loss": "surrogate loss",
    "entropy": "entropy (nats)",
    "steps": "environment steps",
    "seconds": "seconds",
}
"""What an axis says about a metric; another metric's name is written out."""

SMALLEST_TYPE = 12
"""Points at 100 % zoom; ``show`` and ``widgets.movable`` enlarge anything smaller."""

STYLE = {
    "font.size": 13,
    "axes.labelsize": 14,
    "axes.titlesize": 14,
    "legend.fontsize": 12,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[COLORS[name] for name in ("score_function", "biased", "baseline", "pathwise")]),
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "lines.linewidth": 2.0,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "svg.fonttype": "path",
    "path.simplify": True,
}

Numbers = ArrayLike | Tensor

POINTS = 400
"""Points of a curve: more than that cannot be seen, and cost time and space."""


def style() -> AbstractContextManager:
    """The course's settings of matplotlib within a ``with``; ``figure`` and ``show`` see to it themselves."""
    return matplotlib.rc_context(cast(Any, STYLE))


def figure(width: float = 8.0, height: float = 4.5, columns: int = 1, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of ``width`` x ``height`` inches (8 are 768 pixels at 100 % zoom) in the course's style, and its axes.

    Returns (figure, axes): one Axes, or an array of them as ``Figure.subplots`` returns it, to which ``options`` go
    (``sharey=True``). The figure belongs to nobody: it is gone when you drop it, and is seen when you ``show`` it. A page's
    column holds 8.5 inches: what is wider is shrunk, type and all.
    """
    with style():
        made = Figure(figsize=(width, height), layout="constrained")
        return made, made.subplots(rows, columns, **options)


def bootstrap_interval(values: Numbers, level: float = 0.95, draws: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Where the mean over replicas lies: the percentile bootstrap's interval of it at each of N points.

    R replicas are drawn from the R there are, with replacement, ``draws`` times (the same draws at every point, always the
    same numbers); the interval holds the middle ``level`` of the means. It is a little too narrow: of normal data a 95 %
    interval holds the mean 88 times in 100 at 8 replicas, 92 at 16, 94 at 32. values: [R, N]; NaN where a replica has no
    value: that point rests on the others. Returns (low, high), each [N]; NaN where fewer than two replicas have a value.

    Raises ValueError for values that are not [R, N] or a level outside (0, 1). Efron (1979).
    """
    values = _numbers(values)
    if values.ndim != 2:
        raise ValueError(f"values have shape {values.shape}; give one row per replica, [replica, point].")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, 0.95 for 95 %.")
    low, high = np.full((2, values.shape[1]), np.nan)
    # Replicas stop at most once each, so there are few different sets of running ones; each is one matrix product.
    sets: dict[bytes, list[int]] = {}
    for point, running in enumerate(np.isfinite(values).T):
        sets.setdefault(running.tobytes(), []).append(point)
    for key, points in sets.items():
        running = np.frombuffer(key, dtype=bool)
        if running.sum() >= 2:
            means = values[running][:, points].T @ _resampling(int(running.sum()), draws)  # [points, draws]
            tail = (1 - level) / 2
            low[points], high[points] = np.quantile(means, [tail, 1 - tail], axis=1)
    return low, high


@lru_cache(maxsize=256)
def _resampling(replicas: int, draws: int) -> np.ndarray:
    """Weights [replica, draw] of the means of ``draws`` resamples."""
    random = np.random.default_rng(0)
    return random.multinomial(replicas, np.full(replicas, 1 / replicas), size=draws).T / replicas


def band(
    ax: Axes,
    x: Numbers,
    y: Numbers,
    *,
    label: str | None = None,
    color: str = "score_function",
    thin: bool = True,
    level: float = 0.95,
) -> Line2D:
    """The mean over replicas, its bootstrap interval as a shaded band, and each replica as a thin line.

    x: [N], or [R, N] where replicas were seen at different places (environment steps; see ``common_grid``). y: [R, N], or [N]
    for one replica, which has no band. Where y is NaN a replica counts no more: the mean is that of the others, and a cross
    marks where it stopped. The legend names ``label`` and the number of replicas. Returns the line of the mean.

    Raises ValueError where the shapes do not fit.
    """
    x, y = _numbers(x), np.atleast_2d(_numbers(y))
    if y.ndim != 2 or not y.size or x.shape not in (y.shape, y.shape[1:]):
        raise ValueError(
            f"x has shape {x.shape} and y {y.shape}; y is [replica, point], and x is [point] or, where replicas differ, "
            "[replica, point]."
        )
    if x.ndim == 2:
        x, y = common_grid(x, y)
    paint = COLORS.get(color, color)
    if thin and len(y) > 1:
        ax.plot(x, y.T, color=paint, alpha=max(0.12, min(0.4, 5 / len(y))), linewidth=0.8)
    if len(y) > 1:
        ax.fill_between(x, *bootstrap_interval(y, level), color=paint, alpha=0.25, linewidth=0)
    stops = _stops(y)
    ax.plot(x[stops[:, 1]], y[stops[:, 0], stops[:, 1]], "x", color=paint, markersize=9, markeredgewidth=2)
    (line,) = ax.plot(x, _mean(y), color=paint, linewidth=2.5, label=_named(label, len(y), len(stops)))
    legend(ax)
    return line


def _named(label: str | None, replicas: int, stopped: int = 0) -> str:
    count = f"{replicas} replica{'s' * (replicas != 1)}" + (f", {stopped} stopped (×)" if stopped else "")
    return f"{label}: {count}" if label else count


def _stops(y: np.ndarray) -> np.ndarray:
    """(replica, last point) of those that have no value any more where others still have, [stopped, 2]."""
    seen = np.isfinite(y)
    count = y.shape[1]
    last = np.where(seen.any(1), count - 1 - seen[:, ::-1].argmax(1), -1)
    stopped = np.flatnonzero((last >= 0) & (last < last.max()))
    return np.stack([stopped, last[stopped]], 1)


def _mean(y: np.ndarray) -> np.ndarray:
    """Mean over the replicas that have a value; NaN where none has."""
    seen = np.isfinite(y)
    with np.errstate(invalid="ignore"):
        return np.where(seen, y, 0.0).sum(0) / seen.sum(0)


def common_grid(x: Numbers, y: Numbers, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Curves seen at different places, by linear interpolation at the same ``points`` places.

    x: [R, N], increasing along each row; y: [R, N], NaN where there is none. Returns (grid [points], y on it [R, points]).
    The grid covers all replicas. One that finished at a smaller x than others keeps its last value from there on: dropping it
    would leave those whose episodes are long, the good ones. One that *stopped*, with NaN to its last iteration, has NaN.
    """
    x, y = _numbers(x), _numbers(y)
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        return np.zeros(0), np.zeros((len(y), 0))
    grid = np.linspace(x[seen].min(), x[seen].max(), points)
    out = np.full((len(y), len(grid)), np.nan)
    stops = dict(_stops(np.where(seen, y, np.nan)).tolist())
    for r in np.flatnonzero(seen.any(1)):
        out[r] = np.interp(grid, x[r, seen[r]], y[r, seen[r]])
        if r in stops:
            out[r, grid > max(x[r, stops[r]], grid[0])] = np.nan
    return grid, out


def learning_curve(
    history: History,
    metric: str = "return",
    ax: Axes | None = None,
    *,
    label: str | None = None,
    color: str = "score_function",
    window: int = 1,
    thin: bool = True,
    threshold: float | None = None,
) -> Axes:
    """A metric of a run against the environment steps each replica has taken, as a band.

    ``window``: mean over so many last iterations, for a metric that jumps about. ``threshold``: a dashed line there. Without
    ``ax`` a figure is made; ``show`` takes the axes that are returned. Raises ValueError for a metric the history has not.
    """
    y = _metric(history, metric) if window == 1 else history.window(metric, window)
    axes: Axes = figure()[1] if ax is None else ax
    if threshold is not None:
        axes.axhline(threshold, color=COLORS["exact"], linestyle="--", linewidth=1.2)
    band(axes, history.steps, y, label=label, color=color, thin=thin)
    axes.set_xlabel(LABELS["steps"])
    axes.set_ylabel(_label(metric) + (f"\n(mean of {window} iterations)" if window > 1 else ""))
    axes.xaxis.set_major_formatter(EngFormatter())
    return axes


def _metric(history: History, metric: str) -> np.ndarray:
    metrics = history.metrics
    if metric not in metrics:
        raise ValueError(f"no metric is named {metric!r}; this history has {', '.join(metrics) or 'none yet'}.")
    return metrics[metric]


def _label(metric: str) -> str:
    return LABELS.get(metric, metric.replace("_", " "))


def legend(ax: Axes, **options: Any) -> None:
    """A legend in the course's type size: where it hides least, beside the axes when it has more than four entries.

    ``loc="upper left"`` and so on say where.
    """
    many = len(ax.get_legend_handles_labels()[0]) > 4
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if many else {"loc": "best"}
    ax.legend(**({"fontsize": SMALLEST_TYPE, "framealpha": 0.85, "edgecolor": "none"} | place | options))


def show(picture: Figure | Axes, caption: str = "", *, alt: str | None = None) -> None:
    """Put a figure (or the figure of some axes) into the notebook as SVG.

    ``caption`` says what to conclude, not what is plotted; it may hold ``$mathematics$``. ``alt`` describes the picture to
    those who cannot see it; without it, labels and legends are read out.
    """
    from IPython.display import display  # here, so that plots can be drawn where there is no notebook

    drawn = picture if isinstance(picture, Figure) else cast(Figure, picture.get_figure(root=True))
    alt = describe(drawn) if alt is None else alt
    shown = picture_html(svg(drawn), "svg+xml", drawn.get_figwidth(), alt, caption)
    display({"text/html": shown, "text/plain": f"{alt}\n{caption}" if caption else alt}, raw=True)


def svg(drawn: Figure) -> bytes:
    """A figure as an SVG file with nothing outside it."""
    out = io.BytesIO()
    with style():
        enlarge_type(drawn)
        FigureCanvasSVG(drawn).print_svg(out, metadata={"Date": None})
    return out.getvalue()


def enlarge_type(drawn: Figure) -> None:
    """Make no title, label, annotation or legend entry of a figure smaller than 12 points."""
    for text in _texts(drawn):
        if float(text.get_fontsize()) < SMALLEST_TYPE:
            text.set_fontsize(SMALLEST_TYPE)


def _texts(drawn: Figure) -> Iterator[Text]:
    """Not the numbers at the ticks, which have their size from the style: asking for them costs a third of a drawing."""
    yield from drawn.texts
    keys = [*drawn.legends]
    for ax in drawn.axes:
        yield from (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)
        keys += [key] if (key := ax.get_legend()) else []
    for key in keys:
        yield from (key.get_title(), *key.get_texts())


def describe(drawn: Figure) -> str:
    """A figure in words, from its titles, labels and legends."""
    return "Figure: " + "; ".join(filter(None, map(_describe_axes, drawn.axes))) + "."


def _describe_axes(ax: Axes) -> str:
    x, y = (" ".join(label.split()) for label in (ax.get_xlabel(), ax.get_ylabel()))
    plotted = " against ".join(filter(None, (y, x)))
    key = ax.get_legend()
    entries = ", ".join(text.get_text() for text in key.get_texts()) if key else ""
    return ": ".join(filter(None, (" ".join(ax.get_title().split()), plotted, entries)))


def picture_html(data: bytes, kind: str, width: float, alt: str, caption: str = "") -> str:
    """A picture (``kind``: svg+xml, png, webp) ``width`` inches wide, with a description and a caption, as HTML."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    image = f'<img src="{source}" alt="{html.escape(alt)}" width="{round(96 * width)}" style="max-width:100%;height:auto"/>'
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure style="margin:0">{image}{below}</figure>'


# --- while a run is going on ---------------------------------------------------------------------------------------------

LARGEST_SHARE = 0.1
"""What drawing may take of a run's time; where a picture costs more, pictures become rarer."""


def live(
    metric: str = "return",
    *,
    hertz: float = 4.0,
    threshold: float | None = None,
    total: int | None = None,
    label: str | None = None,
    color: str = "score_function",
) -> Callable[[History], None]:
    """A progress function for ``train(..., progress=plots.live())``: a band and a progress bar that grow while the run goes on.

    At most ``hertz`` pictures a second (and never more than a tenth of the run's time) replace one another in one output; the
    last state is always drawn and stays. ``threshold``: a dashed line there. ``total``: iterations planned, where the history
    does not know (a loop of your own). In a terminal it is one line of text, elsewhere nothing.

    Raises ValueError for hertz <= 0.
    """
    if not hertz > 0:
        raise ValueError(f"hertz is {hertz}; it must be > 0 (4 pictures a second are smooth enough).")
    return _Live(metric, hertz, threshold, total, COLORS.get(color, color), label)


class _Live:
    """The state between two calls: the run being drawn, its place in the notebook, and when the next picture is due."""

    def __init__(self, metric, hertz, threshold, total, paint, label, clock=time.perf_counter):
        self.metric, self.threshold, self.total, self.paint, self.label = metric, threshold, total, paint, label
        self.interval = 1 / hertz
        self.clock = clock
        self.history: History | None = None
        self.publish: Callable[[str, str, bool], None] = _nowhere
        self.due = 0.0

    def __call__(self, history: History) -> None:
        if history is not self.history:  # a new run gets a place of its own
            self.history, self.publish, self.due = history, _publisher(), -np.inf
        total = self.total or history.total
        last = history.ended or bool(total and history.iteration >= total)
        begin = self.clock()
        if self.publish is _nowhere or (begin < self.due and not last):
            return
        values = _metric(history, self.metric)
        text = progress_text(history, values[:, -1], total, self.metric)
        drawn = ""
        if self.publish is not _terminal:
            drawn = self.picture(history, values)
        self.publish(text, drawn, last)
        end = self.clock()
        self.due = begin + max(self.interval, (end - begin) / LARGEST_SHARE)

    def picture(self, history: History, values: np.ndarray) -> str:
        x, y = common_grid(history.steps, values, LIVE_POINTS)
        return curve_svg(x, y, _label(self.metric), paint=self.paint, threshold=self.threshold, label=self.label)


def progress_text(history: History, values: np.ndarray, total: int, metric: str) -> str:
    """How far a run is, in one line; values: the last ones of ``metric`` [R]."""
    done, seconds, steps = history.iteration, float(history.seconds[-1]), history.steps[:, -1].sum()
    running = values[np.isfinite(values)]
    mean = f"{running.mean():.4g}" if running.size else "nan"
    over = f"{running.size} replica{'s' * (running.size != 1)}"
    share = min(1.0, done / total) if total else None
    bar = "" if share is None else "█" * round(12 * share) + "░" * (12 - round(12 * share)) + f" {share:.0%}, "
    count = f"iteration {done}" + (f" of {total}" if total else "")
    rate = f"{steps / seconds:,.0f} steps/s" if seconds > 0 else "- steps/s"
    return f"{bar}{count}, {seconds:.1f} s, mean {metric} {mean} ({over}), {rate}"


def _publisher() -> Callable[[str, str, bool], None]:
    """Where progress can be seen here: a notebook's output, a terminal's line, or nowhere."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it; nobody else need wait for that
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is not None:
        return _notebook()
    return _terminal if sys.stderr.isatty() else _nowhere


def _notebook() -> Callable[[str, str, bool], None]:
    from IPython.display import display

    handle = None

    def publish(text: str, drawn: str, last: bool) -> None:
        nonlocal handle
        if last and drawn:  # what stays is an <img>: previews strip an inline <svg>, but an <img> would flicker meanwhile
            drawn = picture_html(drawn.encode(), "svg+xml", WIDTH / 96, f"Learning curves: {text}")
        line = f'<div style="font:16px sans-serif;font-variant-numeric:tabular-nums">{html.escape(text)}</div>'
        bundle = {"text/html": f'<div class="pgcourse-live">{line}{drawn}</div>', "text/plain": text}
        if handle is None:
            handle = display(bundle, raw=True, display_id=True)
        else:
            handle.update(bundle, raw=True)

    return publish


def _terminal(text: str, drawn: str, last: bool) -> None:
    print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)


def _nowhere(text: str, drawn: str, last: bool) -> None:
    """No front end, no terminal: progress is not shown."""


WIDTH, HEIGHT = 768, 400  # pixels at 100 % zoom
LEFT, RIGHT, TOP, BOTTOM = 86, 32, 34, 56  # margins
TYPE = 'font-family="DejaVu Sans, Verdana, sans-serif" font-size="16px" fill="#000000"'  # 12 points
LIVE_POINTS = 200
THIN_POINTS = 2400
"""Points of all thin lines together: a picture stays below 30 KB, however many replicas there are."""


def curve_svg(
    x: np.ndarray,
    y: np.ndarray,
    quantity: str,
    *,
    paint: str = COLORS["score_function"],
    threshold: float | None = None,
    label: str | None = None,
) -> str:
    """What ``band`` draws, against environment steps, written as SVG by hand: 2 ms where matplotlib takes 35.

    x: [N]; y: [R, N] with NaN where a replica has stopped. Returns an ``<svg>`` element.
    """
    interval = bootstrap_interval(y, draws=200) if len(y) > 1 else None
    mean = _mean(y)
    shown = [y[np.isfinite(y)], [] if threshold is None else [threshold]]
    across = _Scale(np.r_[0.0, x], LEFT, WIDTH - RIGHT, room=0.0)
    up = _Scale(np.concatenate(shown), HEIGHT - BOTTOM, TOP, room=0.05)
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', *_frame(across, up, quantity)]
    if len(y) > 1:
        every = max(1, -(-y.size // THIN_POINTS))
        thin = "".join(_line(across, up, x, row, every) for row in y)
        parts.append(f'<g fill="none" stroke="{paint}" stroke-width="0.9" stroke-opacity="0.35">{thin}</g>')
    if interval is not None:
        low, high = interval
        some = np.isfinite(low)
        outline = _points(across(np.r_[x[some], x[some][::-1]]), up(np.r_[low[some], high[some][::-1]]))
        parts.append(f'<polygon points="{outline}" fill="{paint}" fill-opacity="0.25"/>')
    parts.append(f'<g fill="none" stroke="{paint}" stroke-width="3">{_line(across, up, x, mean)}</g>')
    stops = _stops(y) if x.size else []
    for r, i in stops:
        parts.append(_text(across(x[i]), up(y[r, i]) + 6, "×", "middle", 'font-weight="bold"'))
    if threshold is not None:
        parts.append(_segment(LEFT, up(threshold), WIDTH - RIGHT, up(threshold), "#000000", 'stroke-dasharray="7 4"'))
    parts.append(f'<rect x="{LEFT}" y="12" width="26" height="8" fill="{paint}"/>')
    parts.append(_text(LEFT + 34, 22, _named(label, len(y), len(stops)) + "; mean, 95 % interval, each one" * (len(y) > 1)))
    words = html.escape(f"{quantity} against environment steps, {_named(label, len(y), len(stops))}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{words}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:100%;height:auto">{"".join(parts)}</svg>'
    )


class _Scale:
    """From a quantity to pixels between ``start`` and ``end``, with ``room`` (a share of the range) on either side."""

    def __init__(self, values: Sequence[float] | np.ndarray, start: float, end: float, room: float):
        low, high = (float(np.min(values)), float(np.max(values))) if len(values) else (0.0, 1.0)
        spare = room * (high - low) or (0.5 * abs(high) + 0.5) * (high == low)
        self.low, self.high, self.start, self.end = low - spare, high + spare, start, end

    def __call__(self, value: Any) -> Any:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        values = MaxNLocator(count).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low <= value <= self.high]


def _frame(across: _Scale, up: _Scale, quantity: str) -> list[str]:
    """Axes with ticks, numbers and labels."""
    steps = EngFormatter()
    parts = []
    for value in up.ticks(6):
        parts.append(_segment(LEFT, up(value), WIDTH - RIGHT, up(value), "#e6e6e6"))
        parts.append(_text(LEFT - 8, up(value) + 5.5, f"{value:g}", "end"))
    for value in across.ticks(7):
        parts.append(_segment(across(value), HEIGHT - BOTTOM, across(value), HEIGHT - BOTTOM + 5))
        parts.append(_text(across(value), HEIGHT - BOTTOM + 22, steps(value), "middle"))
    parts.append(_segment(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
    parts.append(_segment(LEFT, TOP, LEFT, HEIGHT - BOTTOM))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, LABELS["steps"], "middle"))
    parts.append(_text(18, middle, quantity, "middle", f'transform="rotate(-90 18 {middle})"'))
    return parts


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {TYPE} {more}>{html.escape(words)}</text>'


def _segment(x1: float, y1: float, x2: float, y2: float, stroke: str = "#000000", more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" {more}/>'


def _line(across: _Scale, up: _Scale, x: np.ndarray, y: np.ndarray, every: int = 1) -> str:
    some = np.flatnonzero(np.isfinite(y))
    some = np.r_[some[:-1:every], some[-1:]]  # the last one always
    return f'<polyline points="{_points(across(x[some]), up(y[some]))}"/>'


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join([f"{a:.0f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True)])


def _numbers(values: Numbers) -> np.ndarray:
    """An array of floating-point numbers, from one, a list or a tensor."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)
