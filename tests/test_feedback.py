"""Pages for students and the class report: whatever students wrote, they are legible, complete, private, and do nothing."""

import dataclasses
import re
import time
import unicodedata

import browser
import pytest
from bs4 import BeautifulSoup

from pgcourse import cli, grading
from pgcourse.grading import feedback, pages
from pgcourse.grading.gradebook import Gradebook
from pgcourse.grading.judge import MARKS
from pgcourse.grading.standing import Standing, TaskStanding
from pgcourse.grading.submissions import Submission
from pgcourse.grading.unit import Report

TASKS = grading.tasks()
SURROGATE, MISTAKEN = TASKS[3], TASKS[5]
MISTAKE = MISTAKEN.mistakes[0]


def judged(task=TASKS[0], status="passed", points=None, message="Right on all 8 inputs.", **other) -> TaskStanding:
    points = (task.points if status == "passed" else 0) if points is None else points
    rest = {"mistake": None, "printed": "", "override": ""} | other
    return TaskStanding(task.id, task.title, status, points, task.points, message, **rest)


def standing(student="ada", tasks=(), **other) -> Standing:
    """As the gradebook would make it: points and possible points are the tasks' sums."""
    rest = {
        "submitted": "2026-11-20T22:14:03+00:00",
        "late": "",
        "rejected": None,
        "notices": (),
        "flags": (),
        "level": "S2",
        "graded": "2026-11-21T09:00:00+00:00",
        "sha256": "ab" * 32,
        "points": sum(task.points for task in tasks),
        "max_points": sum(task.max_points for task in tasks) or 10,
    }
    return Standing(student=student, tasks=tuple(tasks), **(rest | other))


ZALGO = "Z" + "\u0300\u0489" * 300
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></style></pre><svg onload=alert(1)>",
    "\"' onmouseover=alert(1) x='",
    "<!-- --><base href=//evil.example><meta http-equiv=refresh content=0;//evil.example>",
    "&lt;script&gt; &#x202e; {style} %s",
    "\u202egnp.exe\u2066\u200f",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x1b",
    "NUL \x00 BEL \x07 DEL \x7f C1 \x9b1m",
    "lone \ud800 and \udfff",
    "line\u2028paragraph\u2029feed\x0c\ufeff\U000e0041",
    ZALGO,
    "W" * 5000,
    "=HYPERLINK(1)",
)
FORBIDDEN = "script, img, iframe, object, embed, form, base, link, meta[http-equiv=refresh], audio, video, input, button"


def hostile() -> Standing:
    """A submission in which every text is an attack."""
    text = "\n".join(HOSTILE)
    statuses = ("failed", "error", "timeout", "memory", "crash", "tamper", "not attempted", "passed", HOSTILE[0])
    tasks = [
        dataclasses.replace(judged(task, status), message=text, printed=text, override=text, title=text, mistake=text)
        for task, status in zip(TASKS, statuses, strict=False)
    ]
    tasks.append(dataclasses.replace(tasks[0], task=text))
    given = dict.fromkeys(("submitted", "late", "rejected", "level", "graded", "sha256"), text)
    return standing(text, tasks, notices=HOSTILE, flags=HOSTILE, **given)


def everyday() -> Standing:
    """Some of everything."""
    return standing(
        "Ada Lovelace",
        [
            judged(),
            judged(TASKS[1], "failed", 1, "your score differs by 0.3 at [0, 1]\n  yours  0.4\n  right  0.7"),
            judged(TASKS[2], "error", message="TypeError: unsupported operand", printed="50 %\r100 %\nshape (3, 4)"),
            judged(SURROGATE, "not attempted", message="Not attempted."),
            judged(TASKS[4], "timeout", message="Stopped after 10 seconds."),
            judged(MISTAKEN, "failed", message=f"{MISTAKE.sentence}\nThe inputs were\n  x = [0.1]", mistake=MISTAKE.name),
            judged(TASKS[6], "crash", 1.5, "It died: signal 11.", override="A slip; shown in the oral exam."),
        ],
        late="2 days late: -20 %",
        notices=("%pip install torch left out", "gaussian_score is defined twice; the last counts"),
        flags=("THE FLAG",),
        points=5.2,
    )


def a_class(size: int) -> list[Standing]:
    """``size`` students: of every ten seven passed, one made a mistake that has a name, one is flagged, one was refused."""
    made = []
    for place in range(size):
        right = [judged(task) for task in TASKS[:4]]
        wrong = judged(MISTAKEN, "failed", message=MISTAKE.sentence, mistake=MISTAKE.name)
        name = f"student {place:04}"
        if place % 10 == 1:
            made.append(standing(name, [*right, wrong], level="S1"))
        elif place % 10 == 2:
            made.append(standing(name, [*right, judged(MISTAKEN, "tamper", message="?")], flags=("wrote to the channel",)))
        elif place % 10 == 3:
            nothing = [judged(task, "not attempted") for task in (*TASKS[:4], MISTAKEN)]
            made.append(standing(name, nothing, rejected="It is not a notebook."))
        else:
            made.append(standing(name, [*right, judged(MISTAKEN)], late="1 day late: -10 %" if place % 10 == 4 else ""))
    return made


def parsed(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "html.parser")


def flat(element) -> str:
    return " ".join(element.get_text(" ").split())


def section(page: str, title: str):
    """The section of a class report whose heading begins with ``title``."""
    return next(each for each in parsed(page).find_all("section") if each.h2.get_text().startswith(title))


# Text


def test_a_line_is_one_line_and_shows_what_cannot_be_seen():
    assert pages.line("Jos\u00e9 \u674e \u05e0 a\u200db") == "Jos\u00e9 \u674e \u05e0 a\u200db"
    assert pages.line("a\nb\tc\x00\u202e\ud800\u2028") == "a\\nb\\tc\\x00\\u202e\\ud800\\u2028"
    assert pages.line("<a b='c'>&\"") == "&lt;a b=&#x27;c&#x27;&gt;&amp;&quot;"
    assert pages.line("Z" + "\u0300" * 50 + "a") == "Z" + "\u0300" * pages.PILED + "a"
    assert pages.line("x" * 200, 10) == "x" * 10 + "\N{HORIZONTAL ELLIPSIS}"


def test_a_block_is_what_a_terminal_would_have_shown():
    assert pages.block("\x1b[1;31mred\x1b[0m\x1b]0;title\x07\r\n 10 %\r100 %\r\n") == "<pre>red\n100 %</pre>"
    assert pages.block("</pre><b>") == "<pre>&lt;/pre&gt;&lt;b&gt;</pre>"
    assert pages.block("a\n" * 200, lines=3) == "<pre>a\na\na\n\N{HORIZONTAL ELLIPSIS} and 197 lines more</pre>"
    assert pages.block("x" * 30, 10) == "<pre>xxxxxxxxxx\n\N{HORIZONTAL ELLIPSIS} and 20 characters more</pre>"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_survives_as_markup_or_control(text):
    for shown in (pages.line(text), pages.block(text)):
        assert [tag.name for tag in parsed(shown).find_all(True)] in ([], ["pre"])
        categories = {unicodedata.category(char) for char in shown} - {"Cc"}
        assert not categories & {"Cf", "Cs", "Zl", "Zp"}
        assert {char for char in shown if unicodedata.category(char) == "Cc"} <= {"\n"}
        shown.encode("utf-8")


@pytest.mark.parametrize("text", ["A", "\n", "\x1b]", "\r", "\u202e", "<", " ", "\x1b[", "\ud800"])
def test_a_hundred_million_characters_make_a_small_page_soon(text):
    huge = text * (100_000_000 // len(text))
    begun = time.perf_counter()
    page = feedback.student_page(
        standing("ada", [judged(status="error", message=huge, printed=huge)], notices=(huge,)), "Homework"
    )
    assert time.perf_counter() - begun < 5
    assert len(page) < 150_000


# Names of files

IDS = [
    "Ada",
    "ada",
    "ADA",
    "a da",
    "a-da",
    "caf\u00e9",
    "cafe\u0301",
    "CAF\u00c9",
    "",
    ".",
    "..",
    "../../etc/passwd",
    "a/b",
    "a\\b",
]
IDS += [
    "con",
    "nul.txt",
    "COM1",
    "class_report",
    "a\x00b",
    "a\nb",
    "x" * 500,
    "x" * 501,
    "\ud800",
    "\u202eada",
    "\u674e",
    "-rf",
    ".hidden",
]
IDS += ["a.", "a ", "ada.html", "ada-1", "o'brien", "<script>", "s3141592", "ada.lovelace_2", "\u0131", "\u212a", "k", *HOSTILE]


def test_names_of_files_are_safe_and_differ_whatever_the_ids():
    ids = IDS + [pages.file_name(each).removesuffix(".html") for each in IDS]
    named = {each: pages.file_name(each) for each in ids}
    assert all(re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*\.html", name) for name in named.values())
    assert all(len(name) < 80 and name.split(".")[0] not in ("con", "nul", "com1", "class_report") for name in named.values())
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in named.values()}) == len(set(ids))


def test_names_of_files_stay_the_same():
    assert pages.file_name("s3141592") == "s3141592.html"
    assert pages.file_name("ada.lovelace_2") == "ada.lovelace_2.html"
    assert pages.file_name("Ada Lovelace") == "ada-lovelace-7674021617159190.html"


# A student's page


def test_a_students_page_tells_points_outcomes_reasons_and_how_to_see_it_again():
    page = parsed(feedback.student_page(everyday(), "Homework 2"))
    text = flat(page)
    assert "5.2 of" in text
    assert f"2 days late: -20 % ({sum(task.points for task in everyday().tasks):g} before, 5.2 now)" in text
    assert "gaussian_score is defined twice" in text
    for place, task in enumerate(everyday().tasks, 1):
        shown = page.find(id=f"task-{place}")
        assert task.title in flat(shown)
        assert f"{task.status} , {pages.number(task.points)} of {task.max_points} points" in flat(shown)
        again = f"check({task.task.partition('.')[2]}, seed=0)"
        assert (again in flat(shown)) == (task.status not in ("passed", "not attempted"))
        assert page.find("a", href=f"#task-{place}") is not None
    assert "A slip; shown in the oral exam." in flat(page.find(id="task-7"))
    assert page.find(id="task-3").find_all("pre")[-1].get_text() == "100 %\nshape (3, 4)"


def test_the_named_mistakes_sentence_stands_once_and_apart():
    page = parsed(feedback.student_page(everyday(), "Homework 2"))
    assert page.find(class_="mistake").get_text() == MISTAKE.sentence
    assert page.get_text().count(MISTAKE.sentence) == 1
    assert page.find(id="task-6").pre.get_text() == "The inputs were\n  x = [0.1]"


def test_a_mistake_that_the_course_no_longer_lists_leaves_the_message():
    page = parsed(
        feedback.student_page(standing(tasks=[judged(status="failed", message="Wrong sign.", mistake="old")]), "Homework")
    )
    assert page.find(class_="mistake") is None
    assert page.find(id="task-1").pre.get_text() == "Wrong sign."


def test_a_refused_file_says_why_and_no_task_was_not_attempted():
    page = feedback.student_page(a_class(4)[3], "Homework")
    assert "could not be graded" in page
    assert "It is not a notebook." in page
    assert "not attempted" not in flat(parsed(page))
    given = [judged(points=1, override="On paper."), judged(TASKS[1], "not attempted")]
    page = parsed(feedback.student_page(standing(tasks=given, rejected="Not a notebook."), "Homework"))
    assert "On paper." in flat(page)
    assert len(page.find_all(class_="task")) == 1


def test_the_bar_is_as_full_as_the_points():
    page = parsed(feedback.student_page(everyday(), "Homework"))
    pieces = page.find(class_="bar").find_all("span", recursive=False)
    assert [int(re.search(r"flex-grow:(\d+)", piece["style"])[1]) for piece in pieces] == [
        t.max_points for t in everyday().tasks
    ]
    filled = sum(
        float(re.search(r"width:([\d.]+)%", piece.span["style"])[1]) / 100 * task.max_points
        for piece, task in zip(pieces, everyday().tasks, strict=True)
    )
    assert filled == pytest.approx(sum(task.points for task in everyday().tasks), abs=1e-2)


def test_points_taken_off_a_right_answer_are_not_painted_as_earned():
    page = parsed(feedback.student_page(standing(tasks=[judged(points=0, override="Copied.")]), "Homework"))
    earned, rest = page.find(class_="bar").span.find_all("span")
    assert earned["style"] == "width:0%"
    assert rest["class"] == ["other"]


def test_a_page_holds_nothing_for_others():
    book = [everyday(), standing("grace hopper", [judged(status="failed", message="SECRET")])]
    page = feedback.student_page(book[0], "Homework")
    assert "THE FLAG" not in page
    assert "grace" not in page
    assert "SECRET" not in page
    assert "class_report" not in page


@pytest.mark.parametrize("make", [feedback.student_page, lambda each, title: feedback.class_report([each, everyday()], title)])
def test_whatever_was_written_a_page_can_do_nothing(make):
    page = make(hostile(), "".join(HOSTILE[:4]))
    page.encode("utf-8")
    found = parsed(page)
    assert found.select(FORBIDDEN) == []
    names = {name for tag in found.find_all(True) for name in tag.attrs}
    drawing = {"viewbox", "cx", "cy", "r", "x", "y", "d", "fill", "stroke", "stroke-width", "stroke-dasharray", "text-anchor"}
    harmless = {"lang", "charset", "http-equiv", "content", "name", "style", "width", "height", "id", "class", "role", "href"}
    assert names <= drawing | harmless | {"transform", "aria-hidden", "aria-label"}
    links = {tag["href"] for tag in found.find_all(href=True)}
    assert all(re.fullmatch(r"#[a-z0-9-]+|[a-z0-9._-]+\.html", link) for link in links)
    policy = found.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert list(found.head.find_all(True))[1] is policy  # only the encoding stands before it
    assert len(found.find_all("style")) == len(found.find_all("title")) == 1
    assert len(page) < 1_000_000


# The class report


def test_the_class_in_numbers():
    report = feedback.class_report(a_class(30), "Homework 2")
    numbers = {flat(tile).split(" ", 1)[1]: tile.b.get_text() for tile in parsed(report).select(".numbers li")}
    assert numbers == {"handed in": "30", "% median score": "100 %", "could not be graded": "3", "flagged": "3", "late": "3"}
    said = flat(parsed(report))
    assert "S2 (bubblewrap, seccomp, limits), 24 students; S1 (Landlock, seccomp, limits), 3 students" in said


def test_refused_files_are_not_counted_as_scores():
    scores = section(feedback.class_report(a_class(30), "Homework"), "Scores")
    assert "n = 27 students" in flat(scores)
    assert "0 to 10 %: 0;" in scores.svg["aria-label"]


@pytest.mark.parametrize(
    ("points", "place"), [(0, 0), (0.99, 0), (1, 1), (2.9999999999999996, 3), (6.99, 6), (7, 7), (10, 9), (12, 9)]
)
def test_a_score_falls_into_its_bin(points, place):
    scores = section(feedback.class_report([standing(tasks=[judged()], points=points, max_points=10)], "Homework"), "Scores")
    assert re.findall(r"%: (\d+)", scores.svg["aria-label"]) == ["1" if each == place else "0" for each in range(10)]


def test_the_histograms_bars_are_as_high_as_their_counts():
    book = [standing(f"s{place}", [judged()], points=score, max_points=10) for place, score in enumerate([1, 1, 1, 5, 9, 9])]
    picture = section(feedback.class_report(book, "Homework"), "Scores").svg
    heights = [float(bar["height"]) for bar in picture.find_all("rect")]
    assert [height / heights[5] for height in heights] == pytest.approx([0, 3, 0, 0, 0, 1, 0, 0, 0, 2], abs=0.02)
    assert {"students", "score, % of all points", "median 30 %"} <= {text.get_text() for text in picture.find_all("text")}


@pytest.mark.parametrize("size", [1, 2, 9, 10, 11, 49, 1000, 123456])
def test_the_histograms_axis_fits_its_highest_bar(size):
    picture = parsed(feedback._histogram([0] * 9 + [size], 0.95))
    ticks = [
        int(text.get_text()) for text in picture.find_all("text", attrs={"text-anchor": "end"}) if text.get_text().isdigit()
    ]
    assert ticks[0] == 0
    assert size <= ticks[-1] < 2 * size + 1
    assert len(ticks) <= 6
    assert min(float(bar["y"]) for bar in picture.find_all("rect")) >= feedback.TOP - 0.1


def test_tasks_come_hardest_first_with_what_became_of_each_answer():
    book = [standing(f"s{place}", [judged(), judged(MISTAKEN, "failed")]) for place in range(3)]
    book.append(standing("s3", [judged(status="error"), judged(MISTAKEN, "timeout")]))
    rows = section(feedback.class_report(book, "Homework"), "Tasks").find_all(class_="row")
    assert [row.code.get_text() for row in rows] == [MISTAKEN.id, TASKS[0].id]
    assert "0 %, n = 4" in flat(rows[0])
    assert "75 %, n = 4" in flat(rows[1])
    assert flat(rows[0].find(class_="counts")) == "3 failed 1 timeout"
    widths = [piece["style"] for piece in rows[1].find(class_="bar").find_all("span")]
    assert widths == ["flex-grow:3", "flex-grow:1"]


def test_mistakes_are_counted_most_frequent_first():
    report = feedback.class_report([*a_class(30), standing("x", [judged(SURROGATE, "failed", mistake="unlisted")])], "Homework")
    rows = section(report, "Mistakes").find_all(class_="row")
    assert [(row.span.get_text(), row.b.get_text()) for row in rows] == [
        (f"{MISTAKE.sentence} {MISTAKEN.id}", "3"),
        (f"unlisted {SURROGATE.id}", "1"),
    ]


def test_flagged_refused_and_late_are_listed_with_reasons():
    report = feedback.class_report(a_class(30), "Homework")
    assert "student 0012 wrote to the channel" in flat(section(report, "Flagged: look at these yourself (3)"))
    assert "student 0013 It is not a notebook." in flat(section(report, "Could not be graded (3)"))
    assert "student 0014 1 day late: -10 %" in flat(section(report, "Late (3)"))


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_every_student_is_in_the_table_and_every_link_leads_to_a_page(tmp_path, size):
    *written, report = feedback.write(a_class(size), tmp_path / "new" / "folder", "Homework")
    table = parsed(report.read_text(encoding="utf-8")).table
    assert len(table.tbody.find_all("tr")) == len(written) == size
    assert sorted(link["href"] for link in table.find_all("a")) == sorted(path.name for path in written)
    assert report.stat().st_size < 20_000 + 1000 * size
    assert all(path.stat().st_size < 40_000 for path in written)


def test_a_class_without_one_gradable_file_has_a_report():
    report = feedback.class_report([a_class(4)[3]], "Homework")
    assert "It is not a notebook." in report
    assert "Scores" not in report


def test_writing_again_changes_nothing_and_hostile_files_are_written(tmp_path):
    first = {path: path.read_bytes() for path in feedback.write([hostile(), everyday()], tmp_path, "Homework")}
    again = feedback.write([everyday(), hostile()], tmp_path, "Homework")
    assert {path: path.read_bytes() for path in again} == first
    assert len(list(tmp_path.iterdir())) == 3


def test_nobody_handed_in(tmp_path):
    with pytest.raises(ValueError, match="nobody has handed anything in"):
        feedback.write([], tmp_path / "out", "Homework")
    assert not (tmp_path / "out").exists()


# Shape as well as colour


def test_every_status_has_a_shape_and_a_pattern_of_its_own():
    assert set(pages.SHAPES) >= set(MARKS)
    outlines = [re.sub(r'(fill|stroke)="#\w+"', "", drawn) for drawn in pages.SHAPES.values()]
    assert len(set(outlines)) == len(outlines)


# The command


def test_the_command_writes_what_the_gradebook_holds(tmp_path, capsys):
    right, wrong = Submission("ada", (("a.py", b"1"),)), Submission("<b>", (), rejected="It is \x1b[1mempty\x07.")
    outcome = grading.Outcome(TASKS[0].id, "passed", TASKS[0].points, TASKS[0].points, "Right.")
    nothing = grading.Outcome(TASKS[0].id, "not attempted", 0, TASKS[0].points, "")
    with Gradebook(tmp_path / "course.db", create=True) as book:
        book.fix_tasks([(TASKS[0].id, TASKS[0].title, TASKS[0].points)])
        book.record(right, Report((outcome,), (), None, (), 0.1, "S2"), {})
        book.record(wrong, Report((nothing,), (), None, (), 0.0, "S2"), {})
    assert cli.main(["feedback", str(tmp_path / "course.db"), str(tmp_path / "out"), "--title", "Homework <3>"]) == 0
    assert "2 pages" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*.html"))) == 3
    page = (tmp_path / "out" / "ada.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("Homework &lt;3&gt;", TASKS[0].title, "Right.", right.sha256))
    report = (tmp_path / "out" / "class_report.html").read_text(encoding="utf-8")
    assert "n = 1 student;" in report
    assert "&lt;b&gt;" in report


def test_a_gradebook_that_is_not_there(tmp_path, capsys):
    assert cli.main(["feedback", str(tmp_path / "course.db"), str(tmp_path / "out")]) == 2
    assert "there is no gradebook" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# In the browser

PHONE, DESK, PAPER = 360, 1280, 680  # pixels; the last is A4 between its margins


@pytest.fixture(scope="module")
def chrome():
    from playwright.sync_api import sync_playwright

    path = browser.chromium()
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield chrome
        finally:
            chrome.close()


def opened(chrome, path, width: int):
    """The page, and what must stay empty: messages, dialogs, requests of anything but the file itself."""
    page = chrome.new_page(viewport={"width": width, "height": 800})
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: request.url == path.as_uri() or heard.append(request.url))
    page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    return page, heard


# Text that runs out of the window.
RUNS_OUT = """() => {
  const width = document.documentElement.clientWidth, found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    if (box.left < -1 || box.right > width + 1) found.push(walker.currentNode.data.slice(0, 40));
  }
  return found;
}"""

# The height of the smallest type, in pixels of the window; an SVG's is scaled.
SMALLEST = """() => Math.min(...[...document.querySelectorAll('body *')]
  .filter(e => [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  .map(e => parseFloat(getComputedStyle(e).fontSize)
    * (e.ownerSVGElement ? e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width : 1)))"""

WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Paths of pages: a student's, a hostile one's, and reports on 1, 32 and 1000 students."""
    folder = tmp_path_factory.mktemp("feedback")
    usual, attack, *_, report = feedback.write([everyday(), hostile(), *a_class(30)], folder / "30", "Homework 2")
    one = feedback.write([everyday()], folder / "1", "Homework 2")[-1]
    many = feedback.write(a_class(1000), folder / "1000", "Homework 2")[-1]
    return {"usual": usual, "hostile": attack, "report": report, "report on one": one, "report on many": many}


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("which", ["usual", "hostile", "report", "report on one", "report on many"])
def test_a_page_is_legible_does_nothing_and_does_not_scroll_sideways(chrome, written, which, width):
    page, heard = opened(chrome, written[which], width)
    assert page.evaluate(WIDER) == 0
    assert page.evaluate(RUNS_OUT) == []
    assert page.evaluate(SMALLEST) >= 11
    shown = page.inner_text("body")
    assert ("Ada Lovelace" if which != "report on many" else "student 0999") in shown or which == "hostile"
    for text in ("<script>alert(1)</script>", "\\u202egnp.exe") if which in ("hostile", "report") else ():
        assert text in shown
    page.mouse.move(100, 100)  # for onmouseover
    page.wait_for_timeout(200)
    assert heard == []
    page.close()


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["usual", "hostile", "report"])
def test_a_page_prints_on_a4_with_nothing_cut(chrome, written, which):
    page, heard = opened(chrome, written[which], PAPER)
    page.emulate_media(media="print")
    assert page.evaluate(WIDER) == 0
    assert page.evaluate(RUNS_OUT) == []
    printed = page.pdf(prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    sizes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert sizes
    assert all((round(float(width)), round(float(height))) == (595, 842) for width, height in sizes)
    assert heard == []
    page.close()


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_bars_are_painted_each_status_in_its_own_way(chrome, written):
    page, _ = opened(chrome, written["usual"], PHONE)
    looks = page.evaluate(
        """(names) => names.map(name => {
            const piece = document.body.appendChild(document.createElement('span'));
            piece.className = name;
            const style = getComputedStyle(piece);
            return style.backgroundColor + style.backgroundImage + style.backgroundSize;
        })""",
        [pages.css_class(status) for status in pages.SHAPES if status != "other"],
    )
    assert len(set(looks)) == len(looks)
    assert "rgba(0, 0, 0, 0)noneauto" not in looks
    widths = page.evaluate("[...document.querySelector('.bar').children].map(e => e.getBoundingClientRect().width)")
    worth = [task.max_points for task in everyday().tasks]
    assert [width / sum(widths) for width in widths] == pytest.approx([each / sum(worth) for each in worth], abs=0.01)
    drawn = page.evaluate("[...document.querySelectorAll('svg.icon')].map(e => e.querySelector('use').getBBox().width)")
    assert min(drawn) > 5
    page.close()


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_a_name_in_the_report_leads_to_the_students_page(chrome, written):
    page, _ = opened(chrome, written["report"], DESK)
    page.click("table a:has-text('Ada Lovelace')")
    page.wait_for_url("**/ada-lovelace-*.html")
    assert page.inner_text("h1") == "Ada Lovelace"
    page.close()
