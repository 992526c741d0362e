"""PCS for any likelihood: Langevin steps whose linear part is integrated exactly, with a Metropolis test for each chain.

The target is V(z) = L(z) - |z - x|^2 / (2 eta^2). Over a step g

    r    = exp(-g / eta^2)
    m(z) = r z + (1 - r) x + eta^2 (1 - r) grad L(z)                                                        (1)
    z'   = m(z) + eta sqrt(1 - r^2) w,   w standard normal                                                  (2)
    D    = V(z') - V(z) - |z - m(z')|^2 / (2 eta^2 (1 - r^2)) + |z' - m(z)|^2 / (2 eta^2 (1 - r^2))         (3)

and z' is taken with probability min(1, exp(D)). Metropolis makes every g right; a good one is found by each chain for itself
in the first part of each draw and kept in the rest, where the kernel is one that leaves the target alone.

``adjust=False`` takes every z', as the released code does: a biased draw, whose bias goes with the step.

=======  ============  ==========================================
symbol   here          meaning, shape
=======  ============  ==========================================
x, z     ``x``, ``z``  chains, (N, ...)
g        ``step``      one for each chain, (N, 1, ...)
L        ``L``         its value, (N, 1, ...), and gradient
=======  ============  ==========================================

Source: arXiv:2403.17042, PCS for general likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance, normal, uniform
from robust_rl.extras.dpnp.pcs import squared
from robust_rl.extras.dpnp.physics import LogLikelihood, fit

TARGET = 0.574
"""Acceptance that is best for Langevin proposals in many dimensions (Roberts and Rosenthal, 1998)."""

StepRule = Callable[[Tensor, float], Tensor]
"""(L of each chain, eta) -> g, for ``adjust=False``."""


@dataclass(frozen=True)
class Point:
    """Chains with L and its gradient there."""

    z: Tensor
    L: Tensor
    slope: Tensor

    def where(self, taken: Tensor, other: Point) -> Point:
        """Return the chains of ``other`` that are taken, and these elsewhere."""
        parts = [torch.where(taken, b, a) for a, b in zip((self.z, self.L, self.slope), (other.z, other.L, other.slope))]
        return Point(*parts)


class LangevinPCS:
    """Metropolis-adjusted Langevin, equations 1 to 3.

    Parameters
    ----------
    log_likelihood : callable
        L: (N, ...) -> (N,), differentiated by autograd.
    steps : int
        Langevin steps a draw.
    adjust : bool
        Whether to test proposals.
    step_rule : callable, optional
        Sets g instead of the search for it; only with ``adjust=False``.
    moves : sequence of callables
        Maps z -> T(z) with T(T(z)) = z that keep volumes, such as a change of sign: each is proposed after every step and
        tested on V, so that chains can cross between modes that Langevin steps can't connect.

    Raises
    ------
    InvalidArgumentError
        There is no step, or a ``step_rule`` beside the test.
    """

    def __init__(
        self,
        log_likelihood: LogLikelihood,
        *,
        steps: int = 50,
        adjust: bool = True,
        step_rule: StepRule | None = None,
        moves: Sequence[Callable[[Tensor], Tensor]] = (),
    ) -> None:
        if steps < 1:
            raise InvalidArgumentError(f"steps is {steps}; PCS needs at least 1 Langevin step")
        if adjust and step_rule is not None:
            raise InvalidArgumentError(
                "a step_rule depends on the state, which the Metropolis test doesn't know; use adjust=False"
            )
        self.log_likelihood, self.steps, self.adjust = log_likelihood, steps, adjust
        self.step_rule, self.moves = step_rule, tuple(moves)
        self.step: Tensor | None = None

    def __call__(self, x: Tensor, eta: float, chance: Chance) -> tuple[Tensor, Mapping[str, float]]:
        """Draw z given x, starting at z = x."""
        point = self._at(x)
        if not bool(point.L.isfinite().all()):
            raise InvalidArgumentError("log_likelihood is not finite where the chains are; is it defined for every picture?")
        step = torch.full_like(point.L, eta**2) if self.step is None else self.step
        taken, kept = torch.zeros_like(step), 0
        tuned = self.steps // 2 if self.step_rule is None else 0
        for count in range(self.steps):
            if self.step_rule is not None:
                step = self.step_rule(point.L, eta)
            point, chances = self._move(point, x, eta, step, chance)
            if count < tuned:
                step = (step.log() + 2 * (chances - TARGET) / (1 + count) ** 0.6).exp().clamp(max=50 * eta**2)
            else:
                taken, kept = taken + chances, kept + 1
            for transform in self.moves:
                point = self._reflect(point, transform, x, eta, chance)
        self.step = step
        return point.z, {"acceptance": float(taken.mean()) / kept, "step_size": float(step.mean())}

    def fit(self, x: Tensor) -> dict[str, float]:
        """Return the chains' mean log-likelihood, and residual with Gaussian noise."""
        return fit(self.log_likelihood, x)

    def __repr__(self) -> str:
        return f"LangevinPCS(steps={self.steps}, adjust={self.adjust}, moves={len(self.moves)})"

    def state(self) -> dict[str, Tensor]:
        """Return the chains' steps."""
        return {} if self.step is None else {"step": self.step}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the chains' steps back."""
        self.step = state.get("step")

    def _at(self, z: Tensor) -> Point:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.log_likelihood(z)
            (slope,) = torch.autograd.grad(value.sum(), z)
        return Point(z.detach(), value.detach().reshape(-1, *[1] * (z.ndim - 1)), slope)

    def _move(self, at: Point, x: Tensor, eta: float, step: Tensor, chance: Chance) -> tuple[Point, Tensor]:
        """Make one step; return with it the probability with which each chain's proposal was to be taken."""
        r = torch.exp(-step / eta**2)
        scale = eta * (1 - r**2).sqrt()

        def mean(p: Point) -> Tensor:
            return r * p.z + (1 - r) * x + eta**2 * (1 - r) * p.slope  # eq. 1

        w = normal(x, chance)
        new = self._at(mean(at) + scale * w)  # eq. 2
        if not self.adjust:
            return new, torch.ones_like(step)
        back = squared(at.z - mean(new)) / (2 * scale**2)
        gain = target(new, x, eta) - target(at, x, eta) - back + squared(w) / 2  # eq. 3
        chances = gain.exp().clamp(max=1).nan_to_num(0.0)
        return at.where(self._toss(chances, chance), new), chances

    def _reflect(self, at: Point, transform: Callable[[Tensor], Tensor], x: Tensor, eta: float, chance: Chance) -> Point:
        """Propose T(z); a map that keeps volumes and undoes itself needs V alone in its test."""
        new = self._at(transform(at.z))
        return at.where(self._toss((target(new, x, eta) - target(at, x, eta)).exp().nan_to_num(0.0), chance), new)

    def _toss(self, chances: Tensor, chance: Chance) -> Tensor:
        return uniform(chances, chance).reshape(chances.shape) < chances


def target(p: Point, x: Tensor, eta: float) -> Tensor:
    """Return V(z) of each chain, (N, 1, ...)."""
    return p.L - squared(p.z - x) / (2 * eta**2)


def released_step(scale: float, noise: float) -> StepRule:
    """Return the released code's step: scale min(noise^2, eta^2) / (50 + |residual|), where L = -|residual|^2 / (2 noise^2)."""

    def step(L: Tensor, eta: float) -> Tensor:
        return scale * min(noise**2, eta**2) / (50 + (-2 * noise**2 * L).clamp(min=0).sqrt())

    return step
