"""Pure joint actions: which are equilibria, and which is dominant."""

from __future__ import annotations

from robust_rl._numba import njit


@njit
def pure_regrets(payoff, num_actions, total):  # type: ignore[no-untyped-def]
    """Write sum_i [ max_b Q_i(b, a_-i) - Q_i(a) ] for every joint action a into ``total`` (M,); return its argmin.

    A joint action of regret 0 is a Nash equilibrium, and so correlated and coarse correlated.
    """
    joint = payoff.shape[1]
    total[:] = 0.0
    stride = joint
    for i in range(len(num_actions)):
        own = num_actions[i]
        stride //= own
        for outer in range(0, joint, own * stride):
            for first in range(outer, outer + stride):
                best = payoff[i, first]
                for b in range(1, own):
                    best = max(best, payoff[i, first + b * stride])
                for b in range(own):
                    total[first + b * stride] += best - payoff[i, first + b * stride]
    chosen = 0
    for a in range(1, joint):
        if total[a] < total[chosen]:
            chosen = a
    return chosen


@njit
def dominant_action(payoff, num_actions):  # type: ignore[no-untyped-def]
    """The joint action in which each player's own is strictly better than its others whatever the rest do; -1 if there is none.

    It is then the only equilibrium of all three kinds.
    """
    joint, stride, chosen = payoff.shape[1], payoff.shape[1], 0
    for i in range(len(num_actions)):
        own = num_actions[i]
        stride //= own
        best = 0  # only a best answer to the others' first actions can be dominant
        for b in range(1, own):
            if payoff[i, b * stride] > payoff[i, best * stride]:
                best = b
        for outer in range(0, joint, own * stride):
            for first in range(outer, outer + stride):
                for b in range(own):
                    if b != best and payoff[i, first + b * stride] >= payoff[i, first + best * stride]:
                        return -1
        chosen += best * stride
    return chosen
