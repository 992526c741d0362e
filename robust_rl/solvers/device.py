"""Where sweeps run: compiled code on the processor, or torch on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robust_rl.errors import InvalidArgumentError
from robust_rl.training.optional import require

if TYPE_CHECKING:
    import torch

REMEDY = 'use device="cpu", this machine\'s processor'


def torch_device(device: Any) -> torch.device | None:
    """Return the torch device that is meant, or None for the compiled sweeps.

    Parameters
    ----------
    device : str or torch.device
        ``"cpu"`` is the compiled sweeps; ``"cuda"``, ``"cuda:1"`` and so on are torch's names; ``torch.device("cpu")`` is torch
        on the processor, to try things without a GPU.

    Raises
    ------
    MissingDependencyError
        If torch is needed and isn't installed.
    InvalidArgumentError
        If torch knows no such device, it isn't there, or it can't compute in float64.
    """
    if isinstance(device, str) and device == "cpu":
        return None
    torch = require("torch", "robust-rl[torch]")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InvalidArgumentError(f'device is {device!r}; expected "cpu", "cuda", "cuda:1" or a torch.device') from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InvalidArgumentError(
            f"device is {str(found)!r}, but torch {torch.__version__} finds no CUDA GPU here; install a driver and a build of "
            f"torch with CUDA (https://pytorch.org/get-started), or {REMEDY}"
        )
    try:
        torch.zeros(1, dtype=torch.float64, device=found)
    except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InvalidArgumentError(
            f"device is {str(found)!r}, which can't hold float64 numbers here ({reason}); {REMEDY}"
        ) from None
    return found  # type: ignore[no-any-return]
