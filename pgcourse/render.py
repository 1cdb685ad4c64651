"""HTML that needs nothing but a browser: style, pictures and mathematics are inside the file, nothing is loaded."""

import html
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

STATIC = Path(__file__).parent / "static"

# The browser itself refuses to load anything that is not inside the file.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; media-src data:; font-src data:"
)

# What only lives beside a running kernel: dead in a page.
LIVE = ("application/vnd.jupyter.widget-view+json", "application/javascript")

# How cells begin that only ask: a reader needs the question, not the code that asks it in the same words.
QUESTIONS = ("widgets.predict(", "widgets.quiz(")

MATHJAX = """window.MathJax = {
  tex: {inlineMath: [["$", "$"]], displayMath: [["$$", "$$"]], processEscapes: true},
  options: {enableMenu: false},
  startup: {pageReady: () => MathJax.startup.defaultPageReady().then(() => {
    // An equation wider than the page would hide its number: rather a little smaller. On a phone it still scrolls.
    for (const equation of document.querySelectorAll('mjx-container[display="true"]')) {
      for (let size = 95; equation.scrollWidth > equation.clientWidth && size >= 75; size -= 5)
        equation.style.fontSize = size + "%";
    }
  })}
};"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}
</style>
{mathematics}
{head}
</head>
<body>
{navigation}
<main>
{body}
</main>
{navigation}
</body>
</html>
"""


def document(title: str, body: str, navigation: str = "", head: str = "") -> str:
    """A complete page around ``body``; ``title`` is plain text, the others are HTML; ``head`` ends the page's head."""
    return PAGE.format(
        policy=POLICY,
        title=html.escape(title),
        style=stylesheet(),
        mathematics=mathematics(),
        head=head,
        navigation=navigation,
        body=body,
    )


def stylesheet() -> str:
    """The course's style sheet and the colours of highlighted code."""
    code = HtmlFormatter(style="default").get_style_defs(".highlight")
    return (STATIC / "page.css").read_text(encoding="utf-8") + code


def mathematics() -> str:
    """Scripts that turn ``$...$``, ``$$...$$`` and LaTeX environments into SVG, without loading anything.

    MathJax 3.2.2 with all its TeX packages inside: the smaller files fetch some (``\\boldsymbol``) when they are used.
    """
    mathjax = (STATIC / "mathjax" / "tex-svg-full.js").read_text(encoding="utf-8")
    return f"<script>{MATHJAX}</script>\n<script>{mathjax}</script>"


def fragment(notebook: NotebookNode, folder: Path, pages: Iterable[str] = ()) -> str:
    """The cells of an executed notebook as HTML for ``document``.

    ``folder`` is where pictures named in the text are found; ``pages`` are the names (without ending) of the notebooks
    that have a page. Raises ValueError when the notebook's text or output would load something over the network.
    """
    configuration = Config()
    configuration.NbConvertBase.display_data_priority = [
        "text/html",
        "text/markdown",
        "image/svg+xml",
        "text/latex",
        "image/png",
        "image/jpeg",
        "text/plain",
    ]
    configuration.HTMLExporter.preprocessors = ["nbconvert.preprocessors.CoalesceStreamsPreprocessor"]
    exporter = HTMLExporter(
        config=configuration,
        template_name="basic",
        embed_images=True,
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        log=_quiet,
    )
    text, _ = exporter.from_notebook_node(_without_live_output(notebook), {"metadata": {"path": str(folder)}})
    soup = BeautifulSoup(text, "html.parser")
    _refuse_external(soup)
    _describe_pictures(soup)
    _retarget_links(soup, set(pages))
    return str(soup)


_quiet = logging.getLogger("pgcourse.render")  # nbconvert warns of missing descriptions, which are added below
_quiet.setLevel(logging.ERROR)


def _without_live_output(notebook: NotebookNode) -> NotebookNode:
    """A copy without widgets and scripts, and without the code of questions that have been asked.

    A picture in the same output stays, text that only stands in for one goes.
    """
    notebook = NotebookNode(notebook, cells=[NotebookNode(cell) for cell in notebook.cells])
    notebook.metadata = NotebookNode({key: value for key, value in notebook.metadata.items() if key != "widgets"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [shown for output in cell.outputs if (shown := _static(output)) is not None]
            if cell.source.startswith(QUESTIONS) and cell.outputs:
                cell.metadata = NotebookNode(cell.metadata, transient={"remove_source": True})
    return notebook


def _static(output: NotebookNode) -> NotebookNode | None:
    data = output.get("data", {})
    for kind in ("image/webp", "image/gif"):  # animations, of which nbconvert would show the text form
        if kind in data:
            return NotebookNode(output, data={"text/html": f'<img src="data:{kind};base64,{data[kind].strip()}">'})
    if not any(kind in data for kind in LIVE):
        return output
    rest = {kind: value for kind, value in data.items() if kind not in LIVE}
    return NotebookNode(output, data=rest) if rest.keys() - {"text/plain"} else None


def _refuse_external(soup: BeautifulSoup) -> None:
    for element in soup.find_all(True):
        for name in ("src", "srcset", "poster", "data", "background") + (("href",) if element.name == "link" else ()):
            if re.match(r"\s*(https?:)?//", str(element.get(name, ""))):
                raise ValueError(
                    f"<{element.name}> loads {element[name]}: a page must be readable offline. "
                    "Put the file beside the notebook and name it there."
                )


def _describe_pictures(soup: BeautifulSoup) -> None:
    for picture in soup.find_all("img", alt="No description has been provided for this image"):
        picture["alt"] = "What the code above draws."


def _retarget_links(soup: BeautifulSoup, pages: set[str]) -> None:
    """Links to a notebook with a page lead there; links to other files of the course become plain text."""
    for link in soup.find_all("a", href=True):
        parts = urlsplit(str(link["href"]))
        path = Path(parts.path)
        if parts.scheme or parts.netloc or not parts.path:
            continue
        if path.suffix == ".ipynb" and path.stem in pages and path.parent.name in ("", "lectures"):
            link["href"] = f"{path.stem}.html" + (f"#{parts.fragment}" if parts.fragment else "")
        else:
            link.unwrap()
