"""The table of Gymnasium's Blackjack-v1, by enumeration of its rules.

Cards come from an infinite deck, so a hand is known by its total and whether an ace counts as 11, and the dealer's hand by the
card that shows. The states are

=====================  =====================================================================================
index                  state
=====================  =====================================================================================
0 to 703               the observation (total, dealer's card, usable ace), ravelled from shape (32, 11, 2)
704 to 713             a natural (ace and ten dealt) against the dealer's card 1..10
714 to 717             the ends: lost, drawn, won, and won with a natural where that pays more
=====================  =====================================================================================

The reward belongs to the end, r(s,a,end) = -1, 0, 1 or 1.5 for every hand, so an adversary who moves probability between outcomes
moves their rewards with it. Under the rules ``natural`` or ``sab`` a natural pays differently from other hands of 21 that look
the same; that's why it has states of its own, which only the deal enters. They are there under every rule, so that a policy for
one can be evaluated under another. Indices that no hand has are terminal.

Source: the rules in ``gymnasium/envs/toy_text/blackjack.py`` (1.2), after Sutton and Barto (2018), example 5.1.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
from scipy import sparse

from robust_rl.models import TabularMDP

SHAPE = (32, 11, 2)
STICK, HIT = 0, 1
CARDS = dict.fromkeys(range(1, 10), 1 / 13) | {10: 4 / 13}
BUST, TWENTY_ONE = 0, 21
Hand = tuple[int, bool]
"""Total, and whether an ace in it counts as 11."""
Rows = dict[tuple[int, int], dict[int, float]]


def blackjack_table(natural: bool = False, sab: bool = False) -> TabularMDP:
    """Return the exact model of ``Blackjack-v1``, sparse, with rewards r(s,a,s').

    Parameters
    ----------
    natural : bool
        A won natural pays 1.5.
    sab : bool
        A natural beats everything but a dealer's natural, and pays 1; ``natural`` is then ignored.

    Returns
    -------
    TabularMDP
        Actions are 0 stick, 1 hit. 718 states; see the module's table of indices.
    """
    naturals = int(np.prod(SHAPE))
    ends, values = naturals + 10, [-1.0, 0.0, 1.0, 1.5]
    rows: Rows = {}
    start = np.zeros(ends + len(values))
    for dealer, chance in CARDS.items():
        for hand in _hands():
            state = _index(hand, dealer)
            rows[state, STICK] = _stick(hand[0], dealer, ends)
            rows[state, HIT] = _hit(hand, dealer, ends)
        for hand, deal in _deals().items():
            state = naturals + dealer - 1 if hand == (TWENTY_ONE, True) else _index(hand, dealer)
            start[state] += chance * deal
        pays_alike = not (natural or sab)
        rows[naturals + dealer - 1, STICK] = _stick(TWENTY_ONE, dealer, ends) if pays_alike else _stick_natural(dealer, ends, sab)
        rows[naturals + dealer - 1, HIT] = _hit((TWENTY_ONE, True), dealer, ends)
    return _model(rows, start, ends, values)


def _model(rows: Rows, start: np.ndarray, ends: int, values: list[float]) -> TabularMDP:
    size = ends + len(values)
    entries = [(2 * state + action, successor, p) for (state, action), row in rows.items() for successor, p in row.items()]
    row, column, p = map(np.array, zip(*entries, strict=True))
    transitions = sparse.csr_array((p, (row, column)), shape=(2 * size, size))
    terminal = np.asarray(transitions.sum(axis=1)).ravel()[::2] == 0
    live = np.flatnonzero(~np.repeat(terminal, 2))
    pay = np.tile(values, len(live))
    columns = np.tile(np.arange(ends, size), len(live))
    rewards = sparse.csr_array((pay, (np.repeat(live, len(values)), columns)), shape=(2 * size, size))
    return TabularMDP(transitions, rewards, start=start, terminal=terminal)


def _index(hand: Hand, dealer: int) -> int:
    return int(np.ravel_multi_index((hand[0], dealer, int(hand[1])), SHAPE))


def _add(hand: Hand, card: int) -> Hand:
    """Return the hand with one more card; a total above 21 is bust."""
    total, usable = hand
    hard = total - 10 * usable + card
    # an ace that counts as 1 stays so: the hand's other cards only grow
    usable = (usable or card == 1) and hard + 10 <= TWENTY_ONE
    return hard + 10 * usable, usable


@cache
def _deals() -> dict[Hand, float]:
    """Return the distribution of the player's first two cards."""
    deals: dict[Hand, float] = defaultdict(float)
    for first, p in CARDS.items():
        for second, q in CARDS.items():
            deals[_add(_add((0, False), first), second)] += p * q
    return dict(deals)


@cache
def _hands() -> frozenset[Hand]:
    """Return all hands that aren't bust and that the player can come to hold."""
    found, frontier = set(_deals()), list(_deals())
    while frontier:
        hand = frontier.pop()
        new = {_add(hand, card) for card in CARDS} - found
        new = {grown for grown in new if grown[0] <= TWENTY_ONE}
        found |= new
        frontier += new
    return frozenset(found)


@cache
def _dealer_scores(hand: Hand) -> dict[int, float]:
    """Return the distribution of the dealer's final score, 0 when bust, for a dealer who draws to 17."""
    if hand[0] >= 17:
        return {hand[0] if hand[0] <= TWENTY_ONE else BUST: 1.0}
    scores: dict[int, float] = defaultdict(float)
    for card, p in CARDS.items():
        for score, q in _dealer_scores(_add(hand, card)).items():
            scores[score] += p * q
    return dict(scores)


def _stick(total: int, dealer: int, ends: int) -> dict[int, float]:
    """Return the probabilities of the ends lost, drawn and won."""
    chances: dict[int, float] = defaultdict(float)
    for score, p in _dealer_scores(_add((0, False), dealer)).items():
        chances[ends + 1 + int(np.sign(total - score))] += p
    return dict(chances)


def _stick_natural(dealer: int, ends: int, sab: bool) -> dict[int, float]:
    """Return the same for a natural, which under ``sab`` only a dealer's natural equals, and which pays more without ``sab``."""
    if sab:
        drawn, won = {1: CARDS[10], 10: CARDS[1]}.get(dealer, 0.0), ends + 2
    else:
        drawn, won = _dealer_scores(_add((0, False), dealer))[TWENTY_ONE], ends + 3
    return {ends + 1: drawn, won: 1 - drawn} if drawn else {won: 1.0}


def _hit(hand: Hand, dealer: int, ends: int) -> dict[int, float]:
    """Return the distribution of the next state, of which the first end is a bust."""
    chances: dict[int, float] = defaultdict(float)
    for card, p in CARDS.items():
        grown = _add(hand, card)
        chances[_index(grown, dealer) if grown[0] <= TWENTY_ONE else ends] += p
    return dict(chances)
