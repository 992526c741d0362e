"""An optimiser's tensors between rounds, as safetensors: transformers' own checkpoints are pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from robust_rl.errors import InvalidArgumentError, sound


def save_state(optimizer: Any, path: Path) -> None:
    """Write the state of each parameter, ``<number>.<name>`` -> tensor.

    Raises
    ------
    InvalidArgumentError
        The optimiser keeps something else than tensors, as those with quantised states do.
    """
    tensors = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if not torch.is_tensor(value):
                raise InvalidArgumentError(f"the optimiser's {name!r} is a {type(value).__name__}; keep_optimizer needs tensors")
            tensors[f"{number}.{name}"] = value.detach().cpu().contiguous().clone()
    save_file(tensors, path)


def load_state(optimizer: Any, path: Path) -> None:
    """Give an optimiser of the same parameters the state in ``path``; its learning rate and other options stay its own."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    with sound(path, "optimiser state"):
        for key, value in load_file(path).items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
