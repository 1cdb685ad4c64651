"""Every test runs with the shapes and types of public functions checked (jaxtyping and beartype)."""

import torch
from jaxtyping import install_import_hook

install_import_hook(
    [
        f"pgcourse.{module}"
        for module in ("rng", "distributions", "nn", "policies", "rollout", "returns", "gradients", "exact", "algorithms")
    ],
    "beartype.beartype",
)

torch.set_num_threads(1)
