"""Problems on a line of states."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from robust_rl.envs import checks
from robust_rl.envs.domains import build
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP

LEFT, RIGHT = 0, 1


def river_swim(
    num_states: int = 6,
    *,
    stay: float = 0.6,
    advance: float = 0.05,
    advance_at_ends: float = 0.4,
    left_reward: float = 0.005,
    right_reward: float = 1.0,
    sparse: bool | None = None,
) -> TabularMDP:
    """Swim against the current for a large reward, or drift down for a small one.

    Parameters
    ----------
    num_states : int
        At least 2; action 0 drifts left with certainty, 1 swims right.
    stay, advance : float
        Probabilities that swimming keeps the place or gains one; the rest loses one.
    advance_at_ends : float
        Probability of leaving the first state upwards and, swimming, the last one downwards; otherwise the place is kept.
    left_reward, right_reward : float
        r(0, left) and r(last, right), per step.
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (708 states or more).

    Returns
    -------
    TabularMDP
        Starts in state 0, never ends, rewards r(s,a). The usual discount is 0.99.

    Notes
    -----
    After Strehl and Littman (2008), with the numbers of the public benchmark code for fast s-rectangular robust MDPs.
    """
    n = checks.count("num_states", num_states, 2)
    _check_moves(stay=stay, advance=advance)
    ends = checks.probability("advance_at_ends", advance_at_ends)
    kernel = _current(n, stay=(1 - ends, stay, 1 - ends), up=(ends, advance, 0), down=(0, 1 - stay - advance, ends))
    rewards = np.zeros((n, 2))
    rewards[0, LEFT], rewards[-1, RIGHT] = left_reward, right_reward
    return build.model(n, 2, kernel, rewards, sparse=sparse)


def river_swim_craam(
    num_states: int = 6, *, left_reward: float = 5.0, right_reward: float = 10_000.0, sparse: bool | None = None
) -> TabularMDP:
    """Return RiverSwim with the numbers of the CRAAM library: a stronger swimmer, paid for holding the last place.

    Swimming right: first state, stay .7, +1 .3; between, stay .6, +1 .3, -1 .1; last state, stay .3 and paid, -1 .7.

    Parameters
    ----------
    num_states : int
        At least 2.
    left_reward, right_reward : float
        r(0, left, any) and r(last, right, last).
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (708 states or more).

    Returns
    -------
    TabularMDP
        Starts in state 0, never ends, rewards r(s,a,s'). The usual discount is 0.9. Published values mostly use the expected
        rewards: :meth:`~robust_rl.models.TabularMDP.with_expected_rewards`.
    """
    n = checks.count("num_states", num_states, 2)
    kernel = _current(n, stay=(0.7, 0.6, 0.3), up=(0.3, 0.3, 0), down=(0, 0.1, 0.7))
    pays = np.append(np.full(n, float(left_reward)), right_reward)
    where = np.append(np.zeros(n, dtype=int), 2 * n - 1), np.append(np.arange(n), n - 1)
    return build.model(n, 2, kernel, csr_array((pays, where), shape=(2 * n, n)), sparse=sparse)


def chain(
    num_states: int = 10,
    *,
    success: float = 0.9,
    left_reward: float = 0.2,
    right_reward: float = 1.0,
    sparse: bool | None = None,
) -> TabularMDP:
    """Walk along a line on which each step may slip into the opposite direction.

    Parameters
    ----------
    num_states : int
        At least 2; a step beyond either end stays there.
    success : float
        Probability that a step goes where it was meant to; otherwise it goes the opposite way (our reading of ".9/.1").
    left_reward, right_reward : float
        r(0, left) and r(last, right), per step.
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (708 states or more).

    Returns
    -------
    TabularMDP
        Starts in state 0, never ends, rewards r(s,a). The usual discount is 0.99.
    """
    n = checks.count("num_states", num_states, 2)
    success = checks.probability("success", success)
    state = np.arange(n)
    down, up = np.maximum(state - 1, 0), np.minimum(state + 1, n - 1)
    outcomes: list[build.Outcome] = [
        (state, LEFT, down, success),
        (state, LEFT, up, 1 - success),
        (state, RIGHT, up, success),
        (state, RIGHT, down, 1 - success),
    ]
    rewards = np.zeros((n, 2))
    rewards[0, LEFT], rewards[-1, RIGHT] = left_reward, right_reward
    return build.model(n, 2, outcomes, rewards, sparse=sparse)


def gamblers_ruin(goal: int = 100, *, win_probability: float = 0.4) -> TabularMDP:
    """Stake capital on a coin until it's gone or the goal is reached.

    Parameters
    ----------
    goal : int
        Capital that ends the game with reward 1; at least 2. States are the capital 0 to ``goal``.
    win_probability : float
        Chance to win the stake, in [0, 1].

    Returns
    -------
    TabularMDP
        Action a stakes a + 1, cut to what is held and to what is lacking, so all ``goal // 2`` actions are always available.
        Starts with half the goal; ends at 0 and at the goal. Rewards r(s,a,s') are 1 where s' is the goal. The usual
        discount is 1.

    Notes
    -----
    Sutton and Barto (2018), example 4.3.
    """
    goal = checks.count("goal", goal, 2)
    win = checks.probability("win_probability", win_probability)
    capital, action = np.arange(1, goal)[:, None], np.arange(goal // 2)[None, :]
    stake = np.minimum(action + 1, np.minimum(capital, goal - capital))
    outcomes: list[build.Outcome] = [(capital, action, capital + stake, win), (capital, action, capital - stake, 1 - win)]
    start = np.eye(1, goal + 1, goal // 2).ravel()
    rewards = build.entering(goal + 1, goal // 2, {goal: 1.0})
    return build.model(goal + 1, goal // 2, outcomes, rewards, start=start, terminal=[0, goal])


def _current(
    n: int, *, stay: tuple[float, float, float], up: tuple[float, float, float], down: tuple[float, float, float]
) -> list[build.Outcome]:
    """Return a kernel that drifts left under action 0; under 1 the triples rule the first state, those between, and the last."""
    state = np.arange(n)
    below, above = np.maximum(state - 1, 0), np.minimum(state + 1, n - 1)

    def along(first: float, between: float, last: float) -> np.ndarray:
        return np.concatenate(([first], np.full(n - 2, between), [last]))

    return [
        (state, LEFT, below, 1.0),
        (state, RIGHT, state, along(*stay)),
        (state, RIGHT, above, along(*up)),
        (state, RIGHT, below, along(*down)),
    ]


def _check_moves(*, stay: float, advance: float) -> None:
    checks.probability("stay", stay)
    checks.probability("advance", advance)
    if stay + advance > 1 + 1e-12:
        raise InvalidArgumentError(f"stay={stay} and advance={advance} sum to more than 1")
