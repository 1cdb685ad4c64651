"""What ``pgcourse.grading`` is inside the sandbox. Notebooks import these names; here there is nothing to check with."""


def check(function, *, seed=None) -> None:
    """Does nothing: what is graded here is judged elsewhere."""


def hint(what) -> None:
    """Does nothing."""


def solution(what, confirm=None) -> None:
    """Does nothing."""


def progress(folder=None) -> None:
    """Does nothing."""


def tasks() -> tuple:
    """There are none here."""
    return ()
