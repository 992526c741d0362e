"""Random Markov games for tests."""

import numpy as np

import robust_rl as rr


def random_game(seed, num_agents=None, *, staged=True, actions=3, states=5, horizon=4, smallest=1):
    """A game of at most these sizes, with zeros in its rows and one-hot rows among them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 4)) if num_agents is None else num_agents
    a, s, h = tuple(rng.integers(smallest, actions + 1, n)), int(rng.integers(1, states + 1)), int(rng.integers(1, horizon + 1))
    transitions = rng.dirichlet(np.full(s, 0.5), size=((h,) if staged else ()) + (s, *a))
    transitions[transitions < 0.05] = 0.0
    transitions /= transitions.sum(axis=-1, keepdims=True)
    rewards = rng.random((n, *((h,) if staged else ()), s, *a))
    return rr.MarkovGame(transitions, rewards, horizon=h, start=rng.dirichlet(np.ones(s)))


def random_balls(seed, game):
    """Total variation of another radius for each agent."""
    rng = np.random.default_rng([seed, 1])
    return {agent: rr.TotalVariation(rng.choice([0.0, 0.02, 0.1, 0.3]), support="free") for agent in game.agents}
