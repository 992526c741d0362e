"""Stage (a): discrete concepts from images.

    x = g(d, c):    for each state of the concepts d that a patch shows, its pixels lie around a centre of their own

So the number of clusters in a patch is K^(number of concepts that it shows), and how labels of patches occur together says
which concepts those are (factoring.py). Clusters are components of a mixture of normal distributions. Their number is the power
of K with the lowest integrated completed likelihood, BIC plus twice the entropy of the labels, which counts separate clusters
rather than the normal pieces of a bent one.

Concepts that show nowhere but in all patches together, or clusters that touch, are out of reach.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.factoring import Concept, aligned, factor
from robust_rl.training import Trainer, load_arrays, save_arrays

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FILE = "mixtures.safetensors"


class PatchMixtures:
    """Mixtures of every patch, as a :class:`~robust_rl.training.Trainable`: a step fits one patch.

    Parameters
    ----------
    patches
        Pixels, shape (number of patches, n, pixels of a patch).
    k
        States of a concept.
    max_concepts
        Largest number of concepts that a patch shows.
    seed
        Of the starts.
    """

    def __init__(self, patches: Floats, k: int, max_concepts: int = 2, seed: int = 0) -> None:
        self.patches, self.k, self.max_concepts, self.seed = patches, k, max_concepts, seed
        self.mixtures: list[GaussianMixture] = []

    @property
    def done(self) -> bool:
        """Whether every patch has its mixture."""
        return len(self.mixtures) == len(self.patches)

    def step(self) -> Mapping[str, float]:
        """Fit the next patch with 1, K, K^2, ... components and keep the best."""
        pixels, seed = self.patches[len(self.mixtures)], self.seed + len(self.mixtures)
        fits = [self._fit(pixels, self.k**m, seed) for m in range(self.max_concepts + 1)]
        best = min(fits, key=lambda mixture: completed_likelihood(mixture, pixels))
        self.mixtures.append(best)
        return {"encode/components": float(best.n_components), "encode/log_likelihood": float(best.score(pixels))}

    def save_checkpoint(self, directory: Path) -> None:
        """Write the mixtures."""
        arrays = {
            f"{i}.{name}": getattr(mixture, name)
            for i, mixture in enumerate(self.mixtures)
            for name in ("weights_", "means_", "covariances_", "precisions_cholesky_")
        }
        save_arrays(directory / FILE, arrays, {"patches": len(self.mixtures), "problem": self._problem()})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another fit."""
        arrays, noted = load_arrays(directory / FILE)
        if noted["problem"] != self._problem():
            raise InvalidArgumentError("the checkpoint is of other images or settings; choose another run directory")
        self.mixtures = []
        for i in range(noted["patches"]):
            mixture = GaussianMixture(len(arrays[f"{i}.weights_"]))
            for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
                setattr(mixture, name, arrays[f"{i}.{name}"])
            self.mixtures.append(mixture)

    def _problem(self) -> list[Any]:
        """Return what must be the same after a restart."""
        return [*self.patches.shape, float(self.patches.sum()), self.k, self.max_concepts, self.seed]

    @staticmethod
    def _fit(pixels: Floats, components: int, seed: int) -> GaussianMixture:
        settings: dict[str, Any] = {"n_init": 1 if components == 1 else 3, "max_iter": 200, "tol": 1e-3}
        floor = 1e-4 * float(pixels.var()) + 1e-9
        return GaussianMixture(components, reg_covar=floor, random_state=seed, **settings).fit(pixels)


def completed_likelihood(mixture: GaussianMixture, pixels: Floats) -> float:
    """Return the integrated completed likelihood criterion: lower is better (Biernacki, Celeux and Govaert, 2000)."""
    chances = mixture.predict_proba(pixels)
    entropy = -float((chances * np.log(np.maximum(chances, 1e-300))).sum())
    return float(mixture.bic(pixels)) + 2 * entropy


class ConceptEncoder(TransformerMixin, BaseEstimator):
    """Turns images into codes of discrete concepts.

    Parameters
    ----------
    n_concepts : int or None
        Concepts to return: the best supported ones. None returns all that are found.
    n_states : int
        States of each concept.
    patch_size : int
        Pixels of a patch's side; it must divide both sides of the images.
    max_concepts : int
        Largest number of concepts that a patch shows.
    random_state : int, RandomState or None
        Of the mixtures' starts.
    verbose : bool
        Whether to show progress.

    Attributes
    ----------
    concepts_ : list of Concept
        With the patches that show each, and whether it is identified.
    n_components_ : list of int
        Clusters of each patch.

    Examples
    --------
    >>> from robust_rl.extras.concepts.images import concept_images
    >>> images, codes, truth = concept_images(3, n=600, seed=1)
    >>> ConceptEncoder(n_concepts=3).fit_transform(images).shape
    (600, 3)
    """

    def __init__(
        self,
        n_concepts: int | None = None,
        n_states: int = 2,
        *,
        patch_size: int = 4,
        max_concepts: int = 2,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.n_concepts, self.n_states, self.patch_size, self.max_concepts = n_concepts, n_states, patch_size, max_concepts
        self.random_state, self.verbose = random_state, verbose

    def fit(self, images: Any, y: Any = None, *, run: str | os.PathLike[str] | None = None) -> ConceptEncoder:
        """Find the clusters of each patch, and the concepts behind them.

        Parameters
        ----------
        images : array (n, height, width) or (n, height, width, channels)
            Real numbers.
        y
            Ignored.
        run
            Directory for metrics and checkpoints; an unfinished fit there goes on.

        Raises
        ------
        InvalidArgumentError
            The images don't divide into patches, or show fewer concepts than asked for.
        """
        pixels = self._patches(images)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1 - len(pixels)))
        job = PatchMixtures(pixels, self.n_states, self.max_concepts, seed)
        trainer = Trainer(run, checkpoint_every=None if run is None else 1, progress=bool(self.verbose))
        trainer.fit(job)
        if trainer.interrupted:
            raise KeyboardInterrupt
        self.mixtures_ = job.mixtures
        self.n_components_ = [mixture.n_components for mixture in self.mixtures_]
        labels = self._labels(pixels)
        found = factor(labels, [mixture.means_ for mixture in self.mixtures_], self.n_states)
        if self.n_concepts is not None and len(found) < self.n_concepts:
            raise InvalidArgumentError(
                f"{len(found)} concepts show in the patches, whose numbers of clusters are {self.n_components_}, and n_concepts "
                f"is {self.n_concepts}; try another patch_size, n_states, or more images"
            )
        self.concepts_: list[Concept] = found[: self.n_concepts]
        return self

    def transform(self, images: Any) -> Integers:
        """Return the state of each concept, shape (n, concepts)."""
        check_is_fitted(self)
        labels = self._labels(self._patches(images))
        codes = [concept.codes(labels, self.n_states) for concept in self.concepts_]
        return np.stack(codes, axis=1) if codes else np.zeros((len(images), 0), np.int64)

    def _patches(self, images: Any) -> Floats:
        """Return the pixels by patch, (patches, n, pixels)."""
        images = np.asarray(images, float)
        size = self.patch_size
        if images.ndim not in (3, 4) or not np.isfinite(images).all():
            raise InvalidArgumentError(f"images have shape {images.shape}; give finite numbers (n, height, width[, channels])")
        n, height, width = images.shape[:3]
        if size < 1 or height % size or width % size:
            raise InvalidArgumentError(f"patch_size is {size}; it must divide {height} and {width}, the sides of the images")
        grid = images.reshape(n, height // size, size, width // size, size, -1).transpose(1, 3, 0, 2, 4, 5)
        return np.asarray(grid.reshape(-1, n, size * size * grid.shape[-1]), float)

    def _labels(self, pixels: Floats) -> list[Integers]:
        return [mixture.predict(patch).astype(np.int64) for mixture, patch in zip(self.mixtures_, pixels, strict=True)]


def code_accuracy(found: Integers, true: Integers) -> tuple[float, list[int]]:
    """Return the mean share of rows in which codes agree, under the best match of columns and of states, and that match.

    Parameters
    ----------
    found, true
        States from 0, shape (n, concepts).

    Returns
    -------
    accuracy : float
        Mean over the columns of ``true``.
    order : list of int
        For each of them its column of ``found``.
    """
    k = int(max(found.max(), true.max())) + 1
    table = np.array([[aligned(ours, theirs, k)[1] for ours in found.T] for theirs in true.T])
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].mean()), [int(i) for i in columns]
