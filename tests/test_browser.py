"""A first hour in a real browser: the lecture runs, moves and draws; the exercise is blank, right, or wrong by name."""

import browser
import pytest

from pgcourse import grading, notebooks, workspace

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TASK = "04.episode_log_probability"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    workspace.start(folder, notebooks.course_folder())
    with browser.lab(folder, {"PGCOURSE_BUDGET": "small", "OMP_NUM_THREADS": "1"}) as server:
        yield server


def test_lecture_04_runs_its_figure_moves_and_training_redraws(lab):
    page = lab.open("lectures/04_reinforce.ipynb")
    training = page.find("plots.live(")
    states = set()

    def advancing():
        assert not page.errors(), "; ".join(page.errors())
        states.update(str(output["data"].get("text/html")) for output in page.cells()[training]["outputs"] if "data" in output)
        return page.done()

    page.run_all()
    browser.wait(advancing, "the end of the lecture", 400)
    assert len(states) > 2, "the training plot must redraw while the run goes on"
    assert all("pgcourse-live" in state for state in states)

    figure = page.find("widgets.movable(")
    page.show(figure)
    picture = ".jp-OutputArea img[src^='blob:'], .jp-OutputArea .widget-image"
    browser.wait(lambda: page.count(picture), "the movable figure")
    page.watch(picture)
    handle = page.page.locator(".noUi-handle").first
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")
    browser.wait(lambda: page.changes() > 0, "another picture after the slider has moved", 30)


def test_exercise_04_is_blank_then_right_then_wrong_by_name(lab):
    task = grading.find(TASK)
    page = lab.open("exercises/04_reinforce.ipynb")
    page.run_all()
    page.wait_until_done(200)
    answer, asked = page.find(f"def {task.name}("), page.find(f"check({task.name})")

    def said():
        return "".join(output.get("text", "") for output in page.run(asked))

    assert "not attempted" in said()
    page.write(answer, grading.reference_source(task))
    page.run(answer)
    assert f"{task.points}" in said()
    assert "passed" in said()
    page.write(answer, f"def {task.name}(log_probability, valid):\n    return log_probability.sum(0)")
    page.run(answer)
    text = " ".join(said().split())
    assert "failed" in text
    (sentence,) = (mistake.sentence for mistake in task.mistakes if mistake.name == "forgets valid")
    assert sentence in text
