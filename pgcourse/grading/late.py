"""What handing in late costs: a pure function, told by a TOML file.

    due = 2026-03-01T23:59:00+01:00   # without +01:00: this machine's local time
    grace_minutes = 15                # up to this late costs nothing
    deduction_per_day = 10            # percent of the points earned, for each day begun after the due time
    cutoff_days = 5                   # later than this earns nothing

    [extensions]                      # due times of single students, named as the gradebook names them
    "Ada Lovelace_12" = 2026-03-05T23:59:00+01:00

Only ``due`` must be there; without the others there is no grace, no deduction, no cutoff and no extension.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True)
class LatePolicy:
    """When work is due, and what handing it in later costs."""

    due: datetime
    grace: timedelta = timedelta()
    deduction: float = 0.0
    """Percent of the points earned, for each day begun."""
    cutoff: timedelta | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)

    def apply(self, student: str, submitted: str | None) -> tuple[float, str]:
        """The share of the points that is kept, in [0, 1], and a phrase for what is lost: "2 days late: -20 %", or "".

        Nothing is lost where it is not known when it was handed in.
        """
        if submitted is None:
            return 1.0, ""
        late = datetime.fromisoformat(submitted) - self.extensions.get(student, self.due)
        if late <= max(self.grace, timedelta()):
            return 1.0, ""
        days = math.ceil(late / timedelta(days=1))
        said = f"{days} day{'' if days == 1 else 's'} late"
        if self.cutoff is not None and late > self.cutoff:
            return 0.0, f"{said}, after the cutoff: -100 %"
        lost = min(100.0, days * self.deduction)
        return 1 - lost / 100, f"{said}: -{lost:g} %" if lost else ""


def parse(text: str) -> LatePolicy:
    """The policy that a TOML file states. Raises ValueError that says what is wrong with it and what to write."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"not TOML: {problem}.") from None
    known = ("due", "grace_minutes", "deduction_per_day", "cutoff_days", "extensions")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ValueError(
                f"{key} is not a setting. {f'Did you mean {near[0]}? ' if near else ''}There are: {', '.join(known)}."
            )
    if "due" not in given:
        raise ValueError("due is missing; write for example: due = 2026-03-01T23:59:00+01:00")
    extensions = given.get("extensions", {})
    if not isinstance(extensions, dict):
        raise ValueError('extensions is not a table; write [extensions] and below it "student" = 2026-03-05T23:59:00+01:00')
    cutoff = _number(given, "cutoff_days", math.inf)
    return LatePolicy(
        _time("due", given["due"]),
        timedelta(minutes=_number(given, "grace_minutes", 0)),
        _number(given, "deduction_per_day", 0, most=100),
        None if cutoff == math.inf else timedelta(days=cutoff),
        {student: _time(f'the extension of "{student}"', time) for student, time in extensions.items()},
    )


def _time(what: str, value) -> datetime:
    if not isinstance(value, datetime):
        raise ValueError(f"{what} is {value}; write a date and a time, without quotes: 2026-03-01T23:59:00+01:00")
    return value.astimezone()  # one without an offset is local time


def _number(given: Mapping, key: str, default: float, most: float = 1e6) -> float:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value <= most or value == default):
        raise ValueError(f"{key} is {value!r}; write a number from 0 to {most:g}.")
    return float(value)
