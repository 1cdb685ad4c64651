"""What starting costs: importing pgcourse beside importing torch, and ``pgcourse --help``, each in fresh processes.

Rounds are interleaved, so that a busy machine disturbs all alike; each figure is the median over rounds. Targets: importing
pgcourse, with all that trains a policy, takes at most 1.2 times the CPU seconds of importing torch; ``--help`` answers in under
0.3 s.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

TARGET_RATIO, TARGET_HELP = 1.2, 0.3

PROGRAMS = {
    "torch": ["-c", "import torch"],
    "pgcourse": ["-c", "import pgcourse"],
    "pgcourse, all that trains": ["-c", "import pgcourse.algorithms.reinforce, pgcourse.envs.cartpole, pgcourse.exact"],
    "pgcourse, plots and checks too": ["-c", "import pgcourse.algorithms.reinforce, pgcourse.widgets, pgcourse.grading"],
    "pgcourse --help": ["-m", "pgcourse", "--help"],
}


def run(arguments: list[str]) -> tuple[float, float]:
    """CPU seconds and wall-clock seconds of a Python process."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for arguments in PROGRAMS.values():
        run(arguments)  # byte code, file cache
    seen = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, arguments in PROGRAMS.items():
            seen[name].append(run(arguments))
    cpu = {name: statistics.median(times[0] for times in seen[name]) for name in PROGRAMS}
    wall = {name: statistics.median(times[1] for times in seen[name]) for name in PROGRAMS}
    print(f"{'import of':32}{'CPU s':>8}{'wall s':>8}{'of torch':>10}")
    for name in PROGRAMS:
        print(f"{name:32}{cpu[name]:8.2f}{wall[name]:8.2f}{cpu[name] / cpu['torch']:10.2f}")
    ratio = cpu["pgcourse, all that trains"] / cpu["torch"]
    print(f"importing all that trains: {ratio:.2f} of torch (target at most {TARGET_RATIO})")
    print(f"pgcourse --help: {wall['pgcourse --help']:.2f} s (target under {TARGET_HELP})")


if __name__ == "__main__":
    main()
