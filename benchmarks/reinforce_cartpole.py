"""Seconds until 16 replicas of REINFORCE reach 475 on CartPole-v1, with the live plot drawing all the while.

Reached: the mean over replicas of each one's last 100 episodes is at least 475. The run takes place in a real Jupyter kernel,
whose pictures are counted. Target: 15 s of wall clock on two cores.
"""

import argparse
import time
from pathlib import Path

import nbformat
import numpy as np
import torch
from nbclient import NotebookClient

from pgcourse import envs, plots
from pgcourse.algorithms import reinforce
from pgcourse.rng import Rng

TARGET, SOLVED = 15.0, 475.0


def run(first_seed: int) -> None:
    """Train 16 replicas until they are there, and print how long it took; in a notebook's cell."""
    torch.set_num_threads(1)
    env, config = envs.make("CartPole-v1"), reinforce.Config(iterations=100, discount=1.0)
    batches = int(np.ceil(100 / config.environments))
    live = plots.live(threshold=SOLVED)

    def progress(history):
        live(history)
        return history.iteration > batches and history.window("return", batches)[:, -1].mean() >= SOLVED

    reinforce.train(env, reinforce.Config(iterations=2), Rng(range(2)))  # warm-up
    begin, cpu = time.perf_counter(), time.process_time()
    _, history = reinforce.train(env, config, Rng(range(first_seed, first_seed + 16)), progress=progress)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    last, steps = history.window("return", batches)[:, -1], history.steps[:, -1].sum()
    verdict = "reached" if last.mean() >= SOLVED and wall <= TARGET else "NOT reached"
    print(
        f"seeds {first_seed}..{first_seed + 15}: mean of the last {batches * config.environments} episodes {last.mean():.1f} "
        f"(worst replica {last.min():.0f}) after {history.iteration} updates, {steps:,.0f} steps, {wall:.1f} s "
        f"({cpu:.1f} CPU s, {steps / cpu:,.0f} steps a CPU second); target {TARGET:.0f} s: {verdict}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs, each with 16 other seeds")
    options = parser.parse_args()
    here = Path(__file__).resolve().parent
    for number in range(options.runs):
        cell = nbformat.v4.new_code_cell(f"from reinforce_cartpole import run\nrun({16 * number})")
        notebook = nbformat.v4.new_notebook(cells=[cell])
        pictures = []
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(here)}})
        hear = client.process_message
        client.process_message = lambda message, *rest, hear=hear, pictures=pictures: (
            pictures.append(message) if message["msg_type"] == "update_display_data" else None,
            hear(message, *rest),
        )[1]
        client.execute()
        text = "".join(output.get("text", "") for output in notebook.cells[0].outputs)
        print(f"{text.strip()} ({len(pictures)} pictures)", flush=True)


if __name__ == "__main__":
    main()
