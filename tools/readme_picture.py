"""Make docs/band.png, the README's picture: sixteen seeds of REINFORCE on CartPole-v1.

$ python tools/readme_picture.py
"""

from pathlib import Path

from pgcourse import envs, plots
from pgcourse.algorithms import reinforce
from pgcourse.rng import Rng

_, history = reinforce.train(envs.make("CartPole-v1"), reinforce.Config(iterations=60, discount=1.0), Rng(range(16)))
axes = plots.learning_curve(history, threshold=475)
axes.figure.savefig(Path(__file__).parent.parent / "docs" / "band.png", dpi=150)
