"""What the reader moves, answers and watches.

``movable`` figures, ``quiz`` and ``predict`` are ipywidgets beside a running kernel. Everywhere else (rendered pages, previews)
the same output shows a picture or text instead. ``watch`` is an animation, and plays everywhere.
"""

import asyncio
import html
import inspect
import io
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import ipywidgets
import numpy as np
import torch
from IPython.display import HTML
from PIL import Image
from torch import Tensor

from . import plots
from .envs.base import Env
from .policies import Policy
from .rng import Rng


class _Fallback(ipywidgets.VBox):
    """Widgets below one another, and the HTML that stands for them where no widget can be shown.

    Both are in one output: JupyterLab shows the widget, everything else the HTML; nobody sees both.
    """

    def __init__(self, children: Sequence[ipywidgets.Widget], page: str, text: str):
        super().__init__(children)
        self._page, self._text = page, text

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs) or {}
        return bundle | {"text/html": self._page, "text/plain": self._text}


# --- movable figures -----------------------------------------------------------------------------------------------------

DELAY = 0.01
"""Seconds between a change and the picture of it: all changes that arrive meanwhile are drawn at once."""


class Movable(_Fallback):
    """What ``movable`` returns. controls: name -> ipywidget; picture: the ipywidgets.Image; frames: pictures drawn so far."""

    def __init__(self, paint: Callable[..., bytes], controls: dict[str, Any], width: float, alt: str, caption: str):
        self.controls, self._paint, self._waiting, self.frames = controls, paint, False, 1
        first = paint(**self.values)
        shown = ipywidgets.Layout(width=f"{round(96 * width)}px", max_width="100%")
        self.picture = ipywidgets.Image(value=first, format="svg+xml", layout=shown)
        self._problem = ipywidgets.HTML()
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 24px")
        # ipywidgets' Image takes no description: it stands beside it, for those who cannot see the picture.
        hidden = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"
        below = ipywidgets.HTMLMath(f'<span style="{hidden}">{html.escape(alt)}</span>{html.escape(caption)}')
        children = [ipywidgets.Box(list(controls.values()), layout=row), self._problem, self.picture, below]
        state = ", ".join(f"{name.replace('_', ' ')} = {value}" for name, value in self.values.items())
        still = f"{caption} (Movable beside a running kernel; here {state}.)".strip()
        super().__init__(children, plots.picture_html(first, "svg+xml", width, alt, still), f"{alt}\n{still}")
        for control in controls.values():
            control.observe(self._changed, "value")

    @property
    def values(self) -> dict[str, Any]:
        """What the controls say now."""
        return {name: control.value for name, control in self.controls.items()}

    def _changed(self, change: Any = None) -> None:
        """Draw soon, once, whatever else changes until then: dragging never queues up pictures of the past."""
        if self._waiting:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: nothing to wait for
            self.redraw()
        else:
            self._waiting = True
            loop.call_later(DELAY, self.redraw)

    def redraw(self) -> None:
        """Draw what the controls say now; an error in the drawing is shown above the last good picture."""
        self._waiting = False
        try:
            self.picture.value = self._paint(**self.values)
            self._problem.value = ""
            self.frames += 1
        except Exception as problem:
            self._problem.value = f"<pre>{html.escape(''.join(traceback.format_exception(problem)[-3:]))}</pre>"


class Again(ipywidgets.Button):
    """A button whose ``value`` counts how often it was pressed."""

    value = ipywidgets.widgets.widget_int.CInt(0)

    def __init__(self, description: str):
        super().__init__(description=description, layout=ipywidgets.Layout(width="max-content"))
        self.on_click(self._count)

    def _count(self, button: ipywidgets.Button) -> None:
        self.value += 1


def movable(
    draw: Callable[..., None],
    *,
    size: tuple[float, float] = (8.0, 4.5),
    columns: int = 1,
    alt: str | None = None,
    caption: str = "",
    **controls: Any,
) -> Movable:
    """A figure that follows its controls. Put it last in a cell, or ``display`` it.

    ``draw(ax, **values)`` draws on an empty ``ax`` (for ``columns`` > 1: on an array of them) of a figure of ``size`` inches.
    Each further argument is a control, by the name of draw's parameter, which starts where that parameter's default says:

    - ``(low, high)`` or ``(low, high, step)``: a slider, of whole numbers if all are whole;
    - a list: a choice among its entries, or among the keys of a dict, whose values draw gets;
    - ``True`` or ``False``: a tick box;
    - a text: a button with this text on it, whose value is how often it was pressed: a seed (``seed="draw again"``);
    - any ipywidget with a ``value``.

    ``caption`` says what to conclude; ``alt`` describes the picture to those who cannot see it. Rendered pages show the first
    picture. Draw with fixed axis limits: what moves should be what changes.

    Raises TypeError for a control that is none of these, or that draw does not take.
    """
    parameters = inspect.signature(draw).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in controls:
        if name not in parameters and not takes_all:
            raise TypeError(f"draw has no parameter {name!r}; its parameters are {', '.join(parameters)}.")
    made = {name: _control(name, given, parameters.get(name)) for name, given in controls.items()}
    figure, axes = plots.figure(*size, columns=columns)

    def paint(**values: Any) -> bytes:
        with plots.style():
            _clear(figure, np.ravel(axes))
            draw(axes, **values)
        drawn = plots.svg(figure)
        if len(figure.axes) == columns:  # a colour bar would need the layout again
            figure.set_layout_engine("none")  # the first picture's layout stays: nothing jumps, and it costs half the time
        return drawn

    function = getattr(draw, "func", draw)  # of a functools.partial, whose own docstring speaks of partials
    first_line = (function.__doc__ or "").strip().split("\n")[0]
    paint_alt = alt if alt is not None else first_line or "A figure that follows its controls."
    return Movable(paint, made, size[0], paint_alt, caption)


def _clear(figure: Any, axes: Iterable[Any]) -> None:
    """Empty the axes, and take away what the last drawing put beside them (a second axis, a colour bar, a legend)."""
    for extra in [ax for ax in figure.axes if ax not in axes] + figure.legends + figure.texts:
        extra.remove()
    for ax in axes:
        ax.clear()


def _control(name: str, given: Any, parameter: inspect.Parameter | None) -> ipywidgets.Widget:
    """The ipywidget for what ``movable`` was given as the control ``name``."""
    default = parameter.default if parameter is not None else inspect.Parameter.empty
    start = {} if default is inspect.Parameter.empty else {"value": default}
    look = {
        "description": name.replace("_", " "),
        "style": {"description_width": "initial"},
        "layout": ipywidgets.Layout(width="max-content" if isinstance(given, (bool, list, dict)) else "340px"),
    }
    match given:
        case bool():
            return ipywidgets.Checkbox(**({"value": given} | start), indent=False, **look)
        case str():
            return Again(given)
        case list() | dict():
            return ipywidgets.Dropdown(options=given, **start, **look)
        case (low, high, *rest) if len(rest) <= 1 and all(isinstance(v, int) for v in (low, high, *rest, *start.values())):
            return ipywidgets.IntSlider(min=low, max=high, step=rest[0] if rest else 1, **start, **look)
        case (low, high, *rest) if len(rest) <= 1:
            step = rest[0] if rest else (high - low) / 100
            return ipywidgets.FloatSlider(min=low, max=high, step=step, readout_format=_digits(step), **start, **look)
        case ipywidgets.Widget() if hasattr(given, "value"):
            return given
    raise TypeError(
        f"the control {name!r} is {given!r}; it can be (low, high) or (low, high, step), a list or dict of choices, True or "
        "False, a text for a button, or an ipywidget with a value."
    )


def _digits(step: float) -> str:
    """As many decimal places as the step has."""
    return f".{len(f'{step:.6f}'.rstrip('0').split('.')[1])}f"


# --- questions -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One answer to a question, and the reason why it is right or wrong, shown to whoever chooses it."""

    text: str
    reason: str
    right: bool


@dataclass(frozen=True)
class Question:
    """A question with its choices; made by ``question``."""

    text: str
    choices: tuple[Choice, ...]


def right(text: str, reason: str) -> Choice:
    """The right answer and why it is."""
    return Choice(text, reason, True)


def wrong(text: str, reason: str) -> Choice:
    """A wrong answer, best one that people really give, and what is wrong with it."""
    return Choice(text, reason, False)


def question(text: str, *choices: Choice) -> Question:
    """A question for ``quiz``, with ``right(...)`` once and ``wrong(...)`` at least once, in the order in which they are shown.

    Mathematics as ``$...$`` may stand in the question and in the reasons, not in the choices. Raises ValueError without
    exactly one right choice, without a wrong one, or where a reason is missing.
    """
    rights = sum(choice.right for choice in choices)
    if rights != 1 or len(choices) < 2:
        raise ValueError(f"{text!r} has {rights} right and {len(choices) - rights} wrong choices; it needs 1 and some.")
    for choice in choices:
        if not choice.reason.strip():
            raise ValueError(f"{choice.text!r}, a choice of {text!r}, has no reason; say why it is right or wrong.")
    return Question(text, choices)


SHEET = """<style>
.jupyter-widgets.pgcourse-option{white-space:normal;text-align:left;line-height:1.4;padding:4px 12px}
.pgcourse-choices .widget-radio-box label{display:flex;align-items:flex-start;height:auto;line-height:1.4}
.pgcourse-choices .widget-radio-box label input{order:-1;position:static;float:none;flex:none;margin:1px 8px 0 0}
</style>"""
"""Long choices break into lines, which ipywidgets' own style forbids."""


def quiz(questions: Sequence[Question]) -> ipywidgets.VBox:
    """Questions to answer by a click, which shows the reason; one may change one's mind. Put it last in a cell.

    In a rendered page the answers are folded away below each question.
    """
    children = [ipywidgets.HTML(SHEET), *(_asked(number, asked) for number, asked in enumerate(questions, 1))]
    text = "\n\n".join(f"{n}. {q.text}\n" + "\n".join(f"   - {c.text}" for c in q.choices) for n, q in enumerate(questions, 1))
    static = "".join(f"<li>{_asked_html(asked)}</li>" for asked in questions)
    return _Fallback(children, f"<ol>{static}</ol>", text)


def _asked(number: int, asked: Question) -> ipywidgets.VBox:
    choices = ipywidgets.RadioButtons(
        options=[choice.text for choice in asked.choices],
        index=None,
        layout=ipywidgets.Layout(width="auto"),
    )
    choices.add_class("pgcourse-choices")
    verdict = ipywidgets.HTMLMath()

    def answer(change: Any) -> None:
        if choices.index is not None:
            verdict.value = _verdict(asked.choices[choices.index])

    choices.observe(answer, "index")
    return ipywidgets.VBox([ipywidgets.HTMLMath(f"<b>{number}. {html.escape(asked.text)}</b>"), choices, verdict])


def _verdict(choice: Choice) -> str:
    """Right or wrong, in words and a sign as well as by colour, and why."""
    sign, word, color = ("✓", "Right.", "baseline") if choice.right else ("✗", "No.", "biased")
    return (
        f'<div style="border-left:4px solid {plots.COLORS[color]};padding-left:8px;margin:4px 0 12px">'
        f"<b>{sign} {word}</b> {html.escape(choice.reason)}</div>"
    )


def _asked_html(asked: Question) -> str:
    choices = "".join(f"<li>{html.escape(choice.text)}</li>" for choice in asked.choices)
    reasons = "".join(f"<li>{html.escape(choice.text)}: {_verdict(choice)}</li>" for choice in asked.choices)
    return f"<p>{html.escape(asked.text)}</p><ul>{choices}</ul><details><summary>Answer</summary><ul>{reasons}</ul></details>"


class Prediction(_Fallback):
    """What ``predict`` returns; ``choice`` is the option chosen, None before."""

    def __init__(self, question: str, options: Sequence[str]):
        self.choice: str | None = None
        self.buttons = [ipywidgets.Button(description=option) for option in options]
        for button in self.buttons:
            button.layout.width, button.layout.height = "auto", "auto"
            button.add_class("pgcourse-option")
            button.on_click(self._choose)
        self.note = ipywidgets.HTML("Choose before you run the next cell.")
        head = ipywidgets.HTMLMath(f"{SHEET}<b>Predict.</b> {html.escape(question)}")
        static = "".join(f"<li>{html.escape(option)}</li>" for option in options)
        super().__init__(
            [head, *self.buttons, self.note],
            f"<p><b>Predict.</b> {html.escape(question)}</p><ul>{static}</ul>",
            "\n".join([f"Predict. {question}", *(f"  - {option}" for option in options)]),
        )

    def _choose(self, chosen: ipywidgets.Button) -> None:
        self.choice = chosen.description
        for button in self.buttons:
            button.button_style = "info" if button is chosen else ""
        self.note.value = f"Noted: <b>{html.escape(chosen.description)}</b>. Now run the next cell."


def predict(question: str, options: Sequence[str]) -> Prediction:
    """A question to answer before the next cell answers it; nothing is graded. Put it last in a cell.

    Mathematics as ``$...$`` may stand in the question, not in the options. Raises ValueError for fewer than two options.
    """
    if len(options) < 2:
        raise ValueError(f"predict has the options {list(options)}; it needs at least two.")
    return Prediction(question, options)


# --- watching ------------------------------------------------------------------------------------------------------------

FRAMES = 150
"""Pictures of an animation at most: about half a megabyte."""


def watch(
    policy: Policy,
    env: Env,
    *,
    replica: int | Sequence[int] = 0,
    seed: int = 0,
    steps: int | None = None,
    greedy: bool = False,
) -> HTML:
    """One episode of a policy as an animation; several replicas side by side with ``replica=[0, 3, 7]``. Put it last in a cell.

    All start in the same state and get the same noise, that of ``seed``. ``steps``: at most so many, by default the
    environment's time limit or 500. ``greedy``: the most probable action instead of a sampled one. It plays at the speed of the
    environment's ``time_step``; of long episodes only every second, third ... picture is shown.

    Raises ValueError for a replica the policy has not, NotImplementedError for an environment without pictures.
    """
    replicas = [replica] if isinstance(replica, int) else list(replica)
    count = len(next(policy.parameters()))
    if not replicas or not all(0 <= r < count for r in replicas):
        raise ValueError(f"replica is {replica}; the policy has replicas 0 .. {count - 1}, and at least one must be watched.")
    steps = steps or env.spec.time_limit or 500
    every = -(-steps // FRAMES)
    episodes = [_episode(policy, env, r, count, seed, steps, greedy, every) for r in replicas]
    seconds = every * getattr(env, "time_step", 0.04)
    data, width = _animation([pictures for pictures, _, _ in episodes], seconds)
    caption = f"{env.spec.name}, one episode: " + "; ".join(
        f"replica {r}, return {total:.4g} in {length} steps" for r, (_, total, length) in zip(replicas, episodes, strict=True)
    )
    return HTML(plots.picture_html(data, "webp", width / 96, f"Animation of {caption}.", caption))


@torch.no_grad()
def _episode(
    policy: Policy, env: Env, replica: int, replicas: int, seed: int, steps: int, greedy: bool, every: int
) -> tuple[list[np.ndarray], float, int]:
    """Pictures (every so many steps, and the last), the return and the number of steps of one replica's episode.

    One world alone is stepped: the whole policy sees its observation, and the action of ``replica`` is taken.
    """
    parameter = next(policy.parameters())
    rng = Rng((seed,), device=parameter.device, dtype=parameter.dtype)
    state = env.initial(cast(Tensor, rng.draw(env.spec.initial_noise, 1)))
    action_noise, step_noise = rng.draw(policy.noise, steps, 1), rng.draw(env.spec.step_noise, steps, 1)
    pictures, total, length = [env.picture(state)], 0.0, 0
    for t in range(steps):
        law = policy(_for_all(env.observe(state), replicas))
        action = law.mode if greedy else law.sample(_for_all(_at(action_noise, t), replicas))
        state, reward, terminated = env.step(state, action[replica : replica + 1], _at(step_noise, t))
        total, length = total + float(reward), t + 1
        truncated = env.truncated(state)
        over = bool(terminated) or (truncated is not None and bool(truncated))
        if over or length == steps or length % every == 0:
            pictures.append(env.picture(state))
        if over:
            break
    return pictures, total, length


def _at(noise: Tensor | None, t: int) -> Tensor | None:
    return None if noise is None else noise[:, t]


def _for_all(one: Tensor | None, replicas: int) -> Any:
    """[1, ...] -> [R, ...], the same for every replica."""
    return None if one is None else one.expand(replicas, *one.shape[1:])


def _animation(episodes: Sequence[Sequence[np.ndarray]], seconds: float) -> tuple[bytes, int]:
    """A WebP that plays episodes side by side; one that is over stands still, paler. Returns it and its width in pixels."""
    longest = max(len(pictures) for pictures in episodes)
    gap = np.full((episodes[0][0].shape[0], 8, 3), 255, np.uint8)
    frames = []
    for i in range(longest):
        tiles = [pictures[i] if i < len(pictures) else 255 - (255 - pictures[-1]) // 3 for pictures in episodes]
        row = [part for tile in tiles for part in (tile, gap)][:-1]
        frames.append(Image.fromarray(np.concatenate(row, 1)))
    out = io.BytesIO()
    durations = [max(20, round(1000 * seconds))] * (longest - 1) + [1000]  # a moment's rest before it begins again
    frames[0].save(
        out, format="WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=70, method=0
    )
    return out.getvalue(), frames[0].width
