"""How many states the latents have, as far as tables of single variables tell.

One variable against all others: the table's rank is the number of states of its parent, if the variable has as many itself. The
number that most variables show is taken; a variable with two states can show no more than two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from robust_rl.errors import InsufficientStatesError
from robust_rl.extras.concepts.cover_tree import Block
from robust_rl.extras.concepts.search import Ranks


def latent_states(ranks: Ranks, n_states: Mapping[str, int]) -> int:
    """Return the number of states of the latents, at most that of each observed variable."""
    votes: Counter[int] = Counter()
    for name, states in n_states.items():
        others = [Block((other,), 1) for other in n_states if other != name]
        shown = next((r for r in range(1, states) if ranks.at_most([Block((name,), 1)], others, r)), states) if others else 1
        votes[shown] += shown > 1
    most = max(votes.values(), default=0)
    found = min((r for r, count in votes.items() if count == most and r > 1), default=2)
    return min(found, *n_states.values()) if n_states else found


def check_states(n_states: Mapping[str, int], k: int) -> None:
    """Raise InsufficientStatesError if an observed variable has fewer states than the latents."""
    for name, states in n_states.items():
        if states < k:
            raise InsufficientStatesError(
                f"column {name!r} has {states} states and the latents {k}: its tables can't show a rank of {k}; "
                f"set n_states={states}, join it with another column, or drop it"
            )
