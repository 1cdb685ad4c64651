"""Widgets without a front end: what they do when they are used, and what they leave where they cannot be."""

import asyncio
import base64
import io
import re

import ipywidgets
import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from pgcourse import envs, policies, widgets
from pgcourse.rng import Rng
from pgcourse.widgets import question, right, wrong

WIDGET = "application/vnd.jupyter.widget-view+json"


class Drawing:
    """A line & a dot, and what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, ax, mean=0.5, samples=12, subtract=False, seed=0, kind="b"):
        assert not ax.lines
        if mean > 1.5:
            raise RuntimeError("mean <too> large")
        self.calls.append((mean, samples, subtract, seed, kind))
        ax.plot([0, 1], [mean, samples])


@pytest.fixture
def draw():
    return Drawing()


@pytest.fixture
def movable(draw):
    return widgets.movable(
        draw,
        mean=(-2.0, 2.0, 0.1),
        samples=(1, 40),
        subtract=False,
        seed="draw again",
        kind=["a", "b"],
        caption="It <b> & $f$.",
    )


def texts(widget):
    """The HTML of all HTML widgets inside one."""
    found = [widget.value] if isinstance(widget, (ipywidgets.HTML, ipywidgets.HTMLMath)) else []
    for child in getattr(widget, "children", ()):
        found += texts(child)
    return found


# --- movable ---


def test_movable_leaves_a_widget_and_a_picture_in_one_output(movable):
    bundle = movable._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == movable.model_id
    data = re.search(
        r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="A line &amp; a dot, and what it was called with\."',
        bundle["text/html"],
    )[1]
    assert base64.b64decode(data) == movable.picture.value
    assert "It &lt;b&gt; &amp; $f$. (Movable beside a running kernel; here mean = 0.5, samples = 12," in bundle["text/html"]
    assert "A line & a dot, and what it was called with." in bundle["text/plain"]


def test_movable_starts_where_the_defaults_say(movable, draw):
    assert draw.calls == [(0.5, 12, False, 0, "b")]
    kinds = {name: type(control) for name, control in movable.controls.items()}
    assert kinds == {
        "mean": ipywidgets.FloatSlider,
        "samples": ipywidgets.IntSlider,
        "subtract": ipywidgets.Checkbox,
        "seed": widgets.Again,
        "kind": ipywidgets.Dropdown,
    }
    assert movable.controls["mean"].readout_format == ".1f"


def test_movable_follows_its_controls(movable, draw):
    before = movable.picture.value
    movable.controls["mean"].value = 1.0
    assert movable.picture.value != before
    movable.controls["kind"].value = "a"
    movable.controls["seed"].click()
    assert draw.calls[1:] == [(1.0, 12, False, 0, "b"), (1.0, 12, False, 0, "a"), (1.0, 12, False, 1, "a")]
    assert movable.frames == 4


def test_movable_draws_once_for_all_that_changed_meanwhile(movable, draw):
    async def drag():
        for mean in np.linspace(-1, 1, 21):
            movable.controls["mean"].value = round(float(mean), 1)
        assert len(draw.calls) == 1
        await asyncio.sleep(5 * widgets.DELAY)

    asyncio.run(drag())
    assert draw.calls[1:] == [(1.0, 12, False, 0, "b")]


def test_movable_shows_an_error_and_keeps_the_last_picture(movable):
    before = movable.picture.value
    movable.controls["mean"].value = 2.0
    assert any("RuntimeError: mean &lt;too&gt; large" in text for text in texts(movable))
    assert movable.picture.value == before
    movable.controls["mean"].value = 1.0
    assert not any("RuntimeError" in text for text in texts(movable))


def test_movable_fails_at_once_where_the_first_drawing_does():
    with pytest.raises(ZeroDivisionError):
        widgets.movable(lambda ax: 1 / 0)


def test_movable_takes_away_what_a_drawing_puts_beside_its_axes():
    seen = []

    def draw(axes, n=1):
        """Two axes, one of them doubled."""
        axes[0].twinx()
        axes[0].figure.suptitle("above")
        seen.append((len(axes[0].figure.axes), len(axes[0].figure.texts)))

    moved = widgets.movable(draw, columns=2, n=(1, 9))
    moved.controls["n"].value = 2
    assert seen == [(3, 1), (3, 1)]


def test_movable_takes_a_dict_and_any_widget_and_leaves_settings_alone():
    before = dict(matplotlib.rcParams)
    seen = []

    def draw(ax, **values):
        seen.append((values, matplotlib.rcParams["axes.grid"]))

    text = ipywidgets.Text("hello")
    moved = widgets.movable(draw, f={"square": 2, "cube": 3}, word=text, wide=(0.0, 1.0), alt="nothing")
    moved.controls["f"].value = 3
    assert seen == [({"f": 2, "word": "hello", "wide": 0.0}, True), ({"f": 3, "word": "hello", "wide": 0.0}, True)]
    assert dict(matplotlib.rcParams) == before


def test_movable_refuses_controls_it_cannot_make(draw):
    with pytest.raises(TypeError, match="no parameter 'scale'; its parameters are ax, mean, samples"):
        widgets.movable(draw, scale=(0, 1))
    for given in (3, (1,), (1, 2, 3, 4), None):
        with pytest.raises(TypeError, match=r"the control 'mean' is .*a list or dict of choices"):
            widgets.movable(draw, mean=given)


# --- questions ---

ASKED = question("Is $a < b$?", right("yes", "since <b> & $a$"), wrong("no <i>", "because not"), wrong("never", "why"))


def test_quiz_shows_the_reason_of_the_choice_and_lets_one_choose_again():
    shown = widgets.quiz([ASKED])
    (choices,) = [child for child in shown.children[1].children if isinstance(child, ipywidgets.RadioButtons)]
    assert choices.index is None
    assert not any("Right" in text or "because" in text for text in texts(shown))
    choices.index = 1
    assert "<b>✗ No.</b> because not" in texts(shown)[-1]
    choices.index = 0
    assert "<b>✓ Right.</b> since &lt;b&gt; &amp; $a$" in texts(shown)[-1]


def test_quiz_folds_the_answers_away_in_a_page():
    bundle = widgets.quiz([ASKED, ASKED])._repr_mimebundle_()
    page = bundle["text/html"]
    assert WIDGET in bundle
    assert page.count("Is $a &lt; b$?") == 2
    assert page.count("<details><summary>Answer</summary>") == 2
    before = page[: page.index("<details>")]
    assert "<li>no &lt;i&gt;</li>" in before
    assert "because" not in before
    assert "1. Is $a < b$?\n   - yes" in bundle["text/plain"]


ONE, OTHER = right("a", "b"), wrong("c", "d")


@pytest.mark.parametrize("choices", [(), (ONE,), (ONE, ONE), (OTHER, OTHER), (ONE, wrong("c", " "))])
def test_question_refuses(choices):
    with pytest.raises(ValueError, match=r"it needs 1 and some|no reason"):
        question("Why?", *choices)


def test_predict_notes_the_choice():
    asked = widgets.predict("$f$ < 1?", ["longer <b>", "shorter"])
    assert asked.choice is None
    asked.buttons[0].click()
    assert asked.choice == "longer <b>"
    assert texts(asked)[-1] == "Noted: <b>longer &lt;b&gt;</b>. Now run the next cell."
    asked.buttons[1].click()
    assert asked.choice == "shorter"
    assert [button.button_style for button in asked.buttons] == ["", "info"]


def test_predict_is_text_in_a_page():
    bundle = widgets.predict("$f$ < 1?", ["longer <b>", "shorter"])._repr_mimebundle_()
    assert bundle["text/html"] == ("<p><b>Predict.</b> $f$ &lt; 1?</p><ul><li>longer &lt;b&gt;</li><li>shorter</li></ul>")
    assert bundle["text/plain"] == "Predict. $f$ < 1?\n  - longer <b>\n  - shorter"
    with pytest.raises(ValueError, match="at least two"):
        widgets.predict("Really?", ["yes"])


# --- watch ---


@pytest.fixture
def pushers():
    """CartPole and three policies that always push: replicas 0 and 2 to the left, 1 to the right."""
    env = envs.make("CartPole-v1")
    policy = policies.for_env(env, Rng(range(3)), hidden=())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        bias = next(parameter for parameter in policy.parameters() if parameter.numel() == 6)
        bias.view(3, 2)[:] = torch.tensor([[50.0, -50.0], [-50.0, 50.0], [50.0, -50.0]])
    return env, policy


def animation(shown):
    """The animation in what ``watch`` returns, its caption and its description."""
    found = re.search(r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)".*<figcaption>(.*)</figcaption>', shown.data)
    return Image.open(io.BytesIO(base64.b64decode(found[1]))), found[3], found[2]


def lasts(env, action, seed=0):
    """How many steps a constant action keeps the pole up, from where ``watch`` begins."""
    state, steps, over = env.initial(Rng((seed,)).draw(env.spec.initial_noise, 1)), 0, False
    while not over:
        state, _, terminated = env.step(state, torch.full((1, 1), action), None)
        steps, over = steps + 1, bool(terminated)
    return steps


@pytest.mark.parametrize("greedy", [False, True])
def test_watch_plays_the_replica_asked_for(pushers, greedy):
    env, policy = pushers
    left, right_ = lasts(env, 0), lasts(env, 1)
    picture, caption, alt = animation(widgets.watch(policy, env, replica=1, greedy=greedy))
    assert caption == f"CartPole-v1, one episode: replica 1, return {right_} in {right_} steps"
    assert alt == f"Animation of {caption}."
    assert (picture.format, picture.size) == ("WEBP", (500, 200))
    assert picture.n_frames == 2 + right_ // 4 - (right_ % 4 == 0)  # of 500 possible steps every fourth, the first and the last
    _, caption, _ = animation(widgets.watch(policy, env, replica=[0, 1, 2], greedy=greedy))
    assert caption.endswith(
        f"replica 0, return {left} in {left} steps; replica 1, return {right_} in {right_} steps; "
        f"replica 2, return {left} in {left} steps"
    )


def test_watch_shows_several_replicas_side_by_side(pushers):
    env, policy = pushers
    picture, _, _ = animation(widgets.watch(policy, env, replica=[0, 1], steps=5))
    assert picture.size == (1008, 200)
    assert picture.n_frames == 6
    picture.seek(5)
    shown = np.asarray(picture.convert("RGB"), dtype=int)
    left, right_ = shown[:, :500], shown[:, 508:]
    # One cart has gone left, the other right, from the same place; lossy compression leaves a little between them.
    assert np.abs(left - right_).max() > 100


def test_watch_is_the_same_each_time_and_another_seed_is_another_episode(pushers):
    env, policy = pushers
    first = widgets.watch(policy, env, steps=3).data
    assert first == widgets.watch(policy, env, steps=3).data
    assert first != widgets.watch(policy, env, steps=3, seed=1).data


def test_watch_of_a_long_episode_keeps_the_animation_short(pushers, monkeypatch):
    env, policy = pushers
    monkeypatch.setattr(widgets, "FRAMES", 4)
    picture, _, _ = animation(widgets.watch(policy, env, steps=8))
    assert picture.n_frames == 5


def test_watch_a_gaussian_policy_until_the_time_limit():
    env = envs.make("Pendulum-v1")
    policy = policies.for_env(env, Rng(range(2), dtype=torch.float64))
    picture, caption, _ = animation(widgets.watch(policy, env, replica=1, steps=6))
    assert caption.endswith("in 6 steps")
    assert picture.n_frames == 7


def test_watch_refuses_a_replica_that_is_not_there(pushers):
    env, policy = pushers
    for replica in (3, -1, [], [0, 7]):
        with pytest.raises(ValueError, match=r"the policy has replicas 0 \.\. 2"):
            widgets.watch(policy, env, replica=replica)
