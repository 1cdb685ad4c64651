"""Where one student stands: what the gradebook says, and all that feedback and exports are made from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskStanding:
    """How one task of a student's current submission was judged."""

    task: str
    """The task's id, "03.gaussian_score"."""
    title: str
    status: str
    """As in ``judge.Outcome``."""
    points: float
    """After an override, before the late policy."""
    max_points: int
    message: str
    """What the student is told; nothing in it comes from a hidden case."""
    mistake: str | None
    """The name of the listed mistake that was recognised."""
    printed: str
    """What the function printed on the public cases."""
    override: str
    """Why a person set the points; "" where nobody did."""


@dataclass(frozen=True)
class Standing:
    """A student's current submission, with overrides and the late policy applied."""

    student: str
    submitted: str | None
    """When it was handed in, where that is known."""
    late: str
    """What being late costs: "2 days late: -20 %"; "" where it costs nothing."""
    rejected: str | None
    """Why nothing in it could be graded."""
    notices: tuple[str, ...]
    """What the student should know: "f is defined twice; the last counts"."""
    flags: tuple[str, ...]
    """What a person should look at, such as tampering. Not for the student."""
    level: str
    """The isolation it was graded at: "S3", "S2", "S1" or "S0"."""
    graded: str
    """When."""
    sha256: str
    """Of what was graded; where it was refused, not of the file."""
    tasks: tuple[TaskStanding, ...]
    points: float
    """After overrides and the late policy."""
    max_points: int
