"""REINFORCE learns a MuJoCo task through the Gymnasium adapter: InvertedPendulum-v5.

An episode pays 1 a step, for 1,000 steps at most; a mean return of 950 counts as solved.
"""

import argparse
import time

import torch
from tqdm import tqdm

from pgcourse import envs
from pgcourse.algorithms import reinforce
from pgcourse.rng import Rng


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--step-size", type=float, default=1e-2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = reinforce.Config(
        iterations=options.iterations, environments=options.environments, step_size=options.step_size, discount=0.99
    )
    begin = time.process_time()
    with tqdm(total=config.iterations, unit="update", mininterval=5) as bar:

        def progress(history):
            bar.update()
            bar.set_postfix({"return": f"{history.latest('return').mean():.0f}"}, refresh=False)

        env = envs.make("gymnasium:InvertedPendulum-v5")
        _, history = reinforce.train(env, config, Rng(range(options.replicas)), progress=progress)
    print(history.table())
    last = history.window("return", 10)[:, -1]
    print(
        f"last 10 updates: {last.mean():.0f} on average, {last.min():.0f} .. {last.max():.0f} over {len(last)} replicas; "
        f"{history.steps[:, -1].sum():,.0f} steps in {time.process_time() - begin:.0f} CPU s"
    )


if __name__ == "__main__":
    main()
