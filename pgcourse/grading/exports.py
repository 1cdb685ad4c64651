"""The gradebook as CSV: for a spreadsheet, and in the columns that Canvas and Moodle import and that Gradescope writes itself.

A spreadsheet takes a cell that begins with = + - @ (or a tab, or a line end) for a formula; such cells get a ' in front.
"""

import csv
import io
from collections.abc import Mapping, Sequence

from .gradebook import Person
from .standing import Standing

FORMATS = ("csv", "canvas", "moodle", "gradescope")


def table(standings: Sequence[Standing], people: Mapping[str, Person], format: str, title: str) -> str:
    """One line for each student. ``title``: what Canvas calls the assignment. Raises ValueError where there is nothing yet."""
    if not standings:
        raise ValueError("nobody is graded yet in this gradebook.")
    head, rows = _LAYOUTS[format](standings, people, title)
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([[neutral(cell) for cell in row] for row in (*head, *rows)])
    return text.getvalue()


def neutral(cell) -> str:
    """The cell as text that no spreadsheet takes for a formula; numbers stay as they are."""
    if isinstance(cell, int | float):
        return f"{cell:g}"
    starts_formula = cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    return f"'{cell}" if starts_formula else cell


def _csv(standings, people, title):
    tasks = [task.task for task in standings[0].tasks]
    head = ["student", "name", "email", "number", "submitted", "late", *tasks, "points", "max_points"]
    rows = []
    for each in standings:
        person, points = people[each.student], {task.task: task.points for task in each.tasks}
        marks = [points.get(task, "") for task in tasks]
        rest = [each.rejected or "", " ".join(each.flags), _overridden(each), each.level, each.graded, each.sha256]
        who = [each.student, person.name, person.email, person.number]
        rows.append([*who, each.submitted or "", each.late, *marks, each.points, each.max_points, *rest])
    return [[*head, "rejected", "flags", "overrides", "isolation", "graded", "sha256"]], rows


def _overridden(standing: Standing) -> str:
    return "; ".join(f"{task.task}: {task.override}" for task in standing.tasks if task.override)


def _canvas(standings, people, title):
    """What Canvas's gradebook imports: it finds students by ID, which is the number in the names of its downloads."""
    head = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title],
        ["    Points Possible", "", "", "", "", standings[0].max_points],
    ]
    return head, [
        [people[each.student].name or each.student, people[each.student].number, "", "", "", each.points] for each in standings
    ]


def _moodle(standings, people, title):
    """Moodle's offline grading worksheet: it finds students by Identifier; the number is in the names of its downloads."""
    head = ["Identifier", "Full name", "Email address", "Grade", "Maximum Grade", "Last modified (grade)"]
    rows = []
    for each in standings:
        person = people[each.student]
        identifier = f"Participant {person.number}" if person.number else ""
        rows.append([identifier, person.name or each.student, person.email, each.points, each.max_points, ""])
    return [head], rows


def _gradescope(standings, people, title):
    """The columns of Gradescope's own "Export Grades"; Gradescope takes marks in only from an autograder."""
    tasks = [task for task in standings[0].tasks]
    head = ["First Name", "Last Name", "SID", "Email", "Total Score", "Max Points", "Status", "Submission Time"]
    head += [f"{number}: {task.title} ({task.max_points:.1f} pts)" for number, task in enumerate(tasks, 1)]
    rows = []
    for each in standings:
        person, points = people[each.student], {task.task: task.points for task in each.tasks}
        first, _, last = (person.name or each.student).rpartition(" ")
        who = [first, last, person.number, person.email]
        marks = [points.get(task.task, "") for task in tasks]
        rows.append([*who, each.points, each.max_points, "Graded", each.submitted or "", *marks])
    return [head], rows


_LAYOUTS = {"csv": _csv, "canvas": _canvas, "moodle": _moodle, "gradescope": _gradescope}
