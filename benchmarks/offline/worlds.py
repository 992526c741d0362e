"""Linear MDPs that are made for one study each."""

import numpy as np

from robust_rl.models import LinearMDP


def survival(seed: int, horizon: int, radius: float, visits: float, actions: int = 4) -> LinearMDP:
    """Stay alive (state 0, pays 1) or be dead (state 1): one action a stage is safer, by the noise of its estimate.

    It keeps alive with probability p = 1 - 1/(2m), m = min(H, 1/radius), the others with p - sqrt(p (1 - p) / visits): what so
    many transitions can just not tell. One feature for each action, one for the dead.
    """
    rng = np.random.default_rng(seed)
    p = 1 - 1 / (2 * min(horizon, 1 / max(radius, 1e-9)))
    phi = np.zeros((2, actions, actions + 1))
    phi[0, :, :actions], phi[1, :, actions] = np.eye(actions), 1.0
    alive = np.full((horizon, actions + 1), max(p - np.sqrt(p * (1 - p) / visits), 0.0))
    alive[np.arange(horizon), rng.integers(actions, size=horizon)] = p
    alive[:, actions] = 0.0
    theta = np.ones((horizon, actions + 1))
    theta[:, actions] = 0.0
    return LinearMDP(phi, np.stack([alive, 1 - alive], axis=2), theta)


def two_halves(seed: int, states: int = 10, half: int = 3, horizon: int = 3) -> LinearMDP:
    """Actions 0 and 1 live on the first half of the features, which pay at least 0.5, actions 2 and 3 on the other, at most 0.5.

    Optimal policies keep to the first half.
    """
    rng = np.random.default_rng(seed)
    phi = np.zeros((states, 4, 2 * half))
    phi[:, :2, :half], phi[:, 2:, half:] = (rng.dirichlet(np.ones(half), size=(states, 2)) for _ in range(2))
    factors = rng.dirichlet(np.full(states, 0.3), size=(horizon, 2 * half))
    theta = rng.random((horizon, 2 * half)) / 2
    theta[:, :half] += 0.5
    return LinearMDP(phi, factors, theta, np.full(states, 1 / states))


def lotteries(count: int = 8, chance: float = 0.4, sure: float = 0.6) -> LinearMDP:
    """Two decisions. The first: a sure thing worth ``sure``, or one of many tickets, each worth 1 with probability ``chance``.

    States: start, sure, won, lost. One feature for each first action and each later state.
    """
    actions = count + 1
    phi = np.zeros((4, actions, actions + 3))
    phi[0, :, :actions] = np.eye(actions)
    phi[1:, :, actions:] = np.eye(3)[:, None]
    factors = np.zeros((2, actions + 3, 4))
    factors[0, 0, 1], factors[0, 1:actions, 2], factors[0, 1:actions, 3] = 1.0, chance, 1 - chance
    factors[0, actions:, 3] = 1.0
    factors[1, :, 3] = 1.0
    theta = np.zeros((2, actions + 3))
    theta[1, actions:] = sure, 1.0, 0.0
    return LinearMDP(phi, factors, theta)
