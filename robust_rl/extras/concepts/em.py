"""Tables of a hierarchy from a sample of its leaves, by expectation and maximisation.

With h a configuration of all latents, x_u a distinct row, seen w_u times, and the present tables:

    E:  q_u(h) = p(x_u, h) / sum_h' p(x_u, h'),    p(x, h) = product over variables of p(v | Pa(v))         (1)
    M:  p(v | Pa(v)) = expected count of (Pa(v), v) under w_u q_u(h), plus a pseudo-count, to sum 1          (2)

Next to an optimum these steps become short and straight, all the more where a latent nearly copies another. So after two of them,
theta to theta' to theta'', comes a leap along their line, taken back where it doesn't pay:

    theta + 2 c r + c^2 v,   r = theta' - theta,   v = theta'' - 2 theta' + theta,   c = max(1, |r| / |v|)  (3)

Source of (3): Varadhan and Roland (2008), "Simple and globally convergent methods for accelerating the convergence of any EM
algorithm", scheme S3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np

from robust_rl.extras.concepts.hierarchy import random_table
from robust_rl.extras.concepts.posterior import Floats, Integers, Posterior, Rows

FINALISTS = 4
FLOOR = 1e-6
"""Of an entry after a leap."""
START_STRENGTH = 0.3
"""How much a configuration's favourite state has more than a random share, at a start."""
TRIAL_ITERATIONS = 30
"""Of each random start, before the best few go on."""


@dataclass(frozen=True)
class Fit:
    """Tables that a sample makes likely.

    Attributes
    ----------
    tables
        As a :class:`DiscreteHierarchy` holds them.
    log_likelihood
        Of the sample, in nats.
    iterations
        Steps of the start that won, since it was last taken up.
    converged
        Whether the last leap gained less than the tolerance.
    """

    tables: dict[str, Floats]
    log_likelihood: float
    iterations: int
    converged: bool

    @property
    def n_parameters(self) -> int:
        """Number of free entries of the tables."""
        return sum(table.size // table.shape[-1] * (table.shape[-1] - 1) for table in self.tables.values())

    def bic(self, n: int) -> float:
        """Return the Bayesian information criterion for n rows: lower is better."""
        return self.n_parameters * math.log(n) - 2 * self.log_likelihood


def fit_tables(
    graph: nx.DiGraph,
    n_states: Mapping[str, int],
    codes: Integers,
    *,
    restarts: int = 8,
    max_iterations: int = 1000,
    tol: float = 1e-2,
    seed: int | np.random.Generator = 0,
) -> Fit:
    """Return the tables under which a sample is likely.

    Parameters
    ----------
    graph
        Of the hierarchy, with the node attribute ``latent``.
    n_states
        Of each variable.
    codes
        States from 0, shape (n, observed variables in the graph's order).
    restarts
        Random starts; the best few of them after thirty iterations go on.
    max_iterations
        Of the start that goes on.
    tol
        Smallest gain of a leap in log-likelihood, in nats, that is worth going on.
    seed
        Of the starts.
    """
    posterior, rng = Posterior(graph, n_states, Rows.of(codes)), np.random.default_rng(seed)
    return climb(posterior, [random_start(posterior, rng) for _ in range(restarts)], max_iterations, tol)


def climb(posterior: Posterior, starts: Iterable[Floats], max_iterations: int, tol: float) -> Fit:
    """Iterate from several starts, as vectors of tables, go on from the best few, and return the best of those."""
    trials = [_iterate(posterior, start, TRIAL_ITERATIONS, tol) for start in starts]
    trials.sort(key=lambda fit: -fit.log_likelihood)
    ends = [fit if fit.converged else go_on(posterior, fit, max_iterations - TRIAL_ITERATIONS, tol) for fit in trials[:FINALISTS]]
    return max(ends, key=lambda fit: fit.log_likelihood)


def go_on(posterior: Posterior, fit: Fit, iterations: int, tol: float) -> Fit:
    """Iterate further from where a fit stopped."""
    return _iterate(posterior, posterior.flat(fit.tables), iterations, tol) if iterations > 0 else fit


def _iterate(posterior: Posterior, theta: Floats, iterations: int, tol: float) -> Fit:
    likelihood, once = _step(posterior, theta)
    done, converged = 1, False
    while done < iterations and not converged:
        before, (likely_once, twice) = likelihood, _step(posterior, once)
        leap = posterior.normalised(np.maximum(_leap(theta, once, twice), FLOOR))
        likelihood, after = _step(posterior, leap)
        done += 2
        if likelihood < likely_once:
            leap = twice
            likelihood, after = _step(posterior, twice)
            done += 1
        converged = likelihood - before < tol
        theta, once = leap, after
    return Fit(posterior.tables(theta), likelihood, done, converged)


def _step(posterior: Posterior, theta: Floats) -> tuple[float, Floats]:
    """Return the log-likelihood of tables, and those that follow (eqs. 1 and 2)."""
    q, rows = posterior.told(theta)
    return float(posterior.rows.weights @ rows), posterior.maximise(q)


def _leap(theta: Floats, once: Floats, twice: Floats) -> Floats:
    """Return eq. 3."""
    r = once - theta
    v = twice - once - r
    bend = float(np.linalg.norm(v))
    c = max(1.0, float(np.linalg.norm(r)) / bend) if bend > 0 else 1.0
    return theta + 2 * c * r + c**2 * v


def random_start(posterior: Posterior, rng: np.random.Generator) -> Floats:
    """Return tables in which each configuration of the parents has a favourite state, as a vector."""
    shapes = posterior.shapes.items()
    return posterior.flat({node: random_table(shape[:-1], shape[-1], START_STRENGTH, rng) for node, shape in shapes})
