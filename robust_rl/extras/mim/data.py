"""Images that are areas of one feature each: the spatial data of the theory.

An image of cluster k has P patches. The cluster cuts them into areas j = 0, 1, ..., N - 1, the same cut in all its images, and
all patches of an area show one feature, as strongly as a coefficient says that is drawn for each image:

    X_p = z_j v_{k,j}   for p in P_{k,j},        z_j uniform on [L, U]

Area 0 is *global*: it has many patches, about P^kappa_c. The others are *local*: about P^kappa_s. What decides which of the two
kinds moves gradient descent first is the information gap

    Delta = (1 - kappa_s) - 2 (1 - kappa_c)

======  ================  ===========================================================
symbol  here              meaning, shape
======  ================  ===========================================================
P       n_patches         patches of an image, on a square grid
K       n_clusters        clusters, equally likely
N       n_areas           areas of a cluster, the global one among them
v       features          orthonormal, (K N, d); that of area j of cluster k is row k N + j
z       ``sample()["z"]``   coefficients, (B, N)
X       ``sample()["x"]``   patches, (B, P, d)
M       mask              True where a patch is hidden, (B, P)
======  ================  ===========================================================

Source: Huang, Wen, Chi and Liang, arXiv:2403.02233, sections on data. The areas' shapes and places are ours: the theory asks for
sizes alone.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_rl.errors import InvalidArgumentError

LAYOUTS = ("scattered", "connected")


class Patches(TypedDict):
    """A batch: patches ``x`` (B, P, d), images' ``cluster`` (B,), each patch's ``area`` (B, P), coefficients ``z`` (B, N)."""

    x: Tensor
    cluster: Tensor
    area: Tensor
    z: Tensor


class SpatialPatchData:
    """A source of images made of areas.

    Parameters
    ----------
    n_patches
        P, a square number.
    n_clusters
        K.
    global_size
        Patches of the global area.
    local_size
        Patches of a local area; some have one more if they can't all be as large.
    z_range
        (L, U), 0 < L <= U.
    noise
        Standard deviation of Gaussian noise that is added to every patch.
    dim
        d, at least K N. None: K N, and the features are the unit vectors; else they point anywhere.
    layout
        ``"scattered"``: an area's patches lie anywhere, so that two clusters share few pairs of patches. ``"connected"``: an area
        is one piece along a path that snakes through the grid, which makes better pictures.
    seed
        Of the cuts and the features.
    dtype
        Of the features, and so of the images.

    Attributes
    ----------
    areas : Tensor
        Each patch's area in each cluster, (K, P); 0 is the global one.
    features : Tensor
        (K N, d).

    Raises
    ------
    InvalidArgumentError
        A number is out of range, or the sizes leave no room for a local area.

    Examples
    --------
    >>> data = SpatialPatchData(n_patches=36, global_size=24, local_size=2)
    >>> data.n_areas, round(data.information_gap, 2)
    (7, 0.58)
    """

    def __init__(
        self,
        n_patches: int = 36,
        n_clusters: int = 3,
        global_size: int = 24,
        local_size: int = 2,
        z_range: tuple[float, float] = (1.0, 1.5),
        *,
        noise: float = 0.0,
        dim: int | None = None,
        layout: str = "scattered",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check(n_patches, n_clusters, global_size, local_size, z_range, noise)
        if layout not in LAYOUTS:
            raise InvalidArgumentError(f'layout is {layout!r}; it must be "scattered" or "connected"')
        self.n_patches, self.n_clusters, self.layout = n_patches, n_clusters, layout
        self.global_size, self.local_size = global_size, local_size
        self.z_range, self.noise, self.seed = z_range, noise, seed
        rng = np.random.default_rng(seed)
        self.areas = torch.from_numpy(np.stack([self._cut(rng) for _ in range(n_clusters)]))
        self.n_areas = int(self.areas.max()) + 1
        self.features = _orthonormal(n_clusters * self.n_areas, dim, rng).to(dtype)

    def __repr__(self) -> str:
        return (
            f"SpatialPatchData(n_patches={self.n_patches}, n_clusters={self.n_clusters}, global_size={self.global_size}, "
            f"local_size={self.local_size}, z_range={self.z_range}, noise={self.noise}, dim={self.dim}, "
            f"layout={self.layout!r}, seed={self.seed})"
        )

    @property
    def dim(self) -> int:
        """The length d of a patch."""
        return self.features.shape[1]

    @property
    def information_gap(self) -> float:
        """Delta: positive where the global area's gradients come first."""
        kappa_c, kappa_s = (math.log(size) / math.log(self.n_patches) for size in (self.global_size, self.local_size))
        return (1 - kappa_s) - 2 * (1 - kappa_c)

    def _cut(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return each patch's area, (P,): a cluster's path through the patches in pieces, the global one somewhere among them."""
        rest = self.n_patches - self.global_size
        sizes = [len(part) for part in np.array_split(np.arange(rest), rest // self.local_size)]
        along = np.insert(np.arange(1, len(sizes) + 1), rng.integers(len(sizes) + 1), 0)
        path = _snake(math.isqrt(self.n_patches), rng) if self.layout == "connected" else rng.permutation(self.n_patches)
        areas = np.empty(self.n_patches, dtype=np.intp)
        areas[path] = np.repeat(along, np.array([self.global_size, *sizes])[along])
        return areas

    def sample(self, batch: int, generator: torch.Generator) -> Patches:
        """Draw images."""
        cluster = torch.randint(self.n_clusters, (batch,), generator=generator)
        low, high = self.z_range
        z = low + (high - low) * torch.rand(batch, self.n_areas, generator=generator, dtype=self.features.dtype)
        area = self.areas[cluster]
        x = z.gather(1, area)[..., None] * self.features[cluster[:, None] * self.n_areas + area]
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return {"x": x, "cluster": cluster, "area": area, "z": z}

    def floor(self, mask_ratio: float = 0.5) -> float:
        """Return the least expected loss: that of the hidden patches whose whole area is hidden, and which nothing can tell.

        An area of s patches is all hidden with chance C(P - s, h - s) / C(P, h) where h patches are, and costs s E[z^2] / 2 then.
        The noise, if there is any, is left out.
        """
        hidden, low, high = n_hidden(self.n_patches, mask_ratio), *self.z_range
        sizes: list[int] = self.areas[0].bincount().tolist()
        ways = sum(s * math.comb(self.n_patches - s, hidden - s) for s in sizes if s <= hidden)
        mean_square = (low * low + low * high + high * high) / 3
        return 0.5 * mean_square * ways / math.comb(self.n_patches, hidden)


def n_hidden(n_patches: int, mask_ratio: float) -> int:
    """Return how many patches a ratio hides.

    Raises
    ------
    InvalidArgumentError
        It hides none or all.
    """
    hidden = round(mask_ratio * n_patches)
    if not 0 < hidden < n_patches:
        raise InvalidArgumentError(
            f"mask_ratio {mask_ratio} hides {hidden} of {n_patches} patches; it must hide some and leave some"
        )
    return hidden


def random_masks(batch: int, n_patches: int, mask_ratio: float, generator: torch.Generator) -> Tensor:
    """Return masks (B, P), uniform among those that hide ``mask_ratio`` of the patches: True is hidden."""
    hidden = n_hidden(n_patches, mask_ratio)
    order = torch.rand(batch, n_patches, generator=generator).argsort(1)
    return torch.zeros(batch, n_patches, dtype=torch.bool).scatter_(1, order[:, :hidden], True)


def all_hidden(area: Tensor, mask: Tensor, n_areas: int) -> Tensor:
    """Return which areas have no visible patch, (B, N), from each patch's area (B, P) and the masks (B, P)."""
    seen = torch.zeros(len(area), n_areas, dtype=torch.long)
    return seen.scatter_add_(1, area, (~mask).long()) == 0


def _snake(side: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return a path through a square grid, row by row and back, after turning the grid at random."""
    grid = np.arange(side * side).reshape(side, side)
    grid = np.rot90(grid.T if rng.integers(2) else grid, int(rng.integers(4))).copy()
    grid[1::2] = grid[1::2, ::-1]
    return grid.ravel()


def _orthonormal(count: int, dim: int | None, rng: np.random.Generator) -> Tensor:
    if dim is None:
        return torch.eye(count, dtype=torch.float64)
    if dim < count:
        raise InvalidArgumentError(f"dim is {dim}; {count} features (clusters times areas) need at least {count} dimensions")
    return torch.from_numpy(np.linalg.qr(rng.normal(size=(dim, count)))[0].T.copy())


def _check(
    n_patches: int, n_clusters: int, global_size: int, local_size: int, z_range: tuple[float, float], noise: float
) -> None:
    if n_patches < 4 or math.isqrt(n_patches) ** 2 != n_patches:
        raise InvalidArgumentError(f"n_patches is {n_patches}; it must be a square number, such as 36 or 64")
    if n_clusters < 1:
        raise InvalidArgumentError(f"n_clusters is {n_clusters}; it must be at least 1")
    if not (1 <= local_size < global_size and global_size + local_size <= n_patches):
        raise InvalidArgumentError(
            f"a global area of {global_size} and local ones of {local_size} don't fit {n_patches} patches; "
            "give 1 <= local_size < global_size <= n_patches - local_size"
        )
    low, high = z_range
    if not 0 < low <= high < math.inf:
        raise InvalidArgumentError(f"z_range is {z_range}; give 0 < low <= high")
    if not 0 <= noise < math.inf:
        raise InvalidArgumentError(f"noise is {noise}; it must be at least 0")
