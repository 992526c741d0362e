"""What correlations are between: a patch and its own area's feature, the global one, or another; means over each role.

A patch may be local in one cluster and global in another, so roles are of pairs (patch, cluster), and the mean is over both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robust_rl.extras.mim.data import SpatialPatchData


class Roles:
    """Means of Phi and Upsilon by role, for the areas of some data.

    ================================  ======================================================================
    name                              mean over clusters k and patches p of
    ================================  ======================================================================
    phi/local_to_own                  Phi_{p -> v}, p in a local area, v its own area's feature (the target)
    phi/local_to_global               p in a local area, v the global area's feature
    phi/local_to_other                p in a local area, v another local area's
    phi/global_to_own                 p in the global area, v its feature (the target)
    phi/global_to_local               p in the global area, v a local area's
    upsilon/local_to_own, and so on   the same for Upsilon_{p -> q}, q another patch in that area
    upsilon/self                      Upsilon_{p -> p}
    ================================  ======================================================================
    """

    def __init__(self, data: SpatialPatchData) -> None:
        areas = data.areas
        target = torch.arange(data.n_areas).expand(*areas.shape, -1)
        fp = _by_role(areas[..., None], target)  # role -> (K, P, N)
        pp = _by_role(areas[..., None], areas[:, None].expand(-1, data.n_patches, -1))  # role -> (K, P, P)
        itself = torch.eye(data.n_patches, dtype=torch.bool)
        self._phi = _Means({f"phi/{name}": pairs.transpose(0, 1) for name, pairs in fp.items()})
        self._upsilon = _Means(
            {f"upsilon/{name}": (pairs & ~itself).sum(0) for name, pairs in pp.items()} | {"upsilon/self": itself}
        )

    def means(self, model: nn.Module) -> dict[str, float]:
        """Return the mean of each role, for a model with ``phi()`` and ``upsilon()``."""
        with torch.no_grad():
            return self._phi(model.phi()) | self._upsilon(model.upsilon())  # type: ignore[operator]


class _Means:
    """Weighted means of the entries of one array, all in one product; roles that nobody plays are left out."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        weights = {name: weight.flatten().double() for name, weight in weights.items() if weight.any()}
        self.names = list(weights)
        self.matrix = torch.stack([weight / weight.sum() for weight in weights.values()])

    def __call__(self, array: Tensor) -> dict[str, float]:
        return dict(zip(self.names, (self.matrix @ array.flatten().double()).tolist(), strict=True))


def _by_role(here: Tensor, there: Tensor) -> dict[str, Tensor]:
    """Return which pairs play each role, from the areas at both ends; 0 is global."""
    own = here == there
    return {
        "local_to_own": own & (here != 0),
        "local_to_global": (here != 0) & (there == 0),
        "local_to_other": (here != 0) & (there != 0) & ~own,
        "global_to_own": own & (here == 0),
        "global_to_local": (here == 0) & (there != 0),
    }
