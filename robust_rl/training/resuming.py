"""What checkpoints of learners have in common: is it of the same problem, and the tensors of modules and optimisers by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robust_rl.errors import InvalidArgumentError


def check_same_problem(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError naming the first difference."""
    for name, value in wanted.items():
        if found.get(name) != value:
            raise InvalidArgumentError(
                f"the checkpoint is of another problem: its {name} is {found.get(name)!r}, not {value!r}; "
                "choose another run directory"
            )


def torch_arrays(**parts: Any) -> dict[str, Any]:
    """Return the tensors of torch's modules and optimisers, on the processor: ``<part>.<name>`` or ``<part>.<number>.<name>``.

    An optimiser's options, such as its learning rate, are left out.
    """
    arrays: dict[str, Any] = {}
    for part, holder in parts.items():
        state = holder.state_dict()
        if "param_groups" in state:
            state = {f"{number}.{name}": value for number, moments in state["state"].items() for name, value in moments.items()}
        arrays |= {f"{part}.{name}": tensor.detach().cpu() for name, tensor in state.items()}
    return arrays


def load_torch_arrays(arrays: Mapping[str, Any], **parts: Any) -> None:
    """Give modules and optimisers, wherever they lie, what :func:`torch_arrays` returned of them, as arrays or tensors."""
    import torch

    for part, holder in parts.items():
        own = {name[len(part) + 1 :]: torch.as_tensor(array) for name, array in arrays.items() if name.startswith(f"{part}.")}
        state = holder.state_dict()
        if "param_groups" not in state:
            holder.load_state_dict(own)
            continue
        moments: dict[int, dict[str, Any]] = {}
        for key, tensor in own.items():
            number, name = key.split(".", 1)
            moments.setdefault(int(number), {})[name] = tensor
        holder.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
