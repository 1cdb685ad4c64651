"""Sources become notebooks, notebooks become pages. (nbval runs the course's notebooks themselves: see conftest.py.)"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from subprocess import CalledProcessError
from types import SimpleNamespace

import browser
import jupytext
import nbformat
import pytest

import pgcourse
from pgcourse import notebooks, render

LECTURE = r"""# %% [markdown]
# # The *title* & more
#
# How can I differentiate $\mathbb{E}[f(x)]$?
#
# [Next](04_second.ipynb), [exercise](../exercises/03_first.ipynb), [paper](https://example.org/paper).

# %%
import ipywidgets
from IPython.display import display

pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

# %% [markdown]
# $$\nabla_\theta J = \mathbb{E}\left[f(x)\, \nabla_\theta \log p_{\boldsymbol{\theta}}(x)\right] \tag{3.1}$$

# %%
ipywidgets.interact(lambda mean: print("dead widget", mean), mean=(0.0, 1.0))
display({"image/png": pixel, "text/plain": "<Figure>"}, raw=True)
display({"image/webp": "UklGRg==", "text/plain": "<Animation>"}, raw=True)
plot = display({"text/plain": "first state"}, raw=True, display_id=True)
plot.update({"text/plain": "last state"}, raw=True)
print("1 %\r100 %")

# %% tags=["raises-exception"]
len(3)
"""

SECOND = """# %% [markdown]
# # Second
#
# How do trajectories turn into a gradient?

# %%
%time 6 * 7
"""

SOLUTION = """# %% [markdown]
# # Exercise 03

# %%
from pgcourse.grading import check

# %% [markdown]
# Write the score.

# %%
# solution: 03.score

# %%
check(score).points

# %% tags=["solution-only"]
print("why it is so")

# %%
score(2.0)
"""

STUB = 'def score(x):\n    """The score, [N]."""\n    raise NotImplementedError\n'
REFERENCE = 'def score(x):\n    """The score, [N]."""\n    return -(x - 1.0)\n'


def find(identifier):
    if identifier != "03.score":
        raise KeyError(f"no task {identifier!r}; nearest: 03.score")
    return SimpleNamespace(id=identifier, name="score", points=2)


def write_course(folder: Path) -> Path:
    for name, text in {
        "lectures/03_first.py": LECTURE,
        "lectures/04_second.py": SECOND,
        "solutions/03_first.py": SOLUTION,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two lectures and one task, so that these tests depend on no real exercise."""
    fake = SimpleNamespace(find=find, stub_source=lambda task: STUB, reference_source=lambda task: REFERENCE)
    monkeypatch.setattr(pgcourse, "grading", fake, raising=False)
    return write_course(tmp_path)


def cells_of(path: Path) -> list:
    """The cells that come from the source: all but the first, which is for Colab."""
    colab, *cells = nbformat.read(path, as_version=4).cells
    assert colab.metadata.tags == ["colab"]
    return cells


def code_of(path: Path) -> list[str]:
    return [cell.source for cell in cells_of(path) if cell.cell_type == "code"]


# Building


def test_the_course_folder_holds_the_course():
    assert {"lectures", "exercises", "solutions"} <= {path.name for path in notebooks.course_folder().iterdir()}


def test_build_makes_each_notebook_once(course):
    written = notebooks.build(course)
    assert sorted(str(path.relative_to(course)) for path in written) == [
        "exercises/03_first.ipynb",
        "lectures/03_first.ipynb",
        "lectures/04_second.ipynb",
        "solutions/03_first.ipynb",
    ]
    assert notebooks.build(course) == []
    assert notebooks.check(course) == []


def test_build_is_deterministic(course, tmp_path_factory):
    again = write_course(tmp_path_factory.mktemp("again"))
    for path in notebooks.build(course):
        notebooks.build(again)
        assert path.read_bytes() == (again / path.relative_to(course)).read_bytes()


def test_notebooks_are_valid_and_bare(course):
    for path in notebooks.build(course):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        assert notebook.metadata.kernelspec.name == "python3"
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
        assert all(set(cell.metadata) <= {"tags", "nbgrader"} for cell in notebook.cells[1:])
        assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if "outputs" in cell)


def test_a_notebook_holds_what_its_source_says(course):
    notebooks.build(course)
    for name in ("03_first", "04_second"):
        source = jupytext.read(course / f"lectures/{name}.py", fmt="py:percent")
        made = cells_of(course / f"lectures/{name}.ipynb")
        assert [(cell.cell_type, cell.source) for cell in made] == [(cell.cell_type, cell.source) for cell in source.cells]
        assert made[0].source.startswith("# ")
    assert code_of(course / "lectures/04_second.ipynb") == ["%time 6 * 7"]


def test_an_inserted_cell_keeps_the_other_ids(course):
    path = course / "lectures/04_second.ipynb"
    notebooks.build(course)
    before = {cell.id for cell in nbformat.read(path, as_version=4).cells}
    (course / "lectures/04_second.py").write_text("# %%\nnew = 1\n\n" + SECOND)
    notebooks.build(course)
    after = {cell.id for cell in nbformat.read(path, as_version=4).cells}
    assert before < after


def test_solution_holds_the_reference_and_exercise_the_stub(course):
    notebooks.build(course)
    assert code_of(course / "solutions/03_first.ipynb") == [
        "from pgcourse.grading import check",
        REFERENCE.strip(),
        "check(score).points",
        'print("why it is so")',
        "score(2.0)",
    ]
    assert code_of(course / "exercises/03_first.ipynb") == [
        "from pgcourse.grading import check",
        STUB.strip(),
        "check(score).points",
        "score(2.0)",
    ]
    assert "x - 1.0" not in (course / "exercises/03_first.ipynb").read_text()


REGION = "# %%\n# solution: 03.score\n"
CHECK = "# %%\ncheck(score).points\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "solutions/04_b.py",
            REGION.replace("score", "scare"),
            r"04_b\.py, cell 1 .*no task '03.scare'; nearest: 03.score",
        ),
        ("solutions/04_b.py", REGION, r"04_b\.py, cell 1 .*already asked in solutions/03_first\.py, cell 4"),
        ("solutions/03_first.py", REGION, r"cell 1 .*0 cells are check\(score\)\.points; there must be one"),
        ("solutions/03_first.py", REGION + CHECK + CHECK, r"cell 1 .*2 cells are check\(score\)\.points"),
        ("solutions/03_first.py", REGION + "# %%\ncheck(score)\n", r"03_first\.py, cell 2 .*write check\(score\)\.points"),
        ("solutions/04_b.py", "# %%\nx = 1\n# solution: 03.score\n", r"04_b\.py, cell 1 .*a cell of one line"),
        ("lectures/05_b.py", "# %%\nx = 1\n\n" + REGION, r"lectures/05_b\.py, cell 2 .*belong in solutions"),
        ("lectures/05_b.py", "# %% [markdwon]\n# Text\n", r"05_b\.py, cell 1 .*markdwon.*only \[markdown\] and tags"),
        ("lectures/05_b.py", '# %% tags=["solution_only"]\nx = 1\n', r"cell 1 .*'solution_only'.*solution-only"),
        ("lectures/05_b.py", '# %% tags="solution-only"\nx = 1\n', r"05_b\.py: malformed cell marker: 'solution-only'"),
        ("lectures/05_b.py", "# %% [raw]\n# Text\n", r"cell 1 .*a raw cell"),
        (
            "lectures/05_b.py",
            "# %%\nx = 1\n\n# %%\nx = = 1\n",
            r"05_b\.py, cell 2 \('x = = 1'\): line 1: invalid syntax",
        ),
        ("lectures/05_b.py", "# %%\nx = 1\n\n# %%\n\n# %%\nx = 2\n", r"05_b\.py, cell 2 .*empty"),
        ("lectures/05_b.py", "", r"05_b\.py: no cells"),
        ("lectures/Five.py", "# %%\nx = 1\n", r"lectures/Five\.py: a source is named by number and slug"),
    ],
)
def test_a_malformed_source_is_named_and_nothing_is_written(course, name, text, message):
    (course / name).write_text(text)
    with pytest.raises(notebooks.SourceError, match=message):
        notebooks.build(course)
    assert not list(course.rglob("*.ipynb"))
    assert re.search(message, notebooks.check(course)[0])


def test_a_folder_without_sources_is_refused(tmp_path):
    with pytest.raises(notebooks.SourceError, match="is this the course's folder"):
        notebooks.build(tmp_path)


def test_a_working_copy_is_never_overwritten(course):
    (course / ".pgcourse").touch()
    with pytest.raises(notebooks.SourceError, match="would overwrite answers"):
        notebooks.build(course)


# Checking


def change_first_cell(path: Path, **fields) -> None:
    notebook = json.loads(path.read_text())
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code").update(fields)
    path.write_text(json.dumps(notebook))


def test_check_finds_a_missing_notebook(course):
    notebooks.build(course)
    (course / "exercises/03_first.ipynb").unlink()
    (problem,) = notebooks.check(course)
    assert "exercises/03_first.ipynb is missing" in problem


def test_check_finds_a_hand_edit(course):
    notebooks.build(course)
    change_first_cell(course / "exercises/03_first.ipynb", source=["edited = True"])
    (problem,) = notebooks.check(course)
    assert "exercises/03_first.ipynb differs from its source in cell 1" in problem


def test_check_finds_outputs(course):
    notebooks.build(course)
    output = {"output_type": "stream", "name": "stdout", "text": ["42"]}
    change_first_cell(course / "lectures/04_second.ipynb", outputs=[output], execution_count=1)
    (problem,) = notebooks.check(course)
    assert "lectures/04_second.ipynb carries outputs" in problem


def test_check_finds_changed_metadata(course):
    notebooks.build(course)
    change_first_cell(course / "lectures/04_second.ipynb", metadata={"collapsed": True})
    (problem,) = notebooks.check(course)
    assert "lectures/04_second.ipynb differs from its source in metadata" in problem


def test_check_finds_an_orphan(course):
    notebooks.build(course)
    (course / "lectures/05_gone.ipynb").write_text("{}")
    (problem,) = notebooks.check(course)
    assert "lectures/05_gone.ipynb has no source" in problem


@pytest.mark.parametrize("text", ["not json", "[]", '{"cells": 3}'])
def test_check_survives_what_is_not_a_notebook(course, text):
    notebooks.build(course)
    (course / "lectures/04_second.ipynb").write_text(text)
    (problem,) = notebooks.check(course)
    assert "lectures/04_second.ipynb is not a notebook" in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# %%\n" + "x = 1\n" * 21, "cell 1 ('x = 1'): 21 lines of code"),
        ("# %% [markdown]\n# This is\n# obviously so.\n", "says 'obviously'"),
    ],
)
def test_check_finds_broken_house_rules(course, text, message):
    (course / "lectures/05_b.py").write_text(text)
    notebooks.build(course)
    (problem,) = notebooks.check(course)
    assert message in problem


# On Colab

FAKE_PIP = """import json, os, sys
with open(os.environ["PIP_SAW"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(int(os.environ.get("PIP_FAILS", 0)))
"""


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """Runs the first cell of a notebook; gives the arguments of the calls of pip, which is a fake one."""
    (tmp_path / "fake/pip").mkdir(parents=True)
    (tmp_path / "fake/pip/__init__.py").touch()
    (tmp_path / "fake/pip/__main__.py").write_text(FAKE_PIP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setenv("PIP_SAW", str(tmp_path / "calls"))
    monkeypatch.chdir(tmp_path)

    def run(on_colab: bool = True, installed: bool = False) -> list[list[str]]:
        if on_colab:
            monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
        if not installed:
            monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        exec(nbformat.read(notebooks.course_folder() / "lectures/00_start.ipynb", as_version=4).cells[0].source, {})
        calls = tmp_path / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    return run


def test_elsewhere_the_first_cell_does_nothing(colab):
    assert colab(on_colab=False) == []


def test_on_colab_the_first_cell_installs_what_the_lectures_need(colab):
    with open(notebooks.course_folder() / "pyproject.toml", "rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    libraries, course = colab()
    assert libraries[:2] == ["install", "--quiet"]
    assert set(libraries[2:]) <= set(needed)
    assert course == ["install", "--quiet", "--no-deps", f"pgcourse=={pgcourse.__version__}"]


def test_what_colab_has_is_not_installed_again(colab):
    assert colab(installed=True) == []


def test_on_colab_an_uploaded_wheel_counts_first(colab, tmp_path):
    (tmp_path / "pgcourse-0.1.0-py3-none-any.whl").touch()
    assert colab()[1][-1] == "pgcourse-0.1.0-py3-none-any.whl"


def test_a_failed_installation_is_no_silent_one(colab, monkeypatch):
    monkeypatch.setenv("PIP_FAILS", "1")
    with pytest.raises(CalledProcessError):
        colab()


def test_lectures_need_nothing_that_is_left_out_on_colab():
    """Without the packages that the first cell does not install, the modules that notebooks import can be imported."""
    absent = ("jupyterlab", "jupytext", "nbformat", "nbclient", "nbconvert", "bs4", "tyro")
    sources = [path.read_text() for path in notebooks.course_folder().glob("[ls]*s/*.py")]
    imports = sorted({line for text in sources for line in re.findall(r"^(?:from pgcourse|import pgcourse).*$", text, re.M)})
    code = "\n".join(["import sys", *(f"sys.modules[{name!r}] = None" for name in absent), *imports])
    assert imports
    subprocess.run([sys.executable, "-c", code], check=True)


# Pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The executed lectures (one kernel each, without torch): folder of pages, progress lines."""
    folder = write_course(tmp_path_factory.mktemp("course"))
    shutil.rmtree(folder / "solutions")
    notebooks.build(folder)
    lines = []
    written = notebooks.pages(folder, folder / "pages", say=lines.append)
    assert [path.name for path in written] == ["index.html", "03_first.html", "04_second.html"]
    return folder / "pages", lines


def body(path: Path) -> str:
    return re.search(r"<body>.*</body>", path.read_text(), re.DOTALL)[0]


def test_pages_say_how_they_get_on(pages):
    _, lines = pages
    assert lines[0] == "[1/2] 03_first: running"
    assert re.search(r"03_first\.html \(\d\.\d MB, \d+ s\)", lines[1])


def test_a_page_has_its_title_language_and_neighbours(pages):
    folder, _ = pages
    text = (folder / "03_first.html").read_text()
    assert "<title>The title &amp; more</title>" in text
    assert '<html lang="en">' in text
    assert text.count('<a href="04_second.html">Second &rarr;</a>') == 2
    assert '<a href="03_first.html">&larr; The title &amp; more</a>' in (folder / "04_second.html").read_text()
    assert 'href="03_first.html"' in body(folder / "index.html")
    assert "How do trajectories turn into a gradient?" in body(folder / "index.html")


def test_a_page_keeps_pictures_and_drops_what_needs_a_kernel(pages):
    text = body(pages[0] / "03_first.html")
    assert '<img alt="What the code above draws." src="data:image/png;base64,iVBOR' in text
    assert '<img alt="What the code above draws." src="data:image/webp;base64,UklGR' in text
    assert "application/vnd.jupyter" not in text
    # of "1 %\r100 %" the carriage return leaves what a terminal would show
    assert re.findall(r"<pre>\n?(.*?)\n?</pre>", text.partition("interact")[2])[:2] == ["last state", "100 %"]


def test_a_page_shows_errors_in_colour_not_codes(pages):
    text = body(pages[0] / "03_first.html")
    assert 'class="ansi-red-fg">TypeError' in text
    assert "\x1b" not in text


def test_links_lead_to_pages_or_to_nothing(pages):
    text = body(pages[0] / "03_first.html")
    assert '<a href="04_second.html">Next</a>' in text
    assert '<a href="https://example.org/paper">paper</a>' in text
    assert "exercises/03_first" not in text


def test_a_page_loads_nothing(pages):
    for path in pages[0].glob("*.html"):
        text = re.sub(r"<script>.*?</script>", "<script></script>", path.read_text(), flags=re.DOTALL)
        loaded = re.findall(r"""<(?:script|img|iframe|link|video|source)[^>]*?(?:src|href)=["']?([^"'>\s]+)""", text)
        loaded += re.findall(r"""(?:url\(|@import)\s*["']?([^"')]+)""", text)
        assert [url[:40] for url in loaded if not url.startswith("data:")] == []
        assert "default-src 'none'" in text


def test_a_remote_picture_is_refused():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("![far](https://example.org/far.png)")])
    with pytest.raises(ValueError, match=r"<img> loads https://example.org/far.png"):
        render.fragment(notebook, Path())


def test_a_picture_beside_the_notebook_goes_into_the_page(tmp_path):
    (tmp_path / "dot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("![dot](dot.svg)")])
    assert "data:image/svg+xml;base64," in render.fragment(notebook, tmp_path)


def test_a_failing_lecture_is_named_and_the_others_are_written(tmp_path):
    course = write_course(tmp_path)
    (course / "lectures/03_first.py").write_text("# %% [markdown]\n# # First\n\n# %%\nx = 1\n\n# %%\nx / 0\n")
    shutil.rmtree(course / "solutions")
    notebooks.build(course)
    with pytest.raises(RuntimeError, match=r"lectures/03_first\.ipynb: cell 3: ZeroDivisionError: division by zero"):
        notebooks.pages(course, course / "pages", say=lambda line: None)
    assert sorted(path.name for path in (course / "pages").iterdir()) == ["04_second.html", "index.html"]
    assert "03_first.html" not in body(course / "pages/index.html")


# In a browser


@pytest.fixture(scope="module")
def chrome():
    path = browser.chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield chrome
        chrome.close()


def open_page(chrome, path: Path, width: int = 1000):
    """The page after its mathematics is set, and what it requested."""
    page, requests = chrome.new_page(viewport={"width": width, "height": 800}), []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("MathJax.startup.promise.then(() => true)")
    return page, [url for url in requests if not url.startswith("data:")]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1000, 390])
def test_a_page_is_whole_without_a_network(pages, chrome, width):
    path = pages[0] / "03_first.html"
    page, requests = open_page(chrome, path, width)
    assert requests == [path.as_uri()]
    assert page.locator("mjx-container").count() == page.locator("mjx-container > svg").count() == 2
    assert page.locator("[data-mml-node=merror]").count() == 0
    assert "$" not in page.locator("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('main p')).fontSize)") >= 16
    page.close()


@pytest.mark.browser
def test_an_equation_wider_than_the_page_shrinks_until_its_number_is_seen(chrome, tmp_path):
    path = tmp_path / "wide.html"
    wide, narrow = (rf"$$ {' + '.join(count * 'x')} \tag{{1.{count}}} $$" for count in (19, 3))
    path.write_text(render.document("Wide", f"<p>{wide}</p><p>{narrow}</p>"))
    page, _ = open_page(chrome, path)
    equations = page.locator('mjx-container[display="true"]')
    assert equations.evaluate_all("all => all.map(e => e.scrollWidth <= e.clientWidth)") == [True, True]
    sizes = equations.evaluate_all("all => all.map(e => e.style.fontSize)")
    assert 75 <= int(sizes[0].rstrip("%")) < 100
    assert sizes[1] == ""
    page.close()


# The course itself


def test_the_courses_notebooks_are_what_their_sources_make():
    assert notebooks.check() == []


def test_exercises_tell_no_solution():
    from pgcourse import grading

    text = "\n".join(line for path in (notebooks.course_folder() / "exercises").glob("*.ipynb") for line in code_of(path))
    for task in grading.tasks():
        reference, stub = (
            {line.strip() for line in source(grading.find(task.id)).splitlines()}
            for source in (grading.reference_source, grading.stub_source)
        )
        told = [line for line in reference - stub if len(line) > 20 and line in text]
        assert told == [], task.id


@pytest.mark.browser
def test_the_courses_mathematics_is_well_formed(chrome, tmp_path):
    folder = notebooks.course_folder()
    for path in sorted(folder.glob("[les]*/*.ipynb")):
        page = tmp_path / f"{path.parent.name}-{path.stem}.html"
        notebook = nbformat.read(path, as_version=4)
        page.write_text(render.document(path.stem, render.fragment(notebook, path.parent)))
        opened, _ = open_page(chrome, page)
        assert opened.locator("[data-mml-node=merror]").all_inner_texts() == [], path
        opened.close()
