"""The recipe of lecture 06 on our Pong, 16 seeds, and on Atari's: recorded runs, beside the published ones.

    python benchmarks/pong.py                     the table, from the recorded runs; seconds
    python benchmarks/pong.py --record            our simulator, both policies, 16 seeds, into pgcourse/recorded/pong.npz
    python benchmarks/pong.py --record-ale        Atari's Pong, one seed, into pgcourse/recorded/pong_ale.npz; --hours (of CPU)

The run on Atari's Pong writes a checkpoint every --every minutes, and the recorded file with it; stopped at any moment, it goes
on from there: with its weights, its optimizer and its count of everything, in new games, with a new stream of random numbers.
It ends when it has used --hours of CPU time in all.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

import pgcourse
from pgcourse import envs, nn, policies
from pgcourse.algorithms import pong
from pgcourse.envs import atari
from pgcourse.rng import Rng
from pgcourse.rollout import rollout

FOLDER = Path(pgcourse.__file__).parent / "recorded"
CHECKPOINT = Path("runs/pong_ale.pt")
PUBLISHED = {
    "Karpathy (2016)": "about 8,000 games in 3 nights on a laptop: slightly better than the built-in player",
    "a run by others": "27,065 games in 16 days on a laptop: -2 of 21 points a game",
    "CleanRL, PPO": "10 M decisions' frames in 281 minutes: +20 points a game",
}
"""On Atari's Pong. The first two are the recipe itself, the third is lecture 10's algorithm on stacked frames."""
ALE = pong.Config(environments=32, steps=512, discount=0.93, step_size=2e-3)
"""Our settings for Atari's Pong: an update from 16,384 decisions, some 350 points; a ball takes twice as long as in ours."""
NETWORKS = {"dense": pong.Config(), "convolutional": pong.Config(network="convolutional", hidden=32, iterations=80)}
"""Both policies, in our simulator."""


def write(path: Path, about: dict, **arrays) -> None:
    """The file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, about=json.dumps(about), **arrays)
    os.replace(part, path)


def about(command: str, **more) -> dict:
    return {"date": time.strftime("%Y-%m-%d"), "pgcourse": pgcourse.__version__, "command": command, **more}


def record(seeds: int, out: Path) -> None:
    """Our simulator by the library's own settings."""
    env, arrays, seconds = envs.make("pong"), {}, {}

    def report(history):
        if history.iteration % 10 == 0:
            mean = history.window("return", 10)[:, -1].mean()
            print(f"{history.iteration} updates, {history.seconds[-1]:.0f} s, {mean:.3f}", flush=True)

    for network, config in NETWORKS.items():
        begin, parts = time.process_time(), []
        for first in range(0, seeds, 4):  # a few at a time: pictures that are drawn out take room
            parts.append(pong.train(env, config, Rng(range(first, min(first + 4, seeds))), progress=report)[1])
            print(f"{network}: {first + len(parts[-1].seeds)} seeds", flush=True)
        for name in ("return", "steps per point"):
            together = np.concatenate([part.metrics[name] for part in parts]).astype(np.float32)
            arrays[f"{network}_{name.replace(' ', '_')}"] = together
        arrays[f"{network}_steps"] = parts[0].steps[0]
        seconds[network] = round(time.process_time() - begin)
        write(out, about("python benchmarks/pong.py --record", **{"cpu seconds": seconds}), **arrays)


class Run:
    """The run on Atari's Pong: all that a checkpoint holds, and how it goes on."""

    def __init__(self, seed: int):
        self.seed, self.starts, self.cpu = seed, 0, 0.0
        self.rows: list[tuple[float, ...]] = []
        self.step_sizes = {0: ALE.step_size}
        """By the update from which on it was this one."""
        self.policy = policies.Pixels(Rng(seed), atari.AtariPong.pixels, 2, ALE.hidden)
        self.optimizer = nn.Adam(self.policy, ALE.step_size, ALE.max_gradient_norm)

    NAMES = ("decisions", "points", "return", "games", "score", "steps per point")
    """Of each update: decisions, points and their mean result, games finished and their mean score, decisions a point."""

    def go_on(self, cpu: float, every: float, checkpoint: Path, out: Path, step_size: float | None = None) -> None:
        """Until ``cpu`` seconds have been used in all; a checkpoint every ``every`` seconds of the clock.

        Without ``step_size``, the one so far.
        """
        self.starts += 1
        if step_size is not None:
            self.step_sizes[len(self.rows)] = step_size
        self.optimizer.step_size = self.step_sizes[max(self.step_sizes)]
        rng, env, carry, loss = Rng(self.seed, stream=self.starts), atari.AtariPong(), None, nn.lift(pong.loss)
        score, due = np.zeros(ALE.environments), time.monotonic() + every
        while self.cpu < cpu:
            begin = time.process_time()
            batch, carry = rollout(env, self.policy, rng, ALE.steps, ALE.environments, carry)
            metrics, finite = pong.update(self.policy, self.optimizer, batch, ALE, loss)
            if not finite.all():
                raise FloatingPointError("the loss is not finite; the last checkpoint holds the run before it.")
            ends = []
            for reward, done in zip(batch.reward[0].numpy(), batch.done[0].numpy(), strict=True):
                score += reward
                ends += score[done].tolist()
                score[done] = 0
            points = int((batch.reward != 0).sum())
            self.rows.append(
                (
                    batch.reward.numel(),
                    points,
                    float(metrics["return"]),
                    len(ends),
                    float(np.mean(ends)) if ends else np.nan,
                    float(metrics["steps per point"]),
                )
            )
            self.cpu += time.process_time() - begin
            if time.monotonic() > due or self.cpu >= cpu:
                self.save(checkpoint, out)
                due = time.monotonic() + every

    def save(self, checkpoint: Path, out: Path) -> None:
        """The checkpoint, then the recorded file."""
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = checkpoint.with_suffix(".part")
        kept = {name: getattr(self, name) for name in ("seed", "starts", "cpu", "rows", "step_sizes")}
        adam = {name: getattr(self.optimizer, name) for name in ("mean", "square", "steps")}
        torch.save({"run": kept, "policy": self.policy.state_dict(), "adam": adam}, part)
        os.replace(part, checkpoint)
        rows = np.array(self.rows, dtype=np.float32)
        command = "python benchmarks/pong.py --record-ale"
        more = {"cpu hours": self.cpu / 3600, "starts": self.starts, "seed": self.seed, "frames a decision": 4}
        more |= {"step sizes": self.step_sizes}
        told = about(command, **more)
        columns = {name.replace(" ", "_"): rows[:, i] for i, name in enumerate(self.NAMES)}
        write(out, told, screens=screens(), **columns)
        print(f"{len(rows)} updates, {self.cpu / 3600:.2f} CPU hours, {np.nanmean(rows[-20:, 2]):.3f} a point", flush=True)

    @classmethod
    def load(cls, checkpoint: Path) -> "Run":
        held = torch.load(checkpoint, weights_only=True)
        run = cls(held["run"]["seed"])
        vars(run).update(held["run"])
        with torch.no_grad():
            for name, parameter in run.policy.named_parameters():
                parameter.copy_(held["policy"][name])
        vars(run.optimizer).update(held["adam"])
        return run


def screens() -> np.ndarray:
    """Two screens in a row, uint8 [2, 210, 160, 3], to show the preprocessing without the game."""
    game = atari.PixelLists()
    game.reset(seed=0)
    for step in range(60):
        game.step(step // 6 % 2)
    frames = []
    for _ in range(2):
        game.step(0)
        frames.append(game.unwrapped.ale.getScreenRGB())
    game.close()
    return np.stack(frames)


def table() -> str:
    """The recorded runs beside the published ones."""
    lines = []
    for name, path in (("our simulator", FOLDER / "pong.npz"), ("Atari's Pong", FOLDER / "pong_ale.npz")):
        if not path.exists():
            lines.append(f"{name}: not recorded yet")
            continue
        with np.load(path) as file:
            told = json.loads(str(file["about"]))
            if "decisions" in file:
                decisions, games, point = file["decisions"].sum(), file["games"].sum(), file["return"]
                lines.append(
                    f"{name}: {decisions:,.0f} decisions = {4 * decisions:,.0f} frames, {games:,.0f} games, "
                    f"{told['cpu hours']:.2f} CPU hours; a point pays {point[:5].mean():.2f} at first, "
                    f"{point[-5:].mean():.2f} at last"
                )
                continue
            for network, seconds in told["cpu seconds"].items():
                point, steps = file[f"{network}_return"], file[f"{network}_steps"][-1]
                end = point[:, -10:].mean(1)
                lines.append(
                    f"{name}, {network}: {len(point)} seeds, {steps:,.0f} decisions each, {seconds} CPU s; a point pays "
                    f"{point[:, :5].mean():.2f} at first, {end.mean():.2f} at last ({end.min():.2f} to {end.max():.2f})"
                )
    return "\n".join([*lines, *(f"{who}: {what}" for who, what in PUBLISHED.items())])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="run our simulator and write the recorded runs")
    parser.add_argument("--record-ale", action="store_true", help="begin the run on Atari's Pong, or go on with it")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--hours", type=float, default=1.0, help="of CPU time in all, on Atari's Pong")
    parser.add_argument("--step-size", type=float, help="of Adam from now on, on Atari's Pong; told in the recorded file")
    parser.add_argument("--every", type=float, default=4.0, help="minutes between checkpoints")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, help="in place of the files in pgcourse/recorded")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.record:
        record(options.seeds, options.out or FOLDER / "pong.npz")
    if options.record_ale:
        run = Run.load(options.checkpoint) if options.checkpoint.exists() else Run(0)
        out = options.out or FOLDER / "pong_ale.npz"
        run.go_on(3600 * options.hours, 60 * options.every, options.checkpoint, out, options.step_size)
    print(table())


if __name__ == "__main__":
    main()
