"""Interventions on the exogenous noise of style, s~, towards examples.

    prototype    s~' = s~ + k (mean s~ of target examples - mean s~ of source examples)
    replace      s~' = s~ + k (mean s~ of target examples - s~)
    classifier   s~' = s~ + k a w,  along the gradient w of a linear probe, a such that k = 1 gives what the probe says of the
                 target examples on average

k is ``strength``. Source: MATTE, arXiv:2402.15309, figure 3 for what is intervened on; how the direction is found without labels
in training is not said there (its program flips vectors of a code book), so these three are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, nearest

DIRECTIONS = ["prototype", "replace", "classifier"]


def intervene(noise: Tensor, target: Tensor, source: Tensor, *, direction: str = "prototype", strength: float = 1.0) -> Tensor:
    """Return the noise of style after the intervention.

    Parameters
    ----------
    noise
        s~ of what is to be changed, (B, ds).
    target, source
        s~ of examples of the style that is wanted, and of the one to leave, (n, ds) and (m, ds).
    direction
        ``"prototype"``, ``"replace"`` or ``"classifier"``.
    strength
        k: 0 changes nothing.

    Raises
    ------
    InvalidArgumentError
        There are no examples, or no such direction.

    Examples
    --------
    >>> intervene(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([[2., 2.]])
    """
    if direction not in DIRECTIONS:
        raise InvalidArgumentError(f"direction {direction!r}{nearest(direction, DIRECTIONS)}; known are {', '.join(DIRECTIONS)}")
    if len(target) == 0 or (len(source) == 0 and direction != "replace"):
        raise InvalidArgumentError(f"{len(target)} target and {len(source)} source examples; give at least one of each")
    if direction == "prototype":
        return noise + strength * (target.mean(0) - source.mean(0))
    if direction == "replace":
        return noise + strength * (target.mean(0) - noise)
    w = probe(target, source)
    distance = (target.mean(0) - noise) @ w / w.square().sum()
    return noise + strength * distance[:, None] * w


def probe(target: Tensor, source: Tensor, ridge: float = 1.0) -> Tensor:
    """Return the gradient w, (ds,), of Fisher's linear discriminant: (S + ridge I)^-1 (mean target - mean source)."""
    centred = torch.cat([target - target.mean(0), source - source.mean(0)])
    scatter = centred.T @ centred / len(centred) + ridge * torch.eye(centred.shape[1], dtype=target.dtype, device=target.device)
    found: Tensor = torch.linalg.solve(scatter, target.mean(0) - source.mean(0))
    return found
