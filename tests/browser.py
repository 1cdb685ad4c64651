"""JupyterLab in a real browser, for tests: a server on a folder, a page, and cells that are run and looked at.

    with browser.lab(folder) as lab:
        page = lab.open("lectures/04_reinforce.ipynb")
        page.run_all()
        browser.wait(lambda: page.count(".pgcourse-live"), "a training plot")

Nothing here waits for JupyterLab by Playwright's own events (waiting for the kernel's status never returned): the page is asked
again and again until it says what is hoped for, or a deadline passes, and then the error shows what the page said last.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium() -> str:
    """Where a Chromium is; skips the test, saying so, where there is none or Playwright is missing."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")
    path = os.environ.get("PGCOURSE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH. On Debian: apt install chromium")
    return path


def wait(condition: Callable[[], Any], what: str = "", seconds: float = 60.0, every: float = 0.1) -> Any:
    """Ask until the answer is true and return it. Raises TimeoutError with ``what`` and the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or condition} not within {seconds} s; the last answer was {answer!r}")
        time.sleep(every)
    return answer


@contextmanager
def lab(folder: Path, environment: dict[str, str] | None = None, seconds: float = 90.0) -> Iterator["Lab"]:
    """A JupyterLab server on ``folder`` and a browser; both are gone afterwards, with the server's own files.

    environment: variables for the server and its kernels. seconds: to wait for the server to answer.
    """
    from playwright.sync_api import sync_playwright

    path = chromium()
    with (
        tempfile.TemporaryDirectory() as home,
        _server(folder, Path(home), environment or {}, seconds) as address,
        sync_playwright() as playwright,
    ):
        chrome = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield Lab(chrome, address)
        finally:
            chrome.close()


@contextmanager
def _server(folder: Path, home: Path, environment: dict[str, str], seconds: float) -> Iterator[str]:
    """JupyterLab's address; nothing of the user's settings is read or written."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = os.urandom(16).hex()
    repository = str(Path(__file__).resolve().parents[1])
    variables = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_TOKEN": token,
        "PYTHONPATH": os.pathsep.join(filter(None, [repository, os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", f"--ServerApp.root_dir={folder}"]
    command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    said = home / "server.log"
    with said.open("wb") as log:
        # A session of its own, so that the server and its kernels can be ended together.
        process = subprocess.Popen(
            command, cwd=folder, env=variables | environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: _answers(process, f"{address}/api/status?token={token}", said), "JupyterLab's answer", seconds)
        yield f"{address}/lab/tree/{{path}}?token={token}&reset"
    finally:
        _end(process)


def _answers(process: subprocess.Popen, address: str, said: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"JupyterLab ended by itself with {process.returncode}:\n{said.read_text(errors='replace')[-4000:]}")
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _end(process: subprocess.Popen) -> None:
    """End the server's whole session: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait(10)


class Lab:
    """A browser and a server; ``open`` shows a notebook."""

    def __init__(self, chrome: Any, address: str):
        self.chrome, self.address = chrome, address

    def open(self, path: str, width: int = 1280, height: int = 1600, seconds: float = 90.0) -> "Notebook":
        """The notebook at ``path``, relative to the server's folder, with its kernel ready."""
        page = self.chrome.new_page(viewport={"width": width, "height": height})
        page.goto(self.address.format(path=quote(path)), timeout=1000 * seconds)
        notebook = Notebook(page)
        wait(notebook.ready, f"{path} with a kernel in JupyterLab", seconds)
        return notebook


# The notebook in front, as JupyterLab's own objects; "" where there is none yet.
PANEL = "const panel = window.jupyterapp?.shell?.currentWidget; const content = panel?.content;"


class Notebook:
    """An open notebook. ``page`` is Playwright's; cells are counted from 0, markdown included."""

    def __init__(self, page: Any):
        self.page = page

    def ask(self, body: str, argument: Any = None) -> Any:
        """What the function body ``body`` (JavaScript) returns, with ``panel``, ``content`` (the notebook) and ``argument``."""
        return self.page.evaluate(f"(argument) => {{ {PANEL} {body} }}", argument)

    def ready(self) -> bool:
        """Whether the notebook is shown and its kernel has nothing to do."""
        return self.ask("return !!content?.widgets?.length && panel.sessionContext?.session?.kernel?.status === 'idle';")

    def execute(self, command: str) -> None:
        """Start one of JupyterLab's commands. It is not waited for: some end only when all cells have run."""
        self.ask("window.jupyterapp.commands.execute(argument);", command)

    def run_all(self) -> None:
        """Start all cells; see ``wait_until_done`` and ``wait``."""
        self.execute("notebook:run-all-cells")

    def run(self, cell: int, seconds: float = 60.0) -> list[dict]:
        """Run one cell and return its outputs."""
        before = self.cells()[cell]["count"]
        self.ask("content.deselectAll(); content.activeCellIndex = argument;", cell)
        self.execute("notebook:run-cell")
        wait(lambda: self.cells()[cell]["count"] not in (None, before), f"cell {cell}'s end", seconds)
        wait(self.ready, "an idle kernel", seconds)
        return self.cells()[cell]["outputs"]

    def write(self, cell: int, source: str) -> None:
        """Replace a cell's source."""
        self.ask("content.widgets[argument[0]].model.sharedModel.setSource(argument[1]);", [cell, source])

    def cells(self) -> list[dict]:
        """Type, source, execution count (None while running or before) and outputs of every cell, as in the file."""
        found = self.ask("return JSON.stringify(content.widgets.map(cell => cell.model.toJSON()));")
        return [
            {
                "type": cell["cell_type"],
                "source": "".join(cell["source"]),
                "count": cell.get("execution_count"),
                "outputs": cell.get("outputs", []),
            }
            for cell in json.loads(found)
        ]

    def find(self, text: str) -> int:
        """The number of the first code cell that contains ``text``."""
        for number, cell in enumerate(self.cells()):
            if cell["type"] == "code" and text in cell["source"]:
                return number
        raise LookupError(f"no code cell contains {text!r}")

    def errors(self) -> list[str]:
        """The errors that cells show."""
        return [
            f"cell {number}: {output['ename']}: {output['evalue']}"
            for number, cell in enumerate(self.cells())
            for output in cell["outputs"]
            if output["output_type"] == "error"
        ]

    def done(self) -> bool:
        """Whether every code cell with something in it has run and the kernel is idle."""
        return self.ready() and all(
            cell["count"] is not None for cell in self.cells() if cell["type"] == "code" and cell["source"].strip()
        )

    def wait_until_done(self, seconds: float = 120.0) -> None:
        """Wait for ``run_all``. Raises AssertionError as soon as a cell shows an error: the others will not run."""

        def finished() -> bool:
            assert not self.errors(), "; ".join(self.errors())
            return self.done()

        wait(finished, "the end of all cells", seconds, every=0.25)

    def show(self, cell: int) -> None:
        """Scroll to a cell: JupyterLab draws only what is near the window."""
        self.ask("content.activeCellIndex = argument; content.scrollToItem(argument, 'start');", cell)

    def count(self, selector: str) -> int:
        """How many elements a CSS selector finds."""
        return self.page.evaluate("(selector) => document.querySelectorAll(selector).length", selector)

    def attribute(self, selector: str, name: str) -> str | None:
        """An attribute of the first element found, None without one."""
        return self.page.evaluate("(a) => document.querySelector(a[0])?.getAttribute(a[1]) ?? null", [selector, name])

    def text(self, selector: str) -> str:
        """The text of all elements found, a line each."""
        return self.page.evaluate(
            "(selector) => [...document.querySelectorAll(selector)].map(e => e.innerText).join('\\n')", selector
        )

    def watch(self, selector: str, name: str = "changes") -> None:
        """Begin to count how often the elements found (or what is in them) change; ``changes`` tells."""
        self.page.evaluate(
            """(a) => {
                window[a[1]] = 0;
                const look = () => [...document.querySelectorAll(a[0])].map(e => e.src || e.outerHTML).join();
                let last = look();
                const step = () => {
                    const now = look();
                    if (now !== last) { window[a[1]] += 1; last = now; }
                    window.requestAnimationFrame(step);
                };
                step();
            }""",
            [selector, name],
        )

    def changes(self, name: str = "changes") -> int:
        """How often what is watched has changed, as far as frames on the screen show."""
        return self.page.evaluate("(name) => window[name]", name)

    def picture(self, path: Path) -> None:
        """A screenshot."""
        self.page.screenshot(path=str(path))
