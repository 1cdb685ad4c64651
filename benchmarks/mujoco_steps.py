"""Environment steps per second of CPU and of clock: our MuJoCo worlds against Gymnasium's vector environments.

Each contender steps the same number of worlds with random actions, episodes following one another, in a process of its own:
Gymnasium's environments one by one, its SyncVectorEnv, its AsyncVectorEnv (a process for each world), and ours on one thread
and on one for each processor. CPU seconds are those of all processes and threads. "physics" is the part of stepping one by one
that is spent in MuJoCo's ``mj_step``: as if everything else cost nothing. Medians over rounds that take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
import psutil

TASKS = ("Hopper-v5", "HalfCheetah-v5", "Ant-v5", "Humanoid-v5")
CONTENDERS = ("one by one", "SyncVectorEnv", "AsyncVectorEnv", "ours, 1 thread", "ours, all threads")
PHYSICS = "physics"


def clocks() -> tuple[float, float]:
    """Seconds of CPU, of this process and of its children, and of wall clock."""
    own = psutil.Process()
    times = [process.cpu_times() for process in own.children(recursive=True)]
    return time.process_time() + sum(t.user + t.system for t in times), time.perf_counter()


def rates(run, count: int) -> list[float]:
    """Steps per CPU second and per wall second."""
    before = clocks()
    run()
    return [count / (after - start) for after, start in zip(clocks(), before, strict=True)]


def some_actions(space, worlds: int, steps: int) -> np.ndarray:
    """[steps, worlds, A], as Gymnasium's environments take them."""
    return np.random.default_rng(0).uniform(space.low, space.high, (steps, worlds, *space.shape)).astype(np.float32)


def one_by_one(task: str, worlds: int, steps: int) -> dict[str, list[float]]:
    """Gymnasium's single environments, and their physics alone."""
    import gymnasium

    singles = [gymnasium.make(task) for _ in range(worlds)]
    spent = 0.0
    for seed, single in enumerate(singles):
        single.reset(seed=seed)
    actions = some_actions(singles[0].action_space, worlds, steps)

    def timed(simulate):
        def run(*arguments):
            nonlocal spent
            begin = time.process_time()
            simulate(*arguments)
            spent += time.process_time() - begin

        return run

    def run(steps=steps):
        for row in actions[:steps]:
            for single, action in zip(singles, row, strict=True):
                _, _, terminated, truncated, _ = single.step(action)
                if terminated or truncated:
                    single.reset()

    run(20)
    result = {CONTENDERS[0]: rates(run, steps * worlds)}
    for single in singles:
        single.unwrapped._step_mujoco_simulation = timed(single.unwrapped._step_mujoco_simulation)
    run()
    return result | {PHYSICS: [steps * worlds / spent] * 2}


def vector(task: str, worlds: int, steps: int, mode: str) -> list[float]:
    """One of Gymnasium's vector environments."""
    import gymnasium

    batch = gymnasium.make_vec(task, worlds, vectorization_mode=mode)
    batch.reset(seed=0)
    actions = some_actions(batch.single_action_space, worlds, steps)

    def run(steps=steps):
        for action in actions[:steps]:
            batch.step(action)

    run(20)
    result = rates(run, steps * worlds)
    batch.close()
    return result


def ours(task: str, worlds: int, steps: int, threads: int) -> list[float]:
    """As a rollout steps: observed before and after a reset."""
    import torch

    from pgcourse import envs
    from pgcourse.rng import Rng

    torch.set_num_threads(1)
    env, rng = type(envs.make(task))(threads=threads), Rng(0)
    actions = env.spec.action.high * (2 * rng.uniform(steps, worlds, env.spec.action.size) - 1)
    state, elapsed = env.initial(rng.draw(env.spec.initial_noise, worlds)), torch.zeros(1, worlds, dtype=torch.int64)

    def run(steps=steps):
        nonlocal state, elapsed
        again = rng.draw(env.spec.initial_noise, steps, worlds)
        for t in range(steps):
            state, _, terminated = env.step(state, actions[:, t])
            env.observe(state)
            elapsed = elapsed + 1
            done = terminated | (elapsed >= env.spec.time_limit)
            if done.any():
                state = env.reset(done, state, again[:, t])
                elapsed = elapsed.masked_fill(done, 0)
                env.observe(state)

    run(20)
    return rates(run, steps * worlds)


def contend(name: str, task: str, worlds: int, steps: int) -> dict[str, list[float]]:
    if name == "one by one":
        return one_by_one(task, worlds, steps)
    if name.endswith("VectorEnv"):
        return {name: vector(task, worlds, steps, name.removesuffix("VectorEnv").lower())}
    return {name: ours(task, worlds, steps, 1 if name == "ours, 1 thread" else 0)}


def table(seen: dict[str, dict[str, list[list[float]]]]) -> str:
    lines = ["| steps per second of | " + " | ".join((PHYSICS, *CONTENDERS)) + " |", "|---" * (len(CONTENDERS) + 2) + "|"]
    for task in TASKS:
        for column, unit in enumerate(("CPU", "clock")):
            values = [statistics.median(row[column] for row in seen[task][name]) for name in (PHYSICS, *CONTENDERS)]
            lines.append(f"| {task}, {unit} | " + " | ".join(f"{value:,.0f}" for value in values) + " |")
    for task in TASKS:

        def ratio(name, other, column, task=task):
            pairs = zip(seen[task][name], seen[task][other], strict=True)
            return statistics.median(a[column] / b[column] for a, b in pairs)

        first, last = CONTENDERS[3:]
        against = ", ".join(f"{ratio(first, name, 0):.2f} of {name}" for name in (PHYSICS, *CONTENDERS[:3]))
        clock = ", ".join(f"{ratio(last, name, 1):.2f} of {name}" for name in CONTENDERS[:3])
        lines.append(f"{task}: ours on 1 thread, per CPU second: {against}; ours on all threads, by the clock: {clock}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=CONTENDERS, help="one contender in this process, as JSON; used by the script itself")
    options = parser.parse_args()
    if options.only:
        print(json.dumps({task: contend(options.only, task, options.worlds, options.steps) for task in TASKS}))
        return
    seen: dict = {task: {name: [] for name in (PHYSICS, *CONTENDERS)} for task in TASKS}
    for _ in range(options.rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--only", name, "--worlds", str(options.worlds), "--steps", str(options.steps)]
            said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            for task, values in said.items():
                for what, numbers in values.items():
                    seen[task][what].append(numbers)
    print(f"{options.worlds} worlds, {options.steps} steps each, medians of {options.rounds} rounds")
    print(table(seen))


if __name__ == "__main__":
    main()
