"""Presenting: JupyterLab as an audience sees it, and slides in one file. Both on a small lecture made here."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import browser
import nbformat
import pytest
from jupyterlab.commands import get_app_dir
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pgcourse import cli, notebooks, present, render, widgets

REPOSITORY = Path(__file__).resolve().parents[1]
WIDE = (
    r"$$"
    + " + ".join(rf"\sum_{{t=0}}^{{T-1}} w_t \nabla_\theta \log \pi_\theta(a_{{{i}}} \mid s_t)" for i in range(9))
    + r"\tag{4.1}$$"
)
SQUARE = (
    '<figure><img alt="" width="800" src="data:image/svg+xml,'
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'/%3E\"></figure>"
)


def lecture(*cells) -> nbformat.NotebookNode:
    return new_notebook(cells=list(cells), metadata={"kernelspec": {"display_name": "Python 3", "name": "python3"}})


def shown(html: str):
    return new_output("display_data", data={"text/html": html, "text/plain": "-"})


def code(source: str, *outputs):
    return new_code_cell(source, outputs=list(outputs), execution_count=1)


# Finding the lecture, the port and the folder


@pytest.mark.parametrize("number", ["4", "04"])
def test_a_lecture_is_found_by_its_number(number):
    assert present.find(number, notebooks.course_folder()).stem == "04_reinforce"


@pytest.mark.parametrize("number", ["99", "", "04_reinforce", "-1"])
def test_an_unknown_lecture_is_refused_and_the_known_ones_are_named(number, capsys):
    assert cli.main(["present", "--", number]) == 2
    assert re.search(r"there is no lecture .* There are: 00_start, .*03_log.*, 04_reinforce", capsys.readouterr().err)


def test_a_port_in_use_is_refused_and_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"cannot use port {port} .it is in use.. Choose another"):
            present.free_port(port)
        assert present.free_port(None) != port
    assert present.free_port(port) == port
    with pytest.raises(ValueError, match="cannot use port 70000"):
        present.free_port(70000)


def test_the_extension_is_where_jupyterlab_looks():
    folder = render.STATIC / "lab" / "pgcourse-present"
    package = json.loads((folder / "package.json").read_text())
    assert package["name"] == folder.name
    assert (folder / package["jupyterlab"]["_build"]["load"]).is_file()


def test_settings_name_what_jupyterlab_has():
    """A plugin or setting that JupyterLab does not know would be ignored without a word."""
    schemas = Path(get_app_dir()) / "schemas"
    for plugin, settings in present.SETTINGS.items():
        package, name = plugin.split(":")
        schema = json.loads((schemas / package / f"{name}.json").read_text())
        assert settings.keys() <= schema["properties"].keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.pdf", "does not end in .html"), ("missing/x.html", "missing: No such file"), ("folder.html", "Is a directory")],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, name, message):
    (tmp_path / "folder.html").mkdir()
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("was executed"))
    assert cli.main(["present", "04", "--export", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err


def test_a_cell_that_fails_is_named(tmp_path, monkeypatch, capsys):
    def fails(notebook, path):
        raise RuntimeError("cell 3: ZeroDivisionError: division by zero")

    monkeypatch.setattr(notebooks, "execute", fails)
    assert cli.main(["present", "04", "--export", str(tmp_path / "x.html")]) == 1
    assert "04_reinforce, cell 3: ZeroDivisionError" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


# What goes on slides


def classes(notebook) -> list[str]:
    return [" ".join(block["class"][1:]) for block in present.blocks(notebook, Path())]


def test_headings_begin_slides_and_what_belongs_together_stays():
    notebook = lecture(
        new_markdown_cell("# Title\n\nText.\n\nA list\n\n- one\n- two"),
        code("1 + 1", new_output("stream", text="2\n")),
        new_markdown_cell("Look:\n\n## Two\n\nMore."),
    )
    assert classes(notebook) == [
        "heading begins stays",
        "text",
        "text stays",
        "text",
        "code stays",
        "output",
        "text stays",
        "heading begins stays",
        "text",
    ]


def test_a_prediction_is_asked_without_its_code_and_the_next_cell_waits():
    html = widgets.predict("Which one?", ["this", "that"])._repr_mimebundle_()["text/html"]
    notebook = lecture(code('widgets.predict("Which one?", ["this", "that"])', shown(html)), code("print('this')"))
    assert classes(notebook) == ["output", "code begins stays"]
    asked = next(present.blocks(notebook, Path())).get_text()
    assert "Which one?" in asked
    assert "widgets" not in asked


QUIZ = [
    widgets.question(f"Question {n}?", widgets.right("yes", f"reason {n}"), widgets.wrong("no", f"mistake {n}")) for n in "ab"
]


def quiz_cell():
    return code("widgets.quiz(QUIZ)", shown(widgets.quiz(QUIZ)._repr_mimebundle_()["text/html"]))


def test_a_quiz_asks_on_one_slide_and_answers_on_the_next():
    found = list(present.blocks(lecture(quiz_cell()), Path()))
    assert [" ".join(block["class"]) for block in found] == ["block question begins", "block answer begins"] * 2
    texts = [block.get_text(" ") for block in found]
    assert all(word in texts[0] for word in ("1. ", "Question a?", "yes", "no"))
    assert "reason" not in texts[0]
    assert all(word in texts[1] for word in ("Question a?", "reason a", "mistake a"))
    assert "2. " in texts[2]
    assert not any(block.find("details") for block in found)


def test_the_cell_for_colab_is_left_out(tmp_path):
    colab = new_code_cell("install()", metadata={"tags": ["colab"]})
    nbformat.write(lecture(colab, new_markdown_cell("# T")), tmp_path / "04_x.ipynb")
    assert [cell.source for cell in present.read(tmp_path / "04_x.ipynb").cells] == ["# T"]


# Slides in a browser


@pytest.fixture(scope="module")
def chrome():
    path = browser.chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield chrome
        chrome.close()


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    rows = "\n".join(f"| row{i:03d} | $x_{{{i}}}$ |" for i in range(60))
    items = "\n".join(f"- item{i:03d}" for i in range(60))
    tall = '<div style="height:3000px">tall</div>'
    notebook = lecture(
        new_markdown_cell(r"# Title of $\mathbb{E}$" + f"\n\nFirst.\n\n{WIDE}"),
        code("x = 1\n" * 9, new_output("stream", text="".join(f"line{i:03d}\n" for i in range(100))), shown(SQUARE)),
        new_markdown_cell(f"## Table\n\n| a | b |\n|---|---|\n{rows}\n\n{items}"),
        code("tall", shown(tall)),
        quiz_cell(),
    )
    path = tmp_path_factory.mktemp("slides") / "slides.html"
    path.write_text(present.slides(notebook, Path()))
    return path


def opened(chrome, path: Path, **options):
    page, requests = chrome.new_context(viewport={"width": 1280, "height": 720}, **options).new_page(), []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]", state="attached")
    return page, requests


VISIBLE = "document.querySelector('.slide:not([hidden])')"


@pytest.mark.browser
def test_slides_lose_nothing_and_load_nothing(slides, chrome):
    page, requests = opened(chrome, slides)
    assert [url for url in requests if not url.startswith("data:")] == [slides.as_uri()]
    text = page.evaluate("document.querySelector('main').textContent")
    for word, count in (("line", 100), ("row", 60), ("item", 60)):
        assert re.findall(rf"{word}(\d\d\d)", text) == [f"{i:03d}" for i in range(count)]
    count = page.locator(".slide").count()
    scrolling = 0
    for number in range(1, count + 1):
        page.evaluate(f"location.hash = '#{number}'")
        browser.wait(
            lambda number=number: page.evaluate(f"{VISIBLE}.querySelector('footer').innerText").startswith(f"{number} / ")
        )
        over, across, style = page.evaluate(
            f"(() => {{ const c = {VISIBLE}.firstChild; return [c.scrollHeight - c.clientHeight, c.scrollWidth - c.clientWidth,"
            " getComputedStyle(c).overflowY]; })()"
        )
        assert across <= 1, number
        assert over <= 1 or style == "auto", number
        scrolling += over > 1
    assert scrolling == 1  # the output that cannot be split
    page.context.close()


@pytest.mark.browser
def test_slides_have_mathematics_and_large_type(slides, chrome):
    page, _ = opened(chrome, slides)
    assert page.locator("mjx-container").count() == page.locator("mjx-container > svg").count() == 62
    assert page.locator("[data-mml-node=merror]").count() == 0
    formula = page.locator('mjx-container[display="true"]').first.evaluate("f => [f.scrollWidth, f.clientWidth]")
    assert formula[0] <= formula[1] + 1
    size = "selector => parseFloat(getComputedStyle(document.querySelector(selector)).fontSize)"
    assert page.evaluate(size, ".slide p") >= 0.035 * 720
    assert page.evaluate(size, ".slide pre") >= 0.028 * 720
    page.evaluate("location.hash = '#' + (1 + [...document.querySelectorAll('.slide')].findIndex(s => s.querySelector('img')))")
    browser.wait(lambda: page.locator("img").bounding_box())
    assert page.locator("img").bounding_box()["height"] > 0.7 * 720
    page.context.close()


@pytest.mark.browser
def test_slides_turn_by_keys_buttons_and_swipes(slides, chrome):
    page, _ = opened(chrome, slides, has_touch=True)
    last = page.locator(".slide").count()

    def now():
        return int(page.evaluate(f"{VISIBLE}.querySelector('footer').innerText").split(" / ")[0])

    for key, number in [
        ("ArrowRight", 2),
        ("PageDown", 3),
        ("Space", 4),
        ("ArrowLeft", 3),
        ("PageUp", 2),
        ("Shift+Space", 1),
        ("ArrowLeft", 1),
        ("End", last),
        ("ArrowRight", last),
        ("Home", 1),
    ]:
        page.keyboard.press(key)
        assert now() == number, key
    page.click("[aria-label=Forward]")
    page.click("[aria-label=Forward]")
    assert now() == 3
    page.click("[aria-label=Back]")
    assert (now(), page.evaluate("location.hash")) == (2, "#2")
    swipe = """(distance) => {
        const at = (x) => [new Touch({ identifier: 1, target: document.body, clientX: x, clientY: 300 })];
        document.body.dispatchEvent(new TouchEvent("touchstart", { changedTouches: at(600), bubbles: true }));
        document.body.dispatchEvent(new TouchEvent("touchend", { changedTouches: at(600 + distance), bubbles: true }));
    }"""
    page.evaluate(swipe, -200)
    assert now() == 3
    page.evaluate(swipe, 200)
    assert now() == 2
    # A slide that is longer than the screen is read to its end before the next one comes.
    page.evaluate(
        "location.hash = '#' + (1 + [...document.querySelectorAll('.slide')].findIndex(s => s.querySelector('.scrolls')))"
    )
    browser.wait(lambda: page.evaluate(f"{VISIBLE}.querySelector('.scrolls') !== null"))
    tall = now()
    page.keyboard.press("PageDown")
    assert now() == tall
    assert page.evaluate(f"{VISIBLE}.firstChild.scrollTop") > 300
    for _ in range(9):
        page.keyboard.press("PageDown")
    assert now() > tall
    page.set_viewport_size({"width": 1920, "height": 1080})
    browser.wait(lambda: page.evaluate(f"{VISIBLE}.getBoundingClientRect().width") == 1920)
    page.context.close()


@pytest.mark.browser
def test_slides_print_one_to_a_page(slides, chrome):
    page, _ = opened(chrome, slides)
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == page.locator(".slide").count()
    page.context.close()


# JupyterLab in a browser


LIVE = lecture(
    new_markdown_cell("# A small lecture\n\nRead $x_1$ first.\n\n" + WIDE),
    new_code_cell("from pgcourse import widgets\n\nwidth = 6"),
    new_code_cell("print('\\n'.join(f'line {i}' for i in range(80)))"),
    new_markdown_cell("## After a long output\n\n" + "A paragraph.\n\n" * 3),
    new_code_cell(
        "def draw(ax, height=1):\n    ax.bar([0, 1], [height, 1])\n    ax.set_ylim(0, 9)\n\n\n"
        'widgets.movable(draw, size=(8, 5), height=(0, 9), caption="It moves.")'
    ),
    new_markdown_cell("The end."),
)


@pytest.fixture(scope="module")
def presentation(tmp_path_factory, chrome):
    """A page of a running presentation, what it requested, the process and the folder of the copy."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "course" / "lectures").mkdir(parents=True)
    nbformat.write(LIVE, folder / "course/lectures/04_small.ipynb")
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "TMPDIR": str(folder),
    }
    start = "import sys; from pathlib import Path; from pgcourse import present; present.live(Path(sys.argv[1]), browser=False)"
    process = subprocess.Popen(
        [sys.executable, "-c", start, str(folder / "course/lectures/04_small.ipynb")],
        env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said = [process.stdout.readline() for _ in range(3)]
        copy = Path(re.search(r"a copy, (\S+)/course/lectures/04_small\.ipynb", said[0])[1])
        address = re.search(r"http://127\.0\.0\.1:\d+/doc/tree/lectures/04_small\.ipynb\?token=\w+", said[1])[0]
        browser.wait(lambda: answers(address), "JupyterLab's answer", 90)
        page, requests = chrome.new_page(viewport={"width": 1280, "height": 720}), []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        browser.wait(
            lambda: page.evaluate("document.querySelectorAll('.jp-mod-presentationMode .jp-Cell').length"), "cells", 90
        )
        browser.wait(
            lambda: (
                "Idle" in (page.locator(".jp-Notebook-ExecutionIndicator").first.get_attribute("data-status") or "").title()
            ),
            "a kernel",
            60,
        )
        yield page, requests, process, copy
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def active(page) -> int:
    return page.evaluate("[...document.querySelectorAll('.jp-Cell')].findIndex(cell => cell.matches('.jp-mod-active'))")


def box(page, selector: str, last: bool = False) -> dict:
    found = page.locator(selector)
    return (found.last if last else found.first).bounding_box()


def advance(page, to: int) -> None:
    """Shift-Enter until a cell is current; what is not in view is shown first, which takes one more."""
    for _ in range(4):
        if active(page) >= to:
            return
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(700)
    assert active(page) == to


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_a_presentation(presentation):
    page, requests, process, copy = presentation
    page.wait_for_timeout(1000)

    # Nothing but the notebook and its toolbar, in large type
    assert (
        page.locator(".jp-SideBar:visible, #jp-left-stack:visible, #jp-menu-panel:visible, #jp-top-panel:visible").count() == 0
    )
    assert box(page, ".jp-Notebook")["width"] >= 1270
    size = "selector => parseFloat(getComputedStyle(document.querySelector(selector)).fontSize)"
    assert page.evaluate(size, ".jp-MarkdownOutput p") >= 0.039 * 720
    assert page.evaluate(size, ".jp-InputArea .cm-content") >= 0.033 * 720

    # Shift-Enter: from cell to cell; a formula that is too wide is set smaller
    advance(page, 1)
    formula = page.locator('mjx-container[display="true"]').evaluate("f => [f.scrollWidth, f.clientWidth]")
    assert formula[0] <= formula[1] + 1
    advance(page, 2)
    advance(page, 3)
    browser.wait(lambda: "line 79" in page.locator(".jp-OutputArea-output").first.inner_text(), "the output")
    page.wait_for_timeout(700)
    output, head = box(page, ".jp-OutputArea-output"), box(page, ".jp-Cell.jp-mod-active")
    assert output["y"] + output["height"] > 0.8 * 720, "as much of a long output as there is room for"
    assert 0 < head["y"] < 720 - 30, "and the head of the current cell"
    page.keyboard.press("Shift+Enter")  # shows it whole, before anything else happens
    page.wait_for_timeout(300)
    assert active(page) == 3
    head = box(page, ".jp-Cell.jp-mod-active")
    assert head["y"] >= 0
    assert head["y"] + head["height"] <= 721

    # A figure that moves, as large as possible, with its controls
    advance(page, 5)
    image = ".jp-OutputArea .widget-image"
    browser.wait(lambda: page.locator(image).count(), "the figure")
    page.wait_for_timeout(1000)
    picture, handle = box(page, image), box(page, ".noUi-handle")
    assert picture["height"] > 0.6 * 720
    assert min(picture["y"], handle["y"]) >= 0
    assert picture["y"] + picture["height"] <= 720
    assert page.evaluate(size, ".widget-label") >= 0.033 * 720
    before = page.locator(image).get_attribute("src")
    page.locator(".noUi-handle").click()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    browser.wait(lambda: page.locator(image).get_attribute("src") != before, "another picture", 30)
    count = page.locator(".jp-InputPrompt").nth(4).inner_text()
    assert active(page) == 4
    page.keyboard.press("Shift+Enter")  # goes on, and does not run the figure's cell again
    page.wait_for_timeout(700)
    assert active(page) == 5
    assert page.locator(".jp-InputPrompt").nth(4).inner_text() == count == "[3]:"

    # Nothing from elsewhere, nothing kept that nobody saved, nothing of the user's touched
    outside = [url for url in requests if not re.match(r"http://127\.0\.0\.1:|data:|blob:", url)]
    assert outside == []
    assert (copy / "course/lectures/04_small.ipynb").is_file()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 0
    assert not copy.exists()
    assert not (copy.parent / "config").exists()
    course = copy.parent / "course/lectures"
    assert [path.name for path in course.iterdir()] == ["04_small.ipynb"]
    assert nbformat.read(course / "04_small.ipynb", as_version=4) == LIVE


def test_what_was_saved_is_kept(tmp_path, monkeypatch, capsys):
    from jupyterlab.labapp import LabApp

    def saves(arguments):
        root = next(Path(a.partition("=")[2]) for a in arguments if a.startswith("--ServerApp.root_dir="))
        (root / "lectures/notes.txt").write_text("mine")
        kept.append(root)

    kept = []
    monkeypatch.setattr(LabApp, "launch_instance", saves)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    present.live(present.find("04", notebooks.course_folder()), browser=False)
    assert f"You saved lectures/notes.txt: kept in {kept[0]}" in capsys.readouterr().out
    assert (kept[0] / "lectures/notes.txt").read_text() == "mine"
    assert sorted(path.name for path in kept[0].parent.iterdir()) == ["course"]
