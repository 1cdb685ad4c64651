"""Text for a terminal or a notebook, without a notebook library."""

import sys
import textwrap


def say(text: str, end: str = "\n") -> None:
    """Print, also where the output cannot show every character."""
    try:
        print(text, end=end, flush=True)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), end=end, flush=True)


def indent(text: str, prefix: str = "  ") -> str:
    """``text`` with ``prefix`` in front of every line."""
    return textwrap.indent(text, prefix, lambda line: True)


def wrap(text: str, width: int = 110) -> str:
    """``text`` with long lines of prose broken; indented lines (numbers, code) stay as they are."""
    lines = text.splitlines()
    return "\n".join(line if line.startswith(" ") else textwrap.fill(line, width) for line in lines)


class Shown:
    """Something that shows its ``str`` as the result of a notebook cell, but not twice in the cell that has printed it."""

    def say(self):
        """Print it now; returns it."""
        say(str(self))
        object.__setattr__(self, "_said_in", _cell())  # frozen dataclasses too
        return self

    def _ipython_display_(self):
        if _cell() is None or getattr(self, "_said_in", None) != _cell():
            say(str(self))


def _cell() -> tuple | None:
    """Which cell of a notebook is running; None outside one."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return (id(shell), shell.execution_count) if shell else None
