"""Every test runs with the shapes and types of public functions checked (jaxtyping and beartype)."""

import torch
from jaxtyping import install_import_hook

CHECKED = "rng distributions nn policies rollout returns gradients relaxations exact algorithms"

install_import_hook([f"pgcourse.{module}" for module in CHECKED.split()], "beartype.beartype")

torch.set_num_threads(1)
