"""Problems of maintenance, stock and sales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.domains import build
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP

KEEP, REPLACE = 0, 1
WAIT, CUT = 0, 1


def machine(
    num_states: int = 20,
    *,
    running_cost: float = 0.1,
    wear_cost: float = 0.02,
    replacement_cost: float = 2.0,
    sparse: bool | None = None,
) -> TabularMDP:
    """Keep a machine whose running cost grows with wear, or replace it. Every transition is certain.

    Parameters
    ----------
    num_states : int
        Levels of wear, at least 2; the last one is kept.
    running_cost, wear_cost : float
        Keeping (action 0) at wear s costs ``running_cost + wear_cost * s`` and adds one level.
    replacement_cost : float
        Cost of replacing (action 1), which leads to wear 0.
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (708 states or more).

    Returns
    -------
    TabularMDP
        Starts at wear 0, never ends, rewards r(s,a). The usual discount is 0.99.
    """
    n = checks.count("num_states", num_states, 2)
    wear = np.arange(n)
    outcomes: list[build.Outcome] = [(wear, KEEP, np.minimum(wear + 1, n - 1), 1.0), (wear, REPLACE, 0, 1.0)]
    rewards = np.stack((-(running_cost + wear_cost * wear), np.full(n, -float(replacement_cost))), axis=1)
    return build.model(n, 2, outcomes, rewards, sparse=sparse)


def machine_replacement_craam() -> TabularMDP:
    """Return the machine replacement problem of the CRAAM library.

    States 0 to 7 are wear, 8 is a long repair and 9 a short one. Action 0 keeps running, 1 repairs. What a step costs depends on
    the state it enters: 20 for wear 7, 10 for the long repair, 2 for the short one.

    Returns
    -------
    TabularMDP
        10 states, starts in 0, never ends, rewards r(s,a,s') that depend on s' alone, for every s'. The usual discount is 0.8.
        Published values mostly use the expected rewards: :meth:`~robust_rl.models.TabularMDP.with_expected_rewards`.
    """
    worn, long, short = 7, 8, 9
    wear = np.arange(worn + 1)
    grown = np.minimum(wear + 1, worn)
    outcomes: list[build.Outcome] = [
        (wear, KEEP, wear, np.where(wear < worn, 0.2, 1.0)),
        (wear, KEEP, grown, np.where(wear < worn, 0.8, 0.0)),
        (long, KEEP, long, 1.0),
        (short, KEEP, [short, 0], [0.2, 0.8]),
        (wear, REPLACE, grown, 0.3),
        (wear, REPLACE, short, 0.6),
        (wear, REPLACE, long, 0.1),
        (long, REPLACE, [short, long], [0.6, 0.4]),
        (short, REPLACE, short, 1.0),
    ]
    return build.model(10, 2, outcomes, build.entering(10, 2, {worn: -20.0, long: -10.0, short: -2.0}))


def inventory(
    num_states: int = 50,
    *,
    max_order: int = 4,
    demand: Sequence[float] = (0.1, 0.2, 0.3, 0.2, 0.15, 0.05),
    order_cost: float = 0.5,
    holding_cost: float = 0.1,
    shortage_cost: float = 1.0,
    spoilage: float = 0.0,
    sparse: bool | None = None,
) -> TabularMDP:
    """Order stock ahead of a random demand.

    In stock s, ordering a brings ``y = min(s + a, num_states - 1)``; of these ``floor(spoilage * y)`` are lost before a demand D.
    The next state is what remains, ``s' = max(y - D, 0)``; demand that isn't met is lost.

    Parameters
    ----------
    num_states : int
        Capacity plus 1, at least 2.
    max_order : int
        Orders are 0 to ``max_order``, the actions. Units beyond the capacity are turned away, but paid for.
    demand : sequence of float
        Probabilities of D = 0, 1, ...; must sum to 1.
    order_cost, holding_cost, shortage_cost : float
        Per unit ordered, per unit in s', and per unit of demand not met.
    spoilage : float
        Share of the stock that perishes each step, in [0, 1].
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel had over a million entries (448 states or more with 5 actions).

    Returns
    -------
    TabularMDP
        Starts with empty stock, never ends. Rewards r(s,a,s') are the mean cost given s', since an empty s' leaves open how much
        demand was missed. A successor that no demand leads to carries its order and holding costs if the model is dense, and
        nothing if it is sparse: under sets of free support, which may go there, the two aren't the same problem. The usual
        discount is 0.99.
    """
    n, orders = checks.count("num_states", num_states, 2), checks.count("max_order", max_order) + 1
    chances = _distribution("demand", demand)
    spoilage = checks.probability("spoilage", spoilage)

    def outcomes(states: slice) -> tuple[NDArray, ...]:
        """Return s, a, s', the units missed, and the probability, which broadcast against each other."""
        s, a, d = np.ogrid[states, :orders, : len(chances)]
        stock = np.minimum(s + a, n - 1)
        stock = stock - np.floor(spoilage * stock + 1e-9).astype(int)  # 1e-9: 0.29 * 100 is a hair below 29
        return s, a, np.maximum(stock - d, 0), np.maximum(d - stock, 0), chances

    if build.is_sparse(n, orders, sparse):
        chunks = (
            (s, a, left, chance, -(order_cost * a + holding_cost * left + shortage_cost * missed))
            for s, a, left, missed, chance in map(outcomes, build.state_blocks(n))
        )
        return TabularMDP.from_chunks(chunks, n, orders)
    s, a, left, missed, _ = outcomes(slice(n))
    transitions, shortage = np.zeros((n, orders, n)), np.zeros((n, orders, n))
    np.add.at(transitions, (s, a, left), chances)
    np.add.at(shortage, (s, a, left), chances * missed)
    reached = transitions > 0
    shortage[reached] /= transitions[reached]
    rewards = -(order_cost * a + holding_cost * np.arange(n) + shortage_cost * shortage)
    return TabularMDP(transitions, rewards)


def perishable(
    num_states: int = 50,
    *,
    max_order: int = 4,
    demand: Sequence[float] = (0.1, 0.2, 0.3, 0.2, 0.15, 0.05),
    order_cost: float = 0.6,
    holding_cost: float = 0.1,
    shortage_cost: float = 1.2,
    spoilage: float = 0.2,
    sparse: bool | None = None,
) -> TabularMDP:
    """Return :func:`inventory` for goods of which a fifth, rounded down, perishes before each demand; same arguments."""
    return inventory(
        num_states,
        max_order=max_order,
        demand=demand,
        order_cost=order_cost,
        holding_cost=holding_cost,
        shortage_cost=shortage_cost,
        spoilage=spoilage,
        sparse=sparse,
    )


def capacity(
    num_states: int = 50,
    *,
    prices: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 5.0),
    rates: Sequence[float] = (4.0, 3.0, 2.5, 2.0, 1.5),
    max_demand: int = 5,
    sparse: bool | None = None,
) -> TabularMDP:
    """Sell a fixed capacity at prices that slow the demand.

    Parameters
    ----------
    num_states : int
        Units at the start plus 1, at least 2; the state is what is left.
    prices, rates : sequence of float
        Action a asks ``prices[a]``; demand is then Poisson with mean ``rates[a]`` per step.
    max_demand : int
        Demand is conditioned on being at most this: the Poisson probabilities 0 to ``max_demand``, renormalised.
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (448 states or more with 5 prices).

    Returns
    -------
    TabularMDP
        Starts full, ends when sold out. Rewards r(s,a,s') = price times units sold, s - s'; a sparse model holds those of sales
        that a demand leads to. The usual discount is 0.99.
    """
    n, most = checks.count("num_states", num_states, 2), checks.count("max_demand", max_demand)
    if len(prices) != len(rates) or not len(rates):
        raise InvalidArgumentError(f"{len(prices)} prices and {len(rates)} rates; every price needs its rate of demand")
    rate = np.array([checks.positive("rates", rate) for rate in rates])[:, None]
    chances = rate ** np.arange(most + 1) / [math.factorial(k) for k in range(most + 1)]
    chances /= chances.sum(axis=1, keepdims=True)
    price, full = np.asarray(prices, dtype=float)[:, None], np.eye(1, n, n - 1).ravel()
    if build.is_sparse(n, len(rates), sparse):
        grids = (np.ogrid[states, : len(rates), : most + 1] for states in build.state_blocks(n))
        chunks = ((s, a, np.maximum(s - d, 0), chances, price * np.minimum(s, d)) for s, a, d in grids)
        return TabularMDP.from_chunks(chunks, n, len(rates), start=full, terminal=[0])
    s, a, d = np.ogrid[:n, : len(rates), : most + 1]
    transitions = np.zeros((n, len(rates), n))
    np.add.at(transitions, (s, a, np.maximum(s - d, 0)), chances)
    return TabularMDP(transitions, price * np.maximum(s - np.arange(n), 0), start=full, terminal=[0])


def forest(
    num_states: int = 50,
    *,
    wait_reward: float = 4.0,
    cut_reward: float = 2.0,
    fire: float = 0.1,
    sparse: bool | None = None,
) -> TabularMDP:
    """Wait for a forest to grow old, or cut it, while fire may take it.

    Parameters
    ----------
    num_states : int
        Ages, at least 2; the last one is kept. Waiting (action 0) ages by one, cutting (action 1) leads to age 0.
    wait_reward, cut_reward : float
        r1 and r2: what waiting and cutting pay at the last age. At other ages waiting pays nothing and cutting 1, except at age
        0, where it pays nothing.
    fire : float
        Probability that a waiting forest burns down to age 0.
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (708 states or more).

    Returns
    -------
    TabularMDP
        Starts at age 0, never ends, rewards r(s,a). The usual discount is 0.99.

    Notes
    -----
    The forest management example of the Markov decision process toolboxes for MATLAB and Python, by its documentation.
    """
    n, fire = checks.count("num_states", num_states, 2), checks.probability("fire", fire)
    age = np.arange(n)
    outcomes: list[build.Outcome] = [(age, WAIT, np.minimum(age + 1, n - 1), 1 - fire), (age, WAIT, 0, fire), (age, CUT, 0, 1.0)]
    rewards = np.zeros((n, 2))
    rewards[1:, CUT] = 1.0
    rewards[-1] = wait_reward, cut_reward
    return build.model(n, 2, outcomes, rewards, sparse=sparse)


def _distribution(name: str, values: Sequence[float]) -> NDArray[np.float64]:
    chances = np.array([checks.probability(name, value) for value in values])
    if abs(chances.sum() - 1) > 1e-8:
        raise InvalidArgumentError(f"{name} sums to {chances.sum():.10g}; probabilities must sum to 1")
    return chances
