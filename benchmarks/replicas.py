"""Environment steps per CPU second of REINFORCE on CartPole-v1: R replicas in one computation, beside a loop over learners.

One torch thread for both. Each figure is the median of several interleaved runs from scratch, so that a busy machine
disturbs all alike; steps beyond an episode's end (padding) are not counted. Target: 64 replicas at least 15 times one, at 8
episodes per update. (The more of them, the better one learner alone fills its tensors, and the less is left to gain.)
"""

import argparse
import statistics
import time

import torch

from pgcourse import envs
from pgcourse.algorithms import reinforce
from pgcourse.rng import Rng

TARGET = 15


def rate(groups, iterations: int, environments: int) -> float:
    """Steps per CPU second of training each group of seeds after the other."""
    env, config = envs.make("CartPole-v1"), reinforce.Config(iterations=iterations, environments=environments)
    steps, begin = 0.0, time.process_time()
    for seeds in groups:
        _, history = reinforce.train(env, config, Rng(seeds))
        steps += history.steps[:, -1].sum()
    return steps / (time.process_time() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rate([range(2)], 2, options.environments)  # warm-up
    loop = f"loop over {min(options.replicas[-1], 4)} single learners"
    cases = {loop: [[seed] for seed in range(4)], **{f"{r} replicas": [range(r)] for r in options.replicas}}
    rates = {name: [] for name in cases}
    for _ in range(options.repeats):
        for name, groups in cases.items():
            rates[name].append(rate(groups, options.iterations, options.environments))
    single = statistics.median(rates[loop])
    print(f"{'REINFORCE, CartPole-v1':30} {'steps per CPU second':>22} {'ratio to the loop':>20}")
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:30} {middle:12,.0f} ({min(values):,.0f} .. {max(values):,.0f}) {middle / single:8.1f} x")
    if "64 replicas" in rates:
        ratio = statistics.median(rates["64 replicas"]) / statistics.median(rates["1 replicas"])
        print(f"64 replicas against one: {ratio:.1f} x; target {TARGET} x: {'reached' if ratio >= TARGET else 'NOT reached'}")


if __name__ == "__main__":
    main()
