"""What goes back: a page for every student, and one on the class for who teaches it. Made from ``Standing`` alone."""

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from .judge import NOT_ATTEMPTED, PASSED, count
from .pages import SHAPES, block, css_class, file_name, icon, kind, line, name, number, page, share, shares_bar, tasks_bar, when
from .standing import Standing, TaskStanding
from .tasks import all_tasks

LEVELS = {
    "S3": "bubblewrap, seccomp, cgroup",
    "S2": "bubblewrap, seccomp, limits",
    "S1": "Landlock, seccomp, limits",
    "S0": "none: what students wrote ran with your rights",
}

MOST = 20
"""Notices or flags of one submission that are listed."""


def write(standings: Sequence[Standing], out: Path, title: str) -> list[Path]:
    """Write a page for each student and ``class_report.html`` into the folder ``out``; returns their paths, the report's last.

    A student's page holds nothing about anybody else, and no flags. Raises ValueError when there is nobody to write to.
    """
    if not standings:
        raise ValueError("nobody has handed anything in: there is no feedback to write.")
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for standing in standings:
        paths.append(out / file_name(standing.student))
        paths[-1].write_text(student_page(standing, title), encoding="utf-8", newline="\n")
    paths.append(out / "class_report.html")
    paths[-1].write_text(class_report(standings, title), encoding="utf-8", newline="\n")
    return paths


def student_page(standing: Standing, title: str) -> str:
    """What one student gets back, as HTML."""
    tasks = _judged(standing)
    parts = [
        f"<header><p>{line(title)}</p><h1><bdi>{line(standing.student)}</bdi></h1></header>",
        f'<p class="score"><b>{number(standing.points)}</b> of {count(standing.max_points, "point")}</p>',
    ]
    if tasks:
        parts.append(tasks_bar(tasks))
    parts.append(_remarks(standing))
    if tasks:
        parts.append(f'<ul class="tiles">{"".join(map(_tile, itertools.count(1), tasks))}</ul>')
    parts += map(_task_section, itertools.count(1), tasks)
    handed_in = f"Handed in {when(standing.submitted)}. " if standing.submitted else ""
    digest = "" if standing.rejected else f"<p>SHA-256 of what was graded: <code>{line(standing.sha256)}</code></p>"
    parts.append(f"<footer><p>{handed_in}Graded {when(standing.graded)}.</p>{digest}</footer>")
    return page(f"{line(title)}: {line(standing.student)}", "\n".join(parts))


def _judged(standing: Standing) -> list[TaskStanding]:
    """All tasks; of a file that was refused those that a person gave points to."""
    return [task for task in standing.tasks if task.override or not standing.rejected]


def _function(task: TaskStanding) -> str:
    """The name of the function to write."""
    return task.task.partition(".")[2] or task.task


def _points(task: TaskStanding) -> str:
    return f"{number(task.points)} of {task.max_points}"


def _tile(place: int, task: TaskStanding) -> str:
    words = f"<span>{name(_function(task))}<b>{_points(task)}</b></span>"
    return f'<li><a href="#task-{place}">{icon(task.status)}{words}</a></li>'


def _remarks(standing: Standing) -> str:
    """What holds for the whole submission: refused, late, notices."""
    said = []
    if standing.rejected:
        said.append(f"<p><b>Your file could not be graded.</b></p>{block(standing.rejected)}")
    if standing.late:
        before = sum(task.points for task in standing.tasks)
        said.append(f"<p><b>Late.</b> {line(standing.late, 300)} ({number(before)} before, {number(standing.points)} now)</p>")
    if standing.notices:
        said.append(f"<p><b>About your file:</b></p>{_list(standing.notices)}")
    return "\n".join(f'<div class="note">{each}</div>' for each in said)


def _list(texts: Sequence[str]) -> str:
    items = [line(text, 400) for text in texts[:MOST]] + [f"… and {len(texts) - MOST} more"] * (len(texts) > MOST)
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _task_section(place: int, task: TaskStanding) -> str:
    sentence, message = _sentence(task), task.message
    if sentence:
        message = message.removeprefix(sentence).lstrip("\n")
    parts = [
        f"<h2>{line(task.title)}</h2>",
        f'<p class="outcome">{icon(task.status)} <b>{line(task.status)}</b>, {_points(task)} points &#183; '
        f"<code>{name(task.task)}</code></p>",
    ]
    if task.override:
        parts.append(f'<div class="note"><p><b>Points set by a person:</b> {line(task.override, 1000)}</p></div>')
    if sentence:
        parts.append(f'<p class="mistake">{line(sentence, 600)}</p>')
    if message.strip():
        parts.append(block(message))
    if task.printed.strip():
        parts.append(f'<p class="soft">Your function printed</p>{block(task.printed, 4000, 40)}')
    if task.status not in (PASSED, NOT_ATTEMPTED, "tamper"):
        again = f"check({_function(task)}, seed=0)"
        parts.append(f'<p class="soft">See it again: <code>{line(again)}</code>; another seed draws other inputs.</p>')
    return f'<section class="task" id="task-{place}">{"".join(parts)}</section>'


def _sentence(task: TaskStanding) -> str:
    """What explains the mistake that was recognised; "" without one, or where the course does not list it any more."""
    return _sentences().get((task.task, task.mistake or ""), "")


@cache
def _sentences() -> dict[tuple[str, str], str]:
    return {(task.id, mistake.name): mistake.sentence for task in all_tasks() for mistake in task.mistakes}


def class_report(standings: Sequence[Standing], title: str) -> str:
    """What the class came to, as HTML: pictures first, then the students."""
    standings = sorted(standings, key=lambda standing: (standing.student.casefold(), standing.student))
    graded = [standing for standing in standings if _judged(standing)]
    parts = [
        f"<header><p>{line(title)}</p><h1>Class report</h1></header>",
        _numbers(standings, graded),
        _scores(graded),
        _tasks(graded),
        _mistakes(graded),
        _to_look_at(standings),
        _students(standings),
    ]
    return page(f"{line(title)}: class report", "\n".join(parts))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def _link(standing: Standing) -> str:
    return f'<a href="{file_name(standing.student)}"><bdi>{line(standing.student, 80)}</bdi></a>'


def _numbers(standings: Sequence[Standing], graded: Sequence[Standing]) -> str:
    """The tiles at the top, and the isolation."""
    numbers = {
        "handed in": len(standings),
        "could not be graded": sum(bool(standing.rejected) for standing in standings),
        "flagged": sum(bool(standing.flags) for standing in standings),
        "late": sum(bool(standing.late) for standing in standings),
    }
    tiles = [(str(found), what) for what, found in numbers.items()]
    if graded:
        tiles.insert(1, (f"{100 * statistics.median(map(_share, graded)):.0f} %", "median score"))
    items = "".join(f"<li><b>{found}</b>{what}</li>" for found, what in tiles)
    levels = Counter(standing.level for standing in graded)
    used = "; ".join(
        f"<b>{line(level)}</b> ({LEVELS.get(level, 'unknown')}), {count(students, 'student')}"
        for level, students in sorted(levels.items(), reverse=True)
    )
    return f'<ul class="numbers">{items}</ul>' + (f'<p class="soft">Isolation: {used}.</p>' if used else "")


def _share(standing: Standing) -> float:
    return share(standing.points, standing.max_points)


def _scores(graded: Sequence[Standing]) -> str:
    if not graded:
        return ""
    shares = [_share(standing) for standing in graded]
    heights = [0] * 10
    for each in shares:
        heights[min(9, int(10 * each + 1e-9))] += 1  # 0.7 of the points may be 0.6999...
    mean, median = statistics.mean(shares), statistics.median(shares)
    said = (
        f"n = {count(len(graded), 'student')}; mean {100 * mean:.0f} %, median {100 * median:.0f} % of all points, "
        "after the late policy and with points set by hand."
    )
    return _section("Scores", _histogram(heights, median), f'<p class="soft">{said}</p>')


LEFT, RIGHT, TOP, BOTTOM, WIDTH, HEIGHT = 52, 12, 34, 42, 350, 220
"""Of the histogram: margins and size, in pixels of a phone; elsewhere it is enlarged."""


def _histogram(heights: Sequence[int], median: float) -> str:
    """How many students have how large a share of the points, in ten bins, and the median as a line."""
    step = next(step for size in range(9) for digit in (1, 2, 5) if (step := digit * 10**size) * 5 >= max(heights))
    top = step * -(-max(heights) // step)
    across, up = (WIDTH - LEFT - RIGHT) / 10, (HEIGHT - TOP - BOTTOM) / top
    floor = HEIGHT - BOTTOM
    parts = []
    for tick in range(0, top + 1, step):
        y = floor - up * tick
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for place, height in enumerate(heights):
        x, tall = LEFT + across * place + 1, up * height
        parts.append(f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{across - 2:.1f}" height="{tall:.1f}" fill="#0072b2"/>')
    for tick in range(0, 11, 2):
        parts.append(f'<text x="{LEFT + across * tick:.1f}" y="{floor + 16}" text-anchor="middle">{10 * tick}</text>')
    x = LEFT + 10 * across * median
    parts.append(f'<path d="M{LEFT} {floor}H{WIDTH - RIGHT}M{LEFT} {TOP}V{floor}" stroke="#555"/>')
    parts.append(f'<path d="M{x:.1f} {TOP - 8}V{floor}" stroke="#000" stroke-width="2" stroke-dasharray="5 3"/>')
    anchor = "start" if median < 0.2 else "end" if median > 0.8 else "middle"
    parts.append(f'<text x="{x:.1f}" y="{TOP - 14}" text-anchor="{anchor}">median {100 * median:.0f} %</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">score, % of all points</text>')
    middle = (TOP + floor) / 2
    parts.append(f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">students</text>')
    words = "; ".join(f"{10 * place} to {10 * place + 10} %: {height}" for place, height in enumerate(heights))
    return (
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Students by score. {words}">'
        f"{''.join(parts)}</svg>"
    )


def _tasks(graded: Sequence[Standing]) -> str:
    """For each task how its answers were judged, the hardest first."""
    answers: dict[str, list[TaskStanding]] = {}
    for standing in graded:
        for task in _judged(standing):
            answers.setdefault(task.task, []).append(task)

    def earned(found: Sequence[TaskStanding]) -> float:
        return share(sum(task.points for task in found), sum(task.max_points for task in found))

    rows = []
    for task_id, found in sorted(answers.items(), key=lambda item: (earned(item[1]), item[0])):
        statuses = Counter(kind(task.status) for task in found)
        counted = {status: statuses[status] for status in SHAPES if statuses[status]}
        rows.append(
            f'<div class="row"><div class="head"><span><b>{line(found[-1].title)}</b> <code>{name(task_id)}</code></span>'
            f"<b>{100 * earned(found):.0f} %, n = {len(found)}</b></div>"
            f"{shares_bar(counted, ', '.join(f'{students} {status}' for status, students in counted.items()))}"
            f"{_counts(counted)}</div>"
        )
    said = "The hardest first, and the share of its points that was earned."
    return _section("Tasks", f'<p class="soft">{said}</p>', *rows) if rows else ""


def _counts(counted: dict[str, int]) -> str:
    """The legend of a bar."""
    words = (
        f'<span><span class="swatch {css_class(status)}"></span> {icon(status)} {students} {status}</span>'
        for status, students in counted.items()
    )
    return f'<div class="counts">{"".join(words)}</div>'


def _mistakes(graded: Sequence[Standing]) -> str:
    """Which listed mistakes were recognised, the most frequent first."""
    found = Counter((task.task, task.mistake) for standing in graded for task in standing.tasks if task.mistake)
    if not found:
        return ""
    sentence = {(task.task, task.mistake): _sentence(task) for standing in graded for task in standing.tasks if task.mistake}
    most = max(found.values())
    rows = (
        f'<div class="row mistakes"><span>{line(sentence[key] or key[1], 600)} <code>{name(key[0])}</code></span>'
        f'<div class="meter"><span style="width:{85 * students / most:.4g}%"></span><b>{students}</b></div></div>'
        for key, students in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    )
    said = f'<p class="soft">What students were told, and how many of {len(graded)}.</p>'
    return _section("Mistakes by name", said, *rows)


def _to_look_at(standings: Sequence[Standing]) -> str:
    """Flags, refused files and late ones: who, and why."""
    lists = {
        "Flagged: look at these yourself": [(each, each.flags) for each in standings if each.flags],
        "Could not be graded": [(each, (each.rejected,)) for each in standings if each.rejected],
        "Late": [(each, (each.late,)) for each in standings if each.late],
    }
    return "".join(
        _section(
            f"{title} ({len(who)})",
            f'<ul class="many">{"".join(f"<li>{_link(standing)}{_reasons(why)}</li>" for standing, why in who)}</ul>',
        )
        for title, who in lists.items()
        if who
    )


def _reasons(texts: Sequence[str]) -> str:
    return "".join(f"<br>{line(text, 400)}" for text in texts[:MOST]) + "<br>…" * (len(texts) > MOST)


def _students(standings: Iterable[Standing]) -> str:
    rows = "\n".join(
        f"<tr><td>{_link(standing)}</td><td><b>{number(standing.points)}</b> of {standing.max_points}</td>"
        f"<td>{_student_bar(standing)}</td><td>{_why(standing)}</td></tr>"
        for standing in standings
    )
    head = "<thead><tr><th>student</th><th>points</th><th>tasks</th><th></th></tr></thead>"
    return _section("Students", f"<table>{head}<tbody>{rows}</tbody></table>")


def _student_bar(standing: Standing) -> str:
    """What was earned, and the rest divided by why it was not."""
    parts = dict.fromkeys(SHAPES, 0.0)
    for task in _judged(standing):
        earned = share(task.points, task.max_points) * task.max_points
        parts[PASSED] += earned
        parts["other" if task.status == PASSED else kind(task.status)] += task.max_points - earned
    words = ", ".join(f"{status} {number(points)}" for status, points in parts.items() if points > 0)
    return shares_bar(parts, f"points: {words}") if words else ""


def _why(standing: Standing) -> str:
    """In words, what is special about a submission."""
    words = []
    if standing.flags:
        words.append(f"{icon('tamper')} flagged")
    if standing.rejected:
        words.append("could not be graded")
    if standing.late:
        words.append(line(standing.late, 60))
    if any(task.override for task in standing.tasks):
        words.append("points set by hand")
    return " &#183; ".join(words)
