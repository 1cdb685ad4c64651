"""What PPO learns on three classic tasks, 16 seeds each: the settings, and the return at the end of training.

Return: of each replica, the mean over the last tenth of its iterations, actions sampled as in training. The target is for the
mean over replicas.
"""

import argparse
import time

import numpy as np
import torch

from pgcourse import envs
from pgcourse.algorithms import ppo
from pgcourse.rng import Rng

RECIPES = {
    "CartPole-v1": (475.0, ppo.Config()),
    "Acrobot-v1": (-100.0, ppo.Config(environments=8, iterations=120, normalise_observations=True)),
    "Pendulum-v1": (
        -250.0,
        ppo.Config(
            steps=256,
            iterations=100,
            epochs=10,
            minibatches=8,
            discount=0.9,
            entropy_weight=0.0,
            normalise_rewards=True,
        ),
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(RECIPES), metavar="TASK", help=", ".join(RECIPES))
    parser.add_argument("--seeds", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.tasks:
        target, config = RECIPES[name]
        begin = time.process_time()
        _, history = ppo.train(envs.make(name), config, Rng(range(options.seeds)))
        cpu, curve = time.process_time() - begin, history.metrics["return"]
        last = curve[:, -(config.iterations // 10) :].mean(1)
        above = history.window("return", 10).mean(0) >= target  # NaN before the first episode's end is not above
        there = f"first above after {history.steps[0, above.argmax()]:,.0f}" if above.any() else "never above"
        error = last.std(ddof=1) / np.sqrt(len(last)) if len(last) > 1 else np.nan
        print(
            f"{name}: {last.mean():.1f} ± {1.96 * error:.1f} (95 % interval of the mean; {last.min():.1f} .. {last.max():.1f} "
            f"over {len(last)} seeds) after {history.steps[0, -1]:,.0f} steps each, {cpu:.0f} CPU s; target {target:g}: "
            f"{'reached' if last.mean() >= target else 'NOT reached'}, {there} steps",
            flush=True,
        )


if __name__ == "__main__":
    main()
