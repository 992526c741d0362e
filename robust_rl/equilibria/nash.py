"""Nash equilibria of many games, and which of those found a selection rule picks.

=====================================  =================================================================================
game                                   candidates
=====================================  =================================================================================
strictly dominant joint action         that one
no rule, and a pure equilibrium        the first in C order
two players, no rule                   Lemke-Howson from the first label that ends in one
two players, up to 1,000 supports      all pairs of supports of equal size (6 x 6: 923), and Lemke-Howson from every label
two players, more                      all pure ones, and Lemke-Howson from every label
three and more                         all pure ones, and the search of many_players.py from ``starts`` starts; then supports
=====================================  =================================================================================

Of the candidates the rule takes the best, of equally good ones (within 1e-12 of the payoffs' range) the first.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import njit
from robust_rl._threads import run_blocks
from robust_rl.equilibria.bimatrix import bits, indifferent, lemke_howson, no_gain
from robust_rl.equilibria.checks import Array
from robust_rl.equilibria.gaps import regret
from robust_rl.equilibria.many_players import PLAYED, digits, search, search_support
from robust_rl.equilibria.programs import blocks, scale_payoffs
from robust_rl.equilibria.pure import dominant_action, pure_regrets

ANY, UTILITARIAN, MAXIMIN, MAX_ENTROPY = 0, 1, 2, 3
RULES = {None: ANY, "utilitarian": UTILITARIAN, "maximin": MAXIMIN, "max_entropy": MAX_ENTROPY}
SUPPORTS = 1000
MOST_SUPPORTS = 4000  # of more than two players: 4 x 4 x 4 has 3375
TRIES = 8  # starts of Newton on each of them
EXACT = 1e-11  # of a player's range: the regret of a candidate
BETTER = 1e-12


def nash_equilibria(payoffs: Array, num_actions: NDArray[np.intp], selection: str | None, starts: int, seed: int) -> Array:
    """Policies (K, M) for payoffs (K, n, M); where no equilibrium was found, the policy of least regret."""
    count, n, joint = payoffs.shape
    policies = np.empty((count, joint))
    few = n == 2 and comb(int(num_actions.sum()), int(num_actions[0])) <= SUPPORTS
    points = start_points(num_actions, starts if n > 2 else 0, seed)

    def block(first: int, last: int) -> None:
        part = slice(first, last)
        solve_games(payoffs[part], num_actions, RULES[selection], few, points, policies[part])

    run_blocks(block, blocks(count))
    return policies


def start_points(num_actions: NDArray[np.intp], starts: int, seed: int) -> Array:
    """The uniform strategies, then random ones: (starts, n, largest A_i). Every game starts from the same."""
    rng = np.random.default_rng(seed)
    points = np.zeros((starts, len(num_actions), int(num_actions.max())))
    for i, own in enumerate(num_actions):
        points[:1, i, :own] = 1 / own
        points[1:, i, :own] = rng.dirichlet(np.ones(own), size=max(starts - 1, 0))
    return points


@njit
def solve_games(payoffs, num_actions, rule, few, points, policies):  # type: ignore[no-untyped-def]
    """Solve games one after another."""
    n, joint = payoffs.shape[1:]
    scaled, total, policy = np.empty((n, joint)), np.empty(joint), np.empty(joint)
    own = digits(num_actions, joint)
    for k in range(len(payoffs)):
        policies[k] = 1.0 / joint
        score, pure = -np.inf, dominant_action(payoffs[k], num_actions)
        least = pure_regrets(payoffs[k], num_actions, total)
        if pure < 0 and rule == ANY and total[least] == 0.0:
            pure = least
        if pure >= 0:
            policies[k] = 0.0
            policies[k, pure] = 1.0
            continue
        widest = scale_payoffs(payoffs[k], scaled)
        if rule != ANY:
            for a in range(joint):
                if total[a] == 0.0:
                    policy[:] = 0.0
                    policy[a] = 1.0
                    score = keep_better(payoffs[k], policy, rule, widest, score, policies[k])
        if n == 2:
            two_players(payoffs[k], scaled, num_actions, rule, few, widest, score, policy, policies[k])
        else:
            more_players(payoffs[k], scaled, num_actions, own, points, rule, widest, score, policy, policies[k])


@njit
def two_players(payoff, scaled, num_actions, rule, few, widest, score, policy, best):  # type: ignore[no-untyped-def]
    """Candidates by Lemke-Howson, and by supports where they are ``few``, or where there is none yet."""
    rows, columns = num_actions[0], num_actions[1]
    first, second = scaled[0].copy().reshape((rows, columns)), scaled[1].copy().reshape((rows, columns))
    x, y = np.empty(rows), np.empty(columns)
    for label in range(rows + columns):
        if lemke_howson(first, second, label, x, y) and no_gain(first, second, x, y, EXACT):
            write_product(x, y, policy)
            score = keep_better(payoff, policy, rule, widest, score, best)
            if rule == ANY:
                return
    if (few and rule != ANY) or score == -np.inf:
        all_supports(payoff, first, second, rule, widest, score, x, y, policy, best)


@njit
def all_supports(payoff, first, second, rule, widest, score, x, y, policy, best):  # type: ignore[no-untyped-def]
    """Candidates on all pairs of supports of equal size above one; those of one are the pure ones."""
    rows, columns = first.shape
    size = min(rows, columns) + 1
    system, right, turned = np.empty((size, size)), np.empty(size), second.T.copy()
    for rows_played in range(1, 1 << rows):
        for columns_played in range(1, 1 << columns):
            size = bits(rows_played)
            if size < 2 or size != bits(columns_played):
                continue
            if (
                indifferent(first, rows_played, columns_played, size, y, system, right)
                and indifferent(turned, columns_played, rows_played, size, x, system, right)
                and no_gain(first, second, x, y, EXACT)
            ):
                write_product(x, y, policy)
                score = keep_better(payoff, policy, rule, widest, score, best)
                if rule == ANY:
                    return


@njit
def more_players(payoff, scaled, num_actions, own, points, rule, widest, score, policy, best):  # type: ignore[no-untyped-def]
    """Candidates from many starts; where there is none, from all supports; then the one of least regret, whatever it is."""
    gains, least = np.empty((num_actions.max(), num_actions.max())), np.inf
    for start in range(len(points)):
        search(scaled, own, num_actions, points[start], PLAYED[start % len(PLAYED)], policy)
        gap = regret(scaled, policy, num_actions, False, gains)
        if gap <= EXACT:
            score = keep_better(payoff, policy, rule, widest, score, best)
            if rule == ANY:
                return
        elif score == -np.inf and gap < least:
            best[:], least = policy, gap
    supports = 1
    for size in num_actions:
        supports *= (1 << size) - 1
    if score > -np.inf or supports > MOST_SUPPORTS:
        return
    for number in range(supports):
        for start in range(min(len(points), TRIES)):
            ended = search_support(scaled, own, num_actions, points[start], number, policy)
            if ended and regret(scaled, policy, num_actions, False, gains) <= EXACT:
                score = keep_better(payoff, policy, rule, widest, score, best)
                if rule == ANY:
                    return


@njit
def write_product(x, y, policy):  # type: ignore[no-untyped-def]
    """The joint policy of two strategies."""
    for a in range(len(x)):
        for b in range(len(y)):
            policy[a * len(y) + b] = x[a] * y[b]


@njit
def keep_better(payoff, policy, rule, widest, score, best):  # type: ignore[no-untyped-def]
    """Copy ``policy`` to ``best`` if the rule prefers it; return the better score."""
    new = 0.0
    if rule == MAX_ENTROPY:
        for p in policy:
            if p > 0.0:
                new -= p * np.log(p)
    elif rule != ANY:
        least, total = np.inf, 0.0
        for i in range(len(payoff)):
            value = 0.0
            for a in range(len(policy)):
                value += policy[a] * payoff[i, a]
            least, total = min(least, value), total + value
        new = total if rule == UTILITARIAN else least
    scale = widest if rule in (UTILITARIAN, MAXIMIN) else 1.0
    if new > score + BETTER * scale:
        best[:] = policy
        return new
    return score
