"""What the pages of ``feedback`` are made of: a page that can do nothing, text that can do nothing, shapes, bars.

Whatever a student wrote or chose, a name too, reaches a page through ``line`` or ``block`` only.
"""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

from .standing import TaskStanding

# Nothing is loaded, no script runs, whatever got into the page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{shapes}
{body}
</body>
</html>
"""


def page(title: str, body: str) -> str:
    """A complete page; both are HTML."""
    return PAGE.format(policy=POLICY, title=title, style=_style(), shapes=_SHAPES, body=body)


@cache
def _style() -> str:
    return (Path(__file__).parents[1] / "static" / "feedback.css").read_text(encoding="utf-8")


def line(text: str, longest: int = 120) -> str:
    """Any text as one line of HTML: line ends and what else cannot be seen are written out, as ``\\n``, ``\\u202e``."""
    shown = _visible(text[:longest]).replace("\n", "\\n").replace("\t", "\\t")
    return html.escape(shown + "…" * (len(text) > longest))


def name(text: str) -> str:
    """A name of Python's as HTML; a long one breaks after an underscore."""
    return line(text).replace("_", "_<wbr>")


def when(time: str) -> str:
    """A time in ISO's format to the minute; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M %Z}".rstrip()
    except ValueError:
        return line(time)


def block(text: str, longest: int = 4000, lines: int = 80) -> str:
    """Any text as a ``<pre>`` of bounded length, as a terminal would have shown it, without its colours."""
    text = text.rstrip()
    rows = _TERMINAL.sub("", text[:longest]).replace("\r\n", "\n").split("\n")
    # After a carriage return a line is written over: progress bars.
    shown = "\n".join(row.rstrip("\r").rpartition("\r")[2] for row in rows[:lines])
    left = [f"{len(rows) - lines} lines"] * (len(rows) > lines) + [f"{len(text) - longest} characters"] * (len(text) > longest)
    more = f"\n… and {' and '.join(left)} more" if left else ""
    return f"<pre>{html.escape(_visible(shown).rstrip() + more)}</pre>"


_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")


PILED = 6
"""Marks above and below one letter: more would cover the lines around it. No script needs them."""


def _visible(text: str) -> str:
    """Controls, what turns the direction of text, lone surrogates and the like, written out. Joiners belong to names."""
    shown, piled = [], 0
    for char in text:
        category = unicodedata.category(char)
        piled = piled + 1 if category in ("Mn", "Me") else 0
        if category in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in "\n\t\u200c\u200d":
            shown.append(char.encode("unicode_escape").decode())
        elif piled <= PILED:
            shown.append(char)
    return "".join(shown)


def number(value: float) -> str:
    """At most two decimals: "14", "11.2"."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def share(points: float, possible: float) -> float:
    """Between 0 and 1."""
    return min(1.0, max(0.0, points / possible)) if possible else 0.0


_RESERVED = {"class_report", "con", "prn", "aux", "nul"} | {f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)}


def file_name(student: str) -> str:
    """The name of a student's page: the same every time, another for everybody else, also where case does not count.

    An id of small letters, digits and single ``. _ -`` is its own name. Any other has a digest in it, and so have ids that look
    as if they had one already.
    """
    plain = len(student) <= 64 and re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", student)
    if plain and student.partition(".")[0] not in _RESERVED and not re.search(r"-[0-9a-f]{16}$", student):
        return f"{student}.html"
    letters = unicodedata.normalize("NFKD", student[:64]).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:40]
    digest = hashlib.sha256(student.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{readable or 'student'}-{digest}.html"


# Status: a picture of 20 x 20, told apart by its outline. The order is that of bars and legends.
SHAPES = {
    "passed": '<circle cx="10" cy="10" r="9.5" fill="#00795c"/><path d="M5 10.5l3.5 3.5 6.5-8" fill="none" stroke="#fff" '
    'stroke-width="2.4"/>',
    "failed": '<rect x="1" y="1" width="18" height="18" fill="#c24e00"/><path d="M5.5 5.5l9 9m0-9l-9 9" stroke="#fff" '
    'stroke-width="2.6"/>',
    "error": '<path d="M10 1L20 19H0z" fill="#8a5a00"/><path d="M10 7v6m0 1.7v2.3" stroke="#fff" stroke-width="2.2"/>',
    "timeout": '<circle cx="10" cy="10" r="8.5" fill="#fff" stroke="#7a3e8e" stroke-width="2.4"/><path d="M10 4.5v6l4 2.5" '
    'fill="none" stroke="#7a3e8e" stroke-width="2"/>',
    "memory": '<path d="M3 1v17.5h14V1M6 15h8M6 11h8M6 7h8M6 3h8" fill="none" stroke="#7a3e8e" stroke-width="2.4"/>',
    "crash": '<path d="M12 0L3 11.5h5.5L6 20l11-12.5h-6z" fill="#7a3e8e"/>',
    "tamper": '<path d="M4 20V1.5" stroke="#000" stroke-width="2.4"/><path d="M4 1.5h14l-4 5 4 5H4z" fill="#000"/>',
    "not attempted": '<circle cx="10" cy="10" r="8.3" fill="#fff" stroke="#555" stroke-width="2" stroke-dasharray="3 2.2"/>',
    "other": '<path d="M10 1l9 9-9 9-9-9z" fill="#fff" stroke="#555" stroke-width="2"/>',
}


def kind(status: str) -> str:
    """The status where it has a shape, else "other"."""
    return status if status in SHAPES else "other"


def css_class(status: str) -> str:
    return kind(status).replace(" ", "-")


_SHAPES = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
    + "".join(f'<symbol id="{css_class(name)}" viewBox="0 0 20 20">{drawn}</symbol>' for name, drawn in SHAPES.items())
    + "</svg>"
)


def icon(status: str) -> str:
    """The shape of a status; the word stands beside it."""
    return f'<svg class="icon" aria-hidden="true"><use href="#{css_class(status)}"/></svg>'


def tasks_bar(tasks: Iterable[TaskStanding]) -> str:
    """One bar, a piece for each task as wide as what it is worth: what was earned is full, the rest shows the status."""
    pieces, words = [], []
    for task in tasks:
        earned = 100 * share(task.points, task.max_points)
        rest = "other" if task.status == "passed" else css_class(task.status)  # a person took points off
        words.append(f"{line(task.task)} {line(task.status)} {number(task.points)} of {task.max_points}")
        pieces.append(
            f'<span style="flex-grow:{task.max_points}"><span class="passed" style="width:{earned:.4g}%"></span>'
            f'<span class="{rest}" style="width:{100 - earned:.4g}%"></span></span>'
        )
    return f'<div class="bar" role="img" aria-label="{"; ".join(words)}">{"".join(pieces)}</div>'


def shares_bar(parts: Mapping[str, float], words: str) -> str:
    """One bar divided between statuses."""
    pieces = "".join(
        f'<span class="{css_class(status)}" style="flex-grow:{part:.4g}"></span>' for status, part in parts.items() if part > 0
    )
    return f'<div class="bar" role="img" aria-label="{words}">{pieces}</div>'
