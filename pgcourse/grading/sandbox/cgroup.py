"""A control group: a bound on memory and processes that the kernel keeps for a whole sandbox. Version 2, or version 1."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_numbers = itertools.count()


class Group:
    """A control group of this process's own making. Raises OSError where none can be made."""

    def __init__(self, memory: int, processes: int):
        """memory: bytes, swap included where the kernel counts it. processes: threads, rather."""
        name = f"pgcourse-{os.getpid()}-{next(_numbers)}"
        self._folders: list[Path] = []
        problems = []
        for group in _candidates():
            try:
                for parent, settings in group.items():
                    for old in abandoned(parent):
                        with suppress(OSError):
                            old.rmdir()
                    folder = parent / name
                    folder.mkdir()
                    self._folders.append(folder)
                    for file, value in settings.items():
                        _write(folder / file, {"memory": memory, "processes": processes}.get(value, value))
                return
            except OSError as problem:
                problems.append(f"{problem.filename}: {problem.strerror}")
                self.close()
        raise OSError(f"no control group can be made here ({'; '.join(dict.fromkeys(problems)) or 'none is mounted'})")

    def command(self) -> list[str]:
        """What to put before a command so that it and all it starts are in the group."""
        entries = " ".join(f"'{folder}/cgroup.procs'" for folder in self._folders)
        script = f'for group in {entries}; do echo 0 > "$group" || exit 1; done; exec "$@"'
        return ["/bin/sh", "-c", script, "sh"]

    def kills(self) -> int:
        """How often the kernel has killed in the group for want of memory."""
        for folder in self._folders:
            for file in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    lines = dict(line.split() for line in (folder / file).read_text().splitlines())
                    return int(lines.get("oom_kill", 0))
        return 0

    def close(self) -> None:
        """Remove the group; what is still in it is killed."""
        for folder in self._folders:
            for _ in range(100):
                with suppress(OSError):
                    for pid in (folder / "cgroup.procs").read_text().split():
                        os.kill(int(pid), 9)
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)  # the last process is still being taken apart
        self._folders = []


def abandoned(parent: Path) -> list[Path]:
    """Folders ``pgcourse-PID-...`` in this one that were made by a process that is no more: it was killed, and left them."""
    found = []
    for path in parent.glob("pgcourse-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            found.append(path)
    return found


def _candidates() -> Iterator[dict[Path, dict[str, str]]]:
    """Where groups might be made: the folders for one each, and what to write into which file of it."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    mounted = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            mounted.setdefault("", Path(place))
        elif kind == "cgroup":
            mounted |= dict.fromkeys(options.split(","), Path(place))
    second = {"memory.max": "memory", "pids.max": "processes", "memory.swap.max": "0"}
    if "" in mounted:  # a group with processes in it cannot have any below it, but beside it
        here = mounted[""] / own.get("", "")
        for parent in dict.fromkeys((here, here.parent)):
            if parent.is_relative_to(mounted[""]):
                yield {parent: second}
    if "memory" in mounted and "pids" in mounted:
        first = {"memory": {"memory.limit_in_bytes": "memory"}, "pids": {"pids.max": "processes"}}
        for below in (own, {}):
            group: dict[Path, dict[str, str]] = {}
            for controller, settings in first.items():  # which may be mounted at one place
                group.setdefault(mounted[controller] / below.get(controller, ""), {}).update(settings)
            yield group


def _write(path: Path, value: object) -> None:
    try:
        path.write_text(str(value))
    except FileNotFoundError:
        if path.name != "memory.swap.max":  # a kernel without swap
            raise
