"""Linear MDPs to learn from logs."""

from __future__ import annotations

import itertools

import numpy as np

from robust_rl.envs import checks
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import LinearMDP

START, MIDDLE, LAST, FAIL, GOAL = range(5)


def simulated_linear(xi: float = 0.3, *, q: float | None = None, delta: float = 0.3, p: float = 0.001) -> LinearMDP:
    """Three decisions on the way to a goal, 16 actions; what is logged is the source, and the target departs from it by q.

    With ``e = delta + (xi / 4) (a_1 + .. + a_4)`` for a in {-1, 1}^4, an action goes straight to the goal with probability e, and
    else to the next state, or with probability p to the fail state. In the target the first decision's share e goes to the fail
    state with probability q and to the goal with 1 - q, and the rest always to the next state.

    Parameters
    ----------
    xi : float
        Total effect of the action, with ``xi <= delta`` and ``xi <= 1 - delta``; 0.1, 0.2 and 0.3 are usual.
    q : float in [0, 1], optional
        Return the target with this shift. Default: the source.
    delta, p : float

    Returns
    -------
    LinearMDP
        d = 4, H = 3, five states: start, middle, last, fail (absorbing, pays 0), goal (absorbing, pays 1 from the second decision
        on). Rewards depend on the feature of the goal only, at the second and third decision.

    Notes
    -----
    Liu and Xu, "Minimax optimal and computationally efficient algorithms for distributionally robust offline reinforcement
    learning" (NeurIPS 2024), appendix C. There the radius is positive at the first decision for the goal's factor alone.
    """
    delta, p = checks.probability("delta", delta), checks.probability("p", p)
    if not 0 <= checks.number("xi", xi) <= min(delta, 1 - delta):
        raise InvalidArgumentError(f"xi={xi!r}; it must be from 0 to {min(delta, 1 - delta):g}, so that e is a probability")
    signs = np.array(list(itertools.product((-1, 1), repeat=4)))
    e = delta + xi / 4 * signs.sum(axis=1)
    phi = np.zeros((5, 16, 4))
    for state in (START, MIDDLE, LAST):
        phi[state, :, state], phi[state, :, 3] = 1 - e, e
    phi[FAIL, :, 2] = phi[GOAL, :, 3] = 1.0
    factors = np.zeros((3, 4, 5))
    factors[:, 0, MIDDLE], factors[:, 0, FAIL] = 1 - p, p
    factors[:, 1, LAST], factors[:, 1, FAIL] = 1 - p, p
    factors[:, 2, FAIL] = factors[:, 3, GOAL] = 1.0
    if q is not None:
        q = checks.probability("q", q)
        factors[0, 0] = np.eye(5)[MIDDLE]
        factors[0, 3] = q * np.eye(5)[FAIL] + (1 - q) * np.eye(5)[GOAL]
    theta = np.zeros((3, 4))
    theta[1:, 3] = 1.0
    return LinearMDP(phi, factors, theta)


def random_linear(
    num_states: int = 20, num_actions: int = 5, dimension: int = 6, horizon: int = 4, *, seed: int = 0
) -> LinearMDP:
    """Return a random linear MDP: phi and every factor uniform on the simplex, theta uniform in [0, 1], uniform start.

    All is drawn from ``numpy.random.default_rng(seed)`` in the order phi, factors, theta.
    """
    states, actions = checks.count("num_states", num_states), checks.count("num_actions", num_actions)
    d, stages = checks.count("dimension", dimension), checks.count("horizon", horizon)
    rng = np.random.default_rng(checks.count("seed", seed, 0))
    phi = rng.dirichlet(np.ones(d), size=(states, actions))
    factors = rng.dirichlet(np.ones(states), size=(stages, d))
    return LinearMDP(phi, factors, rng.random((stages, d)), np.full(states, 1 / states))
