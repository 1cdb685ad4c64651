"""The twelve-parameter gait by every black-box method, on equal environment steps: Kohl & Stone's budget.

Each method gets 15 policies x 3 evaluations x 23 iterations = 1,035 walks, for each of 16 seeds, and begins with changes of one
epsilon in every parameter. No setting was tuned. An answer is judged by walks that no method has seen.

    python benchmarks/gait.py                 the fast model; seconds
    python benchmarks/gait.py --record        the MuJoCo robot, into pgcourse/recorded/gait.npz; 9 CPU minutes
"""

import argparse
import json
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import pgcourse
from pgcourse import blackbox
from pgcourse.envs import gait
from pgcourse.rng import Rng

METHODS = ("random_search", "hill_climbing", "genetic", "kohl_stone", "cem", "cma_es")
FILE = Path(pgcourse.__file__).parent / "recorded" / "gait.npz"
REFERENCE = 291 / 245
"""Kohl & Stone (2004): mm/s after 23 iterations over mm/s before."""


def run(env, judge, seeds: int, **settings) -> dict[str, np.ndarray]:
    """For each method "NAME parameters" [R, iteration, 12], "NAME answer" and "NAME return" [R, iteration]."""
    result = {}
    for name in METHODS:
        answers: list[torch.Tensor] = []

        def exact(theta, answers=answers):
            answers.append(gait.parameters(theta))
            return judge(answers[-1])

        module = import_module(f"pgcourse.algorithms.{name}")
        config = module.Config(**settings)
        with tqdm(total=config.iterations, desc=name, mininterval=5) as bar:
            problem = replace(blackbox.of(env), exact=exact)
            _, history = module.train(
                problem, config, Rng(range(seeds)), progress=lambda history, bar=bar: bar.update() and None
            )
        result[f"{name} parameters"] = torch.stack(answers, 1).numpy().astype(np.float32)
        result[f"{name} answer"] = history.metrics["answer"].astype(np.float32)
        result[f"{name} return"] = history.metrics["return"].astype(np.float32)
    return result


def table(result, start: float) -> str:
    """Each method's last answers: mean and standard deviation over the seeds, and the gain over the first gait."""
    lines = [f"gait set by hand: {start:.0f} mm/s; Kohl & Stone's gain: {REFERENCE - 1:.0%}"]
    for name in METHODS:
        last = result[f"{name} answer"][:, -1]
        gain = last.mean() / start - 1
        lines.append(f"{name:14} {last.mean():6.0f} +- {last.std(ddof=1):3.0f} mm/s over {len(last)} seeds, gain {gain:+.0%}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="run the MuJoCo robot and write the recorded runs")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=23)
    parser.add_argument("--threads", type=int, default=1, help="of MuJoCo; results do not depend on it")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = gait.parameters(torch.zeros(12))
    if not options.record:
        env = gait.Gait()
        result = run(env, env.speed, options.seeds, iterations=options.iterations)
        print(table(result, float(env.speed(begin))))
        return

    from pgcourse.envs import gait_mujoco

    env = gait_mujoco.MujocoGait(threads=options.threads)
    unseen = Rng(0, stream=99).uniform(4, 4)[0]  # four walks

    def judge(parameters):
        return env.speed(parameters.unsqueeze(-2), unseen).mean(-1)

    started = time.process_time()
    result = run(env, judge, options.seeds, iterations=options.iterations)
    start = float(judge(begin))
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "pgcourse": pgcourse.__version__,
        "command": "python benchmarks/gait.py --record",
        "start": start,
        "walks per iteration": 45,
        "cpu seconds": round(time.process_time() - started),
        "mujoco": gait_mujoco.mujoco.__version__,
    }
    options.out.parent.mkdir(exist_ok=True)
    np.savez_compressed(options.out, about=json.dumps(about), **result)
    print(table(result, start))
    print(json.dumps(about))


if __name__ == "__main__":
    main()
