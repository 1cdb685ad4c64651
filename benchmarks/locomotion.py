"""PPO on MuJoCo's robots for a million steps by the usual recipe, beside what others report for it.

The recipe (CleanRL's ppo_continuous_action; Huang et al. 2022, "The 37 implementation details of PPO"): 2,048 steps, 10 epochs
of 32 minibatches, Adam from 3e-4 linearly to 0, discount 0.99, lambda 0.95, clip 0.2, gradients at most 0.5 long, 64-64 tanh,
running normalisation of observations and of rewards. Ours collects the 2,048 steps in 8 environments instead of one.

    python benchmarks/locomotion.py              the table, from the recorded runs; seconds
    python benchmarks/locomotion.py --record     the runs, into pgcourse/recorded/locomotion_*.npz; about an hour of CPU

The seeds of a task run on the replica axis, a few at a time. Each such group is written down when it is done, under
``--parts``, and not done again: a recording that was stopped goes on with the group it was in. A replica's run does not depend
on its group.
"""

import argparse
import json
import time
from pathlib import Path

import mujoco
import numpy as np
import torch
from tqdm import tqdm

import pgcourse
from pgcourse import distributions, envs
from pgcourse.algorithms import ppo
from pgcourse.envs.mujoco import recorded
from pgcourse.history import History
from pgcourse.rng import Rng
from pgcourse.rollout import episodes

FOLDER = Path(pgcourse.__file__).parent / "recorded"
TASKS = ("Hopper-v5", "HalfCheetah-v5", "InvertedDoublePendulum-v5")
PUBLISHED = {
    "Hopper-v5": "CleanRL 2383 +- 272 (v4), Spinning Up 1770, Tianshou 2609 +- 701, RL Zoo 2410",
    "HalfCheetah-v5": "CleanRL 1443 +- 46 (v4), Spinning Up 1733, Tianshou 5784 +- 1244, RL Zoo 5819",
    "InvertedDoublePendulum-v5": "CleanRL 5626 (v4)",
}
"""PPO's return after a million steps. Not measured alike: CleanRL gives the last training episodes of 3 seeds, Spinning Up its
training curve, Tianshou the best of many tests of the mean action, RL Zoo a test of one run."""
RECIPE = {
    "environments": 8,
    "steps": 256,
    "iterations": 488,  # 999,424 steps
    "epochs": 10,
    "minibatches": 32,
    "discount": 0.99,
    "trace_decay": 0.95,
    "step_size": 3e-4,
    "anneal": True,
    "clip": 0.2,
    "value_weight": 0.25,  # CleanRL halves the squared error once more
    "entropy_weight": 0.0,
    "max_gradient_norm": 0.5,
    "normalise_observations": True,
    "normalise_rewards": True,
    "hidden": (64, 64),
}
LAST = 49
"""Iterations that the final return is the mean of: the last 100,000 steps."""


class Mean:
    """A policy's mean action, always."""

    noise = None

    def __init__(self, policy):
        self.policy = policy

    def __call__(self, observation):
        return distributions.Deterministic(self.policy(observation).mean)


def run(task: str, seeds: range, recipe: dict) -> tuple[History, np.ndarray, float]:
    """A group of seeds: what happened, ten test returns of each one's mean action [R, 10], and CPU seconds of the training."""
    env, config, begin = envs.make(task), ppo.Config(**recipe), time.process_time()
    with tqdm(total=config.iterations, desc=f"{task} {seeds.start}..{seeds[-1]}", mininterval=30) as bar:

        def progress(history):
            bar.set_postfix({"return": f"{history.latest('return').mean():.0f}"}, refresh=False)
            bar.update()

        policy, history = ppo.train(env, config, Rng(seeds), progress=progress)
    seconds = time.process_time() - begin
    with torch.no_grad():
        test = episodes(env, Mean(policy), Rng(seeds, stream=1), environments=10).episode_return
    return history, test.numpy(), seconds


def record(task: str, seeds: int, group: int, recipe: dict, parts: Path) -> None:
    """All groups of a task that are not there yet, then the file of them all."""
    parts.mkdir(parents=True, exist_ok=True)
    columns = []
    for first in range(0, seeds, group):
        chosen = range(first, min(first + group, seeds))
        path = parts / f"{task}_{chosen.start}_{chosen.stop}.npz"
        if not path.exists():
            history, test, seconds = run(task, chosen, recipe)
            values = {"return": history.metrics["return"], "steps": history.steps, "test": test, "seconds": seconds}
            values["settings"] = json.dumps(recipe)
            unfinished = path.with_suffix(".part.npz")  # a kill while writing must not leave what looks complete
            np.savez_compressed(unfinished, **values)
            unfinished.replace(path)
        with np.load(path, allow_pickle=False) as file:
            columns.append(dict(file))
        settings = json.loads(str(columns[-1]["settings"]))
        if any(settings.get(name) != value for name, value in json.loads(json.dumps(recipe)).items()):
            raise ValueError(f"{path} was made with other settings; delete it, or give another folder with --parts.")
    about = {
        "task": task,
        "date": time.strftime("%Y-%m-%d"),
        "pgcourse": pgcourse.__version__,
        "command": "python benchmarks/locomotion.py --record",
        "settings": recipe,
        "cpu seconds": round(sum(float(part["seconds"]) for part in columns)),
        "mujoco": mujoco.__version__,
        "torch": torch.__version__,
    }
    joined = {name: np.concatenate([part[name] for part in columns]).astype(np.float32) for name in ("return", "steps", "test")}
    np.savez_compressed(FOLDER / f"locomotion_{task}.npz", about=json.dumps(about), **joined)


def middle(values: np.ndarray) -> float:
    """Interquartile mean."""
    ordered = np.sort(values)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def interval(values: np.ndarray, resamples: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap interval of the interquartile mean over seeds."""
    again = np.random.default_rng(0).choice(values, (resamples, len(values)))
    low, high = np.quantile([middle(row) for row in again], (0.025, 0.975))
    return float(low), float(high)


def table(tasks: list[str]) -> str:
    """Each task's final training return and test of the mean action over the seeds, beside the published figures."""
    lines = []
    for task in tasks:
        try:
            runs = recorded(task)
        except FileNotFoundError:
            lines.append(f"{task}: not recorded yet; --record does it")
            continue
        about, last, test = json.loads(str(runs["about"])), runs["return"][:, -LAST:].mean(1), runs["test"].mean(1)
        low, high = interval(last)
        lines += [
            f"{task}: {len(last)} seeds, {runs['steps'][0, -1]:,.0f} steps each, recorded {about['date']}",
            f"  training return, last 100,000 steps: mean {last.mean():.0f} +- {last.std(ddof=1):.0f} (standard deviation), "
            f"interquartile mean {middle(last):.0f} [{low:.0f}, {high:.0f}], {last.min():.0f} .. {last.max():.0f}",
            f"  mean action, 10 episodes each: {test.mean():.0f} +- {test.std(ddof=1):.0f}",
            f"  published: {PUBLISHED[task]}",
            f"  {runs['steps'][:, -1].sum() / about['cpu seconds']:,.0f} steps per CPU second, with learning",
        ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="run what has not been run, and write the recorded runs")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--group", type=int, default=5, help="seeds trained at a time, on the replica axis")
    parser.add_argument("--parts", type=Path, default=Path("build/locomotion"), help="where finished groups are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.record:
        for task in options.tasks:
            record(task, options.seeds, options.group, RECIPE, options.parts)
    print(table(options.tasks))


if __name__ == "__main__":
    main()
