"""The worst cases of many rows at once, in torch: what each set's file derives, without a loop over rows.

Rows come as tables of equal width, short ones filled up with entries of probability 0 (or the rule's ``padding``) that repeat
the row's first state, so that no minimum or maximum over a row notices them. Rows that all see the same z bring one row of it.

TV, L1, CVaR, LInfinity and Interval take or fill mass in order of z, by cumulated sums; KL, chi-square and reverse KL find a
root in every row by Newton's method, safeguarded by bisection, which starts at the last sweep's root and goes on until all rows
have theirs. A rule answers with the value (n,) of each row and what to remember of it (n,).

The module imports torch, so nothing imports it before a device is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robust_rl.uncertainty.base import NEGLIGIBLE, RectangularSet
from robust_rl.uncertainty.chi_square import ChiSquare
from robust_rl.uncertainty.contamination import Contamination
from robust_rl.uncertainty.cvar import CVaR
from robust_rl.uncertainty.interval import Interval, LInfinity
from robust_rl.uncertainty.kl import KL
from robust_rl.uncertainty.l1 import L1
from robust_rl.uncertainty.nominal import Nominal
from robust_rl.uncertainty.reverse_kl import ReverseKL
from robust_rl.uncertainty.total_variation import TotalVariation

ITERATIONS = 200
NARROW = 256  # columns that are worked on in one piece
PARTS = 8  # pieces of a wider row, of which often one or two suffice
INFINITY = float("inf")


class Rows(NamedTuple):
    """Rows to be made worst.

    ==============  ==================================================================================
    p, u            (n, w) the numbers of each entry that the set asks for; u may be missing
    z               (n, w), or (1, w) where all rows see the same; ascending if the rule says so
    outside         (n,) or () lowest z among states that a row doesn't list; inf if there are none
    radius, slack   (n,) the numbers of each row
    memory          (n,) what the rule returned in the last sweep; zeros at first
    ==============  ==================================================================================
    """

    p: Tensor
    u: Tensor | None
    z: Tensor
    outside: Tensor
    radius: Tensor
    slack: Tensor
    memory: Tensor


class Rule(NamedTuple):
    """A set's function on rows, whether it needs z in order, and the probability that fills rows up."""

    worst: Callable[[Rows], tuple[Tensor, Tensor]]
    ordered: bool = False
    padding: float = 0.0


def expectation(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return p . z: the nominal problem, and every ball of radius zero."""
    return _weigh(rows.p, rows.z), rows.memory


def _contamination(rows: Rows) -> tuple[Tensor, Tensor]:
    return (1 - rows.radius) * _weigh(rows.p, rows.z) + rows.radius * _lowest(rows), rows.memory


def _total_variation(rows: Rows) -> tuple[Tensor, Tensor]:
    """Take the radius off the top and put it on the lowest z."""
    lowest = _lowest(rows)
    taken, weighed, _ = _fill(rows.p, rows.z, rows.radius, from_top=True)
    return _weigh(rows.p, rows.z) - (weighed - lowest * taken), rows.memory


def _cvar(rows: Rows) -> tuple[Tensor, Tensor]:
    """The mean of the lowest mass alpha, from whichever end has less mass to go through."""
    alpha = rows.radius
    if bool((alpha < 0.5).all()):
        _, weighed, left = _fill(rows.p, rows.z, alpha, from_top=False)
        return weighed / (alpha - left), rows.memory
    _, weighed, _ = _fill(rows.p, rows.z, 1 - alpha, from_top=True)
    return (_weigh(rows.p, rows.z) - weighed) / alpha, rows.memory


def _interval(rows: Rows) -> tuple[Tensor, Tensor]:
    """Raise q from the lower bounds p to the upper bounds u, lowest z first."""
    assert rows.u is not None
    _, weighed, _ = _fill(rows.u - rows.p, rows.z, rows.slack, from_top=False)
    return _weigh(rows.p, rows.z) + weighed, rows.memory


def _ball(rows: Rows) -> tuple[Tensor, Tensor]:
    """The interval from max(p - radius, 0) to min(p + radius, 1)."""
    radius = rows.radius[:, None]
    lower = (rows.p - radius).clamp_(min=0)
    room = (rows.p + radius).clamp_(max=1).sub_(lower).clamp_(min=0)
    _, weighed, _ = _fill(room, rows.z, rows.slack, from_top=False)
    return _weigh(lower, rows.z) + weighed, rows.memory


def _kl(rows: Rows) -> tuple[Tensor, Tensor]:
    """Maximise the dual  -(log E exp(-t y) + sigma) / t  over t, with y = z - lowest; ``slack`` is exp(-sigma)."""
    p, sigma = rows.p, rows.radius
    lowest, y, at_lowest = _above_support(rows)
    top, nominal = y.amax(1), _weigh(p, rows.z)
    idle = sigma <= NEGLIGIBLE
    settled = idle | (at_lowest >= rows.slack)
    t = rows.memory
    if bool((~settled & (t <= 0)).any()):
        variance = _variance(p, y)
        first = torch.where(variance > 0, (2 * sigma / variance).sqrt(), 1 / top)
        t = torch.where(t > 0, t, first)
    value, root = _solve(_tilt, (p, y, sigma, top), t, torch.zeros_like(t), torch.full_like(t, INFINITY), settled)
    return torch.where(idle, nominal, lowest + value), root


def _tilt(data: Sequence[Tensor], t: Tensor) -> tuple[Tensor, ...]:
    """Value, whether the root lies below t, Newton's step, and whether that is the end: see ``_worst`` in kl.py."""
    p, y, sigma, top = data
    weight = p * (-t[:, None] * y).exp_()
    total, first = weight.sum(1), (weight * y).sum(1)
    mean = first / total
    variance = ((weight * y * y).sum(1) / total - mean * mean).clamp_(min=0)
    log_total = total.log()
    small = t * top < 0.1
    if bool(small.any()):  # there log E exp(-t y) is a small difference from log 1
        log_total = torch.where(small, (p * (-t[:, None] * y).expm1_()).sum(1).log1p_(), log_total)
    error, slope = -t * mean - log_total - sigma, t * variance
    step = torch.where(slope > 0, -error / slope, INFINITY)
    close = (error * error <= 1e-13 * top * t * t * slope) & (step.abs() * top <= 0.1)
    return -(log_total + sigma) / t, error > 0, step, close


def _chi_square(rows: Rows) -> tuple[Tensor, Tensor]:
    """Maximise the dual  alpha - sqrt((1 + sigma) E (alpha - y)_+^2); where nothing is clipped it is E y - sqrt(sigma Var y)."""
    p, sigma = rows.p, rows.radius
    lowest, y, at_lowest = _above_support(rows)
    top, nominal = y.amax(1), _weigh(p, rows.z)
    idle = sigma <= NEGLIGIBLE
    bottom = at_lowest * (1 + sigma) >= 1
    alpha, unclipped, closed = rows.memory, torch.zeros_like(idle), nominal
    if bool((~idle & ~bottom & (alpha <= 0)).any()):
        mean, variance = (p * y).sum(1), _variance(p, y)
        cold = mean + (variance / sigma).sqrt()
        unclipped = (alpha <= 0) & (cold >= top)
        closed = lowest + mean - (sigma * variance).sqrt()
        alpha = torch.where(alpha > 0, alpha, cold)
    value, root = _solve(
        _clip, (p, y, sigma, top), alpha, torch.zeros_like(alpha), torch.full_like(alpha, INFINITY), idle | bottom | unclipped
    )
    value = torch.where(idle, nominal, torch.where(bottom, lowest, torch.where(unclipped, closed, lowest + value)))
    return value, torch.where(root < top, root, 0.0)  # an unclipped row has its closed form in the next sweep


def _clip(data: Sequence[Tensor], alpha: Tensor) -> tuple[Tensor, ...]:
    """The same of alpha: see ``_worst`` in chi_square.py."""
    p, y, sigma, top = data
    w = (alpha[:, None] - y).clamp_(min=0)
    a, weight = (p * (w > 0)).sum(1), p * w
    f1, f2 = weight.sum(1), (weight * w).sum(1)
    root = ((1 + sigma) * f2).sqrt()
    slope = torch.where(root > 0, 1 - (1 + sigma) * f1 / root, 1.0)
    room = sigma * a - (1 - a)
    step = torch.where(room > 0, ((a * f2 - f1 * f1).clamp(min=0) / room).sqrt() / a - f1 / a, INFINITY)
    curvature = torch.where(f2 > 0, (1 + sigma) * (a - f1 * f1 / f2) / root, INFINITY)
    close = (curvature * step * step <= 1e-13 * top) & (step.abs() <= 1e-3 * top)
    return alpha - root, slope <= 0, step, close


def _reverse_kl(rows: Rows) -> tuple[Tensor, Tensor]:
    """Solve h(e) = sigma in x = log e; if p has no mass at the minimum, a large radius puts the rest there. See reverse_kl.py."""
    p, sigma, nominal = rows.p, rows.radius, _weigh(rows.p, rows.z)
    lowest = _lowest(rows)
    y = rows.z - lowest[:, None]
    mean, variance = (p * y).sum(1), _variance(p, y)
    idle = (sigma <= NEGLIGIBLE) | (mean <= 0)
    above = torch.where(p > 0, y, 1.0)
    scale = ((p * above.log()).sum(1) - sigma).exp()
    bottom = ((p * (y == 0)).sum(1) == 0) & (_burg(p, above, mean) <= sigma)
    cold = (variance.clamp(min=1e-300) / (2 * sigma)).sqrt().log().clamp(-299, 299)
    x = torch.where(rows.memory == 0, cold, rows.memory)
    borders = torch.full_like(x, -300.0), torch.full_like(x, 300.0)
    value, root = _solve(_stretch, (p, y, sigma, mean), x, *borders, idle | bottom)
    return torch.where(idle, nominal, lowest + torch.where(bottom, scale, value)), root


def _stretch(data: Sequence[Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """The same of x = log e: see ``_root`` in reverse_kl.py."""
    p, y, sigma, mean = data
    e = x.exp()
    above = y + e[:, None]
    share = p / above
    inverse, square = share.sum(1), (share / above).sum(1)
    error = _burg(p, above, mean + e) - sigma
    slope = e * (inverse - square / inverse)
    step = torch.where(slope < 0, -error / slope, INFINITY)
    return (share * y).sum(1) / inverse, error < 0, step, error.abs() <= 1e-13 * sigma


def _burg(p: Tensor, above: Tensor, middle: Tensor) -> Tensor:
    """E log x + log E 1/x for x = ``above`` of mean ``middle``, from u = x / middle - 1: nothing cancels where u is small."""
    ratio = above / middle[:, None]
    u = ratio - 1
    series = 1 / 4 - u * (1 / 5 - u * (1 / 6 - u * (1 / 7 - u / 8)))
    near = -u * u * (1 / 2 - u * (1 / 3 - u * series))
    logs = (p * torch.where(u.abs() > 0.01, ratio.log() - u, near)).sum(1)
    return logs + (p * u * u / ratio).sum(1).log1p()


def _solve(
    evaluate: Callable[[Sequence[Tensor], Tensor], tuple[Tensor, ...]],
    data: Sequence[Tensor],
    x: Tensor,
    low: Tensor,
    high: Tensor,
    settled: Tensor,
) -> tuple[Tensor, Tensor]:
    """Find a root in every row that isn't settled yet, between low and high.

    ``evaluate(data, x)`` gives the value at x, whether the root lies below x, Newton's step, and whether the value is as good as
    it needs to be. Rows that are done are left out once they are half of all, so that the hardest row costs little more
    than its own iterations.

    Returns
    -------
    value, root : (n,)
        0 where settled; root 0 where it is not to be started from.
    """
    value, root = torch.zeros_like(x), torch.zeros_like(x)
    going, todo = ~settled, torch.arange(len(x), device=x.device)
    for _ in range(ITERATIONS):
        count = int(going.sum())
        if count == 0:
            break
        if 2 * count <= len(x):
            keep = going.nonzero()[:, 0]
            data = [part[keep] for part in data]
            todo, x, low, high = todo[keep], x[keep], low[keep], high[keep]
            going = torch.ones_like(keep, dtype=torch.bool)
        found, below, step, close = evaluate(data, x)
        low, high = torch.where(below, low, x), torch.where(below, x, high)
        newton = x + step
        halved = torch.where(high.isinf(), 2 * low, (low + high) / 2)
        inside = (newton > low) & (newton < high)
        ahead = torch.where(inside, newton, halved)
        stuck = ~((ahead > low) & (ahead < high))  # the bracket is as narrow as numbers are
        value[todo] = torch.where(going, found, value[todo])
        root[todo] = torch.where(going, torch.where(close, torch.where(inside, newton, x), 0.0), root[todo])
        x = torch.where(stuck, x, ahead)
        going = going & ~close & ~stuck
    return value, root


def _fill(room: Tensor, z: Tensor, budget: Tensor, *, from_top: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Let entries take up to their ``room``, from the lowest or the highest, until a row's budget is used.

    Returns
    -------
    taken, weighed, left : (n,)
        What was taken, its product with z, and what is left of the budget.
    """
    width, left = room.shape[1], budget
    weighed = torch.zeros_like(budget)
    piece = width if width <= NARROW else -(-width // PARTS)
    negligible = width * torch.finfo(room.dtype).eps / 8 * budget  # a fraction of the rounding that certificates allow for
    for start in range(0, width, piece):
        end = min(start + piece, width)
        part = slice(width - end, width - start) if from_top else slice(start, end)
        here = room[:, part].flip(1) if from_top else room[:, part]
        order = z[:, part].flip(1) if from_top else z[:, part]
        before = here.cumsum(1).sub_(here)
        taken = torch.minimum(here, before.neg_().add_(left[:, None]).clamp_(min=0))
        weighed = weighed + _weigh(taken, order)
        left = left - taken.sum(1)
        left = torch.where(left > negligible, left, 0.0)  # so that no row depends on whether others go on
        if end < width and not bool(left.any()):
            break
    return budget - left, weighed, left


def _weigh(p: Tensor, z: Tensor) -> Tensor:
    """Sum of p z over each row. BLAS would be one pass, but may give equal rows different bits, which breaks ties at random."""
    return (p * z).sum(1)


def _lowest(rows: Rows) -> Tensor:
    """The lowest z that mass may move to."""
    return torch.minimum(rows.z.amin(1), rows.outside).expand(len(rows.p))


def _above_support(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """The lowest z that p reaches, z above it (0 where lower, which p doesn't reach), and the probability there."""
    lowest = torch.where(rows.p > 0, rows.z, INFINITY).amin(1)
    y = (rows.z - lowest[:, None]).clamp_(min=0)
    return lowest, y, (rows.p * (y == 0)).sum(1)


def _variance(p: Tensor, y: Tensor) -> Tensor:
    """Of y under p, around the mean, so that it doesn't cancel."""
    return (p * (y - (p * y).sum(1)[:, None]).square_()).sum(1)


RULES: dict[type[RectangularSet], Rule] = {
    Nominal: Rule(expectation),
    TotalVariation: Rule(_total_variation, ordered=True),
    L1: Rule(_total_variation, ordered=True),
    Contamination: Rule(_contamination),
    LInfinity: Rule(_ball, ordered=True, padding=-1.0),  # no radius up to 1 gives such an entry room
    Interval: Rule(_interval, ordered=True),
    CVaR: Rule(_cvar, ordered=True),
    KL: Rule(_kl),
    ChiSquare: Rule(_chi_square),
    ReverseKL: Rule(_reverse_kl),
}
