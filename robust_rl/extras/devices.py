"""Where torch works."""

from __future__ import annotations

import torch

from robust_rl.errors import InvalidArgumentError


def usable_device(name: str) -> torch.device:
    """Return the device of that name, if torch can use it.

    Raises
    ------
    InvalidArgumentError
        It can't.

    Examples
    --------
    >>> usable_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidArgumentError(f"device is {name!r}, which torch can't use here ({reason}); cpu always works") from error
    return device
