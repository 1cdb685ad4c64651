"""Environment steps per second of PPO on CartPole-v1: ours, Stable-Baselines3, and a compiled JAX program of the same recipe.

4 environments x 128 steps, 4 epochs, 4 minibatches, 64-64 tanh networks, Adam with a falling step size. Each program runs in
a process of its own, one after the other in every round, so that a busy machine disturbs all alike; figures are medians over
rounds. The CPU time of all threads counts; the time for starting and compiling is given apart. Peers that are not installed
are left out: pip install -e .[peers]
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

ENVIRONMENTS, STEPS, STEP_SIZE = 4, 128, 1e-3
REPLICAS = (1, 16, 64, 256)
ITERATIONS = {1: 80, 16: 24, 64: 10, 256: 4}
"""Of each run, by replicas: a few seconds each."""


def ours(replicas: int, threads: int):
    import torch

    from pgcourse import envs
    from pgcourse.algorithms import ppo
    from pgcourse.rng import Rng

    torch.set_num_threads(threads)
    env, seeds = envs.make("CartPole-v1"), Rng(range(replicas))

    def run(iterations):
        config = ppo.Config(environments=ENVIRONMENTS, steps=STEPS, iterations=iterations, step_size=STEP_SIZE)
        ppo.train(env, config, seeds)

    run(1)
    return run


def jax(replicas: int, threads: int):
    import ppo_jax
    from jax import numpy as jnp

    program = ppo_jax.compiled(replicas, ITERATIONS[replicas], STEP_SIZE)
    return lambda iterations: program(jnp.arange(replicas))


def sb3(replicas: int, threads: int):
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(threads)

    def run(iterations):
        learner = PPO(
            "MlpPolicy",
            make_vec_env("CartPole-v1", n_envs=ENVIRONMENTS, seed=0),
            n_steps=STEPS,
            batch_size=ENVIRONMENTS * STEPS // 4,
            n_epochs=4,
            learning_rate=lambda left: STEP_SIZE * left,
            ent_coef=0.01,
            device="cpu",
        )
        learner.learn(iterations * ENVIRONMENTS * STEPS)

    run(1)
    return run


PROGRAMS = {"ours": ours, "jax": jax, "sb3": sb3}


def measure(program: str, replicas: int, threads: int) -> None:
    """In a process of its own: make the program ready, run it, print what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    run = PROGRAMS[program](replicas, threads)
    ready = (time.perf_counter() - wall, time.process_time() - cpu)
    iterations = ITERATIONS[replicas]
    wall, cpu = time.perf_counter(), time.process_time()
    run(iterations)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    steps = iterations * replicas * ENVIRONMENTS * STEPS
    print(json.dumps({"cpu": steps / cpu, "wall": steps / wall, "ready": ready}))


def started(program: str, replicas: int, threads: int = 1) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", __file__, "--measure", program, str(replicas), str(threads)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=REPLICAS, choices=REPLICAS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        program, replicas, threads = options.measure
        return measure(program, int(replicas), int(threads))

    has_jax, has_sb3 = (importlib.util.find_spec(name) is not None for name in ("jax", "stable_baselines3"))
    cases = [("ours", r, 1) for r in options.replicas] + [("ours", 64, 2)] * (64 in options.replicas)
    cases += [("jax", r, 1) for r in options.replicas] * has_jax + [("sb3", 1, 1)] * has_sb3
    runs = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case in sorted(cases, key=lambda case: case[1]):  # ours beside theirs at each number of replicas
            runs[case].append(started(*case))
            print(*case, json.dumps(runs[case][-1]), file=sys.stderr, flush=True)

    def middle(case, what):
        return statistics.median(run[what] for run in runs[case])

    def ratio(case, other, what):
        """Median over rounds of the ratio within a round."""
        return statistics.median(a[what] / b[what] for a, b in zip(runs[case], runs[other], strict=True))

    print(f"{'PPO, CartPole-v1':34} {'steps / CPU s':>14} {'steps / s':>12} {'ready after, CPU s':>20}")
    for case in cases:
        name = f"{case[0]}, {case[1]} replicas" + f", {case[2]} threads" * (case[2] > 1)
        ready = statistics.median(run["ready"][1] for run in runs[case])
        print(f"{name:34} {middle(case, 'cpu'):14,.0f} {middle(case, 'wall'):12,.0f} {ready:20.1f}")
    goals = [(("ours", 16, 1), ("sb3", 1, 1), "cpu", 20.0), (("ours", 16, 1), ("jax", 16, 1), "cpu", 1.0)]
    goals += [(("ours", 64, 1), ("jax", 64, 1), "cpu", 1.0), (("ours", 64, 2), ("jax", 64, 1), "wall", 1.7)]
    for r in options.replicas:
        if ("jax", r, 1) in runs and r not in (16, 64):
            goals.append((("ours", r, 1), ("jax", r, 1), "cpu", None))
    for case, other, what, goal in goals:
        if case in runs and other in runs:
            value, unit = ratio(case, other, what), "CPU second" if what == "cpu" else "second of wall clock"
            verdict = "" if goal is None else f"; target {goal:g}: {'reached' if value >= goal else 'NOT reached'}"
            print(f"ours, {case[1]} replicas, against {other[0]}, {other[1]}, steps per {unit}: {value:.2f} x{verdict}")


if __name__ == "__main__":
    main()
