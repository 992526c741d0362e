"""Samples of a posterior, and what they say about each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from robust_rl.errors import InvalidArgumentError


@dataclass(frozen=True)
class Posterior:
    """Independent draws.

    Attributes
    ----------
    samples : (N, ...) tensor
        On the scale of the operator that measured.
    diagnostics : list of dict
        For each iteration: ``eta``, ``log_likelihood``, ``network_calls``; with Gaussian noise ``residual``, about 1 where the
        samples explain the measurement; with Langevin steps ``acceptance`` and ``step_size``.
    """

    samples: Tensor
    diagnostics: Sequence[Mapping[str, float]] = field(default=(), repr=False)

    @property
    def mean(self) -> Tensor:
        """The mean of the samples, (...): the estimate of least squared error."""
        return self.samples.mean(0)

    @property
    def std(self) -> Tensor:
        """The standard deviation of each pixel, (...), unbiased in its square; nan for one sample."""
        return self.samples.std(0)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the ends, (...) each, of an interval for each pixel.

        Between order statistics of N exact draws whose expected coverage of another draw is ``level``, whatever the law:
        the k-th smallest of N has on average k / (N + 1) below it. 19 samples are the fewest for 90 %.

        Raises
        ------
        InvalidArgumentError
            ``level`` is not between 0 and 1, or so high that it needs more samples.

        Examples
        --------
        >>> import torch
        >>> low, high = Posterior(torch.arange(19.0).reshape(19, 1)).interval(0.9)
        >>> float(low), float(high)
        (0.0, 18.0)
        """
        count = len(self.samples)
        if not 0 < level < 1:
            raise InvalidArgumentError(f"level is {level}; it must be between 0 and 1")
        place = (1 - level) / 2 * (count + 1)  # from 1
        if place < 1 - 1e-9:
            raise InvalidArgumentError(
                f"{count} samples can't bound {level:.0%} of a pixel's law; draw at least {round(2 / (1 - level)) - 1}"
            )
        ordered = self.samples.sort(0).values
        return _at(ordered, place), _at(ordered, count + 1 - place)

    def coverage(self, truth: Tensor, level: float = 0.9) -> float:
        """Return the share of pixels of ``truth`` (...) that lie in their interval; ``level`` on average if all is exact."""
        low, high = self.interval(level)
        return float(((low <= truth) & (truth <= high)).double().mean())


def _at(ordered: Tensor, place: float) -> Tensor:
    """Interpolate between order statistics; ``place`` counts from 1."""
    below = min(max(int(place + 1e-9), 1), len(ordered))
    above = min(below + 1, len(ordered))
    return ordered[below - 1].lerp(ordered[above - 1], max(place - below, 0.0))
